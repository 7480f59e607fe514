/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Results below 2^-126 become 0 while this is on, for recurrences: what decays would stay there forever, where every
 * operation is a hundred times slower. What is loaded is not touched. */
#ifndef TENON_LIB_FLUSH_H
#define TENON_LIB_FLUSH_H

#include <stdint.h>

#if defined(__SSE__)
#include <xmmintrin.h>
#endif

/* Returns what flush_end() restores. Both are calls, so that no arithmetic moves across them. */
static __attribute__((noinline, unused)) uint64_t flush_begin(void)
{
#if defined(__SSE__)
    const uint32_t mode = _mm_getcsr();
    _mm_setcsr(mode | _MM_FLUSH_ZERO_ON);
    return mode;
#elif defined(__aarch64__)
    uint64_t mode;
    __asm__ volatile("mrs %0, fpcr" : "=r"(mode));
    __asm__ volatile("msr fpcr, %0" : : "r"(mode | UINT64_C(1) << 24));
    return mode;
#else
    return 0;
#endif
}

static __attribute__((noinline, unused)) void flush_end(uint64_t mode)
{
#if defined(__SSE__)
    _mm_setcsr((uint32_t)mode);
#elif defined(__aarch64__)
    __asm__ volatile("msr fpcr, %0" : : "r"(mode));
#else
    (void)mode;
#endif
}

#endif
