/* A Kafka message as a Lua userdata: a copy of everything, so it is safe to keep for ever and holds
 * nothing of librdkafka's. Strings but the value are made when they are asked for. */
#ifndef KH_MESSAGE_H
#define KH_MESSAGE_H

#include "compat.h"

#include "../engine/record.h"

#include <librdkafka/rdkafka.h>

#pragma GCC visibility push(hidden)

#define KH_MESSAGE_CLASS "kafka_history.message"

/* Pushes the metatable that the messages of a topic share. */
void kh_push_message_class(lua_State *L, const char *topic);

/* Pushes a message; its metatable is at the index. */
void kh_push_message(lua_State *L, const rd_kafka_message_t *message, int metatable);

/* The same of one that was kept. */
void kh_push_record(lua_State *L, const kh_record *record, int32_t partition, int metatable);

/* What a handler may ask to be given instead of a message. */
typedef enum kh_field {
    KH_FIELD_TOPIC,
    KH_FIELD_PARTITION,
    KH_FIELD_OFFSET,
    KH_FIELD_TIMESTAMP,
    KH_FIELD_TIMESTAMP_TYPE,
    KH_FIELD_KEY,
    KH_FIELD_VALUE,
    KH_FIELD_HEADERS,
    KH_FIELDS
} kh_field;

extern const char *const kh_field_names[KH_FIELDS + 1];

/* Pushes one field of a message, without a message object. */
void kh_push_field(lua_State *L, const rd_kafka_message_t *message, kh_field field);

/* The same of one that was kept. */
void kh_push_record_field(lua_State *L, const kh_record *record, const char *topic,
                          int32_t partition, kh_field field);

#pragma GCC visibility pop
#endif
