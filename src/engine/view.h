/*
 * kh_view: the latest value of each key of the topics that a consumer reads.
 *
 *     view = kh_view_new(consumer, &error);
 *     while ((count = kh_consumer_step(consumer, &how, &messages)) >= 0) {
 *         for (int i = 0; i < count; i++)
 *             if (kh_view_put(view, i, 0, &error) == KH_VIEW_FAILED) ...
 *         kh_consumer_handled(consumer, count, 0);
 *         if (count == 0) wait on kh_consumer_pollfd for kh_consumer_timeout_ms
 *     }
 *
 * A table for each topic, where a value replaces the one before and a tombstone removes it;
 * messages without a key are counted. What a partition has put there goes with the partition: when
 * its log was truncated or its topic made anew, or when a member of a group has to give it back.
 *
 * Plain data of the consumer's thread. The view listens to its consumer, which takes no step any
 * more once the view is freed; apart from that either may go first.
 */
#ifndef KH_VIEW_H
#define KH_VIEW_H

#include "consumer.h"
#include "error.h"
#include "record.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

typedef struct kh_view kh_view;

/* NULL with the error filled in: out of memory. */
kh_view *kh_view_new(kh_consumer *consumer, kh_error *error);
void kh_view_free(kh_view *view);

typedef enum kh_view_result {
    KH_VIEW_UNCHANGED, /* a message without a key; a tombstone of a key that was not there */
    KH_VIEW_CHANGED,
    KH_VIEW_FAILED /* nothing was put */
} kh_view_result;

/* Takes the message that is to be handled after `ahead` others of the consumer's batch. Fails, with
 * the error filled in, where the table would take more than max_bytes (0: no limit), or without
 * memory. */
kh_view_result kh_view_put(kh_view *view, int ahead, int64_t max_bytes, kh_error *error);

/* Topics are numbered as the configuration names them. */
int kh_view_topic_count(const kh_view *view);
const char *kh_view_topic(const kh_view *view, int topic);

/* What is kept under a key, until the next step or kh_view_put; NULL: nothing. */
const kh_record *kh_view_find(const kh_view *view, int topic, const void *key, size_t length);

size_t kh_view_count(const kh_view *view, int topic);

/* What the tables take of memory. */
int64_t kh_view_bytes(const kh_view *view);

/* How many messages came without a key. */
int64_t kh_view_without_key(const kh_view *view);

/* A walk over a topic's keys, in the order in which they came. The table may change meanwhile: each
 * key that stays is met once, with the value that it has then; one that goes before is not met; one
 * that comes may be. The caller's memory, which stays where it is until kh_view_leave. */
typedef struct kh_view_walk {
    kh_view *view; /* NULL: it is over */
    kh_record *next;
    struct kh_view_walk *other;
} kh_view_walk;

void kh_view_begin(kh_view *view, int topic, kh_view_walk *walk);

/* NULL: that was all. */
const kh_record *kh_view_next(kh_view_walk *walk);

/* Ends it before its end; may be called again, and after kh_view_free. */
void kh_view_leave(kh_view_walk *walk);

#pragma GCC visibility pop
#endif
