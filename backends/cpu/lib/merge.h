/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Weighted sums of the outputs of the parts of rows, for operators that merge them: y = (sum weight[p] o[p]) / S. A unit
 * of work is a stretch of MERGE_COLS columns of one row; the weights of a row are so cheap that each of its units
 * computes them anew, and so the columns of few rows keep all threads busy. Sums are f64, parts ascending, whatever
 * unit or thread does them. */
#ifndef TENON_LIB_MERGE_H
#define TENON_LIB_MERGE_H

#include "cpu.h"
#include "lib/pack.h"

#define MERGE_COLS             512       /* f64 sums of a unit, which stay in L1 */
#define MERGE_SMALL_WORK       (1 << 15) /* elements not worth waking threads for */
#define MERGE_TASKS_PER_THREAD 4

/* What a row comes to: zeros, the sum, NaN. */
enum { MERGE_NONE, MERGE_SOME, MERGE_NAN };

struct merge;
/* acc[c] = the sum over the parts of o times their factors. */
typedef void merge_sum_fn(const struct merge *s, const char *o, int64_t n, const float (*factor)[2], double *acc);

struct merge {
    int64_t parts, rows, dv, blocks; /* dv is 0 where there is no y */
    int64_t o_row, o_part, y_row;    /* bytes from row to row, and from part to part */
    int64_t o_size;
    uint64_t slot; /* bytes of a task: weights and factors of the parts */
    merge_sum_fn *sum;
    uint32_t tasks, y_dtype;
};

struct merge_run {
    const struct merge *s;
    const void *o;
    void *y;
    unsigned char *workspace;
    const void *own;
    /* weight[p] of every part of a row (0: skipped) and S, where it gives MERGE_SOME. `first`: of this row, the first
     * call of all; what the row has beside y is written then. */
    int (*row)(const void *own, int64_t row, int first, double *weight, double *S);
};

/* What o is multiplied by, as two floats: one may be beyond the type where the product with o is not. */
SIMD_FN void merge_set_factors(const struct merge *s, const double *weight, double S, float (*factor)[2])
{
    for (int64_t p = 0; p < s->parts; p++) {
        int exponent;
        const double mantissa = frexp(weight[p] / S, &exponent);
        const int half = exponent / 2;
        factor[p][0] = (float)ldexp(mantissa, half);
        factor[p][1] = (float)ldexp(1.0, exponent - half);
    }
}

SIMD_FN void merge_sum(const struct merge *s, const char *o, int64_t n, const float (*factor)[2], double *acc,
                       uint32_t dtype)
{
    memset(acc, 0, MERGE_COLS * sizeof *acc);
    for (int64_t p = 0; p < s->parts; p++) {
        if (factor[p][0] == 0.0f)
            continue;
        const vf first = vf_set1(factor[p][0]), second = vf_set1(factor[p][1]);
        const char *from = o + p * s->o_part;
        int64_t c = 0;
        for (; c + VF <= n; c += VF)
            vf_accumulate(acc + c, vf_mul(vf_mul(pack_load(dtype, from, c), first), second));
        if (c < n)
            vf_accumulate(acc + c, vf_mul(vf_mul(pack_load_n(dtype, from, c, n - c), first), second));
    }
}

static void merge_sum_f32(const struct merge *s, const char *o, int64_t n, const float (*factor)[2], double *acc)
{
    merge_sum(s, o, n, factor, acc, TENON_F32);
}

static void merge_sum_f16(const struct merge *s, const char *o, int64_t n, const float (*factor)[2], double *acc)
{
    merge_sum(s, o, n, factor, acc, TENON_F16);
}

static void merge_sum_bf16(const struct merge *s, const char *o, int64_t n, const float (*factor)[2], double *acc)
{
    merge_sum(s, o, n, factor, acc, TENON_BF16);
}

static void merge_put_columns(const struct merge_run *run, int64_t row, int64_t c0, int what,
                              const float (*factor)[2])
{
    const struct merge *s = run->s;
    const int64_t n = s->dv - c0 < MERGE_COLS ? s->dv - c0 : MERGE_COLS;
    const char *o = (const char *)run->o + row * s->o_row + c0 * s->o_size;
    char *y = (char *)run->y + row * s->y_row;
    double acc[MERGE_COLS];
    float out[MERGE_COLS];
    if (what != MERGE_SOME)
        for (int64_t c = 0; c < n; c++)
            out[c] = what == MERGE_NAN ? NAN : 0.0f;
    else {
        s->sum(s, o, n, factor, acc);
        for (int64_t c = 0; c < n; c++)
            out[c] = (float)acc[c];
    }
    for (int64_t c = 0; c < n; c += VF)
        pack_store_n(s->y_dtype, y, c0 + c, vf_load_n(out + c, n - c < VF ? (int)(n - c) : VF), n - c);
}

static void merge_task(void *context, uint32_t i)
{
    const struct merge_run *run = context;
    const struct merge *s = run->s;
    /* By division first: rows * blocks is below 2^55, and tasks below 2^13 would take it past 2^63. */
    const int64_t units = s->rows * s->blocks, each = units / s->tasks, rest = units % s->tasks;
    const int64_t from = each * i + (i < rest ? i : rest), to = from + each + (i < rest);
    double *weight = (double *)(void *)(run->workspace + i * s->slot), S = 0;
    float(*factor)[2] = (float(*)[2])(void *)(weight + s->parts);
    int64_t last = -1;
    int what = MERGE_NONE;
    for (int64_t unit = from; unit < to; unit++) {
        const int64_t row = unit / s->blocks, block = unit % s->blocks;
        if (row != last) {
            what = run->row(run->own, row, block == 0, weight, &S);
            if (what == MERGE_SOME && s->dv > 0)
                merge_set_factors(s, weight, S, factor);
            last = row;
        }
        if (s->dv > 0)
            merge_put_columns(run, row, block * MERGE_COLS, what, (const float(*)[2])factor);
    }
}

static void merge_rows(const struct cpu_env *env, struct merge_run *run)
{
    if (run->s->rows == 0)
        return;
    if (run->s->tasks == 1)
        merge_task(run, 0);
    else
        env->host->parallel(env->host, run->s->tasks, merge_task, run);
}

/* parts and rows are set; o [parts,rows,dv], y [rows,dv] or absent. */
static int32_t merge_set(struct cpu_plan *plan, struct merge *s, const struct tenon_tensor *o,
                         const struct tenon_tensor *y)
{
    int64_t rows, stride, cols;
    s->blocks = 1;
    if (y->dtype) {
        int32_t status = tenon_tensor_rows(o, &rows, &stride, &s->dv);
        if (status)
            return status;
        s->o_size = TENON_DTYPE_SIZE(o->dtype);
        s->o_row = stride * s->o_size;
        s->o_part = s->rows * s->o_row;
        status = tenon_tensor_rows(y, &rows, &stride, &cols);
        if (status)
            return status;
        s->y_row = stride * (int64_t)TENON_DTYPE_SIZE(y->dtype);
        s->y_dtype = y->dtype;
        s->sum = o->dtype == TENON_F16 ? merge_sum_f16 : o->dtype == TENON_BF16 ? merge_sum_bf16 : merge_sum_f32;
        s->blocks = s->dv > MERGE_COLS ? (s->dv + MERGE_COLS - 1) / MERGE_COLS : 1;
    }
    const int64_t units = s->rows * s->blocks, most = (int64_t)plan->env->threads * MERGE_TASKS_PER_THREAD;
    const double work = (double)s->parts * (double)s->rows * (double)(s->dv + 8);
    s->tasks = work < MERGE_SMALL_WORK || plan->env->threads == 1 ? 1 : (uint32_t)(units < most ? units : most);
    s->slot = ((uint64_t)s->parts * (sizeof(double) + 2 * sizeof(float)) + 63) & ~UINT64_C(63);
    plan->workspace = s->rows ? s->slot * s->tasks : 0;
    return TENON_OK;
}

#endif
