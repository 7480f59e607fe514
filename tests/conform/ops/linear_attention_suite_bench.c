/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * linear_attention: its benchmark rows, "<system> [how ]<heads>x<tokens>x<K, and V>". Flops are those of the
 * recurrence: 4 K V a token and head, 6 with a delta rule, 1 more with a decay. Chunks have others, hardly fewer. */
#include <stdio.h>
#include <string.h>

#include "linear_attention_suite_bench.h"

#define L(NAME) TENON_LINEAR_ATTENTION_##NAME

/* wide: numbers of a decay a token and head; kv: flops over K V. Tokens read q, k, v and write o. */
#define BENCH(name, type, level, h, t, d, wide, kv)                                                                    \
    {                                                                                                                  \
        name, type, level, {t, d, h},                                                                                  \
            (double)(h) * (t) * (4.0 * (d)*TENON_DTYPE_SIZE(type) + 4.0 * (wide)) + 8.0 * (h) * (d) * (d),             \
            (double)(kv) * (h) * (t) * (d) * (d)                                                                       \
    }
const struct conform_bench tenon__lin_suite_benches[LIN_BENCHES] = {
    BENCH("token 8x4096x64", TENON_F32, CONFORM_QUICK, 8, 4096, 64, 1, 5),
    BENCH("gla 8x4096x64", TENON_F32, CONFORM_QUICK, 8, 4096, 64, 64, 5),
    BENCH("gdn 8x4096x64", TENON_F32, CONFORM_QUICK, 8, 4096, 64, 1, 7),
    BENCH("token 8x4096x128", TENON_F32, CONFORM_QUICK, 8, 4096, 128, 1, 5),
    BENCH("gla 8x4096x128", TENON_F32, CONFORM_QUICK, 8, 4096, 128, 128, 5),
    BENCH("gdn 8x4096x128", TENON_F32, CONFORM_QUICK, 8, 4096, 128, 1, 7),
    BENCH("gla 8x4096x128", TENON_BF16, CONFORM_QUICK, 8, 4096, 128, 128, 5),
    BENCH("token decode 512x1x128", TENON_F32, CONFORM_QUICK, 512, 1, 128, 1, 5),
    BENCH("gdn decode 512x1x128", TENON_F32, CONFORM_QUICK, 512, 1, 128, 1, 7),
    BENCH("token recurrent 8x4096x64", TENON_F32, CONFORM_FULL, 8, 4096, 64, 1, 5),
    BENCH("gla recurrent 8x4096x64", TENON_F32, CONFORM_FULL, 8, 4096, 64, 64, 5),
    BENCH("gdn recurrent 8x4096x64", TENON_F32, CONFORM_FULL, 8, 4096, 64, 1, 7),
    BENCH("token recurrent 8x4096x128", TENON_F32, CONFORM_FULL, 8, 4096, 128, 1, 5),
    BENCH("gla recurrent 8x4096x128", TENON_F32, CONFORM_FULL, 8, 4096, 128, 128, 5),
    BENCH("gdn recurrent 8x4096x128", TENON_F32, CONFORM_FULL, 8, 4096, 128, 1, 7),
    BENCH("none 8x4096x64", TENON_F32, CONFORM_FULL, 8, 4096, 64, 0, 4),
    BENCH("gsa 8x4096x64", TENON_F32, CONFORM_FULL, 8, 4096, 64, 64, 5),
    BENCH("kda 8x4096x128", TENON_F32, CONFORM_FULL, 8, 4096, 128, 128, 7),
    BENCH("gla decode 512x1x128", TENON_F32, CONFORM_FULL, 512, 1, 128, 128, 5),
    BENCH("gla 8x16384x64", TENON_F32, CONFORM_FULL, 8, 16384, 64, 64, 5),
    BENCH("gdn 8x16384x64", TENON_F32, CONFORM_FULL, 8, 16384, 64, 1, 7),
};

void tenon__lin_suite_bench(const struct conform_bench *bench, struct conform_case *c)
{
    static const struct {
        const char *name;
        uint32_t decay, update;
    } systems[] = {
        {"token ", L(TOKEN), L(ADD)}, {"gla ", L(KEY), L(ADD)},   {"gdn ", L(TOKEN), L(DELTA)},
        {"none ", L(NONE), L(ADD)},   {"gsa ", L(VALUE), L(ADD)}, {"kda ", L(KEY), L(DELTA)},
    };
    struct tenon_linear_attention_params *p = (void *)c->params;
    const int64_t t = bench->dim[0], d = bench->dim[1], h = bench->dim[2];
    c->own[0] = LIN_FILL_BENCH;
    for (size_t i = 0; i < sizeof systems / sizeof systems[0]; i++)
        if (strncmp(bench->name, systems[i].name, strlen(systems[i].name)) == 0) {
            p->decay = systems[i].decay;
            p->update = systems[i].update;
        }
    if (strstr(bench->name, " recurrent "))
        p->mode = L(RECURRENT);
    for (uint32_t i = L(Q); i <= L(V); i++)
        conform_slot_set(c, i, bench->dtype, 4, (int64_t[]){1, t, h, d});
    conform_slot_set(c, L(O), bench->dtype, 4, (int64_t[]){1, t, h, d});
    if (p->decay)
        conform_slot_set(c, L(DECAY), TENON_F32, p->decay == L(TOKEN) ? 3 : 4, (int64_t[]){1, t, h, d});
    if (p->update == L(DELTA))
        conform_slot_set(c, L(BETA), TENON_F32, 3, (int64_t[]){1, t, h});
    conform_slot_set(c, L(STATE), TENON_F32, 4, (int64_t[]){1, h, d, d});
    conform_slot_set(c, L(STATE_OUT), TENON_F32, 4, (int64_t[]){1, h, d, d});
    if (t == 1)
        c->slot[L(STATE_OUT)].same_as = (int32_t)L(STATE);
    snprintf(c->name, sizeof(c->name), "%s", bench->name);
}
