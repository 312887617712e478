/*
 * kh_fetching: what librdkafka fetches for a consumer, and the pulling of it.
 *
 * Every call that tells librdkafka to read a partition, to leave it or to begin it anew is here,
 * because how that is said depends on whose the partitions are: a standalone consumer adds and
 * removes them one by one; a member of a group must say it as the group's protocol does. What was
 * pulled waits here, in order, until the consumer has looked at it.
 *
 * Plain data of one owner, on one thread. Messages belong to librdkafka.
 */
#ifndef KH_FETCHING_H
#define KH_FETCHING_H

#include "config.h"
#include "places.h"
#include "report.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

typedef struct kh_fetching {
    rd_kafka_t *rk;
    rd_kafka_queue_t *queue;
    const kh_settings *settings;
    kh_places *places;
    kh_reports *reports;
    rd_kafka_message_t **pulled; /* NULL: dropped */
    int at, count, room;
    bool has_queued; /* the last pull brought something: the queue may hold more, its fd silent */
    bool is_bound;   /* a rebalance waits for its answer, which any change would be taken for */
    int anew_count;  /* places to be begun anew when it is not bound any more */
    int64_t polled_ms;
    int64_t poked_ms;
    bool owes_poke;
} kh_fetching;

/* With room for `room` messages; false: out of memory. */
bool kh_fetching_init(kh_fetching *fetching, int room);

/* Destroys what was pulled; may be called again. */
void kh_fetching_clear(kh_fetching *fetching);

/* Frees what init has made; after clear. */
void kh_fetching_free(kh_fetching *fetching);

/* --- what is fetched --- */

/* Standalone: reads every place from its `next` on. */
rd_kafka_resp_err_t kh_fetching_begin_all(kh_fetching *fetching);

/* Standalone: a place more. */
void kh_fetching_begin(kh_fetching *fetching, int place);

/* Reads a place from its `next` on, which may lie anywhere; what was pulled of it is dropped. */
void kh_fetching_begin_anew(kh_fetching *fetching, int place);

/* The rebalance has been answered: begins those anew that had to wait for it, or that librdkafka
 * would go on with at the wrong offset. */
void kh_fetching_unbind(kh_fetching *fetching);

/* Fetches nothing more of a place, and drops what was pulled of it, until it is released: then it
 * is read from its `next` on. */
void kh_fetching_hold(kh_fetching *fetching, int place);
void kh_fetching_release(kh_fetching *fetching, int place);

/* A place that is held is taken away: the next one to read it shall find it as any other. */
void kh_fetching_forget_hold(kh_fetching *fetching, int place);

/* --- what was pulled --- */

bool kh_fetching_has(const kh_fetching *fetching);

/* A look at the next message; NULL: that one was dropped, or there is none. */
rd_kafka_message_t *kh_fetching_peek(const kh_fetching *fetching);

/* The same, of the one behind `ahead` others. */
const rd_kafka_message_t *kh_fetching_peek_ahead(const kh_fetching *fetching, int ahead);

/* The next message, the caller's; NULL: that one was dropped. Only where there is one. */
rd_kafka_message_t *kh_fetching_take(kh_fetching *fetching);

/* The last one that was taken is not wanted yet. */
void kh_fetching_put_back(kh_fetching *fetching, rd_kafka_message_t *message);

/* Pulls up to `max` messages, once everything was taken; callbacks run. False: there was none. */
bool kh_fetching_pull(kh_fetching *fetching, int max);

/* Polls, for the callbacks' sake and to show that a member is alive; a message that comes with it
 * waits behind those that were pulled. */
void kh_fetching_poll(kh_fetching *fetching);

/* Drops what was pulled of a place; a refusal of what was asked for until now is none either. */
void kh_fetching_drop(kh_fetching *fetching, int place);

/* Wakes fetchers that sleep although the queue is empty, where librdkafka lets them. */
void kh_fetching_poke(kh_fetching *fetching, int64_t now_ms);

/* When poking, or polling, is due next; INT64_MAX: never. */
int64_t kh_fetching_due_ms(const kh_fetching *fetching);

#pragma GCC visibility pop
#endif
