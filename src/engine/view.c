#include "view.h"
#include "headers.h"
#include "keys.h"

#include <assert.h>
#include <errno.h>
#include <stdlib.h>

struct kh_view {
    kh_consumer *consumer;
    kh_keys *topics;
    int topic_count;
    int64_t without_key;
    kh_view_walk *walks; /* those that are under way */
};

/* Walks that would come to the record next go on behind it. */
static void pass(const kh_view *view, const kh_record *record, kh_record *next)
{
    for (kh_view_walk *walk = view->walks; walk != NULL; walk = walk->other)
        if (walk->next == record)
            walk->next = next;
}

static void remove_record(const kh_view *view, kh_keys *keys, kh_record *record)
{
    pass(view, record, record->hh.next);
    kh_keys_remove(keys, record);
}

/* What some partitions have put there counts no more. */
static void forget(void *opaque)
{
    kh_view *view = opaque;

    for (int i = 0; i < view->topic_count; i++)
        for (kh_record *record = view->topics[i].all, *next; record != NULL; record = next) {
            next = record->hh.next;
            if (kh_consumer_is_forgotten(view->consumer, record->place))
                remove_record(view, &view->topics[i], record);
        }
}

kh_view *kh_view_new(kh_consumer *consumer, kh_error *error)
{
    kh_view *view = calloc(1, sizeof *view);
    int topic_count = kh_consumer_topic_count(consumer);

    if (view != NULL)
        view->topics = calloc((size_t)topic_count, sizeof *view->topics);
    if (view == NULL || view->topics == NULL) {
        free(view);
        kh_error_set_errno(error, ENOMEM, "cannot make a view");
        return NULL;
    }
    view->consumer = consumer;
    view->topic_count = topic_count;
    kh_consumer_on_forget(consumer, forget, view);
    return view;
}

void kh_view_free(kh_view *view)
{
    if (view == NULL)
        return;
    while (view->walks != NULL)
        kh_view_leave(view->walks);
    for (int i = 0; i < view->topic_count; i++)
        kh_keys_clear(&view->topics[i]);
    free(view->topics);
    free(view);
}

/* --- changes ---------------------------------------------------------------------------------- */

/* How much more the table would take with the message in it. */
static int64_t growth(const kh_record *old, const rd_kafka_message_t *message)
{
    int32_t count;
    size_t headers = kh_headers_measure(kh_headers_of(message), &count);
    int64_t bytes = (int64_t)(sizeof *old + message->key_len + message->len + headers);

    return old != NULL ? bytes - kh_record_size(old) : bytes + KH_KEY_BYTES;
}

static bool fits(const kh_view *view, const kh_keys *keys, const rd_kafka_message_t *message,
                 int64_t max_bytes, kh_error *error)
{
    const kh_record *old;
    int64_t more;

    if (max_bytes == 0)
        return true;
    old = kh_keys_find(keys, message->key, message->key_len);
    more = growth(old, message);
    if (more <= 0 || kh_view_bytes(view) + more <= max_bytes)
        return true;
    kh_error_set(
        error, "MAX_BYTES",
        "%s[%d]@%lld: the latest values of %zu keys take %lld bytes, and with this "
        "message more than max_bytes, %lld; raise that, or read fewer topics or in a group",
        rd_kafka_topic_name(message->rkt), (int)message->partition, (long long)message->offset,
        kh_keys_count(keys), (long long)kh_view_bytes(view), (long long)max_bytes);
    return false;
}

/* A key that gets another block of memory keeps its place in the order, so that a walk meets it
 * once. */
static bool put_record(const kh_view *view, kh_keys *keys, const rd_kafka_message_t *message,
                       int partition)
{
    const kh_record *old = NULL;
    kh_record *record;

    if (view->walks != NULL)
        old = kh_keys_find(keys, message->key, message->key_len);
    record = kh_keys_put(keys, message, partition);
    if (old != NULL && record != NULL)
        pass(view, old, record);
    return record != NULL;
}

/* Where the partition's messages go. */
static kh_keys *keys_of(const kh_view *view, int partition)
{
    return &view->topics[kh_consumer_locate(view->consumer, partition).topic];
}

/* What putting the messages behind that one will look at in memory. */
static void prefetch(const kh_view *view, int ahead)
{
    for (int step = 0; step < KH_KEYS_STEPS; step++) {
        int later = ahead + kh_keys_ahead(step);
        const kh_message *message = kh_consumer_next(view->consumer, later);

        if (message != NULL)
            kh_keys_prefetch(keys_of(view, kh_consumer_next_partition(view->consumer, later)),
                             message->fetched, step);
    }
}

kh_view_result kh_view_put(kh_view *view, int ahead, int64_t max_bytes, kh_error *error)
{
    const rd_kafka_message_t *message = kh_consumer_next(view->consumer, ahead)->fetched;
    int partition = kh_consumer_next_partition(view->consumer, ahead);
    kh_keys *keys;
    kh_record *old;

    assert(message != NULL && partition >= 0);
    prefetch(view, ahead);
    if (message->key == NULL) {
        view->without_key++;
        return KH_VIEW_UNCHANGED;
    }
    keys = keys_of(view, partition);
    if (message->payload == NULL) {
        old = kh_keys_find(keys, message->key, message->key_len);
        if (old == NULL)
            return KH_VIEW_UNCHANGED;
        remove_record(view, keys, old);
        return KH_VIEW_CHANGED;
    }
    if (!fits(view, keys, message, max_bytes, error))
        return KH_VIEW_FAILED;
    if (put_record(view, keys, message, partition))
        return KH_VIEW_CHANGED;
    kh_error_set_errno(error, ENOMEM, "cannot keep a message");
    return KH_VIEW_FAILED;
}

/* --- looks ------------------------------------------------------------------------------------ */

int kh_view_topic_count(const kh_view *view)
{
    return view->topic_count;
}

const char *kh_view_topic(const kh_view *view, int topic)
{
    return kh_consumer_topic(view->consumer, topic);
}

const kh_record *kh_view_find(const kh_view *view, int topic, const void *key, size_t length)
{
    return kh_keys_find(&view->topics[topic], key, length);
}

size_t kh_view_count(const kh_view *view, int topic)
{
    return kh_keys_count(&view->topics[topic]);
}

int64_t kh_view_bytes(const kh_view *view)
{
    int64_t bytes = 0;

    for (int i = 0; i < view->topic_count; i++)
        bytes += view->topics[i].bytes;
    return bytes;
}

int64_t kh_view_without_key(const kh_view *view)
{
    return view->without_key;
}

/* --- walks ------------------------------------------------------------------------------------ */

void kh_view_begin(kh_view *view, int topic, kh_view_walk *walk)
{
    *walk = (kh_view_walk){.view = view, .next = view->topics[topic].all, .other = view->walks};
    view->walks = walk;
}

const kh_record *kh_view_next(kh_view_walk *walk)
{
    const kh_record *record = walk->next;

    if (record == NULL)
        kh_view_leave(walk);
    else
        walk->next = record->hh.next;
    return record;
}

void kh_view_leave(kh_view_walk *walk)
{
    kh_view_walk **link;

    if (walk->view == NULL)
        return;
    for (link = &walk->view->walks; *link != walk; link = &(*link)->other)
        assert(*link != NULL);
    *link = walk->other;
    *walk = (kh_view_walk){.view = NULL};
}
