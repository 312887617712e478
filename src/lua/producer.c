/*
 * The class "kafka_history.producer": a small producer for demos and specs, of real brokers too.
 */
#include "../engine/library.h"
#include "records.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define TYPE "kafka_history.producer"

#define SEND_TIMEOUT_S 5
#define FLUSH_TIMEOUT_S 60
#define TRANSACTION_TIMEOUT_S 30
/* What close() takes at most, and how much of it goes to messages still on their way. */
#define CLOSE_TIMEOUT_MS 5000
#define CLOSE_FLUSH_MS 4000

typedef struct producer {
    pid_t pid;
    bool transactional;
    bool initialised;      /* init_transactions succeeded */
    rd_kafka_conf_t *conf; /* only while new() may still raise */
    kh_client *client;     /* NULL: closed */
} producer;

/* ---- configuration ---- */

static bool is_secret(const char *property)
{
    static const char *const marks[] = {"password", "secret", ".pem",  ".key",     "_key",
                                        "jaas",     "config", "token", "kinit.cmd"};

    for (size_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
        if (strstr(property, marks[i]))
            return strstr(property, ".location") == NULL;
    return false;
}

static void set_property(lua_State *L, producer *self, const char *property, const char *value)
{
    char reason[512];
    rd_kafka_conf_res_t result =
        rd_kafka_conf_set(self->conf, property, value, reason, sizeof(reason));

    if (result == RD_KAFKA_CONF_OK)
        return;
    if (result != RD_KAFKA_CONF_UNKNOWN && is_secret(property))
        (void)luaL_error(L,
                         "producer.new: options['%s']: librdkafka refuses the value (not shown: "
                         "it is secret)",
                         property);
    if (result == RD_KAFKA_CONF_UNKNOWN)
        kh_library_suggest_property(property, reason, sizeof(reason));
    (void)luaL_error(L, "producer.new: '%s': %s", property, reason);
}

/* Raises when an option has a key of its own in the table given to new(). */
static void check_owned(lua_State *L, const char *property)
{
    static const char *const owned[][2] = {
        {"bootstrap.servers", "addresses"},
        {"metadata.broker.list", "addresses"},
        {"client.id", "client_id"},
        {"transactional.id", "transactional_id"},
    };

    for (size_t i = 0; i < sizeof(owned) / sizeof(owned[0]); i++)
        if (strcmp(owned[i][0], property) == 0)
            (void)luaL_error(L, "producer.new: options['%s'] is set with the key %s", property,
                             owned[i][1]);
}

/* The value on top as librdkafka writes it; its conversion stays on the stack. */
static const char *property_value(lua_State *L, const char *property)
{
    char number[32];
    size_t length;
    const char *value;

    switch (lua_type(L, -1)) {
    case LUA_TBOOLEAN:
        return lua_pushfstring(L, lua_toboolean(L, -1) ? "true" : "false");
    case LUA_TNUMBER:
        if (kh_is_integer(L, -1))
            (void)snprintf(number, sizeof(number), "%lld", (long long)lua_tointeger(L, -1));
        else
            (void)snprintf(number, sizeof(number), "%.14g", (double)lua_tonumber(L, -1));
        return lua_pushfstring(L, "%s", number);
    case LUA_TSTRING:
        value = lua_tolstring(L, -1, &length);
        if (strlen(value) != length)
            (void)luaL_error(L, "producer.new: options['%s'] holds a NUL byte", property);
        lua_pushvalue(L, -1);
        return value;
    default:
        (void)luaL_error(L,
                         "producer.new: options['%s'] must be a string, a number or a boolean, "
                         "not %s",
                         property, kh_push_given(L, -1));
        return NULL;
    }
}

static void read_options(lua_State *L, producer *self, int config)
{
    int options;

    lua_getfield(L, config, "options");
    options = lua_gettop(L);
    if (lua_type(L, options) != LUA_TTABLE && !lua_isnil(L, options))
        (void)luaL_error(L, "producer.new: options must be a table { [property] = value }, not %s",
                         kh_push_given(L, options));
    if (lua_type(L, options) == LUA_TTABLE)
        for (lua_pushnil(L); lua_next(L, options) != 0; lua_pop(L, 2)) {
            const char *property;

            if (lua_type(L, -2) != LUA_TSTRING)
                (void)luaL_error(L, "producer.new: a property in options must be a string, not %s",
                                 kh_push_given(L, -2));
            property = lua_tostring(L, -2);
            check_owned(L, property);
            set_property(L, self, property, property_value(L, property));
        }
    lua_pop(L, 1);
}

/* A key of the table whose value must be a string that is not empty; nil when it is optional. */
static bool read_string(lua_State *L, producer *self, int config, const char *key,
                        const char *property)
{
    size_t length;

    lua_getfield(L, config, key);
    if (lua_isnil(L, -1)) {
        lua_pop(L, 1);
        return false;
    }
    if (lua_type(L, -1) != LUA_TSTRING || lua_rawlen(L, -1) == 0 ||
        strlen(lua_tolstring(L, -1, &length)) != length)
        (void)luaL_error(L, "producer.new: %s must be a string that is not empty, not %s", key,
                         kh_push_given(L, -1));
    set_property(L, self, property, lua_tostring(L, -1));
    lua_pop(L, 1);
    return true;
}

static int refuse_addresses(lua_State *L, int index)
{
    return luaL_error(L,
                      "producer.new: addresses must be \"host:port,host:port\" or an array of "
                      "\"host:port\", not %s",
                      kh_push_given(L, index));
}

static void read_addresses(lua_State *L, producer *self, int config)
{
    int addresses;
    size_t count;

    lua_getfield(L, config, "addresses");
    addresses = lua_gettop(L);
    if (lua_type(L, addresses) == LUA_TTABLE) {
        count = lua_rawlen(L, addresses);
        lua_pushliteral(L, "");
        for (size_t i = 1; i <= count; i++) {
            lua_pushstring(L, i > 1 ? "," : "");
            lua_rawgeti(L, addresses, (int)i);
            if (lua_type(L, -1) != LUA_TSTRING)
                (void)refuse_addresses(L, -1);
            lua_concat(L, 3);
        }
    }
    if (lua_type(L, -1) != LUA_TSTRING || lua_rawlen(L, -1) == 0)
        (void)refuse_addresses(L, -1);
    set_property(L, self, "bootstrap.servers", lua_tostring(L, -1));
    lua_settop(L, addresses - 1);
}

static void check_keys(lua_State *L, int config)
{
    static const char *const known[] = {"addresses", "client_id", "transactional_id", "options"};

    for (lua_pushnil(L); lua_next(L, config) != 0; lua_pop(L, 1)) {
        bool found = false;

        for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
            found = found ||
                    (lua_type(L, -2) == LUA_TSTRING && strcmp(lua_tostring(L, -2), known[i]) == 0);
        if (!found)
            (void)luaL_error(L,
                             "producer.new: a key must be addresses, client_id, transactional_id "
                             "or options, not %s",
                             kh_push_given(L, -2));
    }
}

/* Does the text quote the value of a secret option? */
static bool quotes_secret(lua_State *L, int config, const char *text)
{
    bool quotes = false;

    lua_getfield(L, config, "options");
    if (lua_type(L, -1) == LUA_TTABLE)
        for (lua_pushnil(L); lua_next(L, -2) != 0; lua_pop(L, 1))
            if (lua_type(L, -1) == LUA_TSTRING && lua_rawlen(L, -1) > 0 &&
                is_secret(lua_tostring(L, -2)))
                quotes = quotes || strstr(text, lua_tostring(L, -1)) != NULL;
    lua_pop(L, 1);
    return quotes;
}

static int producer_new(lua_State *L)
{
    kh_error error;
    rd_kafka_conf_t *conf;
    producer *self;

    lua_settop(L, 1);
    self = kh_new_userdata(L, sizeof(*self));
    memset(self, 0, sizeof(*self));
    self->pid = getpid();
    luaL_getmetatable(L, TYPE);
    lua_setmetatable(L, 2);

    if (lua_type(L, 1) != LUA_TTABLE)
        return luaL_error(L, "producer.new: its argument must be a table { addresses = }, not %s",
                          kh_push_given(L, 1));
    check_keys(L, 1);
    self->conf = rd_kafka_conf_new();
    read_options(L, self, 1);
    read_addresses(L, self, 1);
    (void)read_string(L, self, 1, "client_id", "client.id");
    self->transactional = read_string(L, self, 1, "transactional_id", "transactional.id");

    conf = self->conf;
    self->conf = NULL;
    self->client = kh_client_open(conf, false, &error);
    if (self->client)
        return 1;
    if (quotes_secret(L, 1, error.text))
        kh_error_set(&error, error.name,
                     "cannot make a producer: librdkafka refuses the options "
                     "(its words are not shown: they quote a secret)");
    return kh_push_error(L, &error);
}

/* ---- methods ---- */

/* The producer; NULL when it is closed. Raises in a forked child, where librdkafka's threads are
 * not. */
static producer *check_producer(lua_State *L)
{
    producer *self = luaL_checkudata(L, 1, TYPE);

    if (self->pid != getpid())
        (void)luaL_error(L, "this producer was made before a fork; make one in this process");
    return self->client ? self : NULL;
}

static int closed(lua_State *L)
{
    return kh_push_word(L, "closed", "CLOSED");
}

static int push_true(lua_State *L)
{
    lua_pushboolean(L, 1);
    return 1;
}

/* A fatal error ends an idempotent or transactional producer: it is why all that follow fail. */
static int push_send_error(lua_State *L, const kh_client *client, const char *topic,
                           rd_kafka_resp_err_t code)
{
    const char *reason = rd_kafka_err2str(code);
    char last_word[560];
    char fatal[256];
    rd_kafka_resp_err_t fatal_code = rd_kafka_fatal_error(client->rk, fatal, sizeof(fatal));
    kh_error error;

    if (fatal_code) {
        kh_error_set_kafka(&error, fatal_code,
                           "cannot send to topic '%s', nor ever again with this "
                           "producer (close it, make another): %s",
                           topic, fatal);
        return kh_push_error(L, &error);
    }
    if (code == RD_KAFKA_RESP_ERR__QUEUE_FULL)
        reason = "too many messages wait for delivery (queue.buffering.max.messages, "
                 "queue.buffering.max.kbytes): are the brokers there, and fast enough?";
    kh_error_set_kafka(&error, code, "cannot send to topic '%s': %s%s", topic, reason,
                       kh_client_last_word(client, last_word, sizeof(last_word)));
    return kh_push_error(L, &error);
}

static int producer_send(lua_State *L)
{
    producer *self = check_producer(L);
    rd_kafka_resp_err_t code;
    kh_record record;
    const char *topic;
    int64_t deadline_ms;
    int names;

    lua_settop(L, 4);
    if (!self)
        return closed(L);
    if (!kh_is_topic_name(L, 2))
        return luaL_error(L,
                          "send: the topic must be a string of 1 to 249 letters, digits, '.', '_' "
                          "and '-', not %s",
                          kh_push_given(L, 2));
    topic = lua_tostring(L, 2);
    deadline_ms = kh_now_ms() + kh_check_seconds(L, 4, "send: the time", SEND_TIMEOUT_S);
    names = kh_record_open(L);
    record = kh_record_check(L, names, 3, "send", 0);

    for (;;) {
        code = kh_record_send(L, names, 3, self->client->rk, topic, record.partition);
        if (code != RD_KAFKA_RESP_ERR__QUEUE_FULL || kh_remaining_ms(deadline_ms) == 0)
            break;
        (void)rd_kafka_poll(self->client->rk, kh_remaining_ms(deadline_ms) < 50 ? 1 : 50);
    }
    (void)rd_kafka_poll(self->client->rk, 0);
    return code ? push_send_error(L, self->client, topic, code) : push_true(L);
}

static int push_delivery_failure(lua_State *L, kh_client *client)
{
    kh_error error;

    kh_error_set(&error, client->failure.name, "%zu message%s not delivered; the first to %s",
                 client->failed, client->failed == 1 ? " was" : "s were", client->failure.text);
    kh_client_reset(client);
    return kh_push_error(L, &error);
}

static int producer_flush(lua_State *L)
{
    producer *self = check_producer(L);
    int timeout_ms;

    if (!self)
        return closed(L);
    timeout_ms = kh_check_seconds(L, 2, "flush: the time", FLUSH_TIMEOUT_S);
    if (rd_kafka_flush(self->client->rk, timeout_ms) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return kh_push_word(L, "timeout", "TIMEOUT");
    if (self->client->failed > 0)
        return push_delivery_failure(L, self->client);
    return push_true(L);
}

/* ---- transactions ---- */

static producer *check_transactional(lua_State *L, const char *function)
{
    producer *self = check_producer(L);

    if (self && !self->transactional)
        (void)luaL_error(
            L, "%s: this producer has no transactions; make it with a transactional_id", function);
    return self;
}

static const char *transaction_advice(const rd_kafka_error_t *error, const char *function)
{
    if (rd_kafka_error_is_fatal(error))
        return "; close this producer and make another";
    if (rd_kafka_error_txn_requires_abort(error))
        return "; call abort() and repeat the transaction";
    if (rd_kafka_error_is_retriable(error))
        return strcmp(function, "begin") == 0 ? "; calling begin() again goes on with it"
                                              : "; calling it again goes on with it";
    return "";
}

/* true, or what librdkafka reported, which is freed. */
static int transaction_result(lua_State *L, producer *self, const char *function,
                              rd_kafka_error_t *reported)
{
    char last_word[560];
    kh_error error;

    if (!reported)
        return push_true(L);
    /* The error events that came meanwhile say why. */
    (void)rd_kafka_poll(self->client->rk, 0);
    kh_error_set_kafka(&error, rd_kafka_error_code(reported), "%s: %s%s%s", function,
                       rd_kafka_error_string(reported), transaction_advice(reported, function),
                       kh_client_last_word(self->client, last_word, sizeof(last_word)));
    rd_kafka_error_destroy(reported);
    return kh_push_error(L, &error);
}

static int producer_begin(lua_State *L)
{
    producer *self = check_transactional(L, "begin");
    rd_kafka_error_t *error = NULL;
    int timeout_ms;

    if (!self)
        return closed(L);
    timeout_ms = kh_check_seconds(L, 2, "begin: the time", TRANSACTION_TIMEOUT_S);
    if (self->client->in_transaction)
        return luaL_error(L, "begin: a transaction is open; commit() or abort() it first");
    if (!self->initialised)
        error = rd_kafka_init_transactions(self->client->rk, timeout_ms);
    self->initialised = self->initialised || !error;
    if (!error)
        error = rd_kafka_begin_transaction(self->client->rk);
    self->client->in_transaction = !error;
    if (!error)
        kh_client_reset(self->client);
    return transaction_result(L, self, "begin", error);
}

static producer *check_open_transaction(lua_State *L, const char *function)
{
    producer *self = check_transactional(L, function);

    if (self && !self->client->in_transaction)
        (void)luaL_error(L, "%s: no transaction is open; begin() one first", function);
    return self;
}

/* A commit that fails leaves the transaction open: to be committed again or aborted. */
static int producer_commit(lua_State *L)
{
    producer *self = check_open_transaction(L, "commit");
    rd_kafka_error_t *error;
    int timeout_ms;

    if (!self)
        return closed(L);
    timeout_ms = kh_check_seconds(L, 2, "commit: the time", TRANSACTION_TIMEOUT_S);
    error = rd_kafka_commit_transaction(self->client->rk, timeout_ms);
    self->client->in_transaction = error != NULL;
    if (!error)
        kh_client_reset(self->client);
    return transaction_result(L, self, "commit", error);
}

static int producer_abort(lua_State *L)
{
    producer *self = check_open_transaction(L, "abort");
    rd_kafka_error_t *error;
    int timeout_ms;

    if (!self)
        return closed(L);
    timeout_ms = kh_check_seconds(L, 2, "abort: the time", TRANSACTION_TIMEOUT_S);
    error = rd_kafka_abort_transaction(self->client->rk, timeout_ms);
    self->client->in_transaction = error != NULL;
    if (!error)
        kh_client_reset(self->client); /* the aborted messages count as failed */
    return transaction_result(L, self, "abort", error);
}

/* ---- class ---- */

static void shut(producer *self, int flush_ms, int wait_ms)
{
    kh_client *client = self->client;

    self->client = NULL;
    if (client)
        kh_client_close(client, flush_ms, wait_ms);
    if (self->conf)
        rd_kafka_conf_destroy(self->conf);
    self->conf = NULL;
}

static int producer_close(lua_State *L)
{
    producer *self = check_producer(L);

    if (self)
        shut(self, CLOSE_FLUSH_MS, CLOSE_TIMEOUT_MS);
    return push_true(L);
}

static int producer_collect(lua_State *L)
{
    producer *self = luaL_checkudata(L, 1, TYPE);

    if (self->pid == getpid())
        shut(self, 0, 0);
    return 0;
}

static int producer_tostring(lua_State *L)
{
    producer *self = luaL_checkudata(L, 1, TYPE);
    bool here = self->client && self->pid == getpid();

    lua_pushfstring(L, TYPE ": %s", here ? rd_kafka_name(self->client->rk) : "closed");
    return 1;
}

static const luaL_Reg methods[] = {
    {"send", producer_send},
    {"flush", producer_flush},
    {"begin", producer_begin},
    {"commit", producer_commit},
    {"abort", producer_abort},
    {"close", producer_close},
    {NULL, NULL},
};

static const luaL_Reg metamethods[] = {
    {"__close", producer_close},
    {"__gc", producer_collect},
    {"__tostring", producer_tostring},
    {NULL, NULL},
};

int kh_open_producer(lua_State *L)
{
    kh_new_class(L, TYPE, methods, metamethods);
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushcfunction(L, producer_new);
    lua_setfield(L, -2, "new");
    return 1;
}
