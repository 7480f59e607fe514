/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax_topk on the CPU: the k best of what it was shown so far. Candidates are appended in the order of their
 * columns and cut to the k best now and then: whatever is not above the k-th of the last cut can be passed over, which
 * is nearly everything; before the first cut, what is below the k-th of the tile's peaks. Ties need
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
    int sorted;               /* already */
};

/* Ranking among so many takes no longer than a radix, and has no branch to mispredict. */
#define LIST_RANKED (VF >= 8 ? 128 : 48)

#define LIST_SLACK 16 /* a vector's reach beyond the entries */

static int64_t list_room(int64_t k)
{
    return 2 * k + 128;
}

static uint64_t list_bytes(int64_t k)
{
    return ((uint64_t)(list_room(k) + LIST_SLACK) * 4 * sizeof(int32_t) + 63) & ~UINT64_C(63);
}

/* Vectors read past n, and leave what they make of it unused. */
static void list_init(struct list *l, void *memory, int64_t k)
{
    l->room = list_room(k);
    l->key = memory;
    l->idx = l->key + l->room + LIST_SLACK;
    l->key2 = l->idx + l->room + LIST_SLACK;
    l->idx2 = l->key2 + l->room + LIST_SLACK;
    l->n = 0;
    l->k = k;
    l->floor = LIST_NONE;
    l->below = l->least = -INFINITY;
    l->bad = l->sorted = 0;
}

static void list_swap(struct list *l)
{
    int32_t *const key = l->key, *const idx = l->idx;
    l->key = l->key2;
    l->idx = l->idx2;
    l->key2 = key;
    l->idx2 = idx;
}

/* So many are ranked and moved at once: the number of entries is a little different in each row, and no branch should
 * depend on it. */
#define LIST_EACH 8
static inline int64_t list_padded(int64_t n)
{
    return (n + LIST_EACH - 1) & ~(int64_t)(LIST_EACH - 1);
}

/* rank[i]: how many come before entry i, n <= LIST_RANKED. An equal key of an earlier entry does: to entries after it a
 * key is compared with one less. What pads the entries comes after all of them. */
static void list_ranks(const struct list *l, int32_t *rank)
{
    static const int32_t one[2 * LIST_SLACK] = {[LIST_SLACK] = 1};
    const int n = (int)list_padded(l->n);
    for (int i = 0; i < LIST_EACH; i += VF < LIST_EACH ? VF : LIST_EACH)
        vi_store(l->key + l->n + i, vi_set1(INT32_MIN + 1)); /* one less is one too */
    for (int j = 0; j < n; j += VF) {
        const vi key = vi_load(l->key + j);
        const int end = n - j < VF ? n : j + VF;
        vi before = vi_zero(), bar = vi_sub(key, vi_set1(1));
        for (int i = 0; i < j; i++)
            before = vi_more(before, vi_gt(vi_set1(l->key[i]), bar));
        for (int i = j; i < end; i++) {
            bar = vi_add(bar, vi_load(one + LIST_SLACK - (i - j)));
            before = vi_more(before, vi_gt(vi_set1(l->key[i]), bar));
        }
        for (int i = end; i < n; i++)
            before = vi_more(before, vi_gt(vi_set1(l->key[i]), key));
        vi_store(rank + j, before);
    }
}

/* Leaves those of a rank below k. */
static void list_cut_ranked(struct list *l)
{
    int32_t rank[LIST_RANKED + LIST_SLACK];
    int64_t n = 0;
    list_ranks(l, rank);
    for (int64_t i = 0; i < l->n; i++) {
        const int32_t key = l->key[i], idx = l->idx[i];
        l->floor = rank[i] == l->k - 1 ? key : l->floor;
        l->key[n] = key;
        l->idx[n] = idx;
        n += rank[i] < l->k;
    }
    l->n = n;
}

static void list_cut(struct list *l)
{
    if (l->n <= l->k)
        return;
    if (l->n <= LIST_RANKED) {
        list_cut_ranked(l);
        l->below = l->floor == LIST_NAN ? -INFINITY : order_value(l->floor);
        return;
    }
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

/* One entry more. */
static inline void list_push(struct list *l, int32_t key, int32_t idx)
{
    if (key <= l->floor)
        return;
    l->key[l->n] = key;
    l->idx[l->n] = idx;
    if (++l->n == l->room)
        list_cut(l);
}

/* The candidates of the columns after those of `l`. */
static void list_merge(struct list *l, const struct list *next)
{
    l->bad |= next->bad;
    for (int64_t i = 0; i < next->n; i++)
        list_push(l, next->key[i], next->idx[i]);
}

/* Each goes where it belongs. */
static void list_sort_ranked(struct list *l)
{
    int32_t rank[LIST_RANKED + LIST_SLACK];
    list_ranks(l, rank);
    const int64_t n = list_padded(l->n);
    for (int64_t i = 0; i < n; i++) {
        l->key2[rank[i]] = l->key[i];
        l->idx2[rank[i]] = l->idx[i];
    }
    l->n = l->n < l->k ? l->n : l->k;
    list_swap(l);
}

/* Largest key first; equal ones stay in the order of their columns. */
static void list_sort(struct list *l)
{
    if (l->sorted)
        return;
    if (l->n > LIST_RANKED)
        list_cut(l);
    if (l->n <= LIST_RANKED) {
        list_sort_ranked(l);
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
