/*
 * kh_endings: the members of groups that are on their way out, counted.
 *
 * A consumer that is collected ends in the background. Where that happens because its host ends,
 * the process may be gone before the group has heard of it, and the other members would wait for
 * the session to time out: the host waits here, once, after the last consumer. Reference counted;
 * for any thread.
 */
#ifndef KH_ENDINGS_H
#define KH_ENDINGS_H

#include <stdbool.h>

#pragma GCC visibility push(hidden)

typedef struct kh_endings kh_endings;

/* NULL: out of memory. */
kh_endings *kh_endings_new(void);

/* Another reference, to be dropped; and giving one up, where NULL is allowed. */
kh_endings *kh_endings_share(kh_endings *endings);
void kh_endings_drop(kh_endings *endings);

/* A member begins to leave; keeps the count alive until it has. */
void kh_endings_note_begin(kh_endings *endings);
void kh_endings_note_end(kh_endings *endings);

/* Waits until everyone has left, up to `wait_ms` after the last one began; true when all have. */
bool kh_endings_wait(kh_endings *endings, int wait_ms);

#pragma GCC visibility pop
#endif
