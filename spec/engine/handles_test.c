/*
 * The handles' end: bounded, whatever runs at that moment, and nothing left after it. With
 * librdkafka and no broker; spec/engine/tsan runs the same with a stand-in for it.
 */
#include "clock.h"
#include "handles.h"
#include "tap.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct tap tap;

/* --- what is there ---------------------------------------------------------------------------- */

struct resources {
    int threads;
    int descriptors;
};

static int count_entries(const char *path)
{
    DIR *directory = opendir(path);
    int count = 0;

    if (directory == NULL)
        return -1;
    while (readdir(directory) != NULL)
        count++;
    closedir(directory);
    return count;
}

static struct resources count_resources(void)
{
    return (struct resources){.threads = count_entries("/proc/self/task"),
                              .descriptors = count_entries("/proc/self/fd")};
}

static void pause_ms(int milliseconds)
{
    (void)poll(NULL, 0, milliseconds);
}

/* Within ten seconds. */
static bool are_back(struct resources before)
{
    int64_t until_ms = kh_clock_ms() + 10000;

    while (kh_clock_ms() < until_ms) {
        struct resources now = count_resources();

        if (now.threads <= before.threads && now.descriptors <= before.descriptors)
            return true;
        pause_ms(5);
    }
    return false;
}

/* --- handles ---------------------------------------------------------------------------------- */

static atomic_int calls; /* of the listener */

static void on_error(void *opaque, rd_kafka_resp_err_t code, const char *reason)
{
    (void)opaque;
    (void)code;
    (void)reason;
    atomic_fetch_add(&calls, 1);
}

static void on_log(void *opaque, int level, const char *facility, const char *text)
{
    (void)opaque;
    (void)level;
    (void)facility;
    (void)text;
    atomic_fetch_add(&calls, 1);
}

static void on_stats(void *opaque, const char *json)
{
    (void)opaque;
    (void)json;
    atomic_fetch_add(&calls, 1);
}

static void on_rebalance(void *opaque, rd_kafka_resp_err_t code,
                         const rd_kafka_topic_partition_list_t *partitions)
{
    (void)opaque;
    (void)code;
    (void)partitions;
    atomic_fetch_add(&calls, 1);
}

static bool set(kh_config *config, const char *key, const char *text)
{
    kh_value value = {.type = KH_VALUE_STRING, .string = text};
    kh_error error;

    return kh_config_set(config, key, &value, &error);
}

static bool set_option(kh_config *config, const char *property, const char *text)
{
    kh_value value = {.type = KH_VALUE_STRING, .string = text};
    kh_error error;

    return kh_config_set_option(config, property, &value, &error);
}

/* Nobody listens at the address. */
static kh_config *make_config(void)
{
    kh_config *config = kh_config_new();

    set(config, "addresses", "127.0.0.1:1");
    set(config, "topics", "t");
    return config;
}

static kh_handles *open_config(kh_config *config, kh_error *error)
{
    static const kh_listener listener = {
        .on_error = on_error, .on_log = on_log, .on_stats = on_stats, .on_rebalance = on_rebalance};

    kh_config_finish(config, error);
    return kh_handles_open(config, &listener, error);
}

static kh_handles *open_handles(void)
{
    kh_error error;

    return open_config(make_config(), &error);
}

/* A job as the snapshot is one: slices that nothing interrupts. */
struct job {
    int slices;
    int slice_ms;
    atomic_bool begun;
    atomic_int done;
    atomic_int freed;
};

static void work(kh_helper *helper, void *opaque)
{
    struct job *job = opaque;

    atomic_store(&job->begun, true);
    while (atomic_load(&job->done) < job->slices && !kh_helper_is_cancelled(helper)) {
        pause_ms(job->slice_ms);
        atomic_fetch_add(&job->done, 1);
    }
}

/* Cancelled before, it would do nothing. */
static void await_job(struct job *job)
{
    while (!atomic_load(&job->begun))
        pause_ms(1);
}

static void free_job(void *opaque)
{
    struct job *job = opaque;

    atomic_fetch_add(&job->freed, 1);
}

/* --- tests ------------------------------------------------------------------------------------ */

static void test_closing(struct resources before)
{
    kh_handles *handles = open_handles();
    int64_t began_ms = kh_clock_ms();
    bool ended;

    tap_check(&tap, handles != NULL && count_resources().threads > before.threads,
              "handles without a broker open at once");
    ended = kh_handles_close(handles, &(kh_ending){.free_job = free_job}, 5000);
    tap_check(&tap, ended && kh_clock_ms() - began_ms < 5000, "they close within the time");
    kh_wakeup_notify(kh_handles_wakeup(handles));
    tap_check(&tap, kh_wakeup_wait(kh_handles_wakeup(handles), 0) == 1,
              "the wake-up fd is there until they are dropped");
    kh_handles_drop(handles);
    tap_check(&tap, are_back(before), "no thread and no descriptor is left");
}

static void test_dropping_at_once(struct resources before)
{
    int64_t began_ms;
    kh_handles *handles = open_handles();

    began_ms = kh_clock_ms();
    kh_handles_close(handles, &(kh_ending){.free_job = free_job}, 0);
    kh_handles_drop(handles);
    tap_check(&tap, kh_clock_ms() - began_ms < 1000, "closing without waiting does not wait");
    tap_check(&tap, are_back(before), "the closer ends what was dropped before it was through");
}

static void test_closing_a_job(struct resources before)
{
    struct job job = {.slices = 100000, .slice_ms = 1};
    kh_handles *handles = open_handles();

    kh_helper_start(kh_handles_helper(handles), work, &job);
    await_job(&job);
    tap_check(&tap,
              kh_handles_close(handles, &(kh_ending){.free_job = free_job}, 5000) &&
                  atomic_load(&job.freed) == 1,
              "closing ends the helper's job, and frees it once");
    kh_handles_drop(handles);
    tap_check(&tap, are_back(before), "nothing of the helper is left");
}

static void test_closing_a_job_that_is_through(struct resources before)
{
    struct job job = {.slices = 1, .slice_ms = 1};
    kh_handles *handles = open_handles();

    kh_helper_start(kh_handles_helper(handles), work, &job);
    while (kh_wakeup_wait(kh_handles_wakeup(handles), 10000) == 1 && atomic_load(&job.done) == 0)
        kh_wakeup_drain(kh_handles_wakeup(handles));
    kh_handles_close(handles, &(kh_ending){.free_job = free_job}, 5000);
    kh_handles_drop(handles);
    tap_check(&tap, atomic_load(&job.freed) == 1 && are_back(before),
              "a job that nobody took back is freed, too");
}

static void test_not_waiting_for_a_job(struct resources before)
{
    struct job job = {.slices = 1, .slice_ms = 700};
    kh_handles *handles = open_handles();
    int64_t began_ms;
    bool ended;

    kh_helper_start(kh_handles_helper(handles), work, &job);
    await_job(&job);
    began_ms = kh_clock_ms();
    ended = kh_handles_close(handles, &(kh_ending){.free_job = free_job}, 20);
    tap_check(&tap, !ended && kh_clock_ms() - began_ms < 600,
              "closing waits no longer than told for a call that blocks");
    kh_handles_drop(handles);
    tap_check(&tap, are_back(before) && atomic_load(&job.freed) == 1,
              "and the closer frees all when the call is over");
}

static void test_telling_the_end(struct resources before)
{
    struct job job = {.slices = 1, .slice_ms = 700};
    kh_handles *handles = open_handles();
    const kh_wakeup *wakeup = kh_handles_wakeup(handles);
    int turns = 0;
    bool told = true;

    kh_helper_start(kh_handles_helper(handles), work, &job);
    await_job(&job);
    kh_handles_close(handles, &(kh_ending){.free_job = free_job}, 0);
    for (; told && turns < 20 && !kh_handles_have_ended(handles); turns++)
        told = kh_wakeup_wait(wakeup, 10000) == 1;
    tap_check(&tap, told && turns > 0 && turns < 20 && atomic_load(&job.freed) == 1,
              "the wake-up fd is silent until the end that was not waited for is over");
    tap_check(&tap, kh_handles_have_ended(handles) && kh_wakeup_wait(wakeup, 0) == 1,
              "and stays readable from then on");
    kh_handles_drop(handles);
    tap_check(&tap, are_back(before), "nothing is left of what has told its end");
}

static void test_late_callbacks(struct resources before)
{
    kh_handles *handles = open_handles();
    int calls_before;

    pause_ms(20);
    calls_before = atomic_load(&calls);
    kh_handles_close(handles, &(kh_ending){.free_job = free_job}, 5000);
    kh_handles_drop(handles);
    tap_check(&tap, are_back(before) && atomic_load(&calls) == calls_before,
              "the listener hears nothing once they are being closed");
}

enum { MANY = 40, WAKERS = 4 };

static void test_many(struct resources before)
{
    kh_handles *all[MANY];
    int opened = 0;

    for (int i = 0; i < MANY; i++) {
        all[i] = open_handles();
        opened += all[i] != NULL;
    }
    for (int i = 0; i < MANY; i++) {
        kh_handles_close(all[i], &(kh_ending){.free_job = free_job}, i % 3 == 0 ? 2 : 0);
        kh_handles_drop(all[i]);
    }
    tap_check(&tap, opened == MANY && are_back(before), "of many at once nothing is left");
    for (int i = 0; i < MANY; i++) {
        kh_handles *handles = open_handles();

        kh_handles_close(handles, &(kh_ending){.free_job = free_job}, i % 2 == 0 ? 5000 : 0);
        kh_handles_drop(handles);
    }
    tap_check(&tap, are_back(before), "of many in a row nothing is left");
}

struct waker {
    const kh_wakeup *wakeup;
    atomic_bool over;
};

static void *wake(void *opaque)
{
    struct waker *waker = opaque;

    while (!atomic_load(&waker->over))
        kh_wakeup_notify(waker->wakeup);
    return NULL;
}

static void test_waking(struct resources before)
{
    kh_handles *handles = open_handles();
    struct waker waker = {.wakeup = kh_handles_wakeup(handles)};
    pthread_t threads[WAKERS];

    for (int i = 0; i < WAKERS; i++)
        pthread_create(&threads[i], NULL, wake, &waker);
    for (int i = 0; i < 20; i++)
        kh_wakeup_drain(kh_handles_wakeup(handles));
    kh_handles_close(handles, &(kh_ending){.free_job = free_job}, 5000);
    atomic_store(&waker.over, true);
    for (int i = 0; i < WAKERS; i++)
        pthread_join(threads[i], NULL);
    kh_handles_drop(handles);
    tap_check(&tap, are_back(before), "other threads may wake the owner while it closes");
}

static kh_handles *open_member(void)
{
    kh_error error;
    kh_config *config = make_config();

    set(config, "consumer_group", "g");
    return open_config(config, &error);
}

static void test_leaving(struct resources before)
{
    kh_endings *endings = kh_endings_new();
    kh_ending ending = {.free_job = free_job, .endings = endings};
    int calls_before = atomic_load(&calls);
    bool opened = true;

    tap_check(&tap, kh_endings_wait(endings, 5000), "where nobody leaves nobody is waited for");
    for (int i = 0; i < 10; i++) {
        kh_handles *handles = open_member();

        opened = opened && handles != NULL && kh_handles_answers(handles) != NULL;
        kh_handles_close(handles, &ending, 0);
        kh_handles_drop(handles);
    }
    tap_check(&tap, opened && kh_endings_wait(endings, 5000),
              "members that were dropped at once are waited for until they have left");
    kh_endings_drop(endings);
    tap_check(&tap, are_back(before), "nothing of them is left");
    tap_check(&tap, atomic_load(&calls) == calls_before,
              "what they are asked to give back they answer themselves");
}

static void test_dropping_the_count(struct resources before)
{
    kh_endings *endings = kh_endings_new();
    kh_ending ending = {.free_job = free_job, .endings = endings};
    kh_handles *handles = open_member();

    kh_handles_close(handles, &ending, 0);
    kh_handles_drop(handles);
    kh_endings_drop(endings);
    tap_check(&tap, are_back(before), "the count may be given up before the last one has left");
}

/* Whether something can be read there within ten seconds. */
static bool is_told(int fd)
{
    struct pollfd watched = {.fd = fd, .events = POLLIN};

    return poll(&watched, 1, 10000) == 1;
}

static void test_redirecting(struct resources before)
{
    kh_handles *handles = open_handles();
    unsigned char bytes[64];
    kh_error error;
    int ends[2];
    ssize_t got;
    bool made =
        socketpair(AF_UNIX, SOCK_STREAM, 0, ends) == 0 && fcntl(ends[1], F_SETFL, O_NONBLOCK) == 0;

    tap_check(&tap, made && kh_handles_redirect(handles, ends[1], &error),
              "wake-ups are redirected to a socket");
    kh_wakeup_notify(kh_handles_wakeup(handles));
    got = is_told(ends[0]) ? read(ends[0], bytes, sizeof bytes) : -1;
    tap_check(&tap, got >= 8 && memcmp(bytes, kh_wakeup_payload, 8) == 0,
              "its other end gets them");
    kh_wakeup_drain(kh_handles_wakeup(handles));
    kh_handles_close(handles, &(kh_ending){.free_job = free_job}, 0);
    tap_check(&tap, is_told(ends[0]), "the end of the handles is told there as well");
    while (!kh_handles_have_ended(handles) && is_told(ends[0]))
        (void)read(ends[0], bytes, sizeof bytes);
    kh_handles_drop(handles);
    do
        got = is_told(ends[0]) ? read(ends[0], bytes, sizeof bytes) : -1;
    while (got > 0);
    tap_check(&tap, got == 0, "and it closes with them");
    close(ends[0]);
    tap_check(&tap, are_back(before), "nothing is left of handles that were redirected");

    handles = open_handles();
    tap_check(&tap, !kh_handles_redirect(handles, -1, &error) && strcmp(error.name, "SYSTEM") == 0,
              "what is no socket is refused");
    kh_handles_close(handles, &(kh_ending){.free_job = free_job}, 5000);
    kh_handles_drop(handles);
}

static void test_failing_to_open(struct resources before)
{
    kh_error error = {.name = ""};
    kh_config *config = make_config();
    bool set_up = set_option(config, "security.protocol", "ssl") &&
                  set_option(config, "ssl.ca.location", "/no/such/file");
    kh_handles *handles = open_config(config, &error);

    tap_check(&tap, set_up && handles == NULL && strstr(error.text, "ssl.ca.location") != NULL,
              "a client that cannot be made is an error that says why");
    tap_check(&tap, are_back(before), "nothing is left of handles that cannot be opened");
}

static void *do_nothing(void *opaque)
{
    return opaque;
}

int main(void)
{
    struct resources before;
    pthread_t thread;

    /* ThreadSanitizer starts a thread of its own with the first one. */
    if (kh_thread_start(&thread, do_nothing, NULL))
        pthread_join(thread, NULL);
    before = count_resources();
    test_closing(before);
    test_dropping_at_once(before);
    test_closing_a_job(before);
    test_closing_a_job_that_is_through(before);
    test_not_waiting_for_a_job(before);
    test_telling_the_end(before);
    test_late_callbacks(before);
    test_many(before);
    test_waking(before);
    test_leaving(before);
    test_dropping_the_count(before);
    test_redirecting(before);
    test_failing_to_open(before);
    return tap_end(&tap);
}
