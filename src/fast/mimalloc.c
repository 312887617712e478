/*
 * The allocator of the fast build: mimalloc, and what the linker's --wrap puts in the place of the
 * C library's functions in everything that is linked with this, which is librdkafka and the engine.
 *
 * Nothing of it is seen from outside, and the host keeps its own malloc. Two rules follow: what
 * librdkafka has allocated and leaves to its caller goes back with rd_kafka_mem_free(), and what
 * the C library has allocated (realpath(), getline()) must never get to free() in here.
 *
 * All of mimalloc is one file for the compiler, so that it can inline what is below. The Makefile
 * takes its directory as one of the system's: its warnings are not ours.
 */

/* As its own build makes a release. */
#define MI_BUILD_RELEASE 1
#define NDEBUG 1

/* The module stays in memory, and librdkafka's threads may run until the end of the process. */
#define MI_SKIP_COLLECT_ON_EXIT 1

/* Asking for huge pages and for memory ahead of need took a third more of it, and made nothing
 * faster. Not MI_DEFAULT_ALLOW_THP: that would forbid huge pages to the whole process. */
#define MI_NO_THP 1
#define MI_DEFAULT_ARENA_EAGER_COMMIT 0

#include <static.c>

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);
void *__wrap_realloc(void *block, size_t size);
void __wrap_free(void *block);
char *__wrap_strdup(const char *text);
char *__wrap_strndup(const char *text, size_t size);

void *__wrap_malloc(size_t size)
{
    return mi_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return mi_calloc(count, size);
}

void *__wrap_realloc(void *block, size_t size)
{
    return mi_realloc(block, size);
}

void __wrap_free(void *block)
{
    mi_free(block);
}

char *__wrap_strdup(const char *text)
{
    return mi_strdup(text);
}

char *__wrap_strndup(const char *text, size_t size)
{
    return mi_strndup(text, size);
}
