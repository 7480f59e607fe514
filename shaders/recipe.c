/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "recipe.h"

uint32_t tenon__gpu_dtype(uint32_t dtype)
{
    switch (dtype) {
    case TENON_F32: return 1;
    case TENON_F16: return 2;
    case TENON_BF16: return 3;
    case TENON_I8: return 4;
    case TENON_U8: return 5;
    default: return 0;
    }
}

int tenon__gpu_rows(const struct tenon_tensor *tensor, int32_t slot, struct gpu_rows *rows)
{
    *rows = (struct gpu_rows){.slot = GPU_SLOT_NONE, .size = 4};
    if (tensor->dtype == TENON_ABSENT)
        return 1;
    *rows = (struct gpu_rows){.slot = slot, .dtype = tensor->dtype, .size = TENON_DTYPE_SIZE(tensor->dtype),
                              .rows = 1, .cols = 1};
    if (tensor->rank == 0)
        return 1;
    uint32_t last = tensor->rank - 1;
    rows->cols = (uint64_t)tensor->dim[last];
    for (uint32_t i = 0; i < last; i++)
        rows->rows *= (uint64_t)tensor->dim[i];
    if (rows->rows == 0)
        return 1;
    /* From the innermost leading axis outwards: each must continue where the inner ones end. */
    uint64_t inner = 1;
    for (uint32_t i = last; i-- > 0;) {
        uint64_t dim = (uint64_t)tensor->dim[i], stride = (uint64_t)tensor->stride[i];
        if (dim == 1)
            continue;
        if (inner == 1)
            rows->stride = stride;
        else if (stride != rows->stride * inner)
            return 0;
        inner *= dim;
    }
    return 1;
}

int tenon__gpu_list(const struct tenon_tensor *tensor, int32_t slot, struct gpu_rows *list)
{
    struct gpu_rows rows;
    if (!tenon__gpu_rows(tensor, slot, &rows))
        return 0;
    *list = rows;
    list->rows = 1;
    list->cols = rows.rows * rows.cols;
    list->stride = 0;
    return rows.rows <= 1 || rows.stride == rows.cols;
}

uint64_t tenon__gpu_rows_fit(const struct gpu_rows *rows, uint64_t most)
{
    if (rows->slot == GPU_SLOT_NONE || rows->stride == 0)
        return most;
    uint64_t room = GPU_SPAN / rows->size;
    if (room <= rows->cols)
        return 1;
    uint64_t fit = (room - rows->cols) / rows->stride + 1;
    return fit < most ? fit : most;
}

static uint64_t byte_offset(const struct gpu_rows *rows, uint64_t row, uint64_t col)
{
    return rows->first + (row * rows->stride + col) * rows->size;
}

void tenon__gpu_bind(struct gpu_launch *launch, const struct gpu_rows *rows, uint64_t row, uint64_t col)
{
    gpu_launch_buffer(launch, rows->slot, rows->slot == GPU_SLOT_NONE ? 0 : byte_offset(rows, row, col) & ~UINT64_C(3));
}

uint32_t tenon__gpu_shift(const struct gpu_rows *rows, uint64_t row, uint64_t col)
{
    return rows->slot == GPU_SLOT_NONE ? 0 : (uint32_t)(byte_offset(rows, row, col) & 3) / rows->size;
}

uint64_t tenon__gpu_grid(const struct gpu_limits *limits, uint64_t n, uint32_t groups[3])
{
    uint64_t x = n < limits->groups_max[0] ? n : limits->groups_max[0];
    uint64_t y = n / x < limits->groups_max[1] ? n / x : limits->groups_max[1];
    groups[0] = (uint32_t)x;
    groups[1] = (uint32_t)y;
    groups[2] = 1;
    return x * y;
}

/* Of row_sum; TN_SUM_WORDS of lib/spread.h. */
enum { SUM_SPAN = 65536, SUM_BYTES = 40, JOIN_LOCAL = 64 };

static uint64_t pieces_of(uint64_t cols)
{
    return (cols + SUM_SPAN - 1) / SUM_SPAN;
}

uint64_t tenon__gpu_row_sums_bytes(uint64_t rows, uint64_t cols)
{
    return rows * pieces_of(cols) * SUM_BYTES;
}

int tenon__gpu_row_sums(struct gpu_recipe *recipe, const struct gpu_limits *limits, const struct gpu_row_sums *job)
{
    const uint64_t pieces = pieces_of(job->cols);
    struct gpu_launch *launch = gpu_recipe_add(recipe, "row_sum", job->local);
    if (launch == NULL)
        return 0;
    (void)tenon__gpu_grid(limits, job->rows * pieces, launch->groups);
    gpu_launch_buffer(launch, job->slot, job->first);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, job->sums);
    gpu_launch_u32(launch, (uint32_t)job->cols);
    gpu_launch_u32(launch, (uint32_t)job->stride);
    gpu_launch_u32(launch, SUM_SPAN);
    gpu_launch_u32(launch, (uint32_t)pieces);
    gpu_launch_u32(launch, tenon__gpu_dtype(job->dtype));
    gpu_launch_u32(launch, job->shift);
    launch = gpu_recipe_add(recipe, "row_sum_join", JOIN_LOCAL);
    if (launch == NULL)
        return 0;
    /* Invocations that are too many do nothing, so a grid may have more than enough. */
    const uint64_t groups = (job->rows + JOIN_LOCAL - 1) / JOIN_LOCAL, most = limits->groups_max[0];
    launch->groups[0] = (uint32_t)(groups < most ? groups : most);
    launch->groups[1] = (uint32_t)((groups + launch->groups[0] - 1) / launch->groups[0]);
    launch->groups[2] = 1;
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, job->sums);
    gpu_launch_buffer(launch, GPU_SLOT_SCRATCH, job->result);
    gpu_launch_u32(launch, (uint32_t)job->rows);
    gpu_launch_u32(launch, (uint32_t)pieces);
    gpu_launch_u32(launch, job->result_stride);
    gpu_launch_u32(launch, job->result_at);
    return 1;
}
