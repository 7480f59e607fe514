/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The parallel loop of the backends: the application's, else a pool of our own that is made when it is first needed. */
#include "host.h"

#include <pthread.h>

#ifdef TENON_HAVE_PTHREADPOOL
#include <pthreadpool.h>
#endif

/* The pool synchronises with futexes of its own, which the thread sanitizer does not see: it is told. */
#if defined(__SANITIZE_THREAD__)
#define TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define TSAN 1
#endif
#endif
#ifdef TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#define SEES(address)  __tsan_acquire(address)
#define SHOWS(address) __tsan_release(address)
#else
#define SEES(address)  ((void)(address))
#define SHOWS(address) ((void)(address))
#endif

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static tenon_parallel_fn theirs;
static void *theirs_user;

/* Set while a thread runs a loop's body: a nested loop runs there, so that it can neither deadlock nor oversubscribe.
 */
static _Thread_local int inside;

void tenon_parallel_set(tenon_parallel_fn parallel, void *user)
{
    pthread_mutex_lock(&lock);
    theirs = parallel;
    theirs_user = user;
    pthread_mutex_unlock(&lock);
}

struct loop {
    void (*fn)(void *, uint32_t);
    void *context;
};

static void serial(const struct loop *loop, uint32_t n)
{
    int outer = inside;
    inside = 1;
    for (uint32_t i = 0; i < n; i++)
        loop->fn(loop->context, i);
    inside = outer;
}

static void body(void *context, uint32_t i)
{
    const struct loop *loop = context;
    int outer = inside;
    inside = 1;
    loop->fn(loop->context, i);
    inside = outer;
}

#ifdef TENON_HAVE_PTHREADPOOL
static pthreadpool_t pool;
static int pool_tried;

static void body_pool(void *context, size_t i)
{
    SEES(context);
    body(context, (uint32_t)i);
    SHOWS(context);
}

/* The child of a fork has none of the pool's threads: it forgets the pool and makes its own when needed. */
static void forget_pool(void)
{
    pool = NULL;
    pool_tried = 0;
    pthread_mutex_init(&lock, NULL);
}

static pthreadpool_t get_pool(void)
{
    pthread_mutex_lock(&lock);
    if (!pool_tried) {
        static int watched;
        if (!watched)
            watched = !pthread_atfork(NULL, NULL, forget_pool);
        pool_tried = 1;
        pool = pthreadpool_create(tenon__threads());
        if (!pool)
            tenon__log(TENON_LOG_WARN, "no thread pool: loops run on one thread");
    }
    pthreadpool_t now = pool;
    pthread_mutex_unlock(&lock);
    return now;
}
#endif

void tenon__parallel(const struct tenon_host *host, uint32_t n, void (*fn)(void *, uint32_t), void *context)
{
    (void)host;
    struct loop loop = {fn, context};
    if (n <= 1 || inside) {
        serial(&loop, n);
        return;
    }
    pthread_mutex_lock(&lock);
    tenon_parallel_fn other = theirs;
    void *user = theirs_user;
    pthread_mutex_unlock(&lock);
    if (other) {
        other(user, n, body, &loop);
        return;
    }
#ifdef TENON_HAVE_PTHREADPOOL
    if (tenon__threads() > 1) {
        pthreadpool_t mine = get_pool();
        if (mine) {
            /* Workers that wait for the next loop by spinning keep the others from the processors they need. */
            uint32_t flags = tenon__threads() > tenon__processors() ? PTHREADPOOL_FLAG_YIELD_WORKERS : 0;
            SHOWS(&loop);
            pthreadpool_parallelize_1d(mine, body_pool, &loop, n, flags);
            SEES(&loop);
            return;
        }
    }
#endif
    serial(&loop, n);
}
