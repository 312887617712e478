/*
 * Stands in for the part of librdkafka that the handles use, for ThreadSanitizer, which must see
 * every thread's code: a handle is a thread that writes to its fd all the time, closing takes a
 * while and calls every callback, destroying waits for the thread. Whatever is made is counted as
 * it is destroyed: a handle that is destroyed too early aborts.
 */
#include <librdkafka/rdkafka.h>

#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Wunused-parameter"

#define CLOSE_MS 10

struct rd_kafka_conf_s {
    void *opaque;
    char ca_location[64];
    void (*on_error)(rd_kafka_t *rk, int code, const char *reason, void *opaque);
    void (*on_log)(const rd_kafka_t *rk, int level, const char *facility, const char *text);
    int (*on_stats)(rd_kafka_t *rk, char *json, size_t length, void *opaque);
    void (*on_rebalance)(rd_kafka_t *rk, rd_kafka_resp_err_t code,
                         rd_kafka_topic_partition_list_t *partitions, void *opaque);
};

struct rd_kafka_s {
    struct rd_kafka_conf_s conf;
    pthread_t thread;
    atomic_bool over;
    atomic_int parts; /* topics and queues */
    pthread_mutex_t lock;
    int fd; /* under the lock */
    unsigned char payload[16];
    size_t size;
    void (*on_answer)(rd_kafka_t *rk, void *opaque); /* under the lock */
    void *on_answer_opaque;
    atomic_bool answered; /* the rebalance */
};

struct rd_kafka_queue_s {
    rd_kafka_t *rk;
};

struct rd_kafka_topic_s {
    rd_kafka_t *rk;
};

/* --- configuration ---------------------------------------------------------------------------- */

int rd_kafka_version(void)
{
    return 0x020002ff;
}

rd_kafka_conf_t *rd_kafka_conf_new(void)
{
    return calloc(1, sizeof(rd_kafka_conf_t));
}

void rd_kafka_conf_destroy(rd_kafka_conf_t *conf)
{
    free(conf);
}

rd_kafka_conf_res_t rd_kafka_conf_set(rd_kafka_conf_t *conf, const char *name, const char *value,
                                      char *reason, size_t size)
{
    if (strcmp(name, "ssl.ca.location") == 0)
        snprintf(conf->ca_location, sizeof conf->ca_location, "%s", value);
    return RD_KAFKA_CONF_OK;
}

rd_kafka_conf_res_t rd_kafka_conf_get(const rd_kafka_conf_t *conf, const char *name, char *value,
                                      size_t *size)
{
    return RD_KAFKA_CONF_UNKNOWN;
}

void rd_kafka_conf_properties_show(FILE *stream)
{
}

void rd_kafka_conf_set_opaque(rd_kafka_conf_t *conf, void *opaque)
{
    conf->opaque = opaque;
}

void rd_kafka_conf_set_error_cb(rd_kafka_conf_t *conf,
                                void (*call)(rd_kafka_t *rk, int code, const char *reason,
                                             void *opaque))
{
    conf->on_error = call;
}

void rd_kafka_conf_set_log_cb(rd_kafka_conf_t *conf,
                              void (*call)(const rd_kafka_t *rk, int level, const char *facility,
                                           const char *text))
{
    conf->on_log = call;
}

void rd_kafka_conf_set_stats_cb(rd_kafka_conf_t *conf, int (*call)(rd_kafka_t *rk, char *json,
                                                                   size_t length, void *opaque))
{
    conf->on_stats = call;
}

void rd_kafka_conf_set_rebalance_cb(rd_kafka_conf_t *conf,
                                    void (*call)(rd_kafka_t *rk, rd_kafka_resp_err_t code,
                                                 rd_kafka_topic_partition_list_t *partitions,
                                                 void *opaque))
{
    conf->on_rebalance = call;
}

/* --- a handle --------------------------------------------------------------------------------- */

static void *run(void *opaque)
{
    rd_kafka_t *rk = opaque;

    while (!atomic_load(&rk->over)) {
        pthread_mutex_lock(&rk->lock);
        if (rk->fd >= 0 && write(rk->fd, rk->payload, rk->size) < 0)
            rk->size += 0; /* full */
        if (rk->on_answer != NULL)
            rk->on_answer(rk, rk->on_answer_opaque);
        pthread_mutex_unlock(&rk->lock);
        (void)poll(NULL, 0, 1);
    }
    return NULL;
}

rd_kafka_t *rd_kafka_new(rd_kafka_type_t type, rd_kafka_conf_t *conf, char *reason, size_t size)
{
    rd_kafka_t *rk;

    if (conf->ca_location[0] != '\0') {
        snprintf(reason, size, "ssl.ca.location failed: %s", conf->ca_location);
        return NULL;
    }
    rk = calloc(1, sizeof *rk);
    rk->conf = *conf;
    rk->fd = -1;
    free(conf);
    pthread_mutex_init(&rk->lock, NULL);
    pthread_create(&rk->thread, NULL, run, rk);
    return rk;
}

void rd_kafka_destroy(rd_kafka_t *rk)
{
    if (atomic_load(&rk->parts) != 0)
        abort();
    atomic_store(&rk->over, true);
    pthread_join(rk->thread, NULL);
    pthread_mutex_destroy(&rk->lock);
    free(rk);
}

rd_kafka_resp_err_t rd_kafka_consumer_close(rd_kafka_t *rk)
{
    char json[] = "{}";
    rd_kafka_topic_partition_list_t nothing = {.cnt = 0};

    if (rk->conf.on_rebalance != NULL) {
        rk->conf.on_rebalance(rk, RD_KAFKA_RESP_ERR__REVOKE_PARTITIONS, &nothing, rk->conf.opaque);
        if (!atomic_load(&rk->answered))
            abort(); /* the real one would wait for ever */
    }
    for (int i = 0; i < CLOSE_MS; i++) {
        rk->conf.on_error(rk, RD_KAFKA_RESP_ERR__ALL_BROKERS_DOWN, "all down", rk->conf.opaque);
        rk->conf.on_log(rk, 3, "FAIL", "closing");
        (void)rk->conf.on_stats(rk, json, sizeof json, rk->conf.opaque);
        (void)poll(NULL, 0, 1);
    }
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

const char *rd_kafka_rebalance_protocol(rd_kafka_t *rk)
{
    return "EAGER";
}

rd_kafka_resp_err_t rd_kafka_assign(rd_kafka_t *rk,
                                    const rd_kafka_topic_partition_list_t *partitions)
{
    atomic_store(&rk->answered, true);
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

rd_kafka_resp_err_t rd_kafka_unsubscribe(rd_kafka_t *rk)
{
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

void *rd_kafka_opaque(const rd_kafka_t *rk)
{
    return rk->conf.opaque;
}

rd_kafka_resp_err_t rd_kafka_last_error(void)
{
    return RD_KAFKA_RESP_ERR__INVALID_ARG;
}

const char *rd_kafka_err2str(rd_kafka_resp_err_t code)
{
    return "an error";
}

const char *rd_kafka_err2name(rd_kafka_resp_err_t code)
{
    return "_INVALID_ARG";
}

/* --- queues and topics ------------------------------------------------------------------------ */

rd_kafka_resp_err_t rd_kafka_poll_set_consumer(rd_kafka_t *rk)
{
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

rd_kafka_resp_err_t rd_kafka_set_log_queue(rd_kafka_t *rk, rd_kafka_queue_t *queue)
{
    return RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_queue_t *make_queue(rd_kafka_t *rk)
{
    rd_kafka_queue_t *queue = calloc(1, sizeof *queue);

    queue->rk = rk;
    atomic_fetch_add(&rk->parts, 1);
    return queue;
}

rd_kafka_queue_t *rd_kafka_queue_get_consumer(rd_kafka_t *rk)
{
    return make_queue(rk);
}

rd_kafka_queue_t *rd_kafka_queue_get_partition(rd_kafka_t *rk, const char *topic, int32_t partition)
{
    return make_queue(rk);
}

rd_kafka_queue_t *rd_kafka_queue_new(rd_kafka_t *rk)
{
    return make_queue(rk);
}

void rd_kafka_queue_cb_event_enable(rd_kafka_queue_t *queue,
                                    void (*call)(rd_kafka_t *rk, void *opaque), void *opaque)
{
    rd_kafka_t *rk = queue->rk;

    pthread_mutex_lock(&rk->lock);
    rk->on_answer = call;
    rk->on_answer_opaque = opaque;
    pthread_mutex_unlock(&rk->lock);
}

void rd_kafka_queue_destroy(rd_kafka_queue_t *queue)
{
    atomic_fetch_sub(&queue->rk->parts, 1);
    free(queue);
}

void rd_kafka_queue_io_event_enable(rd_kafka_queue_t *queue, int fd, const void *payload,
                                    size_t size)
{
    rd_kafka_t *rk = queue->rk;

    pthread_mutex_lock(&rk->lock);
    rk->fd = fd;
    rk->size = size;
    if (size > 0)
        memcpy(rk->payload, payload, size);
    pthread_mutex_unlock(&rk->lock);
}

ssize_t rd_kafka_consume_batch_queue(rd_kafka_queue_t *queue, int timeout_ms,
                                     rd_kafka_message_t **messages, size_t size)
{
    return 0;
}

void rd_kafka_message_destroy(rd_kafka_message_t *message)
{
}

void rd_kafka_topic_partition_list_destroy(rd_kafka_topic_partition_list_t *list)
{
}

rd_kafka_topic_t *rd_kafka_topic_new(rd_kafka_t *rk, const char *topic, rd_kafka_topic_conf_t *conf)
{
    rd_kafka_topic_t *made = calloc(1, sizeof *made);

    made->rk = rk;
    atomic_fetch_add(&rk->parts, 1);
    return made;
}

void rd_kafka_topic_destroy(rd_kafka_topic_t *topic)
{
    atomic_fetch_sub(&topic->rk->parts, 1);
    free(topic);
}

/* --- named, and not called ------------------------------------------------------- */

rd_kafka_AdminOptions_t *rd_kafka_AdminOptions_new(rd_kafka_t *rk, rd_kafka_admin_op_t for_api)
{
    abort();
}

rd_kafka_resp_err_t rd_kafka_AdminOptions_set_request_timeout(rd_kafka_AdminOptions_t *options,
                                                              int timeout_ms, char *reason,
                                                              size_t size)
{
    abort();
}

void rd_kafka_AdminOptions_set_opaque(rd_kafka_AdminOptions_t *options, void *opaque)
{
    abort();
}

void rd_kafka_AdminOptions_destroy(rd_kafka_AdminOptions_t *options)
{
    abort();
}

rd_kafka_error_t *rd_kafka_incremental_assign(rd_kafka_t *rk,
                                              const rd_kafka_topic_partition_list_t *partitions)
{
    abort();
}

rd_kafka_error_t *rd_kafka_incremental_unassign(rd_kafka_t *rk,
                                                const rd_kafka_topic_partition_list_t *partitions)
{
    abort();
}

rd_kafka_error_t *rd_kafka_error_new(rd_kafka_resp_err_t code, const char *format, ...)
{
    abort();
}

rd_kafka_resp_err_t
rd_kafka_commit_queue(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *offsets,
                      rd_kafka_queue_t *queue,
                      void (*call)(rd_kafka_t *rk, rd_kafka_resp_err_t code,
                                   rd_kafka_topic_partition_list_t *offsets, void *opaque),
                      void *opaque)
{
    abort();
}

rd_kafka_event_t *rd_kafka_queue_poll(rd_kafka_queue_t *queue, int timeout_ms)
{
    abort();
}

rd_kafka_event_type_t rd_kafka_event_type(const rd_kafka_event_t *event)
{
    abort();
}

rd_kafka_resp_err_t rd_kafka_event_error(rd_kafka_event_t *event)
{
    abort();
}

int rd_kafka_topic_partition_list_del(rd_kafka_topic_partition_list_t *list, const char *topic,
                                      int32_t partition)
{
    abort();
}

void rd_kafka_event_destroy(rd_kafka_event_t *event)
{
    abort();
}

const char *rd_kafka_version_str(void)
{
    abort();
}

void rd_kafka_error_destroy(rd_kafka_error_t *error)
{
    abort();
}
