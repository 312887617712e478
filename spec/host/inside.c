/* What a host sees and does of the fast build, for spec/fast/inside_spec.lua. */
#include <lauxlib.h>
#include <lua.h>

#include <dlfcn.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

static const char *const family[] = {"malloc", "calloc", "realloc", "free", "strdup", "strndup"};

/* addresses(): where this module and the whole process find the C library's functions, a string. */
static int addresses(lua_State *L)
{
    void *(*volatile own)(size_t) = malloc;
    luaL_Buffer text;

    luaL_buffinit(L, &text);
    lua_pushfstring(L, "own %p", (void *)own);
    luaL_addvalue(&text);
    for (size_t i = 0; i < sizeof family / sizeof family[0]; i++) {
        void *found = dlsym(RTLD_DEFAULT, family[i]);
        Dl_info info = {.dli_fname = "nowhere"};

        dladdr(found, &info);
        lua_pushfstring(L, ", %s %p in %s", family[i], found, info.dli_fname);
        luaL_addvalue(&text);
    }
    luaL_pushresult(&text);
    return 1;
}

static void *load(void *path)
{
    return dlopen(path, RTLD_NOW | RTLD_LOCAL);
}

/* load_elsewhere(path): loads the library in a thread that ends then. */
static int load_elsewhere(lua_State *L)
{
    pthread_t thread;
    void *library = NULL;

    if (pthread_create(&thread, NULL, load, (void *)luaL_checkstring(L, 1)) != 0)
        return luaL_error(L, "no thread");
    pthread_join(thread, &library);
    lua_pushboolean(L, library != NULL);
    return 1;
}

int luaopen_inside(lua_State *L)
{
    lua_newtable(L);
    lua_pushcfunction(L, addresses);
    lua_setfield(L, -2, "addresses");
    lua_pushcfunction(L, load_elsewhere);
    lua_setfield(L, -2, "load_elsewhere");
    return 1;
}
