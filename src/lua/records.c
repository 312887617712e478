#include "records.h"

#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* What a record takes within a batch besides its bytes: the longest form of each length, the
 * attributes, the timestamp and the offset. A header has two lengths. */
#define RECORD_OVERHEAD 48
#define HEADER_OVERHEAD 12

/* The fields' places behind kh_record_open's index. */
enum {
    FIELD_KEY,
    FIELD_VALUE,
    FIELD_HEADERS,
    FIELD_TIMESTAMP,
    FIELD_PARTITION,
    FIELD_NAME,
    FIELDS
};

static const char *const field_names[FIELDS] = {"key",       "value",     "headers",
                                                "timestamp", "partition", "name"};

const char *kh_push_given(lua_State *L, int index)
{
    char text[80];

    index = lua_absindex(L, index);
    switch (lua_type(L, index)) {
    case LUA_TNIL:
    case LUA_TNONE:
        return lua_pushfstring(L, "nil");
    case LUA_TNUMBER:
        (void)snprintf(text, sizeof(text), "%.14g", (double)lua_tonumber(L, index));
        return lua_pushfstring(L, "a number (%s)", text);
    case LUA_TBOOLEAN:
        return lua_pushfstring(L, "a boolean (%s)", lua_toboolean(L, index) ? "true" : "false");
    case LUA_TSTRING:
        (void)snprintf(text, sizeof(text), "%s", lua_tostring(L, index));
        return lua_pushfstring(L, "a string (\"%s\")", text);
    default:
        return lua_pushfstring(L, "a %s", luaL_typename(L, index));
    }
}

int kh_check_seconds(lua_State *L, int index, const char *what, double otherwise_s)
{
    double seconds = otherwise_s;

    if (!lua_isnoneornil(L, index)) {
        seconds = (double)lua_tonumber(L, index);
        if (lua_type(L, index) != LUA_TNUMBER || !(seconds >= 0))
            return luaL_error(L, "%s must be a number of seconds, 0 or more, not %s", what,
                              kh_push_given(L, index));
    }
    return seconds * 1000 < INT_MAX ? (int)(seconds * 1000) : INT_MAX;
}

int64_t kh_now_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

int kh_remaining_ms(int64_t deadline_ms)
{
    int64_t left = deadline_ms - kh_now_ms();

    return left <= 0 ? 0 : left < INT_MAX ? (int)left : INT_MAX;
}

bool kh_is_topic_name(lua_State *L, int index)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    const char *name;
    size_t length;

    if (lua_type(L, index) != LUA_TSTRING)
        return false;
    name = lua_tolstring(L, index, &length);
    if (length < 1 || length > 249 || strspn(name, allowed) != length)
        return false;
    return strcmp(name, ".") != 0 && strcmp(name, "..") != 0;
}

/* ---- a record's check ---- */

typedef struct place {
    lua_State *L;
    int names;
    const char *function;
    lua_Integer number;
} place;

/* Raises "produce: message 3: <what> must be <rule>, not <given>"; the value is on top. */
static void refuse(const place *at, const char *what, const char *rule)
{
    const char *given = kh_push_given(at->L, -1);

    if (at->number == 0)
        luaL_error(at->L, "%s: %s must be %s, not %s", at->function, what, rule, given);
    luaL_error(at->L, "%s: message %d: %s must be %s, not %s", at->function, (int)at->number, what,
               rule, given);
}

/* Pushes a field of the table at index; raw, and without creating a string. */
static int push_field(lua_State *L, int names, int index, int field)
{
    lua_pushvalue(L, names + field);
    lua_rawget(L, index);
    return lua_type(L, -1);
}

/* The length of a string, 0 for null. A number is refused: who means "42" writes "42". */
static size_t check_bytes(const place *at, int index, int field, const char *what)
{
    int type = push_field(at->L, at->names, index, field);
    size_t length = 0;

    if (type == LUA_TSTRING)
        length = lua_rawlen(at->L, -1);
    else if (type != LUA_TNIL)
        refuse(at, what, "a string or nil (Kafka's null)");
    lua_pop(at->L, 1);
    return length;
}

static void check_fields(const place *at, int index, int first, int last)
{
    lua_State *L = at->L;

    for (lua_pushnil(L); lua_next(L, index) != 0;) {
        bool known = false;

        lua_pop(L, 1);
        for (int field = first; field <= last; field++)
            known = known || lua_rawequal(L, -1, at->names + field) != 0;
        known = known || (first == FIELD_NAME && lua_rawequal(L, -1, at->names + FIELD_VALUE) != 0);
        if (!known)
            refuse(at, first == FIELD_NAME ? "a header's field" : "a field",
                   first == FIELD_NAME ? "name or value"
                                       : "key, value, headers, timestamp or partition");
    }
}

/* One header on top of the stack: its bytes. */
static size_t check_header(const place *at)
{
    lua_State *L = at->L;
    int header = lua_gettop(L);
    size_t bytes = HEADER_OVERHEAD;

    if (lua_type(L, header) != LUA_TTABLE)
        refuse(at, "a header", "a table { name = , value = }");
    check_fields(at, header, FIELD_NAME, FIELD_NAME);
    if (push_field(L, at->names, header, FIELD_NAME) != LUA_TSTRING)
        refuse(at, "a header's name", "a string");
    bytes += lua_rawlen(L, -1);
    lua_pop(L, 1);
    return bytes + check_bytes(at, header, FIELD_VALUE, "a header's value");
}

static size_t check_headers(const place *at, int index)
{
    lua_State *L = at->L;
    int type = push_field(L, at->names, index, FIELD_HEADERS);
    int headers = lua_gettop(L);
    size_t bytes = 0;
    size_t count = 0;

    if (type != LUA_TNIL && type != LUA_TTABLE)
        refuse(at, "headers", "an array of { name = , value = }");
    if (type == LUA_TTABLE) {
        size_t pairs = 0;

        count = lua_rawlen(L, headers);
        for (lua_pushnil(L); lua_next(L, headers) != 0; lua_pop(L, 1))
            pairs++;
        if (pairs != count)
            refuse(at, "headers", "an array of { name = , value = } without holes");
    }
    for (size_t i = 1; i <= count; i++) {
        lua_rawgeti(L, headers, (int)i);
        bytes += check_header(at);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return bytes;
}

static void check_timestamp(const place *at, int index)
{
    int type = push_field(at->L, at->names, index, FIELD_TIMESTAMP);

    /* librdkafka takes 0 for "now", which nobody who writes 0 means. */
    if (type != LUA_TNIL && (!kh_is_integer(at->L, -1) || lua_tonumber(at->L, -1) < 1))
        refuse(at, "timestamp", "a whole number of milliseconds since 1970, 1 or more");
    lua_pop(at->L, 1);
}

static int32_t check_partition(const place *at, int index)
{
    int type = push_field(at->L, at->names, index, FIELD_PARTITION);
    lua_Number partition = lua_tonumber(at->L, -1);

    if (type == LUA_TNIL)
        partition = RD_KAFKA_PARTITION_UA;
    else if (!kh_is_integer(at->L, -1) || partition < 0 || partition > INT32_MAX)
        refuse(at, "partition", "a whole number, 0 or more");
    lua_pop(at->L, 1);
    return (int32_t)partition;
}

int kh_record_open(lua_State *L)
{
    int first = lua_gettop(L) + 1;

    /* The names, and what checking and sending push beyond them. */
    luaL_checkstack(L, FIELDS + 20, "too many arguments");
    for (int field = 0; field < FIELDS; field++)
        lua_pushstring(L, field_names[field]);
    return first;
}

kh_record kh_record_check(lua_State *L, int names, int index, const char *function,
                          lua_Integer number)
{
    const place at = {.L = L, .names = names, .function = function, .number = number};
    kh_record record = {.has_key = false, .partition = RD_KAFKA_PARTITION_UA};

    index = lua_absindex(L, index);
    record.bytes = RECORD_OVERHEAD;
    if (lua_type(L, index) == LUA_TSTRING) {
        record.bytes += lua_rawlen(L, index);
        return record;
    }
    if (lua_type(L, index) != LUA_TTABLE) {
        lua_pushvalue(L, index);
        refuse(&at, "a message", "a table or a string (its value)");
    }
    check_fields(&at, index, FIELD_KEY, FIELD_PARTITION);
    record.bytes += check_bytes(&at, index, FIELD_KEY, "key");
    record.bytes += check_bytes(&at, index, FIELD_VALUE, "value");
    record.bytes += check_headers(&at, index);
    check_timestamp(&at, index);
    record.partition = check_partition(&at, index);
    record.has_key = push_field(L, names, index, FIELD_KEY) != LUA_TNIL;
    lua_pop(L, 1);
    return record;
}

/* ---- a record's sending ---- */

/* A string's bytes, which live as long as the table holds it; NULL for null. */
static const char *field_bytes(lua_State *L, int names, int index, int field, size_t *length)
{
    const char *bytes = NULL;

    *length = 0;
    if (push_field(L, names, index, field) == LUA_TSTRING)
        bytes = lua_tolstring(L, -1, length);
    lua_pop(L, 1);
    return bytes;
}

/* NULL when there are none. */
static rd_kafka_headers_t *make_headers(lua_State *L, int names, int index)
{
    rd_kafka_headers_t *headers = NULL;
    size_t count = push_field(L, names, index, FIELD_HEADERS) == LUA_TTABLE ? lua_rawlen(L, -1) : 0;

    if (count > 0)
        headers = rd_kafka_headers_new(count);
    for (size_t i = 1; i <= count; i++) {
        size_t name_length;
        size_t value_length;
        const char *name;
        const char *value;

        lua_rawgeti(L, -1, (int)i);
        name = field_bytes(L, names, lua_gettop(L), FIELD_NAME, &name_length);
        value = field_bytes(L, names, lua_gettop(L), FIELD_VALUE, &value_length);
        (void)rd_kafka_header_add(headers, name, (ssize_t)name_length, value,
                                  (ssize_t)value_length);
        lua_pop(L, 1);
    }
    lua_pop(L, 1);
    return headers;
}

/* `data` is const for librdkafka as well: it copies, but its interface takes a void pointer. */
static void set_bytes(rd_kafka_vu_t *field, rd_kafka_vtype_t type, const char *data, size_t size)
{
    field->vtype = type;
    field->u.mem.ptr = (void *)(uintptr_t)data;
    field->u.mem.size = size;
}

static rd_kafka_resp_err_t produce(rd_kafka_t *rk, const rd_kafka_vu_t *fields, size_t count)
{
    rd_kafka_error_t *error = rd_kafka_produceva(rk, fields, count);
    rd_kafka_resp_err_t code = error ? rd_kafka_error_code(error) : RD_KAFKA_RESP_ERR_NO_ERROR;

    if (error)
        rd_kafka_error_destroy(error);
    return code;
}

static rd_kafka_resp_err_t send_table(lua_State *L, int names, int index, rd_kafka_t *rk,
                                      rd_kafka_vu_t *fields, size_t count)
{
    rd_kafka_resp_err_t code;
    rd_kafka_headers_t *headers;
    const char *bytes;
    size_t length;

    bytes = field_bytes(L, names, index, FIELD_KEY, &length);
    set_bytes(&fields[count++], RD_KAFKA_VTYPE_KEY, bytes, length);
    bytes = field_bytes(L, names, index, FIELD_VALUE, &length);
    set_bytes(&fields[count++], RD_KAFKA_VTYPE_VALUE, bytes, length);
    if (push_field(L, names, index, FIELD_TIMESTAMP) != LUA_TNIL) {
        fields[count].vtype = RD_KAFKA_VTYPE_TIMESTAMP;
        fields[count++].u.i64 = (int64_t)lua_tointeger(L, -1);
    }
    lua_pop(L, 1);
    headers = make_headers(L, names, index);
    if (headers) {
        fields[count].vtype = RD_KAFKA_VTYPE_HEADERS;
        fields[count++].u.headers = headers;
    }
    code = produce(rk, fields, count);
    if (code && headers)
        rd_kafka_headers_destroy(headers); /* librdkafka takes them only when it succeeds */
    return code;
}

rd_kafka_resp_err_t kh_record_send(lua_State *L, int names, int index, rd_kafka_t *rk,
                                   const char *topic, int32_t partition)
{
    rd_kafka_vu_t fields[8] = {
        {.vtype = RD_KAFKA_VTYPE_TOPIC, .u.cstr = topic},
        {.vtype = RD_KAFKA_VTYPE_PARTITION, .u.i32 = partition},
        {.vtype = RD_KAFKA_VTYPE_MSGFLAGS, .u.i = RD_KAFKA_MSG_F_COPY},
    };

    index = lua_absindex(L, index);
    if (lua_type(L, index) == LUA_TSTRING) {
        size_t length;
        const char *bytes = lua_tolstring(L, index, &length);

        set_bytes(&fields[3], RD_KAFKA_VTYPE_VALUE, bytes, length);
        return produce(rk, fields, 4);
    }
    return send_table(L, names, index, rk, fields, 3);
}

/* ---- a client ---- */

const char *kh_client_last_word(const kh_client *client, char *text, size_t size)
{
    text[0] = '\0';
    if (client->last_event[0] != '\0')
        (void)snprintf(text, size, "; librdkafka says: %s", client->last_event);
    return text;
}

void kh_client_reset(kh_client *client)
{
    client->delivered = 0;
    client->failed = 0;
}

static void on_delivery(rd_kafka_t *rk, const rd_kafka_message_t *message, void *opaque)
{
    kh_client *client = opaque;
    char last_word[560];

    (void)rk;
    if (!message->err) {
        client->delivered++;
        client->last_event[0] = '\0';
        return;
    }
    if (client->failed++ > 0)
        return;
    /* Not rd_kafka_message_errstr: for a producer it is the message's value. */
    kh_error_set_kafka(&client->failure, message->err, "topic '%s' [%d]: %s%s",
                       rd_kafka_topic_name(message->rkt), (int)message->partition,
                       rd_kafka_err2str(message->err),
                       kh_client_last_word(client, last_word, sizeof(last_word)));
}

static void on_error(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
    kh_client *client = opaque;

    (void)rk;
    /* That all are down follows each one's own error, which says why. */
    if (code == RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN && client->last_event[0] != '\0')
        return;
    /* librdkafka quotes the rest of this property's value, which holds a secret. */
    if (strstr(reason, "oauthbearer.config"))
        reason = "the value of sasl.oauthbearer.config was refused (not shown: it is secret)";
    (void)snprintf(client->last_event, sizeof(client->last_event), "%s", reason);
}

static void on_log(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    (void)rk;
    (void)level;
    (void)facility;
    (void)text;
}

/* On one of librdkafka's threads. A retried request counts again: the sum never says too little. */
static rd_kafka_resp_err_t on_request_sent(rd_kafka_t *rk, int fd, const char *broker,
                                           int32_t broker_id, int16_t api, int16_t version,
                                           int32_t correlation, size_t size, void *opaque)
{
    kh_client *client = opaque;

    (void)rk;
    (void)fd;
    (void)broker;
    (void)broker_id;
    (void)version;
    (void)correlation;
    if (api == 0) /* Produce */
        (void)atomic_fetch_add(&client->produced, size);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_resp_err_t on_new(rd_kafka_t *rk, const rd_kafka_conf_t *conf, void *opaque,
                                  char *reason, size_t size)
{
    (void)conf;
    (void)reason;
    (void)size;
    return rd_kafka_interceptor_add_on_request_sent(rk, "kafka_history", on_request_sent, opaque);
}

kh_client *kh_client_open(rd_kafka_conf_t *conf, bool counts, kh_error *error)
{
    kh_client *client = calloc(1, sizeof(*client));
    char reason[512] = "";

    if (!client) {
        kh_error_set(error, "SYSTEM", "no memory for a producer");
        rd_kafka_conf_destroy(conf);
        return NULL;
    }
    atomic_init(&client->produced, 0);
    rd_kafka_conf_set_opaque(conf, client);
    rd_kafka_conf_set_dr_msg_cb(conf, on_delivery);
    rd_kafka_conf_set_error_cb(conf, on_error);
    rd_kafka_conf_set_log_cb(conf, on_log);
    if (counts)
        (void)rd_kafka_conf_interceptor_add_on_new(conf, "kafka_history", on_new, client);
    client->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof(reason));
    if (client->rk)
        return client;
    kh_error_set_kafka(error, rd_kafka_last_error(), "cannot make a producer: %s", reason);
    /* Up to 2.2 at least, a handle that cannot be made has freed the interceptors of a
     * configuration that is still the caller's: destroying it then would free them twice. Rather
     * lose it. */
    if (!counts)
        rd_kafka_conf_destroy(conf);
    free(client);
    return NULL;
}

/* ---- its ending ---- */

/* Between who closes and the thread that does it; freed by the last of the two. */
typedef struct ending {
    kh_client *client;
    int flush_ms;
    pthread_mutex_t lock;
    pthread_cond_t done_changed;
    bool done;
    int references;
} ending;

static void drop_ending(ending *end)
{
    bool last;

    (void)pthread_mutex_lock(&end->lock);
    last = --end->references == 0;
    (void)pthread_mutex_unlock(&end->lock);
    if (!last)
        return;
    (void)pthread_cond_destroy(&end->done_changed);
    (void)pthread_mutex_destroy(&end->lock);
    free(end);
}

static void end_client(kh_client *client, int flush_ms)
{
    if (flush_ms > 0 && client->in_transaction) {
        rd_kafka_error_t *error = rd_kafka_abort_transaction(client->rk, flush_ms);

        if (error)
            rd_kafka_error_destroy(error);
    } else if (flush_ms > 0) {
        (void)rd_kafka_flush(client->rk, flush_ms);
    }
    rd_kafka_destroy(client->rk);
    free(client);
}

static void *run_ending(void *argument)
{
    ending *end = argument;

    end_client(end->client, end->flush_ms);
    (void)pthread_mutex_lock(&end->lock);
    end->done = true;
    (void)pthread_cond_signal(&end->done_changed);
    (void)pthread_mutex_unlock(&end->lock);
    drop_ending(end);
    return NULL;
}

static ending *make_ending(kh_client *client, int flush_ms)
{
    ending *end = calloc(1, sizeof(*end));
    pthread_condattr_t attributes;

    if (!end)
        return NULL;
    end->client = client;
    end->flush_ms = flush_ms;
    end->references = 2;
    (void)pthread_mutex_init(&end->lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&end->done_changed, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    return end;
}

/* Detached, and deaf to signals: the host's handlers belong on the host's threads. */
static bool start_ending(ending *end)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all;
    sigset_t before;
    int failure;

    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    (void)pthread_attr_init(&attributes);
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    failure = pthread_create(&thread, &attributes, run_ending, end);
    (void)pthread_attr_destroy(&attributes);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return failure == 0;
}

static void await_ending(ending *end, int wait_ms)
{
    struct timespec until;

    (void)clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_sec += wait_ms / 1000;
    until.tv_nsec += (long)(wait_ms % 1000) * 1000000;
    if (until.tv_nsec >= 1000000000) {
        until.tv_sec++;
        until.tv_nsec -= 1000000000;
    }
    (void)pthread_mutex_lock(&end->lock);
    while (!end->done && pthread_cond_timedwait(&end->done_changed, &end->lock, &until) == 0)
        ;
    (void)pthread_mutex_unlock(&end->lock);
}

void kh_client_close(kh_client *client, int flush_ms, int wait_ms)
{
    ending *end = make_ending(client, flush_ms);

    if (!end || !start_ending(end)) {
        /* No memory or no thread left: late is better than never. */
        if (end)
            end->references = 1;
        if (end)
            drop_ending(end);
        end_client(client, 0);
        return;
    }
    if (wait_ms > 0)
        await_ending(end, wait_ms);
    drop_ending(end);
}
