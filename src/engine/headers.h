/*
 * A message's headers as one block of bytes: of each the lengths of its name and value, then both.
 *
 * Nobody owns a packed block but whoever made room for it; what kh_header_take gives points into
 * it.
 */
#ifndef KH_HEADERS_H
#define KH_HEADERS_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/* The length of a value that is null. */
#define KH_HEADER_NULL SIZE_MAX

typedef struct kh_header {
    const char *name;
    const void *value;
    size_t name_length;
    size_t value_length; /* KH_HEADER_NULL: null */
} kh_header;

/* A message's, for reading, as long as the message lives; NULL: it has none. */
const rd_kafka_headers_t *kh_headers_of(const rd_kafka_message_t *message);

/* The one of that index, pointing into the message; false: there is none. NULL has none. */
bool kh_headers_get(const rd_kafka_headers_t *headers, size_t index, kh_header *header);

/* The bytes that packing takes, and the number of headers. NULL has none. */
size_t kh_headers_measure(const rd_kafka_headers_t *headers, int32_t *count);

/* Packs the first `count` of them; there is room for what was measured. */
void kh_headers_pack(char *at, const rd_kafka_headers_t *headers, int32_t count);

/* Unpacks the one that stands there. Returns where the next one would. */
const char *kh_header_take(const char *at, kh_header *header);

/* The bytes of its value; 0 for null. */
size_t kh_header_value_length(const kh_header *header);

#pragma GCC visibility pop
#endif
