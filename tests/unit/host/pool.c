/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The parallel loop, settings, the log and the errors of threads. */
#include "../../../host/host.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../../tap.h"
#include "toys.h"

#define N 5000
static atomic_int count[N], nested;
static _Atomic(pthread_t) threads_seen[N];

static void touch(void *context, uint32_t i)
{
    (void)context;
    atomic_fetch_add(&count[i], 1);
    atomic_store(&threads_seen[i], pthread_self());
}

static void inner(void *context, uint32_t i)
{
    (void)i;
    if (!pthread_equal(*(pthread_t *)context, pthread_self()))
        atomic_fetch_add(&nested, 1000000); /* ran elsewhere */
    atomic_fetch_add(&nested, 1);
}

static void outer(void *context, uint32_t i)
{
    (void)context;
    (void)i;
    pthread_t self = pthread_self();
    tenon__parallel(NULL, 10, inner, &self);
}

static int each_once(uint32_t n)
{
    int good = 1;
    for (uint32_t i = 0; i < N; i++)
        good &= atomic_exchange(&count[i], 0) == (i < n);
    return good;
}

static void test_loop(void)
{
    static const uint32_t sizes[] = {0, 1, 2, 3, 1000, N};
    for (size_t k = 0; k < sizeof sizes / sizeof sizes[0]; k++) {
        tenon__parallel(NULL, sizes[k], touch, NULL);
        ok(each_once(sizes[k]), "a loop of %u: each once", sizes[k]);
    }
    tenon__parallel(NULL, 100, outer, NULL);
    is_int(atomic_load(&nested), 1000, "loops inside a loop run on its thread");
}

static int theirs;
static void their_loop(void *user, uint32_t n, void (*fn)(void *, uint32_t), void *context)
{
    theirs += *(int *)user;
    for (uint32_t i = n; i-- > 0;)
        fn(context, i);
}

static void test_theirs(void)
{
    int one = 1;
    tenon_parallel_set(their_loop, &one);
    tenon__parallel(NULL, 7, touch, NULL);
    ok(each_once(7) && theirs == 1, "the application's loop is used");
    tenon_parallel_set(NULL, NULL);
    tenon__parallel(NULL, 7, touch, NULL);
    ok(each_once(7) && theirs == 1, "and given back");
}

static void *many_loops(void *unused)
{
    (void)unused;
    for (int i = 0; i < 50; i++)
        tenon__parallel(NULL, 20, touch, NULL);
    return NULL;
}

static void test_threads(void)
{
    pthread_t t[4];
    for (int i = 0; i < 4; i++)
        pthread_create(&t[i], NULL, many_loops, NULL);
    for (int i = 0; i < 4; i++)
        pthread_join(t[i], NULL);
    int good = 1;
    for (int i = 0; i < 20; i++)
        good &= atomic_exchange(&count[i], 0) == 200;
    ok(good, "four threads run loops at once");
}

static void test_fork(void)
{
#ifdef __SANITIZE_THREAD__
    skip("the thread sanitizer does not follow a fork", "a forked child runs loops");
#else
    pid_t pid = fork();
    if (!pid) {
        alarm(20);
        tenon__parallel(NULL, 100, touch, NULL);
        _exit(each_once(100) ? 0 : 1);
    }
    int status = -1;
    waitpid(pid, &status, 0);
    is_int(status, 0, "a forked child runs loops");
#endif
}

static void *other_error(void *unused)
{
    (void)unused;
    ok(!tenon_error()[0], "a new thread has no error");
    tenon__fail(TENON_E_ARG, "mine");
    is_str(tenon_error(), "mine", "it has its own");
    return NULL;
}

static void test_errors(void)
{
    pthread_t t;
    tenon__fail(TENON_E_ARG, "main's");
    pthread_create(&t, NULL, other_error, NULL);
    pthread_join(t, NULL);
    is_str(tenon_error(), "main's", "errors belong to their thread");
    is_int(tenon__fail(-1000, "x"), TENON_E_INTERNAL, "an unknown status is INTERNAL");
    is_int(tenon__fail(3, "x"), TENON_E_INTERNAL, "a positive one too");
    tenon__error_clear();
    is_int(tenon__fail_from(TENON_E_LOST, "toy:1"), TENON_E_LOST, "a failure without a sentence");
    is_str(tenon_error(), "toy:1: the device was lost", "gets the status's");
}

static void test_settings(void)
{
    is_str(tenon__config("cpu", "isa"), "avx2", "TENON_CPU_ISA");
    is_str(tenon__config("my-gpu", "cache_dir"), "/own", "TENON_MY_GPU_CACHE_DIR: a dash is an underscore");
    is_str(tenon__config("cpu", "cache_dir"), "/x/tenon", "XDG_CACHE_HOME/tenon");
    is_str(tenon__config("cpu", "threads"), "3", "TENON_THREADS");
    is_str(tenon__config("cpu", "nosuch"), NULL, "what is not set");
    is_str(tenon__config("cpu", "empty"), NULL, "what is empty");
    is_int(tenon__threads(), 3, "three threads");
    setenv("TENON_CPU_ISA", "scalar", 1);
    is_str(tenon__config("cpu", "isa"), "avx2", "the environment is read once");
    char text[8];
    tenon__text_clean(text, sizeof text, "a\nb\x1b[31mlong", 100);
    is_str(text, "a?b?[31", "control characters and length of foreign strings");
    struct tenon__text t = TENON__TEXT(text);
    tenon__text_add(&t, "%s", "12345678901");
    is_str(text, "1234...", "a text that is too long shows it");
}

static char logged[256];
static int32_t logged_level;
static void log_here(void *user, int32_t level, const char *message)
{
    (void)user;
    logged_level = level;
    strncpy(logged, message, sizeof logged - 1);
}

static void test_log(void)
{
    tenon_log_set(log_here, NULL);
    tenon__log(TENON_LOG_WARN, "line\n%d", 5);
    is_str(logged, "line?5", "one line, without control characters");
    is_int(logged_level, TENON_LOG_WARN, "with its level");
    logged[0] = 0;
    tenon__log(TENON_LOG_DEBUG, "hidden");
    is_str(logged, "", "TENON_LOG=info hides debug lines");
    tenon_log_set(NULL, NULL);
}

int main(void)
{
    setenv("TENON_THREADS", "3", 1);
    setenv("TENON_CPU_ISA", "avx2", 1);
    setenv("TENON_CPU_EMPTY", "", 1);
    setenv("TENON_MY_GPU_CACHE_DIR", "/own", 1);
    unsetenv("TENON_CACHE_DIR");
    setenv("XDG_CACHE_HOME", "/x", 1);
    setenv("TENON_LOG", "info", 1);
    test_loop();
    test_theirs();
    test_threads();
    test_fork();
    test_errors();
    test_settings();
    test_log();
    return tap_done();
}
