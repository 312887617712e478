/*
 * kh_description: what a group's coordinator says about the group: whether it has come to rest, and
 * who owns what (DescribeConsumerGroups).
 *
 * Asked on the helper thread, with a handle for the one question: on the consumer's own, librdkafka
 * (2.12.1, 2.16.0) leaves a question for ever without an answer whose coordinator goes away, also
 * when that is back, and ends the process by an assertion when the question times out meanwhile.
 *
 * A plain value of whoever made it.
 */
#ifndef KH_DESCRIPTION_H
#define KH_DESCRIPTION_H

#include "asker.h"
#include "helper.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>

#pragma GCC visibility push(hidden)

typedef struct kh_description {
    rd_kafka_resp_err_t error; /* why there is no answer; the rest is empty then */
    bool is_stable;
    bool is_member;                          /* the consumer that asked is one of the members */
    rd_kafka_topic_partition_list_t *mine;   /* what that one owns, by the coordinator's word */
    rd_kafka_topic_partition_list_t *others; /* what the others do */
} kh_description;

/* Asks once, for a few seconds at most, and less when the helper is cancelled. */
void kh_description_ask(kh_description *description, const kh_asker *asker, kh_helper *helper);

void kh_description_clear(kh_description *description);

#pragma GCC visibility pop
#endif
