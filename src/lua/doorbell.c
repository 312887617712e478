/*
 * A doorbell: a unix socket that one caller connects to, for hosts that can wait for nothing but
 * sockets which they have connected themselves (nginx). It listens in a directory of its own that
 * nobody else may enter, for as long as it takes the same thread to connect, and leaves nothing.
 */
#include "doorbell.h"
#include "binding.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define DOORBELL_CLASS "kafka_history.doorbell"

struct doorbell {
    int fd; /* listens; -1: it is gone */
    pid_t pid;
    struct sockaddr_un address;
};

/* Removes the socket and its directory: the path without what follows the last slash. */
static void take_down(struct doorbell *doorbell)
{
    char *slash = strrchr(doorbell->address.sun_path, '/');

    if (doorbell->fd < 0)
        return;
    close(doorbell->fd);
    doorbell->fd = -1;
    (void)unlink(doorbell->address.sun_path);
    *slash = '\0';
    (void)rmdir(doorbell->address.sun_path);
    *slash = '/';
}

static void set_error(kh_error *error, const char *what, const struct doorbell *doorbell)
{
    int number = errno;
    char text[sizeof doorbell->address.sun_path + 64];

    (void)snprintf(text, sizeof text, "%s %s", what, doorbell->address.sun_path);
    kh_error_set_errno(error, number, text);
}

static bool keep_to_us(int fd)
{
    return fcntl(fd, F_SETFL, O_NONBLOCK) == 0 && fcntl(fd, F_SETFD, FD_CLOEXEC) == 0;
}

static bool make_directory(struct doorbell *doorbell, const char *parent, kh_error *error)
{
    char *path = doorbell->address.sun_path;
    int length =
        snprintf(path, sizeof doorbell->address.sun_path, "%s/kafka-history-XXXXXX", parent);

    if ((size_t)length + sizeof "/wake" > sizeof doorbell->address.sun_path)
        errno = ENAMETOOLONG;
    else if (mkdtemp(path) != NULL)
        return true;
    set_error(error, "cannot make a directory for a socket,", doorbell);
    return false;
}

static bool start_listening(struct doorbell *doorbell, kh_error *error)
{
    struct sockaddr_un *address = &doorbell->address;
    size_t length = strlen(address->sun_path);

    memcpy(address->sun_path + length, "/wake", sizeof "/wake");
    address->sun_family = AF_UNIX;
    doorbell->fd = socket(AF_UNIX, SOCK_STREAM, 0);
    if (doorbell->fd >= 0 && keep_to_us(doorbell->fd) &&
        bind(doorbell->fd, (const struct sockaddr *)address, sizeof *address) == 0 &&
        listen(doorbell->fd, 1) == 0)
        return true;
    set_error(error, "cannot listen at", doorbell);
    if (doorbell->fd >= 0) {
        take_down(doorbell);
    } else {
        address->sun_path[length] = '\0';
        (void)rmdir(address->sun_path);
    }
    return false;
}

/* doorbell(): one that listens below TMPDIR or /tmp; nil, err, code when it cannot. */
static int doorbell_new(lua_State *L)
{
    const char *parent = getenv("TMPDIR");
    struct doorbell *doorbell = kh_new_userdata(L, sizeof *doorbell);
    kh_error error;

    *doorbell = (struct doorbell){.fd = -1, .pid = getpid()};
    luaL_getmetatable(L, DOORBELL_CLASS);
    lua_setmetatable(L, -2);
    if (parent == NULL || parent[0] != '/')
        parent = "/tmp";
    if (!make_directory(doorbell, parent, &error) || !start_listening(doorbell, &error))
        return kh_push_error(L, &error);
    return 1;
}

static struct doorbell *check(lua_State *L, int index)
{
    return luaL_checkudata(L, index, DOORBELL_CLASS);
}

static int doorbell_path(lua_State *L)
{
    lua_pushstring(L, check(L, 1)->address.sun_path);
    return 1;
}

int kh_answer_doorbell(lua_State *L, int index, kh_error *error)
{
    struct doorbell *doorbell = check(L, index);
    int fd = accept(doorbell->fd, NULL, NULL);

    if (fd >= 0 && keep_to_us(fd)) {
        take_down(doorbell);
        return fd;
    }
    set_error(error, fd < 0 ? "nobody has connected to" : "cannot set up", doorbell);
    if (fd >= 0)
        close(fd);
    take_down(doorbell);
    return -1;
}

static int doorbell_gc(lua_State *L)
{
    struct doorbell *doorbell = check(L, 1);

    if (doorbell->pid == getpid())
        take_down(doorbell);
    return 0;
}

static const luaL_Reg methods[] = {
    {"path", doorbell_path},
    {NULL, NULL},
};

static const luaL_Reg metamethods[] = {
    {"__gc", doorbell_gc},
    {NULL, NULL},
};

int kh_open_doorbell(lua_State *L)
{
    kh_new_class(L, DOORBELL_CLASS, methods, metamethods);
    lua_pop(L, 1);
    lua_pushcfunction(L, doorbell_new);
    return 1;
}
