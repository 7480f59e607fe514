/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * What the files of the layer share. */
#ifndef CONFORM_FAULTY_H
#define CONFORM_FAULTY_H

#include <tenon/backend.h>

struct tenon_linear_params;
struct tenon_softmax_params;

#define FAULT(name, op, text, by) F_##name,
enum {
#include "faults.def"
    FAULTS
};
#undef FAULT

extern const struct tenon_host *tenon__faulty_host;
extern const struct tenon_backend *tenon__faulty_next;
extern int tenon__faulty_fault;

/* Faults of what a plan is made of. */
void tenon__faulty_softmax(struct tenon_tensor *t, struct tenon_softmax_params *p);
void tenon__faulty_linear(struct tenon_tensor *t, struct tenon_linear_params *p);

/* Whether the fault is a queue whose work is done later than it says; then the table needs these. */
int tenon__faulty_is_late(void);
void tenon__faulty_late_table(struct tenon_backend *table);

/* seeds.def: whether the name is one of them, which is then the one to sow; and sowing it. */
int tenon__faulty_seed(const char *name);
void tenon__faulty_sow(void);

#endif
