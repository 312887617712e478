/* Other Lua states, each on a thread of its own, for spec/hosts/states_spec.lua. */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>

#define CLASS "spec.state"
#define WAITABLE "kafka_history.waitable"

int luaopen_states(lua_State *L);

struct state {
    lua_State *L;
    pthread_t thread;
    bool runs;
};

/* Hands a waitable over as Lanes does: a userdata of the same class in the other state, filled in
 * by
 * __lanesclone, which is given both and the size. */
static void hand_over(lua_State *from, int index, lua_State *to)
{
    const void *original = lua_touserdata(from, index);
#if LUA_VERSION_NUM < 502
    size_t size = lua_objlen(from, index);
#else
    size_t size = lua_rawlen(from, index);
#endif
    void *copy = lua_newuserdata(to, size);

    luaL_getmetafield(from, index, "__lanesclone");
    lua_pushlightuserdata(from, copy);
    lua_pushlightuserdata(from, (void *)original);
    lua_pushinteger(from, (lua_Integer)size);
    lua_call(from, 3, 0);
    luaL_getmetatable(to, WAITABLE);
    lua_setmetatable(to, -2);
}

static void *run(void *opaque)
{
    lua_State *L = opaque;

    if (lua_pcall(L, lua_gettop(L) - 1, 1, 0) != 0)
        fprintf(stderr, "in another state: %s\n", lua_tostring(L, -1));
    return NULL;
}

/* start(script, ...): runs it with these strings, numbers and waitables in `...`. */
static int start(lua_State *L)
{
    int count = lua_gettop(L);
    struct state *state = lua_newuserdata(L, sizeof *state);

    *state = (struct state){.L = luaL_newstate()};
    luaL_getmetatable(L, CLASS);
    lua_setmetatable(L, -2);
    luaL_openlibs(state->L);
    if (luaL_dostring(state->L, "require 'kafka_history'") != 0 ||
        luaL_loadstring(state->L, luaL_checkstring(L, 1)) != 0)
        return luaL_error(L, "%s", lua_tostring(state->L, -1));
    for (int i = 2; i <= count; i++) {
        if (lua_isnumber(L, i))
            lua_pushnumber(state->L, lua_tonumber(L, i));
        else if (lua_isstring(L, i))
            lua_pushstring(state->L, lua_tostring(L, i));
        else
            hand_over(L, i, state->L);
    }
    state->runs = pthread_create(&state->thread, NULL, run, state->L) == 0;
    return state->runs ? 1 : luaL_error(L, "no thread");
}

/* Waits for its end and closes it: what the script has returned, as a string. */
static int finish(lua_State *L)
{
    struct state *state = luaL_checkudata(L, 1, CLASS);

    if (!state->runs)
        return 0;
    pthread_join(state->thread, NULL);
    state->runs = false;
    lua_pushstring(L, lua_tostring(state->L, -1));
    lua_close(state->L);
    return 1;
}

int luaopen_states(lua_State *L)
{
    luaL_newmetatable(L, CLASS);
    lua_pushcfunction(L, finish);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    lua_pushcfunction(L, finish);
    lua_setfield(L, -2, "finish");
    lua_setfield(L, -2, "__index");
    lua_newtable(L);
    lua_pushcfunction(L, start);
    lua_setfield(L, -2, "start");
    return 1;
}
