/* A doorbell: a unix socket for one caller, see doorbell.c. */
#ifndef KH_DOORBELL_H
#define KH_DOORBELL_H

#include "compat.h"

#include "../engine/error.h"

#pragma GCC visibility push(hidden)

/* The socket that has connected to the doorbell at this index, which is gone then: a file
 * descriptor that does not block; -1 with the error filled in. */
int kh_answer_doorbell(lua_State *L, int index, kh_error *error);

#pragma GCC visibility pop
#endif
