/*
 * Failures, and what the brokers do not allow.
 */
#include "consumer_state.h"

#include "access.h"
#include "library.h"

#include <stdio.h>

#define REFUSED_AGAIN_MS 3000

void kh_consumer_tell_failure(kh_consumer *c)
{
    c->has_error = true;
    c->has_failed = true;
    kh_latch_fail(c->latch, c->error.name, c->error.text);
}

void kh_consumer_note_allowed(kh_consumer *c, int index)
{
    if (c->places.all[index].refused)
        c->refused_count--;
    c->places.all[index].refused = false;
}

void kh_consumer_fail_start(kh_consumer *c)
{
    c->phase = PHASE_NEW;
    kh_helper_cancel(c->helper);
    kh_consumer_tell_failure(c);
}

/* librdkafka tells of a refusal once, and asks again in silence: see try_refused. */
static void note_refusal(kh_consumer *c, bool *is_refused)
{
    if (!*is_refused)
        c->refused_count++;
    *is_refused = true;
    c->must_try_refused = true;
    c->refused_again_ms = INT64_MAX;
    kh_consumer_tell_failure(c);
}

static void tell_group_refusal(kh_consumer *c)
{
    kh_error_set_kafka(&c->error, RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED,
                       "the group %s: the broker does not allow this client to be a member; it "
                       "needs READ on the group",
                       c->settings->group);
    note_refusal(c, &c->is_group_refused);
}

void kh_consumer_on_error(void *opaque, rd_kafka_resp_err_t code, const char *words)
{
    kh_consumer *c = opaque;
    char fatal[512];
    char reason[512];

    if (code == RD_KAFKA_RESP_ERR__FATAL) {
        code = rd_kafka_fatal_error(c->rk, fatal, sizeof fatal);
        kh_error_set_kafka(&c->error, code, "librdkafka has given up: %s; make a new consumer",
                           fatal);
        c->is_hopeless = true;
        kh_consumer_tell_failure(c);
        return;
    }
    if (code == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED) {
        /* A group that is none: reading without one needs no permission for it. */
        if (!is_member(c))
            return;
        tell_group_refusal(c);
        return;
    }
    snprintf(reason, sizeof reason, "%.*s", kh_config_shown_length(words), words);
    if (c->phase != PHASE_READING)
        kh_contacts_note(&c->contacts, reason);
    /* Also before a start that waits for the helper to end an earlier one. */
    if (c->phase != PHASE_READING && kh_access_is_refused(&code, reason)) {
        kh_error_set_kafka(&c->error, code, "no access to the brokers at %.200s: %s%s",
                           c->settings->addresses, reason, kh_access_advise(code, reason));
        kh_consumer_fail_start(c);
        return;
    }
    if (code == RD_KAFKA_RESP_ERR__MAX_POLL_EXCEEDED)
        kh_group_note_expelled(&c->group);
    if (code == RD_KAFKA_RESP_ERR__UNKNOWN_PARTITION ||
        code == RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART)
        kh_consumer_refresh_soon(c, kh_clock_ms());
    kh_reports_add_error(&c->reports, code, reason, NULL, -1, kh_clock_ms());
}

static void tell_refusal(kh_consumer *c, int index)
{
    kh_error_set_kafka(&c->error, RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED,
                       "topic %s: the broker does not allow this client to read it; it needs READ "
                       "on the topic",
                       kh_places_topic(&c->places, index));
    note_refusal(c, &c->places.all[index].refused);
}

void kh_consumer_try_refused(kh_consumer *c, int64_t now_ms)
{
    c->must_try_refused = false;
    c->refused_again_ms = now_ms + REFUSED_AGAIN_MS;
    for (int i = 0; i < c->places.count; i++) {
        if (!c->places.all[i].refused)
            continue;
        if (c->places.all[i].parked) {
            kh_consumer_note_allowed(c, i); /* unparking assigns it anew */
            continue;
        }
        kh_fetching_begin_anew(&c->fetching, i);
    }
}

void kh_consumer_look_for_silence(kh_consumer *c, int64_t now_ms)
{
    if (c->is_group_refused && now_ms >= c->refused_again_ms)
        tell_group_refusal(c);
    for (int i = 0; i < c->places.count && now_ms >= c->refused_again_ms; i++)
        if (c->places.all[i].refused)
            tell_refusal(c, i);
}

/* See judge_refusal. */
static void on_out_of_range(kh_consumer *c, int index, int32_t broker)
{
    if (broker < 0) {
        kh_consumer_feed_offset(c, KH_EVENT_RESET, index, 0);
        return;
    }
    c->places.all[index].refused_by = broker;
    kh_consumer_want_answer(c, index);
}

static void on_partition_error(kh_consumer *c, int index, const rd_kafka_message_t *message)
{
    kh_place *place = &c->places.all[index];

    switch ((int)message->err) {
    case RD_KAFKA_RESP_ERR__PARTITION_EOF:
        place->eof = message->offset;
        kh_consumer_note_allowed(c, index);
        kh_consumer_feed_offset(c, KH_EVENT_EOF, index, message->offset);
        return;
    case RD_KAFKA_RESP_ERR__AUTO_OFFSET_RESET:
        if (!kh_library_position_is_exact() && message->offset == place->eof + 1) {
            /* librdkafka went on one past the end that it had shown. */
            kh_fetching_begin_anew(&c->fetching, index);
            return;
        }
        /* fall through */
    case RD_KAFKA_RESP_ERR_OFFSET_OUT_OF_RANGE:
        on_out_of_range(c, index, rd_kafka_message_broker_id(message));
        return;
    case KH_LOG_TRUNCATION:
        kh_consumer_feed_offset(c, KH_EVENT_RESET, index, 0);
        return;
    case RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED:
        tell_refusal(c, index);
        return;
    default:
        kh_reports_add_error(&c->reports, message->err, rd_kafka_message_errstr(message),
                             kh_places_topic(&c->places, index), place->partition, kh_clock_ms());
    }
}

void kh_consumer_on_message_error(kh_consumer *c, const rd_kafka_message_t *message)
{
    int index = message->rkt != NULL ? kh_places_of(&c->places, message) : -1;

    if (index >= 0 && c->places.all[index].assigned && !c->places.all[index].parked)
        on_partition_error(c, index, message);
    else if (index < 0)
        kh_consumer_on_error(c, message->err, rd_kafka_message_errstr(message));
}
