/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Tokens, or pairs, by weight, the largest first, ties in the order that was: a radix sort of four stable counting
 * sorts, each of them chunk by chunk as the experts' own. */
#ifndef TENON_MOE_DISPATCH_CPU_SORT_H
#define TENON_MOE_DISPATCH_CPU_SORT_H

#include "moe_dispatch_cpu.h"

/* The smaller the better; NaN is last. */
SIMD_FN uint32_t sort_key(int32_t order)
{
    return ~((uint32_t)order ^ 0x80000000u);
}

/* Number p of the list of pairs. */
SIMD_FN int64_t list_pair(const struct dispatch *s, int64_t p)
{
    return s->list == LIST_CHOICE ? p % s->tokens * s->k + p / s->tokens : p;
}

static void key_task(void *context, uint32_t chunk)
{
    struct run *run = context;
    const struct dispatch *s = run->s;
    int64_t from, to;
    chunk_of(s->sorted, s->chunks, chunk, &from, &to);
    for (int64_t i = from; i < to; i++) {
        if (run->by_pairs) {
            run->perm[0][i] = (uint32_t)list_pair(s, i);
            run->key[i] = sort_key(order_key(run->w[i]));
            continue;
        }
        int32_t best = ORDER_NAN;
        for (int64_t q = i * s->k; q < (i + 1) * s->k; q++)
            if (run->idx[q] >= 0 && run->idx[q] < s->experts) {
                const int32_t own = order_key(run->w[q]);
                best = own > best ? own : best;
            }
        run->perm[0][i] = (uint32_t)i;
        run->key[i] = sort_key(best);
    }
}

static void digit_count_task(void *context, uint32_t chunk)
{
    struct run *run = context;
    uint32_t *hist = run->hist + chunk * DIGITS;
    int64_t from, to;
    chunk_of(run->s->sorted, run->s->chunks, chunk, &from, &to);
    memset(hist, 0, DIGITS * sizeof *hist);
    for (int64_t p = from; p < to; p++)
        hist[run->key[run->perm[0][p]] >> run->shift & (DIGITS - 1)]++;
}

static void digit_place_task(void *context, uint32_t chunk)
{
    struct run *run = context;
    uint32_t *hist = run->hist + chunk * DIGITS;
    int64_t from, to;
    chunk_of(run->s->sorted, run->s->chunks, chunk, &from, &to);
    for (int64_t p = from; p < to; p++) {
        const uint32_t item = run->perm[0][p], digit = run->key[item] >> run->shift & (DIGITS - 1);
        run->perm[1][(uint32_t)run->start[digit] + hist[digit]++] = item;
    }
}

/* run->order, by the weights. */
static void sort_weights(struct run *run)
{
    int32_t total[DIGITS];
    each_chunk(run, run->s->chunks, key_task);
    run->bins = DIGITS;
    for (int pass = 0; pass < PASSES; pass++) {
        int32_t sum = 0;
        int all_alike = 0;
        run->shift = (uint32_t)pass * 8;
        each_chunk(run, run->s->chunks, digit_count_task);
        scan_chunks(run, total);
        for (int d = 0; d < DIGITS; d++) {
            run->start[d] = sum;
            sum += total[d];
            all_alike |= total[d] == run->s->sorted;
        }
        if (all_alike)
            continue;
        each_chunk(run, run->s->chunks, digit_place_task);
        uint32_t *const swap = run->perm[0];
        run->perm[0] = run->perm[1];
        run->perm[1] = swap;
    }
    run->order = run->perm[0];
}

#endif
