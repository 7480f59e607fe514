/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "vk.h"

#include <string.h>

int32_t tenon__vk_failed(struct tenon_device *device, VkResult result, const char *call)
{
    int32_t status = TENON_E_INTERNAL;
    switch ((int)result) {
    case VK_ERROR_OUT_OF_HOST_MEMORY:
    case VK_ERROR_OUT_OF_DEVICE_MEMORY:
    case VK_ERROR_TOO_MANY_OBJECTS:
    case VK_ERROR_FRAGMENTED_POOL:
    case VK_ERROR_MEMORY_MAP_FAILED:
        status = TENON_E_NOMEM;
        break;
    case VK_ERROR_FEATURE_NOT_PRESENT:
    case VK_ERROR_EXTENSION_NOT_PRESENT:
    case VK_ERROR_INVALID_EXTERNAL_HANDLE:
        status = TENON_E_UNSUPPORTED;
        break;
    case VK_ERROR_DEVICE_LOST:
        status = TENON_E_LOST;
        if (device)
            device->lost = 1;
        break;
    default:
        break;
    }
    return tenon__vk_fail(status, "%s: %s", call, tenon__vk_result_name(result));
}

int32_t tenon__vk_alive(struct tenon_device *device)
{
    if (device->lost)
        return tenon__vk_fail(TENON_E_LOST, "the device was lost; close it and open it again");
    return TENON_OK;
}

static VkResult create_device(struct tenon_device *device)
{
    const struct vk_adapter *adapter = device->adapter;
    const char *extensions[2];
    uint32_t n_extensions = 0;
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executable = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR,
        .pipelineExecutableInfo = VK_TRUE,
    };
    VkPhysicalDeviceVulkan12Features f12 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES,
        .pNext = adapter->statistics ? &executable : NULL,
        .bufferDeviceAddress = VK_TRUE,
        .timelineSemaphore = VK_TRUE,
        .storageBuffer8BitAccess = adapter->variant & 1u,
        .shaderInt8 = adapter->int8,
        .shaderFloat16 = adapter->float16,
    };
    VkPhysicalDeviceVulkan11Features f11 = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES,
        .pNext = &f12,
        .storageBuffer16BitAccess = adapter->variant & 1u,
    };
    VkPhysicalDeviceFeatures2 features = {
        .sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2,
        .pNext = &f11,
        .features = {.shaderInt64 = adapter->int64, .shaderInt16 = adapter->int16},
    };
    static const float priority[VK_QUEUES_MAX] = {1, 1, 1, 1};
    VkDeviceQueueCreateInfo queues = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_QUEUE_CREATE_INFO,
        .queueFamilyIndex = adapter->family,
        .queueCount = adapter->n_queues,
        .pQueuePriorities = priority,
    };
    if (adapter->import)
        extensions[n_extensions++] = VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME;
    if (adapter->statistics)
        extensions[n_extensions++] = VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME;
    VkDeviceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_DEVICE_CREATE_INFO,
        .pNext = &features,
        .queueCreateInfoCount = 1,
        .pQueueCreateInfos = &queues,
        .enabledExtensionCount = n_extensions,
        .ppEnabledExtensionNames = extensions,
    };
    return tenon__vk.CreateDevice(adapter->physical, &info, NULL, &device->device);
}

int32_t tenon__vk_device_open(uint32_t index, const struct tenon_chain *next, struct tenon_device **out)
{
    const struct vk_adapter *adapter = tenon__vk_adapter(index);
    if (!adapter)
        return TENON_E_NODEVICE;
    struct tenon_why why;
    int32_t status = tenon__vk_because(tenon_chain_check(next, &why), &why);
    if (status)
        return status;
    struct tenon_device *device = tenon__vk_alloc(sizeof *device);
    if (!device)
        return TENON_E_NOMEM;
    device->adapter = adapter;
    VkResult result = create_device(device);
    if (result < 0) {
        status = tenon__vk_failed(NULL, result, "vkCreateDevice");
        goto free_device;
    }
    device->n_queues = adapter->n_queues;
    for (uint32_t i = 0; i < device->n_queues; i++) {
        tenon__vk.GetDeviceQueue(device->device, adapter->family, i, &device->queue[i].queue);
        pthread_mutex_init(&device->queue[i].lock, NULL);
    }
    pthread_mutex_init(&device->transfer_lock, NULL);
    status = tenon__vk_pipelines_init(device);
    if (status)
        goto destroy_device;
    *out = device;
    return TENON_OK;

destroy_device:
    tenon__vk.DestroyDevice(device->device, NULL);
free_device:
    tenon__vk_free(device);
    return status;
}

void tenon__vk_device_close(struct tenon_device *device)
{
    if (!device)
        return;
    tenon__vk_queue_destroy(device->transfer);
    tenon__vk_pipelines_finish(device);
    for (uint32_t i = 0; i < device->n_queues; i++)
        pthread_mutex_destroy(&device->queue[i].lock);
    pthread_mutex_destroy(&device->transfer_lock);
    tenon__vk.DestroyDevice(device->device, NULL);
    tenon__vk_free(device);
}
