/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of linear's cases share. */
#ifndef CONFORM_LINEAR_SUITE_H
#define CONFORM_LINEAR_SUITE_H

#include <tenon/ops/linear.h>
#include "../conform.h"

static inline struct tenon_linear_params *tenon__linear_suite_params(struct conform_case *c)
{
    return (struct tenon_linear_params *)(void *)c->params;
}

#define LINEAR_HOSTILE    12
#define LINEAR_PROPERTIES 4
extern const struct conform_hostile tenon__linear_suite_hostile[LINEAR_HOSTILE];
extern const struct conform_property tenon__linear_suite_properties[LINEAR_PROPERTIES];

#endif
