/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * plan_record for backends that have none: the commands are copied into a list that looks like a plan, and enqueue puts
 * the list in the place of a RUN of it. The functions of the table carry no context, so each backend gets a slot: four
 * small functions of its own that know its number. */
#include "host.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#define MAX_COMMANDS 65536u

struct recording {
    struct recording *next; /* of all recordings */
    uint32_t slot, n;
    struct tenon_cmd *cmd;
    struct tenon_bind *bind;
};

static struct tenon_backend real[TENON__MAX_PLUGINS]; /* as the backends gave them */
static uint32_t n_slots;
static struct recording *recordings;
static pthread_rwlock_t lock = PTHREAD_RWLOCK_INITIALIZER;

/* A recording is known by its address alone: a backend's plan is opaque and must not be looked into. */
static struct recording *find(const struct tenon_plan *plan)
{
    struct recording *found = NULL;
    pthread_rwlock_rdlock(&lock);
    for (struct recording *r = recordings; r && !found; r = r->next)
        if ((const void *)r == (const void *)plan)
            found = r;
    pthread_rwlock_unlock(&lock);
    return found;
}

/* What the command stands for: a recording's list, or itself. */
static const struct recording *played(const struct tenon_cmd *cmd)
{
    return cmd && cmd->kind == TENON_CMD_RUN && cmd->n_args == 0 && cmd->plan ? find(cmd->plan) : NULL;
}

static int32_t expanded(const struct tenon_cmd *const *cmds, uint32_t n, uint64_t *total, uint64_t *binds)
{
    *total = *binds = 0;
    for (uint32_t i = 0; i < n; i++) {
        const struct recording *r = played(cmds[i]);
        if (!cmds[i])
            return tenon__fail(TENON_E_INVALID, "command %u is NULL", i);
        *total += r ? r->n : 1;
        for (uint32_t j = 0; r && j < r->n; j++)
            *binds += r->cmd[j].n_args;
        *binds += r ? 0 : cmds[i]->n_args;
    }
    if (*total > MAX_COMMANDS)
        return tenon__fail(TENON_E_UNSUPPORTED, "%llu commands: at most %u in a batch or a recording",
                           (unsigned long long)*total, MAX_COMMANDS);
    return TENON_OK;
}

static void flatten(const struct tenon_cmd *const *cmds, uint32_t n, const struct tenon_cmd **flat)
{
    for (uint32_t i = 0; i < n; i++) {
        const struct recording *r = played(cmds[i]);
        if (!r)
            *flat++ = cmds[i];
        for (uint32_t j = 0; r && j < r->n; j++)
            *flat++ = &r->cmd[j];
    }
}

static void copy_commands(struct recording *r, const struct tenon_cmd *const *flat)
{
    struct tenon_bind *bind = r->bind;
    for (uint32_t i = 0; i < r->n; i++) {
        const struct tenon_cmd *from = flat[i];
        size_t size = from->struct_size < sizeof *from ? from->struct_size : sizeof *from;
        memcpy(&r->cmd[i], from, size);
        r->cmd[i].struct_size = sizeof r->cmd[i];
        r->cmd[i].next = NULL;
        if (!from->n_args)
            continue;
        memcpy(bind, from->args, from->n_args * sizeof *bind);
        r->cmd[i].args = bind;
        bind += from->n_args;
    }
}

static int32_t refuse_unknown(const struct tenon_cmd *const *cmds, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        if (cmds[i]->next)
            return tenon__fail(TENON_E_UNSUPPORTED, "command %u: a chain cannot be recorded here", i);
        if (cmds[i]->struct_size > sizeof *cmds[i])
            return tenon__fail(TENON_E_UNSUPPORTED, "command %u: struct_size %u is newer than this host", i,
                               cmds[i]->struct_size);
        if (cmds[i]->n_args > TENON_MAX_TENSORS || (cmds[i]->n_args && !cmds[i]->args))
            return tenon__fail(TENON_E_INVALID, "command %u: %u args", i, cmds[i]->n_args);
    }
    return TENON_OK;
}

static int32_t record(uint32_t slot, const struct tenon_cmd *const *cmds, uint32_t n, struct tenon_plan **plan)
{
    if (!cmds || !n || !plan)
        return tenon__fail(TENON_E_INVALID, "plan_record: needs commands and a place for the plan");
    uint64_t total, binds;
    int32_t status = expanded(cmds, n, &total, &binds);
    if (status || (status = refuse_unknown(cmds, n)))
        return status;
    struct recording *r = tenon__alloc(sizeof *r);
    const struct tenon_cmd **flat = tenon__alloc((size_t)total * sizeof *flat);
    if (!r || !flat)
        goto free_flat;
    r->cmd = tenon__alloc((size_t)total * sizeof *r->cmd);
    r->bind = tenon__alloc((size_t)binds * sizeof *r->bind);
    if (!r->cmd || !r->bind)
        goto free_copies;
    r->slot = slot;
    r->n = (uint32_t)total;
    flatten(cmds, n, flat);
    copy_commands(r, flat);
    tenon__free(flat);
    pthread_rwlock_wrlock(&lock);
    r->next = recordings;
    recordings = r;
    pthread_rwlock_unlock(&lock);
    *plan = (struct tenon_plan *)r;
    return TENON_OK;

free_copies:
    tenon__free(r->cmd);
    tenon__free(r->bind);
free_flat:
    tenon__free(flat);
    tenon__free(r);
    return TENON_E_NOMEM;
}

static int32_t enqueue(uint32_t slot, struct tenon_queue *queue, const struct tenon_cmd *const *cmds, uint32_t n,
                       uint64_t *seq)
{
    uint32_t any = 0;
    for (uint32_t i = 0; cmds && i < n && !any; i++)
        any = played(cmds[i]) != NULL;
    if (!any)
        return real[slot].enqueue(queue, cmds, n, seq);
    uint64_t total, binds;
    int32_t status = expanded(cmds, n, &total, &binds);
    if (status)
        return status;
    const struct tenon_cmd **flat = tenon__alloc((size_t)total * sizeof *flat);
    if (!flat)
        return TENON_E_NOMEM;
    flatten(cmds, n, flat);
    status = real[slot].enqueue(queue, flat, (uint32_t)total, seq);
    tenon__free(flat);
    return status;
}

static int32_t info(uint32_t slot, const struct tenon_plan *plan, struct tenon_plan_info *out)
{
    const struct recording *r = find(plan);
    if (!r)
        return real[slot].plan_info(plan, out);
    struct tenon_plan_info mine = {.workspace_align = 1, .impl = "replayed list"};
    uint32_t size = out ? out->struct_size : 0;
    if (size < sizeof size)
        return tenon__fail(TENON_E_INVALID, "plan_info: struct_size %u", size);
    mine.struct_size = size;
    memcpy(out, &mine, size < sizeof mine ? size : sizeof mine);
    return TENON_OK;
}

static void destroy(uint32_t slot, struct tenon_plan *plan)
{
    struct recording *r = plan ? find(plan) : NULL;
    if (!r) {
        real[slot].plan_destroy(plan);
        return;
    }
    pthread_rwlock_wrlock(&lock);
    struct recording **link = &recordings;
    while (*link != r)
        link = &(*link)->next;
    *link = r->next;
    pthread_rwlock_unlock(&lock);
    tenon__free(r->cmd);
    tenon__free(r->bind);
    tenon__free(r);
}

/* The slots. */
#define EIGHT(X, a) X(a##0) X(a##1) X(a##2) X(a##3) X(a##4) X(a##5) X(a##6) X(a##7)
/* Octal: 000 to 077. */
#define HALF(X, a, b, c, d) EIGHT(X, a) EIGHT(X, b) EIGHT(X, c) EIGHT(X, d)
#define ALL(X)              HALF(X, 00, 01, 02, 03) HALF(X, 04, 05, 06, 07)
#define FUNCTIONS(k)                                                                                                   \
    static int32_t record_##k(struct tenon_device *device, const struct tenon_cmd *const *cmds, uint32_t n,            \
                              struct tenon_plan **plan)                                                                \
    {                                                                                                                  \
        (void)device;                                                                                                  \
        return record(k, cmds, n, plan);                                                                               \
    }                                                                                                                  \
    static int32_t enqueue_##k(struct tenon_queue *queue, const struct tenon_cmd *const *cmds, uint32_t n,             \
                               uint64_t *seq)                                                                          \
    {                                                                                                                  \
        return enqueue(k, queue, cmds, n, seq);                                                                        \
    }                                                                                                                  \
    static int32_t info_##k(const struct tenon_plan *plan, struct tenon_plan_info *out)                                \
    {                                                                                                                  \
        return info(k, plan, out);                                                                                     \
    }                                                                                                                  \
    static void destroy_##k(struct tenon_plan *plan)                                                                   \
    {                                                                                                                  \
        destroy(k, plan);                                                                                              \
    }
ALL(FUNCTIONS)

#define ENTRY(k) [k] = {record_##k, enqueue_##k, info_##k, destroy_##k},
static const struct {
    int32_t (*record)(struct tenon_device *, const struct tenon_cmd *const *, uint32_t, struct tenon_plan **);
    int32_t (*enqueue)(struct tenon_queue *, const struct tenon_cmd *const *, uint32_t, uint64_t *);
    int32_t (*info)(const struct tenon_plan *, struct tenon_plan_info *);
    void (*destroy)(struct tenon_plan *);
} slots[TENON__MAX_PLUGINS] = {ALL(ENTRY)};

int tenon__replay_install(struct tenon_backend *table)
{
    if (n_slots == TENON__MAX_PLUGINS)
        return -1;
    uint32_t k = n_slots++;
    real[k] = *table;
    table->plan_record = slots[k].record;
    table->enqueue = slots[k].enqueue;
    table->plan_info = slots[k].info;
    table->plan_destroy = slots[k].destroy;
    return 0;
}
