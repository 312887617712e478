/*
 * The clock that never goes back, and threads that take no signals: the two things of the operating
 * system that several files of the engine need.
 */
#ifndef KH_CLOCK_H
#define KH_CLOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#pragma GCC visibility push(hidden)

/* Milliseconds since some fixed moment. */
int64_t kh_clock_ms(void);

/* The same clock, that many milliseconds from now, for pthread_cond_timedwait. */
struct timespec kh_clock_in(int milliseconds);

/* A condition whose timed waits go by that clock. */
void kh_cond_init(pthread_cond_t *condition);

/* Starts a thread with every signal blocked: signals belong to the host's threads. */
bool kh_thread_start(pthread_t *thread, void *(*run)(void *opaque), void *opaque);

#pragma GCC visibility pop
#endif
