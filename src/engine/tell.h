/*
 * kh_tell: the words of what happens while reading: each queues one report.
 *
 * Numbers of partitions are those of the places; offsets are Kafka's.
 */
#ifndef KH_TELL_H
#define KH_TELL_H

#include "catchup.h"
#include "meter.h"
#include "places.h"
#include "report.h"

#include <librdkafka/rdkafka.h>
#include <stddef.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

typedef struct kh_teller {
    kh_reports *reports;
    const kh_places *places;
    const kh_catchup *catchup;
} kh_teller;

/* Of partitions with a `next` to begin at. */
void kh_tell_snapshot(const kh_teller *teller, size_t topic_count);
void kh_tell_partition_added(const kh_teller *teller, int place, int64_t low);
void kh_tell_partition_caught_up(const kh_teller *teller, int place);

void kh_tell_caught_up(const kh_teller *teller, const kh_meter *meter);
void kh_tell_gap(const kh_teller *teller, const kh_action *action);
void kh_tell_stall(const kh_teller *teller, const kh_action *action);

/* The text is the caller's, too: it may be an error. */
void kh_tell_truncation(const kh_teller *teller, const kh_action *action, char *text, size_t size);

#pragma GCC visibility pop
#endif
