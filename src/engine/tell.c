#include "tell.h"

#include <stdio.h>

static kh_report report_at(const kh_teller *to, int place, const char *name)
{
    kh_report report = kh_report_nowhere;

    report.name = name;
    if (place >= 0) {
        report.topic = kh_places_topic(to->places, place);
        report.partition = to->places->all[place].partition;
    }
    return report;
}

void kh_tell_snapshot(const kh_teller *to, size_t topic_count)
{
    kh_report report = report_at(to, -1, "snapshot");
    int64_t offsets = 0;

    for (int i = 0; i < to->places->count; i++) {
        int64_t target = kh_catchup_get(to->catchup, i).target;

        if (target > to->places->all[i].next)
            offsets += target - to->places->all[i].next;
    }
    kh_reports_add(to->reports, &report, "history: %lld offsets in %d partitions of %zu topics",
                   (long long)offsets, to->places->count, topic_count);
}

void kh_tell_partition_added(const kh_teller *to, int place, int64_t low)
{
    kh_report report = report_at(to, place, "partition_added");

    report.offset = low;
    kh_reports_add(to->reports, &report, "%s[%d]: added; reading it from offset %lld", report.topic,
                   (int)report.partition, (long long)low);
}

void kh_tell_partition_caught_up(const kh_teller *to, int place)
{
    kh_report report = report_at(to, place, "partition_caught_up");

    report.target = kh_catchup_get(to->catchup, place).target;
    kh_reports_add(to->reports, &report, "%s[%d]: caught up with offset %lld", report.topic,
                   (int)report.partition, (long long)report.target);
}

void kh_tell_caught_up(const kh_teller *to, const kh_meter *meter)
{
    kh_report report = report_at(to, -1, "caught_up");

    kh_reports_add(to->reports, &report,
                   "caught up: %lld messages in %.3f s, %lld skipped, %lld gaps, %lld truncated",
                   (long long)meter->messages,
                   (double)(meter->caught_up_ms - meter->began_ms) / 1000,
                   (long long)meter->skipped, (long long)meter->gaps, (long long)meter->truncated);
}

void kh_tell_gap(const kh_teller *to, const kh_action *action)
{
    kh_report report = report_at(to, action->partition, "gap");

    report.offset = action->offset;
    report.to = action->to;
    kh_reports_add(to->reports, &report,
                   "%s[%d]: offsets %lld to %lld were deleted before they could be read; reading "
                   "goes on at %lld",
                   report.topic, (int)report.partition, (long long)action->offset,
                   (long long)action->to - 1, (long long)action->to);
}

static void describe_truncation(const kh_report *at, const kh_action *action, char *text,
                                size_t size)
{
    if (action->gone)
        snprintf(text, size,
                 "%s[%d]: the topic was deleted while it was being read (at offset %lld)",
                 at->topic, (int)at->partition, (long long)action->offset);
    else
        snprintf(text, size,
                 "%s[%d]: this is not the log that was being read: it ends at %lld now, ended at "
                 "%lld when reading began, and was read up to %lld. Records were lost, or the "
                 "topic was deleted and made anew",
                 at->topic, (int)at->partition, (long long)action->end, (long long)action->target,
                 (long long)action->offset);
}

void kh_tell_truncation(const kh_teller *to, const kh_action *action, char *text, size_t size)
{
    kh_report report = report_at(to, action->partition, "truncated");

    report.offset = action->offset;
    report.target = action->target;
    report.end = action->end;
    describe_truncation(&report, action, text, size);
    kh_reports_add(to->reports, &report, "%s", text);
}

void kh_tell_stall(const kh_teller *to, const kh_action *action)
{
    static const char *const causes[] = {
        [KH_STALL_UNKNOWN] = "unknown",     [KH_STALL_OPEN_TRANSACTION] = "open transaction",
        [KH_STALL_TRUNCATED] = "truncated", [KH_STALL_TOPIC_DELETED] = "topic deleted",
        [KH_STALL_NO_LEADER] = "no leader", [KH_STALL_LAGGING_FOLLOWER] = "lagging follower",
    };
    kh_report report = report_at(to, action->partition, "stalled");

    report.offset = action->offset;
    report.target = action->target;
    report.end = action->end;
    report.cause = causes[action->cause];
    kh_reports_add(to->reports, &report, "%s[%d]: no progress at offset %lld of %lld: %s",
                   report.topic, (int)report.partition, (long long)action->offset,
                   (long long)action->target, report.cause);
}
