/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of the layer share. Faults that any operator can have are in faults.def. Those that only one operator
 * can have are a table of its own, struct faulty_op tenon__faulty_<op> in <op>_faults.c, found through ops.def. */
#ifndef CONFORM_FAULTY_H
#define CONFORM_FAULTY_H

#include <tenon/backend.h>
#include <tenon/ops.h>

#define FAULT(name, op, text, by) F_##name,
enum {
#include "faults.def"
    FAULTS
};
#undef FAULT

extern const struct tenon_host *tenon__faulty_host;
extern const struct tenon_backend *tenon__faulty_next;
extern int tenon__faulty_fault; /* of faults.def; FAULTS: none of them */

/* A plan of ours: the backend's, and what it was made of. `second`: NULL, or the plan of the rows from `cut` on. */
struct faulty_plan {
    struct tenon_plan *real, *second;
    int64_t cut;
    uint32_t op, n;
    struct tenon_tensor tensor[TENON_MAX_TENSORS];
    _Alignas(8) unsigned char params[256];
};

struct faulty_run {
    const struct faulty_plan *plan;
    const struct tenon_cmd *cmd;
};

/* A fault of one operator. It must be noticed by its cases at the quick level, in a report with the words `by`. */
struct faulty_fault {
    const char *name, *text, *by;
    uint32_t drop;                                       /* a tensor that is as if it were not given; 0: none */
    int restarts;                                        /* half of the rows are a tensor of their own */
    void (*spoil)(struct tenon_tensor *t, void *params); /* what the plan is made of */
    void (*before)(const struct faulty_run *run);        /* the memory before a run */
    void (*after)(const struct faulty_run *run);         /* and after it */
};

struct faulty_op {
    const struct faulty_fault *faults;
    uint32_t n;
};

#define TENON_OP(number, name) extern const struct faulty_op tenon__faulty_##name;
#include <tenon/ops.def>
#undef TENON_OP

/* spoil() of a fault that is one statement on params `p`. */
#define FAULTY_SPOIL(name, type, statement)                                                                            \
    static void name(struct tenon_tensor *t, void *params)                                                             \
    {                                                                                                                  \
        struct type *p = params;                                                                                       \
        (void)t;                                                                                                       \
        statement;                                                                                                     \
    }

/* after() of a fault that spoils row by row: what follows is the body of name_row(r). The file has its struct row, and an
 * each_row that fills one for each. */
#define FAULTY_EACH_ROW(name)                                                                                          \
    static void name##_row(const struct row *r);                                                                       \
    static void name(const struct faulty_run *run)                                                                     \
    {                                                                                                                  \
        each_row(run, name##_row);                                                                                     \
    }                                                                                                                  \
    static void name##_row(const struct row *r)

/* ---- the memory of a run; that of the backend is the process's own ---- */

/* Memory of tensor i; NULL when absent or empty. */
void *tenon__faulty_memory(const struct faulty_run *run, uint32_t i);
/* The first element of a row, of a tensor of 32-bit elements; NULL when absent, empty, of another size or smaller. */
void *tenon__faulty_row(const struct faulty_run *run, uint32_t i, int64_t row);
/* Of a tensor that has one 32-bit element a row, that of this row; NULL when absent. */
void *tenon__faulty_element(const struct faulty_run *run, uint32_t i, int64_t row);
/* The same tensor of floats, multiplied and added to in all of `rows`. */
void tenon__faulty_turn(const struct faulty_run *run, uint32_t i, int64_t rows, float factor, float more);
/* Two 32-bit elements. */
void tenon__faulty_swap(void *a, void *b);
/* The four counts of tensor i: each in the next one's place; and one of them 0. */
void tenon__faulty_flags_shift(const struct faulty_run *run, uint32_t i);
void tenon__faulty_flags_clear(const struct faulty_run *run, uint32_t i, int which);
/* Whether there are tensors i and j, and not in the same memory. */
int tenon__faulty_apart(const struct faulty_run *run, uint32_t i, uint32_t j);
int64_t tenon__faulty_columns(const struct tenon_tensor *t);
/* Of all axes but the last. */
int64_t tenon__faulty_rows(const struct tenon_tensor *t);
/* The element with which a row begins. */
int64_t tenon__faulty_at(const struct tenon_tensor *t, int64_t row);
/* The bits of an element. */
uint32_t tenon__faulty_peek(const struct tenon_tensor *t, const void *memory, int64_t element);
void tenon__faulty_poke(const struct tenon_tensor *t, void *memory, int64_t element, uint32_t bits);
/* The element of `input` that a kernel would read last holds what it wrote first, if both are the same memory. */
void tenon__faulty_in_place(const struct faulty_run *run, uint32_t input, uint32_t output);

/* Whether the fault is a queue whose work is done later than it says; then the table needs these. */
int tenon__faulty_is_late(void);
void tenon__faulty_late_table(struct tenon_backend *table);

/* seeds.def: whether the name is one of them, which is then the one to sow; and sowing it. */
int tenon__faulty_seed(const char *name);
void tenon__faulty_sow(void);

#endif
