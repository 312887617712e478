#include "start.h"

bool kh_start_check(const kh_settings *settings, const kh_snapshot *snapshot, kh_error *error)
{
    for (size_t i = 0; i < settings->start_offset_count; i++) {
        const kh_start_offset *given = &settings->start_offsets[i];
        const kh_snapshot_topic *topic = &snapshot->topics[given->topic];

        if (given->partition < topic->partition_count)
            continue;
        kh_error_set(error, "_UNKNOWN_PARTITION",
                     "start: %s has %d partitions; there is no partition %d", topic->name,
                     (int)topic->partition_count, (int)given->partition);
        return false;
    }
    return true;
}

static int64_t choose_given(const kh_settings *settings, const kh_snapshot_partition *found)
{
    int64_t start = found->low;

    for (size_t i = 0; i < settings->start_offset_count; i++) {
        const kh_start_offset *given = &settings->start_offsets[i];

        if (given->topic == found->topic && given->partition == found->partition)
            start = given->offset;
    }
    return start;
}

bool kh_start_choose(const kh_settings *settings, const kh_snapshot_partition *found,
                     int64_t target, int64_t *start, kh_error *error)
{
    *start = found->low;
    switch (settings->start_kind) {
    case KH_START_BEGINNING:
        return true;
    case KH_START_END:
        *start = target;
        return true;
    case KH_START_TIMESTAMP:
        *start = found->at_time >= 0 ? found->at_time : target;
        return true;
    case KH_START_LAST:
        if (target - settings->start_number > found->low)
            *start = target - settings->start_number;
        return true;
    case KH_START_OFFSETS:
        *start = choose_given(settings, found);
    }
    if (*start >= found->low && *start <= target)
        return true;
    kh_error_set(error, "_OFFSET_OUT_OF_RANGE",
                 "%s[%d]: start at offset %lld lies outside the log, which goes from %lld to %lld; "
                 "was the topic made anew?",
                 settings->topics[found->topic], (int)found->partition, (long long)*start,
                 (long long)found->low, (long long)target);
    return false;
}

int64_t kh_start_resume(const kh_settings *settings, const kh_place *place, int64_t committed,
                        int64_t low)
{
    int64_t start = place->begun && !place->forgotten ? place->next : -1;

    if (!settings->from_beginning && committed > start)
        start = committed;
    return start >= 0 ? start : low;
}
