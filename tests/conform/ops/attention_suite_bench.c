/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * attention: its benchmark rows. Flops are those of visible pairs, 2 (D + V) each; k and v are read once. */
#include <stdio.h>
#include <string.h>
#include "attention_suite.h"

#define A(NAME) TENON_ATTENTION_##NAME

/* dim: T, S, D (and V). Hq heads share Hk; pairs: visible ones of a head. */
#define BENCH(name, type, level, t, s, d, hq, hk, pairs, kv_bytes)                                                     \
    {                                                                                                                  \
        name, type, level, {t, s, d},                                                                                  \
            2.0 * (s) * (hk) * (d) * (kv_bytes) + 2.0 * (t) * (hq) * (d)*TENON_DTYPE_SIZE(type),                       \
            4.0 * (d) * (hq) * (pairs)                                                                                 \
    }
#define HALF(t) (0.5 * (t) * ((t) + 1.0))
const struct conform_bench tenon__att_suite_benches[ATT_BENCHES] = {
    BENCH("causal 8/8x2048x64", TENON_F32, CONFORM_QUICK, 2048, 2048, 64, 8, 8, HALF(2048), 4),
    BENCH("causal 8/8x2048x64", TENON_BF16, CONFORM_QUICK, 2048, 2048, 64, 8, 8, HALF(2048), 2),
    BENCH("causal 8/8x2048x64", TENON_F16, CONFORM_QUICK, 2048, 2048, 64, 8, 8, HALF(2048), 2),
    BENCH("decode 8/8x8192x64", TENON_F32, CONFORM_QUICK, 1, 8192, 64, 8, 8, 8192.0, 4),
    BENCH("decode 8/8x8192x64", TENON_F16, CONFORM_QUICK, 1, 8192, 64, 8, 8, 8192.0, 2),
    BENCH("decode+u8 8/8x8192x64", TENON_F32, CONFORM_QUICK, 1, 8192, 64, 8, 8, 8192.0, 1.125),
    BENCH("decode 32/8x8192x128", TENON_F32, CONFORM_QUICK, 1, 8192, 128, 32, 8, 8192.0, 4),
    BENCH("sigmoid 8/8x2048x64", TENON_F32, CONFORM_QUICK, 2048, 2048, 64, 8, 8, HALF(2048), 4),
    BENCH("blocks 2/2x8192x64", TENON_F32, CONFORM_FULL, 8192, 8192, 64, 2, 2, 8192.0 * 832, 4),
    BENCH("full 2/2x8192x64", TENON_F32, CONFORM_FULL, 8192, 8192, 64, 2, 2, 8192.0 * 8192, 4),
    BENCH("causal 32/8x1024x128", TENON_F32, CONFORM_FULL, 1024, 1024, 128, 32, 8, HALF(1024), 4),
    BENCH("paged 8/8x8192x64", TENON_F32, CONFORM_FULL, 1, 8192, 64, 8, 8, 8192.0, 4),
    BENCH("ring 8/8x8192x64", TENON_F32, CONFORM_FULL, 1, 8192, 64, 8, 8, 8192.0, 4),
    BENCH("window 8/8x4096x64", TENON_F32, CONFORM_FULL, 4096, 4096, 64, 8, 8, 4096.0 * 256, 4),
};

/* Codes of 8 bits, a pair for each token. */
static void quantise(struct conform_case *c, int64_t s, int64_t heads, int64_t d)
{
    struct tenon_attention_params *p = tenon__att_suite_params(c);
    p->quant_k = p->quant_v = A(AFFINE_TOKEN);
    for (uint32_t i = A(K); i <= A(V); i++) {
        conform_slot_set(c, i, TENON_U8, 4, (int64_t[]){1, s, heads, d});
        conform_slot_set(c, i - A(K) + A(K_QUANT), TENON_F32, 5, (int64_t[]){1, s, heads, 1, 2});
    }
}

/* A tenth of the blocks. */
static void list(struct conform_case *c, int64_t t, int64_t s, int64_t heads)
{
    const int64_t nq = (t + 63) / 64, each = (s / 64 + 9) / 10;
    conform_slot_set(c, A(ROW_PTR), TENON_I32, 3, (int64_t[]){1, heads, nq + 1});
    conform_slot_set(c, A(COL), TENON_I32, 1, (int64_t[]){heads * nq * each});
}

void tenon__att_suite_bench(const struct conform_bench *bench, struct conform_case *c)
{
    struct tenon_attention_params *p = tenon__att_suite_params(c);
    const int64_t t = bench->dim[0], s = bench->dim[1], d = bench->dim[2];
    const char *at = strchr(bench->name, ' ');
    int hq = 8, hk = 8;
    if (at == NULL || sscanf(at, " %d/%dx", &hq, &hk) != 2)
        hq = hk = 8;
    c->own[0] = ATT_FILL_BENCH;
    conform_slot_set(c, A(Q), bench->dtype, 4, (int64_t[]){1, t, hq, d});
    conform_slot_set(c, A(K), bench->dtype, 4, (int64_t[]){1, s, hk, d});
    conform_slot_set(c, A(V), bench->dtype, 4, (int64_t[]){1, s, hk, d});
    conform_slot_set(c, A(O), bench->dtype, 4, (int64_t[]){1, t, hq, d});
    p->causal = strncmp(bench->name, "causal", 6) == 0 || strncmp(bench->name, "window", 6) == 0 ||
                strncmp(bench->name, "sigmoid", 7) == 0;
    if (strncmp(bench->name, "sigmoid", 7) == 0) {
        p->weight = A(SIGMOID);
        p->norm = A(NONE);
        p->bias = -7.6246190f; /* -ln 2048 */
    } else if (strncmp(bench->name, "window", 6) == 0) {
        p->wl = 255;
    } else if (strncmp(bench->name, "decode+u8", 9) == 0) {
        quantise(c, s, hk, d);
    } else if (strncmp(bench->name, "blocks", 6) == 0) {
        list(c, t, s, hq);
    } else if (strncmp(bench->name, "ring", 4) == 0) {
        p->ring = 1;
        p->n_sink = 4;
        conform_slot_set(c, A(KV_LEN), TENON_I32, 1, (int64_t[]){1});
    } else if (strncmp(bench->name, "paged", 5) == 0) {
        conform_slot_set(c, A(K), bench->dtype, 4, (int64_t[]){s / 64, hk, 64, d});
        conform_slot_set(c, A(V), bench->dtype, 4, (int64_t[]){s / 64, hk, 64, d});
        conform_slot_set(c, A(PAGE_TABLE), TENON_I32, 2, (int64_t[]){1, s / 64});
    }
    snprintf(c->name, sizeof(c->name), "%s", bench->name);
}
