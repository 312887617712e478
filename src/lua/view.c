/*
 * The view as a Lua userdata: what is kept, and looking at it. lua/kafka_history/view.lua builds
 * the methods that read on it, and on its consumer.
 *
 * The userdata's user value is the table that both halves share; `consumer` in it is the consumer's
 * userdata.
 */
#include "binding.h"
#include "consumer.h"
#include "message.h"

#include "../engine/view.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define VIEW_CLASS "kafka_history.view"
#define WALK_CLASS "kafka_history.walk"

struct view {
    const char *kind; /* &view_kind */
    kh_view *engine;
    const struct consumer *consumer;
};

/* Its address tells a view from other userdata sooner than its metatable does. */
static const char view_kind = 0;

/* new(consumer, shared) */
static int view_new(lua_State *L)
{
    struct consumer *consumer = kh_check_consumer(L, 1);
    struct view *view;
    kh_error error;

    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    view = kh_new_userdata(L, sizeof *view);
    *view = (struct view){.kind = &view_kind};
    luaL_getmetatable(L, VIEW_CLASS);
    lua_setmetatable(L, 3);
    lua_pushvalue(L, 1);
    lua_setfield(L, 2, "consumer");
    lua_pushvalue(L, 2);
    kh_set_uservalue(L, 3);
    view->engine = kh_view_new(consumer->engine, &error);
    if (view->engine == NULL)
        return kh_push_error(L, &error);
    view->consumer = consumer;
    return 1;
}

static void release(struct view *view)
{
    kh_view_free(view->engine);
    view->engine = NULL;
}

static struct view *check(lua_State *L)
{
    struct view *view = lua_touserdata(L, 1);

    if (view != NULL && lua_rawlen(L, 1) >= sizeof *view && view->kind == &view_kind)
        return view;
    return luaL_checkudata(L, 1, VIEW_CLASS); /* which says what is wrong */
}

/* The same where there must be something to look at: false once the consumer is closed. */
static bool is_open(struct view *view)
{
    if (view->engine != NULL && !view->consumer->closed)
        return true;
    release(view);
    return false;
}

static int push_closed(lua_State *L)
{
    return kh_push_word(L, "closed", "CLOSED");
}

/* shared(view): the table. */
static int view_shared(lua_State *L)
{
    (void)check(L);
    kh_get_uservalue(L, 1);
    return 1;
}

/* release(view): frees what is kept, if the consumer is closed. */
static int view_release(lua_State *L)
{
    (void)is_open(check(L));
    return 0;
}

/* --- changes ---------------------------------------------------------------------------------- */

/* Lua's count of what is handled of the batch, as the engine counts what is ahead. */
static int check_ahead(lua_State *L, const struct view *view, int index)
{
    return (int)luaL_checkinteger(L, index) - view->consumer->told;
}

/* put(view, handled, limit, max_bytes or nil): takes the messages of the batch behind those that
 * are handled. Returns how many then are, and if that is not all of them the error's code and text.
 */
static int view_put(lua_State *L)
{
    struct view *view = check(L);
    int at = check_ahead(L, view, 2);
    int end = check_ahead(L, view, 3);
    int64_t max_bytes = kh_check_max_bytes(L, 4);
    kh_error error;

    if (!is_open(view))
        return luaL_error(L, "closed");
    while (at < end && kh_view_put(view->engine, at, max_bytes, &error) != KH_VIEW_FAILED)
        at++;
    lua_pushinteger(L, at + view->consumer->told);
    if (at >= end)
        return 1;
    lua_pushstring(L, error.name);
    lua_pushstring(L, error.text);
    return 3;
}

static void push_value(lua_State *L, const kh_record *record)
{
    if (record == NULL)
        lua_pushnil(L);
    else
        lua_pushlstring(L, kh_record_value(record), record->value_length);
}

/* change(view, handled, max_bytes or nil): takes the next message. Returns its key, the new value,
 * the one before, and its topic; or nil, when it changes nothing; or false, the error's code and
 * text. What is returned is made before the table is changed, as memory may be lacking. */
static int view_change(lua_State *L)
{
    struct view *view = check(L);
    int ahead = check_ahead(L, view, 2);
    int64_t max_bytes = kh_check_max_bytes(L, 3);
    const kh_message *next;
    const rd_kafka_message_t *message;
    const char *topic_name;
    int topic;
    kh_error error;

    if (!is_open(view))
        return luaL_error(L, "closed");
    next = kh_consumer_next(view->consumer->engine, ahead);
    luaL_argcheck(L, next != NULL, 2, "out of range");
    message = next->fetched;
    topic = kh_consumer_locate(view->consumer->engine,
                               kh_consumer_next_partition(view->consumer->engine, ahead))
                .topic;
    topic_name = kh_view_topic(view->engine, topic);
    lua_settop(L, 1);
    if (message->key != NULL) {
        lua_pushlstring(L, message->key, message->key_len);
        if (message->payload != NULL)
            lua_pushlstring(L, message->payload, message->len);
        else
            lua_pushnil(L);
        push_value(L, kh_view_find(view->engine, topic, message->key, message->key_len));
        lua_pushstring(L, topic_name);
    }
    switch (kh_view_put(view->engine, ahead, max_bytes, &error)) {
    case KH_VIEW_CHANGED:
        return 4;
    case KH_VIEW_UNCHANGED:
        return 0;
    case KH_VIEW_FAILED:
        break;
    }
    lua_pushboolean(L, 0);
    lua_pushstring(L, error.name);
    lua_pushstring(L, error.text);
    return 3;
}

/* counts(view): keys, bytes, messages without a key. */
static int view_counts(lua_State *L)
{
    struct view *view = check(L);
    size_t keys = 0;

    if (!is_open(view))
        return push_closed(L);
    for (int i = 0; i < kh_view_topic_count(view->engine); i++)
        keys += kh_view_count(view->engine, i);
    lua_pushinteger(L, (lua_Integer)keys);
    lua_pushinteger(L, (lua_Integer)kh_view_bytes(view->engine));
    lua_pushinteger(L, (lua_Integer)kh_view_without_key(view->engine));
    return 3;
}

/* --- looks ------------------------------------------------------------------------------------ */

/* The number of the topic named at the index; where there is only one it need not be. */
static int check_topic(lua_State *L, const struct view *view, const char *method, int index)
{
    int count = kh_view_topic_count(view->engine);
    const char *name;

    if (lua_isnoneornil(L, index)) {
        if (count == 1)
            return 0;
        return luaL_error(L, "%s: this view has %d topics: say which", method, count);
    }
    if (lua_type(L, index) != LUA_TSTRING)
        return luaL_error(L, "%s: expected a topic's name, got a %s", method,
                          luaL_typename(L, index));
    name = lua_tostring(L, index);
    for (int i = 0; i < count; i++)
        if (strcmp(kh_view_topic(view->engine, i), name) == 0)
            return i;
    return luaL_error(L, "%s: this view has no topic \"%s\"", method, name);
}

static const kh_record *find(lua_State *L, const struct view *view, const char *method)
{
    int topic = check_topic(L, view, method, 3);
    const char *key;
    size_t length;

    if (lua_type(L, 2) != LUA_TSTRING)
        luaL_error(L, "%s: expected a key, a string, got %s%s", method, lua_isnil(L, 2) ? "" : "a ",
                   luaL_typename(L, 2));
    key = lua_tolstring(L, 2, &length);
    return kh_view_find(view->engine, topic, key, length);
}

/* get(key[, topic]): the latest value, or nil. */
static int view_get(lua_State *L)
{
    struct view *view = check(L);

    if (!is_open(view))
        return push_closed(L);
    push_value(L, find(L, view, "get"));
    return 1;
}

/* message(key[, topic]): the message that it came in, or nil. */
static int view_message(lua_State *L)
{
    struct view *view = check(L);
    const kh_record *record;
    kh_location location;

    if (!is_open(view))
        return push_closed(L);
    record = find(L, view, "message");
    if (record == NULL)
        return 0;
    location = kh_consumer_locate(view->consumer->engine, record->place);
    lua_settop(L, 2);
    kh_push_message_class(L, kh_view_topic(view->engine, location.topic));
    kh_push_record(L, record, location.partition, 3);
    return 1;
}

/* len([topic]), and #view, where Lua gives the view twice: how many keys there are. */
static int view_len(lua_State *L)
{
    struct view *view = check(L);
    bool is_named = !lua_isnoneornil(L, 2) && !lua_rawequal(L, 1, 2);
    int first = 0;
    int end = 0;
    size_t keys = 0;

    if (is_open(view)) {
        first = is_named ? check_topic(L, view, "len", 2) : 0;
        end = is_named ? first + 1 : kh_view_topic_count(view->engine);
    }
    for (int i = first; i < end; i++)
        keys += kh_view_count(view->engine, i);
    lua_pushinteger(L, (lua_Integer)keys);
    return 1;
}

/* --- walks ------------------------------------------------------------------------------------ */

static int walk_gc(lua_State *L)
{
    kh_view_leave(lua_touserdata(L, 1));
    return 0;
}

/* The iterator: its upvalues are the walk and its view. */
static int walk_next(lua_State *L)
{
    const kh_record *record;
    struct view *view = lua_touserdata(L, lua_upvalueindex(2));

    (void)is_open(view);
    record = kh_view_next(lua_touserdata(L, lua_upvalueindex(1)));
    if (record == NULL)
        return 0;
    lua_pushlstring(L, kh_record_key(record), record->key_length);
    push_value(L, record);
    return 2;
}

/* pairs([topic]): for key, value in view:pairs() do */
static int view_pairs(lua_State *L)
{
    struct view *view = check(L);
    kh_view_walk *walk;
    int topic = 0;

    if (is_open(view))
        topic = check_topic(L, view, "pairs", 2);
    walk = kh_new_userdata(L, sizeof *walk);
    *walk = (kh_view_walk){.view = NULL};
    luaL_getmetatable(L, WALK_CLASS);
    lua_setmetatable(L, -2);
    lua_pushvalue(L, 1);
    lua_pushcclosure(L, walk_next, 2);
    if (view->engine != NULL) {
        lua_getupvalue(L, -1, 1);
        kh_view_begin(view->engine, topic, lua_touserdata(L, -1));
        lua_pop(L, 1);
    }
    return 1;
}

/* --- the end ---------------------------------------------------------------------------------- */

static int view_gc(lua_State *L)
{
    release(luaL_checkudata(L, 1, VIEW_CLASS));
    return 0;
}

static int view_tostring(lua_State *L)
{
    struct view *view = check(L);

    lua_pushfstring(L, VIEW_CLASS ": %p%s", (const void *)view, is_open(view) ? "" : " (closed)");
    return 1;
}

static const luaL_Reg methods[] = {
    {"get", view_get}, {"message", view_message}, {"pairs", view_pairs}, {"len", view_len},
    {NULL, NULL},
};

static const luaL_Reg metamethods[] = {
    {"__gc", view_gc},
    {"__len", view_len},
    {"__tostring", view_tostring},
    {NULL, NULL},
};

static const luaL_Reg no_methods[] = {{NULL, NULL}};

static const luaL_Reg walk_metamethods[] = {
    {"__gc", walk_gc},
    {NULL, NULL},
};

static const luaL_Reg functions[] = {
    {"new", view_new}, {"shared", view_shared}, {"release", view_release},
    {"put", view_put}, {"change", view_change}, {"counts", view_counts},
    {NULL, NULL},
};

int kh_open_view(lua_State *L)
{
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    kh_new_class(L, WALK_CLASS, no_methods, walk_metamethods);
    lua_pop(L, 1);
    kh_new_class(L, VIEW_CLASS, methods, metamethods);
    lua_getfield(L, -1, "__index");
    lua_setfield(L, -3, "methods");
    lua_setfield(L, -2, "metamethods");
    return 1;
}
