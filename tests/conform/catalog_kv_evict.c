/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Published evictions, from attributes of kv_evict, against what their papers do written out in f64; and what is kept,
 * attended to where it is and compacted, on every device that is there. */
#include <tenon/ops/kv_evict.h>

#include "catalog_kv_cache.h"

enum { M = 24, WORDS = (TOKENS + 31) / 32 };

static struct tenon_kv_evict_params p;
static struct tenon_value v[TENON_KV_EVICT_N_TENSORS];
static int32_t list[HK * M], rows[HK * M], kpos[HK * M], len[HK];
static uint32_t keep[HK * WORDS];
static float given[TOKENS * HK], scores[TOKENS * HK];
static double want[TOKENS * HK];
static int kept[HK][TOKENS];

/* The last `queries` queries and all keys; lists of `m` entries. */
static void begin(uint32_t score, int queries, int lists, int m)
{
    defaults(TENON_OPNUM_kv_evict, &p);
    memset(v, 0, sizeof v);
    memset(want, 0, sizeof want);
    p.score = score;
    p.share = lists == 1 ? TENON_KV_EVICT_ALL : TENON_KV_EVICT_PER_HEAD;
    if (queries) {
        v[TENON_KV_EVICT_Q] = HOST(q + (TOKENS - queries) * Q_ROW, TENON_F32, 1, queries, HQ, D);
        v[TENON_KV_EVICT_K] = HOST(k, TENON_F32, 1, TOKENS, HK, D);
    }
    v[TENON_KV_EVICT_LIST] = HOST(list, TENON_I32, 1, lists, m);
    v[TENON_KV_EVICT_ROWS] = HOST(rows, TENON_I32, 1, m, lists);
    v[TENON_KV_EVICT_KEEP] = HOST(keep, TENON_U32, 1, lists, WORDS);
    v[TENON_KV_EVICT_KPOS_OUT] = HOST(kpos, TENON_I32, 1, lists, m);
    v[TENON_KV_EVICT_KV_LEN_OUT] = HOST(len, TENON_I32, 1, lists);
    v[TENON_KV_EVICT_SCORES_OUT] = HOST(scores, TENON_F32, 1, TOKENS, HK);
}

static int run(const char *name)
{
    return calls(TENON_OPNUM_kv_evict, &p, v, TENON_KV_EVICT_N_TENSORS, name);
}

/* Weights of query t of head h at all keys. */
static void weights(int t, int h, double *share)
{
    double s[TOKENS];
    for (int j = 0; j < TOKENS; j++) {
        s[j] = j <= t ? 0 : -(double)INFINITY;
        for (int d = 0; d < D && j <= t; d++)
            s[j] += (double)q[t * Q_ROW + h * D + d] * (double)k[j * K_ROW + h / (HQ / HK) * D + d] / sqrt(D);
    }
    catalog_exp_weights(s, share, TOKENS);
}

/* The n best of `score` among [from, to) besides what is kept; later ones first. */
static void best(int l, const double *score, int from, int to, int n)
{
    for (int taken = 0; taken < n; taken++) {
        int at = -1;
        for (int j = from; j < to; j++)
            if (!kept[l][j] && (at < 0 || score[j] >= score[at]))
                at = j;
        if (at >= 0)
            kept[l][at] = 1;
    }
}

/* Lists, bits, positions and rows are those of `kept`. */
static void lists_are(int lists, int m, const char *name)
{
    int wrong = 0;
    for (int l = 0; l < lists; l++) {
        int n = 0;
        for (int j = 0; j < TOKENS; j++) {
            wrong += (int)(keep[l * WORDS + j / 32] >> j % 32 & 1) != kept[l][j];
            if (!kept[l][j])
                continue;
            wrong += list[l * m + n] != j || kpos[l * m + n] != j || rows[n * lists + l] != j * lists + l;
            n++;
        }
        wrong += len[l] != n;
        for (int i = n; i < m; i++)
            wrong += list[l * m + i] != -1 || rows[i * lists + l] != -1 || kpos[l * m + i] != TOKENS + i - n;
    }
    is_int(wrong, 0, "%s: %s: what is kept", catalog_device, name);
}

/* ---- the last query attends to what is kept: in place, and compacted ---- */

static void attention_is(int lists, int m, const char *name)
{
    static float less_k[M * K_ROW], less_v[M * K_ROW], in_place[Q_ROW], compact[Q_ROW];
    struct tenon_attention_params ap;
    struct tenon_value a[TENON_ATTENTION_N_TENSORS] = {{.host = NULL}};
    static double keys[TOKENS * K_ROW], values[TOKENS * K_ROW];
    double out[Q_ROW];
    float *query = q + (TOKENS - 1) * Q_ROW;
    for (int i = 0; i < TOKENS * K_ROW; i++) {
        keys[i] = (double)k[i];
        values[i] = (double)val[i];
    }
    for (int h = 0; h < HQ; h++)
        attends(query, h, keys, values, kept[lists == 1 ? 0 : h / (HQ / HK)], TOKENS, out);
    defaults(TENON_OPNUM_attention, &ap);
    a[TENON_ATTENTION_Q] = HOST(query, TENON_F32, 1, 1, HQ, D);
    a[TENON_ATTENTION_K] = HOST(k, TENON_F32, 1, TOKENS, HK, D);
    a[TENON_ATTENTION_V] = HOST(val, TENON_F32, 1, TOKENS, HK, D);
    a[TENON_ATTENTION_KEEP] = v[TENON_KV_EVICT_KEEP];
    a[TENON_ATTENTION_O] = HOST(in_place, TENON_F32, 1, 1, HQ, D);
    if (calls(TENON_OPNUM_attention, &ap, a, TENON_ATTENTION_N_TENSORS, name))
        catalog_are(in_place, out, Q_ROW, name);
    const int width = lists == 1 ? K_ROW : D;
    if (!gathers(k, TENON_F32, TOKENS * lists, width, rows, m * lists, less_k, name) ||
        !gathers(val, TENON_F32, TOKENS * lists, width, rows, m * lists, less_v, name))
        return;
    /* heads are sequences: each has its own length and positions */
    const int64_t sequences = lists, own = HK / lists, group = HQ / lists;
    a[TENON_ATTENTION_Q] = HOST(query, TENON_F32, sequences, 1, group, D);
    a[TENON_ATTENTION_K] = HOST(less_k, TENON_F32, sequences, m, own, D);
    a[TENON_ATTENTION_V] = HOST(less_v, TENON_F32, sequences, m, own, D);
    for (int i = TENON_ATTENTION_K; i <= TENON_ATTENTION_V; i++) {
        a[i].tensor.stride[0] = D;
        a[i].tensor.stride[1] = K_ROW;
        a[i].tensor.stride[2] = D;
    }
    a[TENON_ATTENTION_KEEP] = (struct tenon_value){.host = NULL};
    a[TENON_ATTENTION_KV_LEN] = HOST(len, TENON_I32, sequences);
    a[TENON_ATTENTION_KPOS] = HOST(kpos, TENON_I32, sequences, m);
    a[TENON_ATTENTION_O] = HOST(compact, TENON_F32, sequences, 1, group, D);
    if (calls(TENON_OPNUM_attention, &ap, a, TENON_ATTENTION_N_TENSORS, name))
        catalog_are(compact, out, Q_ROW, name);
}

/* ---- SnapKV, FastKV ---- */

/* The mean of seven columns (zeros outside), of the sums over the last w queries, summed over a group. */
static void snap_scores(int w, int ks, int mean)
{
    for (int h = 0; h < HQ; h++) {
        double sum[TOKENS] = {0}, share[TOKENS];
        for (int t = TOKENS - w; t < TOKENS; t++) {
            weights(t, h, share);
            for (int j = 0; j < TOKENS; j++)
                sum[j] += share[j];
        }
        for (int j = 0; j < TOKENS - w; j++) {
            double pool = 0;
            for (int i = j - ks / 2; i <= j + ks / 2; i++)
                if (i >= 0 && i < TOKENS - w)
                    pool = mean ? pool + sum[i] / ks : fmax(pool, sum[i]);
            want[j * HK + h / (HQ / HK)] += pool;
        }
    }
}

static void snap(int w, int capacity, uint32_t pool, int ks, int lists, const char *name)
{
    const int n = capacity - w;
    tokens(71);
    begin(TENON_KV_EVICT_SNAP, w + 3, lists, capacity); /* queries before the window are not asked */
    p.w = w;
    p.n = n;
    p.ks = (uint32_t)ks;
    p.pool = pool;
    snap_scores(w, ks, pool == TENON_KV_EVICT_MEAN);
    if (!run(name))
        return;
    catalog_are(scores, want, TOKENS * HK, name);
    memset(kept, 0, sizeof kept);
    for (int l = 0; l < lists; l++) {
        double score[TOKENS] = {0};
        for (int j = 0; j < TOKENS; j++)
            for (int h = 0; h < HK; h++)
                score[j] += lists == 1 || h == l ? want[j * HK + h] : 0;
        for (int j = TOKENS - w; j < TOKENS; j++)
            kept[l][j] = 1;
        best(l, score, 0, TOKENS - w, n);
    }
    lists_are(lists, capacity, name);
    attention_is(lists, capacity, name);
}

/* ---- H2O ---- */

enum { BUDGET = 10, RECENT = 5, ROOM = BUDGET + 1 };
static float cache_k[ROOM * K_ROW], cache_v[ROOM * K_ROW], sums[ROOM * HK], next_sums[ROOM * HK];
static int32_t pos[HK * ROOM], count[HK], moved[HK * ROOM], moved_len[HK];

/* The paper's: softmax over what is kept, added up; over the budget the least of those that are not recent goes. */
static void h2o_step(int t, double (*mass)[TOKENS])
{
    for (int h = 0; h < HQ; h++) {
        double s[TOKENS], share[TOKENS];
        for (int j = 0; j < TOKENS; j++) {
            s[j] = kept[h / 2][j] ? 0 : -(double)INFINITY;
            for (int d = 0; d < D && kept[h / 2][j]; d++)
                s[j] += (double)q[t * Q_ROW + h * D + d] * (double)k[j * K_ROW + h / 2 * D + d] / sqrt(D);
        }
        catalog_exp_weights(s, share, TOKENS);
        for (int j = 0; j < TOKENS; j++)
            mass[h / 2][j] += share[j];
    }
    for (int h = 0; h < HK; h++) {
        int least = -1, n = 0;
        for (int j = 0; j <= t; j++)
            n += kept[h][j];
        for (int j = 0; j <= t - RECENT; j++)
            if (kept[h][j] && (least < 0 || mass[h][j] < mass[h][least]))
                least = j;
        if (n > BUDGET)
            kept[h][least] = 0;
    }
}

/* Token t comes, and what is kept moves to the front, with its sums. */
static int h2o_run(int32_t t)
{
    static float old[ROOM * K_ROW];
    v[TENON_KV_EVICT_Q] = HOST(q + t * Q_ROW, TENON_F32, 1, 1, HQ, D);
    v[TENON_KV_EVICT_K] = HOST(cache_k, TENON_F32, 1, ROOM, HK, D);
    v[TENON_KV_EVICT_SCORES] = HOST(sums, TENON_F32, 1, ROOM, HK);
    v[TENON_KV_EVICT_KV_LEN] = HOST(count, TENON_I32, 1, HK);
    v[TENON_KV_EVICT_KPOS] = HOST(pos, TENON_I32, 1, HK, ROOM);
    v[TENON_KV_EVICT_QPOS] = HOST(&t, TENON_I32, 1, 1);
    v[TENON_KV_EVICT_LIST] = HOST(list, TENON_I32, 1, HK, ROOM);
    v[TENON_KV_EVICT_ROWS] = HOST(rows, TENON_I32, 1, ROOM, HK);
    v[TENON_KV_EVICT_KPOS_OUT] = HOST(moved, TENON_I32, 1, HK, ROOM);
    v[TENON_KV_EVICT_KV_LEN_OUT] = HOST(moved_len, TENON_I32, 1, HK);
    v[TENON_KV_EVICT_SCORES_OUT] = HOST(next_sums, TENON_F32, 1, ROOM, HK);
    int good = tenon_run(catalog_context, TENON_OPNUM_kv_evict, &p, v, TENON_KV_EVICT_N_TENSORS) == TENON_OK;
    memcpy(old, cache_k, sizeof old);
    good &= gathers(old, TENON_F32, ROOM * HK, D, rows, ROOM * HK, cache_k, "H2O: keys move");
    memcpy(old, cache_v, sizeof old);
    good &= gathers(old, TENON_F32, ROOM * HK, D, rows, ROOM * HK, cache_v, "H2O: values move");
    good &= gathers(next_sums, TENON_F32, ROOM * HK, 1, rows, ROOM * HK, sums, "H2O: sums move");
    memcpy(pos, moved, sizeof pos);
    memcpy(count, moved_len, sizeof count);
    return good;
}

/* Decoding within a budget: the sums of what each token was given, which move with the tokens. */
static void heavy_hitters(void)
{
    double mass[HK][TOKENS] = {{0}};
    int wrong = 0, good = 1;
    tokens(72);
    begin(TENON_KV_EVICT_ACCUM, 0, HK, M);
    memset(v, 0, sizeof v);
    p.w = RECENT;
    p.n = BUDGET - RECENT;
    memset(kept, 0, sizeof kept);
    memset(sums, 0, sizeof sums);
    memset(count, 0, sizeof count);
    for (int t = 0; good && t < TOKENS; t++) {
        /* each head has as many keys, so that a row is appended to all at once */
        memcpy(cache_k + count[0] * K_ROW, k + t * K_ROW, sizeof(float) * K_ROW);
        memcpy(cache_v + count[0] * K_ROW, val + t * K_ROW, sizeof(float) * K_ROW);
        for (int h = 0; h < HK; h++) {
            pos[h * ROOM + count[h]++] = t;
            kept[h][t] = 1;
        }
        good = h2o_run(t);
        h2o_step(t, mass);
        for (int h = 0; h < HK; h++) {
            int n = 0;
            for (int j = 0; j <= t; j++)
                if (kept[h][j])
                    wrong += pos[h * ROOM + n++] != j;
            wrong += count[h] != n;
            for (int i = 0; i < n * D; i++)
                wrong += cache_v[i / D * K_ROW + h * D + i % D] != val[pos[h * ROOM + i / D] * K_ROW + h * D + i % D];
        }
    }
    ok(good, "%s: H2O runs, token by token", catalog_device);
    is_int(wrong, 0, "%s: H2O: what is kept after each token", catalog_device);
}

/* ---- PrefixKV ---- */

enum { LAYERS = 3, EACH = 11 };
static double layer_score[LAYERS][TOKENS];

/* How many of its best a layer needs for a fraction of its sum. */
static int prefix_size(const double *score, double fraction)
{
    double left[TOKENS], sum = 0, total = 0;
    int size = 0;
    memcpy(left, score, sizeof left);
    for (int j = 0; j < TOKENS; j++)
        total += score[j];
    for (; sum < fraction * total && size < TOKENS; size++) {
        int at = 0;
        for (int j = 1; j < TOKENS; j++)
            at = left[j] > left[at] ? j : at;
        sum += left[at];
        left[at] = -1;
    }
    return size;
}

static void prefix_layer(int layer, int size)
{
    const int n = size > 5 ? size - 5 : 0;
    tokens(80 + (uint64_t)layer);
    for (int j = 0; j < TOKENS * HK; j++)
        given[j] = (float)(layer_score[layer][j / HK] / HK);
    begin(TENON_KV_EVICT_GATE, 0, 1, M);
    v[TENON_KV_EVICT_SCORES] = HOST(given, TENON_F32, 1, TOKENS, HK);
    p.n = n < M - 5 ? n : M - 5;
    p.n_first = 4;
    p.w = 1;
    if (!run("PrefixKV"))
        return;
    memset(kept, 0, sizeof kept);
    for (int j = 0; j < 4; j++)
        kept[0][j] = 1;
    kept[0][TOKENS - 1] = 1;
    best(0, layer_score[layer], 4, TOKENS - 1, p.n);
    lists_are(1, M, "PrefixKV: a layer");
    attention_is(1, M, "PrefixKV: a layer");
}

/* One fraction p of the sum of scores for all layers, by bisection, so that they keep the budget together; each keeps
 * its best, the first 4 and the last. */
static void prefix(void)
{
    double low = 0, high = 1;
    int size[LAYERS], all = 0;
    for (int layer = 0; layer < LAYERS; layer++) {
        tokens(80 + (uint64_t)layer);
        for (int i = 0; i < TOKENS * Q_ROW; i++)
            q[i] *= 0.1f + 2.0f * (float)layer; /* layers differ in how much few tokens have */
        begin(TENON_KV_EVICT_ACCUM, TOKENS, 1, M);
        if (!run("PrefixKV: scores of a layer"))
            return;
        for (int h = 0; h < HQ; h++)
            for (int t = 0; t < TOKENS; t++) {
                double share[TOKENS];
                weights(t, h, share);
                for (int j = 0; j < TOKENS; j++)
                    want[j * HK + h / (HQ / HK)] += share[j];
            }
        catalog_are(scores, want, TOKENS * HK, "PrefixKV: scores of a layer");
        for (int j = 0; j < TOKENS; j++) /* the mean over heads, of sums over queries */
            layer_score[layer][j] = ((double)scores[j * HK] + (double)scores[j * HK + 1]) / HQ;
    }
    for (int i = 0; i < 50; i++) {
        const double fraction = (low + high) / 2;
        all = 0;
        for (int layer = 0; layer < LAYERS; layer++)
            all += prefix_size(layer_score[layer], fraction);
        *(all > LAYERS * EACH ? &high : &low) = fraction;
    }
    all = 0;
    for (int layer = 0; layer < LAYERS; layer++)
        all += size[layer] = prefix_size(layer_score[layer], low);
    ok(all <= LAYERS * EACH && all >= LAYERS * EACH - LAYERS && size[0] > size[2],
       "%s: PrefixKV: %d, %d, %d of %d tokens", catalog_device, size[0], size[1], size[2], LAYERS * EACH);
    for (int layer = 0; layer < LAYERS; layer++)
        prefix_layer(layer, size[layer]);
}

/* ---- Attention-Gate, StreamingLLM ---- */

/* A logit for each token and head; kept where its sigmoid is above tau, as many as that may be. */
static void attention_gate(void)
{
    const double tau = 0.4;
    tokens(73);
    for (int i = 0; i < TOKENS * HK; i++)
        given[i] = (float)(1.2 * catalog_normal() - 0.5);
    begin(TENON_KV_EVICT_GATE, 0, HK, TOKENS);
    static int32_t long_list[HK * TOKENS], long_rows[HK * TOKENS], long_pos[HK * TOKENS];
    v[TENON_KV_EVICT_SCORES] = HOST(given, TENON_F32, 1, TOKENS, HK);
    v[TENON_KV_EVICT_LIST] = HOST(long_list, TENON_I32, 1, HK, TOKENS);
    v[TENON_KV_EVICT_ROWS] = HOST(long_rows, TENON_I32, 1, TOKENS, HK);
    v[TENON_KV_EVICT_KPOS_OUT] = HOST(long_pos, TENON_I32, 1, HK, TOKENS);
    p.w = 1;
    p.n = TOKENS;
    p.threshold = (float)log(tau / (1 - tau));
    if (!run("Attention-Gate"))
        return;
    memset(kept, 0, sizeof kept);
    for (int h = 0; h < HK; h++)
        for (int j = 0; j < TOKENS; j++)
            kept[h][j] = j == TOKENS - 1 || 1 / (1 + exp(-(double)given[j * HK + h])) > tau;
    int fits = 1;
    for (int h = 0; h < HK; h++)
        fits &= len[h] <= M;
    ok(fits && len[0] != len[1], "%s: Attention-Gate: %d and %d tokens", catalog_device, len[0], len[1]);
    if (!fits)
        return;
    for (int h = 0; h < HK; h++)
        for (int i = 0; i < M; i++) {
            list[h * M + i] = long_list[h * TOKENS + i];
            kpos[h * M + i] = long_pos[h * TOKENS + i];
            rows[i * HK + h] = long_rows[i * HK + h];
        }
    lists_are(HK, M, "Attention-Gate");
    attention_is(HK, M, "Attention-Gate");
}

static void streaming(void)
{
    tokens(74);
    begin(TENON_KV_EVICT_RECENT, 0, 1, 12);
    v[TENON_KV_EVICT_SCORES_OUT] = (struct tenon_value){.host = NULL};
    p.slots = TOKENS;
    p.n_first = 4;
    p.w = 8;
    if (!run("StreamingLLM"))
        return;
    memset(kept, 0, sizeof kept);
    for (int j = 0; j < TOKENS; j++)
        kept[0][j] = j < 4 || j >= TOKENS - 8;
    lists_are(1, 12, "StreamingLLM, evicted");
    attention_is(1, 12, "StreamingLLM, evicted");
}

static void systems(void)
{
    snap(4, 16, TENON_KV_EVICT_MEAN, 5, HK, "SnapKV");
    snap(6, 14, TENON_KV_EVICT_MAX, 7, HK, "SnapKV: the largest of neighbours");
    snap(8, 20, TENON_KV_EVICT_MEAN, 7, HK, "FastKV: a head's tokens");
    snap(8, 20, TENON_KV_EVICT_MEAN, 7, 1, "FastKV: tokens that are passed on");
    heavy_hitters();
    prefix();
    attention_gate();
    streaming();
}

int main(void)
{
    return catalog_devices(systems);
}
