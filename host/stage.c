/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A run on values in host memory: aliased where the device can, else copied in and out. Small values travel with the
 * run in one submission; large ones in pieces. */
#include "host.h"

#include <string.h>

struct work {
    struct tenon_context *context;
    struct tenon__plan *plan;
    const struct tenon_value *values;
    struct tenon__places *places;
    uint32_t staged;                                /* bit i: tensor i is copied */
    struct tenon_buffer *import[TENON_MAX_TENSORS]; /* ours to destroy */
    struct tenon__temp *temp[TENON_MAX_TENSORS];    /* ours to give back */
    uint64_t at[TENON_MAX_TENSORS], total;          /* place in the pinned buffer */
};

#define STAGE_ALIGN 256u
#define KEEP_MAX    ((uint64_t)64 << 20) /* larger buffers are not kept for the next call */

static uint64_t round_up(uint64_t n, uint64_t to)
{
    return (n + to - 1) / to * to;
}

/* ---- device buffers for copies ---- */

static struct tenon__temp *slot_for(struct tenon_context *context, uint64_t size)
{
    struct tenon__temp *best = NULL, *room = NULL;
    for (uint32_t i = 0; i < TENON__TEMPS_MAX; i++) {
        struct tenon__temp *t = &context->temp[i];
        if (t->busy)
            continue;
        if (t->buffer && t->size >= size && t->size / 4 <= size && (!best || t->size < best->size))
            best = t;
        if (!room || (room->buffer && (!t->buffer || t->size < room->size)))
            room = t;
    }
    return best ? best : room;
}

static int32_t temp_get(struct tenon_context *context, uint64_t size, struct tenon__temp **temp)
{
    size = round_up(size, STAGE_ALIGN);
    struct tenon__temp *t = slot_for(context, size); /* never NULL: as many slots as tensors */
    if (!t->buffer || t->size < size || t->size / 4 > size) {
        context->b->buffer_destroy(t->buffer);
        *t = (struct tenon__temp){.buffer = NULL};
        int32_t status = tenon__context_buffer(context, size, 0, NULL, &t->buffer);
        if (status)
            return status;
        t->size = size;
    }
    t->busy = 1;
    *temp = t;
    return TENON_OK;
}

static void temp_put(struct tenon_context *context, struct tenon__temp *t)
{
    t->busy = 0;
    if (t->size <= KEEP_MAX)
        return;
    context->b->buffer_destroy(t->buffer);
    *t = (struct tenon__temp){.buffer = NULL};
}

/* ---- where each value goes ---- */

/* The earlier host value with exactly this memory, or -1; *overlaps: some other one shares a part of it. */
static int same_memory(const struct work *w, uint32_t i, int *overlaps)
{
    const uint64_t(*range)[2] = (const uint64_t(*)[2])w->places->range;
    int same = -1;
    for (uint32_t left = w->places->host; left; left &= left - 1) {
        uint32_t j = (uint32_t)__builtin_ctz(left);
        if (j == i || range[j][0] >= range[i][1] || range[i][0] >= range[j][1])
            continue;
        if (range[j][0] != range[i][0] || range[j][1] != range[i][1])
            *overlaps = 1;
        else if (j < i && same < 0)
            same = (int)j;
    }
    return same;
}

static int import(struct work *w, uint32_t i)
{
    const struct tenon_device_info *info = &w->context->info;
    if (!(info->caps & TENON_CAP_IMPORT) || w->places->range[i][0] & (info->import_align - 1))
        return 0;
    int32_t status =
        tenon__context_buffer(w->context, w->plan->bytes[i], TENON_BUF_IMPORT, w->values[i].host, &w->import[i]);
    if (status) {
        tenon__log(TENON_LOG_DEBUG, "%s is copied: %s", w->plan->contract->tensors[i].name, tenon_error());
        return 0;
    }
    w->places->bind[i] = (struct tenon_bind){w->import[i], 0};
    return 1;
}

static int32_t place(struct work *w, uint32_t i)
{
    int overlaps = 0, same = same_memory(w, i, &overlaps);
    if (same >= 0 && !overlaps) { /* one buffer for both: two aliases of one memory are not defined everywhere */
        w->places->bind[i] = w->places->bind[same];
        w->at[i] = w->at[same];
        w->staged |= (w->staged >> same & 1u) << i;
        return TENON_OK;
    }
    if (!overlaps && import(w, i))
        return TENON_OK;
    int32_t status = temp_get(w->context, w->plan->bytes[i], &w->temp[i]);
    if (status)
        return status;
    w->places->bind[i] = (struct tenon_bind){w->temp[i]->buffer, 0};
    w->staged |= 1u << i;
    w->at[i] = w->total;
    w->total += round_up(w->plan->bytes[i],
                         STAGE_ALIGN > w->context->info.bind_align ? STAGE_ALIGN : w->context->info.bind_align);
    return TENON_OK;
}

static void give_back(struct work *w)
{
    for (uint32_t i = 0; i < w->plan->n; i++) {
        w->context->b->buffer_destroy(w->import[i]);
        if (w->temp[i])
            temp_put(w->context, w->temp[i]);
    }
}

/* ---- copies ---- */

/* Only the elements: what lies between the rows of a strided result is not ours to write. */
static void copy_elements(const struct tenon_tensor *t, void *to, const void *from)
{
    size_t element = TENON_DTYPE_SIZE(t->dtype);
    uint32_t last = t->rank ? t->rank - 1 : 0;
    if (tenon_tensor_is_contiguous(t)) {
        memcpy(to, from, (size_t)tenon_tensor_bytes(t));
        return;
    }
    int64_t index[TENON_MAX_RANK] = {0};
    for (;;) {
        int64_t offset = 0;
        for (uint32_t k = 0; k < last; k++)
            offset += index[k] * t->stride[k];
        size_t at = (size_t)offset * element;
        memcpy((char *)to + at, (const char *)from + at, (size_t)t->dim[last] * element);
        uint32_t k = last;
        while (k > 0 && ++index[k - 1] == t->dim[k - 1])
            index[--k] = 0;
        if (k == 0)
            return;
    }
}

static uint32_t staged_in(const struct work *w)
{
    return w->staged & (~w->plan->outputs | w->plan->kept);
}

static uint32_t staged_out(const struct work *w)
{
    return w->staged & w->plan->outputs;
}

static int32_t run_and_wait(struct work *w, const struct tenon_cmd *const *before, uint32_t n_before,
                            const struct tenon_cmd *const *after, uint32_t n_after)
{
    int32_t status = tenon__run_submit(w->context, w->plan, w->places, before, n_before, after, n_after);
    return status ? status : tenon__context_wait(w->context, w->context->submitted);
}

static int32_t read_out(struct work *w, struct tenon_buffer *buffer, uint64_t offset, uint32_t i)
{
    void *from = NULL;
    tenon__error_clear();
    int32_t status = w->context->b->buffer_map(buffer, offset, w->plan->bytes[i], TENON_MAP_READ, &from);
    if (status)
        return tenon__fail_from(status, w->context->spec);
    if (!from)
        return tenon__fail(TENON_E_INTERNAL, "%s: buffer_map returned OK and no pointer", w->context->spec);
    copy_elements(&w->plan->tensor[i], w->values[i].host, from);
    status = w->context->b->buffer_unmap(buffer);
    return status ? tenon__fail_from(status, w->context->spec) : TENON_OK;
}

/* The host sees the device's memory. */
static int32_t run_mapped(struct work *w)
{
    int32_t status = tenon__context_wait(w->context, w->context->submitted);
    for (uint32_t left = staged_in(w); left && !status; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(left);
        status = tenon__mapped_write(w->context, w->places->bind[i].buffer, 0, w->values[i].host, w->plan->bytes[i]);
    }
    if (!status)
        status = run_and_wait(w, NULL, 0, NULL, 0);
    for (uint32_t left = staged_out(w); left && !status; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(left);
        status = read_out(w, w->places->bind[i].buffer, 0, i);
    }
    return status;
}

/* Everything through the pinned buffer, with the run in one submission. */
static int32_t run_batched(struct work *w)
{
    struct tenon_context *context = w->context;
    struct tenon_bind args[2][TENON_MAX_TENSORS][2];
    struct tenon_cmd cmd[2][TENON_MAX_TENSORS];
    const struct tenon_cmd *before[TENON_MAX_TENSORS], *after[TENON_MAX_TENSORS];
    uint32_t n_before = 0, n_after = 0;
    int32_t status = tenon__stage_get(context, w->total);
    for (uint32_t left = w->staged; left && !status; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(left);
        const struct tenon_bind device = w->places->bind[i], host = {context->stage, w->at[i]};
        const int ways[2] = {staged_in(w) >> i & 1u, staged_out(w) >> i & 1u};
        for (int out = 0; out < 2; out++) {
            args[out][i][0] = out ? host : device;
            args[out][i][1] = out ? device : host;
            cmd[out][i] = (struct tenon_cmd){.struct_size = sizeof cmd[out][i],
                                             .kind = TENON_CMD_COPY,
                                             .n_args = 2,
                                             .args = args[out][i],
                                             .size = w->plan->bytes[i]};
        }
        if (ways[0]) {
            before[n_before++] = &cmd[0][i];
            status = tenon__mapped_write(context, context->stage, w->at[i], w->values[i].host, w->plan->bytes[i]);
        }
        if (ways[1])
            after[n_after++] = &cmd[1][i];
    }
    if (!status)
        status = run_and_wait(w, before, n_before, after, n_after);
    for (uint32_t left = staged_out(w); left && !status; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(left);
        status = read_out(w, context->stage, w->at[i], i);
    }
    return status;
}

static int32_t read_large(struct work *w, uint32_t i)
{
    const struct tenon_tensor *t = &w->plan->tensor[i];
    struct tenon_buffer *buffer = w->places->bind[i].buffer;
    if (tenon_tensor_is_contiguous(t))
        return tenon__buffer_read(w->context, buffer, 0, w->values[i].host, w->plan->bytes[i]);
    void *bounce = tenon__alloc((size_t)w->plan->bytes[i]);
    if (!bounce)
        return TENON_E_NOMEM;
    int32_t status = tenon__buffer_read(w->context, buffer, 0, bounce, w->plan->bytes[i]);
    if (!status)
        copy_elements(t, w->values[i].host, bounce);
    tenon__free(bounce);
    return status;
}

/* More than the pinned buffer holds: one value after the other, in pieces. */
static int32_t run_pieces(struct work *w)
{
    int32_t status = TENON_OK;
    for (uint32_t left = staged_in(w); left && !status; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(left);
        status = tenon__buffer_write(w->context, w->places->bind[i].buffer, 0, w->values[i].host, w->plan->bytes[i]);
    }
    if (!status)
        status = run_and_wait(w, NULL, 0, NULL, 0);
    for (uint32_t left = staged_out(w); left && !status; left &= left - 1)
        status = read_large(w, (uint32_t)__builtin_ctz(left));
    return status;
}

int32_t tenon__run_host(struct tenon_context *context, struct tenon__plan *plan, const struct tenon_value *values,
                        struct tenon__places *places)
{
    struct work w = {.context = context, .plan = plan, .values = values, .places = places};
    int32_t status = TENON_OK;
    for (uint32_t left = places->host; left && !status; left &= left - 1)
        status = place(&w, (uint32_t)__builtin_ctz(left));
    if (!status && !w.staged)
        status = run_and_wait(&w, NULL, 0, NULL, 0);
    else if (!status && context->info.caps & TENON_CAP_UNIFIED)
        status = run_mapped(&w);
    else if (!status)
        status = w.total <= TENON__STAGE_MAX ? run_batched(&w) : run_pieces(&w);
    if (status && context->done < context->submitted) { /* nothing may go while a submitted command could use it */
        char said[512];
        struct tenon__text text = TENON__TEXT(said);
        tenon__text_add(&text, "%s", tenon_error());
        if (tenon__context_wait(context, context->submitted))
            tenon__log(TENON_LOG_DEBUG, "after a failure: %s", tenon_error());
        tenon__fail(status, "%s", said);
    }
    give_back(&w);
    return status;
}
