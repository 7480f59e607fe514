/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The roofs that a row of `tenon bench` is measured against: how fast this machine copies or reads memory and how many
 * multiply-adds it does, on the same number of threads and in the same process. */
#ifndef BENCH_ROOF_H
#define BENCH_ROOF_H

#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) || defined(_M_X64)
#define ROOF_X86 1
#elif defined(__aarch64__)
#define ROOF_NEON 1
#endif

#define ROOF_STREAMS 8
#define ROOF_AHEAD   1024 /* bytes that a stream is asked for ahead of their use */

/* One instruction set: roof_<isa>.c. */
struct roof_isa {
    const char *name;
    double flops; /* of one iteration of fma */
    int (*usable)(void);
    /* Independent chains of f32 multiply-adds, all in registers; returns a sum so that nothing is optimised away. */
    float (*fma)(uint64_t iterations);
    /* Copies with stores that go around the cache; both pointers and the size are multiples of 64. */
    void (*stream)(void *to, const void *from, size_t size);
    /* Reads ROOF_STREAMS * size bytes, side by side from ROOF_STREAMS places that are `size` apart, as products read
     * the rows of a matrix: a single stream does not fill what a core may have under way. Addresses and size are
     * multiples of 64. Returns something made of all the bytes. */
    uint64_t (*read)(const void *from, size_t size);
};
#ifdef ROOF_X86
extern const struct roof_isa tenon__roof_avx512, tenon__roof_avx2;
#endif
#ifdef ROOF_NEON
extern const struct roof_isa tenon__roof_neon;
#endif
extern const struct roof_isa tenon__roof_scalar;

struct roof; /* threads and buffers */

/* NULL when out of memory. */
struct roof *tenon__roof_create(uint32_t threads);
void tenon__roof_destroy(struct roof *roof);
const char *tenon__roof_isa(const struct roof *roof);

/* f32 operations a second, measured now. */
double tenon__roof_flops(struct roof *roof);

/* Sets the footprint of what follows: `bytes` in all, half of it read and half written, as a kernel that moves that many
 * bytes would; with `only_read`, all of it read. 0 or -1 when out of memory. */
int tenon__roof_footprint(struct roof *roof, double bytes, int only_read);
/* Bytes a second, read plus written, measured now. *how names the fastest way: "memcpy", "stream" or "read". */
double tenon__roof_bytes(struct roof *roof, const char **how);

double tenon__now(void); /* seconds, monotonic */

#endif
