/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_dispatch on the CPU: what its files share. */
#ifndef TENON_MOE_DISPATCH_CPU_H
#define TENON_MOE_DISPATCH_CPU_H

#include <tenon/ops/moe_dispatch.h>

#include "cpu.h"
#include "lib/copy.h"
#include "lib/order.h"

#define DIGITS 256 /* bins of a pass of the sort */
#define PASSES 4

/* How the list of pairs runs. */
enum { LIST_TOKEN, LIST_CHOICE };

/* Lives in cpu_plan.state. */
struct dispatch {
    int64_t tokens, k, n;            /* n = tokens * k pairs, or what is none */
    int64_t mp, bytes;               /* rows of src and xp; bytes of a row of x */
    int64_t x_row, xp_row;           /* bytes from row to row */
    int64_t experts, first, end;
    int64_t capacity;                /* INT32_MAX: none */
    int64_t align, sorted;           /* sorted: what BPR and PROB sort: tokens, pairs; 0: nothing */
    uint32_t list, drop, pad, renorm;
    uint32_t chunks, copy_tasks, stream;
    /* byte offsets in the workspace */
    uint64_t hist, start, pos, key, perm[2];
};

struct run {
    const struct dispatch *s;
    const struct tenon_host *host;
    const int32_t *idx;
    const float *w;
    const unsigned char *x;
    int32_t *src, *pos;              /* src may be NULL */
    float *w2;                       /* may be NULL */
    unsigned char *xp;               /* may be NULL */
    uint32_t *hist;                  /* of chunk c and bin b: hist[c * bins + b] */
    int32_t *start;                  /* offsets, experts + 1 */
    uint32_t *key, *perm[2];
    const uint32_t *order;           /* NULL, or the sorted tokens (BPR) or pairs (PROB) */
    uint32_t (*flags)[16];           /* of each chunk */
    int64_t bins;
    uint32_t shift;                  /* of the pass of the sort */
    int by_pairs, marked, marks;     /* order has pairs; only pairs with pos >= 0 count; pos becomes 0 or -1 */
};

/* Runs task on every chunk. */
static inline void each_chunk(struct run *run, uint32_t tasks, void (*task)(void *run, uint32_t chunk))
{
    if (tasks == 1)
        task(run, 0);
    else
        run->host->parallel(run->host, tasks, task, run);
}

static inline void chunk_of(int64_t n, uint32_t chunks, uint32_t chunk, int64_t *from, int64_t *to)
{
    *from = n * chunk / chunks;
    *to = n * (chunk + INT64_C(1)) / chunks;
}

/* hist becomes, of each chunk, how many of a bin the chunks before have; total gets how many all have. */
static inline void scan_chunks(const struct run *run, int32_t *total)
{
    memset(total, 0, (size_t)run->bins * sizeof *total);
    for (uint32_t c = 0; c < run->s->chunks; c++) {
        uint32_t *own = run->hist + c * run->bins;
        for (int64_t b = 0; b < run->bins; b++) {
            const uint32_t count = own[b];
            own[b] = (uint32_t)total[b];
            total[b] += (int32_t)count;
        }
    }
}

#endif
