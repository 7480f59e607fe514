/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Extension "tenon.kernels/1" of a backend: what the driver's compiler says of each kernel. `tenon kernels` prints
 * it. */
#ifndef TENON_KERNELS_H
#define TENON_KERNELS_H

#include <tenon/backend.h>

#ifdef __cplusplus
extern "C" {
#endif

#define TENON_KERNELS_ID "tenon.kernels/1"

struct tenon_kernels {
    uint32_t struct_size;
    /* [device] Calls `line` with one JSON object, without newline, for each kernel that a plan of this device has used
     * so far, once for each set of specialisation constants:
     *     {"kernel":"softmax_row","specs":[256,1],"executable":"...","subgroup":64,"statistics":{"VGPRs":24,...}}
     * Members are strings, numbers and arrays; "statistics" has the driver's own names and may be empty. `line` must
     * not call the backend. */
    int32_t (*report)(struct tenon_device *device, void (*line)(void *user, const char *json), void *user);
};

#ifdef __cplusplus
}
#endif
#endif
