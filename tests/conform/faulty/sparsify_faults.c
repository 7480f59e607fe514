/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What a sparsify may do wrong. */
#include <float.h>
#include <math.h>
#include <string.h>
#include <tenon/ops/sparsify.h>
#include "faulty.h"

#define SPOIL(name, statement) FAULTY_SPOIL(name, tenon_sparsify_params, statement)

SPOIL(gt_ge, p->kind = p->kind == TENON_SPARSIFY_GT ? TENON_SPARSIFY_GE : p->kind)
SPOIL(ge_gt, p->kind = p->kind == TENON_SPARSIFY_GE ? TENON_SPARSIFY_GT : p->kind)
SPOIL(abs_ge_gt, p->kind = p->kind == TENON_SPARSIFY_ABS_GE ? TENON_SPARSIFY_ABS_GT : p->kind)
SPOIL(abs_lost, p->kind = p->kind == TENON_SPARSIFY_ABS_GE ? TENON_SPARSIFY_GE : p->kind)
SPOIL(soft_shift, p->kind = p->kind == TENON_SPARSIFY_SOFT ? TENON_SPARSIFY_SHIFT_RELU : p->kind)
SPOIL(no_cap, p->cap = FLT_MAX)
SPOIL(no_tau, p->tau = 0)
SPOIL(less, p->k -= p->kind == TENON_SPARSIFY_TOPK && p->k > 0)
SPOIL(batch_less, p->k -= p->kind == TENON_SPARSIFY_BATCH_TOPK && p->k > 0)
SPOIL(batch_rows, p->kind = p->kind == TENON_SPARSIFY_BATCH_TOPK ? TENON_SPARSIFY_TOPK : p->kind)
SPOIL(stat_less, p->k -= p->kind == TENON_SPARSIFY_STAT_TOPK && p->k > 1)
SPOIL(stat_topk, p->kind = p->kind == TENON_SPARSIFY_STAT_TOPK ? TENON_SPARSIFY_TOPK : p->kind)
SPOIL(other_ddof, p->ddof ^= 1)
SPOIL(no_keep, p->keep = TENON_SPARSIFY_SHRINK)

/* NaN is not above 0. */
static void relu_nan(struct tenon_tensor *t, void *params)
{
    struct tenon_sparsify_params *p = params;
    (void)t;
    if (p->kind != TENON_SPARSIFY_RELU)
        return;
    p->kind = TENON_SPARSIFY_GT;
    p->t = 0;
}

/* |x| > t, and equal to it; a score with weights stays. */
static void abs_gt_ge(struct tenon_tensor *t, void *params)
{
    struct tenon_sparsify_params *p = params;
    if (p->kind == TENON_SPARSIFY_ABS_GT && !t[TENON_SPARSIFY_WGT].dtype)
        p->kind = TENON_SPARSIFY_ABS_GE;
}

/* By x where |x| is asked for. */
static void by_value(struct tenon_tensor *t, void *params)
{
    struct tenon_sparsify_params *p = params;
    if (!t[TENON_SPARSIFY_WGT].dtype)
        p->by = TENON_SPARSIFY_BY_VALUE;
}

/* ---- memory ---- */

struct row {
    const struct faulty_run *run;
    const struct tenon_sparsify_params *p;
    const float *x; /* f32, and not y itself */
    float *y, *cval;
    int32_t *cidx, *nnz;
    int64_t row, cols, kmax;
};

static void each_row(const struct faulty_run *run, void (*spoil)(const struct row *row))
{
    const struct tenon_tensor *t = run->plan->tensor;
    struct row r = {.run = run, .p = (const void *)run->plan->params};
    r.cols = tenon__faulty_columns(&t[TENON_SPARSIFY_X]);
    r.kmax = tenon__faulty_columns(&t[TENON_SPARSIFY_CIDX]);
    for (; r.row < tenon__faulty_rows(&t[TENON_SPARSIFY_X]); r.row++) {
        r.x = tenon__faulty_row(run, TENON_SPARSIFY_X, r.row);
        r.y = tenon__faulty_apart(run, TENON_SPARSIFY_X, TENON_SPARSIFY_Y)
                  ? tenon__faulty_row(run, TENON_SPARSIFY_Y, r.row)
                  : NULL;
        r.cidx = tenon__faulty_row(run, TENON_SPARSIFY_CIDX, r.row);
        r.cval = tenon__faulty_row(run, TENON_SPARSIFY_CVAL, r.row);
        r.nnz = tenon__faulty_element(run, TENON_SPARSIFY_NNZ, r.row);
        spoil(&r);
    }
}

/* ---- dense ---- */

/* The columns beyond a multiple of eight come out as they were. */
FAULTY_EACH_ROW(tail_kept)
{
    for (int64_t j = r->cols / 8 * 8; r->x && r->y && j < r->cols; j++)
        r->y[j] = r->x[j];
}

/* x times 0 or 1: the sign stays. */
FAULTY_EACH_ROW(negative_zero)
{
    for (int64_t j = 0; r->x && r->y && j < r->cols; j++)
        if (r->y[j] == 0)
            r->y[j] = copysignf(0, r->x[j]);
}

static int is_topk(const struct row *r)
{
    return r->x && r->y && r->p->kind == TENON_SPARSIFY_TOPK;
}

/* Of entries that are as good as the worst that is kept the last ones. */
FAULTY_EACH_ROW(ties_late)
{
    for (int64_t j = 0; is_topk(r) && j < r->cols; j++)
        for (int64_t other = r->cols - 1; r->y[j] != 0 && other > j && r->y[j] == r->x[j]; other--)
            if (r->y[other] == 0 && r->x[other] == r->x[j]) {
                r->y[other] = r->x[other];
                r->y[j] = 0;
            }
}

/* The mean is over the columns filled up to a multiple of 16. */
FAULTY_EACH_ROW(mean_padded)
{
    double mean = 0;
    if (!r->x || !r->y || r->p->kind != TENON_SPARSIFY_STAT_TOPK || r->p->keep != TENON_SPARSIFY_SHRINK ||
        r->p->k == 0 || r->p->k == r->cols)
        return;
    for (int64_t j = 0; j < r->cols; j++)
        mean += (double)r->x[j] / (double)r->cols;
    const double padded = mean * (double)r->cols / (double)((r->cols + 15) / 16 * 16);
    for (int64_t j = 0; j < r->cols; j++)
        if (r->y[j] > 0 && (double)r->y[j] + mean - padded > 0)
            r->y[j] = (float)((double)r->y[j] + mean - padded);
}

/* A row that cannot have a threshold keeps what it has. */
FAULTY_EACH_ROW(stat_nan)
{
    int special = 0;
    if (!r->x || !r->y || r->p->kind != TENON_SPARSIFY_STAT_TOPK)
        return;
    for (int64_t j = 0; j < r->cols; j++)
        special |= !isfinite(r->x[j]);
    for (int64_t j = 0; special && j < r->cols; j++)
        r->y[j] = r->x[j];
}

/* A NaN is among the best. */
FAULTY_EACH_ROW(topk_nan)
{
    for (int64_t j = 0; is_topk(r) && j < r->cols; j++)
        if (isnan(r->x[j]))
            r->y[j] = r->x[j];
}

/* ---- compact ---- */

FAULTY_EACH_ROW(nnz_off)
{
    if (r->nnz)
        ++*r->nnz;
}

/* How many are kept, not how many are in the list. */
FAULTY_EACH_ROW(nnz_whole)
{
    int32_t n = 0;
    for (int64_t j = 0; r->y && j < r->cols; j++)
        n += r->y[j] != 0;
    if (r->nnz && r->y && r->cidx && n > *r->nnz)
        *r->nnz = n;
}

/* As threads write them. */
FAULTY_EACH_ROW(unsorted)
{
    if (!r->cidx || r->kmax < 2 || r->cidx[1] < 0)
        return;
    tenon__faulty_swap(&r->cidx[0], &r->cidx[1]);
    if (r->cval)
        tenon__faulty_swap(&r->cval[0], &r->cval[1]);
}

FAULTY_EACH_ROW(cval_off)
{
    for (int64_t i = 0; r->cidx && r->cval && r->x && i + 1 < r->kmax; i++)
        if (r->cidx[i + 1] >= 0)
            r->cval[i] = r->cval[i + 1];
}

FAULTY_EACH_ROW(rest_zero)
{
    for (int64_t i = 0; r->cidx && i < r->kmax; i++)
        r->cidx[i] = r->cidx[i] < 0 ? 0 : r->cidx[i];
}

/* The list ends where the kept end. */
FAULTY_EACH_ROW(rest_untouched)
{
    const uint32_t poison = 0xDEADBEEF;
    for (int64_t i = 0; r->cidx && i < r->kmax; i++) {
        if (r->cidx[i] >= 0)
            continue;
        memcpy(&r->cidx[i], &poison, sizeof(poison));
        if (r->cval)
            memcpy(&r->cval[i], &poison, sizeof(poison));
    }
}

/* Of a list that is too short the last of the kept. */
FAULTY_EACH_ROW(full_last)
{
    int64_t last = r->cols - 1;
    if (!r->cidx || !r->y || r->kmax < 1 || r->cidx[r->kmax - 1] < 0)
        return;
    while (last > r->cidx[r->kmax - 1] && r->y[last] == 0)
        last--;
    r->cidx[r->kmax - 1] = (int32_t)last;
    if (r->cval)
        r->cval[r->kmax - 1] = r->y[last];
}

FAULTY_EACH_ROW(tile_off)
{
    for (int64_t i = 0; r->cidx && i < r->kmax; i++)
        r->cidx[i] -= r->cidx[i] > 0 && r->cidx[i] % 1024 == 0;
}

static void flags_shifted(const struct faulty_run *run)
{
    tenon__faulty_flags_shift(run, TENON_SPARSIFY_FLAGS);
}

/* A list that is too short is not told. */
static void flags_silent(const struct faulty_run *run)
{
    tenon__faulty_flags_clear(run, TENON_SPARSIFY_FLAGS, 3);
}

static void flags_short(const struct faulty_run *run)
{
    tenon__faulty_flags_clear(run, TENON_SPARSIFY_FLAGS, 2);
}

static void in_place(const struct faulty_run *run)
{
    tenon__faulty_in_place(run, TENON_SPARSIFY_X, TENON_SPARSIFY_Y);
}

static const struct faulty_fault faults[] = {
    {"gt_ge", "gt keeps what is equal to t", " gt ", .spoil = gt_ge},
    {"ge_gt", "ge drops what is equal to t", " ge ", .spoil = ge_gt},
    {"abs_gt_ge", "abs_gt keeps what is equal to t", "abs_gt", .spoil = abs_gt_ge},
    {"abs_ge_gt", "abs_ge drops what is equal to t", "abs_ge", .spoil = abs_ge_gt},
    {"abs_lost", "abs_ge is ge", "abs_ge", .spoil = abs_lost},
    {"relu_nan", "relu drops NaN", " relu ", .spoil = relu_nan},
    {"soft_shift", "soft drops what is negative", " soft ", .spoil = soft_shift},
    {"no_cap", "cap is ignored", "y[", .spoil = no_cap},
    {"no_tau", "tau is 0", "y[", .spoil = no_tau},
    {"less", "topk keeps k - 1", " topk", .spoil = less},
    {"by_value", "best is by x, not by |x|", "abs", .spoil = by_value},
    {"ties_late", "of equal entries the last are kept", " topk", .after = ties_late},
    {"topk_nan", "topk keeps NaN", " topk", .after = topk_nan},
    {"batch_less", "batch_topk keeps (k - 1) * rows", "batch_topk", .spoil = batch_less},
    {"batch_rows", "batch_topk is topk of each row", "batch_topk", .spoil = batch_rows},
    {"stat_less", "stat_topk has the threshold of k - 1", "stat_topk", .spoil = stat_less},
    {"stat_topk", "stat_topk is topk", "stat_topk", .spoil = stat_topk},
    {"stat_nan", "a row of stat_topk with a NaN or an infinity stays as it is", "stat_topk", .after = stat_nan},
    {"mean_padded", "the mean is over columns filled up to a multiple of 16", "stat_topk", .after = mean_padded},
    {"other_ddof", "ddof is the other one", "stat_topk", .spoil = other_ddof},
    {"no_keep", "stat_topk always subtracts theta", "keep", .spoil = no_keep},
    {"no_t_row", "t_row is ignored", "+t_row", .drop = TENON_SPARSIFY_T_ROW},
    {"no_t_col", "t_col is ignored", "+t_col", .drop = TENON_SPARSIFY_T_COL},
    {"no_wgt", "wgt is ignored", "+wgt", .drop = TENON_SPARSIFY_WGT},
    {"tail_kept", "columns beyond a multiple of eight stay as they are", "y[", .after = tail_kept},
    {"negative_zero", "what is dropped becomes -0", "y[", .after = negative_zero},
    {"in_place", "claims in place, and reads x after writing y", "in place", .before = in_place},
    {"nnz_off", "nnz is one off", "nnz[", .after = nnz_off},
    {"nnz_whole", "nnz counts what is beyond kmax", "nnz[", .after = nnz_whole},
    {"unsorted", "the first two of cidx are exchanged", "cidx", .after = unsorted},
    {"tile_off", "the index of a tile's first column is one less", "cidx", .after = tile_off},
    {"cval_off", "cval is one place before cidx", "cval", .after = cval_off},
    {"rest_zero", "the rest of cidx is 0", "cidx", .after = rest_zero},
    {"rest_untouched", "the rest of cidx and cval is not written", "never written", .after = rest_untouched},
    {"full_last", "of a row longer than kmax the last is in the list", "cidx", .after = full_last},
    {"flags_shifted", "flags are one place further", "flags[", .after = flags_shifted},
    {"flags_silent", "rows beyond kmax are not counted", "flags[", .after = flags_silent},
    {"flags_short", "rows with fewer than k are not counted", "flags[", .after = flags_short},
};

const struct faulty_op tenon__faulty_sparsify = {faults, sizeof(faults) / sizeof(faults[0])};
