/*
 * The limit: what a C program gets out of librdkafka when it does nothing else. Reads a topic from
 * the beginning to the ends recorded before, in batches, tuned like the engine.
 *
 *     c_loop ADDRESSES TOPIC count|table|latest|view
 *     c_loop ADDRESSES TOPIC idle SECONDS
 *     c_loop ADDRESSES TOPIC live MESSAGES
 *
 * count adds up the lengths of the values; table keeps the latest value of each key in a table of
 * its own, latest in the engine's (kh_keys), one for each partition, view in one of them; the
 * result is the sum or the number of keys. idle waits afterwards, and counts how often its threads
 * had to be woken. live says "ready" afterwards and takes messages of ticker.c, whose values begin
 * with when they were sent. Prints one line of figures, name=value; kb is the peak of its memory.
 */
#define _GNU_SOURCE
#include "keys.h"

#include <librdkafka/rdkafka.h>

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

#define BATCH 1000
#define POKE_BELOW 10000
/* How soon a position is seen that a transaction's marker has moved: that wakes nobody. */
#define LOOK_AT_POSITION_MS 1

static void die(const char *what)
{
    fprintf(stderr, "c_loop: %s\n", what);
    exit(1);
}

/* --- figures ---------------------------------------------------------------------------------- */

static double now_s(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static double cpu_s(void)
{
    struct timespec used;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &used);
    return (double)used.tv_sec + (double)used.tv_nsec / 1e9;
}

/* Not getrusage's, in which the process that has started this one counts. */
static long peak_kb(void)
{
    FILE *status = fopen("/proc/self/status", "r");
    char line[256];
    long peak = 0;

    while (status != NULL && fgets(line, sizeof line, status) != NULL)
        if (sscanf(line, "VmHWM: %ld", &peak) == 1)
            break;
    if (status != NULL)
        fclose(status);
    return peak;
}

static long switches(int who)
{
    struct rusage usage;

    getrusage(who, &usage);
    return usage.ru_nvcsw;
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

/* --- the engine's tables ---------------------------------------------------------------------- */

static kh_keys *tables; /* partition by partition; all is in the first one for a view */

static void keep_in(kh_keys *keys, const rd_kafka_message_t *message)
{
    kh_record *old;

    if (message->key == NULL)
        die("a message without a key");
    if (message->payload != NULL) {
        if (kh_keys_put(keys, message, message->partition) == NULL)
            die("out of memory");
        return;
    }
    old = kh_keys_find(keys, message->key, message->key_len);
    if (old != NULL)
        kh_keys_remove(keys, old);
}

static void keep_by_partition(const rd_kafka_message_t *message)
{
    keep_in(&tables[message->partition], message);
}

static void keep_by_topic(const rd_kafka_message_t *message)
{
    keep_in(&tables[0], message);
}

static size_t count_keys(int partitions)
{
    size_t count = 0;

    for (int i = 0; i < partitions; i++)
        count += kh_keys_count(&tables[i]);
    return count;
}

/* --- reading ---------------------------------------------------------------------------------- */

struct reader {
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    rd_kafka_topic_partition_list_t *ends;
    bool *done;  /* partition by partition */
    int pending; /* those that are not */
};

static void set(rd_kafka_conf_t *conf, const char *name, const char *value)
{
    char reason[256];

    /* What an older librdkafka does not know it does without. */
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
    set(conf, "enable.partition.eof", "true");
    set(conf, "enable.metrics.push", "false");
    set(conf, "fetch.wait.max.ms", "100");
    set(conf, "fetch.message.max.bytes", "524288");
    set(conf, "fetch.max.bytes", "8388608");
    set(conf, "queued.min.messages", "10000");
    set(conf, "queued.max.messages.kbytes", "8192");
    set(conf, "fetch.queue.backoff.ms", "10"); /* unknown below 2.2: poked instead */
    rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, reason, sizeof reason);
    if (rk == NULL)
        die(reason);
    rd_kafka_poll_set_consumer(rk);
    return rk;
}

/* Assigns all partitions at their first offsets, having asked for their ends. */
static void assign(struct reader *reader, const char *name)
{
    const struct rd_kafka_metadata *metadata;
    rd_kafka_topic_t *topic = rd_kafka_topic_new(reader->rk, name, NULL);
    rd_kafka_topic_partition_list_t *low = rd_kafka_topic_partition_list_new(16);
    rd_kafka_topic_partition_list_t *end = rd_kafka_topic_partition_list_new(16);

    if (rd_kafka_metadata(reader->rk, 0, topic, &metadata, 10000) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("no metadata");
    for (int i = 0; i < metadata->topics[0].partition_cnt; i++) {
        rd_kafka_topic_partition_list_add(low, name, i)->offset = RD_KAFKA_OFFSET_BEGINNING;
        rd_kafka_topic_partition_list_add(end, name, i)->offset = RD_KAFKA_OFFSET_END;
    }
    if (rd_kafka_offsets_for_times(reader->rk, low, 10000) != RD_KAFKA_RESP_ERR_NO_ERROR ||
        rd_kafka_offsets_for_times(reader->rk, end, 10000) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("no offsets");
    reader->ends = end;
    reader->done = calloc((size_t)end->cnt + 1, sizeof *reader->done);
    for (int i = 0; i < end->cnt; i++) {
        reader->done[i] = low->elems[i].offset >= end->elems[i].offset;
        reader->pending += !reader->done[i];
    }
    rd_kafka_assign(reader->rk, low);
    rd_kafka_topic_partition_list_destroy(low);
    rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(topic);
}

static void reach(struct reader *reader, int32_t partition, int64_t offset)
{
    if (reader->done[partition] || offset < reader->ends->elems[partition].offset)
        return;
    reader->done[partition] = true;
    reader->pending--;
}

/* Behind a transaction's marker no message tells where the reader is. */
static void look_at_positions(struct reader *reader)
{
    rd_kafka_topic_partition_list_t *positions = rd_kafka_topic_partition_list_copy(reader->ends);

    rd_kafka_position(reader->rk, positions);
    for (int i = 0; i < positions->cnt; i++)
        reach(reader, i, positions->elems[i].offset);
    rd_kafka_topic_partition_list_destroy(positions);
}

/* Up to 2.1 a full queue makes librdkafka wait for up to a second; any request ends that. */
static void poke(struct reader *reader)
{
    static double poked_s;

    if (rd_kafka_version() >= 0x02020000 || now_s() - poked_s < 0.002 ||
        rd_kafka_queue_length(reader->queue) >= POKE_BELOW)
        return;
    rd_kafka_error_destroy(rd_kafka_sasl_set_credentials(reader->rk, "", ""));
    poked_s = now_s();
}

static void open_reader(struct reader *reader, const char *addresses, const char *topic)
{
    reader->rk = open_consumer(addresses);
    assign(reader, topic);
    reader->queue = rd_kafka_queue_get_consumer(reader->rk);
}

static void close_reader(struct reader *reader)
{
    rd_kafka_topic_partition_list_destroy(reader->ends);
    free(reader->done);
    rd_kafka_queue_destroy(reader->queue);
    rd_kafka_consumer_close(reader->rk);
    rd_kafka_destroy(reader->rk);
}

/* --- the works -------------------------------------------------------------------------------- */

static int64_t handled, bytes;

/* What keeps a message; NULL: nothing does. */
typedef void keeping(const rd_kafka_message_t *message);

static void read_history(struct reader *reader, keeping *keeps)
{
    rd_kafka_message_t *messages[BATCH];

    while (reader->pending > 0) {
        ssize_t got = rd_kafka_consume_batch_queue(reader->queue, 0, messages, BATCH);

        if (got == 0)
            got = rd_kafka_consume_batch_queue(reader->queue, LOOK_AT_POSITION_MS, messages, 1);
        if (got == 0)
            look_at_positions(reader);
        for (ssize_t i = 0; i < got; i++) {
            const rd_kafka_message_t *message = messages[i];

            if (message->err == RD_KAFKA_RESP_ERR__PARTITION_EOF)
                reach(reader, message->partition, message->offset);
            if (message->err != RD_KAFKA_RESP_ERR_NO_ERROR)
                continue;
            handled++;
            bytes += (int64_t)message->len;
            if (keeps != NULL)
                keeps(message);
            reach(reader, message->partition, message->offset + 1);
        }
        for (ssize_t i = 0; i < got; i++)
            rd_kafka_message_destroy(messages[i]);
        poke(reader);
    }
}

static void idle(struct reader *reader, double seconds)
{
    long thread = switches(RUSAGE_THREAD), process = switches(RUSAGE_SELF);
    double cpu = cpu_s(), until_s = now_s() + seconds;
    rd_kafka_message_t *message;

    for (double left; (left = until_s - now_s()) > 0;)
        if (rd_kafka_consume_batch_queue(reader->queue, (int)(left * 1e3) + 1, &message, 1) == 1)
            rd_kafka_message_destroy(message);
    thread = switches(RUSAGE_THREAD) - thread;
    process = switches(RUSAGE_SELF) - process;
    printf("switches=%ld others=%ld cpu_ms=%.3f kb=%ld\n", thread, process - thread,
           (cpu_s() - cpu) * 1e3, peak_kb());
}

static int compare(const void *a, const void *b)
{
    double left = *(const double *)a, right = *(const double *)b;

    return (left > right) - (left < right);
}

static double percentile(const double *sorted, int count, double percent)
{
    return sorted[(int)((count - 1) * percent / 100)] * 1e6;
}

static void live(struct reader *reader, int count)
{
    double *latencies = calloc((size_t)count, sizeof *latencies);
    rd_kafka_message_t *messages[BATCH];
    double cpu = cpu_s();
    int seen = 0;

    puts("ready");
    fflush(stdout);
    while (seen < count) {
        ssize_t got = rd_kafka_consume_batch_queue(reader->queue, 0, messages, BATCH);

        if (got == 0)
            got = rd_kafka_consume_batch_queue(reader->queue, 1000, messages, 1);
        for (ssize_t i = 0; i < got; i++) {
            if (messages[i]->err == RD_KAFKA_RESP_ERR_NO_ERROR && seen < count)
                latencies[seen++] = now_s() - strtod(messages[i]->payload, NULL);
            rd_kafka_message_destroy(messages[i]);
        }
    }
    qsort(latencies, (size_t)count, sizeof *latencies, compare);
    printf("p50_us=%.1f p99_us=%.1f max_us=%.1f cpu_ms=%.3f\n", percentile(latencies, count, 50),
           percentile(latencies, count, 99), percentile(latencies, count, 100),
           (cpu_s() - cpu) * 1e3);
    free(latencies);
}

static keeping *keeping_of(const char *work)
{
    if (strcmp(work, "table") == 0)
        return keep;
    if (strcmp(work, "latest") == 0)
        return keep_by_partition;
    return strcmp(work, "view") == 0 ? keep_by_topic : NULL;
}

int main(int count, char **arguments)
{
    struct reader reader = {0};
    const char *work = count > 3 ? arguments[3] : "";
    keeping *keeps = keeping_of(work);
    bool is_history = keeps != NULL || strcmp(work, "count") == 0;
    bool is_idle = strcmp(work, "idle") == 0;
    double began_s = now_s();

    if (!(is_history && count == 4) &&
        !((is_idle || strcmp(work, "live") == 0) && count == 5 && atof(arguments[4]) > 0))
        die("usage: c_loop ADDRESSES TOPIC count | table | latest | view | idle SECONDS | live "
            "MESSAGES");
    entries = calloc(room, sizeof *entries);
    open_reader(&reader, arguments[1], arguments[2]);
    tables = calloc((size_t)reader.ends->cnt, sizeof *tables);
    read_history(&reader, keeps);
    if (is_history)
        printf("messages=%lld seconds=%.6f cpu=%.6f kb=%ld result=%lld\n", (long long)handled,
               now_s() - began_s, cpu_s(), peak_kb(),
               keeps == NULL ? (long long)bytes : (long long)(used + count_keys(reader.ends->cnt)));
    else if (is_idle)
        idle(&reader, atof(arguments[4]));
    else
        live(&reader, atoi(arguments[4]));
    close_reader(&reader);
    return 0;
}
