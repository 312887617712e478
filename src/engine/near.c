#include "near.h"

#include <assert.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

kh_near kh_near_to(const char *wanted)
{
    return (kh_near){.wanted = wanted};
}

/* --- distance --------------------------------------------------------------------------------- */

static char fold(char letter)
{
    if (letter >= 'A' && letter <= 'Z')
        return (char)(letter - 'A' + 'a');
    return (char)(letter == '_' || letter == '-' ? '.' : letter);
}

static int least(int a, int b, int c)
{
    int less = a < b ? a : b;

    return less < c ? less : c;
}

/* How many changes make one name of the other. Row i has the distances of a's first i characters
 * to each beginning of b; two rows back stands where two characters have changed places. */
static int measure(const char *a, int a_length, const char *b, int b_length)
{
    int rows[3][KH_NEAR_LENGTH_MAX + 1];

    for (int j = 0; j <= b_length; j++)
        rows[0][j] = j;
    for (int i = 1; i <= a_length; i++) {
        int *row = rows[i % 3];
        const int *above = rows[(i + 2) % 3];
        const int *two_above = rows[(i + 1) % 3];

        row[0] = i;
        for (int j = 1; j <= b_length; j++) {
            int other = fold(a[i - 1]) != fold(b[j - 1]);

            row[j] = least(above[j] + 1, row[j - 1] + 1, above[j - 1] + other);
            if (i > 1 && j > 1 && fold(a[i - 1]) == fold(b[j - 2]) &&
                fold(a[i - 2]) == fold(b[j - 1]))
                row[j] = least(row[j], row[j], two_above[j - 2] + 1);
        }
    }
    return rows[a_length % 3][b_length];
}

/* --- the nearest ------------------------------------------------------------------------------ */

/* Nearer, or as near and earlier in the alphabet: the order of offers changes nothing. */
static bool comes_before(int distance, const char *name, int other_distance, const char *other)
{
    return distance != other_distance ? distance < other_distance : strcmp(name, other) < 0;
}

/* What is more than one change further than the nearest was hardly meant. */
static void drop_far(kh_near *near)
{
    while (near->distances[near->count - 1] > near->distances[0] + 1)
        near->count--;
}

static void keep(kh_near *near, const char *name, int distance)
{
    int at = near->count;

    while (at > 0 && comes_before(distance, name, near->distances[at - 1], near->names[at - 1]))
        at--;
    if (at == KH_NEAR_MAX)
        return;
    if (near->count < KH_NEAR_MAX)
        near->count++;
    for (int i = near->count - 1; i > at; i--) {
        near->names[i] = near->names[i - 1];
        near->distances[i] = near->distances[i - 1];
    }
    near->names[at] = name;
    near->distances[at] = distance;
    drop_far(near);
}

void kh_near_offer(kh_near *near, const char *name)
{
    size_t wanted_length = strlen(near->wanted);
    size_t length = strlen(name);
    int limit = (int)(wanted_length / 3);
    int distance;

    if (wanted_length > KH_NEAR_LENGTH_MAX || length > KH_NEAR_LENGTH_MAX ||
        strcmp(near->wanted, name) == 0)
        return;
    if (length > wanted_length + (size_t)limit || wanted_length > length + (size_t)limit)
        return;
    distance = measure(near->wanted, (int)wanted_length, name, (int)length);
    if (distance <= limit)
        keep(near, name, distance);
}

/* --- in words --------------------------------------------------------------------------------- */

void kh_near_append(const kh_near *near, char *text, size_t size)
{
    static const char opening[] = "; did you mean ";
    char words[KH_NEAR_MAX * (KH_NEAR_LENGTH_MAX + 8) + sizeof opening];
    size_t room = size - strlen(text);
    int fitting = 0;
    size_t needs = sizeof opening + 1; /* with the question mark, and the NUL */

    assert(strlen(text) < size);
    for (; fitting < near->count; fitting++) {
        needs += strlen(near->names[fitting]) + sizeof "\"\" or " - 1;
        if (needs > room)
            break;
    }
    if (fitting == 0)
        return;
    snprintf(words, sizeof words, "%s", opening);
    for (int i = 0; i < fitting; i++) {
        const char *between = i == 0 ? "" : i < fitting - 1 ? ", " : " or ";
        size_t length = strlen(words);

        snprintf(words + length, sizeof words - length, "%s\"%s\"", between, near->names[i]);
    }
    snprintf(text + strlen(text), room, "%s?", words);
}
