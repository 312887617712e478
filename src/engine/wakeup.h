/*
 * kh_wakeup: a file descriptor that becomes readable when somebody notifies it.
 *
 * An eventfd on Linux; a non-blocking pipe elsewhere, and on Linux too when built with
 * -DKH_WAKEUP_PIPE (which is how the pipe is tested). The owner opens, redirects and closes it; any
 * thread may notify it in between. Errors are reported as kh_error "SYSTEM" (out of file
 * descriptors).
 */
#ifndef KH_WAKEUP_H
#define KH_WAKEUP_H

#include "error.h"

#include <stdbool.h>
#include <stddef.h>

#pragma GCC visibility push(hidden)

typedef struct kh_wakeup {
    int read_fd;  /* poll this one for reading */
    int write_fd; /* the same one for an eventfd */
} kh_wakeup;

/* What one notification writes: 8 bytes that any writer (librdkafka among them) may write itself.
 */
extern const unsigned char kh_wakeup_payload[8];

bool kh_wakeup_open(kh_wakeup *wakeup, kh_error *error);
void kh_wakeup_notify(const kh_wakeup *wakeup);

/* From now on notifications are written to what `fd` is open for, a socket that does not block: who
 * reads at its other end gets them, read_fd tells nothing any more, and draining is the reader's.
 * Closes `fd`, whose place write_fd takes: that keeps its number, so that nobody who writes to it,
 * librdkafka among them, has to be told. The process must ignore SIGPIPE: the reader may go. */
bool kh_wakeup_redirect(kh_wakeup *wakeup, int fd, kh_error *error);

/* Takes all notifications back, so that the fd is not readable until the next one. */
void kh_wakeup_drain(const kh_wakeup *wakeup);

/* Waits in poll(2) for at most timeout_ms (negative: without end) until the fd is readable.
 * Returns 1 when it is, 0 when the time is over, -1 when a signal came (errno EINTR). */
int kh_wakeup_wait(const kh_wakeup *wakeup, int timeout_ms);

void kh_wakeup_close(kh_wakeup *wakeup);

#pragma GCC visibility pop
#endif
