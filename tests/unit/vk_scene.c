/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors */
#include "vk_scene.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <tenon/ops/softmax.h>

/* ---- the host ---- */

int scene_validation, scene_compile_only;
atomic_long scene_live_memory, scene_alloc_count;
long scene_alloc_fail_at;
int scene_log_errors;
_Thread_local char scene_error[512];

static void host_log(const struct tenon_host *host, int32_t level, const char *message)
{
    (void)host;
    if (level == TENON_LOG_ERROR)
        scene_log_errors++;
    printf("# log %d: ", (int)level);
    for (; *message; message++)
        putchar(*message == '\n' ? ' ' : *message);
    putchar('\n');
}

static int32_t host_fail(const struct tenon_host *host, int32_t status, const char *message)
{
    (void)host;
    snprintf(scene_error, sizeof scene_error, "%s", message);
    return status;
}

static void *host_alloc(const struct tenon_host *host, size_t size, size_t align)
{
    (void)host;
    if (++scene_alloc_count == scene_alloc_fail_at)
        return NULL;
    void *memory = NULL;
    if (posix_memalign(&memory, align < sizeof(void *) ? sizeof(void *) : align, size ? size : 1))
        return NULL;
    memset(memory, 0xa5, size);
    scene_live_memory++;
    return memory;
}

static void host_free(const struct tenon_host *host, void *memory)
{
    (void)host;
    if (memory)
        scene_live_memory--;
    free(memory);
}

static const char *host_config(const struct tenon_host *host, const char *key)
{
    (void)host;
    if (strcmp(key, "validation") == 0 && scene_validation)
        return "1";
    if (strcmp(key, "compile_only") == 0 && scene_compile_only)
        return "1";
    if (strcmp(key, "cache_dir") == 0)
        return "/nonexistent"; /* tests leave nothing behind */
    return NULL;
}

static void host_parallel(const struct tenon_host *host, uint32_t n, void (*fn)(void *, uint32_t), void *context)
{
    (void)host;
    for (uint32_t i = 0; i < n; i++)
        fn(context, i);
}

static const void *host_extension(const struct tenon_host *host, const char *id)
{
    (void)host, (void)id;
    return NULL;
}

const struct tenon_host scene_host = {
    .struct_size = sizeof scene_host,
    .name = "scene",
    .log = host_log,
    .fail = host_fail,
    .alloc = host_alloc,
    .free = host_free,
    .config = host_config,
    .parallel = host_parallel,
    .extension = host_extension,
};

/* ---- the driver ---- */

long scene_live_handles, scene_calls, scene_fail_at;
VkResult scene_fail_with = VK_ERROR_OUT_OF_HOST_MEMORY;
const char *scene_failed;
static struct vk_api real;
static VkDevice device_in_use;
static PFN_vkDeviceWaitIdle device_wait_idle;

/* Whether this call is the one. A device that is lost does not go on working, so the real one stops first. */
static int fails(const char *name, int may_be_lost)
{
    if (scene_fail_with == VK_ERROR_DEVICE_LOST && !may_be_lost)
        return 0;
    if (++scene_calls != scene_fail_at)
        return 0;
    scene_failed = name;
    if (scene_fail_with == VK_ERROR_DEVICE_LOST && device_in_use)
        device_wait_idle(device_in_use);
    return 1;
}

/* X(function, handles it makes, may be lost, parameters, arguments) */
#define CALLS(X)                                                                                                       \
    X(CreateInstance, 1, 0, (const VkInstanceCreateInfo *i, const VkAllocationCallbacks *a, VkInstance *o), (i, a, o)) \
    X(EnumerateInstanceVersion, 0, 0, (uint32_t * o), (o))                                                             \
    X(EnumeratePhysicalDevices, 0, 0, (VkInstance i, uint32_t * n, VkPhysicalDevice * o), (i, n, o))                   \
    X(EnumerateDeviceExtensionProperties, 0, 0,                                                                        \
      (VkPhysicalDevice p, const char *l, uint32_t *n, VkExtensionProperties *o), (p, l, n, o))                        \
    X(CreateDevice, 1, 1,                                                                                              \
      (VkPhysicalDevice p, const VkDeviceCreateInfo *i, const VkAllocationCallbacks *a, VkDevice *o), (p, i, a, o))    \
    X(CreateBuffer, 1, 0,                                                                                              \
      (VkDevice d, const VkBufferCreateInfo *i, const VkAllocationCallbacks *a, VkBuffer *o), (d, i, a, o))            \
    X(AllocateMemory, 1, 0,                                                                                            \
      (VkDevice d, const VkMemoryAllocateInfo *i, const VkAllocationCallbacks *a, VkDeviceMemory *o), (d, i, a, o))    \
    X(BindBufferMemory, 0, 0, (VkDevice d, VkBuffer b, VkDeviceMemory m, VkDeviceSize s), (d, b, m, s))                \
    X(MapMemory, 0, 0,                                                                                                 \
      (VkDevice d, VkDeviceMemory m, VkDeviceSize b, VkDeviceSize s, VkMemoryMapFlags f, void **o),                    \
      (d, m, b, s, f, o))                                                                                              \
    X(CreateShaderModule, 1, 0,                                                                                        \
      (VkDevice d, const VkShaderModuleCreateInfo *i, const VkAllocationCallbacks *a, VkShaderModule *o),              \
      (d, i, a, o))                                                                                                    \
    X(CreatePipelineLayout, 1, 0,                                                                                      \
      (VkDevice d, const VkPipelineLayoutCreateInfo *i, const VkAllocationCallbacks *a, VkPipelineLayout *o),          \
      (d, i, a, o))                                                                                                    \
    X(CreatePipelineCache, 1, 0,                                                                                       \
      (VkDevice d, const VkPipelineCacheCreateInfo *i, const VkAllocationCallbacks *a, VkPipelineCache *o),            \
      (d, i, a, o))                                                                                                    \
    X(GetPipelineCacheData, 0, 0, (VkDevice d, VkPipelineCache c, size_t * n, void *o), (d, c, n, o))                  \
    X(CreateComputePipelines, 1, 0,                                                                                    \
      (VkDevice d, VkPipelineCache c, uint32_t n, const VkComputePipelineCreateInfo *i,                                \
       const VkAllocationCallbacks *a, VkPipeline *o),                                                                 \
      (d, c, n, i, a, o))                                                                                              \
    X(CreateSemaphore, 1, 0,                                                                                           \
      (VkDevice d, const VkSemaphoreCreateInfo *i, const VkAllocationCallbacks *a, VkSemaphore *o), (d, i, a, o))      \
    X(WaitSemaphores, 0, 1, (VkDevice d, const VkSemaphoreWaitInfo *i, uint64_t t), (d, i, t))                         \
    X(GetSemaphoreCounterValue, 0, 1, (VkDevice d, VkSemaphore s, uint64_t * o), (d, s, o))                            \
    X(CreateCommandPool, 1, 0,                                                                                         \
      (VkDevice d, const VkCommandPoolCreateInfo *i, const VkAllocationCallbacks *a, VkCommandPool *o), (d, i, a, o))  \
    X(AllocateCommandBuffers, 0, 0, (VkDevice d, const VkCommandBufferAllocateInfo *i, VkCommandBuffer *o), (d, i, o)) \
    X(BeginCommandBuffer, 0, 0, (VkCommandBuffer c, const VkCommandBufferBeginInfo *i), (c, i))                        \
    X(EndCommandBuffer, 0, 0, (VkCommandBuffer c), (c))                                                                \
    X(QueueSubmit, 0, 1, (VkQueue q, uint32_t n, const VkSubmitInfo *i, VkFence f), (q, n, i, f))                      \
    X(GetMemoryHostPointerPropertiesEXT, 0, 0,                                                                         \
      (VkDevice d, VkExternalMemoryHandleTypeFlagBits t, const void *p, VkMemoryHostPointerPropertiesEXT *o),          \
      (d, t, p, o))

#define DESTROYS(X)                                                                                                    \
    X(DestroyBuffer, VkBuffer)                                                                                         \
    X(FreeMemory, VkDeviceMemory)                                                                                      \
    X(DestroyShaderModule, VkShaderModule)                                                                             \
    X(DestroyPipelineLayout, VkPipelineLayout)                                                                         \
    X(DestroyPipelineCache, VkPipelineCache)                                                                           \
    X(DestroyPipeline, VkPipeline)                                                                                     \
    X(DestroySemaphore, VkSemaphore)                                                                                   \
    X(DestroyCommandPool, VkCommandPool)

#define DEFINE(name, makes, lost, parameters, arguments)                                                               \
    static VkResult VKAPI_PTR call_##name parameters                                                                   \
    {                                                                                                                  \
        if (fails("vk" #name, lost))                                                                                   \
            return scene_fail_with;                                                                                    \
        VkResult result = real.name arguments;                                                                         \
        if (result >= 0)                                                                                               \
            scene_live_handles += makes;                                                                               \
        return result;                                                                                                 \
    }
CALLS(DEFINE)
#undef DEFINE

#define DEFINE(name, type)                                                                                             \
    static void VKAPI_PTR call_##name(VkDevice device, type handle, const VkAllocationCallbacks *a)                    \
    {                                                                                                                  \
        scene_live_handles -= handle != VK_NULL_HANDLE;                                                                \
        real.name(device, handle, a);                                                                                  \
    }
DESTROYS(DEFINE)
#undef DEFINE

static void VKAPI_PTR call_GetDeviceQueue(VkDevice device, uint32_t family, uint32_t index, VkQueue *queue)
{
    device_in_use = device;
    real.GetDeviceQueue(device, family, index, queue);
}

static void VKAPI_PTR call_DestroyDevice(VkDevice device, const VkAllocationCallbacks *a)
{
    scene_live_handles--;
    device_in_use = VK_NULL_HANDLE;
    real.DestroyDevice(device, a);
}

static void VKAPI_PTR call_DestroyInstance(VkInstance instance, const VkAllocationCallbacks *a)
{
    scene_live_handles--;
    real.DestroyInstance(instance, a);
}

static PFN_vkVoidFunction VKAPI_PTR call_GetInstanceProcAddr(VkInstance instance, const char *name)
{
    PFN_vkVoidFunction function = real.GetInstanceProcAddr(instance, name);
    if (instance && !device_wait_idle)
        device_wait_idle = (PFN_vkDeviceWaitIdle)real.GetInstanceProcAddr(instance, "vkDeviceWaitIdle");
#define REPLACE(member, ...)                                                                                           \
    if (function && strcmp(name, "vk" #member) == 0) {                                                                 \
        real.member = (PFN_vk##member)function;                                                                        \
        return (PFN_vkVoidFunction)call_##member;                                                                      \
    }
    CALLS(REPLACE)
    DESTROYS(REPLACE)
    REPLACE(GetDeviceQueue, )
    REPLACE(DestroyDevice, )
    REPLACE(DestroyInstance, )
#undef REPLACE
    return function;
}

int scene_install(void)
{
    if (tenon__vk_api_load())
        return 0;
    real = tenon__vk;
    tenon__vk.GetInstanceProcAddr = call_GetInstanceProcAddr;
    tenon__vk.CreateInstance = call_CreateInstance;
    tenon__vk.EnumerateInstanceVersion = call_EnumerateInstanceVersion;
    return 1;
}

void scene_force_staging(int staging)
{
    struct vk_adapter *adapter = (struct vk_adapter *)tenon__vk_adapter(0);
    adapter->unified = !staging;
    adapter->info.caps &= ~(uint64_t)TENON_CAP_UNIFIED;
    adapter->info.caps |= staging ? 0 : TENON_CAP_UNIFIED;
}

/* ---- the scene ---- */

enum { ROWS = 33, COLS = 64, COUNT = ROWS * COLS, BYTES = COUNT * 4, PAGE = 4096 };

struct scene {
    const struct tenon_backend *backend;
    struct tenon_device *device;
    struct tenon_buffer *x, *y, *work, *host, *import;
    struct tenon_plan *plan;
    struct tenon_queue *queue, *other;
    void *page;
};

static int32_t wrong(const char *what)
{
    snprintf(scene_error, sizeof scene_error, "wrong result: %s", what);
    return TENON_E_INTERNAL;
}

static int32_t make_buffers(struct scene *s)
{
    struct tenon_buffer_desc desc = {.struct_size = sizeof desc, .size = BYTES};
    int32_t status = s->backend->buffer_create(s->device, &desc, &s->x);
    if (!status)
        status = s->backend->buffer_create(s->device, &desc, &s->y);
    desc.flags = TENON_BUF_HOST;
    if (!status)
        status = s->backend->buffer_create(s->device, &desc, &s->host);
    struct tenon_device_info info = {.struct_size = sizeof info};
    if (!status)
        status = s->backend->device_info(0, &info);
    if (status || !(info.caps & TENON_CAP_IMPORT))
        return status;
    desc.flags = TENON_BUF_IMPORT;
    desc.host_ptr = s->page;
    return s->backend->buffer_create(s->device, &desc, &s->import);
}

static int32_t make_plan(struct scene *s)
{
    struct tenon_tensor tensors[TENON_SOFTMAX_N_TENSORS] = {0};
    tensors[TENON_SOFTMAX_X] = tenon_tensor_make(TENON_F32, 2, (const int64_t[]){ROWS, COLS});
    tensors[TENON_SOFTMAX_Y] = tensors[TENON_SOFTMAX_X];
    struct tenon_softmax_params params;
    tenon_op_defaults(tenon_op_contract_by_number(TENON_OPNUM_softmax), &params);
    struct tenon_op_desc desc = {.struct_size = sizeof desc,
                                 .op = TENON_OPNUM_softmax,
                                 .n_tensors = TENON_SOFTMAX_N_TENSORS,
                                 .tensors = tensors,
                                 .params = &params};
    int32_t status = s->backend->plan_create(s->device, &desc, &s->plan);
    struct tenon_plan_info info = {.struct_size = sizeof info};
    if (!status)
        status = s->backend->plan_info(s->plan, &info);
    if (status || !info.workspace)
        return status;
    struct tenon_buffer_desc work = {.struct_size = sizeof work, .size = info.workspace};
    return s->backend->buffer_create(s->device, &work, &s->work);
}

/* x is written through a mapping: all elements of a row are the same, so each y is 1 / COLS. */
static int32_t write_x(struct scene *s)
{
    void *pointer;
    int32_t status = s->backend->buffer_map(s->x, 0, BYTES, TENON_MAP_WRITE, &pointer);
    if (status)
        return status;
    for (int i = 0; i < COUNT; i++)
        ((float *)pointer)[i] = (float)(i / COLS);
    return s->backend->buffer_unmap(s->x);
}

static int32_t run(struct scene *s)
{
    struct tenon_bind args[TENON_SOFTMAX_N_TENSORS] = {{0}};
    args[TENON_SOFTMAX_X].buffer = s->x;
    args[TENON_SOFTMAX_Y].buffer = s->y;
    const struct tenon_bind fill_args[1] = {{s->y, 0}};
    const struct tenon_bind copy_args[2] = {{s->host, 0}, {s->y, 0}};
    const struct tenon_bind back_args[2] = {{s->import ? s->import : s->x, 0}, {s->host, 0}};
    const struct tenon_cmd fill = {
        .struct_size = sizeof fill, .kind = TENON_CMD_FILL, .n_args = 1, .args = fill_args, .size = BYTES};
    const struct tenon_cmd softmax = {.struct_size = sizeof softmax,
                                      .kind = TENON_CMD_RUN,
                                      .n_args = TENON_SOFTMAX_N_TENSORS,
                                      .args = args,
                                      .plan = s->plan,
                                      .workspace = {s->work, 0}};
    const struct tenon_cmd copy = {
        .struct_size = sizeof copy, .kind = TENON_CMD_COPY, .n_args = 2, .args = copy_args, .size = BYTES};
    const struct tenon_cmd *const first[3] = {&fill, &softmax, &copy};
    uint64_t seq = 0, other_seq = 0;
    int32_t status = s->backend->enqueue(s->queue, first, 3, &seq);
    if (status)
        return status;
    const struct tenon_cmd wait = {.struct_size = sizeof wait, .kind = TENON_CMD_WAIT, .queue = s->queue, .value = seq};
    const struct tenon_cmd back = {
        .struct_size = sizeof back, .kind = TENON_CMD_COPY, .n_args = 2, .args = back_args, .size = BYTES};
    const struct tenon_cmd *const second[2] = {&wait, &back};
    status = s->backend->enqueue(s->other, second, 1, &other_seq);
    if (!status)
        status = s->backend->enqueue(s->other, second, 2, &other_seq);
    if (!status && (seq != 1 || other_seq != 2))
        status = wrong("numbers");
    if (!status)
        status = s->backend->queue_wait(s->other, other_seq, UINT64_MAX);
    return status ? status : s->backend->queue_wait(s->queue, seq, UINT64_MAX);
}

static int32_t look(struct scene *s)
{
    void *pointer;
    struct tenon_buffer *buffers[3] = {s->y, s->host, s->import};
    for (int b = 0; b < 3; b++) {
        if (!buffers[b])
            continue;
        int32_t status = s->backend->buffer_map(buffers[b], 64, BYTES - 64, TENON_MAP_READ, &pointer);
        if (status)
            return status;
        int bad = 0;
        for (int i = 0; i < COUNT - 16; i++)
            bad += !(fabsf(((const float *)pointer)[i] - 1.0f / COLS) < 1e-6f);
        status = s->backend->buffer_unmap(buffers[b]);
        if (status)
            return status;
        if (bad)
            return wrong(b == 0 ? "y" : b == 1 ? "host copy" : "import");
    }
    return TENON_OK;
}

int32_t scene_play(void)
{
    struct scene s = {.backend = tenon_backend_entry_v1(&scene_host)};
    if (posix_memalign(&s.page, PAGE, (BYTES + PAGE - 1) / PAGE * PAGE))
        return TENON_E_NOMEM;
    int32_t status = s.backend->device_open(0, NULL, &s.device);
    if (!status)
        status = make_buffers(&s);
    if (!status)
        status = make_plan(&s);
    if (!status)
        status = s.backend->queue_create(s.device, 0, &s.queue);
    if (!status)
        status = s.backend->queue_create(s.device, 0, &s.other);
    if (!status)
        status = write_x(&s);
    if (!status)
        status = run(&s);
    if (!status)
        status = look(&s);
    s.backend->queue_destroy(s.other);
    s.backend->queue_destroy(s.queue);
    s.backend->plan_destroy(s.plan);
    s.backend->buffer_destroy(s.import);
    s.backend->buffer_destroy(s.host);
    s.backend->buffer_destroy(s.work);
    s.backend->buffer_destroy(s.y);
    s.backend->buffer_destroy(s.x);
    s.backend->device_close(s.device);
    free(s.page);
    return status;
}
