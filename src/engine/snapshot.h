/*
 * kh_snapshot: where history ends. Asks the brokers for the first offset, the end and the stable
 * end of partitions, in as few requests as there are leaders.
 *
 * The calls block, so they run on the helper thread, in slices of at most a second. A snapshot is a
 * plain value that the caller owns and frees; it goes to the helper and comes back with the answer.
 *
 * The end is the high watermark, whatever isolation.level the consumer reads with: a transaction
 * that was open at the start was there at the start. librdkafka from 2.10 asks both with the
 * consumer's handle; below, one is opened for the question and closed after it.
 */
#ifndef KH_SNAPSHOT_H
#define KH_SNAPSHOT_H

#include "asker.h"
#include "config.h"
#include "error.h"
#include "helper.h"

#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

typedef struct kh_snapshot_partition {
    int topic; /* index into topics */
    int32_t partition;
    rd_kafka_resp_err_t error; /* why there is no answer for it */
    int32_t leader;            /* the broker that leads it; -1: none, or not asked yet */
    int64_t low;
    int64_t end;     /* the high watermark */
    int64_t stable;  /* where read_committed ends; `end` unless asked for */
    int64_t at_time; /* the first offset at or after the time, if that was asked; -1: none */
} kh_snapshot_partition;

typedef struct kh_snapshot_topic {
    const char *name;          /* the config's */
    rd_kafka_resp_err_t error; /* of its metadata */
    int32_t partition_count;   /* what the brokers say; 0 until asked */
    char id[32];               /* what tells it from one of its name made anew; "": unknown */
    int32_t known_count;       /* partitions below this number are no news: not asked for */
} kh_snapshot_topic;

typedef struct kh_snapshot {
    kh_snapshot_topic *topics;
    int topic_count;
    kh_snapshot_partition *partitions;
    int partition_count;
    bool wants_stable;
    bool wants_ids;      /* of the topics, for which up to a second is waited */
    bool has_controller; /* who is asked for the ids: without one nobody answers */
    bool wants_time;
    int64_t timestamp_ms; /* the time, in Kafka's milliseconds since 1970 */
    bool failed;
    bool refused;   /* by librdkafka, which takes the configuration for no handle to ask with */
    kh_error error; /* when failed */
} kh_snapshot;

/* An empty snapshot of the configured topics; false: out of memory. */
bool kh_snapshot_init(kh_snapshot *snapshot, const kh_config *config);
void kh_snapshot_clear(kh_snapshot *snapshot);

/* Adds a partition to ask about; false: out of memory. */
bool kh_snapshot_add(kh_snapshot *snapshot, int topic, int32_t partition);

/* Asks until every partition of every topic has an answer, with fresh metadata before each try.
 * Fails at the first answer that no retry can change (authorisation), after 10 s without a topic,
 * after start_timeout otherwise. */
void kh_snapshot_take(kh_snapshot *snapshot, const kh_asker *asker, kh_helper *helper);

/* Asks once: metadata of all topics, the ends of the partitions that were added, and of those that
 * came with number known_count and above, which it adds itself. Fails only as a whole when there is
 * no metadata; what a partition has no answer for stands in its error. */
void kh_snapshot_ask(kh_snapshot *snapshot, const kh_asker *asker, kh_helper *helper);

#pragma GCC visibility pop
#endif
