#include "waitable.h"
#include "binding.h"

#include <stdbool.h>
#include <sys/types.h>
#include <unistd.h>

struct waitable {
    kh_latch *latch; /* NULL: not made yet, or collected */
    pid_t pid;
    bool owned; /* the consumer lives in this Lua state, so a blocking wait could never end */
};

void kh_push_waitable(lua_State *L, kh_latch *latch)
{
    struct waitable *waitable = kh_new_userdata(L, sizeof *waitable);

    *waitable = (struct waitable){.pid = getpid(), .owned = true};
    luaL_getmetatable(L, KH_WAITABLE_CLASS);
    lua_setmetatable(L, -2);
    waitable->latch = kh_latch_share(latch);
}

static struct waitable *check(lua_State *L)
{
    struct waitable *waitable = luaL_checkudata(L, 1, KH_WAITABLE_CLASS);

    if (waitable->pid != getpid())
        luaL_error(L, "this waitable belongs to process %d; after fork() make a new consumer",
                   (int)waitable->pid);
    luaL_argcheck(L, waitable->latch != NULL, 1, "a waitable that was collected");
    return waitable;
}

static int waitable_state(lua_State *L)
{
    static const char *const names[] = {[KH_LATCH_PENDING] = "pending",
                                        [KH_LATCH_CAUGHT_UP] = "caught_up",
                                        [KH_LATCH_FAILED] = "failed",
                                        [KH_LATCH_CLOSED] = "closed"};

    lua_pushstring(L, names[kh_latch_get(check(L)->latch)]);
    return 1;
}

static int waitable_is_ready(lua_State *L)
{
    lua_pushboolean(L, kh_latch_get(check(L)->latch) == KH_LATCH_CAUGHT_UP);
    return 1;
}

/* LuaSocket's select: true means "ready now, do not ask the kernel". */
static int waitable_dirty(lua_State *L)
{
    lua_pushboolean(L, kh_latch_get(check(L)->latch) != KH_LATCH_PENDING);
    return 1;
}

static int waitable_pollfd(lua_State *L)
{
    lua_pushinteger(L, kh_latch_fd(check(L)->latch));
    return 1;
}

static int waitable_events(lua_State *L)
{
    check(L);
    lua_pushliteral(L, "r");
    return 1;
}

/* cqueues: 0 when there is nothing to wait for any more. */
static int waitable_timeout(lua_State *L)
{
    if (kh_latch_get(check(L)->latch) == KH_LATCH_PENDING)
        lua_pushnil(L);
    else
        lua_pushinteger(L, 0);
    return 1;
}

/* Pushes the error of a failed latch; the text's room is Lua's, so nothing leaks when Lua has none.
 */
static int push_failure(lua_State *L, kh_latch *latch)
{
    char name[64];
    size_t length = kh_latch_copy_error(latch, name, NULL, 0);
    char *text = kh_new_block(L, length + 1);

    (void)kh_latch_copy_error(latch, name, text, length + 1);
    return kh_push_failure(L, name, text);
}

/* poll(waitable, seconds): the results of wait() when it is released, else one value: false when
 * the time is over, nil when a signal came first. seconds < 0: no bound. */
static int waitable_poll(lua_State *L)
{
    struct waitable *waitable = check(L);
    int timeout_ms = kh_check_timeout_ms(L, 2);
    int released = kh_latch_get(waitable->latch) != KH_LATCH_PENDING;

    if (!released)
        released = kh_latch_wait(waitable->latch, timeout_ms);
    if (released < 0)
        lua_pushnil(L);
    else if (released == 0)
        lua_pushboolean(L, 0);
    if (released <= 0)
        return 1;
    switch (kh_latch_get(waitable->latch)) {
    case KH_LATCH_FAILED:
        return push_failure(L, waitable->latch);
    case KH_LATCH_CLOSED:
        return kh_push_word(L, "closed", "CLOSED");
    default:
        lua_pushboolean(L, 1);
        return 1;
    }
}

static int waitable_is_owned(lua_State *L)
{
    lua_pushboolean(L, check(L)->owned);
    return 1;
}

static int waitable_gc(lua_State *L)
{
    struct waitable *waitable = luaL_checkudata(L, 1, KH_WAITABLE_CLASS);

    if (waitable->pid == getpid() && waitable->latch != NULL) {
        kh_forget_fd(L, kh_latch_fd(waitable->latch));
        kh_latch_drop(waitable->latch);
    }
    waitable->latch = NULL;
    return 0;
}

static int waitable_tostring(lua_State *L)
{
    struct waitable *waitable = luaL_checkudata(L, 1, KH_WAITABLE_CLASS);

    lua_settop(L, 1);
    if (waitable->latch == NULL || waitable->pid != getpid()) {
        lua_pushliteral(L, KH_WAITABLE_CLASS);
        return 1;
    }
    waitable_state(L);
    lua_pushfstring(L, KH_WAITABLE_CLASS ": %s", lua_tostring(L, -1));
    return 1;
}

/* Lanes copies a userdata into another state by calling this with where to, where from, and the
 * size: the copy shares the latch, and may block, as its consumer lives elsewhere. */
static int waitable_lanesclone(lua_State *L)
{
    struct waitable *copy = lua_touserdata(L, 1);
    const struct waitable *from = lua_touserdata(L, 2);

    luaL_argcheck(L, copy != NULL && from != NULL && from->latch != NULL, 2, "nothing to clone");
    *copy = (struct waitable){.latch = kh_latch_share(from->latch), .pid = from->pid};
    return 0;
}

static const luaL_Reg methods[] = {
    {"state", waitable_state},     {"is_ready", waitable_is_ready},
    {"dirty", waitable_dirty},     {"pollfd", waitable_pollfd},
    {"getfd", waitable_pollfd},    {"events", waitable_events},
    {"timeout", waitable_timeout}, {NULL, NULL},
};

static const luaL_Reg metamethods[] = {
    {"__gc", waitable_gc},
    {"__tostring", waitable_tostring},
    {"__lanesclone", waitable_lanesclone},
    {NULL, NULL},
};

/* For lua/kafka_history, which writes wait() on them. */
static const luaL_Reg functions[] = {
    {"poll", waitable_poll},
    {"is_owned", waitable_is_owned},
    {NULL, NULL},
};

int kh_open_waitable(lua_State *L)
{
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    kh_new_class(L, KH_WAITABLE_CLASS, methods, metamethods);
    lua_getfield(L, -1, "__index");
    lua_setfield(L, -3, "methods");
    lua_pop(L, 1);
    return 1;
}
