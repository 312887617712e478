/* fork(2) for Lua, as far as spec/fork_spec.lua needs it. */
#include <lauxlib.h>
#include <lua.h>

#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

int luaopen_fork(lua_State *L);

/* fork(): 0 in the child, its process id in the parent. */
static int fork_process(lua_State *L)
{
    fflush(NULL);
    lua_pushinteger(L, fork());
    return 1;
}

/* wait(pid): the exit status; 128 + n: ended by signal n. */
static int wait_for(lua_State *L)
{
    int status = 0;

    if (waitpid((pid_t)luaL_checkinteger(L, 1), &status, 0) < 0)
        return luaL_error(L, "no such child");
    lua_pushinteger(L, WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status));
    return 1;
}

int luaopen_fork(lua_State *L)
{
    lua_newtable(L);
    lua_pushcfunction(L, fork_process);
    lua_setfield(L, -2, "fork");
    lua_pushcfunction(L, wait_for);
    lua_setfield(L, -2, "wait");
    return 1;
}
