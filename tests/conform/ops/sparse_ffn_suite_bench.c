/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * sparse_ffn: benchmark rows. So many of a hundred neurons, or entries of x, are zero: top-k keeps exactly the others.
 *
 * teal: what the sites of x and of h drop, with every matrix column after column (WINA's sites are the same).
 * cats: a gate chooses neurons: wg is read whole, of wu rows and of wd columns.
 * lazy: no gate; wu is read whole, and columns of wd (ReLU-fication, ProSparse and the lazy neuron). */
#include <float.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "sparse_ffn_suite.h"

/* Matrices' worth of weights that are met. */
#define KEPT_teal(percent) (3 * (1 - percent / 100.0))
#define KEPT_cats(percent) (1 + 2 * (1 - percent / 100.0))
#define KEPT_lazy(percent) (1 + (1 - percent / 100.0))
#define BENCH(what, percent, tokens, type, level, bytes)                                                               \
    {                                                                                                                  \
#what "_" #percent " " #tokens "x2048x8192", type, level,                                                      \
            {tokens, 2048, 8192 }, 2048.0 * 8192 * bytes *(tokens == 1 ? KEPT_##what(percent) : KEPT_##what(0)),       \
            2.0 * tokens * 2048 * 8192 * KEPT_##what(percent)                                                          \
    }
#define DECODE(what, type, level, bytes)                                                                               \
    BENCH(what, 0, 1, type, level, bytes), BENCH(what, 50, 1, type, level, bytes),                                     \
        BENCH(what, 90, 1, type, level, bytes), BENCH(what, 99, 1, type, level, bytes)
const struct conform_bench tenon__sparse_ffn_suite_bench[SPARSE_FFN_BENCHES] = {
    DECODE(teal, TENON_F32, CONFORM_QUICK, 4),         DECODE(teal, TENON_BF16, CONFORM_FULL, 2),
    DECODE(teal, TENON_I8, CONFORM_FULL, 1),           DECODE(cats, TENON_F32, CONFORM_FULL, 4),
    DECODE(cats, TENON_BF16, CONFORM_FULL, 2),         DECODE(cats, TENON_I8, CONFORM_FULL, 1),
    BENCH(lazy, 0, 1, TENON_F32, CONFORM_FULL, 4),     BENCH(lazy, 90, 1, TENON_F32, CONFORM_FULL, 4),
    BENCH(teal, 90, 8, TENON_F32, CONFORM_FULL, 4),    BENCH(cats, 90, 8, TENON_F32, CONFORM_FULL, 4),
    BENCH(teal, 50, 256, TENON_F32, CONFORM_FULL, 4),  BENCH(cats, 50, 256, TENON_F32, CONFORM_FULL, 4),
    BENCH(teal, 50, 256, TENON_BF16, CONFORM_FULL, 2),
};

static void set_matrices(struct conform_case *c, uint32_t dtype, int64_t d, int64_t f)
{
    const struct tenon_sparse_ffn_params *p = tenon__sparse_ffn_suite_params(c);
    const uint32_t trans[3] = {p->trans_g, p->trans_u, p->trans_d};
    for (uint32_t i = c->own[1] == SYSTEM_LAZY ? 1 : 0; i < 3; i++) {
        const int64_t rows = i < 2 ? f : d, width = i < 2 ? d : f;
        conform_slot_set(c, TENON_SPARSE_FFN_WG + i, dtype, 2,
                         trans[i] ? (int64_t[]){width, rows} : (int64_t[]){rows, width});
        if (dtype == TENON_I8)
            conform_slot_set(c, TENON_SPARSE_FFN_WG_SCALE + i, TENON_F32, 1, &rows);
    }
}

void tenon__sparse_ffn_suite_bench_make(const struct conform_bench *bench, struct conform_case *c)
{
    struct tenon_sparse_ffn_params *p = tenon__sparse_ffn_suite_params(c);
    const int64_t tokens = bench->dim[0], d = bench->dim[1], f = bench->dim[2];
    const int percent = atoi(strchr(bench->name, '_') + 1);
    const uint32_t type = bench->dtype == TENON_I8 ? TENON_F32 : bench->dtype;
    const struct tenon_sparse_ffn_site best = {TENON_SPARSE_FFN_TOPK, TENON_SPARSE_FFN_BY_ABS, 0, 0,
                                               (int32_t)(f * (100 - percent) / 100), 0, 0, FLT_MAX};
    c->own[0] = SPARSE_BENCH;
    c->own[1] = bench->name[0] == 't' ? SYSTEM_TEAL : bench->name[0] == 'c' ? SYSTEM_CATS : SYSTEM_LAZY;
    p->act = TENON_ACT_SILU;
    p->trans_d = 1;
    if (c->own[1] == SYSTEM_TEAL) {
        p->trans_g = p->trans_u = 1;
        p->xg = p->xu = p->h = best;
        p->xg.k = p->xu.k = (int32_t)(d * (100 - percent) / 100);
    } else if (c->own[1] == SYSTEM_CATS) {
        p->g = best;
    } else {
        p->h = best;
    }
    conform_slot_set(c, TENON_SPARSE_FFN_X, type, 2, (int64_t[]){tokens, d});
    set_matrices(c, bench->dtype, d, f);
    conform_slot_set(c, TENON_SPARSE_FFN_Y, type, 2, (int64_t[]){tokens, d});
    snprintf(c->name, sizeof(c->name), "%s", bench->name);
}
