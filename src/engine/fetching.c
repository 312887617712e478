#include "fetching.h"
#include "clock.h"
#include "handles.h"
#include "library.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A fetcher that must be woken by hand (librdkafka < 2.2) is woken this often at the most. */
#define POKE_MS 2

bool kh_fetching_init(kh_fetching *f, int room)
{
    f->pulled = calloc((size_t)room, sizeof(rd_kafka_message_t *));
    f->room = room;
    return f->pulled != NULL;
}

void kh_fetching_clear(kh_fetching *f)
{
    while (kh_fetching_has(f)) {
        rd_kafka_message_t *message = kh_fetching_take(f);

        if (message != NULL)
            rd_kafka_message_destroy(message);
    }
}

void kh_fetching_free(kh_fetching *f)
{
    free(f->pulled);
    f->pulled = NULL;
}

/* --- what is fetched -------------------------------------------------------------------------- */

static void report_failed_call(kh_fetching *f, int place, const char *what,
                               rd_kafka_error_t *failed)
{
    char text[256];

    if (failed == NULL)
        return;
    snprintf(text, sizeof text, "%s: %s", what, rd_kafka_error_string(failed));
    kh_reports_add_error(f->reports, rd_kafka_error_code(failed), text,
                         kh_places_topic(f->places, place), f->places->all[place].partition,
                         kh_clock_ms());
    rd_kafka_error_destroy(failed);
}

static void add_one(kh_fetching *f, int place)
{
    rd_kafka_topic_partition_list_t *list = kh_places_list(f->places, place, 1);

    report_failed_call(f, place, "cannot read the partition",
                       rd_kafka_incremental_assign(f->rk, list));
    rd_kafka_topic_partition_list_destroy(list);
}

static void remove_one(kh_fetching *f, int place)
{
    rd_kafka_topic_partition_list_t *list = kh_places_list(f->places, place, 1);

    report_failed_call(f, place, "cannot leave the partition",
                       rd_kafka_incremental_unassign(f->rk, list));
    rd_kafka_topic_partition_list_destroy(list);
}

/* Under the eager protocol an assignment changes as a whole only. */
static void assign_whole_anew(kh_fetching *f)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(f->places->count);
    rd_kafka_resp_err_t failed;

    for (int i = 0; i < f->places->count; i++) {
        const kh_place *place = &f->places->all[i];

        if (!place->assigned)
            continue;
        kh_fetching_drop(f, i);
        rd_kafka_topic_partition_list_add(list, kh_places_topic(f->places, i), place->partition)
            ->offset = place->next;
    }
    failed = rd_kafka_assign(f->rk, list);
    if (failed != RD_KAFKA_RESP_ERR_NO_ERROR)
        kh_reports_add_error(f->reports, failed, "cannot begin the partitions anew", NULL, -1,
                             kh_clock_ms());
    rd_kafka_topic_partition_list_destroy(list);
}

/* Absolute offsets: the first message comes in milliseconds, not after half a second. */
rd_kafka_resp_err_t kh_fetching_begin_all(kh_fetching *f)
{
    rd_kafka_topic_partition_list_t *list = kh_places_list(f->places, 0, f->places->count);
    rd_kafka_resp_err_t failed = rd_kafka_assign(f->rk, list);

    rd_kafka_topic_partition_list_destroy(list);
    return failed;
}

void kh_fetching_begin(kh_fetching *f, int place)
{
    add_one(f, place);
}

/* Around a rebalance librdkafka pauses what a member keeps, and goes on at its own position: where
 * that is one past an end-of-partition, the next message would be left out. */
static void distrust_positions(kh_fetching *f)
{
    for (int i = 0; i < f->places->count; i++) {
        kh_place *place = &f->places->all[i];

        if (place->assigned && place->eof >= 0 && !place->parked && !place->begin_anew) {
            kh_fetching_drop(f, i);
            place->begin_anew = true;
            f->anew_count++;
        }
    }
}

void kh_fetching_unbind(kh_fetching *f)
{
    bool whole = kh_handles_is_eager(f->rk);
    bool any = false;

    if (f->is_bound && !whole && !kh_library_position_is_exact())
        distrust_positions(f);
    f->is_bound = false;
    for (int i = 0; i < f->places->count && f->anew_count > 0; i++) {
        if (!f->places->all[i].begin_anew)
            continue;
        f->places->all[i].begin_anew = false;
        f->anew_count--;
        if (!f->places->all[i].assigned)
            continue;
        any = true;
        if (!whole) {
            remove_one(f, i);
            add_one(f, i);
        }
    }
    if (whole && any)
        assign_whole_anew(f);
}

/* Not rd_kafka_seek: a partition whose position was refused is not being fetched, and can only be
 * assigned anew. */
void kh_fetching_begin_anew(kh_fetching *f, int place)
{
    kh_fetching_drop(f, place);
    if (f->settings->group == NULL) {
        remove_one(f, place);
        add_one(f, place);
        return;
    }
    if (!f->places->all[place].begin_anew)
        f->anew_count++;
    f->places->all[place].begin_anew = true;
    if (!f->is_bound)
        kh_fetching_unbind(f);
}

static void set_paused(kh_fetching *f, int place, bool paused)
{
    rd_kafka_topic_partition_list_t *list = kh_places_list(f->places, place, 1);

    (void)(paused ? rd_kafka_pause_partitions(f->rk, list)
                  : rd_kafka_resume_partitions(f->rk, list));
    rd_kafka_topic_partition_list_destroy(list);
}

/* A member must not leave a partition that the group has given it: it pauses. */
void kh_fetching_hold(kh_fetching *f, int place)
{
    if (f->settings->group == NULL)
        remove_one(f, place);
    else
        set_paused(f, place, true);
    kh_fetching_drop(f, place);
}

void kh_fetching_release(kh_fetching *f, int place)
{
    if (f->settings->group == NULL) {
        add_one(f, place);
        return;
    }
    set_paused(f, place, false);
    kh_fetching_begin_anew(f, place);
}

void kh_fetching_forget_hold(kh_fetching *f, int place)
{
    set_paused(f, place, false);
}

/* --- what was pulled -------------------------------------------------------------------------- */

bool kh_fetching_has(const kh_fetching *f)
{
    return f->at < f->count;
}

rd_kafka_message_t *kh_fetching_peek(const kh_fetching *f)
{
    return kh_fetching_has(f) ? f->pulled[f->at] : NULL;
}

const rd_kafka_message_t *kh_fetching_peek_ahead(const kh_fetching *f, int ahead)
{
    return ahead < f->count - f->at ? f->pulled[f->at + ahead] : NULL;
}

rd_kafka_message_t *kh_fetching_take(kh_fetching *f)
{
    rd_kafka_message_t *message = f->pulled[f->at];

    f->pulled[f->at++] = NULL;
    return message;
}

void kh_fetching_put_back(kh_fetching *f, rd_kafka_message_t *message)
{
    f->pulled[--f->at] = message;
}

void kh_fetching_drop(kh_fetching *f, int place)
{
    f->places->all[place].refused_by = -1;
    for (int i = f->at; i < f->count; i++) {
        rd_kafka_message_t *message = f->pulled[i];

        if (message != NULL && message->rkt != NULL && kh_places_of(f->places, message) == place) {
            rd_kafka_message_destroy(message);
            f->pulled[i] = NULL;
        }
    }
}

/* What a pull has taken may have been all of a full queue, however few messages that were. */
static bool may_have_been_full(const kh_fetching *f, int max)
{
    int64_t bytes = 0;

    if (f->count == max || f->count >= f->settings->queued_min_messages)
        return true;
    for (int i = 0; i < f->count; i++)
        bytes += (int64_t)(f->pulled[i]->len + f->pulled[i]->key_len);
    /* librdkafka counts in its own way: rather too early than too late. */
    return bytes >= f->settings->queued_max_bytes / 2;
}

/* A batch, but for a member of a group where that may lose messages. */
static int pull_from_queue(kh_fetching *f, rd_kafka_message_t **messages, int max)
{
    int count = 0;
    ssize_t batch;

    f->polled_ms = kh_clock_ms();
    if (f->settings->group != NULL && !kh_library_pulls_batches_safely()) {
        while (count < max && (messages[count] = rd_kafka_consumer_poll(f->rk, 0)) != NULL)
            count++;
        return count;
    }
    batch = rd_kafka_consume_batch_queue(f->queue, 0, messages, (size_t)max);
    return batch > 0 ? (int)batch : 0;
}

bool kh_fetching_pull(kh_fetching *f, int max)
{
    f->at = 0;
    f->count = 0;
    f->count = pull_from_queue(f, f->pulled, max);
    f->has_queued = f->count > 0;
    if (f->settings->must_poke && may_have_been_full(f, max))
        f->owes_poke = true;
    return f->count > 0;
}

/* At the front again, with twice the room if need be; false: no room. */
static bool make_room(kh_fetching *f)
{
    rd_kafka_message_t **grown;

    if (f->count < f->room)
        return true;
    if (f->at > 0) {
        memmove(f->pulled, f->pulled + f->at, (size_t)(f->count - f->at) * sizeof *f->pulled);
        f->count -= f->at;
        f->at = 0;
        return true;
    }
    grown = realloc(f->pulled, (size_t)f->room * 2 * sizeof *grown);
    if (grown == NULL)
        return false;
    f->pulled = grown;
    f->room *= 2;
    return true;
}

void kh_fetching_poll(kh_fetching *f)
{
    rd_kafka_message_t *message;

    /* The callbacks may drop what was pulled, but add nothing. */
    if (make_room(f) && pull_from_queue(f, &message, 1) > 0)
        f->pulled[f->count++] = message;
}

/* Below librdkafka 2.2 a fetcher that found the queue full sleeps for a second, whatever happens to
 * the queue. Storing credentials, the same ones, has the side effect of waking it. */
void kh_fetching_poke(kh_fetching *f, int64_t now_ms)
{
    if (!f->owes_poke || now_ms < f->poked_ms + POKE_MS ||
        rd_kafka_queue_length(f->queue) >= (size_t)f->settings->queued_min_messages)
        return;
    f->owes_poke = false;
    f->poked_ms = now_ms;
    rd_kafka_error_destroy(rd_kafka_sasl_set_credentials(f->rk, f->settings->sasl_username,
                                                         f->settings->sasl_password));
}

int64_t kh_fetching_due_ms(const kh_fetching *f)
{
    int64_t due = f->owes_poke ? f->poked_ms + POKE_MS : INT64_MAX;

    if (f->settings->group != NULL && f->polled_ms > 0 &&
        f->polled_ms + f->settings->max_poll_ms / 3 < due)
        due = f->polled_ms + f->settings->max_poll_ms / 3;
    return due;
}
