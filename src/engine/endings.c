#include "endings.h"
#include "clock.h"

#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>

struct kh_endings {
    pthread_mutex_t lock; /* of all that follows */
    pthread_cond_t changed;
    int references;
    int leaving;
    int64_t begun_ms; /* when the last one began */
};

kh_endings *kh_endings_new(void)
{
    kh_endings *endings = calloc(1, sizeof *endings);

    if (endings == NULL)
        return NULL;
    pthread_mutex_init(&endings->lock, NULL);
    kh_cond_init(&endings->changed);
    endings->references = 1;
    return endings;
}

kh_endings *kh_endings_share(kh_endings *endings)
{
    pthread_mutex_lock(&endings->lock);
    endings->references++;
    pthread_mutex_unlock(&endings->lock);
    return endings;
}

static void drop_locked(kh_endings *endings)
{
    bool last = --endings->references == 0;

    pthread_mutex_unlock(&endings->lock);
    if (!last)
        return;
    pthread_cond_destroy(&endings->changed);
    pthread_mutex_destroy(&endings->lock);
    free(endings);
}

void kh_endings_drop(kh_endings *endings)
{
    if (endings == NULL)
        return;
    pthread_mutex_lock(&endings->lock);
    drop_locked(endings);
}

void kh_endings_note_begin(kh_endings *endings)
{
    pthread_mutex_lock(&endings->lock);
    endings->references++;
    endings->leaving++;
    endings->begun_ms = kh_clock_ms();
    pthread_mutex_unlock(&endings->lock);
}

void kh_endings_note_end(kh_endings *endings)
{
    pthread_mutex_lock(&endings->lock);
    endings->leaving--;
    pthread_cond_broadcast(&endings->changed);
    drop_locked(endings);
}

bool kh_endings_wait(kh_endings *endings, int wait_ms)
{
    bool over;

    pthread_mutex_lock(&endings->lock);
    while (endings->leaving > 0) {
        int64_t left_ms = endings->begun_ms + wait_ms - kh_clock_ms();
        struct timespec until;

        if (left_ms <= 0)
            break;
        until = kh_clock_in((int)left_ms);
        pthread_cond_timedwait(&endings->changed, &endings->lock, &until);
    }
    over = endings->leaving == 0;
    pthread_mutex_unlock(&endings->lock);
    return over;
}
