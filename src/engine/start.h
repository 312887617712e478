/*
 * kh_start: where reading begins, by what was configured and what the snapshot has found. Pure.
 */
#ifndef KH_START_H
#define KH_START_H

#include "config.h"
#include "error.h"
#include "snapshot.h"

#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

/* Are all partitions there that offsets were given for? False with the error filled in. */
bool kh_start_check(const kh_settings *settings, const kh_snapshot *snapshot, kh_error *error);

/* The offset at which the partition, whose history ends at `target`, is to be read from. False,
 * with the error filled in: one that was given lies outside its log. */
bool kh_start_choose(const kh_settings *settings, const kh_snapshot_partition *found,
                     int64_t target, int64_t *start, kh_error *error);

#pragma GCC visibility pop
#endif
