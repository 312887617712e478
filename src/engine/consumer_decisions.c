/*
 * What kh_catchup is told, and what it says: see catchup.h for what each decision means.
 */
#include "consumer_state.h"

/* Reads the partition from there on. */
static void read_from(kh_consumer *c, int index, int64_t offset)
{
    kh_place *place = &c->places.all[index];

    kh_fetching_drop(&c->fetching, index);
    place->next = offset;
    place->eof = -1;
    place->committed =
        -1; /* what the group has is of a log that is no more, or lies before a gap */
    if (!place->parked)
        kh_fetching_begin_anew(&c->fetching, index);
    else if (is_compacting(c)) /* its history is another one now */
        kh_consumer_unpark(c, index);
}

kh_teller kh_consumer_teller(kh_consumer *c)
{
    return (kh_teller){.reports = &c->reports, .places = &c->places, .catchup = c->catchup};
}

static void on_caught_up(kh_consumer *c)
{
    kh_teller to = kh_consumer_teller(c);

    c->meter.caught_up_ms = kh_clock_ms();
    kh_latch_catch_up(c->latch);
    kh_tell_caught_up(&to, &c->meter);
}

static void on_partition_caught_up(kh_consumer *c, int index)
{
    kh_teller to = kh_consumer_teller(c);
    kh_place *place = &c->places.all[index];
    int64_t target = kh_catchup_get(c->catchup, index).target;

    /* Whatever lies between the last message and T is none: reading would go on at T, even where
     * that was told by the position, before any end-of-partition. */
    if (!place->gone && place->eof < target)
        place->eof = target;
    kh_tell_partition_caught_up(&to, index);
}

static void on_gap(kh_consumer *c, const kh_action *action)
{
    kh_teller to = kh_consumer_teller(c);

    c->meter.gaps++;
    kh_tell_gap(&to, action);
}

/* A host looks through all that it keeps: once for all the places of a step. */
void kh_consumer_forget(kh_consumer *c, int index)
{
    c->places.all[index].must_forget = true;
    c->must_forget = true;
}

/* What was read of a log that is no more. Where there is none instead, nothing else tells
 * librdkafka to drop what it has queued of it. */
static void forget_log(kh_consumer *c, int index)
{
    const kh_place *place = &c->places.all[index];

    if (c->forget == NULL)
        return;
    kh_consumer_forget(c, index);
    if (place->gone && place->assigned && !place->parked)
        kh_fetching_begin_anew(&c->fetching, index);
}

static void on_truncation(kh_consumer *c, const kh_action *action)
{
    kh_teller to = kh_consumer_teller(c);
    char text[512];

    c->meter.truncated++;
    c->places.all[action->partition].gone = action->gone;
    if (!action->gone)
        kh_consumer_drop_kept(c, action->partition);
    kh_tell_truncation(&to, action, text, sizeof text);
    if (c->settings->continue_after_truncation) {
        forget_log(c, action->partition);
        return;
    }
    kh_error_set(&c->error, "TRUNCATED",
                 "%s; make a new consumer, with empty state (or on_truncation = \"continue\")",
                 text);
    c->is_hopeless = true;
    kh_consumer_tell_failure(c);
}

static void act(void *opaque, const kh_action *action)
{
    kh_consumer *c = opaque;
    kh_teller to = kh_consumer_teller(c);

    switch (action->type) {
    case KH_ACTION_PARTITION_CAUGHT_UP:
        on_partition_caught_up(c, action->partition);
        break;
    case KH_ACTION_CAUGHT_UP:
        on_caught_up(c);
        break;
    case KH_ACTION_ASK_END:
        kh_consumer_want_answer(c, action->partition);
        break;
    case KH_ACTION_READ_FROM:
        read_from(c, action->partition, action->offset);
        break;
    case KH_ACTION_GAP:
        on_gap(c, action);
        break;
    case KH_ACTION_TRUNCATED:
        on_truncation(c, action);
        break;
    case KH_ACTION_STALLED:
        kh_tell_stall(&to, action);
        break;
    }
}

void kh_consumer_feed(kh_consumer *c, const kh_event *event)
{
    kh_catchup_apply(c->catchup, event, act, c);
}

void kh_consumer_feed_offset(kh_consumer *c, kh_event_type type, int index, int64_t offset)
{
    kh_consumer_feed(c, &(kh_event){.type = type, .partition = index, .offset = offset});
}
