/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Inside libtenon: what its files share. The public names keep default visibility, everything else is hidden. */
#ifndef TENON_HOST_INTERNAL_H
#define TENON_HOST_INTERNAL_H

#ifdef HAVE_CONFIG_H
#include <config.h>
#endif
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#pragma GCC visibility push(default)
#include <tenon/tenon.h>
#pragma GCC visibility pop

#ifndef PACKAGE_VERSION
#define PACKAGE_VERSION "0.1.0"
#endif
#ifndef TENON_PKGLIBDIR
#define TENON_PKGLIBDIR "/usr/local/lib/tenon"
#endif

#define TENON__MAX_PLUGINS 64
#define TENON__PLUGIN_ROOM (TENON__MAX_PLUGINS + 1) /* one more, refused, to say that there are too many */
#define TENON__MAX_DEVICES 64                       /* a plugin */
#define TENON__MAX_LAYERS  8
#define TENON__ID_MAX      63
#define TENON__PATH_MAX    4096
#define TENON__PARAMS_MAX  256 /* bytes of the largest params struct */

/* ---- text.c: a bounded string that is cut, never overrun ---- */

struct tenon__text {
    char *s;
    size_t n, room; /* room counts the NUL */
};
#define TENON__TEXT(array) ((struct tenon__text){.s = (array), .n = ((array)[0] = 0), .room = sizeof(array)})
void tenon__text_add(struct tenon__text *text, const char *format, ...) TENON_PRINTF(2, 3);
/* Copies at most room-1 bytes of a foreign string, which may lack its NUL; control characters become '?'. */
void tenon__text_clean(char *to, size_t room, const char *from, size_t from_max);

/* ---- error.c ---- */

/* Stores the sentence for tenon_error() and returns status (unknown negative numbers as INTERNAL). */
int32_t tenon__fail(int32_t status, const char *format, ...) TENON_PRINTF(2, 3);
/* Clears the sentence, so that a failure without one can be told from a stale one. */
void tenon__error_clear(void);
/* After a backend's call failed: "<who>: <its sentence, or the status's>". Returns the status, INTERNAL when unknown.
 */
int32_t tenon__fail_from(int32_t status, const char *who);

/* ---- log.c ---- */

void tenon__log(int32_t level, const char *format, ...) TENON_PRINTF(2, 3);
int tenon__log_wants(int32_t level);

/* ---- env.c: the environment's TENON_* as they were at the first call, so that later setenv calls race with nothing
 * ---- */

/* NULL when unset or empty, and always NULL in a privileged process (set-user-id). [thread-safe] */
const char *tenon__env(const char *name);
/* TENON_<ID>_<KEY>, then the process-wide settings ("threads", "cache_dir"). [thread-safe] */
const char *tenon__config(const char *id, const char *key);
int tenon__privileged(void);
/* Threads of the built-in pool, the caller's included: TENON_THREADS or the processors. */
uint32_t tenon__threads(void);
/* Those this process may use. */
uint32_t tenon__processors(void);

/* ---- alloc.c ---- */

/* Zeroed. NULL when out of memory (the sentence is set). */
void *tenon__alloc(size_t size);
void tenon__free(void *memory);
char *tenon__strdup(const char *text);
/* Tests: the allocation number `n` from now on (1 = the next) fails, and if `persistent` every later one; 0 switches it
 * off. */
void tenon__alloc_fail_at(uint64_t n, int persistent);
/* Blocks that are not freed yet, those of the backends included. */
int64_t tenon__alloc_live(void);
void *tenon__host_alloc(const struct tenon_host *host, size_t size, size_t align);
void tenon__host_free(const struct tenon_host *host, void *memory);

/* ---- pool.c ---- */

void tenon__parallel(const struct tenon_host *host, uint32_t n, void (*fn)(void *, uint32_t), void *context);

/* ---- loader.c, table.c, layer.c: plugins. Everything under the loader lock. ---- */

struct tenon__host { /* what one plugin gets; `base` first, so that the plugin's pointer finds the rest */
    struct tenon_host base;
    char id[TENON__ID_MAX + 1];
    const struct tenon_backend *next;   /* a layer: what it wraps, */
    const struct tenon_host *next_host; /* and the table that the backend below was given */
};

struct tenon__device {
    uint32_t raw;       /* the plugin's own index */
    const char *reason; /* NULL: usable */
    char detail[160];
    struct tenon_device_info info;
};

struct tenon__plugin {
    char id[TENON__ID_MAX + 1], version[64];
    char *path;         /* absolute */
    const char *reason; /* NULL while nothing is wrong */
    char detail[512];
    int tried; /* opened, or found impossible to open */
    int enumerated;
    int transient; /* the reason is want of memory: tried again at the next call */
    dev_t dev;
    ino_t ino;
    struct tenon__host host;
    struct tenon_backend table;      /* the host's copy: no call is missing */
    const struct tenon_backend *use; /* the table, or the outermost layer around it */
    uint32_t n_devices;
    struct tenon__device *devices; /* in the order that users see */
};

void tenon__lock(void);
void tenon__unlock(void);

/* Sets reason and detail; returns -1. */
int tenon__refuse(struct tenon__plugin *plugin, const char *reason, const char *format, ...) TENON_PRINTF(3, 4);
int tenon__refuse_for_now(struct tenon__plugin *plugin, const char *reason);
/* dlopen with all checks, the entry, the copied table, the layers. 0 or -1 with reason. Once a plugin. */
int tenon__plugin_open(struct tenon__plugin *plugin);
/* The entry of the file, or NULL with plugin->reason. Does everything up to, and not including, calling it. */
tenon_backend_entry tenon__plugin_entry(struct tenon__plugin *plugin);
/* Calls the entry and copies the table it gives: min(struct_size, known) bytes, mandatory slots and id checked. */
int tenon__plugin_table(struct tenon__plugin *plugin, tenon_backend_entry entry);
void tenon__host_init(struct tenon__host *host, const char *id, const struct tenon_backend *next);
/* Puts TENON_LAYERS around plugin->use. 0 or -1 with reason. */
int tenon__layers_wrap(struct tenon__plugin *plugin);
/* OK, or INVALID for a layer that does not exist. */
int32_t tenon__layers_check(void);
/* Puts a plan_record into the table of a backend that has none: it keeps the commands and enqueue plays them.
 * 0, or -1 when all slots are used (then plan_record says UNSUPPORTED). */
int tenon__replay_install(struct tenon_backend *table);
/* Before anything of the file is mapped: a complete ELF object of this machine. NULL or what is wrong. */
const char *tenon__elf_check(const char *path, char *text, size_t room);

/* ---- search.c: which files there are ---- */

/* id of "libtenon-<id>.so" into id. 0: not such a name, 1: yes, 2: looks like one but the id is illegal. */
int tenon__plugin_name(const char *file, char id[TENON__ID_MAX + 1]);
/* Calls fn for every candidate file: by directory of the search order, sorted by name. */
void tenon__search(void (*fn)(void *context, const char *directory, const char *file), void *context);
/* The plain file checks. 0 with *dev and *ino, or -1 with reason and detail. */
int tenon__file_check(struct tenon__plugin *plugin);

/* ---- registry.c ---- */

/* All plugins found, searched at the first call. *plugins stays valid and grows only at the end. */
uint32_t tenon__plugins(struct tenon__plugin *const **plugins);
int tenon__plugins_complete(void);
struct tenon__plugin *tenon__plugin_find(const char *id);
/* Opens the plugin and lists its devices. 0, or -1 with plugin->reason. */
int tenon__plugin_devices(struct tenon__plugin *plugin);
/* Place of a device in the order of "auto": less is better. */
uint32_t tenon__device_rank(const struct tenon__device *device);
uint32_t tenon__backend_rank(const char *id);

/* ---- selector.c: the grammar of TENON_DEVICE ---- */

#define TENON__SELECTOR_MAX 1024
#define TENON__TERMS_MAX    32
enum { TENON__ANY, TENON__INDEX, TENON__TYPE, TENON__UUID, TENON__PCI, TENON__NAME };
struct tenon__term {
    uint8_t negative, automatic, kind, uuid_digits;
    uint32_t column, value;          /* value: index or type */
    char backend[TENON__ID_MAX + 1]; /* "*": every one */
    char word[128];                  /* uuid digits, PCI address or glob; lower case */
    char text[160];                  /* the term as written */
};
struct tenon__selector {
    uint32_t n;
    int none; /* "none" */
    struct tenon__term term[TENON__TERMS_MAX];
};
int32_t tenon__selector_parse(const char *text, struct tenon__selector *selector);
/* Whether the term could choose a device of this backend, whatever its devices are. */
int tenon__term_names(const struct tenon__term *term, const char *backend);
int tenon__term_matches(const struct tenon__term *term, const char *backend, uint32_t index,
                        const struct tenon_device_info *info);
/* Whether a "!" term removes it; of the whole backend when info is NULL. Returns the term or NULL. */
const struct tenon__term *tenon__selector_removes(const struct tenon__selector *selector, const char *backend,
                                                  uint32_t index, const struct tenon_device_info *info);
/* Whether some positive term can choose a device of this backend (and no "!" term removes it whole). */
int tenon__selector_needs(const struct tenon__selector *selector, const char *backend);

/* ---- select.c ---- */

/* Opens the first device of the selector that opens; the sentence of a failure lists every term and candidate. */
int32_t tenon__select(const char *text, struct tenon__plugin **plugin, uint32_t *index, struct tenon_device **device);

/* ---- context.c, plan.c, mem.c, stage.c, run.c ---- */

#define TENON__PLAN_BUCKETS 64
#define TENON__PLANS_MAX    256
#define TENON__TEMPS_MAX    TENON_MAX_TENSORS
#define TENON__STAGE_MAX    ((uint64_t)64 << 20)

struct tenon__plan {          /* one cached plan with all that a run needs of its descriptor */
    struct tenon__plan *next; /* of the bucket */
    struct tenon_plan *plan;
    uint64_t hash, used_seq, used_tick;
    uint32_t op, n, present, outputs, kept; /* the last three: bit i = tensor i; kept: the contract's */
    uint32_t given_size;              /* bytes of the params as given; 0: NULL */
    unsigned char given[TENON__PARAMS_MAX];
    uint64_t params[TENON__PARAMS_MAX / 8]; /* complete */
    const struct tenon_op_contract *contract;
    struct tenon_plan_info info;
    uint64_t bytes[TENON_MAX_TENSORS];
    struct tenon_tensor tensor[TENON_MAX_TENSORS];
};

struct tenon__temp { /* a device buffer kept for the next call that copies in and out */
    struct tenon_buffer *buffer;
    uint64_t size;
    int busy;
};

struct tenon_context {
    struct tenon__plugin *plugin;
    const struct tenon_backend *b;
    struct tenon_device *device;
    struct tenon_queue *queue;
    struct tenon_device_info info;
    char spec[TENON__ID_MAX + 16];
    uint64_t submitted, done; /* numbers of the queue */
    struct tenon__plan *bucket[TENON__PLAN_BUCKETS], *last;
    uint32_t n_plans;
    uint64_t tick;
    struct tenon_buffer *workspace, *empty, *stage; /* empty: bound where a tensor has no elements; stage: pinned */
    uint64_t workspace_size, stage_size, stage_seq;
    struct tenon__temp temp[TENON__TEMPS_MAX];
    struct tenon_memory *memories;
    uint64_t next_base;
};

struct tenon_memory {
    struct tenon_context *context; /* NULL once the context was closed */
    struct tenon_memory *next, *previous;
    struct tenon_buffer *buffer;
    uint64_t size, used_seq;
    uint64_t base; /* its place in an address space of its own, for the overlap check */
};

int32_t tenon__context_wait(struct tenon_context *context, uint64_t seq);
int32_t tenon__context_submit(struct tenon_context *context, const struct tenon_cmd *const *cmds, uint32_t n);
int32_t tenon__context_buffer(struct tenon_context *context, uint64_t size, uint32_t flags, void *host,
                              struct tenon_buffer **buffer);
int32_t tenon__context_workspace(struct tenon_context *context, uint64_t size);
int32_t tenon__context_empty(struct tenon_context *context);

int32_t tenon__plan_get(struct tenon_context *context, uint32_t op, const void *params,
                        const struct tenon_tensor *first, size_t step, uint32_t n, struct tenon__plan **plan);
void tenon__plans_destroy(struct tenon_context *context);

/* Bytes into and out of a buffer that no submitted command uses any more (the caller waited). */
int32_t tenon__mapped_write(struct tenon_context *context, struct tenon_buffer *buffer, uint64_t offset,
                            const void *data, uint64_t size);
int32_t tenon__mapped_read(struct tenon_context *context, struct tenon_buffer *buffer, uint64_t offset, void *data,
                           uint64_t size);
/* In order with the queue, of any size; `read` waits. */
int32_t tenon__buffer_write(struct tenon_context *context, struct tenon_buffer *buffer, uint64_t offset,
                            const void *data, uint64_t size);
int32_t tenon__buffer_read(struct tenon_context *context, struct tenon_buffer *buffer, uint64_t offset, void *data,
                           uint64_t size);
/* The pinned buffer with at least `size` bytes (<= TENON__STAGE_MAX), idle. */
int32_t tenon__stage_get(struct tenon_context *context, uint64_t size);
void tenon__memories_orphan(struct tenon_context *context);

/* One RUN's memory, tensor by tensor. */
struct tenon__places {
    uint32_t host; /* bit i: tensor i is in host memory */
    struct tenon_bind bind[TENON_MAX_TENSORS];
    uint64_t range[TENON_MAX_TENSORS][2];
    struct tenon_memory *memory[TENON_MAX_TENSORS];
};
int32_t tenon__run_host(struct tenon_context *context, struct tenon__plan *plan, const struct tenon_value *values,
                        struct tenon__places *places);
int32_t tenon__run_submit(struct tenon_context *context, struct tenon__plan *plan, struct tenon__places *places,
                          const struct tenon_cmd *const *before, uint32_t n_before,
                          const struct tenon_cmd *const *after, uint32_t n_after);

#endif
