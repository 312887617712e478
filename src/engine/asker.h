/*
 * kh_asker: what the brokers are asked with, on the helper thread.
 */
#ifndef KH_ASKER_H
#define KH_ASKER_H

#include "config.h"
#include "error.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

#pragma GCC visibility push(hidden)

/* The handle is the consumer's; it outlives the helper. */
typedef struct kh_asker {
    const kh_config *config;
    rd_kafka_t *rk;
} kh_asker;

/* A handle for one question, for what the consumer's cannot be asked: it reads as read_uncommitted,
 * is no member of a group and knows nothing of what was before. Its errors are those of the
 * consumer's handle, which reports them. NULL with the error filled in: there is none to be had;
 * *refused (unless NULL): librdkafka takes the configuration for none. The caller's to destroy. */
rd_kafka_t *kh_asker_open_handle(const kh_asker *asker, kh_error *error, bool *refused);

#pragma GCC visibility pop
#endif
