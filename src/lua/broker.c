/*
 * The class "kafka_history.broker": a Kafka cluster within this process (librdkafka's mock
 * cluster), with the producer that fills it. One librdkafka handle is both, so that one destroy
 * ends both.
 *
 * A partition of the mock cluster keeps 5 MB of batches and drops the oldest without a word when it
 * has more. `produce` never lets it come to that: it sends partition by partition, in pieces that
 * fit into what is left even if they cannot be compressed, and counts what was really sent (an
 * upper bound of what is stored) after each piece.
 */
#include "records.h"

#include <errno.h>
#include <librdkafka/rdkafka_mock.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define TYPE "kafka_history.broker"

/* What a partition of the mock cluster keeps. It keeps 100 000 batches, too, but as no batch is
 * smaller than 68 bytes (61 of its own, 7 of an empty record) the bytes are used up before. */
#define PARTITION_BYTES (5 * 1024 * 1024)
_Static_assert((int64_t)100000 * 68 > PARTITION_BYTES, "the number of batches is no limit");

/* What a message sent alone takes besides the record: the request's head (ids, acks, timeout,
 * counts) and the batch's. The topic's name comes on top. */
#define REQUEST_OVERHEAD 256

#define BROKERS_MAX 100
#define PARTITIONS_MAX 10000
#define PRODUCE_TIMEOUT_S 10
#define OPEN_TIMEOUT_MS 5000
#define CLOSE_TIMEOUT_MS 5000

/* Lives in the broker's uservalue, a table: the topic's name -> this, as userdata. */
typedef struct topic {
    struct topic *next;
    rd_kafka_topic_t *handle;
    const char *name; /* the table's */
    int32_t partition_count;
    int32_t next_partition; /* of messages without a key */
    size_t used[];          /* bytes sent to each partition: no less than are stored */
} topic;

typedef struct broker {
    pid_t pid;
    int broker_count;
    kh_client *client; /* NULL: closed */
    rd_kafka_mock_cluster_t *cluster;
    topic *topics; /* all of the uservalue */
} broker;

/* A message of a call to produce: where it goes, what it takes at most. */
typedef struct slot {
    int32_t partition;
    uint32_t bytes;
} slot;

/* ---- arguments ---- */

/* The broker; NULL when it is closed. Raises in a forked child, where it has no threads. */
static broker *check_broker(lua_State *L)
{
    broker *self = luaL_checkudata(L, 1, TYPE);

    if (self->pid != getpid())
        (void)luaL_error(L, "this broker was made before a fork; make one in this process");
    return self->client ? self : NULL;
}

static int closed(lua_State *L)
{
    return kh_push_word(L, "closed", "CLOSED");
}

/* Raises "<function>: <what> must be <rule>, not <given>". */
static int refuse(lua_State *L, const char *function, const char *what, const char *rule, int index)
{
    return luaL_error(L, "%s: %s must be %s, not %s", function, what, rule,
                      kh_push_given(L, index));
}

static int64_t check_whole(lua_State *L, const char *function, int index, const char *what,
                           int64_t least, int64_t most)
{
    lua_Number number = lua_tonumber(L, index);
    char rule[80];

    if (!kh_is_integer(L, index) || number < (lua_Number)least || number > (lua_Number)most) {
        (void)snprintf(rule, sizeof(rule), "a whole number from %lld to %lld", (long long)least,
                       (long long)most);
        return refuse(L, function, what, rule, index);
    }
    return (int64_t)lua_tointeger(L, index);
}

static const char *check_topic(lua_State *L, const char *function, topic **found)
{
    kh_get_uservalue(L, 1);
    lua_pushvalue(L, 2);
    if (lua_type(L, 2) == LUA_TSTRING)
        lua_rawget(L, -2);
    *found = lua_type(L, 2) == LUA_TSTRING ? lua_touserdata(L, -1) : NULL;
    if (!*found)
        (void)refuse(L, function, "the topic", "one that was named in broker.new", 2);
    lua_pop(L, 2); /* the uservalue keeps it */
    return lua_tostring(L, 2);
}

static int32_t check_partition(lua_State *L, const char *function, const topic *of)
{
    return (int32_t)check_whole(L, function, 3, "the partition", 0, of->partition_count - 1);
}

static int32_t check_broker_id(lua_State *L, const char *function, const broker *self, int index)
{
    return (int32_t)check_whole(L, function, index, "the broker's id", 1, self->broker_count);
}

/* ---- errors ---- */

static const struct {
    const char *name;
    int16_t number;
} apis[] = {
    {"Produce", 0},
    {"Fetch", 1},
    {"ListOffsets", 2},
    {"Metadata", 3},
    {"OffsetCommit", 8},
    {"OffsetFetch", 9},
    {"FindCoordinator", 10},
    {"JoinGroup", 11},
    {"Heartbeat", 12},
    {"LeaveGroup", 13},
    {"SyncGroup", 14},
    {"ApiVersion", 18},
    {"ApiVersions", 18},
    {"InitProducerId", 22},
    {"OffsetForLeaderEpoch", 23},
    {"AddPartitionsToTxn", 24},
    {"AddOffsetsToTxn", 25},
    {"EndTxn", 26},
    {"TxnOffsetCommit", 28},
    {"ConsumerGroupHeartbeat", 68},
};

static int16_t check_api(lua_State *L, const char *function)
{
    if (lua_type(L, 2) == LUA_TNUMBER)
        return (int16_t)check_whole(L, function, 2, "the API", 0, INT16_MAX);
    if (lua_type(L, 2) == LUA_TSTRING)
        for (size_t i = 0; i < sizeof(apis) / sizeof(apis[0]); i++)
            if (strcmp(apis[i].name, lua_tostring(L, 2)) == 0)
                return apis[i].number;
    return (int16_t)refuse(
        L, function, "the API",
        "its number or one of Produce, Fetch, ListOffsets, Metadata, OffsetCommit, OffsetFetch, "
        "FindCoordinator, JoinGroup, Heartbeat, LeaveGroup, SyncGroup, ApiVersion, InitProducerId, "
        "OffsetForLeaderEpoch, AddPartitionsToTxn, AddOffsetsToTxn, EndTxn, TxnOffsetCommit, "
        "ConsumerGroupHeartbeat",
        2);
}

static rd_kafka_resp_err_t check_code(lua_State *L, const char *function, int index)
{
    const struct rd_kafka_err_desc *known;
    size_t count;

    if (lua_type(L, index) == LUA_TNUMBER)
        return (rd_kafka_resp_err_t)check_whole(L, function, index, "an error's number", INT16_MIN,
                                                INT16_MAX);
    rd_kafka_get_err_descs(&known, &count);
    for (size_t i = 0; i < count && lua_type(L, index) == LUA_TSTRING; i++)
        if (known[i].name && strcmp(known[i].name, lua_tostring(L, index)) == 0)
            return known[i].code;
    return (rd_kafka_resp_err_t)refuse(
        L, function, "an error",
        "its number or librdkafka's name of it, such as \"NOT_LEADER_FOR_PARTITION\" or "
        "\"_TRANSPORT\"",
        index);
}

/* ---- opening ---- */

static void check_keys(lua_State *L, int config)
{
    for (lua_pushnil(L); lua_next(L, config) != 0; lua_pop(L, 1)) {
        const char *key = lua_type(L, -2) == LUA_TSTRING ? lua_tostring(L, -2) : "";

        if (strcmp(key, "topics") != 0 && strcmp(key, "brokers") != 0)
            (void)refuse(L, "broker.new", "a key", "topics or brokers", -2);
    }
}

/* Fills the uservalue of the broker, which is at stack index 2. */
static void read_topics(lua_State *L, broker *self, int config)
{
    int topics;
    int named;

    lua_newtable(L);
    named = lua_gettop(L);
    lua_pushvalue(L, named);
    kh_set_uservalue(L, 2);
    lua_getfield(L, config, "topics");
    topics = lua_gettop(L);
    if (lua_type(L, topics) != LUA_TTABLE)
        (void)refuse(L, "broker.new", "topics", "a table { [name] = number of partitions }",
                     topics);
    for (lua_pushnil(L); lua_next(L, topics) != 0; lua_pop(L, 1)) {
        int32_t count;
        topic *made;
        char what[280];

        if (!kh_is_topic_name(L, -2))
            (void)refuse(L, "broker.new", "a topic's name",
                         "a string of 1 to 249 letters, digits, '.', '_' and '-'", -2);
        (void)snprintf(what, sizeof(what), "topics['%s']", lua_tostring(L, -2));
        count = (int32_t)check_whole(L, "broker.new", lua_gettop(L), what, 1, PARTITIONS_MAX);
        lua_pushvalue(L, -2); /* name, count, name, userdata */
        made = lua_newuserdata(L, sizeof(*made) + (size_t)count * sizeof(made->used[0]));
        memset(made, 0, sizeof(*made) + (size_t)count * sizeof(made->used[0]));
        made->name = lua_tostring(L, -2);
        made->partition_count = count;
        lua_rawset(L, named);
        /* Not before: without memory for its place in the table it would be collected. */
        made->next = self->topics;
        self->topics = made;
    }
    lua_settop(L, named - 1);
}

static void read_broker_count(lua_State *L, broker *self, int config)
{
    self->broker_count = 1;
    lua_getfield(L, config, "brokers");
    if (!lua_isnil(L, -1))
        self->broker_count =
            (int)check_whole(L, "broker.new", lua_gettop(L), "brokers", 1, BROKERS_MAX);
    lua_pop(L, 1);
}

/* What a mock cluster opens, at once or when its client connects. A broker: its socket, both ends
 * of the client's connection to it and of the pipe that wakes the client's thread. */
#define DESCRIPTORS_A_BROKER 5
#define DESCRIPTORS_BESIDE 16

/* librdkafka 2.0.2 ends the process when a mock cluster cannot open its sockets: try before. */
static bool has_descriptors(int broker_count, kh_error *error)
{
    int taken[DESCRIPTORS_A_BROKER * BROKERS_MAX + DESCRIPTORS_BESIDE];
    int count = DESCRIPTORS_A_BROKER * broker_count + DESCRIPTORS_BESIDE;
    int got = 0;
    bool enough;

    while (got < count && (taken[got] = dup(STDIN_FILENO)) >= 0)
        got++;
    /* Without a standard input there is nothing to try with. */
    enough = got == count || errno != EMFILE;
    if (!enough)
        kh_error_set_errno(error, errno, "cannot make an in-process broker");
    while (got > 0)
        (void)close(taken[--got]);
    return enough;
}

/* The best of what this librdkafka was built with. */
static void set_compression(rd_kafka_conf_t *conf)
{
    static const char *const codecs[] = {"zstd", "lz4", "gzip"};

    for (size_t i = 0; i < sizeof(codecs) / sizeof(codecs[0]); i++)
        if (rd_kafka_conf_set(conf, "compression.codec", codecs[i], NULL, 0) == RD_KAFKA_CONF_OK)
            return;
}

static bool configure(rd_kafka_conf_t *conf, int broker_count, kh_error *error)
{
    char brokers[16];
    char message_bytes[16];
    char reason[256];
    const char *const settings[][2] = {
        {"test.mock.num.brokers", brokers},
        {"client.id", "broker"},
        /* Order, whatever is retried. */
        {"max.in.flight.requests.per.connection", "1"},
        /* Batches leave when they are full or when the call flushes. */
        {"linger.ms", "50"},
        {"message.max.bytes", message_bytes},
        /* After :down and :up, after an injected error: at once again. */
        {"reconnect.backoff.ms", "10"},
        {"reconnect.backoff.max.ms", "50"},
        {"retry.backoff.ms", "10"},
        {"topic.metadata.refresh.fast.interval.ms", "20"},
    };

    (void)snprintf(brokers, sizeof(brokers), "%d", broker_count);
    (void)snprintf(message_bytes, sizeof(message_bytes), "%d", PARTITION_BYTES + REQUEST_OVERHEAD);
    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++)
        if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], reason, sizeof(reason))) {
            kh_error_set(error, "CONFIG", "this librdkafka cannot run an in-process broker: %s",
                         reason);
            return false;
        }
    set_compression(conf);
    return true;
}

/* What the mock cluster of 2.0.2 speaks. Newer ones speak newer versions too, whose answers name
 * the leader of a partition; where it has none they crash. */
static bool limit_versions(broker *self, kh_error *error)
{
    enum { PRODUCE = 0, FETCH = 1 };
    rd_kafka_resp_err_t code = rd_kafka_mock_set_apiversion(self->cluster, PRODUCE, 3, 7);

    if (!code)
        code = rd_kafka_mock_set_apiversion(self->cluster, FETCH, 4, 11);
    if (code)
        kh_error_set_kafka(error, code, "this librdkafka cannot run an in-process broker: %s",
                           rd_kafka_err2str(code));
    return !code;
}

static bool start_cluster(broker *self, kh_error *error)
{
    rd_kafka_conf_t *conf;

    if (!has_descriptors(self->broker_count, error))
        return false;
    conf = rd_kafka_conf_new();
    if (!configure(conf, self->broker_count, error)) {
        rd_kafka_conf_destroy(conf);
        return false;
    }
    self->client = kh_client_open(conf, true, error);
    if (!self->client)
        return false;
    self->cluster = rd_kafka_handle_mock_cluster(self->client->rk);
    return limit_versions(self, error);
}

/* After each command to the mock cluster. Its thread empties the pipe that wakes it after it has
 * answered, not before: a command that comes in between is not noticed for a second. */
static rd_kafka_resp_err_t settle(rd_kafka_resp_err_t answer)
{
    const struct timespec moment = {.tv_nsec = 100 * 1000};

    (void)nanosleep(&moment, NULL);
    return answer;
}

/* With leaders that are the same every time: the mock cluster throws dice. */
static bool create_topic(broker *self, topic *made, kh_error *error)
{
    int replicas = self->broker_count < 3 ? self->broker_count : 3;
    rd_kafka_resp_err_t code = settle(
        rd_kafka_mock_topic_create(self->cluster, made->name, made->partition_count, replicas));

    for (int32_t i = 0; replicas > 1 && !code && i < made->partition_count; i++)
        code = settle(
            rd_kafka_mock_partition_set_leader(self->cluster, made->name, i, i % replicas + 1));
    if (code) {
        kh_error_set_kafka(error, code, "cannot create topic '%s': %s", made->name,
                           rd_kafka_err2str(code));
        return false;
    }
    made->handle = rd_kafka_topic_new(self->client->rk, made->name, NULL);
    return true;
}

/* The producer learns the leaders now: by itself it would take a second at the first message, and
 * eat the errors that a user injects into the answers meant for another client. */
static bool create_topics(broker *self, kh_error *error)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_resp_err_t code;

    for (topic *made = self->topics; made; made = made->next)
        if (!create_topic(self, made, error))
            return false;
    code = rd_kafka_metadata(self->client->rk, 0, NULL, &metadata, OPEN_TIMEOUT_MS);
    if (code) {
        kh_error_set_kafka(error, code, "the in-process broker does not answer: %s",
                           rd_kafka_err2str(code));
        return false;
    }
    rd_kafka_metadata_destroy(metadata);
    return true;
}

static void shut(broker *self, int wait_ms)
{
    kh_client *client = self->client;

    self->client = NULL;
    self->cluster = NULL;
    for (topic *made = self->topics; made; made = made->next)
        if (made->handle)
            rd_kafka_topic_destroy(made->handle);
    self->topics = NULL;
    if (client)
        kh_client_close(client, 0, wait_ms);
}

static int broker_new(lua_State *L)
{
    kh_error error;
    broker *self;

    lua_settop(L, 1);
    self = kh_new_userdata(L, sizeof(*self));
    memset(self, 0, sizeof(*self));
    self->pid = getpid();
    luaL_getmetatable(L, TYPE);
    lua_setmetatable(L, 2);

    if (lua_type(L, 1) != LUA_TTABLE)
        return refuse(L, "broker.new", "its argument", "a table { topics = , brokers = }", 1);
    check_keys(L, 1);
    read_broker_count(L, self, 1);
    read_topics(L, self, 1);
    if (!start_cluster(self, &error) || !create_topics(self, &error)) {
        shut(self, CLOSE_TIMEOUT_MS);
        return kh_push_error(L, &error);
    }
    lua_settop(L, 2);
    return 1;
}

/* ---- producing ---- */

/* A call to produce. Its messages stand in a table at stack index `messages`. */
typedef struct call {
    lua_State *L;
    broker *self;
    topic *to;
    const char *name;
    int messages;
    int names;
    size_t count;
    slot *slots;
    int64_t deadline_ms;
    size_t stored;
    kh_error error;
} call;

/* The partition of librdkafka's default partitioner for a key (CRC32); in turn without one. */
static int32_t choose_partition(const call *c, int index, const kh_record *record)
{
    int32_t count = c->to->partition_count;
    const char *key;
    size_t length;
    int32_t chosen;

    if (record->partition != RD_KAFKA_PARTITION_UA)
        return record->partition;
    if (!record->has_key) {
        chosen = c->to->next_partition;
        c->to->next_partition = (chosen + 1) % count;
        return chosen;
    }
    lua_pushvalue(c->L, c->names); /* "key" */
    lua_rawget(c->L, index);
    key = lua_tolstring(c->L, -1, &length);
    chosen = rd_kafka_msg_partitioner_consistent(NULL, key, length, count, NULL, NULL);
    lua_pop(c->L, 1);
    return chosen;
}

static void check_messages(call *c)
{
    size_t overhead = REQUEST_OVERHEAD + strlen(c->name);
    lua_State *L = c->L;

    for (size_t i = 0; i < c->count; i++) {
        kh_record record;
        size_t bytes;

        lua_rawgeti(L, c->messages, (int)i + 1);
        record = kh_record_check(L, c->names, -1, "produce", (lua_Integer)i + 1);
        if (record.partition >= c->to->partition_count)
            (void)luaL_error(L, "produce: message %d: topic '%s' has no partition %d, only 0 to %d",
                             (int)i + 1, c->name, (int)record.partition,
                             (int)c->to->partition_count - 1);
        bytes = record.bytes + overhead;
        c->slots[i].partition = choose_partition(c, lua_gettop(L), &record);
        c->slots[i].bytes = bytes < UINT32_MAX ? (uint32_t)bytes : UINT32_MAX;
        lua_pop(L, 1);
    }
}

/* Waits until everything is delivered or has failed; what the deadline leaves over is given up. */
static void flush(const call *c)
{
    rd_kafka_t *rk = c->self->client->rk;

    if (rd_kafka_flush(rk, kh_remaining_ms(c->deadline_ms)) == RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    (void)rd_kafka_purge(rk, RD_KAFKA_PURGE_F_QUEUE | RD_KAFKA_PURGE_F_INFLIGHT);
    (void)rd_kafka_flush(rk, 1000);
}

/* Sends messages from `*next` on that belong to the partition and fit into `left` bytes even if
 * nothing can be compressed. Leaves `*next` at the first that did not; returns how many it sent. */
static size_t send_piece(const call *c, int32_t partition, size_t left, size_t *next,
                         rd_kafka_resp_err_t *code)
{
    size_t sent = 0;
    size_t i;

    *code = RD_KAFKA_RESP_ERR_NO_ERROR;
    for (i = *next; i < c->count; i++) {
        if (c->slots[i].partition != partition)
            continue;
        if (c->slots[i].bytes > left)
            break;
        lua_rawgeti(c->L, c->messages, (int)i + 1);
        *code = kh_record_send(c->L, c->names, -1, c->self->client->rk, c->name, partition);
        lua_pop(c->L, 1);
        if (*code)
            break;
        left -= c->slots[i].bytes;
        sent++;
    }
    *next = i;
    return sent;
}

static bool report_full(call *c, int32_t partition, size_t message)
{
    kh_error_set(
        &c->error, "FULL",
        "topic '%s' [%d] has no room for message %zu (up to %u bytes): an in-process broker "
        "keeps %d bytes of compressed batches a partition, %zu are used, and more would "
        "drop the oldest; use more partitions, fewer or smaller messages, or a new broker. "
        "Of this call's %zu messages %zu were stored",
        c->name, (int)partition, message, (unsigned)c->slots[message - 1].bytes, PARTITION_BYTES,
        c->to->used[partition], c->count, c->stored);
    return false;
}

static bool report_failure(call *c, int32_t partition, rd_kafka_resp_err_t code)
{
    const kh_client *client = c->self->client;
    bool gave_up = client->failed == 0 || strncmp(client->failure.name, "_PURGE", 6) == 0;
    char last_word[560];

    if (code)
        kh_error_set_kafka(&c->error, code, "cannot produce to topic '%s' [%d]: %s", c->name,
                           (int)partition, rd_kafka_err2str(code));
    else if (gave_up)
        kh_error_set(&c->error, "_MSG_TIMED_OUT",
                     "topic '%s' [%d] did not take the messages in time (a broker that is down, a "
                     "partition without a leader, an injected error?): %zu of %zu were stored%s",
                     c->name, (int)partition, c->stored, c->count,
                     kh_client_last_word(client, last_word, sizeof(last_word)));
    else
        kh_error_set(&c->error, client->failure.name, "%s: %zu of %zu messages were stored",
                     client->failure.text, c->stored, c->count);
    return false;
}

/* Sends the partition's messages in pieces. */
static bool produce_partition(call *c, int32_t partition)
{
    kh_client *client = c->self->client;
    size_t *used = &c->to->used[partition];

    for (size_t next = 0;;) {
        size_t before = atomic_load(&client->produced);
        size_t left = *used < PARTITION_BYTES ? PARTITION_BYTES - *used : 0;
        rd_kafka_resp_err_t code;
        size_t sent;

        kh_client_reset(client);
        sent = send_piece(c, partition, left, &next, &code);
        if (sent > 0)
            flush(c);
        *used += atomic_load(&client->produced) - before;
        c->stored += client->delivered;
        if (code || client->failed > 0 || client->delivered < sent)
            return report_failure(c, partition, code);
        if (next == c->count)
            return true;
        if (sent == 0)
            return report_full(c, partition, next + 1);
    }
}

static bool produce_all(call *c)
{
    for (int32_t partition = 0; partition < c->to->partition_count; partition++) {
        bool any = false;

        for (size_t i = 0; i < c->count && !any; i++)
            any = c->slots[i].partition == partition;
        if (any && !produce_partition(c, partition))
            return false;
    }
    return true;
}

/* One message, as a string or as a table with a field of its own, becomes an array of it. */
static void wrap_single(lua_State *L)
{
    bool single = lua_type(L, 3) == LUA_TSTRING;
    size_t entries = 0;

    if (!single && lua_type(L, 3) != LUA_TTABLE)
        (void)refuse(L, "produce", "messages", "an array of messages, a message or a string", 3);
    if (!single)
        for (lua_pushnil(L); lua_next(L, 3) != 0; lua_pop(L, 1)) {
            single = single || lua_type(L, -2) == LUA_TSTRING;
            entries++;
        }
    if (!single && entries != lua_rawlen(L, 3))
        (void)luaL_error(L,
                         "produce: messages must be an array without holes (%d entries, length %d)",
                         (int)entries, (int)lua_rawlen(L, 3));
    if (!single)
        return;
    lua_createtable(L, 1, 0);
    lua_pushvalue(L, 3);
    lua_rawseti(L, -2, 1);
    lua_replace(L, 3);
}

static int check_timeout(lua_State *L)
{
    int timeout_ms;

    if (lua_isnoneornil(L, 4))
        return PRODUCE_TIMEOUT_S * 1000;
    if (lua_type(L, 4) != LUA_TTABLE)
        return refuse(L, "produce", "its options", "a table { timeout = seconds }", 4);
    for (lua_pushnil(L); lua_next(L, 4) != 0; lua_pop(L, 1))
        if (lua_type(L, -2) != LUA_TSTRING || strcmp(lua_tostring(L, -2), "timeout") != 0)
            return refuse(L, "produce", "an option", "timeout", -2);
    lua_getfield(L, 4, "timeout");
    timeout_ms = kh_check_seconds(L, -1, "produce: timeout", PRODUCE_TIMEOUT_S);
    lua_pop(L, 1);
    return timeout_ms;
}

static int broker_produce(lua_State *L)
{
    broker *self = check_broker(L);
    call c = {.L = L, .self = self, .messages = 3};
    int timeout_ms;

    lua_settop(L, 4);
    if (!self)
        return closed(L);
    c.name = check_topic(L, "produce", &c.to);
    timeout_ms = check_timeout(L);
    wrap_single(L);
    c.names = kh_record_open(L);
    c.count = lua_rawlen(L, 3);
    if (c.count > INT_MAX)
        return luaL_error(L, "produce: too many messages");
    c.slots = lua_newuserdata(L, (c.count + 1) * sizeof(*c.slots));
    check_messages(&c);

    /* From here on nothing raises. */
    c.deadline_ms = kh_now_ms() + timeout_ms;
    if (produce_all(&c)) {
        lua_pushinteger(L, (lua_Integer)c.stored);
        return 1;
    }
    (void)kh_push_error(L, &c.error);
    lua_pushinteger(L, (lua_Integer)c.stored);
    return 4;
}

/* ---- faults ---- */

static int fault_result(lua_State *L, const char *function, rd_kafka_resp_err_t code)
{
    kh_error error;

    if (!settle(code)) {
        lua_pushboolean(L, 1);
        return 1;
    }
    kh_error_set_kafka(&error, code, "%s: the in-process broker refuses: %s", function,
                       rd_kafka_err2str(code));
    return kh_push_error(L, &error);
}

static int broker_leader(lua_State *L)
{
    broker *self = check_broker(L);
    int32_t partition;
    int32_t id = -1;
    topic *of;
    const char *name;

    if (!self)
        return closed(L);
    name = check_topic(L, "leader", &of);
    partition = check_partition(L, "leader", of);
    if (lua_toboolean(L, 4))
        id = check_broker_id(L, "leader", self, 4);
    return fault_result(L, "leader",
                        rd_kafka_mock_partition_set_leader(self->cluster, name, partition, id));
}

static int broker_follower(lua_State *L)
{
    broker *self = check_broker(L);
    int32_t partition;
    int32_t id = -1;
    topic *of;
    const char *name;

    if (!self)
        return closed(L);
    name = check_topic(L, "follower", &of);
    partition = check_partition(L, "follower", of);
    if (lua_toboolean(L, 4))
        id = check_broker_id(L, "follower", self, 4);
    return fault_result(L, "follower",
                        rd_kafka_mock_partition_set_follower(self->cluster, name, partition, id));
}

static int64_t check_watermark(lua_State *L, int index, const char *what)
{
    if (lua_isnoneornil(L, index))
        return -1; /* the leader's */
    return check_whole(L, "follower_watermarks", index, what, 0, INT64_C(1) << 53);
}

static int broker_follower_watermarks(lua_State *L)
{
    broker *self = check_broker(L);
    int32_t partition;
    int64_t low;
    int64_t high;
    topic *of;
    const char *name;

    if (!self)
        return closed(L);
    name = check_topic(L, "follower_watermarks", &of);
    partition = check_partition(L, "follower_watermarks", of);
    low = check_watermark(L, 4, "the low watermark");
    high = check_watermark(L, 5, "the high watermark");
    return fault_result(
        L, "follower_watermarks",
        rd_kafka_mock_partition_set_follower_wmarks(self->cluster, name, partition, low, high));
}

static int broker_down(lua_State *L)
{
    broker *self = check_broker(L);

    if (!self)
        return closed(L);
    return fault_result(
        L, "down",
        rd_kafka_mock_broker_set_down(self->cluster, check_broker_id(L, "down", self, 2)));
}

static int broker_up(lua_State *L)
{
    broker *self = check_broker(L);

    if (!self)
        return closed(L);
    return fault_result(
        L, "up", rd_kafka_mock_broker_set_up(self->cluster, check_broker_id(L, "up", self, 2)));
}

static int broker_round_trip_time(lua_State *L)
{
    broker *self = check_broker(L);
    int32_t id;
    int rtt_ms;

    if (!self)
        return closed(L);
    id = check_broker_id(L, "round_trip_time", self, 2);
    rtt_ms = kh_check_seconds(L, 3, "round_trip_time: the time", 0);
    return fault_result(L, "round_trip_time",
                        rd_kafka_mock_broker_set_rtt(self->cluster, id, rtt_ms));
}

static int broker_rack(lua_State *L)
{
    broker *self = check_broker(L);
    int32_t id;

    if (!self)
        return closed(L);
    id = check_broker_id(L, "rack", self, 2);
    if (lua_type(L, 3) != LUA_TSTRING)
        return refuse(L, "rack", "the rack", "a string", 3);
    return fault_result(L, "rack",
                        rd_kafka_mock_broker_set_rack(self->cluster, id, lua_tostring(L, 3)));
}

static int broker_error(lua_State *L)
{
    broker *self = check_broker(L);
    rd_kafka_resp_err_t *codes;
    size_t count;
    int16_t api;

    if (!self)
        return closed(L);
    lua_settop(L, 3);
    api = check_api(L, "error");
    count = lua_type(L, 3) == LUA_TTABLE ? lua_rawlen(L, 3) : 1;
    codes = lua_newuserdata(L, (count + 1) * sizeof(*codes));
    if (lua_type(L, 3) != LUA_TTABLE)
        codes[0] = check_code(L, "error", 3);
    for (size_t i = 0; i < count && lua_type(L, 3) == LUA_TTABLE; i++) {
        lua_rawgeti(L, 3, (int)i + 1);
        codes[i] = check_code(L, "error", lua_gettop(L));
        lua_pop(L, 1);
    }
    rd_kafka_mock_push_request_errors_array(self->cluster, api, count, codes);
    return fault_result(L, "error", RD_KAFKA_RESP_ERR_NO_ERROR);
}

static int broker_clear_errors(lua_State *L)
{
    broker *self = check_broker(L);

    if (!self)
        return closed(L);
    rd_kafka_mock_clear_request_errors(self->cluster, check_api(L, "clear_errors"));
    return fault_result(L, "clear_errors", RD_KAFKA_RESP_ERR_NO_ERROR);
}

static int broker_topic_error(lua_State *L)
{
    broker *self = check_broker(L);
    rd_kafka_resp_err_t code = RD_KAFKA_RESP_ERR_NO_ERROR;
    topic *of;
    const char *name;

    if (!self)
        return closed(L);
    name = check_topic(L, "topic_error", &of);
    if (lua_toboolean(L, 3))
        code = check_code(L, "topic_error", 3);
    rd_kafka_mock_topic_set_error(self->cluster, name, code);
    return fault_result(L, "topic_error", RD_KAFKA_RESP_ERR_NO_ERROR);
}

/* ---- class ---- */

static int broker_addresses(lua_State *L)
{
    broker *self = check_broker(L);

    if (!self)
        return closed(L);
    lua_pushstring(L, rd_kafka_mock_cluster_bootstraps(self->cluster));
    return 1;
}

static int broker_close(lua_State *L)
{
    broker *self = check_broker(L);

    if (self)
        shut(self, CLOSE_TIMEOUT_MS);
    lua_pushboolean(L, 1);
    return 1;
}

static int broker_collect(lua_State *L)
{
    broker *self = luaL_checkudata(L, 1, TYPE);

    if (self->pid == getpid())
        shut(self, 0);
    return 0;
}

static int broker_tostring(lua_State *L)
{
    broker *self = luaL_checkudata(L, 1, TYPE);
    bool here = self->client && self->pid == getpid();

    lua_pushfstring(L, TYPE ": %s",
                    here ? rd_kafka_mock_cluster_bootstraps(self->cluster) : "closed");
    return 1;
}

static const luaL_Reg methods[] = {
    {"addresses", broker_addresses},
    {"produce", broker_produce},
    {"leader", broker_leader},
    {"follower", broker_follower},
    {"follower_watermarks", broker_follower_watermarks},
    {"down", broker_down},
    {"up", broker_up},
    {"round_trip_time", broker_round_trip_time},
    {"rack", broker_rack},
    {"error", broker_error},
    {"clear_errors", broker_clear_errors},
    {"topic_error", broker_topic_error},
    {"close", broker_close},
    {NULL, NULL},
};

static const luaL_Reg metamethods[] = {
    {"__close", broker_close},
    {"__gc", broker_collect},
    {"__tostring", broker_tostring},
    {NULL, NULL},
};

int kh_open_broker(lua_State *L)
{
    kh_new_class(L, TYPE, methods, metamethods);
    lua_pop(L, 1);
    lua_newtable(L);
    lua_pushcfunction(L, broker_new);
    lua_setfield(L, -2, "new");
    return 1;
}
