/*
 * kh_group: a consumer's membership in a group: its place in rebalances, the offsets it commits,
 * and whether the group has come to rest.
 *
 * A rebalance is noted where librdkafka calls back, and answered in a later turn: a revoke once the
 * offsets of what is revoked have been committed, or cannot be; an assignment once the consumer
 * knows where to begin, which it has to ask for. librdkafka notes one rebalance at a time and waits
 * for the answer.
 *
 * Offsets are committed by what was handled, never by what was delivered, and never moved back: the
 * next commit waits until the one before has been answered. All of it is asked without waiting;
 * answers come on a queue of their own.
 *
 * Plain data of one owner, on one thread.
 */
#ifndef KH_GROUP_H
#define KH_GROUP_H

#include "catchup.h"
#include "config.h"
#include "description.h"
#include "error.h"
#include "fetching.h"
#include "helper.h"
#include "places.h"
#include "report.h"

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

typedef struct kh_group {
    rd_kafka_t *rk;
    rd_kafka_queue_t *answers;
    const kh_settings *settings;
    kh_places *places;
    const kh_catchup *catchup;
    kh_fetching *fetching;
    kh_reports *reports;

    rd_kafka_resp_err_t owed; /* the rebalance that waits for its answer; 0: none */
    rd_kafka_topic_partition_list_t *owed_partitions;
    bool owed_is_lost;      /* what is revoked belongs to others already */
    bool owed_is_sent;      /* its commit is under way */
    bool owed_is_committed; /* or is not going to be */
    int64_t owed_again_ms;  /* not before is its commit to be sent */
    int64_t owed_until_ms;  /* the commit before a revoke is waited for until then */

    int64_t commit_at_ms;
    bool is_committing;           /* one at a time, whatever it is for */
    int64_t asked, covered, done; /* commits asked for by the host: in all, under way, over */
    kh_error commit_error;        /* of the last one; name "": none */

    bool has_subscribed;
    bool is_eager;   /* one member's assignment arrives whole */
    bool is_joined;  /* an assignment has been answered */
    bool is_settled; /* the whole assignment is known: it is at rest */
    int rebalances;  /* tells an answer from one that came too late */
    bool is_asking;  /* whether it is at rest */
    int64_t ask_at_ms;
    int64_t ask_pause_ms;
} kh_group;

/* Subscribes to the configured topics. */
bool kh_group_join(kh_group *group, kh_error *error);

/* From inside librdkafka's callback. What is revoked must not be handled any further. */
void kh_group_note(kh_group *group, rd_kafka_resp_err_t code,
                   const rd_kafka_topic_partition_list_t *partitions, int64_t now_ms);

/* The member was taken for dead: what is being revoked others have already. */
void kh_group_note_expelled(kh_group *group);

/* Takes answers in, commits what is due. */
void kh_group_turn(kh_group *group, int64_t now_ms);

/* Is there a revoke whose answer waits for nothing any more? */
bool kh_group_must_answer_revoke(const kh_group *group, int64_t now_ms);

/* Tells librdkafka: an assignment with the offsets in owed_partitions. */
void kh_group_answer(kh_group *group, int64_t now_ms);

/* When a turn is due; INT64_MAX: never. */
int64_t kh_group_due_ms(const kh_group *group);

/* When the coordinator is to be asked whether the group has come to rest, unless it is being asked;
 * INT64_MAX: never. */
int64_t kh_group_ask_due_ms(const kh_group *group);

/* What it said; `rebalances` as it was when it was asked. True: the group has come to rest. */
bool kh_group_described(kh_group *group, const kh_description *description, int rebalances,
                        int64_t now_ms);

/* Commits what has been handled; returns a number to ask with. */
int64_t kh_group_commit(kh_group *group, int64_t now_ms);

/* 0: under way; 1: committed; -1: it failed, commit_error says why. */
int kh_group_commit_state(const kh_group *group, int64_t number);

/* What has been handled and not been committed, of what is revoked just now as well; NULL: nothing.
 * The caller's. */
rd_kafka_topic_partition_list_t *kh_group_uncommitted(const kh_group *group);

/* On the helper thread: fills in the offsets that the group has committed, or -1. Asks until there
 * is an answer; false with the error filled in: there will be none. */
bool kh_group_ask_committed(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions,
                            kh_helper *helper, kh_error *error);

/* Frees what is still owed, unless it was taken. */
void kh_group_clear(kh_group *group);

#pragma GCC visibility pop
#endif
