/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The devices of one plugin: asked for once, checked, and put into an order that does not change from run to run. */
#include "host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Room behind the struct that a device_info that writes too far spoils. */
#define GUARD      64
#define GUARD_BYTE 0xa5

static int power_of_two(uint64_t x)
{
    return x && !(x & (x - 1));
}

static int refuse(struct tenon__device *device, const char *reason, const char *text)
{
    device->reason = reason;
    snprintf(device->detail, sizeof device->detail, "%s", text);
    return -1;
}

static int check_info(struct tenon__device *device)
{
    struct tenon_device_info *info = &device->info;
    char text[160];
    if (info->struct_size != sizeof *info)
        return refuse(device, "BAD_DEVICE", "device_info changed struct_size");
    if (info->type < TENON_TYPE_CPU || info->type > TENON_TYPE_ACCEL) {
        snprintf(text, sizeof text, "type %u is none of 1 to 4", info->type);
        return refuse(device, "BAD_DEVICE", text);
    }
    if (!power_of_two(info->bind_align) || info->bind_align > 65536) {
        snprintf(text, sizeof text, "bind_align %u is not a power of two up to 65536", info->bind_align);
        return refuse(device, "BAD_DEVICE", text);
    }
    if (info->import_align && !power_of_two(info->import_align)) {
        snprintf(text, sizeof text, "import_align %u is not a power of two", info->import_align);
        return refuse(device, "BAD_DEVICE", text);
    }
    if (!info->import_align && info->caps & TENON_CAP_IMPORT)
        return refuse(device, "BAD_DEVICE", "can import, but import_align is 0");
    if (!info->max_queues || !info->max_buffer)
        return refuse(device, "BAD_DEVICE", "max_queues or max_buffer is 0");
    if (!memchr(info->name, 0, sizeof info->name) || !memchr(info->driver, 0, sizeof info->driver) ||
        !memchr(info->location, 0, sizeof info->location))
        return refuse(device, "BAD_DEVICE", "a string without its NUL");
    return 0;
}

static void clean(char *text, size_t room)
{
    char copy[128];
    snprintf(copy, sizeof copy, "%s", text);
    tenon__text_clean(text, room, copy, sizeof copy);
}

static void read_info(const struct tenon_backend *b, struct tenon__device *device)
{
    union {
        struct tenon_device_info info;
        unsigned char bytes[sizeof(struct tenon_device_info) + GUARD];
    } room;
    memset(&room, 0, sizeof room);
    memset(room.bytes + sizeof room.info, GUARD_BYTE, GUARD);
    room.info.struct_size = sizeof room.info;
    tenon__error_clear();
    int32_t status = b->device_info(device->raw, &room.info);
    device->info = room.info;
    if (status) {
        refuse(device, "BAD_DEVICE", tenon_error()[0] ? tenon_error() : tenon_status_text(status));
        return;
    }
    for (size_t i = sizeof room.info; i < sizeof room; i++)
        if (room.bytes[i] != GUARD_BYTE) {
            refuse(device, "BAD_DEVICE", "device_info wrote past struct_size");
            return;
        }
    if (check_info(device))
        return;
    device->info.caps &= TENON_CAP_ALL; /* a newer backend may know more */
    clean(device->info.name, sizeof device->info.name);
    clean(device->info.driver, sizeof device->info.driver);
    clean(device->info.location, sizeof device->info.location);
}

/* By PCI address, those without one last, then by uuid: the index that users write stays the same from run to run. */
static int by_place(const void *a, const void *b)
{
    const struct tenon__device *x = a, *y = b;
    int none = !x->info.location[0] - !y->info.location[0];
    if (!!x->reason != !!y->reason)
        return x->reason ? 1 : -1;
    if (none)
        return none;
    int order = strcmp(x->info.location, y->info.location);
    if (!order)
        order = memcmp(x->info.uuid, y->info.uuid, sizeof x->info.uuid);
    return order ? order : x->raw < y->raw ? -1 : 1;
}

/* The uuid of an earlier device: the same hardware twice. Zeros mean that it is not known. */
static void refuse_twins(struct tenon__device *devices, uint32_t n)
{
    static const uint8_t unknown[16];
    char text[160];
    for (uint32_t i = 1; i < n; i++)
        for (uint32_t j = 0; j < i && !devices[i].reason; j++)
            if (!devices[j].reason && memcmp(devices[i].info.uuid, unknown, 16) &&
                !memcmp(devices[i].info.uuid, devices[j].info.uuid, 16)) {
                snprintf(text, sizeof text, "the uuid is that of device %u", j);
                refuse(&devices[i], "DUPLICATE", text);
            }
}

int tenon__plugin_devices(struct tenon__plugin *plugin)
{
    if (tenon__plugin_open(plugin))
        return -1;
    if (plugin->enumerated)
        return plugin->n_devices ? 0 : -1;
    plugin->enumerated = 1;
    uint32_t n = 0;
    tenon__error_clear();
    int32_t status = plugin->use->device_count(&n);
    if (status)
        return tenon__refuse(plugin, status == TENON_E_NODEVICE ? "NO_DEVICE" : "DISCOVERY", "device_count: %s",
                             tenon_error()[0] ? tenon_error() : tenon_status_text(status));
    if (!n)
        return tenon__refuse(plugin, "NO_DEVICE", "%s", tenon_error()[0] ? tenon_error() : "no hardware for it");
    if (n > TENON__MAX_DEVICES)
        return tenon__refuse(plugin, "TOO_MANY", "device_count says %u: at most %d", n, TENON__MAX_DEVICES);
    plugin->devices = tenon__alloc(n * sizeof *plugin->devices);
    if (!plugin->devices) {
        plugin->enumerated = 0;
        return tenon__refuse_for_now(plugin, "DISCOVERY");
    }
    for (uint32_t i = 0; i < n; i++) {
        plugin->devices[i].raw = i;
        read_info(plugin->use, &plugin->devices[i]);
    }
    refuse_twins(plugin->devices, n);
    qsort(plugin->devices, n, sizeof *plugin->devices, by_place);
    plugin->n_devices = n;
    return 0;
}
