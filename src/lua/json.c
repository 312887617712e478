/*
 * What is put between the quotes of a JSON string: the command prints millions of them, and cjson,
 * which takes anything for UTF-8, would have to be asked after a second look at each.
 */
#include "binding.h"

#include <stdbool.h>
#include <string.h>

enum { SMALL = 1024 };

static bool is_plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

/* The letter behind the backslash; 0: it takes \u00XX. */
static char short_escape(unsigned char c)
{
    switch (c) {
    case '"':
    case '\\':
        return (char)c;
    case '\b':
        return 'b';
    case '\f':
        return 'f';
    case '\n':
        return 'n';
    case '\r':
        return 'r';
    case '\t':
        return 't';
    default:
        return 0;
    }
}

/* The length of the character of several bytes at the begin of what is left, as RFC 3629 allows it;
 * 0: it is none. */
static size_t utf8_length(const unsigned char *text, size_t left)
{
    unsigned char lead = text[0];
    size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
    unsigned char least = lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
    unsigned char most = lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;

    if (lead < 0xC2 || lead > 0xF4 || left < length || text[1] < least || text[1] > most)
        return 0;
    for (size_t i = 2; i < length; i++)
        if (text[i] < 0x80 || text[i] > 0xBF)
            return 0;
    return length;
}

/* By how much escapes make it longer; false: it is no UTF-8. */
static bool count_escapes(const unsigned char *text, size_t length, size_t *longer)
{
    *longer = 0;
    for (size_t i = 0; i < length;) {
        if (is_plain(text[i])) {
            i++;
        } else if (text[i] < 0x80) {
            *longer += short_escape(text[i]) != 0 ? 1 : 5;
            i++;
        } else {
            size_t bytes = utf8_length(text + i, length - i);

            if (bytes == 0)
                return false;
            i += bytes;
        }
    }
    return true;
}

static void write_escaped(char *out, const unsigned char *text, size_t length)
{
    static const char digits[] = "0123456789abcdef";

    for (size_t i = 0; i < length; i++) {
        unsigned char c = text[i];

        if (is_plain(c) || c >= 0x80) {
            *out++ = (char)c;
        } else if (short_escape(c) != 0) {
            *out++ = '\\';
            *out++ = short_escape(c);
        } else {
            memcpy(out, "\\u00", 4);
            out[4] = digits[c >> 4];
            out[5] = digits[c & 15];
            out += 6;
        }
    }
}

/* escape_json(text): the text as it stands between quotes; nil for nil, and for what is no UTF-8.
 */
static int escape_json(lua_State *L)
{
    char small[SMALL];
    char *out = small;
    size_t length = 0;
    size_t longer = 0;
    const char *text = lua_type(L, 1) == LUA_TSTRING ? lua_tolstring(L, 1, &length) : NULL;

    if (!text || !count_escapes((const unsigned char *)text, length, &longer)) {
        lua_pushnil(L);
        return 1;
    }
    lua_settop(L, 1);
    if (longer == 0)
        return 1;
    if (length + longer > SMALL)
        out = kh_new_block(L, length + longer);
    write_escaped(out, (const unsigned char *)text, length);
    lua_pushlstring(L, out, length + longer);
    return 1;
}

int kh_open_json(lua_State *L)
{
    lua_pushcfunction(L, escape_json);
    return 1;
}
