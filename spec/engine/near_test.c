/* Near names: what somebody may have meant. */
#include "near.h"
#include "tap.h"

#include <string.h>

static struct tap tap;

struct example {
    const char *sentence;
    const char *wanted;
    const char *const names[8];
    const char *expected; /* what is appended */
};

#define ASK(names) "; did you mean " names "?"

static const struct example examples[] = {
    {"a character too few is near", "oders", {"payments", "orders"}, ASK("\"orders\"")},
    {"a character too many is near", "orderss", {"orders"}, ASK("\"orders\"")},
    {"another character is near", "ordars", {"orders"}, ASK("\"orders\"")},
    {"two that changed places are one change", "otpic", {"topic"}, ASK("\"topic\"")},
    {"letters count alike in both cases", "TOPICS", {"topics"}, ASK("\"topics\"")},
    {"so do dots, dashes and underscores", "client.id", {"client_id"}, ASK("\"client_id\"")},
    {"a third of the name may be wrong", "abcdef", {"abcdxy"}, ASK("\"abcdxy\"")},
    {"more than that is another name", "abcde", {"abcxy"}, ""},
    {"two characters are near to nothing", "ab", {"ax", "a", "abc"}, ""},
    {"and neither is none", "", {"a", ""}, ""},
    {"the name itself is not what was meant instead", "orders", {"orders"}, ""},
    {"nothing is near where there are no names", "orders", {NULL}, ""},
    {"as near ones come by the alphabet",
     "orders-x",
     {"orders-c", "orders-a", "orders-b"},
     ASK("\"orders-a\", \"orders-b\" or \"orders-c\"")},
    {"three of them at most",
     "orders-x",
     {"orders-d", "orders-c", "orders-a", "orders-b"},
     ASK("\"orders-a\", \"orders-b\" or \"orders-c\"")},
    {"the nearest comes first, and one change further is kept",
     "abcdefghi",
     {"abcdefgxx", "abcdefghx"},
     ASK("\"abcdefghx\" or \"abcdefgxx\"")},
    {"what is further still is dropped when the nearer one comes",
     "fetch.min.byte",
     {"fetch.max.bytes", "fetch.min.bytes"},
     ASK("\"fetch.min.bytes\"")},
    {"and not taken when that was there",
     "fetch.min.byte",
     {"fetch.min.bytes", "fetch.max.bytes"},
     ASK("\"fetch.min.bytes\"")},
};

static void test_examples(void)
{
    for (size_t i = 0; i < sizeof examples / sizeof *examples; i++) {
        const struct example *example = &examples[i];
        kh_near near = kh_near_to(example->wanted);
        char text[256] = "no";
        bool right;

        for (int j = 0; j < 8 && example->names[j] != NULL; j++)
            kh_near_offer(&near, example->names[j]);
        kh_near_append(&near, text, sizeof text);
        right = strncmp(text, "no", 2) == 0 && strcmp(text + 2, example->expected) == 0;
        tap_check(&tap, right, example->sentence);
        if (!right)
            tap_note("%s: %s", example->wanted, text);
    }
}

/* Every room from none to enough: whole names or nothing. */
static void test_room(void)
{
    kh_near near = kh_near_to("orders-x");
    bool right = true;

    kh_near_offer(&near, "orders-a");
    kh_near_offer(&near, "orders-b");
    for (size_t size = 3; size <= 64; size++) {
        char text[64] = "no";

        kh_near_append(&near, text, size);
        right = right && strlen(text) < size &&
                (strcmp(text, "no") == 0 || strcmp(text, "no" ASK("\"orders-a\"")) == 0 ||
                 strcmp(text, "no" ASK("\"orders-a\" or \"orders-b\"")) == 0);
    }
    tap_check(&tap, right, "what does not fit is left out, name by name");
}

static void test_lengths(void)
{
    char longest[KH_NEAR_LENGTH_MAX + 1];
    char longer[KH_NEAR_LENGTH_MAX + 2];
    char other[KH_NEAR_LENGTH_MAX + 1];
    char text[1024] = "";
    kh_near near;

    memset(longest, 'x', sizeof longest - 1);
    longest[sizeof longest - 1] = '\0';
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    memcpy(other, longest, sizeof other);
    other[0] = 'y';
    near = kh_near_to(longest);
    kh_near_offer(&near, longer);
    tap_check(&tap, near.count == 0, "a name that is too long is near to nothing");
    kh_near_offer(&near, other);
    kh_near_append(&near, text, sizeof text);
    tap_check(&tap, near.count == 1 && strstr(text, other) != NULL, "the longest one may be");
    near = kh_near_to(longer);
    kh_near_offer(&near, longest);
    tap_check(&tap, near.count == 0, "nothing is near to a name that is too long");
}

int main(void)
{
    test_examples();
    test_room();
    test_lengths();
    return tap_end(&tap);
}
