/* Functions with the names of librdkafka's and mimalloc's, which a host has for itself: the fast
 * build must call none of them. For spec/fast/inside_spec.lua, which preloads this. */
#include <stdlib.h>

#define STRANGER(name)                                                                             \
    void name(void);                                                                               \
    void name(void)                                                                                \
    {                                                                                              \
        abort();                                                                                   \
    }

STRANGER(rd_kafka_version)
STRANGER(rd_kafka_version_str)
STRANGER(rd_kafka_conf_new)
STRANGER(rd_kafka_new)
STRANGER(rd_kafka_destroy)
STRANGER(rd_kafka_consume_batch_queue)
STRANGER(rd_kafka_message_destroy)
STRANGER(rd_kafka_mem_free)
STRANGER(rd_kafka_ListOffsets)
STRANGER(rd_kafka_AdminOptions_set_isolation_level)
STRANGER(rd_kafka_DescribeTopics)
STRANGER(rd_kafka_TopicDescription_topic_id)
STRANGER(rd_kafka_Uuid_base64str)
STRANGER(mi_malloc)
STRANGER(mi_free)
STRANGER(__wrap_malloc)
STRANGER(__wrap_free)
