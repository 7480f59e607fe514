/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the conformance suite knows of an operator, and the cases that the benchmarks share with it.
 *
 * Each operator gives one struct conform_op in tests/conform/ops/<op>_suite.c (and its f64 reference in <op>_ref.c),
 * found through ops.def. Nothing else in the suite knows operators. A case is a pure function of (operator, seed,
 * number): the same bytes on every machine, whatever the level, so that one line replays it. */
#ifndef CONFORM_H
#define CONFORM_H

#include <stddef.h>
#include <stdint.h>
#include <tenon/ops.h>

enum { CONFORM_QUICK, CONFORM_FULL, CONFORM_SOAK, CONFORM_LEVELS };

/* What the inputs of a case are for. EXACT: small dyadic rationals, so that every backend must give the same bits where
 * the reference says so. RANDOM: typical data. ADVERSARIAL: special values, spikes, ties, far offsets. */
enum { CONFORM_EXACT, CONFORM_RANDOM, CONFORM_ADVERSARIAL };

/* One tensor of a case and its storage: margins before and after, and gaps where strides leave them. */
struct conform_slot {
    struct tenon_tensor tensor; /* dtype 0: absent */
    uint64_t lead;              /* bytes of storage before the first element */
    uint64_t size;              /* bytes of storage in all */
    int32_t same_as;            /* tensor whose storage this one uses (in place), else -1 */
    int32_t is_output;
    unsigned char *data; /* the storage; NULL until conform_case_alloc */
};

#define CONFORM_PARAMS 256 /* bytes: room for any operator's params */

struct conform_case {
    const struct conform_op *op;
    uint64_t seed, number;
    uint32_t mode, n;
    char name[120];
    _Alignas(uint64_t) unsigned char params[CONFORM_PARAMS];
    struct conform_slot slot[TENON_MAX_TENSORS];
    uint64_t own[8]; /* the operator's: how the inputs are filled */
};

/* What an output must be, element by element in row-major order. got is right when it is NaN where want is NaN, else
 * when it equals want or |got - want| <= bound. bound INFINITY: anything goes. */
struct conform_want {
    int64_t count; /* 0: absent or not known */
    double *want, *bound;
    int exact; /* every backend must give the same bits (D1, or an EXACT case) */
};

/* A check of the reference itself against 256-bit arithmetic. tensor, element: one to be in the sample (element -1:
 * none). worst: how far `want` is off, as a share of what f64 may lose by a bound derived in <op>_mpfr.c; above 1
 * the reference is wrong, and why says where. */
struct conform_precise {
    uint32_t tensor;
    int64_t element, checked;
    double worst;
    struct tenon_why why;
};

/* A property ties the outputs of two cases: derive makes the second from the first (0: it does not apply; the inputs of
 * `derived` are filled by it, its storage allocated), check compares the outputs, with a sentence in why on failure. */
struct conform_property {
    const char *name;
    int (*derive)(const struct conform_case *base, struct conform_case *derived);
    int (*check)(const struct conform_case *base, const struct conform_case *derived, struct tenon_why *why);
};

/* A descriptor that breaks the contract: `spoil` breaks a fresh case in one way; `status` is what must come back. */
struct conform_hostile {
    const char *name;
    int32_t status;
    void (*spoil)(struct conform_case *c);
};

/* A row of `tenon bench`. bytes and flops are the least a run must move and compute: every input read once, every
 * output written once, an exp and its sum count as a handful of flops, a multiply-add as two. */
struct conform_bench {
    const char *name; /* "4096x1024": stable, scripts depend on it. "abs_gt 4096x4096" where rows differ in more */
    uint32_t dtype;   /* of the tensor that dominates the traffic: x of softmax, w of linear */
    uint32_t level;   /* CONFORM_QUICK: always; CONFORM_FULL: with --size full only */
    int64_t dim[3];
    double bytes, flops;
};

/* What an operator saves its caller, for `tenon bench` to compare it with: another operator of the same x, and then
 * this one, with other params, of what that wrote. */
struct conform_unfused {
    const char *name; /* "softmax+raw" */
    uint32_t first;   /* an operator whose tensor 0 is x; with its defaults */
    uint32_t y;       /* its output, which is like x */
    int (*params)(struct conform_case *c); /* of the second; 0: this case is not what the two make */
};

struct conform_op {
    uint32_t op;
    uint64_t cases[CONFORM_LEVELS]; /* how many cases a level has; a level's cases include those of the one before */

    /* Shapes, params and layout of case c->number with c->seed; c is zeroed but for these and op. No storage. */
    void (*make)(struct conform_case *c);
    /* The elements of input `tensor`, by its strides. A function of c alone. */
    void (*fill)(const struct conform_case *c, uint32_t tensor);
    /* The reference in f64 and the bound of each element of each output. want[i] is allocated for outputs. */
    void (*expect)(const struct conform_case *c, struct conform_want *want);
    /* What must hold of the outputs as a whole (mass, norms); may be NULL. Non-zero: why says what failed. */
    int (*check)(const struct conform_case *c, const struct conform_want *want, struct tenon_why *why);
    /* The same in 256 bits on a sample of elements, compared with `want`; may be NULL. Non-zero: no libmpfr. */
    int (*mpfr)(const struct conform_case *c, const struct conform_want *want, struct conform_precise *precise);

    uint32_t n_properties, n_hostile, n_bench;
    const struct conform_property *properties;
    const struct conform_hostile *hostile;
    const struct conform_bench *bench;
    /* Shapes, params and contiguous storage sizes of a bench row; then conform_case_alloc and conform_case_fill as for
     * a case. The row may be a copy with another dim: what else it is says its name, up to a space. */
    void (*bench_make)(const struct conform_bench *bench, struct conform_case *c);
    /* How often the algorithm that a plan's name (tenon_impl) names reads its inputs and writes its outputs, caches and
     * registers not considered. 0: the name does not say. NULL: the operator's algorithms do not differ in this. */
    int (*passes)(const char *impl, uint32_t *reads, uint32_t *writes);
    const struct conform_unfused *unfused; /* NULL: nothing to compare with */
};

/* i-th operator in the order of ops.def; NULL past the end. */
const struct conform_op *conform_op_at(uint32_t i);

/* What <op>_ref.c gives to <op>_suite.c. */
#define TENON_OP(number, name)                                                                                         \
    void tenon__conform_##name##_expect(const struct conform_case *c, struct conform_want *want);                      \
    int tenon__conform_##name##_check(const struct conform_case *c, const struct conform_want *want,                   \
                                      struct tenon_why *why);                                                          \
    int tenon__conform_##name##_mpfr(const struct conform_case *c, const struct conform_want *want,                    \
                                     struct conform_precise *precise);
#include <tenon/ops.def>
#undef TENON_OP

/* ---- cases ---- */

/* Case `number` of an operator, without storage. */
void conform_case_make(const struct conform_op *op, uint64_t seed, uint64_t number, struct conform_case *c);
/* The case behind a row of the benchmarks, without storage. */
void conform_case_bench(const struct conform_op *op, const struct conform_bench *bench, struct conform_case *c);
/* Storage for every tensor that has none, filled with poison: inputs with all-ones bytes (NaN in every float type),
 * outputs with 0xDEADBEEF. Non-zero when out of memory. */
int conform_case_alloc(struct conform_case *c);
/* A copy of the case with storage of its own. Non-zero when out of memory. */
int conform_case_clone(const struct conform_case *c, struct conform_case *clone);
void conform_case_fill(struct conform_case *c);
void conform_case_free(struct conform_case *c);
/* Outputs back to poison; an input that is also an output is filled again. */
void conform_case_poison(struct conform_case *c);

/* Gives tensor i a contiguous shape without margins. */
void conform_slot_set(struct conform_case *c, uint32_t i, uint32_t dtype, uint32_t rank, const int64_t *dim);
/* Sets the outermost row pitch: element stride of axis rank-2 becomes `pitch`, the axes before follow. */
void conform_slot_pitch(struct conform_slot *slot, int64_t pitch);
/* Sizes the storage for the strides, with margins of `lead` and `trail` bytes. */
void conform_slot_room(struct conform_slot *slot, uint64_t lead, uint64_t trail);
/* The same with a choice of margins: lead and trail are any bits of a hash. */
void conform_slot_margins(struct conform_slot *slot, uint64_t lead, uint64_t trail);
/* [rows,cols], or [a,rows/a,cols] when deep, with `gap` elements between rows and without margins. */
void conform_slot_rows(struct conform_case *c, uint32_t i, uint32_t dtype, int deep, int64_t rows, int64_t cols,
                       int64_t gap);

/* The first element. */
static inline void *conform_first(const struct conform_slot *slot)
{
    return slot->data ? slot->data + slot->lead : NULL;
}
/* Offset in elements of the element with row-major number `index`. */
int64_t conform_offset(const struct tenon_tensor *tensor, int64_t index);

/* ---- elements: conversions of the suite's own, sharing no code with a backend ---- */

double conform_get(const void *first, uint32_t dtype, int64_t element);
/* Rounds to nearest even. Integers are cut off, not rounded. */
void conform_set(void *first, uint32_t dtype, int64_t element, double value);
/* Spacing of the type at |value|, with its subnormal spacing as the least. */
double conform_ulp(uint32_t dtype, double value);

/* A sum of finite doubles without any rounding: parts that do not overlap, from the smallest (Shewchuk 1997). */
struct conform_exact {
    double part[48]; /* 2100 bits in parts of 53 */
    int n;
};
void conform_exact_add(struct conform_exact *sum, double value);
double conform_exact_total(const struct conform_exact *sum);
float conform_half_to_float(uint16_t half);
uint16_t conform_float_to_half(float value);
uint16_t conform_float_to_bfloat(float value);

/* ---- numbers: counter based, the same on every machine ---- */

/* splitmix64 of (key, counter). */
static inline uint64_t conform_random(uint64_t key, uint64_t counter)
{
    uint64_t z = key + (counter + 1) * UINT64_C(0x9E3779B97F4A7C15);
    z = (z ^ (z >> 30)) * UINT64_C(0xBF58476D1CE4E5B9);
    z = (z ^ (z >> 27)) * UINT64_C(0x94D049BB133111EB);
    return z ^ (z >> 31);
}
/* A key for stream `stream` of a case. */
uint64_t conform_key(const struct conform_case *c, uint64_t stream);
/* [0, n) */
static inline uint64_t conform_below(uint64_t key, uint64_t counter, uint64_t n)
{
    return n ? (conform_random(key, counter) >> 11) % n : 0;
}
/* [0, 1) in steps of 2^-24. */
float conform_uniform(uint64_t key, uint64_t counter);
/* Mean 0, variance 1, within +-3.5: four uniforms. No libm, so the same bits everywhere. */
float conform_normal(uint64_t key, uint64_t counter);

/* ---- generated noise of operators, as their headers specify it; element (row, col) of any shape ---- */

struct conform_noise {
    uint64_t seed;
    uint32_t stream, sample;
};
void conform_philox(const uint32_t counter[4], uint64_t key, uint32_t out[4]);
/* The logarithm that selections depend on: the same bits everywhere. x normal and above 0. */
float conform_exact_log(float x);
/* In [2^-24, 1 - 2^-24]. */
float conform_noise_uniform(const struct conform_noise *n, uint32_t row, uint32_t col);
float conform_noise_gumbel(const struct conform_noise *n, uint32_t row, uint32_t col);
/* Box and Muller in f64, with its sign. */
double conform_noise_normal(const struct conform_noise *n, uint32_t row, uint32_t col);

/* The special floats: zeros, subnormals, powers of two and neighbours, limits, infinities, NaNs with payloads. */
#define CONFORM_SPECIALS 94
extern const uint32_t conform_specials[CONFORM_SPECIALS];
static inline float conform_bits_float(uint32_t bits)
{
    union {
        uint32_t u;
        float f;
    } pun = {bits};
    return pun.f;
}
static inline uint32_t conform_float_bits(float value)
{
    union {
        float f;
        uint32_t u;
    } pun = {value};
    return pun.u;
}

#endif
