/*
 * kh_latch: the one-shot signal "caught up", a closed channel done right.
 *
 * Its file descriptor is written once and never drained, so every event loop can poll it, by any
 * number of waiters, before or after the fact. The latch is reference counted: the consumer holds a
 * reference, each waitable another, and the fd is closed with the last one (closing an fd that a
 * loop still watches kills the loop).
 *
 * Threads: the consumer's thread releases it; any thread may share, drop, wait and read its state.
 */
#ifndef KH_LATCH_H
#define KH_LATCH_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>

#pragma GCC visibility push(hidden)

typedef struct kh_latch kh_latch;

typedef enum kh_latch_state {
    KH_LATCH_PENDING,
    KH_LATCH_CAUGHT_UP, /* final */
    KH_LATCH_FAILED,    /* becomes CAUGHT_UP when reading is taken up again and catches up */
    KH_LATCH_CLOSED     /* final: closed before it was caught up or had failed */
} kh_latch_state;

/* A pending latch with one reference; NULL with the error filled in. */
kh_latch *kh_latch_new(kh_error *error);

kh_latch *kh_latch_share(kh_latch *latch);
void kh_latch_drop(kh_latch *latch);

kh_latch_state kh_latch_get(kh_latch *latch);

/* Each releases the waiters, unless the state is final already. A failed latch that is closed stays
 * failed: who waits late still learns why. text may be of any length; it is copied, and cut to a
 * fixed text where there is no memory for it. */
void kh_latch_catch_up(kh_latch *latch);
void kh_latch_fail(kh_latch *latch, const char *name, const char *text);
void kh_latch_close(kh_latch *latch);

/* Copies the error of a failed latch as snprintf does: up to size - 1 bytes of its text, and
 * returns the text's whole length. name takes 64 bytes; "" when there is no error. */
size_t kh_latch_copy_error(kh_latch *latch, char name[64], char *text, size_t size);

/* Readable from the moment it is released. */
int kh_latch_fd(const kh_latch *latch);

/* As kh_wakeup_wait: 1 released, 0 timeout, -1 a signal came. */
int kh_latch_wait(const kh_latch *latch, int timeout_ms);

#pragma GCC visibility pop
#endif
