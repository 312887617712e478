/*
 * Each rule of the decision by itself, and each of its edges.
 *
 * A case is a sentence and the script that proves it: steps apart by ";", each an event, with the
 * actions that it must cause behind "->". A step without "->" must cause none, so every case also
 * proves that nothing happens too early. " pN" names partition N; without it, it is partition 0.
 *
 *   history LOW T   the snapshot            end LOW END STABLE NOW    answer to "ask"
 *   from START      assigned                failed | noleader | gone NOW
 *   revoke, settled, unsettled              tick NOW WAITED
 *   message | handled | eof | position OFFSET, reset, replaced
 *
 * The policy comes first: "continue" (after a truncation), "stall MS", "never" (report a stall).
 * And what the owner can ask, with its answer behind "->": crossing OFFSET, timeout, pending, get.
 */
#include "catchup.h"
#include "tap.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define MAX_NUMBERS 4
#define MAX_TEXT 512

struct test_case {
    const char *sentence;
    const char *script;
};

struct run {
    kh_catchup *catchup;
    kh_catchup_options options;
    char actions[MAX_TEXT];
};

struct step {
    char verb[16];
    int partition;
    int64_t number[MAX_NUMBERS];
};

/* --- what was done, as text ------------------------------------------------------------------- */

static const char *cause_text(kh_stall_cause cause)
{
    switch (cause) {
    case KH_STALL_OPEN_TRANSACTION:
        return "open transaction";
    case KH_STALL_TRUNCATED:
        return "truncated";
    case KH_STALL_TOPIC_DELETED:
        return "topic deleted";
    case KH_STALL_NO_LEADER:
        return "no leader";
    case KH_STALL_LAGGING_FOLLOWER:
        return "lagging follower";
    default:
        return "unknown";
    }
}

__attribute__((format(printf, 2, 3))) static void append(struct run *run, const char *format, ...)
{
    size_t used = strlen(run->actions);
    va_list arguments;

    va_start(arguments, format);
    vsnprintf(run->actions + used, sizeof run->actions - used, format, arguments);
    va_end(arguments);
}

static void note_action(void *opaque, const kh_action *action)
{
    struct run *run = opaque;

    if (run->actions[0] != '\0')
        append(run, ", ");
    switch (action->type) {
    case KH_ACTION_PARTITION_CAUGHT_UP:
        append(run, "done");
        break;
    case KH_ACTION_CAUGHT_UP:
        append(run, "caught up");
        break;
    case KH_ACTION_ASK_END:
        append(run, "ask");
        break;
    case KH_ACTION_READ_FROM:
        append(run, "read from %" PRId64, action->offset);
        break;
    case KH_ACTION_GAP:
        append(run, "gap %" PRId64 "..%" PRId64, action->offset, action->to);
        break;
    case KH_ACTION_TRUNCATED:
        append(run, "truncated at %" PRId64 " of %" PRId64 " to %" PRId64 "%s", action->offset,
               action->target, action->end, action->gone ? " gone" : "");
        break;
    case KH_ACTION_STALLED:
        append(run, "stalled at %" PRId64 " of %" PRId64 ": %s", action->offset, action->target,
               cause_text(action->cause));
        break;
    }
    if (action->partition > 0)
        append(run, " p%d", action->partition);
}

/* --- a step ----------------------------------------------------------------------------------- */

static int64_t number_of(const char *word)
{
    return strcmp(word, "max") == 0 ? INT64_MAX : strtoll(word, NULL, 10);
}

static struct step parse_step(char *text)
{
    struct step step = {.partition = 0};
    int count = 0;
    char *rest = NULL;
    char *word = strtok_r(text, " ", &rest);

    snprintf(step.verb, sizeof step.verb, "%s", word != NULL ? word : "");
    while ((word = strtok_r(NULL, " ", &rest)) != NULL)
        if (word[0] == 'p')
            step.partition = (int)number_of(word + 1);
        else if (count < MAX_NUMBERS)
            step.number[count++] = number_of(word);
    return step;
}

static bool is(const struct step *step, const char *verb)
{
    return strcmp(step->verb, verb) == 0;
}

static bool event_of(const struct step *step, kh_event *event)
{
    static const struct {
        const char *verb;
        kh_event_type type;
        kh_ask_error error;
    } verbs[] = {
        {"history", KH_EVENT_SNAPSHOT, KH_ASK_FAILED},
        {"from", KH_EVENT_ASSIGN, KH_ASK_FAILED},
        {"revoke", KH_EVENT_REVOKE, KH_ASK_FAILED},
        {"settled", KH_EVENT_SETTLED, KH_ASK_FAILED},
        {"unsettled", KH_EVENT_SETTLED, KH_ASK_FAILED},
        {"message", KH_EVENT_MESSAGE, KH_ASK_FAILED},
        {"handled", KH_EVENT_HANDLED, KH_ASK_FAILED},
        {"kept", KH_EVENT_KEPT, KH_ASK_FAILED},
        {"eof", KH_EVENT_EOF, KH_ASK_FAILED},
        {"position", KH_EVENT_POSITION, KH_ASK_FAILED},
        {"end", KH_EVENT_END_IS, KH_ASK_FAILED},
        {"reset", KH_EVENT_RESET, KH_ASK_FAILED},
        {"replaced", KH_EVENT_REPLACED, KH_ASK_FAILED},
        {"failed", KH_EVENT_ERROR, KH_ASK_FAILED},
        {"noleader", KH_EVENT_ERROR, KH_ASK_NO_LEADER},
        {"gone", KH_EVENT_ERROR, KH_ASK_GONE},
        {"tick", KH_EVENT_TICK, KH_ASK_FAILED},
    };

    for (size_t i = 0; i < sizeof verbs / sizeof verbs[0]; i++) {
        if (!is(step, verbs[i].verb))
            continue;
        *event = (kh_event){.type = verbs[i].type,
                            .error = verbs[i].error,
                            .partition = step->partition,
                            .settled = is(step, "settled")};
        return true;
    }
    return false;
}

static void apply(struct run *run, const struct step *step, kh_event event)
{
    const int64_t *n = step->number;

    event.offset = n[0];
    if (event.type == KH_EVENT_SNAPSHOT) {
        event.low = n[0];
        event.target = n[1];
    } else if (event.type == KH_EVENT_END_IS) {
        event.low = n[0];
        event.end = n[1];
        event.stable = n[2];
        event.now_ms = n[3];
    } else if (event.type == KH_EVENT_ERROR) {
        event.now_ms = n[0];
    } else if (event.type == KH_EVENT_TICK) {
        event.now_ms = n[0];
        event.waited_ms = n[1];
    }
    kh_catchup_apply(run->catchup, &event, note_action, run);
}

static void ask(struct run *run, const struct step *step)
{
    kh_catchup_partition p = kh_catchup_get(run->catchup, step->partition);

    if (is(step, "crossing"))
        append(run, "%s",
               kh_catchup_is_crossing(run->catchup, step->partition, step->number[0]) ? "yes"
                                                                                      : "no");
    else if (is(step, "timeout"))
        append(run, "%" PRId64, kh_catchup_timeout_ms(run->catchup));
    else if (is(step, "pending"))
        append(run, "%d%s", kh_catchup_pending_count(run->catchup),
               kh_catchup_is_caught_up(run->catchup) ? " caught up" : "");
    else if (is(step, "get"))
        append(run, "%s%s%sstart %" PRId64 " low %" PRId64 " T %" PRId64 " at %" PRId64,
               p.assigned ? "assigned " : "", p.has_target ? "known " : "",
               p.pending ? "pending " : "", p.start, p.low, p.target, p.position);
    else
        append(run, "no such step");
}

/* --- a case ----------------------------------------------------------------------------------- */

static void begin(struct run *run)
{
    run->catchup = kh_catchup_new(&run->options);
    if (run->catchup == NULL || !kh_catchup_reserve(run->catchup, 2))
        abort();
}

static bool set_option(struct run *run, const struct step *step)
{
    if (is(step, "continue"))
        run->options.continue_after_truncation = true;
    else if (is(step, "stall"))
        run->options.stall_timeout_ms = step->number[0];
    else if (is(step, "never"))
        run->options.stall_timeout_ms = INT64_MAX;
    else
        return false;
    return true;
}

static char *trim(char *text)
{
    char *end;

    text += strspn(text, " ");
    end = text + strlen(text);
    while (end > text && end[-1] == ' ')
        *--end = '\0';
    return text;
}

static bool run_step(struct run *run, char *text)
{
    char *arrow = strstr(text, "->");
    const char *expected = "";
    struct step step;
    kh_event event;

    if (arrow != NULL) {
        *arrow = '\0';
        expected = trim(arrow + 2);
    }
    step = parse_step(text);
    if (run->catchup == NULL && set_option(run, &step))
        return true;
    if (run->catchup == NULL)
        begin(run);
    run->actions[0] = '\0';
    if (event_of(&step, &event))
        apply(run, &step, event);
    else
        ask(run, &step);
    if (strcmp(run->actions, expected) == 0)
        return true;
    tap_note("after \"%s\": expected \"%s\", got \"%s\"", step.verb, expected, run->actions);
    return false;
}

static bool run_case(const char *script)
{
    struct run run = {.options = {.stall_timeout_ms = 30000}};
    char text[4 * MAX_TEXT];
    bool passed = strlen(script) < sizeof text;
    char *rest = NULL;
    int number = 0;

    snprintf(text, sizeof text, "%s", script);
    for (char *step = strtok_r(text, ";", &rest); passed && step != NULL;
         step = strtok_r(NULL, ";", &rest)) {
        number++;
        passed = run_step(&run, trim(step));
    }
    if (!passed)
        tap_note("at step %d of: %s", number, script);
    kh_catchup_free(run.catchup);
    return passed;
}

/* --- the cases -------------------------------------------------------------------------------- */

/* Most cases begin with a partition whose history is [0, 10), read from 0 by one reader. */
#define BEGIN "history 0 10; from 0; settled; "
#define BEGIN_TWO "history 0 10; history p1 0 5; from 0; from p1 0; settled; "

static const struct test_case cases[] = {
    /* 1. at the snapshot */
    {"an empty log is caught up as soon as it is assigned and settled",
     "history 0 0; from 0 -> done; settled -> caught up; pending -> 0 caught up"},
    {"a start at T has no history left", "history 0 10; from 10 -> done; settled -> caught up"},
    {"a start past T has no history left", "history 0 10; from 11 -> done; settled -> caught up"},
    {"a start one below T has history left", "history 0 10; from 9; settled; pending -> 1"},
    {"a log emptied by retention (low = T) is done at once",
     "history 7 7; from 0 -> done; settled -> caught up"},
    {"a log whose low is past T is done at once",
     "history 8 7; from 0 -> done; settled -> caught up"},
    {"a log whose low is one below T has history left", "history 6 7; from 6; settled"},

    /* 2. the last history message, handled */
    {"the message at T - 1 completes when it is handled, not when it arrives",
     BEGIN "message 9; handled 9 -> done, caught up; pending -> 0 caught up"},
    {"the message at T - 2 does not complete", BEGIN "message 8; handled 8; pending -> 1"},
    {"a message at T - 1 whose handler fails blocks, whatever comes behind it",
     BEGIN "message 9; eof 10; position 10; message 10; tick 99000 0; pending -> 1; "
           "handled 9 -> done, caught up"},
    {"earlier messages of the same batch must be handled too",
     BEGIN "message 7; message 9; handled 7; handled 9 -> done, caught up"},
    {"a message behind the signal changes nothing",
     BEGIN "message 9; handled 9 -> done, caught up; message 10; handled 10; eof 11; position 11"},

    /* 3. a message at or past T arrives */
    {"a message at T completes on arrival, before its handler runs",
     BEGIN "message 7; handled 7; message 10 -> done, caught up; handled 10"},
    {"a message past T completes on arrival", BEGIN "message 12 -> done, caught up"},
    {"a message past T with an earlier one unhandled completes right after that one, before its "
     "own",
     BEGIN "message 7; message 12; handled 7 -> done, caught up; handled 12"},
    {"of several unhandled messages the last one below T decides",
     BEGIN "message 6; message 7; message 12; message 13; handled 6; handled 7 -> done, caught up"},

    /* 4. end-of-partition, position */
    {"end-of-partition at T completes", BEGIN "message 7; handled 7; eof 10 -> done, caught up"},
    {"end-of-partition past T completes", BEGIN "eof 11 -> done, caught up"},
    {"end-of-partition completes a log that holds nothing readable",
     BEGIN "eof 10 -> done, caught up"},
    {"end-of-partition behind an unhandled message completes when that is handled",
     BEGIN "message 7; eof 10; handled 7 -> done, caught up"},
    {"a position at T completes (behind a commit marker)",
     BEGIN "message 7; handled 7; position 10 -> done, caught up"},
    {"a position past T completes", BEGIN "position 11 -> done, caught up"},
    {"a position below T is nothing (a hole at the tail)",
     BEGIN "message 7; handled 7; position 9; position 8; eof 10 -> done, caught up"},
    {"a position behind an unhandled message completes when that is handled",
     BEGIN "message 7; position 10; handled 7 -> done, caught up"},
    {"end-of-partition repeats without harm",
     BEGIN "eof 10 -> done, caught up; eof 10; eof 10; position 10"},

    /* 5. end-of-partition below T */
    {"end-of-partition below T asks for the end and completes nothing",
     BEGIN "eof 9 -> ask; pending -> 1"},
    {"end-of-partition below T is asked about once, however often it comes",
     BEGIN "eof 9 -> ask; eof 9; eof 9; tick 900 0"},
    {"end-of-partition below T behind an unhandled message asks when that is handled",
     BEGIN "message 7; eof 8; handled 7 -> ask"},
    {"between two unhandled messages nothing is asked",
     BEGIN "message 6; message 7; eof 8; handled 6; handled 7 -> ask"},
    {"an end at T means to wait: the message that comes later completes",
     BEGIN "eof 5 -> ask; end 0 10 10 0; tick 5000 0; timeout -> 30000; message 9; "
           "handled 9 -> done, caught up"},
    {"an end past T means to wait: the end-of-partition that comes later completes",
     BEGIN "eof 5 -> ask; end 0 12 5 0; eof 12 -> done, caught up"},
    {"after an answer a new end-of-partition below T asks again",
     BEGIN "eof 5 -> ask; end 0 10 10 0; message 5; handled 5; eof 6 -> ask; end 0 10 10 50"},
    {"an end below T is not believed the first time", BEGIN "eof 5 -> ask; end 0 5 5 0"},
    {"an end below T is asked again after a second, not before",
     BEGIN "eof 5 -> ask; end 0 5 5 100; timeout -> 1000; tick 1099 0; timeout -> 1; "
           "tick 1100 0 -> ask; tick 9000 0"},
    {"an end below T once and at T then is no truncation",
     BEGIN "eof 5 -> ask; end 0 5 5 0; tick 1000 0 -> ask; end 0 10 10 1000; tick 9000 0; "
           "eof 5 -> ask; end 0 5 5 9000"},
    {"an end below T twice within a second is no truncation",
     BEGIN "eof 5 -> ask; end 0 5 5 0; end 0 5 5 999; pending -> 1"},
    {"an end below T twice, a second apart, is a truncation",
     BEGIN "eof 5 -> ask; end 0 5 5 0; tick 1000 0 -> ask; "
           "end 0 5 5 1000 -> truncated at 0 of 10 to 5; pending -> 1"},
    {"an end one below T is a truncation too",
     BEGIN "eof 5 -> ask; end 0 9 9 0; tick 1000 0 -> ask; "
           "end 0 9 9 1000 -> truncated at 0 of 10 to 9"},
    {"after a truncation that ends reading nothing more is decided",
     BEGIN_TWO "eof 5 -> ask; end 0 5 5 0; tick 1000 0 -> ask; "
               "end 0 5 5 1000 -> truncated at 0 of 10 to 5; eof 10; message p1 4; handled p1 4; "
               "tick 99000 99000; revoke; revoke p1; settled; timeout -> -1; pending -> 0"},
    {"\"continue\": T becomes the end, reading goes on from low, which counts on",
     "continue; " BEGIN "message 4; handled 4; eof 5 -> ask; end 0 5 5 0; tick 1000 0 -> ask; "
     "end 2 5 5 1000 -> truncated at 5 of 10 to 5, read from 2; "
     "get -> assigned known pending start 0 low 2 T 5 at 2; "
     "message 2; handled 2; message 4; handled 4 -> done, caught up"},
    {"\"continue\": a truncated log that is empty is done",
     "continue; " BEGIN "eof 5 -> ask; end 3 3 3 0; tick 1000 0 -> ask; "
     "end 3 3 3 1000 -> truncated at 0 of 10 to 3, read from 3, done, caught up"},
    {"\"continue\": a second truncation is found like the first",
     "continue; " BEGIN "eof 5 -> ask; end 0 5 5 0; tick 1000 0 -> ask; "
     "end 0 5 5 1000 -> truncated at 0 of 10 to 5, read from 0; eof 3 -> ask; "
     "end 0 3 3 1100; tick 2100 0 -> ask; "
     "end 0 3 3 2100 -> truncated at 0 of 5 to 3, read from 0; eof 3 -> done, caught up"},
    {"\"continue\": after a truncation the old low is no reason to be done",
     "continue; history 6 10; from 6; settled; eof 7 -> ask; end 0 3 3 0; tick 1000 0 -> ask; "
     "end 0 3 3 1000 -> truncated at 6 of 10 to 3, read from 0; unsettled; revoke; from 0; "
     "settled; eof 3 -> done, caught up"},
    {"\"continue\": a log that is cut when its partition is done has its new T when that comes "
     "back",
     "continue; " BEGIN_TWO "eof 10 -> done; reset -> ask; end 0 3 3 0; tick 1000 0 -> ask; "
     "end 0 3 3 1000 -> truncated at 0 of 10 to 3, read from 0; unsettled; revoke; from 0; "
     "settled; eof 3 -> done; eof p1 5 -> done p1, caught up"},
    {"an answer is not believed while a message is unhandled, and asked for again after it",
     BEGIN "eof 5 -> ask; end 0 5 5 0; tick 1000 0 -> ask; message 5; eof 6; end 0 5 5 1000; "
           "handled 5 -> ask; end 0 6 6 1100 -> truncated at 6 of 10 to 6"},
    {"a first answer while a message is unhandled does not count",
     BEGIN "eof 5 -> ask; message 5; end 0 5 5 0; handled 5 -> ask; end 0 6 6 1500"},
    {"a question without an answer is asked again after a second",
     BEGIN "eof 5 -> ask; failed 0; timeout -> 1000; tick 999 0; tick 1000 0 -> ask; "
           "noleader 1000; tick 2000 0 -> ask; end 0 10 10 2000; tick 9000 0"},
    {"a done partition asks nothing more", BEGIN "eof 5 -> ask; failed 0; eof 10 -> done, "
                                                 "caught up; tick 9000 0; timeout -> -1"},
    {"a question that was out when the partition was done is not asked again",
     BEGIN "eof 5 -> ask; eof 10 -> done, caught up; failed 0; tick 9000 30000; timeout -> -1"},
    {"\"no such topic\" without being asked, in a done partition, is made sure of like any other",
     BEGIN "eof 10 -> done, caught up; gone 0; tick 1000 0 -> ask; failed 1000; "
           "tick 2000 0 -> ask; gone 2000 -> truncated at 0 of 10 to -1 gone"},
    {"an end below T is no news of a partition that is done",
     BEGIN "eof 10 -> done, caught up; end 0 5 5 0; tick 1000 0; end 0 5 5 1000"},
    {"doubt about the end is over when the partition is done",
     BEGIN "message 8; eof 9; message 10; handled 8 -> done, caught up; handled 10"},

    /* 5. the position is lost */
    {"a topic made anew, longer than T, is truncated without a second answer",
     BEGIN "message 2; handled 2; replaced -> ask; end 0 20 20 0 -> truncated at 3 of 10 to 20"},
    {"\"continue\": a topic made anew is read from its low to its end",
     "continue; " BEGIN "message 2; handled 2; replaced -> ask; "
     "end 4 20 20 0 -> truncated at 3 of 10 to 20, read from 4; message 18; handled 18; "
     "message 19; handled 19 -> done, caught up"},
    {"nothing that is read of a topic made anew completes the history",
     BEGIN "message 2; handled 2; replaced -> ask; message 9; handled 9; eof 10; position 10; "
           "pending -> 1; end 0 20 20 0 -> truncated at 10 of 10 to 20"},
    {"evidence from a topic made anew is forgotten with it",
     "continue; " BEGIN "replaced -> ask; eof 10; end 0 20 20 0 -> truncated at 0 of 10 to 20, "
     "read from 0; message 9; handled 9; pending -> 1"},
    {"a topic made anew waits for what is being handled",
     BEGIN "message 2; replaced; handled 2 -> ask; end 0 20 20 0 -> truncated at 3 of 10 to 20"},
    {"an answer from before the topic was made anew says nothing about it", BEGIN
     "eof 5 -> ask; replaced; end 0 12 12 0 -> ask; end 0 20 20 10 -> truncated at 0 of 10 to 20"},
    {"an answer to a question that was out when it was made anew is not its, nor with a lost "
     "position",
     "continue; " BEGIN "reset -> ask; replaced; end 8 12 12 0 -> ask; "
     "end 0 20 20 10 -> truncated at 0 of 10 to 20, read from 0"},
    {"the cause of a stall before that answer: truncated, not the end it was seen to reach",
     BEGIN "tick 30000 30000 -> ask; replaced; eof 10; "
           "end 0 12 10 30000 -> stalled at 0 of 10: truncated, ask"},
    {"a partition that is done is told of a topic made anew", BEGIN
     "eof 10 -> done, caught up; replaced -> ask; end 0 20 20 0 -> truncated at 0 of 10 to 20"},
    {"a lost position below low is a gap: reading goes on from low",
     BEGIN "message 2; handled 2; reset -> ask; end 6 12 12 0 -> gap 3..6, read from 6; "
           "get -> assigned known pending start 0 low 0 T 10 at 6; message 9; "
           "handled 9 -> done, caught up"},
    {"a gap begins where end-of-partition was, not at the last message before a hole",
     BEGIN "message 2; handled 2; eof 5 -> ask; end 0 12 5 0; reset -> ask; "
           "end 6 12 12 0 -> gap 5..6, read from 6"},
    {"a log whose low is where end-of-partition was has no gap: it was cut",
     BEGIN "message 2; handled 2; eof 6 -> ask; end 0 12 6 0; reset -> ask; end 6 12 12 0; "
           "tick 1000 0 -> ask; end 6 12 12 1000 -> truncated at 3 of 10 to 12"},
    {"a gap that reaches T completes",
     BEGIN "reset -> ask; end 10 12 12 0 -> gap 0..10, read from 10, done, caught up"},
    {"a gap that ends one below T does not complete",
     BEGIN "reset -> ask; end 9 12 12 0 -> gap 0..9, read from 9; pending -> 1"},
    {"a gap needs the end at T at least: an end at T is one",
     BEGIN "reset -> ask; end 6 10 10 0 -> gap 0..6, read from 6"},
    {"a lost position below low in a log that ends below T is a truncation",
     BEGIN "reset -> ask; end 6 9 9 0; tick 1000 0 -> ask; "
           "end 6 9 9 1000 -> truncated at 0 of 10 to 9"},
    {"a lost position at low is a truncation, though the log is long enough",
     BEGIN "message 2; handled 2; reset -> ask; end 3 12 12 0; tick 1000 0 -> ask; "
           "end 3 12 12 1000 -> truncated at 3 of 10 to 12"},
    {"\"continue\": a lost position in a log made anew reads all of it, to its end as of now",
     "continue; " BEGIN "message 2; handled 2; reset -> ask; end 0 12 12 0; tick 1000 0 -> ask; "
     "end 0 12 12 1000 -> truncated at 3 of 10 to 12, read from 0; message 10; handled 10; "
     "message 11; handled 11 -> done, caught up"},
    {"a lost position waits for the unhandled message before it asks",
     BEGIN "message 2; reset; handled 2 -> ask; end 6 12 12 0 -> gap 3..6, read from 6"},
    {"an answer about a lost position waits for the unhandled message too",
     BEGIN "reset -> ask; message 2; end 6 12 12 0; handled 2 -> ask; "
           "end 6 12 12 0 -> gap 3..6, read from 6"},
    {"a doubt from before the position was lost does not confirm the loss",
     BEGIN "eof 5 -> ask; end 0 5 5 0; reset; tick 1000 0 -> ask; end 0 12 12 1000; reset; "
           "tick 2000 0 -> ask; end 0 12 12 2000 -> truncated at 0 of 10 to 12"},
    {"a position lost behind the last history message is asked about when that is handled",
     BEGIN "message 9; reset; handled 9 -> done, caught up, ask; "
           "end 12 20 20 0 -> gap 10..12, read from 12"},
    {"an answer to a question from before the position was lost says nothing about the loss",
     BEGIN "eof 0 -> ask; reset; end 1 12 12 0 -> ask; end 6 12 12 0 -> gap 0..6, read from 6"},
    {"a position lost after the signal is a gap too",
     BEGIN "message 10 -> done, caught up; handled 10; reset -> ask; "
           "end 15 20 20 0 -> gap 11..15, read from 15; message 15; handled 15"},
    {"a log cut after the signal is a truncation, which undoes nothing",
     "continue; " BEGIN "message 10 -> done, caught up; handled 10; reset -> ask; end 0 3 3 0; "
     "tick 1000 0 -> ask; end 0 3 3 1000 -> truncated at 11 of 10 to 3, read from 0; "
     "message 0; handled 0; eof 3; pending -> 0 caught up; "
     "get -> assigned known start 0 low 0 T 10 at 1"},

    /* 5. the topic is deleted */
    {"\"no such topic\" is not believed the first time",
     BEGIN "eof 5 -> ask; gone 0; pending -> 1"},
    {"\"no such topic\" twice within a second is no truncation",
     BEGIN "eof 5 -> ask; gone 0; gone 999"},
    {"\"no such topic\" twice, a second apart, is a truncation",
     BEGIN "eof 5 -> ask; gone 0; timeout -> 1000; tick 1000 0 -> ask; "
           "gone 1000 -> truncated at 0 of 10 to -1 gone; pending -> 1; timeout -> -1"},
    {"\"continue\": without a log the partition is done",
     "continue; " BEGIN_TWO "eof 5 -> ask; gone 0; tick 1000 0 -> ask; "
     "gone 1000 -> truncated at 0 of 10 to -1 gone, done; tick 9000 0; "
     "eof p1 5 -> done p1, caught up"},
    {"\"continue\": a deletion that was reported is over, another one is made sure of like the "
     "first",
     "continue; " BEGIN "eof 10 -> done, caught up; gone 0; tick 1000 0 -> ask; "
     "gone 1000 -> truncated at 0 of 10 to -1 gone; gone 9000"},
    {"an end that is known again takes \"no such topic\" back",
     BEGIN "eof 5 -> ask; gone 0; tick 1000 0 -> ask; end 0 10 10 1000; eof 5 -> ask; gone 2000"},
    {"a message takes \"no such topic\" back: there is one",
     BEGIN "eof 5 -> ask; gone 0; message 5; handled 5; tick 1000 0 -> ask; gone 1000"},
    {"\"no such topic\" waits for the unhandled message",
     BEGIN "message 2; reset; gone 0; tick 1000 0 -> ask; gone 1000; tick 2000 0 -> ask; "
           "handled 2; gone 2000 -> truncated at 3 of 10 to -1 gone"},

    /* stalls */
    {"no progress while waiting is a stall: the question, then the cause",
     BEGIN "timeout -> 30000; tick 40000 29999; timeout -> 1; tick 40001 30000 -> ask; "
           "end 0 10 10 40001 -> stalled at 0 of 10: unknown; pending -> 1"},
    {"a stall is no signal and its reports pause longer and longer",
     "stall 1000; " BEGIN "tick 1000 1000 -> ask; end 0 10 10 1000 -> stalled at 0 of 10: unknown; "
     "timeout -> 2000; tick 2999 2999; tick 3000 3000 -> ask; "
     "end 0 10 10 3000 -> stalled at 0 of 10: unknown; timeout -> 4000; "
     "tick 7000 7000 -> ask; end 0 10 10 7000 -> stalled at 0 of 10: unknown; timeout -> 8000"},
    {"the pause between two reports has a limit",
     "stall 1000000; " BEGIN "tick 1000000 1000000 -> ask; "
     "end 0 10 10 1000000 -> stalled at 0 of 10: unknown; timeout -> 1800000"},
    {"progress makes the pauses short again",
     "stall 1000; " BEGIN "tick 1000 1000 -> ask; end 0 10 10 1000 -> stalled at 0 of 10: unknown; "
     "tick 2000 2000; message 3; handled 3; timeout -> 1000; tick 2999 2999; tick 3000 3000 -> "
     "ask"},
    {"a gap is progress: a stall is counted from there",
     BEGIN "tick 20000 20000; reset -> ask; end 6 12 12 20000 -> gap 0..6, read from 6; "
           "tick 49999 49999; tick 50000 50000 -> ask"},
    {"an arrival before the answer ends the stall unreported",
     BEGIN "tick 30000 30000 -> ask; message 3; end 0 10 10 30000; handled 3"},
    {"a handled message before the answer ends the stall unreported",
     BEGIN "tick 30000 30000 -> ask; message 3; handled 3; end 0 10 10 30000"},
    {"a partition that is done before the answer ends the stall unreported",
     BEGIN "tick 30000 30000 -> ask; eof 10 -> done, caught up; end 0 10 10 30000"},
    {"time that passes while the reader does not wait is no stall", BEGIN "tick 990000 0"},
    {"while a message is unhandled there is no stall, and no tick is needed for one",
     BEGIN "message 3; tick 31000 31000; timeout -> -1; handled 3; timeout -> 30000; "
           "tick 60999 60999; tick 61000 61000 -> ask"},
    {"a done partition does not stall, another one does",
     BEGIN_TWO "eof 10 -> done; tick 30000 30000 -> ask p1; "
               "end p1 0 5 5 30000 -> stalled at 0 of 5: unknown p1"},
    {"with \"never\" there is no stall and no tick is needed",
     "never; " BEGIN "timeout -> -1; tick 1000 1000; tick max max; timeout -> -1"},
    {"the cause: an open transaction",
     BEGIN "eof 5 -> ask; end 0 10 5 0; tick 30000 30000 -> ask; "
           "end 0 10 5 30000 -> stalled at 0 of 10: open transaction"},
    {"the cause: an open transaction, known without end-of-partition",
     BEGIN "message 4; handled 4; tick 30000 30000 -> ask; "
           "end 0 10 5 30000 -> stalled at 5 of 10: open transaction"},
    {"the cause: a lagging follower",
     BEGIN "eof 5 -> ask; end 0 10 10 0; tick 30000 30000 -> ask; "
           "end 0 10 10 30000 -> stalled at 0 of 10: lagging follower"},
    {"the cause: a lagging follower, though a transaction is open behind it",
     BEGIN "eof 5 -> ask; end 0 10 8 0; tick 30000 30000 -> ask; "
           "end 0 10 8 30000 -> stalled at 0 of 10: lagging follower"},
    {"the cause is unknown where more could be read and end-of-partition never came",
     BEGIN "message 4; handled 4; tick 30000 30000 -> ask; "
           "end 0 10 8 30000 -> stalled at 5 of 10: unknown"},
    {"the cause is unknown when end-of-partition is of before the last message",
     BEGIN "eof 5 -> ask; end 0 10 10 0; message 5; handled 5; tick 30000 30000 -> ask; "
           "end 0 10 10 30000 -> stalled at 6 of 10: unknown"},
    {"the cause: truncated, which a second answer confirms",
     BEGIN "tick 30000 30000 -> ask; end 0 5 5 30000 -> stalled at 0 of 10: truncated; "
           "tick 31000 31000 -> ask; end 0 5 5 31000 -> truncated at 0 of 10 to 5"},
    {"the cause: the topic was deleted, which a second answer confirms",
     BEGIN "tick 30000 30000 -> ask; gone 30000 -> stalled at 0 of 10: topic deleted; "
           "tick 31000 31000 -> ask; gone 31000 -> truncated at 0 of 10 to -1 gone"},
    {"the cause: no leader",
     BEGIN "tick 30000 30000 -> ask; noleader 30000 -> stalled at 0 of 10: no leader"},
    {"the cause is unknown when the question has no answer",
     BEGIN "tick 30000 30000 -> ask; failed 30000 -> stalled at 0 of 10: unknown"},
    {"a stall waits for the answer that is out, and asks nothing more",
     "stall 500; " BEGIN "eof 5 -> ask; tick 500 500; "
     "end 0 10 10 500 -> stalled at 0 of 10: lagging follower"},
    {"a stall waits for a question that is due, which must keep its distance",
     "stall 500; " BEGIN "eof 5 -> ask; end 0 5 5 0; tick 500 500; timeout -> 500; "
     "tick 1000 1000 -> ask; "
     "end 0 5 5 1000 -> stalled at 0 of 10: truncated, truncated at 0 of 10 to 5"},

    /* history that is kept, to be handled when all of it is there */
    {"history that is kept is not done before it is handled",
     BEGIN "message 3; kept 3; eof 10; pending -> 1; handled 3 -> done, caught up"},
    {"of several that were kept the last one stands for all",
     BEGIN "message 3; kept 3; message 5; kept 5; message 9; kept 9; handled 3; pending -> 1; "
           "handled 9 -> done, caught up"},
    {"what is kept does not hold up a question about the end",
     BEGIN "message 3; eof 5; kept 3 -> ask; end 0 5 5 0; tick 1000 0 -> ask; "
           "end 0 5 5 1000 -> truncated at 0 of 10 to 5"},
    {"what has not arrived cannot be kept", BEGIN "message 3; kept 4; eof 5; kept 3 -> ask"},
    {"what was kept before a gap remains to be handled",
     BEGIN "message 3; kept 3; reset -> ask; end 6 12 12 0 -> gap 4..6, read from 6; "
           "message 9; kept 9; pending -> 1; handled 3; pending -> 1; "
           "handled 9 -> done, caught up"},
    {"a gap to the end of history leaves what was kept, which completes it",
     BEGIN "message 3; kept 3; reset -> ask; end 10 12 12 0 -> gap 4..10, read from 10; "
           "pending -> 1; handled 9 -> done, caught up"},
    {"what was kept of a log that was cut is void",
     "continue; " BEGIN "message 3; kept 3; replaced -> ask; "
     "end 0 2 2 0 -> truncated at 0 of 10 to 2, read from 0; message 1; handled 1 -> done, "
     "caught up"},
    {"what was kept of a topic that is gone is all there is",
     "continue; " BEGIN "message 3; kept 3; gone 0; tick 1000 0 -> ask; "
     "gone 1000 -> truncated at 0 of 10 to -1 gone; pending -> 1; handled 3 -> done, caught up"},
    {"an end below T says nothing of history that is known to be all there",
     "continue; " BEGIN "message 3; kept 3; gone 0; tick 1000 0 -> ask; "
     "gone 1000 -> truncated at 0 of 10 to -1 gone; eof 4; handled 3 -> done, caught up"},
    {"keeping is progress, behind which the next stall is looked for",
     "stall 500; " BEGIN "message 3; tick 500 500; kept 3; timeout -> 500; "
     "tick 1000 1000 -> ask; failed 1000 -> stalled at 0 of 10: unknown"},
    {"history that is all there and waits for other partitions is no stall",
     "stall 500; " BEGIN "message 3; kept 3; eof 10; tick 500 500; tick 9000 9000; pending -> 1"},
    {"a stall's answer that comes behind the end of history says nothing",
     "stall 500; " BEGIN "message 3; kept 3; tick 500 500 -> ask; eof 10; end 0 10 10 500; "
     "handled 3 -> done, caught up"},
    {"a topic made anew is found while its history waits to be handled",
     "continue; " BEGIN "message 3; kept 3; eof 10; replaced -> ask; handled 3; pending -> 1; "
     "end 0 20 20 0 -> truncated at 4 of 10 to 20, read from 0; pending -> 1"},

    /* several partitions, the assignment */
    {"all partitions have to be done", BEGIN_TWO "message 9; handled 9 -> done; pending -> 1; "
                                                 "eof p1 5 -> done p1, caught up; pending -> 0 "
                                                 "caught up"},
    {"one partition's end is nothing for another",
     BEGIN_TWO "message p1 3; eof 10 -> done; eof 10; position 10; handled p1 3; "
               "eof p1 5 -> done p1, caught up"},
    {"one partition's unhandled message holds the signal, not the other partition",
     BEGIN_TWO "message 9; message p1 7 -> done p1; handled p1 7; handled 9 -> done, caught up"},
    {"without \"settled\" there is no signal; it comes with it",
     "history 0 10; from 0; eof 10 -> done; pending -> 0; settled -> caught up"},
    {"an assignment in motion holds the signal",
     BEGIN "unsettled; eof 10 -> done; tick 99000 99000; settled -> caught up; settled"},
    {"an empty assignment is caught up once it is settled",
     "history 0 10; unsettled; tick 9000 0; settled -> caught up"},
    {"the last pending partition is revoked: caught up once that is settled",
     BEGIN_TWO "eof 10 -> done; unsettled; revoke p1; pending -> 0; settled -> caught up"},
    {"a partition that is revoked under a settled assignment is waited for no longer",
     BEGIN_TWO "eof 10 -> done; revoke p1 -> caught up"},
    {"a done partition that is revoked is not counted twice",
     BEGIN_TWO "unsettled; eof 10 -> done; revoke; settled; pending -> 1; "
               "eof p1 5 -> done p1, caught up"},
    {"a partition assigned while others are pending is waited for, with the T of the start",
     "history 0 10; history p1 0 5; from 0; settled; unsettled; from p1 0; settled; "
     "eof 10 -> done; eof p1 4 -> ask p1; eof p1 5 -> done p1, caught up"},
    {"a partition that comes back begins anew at its new start",
     BEGIN "message 9; unsettled; revoke; handled 9; from 9; settled; pending -> 1; "
           "get -> assigned known pending start 9 low 0 T 10 at 9; message 9; "
           "handled 9 -> done, caught up"},
    {"a message of a revoked partition that is handled late vouches for nothing",
     BEGIN "message 7; unsettled; revoke; from 0; settled; handled 7; message 3; eof 10; "
           "get -> assigned known pending start 0 low 0 T 10 at 0; handled 3 -> done, caught up"},
    {"what ended a partition's history before it was revoked does not count when it comes back",
     BEGIN_TWO "eof 10 -> done; unsettled; revoke; from 0; settled; pending -> 2; "
               "eof p1 5 -> done p1; eof 10 -> done, caught up"},
    {"a partition that comes back done is done again, once",
     BEGIN_TWO "message 9; handled 9 -> done; unsettled; revoke; from 10 -> done; settled; "
               "eof p1 5 -> done p1, caught up"},
    {"a question that was out when the partition was revoked does not stop a new one",
     BEGIN "eof 5 -> ask; unsettled; revoke; end 0 5 5 0; from 0; settled; eof 5 -> ask"},
    {"a doubt does not outlive the assignment",
     BEGIN "eof 5 -> ask; end 0 5 5 0; unsettled; revoke; from 0; settled; tick 5000 0; "
           "eof 5 -> ask; end 0 5 5 5000; message 5; handled 5"},
    {"a lost position does not outlive the assignment",
     BEGIN "message 3; reset; unsettled; revoke; from 3; settled; message 3; handled 3"},
    {"a stall does not outlive the assignment",
     BEGIN "tick 30000 30000 -> ask; unsettled; revoke; from 0; settled; end 0 10 10 30000; "
           "tick 59999 59999; tick 60000 60000 -> ask"},
    {"a revoked partition needs no tick", BEGIN "eof 5 -> ask; end 0 5 5 0; unsettled; revoke; "
                                                "tick 1000 0; timeout -> -1; tick 99000 99000"},
    {"assigned and revoked after the signal: nothing is undone, nothing comes twice",
     BEGIN_TWO "eof 10 -> done; eof p1 5 -> done p1, caught up; unsettled; revoke; settled; "
               "unsettled; from 0; settled; pending -> 0 caught up; message 3; handled 3; "
               "message 9; handled 9; eof 10; tick 99000 99000; revoke; revoke p1"},
    {"assigned twice is assigned once",
     BEGIN "from 10; from 0; pending -> 1; eof 10 -> done, caught up"},
    {"revoked twice is revoked once",
     BEGIN_TWO "unsettled; revoke; revoke; settled; pending -> 1; eof p1 5 -> done p1, caught up"},

    /* without a snapshot; the snapshot again */
    {"a partition that was added later changes nothing about the signal",
     BEGIN "from p1 0; pending -> 1; get p1 -> assigned start 0 low 0 T 0 at 0; message p1 0; "
           "eof p1 1; eof 10 -> done, caught up; handled p1 0; tick 99000 99000"},
    {"a gap in a partition that was added later is reported",
     BEGIN "from p1 0; reset p1 -> ask p1; end p1 4 6 6 0 -> gap 0..4 p1, read from 4 p1; "
           "pending -> 1"},
    {"a partition that was added later gets no T by a truncation",
     "continue; " BEGIN "from p1 0; message p1 0; handled p1 0; reset p1 -> ask p1; "
     "end p1 0 0 0 0; tick 1000 0 -> ask p1; end p1 0 0 0 1000 -> truncated at 1 of 0 to 0 p1, "
     "read from 0 p1; reset p1 -> ask p1; end p1 0 7 7 1000; tick 2000 0 -> ask p1; "
     "end p1 0 7 7 2000 -> truncated at 0 of 0 to 7 p1, read from 0 p1; "
     "get p1 -> assigned start 0 low 0 T 0 at 0"},
    {"a snapshot of an assigned partition comes too late", BEGIN "history 0 3; eof 3 -> ask"},
    {"a snapshot before the assignment may be taken again",
     "history 0 10; history 0 3; from 0; settled; eof 3 -> done, caught up"},

    /* the order of events within a partition */
    {"a message that comes again is nothing new",
     BEGIN "message 3; handled 3; message 3; message 2; eof 10 -> done, caught up"},
    {"a message that comes again leaves later ones unhandled",
     BEGIN "message 3; message 7; handled 3; message 3; eof 10; handled 7 -> done, caught up"},
    {"a message that is handled again moves nothing back",
     BEGIN "message 3; handled 3; message 4; handled 4; handled 3; "
           "get -> assigned known pending start 0 low 0 T 10 at 5; eof 10 -> done, caught up"},
    {"what never arrived cannot have been handled",
     BEGIN "handled 9; get -> assigned known pending start 0 low 0 T 10 at 0; message 3; eof 10; "
           "handled 3 -> done, caught up"},

    /* bad events */
    {"an event of a partition that nobody knows changes nothing",
     BEGIN "message p9 12; eof p2 12; from p2 0; history p2 0 1; revoke p2; message p-1 12; "
           "end p9 0 0 0 0; gone p9 0; pending -> 1"},
    {"an event of a partition that is not assigned changes nothing",
     "history 0 10; settled -> caught up; message 9; handled 9; eof 10; position 10; reset; "
     "end 0 0 0 0; end 0 0 0 5000; gone 0; gone 5000; revoke; tick 99000 99000"},
    {"a negative offset or time changes nothing", BEGIN
     "message -1; handled -1; eof -1; eof -1001; position -1001; from p1 -1; history p1 -1 3; "
     "history p1 0 -1; end -1 5 5 0; end 0 -1 5 0; end 0 5 -1 0; end 0 5 5 -1; gone -1; "
     "gone 1000; tick -1 -1; pending -> 1; get p1 -> start 0 low 0 T 0 at 0"},
    {"an answer with a negative offset or time is none",
     BEGIN "eof 5 -> ask; end -1 5 5 0; end 0 -1 5 0; end 0 5 -1 0; end 0 5 5 -1; gone -1; "
           "tick 9000 0"},
    {"an offset that no message can have changes nothing",
     BEGIN "message max; handled max; eof max; position max; pending -> 1; "
           "get -> assigned known pending start 0 low 0 T 10 at 0"},
    {"the largest offsets and times do not overflow",
     "history 0 max; from 0; settled; message 9223372036854775805; handled 9223372036854775805; "
     "eof 9223372036854775806 -> ask; end 0 5 5 9223372036854775806; timeout -> 1; "
     "tick max max -> ask; end 0 max max max -> stalled at 9223372036854775806 of "
     "9223372036854775807: lagging follower; from p1 max; timeout -> -1"},
    {"a negative stall timeout is none at all, not an overflow",
     "stall -5; " BEGIN "timeout -> 0; tick 1 1 -> ask; "
     "end 0 10 10 1 -> stalled at 0 of 10: unknown; timeout -> 1"},

    /* what the owner asks */
    {"a crossing is a message from T - 1 on, while the partition is pending",
     BEGIN "crossing 8 -> no; crossing 9 -> yes; crossing 10 -> yes; crossing max -> yes; "
           "crossing p1 99 -> no; message 9; handled 9 -> done, caught up; crossing 9 -> no; "
           "crossing 10 -> no"},
    {"the next tick is needed for the first of several timers",
     BEGIN_TWO "timeout -> 30000; tick 5000 5000; message p1 1; handled p1 1; timeout -> 25000; "
               "eof p1 2 -> ask p1; failed p1 5000; timeout -> 1000; tick 6000 6000 -> ask p1; "
               "timeout -> 24000; end p1 0 5 5 6000; eof 10 -> done; tick 30000 30000; "
               "timeout -> 5000; eof p1 5 -> done p1, caught up"},
    {"the time of an answer counts for the next tick",
     BEGIN "eof 5 -> ask; tick 100 0; end 0 5 5 7100; timeout -> 1000; tick 8099 0; "
           "tick 8100 0 -> ask; gone 20000; timeout -> 1000; tick 20999 0; tick 21000 0 -> ask; "
           "failed 30000; "
           "timeout -> 1000; tick 30999 0; tick 31000 0 -> ask"},
    {"a clock that goes back is not followed",
     BEGIN "eof 5 -> ask; tick 5000 5000; end 0 5 5 5000; tick 100 100; end 0 5 5 4000; "
           "tick 5999 5000; tick 6000 5000 -> ask"},
    {"a time of waiting that goes back is not followed",
     BEGIN "tick 20000 20000; tick 20000 100; timeout -> 10000"},
    {"what is known of a partition can be asked at any time",
     "get -> start 0 low 0 T 0 at 0; history 2 10; get -> known start 0 low 2 T 10 at 0; from 3; "
     "get -> assigned known pending start 3 low 2 T 10 at 3; message 5; handled 5; "
     "get -> assigned known pending start 3 low 2 T 10 at 6; message 10 -> done; "
     "get -> assigned known start 3 low 2 T 10 at 6"},
};

static bool grows_without_forgetting(void)
{
    kh_catchup_options options = {.stall_timeout_ms = INT64_MAX};
    struct run run = {.catchup = kh_catchup_new(&options)};
    kh_event snapshot = {.type = KH_EVENT_SNAPSHOT, .partition = 0, .target = 10};
    kh_event too_far = {.type = KH_EVENT_SNAPSHOT, .partition = 1, .target = 10};
    bool passed;

    if (run.catchup == NULL || !kh_catchup_reserve(run.catchup, 1))
        abort();
    kh_catchup_apply(run.catchup, &snapshot, note_action, &run);
    kh_catchup_apply(run.catchup, &too_far, note_action, &run);
    passed = kh_catchup_reserve(run.catchup, 1000) && kh_catchup_reserve(run.catchup, 2) &&
             kh_catchup_get(run.catchup, 0).target == 10 &&
             !kh_catchup_get(run.catchup, 1).has_target &&
             !kh_catchup_get(run.catchup, 999).has_target;
    kh_catchup_free(run.catchup);
    return passed;
}

int main(void)
{
    struct tap tap = {0};

    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        tap_check(&tap, run_case(cases[i].script), cases[i].sentence);
    tap_check(&tap, grows_without_forgetting(), "room for more partitions forgets none");
    return tap_end(&tap);
}
