/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Comparisons of the f64 references with 256-bit values. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif
#include <stdlib.h>
#include "suite.h"

int precise_built(void)
{
#if TENON_HAVE_MPFR
    return 1;
#else
    return 0;
#endif
}

void suite_reference(const struct options *options, const struct conform_case *c, const struct conform_want *want,
                     struct result *result)
{
    struct conform_precise precise = {.tensor = result->at_tensor, .element = result->at_element};
    int chosen = options->only >= 0 || conform_below(conform_key(c, 301), 0, 20) == 0;
    if (result->reference == REFERENCE_NONE)
        result->reference = REFERENCE_TAKEN;
    if (!c->op->mpfr || (result->outcome != RESULT_FAIL && !chosen) || c->op->mpfr(c, want, &precise))
        return;
    result->reference = REFERENCE_CHECKED;
    result->precise += precise.checked;
    if (precise.worst > result->precise_worst)
        result->precise_worst = precise.worst;
    if (precise.worst <= 1)
        return;
    result->outcome = RESULT_FAIL;
    snprintf(result->why, sizeof(result->why), "the suite's own reference is wrong, not the device: %s",
             precise.why.text);
}

#if TENON_HAVE_MPFR
#include <math.h>
#include "precise.h"

/* The share of the bound by which `want` is off. */
static double share_of(double want, mpfr_srcptr exact, double bound)
{
    mpfr_t off;
    double share;
    if (isnan(want) || mpfr_nan_p(exact))
        return isnan(want) && mpfr_nan_p(exact) ? 0 : (double)INFINITY;
    if (mpfr_cmp_d(exact, want) == 0)
        return 0;
    if (isinf(want) || mpfr_inf_p(exact) || !(bound > 0))
        return (double)INFINITY;
    mpfr_init2(off, PRECISE_BITS);
    mpfr_sub_d(off, exact, want, MPFR_RNDN);
    mpfr_div_d(off, off, bound, MPFR_RNDN);
    share = fabs(mpfr_get_d(off, MPFR_RNDU));
    mpfr_clear(off);
    return share;
}

void precise_compare(struct conform_precise *precise, const struct conform_case *c, const struct conform_want *want,
                     uint32_t tensor, int64_t element, mpfr_srcptr exact, double bound)
{
    double share = share_of(want[tensor].want[element], exact, bound);
    char text[64];
    precise->checked++;
    if (share <= precise->worst)
        return;
    precise->worst = share;
    mpfr_snprintf(text, sizeof(text), "%.22Rg", exact);
    tenon_why_set(&precise->why, 1, "%s[%lld] is %.17g in f64 and %s in 256 bits, %.3g times what f64 may lose",
                  tenon_op_contract_by_number(c->op->op)->tensors[tensor].name, (long long)element,
                  want[tensor].want[element], text, share);
}

float precise_fma_f32(float x, float y, float z)
{
    /* Exact: products have 48 bits between 2^-298 and 2^256, z reaches down to 2^-149. */
    mpfr_t a, b;
    float result;
    mpfr_init2(a, 640);
    mpfr_init2(b, 24);
    mpfr_set_flt(a, x, MPFR_RNDN);
    mpfr_set_flt(b, y, MPFR_RNDN);
    mpfr_mul(a, a, b, MPFR_RNDN);
    mpfr_set_flt(b, z, MPFR_RNDN);
    mpfr_add(a, a, b, MPFR_RNDN);
    result = mpfr_get_flt(a, MPFR_RNDN);
    mpfr_clear(b);
    mpfr_clear(a);
    return result;
}

int64_t precise_sample(const struct conform_case *c, int64_t i, int64_t n, int64_t count, int64_t must)
{
    if (n >= count)
        return i;
    if (i == 0 && must >= 0 && must < count)
        return must;
    if (i < 2)
        return i == 0 ? 0 : count - 1;
    return (int64_t)conform_below(conform_key(c, 300), (uint64_t)i, (uint64_t)count);
}
#endif
