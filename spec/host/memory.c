/*
 * memory: runs one function of a script in a Lua state whose memory runs out, at its first
 * allocation from then on, at its second, and so on until a run needs no more. spec/memory_spec.lua
 * builds and calls it:
 *
 *     memory script function once|ever argument ...
 *
 * The script returns a table of functions. For each run, in a state of its own: `prepare` with
 * memory, the function without, then `check`, with memory again, which raises when something is
 * wrong. "once": one allocation fails, for good, and the next one succeeds; "ever": so do all that
 * follow it. The function must return or raise an error that says that memory was lacking; of
 * everything allocated, nothing may be left when the state is closed.
 */
#include <lauxlib.h>
#include <lua.h>
#include <lualib.h>

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct memory {
    bool is_scarce;
    bool for_ever;
    bool is_asked_again; /* Lua collects its garbage and asks for the same once more */
    long asked;
    long failing;
    long failures;
    long blocks;
};

struct command {
    const char *script;
    const char *function;
    int argument_count;
    char **arguments;
};

static bool fails(struct memory *memory)
{
    if (!memory->is_scarce)
        return false;
    memory->asked++;
    if (memory->asked < memory->failing)
        return false;
    if (memory->asked > memory->failing + memory->is_asked_again && !memory->for_ever)
        return false;
    memory->failures++;
    return true;
}

static void *allocate(void *opaque, void *block, size_t old_size, size_t size)
{
    struct memory *memory = opaque;
    void *grown;

    if (size == 0) {
        memory->blocks -= block != NULL;
        free(block);
        return NULL;
    }
    /* Lua relies on that shrinking never fails. */
    if ((block == NULL || size > old_size) && fails(memory))
        return NULL;
    grown = realloc(block, size);
    memory->blocks += block == NULL && grown != NULL;
    return grown;
}

/* The script's table is at index 1. */
static int call(lua_State *L, const char *function, const struct command *command)
{
    lua_getfield(L, 1, function);
    for (int i = 0; i < command->argument_count; i++)
        lua_pushstring(L, command->arguments[i]);
    return lua_pcall(L, command->argument_count, 0, 0);
}

static const char *text_of(lua_State *L)
{
    const char *text = lua_tostring(L, -1);

    return text != NULL ? text : "(an error that is no text)";
}

/* Everything of the run that Lua itself may not fail in. */
static bool prepare(lua_State *L, const struct command *command)
{
    luaL_openlibs(L);
    if (luaL_loadfile(L, command->script) == 0 && lua_pcall(L, 0, 1, 0) == 0 &&
        call(L, "prepare", command) == 0)
        return true;
    printf("cannot prepare: %s\n", text_of(L));
    return false;
}

static bool run(lua_State *L, const struct command *command, struct memory *memory)
{
    int failed;

    if (!prepare(L, command))
        return false;
    lua_getfield(L, 1, command->function);
    for (int i = 0; i < command->argument_count; i++)
        lua_pushstring(L, command->arguments[i]);
    memory->is_scarce = true;
    failed = lua_pcall(L, command->argument_count, 0, 0);
    memory->is_scarce = false;
    if (failed != 0 && (memory->failures == 0 || strstr(text_of(L), "not enough memory") == NULL)) {
        printf("allocation %ld: %s\n", memory->failing, text_of(L));
        return false;
    }
    lua_settop(L, 1);
    if (call(L, "check", command) == 0)
        return true;
    printf("allocation %ld, after it: %s\n", memory->failing, text_of(L));
    return false;
}

static bool run_in_new_state(const struct command *command, struct memory *memory)
{
    lua_State *L = lua_newstate(allocate, memory);
    bool good;

    if (L == NULL) {
        printf("no state with an allocator of its own\n");
        return false;
    }
    good = run(L, command, memory);
    lua_close(L);
    if (memory->blocks != 0)
        printf("allocation %ld: %ld blocks are left\n", memory->failing, memory->blocks);
    return good && memory->blocks == 0;
}

int main(int count, char **words)
{
    struct command command;
    long failing = 0;
    bool through = false;

    if (count < 4)
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    command = (struct command){.script = words[1],
                               .function = words[2],
                               .argument_count = count - 4,
                               .arguments = words + 4};
    while (!through) {
        struct memory memory = {.failing = ++failing,
                                .for_ever = strcmp(words[3], "ever") == 0,
                                .is_asked_again = LUA_VERSION_NUM > 501};

        if (!run_in_new_state(&command, &memory))
            return 1;
        through = memory.failures == 0;
    }
    printf("%ld runs\n", failing);
    return 0;
}
