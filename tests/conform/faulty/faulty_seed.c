/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The mistakes of seeds.def. Everything is volatile, or a compiler sees that nothing comes of it. */
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "faulty.h"

#define SEED(name, by, text) S_##name,
enum {
#include "seeds.def"
    SEEDS
};
#undef SEED
#define SEED(name, by, text) #name,
static const char *const seed_names[] = {
#include "seeds.def"
};
#undef SEED

static int seed = SEEDS;
static volatile int raced;

int tenon__faulty_seed(const char *name)
{
    for (seed = 0; seed < SEEDS && (!name || strcmp(name, seed_names[seed])); seed++)
        ;
    return seed < SEEDS;
}

static void *race(void *nothing)
{
    for (int i = 0; i < 1000; i++)
        raced++;
    return nothing;
}

void tenon__faulty_sow(void)
{
    volatile char *volatile block = NULL;
    volatile int sum = INT_MAX;
    pthread_t thread;
    switch (seed) {
    case S_seed_leak:
        block = malloc(77);
        block = NULL;
        break;
    case S_seed_overrun:
        block = malloc(77);
        sum = block[77];
        free((void *)block);
        break;
    case S_seed_overflow:
        sum = sum + 1;
        break;
    case S_seed_race:
        if (!pthread_create(&thread, NULL, race, NULL)) {
            race(NULL);
            pthread_join(thread, NULL);
        }
        break;
    default:
        break;
    }
    (void)block;
}
