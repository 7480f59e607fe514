/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of rope's suite share. */
#ifndef CONFORM_ROPE_SUITE_H
#define CONFORM_ROPE_SUITE_H

#include <tenon/ops/rope.h>
#include "../conform.h"

/* What x holds (own[0]). */
enum { ROPE_NORMAL, ROPE_EXACT, ROPE_SPECIAL, ROPE_WIDE, ROPE_TINY, ROPE_FILLS };
/* What pos holds (own[1]). */
enum { ROPE_RISING, ROPE_SMALL, ROPE_FAR, ROPE_HUGE, ROPE_NEGATIVE, ROPE_ENDS, ROPE_POSITIONS };
/* What the angles are of (own[2]). */
enum { ROPE_BASE, ROPE_SCALED, ROPE_FREQUENCIES, ROPE_ODD_FREQUENCIES, ROPE_TABLED, ROPE_ANGLES };

static inline int64_t rope_half(const struct conform_case *c)
{
    const struct tenon_rope_params *p = (const void *)c->params;
    return (p->n_rot ? p->n_rot : c->slot[TENON_ROPE_X].tensor.dim[3]) / 2;
}

#define ROPE_HOSTILE    17
#define ROPE_PROPERTIES 4
extern const struct conform_hostile tenon__rope_suite_hostile[ROPE_HOSTILE];
extern const struct conform_property tenon__rope_suite_properties[ROPE_PROPERTIES];

#endif
