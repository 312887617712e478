/* The consumer's userdata, for what is built on it. */
#ifndef KH_LUA_CONSUMER_H
#define KH_LUA_CONSUMER_H

#include "compat.h"

#include "../engine/consumer.h"

#include <stdbool.h>
#include <sys/types.h>

#pragma GCC visibility push(hidden)

#define KH_CONSUMER_CLASS "kafka_history.consumer"

struct consumer {
    kh_config *config; /* while it is being filled in */
    kh_consumer *engine;
    pid_t pid;
    int told;     /* how many messages of the batch the engine knows to be handled */
    int in_batch; /* values in the batch table */
    bool closed;
};

/* The one at the index; an error where that is none that can be used. */
struct consumer *kh_check_consumer(lua_State *L, int index);

#pragma GCC visibility pop
#endif
