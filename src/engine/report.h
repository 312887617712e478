/*
 * kh_reports: what the engine has to tell its host, in order, until the host fetches it.
 *
 * Events, log lines and statistics are queued inside a step and handed out between steps, so that a
 * host's function never runs inside librdkafka. One thread.
 */
#ifndef KH_REPORT_H
#define KH_REPORT_H

#include <librdkafka/rdkafka.h>
#include <stdbool.h>
#include <stdint.h>

#pragma GCC visibility push(hidden)

typedef enum kh_report_kind { KH_REPORT_EVENT, KH_REPORT_LOG, KH_REPORT_STATS } kh_report_kind;

/* What does not belong to an event is NULL, or -1. */
typedef struct kh_report {
    kh_report_kind kind;
    const char *name; /* of an event: "snapshot", "caught_up", "gap", "error", ... */
    char *text;       /* for people; of a log line: the line; of statistics: librdkafka's JSON */
    const char *topic;
    int32_t partition;
    int64_t offset;                              /* where it happened */
    int64_t to;                                  /* gap: the offset at which reading goes on */
    int64_t target;                              /* T */
    int64_t end;                                 /* the end of the log now */
    const char *code;                            /* error: librdkafka's name of it */
    const char *cause;                           /* stalled: why */
    int level;                                   /* log: 0 emergency ... 7 debug */
    char *facility;                              /* log: librdkafka's */
    bool lost;                                   /* revoked: others have them already */
    rd_kafka_topic_partition_list_t *partitions; /* assigned, revoked: which */
    struct kh_report *next;
} kh_report;

/* A report without anything that might belong to it. */
extern const kh_report kh_report_nowhere;

/* A broker's error that keeps coming back is reported once. */
typedef struct kh_seen_error {
    rd_kafka_resp_err_t code;
    uint64_t hash;
    int64_t seen_at_ms; /* the last time */
} kh_seen_error;

enum { KH_SEEN_ERRORS = 32 };

typedef struct kh_reports {
    kh_report *first;
    kh_report **last;
    int count;
    int64_t dropped; /* no memory, or more than KH_REPORTS_MAX waited */
    kh_seen_error seen[KH_SEEN_ERRORS];
} kh_reports;

enum { KH_REPORTS_MAX = 10000 };

void kh_reports_init(kh_reports *reports);
void kh_reports_clear(kh_reports *reports);

/* Queues a copy of the report with a text of its own. Strings but text and facility are borrowed
 * and must outlive it; facility and partitions are copied. */
void kh_reports_add(kh_reports *reports, const kh_report *report, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Queues an "error" event, unless the same one has been coming back without a pause of 30 s. */
void kh_reports_add_error(kh_reports *reports, rd_kafka_resp_err_t code, const char *reason,
                          const char *topic, int32_t partition, int64_t now_ms);

/* The oldest report, the caller's to free; NULL when there is none. */
kh_report *kh_reports_take(kh_reports *reports);
void kh_report_free(kh_report *report);

#pragma GCC visibility pop
#endif
