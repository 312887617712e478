/*
 * What the helper thread is asked, and what comes of its answers.
 */
#include "consumer_state.h"

#include "library.h"
#include "snapshot.h"
#include "start.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

void kh_consumer_want_answer(kh_consumer *c, int index)
{
    if (!c->places.all[index].ask)
        c->ask_count++;
    c->places.all[index].ask = true;
}

void kh_consumer_refresh_soon(kh_consumer *c, int64_t now_ms)
{
    if (now_ms + REFRESH_SOON_MS < c->refresh_at_ms)
        c->refresh_at_ms = now_ms + REFRESH_SOON_MS;
}

kh_asker kh_consumer_asker(const kh_consumer *c)
{
    return (kh_asker){.config = kh_handles_config(c->handles), .rk = c->rk};
}

bool kh_consumer_start_job(kh_consumer *c, kh_job *job)
{
    if (job != NULL && kh_helper_start(c->helper, kh_job_do, job))
        return true;
    if (job != NULL)
        kh_job_free(job);
    c->retry_helper_ms = kh_clock_ms() + RETRY_HELPER_MS;
    return false;
}

void kh_consumer_start_reading(kh_consumer *c)
{
    kh_asker to = kh_consumer_asker(c);

    if (kh_helper_is_busy(c->helper) || !kh_consumer_start_job(c, kh_job_start(&to)))
        return;
    c->phase = PHASE_STARTING;
    if (c->meter.began_ms < 0)
        c->meter.began_ms = kh_clock_ms();
}

static int64_t next_refresh(const kh_consumer *c, int64_t now_ms)
{
    return c->settings->metadata_refresh_ms == INT64_MAX
               ? INT64_MAX
               : now_ms + c->settings->metadata_refresh_ms;
}

void kh_consumer_ask_if_due(kh_consumer *c, int64_t now_ms)
{
    kh_asker to = kh_consumer_asker(c);

    if (c->phase != PHASE_READING || kh_helper_is_busy(c->helper) ||
        (c->ask_count == 0 && now_ms < c->refresh_at_ms))
        return;
    if (!kh_consumer_start_job(c, kh_job_question(&to, &c->places))) {
        c->refresh_at_ms = c->retry_helper_ms;
        return;
    }
    for (int i = 0; i < c->places.count && c->ask_count > 0; i++)
        c->places.all[i].ask = false;
    c->ask_count = 0;
    c->refresh_at_ms = next_refresh(c, now_ms);
}

bool kh_consumer_add_places(kh_consumer *c, int topic, int32_t count)
{
    int known = c->places.topics[topic].place_count;

    int all = c->places.count + count - known;

    return count <= known || (kh_catchup_reserve(c->catchup, all) &&
                              (c->latest == NULL || kh_latest_reserve(c->latest, all)) &&
                              kh_places_add(&c->places, topic, count));
}

/* A broker has answered that it knows the topics; what is still missing is asked of their leaders,
 * at the addresses that brokers name. */
static bool was_reached(const kh_snapshot *snapshot)
{
    for (int i = 0; i < snapshot->topic_count; i++)
        if (snapshot->topics[i].partition_count > 0)
            return true;
    return false;
}

static void tell_silence(kh_consumer *c, const kh_snapshot *snapshot)
{
    const char *addresses = c->settings->addresses;
    double seconds = (double)c->settings->start_timeout_ms / 1000;

    if (was_reached(snapshot)) {
        kh_error_set(
            &c->error, snapshot->error.name,
            "a broker of %.200s names leaders of the partitions that have not all answered "
            "within %.3g s; check that the addresses which the brokers advertise can be "
            "reached from here",
            addresses, seconds);
        kh_contacts_append_named(&c->contacts, addresses, c->error.text, sizeof c->error.text);
        return;
    }
    kh_error_set(&c->error, snapshot->error.name,
                 "no broker of %.200s answered within %.3g s; check the addresses and that the "
                 "brokers run",
                 addresses, seconds);
    kh_contacts_append(&c->contacts, addresses, c->error.text, sizeof c->error.text);
}

static void tell_start_failure(kh_consumer *c, const kh_snapshot *snapshot)
{
    c->error = snapshot->error;
    if (strcmp(snapshot->error.name, "_TRANSPORT") == 0 ||
        strcmp(snapshot->error.name, "_TIMED_OUT") == 0)
        tell_silence(c, snapshot);
    kh_consumer_fail_start(c);
}

static bool begin_all(kh_consumer *c)
{
    rd_kafka_resp_err_t failed = kh_fetching_begin_all(&c->fetching);

    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR)
        kh_error_set_kafka(&c->error, failed, "cannot read the partitions: %s",
                           rd_kafka_err2str(failed));
    return failed == RD_KAFKA_RESP_ERR_NO_ERROR;
}

static bool take_places(kh_consumer *c, const kh_snapshot *snapshot)
{
    for (int i = 0; i < snapshot->topic_count; i++) {
        if (!kh_consumer_add_places(c, i, snapshot->topics[i].partition_count))
            return false;
        c->places.topics[i].id[0] = '\0';
    }
    return true;
}

static bool place_partition(kh_consumer *c, const kh_snapshot_partition *found)
{
    int index = kh_places_at(&c->places, found->topic, found->partition);
    int64_t target = c->settings->target_is_stable ? found->stable : found->end;

    if (!kh_start_choose(c->settings, found, target, &c->places.all[index].next, &c->error))
        return false;
    kh_consumer_feed(
        c, &(kh_event){
               .type = KH_EVENT_SNAPSHOT, .partition = index, .low = found->low, .target = target});
    return true;
}

void kh_consumer_begin_place(kh_consumer *c, int index)
{
    kh_place *place = &c->places.all[index];

    if (!place->begun)
        kh_handles_keep_queue(c->handles, kh_places_topic(&c->places, index), place->partition);
    place->assigned = true;
    place->begun = true;
    place->forgotten = false;
    place->refused_by = -1;
    kh_consumer_feed_offset(c, KH_EVENT_ASSIGN, index, place->next);
}

/* A member waits for the group to give it partitions. */
static bool begin_reading(kh_consumer *c)
{
    return is_member(c) ? kh_group_join(&c->group, &c->error) : begin_all(c);
}

static void on_started(kh_consumer *c, const kh_snapshot *snapshot)
{
    kh_teller to = kh_consumer_teller(c);
    bool placed;

    if (snapshot->failed) {
        tell_start_failure(c, snapshot);
        return;
    }
    if (!take_places(c, snapshot)) {
        kh_error_set_errno(&c->error, ENOMEM, "cannot keep the partitions");
        kh_consumer_fail_start(c);
        return;
    }
    placed = kh_start_check(c->settings, snapshot, &c->error);
    for (int i = 0; i < snapshot->partition_count && placed; i++)
        placed = place_partition(c, &snapshot->partitions[i]);
    if (!placed || !begin_reading(c)) {
        kh_consumer_fail_start(c);
        return;
    }
    c->phase = PHASE_READING;
    c->snapshot_ms = kh_clock_ms();
    /* The start does not wait for the topics' ids: they are asked for now. */
    c->refresh_at_ms =
        kh_library_has_topic_ids() ? c->snapshot_ms : next_refresh(c, c->snapshot_ms);
    kh_tell_snapshot(&to, c->settings->topic_count);
    if (is_member(c))
        return;
    for (int i = 0; i < c->places.count; i++)
        kh_consumer_begin_place(c, i);
    kh_consumer_feed(c, &(kh_event){.type = KH_EVENT_SETTLED, .settled = true});
}

/* A partition that came after the snapshot: read from its beginning, no part of the history. In a
 * group it is read by the member that gets it. */
static void add_partition(kh_consumer *c, const kh_snapshot_partition *found)
{
    kh_teller to = kh_consumer_teller(c);
    int index;

    if (!kh_consumer_add_places(c, found->topic, found->partition + 1))
        return;
    if (is_member(c))
        return;
    index = kh_places_at(&c->places, found->topic, found->partition);
    c->places.all[index].next = found->low;
    kh_consumer_begin_place(c, index);
    kh_fetching_begin(&c->fetching, index);
    kh_tell_partition_added(&to, index, found->low);
}

/* In their order: one that has no leader yet is asked about again, with those behind it. */
static void note_new_partition(kh_consumer *c, const kh_snapshot_partition *found, int64_t now_ms)
{
    if (found->error == 0 && found->partition == c->places.topics[found->topic].place_count)
        add_partition(c, found);
    else
        kh_consumer_refresh_soon(c, now_ms);
}

static void on_end_unknown(kh_consumer *c, int index, rd_kafka_resp_err_t error, int64_t now_ms)
{
    bool gone = error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;
    bool no_leader = error == RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE ||
                     error == RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION;

    if (gone && c->places.all[index].gone)
        return;
    kh_consumer_feed(c, &(kh_event){.type = KH_EVENT_ERROR,
                                    .partition = index,
                                    .error = gone        ? KH_ASK_GONE
                                             : no_leader ? KH_ASK_NO_LEADER
                                                         : KH_ASK_FAILED,
                                    .now_ms = now_ms});
}

static void on_answer(kh_consumer *c, const kh_snapshot_partition *found, int64_t now_ms)
{
    int index = kh_places_at(&c->places, found->topic, found->partition);

    if (index < 0) {
        note_new_partition(c, found, now_ms);
        return;
    }
    if (found->error != 0) {
        on_end_unknown(c, index, found->error, now_ms);
        return;
    }
    kh_consumer_feed(c, &(kh_event){.type = KH_EVENT_END_IS,
                                    .partition = index,
                                    .low = found->low,
                                    .end = found->end,
                                    .stable = found->stable,
                                    .now_ms = now_ms});
}

/* A topic that its brokers no longer know: all its partitions, asked about or not. */
static void on_missing_topic(kh_consumer *c, int topic_index, int64_t now_ms)
{
    for (int i = 0; i < c->places.topics[topic_index].place_count; i++)
        on_end_unknown(c, c->places.topics[topic_index].places[i],
                       RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART, now_ms);
}

/* A topic whose name is known, but not its id, is another topic: that concerns all its partitions.
 */
static void note_topic_id(kh_consumer *c, int topic_index, const char *id)
{
    kh_topic *topic = &c->places.topics[topic_index];
    bool replaced = topic->id[0] != '\0' && strcmp(topic->id, id) != 0;

    if (id[0] == '\0')
        return;
    snprintf(topic->id, sizeof topic->id, "%s", id);
    for (int i = 0; i < topic->place_count && replaced; i++)
        kh_consumer_feed(c, &(kh_event){.type = KH_EVENT_REPLACED, .partition = topic->places[i]});
}

/* That a position lies outside the log is the leader's to say: a follower may lag (KIP-392), and
 * librdkafka does not always ask the leader before it gives up. Where nobody can say who leads,
 * that is asked again. An answer that is older than the refusal tells nothing about it. */
static void judge_refusal(kh_consumer *c, const kh_snapshot_partition *found, bool is_answer,
                          int64_t now_ms)
{
    int index = kh_places_at(&c->places, found->topic, found->partition);
    kh_place *place = index >= 0 ? &c->places.all[index] : NULL;
    int32_t broker;

    if (place == NULL || !place->assigned || place->refused_by < 0 || place->ask)
        return;
    if (!is_answer || found->leader < 0) {
        kh_consumer_refresh_soon(c, now_ms);
        return;
    }
    broker = place->refused_by;
    place->refused_by = -1;
    if (found->leader == broker)
        kh_consumer_feed_offset(c, KH_EVENT_RESET, index, 0);
    else
        kh_fetching_begin_anew(&c->fetching, index);
}

static void on_asked(kh_consumer *c, const kh_snapshot *snapshot)
{
    int64_t now_ms = kh_clock_ms();

    for (int i = 0; i < snapshot->topic_count && !snapshot->failed; i++)
        note_topic_id(c, i, snapshot->topics[i].id);

    for (int i = 0; i < snapshot->topic_count && !snapshot->failed; i++)
        if (snapshot->topics[i].error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
            on_missing_topic(c, i, now_ms);
    for (int i = 0; i < snapshot->partition_count; i++) {
        const kh_snapshot_partition *found = &snapshot->partitions[i];

        judge_refusal(c, found, !snapshot->failed, now_ms);
        if (snapshot->failed)
            on_end_unknown(c, kh_places_at(&c->places, found->topic, found->partition),
                           RD_KAFKA_RESP_ERR__TRANSPORT, now_ms);
        else if (snapshot->topics[found->topic].error != RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
            on_answer(c, found, now_ms);
    }
}

void kh_consumer_take_answer(kh_consumer *c)
{
    kh_job *job = kh_helper_take(c->helper);

    if (job == NULL)
        return;
    /* Answers to a start that has failed meanwhile have nobody left to ask. */
    if (job->kind == KH_JOB_START && c->phase == PHASE_STARTING)
        on_started(c, &job->snapshot);
    else if (job->kind == KH_JOB_ASK)
        on_asked(c, &job->snapshot);
    else if (job->kind == KH_JOB_ASSIGNMENT)
        kh_consumer_on_assigned(c, job);
    else if (job->kind == KH_JOB_DESCRIPTION)
        kh_consumer_on_described(c, job);
    kh_job_free(job);
}
