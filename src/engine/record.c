#include "record.h"
#include "headers.h"

#include <stdlib.h>
#include <string.h>

/* More than twice as much as is needed is given back. */
#define ROOM_SPARE 64

/* What a message needs, measured once. */
struct measure {
    const rd_kafka_headers_t *headers;
    int32_t header_count;
    size_t headers_length;
    size_t room;
};

static bool measure(const rd_kafka_message_t *message, struct measure *found)
{
    found->headers = kh_headers_of(message);
    found->headers_length = kh_headers_measure(found->headers, &found->header_count);
    found->room = message->key_len + message->len + found->headers_length;
    return found->room <= UINT32_MAX;
}

static void copy(kh_record *record, const rd_kafka_message_t *message, const struct measure *found,
                 int place)
{
    rd_kafka_timestamp_type_t type;
    char *at = record->bytes;

    record->offset = message->offset;
    record->timestamp = rd_kafka_message_timestamp(message, &type);
    record->timestamp_type = (uint8_t)type;
    record->place = place;
    record->has_key = message->key != NULL;
    record->has_value = message->payload != NULL;
    record->key_length = (uint32_t)message->key_len;
    record->value_length = (uint32_t)message->len;
    record->headers_length = (uint32_t)found->headers_length;
    record->header_count = found->header_count;
    if (message->key_len > 0)
        memcpy(at, message->key, message->key_len);
    at += message->key_len;
    if (message->len > 0)
        memcpy(at, message->payload, message->len);
    if (found->header_count > 0)
        kh_headers_pack(at + message->len, found->headers, found->header_count);
}

kh_record *kh_record_new(const rd_kafka_message_t *message, int place)
{
    struct measure found;
    kh_record *record;

    if (!measure(message, &found))
        return NULL;
    record = malloc(sizeof *record + found.room);
    if (record == NULL)
        return NULL;
    memset(&record->hh, 0, sizeof record->hh);
    record->room = (uint32_t)found.room;
    copy(record, message, &found, place);
    return record;
}

bool kh_record_replace(kh_record *record, const rd_kafka_message_t *message, int place)
{
    struct measure found;

    if (!measure(message, &found) || found.room > record->room ||
        record->room > 2 * found.room + ROOM_SPARE)
        return false;
    copy(record, message, &found, place);
    return true;
}
