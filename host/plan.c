/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Plans by descriptor: the first run of a shape makes one, every later run finds it by a hash and a comparison of all
 * that was given. A plan that was not used for longest goes when there are too many. */
#include "host.h"

#include <stdio.h>
#include <string.h>

/* What a caller asks for, and how to reach its tensors (alone, or inside tenon_value). */
struct key {
    uint32_t op, n, present, given_size;
    const void *params;
    const char *first;
    size_t step;
};

static const struct tenon_tensor *tensor_at(const struct key *key, uint32_t i)
{
    return (const struct tenon_tensor *)(key->first + i * key->step);
}

static uint64_t mix(uint64_t h, uint64_t word)
{
    h = (h ^ word) * 0x9e3779b97f4a7c15u;
    return h ^ h >> 29;
}

static uint64_t hash_of(const struct key *key)
{
    uint64_t h = mix(key->op, (uint64_t)key->present << 32 | key->n), word;
    for (uint32_t i = 0; i + 8 <= key->given_size; i += 8) {
        memcpy(&word, (const char *)key->params + i, 8);
        h = mix(h, word);
    }
    for (uint32_t left = key->present; left; left &= left - 1) {
        const struct tenon_tensor *t = tensor_at(key, (uint32_t)__builtin_ctz(left));
        h = mix(h, (uint64_t)t->rank << 32 | t->dtype);
        for (uint32_t k = 0; k < t->rank && k < TENON_MAX_RANK; k++)
            h = mix(mix(h, (uint64_t)t->dim[k]), (uint64_t)t->stride[k]);
    }
    return h;
}

static int equal(const struct tenon__plan *plan, const struct key *key)
{
    if (plan->op != key->op || plan->n != key->n || plan->present != key->present ||
        plan->given_size != key->given_size || (key->given_size && memcmp(plan->given, key->params, key->given_size)))
        return 0;
    for (uint32_t left = key->present; left; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(left);
        if (memcmp(&plan->tensor[i], tensor_at(key, i), sizeof plan->tensor[i]))
            return 0;
    }
    return 1;
}

static struct tenon__plan **bucket_of(struct tenon_context *context, uint64_t hash)
{
    return &context->bucket[hash >> 32 & (TENON__PLAN_BUCKETS - 1)];
}

static int32_t drop_oldest(struct tenon_context *context)
{
    struct tenon__plan **oldest = NULL;
    for (uint32_t i = 0; i < TENON__PLAN_BUCKETS; i++)
        for (struct tenon__plan **link = &context->bucket[i]; *link; link = &(*link)->next)
            if (!oldest || (*link)->used_tick < (*oldest)->used_tick)
                oldest = link;
    if (!oldest)
        return TENON_OK;
    struct tenon__plan *plan = *oldest;
    int32_t status = tenon__context_wait(context, plan->used_seq);
    if (status)
        return status;
    *oldest = plan->next;
    context->n_plans--;
    if (context->last == plan)
        context->last = NULL;
    context->b->plan_destroy(plan->plan);
    tenon__free(plan);
    return TENON_OK;
}

/* The operator's name in front of the sentence, so that "x: rank 9" says of what. */
static int32_t refused(const struct tenon_op_contract *contract, int32_t status, const struct tenon_why *why)
{
    return tenon__fail(status, "%s%s%s", contract ? contract->name : "operator", contract ? ": " : " ",
                       why->text[0] ? why->text : tenon_status_text(status));
}

static void describe(const struct key *key, struct tenon__plan *plan, struct tenon_op_desc *desc)
{
    for (uint32_t left = key->present; left; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(left);
        plan->tensor[i] = *tensor_at(key, i);
    }
    *desc = (struct tenon_op_desc){.struct_size = sizeof *desc,
                                   .op = key->op,
                                   .n_tensors = key->n,
                                   .tensors = plan->tensor,
                                   .params = key->params};
}

static int32_t check(const struct key *key, struct tenon__plan *plan, struct tenon_op_desc *desc)
{
    struct tenon_why why = {""};
    plan->contract = tenon_op_contract_by_number(key->op);
    if (!key->params && plan->contract && plan->contract->params_size <= sizeof plan->params) {
        tenon_op_defaults(plan->contract, plan->params);
        desc->params = plan->params;
    }
    const struct tenon_op_contract *contract = NULL;
    uint64_t params[TENON__PARAMS_MAX / 8] = {0};
    int32_t status = tenon_op_check(desc, &contract, params, sizeof params, &why);
    if (status)
        return refused(plan->contract, status, &why);
    memcpy(plan->params, params, sizeof params);
    desc->params = plan->params;
    plan->contract = contract;
    return TENON_OK;
}

static void fill(const struct key *key, struct tenon__plan *plan)
{
    plan->op = key->op;
    plan->n = key->n;
    plan->present = key->present;
    plan->given_size = key->given_size;
    if (key->given_size)
        memcpy(plan->given, key->params, key->given_size);
    for (uint32_t i = 0; i < plan->contract->n_tensors; i++)
        if (plan->contract->tensors[i].role >= TENON_OUT)
            plan->outputs |= 1u << i;
    plan->outputs &= key->present;
    plan->kept = plan->contract->kept & key->present;
    for (uint32_t left = key->present; left; left &= left - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(left);
        plan->bytes[i] = tenon_tensor_bytes(&plan->tensor[i]);
    }
}

static int32_t make(struct tenon_context *context, const struct key *key, struct tenon__plan *plan)
{
    struct tenon_op_desc desc;
    describe(key, plan, &desc);
    int32_t status = check(key, plan, &desc);
    if (status)
        return status;
    fill(key, plan);
    tenon__error_clear();
    status = context->b->plan_create(context->device, &desc, &plan->plan);
    if (status)
        return tenon__fail_from(status, context->spec);
    if (!plan->plan)
        return tenon__fail(TENON_E_INTERNAL, "%s: plan_create returned OK and no plan", context->spec);
    plan->info.struct_size = sizeof plan->info;
    status = context->b->plan_info(plan->plan, &plan->info);
    if (status)
        return tenon__fail_from(status, context->spec);
    plan->info.impl[sizeof plan->info.impl - 1] = 0;
    return TENON_OK;
}

static int32_t key_of(struct key *key)
{
    if (!key->first || key->n == 0 || key->n > TENON_MAX_TENSORS)
        return tenon__fail(TENON_E_INVALID, "%u tensors: must be 1 to %d", key->n, TENON_MAX_TENSORS);
    for (uint32_t i = 0; i < key->n; i++)
        key->present |= (uint32_t)(tensor_at(key, i)->dtype != TENON_ABSENT) << i;
    if (!key->params)
        return TENON_OK;
    memcpy(&key->given_size, key->params, sizeof key->given_size);
    if (key->given_size < sizeof key->given_size || key->given_size > TENON__PARAMS_MAX)
        return tenon__fail(TENON_E_INVALID, "params: struct_size %u: must be 4 to %d", key->given_size,
                           TENON__PARAMS_MAX);
    return TENON_OK;
}

int32_t tenon__plan_get(struct tenon_context *context, uint32_t op, const void *params,
                        const struct tenon_tensor *first, size_t step, uint32_t n, struct tenon__plan **plan)
{
    struct key key = {.op = op, .n = n, .params = params, .first = (const char *)first, .step = step};
    int32_t status = key_of(&key);
    if (status)
        return status;
    if (context->last && equal(context->last, &key)) {
        *plan = context->last;
        (*plan)->used_tick = ++context->tick;
        return TENON_OK;
    }
    uint64_t hash = hash_of(&key);
    struct tenon__plan **bucket = bucket_of(context, hash), *found = *bucket;
    while (found && !(found->hash == hash && equal(found, &key)))
        found = found->next;
    if (!found) {
        if (context->n_plans >= TENON__PLANS_MAX && (status = drop_oldest(context)))
            return status;
        found = tenon__alloc(sizeof *found);
        if (!found)
            return TENON_E_NOMEM;
        status = make(context, &key, found);
        if (status) {
            context->b->plan_destroy(found->plan);
            tenon__free(found);
            return status;
        }
        found->hash = hash;
        found->next = *bucket;
        *bucket = found;
        context->n_plans++;
    }
    found->used_tick = ++context->tick;
    *plan = context->last = found;
    return TENON_OK;
}

void tenon__plans_destroy(struct tenon_context *context)
{
    for (uint32_t i = 0; i < TENON__PLAN_BUCKETS; i++)
        while (context->bucket[i]) {
            struct tenon__plan *plan = context->bucket[i];
            context->bucket[i] = plan->next;
            context->b->plan_destroy(plan->plan);
            tenon__free(plan);
        }
    context->last = NULL;
    context->n_plans = 0;
}

int32_t tenon_supports(struct tenon_context *context, uint32_t op, const void *params,
                       const struct tenon_tensor *tensors, uint32_t n)
{
    struct tenon__plan *plan;
    if (!context)
        return tenon__fail(TENON_E_INVALID, "tenon_supports: context is NULL");
    return tenon__plan_get(context, op, params, tensors, sizeof *tensors, n, &plan);
}

int32_t tenon_impl(struct tenon_context *context, uint32_t op, const void *params, const struct tenon_tensor *tensors,
                   uint32_t n, char *text, size_t size)
{
    struct tenon__plan *plan;
    if (!context || !text || !size)
        return tenon__fail(TENON_E_INVALID, "tenon_impl: %s", context ? "no room for the text" : "context is NULL");
    int32_t status = tenon__plan_get(context, op, params, tensors, sizeof *tensors, n, &plan);
    if (!status)
        snprintf(text, size, "%s", plan->info.impl);
    return status;
}
