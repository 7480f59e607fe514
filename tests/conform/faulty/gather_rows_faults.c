/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What a gather_rows may do wrong. */
#include <string.h>
#include <tenon/ops/gather_rows.h>
#include "faulty.h"

/* One row of y after a run. */
struct row {
    const struct faulty_run *run;
    const struct tenon_tensor *table, *y;
    char *from, *to;
    const int32_t *idx;
    int64_t i, n, rows, width;
};

/* The row of y becomes row `index` of the table from column `col` on. */
static void put(const struct row *r, int64_t index, int64_t col)
{
    for (int64_t j = col; j < r->width; j++)
        tenon__faulty_poke(r->y, r->to, tenon__faulty_at(r->y, r->i) + j,
                           tenon__faulty_peek(r->table, r->from, tenon__faulty_at(r->table, index) + j));
}

static void each_row(const struct faulty_run *run, void (*spoil)(const struct row *row))
{
    struct row r = {.run = run, .table = &run->plan->tensor[TENON_GATHER_ROWS_TABLE],
                    .y = &run->plan->tensor[TENON_GATHER_ROWS_Y]};
    r.from = tenon__faulty_memory(run, TENON_GATHER_ROWS_TABLE);
    r.to = tenon__faulty_memory(run, TENON_GATHER_ROWS_Y);
    r.idx = tenon__faulty_memory(run, TENON_GATHER_ROWS_IDX);
    r.n = tenon__faulty_rows(r.y);
    r.rows = tenon__faulty_rows(r.table);
    r.width = tenon__faulty_columns(r.y);
    for (; r.from && r.to && r.idx && r.i < r.n; r.i++)
        spoil(&r);
}

#define EACH_ROW(name)                                                                                                 \
    static void name##_row(const struct row *r);                                                                       \
    static void name(const struct faulty_run *run)                                                                     \
    {                                                                                                                  \
        each_row(run, name##_row);                                                                                     \
    }                                                                                                                  \
    static void name##_row(const struct row *r)

EACH_ROW(none_first)
{
    if (r->idx[r->i] == -1)
        put(r, 0, 0);
}

EACH_ROW(none_left)
{
    if (r->idx[r->i] == -1)
        tenon__faulty_poke(r->y, r->to, tenon__faulty_at(r->y, r->i), 0xDEADBEEF);
}

EACH_ROW(beyond_last)
{
    if (r->idx[r->i] >= r->rows)
        put(r, r->rows - 1, 0);
}

EACH_ROW(negative_wraps)
{
    if (r->idx[r->i] < -1)
        put(r, (r->idx[r->i] % r->rows + r->rows) % r->rows, 0);
}

EACH_ROW(next_row)
{
    if (r->idx[r->i] == r->rows - 1 && r->rows > 1)
        put(r, 0, 0);
}

EACH_ROW(tail_of_first)
{
    if (r->width > 32 && r->idx[r->i] >= 0 && r->idx[r->i] < r->rows)
        put(r, 0, r->width / 32 * 32);
}

/* What a kernel that moves floats may do to a signalling NaN, and one that adds to a zero. */
EACH_ROW(nan_quiet)
{
    for (int64_t j = 0; r->y->dtype == TENON_F32 && j < r->width; j++) {
        const int64_t at = tenon__faulty_at(r->y, r->i) + j;
        const uint32_t bits = tenon__faulty_peek(r->y, r->to, at);
        if ((bits & 0x7fffffff) > 0x7f800000)
            tenon__faulty_poke(r->y, r->to, at, bits | 0x400000);
    }
}

EACH_ROW(zero_unsigned)
{
    for (int64_t j = 0; r->y->dtype == TENON_F32 && j < r->width; j++) {
        const int64_t at = tenon__faulty_at(r->y, r->i) + j;
        if (tenon__faulty_peek(r->y, r->to, at) == 0x80000000)
            tenon__faulty_poke(r->y, r->to, at, 0);
    }
}

static uint32_t *flags_of(const struct faulty_run *run)
{
    return tenon__faulty_memory(run, TENON_GATHER_ROWS_FLAGS);
}

EACH_ROW(none_counted)
{
    uint32_t *flags = flags_of(r->run);
    if (flags && r->idx[r->i] == -1)
        flags[3]++;
}

static void never_counted(const struct faulty_run *run)
{
    uint32_t *flags = flags_of(run);
    if (flags)
        flags[3] = 0;
}

static void three_flags(const struct faulty_run *run)
{
    uint32_t *flags = flags_of(run);
    if (flags)
        flags[0] = 0xDEADBEEF;
}

FAULTY_SPOIL(undivided, tenon_gather_rows_params, p->divisor = 1)

/* The table in one piece, whatever its stride. */
static void no_stride(struct tenon_tensor *t, void *params)
{
    struct tenon_tensor *table = &t[TENON_GATHER_ROWS_TABLE];
    (void)params;
    if (table->rank == 2)
        table->stride[0] = table->dim[1];
}

static const struct faulty_fault faults[] = {
    {"none_first", "-1 is row 0", "y[", .after = none_first},
    {"none_left", "a row for -1 is left as it was", "y[", .after = none_left},
    {"beyond_last", "numbers beyond the table are its last row", "y[", .after = beyond_last},
    {"negative_wraps", "numbers below -1 count from the end", "y[", .after = negative_wraps},
    {"next_row", "the last row is the first", "y[", .after = next_row},
    {"tail_of_first", "columns beyond a multiple of 32 are those of row 0", "y[", .after = tail_of_first},
    {"nan_quiet", "signalling NaNs become quiet", "has the bits", .after = nan_quiet},
    {"zero_unsigned", "-0 becomes 0", "has the bits", .after = zero_unsigned},
    {"none_counted", "-1 is counted as out of range", "flags[", .after = none_counted},
    {"never_counted", "nothing is counted", "flags[", .after = never_counted},
    {"three_flags", "flags that are 0 are not written", "flags[", .after = three_flags},
    {"undivided", "numbers are not divided", "y[", .spoil = undivided},
    {"no_stride", "the row stride of the table is ignored", "y[", .spoil = no_stride},
};

const struct faulty_op tenon__faulty_gather_rows = {faults, sizeof(faults) / sizeof(faults[0])};
