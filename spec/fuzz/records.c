/*
 * A message that is to be sent, from any Lua value: it is refused with an error, or handed to
 * librdkafka as it is, whose part is taken here: it reads all that it is given, and refuses some of
 * it.
 */
#include "../../src/lua/records.h"

#include "bytes.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t read_bytes; /* so that reading is not left out */

static void read_all(const void *data, size_t size)
{
    const volatile uint8_t *at = data;

    for (size_t i = 0; i < size; i++)
        read_bytes += at[i];
}

static size_t read_headers(const rd_kafka_headers_t *headers)
{
    const char *name;
    const void *value;
    size_t size;
    size_t count = 0;

    while (rd_kafka_header_get_all(headers, count, &name, &value, &size) == 0) {
        read_all(name, strlen(name));
        read_all(value, value != NULL ? size : 0);
        count++;
    }
    return count;
}

/* Takes the headers over when it succeeds, as librdkafka does. */
rd_kafka_error_t *rd_kafka_produceva(rd_kafka_t *rk, const rd_kafka_vu_t *fields, size_t count)
{
    rd_kafka_headers_t *headers = NULL;
    int refuses = *(const uint8_t *)(const void *)rk & 1;

    for (size_t i = 0; i < count; i++) {
        if (fields[i].vtype == RD_KAFKA_VTYPE_KEY || fields[i].vtype == RD_KAFKA_VTYPE_VALUE)
            read_all(fields[i].u.mem.ptr, fields[i].u.mem.size);
        if (fields[i].vtype == RD_KAFKA_VTYPE_HEADERS)
            headers = fields[i].u.headers;
        if (fields[i].vtype == RD_KAFKA_VTYPE_TIMESTAMP && fields[i].u.i64 < 1)
            abort();
    }
    if (headers != NULL && read_headers(headers) == 0)
        abort();
    if (refuses)
        return rd_kafka_error_new(RD_KAFKA_RESP_ERR__QUEUE_FULL, "full");
    if (headers != NULL)
        rd_kafka_headers_destroy(headers);
    return NULL;
}

/* --- any value -------------------------------------------------------------------------------- */

static void push_value(lua_State *L, struct bytes *bytes, int depth);

static void push_text(lua_State *L, struct bytes *bytes)
{
    size_t length;
    const char *text = take_bytes(bytes, &length);

    lua_pushlstring(L, text, length);
}

static void push_name(lua_State *L, struct bytes *bytes)
{
    static const char *const names[] = {"key",       "value",     "headers",
                                        "timestamp", "partition", "name"};
    int number = take_byte(bytes);

    if (number < 6)
        lua_pushstring(L, names[number]);
    else if (number < 250)
        lua_pushinteger(L, number - 5);
    else
        push_text(L, bytes);
}

static void push_table(lua_State *L, struct bytes *bytes, int depth)
{
    int count = take_byte(bytes) % 8;

    lua_newtable(L);
    for (int i = 0; i < count; i++) {
        push_name(L, bytes);
        push_value(L, bytes, depth + 1);
        lua_rawset(L, -3);
    }
}

static void push_value(lua_State *L, struct bytes *bytes, int depth)
{
    double number;
    uint64_t bits;

    switch (take_byte(bytes) % 7) {
    case 0:
        lua_pushnil(L);
        break;
    case 1:
        lua_pushboolean(L, take_byte(bytes) & 1);
        break;
    case 2:
        lua_pushinteger(L, (lua_Integer)take_number(bytes));
        break;
    case 3:
        bits = take_number(bytes);
        memcpy(&number, &bits, sizeof number);
        lua_pushnumber(L, number);
        break;
    case 4:
        if (depth < 4) {
            push_table(L, bytes, depth);
            break;
        }
        /* fall through */
    default:
        push_text(L, bytes);
    }
}

static int check_and_send(lua_State *L)
{
    struct bytes *bytes = lua_touserdata(L, 1);
    uint8_t refuses = take_byte(bytes);
    union {
        uint8_t *ours;
        rd_kafka_t *theirs;
    } handle = {.ours = &refuses};
    int names;
    kh_record record;

    push_value(L, bytes, 0);
    names = kh_record_open(L);
    record = kh_record_check(L, names, 2, "send", refuses >> 1);
    if (record.partition < RD_KAFKA_PARTITION_UA)
        abort();
    (void)kh_record_send(L, names, 2, handle.theirs, "t", record.partition);
    if (lua_gettop(L) != names + 5)
        abort(); /* it leaves the stack as it was */
    return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    lua_State *L = luaL_newstate();
    struct bytes bytes = {.at = data, .left = size};

    if (L == NULL)
        abort();
    lua_pushcfunction(L, check_and_send);
    lua_pushlightuserdata(L, &bytes);
    if (lua_pcall(L, 1, 0, 0) != 0 && strncmp(lua_tostring(L, -1), "send: ", 6) != 0) {
        fprintf(stderr, "%s\n", lua_tostring(L, -1));
        abort();
    }
    lua_close(L);
    return 0;
}
