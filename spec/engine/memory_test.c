/*
 * Runs in which the engine's allocations fail: the first of them, the second, and so on until a run
 * needs no more; each once alone, and once with all that follow for a while.
 *
 * The functions below are hidden, so that they stand in for the C library's in what is linked into
 * this program, which is the engine, and not in librdkafka, whose allocations abort when they fail.
 * They count what is alive: after each run nothing may be left.
 *
 * The topic is one of an embedded broker; and where KAFKA_HISTORY_BROKER names a real one, members
 * of groups read one of that, too: an embedded broker lets each new member wait for seconds.
 */
#define _GNU_SOURCE /* RTLD_NEXT */
#include "clock.h"
#include "consumer.h"
#include "tap.h"
#include "view.h"

#include <dlfcn.h>
#include <errno.h>
#include <librdkafka/rdkafka_mock.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct tap tap;

/* --- the allocator ---------------------------------------------------------------------------- */

static atomic_int asked;  /* allocations since the run began */
static atomic_int first;  /* the number of the first one to fail; 0: none */
static atomic_bool all;   /* and all that follow, until this is taken back */
static atomic_int failed; /* how many did */
static atomic_int alive;

static void find(const char *name, void *function)
{
    void *found = dlsym(RTLD_NEXT, name);

    memcpy(function, &found, sizeof found);
}

static bool may_have(void)
{
    int number = atomic_fetch_add(&asked, 1) + 1;
    int failing = atomic_load(&first);

    if (failing == 0 || number < failing || (number > failing && !atomic_load(&all)))
        return true;
    atomic_fetch_add(&failed, 1);
    errno = ENOMEM;
    return false;
}

static void *counted(void *block)
{
    if (block != NULL)
        atomic_fetch_add(&alive, 1);
    return block;
}

void *malloc(size_t size)
{
    void *(*function)(size_t) = NULL;

    find("malloc", &function);
    return may_have() ? counted(function(size)) : NULL;
}

void *calloc(size_t count, size_t size)
{
    void *(*function)(size_t, size_t) = NULL;

    find("calloc", &function);
    return may_have() ? counted(function(count, size)) : NULL;
}

void *realloc(void *block, size_t size)
{
    void *(*function)(void *, size_t) = NULL;
    void *grown;

    find("realloc", &function);
    grown = may_have() ? function(block, size) : NULL;
    return block == NULL ? counted(grown) : grown;
}

char *strdup(const char *text)
{
    char *(*function)(const char *) = NULL;

    find("strdup", &function);
    return may_have() ? counted(function(text)) : NULL;
}

void free(void *block)
{
    void (*function)(void *) = NULL;

    find("free", &function);
    if (block != NULL)
        atomic_fetch_sub(&alive, 1);
    function(block);
}

/* --- a topic to read -------------------------------------------------------------------------- */

enum { PARTITIONS = 2, MESSAGES = 6 };

struct cluster {
    rd_kafka_t *rk; /* a producer, and the mock cluster that it writes to, if it is one */
    const char *addresses;
    char topic[64];
    bool has_groups; /* a consumer is a member of one of its own */
    kh_history history;
};

static void produce(struct cluster *cluster)
{
    for (int i = 0; i < MESSAGES; i++) {
        char value[16];

        snprintf(value, sizeof value, "%d", i);
        rd_kafka_producev(
            cluster->rk, RD_KAFKA_V_TOPIC(cluster->topic), RD_KAFKA_V_PARTITION(i % PARTITIONS),
            RD_KAFKA_V_MSGFLAGS(RD_KAFKA_MSG_F_COPY), RD_KAFKA_V_KEY(value, strlen(value)),
            RD_KAFKA_V_VALUE(value, strlen(value)), RD_KAFKA_V_END);
    }
    rd_kafka_flush(cluster->rk, 10000);
}

static bool open_real_cluster(struct cluster *cluster, const char *addresses)
{
    char text[512];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    snprintf(cluster->topic, sizeof cluster->topic, "memory-%d", (int)getpid());
    cluster->addresses = addresses;
    cluster->has_groups = true;
    snprintf(text, sizeof text, "build/kafka-admin '%s' create %s %d", addresses, cluster->topic,
             PARTITIONS);
    if (system(text) != 0)
        return false;
    rd_kafka_conf_set(conf, "bootstrap.servers", addresses, NULL, 0);
    cluster->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, text, sizeof text);
    if (cluster->rk == NULL)
        return false;
    produce(cluster);
    return rd_kafka_outq_len(cluster->rk) == 0;
}

static bool start_cluster(struct cluster *cluster)
{
    char reason[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_mock_cluster_t *mock;

    rd_kafka_conf_set(conf, "test.mock.num.brokers", "1", NULL, 0);
    rd_kafka_conf_set(conf, "linger.ms", "0", NULL, 0);
    rd_kafka_conf_set(conf, "log_level", "0", NULL, 0);
    cluster->rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof reason);
    if (cluster->rk == NULL)
        return false;
    mock = rd_kafka_handle_mock_cluster(cluster->rk);
    cluster->addresses = rd_kafka_mock_cluster_bootstraps(mock);
    snprintf(cluster->topic, sizeof cluster->topic, "t");
    cluster->has_groups = false;
    rd_kafka_mock_topic_create(mock, cluster->topic, PARTITIONS, 1);
    produce(cluster);
    return rd_kafka_outq_len(cluster->rk) == 0;
}

/* --- one run ---------------------------------------------------------------------------------- */

struct run {
    bool ended; /* in an error that was told, or with everything read */
    bool told;  /* an error was told, and each one said what happened */
    bool well_told;
    bool read;  /* everything, once and in order, into a view, and the signal was given after it */
    bool clean; /* nothing is left */
    int64_t close_ms;
    int64_t next[PARTITIONS];
};

static void note_error(struct run *run, const kh_error *error)
{
    run->told = true;
    run->well_told = run->well_told && strcmp(error->name, "SYSTEM") == 0 &&
                     strstr(error->text, strerror(ENOMEM)) != NULL;
}

static bool set(kh_config *config, const char *key, const char *value, kh_error *error)
{
    kh_value given = {.type = KH_VALUE_STRING, .string = value};

    return kh_config_set(config, key, &given, error);
}

static bool set_option(kh_config *config, const char *property, double value, kh_error *error)
{
    kh_value given = {.type = KH_VALUE_NUMBER, .number = value};

    return kh_config_set_option(config, property, &given, error);
}

/* A group that nobody knows, or an offset for each partition. */
static bool set_start(kh_config *config, const struct cluster *cluster, kh_error *error)
{
    static int groups;
    char group[80];

    if (!cluster->has_groups)
        return kh_config_set_start_offset(config, cluster->topic, 0, 0, error) &&
               kh_config_set_start_offset(config, cluster->topic, 1, 0, error);
    snprintf(group, sizeof group, "%s-%d", cluster->topic, groups++);
    return set(config, "consumer_group", group, error);
}

/* Each way of keeping something that the configuration has. */
static bool fill_config(kh_config *config, const struct cluster *cluster, kh_error *error)
{
    const char *topics[] = {cluster->topic};
    kh_value given = {.type = KH_VALUE_STRINGS, .strings = topics, .count = 1};

    return set(config, "addresses", cluster->addresses, error) &&
           kh_config_set(config, "topics", &given, error) &&
           set(config, "client_id", "first", error) && set(config, "client_id", "second", error) &&
           set(config, "version", "2.8.0", error) &&
           set_option(config, "fetch.wait.max.ms", 20, error) &&
           set_option(config, "fetch.wait.max.ms", 10, error) &&
           set_option(config, "topic.metadata.refresh.interval.ms", 20, error) &&
           set_start(config, cluster, error) && kh_config_finish(config, error);
}

static kh_consumer *open_consumer(const struct cluster *cluster, struct run *run)
{
    kh_error error = {.name = ""};
    kh_config *config = kh_config_new();
    kh_consumer *consumer;

    if (config == NULL) {
        run->told = true; /* the header says: out of memory */
        return NULL;
    }
    if (!fill_config(config, cluster, &error)) {
        note_error(run, &error);
        kh_config_free(config);
        return NULL;
    }
    consumer = kh_consumer_open(config, &error);
    if (consumer == NULL)
        note_error(run, &error);
    return consumer;
}

static kh_view *open_view(kh_consumer *consumer, struct run *run)
{
    kh_error error = {.name = ""};
    kh_view *view = kh_view_new(consumer, &error);

    if (view == NULL)
        note_error(run, &error);
    return view;
}

static void take_reports(kh_consumer *consumer)
{
    kh_report *report;

    while ((report = kh_consumer_report(consumer)) != NULL)
        kh_report_free(report);
}

/* Returns how many were handled, which those that were fetched are by a view; -1: one came out of
 * turn. Each message has another key, so that all of them survive a history that is compacted. */
static int handle(struct run *run, const kh_consumer *consumer, kh_view *view,
                  const kh_message *messages, int count)
{
    kh_error error;

    for (int i = 0; i < count; i++) {
        const kh_record *kept = messages[i].kept;
        int32_t partition = kept != NULL ? kh_consumer_locate(consumer, kept->place).partition
                                         : messages[i].fetched->partition;
        int64_t offset = kept != NULL ? kept->offset : messages[i].fetched->offset;

        if (offset != run->next[partition])
            return -1;
        if (kept == NULL && kh_view_put(view, i, 0, &error) == KH_VIEW_FAILED) {
            note_error(run, &error);
            return i;
        }
        run->next[partition]++;
    }
    return count > 0 ? count : 0;
}

/* Each message has another key. */
static bool is_kept(const kh_view *view)
{
    for (int i = 0; i < MESSAGES; i++) {
        char key[16];

        snprintf(key, sizeof key, "%d", i);
        if (kh_view_find(view, 0, key, strlen(key)) == NULL)
            return false;
    }
    return kh_view_count(view, 0) == MESSAGES;
}

static bool has_all(const struct run *run)
{
    for (int i = 0; i < PARTITIONS; i++)
        if (run->next[i] != MESSAGES / PARTITIONS)
            return false;
    return true;
}

/* Until everything is read, whatever fails meanwhile, and some turns on, in which metadata is asked
 * for. After `scarce_ms` there is memory again. */
static void read_all(kh_consumer *consumer, kh_history history, kh_view *view, struct run *run,
                     int scarce_ms)
{
    const kh_step how = {.max = 4, .history = history};
    int64_t began_ms = kh_clock_ms();
    int64_t caught_up_ms = INT64_MAX;
    bool right = true; /* every message in its turn, and no signal before the last one */

    while (right && kh_clock_ms() < began_ms + 10000 && kh_clock_ms() - 60 < caught_up_ms) {
        const kh_message *messages;
        int count = kh_consumer_step(consumer, &how, &messages);
        int handled = handle(run, consumer, view, messages, count);

        if (count < 0)
            note_error(run, kh_consumer_error(consumer));
        right = handled >= 0;
        kh_consumer_handled(consumer, right ? handled : 0, 0);
        take_reports(consumer);
        if (kh_clock_ms() >= began_ms + scarce_ms)
            atomic_store(&all, false);
        if (kh_consumer_is_caught_up(consumer) && caught_up_ms == INT64_MAX)
            caught_up_ms = kh_clock_ms();
        right = right && (has_all(run) || caught_up_ms == INT64_MAX);
        if (count == 0)
            kh_consumer_wait(consumer, 5);
    }
    run->read = right && has_all(run) && (history != KH_HISTORY_WHOLE || is_kept(view)) &&
                kh_latch_get(kh_consumer_latch(consumer)) == KH_LATCH_CAUGHT_UP &&
                kh_consumer_progress(consumer).messages == MESSAGES;
}

/* A waiter is told why, if not in every word. */
static void fail_latch(struct run *run)
{
    kh_error error = {.name = ""};
    kh_latch *latch = kh_latch_new(&error);
    char name[64];

    if (latch == NULL) {
        note_error(run, &error);
        return;
    }
    kh_latch_fail(latch, "HANDLER", "text");
    run->well_told = run->well_told && kh_latch_get(latch) == KH_LATCH_FAILED &&
                     kh_latch_copy_error(latch, name, NULL, 0) > 0 && strcmp(name, "HANDLER") == 0;
    kh_latch_drop(latch);
}

static bool is_clean(void)
{
    int64_t until_ms = kh_clock_ms() + 5000;

    while (atomic_load(&alive) != 0 && kh_clock_ms() < until_ms)
        usleep(1000);
    return atomic_load(&alive) == 0;
}

static struct run run_once(const struct cluster *cluster, int failing, bool with_all, int scarce_ms)
{
    struct run run = {.well_told = true};
    kh_consumer *consumer;
    kh_view *view;

    atomic_store(&asked, 0);
    atomic_store(&failed, 0);
    atomic_store(&all, with_all);
    atomic_store(&first, failing);
    consumer = open_consumer(cluster, &run);
    view = consumer != NULL ? open_view(consumer, &run) : NULL;
    if (consumer != NULL) {
        int64_t began_ms;

        if (view != NULL)
            read_all(consumer, cluster->history, view, &run, scarce_ms);
        began_ms = kh_clock_ms();
        kh_consumer_close(consumer, 5000);
        run.close_ms = kh_clock_ms() - began_ms;
        kh_view_free(view);
        kh_consumer_free(consumer);
    }
    fail_latch(&run);
    atomic_store(&first, 0);
    run.ended = run.read || (view == NULL && run.told);
    run.clean = is_clean();
    return run;
}

/* --- all of them ------------------------------------------------------------------------------ */

enum { RUNS_MAX = 2000 };

struct verdict {
    int runs;
    int not_ended;
    int not_told;
    int not_clean;
    int64_t close_ms;
};

static void judge(struct verdict *verdict, const struct run *run, int failing)
{
    bool told = run->well_told && (run->told || run->read);

    verdict->runs++;
    verdict->not_ended += !run->ended;
    verdict->not_told += !told;
    verdict->not_clean += !run->clean;
    if (run->close_ms > verdict->close_ms)
        verdict->close_ms = run->close_ms;
    if (!run->ended || !told || !run->clean)
        tap_note("allocation %d: %s%s%s", failing, run->ended ? "" : "no end; ",
                 told ? "" : "not told; ", run->clean ? "" : "something is left");
}

/* The first bad run is the last: what it left would be found again after each. */
static bool is_good(const struct verdict *verdict)
{
    return verdict->not_ended + verdict->not_told + verdict->not_clean == 0;
}

static void check_all(const struct cluster *cluster, bool with_all, int scarce_ms)
{
    char what[80];
    struct verdict verdict = {.runs = 0};
    int64_t began_ms = kh_clock_ms();
    bool through = false;
    char text[200];

    snprintf(what, sizeof what, "%s%s%s",
             with_all ? "all allocations fail from one on" : "one allocation fails",
             cluster->has_groups ? ", in a group" : "",
             cluster->history == KH_HISTORY_LATEST ? ", the latest alone" : "");
    for (int failing = 1; failing < RUNS_MAX && !through && is_good(&verdict); failing++) {
        struct run run = run_once(cluster, failing, with_all, scarce_ms);

        through = atomic_load(&failed) == 0;
        judge(&verdict, &run, failing);
    }
    tap_note("%s: %d runs in %.1f s", what, verdict.runs,
             (double)(kh_clock_ms() - began_ms) / 1000);
    snprintf(text, sizeof text, "where %s, each one was reached", what);
    tap_check(&tap, through && verdict.runs > 30, text);
    snprintf(text, sizeof text,
             "where %s, opening fails or all is read, once and in order, and signalled", what);
    tap_check(&tap, verdict.not_ended == 0, text);
    snprintf(text, sizeof text, "where %s, every error says that memory was lacking", what);
    tap_check(&tap, verdict.not_told == 0, text);
    snprintf(text, sizeof text, "where %s, nothing is left after the end", what);
    tap_check(&tap, verdict.not_clean == 0, text);
    snprintf(text, sizeof text, "where %s, closing takes less than 5 s", what);
    tap_check(&tap, verdict.close_ms < 5000, text);
}

static void check_cluster(const struct cluster *cluster)
{
    struct run run = run_once(cluster, 0, false, 0);

    tap_note("a run without failures makes %d allocations", atomic_load(&asked));
    tap_check(&tap, run.read && run.clean && !run.told,
              "with memory, all is read and nothing is left");
    check_all(cluster, false, 0);
    check_all(cluster, true, 50);
}

static void check_histories(struct cluster *cluster)
{
    cluster->history = KH_HISTORY_WHOLE;
    check_cluster(cluster);
    cluster->history = KH_HISTORY_LATEST;
    check_cluster(cluster);
    rd_kafka_destroy(cluster->rk);
}

int main(void)
{
    const char *addresses = getenv("KAFKA_HISTORY_BROKER");
    struct cluster cluster;

    if (!start_cluster(&cluster))
        return 1;
    check_histories(&cluster);
    if (addresses != NULL) {
        if (!open_real_cluster(&cluster, addresses))
            return 1;
        check_histories(&cluster);
    }
    return tap_end(&tap);
}
