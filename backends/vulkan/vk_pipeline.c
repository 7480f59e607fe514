/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Pipelines: one a (kernel, specialisation constants), shared by plans; what the driver compiled is kept on disk. */
#include "vk.h"

#include <string.h>

/* ---- the cache on disk ---- */

struct cache_key {
    uint32_t vendor_id, device_id, driver_version;
    uint8_t uuid[VK_UUID_SIZE];
};

static struct cache_key cache_key(const struct vk_adapter *adapter)
{
    struct cache_key key = {adapter->info.vendor_id, adapter->device_id, adapter->driver_version, {0}};
    memcpy(key.uuid, adapter->cache_uuid, sizeof key.uuid);
    return key;
}

/* Some drivers trust the data: they get only what says to be theirs. */
static int cache_is_ours(const struct vk_adapter *adapter, const void *data, size_t size)
{
    VkPipelineCacheHeaderVersionOne header;
    if (size < sizeof header)
        return 0;
    memcpy(&header, data, sizeof header);
    return header.headerSize >= sizeof header && header.headerSize <= size &&
           header.headerVersion == VK_PIPELINE_CACHE_HEADER_VERSION_ONE && header.vendorID == adapter->info.vendor_id &&
           header.deviceID == adapter->device_id &&
           memcmp(header.pipelineCacheUUID, adapter->cache_uuid, VK_UUID_SIZE) == 0;
}

static VkResult create_cache(struct tenon_device *device)
{
    struct cache_key key = cache_key(device->adapter);
    VkPipelineCacheCreateInfo info = {.sType = VK_STRUCTURE_TYPE_PIPELINE_CACHE_CREATE_INFO};
    void *data = NULL;
    size_t size = 0;
    if (gpu_cache_load(tenon__vk_host, "vulkan", &key, sizeof key, &data, &size) &&
        cache_is_ours(device->adapter, data, size)) {
        info.pInitialData = data;
        info.initialDataSize = size;
    }
    VkResult result = tenon__vk.CreatePipelineCache(device->device, &info, NULL, &device->cache);
    tenon__vk_free(data);
    return result;
}

/* Only ever costs the cache: nothing here is a failure of the caller's. */
static void store_cache(struct tenon_device *device)
{
    size_t size = 0;
    if (tenon__vk.GetPipelineCacheData(device->device, device->cache, &size, NULL) < 0 || size == 0)
        return;
    void *data = tenon__vk_host->alloc(tenon__vk_host, size, 16);
    if (!data)
        return;
    if (tenon__vk.GetPipelineCacheData(device->device, device->cache, &size, data) == VK_SUCCESS &&
        cache_is_ours(device->adapter, data, size)) {
        struct cache_key key = cache_key(device->adapter);
        gpu_cache_store(tenon__vk_host, "vulkan", &key, sizeof key, data, size);
    }
    tenon__vk_free(data);
}

/* ---- compiling ---- */

/* The words of the richest variant that the device can run. */
static const uint32_t *find_spirv(const struct gpu_kernel *kernel, uint32_t can, size_t *size)
{
    for (uint32_t variant = 8; variant-- > 0;)
        if (kernel->spirv[variant] && (variant & ~can) == 0) {
            *size = kernel->spirv_size[variant];
            return kernel->spirv[variant];
        }
    return NULL;
}

int32_t tenon__vk_pipeline_compile(struct tenon_device *device, const struct gpu_kernel *kernel, uint32_t n_specs,
                                   const uint32_t *spec, VkPipelineCreateFlags flags, VkPipeline *pipeline)
{
    VkShaderModuleCreateInfo module_info = {.sType = VK_STRUCTURE_TYPE_SHADER_MODULE_CREATE_INFO};
    module_info.pCode = find_spirv(kernel, device->adapter->variant, &module_info.codeSize);
    if (!module_info.pCode)
        return tenon__vk_fail(TENON_E_UNSUPPORTED, "kernel %s has no variant for this device", kernel->name);
    VkShaderModule module;
    VkResult result = tenon__vk.CreateShaderModule(device->device, &module_info, NULL, &module);
    if (result < 0)
        return tenon__vk_failed(device, result, "vkCreateShaderModule");

    VkSpecializationMapEntry entries[GPU_SPEC_MAX];
    for (uint32_t i = 0; i < n_specs; i++)
        entries[i] = (VkSpecializationMapEntry){.constantID = i, .offset = i * 4, .size = 4};
    VkSpecializationInfo specialization = {
        .mapEntryCount = n_specs, .pMapEntries = entries, .dataSize = n_specs * sizeof *spec, .pData = spec};
    VkComputePipelineCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_COMPUTE_PIPELINE_CREATE_INFO,
        .flags = flags,
        .stage = {.sType = VK_STRUCTURE_TYPE_PIPELINE_SHADER_STAGE_CREATE_INFO,
                  .stage = VK_SHADER_STAGE_COMPUTE_BIT,
                  .module = module,
                  .pName = "main",
                  .pSpecializationInfo = &specialization},
        .layout = device->layout,
    };
    result = tenon__vk.CreateComputePipelines(device->device, device->cache, 1, &info, NULL, pipeline);
    tenon__vk.DestroyShaderModule(device->device, module, NULL);
    if (result < 0)
        return tenon__vk_failed(device, result, "vkCreateComputePipelines");
    return TENON_OK;
}

/* ---- the map ---- */

static uint32_t hash_launch(const struct gpu_launch *launch)
{
    uint32_t hash = 2166136261u; /* FNV-1a over the constants; the kernel is compared by its place in the table */
    for (uint32_t i = 0; i < launch->n_specs; i++)
        hash = (hash ^ launch->spec[i]) * 16777619u;
    return hash ^ (uint32_t)((uintptr_t)launch->kernel >> 4);
}

static struct vk_pipeline *find(struct vk_pipeline *node, uint32_t hash, const struct gpu_launch *launch)
{
    while (node && !(node->hash == hash && node->kernel == launch->kernel && node->n_specs == launch->n_specs &&
                     memcmp(node->spec, launch->spec, node->n_specs * sizeof node->spec[0]) == 0))
        node = node->next;
    return node;
}

static int32_t make(struct tenon_device *device, uint32_t hash, const struct gpu_launch *launch,
                    struct vk_pipeline **out)
{
    struct vk_pipeline *node = tenon__vk_alloc(sizeof *node);
    if (!node)
        return TENON_E_NOMEM;
    node->kernel = launch->kernel;
    node->hash = hash;
    node->n_specs = launch->n_specs;
    memcpy(node->spec, launch->spec, node->n_specs * sizeof node->spec[0]);
    int32_t status = tenon__vk_pipeline_compile(device, node->kernel, node->n_specs, node->spec, 0, &node->pipeline);
    if (status) {
        tenon__vk_free(node);
        return status;
    }
    struct vk_pipeline **bucket = &device->bucket[hash % VK_PIPELINE_BUCKETS];
    node->next = *bucket;
    *bucket = node;
    device->new_pipelines++;
    *out = node;
    return TENON_OK;
}

int32_t tenon__vk_pipeline_get(struct tenon_device *device, const struct gpu_launch *launch,
                               struct vk_pipeline **pipeline)
{
    uint32_t hash = hash_launch(launch);
    int32_t status = TENON_OK;
    pthread_mutex_lock(&device->pipeline_lock);
    struct vk_pipeline *node = find(device->bucket[hash % VK_PIPELINE_BUCKETS], hash, launch);
    if (!node)
        status = make(device, hash, launch, &node);
    else if (node->users == 0)
        device->unused_pipelines--;
    if (!status) {
        node->users++;
        *pipeline = node;
    }
    pthread_mutex_unlock(&device->pipeline_lock);
    return status;
}

static void drop_oldest(struct tenon_device *device)
{
    struct vk_pipeline **oldest = NULL;
    for (uint32_t i = 0; i < VK_PIPELINE_BUCKETS; i++)
        for (struct vk_pipeline **at = &device->bucket[i]; *at; at = &(*at)->next)
            if ((*at)->users == 0 && (!oldest || (*at)->retired < (*oldest)->retired))
                oldest = at;
    struct vk_pipeline *node = *oldest;
    *oldest = node->next;
    tenon__vk.DestroyPipeline(device->device, node->pipeline, NULL);
    tenon__vk_free(node);
    device->unused_pipelines--;
}

void tenon__vk_pipeline_put(struct tenon_device *device, struct vk_pipeline *pipeline)
{
    pthread_mutex_lock(&device->pipeline_lock);
    if (--pipeline->users == 0) {
        pipeline->retired = ++device->retirements;
        if (++device->unused_pipelines > VK_PIPELINES_UNUSED)
            drop_oldest(device);
    }
    pthread_mutex_unlock(&device->pipeline_lock);
}

int32_t tenon__vk_pipelines_init(struct tenon_device *device)
{
    VkPushConstantRange range = {.stageFlags = VK_SHADER_STAGE_COMPUTE_BIT, .offset = 0, .size = GPU_ARGS_MAX};
    VkPipelineLayoutCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_LAYOUT_CREATE_INFO,
        .pushConstantRangeCount = 1,
        .pPushConstantRanges = &range,
    };
    VkResult result = tenon__vk.CreatePipelineLayout(device->device, &info, NULL, &device->layout);
    if (result < 0)
        return tenon__vk_failed(device, result, "vkCreatePipelineLayout");
    result = create_cache(device);
    if (result < 0) {
        tenon__vk.DestroyPipelineLayout(device->device, device->layout, NULL);
        return tenon__vk_failed(device, result, "vkCreatePipelineCache");
    }
    pthread_mutex_init(&device->pipeline_lock, NULL);
    return TENON_OK;
}

void tenon__vk_pipelines_finish(struct tenon_device *device)
{
    if (device->new_pipelines && !device->lost)
        store_cache(device);
    for (uint32_t i = 0; i < VK_PIPELINE_BUCKETS; i++) {
        struct vk_pipeline *node = device->bucket[i];
        while (node) {
            struct vk_pipeline *next = node->next;
            tenon__vk.DestroyPipeline(device->device, node->pipeline, NULL);
            tenon__vk_free(node);
            node = next;
        }
    }
    tenon__vk.DestroyPipelineCache(device->device, device->cache, NULL);
    tenon__vk.DestroyPipelineLayout(device->device, device->layout, NULL);
    pthread_mutex_destroy(&device->pipeline_lock);
}
