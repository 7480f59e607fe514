/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the catalogs of sparse attentions share: tokens that stay on the device; kv_select's lists of them, compared
 * with what the paper's rule lists; and attention over these lists, compared with a softmax over the keys that are
 * listed, all written out in f64. */
#ifndef CONFORM_CATALOG_KV_SELECT_H
#define CONFORM_CATALOG_KV_SELECT_H

#include <tenon/ops/attention.h>
#include <tenon/ops/gather_rows.h>
#include <tenon/ops/kv_select.h>

#include "catalog.h"

#define KS(NAME) TENON_KV_SELECT_##NAME
#define DIMS(...) sizeof((int64_t[]){__VA_ARGS__}) / sizeof(int64_t), (int64_t[]){__VA_ARGS__}
enum { T = 64, D = 8, H = 2, BLOCK = 8, NK = T / BLOCK, N = T * H * D };

static float q[N], k[N], val[N];
static int query_at[T], key_at[H][T]; /* the token in each place: systems that put tokens in another order */
static int want[H][T][T];
static double s[H][T][T];
static struct tenon_kv_select_params p;
static struct tenon_value v[TENON_KV_SELECT_N_TENSORS];
static struct tenon_value tokens[3]; /* q, k, v on the device, [1,T,H,D], in the order of their places */
static struct tenon_value out;       /* of attention, as q */
static int batch;                    /* 1, or H where a head is a sequence */

/* ---- memory of the device ---- */

static struct tenon_memory *memory;
static uint64_t used;

/* Steps are told where they fail: a system has many. */
static inline int good(int32_t status, const char *name)
{
    return status == TENON_OK ||
           is_int(status, TENON_OK, "%s: %s runs: %s", catalog_device, name, tenon_error());
}

/* A tensor on the device, with `data` unless that is NULL. */
static inline struct tenon_value put(const void *data, uint32_t dtype, uint32_t rank, const int64_t *dim)
{
    struct tenon_value x = tenon_value_memory(memory, used, dtype, rank, dim);
    uint64_t bytes = TENON_DTYPE_SIZE(dtype);
    for (uint32_t i = 0; i < rank; i++)
        bytes *= (uint64_t)dim[i];
    if (data)
        good(tenon_memory_write(memory, used, data, bytes), "a write");
    used += (bytes + 255) & ~UINT64_C(255);
    return x;
}

static inline int get(const struct tenon_value *x, void *data, size_t bytes)
{
    return good(tenon_memory_read(memory, x->offset, data, bytes), "a read");
}

/* Part of a tensor of 4 bytes an element, with strides; the last is 1. */
static inline struct tenon_value view(const struct tenon_value *x, int64_t first, uint32_t rank, const int64_t *dim,
                                      const int64_t *stride)
{
    struct tenon_value part =
        tenon_value_memory(memory, x->offset + 4 * (uint64_t)first, x->tensor.dtype, rank, dim);
    for (uint32_t i = 0; i < rank; i++)
        part.tensor.stride[i] = stride[i];
    return part;
}

static inline int call(uint32_t op, const void *params, const struct tenon_value *x, uint32_t n, const char *name)
{
    return good(tenon_run(catalog_context, op, params, x, n), name);
}

/* Rows of `table` by the numbers in idx. */
static inline void gather(const struct tenon_value *table, const struct tenon_value *idx, const struct tenon_value *y)
{
    const struct tenon_value x[TENON_GATHER_ROWS_N_TENSORS] = {*table, *idx, *y};
    call(TENON_OPNUM_gather_rows, NULL, x, TENON_GATHER_ROWS_N_TENSORS, "gather_rows");
}

static inline void release(void)
{
    tenon_memory_destroy(memory);
    memory = NULL;
}

/* ---- tokens ---- */

static inline void begin(uint64_t seed)
{
    catalog_seed(seed);
    for (int i = 0; i < N; i++) {
        q[i] = (float)catalog_normal();
        k[i] = (float)catalog_normal();
        val[i] = (float)catalog_normal();
    }
    for (int t = 0; t < T; t++)
        query_at[t] = key_at[0][t] = key_at[1][t] = t;
    if (memory)
        release();
    good(tenon_memory_create(catalog_context, UINT64_C(1) << 20, &memory), "memory");
    used = 0;
    batch = 1;
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_kv_select), &p);
    p.block_q = p.block_k = BLOCK;
    memset(v, 0, sizeof v);
    memset(want, 0, sizeof want);
    tokens[0] = put(q, TENON_F32, DIMS(1, T, H, D));
    tokens[1] = put(k, TENON_F32, DIMS(1, T, H, D));
    tokens[2] = put(val, TENON_F32, DIMS(1, T, H, D));
    out = put(NULL, TENON_F32, DIMS(1, T, H, D));
    v[KS(Q)] = tokens[0];
    v[KS(K)] = tokens[1];
}

/* All tokens in the order of `place`, which then is that of the lists. */
static inline void reorder(const int *place)
{
    int32_t idx[T];
    for (int t = 0; t < T; t++)
        idx[t] = query_at[t] = key_at[0][t] = key_at[1][t] = place[t];
    const struct tenon_value by = put(idx, TENON_I32, DIMS(T));
    for (int i = 0; i < 3; i++) {
        const struct tenon_value from = view(&tokens[i], 0, 2, (int64_t[]){T, H * D}, (int64_t[]){H * D, 1});
        tokens[i] = put(NULL, TENON_F32, DIMS(1, T, H, D));
        const struct tenon_value to = view(&tokens[i], 0, 2, (int64_t[]){T, H * D}, (int64_t[]){H * D, 1});
        gather(&from, &by, &to);
    }
    v[KS(Q)] = tokens[0];
    v[KS(K)] = tokens[1];
}

/* Of the query, the key in a place. */
static inline double element_q(int t, int h, int d)
{
    return (double)q[(query_at[t] * H + h) * D + d];
}

static inline double element_k(int u, int h, int d)
{
    return (double)k[(key_at[h][u] * H + h) * D + d];
}

static inline double product(int h, int t, int u)
{
    double sum = 0;
    for (int d = 0; d < D; d++)
        sum += element_q(t, h, d) * element_k(u, h, d);
    return sum;
}

/* <mean of queries i, mean of keys j>, of blocks of `each` queries and `block` keys. */
static inline double pooled(int h, int i, int each, int j, int block)
{
    double sum = 0;
    for (int d = 0; d < D; d++) {
        double a = 0, b = 0;
        for (int t = i * each; t < (i + 1) * each; t++)
            a += element_q(t, h, d) / each;
        for (int u = j * block; u < (j + 1) * block; u++)
            b += element_k(u, h, d) / block;
        sum += a * b;
    }
    return sum;
}

/* The best of a row of n that is not yet wanted; -1: none. */
static inline int best_left(int h, int i, int n)
{
    int at = -1;
    for (int j = 0; j < n; j++)
        if (!want[h][i][j] && (at < 0 || s[h][i][j] > s[h][i][at]))
            at = j;
    return at;
}

/* The n best of a row, of those below `end`, by repeated maximum. */
static inline void best(int h, int i, int end, int n)
{
    for (int taken = 0, at; taken < n && (at = best_left(h, i, end)) >= 0; taken++)
        want[h][i][at] = 1;
}

/* ---- what comes out ---- */

/* kv_select writes the lists of `rows`, which stay in v. */
static inline void lists_are(int (*rows)[T][T], int lists, int nq, int nk, const char *name)
{
    static int32_t row_ptr[H * (T + 1)], col[H * T * T];
    int wrong = 0, entry = 0;
    v[KS(ROW_PTR)] = put(NULL, TENON_I32, DIMS(batch, lists / batch, nq + 1));
    v[KS(COL)] = put(NULL, TENON_I32, DIMS((int64_t)lists * nq * nk));
    if (!call(TENON_OPNUM_kv_select, &p, v, TENON_KV_SELECT_N_TENSORS, name) ||
        !get(&v[KS(ROW_PTR)], row_ptr, sizeof(int32_t) * (size_t)(lists * (nq + 1))) ||
        !get(&v[KS(COL)], col, sizeof(int32_t) * (size_t)(lists * nq * nk)))
        return;
    for (int h = 0; h < lists; h++)
        for (int i = 0; i < nq; i++) {
            wrong += row_ptr[h * (nq + 1) + i] != entry;
            for (int j = 0; j < nk; j++)
                if (rows[h][i][j])
                    wrong += col[entry++] != j;
            wrong += row_ptr[h * (nq + 1) + i + 1] != entry;
        }
    is_int(wrong, 0, "%s: %s: its lists", catalog_device, name);
}

/* Attention of `tokens` over the lists in v; `first` is the element of `out` where their outputs begin. scale 0:
 * D^-0.5 */
static inline void attend(int64_t first, int block_q, int block_k, double scale, const char *name)
{
    struct tenon_attention_params a;
    struct tenon_value x[TENON_ATTENTION_N_TENSORS];
    const struct tenon_tensor *like = &tokens[0].tensor;
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_attention), &a);
    a.causal = p.causal;
    a.block_q = (uint32_t)block_q;
    a.block_k = (uint32_t)block_k;
    a.scale = (float)scale;
    memset(x, 0, sizeof x);
    memcpy(x, tokens, sizeof tokens);
    x[TENON_ATTENTION_ROW_PTR] = v[KS(ROW_PTR)];
    x[TENON_ATTENTION_COL] = v[KS(COL)];
    x[TENON_ATTENTION_KPOS] = v[KS(KPOS)];
    x[TENON_ATTENTION_O] = view(&out, first, like->rank, like->dim, like->stride);
    call(TENON_OPNUM_attention, &a, x, TENON_ATTENTION_N_TENSORS, name);
}

/* `out` is what a softmax over the keys of the blocks that are wanted gives; shared: want[0] is that of all heads. */
static inline void outputs_are(int shared, int block_q, int block_k, double scale, const char *name)
{
    double z[T], w[T], right[N];
    float o[N], here[N];
    if (!get(&out, here, sizeof here))
        return;
    for (int h = 0; h < H; h++)
        for (int t = 0; t < T; t++) {
            for (int u = 0; u < T; u++)
                z[u] = want[shared ? 0 : h][t / block_q][u / block_k] && (!p.causal || key_at[h][u] <= query_at[t])
                           ? (scale != 0 ? scale : 1 / sqrt(D)) * product(h, t, u)
                           : -(double)INFINITY;
            catalog_exp_weights(z, w, T);
            for (int d = 0; d < D; d++) {
                const int to = (query_at[t] * H + h) * D + d;
                o[to] = here[(t * H + h) * D + d];
                right[to] = 0;
                for (int u = 0; u < T; u++)
                    right[to] += w[u] * (double)val[(key_at[h][u] * H + h) * D + d];
            }
        }
    catalog_are(o, right, N, name);
}

/* The three for lists of all tokens and heads. */
static inline void gives(int lists, uint32_t block_q, uint32_t block_k, double scale, const char *name)
{
    lists_are(want, lists, T / (int)block_q, T / (int)block_k, name);
    attend(0, (int)block_q, (int)block_k, scale, name);
    outputs_are(lists == 1, (int)block_q, (int)block_k, scale, name);
}

#endif
