#include "message.h"
#include "binding.h"

#include "../engine/headers.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* The messages of a topic share a metatable, which knows the topic. `bytes` holds, one behind the
 * other: key, value (see VALUE_IS_ASIDE) and packed headers. It is as small as it can be: up to 120
 * bytes in all glibc takes and frees memory several times as fast. */
struct message {
    const char *kind; /* &message_kind */
    int64_t offset;
    int64_t timestamp;
    int32_t partition;
    int32_t header_count;
    uint32_t key_length; /* Kafka's are of 31 bits */
    uint32_t value_length;
    uint8_t timestamp_type;
    bool has_key;
    bool has_value;
    char bytes[];
};

/* In Lua 5.4 the value is a Lua string from the beginning, the user value of the message: most
 * handlers ask for it, and so it is copied once. LuaJIT has no user values; there it is made of
 * `bytes` when it is asked for. */
#if LUA_VERSION_NUM < 502
enum { VALUE_IS_ASIDE = false };
#define new_userdata(L, size) kh_new_block(L, size)
#else
enum { VALUE_IS_ASIDE = true };
#define new_userdata(L, size) kh_new_userdata(L, size)
#endif

/* Upvalues of the metamethods. */
enum { TOPIC = 1, METHODS = 2 };

/* Its address tells a message from other userdata sooner than a metatable does: every field that a
 * handler looks at asks for that. */
static const char message_kind = 0;

const char *const kh_field_names[KH_FIELDS + 1] = {
    "topic", "partition", "offset", "timestamp", "timestamp_type", "key", "value", "headers", NULL};

/* --- pushing what both forms have ------------------------------------------------------------- */

static void push_optional(lua_State *L, bool present, const char *bytes, size_t length)
{
    if (present)
        lua_pushlstring(L, bytes != NULL ? bytes : "", length);
    else
        lua_pushnil(L);
}

static void push_timestamp(lua_State *L, rd_kafka_timestamp_type_t type, int64_t timestamp)
{
    if (type == RD_KAFKA_TIMESTAMP_NOT_AVAILABLE || timestamp < 0)
        lua_pushnil(L);
    else
        lua_pushinteger(L, (lua_Integer)timestamp);
}

static void push_timestamp_type(lua_State *L, rd_kafka_timestamp_type_t type)
{
    if (type == RD_KAFKA_TIMESTAMP_CREATE_TIME)
        lua_pushliteral(L, "create_time");
    else if (type == RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME)
        lua_pushliteral(L, "log_append_time");
    else
        lua_pushnil(L);
}

/* { name = , value = } */
static void push_header(lua_State *L, const kh_header *header)
{
    lua_createtable(L, 0, 2);
    lua_pushlstring(L, header->name, header->name_length);
    lua_setfield(L, -2, "name");
    push_optional(L, header->value_length != KH_HEADER_NULL, header->value,
                  kh_header_value_length(header));
    lua_setfield(L, -2, "value");
}

static void push_raw_headers(lua_State *L, const rd_kafka_message_t *message)
{
    const rd_kafka_headers_t *headers = kh_headers_of(message);
    kh_header header;

    lua_newtable(L);
    for (int i = 0; kh_headers_get(headers, (size_t)i, &header); i++) {
        push_header(L, &header);
        lua_rawseti(L, -2, i + 1);
    }
}

void kh_push_field(lua_State *L, const rd_kafka_message_t *message, kh_field field)
{
    rd_kafka_timestamp_type_t type;
    int64_t timestamp;

    switch (field) {
    case KH_FIELD_TOPIC:
        lua_pushstring(L, rd_kafka_topic_name(message->rkt));
        break;
    case KH_FIELD_PARTITION:
        lua_pushinteger(L, message->partition);
        break;
    case KH_FIELD_OFFSET:
        lua_pushinteger(L, (lua_Integer)message->offset);
        break;
    case KH_FIELD_TIMESTAMP:
        timestamp = rd_kafka_message_timestamp(message, &type);
        push_timestamp(L, type, timestamp);
        break;
    case KH_FIELD_TIMESTAMP_TYPE:
        (void)rd_kafka_message_timestamp(message, &type);
        push_timestamp_type(L, type);
        break;
    case KH_FIELD_KEY:
        push_optional(L, message->key != NULL, message->key, message->key_len);
        break;
    case KH_FIELD_VALUE:
        push_optional(L, message->payload != NULL, message->payload, message->len);
        break;
    default:
        push_raw_headers(L, message);
    }
}

static void push_packed_headers(lua_State *L, const char *at, int32_t count)
{
    kh_header header;

    lua_createtable(L, count, 0);
    for (int32_t i = 0; i < count; i++) {
        at = kh_header_take(at, &header);
        push_header(L, &header);
        lua_rawseti(L, -2, i + 1);
    }
}

void kh_push_record_field(lua_State *L, const kh_record *record, const char *topic,
                          int32_t partition, kh_field field)
{
    switch (field) {
    case KH_FIELD_TOPIC:
        lua_pushstring(L, topic);
        break;
    case KH_FIELD_PARTITION:
        lua_pushinteger(L, partition);
        break;
    case KH_FIELD_OFFSET:
        lua_pushinteger(L, (lua_Integer)record->offset);
        break;
    case KH_FIELD_TIMESTAMP:
        push_timestamp(L, (rd_kafka_timestamp_type_t)record->timestamp_type, record->timestamp);
        break;
    case KH_FIELD_TIMESTAMP_TYPE:
        push_timestamp_type(L, (rd_kafka_timestamp_type_t)record->timestamp_type);
        break;
    case KH_FIELD_KEY:
        push_optional(L, record->has_key, kh_record_key(record), record->key_length);
        break;
    case KH_FIELD_VALUE:
        push_optional(L, record->has_value, kh_record_value(record), record->value_length);
        break;
    default:
        push_packed_headers(L, kh_record_headers(record), record->header_count);
    }
}

/* --- making one ---------------------------------------------------------------------------- */

/* Pushes one with what `head` says of it, its key and value; its headers are to be put where this
 * returns, `headers_length` bytes. */
static char *push_copy(lua_State *L, const struct message *head, const void *key, const void *value,
                       size_t value_length, size_t headers_length, int metatable)
{
    size_t inside = VALUE_IS_ASIDE ? 0 : value_length;
    size_t size = offsetof(struct message, bytes) + head->key_length + inside + headers_length;
    struct message *copy = new_userdata(L, size > sizeof *copy ? size : sizeof *copy);
    char *at = copy->bytes;

    *copy = *head;
    copy->kind = &message_kind;
    copy->value_length = (uint32_t)inside;
    if (head->key_length > 0)
        memcpy(at, key, head->key_length);
    at += head->key_length;
    if (inside > 0)
        memcpy(at, value, inside);
    if (VALUE_IS_ASIDE && head->has_value) {
        lua_pushlstring(L, value_length > 0 ? value : "", value_length);
        kh_set_uservalue(L, -2);
    }
    lua_pushvalue(L, metatable);
    lua_setmetatable(L, -2);
    return at + inside;
}

void kh_push_message(lua_State *L, const rd_kafka_message_t *message, int metatable)
{
    const rd_kafka_headers_t *headers = kh_headers_of(message);
    rd_kafka_timestamp_type_t type;
    struct message head = {.offset = message->offset,
                           .timestamp = rd_kafka_message_timestamp(message, &type),
                           .partition = message->partition,
                           .has_key = message->key != NULL,
                           .has_value = message->payload != NULL,
                           .key_length = (uint32_t)message->key_len};
    size_t headers_length = kh_headers_measure(headers, &head.header_count);
    char *at;

    head.timestamp_type = (uint8_t)type;
    at = push_copy(L, &head, message->key, message->payload, message->len, headers_length,
                   metatable);
    kh_headers_pack(at, headers, head.header_count);
}

void kh_push_record(lua_State *L, const kh_record *record, int32_t partition, int metatable)
{
    struct message head = {.offset = record->offset,
                           .timestamp = record->timestamp,
                           .partition = partition,
                           .header_count = record->header_count,
                           .has_key = record->has_key,
                           .has_value = record->has_value,
                           .key_length = record->key_length,
                           .timestamp_type = record->timestamp_type};
    char *at = push_copy(L, &head, kh_record_key(record), kh_record_value(record),
                         record->value_length, record->headers_length, metatable);

    if (record->headers_length > 0)
        memcpy(at, kh_record_headers(record), record->headers_length);
}

/* --- the userdata ----------------------------------------------------------------------------- */

static const struct message *check(lua_State *L)
{
    const struct message *message = lua_touserdata(L, 1);

    if (message != NULL && lua_rawlen(L, 1) >= sizeof *message && message->kind == &message_kind)
        return message;
    return luaL_checkudata(L, 1, KH_MESSAGE_CLASS); /* which says what is wrong */
}

static const char *value_bytes(const struct message *message)
{
    return message->bytes + message->key_length;
}

static const char *header_bytes(const struct message *message)
{
    return value_bytes(message) + message->value_length;
}

/* Of the message at stack index 1. */
static void push_value(lua_State *L, const struct message *message)
{
    if (VALUE_IS_ASIDE)
        kh_get_uservalue(L, 1);
    else
        push_optional(L, message->has_value, value_bytes(message), message->value_length);
}

/* Of the message at stack index 1, within its __index. */
static void push_field(lua_State *L, const struct message *message, kh_field field)
{
    switch (field) {
    case KH_FIELD_TOPIC:
        lua_pushvalue(L, lua_upvalueindex(TOPIC));
        break;
    case KH_FIELD_PARTITION:
        lua_pushinteger(L, message->partition);
        break;
    case KH_FIELD_OFFSET:
        lua_pushinteger(L, (lua_Integer)message->offset);
        break;
    case KH_FIELD_TIMESTAMP:
        push_timestamp(L, (rd_kafka_timestamp_type_t)message->timestamp_type, message->timestamp);
        break;
    case KH_FIELD_TIMESTAMP_TYPE:
        push_timestamp_type(L, (rd_kafka_timestamp_type_t)message->timestamp_type);
        break;
    case KH_FIELD_KEY:
        push_optional(L, message->has_key, message->bytes, message->key_length);
        break;
    case KH_FIELD_VALUE:
        push_value(L, message);
        break;
    default:
        push_packed_headers(L, header_bytes(message), message->header_count);
    }
}

/* By length and first letter: this runs for every field that a handler looks at. */
static int field_named(const char *name, size_t length)
{
    kh_field field;

    switch (length) {
    case 3:
        field = KH_FIELD_KEY;
        break;
    case 5:
        field = name[0] == 'v' ? KH_FIELD_VALUE : KH_FIELD_TOPIC;
        break;
    case 6:
        field = KH_FIELD_OFFSET;
        break;
    case 7:
        field = KH_FIELD_HEADERS;
        break;
    case 9:
        field = name[0] == 'p' ? KH_FIELD_PARTITION : KH_FIELD_TIMESTAMP;
        break;
    case 14:
        field = KH_FIELD_TIMESTAMP_TYPE;
        break;
    default:
        return -1;
    }
    return memcmp(name, kh_field_names[field], length) == 0 ? (int)field : -1;
}

static int message_index(lua_State *L)
{
    const struct message *message = check(L);
    size_t length;
    const char *name = lua_tolstring(L, 2, &length);
    int field = name != NULL ? field_named(name, length) : -1;

    if (field >= 0) {
        push_field(L, message, (kh_field)field);
        return 1;
    }
    lua_settop(L, 2);
    lua_rawget(L, lua_upvalueindex(METHODS));
    return 1;
}

static int message_data(lua_State *L)
{
    push_value(L, check(L));
    return 1;
}

static int message_header(lua_State *L)
{
    const struct message *message = check(L);
    size_t length;
    const char *name = luaL_checklstring(L, 2, &length);
    const char *at = header_bytes(message);
    kh_header found = {.value_length = KH_HEADER_NULL};

    for (int32_t i = 0; i < message->header_count; i++) {
        kh_header header;

        at = kh_header_take(at, &header);
        if (header.name_length == length && memcmp(header.name, name, length) == 0)
            found = header;
    }
    push_optional(L, found.value_length != KH_HEADER_NULL, found.value,
                  kh_header_value_length(&found));
    return 1;
}

static int message_is_tombstone(lua_State *L)
{
    lua_pushboolean(L, !check(L)->has_value);
    return 1;
}

static int message_totable(lua_State *L)
{
    (void)check(L);
    lua_createtable(L, 0, KH_FIELDS);
    for (int field = 0; field < KH_FIELDS; field++) {
        lua_getfield(L, 1, kh_field_names[field]);
        lua_setfield(L, -2, kh_field_names[field]);
    }
    return 1;
}

enum { SHOWN = 60 };

/* The beginning of some bytes, quoted, with what is not printable as \ddd. */
static void add_quoted(luaL_Buffer *buffer, const char *bytes, size_t length)
{
    luaL_addchar(buffer, '"');
    for (size_t i = 0; i < length && i < SHOWN; i++) {
        unsigned char byte = (unsigned char)bytes[i];
        char escaped[8];

        if (byte >= ' ' && byte < 127 && byte != '"' && byte != '\\') {
            luaL_addchar(buffer, (char)byte);
            continue;
        }
        snprintf(escaped, sizeof escaped, "\\%03d", byte);
        luaL_addstring(buffer, escaped);
    }
    luaL_addstring(buffer, length > SHOWN ? "\"..." : "\"");
}

static int message_tostring(lua_State *L)
{
    const struct message *message = check(L);
    char place[64];
    size_t value_length;
    const char *value;
    luaL_Buffer buffer;

    push_value(L, message);
    value = lua_tolstring(L, -1, &value_length);
    luaL_buffinit(L, &buffer);
    luaL_addstring(&buffer, lua_tostring(L, lua_upvalueindex(TOPIC)));
    snprintf(place, sizeof place, "[%d]@%lld ", (int)message->partition,
             (long long)message->offset);
    luaL_addstring(&buffer, place);
    if (message->has_key)
        add_quoted(&buffer, message->bytes, message->key_length);
    else
        luaL_addstring(&buffer, "null");
    luaL_addstring(&buffer, " = ");
    if (value != NULL)
        add_quoted(&buffer, value, value_length);
    else
        luaL_addstring(&buffer, "null");
    luaL_pushresult(&buffer);
    return 1;
}

static const luaL_Reg methods[] = {
    {"data", message_data},
    {"header", message_header},
    {"totable", message_totable},
    {"is_tombstone", message_is_tombstone},
    {NULL, NULL},
};

static void set_metamethod(lua_State *L, const char *name, lua_CFunction function, int topic_at,
                           int methods_at)
{
    lua_pushvalue(L, topic_at);
    lua_pushvalue(L, methods_at);
    lua_pushcclosure(L, function, 2);
    lua_setfield(L, -2, name);
}

static void push_new_class(lua_State *L, int topic_at, int methods_at)
{
    lua_createtable(L, 0, 3);
    lua_pushliteral(L, KH_MESSAGE_CLASS);
    lua_setfield(L, -2, "__name");
    set_metamethod(L, "__index", message_index, topic_at, methods_at);
    set_metamethod(L, "__tostring", message_tostring, topic_at, methods_at);
}

void kh_push_message_class(lua_State *L, const char *topic)
{
    int top = lua_gettop(L);

    luaL_getmetatable(L, KH_MESSAGE_CLASS);
    lua_pushstring(L, topic);
    lua_pushvalue(L, top + 2);
    lua_rawget(L, top + 1);
    if (lua_isnil(L, -1)) {
        lua_getmetatable(L, top + 1);
        lua_getfield(L, -1, "methods");
        push_new_class(L, top + 2, top + 5);
        lua_pushvalue(L, top + 2);
        lua_pushvalue(L, top + 6);
        lua_rawset(L, top + 1);
    }
    lua_replace(L, top + 1);
    lua_settop(L, top + 1);
}

int kh_open_message(lua_State *L)
{
    luaL_newmetatable(L, KH_MESSAGE_CLASS); /* metatables by topic, as long as they are used */
    lua_createtable(L, 0, 2);
    lua_pushliteral(L, "v");
    lua_setfield(L, -2, "__mode");
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -3, "methods");
    lua_insert(L, -3);
    lua_setmetatable(L, -2);
    lua_pop(L, 1);
    return 1;
}
