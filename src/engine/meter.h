/*
 * kh_meter: how much has been read, how fast, and how much of the history is left.
 *
 * Plain data of one owner; times are milliseconds of kh_clock_ms.
 */
#ifndef KH_METER_H
#define KH_METER_H

#include "catchup.h"

#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

typedef struct kh_meter {
    int64_t messages; /* handled, skipped ones included */
    int64_t read;     /* the same, but counted when they were kept, if they were */
    int64_t bytes;    /* of their keys and values */
    int64_t skipped;
    int64_t gaps;
    int64_t truncated;

    int64_t began_ms;     /* -1: reading has not begun */
    int64_t caught_up_ms; /* when it had caught up, or was closed; -1: not yet */

    int64_t noted_ms; /* when the rates were */
    int64_t noted_read;
    int64_t noted_offsets;
    double rate;        /* messages a second */
    double offset_rate; /* offsets of the history a second */
} kh_meter;

void kh_meter_init(kh_meter *meter);

/* How many offsets of the history have been passed, of how many: over the partitions below `count`
 * that are assigned. */
int64_t kh_meter_history(const kh_catchup *catchup, int count, int64_t *total);

/* To be called now and then while reading. */
void kh_meter_note(kh_meter *meter, const kh_catchup *catchup, int count, int64_t now_ms);

/* Since reading began, until it had caught up. */
int64_t kh_meter_elapsed_ms(const kh_meter *meter, int64_t now_ms);

/* Messages, and offsets of the history, a second; lately, where `reading` goes on. */
double kh_meter_rate(const kh_meter *meter, int64_t now_ms, bool reading);
double kh_meter_offset_rate(const kh_meter *meter, int64_t offsets_done, int64_t now_ms);

#pragma GCC visibility pop
#endif
