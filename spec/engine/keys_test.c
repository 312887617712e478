/* Records by their keys: whole copies, the latest of each, in order; against a naive model. What
 * librdkafka tells of a message beside its fields is made up here. */
#include "headers.h"
#include "keys.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

#define KEYS 300
#define ROUNDS 200000

static struct tap tap;
static rd_kafka_headers_t *made_up_headers;

int64_t rd_kafka_message_timestamp(const rd_kafka_message_t *message,
                                   rd_kafka_timestamp_type_t *type)
{
    *type = RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME;
    return message->offset * 1000;
}

rd_kafka_resp_err_t rd_kafka_message_headers(const rd_kafka_message_t *message,
                                             rd_kafka_headers_t **headers)
{
    (void)message;
    *headers = made_up_headers;
    return *headers == NULL ? RD_KAFKA_RESP_ERR__NOENT : RD_KAFKA_RESP_ERR_NO_ERROR;
}

static rd_kafka_message_t message_of(char *key, size_t key_length, char *value, size_t length,
                                     int64_t offset)
{
    return (rd_kafka_message_t){
        .key = key, .key_len = key_length, .payload = value, .len = length, .offset = offset};
}

static bool holds(const char *bytes, uint32_t length, const char *expected)
{
    return length == strlen(expected) && memcmp(bytes, expected, length) == 0;
}

static void test_a_record(void)
{
    char key[] = "key", value[] = "value";
    rd_kafka_message_t message = message_of(key, 3, value, 5, 7);
    kh_record *record;
    kh_header header;
    const char *at;

    made_up_headers = rd_kafka_headers_new(2);
    rd_kafka_header_add(made_up_headers, "a", -1, "1", 1);
    rd_kafka_header_add(made_up_headers, "b", -1, NULL, 0);
    record = kh_record_new(&message, 3);
    memset(key, 0, 3);
    memset(value, 0, 5);
    rd_kafka_headers_destroy(made_up_headers);
    made_up_headers = NULL;
    tap_check(&tap,
              holds(kh_record_key(record), record->key_length, "key") && record->has_key &&
                  holds(kh_record_value(record), record->value_length, "value") &&
                  record->has_value && record->offset == 7 && record->timestamp == 7000 &&
                  record->timestamp_type == RD_KAFKA_TIMESTAMP_LOG_APPEND_TIME &&
                  record->place == 3,
              "a record is a copy of its message");
    at = kh_header_take(kh_record_headers(record), &header);
    tap_check(&tap,
              record->header_count == 2 && holds(header.name, (uint32_t)header.name_length, "a") &&
                  holds(header.value, (uint32_t)header.value_length, "1"),
              "with its headers");
    (void)kh_header_take(at, &header);
    tap_check(&tap,
              header.name[0] == 'b' && header.value_length == KH_HEADER_NULL &&
                  kh_header_value_length(&header) == 0,
              "of which null is not empty");
    free(record);
    message = message_of(NULL, 0, NULL, 0, 0);
    record = kh_record_new(&message, 0);
    tap_check(&tap, !record->has_key && !record->has_value && record->header_count == 0,
              "nor is it in a key or value");
    free(record);
}

static void test_an_empty_key(void)
{
    char nothing[] = "", value[] = "v";
    rd_kafka_message_t message = message_of(nothing, 0, value, 1, 1);
    rd_kafka_message_t none = message_of(NULL, 0, value, 1, 1);
    kh_keys keys = {0};

    kh_keys_put(&keys, &message, 0);
    for (int step = 0; step < KH_KEYS_STEPS; step++) {
        kh_keys_prefetch(&keys, &none, step);
        kh_keys_prefetch(&keys, NULL, step);
    }
    tap_check(&tap, kh_keys_find(&keys, "", 0) == keys.all && kh_keys_count(&keys) == 1,
              "an empty key is a key");
    kh_keys_clear(&keys);
    tap_check(&tap, kh_keys_count(&keys) == 0 && keys.bytes == 0, "nothing is left when cleared");
}

static void test_room(void)
{
    char key[] = "k", value[1000];
    rd_kafka_message_t message = message_of(key, 1, value, sizeof value, 0);
    kh_keys keys = {0};
    kh_record *large;
    int64_t bytes;

    memset(value, 'v', sizeof value);
    large = kh_keys_put(&keys, &message, 0);
    bytes = keys.bytes;
    message.len = 900;
    tap_check(&tap, kh_keys_put(&keys, &message, 0) == large && keys.bytes == bytes,
              "a value that fits is copied over the one before");
    message.len = 10;
    kh_keys_put(&keys, &message, 0);
    tap_check(&tap, keys.bytes < bytes - 800, "room that is far too much is given back");
    message.len = sizeof value;
    large = kh_keys_put(&keys, &message, 0);
    tap_check(&tap, keys.bytes == bytes && large->value_length == sizeof value,
              "and taken again where it is needed");
    kh_keys_clear(&keys);
}

/* --- against a model ---------------------------------------------------------------------------
 */

struct model {
    int64_t offsets[KEYS]; /* of the latest; -1: none */
    int64_t came[KEYS];    /* when the key did */
};

static int name_key(int number, char *key)
{
    return snprintf(key, 32, "key-%03d", number);
}

static bool is_right(const kh_keys *keys, const struct model *model)
{
    int64_t came = -1;
    size_t count = 0;

    for (const kh_record *record = keys->all; record != NULL; record = record->hh.next) {
        const char *digits = kh_record_key(record) + strlen("key-");
        int number = (digits[0] - '0') * 100 + (digits[1] - '0') * 10 + digits[2] - '0';

        if (model->offsets[number] != record->offset || model->came[number] <= came)
            return false;
        came = model->came[number];
        count++;
    }
    for (int number = 0; number < KEYS; number++) {
        char key[32];
        int length = name_key(number, key);

        if ((kh_keys_find(keys, key, (size_t)length) != NULL) != (model->offsets[number] >= 0))
            return false;
        count -= model->offsets[number] >= 0;
    }
    return count == 0;
}

static void test_model(void)
{
    struct model model;
    kh_keys keys = {0};
    bool right = true;

    for (int i = 0; i < KEYS; i++)
        model.offsets[i] = model.came[i] = -1;
    srand(1);
    for (int64_t round = 0; round < ROUNDS && right; round++) {
        char key[32], value[64];
        int number = rand() % KEYS;
        size_t length = (size_t)name_key(number, key);
        rd_kafka_message_t message =
            message_of(key, length, value, (size_t)(rand() % (int)sizeof value), round);

        memset(value, (char)number, sizeof value);
        for (int step = 0; step < KH_KEYS_STEPS; step++)
            kh_keys_prefetch(&keys, &message, step);
        if (rand() % 4 == 0) {
            kh_record *record = kh_keys_find(&keys, key, length);

            if (record != NULL)
                kh_keys_remove(&keys, record);
            model.offsets[number] = -1;
        } else {
            right = kh_keys_put(&keys, &message, number) != NULL;
            if (model.offsets[number] < 0)
                model.came[number] = round;
            model.offsets[number] = round;
        }
        if (round % 1000 == 0)
            right = right && is_right(&keys, &model);
    }
    tap_check(&tap, right && is_right(&keys, &model),
              "each key has its latest message, in the order in which they came");
    kh_keys_clear(&keys);
}

int main(void)
{
    test_a_record();
    test_an_empty_key();
    test_room();
    test_model();
    return tap_end(&tap);
}
