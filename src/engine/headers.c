#include "headers.h"

#include <string.h>

const rd_kafka_headers_t *kh_headers_of(const rd_kafka_message_t *message)
{
    /* librdkafka gives them out for reading only, although its type does not say so. */
    rd_kafka_headers_t *headers = NULL;

    if (rd_kafka_message_headers(message, &headers) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return NULL;
    return headers;
}

bool kh_headers_get(const rd_kafka_headers_t *headers, size_t index, kh_header *header)
{
    if (headers == NULL ||
        rd_kafka_header_get_all(headers, index, &header->name, &header->value,
                                &header->value_length) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return false;
    header->name_length = strlen(header->name);
    if (header->value == NULL)
        header->value_length = KH_HEADER_NULL;
    return true;
}

size_t kh_header_value_length(const kh_header *header)
{
    return header->value_length == KH_HEADER_NULL ? 0 : header->value_length;
}

size_t kh_headers_measure(const rd_kafka_headers_t *headers, int32_t *count)
{
    kh_header header;
    size_t size = 0;

    for (*count = 0; kh_headers_get(headers, (size_t)*count, &header); ++*count)
        size += 2 * sizeof(size_t) + header.name_length + kh_header_value_length(&header);
    return size;
}

static char *put(char *at, const void *bytes, size_t length)
{
    if (length > 0)
        memcpy(at, bytes, length);
    return at + length;
}

void kh_headers_pack(char *at, const rd_kafka_headers_t *headers, int32_t count)
{
    kh_header header;

    for (int32_t i = 0; i < count && kh_headers_get(headers, (size_t)i, &header); i++) {
        at = put(at, &header.name_length, sizeof header.name_length);
        at = put(at, &header.value_length, sizeof header.value_length);
        at = put(at, header.name, header.name_length);
        at = put(at, header.value, kh_header_value_length(&header));
    }
}

const char *kh_header_take(const char *at, kh_header *header)
{
    memcpy(&header->name_length, at, sizeof header->name_length);
    at += sizeof header->name_length;
    memcpy(&header->value_length, at, sizeof header->value_length);
    at += sizeof header->value_length;
    header->name = at;
    at += header->name_length;
    header->value = at;
    return at + kh_header_value_length(header);
}
