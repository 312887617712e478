/*
 * The way of the data:
 *
 *     librdkafka's queue --pull--> fetching --sort--> batch[] --host--> handled
 *                                     |                 |                  |
 *                                     +-- errors, end-of-partition         |
 *                                     v                 v                  v
 *                                 kh_catchup: MESSAGE, EOF, HANDLED ... -> what to do (act)
 *
 * What one pull of the queue gave is sorted in order, message by message: an event (an error, an
 * end-of-partition) is only looked at when everything before it has been handled, so it ends the
 * batch; so does a message that may be the last of the history, and one that shows that there is no
 * more history stands at the head of a batch of its own. That is what makes the signal exact.
 *
 * History that is to be compacted takes another way: sorted into kh_latest, which keeps it (KEPT),
 * until all partitions have reached T; from there what has survived becomes batches.
 *
 * Whose the partitions are is the only difference between a consumer that stands alone and a member
 * of a group: the one begins all that the snapshot has found, and what comes later; the other those
 * that kh_group notes, at the offsets that the group has committed, until they are revoked.
 */
#include "consumer.h"
#include "access.h"
#include "catchup.h"
#include "clock.h"
#include "contacts.h"
#include "fetching.h"
#include "group.h"
#include "handles.h"
#include "job.h"
#include "latest.h"
#include "library.h"
#include "meter.h"
#include "places.h"
#include "snapshot.h"
#include "start.h"
#include "tell.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define RETRY_HELPER_MS 100
/* After a hint that a topic may be gone, and never more often than that. */
#define REFRESH_SOON_MS 1000
#define REFUSED_AGAIN_MS 3000
/* For how long the snapshot's word on where a partition begins is good enough. */
#define LOW_IS_FRESH_MS 10000

/* How many messages a step keeps at the most, so that it soon comes back. */
#define KEEP_AT_ONCE 2000

enum phase { PHASE_NEW, PHASE_STARTING, PHASE_READING };

struct kh_consumer {
    kh_handles *handles; /* NULL after close; the parts below are its own */
    const kh_settings *settings;
    rd_kafka_t *rk;
    kh_helper *helper;
    kh_handles *closed_handles; /* after close, for the wake-up fd */
    kh_endings *endings;        /* the host's; NULL: it counts none */
    kh_latch *latch;
    kh_catchup *catchup;
    kh_fetching fetching;
    kh_group group; /* of a member's: see is_member */
    kh_reports reports;

    enum phase phase;
    kh_error error;
    kh_contacts contacts; /* what came back from the addresses while starting */
    bool has_error;       /* to be told by this step */
    bool is_hopeless;     /* and by every later one */
    bool has_failed;      /* told; not read on since */

    kh_places places;
    int parked_count;
    int ask_count;
    int refused_count; /* of places, and the group */
    bool is_group_refused;
    bool must_try_refused;
    int64_t refused_again_ms; /* when silence from them is another refusal; INT64_MAX: never */

    void (*forget)(void *opaque, int partition); /* see kh_consumer_on_forget; NULL: nobody asks */
    void *forget_opaque;

    kh_message *batch; /* handed out */
    int *batch_places;
    int batch_at, batch_count;

    bool is_history_chosen; /* how it is handed out, by the first step */
    bool keeps_tombstones;
    kh_latest *latest; /* history that is compacted; NULL: it is not */
    int kept_now;      /* messages in this step */

    kh_meter meter;
    int64_t waiting_ms;      /* since when there is nothing to do; -1: there is */
    int64_t waited_ms;       /* in all */
    int64_t refresh_at_ms;   /* when to ask for the topics' metadata */
    int64_t retry_helper_ms; /* no thread or no memory for a job: when to try again */
    int64_t snapshot_ms;     /* when the snapshot came */
};

/* --- small things ----------------------------------------------------------------------------- */

static bool is_member(const kh_consumer *c)
{
    return c->settings->group != NULL;
}

static bool has_batch(const kh_consumer *c)
{
    return c->batch_at < c->batch_count;
}

/* History goes to c->latest, and nothing else is wanted yet. */
static bool is_compacting(const kh_consumer *c)
{
    return c->latest != NULL && !kh_catchup_is_caught_up(c->catchup);
}

/* Reading ends with the error in c->error: the latch is released with it. */
static void tell_failure(kh_consumer *c)
{
    c->has_error = true;
    c->has_failed = true;
    kh_latch_fail(c->latch, c->error.name, c->error.text);
}

static void want_answer(kh_consumer *c, int index)
{
    if (!c->places.all[index].ask)
        c->ask_count++;
    c->places.all[index].ask = true;
}

/* Something came from the partition, or it is not this consumer's any more. */
static void note_allowed(kh_consumer *c, int index)
{
    if (c->places.all[index].refused)
        c->refused_count--;
    c->places.all[index].refused = false;
}

/* To ask for the topics' metadata. */
static void refresh_soon(kh_consumer *c, int64_t now_ms)
{
    if (now_ms + REFRESH_SOON_MS < c->refresh_at_ms)
        c->refresh_at_ms = now_ms + REFRESH_SOON_MS;
}

/* --- callbacks of librdkafka, from inside a pull ---------------------------------------------- */

/* The start is over, failed: the next step takes a new one. */
static void fail_start(kh_consumer *c)
{
    c->phase = PHASE_NEW;
    kh_helper_cancel(c->helper);
    tell_failure(c);
}

/* librdkafka tells of a refusal once, and asks again in silence: see try_refused. */
static void note_refusal(kh_consumer *c, bool *is_refused)
{
    if (!*is_refused)
        c->refused_count++;
    *is_refused = true;
    c->must_try_refused = true;
    c->refused_again_ms = INT64_MAX;
    tell_failure(c);
}

static void tell_group_refusal(kh_consumer *c)
{
    kh_error_set_kafka(&c->error, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
                       "the group %s: the broker does not allow this client to be a member; it "
                       "needs READ on the group",
                       c->settings->group);
    note_refusal(c, &c->is_group_refused);
}

static void on_error(void *opaque, rd_kafka_resp_err_t code, const char *words)
{
    kh_consumer *c = opaque;
    char fatal[512];
    char reason[512];

    if (code == RD_KAFKA_RESP_ERR__FATAL) {
        code = rd_kafka_fatal_error(c->rk, fatal, sizeof fatal);
        kh_error_set_kafka(&c->error, code, "librdkafka has given up: %s; make a new consumer",
                           fatal);
        c->is_hopeless = true;
        tell_failure(c);
        return;
    }
    if (code == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED) {
        /* A group that is none: reading without one needs no permission for it. */
        if (!is_member(c))
            return;
        tell_group_refusal(c);
        return;
    }
    snprintf(reason, sizeof reason, "%.*s", kh_config_shown_length(words), words);
    if (c->phase != PHASE_READING)
        kh_contacts_note(&c->contacts, reason);
    /* Also before a start that waits for the helper to end an earlier one. */
    if (c->phase != PHASE_READING && kh_access_is_refused(&code, reason)) {
        kh_error_set_kafka(&c->error, code, "no access to the brokers at %.200s: %s%s",
                           c->settings->addresses, reason, kh_access_advise(code, reason));
        fail_start(c);
        return;
    }
    if (code == RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED)
        kh_group_note_expelled(&c->group);
    if (code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
        code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        refresh_soon(c, kh_clock_ms());
    kh_reports_add_error(&c->reports, code, reason, NULL, -1, kh_clock_ms());
}

static void on_log(void *opaque, int level, const char *facility, const char *text)
{
    kh_consumer *c = opaque;
    kh_report report = kh_report_nowhere;
    int shown = kh_config_shown_length(text);
    union {
        const char *given;
        char *kept;
    } copied = {.given = facility}; /* kh_reports_add copies it */

    report.kind = KH_REPORT_LOG;
    report.level = level;
    report.facility = copied.kept;
    kh_reports_add(&c->reports, &report, "%.*s%s", shown, text,
                   text[shown] != '\0' ? "[redacted]" : "");
}

static void on_stats(void *opaque, const char *json)
{
    kh_consumer *c = opaque;
    kh_report report = kh_report_nowhere;

    report.kind = KH_REPORT_STATS;
    kh_reports_add(&c->reports, &report, "%s", json);
}

/* A partition that was read to T is read on. */
static void unpark(kh_consumer *c, int index)
{
    c->places.all[index].parked = false;
    c->parked_count--;
    kh_fetching_release(&c->fetching, index);
}

/* Reads the partition from there on. */
static void read_from(kh_consumer *c, int index, int64_t offset)
{
    kh_place *place = &c->places.all[index];

    kh_fetching_drop(&c->fetching, index);
    place->next = offset;
    place->eof = -1;
    place->committed =
        -1; /* what the group has is of a log that is no more, or lies before a gap */
    if (!place->parked)
        kh_fetching_begin_anew(&c->fetching, index);
    else if (is_compacting(c)) /* its history is another one now */
        unpark(c, index);
}

static void free_message(const kh_message *message)
{
    if (message->fetched != NULL)
        rd_kafka_message_destroy(message->fetched);
    free(message->kept);
}

static void drop_batch(kh_consumer *c, int index)
{
    int left = c->batch_at;

    for (int i = c->batch_at; i < c->batch_count; i++) {
        if (c->batch_places[i] == index) {
            free_message(&c->batch[i]);
            continue;
        }
        c->batch[left] = c->batch[i];
        c->batch_places[left++] = c->batch_places[i];
    }
    c->batch_count = left;
}

/* What was kept of a partition will not be handled. */
static void drop_kept(kh_consumer *c, int index)
{
    if (!is_compacting(c))
        return;
    drop_batch(c, index);
    kh_latest_drop(c->latest, index);
}

/* --- carrying out decisions ------------------------------------------------------------------- */

static kh_teller teller(kh_consumer *c)
{
    return (kh_teller){.reports = &c->reports, .places = &c->places, .catchup = c->catchup};
}

static void on_caught_up(kh_consumer *c)
{
    kh_teller to = teller(c);

    c->meter.caught_up_ms = kh_clock_ms();
    kh_latch_catch_up(c->latch);
    kh_tell_caught_up(&to, &c->meter);
}

static void on_partition_caught_up(kh_consumer *c, int index)
{
    kh_teller to = teller(c);
    kh_place *place = &c->places.all[index];
    int64_t target = kh_catchup_get(c->catchup, index).target;

    /* Whatever lies between the last message and T is none: reading would go on at T, even where
     * that was told by the position, before any end-of-partition. */
    if (!place->gone && place->eof < target)
        place->eof = target;
    kh_tell_partition_caught_up(&to, index);
}

static void on_gap(kh_consumer *c, const kh_action *action)
{
    kh_teller to = teller(c);

    c->meter.gaps++;
    kh_tell_gap(&to, action);
}

/* What was read of a log that is no more. Where there is none instead, nothing else tells
 * librdkafka to drop what it has queued of it. */
static void forget_log(kh_consumer *c, int index)
{
    const kh_place *place = &c->places.all[index];

    if (c->forget == NULL)
        return;
    c->forget(c->forget_opaque, index);
    if (place->gone && place->assigned && !place->parked)
        kh_fetching_begin_anew(&c->fetching, index);
}

static void on_truncation(kh_consumer *c, const kh_action *action)
{
    kh_teller to = teller(c);
    char text[512];

    c->meter.truncated++;
    c->places.all[action->partition].gone = action->gone;
    if (!action->gone)
        drop_kept(c, action->partition);
    kh_tell_truncation(&to, action, text, sizeof text);
    if (c->settings->continue_after_truncation) {
        forget_log(c, action->partition);
        return;
    }
    kh_error_set(&c->error, "TRUNCATED",
                 "%s; make a new consumer, with empty state (or on_truncation = \"continue\")",
                 text);
    c->is_hopeless = true;
    tell_failure(c);
}

static void act(void *opaque, const kh_action *action)
{
    kh_consumer *c = opaque;
    kh_teller to = teller(c);

    switch (action->type) {
    case KH_ACTION_PARTITION_CAUGHT_UP:
        on_partition_caught_up(c, action->partition);
        break;
    case KH_ACTION_CAUGHT_UP:
        on_caught_up(c);
        break;
    case KH_ACTION_ASK_END:
        want_answer(c, action->partition);
        break;
    case KH_ACTION_READ_FROM:
        read_from(c, action->partition, action->offset);
        break;
    case KH_ACTION_GAP:
        on_gap(c, action);
        break;
    case KH_ACTION_TRUNCATED:
        on_truncation(c, action);
        break;
    case KH_ACTION_STALLED:
        kh_tell_stall(&to, action);
        break;
    }
}

static void feed(kh_consumer *c, const kh_event *event)
{
    kh_catchup_apply(c->catchup, event, act, c);
}

static void feed_offset(kh_consumer *c, kh_event_type type, int index, int64_t offset)
{
    feed(c, &(kh_event){.type = type, .partition = index, .offset = offset});
}

/* --- the helper's jobs ------------------------------------------------------------------------ */

static kh_asker asker(const kh_consumer *c)
{
    return (kh_asker){.config = kh_handles_config(c->handles), .rk = c->rk};
}

/* A helper that is still busy, or a thread that cannot be had: the next step tries again. */
static bool start_job(kh_consumer *c, kh_job *job)
{
    if (job != NULL && kh_helper_start(c->helper, kh_job_do, job))
        return true;
    if (job != NULL)
        kh_job_free(job);
    c->retry_helper_ms = kh_clock_ms() + RETRY_HELPER_MS;
    return false;
}

static void start_reading(kh_consumer *c)
{
    kh_asker to = asker(c);

    if (kh_helper_is_busy(c->helper) || !start_job(c, kh_job_start(&to)))
        return;
    c->phase = PHASE_STARTING;
    if (c->meter.began_ms < 0)
        c->meter.began_ms = kh_clock_ms();
}

static int64_t next_refresh(const kh_consumer *c, int64_t now_ms)
{
    return c->settings->metadata_refresh_ms == INT64_MAX
               ? INT64_MAX
               : now_ms + c->settings->metadata_refresh_ms;
}

static void ask_if_due(kh_consumer *c, int64_t now_ms)
{
    kh_asker to = asker(c);

    if (c->phase != PHASE_READING || kh_helper_is_busy(c->helper) ||
        (c->ask_count == 0 && now_ms < c->refresh_at_ms))
        return;
    if (!start_job(c, kh_job_question(&to, &c->places))) {
        c->refresh_at_ms = c->retry_helper_ms;
        return;
    }
    for (int i = 0; i < c->places.count && c->ask_count > 0; i++)
        c->places.all[i].ask = false;
    c->ask_count = 0;
    c->refresh_at_ms = next_refresh(c, now_ms);
}

/* --- answers ---------------------------------------------------------------------------------- */

/* Makes room for the partitions below `count` of a topic; false: out of memory. */
static bool add_places(kh_consumer *c, int topic, int32_t count)
{
    int known = c->places.topics[topic].place_count;

    int all = c->places.count + count - known;

    return count <= known || (kh_catchup_reserve(c->catchup, all) &&
                              (c->latest == NULL || kh_latest_reserve(c->latest, all)) &&
                              kh_places_add(&c->places, topic, count));
}

/* Brokers that were reached name the addresses at which their partitions are led. */
static void tell_silence(kh_consumer *c, const kh_snapshot *snapshot)
{
    const char *addresses = c->settings->addresses;
    double seconds = (double)c->settings->start_timeout_ms / 1000;

    if (kh_contacts_have_others(&c->contacts, addresses))
        kh_error_set(&c->error, snapshot->error.name,
                     "%.200s: a broker there names others, and not all of them answered within "
                     "%.3g s; check that the addresses they advertise can be reached from here",
                     addresses, seconds);
    else
        kh_error_set(&c->error, snapshot->error.name,
                     "no broker of %.200s answered within %.3g s; check the addresses and that the "
                     "brokers run",
                     addresses, seconds);
    kh_contacts_append(&c->contacts, addresses, c->error.text, sizeof c->error.text);
}

static void tell_start_failure(kh_consumer *c, const kh_snapshot *snapshot)
{
    c->error = snapshot->error;
    if (strcmp(snapshot->error.name, "_TRANSPORT") == 0 ||
        strcmp(snapshot->error.name, "_TIMED_OUT") == 0)
        tell_silence(c, snapshot);
    fail_start(c);
}

static bool begin_all(kh_consumer *c)
{
    rd_kafka_resp_err_t failed = kh_fetching_begin_all(&c->fetching);

    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR)
        kh_error_set_kafka(&c->error, failed, "cannot read the partitions: %s",
                           rd_kafka_err2str(failed));
    return failed == RD_KAFKA_RESP_ERR_NO_ERROR;
}

static bool take_places(kh_consumer *c, const kh_snapshot *snapshot)
{
    for (int i = 0; i < snapshot->topic_count; i++) {
        if (!add_places(c, i, snapshot->topics[i].partition_count))
            return false;
        c->places.topics[i].id[0] = '\0';
    }
    return true;
}

static bool place_partition(kh_consumer *c, const kh_snapshot_partition *found)
{
    int index = kh_places_at(&c->places, found->topic, found->partition);
    int64_t target = c->settings->target_is_stable ? found->stable : found->end;

    if (!kh_start_choose(c->settings, found, target, &c->places.all[index].next, &c->error))
        return false;
    feed(c,
         &(kh_event){
             .type = KH_EVENT_SNAPSHOT, .partition = index, .low = found->low, .target = target});
    return true;
}

/* The partition is this consumer's from now on, and read from its `next`. */
static void begin_place(kh_consumer *c, int index)
{
    kh_place *place = &c->places.all[index];

    if (!place->begun)
        kh_handles_keep_queue(c->handles, kh_places_topic(&c->places, index), place->partition);
    place->assigned = true;
    place->begun = true;
    place->forgotten = false;
    place->refused_by = -1;
    feed_offset(c, KH_EVENT_ASSIGN, index, place->next);
}

/* A member waits for the group to give it partitions. */
static bool begin_reading(kh_consumer *c)
{
    return is_member(c) ? kh_group_join(&c->group, &c->error) : begin_all(c);
}

static void on_started(kh_consumer *c, const kh_snapshot *snapshot)
{
    kh_teller to = teller(c);
    bool placed;

    if (snapshot->failed) {
        tell_start_failure(c, snapshot);
        return;
    }
    if (!take_places(c, snapshot)) {
        kh_error_set_errno(&c->error, ENOMEM, "cannot keep the partitions");
        fail_start(c);
        return;
    }
    placed = kh_start_check(c->settings, snapshot, &c->error);
    for (int i = 0; i < snapshot->partition_count && placed; i++)
        placed = place_partition(c, &snapshot->partitions[i]);
    if (!placed || !begin_reading(c)) {
        fail_start(c);
        return;
    }
    c->phase = PHASE_READING;
    c->snapshot_ms = kh_clock_ms();
    /* The start does not wait for the topics' ids: they are asked for now. */
    c->refresh_at_ms =
        kh_library_has_topic_ids() ? c->snapshot_ms : next_refresh(c, c->snapshot_ms);
    kh_tell_snapshot(&to, c->settings->topic_count);
    if (is_member(c))
        return;
    for (int i = 0; i < c->places.count; i++)
        begin_place(c, i);
    feed(c, &(kh_event){.type = KH_EVENT_SETTLED, .settled = true});
}

/* A partition that came after the snapshot: read from its beginning, no part of the history. In a
 * group it is read by the member that gets it. */
static void add_partition(kh_consumer *c, const kh_snapshot_partition *found)
{
    kh_teller to = teller(c);
    int index;

    if (!add_places(c, found->topic, found->partition + 1))
        return;
    if (is_member(c))
        return;
    index = kh_places_at(&c->places, found->topic, found->partition);
    c->places.all[index].next = found->low;
    begin_place(c, index);
    kh_fetching_begin(&c->fetching, index);
    kh_tell_partition_added(&to, index, found->low);
}

/* In their order: one that has no leader yet is asked about again, with those behind it. */
static void note_new_partition(kh_consumer *c, const kh_snapshot_partition *found, int64_t now_ms)
{
    if (found->error == 0 && found->partition == c->places.topics[found->topic].place_count)
        add_partition(c, found);
    else
        refresh_soon(c, now_ms);
}

static void on_end_unknown(kh_consumer *c, int index, rd_kafka_resp_err_t error, int64_t now_ms)
{
    bool gone = error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    bool no_leader = error == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE ||
                     error == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;

    if (gone && c->places.all[index].gone)
        return;
    feed(c, &(kh_event){.type = KH_EVENT_ERROR,
                        .partition = index,
                        .error = gone        ? KH_ASK_GONE
                                 : no_leader ? KH_ASK_NO_LEADER
                                             : KH_ASK_FAILED,
                        .now_ms = now_ms});
}

static void on_answer(kh_consumer *c, const kh_snapshot_partition *found, int64_t now_ms)
{
    int index = kh_places_at(&c->places, found->topic, found->partition);

    if (index < 0) {
        note_new_partition(c, found, now_ms);
        return;
    }
    if (found->error != 0) {
        on_end_unknown(c, index, found->error, now_ms);
        return;
    }
    feed(c, &(kh_event){.type = KH_EVENT_END_IS,
                        .partition = index,
                        .low = found->low,
                        .end = found->end,
                        .stable = found->stable,
                        .now_ms = now_ms});
}

/* A topic that its brokers no longer know: all its partitions, asked about or not. */
static void on_missing_topic(kh_consumer *c, int topic_index, int64_t now_ms)
{
    for (int i = 0; i < c->places.topics[topic_index].place_count; i++)
        on_end_unknown(c, c->places.topics[topic_index].places[i],
                       RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, now_ms);
}

/* A topic whose name is known, but not its id, is another topic: that concerns all its partitions.
 */
static void note_topic_id(kh_consumer *c, int topic_index, const char *id)
{
    kh_topic *topic = &c->places.topics[topic_index];
    bool replaced = topic->id[0] != '\0' && strcmp(topic->id, id) != 0;

    if (id[0] == '\0')
        return;
    snprintf(topic->id, sizeof topic->id, "%s", id);
    for (int i = 0; i < topic->place_count && replaced; i++)
        feed(c, &(kh_event){.type = KH_EVENT_REPLACED, .partition = topic->places[i]});
}

/* That a position lies outside the log is the leader's to say: a follower may lag (KIP-392), and
 * librdkafka does not always ask the leader before it gives up. Where nobody knows who leads, the
 * refusal stands. An answer that is older than the refusal tells nothing about it. */
static void judge_refusal(kh_consumer *c, const kh_snapshot_partition *found, bool is_answer)
{
    int index = kh_places_at(&c->places, found->topic, found->partition);
    kh_place *place = index >= 0 ? &c->places.all[index] : NULL;
    int32_t broker;

    if (place == NULL || !place->assigned || place->refused_by < 0 || place->ask)
        return;
    broker = place->refused_by;
    place->refused_by = -1;
    if (!is_answer || found->leader < 0 || found->leader == broker)
        feed_offset(c, KH_EVENT_RESET, index, 0);
    else if (!place->parked)
        kh_fetching_begin_anew(&c->fetching, index);
}

static void on_asked(kh_consumer *c, const kh_snapshot *snapshot)
{
    int64_t now_ms = kh_clock_ms();

    for (int i = 0; i < snapshot->topic_count && !snapshot->failed; i++)
        note_topic_id(c, i, snapshot->topics[i].id);

    for (int i = 0; i < snapshot->topic_count && !snapshot->failed; i++)
        if (snapshot->topics[i].error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
            on_missing_topic(c, i, now_ms);
    for (int i = 0; i < snapshot->partition_count; i++) {
        const kh_snapshot_partition *found = &snapshot->partitions[i];

        judge_refusal(c, found, !snapshot->failed);
        if (snapshot->failed)
            on_end_unknown(c, kh_places_at(&c->places, found->topic, found->partition),
                           RD_KAFKA_RESP_ERR__TRANSPORT, now_ms);
        else if (snapshot->topics[found->topic].error != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
            on_answer(c, found, now_ms);
    }
}

/* --- the group's partitions ------------------------------------------------------------------- */

/* Nothing more of it is handled. Where this member was is kept, should it come back. */
static void revoke_place(kh_consumer *c, int index)
{
    kh_place *place = &c->places.all[index];
    kh_catchup_partition p = kh_catchup_get(c->catchup, index);

    if (!place->assigned)
        return;
    drop_batch(c, index);
    drop_kept(c, index);
    kh_fetching_drop(&c->fetching, index);
    if (place->parked) {
        place->parked = false;
        c->parked_count--;
        kh_fetching_forget_hold(&c->fetching, index);
    }
    note_allowed(c, index);
    place->next = kh_place_position(place, p.position, p.taken);
    place->assigned = false;
    place->forgotten = c->forget != NULL;
    if (place->forgotten)
        c->forget(c->forget_opaque, index);
    feed(c, &(kh_event){.type = KH_EVENT_REVOKE, .partition = index});
}

/* Makes room for partitions that came after the snapshot. */
static bool know_places(kh_consumer *c, const rd_kafka_topic_partition_list_t *partitions)
{
    bool known = true;

    for (int i = 0; i < partitions->cnt && known; i++) {
        int topic = kh_places_topic_named(&c->places, partitions->elems[i].topic);

        known = topic < 0 || add_places(c, topic, partitions->elems[i].partition + 1);
    }
    return known;
}

/* From inside librdkafka's callback, and so from inside a step. */
static void on_rebalance(void *opaque, rd_kafka_resp_err_t code,
                         const rd_kafka_topic_partition_list_t *partitions)
{
    kh_consumer *c = opaque;

    if (c->is_group_refused)
        c->refused_count--;
    c->is_group_refused = false;
    /* The whole assignment decides, never a part of it. */
    feed(c, &(kh_event){.type = KH_EVENT_SETTLED, .settled = false});
    if (!know_places(c, partitions)) {
        kh_error_set_errno(&c->error, ENOMEM, "cannot keep the partitions");
        c->is_hopeless = true;
        tell_failure(c);
    }
    for (int i = 0; i < partitions->cnt && code == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS; i++) {
        int index =
            kh_places_named(&c->places, partitions->elems[i].topic, partitions->elems[i].partition);

        if (index >= 0)
            revoke_place(c, index);
    }
    kh_group_note(&c->group, code, partitions, kh_clock_ms());
}

/* Where to read an assigned partition from; -1: that is not known yet. */
static int64_t start_of(const kh_consumer *c, const kh_job *job, int index, int at)
{
    const kh_place *place = &c->places.all[index];

    return kh_start_resume(c->settings, place, job->assigned->elems[at].offset,
                           kh_job_low(&job->snapshot, place, kh_catchup_get(c->catchup, index)));
}

static int assigned_at(const kh_consumer *c, int at)
{
    const rd_kafka_topic_partition_t *assigned = &c->group.owed_partitions->elems[at];

    return kh_places_named(&c->places, assigned->topic, assigned->partition);
}

/* Is it known where to begin all of them? If not, there is no leader to tell, perhaps. */
static bool knows_starts(kh_consumer *c, const kh_job *job)
{
    for (int i = 0; i < job->assigned->cnt; i++) {
        int index = assigned_at(c, i);

        if (index < 0 || start_of(c, job, index, i) >= 0)
            continue;
        kh_reports_add_error(&c->reports, RD_KAFKA_RESP_ERR__NO_OFFSET,
                             "the partition waits for an answer about where it begins",
                             kh_places_topic(&c->places, index), c->places.all[index].partition,
                             kh_clock_ms());
        return false;
    }
    return true;
}

static void begin_assigned(kh_consumer *c, const kh_job *job)
{
    for (int i = 0; i < job->assigned->cnt; i++) {
        int index = assigned_at(c, i);
        kh_place *place;

        if (index < 0)
            continue;
        place = &c->places.all[index];
        place->next = start_of(c, job, index, i);
        place->committed = job->assigned->elems[i].offset;
        place->eof = -1;
        c->group.owed_partitions->elems[i].offset = place->next;
        begin_place(c, index);
    }
}

static void on_assigned(kh_consumer *c, const kh_job *job)
{
    if (c->group.owed != RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
        return;
    if (job->refused) {
        c->error = job->error;
        c->retry_helper_ms = kh_clock_ms() + REFRESH_SOON_MS;
        tell_failure(c);
        return;
    }
    if (!knows_starts(c, job)) {
        c->retry_helper_ms = kh_clock_ms() + RETRY_HELPER_MS;
        return;
    }
    begin_assigned(c, job);
    kh_group_answer(&c->group, kh_clock_ms());
    if (!c->group.is_eager)
        return;
    c->group.is_settled = true;
    feed(c, &(kh_event){.type = KH_EVENT_SETTLED, .settled = true});
}

/* Has the group come to rest? That is found out when there is nothing more urgent. */
static void ask_for_rest(kh_consumer *c, int64_t now_ms)
{
    kh_asker to = asker(c);

    if (!kh_helper_is_busy(c->helper) && now_ms >= c->retry_helper_ms &&
        now_ms >= kh_group_ask_due_ms(&c->group))
        c->group.is_asking = start_job(c, kh_job_description(&to, c->group.rebalances));
}

static void ask_where_to_begin(kh_consumer *c, int64_t now_ms)
{
    kh_asker to = asker(c);

    if (c->group.is_asking) /* that is out of date */
        kh_helper_cancel(c->helper);
    if (!kh_helper_is_busy(c->helper) && now_ms >= c->retry_helper_ms)
        (void)start_job(
            c, kh_job_assignment(&to, &c->places, c->group.owed_partitions,
                                 now_ms - c->snapshot_ms > LOW_IS_FRESH_MS ? NULL : c->catchup));
}

/* What the group waits for comes before questions about ends. */
static void serve_group(kh_consumer *c, int64_t now_ms)
{
    kh_group_turn(&c->group, now_ms);
    if (kh_group_must_answer_revoke(&c->group, now_ms))
        kh_group_answer(&c->group, now_ms);
    if (c->group.owed == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
        ask_where_to_begin(c, now_ms);
    else
        ask_for_rest(c, now_ms);
}

static void on_described(kh_consumer *c, const kh_job *job)
{
    if (kh_group_described(&c->group, &job->description, job->rebalances, kh_clock_ms()))
        feed(c, &(kh_event){.type = KH_EVENT_SETTLED, .settled = true});
}

static void take_answer(kh_consumer *c)
{
    kh_job *job = kh_helper_take(c->helper);

    if (job == NULL)
        return;
    /* Answers to a start that has failed meanwhile have nobody left to ask. */
    if (job->kind == KH_JOB_START && c->phase == PHASE_STARTING)
        on_started(c, &job->snapshot);
    else if (job->kind == KH_JOB_ASK)
        on_asked(c, &job->snapshot);
    else if (job->kind == KH_JOB_ASSIGNMENT)
        on_assigned(c, job);
    else if (job->kind == KH_JOB_DESCRIPTION)
        on_described(c, job);
    kh_job_free(job);
}

/* --- messages --------------------------------------------------------------------------------- */

/* Everything below T is with the host; what follows is not wanted before a step asks for it.
 * Reading stops there, so that nothing needs to be kept, and starts there again. */
static void park(kh_consumer *c, int index, int64_t offset)
{
    c->places.all[index].next = offset;
    c->places.all[index].parked = true;
    c->parked_count++;
    kh_fetching_hold(&c->fetching, index);
}

static void unpark_all(kh_consumer *c)
{
    for (int i = 0; i < c->places.count && c->parked_count > 0; i++)
        if (c->places.all[i].parked)
            unpark(c, i);
}

static void tell_refusal(kh_consumer *c, int index)
{
    kh_error_set_kafka(&c->error, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
                       "topic %s: the broker does not allow this client to read it; it needs READ "
                       "on the topic",
                       kh_places_topic(&c->places, index));
    note_refusal(c, &c->places.all[index].refused);
}

/* librdkafka tells of a refusal once and then asks again in silence. Reading that is taken up after
 * it assigns the partition anew: now either something comes from it, an end-of-partition at least,
 * or the newer ones tell of another refusal. The older ones do not: there silence is one. */
static void try_refused(kh_consumer *c, int64_t now_ms)
{
    c->must_try_refused = false;
    c->refused_again_ms = now_ms + REFUSED_AGAIN_MS;
    for (int i = 0; i < c->places.count; i++) {
        if (!c->places.all[i].refused)
            continue;
        if (c->places.all[i].parked) {
            note_allowed(c, i); /* unparking assigns it anew */
            continue;
        }
        kh_fetching_begin_anew(&c->fetching, i);
    }
}

/* Everything that came has been looked at. */
static void look_for_silence(kh_consumer *c, int64_t now_ms)
{
    if (c->is_group_refused && now_ms >= c->refused_again_ms)
        tell_group_refusal(c);
    for (int i = 0; i < c->places.count && now_ms >= c->refused_again_ms; i++)
        if (c->places.all[i].refused)
            tell_refusal(c, i);
}

/* See judge_refusal. */
static void on_out_of_range(kh_consumer *c, int index, int32_t broker)
{
    if (broker < 0) {
        feed_offset(c, KH_EVENT_RESET, index, 0);
        return;
    }
    c->places.all[index].refused_by = broker;
    want_answer(c, index);
}

static void on_partition_error(kh_consumer *c, int index, const rd_kafka_message_t *message)
{
    kh_place *place = &c->places.all[index];

    switch ((int)message->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        place->eof = message->offset;
        note_allowed(c, index);
        feed_offset(c, KH_EVENT_EOF, index, message->offset);
        return;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
        if (!kh_library_position_is_exact() && message->offset == place->eof + 1) {
            /* librdkafka went on one past the end that it had shown. */
            kh_fetching_begin_anew(&c->fetching, index);
            return;
        }
        /* fall through */
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        on_out_of_range(c, index, rd_kafka_message_broker_id(message));
        return;
    case KH_LOG_TRUNCATION:
        feed_offset(c, KH_EVENT_RESET, index, 0);
        return;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        tell_refusal(c, index);
        return;
    default:
        kh_reports_add_error(&c->reports, message->err, rd_kafka_message_errstr(message),
                             kh_places_topic(&c->places, index), place->partition, kh_clock_ms());
    }
}

static void on_message_error(kh_consumer *c, const rd_kafka_message_t *message)
{
    int index = message->rkt != NULL ? kh_places_of(&c->places, message) : -1;

    if (index >= 0 && c->places.all[index].assigned && !c->places.all[index].parked)
        on_partition_error(c, index, message);
    else if (index < 0)
        on_error(c, message->err, rd_kafka_message_errstr(message));
}

/* --- history that is compacted ---------------------------------------------------------------- */

static void keep(kh_consumer *c, int index, const rd_kafka_message_t *message,
                 const kh_catchup_partition *p)
{
    bool from_start = p->start <= p->low;

    c->kept_now++;
    c->meter.read++;
    if (kh_latest_keep(c->latest, index, message, c->keeps_tombstones || !from_start))
        return;
    kh_error_set_errno(&c->error, ENOMEM, "cannot keep the history");
    c->is_hopeless = true;
    tell_failure(c);
}

static bool is_too_much(const kh_consumer *c, const kh_step *how)
{
    return how->max_bytes > 0 && kh_latest_bytes(c->latest) > how->max_bytes;
}

static void tell_too_much(kh_consumer *c, const kh_step *how)
{
    kh_error_set(&c->error, "MAX_BYTES",
                 "the latest messages of the history take more than max_bytes, %lld, after %lld "
                 "were read; reading goes on with more, or make a new consumer of fewer topics, or "
                 "one that shares them in a group",
                 (long long)how->max_bytes, (long long)c->meter.read);
    tell_failure(c);
}

/* False: the signal has come, so that the message is a live one. */
static bool keep_or_park(kh_consumer *c, int index, rd_kafka_message_t *message)
{
    kh_catchup_partition p = kh_catchup_get(c->catchup, index);

    if (!p.has_target || message->offset >= p.target) {
        /* It has not arrived, being read again later; but it shows that history has. */
        feed_offset(c, KH_EVENT_POSITION, index, message->offset);
        if (!is_compacting(c))
            return false;
        park(c, index, message->offset);
    } else {
        c->places.all[index].next = message->offset + 1;
        feed_offset(c, KH_EVENT_MESSAGE, index, message->offset);
        keep(c, index, message, &p);
        feed_offset(c, KH_EVENT_KEPT, index, message->offset);
    }
    rd_kafka_message_destroy(message);
    return true;
}

/* Keeps what comes next, as long as it is of one partition and below T - 1; the last of these
 * messages stands for all. False: none is. */
static bool keep_run(kh_consumer *c, const kh_step *how, int index)
{
    rd_kafka_message_t *message = kh_fetching_peek(&c->fetching);
    const rd_kafka_topic_t *rkt = message->rkt;
    int32_t partition = message->partition;
    kh_catchup_partition p = kh_catchup_get(c->catchup, index);
    int64_t first = c->places.all[index].next;
    int64_t next = first;

    if (!p.pending)
        return false;
    while (message != NULL && message->err == RD_KAFKA_RESP_ERR_NO_ERROR && message->rkt == rkt &&
           message->partition == partition && message->offset >= next &&
           message->offset < p.target - 1) {
        next = message->offset + 1;
        keep(c, index, message, &p);
        rd_kafka_message_destroy(kh_fetching_take(&c->fetching));
        if (c->kept_now >= KEEP_AT_ONCE || c->has_error || is_too_much(c, how))
            break;
        message = kh_fetching_peek(&c->fetching);
    }
    if (next == first)
        return false;
    c->places.all[index].next = next;
    note_allowed(c, index);
    feed_offset(c, KH_EVENT_MESSAGE, index, next - 1);
    feed_offset(c, KH_EVENT_KEPT, index, next - 1);
    return true;
}

/* Has all history of all partitions arrived? */
static bool is_all_there(const kh_consumer *c)
{
    if (c->phase != PHASE_READING || kh_catchup_pending_count(c->catchup) == 0)
        return false;
    for (int i = 0; i < c->places.count; i++) {
        kh_catchup_partition p = kh_catchup_get(c->catchup, i);

        if (p.pending && !p.arrived)
            return false;
    }
    return true;
}

/* Hands out what was kept, partition by partition. Of one that nothing is left of everything has
 * been handled. */
static void serve_kept(kh_consumer *c, const kh_step *how)
{
    for (int i = 0; i < c->places.count && c->batch_count < how->max; i++) {
        kh_catchup_partition p = kh_catchup_get(c->catchup, i);
        kh_record *record = NULL;

        if (!p.pending)
            continue;
        if (!kh_latest_has(c->latest, i))
            feed_offset(c, KH_EVENT_HANDLED, i, p.taken - 1);
        while (c->batch_count < how->max && (record = kh_latest_take(c->latest, i)) != NULL) {
            c->batch[c->batch_count] = (kh_message){.kept = record};
            c->batch_places[c->batch_count++] = i;
        }
    }
}

/* What stands for all that was handled of a partition: of what was kept the last that was, or
 * everything that was taken where there is no more of it. */
static int64_t handled_of_kept(const kh_consumer *c, int index, int64_t offset)
{
    if (kh_latest_has(c->latest, index) || (has_batch(c) && c->batch_places[c->batch_at] == index))
        return offset;
    return kh_catchup_get(c->catchup, index).taken - 1;
}

/* --- messages that are handed out as they come ------------------------------------------------ */

/* Hands a message out, unless it is out of date. False: it must wait for a later step. */
static bool sort_message(kh_consumer *c, const kh_step *how, rd_kafka_message_t *message,
                         bool *ends_batch)
{
    int index = kh_places_of(&c->places, message);
    kh_place *place = index >= 0 ? &c->places.all[index] : NULL;
    bool crossing;

    if (place == NULL || !place->assigned || place->parked || message->offset < place->next) {
        rd_kafka_message_destroy(message);
        return true;
    }
    note_allowed(c, index);
    if (is_compacting(c))
        return keep_or_park(c, index, message);
    crossing = kh_catchup_is_crossing(c->catchup, index, message->offset);
    if (crossing && c->batch_count > 0 &&
        message->offset >= kh_catchup_get(c->catchup, index).target)
        return false;
    feed_offset(c, KH_EVENT_MESSAGE, index, message->offset);
    if (how->stop_at_caught_up) {
        kh_catchup_partition p = kh_catchup_get(c->catchup, index);

        if (kh_catchup_is_caught_up(c->catchup))
            return false;
        if (!p.has_target || message->offset >= p.target) {
            park(c, index, message->offset);
            rd_kafka_message_destroy(message);
            return true;
        }
    }
    place->next = message->offset + 1;
    c->batch[c->batch_count] = (kh_message){.fetched = message};
    c->batch_places[c->batch_count++] = index;
    *ends_batch = crossing;
    return true;
}

/* Messages of the partition below this offset are handed out with no further question: none of them
 * is the last of its history or shows that there is no more of it, and none is beyond T where the
 * step is to stop there. */
static int64_t plain_below(const kh_consumer *c, const kh_step *how, int index)
{
    kh_catchup_partition p = kh_catchup_get(c->catchup, index);

    if (how->stop_at_caught_up && (!p.has_target || kh_catchup_is_caught_up(c->catchup)))
        return 0;
    if (p.pending)
        return p.target - 1;
    return how->stop_at_caught_up ? p.target : INT64_MAX;
}

/* Hands out what comes next, as long as it is plain and of one partition, as most is. The last of
 * these messages stands for all: no decision depends on those between. False: none is. */
static bool take_run(kh_consumer *c, const kh_step *how)
{
    rd_kafka_message_t *message = kh_fetching_peek(&c->fetching);
    const rd_kafka_topic_t *rkt = message->rkt;
    int32_t partition = message->partition;
    int index = kh_places_of(&c->places, message);
    int before = c->batch_count;
    int64_t next, below;

    if (index < 0 || !c->places.all[index].assigned || c->places.all[index].parked)
        return false;
    if (is_compacting(c))
        return keep_run(c, how, index);
    next = c->places.all[index].next;
    below = plain_below(c, how, index);
    while (message != NULL && message->err == RD_KAFKA_RESP_ERR_NO_ERROR && message->rkt == rkt &&
           message->partition == partition && message->offset >= next && message->offset < below) {
        next = message->offset + 1;
        c->batch[c->batch_count] = (kh_message){.fetched = kh_fetching_take(&c->fetching)};
        c->batch_places[c->batch_count++] = index;
        message = c->batch_count < how->max ? kh_fetching_peek(&c->fetching) : NULL;
    }
    if (c->batch_count == before)
        return false;
    c->places.all[index].next = next;
    note_allowed(c, index);
    feed_offset(c, KH_EVENT_MESSAGE, index, next - 1);
    return true;
}

static void fill_batch(kh_consumer *c, const kh_step *how)
{
    bool ends_batch = false;

    while (kh_fetching_has(&c->fetching) && c->batch_count < how->max && !ends_batch &&
           !c->has_error && c->kept_now < KEEP_AT_ONCE) {
        rd_kafka_message_t *message = kh_fetching_peek(&c->fetching);
        bool is_event = message != NULL && message->err != RD_KAFKA_RESP_ERR_NO_ERROR;

        if (is_event && c->batch_count > 0)
            return;
        if (message != NULL && !is_event && take_run(c, how))
            continue;
        /* Taken before it is sorted: parking drops what else was pulled of its partition. */
        message = kh_fetching_take(&c->fetching);
        if (is_event) {
            on_message_error(c, message);
            rd_kafka_message_destroy(message);
        } else if (message != NULL && !sort_message(c, how, message, &ends_batch)) {
            kh_fetching_put_back(&c->fetching, message);
            return;
        }
    }
}

static void free_batch(kh_consumer *c)
{
    for (int i = 0; i < c->batch_count; i++)
        free_message(&c->batch[i]);
    c->batch_at = 0;
    c->batch_count = 0;
}

/* Everything that was queued has been pulled and handled: the position tells of control records
 * behind the last message, half a second before end-of-partition would. */
static void look_at_positions(kh_consumer *c)
{
    rd_kafka_topic_partition_list_t *list;

    if (!kh_library_position_is_exact() || kh_catchup_pending_count(c->catchup) == 0)
        return;
    list = rd_kafka_topic_partition_list_new(kh_catchup_pending_count(c->catchup));
    for (int i = 0; i < c->places.count; i++)
        if (kh_catchup_get(c->catchup, i).pending)
            rd_kafka_topic_partition_list_add(list, kh_places_topic(&c->places, i),
                                              c->places.all[i].partition);
    if (rd_kafka_position(c->rk, list) == RD_KAFKA_RESP_ERR_NO_ERROR)
        for (int i = 0, found = 0; i < c->places.count && found < list->cnt; i++)
            if (kh_catchup_get(c->catchup, i).pending &&
                list->elems[found].partition == c->places.all[i].partition &&
                strcmp(list->elems[found].topic, kh_places_topic(&c->places, i)) == 0)
                feed_offset(c, KH_EVENT_POSITION, i, list->elems[found++].offset);
    rd_kafka_topic_partition_list_destroy(list);
}

/* --- a step ----------------------------------------------------------------------------------- */

static void begin_turn(kh_consumer *c, int64_t now_ms)
{
    if (c->waiting_ms >= 0)
        c->waited_ms += now_ms - c->waiting_ms;
    c->waiting_ms = -1;
    kh_wakeup_drain(kh_handles_wakeup(c->handles));
    take_answer(c);
    if (is_member(c))
        serve_group(c, now_ms);
    if (c->phase == PHASE_NEW && !c->has_error)
        start_reading(c);
    if (c->phase == PHASE_READING)
        feed(c, &(kh_event){.type = KH_EVENT_TICK, .now_ms = now_ms, .waited_ms = c->waited_ms});
    kh_meter_note(&c->meter, c->catchup, c->places.count, now_ms);
}

static int end_turn(kh_consumer *c, int64_t now_ms, const kh_message **messages)
{
    if (is_member(c)) /* a rebalance may have been noted in this turn */
        serve_group(c, now_ms);
    ask_if_due(c, now_ms);
    kh_fetching_poke(&c->fetching, now_ms);
    if (c->has_error && !has_batch(c)) {
        c->has_error = c->is_hopeless;
        return -1;
    }
    if (!has_batch(c) && !kh_fetching_has(&c->fetching))
        c->waiting_ms = now_ms;
    *messages = c->batch + c->batch_at;
    return c->batch_count - c->batch_at;
}

static void fill(kh_consumer *c, const kh_step *how)
{
    bool done = false;

    while (!done && c->batch_count == 0 && !c->has_error) {
        bool stopped = how->stop_at_caught_up && kh_catchup_is_caught_up(c->catchup);

        if (is_compacting(c) && is_too_much(c, how))
            tell_too_much(c, how);
        else if (is_compacting(c) && is_all_there(c))
            serve_kept(c, how);
        else if (c->kept_now >= KEEP_AT_ONCE)
            done = true;
        else if (kh_fetching_has(&c->fetching)) {
            fill_batch(c, how);
            done = kh_fetching_has(&c->fetching) && c->batch_count == 0 && stopped;
        } else if (stopped) {
            done = true;
        } else if (!kh_fetching_pull(&c->fetching, how->max)) {
            if (c->phase == PHASE_READING)
                look_at_positions(c);
            if (c->refused_count > 0)
                look_for_silence(c, kh_clock_ms());
            done = true;
        }
    }
}

/* Once, before anything is read. */
static void choose_history(kh_consumer *c, const kh_step *how)
{
    if (c->is_history_chosen)
        return;
    if (how->history != KH_HISTORY_WHOLE) {
        c->latest = kh_latest_new();
        if (c->latest == NULL || !kh_latest_reserve(c->latest, c->places.count)) {
            kh_error_set_errno(&c->error, ENOMEM, "cannot keep the history");
            c->is_hopeless = true;
            tell_failure(c);
        }
        c->keeps_tombstones = how->history == KH_HISTORY_TOMBSTONES;
    }
    c->is_history_chosen = true;
}

int kh_consumer_step(kh_consumer *c, const kh_step *how, const kh_message **messages)
{
    int64_t now_ms = kh_clock_ms();

    assert(how->max > 0 && how->max <= KH_BATCH_MAX);
    *messages = NULL;
    if (c->handles == NULL) {
        kh_error_set(&c->error, "CLOSED", "the consumer is closed");
        return -1;
    }
    choose_history(c, how);
    c->kept_now = 0;
    begin_turn(c, now_ms);
    /* A member shows that it is alive, and learns what was revoked, in the middle of a batch too.
     */
    if (has_batch(c) && is_member(c))
        kh_fetching_poll(&c->fetching);
    if (!has_batch(c)) {
        free_batch(c);
        if (!how->stop_at_caught_up && !is_compacting(c) && c->parked_count > 0)
            unpark_all(c);
        if (c->must_try_refused)
            try_refused(c, now_ms);
        fill(c, how);
    }
    if (!c->has_error)
        c->has_failed = false;
    return end_turn(c, now_ms, messages);
}

/* Its offset. */
static int64_t note_handled(kh_consumer *c, const kh_message *message)
{
    if (message->kept != NULL) {
        c->meter.bytes += message->kept->key_length + message->kept->value_length;
        return message->kept->offset;
    }
    c->meter.read++;
    c->meter.bytes += (int64_t)(message->fetched->len + message->fetched->key_len);
    return message->fetched->offset;
}

void kh_consumer_handled(kh_consumer *c, int count, int skipped)
{
    int end = c->batch_at + count;

    assert(end <= c->batch_count);
    c->meter.messages += count;
    c->meter.skipped += skipped;
    while (c->batch_at < end) {
        int index = c->batch_places[c->batch_at];
        int64_t offset = -1;
        bool kept = false;

        /* The last one of a partition's in a row stands for all. */
        for (; c->batch_at < end && c->batch_places[c->batch_at] == index; c->batch_at++) {
            offset = note_handled(c, &c->batch[c->batch_at]);
            kept = c->batch[c->batch_at].kept != NULL;
        }
        if (kept)
            offset = handled_of_kept(c, index, offset);
        feed_offset(c, KH_EVENT_HANDLED, index, offset);
    }
}

const kh_message *kh_consumer_next(const kh_consumer *c, int ahead)
{
    return ahead >= 0 && ahead < c->batch_count - c->batch_at ? &c->batch[c->batch_at + ahead]
                                                              : NULL;
}

int kh_consumer_next_partition(const kh_consumer *c, int ahead)
{
    return kh_consumer_next(c, ahead) != NULL ? c->batch_places[c->batch_at + ahead] : -1;
}

int kh_consumer_topic_count(const kh_consumer *c)
{
    return c->places.topic_count;
}

const char *kh_consumer_topic(const kh_consumer *c, int topic)
{
    return c->places.topics[topic].name;
}

kh_location kh_consumer_locate(const kh_consumer *c, int index)
{
    const kh_place *place = &c->places.all[index];

    return (kh_location){.topic = place->topic, .partition = place->partition};
}

void kh_consumer_on_forget(kh_consumer *c, void (*forget)(void *opaque, int partition),
                           void *opaque)
{
    c->forget = forget;
    c->forget_opaque = opaque;
}

void kh_consumer_fail(kh_consumer *c, const char *name, const char *text)
{
    c->has_failed = true;
    kh_latch_fail(c->latch, name, text);
}

/* --- waiting ---------------------------------------------------------------------------------- */

static int64_t earlier_of(int64_t a_ms, int64_t b_ms)
{
    return a_ms < b_ms ? a_ms : b_ms;
}

static int64_t group_due_ms(const kh_consumer *c)
{
    int64_t ask_ms =
        c->group.owed == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS ? 0 : kh_group_ask_due_ms(&c->group);

    if (kh_helper_is_busy(c->helper))
        ask_ms = INT64_MAX;
    if (ask_ms < c->retry_helper_ms)
        ask_ms = c->retry_helper_ms;
    return earlier_of(ask_ms, kh_group_due_ms(&c->group));
}

/* When a step is due although the fd is silent; INT64_MAX: never. */
static int64_t due_ms(const kh_consumer *c, int64_t now_ms)
{
    int64_t due = INT64_MAX;

    if (c->phase == PHASE_NEW && !kh_helper_is_busy(c->helper))
        due = c->retry_helper_ms;
    if (c->phase == PHASE_READING) {
        int64_t catchup_ms = kh_catchup_timeout_ms(c->catchup);

        if (catchup_ms >= 0 && catchup_ms < INT_MAX)
            due = earlier_of(due, now_ms + catchup_ms);
        if (!kh_helper_is_busy(c->helper))
            due = earlier_of(due, c->ask_count > 0 ? c->retry_helper_ms : c->refresh_at_ms);
    }
    if (c->refused_count > 0)
        due = earlier_of(due, c->refused_again_ms);
    if (is_member(c))
        due = earlier_of(due, group_due_ms(c));
    return earlier_of(due, kh_fetching_due_ms(&c->fetching));
}

int kh_consumer_timeout_ms(const kh_consumer *c)
{
    int64_t now_ms = kh_clock_ms();
    int64_t due;

    if (c->handles == NULL || has_batch(c) || kh_fetching_has(&c->fetching) ||
        c->fetching.has_queued || c->has_error || (is_compacting(c) && is_all_there(c)))
        return 0;
    due = due_ms(c, now_ms);
    if (due == INT64_MAX)
        return -1;
    return due <= now_ms ? 0 : (int)earlier_of(due - now_ms, INT_MAX);
}

static const kh_wakeup *wakeup_of(const kh_consumer *c)
{
    return kh_handles_wakeup(c->handles != NULL ? c->handles : c->closed_handles);
}

int kh_consumer_pollfd(const kh_consumer *c)
{
    return wakeup_of(c)->read_fd;
}

int kh_consumer_wait(const kh_consumer *c, int timeout_ms)
{
    int own_ms = kh_consumer_timeout_ms(c);

    if (own_ms >= 0 && (timeout_ms < 0 || own_ms < timeout_ms))
        timeout_ms = own_ms;
    return kh_wakeup_wait(wakeup_of(c), timeout_ms);
}

/* librdkafka writes to the fd once and then not before its queue has been served: drained here, it
 * stays silent for everybody but kh_consumer_wake and the helper. The next step serves the queue
 * whatever the fd says. */
int kh_consumer_rest(const kh_consumer *c, int timeout_ms)
{
    if (c->handles == NULL)
        return 0;
    kh_wakeup_drain(wakeup_of(c));
    return kh_wakeup_wait(wakeup_of(c), timeout_ms);
}

void kh_consumer_wake(const kh_consumer *c)
{
    if (c->handles != NULL)
        kh_wakeup_notify(kh_handles_wakeup(c->handles));
}

bool kh_consumer_redirect(kh_consumer *c, int fd, kh_error *error)
{
    return kh_handles_redirect(c->handles != NULL ? c->handles : c->closed_handles, fd, error);
}

/* --- asking ----------------------------------------------------------------------------------- */

const kh_error *kh_consumer_error(const kh_consumer *c)
{
    return &c->error;
}

kh_latch *kh_consumer_latch(const kh_consumer *c)
{
    return c->latch;
}

bool kh_consumer_is_caught_up(const kh_consumer *c)
{
    return kh_catchup_is_caught_up(c->catchup);
}

bool kh_consumer_has_report(const kh_consumer *c)
{
    return c->reports.first != NULL;
}

kh_report *kh_consumer_report(kh_consumer *c)
{
    return kh_reports_take(&c->reports);
}

static kh_state state_of(const kh_consumer *c)
{
    if (c->handles == NULL)
        return KH_CLOSED;
    if (c->has_failed)
        return KH_FAILED;
    if (kh_catchup_is_caught_up(c->catchup))
        return KH_CAUGHT_UP;
    return c->phase == PHASE_READING ? KH_READING : KH_STARTING;
}

kh_progress kh_consumer_progress(const kh_consumer *c)
{
    const kh_meter *meter = &c->meter;
    int64_t now_ms = kh_clock_ms();
    kh_progress progress = {.state = state_of(c),
                            .messages = meter->messages,
                            .read = meter->read,
                            .kept_bytes = c->latest != NULL ? kh_latest_bytes(c->latest) : 0,
                            .bytes = meter->bytes,
                            .skipped = meter->skipped,
                            .gaps = meter->gaps,
                            .truncated = meter->truncated,
                            .rate = kh_meter_rate(meter, now_ms, c->handles != NULL),
                            .elapsed_ms = kh_meter_elapsed_ms(meter, now_ms),
                            .partition_count = c->places.count};

    progress.offsets_done = kh_meter_history(c->catchup, c->places.count, &progress.offsets_total);
    progress.offset_rate = kh_meter_offset_rate(meter, progress.offsets_done, now_ms);
    for (int i = 0; i < c->places.count; i++)
        if (c->places.all[i].assigned)
            progress.lag += kh_consumer_partition(c, i).lag;
    return progress;
}

/* The end that the last fetch told, which is free; T where none has been fetched yet. */
static int64_t end_of(const kh_consumer *c, int index, int64_t target)
{
    int64_t low;
    int64_t high;
    int64_t end = target;

    if (c->handles != NULL &&
        rd_kafka_get_watermark_offsets(c->rk, kh_places_topic(&c->places, index),
                                       c->places.all[index].partition, &low,
                                       &high) == RD_KAFKA_RESP_ERR_NO_ERROR &&
        high > end)
        end = high;
    return end > c->places.all[index].eof ? end : c->places.all[index].eof;
}

kh_partition_progress kh_consumer_partition(const kh_consumer *c, int index)
{
    kh_catchup_partition p = kh_catchup_get(c->catchup, index);
    const kh_place *place = &c->places.all[index];
    int64_t target = p.has_target ? p.target : -1;
    int64_t position = kh_place_position(place, p.position, p.taken);
    int64_t end = end_of(c, index, target);

    return (kh_partition_progress){.topic = kh_places_topic(&c->places, index),
                                   .partition = place->partition,
                                   .start = p.start,
                                   .position = position,
                                   .target = target,
                                   .end_offset = end,
                                   .lag = end > position ? end - position : 0,
                                   .assigned = place->assigned,
                                   .caught_up = p.assigned && !p.pending};
}

/* --- opening and closing ---------------------------------------------------------------------- */

static bool make_room(kh_consumer *c, kh_error *error)
{
    kh_catchup_options options = {.continue_after_truncation =
                                      c->settings->continue_after_truncation,
                                  .stall_timeout_ms = c->settings->stall_timeout_ms};

    c->catchup = kh_catchup_new(&options);
    c->batch = calloc(KH_BATCH_MAX, sizeof *c->batch);
    c->batch_places = calloc(KH_BATCH_MAX, sizeof(int));
    if (c->catchup == NULL || !kh_fetching_init(&c->fetching, KH_BATCH_MAX) || c->batch == NULL ||
        c->batch_places == NULL ||
        !kh_places_init(&c->places, c->settings->topics, c->settings->topic_count)) {
        kh_error_set_errno(error, ENOMEM, "cannot open a consumer");
        return false;
    }
    return true;
}

static bool open_parts(kh_consumer *c, kh_config *config, kh_error *error)
{
    kh_listener listener = {.on_error = on_error,
                            .on_log = on_log,
                            .on_stats = on_stats,
                            .on_rebalance = on_rebalance,
                            .opaque = c};

    c->handles = kh_handles_open(config, &listener, error);
    if (c->handles == NULL)
        return false;
    c->settings = kh_config_settings(kh_handles_config(c->handles));
    c->rk = kh_handles_rk(c->handles);
    c->helper = kh_handles_helper(c->handles);
    c->fetching.rk = c->rk;
    c->fetching.queue = kh_handles_queue(c->handles);
    c->fetching.settings = c->settings;
    c->fetching.places = &c->places;
    c->fetching.reports = &c->reports;
    c->group = (kh_group){.rk = c->rk,
                          .answers = kh_handles_answers(c->handles),
                          .settings = c->settings,
                          .places = &c->places,
                          .fetching = &c->fetching,
                          .reports = &c->reports};
    c->latch = kh_latch_new(error);
    if (c->latch == NULL || !make_room(c, error))
        return false;
    c->group.catchup = c->catchup;
    return true;
}

kh_consumer *kh_consumer_open(kh_config *config, kh_error *error)
{
    kh_consumer *c = calloc(1, sizeof *c);

    if (c == NULL) {
        kh_config_free(config);
        kh_error_set_errno(error, ENOMEM, "cannot open a consumer");
        return NULL;
    }
    kh_reports_init(&c->reports);
    kh_meter_init(&c->meter);
    c->waiting_ms = -1;
    c->refresh_at_ms = INT64_MAX;
    if (open_parts(c, config, error))
        return c;
    kh_consumer_free(c);
    return NULL;
}

/* What of the consumer its end still needs. */
static kh_ending make_ending(kh_consumer *c)
{
    kh_ending ending = {.free_job = kh_job_free};

    if (c->places.count > 0)
        ending.ever_assigned = kh_places_list(&c->places, 0, c->places.count);
    if (!is_member(c))
        return ending;
    ending.uncommitted = kh_group_uncommitted(&c->group);
    ending.owed = c->group.owed;
    ending.owed_partitions = c->group.owed_partitions;
    ending.endings = c->endings;
    c->group.owed_partitions = NULL;
    return ending;
}

void kh_consumer_count_end(kh_consumer *c, kh_endings *endings)
{
    kh_endings_drop(c->endings);
    c->endings = kh_endings_share(endings);
}

void kh_consumer_close(kh_consumer *c, int wait_ms)
{
    kh_handles *handles = c->handles;
    kh_ending ending;

    if (handles == NULL)
        return;
    if (c->meter.caught_up_ms < 0)
        c->meter.caught_up_ms = kh_clock_ms(); /* progress() stops counting seconds */
    free_batch(c);
    kh_fetching_clear(&c->fetching);
    ending = make_ending(c);
    c->handles = NULL;
    c->closed_handles = handles;
    if (c->latch != NULL)
        kh_latch_close(c->latch);
    /* A loop that waits for one of the fds learns of the end. */
    kh_wakeup_notify(kh_handles_wakeup(handles));
    if (is_member(c))
        kh_wakeup_notify(kh_handles_answered(handles));
    kh_handles_close(handles, &ending, wait_ms);
}

/* --- a member's own --------------------------------------------------------------------------- */

int64_t kh_consumer_commit(kh_consumer *c)
{
    return c->handles != NULL && is_member(c) ? kh_group_commit(&c->group, kh_clock_ms()) : -1;
}

kh_commit_state kh_consumer_commit_state(kh_consumer *c, int64_t number, kh_error *error)
{
    int state;

    if (c->handles == NULL) {
        kh_error_set(error, "CLOSED", "the consumer is closed");
        return KH_COMMIT_FAILED;
    }
    kh_wakeup_drain(kh_handles_answered(c->handles));
    serve_group(c, kh_clock_ms());
    state = kh_group_commit_state(&c->group, number);
    if (state < 0)
        *error = c->group.commit_error;
    return state < 0 ? KH_COMMIT_FAILED : state > 0 ? KH_COMMIT_DONE : KH_COMMIT_UNDER_WAY;
}

static const kh_wakeup *answered_of(const kh_consumer *c)
{
    return kh_handles_answered(c->handles != NULL ? c->handles : c->closed_handles);
}

int kh_consumer_answer_fd(const kh_consumer *c)
{
    return answered_of(c)->read_fd;
}

int kh_consumer_wait_for_answer(const kh_consumer *c, int timeout_ms)
{
    return kh_wakeup_wait(answered_of(c), timeout_ms);
}

bool kh_consumer_is_member(const kh_consumer *c)
{
    return is_member(c);
}

bool kh_consumer_has_ended(kh_consumer *c)
{
    return c->closed_handles != NULL && kh_handles_have_ended(c->closed_handles);
}

void kh_consumer_free(kh_consumer *c)
{
    if (c == NULL)
        return;
    kh_consumer_close(c, 0);
    kh_latch_drop(c->latch);
    kh_catchup_free(c->catchup);
    kh_reports_clear(&c->reports);
    kh_places_clear(&c->places);
    kh_fetching_free(&c->fetching);
    kh_group_clear(&c->group);
    kh_endings_drop(c->endings);
    kh_latest_free(c->latest);
    free(c->batch);
    free(c->batch_places);
    kh_handles_drop(c->closed_handles);
    free(c);
}
