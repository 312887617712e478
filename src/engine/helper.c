#include "helper.h"
#include "clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>

struct kh_helper {
    const kh_wakeup *wakeup;
    pthread_t thread;
    bool has_thread; /* the owner's: started and not joined */
    kh_work *work;
    void *job;
    atomic_bool done;
    pthread_mutex_t lock;
    pthread_cond_t cancel_asked;
    bool cancelled; /* under the lock */
};

kh_helper *kh_helper_new(const kh_wakeup *wakeup)
{
    kh_helper *helper = calloc(1, sizeof *helper);

    if (helper == NULL)
        return NULL;
    helper->wakeup = wakeup;
    atomic_init(&helper->done, false);
    pthread_mutex_init(&helper->lock, NULL);
    kh_cond_init(&helper->cancel_asked);
    return helper;
}

static void *run(void *opaque)
{
    kh_helper *helper = opaque;

    helper->work(helper, helper->job);
    atomic_store(&helper->done, true);
    kh_wakeup_notify(helper->wakeup);
    return NULL;
}

bool kh_helper_start(kh_helper *helper, kh_work *work, void *job)
{
    if (helper->has_thread)
        return false;
    helper->work = work;
    helper->job = job;
    helper->cancelled = false;
    atomic_store(&helper->done, false);
    helper->has_thread = kh_thread_start(&helper->thread, run, helper);
    return helper->has_thread;
}

bool kh_helper_is_busy(const kh_helper *helper)
{
    return helper->has_thread;
}

static void *join(kh_helper *helper)
{
    if (!helper->has_thread)
        return NULL;
    pthread_join(helper->thread, NULL);
    helper->has_thread = false;
    return helper->job;
}

void *kh_helper_take(kh_helper *helper)
{
    return helper->has_thread && atomic_load(&helper->done) ? join(helper) : NULL;
}

void kh_helper_cancel(kh_helper *helper)
{
    pthread_mutex_lock(&helper->lock);
    helper->cancelled = true;
    pthread_cond_broadcast(&helper->cancel_asked);
    pthread_mutex_unlock(&helper->lock);
}

void *kh_helper_stop(kh_helper *helper)
{
    void *job;

    kh_helper_cancel(helper);
    job = join(helper);
    pthread_cond_destroy(&helper->cancel_asked);
    pthread_mutex_destroy(&helper->lock);
    free(helper);
    return job;
}

bool kh_helper_is_cancelled(kh_helper *helper)
{
    bool cancelled;

    pthread_mutex_lock(&helper->lock);
    cancelled = helper->cancelled;
    pthread_mutex_unlock(&helper->lock);
    return cancelled;
}

bool kh_helper_sleep(kh_helper *helper, int milliseconds)
{
    struct timespec until = kh_clock_in(milliseconds);
    int waited = 0;
    bool cancelled;

    pthread_mutex_lock(&helper->lock);
    while (!helper->cancelled && waited == 0)
        waited = pthread_cond_timedwait(&helper->cancel_asked, &helper->lock, &until);
    cancelled = helper->cancelled;
    pthread_mutex_unlock(&helper->lock);
    return !cancelled;
}
