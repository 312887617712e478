/*
 * What was fetched, on its way to the host: sorted into a batch, or kept to be compacted. See
 * consumer_state.h for the way as a whole.
 */
#include "consumer_state.h"

#include "keys.h"
#include "library.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* How many messages a step keeps at the most, so that it soon comes back. */
#define KEEP_AT_ONCE 2000

void kh_consumer_unpark(kh_consumer *c, int index)
{
    c->places.all[index].parked = false;
    c->parked_count--;
    kh_fetching_release(&c->fetching, index);
}

static void free_message(const kh_message *message)
{
    if (message->fetched != NULL)
        rd_kafka_message_destroy(message->fetched);
    free(message->kept);
}

void kh_consumer_drop_batch(kh_consumer *c, int index)
{
    int left = c->batch_at;

    for (int i = c->batch_at; i < c->batch_count; i++) {
        if (c->batch_places[i] == index) {
            free_message(&c->batch[i]);
            continue;
        }
        c->batch[left] = c->batch[i];
        c->batch_places[left++] = c->batch_places[i];
    }
    c->batch_count = left;
}

void kh_consumer_drop_kept(kh_consumer *c, int index)
{
    if (!is_compacting(c))
        return;
    kh_consumer_drop_batch(c, index);
    kh_latest_drop(c->latest, index);
}

/* Everything below T is with the host; what follows is not wanted before a step asks for it.
 * Reading stops there, so that nothing needs to be kept, and starts there again. */
static void park(kh_consumer *c, int index, int64_t offset)
{
    c->places.all[index].next = offset;
    c->places.all[index].parked = true;
    c->parked_count++;
    kh_fetching_hold(&c->fetching, index);
}

void kh_consumer_unpark_all(kh_consumer *c)
{
    for (int i = 0; i < c->places.count && c->parked_count > 0; i++)
        if (c->places.all[i].parked)
            kh_consumer_unpark(c, i);
}

/* --- history that is compacted ---------------------------------------------------------------- */

/* False: out of memory. The message is not taken: a later step tries again. */
static bool keep(kh_consumer *c, int index, const rd_kafka_message_t *message,
                 const kh_catchup_partition *p)
{
    bool from_start = p->start <= p->low;

    if (!kh_latest_keep(c->latest, index, message, c->keeps_tombstones || !from_start)) {
        kh_error_set_errno(&c->error, ENOMEM, "cannot keep the history");
        kh_consumer_tell_failure(c);
        return false;
    }
    c->kept_now++;
    c->meter.read++;
    return true;
}

static bool is_too_much(const kh_consumer *c, const kh_step *how)
{
    return how->max_bytes > 0 && kh_latest_bytes(c->latest) > how->max_bytes;
}

static void tell_too_much(kh_consumer *c, const kh_step *how)
{
    kh_error_set(&c->error, "MAX_BYTES",
                 "the latest messages of the history take more than max_bytes, %lld, after %lld "
                 "were read; reading goes on with more, or make a new consumer of fewer topics, or "
                 "one that shares them in a group",
                 (long long)how->max_bytes, (long long)c->meter.read);
    kh_consumer_tell_failure(c);
}

/* False: it must wait, because the signal has come, or there is no memory. */
static bool keep_or_park(kh_consumer *c, int index, rd_kafka_message_t *message)
{
    kh_catchup_partition p = kh_catchup_get(c->catchup, index);

    if (!p.has_target || message->offset >= p.target) {
        /* It has not arrived, being read again later; but it shows that history has. */
        kh_consumer_feed_offset(c, KH_EVENT_POSITION, index, message->offset);
        if (!is_compacting(c))
            return false;
        park(c, index, message->offset);
    } else {
        if (!keep(c, index, message, &p))
            return false;
        c->places.all[index].next = message->offset + 1;
        kh_consumer_feed_offset(c, KH_EVENT_MESSAGE, index, message->offset);
        kh_consumer_feed_offset(c, KH_EVENT_KEPT, index, message->offset);
    }
    rd_kafka_message_destroy(message);
    return true;
}

/* What keeping the messages behind the next one will look at in memory. */
static void prefetch_kept(const kh_consumer *c, int index)
{
    for (int step = 0; step < KH_KEYS_STEPS; step++)
        kh_latest_prefetch(c->latest, index,
                           kh_fetching_peek_ahead(&c->fetching, kh_keys_ahead(step)), step);
}

/* Keeps what comes next, as long as it is of one partition and below T - 1; the last of these
 * messages stands for all. False: none is. */
static bool keep_run(kh_consumer *c, const kh_step *how, int index)
{
    rd_kafka_message_t *message = kh_fetching_peek(&c->fetching);
    const rd_kafka_topic_t *rkt = message->rkt;
    int32_t partition = message->partition;
    kh_catchup_partition p = kh_catchup_get(c->catchup, index);
    int64_t first = c->places.all[index].next;
    int64_t next = first;
    rd_kafka_message_t *done[KEEP_AT_ONCE];
    int count = 0;

    if (!p.pending)
        return false;
    while (message != NULL && message->err == RD_KAFKA_RESP_ERR_NO_ERROR && message->rkt == rkt &&
           message->partition == partition && message->offset >= next &&
           message->offset < p.target - 1 && keep(c, index, message, &p)) {
        prefetch_kept(c, index);
        next = message->offset + 1;
        done[count++] = kh_fetching_take(&c->fetching);
        if (c->kept_now >= KEEP_AT_ONCE || is_too_much(c, how))
            break;
        message = kh_fetching_peek(&c->fetching);
    }
    /* All at once: one by one, in between, the C library takes a quarter more time for it all. */
    for (int i = 0; i < count; i++)
        rd_kafka_message_destroy(done[i]);
    if (next == first)
        return false;
    c->places.all[index].next = next;
    kh_consumer_note_allowed(c, index);
    kh_consumer_feed_offset(c, KH_EVENT_MESSAGE, index, next - 1);
    kh_consumer_feed_offset(c, KH_EVENT_KEPT, index, next - 1);
    return true;
}

bool kh_consumer_is_all_there(const kh_consumer *c)
{
    if (c->phase != PHASE_READING || kh_catchup_pending_count(c->catchup) == 0)
        return false;
    for (int i = 0; i < c->places.count; i++) {
        kh_catchup_partition p = kh_catchup_get(c->catchup, i);

        if (p.pending && !p.arrived)
            return false;
    }
    return true;
}

/* Hands out what was kept, partition by partition. Of one that nothing is left of everything has
 * been handled. */
static void serve_kept(kh_consumer *c, const kh_step *how)
{
    for (int i = 0; i < c->places.count && c->batch_count < how->max; i++) {
        kh_catchup_partition p = kh_catchup_get(c->catchup, i);
        kh_record *record = NULL;

        if (!p.pending)
            continue;
        if (!kh_latest_has(c->latest, i))
            kh_consumer_feed_offset(c, KH_EVENT_HANDLED, i, p.taken - 1);
        while (c->batch_count < how->max && (record = kh_latest_take(c->latest, i)) != NULL) {
            c->batch[c->batch_count] = (kh_message){.kept = record};
            c->batch_places[c->batch_count++] = i;
        }
    }
}

/* What stands for all that was handled of a partition: of what was kept the last that was, or
 * everything that was taken where there is no more of it. */
static int64_t handled_of_kept(const kh_consumer *c, int index, int64_t offset)
{
    if (kh_latest_has(c->latest, index) || (has_batch(c) && c->batch_places[c->batch_at] == index))
        return offset;
    return kh_catchup_get(c->catchup, index).taken - 1;
}

/* --- messages that are handed out as they come ------------------------------------------------ */

/* Hands a message out, unless it is out of date. False: it must wait for a later step. */
static bool sort_message(kh_consumer *c, const kh_step *how, rd_kafka_message_t *message,
                         bool *ends_batch)
{
    int index = kh_places_of(&c->places, message);
    kh_place *place = index >= 0 ? &c->places.all[index] : NULL;
    bool crossing;

    if (place == NULL || !place->assigned || place->parked || message->offset < place->next) {
        rd_kafka_message_destroy(message);
        return true;
    }
    kh_consumer_note_allowed(c, index);
    if (is_compacting(c))
        return keep_or_park(c, index, message);
    crossing = kh_catchup_is_crossing(c->catchup, index, message->offset);
    if (crossing && c->batch_count > 0 &&
        message->offset >= kh_catchup_get(c->catchup, index).target)
        return false;
    kh_consumer_feed_offset(c, KH_EVENT_MESSAGE, index, message->offset);
    if (how->stop_at_caught_up) {
        kh_catchup_partition p = kh_catchup_get(c->catchup, index);

        if (kh_catchup_is_caught_up(c->catchup))
            return false;
        if (!p.has_target || message->offset >= p.target) {
            park(c, index, message->offset);
            rd_kafka_message_destroy(message);
            return true;
        }
    }
    place->next = message->offset + 1;
    c->batch[c->batch_count] = (kh_message){.fetched = message};
    c->batch_places[c->batch_count++] = index;
    *ends_batch = crossing;
    return true;
}

/* Messages of the partition below this offset are handed out with no further question: none of them
 * is the last of its history or shows that there is no more of it, and none is beyond T where the
 * step is to stop there. */
static int64_t plain_below(const kh_consumer *c, const kh_step *how, int index)
{
    kh_catchup_partition p = kh_catchup_get(c->catchup, index);

    if (how->stop_at_caught_up && (!p.has_target || kh_catchup_is_caught_up(c->catchup)))
        return 0;
    if (p.pending)
        return p.target - 1;
    return how->stop_at_caught_up ? p.target : INT64_MAX;
}

/* Hands out what comes next, as long as it is plain and of one partition, as most is. The last of
 * these messages stands for all: no decision depends on those between. False: none is. */
static bool take_run(kh_consumer *c, const kh_step *how)
{
    rd_kafka_message_t *message = kh_fetching_peek(&c->fetching);
    const rd_kafka_topic_t *rkt = message->rkt;
    int32_t partition = message->partition;
    int index = kh_places_of(&c->places, message);
    int before = c->batch_count;
    int64_t next, below;

    if (index < 0 || !c->places.all[index].assigned || c->places.all[index].parked)
        return false;
    if (is_compacting(c))
        return keep_run(c, how, index);
    next = c->places.all[index].next;
    below = plain_below(c, how, index);
    while (message != NULL && message->err == RD_KAFKA_RESP_ERR_NO_ERROR && message->rkt == rkt &&
           message->partition == partition && message->offset >= next && message->offset < below) {
        next = message->offset + 1;
        c->batch[c->batch_count] = (kh_message){.fetched = kh_fetching_take(&c->fetching)};
        c->batch_places[c->batch_count++] = index;
        message = c->batch_count < how->max ? kh_fetching_peek(&c->fetching) : NULL;
    }
    if (c->batch_count == before)
        return false;
    c->places.all[index].next = next;
    kh_consumer_note_allowed(c, index);
    kh_consumer_feed_offset(c, KH_EVENT_MESSAGE, index, next - 1);
    return true;
}

static void fill_batch(kh_consumer *c, const kh_step *how)
{
    bool ends_batch = false;

    while (kh_fetching_has(&c->fetching) && c->batch_count < how->max && !ends_batch &&
           !c->has_error && c->kept_now < KEEP_AT_ONCE) {
        rd_kafka_message_t *message = kh_fetching_peek(&c->fetching);
        bool is_event = message != NULL && message->err != RD_KAFKA_RESP_ERR_NO_ERROR;

        if (is_event && c->batch_count > 0)
            return;
        if (message != NULL && !is_event && take_run(c, how))
            continue;
        /* Taken before it is sorted: parking drops what else was pulled of its partition. */
        message = kh_fetching_take(&c->fetching);
        if (is_event) {
            kh_consumer_on_message_error(c, message);
            rd_kafka_message_destroy(message);
        } else if (message != NULL && !sort_message(c, how, message, &ends_batch)) {
            kh_fetching_put_back(&c->fetching, message);
            return;
        }
    }
}

void kh_consumer_free_batch(kh_consumer *c)
{
    for (int i = 0; i < c->batch_count; i++)
        free_message(&c->batch[i]);
    c->batch_at = 0;
    c->batch_count = 0;
}

/* Everything that was queued has been pulled and handled: the position tells of control records
 * behind the last message, half a second before end-of-partition would. */
static void look_at_positions(kh_consumer *c)
{
    rd_kafka_topic_partition_list_t *list;

    if (!kh_library_position_is_exact() || kh_catchup_pending_count(c->catchup) == 0)
        return;
    list = rd_kafka_topic_partition_list_new(kh_catchup_pending_count(c->catchup));
    for (int i = 0; i < c->places.count; i++)
        if (kh_catchup_get(c->catchup, i).pending)
            rd_kafka_topic_partition_list_add(list, kh_places_topic(&c->places, i),
                                              c->places.all[i].partition);
    if (rd_kafka_position(c->rk, list) == RD_KAFKA_RESP_ERR_NO_ERROR)
        for (int i = 0, found = 0; i < c->places.count && found < list->cnt; i++)
            if (kh_catchup_get(c->catchup, i).pending &&
                list->elems[found].partition == c->places.all[i].partition &&
                strcmp(list->elems[found].topic, kh_places_topic(&c->places, i)) == 0)
                kh_consumer_feed_offset(c, KH_EVENT_POSITION, i, list->elems[found++].offset);
    rd_kafka_topic_partition_list_destroy(list);
}

void kh_consumer_fill(kh_consumer *c, const kh_step *how)
{
    bool done = false;

    while (!done && c->batch_count == 0 && !c->has_error) {
        bool stopped = how->stop_at_caught_up && kh_catchup_is_caught_up(c->catchup);

        if (is_compacting(c) && is_too_much(c, how))
            tell_too_much(c, how);
        else if (is_compacting(c) && kh_consumer_is_all_there(c))
            serve_kept(c, how);
        else if (c->kept_now >= KEEP_AT_ONCE)
            done = true;
        else if (kh_fetching_has(&c->fetching)) {
            fill_batch(c, how);
            done = kh_fetching_has(&c->fetching) && c->batch_count == 0 && stopped;
        } else if (stopped) {
            done = true;
        } else if (!kh_fetching_pull(&c->fetching, how->max)) {
            if (c->phase == PHASE_READING)
                look_at_positions(c);
            if (c->refused_count > 0)
                kh_consumer_look_for_silence(c, kh_clock_ms());
            done = true;
        }
    }
}

void kh_consumer_choose_history(kh_consumer *c, const kh_step *how)
{
    if (c->is_history_chosen)
        return;
    if (how->history != KH_HISTORY_WHOLE) {
        c->latest = kh_latest_new();
        if (c->latest == NULL || !kh_latest_reserve(c->latest, c->places.count)) {
            kh_latest_free(c->latest);
            c->latest = NULL;
            kh_error_set_errno(&c->error, ENOMEM, "cannot keep the history");
            kh_consumer_tell_failure(c);
            return;
        }
        c->keeps_tombstones = how->history == KH_HISTORY_TOMBSTONES;
    }
    c->is_history_chosen = true;
}

/* Its offset. */
static int64_t note_handled(kh_consumer *c, const kh_message *message)
{
    if (message->kept != NULL) {
        c->meter.bytes += message->kept->key_length + message->kept->value_length;
        return message->kept->offset;
    }
    c->meter.read++;
    c->meter.bytes += (int64_t)(message->fetched->len + message->fetched->key_len);
    return message->fetched->offset;
}

void kh_consumer_handled(kh_consumer *c, int count, int skipped)
{
    int end = c->batch_at + count;

    assert(end <= c->batch_count);
    c->meter.messages += count;
    c->meter.skipped += skipped;
    while (c->batch_at < end) {
        int index = c->batch_places[c->batch_at];
        int64_t offset = -1;
        bool kept = false;

        /* The last one of a partition's in a row stands for all. */
        for (; c->batch_at < end && c->batch_places[c->batch_at] == index; c->batch_at++) {
            offset = note_handled(c, &c->batch[c->batch_at]);
            kept = c->batch[c->batch_at].kept != NULL;
        }
        if (kept)
            offset = handled_of_kept(c, index, offset);
        kh_consumer_feed_offset(c, KH_EVENT_HANDLED, index, offset);
    }
}

const kh_message *kh_consumer_next(const kh_consumer *c, int ahead)
{
    return ahead >= 0 && ahead < c->batch_count - c->batch_at ? &c->batch[c->batch_at + ahead]
                                                              : NULL;
}

int kh_consumer_next_partition(const kh_consumer *c, int ahead)
{
    return kh_consumer_next(c, ahead) != NULL ? c->batch_places[c->batch_at + ahead] : -1;
}
