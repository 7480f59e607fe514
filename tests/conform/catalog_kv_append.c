/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Published caches, filled by kv_append and read by attention on every device that is there: rings and pages give the
 * bits that attention to all tokens at once gives; quantised ones what their papers' formulas give in f64. */
#include "catalog_kv_cache.h"

enum { WINDOW = 8, SINKS = 3, RING = SINKS + WINDOW, P = 16, MAX_PAGES = 3, PAGES = 5 };

static float all[TOKENS * Q_ROW], one[Q_ROW], stepped[TOKENS * Q_ROW];

/* ---- places ---- */

/* Attention to all tokens at once. */
static int at_once(uint32_t wl, uint32_t n_sink, const char *name)
{
    struct tenon_attention_params p;
    struct tenon_value v[TENON_ATTENTION_N_TENSORS] = {{.host = NULL}};
    defaults(TENON_OPNUM_attention, &p);
    p.causal = 1;
    p.wl = wl;
    p.n_sink = n_sink;
    v[TENON_ATTENTION_Q] = HOST(q, TENON_F32, 1, TOKENS, HQ, D);
    v[TENON_ATTENTION_K] = HOST(k, TENON_F32, 1, TOKENS, HK, D);
    v[TENON_ATTENTION_V] = HOST(val, TENON_F32, 1, TOKENS, HK, D);
    v[TENON_ATTENTION_O] = HOST(all, TENON_F32, 1, TOKENS, HQ, D);
    return calls(TENON_OPNUM_attention, &p, v, TENON_ATTENTION_N_TENSORS, name);
}

/* Token by token into a cache; each then attends to what is there. pages: NULL, or of [MAX_PAGES]. */
static void decode(int ring, int32_t *pages, int slots, const char *name)
{
    static float cache_k[PAGES * P * K_ROW], cache_v[PAGES * P * K_ROW];
    struct tenon_kv_append_params ap;
    struct tenon_attention_params p;
    struct tenon_value a[TENON_KV_APPEND_N_TENSORS] = {{.host = NULL}}, v[TENON_ATTENTION_N_TENSORS] = {{.host = NULL}};
    int32_t pos = 0, len = 0;
    int good = 1;
    for (int i = 0; i < PAGES * P * K_ROW; i++)
        cache_k[i] = cache_v[i] = NAN; /* what is not there is not used */
    defaults(TENON_OPNUM_kv_append, &ap);
    defaults(TENON_OPNUM_attention, &p);
    ap.ring = p.ring = (uint32_t)ring;
    ap.n_sink = ring ? SINKS : 0;
    p.n_sink = ring ? SINKS : 0;
    p.causal = 1;
    a[TENON_KV_APPEND_POS] = HOST(&pos, TENON_I32, 1);
    a[TENON_KV_APPEND_KV_LEN] = HOST(&len, TENON_I32, 1);
    v[TENON_ATTENTION_KV_LEN] = HOST(&len, TENON_I32, 1);
    v[TENON_ATTENTION_O] = HOST(one, TENON_F32, 1, 1, HQ, D);
    if (pages) {
        v[TENON_ATTENTION_PAGE_TABLE] = a[TENON_KV_APPEND_PAGE_TABLE] = HOST(pages, TENON_I32, 1, MAX_PAGES);
        v[TENON_ATTENTION_K] = a[TENON_KV_APPEND_K] = HOST(cache_k, TENON_F32, PAGES, HK, P, D);
        v[TENON_ATTENTION_V] = a[TENON_KV_APPEND_V] = HOST(cache_v, TENON_F32, PAGES, HK, P, D);
    } else {
        v[TENON_ATTENTION_K] = a[TENON_KV_APPEND_K] = HOST(cache_k, TENON_F32, 1, slots, HK, D);
        v[TENON_ATTENTION_V] = a[TENON_KV_APPEND_V] = HOST(cache_v, TENON_F32, 1, slots, HK, D);
    }
    for (pos = 0; good && pos < TOKENS; pos++) {
        a[TENON_KV_APPEND_K_NEW] = HOST(k + pos * K_ROW, TENON_F32, 1, 1, HK, D);
        a[TENON_KV_APPEND_V_NEW] = HOST(val + pos * K_ROW, TENON_F32, 1, 1, HK, D);
        v[TENON_ATTENTION_Q] = HOST(q + pos * Q_ROW, TENON_F32, 1, 1, HQ, D);
        good = tenon_run(catalog_context, TENON_OPNUM_kv_append, &ap, a, TENON_KV_APPEND_N_TENSORS) == TENON_OK &&
               tenon_run(catalog_context, TENON_OPNUM_attention, &p, v, TENON_ATTENTION_N_TENSORS) == TENON_OK;
        memcpy(stepped + pos * Q_ROW, one, sizeof one);
    }
    if (ok(good, "%s: %s runs%s%s", catalog_device, name, good ? "" : ": ", good ? "" : tenon_error()))
        same(stepped, all, sizeof all, name);
}

static void places(void)
{
    int32_t pages[MAX_PAGES] = {4, 0, 2};
    tokens(61);
    if (at_once(WINDOW - 1, SINKS, "StreamingLLM: a window with sinks"))
        decode(1, NULL, RING, "StreamingLLM: a ring, token by token");
    if (at_once(TENON_ATTENTION_ANY, 0, "attention to all tokens")) {
        decode(0, NULL, TOKENS, "a cache, token by token");
        decode(0, pages, 0, "PagedAttention, token by token");
    }
}

/* ---- quantised caches ---- */

static uint8_t k_codes[TOKENS * K_ROW], v_codes[TOKENS * K_ROW];
static float k_channel[K_ROW * 2], v_pairs[TOKENS * HK * 2], k_table[16], v_table[16];
static double k_read[TOKENS * K_ROW], v_read[TOKENS * K_ROW];

/* What is nearest of 16 entries. */
static double nearest(const float *table, double y)
{
    int best = 0;
    for (int c = 1; c < 16; c++)
        if (fabs((double)table[c] - y) < fabs((double)table[best] - y))
            best = c;
    return (double)table[best];
}

/* Appends all tokens in two parts, and reads them for the last query. */
static void quantised(uint32_t mode_k, uint32_t mode_v, const char *name)
{
    struct tenon_kv_append_params ap;
    struct tenon_attention_params p;
    struct tenon_value a[TENON_KV_APPEND_N_TENSORS] = {{.host = NULL}}, v[TENON_ATTENTION_N_TENSORS] = {{.host = NULL}};
    const int lut = mode_k == TENON_KV_APPEND_LUT_CHANNEL;
    int32_t pos = 0;
    double want[Q_ROW];
    int seen[TOKENS];
    defaults(TENON_OPNUM_kv_append, &ap);
    ap.quant_k = mode_k;
    ap.quant_v = mode_v;
    ap.k_bits = ap.v_bits = 4;
    a[TENON_KV_APPEND_POS] = HOST(&pos, TENON_I32, 1);
    a[TENON_KV_APPEND_K_CHANNEL] = HOST(k_channel, TENON_F32, HK, D, 2);
    a[TENON_KV_APPEND_K] = HOST(k_codes, TENON_U8, 1, TOKENS, HK, D / 2);
    a[TENON_KV_APPEND_V] = HOST(v_codes, TENON_U8, 1, TOKENS, HK, D / 2);
    a[TENON_KV_APPEND_V_QUANT] = HOST(v_pairs, TENON_F32, 1, TOKENS, HK, 1, 2);
    if (lut) {
        a[TENON_KV_APPEND_K_TABLE] = HOST(k_table, TENON_F32, 16);
        a[TENON_KV_APPEND_V_TABLE] = HOST(v_table, TENON_F32, 16);
    }
    for (int part = 0; part < 2; part++) {
        const int n = part ? TOKENS - 25 : 25;
        pos = part ? 25 : 0;
        a[TENON_KV_APPEND_K_NEW] = HOST(k + pos * K_ROW, TENON_F32, 1, n, HK, D);
        a[TENON_KV_APPEND_V_NEW] = HOST(val + pos * K_ROW, TENON_F32, 1, n, HK, D);
        if (!calls(TENON_OPNUM_kv_append, &ap, a, TENON_KV_APPEND_N_TENSORS, name))
            return;
    }
    defaults(TENON_OPNUM_attention, &p);
    p.quant_k = mode_k;
    p.quant_v = mode_v;
    p.k_bits = p.v_bits = 4;
    v[TENON_ATTENTION_Q] = HOST(q, TENON_F32, 1, 1, HQ, D);
    v[TENON_ATTENTION_K] = a[TENON_KV_APPEND_K];
    v[TENON_ATTENTION_V] = a[TENON_KV_APPEND_V];
    v[TENON_ATTENTION_K_QUANT] = a[TENON_KV_APPEND_K_CHANNEL];
    v[TENON_ATTENTION_V_QUANT] = a[TENON_KV_APPEND_V_QUANT];
    v[TENON_ATTENTION_K_TABLE] = a[TENON_KV_APPEND_K_TABLE];
    v[TENON_ATTENTION_V_TABLE] = a[TENON_KV_APPEND_V_TABLE];
    v[TENON_ATTENTION_O] = HOST(one, TENON_F32, 1, 1, HQ, D);
    if (!calls(TENON_OPNUM_attention, &p, v, TENON_ATTENTION_N_TENSORS, name))
        return;
    for (int j = 0; j < TOKENS; j++)
        seen[j] = 1;
    for (int h = 0; h < HQ; h++)
        attends(q, h, k_read, v_read, seen, TOKENS, want);
    catalog_are(one, want, Q_ROW, name);
}

/* The extremes of a token's values of a head, or of a column of all keys. */
static void range_of(const float *x, int n, int stride, double *low, double *high)
{
    *low = *high = (double)x[0];
    for (int i = 1; i < n; i++) {
        *low = fmin(*low, (double)x[i * stride]);
        *high = fmax(*high, (double)x[i * stride]);
    }
}

/* Liu et al.: keys by channels, values by tokens, x = (c - z) s with z = -min / s; the channels' are calibrated. */
static void kivi(void)
{
    double low, high;
    tokens(62);
    for (int c = 0; c < K_ROW; c++) {
        range_of(k + c, TOKENS, K_ROW, &low, &high);
        k_channel[2 * c] = (float)((high - low) / 15);
        k_channel[2 * c + 1] = (float)(-low / ((high - low) / 15));
        const double s = (double)k_channel[2 * c], z = (double)k_channel[2 * c + 1];
        for (int j = 0; j < TOKENS; j++)
            k_read[j * K_ROW + c] = (fmin(fmax(nearbyint((double)k[j * K_ROW + c] / s + z), 0), 15) - z) * s;
    }
    for (int j = 0; j < TOKENS * HK; j++) {
        range_of(val + j * D, D, 1, &low, &high);
        for (int d = 0; d < D; d++) {
            const double s = (high - low) / 15;
            v_read[j * D + d] = nearbyint(((double)val[j * D + d] - low) / s) * s + low;
        }
    }
    quantised(TENON_KV_APPEND_AFFINE_CHANNEL, TENON_KV_APPEND_AFFINE_TOKEN, "KIVI: keys by channel, values by token");
}

/* Hooper et al.: entries of tables that are not uniform, over (rng, off) of keys' channels and of values' tokens. */
static void kvquant(void)
{
    double low, high;
    tokens(63);
    for (int c = 0; c < 16; c++) {
        const double y = c / 7.5 - 1;
        k_table[c] = (float)(y * (0.5 + 0.5 * y * y));
        v_table[c] = (float)(y * (0.75 + 0.25 * fabs(y)));
    }
    for (int c = 0; c < K_ROW; c++) {
        range_of(k + c, TOKENS, K_ROW, &low, &high);
        k_channel[2 * c] = (float)((high - low) / 2);
        k_channel[2 * c + 1] = (float)((high + low) / 2);
        const double range = (double)k_channel[2 * c], off = (double)k_channel[2 * c + 1];
        for (int j = 0; j < TOKENS; j++)
            k_read[j * K_ROW + c] = nearest(k_table, ((double)k[j * K_ROW + c] - off) / range) * range + off;
    }
    for (int j = 0; j < TOKENS * HK; j++) {
        range_of(val + j * D, D, 1, &low, &high);
        for (int d = 0; d < D; d++) {
            const double range = (high - low) / 2, off = (high + low) / 2;
            v_read[j * D + d] = nearest(v_table, ((double)val[j * D + d] - off) / range) * range + off;
        }
    }
    quantised(TENON_KV_APPEND_LUT_CHANNEL, TENON_KV_APPEND_LUT_TOKEN, "KVQuant: tables, keys by channel");
}

static void systems(void)
{
    places();
    kivi();
    kvquant();
}

int main(void)
{
    return catalog_devices(systems);
}
