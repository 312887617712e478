/*
 * kh_access: which of librdkafka's errors say that the brokers refuse this client, and what whoever
 * reads that can do about it. Pure.
 */
#ifndef KH_ACCESS_H
#define KH_ACCESS_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

#pragma GCC visibility push(hidden)

/* Does the error, with librdkafka's words about it, mean that no retry will help? A certificate
 * that is refused hides behind a lost connection: *code is set to what it is. */
bool kh_access_is_refused(rd_kafka_resp_err_t *code, const char *reason);

/* What to do about it; goes on from librdkafka's words. */
const char *kh_access_advise(rd_kafka_resp_err_t code, const char *reason);

#pragma GCC visibility pop
#endif
