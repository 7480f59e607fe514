/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Every Vulkan entry point that the backend uses, in one table. The backend calls the driver through it and nowhere
 * else, so that a test can put its own function in any place and make any call fail. */
#ifndef TENON_VK_API_H
#define TENON_VK_API_H

#define VK_NO_PROTOTYPES
#include <vulkan/vulkan_core.h>

/* Found without an instance. */
#define VK_API_GLOBAL(X)                                                                                               \
    X(CreateInstance)                                                                                                  \
    X(EnumerateInstanceVersion)                                                                                        \
    X(EnumerateInstanceExtensionProperties)                                                                            \
    X(EnumerateInstanceLayerProperties)

#define VK_API_INSTANCE(X)                                                                                             \
    X(DestroyInstance)                                                                                                 \
    X(EnumeratePhysicalDevices)                                                                                        \
    X(EnumerateDeviceExtensionProperties)                                                                              \
    X(GetPhysicalDeviceProperties2)                                                                                    \
    X(GetPhysicalDeviceFeatures2)                                                                                      \
    X(GetPhysicalDeviceMemoryProperties)                                                                               \
    X(GetPhysicalDeviceQueueFamilyProperties)                                                                          \
    X(CreateDevice)                                                                                                    \
    X(DestroyDevice)                                                                                                   \
    X(GetDeviceQueue)                                                                                                  \
    X(CreateBuffer)                                                                                                    \
    X(DestroyBuffer)                                                                                                   \
    X(GetBufferMemoryRequirements)                                                                                     \
    X(AllocateMemory)                                                                                                  \
    X(FreeMemory)                                                                                                      \
    X(BindBufferMemory)                                                                                                \
    X(MapMemory)                                                                                                       \
    X(GetBufferDeviceAddress)                                                                                          \
    X(CreateShaderModule)                                                                                              \
    X(DestroyShaderModule)                                                                                             \
    X(CreatePipelineLayout)                                                                                            \
    X(DestroyPipelineLayout)                                                                                           \
    X(CreatePipelineCache)                                                                                             \
    X(DestroyPipelineCache)                                                                                            \
    X(GetPipelineCacheData)                                                                                            \
    X(CreateComputePipelines)                                                                                          \
    X(DestroyPipeline)                                                                                                 \
    X(CreateSemaphore)                                                                                                 \
    X(DestroySemaphore)                                                                                                \
    X(WaitSemaphores)                                                                                                  \
    X(GetSemaphoreCounterValue)                                                                                        \
    X(CreateCommandPool)                                                                                               \
    X(DestroyCommandPool)                                                                                              \
    X(AllocateCommandBuffers)                                                                                          \
    X(BeginCommandBuffer)                                                                                              \
    X(EndCommandBuffer)                                                                                                \
    X(QueueSubmit)                                                                                                     \
    X(CmdBindPipeline)                                                                                                 \
    X(CmdPushConstants)                                                                                                \
    X(CmdDispatch)                                                                                                     \
    X(CmdPipelineBarrier)                                                                                              \
    X(CmdCopyBuffer)                                                                                                   \
    X(CmdFillBuffer)

/* May be NULL: called only where the extension was found. */
#define VK_API_OPTIONAL(X)                                                                                             \
    X(CreateDebugUtilsMessengerEXT)                                                                                    \
    X(DestroyDebugUtilsMessengerEXT)                                                                                   \
    X(GetMemoryHostPointerPropertiesEXT)                                                                               \
    X(GetPipelineExecutablePropertiesKHR)                                                                              \
    X(GetPipelineExecutableStatisticsKHR)

#define VK_API_MEMBER(name) PFN_vk##name name;
struct vk_api {
    PFN_vkGetInstanceProcAddr GetInstanceProcAddr;
    VK_API_GLOBAL(VK_API_MEMBER)
    VK_API_INSTANCE(VK_API_MEMBER)
    VK_API_OPTIONAL(VK_API_MEMBER)
};
#undef VK_API_MEMBER

extern struct vk_api tenon__vk;

/* Opens the Vulkan loader and fills in the global part. NULL, or the reason why there is no Vulkan on this machine.
 * Never closes the library: drivers do not survive that. */
const char *tenon__vk_api_load(void);

/* Fills in the rest. NULL, or the name of a mandatory function that the instance does not have. */
const char *tenon__vk_api_instance(VkInstance instance);

/* "VK_ERROR_OUT_OF_HOST_MEMORY" */
const char *tenon__vk_result_name(VkResult result);

#endif
