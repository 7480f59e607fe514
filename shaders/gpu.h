/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Between the launch recipes (shaders/<op>_gpu.c), which are plain C and know no API, and the GPU backends (opencl,
 * vulkan), which know no operator. A recipe turns a checked descriptor and the device's limits into a list of launches;
 * a backend runs the list in order, each launch seeing what the earlier ones wrote. */
#ifndef TENON_GPU_H
#define TENON_GPU_H

#include <tenon/backend.h>
#include <tenon/ops.h>

/* ---- kernels ---- */

/* One kernel = one file shaders/<name>.k. Its argument list is written once, in shaders/<name>.args.h:
 *     #define GPU_KERNEL softmax_row
 *     #define GPU_ARGS(BUF, U32, I32, F32) BUF(x) BUF(y) U32(rows) U32(cols) F32(scale)
 * from which the kernel (both dialects), the host struct and the signature are made. At most 128 bytes with 8 a BUF. */
#define GPU_ARGS_MAX 128
#define GPU_SPEC_MAX 16

struct gpu_kernel {
    const char *name;
    const char *signature;     /* one letter an argument: b(uffer) u(32) i(32) f(32) */
    const char *opencl;        /* source, includes expanded, comments stripped */
    size_t opencl_size;
    /* SPIR-V words by variant, NULL where there is none: bit 0 = 8 and 16-bit storage, bit 1 = SignedZeroInfNanPreserve
     * 32, bit 2 = 64-bit integers */
    const uint32_t *spirv[8];
    size_t spirv_size[8]; /* bytes */
};
/* All kernels, sorted by name; NULL past the end. The table is generated at build time from shaders/ *.k. */
const struct gpu_kernel *gpu_kernel_at(uint32_t i);
const struct gpu_kernel *gpu_kernel_find(const char *name);

/* ---- what a recipe may rely on ---- */

struct gpu_limits {
    uint32_t wg_max;          /* invocations a work-group, >= 64 */
    uint32_t shared_max;      /* bytes of shared memory a work-group, >= 16384 */
    uint32_t groups_max[3];   /* work-groups an axis */
    uint32_t subgroup;        /* 0: unknown. A work-group of 8 or less must fit in one (Vulkan has no barrier there) */
    uint32_t compute_units;   /* 0: unknown */
    uint32_t loop_max;        /* 0: none. llvmpipe leaves all loops, without a word, after so many iterations of any of them */
    uint64_t buffer_max;      /* bytes a single buffer may have */
    uint32_t software;        /* runs on the CPU: prefer few barriers and long loops per invocation */
    uint32_t vector;          /* elements that an invocation takes at once where that is many (TN_VW of prelude.h), else 0 */
    uint32_t storage16;       /* 8 and 16-bit loads and stores are there; else the kernels unpack from 32-bit words */
};

/* ---- launches ---- */

enum { GPU_SLOT_NONE = -1, GPU_SLOT_SCRATCH = 1000 }; /* else a tensor index */

struct gpu_arg {
    int32_t slot;    /* for a BUF: which tensor, GPU_SLOT_SCRATCH or GPU_SLOT_NONE (null) */
    uint32_t word;   /* for a scalar: its 32 bits */
    uint64_t offset; /* for a BUF: bytes from the start of the tensor or of the scratch; a multiple of 4
                        (kernels get the remainder of 8 and 16-bit tensors as scalars) */
};
struct gpu_launch {
    const struct gpu_kernel *kernel;
    uint32_t local;               /* work-group size along x (kernels are one-dimensional inside) */
    uint32_t groups[3];
    uint32_t n_specs, n_args;
    uint32_t spec[GPU_SPEC_MAX];  /* specialisation constants by id; spec 0 is always `local` */
    struct gpu_arg arg[32];
};
struct gpu_recipe {
    const struct tenon_host *host;  /* for alloc and fail */
    uint32_t n, room;
    struct gpu_launch *launch;      /* host->alloc */
    uint64_t scratch;               /* bytes; the plan's workspace */
    char impl[64];
};
/* A zeroed launch at the end of the recipe, or NULL (NOMEM was reported). */
struct gpu_launch *gpu_recipe_add(struct gpu_recipe *recipe, const char *kernel, uint32_t local);
/* Appends the next argument; the order and the kinds are checked against the kernel's signature. */
void gpu_launch_buffer(struct gpu_launch *launch, int32_t slot, uint64_t offset);
void gpu_launch_u32(struct gpu_launch *launch, uint32_t value);
void gpu_launch_f32(struct gpu_launch *launch, float value);
void gpu_launch_spec(struct gpu_launch *launch, uint32_t value);
/* OK when every launch has exactly its kernel's arguments and fits the limits; INTERNAL with the kernel's name else. */
int32_t gpu_recipe_check(const struct gpu_recipe *recipe, const struct gpu_limits *limits);
void gpu_recipe_finish(struct gpu_recipe *recipe);

/* ---- recipes ---- */

struct gpu_op {
    uint32_t op;
    /* params: full layout. On failure the recipe holds nothing. UNSUPPORTED for what cannot run here. */
    int32_t (*recipe)(const void *params, const struct tenon_tensor *tensors, const struct gpu_limits *limits,
                      struct gpu_recipe *recipe);
};
/* `const struct gpu_op tenon__softmax_gpu` in shaders/softmax_gpu.c; collected with ops.def. */
const struct gpu_op *gpu_op_find(uint32_t op);

/* ---- caches on disk (program binaries, pipeline caches) ----
 * One file a key under the host's config "cache_dir" (made 0700; none: no cache). A file that is not
 * ours alone (owner, mode, symlink, size, checksum, key inside) is ignored and replaced; a read-only or full disk only
 * costs the cache. Written to a temporary name and renamed. */
/* Returns 1 and host->alloc'ed data, or 0. */
int gpu_cache_load(const struct tenon_host *host, const char *kind, const void *key, size_t key_size, void **data,
                   size_t *size);
void gpu_cache_store(const struct tenon_host *host, const char *kind, const void *key, size_t key_size,
                     const void *data, size_t size);

#endif
