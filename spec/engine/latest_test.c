/* History that is compacted, against a naive model: the whole of it, walked backwards. What
 * librdkafka tells of a message beside its fields is made up here. */
#include "latest.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

#define PLACES 2
#define MESSAGES 400
#define RUNS 500

static struct tap tap;

int64_t rd_kafka_message_timestamp(const rd_kafka_message_t *message,
                                   rd_kafka_timestamp_type_t *type)
{
    (void)message;
    *type = RD_KAFKA_TIMESTAMP_NOT_AVAILABLE;
    return -1;
}

rd_kafka_resp_err_t rd_kafka_message_headers(const rd_kafka_message_t *message,
                                             rd_kafka_headers_t **headers)
{
    (void)message;
    *headers = NULL;
    return RD_KAFKA_RESP_ERR__NOENT;
}

struct history {
    int key[MESSAGES]; /* -1: null */
    bool is_tombstone[MESSAGES];
    int count;
};

static void write_some(struct history *history, int keys)
{
    history->count = rand() % (MESSAGES + 1);
    for (int i = 0; i < history->count; i++) {
        history->key[i] = rand() % 8 == 0 ? -1 : rand() % keys;
        history->is_tombstone[i] = rand() % 5 == 0;
    }
}

static bool keep_all(kh_latest *latest, int place, const struct history *history, bool tombstones)
{
    bool kept = true;

    for (int i = 0; i < history->count && kept; i++) {
        char key[16];
        char value[16];
        rd_kafka_message_t message = {.offset = i};

        if (history->key[i] >= 0) {
            message.key_len = (size_t)snprintf(key, sizeof key, "%d", history->key[i]);
            message.key = key;
        }
        if (!history->is_tombstone[i]) {
            message.len = (size_t)snprintf(value, sizeof value, "%d", i);
            message.payload = value;
        }
        kept = kh_latest_keep(latest, place, &message, tombstones);
    }
    return kept;
}

static bool survives(const struct history *history, int at, bool tombstones)
{
    if (history->key[at] < 0)
        return true;
    for (int i = at + 1; i < history->count; i++)
        if (history->key[i] == history->key[at])
            return false;
    return tombstones || !history->is_tombstone[at];
}

static bool holds(const kh_record *record, const struct history *history, int at, int place)
{
    char value[16];
    int length = snprintf(value, sizeof value, "%d", at);

    return record != NULL && record->offset == at && record->place == place &&
           record->has_key == (history->key[at] >= 0) &&
           record->has_value == !history->is_tombstone[at] &&
           (!record->has_value || (record->value_length == (uint32_t)length &&
                                   memcmp(kh_record_value(record), value, (size_t)length) == 0));
}

static bool is_what_survives(kh_latest *latest, int place, const struct history *history,
                             bool tombstones)
{
    kh_record *record;
    bool right = true;

    for (int i = 0; i < history->count && right; i++) {
        if (!survives(history, i, tombstones))
            continue;
        right = kh_latest_has(latest, place);
        record = kh_latest_take(latest, place);
        right = right && holds(record, history, i, place);
        free(record);
    }
    record = kh_latest_take(latest, place);
    right = right && record == NULL && !kh_latest_has(latest, place);
    free(record);
    return right;
}

static void test_model(bool tombstones)
{
    bool right = true;

    srand(tombstones ? 1 : 2);
    for (int run = 0; run < RUNS && right; run++) {
        struct history histories[PLACES];
        kh_latest *latest = kh_latest_new();

        right = kh_latest_reserve(latest, 1) && kh_latest_reserve(latest, PLACES);
        for (int place = 0; place < PLACES; place++) {
            write_some(&histories[place], 1 + rand() % 40);
            right = right && keep_all(latest, place, &histories[place], tombstones);
        }
        for (int place = 0; place < PLACES; place++)
            right = right && is_what_survives(latest, place, &histories[place], tombstones);
        right = right && kh_latest_bytes(latest) == 0;
        kh_latest_free(latest);
    }
    tap_check(&tap, right,
              tombstones ? "the last message of each key survives, tombstones as well, in order"
                         : "the last message of each key survives, tombstones do not, in order");
}

static void test_drop(void)
{
    struct history history;
    kh_latest *latest = kh_latest_new();
    bool right = kh_latest_reserve(latest, PLACES);

    srand(3);
    do
        write_some(&history, 10);
    while (history.count < MESSAGES / 2);
    right = right && keep_all(latest, 0, &history, true) && keep_all(latest, 1, &history, true);
    free(kh_latest_take(latest, 0));
    kh_latest_drop(latest, 0);
    tap_check(&tap, right && !kh_latest_has(latest, 0) && kh_latest_has(latest, 1),
              "a partition is forgotten without the others, also when some of it was taken");
    right = keep_all(latest, 0, &history, false);
    tap_check(&tap, right && is_what_survives(latest, 0, &history, false), "and may be read again");
    kh_latest_free(latest);
}

static void test_bytes(void)
{
    char key[] = "key", value[200];
    rd_kafka_message_t message = {.key = key, .key_len = 3, .payload = value, .len = sizeof value};
    kh_latest *latest = kh_latest_new();
    int64_t one;

    memset(value, 'v', sizeof value);
    kh_latest_reserve(latest, 1);
    kh_latest_keep(latest, 0, &message, false);
    one = kh_latest_bytes(latest);
    for (message.offset = 1; message.offset < 100; message.offset++)
        kh_latest_keep(latest, 0, &message, false);
    tap_check(&tap, one > (int64_t)sizeof value && kh_latest_bytes(latest) == one,
              "a hundred messages of a key take what one takes");
    message.key = NULL;
    message.key_len = 0;
    kh_latest_keep(latest, 0, &message, false);
    tap_check(&tap, kh_latest_bytes(latest) > one + (int64_t)sizeof value,
              "one without a key takes its own");
    kh_latest_free(latest);
}

int main(void)
{
    test_model(false);
    test_model(true);
    test_drop();
    test_bytes();
    return tap_end(&tap);
}
