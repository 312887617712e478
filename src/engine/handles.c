#include "handles.h"
#include "clock.h"
#include "library.h"

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

/* What is handled and not committed when a consumer ends is committed within that, or not at all.
 */
#define LAST_COMMIT_MS 3000
#define REVOKE_COMMIT_MS 1000
#define COMMIT_AGAIN_MS 20

struct kh_handles {
    atomic_int references; /* the owner's and the closer's */
    kh_config *config;
    kh_wakeup wakeup;
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    rd_kafka_queue_t *answers; /* in a group */
    kh_wakeup answered;        /* in a group; told beside the other one */
    rd_kafka_topic_t *
        *topics; /* keep the topics known to the handle: metadata is asked for these */
    size_t topic_count;
    kh_helper *helper;
    kh_listener listener;
    atomic_bool listening; /* until the end begins */

    rd_kafka_queue_t **partition_queues; /* see drain_partitions */
    size_t partition_queue_count;
    kh_ending ending;
    pthread_mutex_t lock;
    pthread_cond_t ended_changed;
    bool ended; /* under the lock */
};

/* --- callbacks -------------------------------------------------------------------------------- */

static void error_cb(rd_kafka_t *rk, int code, const char *reason, void *opaque)
{
    kh_handles *handles = opaque;

    (void)rk;
    if (atomic_load(&handles->listening))
        handles->listener.on_error(handles->listener.opaque, (rd_kafka_resp_err_t)code, reason);
}

static void log_cb(const rd_kafka_t *rk, int level, const char *facility, const char *text)
{
    kh_handles *handles = rd_kafka_opaque(rk);

    if (handles != NULL && atomic_load(&handles->listening))
        handles->listener.on_log(handles->listener.opaque, level, facility, text);
}

/* 0: librdkafka frees the text itself. */
static int stats_cb(rd_kafka_t *rk, char *json, size_t length, void *opaque)
{
    kh_handles *handles = opaque;

    (void)rk;
    (void)length;
    if (atomic_load(&handles->listening))
        handles->listener.on_stats(handles->listener.opaque, json);
    return 0;
}

bool kh_handles_is_eager(rd_kafka_t *rk)
{
    const char *protocol = rd_kafka_rebalance_protocol(rk);

    /* A handle that ends may not tell any more, and takes every answer then. */
    return protocol == NULL || strcmp(protocol, "COOPERATIVE") != 0;
}

static rd_kafka_error_t *assign_whole(rd_kafka_t *rk,
                                      const rd_kafka_topic_partition_list_t *partitions)
{
    rd_kafka_resp_err_t failed = rd_kafka_assign(rk, partitions);

    return failed == RD_KAFKA_RESP_ERR_NO_ERROR
               ? NULL
               : rd_kafka_error_new(failed, "cannot answer a rebalance: %s",
                                    rd_kafka_err2str(failed));
}

rd_kafka_error_t *kh_handles_answer(rd_kafka_t *rk, rd_kafka_resp_err_t code,
                                    const rd_kafka_topic_partition_list_t *partitions)
{
    bool assigned = code == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;

    if (kh_handles_is_eager(rk))
        return assign_whole(rk, assigned ? partitions : NULL);
    return assigned ? rd_kafka_incremental_assign(rk, partitions)
                    : rd_kafka_incremental_unassign(rk, partitions);
}

static void answer_in_passing(rd_kafka_t *rk, rd_kafka_resp_err_t code,
                              rd_kafka_topic_partition_list_t *partitions)
{
    rd_kafka_error_t *failed;

    /* Nothing of it is going to be read; an absolute offset needs no question. */
    for (int i = 0; i < partitions->cnt; i++)
        partitions->elems[i].offset = 0;
    failed = kh_handles_answer(rk, code, partitions);
    if (failed != NULL)
        rd_kafka_error_destroy(failed);
}

/* What it came to: 0, the first error, or a time-out. */
static rd_kafka_resp_err_t
commit_once(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *offsets, int timeout_ms)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_resp_err_t failed = rd_kafka_commit_queue(rk, offsets, queue, NULL, NULL);
    rd_kafka_event_t *event = failed == 0 ? rd_kafka_queue_poll(queue, timeout_ms) : NULL;

    if (failed == 0)
        failed = event != NULL ? rd_kafka_event_error(event) : RD_KAFKA_RESP_ERR__TIMED_OUT;
    if (event != NULL)
        rd_kafka_event_destroy(event);
    rd_kafka_queue_destroy(queue);
    return failed;
}

/* What is revoked while the member leaves is committed before it is given back, or not at all: then
 * it is another's to commit. */
static void give_back(kh_handles *handles, const rd_kafka_topic_partition_list_t *partitions)
{
    rd_kafka_topic_partition_list_t *left = handles->ending.uncommitted;

    if (left == NULL || left->cnt == 0)
        return;
    (void)commit_once(handles->rk, left, REVOKE_COMMIT_MS);
    for (int i = 0; i < partitions->cnt; i++)
        (void)rd_kafka_topic_partition_list_del(left, partitions->elems[i].topic,
                                                partitions->elems[i].partition);
}

/* While the member leaves this comes on the closer's thread. */
static void rebalance_cb(rd_kafka_t *rk, rd_kafka_resp_err_t code,
                         rd_kafka_topic_partition_list_t *partitions, void *opaque)
{
    kh_handles *handles = opaque;

    if (atomic_load(&handles->listening)) {
        handles->listener.on_rebalance(handles->listener.opaque, code, partitions);
        return;
    }
    if (code == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS)
        give_back(handles, partitions);
    answer_in_passing(rk, code, partitions);
}

/* --- opening ---------------------------------------------------------------------------------- */

static bool open_client(kh_handles *handles, kh_error *error)
{
    char reason[512];
    rd_kafka_conf_t *conf = kh_config_make_conf(handles->config, KH_HANDLE_CONSUMER, error);

    if (conf == NULL)
        return false;
    rd_kafka_conf_set_opaque(conf, handles);
    rd_kafka_conf_set_error_cb(conf, error_cb);
    rd_kafka_conf_set_log_cb(conf, log_cb);
    rd_kafka_conf_set_stats_cb(conf, stats_cb);
    if (kh_config_settings(handles->config)->group != NULL)
        rd_kafka_conf_set_rebalance_cb(conf, rebalance_cb);
    handles->rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, reason, sizeof reason);
    if (handles->rk == NULL) {
        rd_kafka_conf_destroy(conf);
        kh_error_set_kafka(error, rd_kafka_last_error(), "cannot make a Kafka client: %s", reason);
        return false;
    }
    return true;
}

/* On a thread of librdkafka's: whoever reads is woken, and whoever waits for the answer. */
static void answer_cb(rd_kafka_t *rk, void *opaque)
{
    kh_handles *handles = opaque;

    (void)rk;
    kh_wakeup_notify(&handles->wakeup);
    kh_wakeup_notify(&handles->answered);
}

/* One queue for everything that just comes: messages, errors, logs, rebalances; in a group another
 * for answers, as a commit's on the first one aborts librdkafka. Either makes the fd readable. */
static bool open_queue(kh_handles *handles, kh_error *error)
{
    rd_kafka_resp_err_t failed = rd_kafka_poll_set_consumer(handles->rk);

    if (failed == RD_KAFKA_RESP_ERR_NO_ERROR)
        failed = rd_kafka_set_log_queue(handles->rk, NULL);
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR) {
        kh_error_set_kafka(error, failed, "cannot set up the consumer's queue: %s",
                           rd_kafka_err2str(failed));
        return false;
    }
    handles->queue = rd_kafka_queue_get_consumer(handles->rk);
    rd_kafka_queue_io_event_enable(handles->queue, handles->wakeup.write_fd, kh_wakeup_payload,
                                   sizeof kh_wakeup_payload);
    if (kh_config_settings(handles->config)->group == NULL)
        return true;
    if (!kh_wakeup_open(&handles->answered, error))
        return false;
    handles->answers = rd_kafka_queue_new(handles->rk);
    rd_kafka_queue_cb_event_enable(handles->answers, answer_cb, handles);
    return true;
}

static bool open_topics(kh_handles *handles, kh_error *error)
{
    const kh_settings *settings = kh_config_settings(handles->config);

    handles->topics = calloc(settings->topic_count, sizeof(rd_kafka_topic_t *));
    if (handles->topics == NULL) {
        kh_error_set_errno(error, ENOMEM, "cannot open a consumer");
        return false;
    }
    for (size_t i = 0; i < settings->topic_count; i++) {
        handles->topics[i] = rd_kafka_topic_new(handles->rk, settings->topics[i], NULL);
        if (handles->topics[i] == NULL) {
            kh_error_set_kafka(error, rd_kafka_last_error(), "topic %s: %s", settings->topics[i],
                               rd_kafka_err2str(rd_kafka_last_error()));
            return false;
        }
        handles->topic_count = i + 1;
    }
    return true;
}

kh_handles *kh_handles_open(kh_config *config, const kh_listener *listener, kh_error *error)
{
    kh_handles *handles = calloc(1, sizeof *handles);

    if (handles == NULL) {
        kh_config_free(config);
        kh_error_set_errno(error, ENOMEM, "cannot open a consumer");
        return NULL;
    }
    handles->config = config;
    handles->listener = *listener;
    handles->wakeup = (kh_wakeup){.read_fd = -1, .write_fd = -1};
    handles->answered = handles->wakeup;
    atomic_init(&handles->references, 1);
    atomic_init(&handles->listening, true);
    pthread_mutex_init(&handles->lock, NULL);
    kh_cond_init(&handles->ended_changed);
    handles->helper = kh_helper_new(&handles->wakeup);
    if (handles->helper == NULL)
        kh_error_set_errno(error, ENOMEM, "cannot open a consumer");
    else if (kh_wakeup_open(&handles->wakeup, error) && open_client(handles, error) &&
             open_queue(handles, error) && open_topics(handles, error))
        return handles;
    kh_handles_close(handles, &(kh_ending){.free_job = free}, 0);
    kh_handles_drop(handles);
    return NULL;
}

const kh_config *kh_handles_config(const kh_handles *handles)
{
    return handles->config;
}

rd_kafka_t *kh_handles_rk(const kh_handles *handles)
{
    return handles->rk;
}

rd_kafka_queue_t *kh_handles_queue(const kh_handles *handles)
{
    return handles->queue;
}

rd_kafka_queue_t *kh_handles_answers(const kh_handles *handles)
{
    return handles->answers;
}

const kh_wakeup *kh_handles_answered(const kh_handles *handles)
{
    return &handles->answered;
}

kh_helper *kh_handles_helper(const kh_handles *handles)
{
    return handles->helper;
}

const kh_wakeup *kh_handles_wakeup(const kh_handles *handles)
{
    return &handles->wakeup;
}

bool kh_handles_redirect(kh_handles *handles, int fd, kh_error *error)
{
    return kh_wakeup_redirect(&handles->wakeup, fd, error);
}

/* --- closing ---------------------------------------------------------------------------------- */

void kh_handles_keep_queue(kh_handles *handles, const char *topic, int32_t partition)
{
    size_t count = handles->partition_queue_count;
    rd_kafka_queue_t **grown = handles->partition_queues;

    if (!kh_library_must_drain_partitions())
        return;
    if ((count & (count - 1)) == 0) { /* full at each power of two */
        grown = realloc(grown, (count == 0 ? 1 : count * 2) * sizeof(rd_kafka_queue_t *));
        if (grown == NULL)
            return; /* the end may then take as long as it is waited for */
        handles->partition_queues = grown;
    }
    grown[count] = rd_kafka_queue_get_partition(handles->rk, topic, partition);
    if (grown[count] != NULL)
        handles->partition_queue_count = count + 1;
}

static void drain(rd_kafka_queue_t *queue)
{
    rd_kafka_message_t *messages[64];
    ssize_t count;

    while ((count = rd_kafka_consume_batch_queue(queue, 0, messages, 64)) > 0)
        for (ssize_t i = 0; i < count; i++)
            rd_kafka_message_destroy(messages[i]);
}

static void drain_and_drop(rd_kafka_queue_t *queue)
{
    drain(queue);
    rd_kafka_queue_destroy(queue);
}

/* Below librdkafka 2.1 the queue of a partition whose topic was deleted keeps an operation that
 * holds the partition, and destroy waits for it for ever. When the deletion has been noticed,
 * asking for the queue gives that of a new partition of the same name: hence those that were asked
 * for before. And when the topic was made anew, the new one is the one to drain: hence both. */
static void drain_partitions(kh_handles *handles)
{
    const rd_kafka_topic_partition_list_t *assigned = handles->ending.ever_assigned;

    for (size_t i = 0; i < handles->partition_queue_count; i++)
        drain_and_drop(handles->partition_queues[i]);
    free(handles->partition_queues);
    handles->partition_queues = NULL;
    handles->partition_queue_count = 0;
    for (int i = 0; assigned != NULL && i < assigned->cnt; i++) {
        const rd_kafka_topic_partition_t *place = &assigned->elems[i];
        rd_kafka_queue_t *queue =
            rd_kafka_queue_get_partition(handles->rk, place->topic, place->partition);

        if (queue != NULL)
            drain_and_drop(queue);
    }
}

static void answer_what_is_owed(kh_handles *handles)
{
    kh_ending *ending = &handles->ending;

    if (ending->owed != 0)
        answer_in_passing(handles->rk, ending->owed, ending->owed_partitions);
    ending->owed = RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* The last commit follows the one that is under way: sent again by librdkafka, that would arrive
 * behind it. */
static void wait_for_commit(kh_handles *handles, int64_t until_ms)
{
    while (handles->ending.is_committing) {
        int64_t left_ms = until_ms - kh_clock_ms();
        rd_kafka_event_t *event =
            rd_kafka_queue_poll(handles->answers, left_ms > 0 ? (int)left_ms : 0);

        if (event == NULL)
            return;
        handles->ending.is_committing = rd_kafka_event_type(event) != RD_KAFKA_EVENT_OFFSET_COMMIT;
        rd_kafka_event_destroy(event);
    }
}

/* Bounded: without a coordinator the answer would take as long as the session. A commit that a
 * rebalance has overtaken is taken when that is over, for which it has to be served. */
static void commit_last(kh_handles *handles)
{
    rd_kafka_topic_partition_list_t *offsets = handles->ending.uncommitted;
    int64_t until_ms = kh_clock_ms() + LAST_COMMIT_MS;
    int64_t left_ms;

    wait_for_commit(handles, until_ms);
    left_ms = until_ms - kh_clock_ms();
    while (offsets->cnt > 0 && left_ms > 0 &&
           kh_library_is_overtaken(commit_once(handles->rk, offsets, (int)left_ms))) {
        answer_what_is_owed(handles);
        drain(handles->queue);
        (void)poll(NULL, 0, COMMIT_AGAIN_MS);
        left_ms = until_ms - kh_clock_ms();
    }
    rd_kafka_topic_partition_list_destroy(offsets);
    handles->ending.uncommitted = NULL;
}

/* Commits, gives everything back, tells the coordinator. A rebalance that nobody has answered would
 * be waited for. A cooperative member without partitions is closed without a word to the others,
 * unless it unsubscribes first. */
static void leave(kh_handles *handles)
{
    const kh_settings *settings = kh_config_settings(handles->config);

    if (handles->ending.uncommitted != NULL)
        commit_last(handles);
    answer_what_is_owed(handles);
    if (settings->group != NULL && !settings->is_static)
        (void)rd_kafka_unsubscribe(handles->rk);
    rd_kafka_consumer_close(handles->rk);
}

static void end_client(kh_handles *handles)
{
    if (handles->rk == NULL)
        return;
    for (size_t i = 0; i < handles->topic_count; i++)
        rd_kafka_topic_destroy(handles->topics[i]);
    if (kh_library_must_drain_partitions())
        drain_partitions(handles);
    if (handles->answers != NULL)
        rd_kafka_queue_destroy(handles->answers);
    if (handles->queue != NULL)
        rd_kafka_queue_destroy(handles->queue);
    rd_kafka_destroy(handles->rk);
    handles->rk = NULL;
}

static void drop_list(rd_kafka_topic_partition_list_t *list)
{
    if (list != NULL)
        rd_kafka_topic_partition_list_destroy(list);
}

/* The others of the group wait for the member to leave: that comes first. */
static void end(kh_handles *handles)
{
    kh_ending *ending = &handles->ending;

    if (handles->rk != NULL)
        leave(handles);
    if (ending->endings != NULL)
        kh_endings_note_end(ending->endings);
    if (handles->helper != NULL) {
        void *job = kh_helper_stop(handles->helper);

        if (job != NULL)
            ending->free_job(job);
    }
    handles->helper = NULL;
    end_client(handles);
    drop_list(ending->ever_assigned);
    drop_list(ending->uncommitted);
    drop_list(ending->owed_partitions);
    *ending = (kh_ending){.free_job = NULL};
    pthread_mutex_lock(&handles->lock);
    handles->ended = true;
    pthread_cond_broadcast(&handles->ended_changed);
    pthread_mutex_unlock(&handles->lock);
    kh_wakeup_notify(&handles->wakeup);
}

static void *run_closer(void *opaque)
{
    end(opaque);
    kh_handles_drop(opaque);
    return NULL;
}

static bool wait_for_end(kh_handles *handles, int wait_ms)
{
    struct timespec until = kh_clock_in(wait_ms);
    int waited = 0;
    bool ended;

    pthread_mutex_lock(&handles->lock);
    while (!handles->ended && waited == 0)
        waited = pthread_cond_timedwait(&handles->ended_changed, &handles->lock, &until);
    ended = handles->ended;
    pthread_mutex_unlock(&handles->lock);
    return ended;
}

bool kh_handles_close(kh_handles *handles, const kh_ending *ending, int wait_ms)
{
    pthread_t closer;

    atomic_store(&handles->listening, false);
    handles->ending = *ending;
    if (ending->endings != NULL)
        kh_endings_note_begin(ending->endings);
    if (handles->queue != NULL)
        rd_kafka_queue_io_event_enable(handles->queue, -1, NULL, 0);
    if (handles->answers != NULL)
        rd_kafka_queue_cb_event_enable(handles->answers, NULL, NULL);
    if (handles->helper != NULL)
        kh_helper_cancel(handles->helper);
    atomic_fetch_add(&handles->references, 1);
    if (!kh_thread_start(&closer, run_closer, handles)) {
        run_closer(handles); /* no thread to be had: better late than never */
        return true;
    }
    pthread_detach(closer);
    return wait_for_end(handles, wait_ms);
}

/* Drained before it is asked, so that the notification of the end is not lost. */
bool kh_handles_have_ended(kh_handles *handles)
{
    bool ended;

    kh_wakeup_drain(&handles->wakeup);
    pthread_mutex_lock(&handles->lock);
    ended = handles->ended;
    pthread_mutex_unlock(&handles->lock);
    if (ended)
        kh_wakeup_notify(&handles->wakeup);
    return ended;
}

void kh_handles_drop(kh_handles *handles)
{
    if (handles == NULL || atomic_fetch_sub(&handles->references, 1) != 1)
        return;
    kh_wakeup_close(&handles->wakeup);
    kh_wakeup_close(&handles->answered);
    pthread_cond_destroy(&handles->ended_changed);
    pthread_mutex_destroy(&handles->lock);
    free(handles->topics);
    kh_config_free(handles->config);
    free(handles);
}
