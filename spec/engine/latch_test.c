/* The one-shot signal: states, late and many waiters, other threads, references. */
#include "latch.h"
#include "tap.h"

#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>

static struct tap tap;

static bool is_readable(const kh_latch *latch)
{
    struct pollfd watched = {.fd = kh_latch_fd(latch), .events = POLLIN};

    return poll(&watched, 1, 0) == 1;
}

static bool has_error(kh_latch *latch, const char *name, const char *text)
{
    char got_name[64];
    char got_text[64];
    size_t length = kh_latch_copy_error(latch, got_name, got_text, sizeof got_text);

    return length == strlen(text) && strcmp(got_name, name) == 0 && strcmp(got_text, text) == 0;
}

static kh_latch *make(void)
{
    kh_error error;

    return kh_latch_new(&error);
}

static void test_catching_up(void)
{
    kh_latch *latch = make();

    tap_check(&tap, kh_latch_get(latch) == KH_LATCH_PENDING && !is_readable(latch),
              "a new latch is pending and its fd is silent");
    tap_check(&tap, kh_latch_wait(latch, 0) == 0,
              "waiting for a pending latch runs into its timeout");
    kh_latch_catch_up(latch);
    tap_check(&tap, kh_latch_get(latch) == KH_LATCH_CAUGHT_UP && kh_latch_wait(latch, -1) == 1,
              "catching up releases who waits");
    tap_check(&tap, is_readable(latch) && is_readable(latch),
              "the fd stays readable for late waiters");
    kh_latch_fail(latch, "HANDLER", "too late");
    kh_latch_close(latch);
    tap_check(&tap, kh_latch_get(latch) == KH_LATCH_CAUGHT_UP && has_error(latch, "", ""),
              "caught up is final: neither a failure nor the close undoes it");
    kh_latch_drop(latch);
}

static void test_failing(void)
{
    kh_latch *latch = make();

    kh_latch_fail(latch, "HANDLER", "first");
    tap_check(&tap, is_readable(latch) && has_error(latch, "HANDLER", "first"),
              "a failure releases who waits, with its error");
    kh_latch_fail(latch, "TRUNCATED", "second");
    tap_check(&tap, has_error(latch, "TRUNCATED", "second"), "the latest failure is the one told");
    kh_latch_close(latch);
    tap_check(&tap, kh_latch_get(latch) == KH_LATCH_FAILED,
              "a failed latch stays failed when closed: who waits late still learns why");
    kh_latch_catch_up(latch);
    tap_check(&tap, kh_latch_get(latch) == KH_LATCH_CAUGHT_UP,
              "reading taken up again makes a failed latch caught up");
    kh_latch_drop(latch);
}

static void test_long_text(void)
{
    kh_latch *latch = make();
    char name[64];
    char text[4] = "???";

    kh_latch_fail(latch, "A_NAME_THAT_IS_LONGER_THAN_THE_SIXTY_THREE_BYTES_THERE_ARE_ROOM_FOR",
                  "12345");
    tap_check(&tap,
              kh_latch_copy_error(latch, name, text, sizeof text) == 5 &&
                  strcmp(text, "123") == 0 && strlen(name) == 63,
              "an error is copied as far as there is room, and its whole length told");
    kh_latch_drop(latch);
}

static void test_closing(void)
{
    kh_latch *latch = make();

    kh_latch_close(latch);
    tap_check(&tap, kh_latch_get(latch) == KH_LATCH_CLOSED && is_readable(latch),
              "closing a pending latch releases who waits");
    kh_latch_catch_up(latch);
    kh_latch_fail(latch, "HANDLER", "too late");
    tap_check(&tap, kh_latch_get(latch) == KH_LATCH_CLOSED, "closed is final");
    kh_latch_drop(latch);
}

static void test_references(void)
{
    kh_latch *latch = make();
    kh_latch *second = kh_latch_share(latch);
    int fd = kh_latch_fd(latch);

    kh_latch_drop(latch);
    kh_latch_catch_up(second);
    tap_check(&tap, is_readable(second), "the fd lives as long as the last reference");
    kh_latch_drop(second);
    tap_check(&tap, close(fd) != 0, "and is closed with it");
    kh_latch_drop(NULL);
}

enum { WAITERS = 8 };

static void *wait_for_it(void *opaque)
{
    kh_latch *latch = opaque;
    bool released = kh_latch_wait(latch, 10000) == 1 && kh_latch_get(latch) == KH_LATCH_CAUGHT_UP;

    kh_latch_drop(latch);
    return released ? opaque : NULL;
}

static void test_threads(void)
{
    kh_latch *latch = make();
    pthread_t threads[WAITERS];
    int released = 0;

    for (int i = 0; i < WAITERS; i++)
        pthread_create(&threads[i], NULL, wait_for_it, kh_latch_share(latch));
    kh_latch_catch_up(latch);
    for (int i = 0; i < WAITERS; i++) {
        void *result;

        pthread_join(threads[i], &result);
        released += result != NULL;
    }
    kh_latch_drop(latch);
    tap_check(&tap, released == WAITERS,
              "threads wait, look and drop their references side by side");
}

int main(void)
{
    test_catching_up();
    test_failing();
    test_long_text();
    test_closing();
    test_references();
    test_threads();
    return tap_end(&tap);
}
