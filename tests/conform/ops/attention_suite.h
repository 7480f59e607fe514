/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of attention's cases share. */
#ifndef CONFORM_ATTENTION_SUITE_H
#define CONFORM_ATTENTION_SUITE_H

#include "attention_suite_ref.h"

/* How the floats are filled (own[0]). */
enum {
    ATT_FILL_NORMAL,
    ATT_FILL_EXACT, /* small integers; with EXP the scores are equal: weights and sums are exact */
    ATT_FILL_ZERO,  /* q is 0: a score is what is added to it */
    ATT_FILL_WIDE,  /* scores far apart */
    ATT_FILL_NAN,   /* normal, and here and there a NaN that is seen */
    ATT_FILL_LOW,   /* masks of -1e9 and of the lowest f32; q is 0 */
    ATT_FILL_SHIFT, /* logw moves all scores by -200 or 80 */
    ATT_FILL_BENCH, /* as NORMAL, but made in less time, and all of it */
    ATT_FILLS
};

/* own[1]: 1 when lengths, pages, offsets and lists hold what is out of range; own[2]: 2^own[2] spreads q. */

static inline struct tenon_attention_params *tenon__att_suite_params(struct conform_case *c)
{
    return (struct tenon_attention_params *)(void *)c->params;
}

void tenon__att_suite_fill(const struct conform_case *c, uint32_t tensor);

#define ATT_HOSTILE    29
#define ATT_PROPERTIES 9
extern const struct conform_hostile tenon__att_suite_hostile[ATT_HOSTILE];
extern const struct conform_property tenon__att_suite_properties[ATT_PROPERTIES];
#define ATT_BENCHES 14
extern const struct conform_bench tenon__att_suite_benches[ATT_BENCHES];
void tenon__att_suite_bench(const struct conform_bench *bench, struct conform_case *c);

#endif
