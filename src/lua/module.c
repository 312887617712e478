/*
 * kafka_history.core: opens the classes of the binding. lua/kafka_history/init.lua builds the
 * public module on it.
 */
#define _GNU_SOURCE /* dladdr(3) */
#include "binding.h"

#include <dlfcn.h>

/* A librdkafka thread may still run this library's code when lua_close unloads it (close() and the
 * collector hand the last steps to a thread): keep it mapped for as long as the process lives. Done
 * here and not by a link flag because luarocks' builtin build passes none. */
static void pin_library(void)
{
    Dl_info self;

    if (dladdr((const void *)(uintptr_t)&pin_library, &self) != 0)
        (void)dlopen(self.dli_fname, RTLD_NOW | RTLD_NODELETE);
}

static int librdkafka_version(lua_State *L)
{
    lua_pushstring(L, rd_kafka_version_str());
    return 1;
}

static int set_forget(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TFUNCTION);
    lua_settop(L, 1);
    kh_set_forget(L);
    return 0;
}

__attribute__((visibility("default"))) int luaopen_kafka_history_core(lua_State *L);

int luaopen_kafka_history_core(lua_State *L)
{
    pin_library();
    lua_newtable(L);
    kh_open_message(L);
    lua_setfield(L, -2, "message");
    kh_open_waitable(L);
    lua_setfield(L, -2, "waitable");
    kh_open_consumer(L);
    lua_setfield(L, -2, "consumer");
    kh_open_broker(L);
    lua_setfield(L, -2, "broker");
    kh_open_producer(L);
    lua_setfield(L, -2, "producer");
    kh_open_doorbell(L);
    lua_setfield(L, -2, "doorbell");
    kh_open_alarm(L);
    lua_setfield(L, -2, "alarm");
    lua_pushcfunction(L, set_forget);
    lua_setfield(L, -2, "set_forget");
    lua_pushcfunction(L, librdkafka_version);
    lua_setfield(L, -2, "librdkafka_version");
    return 1;
}
