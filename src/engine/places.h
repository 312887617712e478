/*
 * kh_places: the partitions that a consumer reads, numbered from 0 as its kh_catchup numbers them,
 * and the way from a message to its number. Plain data of one owner, on one thread; numbers are
 * never given back.
 */
#ifndef KH_PLACES_H
#define KH_PLACES_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

typedef struct kh_place { /* a partition of a topic */
    int topic;
    int32_t partition;
    int64_t next;       /* offsets below were handed out, or lie before the start */
    int64_t eof;        /* the end, or the T, that the reader last stood at; -1: none */
    bool parked;        /* read to T, and nothing beyond is wanted yet */
    bool gone;          /* its topic was deleted, and that was reported */
    bool ask;           /* its end is to be asked for */
    bool refused;       /* the broker does not allow it to be read, and nothing came since */
    bool begin_anew;    /* it is to be read from `next` on, as soon as that can be said */
    bool assigned;      /* it is this consumer's to read */
    bool begun;         /* it was, once at least */
    bool forgotten;     /* and nobody has kept what was read of it then */
    bool must_forget;   /* and whoever has kept that is to be told */
    int32_t refused_by; /* the broker that says that the position lies outside the log; -1: none */
    int64_t committed;  /* in a group: what the group has as this partition's offset; -1: unknown */
} kh_place;

typedef struct kh_topic {
    const char *name;
    char id[32];                 /* "": unknown */
    const rd_kafka_topic_t *rkt; /* as its messages name it; NULL: none came yet */
    int *places;                 /* numbers, by partition */
    int place_count;
} kh_topic;

typedef struct kh_places {
    kh_topic *topics;
    int topic_count;
    kh_place *all;
    int count;
    const rd_kafka_topic_t *last_rkt; /* messages come in runs of one partition */
    int32_t last_partition;
    int last;
} kh_places;

/* No partition yet, of these topics; the names are borrowed. False: out of memory. */
bool kh_places_init(kh_places *places, const char *const *topics, size_t topic_count);
void kh_places_clear(kh_places *places);

/* Makes the partitions of a topic below `partition_count` known, those that are not; false: out of
 * memory, nothing changed. */
bool kh_places_add(kh_places *places, int topic, int32_t partition_count);

/* Their numbers; -1: unknown. */
int kh_places_at(const kh_places *places, int topic, int32_t partition);
int kh_places_of(kh_places *places, const rd_kafka_message_t *message);
int kh_places_named(const kh_places *places, const char *topic, int32_t partition);

/* The number of a topic; -1: unknown. */
int kh_places_topic_named(const kh_places *places, const char *topic);

/* Where reading would go on, when everything below `handled` has been handled. What lies between
 * and below `taken` was kept, and would have to be read again. */
int64_t kh_place_position(const kh_place *place, int64_t handled, int64_t taken);

const char *kh_places_topic(const kh_places *places, int number);

/* `count` of them from number `first` on, with `next` as their offsets; the caller's. */
rd_kafka_topic_partition_list_t *kh_places_list(const kh_places *places, int first, int count);

#pragma GCC visibility pop
#endif
