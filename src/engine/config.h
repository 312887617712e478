/*
 * kh_config: what a consumer is told, checked; and the librdkafka configurations made of it.
 *
 * A config is filled in key by key with the names of the Lua interface, then finished once, then
 * only read. Every mistake is a kh_error "CONFIG" that names the key, what was given and what is
 * allowed. Values of secret properties (passwords, keys) appear in no error. Owned by whoever made
 * it, until a consumer takes it over; one thread at a time while it is being filled in.
 */
#ifndef KH_CONFIG_H
#define KH_CONFIG_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

typedef struct kh_config kh_config;

typedef enum kh_value_type {
    KH_VALUE_BOOLEAN,
    KH_VALUE_NUMBER,
    KH_VALUE_STRING,
    KH_VALUE_STRINGS, /* an array of strings */
    KH_VALUE_OTHER    /* something that no key takes: `string` says what, as in "a table" */
} kh_value_type;

typedef struct kh_value {
    kh_value_type type;
    bool boolean;
    double number;
    const char *string; /* without NUL bytes inside */
    const char *const *strings;
    size_t count; /* of strings */
} kh_value;

/* NULL: out of memory. */
kh_config *kh_config_new(void);
void kh_config_free(kh_config *config);

/* Sets one key. addresses, topics: strings. client_id, version, consumer_group, on_truncation: a
 * string.
 * target: "end" or "stable". from_beginning: a boolean. start_timeout, stall_timeout,
 * commit_interval: seconds. */
bool kh_config_set(kh_config *config, const char *key, const kh_value *value, kh_error *error);

/* Where to start instead of the beginning; one kind only, the last one wins. */
bool kh_config_set_start_timestamp(kh_config *config, double timestamp_ms, kh_error *error);
bool kh_config_set_start_last(kh_config *config, double count, kh_error *error);

/* One partition's offset; may be called for many. What is not named starts at the beginning. */
bool kh_config_set_start_offset(kh_config *config, const char *topic, double partition,
                                double offset, kh_error *error);

/* Sets one librdkafka property of `options`; a number or a boolean is written as librdkafka does.
 */
bool kh_config_set_option(kh_config *config, const char *property, const kh_value *value,
                          kh_error *error);

/* Checks what only the whole shows: missing keys, and every property with librdkafka itself. */
bool kh_config_finish(kh_config *config, kh_error *error);

/* Two kinds of handle read the same brokers. */
typedef enum kh_handle_purpose {
    KH_HANDLE_CONSUMER,
    KH_HANDLE_QUESTION /* asks, for ends as read_uncommitted; no group, no fetching */
} kh_handle_purpose;

/* A librdkafka configuration without callbacks; the caller's. NULL with the error filled in. */
rd_kafka_conf_t *kh_config_make_conf(const kh_config *config, kh_handle_purpose purpose,
                                     kh_error *error);

/* How much of something that librdkafka says may be shown: it redacts its configuration
 * (debug=conf) and quotes it in errors, with more than is good. */
int kh_config_shown_length(const char *text);

typedef enum kh_start_kind {
    KH_START_BEGINNING,
    KH_START_END,       /* as of now: caught up at once */
    KH_START_TIMESTAMP, /* the first message at or after a time */
    KH_START_LAST,      /* the last messages of each partition */
    KH_START_OFFSETS    /* what was given for each partition */
} kh_start_kind;

typedef struct kh_start_offset {
    int topic; /* index into topics */
    int32_t partition;
    int64_t offset;
} kh_start_offset;

/* What the engine itself needs to know. */
typedef struct kh_settings {
    const char *addresses; /* host:port,host:port */
    const char *const *topics;
    size_t topic_count;
    int64_t start_timeout_ms; /* INT64_MAX: never */
    int64_t stall_timeout_ms; /* INT64_MAX: never */
    bool continue_after_truncation;
    const char *sasl_username; /* "" where none is set */
    const char *sasl_password;
    int queued_min_messages;
    int64_t queued_max_bytes;
    int64_t metadata_refresh_ms; /* INT64_MAX: never */
    bool must_poke;              /* no fetch.queue.backoff.ms: fetchers must be woken by hand */
    bool reads_uncommitted;
    bool target_is_stable; /* history ends at the last stable offset, not at the high watermark */
    kh_start_kind start_kind;
    int64_t start_number; /* the timestamp in ms, or how many of the last messages */
    const kh_start_offset *start_offsets;
    size_t start_offset_count;
    const char *group;          /* whose member the consumer is; NULL: standalone */
    bool from_beginning;        /* a member reads what it is given from its beginning once */
    int64_t commit_interval_ms; /* INT64_MAX: never, but when a partition is given back */
    bool is_static; /* a member that keeps its place over a restart: it does not leave */
    bool has_consumer_protocol; /* group.protocol=consumer (KIP-848) */
    int64_t max_poll_ms;        /* a member that takes no step for longer is taken for dead */
} kh_settings;

/* Of a finished config; valid as long as that is. */
const kh_settings *kh_config_settings(const kh_config *config);

#pragma GCC visibility pop
#endif
