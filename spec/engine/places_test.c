/* Places: numbers in the order of being added, found by partition and by message. */
#include "places.h"
#include "tap.h"

#include <string.h>

static struct tap tap;
static const char *const topics[] = {"a", "b"};

static void test_numbers(void)
{
    kh_places places;

    tap_check(&tap, kh_places_init(&places, topics, 2) && places.count == 0, "none at first");
    tap_check(&tap,
              kh_places_add(&places, 1, 2) && kh_places_add(&places, 0, 1) && places.count == 3,
              "partitions are added by topic");
    tap_check(&tap,
              kh_places_add(&places, 1, 3) && kh_places_add(&places, 1, 2) && places.count == 4,
              "a topic may grow, and never shrinks");
    tap_check(&tap,
              kh_places_at(&places, 1, 0) == 0 && kh_places_at(&places, 1, 1) == 1 &&
                  kh_places_at(&places, 0, 0) == 2 && kh_places_at(&places, 1, 2) == 3,
              "numbers count up in the order of being added");
    tap_check(&tap,
              kh_places_at(&places, 0, 1) == -1 && kh_places_at(&places, 1, -1) == -1 &&
                  kh_places_at(&places, 1, INT32_MAX) == -1,
              "what was not added has none");
    tap_check(&tap,
              strcmp(kh_places_topic(&places, 2), "a") == 0 &&
                  strcmp(kh_places_topic(&places, 3), "b") == 0,
              "a number knows its topic");
    kh_places_clear(&places);
    tap_check(&tap, places.count == 0, "and none at the end");
    kh_places_clear(&places);
}

static void test_list(void)
{
    kh_places places;
    rd_kafka_topic_partition_list_t *list;

    kh_places_init(&places, topics, 2);
    kh_places_add(&places, 0, 1);
    kh_places_add(&places, 1, 2);
    places.all[2].next = 42;
    list = kh_places_list(&places, 1, 2);
    tap_check(&tap,
              list->cnt == 2 && strcmp(list->elems[0].topic, "b") == 0 &&
                  list->elems[0].partition == 0 && list->elems[1].partition == 1 &&
                  list->elems[1].offset == 42,
              "a list has those from a number on, with where they are to be read");
    rd_kafka_topic_partition_list_destroy(list);
    kh_places_clear(&places);
}

/* A handle that never connects knows topics by name all the same. */
static void test_messages(void)
{
    rd_kafka_conf_t *conf = rd_kafka_conf_new();
    rd_kafka_conf_res_t quiet = rd_kafka_conf_set(conf, "log_level", "0", NULL, 0);
    rd_kafka_t *rk = rd_kafka_new(RD_KAFKA_PRODUCER, conf, NULL, 0);
    rd_kafka_topic_t *a = rd_kafka_topic_new(rk, "a", NULL);
    rd_kafka_topic_t *b = rd_kafka_topic_new(rk, "b", NULL);
    rd_kafka_topic_t *c = rd_kafka_topic_new(rk, "c", NULL);
    rd_kafka_message_t message = {.rkt = b, .partition = 1};
    kh_places places;
    bool found = quiet == RD_KAFKA_CONF_OK;

    kh_places_init(&places, topics, 2);
    kh_places_add(&places, 0, 1);
    kh_places_add(&places, 1, 2);
    found = found && kh_places_of(&places, &message) == 2 && kh_places_of(&places, &message) == 2;
    message.partition = 0;
    found = found && kh_places_of(&places, &message) == 1;
    message.rkt = a;
    found = found && kh_places_of(&places, &message) == 0;
    message.rkt = b;
    tap_check(&tap, found && kh_places_of(&places, &message) == 1,
              "a message has the number of its partition, whatever came before it");
    message.partition = 2;
    found = kh_places_of(&places, &message) == -1;
    message.rkt = c;
    tap_check(&tap, found && kh_places_of(&places, &message) == -1,
              "one of a partition or a topic that is not read has none");
    kh_places_clear(&places);
    rd_kafka_topic_destroy(a);
    rd_kafka_topic_destroy(b);
    rd_kafka_topic_destroy(c);
    rd_kafka_destroy(rk);
}

int main(void)
{
    test_numbers();
    test_list();
    test_messages();
    return tap_end(&tap);
}
