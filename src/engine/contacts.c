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

/* Behind "bootstrap: " or a broker's number and ": "; NULL: it is neither. */
static const char *skip_name(const char *text)
{
    size_t length = strspn(text, "0123456789");

    if (strncmp(text, "bootstrap", strlen("bootstrap")) == 0)
        length = strlen("bootstrap");
    return length > 0 && strncmp(text + length, ": ", 2) == 0 ? text + length + 2 : NULL;
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
    const char *address = words + measure_protocol(words, strcspn(words, " "));
    const char *slash = strchr(address, '/');
    const char *said;
    kh_contact *contact;
    int length;

    if (slash == NULL || slash == address || slash - address >= (int)sizeof contact->address ||
        strcspn(address, " ") < (size_t)(slash - address))
        return;
    said = skip_name(slash + 1);
    if (said == NULL)
        return;
    length = (int)(slash - address);
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

bool kh_contacts_have_others(const kh_contacts *contacts, const char *addresses)
{
    bool marks[KH_CONTACTS_MAX] = {false};

    mark_configured(contacts, addresses, marks);
    for (int i = 0; i < contacts->count; i++)
        if (!marks[i])
            return true;
    return false;
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

void kh_contacts_append(const kh_contacts *contacts, const char *addresses, char *text, size_t size)
{
    bool marks[KH_CONTACTS_MAX] = {false};
    const char *opening = "; tried ";

    mark_configured(contacts, addresses, marks);
    append_configured(contacts, addresses, text, size, &opening);
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
