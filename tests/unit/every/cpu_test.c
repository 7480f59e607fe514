/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * exp and log of the CPU backend for every float, on every ISA that this machine has; with an argument, of that
 * function alone. */
#include "every.h"

#include <stdlib.h>
#include <string.h>

#include "../../tap.h"
#include "../simd/simd_probe.h"

#define ISAS 5

/* Room of one thread: a block of scalar results, and of another ISA's. */
struct room {
    uint32_t scalar[2][EVERY_BLOCK], other[2][EVERY_BLOCK];
};

static struct run {
    enum every_function f;
    struct room *room[64];
    unsigned n;
    const struct probe *probe[ISAS];
    _Atomic uint64_t apart[ISAS]; /* results that are not the scalar ones */
    _Atomic uint32_t apart_at[ISAS];
} run;

static const struct probe_op *find(const struct probe *p, const char *name)
{
    const struct probe_op *op = p->ops;
    while (strcmp(op->name, name) != 0)
        op++;
    return op;
}

static void apply(const struct probe *p, const char *name, uint32_t block, uint32_t *out)
{
    const struct probe_op *op = find(p, name);
    uint32_t in[PROBE_LANES];
    for (uint32_t i = 0; i < EVERY_BLOCK; i += PROBE_LANES) {
        for (uint32_t l = 0; l < PROBE_LANES; l++)
            in[l] = block * EVERY_BLOCK + i + l;
        op->apply(in, in, in, out + i);
    }
}

static void compute(const struct probe *p, enum every_function f, uint32_t block, uint32_t (*out)[EVERY_BLOCK])
{
    apply(p, f == EVERY_EXP ? "vf_exp" : f == EVERY_LOG ? "vf_log" : "exp_m", block, out[0]);
    if (f == EVERY_PARTS)
        apply(p, "exp_n", block, out[1]);
}

static int is_nan(uint32_t bits)
{
    return (bits & 0x7fffffff) > 0x7f800000;
}

static void one_block(void *user, unsigned thread, uint32_t block, struct every_tally *tally)
{
    struct room *room = run.room[thread];
    (void)user;
    compute(run.probe[0], run.f, block, room->scalar);
    const size_t parts = run.f == EVERY_PARTS ? 2 : 1;
    every_judge(run.f, every_bound[run.f], block, room->scalar[0], parts > 1 ? room->scalar[1] : NULL, 1, tally);
    for (unsigned k = 1; k < run.n; k++) {
        compute(run.probe[k], run.f, block, room->other);
        if (memcmp(room->other, room->scalar, parts * sizeof room->scalar[0]) == 0)
            continue;
        for (uint32_t i = 0; i < EVERY_BLOCK; i++)
            for (size_t part = 0; part < parts; part++) {
                const uint32_t a = room->scalar[part][i], b = room->other[part][i];
                if (a == b || (is_nan(a) && is_nan(b)))
                    continue;
                run.apart[k]++;
                run.apart_at[k] = block * EVERY_BLOCK + i;
            }
    }
}

int main(int argc, char **argv)
{
    const unsigned threads = every_threads();
    while (run.n < ISAS && probe_at(run.n)) {
        run.probe[run.n] = probe_at(run.n);
        run.n++;
    }
    for (unsigned i = 0; i < threads; i++)
        if (!(run.room[i] = malloc(sizeof *run.room[i])))
            bail("out of memory");
    for (int f = 0; f < EVERY_FUNCTIONS; f++) {
        struct every_tally tally;
        if (argc > 1 && strcmp(argv[1], every_name[f]) != 0)
            continue;
        run.f = (enum every_function)f;
        for (unsigned k = 0; k < run.n; k++) {
            run.apart[k] = 0;
            run.apart_at[k] = 0;
        }
        every_block(run.f, threads, "cpu", one_block, NULL, &tally);
        every_report(run.f, every_bound[f], "scalar", &tally);
        ok(tally.hash == every_hash[f], "%s: the hash of all results is %016llx", every_name[f],
           (unsigned long long)tally.hash);
        for (unsigned k = 1; k < run.n; k++)
            is_int(run.apart[k], 0, "%s: %s has the scalar bits everywhere (else e.g. at %08x)", run.probe[k]->name,
                   every_name[f], (unsigned)run.apart_at[k]);
    }
    for (unsigned i = 0; i < threads; i++)
        free(run.room[i]);
    return tap_done();
}
