/*
 * kh_record: a message that is kept, everything of it in one block that holds nothing of
 * librdkafka's: a message itself would keep the whole answer alive in which it came.
 *
 * Whoever keeps it owns it: a kh_keys, by its key, or nobody but the caller.
 */
#ifndef KH_RECORD_H
#define KH_RECORD_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uthash.h>

#pragma GCC visibility push(hidden)

/* What is needed to find a record and its value comes last, side by side in memory. */
typedef struct kh_record {
    int64_t offset;
    int64_t timestamp;       /* milliseconds since 1970; see the type */
    uint32_t headers_length; /* packed, see kh_headers_pack */
    int32_t header_count;
    uint32_t room; /* of `bytes` */
    int32_t place; /* the partition, as the owner numbers it */
    uint8_t timestamp_type;
    bool has_key; /* else it is null */
    bool has_value;
    uint32_t key_length; /* Kafka's are of 31 bits */
    uint32_t value_length;
    UT_hash_handle hh; /* of a kh_keys; one without a key is in none, and its `next` free to use */
    char bytes[];      /* key, value, headers */
} kh_record;

/* A copy, the caller's to free with free(); NULL: out of memory. */
kh_record *kh_record_new(const rd_kafka_message_t *message, int place);

/* Copies a message of the same key over it; false: it does not fit, or leaves too much room. */
bool kh_record_replace(kh_record *record, const rd_kafka_message_t *message, int place);

static inline const char *kh_record_key(const kh_record *record)
{
    return record->bytes;
}

static inline const char *kh_record_value(const kh_record *record)
{
    return record->bytes + record->key_length;
}

static inline const char *kh_record_headers(const kh_record *record)
{
    return record->bytes + record->key_length + record->value_length;
}

/* What it takes of memory, the allocator's own share not counted. */
static inline int64_t kh_record_size(const kh_record *record)
{
    return (int64_t)sizeof *record + record->room;
}

#pragma GCC visibility pop
#endif
