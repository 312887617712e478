/*
 * kh_near: which names somebody may have meant who wrote one that there is not.
 *
 * Pure: names are offered one by one, the nearest are kept, and borrowed. Letters count alike in
 * both cases, and so do '.', '_' and '-'. Near is what takes at most one change (a character more,
 * less or another, or two that changed places) for each three characters of the name.
 */
#ifndef KH_NEAR_H
#define KH_NEAR_H

#include <stddef.h>

#pragma GCC visibility push(hidden)

enum { KH_NEAR_MAX = 3, KH_NEAR_LENGTH_MAX = 249 };

typedef struct kh_near {
    const char *wanted;
    const char *names[KH_NEAR_MAX]; /* the nearest first */
    int distances[KH_NEAR_MAX];
    int count;
} kh_near;

/* Nothing is near yet. What is longer than KH_NEAR_LENGTH_MAX is near to nothing. */
kh_near kh_near_to(const char *wanted);

/* Keeps the name if it is near, and not much further than the nearest. */
void kh_near_offer(kh_near *near, const char *name);

/* Appends `; did you mean "orders"?` to a text in a field of that size: the names that fit, nothing
 * where there are none. */
void kh_near_append(const kh_near *near, char *text, size_t size);

#pragma GCC visibility pop
#endif
