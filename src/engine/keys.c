/* Before uthash.h, which record.h includes. */
#define HASH_FUNCTION(key, length, hash) ((hash) = hash_of((key), (length)))
/* Out of memory is told by the record's `hh.tbl`. */
#define HASH_NONFATAL_OOM 1
/* How many share a bucket before there are twice as many buckets: each one costs a look elsewhere
 * in memory. */
#define HASH_BKT_CAPACITY_THRESH 4U

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "keys.h"

#include <stdlib.h>

static unsigned hash_of(const void *key, size_t length)
{
    return (unsigned)XXH3_64bits(key, length);
}

size_t kh_keys_count(const kh_keys *keys)
{
    return HASH_COUNT(keys->all);
}

/* What is looked at of a record: its handle, and key and value behind it. */
static void prefetch_record(const UT_hash_handle *handle)
{
    const char *at = (const char *)handle;

    if (handle == NULL)
        return;
    __builtin_prefetch(at);
    __builtin_prefetch(at + 64);
    __builtin_prefetch(at + 128);
}

static const UT_hash_bucket *bucket_of(const kh_keys *keys, unsigned hash)
{
    const UT_hash_table *table = keys->all->hh.tbl;

    return &table->buckets[hash & (table->num_buckets - 1)];
}

void kh_keys_prefetch(const kh_keys *keys, const rd_kafka_message_t *message, int step)
{
    const UT_hash_bucket *bucket;

    if (keys->all == NULL || message == NULL || message->key == NULL)
        return;
    bucket = bucket_of(keys, hash_of(message->key, message->key_len));
    if (step == 0)
        __builtin_prefetch(bucket);
    else if (step == 1)
        prefetch_record(bucket->hh_head);
    else if (bucket->hh_head != NULL)
        prefetch_record(bucket->hh_head->hh_next);
}

static kh_record *find(const kh_keys *keys, const void *key, size_t length, unsigned hash)
{
    kh_record *found;

    HASH_FIND_BYHASHVALUE(hh, keys->all, key, length, hash, found);
    return found;
}

kh_record *kh_keys_find(const kh_keys *keys, const void *key, size_t length)
{
    unsigned hash = hash_of(key, length);

    if (keys->all != NULL)
        prefetch_record(bucket_of(keys, hash)->hh_head);
    return find(keys, key, length, hash);
}

/* Frees it where that cannot be done. */
static kh_record *add(kh_keys *keys, kh_record *record, unsigned hash)
{
    HASH_ADD_KEYPTR_BYHASHVALUE(hh, keys->all, record->bytes, record->key_length, hash, record);
    if (record->hh.tbl == NULL) {
        free(record);
        return NULL;
    }
    keys->bytes += kh_record_size(record) + KH_KEY_BYTES;
    return record;
}

kh_record *kh_keys_take(kh_keys *keys, kh_record *record)
{
    HASH_DELETE(hh, keys->all, record);
    keys->bytes -= kh_record_size(record) + KH_KEY_BYTES;
    return record;
}

void kh_keys_remove(kh_keys *keys, kh_record *record)
{
    free(kh_keys_take(keys, record));
}

/* In the order and in its bucket the record stands where the one of the same key did, which goes: a
 * walk over all meets a key once, whatever becomes of it meanwhile. uthash has no such thing. */
static kh_record *exchange(kh_keys *keys, kh_record *old, kh_record *record)
{
    UT_hash_table *table = old->hh.tbl;
    UT_hash_handle *handle = &record->hh;
    kh_record *before = old->hh.prev;
    kh_record *behind = old->hh.next;

    *handle = old->hh;
    handle->key = record->bytes;
    if (before != NULL)
        before->hh.next = record;
    else
        keys->all = record;
    if (behind != NULL)
        behind->hh.prev = record;
    else
        table->tail = handle;
    if (handle->hh_prev != NULL)
        handle->hh_prev->hh_next = handle;
    else
        table->buckets[handle->hashv & (table->num_buckets - 1)].hh_head = handle;
    if (handle->hh_next != NULL)
        handle->hh_next->hh_prev = handle;
    keys->bytes += kh_record_size(record) - kh_record_size(old);
    free(old);
    return record;
}

kh_record *kh_keys_put(kh_keys *keys, const rd_kafka_message_t *message, int place)
{
    unsigned hash = hash_of(message->key, message->key_len);
    kh_record *old = find(keys, message->key, message->key_len, hash);
    kh_record *record;

    if (old != NULL && kh_record_replace(old, message, place))
        return old;
    record = kh_record_new(message, place);
    if (record == NULL)
        return NULL;
    return old != NULL ? exchange(keys, old, record) : add(keys, record, hash);
}

kh_record *kh_keys_release(kh_keys *keys)
{
    kh_record *first = keys->all;

    /* The table alone: each record still knows the one behind it. */
    HASH_CLEAR(hh, keys->all);
    keys->bytes = 0;
    return first;
}

void kh_keys_clear(kh_keys *keys)
{
    kh_record *record = kh_keys_release(keys);

    while (record != NULL) {
        kh_record *next = record->hh.next;

        free(record);
        record = next;
    }
}
