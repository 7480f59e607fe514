/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What a softmax may do wrong. */
#include <math.h>
#include <tenon/ops/softmax.h>
#include "faulty.h"

#define SPOIL(name, statement) FAULTY_SPOIL(name, tenon_softmax_params, statement)

/* ---- attributes that are as if they were others ---- */

SPOIL(no_log, p->kind = p->kind == TENON_SOFTMAX_LOG_EXP ? TENON_SOFTMAX_EXP : p->kind)
SPOIL(no_temperature, p->inv_temp = 1)
SPOIL(no_scale, p->scale = 1)
SPOIL(empty_zero, p->empty_row = TENON_SOFTMAX_EMPTY_ZERO)
SPOIL(no_gumbel, p->noise_amp = p->noise == TENON_SOFTMAX_NOISE_GUMBEL ? 0 : p->noise_amp)
SPOIL(next_sample, p->sample += p->noise == TENON_SOFTMAX_NOISE_GUMBEL)
SPOIL(next_seed, p->seed += p->noise == TENON_SOFTMAX_NOISE_GUMBEL)
SPOIL(no_stream, p->stream = 0)
SPOIL(no_amp, p->noise_amp = 1)
SPOIL(no_normals, p->noise_amp = p->noise == TENON_SOFTMAX_NOISE_ONE_SIDED_NORMAL ? 0 : p->noise_amp)
SPOIL(no_noise, p->noise_amp = t[TENON_SOFTMAX_NOISE].dtype ? 0 : p->noise_amp)
SPOIL(no_topk, p->support = p->support == TENON_SOFTMAX_SUPPORT_TOPK ? p->k = 0 : p->support)
SPOIL(no_stat_topk, p->support = p->support == TENON_SOFTMAX_SUPPORT_STAT_TOPK ? p->k = 0 : p->support)
SPOIL(topk_less, p->k -= p->support == TENON_SOFTMAX_SUPPORT_TOPK && p->k > 1)
SPOIL(topk_more, p->k += p->support == TENON_SOFTMAX_SUPPORT_TOPK)
SPOIL(stat_topk_less, p->k -= p->support == TENON_SOFTMAX_SUPPORT_STAT_TOPK && p->k > 1)
SPOIL(no_adaptive, p->adaptive_gate = 1e30f)
SPOIL(no_c4, p->adaptive_c4 = 0)
SPOIL(no_clip, p->post = p->post == TENON_SOFTMAX_POST_CLIP ? TENON_SOFTMAX_POST_NONE : p->post)
SPOIL(no_zeta, p->zeta = 1)
SPOIL(no_gamma, p->gamma = 0)
SPOIL(no_hard, p->post = p->post == TENON_SOFTMAX_POST_HARD ? TENON_SOFTMAX_POST_NONE : p->post)
SPOIL(qscale_off, p->qscale *= 1.02f)
SPOIL(no_eps, p->eps = 0)
SPOIL(no_quad_c, p->quad_c = 5)
SPOIL(no_sigmoid_bias, p->sigmoid_bias = 0)
SPOIL(softpick_relu, p->kind = p->kind == TENON_SOFTMAX_SOFTPICK ? TENON_SOFTMAX_RELU_NORM : p->kind)
SPOIL(entmax_sparsemax, p->kind = p->kind == TENON_SOFTMAX_ENTMAX15 ? TENON_SOFTMAX_SPARSEMAX : p->kind)
SPOIL(relu2_relu, p->kind = p->kind == TENON_SOFTMAX_RELU2_NORM ? TENON_SOFTMAX_RELU_NORM : p->kind)
SPOIL(stablemax_relu, p->kind = p->kind == TENON_SOFTMAX_STABLEMAX ? TENON_SOFTMAX_RELU_NORM : p->kind)

/* -ln cols, whatever is masked. */
static void sigmoid_cols(struct tenon_tensor *t, void *params)
{
    struct tenon_softmax_params *p = params;
    const int64_t cols = tenon__faulty_columns(&t[TENON_SOFTMAX_X]);
    if (p->kind != TENON_SOFTMAX_SIGMOID || p->sigmoid_rule != TENON_SOFTMAX_BIAS_AUTO || cols < 1)
        return;
    p->sigmoid_rule = TENON_SOFTMAX_BIAS_FIXED;
    p->sigmoid_bias = -logf((float)cols);
}

static void in_place(const struct faulty_run *run)
{
    tenon__faulty_in_place(run, TENON_SOFTMAX_X, TENON_SOFTMAX_Y);
}

/* ---- y ---- */

static const struct tenon_softmax_params *params_of(const struct faulty_run *run)
{
    return (const void *)run->plan->params;
}

static int64_t rows_of(const struct faulty_run *run)
{
    return tenon__faulty_rows(&run->plan->tensor[TENON_SOFTMAX_X]);
}

static int64_t cols_of(const struct faulty_run *run)
{
    return tenon__faulty_columns(&run->plan->tensor[TENON_SOFTMAX_X]);
}

/* Whether mask or mult has the entry; there is no valid_len in what asks. */
static int is_there(const struct faulty_run *run, int64_t row, int64_t col)
{
    const struct tenon_tensor *t = &run->plan->tensor[TENON_SOFTMAX_MASK];
    const unsigned char *mask = tenon__faulty_memory(run, TENON_SOFTMAX_MASK);
    const float *mult = tenon__faulty_memory(run, TENON_SOFTMAX_MULT);
    if (mask && !mask[(t->rank == 1 ? 0 : tenon__faulty_at(t, row)) + col])
        return 0;
    return !mult || mult[col] != 0;
}

/* Of a mult of 0. */
static void mult_zero(const struct faulty_run *run)
{
    const float *mult = tenon__faulty_memory(run, TENON_SOFTMAX_MULT);
    for (int64_t row = 0; mult && row < rows_of(run); row++) {
        float *y = tenon__faulty_row(run, TENON_SOFTMAX_Y, row);
        for (int64_t j = 0; y && j < cols_of(run); j++)
            if (mult[j] == 0)
                y[j] = y[j ? j - 1 : cols_of(run) - 1];
    }
}

static void masked_nan(const struct faulty_run *run)
{
    if (!tenon__faulty_apart(run, TENON_SOFTMAX_X, TENON_SOFTMAX_Y))
        return;
    for (int64_t row = 0; row < rows_of(run); row++) {
        const float *x = tenon__faulty_row(run, TENON_SOFTMAX_X, row);
        float *y = tenon__faulty_row(run, TENON_SOFTMAX_Y, row);
        for (int64_t j = 0; x && y && j < cols_of(run); j++)
            if (isnan(x[j]) && !is_there(run, row, j))
                y[j] = x[j];
    }
}

/* n of kind scale counts what is masked. */
static void scale_cols(const struct faulty_run *run)
{
    for (int64_t row = 0; params_of(run)->kind == TENON_SOFTMAX_SCALE && row < rows_of(run); row++) {
        float *y = tenon__faulty_row(run, TENON_SOFTMAX_Y, row);
        int64_t n = 0;
        for (int64_t j = 0; j < cols_of(run); j++)
            n += is_there(run, row, j);
        for (int64_t j = 0; y && j < cols_of(run); j++)
            y[j] *= (float)n / (float)cols_of(run);
    }
}

static void quant_bytes(const struct faulty_run *run, int wraps)
{
    const struct tenon_tensor *t = &run->plan->tensor[TENON_SOFTMAX_Y];
    unsigned char *y = tenon__faulty_memory(run, TENON_SOFTMAX_Y);
    for (int64_t row = 0; y && t->dtype == TENON_U8 && row < tenon__faulty_rows(t); row++)
        for (int64_t j = 0; j < cols_of(run); j++) {
            unsigned char *e = &y[tenon__faulty_at(t, row) + j];
            *e -= wraps ? (*e == 255 ? 7 : 0) : *e > 0 && j % 2;
        }
}

static void quant_cut(const struct faulty_run *run)
{
    quant_bytes(run, 0);
}

static void quant_wraps(const struct faulty_run *run)
{
    quant_bytes(run, 1);
}

static void hard_last(const struct faulty_run *run)
{
    if (params_of(run)->post != TENON_SOFTMAX_POST_HARD || !tenon__faulty_apart(run, TENON_SOFTMAX_X, TENON_SOFTMAX_Y))
        return;
    for (int64_t row = 0; row < rows_of(run); row++) {
        const float *x = tenon__faulty_row(run, TENON_SOFTMAX_X, row);
        float *y = tenon__faulty_row(run, TENON_SOFTMAX_Y, row);
        int64_t best = -1;
        for (int64_t j = 0; x && y && j < cols_of(run); j++) {
            if (y[j] == 1)
                best = j;
            if (best < 0 || j == best || x[j] != x[best])
                continue;
            y[j] = 1;
            y[best] = 0;
            best = j;
        }
    }
}

/* ---- statistics ---- */

static void late_tie(const struct faulty_run *run)
{
    int32_t *argmax = tenon__faulty_memory(run, TENON_SOFTMAX_ARGMAX);
    if (!argmax || run->cmd->args[TENON_SOFTMAX_Y].buffer == run->cmd->args[TENON_SOFTMAX_X].buffer)
        return;
    for (int64_t row = 0; row < rows_of(run); row++) {
        const float *x = tenon__faulty_row(run, TENON_SOFTMAX_X, row);
        for (int64_t j = argmax[row] + 1; x && argmax[row] >= 0 && j < cols_of(run); j++)
            if (x[j] == x[argmax[row]])
                argmax[row] = (int32_t)j;
    }
}

/* What a tensor of one float a row has, added to and multiplied. */
static void turn(const struct faulty_run *run, uint32_t tensor, float factor, float more)
{
    tenon__faulty_turn(run, tensor, rows_of(run), factor, more);
}

#define TURN(name, tensor, factor, more)                                                                               \
    static void name(const struct faulty_run *run)                                                                     \
    {                                                                                                                  \
        turn(run, TENON_SOFTMAX_##tensor, factor, more);                                                               \
    }
TURN(lse_off, LSE, 1, 1e-4f)
TURN(pmax_off, PMAX, 1 + 0x1p-17f, 0)
TURN(margin_off, MARGIN, 1 + 0x1p-17f, 0)
TURN(entropy_off, ENTROPY, 1, 1e-3f)
TURN(energy_off, ENERGY, -1, 0)
TURN(sum_off, SUM, 1 + 0x1p-17f, 0)
TURN(sumsq_off, SUMSQ, 1 + 0x1p-17f, 0)
TURN(tau_off, TAU, 1, 1e-3f)
TURN(beta_off, BETA, 1, 1e-3f)

static void max_off(const struct faulty_run *run)
{
    float *max = tenon__faulty_memory(run, TENON_SOFTMAX_MAX);
    if (max)
        *max = nextafterf(*max, 0);
}

/* The largest of x, not of the logits. */
static void max_of_x(const struct faulty_run *run)
{
    float *max = tenon__faulty_memory(run, TENON_SOFTMAX_MAX);
    for (int64_t row = 0; max && row < rows_of(run); row++) {
        const float *x = tenon__faulty_row(run, TENON_SOFTMAX_X, row);
        float most = -INFINITY;
        for (int64_t j = 0; x && j < cols_of(run); j++)
            most = is_there(run, row, j) ? fmaxf(most, x[j]) : most;
        if (x && isfinite(max[row]) && !run->plan->tensor[TENON_SOFTMAX_VALID_LEN].dtype)
            max[row] = most;
    }
}

/* Of a tie for the first place: to the next smaller value, or to nothing. */
static void margin_tie(const struct faulty_run *run)
{
    float *margin = tenon__faulty_memory(run, TENON_SOFTMAX_MARGIN),
          *pmax = tenon__faulty_memory(run, TENON_SOFTMAX_PMAX);
    for (int64_t row = 0; margin && pmax && row < rows_of(run); row++)
        margin[row] = margin[row] == 0 ? pmax[row] : margin[row];
}

/* energy = -lse, not over T. */
static void energy_cold(const struct faulty_run *run)
{
    float *energy = tenon__faulty_memory(run, TENON_SOFTMAX_ENERGY),
          *lse = tenon__faulty_memory(run, TENON_SOFTMAX_LSE);
    for (int64_t row = 0; energy && lse && row < rows_of(run); row++)
        energy[row] = isfinite(energy[row]) ? -lse[row] : energy[row];
}

/* The sink's share of S is one more probability. */
static void entropy_sink(const struct faulty_run *run)
{
    float *entropy = tenon__faulty_memory(run, TENON_SOFTMAX_ENTROPY);
    for (int64_t row = 0; entropy && run->plan->tensor[TENON_SOFTMAX_SINK].dtype && row < rows_of(run); row++)
        entropy[row] += 0.01f;
}

static void argmax_empty(const struct faulty_run *run)
{
    int32_t *argmax = tenon__faulty_memory(run, TENON_SOFTMAX_ARGMAX);
    for (int64_t row = 0; argmax && row < rows_of(run); row++)
        argmax[row] = argmax[row] < 0 ? 0 : argmax[row];
}

static void nnz_off(const struct faulty_run *run)
{
    int32_t *nnz = tenon__faulty_memory(run, TENON_SOFTMAX_NNZ);
    if (nnz)
        ++*nnz;
}

static void nnz_masked(const struct faulty_run *run)
{
    int32_t *nnz = tenon__faulty_memory(run, TENON_SOFTMAX_NNZ);
    for (int64_t row = 0; nnz && run->plan->tensor[TENON_SOFTMAX_MASK].dtype && row < rows_of(run); row++)
        nnz[row] = (int32_t)cols_of(run);
}

static void flags_off(const struct faulty_run *run)
{
    int32_t *flags = tenon__faulty_memory(run, TENON_SOFTMAX_FLAGS);
    if (flags)
        ++*flags;
}

static void flags_shifted(const struct faulty_run *run)
{
    tenon__faulty_flags_shift(run, TENON_SOFTMAX_FLAGS);
}

/* A valid_len counts the entry at it. */
static void valid_more(const struct faulty_run *run)
{
    int32_t *length = tenon__faulty_memory(run, TENON_SOFTMAX_VALID_LEN);
    for (int64_t row = 0; length && row < rows_of(run); row++)
        length[row] += length[row] != INT32_MAX;
}

static void valid_back(const struct faulty_run *run)
{
    int32_t *length = tenon__faulty_memory(run, TENON_SOFTMAX_VALID_LEN);
    for (int64_t row = 0; length && row < rows_of(run); row++)
        length[row] -= length[row] != INT32_MAX;
}

static const struct faulty_fault faults[] = {
    {"late_tie", "argmax of a tie is the last index", "argmax[", .after = late_tie},
    {"no_mask", "mask is ignored", "+mask", .drop = TENON_SOFTMAX_MASK},
    {"no_valid_len", "valid_len is ignored", "+valid_len", .drop = TENON_SOFTMAX_VALID_LEN},
    {"valid_more", "valid_len counts one entry more", "+valid_len", .before = valid_more, .after = valid_back},
    {"no_sink", "sink is ignored", "+sink", .drop = TENON_SOFTMAX_SINK},
    {"no_row_scale", "row_scale is ignored", "+row_scale", .drop = TENON_SOFTMAX_ROW_SCALE},
    {"no_bias", "bias is ignored", "+bias", .drop = TENON_SOFTMAX_BIAS},
    {"no_mult", "mult is ignored", "+mult", .drop = TENON_SOFTMAX_MULT},
    {"mult_zero", "a column of multiplicity 0 has a probability", "+mult", .after = mult_zero},
    {"masked_nan", "what is masked comes out as it is when it is NaN", "+m", .after = masked_nan},
    {"no_log", "kind is always exp", "log_exp", .spoil = no_log},
    {"no_temperature", "inv_temp is ignored", "y[", .spoil = no_temperature},
    {"no_scale", "scale is ignored", "y[", .spoil = no_scale},
    {"empty_zero", "empty_row is always zero", "infinite", .spoil = empty_zero},
    {"in_place", "claims in place, and reads x after writing y", "in place", .before = in_place},
    {"no_gumbel", "Gumbel noise is ignored", "gumbel", .spoil = no_gumbel},
    {"next_sample", "Gumbel noise is that of the next sample", "gumbel", .spoil = next_sample},
    {"next_seed", "Gumbel noise is that of the next seed", "gumbel", .spoil = next_seed},
    {"no_stream", "the stream of noise is always 0", "[", .spoil = no_stream},
    {"noise_restarts", "the second half of the rows has the noise of the first", "[", .restarts = 1},
    {"no_amp", "noise_amp is ignored", "[", .spoil = no_amp},
    {"no_normals", "one-sided normals are ignored", "normals", .spoil = no_normals},
    {"no_noise", "the tensor noise is ignored", "+noise", .spoil = no_noise},
    {"no_topk", "support topk is ignored", " topk", .spoil = no_topk},
    {"topk_less", "support topk has k - 1 entries", " topk", .spoil = topk_less},
    {"topk_more", "support topk has k + 1 entries", " topk", .spoil = topk_more},
    {"no_stat_topk", "support stat_topk is ignored", "stat_topk", .spoil = no_stat_topk},
    {"stat_topk_less", "support stat_topk has the threshold of k - 1", "stat_topk", .spoil = stat_topk_less},
    {"no_adaptive", "adaptive never sharpens", "adaptive", .spoil = no_adaptive},
    {"no_c4", "adaptive's polynomial has no c4", "adaptive", .spoil = no_c4},
    {"no_clip", "clip is ignored", "clip", .spoil = no_clip},
    {"no_zeta", "clip's zeta is 1", "clip", .spoil = no_zeta},
    {"no_gamma", "clip's gamma is 0", "clip", .spoil = no_gamma},
    {"no_hard", "hard is ignored", "hard", .spoil = no_hard},
    {"hard_last", "hard takes the last of a tie", "hard", .after = hard_last},
    {"qscale_off", "steps of bytes are 2 % off", "quant_u8", .spoil = qscale_off},
    {"quant_cut", "bytes are cut off, not rounded", "quant_u8", .after = quant_cut},
    {"quant_wraps", "bytes above 255 wrap", "quant_u8", .after = quant_wraps},
    {"no_eps", "eps is 0", "y[", .spoil = no_eps},
    {"no_quad_c", "quad_c is always 5", "quad_norm", .spoil = no_quad_c},
    {"no_sigmoid_bias", "the fixed bias of sigmoid is ignored", "sigmoid", .spoil = no_sigmoid_bias},
    {"sigmoid_cols", "the bias of sigmoid is -ln cols, with what is masked", "sigmoid", .spoil = sigmoid_cols},
    {"softpick_relu", "softpick is relu_norm", "softpick", .spoil = softpick_relu},
    {"entmax_sparsemax", "entmax15 is sparsemax", "entmax15", .spoil = entmax_sparsemax},
    {"relu2_relu", "relu2_norm does not square", "relu2_norm", .spoil = relu2_relu},
    {"stablemax_relu", "stablemax is relu_norm", "stablemax", .spoil = stablemax_relu},
    {"scale_cols", "scale divides by cols, with what is masked", "scale", .after = scale_cols},
    {"lse_off", "lse is 1e-4 off", "lse[", .after = lse_off},
    {"max_off", "max is one ulp off", "max[", .after = max_off},
    {"max_of_x", "max is that of x, not of the logits", "max[", .after = max_of_x},
    {"pmax_off", "pmax is 2^-17 off", "pmax[", .after = pmax_off},
    {"margin_off", "margin is 2^-17 off", "margin[", .after = margin_off},
    {"margin_tie", "margin of a tie is to the next smaller value", "margin[", .after = margin_tie},
    {"entropy_off", "entropy is 1e-3 off", "entropy[", .after = entropy_off},
    {"entropy_sink", "entropy counts the sink", "entropy[", .after = entropy_sink},
    {"energy_off", "energy has the other sign", "energy[", .after = energy_off},
    {"energy_cold", "energy is not divided by T", "energy[", .after = energy_cold},
    {"sum_off", "sum is 2^-17 off", "sum[", .after = sum_off},
    {"sumsq_off", "sumsq is 2^-17 off", "sumsq[", .after = sumsq_off},
    {"tau_off", "tau is 1e-3 off", "tau[", .after = tau_off},
    {"beta_off", "beta is 1e-3 off", "beta[", .after = beta_off},
    {"argmax_empty", "argmax of an empty row is 0", "argmax[", .after = argmax_empty},
    {"nnz_off", "nnz is one off", "nnz[", .after = nnz_off},
    {"nnz_masked", "nnz counts what is masked", "nnz[", .after = nnz_masked},
    {"flags_off", "one more row is flagged", "flags[", .after = flags_off},
    {"flags_shifted", "flags are one place further", "flags[", .after = flags_shifted},
};

const struct faulty_op tenon__faulty_softmax = {faults, sizeof(faults) / sizeof(faults[0])};
