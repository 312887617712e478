/*
 * The consumer's state, and what its files call of each other; consumer.h is for everybody else.
 *
 * The way of the data:
 *
 *     librdkafka's queue --pull--> fetching --sort--> batch[] --host--> handled
 *                                     |                 |                  |
 *                                     +-- errors, end-of-partition         |
 *                                     v                 v                  v
 *                                 kh_catchup: MESSAGE, EOF, HANDLED ... -> what to do
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
 *
 *     consumer.c             opening and closing, a step, waiting, asking
 *     consumer_messages.c    what was fetched, on its way to the host
 *     consumer_decisions.c   what kh_catchup is told, and what it says
 *     consumer_answers.c     what the helper thread is asked, and its answers
 *     consumer_member.c      the partitions of a group's member
 *     consumer_refusals.c    failures, and what brokers do not allow
 */
#ifndef KH_CONSUMER_STATE_H
#define KH_CONSUMER_STATE_H

#include "consumer.h"

#include "asker.h"
#include "catchup.h"
#include "clock.h"
#include "contacts.h"
#include "fetching.h"
#include "group.h"
#include "handles.h"
#include "job.h"
#include "latest.h"
#include "meter.h"
#include "places.h"
#include "tell.h"

#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/* When to try again for a thread, or memory, for the helper's job. */
#define RETRY_HELPER_MS 100
/* After a hint that a topic may be gone, and never more often than that. */
#define REFRESH_SOON_MS 1000

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

    void (*forget)(void *opaque); /* see kh_consumer_on_forget; NULL: nobody asks */
    void *forget_opaque;
    bool must_forget; /* places, and tell so at the end of the step */

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

static inline bool is_member(const kh_consumer *c)
{
    return c->settings->group != NULL;
}

static inline bool has_batch(const kh_consumer *c)
{
    return c->batch_at < c->batch_count;
}

/* History goes to c->latest, and nothing else is wanted yet. */
static inline bool is_compacting(const kh_consumer *c)
{
    return c->latest != NULL && !kh_catchup_is_caught_up(c->catchup);
}

static inline int64_t earlier_of(int64_t a_ms, int64_t b_ms)
{
    return a_ms < b_ms ? a_ms : b_ms;
}

/* --- consumer_messages.c --- */

/* A partition that was read to T is read on. */
void kh_consumer_unpark(kh_consumer *c, int index);

/* What was handed out of a partition is taken back. */
void kh_consumer_drop_batch(kh_consumer *c, int index);

/* What was kept of a partition will not be handled. */
void kh_consumer_drop_kept(kh_consumer *c, int index);

/* All of those. */
void kh_consumer_unpark_all(kh_consumer *c);

/* Has all history of all partitions arrived? */
bool kh_consumer_is_all_there(const kh_consumer *c);

/* The batch has been handled, or is not wanted any more. */
void kh_consumer_free_batch(kh_consumer *c);

/* Looks at what was fetched until there is a batch, or nothing more. */
void kh_consumer_fill(kh_consumer *c, const kh_step *how);

/* How history is handed out: decided once, before anything is read. */
void kh_consumer_choose_history(kh_consumer *c, const kh_step *how);

/* --- consumer_decisions.c --- */

kh_teller kh_consumer_teller(kh_consumer *c);

/* What was read of the place counts no more: whoever has kept it will be told. */
void kh_consumer_forget(kh_consumer *c, int index);

/* An event for kh_catchup; what it decides is carried out. */
void kh_consumer_feed(kh_consumer *c, const kh_event *event);

void kh_consumer_feed_offset(kh_consumer *c, kh_event_type type, int index, int64_t offset);

/* --- consumer_answers.c --- */

/* To ask for a partition's end. */
void kh_consumer_want_answer(kh_consumer *c, int index);

/* To ask for the topics' metadata. */
void kh_consumer_refresh_soon(kh_consumer *c, int64_t now_ms);

kh_asker kh_consumer_asker(const kh_consumer *c);

/* A helper that is still busy, or a thread that cannot be had: the next step tries again. */
bool kh_consumer_start_job(kh_consumer *c, kh_job *job);

/* Asks where history begins and ends. */
void kh_consumer_start_reading(kh_consumer *c);

/* Asks what is wanted, if the helper has nothing else to do. */
void kh_consumer_ask_if_due(kh_consumer *c, int64_t now_ms);

/* Makes room for the partitions below `count` of a topic; false: out of memory. */
bool kh_consumer_add_places(kh_consumer *c, int topic, int32_t count);

/* The partition is this consumer's from now on, and read from its `next`. */
void kh_consumer_begin_place(kh_consumer *c, int index);

void kh_consumer_take_answer(kh_consumer *c);

/* --- consumer_member.c --- */

/* From inside librdkafka's callback, and so from inside a step. */
void kh_consumer_on_rebalance(void *opaque, rd_kafka_resp_err_t code,
                              const rd_kafka_topic_partition_list_t *partitions);

void kh_consumer_on_assigned(kh_consumer *c, const kh_job *job);

/* What the group waits for comes before questions about ends. */
void kh_consumer_serve_group(kh_consumer *c, int64_t now_ms);

void kh_consumer_on_described(kh_consumer *c, const kh_job *job);

/* When a member has to turn although its fd is silent; INT64_MAX: never. */
int64_t kh_consumer_group_due_ms(const kh_consumer *c);

/* --- consumer_refusals.c --- */

/* Reading ends with the error in c->error: the latch is released with it. */
void kh_consumer_tell_failure(kh_consumer *c);

/* Something came from the partition, or it is not this consumer's any more. */
void kh_consumer_note_allowed(kh_consumer *c, int index);

/* The start is over, failed: the next step takes a new one. */
void kh_consumer_fail_start(kh_consumer *c);

/* librdkafka's, of the client as a whole. */
void kh_consumer_on_error(void *opaque, rd_kafka_resp_err_t code, const char *words);

/* librdkafka tells of a refusal once and then asks again in silence. Reading that is taken up after
 * it assigns the partition anew: now either something comes from it, an end-of-partition at least,
 * or the newer ones tell of another refusal. The older ones do not: there silence is one. */
void kh_consumer_try_refused(kh_consumer *c, int64_t now_ms);

/* Everything that came has been looked at. */
void kh_consumer_look_for_silence(kh_consumer *c, int64_t now_ms);

/* librdkafka's, of a partition: end-of-partition is one. */
void kh_consumer_on_message_error(kh_consumer *c, const rd_kafka_message_t *message);

#pragma GCC visibility pop
#endif
