/* The configuration as a C host fills it in. Lua's side of it is in spec/configuration_spec.lua. */
#include "config.h"
#include "tap.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

static struct tap tap;

static kh_value string(const char *text)
{
    return (kh_value){.type = KH_VALUE_STRING, .string = text};
}

static kh_value number(double value)
{
    return (kh_value){.type = KH_VALUE_NUMBER, .number = value};
}

static kh_config *minimal(void)
{
    kh_config *config = kh_config_new();
    kh_error error;
    kh_value addresses = string("k1:9092, k2:9092");
    kh_value topics = string("orders");

    kh_config_set(config, "addresses", &addresses, &error);
    kh_config_set(config, "topics", &topics, &error);
    return config;
}

static bool has(rd_kafka_conf_t *conf, const char *property, const char *expected)
{
    char value[256];
    size_t size = sizeof value;

    return rd_kafka_conf_get(conf, property, value, &size) == RD_KAFKA_CONF_OK &&
           strcmp(value, expected) == 0;
}

static void test_defaults(void)
{
    kh_config *config = minimal();
    kh_error error;
    bool finished = kh_config_finish(config, &error);
    const kh_settings *settings = kh_config_settings(config);

    tap_check(&tap,
              finished && settings->topic_count == 1 && strcmp(settings->topics[0], "orders") == 0,
              "addresses and topics are enough");
    tap_check(&tap,
              settings->start_timeout_ms == 60000 && settings->stall_timeout_ms == 30000 &&
                  !settings->continue_after_truncation && settings->metadata_refresh_ms == 30000 &&
                  settings->start_kind == KH_START_BEGINNING && !settings->target_is_stable &&
                  !settings->reads_uncommitted,
              "what is not set has its documented default");
    kh_config_free(config);
}

static void test_handles(void)
{
    kh_config *config = minimal();
    kh_error error;
    kh_value mine = string("mine");
    kh_value bytes = number(65536);
    rd_kafka_conf_t *consumer;
    rd_kafka_conf_t *question;

    kh_config_set(config, "client_id", &mine, &error);
    kh_config_set_option(config, "fetch.max.bytes", &bytes, &error);
    kh_config_set_option(config, "group.id", &mine, &error);
    kh_config_finish(config, &error);
    consumer = kh_config_make_conf(config, KH_HANDLE_CONSUMER, &error);
    question = kh_config_make_conf(config, KH_HANDLE_QUESTION, &error);
    tap_check(&tap,
              has(consumer, "enable.partition.eof", "true") &&
                  has(consumer, "enable.auto.offset.store", "false") &&
                  has(consumer, "enable.auto.commit", "false") &&
                  has(consumer, "isolation.level", "read_committed") &&
                  has(consumer, "allow.auto.create.topics", "false"),
              "the consumer's handle has what the engine relies on");
    tap_check(&tap,
              has(consumer, "client.id", "mine") && has(consumer, "fetch.max.bytes", "65536") &&
                  has(consumer, "group.id", "mine"),
              "keys and options reach it; a number is written without a fraction");
    tap_check(&tap,
              has(question, "isolation.level", "read_uncommitted") &&
                  !has(question, "group.id", "mine"),
              "the handle that asks for ends reads uncommitted and is in no group");
    rd_kafka_conf_destroy(consumer);
    rd_kafka_conf_destroy(question);
    kh_config_free(config);
}

static bool refuses(const char *key, kh_value value, const char *words)
{
    kh_config *config = minimal();
    kh_error error = {.name = ""};
    bool refused = !kh_config_set(config, key, &value, &error) &&
                   strcmp(error.name, "CONFIG") == 0 &&
                   strncmp(error.text, key, strlen(key)) == 0 && strstr(error.text, words) != NULL;

    if (!refused)
        tap_note("%s: %s: %s", key, error.name, error.text);
    kh_config_free(config);
    return refused;
}

static void test_refusals(void)
{
    static const char *const twice[] = {"a", "b", "a"};
    kh_value same = {.type = KH_VALUE_STRINGS, .strings = twice, .count = 3};
    kh_value none = {.type = KH_VALUE_STRINGS};
    kh_value other = {.type = KH_VALUE_OTHER, .string = "a coroutine"};

    tap_check(&tap, refuses("adresses", string("k1"), "no such key"), "an unknown key is named");
    tap_check(&tap,
              refuses("topics", string("^orders.*"), "regular expression") &&
                  refuses("topics", string("or ders"), "no name of a topic") &&
                  refuses("topics", same, "named twice") && refuses("topics", none, "array") &&
                  refuses("topics", other, "a coroutine"),
              "topics that are none are refused");
    tap_check(&tap,
              refuses("addresses", string(" ,"), "empty address") &&
                  refuses("addresses", number(9092), "number 9092"),
              "addresses that are none are refused");
    tap_check(&tap,
              refuses("start_timeout", number(0), "above 0") &&
                  refuses("stall_timeout", number(NAN), "above 0") &&
                  refuses("start_timeout", string("60"), "string \"60\""),
              "durations are numbers of seconds above 0");
    tap_check(&tap,
              refuses("on_truncation", string("ignore"), "\"continue\"") &&
                  refuses("target", string("latest"), "\"stable\""),
              "words that are none of the choice are refused, with the choice");
}

static void test_durations(void)
{
    kh_config *config = minimal();
    kh_error error;
    kh_value forever = number(HUGE_VAL);
    kh_value short_time = number(0.0001);

    kh_config_set(config, "start_timeout", &forever, &error);
    kh_config_set(config, "stall_timeout", &short_time, &error);
    kh_config_finish(config, &error);
    tap_check(&tap,
              kh_config_settings(config)->start_timeout_ms == INT64_MAX &&
                  kh_config_settings(config)->stall_timeout_ms == 1,
              "an infinite duration is never, the smallest one a millisecond");
    kh_config_free(config);
}

static void test_options(void)
{
    kh_config *config = minimal();
    kh_error error;
    kh_value secret = string("hunter2\n");
    kh_value yes = {.type = KH_VALUE_BOOLEAN, .boolean = true};
    kh_value wrong = string("sometimes");

    tap_check(&tap,
              !kh_config_set_option(config, "auto.offset.reset", &wrong, &error) &&
                  strstr(error.text, "engine's own") != NULL,
              "a property that the engine owns is refused");
    tap_check(&tap,
              kh_config_set_option(config, "check.crcs", &wrong, &error) &&
                  !kh_config_finish(config, &error) &&
                  strstr(error.text, "options[\"check.crcs\"]") != NULL,
              "a value that librdkafka refuses is named with its words");
    tap_check(&tap,
              kh_config_set_option(config, "check.crcs", &yes, &error) &&
                  kh_config_finish(config, &error),
              "a property set again has its last value");
    kh_config_set_option(config, "ssl.key.passwrod", &secret, &error);
    tap_check(&tap, !kh_config_finish(config, &error) && strstr(error.text, "hunter2") == NULL,
              "no error shows the value of anything that may be a secret");
    kh_config_free(config);
}

static bool shows(const char *text, const char *shown)
{
    return (size_t)kh_config_shown_length(text) == strlen(shown) &&
           strncmp(text, shown, strlen(shown)) == 0;
}

static void test_shown_length(void)
{
    static const char harmless[] = "[thrd:app]:   ssl.ca.location = /etc/ca.pem";

    tap_check(&tap,
              shows(harmless, harmless) && shows("", "") && shows(" = ", " = ") &&
                  shows("ssl.key.pem failed: no start line", "ssl.key.pem failed: no start line"),
              "what librdkafka says is shown");
    tap_check(&tap,
              shows("[thrd:app]:   ssl.certificate.pem = hunter2\nhunter = 2",
                    "[thrd:app]:   ssl.certificate.pem = ") &&
                  shows("sasl.password = hunter2", "sasl.password = ") &&
                  shows("Unrecognized sasl.oauthbearer.config beginning at: hunter2",
                        "Unrecognized sasl.oauthbearer.config beginning at: "),
              "the value of a property that may be secret is not");
}

static void test_start(void)
{
    kh_config *config = minimal();
    kh_error error;

    tap_check(&tap,
              !kh_config_set_start_last(config, -1, &error) &&
                  !kh_config_set_start_timestamp(config, 1.5, &error) &&
                  !kh_config_set_start_offset(config, "orders", -1, 0, &error) &&
                  !kh_config_set_start_offset(config, "orders", 0, 1e300, &error),
              "starts are whole numbers, 0 or more");
    tap_check(&tap,
              kh_config_set_start_offset(config, "orders", 2, 42, &error) &&
                  kh_config_finish(config, &error) &&
                  kh_config_settings(config)->start_offset_count == 1 &&
                  kh_config_settings(config)->start_offsets[0].offset == 42,
              "an offset is kept for its partition");
    tap_check(&tap,
              kh_config_set_start_offset(config, "prices", 0, 1, &error) &&
                  !kh_config_finish(config, &error) && strstr(error.text, "prices") != NULL,
              "an offset for a topic that is not read is refused");
    kh_config_free(config);
}

int main(void)
{
    test_defaults();
    test_handles();
    test_refusals();
    test_durations();
    test_options();
    test_start();
    test_shown_length();
    kh_config_free(NULL);
    return tap_end(&tap);
}
