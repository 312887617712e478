/*
 * A C program with two Lua states: one reads a topic, the other one, on a thread of its own, waits
 * until everything that was there at the start has been handled.
 *
 *     two_states ADDRESSES TOPIC
 *
 * What goes from one state to the other is the waitable. It has Lanes' metamethod for that,
 * __lanesclone(to, from, size), which any program may call: it makes the userdata at `to` another
 * reference to the same signal. In the state that reads, a wait would never end; in the other one
 * wait() blocks its thread alone. Both write whole lines, as print() writes the line and its end
 * apart.
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#if LUA_VERSION_NUM < 502
#define lua_rawlen lua_objlen
#endif

static const char prepare[] =
    "local addresses, topic = ...\n"
    "local history = require 'kafka_history'\n"
    "consumer = assert(history.new { addresses = addresses, topics = topic })\n"
    "return consumer:caught_up()\n";

static const char read_all[] = "local count = 0\n"
                               "assert(consumer:read_history(function() count = count + 1 end,\n"
                               "  { stop_at = 'caught_up' }))\n"
                               "io.write('the reader has handled ' .. count .. ' messages\\n')\n"
                               "consumer:close()\n";

static const char wait_for_it[] =
    "local caught_up = ...\n"
    "local ok, err = caught_up:wait()\n"
    "io.write('the other state: ' .. (ok and 'caught up' or err) .. '\\n')\n";

static lua_State *open_state(void)
{
    lua_State *L = luaL_newstate();

    if (L == NULL)
        exit(EXIT_FAILURE);
    luaL_openlibs(L);
    return L;
}

/* Loads a chunk below the `arguments` values that are on the stack, and calls it. */
static void run(lua_State *L, const char *chunk, int arguments, int results)
{
    int failed = luaL_loadstring(L, chunk);

    lua_insert(L, -1 - arguments);
    if (failed == 0)
        failed = lua_pcall(L, arguments, results, 0);
    if (failed != 0) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        exit(EXIT_FAILURE);
    }
}

/* Makes the waitable on top of the one stack another one on top of the other. Both states must be
 * at rest: this is before the thread begins. */
static void hand_over(lua_State *from, lua_State *to)
{
    int original = lua_gettop(from);
    void *copy;

    run(to, "require 'kafka_history'", 0, 0); /* registers the class there as well */
    copy = lua_newuserdata(to, lua_rawlen(from, original));
    luaL_getmetafield(from, original, "__lanesclone");
    lua_pushlightuserdata(from, copy);
    lua_pushlightuserdata(from, lua_touserdata(from, original));
    lua_pushinteger(from, (lua_Integer)lua_rawlen(from, original));
    lua_call(from, 3, 0);
    luaL_getmetatable(to, "kafka_history.waitable");
    lua_setmetatable(to, -2);
}

static void *run_other(void *opaque)
{
    lua_State *L = opaque;

    run(L, wait_for_it, 1, 0);
    return NULL;
}

int main(int argc, char **argv)
{
    pthread_t thread;
    lua_State *reader;
    lua_State *other;

    if (argc != 3) {
        fprintf(stderr, "usage: %s ADDRESSES TOPIC\n", argv[0]);
        return 2;
    }
    reader = open_state();
    other = open_state();
    lua_pushstring(reader, argv[1]);
    lua_pushstring(reader, argv[2]);
    run(reader, prepare, 2, 1);
    hand_over(reader, other);
    if (pthread_create(&thread, NULL, run_other, other) != 0)
        return EXIT_FAILURE;
    run(reader, read_all, 0, 0);
    pthread_join(thread, NULL);
    lua_close(other);
    lua_close(reader);
    return EXIT_SUCCESS;
}
