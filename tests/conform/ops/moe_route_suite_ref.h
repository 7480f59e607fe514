/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of moe_route's reference share: one token's scores in the f32 that the header specifies bit by bit,
 * and what is selected by them. */
#ifndef CONFORM_MOE_ROUTE_SUITE_REF_H
#define CONFORM_MOE_ROUTE_SUITE_REF_H

#include <tenon/ops/moe_route.h>
#include "../conform.h"

struct route_pick {
    float key;
    int32_t index;
};

struct route_ref {
    const struct conform_case *c;
    const struct tenon_moe_route_params *p;
    int64_t tokens, columns, experts, slots, bits; /* columns: of the logits; slots: K */
    float *z, *clean;         /* logits of the score; without noise and temperature */
    float *noisy;             /* what slots after the first go by, with SECOND_ONLY */
    float *s, *key, *group_z; /* scores, keys; logits of the first level */
    struct route_pick *pick;  /* room: E or T */
    int32_t *idx;             /* slots of the token */
    float *dense;             /* EXPERT_CHOICE: s of all tokens, -Inf where nothing is to be taken */
    char *taken;              /* EXPERT_CHOICE: [T,E] */
    int valid, bad, empty, odd, cut; /* odd: a NaN or +Inf among the logits; cut: flags[2] */
    int64_t nsel, range;
};

int tenon__route_ref_init(struct route_ref *r, const struct conform_case *c);
void tenon__route_ref_free(struct route_ref *r);
double tenon__route_ref_get(const struct route_ref *r, uint32_t tensor, int64_t index);
int tenon__route_ref_has(const struct route_ref *r, uint32_t tensor);
/* Scores and selection of token t; of EXPERT_CHOICE, `dense` must be there, and `taken` after tenon__route_ref_choose. */
void tenon__route_ref_score(struct route_ref *r, int64_t t);
void tenon__route_ref_select(struct route_ref *r, int64_t t);
/* Tokens of expert e, best first; -1 then. */
void tenon__route_ref_choose(struct route_ref *r, int64_t e, int32_t *tokens);
/* Whether the logits are looked at. */
int tenon__route_ref_reads(const struct tenon_moe_route_params *p);

#endif
