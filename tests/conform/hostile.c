/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Descriptors that break the contract. Most follow from the contract's own tables, so a new operator gets them for
 * nothing; an operator adds what only it knows. Each must be refused with the right status before anything is written,
 * by tenon_run and by the backend's plan_create alike (R50). */
#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include "suite.h"

struct spoil {
    struct conform_case c;
    uint32_t op, n, desc_flags, desc_size, params_size;
    int run, plan; /* which of the two ways can express it */
    int place;
    int32_t status;
    char name[128];
};

#define BASES 400 /* cases that are looked at for one with a tensor */

struct spoiler {
    const struct conform_op *op;
    const struct tenon_op_contract *contract;
    void (*emit)(void *context, struct spoil *spoil);
    void *context;
    uint64_t base;           /* the case that is spoilt */
    uint64_t present[BASES]; /* the tensors of each case that is small enough, a bit each */
    struct spoil spoil;
};

static void find_present(struct spoiler *s)
{
    for (uint64_t number = 0; number < BASES; number++) {
        struct conform_case c;
        uint64_t bytes = 0, set = 0;
        conform_case_make(s->op, 0, number, &c);
        for (uint32_t i = 0; i < c.n; i++) {
            if (!c.slot[i].tensor.dtype)
                continue;
            bytes += tenon_tensor_count(&c.slot[i].tensor) > 0 ? c.slot[i].size : 1u << 20;
            set |= UINT64_C(1) << i;
        }
        s->present[number] = bytes < 1u << 17 ? set : 0;
    }
}

/* Case 0 of every operator is small and plain; what it does not have, the first case that has it. 0: none has. */
static int choose_base(struct spoiler *s, uint32_t i, uint32_t j)
{
    const uint64_t wanted = UINT64_C(1) << i | UINT64_C(1) << j;
    for (s->base = 0; s->base < BASES; s->base++)
        if ((s->present[s->base] & wanted) == wanted)
            return 1;
    s->base = 0;
    return 0;
}

static struct spoil *fresh(struct spoiler *s, int32_t status, const char *what, const char *how)
{
    memset(&s->spoil, 0, sizeof(s->spoil));
    conform_case_make(s->op, 0, s->base, &s->spoil.c);
    s->spoil.op = s->op->op;
    s->spoil.n = s->spoil.c.n;
    s->spoil.status = status;
    s->spoil.run = s->spoil.plan = 1;
    s->spoil.place = PLACE_HOST_BEGIN;
    snprintf(s->spoil.name, sizeof(s->spoil.name), "%s %s gives %s", what, how, tenon_status_name(status));
    return &s->spoil;
}

static void emit(struct spoiler *s)
{
    s->emit(s->context, &s->spoil);
}

static void set_word(struct spoiler *s, const struct tenon_attr_spec *attr, int32_t status, const char *how,
                     uint32_t word)
{
    struct spoil *spoil = fresh(s, status, attr->name, how);
    memcpy((char *)spoil->c.params + attr->offset, &word, sizeof(word));
    emit(s);
}

static void spoil_attrs(struct spoiler *s)
{
    for (uint32_t i = 0; i < s->contract->n_attrs; i++) {
        const struct tenon_attr_spec *attr = &s->contract->attrs[i];
        if (attr->type == TENON_ATTR_FLAGS)
            set_word(s, attr, TENON_E_UNSUPPORTED, "with an unknown bit", 0x80000000u | (uint32_t)attr->max);
        else if ((attr->type == TENON_ATTR_ENUM || attr->type == TENON_ATTR_U32) && attr->max < UINT32_MAX)
            set_word(s, attr, TENON_E_ARG, "one above its largest value", (uint32_t)attr->max + 1);
        if (attr->type == TENON_ATTR_ENUM)
            set_word(s, attr, TENON_E_ARG, "of 0xffffffff", 0xffffffff);
        if (attr->type != TENON_ATTR_F32)
            continue;
        set_word(s, attr, TENON_E_ARG, "of NaN", 0x7fc00000);
        set_word(s, attr, TENON_E_ARG, "of +Inf", 0x7f800000);
        set_word(s, attr, TENON_E_ARG, "of -Inf", 0xff800000);
        if (attr->min > -(double)FLT_MAX)
            set_word(s, attr, TENON_E_ARG, "below its range", conform_float_bits((float)attr->min - 1));
        if (attr->max < (double)FLT_MAX)
            set_word(s, attr, TENON_E_ARG, "above its range", conform_float_bits((float)attr->max * 2 + 1));
    }
}

static uint32_t foreign_dtype(uint32_t set)
{
    static const uint32_t all[] = {TENON_U32, TENON_I32, TENON_U8, TENON_F16};
    for (size_t i = 0; i < sizeof(all) / sizeof(all[0]); i++)
        if (!(set & tenon_dtype_bit(all[i])))
            return all[i];
    return TENON_DTYPE(7, 8);
}

static struct tenon_tensor *fresh_tensor(struct spoiler *s, uint32_t i, int32_t status, const char *how)
{
    return &fresh(s, status, s->contract->tensors[i].name, how)->c.slot[i].tensor;
}

/* Whether no other tensor has the first axis of this one, by its name in the contract: "[V,K]" with the only V. */
static int first_axis_is_own(const struct tenon_op_contract *contract, uint32_t i)
{
    const char *shape = contract->tensors[i].shape;
    char axis[16];
    if (sscanf(shape, "[%15[A-Za-z]", axis) != 1)
        return 0;
    for (uint32_t j = 0; j < contract->n_tensors; j++)
        if (j != i && strstr(contract->tensors[j].shape, axis))
            return 0;
    return 1;
}

static void spoil_tensor(struct spoiler *s, uint32_t i)
{
    struct conform_case c;
    if (!choose_base(s, i, i))
        return;
    conform_case_make(s->op, 0, s->base, &c);
    const struct tenon_tensor *t = &c.slot[i].tensor;
    uint32_t role = s->contract->tensors[i].role;
    fresh_tensor(s, i, TENON_E_DTYPE, "of unknown type")->dtype = 0x12345;
    emit(s);
    fresh_tensor(s, i, TENON_E_DTYPE, "of a type it does not take")->dtype =
        foreign_dtype(s->contract->tensors[i].dtypes);
    emit(s);
    fresh_tensor(s, i, TENON_E_SHAPE, "of rank 9")->rank = 9;
    emit(s);
    fresh_tensor(s, i, TENON_E_SHAPE, "of rank 0xffffffff")->rank = 0xffffffff;
    emit(s);
    fresh_tensor(s, i, TENON_E_SHAPE, "with a negative dimension")->dim[0] = -1;
    emit(s);
    fresh_tensor(s, i, TENON_E_SHAPE, "of more bytes than 2^60")->dim[0] = INT64_C(1) << 62;
    emit(s);
    fresh_tensor(s, i, TENON_E_SHAPE, "with a negative stride")->stride[0] = -1;
    emit(s);
    fresh_tensor(s, i, TENON_E_INVALID, "with a dimension beyond its rank")->dim[7] = 3;
    emit(s);
    if (t->rank >= 2 && t->dim[0] > 1) {
        struct tenon_tensor *wide = fresh_tensor(s, i, TENON_E_SHAPE, "with a stride that leaves the address space");
        wide->stride[0] = INT64_MAX / 2;
        emit(s);
    }
    if (t->dim[t->rank - 1] > 1) {
        fresh_tensor(s, i, TENON_E_UNSUPPORTED, "with gaps on its last axis")->stride[t->rank - 1] = 2;
        emit(s);
    }
    if (t->rank >= 2 && t->dim[0] > 1 && role >= TENON_OUT) {
        fresh_tensor(s, i, TENON_E_ALIAS, "with rows on top of each other")->stride[0] = 0;
        emit(s);
    }
    if (role == TENON_IN_OPT && !first_axis_is_own(s->contract, i)) {
        fresh_tensor(s, i, TENON_E_SHAPE, "with a first axis of another length")->dim[0] = 2 * t->dim[0] + 101;
        emit(s);
    }
    if (role == TENON_IN || role == TENON_OUT) {
        memset(fresh_tensor(s, i, TENON_E_SHAPE, "left out"), 0, sizeof(*t));
        emit(s);
    }
}

/* An output that begins one element into another tensor (host memory), or where it begins (device memory). */
static void spoil_alias(struct spoiler *s, uint32_t out, uint32_t other)
{
    char how[64];
    if (!choose_base(s, out, other))
        return;
    for (int exact = 0; exact < 2; exact++) {
        snprintf(how, sizeof(how), "%s %s", exact ? "in the place of" : "one element into",
                 s->contract->tensors[other].name);
        struct spoil *spoil = fresh(s, TENON_E_ALIAS, s->contract->tensors[out].name, how);
        struct conform_slot *a = &spoil->c.slot[out], *b = &spoil->c.slot[other];
        if (!a->tensor.dtype || !b->tensor.dtype || a->same_as >= 0 || b->same_as >= 0 ||
            tenon_tensor_bytes(&b->tensor) < 8)
            return;
        conform_slot_room(b, b->lead, tenon_tensor_bytes(&a->tensor) + 8);
        if (exact && s->contract->in_place && s->contract->in_place(spoil->c.params, other, out))
            return;
        a->same_as = (int32_t)other;
        a->lead = b->lead + (exact ? 0 : 4);
        spoil->plan = 0; /* plans know no addresses */
        spoil->place = exact ? PLACE_DEVICE : PLACE_HOST_BEGIN;
        emit(s);
    }
}

static void spoil_descriptor(struct spoiler *s)
{
    struct spoil *spoil = fresh(s, TENON_E_UNSUPPORTED, "operator number", "0x7ffffffe");
    spoil->op = 0x7ffffffe;
    emit(s);
    fresh(s, TENON_E_INVALID, "n_tensors", "of 0")->n = 0;
    emit(s);
    spoil = fresh(s, TENON_E_INVALID, "n_tensors", "one short");
    spoil->n = s->contract->n_tensors_first - 1;
    emit(s);
    spoil = fresh(s, TENON_E_INVALID, "n_tensors", "above the most there can be");
    spoil->n = TENON_MAX_TENSORS + 1;
    emit(s);
    spoil = fresh(s, TENON_E_UNSUPPORTED, "descriptor", "with an unknown flag");
    spoil->desc_flags = 0x40000000;
    spoil->run = 0;
    emit(s);
    spoil = fresh(s, TENON_E_INVALID, "descriptor", "of 8 bytes");
    spoil->desc_size = 8;
    spoil->run = 0;
    emit(s);
    spoil = fresh(s, TENON_E_INVALID, "params", "of 4 bytes");
    spoil->params_size = 4;
    emit(s);
    spoil = fresh(s, TENON_E_INVALID, "params", "of 1 MiB");
    spoil->params_size = 1u << 20;
    emit(s);
    spoil = fresh(s, TENON_E_UNSUPPORTED, "params", "with a field that nobody knows");
    spoil->params_size = s->contract->params_size + 8;
    memset((char *)spoil->c.params + s->contract->params_size, 1, 8);
    emit(s);
    spoil = fresh(s, TENON_E_ARG, "no output", "at all");
    for (uint32_t i = 0; i < spoil->c.n; i++) {
        if (s->contract->tensors[i].role == TENON_OUT)
            return; /* a required one: "left out" covers it */
        if (s->contract->tensors[i].role == TENON_OUT_OPT)
            memset(&spoil->c.slot[i].tensor, 0, sizeof(spoil->c.slot[i].tensor));
    }
    emit(s);
}

static void each_spoil(const struct conform_op *op, void (*emit_one)(void *, struct spoil *), void *context)
{
    struct spoiler *s = calloc(1, sizeof(*s));
    if (!s)
        return;
    s->op = op;
    s->contract = tenon_op_contract_by_number(op->op);
    s->emit = emit_one;
    s->context = context;
    find_present(s);
    spoil_descriptor(s);
    spoil_attrs(s);
    for (uint32_t i = 0; i < s->contract->n_tensors; i++)
        spoil_tensor(s, i);
    for (uint32_t o = 0; o < s->contract->n_tensors; o++)
        for (uint32_t i = 0; s->contract->tensors[o].role >= TENON_OUT && i < s->contract->n_tensors; i++)
            if (i < o || s->contract->tensors[i].role < TENON_OUT)
                spoil_alias(s, o, i);
    s->base = 0;
    for (uint32_t i = 0; i < op->n_hostile; i++) {
        struct spoil *spoil = fresh(s, op->hostile[i].status, op->hostile[i].name, "");
        snprintf(spoil->name, sizeof(spoil->name), "%s gives %s", op->hostile[i].name,
                 tenon_status_name(spoil->status));
        op->hostile[i].spoil(&spoil->c);
        emit(s);
    }
    free(s);
}

static void count_one(void *context, struct spoil *spoil)
{
    (void)spoil;
    ++*(uint64_t *)context;
}

uint64_t suite_hostile_count(const struct conform_op *op)
{
    uint64_t n = 0;
    each_spoil(op, count_one, &n);
    return n;
}

/* ---- running them ---- */

struct hostile_run {
    struct suite *suite;
    uint64_t number;
};

/* Overlaps show at run time, after the plan: a device that need not have the operator may say UNSUPPORTED first. */
static int unsupported_first(const struct suite *suite, const struct spoil *spoil, const struct device_answer *answer,
                             struct result *result)
{
    if (spoil->plan || answer->status != TENON_E_UNSUPPORTED || suite->options->profile->demands(&spoil->c))
        return 0;
    result->outcome = RESULT_SKIP;
    snprintf(result->why, sizeof(result->why), "%.300s", answer->text);
    return 1;
}

static int status_is(const struct spoil *spoil, const struct device_answer *answer, const char *who,
                     struct result *result)
{
    if (answer->status == spoil->status)
        return 1;
    snprintf(result->why, sizeof(result->why), "%s gave %s (%.300s), must be %s", who,
             tenon_status_name(answer->status), answer->text, tenon_status_name(spoil->status));
    return 0;
}

static int run_spoil(struct suite *suite, const struct spoil *spoil, struct conform_case *got, struct result *result)
{
    struct device_ask ask;
    struct device_answer answer;
    if ((!suite->device.pid && device_start(&suite->device)) ||
        device_put(&suite->device, &spoil->c, (uint32_t)spoil->place, &ask)) {
        snprintf(result->why, sizeof(result->why), "%.400s", suite->device.opened.text);
        return -1;
    }
    ask.op = spoil->op;
    ask.n = spoil->n;
    ask.desc_flags = spoil->desc_flags;
    ask.desc_size = spoil->desc_size;
    if (spoil->params_size)
        memcpy(ask.params, &spoil->params_size, 4);
    for (int way = 0; way < 2; way++) {
        if (way ? !spoil->plan : !spoil->run)
            continue;
        ask.kind = way ? ASK_SUPPORTS : ASK_RUN;
        if (device_ask(&suite->device, &ask, &answer)) {
            snprintf(result->why, sizeof(result->why), "%s in %s", answer.text, way ? "plan_create" : "tenon_run");
            return -1;
        }
        if (unsupported_first(suite, spoil, &answer, result))
            continue;
        if (!status_is(spoil, &answer, way ? "plan_create" : "tenon_run", result))
            return -1;
    }
    device_get(&suite->device, &ask, got);
    return compare_untouched(&spoil->c, got, 1, result);
}

/* Storage for tensors as they were before they were spoilt: the spoilt shape may be absurd. */
static int spoil_storage(struct spoil *spoil)
{
    for (uint32_t i = 0; i < spoil->c.n; i++) {
        struct conform_slot *slot = &spoil->c.slot[i];
        if (!slot->tensor.dtype || slot->same_as >= 0)
            continue;
        if (slot->size < 4096)
            slot->size = 4096; /* spoilt shapes of an operator's own may be larger */
        slot->data = malloc(slot->size);
        if (!slot->data)
            return -1;
        memset(slot->data, slot->is_output ? 0xdb : 0, slot->size);
    }
    for (uint32_t i = 0; i < spoil->c.n; i++)
        if (spoil->c.slot[i].tensor.dtype && spoil->c.slot[i].same_as >= 0)
            spoil->c.slot[i].data = spoil->c.slot[spoil->c.slot[i].same_as].data;
    return 0;
}

static void hostile_one(void *context, struct spoil *spoil)
{
    struct hostile_run *run = context;
    struct suite *suite = run->suite;
    struct conform_case got;
    struct result result = {
        .outcome = RESULT_FAIL, .group = tenon_op_contract_by_number(spoil->c.op->op)->name, .budget = -1};
    uint64_t number = run->number++;
    if ((suite->options->only >= 0 && (uint64_t)suite->options->only != number) || report_stopped(&suite->report) ||
        !report_turn(&suite->report))
        return;
    snprintf(result.name, sizeof(result.name), "%s hostile: %s", result.group, spoil->name);
    suite_repro(suite->options, &suite->device, NULL, number, &result);
    got = spoil->c;
    if (spoil_storage(spoil) == 0 && conform_case_clone(&spoil->c, &got) == 0) {
        if (run_spoil(suite, spoil, &got, &result))
            result.outcome = RESULT_FAIL;
        else if (result.outcome != RESULT_SKIP)
            result.outcome = RESULT_OK;
        conform_case_free(&got);
    }
    report_add(&suite->report, &result);
    conform_case_free(&spoil->c);
}

void suite_hostile(struct suite *suite, const struct conform_op *op, uint64_t first)
{
    struct hostile_run run = {suite, first};
    each_spoil(op, hostile_one, &run);
}

/* ---- memory, before any operator ---- */

/* Nothing printed until here, and an end that is neither a crash nor a hang; the next test opens the device again. */
static int memory_one(struct suite *suite, uint32_t test, struct result *result)
{
    struct device_ask ask = {.kind = test == DEVICE_MEMORY_TESTS ? ASK_QUIET : ASK_MEMORY, .test = test};
    struct device_answer answer = {0};
    int bad;
    if (test > DEVICE_MEMORY_TESTS) {
        if (!suite->device.pid && device_start(&suite->device))
            answer = suite->device.opened;
        bad = answer.status || device_close(&suite->device, &answer);
    } else {
        bad = device_ask(&suite->device, &ask, &answer) || answer.status || answer.broken;
    }
    if (bad)
        snprintf(result->why, sizeof(result->why), "%s%s%.400s", answer.status ? tenon_status_name(answer.status) : "",
                 answer.status ? ": " : "", answer.text);
    return bad;
}

void suite_memory(struct suite *suite)
{
    for (uint32_t i = 0; i < SUITE_MEMORY_TESTS; i++) {
        struct result result = {.outcome = RESULT_FAIL, .group = "memory", .budget = -1};
        if ((suite->options->only >= 0 && (uint64_t)suite->options->only != i) || report_stopped(&suite->report) ||
            !report_turn(&suite->report))
            continue;
        snprintf(result.name, sizeof(result.name), "memory: %s",
                 i < DEVICE_MEMORY_TESTS    ? device_memory_names[i]
                 : i == DEVICE_MEMORY_TESTS ? "opening the device printed nothing"
                                            : "the device closes");
        suite_repro(suite->options, &suite->device, NULL, i, &result);
        if (memory_one(suite, i, &result) == 0)
            result.outcome = RESULT_OK;
        report_add(&suite->report, &result);
    }
}
