/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The part of every operator's contract that is the same for all of them. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "contract.h"

#define PARAMS_MAX 256
#define BYTES_MAX  (INT64_C(1) << 60) /* so that sums of a few extents never overflow */

static int is_output(const struct tenon_tensor_spec *spec)
{
    return spec->role == TENON_OUT || spec->role == TENON_OUT_OPT;
}

static int is_optional(const struct tenon_tensor_spec *spec)
{
    return spec->role == TENON_IN_OPT || spec->role == TENON_OUT_OPT;
}

/* "f32 f16 bf16" for a set of types. */
static const char *dtype_set(uint32_t set, char *text, size_t size)
{
    static const uint32_t all[] = {TENON_F32, TENON_F16, TENON_BF16, TENON_I8, TENON_U8, TENON_I32, TENON_U32};
    size_t used = 0;
    text[0] = 0;
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        if (set & tenon_dtype_bit(all[i]) && used < size)
            used += (size_t)snprintf(text + used, size - used, "%s%s", used ? " " : "", tenon_dtype_name(all[i]));
    return text;
}

static int32_t check_dims(const struct tenon_tensor_spec *spec, const struct tenon_tensor *t, struct tenon_why *why)
{
    if (t->rank > TENON_MAX_RANK)
        return tenon_why_set(why, TENON_E_SHAPE, "%s rank %u: must be at most %d", spec->name, t->rank, TENON_MAX_RANK);
    int64_t size = TENON_DTYPE_SIZE(t->dtype), count = 1;
    for (uint32_t i = 0; i < TENON_MAX_RANK; i++) {
        long long dim = t->dim[i], stride = t->stride[i];
        if (i >= t->rank) {
            if (dim || stride)
                return tenon_why_set(why, TENON_E_INVALID,
                                     "%s axis %u (dim %lld, stride %lld): must be zero beyond rank %u", spec->name, i,
                                     dim, stride, t->rank);
            continue;
        }
        if (dim < 0)
            return tenon_why_set(why, TENON_E_SHAPE, "%s dim[%u] = %lld: must be at least 0", spec->name, i, dim);
        if (stride < 0)
            return tenon_why_set(why, TENON_E_SHAPE, "%s stride[%u] = %lld: must be at least 0", spec->name, i, stride);
        /* Axes of length 0 count as 1 here: a shape is judged the same whether or not it happens to be empty. */
        if (dim > 0 && count > BYTES_MAX / size / dim)
            return tenon_why_set(why, TENON_E_SHAPE, "%s dim[%u] = %lld: the tensor would exceed 2^60 bytes",
                                 spec->name, i, dim);
        count *= dim > 0 ? dim : 1;
    }
    return TENON_OK;
}

static int32_t check_strides(const struct tenon_tensor_spec *spec, const struct tenon_tensor *t, struct tenon_why *why)
{
    int64_t left = BYTES_MAX / TENON_DTYPE_SIZE(t->dtype);
    for (uint32_t i = 0; i < t->rank; i++)
        if (t->dim[i] == 0)
            return TENON_OK; /* nothing is addressed */
    for (uint32_t i = 0; i < t->rank; i++) {
        if (t->dim[i] < 2)
            continue;
        if (t->stride[i] > left / (t->dim[i] - 1))
            return tenon_why_set(why, TENON_E_SHAPE, "%s stride[%u] = %lld: the tensor would exceed 2^60 bytes",
                                 spec->name, i, (long long)t->stride[i]);
        left -= t->stride[i] * (t->dim[i] - 1);
    }
    uint32_t last = t->rank - 1;
    if (t->rank && t->dim[last] > 1 && t->stride[last] != 1)
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s stride[%u] = %lld: must be 1 on the last axis", spec->name,
                             last, (long long)t->stride[last]);
    return TENON_OK;
}

/* No two elements of an output may share memory: in order of stride, each axis steps over all that the smaller ones
 * span. Sufficient, and the only layouts refused for nothing are interleavings that nobody writes. */
static int32_t check_self_overlap(const struct tenon_tensor_spec *spec, const struct tenon_tensor *t,
                                  struct tenon_why *why)
{
    uint32_t done = 0;
    int64_t span = 1;
    if (tenon_tensor_count(t) == 0)
        return TENON_OK;
    for (;;) {
        uint32_t next = TENON_MAX_RANK;
        for (uint32_t i = 0; i < t->rank; i++)
            if (!(done & 1u << i) && t->dim[i] > 1 && (next == TENON_MAX_RANK || t->stride[i] < t->stride[next]))
                next = i;
        if (next == TENON_MAX_RANK)
            return TENON_OK;
        if (t->stride[next] < span)
            return tenon_why_set(why, TENON_E_ALIAS,
                                 "%s stride[%u] = %lld: elements of an output must not share memory (at least %lld)",
                                 spec->name, next, (long long)t->stride[next], (long long)span);
        span += t->stride[next] * (t->dim[next] - 1);
        done |= 1u << next;
    }
}

static int32_t check_tensor(const struct tenon_op_contract *contract, uint32_t i, const struct tenon_tensor *t,
                            struct tenon_why *why)
{
    const struct tenon_tensor_spec *spec = &contract->tensors[i];
    char set[64];
    if (t->dtype == TENON_ABSENT) {
        if (!is_optional(spec))
            return tenon_why_set(why, TENON_E_SHAPE, "%s is absent: %s needs it", spec->name, contract->name);
        return TENON_OK;
    }
    uint32_t bit = tenon_dtype_bit(t->dtype);
    if (!bit)
        return tenon_why_set(why, TENON_E_DTYPE, "%s type 0x%08x: must be one of %s", spec->name, t->dtype,
                             dtype_set(spec->dtypes, set, sizeof set));
    if (!(spec->dtypes & bit))
        return tenon_why_set(why, TENON_E_DTYPE, "%s type %s: must be one of %s", spec->name,
                             tenon_dtype_name(t->dtype), dtype_set(spec->dtypes, set, sizeof set));
    int32_t status = check_dims(spec, t, why);
    if (!status)
        status = check_strides(spec, t, why);
    if (!status && is_output(spec))
        status = check_self_overlap(spec, t, why);
    return status;
}

static int32_t check_tensors(const struct tenon_op_contract *contract, const struct tenon_tensor *tensors,
                             struct tenon_why *why)
{
    uint32_t outputs = 0, present = 0;
    for (uint32_t i = 0; i < contract->n_tensors; i++) {
        int32_t status = check_tensor(contract, i, &tensors[i], why);
        if (status)
            return status;
        if (is_output(&contract->tensors[i])) {
            outputs++;
            present += tensors[i].dtype != TENON_ABSENT;
        }
    }
    if (outputs && !present) {
        char names[160];
        size_t used = 0;
        for (uint32_t i = 0; i < contract->n_tensors && used < sizeof names; i++)
            if (is_output(&contract->tensors[i]))
                used += (size_t)snprintf(names + used, sizeof names - used, " %s", contract->tensors[i].name);
        return tenon_why_set(why, TENON_E_ARG, "no output is asked for: at least one of%s must be present", names);
    }
    return TENON_OK;
}

static int32_t check_enum(const struct tenon_attr_spec *attr, uint32_t value, struct tenon_why *why)
{
    char names[160];
    size_t used = 0;
    if (value <= attr->max)
        return TENON_OK;
    names[0] = 0;
    for (uint32_t i = 0; attr->names[i] && used < sizeof names; i++)
        used += (size_t)snprintf(names + used, sizeof names - used, " %u=%s", i, attr->names[i]);
    return tenon_why_set(why, TENON_E_ARG, "%s = %u: must be one of%s", attr->name, value, names);
}

static int32_t check_number(const struct tenon_attr_spec *attr, double value, struct tenon_why *why)
{
    if (value >= attr->min && value <= attr->max)
        return TENON_OK;
    int digits = attr->type == TENON_ATTR_F32 ? 9 : 20; /* integers in full */
    return tenon_why_set(why, TENON_E_ARG, "%s = %.*g: must be within [%.*g, %.*g]", attr->name, digits, value, digits,
                         attr->min, digits, attr->max);
}

static int32_t check_attr(const struct tenon_attr_spec *attr, const unsigned char *params, struct tenon_why *why)
{
    uint32_t word;
    memcpy(&word, params + attr->offset, sizeof word);
    if (attr->type == TENON_ATTR_ENUM)
        return check_enum(attr, word, why);
    if (attr->type == TENON_ATTR_FLAGS) {
        if (!(word & ~(uint32_t)attr->max))
            return TENON_OK;
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s = 0x%x: known here are 0x%x", attr->name, word,
                             (uint32_t)attr->max);
    }
    if (attr->type == TENON_ATTR_F32) {
        float value;
        memcpy(&value, &word, sizeof value);
        if (!isfinite(value))
            return tenon_why_set(why, TENON_E_ARG, "%s = %f: must be finite", attr->name, (double)value);
        return check_number(attr, value, why);
    }
    if (attr->type == TENON_ATTR_U64) {
        uint64_t value;
        memcpy(&value, params + attr->offset, sizeof value);
        return check_number(attr, (double)value, why);
    }
    return check_number(attr, attr->type == TENON_ATTR_I32 ? (double)(int32_t)word : (double)word, why);
}

/* Today's layout of the caller's params: what an older caller does not know reads as zero, which means the old
 * behaviour. */
static int32_t copy_params(const struct tenon_op_contract *contract, const void *from, void *to, struct tenon_why *why)
{
    char what[64];
    snprintf(what, sizeof what, "params of %s", contract->name);
    int32_t status = tenon_struct_check(from, contract->params_first, contract->params_size, what, why);
    if (status)
        return status;
    uint32_t size;
    memcpy(&size, from, sizeof size);
    memset(to, 0, contract->params_size);
    memcpy(to, from, size < contract->params_size ? size : contract->params_size);
    memcpy(to, &contract->params_size, sizeof contract->params_size);
    for (uint32_t i = 0; i < contract->n_attrs; i++) {
        status = check_attr(&contract->attrs[i], to, why);
        if (status)
            return status;
    }
    return TENON_OK;
}

/* The descriptor itself, up to the point where its tensors may be read. */
static int32_t check_desc(const struct tenon_op_desc *desc, const struct tenon_op_contract **contract,
                          struct tenon_why *why)
{
    int32_t status = tenon_struct_check(desc, sizeof *desc, sizeof *desc, "operator descriptor", why);
    if (status)
        return status;
    *contract = tenon_op_contract_by_number(desc->op);
    if (!*contract)
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "operator %u is not known here", desc->op);
    if (desc->flags)
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "descriptor flags 0x%x: none are known here", desc->flags);
    status = tenon_chain_check(desc->next, why);
    if (status)
        return status;
    if (desc->n_tensors < (*contract)->n_tensors_first || desc->n_tensors > TENON_MAX_TENSORS)
        return tenon_why_set(why, TENON_E_INVALID, "n_tensors %u: %s has %u", desc->n_tensors, (*contract)->name,
                             (*contract)->n_tensors);
    if (!desc->tensors)
        return tenon_why_set(why, TENON_E_INVALID, "tensors is NULL");
    for (uint32_t i = (*contract)->n_tensors; i < desc->n_tensors; i++)
        if (desc->tensors[i].dtype != TENON_ABSENT)
            return tenon_why_set(why, TENON_E_UNSUPPORTED, "tensor %u is given: %s has only %u here", i,
                                 (*contract)->name, (*contract)->n_tensors);
    return TENON_OK;
}

int32_t tenon_op_check(const struct tenon_op_desc *desc, const struct tenon_op_contract **contract, void *params,
                       size_t params_size, struct tenon_why *why)
{
    const struct tenon_op_contract *found = NULL;
    struct tenon_tensor tensors[TENON_MAX_TENSORS];
    uint64_t copy[PARAMS_MAX / sizeof(uint64_t)];
    if (contract)
        *contract = NULL;
    int32_t status = check_desc(desc, &found, why);
    if (status)
        return status;
    if (found->params_size > sizeof copy || (params && params_size < found->params_size))
        return tenon_why_set(why, TENON_E_INVALID, "room for params %zu: %s needs %u", params_size, found->name,
                             found->params_size);
    status = copy_params(found, desc->params, copy, why);
    if (status)
        return status;
    tenon_op_tensors(desc, found, tensors);
    status = check_tensors(found, tensors, why);
    if (!status)
        status = found->validate(copy, tensors, why);
    if (status)
        return status;
    if (params)
        memcpy(params, copy, found->params_size);
    if (contract)
        *contract = found;
    return TENON_OK;
}

static int same_tensor(const struct tenon_tensor *a, const struct tenon_tensor *b)
{
    if (a->dtype != b->dtype || a->rank != b->rank)
        return 0;
    for (uint32_t i = 0; i < a->rank; i++)
        if (a->dim[i] != b->dim[i] || (a->dim[i] > 1 && a->stride[i] != b->stride[i]))
            return 0;
    return 1;
}

int32_t tenon_op_check_alias(const struct tenon_op_contract *contract, const void *params,
                             const struct tenon_tensor *tensors, const uint64_t (*range)[2], struct tenon_why *why)
{
    /* Every RUN comes here: what is absent or apart is passed over before anything else is looked at. */
    const uint32_t n = contract->n_tensors;
    for (uint32_t o = 0; o < n; o++) {
        const uint64_t begin = range[o][0], end = range[o][1];
        if (begin >= end || !is_output(&contract->tensors[o]))
            continue;
        for (uint32_t i = 0; i < n; i++) {
            if (range[i][0] >= end || begin >= range[i][1] || i == o || range[i][0] >= range[i][1])
                continue;
            int output = is_output(&contract->tensors[i]);
            if (output && i < o)
                continue;
            int allowed = !output && contract->in_place && contract->in_place(params, i, o);
            if (allowed && range[i][0] == range[o][0] && same_tensor(&tensors[i], &tensors[o]))
                continue;
            return tenon_why_set(why, TENON_E_ALIAS, "%s overlaps %s: they must be disjoint%s",
                                 contract->tensors[o].name, contract->tensors[i].name,
                                 allowed ? " or the same tensor (type, shape, strides, address)" : "");
        }
    }
    return TENON_OK;
}
