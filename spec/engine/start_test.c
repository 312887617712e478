/* Where reading begins: each way to say it, and what lies outside the log. */
#include "start.h"
#include "tap.h"

#include <string.h>

static struct tap tap;

/* History of partition 2 of topic 1 lies in [10, 20). */
static const int64_t low = 10;
static const int64_t target = 20;
static const char *const topics[] = {"other", "orders"};

static int64_t choose(kh_start_kind kind, int64_t number, int64_t at_time)
{
    kh_settings settings = {
        .topics = topics, .topic_count = 2, .start_kind = kind, .start_number = number};
    kh_snapshot_partition found = {
        .topic = 1, .partition = 2, .low = low, .end = target, .at_time = at_time};
    kh_error error;
    int64_t start;

    return kh_start_choose(&settings, &found, target, &start, &error) ? start : -1;
}

static void test_kinds(void)
{
    tap_check(&tap, choose(KH_START_BEGINNING, 0, -1) == 10, "the beginning is the log's start");
    tap_check(&tap, choose(KH_START_END, 0, -1) == 20, "the end is where history ends");
    tap_check(&tap, choose(KH_START_TIMESTAMP, 0, 13) == 13,
              "a time is the first offset at or after it");
    tap_check(&tap, choose(KH_START_TIMESTAMP, 0, -1) == 20,
              "a time after the last message is the end");
    tap_check(&tap, choose(KH_START_LAST, 3, -1) == 17,
              "the last three begin three before the end");
    tap_check(&tap, choose(KH_START_LAST, 10, -1) == 10 && choose(KH_START_LAST, 11, -1) == 10,
              "the last of more than there are begin at the log's start");
    tap_check(&tap, choose(KH_START_LAST, 0, -1) == 20, "the last none begin at the end");
}

static bool choose_given(int64_t offset, int32_t partition, int64_t *start, kh_error *error)
{
    kh_start_offset given[] = {{.topic = 0, .partition = 2, .offset = 99},
                               {.topic = 1, .partition = partition, .offset = offset}};
    kh_settings settings = {.topics = topics,
                            .topic_count = 2,
                            .start_kind = KH_START_OFFSETS,
                            .start_offsets = given,
                            .start_offset_count = 2};
    kh_snapshot_partition found = {.topic = 1, .partition = 2, .low = low, .end = target};

    return kh_start_choose(&settings, &found, target, start, error);
}

static void test_offsets(void)
{
    kh_error error;
    int64_t start = -1;

    tap_check(&tap, choose_given(12, 2, &start, &error) && start == 12,
              "an offset that is given for the partition");
    tap_check(&tap, choose_given(12, 3, &start, &error) && start == 10,
              "a partition without one begins at the log's start");
    tap_check(&tap,
              choose_given(10, 2, &start, &error) && start == 10 &&
                  choose_given(20, 2, &start, &error) && start == 20,
              "both ends of the log are inside");
    tap_check(&tap,
              !choose_given(9, 2, &start, &error) &&
                  strcmp(error.name, "_OFFSET_OUT_OF_RANGE") == 0 &&
                  strstr(error.text, "orders[2]: start at offset 9") != NULL &&
                  strstr(error.text, "from 10 to 20") != NULL,
              "below it is an error that names the log");
    tap_check(&tap, !choose_given(21, 2, &start, &error), "and so is above it");
}

static void test_partitions(void)
{
    kh_start_offset given[] = {{.topic = 1, .partition = 3, .offset = 0}};
    kh_settings settings = {.start_offsets = given, .start_offset_count = 1};
    kh_snapshot_topic found[] = {{.name = "other", .partition_count = 9},
                                 {.name = "orders", .partition_count = 4}};
    kh_snapshot snapshot = {.topics = found, .topic_count = 2};
    kh_error error;

    tap_check(&tap, kh_start_check(&settings, &snapshot, &error),
              "an offset may be given for each partition that there is");
    found[1].partition_count = 3;
    tap_check(&tap,
              !kh_start_check(&settings, &snapshot, &error) &&
                  strcmp(error.name, "_UNKNOWN_PARTITION") == 0 &&
                  strcmp(error.text, "start: orders has 3 partitions; there is no partition 3") ==
                      0,
              "and for no other");
}

static int64_t resume(bool from_beginning, bool begun, int64_t was_at, int64_t committed)
{
    kh_settings settings = {.group = "g", .from_beginning = from_beginning};
    kh_place place = {.begun = begun, .next = was_at};

    return kh_start_resume(&settings, &place, committed, low);
}

static void test_members(void)
{
    kh_settings settings = {.group = "g"};
    kh_place place = {.begun = false};

    tap_check(&tap, resume(false, false, 0, 15) == 15, "a member goes on at the group's commit");
    tap_check(&tap, resume(false, false, 0, -1) == low,
              "without a commit it begins at the log's start");
    tap_check(&tap, resume(false, true, 13, 15) == 15,
              "a partition that comes back goes on where others have committed");
    tap_check(&tap, resume(false, true, 17, 15) == 17,
              "or where this member was, whose last commit was lost");
    tap_check(&tap, resume(true, false, 0, 15) == low,
              "from the beginning means so for the first time, whatever was committed");
    tap_check(&tap, resume(true, true, 13, 15) == 13,
              "and where this member was when the partition comes back");
    tap_check(&tap, kh_start_resume(&settings, &place, -1, -1) == -1,
              "where nothing is known there is no answer");
}

int main(void)
{
    test_kinds();
    test_offsets();
    test_members();
    test_partitions();
    return tap_end(&tap);
}
