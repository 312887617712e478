/*
 * kh_job: what the helper thread is asked to find out for a consumer.
 *
 * A job is made by its owner, done on the helper thread, and comes back with the answer inside.
 */
#ifndef KH_JOB_H
#define KH_JOB_H

#include "catchup.h"
#include "description.h"
#include "helper.h"
#include "places.h"
#include "snapshot.h"

#include <librdkafka/rdkafka.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

typedef enum kh_job_kind {
    KH_JOB_START,      /* where the history of every partition begins and ends */
    KH_JOB_ASK,        /* the ends of some partitions, and what is new about the topics */
    KH_JOB_ASSIGNMENT, /* where to begin the partitions that a group has given */
    KH_JOB_DESCRIPTION /* whether the group has come to rest */
} kh_job_kind;

typedef struct kh_job {
    kh_job_kind kind;
    kh_asker asker;
    kh_snapshot snapshot;
    rd_kafka_topic_partition_list_t *assigned; /* with what the group has committed, or -1 */
    bool refused; /* the group does not tell what it has committed: see error */
    kh_error error;
    kh_description description;
    int rebalances; /* as many as there had been when the group was asked about */
} kh_job;

/* Each returns NULL when memory is lacking. */
kh_job *kh_job_start(const kh_asker *asker);

/* About the places that are marked with `ask`. */
kh_job *kh_job_question(const kh_asker *asker, const kh_places *places);

/* `fresh` knows where partitions began a moment ago; NULL: that is asked for again. */
kh_job *kh_job_assignment(const kh_asker *asker, const kh_places *places,
                          const rd_kafka_topic_partition_list_t *assigned, const kh_catchup *fresh);

kh_job *kh_job_description(const kh_asker *asker, int rebalances);

/* Where the place's log begins: as just asked, or as it was at the start; -1: unknown. */
int64_t kh_job_low(const kh_snapshot *asked, const kh_place *place, kh_catchup_partition known);

/* On the helper's thread; takes a kh_job. */
void kh_job_do(kh_helper *helper, void *job);
void kh_job_free(void *job);

#pragma GCC visibility pop
#endif
