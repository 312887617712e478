/*
 * A C program with a loop of its own that runs a handler written in Lua.
 *
 *     host HANDLER ADDRESSES TOPIC
 *
 * HANDLER is a file that returns { handle =, caught_up = }, such as examples/handler.lua: business
 * logic can be changed without compiling anything. The program keeps its thread and its loop: it
 * waits in poll(2) for the consumer's descriptor beside its own, here stdin, and lets the consumer
 * take a step when there is something to do. A line on stdin is answered with how far reading is;
 * the end of stdin ends the program.
 *
 * Lua finds the module by LUA_PATH and LUA_CPATH, in the project's tree after `make examples`:
 *
 *     eval "$(make -s env)"
 *     build/examples/host examples/handler.lua localhost:9092 bookings
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* What the loop needs of Lua, as functions that C calls: less code than the same through the stack.
 * A step never blocks and handles at most one batch, which ends where history ends: so what
 * caught_up sees is exactly the history. */
static const char prepare[] =
    "local path, addresses, topic = ...\n"
    "local history = require 'kafka_history'\n"
    "local handler = dofile(path)\n"
    "local consumer = assert(history.new { addresses = addresses, topics = topic })\n"
    "local told = false\n"
    "function step()\n"
    "  local handled, err = consumer:step(handler.handle)\n"
    "  if not handled then error(err, 0) end\n"
    "  if not told and consumer:caught_up():is_ready() then\n"
    "    told = true\n"
    "    if handler.caught_up then handler.caught_up(consumer) end\n"
    "  end\n"
    "  return consumer:pollfd(), consumer:timeout()\n"
    "end\n"
    "function report()\n"
    "  local progress = consumer:progress()\n"
    "  return ('%s, %d messages'):format(progress.state, progress.messages)\n"
    "end\n"
    "function close()\n"
    "  consumer:close()\n"
    "end\n";

/* Calls the function below the `arguments` values on the stack. An error of Lua's must not get out
 * of here: this program has nobody above it who would catch it. */
static bool call(lua_State *L, int arguments, int results)
{
    if (lua_pcall(L, arguments, results, 0) == 0)
        return true;
    fprintf(stderr, "%s\n", lua_tostring(L, -1));
    lua_pop(L, 1);
    return false;
}

static bool start(lua_State *L, char **arguments)
{
    if (luaL_loadstring(L, prepare) != 0)
        return false;
    for (int i = 0; i < 3; i++)
        lua_pushstring(L, arguments[i]);
    return call(L, 3, 0);
}

/* One step. Fills in what to wait for: the descriptor, and milliseconds or -1 for without end. */
static bool step(lua_State *L, struct pollfd *consumer, int *timeout_ms)
{
    lua_getglobal(L, "step");
    if (!call(L, 0, 2))
        return false;
    consumer->fd = (int)lua_tointeger(L, -2);
    consumer->events = POLLIN;
    *timeout_ms = lua_isnil(L, -1) ? -1 : (int)ceil(lua_tonumber(L, -1) * 1000);
    lua_pop(L, 2);
    return true;
}

/* The program's own work. false: it is time to end. */
static bool answer(lua_State *L)
{
    char bytes[512];
    ssize_t count = read(STDIN_FILENO, bytes, sizeof(bytes));

    if (count <= 0)
        return false;
    for (ssize_t i = 0; i < count; i++) {
        if (bytes[i] != '\n')
            continue;
        lua_getglobal(L, "report");
        if (call(L, 0, 1)) {
            printf("%s\n", lua_tostring(L, -1));
            lua_pop(L, 1);
        }
    }
    return true;
}

static bool run(lua_State *L)
{
    struct pollfd fds[2] = {{.fd = -1}, {.fd = STDIN_FILENO, .events = POLLIN}};
    int timeout_ms;

    while (step(L, &fds[0], &timeout_ms)) {
        if (poll(fds, 2, timeout_ms) < 0 && errno != EINTR)
            return false;
        if (fds[1].revents != 0 && !answer(L))
            return true;
    }
    return false;
}

int main(int argc, char **argv)
{
    lua_State *L;
    bool succeeded;

    if (argc != 4) {
        fprintf(stderr, "usage: %s HANDLER ADDRESSES TOPIC\n", argv[0]);
        return 2;
    }
    setvbuf(stdout, NULL, _IOLBF, BUFSIZ);
    L = luaL_newstate();
    if (L == NULL)
        return EXIT_FAILURE;
    luaL_openlibs(L);
    succeeded = start(L, argv + 1) && run(L);

    /* Ends librdkafka's threads, within 5 s; lua_close() alone would leave them behind. */
    lua_getglobal(L, "close");
    if (!lua_isnil(L, -1))
        call(L, 0, 0);
    lua_close(L);
    return succeeded ? EXIT_SUCCESS : EXIT_FAILURE;
}
