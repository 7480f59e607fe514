/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include <stdlib.h>

#include "simd_probe.h"

#include "lib/exp.h"
#include "lib/philox.h"

#define CAT_(a, b) a##b
#define CAT(a, b) CAT_(a, b)
#define STR_(a) #a
#define STR(a) STR_(a)

static vf get_f(const uint32_t *p)
{
    return vf_bits(vi_load((const int32_t *)p));
}

static vi get_i(const uint32_t *p)
{
    return vi_load((const int32_t *)p);
}

static void put_i(uint32_t *p, vi v)
{
    vi_store((int32_t *)p, v);
}

static void put_f(uint32_t *p, vf v)
{
    put_i(p, vi_bits(v));
}

static void put_m(uint32_t *p, vm m)
{
    put_i(p, vi_select(m, vi_set1(1), vi_zero()));
}

/* FA, FB, FC: arguments as floats; IA, IB: as integers; MA, MB: true where the argument is positive. */
#define FA get_f(a + i)
#define FB get_f(b + i)
#define FC get_f(c + i)
#define IA get_i(a + i)
#define IB get_i(b + i)
#define MA vf_gt(FA, vf_zero())
#define MB vf_gt(FB, vf_zero())
static vf fours(const uint32_t *a, int i)
{
    const float *p = (const float *)(const void *)a;
    return vf_load_fours(p + i, p + (i + 4) % 16, p + (i + 8) % 16, p + (i + 12) % 16);
}

static vf normal(vf v) /* a normal positive number made of any */
{
    const vi kept = vi_and(vi_bits(v), vi_set1(0x7fffffff));
    return vf_bits(vi_max(vi_set1(0x00800000), vi_min(kept, vi_set1(0x7f7fffff))));
}

/* exp_parts where it is defined. */
static vf part(vf x, int second)
{
    vf n, m = exp_parts(vf_max(vf_set1(-0x1p+20f), vf_min(vf_set1(0x1p+20f), x)), &n);
    return second ? n : m;
}

static vf normal_of(vi a, vi b)
{
    vf x = noise_uniform(a), y = noise_uniform(b);
    noise_normal(&x, &y);
    return vf_add(x, y);
}

/* Whether a lane has what its neighbour has: its number. (`a` is for the table's sake.) */
static vm swapped(vi a)
{
    const vi own = vi_add(vi_iota(), vi_and(a, vi_zero()));
    return vi_eq(vi_bits(vf_swap(vf_bits(own))), VF > 1 ? vi_xor(own, vi_set1(1)) : own);
}

#define OPS(X)                                                                 \
    X(vf_add, NUMBER, put_f, vf_add(FA, FB))                                   \
    X(vf_sub, NUMBER, put_f, vf_sub(FA, FB))                                   \
    X(vf_mul, NUMBER, put_f, vf_mul(FA, FB))                                   \
    X(vf_div, NUMBER, put_f, vf_div(FA, FB))                                   \
    X(vf_sqrt, NUMBER, put_f, vf_sqrt(FA))                                     \
    X(vf_fma, NUMBER, put_f, vf_fma(FA, FB, FC))                               \
    X(vf_min, BITS, put_f, vf_min(FA, FB))                                     \
    X(vf_max, BITS, put_f, vf_max(FA, FB))                                     \
    X(vf_rint, NUMBER, put_f, vf_rint(FA))                                     \
    X(vf_abs, BITS, put_f, vf_abs(FA))                                         \
    X(vf_neg, BITS, put_f, vf_neg(FA))                                         \
    X(vf_swap, BITS, put_m, swapped(IA))                                       \
    X(vf_pow2, INTEGRAL, put_f, vf_pow2(FA))                                   \
    X(vf_lt, BITS, put_m, vf_lt(FA, FB))                                       \
    X(vf_le, BITS, put_m, vf_le(FA, FB))                                       \
    X(vf_gt, BITS, put_m, vf_gt(FA, FB))                                       \
    X(vf_ge, BITS, put_m, vf_ge(FA, FB))                                       \
    X(vf_eq, BITS, put_m, vf_eq(FA, FB))                                       \
    X(vf_nlt, BITS, put_m, vf_nlt(FA, FB))                                     \
    X(vf_unordered, BITS, put_m, vf_unordered(FA, FB))                         \
    X(vf_isnan, BITS, put_m, vf_isnan(FA))                                     \
    X(vm_and, BITS, put_m, vm_and(MA, MB))                                     \
    X(vm_or, BITS, put_m, vm_or(MA, MB))                                       \
    X(vm_andnot, BITS, put_m, vm_andnot(MA, MB))                               \
    X(vm_not, BITS, put_m, vm_not(MA))                                         \
    X(vf_select, BITS, put_f, vf_select(vf_gt(FC, vf_zero()), FA, FB))         \
    X(vf_keep, BITS, put_f, vf_keep(vf_gt(FC, vf_zero()), FA))                 \
    X(vi_select, BITS, put_i, vi_select(vf_gt(FC, vf_zero()), IA, IB))         \
    X(vi_add, BITS, put_i, vi_add(IA, IB))                                     \
    X(vi_sub, BITS, put_i, vi_sub(IA, IB))                                     \
    X(vi_mul, BITS, put_i, vi_mul(IA, IB))                                     \
    X(vi_mulhi, BITS, put_i, vi_mulhi(IA, IB))                                 \
    X(vi_and, BITS, put_i, vi_and(IA, IB))                                     \
    X(vi_or, BITS, put_i, vi_or(IA, IB))                                       \
    X(vi_xor, BITS, put_i, vi_xor(IA, IB))                                     \
    X(vi_min, BITS, put_i, vi_min(IA, IB))                                     \
    X(vi_max, BITS, put_i, vi_max(IA, IB))                                     \
    X(vi_eq, BITS, put_m, vi_eq(IA, IB))                                       \
    X(vi_gt, BITS, put_m, vi_gt(IA, IB))                                       \
    X(vi_shl_0, BITS, put_i, vi_shl(IA, 0))                                    \
    X(vi_shl_23, BITS, put_i, vi_shl(IA, 23))                                  \
    X(vi_shl_31, BITS, put_i, vi_shl(IA, 31))                                  \
    X(vi_shr_13, BITS, put_i, vi_shr(IA, 13))                                  \
    X(vi_shr_31, BITS, put_i, vi_shr(IA, 31))                                  \
    X(vi_sra_16, BITS, put_i, vi_sra(IA, 16))                                  \
    X(vi_sra_31, BITS, put_i, vi_sra(IA, 31))                                  \
    X(vi_round, SMALL, put_i, vi_round(FA))                                    \
    X(vi_trunc, SMALL, put_i, vi_trunc(FA))                                    \
    X(vf_from_vi, BITS, put_f, vf_from_vi(IA))                                 \
    X(vf_set1, BITS, put_f, vf_set1(simd_float(a[i])))                         \
    X(vf_load_fours, BITS, put_f, fours(a, i))                                 \
    X(vf_exp, NUMBER, put_f, vf_exp(vf_min(vf_set1(87.6f), FA)))              \
    X(vf_log, NUMBER, put_f, vf_log(normal(FA)))                               \
    X(exp_m, NUMBER, put_f, part(FA, 0))                                       \
    X(exp_n, NUMBER, put_f, part(FA, 1))                                       \
    X(noise_gumbel, BITS, put_f, noise_gumbel(noise_uniform(IA)))              \
    X(noise_normal, BITS, put_f, normal_of(IA, IB))

#define DEFINE(name, kind, put, expression)                                    \
    static void apply_##name(const uint32_t *a, const uint32_t *b, const uint32_t *c, uint32_t *out) \
    {                                                                          \
        (void)b;                                                               \
        (void)c;                                                               \
        for (int i = 0; i < PROBE_LANES; i += VF)                              \
            put(out + i, expression);                                          \
    }
OPS(DEFINE)
#define ENTRY(name, kind, put, expression) {#name, PROBE_##kind, apply_##name},
static const struct probe_op ops[] = {OPS(ENTRY){NULL, 0, NULL}};

#define LOADS(X)                                                               \
    X(vf_load, float, put_f)                                                   \
    X(vf_load_f16, uint16_t, put_f)                                            \
    X(vf_load_bf16, uint16_t, put_f)                                           \
    X(vf_load_i8, int8_t, put_f)                                               \
    X(vf_load_u8, uint8_t, put_f)                                              \
    X(vi_load, int32_t, put_i)                                                 \
    X(vm_load_u8, uint8_t, put_m)
#define DEFINE_LOAD(name, type, put)                                           \
    static void whole_##name(const void *p, uint32_t *out)                     \
    {                                                                          \
        put(out, name((const type *)p));                                       \
    }                                                                          \
    static void part_##name(const void *p, int n, uint32_t *out)               \
    {                                                                          \
        put(out, name##_n((const type *)p, n));                                \
    }
LOADS(DEFINE_LOAD)
#define ENTRY_LOAD(name, type, put) {#name, sizeof(type), whole_##name, part_##name},
static const struct probe_load loads[] = {LOADS(ENTRY_LOAD){NULL, 0, NULL, NULL}};

#define STORES(X)                                                              \
    X(vf_store, float, get_f)                                                  \
    X(vf_store_f16, uint16_t, get_f)                                           \
    X(vf_store_bf16, uint16_t, get_f)                                          \
    X(vi_store, int32_t, get_i)
#define DEFINE_STORE(name, type, get)                                          \
    static void whole_##name(void *p, const uint32_t *in)                      \
    {                                                                          \
        name((type *)p, get(in));                                              \
    }                                                                          \
    static void part_##name(void *p, const uint32_t *in, int n)                \
    {                                                                          \
        name##_n((type *)p, get(in), n);                                       \
    }
STORES(DEFINE_STORE)
#define ENTRY_STORE(name, type, get) {#name, sizeof(type), whole_##name, part_##name},
static const struct probe_store stores[] = {STORES(ENTRY_STORE){NULL, 0, NULL, NULL}};

static float reduce_add(const float *a)
{
    return vf_reduce_add(vf_load(a));
}

static float reduce_max(const float *a)
{
    return vf_reduce_max(vf_load(a));
}

static float reduce_min(const float *a)
{
    return vf_reduce_min(vf_load(a));
}

static void stream(float *p, const float *a)
{
    vf_stream(p, vf_load(a));
    simd_fence();
}

extern const struct probe CAT(probe_, TENON_ISA);
const struct probe CAT(probe_, TENON_ISA) = {
    .name = STR(TENON_ISA),
    .lanes = VF,
    .ops = ops,
    .loads = loads,
    .stores = stores,
    .reduce_add = reduce_add,
    .reduce_max = reduce_max,
    .reduce_min = reduce_min,
    .stream = stream,
};
