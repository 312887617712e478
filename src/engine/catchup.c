/*
 * When is a partition done?
 *
 * Its history is every message that will ever be delivered from [start, T). Two things must come
 * together, in either order:
 *
 *   evidence   something showed that nothing of [start, T) is still to arrive;
 *   handled    every message of [start, T) that did arrive has been handled.
 *
 * A log as a reader meets it; T = 10 was recorded before reading:
 *
 *   offset    0   1   2   3   4   5   6   7   8   9 | 10  11  12
 *             m   m   .   m   m   .   .   m   .   c |  m   m   c
 *                     ^           ^^^^^           ^ T
 *                     compacted   aborted         commit marker
 *
 * The last history message is 7: no message with offset T - 1 will ever come, so comparing with
 * T - 1 waits for ever. What is evidence instead, and what each kind costs:
 *
 *   nothing        start >= T or low >= T: known when assigned (empty, emptied by retention)
 *   a message      with offset + 1 >= T: everything before it came before it. It is the only
 *                  evidence there is while writers keep the log growing (end-of-partition never
 *                  comes), and it costs nothing. If it is itself history (offset T - 1) it must be
 *                  handled first; if it lies beyond (10 above), the partition is done before its
 *                  handler runs, provided that 7 was handled.
 *   end of         at offset >= T: the reader has seen all there is. The one rule that holds for a
 *   partition      hole at the tail (8 and 9 compacted away). It costs one more fetch.
 *   the position   >= T: control records move it, so it is evidence behind a marker without the
 *                  extra fetch. It stays short of a hole.
 *
 * End-of-partition BELOW T proves nothing by itself: the broker asked may be a lagging follower, or
 * a transaction may be open (the reader sees the stable end only). So the log's real end is asked
 * for again. At or above T: wait on. Below T, in two answers at least a second apart (a new leader
 * may know less for a moment): truncated, what was promised no longer exists.
 *
 * The same question is asked when the broker refuses the position. Records that were deleted in
 * front of the reader are a gap: low has passed the position and the end has not moved back. All
 * else is a truncation. An answer only counts here if it was asked for after the refusal: an older
 * one may describe the log as it was while the position was still in it.
 *
 * A topic that was deleted and made anew, and is longer than T again, looks the same by all its
 * offsets. Where the owner can tell (by the topic's id) it is a truncation without further proof,
 * and nothing that is read of it completes the history before that is told.
 */
#include "catchup.h"

#include <assert.h>
#include <stdlib.h>

#define NONE INT64_C(-1)

/* One set of targets. A partition has one: its history. */
struct goal {
    bool known;       /* the snapshot named it */
    bool pending;     /* counted in kh_catchup.pending_count */
    bool evidence;    /* nothing below the target is still to arrive */
    int64_t target;   /* T */
    int64_t unpassed; /* one past the last message below T that arrived; NONE: none did */
};

struct partition {
    bool assigned;
    int64_t start;
    int64_t low;     /* of the snapshot */
    int64_t arrived; /* one past the last message that arrived */
    int64_t handled; /* one past the last message that was handled */
    int64_t taken;   /* the same, or one past the last that was kept, to be handled later */
    struct goal history;

    bool verify;            /* end-of-partition came below T and has not been explained */
    bool lost;              /* the position was refused */
    bool replaced;          /* the topic was made anew: the next answer only says where to begin */
    bool asking;            /* an ASK_END is out */
    bool asked_lost;        /* the last one was asked when the position was lost already */
    int64_t eof;            /* where the reader stands at an end; NONE: not at one */
    int64_t ask_at_ms;      /* when to ask for the end again; NONE: no need */
    int64_t below_since_ms; /* first answer that contradicts the target or position; NONE */
    int64_t gone_since_ms;  /* first answer that there is no such topic; NONE */

    bool diagnosing;        /* the answer is to name the cause of a stall */
    int64_t progress_at_ms; /* in waited time */
    int64_t stall_pause_ms;
};

struct kh_catchup {
    kh_catchup_options options;
    struct partition *partitions;
    int capacity;
    int pending_count;
    bool settled;
    bool caught_up;
    bool failed;
    int64_t now_ms;
    int64_t waited_ms;
    /* No partition needs a look before: lower bounds, so that a tick costs nothing until then. */
    int64_t look_at_ms;
    int64_t look_at_waited_ms;
};

/* What one call carries along. */
struct turn {
    kh_catchup *catchup;
    kh_act *act;
    void *opaque;
};

static int64_t elapsed(int64_t now_ms, int64_t since_ms)
{
    return now_ms > since_ms ? now_ms - since_ms : 0;
}

static int64_t later(int64_t time_ms, int64_t by_ms)
{
    return time_ms > INT64_MAX - by_ms ? INT64_MAX : time_ms + by_ms;
}

static int64_t earlier_of(int64_t a, int64_t b)
{
    return a < b ? a : b;
}

kh_catchup *kh_catchup_new(const kh_catchup_options *options)
{
    kh_catchup *catchup = calloc(1, sizeof *catchup);

    if (catchup == NULL)
        return NULL;
    catchup->options = *options;
    if (catchup->options.stall_timeout_ms < 0)
        catchup->options.stall_timeout_ms = 0;
    catchup->look_at_ms = INT64_MAX;
    catchup->look_at_waited_ms = INT64_MAX;
    return catchup;
}

void kh_catchup_free(kh_catchup *catchup)
{
    if (catchup != NULL)
        free(catchup->partitions);
    free(catchup);
}

bool kh_catchup_reserve(kh_catchup *catchup, int count)
{
    struct partition *grown;

    if (count <= catchup->capacity)
        return true;
    grown = realloc(catchup->partitions, (size_t)count * sizeof *grown);
    if (grown == NULL)
        return false;
    for (int i = catchup->capacity; i < count; i++)
        grown[i] = (struct partition){.start = 0};
    catchup->partitions = grown;
    catchup->capacity = count;
    return true;
}

/* --- saying what to do ------------------------------------------------------------------------ */

static int index_of(const kh_catchup *catchup, const struct partition *p)
{
    return (int)(p - catchup->partitions);
}

static void act(const struct turn *turn, const struct partition *p, kh_action action)
{
    if (turn->catchup->failed)
        return; /* reading has ended: the books are kept, but there is nothing more to do */
    action.partition = p != NULL ? index_of(turn->catchup, p) : -1;
    turn->act(turn->opaque, &action);
}

static void release_if_all_done(const struct turn *turn)
{
    kh_catchup *catchup = turn->catchup;

    assert(catchup->pending_count >= 0);
    if (catchup->caught_up || catchup->failed || !catchup->settled || catchup->pending_count > 0)
        return;
    catchup->caught_up = true;
    act(turn, NULL, (kh_action){.type = KH_ACTION_CAUGHT_UP});
}

static void ask_end(const struct turn *turn, struct partition *p)
{
    p->ask_at_ms = NONE;
    if (p->asking)
        return;
    p->asking = true;
    p->asked_lost = p->lost;
    act(turn, p, (kh_action){.type = KH_ACTION_ASK_END});
}

static void ask_end_at(const struct turn *turn, struct partition *p, int64_t at_ms)
{
    p->ask_at_ms = at_ms;
    turn->catchup->look_at_ms = earlier_of(turn->catchup->look_at_ms, at_ms);
}

/* --- a partition's state ---------------------------------------------------------------------- */

/* Is the owner still at work with what has arrived? What it keeps for later is off its hands. */
static bool has_unhandled(const struct partition *p)
{
    return p->taken < p->arrived;
}

static bool has_kept(const struct partition *p)
{
    return p->handled < p->taken;
}

/* How far the reader is known to have got: end-of-partition tells of a hole, a message does not. */
static int64_t reached(const struct partition *p)
{
    return p->eof > p->arrived ? p->eof : p->arrived;
}

static void note_progress(kh_catchup *catchup, struct partition *p)
{
    p->progress_at_ms = catchup->waited_ms;
    p->stall_pause_ms = catchup->options.stall_timeout_ms;
    p->diagnosing = false;
    if (p->history.pending)
        catchup->look_at_waited_ms =
            earlier_of(catchup->look_at_waited_ms, later(p->progress_at_ms, p->stall_pause_ms));
}

static void forget_doubts(struct partition *p)
{
    p->verify = false;
    p->lost = false;
    p->replaced = false;
    p->eof = NONE;
    p->ask_at_ms = NONE;
    p->below_since_ms = NONE;
    p->gone_since_ms = NONE;
}

/* Evidence and handled, together: the partition is done. */
static void finish_if_done(const struct turn *turn, struct partition *p)
{
    struct goal *history = &p->history;

    if (!history->pending || !history->evidence || p->handled < history->unpassed || p->replaced)
        return;
    history->pending = false;
    if (!p->lost)
        forget_doubts(p);
    turn->catchup->pending_count--;
    act(turn, p, (kh_action){.type = KH_ACTION_PARTITION_CAUGHT_UP});
    release_if_all_done(turn);
}

static void give_evidence(const struct turn *turn, struct partition *p)
{
    p->history.evidence = true;
    if (!p->replaced)
        p->diagnosing = false; /* what is left to wait for is the owner */
    finish_if_done(turn, p);
}

/* Doubts wait until the handler is through with what arrived before them: a question about the end
 * is only asked, and its answer only believed, with nothing unhandled. */
static void ask_if_in_doubt(const struct turn *turn, struct partition *p)
{
    if ((p->lost || p->verify) && !has_unhandled(p) && p->ask_at_ms == NONE)
        ask_end(turn, p);
}

static void read_from(const struct turn *turn, struct partition *p, int64_t offset)
{
    p->arrived = offset;
    /* Across a gap what was kept before it remains to be handled. */
    if (!has_kept(p)) {
        p->handled = offset;
        p->history.unpassed = NONE;
    }
    p->taken = offset;
    forget_doubts(p);
    note_progress(turn->catchup, p);
    act(turn, p, (kh_action){.type = KH_ACTION_READ_FROM, .offset = offset});
    if (p->history.pending && offset >= p->history.target)
        give_evidence(turn, p);
}

/* --- events ----------------------------------------------------------------------------------- */

static void on_snapshot(struct partition *p, const kh_event *event)
{
    if (p->assigned || event->low < 0 || event->target < 0)
        return;
    p->low = event->low;
    p->history = (struct goal){.known = true, .target = event->target, .unpassed = NONE};
}

static void on_assign(const struct turn *turn, struct partition *p, int64_t start)
{
    kh_catchup *catchup = turn->catchup;
    struct goal *history = &p->history;

    if (p->assigned || start < 0)
        return;
    p->assigned = true;
    p->asking = false;
    p->start = start;
    p->arrived = start;
    p->handled = start;
    p->taken = start;
    forget_doubts(p);
    history->unpassed = NONE;
    /* A partition that came later, or comes to this member after the signal, changes nothing. */
    history->pending = history->known && !catchup->caught_up;
    history->evidence = start >= history->target || p->low >= history->target;
    if (history->pending)
        catchup->pending_count++;
    note_progress(catchup, p);
    finish_if_done(turn, p);
}

static void on_revoke(const struct turn *turn, struct partition *p)
{
    if (p->history.pending)
        turn->catchup->pending_count--;
    p->history.pending = false;
    p->assigned = false;
    release_if_all_done(turn);
}

static void on_message(const struct turn *turn, struct partition *p, int64_t offset)
{
    struct goal *history = &p->history;

    if (offset < p->arrived)
        return;
    p->arrived = offset + 1;
    p->eof = NONE;
    p->gone_since_ms = NONE; /* there is a topic: it has just been read */
    note_progress(turn->catchup, p);
    if (!history->pending)
        return;
    if (offset < history->target)
        history->unpassed = offset + 1;
    if (offset + 1 >= history->target)
        give_evidence(turn, p);
}

static void on_handled(const struct turn *turn, struct partition *p, int64_t offset)
{
    /* A handler that outlives its partition's assignment says nothing about the next one. */
    if (offset >= p->arrived)
        return;
    if (offset + 1 > p->handled)
        p->handled = offset + 1;
    if (p->handled > p->taken)
        p->taken = p->handled;
    note_progress(turn->catchup, p);
    finish_if_done(turn, p);
    ask_if_in_doubt(turn, p);
}

static void on_kept(const struct turn *turn, struct partition *p, int64_t offset)
{
    if (offset >= p->arrived)
        return;
    if (offset + 1 > p->taken)
        p->taken = offset + 1;
    note_progress(turn->catchup, p);
    ask_if_in_doubt(turn, p);
}

static void on_eof(const struct turn *turn, struct partition *p, int64_t offset)
{
    p->eof = offset;
    if (!p->history.pending)
        return;
    if (offset >= p->history.target)
        give_evidence(turn, p);
    if (p->history.evidence) /* what is left of it is the owner's to handle */
        return;
    p->verify = true;
    ask_if_in_doubt(turn, p);
}

static void on_position(const struct turn *turn, struct partition *p, int64_t offset)
{
    if (p->history.pending && offset >= p->history.target)
        give_evidence(turn, p);
}

static void on_reset(const struct turn *turn, struct partition *p)
{
    /* An answer that contradicted T says nothing about the position. */
    if (!p->lost)
        p->below_since_ms = NONE;
    p->lost = true;
    ask_if_in_doubt(turn, p);
}

static void on_replaced(const struct turn *turn, struct partition *p)
{
    p->replaced = true;
    p->asked_lost = false; /* an answer that is out may be about the topic that is no more */
    on_reset(turn, p);
}

static void truncate(const struct turn *turn, struct partition *p, int64_t low, int64_t end,
                     bool gone)
{
    kh_catchup *catchup = turn->catchup;

    act(turn, p,
        (kh_action){.type = KH_ACTION_TRUNCATED,
                    .offset = p->handled,
                    .target = p->history.target,
                    .end = end,
                    .gone = gone});
    if (!catchup->options.continue_after_truncation) {
        catchup->failed = true;
        return;
    }
    if (gone) {
        forget_doubts(p);
        give_evidence(turn, p);
        return;
    }
    p->taken = p->handled; /* nor is anything of it to be handled that was kept */
    /* The snapshot goes with the log that it described. A partition that is done may be assigned
     * again before the signal: then the old low must not complete it, nor the old T be missed. */
    p->low = low;
    if (p->history.known && !catchup->caught_up)
        p->history.target = end;
    p->history.evidence = false;
    read_from(turn, p, low);
}

/* An answer that contradicts what was promised: true when it is the second one, a second later. */
static bool is_confirmed(const struct turn *turn, struct partition *p, int64_t *since_ms)
{
    int64_t now_ms = turn->catchup->now_ms;

    if (*since_ms == NONE)
        *since_ms = now_ms;
    if (elapsed(now_ms, *since_ms) >= KH_CATCHUP_CONFIRM_MS && !has_unhandled(p))
        return true;
    ask_end_at(turn, p, later(now_ms, KH_CATCHUP_CONFIRM_MS));
    return false;
}

static void report_stall(const struct turn *turn, struct partition *p, kh_stall_cause cause,
                         int64_t end)
{
    if (!p->diagnosing)
        return;
    p->diagnosing = false;
    act(turn, p,
        (kh_action){.type = KH_ACTION_STALLED,
                    .offset = p->handled,
                    .target = p->history.target,
                    .end = end,
                    .cause = cause});
}

static kh_stall_cause cause_of_stall(const struct partition *p, int64_t end, int64_t stable)
{
    if (end < p->history.target || p->replaced)
        return KH_STALL_TRUNCATED;
    if (reached(p) >= stable) /* which then lies below T, else the partition would be done */
        return KH_STALL_OPEN_TRANSACTION;
    if (p->eof != NONE && p->eof < stable)
        return KH_STALL_LAGGING_FOLLOWER;
    return KH_STALL_UNKNOWN;
}

static void on_end_is(const struct turn *turn, struct partition *p, const kh_event *event)
{
    bool pending = p->history.pending;
    bool end_moved_back = pending && event->end < p->history.target;

    p->asking = false;
    p->gone_since_ms = NONE;
    report_stall(turn, p, cause_of_stall(p, event->end, event->stable), event->end);
    if (has_unhandled(p))
        return; /* more arrived meanwhile; what doubt is left asks again when that is handled */
    if (p->lost && !p->asked_lost) {
        ask_if_in_doubt(turn, p); /* the answer may be older than what made the position invalid */
        return;
    }
    if (p->replaced) {
        truncate(turn, p, event->low, event->end, false);
        return;
    }
    if (p->lost && event->low > reached(p) && !end_moved_back) {
        act(turn, p, (kh_action){.type = KH_ACTION_GAP, .offset = reached(p), .to = event->low});
        read_from(turn, p, event->low);
        return;
    }
    if (!p->lost && !end_moved_back) {
        /* A lagging follower or an open transaction: more will come. */
        p->verify = false;
        p->below_since_ms = NONE;
        return;
    }
    if (is_confirmed(turn, p, &p->below_since_ms))
        truncate(turn, p, event->low, event->end, false);
}

static void on_ask_error(const struct turn *turn, struct partition *p, const kh_event *event)
{
    p->asking = false;
    if (event->error == KH_ASK_GONE) {
        report_stall(turn, p, KH_STALL_TOPIC_DELETED, NONE);
        if (is_confirmed(turn, p, &p->gone_since_ms))
            truncate(turn, p, NONE, NONE, true);
        return;
    }
    report_stall(turn, p, event->error == KH_ASK_NO_LEADER ? KH_STALL_NO_LEADER : KH_STALL_UNKNOWN,
                 NONE);
    if (p->history.pending || p->lost || p->gone_since_ms != NONE)
        ask_end_at(turn, p, later(turn->catchup->now_ms, KH_CATCHUP_CONFIRM_MS));
}

/* Asks what is due for the partition now, and says when to look again. */
static void look(const struct turn *turn, struct partition *p)
{
    kh_catchup *catchup = turn->catchup;
    int64_t stalled_at_ms = later(p->progress_at_ms, p->stall_pause_ms);

    if (p->ask_at_ms != NONE && p->ask_at_ms <= catchup->now_ms)
        ask_end(turn, p);
    if (p->ask_at_ms != NONE)
        catchup->look_at_ms = earlier_of(catchup->look_at_ms, p->ask_at_ms);
    /* While a handler is at work its end is progress, and sets the next time to look. What was kept
     * may wait for other partitions. */
    if (!p->history.pending || p->stall_pause_ms == INT64_MAX || has_unhandled(p) ||
        (p->history.evidence && !p->replaced))
        return;
    if (stalled_at_ms <= catchup->waited_ms) {
        int64_t doubled_ms = p->stall_pause_ms > KH_CATCHUP_STALL_PAUSE_MAX_MS / 2
                                 ? KH_CATCHUP_STALL_PAUSE_MAX_MS
                                 : p->stall_pause_ms * 2;

        p->progress_at_ms = catchup->waited_ms;
        p->stall_pause_ms = doubled_ms > 0 ? doubled_ms : 1;
        p->diagnosing = true;
        /* A question that is due within the second must keep its distance from the one before. */
        if (p->ask_at_ms == NONE)
            ask_end(turn, p);
        stalled_at_ms = later(p->progress_at_ms, p->stall_pause_ms);
    }
    catchup->look_at_waited_ms = earlier_of(catchup->look_at_waited_ms, stalled_at_ms);
}

static void note_time(kh_catchup *catchup, int64_t now_ms)
{
    if (now_ms > catchup->now_ms)
        catchup->now_ms = now_ms;
}

static void on_tick(const struct turn *turn, const kh_event *event)
{
    kh_catchup *catchup = turn->catchup;

    note_time(catchup, event->now_ms);
    if (event->waited_ms > catchup->waited_ms)
        catchup->waited_ms = event->waited_ms;
    if (catchup->failed ||
        (catchup->now_ms < catchup->look_at_ms && catchup->waited_ms < catchup->look_at_waited_ms))
        return;
    catchup->look_at_ms = INT64_MAX;
    catchup->look_at_waited_ms = INT64_MAX;
    for (int i = 0; i < catchup->capacity; i++)
        if (catchup->partitions[i].assigned)
            look(turn, &catchup->partitions[i]);
}

static void on_partition_event(const struct turn *turn, struct partition *p, const kh_event *event)
{
    switch (event->type) {
    case KH_EVENT_REVOKE:
        on_revoke(turn, p);
        break;
    case KH_EVENT_MESSAGE:
        on_message(turn, p, event->offset);
        break;
    case KH_EVENT_HANDLED:
        on_handled(turn, p, event->offset);
        break;
    case KH_EVENT_KEPT:
        on_kept(turn, p, event->offset);
        break;
    case KH_EVENT_EOF:
        on_eof(turn, p, event->offset);
        break;
    case KH_EVENT_POSITION:
        on_position(turn, p, event->offset);
        break;
    case KH_EVENT_RESET:
        on_reset(turn, p);
        break;
    case KH_EVENT_REPLACED:
        on_replaced(turn, p);
        break;
    case KH_EVENT_END_IS:
        note_time(turn->catchup, event->now_ms);
        on_end_is(turn, p, event);
        break;
    case KH_EVENT_ERROR:
        note_time(turn->catchup, event->now_ms);
        on_ask_error(turn, p, event);
        break;
    default:
        break;
    }
}

static bool is_sound(const kh_event *event)
{
    switch (event->type) {
    case KH_EVENT_MESSAGE:
    case KH_EVENT_HANDLED:
    case KH_EVENT_KEPT:
    case KH_EVENT_EOF:
    case KH_EVENT_POSITION:
        return event->offset >= 0 && event->offset < INT64_MAX;
    case KH_EVENT_END_IS:
        return event->low >= 0 && event->end >= 0 && event->stable >= 0 && event->now_ms >= 0;
    case KH_EVENT_ERROR:
        return event->now_ms >= 0;
    default:
        return true;
    }
}

void kh_catchup_apply(kh_catchup *catchup, const kh_event *event, kh_act *act_on, void *opaque)
{
    struct turn turn = {.catchup = catchup, .act = act_on, .opaque = opaque};
    struct partition *p;

    if (event->type == KH_EVENT_TICK) {
        on_tick(&turn, event);
        return;
    }
    if (event->type == KH_EVENT_SETTLED) {
        catchup->settled = event->settled;
        release_if_all_done(&turn);
        return;
    }
    if (event->partition < 0 || event->partition >= catchup->capacity || !is_sound(event))
        return;
    p = &catchup->partitions[event->partition];
    if (event->type == KH_EVENT_SNAPSHOT)
        on_snapshot(p, event);
    else if (event->type == KH_EVENT_ASSIGN)
        on_assign(&turn, p, event->offset);
    else if (p->assigned)
        on_partition_event(&turn, p, event);
}

/* --- questions -------------------------------------------------------------------------------- */

bool kh_catchup_is_crossing(const kh_catchup *catchup, int partition, int64_t offset)
{
    const struct goal *history = &catchup->partitions[partition].history;

    return history->pending && offset >= history->target - 1;
}

int64_t kh_catchup_timeout_ms(const kh_catchup *catchup)
{
    int64_t until_ms = elapsed(catchup->look_at_ms, catchup->now_ms);
    int64_t until_waited_ms = elapsed(catchup->look_at_waited_ms, catchup->waited_ms);

    if (catchup->failed ||
        (catchup->look_at_ms == INT64_MAX && catchup->look_at_waited_ms == INT64_MAX))
        return -1;
    return earlier_of(until_ms, until_waited_ms);
}

bool kh_catchup_is_caught_up(const kh_catchup *catchup)
{
    return catchup->caught_up;
}

int kh_catchup_pending_count(const kh_catchup *catchup)
{
    return catchup->pending_count;
}

kh_catchup_partition kh_catchup_get(const kh_catchup *catchup, int partition)
{
    const struct partition *p = &catchup->partitions[partition];

    return (kh_catchup_partition){.assigned = p->assigned,
                                  .has_target = p->history.known,
                                  .pending = p->history.pending,
                                  .arrived = p->history.evidence,
                                  .start = p->start,
                                  .low = p->low,
                                  .target = p->history.target,
                                  .position = p->handled,
                                  .taken = p->taken};
}
