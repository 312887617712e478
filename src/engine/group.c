#include "group.h"
#include "clock.h"
#include "handles.h"
#include "library.h"

#include <stdio.h>
#include <stdlib.h>

/* How long the answer to a revoke waits for its commit: the rest of the group waits with it. */
#define REVOKE_COMMIT_MS 3000
/* A commit that a rebalance has overtaken is sent again, for the generation that follows. */
#define COMMIT_AGAIN_MS 50
#define ASK_AGAIN_MS 100
#define ASK_AGAIN_MAX_MS 2000
#define ASK_REFUSED_AGAIN_MS 30000
/* One blocking call of the helper. */
#define SLICE_MS 1000
#define RETRY_MS 100

bool kh_group_join(kh_group *group, kh_error *error)
{
    rd_kafka_topic_partition_list_t *topics =
        rd_kafka_topic_partition_list_new((int)group->settings->topic_count);
    rd_kafka_resp_err_t failed;

    for (size_t i = 0; i < group->settings->topic_count; i++)
        rd_kafka_topic_partition_list_add(topics, group->settings->topics[i],
                                          RD_KAFKA_PARTITION_UA);
    failed = rd_kafka_subscribe(group->rk, topics);
    rd_kafka_topic_partition_list_destroy(topics);
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR)
        kh_error_set_kafka(error, failed, "cannot join the group %s: %s", group->settings->group,
                           rd_kafka_err2str(failed));
    group->has_subscribed = failed == RD_KAFKA_RESP_ERR_NO_ERROR;
    /* Of the others it is told with the first rebalance. */
    group->is_eager = !group->settings->has_consumer_protocol;
    group->ask_pause_ms = ASK_AGAIN_MS;
    return group->has_subscribed;
}

/* --- commits ---------------------------------------------------------------------------------- */

/* One past what was handled, or the end that was reached behind it: then the group has no lag. */
static int64_t position_of(const kh_group *group, int place)
{
    kh_catchup_partition p = kh_catchup_get(group->catchup, place);

    return kh_place_position(&group->places->all[place], p.position, p.taken);
}

/* Never back: what has been committed by anyone was handled by someone. */
static bool is_uncommitted(const kh_group *group, int place)
{
    const kh_place *p = &group->places->all[place];
    int64_t position = position_of(group, place);

    return position > p->committed &&
           (p->eof >= 0 || position > kh_catchup_get(group->catchup, place).start);
}

static void add_uncommitted(const kh_group *group, int place,
                            rd_kafka_topic_partition_list_t **list)
{
    if (!is_uncommitted(group, place))
        return;
    if (*list == NULL)
        *list = rd_kafka_topic_partition_list_new(1);
    rd_kafka_topic_partition_list_add(*list, kh_places_topic(group->places, place),
                                      group->places->all[place].partition)
        ->offset = position_of(group, place);
}

/* Is there a revoke that waits for its commit? */
static bool owes_commit(const kh_group *group)
{
    return group->owed == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS && !group->owed_is_committed &&
           !group->owed_is_lost;
}

static void add_revoked(const kh_group *group, rd_kafka_topic_partition_list_t **list)
{
    for (int i = 0; i < group->owed_partitions->cnt; i++) {
        const rd_kafka_topic_partition_t *revoked = &group->owed_partitions->elems[i];
        int place = kh_places_named(group->places, revoked->topic, revoked->partition);

        if (place >= 0 && group->places->all[place].begun)
            add_uncommitted(group, place, list);
    }
}

static rd_kafka_topic_partition_list_t *uncommitted_of_assigned(const kh_group *group)
{
    rd_kafka_topic_partition_list_t *list = NULL;

    for (int i = 0; i < group->places->count; i++)
        if (group->places->all[i].assigned)
            add_uncommitted(group, i, &list);
    return list;
}

rd_kafka_topic_partition_list_t *kh_group_uncommitted(const kh_group *group)
{
    rd_kafka_topic_partition_list_t *list = uncommitted_of_assigned(group);

    if (owes_commit(group))
        add_revoked(group, &list);
    return list;
}

static bool has_uncommitted(const kh_group *group)
{
    for (int i = 0; i < group->places->count; i++)
        if (group->places->all[i].assigned && is_uncommitted(group, i))
            return true;
    return false;
}

/* Only when there is none under way: one that librdkafka sends again would arrive behind the next,
 * and move the group back. `opaque` tells the answers apart: the group itself, or its `owed`.
 * False: not even asked. */
static bool send_commit(kh_group *group, rd_kafka_topic_partition_list_t *offsets, void *opaque)
{
    rd_kafka_resp_err_t failed =
        rd_kafka_commit_queue(group->rk, offsets, group->answers, NULL, opaque);

    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR)
        kh_reports_add_error(group->reports, failed, "cannot commit offsets", NULL, -1,
                             kh_clock_ms());
    group->is_committing = failed == RD_KAFKA_RESP_ERR_NO_ERROR;
    return group->is_committing;
}

static void set_commit_time(kh_group *group, int64_t now_ms)
{
    int64_t interval_ms = group->settings->commit_interval_ms;

    group->commit_at_ms = interval_ms < INT64_MAX - now_ms ? now_ms + interval_ms : INT64_MAX;
}

/* The commits that the host has asked for are over. */
static void end_commits(kh_group *group, rd_kafka_resp_err_t failed)
{
    group->commit_error.name[0] = '\0';
    if (failed != 0)
        kh_error_set_kafka(&group->commit_error, failed, "the group %s: cannot commit offsets: %s",
                           group->settings->group, rd_kafka_err2str(failed));
    group->done = group->covered;
}

static void commit_all(kh_group *group, int64_t now_ms)
{
    rd_kafka_topic_partition_list_t *list = uncommitted_of_assigned(group);

    set_commit_time(group, now_ms);
    group->covered = group->asked;
    if (list == NULL) {
        end_commits(group, RD_KAFKA_RESP_ERR_NO_ERROR);
        return;
    }
    if (!send_commit(group, list, group))
        end_commits(group, RD_KAFKA_RESP_ERR__STATE);
    rd_kafka_topic_partition_list_destroy(list);
}

/* Before what is revoked is given back. */
static void commit_revoked(kh_group *group)
{
    rd_kafka_topic_partition_list_t *list = NULL;

    add_revoked(group, &list);
    group->owed_is_sent = list != NULL && send_commit(group, list, &group->owed);
    group->owed_is_committed = !group->owed_is_sent;
    if (list != NULL)
        rd_kafka_topic_partition_list_destroy(list);
}

static void commit_if_due(kh_group *group, int64_t now_ms)
{
    if (!group->is_committing && owes_commit(group) && now_ms >= group->owed_again_ms)
        commit_revoked(group);
    if (!group->is_committing &&
        (group->asked > group->covered || (group->is_joined && now_ms >= group->commit_at_ms)))
        commit_all(group, now_ms);
}

int64_t kh_group_commit(kh_group *group, int64_t now_ms)
{
    group->asked++;
    commit_if_due(group, now_ms);
    return group->asked;
}

int kh_group_commit_state(const kh_group *group, int64_t number)
{
    if (group->done < number)
        return 0;
    return group->commit_error.name[0] == '\0' ? 1 : -1;
}

/* The group goes on without this member: what the commit held is handled again, by others. */
static bool is_expelled(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID || (int)code == KH_FENCED_MEMBER_EPOCH;
}

static rd_kafka_resp_err_t note_committed(kh_group *group,
                                          const rd_kafka_topic_partition_list_t *offsets)
{
    rd_kafka_resp_err_t failed = RD_KAFKA_RESP_ERR_NO_ERROR;

    for (int i = 0; i < offsets->cnt; i++) {
        const rd_kafka_topic_partition_t *found = &offsets->elems[i];
        int place = kh_places_named(group->places, found->topic, found->partition);

        if (found->err != 0)
            failed = found->err;
        else if (place >= 0 && found->offset > group->places->all[place].committed)
            group->places->all[place].committed = found->offset;
    }
    return failed;
}

/* Its revoke may have been answered without it, and another one be owed now. */
static void on_commit_of_revoked(kh_group *group, rd_kafka_resp_err_t failed, int64_t now_ms)
{
    if (!group->owed_is_sent)
        return;
    group->owed_is_sent = false;
    group->owed_is_committed = !kh_library_is_overtaken(failed);
    group->owed_is_lost = group->owed_is_lost || is_expelled(failed);
    group->owed_again_ms = now_ms + COMMIT_AGAIN_MS;
}

static void on_commit(kh_group *group, rd_kafka_event_t *event, int64_t now_ms)
{
    const rd_kafka_topic_partition_list_t *offsets = rd_kafka_event_topic_partition_list(event);
    rd_kafka_resp_err_t failed = rd_kafka_event_error(event);

    if (failed == 0 && offsets != NULL)
        failed = note_committed(group, offsets);
    if (failed != 0 && !kh_library_is_overtaken(failed) && !is_expelled(failed)) {
        char text[512];

        snprintf(text, sizeof text, "the group %s: cannot commit offsets: %s",
                 group->settings->group, rd_kafka_err2str(failed));
        kh_reports_add_error(group->reports, failed, text, NULL, -1, now_ms);
    }
    group->is_committing = false;
    if (rd_kafka_event_opaque(event) == &group->owed)
        on_commit_of_revoked(group, failed, now_ms);
    else if (kh_library_is_overtaken(failed))
        group->commit_at_ms = now_ms + COMMIT_AGAIN_MS;
    else
        end_commits(group, failed);
}

/* --- rebalances ------------------------------------------------------------------------------- */

void kh_group_note(kh_group *group, rd_kafka_resp_err_t code,
                   const rd_kafka_topic_partition_list_t *partitions, int64_t now_ms)
{
    if (group->owed_partitions != NULL)
        rd_kafka_topic_partition_list_destroy(group->owed_partitions);
    group->owed = code;
    group->owed_partitions = rd_kafka_topic_partition_list_copy(partitions);
    group->owed_is_lost = rd_kafka_assignment_lost(group->rk) != 0;
    group->owed_is_sent = false;
    group->owed_is_committed = false;
    group->owed_again_ms = now_ms;
    group->owed_until_ms = now_ms + REVOKE_COMMIT_MS;
    group->is_settled = false;
    group->is_eager = kh_handles_is_eager(group->rk);
    group->rebalances++;
    group->fetching->is_bound = true;
    commit_if_due(group, now_ms);
}

void kh_group_note_expelled(kh_group *group)
{
    if (group->owed == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS)
        group->owed_is_lost = true;
}

bool kh_group_must_answer_revoke(const kh_group *group, int64_t now_ms)
{
    return group->owed == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS &&
           (!owes_commit(group) || now_ms >= group->owed_until_ms);
}

static void report_answer(kh_group *group, bool assigned)
{
    kh_report report = kh_report_nowhere;

    report.name = assigned ? "assigned" : "revoked";
    report.partitions = group->owed_partitions;
    report.lost = !assigned && group->owed_is_lost;
    kh_reports_add(group->reports, &report, "the group %s: %d partitions %s%s",
                   group->settings->group, group->owed_partitions->cnt, report.name,
                   report.lost ? ", lost to others before they could be given back" : "");
}

void kh_group_answer(kh_group *group, int64_t now_ms)
{
    bool assigned = group->owed == RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
    rd_kafka_error_t *failed = kh_handles_answer(group->rk, group->owed, group->owed_partitions);

    if (failed != NULL) {
        kh_reports_add_error(group->reports, rd_kafka_error_code(failed),
                             rd_kafka_error_string(failed), NULL, -1, now_ms);
        rd_kafka_error_destroy(failed);
    }
    report_answer(group, assigned);
    group->owed = RD_KAFKA_RESP_ERR_NO_ERROR;
    group->owed_is_sent = false;
    rd_kafka_topic_partition_list_destroy(group->owed_partitions);
    group->owed_partitions = NULL;
    kh_fetching_unbind(group->fetching);
    if (!assigned)
        return;
    if (!group->is_joined)
        set_commit_time(group, now_ms);
    group->is_joined = true;
    group->ask_at_ms = now_ms;
    group->ask_pause_ms = ASK_AGAIN_MS;
}

/* --- at rest? --------------------------------------------------------------------------------- */

/* One that is empty, or has less than its share, may be about to be given more: where an assignment
 * arrives in parts, only the whole group tells. Under the consumer protocol a member that gets
 * nothing does not even hear of that. */
static bool wants_to_know(const kh_group *group)
{
    return !group->is_eager && group->has_subscribed && group->owed == 0 && !group->is_settled &&
           !kh_catchup_is_caught_up(group->catchup);
}

int64_t kh_group_ask_due_ms(const kh_group *group)
{
    return wants_to_know(group) ? group->ask_at_ms : INT64_MAX;
}

static int assigned_count(const kh_group *group)
{
    int count = 0;

    for (int i = 0; i < group->places->count; i++)
        count += group->places->all[i].assigned;
    return count;
}

/* How many of the partitions are among the places; those are marked. */
static int mark_owned(const kh_group *group, const rd_kafka_topic_partition_list_t *list,
                      bool *owned)
{
    int count = 0;

    for (int i = 0; i < list->cnt; i++) {
        int place = kh_places_named(group->places, list->elems[i].topic, list->elems[i].partition);

        if (place < 0)
            continue;
        owned[place] = true;
        count++;
    }
    return count;
}

/* Stable, every partition owned by someone, and this member's share the one that it knows of. */
static bool is_at_rest(const kh_group *group, const kh_description *description)
{
    bool *owned = calloc((size_t)group->places->count + 1, sizeof *owned);
    int mine;
    int all = 0;

    if (owned == NULL)
        return false;
    mine = mark_owned(group, description->mine, owned);
    (void)mark_owned(group, description->others, owned);
    for (int i = 0; i < group->places->count; i++)
        all += owned[i];
    free(owned);
    return description->is_stable && description->is_member && mine == assigned_count(group) &&
           all == group->places->count;
}

/* A member with partitions goes by those; an empty one would signal that it has read nothing. */
static bool on_refused(kh_group *group, rd_kafka_resp_err_t failed, int64_t now_ms)
{
    char text[512];

    if (assigned_count(group) > 0)
        return true;
    snprintf(text, sizeof text,
             "the group %s does not tell whether it has come to rest (%s; it takes DESCRIBE on the "
             "group): without partitions this member cannot know that it has caught up, and waits",
             group->settings->group, rd_kafka_err2str(failed));
    kh_reports_add_error(group->reports, failed, text, NULL, -1, now_ms);
    group->ask_at_ms = now_ms + ASK_REFUSED_AGAIN_MS;
    return false;
}

bool kh_group_described(kh_group *group, const kh_description *description, int rebalances,
                        int64_t now_ms)
{
    rd_kafka_resp_err_t failed = description->error;

    group->is_asking = false;
    /* One that was asked before the last rebalance tells of the group as it was. */
    if (!wants_to_know(group) || rebalances != group->rebalances)
        return false;
    group->ask_at_ms = now_ms + group->ask_pause_ms;
    if (group->ask_pause_ms < ASK_AGAIN_MAX_MS)
        group->ask_pause_ms *= 2;
    if (failed == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED ||
        failed == RD_KAFKA_RESP_ERR__UNSUPPORTED_FEATURE)
        group->is_settled = on_refused(group, failed, now_ms);
    else if (failed == 0)
        group->is_settled = is_at_rest(group, description);
    return group->is_settled;
}

/* --- turns ------------------------------------------------------------------------------------ */

void kh_group_turn(kh_group *group, int64_t now_ms)
{
    rd_kafka_event_t *event;

    while ((event = rd_kafka_queue_poll(group->answers, 0)) != NULL) {
        if (rd_kafka_event_type(event) == RD_KAFKA_EVENT_OFFSET_COMMIT)
            on_commit(group, event, now_ms);
        rd_kafka_event_destroy(event);
    }
    commit_if_due(group, now_ms);
}

int64_t kh_group_due_ms(const kh_group *group)
{
    int64_t due = INT64_MAX;

    if (group->owed == RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS)
        due = owes_commit(group) ? group->owed_until_ms : 0;
    if (owes_commit(group) && !group->is_committing && group->owed_again_ms < due)
        due = group->owed_again_ms;
    if (group->is_joined && !group->is_committing && group->commit_at_ms < due &&
        has_uncommitted(group))
        due = group->commit_at_ms;
    return due;
}

void kh_group_clear(kh_group *group)
{
    if (group->owed_partitions != NULL)
        rd_kafka_topic_partition_list_destroy(group->owed_partitions);
    group->owed_partitions = NULL;
}

/* --- on the helper thread --------------------------------------------------------------------- */

static rd_kafka_resp_err_t ask_once(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions)
{
    rd_kafka_resp_err_t failed;

    for (int i = 0; i < partitions->cnt; i++)
        partitions->elems[i].offset = RD_KAFKA_OFFSET_INVALID;
    failed = rd_kafka_committed(rk, partitions, SLICE_MS);
    for (int i = 0; i < partitions->cnt; i++) {
        if (partitions->elems[i].err != 0)
            failed = partitions->elems[i].err;
        if (partitions->elems[i].offset < 0)
            partitions->elems[i].offset = -1;
    }
    return failed;
}

bool kh_group_ask_committed(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions,
                            kh_helper *helper, kh_error *error)
{
    rd_kafka_resp_err_t failed;

    while ((failed = ask_once(rk, partitions)) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        kh_error_set_kafka(error, failed, "cannot ask for the group's committed offsets: %s",
                           rd_kafka_err2str(failed));
        if (failed == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED ||
            failed == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
            !kh_helper_sleep(helper, RETRY_MS))
            return false;
    }
    return true;
}
