/*
 * kh_helper: one thread for librdkafka's blocking calls, so that the caller never waits for a
 * broker.
 *
 * It is started for a job and ends with it; at most one job runs at a time. The job knows nothing
 * of Lua. It asks kh_helper_is_cancelled between its blocking calls, none of which takes more than
 * a second, so that whoever closes never waits longer for it. When it is through, the wake-up fd
 * says so and the owner takes the job back, with its answer inside.
 *
 * Threads: start, take, cancel and stop belong to the owner, one thread at a time; is_cancelled and
 * sleep to the job.
 */
#ifndef KH_HELPER_H
#define KH_HELPER_H

#include "error.h"
#include "wakeup.h"

#include <stdbool.h>

#pragma GCC visibility push(hidden)

typedef struct kh_helper kh_helper;

typedef void kh_work(kh_helper *helper, void *job);

/* The wake-up fd must outlive the helper. NULL: out of memory. */
kh_helper *kh_helper_new(const kh_wakeup *wakeup);

/* False when a job is still there or no thread could be made: try again later. */
bool kh_helper_start(kh_helper *helper, kh_work *work, void *job);

bool kh_helper_is_busy(const kh_helper *helper);

/* The job that is through, once; NULL while it runs or when there is none. */
void *kh_helper_take(kh_helper *helper);

/* Asks the job to end soon. */
void kh_helper_cancel(kh_helper *helper);

/* Cancels, waits for the job and frees the helper; returns the job if there was one. */
void *kh_helper_stop(kh_helper *helper);

bool kh_helper_is_cancelled(kh_helper *helper);

/* Sleeps, or returns at once when cancelled; false then. */
bool kh_helper_sleep(kh_helper *helper, int milliseconds);

#pragma GCC visibility pop
#endif
