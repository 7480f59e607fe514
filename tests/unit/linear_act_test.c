/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The activations of the CPU backend, each ISA, through linear with K = 1 and x = 1: y[n] = act(w[n]). Units in the
 * last place against long double over all magnitudes, and the edges that tenon/ops/act.h promises. */
#include <math.h>
#include <stdlib.h>

#include "../tap.h"
#include "linear_cpu.h"

enum { VALUES = 20011 }; /* no multiple of any vector */

static float in[VALUES], out[VALUES];

static void apply(const struct isa *isa, uint32_t act, float alpha, float threshold, int64_t n)
{
    float one = 1.0f;
    const struct test_linear t = {.tensor = {[TENON_LINEAR_X] = test_matrix(TENON_F32, 1, 1, 0),
                                             [TENON_LINEAR_W] = test_matrix(TENON_F32, n, 1, 0),
                                             [TENON_LINEAR_Y] = test_matrix(TENON_F32, 1, n, 0)},
                                  .ptr = {[TENON_LINEAR_X] = &one, [TENON_LINEAR_W] = in, [TENON_LINEAR_Y] = out},
                                  .params = {.act = act, .alpha = alpha, .threshold = threshold}};
    test_linear_run(isa, &t);
}

/* Units of the last place of `want`, in which `got` is off; below 2^-126 units are those of 2^-126. */
static double units(float got, long double want)
{
    const float near = (float)want;
    if (isinf(near) || isnan(near) || isnan(got) || isinf(got))
        return (isnan(near) && isnan(got)) || near == got ? 0 : INFINITY;
    int exponent;
    frexpl(want, &exponent);
    return (double)(fabsl((long double)got - want) / ldexpl(1, (exponent < -125 ? -125 : exponent) - 24));
}

static void check_units(const struct isa *isa, uint32_t act, const char *name, float alpha, double most)
{
    uint64_t seed = act;
    for (int i = 0; i < VALUES; i++) {
        const double u = test_uniform(&seed);
        in[i] = (float)(i % 3 == 0 ? 8 * u : i % 3 == 1 ? 110 * u : ldexp(u, (int)(test_random(&seed) % 250) - 125));
    }
    double worst = 0, at = 0;
    apply(isa, act, alpha, 0.25f, VALUES);
    for (int i = 0; i < VALUES; i++) {
        const long double want = test_act(act, (long double)in[i], (long double)alpha, 0.25L);
        double u = units(out[i], want);
        /* Where x (g (1 + 2 alpha) - alpha) crosses zero a relative error means nothing: measured by its parts. */
        if (alpha != 0.0f && isfinite(u))
            u *= (double)fminl(1.0L, fabsl(want) / (fabsl((long double)alpha * (long double)in[i]) + 0x1p-140L));
        if (u > worst) {
            worst = u;
            at = (double)in[i];
        }
    }
    if (!ok(worst <= most, "%s: %s, alpha %g: within %g units", isa->name, name, (double)alpha, most))
        tap_note("%g units at %a", worst, at);
}

static void check_edges(const struct isa *isa, uint32_t act, const char *name, float alpha)
{
    static const float edge[] = {-INFINITY, INFINITY, NAN, 0.0f, -0.0f, 3e38f, -3e38f, 1e-45f, -1e-45f};
    enum { EDGES = sizeof edge / sizeof *edge };
    int good = 1;
    for (int i = 0; i < EDGES; i++)
        in[i] = edge[i];
    apply(isa, act, alpha, 0.25f, EDGES);
    for (int i = 0; i < EDGES; i++) {
        const long double want = test_act(act, (long double)edge[i], (long double)alpha, 0.25L);
        if (units(out[i], want) > 64) {
            tap_note("%s(%g) = %g, not %Lg", name, (double)edge[i], (double)out[i], want);
            good = 0;
        }
    }
    ok(good, "%s: %s, alpha %g: edges", isa->name, name, (double)alpha);
}

int main(void)
{
#define ACT_NAME(NAME, lower, text) [TENON_ACT_##NAME] = lower,
    static const char *const names[] = {TENON_ACT_LIST(ACT_NAME)};
#undef ACT_NAME
    const struct isa *isa;
    for (unsigned i = 0; (isa = test_isa(i)) != NULL; i++)
        for (uint32_t a = 0; a < TENON_ACT_COUNT; a++) {
            check_units(isa, a, names[a], 0.0f, a == TENON_ACT_GOLU ? 90 : 6);
            check_edges(isa, a, names[a], 0.0f);
            if (a == TENON_ACT_XSILU || a == TENON_ACT_XGELU || a == TENON_ACT_XATLU) {
                check_units(isa, a, names[a], 0.5f, 10);
                check_edges(isa, a, names[a], 0.5f);
            }
        }
    return tap_done();
}
