/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * One VkBuffer and one VkDeviceMemory a buffer. Where host and device share memory, the buffer stays mapped for its
 * whole life; elsewhere map and unmap copy through a second, host-visible buffer that lives as long as the mapping. */
#include "vk.h"

#include <string.h>

enum memory_use { MEMORY_DEVICE, MEMORY_UPLOAD, MEMORY_DOWNLOAD, MEMORY_IMPORT };

static int32_t create_handle(struct tenon_buffer *buffer, uint64_t size, int import)
{
    struct tenon_device *device = buffer->device;
    VkExternalMemoryBufferCreateInfo external = {
        .sType = VK_STRUCTURE_TYPE_EXTERNAL_MEMORY_BUFFER_CREATE_INFO,
        .handleTypes = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT,
    };
    VkBufferCreateInfo info = {
        .sType = VK_STRUCTURE_TYPE_BUFFER_CREATE_INFO,
        .pNext = import ? &external : NULL,
        .size = size,
        .usage = VK_BUFFER_USAGE_STORAGE_BUFFER_BIT | VK_BUFFER_USAGE_SHADER_DEVICE_ADDRESS_BIT |
                 VK_BUFFER_USAGE_TRANSFER_SRC_BIT | VK_BUFFER_USAGE_TRANSFER_DST_BIT,
        .sharingMode = VK_SHARING_MODE_EXCLUSIVE,
    };
    VkResult result = tenon__vk.CreateBuffer(device->device, &info, NULL, &buffer->buffer);
    return result < 0 ? tenon__vk_failed(device, result, "vkCreateBuffer") : TENON_OK;
}

/* Memory of the wished type, or of any type that the buffer allows and that serves the use. */
static int32_t choose_type(const struct vk_adapter *adapter, enum memory_use use, uint32_t allowed, uint32_t *index)
{
    const int32_t wish[] = {use == MEMORY_DEVICE     ? adapter->memory_device
                            : use == MEMORY_DOWNLOAD ? adapter->memory_download
                                                     : adapter->memory_upload,
                            adapter->memory_upload};
    for (uint32_t i = 0; i < 2; i++)
        if (wish[i] >= 0 && allowed >> wish[i] & 1u) {
            *index = (uint32_t)wish[i];
            return TENON_OK;
        }
    const VkMemoryPropertyFlags visible =
        VK_MEMORY_PROPERTY_HOST_VISIBLE_BIT | VK_MEMORY_PROPERTY_HOST_COHERENT_BIT;
    for (uint32_t i = 0; i < adapter->memory.memoryTypeCount; i++)
        if (allowed >> i & 1u && (adapter->memory.memoryTypes[i].propertyFlags & visible) == visible) {
            *index = i;
            return TENON_OK;
        }
    return tenon__vk_fail(TENON_E_UNSUPPORTED, "no coherent memory type fits (allowed types: 0x%x)", allowed);
}

static int32_t allocate(struct tenon_buffer *buffer, enum memory_use use, void *host_ptr)
{
    struct tenon_device *device = buffer->device;
    VkMemoryRequirements need;
    tenon__vk.GetBufferMemoryRequirements(device->device, buffer->buffer, &need);
    VkMemoryAllocateFlagsInfo flags = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_FLAGS_INFO,
        .flags = VK_MEMORY_ALLOCATE_DEVICE_ADDRESS_BIT,
    };
    VkImportMemoryHostPointerInfoEXT import = {
        .sType = VK_STRUCTURE_TYPE_IMPORT_MEMORY_HOST_POINTER_INFO_EXT,
        .pNext = &flags,
        .handleType = VK_EXTERNAL_MEMORY_HANDLE_TYPE_HOST_ALLOCATION_BIT_EXT,
        .pHostPointer = host_ptr,
    };
    VkMemoryAllocateInfo info = {
        .sType = VK_STRUCTURE_TYPE_MEMORY_ALLOCATE_INFO,
        .pNext = host_ptr ? (const void *)&import : &flags,
        .allocationSize = need.size,
    };
    uint32_t allowed = need.memoryTypeBits;
    if (host_ptr) {
        VkMemoryHostPointerPropertiesEXT pointer = {.sType = VK_STRUCTURE_TYPE_MEMORY_HOST_POINTER_PROPERTIES_EXT};
        VkResult result = tenon__vk.GetMemoryHostPointerPropertiesEXT(device->device, import.handleType, host_ptr,
                                                                      &pointer);
        if (result < 0)
            return tenon__vk_failed(device, result, "vkGetMemoryHostPointerPropertiesEXT");
        allowed &= pointer.memoryTypeBits;
        uint64_t align = device->adapter->info.import_align;
        uint64_t rounded = (buffer->size + align - 1) & ~(align - 1);
        if (need.size > rounded)
            return tenon__vk_fail(TENON_E_UNSUPPORTED, "import of %llu bytes: the driver needs %llu",
                                  (unsigned long long)buffer->size, (unsigned long long)need.size);
        info.allocationSize = rounded;
    }
    int32_t status = choose_type(device->adapter, use, allowed, &info.memoryTypeIndex);
    if (status)
        return status;
    if (atomic_fetch_add(&device->n_allocations, 1) >= device->adapter->max_allocations) {
        device->n_allocations--;
        return tenon__vk_fail(TENON_E_NOMEM, "the driver allows %u buffers at a time",
                              device->adapter->max_allocations);
    }
    VkResult result = tenon__vk.AllocateMemory(device->device, &info, NULL, &buffer->memory);
    if (result < 0) {
        device->n_allocations--;
        buffer->memory = VK_NULL_HANDLE;
        return tenon__vk_failed(device, result, "vkAllocateMemory");
    }
    return TENON_OK;
}

static int32_t create(struct tenon_device *device, uint64_t size, enum memory_use use, void *host_ptr,
                      struct tenon_buffer **out)
{
    struct tenon_buffer *buffer = tenon__vk_alloc(sizeof *buffer);
    if (!buffer)
        return TENON_E_NOMEM;
    buffer->device = device;
    buffer->size = size;
    /* Kernels load whole words: the last one of a tensor of bytes must be inside. */
    int32_t status = create_handle(buffer, (size + 3) & ~(uint64_t)3, host_ptr != NULL);
    if (status)
        goto destroy_buffer;
    status = allocate(buffer, use, host_ptr);
    if (status)
        goto destroy_buffer;
    VkResult result = tenon__vk.BindBufferMemory(device->device, buffer->buffer, buffer->memory, 0);
    if (result < 0) {
        status = tenon__vk_failed(device, result, "vkBindBufferMemory");
        goto destroy_buffer;
    }
    if (host_ptr) {
        buffer->pointer = host_ptr;
    } else if (use != MEMORY_DEVICE || device->adapter->unified) {
        void *pointer;
        result = tenon__vk.MapMemory(device->device, buffer->memory, 0, VK_WHOLE_SIZE, 0, &pointer);
        if (result < 0) {
            status = tenon__vk_failed(device, result, "vkMapMemory");
            goto destroy_buffer;
        }
        buffer->pointer = pointer;
    }
    VkBufferDeviceAddressInfo address = {.sType = VK_STRUCTURE_TYPE_BUFFER_DEVICE_ADDRESS_INFO,
                                         .buffer = buffer->buffer};
    buffer->address = tenon__vk.GetBufferDeviceAddress(device->device, &address);
    buffer->place = host_ptr ? (uintptr_t)host_ptr : buffer->address | UINT64_C(1) << 63;
    *out = buffer;
    return TENON_OK;

destroy_buffer:
    tenon__vk_buffer_destroy(buffer);
    return status;
}

int32_t tenon__vk_buffer_create(struct tenon_device *device, const struct tenon_buffer_desc *desc,
                                struct tenon_buffer **buffer)
{
    struct tenon_why why;
    int32_t status = tenon__vk_alive(device);
    if (!status)
        status = tenon__vk_because(tenon_buffer_desc_check(desc, &device->adapter->info, &why), &why);
    if (status)
        return status;
    enum memory_use use = desc->flags & TENON_BUF_IMPORT ? MEMORY_IMPORT
                          : desc->flags & TENON_BUF_HOST ? MEMORY_DOWNLOAD
                                                         : MEMORY_DEVICE;
    return create(device, desc->size, use, desc->host_ptr, buffer);
}

void tenon__vk_buffer_destroy(struct tenon_buffer *buffer)
{
    if (!buffer)
        return;
    struct tenon_device *device = buffer->device;
    tenon__vk_buffer_destroy(buffer->staging);
    if (buffer->buffer)
        tenon__vk.DestroyBuffer(device->device, buffer->buffer, NULL);
    if (buffer->memory) {
        tenon__vk.FreeMemory(device->device, buffer->memory, NULL);
        device->n_allocations--;
    }
    tenon__vk_free(buffer);
}

/* ---- map and unmap ---- */

static int32_t copy_now(struct tenon_queue *queue, struct tenon_buffer *to, uint64_t to_offset,
                        struct tenon_buffer *from, uint64_t from_offset, uint64_t size)
{
    const struct tenon_bind args[2] = {{to, to_offset}, {from, from_offset}};
    const struct tenon_cmd copy = {
        .struct_size = sizeof copy, .kind = TENON_CMD_COPY, .n_args = 2, .args = args, .size = size};
    const struct tenon_cmd *const cmds[1] = {&copy};
    uint64_t seq;
    int32_t status = tenon__vk_enqueue(queue, cmds, 1, &seq);
    if (status)
        return status;
    status = tenon__vk_queue_wait(queue, seq, UINT64_MAX);
    if (status && !queue->device->lost) {
        /* The caller frees the staging memory next, so a wait that failed for want of memory is tried once more. */
        status = tenon__vk_queue_wait(queue, seq, UINT64_MAX);
        if (status)
            queue->device->lost = 1;
    }
    return status;
}

/* One copy on the device's own queue, finished on return. */
static int32_t transfer(struct tenon_buffer *to, uint64_t to_offset, struct tenon_buffer *from, uint64_t from_offset,
                        uint64_t size)
{
    struct tenon_device *device = to->device;
    int32_t status = TENON_OK;
    pthread_mutex_lock(&device->transfer_lock);
    if (!device->transfer)
        status = tenon__vk_queue_create(device, 0, &device->transfer);
    if (!status)
        status = copy_now(device->transfer, to, to_offset, from, from_offset, size);
    pthread_mutex_unlock(&device->transfer_lock);
    return status;
}

int32_t tenon__vk_buffer_map(struct tenon_buffer *buffer, uint64_t offset, uint64_t size, uint32_t mode, void **pointer)
{
    int32_t status = tenon__vk_alive(buffer->device);
    if (status)
        return status;
    if (mode & ~(TENON_MAP_READ | TENON_MAP_WRITE))
        return tenon__vk_fail(TENON_E_UNSUPPORTED, "map mode 0x%x: 0x3 are known", mode);
    if (mode == 0 || size == 0)
        return tenon__vk_fail(TENON_E_INVALID, "map of %llu bytes with mode 0x%x: neither may be 0",
                              (unsigned long long)size, mode);
    if (size > buffer->size || offset > buffer->size - size)
        return tenon__vk_fail(TENON_E_INVALID, "map of %llu bytes at %llu: the buffer has %llu",
                              (unsigned long long)size, (unsigned long long)offset, (unsigned long long)buffer->size);
    if (buffer->map_mode)
        return tenon__vk_fail(TENON_E_INVALID, "the buffer is already mapped");
    if (buffer->pointer) {
        *pointer = buffer->pointer + offset;
    } else {
        status = create(buffer->device, size, mode & TENON_MAP_READ ? MEMORY_DOWNLOAD : MEMORY_UPLOAD, NULL,
                        &buffer->staging);
        if (!status && mode & TENON_MAP_READ)
            status = transfer(buffer->staging, 0, buffer, offset, size);
        if (status) {
            tenon__vk_buffer_destroy(buffer->staging);
            buffer->staging = NULL;
            return status;
        }
        *pointer = buffer->staging->pointer;
    }
    buffer->map_offset = offset;
    buffer->map_size = size;
    buffer->map_mode = mode;
    return TENON_OK;
}

int32_t tenon__vk_buffer_unmap(struct tenon_buffer *buffer)
{
    if (!buffer->map_mode)
        return tenon__vk_fail(TENON_E_INVALID, "the buffer is not mapped");
    int32_t status = tenon__vk_alive(buffer->device);
    if (!status && buffer->staging && buffer->map_mode & TENON_MAP_WRITE)
        status = transfer(buffer, buffer->map_offset, buffer->staging, 0, buffer->map_size);
    tenon__vk_buffer_destroy(buffer->staging);
    buffer->staging = NULL;
    buffer->map_mode = 0;
    return status;
}
