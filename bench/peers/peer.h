/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Peers: another library's kernels behind the plugin ABI, so that `tenon bench --peer NAME` measures both on the same
 * path. A peer takes what its library has an equal of and is never found by a search for devices. peer.c: memory,
 * queues and commands, the same for all of them; <library>.c: what an operator becomes there. */
#ifndef BENCH_PEERS_PEER_H
#define BENCH_PEERS_PEER_H

#include <tenon/backend.h>
#include <tenon/ops.h>

struct tenon_plan {
    uint32_t n_tensors;
    uint64_t bytes[TENON_MAX_TENSORS]; /* of the tensors that are used, else 0 */
    uint64_t scratch;
    char impl[64];
    void *own; /* the library's */
};

/* A checked operator on its way to a plan. */
struct peer_request {
    void *device; /* what the library's device_open made */
    const struct tenon_op_contract *contract;
    struct tenon_tensor tensor[TENON_MAX_TENSORS];
    uint64_t params[64];
    struct tenon_plan *plan; /* zeroed but for n_tensors */
    struct tenon_why *why;
};

struct peer {
    const char *id, *name;
    uint64_t extra; /* bytes behind a tensor that the library may read; such a peer imports no memory */
    void (*driver)(char *text, size_t room); /* its name and version */
    /* 0, or a status with a sentence in `why`. *own is the library's; NULL functions: it needs nothing there. */
    int32_t (*device_open)(void **own, struct tenon_why *why);
    void (*device_close)(void *own);
    int32_t (*queue_open)(void *device, void **own, struct tenon_why *why);
    void (*queue_close)(void *own);
    /* UNSUPPORTED and the like with a sentence, or a plan with bytes, scratch, impl and own. */
    int32_t (*plan)(struct peer_request *request);
    void (*plan_close)(struct tenon_plan *plan);
    /* The tensors by the operator's numbers. Non-zero: the library failed. */
    int (*run)(const struct tenon_plan *plan, void *device, void *queue, unsigned char *const *tensor,
               unsigned char *scratch);
};
/* Each library's file gives one. */
extern const struct peer tenon__peer;
extern const struct tenon_host *tenon__peer_host;

/* UNSUPPORTED: "<name> peer: <what>". */
int32_t tenon__peer_no(struct peer_request *request, const char *what);

/* softmax of x to y with no other tensor and no option but its kind: what other libraries have. */
struct peer_softmax {
    uint32_t kind;
    int64_t rows, cols, x_stride, y_stride;
};
int32_t tenon__peer_softmax(struct peer_request *request, struct peer_softmax *softmax);

#endif
