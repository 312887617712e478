/*
 * Every small world against the decision: not some of what can happen, as in the simulation, but
 * all of it, up to an effort.
 *
 * Logs have at most four records. From each pair of first logs on, every move that is possible is
 * tried, and every order of moves. A move of effort 1: the reader fetches a record or finds the
 * end, the owner feeds what was fetched, handles a message, has a question answered (now, or with
 * what was so earlier), finds that the topic is gone or another one, settles or assigns, time
 * passes. A disturbance, of effort 4: records are written, transactions begin and end, records are
 * compacted away or deleted, the log is cut, made anew or deleted, a follower lags, a new leader
 * knows less for a moment, a question fails, a partition is revoked. The world, and what is
 * expected in it, are those of the simulation (world.h). From every state that was not seen before,
 * the world also comes to rest, and then the signal must have been given.
 *
 * A state is all that the world and the decision remember: where two sequences lead to the same
 * state, what follows is tried once. Times are remembered as distances from now, and no further
 * than they make a difference. States are known again by 64 bits of a hash; that two of ten million
 * share them has a chance of one in several hundred thousand. Pairs of first logs are not ordered,
 * as partitions are alike.
 *
 * First one partition alone, then two; each with an effort of 1, then 2, and so on until time is
 * up. What is tried, and in which order, is always the same; the time only says how far it gets.
 *
 *   catchup_exhaustive [--seconds N]     20, or KH_SECONDS: two fifths of it for one partition, one
 *                                        for one whose history is kept until all of it is there
 *   catchup_exhaustive [--effort N]      up to this effort, however long it takes
 *
 * A failure prints a sequence of least effort that leads to it.
 */
#include "catchup.c"

#define MAX_PARTITIONS 2
#define MAX_OFFSETS 4
#define MAX_QUEUE 10

#include "world.h"

#include <string.h>
#include <time.h>

#define DISTURBANCE_EFFORT 4
#define MEETS_ALL_EFFORT 7
#define MAX_EFFORT 64
#define MAX_CHOICES 8
#define NO_LIMIT_S 1e9

/* --- choices ---------------------------------------------------------------------------------- */

/* What below() answered during one move. Counted up like an odometer, it yields every move. */
struct choices {
    int8_t taken[MAX_CHOICES];
    int8_t limit[MAX_CHOICES];
    int count;
    int next;
};

static int below(struct simulation *s, int limit)
{
    struct choices *choices = s->chance;

    if (s->resting || limit <= 1)
        return 0;
    if (choices->next == choices->count) {
        if (choices->count == MAX_CHOICES)
            abort();
        choices->taken[choices->count] = 0;
        choices->limit[choices->count++] = (int8_t)limit;
    }
    return choices->taken[choices->next++];
}

/* How likely it is does not matter here. */
static bool one_in(struct simulation *s, int n)
{
    return below(s, n > 1 ? 2 : 1) == 0;
}

/* false: every choice was made. */
static bool count_up(struct choices *choices)
{
    choices->next = 0;
    while (choices->count > 0) {
        int last = choices->count - 1;

        if (++choices->taken[last] < choices->limit[last])
            return true;
        choices->count--;
    }
    return false;
}

/* --- states ----------------------------------------------------------------------------------- */

struct state {
    struct simulation world;
    kh_catchup decision;
    struct partition partitions[MAX_PARTITIONS];
};

/* The search works on one world and one decision, and copies states in and out. */
struct search {
    struct simulation world;
    struct choices path[MAX_EFFORT];
    int first_logs[MAX_PARTITIONS];
    bool keeps;
    struct counts counts;
    uint64_t moves;
    uint64_t states;
    uint64_t sequences; /* to their end, or to a state that was seen */
    int length;         /* of the path */
    bool out_of_time;
    struct timespec until;
    struct seen *seen;
};

static void save(const struct search *search, struct state *state)
{
    const kh_catchup *decision = search->world.catchup;

    state->world = search->world;
    state->decision = *decision;
    memcpy(state->partitions, decision->partitions,
           (size_t)decision->capacity * sizeof *decision->partitions);
}

static void restore(struct search *search, const struct state *state)
{
    kh_catchup *decision = search->world.catchup;

    search->world = state->world;
    *decision = state->decision;
    memcpy(decision->partitions, state->partitions,
           (size_t)decision->capacity * sizeof *decision->partitions);
}

/* --- what is the same state ------------------------------------------------------------------- */

static void add(uint64_t *hash, int64_t value)
{
    uint64_t x = *hash ^ ((uint64_t)value + UINT64_C(0x9e3779b97f4a7c15));

    x *= UINT64_C(0xff51afd7ed558ccd);
    *hash = x ^ (x >> 32);
}

/* Since when something is so, as far as it makes a difference. */
static int64_t age(int64_t now_ms, int64_t since_ms, int64_t most_ms)
{
    if (since_ms == NONE)
        return NONE;
    return most_ms == INT64_MAX ? 0 : earlier_of(now_ms - since_ms, most_ms);
}

/* When something is to happen. */
static int64_t distance(int64_t now_ms, int64_t at_ms)
{
    return at_ms == NONE || at_ms == INT64_MAX ? at_ms : elapsed(at_ms, now_ms);
}

static void add_decision(uint64_t *hash, const kh_catchup *c)
{
    add(hash, c->pending_count);
    add(hash, c->settled | c->caught_up << 1 | c->failed << 2);
    add(hash, distance(c->now_ms, c->look_at_ms));
    add(hash, distance(c->waited_ms, c->look_at_waited_ms));
    for (int i = 0; i < c->capacity; i++) {
        const struct partition *p = &c->partitions[i];
        const struct goal *history = &p->history;

        add(hash, p->assigned | history->known << 1 | history->pending << 2 |
                      history->evidence << 3 | p->verify << 4 | p->lost << 5 | p->replaced << 6 |
                      p->asking << 7 | p->asked_lost << 8 | p->diagnosing << 9);
        add(hash, p->start);
        add(hash, p->low);
        add(hash, p->arrived);
        add(hash, p->handled);
        add(hash, p->taken);
        add(hash, history->target);
        add(hash, history->unpassed);
        add(hash, p->eof);
        add(hash, distance(c->now_ms, p->ask_at_ms));
        add(hash, age(c->now_ms, p->below_since_ms, KH_CATCHUP_CONFIRM_MS));
        add(hash, age(c->now_ms, p->gone_since_ms, KH_CATCHUP_CONFIRM_MS));
        add(hash, age(c->waited_ms, p->progress_at_ms, p->stall_pause_ms));
        add(hash, p->stall_pause_ms);
    }
}

static void add_queue(uint64_t *hash, const struct log *log, const struct queue *queue)
{
    add(hash, queue->count);
    for (int i = 0; i < queue->count; i++) {
        const struct op *op = peek(queue, i);

        add(hash, (int64_t)op->type | op->offset << 8);
        add(hash, is_in_log(log, op));
    }
}

static void add_question(uint64_t *hash, const struct log *log, const struct question *question)
{
    const kh_event *answer = &question->answer;

    add(hash, question->out | question->sampled << 1);
    if (!question->out || !question->sampled)
        return;
    add(hash, (int64_t)answer->type | (int64_t)answer->error << 8);
    add(hash, answer->low);
    add(hash, answer->end);
    add(hash, answer->stable);
    add(hash, log->cuts - question->cuts);
}

static void add_stream(uint64_t *hash, const struct simulation *s, const struct stream *p)
{
    const struct log *log = &p->log;
    const struct reader *reader = &p->reader;

    add(hash, log->exists | p->known << 1 | p->assigned << 2 | p->pending << 3 | p->passed << 4 |
                  p->shown << 5 | p->gone << 6 | p->reset_fed << 7 | reader->stopped << 8 |
                  p->replaced << 9 | p->given_up << 10);
    add(hash, log->low);
    add(hash, log->end);
    for (int64_t i = log->low; i < log->end; i++) {
        const struct record *record = &log->at[i];

        add(hash, (int64_t)record->kind | record->transaction << 4 | record->handled << 6 |
                      record->unseen << 7);
    }
    add(hash, reader->position);
    add(hash, reader->app_position);
    add(hash, reader->follower_end);
    add(hash, reader->eof_told);
    add(hash, reader->eof_fed);
    add_queue(hash, log, &reader->fetched);
    add_queue(hash, log, &reader->arrived);
    add_queue(hash, log, &reader->kept);
    add(hash, p->snapshot_low);
    add(hash, p->target);
    add(hash, p->start);
    add(hash, p->handled);
    add(hash, p->taken);
    add(hash, age(s->waited_ms, p->progress_waited_ms, s->options.stall_timeout_ms));
    add_question(hash, log, &p->question);
    add_question(hash, log, &p->stale);
    add(hash, log->cuts - p->cuts_answered);
    add(hash, log->cuts - p->cuts_reported);
    add(hash, p->cuts_reported < log->anew);
    add(hash, p->cuts_answered < log->anew);
}

static uint64_t hash_of(const struct search *search)
{
    const struct simulation *s = &search->world;
    uint64_t hash = 0;

    add(&hash,
        s->settled | s->signalled << 1 | s->ended << 2 | s->options.continue_after_truncation << 3);
    add(&hash, s->options.stall_timeout_ms);
    add(&hash, s->young_until_ms > 0 ? elapsed(s->young_until_ms, s->now_ms) : NONE);
    add(&hash, s->count);
    add_decision(&hash, s->catchup);
    for (int i = 0; i < s->count; i++)
        add_stream(&hash, s, &s->partitions[i]);
    hash *= UINT64_C(0x9fb21c651e98df25);
    hash ^= hash >> 29;
    return hash != 0 ? hash : 1;
}

/* --- the states that were seen ---------------------------------------------------------------- */

/* A hash table: for each state the greatest effort that was tried from there. */
struct seen {
    uint64_t *hashes; /* 0: free */
    uint8_t *efforts;
    size_t size; /* a power of two */
    size_t used;
};

static void seen_init(struct seen *seen, size_t size)
{
    *seen = (struct seen){.hashes = calloc(size, sizeof *seen->hashes),
                          .efforts = calloc(size, sizeof *seen->efforts),
                          .size = size};
    if (seen->hashes == NULL || seen->efforts == NULL)
        abort();
}

static void seen_free(struct seen *seen)
{
    free(seen->hashes);
    free(seen->efforts);
}

static size_t seen_slot(const struct seen *seen, uint64_t hash)
{
    size_t slot = (size_t)hash & (seen->size - 1);

    while (seen->hashes[slot] != 0 && seen->hashes[slot] != hash)
        slot = (slot + 1) & (seen->size - 1);
    return slot;
}

static void seen_grow(struct seen *seen)
{
    struct seen grown;

    seen_init(&grown, seen->size * 2);
    grown.used = seen->used;
    for (size_t i = 0; i < seen->size; i++) {
        size_t slot;

        if (seen->hashes[i] == 0)
            continue;
        slot = seen_slot(&grown, seen->hashes[i]);
        grown.hashes[slot] = seen->hashes[i];
        grown.efforts[slot] = seen->efforts[i];
    }
    seen_free(seen);
    *seen = grown;
}

enum sight { NEW, DEEPER, SEEN };

static enum sight see(struct seen *seen, uint64_t hash, int effort)
{
    size_t slot = seen_slot(seen, hash);
    bool is_new = seen->hashes[slot] == 0;

    if (!is_new && seen->efforts[slot] >= effort)
        return SEEN;
    seen->hashes[slot] = hash;
    seen->efforts[slot] = (uint8_t)effort;
    if (!is_new)
        return DEEPER;
    if (++seen->used > seen->size / 2)
        seen_grow(seen);
    return NEW;
}

/* --- moves ------------------------------------------------------------------------------------ */

/* A move says whether it was possible. */
typedef bool move(struct simulation *s, struct stream *p);

static bool move_fetch(struct simulation *s, struct stream *p)
{
    int count = p->reader.fetched.count;
    int64_t position = p->reader.position;

    fetch(s, p);
    return p->reader.fetched.count != count || p->reader.position != position;
}

static bool move_feed(struct simulation *s, struct stream *p)
{
    if (!p->assigned)
        return false;
    feed_next(s, p);
    return true;
}

static bool move_handle(struct simulation *s, struct stream *p)
{
    if (!p->assigned || p->reader.arrived.count == 0)
        return false;
    handle_next(s, p);
    return true;
}

/* The answer is given now, but comes later. */
static bool move_sample(struct simulation *s, struct stream *p)
{
    if (!p->question.out || p->question.sampled)
        return false;
    sample_answer(s, p, &p->question);
    return true;
}

static bool move_answer(struct simulation *s, struct stream *p)
{
    if (!p->question.out)
        return false;
    feed_answer(s, p, &p->question);
    return true;
}

static bool move_stale_answer(struct simulation *s, struct stream *p)
{
    if (!p->stale.out)
        return false;
    feed_answer(s, p, &p->stale);
    return true;
}

static bool move_find_gone(struct simulation *s, struct stream *p)
{
    if (!p->assigned || p->log.exists || p->gone)
        return false;
    feed_gone(s, p);
    return true;
}

static bool move_find_replaced(struct simulation *s, struct stream *p)
{
    return feed_replaced(s, p);
}

static bool move_assign(struct simulation *s, struct stream *p)
{
    if (p->assigned)
        return false;
    assign(s, p);
    return true;
}

static bool move_return_to_leader(struct simulation *s, struct stream *p)
{
    (void)s;
    if (p->reader.follower_end == INT64_MAX)
        return false;
    p->reader.follower_end = INT64_MAX;
    return true;
}

static move *const moves[] = {
    move_fetch,        move_feed,      move_handle,        move_sample, move_answer,
    move_stale_answer, move_find_gone, move_find_replaced, move_assign, move_return_to_leader};

static bool disturb_answer(struct simulation *s, struct stream *p)
{
    if (!p->question.out)
        return false;
    p->question.sampled = true;
    p->question.cuts = p->log.cuts;
    p->question.answer = (kh_event){.type = KH_EVENT_ERROR,
                                    .error = one_in(s, 2) ? KH_ASK_NO_LEADER : KH_ASK_FAILED};
    feed_answer(s, p, &p->question);
    return true;
}

static bool disturb_by_record(struct simulation *s, struct stream *p)
{
    static const enum kind kinds[] = {DATA, OPEN, MARKER};
    enum kind kind = kinds[below(s, 3)];
    int64_t room = MAX_OFFSETS - p->log.end;

    /* The last offset is kept for the marker that ends what is open. */
    if (!p->log.exists || room <= (kind == OPEN || is_open(&p->log, 0) ? 1 : 0))
        return false;
    append(s, p, kind, 0);
    return true;
}

static bool disturb_by_end_of_transaction(struct simulation *s, struct stream *p)
{
    if (!is_open(&p->log, 0) || p->log.end == MAX_OFFSETS)
        return false;
    end_transaction(s, p, 0, one_in(s, 2));
    return true;
}

static bool disturb_by_compaction(struct simulation *s, struct stream *p)
{
    int64_t stable = stable_end(&p->log);

    if (!p->log.exists || p->log.low == stable)
        return false;
    make_hole(s, p, between(s, p->log.low, stable - 1));
    return true;
}

static bool disturb_by_retention(struct simulation *s, struct stream *p)
{
    int64_t low = p->log.low;

    delete_front(s, p);
    return p->log.low != low;
}

static bool disturb_by_cut(struct simulation *s, struct stream *p)
{
    if (!p->log.exists || p->log.low == p->log.end)
        return false;
    cut(s, p);
    return true;
}

static bool disturb_by_new_topic(struct simulation *s, struct stream *p)
{
    make_anew(s, p, below(s, MAX_OFFSETS));
    return true;
}

static bool disturb_by_deletion(struct simulation *s, struct stream *p)
{
    if (!p->log.exists)
        return false;
    delete_topic(s, p);
    return true;
}

static bool disturb_by_follower(struct simulation *s, struct stream *p)
{
    if (!p->assigned || p->reader.follower_end != INT64_MAX)
        return false;
    p->reader.follower_end = p->reader.position + below(s, 2);
    return true;
}

static bool disturb_by_young_leader(struct simulation *s, struct stream *p)
{
    (void)p;
    if (s->young_until_ms != 0)
        return false;
    s->young_until_ms = s->now_ms + KH_CATCHUP_CONFIRM_MS - 1;
    return true;
}

static bool disturb_by_revoking(struct simulation *s, struct stream *p)
{
    if (!p->assigned || s->settled)
        return false;
    revoke(s, p);
    return true;
}

static move *const disturbances[] = {
    disturb_answer,          disturb_by_record,    disturb_by_end_of_transaction,
    disturb_by_compaction,   disturb_by_retention, disturb_by_cut,
    disturb_by_new_topic,    disturb_by_deletion,  disturb_by_follower,
    disturb_by_young_leader, disturb_by_revoking};

#define MOVES ((int)(sizeof moves / sizeof moves[0]))
#define DISTURBING ((int)(sizeof disturbances / sizeof disturbances[0]))

static bool let_time_pass(struct simulation *s)
{
    int64_t ms = one_in(s, 2) ? KH_CATCHUP_CONFIRM_MS : KH_CATCHUP_CONFIRM_MS - 1;

    s->now_ms += ms;
    if (!is_busy(s))
        s->waited_ms += ms;
    tick(s);
    return true;
}

/* Returns what the move costs; 0: it is not possible. */
static int move_on(struct search *search, int effort)
{
    struct simulation *s = &search->world;
    bool may_disturb = effort >= DISTURBANCE_EFFORT;
    int number = below(s, 2 + s->count * (MOVES + (may_disturb ? DISTURBING : 0)));
    struct stream *p;

    if (number == 0)
        return let_time_pass(s) ? 1 : 0;
    if (number == 1) {
        int cost = s->settled ? DISTURBANCE_EFFORT : 1;

        if (cost <= effort)
            settle(s, !s->settled);
        return cost <= effort ? cost : 0;
    }
    number -= 2;
    p = &s->partitions[number % s->count];
    number /= s->count;
    if (number < MOVES)
        return moves[number](s, p) ? 1 : 0;
    return disturbances[number - MOVES](s, p) ? DISTURBANCE_EFFORT : 0;
}

/* --- the search ------------------------------------------------------------------------------- */

static bool is_time_up(struct search *search)
{
    struct timespec now;

    if (search->moves % 1024 != 0)
        return search->out_of_time;
    clock_gettime(CLOCK_MONOTONIC, &now);
    search->out_of_time =
        now.tv_sec > search->until.tv_sec ||
        (now.tv_sec == search->until.tv_sec && now.tv_nsec > search->until.tv_nsec);
    return search->out_of_time;
}

static void try_rest(struct search *search)
{
    rest(&search->world);
    if (search->world.failure == NULL)
        check_at_rest(&search->world);
}

/* Tries all that can follow with `effort`; false: a rule was broken, or time is up. */
static bool try_moves(struct search *search, int done, int effort)
{
    struct choices *choices = &search->path[done];
    struct state before;

    search->length = done;
    if (effort == 0 || search->world.ended) {
        search->sequences++;
        return true;
    }
    save(search, &before);
    *choices = (struct choices){.count = 0};
    do {
        enum sight sight;
        struct state after;
        int cost;

        restore(search, &before);
        search->world.chance = choices;
        cost = move_on(search, effort);
        if (cost == 0)
            continue;
        search->moves++;
        search->length = done + 1;
        if (search->world.failure != NULL || is_time_up(search))
            return false;
        sight = see(search->seen, hash_of(search), effort - cost);
        if (sight == SEEN) {
            search->sequences++;
            continue;
        }
        if (sight == NEW) {
            search->states++;
            save(search, &after);
            try_rest(search);
            if (search->world.failure != NULL)
                return false;
            restore(search, &after);
        }
        if (!try_moves(search, done + 1, effort - cost))
            return false;
    } while (count_up(choices));
    return true;
}

/* --- first states ----------------------------------------------------------------------------- */

static const struct {
    enum kind kinds[2];
    int count;
    int64_t low;
    bool unknown; /* the snapshot does not name it */
} first_logs[] = {
    {.count = 0},
    {.count = 1, .kinds = {DATA}},
    {.count = 2, .kinds = {DATA, DATA}},
    {.count = 2, .kinds = {DATA, HOLE}},
    {.count = 2, .kinds = {DATA, MARKER}},
    {.count = 2, .kinds = {DATA, OPEN}},
    {.count = 1, .kinds = {DATA}, .low = 1},
    {.count = 1, .kinds = {DATA}, .unknown = true},
};

#define FIRST_LOGS ((int)(sizeof first_logs / sizeof first_logs[0]))

static void write_first_log(struct simulation *s, struct stream *p, int number)
{
    p->log = (struct log){.exists = true};
    p->reader.follower_end = INT64_MAX;
    for (int i = 0; i < first_logs[number].count; i++)
        append(s, p, first_logs[number].kinds[i], 0);
    p->log.low = first_logs[number].low;
    if (!first_logs[number].unknown)
        snapshot(s, p);
}

static void begin(struct search *search, int count, const kh_catchup_options *options, bool traced)
{
    struct simulation *s = &search->world;

    *s = (struct simulation){.counts = &search->counts, .count = count, .options = *options};
    s->trace = traced;
    s->world = (struct world){
        .positions = true, .stale_answers = true, .keeps = search->keeps, .fetch_max = 1};
    s->resting = true; /* nothing is chosen yet: reading starts at low */
    s->catchup = kh_catchup_new(options);
    if (s->catchup == NULL || !kh_catchup_reserve(s->catchup, count))
        abort();
    for (int i = 0; i < count; i++)
        write_first_log(s, &s->partitions[i], search->first_logs[i]);
    for (int i = 0; i < count; i++) {
        s->partitions[i].handled = s->partitions[i].log.low;
        assign(s, &s->partitions[i]);
    }
    s->resting = false;
}

/* Plays the path again, with everything that happens in it printed. */
static void print_path(struct search *search, int count, const kh_catchup_options *options)
{
    const char *failure = search->world.failure;

    begin(search, count, options, true);
    for (int i = 0; i < search->length && search->world.failure == NULL; i++) {
        search->path[i].next = 0;
        search->world.chance = &search->path[i];
        move_on(search, MAX_EFFORT);
    }
    if (search->world.failure == NULL)
        try_rest(search);
    kh_catchup_free(search->world.catchup);
    search->world.failure = failure;
}

static const kh_catchup_options policies[] = {
    {.continue_after_truncation = true, .stall_timeout_ms = KH_CATCHUP_CONFIRM_MS},
    {.continue_after_truncation = false, .stall_timeout_ms = INT64_MAX},
};

#define POLICIES ((int)(sizeof policies / sizeof policies[0]))

static bool search_from(struct search *search, int count, const kh_catchup_options *options,
                        int effort)
{
    bool passed;

    begin(search, count, options, false);
    passed = try_moves(search, 0, effort);
    kh_catchup_free(search->world.catchup);
    if (search->world.failure != NULL)
        print_path(search, count, options);
    return passed;
}

/* All first states; false: a rule was broken, or time is up. */
static bool search_all(struct search *search, int count, int effort)
{
    for (int policy = 0; policy < POLICIES; policy++)
        for (int first = 0; first < FIRST_LOGS; first++)
            for (int second = count > 1 ? first : 0; second < (count > 1 ? FIRST_LOGS : 1);
                 second++) {
                search->first_logs[0] = first;
                search->first_logs[1] = second;
                if (!search_from(search, count, &policies[policy], effort))
                    return false;
            }
    return true;
}

/* --- the run ---------------------------------------------------------------------------------- */

static struct timespec seconds_from_now(double seconds)
{
    struct timespec time;

    clock_gettime(CLOCK_MONOTONIC, &time);
    time.tv_sec += (time_t)seconds;
    time.tv_nsec += (long)((seconds - (double)(time_t)seconds) * 1e9);
    if (time.tv_nsec >= 1000000000) {
        time.tv_sec++;
        time.tv_nsec -= 1000000000;
    }
    return time;
}

/* Rules that nothing has put to the test would hold of themselves. */
static bool has_met_everything(const struct counts *c, bool keeps)
{
    bool met = c->caught_up > 0 && c->by_handled > 0 && c->questions > 0 && c->gaps > 0 &&
               c->truncated > c->gone && c->gone > 0;

    if (keeps) /* what completes it is always the handler */
        return met && c->kept > 0;
    met = met && c->at_start > 0 && c->by_message > 0 && c->by_eof > 0 && c->by_position > 0;
    for (int cause = 0; cause <= KH_STALL_LAGGING_FOLLOWER; cause++)
        met = met && c->stalled[cause] > 0;
    return met;
}

static void note_search(const struct search *search, int count, int whole)
{
    tap_note("%d partition%s: every sequence of effort %d%s", count, count > 1 ? "s" : "", whole,
             search->out_of_time ? ", and a part of those of one more" : "");
    tap_note("%" PRIu64 " states, each put to rest; %" PRIu64 " moves, %" PRIu64
             " sequences to their end or to a state seen before, %" PRIu64 " events",
             search->states, search->moves, search->sequences, search->counts.events);
}

static void check_all(struct tap *tap, int count, bool keeps, double seconds, int max_effort)
{
    struct seen seen;
    struct search search = {.until = seconds_from_now(seconds), .seen = &seen, .keeps = keeps};
    int whole = 0;

    seen_init(&seen, (size_t)1 << 20);
    while (whole < max_effort && search_all(&search, count, whole + 1))
        whole++;
    seen_free(&seen);
    tap_check(tap, search.world.failure == NULL,
              count > 1 ? "two partitions: the signal is never early, twice, late or missing"
              : keeps   ? "history that is kept until all of it is there: the same"
                        : "one partition: the signal is never early, twice, late or missing");
    if (search.world.failure != NULL) {
        tap_note("%s, after %d moves", search.world.failure, search.length);
        return;
    }
    note_search(&search, count, whole);
    if (whole >= MEETS_ALL_EFFORT)
        tap_check(tap, has_met_everything(&search.counts, keeps),
                  "the sequences meet all that can happen");
}

int main(int argc, char **argv)
{
    const char *set = getenv("KH_SECONDS");
    double seconds = set != NULL && set[0] != '\0' ? strtod(set, NULL) : 20;
    int effort = MAX_EFFORT;
    struct tap tap = {0};

    for (int i = 1; i < argc; i += 2) {
        const char *value = i + 1 < argc ? argv[i + 1] : NULL;

        if (value != NULL && strcmp(argv[i], "--seconds") == 0) {
            seconds = strtod(value, NULL);
        } else if (value != NULL && strcmp(argv[i], "--effort") == 0) {
            effort = (int)strtol(value, NULL, 10);
            seconds = NO_LIMIT_S;
        } else {
            return fprintf(stderr, "usage: %s [--seconds N] [--effort N]\n", argv[0]), 2;
        }
    }
    if (effort < 1 || effort > MAX_EFFORT)
        effort = MAX_EFFORT;
    check_all(&tap, 1, false, seconds * 0.4, effort);
    if (tap.failures == 0)
        check_all(&tap, 1, true, seconds * 0.2, effort);
    if (tap.failures == 0)
        check_all(&tap, 2, false, seconds * 0.4, effort);
    return tap_end(&tap);
}
