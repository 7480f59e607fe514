/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * "Did you mean": the closest of a few names. */
#include <string.h>

#include <tenon/ops.h>

#define WORD_MAX 63 /* longer words have no suggestion */

static unsigned lower(char c)
{
    return c >= 'A' && c <= 'Z' ? (unsigned)(c - 'A' + 'a') : (unsigned char)c;
}

static unsigned min3(unsigned a, unsigned b, unsigned c)
{
    unsigned m = a < b ? a : b;
    return m < c ? m : c;
}

/* Edit distance in which swapping two neighbours counts once (the commonest slip on a keyboard), case ignored. */
static unsigned distance(const char *a, size_t n, const char *b, size_t m)
{
    unsigned row[3][WORD_MAX + 1];
    for (size_t j = 0; j <= m; j++)
        row[0][j] = (unsigned)j;
    for (size_t i = 1; i <= n; i++) {
        unsigned *now = row[i % 3], *last = row[(i - 1) % 3], *before = row[(i + 1) % 3];
        now[0] = (unsigned)i;
        for (size_t j = 1; j <= m; j++) {
            unsigned differ = lower(a[i - 1]) != lower(b[j - 1]);
            now[j] = min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + differ);
            if (i > 1 && j > 1 && lower(a[i - 1]) == lower(b[j - 2]) && lower(a[i - 2]) == lower(b[j - 1]) &&
                before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
    }
    return row[n % 3][m];
}

const char *tenon_closest(const char *word, const char *const *names, uint32_t n)
{
    size_t length = word ? strlen(word) : 0;
    if (!length || length > WORD_MAX)
        return NULL;
    const char *best = NULL;
    unsigned best_distance = (unsigned)(length / 3) + 1;
    for (uint32_t i = 0; i < n; i++) {
        size_t other = names[i] ? strlen(names[i]) : 0;
        if (!other || other > WORD_MAX)
            continue;
        unsigned d = distance(word, length, names[i], other);
        if (d < best_distance) {
            best_distance = d;
            best = names[i];
        }
    }
    return best;
}
