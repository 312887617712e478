/*
 * The consumer as a Lua userdata: the C half. lua/kafka_history/init.lua builds the methods on it,
 * as a loop that calls handlers must be Lua for handlers to be able to yield on every Lua.
 *
 * The userdata's user value is the table that both halves share:
 *   batch     array of what is to be handled now: messages, or `fields` values a message
 *   handled   how many messages of it are handled
 *   skipped   how many of those by skipping
 *   limit     how many there are (0: stop after the current one)
 */
#include "binding.h"
#include "consumer.h"
#include "doorbell.h"
#include "message.h"
#include "waitable.h"

#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define REPORT_CLASS "kafka_history.report"
#define ENDINGS_CLASS "kafka_history.ending"
/* How long the end of a state waits for members to leave their groups. */
#define LEAVE_MS 5000

/* The state's own: when it ends, its collected members of groups must have left them. */
struct endings {
    kh_endings *count;
    pid_t pid;
};

/* --- configuration ---------------------------------------------------------------------------- */

/* An array of strings: every key one of 1 .. count. Leaves the array of pointers on the stack,
 * where they stay valid as long as the table does. */
static bool read_strings(lua_State *L, int index, kh_value *value)
{
    size_t count = lua_rawlen(L, index);
    const char **strings = kh_new_block(L, (count + 1) * sizeof *strings);
    size_t found = 0;

    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        bool fits = lua_type(L, -1) == LUA_TSTRING && kh_is_integer(L, -2);
        lua_Integer at = fits ? lua_tointeger(L, -2) : 0;

        if (!fits || at < 1 || (size_t)at > count ||
            strlen(lua_tostring(L, -1)) != lua_rawlen(L, -1)) {
            lua_pop(L, 2);
            return false;
        }
        strings[at - 1] = lua_tostring(L, -1);
        found++;
        lua_pop(L, 1);
    }
    *value = (kh_value){.type = KH_VALUE_STRINGS, .strings = strings, .count = count};
    return found == count;
}

/* A Lua value as the engine takes it. May leave one value on the stack. */
static kh_value read_value(lua_State *L, int index)
{
    kh_value value = {.type = KH_VALUE_OTHER};

    switch (lua_type(L, index)) {
    case LUA_TBOOLEAN:
        value.type = KH_VALUE_BOOLEAN;
        value.boolean = lua_toboolean(L, index);
        return value;
    case LUA_TNUMBER:
        value.type = KH_VALUE_NUMBER;
        value.number = lua_tonumber(L, index);
        return value;
    case LUA_TSTRING:
        value.string = lua_tostring(L, index);
        if (strlen(value.string) == lua_rawlen(L, index))
            value.type = KH_VALUE_STRING;
        else
            value.string = "a string with a NUL byte inside";
        return value;
    case LUA_TTABLE:
        if (read_strings(L, index, &value))
            return value;
        value = (kh_value){.type = KH_VALUE_OTHER, .string = "a table that is no array of strings"};
        return value;
    default:
        lua_pushfstring(L, "a %s", luaL_typename(L, index));
        value.string = lua_tostring(L, -1);
        return value;
    }
}

/* A name without NUL bytes: the engine would see it cut short, as another one. */
static bool is_name(lua_State *L, int key)
{
    return lua_type(L, key) == LUA_TSTRING && strlen(lua_tostring(L, key)) == lua_rawlen(L, key);
}

static bool refuse_key(lua_State *L, const char *where, int key, kh_error *error)
{
    if (lua_type(L, key) == LUA_TSTRING)
        kh_error_set(error, "CONFIG", "%s: expected names as keys, got \"%.64s\" and a NUL byte",
                     where, lua_tostring(L, key));
    else if (lua_type(L, key) == LUA_TNUMBER)
        kh_error_set(error, "CONFIG", "%s: expected names as keys, got number %.14g", where,
                     lua_tonumber(L, key));
    else
        kh_error_set(error, "CONFIG", "%s: expected names as keys, got a %s", where,
                     luaL_typename(L, key));
    return false;
}

static bool read_options(lua_State *L, int index, kh_config *config, kh_error *error)
{
    bool done = true;

    if (lua_type(L, index) != LUA_TTABLE) {
        kh_error_set(error, "CONFIG",
                     "options: expected a table of librdkafka's properties, got a %s",
                     luaL_typename(L, index));
        return false;
    }
    lua_pushnil(L);
    while (done && lua_next(L, index) != 0) {
        int value_at = lua_gettop(L);

        if (is_name(L, value_at - 1)) {
            kh_value value = read_value(L, value_at);

            done = kh_config_set_option(config, lua_tostring(L, value_at - 1), &value, error);
        } else {
            done = refuse_key(L, "options", value_at - 1, error);
        }
        lua_settop(L, value_at - 1);
    }
    return done;
}

static bool refuse_start(kh_error *error)
{
    kh_error_set(error, "CONFIG",
                 "start: expected { timestamp = ms }, { last = n } or offsets by topic and "
                 "partition, as in { orders = { [0] = 42 } }");
    return false;
}

/* { [partition] = offset } */
static bool read_start_offsets(lua_State *L, const char *topic, int index, kh_config *config,
                               kh_error *error)
{
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        bool numbers = lua_type(L, -2) == LUA_TNUMBER && lua_type(L, -1) == LUA_TNUMBER;

        if (!numbers)
            return refuse_start(error);
        if (!kh_config_set_start_offset(config, topic, lua_tonumber(L, -2), lua_tonumber(L, -1),
                                        error))
            return false;
        lua_pop(L, 1);
    }
    return true;
}

static bool read_start(lua_State *L, int index, kh_config *config, kh_error *error)
{
    int modes = 0;  /* timestamp, last */
    int topics = 0; /* with offsets */

    if (lua_type(L, index) != LUA_TTABLE)
        return refuse_start(error);
    lua_pushnil(L);
    while (lua_next(L, index) != 0) {
        int value_at = lua_gettop(L);
        const char *key = is_name(L, -2) ? lua_tostring(L, -2) : "";
        bool is_number = lua_type(L, value_at) == LUA_TNUMBER;
        bool done = false;

        if (is_number && strcmp(key, "timestamp") == 0)
            done = kh_config_set_start_timestamp(config, lua_tonumber(L, value_at), error);
        else if (is_number && strcmp(key, "last") == 0)
            done = kh_config_set_start_last(config, lua_tonumber(L, value_at), error);
        else if (lua_type(L, value_at) == LUA_TTABLE && key[0] != '\0')
            done = read_start_offsets(L, key, value_at, config, error);
        else
            return refuse_start(error);
        if (!done)
            return false;
        modes += is_number;
        topics += !is_number;
        lua_settop(L, value_at - 1);
    }
    return (modes == 1 && topics == 0) || (modes == 0 && topics > 0) || refuse_start(error);
}

static bool read_key(lua_State *L, int value_at, kh_config *config, kh_error *error)
{
    const char *key;
    kh_value value;

    if (!is_name(L, value_at - 1))
        return refuse_key(L, "configuration", value_at - 1, error);
    key = lua_tostring(L, value_at - 1);
    if (strcmp(key, "options") == 0)
        return read_options(L, value_at, config, error);
    if (strcmp(key, "start") == 0)
        return read_start(L, value_at, config, error);
    value = read_value(L, value_at);
    return kh_config_set(config, key, &value, error);
}

static bool read_config(lua_State *L, int index, kh_config *config, kh_error *error)
{
    bool done = true;

    lua_pushnil(L);
    while (done && lua_next(L, index) != 0) {
        int value_at = lua_gettop(L);

        done = read_key(L, value_at, config, error);
        lua_settop(L, value_at - 1);
    }
    return done && kh_config_finish(config, error);
}

/* Its end, when the state ends: see endings_gc. */
static void count_end(lua_State *L, kh_consumer *engine)
{
    const struct endings *endings;

    lua_getfield(L, LUA_REGISTRYINDEX, ENDINGS_CLASS "s");
    endings = lua_touserdata(L, -1);
    if (endings != NULL && endings->count != NULL)
        kh_consumer_count_end(engine, endings->count);
    lua_pop(L, 1);
}

/* new(config, shared): the consumer, or nil, "NAME: text", NAME; NAME is CONFIG for what is the
 * caller's mistake. `shared` is the table that both halves share. */
static int consumer_new(lua_State *L)
{
    struct consumer *consumer;
    kh_config *config;
    kh_error error;

    luaL_checktype(L, 1, LUA_TTABLE);
    luaL_checktype(L, 2, LUA_TTABLE);
    lua_settop(L, 2);
    /* Made and given its class before anything can fail, so that __gc is always safe. */
    consumer = kh_new_userdata(L, sizeof *consumer);
    *consumer = (struct consumer){.pid = getpid()};
    luaL_getmetatable(L, KH_CONSUMER_CLASS);
    lua_setmetatable(L, 3);
    lua_pushvalue(L, 2);
    kh_set_uservalue(L, 3);
    consumer->config = kh_config_new();
    if (consumer->config == NULL)
        return luaL_error(L, "out of memory");
    if (!read_config(L, 1, consumer->config, &error))
        return kh_push_error(L, &error);
    config = consumer->config;
    consumer->config = NULL;
    consumer->engine = kh_consumer_open(config, &error);
    if (consumer->engine == NULL)
        return kh_push_error(L, &error);
    count_end(L, consumer->engine);
    lua_settop(L, 3);
    return 1;
}

/* --- both halves ------------------------------------------------------------------------------ */

struct consumer *kh_check_consumer(lua_State *L, int index)
{
    struct consumer *consumer = luaL_checkudata(L, index, KH_CONSUMER_CLASS);

    if (consumer->pid != getpid())
        luaL_error(L, "this consumer belongs to process %d; after fork() make a new one",
                   (int)consumer->pid);
    luaL_argcheck(L, consumer->engine != NULL, index, "a consumer that was not made, or collected");
    return consumer;
}

static struct consumer *check(lua_State *L)
{
    return kh_check_consumer(L, 1);
}

static int get_count(lua_State *L, int table, const char *name)
{
    int count;

    lua_getfield(L, table, name);
    count = (int)lua_tointeger(L, -1);
    lua_pop(L, 1);
    return count;
}

/* Tells the engine what the Lua half has handled since the last time. */
static void settle(lua_State *L, struct consumer *consumer)
{
    int shared;
    int handled;

    kh_get_uservalue(L, 1);
    shared = lua_gettop(L);
    handled = get_count(L, shared, "handled");
    if (!consumer->closed && handled > consumer->told) {
        kh_consumer_handled(consumer->engine, handled - consumer->told,
                            get_count(L, shared, "skipped"));
        consumer->told = handled;
    }
    lua_pushinteger(L, 0);
    lua_setfield(L, shared, "skipped");
    lua_pop(L, 1);
}

/* shared(consumer): the table, and whether the consumer is closed. */
static int consumer_shared(lua_State *L)
{
    struct consumer *consumer = check(L);

    kh_get_uservalue(L, 1);
    lua_pushboolean(L, consumer->closed);
    return 2;
}

static void clear_batch(lua_State *L, struct consumer *consumer, int batch, int from)
{
    for (int i = from; i <= consumer->in_batch; i++) {
        lua_pushnil(L);
        lua_rawseti(L, batch, i);
    }
}

static const char *topic_of(const struct consumer *consumer, const kh_record *kept)
{
    return kh_consumer_topic(consumer->engine,
                             kh_consumer_locate(consumer->engine, kept->place).topic);
}

/* The metatable of the message's topic at `at`, which holds that of the one before, or nothing. */
static void set_class(lua_State *L, const struct consumer *consumer, const kh_message *message,
                      const void **topic, int at)
{
    const void *found = message->kept != NULL ? (const void *)topic_of(consumer, message->kept)
                                              : (const void *)message->fetched->rkt;

    if (found == *topic)
        return;
    *topic = found;
    lua_settop(L, at - 1);
    kh_push_message_class(L, message->kept != NULL ? found
                                                   : rd_kafka_topic_name(message->fetched->rkt));
}

static void push_message(lua_State *L, const struct consumer *consumer, const kh_message *message,
                         int class_at)
{
    if (message->kept == NULL)
        kh_push_message(L, message->fetched, class_at);
    else
        kh_push_record(L, message->kept,
                       kh_consumer_locate(consumer->engine, message->kept->place).partition,
                       class_at);
}

static int put_messages(lua_State *L, const struct consumer *consumer, const kh_message *messages,
                        int count, int batch)
{
    const void *topic = NULL;

    for (int i = 0; i < count; i++) {
        set_class(L, consumer, &messages[i], &topic, batch + 1);
        push_message(L, consumer, &messages[i], batch + 1);
        lua_rawseti(L, batch, i + 1);
    }
    lua_settop(L, batch);
    return count;
}

static void push_field(lua_State *L, const struct consumer *consumer, const kh_message *message,
                       kh_field field)
{
    if (message->kept == NULL)
        kh_push_field(L, message->fetched, field);
    else
        kh_push_record_field(L, message->kept, topic_of(consumer, message->kept),
                             kh_consumer_locate(consumer->engine, message->kept->place).partition,
                             field);
}

/* `fields` is an array of numbers of kh_field. */
static int put_fields(lua_State *L, const struct consumer *consumer, const kh_message *messages,
                      int count, int fields, int batch)
{
    kh_field wanted[KH_FIELDS];
    int width = (int)lua_rawlen(L, fields);

    if (width > KH_FIELDS)
        width = KH_FIELDS;
    for (int j = 0; j < width; j++) {
        lua_rawgeti(L, fields, j + 1);
        wanted[j] = (kh_field)lua_tointeger(L, -1);
        lua_pop(L, 1);
    }
    for (int i = 0; i < count; i++)
        for (int j = 0; j < width; j++) {
            push_field(L, consumer, &messages[i], wanted[j]);
            lua_rawseti(L, batch, i * width + j + 1);
        }
    return count * width;
}

/* How history is handed out: nil, true or "tombstones". */
static kh_history check_history(lua_State *L, int index)
{
    if (lua_type(L, index) == LUA_TSTRING)
        return KH_HISTORY_TOMBSTONES;
    return lua_toboolean(L, index) ? KH_HISTORY_LATEST : KH_HISTORY_WHOLE;
}

/* advance(consumer, max, stop_at_caught_up, fields or nil, latest, max_bytes): settles, takes a
 * step, fills the batch. Returns the number of messages in it, whether caught up, and whether
 * reports wait; or nil, err, code, and whether reports wait. */
static int consumer_advance(lua_State *L)
{
    struct consumer *consumer = check(L);
    kh_step how = {.max = (int)luaL_checkinteger(L, 2),
                   .stop_at_caught_up = lua_toboolean(L, 3),
                   .history = check_history(L, 5),
                   .max_bytes = kh_check_max_bytes(L, 6)};
    const kh_message *messages;
    int count;
    int filled = 0;

    luaL_argcheck(L, how.max > 0 && how.max <= KH_BATCH_MAX, 2, "out of range");
    lua_settop(L, 4);
    settle(L, consumer);
    count = kh_consumer_step(consumer->engine, &how, &messages);
    consumer->told = 0;
    kh_get_uservalue(L, 1);
    lua_pushinteger(L, 0);
    lua_setfield(L, 5, "handled");
    lua_pushinteger(L, 0);
    lua_setfield(L, 5, "limit");
    if (count < 0) {
        kh_push_error(L, kh_consumer_error(consumer->engine));
        lua_pushboolean(L, kh_consumer_has_report(consumer->engine));
        return 4;
    }
    if (count > 0 || consumer->in_batch > 0) {
        int before = consumer->in_batch;

        lua_getfield(L, 5, "batch");
        if (count > 0 && lua_istable(L, 4))
            filled = put_fields(L, consumer, messages, count, 4, 6);
        else if (count > 0)
            filled = put_messages(L, consumer, messages, count, 6);
        consumer->in_batch = before;
        clear_batch(L, consumer, 6, filled + 1);
        consumer->in_batch = filled;
    }
    lua_pushinteger(L, count);
    lua_setfield(L, 5, "limit");
    lua_pushinteger(L, count);
    lua_pushboolean(L, kh_consumer_is_caught_up(consumer->engine));
    lua_pushboolean(L, kh_consumer_has_report(consumer->engine));
    return 3;
}

/* wait(consumer, seconds): until there is something to do, at most that long (negative: no bound);
 * returns early when a signal comes. */
static int consumer_wait(lua_State *L)
{
    struct consumer *consumer = check(L);

    if (!consumer->closed)
        (void)kh_consumer_wait(consumer->engine, kh_check_timeout_ms(L, 2));
    return 0;
}

/* rest(consumer, seconds): a pause that only wake() ends early. */
static int consumer_rest(lua_State *L)
{
    struct consumer *consumer = check(L);

    if (!consumer->closed)
        (void)kh_consumer_rest(consumer->engine, kh_check_timeout_ms(L, 2));
    return 0;
}

static int consumer_wake(lua_State *L)
{
    kh_consumer_wake(check(L)->engine);
    return 0;
}

/* redirect(consumer, doorbell): from now on wake-ups go to the socket that has connected to the
 * doorbell. true, or nil, err, code. */
static int consumer_redirect(lua_State *L)
{
    struct consumer *consumer = check(L);
    kh_error error;
    int fd = kh_answer_doorbell(L, 2, &error);

    if (fd < 0 || !kh_consumer_redirect(consumer->engine, fd, &error))
        return kh_push_error(L, &error);
    lua_pushboolean(L, 1);
    return 1;
}

static void set_integer(lua_State *L, const char *name, int64_t value)
{
    lua_pushinteger(L, (lua_Integer)value);
    lua_setfield(L, -2, name);
}

static void set_offset(lua_State *L, const char *name, int64_t value)
{
    if (value >= 0)
        set_integer(L, name, value);
}

static void set_string(lua_State *L, const char *name, const char *value)
{
    if (value == NULL)
        return;
    lua_pushstring(L, value);
    lua_setfield(L, -2, name);
}

/* An array of { topic, partition }. */
static void push_places(lua_State *L, const rd_kafka_topic_partition_list_t *list)
{
    lua_createtable(L, list->cnt, 0);
    for (int i = 0; i < list->cnt; i++) {
        lua_createtable(L, 0, 2);
        set_string(L, "topic", list->elems[i].topic);
        set_integer(L, "partition", list->elems[i].partition);
        lua_rawseti(L, -2, i + 1);
    }
}

/* The report is freed by the collector should Lua run out of memory in between. */
static int report_gc(lua_State *L)
{
    kh_report **report = lua_touserdata(L, 1);

    kh_report_free(*report);
    *report = NULL;
    return 0;
}

/* report(consumer): "event" or "log" and a table with the oldest report, or "stats" and
 * librdkafka's JSON; nothing when there is none. */
static int consumer_report(lua_State *L)
{
    static const char *const kinds[] = {
        [KH_REPORT_EVENT] = "event", [KH_REPORT_LOG] = "log", [KH_REPORT_STATS] = "stats"};
    struct consumer *consumer = check(L);
    kh_report **kept = kh_new_block(L, sizeof *kept);
    const kh_report *report;

    *kept = NULL;
    luaL_getmetatable(L, REPORT_CLASS);
    lua_setmetatable(L, -2);
    *kept = kh_consumer_report(consumer->engine);
    report = *kept;
    if (report == NULL)
        return 0;
    lua_pushstring(L, kinds[report->kind]);
    if (report->kind == KH_REPORT_STATS) {
        lua_pushstring(L, report->text);
        kh_report_free(*kept);
        *kept = NULL;
        return 2;
    }
    lua_createtable(L, 0, 8);
    set_string(L, "name", report->name);
    set_string(L, "text", report->text);
    set_string(L, "topic", report->topic);
    set_string(L, "code", report->code);
    set_string(L, "cause", report->cause);
    set_offset(L, "partition", report->partition);
    set_offset(L, "offset", report->offset);
    set_offset(L, "to", report->to);
    set_offset(L, "target", report->target);
    set_offset(L, "end_offset", report->end);
    if (report->partitions != NULL) {
        push_places(L, report->partitions);
        lua_setfield(L, -2, "partitions");
    }
    if (report->lost) {
        lua_pushboolean(L, 1);
        lua_setfield(L, -2, "lost");
    }
    if (report->kind == KH_REPORT_LOG) {
        set_integer(L, "level", report->level);
        set_string(L, "facility", report->facility);
    }
    kh_report_free(*kept);
    *kept = NULL;
    return 2;
}

/* fail(consumer, name, text): the host's part of reading has failed. */
static int consumer_fail(lua_State *L)
{
    struct consumer *consumer = check(L);

    settle(L, consumer);
    if (!consumer->closed)
        kh_consumer_fail(consumer->engine, luaL_checkstring(L, 2), luaL_checkstring(L, 3));
    return 0;
}

/* current(consumer): the message that the Lua half is handling, as an object; nil: none. */
static int consumer_current(lua_State *L)
{
    struct consumer *consumer = check(L);
    const kh_message *message;
    const void *topic = NULL;

    lua_settop(L, 1);
    kh_get_uservalue(L, 1);
    message = kh_consumer_next(consumer->engine, get_count(L, 2, "handled") - consumer->told);
    if (message == NULL)
        return 0;
    set_class(L, consumer, message, &topic, 3);
    push_message(L, consumer, message, 3);
    return 1;
}

/* catches_sigint(): does the host's interpreter turn Ctrl-C into an error? It asks for the default
 * again when it has done so, which is how an interrupt is told from an error of that name. */
static int consumer_catches_sigint(lua_State *L)
{
    struct sigaction action;

    lua_pushboolean(L, sigaction(SIGINT, NULL, &action) == 0 && action.sa_handler != SIG_DFL &&
                           action.sa_handler != SIG_IGN);
    return 1;
}

/* settle(consumer): after the last message of a call, so that the signal does not wait for the
 * next. */
static int consumer_settle(lua_State *L)
{
    settle(L, check(L));
    return 0;
}

static int consumer_is_caught_up(lua_State *L)
{
    lua_pushboolean(L, kh_consumer_is_caught_up(check(L)->engine));
    return 1;
}

static int consumer_pollfd(lua_State *L)
{
    lua_pushinteger(L, kh_consumer_pollfd(check(L)->engine));
    return 1;
}

/* Seconds, or nil. */
static int consumer_timeout(lua_State *L)
{
    int timeout_ms = kh_consumer_timeout_ms(check(L)->engine);

    if (timeout_ms < 0)
        lua_pushnil(L);
    else
        lua_pushnumber(L, timeout_ms / 1000.0);
    return 1;
}

static int consumer_waitable(lua_State *L)
{
    kh_push_waitable(L, kh_consumer_latch(check(L)->engine));
    return 1;
}

/* --- progress --------------------------------------------------------------------------------- */

static void push_partition(lua_State *L, const kh_partition_progress *place)
{
    lua_createtable(L, 0, 8);
    set_string(L, "topic", place->topic);
    set_integer(L, "partition", place->partition);
    set_integer(L, "start", place->start);
    set_integer(L, "position", place->position);
    set_offset(L, "target", place->target);
    set_offset(L, "end_offset", place->end_offset);
    set_integer(L, "lag", place->lag);
    lua_pushboolean(L, place->caught_up);
    lua_setfield(L, -2, "caught_up");
}

static void set_rates(lua_State *L, const kh_progress *progress, bool caught_up)
{
    int64_t left = progress->offsets_total - progress->offsets_done;
    double fraction = progress->offsets_total > 0
                          ? (double)progress->offsets_done / (double)progress->offsets_total
                          : 0;

    /* Everything passed and not caught up: the end is still to be confirmed. */
    if (caught_up)
        fraction = 1;
    else if (fraction > 0.9999)
        fraction = 0.9999;
    lua_pushnumber(L, fraction);
    lua_setfield(L, -2, "fraction");
    lua_pushnumber(L, progress->rate);
    lua_setfield(L, -2, "rate");
    if (caught_up || progress->offset_rate > 0) {
        lua_pushnumber(L, caught_up ? 0 : (double)left / progress->offset_rate);
        lua_setfield(L, -2, "eta");
    }
    lua_pushnumber(L, (double)progress->elapsed_ms / 1000);
    lua_setfield(L, -2, "seconds");
}

/* progress(consumer): the one method that answers in every state. */
static int consumer_progress(lua_State *L)
{
    static const char *const states[] = {[KH_STARTING] = "starting",
                                         [KH_READING] = "reading",
                                         [KH_CAUGHT_UP] = "caught_up",
                                         [KH_FAILED] = "failed",
                                         [KH_CLOSED] = "closed"};
    struct consumer *consumer = check(L);
    kh_progress progress;

    lua_settop(L, 1);
    settle(L, consumer);
    progress = kh_consumer_progress(consumer->engine);
    lua_createtable(L, 0, 16);
    set_string(L, "state", states[progress.state]);
    set_integer(L, "messages", progress.messages);
    set_integer(L, "read", progress.read);
    set_integer(L, "kept_bytes", progress.kept_bytes);
    set_integer(L, "bytes", progress.bytes);
    set_integer(L, "skipped", progress.skipped);
    set_integer(L, "gaps", progress.gaps);
    set_integer(L, "truncated", progress.truncated);
    set_integer(L, "offsets_done", progress.offsets_done);
    set_integer(L, "offsets_total", progress.offsets_total);
    set_integer(L, "lag", progress.lag);
    set_rates(L, &progress, kh_consumer_is_caught_up(consumer->engine));
    lua_createtable(L, progress.partition_count, 0);
    for (int i = 0, count = 0; i < progress.partition_count; i++) {
        kh_partition_progress place = kh_consumer_partition(consumer->engine, i);

        if (!place.assigned)
            continue;
        push_partition(L, &place);
        lua_rawseti(L, -2, ++count);
    }
    lua_setfield(L, -2, "partitions");
    return 1;
}

/* --- a member's own --------------------------------------------------------------------------- */

static int consumer_is_member(lua_State *L)
{
    lua_pushboolean(L, kh_consumer_is_member(check(L)->engine));
    return 1;
}

/* commit(consumer): asks to commit what was handled; a number to ask with. */
static int consumer_commit(lua_State *L)
{
    struct consumer *consumer = check(L);

    settle(L, consumer);
    lua_pushinteger(L, (lua_Integer)kh_consumer_commit(consumer->engine));
    return 1;
}

/* commit_state(consumer, number): true when it is committed, false while it is under way; nil, err,
 * code. */
static int consumer_commit_state(lua_State *L)
{
    struct consumer *consumer = check(L);
    kh_error error;
    kh_commit_state state =
        kh_consumer_commit_state(consumer->engine, (int64_t)luaL_checkinteger(L, 2), &error);

    if (state == KH_COMMIT_FAILED)
        return kh_push_error(L, &error);
    lua_pushboolean(L, state == KH_COMMIT_DONE);
    return 1;
}

static int consumer_answer_fd(lua_State *L)
{
    lua_pushinteger(L, kh_consumer_answer_fd(check(L)->engine));
    return 1;
}

/* wait_for_answer(consumer, seconds): until commit_state has something to look at. */
static int consumer_wait_for_answer(lua_State *L)
{
    (void)kh_consumer_wait_for_answer(check(L)->engine, kh_check_timeout_ms(L, 2));
    return 0;
}

/* --- the end ---------------------------------------------------------------------------------- */

/* close(consumer, seconds): begins librdkafka's end and waits for it, at most that long. */
static int consumer_close(lua_State *L)
{
    struct consumer *consumer = check(L);
    int wait_ms = kh_check_timeout_ms(L, 2);

    luaL_argcheck(L, wait_ms >= 0, 2, "out of range");
    lua_settop(L, 1);
    settle(L, consumer);
    consumer->closed = true;
    kh_consumer_close(consumer->engine, wait_ms);
    return 0;
}

/* has_ended(consumer): whether the end that close() has begun is over; while it is not, the fd
 * becomes readable when it is. */
static int consumer_has_ended(lua_State *L)
{
    lua_pushboolean(L, kh_consumer_has_ended(check(L)->engine));
    return 1;
}

/* A loop may still look at them. */
static void forget_fds(lua_State *L, const kh_consumer *engine)
{
    kh_forget_fd(L, kh_consumer_pollfd(engine));
    if (kh_consumer_is_member(engine))
        kh_forget_fd(L, kh_consumer_answer_fd(engine));
}

/* Lua finalizes what it ends with in reverse order: this was made before every consumer, so the
 * consumers that were left to the collector are on their way out now. */
static int endings_gc(lua_State *L)
{
    struct endings *endings = lua_touserdata(L, 1);

    if (endings->count != NULL && endings->pid == getpid()) {
        (void)kh_endings_wait(endings->count, LEAVE_MS);
        kh_endings_drop(endings->count);
    }
    endings->count = NULL;
    return 0;
}

static int consumer_gc(lua_State *L)
{
    struct consumer *consumer = luaL_checkudata(L, 1, KH_CONSUMER_CLASS);

    if (consumer->pid == getpid()) {
        if (consumer->engine != NULL)
            forget_fds(L, consumer->engine);
        kh_config_free(consumer->config);
        kh_consumer_free(consumer->engine);
    }
    consumer->config = NULL;
    consumer->engine = NULL;
    consumer->closed = true;
    return 0;
}

static int consumer_tostring(lua_State *L)
{
    const struct consumer *consumer = luaL_checkudata(L, 1, KH_CONSUMER_CLASS);

    lua_pushfstring(L, KH_CONSUMER_CLASS ": %p%s", (const void *)consumer,
                    consumer->closed ? " (closed)" : "");
    return 1;
}

/* now(): seconds of a clock that never goes back. */
static int consumer_now(lua_State *L)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    lua_pushnumber(L, (lua_Number)now.tv_sec + (lua_Number)now.tv_nsec / 1e9);
    return 1;
}

static const luaL_Reg no_methods[] = {{NULL, NULL}};

static const luaL_Reg metamethods[] = {
    {"__gc", consumer_gc},
    {"__tostring", consumer_tostring},
    {NULL, NULL},
};

static const luaL_Reg report_metamethods[] = {
    {"__gc", report_gc},
    {NULL, NULL},
};

static const luaL_Reg endings_metamethods[] = {
    {"__gc", endings_gc},
    {NULL, NULL},
};

/* Once a state, however often the module is opened in it. */
static void open_endings(lua_State *L)
{
    struct endings *endings;

    kh_new_class(L, ENDINGS_CLASS, no_methods, endings_metamethods);
    lua_pop(L, 1);
    lua_getfield(L, LUA_REGISTRYINDEX, ENDINGS_CLASS "s");
    if (lua_isnil(L, -1)) {
        endings = kh_new_userdata(L, sizeof *endings);
        *endings = (struct endings){.pid = getpid()};
        luaL_getmetatable(L, ENDINGS_CLASS);
        lua_setmetatable(L, -2);
        endings->count = kh_endings_new();
        lua_setfield(L, LUA_REGISTRYINDEX, ENDINGS_CLASS "s");
    }
    lua_pop(L, 1);
}

static const luaL_Reg functions[] = {
    {"new", consumer_new},
    {"shared", consumer_shared},
    {"advance", consumer_advance},
    {"wait", consumer_wait},
    {"wake", consumer_wake},
    {"redirect", consumer_redirect},
    {"report", consumer_report},
    {"rest", consumer_rest},
    {"current", consumer_current},
    {"catches_sigint", consumer_catches_sigint},
    {"fail", consumer_fail},
    {"settle", consumer_settle},
    {"close", consumer_close},
    {"has_ended", consumer_has_ended},
    {"pollfd", consumer_pollfd},
    {"timeout", consumer_timeout},
    {"is_caught_up", consumer_is_caught_up},
    {"waitable", consumer_waitable},
    {"progress", consumer_progress},
    {"is_member", consumer_is_member},
    {"commit", consumer_commit},
    {"commit_state", consumer_commit_state},
    {"answer_fd", consumer_answer_fd},
    {"wait_for_answer", consumer_wait_for_answer},
    {"now", consumer_now},
    {NULL, NULL},
};

/* The table of functions, with the class' methods and metamethods, which Lua writes, and the
 * numbers of the fields. */
int kh_open_consumer(lua_State *L)
{
    lua_newtable(L);
    luaL_setfuncs(L, functions, 0);
    open_endings(L);
    kh_new_class(L, REPORT_CLASS, no_methods, report_metamethods);
    lua_pop(L, 1);
    kh_new_class(L, KH_CONSUMER_CLASS, no_methods, metamethods);
    lua_getfield(L, -1, "__index");
    lua_setfield(L, -3, "methods");
    lua_setfield(L, -2, "metamethods");
    lua_createtable(L, 0, KH_FIELDS);
    for (int field = 0; field < KH_FIELDS; field++) {
        lua_pushinteger(L, field);
        lua_setfield(L, -2, kh_field_names[field]);
    }
    lua_setfield(L, -2, "fields");
    return 1;
}
