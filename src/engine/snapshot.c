#include "snapshot.h"
#include "clock.h"
#include "library.h"
#include "near.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* No blocking call takes longer, so that closing never waits for one. */
#define SLICE_MS 1000
/* How soon a wait for answers notices that it is cancelled: closing waits for that. */
#define CANCEL_MS 50
#define RETRY_FIRST_MS 50
#define RETRY_MAX_MS 2000
#define MISSING_TOPIC_MS 10000
#define REQUEST_TIMEOUT_MS 5000

/* --- the value -------------------------------------------------------------------------------- */

bool kh_snapshot_init(kh_snapshot *snapshot, const kh_config *config)
{
    const kh_settings *settings = kh_config_settings(config);

    *snapshot = (kh_snapshot){.topic_count = (int)settings->topic_count};
    snapshot->topics = calloc(settings->topic_count, sizeof *snapshot->topics);
    if (snapshot->topics == NULL)
        return false;
    for (size_t i = 0; i < settings->topic_count; i++)
        snapshot->topics[i].name = settings->topics[i];
    return true;
}

void kh_snapshot_clear(kh_snapshot *snapshot)
{
    free(snapshot->topics);
    free(snapshot->partitions);
    *snapshot = (kh_snapshot){.topics = NULL};
}

bool kh_snapshot_add(kh_snapshot *snapshot, int topic, int32_t partition)
{
    int count = snapshot->partition_count;
    kh_snapshot_partition *grown = snapshot->partitions;

    if ((count & (count - 1)) == 0) { /* full at each power of two */
        grown = realloc(grown, (count == 0 ? 1 : (size_t)count * 2) * sizeof *grown);
        if (grown == NULL)
            return false;
        snapshot->partitions = grown;
    }
    grown[count] = (kh_snapshot_partition){.topic = topic,
                                           .partition = partition,
                                           .error = RD_KAFKA_RESP_ERR__WAIT_COORD,
                                           .leader = -1,
                                           .low = -1,
                                           .end = -1,
                                           .stable = -1,
                                           .at_time = -1};
    snapshot->partition_count = count + 1;
    return true;
}

static bool fail_memory(kh_snapshot *snapshot)
{
    snapshot->failed = true;
    kh_error_set_errno(&snapshot->error, ENOMEM, "cannot keep the ends of the topics");
    return false;
}

/* --- metadata --------------------------------------------------------------------------------- */

static const struct rd_kafka_metadata_topic *find_metadata(const struct rd_kafka_metadata *metadata,
                                                           const char *name)
{
    for (int i = 0; i < metadata->topic_cnt; i++)
        if (strcmp(metadata->topics[i].topic, name) == 0)
            return &metadata->topics[i];
    return NULL;
}

static int32_t find_leader(const struct rd_kafka_metadata_topic *topic, int32_t number,
                           rd_kafka_resp_err_t *error)
{
    for (int i = 0; i < topic->partition_cnt; i++) {
        const struct rd_kafka_metadata_partition *partition = &topic->partitions[i];

        if (partition->id != number)
            continue;
        *error = partition->leader < 0 ? RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE
                                       : RD_KAFKA_RESP_ERR_NO_ERROR;
        return partition->leader;
    }
    *error = RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION;
    return -1;
}

static void note_partition(kh_snapshot_partition *partition, rd_kafka_resp_err_t topic_error,
                           const struct rd_kafka_metadata_topic *found)
{
    partition->error = topic_error;
    partition->leader =
        topic_error == 0 ? find_leader(found, partition->partition, &partition->error) : -1;
}

static bool note_topic(kh_snapshot *snapshot, int index, const struct rd_kafka_metadata *metadata)
{
    kh_snapshot_topic *topic = &snapshot->topics[index];
    const struct rd_kafka_metadata_topic *found = find_metadata(metadata, topic->name);

    topic->error = found == NULL              ? RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
                   : found->err != 0          ? found->err
                   : found->partition_cnt < 1 ? RD_KAFKA_RESP_ERR_LEADER_NOT_AVAILABLE
                                              : RD_KAFKA_RESP_ERR_NO_ERROR;
    topic->partition_count = topic->error == 0 ? found->partition_cnt : 0;
    /* Counted one by one: when memory is lacking halfway, the next try adds none of them twice,
     * which ListOffsets would refuse. */
    for (; topic->known_count < topic->partition_count; topic->known_count++)
        if (!kh_snapshot_add(snapshot, index, topic->known_count))
            return fail_memory(snapshot);
    for (int i = 0; i < snapshot->partition_count; i++)
        if (snapshot->partitions[i].topic == index)
            note_partition(&snapshot->partitions[i], topic->error, found);
    return true;
}

/* Is it one of the brokers? The embedded broker's cluster names one that is not. */
static bool names_controller(rd_kafka_t *rk, const struct rd_kafka_metadata *metadata)
{
    int32_t controller = rd_kafka_controllerid(rk, 0);

    for (int i = 0; i < metadata->broker_cnt; i++)
        if (metadata->brokers[i].id == controller)
            return true;
    return false;
}

/* Asks for the topics that the handle knows, which are the configured ones, in one request. */
static bool ask_metadata(kh_snapshot *snapshot, const kh_asker *asker)
{
    const struct rd_kafka_metadata *metadata = NULL;
    rd_kafka_resp_err_t failed = rd_kafka_metadata(asker->rk, 0, NULL, &metadata, SLICE_MS);
    bool noted = true;

    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR) {
        snapshot->failed = true;
        kh_error_set_kafka(&snapshot->error, failed, "no answer about the topics from %s: %s",
                           kh_config_settings(asker->config)->addresses, rd_kafka_err2str(failed));
        return false;
    }
    for (int i = 0; i < snapshot->topic_count && noted; i++)
        noted = note_topic(snapshot, i, metadata);
    snapshot->has_controller = names_controller(asker->rk, metadata);
    rd_kafka_metadata_destroy(metadata);
    return noted;
}

/* --- the ends --------------------------------------------------------------------------------- */

static rd_kafka_topic_partition_list_t *list_askable(const kh_snapshot *snapshot, int64_t offset)
{
    rd_kafka_topic_partition_list_t *list =
        rd_kafka_topic_partition_list_new(snapshot->partition_count);

    for (int i = 0; i < snapshot->partition_count; i++) {
        const kh_snapshot_partition *partition = &snapshot->partitions[i];

        if (partition->error == 0)
            rd_kafka_topic_partition_list_add(list, snapshot->topics[partition->topic].name,
                                              partition->partition)
                ->offset = offset;
    }
    return list;
}

static kh_snapshot_partition *find_partition(kh_snapshot *snapshot,
                                             const rd_kafka_topic_partition_t *wanted, int *hint)
{
    /* Answers come mostly in the order of the questions. */
    for (int tried = 0; tried < snapshot->partition_count; tried++) {
        int i = (*hint + tried) % snapshot->partition_count;
        kh_snapshot_partition *partition = &snapshot->partitions[i];

        if (partition->partition == wanted->partition &&
            strcmp(snapshot->topics[partition->topic].name, wanted->topic) == 0) {
            *hint = i + 1;
            return partition;
        }
    }
    return NULL;
}

struct answer {
    kh_snapshot *snapshot;
    kh_offset_question question;
    int hint;
};

static void note_offset(void *opaque, const rd_kafka_topic_partition_t *found)
{
    struct answer *answer = opaque;
    kh_snapshot_partition *partition = find_partition(answer->snapshot, found, &answer->hint);

    if (partition == NULL)
        return;
    if (answer->question == KH_ASK_TIME && found->err == 0) {
        partition->at_time = found->offset;
        return;
    }
    /* Of a leader that was not reached librdkafka 2.16 says -1, and no error. */
    if (found->err != 0 || found->offset < 0) {
        partition->error = found->err != 0 ? found->err : RD_KAFKA_RESP_ERR__TIMED_OUT;
        return;
    }
    switch (answer->question) {
    case KH_ASK_LOW:
        partition->low = found->offset;
        break;
    case KH_ASK_END:
        partition->end = found->offset;
        break;
    default:
        partition->stable = found->offset;
        break;
    }
}

static void note_failure(kh_snapshot *snapshot, rd_kafka_resp_err_t failed)
{
    for (int i = 0; i < snapshot->partition_count; i++)
        if (snapshot->partitions[i].error == 0)
            snapshot->partitions[i].error = failed;
}

static int list_questions(const kh_snapshot *snapshot,
                          kh_offset_question questions[KH_OFFSET_QUESTIONS])
{
    int count = 0;

    questions[count++] = KH_ASK_LOW;
    questions[count++] = KH_ASK_END;
    if (snapshot->wants_stable)
        questions[count++] = KH_ASK_STABLE_END;
    if (snapshot->wants_time)
        questions[count++] = KH_ASK_TIME;
    return count;
}

static void note_id(void *opaque, const char *name, const char *id)
{
    kh_snapshot *snapshot = opaque;

    for (int i = 0; i < snapshot->topic_count; i++)
        if (strcmp(snapshot->topics[i].name, name) == 0)
            snprintf(snapshot->topics[i].id, sizeof snapshot->topics[i].id, "%s", id);
}

/* One more question beside those for offsets; its opaque is the snapshot. */
static int ask_ids(kh_snapshot *snapshot, rd_kafka_t *rk, rd_kafka_queue_t *queue)
{
    const char **names;

    if (!snapshot->wants_ids || !snapshot->has_controller || !kh_library_has_topic_ids())
        return 0;
    names = calloc((size_t)snapshot->topic_count, sizeof *names);
    if (names == NULL)
        return 0;
    for (int i = 0; i < snapshot->topic_count; i++)
        names[i] = snapshot->topics[i].name;
    kh_library_describe_topics(rk, names, (size_t)snapshot->topic_count, snapshot, SLICE_MS, queue);
    free(names);
    return 1;
}

/* True: it was an answer about offsets. An id that cannot be had is no failure: it only tells what
 * offsets cannot. */
static bool note_answer(kh_snapshot *snapshot, rd_kafka_event_t *event)
{
    struct answer answer = {.snapshot = snapshot};

    if (rd_kafka_event_opaque(event) == snapshot) {
        if (rd_kafka_event_error(event) == 0)
            kh_library_visit_topic_ids(event, note_id, snapshot);
        return false;
    }
    answer.question = *(const kh_offset_question *)rd_kafka_event_opaque(event);
    if (rd_kafka_event_error(event) != 0)
        note_failure(snapshot, rd_kafka_event_error(event));
    else
        kh_library_visit_offsets(event, note_offset, &answer);
    return true;
}

/* Waits for the answers, in any order. Cancelling cuts the wait for offsets, but never the one for
 * ids, which is over within a slice: librdkafka (seen with 2.16.0) reads a null pointer in
 * rd_kafka_DescribeTopicsResponse_parse when its client is ended while that question is under way.
 */
static void await_answers(kh_snapshot *snapshot, rd_kafka_queue_t *queue, kh_helper *helper,
                          int offsets, int ids)
{
    int64_t until_ms = kh_clock_ms() + REQUEST_TIMEOUT_MS;

    while ((ids > 0 || (offsets > 0 && !kh_helper_is_cancelled(helper))) &&
           kh_clock_ms() < until_ms) {
        rd_kafka_event_t *event = rd_kafka_queue_poll(queue, CANCEL_MS);

        if (event == NULL)
            continue;
        if (note_answer(snapshot, event))
            offsets--;
        else
            ids--;
        rd_kafka_event_destroy(event);
    }
    if (offsets > 0)
        note_failure(snapshot, RD_KAFKA_RESP_ERR__TIMED_OUT);
}

/* All questions at once; those for offsets if there is a partition to ask about. */
static void ask_with_list_offsets(kh_snapshot *snapshot, rd_kafka_t *rk, kh_helper *helper)
{
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_topic_partition_list_t *list = list_askable(snapshot, 0);
    kh_offset_question questions[KH_OFFSET_QUESTIONS];
    int count = list->cnt > 0 ? list_questions(snapshot, questions) : 0;

    for (int i = 0; i < count; i++)
        kh_library_list_offsets(rk, list,
                                kh_library_offset_spec(questions[i], snapshot->timestamp_ms),
                                &questions[i], REQUEST_TIMEOUT_MS, queue);
    await_answers(snapshot, queue, helper, count, ask_ids(snapshot, rk, queue));
    rd_kafka_topic_partition_list_destroy(list);
    rd_kafka_queue_destroy(queue);
}

/* rd_kafka_offsets_for_times passes -1 and -2 on as ListOffsets' end and beginning, and asks with
 * the isolation.level of its handle. One bad partition can fail the whole call and leave -1 and no
 * error in every element: look at what it returns first. */
static void ask_for_times(kh_snapshot *snapshot, rd_kafka_t *rk, kh_offset_question question)
{
    rd_kafka_topic_partition_list_t *list =
        list_askable(snapshot, kh_library_offset_spec(question, snapshot->timestamp_ms));
    struct answer answer = {.snapshot = snapshot, .question = question};
    rd_kafka_resp_err_t failed;

    if (list->cnt > 0) {
        failed = rd_kafka_offsets_for_times(rk, list, SLICE_MS);
        for (int i = 0; i < list->cnt && failed == 0; i++)
            note_offset(&answer, &list->elems[i]);
        if (failed != 0)
            note_failure(snapshot, failed);
    }
    rd_kafka_topic_partition_list_destroy(list);
}

/* The handle keeps a map of its own of who leads which partition, and librdkafka before 2.10 goes
 * on asking the leader of old: NOT_LEADER_FOR_PARTITION for ever, where one has moved since the
 * first try. */
static void refresh_leaders(rd_kafka_t *question_handle)
{
    const struct rd_kafka_metadata *metadata = NULL;

    if (rd_kafka_metadata(question_handle, 0, NULL, &metadata, SLICE_MS) ==
        RD_KAFKA_RESP_ERR_NO_ERROR)
        rd_kafka_metadata_destroy(metadata);
}

static void ask_with_handles(kh_snapshot *snapshot, const kh_asker *asker,
                             rd_kafka_t *question_handle, kh_helper *helper)
{
    kh_offset_question questions[KH_OFFSET_QUESTIONS];
    int count = list_questions(snapshot, questions);

    /* Only the consumer's own handle, which reads committed, sees the stable end. */
    for (int i = 0; i < count && !kh_helper_is_cancelled(helper); i++)
        ask_for_times(snapshot, questions[i] == KH_ASK_STABLE_END ? asker->rk : question_handle,
                      questions[i]);
}

static bool has_askable(const kh_snapshot *snapshot)
{
    for (int i = 0; i < snapshot->partition_count; i++)
        if (snapshot->partitions[i].error == 0)
            return true;
    return false;
}

/* The handle to ask for offsets with: the consumer's where it will do. Below librdkafka 2.3 it does
 * not, as it reads committed, and below 2.10, as it does not find new leaders. NULL: there is none,
 * with the snapshot's error filled in. */
static rd_kafka_t *choose_handle(kh_snapshot *snapshot, const kh_asker *asker,
                                 rd_kafka_t **question_handle)
{
    if (kh_library_has_list_offsets() && kh_library_finds_new_leaders())
        return asker->rk;
    if (*question_handle != NULL)
        refresh_leaders(*question_handle);
    else
        *question_handle = kh_asker_open_handle(asker, &snapshot->error, &snapshot->refused);
    return *question_handle;
}

/* Asks about every partition that metadata has no error for. */
static void ask_once(kh_snapshot *snapshot, const kh_asker *asker, rd_kafka_t **question_handle,
                     kh_helper *helper)
{
    rd_kafka_t *rk = asker->rk;

    snapshot->failed = false;
    if (!ask_metadata(snapshot, asker) || kh_helper_is_cancelled(helper))
        return;
    if (has_askable(snapshot))
        rk = choose_handle(snapshot, asker, question_handle);
    snapshot->failed = rk == NULL;
    if (rk == NULL)
        return;
    if (kh_library_has_list_offsets())
        ask_with_list_offsets(snapshot, rk, helper);
    else
        ask_with_handles(snapshot, asker, rk, helper);
    if (!snapshot->wants_stable)
        for (int i = 0; i < snapshot->partition_count; i++)
            snapshot->partitions[i].stable = snapshot->partitions[i].end;
}

void kh_snapshot_ask(kh_snapshot *snapshot, const kh_asker *asker, kh_helper *helper)
{
    rd_kafka_t *question_handle = NULL;

    ask_once(snapshot, asker, &question_handle, helper);
    if (question_handle != NULL)
        rd_kafka_destroy(question_handle);
}

/* --- until it is complete --------------------------------------------------------------------- */

enum verdict { COMPLETE, AGAIN, HOPELESS };

static bool is_hopeless(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED ||
           code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED ||
           code == RD_KAFKA_RESP_ERR_TOPIC_EXCEPTION;
}

static enum verdict judge_topic(kh_snapshot *snapshot, const kh_snapshot_topic *topic,
                                int64_t waited_ms)
{
    bool missing = topic->error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART;

    if (topic->error == 0)
        return COMPLETE;
    if (topic->error == RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED)
        kh_error_set_kafka(&snapshot->error, topic->error,
                           "topic %s: the broker does not allow this client to look at it; it "
                           "needs DESCRIBE and READ on the topic",
                           topic->name);
    else if (missing)
        kh_error_set_kafka(&snapshot->error, topic->error,
                           "topic %s: the brokers know no such topic (asked for %.3g s); check its "
                           "name, or create it first",
                           topic->name,
                           (double)(waited_ms < MISSING_TOPIC_MS ? waited_ms : MISSING_TOPIC_MS) /
                               1000);
    else
        kh_error_set_kafka(&snapshot->error, topic->error, "topic %s: %s", topic->name,
                           rd_kafka_err2str(topic->error));
    return is_hopeless(topic->error) || (missing && waited_ms >= MISSING_TOPIC_MS) ? HOPELESS
                                                                                   : AGAIN;
}

static enum verdict judge_partition(kh_snapshot *snapshot, const kh_snapshot_partition *partition)
{
    if (partition->error == 0)
        return COMPLETE;
    kh_error_set_kafka(&snapshot->error, partition->error, "topic %s, partition %d: %s",
                       snapshot->topics[partition->topic].name, (int)partition->partition,
                       rd_kafka_err2str(partition->error));
    return is_hopeless(partition->error) ? HOPELESS : AGAIN;
}

static enum verdict judge(kh_snapshot *snapshot, int64_t waited_ms)
{
    enum verdict worst = COMPLETE;

    if (snapshot->failed)
        return snapshot->refused ? HOPELESS : AGAIN;
    for (int i = 0; i < snapshot->topic_count && worst != HOPELESS; i++) {
        enum verdict verdict = judge_topic(snapshot, &snapshot->topics[i], waited_ms);

        worst = verdict > worst ? verdict : worst;
    }
    for (int i = 0; i < snapshot->partition_count && worst == COMPLETE; i++)
        worst = judge_partition(snapshot, &snapshot->partitions[i]);
    return worst;
}

/* The error is about that topic; the brokers are asked for the names of all. */
static void suggest_topics(kh_snapshot *snapshot, const char *missing, const kh_asker *asker)
{
    const struct rd_kafka_metadata *metadata = NULL;
    kh_near near = kh_near_to(missing);

    if (rd_kafka_metadata(asker->rk, 1, NULL, &metadata, SLICE_MS) != RD_KAFKA_RESP_ERR_NO_ERROR)
        return;
    for (int i = 0; i < metadata->topic_cnt; i++)
        if (metadata->topics[i].err == 0)
            kh_near_offer(&near, metadata->topics[i].topic);
    kh_near_append(&near, snapshot->error.text, sizeof snapshot->error.text);
    rd_kafka_metadata_destroy(metadata);
}

/* The topic that the error of a failed snapshot says is missing; NULL: it says something else. */
static const char *find_missing_topic(const kh_snapshot *snapshot)
{
    const char *missing = NULL;
    const char *unknown = rd_kafka_err2name(RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART);

    for (int i = 0; i < snapshot->topic_count && missing == NULL; i++)
        if (snapshot->topics[i].error == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
            missing = snapshot->topics[i].name;
    return strcmp(snapshot->error.name, unknown) == 0 ? missing : NULL;
}

void kh_snapshot_take(kh_snapshot *snapshot, const kh_asker *asker, kh_helper *helper)
{
    int64_t timeout_ms = kh_config_settings(asker->config)->start_timeout_ms;
    int64_t began_ms = kh_clock_ms();
    int pause_ms = RETRY_FIRST_MS;
    rd_kafka_t *question_handle = NULL;
    const char *missing;
    enum verdict verdict;

    for (;;) {
        int64_t waited_ms;

        ask_once(snapshot, asker, &question_handle, helper);
        waited_ms = kh_clock_ms() - began_ms;
        verdict = judge(snapshot, waited_ms);
        if (verdict != AGAIN || waited_ms >= timeout_ms || !kh_helper_sleep(helper, pause_ms))
            break;
        pause_ms = pause_ms * 2 < RETRY_MAX_MS ? pause_ms * 2 : RETRY_MAX_MS;
    }
    snapshot->failed = verdict != COMPLETE;
    missing = snapshot->failed ? find_missing_topic(snapshot) : NULL;
    if (missing != NULL && !kh_helper_is_cancelled(helper))
        suggest_topics(snapshot, missing, asker);
    if (question_handle != NULL)
        rd_kafka_destroy(question_handle);
}
