/*
 * tap: prints a test's results in the Test Anything Protocol, so that prove(1) can run it.
 * A test's name is the sentence that it proves.
 */
#ifndef TAP_H
#define TAP_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

struct tap {
    int count;
    int failures;
};

static inline void tap_check(struct tap *tap, bool passed, const char *sentence)
{
    tap->count++;
    tap->failures += passed ? 0 : 1;
    printf("%sok %d - %s\n", passed ? "" : "not ", tap->count, sentence);
    fflush(stdout);
}

__attribute__((format(printf, 1, 2))) static inline void tap_note(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    fputs("# ", stdout);
    vprintf(format, arguments);
    fputc('\n', stdout);
    va_end(arguments);
}

/* The plan, and the exit status. */
static inline int tap_end(const struct tap *tap)
{
    printf("1..%d\n", tap->count);
    return tap->failures == 0 ? 0 : 1;
}

#endif
