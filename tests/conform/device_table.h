/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Inside the device process: a backend's own table, as device_table.c and device_memory.c use it. */
#ifndef CONFORM_DEVICE_TABLE_H
#define CONFORM_DEVICE_TABLE_H

#include <tenon/tenon.h>
#include "device.h"

/* What one test makes; table_finish() destroys it. */
struct table_run {
    const struct tenon_backend *backend;
    struct tenon_device *device;
    struct tenon_buffer *buffer[TENON_MAX_TENSORS], *workspace;
    struct tenon_bind bind[TENON_MAX_TENSORS];
    struct tenon_plan *plan;
    struct tenon_queue *queue;
    struct tenon_plan_info info;
    uint64_t prefix[TENON_MAX_TENSORS], before; /* poisoned bytes before each tensor and before the workspace */
};

struct table_run table_begin(struct tenon_context *context);
void table_finish(struct table_run *run);
int32_t table_buffer(struct table_run *run, uint64_t size, struct tenon_buffer **buffer);
/* Through map. */
int32_t table_put(struct table_run *run, struct tenon_buffer *buffer, uint64_t offset, const void *data, uint64_t size);
int32_t table_get(struct table_run *run, struct tenon_buffer *buffer, uint64_t offset, void *data, uint64_t size);

#endif
