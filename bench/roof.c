/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "roof.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define SAMPLE_S 0.004 /* one measurement takes about this long */
#define PIECE    ((size_t)ROOF_STREAMS * 64)
#define BLOCK    (PIECE << 10) /* streams far apart meet in the same sets of the caches */

struct task {
    struct roof *roof;
    uint32_t index;
};

struct roof {
    const struct roof_isa *isa;
    uint32_t threads;
    pthread_t *thread; /* of tasks 1 .. threads-1; the caller is task 0 */
    struct task *task;
    pthread_mutex_t lock; /* of the next three */
    pthread_cond_t change;
    uint64_t generation; /* of work: each thread does every one once */
    uint32_t busy;
    void (*work)(struct roof *roof, uint32_t index); /* NULL: leave */
    uint64_t iterations, repeats;
    char *from, *to;
    size_t half; /* bytes in each of them */
    int streaming, only_read;
    volatile float sink;
    volatile uint64_t sum;
};

double tenon__now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static const struct roof_isa *choose(void)
{
    static const struct roof_isa *const all[] = {
#ifdef ROOF_X86
        &tenon__roof_avx512, &tenon__roof_avx2,
#endif
#ifdef ROOF_NEON
        &tenon__roof_neon,
#endif
        &tenon__roof_scalar};
    size_t i = 0;
    while (!all[i]->usable())
        i++;
    return all[i];
}

static void *thread_main(void *argument)
{
    struct task *task = argument;
    struct roof *roof = task->roof;
    for (uint64_t done = 0;; done++) {
        pthread_mutex_lock(&roof->lock);
        while (roof->generation == done)
            pthread_cond_wait(&roof->change, &roof->lock);
        void (*work)(struct roof *, uint32_t) = roof->work;
        pthread_mutex_unlock(&roof->lock);
        if (!work)
            return NULL;
        work(roof, task->index);
        pthread_mutex_lock(&roof->lock);
        if (--roof->busy == 0)
            pthread_cond_broadcast(&roof->change);
        pthread_mutex_unlock(&roof->lock);
    }
}

static void start_work(struct roof *roof, void (*work)(struct roof *, uint32_t))
{
    pthread_mutex_lock(&roof->lock);
    roof->work = work;
    roof->busy = roof->threads - 1;
    roof->generation++;
    pthread_cond_broadcast(&roof->change);
    pthread_mutex_unlock(&roof->lock);
}

/* Seconds that `work` takes on all threads. */
static double run_all(struct roof *roof, void (*work)(struct roof *, uint32_t))
{
    double start = tenon__now();
    start_work(roof, work);
    work(roof, 0);
    pthread_mutex_lock(&roof->lock);
    while (roof->busy)
        pthread_cond_wait(&roof->change, &roof->lock);
    pthread_mutex_unlock(&roof->lock);
    return tenon__now() - start;
}

struct roof *tenon__roof_create(uint32_t threads)
{
    struct roof *roof = calloc(1, sizeof *roof);
    if (!roof)
        return NULL;
    roof->isa = choose();
    roof->thread = calloc(threads, sizeof roof->thread[0]);
    roof->task = calloc(threads, sizeof roof->task[0]);
    if (!roof->thread || !roof->task)
        goto free_roof;
    if (pthread_mutex_init(&roof->lock, NULL))
        goto free_roof;
    if (pthread_cond_init(&roof->change, NULL))
        goto destroy_lock;
    for (roof->threads = 1; roof->threads < threads; roof->threads++) {
        uint32_t i = roof->threads;
        roof->task[i] = (struct task){roof, i};
        if (pthread_create(&roof->thread[i], NULL, thread_main, &roof->task[i])) {
            tenon__roof_destroy(roof);
            return NULL;
        }
    }
    return roof;
destroy_lock:
    pthread_mutex_destroy(&roof->lock);
free_roof:
    free(roof->thread);
    free(roof->task);
    free(roof);
    return NULL;
}

void tenon__roof_destroy(struct roof *roof)
{
    if (!roof)
        return;
    start_work(roof, NULL);
    for (uint32_t i = 1; i < roof->threads; i++)
        pthread_join(roof->thread[i], NULL);
    pthread_cond_destroy(&roof->change);
    pthread_mutex_destroy(&roof->lock);
    free(roof->from);
    free(roof->to);
    free(roof->thread);
    free(roof->task);
    free(roof);
}

const char *tenon__roof_isa(const struct roof *roof)
{
    return roof->isa->name;
}

/* ---- multiply-adds ---- */

static void fma_work(struct roof *roof, uint32_t index)
{
    float sum = roof->isa->fma(roof->iterations);
    if (index == 0)
        roof->sink = sum;
}

double tenon__roof_flops(struct roof *roof)
{
    if (!roof->iterations) {
        double seconds;
        for (roof->iterations = 10000; (seconds = run_all(roof, fma_work)) < SAMPLE_S / 4; roof->iterations *= 2)
            continue;
        roof->iterations = (uint64_t)((double)roof->iterations * (SAMPLE_S / seconds)) + 1;
    }
    double seconds = run_all(roof, fma_work);
    return (double)roof->iterations * roof->isa->flops * roof->threads / seconds;
}

/* ---- copies and reads ---- */

/* The slice of both buffers that is thread `index`'s. */
static size_t slice(const struct roof *roof, uint32_t index, size_t *begin)
{
    size_t pieces = roof->half / PIECE;
    *begin = pieces * index / roof->threads * PIECE;
    return pieces * (index + 1) / roof->threads * PIECE - *begin;
}

static void copy_work(struct roof *roof, uint32_t index)
{
    size_t begin, size = slice(roof, index, &begin);
    for (uint64_t i = 0; i < roof->repeats; i++) {
        if (roof->streaming)
            roof->isa->stream(roof->to + begin, roof->from + begin, size);
        else
            memcpy(roof->to + begin, roof->from + begin, size);
    }
}

static void read_work(struct roof *roof, uint32_t index)
{
    size_t begin, size = slice(roof, index, &begin);
    uint64_t sum = 0;
    for (uint64_t i = 0; i < roof->repeats; i++)
        for (size_t at = 0; at < size; at += BLOCK)
            sum += roof->isa->read(roof->from + begin + at, (size - at < BLOCK ? size - at : BLOCK) / ROOF_STREAMS);
    if (index == 0)
        roof->sum = sum;
}

static void touch_work(struct roof *roof, uint32_t index)
{
    size_t begin, size = slice(roof, index, &begin);
    memset(roof->from + begin, 1, size);
    if (!roof->only_read)
        memset(roof->to + begin, 2, size);
}

/* On huge pages where the system has them, as the CPU backend's buffers are: a reader of small pages waits for the
 * tables of pages. */
static void *memory(size_t size)
{
    void *block = NULL;
    const size_t page = (size_t)2 << 20;
    if (posix_memalign(&block, size < page ? 4096 : page, size))
        return NULL;
#ifdef MADV_HUGEPAGE
    if (size >= page)
        madvise(block, size / page * page, MADV_HUGEPAGE);
#endif
    return block;
}

int tenon__roof_footprint(struct roof *roof, double bytes, int only_read)
{
    size_t half = ((size_t)(only_read ? bytes : bytes / 2) + PIECE - 1) / PIECE * PIECE;
    if (half < PIECE * (size_t)roof->threads)
        half = PIECE * (size_t)roof->threads;
    free(roof->from);
    free(roof->to);
    roof->from = roof->to = NULL;
    roof->from = memory(half);
    roof->to = only_read ? NULL : memory(half);
    if (!roof->from || (!only_read && !roof->to))
        return -1;
    roof->half = half;
    roof->only_read = only_read;
    roof->repeats = 1;
    roof->streaming = 0;
    run_all(roof, touch_work);
    double seconds = run_all(roof, only_read ? read_work : copy_work);
    roof->repeats = seconds < SAMPLE_S ? (uint64_t)(SAMPLE_S / seconds) + 1 : 1;
    return 0;
}

double tenon__roof_bytes(struct roof *roof, const char **how)
{
    double best = 0, bytes = (double)roof->half * (double)roof->repeats;
    if (roof->only_read) {
        *how = "read";
        return bytes / run_all(roof, read_work);
    }
    for (roof->streaming = 0; roof->streaming < 2; roof->streaming++) {
        double rate = 2 * bytes / run_all(roof, copy_work);
        if (rate > best) {
            best = rate;
            *how = roof->streaming ? "stream" : "memcpy";
        }
    }
    return best;
}
