/*
 * The configuration, from lines of text; nothing may happen but that it is kept or refused.
 *
 *     s KEY TEXT           a key with a string          S PROPERTY TEXT     an option with a string
 *     n KEY NUMBER         with a number                N PROPERTY NUMBER   with a number
 *     b KEY 0|1            with a boolean               B PROPERTY 0|1      with a boolean
 *     a KEY TEXT,TEXT,...  with an array of strings     A PROPERTY          with something else
 *     t NUMBER, l NUMBER   where to start: a time, the last messages
 *     o TOPIC PARTITION OFFSET
 */
#include "config.h"

#include <stdlib.h>
#include <string.h>

enum { STRINGS_MAX = 16 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The next word of a line; "" at its end. */
static char *take(char **rest, char end)
{
    char *word = *rest;
    char *stop = strchr(word, end);

    if (stop == NULL) {
        *rest = word + strlen(word);
        return word;
    }
    *stop = '\0';
    *rest = stop + 1;
    return word;
}

static void set_strings(kh_config *config, const char *key, char *texts, kh_error *error)
{
    const char *strings[STRINGS_MAX];
    kh_value value = {.type = KH_VALUE_STRINGS, .strings = strings};

    while (*texts != '\0' && value.count < STRINGS_MAX)
        strings[value.count++] = take(&texts, ',');
    (void)kh_config_set(config, key, &value, error);
}

static kh_value make_value(char type, const char *text)
{
    switch (type) {
    case 's':
        return (kh_value){.type = KH_VALUE_STRING, .string = text};
    case 'n':
        return (kh_value){.type = KH_VALUE_NUMBER, .number = strtod(text, NULL)};
    case 'b':
        return (kh_value){.type = KH_VALUE_BOOLEAN, .boolean = text[0] == '1'};
    default:
        return (kh_value){.type = KH_VALUE_OTHER, .string = "a table"};
    }
}

static void set_start_offset(kh_config *config, char *rest, kh_error *error)
{
    const char *topic = take(&rest, ' ');
    double partition = strtod(take(&rest, ' '), NULL);

    (void)kh_config_set_start_offset(config, topic, partition, strtod(rest, NULL), error);
}

/* A plugin is a library that librdkafka loads: not ours. */
static void set_option(kh_config *config, char type, const char *property, const char *text,
                       kh_error *error)
{
    kh_value value = make_value(type, text);

    if (strstr(property, "plugin") == NULL)
        (void)kh_config_set_option(config, property, &value, error);
}

static void obey(kh_config *config, char *line)
{
    kh_error error;
    char *rest = line;
    char command = take(&rest, ' ')[0];
    const char *key;
    kh_value value;

    switch (command) {
    case 't':
        (void)kh_config_set_start_timestamp(config, strtod(rest, NULL), &error);
        return;
    case 'l':
        (void)kh_config_set_start_last(config, strtod(rest, NULL), &error);
        return;
    case 'o':
        set_start_offset(config, rest, &error);
        return;
    }
    key = take(&rest, ' ');
    if (command >= 'A' && command <= 'Z') {
        set_option(config, (char)(command - 'A' + 'a'), key, rest, &error);
        return;
    }
    if (command == 'a') {
        set_strings(config, key, rest, &error);
        return;
    }
    value = make_value(command, rest);
    (void)kh_config_set(config, key, &value, &error);
}

static void use(const kh_config *config)
{
    const kh_settings *settings = kh_config_settings(config);
    kh_error error;
    rd_kafka_conf_t *conf;

    for (kh_handle_purpose purpose = KH_HANDLE_CONSUMER; purpose <= KH_HANDLE_QUESTION; purpose++) {
        conf = kh_config_make_conf(config, purpose, &error);
        if (conf != NULL)
            rd_kafka_conf_destroy(conf);
    }
    for (size_t i = 0; i < settings->start_offset_count; i++)
        if (settings->start_offsets[i].topic < 0 ||
            (size_t)settings->start_offsets[i].topic >= settings->topic_count ||
            settings->start_offsets[i].offset < 0 || settings->start_offsets[i].partition < 0)
            abort();
    if (settings->start_number < 0 || settings->start_timeout_ms <= 0 ||
        settings->stall_timeout_ms <= 0 || settings->metadata_refresh_ms <= 0 ||
        settings->topic_count == 0 || settings->addresses[0] == '\0')
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *text = malloc(size + 1);
    kh_config *config = kh_config_new();
    char *rest = text;
    kh_error error;

    if (text == NULL || config == NULL)
        abort();
    memcpy(text, data, size);
    text[size] = '\0';
    while (*rest != '\0')
        obey(config, take(&rest, '\n'));
    if (kh_config_finish(config, &error))
        use(config);
    kh_config_free(config);
    free(text);
    return 0;
}
