/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * moe_ffn on the CPU, each ISA's kernels called without the plugin around them: weights of experts without rows are not
 * even mapped, and more rows than the workspace takes at a time have the bits that they have alone. */
#define _DEFAULT_SOURCE
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <tenon/ops/moe_ffn.h>
#include <unistd.h>

#include "../tap.h"
#include "isa.h"

enum { EXPERTS = 5 };

struct call {
    struct tenon_tensor tensor[TENON_MOE_FFN_N_TENSORS];
    void *ptr[TENON_MOE_FFN_N_TENSORS];
    struct tenon_moe_ffn_params params;
};

static uint64_t state = 1;

static float random_float(void)
{
    state = state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (float)((double)(int64_t)state * 0x1p-63);
}

static void *filled(int64_t n, float scale)
{
    float *v = malloc((size_t)n * sizeof *v);
    if (!v)
        bail("out of memory");
    for (int64_t i = 0; i < n; i++)
        v[i] = scale * random_float();
    return v;
}

static void run(const struct isa *isa, const struct call *c, int order, uint32_t threads)
{
    const struct test_call call = {.op = TENON_OPNUM_moe_ffn,
                                   .n_tensors = TENON_MOE_FFN_N_TENSORS,
                                   .tensor = c->tensor,
                                   .ptr = c->ptr,
                                   .params = &c->params,
                                   .params_size = sizeof c->params,
                                   .order = order,
                                   .threads = threads};
    test_call(isa, &call);
}

#define MAKE(dtype, ...)                                                                                               \
    tenon_tensor_make(dtype, sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (int64_t[]){__VA_ARGS__})

/* Gated experts of D and F, and as many rows as offsets say. */
static struct call make(int64_t d, int64_t f, const int32_t *offsets)
{
    const int64_t rows = offsets[EXPERTS];
    struct call c = {.params = {.struct_size = sizeof c.params,
                                .glu = TENON_MOE_FFN_GLU2,
                                .act = TENON_ACT_SILU,
                                .weight_at = TENON_MOE_FFN_AT_INPUT,
                                .top_k = 1}};
    c.tensor[TENON_MOE_FFN_X] = c.tensor[TENON_MOE_FFN_Z] = MAKE(TENON_F32, rows, d);
    c.tensor[TENON_MOE_FFN_OFFSETS] = MAKE(TENON_I32, EXPERTS + 1);
    c.tensor[TENON_MOE_FFN_WG] = c.tensor[TENON_MOE_FFN_WU] = MAKE(TENON_F32, EXPERTS, f, d);
    c.tensor[TENON_MOE_FFN_WD] = MAKE(TENON_F32, EXPERTS, d, f);
    c.tensor[TENON_MOE_FFN_RW] = MAKE(TENON_F32, rows);
    c.ptr[TENON_MOE_FFN_X] = filled(rows * d, 1);
    c.ptr[TENON_MOE_FFN_RW] = filled(rows, 1);
    c.ptr[TENON_MOE_FFN_Z] = filled(rows * d, 1);
    c.ptr[TENON_MOE_FFN_OFFSETS] = malloc((EXPERTS + 1) * sizeof *offsets);
    if (!c.ptr[TENON_MOE_FFN_OFFSETS])
        bail("out of memory");
    memcpy(c.ptr[TENON_MOE_FFN_OFFSETS], offsets, (EXPERTS + 1) * sizeof *offsets);
    return c;
}

static void unmake(struct call *c)
{
    free(c->ptr[TENON_MOE_FFN_X]);
    free(c->ptr[TENON_MOE_FFN_RW]);
    free(c->ptr[TENON_MOE_FFN_Z]);
    free(c->ptr[TENON_MOE_FFN_OFFSETS]);
}

/* One row of expert e alone, as another call; whether it has the same bits. */
static int is_alone(const struct isa *isa, const struct call *all, int64_t row, int e)
{
    const int64_t d = all->tensor[TENON_MOE_FFN_X].dim[1];
    int32_t offsets[EXPERTS + 1];
    for (int i = 0; i <= EXPERTS; i++)
        offsets[i] = i > e;
    struct call one = make(d, all->tensor[TENON_MOE_FFN_WU].dim[1], offsets);
    memcpy(one.ptr[TENON_MOE_FFN_X], (float *)all->ptr[TENON_MOE_FFN_X] + row * d, (size_t)d * sizeof(float));
    memcpy(one.ptr[TENON_MOE_FFN_RW], (float *)all->ptr[TENON_MOE_FFN_RW] + row, sizeof(float));
    for (uint32_t i = TENON_MOE_FFN_WG; i <= TENON_MOE_FFN_WD; i++)
        one.ptr[i] = all->ptr[i];
    run(isa, &one, TEST_ASCENDING, 1);
    const int same =
        memcmp(one.ptr[TENON_MOE_FFN_Z], (float *)all->ptr[TENON_MOE_FFN_Z] + row * d, (size_t)d * sizeof(float)) == 0;
    unmake(&one);
    return same;
}

/* Experts 0, 2 and 4 have no rows, and no memory. */
static void check_unmapped(const struct isa *isa)
{
    static const int32_t offsets[EXPERTS + 1] = {0, 0, 3, 3, 43, 43};
    const int64_t page = sysconf(_SC_PAGESIZE), f = 32, d = page > 4096 ? page / 4 : 1088;
    const size_t expert = (size_t)(d * f) * sizeof(float);
    struct call c = make(d, f, offsets);
    int same = 1;
    for (uint32_t i = TENON_MOE_FFN_WG; i <= TENON_MOE_FFN_WD; i++) {
        c.ptr[i] = mmap(NULL, EXPERTS * expert, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (c.ptr[i] == MAP_FAILED)
            bail("no memory");
        for (size_t e = 0; e < EXPERTS; e++) {
            float *w = (float *)c.ptr[i] + e * (size_t)(d * f);
            for (int64_t k = 0; k < d * f && e % 2; k++)
                w[k] = 0.1f * random_float();
            if (e % 2 == 0 && mprotect(w, expert, PROT_NONE))
                bail("no protection");
        }
    }
    run(isa, &c, TEST_ASCENDING, 1);
    ok(1, "%s: weights of experts without rows are not read", isa->name);
    for (int64_t row = 0; row < offsets[EXPERTS]; row++)
        same &= is_alone(isa, &c, row, row < 3 ? 1 : 3);
    ok(same, "%s: a row has the bits that it has alone", isa->name);
    for (uint32_t i = TENON_MOE_FFN_WG; i <= TENON_MOE_FFN_WD; i++)
        munmap(c.ptr[i], EXPERTS * expert);
    unmake(&c);
}

/* Packed rows and h of these are three times what is at work at a time. */
static void check_many(const struct isa *isa)
{
    static const int32_t offsets[EXPERTS + 1] = {0, 700, 703, 1190, 1190, 1205};
    static const int64_t rows[] = {0, 13, 300, 699, 700, 702, 703, 900, 1189, 1190, 1204};
    const int64_t d = 8, f = 16384;
    struct call c = make(d, f, offsets);
    int same = 1;
    for (uint32_t i = TENON_MOE_FFN_WG; i <= TENON_MOE_FFN_WD; i++)
        c.ptr[i] = filled(EXPERTS * d * f, 0.3f);
    run(isa, &c, TEST_DESCENDING, 2);
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        int e = 0;
        while (offsets[e + 1] <= rows[i])
            e++;
        same &= is_alone(isa, &c, rows[i], e);
    }
    ok(same, "%s: rows that do not fit the workspace together have the bits that they have alone", isa->name);
    for (uint32_t i = TENON_MOE_FFN_WG; i <= TENON_MOE_FFN_WD; i++)
        free(c.ptr[i]);
    unmake(&c);
}

int main(void)
{
    const struct isa *isa;
    for (unsigned i = 0; (isa = test_isa(i)) != NULL; i++) {
        check_unmapped(isa);
        check_many(isa);
    }
    return tap_done();
}
