/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What an attn_merge may do wrong. */
#include <math.h>
#include <tenon/ops/attn_merge.h>
#include "faulty.h"

/* A loop over parts in fours that forgets the rest; the last part. */
static void keep_parts(struct tenon_tensor *t, int64_t parts)
{
    for (uint32_t i = TENON_ATTN_MERGE_O_PARTS; i <= TENON_ATTN_MERGE_COUNTS; i++)
        if (t[i].dtype)
            t[i].dim[0] = parts;
}

static void last_lost(struct tenon_tensor *t, void *params)
{
    (void)params;
    if (t[0].dim[0] > 1)
        keep_parts(t, t[0].dim[0] - 1);
}

static void rest_lost(struct tenon_tensor *t, void *params)
{
    (void)params;
    if (t[0].dim[0] > 4)
        keep_parts(t, t[0].dim[0] / 4 * 4);
}

/* One row after a run. */
struct row {
    const struct faulty_run *run;
    int64_t row, rows, parts, heads, v;
    uint32_t kind;
    const float *lnz_parts, *sink;
    const int32_t *counts;
    float *o, *lnz; /* NULL where they are absent or not f32 */
};

static void each_row(const struct faulty_run *run, void (*spoil)(const struct row *row))
{
    const struct tenon_attn_merge_params *params = (const void *)run->plan->params;
    const struct tenon_tensor *o = &run->plan->tensor[TENON_ATTN_MERGE_O_PARTS];
    struct row r = {.run = run, .parts = o->dim[0], .v = o->dim[o->rank - 1], .kind = params->kind, .rows = 1};
    for (uint32_t i = 1; i + 1 < o->rank; i++)
        r.rows *= o->dim[i];
    r.heads = o->rank > 2 ? o->dim[o->rank - 2] : 1;
    r.lnz_parts = tenon__faulty_memory(run, TENON_ATTN_MERGE_LNZ_PARTS);
    r.sink = tenon__faulty_memory(run, TENON_ATTN_MERGE_SINK);
    r.counts = tenon__faulty_memory(run, TENON_ATTN_MERGE_COUNTS);
    for (; r.row < r.rows; r.row++) {
        r.o = r.v ? tenon__faulty_row(run, TENON_ATTN_MERGE_O, r.row) : NULL;
        r.lnz = tenon__faulty_element(run, TENON_ATTN_MERGE_LNZ, r.row);
        spoil(&r);
    }
}

/* l of part p, or how many keys it saw. */
static double part_of(const struct row *r, int64_t p)
{
    return r->kind == TENON_ATTN_MERGE_BY_LNZ     ? (double)r->lnz_parts[p * r->rows + r->row]
           : r->kind == TENON_ATTN_MERGE_BY_COUNT ? (double)r->counts[p * r->rows + r->row]
                                                  : 1;
}

static int is_empty(const struct row *r, int64_t p)
{
    return r->kind == TENON_ATTN_MERGE_BY_LNZ ? isinf(part_of(r, p)) && part_of(r, p) < 0 : part_of(r, p) <= 0;
}

/* The largest l; NaN where the row is. */
static double top_of(const struct row *r)
{
    double top = -(double)INFINITY;
    for (int64_t p = 0; p < r->parts; p++) {
        const double l = part_of(r, p);
        if (isnan(l) || (isinf(l) && l > 0))
            return (double)NAN;
        top = l > top ? l : top;
    }
    return top;
}

static double sum_to(const struct row *r, double top)
{
    double sum = 0;
    for (int64_t p = 0; p < r->parts; p++)
        sum += is_empty(r, p) ? 0 : exp(part_of(r, p) - top);
    return sum;
}

static int has_lnz(const struct row *r)
{
    return r->kind == TENON_ATTN_MERGE_BY_LNZ && isfinite(top_of(r));
}

static double sink_of(const struct row *r)
{
    return r->sink ? (double)r->sink[r->row % r->heads] : -(double)INFINITY;
}

static void scale_o(const struct row *r, double factor)
{
    for (int64_t col = 0; r->o && col < r->v; col++)
        r->o[col] = (float)((double)r->o[col] * factor);
}

/* Z over Z with the sink; 1 where the row has none. */
static double share_of(const struct row *r)
{
    const double sink = sink_of(r);
    if (!has_lnz(r) || !isfinite(sink))
        return 1;
    return 1 / (1 + exp(sink - top_of(r)) / sum_to(r, top_of(r)));
}

/* ---- the sink ---- */

FAULTY_EACH_ROW(sink_ignored)
{
    if (share_of(r) > 0x1p-60)
        scale_o(r, 1 / share_of(r));
}

/* As if every part had been made with it. */
FAULTY_EACH_ROW(sink_every_part)
{
    const double own = share_of(r), sink = sink_of(r);
    if (own < 1 && own > 0x1p-60)
        scale_o(r, 1 / (1 + (double)r->parts * exp(sink - top_of(r)) / sum_to(r, top_of(r))) / own);
}

FAULTY_EACH_ROW(sink_in_lnz)
{
    if (r->lnz && has_lnz(r) && isfinite(sink_of(r)))
        *r->lnz = (float)((double)*r->lnz - log(share_of(r)));
}

FAULTY_EACH_ROW(sink_of_head_0)
{
    if (!r->sink || !has_lnz(r) || !isfinite((double)r->sink[0]) || share_of(r) < 0x1p-60)
        return;
    scale_o(r, 1 / share_of(r) / (1 + exp((double)r->sink[0] - top_of(r)) / sum_to(r, top_of(r))));
}

/* The sink is a maximum too, and lnz loses what is far below it. */
FAULTY_EACH_ROW(sink_top)
{
    const double sink = sink_of(r);
    if (r->lnz && has_lnz(r) && isfinite(sink) && sink > top_of(r) + 88)
        *r->lnz = -INFINITY;
}

FAULTY_EACH_ROW(sink_nan_ignored)
{
    if (r->o && has_lnz(r) && r->sink && isnan(sink_of(r)))
        for (int64_t col = 0; col < r->v; col++)
            r->o[col] = 0;
}

FAULTY_EACH_ROW(sink_nan_in_lnz)
{
    if (r->lnz && has_lnz(r) && r->sink && isnan(sink_of(r)))
        *r->lnz = NAN;
}

/* ---- empty parts, rows of them, normalisers that are none ---- */

/* 0 times the NaN that an empty part holds. */
FAULTY_EACH_ROW(empty_counts)
{
    for (int64_t p = 0; p < r->parts; p++) {
        const float *part = tenon__faulty_row(r->run, TENON_ATTN_MERGE_O_PARTS, p * r->rows + r->row);
        for (int64_t col = 0; r->o && part && is_empty(r, p) && col < r->v; col++)
            if (isnan(part[col]))
                r->o[col] = NAN;
    }
}

static int all_empty_of(const struct row *r)
{
    int all = r->kind != TENON_ATTN_MERGE_BY_SUM;
    for (int64_t p = 0; p < r->parts; p++)
        all = all && is_empty(r, p);
    return all;
}

FAULTY_EACH_ROW(all_empty)
{
    for (int64_t col = 0; r->o && all_empty_of(r) && col < r->v; col++)
        r->o[col] = NAN;
}

FAULTY_EACH_ROW(empty_lnz)
{
    if (r->lnz && all_empty_of(r))
        *r->lnz = 0;
}

FAULTY_EACH_ROW(nan_skipped)
{
    if (r->lnz && isnan(*r->lnz))
        *r->lnz = 0;
}

FAULTY_EACH_ROW(negative_count)
{
    double sum = 0, plain = 0;
    for (int64_t p = 0; r->kind == TENON_ATTN_MERGE_BY_COUNT && p < r->parts; p++) {
        plain += part_of(r, p);
        sum += is_empty(r, p) ? 0 : part_of(r, p);
    }
    if (sum > 0 && plain != sum)
        scale_o(r, sum / plain);
}

/* ---- weights ---- */

/* The mean of the parts, or their mean instead of their sum. */
FAULTY_EACH_ROW(mean)
{
    for (int64_t col = 0; r->o && r->parts && col < r->v; col++) {
        double sum = 0;
        for (int64_t p = 0; p < r->parts; p++) {
            const float *part = tenon__faulty_row(r->run, TENON_ATTN_MERGE_O_PARTS, p * r->rows + r->row);
            sum += part && !is_empty(r, p) ? (double)part[col] : 0;
        }
        if (isfinite(r->o[col]))
            r->o[col] = (float)(sum / (double)r->parts);
    }
}

FAULTY_EACH_ROW(sum_divided)
{
    if (r->kind == TENON_ATTN_MERGE_BY_SUM && r->parts)
        scale_o(r, 1 / (double)r->parts);
}

FAULTY_EACH_ROW(count_sum)
{
    double sum = 0;
    for (int64_t p = 0; r->kind == TENON_ATTN_MERGE_BY_COUNT && p < r->parts; p++)
        sum += is_empty(r, p) ? 0 : part_of(r, p);
    if (sum > 0)
        scale_o(r, sum);
}

/* lnz is the largest of the parts'; those below 2^-12 of it are dropped. */
FAULTY_EACH_ROW(lnz_top)
{
    if (r->lnz && has_lnz(r))
        *r->lnz = (float)top_of(r);
}

FAULTY_EACH_ROW(light_dropped)
{
    double sum = 0;
    for (int64_t p = 0; has_lnz(r) && p < r->parts; p++) {
        const double w = is_empty(r, p) ? 0 : exp(part_of(r, p) - top_of(r));
        sum += w > 0x1p-12 ? w : 0;
    }
    if (has_lnz(r))
        scale_o(r, sum_to(r, top_of(r)) / sum);
}

/* ---- o ---- */

FAULTY_EACH_ROW(o_tail)
{
    const struct tenon_tensor *t = &r->run->plan->tensor[TENON_ATTN_MERGE_O];
    char *y = tenon__faulty_memory(r->run, TENON_ATTN_MERGE_O);
    for (int64_t j = r->v / 8 * 8; y && j < r->v; j++)
        tenon__faulty_poke(t, y, tenon__faulty_at(t, r->row) + j, 0xDEADBEEF);
}

/* 16-bit results are cut off, twice over. */
FAULTY_EACH_ROW(o_down)
{
    const struct tenon_tensor *t = &r->run->plan->tensor[TENON_ATTN_MERGE_O];
    char *y = tenon__faulty_memory(r->run, TENON_ATTN_MERGE_O);
    for (int64_t j = 0; y && TENON_DTYPE_SIZE(t->dtype) == 2 && j < r->v; j++) {
        const int64_t at = tenon__faulty_at(t, r->row) + j;
        const uint32_t bits = tenon__faulty_peek(t, y, at);
        tenon__faulty_poke(t, y, at, (bits & 0x7fff) > 2 && (bits & 0x7fff) < 0x7c00 ? bits - 2 : bits);
    }
}

static const struct faulty_fault faults[] = {
    {"last_lost", "the last part is lost", "o[", .spoil = last_lost},
    {"rest_lost", "parts beyond a multiple of four are lost", "o[", .spoil = rest_lost},
    {"sink_ignored", "the sink is left out", "o[", .after = sink_ignored},
    {"sink_every_part", "the sink counts once a part", "o[", .after = sink_every_part},
    {"sink_in_lnz", "lnz contains the sink", "lnz[", .after = sink_in_lnz},
    {"sink_of_head_0", "every head has the sink of the first", "o[", .after = sink_of_head_0},
    {"sink_top", "lnz far below a sink is lost", "lnz[", .after = sink_top},
    {"sink_nan_ignored", "a sink that is NaN makes o 0", "o[", .after = sink_nan_ignored},
    {"sink_nan_in_lnz", "a sink that is NaN makes lnz NaN", "lnz[", .after = sink_nan_in_lnz},
    {"empty_counts", "what an empty part holds is multiplied by 0", "o[", .after = empty_counts},
    {"all_empty", "a row of empty parts is NaN", "o[", .after = all_empty},
    {"empty_lnz", "lnz of a row of empty parts is 0", "lnz[", .after = empty_lnz},
    {"nan_skipped", "lnz of a row with NaN is 0", "lnz[", .after = nan_skipped},
    {"negative_count", "a negative count counts", "o[", .after = negative_count},
    {"mean", "o is the mean of the parts", "o[", .after = mean},
    {"sum_divided", "sums are divided by the number of parts", "o[", .after = sum_divided},
    {"count_sum", "sums by counts are not divided", "o[", .after = count_sum},
    {"lnz_top", "lnz is the largest of the parts'", "lnz[", .after = lnz_top},
    {"light_dropped", "parts of a weight below 2^-12 are left out of the divisor", "o[", .after = light_dropped},
    {"o_tail", "the columns of o beyond a multiple of eight are not written", "never written", .after = o_tail},
    {"o_down", "16-bit o is two steps towards zero", "o[", .after = o_down},
};

const struct faulty_op tenon__faulty_attn_merge = {faults, sizeof(faults) / sizeof(faults[0])};
