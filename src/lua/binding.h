/*
 * What the files of the binding share: how an error reaches Lua, and how a class is made.
 *
 * Each userdata is one file with an opener that leaves its table of functions (or nothing) as its
 * comment says; module.c opens them all. Everything runs on the thread of its lua_State.
 */
#ifndef KH_BINDING_H
#define KH_BINDING_H

#include "compat.h"

#include "../engine/error.h"

#pragma GCC visibility push(hidden)

/* nil, "NAME: text", "NAME": returns 3. */
int kh_push_failure(lua_State *L, const char *name, const char *text);
int kh_push_error(lua_State *L, const kh_error *error);

/* nil, word, CODE for the control words ("timeout", "closed", "cancelled"): returns 3. */
int kh_push_word(lua_State *L, const char *word, const char *code);

/* An argument in seconds as poll(2) takes it, rounded up; negative, or far too many: -1, no end. */
int kh_check_timeout_ms(lua_State *L, int index);

/* An argument in bytes, above 0, or nil: 0, no limit. */
int64_t kh_check_max_bytes(lua_State *L, int index);

/* A loop may have kept an fd that nobody waits for any more; some do until their next turn, and
 * fail in it when the fd was closed meanwhile. The value on top of the stack, which it pops, is a
 * function of this state's to be called with each fd of ours before it may be closed. */
void kh_set_forget(lua_State *L);
void kh_forget_fd(lua_State *L, int fd);

/* Makes the metatable of a class in the registry and leaves it on the stack: __index is a table of
 * the methods (Lua may add to it), __name is the type's name, __metatable stays open. */
void kh_new_class(lua_State *L, const char *type, const luaL_Reg *methods,
                  const luaL_Reg *metamethods);

/* Each pushes the value that core's table gets under its name. */
int kh_open_consumer(
    lua_State *L); /* "consumer": { new = } and the class "kafka_history.consumer" */
int kh_open_message(
    lua_State *L); /* registers the class "kafka_history.message", pushes its methods */
int kh_open_waitable(
    lua_State *L); /* registers the class "kafka_history.waitable", pushes its methods */
int kh_open_broker(lua_State *L); /* "broker": { new = } and the class "kafka_history.broker" */
int kh_open_producer(
    lua_State *L);              /* "producer": { new = } and the class "kafka_history.producer" */
int kh_open_view(lua_State *L); /* "view": { new = } and the class "kafka_history.view" */
int kh_open_doorbell(lua_State *L); /* "doorbell": a function that makes one */
int kh_open_alarm(lua_State *L);    /* "alarm": a function; nil where the system has no such fd */
int kh_open_json(lua_State *L);     /* "escape_json": a function */

#pragma GCC visibility pop
#endif
