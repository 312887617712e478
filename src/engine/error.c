#include "error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void fill(kh_error *error, const char *name, const char *format, va_list arguments)
{
    snprintf(error->name, sizeof error->name, "%s", name);
    vsnprintf(error->text, sizeof error->text, format, arguments);
}

void kh_error_set(kh_error *error, const char *name, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fill(error, name, format, arguments);
    va_end(arguments);
}

void kh_error_set_kafka(kh_error *error, rd_kafka_resp_err_t code, const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fill(error, rd_kafka_err2name(code), format, arguments);
    va_end(arguments);
}

void kh_error_set_errno(kh_error *error, int number, const char *what)
{
    kh_error_set(error, "SYSTEM", "%s: %s", what, strerror(number));
}
