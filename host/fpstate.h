/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The floating-point control register (rounding, flush to zero) around foreign start-up code: an object linked with
 * -ffast-math switches denormals off in the thread that loads it. */
#ifndef TENON_FPSTATE_H
#define TENON_FPSTATE_H

#include <stdint.h>

struct fpstate {
    uint64_t word;
};

#if defined(__x86_64__) || defined(__SSE__)
#include <xmmintrin.h>
#define FPSTATE_MODE 0xffc0u /* rounding, FTZ, DAZ, masks; without the sticky exception flags */
static inline struct fpstate fpstate_get(void)
{
    return (struct fpstate){_mm_getcsr()};
}
/* Restores; nonzero when something had changed. */
static inline int fpstate_put(struct fpstate state)
{
    uint32_t now = _mm_getcsr();
    if (!((now ^ state.word) & FPSTATE_MODE))
        return 0;
    _mm_setcsr((uint32_t)state.word);
    return 1;
}
#elif defined(__aarch64__)
static inline struct fpstate fpstate_get(void)
{
    struct fpstate state;
    __asm__ volatile("mrs %0, fpcr" : "=r"(state.word));
    return state;
}
static inline int fpstate_put(struct fpstate state)
{
    if (fpstate_get().word == state.word)
        return 0;
    __asm__ volatile("msr fpcr, %0" : : "r"(state.word));
    return 1;
}
#else
#include <fenv.h>
static inline struct fpstate fpstate_get(void)
{
    return (struct fpstate){(uint64_t)fegetround()};
}
static inline int fpstate_put(struct fpstate state)
{
    if ((uint64_t)fegetround() == state.word)
        return 0;
    fesetround((int)state.word);
    return 1;
}
#endif

#endif
