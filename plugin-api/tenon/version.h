/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#ifndef TENON_VERSION_H
#define TENON_VERSION_H

/* The major lives in the entry symbol (tenon_backend_entry_v1); the minor is information and gates
 * behaviour, never layout (layout is decided by struct_size alone). See plugin-api/SPEC.md, R1 and R2. */
#define TENON_ABI_MAJOR 1u
#define TENON_ABI_MINOR 0u
#define TENON_ENTRY_SYMBOL "tenon_backend_entry_v1"

#endif
