/*
 * kafka-admin: topics of a test broker, without the seconds that a JVM takes for each call.
 *
 *   kafka-admin BOOTSTRAP create TOPIC PARTITIONS [REPLICATION] [NAME=VALUE ...]
 *   kafka-admin BOOTSTRAP delete TOPIC ...
 *   kafka-admin BOOTSTRAP partitions TOPIC NEW_TOTAL
 *   kafka-admin BOOTSTRAP delete-records TOPIC PARTITION OFFSET [PARTITION OFFSET ...]
 *   kafka-admin BOOTSTRAP ends TOPIC
 *   kafka-admin BOOTSTRAP config TOPIC NAME=VALUE ...
 *   kafka-admin BOOTSTRAP acl-allow TOPIC|group:GROUP USER OPERATION ...
 *   kafka-admin BOOTSTRAP lead TOPIC PARTITION NODE
 *   kafka-admin BOOTSTRAP committed TOPIC GROUP
 *
 * create, partitions and delete return when the metadata shows the result: every partition with a
 * leader, or the topic gone. delete-records takes -1 for the end. ends prints "partition low high"
 * a line; high is the high watermark, that is the end for read_uncommitted. config keeps the
 * topic's other settings. acl-allow gives a user ("reader", "CN=client") rights on the topic:
 * describe, read, write, ... lead makes a node the leader, which must hold a replica that is in
 * sync; it returns when the metadata shows that, and prints the number of the leader before.
 * committed prints "partition offset" a line for the partitions that the group has committed.
 *
 * Nothing takes longer than some 30 s. Errors go to stderr; the exit status is 0 on success, 1 when
 * it failed, 2 when the command line is not understood.
 */
#include <errno.h>
#include <netdb.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include <librdkafka/rdkafka.h>

enum { TIMEOUT_MS = 30000, POLL_MS = 10 };

typedef struct session {
    rd_kafka_t *client;
    rd_kafka_queue_t *queue;
    rd_kafka_AdminOptions_t *options; /* those of the call under way */
    long long deadline_ms;
} session;

/* The topic and its arguments, after the verb. */
typedef struct argument_list {
    int count;
    char **values;
} argument_list;

typedef struct verb_entry {
    const char *name;
    int arguments_least;
    bool (*run)(session *admin, argument_list arguments);
} verb_entry;

static bool fail(const char *format, ...) __attribute__((format(printf, 1, 2)));

static bool fail(const char *format, ...)
{
    va_list values;

    fputs("kafka-admin: ", stderr);
    va_start(values, format);
    vfprintf(stderr, format, values);
    va_end(values);
    fputc('\n', stderr);
    return false;
}

static long long now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return (long long)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int left_ms(const session *admin)
{
    long long left = admin->deadline_ms - now_ms();

    return left > 0 ? (int)left : 0;
}

static void pause_ms(int duration_ms)
{
    struct timespec duration = {.tv_sec = 0, .tv_nsec = duration_ms * 1000000L};

    nanosleep(&duration, NULL);
}

static bool parse_number(const char *text, long long least, long long most, long long *number)
{
    char *end;

    errno = 0;
    *number = strtoll(text, &end, 10);
    if (errno != 0 || end == text || *end != '\0' || *number < least || *number > most)
        return fail("'%s' is not a number between %lld and %lld", text, least, most);
    return true;
}

static bool parse_partition(const char *text, int32_t *partition)
{
    long long number;

    if (!parse_number(text, 0, 1000000, &number))
        return false;
    *partition = (int32_t)number;
    return true;
}

/* Cuts "name=value" in two; the name stays at the argument. */
static bool split_setting(char *argument, char **value)
{
    char *equals = strchr(argument, '=');

    if (equals == NULL || equals == argument)
        return fail("'%s' is not of the form name=value", argument);
    *equals = '\0';
    *value = equals + 1;
    return true;
}

/* --- calls of the Admin API --------------------------------------------------------------------*/

static const rd_kafka_AdminOptions_t *start_call(session *admin, rd_kafka_admin_op_t operation)
{
    char reason[256];
    int timeout_ms = left_ms(admin) > 1 ? left_ms(admin) : 1;

    if (admin->options != NULL)
        rd_kafka_AdminOptions_destroy(admin->options);
    admin->options = rd_kafka_AdminOptions_new(admin->client, operation);
    if (rd_kafka_AdminOptions_set_request_timeout(admin->options, timeout_ms, reason,
                                                  sizeof(reason)) != RD_KAFKA_RESP_ERR_NO_ERROR)
        fail("the request's timeout: %s", reason);
    return admin->options;
}

/* The result of the call under way, or NULL after saying what went wrong. Only the call as a whole
 * is looked at; each topic has an error of its own. */
static rd_kafka_event_t *await_result(session *admin, const char *what)
{
    rd_kafka_event_t *event = rd_kafka_queue_poll(admin->queue, left_ms(admin) + 1000);

    if (event == NULL) {
        fail("%s: no answer within %d ms", what, TIMEOUT_MS);
        return NULL;
    }
    if (rd_kafka_event_error(event) != RD_KAFKA_RESP_ERR_NO_ERROR) {
        fail("%s: %s", what, rd_kafka_event_error_string(event));
        rd_kafka_event_destroy(event);
        return NULL;
    }
    return event;
}

static bool check_topics(const rd_kafka_topic_result_t **results, size_t count, const char *what)
{
    bool fine = true;

    for (size_t i = 0; i < count; i++) {
        if (rd_kafka_topic_result_error(results[i]) == RD_KAFKA_RESP_ERR_NO_ERROR)
            continue;
        const char *reason = rd_kafka_topic_result_error_string(results[i]);
        fine = fail("%s %s: %s", what, rd_kafka_topic_result_name(results[i]),
                    reason != NULL ? reason
                                   : rd_kafka_err2str(rd_kafka_topic_result_error(results[i])));
    }
    return fine;
}

/* --- metadata ----------------------------------------------------------------------------------*/

/* Always of all topics: asking for one by name could create it. NULL when it cannot be had now. */
static const struct rd_kafka_metadata *get_metadata(session *admin)
{
    const struct rd_kafka_metadata *metadata = NULL;

    if (rd_kafka_metadata(admin->client, 1, NULL, &metadata, left_ms(admin)) !=
        RD_KAFKA_RESP_ERR_NO_ERROR)
        return NULL;
    return metadata;
}

static const struct rd_kafka_metadata_topic *find_topic(const struct rd_kafka_metadata *metadata,
                                                        const char *name)
{
    for (int i = 0; i < metadata->topic_cnt; i++)
        if (strcmp(metadata->topics[i].topic, name) == 0)
            return &metadata->topics[i];
    return NULL;
}

/* The number of partitions if all of them have a leader, 0 if there is no such topic, else -1. */
static int count_partitions(session *admin, const char *name)
{
    const struct rd_kafka_metadata *metadata = get_metadata(admin);
    int count = -1;

    if (metadata == NULL)
        return -1;
    const struct rd_kafka_metadata_topic *topic = find_topic(metadata, name);
    if (topic == NULL) {
        count = 0;
    } else if (topic->err == RD_KAFKA_RESP_ERR_NO_ERROR) {
        count = topic->partition_cnt;
        for (int i = 0; i < topic->partition_cnt; i++)
            if (topic->partitions[i].leader < 0)
                count = -1;
    }
    rd_kafka_metadata_destroy(metadata);
    return count;
}

static bool await_partitions(session *admin, const char *name, int expected)
{
    int count;

    while ((count = count_partitions(admin, name)) != expected) {
        if (left_ms(admin) == 0)
            return fail("%s: the metadata does not show %d partitions within %d ms", name, expected,
                        TIMEOUT_MS);
        pause_ms(POLL_MS);
    }
    return true;
}

/* --- verbs -------------------------------------------------------------------------------------*/

static bool set_new_topic(rd_kafka_NewTopic_t *topic, argument_list settings)
{
    for (int i = 0; i < settings.count; i++) {
        char *value = NULL;
        if (!split_setting(settings.values[i], &value))
            return false;
        rd_kafka_resp_err_t code = rd_kafka_NewTopic_set_config(topic, settings.values[i], value);
        if (code != RD_KAFKA_RESP_ERR_NO_ERROR)
            return fail("setting %s: %s", settings.values[i], rd_kafka_err2str(code));
    }
    return true;
}

static bool send_create(session *admin, rd_kafka_NewTopic_t *topic)
{
    size_t count;

    rd_kafka_CreateTopics(admin->client, &topic, 1,
                          start_call(admin, RD_KAFKA_ADMIN_OP_CREATETOPICS), admin->queue);
    rd_kafka_event_t *event = await_result(admin, "create");
    if (event == NULL)
        return false;
    const rd_kafka_topic_result_t **results =
        rd_kafka_CreateTopics_result_topics(rd_kafka_event_CreateTopics_result(event), &count);
    bool fine = check_topics(results, count, "create");
    rd_kafka_event_destroy(event);
    return fine;
}

static bool run_create(session *admin, argument_list arguments)
{
    const char *name = arguments.values[0];
    long long partitions, replication = -1;
    int used = 2;
    char reason[256];

    if (!parse_number(arguments.values[1], 1, 100000, &partitions))
        return false;
    if (arguments.count > 2 && strchr(arguments.values[2], '=') == NULL) {
        if (!parse_number(arguments.values[2], 1, 1000, &replication))
            return false;
        used = 3;
    }
    rd_kafka_NewTopic_t *topic =
        rd_kafka_NewTopic_new(name, (int)partitions, (int)replication, reason, sizeof(reason));
    if (topic == NULL)
        return fail("create %s: %s", name, reason);
    arguments.count -= used;
    arguments.values += used;
    bool fine = set_new_topic(topic, arguments) && send_create(admin, topic);
    rd_kafka_NewTopic_destroy(topic);
    return fine && await_partitions(admin, name, (int)partitions);
}

static bool delete_one(session *admin, const char *name)
{
    rd_kafka_DeleteTopic_t *topic = rd_kafka_DeleteTopic_new(name);
    size_t count;

    rd_kafka_DeleteTopics(admin->client, &topic, 1,
                          start_call(admin, RD_KAFKA_ADMIN_OP_DELETETOPICS), admin->queue);
    rd_kafka_DeleteTopic_destroy(topic);
    rd_kafka_event_t *event = await_result(admin, "delete");
    if (event == NULL)
        return false;
    const rd_kafka_topic_result_t **results =
        rd_kafka_DeleteTopics_result_topics(rd_kafka_event_DeleteTopics_result(event), &count);
    bool fine = check_topics(results, count, "delete");
    rd_kafka_event_destroy(event);
    return fine && await_partitions(admin, name, 0);
}

static bool run_delete(session *admin, argument_list arguments)
{
    bool fine = true;

    for (int i = 0; i < arguments.count; i++)
        fine = delete_one(admin, arguments.values[i]) && fine;
    return fine;
}

static bool run_partitions(session *admin, argument_list arguments)
{
    const char *name = arguments.values[0];
    long long total;
    char reason[256];
    size_t count;

    if (!parse_number(arguments.values[1], 1, 100000, &total))
        return false;
    rd_kafka_NewPartitions_t *partitions =
        rd_kafka_NewPartitions_new(name, (size_t)total, reason, sizeof(reason));
    if (partitions == NULL)
        return fail("partitions %s: %s", name, reason);
    rd_kafka_CreatePartitions(admin->client, &partitions, 1,
                              start_call(admin, RD_KAFKA_ADMIN_OP_CREATEPARTITIONS), admin->queue);
    rd_kafka_NewPartitions_destroy(partitions);
    rd_kafka_event_t *event = await_result(admin, "partitions");
    if (event == NULL)
        return false;
    const rd_kafka_topic_result_t **results = rd_kafka_CreatePartitions_result_topics(
        rd_kafka_event_CreatePartitions_result(event), &count);
    bool fine = check_topics(results, count, "partitions");
    rd_kafka_event_destroy(event);
    return fine && await_partitions(admin, name, (int)total);
}

static bool send_delete_records(session *admin, const rd_kafka_topic_partition_list_t *offsets)
{
    rd_kafka_DeleteRecords_t *records = rd_kafka_DeleteRecords_new(offsets);
    bool fine = true;

    rd_kafka_DeleteRecords(admin->client, &records, 1,
                           start_call(admin, RD_KAFKA_ADMIN_OP_DELETERECORDS), admin->queue);
    rd_kafka_DeleteRecords_destroy(records);
    rd_kafka_event_t *event = await_result(admin, "delete-records");
    if (event == NULL)
        return false;
    const rd_kafka_topic_partition_list_t *results =
        rd_kafka_DeleteRecords_result_offsets(rd_kafka_event_DeleteRecords_result(event));
    for (int i = 0; i < results->cnt; i++) {
        const rd_kafka_topic_partition_t *result = &results->elems[i];
        if (result->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            fine = fail("delete-records %s [%d]: %s", result->topic, (int)result->partition,
                        rd_kafka_err2str(result->err));
    }
    rd_kafka_event_destroy(event);
    return fine;
}

static bool run_delete_records(session *admin, argument_list arguments)
{
    rd_kafka_topic_partition_list_t *offsets;
    bool fine = true;

    if (arguments.count % 2 == 0)
        return fail("delete-records: partition %s has no offset",
                    arguments.values[arguments.count - 1]);
    offsets = rd_kafka_topic_partition_list_new(arguments.count / 2);
    for (int i = 1; fine && i < arguments.count; i += 2) {
        int32_t partition;
        long long offset;
        fine = parse_partition(arguments.values[i], &partition) &&
               parse_number(arguments.values[i + 1], RD_KAFKA_OFFSET_END, INT64_MAX, &offset);
        if (fine)
            rd_kafka_topic_partition_list_add(offsets, arguments.values[0], partition)->offset =
                offset;
    }
    fine = fine && send_delete_records(admin, offsets);
    rd_kafka_topic_partition_list_destroy(offsets);
    return fine;
}

/* Asked again until the deadline: right after an election the leader may not know its role yet. */
static bool print_ends(session *admin, const char *name, int32_t partition)
{
    int64_t low, high;
    rd_kafka_resp_err_t code;

    while ((code = rd_kafka_query_watermark_offsets(admin->client, name, partition, &low, &high,
                                                    left_ms(admin))) !=
           RD_KAFKA_RESP_ERR_NO_ERROR) {
        if (left_ms(admin) == 0)
            return fail("ends %s [%d]: %s", name, (int)partition, rd_kafka_err2str(code));
        pause_ms(POLL_MS);
    }
    printf("%d %lld %lld\n", (int)partition, (long long)low, (long long)high);
    return true;
}

static bool run_ends(session *admin, argument_list arguments)
{
    const char *name = arguments.values[0];
    int count;

    while ((count = count_partitions(admin, name)) < 0) {
        if (left_ms(admin) == 0)
            return fail("ends %s: no metadata with a leader for every partition within %d ms", name,
                        TIMEOUT_MS);
        pause_ms(POLL_MS);
    }
    if (count == 0)
        return fail("ends %s: there is no such topic", name);
    for (int32_t partition = 0; partition < count; partition++)
        if (!print_ends(admin, name, partition))
            return false;
    return true;
}

/* Copies a setting that was made on the topic itself, unless it is among the new ones: the broker
 * refuses a name that comes twice. */
static void copy_setting(rd_kafka_ConfigResource_t *target, const rd_kafka_ConfigEntry_t *entry,
                         argument_list new_names)
{
    const char *name = rd_kafka_ConfigEntry_name(entry);

    if (rd_kafka_ConfigEntry_source(entry) != RD_KAFKA_CONFIG_SOURCE_DYNAMIC_TOPIC_CONFIG)
        return;
    for (int i = 0; i < new_names.count; i++)
        if (strcmp(new_names.values[i], name) == 0)
            return;
    rd_kafka_ConfigResource_set_config(target, name, rd_kafka_ConfigEntry_value(entry));
}

static bool copy_settings(session *admin, rd_kafka_ConfigResource_t *target,
                          argument_list new_names)
{
    const char *name = rd_kafka_ConfigResource_name(target);
    rd_kafka_ConfigResource_t *question =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, name);
    size_t count, entry_count;
    bool fine = true;

    rd_kafka_DescribeConfigs(admin->client, &question, 1,
                             start_call(admin, RD_KAFKA_ADMIN_OP_DESCRIBECONFIGS), admin->queue);
    rd_kafka_ConfigResource_destroy(question);
    rd_kafka_event_t *event = await_result(admin, "config");
    if (event == NULL)
        return false;
    const rd_kafka_ConfigResource_t **answers = rd_kafka_DescribeConfigs_result_resources(
        rd_kafka_event_DescribeConfigs_result(event), &count);
    for (size_t i = 0; i < count; i++) {
        if (rd_kafka_ConfigResource_error(answers[i]) != RD_KAFKA_RESP_ERR_NO_ERROR) {
            fine = fail("config %s: %s", name, rd_kafka_ConfigResource_error_string(answers[i]));
            continue;
        }
        const rd_kafka_ConfigEntry_t **entries =
            rd_kafka_ConfigResource_configs(answers[i], &entry_count);
        for (size_t j = 0; j < entry_count; j++)
            copy_setting(target, entries[j], new_names);
    }
    rd_kafka_event_destroy(event);
    return fine;
}

static bool send_config(session *admin, rd_kafka_ConfigResource_t *target)
{
    size_t count;
    bool fine = true;

    rd_kafka_AlterConfigs(admin->client, &target, 1,
                          start_call(admin, RD_KAFKA_ADMIN_OP_ALTERCONFIGS), admin->queue);
    rd_kafka_event_t *event = await_result(admin, "config");
    if (event == NULL)
        return false;
    const rd_kafka_ConfigResource_t **answers =
        rd_kafka_AlterConfigs_result_resources(rd_kafka_event_AlterConfigs_result(event), &count);
    for (size_t i = 0; i < count; i++)
        if (rd_kafka_ConfigResource_error(answers[i]) != RD_KAFKA_RESP_ERR_NO_ERROR)
            fine = fail("config %s: %s", rd_kafka_ConfigResource_name(answers[i]),
                        rd_kafka_ConfigResource_error_string(answers[i]));
    rd_kafka_event_destroy(event);
    return fine;
}

/* AlterConfigs replaces all settings of the topic; the call that changes single ones came with
 * librdkafka 2.2 only. So the present ones are read first and sent along. */
static bool run_config(session *admin, argument_list arguments)
{
    rd_kafka_ConfigResource_t *target =
        rd_kafka_ConfigResource_new(RD_KAFKA_RESOURCE_TOPIC, arguments.values[0]);
    argument_list settings = {.count = arguments.count - 1, .values = arguments.values + 1};
    bool fine = true;

    for (int i = 0; fine && i < settings.count; i++) {
        char *value = NULL;
        fine = split_setting(settings.values[i], &value);
        if (fine)
            rd_kafka_ConfigResource_set_config(target, settings.values[i], value);
    }
    fine = fine && copy_settings(admin, target, settings);
    fine = fine && send_config(admin, target);
    rd_kafka_ConfigResource_destroy(target);
    return fine;
}

/* The names as librdkafka writes them ("DescribeConfigs"), in any case. */
static bool parse_operation(const char *text, rd_kafka_AclOperation_t *operation)
{
    for (int i = RD_KAFKA_ACL_OPERATION_ALL; i < RD_KAFKA_ACL_OPERATION__CNT; i++) {
        *operation = (rd_kafka_AclOperation_t)i;
        if (strcasecmp(rd_kafka_AclOperation_name(*operation), text) == 0)
            return true;
    }
    return fail("'%s' is no operation that an ACL allows", text);
}

static bool check_acls(const rd_kafka_acl_result_t **results, size_t count)
{
    bool fine = true;

    for (size_t i = 0; i < count; i++) {
        const rd_kafka_error_t *error = rd_kafka_acl_result_error(results[i]);
        if (error != NULL)
            fine = fail("acl-allow: %s", rd_kafka_error_string(error));
    }
    return fine;
}

static bool allow(session *admin, const char *name, const char *principal,
                  rd_kafka_AclOperation_t operation)
{
    static const char group[] = "group:"; /* no topic has a colon in its name */
    bool is_group = strncmp(name, group, sizeof(group) - 1) == 0;
    char reason[256];
    size_t count;
    rd_kafka_AclBinding_t *binding = rd_kafka_AclBinding_new(
        is_group ? RD_KAFKA_RESOURCE_GROUP : RD_KAFKA_RESOURCE_TOPIC,
        is_group ? name + sizeof(group) - 1 : name, RD_KAFKA_RESOURCE_PATTERN_LITERAL, principal,
        "*", operation, RD_KAFKA_ACL_PERMISSION_TYPE_ALLOW, reason, sizeof(reason));

    if (binding == NULL)
        return fail("acl-allow %s: %s", name, reason);
    rd_kafka_CreateAcls(admin->client, &binding, 1, start_call(admin, RD_KAFKA_ADMIN_OP_CREATEACLS),
                        admin->queue);
    rd_kafka_AclBinding_destroy(binding);
    rd_kafka_event_t *event = await_result(admin, "acl-allow");
    if (event == NULL)
        return false;
    const rd_kafka_acl_result_t **results =
        rd_kafka_CreateAcls_result_acls(rd_kafka_event_CreateAcls_result(event), &count);
    bool fine = check_acls(results, count);
    rd_kafka_event_destroy(event);
    return fine;
}

static bool run_acl_allow(session *admin, argument_list arguments)
{
    char principal[256];
    bool fine = true;

    snprintf(principal, sizeof(principal), "User:%s", arguments.values[1]);
    for (int i = 2; fine && i < arguments.count; i++) {
        rd_kafka_AclOperation_t operation;
        fine = parse_operation(arguments.values[i], &operation) &&
               allow(admin, arguments.values[0], principal, operation);
    }
    return fine;
}

/* --- requests that not every librdkafka has a call for
 * ----------------------------------------------*/

enum { REPLICAS_MAX = 16, REQUEST_TIMEOUT_MS = 5000, ELECT_LEADERS = 43, REASSIGN = 45 };

/* A request of Kafka's protocol, without the length that goes before it. */
typedef struct request {
    unsigned char bytes[1024];
    size_t length;
} request;

/* A partition as the metadata shows it, and where the node answers that is to lead it. */
typedef struct leadership {
    const char *topic;
    int32_t partition, node, leader;
    int32_t replicas[REPLICAS_MAX];
    int replica_count;
    char host[256], port[16];
} leadership;

static void put(request *to, long long number, int width)
{
    while (width-- > 0)
        to->bytes[to->length++] = (unsigned char)(number >> (8 * width) & 255);
}

static void put_text(request *to, const char *text)
{
    while (*text != '\0')
        to->bytes[to->length++] = (unsigned char)*text++;
}

static void put_header(request *to, int key)
{
    put(to, key, 2);
    put(to, 0, 2);  /* version */
    put(to, 1, 4);  /* correlation id */
    put(to, -1, 2); /* no client id */
}

/* Lengths of the compact form are one more than they are, in seven bits a byte. */
static void put_compact_length(request *to, size_t length)
{
    for (length++; length > 127; length >>= 7)
        put(to, (long long)(length & 127) | 128, 1);
    put(to, (long long)length, 1);
}

/* The same replicas, with the node at the head: it is the preferred one from now on. */
static void make_reassignment(request *to, const leadership *wanted)
{
    put_header(to, REASSIGN);
    put(to, 0, 1); /* no tagged fields, here and at the end of all parts */
    put(to, REQUEST_TIMEOUT_MS, 4);
    put_compact_length(to, 1);
    put_compact_length(to, strlen(wanted->topic));
    put_text(to, wanted->topic);
    put_compact_length(to, 1);
    put(to, wanted->partition, 4);
    put_compact_length(to, (size_t)wanted->replica_count);
    put(to, wanted->node, 4);
    for (int i = 0; i < wanted->replica_count; i++)
        if (wanted->replicas[i] != wanted->node)
            put(to, wanted->replicas[i], 4);
    put(to, 0, 3);
}

/* Of the preferred replica. */
static void make_election(request *to, const leadership *wanted)
{
    put_header(to, ELECT_LEADERS);
    put(to, 1, 4);
    put(to, (long long)strlen(wanted->topic), 2);
    put_text(to, wanted->topic);
    put(to, 1, 4);
    put(to, wanted->partition, 4);
    put(to, REQUEST_TIMEOUT_MS, 4);
}

static int connect_to_node(const char *host, const char *port)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    struct timeval limit = {.tv_sec = REQUEST_TIMEOUT_MS / 1000};

    if (getaddrinfo(host, port, &hints, &found) != 0)
        return -1;
    int connection = socket(found->ai_family, found->ai_socktype, found->ai_protocol);
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    if (connect(connection, found->ai_addr, found->ai_addrlen) != 0) {
        close(connection);
        connection = -1;
    }
    freeaddrinfo(found);
    return connection;
}

/* Sends the request and waits for its answer. What the answer says is not read: the metadata tell
 * whether it has been done. */
static void ask_node(const leadership *wanted, const request *question)
{
    request all = {.length = 0};
    unsigned char answer[4];
    int connection = connect_to_node(wanted->host, wanted->port);

    if (connection < 0)
        return;
    put(&all, (long long)question->length, 4);
    memcpy(all.bytes + all.length, question->bytes, question->length);
    all.length += question->length;
    if (send(connection, all.bytes, all.length, MSG_NOSIGNAL) == (ssize_t)all.length)
        (void)recv(connection, answer, sizeof answer, MSG_WAITALL);
    close(connection);
}

static bool fill_partition(leadership *wanted, const rd_kafka_metadata_partition_t *found)
{
    bool holds = false;

    wanted->leader = found->leader;
    if (found->replica_cnt > REPLICAS_MAX)
        return fail("lead %s [%d]: more than %d replicas", wanted->topic, (int)wanted->partition,
                    REPLICAS_MAX);
    wanted->replica_count = found->replica_cnt;
    for (int i = 0; i < found->replica_cnt; i++) {
        wanted->replicas[i] = found->replicas[i];
        holds = holds || found->replicas[i] == wanted->node;
    }
    return holds || fail("lead %s [%d]: node %d holds no replica", wanted->topic,
                         (int)wanted->partition, (int)wanted->node);
}

/* False: no use in trying again, said why. No host: the node is not there now. */
static bool fill_leadership(leadership *wanted, const struct rd_kafka_metadata *metadata)
{
    const struct rd_kafka_metadata_topic *topic = find_topic(metadata, wanted->topic);

    wanted->host[0] = '\0';
    if (topic == NULL || wanted->partition >= topic->partition_cnt)
        return fail("lead %s [%d]: there is no such partition", wanted->topic,
                    (int)wanted->partition);
    for (int i = 0; i < metadata->broker_cnt; i++)
        if (metadata->brokers[i].id == wanted->node) {
            snprintf(wanted->host, sizeof wanted->host, "%s", metadata->brokers[i].host);
            snprintf(wanted->port, sizeof wanted->port, "%d", metadata->brokers[i].port);
        }
    for (int i = 0; i < topic->partition_cnt; i++)
        if (topic->partitions[i].id == wanted->partition)
            return fill_partition(wanted, &topic->partitions[i]);
    return true;
}

static bool look_at_leadership(session *admin, leadership *wanted)
{
    const struct rd_kafka_metadata *metadata = get_metadata(admin);

    if (metadata == NULL)
        return fail("lead %s: no metadata within %d ms", wanted->topic, TIMEOUT_MS);
    bool fine = fill_leadership(wanted, metadata);
    rd_kafka_metadata_destroy(metadata);
    return fine;
}

static bool run_lead(session *admin, argument_list arguments)
{
    leadership wanted = {.topic = arguments.values[0]};
    request reassignment = {.length = 0}, election = {.length = 0};
    int32_t before;

    if (strlen(wanted.topic) > 249)
        return fail("'%s' is too long for a topic", wanted.topic);
    if (!parse_partition(arguments.values[1], &wanted.partition) ||
        !parse_partition(arguments.values[2], &wanted.node) || !look_at_leadership(admin, &wanted))
        return false;
    before = wanted.leader;
    make_reassignment(&reassignment, &wanted);
    make_election(&election, &wanted);
    while (wanted.leader != wanted.node) {
        if (left_ms(admin) == 0)
            return fail("lead %s [%d]: node %d does not lead it within %d ms; is it there, and its "
                        "replica in sync?",
                        wanted.topic, (int)wanted.partition, (int)wanted.node, TIMEOUT_MS);
        if (wanted.host[0] != '\0') {
            ask_node(&wanted, &reassignment);
            ask_node(&wanted, &election);
        }
        pause_ms(POLL_MS);
        if (!look_at_leadership(admin, &wanted))
            return false;
    }
    printf("%d\n", (int)before);
    return true;
}

/* --- groups
 * --------------------------------------------------------------------------------------*/

static bool print_committed(const rd_kafka_group_result_t *group, const char *topic)
{
    const rd_kafka_error_t *error = rd_kafka_group_result_error(group);
    const rd_kafka_topic_partition_list_t *offsets;

    if (error != NULL)
        return fail("committed %s: %s", topic, rd_kafka_error_string(error));
    offsets = rd_kafka_group_result_partitions(group);
    for (int i = 0; i < offsets->cnt; i++) {
        const rd_kafka_topic_partition_t *place = &offsets->elems[i];
        if (strcmp(place->topic, topic) != 0)
            continue;
        if (place->err != RD_KAFKA_RESP_ERR_NO_ERROR)
            return fail("committed %s [%d]: %s", topic, (int)place->partition,
                        rd_kafka_err2str(place->err));
        printf("%d %lld\n", (int)place->partition, (long long)place->offset);
    }
    return true;
}

static bool run_committed(session *admin, argument_list arguments)
{
    rd_kafka_ListConsumerGroupOffsets_t *question =
        rd_kafka_ListConsumerGroupOffsets_new(arguments.values[1], NULL);
    bool fine = true;
    size_t count;

    rd_kafka_ListConsumerGroupOffsets(admin->client, &question, 1,
                                      start_call(admin, RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS),
                                      admin->queue);
    rd_kafka_ListConsumerGroupOffsets_destroy(question);
    rd_kafka_event_t *event = await_result(admin, "committed");
    if (event == NULL)
        return false;
    const rd_kafka_group_result_t **groups = rd_kafka_ListConsumerGroupOffsets_result_groups(
        rd_kafka_event_ListConsumerGroupOffsets_result(event), &count);
    for (size_t i = 0; i < count; i++)
        fine = print_committed(groups[i], arguments.values[0]) && fine;
    rd_kafka_event_destroy(event);
    return fine;
}

/* --- the program -------------------------------------------------------------------------------*/

static const verb_entry verbs[] = {
    {"create", 2, run_create},
    {"delete", 1, run_delete},
    {"partitions", 2, run_partitions},
    {"delete-records", 3, run_delete_records},
    {"ends", 1, run_ends},
    {"config", 2, run_config},
    {"acl-allow", 3, run_acl_allow},
    {"lead", 3, run_lead},
    {"committed", 2, run_committed},
};

static const verb_entry *find_verb(const char *name)
{
    for (size_t i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
        if (strcmp(verbs[i].name, name) == 0)
            return &verbs[i];
    return NULL;
}

/* A consumer without a group: the kind of client that never creates a topic by looking at it. */
static rd_kafka_t *connect_to(const char *bootstrap)
{
    const char *settings[][2] = {
        {"bootstrap.servers", bootstrap},      {"client.id", "kafka-admin"},
        {"allow.auto.create.topics", "false"}, {"isolation.level", "read_uncommitted"},
        {"log.connection.close", "false"},
    };
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    char reason[256];

    for (size_t i = 0; i < sizeof(settings) / sizeof(settings[0]); i++) {
        if (rd_kafka_conf_set(conf, settings[i][0], settings[i][1], reason, sizeof(reason)) !=
            RD_KAFKA_CONF_OK) {
            rd_kafka_conf_destroy(conf);
            fail("%s", reason);
            return NULL;
        }
    }
    rd_kafka_t *client = rd_kafka_new(RD_KAFKA_CONSUMER, conf, reason, sizeof(reason));
    if (client == NULL) {
        rd_kafka_conf_destroy(conf);
        fail("%s", reason);
    }
    return client;
}

int main(int argc, char **argv)
{
    const verb_entry *verb = argc > 2 ? find_verb(argv[2]) : NULL;
    session admin = {.deadline_ms = now_ms() + TIMEOUT_MS};

    if (verb == NULL || argc - 3 < verb->arguments_least) {
        fail("usage: kafka-admin BOOTSTRAP create|delete|partitions|delete-records|ends|config|"
             "acl-allow|lead|committed TOPIC ...; the first lines of tools/kafka/admin.c say which "
             "arguments");
        return 2;
    }
    admin.client = connect_to(argv[1]);
    if (admin.client == NULL)
        return 1;
    admin.queue = rd_kafka_queue_new(admin.client);
    bool fine = verb->run(&admin, (argument_list){.count = argc - 3, .values = argv + 3});
    if (admin.options != NULL)
        rd_kafka_AdminOptions_destroy(admin.options);
    rd_kafka_queue_destroy(admin.queue);
    rd_kafka_destroy(admin.client);
    if (fflush(stdout) != 0)
        fine = fail("stdout: %s", strerror(errno));
    return fine ? 0 : 1;
}
