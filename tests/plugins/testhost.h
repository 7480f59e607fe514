/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A host for tests of single plugins: counts what is allocated, keeps the last failure and the log, serves settings. */
#ifndef TENON_TESTHOST_H
#define TENON_TESTHOST_H

#include <stdatomic.h>

#include <tenon/backend.h>

struct testhost {
    struct tenon_host base;             /* first: the plugin's pointer finds the rest */
    const struct tenon_backend *next;   /* a layer: what it wraps */
    const struct tenon_host *next_host; /* and whose host this is */
    const char *const *config;          /* "key", "value", ..., NULL */
    _Atomic int64_t live;               /* blocks that are not freed */
    _Atomic uint64_t allocs, fail_at;   /* fail_at: the number of the allocation that fails, 0: none */
    int errors, lines;                  /* log lines of level ERROR, and all */
    char failure[512], log[8192];       /* the last sentence; the lines since testhost_clear */
};

void testhost_init(struct testhost *host);
void testhost_clear(struct testhost *host); /* failure, log and their counts */
/* The table of a plugin file of this build ("layer-check"), or bails out. */
const struct tenon_backend *testhost_load(struct testhost *host, const char *id);
int testhost_has(const char *id); /* whether the file was built */

#endif
