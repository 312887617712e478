/*
 * preload_once: named behind a sanitizer's runtime in LD_PRELOAD, it keeps the programs that the
 * process starts from being loaded with that runtime too.
 */
#include <stdlib.h>

__attribute__((constructor)) static void forget_preload(void)
{
    unsetenv("LD_PRELOAD");
}
