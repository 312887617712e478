/*
 * kh_contacts: which addresses were tried, and what came back from each, as far as librdkafka's
 * errors tell.
 *
 * Its errors of a broker begin with the broker: "k1:9092/bootstrap: ..." for a configured address,
 * "k1:9092/7: ..." for one that a broker has named (what brokers call advertised.listeners), and
 * "GroupCoordinator: k1:9092: ..." for one of those. Pure, and bounded: what is said of more than
 * KH_CONTACTS_MAX addresses is not kept. One thread.
 */
#ifndef KH_CONTACTS_H
#define KH_CONTACTS_H

#include <stdbool.h>
#include <stddef.h>

#pragma GCC visibility push(hidden)

enum { KH_CONTACTS_MAX = 16 };

typedef struct kh_contact {
    char address[128];
    char words[192]; /* the last ones */
} kh_contact;

/* All zero: nothing was heard. */
typedef struct kh_contacts {
    kh_contact all[KH_CONTACTS_MAX];
    int count;
    bool is_full; /* some were not kept */
} kh_contacts;

/* Takes an error in librdkafka's words; one that is about no address changes nothing. */
void kh_contacts_note(kh_contacts *contacts, const char *words);

/* Appends "; tried k1:9092 (Connection refused), k2:9092 (nothing came back)" to the text in a
 * field of that size, for these addresses, host:port,host:port, and for those that brokers named.
 * What does not fit is cut. */
void kh_contacts_append(const kh_contacts *contacts, const char *addresses, char *text,
                        size_t size);

/* The same for those that brokers named alone, if there are any. */
void kh_contacts_append_named(const kh_contacts *contacts, const char *addresses, char *text,
                              size_t size);

#pragma GCC visibility pop
#endif
