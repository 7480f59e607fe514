/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Comparisons of what came back with the reference, with what was there before, and with another run. */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "suite.h"

struct conform_want *want_create(const struct conform_case *c)
{
    struct conform_want *want = calloc(TENON_MAX_TENSORS, sizeof(*want));
    for (uint32_t i = 0; want && i < c->n; i++) {
        if (!c->slot[i].tensor.dtype || !c->slot[i].is_output)
            continue;
        want[i].count = tenon_tensor_count(&c->slot[i].tensor);
        want[i].want = calloc((size_t)want[i].count + 1, sizeof(double));
        want[i].bound = calloc((size_t)want[i].count + 1, sizeof(double));
        if (want[i].want && want[i].bound)
            continue;
        want_destroy(c, want);
        return NULL;
    }
    return want;
}

void want_destroy(const struct conform_case *c, struct conform_want *want)
{
    for (uint32_t i = 0; want && i < c->n; i++) {
        free(want[i].want);
        free(want[i].bound);
    }
    free(want);
}

static const char *tensor_name(const struct conform_case *c, uint32_t i)
{
    return tenon_op_contract_by_number(c->op->op)->tensors[i].name;
}

static uint32_t raw_bits(const struct conform_slot *slot, int64_t element)
{
    uint32_t bits = 0, size = TENON_DTYPE_SIZE(slot->tensor.dtype);
    memcpy(&bits, (unsigned char *)conform_first(slot) + element * (int64_t)size, size > 4 ? 4 : size);
    return bits;
}

static void say_where(const struct conform_case *c, uint32_t i, int64_t element, struct result *result)
{
    const struct tenon_tensor *t = &c->slot[i].tensor;
    char *at = result->index, *end = at + sizeof(result->index);
    int64_t rest = element, count = tenon_tensor_count(t);
    snprintf(result->tensor, sizeof(result->tensor), "%s", tensor_name(c, i));
    at += snprintf(at, (size_t)(end - at), "[");
    for (uint32_t axis = 0; axis < t->rank && at < end - 24; axis++) {
        count /= t->dim[axis];
        at += snprintf(at, (size_t)(end - at), "%s%lld", axis ? ", " : "", (long long)(rest / count));
        rest %= count;
    }
    snprintf(at, (size_t)(end - at), "]");
}

static void say_element(const struct conform_case *got, uint32_t i, int64_t element, double want, double bound,
                        struct result *result)
{
    const struct conform_slot *slot = &got->slot[i];
    int64_t at = conform_offset(&slot->tensor, element);
    uint32_t bits = raw_bits(slot, at), poison = TENON_DTYPE_SIZE(slot->tensor.dtype) == 2 ? 0 : 0xDEADBEEF;
    say_where(got, i, element, result);
    result->at_tensor = i;
    result->at_element = element;
    snprintf(result->got, sizeof(result->got), "%.9g (0x%x)", conform_get(conform_first(slot), slot->tensor.dtype, at),
             bits);
    snprintf(result->want, sizeof(result->want), "%.9g", want);
    snprintf(result->bound, sizeof(result->bound), "%.3g", bound);
    snprintf(result->why, sizeof(result->why), "%s%s is %s, must be %s within %s%s", result->tensor, result->index,
             result->got, result->want, result->bound, poison && bits == poison ? ": it was never written" : "");
}

static double largest(uint32_t dtype)
{
    return dtype == TENON_F16 ? 65504 : dtype == TENON_BF16 ? 0x1.fep127 : 0x1.fffffep127;
}

/* The share of the bound that is used; above 1 it is wrong. */
static double share(uint32_t dtype, double got, double want, double bound)
{
    if (isinf(bound))
        return 0;
    if (isnan(want) || isnan(got))
        return isnan(want) && isnan(got) ? 0 : (double)INFINITY;
    if (got == want)
        return 0;
    /* Beyond the type's range rounding gives infinity. */
    if (isinf(got) && !isinf(want) && signbit(got) == signbit(want) &&
        fabs(want) + bound >= largest(dtype) + conform_ulp(dtype, largest(dtype)) / 2)
        return 0;
    if (isinf(got) || isinf(want))
        return (double)INFINITY;
    return bound > 0 ? fabs(got - want) / bound : (double)INFINITY;
}

static int compare_tensor(const struct conform_case *got, uint32_t i, const struct conform_want *want,
                          struct result *result)
{
    const struct conform_slot *slot = &got->slot[i];
    double worst = 0;
    int64_t where = -1, inner = slot->tensor.rank ? slot->tensor.dim[slot->tensor.rank - 1] : 1, at = 0;
    for (int64_t e = 0; e < want->count; e++, at++) {
        if (e % inner == 0) /* the last axis is contiguous */
            at = conform_offset(&slot->tensor, e);
        double value = conform_get(conform_first(slot), slot->tensor.dtype, at);
        double part = share(slot->tensor.dtype, value, want->want[e], want->bound[e]);
        if (part > worst) {
            worst = part;
            where = e;
        }
    }
    if (worst > result->budget)
        result->budget = worst;
    if (worst <= 1)
        return 0;
    say_element(got, i, where, want->want[where], want->bound[where], result);
    return -1;
}

/* Bytes that belong to no element must be what they were. */
static int compare_gaps(const struct conform_case *c, const struct conform_case *got, uint32_t i, struct result *result)
{
    const struct conform_slot *before = &c->slot[i], *after = &got->slot[i];
    int64_t count = tenon_tensor_count(&after->tensor), size = TENON_DTYPE_SIZE(after->tensor.dtype);
    int64_t inner = after->tensor.rank ? after->tensor.dim[after->tensor.rank - 1] : 1;
    unsigned char *merged = malloc(after->size + 1);
    int bad = merged == NULL;
    if (merged)
        memcpy(merged, before->data, after->size);
    for (int64_t e = 0; merged && e < count; e += inner) {
        uint64_t at = after->lead + (uint64_t)(conform_offset(&after->tensor, e) * size);
        memcpy(merged + at, after->data + at, (size_t)(inner * size));
    }
    if (merged && memcmp(merged, after->data, after->size) == 0) {
        free(merged);
        return 0;
    }
    for (uint64_t b = 0; merged && !bad && b < after->size; b++) {
        if (merged[b] == after->data[b])
            continue;
        bad = 1;
        snprintf(result->tensor, sizeof(result->tensor), "%s", tensor_name(c, i));
        snprintf(result->why, sizeof(result->why),
                 "byte %lld from the first element of %s was written: it belongs to no element",
                 (long long)b - (long long)after->lead, result->tensor);
    }
    free(merged);
    return bad;
}

int compare_untouched(const struct conform_case *c, const struct conform_case *got, int outputs_too,
                      struct result *result)
{
    for (uint32_t i = 0; i < c->n; i++) {
        const struct conform_slot *before = &c->slot[i], *after = &got->slot[i];
        int written = 0;
        if (!before->tensor.dtype || before->same_as >= 0 || !before->data)
            continue;
        for (uint32_t j = 0; j < c->n; j++)
            written |= c->slot[j].tensor.dtype && c->slot[j].is_output && (j == i || c->slot[j].same_as == (int32_t)i);
        if ((written && !outputs_too) || memcmp(before->data, after->data, before->size) == 0)
            continue;
        snprintf(result->tensor, sizeof(result->tensor), "%s", tensor_name(c, i));
        snprintf(result->why, sizeof(result->why), "%s %s was written", written ? "output" : "input", result->tensor);
        return -1;
    }
    return 0;
}

int compare_reference(const struct conform_case *c, const struct conform_case *got, const struct conform_want *want,
                      struct result *result)
{
    struct tenon_why why = {""};
    for (uint32_t i = 0; i < c->n; i++) {
        if (!c->slot[i].tensor.dtype || !c->slot[i].is_output)
            continue;
        if (compare_tensor(got, i, &want[i], result) || compare_gaps(c, got, i, result))
            return -1;
    }
    if (compare_untouched(c, got, 0, result))
        return -1;
    if (c->op->check && c->op->check(got, want, &why)) {
        snprintf(result->why, sizeof(result->why), "%s", why.text);
        return -1;
    }
    return 0;
}

/* Elements that follow one another in memory: the last axis is contiguous. */
static int64_t row_length(const struct tenon_tensor *t)
{
    return t->rank ? t->dim[t->rank - 1] : 1;
}

static const unsigned char *row_at(const struct conform_slot *slot, int64_t element)
{
    return (const unsigned char *)conform_first(slot) +
           conform_offset(&slot->tensor, element) * (int64_t)TENON_DTYPE_SIZE(slot->tensor.dtype);
}

/* The first element whose bits differ, not counting two NaN, or -1. The tensors have the same shape. */
static int64_t first_different(const struct conform_slot *s, const struct conform_slot *t)
{
    uint32_t dtype = s->tensor.dtype;
    int64_t count = tenon_tensor_count(&s->tensor), inner = row_length(&s->tensor), size = TENON_DTYPE_SIZE(dtype);
    for (int64_t e = 0; e < count; e += inner) {
        const unsigned char *x = row_at(s, e), *y = row_at(t, e);
        if (memcmp(x, y, (size_t)(inner * size)) == 0)
            continue;
        for (int64_t i = 0; i < inner; i++)
            if (memcmp(x + i * size, y + i * size, (size_t)size) != 0 &&
                !(isnan(conform_get(x, dtype, i)) && isnan(conform_get(y, dtype, i))))
                return e + i;
    }
    return -1;
}

int compare_bits(const struct conform_case *a, const struct conform_case *b, const struct conform_want *exact_only,
                 struct result *result)
{
    for (uint32_t i = 0; i < a->n; i++) {
        const struct conform_slot *s = &a->slot[i], *t = &b->slot[i];
        int64_t e;
        if (!s->tensor.dtype || !t->tensor.dtype || !s->is_output || (exact_only && !exact_only[i].exact) ||
            (e = first_different(s, t)) < 0)
            continue;
        say_element(b, i, e, conform_get(conform_first(s), s->tensor.dtype, conform_offset(&s->tensor, e)), 0, result);
        return -1;
    }
    return 0;
}

int compare_bounds(const struct conform_case *a, const struct conform_case *b, const struct conform_want *want,
                   struct result *result)
{
    for (uint32_t i = 0; i < a->n; i++) {
        const struct conform_slot *s = &a->slot[i], *t = &b->slot[i];
        int64_t inner = row_length(&s->tensor);
        if (!s->tensor.dtype || !s->is_output)
            continue;
        for (int64_t e = 0; e < want[i].count; e++) {
            double x = conform_get(row_at(s, e - e % inner), s->tensor.dtype, e % inner);
            double y = conform_get(row_at(t, e - e % inner), t->tensor.dtype, e % inner);
            if (!isfinite(x) || !isfinite(y) || fabs(x - y) <= 2 * want[i].bound[e])
                continue;
            say_element(b, i, e, x, 2 * want[i].bound[e], result);
            return -1;
        }
    }
    return 0;
}

uint64_t hash_outputs(const struct conform_case *c)
{
    uint64_t hash = 0;
    for (uint32_t i = 0; i < c->n; i++) {
        const struct conform_slot *s = &c->slot[i];
        if (!s->tensor.dtype || !s->is_output)
            continue;
        int64_t count = tenon_tensor_count(&s->tensor), inner = row_length(&s->tensor), at = 0;
        for (int64_t e = 0; e < count; e++, at++) {
            if (e % inner == 0)
                at = conform_offset(&s->tensor, e);
            int nan = isnan(conform_get(conform_first(s), s->tensor.dtype, at));
            hash = conform_random(hash, nan ? UINT64_C(1) << 40 : raw_bits(s, at));
        }
    }
    return hash;
}
