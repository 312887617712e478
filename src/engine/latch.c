#include "latch.h"
#include "wakeup.h"

#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

struct kh_latch {
    atomic_int references;
    atomic_int state; /* a kh_latch_state; written under the lock */
    kh_wakeup wakeup;
    pthread_mutex_t lock;
    char name[64]; /* of the error; under the lock */
    char *text;    /* NULL: none, or there was no memory for it */
};

kh_latch *kh_latch_new(kh_error *error)
{
    kh_latch *latch = calloc(1, sizeof *latch);

    if (latch == NULL) {
        kh_error_set_errno(error, ENOMEM, "cannot make a latch");
        return NULL;
    }
    if (!kh_wakeup_open(&latch->wakeup, error)) {
        free(latch);
        return NULL;
    }
    pthread_mutex_init(&latch->lock, NULL);
    atomic_init(&latch->references, 1);
    atomic_init(&latch->state, KH_LATCH_PENDING);
    return latch;
}

kh_latch *kh_latch_share(kh_latch *latch)
{
    atomic_fetch_add_explicit(&latch->references, 1, memory_order_relaxed);
    return latch;
}

void kh_latch_drop(kh_latch *latch)
{
    if (latch == NULL ||
        atomic_fetch_sub_explicit(&latch->references, 1, memory_order_acq_rel) != 1)
        return;
    kh_wakeup_close(&latch->wakeup);
    pthread_mutex_destroy(&latch->lock);
    free(latch->text);
    free(latch);
}

kh_latch_state kh_latch_get(kh_latch *latch)
{
    return (kh_latch_state)atomic_load_explicit(&latch->state, memory_order_acquire);
}

/* Under the lock. The fd is written at the first release only: it is never drained. */
static void release(kh_latch *latch, kh_latch_state state)
{
    bool was_pending = kh_latch_get(latch) == KH_LATCH_PENDING;

    atomic_store_explicit(&latch->state, state, memory_order_release);
    if (was_pending)
        kh_wakeup_notify(&latch->wakeup);
}

void kh_latch_catch_up(kh_latch *latch)
{
    pthread_mutex_lock(&latch->lock);
    if (kh_latch_get(latch) != KH_LATCH_CLOSED)
        release(latch, KH_LATCH_CAUGHT_UP);
    pthread_mutex_unlock(&latch->lock);
}

void kh_latch_fail(kh_latch *latch, const char *name, const char *text)
{
    pthread_mutex_lock(&latch->lock);
    if (kh_latch_get(latch) == KH_LATCH_PENDING || kh_latch_get(latch) == KH_LATCH_FAILED) {
        size_t length = strlen(name);

        if (length >= sizeof latch->name)
            length = sizeof latch->name - 1;
        memcpy(latch->name, name, length);
        latch->name[length] = '\0';
        free(latch->text);
        latch->text = strdup(text);
        release(latch, KH_LATCH_FAILED);
    }
    pthread_mutex_unlock(&latch->lock);
}

void kh_latch_close(kh_latch *latch)
{
    pthread_mutex_lock(&latch->lock);
    if (kh_latch_get(latch) == KH_LATCH_PENDING)
        release(latch, KH_LATCH_CLOSED);
    pthread_mutex_unlock(&latch->lock);
}

size_t kh_latch_copy_error(kh_latch *latch, char name[64], char *text, size_t size)
{
    const char *kept = "";
    size_t length;

    pthread_mutex_lock(&latch->lock);
    memcpy(name, latch->name, sizeof latch->name);
    if (name[0] != '\0')
        kept = latch->text != NULL ? latch->text : "out of memory for its text";
    length = strlen(kept);
    if (size > 0) {
        size_t copied = length < size ? length : size - 1;

        memcpy(text, kept, copied);
        text[copied] = '\0';
    }
    pthread_mutex_unlock(&latch->lock);
    return length;
}

int kh_latch_fd(const kh_latch *latch)
{
    return latch->wakeup.read_fd;
}

int kh_latch_wait(const kh_latch *latch, int timeout_ms)
{
    return kh_wakeup_wait(&latch->wakeup, timeout_ms);
}
