/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One row. All sides keep their tensors on their device and take turns, and the roofs are measured between the turns,
 * so that a machine that slows down slows all of them. */
#include "bench.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define SAMPLE_S 0.02 /* a round of one side takes at least about this long */
#define SETTLE_S 0.08 /* thread pools spin about this long for the next loop, on processors that others measure */
#define WARM_S   0.06 /* processors that were idle take about this long to their full speed */

/* A side with one of the variants. */
struct side_state {
    struct bench_row row;
    struct conform_case c; /* the row's, with params of its own */
    const struct side_state *first; /* the side's first variant, which has the memory */
    const struct conform_unfused *unfused; /* another operator runs before; NULL: none does */
    struct tenon_value before[TENON_MAX_TENSORS];
    struct tenon_memory *between;
    struct tenon_memory *memory[TENON_MAX_TENSORS];
    struct tenon_value value[TENON_MAX_TENSORS];
    uint64_t runs; /* a round */
    double *sample;
    int absent;     /* a variant to which nothing unfused is equal */
    float *output;  /* of the first output, as f32 */
    int64_t count;
};

static void refuse(struct side_state *state, const char *text)
{
    snprintf(state->row.refused, sizeof state->row.refused, "%s", text);
}

/* n runs, then the end of the last. Seconds, negative on failure. */
static double run_many(struct side_state *state, uint64_t n)
{
    const struct bench_side *side = state->row.side;
    const struct conform_case *c = &state->c;
    double start = tenon__now();
    int32_t status = TENON_OK;
    for (uint64_t i = 0; i < n && !status; i++) {
        if (state->unfused)
            status = tenon_run(side->context, state->unfused->first, NULL, state->before,
                               tenon_op_contract_by_number(state->unfused->first)->n_tensors);
        if (!status)
            status = tenon_run(side->context, c->op->op, c->params, state->value, c->n);
    }
    if (!status)
        status = tenon_finish(side->context);
    if (!status)
        return tenon__now() - start;
    refuse(state, tenon_error());
    return -1;
}

/* Between two operators lies a tensor like x. */
static int place_between(struct side_state *state)
{
    if (!state->unfused)
        return 0;
    if (tenon_memory_create(state->row.side->context, state->c.slot[0].size, &state->between)) {
        refuse(state, tenon_error());
        return -1;
    }
    state->before[0] = state->value[0];
    state->value[0].memory = state->between;
    state->before[state->unfused->y] = state->value[0];
    return 0;
}

static int place(struct side_state *state)
{
    const struct bench_side *side = state->row.side;
    const struct conform_case *c = &state->c;
    if (state != state->first && state->first->value[0].memory) {
        memcpy(state->value, state->first->value, sizeof state->value);
        return place_between(state);
    }
    for (uint32_t i = 0; i < c->n; i++) {
        const struct conform_slot *slot = &c->slot[i];
        if (!slot->tensor.dtype)
            continue;
        if (tenon_memory_create(side->context, slot->size, &state->memory[i]) ||
            tenon_memory_write(state->memory[i], 0, slot->data, slot->size)) {
            refuse(state, tenon_error());
            return -1;
        }
        state->value[i] =
            (struct tenon_value){.tensor = slot->tensor, .memory = state->memory[i], .offset = slot->lead};
    }
    return 0;
}

/* Everything up to the first sample: tensors, plan, warm-up, how many runs make a round. */
static void warm_up(struct side_state *state)
{
    const struct bench_side *side = state->row.side;
    const struct conform_case *c = &state->c;
    struct tenon_tensor tensors[TENON_MAX_TENSORS];
    for (uint32_t i = 0; i < c->n; i++)
        tensors[i] = c->slot[i].tensor;
    if (tenon_supports(side->context, c->op->op, c->params, tensors, c->n)) {
        refuse(state, tenon_error());
        return;
    }
    if (tenon_impl(side->context, c->op->op, c->params, tensors, c->n, state->row.impl, sizeof state->row.impl))
        state->row.impl[0] = 0;
    if (place(state) || run_many(state, 1) < 0)
        return;
    double seconds = run_many(state, 2) / 2;
    if (seconds < 0)
        return;
    state->runs = seconds < SAMPLE_S ? (uint64_t)(SAMPLE_S / (seconds + 1e-9)) + 1 : 1;
}

/* The first output, for the comparison of the sides; the variants of a side write it in turns. */
static void read_output(struct side_state *state)
{
    const struct conform_case *c = &state->c;
    if (run_many(state, 1) < 0)
        return;
    for (uint32_t i = 0; i < c->n; i++) {
        const struct conform_slot *slot = &c->slot[i];
        if (!slot->tensor.dtype || !slot->is_output)
            continue;
        unsigned char *bytes = malloc(slot->size);
        state->count = tenon_tensor_count(&slot->tensor);
        state->output = malloc((size_t)state->count * sizeof state->output[0]);
        if (bytes && state->output && !tenon_memory_read(state->value[i].memory, 0, bytes, slot->size)) {
            for (int64_t k = 0; k < state->count; k++)
                state->output[k] = (float)conform_get(bytes + slot->lead, slot->tensor.dtype, k);
        } else {
            free(state->output);
            state->output = NULL;
        }
        free(bytes);
        return;
    }
}

/* Relative distance of two outputs as vectors. */
static double distance(const struct side_state *a, const struct side_state *b)
{
    double square = 0, size = 0;
    for (int64_t i = 0; i < a->count; i++) {
        double d = (double)a->output[i] - (double)b->output[i];
        square += d * d;
        size += (double)a->output[i] * (double)a->output[i];
    }
    return size > 0 ? sqrt(square / size) : sqrt(square);
}

static void release(struct side_state *state)
{
    for (uint32_t i = 0; i < TENON_MAX_TENSORS; i++)
        tenon_memory_destroy(state->memory[i]);
    tenon_memory_destroy(state->between);
    free(state->sample);
    free(state->output);
}

/* Copies within a device that is not the CPU: its own memory roof. 0 when it cannot. */
static double device_copy(const struct bench_side *side, double bytes)
{
    uint64_t half = ((uint64_t)(bytes / 2) + 63) / 64 * 64;
    struct tenon_memory *from = NULL, *to = NULL;
    double best = 0;
    if (tenon_memory_create(side->context, half, &from) || tenon_memory_create(side->context, half, &to))
        goto destroy;
    for (int i = 0; i < 5; i++) {
        double start = tenon__now();
        if (tenon_memory_copy(to, 0, from, 0, half) || tenon_finish(side->context))
            goto destroy;
        double rate = 2.0 * (double)half / (tenon__now() - start);
        if (i && rate > best)
            best = rate;
    }
destroy:
    tenon_memory_destroy(from);
    tenon_memory_destroy(to);
    return best;
}

static int on_cpu(const struct bench_side *side)
{
    const struct tenon_device_info *info = tenon_context_info(side->context);
    return info->type == TENON_TYPE_CPU || (info->caps & TENON_CAP_SOFTWARE);
}

static void call_cost_row(const struct bench_options *options, struct side_state *state)
{
    struct bench_row *row = &state->row;
    const struct bench_side *side = row->side;
    const struct conform_case *c = &state->c;
    struct tenon_why why = {{0}};
    struct tenon_tensor tensors[TENON_MAX_TENSORS];
    for (uint32_t i = 0; i < c->n; i++)
        tensors[i] = c->slot[i].tensor;
    row->call_cost = 1;
    if (tenon_impl(side->context, c->op->op, c->params, tensors, c->n, row->impl, sizeof row->impl))
        row->impl[0] = 0;
    if (tenon__bench_call_cost(side->context, c, options->rounds, &row->median_s, &row->min_s, &why))
        snprintf(row->refused, sizeof row->refused, "%s", why.text);
}

static void settle(void)
{
    nanosleep(&(struct timespec){0, (long)(SETTLE_S * 1e9)}, NULL);
}

/* Seconds a run in one round, negative on failure. */
static double side_round(struct side_state *state)
{
    settle();
    /* At least one run, for the caches and threads that the side before took. */
    double seconds, warm = tenon__now() + WARM_S;
    do
        seconds = run_many(state, 1);
    while (seconds >= 0 && tenon__now() < warm);
    if (seconds >= 0)
        seconds = run_many(state, state->runs);
    return seconds < 0 ? seconds : seconds / (double)state->runs;
}

/* Medians over the rounds, as the times are: where a neighbour takes a part of the processor, it takes it from the
 * roofs too. */
struct roofs {
    double *bytes, *flops;
    const char *how;
};

static void roof_round(struct roof *roof, struct roofs *roofs, uint32_t r)
{
    settle();
    for (double warm = tenon__now() + WARM_S; tenon__now() < warm;) {
        roofs->bytes[r] = fmax(roofs->bytes[r], tenon__roof_bytes(roof, &roofs->how));
        roofs->flops[r] = fmax(roofs->flops[r], tenon__roof_flops(roof));
    }
}

/* How often the algorithm that ran goes over the tensors, if the operator's suite can tell by its name. */
static void count_passes(struct side_state *state)
{
    struct bench_row *row = &state->row;
    const struct conform_case *c = &state->c;
    double in = 0, out = 0;
    if (!c->op->passes || !c->op->passes(row->impl, &row->reads, &row->writes))
        return;
    for (uint32_t i = 0; i < c->n; i++)
        if (c->slot[i].tensor.dtype)
            *(c->slot[i].is_output ? &out : &in) += (double)tenon_tensor_bytes(&c->slot[i].tensor);
    row->passes = 1;
    row->moved = row->reads * in + row->writes * out;
}

static void finish_row(const struct bench_options *options, struct side_state *state, struct roof *roof,
                       const struct roofs *roofs)
{
    struct bench_row *row = &state->row;
    row->median_s = tenon__bench_median(state->sample, options->rounds);
    row->min_s = state->sample[0];
    count_passes(state);
    if (on_cpu(row->side)) {
        row->roof_bytes_s = tenon__bench_median(roofs->bytes, options->rounds);
        row->roof_flops_s = tenon__bench_median(roofs->flops, options->rounds);
        row->roof_memory = roofs->how;
        row->roof_isa = tenon__roof_isa(roof);
    } else {
        row->roof_bytes_s = device_copy(row->side, row->bytes);
        row->roof_memory = "device";
    }
}

static int rounds(const struct bench_options *options, struct side_state *states, uint32_t n, struct roof *roof)
{
    struct roofs roofs = {calloc(options->rounds, sizeof(double)), calloc(options->rounds, sizeof(double)), ""};
    int result = -1;

    if (!roofs.bytes || !roofs.flops)
        goto free_roofs;
    for (uint32_t r = 0; r < options->rounds; r++) {
        roof_round(roof, &roofs, r);
        for (uint32_t s = 0; s < n; s++) {
            struct side_state *state = &states[s];
            if (state->row.refused[0] || state->absent)
                continue;
            tenon__bench_progress(options, "%s %s %s %s %s, round %u of %u", state->row.op, state->row.name,
                                  state->row.dtype, state->row.side->device, state->row.variant, r + 1,
                                  options->rounds);
            state->sample[r] = side_round(state);
        }
    }
    for (uint32_t s = 0; s < n; s++)
        if (!states[s].row.refused[0] && !states[s].absent)
            finish_row(options, &states[s], roof, &roofs);
    result = 0;
free_roofs:
    free(roofs.bytes);
    free(roofs.flops);
    return result;
}

/* Whether the sides agree with the first that has a result. 16-bit results and different orders of summation differ by
 * far less. */
static int compare(const struct side_state *states, uint32_t n)
{
    const struct side_state *first = NULL;
    int bad = 0;
    for (uint32_t s = 0; s < n; s++) {
        const struct side_state *state = &states[s];
        if (state->row.refused[0] || !state->output)
            continue;
        if (!first) {
            first = state;
            continue;
        }
        double apart = distance(first, state);
        if (!(apart < 0.01)) {
            fprintf(stderr, "tenon: %s %s: %s %s and %s %s disagree: relative distance %.3g\n", first->row.op,
                    first->row.name, first->row.side->device, first->row.variant, state->row.side->device,
                    state->row.variant, apart);
            bad = 1;
        }
    }
    return bad;
}

/* Everything of one side with one variant but the rounds. unfused: the states of the same number go before. */
static void begin(const struct bench_options *options, const struct conform_bench *bench, const struct conform_case *c,
                  struct side_state *states, uint32_t number, int unfused)
{
    const uint32_t variants = options->n_variants ? options->n_variants : 1, variant = number % variants;
    const uint32_t s = number + (unfused ? options->n_sides * variants : 0);
    struct side_state *state = &states[s];
    struct tenon_why why = {{0}};
    state->c = *c;
    state->first = &states[number - variant];
    state->row = (struct bench_row){.op = tenon_op_contract_by_number(c->op->op)->name,
                                    .name = bench->name,
                                    .dtype = tenon_dtype_name(bench->dtype),
                                    .side = &options->side[number / variants],
                                    .variant = options->n_variants ? options->variant[variant] : "",
                                    .threads = options->threads,
                                    .bytes = bench->bytes,
                                    .flops = bench->flops};
    if (unfused) {
        state->unfused = c->op->unfused;
        state->row.variant = c->op->unfused->name;
    }
    state->sample = calloc(options->rounds, sizeof state->sample[0]);
    if (!state->sample)
        refuse(state, "out of memory");
    else if (tenon__bench_params(options, variant, &state->c, &why))
        refuse(state, why.text);
    else if (unfused && !c->op->unfused->params(&state->c))
        state->absent = 1;
    else if (strcmp(bench->name, BENCH_CALL_COST) == 0)
        call_cost_row(options, state);
    else
        warm_up(state);
}

/* The least that a run must move. */
static double least_bytes(const struct conform_case *c)
{
    double bytes = 0;
    for (uint32_t i = 0; i < c->n; i++)
        if (c->slot[i].tensor.dtype)
            bytes += (double)tenon_tensor_bytes(&c->slot[i].tensor);
    return bytes;
}

/* What writes next to nothing (products with few rows, attention of a few queries) is compared with reading: a copy also
 * waits for its stores. */
static int mostly_reads(const struct conform_case *c, double bytes)
{
    double written = 0;
    for (uint32_t i = 0; i < c->n; i++)
        if (c->slot[i].tensor.dtype && c->slot[i].is_output)
            written += (double)tenon_tensor_bytes(&c->slot[i].tensor);
    return 16 * written <= bytes;
}

int tenon__bench_measure(const struct bench_options *options, const struct conform_op *op,
                         const struct conform_bench *row, struct roof *roof)
{
    const uint32_t fused = options->n_sides * (options->n_variants ? options->n_variants : 1);
    const uint32_t n = fused * (op->unfused && strcmp(row->name, BENCH_CALL_COST) ? 2 : 1);
    struct side_state *states = calloc(n, sizeof states[0]);
    struct conform_case *c = calloc(1, sizeof *c);
    struct conform_bench bench = *row;
    int call_cost = strcmp(bench.name, BENCH_CALL_COST) == 0, result = -1;

    if (!states || !c)
        goto free_states;
    tenon__bench_progress(options, "%s %s: inputs", tenon_op_contract_by_number(op->op)->name, bench.name);
    conform_case_bench(op, &bench, c);
    bench.bytes = bench.bytes > 0 ? bench.bytes : least_bytes(c);
    if (conform_case_alloc(c) || (!call_cost && tenon__roof_footprint(roof, bench.bytes, mostly_reads(c, bench.bytes)))) {
        fprintf(stderr, "tenon: no memory for %s\n", bench.name);
        goto free_case;
    }
    conform_case_fill(c);
    for (uint32_t s = 0; s < n; s++)
        begin(options, &bench, c, states, s % fused, s >= fused);
    result = 0;
    if (!call_cost) {
        result = rounds(options, states, n, roof);
        for (uint32_t s = 0; s < n; s++)
            if (!states[s].row.refused[0] && !states[s].absent)
                read_output(&states[s]);
        result = compare(states, n) || result;
    }
    for (uint32_t s = 0; s < n; s++) {
        if (states[s].unfused && !states[s - fused].row.refused[0])
            states[s].row.times = states[s].row.median_s / states[s - fused].row.median_s;
        if (!states[s].absent)
            tenon__bench_report(options, &states[s].row);
    }
free_case:
    for (uint32_t s = 0; s < n; s++)
        release(&states[s]);
    conform_case_free(c);
free_states:
    free(states);
    free(c);
    return result;
}
