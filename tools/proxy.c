/*
 * proxy: a TCP proxy between a Kafka client and its broker that fails on command. For the tests.
 *
 *     proxy LISTEN_PORT TARGET_PORT
 *
 * Both on 127.0.0.1. Commands are lines on stdin, each answered with a line "ok" on stdout:
 *
 *     pass            forward everything (as at the start)
 *     cut             both ways: what arrives is lost, connections stay open
 *     cut up          only what the client sends is lost
 *     cut down        only what the broker sends is lost
 *     refuse          connections are reset, new ones too
 *     close N         the N-th request from now on is lost, and its connection is closed
 *     swallow N       the N-th request from now on is lost, without a sign
 *
 * A request is a frame of Kafka's protocol from the client: four bytes of length, then as many.
 * Ends when stdin does.
 */
#define _POSIX_C_SOURCE 200809L
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

enum { LINKS_MAX = 256, BLOCK = 65536 };

struct link {
    int client;
    int broker;
    /* Of the request that is passing: what of its length has come, and how much is left of it. */
    unsigned char head[4];
    size_t head_count;
    uint32_t left;
    bool swallowing;
};

static struct {
    int listener;
    uint16_t target_port;
    bool loses_up, loses_down, refuses;
    long lose_in; /* the request that is lost, counted from now; 0: none */
    bool closes;  /* and its connection with it */
    struct link links[LINKS_MAX];
    int count;
} proxy;

static void die(const char *what)
{
    fprintf(stderr, "proxy: %s: %s\n", what, strerror(errno));
    exit(1);
}

static struct sockaddr_in loopback(uint16_t port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};

    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int listen_on(uint16_t port)
{
    struct sockaddr_in address = loopback(port);
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    int on = 1;

    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 64) != 0)
        die("cannot listen");
    return listener;
}

/* Closes with a reset, as a host that is gone would answer. */
static void reset(int fd)
{
    struct linger now = {.l_onoff = 1, .l_linger = 0};

    setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
    close(fd);
}

static void drop(int index)
{
    reset(proxy.links[index].client);
    reset(proxy.links[index].broker);
    proxy.links[index] = proxy.links[--proxy.count];
}

static void accept_client(void)
{
    struct sockaddr_in target = loopback(proxy.target_port);
    int client = accept(proxy.listener, NULL, NULL);
    int broker;
    int on = 1;

    if (client < 0)
        return;
    broker = socket(AF_INET, SOCK_STREAM, 0);
    if (proxy.refuses || proxy.count == LINKS_MAX ||
        connect(broker, (struct sockaddr *)&target, sizeof target) != 0) {
        reset(client);
        close(broker);
        return;
    }
    setsockopt(client, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    setsockopt(broker, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    proxy.links[proxy.count++] = (struct link){.client = client, .broker = broker};
}

static bool send_all(int fd, const unsigned char *bytes, size_t count)
{
    while (count > 0) {
        ssize_t sent = send(fd, bytes, count, MSG_NOSIGNAL);

        if (sent < 0 && errno == EINTR)
            continue;
        if (sent <= 0)
            return false;
        bytes += sent;
        count -= (size_t)sent;
    }
    return true;
}

/* A request begins: is it the one to lose? */
static bool begins_lost(void)
{
    return proxy.lose_in > 0 && --proxy.lose_in == 0;
}

/* Forwards what the client sent, request by request. False: the link is over. */
static bool forward_requests(struct link *link, const unsigned char *bytes, size_t count)
{
    while (count > 0) {
        size_t part;

        if (link->left == 0) {
            link->head[link->head_count++] = *bytes++;
            count--;
            if (link->head_count < sizeof link->head)
                continue;
            link->head_count = 0;
            link->left = (uint32_t)link->head[0] << 24 | (uint32_t)link->head[1] << 16 |
                         (uint32_t)link->head[2] << 8 | link->head[3];
            link->swallowing = begins_lost();
            if (link->swallowing && proxy.closes)
                return false;
            if (!link->swallowing && !send_all(link->broker, link->head, sizeof link->head))
                return false;
            continue;
        }
        part = count < link->left ? count : link->left;
        if (!link->swallowing && !send_all(link->broker, bytes, part))
            return false;
        link->left -= (uint32_t)part;
        bytes += part;
        count -= part;
    }
    return true;
}

static bool move_up(struct link *link)
{
    unsigned char bytes[BLOCK];
    ssize_t count = recv(link->client, bytes, sizeof bytes, 0);

    if (count <= 0)
        return false;
    return proxy.loses_up || forward_requests(link, bytes, (size_t)count);
}

static bool move_down(struct link *link)
{
    unsigned char bytes[BLOCK];
    ssize_t count = recv(link->broker, bytes, sizeof bytes, 0);

    if (count <= 0)
        return false;
    return proxy.loses_down || send_all(link->client, bytes, (size_t)count);
}

static void set_losses(bool up, bool down, bool refuses)
{
    proxy.loses_up = up;
    proxy.loses_down = down;
    proxy.refuses = refuses;
    if (refuses)
        while (proxy.count > 0)
            drop(0);
}

/* Connections through which something was lost are of no use any more. */
static void pass(void)
{
    if (proxy.loses_up || proxy.loses_down)
        while (proxy.count > 0)
            drop(0);
    set_losses(false, false, false);
    proxy.lose_in = 0;
}

static bool obey(char *line)
{
    long number;

    line[strcspn(line, "\n")] = '\0';
    if (strcmp(line, "pass") == 0)
        pass();
    else if (strcmp(line, "cut") == 0)
        set_losses(true, true, false);
    else if (strcmp(line, "cut up") == 0)
        set_losses(true, false, false);
    else if (strcmp(line, "cut down") == 0)
        set_losses(false, true, false);
    else if (strcmp(line, "refuse") == 0)
        set_losses(false, false, true);
    else if (sscanf(line, "close %ld", &number) == 1 || sscanf(line, "swallow %ld", &number) == 1) {
        proxy.closes = line[0] == 'c';
        proxy.lose_in = number;
    } else
        return false;
    return true;
}

static void read_commands(void)
{
    static char pending[1024];
    static size_t length;
    ssize_t count = read(STDIN_FILENO, pending + length, sizeof pending - 1 - length);
    char *end;

    if (count <= 0)
        exit(0);
    length += (size_t)count;
    pending[length] = '\0';
    while ((end = strchr(pending, '\n')) != NULL) {
        size_t used = (size_t)(end - pending) + 1;

        *end = '\0';
        puts(obey(pending) ? "ok" : "unknown command");
        fflush(stdout);
        memmove(pending, pending + used, length - used + 1);
        length -= used;
    }
    if (length == sizeof pending - 1)
        length = 0;
}

static void turn(void)
{
    struct pollfd watched[2 + 2 * LINKS_MAX];
    int links = proxy.count;

    watched[0] = (struct pollfd){.fd = STDIN_FILENO, .events = POLLIN};
    watched[1] = (struct pollfd){.fd = proxy.listener, .events = POLLIN};
    for (int i = 0; i < links; i++) {
        watched[2 + 2 * i] = (struct pollfd){.fd = proxy.links[i].client, .events = POLLIN};
        watched[3 + 2 * i] = (struct pollfd){.fd = proxy.links[i].broker, .events = POLLIN};
    }
    if (poll(watched, (nfds_t)(2 + 2 * links), -1) < 0)
        return;
    /* From the last to the first: dropping one moves the last into its place. */
    for (int i = links - 1; i >= 0; i--) {
        struct link *link = &proxy.links[i];
        bool alive = true;

        if (watched[2 + 2 * i].revents != 0)
            alive = move_up(link);
        if (alive && watched[3 + 2 * i].revents != 0)
            alive = move_down(link);
        if (!alive)
            drop(i);
    }
    if (watched[1].revents != 0)
        accept_client();
    if (watched[0].revents != 0)
        read_commands();
}

int main(int count, char **arguments)
{
    if (count != 3) {
        fprintf(stderr, "usage: proxy LISTEN_PORT TARGET_PORT\n");
        return 2;
    }
    proxy.listener = listen_on((uint16_t)atoi(arguments[1]));
    proxy.target_port = (uint16_t)atoi(arguments[2]);
    puts("ready");
    fflush(stdout);
    for (;;)
        turn();
}
