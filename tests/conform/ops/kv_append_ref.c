/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * kv_append as tenon/ops/kv_append.h has it: rows one after the other, each into the place it has. What is exact is
 * made of single operations in f32. What no row goes to is as it was: the case's poison. */
#include <math.h>
#include <stdlib.h>
#include "kv_append_suite.h"

struct side {
    const struct conform_case *c;
    struct conform_want *want;
    uint32_t from, to, channel, table, quant, mode, bits;
    int64_t heads, cols, group;
};

static struct side side_of(const struct conform_case *c, struct conform_want *want, int values)
{
    const struct tenon_kv_append_params *p = KV_PARAMS(c);
    struct side s = {.c = c, .want = want};
    s.from = values ? TENON_KV_APPEND_V_NEW : TENON_KV_APPEND_K_NEW;
    s.to = values ? TENON_KV_APPEND_V : TENON_KV_APPEND_K;
    s.channel = values ? TENON_KV_APPEND_V_CHANNEL : TENON_KV_APPEND_K_CHANNEL;
    s.table = values ? TENON_KV_APPEND_V_TABLE : TENON_KV_APPEND_K_TABLE;
    s.quant = values ? TENON_KV_APPEND_V_QUANT : TENON_KV_APPEND_K_QUANT;
    s.mode = values ? p->quant_v : p->quant_k;
    s.bits = values ? p->v_bits : p->k_bits;
    s.heads = c->slot[s.from].tensor.dim[2];
    s.cols = c->slot[s.from].tensor.dim[3];
    s.group = values ? p->v_group : p->k_group;
    if (s.group == 0)
        s.group = s.cols;
    return s;
}

static float made_finite(double x)
{
    if (!isfinite(x) || fabs(x) < 0x1p-60)
        return 0;
    return (float)fmin(fmax(x, -0x1p60), 0x1p60);
}

static int code_of(const struct side *s, float y)
{
    const double most = ldexp(1, (int)s->bits) - 1;
    int low = 0, high = (int)most;
    if (s->mode == TENON_KV_APPEND_AFFINE_TOKEN || s->mode == TENON_KV_APPEND_AFFINE_CHANNEL)
        return (int)fmin(fmax(nearbyint((double)y), 0), most);
    while (low < high) { /* the answer is within [low, high] */
        const int middle = (low + high) / 2;
        const float a = made_finite(kv_element(s->c, s->table, middle));
        const float b = made_finite(kv_element(s->c, s->table, middle + 1));
        const float half = (a + b) / 2;
        if (y > half)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

static void put_code(const struct side *s, int64_t goal, int64_t col, int code)
{
    const int64_t each = 8 / s->bits, at = goal * (s->cols / each) + col / each;
    struct conform_want *want = &s->want[s->to];
    if (col % each == 0)
        want->want[at] = 0;
    want->want[at] += ldexp((double)code, (int)(col % each * s->bits));
    want->bound[at] = 0;
}

/* Row `goal` of the cache becomes row `source` of the new ones. Both count heads. */
static void put_token(const struct side *s, int64_t source, int64_t goal)
{
    struct conform_want *quant = &s->want[s->quant];
    const float levels = (float)(ldexp(1, (int)s->bits) - 1);
    const int lut = s->mode == TENON_KV_APPEND_LUT_TOKEN;
    for (int64_t g = 0; g < s->cols / s->group; g++) {
        float least = 0, top = 0, first, second, low, factor = 0;
        for (int64_t i = 0; i < s->group; i++) {
            const float x = made_finite(kv_element(s->c, s->from, source * s->cols + g * s->group + i));
            least = i == 0 || x < least ? x : least;
            top = i == 0 || x > top ? x : top;
        }
        const float range = top - least, sum = top + least;
        const int flat = range < 0x1p-90f;
        if (lut) {
            first = flat ? 0 : range / 2;
            second = low = sum / 2;
            factor = flat ? 0 : 1 / first;
        } else {
            first = flat ? 1 : range / levels;
            factor = flat ? 0 : levels / range;
            const float product = flat ? least : least * factor;
            second = product == 0 ? 0 : -product;
            low = least;
        }
        for (int k = 0; k < 2; k++) {
            const int64_t at = (goal * (s->cols / s->group) + g) * 2 + k;
            quant->want[at] = k ? (double)second : (double)first;
            quant->bound[at] = 0;
        }
        for (int64_t i = 0; i < s->group; i++) {
            const int64_t col = g * s->group + i;
            const float apart = made_finite(kv_element(s->c, s->from, source * s->cols + col)) - low;
            put_code(s, goal, col, code_of(s, apart * factor));
        }
    }
}

static void put_channels(const struct side *s, int64_t h, int64_t source, int64_t goal)
{
    for (int64_t col = 0; col < s->cols; col++) {
        const double first = kv_element(s->c, s->channel, (h * s->cols + col) * 2);
        const double second = kv_element(s->c, s->channel, (h * s->cols + col) * 2 + 1);
        const float x = made_finite(kv_element(s->c, s->from, source * s->cols + col));
        const int usable = fabs(first) >= 0x1p-40 && fabs(first) <= 0x1p40 && fabs(second) <= 0x1p60;
        float y = 0;
        if (usable) {
            const float inverse = 1 / (float)first;
            if (s->mode == TENON_KV_APPEND_LUT_CHANNEL) {
                y = x - (float)second;
                y = y * inverse;
            } else {
                y = x * inverse;
                y = y + (float)second;
            }
        }
        put_code(s, goal, col, code_of(s, y));
    }
}

static void put_plain(const struct side *s, int64_t source, int64_t goal)
{
    const uint32_t type = s->c->slot[s->to].tensor.dtype;
    struct conform_want *want = &s->want[s->to];
    for (int64_t col = 0; col < s->cols; col++) {
        const double x = kv_element(s->c, s->from, source * s->cols + col);
        want->want[goal * s->cols + col] = x;
        want->bound[goal * s->cols + col] =
            type == s->c->slot[s->from].tensor.dtype || !isfinite(x) ? 0 : 0.5 * conform_ulp(type, x);
    }
}

/* Rows with what is not finite. */
static int put_rows(const struct side *s, int64_t row, const int64_t *goal)
{
    int odd_rows = 0;
    for (int64_t h = 0; h < s->heads && s->cols; h++) {
        const int64_t source = row * s->heads + h;
        int odd = 0;
        for (int64_t col = 0; col < s->cols && s->mode; col++)
            odd |= !isfinite(kv_element(s->c, s->from, source * s->cols + col));
        odd_rows += odd;
        if (s->mode == TENON_KV_APPEND_NONE)
            put_plain(s, source, goal[h]);
        else if (s->mode == TENON_KV_APPEND_AFFINE_TOKEN || s->mode == TENON_KV_APPEND_LUT_TOKEN)
            put_token(s, source, goal[h]);
        else
            put_channels(s, h, source, goal[h]);
    }
    return odd_rows;
}

/* The slot of a position, or -1; the place of each head in the cache as rows of heads. */
static int64_t slot_of(const struct conform_case *c, int64_t b, int64_t p, int64_t *goal)
{
    const struct tenon_kv_append_params *params = KV_PARAMS(c);
    const struct tenon_tensor *k = &c->slot[TENON_KV_APPEND_K].tensor;
    const int64_t slots = kv_slots(c), page = kv_page(c), heads = c->slot[TENON_KV_APPEND_K_NEW].tensor.dim[2];
    if (p < 0 || p > INT32_MAX)
        return -1;
    int64_t slot = p;
    while (params->ring && slot >= slots && slots > params->n_sink) /* by whole turns first */
        slot -= (slot - slots) / (slots - params->n_sink) * (slots - params->n_sink) + (slots - params->n_sink);
    if (slot >= slots)
        return -1;
    for (int64_t h = 0; h < heads; h++) {
        if (!page) {
            goal[h] = (b * slots + slot) * heads + h;
            continue;
        }
        const int64_t number = (int64_t)kv_element(c, TENON_KV_APPEND_PAGE_TABLE, b * (slots / page) + slot / page);
        if (number < 0 || number >= k->dim[0])
            return -1;
        goal[h] = (number * heads + h) * page + slot % page;
    }
    return slot;
}

static int64_t absent(const struct conform_case *c, int64_t b, int64_t slot)
{
    const int64_t page = kv_page(c);
    if (!page)
        return 0;
    const double number = kv_element(c, TENON_KV_APPEND_PAGE_TABLE, b * (kv_slots(c) / page) + slot / page);
    return number < 0 || number >= (double)c->slot[TENON_KV_APPEND_K].tensor.dim[0];
}

static void expect_sequence(const struct conform_case *c, struct conform_want *want, int64_t b, int64_t *owner,
                            int64_t *goal)
{
    const struct tenon_tensor *x = &c->slot[TENON_KV_APPEND_K_NEW].tensor;
    const int64_t tokens = x->dim[1], slots = kv_slots(c);
    struct conform_want *flags = &want[TENON_KV_APPEND_FLAGS], *kpos = &want[TENON_KV_APPEND_KPOS];
    const struct side side[2] = {side_of(c, want, 0), side_of(c, want, 1)};
    const int64_t pos = (int64_t)kv_element(c, TENON_KV_APPEND_POS, b);
    int64_t n = c->slot[TENON_KV_APPEND_N_NEW].tensor.dtype ? (int64_t)kv_element(c, TENON_KV_APPEND_N_NEW, b) : tokens;
    const int clamped = n < 0 || n > tokens;
    int64_t lost = 0, odd = 0;
    n = n < 0 ? 0 : n > tokens ? tokens : n;
    for (int64_t slot = 0; slot < slots; slot++)
        owner[slot] = -1;
    for (int64_t t = 0; t < n; t++) {
        const int64_t slot = slot_of(c, b, pos + t, goal);
        if (slot >= 0)
            owner[slot] = t;
    }
    for (int64_t t = 0; t < n; t++) {
        const int64_t slot = slot_of(c, b, pos + t, goal);
        /* without heads there are pages all the same */
        const int none = slot < 0 || absent(c, b, slot);
        if (none) {
            lost++;
            continue;
        }
        if (owner[slot] != t)
            continue;
        for (int k = 0; k < 2; k++)
            odd += put_rows(&side[k], b * tokens + t, goal);
        if (kpos->want) {
            kpos->want[b * slots + slot] = (double)(pos + t);
            kpos->bound[b * slots + slot] = 0;
        }
    }
    if (want[TENON_KV_APPEND_KV_LEN].want)
        want[TENON_KV_APPEND_KV_LEN].want[b] = fmin(fmax((double)(pos + n), 0), INT32_MAX);
    if (flags->want) {
        flags->want[0] += (double)odd;
        flags->want[3] += (double)(lost + clamped);
    }
}

void tenon__conform_kv_append_expect(const struct conform_case *c, struct conform_want *want)
{
    static const uint32_t partly[] = {TENON_KV_APPEND_K, TENON_KV_APPEND_V, TENON_KV_APPEND_K_QUANT,
                                      TENON_KV_APPEND_V_QUANT, TENON_KV_APPEND_KPOS};
    const struct tenon_tensor *x = &c->slot[TENON_KV_APPEND_K_NEW].tensor;
    int64_t *owner = malloc(((size_t)kv_slots(c) + 1) * sizeof *owner);
    int64_t *goal = malloc(((size_t)x->dim[2] + 1) * sizeof *goal);
    for (uint32_t i = TENON_KV_APPEND_K; i < TENON_KV_APPEND_N_TENSORS; i++)
        want[i].exact = 1;
    for (size_t i = 0; i < sizeof partly / sizeof partly[0]; i++)
        for (int64_t e = 0; e < want[partly[i]].count; e++)
            want[partly[i]].want[e] = kv_element(c, partly[i], e);
    for (int64_t b = 0; owner && goal && b < x->dim[0]; b++)
        expect_sequence(c, want, b, owner, goal);
    free(owner);
    free(goal);
}
