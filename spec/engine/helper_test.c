/* The helper thread, with jobs that stand in for librdkafka's blocking calls. */
#include "clock.h"
#include "helper.h"
#include "tap.h"

static struct tap tap;

/* A job as the snapshot is one: slices of blocking calls, cancelled between them. */
struct job {
    int slices;
    int slice_ms;
    int done;
    bool slept_to_the_end;
};

static void work(kh_helper *helper, void *opaque)
{
    struct job *job = opaque;

    job->slept_to_the_end = true;
    while (job->done < job->slices && !kh_helper_is_cancelled(helper)) {
        job->slept_to_the_end = kh_helper_sleep(helper, job->slice_ms);
        job->done++;
    }
}

static void test_a_job(const kh_wakeup *wakeup)
{
    kh_helper *helper = kh_helper_new(wakeup);
    struct job job = {.slices = 3, .slice_ms = 1};
    struct job second = {.slices = 1, .slice_ms = 1};

    tap_check(&tap, !kh_helper_is_busy(helper) && kh_helper_take(helper) == NULL,
              "a new helper has no thread and no job");
    tap_check(&tap, kh_helper_start(helper, work, &job), "it starts one for a job");
    tap_check(&tap, !kh_helper_start(helper, work, &second), "one job at a time");
    tap_check(&tap, kh_wakeup_wait(wakeup, 10000) == 1,
              "the wake-up fd tells that a job is through");
    kh_wakeup_drain(wakeup);
    tap_check(&tap, kh_helper_take(helper) == &job && job.done == 3 && job.slept_to_the_end,
              "the job comes back with its answer");
    tap_check(&tap, kh_helper_take(helper) == NULL && !kh_helper_is_busy(helper),
              "once, and the thread is gone");
    tap_check(&tap, kh_helper_start(helper, work, &second),
              "the next job gets a thread of its own");
    tap_check(&tap, kh_helper_stop(helper) == &second, "stopping waits for the job and returns it");
}

static void test_cancelling(const kh_wakeup *wakeup)
{
    kh_helper *helper = kh_helper_new(wakeup);
    struct job job = {.slices = 1000, .slice_ms = 60000};
    struct job next = {.slices = 1, .slice_ms = 1};
    int64_t began_ms = kh_clock_ms();

    kh_helper_start(helper, work, &job);
    kh_helper_cancel(helper);
    kh_wakeup_wait(wakeup, 30000);
    kh_wakeup_drain(wakeup);
    tap_check(&tap,
              kh_helper_take(helper) == &job && job.done <= 1 && kh_clock_ms() - began_ms < 30000,
              "cancelling ends a sleep at once");
    kh_helper_start(helper, work, &next);
    kh_wakeup_wait(wakeup, 10000);
    tap_check(&tap, kh_helper_take(helper) == &next && next.slept_to_the_end,
              "the next job knows nothing of the cancellation");
    job.done = 0;
    kh_helper_start(helper, work, &job);
    tap_check(&tap, kh_helper_stop(helper) == &job && kh_clock_ms() - began_ms < 30000,
              "stopping cancels the job");
}

int main(void)
{
    kh_wakeup wakeup;
    kh_error error;

    if (!kh_wakeup_open(&wakeup, &error))
        return 1;
    test_a_job(&wakeup);
    kh_wakeup_drain(&wakeup);
    test_cancelling(&wakeup);
    kh_wakeup_close(&wakeup);
    return tap_end(&tap);
}
