/*
 * The history of a topic, then what happens live, in C: the engine alone, without Lua.
 *
 *   history [--until-caught-up] ADDRESSES TOPIC...
 *
 * Prints a line for each message, "topic partition offset key value", null as "(null)". What else
 * there is to say goes to stderr. Ctrl-C ends it.
 *
 * In the project's tree: make examples && build/examples/history localhost:9092 orders
 */
#include "config.h"
#include "consumer.h"
#include "error.h"
#include "report.h"

#include <inttypes.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* What the end of librdkafka's threads may take at most. */
#define CLOSE_TIMEOUT_MS 5000

static volatile sig_atomic_t stopped;

static void stop(int signal_number)
{
    (void)signal_number;
    stopped = 1;
}

/* Ctrl-C ends a wait in poll(2) only if system calls are not taken up again: no SA_RESTART. */
static void catch_interrupts(void)
{
    struct sigaction action;

    memset(&action, 0, sizeof(action));
    action.sa_handler = stop;
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
}

/* Makes a consumer of the addresses and topics; NULL with the error filled in. */
static kh_consumer *open_consumer(const char *addresses, const char *const *topics, size_t count,
                                  kh_error *error)
{
    kh_value addresses_value = {.type = KH_VALUE_STRING, .string = addresses};
    kh_value topics_value = {.type = KH_VALUE_STRINGS, .strings = topics, .count = count};
    kh_config *config;

    /* A configuration is filled in key by key, with the names that the Lua module has, too. Each
     * mistake is found here, and the error names the key. */
    config = kh_config_new();
    if (!config) {
        kh_error_set(error, "MEMORY", "no memory for a configuration");
        return NULL;
    }
    if (!kh_config_set(config, "addresses", &addresses_value, error) ||
        !kh_config_set(config, "topics", &topics_value, error) ||
        !kh_config_finish(config, error)) {
        kh_config_free(config);
        return NULL;
    }

    /* The consumer owns the configuration from here on, even if it cannot be opened. It asks
     * nothing of a broker before the first step: a wrong address shows there. */
    return kh_consumer_open(config, error);
}

/* What the engine has to tell: where history ends, a gap, an error that it gets over, ... */
static void print_reports(kh_consumer *consumer)
{
    kh_report *report;

    while ((report = kh_consumer_report(consumer)) != NULL) {
        if (report->kind == KH_REPORT_EVENT)
            fprintf(stderr, "%s: %s\n", report->name, report->text);
        kh_report_free(report);
    }
}

static void print_bytes(const void *bytes, size_t size)
{
    if (bytes)
        fwrite(bytes, 1, size, stdout);
    else
        fputs("(null)", stdout);
}

/* Stands for what a program does with a message. */
static void handle(const rd_kafka_message_t *message)
{
    printf("%s %" PRId32 " %" PRId64 " ", rd_kafka_topic_name(message->rkt), message->partition,
           message->offset);
    print_bytes(message->key, message->key_len);
    putchar(' ');
    print_bytes(message->payload, message->len);
    putchar('\n');
}

/* Reads until Ctrl-C, or until the history has been read. false: reading has failed. */
static bool read_history(kh_consumer *consumer, bool until_caught_up)
{
    /* With stop_at_caught_up exactly the messages that were there at the start are handed out. */
    kh_step how = {.max = 1000, .stop_at_caught_up = until_caught_up};
    bool was_caught_up = false;

    while (!stopped) {
        const kh_message *messages;

        /* One turn. It does not block and hands out what is there, in order for each partition. */
        int count = kh_consumer_step(consumer, &how, &messages);

        print_reports(consumer);

        /* It has failed for good: no such topic, no permission, a history that was cut off. What
         * can be mended by waiting, a broker that is down for example, does not come here. */
        if (count < 0)
            return false;

        /* A message counts as handled when the consumer is told so: progress, and the signal,
         * follow what was handled, not what was fetched. */
        for (int i = 0; i < count; i++) {
            handle(messages[i].fetched);
            kh_consumer_handled(consumer, 1, 0);
        }

        /* A batch ends where history ends, so this is the first moment at which it is known.
         * Another thread, or an event loop, would watch the latch instead:
         * kh_latch_fd(kh_consumer_latch(consumer)). */
        if (!was_caught_up && kh_consumer_is_caught_up(consumer)) {
            was_caught_up = true;
            fflush(stdout);
            print_reports(
                consumer); /* the verdict among them; kh_consumer_progress has its numbers */
            if (until_caught_up)
                return true;
        }

        /* Nothing there: wait until the consumer's file descriptor is readable, or its own time has
         * come. A program with an event loop gives that kh_consumer_pollfd and
         * kh_consumer_timeout_ms. A signal ends the wait, too. */
        if (count == 0) {
            fflush(stdout);
            (void)kh_consumer_wait(consumer, -1);
        }
    }
    return true;
}

int main(int argc, const char *const *argv)
{
    bool until_caught_up = argc > 1 && strcmp(argv[1], "--until-caught-up") == 0;
    int first = until_caught_up ? 2 : 1;
    kh_consumer *consumer;
    kh_error error;
    bool succeeded;

    if (argc - first < 2) {
        fprintf(stderr, "usage: %s [--until-caught-up] ADDRESSES TOPIC...\n", argv[0]);
        return 2;
    }
    catch_interrupts();
    consumer = open_consumer(argv[first], argv + first + 1, (size_t)(argc - first - 1), &error);
    if (!consumer) {
        fprintf(stderr, "%s: %s\n", error.name, error.text);
        return 1;
    }
    succeeded = read_history(consumer, until_caught_up);
    if (!succeeded)
        fprintf(stderr, "%s: %s\n", kh_consumer_error(consumer)->name,
                kh_consumer_error(consumer)->text);

    /* Messages belong to librdkafka: none of them may be used after this. */
    kh_consumer_close(consumer, CLOSE_TIMEOUT_MS);
    kh_consumer_free(consumer);
    return succeeded ? 0 : 1;
}
