/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The instance, and the physical devices that can run the kernels, in a stable order. */
#include "vk.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static VkInstance instance;
static VkDebugUtilsMessengerEXT messenger;
static struct vk_adapter adapters[VK_ADAPTERS_MAX];
static uint32_t n_adapters;
static int discovered;
static atomic_uint validation_messages;

uint32_t tenon__vk_validation_messages(void)
{
    return validation_messages;
}

static VkBool32 VKAPI_PTR validation_message(VkDebugUtilsMessageSeverityFlagBitsEXT severity,
                                             VkDebugUtilsMessageTypeFlagsEXT types,
                                             const VkDebugUtilsMessengerCallbackDataEXT *data, void *user)
{
    (void)severity, (void)types, (void)user;
    validation_messages++;
    tenon__vk_log(TENON_LOG_ERROR, "vulkan validation: %s", data->pMessage);
    return VK_FALSE;
}

static int wanted(const char *key)
{
    const char *value = tenon__vk_host->config(tenon__vk_host, key);
    return value && strcmp(value, "1") == 0;
}

static const VkDebugUtilsMessengerCreateInfoEXT messenger_info = {
    .sType = VK_STRUCTURE_TYPE_DEBUG_UTILS_MESSENGER_CREATE_INFO_EXT,
    .messageSeverity =
        VK_DEBUG_UTILS_MESSAGE_SEVERITY_WARNING_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_SEVERITY_ERROR_BIT_EXT,
    .messageType = VK_DEBUG_UTILS_MESSAGE_TYPE_VALIDATION_BIT_EXT | VK_DEBUG_UTILS_MESSAGE_TYPE_PERFORMANCE_BIT_EXT,
    .pfnUserCallback = validation_message,
};

static VkResult create_instance(void)
{
    static const VkValidationFeatureEnableEXT enabled[] = {
        VK_VALIDATION_FEATURE_ENABLE_SYNCHRONIZATION_VALIDATION_EXT,
    };
    static const VkValidationFeaturesEXT features = {
        .sType = VK_STRUCTURE_TYPE_VALIDATION_FEATURES_EXT,
        .pNext = &messenger_info,
        .enabledValidationFeatureCount = sizeof enabled / sizeof enabled[0],
        .pEnabledValidationFeatures = enabled,
    };
    static const char *const layer = "VK_LAYER_KHRONOS_validation";
    static const char *const extension = VK_EXT_DEBUG_UTILS_EXTENSION_NAME;
    VkApplicationInfo application = {
        .sType = VK_STRUCTURE_TYPE_APPLICATION_INFO,
        .pApplicationName = "tenon",
        .pEngineName = "tenon",
        .apiVersion = VK_API_VERSION_1_2,
    };
    int validation = wanted("validation");
    VkInstanceCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_INSTANCE_CREATE_INFO,
        .pNext = validation ? &features : NULL,
        .pApplicationInfo = &application,
        .enabledLayerCount = validation ? 1 : 0,
        .ppEnabledLayerNames = &layer,
        .enabledExtensionCount = validation ? 1 : 0,
        .ppEnabledExtensionNames = &extension,
    };
    VkResult result = tenon__vk.CreateInstance(&info, NULL, &instance);
    if (validation && (result == VK_ERROR_LAYER_NOT_PRESENT || result == VK_ERROR_EXTENSION_NOT_PRESENT)) {
        /* Who asked for validation must not take silence for success. */
        validation_messages++;
        tenon__vk_log(TENON_LOG_ERROR, "vulkan validation: %s is not installed", layer);
    }
    return result;
}

static void destroy_instance(void)
{
    if (messenger)
        tenon__vk.DestroyDebugUtilsMessengerEXT(instance, messenger, NULL);
    if (instance && tenon__vk.DestroyInstance)
        tenon__vk.DestroyInstance(instance, NULL);
    messenger = VK_NULL_HANDLE;
    instance = VK_NULL_HANDLE;
}

static int has_extension(const VkExtensionProperties *list, uint32_t n, const char *name)
{
    for (uint32_t i = 0; i < n; i++)
        if (strcmp(list[i].extensionName, name) == 0)
            return 1;
    return 0;
}

/* A type with all of `need`, with all of `wish` if possible; -1: none has what is needed. */
static int32_t memory_type(const VkPhysicalDeviceMemoryProperties *memory, VkMemoryPropertyFlags need,
                           VkMemoryPropertyFlags wish)
{
    int32_t found = -1;
    for (uint32_t i = 0; i < memory->memoryTypeCount; i++) {
        VkMemoryPropertyFlags flags = memory->memoryTypes[i].propertyFlags;
        if ((flags & need) != need || flags & VK_MEMORY_PROPERTY_PROTECTED_BIT)
            continue;
        if ((flags & wish) == wish)
            return (int32_t)i;
        if (found < 0)
            found = (int32_t)i;
    }
    return found;
}

static void choose_memory(struct vk_adapter *adapter, VkPhysicalDeviceType type)
{
    const VkMemoryPropertyFlags local = VK_MEMORY_PROPERTY_DEVICE_LOCAL_BIT;
    const VkMemoryPropertyFlags visible =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    const VkMemoryPropertyFlags cached = VK_MEMORY_PROPERTY_HOST_CACHED_BIT;
    const VkPhysicalDeviceMemoryProperties *memory = &adapter->memory;

    adapter->memory_upload = memory_type(memory, visible, 0);
    adapter->memory_download = memory_type(memory, visible | cached, 0);
    if (adapter->memory_download < 0)
        adapter->memory_download = adapter->memory_upload;
    /* A discrete card may show its memory to the host, but reading it through PCI is slower than any copy. "staging"
     * forces the other path for tests. */
    int32_t shared = memory_type(memory, local | visible, cached);
    if (shared >= 0 && (type == VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU || type == VK_PHYSICAL_DEVICE_TYPE_CPU) &&
        !wanted("staging")) {
        adapter->unified = 1;
        adapter->memory_device = shared;
    } else {
        adapter->memory_device = memory_type(memory, local, 0);
        if (adapter->memory_device < 0)
            adapter->memory_device = adapter->memory_upload;
    }
}

static uint32_t tenon_type(VkPhysicalDeviceType type)
{
    switch (type) {
    case VK_PHYSICAL_DEVICE_TYPE_INTEGRATED_GPU:
        return TENON_TYPE_IGPU;
    case VK_PHYSICAL_DEVICE_TYPE_DISCRETE_GPU:
    case VK_PHYSICAL_DEVICE_TYPE_VIRTUAL_GPU:
        return TENON_TYPE_GPU;
    case VK_PHYSICAL_DEVICE_TYPE_CPU:
        return TENON_TYPE_CPU;
    default:
        return TENON_TYPE_ACCEL;
    }
}

/* What was asked of a physical device, linked together. */
struct answers {
    VkPhysicalDeviceProperties2 properties;
    VkPhysicalDeviceVulkan11Properties p11;
    VkPhysicalDeviceVulkan12Properties p12;
    VkPhysicalDeviceMaintenance4Properties maintenance4;
    VkPhysicalDevicePCIBusInfoPropertiesEXT pci;
    VkPhysicalDeviceExternalMemoryHostPropertiesEXT import;
    VkPhysicalDeviceFeatures2 features;
    VkPhysicalDeviceVulkan11Features f11;
    VkPhysicalDeviceVulkan12Features f12;
    VkPhysicalDevicePipelineExecutablePropertiesFeaturesKHR executable;
};

/* Puts `structure` (an sType, a pNext, ...) behind `*tail`. */
static void chain(void ***tail, void *structure, VkStructureType type)
{
    VkBaseOutStructure *base = structure;
    base->sType = type;
    base->pNext = NULL;
    **tail = base;
    *tail = (void **)&base->pNext;
}

static void ask(struct answers *a, VkPhysicalDevice physical, const VkExtensionProperties *list, uint32_t n,
                uint32_t version)
{
    memset(a, 0, sizeof *a);
    a->properties.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2;
    void **tail = &a->properties.pNext;
    chain(&tail, &a->p11, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_PROPERTIES);
    chain(&tail, &a->p12, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_PROPERTIES);
    if (version >= VK_API_VERSION_1_3 || has_extension(list, n, VK_KHR_MAINTENANCE_4_EXTENSION_NAME))
        chain(&tail, &a->maintenance4, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_MAINTENANCE_4_PROPERTIES);
    if (has_extension(list, n, VK_EXT_PCI_BUS_INFO_EXTENSION_NAME))
        chain(&tail, &a->pci, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PCI_BUS_INFO_PROPERTIES_EXT);
    if (has_extension(list, n, VK_EXT_EXTERNAL_MEMORY_HOST_EXTENSION_NAME))
        chain(&tail, &a->import, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_EXTERNAL_MEMORY_HOST_PROPERTIES_EXT);
    tenon__vk.GetPhysicalDeviceProperties2(physical, &a->properties);

    a->features.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_FEATURES_2;
    tail = &a->features.pNext;
    chain(&tail, &a->f11, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_1_FEATURES);
    chain(&tail, &a->f12, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_VULKAN_1_2_FEATURES);
    if (has_extension(list, n, VK_KHR_PIPELINE_EXECUTABLE_PROPERTIES_EXTENSION_NAME))
        chain(&tail, &a->executable, VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PIPELINE_EXECUTABLE_PROPERTIES_FEATURES_KHR);
    tenon__vk.GetPhysicalDeviceFeatures2(physical, &a->features);
}

static void fill_limits(struct vk_adapter *adapter, const struct answers *a)
{
    const VkPhysicalDeviceLimits *limits = &a->properties.properties.limits;
    adapter->max_buffer = a->p11.maxMemoryAllocationSize;
    if (a->maintenance4.maxBufferSize && a->maintenance4.maxBufferSize < adapter->max_buffer)
        adapter->max_buffer = a->maintenance4.maxBufferSize;
    if (adapter->memory_device >= 0) {
        uint32_t heap = adapter->memory.memoryTypes[adapter->memory_device].heapIndex;
        adapter->info.mem_total = adapter->memory.memoryHeaps[heap].size;
        if (adapter->info.mem_total < adapter->max_buffer)
            adapter->max_buffer = adapter->info.mem_total;
    }
    adapter->max_buffer &= ~(uint64_t)(VK_BIND_ALIGN - 1);
    adapter->max_allocations = limits->maxMemoryAllocationCount;

    adapter->int64 = a->features.features.shaderInt64 != 0;
    adapter->int16 = a->features.features.shaderInt16 != 0;
    adapter->int8 = a->f12.shaderInt8 != 0;
    adapter->float16 = a->f12.shaderFloat16 != 0;
    uint32_t storage16 = a->f11.storageBuffer16BitAccess && a->f12.storageBuffer8BitAccess;
    adapter->variant = (storage16 ? 1u : 0) | (a->p12.shaderSignedZeroInfNanPreserveFloat32 ? 2u : 0) |
                       (adapter->int64 ? 4u : 0);
    uint32_t wg_max = limits->maxComputeWorkGroupInvocations;
    if (limits->maxComputeWorkGroupSize[0] < wg_max)
        wg_max = limits->maxComputeWorkGroupSize[0];
    adapter->limits = (struct gpu_limits){
        .wg_max = wg_max,
        .shared_max = limits->maxComputeSharedMemorySize,
        .groups_max = {limits->maxComputeWorkGroupCount[0], limits->maxComputeWorkGroupCount[1],
                       limits->maxComputeWorkGroupCount[2]},
        .subgroup = a->p11.subgroupSize,
        .buffer_max = adapter->max_buffer,
        .software = a->properties.properties.deviceType == VK_PHYSICAL_DEVICE_TYPE_CPU,
        .storage16 = storage16,
        .loop_max = a->p12.driverID == VK_DRIVER_ID_MESA_LLVMPIPE ? 65535 : 0,
    };
}

static void fill_info(struct vk_adapter *adapter, const struct answers *a)
{
    const VkPhysicalDeviceProperties *properties = &a->properties.properties;
    struct tenon_device_info *info = &adapter->info;
    uint64_t align = a->import.minImportedHostPointerAlignment;
    /* What lies between the end of the caller's memory and the next multiple of the alignment is in the same page. */
    adapter->import = align && align <= (uint64_t)sysconf(_SC_PAGESIZE);
    info->type = tenon_type(properties->deviceType);
    info->caps = TENON_CAP_XQUEUE | (adapter->unified ? TENON_CAP_UNIFIED : 0) |
                 (adapter->import ? TENON_CAP_IMPORT : 0) | (adapter->limits.software ? TENON_CAP_SOFTWARE : 0);
    info->max_buffer = adapter->max_buffer;
    info->bind_align = VK_BIND_ALIGN;
    info->import_align = adapter->import ? (uint32_t)align : 0;
    info->max_queues = 64;
    info->vendor_id = properties->vendorID;
    memcpy(info->uuid, a->p11.deviceUUID, sizeof info->uuid);
    snprintf(info->name, sizeof info->name, "%.127s", properties->deviceName);
    snprintf(info->driver, sizeof info->driver, "%.31s %.31s", a->p12.driverName, a->p12.driverInfo);
    if (a->pci.sType)
        snprintf(info->location, sizeof info->location, "%04x:%02x:%02x.%x", a->pci.pciDomain, a->pci.pciBus,
                 a->pci.pciDevice, a->pci.pciFunction);
    adapter->device_id = properties->deviceID;
    adapter->driver_version = properties->driverVersion;
    memcpy(adapter->cache_uuid, properties->pipelineCacheUUID, VK_UUID_SIZE);
}

/* A family for compute alone runs beside the desktop's graphics where there is one. */
static int choose_family(struct vk_adapter *adapter)
{
    VkQueueFamilyProperties families[16];
    uint32_t n = 16;
    int found = 0;
    tenon__vk.GetPhysicalDeviceQueueFamilyProperties(adapter->physical, &n, families);
    for (uint32_t i = 0; i < n; i++) {
        if (!(families[i].queueFlags & VK_QUEUE_COMPUTE_BIT) || !families[i].queueCount)
            continue;
        if (found && families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT)
            continue;
        adapter->family = i;
        adapter->n_queues = families[i].queueCount < VK_QUEUES_MAX ? families[i].queueCount : VK_QUEUES_MAX;
        found = 1;
        if (!(families[i].queueFlags & VK_QUEUE_GRAPHICS_BIT))
            break;
    }
    return found;
}

/* NULL, or why the device cannot run the kernels. */
static const char *fill_adapter(struct vk_adapter *adapter, const struct answers *a)
{
    if (!a->f12.bufferDeviceAddress)
        return "no bufferDeviceAddress";
    if (!a->f12.timelineSemaphore)
        return "no timelineSemaphore";
    if (!choose_family(adapter))
        return "no queue family for compute";
    tenon__vk.GetPhysicalDeviceMemoryProperties(adapter->physical, &adapter->memory);
    choose_memory(adapter, a->properties.properties.deviceType);
    if (adapter->memory_upload < 0 && !wanted("compile_only"))
        return "no memory that host and device share coherently";
    fill_limits(adapter, a);
    fill_info(adapter, a);
    adapter->statistics = a->executable.pipelineExecutableInfo != 0;
    return NULL;
}

static int32_t look_at(VkPhysicalDevice physical)
{
    VkPhysicalDeviceProperties2 basic = {.sType = VK_STRUCTURE_TYPE_PHYSICAL_DEVICE_PROPERTIES_2};
    tenon__vk.GetPhysicalDeviceProperties2(physical, &basic);
    const char *name = basic.properties.deviceName;
    uint32_t version = basic.properties.apiVersion;
    if (version < VK_API_VERSION_1_2) {
        tenon__vk_log(TENON_LOG_INFO, "vulkan: %s is left out: Vulkan %u.%u, 1.2 is needed", name,
                      VK_API_VERSION_MAJOR(version), VK_API_VERSION_MINOR(version));
        return TENON_OK;
    }
    uint32_t n = 0;
    VkResult result = tenon__vk.EnumerateDeviceExtensionProperties(physical, NULL, &n, NULL);
    if (result < 0)
        return tenon__vk_failed(NULL, result, "vkEnumerateDeviceExtensionProperties");
    VkExtensionProperties *list = tenon__vk_alloc((n ? n : 1) * sizeof *list);
    if (!list)
        return TENON_E_NOMEM;
    int32_t status = TENON_OK;
    result = tenon__vk.EnumerateDeviceExtensionProperties(physical, NULL, &n, list);
    if (result < 0) {
        status = tenon__vk_failed(NULL, result, "vkEnumerateDeviceExtensionProperties");
        goto free_list;
    }
    struct vk_adapter *adapter = &adapters[n_adapters];
    memset(adapter, 0, sizeof *adapter);
    adapter->physical = physical;
    struct answers a;
    ask(&a, physical, list, n, version);
    const char *missing = fill_adapter(adapter, &a);
    if (missing)
        tenon__vk_log(TENON_LOG_INFO, "vulkan: %s is left out: %s", name, missing);
    else
        n_adapters++;
free_list:
    tenon__vk_free(list);
    return status;
}

static int compare_adapters(const void *left, const void *right)
{
    const struct vk_adapter *a = left, *b = right;
    int order = strcmp(a->info.location, b->info.location);
    return order ? order : memcmp(a->info.uuid, b->info.uuid, sizeof a->info.uuid);
}

static int32_t find_adapters(void)
{
    VkPhysicalDevice physical[VK_ADAPTERS_MAX];
    uint32_t n = VK_ADAPTERS_MAX;
    VkResult result = tenon__vk.EnumeratePhysicalDevices(instance, &n, physical);
    if (result == VK_ERROR_INITIALIZATION_FAILED) { /* what the loader says when no driver found hardware */
        tenon__vk_log(TENON_LOG_INFO, "vulkan: no device: %s", tenon__vk_result_name(result));
        return TENON_OK;
    }
    if (result < 0)
        return tenon__vk_failed(NULL, result, "vkEnumeratePhysicalDevices");
    if (result == VK_INCOMPLETE)
        tenon__vk_log(TENON_LOG_WARN, "vulkan: more than %d devices, the others are left out", VK_ADAPTERS_MAX);
    n_adapters = 0;
    for (uint32_t i = 0; i < n; i++) {
        int32_t status = look_at(physical[i]);
        if (status)
            return status;
    }
    qsort(adapters, n_adapters, sizeof adapters[0], compare_adapters);
    return TENON_OK;
}

static int32_t discover(void)
{
    const char *missing = tenon__vk_api_load();
    if (missing) {
        tenon__vk_log(TENON_LOG_INFO, "vulkan: no device: %s", missing);
        return TENON_OK;
    }
    uint32_t version = 0;
    VkResult result = tenon__vk.EnumerateInstanceVersion(&version);
    if (result < 0)
        return tenon__vk_failed(NULL, result, "vkEnumerateInstanceVersion");
    if (version < VK_API_VERSION_1_2) {
        tenon__vk_log(TENON_LOG_INFO, "vulkan: no device: the Vulkan loader is older than 1.2");
        return TENON_OK;
    }
    result = create_instance();
    if (result == VK_ERROR_OUT_OF_HOST_MEMORY || result == VK_ERROR_OUT_OF_DEVICE_MEMORY)
        return tenon__vk_failed(NULL, result, "vkCreateInstance");
    if (result < 0) {
        tenon__vk_log(TENON_LOG_INFO, "vulkan: no device: vkCreateInstance: %s", tenon__vk_result_name(result));
        return TENON_OK;
    }
    const char *function = tenon__vk_api_instance(instance);
    int32_t status = TENON_OK;
    if (function) {
        tenon__vk_log(TENON_LOG_INFO, "vulkan: no device: the loader has no %s", function);
    } else if (wanted("validation") &&
               (result = tenon__vk.CreateDebugUtilsMessengerEXT(instance, &messenger_info, NULL, &messenger)) < 0) {
        status = tenon__vk_failed(NULL, result, "vkCreateDebugUtilsMessengerEXT");
    } else {
        status = find_adapters();
    }
    if (status || function)
        destroy_instance();
    return status;
}

int32_t tenon__vk_adapters(uint32_t *count)
{
    *count = 0;
    if (!discovered) {
        n_adapters = 0;
        int32_t status = discover();
        if (status) {
            n_adapters = 0;
            return status;
        }
        discovered = 1;
    }
    *count = n_adapters;
    return TENON_OK;
}

const struct vk_adapter *tenon__vk_adapter(uint32_t index)
{
    if (index < n_adapters)
        return &adapters[index];
    tenon__vk_fail(TENON_E_NODEVICE, "vulkan device %u: there are %u", index, n_adapters);
    return NULL;
}
