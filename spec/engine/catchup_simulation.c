/*
 * Random worlds against the decision: is the signal ever early, late, doubled, or never given?
 *
 * Each schedule makes one to three small logs, takes the snapshot, and then lets a random world go
 * on (world.h): writers append and end transactions, retention and compaction eat records, logs are
 * cut, made anew or deleted, followers lag, new leaders know less for a moment, groups rebalance,
 * handlers fail. At the end the world comes to rest, and then the signal must have been given.
 *
 *   catchup_simulation [--count N] [--seed S] [--only N]     (or KH_SCHEDULES, KH_SEED)
 *
 * A failure prints the schedule with everything that happened in it; --seed and --only repeat it.
 */
#define MAX_PARTITIONS 3
#define MAX_OFFSETS 48
#define MAX_QUEUE 128

#include "world.h"

#include <signal.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

/* --- chance ----------------------------------------------------------------------------------- */

/* splitmix64 */
static uint64_t mix(uint64_t x)
{
    x += UINT64_C(0x9e3779b97f4a7c15);
    x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
    return x ^ (x >> 31);
}

static int below(struct simulation *s, int limit)
{
    uint64_t *random = s->chance;

    *random += UINT64_C(0x9e3779b97f4a7c15);
    return (int)((mix(*random) >> 33) % (uint64_t)limit);
}

static bool one_in(struct simulation *s, int n)
{
    return below(s, n) == 0;
}

/* --- what happens ----------------------------------------------------------------------------- */

static void write_something(struct simulation *s, struct stream *p)
{
    int transaction = below(s, TRANSACTIONS);

    if (!s->world.transactions || one_in(s, 2)) {
        append(s, p, DATA, 0);
        return;
    }
    switch (below(s, 5)) {
    case 0:
        append(s, p, MARKER, 0);
        break;
    case 1:
    case 2:
        /* The last offset is kept for the markers that end what is open. */
        if (p->log.end < MAX_OFFSETS - TRANSACTIONS)
            append(s, p, OPEN, transaction);
        break;
    default:
        end_transaction(s, p, transaction, one_in(s, 2));
        break;
    }
}

static void compact(struct simulation *s, struct stream *p)
{
    struct log *log = &p->log;
    int64_t stable = stable_end(log);

    if (!log->exists || log->low == stable)
        return;
    for (int n = 1 + below(s, 4); n > 0; n--) {
        int64_t offset = one_in(s, 3) ? stable - 1 : between(s, log->low, stable - 1);

        make_hole(s, p, offset);
    }
}

static void world_goes_on(struct simulation *s, struct stream *p)
{
    const struct world *world = &s->world;
    int dice = below(s, 24);

    if (dice == 0 && world->cuts)
        cut(s, p);
    else if (dice == 1 && world->cuts && one_in(s, 2))
        make_anew(s, p, below(s, 8));
    else if (dice == 2 && world->deletions && p->log.exists)
        delete_topic(s, p);
    else if (dice == 3 && world->deletions && !p->log.exists)
        make_anew(s, p, below(s, 8));
    else if (dice <= 6 && world->retention)
        delete_front(s, p);
    else if (dice <= 9 && world->compaction)
        compact(s, p);
    else if (dice == 10 && world->young_leader && s->young_until_ms == 0)
        s->young_until_ms = s->now_ms + KH_CATCHUP_CONFIRM_MS - 1;
    else if (dice <= 14 && world->followers)
        p->reader.follower_end = one_in(s, 2) ? INT64_MAX : p->reader.position + below(s, 3);
    else
        write_something(s, p);
}

static void pass_time(struct simulation *s)
{
    static const int steps_ms[] = {0, 1, 10, 300, 999, 1000, 1001, 2500, 5000, 40000};
    int64_t ms = steps_ms[below(s, (int)(sizeof steps_ms / sizeof steps_ms[0]))];

    s->now_ms += ms;
    if (!is_busy(s))
        s->waited_ms += ms;
    tick(s);
}

static void rebalance(struct simulation *s, struct stream *p)
{
    if (s->settled) {
        s->counts->rebalances++;
        settle(s, false);
    } else if (one_in(s, 3)) {
        settle(s, true);
    } else if (p->assigned) {
        revoke(s, p);
    } else {
        assign(s, p);
    }
}

/* --- a schedule ------------------------------------------------------------------------------- */

static void write_first_records(struct simulation *s, struct stream *p)
{
    p->log = (struct log){.exists = true};
    p->reader.follower_end = INT64_MAX;
    for (int n = below(s, 13); n > 0; n--)
        write_something(s, p);
    if (s->world.compaction)
        compact(s, p);
    if (s->world.retention)
        delete_front(s, p);
}

static void begin(struct simulation *s)
{
    static const int stalls_ms[] = {500, 1000, 5000, 30000};
    struct world *world = &s->world;

    *world = (struct world){
        .cuts = one_in(s, 3),
        .deletions = one_in(s, 6),
        .rebalances = one_in(s, 3),
        .followers = one_in(s, 3),
        .transactions = one_in(s, 2),
        .retention = one_in(s, 3),
        .compaction = one_in(s, 3),
        .positions = one_in(s, 2),
        .failures = one_in(s, 3),
        .bad_handlers = one_in(s, 3),
        .stale_answers = one_in(s, 2),
        .keeps = one_in(s, 4),
        .young_leader = one_in(s, 2),
        .stable_target = one_in(s, 6),
        .whims = true,
        .fetch_max = 8,
    };
    s->options.continue_after_truncation = one_in(s, 2);
    s->options.stall_timeout_ms = one_in(s, 8) ? INT64_MAX : stalls_ms[below(s, 4)];
    s->count = 1 + below(s, MAX_PARTITIONS);
    s->catchup = kh_catchup_new(&s->options);
    if (s->catchup == NULL || !kh_catchup_reserve(s->catchup, s->count))
        abort();
    trace(s, "%d partitions, after a truncation: %s, stall after %" PRId64 " ms", s->count,
          s->options.continue_after_truncation ? "continue" : "end", s->options.stall_timeout_ms);
}

static void start(struct simulation *s)
{
    for (int i = 0; i < s->count; i++) {
        write_first_records(s, &s->partitions[i]);
        if (i == 0 || !one_in(s, 8))
            snapshot(s, &s->partitions[i]);
    }
    for (int n = below(s, 4); n > 0; n--)
        world_goes_on(s, &s->partitions[below(s, s->count)]);
    for (int i = 0; i < s->count; i++)
        if (!s->world.rebalances || one_in(s, 2))
            assign(s, &s->partitions[i]);
    if (!s->world.rebalances || one_in(s, 2))
        settle(s, true);
}

static void step(struct simulation *s)
{
    struct stream *p = &s->partitions[below(s, s->count)];
    int dice = below(s, 20);

    if (dice < 4)
        world_goes_on(s, p);
    else if (dice < 7)
        fetch(s, p);
    else if (dice < 11)
        feed_next(s, p);
    else if (dice < 15)
        handle_next(s, p);
    else if (dice == 15)
        feed_position(s, p);
    else if (dice < 18)
        feed_answer(s, p, p->stale.out && one_in(s, 2) ? &p->stale : &p->question);
    else if (dice == 18)
        pass_time(s);
    else if (one_in(s, 4))
        feed_gone(s, p);
    else if (one_in(s, 3))
        feed_replaced(s, p);
    else if (s->world.rebalances)
        rebalance(s, p);
}

static const char *play(uint64_t seed, uint64_t number, bool with_trace, struct counts *counts)
{
    uint64_t random = mix(seed ^ mix(number));
    struct simulation s = {.chance = &random, .counts = counts};

    s.trace = with_trace;
    begin(&s);
    start(&s);
    for (int n = 10 + below(&s, 90); n > 0 && s.failure == NULL && !s.ended; n--)
        step(&s);
    if (s.failure == NULL)
        rest(&s);
    if (s.failure == NULL)
        check_at_rest(&s);
    kh_catchup_free(s.catchup);
    return s.failure;
}

/* --- the run ---------------------------------------------------------------------------------- */

static volatile sig_atomic_t playing_low; /* for the report of an assertion that failed */
static volatile sig_atomic_t playing_high;

static void on_abort(int signal_number)
{
    char text[80];
    unsigned long long number =
        ((unsigned long long)playing_high << 24) | (unsigned long long)playing_low;
    int length = snprintf(text, sizeof text, "# aborted in schedule %llu\n", number);

    (void)signal_number;
    if (write(STDOUT_FILENO, text, (size_t)length) < 0)
        _exit(3);
    _exit(2);
}

static const char *play_noted(uint64_t seed, uint64_t number, bool with_trace,
                              struct counts *counts)
{
    playing_high = (sig_atomic_t)(number >> 24);
    playing_low = (sig_atomic_t)(number & 0xffffff);
    return play(seed, number, with_trace, counts);
}

static int report_failure(struct tap *tap, uint64_t seed, uint64_t number, const char *rule)
{
    struct counts counts = {0};

    tap_check(tap, false, rule);
    tap_note("seed %" PRIu64 ", schedule %" PRIu64 "; again: --seed %" PRIu64 " --only %" PRIu64,
             seed, number, seed, number);
    play_noted(seed, number, true, &counts);
    return tap_end(tap);
}

static void note_counts(const struct counts *c)
{
    tap_note("%" PRIu64 " events, %" PRIu64 " signals, %" PRIu64 " partitions done: "
             "%" PRIu64 " at start, %" PRIu64 " by a message, %" PRIu64 " handled, %" PRIu64
             " by end-of-partition, %" PRIu64 " by position",
             c->events, c->caught_up, c->partitions_done, c->at_start, c->by_message, c->by_handled,
             c->by_eof, c->by_position);
    tap_note("%" PRIu64 " questions, %" PRIu64 " gaps, %" PRIu64 " truncations (%" PRIu64
             " gone and gone on), %" PRIu64 " rebalances, %" PRIu64 " cut in silence",
             c->questions, c->gaps, c->truncated, c->gone, c->rebalances, c->never_told);
    tap_note("stalls: %" PRIu64 " open transaction, %" PRIu64 " truncated, %" PRIu64
             " topic deleted, %" PRIu64 " no leader, %" PRIu64 " lagging follower, %" PRIu64
             " unknown",
             c->stalled[KH_STALL_OPEN_TRANSACTION], c->stalled[KH_STALL_TRUNCATED],
             c->stalled[KH_STALL_TOPIC_DELETED], c->stalled[KH_STALL_NO_LEADER],
             c->stalled[KH_STALL_LAGGING_FOLLOWER], c->stalled[KH_STALL_UNKNOWN]);
}

/* Rules that no schedule has put to the test would hold of themselves. */
static bool has_met_everything(const struct counts *c)
{
    bool met = c->caught_up > 0 && c->at_start > 0 && c->by_message > 0 && c->by_handled > 0 &&
               c->by_eof > 0 && c->by_position > 0 && c->questions > 0 && c->gaps > 0 &&
               c->truncated > c->gone && c->gone > 0 && c->rebalances > 0 && c->kept > 0;

    for (int cause = 0; cause <= KH_STALL_LAGGING_FOLLOWER; cause++)
        met = met && c->stalled[cause] > 0;
    return met;
}

static int play_all(uint64_t seed, uint64_t count)
{
    static const char *const rules[] = {
        "never early: no signal before all history is handled and the assignment settled",
        "never twice: one signal, and each partition once an assignment",
        "never stuck: in a world at rest the signal comes, or a truncation ended reading",
        "prompt: the signal comes with the event that decides it, before the next handler call",
        "no gap and no truncation without its cause, and none while a message is unhandled",
        "a log that ends below T for good is reported as truncated",
        "stalls only while waiting, as long as was said, with the cause that was answered",
    };
    struct tap tap = {0};
    struct counts counts = {0};

    for (uint64_t number = 0; number < count; number++) {
        const char *failure = play_noted(seed, number, false, &counts);

        if (failure != NULL)
            return report_failure(&tap, seed, number, failure);
    }
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++)
        tap_check(&tap, true, rules[i]);
    if (count >= 10000)
        tap_check(&tap, has_met_everything(&counts), "the schedules meet all that can happen");
    note_counts(&counts);
    return tap_end(&tap);
}

static uint64_t setting(const char *variable, uint64_t otherwise)
{
    const char *value = getenv(variable);

    return value != NULL && value[0] != '\0' ? strtoull(value, NULL, 10) : otherwise;
}

int main(int argc, char **argv)
{
    uint64_t count = setting("KH_SCHEDULES", 1000000);
    uint64_t seed = setting("KH_SEED", (uint64_t)time(NULL));
    const char *only = NULL;

    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (value != NULL && strcmp(argv[i], "--count") == 0)
            count = strtoull(value, NULL, 10);
        else if (value != NULL && strcmp(argv[i], "--seed") == 0)
            seed = strtoull(value, NULL, 10);
        else if (value != NULL && strcmp(argv[i], "--only") == 0)
            only = value;
        else
            return fprintf(stderr, "usage: %s [--count N] [--seed S] [--only N]\n", argv[0]), 2;
    }
    signal(SIGABRT, on_abort);
    if (only != NULL) {
        struct tap tap = {0};
        struct counts counts = {0};
        uint64_t number = strtoull(only, NULL, 10);
        const char *failure = play_noted(seed, number, true, &counts);

        tap_check(&tap, failure == NULL, failure != NULL ? failure : "the schedule passes");
        return tap_end(&tap);
    }
    tap_note("seed %" PRIu64 ", %" PRIu64 " schedules", seed, count);
    fflush(stdout);
    return play_all(seed, count);
}
