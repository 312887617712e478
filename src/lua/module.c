/*
 * kafka_history.core: opens the classes of the binding. lua/kafka_history/init.lua builds the
 * public module on it.
 */
#define _GNU_SOURCE /* dladdr(3) */
#include "binding.h"
#include "../engine/near.h"

#include <dlfcn.h>

/* Keeps the library that the code is of mapped for as long as the process lives. */
static void pin_library(const void *code)
{
    Dl_info library;

    if (dladdr(code, &library) != 0)
        (void)dlopen(library.dli_fname, RTLD_NOW | RTLD_NODELETE);
}

/* A librdkafka thread may still run this library's code when lua_close unloads it (close() and the
 * collector hand the last steps to a thread). Done here and not by a link flag because luarocks'
 * builtin build passes none. */
static void pin_this_library(void)
{
    pin_library((const void *)(uintptr_t)&pin_this_library);
}

static int librdkafka_version(lua_State *L)
{
    lua_pushstring(L, rd_kafka_version_str());
    return 1;
}

/* near(word, names): `; did you mean "this" or "that"?`, "" where none of the array is near. */
static int near_names(lua_State *L)
{
    kh_near near = kh_near_to(luaL_checkstring(L, 1));
    char text[512] = "";

    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    for (int i = 1; i <= (int)lua_rawlen(L, 2); i++) {
        lua_rawgeti(L, 2, i);
        if (lua_type(L, -1) == LUA_TSTRING)
            kh_near_offer(&near, lua_tostring(L, -1)); /* the table keeps it */
        lua_pop(L, 1);
    }
    kh_near_append(&near, text, sizeof text);
    lua_pushstring(L, text);
    return 1;
}

static int set_forget(lua_State *L)
{
    lua_CFunction function = lua_tocfunction(L, 1);

    luaL_checktype(L, 1, LUA_TFUNCTION);
    /* LuaJIT unloads it before it collects consumers that were made before it was loaded. */
    if (function != NULL)
        pin_library((const void *)(uintptr_t)function);
    lua_settop(L, 1);
    kh_set_forget(L);
    return 0;
}

__attribute__((visibility("default"))) int luaopen_kafka_history_core(lua_State *L);

int luaopen_kafka_history_core(lua_State *L)
{
    pin_this_library();
    lua_newtable(L);
    kh_open_message(L);
    lua_setfield(L, -2, "message");
    kh_open_waitable(L);
    lua_setfield(L, -2, "waitable");
    kh_open_consumer(L);
    lua_setfield(L, -2, "consumer");
    kh_open_view(L);
    lua_setfield(L, -2, "view");
    kh_open_broker(L);
    lua_setfield(L, -2, "broker");
    kh_open_producer(L);
    lua_setfield(L, -2, "producer");
    kh_open_doorbell(L);
    lua_setfield(L, -2, "doorbell");
    kh_open_alarm(L);
    lua_setfield(L, -2, "alarm");
    kh_open_json(L);
    lua_setfield(L, -2, "escape_json");
    lua_pushcfunction(L, near_names);
    lua_setfield(L, -2, "near");
    lua_pushcfunction(L, set_forget);
    lua_setfield(L, -2, "set_forget");
    lua_pushcfunction(L, librdkafka_version);
    lua_setfield(L, -2, "librdkafka_version");
    return 1;
}
