/*
 * A message's copy, from any key, value and headers: every field of the copy must be what is handed
 * out without one, and nothing may be read beside the bytes. librdkafka's headers are real; what it
 * tells of a message is made up here.
 */
#include "../../src/lua/binding.h"
#include "../../src/lua/message.h"

#include "bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* What librdkafka would know of the message. */
struct known {
    rd_kafka_message_t message; /* first */
    char topic[250];
    int64_t timestamp;
    rd_kafka_timestamp_type_t timestamp_type;
    rd_kafka_headers_t *headers;
};

const char *rd_kafka_topic_name(const rd_kafka_topic_t *topic)
{
    return (const char *)topic;
}

int64_t rd_kafka_message_timestamp(const rd_kafka_message_t *message,
                                   rd_kafka_timestamp_type_t *type)
{
    const struct known *known = (const struct known *)message;

    *type = known->timestamp_type;
    return known->timestamp;
}

rd_kafka_resp_err_t rd_kafka_message_headers(const rd_kafka_message_t *message,
                                             rd_kafka_headers_t **headers)
{
    *headers = ((const struct known *)message)->headers;
    return *headers == NULL ? RD_KAFKA_RESP_ERR__NOENT : RD_KAFKA_RESP_ERR_NO_ERROR;
}

/* --- making one ------------------------------------------------------------------------------- */

/* Exactly as long as it is, so that a byte too much is found. */
static void *copy_exactly(const void *bytes, size_t length)
{
    void *copy = malloc(length > 0 ? length : 1);

    if (copy == NULL)
        abort();
    memcpy(copy, bytes, length);
    return copy;
}

static void take_optional(struct bytes *bytes, int is_null, void **copy, size_t *length)
{
    const char *taken = take_bytes(bytes, length);

    *copy = is_null ? NULL : copy_exactly(taken, *length);
    if (is_null)
        *length = 0;
}

static rd_kafka_headers_t *take_headers(struct bytes *bytes, int count)
{
    rd_kafka_headers_t *headers = count > 0 ? rd_kafka_headers_new((size_t)count) : NULL;

    for (int i = 0; i < count; i++) {
        size_t name_length;
        size_t value_length;
        const char *name = take_bytes(bytes, &name_length);
        int is_null = take_byte(bytes) & 1;
        const char *value = take_bytes(bytes, &value_length);

        rd_kafka_header_add(headers, name, (ssize_t)name_length, is_null ? NULL : value,
                            is_null ? 0 : (ssize_t)value_length);
    }
    return headers;
}

static void take_message(struct bytes *bytes, struct known *known)
{
    int flags = take_byte(bytes);
    size_t length;
    const char *topic;

    *known = (struct known){.timestamp_type = (rd_kafka_timestamp_type_t)(flags >> 2 & 3)};
    known->message.offset = (int64_t)(take_number(bytes) >> 1);
    known->timestamp = (int64_t)take_number(bytes);
    known->message.partition = (int32_t)(take_number(bytes) >> 33);
    topic = take_bytes(bytes, &length);
    memcpy(known->topic, topic, length < 249 ? length : 249);
    known->message.rkt = (rd_kafka_topic_t *)known->topic;
    take_optional(bytes, flags & 1, &known->message.key, &known->message.key_len);
    take_optional(bytes, flags & 2, &known->message.payload, &known->message.len);
    known->headers = take_headers(bytes, flags >> 4);
}

static void free_message(struct known *known)
{
    free(known->message.key);
    free(known->message.payload);
    if (known->headers != NULL)
        rd_kafka_headers_destroy(known->headers);
}

/* --- comparing -------------------------------------------------------------------------------- */

/* The script gets a message and its fields, and compares. */
static const char script[] =
    "local msg, fields = ...\n"
    "local all = msg:totable()\n"
    "for name, value in pairs(fields) do\n"
    "  if name ~= 'headers' then assert(msg[name] == value and all[name] == value, name) end\n"
    "end\n"
    "local last = {}\n"
    "assert(#msg.headers == #fields.headers and #all.headers == #fields.headers)\n"
    "for i, header in ipairs(fields.headers) do\n"
    "  local same = msg.headers[i]\n"
    "  assert(same.name == header.name and same.value == header.value)\n"
    "  last[header.name] = header\n"
    "end\n"
    "for name, header in pairs(last) do assert(msg:header(name) == header.value) end\n"
    "assert(msg:header('\\0') == nil and msg.nothing == nil and msg[1] == nil)\n"
    "assert(msg:data() == fields.value and msg:is_tombstone() == (fields.value == nil))\n"
    "assert(#tostring(msg) > 0)\n";

static int check(lua_State *L)
{
    const rd_kafka_message_t *message = lua_touserdata(L, 1);

    kh_push_message_class(L, rd_kafka_topic_name(message->rkt));
    lua_getfield(L, LUA_REGISTRYINDEX, "script");
    kh_push_message(L, message, 2);
    lua_newtable(L);
    for (int field = 0; field < KH_FIELDS; field++) {
        kh_push_field(L, message, (kh_field)field);
        lua_setfield(L, -2, kh_field_names[field]);
    }
    lua_call(L, 2, 0);
    return 0;
}

static lua_State *open_state(void)
{
    lua_State *L = luaL_newstate();

    if (L == NULL)
        abort();
    luaL_requiref(L, "_G", luaopen_base, 1);
    kh_open_message(L);
    if (luaL_loadstring(L, script) != 0)
        abort();
    lua_setfield(L, LUA_REGISTRYINDEX, "script");
    lua_settop(L, 0);
    return L;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lua_State *L = open_state();
    struct bytes bytes = {.at = data, .left = size};
    struct known known;

    take_message(&bytes, &known);
    lua_pushcfunction(L, check);
    lua_pushlightuserdata(L, &known);
    if (lua_pcall(L, 1, 0, 0) != 0) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        abort();
    }
    lua_close(L);
    free_message(&known);
    return 0;
}
