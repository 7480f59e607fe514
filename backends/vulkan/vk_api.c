/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "vk_api.h"

#include <dlfcn.h>
#include <stddef.h>
#include <string.h>

struct vk_api tenon__vk;

const char *tenon__vk_api_load(void)
{
    if (tenon__vk.GetInstanceProcAddr)
        return NULL;
    void *library = dlopen("libvulkan.so.1", RTLD_NOW | RTLD_LOCAL);
    if (!library)
        return "libvulkan.so.1 (the Vulkan loader) cannot be opened";
    PFN_vkGetInstanceProcAddr get;
    void *symbol = dlsym(library, "vkGetInstanceProcAddr");
    if (!symbol)
        return "libvulkan.so.1 has no vkGetInstanceProcAddr";
    memcpy(&get, &symbol, sizeof get); /* C has no cast from an object to a function pointer */

#define LOAD(name)                                                                                                     \
    tenon__vk.name = (PFN_vk##name)get(NULL, "vk" #name);                                                              \
    if (!tenon__vk.name)                                                                                               \
        return "the Vulkan loader has no vk" #name " (Vulkan 1.1 or later is needed)";
    VK_API_GLOBAL(LOAD)
#undef LOAD
    tenon__vk.GetInstanceProcAddr = get;
    return NULL;
}

const char *tenon__vk_api_instance(VkInstance instance)
{
#define LOAD(name) tenon__vk.name = (PFN_vk##name)tenon__vk.GetInstanceProcAddr(instance, "vk" #name);
#define LOAD_OR_FAIL(name)                                                                                             \
    LOAD(name)                                                                                                         \
    if (!tenon__vk.name)                                                                                               \
        return "vk" #name;
    VK_API_OPTIONAL(LOAD)
    VK_API_INSTANCE(LOAD_OR_FAIL)
#undef LOAD_OR_FAIL
#undef LOAD
    return NULL;
}

const char *tenon__vk_result_name(VkResult result)
{
    switch ((int)result) {
#define NAME(name)                                                                                                     \
    case name:                                                                                                         \
        return #name;
        NAME(VK_SUCCESS)
        NAME(VK_NOT_READY)
        NAME(VK_TIMEOUT)
        NAME(VK_INCOMPLETE)
        NAME(VK_ERROR_OUT_OF_HOST_MEMORY)
        NAME(VK_ERROR_OUT_OF_DEVICE_MEMORY)
        NAME(VK_ERROR_INITIALIZATION_FAILED)
        NAME(VK_ERROR_DEVICE_LOST)
        NAME(VK_ERROR_MEMORY_MAP_FAILED)
        NAME(VK_ERROR_LAYER_NOT_PRESENT)
        NAME(VK_ERROR_EXTENSION_NOT_PRESENT)
        NAME(VK_ERROR_FEATURE_NOT_PRESENT)
        NAME(VK_ERROR_INCOMPATIBLE_DRIVER)
        NAME(VK_ERROR_TOO_MANY_OBJECTS)
        NAME(VK_ERROR_FRAGMENTED_POOL)
        NAME(VK_ERROR_INVALID_EXTERNAL_HANDLE)
        NAME(VK_ERROR_INVALID_OPAQUE_CAPTURE_ADDRESS)
        NAME(VK_ERROR_INVALID_SHADER_NV)
        NAME(VK_ERROR_UNKNOWN)
#undef NAME
    default:
        return "an unknown VkResult";
    }
}
