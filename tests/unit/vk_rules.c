/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The Vulkan backend's side of the rules for buffers, commands and queues, on buffers that are mapped for life and on
 * those that go through staging memory. */
#include "tap.h"
#include "vk_scene.h"

#include <stdlib.h>
#include <string.h>

static const struct tenon_backend *backend;
static struct tenon_device *device;
static struct tenon_device_info info = {.struct_size = sizeof info};

static struct tenon_buffer *make(uint64_t size, uint32_t flags)
{
    struct tenon_buffer_desc desc = {.struct_size = sizeof desc, .flags = flags, .size = size};
    struct tenon_buffer *buffer = NULL;
    if (!is_int(backend->buffer_create(device, &desc, &buffer), TENON_OK, "a buffer of %llu bytes",
                (unsigned long long)size))
        bail("%s", scene_error);
    return buffer;
}

static void write_all(struct tenon_buffer *buffer, const void *data, uint64_t size)
{
    void *pointer;
    if (backend->buffer_map(buffer, 0, size, TENON_MAP_WRITE, &pointer))
        bail("%s", scene_error);
    memcpy(pointer, data, size);
    if (backend->buffer_unmap(buffer))
        bail("%s", scene_error);
}

static void read_all(struct tenon_buffer *buffer, void *data, uint64_t size)
{
    void *pointer;
    if (backend->buffer_map(buffer, 0, size, TENON_MAP_READ, &pointer))
        bail("%s", scene_error);
    memcpy(data, pointer, size);
    if (backend->buffer_unmap(buffer))
        bail("%s", scene_error);
}

static void test_create(void)
{
    struct tenon_buffer *buffer = NULL;
    struct tenon_buffer_desc desc = {.struct_size = sizeof desc, .size = 0};
    is_int(backend->buffer_create(device, &desc, &buffer), TENON_E_INVALID, "size 0");
    desc.size = info.max_buffer + 1;
    is_int(backend->buffer_create(device, &desc, &buffer), TENON_E_NOMEM, "more than max_buffer");
    has_str(scene_error, "allows", "it says what is allowed");
    desc.size = 16;
    desc.flags = 0x80;
    is_int(backend->buffer_create(device, &desc, &buffer), TENON_E_UNSUPPORTED, "an unknown flag");
    if (info.caps & TENON_CAP_IMPORT) {
        desc.flags = TENON_BUF_IMPORT;
        desc.host_ptr = (void *)(uintptr_t)(info.import_align + 4);
        is_int(backend->buffer_create(device, &desc, &buffer), TENON_E_UNSUPPORTED, "import of a misaligned pointer");
    }
    ok(buffer == NULL, "a failure writes nothing");
    backend->buffer_destroy(NULL);
}

static void test_map(void)
{
    void *pointer = NULL;
    struct tenon_buffer *buffer = make(64, 0);
    const char old[64] = "what was there before the second mapping";
    write_all(buffer, old, 64);
    is_int(backend->buffer_unmap(buffer), TENON_E_INVALID, "unmap without map");
    is_int(backend->buffer_map(buffer, 0, 65, TENON_MAP_READ, &pointer), TENON_E_INVALID, "map beyond the end");
    is_int(backend->buffer_map(buffer, 60, 8, TENON_MAP_READ, &pointer), TENON_E_INVALID, "map across the end");
    is_int(backend->buffer_map(buffer, UINT64_MAX, 2, TENON_MAP_READ, &pointer), TENON_E_INVALID,
           "offset + size wraps");
    is_int(backend->buffer_map(buffer, 0, 0, TENON_MAP_READ, &pointer), TENON_E_INVALID, "map of nothing");
    is_int(backend->buffer_map(buffer, 0, 8, 0, &pointer), TENON_E_INVALID, "map without a mode");
    is_int(backend->buffer_map(buffer, 0, 8, 4, &pointer), TENON_E_UNSUPPORTED, "an unknown mode");
    ok(pointer == NULL, "a failure writes nothing");
    is_int(backend->buffer_map(buffer, 3, 5, TENON_MAP_READ | TENON_MAP_WRITE, &pointer), TENON_OK, "an odd range");
    ok(memcmp(pointer, old + 3, 5) == 0, "it reads what was written");
    void *second = NULL;
    is_int(backend->buffer_map(buffer, 0, 8, TENON_MAP_READ, &second), TENON_E_INVALID, "one mapping at a time");
    memcpy(pointer, "HELLO", 5);
    is_int(backend->buffer_unmap(buffer), TENON_OK, "unmap");
    char now[64];
    read_all(buffer, now, 64);
    ok(memcmp(now, old, 3) == 0 && memcmp(now + 3, "HELLO", 5) == 0 && memcmp(now + 8, old + 8, 56) == 0,
       "only the mapped range has changed");
    is_int(backend->buffer_map(buffer, 0, 8, TENON_MAP_WRITE, &pointer), TENON_OK, "mapped while destroyed");
    backend->buffer_destroy(buffer);
}

static int32_t enqueue_one(struct tenon_queue *queue, const struct tenon_cmd *cmd, uint64_t *seq)
{
    return backend->enqueue(queue, &cmd, 1, seq);
}

static void test_commands(void)
{
    struct tenon_queue *queue, *other;
    uint64_t seq = 99;
    if (backend->queue_create(device, 0, &queue) || backend->queue_create(device, 0, &other))
        bail("%s", scene_error);
    struct tenon_queue *none = NULL;
    is_int(backend->queue_create(device, 1, &none), TENON_E_UNSUPPORTED, "an unknown queue flag");
    struct tenon_buffer *a = make(256, 0), *b = make(256, TENON_BUF_HOST);
    struct tenon_bind args[2] = {{a, 0}, {b, 0}};
    struct tenon_cmd fill = {
        .struct_size = sizeof fill, .kind = TENON_CMD_FILL, .n_args = 1, .args = args, .size = 256};
    struct tenon_cmd copy = {
        .struct_size = sizeof copy, .kind = TENON_CMD_COPY, .n_args = 2, .args = args, .size = 256};
    struct tenon_cmd wait = {.struct_size = sizeof wait, .kind = TENON_CMD_WAIT, .queue = other, .value = 1};

    is_int(backend->enqueue(queue, NULL, 0, &seq), TENON_E_INVALID, "an empty batch");
    fill.size = 6;
    is_int(enqueue_one(queue, &fill, &seq), TENON_E_INVALID, "FILL of 6 bytes");
    fill.size = 260;
    is_int(enqueue_one(queue, &fill, &seq), TENON_E_INVALID, "FILL beyond the end");
    copy.size = 257;
    is_int(enqueue_one(queue, &copy, &seq), TENON_E_INVALID, "COPY beyond the end");
    copy.size = 128;
    args[1] = (struct tenon_bind){a, 127};
    is_int(enqueue_one(queue, &copy, &seq), TENON_E_INVALID, "COPY onto itself");
    is_int(enqueue_one(queue, &wait, &seq), TENON_E_INVALID, "WAIT for a number never given out");
    wait.queue = queue;
    wait.value = 0;
    is_int(enqueue_one(queue, &wait, &seq), TENON_E_INVALID, "WAIT for the own queue");
    is_int(backend->queue_wait(queue, 1, 0), TENON_E_INVALID, "queue_wait for a number never given out");
    is_int(backend->queue_wait(queue, 0, 0), TENON_OK, "number 0 is done");
    is_int(seq, 99, "a failure writes nothing");

    /* All or nothing: the second command is wrong, so the first must not run. */
    uint32_t words[64] = {0};
    write_all(a, words, sizeof words);
    fill.size = 256;
    fill.value = UINT64_C(0xffffffff12345678);
    copy.size = 1000;
    const struct tenon_cmd *const batch[2] = {&fill, &copy};
    is_int(backend->enqueue(queue, batch, 2, &seq), TENON_E_INVALID, "a batch with a wrong command");
    read_all(a, words, sizeof words);
    is_int(words[0], 0, "nothing of it ran");

    args[1] = (struct tenon_bind){a, 128};
    copy.size = 0;
    is_int(enqueue_one(queue, &copy, &seq), TENON_OK, "COPY of nothing");
    is_int(seq, 1, "the first number is 1");
    is_int(enqueue_one(queue, &fill, &seq), TENON_OK, "FILL");
    is_int(seq, 2, "the second number is 2");
    /* b[3..] <- a: at odd bytes, behind the other queue's fill. */
    struct tenon_bind odd[2] = {{b, 3}, {a, 6}};
    copy.args = odd;
    copy.size = 250;
    wait.queue = queue;
    wait.value = 2;
    const struct tenon_cmd *const after[2] = {&wait, &copy};
    is_int(backend->enqueue(other, after, 2, &seq), TENON_OK, "WAIT and COPY on the other queue");
    is_int(seq, 1, "which counts for itself");
    int32_t status;
    do
        status = backend->queue_wait(other, 1, 0);
    while (status == TENON_E_TIMEOUT);
    is_int(status, TENON_OK, "polling ends");
    unsigned char bytes[256];
    read_all(b, bytes, sizeof bytes);
    ok(bytes[3] == 0x34 && bytes[4] == 0x12 && bytes[5] == 0x78 && bytes[252] == 0x12, "COPY at odd bytes behind WAIT");
    is_int(backend->queue_wait(queue, 2, UINT64_MAX), TENON_OK, "the first queue is done, too");
    /* Many batches in flight, so that command buffers come back. */
    fill.args = args;
    for (int i = 0; i < 200; i++) {
        fill.value = (uint32_t)i;
        if (enqueue_one(queue, &fill, &seq))
            bail("%s", scene_error);
    }
    is_int(seq, 202, "200 more batches");
    is_int(backend->queue_wait(queue, seq, UINT64_MAX), TENON_OK, "are done");
    read_all(a, words, sizeof words);
    is_int(words[63], 199, "in order");
    backend->queue_destroy(other);
    backend->queue_destroy(queue);
    backend->queue_destroy(NULL);
    backend->buffer_destroy(b);
    backend->buffer_destroy(a);
}

static void test_table(void)
{
    uint32_t count = 0, again = 0;
    is_int(backend->device_count(&again), TENON_OK, "counted again");
    backend->device_count(&count);
    is_int(again, count, "the same number");
    is_int(backend->device_info(count, &info), TENON_E_NODEVICE, "no info beyond the last device");
    is_int(backend->device_open(count, NULL, &device), TENON_E_NODEVICE, "nor a device");
    is_int(backend->device_info(0, &info), TENON_OK, "info");
    ok(info.name[0] && info.driver[0] && info.max_buffer >= UINT64_C(1) << 27, "it says something");
    struct tenon_device_info part = {.struct_size = 16, .mem_total = 77};
    is_int(backend->device_info(0, &part), TENON_OK, "info for an older caller");
    ok(part.mem_total == 77 && part.struct_size == 16 && part.type == info.type, "writes what there is room for");
    struct tenon_chain chain = {.struct_size = sizeof chain, .type = 5};
    is_int(backend->device_open(0, &chain, &device), TENON_OK, "an unknown chain entry is ignored");
    backend->device_close(device);
    chain.type = 5 | TENON_CHAIN_CRITICAL;
    is_int(backend->device_open(0, &chain, &device), TENON_E_UNSUPPORTED, "a critical one is not");
    backend->device_close(NULL);
}

int main(void)
{
    uint32_t count = 0;
    if (!scene_install())
        return tap_skip_all("no Vulkan loader on this machine");
    backend = tenon_backend_entry_v1(&scene_host);
    is_int(backend->device_count(&count), TENON_OK, "discovery");
    if (!count)
        return tap_skip_all("no Vulkan device on this machine");
    test_table();
    for (int staging = 0; staging < 2; staging++) {
        scene_force_staging(staging);
        tap_note("%s", staging ? "through staging memory" : "mapped for life");
        backend->device_info(0, &info);
        if (!is_int(backend->device_open(0, NULL, &device), TENON_OK, "open"))
            bail("%s", scene_error);
        test_create();
        test_map();
        test_commands();
        backend->device_close(device);
        is_int(scene_live_memory, 0, "no memory leaks");
        is_int(scene_live_handles, 1, "nothing but the instance is left");
    }
    return tap_done();
}
