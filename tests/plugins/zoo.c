/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A small good plugin, and with -DCASE_<name> one that misbehaves in one way; the list is zoo.def. ZOO_NAME is the id.
 */
#define _GNU_SOURCE
#include <fenv.h>
#include <locale.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include <tenon/backend.h>

#define STRING_(x) #x
#define STRING(x)  STRING_(x)
#define ID         STRING(ZOO_NAME)
#define MAYBE      __attribute__((unused)) /* used by some of the cases */

static const struct tenon_host *host;
static struct tenon_backend table;

MAYBE static void crash(void)
{
    volatile int *volatile nowhere = NULL;
    *nowhere = 1;
}

MAYBE static void flush_denormals(void)
{
#if defined(__x86_64__) || defined(__SSE__)
    __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | 0x8040);
#elif defined(__aarch64__)
    unsigned long fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    __asm__ volatile("msr fpcr, %0" : : "r"(fpcr | 1ul << 24));
#endif
}

/* `size` bytes that end where the next page may not be touched. */
MAYBE static char *at_page_end(size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    char *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (pages == MAP_FAILED || mprotect(pages + page, page, PROT_NONE))
        abort();
    return pages + page - size;
}

/* ---- constructors ---- */

#if defined(CASE_ctor_crash) || defined(CASE_ctor_hang) || defined(CASE_ctor_exit) || defined(CASE_ctor_ftz)
__attribute__((constructor)) static void constructor(void)
{
#if defined(CASE_ctor_crash)
    crash();
#elif defined(CASE_ctor_hang)
    for (;;)
        pause();
#elif defined(CASE_ctor_exit)
    _exit(7);
#else
    flush_denormals();
#endif
}
#endif

/* ---- discovery ---- */

static int32_t device_count(uint32_t *count)
{
    *count = 1;
#if defined(CASE_undefined_symbol)
    extern void zoo_no_such_function(void);
    zoo_no_such_function();
#elif defined(CASE_count_max)
    *count = UINT32_MAX;
#elif defined(CASE_count_65)
    *count = 65;
#elif defined(CASE_count_0)
    *count = 0;
#elif defined(CASE_count_nodevice)
    return host->fail(host, TENON_E_NODEVICE, "unplugged");
#elif defined(CASE_count_fails)
    return host->fail(host, TENON_E_IO, "bus error");
#elif defined(CASE_count_positive)
    return 5;
#elif defined(CASE_count_differs)
    static uint32_t calls;
    *count = calls++ ? 1 : 2;
#elif defined(CASE_uuid_twice)
    *count = 2;
#elif defined(CASE_table_changes)
    memset(&table, 0xee, sizeof table);
#endif
    return TENON_OK;
}

static int32_t device_info(uint32_t index, struct tenon_device_info *out)
{
    struct tenon_device_info info = {
        .struct_size = out->struct_size,
        .type = TENON_TYPE_ACCEL,
        .caps = TENON_CAP_SOFTWARE | TENON_CAP_SYNC,
        .mem_total = 1 << 20,
        .max_buffer = 1 << 20,
        .bind_align = 64,
        .max_queues = 1,
        .uuid = {1, (uint8_t)index},
        .name = "zoo",
    };
#if defined(CASE_info_fails)
    return host->fail(host, TENON_E_IO, "no answer");
#elif defined(CASE_info_past_end)
    memset(out + 1, 0, 8);
#elif defined(CASE_info_changes_size)
    info.struct_size = 64;
#elif defined(CASE_info_unterminated)
    memset(info.name, 'x', sizeof info.name);
#elif defined(CASE_info_control)
    strcpy(info.name, "bell\a, escape\033[31m, newline\n");
#elif defined(CASE_bind_align_0)
    info.bind_align = 0;
#elif defined(CASE_bind_align_3)
    info.bind_align = 3;
#elif defined(CASE_bind_align_huge)
    info.bind_align = 1u << 31;
#elif defined(CASE_import_align_3)
    info.import_align = 3;
#elif defined(CASE_import_align_0)
    info.caps |= TENON_CAP_IMPORT;
#elif defined(CASE_type_0)
    info.type = 0;
#elif defined(CASE_type_99)
    info.type = 99;
#elif defined(CASE_no_queues)
    info.max_queues = 0;
#elif defined(CASE_no_memory)
    info.max_buffer = 0;
#elif defined(CASE_caps_absurd)
    info.caps = UINT64_MAX;
    info.import_align = 64;
#elif defined(CASE_uuid_twice)
    info.uuid[1] = 0;
#endif
    *out = info;
    return TENON_OK;
}

static int32_t device_open(uint32_t index, const struct tenon_chain *next, struct tenon_device **device)
{
    (void)index, (void)next;
#if defined(CASE_open_null)
    *device = NULL;
    return TENON_OK;
#else
    (void)device;
    return host->fail(host, TENON_E_NODEVICE, "in use by somebody else");
#endif
}

/* ---- never called: no device opens ---- */

static int32_t refuse(void)
{
    return host->fail(host, TENON_E_INTERNAL, "a zoo animal has no objects");
}
static void device_close(struct tenon_device *device)
{
    (void)device;
}
static int32_t buffer_create(struct tenon_device *d, const struct tenon_buffer_desc *desc, struct tenon_buffer **buffer)
{
    (void)d, (void)desc, (void)buffer;
    return refuse();
}
static void buffer_destroy(struct tenon_buffer *buffer)
{
    (void)buffer;
}
static int32_t buffer_map(struct tenon_buffer *b, uint64_t offset, uint64_t size, uint32_t mode, void **pointer)
{
    (void)b, (void)offset, (void)size, (void)mode, (void)pointer;
    return refuse();
}
static int32_t buffer_unmap(struct tenon_buffer *buffer)
{
    (void)buffer;
    return refuse();
}
static int32_t plan_create(struct tenon_device *d, const struct tenon_op_desc *desc, struct tenon_plan **plan)
{
    (void)d, (void)desc, (void)plan;
    return refuse();
}
static int32_t plan_info(const struct tenon_plan *plan, struct tenon_plan_info *info)
{
    (void)plan, (void)info;
    return refuse();
}
static void plan_destroy(struct tenon_plan *plan)
{
    (void)plan;
}
static int32_t queue_create(struct tenon_device *d, uint32_t flags, struct tenon_queue **queue)
{
    (void)d, (void)flags, (void)queue;
    return refuse();
}
static void queue_destroy(struct tenon_queue *queue)
{
    (void)queue;
}
static int32_t enqueue(struct tenon_queue *q, const struct tenon_cmd *const *cmds, uint32_t n, uint64_t *seq)
{
    (void)q, (void)cmds, (void)n, (void)seq;
    return refuse();
}
static int32_t queue_wait(struct tenon_queue *queue, uint64_t seq, uint64_t timeout_ns)
{
    (void)queue, (void)seq, (void)timeout_ns;
    return refuse();
}

static struct tenon_backend table = {
    .struct_size = sizeof table,
    .id = ID,
    .version = "1",
    .device_count = device_count,
    .device_info = device_info,
    .device_open = device_open,
    .device_close = device_close,
    .buffer_create = buffer_create,
    .buffer_destroy = buffer_destroy,
    .buffer_map = buffer_map,
    .buffer_unmap = buffer_unmap,
    .plan_create = plan_create,
    .plan_info = plan_info,
    .plan_destroy = plan_destroy,
    .queue_create = queue_create,
    .queue_destroy = queue_destroy,
    .enqueue = enqueue,
    .queue_wait = queue_wait,
};

/* ---- the entry ---- */

MAYBE static void *sleeper(void *unused)
{
    for (;;)
        pause();
    return unused;
}

static void at_entry(void)
{
#if defined(CASE_entry_crash)
    crash();
#elif defined(CASE_entry_abort)
    abort();
#elif defined(CASE_entry_slow)
    nanosleep(&(struct timespec){2, 0}, NULL);
#elif defined(CASE_entry_ftz)
    flush_denormals();
#elif defined(CASE_entry_rounding)
    fesetround(FE_UPWARD);
#elif defined(CASE_signal_handler)
    signal(SIGSEGV, SIG_IGN);
#elif defined(CASE_setlocale)
    setlocale(LC_ALL, "C.UTF-8");
#elif defined(CASE_thread)
    pthread_t thread;
    pthread_create(&thread, NULL, sleeper, NULL);
#elif defined(CASE_prints)
    puts("look at me");
    fflush(stdout);
#elif defined(CASE_closes_stderr)
    close(2);
#endif
}

static const struct tenon_backend *change_table(void)
{
#if defined(CASE_entry_null)
    host->fail(host, TENON_E_NODEVICE, "no licence for this machine");
    return NULL;
#elif defined(CASE_entry_null_silent)
    return NULL;
#elif defined(CASE_fails_oddly)
    host->fail(host, 12345, "\033[2Jthe screen is gone\n");
    return NULL;
#elif defined(CASE_size_0)
    table.struct_size = 0;
#elif defined(CASE_size_24)
    table.struct_size = 24;
#elif defined(CASE_size_2gib)
    table.struct_size = 0x80000000u;
#elif defined(CASE_size_odd)
    table.struct_size++;
#elif defined(CASE_size_one_less)
    table.struct_size = offsetof(struct tenon_backend, plan_record) - sizeof(void *);
#elif defined(CASE_null_slot)
    table.ZOO_SLOT = NULL;
#elif defined(CASE_future_table)
    static struct {
        struct tenon_backend known;
        uint64_t future[20];
    } longer;
    longer.known = table;
    longer.known.struct_size = sizeof longer;
    memset(longer.future, 0xdb, sizeof longer.future);
    return &longer.known;
#elif defined(CASE_shortest_table)
    size_t size = offsetof(struct tenon_backend, plan_record);
    table.struct_size = (uint32_t)size;
    return (const struct tenon_backend *)(const void *)memcpy(at_page_end(size), &table, size);
#elif defined(CASE_null_id)
    table.id = NULL;
#elif defined(CASE_id_mismatch)
    table.id = "somebody";
#elif defined(CASE_id_unterminated)
    table.id = memset(at_page_end(64), 'a', 64);
#elif defined(CASE_id_control)
    table.id = "\033[31m";
#elif defined(CASE_null_version)
    table.version = NULL;
#elif defined(CASE_minor_max)
    table.abi_minor = UINT32_MAX;
#endif
    return &table;
}

MAYBE static const struct tenon_backend *entry(const struct tenon_host *given)
{
    host = given;
    at_entry();
    return change_table();
}

#if defined(CASE_no_symbol)
TENON_EXPORT const struct tenon_backend *zoo_entry(const struct tenon_host *given);
#define ENTRY zoo_entry
#elif defined(CASE_v2_only)
TENON_EXPORT const struct tenon_backend *tenon_backend_entry_v2(const struct tenon_host *given);
#define ENTRY tenon_backend_entry_v2
#elif !defined(CASE_data_symbol) && !defined(CASE_foreign_symbol)
#define ENTRY tenon_backend_entry_v1
#endif

#if defined(ENTRY)
const struct tenon_backend *ENTRY(const struct tenon_host *given)
{
    return entry(given);
}
#elif defined(CASE_data_symbol)
TENON_EXPORT extern const uint64_t data_entry __asm__("tenon_backend_entry_v1");
const uint64_t data_entry = 1;
#endif

#if defined(CASE_clash)
/* Names of libtenon. With RTLD_GLOBAL, or a host that is not linked to itself, these would be taken. */
TENON_EXPORT const char *tenon_error(void);
TENON_EXPORT const char *tenon_version(void);
const char *tenon_error(void)
{
    return "hijacked";
}
const char *tenon_version(void)
{
    return "hijacked";
}
#endif
