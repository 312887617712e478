/* Contacts: what came back from which address, out of librdkafka's words. */
#include "contacts.h"
#include "tap.h"

#include <stdio.h>
#include <string.h>

static struct tap tap;

struct example {
    const char *sentence;
    const char *addresses;
    const char *const words[4];
    const char *expected; /* what is appended */
};

static const struct example examples[] = {
    {"an address of which nothing was heard is told",
     "k1:9092",
     {NULL},
     "; tried k1:9092 (nothing came back)"},
    {"one that refuses is told with what it takes to see that",
     "k1:9092",
     {"k1:9092/bootstrap: Connect to ipv4#1.2.3.4:9092 failed: Connection refused (after 0ms in "
      "state CONNECT, 1 identical error(s) suppressed)"},
     "; tried k1:9092 (Connect to ipv4#1.2.3.4:9092 failed: Connection refused)"},
    {"another state than connecting is told as well",
     "k1:9092",
     {"k1:9092/bootstrap: Disconnected (after 3ms in state APIVERSION_QUERY)"},
     "; tried k1:9092 (Disconnected (after 3ms in state APIVERSION_QUERY))"},
    {"the last word counts",
     "k1:9092",
     {"k1:9092/bootstrap: a", "k1:9092/1: b"},
     "; tried k1:9092 (b)"},
    {"each address has its own, in their order",
     "k1:9092, k2:9092,k3:9092",
     {"k3:9092/bootstrap: c", "k1:9092/bootstrap: a"},
     "; tried k1:9092 (a), k2:9092 (nothing came back), k3:9092 (c)"},
    {"a port that was left out, and a protocol, are no other address",
     "ssl://k1,[::1]:3",
     {"ssl://k1:9092/bootstrap: a", "sasl_ssl://[::1]:3/bootstrap: b"},
     "; tried k1:9092 (a), [::1]:3 (b)"},
    {"a name that another one begins with is another",
     "k1",
     {"k11:9092/bootstrap: a"},
     "; tried k1 (nothing came back), k11:9092, which a broker named (a)"},
    {"what a broker has named is told as that",
     "k1:9092",
     {"inner:29092/7: Failed to resolve"},
     "; tried k1:9092 (nothing came back), inner:29092, which a broker named (Failed to resolve)"},
    {"so is what is said of a coordinator",
     "k1:9092",
     {"GroupCoordinator: inner:29092: refused", "GroupCoordinator: ssl://[::1]:3: gone"},
     "; tried k1:9092 (nothing came back), inner:29092, which a broker named (refused), [::1]:3, "
     "which a broker named (gone)"},
    {"what is about no address is not told",
     "k1:9092",
     {"1/1 brokers are down", "GroupCoordinator: a b", "Application a/b: c", "/bootstrap: d"},
     "; tried k1:9092 (nothing came back)"},
    {"of no addresses nothing is told", "", {NULL}, ""},
};

static void test_examples(void)
{
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        const struct example *example = &examples[i];
        kh_contacts contacts = {.count = 0};
        char text[1024] = "no";
        bool right;

        for (int j = 0; j < 4 && example->words[j] != NULL; j++)
            kh_contacts_note(&contacts, example->words[j]);
        kh_contacts_append(&contacts, example->addresses, text, sizeof text);
        right = strncmp(text, "no", 2) == 0 && strcmp(text + 2, example->expected) == 0;
        tap_check(&tap, right, example->sentence);
        if (!right)
            tap_note("%s", text);
    }
}

static void test_named(void)
{
    kh_contacts contacts = {.count = 0};
    char text[256] = "no";

    kh_contacts_note(&contacts, "k1:9092/1: gone");
    kh_contacts_append_named(&contacts, "k2:9092,k1", text, sizeof text);
    tap_check(&tap, strcmp(text, "no") == 0, "a configured address was named by nobody");
    kh_contacts_note(&contacts, "inner:9092/2: gone");
    kh_contacts_append_named(&contacts, "k2:9092,k1", text, sizeof text);
    tap_check(&tap, strcmp(text, "no; tried inner:9092, which a broker named (gone)") == 0,
              "those that were named are told alone");
}

/* More addresses than are kept, words that are longer than is kept, and every room for the text. */
static void test_limits(void)
{
    kh_contacts contacts = {.count = 0};
    char long_words[1000];
    char text[8192] = "";
    bool right = true;

    for (int i = 0; i < 2 * KH_CONTACTS_MAX; i++) {
        char words[64];

        snprintf(words, sizeof words, "k%d:9092/bootstrap: gone", i);
        kh_contacts_note(&contacts, words);
    }
    kh_contacts_append(&contacts, "k0:9092,k31:9092", text, sizeof text);
    tap_check(&tap,
              contacts.count == KH_CONTACTS_MAX && strstr(text, "k0:9092 (gone)") != NULL &&
                  strstr(text, "k31") == NULL,
              "of more addresses than are kept nothing is said that may be wrong");
    memset(long_words, 'x', sizeof long_words - 1);
    long_words[sizeof long_words - 1] = '\0';
    memcpy(long_words, "k0:9092/bootstrap: ", strlen("k0:9092/bootstrap: "));
    kh_contacts_note(&contacts, long_words);
    memset(long_words, 'x', strlen("k0:9092/bootstrap: "));
    memcpy(long_words + 300, "/bootstrap: ", strlen("/bootstrap: "));
    kh_contacts_note(&contacts, long_words);
    for (size_t size = 1; size < 512; size++) {
        text[0] = '\0';
        kh_contacts_append(&contacts, long_words, text, size);
        right = right && strlen(text) < size;
    }
    tap_check(&tap, right, "what does not fit is cut");
}

int main(void)
{
    test_examples();
    test_named();
    test_limits();
    return tap_end(&tap);
}
