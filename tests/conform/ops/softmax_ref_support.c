/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax in f64: which entries the support leaves, with the band in which a backend may decide otherwise. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "softmax_suite_ref.h"

/* The upper tail k/cols, inverted by halving on erfc: about 1e-15, and 0 is exact. */
double tenon__softmax_ref_quantile(double k, double cols)
{
    double low = -40, high = 40;
    if (2 * k == cols)
        return 0;
    for (int i = 0; i < 200; i++) {
        double middle = (low + high) / 2;
        if (erfc(middle * 0.70710678118654752440) / 2 > k / cols)
            low = middle;
        else
            high = middle;
    }
    return (low + high) / 2;
}

static int descending(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x < y) - (x > y);
}

/* The k best by the total order: above -Inf by value, then by index; NaNs last, -Inf never. */
static void take_best(struct softmax_row *r, int64_t k)
{
    int64_t above = 0, ties, nans;
    double kth;
    memset(r->state, SOFTMAX_OUT, (size_t)r->cols + 1);
    for (int64_t j = 0; j < r->cols; j++)
        if (r->there[j] && r->v[j] > -(double)INFINITY)
            r->sorted[above++] = r->v[j];
    qsort(r->sorted, (size_t)above, sizeof(double), descending);
    kth = above > k ? r->sorted[k - 1] : -(double)INFINITY;
    nans = above < k ? k - above : 0;
    ties = k;
    for (int64_t i = 0; i < k && i < above; i++)
        ties -= r->sorted[i] > kth;
    for (int64_t j = 0; j < r->cols; j++) {
        if (!r->there[j])
            continue;
        if (isnan(r->v[j]))
            r->state[j] = nans-- > 0 ? SOFTMAX_IN : SOFTMAX_OUT;
        else if (r->v[j] > kth)
            r->state[j] = SOFTMAX_IN;
        else if (r->v[j] == kth && kth > -(double)INFINITY && ties-- > 0)
            r->state[j] = SOFTMAX_IN;
        nans = nans < 0 ? 0 : nans;
        ties = ties < 0 ? 0 : ties;
    }
    /* Generated normals may be off: entries as near the k-th best as that may change places. */
    if (r->shift > 0 && above > k && r->sorted[k] >= kth - 2 * r->shift)
        for (int64_t j = 0; j < r->cols; j++)
            if (r->there[j] && fabs(r->v[j] - kth) <= 4 * r->shift)
                r->state[j] = SOFTMAX_UNSURE;
}

static void take_above(struct softmax_row *r)
{
    struct conform_exact sum = {.n = 0}, squares = {.n = 0};
    double mean, std, threshold, band, n = 0;
    for (int64_t j = 0; j < r->cols; j++) {
        if (!r->there[j] || r->v[j] == -(double)INFINITY)
            continue;
        if (isnan(r->v[j]) || isinf(r->v[j]))
            return; /* no threshold */
        conform_exact_add(&sum, r->v[j]);
        n++;
    }
    mean = n > 0 ? conform_exact_total(&sum) / n : 0;
    for (int64_t j = 0; j < r->cols; j++)
        if (r->there[j] && r->v[j] > -(double)INFINITY)
            conform_exact_add(&squares, (r->v[j] - mean) * (r->v[j] - mean));
    std = n > 0 ? sqrt(conform_exact_total(&squares) / n) : 0;
    threshold = mean + std * r->quantile;
    band = 4 * SOFTMAX_U * (fabs(mean) + std * fabs(r->quantile)) + r->shift * (2 + fabs(r->quantile));
    for (int64_t j = 0; j < r->cols; j++)
        r->state[j] = !r->there[j] || r->v[j] == -(double)INFINITY ? SOFTMAX_OUT
                      : fabs(r->v[j] - threshold) <= band          ? SOFTMAX_UNSURE
                      : r->v[j] > threshold                        ? SOFTMAX_IN
                                                                   : SOFTMAX_OUT;
}

void tenon__softmax_ref_support(struct softmax_row *r)
{
    int64_t n = 0;
    for (int64_t j = 0; j < r->cols; j++) {
        r->state[j] = r->there[j] ? SOFTMAX_IN : SOFTMAX_OUT;
        n += r->there[j];
    }
    if (r->p->support == TENON_SOFTMAX_SUPPORT_ALL || (int64_t)r->p->k >= n)
        return;
    if (r->p->support == TENON_SOFTMAX_SUPPORT_TOPK)
        take_best(r, r->p->k);
    else
        take_above(r);
}
