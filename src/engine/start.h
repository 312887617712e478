/*
 * kh_start: where reading begins, by what was configured and what the snapshot has found. Pure.
 */
#ifndef KH_START_H
#define KH_START_H

#include "config.h"
#include "error.h"
#include "places.h"
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

/* Where a member of a group goes on with a partition: where it was itself, or where the group's
 * commit says, whichever is later, as everything below either has been handled; the beginning of
 * the log where there is neither, or for the first time with from_beginning. Offsets that are
 * unknown are -1, and so may the answer be. */
int64_t kh_start_resume(const kh_settings *settings, const kh_place *place, int64_t committed,
                        int64_t low);

#pragma GCC visibility pop
#endif
