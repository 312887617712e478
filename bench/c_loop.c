/*
 * The limit: what a C program gets out of librdkafka when it does nothing else. Reads a topic from
 * the beginning to the ends recorded before, in batches, tuned like the engine.
 *
 *     c_loop ADDRESSES TOPIC count|table
 *
 * count adds up the lengths of the values; table keeps the latest value of each key. Prints one
 * line: messages, seconds, CPU seconds, peak memory in KB, and the sum (count) or the number of
 * keys (table).
 */
#define _POSIX_C_SOURCE 200809L
#include <librdkafka/rdkafka.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define BATCH 1000
#define POKE_BELOW 20000

static void die(const char *what)
{
    fprintf(stderr, "c_loop: %s\n", what);
    exit(1);
}

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

/* --- the table: open addressing, grown at half full ------------------------------------------- */

struct entry {
    char *key; /* NULL: free */
    char *value;
    size_t key_length, value_length;
    uint64_t hash;
};

static struct entry *entries;
static size_t room = 1024;
static size_t used;

static uint64_t hash_of(const char *bytes, size_t length)
{
    uint64_t hash = UINT64_C(14695981039346656037);

    for (size_t i = 0; i < length; i++)
        hash = (hash ^ (unsigned char)bytes[i]) * UINT64_C(1099511628211);
    return hash;
}

static struct entry *find(uint64_t hash, const char *key, size_t length)
{
    size_t at = hash & (room - 1);

    while (entries[at].key != NULL &&
           (entries[at].hash != hash || entries[at].key_length != length ||
            memcmp(entries[at].key, key, length) != 0))
        at = (at + 1) & (room - 1);
    return &entries[at];
}

static void grow(void)
{
    struct entry *old = entries;
    size_t old_room = room;

    room *= 2;
    entries = calloc(room, sizeof *entries);
    for (size_t i = 0; i < old_room; i++)
        if (old[i].key != NULL)
            *find(old[i].hash, old[i].key, old[i].key_length) = old[i];
    free(old);
}

static void keep(const rd_kafka_message_t *message)
{
    uint64_t hash = hash_of(message->key, message->key_len);
    struct entry *entry = find(hash, message->key, message->key_len);

    if (entry->key == NULL) {
        entry->key = malloc(message->key_len + 1);
        memcpy(entry->key, message->key, message->key_len);
        entry->key_length = message->key_len;
        entry->hash = hash;
        used++;
    }
    if (entry->value_length < message->len || entry->value == NULL)
        entry->value = realloc(entry->value, message->len + 1);
    memcpy(entry->value, message->payload, message->len);
    entry->value_length = message->len;
    if (used * 2 > room)
        grow();
}

/* --- reading ---------------------------------------------------------------------------------- */

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char reason[256];

    if (rd_kafka_conf_set(conf, name, value, reason, sizeof reason) == RD_KAFKA_CONF_INVALID)
        die(reason);
}

static rd_kafka_t *open_consumer(const char *addresses)
{
    char reason[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_t *rk;

    set(conf, "bootstrap.servers", addresses);
    set(conf, "group.id", "c-loop");
    set(conf, "enable.auto.commit", "false");
    set(conf, "enable.auto.offset.store", "false");
    set(conf, "fetch.wait.max.ms", "100");
    set(conf, "fetch.message.max.bytes", "524288");
    set(conf, "fetch.max.bytes", "8388608");
    set(conf, "queued.min.messages", "20000");
    set(conf, "queued.max.messages.kbytes", "32768");
    set(conf, "fetch.queue.backoff.ms", "10"); /* unknown below 2.2: poked instead */
    rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, reason, sizeof reason);
    if (rk == NULL)
        die(reason);
    rd_kafka_poll_set_consumer(rk);
    return rk;
}

/* Assigns all partitions at their first offsets; returns their ends, in the elements'
 * metadata_size. */
static rd_kafka_topic_partition_list_t *assign(rd_kafka_t *rk, const char *name, int *pending)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(rk, name, NULL);
    rd_kafka_topic_partition_list_t *low = rd_kafka_topic_partition_list_new(16);
    rd_kafka_topic_partition_list_t *end = rd_kafka_topic_partition_list_new(16);

    if (rd_kafka_metadata(rk, 0, topic, &metadata, 10000) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("no metadata");
    for (int i = 0; i < metadata->topics[0].partition_cnt; i++) {
        rd_kafka_topic_partition_list_add(low, name, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
        rd_kafka_topic_partition_list_add(end, name, i)->offset = RD_KAFKA_OFFSET_END;
    }
    if (rd_kafka_offsets_for_times(rk, low, 10000) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        rd_kafka_offsets_for_times(rk, end, 10000) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("no offsets");
    *pending = 0;
    for (int i = 0; i < end->cnt; i++)
        *pending += low->elems[i].offset < end->elems[i].offset;
    rd_kafka_assign(rk, low);
    rd_kafka_topic_partition_list_destroy(low);
    rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(topic);
    return end;
}

int main(int count, char **arguments)
{
    rd_kafka_message_t *messages[BATCH];
    rd_kafka_topic_partition_list_t *end;
    rd_kafka_queue_t *queue;
    rd_kafka_t *rk;
    struct rusage usage;
    int64_t handled = 0, bytes = 0;
    double began_s, poked_s = 0;
    bool fills_table;
    int pending;

    if (count != 4)
        die("usage: c_loop ADDRESSES TOPIC count|table");
    fills_table = strcmp(arguments[3], "table") == 0;
    entries = calloc(room, sizeof *entries);
    began_s = now_s();
    rk = open_consumer(arguments[1]);
    end = assign(rk, arguments[2], &pending);
    queue = rd_kafka_queue_get_consumer(rk);
    while (pending > 0) {
        ssize_t got = rd_kafka_consume_batch_queue(queue, 0, messages, BATCH);

        if (got == 0)
            got = rd_kafka_consume_batch_queue(queue, 100, messages, 1);
        for (ssize_t i = 0; i < got; i++) {
            const rd_kafka_message_t *message = messages[i];

            if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
                continue;
            handled++;
            bytes += (int64_t)message->len;
            if (fills_table)
                keep(message);
            pending -= message->offset + 1 == end->elems[message->partition].offset;
        }
        for (ssize_t i = 0; i < got; i++)
            rd_kafka_message_destroy(messages[i]);
        if (rd_kafka_version() < 0x02020000 && now_s() - poked_s > 0.002 &&
            rd_kafka_queue_length(queue) < POKE_BELOW) {
            rd_kafka_error_destroy(rd_kafka_sasl_set_credentials(rk, "", ""));
            poked_s = now_s();
        }
    }
    getrusage(RUSAGE_SELF, &usage);
    printf("%lld %.6f %.6f %ld %lld\n", (long long)handled, now_s() - began_s,
           (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
               (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6,
           usage.ru_maxrss, fills_table ? (long long)used : (long long)bytes);
    rd_kafka_topic_partition_list_destroy(end);
    rd_kafka_queue_destroy(queue);
    rd_kafka_consumer_close(rk);
    rd_kafka_destroy(rk);
    return 0;
}
