/*
 * An alarm: a file descriptor that becomes readable when another one does, or when a time is over.
 * For loops that can watch descriptors and have no timers (copas 1.2).
 */
#include "binding.h"

#ifdef __linux__

#include <errno.h>
#include <stdbool.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define ALARM_CLASS "kafka_history.alarm"

struct alarm {
    int timer_fd;
    int fd; /* watches both */
};

static struct alarm *check(lua_State *L)
{
    return luaL_checkudata(L, 1, ALARM_CLASS);
}

static void close_fd(int *fd)
{
    if (*fd >= 0)
        close(*fd);
    *fd = -1;
}

/* Also the finalizer; idempotent. */
static int alarm_close(lua_State *L)
{
    struct alarm *alarm = check(L);

    close_fd(&alarm->timer_fd);
    close_fd(&alarm->fd);
    return 0;
}

static int alarm_getfd(lua_State *L)
{
    lua_pushinteger(L, check(L)->fd);
    return 1;
}

static bool watch(const struct alarm *alarm, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};

    return epoll_ctl(alarm->fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

/* A timer of no time at all would never fire. */
static bool set_timer(const struct alarm *alarm, int timeout_ms)
{
    struct itimerspec at = {
        .it_value = {.tv_sec = timeout_ms / 1000, .tv_nsec = timeout_ms % 1000 * 1000000L}};

    if (timeout_ms == 0)
        at.it_value.tv_nsec = 1;
    return timerfd_settime(alarm->timer_fd, 0, &at, NULL) == 0;
}

/* alarm(fd, seconds); raises when there are no file descriptors left. */
static int alarm_new(lua_State *L)
{
    int fd = (int)luaL_checkinteger(L, 1);
    int timeout_ms = kh_check_timeout_ms(L, 2);
    struct alarm *alarm = kh_new_userdata(L, sizeof *alarm);
    kh_error error;

    luaL_argcheck(L, timeout_ms >= 0, 2, "out of range");
    *alarm = (struct alarm){.timer_fd = -1, .fd = -1};
    luaL_getmetatable(L, ALARM_CLASS);
    lua_setmetatable(L, -2);
    alarm->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    alarm->fd = epoll_create1(EPOLL_CLOEXEC);
    if (alarm->timer_fd >= 0 && alarm->fd >= 0 && set_timer(alarm, timeout_ms) &&
        watch(alarm, alarm->timer_fd) && watch(alarm, fd))
        return 1;
    kh_error_set_errno(&error, errno, "cannot make an alarm");
    return luaL_error(L, "%s: %s", error.name, error.text);
}

static const luaL_Reg methods[] = {
    {"getfd", alarm_getfd},
    {"close", alarm_close},
    {NULL, NULL},
};

static const luaL_Reg metamethods[] = {
    {"__gc", alarm_close},
    {NULL, NULL},
};

int kh_open_alarm(lua_State *L)
{
    kh_new_class(L, ALARM_CLASS, methods, metamethods);
    lua_pop(L, 1);
    lua_pushcfunction(L, alarm_new);
    return 1;
}

#else

int kh_open_alarm(lua_State *L)
{
    lua_pushnil(L);
    return 1;
}

#endif
