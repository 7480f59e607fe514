/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The Khronos validation layer with synchronization validation has nothing to say about the backend, and would have if
 * there was something. */
#include "tap.h"
#include "vk_scene.h"

#include <string.h>

static int have_layer(void)
{
    VkLayerProperties layers[64];
    uint32_t n = 64;
    if (tenon__vk.EnumerateInstanceLayerProperties(&n, layers) < 0)
        return 0;
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(layers[i].layerName, "VK_LAYER_KHRONOS_validation") == 0)
            return 1;
    return 0;
}

/* A breach of the rules that harms nobody. */
static void break_a_rule(void)
{
    struct tenon_device *device;
    if (!is_int(tenon__vk_device_open(0, NULL, &device), TENON_OK, "open"))
        return;
    VkBufferCreateInfo info = {.sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO, .size = 16, .usage = 0};
    VkBuffer buffer = VK_NULL_HANDLE;
    if (tenon__vk.CreateBuffer(device->device, &info, NULL, &buffer) == VK_SUCCESS)
        tenon__vk.DestroyBuffer(device->device, buffer, NULL);
    tenon__vk_device_close(device);
}

int main(void)
{
    uint32_t count;
    scene_validation = 1;
    if (!scene_install())
        return tap_skip_all("no Vulkan loader on this machine");
    if (!have_layer())
        return tap_skip_all("the Khronos validation layer is not installed");
    if (!is_int(tenon_backend_entry_v1(&scene_host)->device_count(&count), TENON_OK, "discovery"))
        return tap_done();
    if (!count)
        return tap_skip_all("no Vulkan device on this machine");
    for (int staging = 0; staging < 2; staging++) {
        scene_force_staging(staging);
        for (int round = 0; round < 3; round++)
            is_int(scene_play(), TENON_OK, "round %d%s: %s", round, staging ? " with staging" : "", scene_error);
    }
    is_int(tenon__vk_validation_messages(), 0, "the layer has nothing to say");
    is_int(scene_log_errors, 0, "no errors are logged");
    break_a_rule();
    ok(tenon__vk_validation_messages() > 0, "the layer sees a breach");
    is_int(scene_log_errors, tenon__vk_validation_messages(), "each message is logged as an error");
    return tap_done();
}
