/*
 * kh_catchup: decides when a consumer has caught up. Events in, decisions out.
 *
 * A partition's history is what lay below its target T, the end offset recorded before reading
 * began. This file says when all of it has been handled, and what to do where the log does not go
 * on as expected: ask for its end again, report a gap or a truncation, report a stall. It owns no
 * socket, no clock and no thread, and knows neither Kafka's protocol nor librdkafka: whoever owns
 * those feeds every event in the order in which it happened and carries out every decision.
 *
 * Partitions are numbers from 0, given by the owner and made room for with kh_catchup_reserve.
 * Offsets and times are not negative, and an offset has a successor; an event that says otherwise,
 * or that names a partition which is not assigned, changes nothing. A question is over when its
 * partition is revoked: the owner drops an answer that comes after the next ASSIGN. One thread at a
 * time.
 */
#ifndef KH_CATCHUP_H
#define KH_CATCHUP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

typedef struct kh_catchup kh_catchup;

/* How far apart two answers must be before the end of a log is believed to lie below T. */
#define KH_CATCHUP_CONFIRM_MS 1000

/* The longest pause between two reports about the same stall. */
#define KH_CATCHUP_STALL_PAUSE_MAX_MS (30 * 60 * INT64_C(1000))

typedef struct kh_catchup_options {
    bool continue_after_truncation; /* else a truncation is the end of reading */
    int64_t stall_timeout_ms;       /* INT64_MAX: never report a stall */
} kh_catchup_options;

typedef enum kh_event_type {
    KH_EVENT_SNAPSHOT, /* history of `partition` lies in [low, target) */
    KH_EVENT_ASSIGN,   /* `partition` is read from `offset` on */
    KH_EVENT_REVOKE,   /* `partition` is no longer ours */
    KH_EVENT_SETTLED,  /* the assignment is whole (settled) or in motion (not settled) */
    /* Of messages that arrived in a row, all below T - 1 or none, the last one stands for all; of
     * messages that were handled in a row too. */
    KH_EVENT_MESSAGE,  /* the message at `offset` arrived, to be handled next in its partition */
    KH_EVENT_HANDLED,  /* the message at `offset` was handled, or skipped by policy */
    KH_EVENT_KEPT,     /* the message at `offset` was taken in: HANDLED comes later, of one that
                        * stands for all that were kept at the latest */
    KH_EVENT_EOF,      /* the reader stands at the end that its broker showed it: `offset` */
    KH_EVENT_POSITION, /* everything below `offset` has arrived, or will never */
    KH_EVENT_END_IS,   /* answer to ASK_END: the log is [low, end), readable below `stable` */
    KH_EVENT_RESET,    /* the broker refuses the position: it lies outside the log */
    KH_EVENT_REPLACED, /* the topic is another one of the same name: it was deleted and made anew */
    KH_EVENT_ERROR,    /* ASK_END has no answer: `error` says why */
    KH_EVENT_TICK      /* time passes */
} kh_event_type;

typedef enum kh_ask_error {
    KH_ASK_FAILED,    /* no answer; asked again later */
    KH_ASK_NO_LEADER, /* the same, and the reason is known */
    KH_ASK_GONE       /* the broker says that there is no such topic */
} kh_ask_error;

typedef struct kh_event {
    kh_event_type type;
    int partition;
    int64_t offset;
    int64_t low;
    int64_t target;
    int64_t end;
    int64_t stable;
    bool settled;
    kh_ask_error error;
    int64_t now_ms;    /* END_IS, ERROR, TICK: a clock that never goes back */
    int64_t waited_ms; /* TICK: how much of it the reader spent waiting with an empty queue */
} kh_event;

typedef enum kh_action_type {
    KH_ACTION_PARTITION_CAUGHT_UP, /* `partition` has reached its target */
    KH_ACTION_CAUGHT_UP,           /* everything has: release the signal */
    KH_ACTION_ASK_END,             /* ask for low, end and stable end; answer END_IS or ERROR */
    KH_ACTION_READ_FROM,           /* go on reading `partition` at `offset` */
    KH_ACTION_GAP,                 /* [offset, to) was deleted before it was read */
    KH_ACTION_TRUNCATED,           /* the log was cut or made anew: it ends at `end`, below `target`
                                    * or without the position `offset`; `gone`: there is no log.
                                    * What was kept of it is void, unless it is gone */
    KH_ACTION_STALLED              /* no progress towards `target` since `offset`, for `cause` */
} kh_action_type;

typedef enum kh_stall_cause {
    KH_STALL_UNKNOWN,
    KH_STALL_OPEN_TRANSACTION,
    KH_STALL_TRUNCATED,
    KH_STALL_TOPIC_DELETED,
    KH_STALL_NO_LEADER,
    KH_STALL_LAGGING_FOLLOWER
} kh_stall_cause;

typedef struct kh_action {
    kh_action_type type;
    int partition;
    int64_t offset;
    int64_t to;
    int64_t target;
    int64_t end;
    bool gone;
    kh_stall_cause cause;
} kh_action;

/* Carries out one decision. It must not feed another event from inside. */
typedef void kh_act(void *opaque, const kh_action *action);

/* NULL: out of memory. */
kh_catchup *kh_catchup_new(const kh_catchup_options *options);
void kh_catchup_free(kh_catchup *catchup);

/* Makes room for partitions 0 .. count - 1; false: out of memory, nothing changed. */
bool kh_catchup_reserve(kh_catchup *catchup, int count);

/* The decision: applies one event and calls act for each thing to do, in order. */
void kh_catchup_apply(kh_catchup *catchup, const kh_event *event, kh_act *act, void *opaque);

/* Would the arrival of a message at `offset` show that all history of the partition has arrived?
 * The owner ends a batch there, so that nothing that follows is handled before the signal. */
bool kh_catchup_is_crossing(const kh_catchup *catchup, int partition, int64_t offset);

/* Milliseconds until the next TICK is needed, if the reader waits from now on; -1: none is. */
int64_t kh_catchup_timeout_ms(const kh_catchup *catchup);

bool kh_catchup_is_caught_up(const kh_catchup *catchup);
int kh_catchup_pending_count(const kh_catchup *catchup);

typedef struct kh_catchup_partition {
    bool assigned;
    bool has_target; /* it was there at the snapshot */
    bool pending;    /* history is left to be handled */
    bool arrived;    /* none of it is still to come */
    int64_t start;
    int64_t low;
    int64_t target;
    int64_t position; /* one past the last message that was handled, or start */
    int64_t taken;    /* the same of what was handled or kept */
} kh_catchup_partition;

kh_catchup_partition kh_catchup_get(const kh_catchup *catchup, int partition);

#pragma GCC visibility pop
#endif
