#include "library.h"
#include "near.h"

#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Newer than the headers of 2.0.2, which this file compiles with: declared weak, so that each is
 * NULL where the library that is loaded lacks it. The numbers are librdkafka's ABI. */
enum { ADMIN_OP_DESCRIBE_TOPICS = 19, ADMIN_OP_LIST_OFFSETS = 21 };
enum { READ_UNCOMMITTED = 0, READ_COMMITTED = 1 };

#if RD_KAFKA_VERSION < 0x020300ff
typedef struct rd_kafka_ListOffsetsResultInfo_s rd_kafka_ListOffsetsResultInfo_t;
typedef rd_kafka_event_t rd_kafka_ListOffsets_result_t;
typedef int rd_kafka_IsolationLevel_t;
typedef struct rd_kafka_TopicCollection_s rd_kafka_TopicCollection_t;
typedef struct rd_kafka_TopicDescription_s rd_kafka_TopicDescription_t;
typedef struct rd_kafka_Uuid_s rd_kafka_Uuid_t;
typedef rd_kafka_event_t rd_kafka_DescribeTopics_result_t;
#endif

/* Where librdkafka is inside this library, only its own can be meant: another one that the host has
 * loaded would be found for what ours lacks. */
#ifdef KH_LIBRDKAFKA_INSIDE
#define WEAK __attribute__((weak, visibility("hidden")))
#else
#define WEAK __attribute__((weak, visibility("default")))
#endif

WEAK void rd_kafka_ListOffsets(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *topic_partitions,
                               const rd_kafka_AdminOptions_t *options, rd_kafka_queue_t *rkqu);
WEAK const rd_kafka_ListOffsets_result_t *rd_kafka_event_ListOffsets_result(rd_kafka_event_t *rkev);
WEAK const rd_kafka_ListOffsetsResultInfo_t **
rd_kafka_ListOffsets_result_infos(const rd_kafka_ListOffsets_result_t *result, size_t *cntp);
WEAK const rd_kafka_topic_partition_t *
rd_kafka_ListOffsetsResultInfo_topic_partition(const rd_kafka_ListOffsetsResultInfo_t *result_info);
WEAK rd_kafka_error_t *rd_kafka_AdminOptions_set_isolation_level(rd_kafka_AdminOptions_t *options,
                                                                 rd_kafka_IsolationLevel_t value);

WEAK void rd_kafka_DescribeTopics(rd_kafka_t *rk, const rd_kafka_TopicCollection_t *topics,
                                  const rd_kafka_AdminOptions_t *options, rd_kafka_queue_t *rkqu);
WEAK rd_kafka_TopicCollection_t *rd_kafka_TopicCollection_of_topic_names(const char **topics,
                                                                         size_t topics_cnt);
WEAK void rd_kafka_TopicCollection_destroy(rd_kafka_TopicCollection_t *topics);
WEAK const rd_kafka_DescribeTopics_result_t *
rd_kafka_event_DescribeTopics_result(rd_kafka_event_t *rkev);
WEAK const rd_kafka_TopicDescription_t **
rd_kafka_DescribeTopics_result_topics(const rd_kafka_DescribeTopics_result_t *result, size_t *cntp);
WEAK const char *rd_kafka_TopicDescription_name(const rd_kafka_TopicDescription_t *topicdesc);
WEAK const rd_kafka_Uuid_t *
rd_kafka_TopicDescription_topic_id(const rd_kafka_TopicDescription_t *topicdesc);
WEAK const char *rd_kafka_Uuid_base64str(const rd_kafka_Uuid_t *uuid);

/* What a broker that knows no ids (below 2.8) has for one. */
#define NO_TOPIC_ID "AAAAAAAAAAAAAAAAAAAAAA"

/* 0x020d02ff is 2.13.2: major, minor and revision, a byte each. */
static int version(void)
{
    return rd_kafka_version() >> 8;
}

bool kh_library_position_is_exact(void)
{
    return version() < 0x020200 || version() >= 0x020d02;
}

bool kh_library_pulls_batches_safely(void)
{
    return version() >= 0x020100;
}

bool kh_library_is_cooperative(void)
{
    return version() >= 0x020601;
}

bool kh_library_has_consumer_protocol(void)
{
    return version() >= 0x020c00;
}

bool kh_library_is_overtaken(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS ||
           code == RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION || (int)code == KH_STALE_MEMBER_EPOCH;
}

bool kh_library_scram_is_exact(void)
{
    return version() >= 0x020601;
}

bool kh_library_must_drain_partitions(void)
{
    return version() < 0x020100;
}

bool kh_library_finds_new_leaders(void)
{
    return version() >= 0x020a00;
}

bool kh_library_has_property(const char *name)
{
    char value[512];
    size_t size = sizeof value;
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    bool known = rd_kafka_conf_get(conf, name, value, &size) != RD_KAFKA_CONF_UNKNOWN;

    rd_kafka_conf_destroy(conf);
    return known;
}

/* librdkafka's table of all its properties, the caller's to free; NULL: out of memory. A dump of a
 * configuration would lack those without a default, as sasl.password. Not open_memstream(): what
 * the C library has allocated the fast build cannot free. */
static char *write_properties(void)
{
    for (size_t size = 1 << 17;; size *= 2) {
        char *table = calloc(1, size);
        FILE *stream = table != NULL ? fmemopen(table, size - 1, "w") : NULL;

        if (stream != NULL) {
            rd_kafka_conf_properties_show(stream);
            (void)fclose(stream);
            /* Else it may not have been all. */
            if (strlen(table) < size - 1)
                return table;
        }
        free(table);
        if (stream == NULL)
            return NULL;
    }
}

/* A line is "name   | C/P | ..."; there are headings as well. */
void kh_library_suggest_property(const char *name, char *text, size_t size)
{
    char *table = write_properties();
    kh_near near = kh_near_to(name);
    char *next;

    for (char *line = table; line != NULL; line = next) {
        size_t length = strspn(line, "abcdefghijklmnopqrstuvwxyz0123456789._");

        next = strchr(line, '\n');
        if (next != NULL)
            next++;
        if (length == 0 || line[length] != ' ')
            continue;
        line[length] = '\0';
        kh_near_offer(&near, line);
    }
    kh_near_append(&near, text, size);
    free(table);
}

bool kh_library_has_list_offsets(void)
{
    return rd_kafka_ListOffsets != NULL && rd_kafka_AdminOptions_set_isolation_level != NULL;
}

int64_t kh_library_offset_spec(kh_offset_question question, int64_t timestamp_ms)
{
    switch (question) {
    case KH_ASK_LOW:
        return RD_KAFKA_OFFSET_BEGINNING;
    case KH_ASK_TIME:
        return timestamp_ms;
    default:
        return RD_KAFKA_OFFSET_END;
    }
}

void kh_library_list_offsets(rd_kafka_t *rk, rd_kafka_topic_partition_list_t *partitions,
                             int64_t spec, kh_offset_question *question, int timeout_ms,
                             rd_kafka_queue_t *queue)
{
    char reason[256];
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(rk, (rd_kafka_admin_op_t)ADMIN_OP_LIST_OFFSETS);
    rd_kafka_error_t *error = rd_kafka_AdminOptions_set_isolation_level(
        options, *question == KH_ASK_STABLE_END ? READ_COMMITTED : READ_UNCOMMITTED);

    if (error != NULL)
        rd_kafka_error_destroy(error);
    (void)rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, reason, sizeof reason);
    rd_kafka_AdminOptions_set_opaque(options, question);
    for (int i = 0; i < partitions->cnt; i++)
        partitions->elems[i].offset = spec;
    rd_kafka_ListOffsets(rk, partitions, options, queue);
    rd_kafka_AdminOptions_destroy(options);
}

void kh_library_visit_offsets(rd_kafka_event_t *event,
                              void (*visit)(void *opaque, const rd_kafka_topic_partition_t *found),
                              void *opaque)
{
    size_t count = 0;
    const rd_kafka_ListOffsets_result_t *result = rd_kafka_event_ListOffsets_result(event);
    const rd_kafka_ListOffsetsResultInfo_t **infos = NULL;

    if (result != NULL)
        infos = rd_kafka_ListOffsets_result_infos(result, &count);
    for (size_t i = 0; i < count; i++)
        visit(opaque, rd_kafka_ListOffsetsResultInfo_topic_partition(infos[i]));
}

bool kh_library_has_topic_ids(void)
{
    return rd_kafka_DescribeTopics != NULL && rd_kafka_TopicDescription_topic_id != NULL &&
           rd_kafka_Uuid_base64str != NULL;
}

void kh_library_describe_topics(rd_kafka_t *rk, const char **names, size_t count, void *opaque,
                                int timeout_ms, rd_kafka_queue_t *queue)
{
    char reason[256];
    rd_kafka_TopicCollection_t *topics = rd_kafka_TopicCollection_of_topic_names(names, count);
    rd_kafka_AdminOptions_t *options =
        rd_kafka_AdminOptions_new(rk, (rd_kafka_admin_op_t)ADMIN_OP_DESCRIBE_TOPICS);

    (void)rd_kafka_AdminOptions_set_request_timeout(options, timeout_ms, reason, sizeof reason);
    rd_kafka_AdminOptions_set_opaque(options, opaque);
    rd_kafka_DescribeTopics(rk, topics, options, queue);
    rd_kafka_AdminOptions_destroy(options);
    rd_kafka_TopicCollection_destroy(topics);
}

void kh_library_visit_topic_ids(rd_kafka_event_t *event,
                                void (*visit)(void *opaque, const char *name, const char *id),
                                void *opaque)
{
    size_t count = 0;
    const rd_kafka_DescribeTopics_result_t *result = rd_kafka_event_DescribeTopics_result(event);
    const rd_kafka_TopicDescription_t **topics = NULL;

    if (result != NULL)
        topics = rd_kafka_DescribeTopics_result_topics(result, &count);
    for (size_t i = 0; i < count; i++) {
        const rd_kafka_Uuid_t *uuid = rd_kafka_TopicDescription_topic_id(topics[i]);
        const char *id = uuid != NULL ? rd_kafka_Uuid_base64str(uuid) : NULL;

        if (id != NULL && strncmp(id, NO_TOPIC_ID, sizeof NO_TOPIC_ID - 1) != 0)
            visit(opaque, rd_kafka_TopicDescription_name(topics[i]), id);
    }
}
