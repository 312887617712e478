/* A latch as a Lua userdata: what consumer:caught_up() returns. */
#ifndef KH_WAITABLE_H
#define KH_WAITABLE_H

#include "compat.h"

#include "../engine/latch.h"

#pragma GCC visibility push(hidden)

#define KH_WAITABLE_CLASS "kafka_history.waitable"

/* Pushes a waitable with a reference of its own, in the state that owns the consumer. */
void kh_push_waitable(lua_State *L, kh_latch *latch);

#pragma GCC visibility pop
#endif
