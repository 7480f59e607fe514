/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#ifndef TENON_NORMAL_H
#define TENON_NORMAL_H

/* The quantile of the standard normal distribution: the x with Phi(x) = p, for 0 < p < 1 (0 gives -Inf, 1 +Inf, all
 * else NaN), to a few units in the last place of f64. By Halley's iteration on erfc from Hastings' approximation
 * (Abramowitz & Stegun 26.2.23). For an upper tail u call -tenon__normal_quantile(u): 1 - u would lose digits.
 * In the contract library, so that all backends have the same bits. [thread-safe] */
double tenon__normal_quantile(double p);

#endif
