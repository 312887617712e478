/*
 * kh_consumer: reads topics from the beginning, says when it has caught up, goes on live.
 *
 *     consumer = kh_consumer_open(config, &error);
 *     while ((count = kh_consumer_step(consumer, &how, &messages)) >= 0) {
 *         for each of the messages: handle it, then kh_consumer_handled(consumer, 1, 0);
 *         if (count == 0) wait on kh_consumer_pollfd for kh_consumer_timeout_ms
 *     }
 *     kh_consumer_close(consumer, 5000); kh_consumer_free(consumer);
 *
 * A step never blocks. It hands out messages in offset order per partition; what was handed out
 * stays the consumer's current batch until all of it has been told to be handled: a step before
 * that hands out the rest again. A batch ends where history may end, so that the latch is released,
 * and the "caught_up" report queued, before the next message is handed out: never earlier, never
 * later.
 *
 * A member of a group takes a step every second or so, in the middle of a batch too: that shows
 * that it is alive, and what was revoked meanwhile is not handed out again.
 *
 * History can be compacted while it is read (kh_step's `latest`): then nothing is handed out before
 * all of it is there, and of each partition and key only the last message.
 *
 * One thread owns a consumer; kh_consumer_wake and the latch are for any thread. It is the one
 * owner of librdkafka's handles. Messages belong to librdkafka and are valid until the step after
 * the one that handed them out, or kh_consumer_close: copy what is to be kept.
 */
#ifndef KH_CONSUMER_H
#define KH_CONSUMER_H

#include "config.h"
#include "endings.h"
#include "error.h"
#include "latch.h"
#include "record.h"
#include "report.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

typedef struct kh_consumer kh_consumer;

/* How many messages one step takes at the most. */
#define KH_BATCH_MAX 10000

/* Opens a consumer; takes over the config (finished) in any case. Nothing is asked of a broker
 * before the first step. NULL with the error filled in: the client cannot be made. */
kh_consumer *kh_consumer_open(kh_config *config, kh_error *error);

/* How history is handed out: as it is, or the last message of each partition and key alone, those
 * that are tombstones left out (but where a partition is not read from its start: what they delete
 * may have been handled by somebody) or not. What the first step says counts until caught up. */
typedef enum kh_history { KH_HISTORY_WHOLE, KH_HISTORY_LATEST, KH_HISTORY_TOMBSTONES } kh_history;

typedef struct kh_step {
    int max;                /* messages at the most; 1 to KH_BATCH_MAX */
    bool stop_at_caught_up; /* hand out nothing at or above T; what is there waits for a later step
                             */
    kh_history history;
    int64_t max_bytes; /* of messages that are kept: more is an error; 0: no limit */
} kh_step;

/* A message that is handed out: as librdkafka has fetched it, or as it was kept. One is NULL. */
typedef struct kh_message {
    rd_kafka_message_t *fetched;
    kh_record *kept;
} kh_message;

/* One turn. Returns the number of messages now to be handled, 0 when there is none (wait), -1 when
 * reading has failed: kh_consumer_error says why. After a failed start, and after a failure that
 * reading may outlive, the next step tries again. */
int kh_consumer_step(kh_consumer *consumer, const kh_step *how, const kh_message **messages);

/* The next `count` messages of the batch were handled, `skipped` of them by skipping. */
void kh_consumer_handled(kh_consumer *consumer, int count, int skipped);

/* The message that is to be handled after `ahead` others of the batch; NULL: there is none. */
const kh_message *kh_consumer_next(const kh_consumer *consumer, int ahead);

/* The index of its partition, as kh_consumer_partition counts them; -1: there is none. */
int kh_consumer_next_partition(const kh_consumer *consumer, int ahead);

/* Topics in the order of the configuration. */
int kh_consumer_topic_count(const kh_consumer *consumer);
const char *kh_consumer_topic(const kh_consumer *consumer, int topic);

typedef struct kh_location {
    int topic;
    int32_t partition;
} kh_location;

kh_location kh_consumer_locate(const kh_consumer *consumer, int index);

/* For hosts that keep what they have read: `forget` is called at the end of a step when what was
 * read of some partitions counts no more: a log was truncated or made anew, a topic is gone, or a
 * partition is another member's now. When it comes back to this member it is read from where it was
 * begun, not from where reading stopped. */
void kh_consumer_on_forget(kh_consumer *consumer, void (*forget)(void *opaque), void *opaque);

/* Within `forget`: is it one of those? */
bool kh_consumer_is_forgotten(const kh_consumer *consumer, int index);

const kh_error *kh_consumer_error(const kh_consumer *consumer);

/* The host's handler has failed: releases the latch with that error. The next step reads on. */
void kh_consumer_fail(kh_consumer *consumer, const char *name, const char *text);

/* Readable when a step has something to do. Never closed before kh_consumer_free. */
int kh_consumer_pollfd(const kh_consumer *consumer);

/* Milliseconds until a step is needed even if the fd stays silent; 0: at once; -1: none. */
int kh_consumer_timeout_ms(const kh_consumer *consumer);

/* Waits for the fd, at most that long (negative: no bound of the caller's) or until the consumer's
 * own timeout. -1: a signal came. */
int kh_consumer_wait(const kh_consumer *consumer, int timeout_ms);

/* Waits for kh_consumer_wake alone, however much there is to do: a pause in reading. May return
 * early without a reason. */
int kh_consumer_rest(const kh_consumer *consumer, int timeout_ms);

/* Makes the fd readable. */
void kh_consumer_wake(const kh_consumer *consumer);

/* For hosts that wait for nothing but sockets of their own: notifications go to the other end of
 * this one from now on, see kh_wakeup_redirect; the fd is silent. Takes `fd` over in any case. */
bool kh_consumer_redirect(kh_consumer *consumer, int fd, kh_error *error);

/* The consumer's signal; share it to keep it. */
kh_latch *kh_consumer_latch(const kh_consumer *consumer);

bool kh_consumer_is_caught_up(const kh_consumer *consumer);

/* The oldest report not fetched yet, the caller's to free with kh_report_free; NULL: none. */
kh_report *kh_consumer_report(kh_consumer *consumer);
bool kh_consumer_has_report(const kh_consumer *consumer);

typedef enum kh_state { KH_STARTING, KH_READING, KH_CAUGHT_UP, KH_FAILED, KH_CLOSED } kh_state;

typedef struct kh_progress {
    kh_state state;
    int64_t messages; /* handled, skipped ones included */
    int64_t read;     /* handled or kept; of what is kept not all may be handled */
    int64_t bytes;    /* of their keys and values */
    int64_t skipped;
    int64_t gaps;
    int64_t truncated;
    int64_t kept_bytes;   /* what the messages take that are kept */
    int64_t offsets_done; /* of the history: how many offsets below T have been passed */
    int64_t offsets_total;
    double rate;        /* messages a second, lately */
    double offset_rate; /* history's offsets a second, lately */
    int64_t elapsed_ms; /* since reading began, until it had caught up */
    int64_t lag;        /* of all partitions */
    int partition_count;
} kh_progress;

typedef struct kh_partition_progress {
    const char *topic;
    int32_t partition;
    int64_t start;
    int64_t position; /* where reading would go on */
    int64_t target;   /* T; -1: a partition that came after the snapshot */
    int64_t end_offset;
    int64_t lag;   /* offsets between position and end_offset */
    bool assigned; /* it is this consumer's to read; in a group it may be another member's */
    bool caught_up;
} kh_partition_progress;

/* Both answer in every state, from memory. */
kh_progress kh_consumer_progress(const kh_consumer *consumer);
kh_partition_progress kh_consumer_partition(const kh_consumer *consumer, int index);

/* --- in a group --- */

bool kh_consumer_is_member(const kh_consumer *consumer);

/* Asks to commit what has been handled; returns a number to ask with how it went. -1: the consumer
 * is no member, or closed. */
int64_t kh_consumer_commit(kh_consumer *consumer);

typedef enum kh_commit_state {
    KH_COMMIT_UNDER_WAY,
    KH_COMMIT_DONE,
    KH_COMMIT_FAILED
} kh_commit_state;

/* Looks for the answer. The error is filled in when it has failed. */
kh_commit_state kh_consumer_commit_state(kh_consumer *consumer, int64_t number, kh_error *error);

/* Readable when kh_consumer_commit_state has something to look at, whoever else reads meanwhile.
 * Never closed before kh_consumer_free. */
int kh_consumer_answer_fd(const kh_consumer *consumer);

/* Waits for that, at most that long; -1: a signal came. */
int kh_consumer_wait_for_answer(const kh_consumer *consumer, int timeout_ms);

/* Where a member's leaving is to be counted. */
void kh_consumer_count_end(kh_consumer *consumer, kh_endings *endings);

/* Ends reading, releases the latch if it is still pending, and waits for librdkafka's end up to
 * wait_ms (0: not at all); idempotent. */
void kh_consumer_close(kh_consumer *consumer, int wait_ms);

/* Is the end over that kh_consumer_close has begun? Where it was not waited for: ask, and while the
 * answer is no wait for kh_consumer_pollfd, in whatever loop. */
bool kh_consumer_has_ended(kh_consumer *consumer);

/* Frees the consumer; closes it without waiting if nobody has. NULL is allowed. */
void kh_consumer_free(kh_consumer *consumer);

#pragma GCC visibility pop
#endif
