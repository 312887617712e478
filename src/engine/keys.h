/*
 * kh_keys: records by their keys, the latest of each: uthash with XXH3.
 *
 * Plain data of one owner, on one thread; it owns its records. They stand in the order in which
 * their keys came: walk from `all` by `hh.next`.
 */
#ifndef KH_KEYS_H
#define KH_KEYS_H

#include "record.h"

#include <librdkafka/rdkafka.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/* What finding a record takes: uthash's own, a bucket a record. */
#define KH_KEY_BYTES ((int64_t)sizeof(UT_hash_bucket))

typedef struct kh_keys { /* zeroed: empty */
    kh_record *all;
    int64_t bytes; /* of the records, and what finding them takes */
} kh_keys;

size_t kh_keys_count(const kh_keys *keys);

/* NULL: there is none. */
kh_record *kh_keys_find(const kh_keys *keys, const void *key, size_t length);

/* In a large table most of the time goes into waiting for memory, at up to three places one after
 * the other: the bucket, the first record in it, the next one. Who knows which keys come does not
 * wait: a step for each place, this many keys ahead, asks for it in passing. */
enum { KH_KEYS_STEPS = 3 };

static inline int kh_keys_ahead(int step)
{
    return 16 >> step;
}

/* Changes nothing; the message may be one without a key, or NULL. */
void kh_keys_prefetch(const kh_keys *keys, const rd_kafka_message_t *message, int step);

/* Keeps a message, which has a key, in the place of the one that was kept under it: the record,
 * which may be that one, overwritten. NULL: out of memory; nothing has changed. */
kh_record *kh_keys_put(kh_keys *keys, const rd_kafka_message_t *message, int place);

/* Takes it out; the caller's to free. */
kh_record *kh_keys_take(kh_keys *keys, kh_record *record);

/* Takes it out and frees it. */
void kh_keys_remove(kh_keys *keys, kh_record *record);

/* Takes all of them out: the first, the caller's with all that follow by `hh.next`; NULL: none. */
kh_record *kh_keys_release(kh_keys *keys);

void kh_keys_clear(kh_keys *keys);

#pragma GCC visibility pop
#endif
