/*
 * The other form a message could have: a plain Lua table, made in C. This builds the binding's
 * consumer with it, everything else the same, so that bench/read.lua can measure form against form.
 */
#include "../src/lua/message.h"

static void push_table(lua_State *L, const rd_kafka_message_t *message, int metatable)
{
    lua_createtable(L, 0, 7);
    for (int field = KH_FIELD_TOPIC; field <= KH_FIELD_VALUE; field++) {
        kh_push_field(L, message, (kh_field)field);
        lua_setfield(L, -2, kh_field_names[field]);
    }
    lua_pushvalue(L, metatable);
    lua_setmetatable(L, -2);
}

#define kh_push_message push_table
#include "../src/lua/consumer.c"
