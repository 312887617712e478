/*
 * All inputs of the decision at once, for Frama-C's Eva; spec/engine/eva runs it.
 *
 * The owner's part of the contract is kept: the options point somewhere, nothing is called with
 * NULL or after free, and the questions name a partition that there is room for. All else is free:
 * any policy, room for one partition and then for three that is made at any time or cannot be made,
 * and an endless sequence of events of any type, an unknown one included, with any numbers in them.
 */
#include "catchup.c"

#include "__fc_builtin.h"

#include <limits.h>

#define FIRST_COUNT 1
#define COUNT 3
#define EVENT_TYPES (KH_EVENT_TICK + 1)

static int any_int(void)
{
    return Frama_C_interval(INT_MIN, INT_MAX);
}

static int64_t any_int64(void)
{
    return Frama_C_long_long_interval(INT64_MIN, INT64_MAX);
}

static bool any_bool(void)
{
    return Frama_C_interval(0, 1) != 0;
}

/* What is decided names a partition that is there, or none. */
static void check_action(void *opaque, const kh_action *action)
{
    const kh_catchup *catchup = opaque;
    kh_action copy = *action;

    /*@ check partition_is_there: -1 <= copy.partition < COUNT; */
    /*@ check type_is_known: KH_ACTION_PARTITION_CAUGHT_UP <= copy.type <= KH_ACTION_STALLED; */
    /*@ check cause_is_known: KH_STALL_UNKNOWN <= copy.cause <= KH_STALL_LAGGING_FOLLOWER; */
    (void)kh_catchup_is_caught_up(catchup);
}

static kh_event any_event(kh_event_type type)
{
    return (kh_event){.type = type,
                      .partition = any_int(),
                      .offset = any_int64(),
                      .low = any_int64(),
                      .target = any_int64(),
                      .end = any_int64(),
                      .stable = any_int64(),
                      .settled = any_bool(),
                      .error = (kh_ask_error)any_int(),
                      .now_ms = any_int64(),
                      .waited_ms = any_int64()};
}

/* The types that there are, one at a time, and all others together. */
static void apply_any(kh_catchup *catchup)
{
    int type = any_int();
    kh_event event;

    if (type >= 0 && type < EVENT_TYPES) {
        /*@ split type; */
        event = any_event((kh_event_type)type);
        kh_catchup_apply(catchup, &event, check_action, catchup);
        /*@ merge type; */
    } else {
        event = any_event((kh_event_type)type);
        kh_catchup_apply(catchup, &event, check_action, catchup);
    }
}

/* `partition`: one that there is room for. */
static void ask_everything(const kh_catchup *catchup, int partition)
{
    int64_t timeout_ms = kh_catchup_timeout_ms(catchup);
    kh_catchup_partition known = kh_catchup_get(catchup, partition);

    /*@ check timeout_is_time_or_none: -1 <= timeout_ms; */
    /*@ check offsets_are_not_negative:
          known.start >= 0 && known.low >= 0 && known.target >= 0 && known.position >= 0 &&
          known.taken >= 0; */
    (void)kh_catchup_is_crossing(catchup, partition, any_int64());
    (void)kh_catchup_is_caught_up(catchup);
    (void)kh_catchup_pending_count(catchup);
}

/* `count`: how many partitions there is room for. */
static void any_events(kh_catchup *catchup, int count)
{
    while (any_bool()) {
        apply_any(catchup);
        (void)kh_catchup_reserve(catchup, Frama_C_interval(INT_MIN, count)); /* is there already */
        if (count > 0)
            ask_everything(catchup, Frama_C_interval(0, count - 1));
    }
}

/* Room is made one after the other, with any events before, between and after. */
static void live(kh_catchup *catchup)
{
    any_events(catchup, 0);
    if (!kh_catchup_reserve(catchup, FIRST_COUNT)) {
        any_events(catchup, 0);
        return;
    }
    any_events(catchup, FIRST_COUNT);
    if (!kh_catchup_reserve(catchup, COUNT)) {
        any_events(catchup, FIRST_COUNT);
        return;
    }
    any_events(catchup, COUNT);
}

int main(void)
{
    kh_catchup_options options = {.continue_after_truncation = any_bool(),
                                  .stall_timeout_ms = any_int64()};
    kh_catchup *catchup = kh_catchup_new(&options);

    if (catchup != NULL)
        live(catchup);
    kh_catchup_free(catchup);
    return 0;
}
