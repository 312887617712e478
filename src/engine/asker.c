#include "asker.h"

rd_kafka_t *kh_asker_open_handle(const kh_asker *asker, kh_error *error, bool *refused)
{
    char reason[512];
    rd_kafka_conf_t *conf = kh_config_make_conf(asker->config, KH_HANDLE_QUESTION, error);
    rd_kafka_t *rk;

    if (conf == NULL)
        return NULL;
    rk = rd_kafka_new(RD_KAFKA_CONSUMER, conf, reason, sizeof reason);
    if (rk != NULL)
        return rk;
    rd_kafka_conf_destroy(conf);
    kh_error_set_kafka(error, rd_kafka_last_error(), "cannot open a handle to ask with: %s",
                       reason);
    if (refused != NULL)
        *refused = rd_kafka_last_error() == RD_KAFKA_RESP_ERR__INVALID_ARG;
    return NULL;
}
