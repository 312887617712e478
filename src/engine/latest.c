/*
 * Those with a key stand in a kh_keys, in the order in which their keys came: they are put into
 * that of their offsets once, when taking begins, as moving each that is replaced would touch its
 * neighbours in memory as well. Those without stand in a list of their own; taking them out merges
 * the two.
 */
#include "latest.h"
#include "keys.h"

#include <stdlib.h>
#include <utlist.h>

struct place {
    kh_keys keys;
    kh_record *keyed; /* once taking has begun: what was in `keys` */
    kh_record *unkeyed;
    kh_record *last_unkeyed;
};

struct kh_latest {
    struct place *places;
    int capacity;
    int64_t bytes;
};

kh_latest *kh_latest_new(void)
{
    return calloc(1, sizeof(kh_latest));
}

bool kh_latest_reserve(kh_latest *latest, int count)
{
    struct place *grown;

    if (count <= latest->capacity)
        return true;
    grown = realloc(latest->places, (size_t)count * sizeof *grown);
    if (grown == NULL)
        return false;
    for (int i = latest->capacity; i < count; i++)
        grown[i] = (struct place){.keyed = NULL};
    latest->places = grown;
    latest->capacity = count;
    return true;
}

static bool append_unkeyed(kh_latest *latest, struct place *place, kh_record *record)
{
    if (record == NULL)
        return false;
    if (place->last_unkeyed != NULL)
        place->last_unkeyed->hh.next = record;
    else
        place->unkeyed = record;
    place->last_unkeyed = record;
    latest->bytes += kh_record_size(record);
    return true;
}

bool kh_latest_keep(kh_latest *latest, int place_number, const rd_kafka_message_t *message,
                    bool keeps_tombstones)
{
    struct place *place = &latest->places[place_number];
    int64_t before = place->keys.bytes;
    kh_record *record;
    bool kept = true;

    if (message->key == NULL)
        return append_unkeyed(latest, place, kh_record_new(message, place_number));
    if (message->payload == NULL && !keeps_tombstones) {
        record = kh_keys_find(&place->keys, message->key, message->key_len);
        if (record != NULL)
            kh_keys_remove(&place->keys, record);
    } else {
        kept = kh_keys_put(&place->keys, message, place_number) != NULL;
    }
    latest->bytes += place->keys.bytes - before;
    return kept;
}

void kh_latest_prefetch(const kh_latest *latest, int place, const rd_kafka_message_t *message,
                        int step)
{
    kh_keys_prefetch(&latest->places[place].keys, message, step);
}

/* A record by its offset, so that sorting does not look at each of them in memory again and again.
 */
struct spot {
    int64_t offset;
    kh_record *record;
};

static int compare_spots(const void *a, const void *b)
{
    const struct spot *left = a, *right = b;

    return (left->offset > right->offset) - (left->offset < right->offset);
}

static int compare_records(const kh_record *left, const kh_record *right)
{
    return (left->offset > right->offset) - (left->offset < right->offset);
}

static kh_record *sort(kh_record *first, size_t count)
{
    struct spot *spots = malloc(count * sizeof *spots);
    kh_record *record = first;

    if (spots == NULL) { /* slower, in no more memory */
        LL_SORT2(first, compare_records, hh.next);
        return first;
    }
    for (size_t i = 0; i < count; i++, record = record->hh.next)
        spots[i] = (struct spot){.offset = record->offset, .record = record};
    qsort(spots, count, sizeof *spots, compare_spots);
    for (size_t i = 0; i < count; i++)
        spots[i].record->hh.next = i + 1 < count ? spots[i + 1].record : NULL;
    first = spots[0].record;
    free(spots);
    return first;
}

/* From here on each counts for itself; the table that finds them is gone. */
static void begin_taking(kh_latest *latest, struct place *place)
{
    size_t count = kh_keys_count(&place->keys);
    bool is_sorted = true;

    latest->bytes -= place->keys.bytes;
    place->keyed = kh_keys_release(&place->keys);
    for (const kh_record *record = place->keyed; record != NULL; record = record->hh.next) {
        const kh_record *next = record->hh.next;

        latest->bytes += kh_record_size(record);
        is_sorted = is_sorted && (next == NULL || record->offset < next->offset);
    }
    if (!is_sorted)
        place->keyed = sort(place->keyed, count);
}

static kh_record *take_first(kh_record **list)
{
    kh_record *record = *list;

    *list = record->hh.next;
    return record;
}

kh_record *kh_latest_take(kh_latest *latest, int place_number)
{
    struct place *place = &latest->places[place_number];
    kh_record *record;

    if (place->keys.all != NULL)
        begin_taking(latest, place);
    if (place->keyed != NULL &&
        (place->unkeyed == NULL || place->keyed->offset < place->unkeyed->offset))
        record = take_first(&place->keyed);
    else if (place->unkeyed != NULL)
        record = take_first(&place->unkeyed);
    else
        return NULL;
    if (place->unkeyed == NULL)
        place->last_unkeyed = NULL;
    latest->bytes -= kh_record_size(record);
    return record;
}

bool kh_latest_has(const kh_latest *latest, int place)
{
    return latest->places[place].keys.all != NULL || latest->places[place].keyed != NULL ||
           latest->places[place].unkeyed != NULL;
}

static void drop_list(kh_latest *latest, kh_record **list)
{
    while (*list != NULL) {
        kh_record *record = take_first(list);

        latest->bytes -= kh_record_size(record);
        free(record);
    }
}

void kh_latest_drop(kh_latest *latest, int place_number)
{
    struct place *place = &latest->places[place_number];

    latest->bytes -= place->keys.bytes;
    kh_keys_clear(&place->keys);
    drop_list(latest, &place->keyed);
    drop_list(latest, &place->unkeyed);
    place->last_unkeyed = NULL;
}

int64_t kh_latest_bytes(const kh_latest *latest)
{
    return latest->bytes;
}

void kh_latest_free(kh_latest *latest)
{
    if (latest == NULL)
        return;
    for (int i = 0; i < latest->capacity; i++)
        kh_latest_drop(latest, i);
    free(latest->places);
    free(latest);
}
