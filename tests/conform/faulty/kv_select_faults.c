/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What a kv_select may do wrong. */
#include <math.h>
#include <tenon/ops/kv_select.h>
#include "faulty.h"

#define SPOIL(name, statement) FAULTY_SPOIL(name, tenon_kv_select_params, statement)

SPOIL(no_causal, p->causal = 0)
SPOIL(one_less, p->k -= p->k > 1)
SPOIL(one_more, p->k += p->rule == TENON_KV_SELECT_TOPK)
SPOIL(no_self, p->self = 0)
SPOIL(no_first, p->first = 0)
SPOIL(no_last, p->last = 0)
SPOIL(no_segment, p->segment = 0)
SPOIL(on_top, p->forced_counts = 0)
SPOIL(counted, p->forced_counts = 1)
SPOIL(no_norm, p->norm = TENON_KV_SELECT_NORM_NONE)
SPOIL(by_row, p->scope = TENON_KV_SELECT_ROW)
SPOIL(all_for_head, p->scope = p->scope == TENON_KV_SELECT_HEAD ? TENON_KV_SELECT_ALL : p->scope)
SPOIL(all_of_it, p->tau = p->rule == TENON_KV_SELECT_CUMUL ? 1 : p->tau)
SPOIL(not_all, p->tau = p->rule == TENON_KV_SELECT_CUMUL && p->tau == 1 ? 0.999999f : p->tau)
SPOIL(below_tau, p->tau = p->rule == TENON_KV_SELECT_THRESH ? nextafterf(p->tau, -1) : p->tau)
SPOIL(mean_for_max, p->pool_q = p->pool_q == TENON_KV_SELECT_MAX ? TENON_KV_SELECT_MEAN : p->pool_q)
SPOIL(max_for_min, p->pool_k = p->pool_k == TENON_KV_SELECT_MIN ? TENON_KV_SELECT_MAX : p->pool_k)
SPOIL(no_scale, p->scale = p->score == TENON_KV_SELECT_EXTERNAL ? 0 : 1)
SPOIL(every_token, p->stride = 1)
SPOIL(no_softmax, p->score = p->score == TENON_KV_SELECT_SOFTMAX_POOLED ? TENON_KV_SELECT_POOLED : p->score)

/* Of row r: its entries in col. */
struct row {
    int32_t *row_ptr, *col;
};

static void each_row(const struct faulty_run *run, void (*each)(const struct row *row))
{
    const struct tenon_tensor *t = &run->plan->tensor[TENON_KV_SELECT_ROW_PTR];
    int32_t *row_ptr = tenon__faulty_memory(run, TENON_KV_SELECT_ROW_PTR);
    int32_t *col = tenon__faulty_memory(run, TENON_KV_SELECT_COL);
    for (int64_t list = 0; row_ptr && col && list < t->dim[0] * t->dim[1]; list++)
        for (int64_t i = 0; i + 1 < t->dim[2]; i++) {
            const struct row row = {row_ptr + list * t->dim[2] + i, col};
            each(&row);
        }
}

FAULTY_EACH_ROW(descending)
{
    const int32_t from = r->row_ptr[0], end = r->row_ptr[1];
    if (end - from > 1)
        tenon__faulty_swap(&r->col[from], &r->col[end - 1]);
}

FAULTY_EACH_ROW(next_block)
{
    if (r->row_ptr[1] > r->row_ptr[0])
        r->col[r->row_ptr[1] - 1]++;
}

FAULTY_EACH_ROW(twice)
{
    if (r->row_ptr[1] - r->row_ptr[0] > 1)
        r->col[r->row_ptr[1] - 1] = r->col[r->row_ptr[1] - 2];
}

static void tail_unwritten(const struct faulty_run *run)
{
    const struct tenon_tensor *t = &run->plan->tensor[TENON_KV_SELECT_COL];
    int32_t *col = tenon__faulty_memory(run, TENON_KV_SELECT_COL);
    if (col && t->dim[0] && col[t->dim[0] - 1] == -1)
        col[t->dim[0] - 1] = (int32_t)0xDEADBEEF;
}

static void no_end(const struct faulty_run *run)
{
    const struct tenon_tensor *t = &run->plan->tensor[TENON_KV_SELECT_ROW_PTR];
    int32_t *row_ptr = tenon__faulty_memory(run, TENON_KV_SELECT_ROW_PTR);
    if (row_ptr && tenon_tensor_count(t))
        row_ptr[tenon_tensor_count(t) - 1] = (int32_t)0xDEADBEEF;
}

/* The lists of each head begin at 0 again. */
static void anew(const struct faulty_run *run)
{
    const struct tenon_tensor *t = &run->plan->tensor[TENON_KV_SELECT_ROW_PTR];
    int32_t *row_ptr = tenon__faulty_memory(run, TENON_KV_SELECT_ROW_PTR);
    for (int64_t list = t->dim[0] * t->dim[1] - 1; row_ptr && list > 0; list--)
        for (int64_t i = t->dim[2] - 1; i >= 0; i--)
            row_ptr[list * t->dim[2] + i] -= row_ptr[list * t->dim[2]];
}

static void scores_zero(const struct faulty_run *run)
{
    const struct tenon_tensor *t = &run->plan->tensor[TENON_KV_SELECT_SCORES_OUT];
    float *score = tenon__faulty_memory(run, TENON_KV_SELECT_SCORES_OUT);
    for (int64_t e = 0; score && e < tenon_tensor_count(t); e++)
        score[e] = score[e] == -INFINITY ? 0 : score[e];
}

#define FLAG(name, which)                                                                                              \
    static void name(const struct faulty_run *run)                                                                     \
    {                                                                                                                  \
        tenon__faulty_flags_clear(run, TENON_KV_SELECT_FLAGS, which);                                                  \
    }
FLAG(nan_uncounted, 0)
FLAG(empty_uncounted, 1)
FLAG(cut_uncounted, 2)
FLAG(wrong_uncounted, 3)

static void flags_shifted(const struct faulty_run *run)
{
    tenon__faulty_flags_shift(run, TENON_KV_SELECT_FLAGS);
}

static const struct faulty_fault faults[] = {
    {"no_causal", "blocks after the query are candidates", "[", .spoil = no_causal},
    {"one_less", "the last of k is not taken", "[", .spoil = one_less},
    {"one_more", "one more than k is taken", "[", .spoil = one_more},
    {"no_self", "the own block is not forced", "[", .spoil = no_self},
    {"no_first", "the first block is not forced", "[", .spoil = no_first},
    {"no_last", "the last blocks are not forced", "[", .spoil = no_last},
    {"no_segment", "the own segment is not forced", "[", .spoil = no_segment},
    {"on_top", "forced blocks come on top where they count", "[", .spoil = on_top},
    {"counted", "forced blocks count where they come on top", "[", .spoil = counted},
    {"no_norm", "scores are not normalised", "scores_out[", .spoil = no_norm},
    {"by_row", "the rule chooses in each row", "[", .spoil = by_row},
    {"all_for_head", "the rule chooses among all heads", "[", .spoil = all_for_head},
    {"all_of_it", "cumul takes all", "[", .spoil = all_of_it},
    {"not_all", "cumul of 1 leaves the last", "[", .spoil = not_all},
    {"below_tau", "a score of tau passes", "[", .spoil = below_tau},
    {"mean_for_max", "queries are averaged", "scores_out[", .spoil = mean_for_max},
    {"max_for_min", "the largest of the keys", "scores_out[", .spoil = max_for_min},
    {"no_scale", "products are not scaled", "scores_out[", .spoil = no_scale},
    {"every_token", "the stride is 1", "scores_out[", .spoil = every_token},
    {"no_softmax", "no softmax over the blocks", "scores_out[", .spoil = no_softmax},
    {"descending", "the ends of a row change places", "[", .after = descending},
    {"next_block", "the last entry is the block after it", "[", .after = next_block},
    {"twice", "an entry is there twice", "[", .after = twice},
    {"tail_unwritten", "the end of col is not written", "col[", .after = tail_unwritten},
    {"no_end", "the last of row_ptr is not written", "row_ptr[", .after = no_end},
    {"anew", "each head's list begins at 0", "[", .after = anew},
    {"scores_zero", "what is no candidate has score 0", "scores_out[", .after = scores_zero},
    {"nan_uncounted", "rows with NaN are not counted", "flags[", .after = nan_uncounted},
    {"empty_uncounted", "empty rows are not counted", "flags[", .after = empty_uncounted},
    {"cut_uncounted", "entries that do not fit are not counted", "flags[", .after = cut_uncounted},
    {"wrong_uncounted", "lengths out of range are not counted", "flags[", .after = wrong_uncounted},
    {"flags_shifted", "each flag counts what the one before does", "flags[", .after = flags_shifted},
};

const struct faulty_op tenon__faulty_kv_select = {faults, sizeof(faults) / sizeof(faults[0])};
