/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Extension "tenon.kernels/1": the statistics of VK_KHR_pipeline_executable_properties. */
#include "vk.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <tenon/kernels.h>

#define LINE_ROOM 8192
#define EXECUTABLES_MAX 8
#define STATISTICS_MAX 64

struct text {
    char data[LINE_ROOM];
    size_t size;
};

static void TENON_PRINTF(2, 3) add(struct text *text, const char *format, ...)
{
    va_list list;
    va_start(list, format);
    int n = vsnprintf(text->data + text->size, sizeof text->data - text->size, format, list);
    va_end(list);
    if (n > 0)
        text->size += (size_t)n;
    if (text->size >= sizeof text->data)
        text->size = sizeof text->data - 1;
}

static void add_string(struct text *text, const char *string)
{
    add(text, "\"");
    for (; *string; string++) {
        if (*string == '"' || *string == '\\')
            add(text, "\\%c", *string);
        else if ((unsigned char)*string >= ' ')
            add(text, "%c", *string);
    }
    add(text, "\"");
}

static void add_statistic(struct text *text, const VkPipelineExecutableStatisticKHR *statistic)
{
    add_string(text, statistic->name);
    switch (statistic->format) {
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_BOOL32_KHR:
        add(text, ":%u", statistic->value.b32);
        break;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_INT64_KHR:
        add(text, ":%lld", (long long)statistic->value.i64);
        break;
    case VK_PIPELINE_EXECUTABLE_STATISTIC_FORMAT_UINT64_KHR:
        add(text, ":%llu", (unsigned long long)statistic->value.u64);
        break;
    default:
        add(text, ":%.17g", statistic->value.f64);
        break;
    }
}

static int32_t add_statistics(struct tenon_device *device, VkPipeline pipeline, uint32_t index, struct text *text)
{
    VkPipelineExecutableInfoKHR which = {
        .sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_INFO_KHR, .pipeline = pipeline, .executableIndex = index};
    uint32_t n = STATISTICS_MAX;
    VkPipelineExecutableStatisticKHR *statistic = tenon__vk_alloc(n * sizeof *statistic);
    if (!statistic)
        return TENON_E_NOMEM;
    for (uint32_t i = 0; i < n; i++)
        statistic[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_STATISTIC_KHR;
    VkResult result = tenon__vk.GetPipelineExecutableStatisticsKHR(device->device, &which, &n, statistic);
    int32_t status = result < 0 ? tenon__vk_failed(device, result, "vkGetPipelineExecutableStatisticsKHR") : TENON_OK;
    for (uint32_t i = 0; !status && i < n; i++) {
        add(text, i ? "," : "");
        add_statistic(text, &statistic[i]);
    }
    tenon__vk_free(statistic);
    return status;
}

static void begin_line(struct text *text, const struct vk_pipeline *node)
{
    text->size = 0;
    add(text, "{\"kernel\":");
    add_string(text, node->kernel->name);
    add(text, ",\"specs\":[");
    for (uint32_t i = 0; i < node->n_specs; i++)
        add(text, "%s%u", i ? "," : "", node->spec[i]);
    add(text, "]");
}

static int32_t report_executables(struct tenon_device *device, const struct vk_pipeline *node, VkPipeline pipeline,
                                  struct text *text, void (*line)(void *, const char *), void *user)
{
    VkPipelineInfoKHR which = {.sType = VK_STRUCTURE_TYPE_PIPELINE_INFO_KHR, .pipeline = pipeline};
    VkPipelineExecutablePropertiesKHR executable[EXECUTABLES_MAX];
    uint32_t n = EXECUTABLES_MAX;
    memset(executable, 0, sizeof executable);
    for (uint32_t i = 0; i < n; i++)
        executable[i].sType = VK_STRUCTURE_TYPE_PIPELINE_EXECUTABLE_PROPERTIES_KHR;
    VkResult result = tenon__vk.GetPipelineExecutablePropertiesKHR(device->device, &which, &n, executable);
    if (result < 0)
        return tenon__vk_failed(device, result, "vkGetPipelineExecutablePropertiesKHR");
    for (uint32_t i = 0; i < n; i++) {
        begin_line(text, node);
        add(text, ",\"executable\":");
        add_string(text, executable[i].name);
        add(text, ",\"subgroup\":%u,\"statistics\":{", executable[i].subgroupSize);
        int32_t status = add_statistics(device, pipeline, i, text);
        if (status)
            return status;
        add(text, "}}");
        line(user, text->data);
    }
    return TENON_OK;
}

static int32_t report_pipeline(struct tenon_device *device, const struct vk_pipeline *node, struct text *text,
                               void (*line)(void *, const char *), void *user)
{
    if (!device->adapter->statistics) {
        begin_line(text, node);
        add(text, ",\"executable\":\"\",\"subgroup\":%u,\"statistics\":{}}", device->adapter->limits.subgroup);
        line(user, text->data);
        return TENON_OK;
    }
    VkPipeline pipeline;
    int32_t status = tenon__vk_pipeline_compile(device, node->kernel, node->n_specs, node->spec,
                                                VK_PIPELINE_CREATE_CAPTURE_STATISTICS_BIT_KHR, &pipeline);
    if (status)
        return status;
    status = report_executables(device, node, pipeline, text, line, user);
    tenon__vk.DestroyPipeline(device->device, pipeline, NULL);
    return status;
}

static int32_t report(struct tenon_device *device, void (*line)(void *, const char *), void *user)
{
    int32_t status = tenon__vk_alive(device);
    if (status)
        return status;
    struct text *text = tenon__vk_alloc(sizeof *text);
    if (!text)
        return TENON_E_NOMEM;
    const struct gpu_kernel *kernel;
    pthread_mutex_lock(&device->pipeline_lock);
    for (uint32_t k = 0; !status && (kernel = gpu_kernel_at(k)); k++)
        for (uint32_t b = 0; !status && b < VK_PIPELINE_BUCKETS; b++)
            for (struct vk_pipeline *node = device->bucket[b]; !status && node; node = node->next)
                if (node->kernel == kernel)
                    status = report_pipeline(device, node, text, line, user);
    pthread_mutex_unlock(&device->pipeline_lock);
    tenon__vk_free(text);
    return status;
}

static const struct tenon_kernels kernels = {.struct_size = sizeof kernels, .report = report};

const void *tenon__vk_extension(const char *id)
{
    return id && strcmp(id, TENON_KERNELS_ID) == 0 ? &kernels : NULL;
}
