/*
 * kh_latest: history that is compacted while it is read, by partition and key, as Kafka's cleaner
 * does it: of each key the last message, every message without a key, and no key whose last message
 * is a tombstone, unless that is asked for.
 *
 * Partitions are numbered as a kh_places numbers them. Plain data of one owner, on one thread.
 */
#ifndef KH_LATEST_H
#define KH_LATEST_H

#include "record.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

typedef struct kh_latest kh_latest;

/* NULL: out of memory. */
kh_latest *kh_latest_new(void);
void kh_latest_free(kh_latest *latest);

/* Makes room for partitions 0 .. count - 1; false: out of memory, nothing changed. */
bool kh_latest_reserve(kh_latest *latest, int count);

/* Keeps a message; a tombstone as itself, or by forgetting its key. False: out of memory. */
bool kh_latest_keep(kh_latest *latest, int place, const rd_kafka_message_t *message,
                    bool keeps_tombstones);

/* See kh_keys_prefetch: before the message is kept, by so many others of its partition. */
void kh_latest_prefetch(const kh_latest *latest, int place, const rd_kafka_message_t *message,
                        int step);

/* What is kept of a partition, in the order of its offsets, one at a time, the caller's to free;
 * NULL: that was all. Nothing more of it is kept after the first, before it is dropped. */
kh_record *kh_latest_take(kh_latest *latest, int place);

bool kh_latest_has(const kh_latest *latest, int place);

/* Forgets what is kept of a partition. */
void kh_latest_drop(kh_latest *latest, int place);

/* What all of it takes of memory. */
int64_t kh_latest_bytes(const kh_latest *latest);

#pragma GCC visibility pop
#endif
