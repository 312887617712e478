/*
 * Sends messages at an even pace, each with the time at which it was sent in its value: what the
 * latency of live messages is measured with.
 *
 *     ticker ADDRESSES TOPIC MESSAGES INTERVAL_US
 *
 * The value is CLOCK_MONOTONIC's seconds, in text, filled up to 100 bytes. Nothing waits for a
 * batch.
 */
#define _POSIX_C_SOURCE 200809L
#include <librdkafka/rdkafka.h>

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define VALUE_BYTES 100

static void die(const char *what)
{
    fprintf(stderr, "ticker: %s\n", what);
    exit(1);
}

static rd_kafka_t *open_producer(const char *addresses)
{
    char reason[256];
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_t *rk;

    if (rd_kafka_conf_set(conf, "bootstrap.servers", addresses, reason, sizeof reason) !=
            RD_KAFKA_CONF_OK ||
        rd_kafka_conf_set(conf, "linger.ms", "0", reason, sizeof reason) != RD_KAFKA_CONF_OK ||
        rd_kafka_conf_set(conf, "socket.nagle.disable", "true", reason, sizeof reason) !=
            RD_KAFKA_CONF_OK)
        die(reason);
    rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, reason, sizeof reason);
    if (rk == NULL)
        die(reason);
    return rk;
}

int main(int count, char **arguments)
{
    const struct rd_kafka_metadata *metadata;
    struct timespec at;
    rd_kafka_topic_t *topic;
    rd_kafka_t *rk;

    if (count != 5)
        die("usage: ticker ADDRESSES TOPIC MESSAGES INTERVAL_US");
    rk = open_producer(arguments[1]);
    topic = rd_kafka_topic_new(rk, arguments[2], NULL);
    /* So that the first message does not wait for that. */
    if (rd_kafka_metadata(rk, 0, topic, &metadata, 10000) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("no metadata");
    clock_gettime(CLOCK_MONOTONIC, &at);
    for (int i = 0; i < atoi(arguments[3]); i++) {
        char value[VALUE_BYTES];
        struct timespec now;
        int length;

        clock_gettime(CLOCK_MONOTONIC, &now);
        length = snprintf(value, sizeof value, "%lld.%09ld", (long long)now.tv_sec, now.tv_nsec);
        memset(value + length, ' ', sizeof value - (size_t)length);
        if (rd_kafka_produce(topic, i % metadata->topics[0].partition_cnt, RD_KAFKA_MSG_F_COPY,
                             value, VALUE_BYTES, "tick", 4, NULL) != 0)
            die("a message could not be sent");
        rd_kafka_poll(rk, 0);
        at.tv_nsec += atol(arguments[4]) * 1000;
        at.tv_sec += at.tv_nsec / 1000000000;
        at.tv_nsec %= 1000000000;
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &at, NULL);
    }
    if (rd_kafka_flush(rk, 10000) != RD_KAFKA_RESP_ERR_NO_ERROR)
        die("not all messages were delivered");
    rd_kafka_metadata_destroy(metadata);
    rd_kafka_topic_destroy(topic);
    rd_kafka_destroy(rk);
    return 0;
}
