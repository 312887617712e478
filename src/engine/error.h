/*
 * kh_error: what went wrong, for a program (name) and for a person (text).
 *
 * An error is filled in once, where it happens, and only passed on after that. It is a plain value:
 * the caller owns it, nothing needs to be freed, any thread may fill in its own.
 *
 * name: librdkafka's name of the error ("_TRANSPORT", "TOPIC_AUTHORIZATION_FAILED") or one of this
 *       engine's ("CONFIG", "TRUNCATED", ...).
 * text: what happened, where, and what to do about it; without the name.
 */
#ifndef KH_ERROR_H
#define KH_ERROR_H

#include <librdkafka/rdkafka.h>

#pragma GCC visibility push(hidden)

typedef struct kh_error {
    char name[64];
    char text[1024];
} kh_error;

/* Fills in an error of this engine's own. A text too long for the field is cut. */
void kh_error_set(kh_error *error, const char *name, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Fills in an error that librdkafka gave, with its name for it; the text is the caller's. */
void kh_error_set_kafka(kh_error *error, rd_kafka_resp_err_t code, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Fills in an error of the operating system (name "SYSTEM") from an errno value: "what: reason". */
void kh_error_set_errno(kh_error *error, int number, const char *what);

#pragma GCC visibility pop
#endif
