/* poll(2) for Lua, and a limit of open files above 1024: what the specs of hosts need. */
#include <lauxlib.h>
#include <lua.h>

#include <poll.h>
#include <sys/resource.h>

#define FDS 16

int luaopen_poll(lua_State *L);

/* poll(fds, seconds): those of the array that are readable, after at most that long (negative: no
 * bound), as an array. */
static int poll_fds(lua_State *L)
{
    struct pollfd watched[FDS];
    nfds_t count = 0;
    int ready = 0;
    double seconds = luaL_checknumber(L, 2);

    for (; count < FDS; count++) {
        lua_rawgeti(L, 1, (int)count + 1);
        if (lua_isnil(L, -1))
            break;
        watched[count] = (struct pollfd){.fd = (int)lua_tointeger(L, -1), .events = POLLIN};
        lua_pop(L, 1);
    }
    if (poll(watched, count, seconds < 0 ? -1 : (int)(seconds * 1000 + 0.999)) < 0)
        count = 0; /* a signal came */
    lua_newtable(L);
    for (nfds_t i = 0; i < count; i++)
        if (watched[i].revents != 0) {
            lua_pushinteger(L, watched[i].fd);
            lua_rawseti(L, -2, ++ready);
        }
    return 1;
}

/* allow(count): as many open files, where the hard limit lets it. */
static int allow(lua_State *L)
{
    struct rlimit limit;
    rlim_t count = (rlim_t)luaL_checkinteger(L, 1);

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < count) {
        limit.rlim_cur = count;
        if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
            return luaL_error(L, "cannot open %d files", (int)count);
    }
    return 0;
}

int luaopen_poll(lua_State *L)
{
    lua_newtable(L);
    lua_pushcfunction(L, poll_fds);
    lua_setfield(L, -2, "poll");
    lua_pushcfunction(L, allow);
    lua_setfield(L, -2, "allow");
    return 1;
}
