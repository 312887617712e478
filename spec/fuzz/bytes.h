/* Takes a fuzzer's bytes apart. What is asked for beyond the end is 0, or nothing. */
#ifndef BYTES_H
#define BYTES_H

#include <stddef.h>
#include <stdint.h>

struct bytes {
    const uint8_t *at;
    size_t left;
};

static inline uint8_t take_byte(struct bytes *bytes)
{
    if (bytes->left == 0)
        return 0;
    bytes->left--;
    return *bytes->at++;
}

static inline uint64_t take_number(struct bytes *bytes)
{
    uint64_t number = 0;

    for (int i = 0; i < 8; i++)
        number = number << 8 | take_byte(bytes);
    return number;
}

/* A length, in a byte, and that many bytes. */
static inline const char *take_bytes(struct bytes *bytes, size_t *length)
{
    const uint8_t *at;

    *length = take_byte(bytes);
    if (*length > bytes->left)
        *length = bytes->left;
    at = bytes->at;
    bytes->at += *length;
    bytes->left -= *length;
    return (const char *)at;
}

#endif
