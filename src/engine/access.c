#include "access.h"
#include "library.h"

#include <string.h>

static bool is_access_error(rd_kafka_resp_err_t code)
{
    return code == RD_KAFKA_RESP_ERR__AUTHENTICATION || code == RD_KAFKA_RESP_ERR__SSL ||
           code == RD_KAFKA_RESP_ERR_SASL_AUTHENTICATION_FAILED ||
           code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED;
}

/* TLS 1.3 refuses a client's certificate after the handshake: librdkafka sees a lost connection. */
static bool is_certificate_refused(rd_kafka_resp_err_t code, const char *reason)
{
    const char *alert = strstr(reason, " alert ");

    return (code == RD_KAFKA_RESP_ERR__TRANSPORT || code == RD_KAFKA_RESP_ERR__SSL) &&
           alert != NULL &&
           (strstr(alert, "certificate") != NULL || strstr(alert, "unknown ca") != NULL);
}

bool kh_access_is_refused(rd_kafka_resp_err_t *code, const char *reason)
{
    bool certificate = is_certificate_refused(*code, reason);

    if (certificate)
        *code = RD_KAFKA_RESP_ERR__SSL;
    return certificate || is_access_error(*code);
}

const char *kh_access_advise(rd_kafka_resp_err_t code, const char *reason)
{
    if (is_certificate_refused(code, reason))
        return "; the broker refuses the client's certificate: check the properties "
               "ssl.certificate.* and ssl.key.*";
    if (code == RD_KAFKA_RESP_ERR__SSL)
        return "; check ssl.ca.location or ssl.ca.pem, that the broker's certificate has not "
               "expired and names its address, and that this port speaks TLS";
    if (code == RD_KAFKA_RESP_ERR_CLUSTER_AUTHORIZATION_FAILED)
        return "; the client's user may not use this cluster";
    if (strstr(reason, "mechanism SCRAM") != NULL && !kh_library_scram_is_exact())
        return "; check sasl.mechanism, sasl.username and sasl.password. This librdkafka is older "
               "than 2.6.1: it cannot log in with SCRAM at Kafka 4 or newer at all";
    return "; check sasl.mechanism, sasl.username and sasl.password";
}
