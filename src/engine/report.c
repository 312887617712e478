#include "report.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define FORGET_ERROR_MS 30000

const kh_report kh_report_nowhere = {
    .partition = -1, .offset = -1, .to = -1, .target = -1, .end = -1};

void kh_reports_init(kh_reports *reports)
{
    *reports = (kh_reports){.first = NULL};
    reports->last = &reports->first;
}

void kh_report_free(kh_report *report)
{
    if (report == NULL)
        return;
    free(report->text);
    free(report->facility);
    if (report->partitions != NULL)
        rd_kafka_topic_partition_list_destroy(report->partitions);
    free(report);
}

/* What was dropped is told behind what was kept. */
static void tell_dropped(kh_reports *reports)
{
    kh_report report = kh_report_nowhere;
    int64_t dropped = reports->dropped;

    report.name = "error";
    report.code = "DROPPED";
    reports->dropped = 0;
    kh_reports_add(reports, &report,
                   "DROPPED: %lld events and log lines were lost: more than %d waited to be "
                   "fetched, or there was no memory for them",
                   (long long)dropped, KH_REPORTS_MAX);
    if (reports->first == NULL)
        reports->dropped = dropped;
}

kh_report *kh_reports_take(kh_reports *reports)
{
    kh_report *report = reports->first;

    if (report == NULL && reports->dropped > 0) {
        tell_dropped(reports);
        report = reports->first;
    }
    if (report == NULL)
        return NULL;
    reports->first = report->next;
    if (reports->first == NULL)
        reports->last = &reports->first;
    reports->count--;
    return report;
}

void kh_reports_clear(kh_reports *reports)
{
    kh_report *report;

    reports->dropped = 0;
    while ((report = kh_reports_take(reports)) != NULL)
        kh_report_free(report);
}

static char *format_text(const char *format, va_list arguments)
{
    va_list again;
    char *text;
    int length;

    va_copy(again, arguments);
    length = vsnprintf(NULL, 0, format, again);
    va_end(again);
    text = length >= 0 ? malloc((size_t)length + 1) : NULL;
    if (text != NULL)
        vsnprintf(text, (size_t)length + 1, format, arguments);
    return text;
}

void kh_reports_add(kh_reports *reports, const kh_report *report, const char *format, ...)
{
    kh_report *copy = reports->count < KH_REPORTS_MAX ? malloc(sizeof *copy) : NULL;
    va_list arguments;

    if (copy == NULL) {
        reports->dropped++;
        return;
    }
    *copy = *report;
    copy->next = NULL;
    va_start(arguments, format);
    copy->text = format_text(format, arguments);
    va_end(arguments);
    copy->facility = report->facility != NULL ? strdup(report->facility) : NULL;
    copy->partitions =
        report->partitions != NULL ? rd_kafka_topic_partition_list_copy(report->partitions) : NULL;
    if (copy->text == NULL || (report->facility != NULL && copy->facility == NULL)) {
        reports->dropped++;
        kh_report_free(copy);
        return;
    }
    *reports->last = copy;
    reports->last = &copy->next;
    reports->count++;
}

/* FNV-1a over the reason, up to what differs from one repetition to the next ("(after 3ms in state
 * CONNECT)"). */
static uint64_t hash_reason(const char *reason, const char *topic, int32_t partition)
{
    uint64_t hash = UINT64_C(14695981039346656037) ^ (uint32_t)partition;

    for (const char *part = reason; part != NULL; part = part == reason ? topic : NULL)
        for (const char *c = part; *c != '\0' && strncmp(c, " (after ", 8) != 0; c++)
            hash = (hash ^ (unsigned char)*c) * UINT64_C(1099511628211);
    return hash;
}

/* Notes the error; was it seen not long ago? Without a free place the oldest one is forgotten. */
static bool was_seen(kh_reports *reports, rd_kafka_resp_err_t code, uint64_t hash, int64_t now_ms)
{
    kh_seen_error *place = &reports->seen[0];

    for (int i = 0; i < KH_SEEN_ERRORS; i++) {
        kh_seen_error *seen = &reports->seen[i];

        if (seen->code == code && seen->hash == hash) {
            bool lately = now_ms - seen->seen_at_ms < FORGET_ERROR_MS;

            seen->seen_at_ms = now_ms;
            return lately;
        }
        if (seen->code == 0 || seen->seen_at_ms < place->seen_at_ms)
            place = seen;
    }
    *place = (kh_seen_error){.code = code, .hash = hash, .seen_at_ms = now_ms};
    return false;
}

void kh_reports_add_error(kh_reports *reports, rd_kafka_resp_err_t code, const char *reason,
                          const char *topic, int32_t partition, int64_t now_ms)
{
    kh_report report = kh_report_nowhere;

    report.name = "error";
    report.topic = topic;
    report.partition = partition;
    report.code = rd_kafka_err2name(code);
    if (!was_seen(reports, code, hash_reason(reason, topic, partition), now_ms))
        kh_reports_add(reports, &report, "%s: %s", report.code, reason);
}
