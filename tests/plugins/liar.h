/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A backend that keeps the rules until it is told to break one: the template with plans, asynchronous and without
 * unified memory. It computes nothing. Linked into the tests of the layers. */
#ifndef TENON_LIAR_H
#define TENON_LIAR_H

#include <tenon/backend.h>

enum lie {
    TRUTH,
    OPEN_NULL,       /* device_open gives OK and NULL */
    BUFFER_NULL,     /* the same for buffers, */
    BUFFER_TWICE,    /* or a buffer that is alive */
    BUFFER_ANYTHING, /* whatever the descriptor says is accepted */
    MAP_NULL,
    STATUS_POSITIVE, /* plan_create returns 77 */
    STATUS_UNKNOWN,  /* or -99 */
    PLAN_NULL,
    PLAN_DENIED,   /* says OK without a plan, UNSUPPORTED with one */
    PLAN_ANYTHING, /* accepts what the contract refuses */
    PLAN_SET,      /* fails and sets its output */
    INFO_SIZE,     /* plan_info changes struct_size */
    INFO_ALIGN,    /* workspace_align is 3 */
    INFO_IMPL,     /* impl has no NUL */
    INFO_GROWS,    /* the workspace grows with each look */
    QUEUE_NULL,
    SEQ_BACKWARDS,
    SEQ_SET,      /* enqueue fails and sets seq */
    WAIT_TIMEOUT, /* queue_wait times out without a limit */
    LOST_ONCE,    /* enqueue gives LOST, then OK again */
};
extern enum lie liar_lie;
extern int liar_calls; /* calls that reached the backend, infos and counts aside */
extern int liar_runs;  /* RUN commands that it took */
const struct tenon_backend *liar_entry(const struct tenon_host *host);

#endif
