/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * softmax: what each algorithm moves, for the benchmarks. */
#include <string.h>
#include "softmax_suite.h"

/* As tenon/ops/softmax.h states it; online_reload is the CPU backend's own. */
static const struct {
    const char *word;
    uint32_t reads, writes;
} algos[] = {
    {"three_pass_recompute", 3, 1}, {"three_pass_reload", 3, 2}, {"two_pass_ext", 2, 1},
    {"online", 2, 1},               {"online_reload", 2, 2},     {"fixed_max", 2, 1},
};

int tenon__softmax_suite_passes(const char *impl, uint32_t *reads, uint32_t *writes)
{
    for (const char *word = impl; *word; word += strspn(word, " ,")) {
        const size_t length = strcspn(word, " ,");
        for (size_t i = 0; i < sizeof algos / sizeof algos[0]; i++)
            if (strlen(algos[i].word) == length && !strncmp(algos[i].word, word, length)) {
                *reads = algos[i].reads;
                *writes = algos[i].writes;
                return 1;
            }
        word += length;
    }
    return 0;
}
