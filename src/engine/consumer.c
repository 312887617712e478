#include "consumer_state.h"

#include <assert.h>
#include <errno.h>
#include <limits.h>
#include <stdlib.h>

/* How often the queue is polled while what was kept is handed out. */
#define ALIVE_MS 1000

/* --- callbacks of librdkafka, from inside a pull ---------------------------------------------- */

static void on_log(void *opaque, int level, const char *facility, const char *text)
{
    kh_consumer *c = opaque;
    kh_report report = kh_report_nowhere;
    int shown = kh_config_shown_length(text);
    union {
        const char *given;
        char *kept;
    } copied = {.given = facility}; /* kh_reports_add copies it */

    report.kind = KH_REPORT_LOG;
    report.level = level;
    report.facility = copied.kept;
    kh_reports_add(&c->reports, &report, "%.*s%s", shown, text,
                   text[shown] != '\0' ? "[redacted]" : "");
}

static void on_stats(void *opaque, const char *json)
{
    kh_consumer *c = opaque;
    kh_report report = kh_report_nowhere;

    report.kind = KH_REPORT_STATS;
    kh_reports_add(&c->reports, &report, "%s", json);
}

/* --- a step ----------------------------------------------------------------------------------- */

static void begin_turn(kh_consumer *c, int64_t now_ms)
{
    if (c->waiting_ms >= 0)
        c->waited_ms += now_ms - c->waiting_ms;
    c->waiting_ms = -1;
    kh_wakeup_drain(kh_handles_wakeup(c->handles));
    kh_consumer_take_answer(c);
    if (is_member(c))
        kh_consumer_serve_group(c, now_ms);
    if (c->phase == PHASE_NEW && !c->has_error)
        kh_consumer_start_reading(c);
    if (c->phase == PHASE_READING)
        kh_consumer_feed(
            c, &(kh_event){.type = KH_EVENT_TICK, .now_ms = now_ms, .waited_ms = c->waited_ms});
    kh_meter_note(&c->meter, c->catchup, c->places.count, now_ms);
}

static void tell_forgotten(kh_consumer *c)
{
    c->must_forget = false;
    c->forget(c->forget_opaque);
    for (int i = 0; i < c->places.count; i++)
        c->places.all[i].must_forget = false;
}

static int end_turn(kh_consumer *c, int64_t now_ms, const kh_message **messages)
{
    if (is_member(c)) /* a rebalance may have been noted in this turn */
        kh_consumer_serve_group(c, now_ms);
    if (c->must_forget)
        tell_forgotten(c);
    kh_consumer_ask_if_due(c, now_ms);
    kh_fetching_poke(&c->fetching, now_ms);
    if (c->has_error && !has_batch(c)) {
        c->has_error = c->is_hopeless;
        return -1;
    }
    if (!has_batch(c) && !kh_fetching_has(&c->fetching))
        c->waiting_ms = now_ms;
    *messages = c->batch + c->batch_at;
    return c->batch_count - c->batch_at;
}

/* A member shows that it is alive, and learns what was revoked, in the middle of a batch too. While
 * what was kept is handed out, which takes nothing from the queue, any consumer does so, and hears
 * what librdkafka tells. */
static bool must_poll(const kh_consumer *c, int64_t now_ms)
{
    if (has_batch(c))
        return is_member(c);
    return is_compacting(c) && kh_consumer_is_all_there(c) &&
           now_ms >= c->fetching.polled_ms + ALIVE_MS;
}

int kh_consumer_step(kh_consumer *c, const kh_step *how, const kh_message **messages)
{
    int64_t now_ms = kh_clock_ms();

    assert(how->max > 0 && how->max <= KH_BATCH_MAX);
    *messages = NULL;
    if (c->handles == NULL) {
        kh_error_set(&c->error, "CLOSED", "the consumer is closed");
        return -1;
    }
    kh_consumer_choose_history(c, how);
    c->kept_now = 0;
    begin_turn(c, now_ms);
    if (must_poll(c, now_ms))
        kh_fetching_poll(&c->fetching);
    if (!has_batch(c)) {
        kh_consumer_free_batch(c);
        if (!how->stop_at_caught_up && !is_compacting(c) && c->parked_count > 0)
            kh_consumer_unpark_all(c);
        if (c->must_try_refused)
            kh_consumer_try_refused(c, now_ms);
        kh_consumer_fill(c, how);
    }
    if (!c->has_error)
        c->has_failed = false;
    return end_turn(c, now_ms, messages);
}

int kh_consumer_topic_count(const kh_consumer *c)
{
    return c->places.topic_count;
}

const char *kh_consumer_topic(const kh_consumer *c, int topic)
{
    return c->places.topics[topic].name;
}

kh_location kh_consumer_locate(const kh_consumer *c, int index)
{
    const kh_place *place = &c->places.all[index];

    return (kh_location){.topic = place->topic, .partition = place->partition};
}

void kh_consumer_on_forget(kh_consumer *c, void (*forget)(void *opaque), void *opaque)
{
    c->forget = forget;
    c->forget_opaque = opaque;
}

bool kh_consumer_is_forgotten(const kh_consumer *c, int index)
{
    return c->places.all[index].must_forget;
}

void kh_consumer_fail(kh_consumer *c, const char *name, const char *text)
{
    c->has_failed = true;
    kh_latch_fail(c->latch, name, text);
}

/* --- waiting ---------------------------------------------------------------------------------- */

/* When a step is due although the fd is silent; INT64_MAX: never. */
static int64_t due_ms(const kh_consumer *c, int64_t now_ms)
{
    int64_t due = INT64_MAX;

    if (c->phase == PHASE_NEW && !kh_helper_is_busy(c->helper))
        due = c->retry_helper_ms;
    if (c->phase == PHASE_READING) {
        int64_t catchup_ms = kh_catchup_timeout_ms(c->catchup);

        if (catchup_ms >= 0 && catchup_ms < INT_MAX)
            due = earlier_of(due, now_ms + catchup_ms);
        if (!kh_helper_is_busy(c->helper))
            due = earlier_of(due, c->ask_count > 0 ? c->retry_helper_ms : c->refresh_at_ms);
    }
    if (c->refused_count > 0)
        due = earlier_of(due, c->refused_again_ms);
    if (is_member(c))
        due = earlier_of(due, kh_consumer_group_due_ms(c));
    return earlier_of(due, kh_fetching_due_ms(&c->fetching));
}

int kh_consumer_timeout_ms(const kh_consumer *c)
{
    int64_t now_ms = kh_clock_ms();
    int64_t due;

    if (c->handles == NULL || has_batch(c) || kh_fetching_has(&c->fetching) ||
        c->fetching.has_queued || c->has_error || (is_compacting(c) && kh_consumer_is_all_there(c)))
        return 0;
    due = due_ms(c, now_ms);
    if (due == INT64_MAX)
        return -1;
    return due <= now_ms ? 0 : (int)earlier_of(due - now_ms, INT_MAX);
}

static const kh_wakeup *wakeup_of(const kh_consumer *c)
{
    return kh_handles_wakeup(c->handles != NULL ? c->handles : c->closed_handles);
}

int kh_consumer_pollfd(const kh_consumer *c)
{
    return wakeup_of(c)->read_fd;
}

int kh_consumer_wait(const kh_consumer *c, int timeout_ms)
{
    int own_ms = kh_consumer_timeout_ms(c);

    if (own_ms >= 0 && (timeout_ms < 0 || own_ms < timeout_ms))
        timeout_ms = own_ms;
    return kh_wakeup_wait(wakeup_of(c), timeout_ms);
}

/* librdkafka writes to the fd once and then not before its queue has been served: drained here, it
 * stays silent for everybody but kh_consumer_wake and the helper. The next step serves the queue
 * whatever the fd says. */
int kh_consumer_rest(const kh_consumer *c, int timeout_ms)
{
    if (c->handles == NULL)
        return 0;
    kh_wakeup_drain(wakeup_of(c));
    return kh_wakeup_wait(wakeup_of(c), timeout_ms);
}

void kh_consumer_wake(const kh_consumer *c)
{
    if (c->handles != NULL)
        kh_wakeup_notify(kh_handles_wakeup(c->handles));
}

bool kh_consumer_redirect(kh_consumer *c, int fd, kh_error *error)
{
    return kh_handles_redirect(c->handles != NULL ? c->handles : c->closed_handles, fd, error);
}

/* --- asking ----------------------------------------------------------------------------------- */

const kh_error *kh_consumer_error(const kh_consumer *c)
{
    return &c->error;
}

kh_latch *kh_consumer_latch(const kh_consumer *c)
{
    return c->latch;
}

bool kh_consumer_is_caught_up(const kh_consumer *c)
{
    return kh_catchup_is_caught_up(c->catchup);
}

bool kh_consumer_has_report(const kh_consumer *c)
{
    return c->reports.first != NULL;
}

kh_report *kh_consumer_report(kh_consumer *c)
{
    return kh_reports_take(&c->reports);
}

static kh_state state_of(const kh_consumer *c)
{
    if (c->handles == NULL)
        return KH_CLOSED;
    if (c->has_failed)
        return KH_FAILED;
    if (kh_catchup_is_caught_up(c->catchup))
        return KH_CAUGHT_UP;
    return c->phase == PHASE_READING ? KH_READING : KH_STARTING;
}

kh_progress kh_consumer_progress(const kh_consumer *c)
{
    const kh_meter *meter = &c->meter;
    int64_t now_ms = kh_clock_ms();
    kh_progress progress = {.state = state_of(c),
                            .messages = meter->messages,
                            .read = meter->read,
                            .kept_bytes = c->latest != NULL ? kh_latest_bytes(c->latest) : 0,
                            .bytes = meter->bytes,
                            .skipped = meter->skipped,
                            .gaps = meter->gaps,
                            .truncated = meter->truncated,
                            .rate = kh_meter_rate(meter, now_ms, c->handles != NULL),
                            .elapsed_ms = kh_meter_elapsed_ms(meter, now_ms),
                            .partition_count = c->places.count};

    progress.offsets_done = kh_meter_history(c->catchup, c->places.count, &progress.offsets_total);
    progress.offset_rate = kh_meter_offset_rate(meter, progress.offsets_done, now_ms);
    for (int i = 0; i < c->places.count; i++)
        if (c->places.all[i].assigned)
            progress.lag += kh_consumer_partition(c, i).lag;
    return progress;
}

/* The end that the last fetch told, which is free; T where none has been fetched yet. */
static int64_t end_of(const kh_consumer *c, int index, int64_t target)
{
    int64_t low;
    int64_t high;
    int64_t end = target;

    if (c->handles != NULL &&
        rd_kafka_get_watermark_offsets(c->rk, kh_places_topic(&c->places, index),
                                       c->places.all[index].partition, &low,
                                       &high) == RD_KAFKA_RESP_ERR_NO_ERROR &&
        high > end)
        end = high;
    return end > c->places.all[index].eof ? end : c->places.all[index].eof;
}

kh_partition_progress kh_consumer_partition(const kh_consumer *c, int index)
{
    kh_catchup_partition p = kh_catchup_get(c->catchup, index);
    const kh_place *place = &c->places.all[index];
    int64_t target = p.has_target ? p.target : -1;
    int64_t position = kh_place_position(place, p.position, p.taken);
    int64_t end = end_of(c, index, target);

    return (kh_partition_progress){.topic = kh_places_topic(&c->places, index),
                                   .partition = place->partition,
                                   .start = p.start,
                                   .position = position,
                                   .target = target,
                                   .end_offset = end,
                                   .lag = end > position ? end - position : 0,
                                   .assigned = place->assigned,
                                   .caught_up = p.assigned && !p.pending};
}

/* --- opening and closing ---------------------------------------------------------------------- */

static bool make_room(kh_consumer *c, kh_error *error)
{
    kh_catchup_options options = {.continue_after_truncation =
                                      c->settings->continue_after_truncation,
                                  .stall_timeout_ms = c->settings->stall_timeout_ms};

    c->catchup = kh_catchup_new(&options);
    c->batch = calloc(KH_BATCH_MAX, sizeof *c->batch);
    c->batch_places = calloc(KH_BATCH_MAX, sizeof(int));
    if (c->catchup == NULL || !kh_fetching_init(&c->fetching, KH_BATCH_MAX) || c->batch == NULL ||
        c->batch_places == NULL ||
        !kh_places_init(&c->places, c->settings->topics, c->settings->topic_count)) {
        kh_error_set_errno(error, ENOMEM, "cannot open a consumer");
        return false;
    }
    return true;
}

static bool open_parts(kh_consumer *c, kh_config *config, kh_error *error)
{
    kh_listener listener = {.on_error = kh_consumer_on_error,
                            .on_log = on_log,
                            .on_stats = on_stats,
                            .on_rebalance = kh_consumer_on_rebalance,
                            .opaque = c};

    c->handles = kh_handles_open(config, &listener, error);
    if (c->handles == NULL)
        return false;
    c->settings = kh_config_settings(kh_handles_config(c->handles));
    c->rk = kh_handles_rk(c->handles);
    c->helper = kh_handles_helper(c->handles);
    c->fetching.rk = c->rk;
    c->fetching.queue = kh_handles_queue(c->handles);
    c->fetching.settings = c->settings;
    c->fetching.places = &c->places;
    c->fetching.reports = &c->reports;
    c->group = (kh_group){.rk = c->rk,
                          .answers = kh_handles_answers(c->handles),
                          .settings = c->settings,
                          .places = &c->places,
                          .fetching = &c->fetching,
                          .reports = &c->reports};
    c->latch = kh_latch_new(error);
    if (c->latch == NULL || !make_room(c, error))
        return false;
    c->group.catchup = c->catchup;
    return true;
}

kh_consumer *kh_consumer_open(kh_config *config, kh_error *error)
{
    kh_consumer *c = calloc(1, sizeof *c);

    if (c == NULL) {
        kh_config_free(config);
        kh_error_set_errno(error, ENOMEM, "cannot open a consumer");
        return NULL;
    }
    kh_reports_init(&c->reports);
    kh_meter_init(&c->meter);
    c->waiting_ms = -1;
    c->refresh_at_ms = INT64_MAX;
    if (open_parts(c, config, error))
        return c;
    kh_consumer_free(c);
    return NULL;
}

/* What of the consumer its end still needs. */
static kh_ending make_ending(kh_consumer *c)
{
    kh_ending ending = {.free_job = kh_job_free};

    if (c->places.count > 0)
        ending.ever_assigned = kh_places_list(&c->places, 0, c->places.count);
    if (!is_member(c))
        return ending;
    ending.uncommitted = kh_group_uncommitted(&c->group);
    ending.is_committing = c->group.is_committing;
    ending.owed = c->group.owed;
    ending.owed_partitions = c->group.owed_partitions;
    ending.endings = c->endings;
    c->group.owed_partitions = NULL;
    return ending;
}

void kh_consumer_count_end(kh_consumer *c, kh_endings *endings)
{
    kh_endings_drop(c->endings);
    c->endings = kh_endings_share(endings);
}

void kh_consumer_close(kh_consumer *c, int wait_ms)
{
    kh_handles *handles = c->handles;
    kh_ending ending;

    if (handles == NULL)
        return;
    if (c->meter.caught_up_ms < 0)
        c->meter.caught_up_ms = kh_clock_ms(); /* progress() stops counting seconds */
    kh_consumer_free_batch(c);
    kh_fetching_clear(&c->fetching);
    ending = make_ending(c);
    c->handles = NULL;
    c->closed_handles = handles;
    if (c->latch != NULL)
        kh_latch_close(c->latch);
    /* A loop that waits for one of the fds learns of the end. */
    kh_wakeup_notify(kh_handles_wakeup(handles));
    if (is_member(c))
        kh_wakeup_notify(kh_handles_answered(handles));
    kh_handles_close(handles, &ending, wait_ms);
}

bool kh_consumer_has_ended(kh_consumer *c)
{
    return c->closed_handles != NULL && kh_handles_have_ended(c->closed_handles);
}

void kh_consumer_free(kh_consumer *c)
{
    if (c == NULL)
        return;
    kh_consumer_close(c, 0);
    kh_latch_drop(c->latch);
    kh_catchup_free(c->catchup);
    kh_reports_clear(&c->reports);
    kh_places_clear(&c->places);
    kh_fetching_free(&c->fetching);
    kh_group_clear(&c->group);
    kh_endings_drop(c->endings);
    kh_latest_free(c->latest);
    free(c->batch);
    free(c->batch_places);
    kh_handles_drop(c->closed_handles);
    free(c);
}
