/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Inside the device process: opens the device and runs what the runner asks. Uses the public interface alone. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <tenon/tenon.h>
#include "device.h"

#define VALUES_MAX (2 * TENON_MAX_TENSORS) /* a spoilt descriptor may claim too many */

struct child {
    const struct device *device;
    struct tenon_context *context;
    FILE *out; /* where standard output goes: backends must not write to it */
};

static void say(struct device_answer *answer, int32_t status)
{
    answer->status = status;
    if (status && !answer->text[0])
        snprintf(answer->text, sizeof(answer->text), "%s", tenon_error());
}

/* The path and version of the plugin that drives the device. */
static void find_plugin(const struct child *child, struct device_answer *answer)
{
    struct tenon_report *report;
    if (tenon_report_create(answer->spec, &report))
        return;
    for (uint32_t i = 0; i < report->n; i++) {
        const struct tenon_report_entry *entry = report->entries[i];
        if (entry->reason || !entry->backend || strcmp(entry->backend, answer->backend))
            continue;
        snprintf(answer->path, sizeof(answer->path), "%s", entry->path ? entry->path : "");
        snprintf(answer->version, sizeof(answer->version), "%s", entry->version ? entry->version : "");
    }
    tenon_report_destroy(report);
    if (child->device->plugin)
        snprintf(answer->path, sizeof(answer->path), "%s", child->device->plugin);
}

static void do_open(struct child *child, struct device_answer *answer)
{
    const char *selector = child->device->selector, *id;
    if (child->device->plugin) {
        int32_t status = tenon_plugin_load(child->device->plugin, &id);
        if (status) {
            say(answer, status);
            return;
        }
        selector = selector ? selector : id;
    }
    say(answer, tenon_context_open(selector, &child->context));
    if (answer->status)
        return;
    answer->info = *tenon_context_info(child->context);
    snprintf(answer->spec, sizeof(answer->spec), "%s", tenon_context_spec(child->context));
    snprintf(answer->backend, sizeof(answer->backend), "%s", tenon_context_backend(child->context)->id);
    find_plugin(child, answer);
}

static void guard(const struct child *child, const struct device_ask *ask, int protection)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    for (uint32_t i = 0; i < TENON_MAX_TENSORS; i++)
        for (int side = 0; side < 2; side++)
            if (ask->slot[i].guard[1])
                mprotect(child->device->arena + ask->slot[i].guard[side], page, protection);
}

static int32_t run_host(struct child *child, const struct device_ask *ask, const void *params)
{
    struct tenon_value values[VALUES_MAX];
    memset(values, 0, sizeof(values));
    for (uint32_t i = 0; i < TENON_MAX_TENSORS; i++) {
        values[i].tensor = ask->slot[i].tensor;
        values[i].host = ask->slot[i].tensor.dtype ? child->device->arena + ask->slot[i].first : NULL;
    }
    guard(child, ask, PROT_NONE);
    int32_t status = tenon_run(child->context, ask->op, params, values, ask->n);
    if (!status)
        status = tenon_finish(child->context);
    guard(child, ask, PROT_READ | PROT_WRITE);
    return status;
}

/* Device memory of one slot: a poisoned prefix that aligns the first element, then the storage. */
struct placed {
    struct tenon_memory *memory;
    uint64_t prefix;
};

#define POISON UINT32_C(0xDEADBEEF)

static int32_t place_slot(struct child *child, const struct device_slot *slot, struct placed *placed)
{
    uint64_t align = tenon_context_info(child->context)->bind_align;
    align = align < 4 ? 4 : align;
    placed->prefix = (slot->before + align - 1) / align * align;
    int32_t status =
        tenon_memory_create(child->context, placed->prefix + (slot->size + 3) / 4 * 4 + 4, &placed->memory);
    if (!status)
        status = tenon_memory_fill(placed->memory, 0, POISON, placed->prefix + (slot->size + 3) / 4 * 4 + 4);
    if (!status && slot->size)
        status = tenon_memory_write(placed->memory, placed->prefix, child->device->arena + slot->first, slot->size);
    return status;
}

static int32_t unplace_slot(struct child *child, const struct device_ask *ask, uint32_t i, const struct placed *placed,
                            struct device_answer *answer)
{
    const struct device_slot *slot = &ask->slot[i];
    uint64_t tail = placed->prefix + (slot->size + 3) / 4 * 4;
    uint32_t word = 0;
    int32_t status = TENON_OK;
    if (slot->size)
        status = tenon_memory_read(placed->memory, placed->prefix, child->device->arena + slot->first, slot->size);
    for (uint64_t at = 0; !status && at < placed->prefix; at += 4) {
        status = tenon_memory_read(placed->memory, at, &word, 4);
        if (!status && word != POISON)
            answer->broken = 1;
        if (at > 256)
            break;
    }
    if (!status)
        status = tenon_memory_read(placed->memory, tail, &word, 4);
    if (!status && (word != POISON || answer->broken)) {
        answer->broken = 1;
        snprintf(answer->text, sizeof(answer->text), "device memory beside tensor %u was written", i);
    }
    return status;
}

static int32_t run_device(struct child *child, const struct device_ask *ask, const void *params,
                          struct device_answer *answer)
{
    struct tenon_value values[VALUES_MAX];
    struct placed placed[TENON_MAX_TENSORS];
    int32_t status = TENON_OK;
    memset(values, 0, sizeof(values));
    memset(placed, 0, sizeof(placed));
    for (uint32_t i = 0; !status && i < ask->n; i++)
        if (ask->slot[i].tensor.dtype && ask->slot[i].same_as < 0)
            status = place_slot(child, &ask->slot[i], &placed[i]);
    for (uint32_t i = 0; i < ask->n; i++) {
        uint32_t base = ask->slot[i].same_as >= 0 ? (uint32_t)ask->slot[i].same_as : i;
        values[i].tensor = ask->slot[i].tensor;
        values[i].memory = ask->slot[i].tensor.dtype ? placed[base].memory : NULL;
        values[i].offset = placed[base].prefix + (ask->slot[i].first - ask->slot[base].first);
    }
    if (!status)
        status = tenon_run(child->context, ask->op, params, values, ask->n);
    if (!status)
        status = tenon_finish(child->context);
    for (uint32_t i = 0; !status && i < ask->n; i++)
        if (placed[i].memory)
            status = unplace_slot(child, ask, i, &placed[i], answer);
    say(answer, status);
    for (uint32_t i = 0; i < ask->n; i++)
        tenon_memory_destroy(placed[i].memory);
    return status;
}

/* R21: nothing may appear on standard output. What did is thrown away, so that it counts once. */
static void do_quiet(struct child *child, struct device_answer *answer)
{
    fflush(stdout);
    long size = 0;
    if (child->out && !fseek(child->out, 0, SEEK_END))
        size = ftell(child->out);
    if (size > 0) {
        answer->broken = 1;
        snprintf(answer->text, sizeof(answer->text), "%ld bytes were written to standard output", size);
        if (ftruncate(fileno(child->out), 0) == 0)
            rewind(child->out);
    }
}

static void do_run(struct child *child, const struct device_ask *ask, struct device_answer *answer)
{
    struct timespec t0, t1;
    clock_gettime(CLOCK_MONOTONIC, &t0);
    if (ask->place == PLACE_TABLE)
        say(answer, device_child_run_table(child->context, ask, child->device->arena, answer));
    else if (ask->place == PLACE_DEVICE)
        say(answer, run_device(child, ask, ask->params, answer));
    else
        say(answer, run_host(child, ask, ask->params));
    clock_gettime(CLOCK_MONOTONIC, &t1);
    answer->ns = (uint64_t)((t1.tv_sec - t0.tv_sec) * 1000000000 + (t1.tv_nsec - t0.tv_nsec));
    if (!answer->status && !answer->impl[0]) {
        struct tenon_tensor tensors[TENON_MAX_TENSORS];
        for (uint32_t i = 0; i < ask->n; i++)
            tensors[i] = ask->slot[i].tensor;
        if (tenon_impl(child->context, ask->op, ask->params, tensors, ask->n, answer->impl, sizeof(answer->impl)))
            answer->impl[0] = 0;
    }
    if (!answer->status && !answer->broken)
        do_quiet(child, answer);
}

/* The status of plan_create without a plan, for descriptors as they are: sizes, flags and all. */
static void do_supports(struct child *child, const struct device_ask *ask, struct device_answer *answer)
{
    const struct tenon_backend *backend = tenon_context_backend(child->context);
    struct tenon_tensor tensors[TENON_MAX_TENSORS];
    _Alignas(uint64_t) unsigned char params[CONFORM_PARAMS];
    struct tenon_op_desc desc = {.struct_size = ask->desc_size ? ask->desc_size : (uint32_t)sizeof(desc),
                                 .op = ask->op,
                                 .flags = ask->desc_flags,
                                 .n_tensors = ask->n,
                                 .tensors = tensors,
                                 .params = params};
    for (uint32_t i = 0; i < TENON_MAX_TENSORS; i++)
        tensors[i] = ask->slot[i].tensor;
    memcpy(params, ask->params, sizeof(params));
    if (ask->params_size)
        memcpy(params, &ask->params_size, 4);
    say(answer, backend->plan_create(tenon_context_device(child->context), &desc, NULL));
}

static void answer_one(struct child *child, const struct device_ask *ask, struct device_answer *answer)
{
    switch (ask->kind) {
    case ASK_OPEN:
        do_open(child, answer);
        break;
    case ASK_RUN:
        do_run(child, ask, answer);
        break;
    case ASK_SUPPORTS:
        do_supports(child, ask, answer);
        break;
    case ASK_MEMORY:
        say(answer, device_child_memory(child->context, ask, answer));
        break;
    default:
        do_quiet(child, answer);
    }
}

void device_child(const struct device *device, int fd)
{
    struct child child = {.device = device, .out = tmpfile()};
    struct device_ask ask;
    struct device_answer answer;
    if (child.out)
        dup2(fileno(child.out), STDOUT_FILENO);
    while (recv(fd, &ask, sizeof(ask), MSG_WAITALL) == (ssize_t)sizeof(ask)) {
        memset(&answer, 0, sizeof(answer));
        answer_one(&child, &ask, &answer);
        if (send(fd, &answer, sizeof(answer), MSG_NOSIGNAL) != (ssize_t)sizeof(answer))
            break;
    }
    tenon_context_close(child.context);
    if (child.out)
        fclose(child.out);
}
