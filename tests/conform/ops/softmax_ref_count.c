/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax in f64: what is counted over rows, and the mass of the weights. */
#include <math.h>
#include "softmax_suite_ref.h"

#define U     SOFTMAX_U
#define FLOOR SOFTMAX_FLOOR

void tenon__softmax_ref_add(struct softmax_sum *sum, double value)
{
    double t = sum->total + value;
    sum->lost += fabs(sum->total) >= fabs(value) ? sum->total - t + value : value - t + sum->total;
    sum->total = t;
}

/* Rows that an algorithm of two passes begins anew. At the edge, and in rows that are NaN or empty, it may or not. */
static void count_redone(struct softmax_row *r)
{
    const struct tenon_softmax_params *p = r->p;
    const struct conform_slot *x = &r->c->slot[TENON_SOFTMAX_X];
    const int plain = !r->nan && !r->odd && r->above;
    double far = 0, edge = (double)p->win, most = 0;
    int64_t begin = r->cols ? conform_offset(&x->tensor, r->row * r->cols) : 0;
    if (p->algo == TENON_SOFTMAX_FIXED_MAX) {
        far = fabs(r->M - (double)p->phi) * r->T;
    } else if (p->algo == TENON_SOFTMAX_TWO_PASS_EXT || p->algo == TENON_SOFTMAX_AUTO) {
        for (int64_t j = 0; j < r->cols; j++) {
            double value = fabs(conform_get(conform_first(x), x->tensor.dtype, begin + j));
            most = r->there[j] && isfinite(value) ? fmax(most, value) : most;
        }
        far = most;
        edge = 0x1p20;
    } else {
        return;
    }
    if (!plain || p->algo == TENON_SOFTMAX_AUTO || fabs(far - edge) <= 8 * U * edge) {
        r->flag[3] += plain && far < edge - 8 * U * edge ? 0 : 0.5;
        r->flag_bound[3] += plain && far < edge - 8 * U * edge ? 0 : 0.5;
    } else {
        r->flag[3] += far > edge;
    }
}

void tenon__softmax_ref_count(struct softmax_row *r)
{
    int64_t above = 0;
    for (int64_t j = 0; j < r->cols; j++)
        above += r->there[j] && r->v[j] > -(double)INFINITY;
    r->flag[0] += r->nan || r->odd;
    r->flag[1] += !r->nan && !r->odd && r->above == 0;
    r->flag[2] += r->p->support == TENON_SOFTMAX_SUPPORT_TOPK && above < (int64_t)r->p->k;
    count_redone(r);
}

/* Mass: the weights of a row without a sink sum to one. */
int tenon__conform_softmax_check(const struct conform_case *c, const struct conform_want *want, struct tenon_why *why)
{
    const struct tenon_softmax_params *p = (const void *)c->params;
    const struct conform_slot *y = &c->slot[TENON_SOFTMAX_Y];
    const struct conform_want *w = &want[TENON_SOFTMAX_Y];
    int64_t cols = y->tensor.dtype ? y->tensor.dim[y->tensor.rank - 1] : 0;
    if (cols == 0 || y->tensor.dtype != TENON_F32 || p->kind != TENON_SOFTMAX_EXP || p->post ||
        c->slot[TENON_SOFTMAX_SINK].tensor.dtype || c->slot[TENON_SOFTMAX_MULT].tensor.dtype)
        return 0;
    for (int64_t row = 0; row < w->count / cols; row++) {
        struct softmax_sum got = {0, 0}, should = {0, 0};
        int64_t at = conform_offset(&y->tensor, row * cols);
        for (int64_t j = 0; j < cols; j++) {
            tenon__softmax_ref_add(&got, conform_get(conform_first(y), TENON_F32, at + j));
            tenon__softmax_ref_add(&should, w->want[row * cols + j]);
        }
        /* Empty and NaN rows have no mass to check; FIXED_MAX may lose what the specification grants it. */
        if (fabs(softmax_total(&should) - 1) < 1e-9 && p->algo != TENON_SOFTMAX_FIXED_MAX &&
            !(fabs(softmax_total(&got) - 1) <= 32 * U + (double)cols * FLOOR))
            return tenon_why_set(why, 1, "row %lld: the weights sum to 1%+.3g, at most 32u = %.3g off", (long long)row,
                                 softmax_total(&got) - 1, 32 * U);
    }
    return 0;
}
