/*
 * kh_handles: everything of librdkafka's that a consumer holds, and its orderly end.
 *
 * One owner on one thread, until kh_handles_close hands it to a closer thread, because the end may
 * take its time whatever the broker does: the helper finishes its slice, librdkafka its shutdown.
 * The wake-up fd lives until the last reference is gone, so that a loop which still polls it is
 * safe.
 */
#ifndef KH_HANDLES_H
#define KH_HANDLES_H

#include "config.h"
#include "endings.h"
#include "error.h"
#include "helper.h"
#include "wakeup.h"

#include <stdint.h>

#pragma GCC visibility push(hidden)

typedef struct kh_handles kh_handles;

/* Where librdkafka's callbacks go: always on the owner's thread, from inside a step; not at all
 * once the handles are being closed. */
typedef struct kh_listener {
    void (*on_error)(void *opaque, rd_kafka_resp_err_t code, const char *reason);
    void (*on_log)(void *opaque, int level, const char *facility, const char *text);
    void (*on_stats)(void *opaque, const char *json);
    /* In a group: a rebalance, which the owner must answer with kh_handles_answer, later. */
    void (*on_rebalance)(void *opaque, rd_kafka_resp_err_t code,
                         const rd_kafka_topic_partition_list_t *partitions);
    void *opaque;
} kh_listener;

/* Opens a consumer handle for a finished config, which it takes over in any case. Connects in the
 * background; never blocks. NULL with the error filled in: the client cannot be made. */
kh_handles *kh_handles_open(kh_config *config, const kh_listener *listener, kh_error *error);

/* The parts, the owner's to use until kh_handles_close. */
const kh_config *kh_handles_config(const kh_handles *handles);
rd_kafka_t *kh_handles_rk(const kh_handles *handles);
rd_kafka_queue_t *kh_handles_queue(const kh_handles *handles);
rd_kafka_queue_t *kh_handles_answers(const kh_handles *handles); /* in a group, else NULL */
const kh_wakeup *kh_handles_answered(const kh_handles *handles); /* readable: see the answers */
kh_helper *kh_handles_helper(const kh_handles *handles);
const kh_wakeup *kh_handles_wakeup(const kh_handles *handles);

/* As kh_wakeup_redirect; also after kh_handles_close. */
bool kh_handles_redirect(kh_handles *handles, int fd, kh_error *error);

/* To be called once for each partition when it has been assigned: where librdkafka cannot end after
 * a topic was deleted, its queue is needed then. */
void kh_handles_keep_queue(kh_handles *handles, const char *topic, int32_t partition);

/* Does the group's protocol change assignments as a whole only? */
bool kh_handles_is_eager(rd_kafka_t *rk);

/* Answers a rebalance as the group's protocol does. The error, or NULL; the caller's. */
rd_kafka_error_t *kh_handles_answer(rd_kafka_t *rk, rd_kafka_resp_err_t code,
                                    const rd_kafka_topic_partition_list_t *partitions);

/* What is left to be done; every list is taken over, and may be NULL. */
typedef struct kh_ending {
    rd_kafka_topic_partition_list_t *ever_assigned;
    void (*free_job)(void *job);                      /* for a job of the helper */
    rd_kafka_topic_partition_list_t *uncommitted;     /* offsets to be committed before leaving */
    bool is_committing;                               /* an earlier commit has no answer yet */
    rd_kafka_resp_err_t owed;                         /* a rebalance without an answer; 0: none */
    rd_kafka_topic_partition_list_t *owed_partitions; /* the same */
    kh_endings *endings; /* where a member's leaving is counted; borrowed, may be NULL */
} kh_ending;

/* Begins the end: no callback comes after this. A member leaves its group at once, after a last
 * commit of up to 3 s. Waits up to wait_ms for the end; true when it is over. Every message must
 * have been destroyed before. */
bool kh_handles_close(kh_handles *handles, const kh_ending *ending, int wait_ms);

/* After kh_handles_close: is the end over? If not, the wake-up fd is silenced, and becomes readable
 * when it is; from then on it stays readable. */
bool kh_handles_have_ended(kh_handles *handles);

/* Gives up the owner's reference; after kh_handles_close. */
void kh_handles_drop(kh_handles *handles);

#pragma GCC visibility pop
#endif
