#include "binding.h"

#include <limits.h>
#include <stdint.h>

int kh_push_failure(lua_State *L, const char *name, const char *text)
{
    lua_pushnil(L);
    lua_pushfstring(L, "%s: %s", name, text);
    lua_pushstring(L, name);
    return 3;
}

int kh_push_error(lua_State *L, const kh_error *error)
{
    return kh_push_failure(L, error->name, error->text);
}

int kh_push_word(lua_State *L, const char *word, const char *code)
{
    lua_pushnil(L);
    lua_pushstring(L, word);
    lua_pushstring(L, code);
    return 3;
}

int kh_check_timeout_ms(lua_State *L, int index)
{
    lua_Number milliseconds = luaL_checknumber(L, index) * 1000;
    int whole;

    if (!(milliseconds >= 0 && milliseconds < INT_MAX))
        return -1;
    whole = (int)milliseconds;
    return (lua_Number)whole < milliseconds ? whole + 1 : whole;
}

int64_t kh_check_max_bytes(lua_State *L, int index)
{
    lua_Number bytes = luaL_optnumber(L, index, 0);

    if (!(bytes > 0 && bytes < 9e18))
        return 0;
    return bytes < 1 ? 1 : (int64_t)bytes;
}

static const char forget_key;

void kh_set_forget(lua_State *L)
{
    lua_pushlightuserdata(L, (void *)(uintptr_t)&forget_key);
    lua_insert(L, -2);
    lua_rawset(L, LUA_REGISTRYINDEX);
}

/* Called by finalizers: raises nothing. */
void kh_forget_fd(lua_State *L, int fd)
{
    if (!lua_checkstack(L, 2))
        return;
    lua_pushlightuserdata(L, (void *)(uintptr_t)&forget_key);
    lua_rawget(L, LUA_REGISTRYINDEX);
    lua_pushinteger(L, fd);
    if (lua_isnil(L, -2))
        lua_pop(L, 2);
    else if (lua_pcall(L, 1, 0, 0) != 0)
        lua_pop(L, 1);
}

void kh_new_class(lua_State *L, const char *type, const luaL_Reg *methods,
                  const luaL_Reg *metamethods)
{
    luaL_newmetatable(L, type);
    luaL_setfuncs(L, metamethods, 0);
    lua_pushstring(L, type);
    lua_setfield(L, -2, "__name");
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
}
