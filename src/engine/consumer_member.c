/*
 * The partitions of a group's member: given, taken away, and where to begin them.
 */
#include "consumer_state.h"

#include "start.h"

#include <errno.h>

/* For how long the snapshot's word on where a partition begins is good enough. */
#define LOW_IS_FRESH_MS 10000

/* Nothing more of it is handled. Where this member was is kept, should it come back. */
static void revoke_place(kh_consumer *c, int index)
{
    kh_place *place = &c->places.all[index];
    kh_catchup_partition p = kh_catchup_get(c->catchup, index);

    if (!place->assigned)
        return;
    kh_consumer_drop_batch(c, index);
    kh_consumer_drop_kept(c, index);
    kh_fetching_drop(&c->fetching, index);
    if (place->parked) {
        place->parked = false;
        c->parked_count--;
        kh_fetching_forget_hold(&c->fetching, index);
    }
    kh_consumer_note_allowed(c, index);
    place->next = kh_place_position(place, p.position, p.taken);
    place->assigned = false;
    place->forgotten = c->forget != NULL;
    if (place->forgotten)
        kh_consumer_forget(c, index);
    kh_consumer_feed(c, &(kh_event){.type = KH_EVENT_REVOKE, .partition = index});
}

/* Makes room for partitions that came after the snapshot. */
static bool know_places(kh_consumer *c, const rd_kafka_topic_partition_list_t *partitions)
{
    bool known = true;

    for (int i = 0; i < partitions->cnt && known; i++) {
        int topic = kh_places_topic_named(&c->places, partitions->elems[i].topic);

        known = topic < 0 || kh_consumer_add_places(c, topic, partitions->elems[i].partition + 1);
    }
    return known;
}

void kh_consumer_on_rebalance(void *opaque, rd_kafka_resp_err_t code,
                              const rd_kafka_topic_partition_list_t *partitions)
{
    kh_consumer *c = opaque;

    if (c->is_group_refused)
        c->refused_count--;
    c->is_group_refused = false;
    /* The whole assignment decides, never a part of it. */
    kh_consumer_feed(c, &(kh_event){.type = KH_EVENT_SETTLED, .settled = false});
    if (!know_places(c, partitions)) {
        kh_error_set_errno(&c->error, ENOMEM, "cannot keep the partitions");
        c->is_hopeless = true;
        kh_consumer_tell_failure(c);
    }
    for (int i = 0; i < partitions->cnt && code == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS; i++) {
        int index =
            kh_places_named(&c->places, partitions->elems[i].topic, partitions->elems[i].partition);

        if (index >= 0)
            revoke_place(c, index);
    }
    kh_group_note(&c->group, code, partitions, kh_clock_ms());
}

/* Where to read an assigned partition from; -1: that is not known yet. */
static int64_t start_of(const kh_consumer *c, const kh_job *job, int index, int at)
{
    const kh_place *place = &c->places.all[index];

    return kh_start_resume(c->settings, place, job->assigned->elems[at].offset,
                           kh_job_low(&job->snapshot, place, kh_catchup_get(c->catchup, index)));
}

static int assigned_at(const kh_consumer *c, int at)
{
    const rd_kafka_topic_partition_t *assigned = &c->group.owed_partitions->elems[at];

    return kh_places_named(&c->places, assigned->topic, assigned->partition);
}

/* Is it known where to begin all of them? If not, there is no leader to tell, perhaps. */
static bool knows_starts(kh_consumer *c, const kh_job *job)
{
    for (int i = 0; i < job->assigned->cnt; i++) {
        int index = assigned_at(c, i);

        if (index < 0 || start_of(c, job, index, i) >= 0)
            continue;
        kh_reports_add_error(&c->reports, RD_KAFKA_RESP_ERR__NO_OFFSET,
                             "the partition waits for an answer about where it begins",
                             kh_places_topic(&c->places, index), c->places.all[index].partition,
                             kh_clock_ms());
        return false;
    }
    return true;
}

static void begin_assigned(kh_consumer *c, const kh_job *job)
{
    for (int i = 0; i < job->assigned->cnt; i++) {
        int index = assigned_at(c, i);
        kh_place *place;

        if (index < 0)
            continue;
        place = &c->places.all[index];
        place->next = start_of(c, job, index, i);
        place->committed = job->assigned->elems[i].offset;
        place->eof = -1;
        c->group.owed_partitions->elems[i].offset = place->next;
        kh_consumer_begin_place(c, index);
    }
}

void kh_consumer_on_assigned(kh_consumer *c, const kh_job *job)
{
    if (c->group.owed != RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
        return;
    if (job->refused) {
        c->error = job->error;
        c->retry_helper_ms = kh_clock_ms() + REFRESH_SOON_MS;
        kh_consumer_tell_failure(c);
        return;
    }
    if (!knows_starts(c, job)) {
        c->retry_helper_ms = kh_clock_ms() + RETRY_HELPER_MS;
        return;
    }
    begin_assigned(c, job);
    kh_group_answer(&c->group, kh_clock_ms());
    if (!c->group.is_eager)
        return;
    c->group.is_settled = true;
    kh_consumer_feed(c, &(kh_event){.type = KH_EVENT_SETTLED, .settled = true});
}

/* Has the group come to rest? That is found out when there is nothing more urgent. */
static void ask_for_rest(kh_consumer *c, int64_t now_ms)
{
    kh_asker to = kh_consumer_asker(c);

    if (!kh_helper_is_busy(c->helper) && now_ms >= c->retry_helper_ms &&
        now_ms >= kh_group_ask_due_ms(&c->group))
        c->group.is_asking = kh_consumer_start_job(c, kh_job_description(&to, c->group.rebalances));
}

static void ask_where_to_begin(kh_consumer *c, int64_t now_ms)
{
    kh_asker to = kh_consumer_asker(c);

    if (c->group.is_asking) /* that is out of date */
        kh_helper_cancel(c->helper);
    if (!kh_helper_is_busy(c->helper) && now_ms >= c->retry_helper_ms)
        (void)kh_consumer_start_job(
            c, kh_job_assignment(&to, &c->places, c->group.owed_partitions,
                                 now_ms - c->snapshot_ms > LOW_IS_FRESH_MS ? NULL : c->catchup));
}

void kh_consumer_serve_group(kh_consumer *c, int64_t now_ms)
{
    kh_group_turn(&c->group, now_ms);
    if (kh_group_must_answer_revoke(&c->group, now_ms))
        kh_group_answer(&c->group, now_ms);
    if (c->group.owed == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS)
        ask_where_to_begin(c, now_ms);
    else
        ask_for_rest(c, now_ms);
}

void kh_consumer_on_described(kh_consumer *c, const kh_job *job)
{
    if (kh_group_described(&c->group, &job->description, job->rebalances, kh_clock_ms()))
        kh_consumer_feed(c, &(kh_event){.type = KH_EVENT_SETTLED, .settled = true});
}

int64_t kh_consumer_group_due_ms(const kh_consumer *c)
{
    int64_t ask_ms =
        c->group.owed == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS ? 0 : kh_group_ask_due_ms(&c->group);

    if (kh_helper_is_busy(c->helper))
        ask_ms = INT64_MAX;
    if (ask_ms < c->retry_helper_ms)
        ask_ms = c->retry_helper_ms;
    return earlier_of(ask_ms, kh_group_due_ms(&c->group));
}

int64_t kh_consumer_commit(kh_consumer *c)
{
    return c->handles != NULL && is_member(c) ? kh_group_commit(&c->group, kh_clock_ms()) : -1;
}

kh_commit_state kh_consumer_commit_state(kh_consumer *c, int64_t number, kh_error *error)
{
    int state;

    if (c->handles == NULL) {
        kh_error_set(error, "CLOSED", "the consumer is closed");
        return KH_COMMIT_FAILED;
    }
    kh_wakeup_drain(kh_handles_answered(c->handles));
    kh_consumer_serve_group(c, kh_clock_ms());
    state = kh_group_commit_state(&c->group, number);
    if (state < 0)
        *error = c->group.commit_error;
    return state < 0 ? KH_COMMIT_FAILED : state > 0 ? KH_COMMIT_DONE : KH_COMMIT_UNDER_WAY;
}

static const kh_wakeup *answered_of(const kh_consumer *c)
{
    return kh_handles_answered(c->handles != NULL ? c->handles : c->closed_handles);
}

int kh_consumer_answer_fd(const kh_consumer *c)
{
    return answered_of(c)->read_fd;
}

int kh_consumer_wait_for_answer(const kh_consumer *c, int timeout_ms)
{
    return kh_wakeup_wait(answered_of(c), timeout_ms);
}

bool kh_consumer_is_member(const kh_consumer *c)
{
    return is_member(c);
}
