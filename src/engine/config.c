#include "config.h"
#include "library.h"
#include "near.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define LENGTH(array) (sizeof(array) / sizeof *(array))

/* A limit on everything: longer than anything Kafka takes. */
#define TOPICS_MAX 10000
#define TOPIC_LENGTH_MAX 249
#define SECONDS_MAX 1e9
/* A double is exact up to 2^53, which is as far as any log goes. */
#define WHOLE_MAX 9007199254740992.0

struct option {
    char *property;
    char *value;
};

struct given_offset {
    char *topic;
    int32_t partition;
    int64_t offset;
};

struct kh_config {
    char *addresses;
    char **topics;
    size_t topic_count;
    char *client_id;
    char *version;
    char *group; /* NULL: standalone */
    double start_timeout_s;
    double stall_timeout_s;
    double commit_interval_s;
    bool continue_after_truncation;
    bool target_is_stable;
    bool has_from_beginning;
    bool from_beginning; /* if it was given */
    kh_start_kind start_kind;
    double start_number;
    struct given_offset *given_offsets;
    kh_start_offset *start_offsets; /* the same, by number of the topic */
    size_t offset_count;
    struct option *options;
    size_t option_count;
    char *sasl_username;
    char *sasl_password;
    kh_settings settings;
};

/* --- errors ----------------------------------------------------------------------------------- */

static bool refuse(kh_error *error, const char *format, ...) __attribute__((format(printf, 2, 3)));

static bool refuse(kh_error *error, const char *format, ...)
{
    char text[sizeof error->text];
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    kh_error_set(error, "CONFIG", "%s", text);
    return false;
}

static bool refuse_memory(kh_error *error)
{
    kh_error_set_errno(error, ENOMEM, "cannot keep the configuration");
    return false;
}

/* What was given, in words: `number 3`, `string "x"`, `a table`. */
static const char *describe(const kh_value *value, char *text, size_t size)
{
    switch (value->type) {
    case KH_VALUE_BOOLEAN:
        snprintf(text, size, "boolean %s", value->boolean ? "true" : "false");
        break;
    case KH_VALUE_NUMBER:
        snprintf(text, size, "number %.14g", value->number);
        break;
    case KH_VALUE_STRING:
        snprintf(text, size, "string \"%.64s\"", value->string);
        break;
    case KH_VALUE_STRINGS:
        snprintf(text, size, "an array of %zu strings", value->count);
        break;
    case KH_VALUE_OTHER:
        snprintf(text, size, "%s", value->string);
        break;
    }
    return text;
}

static bool refuse_value(kh_error *error, const char *key, const char *allowed,
                         const kh_value *value)
{
    char given[160];

    return refuse(error, "%s: expected %s, got %s", key, allowed,
                  describe(value, given, sizeof given));
}

/* --- secrets ---------------------------------------------------------------------------------- */

static bool contains(const char *text, const char *word)
{
    size_t length = strlen(word);

    for (; *text != '\0'; text++)
        if (strncasecmp(text, word, length) == 0)
            return true;
    return false;
}

/* Every property whose value may be a password, a key or a token; too many rather than too few. */
static bool is_secret(const char *property)
{
    static const char *const words[] = {
        "password",           "secret",        "pem",     "jaas",     "passphrase", "token",
        "oauthbearer.config", "sasl.username", "ssl_key", "kinit.cmd"};

    for (size_t i = 0; i < LENGTH(words); i++)
        if (contains(property, words[i]))
            return true;
    return false;
}

/* Does the text end with the name of a secret property? */
static bool ends_with_secret(const char *text, const char *end)
{
    char property[128];
    const char *begin = end;

    while (begin > text && begin[-1] != ' ')
        begin--;
    snprintf(property, sizeof property, "%.*s", (int)(end - begin), begin);
    return is_secret(property);
}

/* A line of its configuration is "name = value": librdkafka redacts passwords, but shows
 * ssl.certificate.pem, which may hold the key as well. */
int kh_config_shown_length(const char *text)
{
    const char *quoted = strstr(text, "sasl.oauthbearer.config beginning at: ");
    const char *equals = strstr(text, " = ");

    if (quoted != NULL)
        return (int)(strstr(quoted, ": ") + 2 - text);
    if (equals != NULL && ends_with_secret(text, equals))
        return (int)(equals + 3 - text);
    return (int)strlen(text);
}

/* --- keys ------------------------------------------------------------------------------------- */

static bool replace(char **field, const char *text, kh_error *error)
{
    char *copy = strdup(text);

    if (copy == NULL)
        return refuse_memory(error);
    free(*field);
    *field = copy;
    return true;
}

static bool set_addresses(kh_config *config, const char *key, const kh_value *value,
                          kh_error *error)
{
    static const char allowed[] =
        "an array of \"host:port\" strings, or one string of them separated by commas";
    const char *const *parts = value->type == KH_VALUE_STRING ? &value->string : value->strings;
    size_t count = value->type == KH_VALUE_STRING ? 1 : value->count;
    size_t length = 1;
    char *joined;
    bool done;

    if ((value->type != KH_VALUE_STRING && value->type != KH_VALUE_STRINGS) || count == 0)
        return refuse_value(error, key, allowed, value);
    for (size_t i = 0; i < count; i++) {
        if (parts[i][strspn(parts[i], " ,")] == '\0')
            return refuse(error, "%s: expected %s, got an empty address", key, allowed);
        length += strlen(parts[i]) + 1;
    }
    joined = calloc(1, length);
    if (joined == NULL)
        return refuse_memory(error);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            strcat(joined, ",");
        strcat(joined, parts[i]);
    }
    done = replace(&config->addresses, joined, error);
    free(joined);
    return done;
}

static bool check_topic(const char *key, const char *topic, kh_error *error)
{
    static const char allowed[] =
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-";
    size_t length = strlen(topic);

    if (topic[0] == '^')
        return refuse(error,
                      "%s: \"%.64s\" begins with ^, which librdkafka would take for a regular "
                      "expression; name each topic",
                      key, topic);
    if (length == 0 || length > TOPIC_LENGTH_MAX || topic[strspn(topic, allowed)] != '\0')
        return refuse(error,
                      "%s: \"%.64s\" is no name of a topic: 1 to %d letters, digits, '.', '_', '-'",
                      key, topic, TOPIC_LENGTH_MAX);
    return true;
}

static void free_topics(kh_config *config)
{
    for (size_t i = 0; i < config->topic_count; i++)
        free(config->topics[i]);
    free(config->topics);
    config->topics = NULL;
    config->topic_count = 0;
}

static bool has_topic(const kh_config *config, const char *topic)
{
    for (size_t i = 0; i < config->topic_count; i++)
        if (strcmp(config->topics[i], topic) == 0)
            return true;
    return false;
}

static bool set_topics(kh_config *config, const char *key, const kh_value *value, kh_error *error)
{
    const char *const *names = value->type == KH_VALUE_STRING ? &value->string : value->strings;
    size_t count = value->type == KH_VALUE_STRING ? 1 : value->count;

    if ((value->type != KH_VALUE_STRING && value->type != KH_VALUE_STRINGS) || count == 0 ||
        count > TOPICS_MAX)
        return refuse_value(error, key, "the name of a topic, or an array of names", value);
    free_topics(config);
    config->topics = calloc(count, sizeof *config->topics);
    if (config->topics == NULL)
        return refuse_memory(error);
    for (size_t i = 0; i < count; i++) {
        if (!check_topic(key, names[i], error))
            return false;
        if (has_topic(config, names[i]))
            return refuse(error, "%s: \"%s\" is named twice", key, names[i]);
        config->topics[i] = strdup(names[i]);
        if (config->topics[i] == NULL)
            return refuse_memory(error);
        config->topic_count = i + 1;
    }
    return true;
}

static bool set_string(char **field, const char *key, const kh_value *value, kh_error *error)
{
    if (value->type != KH_VALUE_STRING || value->string[0] == '\0')
        return refuse_value(error, key, "a string that is not empty", value);
    return replace(field, value->string, error);
}

static bool set_client_id(kh_config *config, const char *key, const kh_value *value,
                          kh_error *error)
{
    return set_string(&config->client_id, key, value, error);
}

static bool set_version(kh_config *config, const char *key, const kh_value *value, kh_error *error)
{
    if (value->type != KH_VALUE_STRING || value->string[0] < '0' || value->string[0] > '9' ||
        value->string[strspn(value->string, "0123456789.")] != '\0')
        return refuse_value(error, key, "a version of Kafka, as in \"2.8.0\"", value);
    return set_string(&config->version, key, value, error);
}

static bool set_seconds(double *field, const char *key, const kh_value *value, kh_error *error)
{
    if (value->type != KH_VALUE_NUMBER || !(value->number > 0))
        return refuse_value(error, key, "a number of seconds above 0 (math.huge: never)", value);
    *field = value->number;
    return true;
}

static bool set_start_timeout(kh_config *config, const char *key, const kh_value *value,
                              kh_error *error)
{
    return set_seconds(&config->start_timeout_s, key, value, error);
}

static bool set_stall_timeout(kh_config *config, const char *key, const kh_value *value,
                              kh_error *error)
{
    return set_seconds(&config->stall_timeout_s, key, value, error);
}

static bool set_commit_interval(kh_config *config, const char *key, const kh_value *value,
                                kh_error *error)
{
    return set_seconds(&config->commit_interval_s, key, value, error);
}

static bool set_from_beginning(kh_config *config, const char *key, const kh_value *value,
                               kh_error *error)
{
    if (value->type != KH_VALUE_BOOLEAN)
        return refuse_value(error, key, "true or false", value);
    config->has_from_beginning = true;
    config->from_beginning = value->boolean;
    return true;
}

/* Does the value stand for one of two words? `second` says which. */
static bool read_choice(const kh_value *value, const char *first_word, const char *second_word,
                        bool *second)
{
    if (value->type != KH_VALUE_STRING)
        return false;
    *second = strcmp(value->string, second_word) == 0;
    return *second || strcmp(value->string, first_word) == 0;
}

static bool set_target(kh_config *config, const char *key, const kh_value *value, kh_error *error)
{
    if (!read_choice(value, "end", "stable", &config->target_is_stable))
        return refuse_value(error, key, "\"end\" or \"stable\"", value);
    return true;
}

static bool set_consumer_group(kh_config *config, const char *key, const kh_value *value,
                               kh_error *error)
{
    if (value->type != KH_VALUE_STRING || value->string[0] == '\0')
        return refuse_value(error, key, "the name of a group", value);
    return replace(&config->group, value->string, error);
}

static bool set_on_truncation(kh_config *config, const char *key, const kh_value *value,
                              kh_error *error)
{
    if (!read_choice(value, "error", "continue", &config->continue_after_truncation))
        return refuse_value(error, key, "\"error\" or \"continue\"", value);
    return true;
}

static const struct {
    const char *key;
    bool (*set)(kh_config *config, const char *key, const kh_value *value, kh_error *error);
} keys[] = {
    {"addresses", set_addresses},           {"topics", set_topics},
    {"client_id", set_client_id},           {"version", set_version},
    {"start_timeout", set_start_timeout},   {"stall_timeout", set_stall_timeout},
    {"on_truncation", set_on_truncation},   {"target", set_target},
    {"from_beginning", set_from_beginning}, {"commit_interval", set_commit_interval},
    {"consumer_group", set_consumer_group},
};

/* What the host makes of a table, or keeps for itself. */
static const char *const other_keys[] = {"options", "start", "on_event", "on_log", "on_stats"};

static bool refuse_key(kh_error *error, const char *key)
{
    kh_near near = kh_near_to(key);

    for (size_t i = 0; i < LENGTH(keys); i++)
        kh_near_offer(&near, keys[i].key);
    for (size_t i = 0; i < LENGTH(other_keys); i++)
        kh_near_offer(&near, other_keys[i]);
    if (near.count == 0)
        return refuse(error, "%.64s: there is no such key; librdkafka's properties go into options",
                      key);
    (void)refuse(error, "%.64s: there is no such key", key);
    kh_near_append(&near, error->text, sizeof error->text);
    return false;
}

bool kh_config_set(kh_config *config, const char *key, const kh_value *value, kh_error *error)
{
    for (size_t i = 0; i < LENGTH(keys); i++)
        if (strcmp(keys[i].key, key) == 0)
            return keys[i].set(config, key, value, error);
    return refuse_key(error, key);
}

/* --- where to start --------------------------------------------------------------------------- */

static bool is_whole(double number, double most)
{
    return number >= 0 && number <= most && number == (double)(int64_t)number;
}

static bool set_start(kh_config *config, kh_start_kind kind, const char *name, double number,
                      kh_error *error)
{
    if (!is_whole(number, WHOLE_MAX))
        return refuse(error, "start: %s: expected a whole number, 0 or more, got number %.14g",
                      name, number);
    config->start_kind = kind;
    config->start_number = number;
    return true;
}

bool kh_config_set_start_timestamp(kh_config *config, double timestamp_ms, kh_error *error)
{
    return set_start(config, KH_START_TIMESTAMP, "timestamp", timestamp_ms, error);
}

bool kh_config_set_start_last(kh_config *config, double count, kh_error *error)
{
    return set_start(config, KH_START_LAST, "last", count, error);
}

bool kh_config_set_start_offset(kh_config *config, const char *topic, double partition,
                                double offset, kh_error *error)
{
    struct given_offset *grown;

    if (!check_topic("start", topic, error))
        return false;
    if (!is_whole(partition, INT32_MAX))
        return refuse(error, "start: %s: expected numbers of partitions as keys, got number %.14g",
                      topic, partition);
    if (!is_whole(offset, WHOLE_MAX))
        return refuse(error, "start: %s[%.0f]: expected an offset, 0 or more, got number %.14g",
                      topic, partition, offset);
    grown = realloc(config->given_offsets, (config->offset_count + 1) * sizeof *grown);
    if (grown == NULL)
        return refuse_memory(error);
    config->given_offsets = grown;
    grown[config->offset_count] = (struct given_offset){
        .topic = strdup(topic), .partition = (int32_t)partition, .offset = (int64_t)offset};
    if (grown[config->offset_count].topic == NULL)
        return refuse_memory(error);
    config->offset_count++;
    config->start_kind = KH_START_OFFSETS;
    return true;
}

/* --- options ---------------------------------------------------------------------------------- */

/* Properties that the engine needs as it sets them, and what to use instead. */
static const struct {
    const char *property;
    const char *instead;
} owned[] = {
    {"bootstrap.servers", "use the key addresses"},
    {"metadata.broker.list", "use the key addresses"},
    {"client.id", "use the key client_id"},
    {"broker.version.fallback", "use the key version"},
    {"enable.partition.eof", "the end of a partition is how the reader knows what it has read"},
    {"enable.auto.offset.store", "a message counts as consumed when its handler has succeeded"},
    {"enable.auto.commit", "a group commits what was handled: see commit_interval"},
    {"auto.commit.enable", "a group commits what was handled: see commit_interval"},
    {"auto.commit.interval.ms", "use the key commit_interval"},
    {"auto.offset.reset",
     "a lost position is reported as a gap or a truncation: see on_truncation"},
    {"allow.auto.create.topics", "reading a topic never creates it"},
    {"enabled_events", "events reach you through on_event, on_log and on_stats"},
    {"log.queue", "logs reach you through on_log"},
};

static bool check_owner(const char *property, kh_error *error)
{
    for (size_t i = 0; i < LENGTH(owned); i++)
        if (strcmp(owned[i].property, property) == 0)
            return refuse(error, "options[\"%s\"]: this property is the engine's own; %s", property,
                          owned[i].instead);
    return true;
}

static const char *write_value(const kh_value *value, char *text, size_t size)
{
    if (value->type == KH_VALUE_STRING)
        return value->string;
    if (value->type == KH_VALUE_BOOLEAN)
        return value->boolean ? "true" : "false";
    if (value->number > -WHOLE_MAX && value->number < WHOLE_MAX &&
        value->number == (double)(int64_t)value->number)
        snprintf(text, size, "%lld", (long long)value->number);
    else
        snprintf(text, size, "%.14g", value->number);
    return text;
}

static struct option *find_option(const kh_config *config, const char *property)
{
    for (size_t i = 0; i < config->option_count; i++)
        if (strcmp(config->options[i].property, property) == 0)
            return &config->options[i];
    return NULL;
}

static bool keep_option(kh_config *config, const char *property, const char *value, kh_error *error)
{
    struct option *option = find_option(config, property);
    struct option *grown;

    if (option != NULL)
        return replace(&option->value, value, error);
    grown = realloc(config->options, (config->option_count + 1) * sizeof *grown);
    if (grown == NULL)
        return refuse_memory(error);
    config->options = grown;
    option = &grown[config->option_count];
    *option = (struct option){.property = strdup(property), .value = strdup(value)};
    if (option->property == NULL || option->value == NULL) {
        free(option->property);
        free(option->value);
        return refuse_memory(error);
    }
    config->option_count++;
    return true;
}

bool kh_config_set_option(kh_config *config, const char *property, const kh_value *value,
                          kh_error *error)
{
    char text[64];
    char name[128];

    snprintf(name, sizeof name, "options[\"%.100s\"]", property);
    if (!check_owner(property, error))
        return false;
    if (value->type != KH_VALUE_STRING && value->type != KH_VALUE_NUMBER &&
        value->type != KH_VALUE_BOOLEAN) {
        char given[160];

        return refuse(error, "%s: expected a string, a number or a boolean, got %s", name,
                      describe(value, given, sizeof given));
    }
    return keep_option(config, property, write_value(value, text, sizeof text), error);
}

/* --- librdkafka's configuration --------------------------------------------------------------- */

static bool set_property(rd_kafka_conf_t *conf, const char *property, const char *value,
                         kh_error *error)
{
    char reason[512];
    rd_kafka_conf_res_t result = rd_kafka_conf_set(conf, property, value, reason, sizeof reason);

    if (result == RD_KAFKA_CONF_OK)
        return true;
    if (result != RD_KAFKA_CONF_UNKNOWN && is_secret(property))
        return refuse(error, "options[\"%.100s\"]: librdkafka refuses its value", property);
    reason[strcspn(reason, "\n")] = '\0'; /* some end a line */
    (void)refuse(error, "options[\"%.100s\"]: librdkafka says: %s", property, reason);
    if (result == RD_KAFKA_CONF_UNKNOWN)
        kh_library_suggest_property(property, error->text, sizeof error->text);
    return false;
}

/* What was measured to be fast and small (100 B to 1 KiB messages, loopback): short fetches that
 * never let the queue run dry, and reconnecting within two seconds. */
static const struct option defaults[] = {
    {"fetch.wait.max.ms", "100"},
    {"fetch.message.max.bytes", "524288"},
    {"fetch.max.bytes", "8388608"},
    {"queued.min.messages", "10000"},
    {"queued.max.messages.kbytes", "8192"},
    /* Half of it, 50 ms by default, is also the pause between the first two looks for a broker to
     * connect to; newer librdkafkas mostly find none at the first, as the threads only begin. */
    {"reconnect.backoff.ms", "22"},
    {"reconnect.backoff.max.ms", "2000"},
    {"topic.metadata.refresh.interval.ms", "30000"},
};

static const struct option standalone_defaults[] = {
    /* Without a group this only bounds how long closing may wait for a coordinator. */
    {"session.timeout.ms", "6000"},
    {"group.id", "kafka-history.standalone"},
};

/* The same, where librdkafka has the property. */
static const struct option newer_defaults[] = {
    /* 2.2; a full queue drains in a few milliseconds. How older ones are woken: must_poke. */
    {"fetch.queue.backoff.ms", "1"},
    /* 2.5; the end of a client may wait a second for its metrics to go out. */
    {"enable.metrics.push", "false"},
};

static const struct option engine_owned[] = {
    {"enable.partition.eof", "true"},      {"enable.auto.offset.store", "false"},
    {"enable.auto.commit", "false"},       {"auto.offset.reset", "error"},
    {"allow.auto.create.topics", "false"}, {"log.queue", "true"},
};

/* Without a group id a handle looks for no coordinator; one for questions is soon closed. */
static bool belongs(kh_handle_purpose purpose, const char *property)
{
    return purpose == KH_HANDLE_CONSUMER ||
           (strncmp(property, "group.", 6) != 0 && strcmp(property, "session.timeout.ms") != 0 &&
            strcmp(property, "max.poll.interval.ms") != 0 &&
            strcmp(property, "isolation.level") != 0 &&
            strcmp(property, "enable.metrics.push") != 0 &&
            strcmp(property, "statistics.interval.ms") != 0);
}

static bool set_all(rd_kafka_conf_t *conf, kh_handle_purpose purpose, const struct option *options,
                    size_t count, kh_error *error)
{
    for (size_t i = 0; i < count; i++)
        if (belongs(purpose, options[i].property) &&
            !set_property(conf, options[i].property, options[i].value, error))
            return false;
    return true;
}

static bool set_newer_defaults(rd_kafka_conf_t *conf, kh_error *error)
{
    for (size_t i = 0; i < LENGTH(newer_defaults); i++)
        if (kh_library_has_property(newer_defaults[i].property) &&
            !set_property(conf, newer_defaults[i].property, newer_defaults[i].value, error))
            return false;
    return true;
}

static bool set_keys(const kh_config *config, rd_kafka_conf_t *conf, kh_error *error)
{
    return set_property(conf, "bootstrap.servers", config->addresses, error) &&
           (config->client_id == NULL ||
            set_property(conf, "client.id", config->client_id, error)) &&
           (config->version == NULL ||
            set_property(conf, "broker.version.fallback", config->version, error));
}

static bool set_group(const kh_config *config, rd_kafka_conf_t *conf, kh_handle_purpose purpose,
                      kh_error *error)
{
    if (config->group == NULL)
        return set_all(conf, purpose, standalone_defaults, LENGTH(standalone_defaults), error);
    return purpose != KH_HANDLE_CONSUMER || set_property(conf, "group.id", config->group, error);
}

static bool fill_conf(const kh_config *config, rd_kafka_conf_t *conf, kh_handle_purpose purpose,
                      kh_error *error)
{
    return set_all(conf, purpose, defaults, LENGTH(defaults), error) &&
           set_group(config, conf, purpose, error) && set_newer_defaults(conf, error) &&
           set_all(conf, purpose, config->options, config->option_count, error) &&
           set_all(conf, purpose, engine_owned, LENGTH(engine_owned), error) &&
           (purpose == KH_HANDLE_CONSUMER ||
            set_property(conf, "isolation.level", "read_uncommitted", error)) &&
           set_keys(config, conf, error);
}

rd_kafka_conf_t *kh_config_make_conf(const kh_config *config, kh_handle_purpose purpose,
                                     kh_error *error)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();

    if (fill_conf(config, conf, purpose, error))
        return conf;
    rd_kafka_conf_destroy(conf);
    return NULL;
}

/* --- the whole -------------------------------------------------------------------------------- */

/* Reads a property back, with librdkafka's aliases and defaults resolved. */
static const char *read_property(const rd_kafka_conf_t *conf, const char *property, char *text,
                                 size_t size)
{
    if (rd_kafka_conf_get(conf, property, text, &size) != RD_KAFKA_CONF_OK)
        text[0] = '\0';
    return text;
}

/* Rounded up: no duration becomes none. */
static int64_t milliseconds(double seconds)
{
    int64_t whole;

    if (seconds >= SECONDS_MAX)
        return INT64_MAX;
    whole = (int64_t)(seconds * 1000);
    return (double)whole < seconds * 1000 ? whole + 1 : whole;
}

static bool read_credentials(kh_config *config, const rd_kafka_conf_t *conf, kh_error *error)
{
    char text[4096];

    return replace(&config->sasl_username, read_property(conf, "sasl.username", text, sizeof text),
                   error) &&
           replace(&config->sasl_password, read_property(conf, "sasl.password", text, sizeof text),
                   error);
}

static int number_of_topic(const kh_config *config, const char *topic)
{
    for (size_t i = 0; i < config->topic_count; i++)
        if (strcmp(config->topics[i], topic) == 0)
            return (int)i;
    return -1;
}

/* The offsets by number of the topic: every one must be of a topic that is read. */
static bool resolve_start(kh_config *config, kh_error *error)
{
    bool from_end = config->group == NULL && config->has_from_beginning && !config->from_beginning;

    if (config->group != NULL && config->start_kind != KH_START_BEGINNING)
        return refuse(error, "start: goes without consumer_group only: a group begins where its "
                             "commits say");
    if (from_end && config->start_kind != KH_START_BEGINNING)
        return refuse(error, "start: goes with from_beginning = true only");
    if (from_end)
        config->start_kind = KH_START_END;
    free(config->start_offsets);
    config->start_offsets = calloc(config->offset_count + 1, sizeof *config->start_offsets);
    if (config->start_offsets == NULL)
        return refuse_memory(error);
    for (size_t i = 0; i < config->offset_count; i++) {
        const struct given_offset *given = &config->given_offsets[i];
        int topic = number_of_topic(config, given->topic);

        if (topic < 0)
            return refuse(error, "start: \"%s\" is none of the topics", given->topic);
        config->start_offsets[i] = (kh_start_offset){
            .topic = topic, .partition = given->partition, .offset = given->offset};
    }
    return true;
}

static bool read_settings(kh_config *config, const rd_kafka_conf_t *conf, kh_error *error)
{
    kh_settings *settings = &config->settings;
    char text[512];
    long refresh_ms =
        atol(read_property(conf, "topic.metadata.refresh.interval.ms", text, sizeof text));

    if (!read_credentials(config, conf, error))
        return false;
    settings->addresses = config->addresses;
    settings->topics = (const char *const *)config->topics;
    settings->topic_count = config->topic_count;
    settings->start_timeout_ms = milliseconds(config->start_timeout_s);
    settings->stall_timeout_ms = milliseconds(config->stall_timeout_s);
    settings->continue_after_truncation = config->continue_after_truncation;
    settings->sasl_username = config->sasl_username;
    settings->sasl_password = config->sasl_password;
    settings->queued_min_messages =
        atoi(read_property(conf, "queued.min.messages", text, sizeof text));
    settings->queued_max_bytes =
        INT64_C(1024) * atoi(read_property(conf, "queued.max.messages.kbytes", text, sizeof text));
    settings->metadata_refresh_ms = refresh_ms > 0 ? refresh_ms : INT64_MAX;
    settings->must_poke = !kh_library_has_property("fetch.queue.backoff.ms");
    settings->reads_uncommitted =
        strcmp(read_property(conf, "isolation.level", text, sizeof text), "read_uncommitted") == 0;
    settings->target_is_stable = config->target_is_stable;
    settings->start_kind = config->start_kind;
    settings->start_number = (int64_t)config->start_number;
    settings->start_offsets = config->start_offsets;
    settings->start_offset_count = config->offset_count;
    settings->group = config->group;
    settings->from_beginning = config->from_beginning;
    settings->commit_interval_ms = milliseconds(config->commit_interval_s);
    settings->is_static = read_property(conf, "group.instance.id", text, sizeof text)[0] != '\0';
    settings->has_consumer_protocol =
        strcmp(read_property(conf, "group.protocol", text, sizeof text), "consumer") == 0;
    settings->max_poll_ms = atol(read_property(conf, "max.poll.interval.ms", text, sizeof text));
    return true;
}

/* Before librdkafka itself says less: older ones do not know the property. */
static bool check_protocol(const kh_config *config, kh_error *error)
{
    const struct option *option = find_option(config, "group.protocol");

    if (option == NULL || strcasecmp(option->value, "consumer") != 0 ||
        kh_library_has_consumer_protocol())
        return true;
    return refuse(error,
                  "options[\"group.protocol\"]: \"consumer\" takes librdkafka 2.12 or newer, and "
                  "this is %s; leave the option out",
                  rd_kafka_version_str());
}

/* What of a group's ways the librdkafka that is loaded is not safe with. */
static bool check_group(const kh_config *config, const rd_kafka_conf_t *conf, kh_error *error)
{
    char text[512];

    if (config->group == NULL)
        return true;
    if (find_option(config, "group.id") != NULL)
        return refuse(error, "options[\"group.id\"]: consumer_group names the group");
    if (strstr(read_property(conf, "partition.assignment.strategy", text, sizeof text),
               "cooperative") != NULL &&
        !kh_library_is_cooperative())
        return refuse(error,
                      "options[\"partition.assignment.strategy\"]: librdkafka %s may crash or turn "
                      "in circles with cooperative-sticky; it takes 2.6.1 or newer, or \"range\" "
                      "or \"roundrobin\"",
                      rd_kafka_version_str());
    return true;
}

kh_config *kh_config_new(void)
{
    kh_config *config = calloc(1, sizeof *config);

    if (config == NULL)
        return NULL;
    config->start_timeout_s = 60;
    config->stall_timeout_s = 30;
    config->commit_interval_s = 5;
    return config;
}

bool kh_config_finish(kh_config *config, kh_error *error)
{
    rd_kafka_conf_t *conf;
    bool done;

    if (config->addresses == NULL)
        return refuse(error, "addresses: missing; the brokers to ask first, as in "
                             "{ \"localhost:9092\" }");
    if (config->topic_count == 0)
        return refuse(error, "topics: missing; the topics to read, as in { \"orders\" }");
    if (!resolve_start(config, error) || !check_protocol(config, error))
        return false;
    conf = kh_config_make_conf(config, KH_HANDLE_CONSUMER, error);
    if (conf == NULL)
        return false;
    done = check_group(config, conf, error) && read_settings(config, conf, error);
    rd_kafka_conf_destroy(conf);
    return done;
}

const kh_settings *kh_config_settings(const kh_config *config)
{
    return &config->settings;
}

/* Passwords do not stay in freed memory. */
static void free_secret(char *text)
{
    if (text != NULL) {
        volatile char *byte = text;

        while (*byte != '\0')
            *byte++ = '\0';
    }
    free(text);
}

void kh_config_free(kh_config *config)
{
    if (config == NULL)
        return;
    free(config->addresses);
    free_topics(config);
    free(config->client_id);
    free(config->version);
    free(config->group);
    for (size_t i = 0; i < config->option_count; i++) {
        free(config->options[i].property);
        free_secret(config->options[i].value);
    }
    free(config->options);
    for (size_t i = 0; i < config->offset_count; i++)
        free(config->given_offsets[i].topic);
    free(config->given_offsets);
    free(config->start_offsets);
    free_secret(config->sasl_username);
    free_secret(config->sasl_password);
    free(config);
}
