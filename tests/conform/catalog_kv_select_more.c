/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Published sparse attentions, continued: those that put tokens in another order, or whose scores a network makes. */
#include <tenon/ops/linear.h>
#include <tenon/ops/rope.h>
#include <tenon/ops/softmax_topk.h>

#include "catalog_kv_select.h"

/* ---- VMoBA ---- */

/* A video of 8 frames of 2 x 4 tokens: blocks are frames, or one pixel through all frames, or cubes of 2 x 2 x 2. */
static void video(int layer, int *place)
{
    for (int i = 0; i < T; i++) {
        const int t = i / 8, y = i / 4 % 2, x = i % 4;
        if (layer % 3 == 0)
            place[i] = i;
        else if (layer % 3 == 1)
            place[(y * 4 + x) * 8 + t] = i;
        else
            place[(t / 2 * 2 + x / 2) * 8 + t % 2 * 4 + y * 2 + x % 2] = i;
    }
}

/* The pair with the best score of rows `first` to `end`. */
static int best_of_rows(int h, int first, int end)
{
    int row = first;
    for (int t = first; t < end; t++)
        if (best_left(h, t, NK) >= 0 &&
            (best_left(h, row, NK) < 0 || s[h][t][best_left(h, t, NK)] > s[h][row][best_left(h, row, NK)]))
            row = t;
    return row;
}

/* VMoBA: the layer's order of the tokens; scores between 0 and 1 by their least and largest; the own block, and pairs
 * in order until their sum is tau of all, of a head or of a query. */
static void vmoba(int layer, uint32_t scope, const char *name)
{
    const int rows = scope == KS(ROW) ? 1 : T;
    int place[T];
    begin(37);
    video(layer, place);
    reorder(place);
    p.block_q = 1;
    p.scale = 1;
    p.self = p.forced_counts = 1;
    p.norm = KS(NORM_MINMAX);
    p.rule = KS(CUMUL);
    p.tau = 0.25f;
    p.scope = scope;
    for (int h = 0; h < H; h++)
        for (int first = 0; first < T; first += rows) {
            double low = 1e30, high = -1e30, total = 0, sum = 0;
            for (int i = first * NK; i < (first + rows) * NK; i++) {
                s[h][i / NK][i % NK] = pooled(h, i / NK, 1, i % NK, BLOCK);
                low = fmin(low, s[h][i / NK][i % NK]);
                high = fmax(high, s[h][i / NK][i % NK]);
            }
            for (int i = first * NK; i < (first + rows) * NK; i++) {
                total += s[h][i / NK][i % NK] = (s[h][i / NK][i % NK] - low) / (high - low);
                want[h][i / NK][i % NK] = i % NK == i / NK / BLOCK;
                sum += want[h][i / NK][i % NK] ? s[h][i / NK][i % NK] : 0;
            }
            while (sum < 0.25 * total) {
                const int t = best_of_rows(h, first, first + rows), j = best_left(h, t, NK);
                want[h][t][j] = 1;
                sum += s[h][t][j];
            }
        }
    gives(H, 1, BLOCK, 0, name);
}

/* ---- SeerAttention ---- */

enum { G = 4, SEEN = T - BLOCK / 2 }; /* width of the gate; keys in decoding: the last block is half full */
static float gate_q[H * G * D], gate_k[3][H * G * D]; /* [H,G,D] */
static double gated_q[H][NK][G], gated_k[H][NK][G];

/* Blocks as vectors [H,NK,D]: the scores of pooled tokens with the unit vectors as keys are their columns. */
static struct tenon_value pool(const struct tenon_value *x, uint32_t kind)
{
    struct tenon_kv_select_params by_unit;
    struct tenon_value w[TENON_KV_SELECT_N_TENSORS];
    float unit[D * D];
    for (int i = 0; i < D * D; i++)
        unit[i] = i / D == i % D;
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_kv_select), &by_unit);
    by_unit.block_q = BLOCK;
    by_unit.block_k = 1;
    by_unit.pool_q = kind;
    by_unit.pool_k = KS(POOL_NONE);
    by_unit.scale = 1;
    memset(w, 0, sizeof w);
    w[KS(Q)] = *x;
    w[KS(K)] = put(unit, TENON_F32, DIMS(1, D, 1, D));
    w[KS(ROW_PTR)] = put(NULL, TENON_I32, DIMS(1, H, NK + 1));
    w[KS(COL)] = put(NULL, TENON_I32, DIMS(1));
    w[KS(SCORES_OUT)] = put(NULL, TENON_F32, DIMS(1, H, NK, D));
    call(TENON_OPNUM_kv_select, &by_unit, w, TENON_KV_SELECT_N_TENSORS, "SeerAttention's pooling");
    return w[KS(SCORES_OUT)];
}

/* y [rows,H,G]: a product for each head, x of its own `width`; added to what is there where it is not the first. */
static void project(const struct tenon_value *x, int rows, int width, const float *weights, int first,
                    const struct tenon_value *y)
{
    for (int h = 0; h < H; h++) {
        struct tenon_value w[TENON_LINEAR_N_TENSORS];
        memset(w, 0, sizeof w);
        w[TENON_LINEAR_X] = view(x, h * rows * width, DIMS(rows, width), (int64_t[]){width, 1});
        w[TENON_LINEAR_W] = put(weights + h * G * width, TENON_F32, DIMS(G, width));
        w[TENON_LINEAR_Y] = view(y, h * G, DIMS(rows, G), (int64_t[]){H * G, 1});
        if (!first)
            w[TENON_LINEAR_RESIDUAL] = w[TENON_LINEAR_Y];
        call(TENON_OPNUM_linear, NULL, w, TENON_LINEAR_N_TENSORS, "SeerAttention's gate");
    }
}

/* x [1,n,heads,width] turned by its positions from `at` on. */
static struct tenon_value turned(const struct tenon_value *x, int at)
{
    const int64_t *dim = x->tensor.dim;
    int32_t pos[T];
    struct tenon_value w[TENON_ROPE_N_TENSORS];
    for (int t = 0; t < dim[1]; t++)
        pos[t] = at + t;
    memset(w, 0, sizeof w);
    w[TENON_ROPE_X] = *x;
    w[TENON_ROPE_POS] = put(pos, TENON_I32, DIMS(1, dim[1]));
    w[TENON_ROPE_Y] = put(NULL, TENON_F32, 4, dim);
    call(TENON_OPNUM_rope, NULL, w, TENON_ROPE_N_TENSORS, "SeerAttention's positions");
    return w[TENON_ROPE_Y];
}

static void turn(double *x, int width, int at)
{
    for (int i = 0; i < width / 2; i++) {
        const double a = at * pow(10000, -2.0 * i / width), u = x[i], w = x[i + width / 2];
        x[i] = u * cos(a) - w * sin(a);
        x[i + width / 2] = w * cos(a) + u * sin(a);
    }
}

static void turn_all(float *x, int n, int heads, int at)
{
    for (int i = 0; i < n * heads; i++) {
        double row[D];
        for (int d = 0; d < D; d++)
            row[d] = (double)x[i * D + d];
        turn(row, D, at + i / heads);
        for (int d = 0; d < D; d++)
            x[i * D + d] = (float)row[d];
    }
}

/* The gates of blocks in f64, from what is not yet turned. */
static void gates(void)
{
    memset(gated_q, 0, sizeof gated_q);
    memset(gated_k, 0, sizeof gated_k);
    for (int h = 0; h < H; h++)
        for (int i = 0; i < NK; i++) {
            for (int d = 0; d < D; d++) {
                double mean_q = 0, k_of[3] = {-1e30, 1e30, 0}; /* largest, least, mean */
                for (int t = i * BLOCK; t < (i + 1) * BLOCK; t++) {
                    mean_q += element_q(t, h, d) / BLOCK;
                    k_of[0] = fmax(k_of[0], element_k(t, h, d));
                    k_of[1] = fmin(k_of[1], element_k(t, h, d));
                    k_of[2] += element_k(t, h, d) / BLOCK;
                }
                for (int g = 0; g < G; g++) {
                    gated_q[h][i][g] += mean_q * (double)gate_q[(h * G + g) * D + d];
                    for (int part = 0; part < 3; part++)
                        gated_k[h][i][g] += k_of[part] * (double)gate_k[part][(h * G + g) * D + d];
                }
            }
            turn(gated_q[h][i], G, i);
            turn(gated_k[h][i], G, i);
        }
}

static double gate_score(const double *a, const double *b)
{
    double sum = 0;
    for (int g = 0; g < G; g++)
        sum += a[g] * b[g];
    return sum / sqrt(G);
}

/* Tokens, weights of the gates, and the gates of keys on the device: [largest, least, mean] of each block. */
static struct tenon_value seer_keys(uint64_t seed)
{
    static const uint32_t kinds[3] = {KS(MAX), KS(MIN), KS(MEAN)};
    begin(seed);
    for (int i = 0; i < H * G * D; i++) {
        gate_q[i] = (float)(1.5 * catalog_normal());
        for (int part = 0; part < 3; part++)
            gate_k[part][i] = (float)(0.5 * catalog_normal());
    }
    gates();
    const struct tenon_value gate = put(NULL, TENON_F32, DIMS(1, NK, H, G));
    for (int part = 0; part < 3; part++) {
        const struct tenon_value x = pool(&tokens[1], kinds[part]);
        project(&x, NK, D, gate_k[part], part == 0, &gate);
    }
    p.block_q = p.block_k = 1;
    p.pool_q = p.pool_k = KS(POOL_NONE);
    return turned(&gate, 0);
}

/* SeerAttention: a softmax of the gates over the causal blocks; those above a threshold, or the 3 best. */
static void seer(int by_count)
{
    const char *name = by_count ? "SeerAttention, budget" : "SeerAttention, threshold";
    const struct tenon_value keys = seer_keys(38), mean = pool(&tokens[0], KS(MEAN));
    const struct tenon_value gate = put(NULL, TENON_F32, DIMS(1, NK, H, G));
    project(&mean, NK, D, gate_q, 1, &gate);
    v[KS(Q)] = turned(&gate, 0);
    v[KS(K)] = keys;
    for (int h = 0; h < H; h++)
        for (int i = 0; i < NK; i++) {
            double sum = 0;
            for (int j = 0; j <= i; j++)
                sum += s[h][i][j] = exp(gate_score(gated_q[h][i], gated_k[h][j]));
            for (int j = 0; !by_count && j <= i; j++)
                want[h][i][j] = s[h][i][j] / sum > 0.125;
            if (by_count)
                best(h, i, i + 1, 3);
        }
    for (int i = 0; i < 2; i++)
        tokens[i] = turned(&tokens[i], 0);
    turn_all(q, T, H, 0);
    turn_all(k, T, H, 0);
    p.score = KS(SOFTMAX_POOLED);
    p.causal = 1;
    p.rule = by_count ? KS(TOPK) : KS(THRESH);
    p.k = by_count ? 3 : 1;
    p.tau = by_count ? 0 : 0.125f;
    gives(H, BLOCK, BLOCK, 0, name);
}

/* In decoding the queries of a group of heads have one gate; full blocks have theirs, the last one is always listed. */
static void seer_decode(void)
{
    enum { GROUP = 2, HQ = H * GROUP };
    float token[HQ * D], none[H * G], weights[H * G * GROUP * D], o[HQ * D];
    double gate[H][G], right[HQ * D], z[SEEN], w[SEEN];
    struct tenon_value keys = seer_keys(39);
    for (int i = 0; i < HQ * D; i++)
        token[i] = (float)catalog_normal();
    for (int i = 0; i < H * G; i++)
        none[i] = NAN;
    for (int i = 0; i < H * G * GROUP * D; i++)
        weights[i] = (float)catalog_normal();
    const struct tenon_value one = put(token, TENON_F32, DIMS(1, 1, HQ, D));
    const struct tenon_value q_gate = put(NULL, TENON_F32, DIMS(1, 1, H, G));
    const struct tenon_value last = view(&keys, (NK - 1) * H * G, DIMS(H * G), (int64_t[]){1});
    good(tenon_memory_write(memory, last.offset, none, sizeof none), "the last block, which is not full, has no gate");
    project(&one, 1, GROUP * D, weights, 1, &q_gate);
    v[KS(Q)] = turned(&q_gate, NK - 1);
    v[KS(K)] = keys;
    for (int h = 0; h < H; h++) {
        for (int g = 0; g < G; g++) {
            gate[h][g] = 0;
            for (int d = 0; d < GROUP * D; d++)
                gate[h][g] += (double)token[h * GROUP * D + d] * (double)weights[(h * G + g) * GROUP * D + d];
        }
        turn(gate[h], G, NK - 1);
        for (int j = 0; j < NK - 1; j++)
            s[h][0][j] = gate_score(gate[h], gated_k[h][j]);
        best(h, 0, NK - 1, 3);
        want[h][0][NK - 1] = 1;
    }
    p.k = 3;
    p.last = 1;
    lists_are(want, H, 1, NK, "SeerAttention, decoding");
    tokens[0] = turned(&one, SEEN - 1);
    tokens[1] = turned(&tokens[1], 0);
    for (int i = 1; i < 3; i++)
        tokens[i] = view(&tokens[i], 0, DIMS(1, SEEN, H, D), (int64_t[]){N, H * D, D, 1});
    turn_all(token, 1, HQ, SEEN - 1);
    turn_all(k, T, H, 0);
    attend(0, 1, BLOCK, 0, "SeerAttention, decoding");
    if (!get(&out, o, sizeof o))
        return;
    for (int h = 0; h < HQ; h++) {
        for (int u = 0; u < SEEN; u++) {
            z[u] = want[h / GROUP][0][u / BLOCK] ? 0 : -(double)INFINITY;
            for (int d = 0; d < D; d++)
                z[u] += (double)token[h * D + d] * element_k(u, h / GROUP, d) / sqrt(D);
        }
        catalog_exp_weights(z, w, SEEN);
        for (int d = 0; d < D; d++) {
            right[h * D + d] = 0;
            for (int u = 0; u < SEEN; u++)
                right[h * D + d] += w[u] * (double)val[(u * H + h / GROUP) * D + d];
        }
    }
    catalog_are(o, right, HQ * D, "SeerAttention, decoding");
}

/* ---- PBS-Attn ---- */

enum { SEGMENT = 2 * BLOCK };

/* Keys by the probability that the last block of queries gives them: [H,T] of numbers within their segments, best
 * first. Each head is a sequence. */
static struct tenon_value by_mass(void)
{
    struct tenon_attention_params causal;
    struct tenon_softmax_topk_params sorts;
    struct tenon_value x[TENON_ATTENTION_N_TENSORS], w[TENON_SOFTMAX_TOPK_N_TENSORS];
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_attention), &causal);
    causal.causal = 1;
    memset(x, 0, sizeof x);
    memcpy(x, tokens, sizeof tokens);
    x[TENON_ATTENTION_Q] = view(&tokens[0], (T - BLOCK) * H * D, DIMS(H, BLOCK, 1, D), (int64_t[]){D, H * D, D, 1});
    x[TENON_ATTENTION_O] = put(NULL, TENON_F32, DIMS(H, BLOCK, 1, D));
    x[TENON_ATTENTION_LNZ] = put(NULL, TENON_F32, DIMS(H, BLOCK, 1));
    call(TENON_OPNUM_attention, &causal, x, TENON_ATTENTION_N_TENSORS, "PBS-Attn's last queries");
    p.score = KS(PROB_MASS);
    p.block_k = 1;
    p.causal = 1;
    v[KS(Q)] = x[TENON_ATTENTION_Q];
    v[KS(K)] = tokens[1];
    v[KS(LNZ)] = x[TENON_ATTENTION_LNZ];
    v[KS(ROW_PTR)] = put(NULL, TENON_I32, DIMS(H, 1, 2));
    v[KS(COL)] = put(NULL, TENON_I32, DIMS(H));
    v[KS(SCORES_OUT)] = put(NULL, TENON_F32, DIMS(H, 1, 1, T));
    call(TENON_OPNUM_kv_select, &p, v, TENON_KV_SELECT_N_TENSORS, "PBS-Attn's masses of keys");
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_softmax_topk), &sorts);
    sorts.k = SEGMENT;
    sorts.norm = TENON_SOFTMAX_TOPK_RAW;
    memset(w, 0, sizeof w);
    w[TENON_SOFTMAX_TOPK_X] =
        view(&v[KS(SCORES_OUT)], 0, DIMS(H * T / SEGMENT, SEGMENT), (int64_t[]){SEGMENT, 1});
    w[TENON_SOFTMAX_TOPK_IDX] = put(NULL, TENON_I32, DIMS(H * T / SEGMENT, SEGMENT));
    call(TENON_OPNUM_softmax_topk, &sorts, w, TENON_SOFTMAX_TOPK_N_TENSORS, "PBS-Attn's order");
    memset(v, 0, sizeof v);
    return w[TENON_SOFTMAX_TOPK_IDX];
}

/* The same in f64, to key_at. */
static void sort_keys(void)
{
    double mass[H][T], z[T], w[T];
    memset(mass, 0, sizeof mass);
    for (int h = 0; h < H; h++) {
        for (int t = T - BLOCK; t < T; t++) {
            for (int u = 0; u < T; u++)
                z[u] = u <= t ? product(h, t, u) / sqrt(D) : -(double)INFINITY;
            catalog_exp_weights(z, w, T);
            for (int u = 0; u < T; u++)
                mass[h][u] += w[u];
        }
        for (int to = 0; to < T; to++) {
            const int first = to / SEGMENT * SEGMENT;
            int at = first;
            for (int u = first; u < first + SEGMENT; u++)
                if (mass[h][u] > mass[h][at])
                    at = u;
            key_at[h][to] = at;
            mass[h][at] = -1;
        }
    }
}

/* Keys, values and positions in that order, segment by segment. */
static void permute(const struct tenon_value *idx)
{
    int32_t count[T];
    for (int t = 0; t < T; t++)
        count[t] = t;
    const struct tenon_value pos = put(count, TENON_I32, DIMS(T, 1)), kpos = put(NULL, TENON_I32, DIMS(H, T));
    for (int i = 1; i < 3; i++) {
        const struct tenon_value to = put(NULL, TENON_F32, DIMS(H, T, 1, D));
        for (int n = 0; n < H * T / SEGMENT; n++) {
            const int h = n / (T / SEGMENT), first = n % (T / SEGMENT) * SEGMENT;
            const struct tenon_value own = view(idx, n * SEGMENT, DIMS(SEGMENT), (int64_t[]){1});
            const struct tenon_value x =
                view(&tokens[i], (first * H + h) * D, DIMS(SEGMENT, D), (int64_t[]){H * D, 1});
            const struct tenon_value y = view(&to, (h * T + first) * D, DIMS(SEGMENT, D), (int64_t[]){D, 1});
            const struct tenon_value was = view(&pos, first, DIMS(SEGMENT, 1), (int64_t[]){1, 1});
            const struct tenon_value is = view(&kpos, h * T + first, DIMS(SEGMENT, 1), (int64_t[]){1, 1});
            gather(&x, &own, &y);
            gather(&was, &own, &is);
        }
        tokens[i] = to;
    }
    v[KS(KPOS)] = kpos;
}

/* PBS-Attn: keys and values in the order of their mass within segments; a softmax of means' products over the causal
 * blocks; of those outside the own segment and the first until 7/8 of their mass. */
static void pbs(void)
{
    begin(40);
    batch = H;
    for (int i = 0; i < 3; i++)
        tokens[i] = view(&tokens[i], 0, DIMS(H, T, 1, D), (int64_t[]){D, H * D, D, 1});
    const struct tenon_value idx = by_mass();
    permute(&idx);
    sort_keys();
    for (int h = 0; h < H; h++)
        for (int i = 0; i < NK; i++) {
            double sum = 0, rest = 0;
            for (int j = 0; j < NK; j++) {
                int first = T;
                for (int u = j * BLOCK; u < (j + 1) * BLOCK; u++)
                    first = key_at[h][u] < first ? key_at[h][u] : first;
                const int seen = first < (i + 1) * BLOCK;
                want[h][i][j] = seen && (first == 0 || j / 2 == i / 2);
                s[h][i][j] = seen ? exp(pooled(h, i, BLOCK, j, BLOCK) / sqrt(D)) : 0;
                rest += want[h][i][j] ? 0 : s[h][i][j];
            }
            while (sum < 0.875 * rest) {
                const int at = best_left(h, i, NK);
                want[h][i][at] = 1;
                sum += s[h][i][at];
            }
        }
    v[KS(Q)] = tokens[0];
    v[KS(K)] = tokens[1];
    p.score = KS(SOFTMAX_POOLED);
    p.block_k = BLOCK;
    p.rule = KS(CUMUL);
    p.tau = 0.875f;
    p.first = 1;
    p.segment = 2;
    gives(H, BLOCK, BLOCK, 0, "PBS-Attn");
}

static void catalog(void)
{
    vmoba(0, KS(HEAD), "VMoBA, blocks in time, per head");
    vmoba(1, KS(HEAD), "VMoBA, blocks in space, per head");
    vmoba(2, KS(HEAD), "VMoBA, cubes, per head");
    vmoba(2, KS(ROW), "VMoBA, cubes, per query");
    seer(0);
    seer(1);
    seer_decode();
    pbs();
    release();
}

int main(void)
{
    return catalog_devices(catalog);
}
