#include "wakeup.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <unistd.h>

#if defined __linux__ && !defined KH_WAKEUP_PIPE
#include <sys/eventfd.h>
#define KH_WAKEUP_EVENTFD
#endif

/* The integer 1: an eventfd adds up what is written to it. */
#if defined __BYTE_ORDER__ && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
const unsigned char kh_wakeup_payload[8] = {0, 0, 0, 0, 0, 0, 0, 1};
#else
const unsigned char kh_wakeup_payload[8] = {1, 0, 0, 0, 0, 0, 0, 0};
#endif

#ifdef KH_WAKEUP_EVENTFD

bool kh_wakeup_open(kh_wakeup *wakeup, kh_error *error)
{
    int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

    wakeup->read_fd = fd;
    wakeup->write_fd = fd;
    if (fd < 0)
        kh_error_set_errno(error, errno, "cannot make an eventfd");
    return fd >= 0;
}

#else

static bool prepare(int fd)
{
    return fcntl(fd, F_SETFL, O_NONBLOCK) == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

bool kh_wakeup_open(kh_wakeup *wakeup, kh_error *error)
{
    int fds[2] = {-1, -1};
    bool made = pipe(fds) == 0;

    wakeup->read_fd = fds[0];
    wakeup->write_fd = fds[1];
    if (!made || !prepare(fds[0]) || !prepare(fds[1])) {
        kh_error_set_errno(error, errno, "cannot make a pipe");
        kh_wakeup_close(wakeup);
        return false;
    }
    return true;
}

#endif

bool kh_wakeup_redirect(kh_wakeup *wakeup, int fd, kh_error *error)
{
    bool done =
        dup2(fd, wakeup->write_fd) >= 0 && fcntl(wakeup->write_fd, F_SETFD, FD_CLOEXEC) == 0;

    if (!done)
        kh_error_set_errno(error, errno, "cannot redirect wake-ups to a socket");
    close(fd);
    return done;
}

void kh_wakeup_notify(const kh_wakeup *wakeup)
{
    ssize_t written;

    /* EAGAIN means that it is full, so readable already. */
    do
        written = write(wakeup->write_fd, kh_wakeup_payload, sizeof kh_wakeup_payload);
    while (written < 0 && errno == EINTR);
}

void kh_wakeup_drain(const kh_wakeup *wakeup)
{
    unsigned char bytes[512];
    ssize_t got;

    do
        got = read(wakeup->read_fd, bytes, sizeof bytes);
    while (got == (ssize_t)sizeof bytes || (got < 0 && errno == EINTR));
}

int kh_wakeup_wait(const kh_wakeup *wakeup, int timeout_ms)
{
    struct pollfd watched = {.fd = wakeup->read_fd, .events = POLLIN};

    return poll(&watched, 1, timeout_ms);
}

void kh_wakeup_close(kh_wakeup *wakeup)
{
    if (wakeup->read_fd >= 0)
        close(wakeup->read_fd);
    if (wakeup->write_fd >= 0 && wakeup->write_fd != wakeup->read_fd)
        close(wakeup->write_fd);
    wakeup->read_fd = -1;
    wakeup->write_fd = -1;
}
