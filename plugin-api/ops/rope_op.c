/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The contract of rope in code; in words it is tenon/ops/rope.h. */
#include <tenon/ops/rope.h>

#include "../contract.h"
#include "../shape.h"

static const struct tenon_tensor_spec tensors[] = {
    [TENON_ROPE_X] = {"x", TENON_IN, TENON_T_FLOAT, "[B,T,H,D]", "queries or keys"},
    [TENON_ROPE_POS] = {"pos", TENON_IN, TENON_T_I32, "[B|1,T]", "positions of the tokens"},
    [TENON_ROPE_FREQS] = {"freqs", TENON_IN_OPT, TENON_T_F32, "[n_rot/2]", "radians a position, instead of base's"},
    [TENON_ROPE_TABLE] = {"table", TENON_IN_OPT, TENON_T_F32, "[R,n_rot/2,2]", "cosines and sines of positions"},
    [TENON_ROPE_Y] = {"y", TENON_OUT, TENON_T_FLOAT, "as x", "x, turned"},
    [TENON_ROPE_FLAGS] = {"flags", TENON_OUT_OPT, TENON_T_U32, "[4]", "0, 0, 0, positions outside the table"},
};

static const char *const styles[] = {"half", "interleaved", NULL};

TENON_PARAMS_SIZE(tenon_rope_params, 24);
TENON_PARAMS_AT(tenon_rope_params, struct_size, 0);
TENON_PARAMS_AT(tenon_rope_params, style, 4);
TENON_PARAMS_AT(tenon_rope_params, n_rot, 8);
TENON_PARAMS_AT(tenon_rope_params, base, 12);
TENON_PARAMS_AT(tenon_rope_params, scaling, 16);
TENON_PARAMS_AT(tenon_rope_params, amplitude, 20);

#define AT(field) #field, .offset = offsetof(struct tenon_rope_params, field)
static const struct tenon_attr_spec attrs[] = {
    {.name = AT(style),
     .type = TENON_ATTR_ENUM,
     .max = TENON_ROPE_INTERLEAVED,
     .names = styles,
     .text = "which columns are a pair"},
    {.name = AT(n_rot), .type = TENON_ATTR_I32, .max = 65535, .text = "columns that are turned; 0 is all"},
    {.name = AT(base), .type = TENON_ATTR_F32, .def = 10000, .min = 1, .max = (double)1e30f, .text = "of the frequencies"},
    {.name = AT(scaling), .type = TENON_ATTR_F32, .def = 1, .min = 0.25, .max = 1e6, .text = "divides positions"},
    {.name = AT(amplitude), .type = TENON_ATTR_F32, .def = 1, .max = 1e6, .text = "of cosines and sines"},
};

static int32_t check_x(const struct tenon_tensor *x, struct tenon_why *why)
{
    if (x->rank != 4)
        return tenon_why_set(why, TENON_E_SHAPE, "x rank %u: must be 4, [B,T,H,D]", x->rank);
    if (x->dim[2] > UINT16_MAX || x->dim[3] > UINT16_MAX || x->dim[0] > INT32_MAX || x->dim[1] > INT32_MAX ||
        x->dim[0] * x->dim[1] > INT32_MAX)
        return tenon_why_set(why, TENON_E_SHAPE,
                             "x has %lld x %lld tokens of %lld heads of %lld: must be below 2^31, 2^16 and 2^16",
                             (long long)x->dim[0], (long long)x->dim[1], (long long)x->dim[2], (long long)x->dim[3]);
    return TENON_OK;
}

static int32_t check_y(const struct tenon_tensor *x, const struct tenon_tensor *y, struct tenon_why *why)
{
    if (!tenon__shape_same(x, y))
        return tenon_why_set(why, TENON_E_SHAPE, "y shape (rank %u, %lld elements): must be that of x", y->rank,
                             (long long)tenon_tensor_count(y));
    if (y->dtype != x->dtype)
        return tenon_why_set(why, TENON_E_DTYPE, "y type %s: must be %s", tenon_dtype_name(y->dtype),
                             tenon_dtype_name(x->dtype));
    return TENON_OK;
}

static int32_t check_contiguous(uint32_t i, const struct tenon_tensor *t, struct tenon_why *why)
{
    if (!t->dtype || tenon_tensor_is_contiguous(t))
        return TENON_OK;
    return tenon_why_set(why, TENON_E_UNSUPPORTED, "%s strides: must be contiguous", tensors[i].name);
}

static int32_t check_angles(const struct tenon_rope_params *p, const struct tenon_tensor *t, int64_t half,
                            struct tenon_why *why)
{
    const struct tenon_tensor *freqs = &t[TENON_ROPE_FREQS], *table = &t[TENON_ROPE_TABLE];
    if (freqs->dtype && table->dtype)
        return tenon_why_set(why, TENON_E_ARG, "freqs and table are both given: only one of them may be");
    if ((freqs->dtype || table->dtype) && p->scaling != 1.0f)
        return tenon_why_set(why, TENON_E_ARG, "scaling = %g with %s: must be 1", (double)p->scaling,
                             freqs->dtype ? "freqs" : "table");
    if (freqs->dtype) {
        const int32_t status = tenon__shape_list(&tensors[TENON_ROPE_FREQS], freqs, half, why);
        return status ? status : check_contiguous(TENON_ROPE_FREQS, freqs, why);
    }
    if (!table->dtype)
        return TENON_OK;
    if (table->rank != 3 || table->dim[1] != half || table->dim[2] != 2 || table->dim[0] > INT32_MAX)
        return tenon_why_set(why, TENON_E_SHAPE,
                             "table shape (rank %u, %lld elements): must be [R,%lld,2], R below 2^31", table->rank,
                             (long long)tenon_tensor_count(table), (long long)half);
    return check_contiguous(TENON_ROPE_TABLE, table, why);
}

static int32_t validate(const void *params, const struct tenon_tensor *t, struct tenon_why *why)
{
    const struct tenon_rope_params *p = params;
    const struct tenon_tensor *x = &t[TENON_ROPE_X], *pos = &t[TENON_ROPE_POS];
    int32_t status = check_x(x, why);
    if (!status)
        status = check_y(x, &t[TENON_ROPE_Y], why);
    if (status)
        return status;
    const int64_t n = p->n_rot ? p->n_rot : x->dim[3];
    if (n > x->dim[3] || n % 2)
        return tenon_why_set(why, TENON_E_SHAPE, "n_rot %lld: must be even and at most %lld, the last axis of x",
                             (long long)n, (long long)x->dim[3]);
    if (pos->rank != 2 || (pos->dim[0] != 1 && pos->dim[0] != x->dim[0]) || pos->dim[1] != x->dim[1])
        return tenon_why_set(why, TENON_E_SHAPE,
                             "pos shape (rank %u, %lld elements): must be [%lld,%lld] or [1,%lld], as x has tokens",
                             pos->rank, (long long)tenon_tensor_count(pos), (long long)x->dim[0],
                             (long long)x->dim[1], (long long)x->dim[1]);
    status = check_contiguous(TENON_ROPE_POS, pos, why);
    if (!status)
        status = check_angles(p, t, n / 2, why);
    if (!status && t[TENON_ROPE_FLAGS].dtype)
        status = tenon__shape_list(&tensors[TENON_ROPE_FLAGS], &t[TENON_ROPE_FLAGS], 4, why);
    return status;
}

static int32_t output(const void *params, const struct tenon_tensor *t, uint32_t index, struct tenon_tensor *out,
                      struct tenon_why *why)
{
    const struct tenon_tensor *x = &t[TENON_ROPE_X];
    (void)params;
    const int32_t status = tenon__output_check(&tenon__rope_contract, index, TENON_ROPE_Y, x, why);
    if (!status)
        *out = index == TENON_ROPE_FLAGS ? tenon_tensor_make(TENON_U32, 1, (int64_t[]){4})
                                         : tenon_tensor_make(x->dtype, x->rank, x->dim);
    return status;
}

static int in_place(const void *params, uint32_t in, uint32_t out)
{
    (void)params;
    return in == TENON_ROPE_X && out == TENON_ROPE_Y;
}

const struct tenon_op_contract tenon__rope_contract = {
    .op = TENON_OPNUM_rope,
    .name = "rope",
    .text = "rotary positions",
    .source = "Su et al. 2021; Chen et al. 2023; Peng et al. 2023",
    .n_tensors = TENON_ROPE_N_TENSORS,
    .tensors = tensors,
    .n_attrs = sizeof attrs / sizeof attrs[0],
    .attrs = attrs,
    .params_size = sizeof(struct tenon_rope_params),
    .params_first = offsetof(struct tenon_rope_params, amplitude) + sizeof(float),
    .n_tensors_first = TENON_ROPE_FLAGS + 1,
    .validate = validate,
    .output = output,
    .in_place = in_place,
};
