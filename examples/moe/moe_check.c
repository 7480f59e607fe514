/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The layer as its equation stands, in f64: y = sum over experts e of g_e Wd_e (silu(Wg_e x) * (Wu_e x)), where g is
 * the softmax of the router's logits over the chosen experts and 0 elsewhere. */
#include "moe.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

/* Bounds of the relative error of a token, as the operators state them: sums of f32; 16-bit storage of h and y. */
static double bound(const struct moe_shape *s)
{
    const double longest = (double)(s->width > s->hidden ? s->width : s->hidden);
    return moe_x_type(s) == TENON_F32 ? 4e-6 * sqrt(fmax(1, longest / 1024)) : 8e-3;
}

struct rows {
    const void *array;
    const float *scale;
    uint32_t type;
    int64_t cols;
};

static double dot(const struct rows *w, int64_t row, const double *x)
{
    const int64_t group = moe_group(w->cols), groups = w->cols / group;
    double sum = 0;
    for (int64_t i = 0; i < w->cols; i++) {
        const double scale = w->scale ? (double)w->scale[row * groups + i / group] : 1;
        sum += x[i] * scale * moe_get(w->array, w->type, row * w->cols + i);
    }
    return sum;
}

/* Whether no expert left out has a logit above a chosen one, but for what f32 sums may shift. */
static int choice_holds(const double *logit, const int32_t *idx, const struct moe_shape *s)
{
    double least = HUGE_VAL;
    for (int64_t j = 0; j < s->top_k; j++) {
        if (idx[j] < 0 || idx[j] >= s->experts)
            return 0;
        least = fmin(least, logit[idx[j]]);
    }
    for (int64_t e = 0; e < s->experts; e++) {
        int chosen = 0;
        for (int64_t j = 0; j < s->top_k; j++)
            chosen += idx[j] == e;
        if (chosen > 1 || (!chosen && logit[e] > least + 1e-4 * (1 + fabs(least))))
            return 0;
    }
    return 1;
}

/* y of one token. x, logit, h, sum: room for what their names say. */
static int token(const struct moe_data *data, const int32_t *idx, const double *x, double *logit, double *h,
                 double *sum)
{
    const struct moe_shape *s = &data->shape;
    const struct rows router = {data->router, NULL, moe_x_type(s), s->width},
                      gate = {data->gate, data->gate_scale, s->type, s->width},
                      up = {data->up, data->up_scale, s->type, s->width},
                      down = {data->down, data->down_scale, s->type, s->hidden};
    double most = -HUGE_VAL, total = 0;
    for (int64_t e = 0; e < s->experts; e++)
        logit[e] = dot(&router, e, x);
    if (!choice_holds(logit, idx, s))
        return -1;
    for (int64_t j = 0; j < s->top_k; j++)
        most = fmax(most, logit[idx[j]]);
    for (int64_t j = 0; j < s->top_k; j++)
        total += exp(logit[idx[j]] - most);
    memset(sum, 0, (size_t)s->width * sizeof *sum);
    for (int64_t j = 0; j < s->top_k; j++) {
        const double weight = exp(logit[idx[j]] - most) / total;
        for (int64_t f = 0; f < s->hidden; f++) {
            const double g = dot(&gate, idx[j] * s->hidden + f, x);
            h[f] = g / (1 + exp(-g)) * dot(&up, idx[j] * s->hidden + f, x);
        }
        for (int64_t d = 0; d < s->width; d++)
            sum[d] += weight * dot(&down, idx[j] * s->width + d, h);
    }
    return 0;
}

int moe_check_dense(const struct moe_data *data, const void *y, const int32_t *idx, int64_t n, double *worst)
{
    const struct moe_shape *s = &data->shape;
    const uint32_t type = moe_x_type(s);
    double *room = malloc((size_t)(2 * s->width + s->experts + s->hidden + 1) * sizeof *room);
    if (!room)
        return -1;
    double *x = room, *sum = x + s->width, *logit = sum + s->width, *h = logit + s->experts;
    int wrong = 0;
    *worst = 0;
    for (int64_t i = 0; i < n && !wrong; i++) {
        const int64_t t = n == s->tokens ? i : i * (s->tokens - 1) / (n > 1 ? n - 1 : 1);
        double error = 0, norm = 0;
        for (int64_t d = 0; d < s->width; d++)
            x[d] = moe_get(data->x, type, t * s->width + d);
        wrong = token(data, idx + t * s->top_k, x, logit, h, sum);
        for (int64_t d = 0; d < s->width; d++) {
            const double off = moe_get(y, type, t * s->width + d) - sum[d];
            error += off * off;
            norm += sum[d] * sum[d];
        }
        error = norm > 0 ? sqrt(error / norm) : sqrt(error);
        *worst = error > *worst || isnan(error) ? error : *worst;
        wrong |= !(error <= bound(s));
    }
    free(room);
    return wrong ? -1 : 0;
}

int32_t moe_check_order(struct moe_layer *layer, const struct moe_data *data, const void *y, int *same)
{
    const struct moe_shape *s = &data->shape;
    const uint64_t row = (uint64_t)s->width * moe_type_size(moe_x_type(s)), n = (uint64_t)s->tokens;
    unsigned char *x = malloc(n * row + 1), *got = malloc(n * row + 1);
    int32_t status = x && got ? TENON_OK : TENON_E_NOMEM;
    for (uint64_t t = 0; t < n && !status; t++)
        memcpy(x + t * row, (const unsigned char *)data->x + (n - 1 - t) * row, row);
    if (!status)
        status = moe_layer_load(layer, 0, x);
    if (!status)
        status = moe_layer_forward(layer, 0);
    if (!status)
        status = moe_layer_read(layer, got, NULL, NULL);
    *same = !status;
    for (uint64_t t = 0; t < n && !status; t++)
        *same &= memcmp(got + t * row, (const unsigned char *)y + (n - 1 - t) * row, row) == 0;
    free(x);
    free(got);
    return status;
}
