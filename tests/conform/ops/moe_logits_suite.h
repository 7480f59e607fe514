/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of moe_logits's cases share. */
#ifndef CONFORM_MOE_LOGITS_SUITE_H
#define CONFORM_MOE_LOGITS_SUITE_H

#include <tenon/ops/moe_logits.h>
#include "../conform.h"

static inline struct tenon_moe_logits_params *tenon__moe_logits_suite_params(struct conform_case *c)
{
    return (struct tenon_moe_logits_params *)(void *)c->params;
}

#define MOE_LOGITS_HOSTILE    10
#define MOE_LOGITS_PROPERTIES 4
extern const struct conform_hostile tenon__moe_logits_suite_hostile[MOE_LOGITS_HOSTILE];
extern const struct conform_property tenon__moe_logits_suite_properties[MOE_LOGITS_PROPERTIES];

#endif
