/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The device process: a forked child that opens the device and does what the runner asks, so that a crash, a hang or an
 * exit of a backend is a test result. Messages of fixed size go through a socket pair, tensors through shared memory.
 *
 * Why fork without exec: the runner never opens a device and has one thread, so the child starts as clean as after an
 * exec, and it works the same under an emulator, a sanitizer or a wrapper script. */
#ifndef CONFORM_DEVICE_H
#define CONFORM_DEVICE_H

#include <sys/types.h>
#include <tenon/tenon.h>
#include "conform.h"

/* Where the tensors of a run are. */
enum {
    PLACE_HOST_END,   /* host memory that ends at a guard page: tenon_run imports or copies */
    PLACE_HOST_BEGIN, /* host memory that begins after a guard page */
    PLACE_DEVICE,     /* tenon_memory through tenon_run */
    PLACE_TABLE,      /* buffers through the backend's table, with a poisoned workspace */
    PLACE_COUNT
};

enum { ASK_OPEN = 1, ASK_RUN, ASK_SUPPORTS, ASK_MEMORY, ASK_QUIET };

struct device_slot {
    struct tenon_tensor tensor;
    uint64_t first;    /* arena offset of the first element */
    uint64_t before;   /* bytes of the storage before it */
    uint64_t size;     /* bytes of the storage from the first element on */
    uint64_t guard[2]; /* arena offsets of pages that must not be touched; 0: none */
    int32_t same_as, is_output;
};

struct device_ask {
    uint32_t kind, op, n, place;
    uint32_t test;                               /* ASK_MEMORY: which */
    uint32_t poison;                             /* PLACE_TABLE: what the workspace holds before */
    uint32_t desc_flags, desc_size, params_size; /* of a spoilt descriptor; 0: as usual */
    uint64_t used;                               /* bytes of the arena */
    _Alignas(uint64_t) unsigned char params[CONFORM_PARAMS];
    struct device_slot slot[TENON_MAX_TENSORS];
};

struct device_answer {
    int32_t status;
    int32_t broken; /* the text is about a breach of the suite's own checks (workspace overrun, prefix written) */
    uint64_t ns;
    char text[480], impl[64];
    /* ASK_OPEN */
    char spec[64], path[512], version[64], backend[64];
    struct tenon_device_info info;
};

/* One device as the runner sees it. */
struct device {
    const char *selector, *plugin, *isa; /* NULL: the default */
    int threads;                         /* TENON_THREADS of the child; 0: not set */
    double timeout;                      /* seconds for one answer */
    pid_t pid;
    int fd;
    unsigned char *arena;
    uint64_t arena_size;
    struct device *next_with_arena;
    struct device_answer opened;
    char name[96]; /* "cpu:0/avx2" */
};

/* Starts the child and opens the device. 0, or non-zero with opened.status and opened.text saying why. */
int device_start(struct device *device);
/* Closes the device and waits for the child to end. Non-zero when it did not end well (a crash, a hang, a sanitizer's
 * report): answer->text says how. */
int device_close(struct device *device, struct device_answer *answer);
/* The same and gives the arena back; says on standard error what went wrong. */
int device_stop(struct device *device);
/* Sends a case and waits for the answer. 0: answer is there. Else the child is gone (it is started again by the next
 * ask) and answer->text says how: "CRASH SIGSEGV", "EXIT 1", "TIMEOUT 60 s". */
int device_ask(struct device *device, const struct device_ask *ask, struct device_answer *answer);
/* Lays a case out in the arena, with guard pages for the host placements. Non-zero when it does not fit. */
int device_put(struct device *device, const struct conform_case *c, uint32_t place, struct device_ask *ask);
/* The storage after a run back into the case: outputs and inputs, so that both can be checked. */
void device_get(const struct device *device, const struct device_ask *ask, struct conform_case *c);

/* The child: answers until the socket closes. */
void device_child(const struct device *device, int fd);
int32_t device_child_run_table(struct tenon_context *context, const struct device_ask *ask, unsigned char *arena,
                               struct device_answer *answer);
#define DEVICE_MEMORY_TESTS 12
extern const char *const device_memory_names[DEVICE_MEMORY_TESTS];
int32_t device_child_memory(struct tenon_context *context, const struct device_ask *ask, struct device_answer *answer);

#endif
