#include "contacts.h"

#include <stdio.h>
#include <string.h>

/* --- what librdkafka says --------------------------------------------------------------------- */

/* Of "ssl://" at the beginning of an address of that length; 0: there is none. */
static size_t measure_protocol(const char *address, size_t length)
{
    for (size_t i = 0; i + 3 <= length; i++)
        if (strncmp(address + i, "://", 3) == 0)
            return i + 3;
    return 0;
}

/* The length of the address at the beginning of the words; what is said of it stands behind
 * "/bootstrap: ", or the broker's number and ": ". 0: it is no address. */
static int measure_address(const char *words, const char **said)
{
    size_t length = strcspn(words, "/ ");
    const char *name = words + length + 1;
    size_t name_length;

    if (words[length] != '/' || length == 0)
        return 0;
    name_length = strncmp(name, "bootstrap", strlen("bootstrap")) == 0 ? strlen("bootstrap")
                                                                       : strspn(name, "0123456789");
    *said = name + name_length + 2;
    return name_length > 0 && strncmp(name + name_length, ": ", 2) == 0 ? (int)length : 0;
}

/* The same where it ends with ": ", as in what is said of a coordinator. */
static int measure_coordinator(const char *words, const char **said)
{
    size_t length = strcspn(words, " ");

    if (length < 2 || words[length - 1] != ':' || words[length] != ' ')
        return 0;
    *said = words + length + 1;
    return (int)length - 1;
}

static kh_contact *find(kh_contacts *contacts, const char *address, int length)
{
    for (int i = 0; i < contacts->count; i++)
        if (strlen(contacts->all[i].address) == (size_t)length &&
            strncmp(contacts->all[i].address, address, (size_t)length) == 0)
            return &contacts->all[i];
    return NULL;
}

/* "(after 0ms in state CONNECT)" tells people nothing; that of another state does. */
static size_t measure(const char *words)
{
    const char *after = strstr(words, " (after ");

    return after != NULL && strstr(after, " in state CONNECT") != NULL ? (size_t)(after - words)
                                                                       : strlen(words);
}

void kh_contacts_note(kh_contacts *contacts, const char *words)
{
    static const char coordinator[] = "GroupCoordinator: ";
    bool is_coordinator = strncmp(words, coordinator, sizeof coordinator - 1) == 0;
    const char *address = is_coordinator ? words + sizeof coordinator - 1 : words;
    const char *said = NULL;
    kh_contact *contact;
    int length;

    address += measure_protocol(address, strcspn(address, " "));
    length = is_coordinator ? measure_coordinator(address, &said) : measure_address(address, &said);
    if (length == 0 || length >= (int)sizeof contact->address)
        return;
    contact = find(contacts, address, length);
    if (contact == NULL && contacts->count == KH_CONTACTS_MAX) {
        contacts->is_full = true;
        return;
    }
    if (contact == NULL) {
        contact = &contacts->all[contacts->count++];
        snprintf(contact->address, sizeof contact->address, "%.*s", length, address);
    }
    snprintf(contact->words, sizeof contact->words, "%.*s", (int)measure(said), said);
}

/* --- for people ------------------------------------------------------------------------------- */

static const char first_opening[] = "; tried ";

/* The contact's number; -1: nothing is known. librdkafka adds the port where there is none. */
static int find_configured(const kh_contacts *contacts, const char *address, size_t length)
{
    for (int i = 0; i < contacts->count; i++) {
        const char *known = contacts->all[i].address;

        if (strncmp(known, address, length) == 0 &&
            (known[length] == '\0' || strcmp(known + length, ":9092") == 0))
            return i;
    }
    return -1;
}

/* The next of the addresses from *next on, without its protocol; NULL: there is none. */
static const char *take_address(const char **next, size_t *length)
{
    const char *address = *next + strspn(*next, " ,");
    size_t whole = strcspn(address, " ,");
    size_t protocol = measure_protocol(address, whole);

    *next = address + whole;
    *length = whole - protocol;
    return whole > 0 ? address + protocol : NULL;
}

static void mark_configured(const kh_contacts *contacts, const char *addresses,
                            bool marks[KH_CONTACTS_MAX])
{
    const char *address;
    size_t length;

    while ((address = take_address(&addresses, &length)) != NULL) {
        int known = find_configured(contacts, address, length);

        if (known >= 0)
            marks[known] = true;
    }
}

static void append(char *text, size_t size, const char *words)
{
    size_t at = strlen(text);

    snprintf(text + at, size - at, "%s", words);
}

static void append_configured(const kh_contacts *contacts, const char *addresses, char *text,
                              size_t size, const char **opening)
{
    const char *address;
    size_t length;

    while ((address = take_address(&addresses, &length)) != NULL) {
        int known = find_configured(contacts, address, length);
        char told[384];

        if (known >= 0)
            snprintf(told, sizeof told, "%s%s (%s)", *opening, contacts->all[known].address,
                     contacts->all[known].words);
        else if (!contacts->is_full)
            snprintf(told, sizeof told, "%s%.*s (nothing came back)", *opening,
                     (int)(length < 128 ? length : 128), address);
        else
            continue;
        append(text, size, told);
        *opening = ", ";
    }
}

static void append_named(const kh_contacts *contacts, const char *addresses, char *text,
                         size_t size, const char *opening)
{
    bool marks[KH_CONTACTS_MAX] = {false};

    mark_configured(contacts, addresses, marks);
    for (int i = 0; i < contacts->count; i++) {
        char told[384];

        if (marks[i])
            continue;
        snprintf(told, sizeof told, "%s%s, which a broker named (%s)", opening,
                 contacts->all[i].address, contacts->all[i].words);
        append(text, size, told);
        opening = ", ";
    }
}

void kh_contacts_append(const kh_contacts *contacts, const char *addresses, char *text, size_t size)
{
    const char *opening = first_opening;

    append_configured(contacts, addresses, text, size, &opening);
    append_named(contacts, addresses, text, size, opening);
}

void kh_contacts_append_named(const kh_contacts *contacts, const char *addresses, char *text,
                              size_t size)
{
    append_named(contacts, addresses, text, size, first_opening);
}
