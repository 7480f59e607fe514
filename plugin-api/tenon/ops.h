/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The numbers of the operators, and what every operator's contract is made of. The contract of an operator exists once,
 * in plugin-api/ops/<op>_op.c: names, types, defaults and ranges of its attributes, its tensors, the validation and the
 * output shapes. The host, the tests, the fuzzers and the command read it from here; a backend links it too. */
#ifndef TENON_OPS_H
#define TENON_OPS_H

#include <stddef.h>
#include <stdint.h>
#include <tenon/backend.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TENON_OP(number, name) TENON_OPNUM_##name = number,
enum {
#include <tenon/ops.def>
    TENON_OPNUM_none_ = 0
};
#undef TENON_OP

#define TENON_MAX_TENSORS 32

/* Sets of types, for tensor specifications. */
#define TENON_T_F32 0x01u
#define TENON_T_F16 0x02u
#define TENON_T_BF16 0x04u
#define TENON_T_I8 0x08u
#define TENON_T_U8 0x10u
#define TENON_T_I32 0x20u
#define TENON_T_U32 0x40u
#define TENON_T_FLOAT (TENON_T_F32 | TENON_T_F16 | TENON_T_BF16)

enum { TENON_IN = 0, TENON_IN_OPT = 1, TENON_OUT = 2, TENON_OUT_OPT = 3 };

struct tenon_tensor_spec {
    const char *name;
    uint32_t role;   /* TENON_IN ... */
    uint32_t dtypes; /* set of TENON_T_* */
    const char *shape; /* for people and for `tenon ops`: "[rows,cols]" */
    const char *text;  /* one sentence */
};

enum { TENON_ATTR_F32 = 1, TENON_ATTR_U32 = 2, TENON_ATTR_I32 = 3, TENON_ATTR_U64 = 4, TENON_ATTR_ENUM = 5,
       TENON_ATTR_FLAGS = 6 };

struct tenon_attr_spec {
    const char *name;
    uint32_t type;   /* TENON_ATTR_*; ENUM and FLAGS are stored as uint32_t */
    uint32_t offset; /* in the params struct */
    double def, min, max; /* inclusive range; F32 is always finite besides. FLAGS: max is the mask of known bits */
    const char *const *names; /* ENUM: value i is names[i]; FLAGS: bit i is names[i]; NULL-terminated; lower case */
    const char *text;
};

/* Where a check puts its sentence: "cols 0: must be at least 1". */
struct tenon_why {
    char text[240];
};

struct tenon_op_contract {
    uint32_t op;
    const char *name;
    const char *text; /* one sentence */
    const char *source; /* the papers the formulas come from */
    uint32_t n_tensors;
    const struct tenon_tensor_spec *tensors;
    uint32_t n_attrs;
    const struct tenon_attr_spec *attrs;
    uint32_t params_size; /* sizeof of the params struct of this build */
    /* Sizes at the operator's first release: a caller may know no less. What came later is optional: tensors with an
     * optional role, attributes with default 0. */
    uint32_t params_first, n_tensors_first;

    /* What the generic check cannot know: combinations of attributes, shapes against each other. Runs after types,
     * presence, ranks, strides and attribute ranges were checked. */
    int32_t (*validate)(const void *params, const struct tenon_tensor *tensors, struct tenon_why *why);

    /* Shape and default type of output `index` from params and inputs (contiguous). tensors[index] may hold the wished
     * dtype (0: the contract's default). UNSUPPORTED: this output does not exist for these params. */
    int32_t (*output)(const void *params, const struct tenon_tensor *tensors, uint32_t index,
                      struct tenon_tensor *out, struct tenon_why *why);

    /* Whether output `out` may be the same memory as input `in` (exact same tensor), NULL: never. */
    int (*in_place)(const void *params, uint32_t in, uint32_t out);

    /* Bit i: of output i a part is written, the rest stays what it was, wherever the memory is. */
    uint32_t kept;
};

/* [thread-safe] all of them. */
const struct tenon_op_contract *tenon_op_contract_by_number(uint32_t op);
const struct tenon_op_contract *tenon_op_contract_by_name(const char *name);
/* i-th operator in the order of ops.def; NULL past the end. */
const struct tenon_op_contract *tenon_op_contract_at(uint32_t i);

/* Fills params with zeros, struct_size and the contract's defaults. */
void tenon_op_defaults(const struct tenon_op_contract *contract, void *params);
/* Sets what "NAME=VALUE" names in params that have defaults: numbers as strtof and strtoull read them, enumerations by
 * name, flags by names between commas. ARG, with a sentence that shows what was given. */
int32_t tenon_op_attr_set(const struct tenon_op_contract *contract, void *params, const char *text,
                          struct tenon_why *why) TENON_MUST_USE;

/* The whole contract of one descriptor, before anything is written: struct sizes and tails, flags, chain, operator
 * number, tensor count, presence, types, ranks, dimensions (no product overflows), strides (last axis contiguous; no
 * two elements of an output share memory), attribute ranges (no NaN), then contract->validate. Backends call it first
 * in plan_create; the host and the CLI call the same.
 * `params` receives a full copy of the params in today's layout (defaults' layout, missing tail zero). */
int32_t tenon_op_check(const struct tenon_op_desc *desc, const struct tenon_op_contract **contract, void *params,
                       size_t params_size, struct tenon_why *why) TENON_MUST_USE;

/* All contract->n_tensors tensors of a checked descriptor: those that an older caller did not list are absent. */
void tenon_op_tensors(const struct tenon_op_desc *desc, const struct tenon_op_contract *contract,
                      struct tenon_tensor *tensors);

/* Growth rules, one place for all structs. An input struct: at least `first` bytes (its minor 0), at most
 * TENON_STRUCT_MAX, bytes beyond `known` zero. `what` names it in the sentence. */
#define TENON_STRUCT_MAX 4096u
int32_t tenon_struct_check(const void *data, size_t first, size_t known, const char *what, struct tenon_why *why)
    TENON_MUST_USE;
/* A chain of which the callee knows no entry: bounded, no critical entry. */
int32_t tenon_chain_check(const struct tenon_chain *chain, struct tenon_why *why) TENON_MUST_USE;
/* An output struct: copies what the caller has room for, never struct_size itself. INVALID below 8 bytes. */
int32_t tenon_struct_write(void *out, const void *full, size_t full_size, struct tenon_why *why) TENON_MUST_USE;
/* What every backend checks of its arguments before it looks at its own objects: sizes, flags, chain, and that the
 * members fit each other. info: the device's own limits. */
int32_t tenon_buffer_desc_check(const struct tenon_buffer_desc *desc, const struct tenon_device_info *info,
                                struct tenon_why *why) TENON_MUST_USE;
/* Kind, flags, chain, and that the members a kind needs are there; ranges and objects are the backend's. */
int32_t tenon_cmd_check(const struct tenon_cmd *cmd, const struct tenon_device_info *info, struct tenon_why *why)
    TENON_MUST_USE;

/* A tensor as a matrix: all leading axes folded into `rows` with one stride (elements) between them; the last axis is
 * contiguous. Axes of length 1 fold always; rows <= 1 has row_stride == cols; leading strides of 0 (broadcast) fold
 * when all of them are. UNSUPPORTED when they do not fold, SHAPE for rank 0. For tensors that tenon_op_check
 * accepted. */
int32_t tenon_tensor_rows(const struct tenon_tensor *tensor, int64_t *rows, int64_t *row_stride,
                          int64_t *cols) TENON_MUST_USE;
/* Row-major without gaps (axes of length 1 may have any stride; an empty tensor is). */
int tenon_tensor_is_contiguous(const struct tenon_tensor *tensor);

/* Bytes from the first to the last element of a tensor that tenon_op_check accepted; 0 for an empty one. */
uint64_t tenon_tensor_bytes(const struct tenon_tensor *tensor);
int64_t tenon_tensor_count(const struct tenon_tensor *tensor);
/* A contiguous tensor. */
struct tenon_tensor tenon_tensor_make(uint32_t dtype, uint32_t rank, const int64_t *dim);
const char *tenon_dtype_name(uint32_t dtype); /* "f32"; "?" when unknown */
uint32_t tenon_dtype_by_name(const char *name); /* 0 when unknown */
uint32_t tenon_dtype_bit(uint32_t dtype);       /* TENON_T_*, 0 when unknown */
const char *tenon_status_name(int32_t status); /* "SHAPE" */
const char *tenon_status_text(int32_t status);

/* why->text = printf(...); returns status. */
int32_t tenon_why_set(struct tenon_why *why, int32_t status, const char *format, ...) TENON_PRINTF(3, 4);

/* The closest of n names to `word` (edit distance at most a third of its length), or NULL. For "did you mean". */
const char *tenon_closest(const char *word, const char *const *names, uint32_t n);

/* The checks of a RUN that need memory ranges: overlap of outputs with inputs and outputs. range[i] = {begin, end}
 * bytes of tensor i in one address space, {0,0} when absent. ALIAS unless disjoint or an allowed exact in-place
 * pair. */
int32_t tenon_op_check_alias(const struct tenon_op_contract *contract, const void *params,
                             const struct tenon_tensor *tensors, const uint64_t (*range)[2],
                             struct tenon_why *why) TENON_MUST_USE;

#ifdef __cplusplus
}
#endif
#endif
