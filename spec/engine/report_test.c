/* Reports: in order, bounded, and an error that keeps coming back told once. */
#include "report.h"
#include "tap.h"

#include <stdio.h>
#include <string.h>

static struct tap tap;

static void test_order(void)
{
    kh_reports reports;
    kh_report event = {.name = "gap", .topic = "orders", .partition = 3, .offset = 7, .to = 9};
    kh_report *first;
    kh_report *second;

    kh_reports_init(&reports);
    kh_reports_add(&reports, &event, "%d and %s", 1, "one");
    event.name = "truncated";
    kh_reports_add(&reports, &event, "%s", "");
    first = kh_reports_take(&reports);
    second = kh_reports_take(&reports);
    tap_check(&tap,
              strcmp(first->name, "gap") == 0 && strcmp(first->text, "1 and one") == 0 &&
                  first->partition == 3 && first->offset == 7 && first->to == 9,
              "a report keeps what belongs to it, with a text of its own");
    tap_check(&tap, strcmp(second->name, "truncated") == 0 && second->text[0] == '\0',
              "reports come in the order in which they were made");
    tap_check(&tap, kh_reports_take(&reports) == NULL, "and each once");
    kh_report_free(first);
    kh_report_free(second);
    kh_report_free(NULL);
}

static void test_long_text(void)
{
    static char json[100001];
    kh_reports reports;
    kh_report stats = {.kind = KH_REPORT_STATS};
    kh_report *taken;

    memset(json, 'x', sizeof json - 1);
    kh_reports_init(&reports);
    kh_reports_add(&reports, &stats, "%s", json);
    taken = kh_reports_take(&reports);
    tap_check(&tap, strcmp(taken->text, json) == 0, "a text of any length is kept whole");
    kh_report_free(taken);
}

static void test_limit(void)
{
    kh_reports reports;
    kh_report log = {.kind = KH_REPORT_LOG, .level = 7};
    kh_report *last;

    kh_reports_init(&reports);
    for (int i = 0; i < KH_REPORTS_MAX + 5; i++)
        kh_reports_add(&reports, &log, "line %d", i);
    tap_check(&tap, reports.count == KH_REPORTS_MAX && reports.dropped == 5,
              "reports that nobody fetches are bounded; what was dropped is counted");
    while ((last = kh_reports_take(&reports)) != NULL && strcmp(last->text, "line 9999") != 0)
        kh_report_free(last);
    kh_report_free(last);
    last = kh_reports_take(&reports);
    tap_check(&tap, last != NULL && strstr(last->text, "5 events and log lines were lost") != NULL,
              "and told behind what was kept");
    kh_report_free(last);
    kh_reports_add(&reports, &log, "one more");
    kh_reports_clear(&reports);
    tap_check(&tap, reports.count == 0 && kh_reports_take(&reports) == NULL,
              "clearing forgets them all");
}

static int count_told(kh_reports *reports)
{
    int told = reports->count;

    kh_reports_clear(reports);
    return told;
}

static void fail_at(kh_reports *reports, const char *reason, int partition, int64_t now_ms)
{
    kh_reports_add_error(reports, RD_KAFKA_RESP_ERR__TRANSPORT, reason, "orders", partition,
                         now_ms);
}

static void test_repetition(void)
{
    kh_reports reports;

    kh_reports_init(&reports);
    for (int i = 0; i < 100; i++) {
        char reason[64];

        snprintf(reason, sizeof reason, "k1: refused (after %dms in state CONNECT)", i);
        fail_at(&reports, reason, 0, 1000 + i * 50);
    }
    tap_check(&tap, count_told(&reports) == 1,
              "an error that a broker repeats is told once, whatever time it took");
    fail_at(&reports, "k2: refused (after 0ms in state CONNECT)", 0, 6000);
    fail_at(&reports, "k1: refused (after 0ms in state CONNECT)", 1, 6000);
    tap_check(&tap, count_told(&reports) == 2,
              "another broker's, or partition's, is another error");
    fail_at(&reports, "k1: refused (after 7ms in state CONNECT)", 0, 40000);
    tap_check(&tap, count_told(&reports) == 1, "after a pause of half a minute it is news again");
    for (int i = 0; i < KH_SEEN_ERRORS * 3; i++) {
        char reason[64];

        snprintf(reason, sizeof reason, "host %d", i);
        fail_at(&reports, reason, 0, 50000 + i);
    }
    tap_check(&tap, count_told(&reports) == KH_SEEN_ERRORS * 3,
              "more different errors than are remembered are all told");
}

int main(void)
{
    test_order();
    test_long_text();
    test_limit();
    test_repetition();
    return tap_end(&tap);
}
