/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The oneDNN peer: that library's own kernels behind the plugin ABI, so that `tenon bench --peer onednn` measures both
 * on the same path. It takes what oneDNN has an equal of and is never found by a search for devices. onednn_plugin.c:
 * memory and queues; onednn_ops.c: which primitive an operator becomes. */
#ifndef BENCH_PEERS_ONEDNN_H
#define BENCH_PEERS_ONEDNN_H

#include <oneapi/dnnl/dnnl.h>
#include <tenon/backend.h>
#include <tenon/ops.h>

#define PEER_MAX_ARGS 4

struct tenon_plan {
    dnnl_primitive_t primitive;
    uint32_t n_args, n_tensors;
    struct {
        uint32_t tensor; /* index in the operator's list */
        int name;        /* DNNL_ARG_... */
        dnnl_memory_desc_t shape;
    } arg[PEER_MAX_ARGS];
    uint64_t bytes[TENON_MAX_TENSORS];
    dnnl_memory_desc_t scratch_shape;
    uint64_t scratch;
    char impl[64];
};

/* Fills a zeroed plan, or UNSUPPORTED and the like with a sentence. */
int32_t tenon__onednn_plan(dnnl_engine_t engine, const struct tenon_op_desc *desc, struct tenon_plan *plan,
                           struct tenon_why *why);

#endif
