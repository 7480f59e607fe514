/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Cases: shapes, storage with margins and gaps, poison. */
#include <stdlib.h>
#include <string.h>
#include "conform.h"

#define TENON_OP(number, name) extern const struct conform_op tenon__conform_##name;
#include <tenon/ops.def>
#undef TENON_OP

const struct conform_op *conform_op_at(uint32_t i)
{
    static const struct conform_op *const ops[] = {
#define TENON_OP(number, name) &tenon__conform_##name,
#include <tenon/ops.def>
#undef TENON_OP
    };
    return i < sizeof(ops) / sizeof(ops[0]) ? ops[i] : NULL;
}

static void case_clear(const struct conform_op *op, struct conform_case *c)
{
    const struct tenon_op_contract *contract = tenon_op_contract_by_number(op->op);
    memset(c, 0, sizeof(*c));
    c->op = op;
    c->n = contract->n_tensors;
    tenon_op_defaults(contract, c->params);
    for (uint32_t i = 0; i < TENON_MAX_TENSORS; i++) {
        c->slot[i].same_as = -1;
        c->slot[i].is_output = i < c->n && contract->tensors[i].role >= TENON_OUT;
    }
}

void conform_case_make(const struct conform_op *op, uint64_t seed, uint64_t number, struct conform_case *c)
{
    case_clear(op, c);
    c->seed = seed;
    c->number = number;
    op->make(c);
}

void conform_case_bench(const struct conform_op *op, const struct conform_bench *bench, struct conform_case *c)
{
    case_clear(op, c);
    c->mode = CONFORM_RANDOM;
    op->bench_make(bench, c);
}

static void slot_poison(struct conform_slot *slot)
{
    static const unsigned char word[4] = {0xef, 0xbe, 0xad, 0xde};
    uint64_t done = slot->size < 4 ? slot->size : 4;
    if (!slot->is_output) {
        memset(slot->data, 0xff, slot->size);
        return;
    }
    memcpy(slot->data, word, done);
    for (uint64_t more; done < slot->size; done += more) {
        more = slot->size - done < done ? slot->size - done : done;
        memcpy(slot->data + done, slot->data, more);
    }
}

/* Storage for the slots that have none: a copy of `from`'s, or poison. */
static int slots_alloc(struct conform_case *c, const struct conform_case *from)
{
    for (uint32_t i = 0; i < c->n; i++) {
        struct conform_slot *slot = &c->slot[i];
        if (!slot->tensor.dtype || slot->data || slot->same_as >= 0)
            continue;
        slot->data = malloc(slot->size ? slot->size : 1);
        if (!slot->data)
            return -1;
        if (from && from->slot[i].data)
            memcpy(slot->data, from->slot[i].data, slot->size);
        else
            slot_poison(slot);
    }
    for (uint32_t i = 0; i < c->n; i++)
        if (c->slot[i].tensor.dtype && c->slot[i].same_as >= 0)
            c->slot[i].data = c->slot[c->slot[i].same_as].data;
    return 0;
}

int conform_case_alloc(struct conform_case *c)
{
    return slots_alloc(c, NULL);
}

int conform_case_clone(const struct conform_case *c, struct conform_case *clone)
{
    *clone = *c;
    for (uint32_t i = 0; i < TENON_MAX_TENSORS; i++)
        clone->slot[i].data = NULL;
    if (slots_alloc(clone, c) == 0)
        return 0;
    conform_case_free(clone);
    return -1;
}

void conform_case_fill(struct conform_case *c)
{
    for (uint32_t i = 0; i < c->n; i++)
        if (c->slot[i].tensor.dtype && !c->slot[i].is_output)
            c->op->fill(c, i);
}

void conform_case_poison(struct conform_case *c)
{
    for (uint32_t i = 0; i < c->n; i++) {
        struct conform_slot *slot = &c->slot[i];
        if (!slot->tensor.dtype || !slot->is_output)
            continue;
        if (slot->same_as >= 0)
            c->op->fill(c, (uint32_t)slot->same_as);
        else
            slot_poison(slot);
    }
}

void conform_case_free(struct conform_case *c)
{
    for (uint32_t i = 0; i < TENON_MAX_TENSORS; i++) {
        if (c->slot[i].same_as < 0)
            free(c->slot[i].data);
        c->slot[i].data = NULL;
    }
}

void conform_slot_set(struct conform_case *c, uint32_t i, uint32_t dtype, uint32_t rank, const int64_t *dim)
{
    c->slot[i].tensor = tenon_tensor_make(dtype, rank, dim);
    conform_slot_room(&c->slot[i], 0, 0);
}

void conform_slot_pitch(struct conform_slot *slot, int64_t pitch)
{
    struct tenon_tensor *t = &slot->tensor;
    if (t->rank < 2)
        return;
    t->stride[t->rank - 2] = pitch;
    for (int axis = (int)t->rank - 3; axis >= 0; axis--)
        t->stride[axis] = t->stride[axis + 1] * t->dim[axis + 1];
}

void conform_slot_room(struct conform_slot *slot, uint64_t lead, uint64_t trail)
{
    slot->lead = lead;
    slot->size = lead + tenon_tensor_bytes(&slot->tensor) + trail;
}

void conform_slot_margins(struct conform_slot *slot, uint64_t lead, uint64_t trail)
{
    static const uint64_t elements[8] = {0, 1, 3, 16, 0, 5, 7, 64};
    conform_slot_room(slot, elements[lead & 7] * TENON_DTYPE_SIZE(slot->tensor.dtype), (trail & 3) * 8);
}

void conform_slot_rows(struct conform_case *c, uint32_t i, uint32_t dtype, int deep, int64_t rows, int64_t cols,
                       int64_t gap)
{
    const int64_t a = rows % 2 == 0 && rows > 0 ? 2 : 1;
    conform_slot_set(c, i, dtype, deep ? 3 : 2, deep ? (int64_t[]){a, rows / a, cols} : (int64_t[]){rows, cols});
    if (gap)
        conform_slot_pitch(&c->slot[i], cols + gap);
    conform_slot_room(&c->slot[i], 0, 0);
}

int64_t conform_offset(const struct tenon_tensor *tensor, int64_t index)
{
    int64_t offset = 0;
    for (int axis = (int)tensor->rank - 1; axis >= 0; axis--) {
        if (index < tensor->dim[axis]) /* most often at the last axis: the divisions are what this costs */
            return offset + index * tensor->stride[axis];
        offset += index % tensor->dim[axis] * tensor->stride[axis];
        index /= tensor->dim[axis];
    }
    return offset;
}
