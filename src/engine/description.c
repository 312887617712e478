#include "description.h"
#include "clock.h"

#include <string.h>

#define WAIT_MS 5000
/* How soon the wait notices that it is cancelled. */
#define CANCEL_MS 50
/* No question is left to time out: its handle is gone before. */
#define REQUEST_TIMEOUT_MS 60000

static rd_kafka_event_t *wait_for(rd_kafka_queue_t *queue, kh_helper *helper)
{
    int64_t until_ms = kh_clock_ms() + WAIT_MS;
    rd_kafka_event_t *event = NULL;

    while (event == NULL && kh_clock_ms() < until_ms && !kh_helper_is_cancelled(helper))
        event = rd_kafka_queue_poll(queue, CANCEL_MS);
    return event;
}

static rd_kafka_event_t *ask(rd_kafka_t *rk, const char *group, kh_helper *helper)
{
    char reason[256];
    rd_kafka_queue_t *queue = rd_kafka_queue_new(rk);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(rk, RD_KAFKA_ADMIN_OP_DESCRIBECONSUMERGROUPS);
    rd_kafka_event_t *event;

    (void)rd_kafka_AdminOptions_set_request_timeout(options, REQUEST_TIMEOUT_MS, reason,
                                                    sizeof reason);
    rd_kafka_DescribeConsumerGroups(rk, &group, 1, options, queue);
    rd_kafka_AdminOptions_destroy(options);
    event = wait_for(queue, helper);
    rd_kafka_queue_destroy(queue);
    return event;
}

static void add_owned(rd_kafka_topic_partition_list_t *owned,
                      const rd_kafka_MemberDescription_t *member)
{
    const rd_kafka_MemberAssignment_t *assignment = rd_kafka_MemberDescription_assignment(member);
    const rd_kafka_topic_partition_list_t *list =
        assignment != NULL ? rd_kafka_MemberAssignment_partitions(assignment) : NULL;

    for (int i = 0; list != NULL && i < list->cnt; i++)
        rd_kafka_topic_partition_list_add(owned, list->elems[i].topic, list->elems[i].partition);
}

static void note_members(kh_description *description,
                         const rd_kafka_ConsumerGroupDescription_t *found, const char *me)
{
    size_t count = rd_kafka_ConsumerGroupDescription_member_count(found);

    description->mine = rd_kafka_topic_partition_list_new(0);
    description->others = rd_kafka_topic_partition_list_new(0);
    for (size_t i = 0; i < count; i++) {
        const rd_kafka_MemberDescription_t *member =
            rd_kafka_ConsumerGroupDescription_member(found, i);
        const char *id = rd_kafka_MemberDescription_consumer_id(member);
        bool is_me = me != NULL && id != NULL && strcmp(me, id) == 0;

        add_owned(is_me ? description->mine : description->others, member);
        description->is_member = description->is_member || is_me;
    }
}

static void note_answer(kh_description *description, rd_kafka_event_t *event, const char *me)
{
    const rd_kafka_DescribeConsumerGroups_result_t *result =
        rd_kafka_event_DescribeConsumerGroups_result(event);
    size_t count = 0;
    const rd_kafka_ConsumerGroupDescription_t **found =
        result != NULL ? rd_kafka_DescribeConsumerGroups_result_groups(result, &count) : NULL;
    const rd_kafka_error_t *error =
        count > 0 ? rd_kafka_ConsumerGroupDescription_error(found[0]) : NULL;

    description->error = rd_kafka_event_error(event);
    if (description->error == 0 && error != NULL)
        description->error = rd_kafka_error_code(error);
    if (description->error == 0 && count == 0)
        description->error = RD_KAFKA_RESP_ERR__BAD_MSG;
    if (description->error != 0)
        return;
    description->is_stable =
        rd_kafka_ConsumerGroupDescription_state(found[0]) == RD_KAFKA_CONSUMER_GROUP_STATE_STABLE;
    note_members(description, found[0], me);
}

void kh_description_ask(kh_description *description, const kh_asker *asker, kh_helper *helper)
{
    kh_error error;
    rd_kafka_t *rk = kh_asker_open_handle(asker, &error, NULL);
    rd_kafka_event_t *event;
    char *me;

    *description = (kh_description){.error = RD_KAFKA_RESP_ERR__TIMED_OUT};
    if (rk == NULL) {
        description->error = RD_KAFKA_RESP_ERR__CRIT_SYS_RESOURCE;
        return;
    }
    event = ask(rk, kh_config_settings(asker->config)->group, helper);
    if (event != NULL) {
        me = rd_kafka_memberid(asker->rk);
        note_answer(description, event, me);
        if (me != NULL)
            rd_kafka_mem_free(asker->rk, me);
        rd_kafka_event_destroy(event);
    }
    rd_kafka_destroy(rk);
}

void kh_description_clear(kh_description *description)
{
    if (description->mine != NULL)
        rd_kafka_topic_partition_list_destroy(description->mine);
    if (description->others != NULL)
        rd_kafka_topic_partition_list_destroy(description->others);
    *description = (kh_description){.mine = NULL};
}
