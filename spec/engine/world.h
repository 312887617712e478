/*
 * The world of a consumer in small, to put the decision to the test: a log of records for each
 * partition, a model of librdkafka that reads it, a model of the owner that feeds the events and
 * carries out the actions. It knows nothing of the decision's rules.
 *
 * What is expected is taken from the logs and from how far the reader has got in them, never from
 * the events: a partition is done when the reader has passed T and every record below T that can be
 * read, or may yet become readable, has been handled.
 *
 * The program that includes it says how large the world is (MAX_PARTITIONS, MAX_OFFSETS, MAX_QUEUE)
 * and what happens in it: below() and one_in().
 */
#ifndef WORLD_H
#define WORLD_H

#include "catchup.h"
#include "tap.h"

#include <inttypes.h>
#include <stdlib.h>

#define TRANSACTIONS 2
#define REST_TURNS 300

/* --- the model -------------------------------------------------------------------------------- */

enum kind {
    HOLE, /* compacted away */
    DATA,
    OPEN, /* data of a transaction that has not ended */
    ABORTED,
    MARKER
};

struct record {
    enum kind kind;
    int transaction;
    int id;
    bool handled;
    bool unseen; /* written where the reader had already been, in a log that was cut */
};

struct log {
    bool exists;
    int64_t low;
    int64_t end;
    struct record at[MAX_OFFSETS];
    int cuts; /* how often it was cut, made anew or deleted */
    int anew; /* which of them made it anew last; 0: none */
};

enum op_type { OP_MESSAGE, OP_CONTROL, OP_EOF, OP_RESET };

struct op {
    enum op_type type;
    int64_t offset;
    int id;
};

struct queue {
    struct op ops[MAX_QUEUE];
    int first;
    int count;
};

struct reader {
    int64_t position;     /* the next offset to fetch */
    int64_t app_position; /* rd_kafka_position; -1: none yet */
    int64_t follower_end; /* INT64_MAX: it reads from the leader */
    int64_t eof_told;     /* the end that was last told; -1: none */
    int64_t eof_fed;      /* the same, as far as it was fed */
    bool stopped;         /* its position was refused */
    struct queue fetched; /* not yet fed */
    struct queue arrived; /* fed, not yet handled */
    struct queue kept;    /* to be handled when all has arrived */
};

struct question {
    bool out;
    bool sampled;
    int64_t due_ms;
    kh_event answer;
    int cuts;
};

struct stream {
    struct log log;
    struct reader reader;
    bool known;
    bool assigned;
    bool pending;
    bool passed;   /* the reader has been past T, or there was nothing below it to read */
    bool shown;    /* the decision was told something that proves it */
    bool gone;     /* reported as deleted */
    bool given_up; /* the same, and nothing was read of it since: what was kept is all there is */
    bool reset_fed;
    bool replaced; /* told to be made anew, and not yet reported */
    int64_t snapshot_low;
    int64_t target;
    int64_t start;
    int64_t handled;
    int64_t taken; /* handled or kept */
    int64_t progress_waited_ms;
    struct question question;
    struct question stale; /* of an assignment that is over */
    int cuts_answered;     /* known to the last answer */
    int cuts_reported;
};

/* What may happen in this schedule. */
struct world {
    bool cuts;
    bool deletions;
    bool rebalances;
    bool followers;
    bool transactions;
    bool retention;
    bool compaction;
    bool positions;
    bool failures; /* of questions */
    bool bad_handlers;
    bool stale_answers; /* they come to a partition that is revoked meanwhile */
    bool keeps;         /* the owner keeps history, and handles it when all of it is there */
    bool young_leader;  /* one that knows less for less than a second, once */
    bool stable_target;
    bool whims; /* ends are told late or again, and answers take their time */
    int fetch_max;
};

struct counts {
    uint64_t events;
    uint64_t caught_up;
    uint64_t partitions_done;
    uint64_t gaps;
    uint64_t truncated;
    uint64_t gone;
    uint64_t stalled[KH_STALL_LAGGING_FOLLOWER + 1];
    uint64_t questions;
    uint64_t rebalances;
    uint64_t kept;
    uint64_t by_message, by_eof, by_position, by_handled, at_start;
    uint64_t never_told;
};

struct simulation {
    void *chance; /* what below() and one_in() answer from */
    struct world world;
    kh_catchup *catchup;
    kh_catchup_options options;
    struct stream partitions[MAX_PARTITIONS];
    int count;
    int next_id;
    bool settled;
    bool signalled;
    bool ended; /* by a truncation */
    bool resting;
    int64_t now_ms;
    int64_t waited_ms;
    int64_t young_until_ms;
    kh_event event; /* the one being fed */
    struct counts *counts;
    bool trace;
    const char *failure;
};

/* What happens is the program's choice: a number from 0 to limit - 1, and whether 1 in n happens.
 */
static int below(struct simulation *s, int limit);
static bool one_in(struct simulation *s, int n);

static int64_t between(struct simulation *s, int64_t first, int64_t last)
{
    return first + below(s, (int)(last - first + 1));
}

__attribute__((format(printf, 2, 3))) static void trace(const struct simulation *s,
                                                        const char *format, ...)
{
    va_list arguments;

    if (!s->trace)
        return;
    va_start(arguments, format);
    fputs("#   ", stdout);
    vprintf(format, arguments);
    fputc('\n', stdout);
    va_end(arguments);
}

static void require(struct simulation *s, bool holds, const char *rule)
{
    if (holds || s->failure != NULL)
        return;
    s->failure = rule;
    trace(s, "FAILED: %s", rule);
}

static int number_of(const struct simulation *s, const struct stream *p)
{
    return (int)(p - s->partitions);
}

static struct op *push(struct queue *queue, struct op op)
{
    struct op *slot = &queue->ops[(queue->first + queue->count) % MAX_QUEUE];

    if (queue->count == MAX_QUEUE)
        abort();
    queue->count++;
    *slot = op;
    return slot;
}

static struct op pop(struct queue *queue)
{
    struct op op = queue->ops[queue->first];

    queue->first = (queue->first + 1) % MAX_QUEUE;
    queue->count--;
    return op;
}

static const struct op *peek(const struct queue *queue, int index)
{
    return &queue->ops[(queue->first + index) % MAX_QUEUE];
}

static void clear(struct queue *queue)
{
    queue->first = 0;
    queue->count = 0;
}

/* The record that was fetched is still in the log; else it is of a log that is no more. */
static bool is_in_log(const struct log *log, const struct op *op)
{
    return op->offset < log->end && log->at[op->offset].id == op->id;
}

/* --- what is to be expected ------------------------------------------------------------------- */

static bool has_message_below(const struct queue *queue, int64_t target)
{
    for (int i = 0; i < queue->count; i++)
        if (peek(queue, i)->type == OP_MESSAGE && peek(queue, i)->offset < target)
            return true;
    return false;
}

/* The oracle: is there nothing of [start, T) that was not handled and can still be? */
static bool all_is_handled(const struct stream *p)
{
    const struct log *log = &p->log;
    int64_t offset = p->start > log->low ? p->start : log->low;

    if (p->given_up)
        return p->reader.kept.count == 0;
    if (has_message_below(&p->reader.arrived, p->target) || p->reader.kept.count > 0 ||
        (!p->gone && has_message_below(&p->reader.fetched, p->target)))
        return false;
    for (; log->exists && offset < p->target && offset < log->end; offset++) {
        const struct record *record = &log->at[offset];
        bool readable = record->kind == DATA || record->kind == OPEN;

        if (readable && !record->handled && !record->unseen)
            return false;
    }
    return true;
}

static int pending_count(const struct simulation *s)
{
    int count = 0;

    for (int i = 0; i < s->count; i++)
        count += s->partitions[i].assigned && s->partitions[i].pending ? 1 : 0;
    return count;
}

/* What must hold between any two events. */
static void check_between_events(struct simulation *s)
{
    if (s->ended)
        return;
    for (int i = 0; i < s->count; i++) {
        struct stream *p = &s->partitions[i];
        kh_catchup_partition known = kh_catchup_get(s->catchup, i);

        require(s,
                !p->assigned || !p->pending || !p->shown || p->replaced || p->taken > p->handled ||
                    has_message_below(&p->reader.arrived, p->target),
                "prompt: a partition is done with the event that decides it");
        require(s, known.assigned == p->assigned && known.pending == (p->assigned && p->pending),
                "the state that can be asked is the model's");
        require(s, !p->assigned || (known.position == p->handled && known.start >= 0),
                "the position that can be asked is one past what was handled");
        require(s, !p->assigned || known.taken == p->taken,
                "how much was taken is one past what was handled or kept");
    }
    require(s, kh_catchup_pending_count(s->catchup) == pending_count(s),
            "the count of pending partitions is the model's");
    require(s, s->signalled || !s->settled || pending_count(s) > 0,
            "prompt: the signal comes with the event that decides it");
    require(s, kh_catchup_is_caught_up(s->catchup) == s->signalled,
            "the state of the signal that can be asked is the model's");
}

/* --- what the owner keeps --------------------------------------------------------------------- */

static void drop_kept(struct stream *p)
{
    clear(&p->reader.kept);
    p->taken = p->handled;
}

/* Is it history, and kept? */
static bool is_to_keep(const struct simulation *s, const struct stream *p)
{
    return s->world.keeps && p->pending;
}

/* --- the reader goes elsewhere ---------------------------------------------------------------- */

static void place_reader(struct stream *p, int64_t offset)
{
    struct reader *reader = &p->reader;

    reader->position = offset;
    reader->app_position = -1;
    reader->eof_told = -1;
    reader->eof_fed = -1;
    reader->stopped = false;
    clear(&reader->fetched);
    clear(&reader->arrived);
    if (p->taken <= p->handled)
        p->handled = offset;
    p->taken = offset;
    p->reset_fed = false;
    p->replaced = false;
    p->given_up = false;
    for (int64_t i = offset; i < p->log.end; i++)
        p->log.at[i].unseen = false;
}

static void note_passed(struct stream *p)
{
    if (p->known && p->reader.position >= p->target)
        p->passed = true;
}

/* --- actions ---------------------------------------------------------------------------------- */

static void count_decider(struct simulation *s)
{
    struct counts *counts = s->counts;

    counts->partitions_done++;
    counts->by_message += s->event.type == KH_EVENT_MESSAGE;
    counts->by_eof += s->event.type == KH_EVENT_EOF;
    counts->by_position += s->event.type == KH_EVENT_POSITION;
    counts->by_handled += s->event.type == KH_EVENT_HANDLED;
    counts->at_start += s->event.type == KH_EVENT_ASSIGN;
}

static void on_partition_done(struct simulation *s, struct stream *p)
{
    trace(s, "-> partition %d done", number_of(s, p));
    require(s, p->assigned && p->pending, "never twice: a partition is done once an assignment");
    require(s, p->passed || p->gone || p->given_up, "never early: the reader has passed T");
    require(s, !p->replaced, "never early: what is read of a topic made anew completes nothing");
    require(s, all_is_handled(p), "never early: all history of the partition is handled");
    p->pending = false;
    count_decider(s);
}

static void on_signal(struct simulation *s)
{
    trace(s, "-> caught up");
    require(s, !s->signalled, "never twice: the signal is given once");
    require(s, s->settled, "never early: the assignment is settled");
    require(s, pending_count(s) == 0, "never early: every partition is done");
    s->signalled = true;
    s->counts->caught_up++;
}

static void sample_answer(struct simulation *s, struct stream *p, struct question *question);

static void on_question(struct simulation *s, struct stream *p)
{
    trace(s, "-> ask for the end of %d", number_of(s, p));
    require(s, p->assigned && !p->question.out, "one question at a time");
    p->question = (struct question){.out = true, .due_ms = s->now_ms};
    if (s->world.whims && !s->resting && one_in(s, 3))
        p->question.due_ms += below(s, 3000);
    if (one_in(s, 2))
        sample_answer(s, p, &p->question);
    s->counts->questions++;
}

/* A log that was made anew after the answer: what lies in it below `limit` cannot be known of. */
static void forget_new_records(struct stream *p, int64_t limit)
{
    for (int64_t i = 0; p->log.cuts > p->cuts_answered && i < limit; i++)
        p->log.at[i].unseen = true;
}

static void on_read_from(struct simulation *s, struct stream *p, int64_t offset)
{
    trace(s, "-> read %d from %" PRId64, number_of(s, p), offset);
    require(s, s->event.type == KH_EVENT_END_IS && offset == s->event.low,
            "reading goes on at the low that was answered");
    require(s, p->reader.arrived.count == 0, "no message is unhandled when reading goes elsewhere");
    place_reader(p, offset);
    forget_new_records(p, offset);
    p->passed = offset >= p->target;
    p->shown = p->passed;
}

static void on_gap(struct simulation *s, struct stream *p, const kh_action *action)
{
    trace(s, "-> gap %" PRId64 "..%" PRId64 " in %d", action->offset, action->to, number_of(s, p));
    require(s, p->reset_fed && action->offset < action->to && action->to == s->event.low,
            "a gap has its cause: the position was lost and lies below low");
    require(s, p->cuts_answered > p->cuts_reported || p->reader.position < action->to,
            "a gap has its cause: records were deleted in front of the reader");
    require(s, p->reader.arrived.count == 0, "a gap waits for the unhandled message");
    s->counts->gaps++;
}

static void on_truncated(struct simulation *s, struct stream *p, const kh_action *action)
{
    trace(s, "-> truncated %d at %" PRId64 ", T %" PRId64 ", to %" PRId64 "%s", number_of(s, p),
          action->offset, action->target, action->end, action->gone ? " (gone)" : "");
    require(s, p->cuts_answered > p->cuts_reported, "a truncation has its cause: the log was cut");
    require(s, p->pending || p->reset_fed || action->gone,
            "a truncation concerns history, or the position");
    require(s, p->reader.arrived.count == 0, "a truncation waits for the unhandled message");
    require(s, action->target == p->target && action->offset == p->handled,
            "a truncation names T and the position");
    require(s, action->gone == (s->event.type == KH_EVENT_ERROR),
            "a log is reported as gone when that was the answer");
    p->cuts_reported = p->cuts_answered;
    p->replaced = false;
    s->counts->truncated++;
    if (!s->options.continue_after_truncation) {
        s->ended = true;
    } else if (action->gone) {
        p->gone = true;
        p->given_up = true;
        forget_new_records(p, MAX_OFFSETS);
        s->counts->gone++;
    } else {
        drop_kept(p);
        if (p->known && !s->signalled)
            p->target = action->end;
        p->start = s->event.low;
        p->snapshot_low = s->event.low;
    }
}

static void on_stalled(struct simulation *s, struct stream *p, const kh_action *action)
{
    const kh_event *answer = &s->event;
    bool end_known = answer->type == KH_EVENT_END_IS;
    bool holds = true;

    trace(s, "-> stall of %d, cause %d", number_of(s, p), (int)action->cause);
    require(s, p->pending && p->reader.arrived.count == 0, "only what waits can stall");
    require(s, s->waited_ms - p->progress_waited_ms >= s->options.stall_timeout_ms,
            "a stall is at least as long as it was said");
    if (action->cause == KH_STALL_TRUNCATED)
        holds = end_known && (answer->end < p->target || p->replaced);
    else if (action->cause == KH_STALL_OPEN_TRANSACTION)
        holds = end_known && answer->end >= p->target && answer->stable < p->target;
    else if (action->cause == KH_STALL_LAGGING_FOLLOWER)
        holds = end_known && answer->end >= p->target && p->reader.eof_fed < answer->stable;
    else if (action->cause == KH_STALL_TOPIC_DELETED)
        holds = !end_known && answer->error == KH_ASK_GONE;
    else if (action->cause == KH_STALL_NO_LEADER)
        holds = !end_known && answer->error == KH_ASK_NO_LEADER;
    require(s, holds, "the cause of a stall is what was answered");
    s->counts->stalled[action->cause]++;
}

static void carry_out(void *opaque, const kh_action *action)
{
    struct simulation *s = opaque;
    struct stream *p = &s->partitions[action->partition < 0 ? 0 : action->partition];

    require(s, !s->ended, "after a truncation that ends reading nothing is decided");
    switch (action->type) {
    case KH_ACTION_PARTITION_CAUGHT_UP:
        on_partition_done(s, p);
        break;
    case KH_ACTION_CAUGHT_UP:
        on_signal(s);
        break;
    case KH_ACTION_ASK_END:
        on_question(s, p);
        break;
    case KH_ACTION_READ_FROM:
        on_read_from(s, p, action->offset);
        break;
    case KH_ACTION_GAP:
        on_gap(s, p, action);
        break;
    case KH_ACTION_TRUNCATED:
        on_truncated(s, p, action);
        break;
    case KH_ACTION_STALLED:
        on_stalled(s, p, action);
        break;
    }
}

static void feed(struct simulation *s, kh_event event)
{
    s->event = event;
    s->counts->events++;
    kh_catchup_apply(s->catchup, &event, carry_out, s);
    check_between_events(s);
}

/* --- the world: logs -------------------------------------------------------------------------- */

static int64_t stable_end(const struct log *log)
{
    for (int64_t i = log->low; i < log->end; i++)
        if (log->at[i].kind == OPEN)
            return i;
    return log->end;
}

static void append(struct simulation *s, struct stream *p, enum kind kind, int transaction)
{
    struct log *log = &p->log;

    if (!log->exists || log->end == MAX_OFFSETS)
        return;
    trace(s, "log %d: append %d at %" PRId64, number_of(s, p), (int)kind, log->end);
    log->at[log->end] = (struct record){.kind = kind,
                                        .transaction = transaction,
                                        .id = ++s->next_id,
                                        .unseen = p->assigned && log->end < p->reader.position};
    log->end++;
}

static bool is_open(const struct log *log, int transaction)
{
    for (int64_t i = log->low; i < log->end; i++)
        if (log->at[i].kind == OPEN && log->at[i].transaction == transaction)
            return true;
    return false;
}

static void end_transaction(struct simulation *s, struct stream *p, int transaction, bool commit)
{
    struct log *log = &p->log;

    if (!is_open(log, transaction) || log->end == MAX_OFFSETS)
        return;
    trace(s, "log %d: %s transaction %d", number_of(s, p), commit ? "commit" : "abort",
          transaction);
    for (int64_t i = log->low; i < log->end; i++)
        if (log->at[i].kind == OPEN && log->at[i].transaction == transaction)
            log->at[i].kind = commit ? DATA : ABORTED;
    append(s, p, MARKER, 0);
}

static void delete_front(struct simulation *s, struct stream *p)
{
    struct log *log = &p->log;

    if (!log->exists || log->low == log->end)
        return;
    log->low = between(s, log->low, stable_end(log));
    trace(s, "log %d: retention, low %" PRId64, number_of(s, p), log->low);
}

static void make_hole(struct simulation *s, struct stream *p, int64_t offset)
{
    trace(s, "log %d: hole at %" PRId64, number_of(s, p), offset);
    p->log.at[offset].kind = HOLE;
}

/* A reader that stands behind the new end finds out at its next fetch, before the log grows again.
 */
static void refuse_position(struct simulation *s, struct stream *p)
{
    struct reader *reader = &p->reader;

    if (!p->assigned || reader->stopped || !p->log.exists ||
        (reader->position >= p->log.low && reader->position <= p->log.end))
        return;
    trace(s, "reader %d: position %" PRId64 " refused", number_of(s, p), reader->position);
    reader->stopped = true;
    push(&reader->fetched, (struct op){.type = OP_RESET});
}

static void cut(struct simulation *s, struct stream *p)
{
    struct log *log = &p->log;

    if (!log->exists || log->low == log->end)
        return;
    log->end = between(s, log->low, log->end - 1);
    log->cuts++;
    trace(s, "log %d: cut to %" PRId64, number_of(s, p), log->end);
    refuse_position(s, p);
}

static void make_anew(struct simulation *s, struct stream *p, int count)
{
    struct log *log = &p->log;

    *log = (struct log){.exists = true, .cuts = log->cuts + 1, .anew = log->cuts + 1};
    p->gone = false;
    trace(s, "log %d: made anew", number_of(s, p));
    for (int n = 0; n < count; n++)
        append(s, p, one_in(s, 4) ? MARKER : DATA, 0);
    refuse_position(s, p);
}

static void delete_topic(struct simulation *s, struct stream *p)
{
    trace(s, "log %d: deleted", number_of(s, p));
    p->log.exists = false;
    p->log.cuts++;
}

/* --- the reader: librdkafka ------------------------------------------------------------------- */

static void tell_end(struct simulation *s, struct stream *p)
{
    struct reader *reader = &p->reader;
    bool again = s->world.whims && !s->resting && one_in(s, 12); /* after a seek or a pause */

    if ((reader->eof_told == reader->position && !again) ||
        (s->world.whims && !s->resting && one_in(s, 3)))
        return;
    reader->eof_told = reader->position;
    trace(s, "reader %d: end at %" PRId64, number_of(s, p), reader->position);
    push(&reader->fetched, (struct op){.type = OP_EOF, .offset = reader->position});
}

static void fetch_record(struct stream *p)
{
    struct reader *reader = &p->reader;
    const struct record *record = &p->log.at[reader->position];
    struct op op = {.offset = reader->position, .id = record->id};

    op.type = record->kind == MARKER ? OP_CONTROL : OP_MESSAGE;
    if (record->kind == DATA || record->kind == MARKER)
        push(&reader->fetched, op);
    reader->position++;
    note_passed(p);
}

static void fetch(struct simulation *s, struct stream *p)
{
    struct reader *reader = &p->reader;
    int64_t visible = stable_end(&p->log);

    if (!p->assigned || reader->stopped || !p->log.exists ||
        reader->fetched.count > MAX_QUEUE - MAX_OFFSETS - 2)
        return;
    refuse_position(s, p);
    if (reader->stopped)
        return;
    if (visible > reader->follower_end)
        visible = reader->follower_end;
    for (int n = s->resting ? MAX_OFFSETS : 1 + below(s, s->world.fetch_max);
         n > 0 && reader->position < visible; n--)
        fetch_record(p);
    if (reader->position == visible)
        tell_end(s, p);
}

/* --- the owner -------------------------------------------------------------------------------- */

static void see_progress(struct simulation *s, struct stream *p)
{
    p->progress_waited_ms = s->waited_ms;
}

static void feed_message(struct simulation *s, struct stream *p, struct op op)
{
    bool crossing = p->pending && op.offset + 1 >= p->target;

    trace(s, "message %d: %" PRId64, number_of(s, p), op.offset);
    require(s,
            s->ended || kh_catchup_is_crossing(s->catchup, number_of(s, p), op.offset) == crossing,
            "a crossing is a message from T - 1 on");
    push(&p->reader.arrived, op);
    p->reader.app_position = op.offset + 1;
    p->shown = p->shown || crossing;
    see_progress(s, p);
    feed(s,
         (kh_event){.type = KH_EVENT_MESSAGE, .partition = number_of(s, p), .offset = op.offset});
}

static void feed_position(struct simulation *s, struct stream *p)
{
    struct reader *reader = &p->reader;

    if (!p->assigned || !s->world.positions || reader->stopped || reader->app_position < 0 ||
        reader->fetched.count > 0 || reader->arrived.count > 0)
        return;
    trace(s, "position %d: %" PRId64, number_of(s, p), reader->app_position);
    p->shown = p->shown || (p->known && reader->app_position >= p->target);
    feed(s, (kh_event){.type = KH_EVENT_POSITION,
                       .partition = number_of(s, p),
                       .offset = reader->app_position});
}

/* A message that is no history shows that all history is there. It waits until that is handled. */
static void feed_beyond(struct simulation *s, struct stream *p, int64_t offset)
{
    if (p->shown)
        return;
    trace(s, "beyond T in %d: %" PRId64, number_of(s, p), offset);
    p->shown = true;
    feed(s, (kh_event){.type = KH_EVENT_POSITION, .partition = number_of(s, p), .offset = offset});
}

/* That there is no log is new to an assignment, and to a position that is lost. */
static void expect_report_of_gone_again(struct stream *p)
{
    if (!p->log.exists && p->cuts_reported == p->log.cuts)
        p->cuts_reported--;
}

static void feed_next(struct simulation *s, struct stream *p)
{
    kh_event event = {.partition = number_of(s, p)};
    struct op op;

    if (!p->assigned || p->reader.fetched.count == 0) {
        feed_position(s, p);
        return;
    }
    op = *peek(&p->reader.fetched, 0);
    event.offset = op.offset;
    if (is_to_keep(s, p) && op.type == OP_MESSAGE && op.offset >= p->target) {
        feed_beyond(s, p, op.offset);
        return;
    }
    pop(&p->reader.fetched);
    if (op.type == OP_MESSAGE) {
        feed_message(s, p, op);
    } else if (op.type == OP_CONTROL) {
        p->reader.app_position = op.offset + 1;
        feed_position(s, p);
    } else if (op.type == OP_EOF) {
        trace(s, "end of partition %d: %" PRId64, number_of(s, p), op.offset);
        p->shown = p->shown || (p->known && op.offset >= p->target);
        p->reader.eof_fed = op.offset;
        event.type = KH_EVENT_EOF;
        feed(s, event);
    } else {
        trace(s, "reset %d", number_of(s, p));
        p->reset_fed = true;
        expect_report_of_gone_again(p);
        event.type = KH_EVENT_RESET;
        feed(s, event);
    }
}

static void note_handled(struct stream *p, const struct op *op)
{
    if (is_in_log(&p->log, op))
        p->log.at[op->offset].handled = true;
}

static void keep_next(struct simulation *s, struct stream *p)
{
    struct op op = pop(&p->reader.arrived);

    trace(s, "kept %d: %" PRId64, number_of(s, p), op.offset);
    push(&p->reader.kept, op);
    p->taken = op.offset + 1;
    see_progress(s, p);
    s->counts->kept++;
    feed(s, (kh_event){.type = KH_EVENT_KEPT, .partition = number_of(s, p), .offset = op.offset});
}

/* All history of all partitions is there, as far as the decision can know. */
static bool has_all_arrived(const struct simulation *s)
{
    for (int i = 0; i < s->count; i++)
        if (s->partitions[i].assigned && s->partitions[i].pending &&
            !kh_catchup_get(s->catchup, i).arrived)
            return false;
    return true;
}

/* Of what was kept some need not be handled: something later has taken their place. */
static void handle_kept(struct simulation *s, struct stream *p)
{
    int64_t offset = p->taken - 1;

    while (p->reader.kept.count > 0) {
        struct op op = pop(&p->reader.kept);

        note_handled(p, &op);
        if (p->reader.kept.count > 0 && (s->resting || one_in(s, 2))) {
            offset = op.offset;
            break;
        }
    }
    trace(s, "handled of what was kept of %d: %" PRId64, number_of(s, p), offset);
    p->handled = offset + 1;
    see_progress(s, p);
    feed(s, (kh_event){.type = KH_EVENT_HANDLED, .partition = number_of(s, p), .offset = offset});
}

static bool keeps_something(const struct stream *p)
{
    return p->assigned && p->taken > p->handled;
}

static void handle_next(struct simulation *s, struct stream *p)
{
    struct op op;

    if (keeps_something(p) && p->reader.arrived.count == 0 && has_all_arrived(s)) {
        handle_kept(s, p);
        return;
    }
    if (!p->assigned || p->reader.arrived.count == 0)
        return;
    op = *peek(&p->reader.arrived, 0);
    require(s, s->ended || !p->pending || p->replaced || op.offset < p->target,
            "no message at or past T is handled before its partition is done");
    if (is_to_keep(s, p)) {
        keep_next(s, p);
        return;
    }
    if (s->world.bad_handlers && !s->resting && one_in(s, 2)) {
        trace(s, "handler of %d fails: %" PRId64, number_of(s, p), op.offset);
        return;
    }
    trace(s, "handled %d: %" PRId64, number_of(s, p), op.offset);
    pop(&p->reader.arrived);
    note_handled(p, &op);
    p->handled = op.offset + 1;
    p->taken = p->handled;
    see_progress(s, p);
    feed(s,
         (kh_event){.type = KH_EVENT_HANDLED, .partition = number_of(s, p), .offset = op.offset});
}

static kh_event end_answer(struct simulation *s, const struct stream *p)
{
    const struct log *log = &p->log;
    int64_t end = log->end;
    int64_t stable = stable_end(log);

    if (s->now_ms < s->young_until_ms)
        end = between(s, log->low, end);
    return (kh_event){.type = KH_EVENT_END_IS,
                      .low = log->low,
                      .end = end,
                      .stable = stable < end ? stable : end};
}

static void sample_answer(struct simulation *s, struct stream *p, struct question *question)
{
    kh_event failed = {.type = KH_EVENT_ERROR, .error = KH_ASK_FAILED};

    question->sampled = true;
    question->cuts = p->log.cuts;
    if (s->world.failures && !s->resting && one_in(s, 4)) {
        failed.error = one_in(s, 2) ? KH_ASK_NO_LEADER : KH_ASK_FAILED;
        question->answer = failed;
    } else if (!p->log.exists) {
        failed.error = KH_ASK_GONE;
        question->answer = failed;
    } else {
        question->answer = end_answer(s, p);
    }
}

static void feed_answer(struct simulation *s, struct stream *p, struct question *question)
{
    kh_event event;

    if (!question->out || (!s->resting && question->due_ms > s->now_ms))
        return;
    if (!question->sampled)
        sample_answer(s, p, question);
    question->out = false;
    event = question->answer;
    event.partition = number_of(s, p);
    event.now_ms = s->now_ms;
    trace(s, "answer %d: low %" PRId64 ", end %" PRId64 ", stable %" PRId64 ", error %d/%d",
          event.partition, event.low, event.end, event.stable, event.type == KH_EVENT_ERROR,
          (int)event.error);
    if (p->assigned)
        p->cuts_answered = question->cuts;
    feed(s, event);
}

/* Without being asked: the topic is missing in metadata that came for another reason. */
static void feed_gone(struct simulation *s, struct stream *p)
{
    struct question found = {.out = true, .sampled = true, .due_ms = s->now_ms};

    if (!p->assigned || p->log.exists || p->gone)
        return;
    found.answer = (kh_event){.type = KH_EVENT_ERROR, .error = KH_ASK_GONE};
    found.cuts = p->log.cuts;
    p->question = found;
    feed_answer(s, p, &p->question);
}

/* A topic that was made anew shows in its id. */
static bool feed_replaced(struct simulation *s, struct stream *p)
{
    if (!p->assigned || !p->known || !p->log.exists || p->replaced ||
        p->cuts_reported >= p->log.anew)
        return false;
    trace(s, "replaced %d", number_of(s, p));
    p->replaced = true;
    p->reset_fed = true;
    feed(s, (kh_event){.type = KH_EVENT_REPLACED, .partition = number_of(s, p)});
    return true;
}

static void tick(struct simulation *s)
{
    trace(s, "tick: now %" PRId64 ", waited %" PRId64, s->now_ms, s->waited_ms);
    feed(s, (kh_event){.type = KH_EVENT_TICK, .now_ms = s->now_ms, .waited_ms = s->waited_ms});
}

static bool is_busy(const struct simulation *s)
{
    for (int i = 0; i < s->count; i++)
        if (s->partitions[i].reader.fetched.count > 0 || s->partitions[i].reader.arrived.count > 0)
            return true;
    return false;
}

/* --- the assignment --------------------------------------------------------------------------- */

static void settle(struct simulation *s, bool settled)
{
    trace(s, settled ? "settled" : "unsettled");
    s->settled = settled;
    feed(s, (kh_event){.type = KH_EVENT_SETTLED, .settled = settled});
}

static void snapshot(struct simulation *s, struct stream *p)
{
    struct log *log = &p->log;

    p->known = true;
    p->snapshot_low = log->low;
    p->target = s->world.stable_target ? stable_end(log) : log->end;
    p->cuts_reported = log->cuts;
    trace(s, "snapshot %d: low %" PRId64 ", T %" PRId64, number_of(s, p), log->low, p->target);
    feed(s, (kh_event){.type = KH_EVENT_SNAPSHOT,
                       .partition = number_of(s, p),
                       .low = log->low,
                       .target = p->target});
}

static int64_t some_start(struct simulation *s, const struct stream *p)
{
    switch (below(s, 4)) {
    case 0:
        return p->handled;
    case 1:
        return between(s, 0, p->log.end);
    default:
        return p->log.low;
    }
}

static void assign(struct simulation *s, struct stream *p)
{
    int64_t start = some_start(s, p);

    trace(s, "assign %d: from %" PRId64, number_of(s, p), start);
    drop_kept(p);
    place_reader(p, start);
    p->assigned = true;
    p->start = start;
    p->question.out = false;
    p->stale.out = false;
    p->gone = false;
    expect_report_of_gone_again(p);
    p->pending = p->known && !s->signalled;
    p->passed = start >= p->target || p->snapshot_low >= p->target;
    p->shown = p->passed;
    if (p->snapshot_low >= p->target)
        p->start = p->target;
    see_progress(s, p);
    feed(s, (kh_event){.type = KH_EVENT_ASSIGN, .partition = number_of(s, p), .offset = start});
}

/* What is in a handler then is finished late or never. */
static void revoke(struct simulation *s, struct stream *p)
{
    struct op last = {.type = OP_EOF};

    trace(s, "revoke %d", number_of(s, p));
    if (p->reader.arrived.count > 0)
        last = *peek(&p->reader.arrived, 0);
    p->assigned = false;
    p->pending = false;
    if (p->question.out && s->world.stale_answers)
        p->stale = p->question;
    p->question.out = false;
    clear(&p->reader.fetched);
    clear(&p->reader.arrived);
    drop_kept(p);
    feed(s, (kh_event){.type = KH_EVENT_REVOKE, .partition = number_of(s, p)});
    if (last.type == OP_MESSAGE && one_in(s, 2))
        feed(s, (kh_event){
                    .type = KH_EVENT_HANDLED, .partition = number_of(s, p), .offset = last.offset});
}

/* --- at rest ---------------------------------------------------------------------------------- */

static void bring_world_to_rest(struct simulation *s)
{
    trace(s, "the world comes to rest");
    s->resting = true;
    s->young_until_ms = -1;
    for (int i = 0; i < s->count; i++) {
        struct stream *p = &s->partitions[i];

        p->stale.out = false;
        p->reader.follower_end = INT64_MAX;
        for (int transaction = 0; transaction < TRANSACTIONS; transaction++)
            end_transaction(s, p, transaction, one_in(s, 2));
    }
    if (!s->settled)
        settle(s, true);
}

/* Reads, handles and answers all there is; false: there was nothing. */
static bool drain(struct simulation *s)
{
    uint64_t events = s->counts->events;

    for (int i = 0; i < s->count; i++) {
        struct stream *p = &s->partitions[i];

        fetch(s, p);
        while (p->assigned && p->reader.fetched.count > 0 && s->failure == NULL) {
            int left = p->reader.fetched.count;

            feed_next(s, p);
            if (p->reader.fetched.count == left)
                break;
        }
        while (p->assigned && p->reader.arrived.count > 0 && s->failure == NULL)
            handle_next(s, p);
        feed_answer(s, p, &p->question);
    }
    for (int i = 0; i < s->count; i++)
        while (keeps_something(&s->partitions[i]) && has_all_arrived(s) && s->failure == NULL)
            handle_next(s, &s->partitions[i]);
    return s->counts->events > events;
}

/* Time passes only as far as the decision asks for: its timers must suffice. */
static void rest(struct simulation *s)
{
    int idle = 0;

    bring_world_to_rest(s);
    for (int turn = 0; turn < REST_TURNS && s->failure == NULL && idle < 4; turn++) {
        int64_t timeout_ms = 0;

        if (!drain(s)) {
            timeout_ms = kh_catchup_timeout_ms(s->catchup);
            idle += s->signalled || s->ended || timeout_ms < 0;
        }
        if (timeout_ms > 0) {
            s->now_ms += timeout_ms;
            s->waited_ms += timeout_ms;
            tick(s);
        }
    }
}

/* A log that was cut to just where the reader stands tells nobody. Only a stall's question finds
 * it, so without one it is not found. */
static bool is_cut_in_silence(const struct simulation *s)
{
    for (int i = 0; i < s->count; i++) {
        const struct stream *p = &s->partitions[i];

        if (p->assigned && p->pending && p->log.cuts > p->cuts_reported)
            return s->options.stall_timeout_ms == INT64_MAX;
    }
    return false;
}

static void check_at_rest(struct simulation *s)
{
    for (int i = 0; i < s->count && !s->signalled; i++) {
        const struct stream *p = &s->partitions[i];

        require(s,
                s->ended || is_cut_in_silence(s) || !p->assigned || !p->pending ||
                    (p->log.exists && p->log.end >= p->target),
                "a log that ends below T for good is reported as truncated");
    }
    require(s, s->signalled || s->ended || is_cut_in_silence(s),
            "never stuck: at rest the signal is given, or reading has ended");
    s->counts->never_told += !s->signalled && !s->ended;
}

#endif
