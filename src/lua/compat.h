/*
 * The few functions of Lua 5.4's C API that LuaJIT 2.1 lacks, so that src/lua is written once.
 */
#ifndef KH_COMPAT_H
#define KH_COMPAT_H

#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#if LUA_VERSION_NUM < 502

#define lua_rawlen lua_objlen

/* LuaJIT's userdata carries an environment table where 5.4's has user values; one is enough. */
#define kh_new_userdata(L, size) lua_newuserdata(L, size)
/* Without one: the smallest userdata there is. */
#define kh_new_block(L, size) lua_newuserdata(L, size)
#define kh_set_uservalue(L, index) lua_setfenv(L, index)
#define kh_get_uservalue(L, index) lua_getfenv(L, index)

static inline int lua_absindex(lua_State *L, int index)
{
    return index > 0 || index <= LUA_REGISTRYINDEX ? index : lua_gettop(L) + index + 1;
}

static inline int kh_is_integer(lua_State *L, int index)
{
    lua_Number number = lua_tonumber(L, index);

    return lua_type(L, index) == LUA_TNUMBER && number >= -9007199254740992.0 &&
           number <= 9007199254740992.0 && number == (lua_Number)(lua_Integer)number;
}

#else

#define kh_new_userdata(L, size) lua_newuserdatauv(L, size, 1)
#define kh_new_block(L, size) lua_newuserdatauv(L, size, 0)
#define kh_set_uservalue(L, index) (void)lua_setiuservalue(L, index, 1)
#define kh_get_uservalue(L, index) (void)lua_getiuservalue(L, index, 1)

/* A whole number, written as 3 or as 3.0. */
static inline int kh_is_integer(lua_State *L, int index)
{
    int exact = 0;

    if (lua_type(L, index) == LUA_TNUMBER)
        (void)lua_tointegerx(L, index, &exact);
    return exact;
}

#endif
#endif
