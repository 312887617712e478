/*
 * What the in-process broker and the producer share: a Lua table that describes a message, and the
 * librdkafka producer handle that sends it.
 *
 * A record is a plain table { key=, value=, headers={ { name=, value= }, ... }, timestamp=,
 * partition= } or a string (its value). It is read with raw access only, so that between the check
 * (which raises) and the sending (which must not: librdkafka's objects would leak) no metamethod
 * can change it.
 *
 * A client lives on the heap and not in its userdata: it is ended on a thread of its own, which may
 * outlive the userdata. Until then only the thread of its lua_State uses it, and the callbacks of
 * librdkafka run there too, while it polls or flushes.
 */
#ifndef KH_RECORDS_H
#define KH_RECORDS_H

#include "binding.h"

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/* Pushes "a number (42)", "a table", ...: what was given, for an error's text. */
const char *kh_push_given(lua_State *L, int index);

/* Raises unless the argument is a number of seconds (0 or more, math.huge allowed); nil is
 * `otherwise_s`. In milliseconds, at most INT_MAX. */
int kh_check_seconds(lua_State *L, int index, const char *what, double otherwise_s);

/* The clock of every deadline here, in milliseconds. */
int64_t kh_now_ms(void);

/* Milliseconds until then, never negative. */
int kh_remaining_ms(int64_t deadline_ms);

/* Is it a topic's name as Kafka allows it: 1 to 249 of a-z A-Z 0-9 . _ -, but not "." and ".."? */
bool kh_is_topic_name(lua_State *L, int index);

typedef struct kh_record {
    bool has_key;
    int32_t partition; /* RD_KAFKA_PARTITION_UA: not given */
    size_t bytes;      /* not less than its uncompressed size within a batch */
} kh_record;

/* Pushes the names of the fields, which kh_record_check and kh_record_send compare with: neither
 * creates a string. Returns the index of the first, to be handed to them. */
int kh_record_open(lua_State *L);

/* Raises unless the value at `index` is a message. `function` and `number` (0: the only one) tell
 * the caller's user which one is wrong. */
kh_record kh_record_check(lua_State *L, int names, int index, const char *function,
                          lua_Integer number);

/* Hands a checked message to librdkafka, which copies it. Never raises. */
rd_kafka_resp_err_t kh_record_send(lua_State *L, int names, int index, rd_kafka_t *rk,
                                   const char *topic, int32_t partition);

typedef struct kh_client {
    rd_kafka_t *rk;
    bool in_transaction;
    size_t delivered; /* since the last kh_client_reset */
    size_t failed;
    kh_error failure;       /* the first one */
    char last_event[512];   /* what librdkafka's last error event said, "" after a delivery */
    atomic_size_t produced; /* bytes of all Produce requests sent, framing included */
} kh_client;

/* Opens a producer handle that reports everything to the client and nothing to stderr; `produced`
 * is kept only when it counts. Takes over conf, also when it fails: NULL with the error filled in.
 */
kh_client *kh_client_open(rd_kafka_conf_t *conf, bool counts, kh_error *error);

/* Forgets deliveries and failures. */
void kh_client_reset(kh_client *client);

/* librdkafka's last word as an end of a sentence: "; librdkafka says: ...", or "". Written to
 * `text`, which is returned. */
const char *kh_client_last_word(const kh_client *client, char *text, size_t size);

/* Ends the client on a thread of its own: delivers for at most flush_ms (an open transaction is
 * aborted instead), then destroys the handle. Waits for it for at most wait_ms. */
void kh_client_close(kh_client *client, int flush_ms, int wait_ms);

#pragma GCC visibility pop
#endif
