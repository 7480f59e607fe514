/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <math.h>

#include "normal.h"

/* For 0 < q <= 0.5. */
static double lower_half(double q)
{
    const double t = sqrt(-2.0 * log(q));
    double x = (2.515517 + t * (0.802853 + t * 0.010328)) / (1.0 + t * (1.432788 + t * (0.189269 + t * 0.001308))) - t;
    /* Each step cubes an error that begins at 4.5e-4. */
    for (int i = 0; i < 3; i++) {
        const double density = 0x1.9884533d43651p-2 * exp(-0.5 * x * x); /* 1/sqrt(2 pi) */
        const double e = (0.5 * erfc(-x * 0x1.6a09e667f3bcdp-1) - q) / density;
        if (!(density > 0.0))
            break;
        x -= e / (1.0 + 0.5 * x * e);
    }
    return x;
}

double tenon__normal_quantile(double p)
{
    if (!(p >= 0.0 && p <= 1.0))
        return (double)NAN;
    if (p == 0.0 || p == 1.0)
        return p > 0.0 ? (double)INFINITY : -(double)INFINITY;
    if (p == 0.5)
        return 0.0;
    return p < 0.5 ? lower_half(p) : -lower_half(1.0 - p);
}
