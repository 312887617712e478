#include "places.h"

#include <stdlib.h>
#include <string.h>

bool kh_places_init(kh_places *places, const char *const *topics, size_t topic_count)
{
    *places = (kh_places){.topics = calloc(topic_count, sizeof *places->topics)};
    if (places->topics == NULL)
        return false;
    places->topic_count = (int)topic_count;
    for (size_t i = 0; i < topic_count; i++)
        places->topics[i].name = topics[i];
    return true;
}

void kh_places_clear(kh_places *places)
{
    for (int i = 0; i < places->topic_count; i++)
        free(places->topics[i].places);
    free(places->topics);
    free(places->all);
    *places = (kh_places){.topics = NULL};
}

static bool grow(kh_places *places, kh_topic *topic, int32_t partition_count)
{
    size_t room = (size_t)(places->count + partition_count - topic->place_count);
    int *numbers = realloc(topic->places, (size_t)partition_count * sizeof *numbers);
    kh_place *all;

    if (numbers == NULL)
        return false;
    topic->places = numbers;
    all = realloc(places->all, room * sizeof *all);
    if (all == NULL)
        return false;
    places->all = all;
    return true;
}

bool kh_places_add(kh_places *places, int topic_number, int32_t partition_count)
{
    kh_topic *topic = &places->topics[topic_number];

    if (partition_count <= topic->place_count)
        return true;
    if (!grow(places, topic, partition_count))
        return false;
    while (topic->place_count < partition_count) {
        places->all[places->count] = (kh_place){.topic = topic_number,
                                                .partition = topic->place_count,
                                                .eof = -1,
                                                .refused_by = -1,
                                                .committed = -1};
        topic->places[topic->place_count++] = places->count++;
    }
    return true;
}

int kh_places_at(const kh_places *places, int topic, int32_t partition)
{
    if (partition < 0 || partition >= places->topics[topic].place_count)
        return -1;
    return places->topics[topic].places[partition];
}

static int find(kh_places *places, const rd_kafka_message_t *message)
{
    int topic;

    for (int i = 0; i < places->topic_count; i++)
        if (places->topics[i].rkt == message->rkt)
            return kh_places_at(places, i, message->partition);
    topic = kh_places_topic_named(places, rd_kafka_topic_name(message->rkt));
    if (topic < 0)
        return -1;
    places->topics[topic].rkt = message->rkt;
    return kh_places_at(places, topic, message->partition);
}

int kh_places_of(kh_places *places, const rd_kafka_message_t *message)
{
    if (message->rkt != places->last_rkt || message->partition != places->last_partition) {
        places->last_rkt = message->rkt;
        places->last_partition = message->partition;
        places->last = find(places, message);
    }
    return places->last;
}

int kh_places_topic_named(const kh_places *places, const char *topic)
{
    for (int i = 0; i < places->topic_count; i++)
        if (strcmp(places->topics[i].name, topic) == 0)
            return i;
    return -1;
}

int kh_places_named(const kh_places *places, const char *topic, int32_t partition)
{
    int number = kh_places_topic_named(places, topic);

    return number < 0 ? -1 : kh_places_at(places, number, partition);
}

int64_t kh_place_position(const kh_place *place, int64_t handled, int64_t taken)
{
    return place->eof > handled && taken <= handled ? place->eof : handled;
}

const char *kh_places_topic(const kh_places *places, int number)
{
    return places->topics[places->all[number].topic].name;
}

rd_kafka_topic_partition_list_t *kh_places_list(const kh_places *places, int first, int count)
{
    rd_kafka_topic_partition_list_t *list = rd_kafka_topic_partition_list_new(count);

    for (int i = first; i < first + count; i++)
        rd_kafka_topic_partition_list_add(list, kh_places_topic(places, i),
                                          places->all[i].partition)
            ->offset = places->all[i].next;
    return list;
}
