/*
 * kh_library: what the librdkafka that is loaded can do, and cannot. The one place that knows
 * versions: everything else asks these questions. Works with 2.0.2 (Debian 12) and newer ones.
 */
#ifndef KH_LIBRARY_H
#define KH_LIBRARY_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/* Is rd_kafka_position free of librdkafka's #4844? From 2.2.0 to 2.13.1 an end-of-partition moves
 * it one past the end, so that an open transaction of one record would look like history read. */
bool kh_library_position_is_exact(void);

/* Does SCRAM answer with the nonce that it was given (#4895)? Before 2.6.1 it puts its own before
 * it once more, which Kafka 4 refuses as wrong credentials. */
bool kh_library_scram_is_exact(void);

/* Does rd_kafka_consume_batch_queue lose nothing when a rebalance comes in the middle of it? Before
 * 2.1 (#4208) it does, as librdkafka pauses the partitions then. */
bool kh_library_pulls_batches_safely(void);

/* Is cooperative-sticky safe? Closing before the first assignment aborts below 2.3 (#4381), and
 * below 2.6.1 the assignor may turn in circles. */
bool kh_library_is_cooperative(void);

/* Is group.protocol=consumer (KIP-848) more than a preview? */
bool kh_library_has_consumer_protocol(void);

/* Does destroying a handle hang after a consumed topic was deleted (below 2.1.0, #4187), unless the
 * partitions' own queues are emptied first? */
bool kh_library_must_drain_partitions(void);

/* Does a handle that has seen its topic deleted find the leaders of one made anew, to ask them for
 * offsets? With 2.5.3 and 2.8.2 each question timed out, for ever; with 2.10.1 none did. */
bool kh_library_finds_new_leaders(void);

/* RD_KAFKA_RESP_ERR__LOG_TRUNCATION of 2.1 and newer: a leader's epoch shows that the log was cut.
 */
enum { KH_LOG_TRUNCATION = -139 };

/* Has a rebalance overtaken a commit? Sent again it may be taken, as of the generation that
 * follows; and there is nothing to tell. */
bool kh_library_is_overtaken(rd_kafka_resp_err_t code);

/* Kafka's errors of the consumer protocol, which headers of 2.3 and older lack. */
enum { KH_FENCED_MEMBER_EPOCH = 110, KH_STALE_MEMBER_EPOCH = 113 };

/* Does the property exist? Asked of librdkafka itself. */
bool kh_library_has_property(const char *name);

/* Appends to the text, in a field of that size, which properties may be meant by a name that is
 * none: see kh_near_append. */
void kh_library_suggest_property(const char *name, char *text, size_t size);

/* Which end of the log ListOffsets is asked for: offsets as ListOffsets takes them. */
typedef enum kh_offset_question {
    KH_ASK_LOW,        /* the first offset */
    KH_ASK_END,        /* the high watermark */
    KH_ASK_STABLE_END, /* the last stable offset */
    KH_ASK_TIME,       /* the first offset at or after a time; -1: there is none */
    KH_OFFSET_QUESTIONS
} kh_offset_question;

/* Can one handle ask for both ends, whatever its isolation.level is (rd_kafka_ListOffsets, 2.3)? */
bool kh_library_has_list_offsets(void);

/* Only where it has: asks for all partitions of the list, one request a leader. The answer arrives
 * on the queue as an event; `question` is its rd_kafka_event_opaque. The offsets of `partitions`
 * are overwritten with `spec`, what ListOffsets is to look for: see kh_library_offset_spec. */
void kh_library_list_offsets(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions,
                             int64_t spec, kh_offset_question *question, int timeout_ms,
                             rd_kafka_queue_t *queue);

/* How ListOffsets, and rd_kafka_offsets_for_times, are asked that. */
int64_t kh_library_offset_spec(kh_offset_question question, int64_t timestamp_ms);

/* Calls visit with each partition of such an answer: its offset, or its error. */
void kh_library_visit_offsets(rd_kafka_event_t *event,
                              void (*visit)(void *opaque, const rd_kafka_topic_partition_t *found),
                              void *opaque);

/* Can it tell topics' ids (rd_kafka_DescribeTopics, 2.3)? */
bool kh_library_has_topic_ids(void);

/* Only where it can: asks for the topics' ids. The answer arrives on the queue as an event with
 * that opaque. */
void kh_library_describe_topics(rd_kafka_t *rk, const char **names, size_t count, void *opaque,
                                int timeout_ms, rd_kafka_queue_t *queue);

/* Calls visit with the name and the id (base64) of each topic of such an answer that has one. */
void kh_library_visit_topic_ids(rd_kafka_event_t *event,
                                void (*visit)(void *opaque, const char *name, const char *id),
                                void *opaque);

#pragma GCC visibility pop
#endif
