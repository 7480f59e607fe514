/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax_topk on the CPU: the k best of what it was shown so far. Candidates are appended in the order of their
 * columns and cut to the k best when there is no more room: whatever is not above the k-th of the last cut can be
 * passed over, which is nearly everything; before the first cut, what is below the k-th of the tile's peaks. Ties need
 * no look at indices: the later one loses. */
#ifndef TENON_SOFTMAX_TOPK_CPU_LIST_H
#define TENON_SOFTMAX_TOPK_CPU_LIST_H

#include "lib/select.h"

/* Keys are those of lib/order.h, but a NaN has that of -Inf: after all entries above -Inf, which is itself no
 * candidate. */
#define LIST_NAN  ORDER_MINUS_INF
#define LIST_NONE (ORDER_MINUS_INF - 1)

struct list {
    int32_t *key, *idx;       /* ascending idx */
    int32_t *key2, *idx2;     /* as much again, to work in */
    int64_t n, k, room;
    int32_t floor;            /* candidates have a larger key */
    float below;              /* so a number up to here is none */
    float least;              /* nor is one below this: k others are not */
    int bad;                  /* a NaN or +Inf was seen */
};

/* Bytes of the arrays, and how they lie. */
static uint64_t list_bytes(int64_t k)
{
    return ((uint64_t)(2 * k + 64) * 4 * sizeof(int32_t) + 63) & ~UINT64_C(63);
}

static void list_init(struct list *l, void *memory, int64_t k)
{
    l->room = 2 * k + 64;
    l->key = memory;
    l->idx = l->key + l->room;
    l->key2 = l->idx + l->room;
    l->idx2 = l->key2 + l->room;
    l->n = 0;
    l->k = k;
    l->floor = LIST_NONE;
    l->below = l->least = -INFINITY;
    l->bad = 0;
}

static void list_cut(struct list *l)
{
    if (l->n <= l->k)
        return;
    memcpy(l->key2, l->key, (size_t)l->n * sizeof *l->key);
    struct select_cut cut = select_keys(l->key2, l->n, l->k);
    int64_t n = 0;
    for (int64_t i = 0; i < l->n; i++) {
        const int32_t key = l->key[i], idx = l->idx[i];
        const int equal = key == cut.key && cut.equal > 0;
        l->key[n] = key;
        l->idx[n] = idx;
        n += key > cut.key || equal;
        cut.equal -= equal;
    }
    l->n = n;
    l->floor = cut.key;
    l->below = cut.key == LIST_NAN ? -INFINITY : order_value(cut.key);
}

static inline void list_push(struct list *l, int32_t key, int32_t idx)
{
    if (key <= l->floor)
        return;
    l->key[l->n] = key;
    l->idx[l->n] = idx;
    if (++l->n == l->room)
        list_cut(l);
}

/* Lane i of v is column c + i; `there`: those that are not up to l->below. */
static void list_take(struct list *l, const float *v, uint32_t there, int32_t c)
{
    for (; there; there &= there - 1) {
        const int i = __builtin_ctz(there);
        const int nan = v[i] != v[i];
        l->bad |= nan || v[i] == INFINITY;
        list_push(l, nan ? LIST_NAN : order_key(v[i]), c + i);
    }
}

/* The candidates of the columns after those of `l`. */
static void list_merge(struct list *l, const struct list *next)
{
    l->bad |= next->bad;
    for (int64_t i = 0; i < next->n; i++)
        list_push(l, next->key[i], next->idx[i]);
}

static void list_swap(struct list *l)
{
    int32_t *const key = l->key, *const idx = l->idx;
    l->key = l->key2;
    l->idx = l->idx2;
    l->key2 = key;
    l->idx2 = idx;
}

/* Sorts a few: each goes where it belongs among the others. No branch depends on the keys. */
static void list_rank(struct list *l)
{
    for (int64_t i = 0; i < l->n; i++) {
        int64_t rank = 0;
        for (int64_t j = 0; j < l->n; j++)
            rank += (l->key[j] > l->key[i]) | ((l->key[j] == l->key[i]) & (j < i));
        l->key2[rank] = l->key[i];
        l->idx2[rank] = l->idx[i];
    }
    l->n = l->n < l->k ? l->n : l->k;
    list_swap(l);
}

/* Largest key first; equal ones stay in the order of their columns. */
static void list_sort(struct list *l)
{
    if (l->n > 48)
        list_cut(l);
    if (l->n <= 24) {
        list_rank(l);
        return;
    }
    if (l->n <= 48) {
        for (int64_t i = 1; i < l->n; i++) {
            const int32_t key = l->key[i], idx = l->idx[i];
            int64_t j = i;
            for (; j > 0 && l->key[j - 1] < key; j--) {
                l->key[j] = l->key[j - 1];
                l->idx[j] = l->idx[j - 1];
            }
            l->key[j] = key;
            l->idx[j] = idx;
        }
        l->n = l->n < l->k ? l->n : l->k;
        return;
    }
    for (int shift = 0; shift < 32; shift += 8) { /* four rounds: key and idx are where they were */
        int64_t at[256] = {0}, sum = 0;
        for (int64_t i = 0; i < l->n; i++)
            at[~((uint32_t)l->key[i] ^ 0x80000000u) >> shift & 255]++;
        for (int digit = 0; digit < 256; digit++) {
            const int64_t n = at[digit];
            at[digit] = sum;
            sum += n;
        }
        for (int64_t i = 0; i < l->n; i++) {
            const int64_t to = at[~((uint32_t)l->key[i] ^ 0x80000000u) >> shift & 255]++;
            l->key2[to] = l->key[i];
            l->idx2[to] = l->idx[i];
        }
        list_swap(l);
    }
}

#endif
