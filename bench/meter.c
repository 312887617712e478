/*
 * Runs a program that tells no figures of itself, with its output thrown away, and prints what it
 * has taken: the line of c_loop.c, without messages and result.
 *
 *     meter COMMAND [ARGUMENT ...]
 */
#define _DEFAULT_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double seconds_of(struct timeval time)
{
    return (double)time.tv_sec + (double)time.tv_usec / 1e6;
}

int main(int count, char **arguments)
{
    struct timespec began, ended;
    struct rusage usage;
    pid_t child;
    int status;

    if (count < 2) {
        fprintf(stderr, "usage: meter COMMAND [ARGUMENT ...]\n");
        return 2;
    }
    clock_gettime(CLOCK_MONOTONIC, &began);
    child = fork();
    if (child == 0) {
        dup2(open("/dev/null", O_WRONLY), STDOUT_FILENO);
        execvp(arguments[1], arguments + 1);
        perror(arguments[1]);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) != child || status != 0) {
        fprintf(stderr, "meter: %s failed\n", arguments[1]);
        return 1;
    }
    clock_gettime(CLOCK_MONOTONIC, &ended);
    printf("seconds=%.6f cpu=%.6f kb=%ld\n",
           (double)(ended.tv_sec - began.tv_sec) + (double)(ended.tv_nsec - began.tv_nsec) / 1e9,
           seconds_of(usage.ru_utime) + seconds_of(usage.ru_stime), usage.ru_maxrss);
    return 0;
}
