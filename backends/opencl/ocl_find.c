/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * Discovery: every device of every platform, in an order that does not depend on the order of the drivers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ocl.h"

#define OCL_MAX_PLATFORMS 32
#define OCL_NV_BUS_ID 0x4008 /* cl_nv_device_attribute_query; not in the headers of 1.2 */
#define OCL_NV_SLOT_ID 0x4009
#define OCL_NV_DOMAIN_ID 0x400a

static struct ocl_found found[OCL_MAX_DEVICES];
static uint32_t n_found;
static int discovered;

void ocl_find_reset(void)
{
    discovered = 0;
    n_found = 0;
}

const struct ocl_found *ocl_found_at(uint32_t index)
{
    return discovered && index < n_found ? &found[index] : NULL;
}

/* A device's text, cut to the room; empty when the driver does not say. */
static void device_text(cl_device_id id, cl_device_info what, char *text, size_t room)
{
    char full[8192] = "";
    size_t size = 0;
    if (ocl.clGetDeviceInfo(id, what, 0, NULL, &size) || size > sizeof full ||
        ocl.clGetDeviceInfo(id, what, size, full, NULL))
        full[0] = 0;
    full[sizeof full - 1] = 0;
    const char *start = full + strspn(full, " \t");
    snprintf(text, room, "%.*s", (int)(room - 1), start);
}

static void platform_text(cl_platform_id id, cl_platform_info what, char *text, size_t room)
{
    char full[8192] = "";
    size_t size = 0;
    if (ocl.clGetPlatformInfo(id, what, 0, NULL, &size) || size > sizeof full ||
        ocl.clGetPlatformInfo(id, what, size, full, NULL))
        full[0] = 0;
    full[sizeof full - 1] = 0;
    snprintf(text, room, "%.*s", (int)(room - 1), full);
}

static uint64_t device_number(cl_device_id id, cl_device_info what, size_t size)
{
    uint64_t wide = 0;
    uint32_t narrow = 0;
    if (size == sizeof wide)
        return ocl.clGetDeviceInfo(id, what, size, &wide, NULL) ? 0 : wide;
    return ocl.clGetDeviceInfo(id, what, sizeof narrow, &narrow, NULL) ? 0 : narrow;
}
#define NUMBER(id, what, type) device_number(id, what, sizeof(type))

static int has_extension(const char *extensions, const char *name)
{
    size_t n = strlen(name);
    for (const char *at = extensions; (at = strstr(at, name)); at += n)
        if ((at == extensions || at[-1] == ' ') && (at[n] == 0 || at[n] == ' '))
            return 1;
    return 0;
}

static void find_location(cl_device_id id, const char *extensions, char *location, size_t room)
{
    location[0] = 0;
    if (has_extension(extensions, "cl_khr_pci_bus_info")) {
        cl_device_pci_bus_info_khr pci;
        if (!ocl.clGetDeviceInfo(id, CL_DEVICE_PCI_BUS_INFO_KHR, sizeof pci, &pci, NULL))
            snprintf(location, room, "%04x:%02x:%02x.%x", pci.pci_domain, pci.pci_bus, pci.pci_device,
                     pci.pci_function);
    } else if (has_extension(extensions, "cl_nv_device_attribute_query")) {
        cl_uint bus, slot, domain = 0;
        if (!ocl.clGetDeviceInfo(id, OCL_NV_BUS_ID, sizeof bus, &bus, NULL) &&
            !ocl.clGetDeviceInfo(id, OCL_NV_SLOT_ID, sizeof slot, &slot, NULL)) {
            if (ocl.clGetDeviceInfo(id, OCL_NV_DOMAIN_ID, sizeof domain, &domain, NULL))
                domain = 0;
            snprintf(location, room, "%04x:%02x:%02x.%x", domain, bus, slot >> 3, slot & 7);
        }
    } else if (has_extension(extensions, "cl_amd_device_attribute_query")) {
        cl_device_topology_amd topology;
        if (!ocl.clGetDeviceInfo(id, CL_DEVICE_TOPOLOGY_AMD, sizeof topology, &topology, NULL) &&
            topology.raw.type == CL_DEVICE_TOPOLOGY_TYPE_PCIE_AMD)
            snprintf(location, room, "0000:%02x:%02x.%x", (uint8_t)topology.pcie.bus, (uint8_t)topology.pcie.device,
                     (uint8_t)topology.pcie.function);
    }
}

static uint64_t fnv(uint64_t hash, const char *text)
{
    for (; *text; text++)
        hash = (hash ^ (uint8_t)*text) * 0x100000001b3u;
    return hash;
}

/* The driver's own uuid, or one made from everything that names the device; `twin` tells identical devices apart. */
static void find_uuid(cl_device_id id, const char *extensions, const char *identity, uint32_t twin, uint8_t *uuid)
{
    if (has_extension(extensions, "cl_khr_device_uuid") &&
        !ocl.clGetDeviceInfo(id, CL_DEVICE_UUID_KHR, CL_UUID_SIZE_KHR, uuid, NULL))
        return;
    uint64_t a = fnv(0xcbf29ce484222325u, identity), b = fnv(0x84222325cbf29ce4u ^ twin, identity);
    a ^= b >> 32;
    memcpy(uuid, &a, sizeof a);
    memcpy(uuid + 8, &b, sizeof b);
}

static uint32_t map_type(cl_device_type type, int unified)
{
    if (type & CL_DEVICE_TYPE_CPU)
        return TENON_TYPE_CPU;
    if (type & CL_DEVICE_TYPE_GPU)
        return unified ? TENON_TYPE_IGPU : TENON_TYPE_GPU;
    return TENON_TYPE_ACCEL;
}

/* Whether memory given with CL_MEM_USE_HOST_PTR is the very memory that commands work on, without a map in between.
 * OpenCL leaves it to the driver, so it is tried: the device writes, then the device reads what the host wrote. */
static int probe_import(cl_device_id id, cl_platform_id platform, uint64_t align)
{
    enum { BYTES = 8192 };
    const cl_context_properties properties[] = {CL_CONTEXT_PLATFORM, (cl_context_properties)platform, 0};
    cl_int error = 0;
    int good = 0;
    cl_context context = ocl.clCreateContext(properties, 1, &id, NULL, NULL, &error);
    if (!context)
        return 0;
    cl_command_queue queue = ocl.clCreateCommandQueue(context, id, 0, &error);
    uint32_t *host = ocl_host->alloc(ocl_host, 2 * BYTES, align < 4096 ? 4096 : align);
    cl_mem memory[2] = {NULL, NULL};
    cl_event event = NULL;
    if (!queue || !host)
        goto release;
    memset(host, 0, 2 * BYTES);
    for (int i = 0; i < 2; i++)
        memory[i] = ocl.clCreateBuffer(context, CL_MEM_READ_WRITE | CL_MEM_USE_HOST_PTR, BYTES,
                                       host + i * (BYTES / 4), &error);
    const uint32_t pattern = 0x5eed5eedu;
    if (!memory[0] || !memory[1] ||
        ocl.clEnqueueFillBuffer(queue, memory[0], &pattern, 4, 0, BYTES, 0, NULL, &event) ||
        ocl.clWaitForEvents(1, &event))
        goto release;
    good = host[0] == pattern && host[BYTES / 4 - 1] == pattern;
    ocl.clReleaseEvent(event);
    event = NULL;
    host[5] = 0x0badf00du;
    if (ocl.clEnqueueCopyBuffer(queue, memory[0], memory[1], 0, 0, BYTES, 0, NULL, &event) ||
        ocl.clWaitForEvents(1, &event))
        good = 0;
    good = good && host[BYTES / 4 + 5] == 0x0badf00du && host[BYTES / 4 + 6] == pattern;
release:
    if (queue)
        ocl.clFinish(queue);
    if (event)
        ocl.clReleaseEvent(event);
    for (int i = 0; i < 2; i++)
        if (memory[i])
            ocl.clReleaseMemObject(memory[i]);
    if (queue)
        ocl.clReleaseCommandQueue(queue);
    ocl.clReleaseContext(context);
    ocl_host->free(ocl_host, host);
    return good;
}

static void find_limits(cl_device_id id, struct ocl_found *device)
{
    struct gpu_limits *limits = &device->limits;
    size_t wg = 0;
    if (ocl.clGetDeviceInfo(id, CL_DEVICE_MAX_WORK_GROUP_SIZE, sizeof wg, &wg, NULL))
        wg = 0;
    size_t items[8] = {0}, size = 0;
    if (!ocl.clGetDeviceInfo(id, CL_DEVICE_MAX_WORK_ITEM_SIZES, 0, NULL, &size) && size <= sizeof items &&
        !ocl.clGetDeviceInfo(id, CL_DEVICE_MAX_WORK_ITEM_SIZES, size, items, NULL) && items[0] < wg)
        wg = items[0];
    uint64_t shared = NUMBER(id, CL_DEVICE_LOCAL_MEM_SIZE, cl_ulong);
    limits->wg_max = wg > UINT32_MAX ? UINT32_MAX : (uint32_t)wg;
    limits->shared_max = shared > UINT32_MAX ? UINT32_MAX : (uint32_t)shared;
    /* OpenCL bounds only the global size (size_t); drivers keep counts of groups in 32 and 16 bits as Vulkan's minimum
     * allows. */
    limits->groups_max[0] = 0x7fffffff;
    limits->groups_max[1] = limits->groups_max[2] = 65535;
    limits->compute_units = (uint32_t)NUMBER(id, CL_DEVICE_MAX_COMPUTE_UNITS, cl_uint);
    limits->buffer_max = NUMBER(id, CL_DEVICE_MAX_MEM_ALLOC_SIZE, cl_ulong);
    limits->software = (device->info.caps & TENON_CAP_SOFTWARE) != 0;
    limits->loop_max = strstr(device->info.name, "llvmpipe") ? 65535 : 0;
    limits->storage16 = 1; /* byte-addressable stores are core since OpenCL 1.1 */
}

/* NULL when the device can be used, else why not. */
static const char *refuse(cl_device_id id, const struct gpu_limits *limits)
{
    char version[128];
    int major = 0, minor = 0;
    device_text(id, CL_DEVICE_VERSION, version, sizeof version);
    if (sscanf(version, "OpenCL %d.%d", &major, &minor) != 2 || major * 10 + minor < 12)
        return "it is older than OpenCL 1.2";
    if (!NUMBER(id, CL_DEVICE_AVAILABLE, cl_bool))
        return "it is not available";
    if (!NUMBER(id, CL_DEVICE_COMPILER_AVAILABLE, cl_bool))
        return "it has no compiler";
    if (!NUMBER(id, CL_DEVICE_ENDIAN_LITTLE, cl_bool))
        return "it is big-endian";
    if (limits->wg_max < 64 || limits->shared_max < 16384)
        return "it has less than 64 work-items a group or less than 16 KiB of local memory";
    return NULL;
}

static void describe(cl_platform_id platform, cl_device_id id, struct ocl_found *device)
{
    char name[128], vendor[96], version[128], driver[96], extensions[8192], platform_name[64], platform_version[128];
    struct tenon_device_info *info = &device->info;

    device_text(id, CL_DEVICE_NAME, name, sizeof name);
    device_text(id, CL_DEVICE_VENDOR, vendor, sizeof vendor);
    device_text(id, CL_DEVICE_VERSION, version, sizeof version);
    device_text(id, CL_DRIVER_VERSION, driver, sizeof driver);
    device_text(id, CL_DEVICE_EXTENSIONS, extensions, sizeof extensions);
    platform_text(platform, CL_PLATFORM_NAME, platform_name, sizeof platform_name);
    platform_text(platform, CL_PLATFORM_VERSION, platform_version, sizeof platform_version);

    cl_device_type type = NUMBER(id, CL_DEVICE_TYPE, cl_device_type);
    int unified = NUMBER(id, CL_DEVICE_HOST_UNIFIED_MEMORY, cl_bool) != 0;
    device->platform = platform;
    device->id = id;
    info->struct_size = sizeof *info;
    info->type = map_type(type, unified);
    info->caps = TENON_CAP_XQUEUE;
    if (info->type == TENON_TYPE_CPU || strstr(name, "llvmpipe") || strstr(name, "softpipe"))
        info->caps |= TENON_CAP_SOFTWARE;
    info->mem_total = NUMBER(id, CL_DEVICE_GLOBAL_MEM_SIZE, cl_ulong);
    info->max_buffer = NUMBER(id, CL_DEVICE_MAX_MEM_ALLOC_SIZE, cl_ulong);
    info->bind_align = OCL_BIND_ALIGN;
    info->max_queues = 64;
    info->vendor_id = (uint32_t)NUMBER(id, CL_DEVICE_VENDOR_ID, cl_uint);
    snprintf(info->name, sizeof info->name, "%s", name);
    int pocl = !strcmp(platform_name, "Portable Computing Language");
    snprintf(info->driver, sizeof info->driver, "%.31s %.31s", pocl ? "PoCL" : platform_name, driver);
    /* For a binary PoCL compiles every kernel once more, in a form that it does not run (0.7 of 2.0 s a kernel, PoCL
     * 3.1), and it has a cache on disk of its own. */
    device->caches_itself = pocl;
    find_location(id, extensions, info->location, sizeof info->location);
    snprintf(device->identity, sizeof device->identity, "%s|%s|%s|%s|%s|%s|%s", platform_name, platform_version, name,
             vendor, version, driver, info->location);
    uint32_t twin = 0;
    for (uint32_t i = 0; i < n_found; i++)
        twin += strcmp(found[i].identity, device->identity) == 0;
    find_uuid(id, extensions, device->identity, twin, info->uuid);
    find_limits(id, device);
    device->limits.vector = pocl ? 16 : 0;

    /* -w: some drivers print the compiler's warnings themselves, on our standard error. */
    cl_device_fp_config fp = NUMBER(id, CL_DEVICE_SINGLE_FP_CONFIG, cl_device_fp_config);
    snprintf(device->options, sizeof device->options, "-w -cl-std=CL1.2%s",
             fp & CL_FP_CORRECTLY_ROUNDED_DIVIDE_SQRT ? " -cl-fp32-correctly-rounded-divide-sqrt" : "");
    uint64_t align = NUMBER(id, CL_DEVICE_MEM_BASE_ADDR_ALIGN, cl_uint) / 8;
    if (align < OCL_BIND_ALIGN)
        align = OCL_BIND_ALIGN;
    if (unified && !(align & (align - 1)) && align <= 4096 && !refuse(id, &device->limits) &&
        probe_import(id, platform, align)) {
        info->caps |= TENON_CAP_IMPORT;
        info->import_align = (uint32_t)align;
    }
}

static void find_on_platform(cl_platform_id platform)
{
    cl_device_id ids[OCL_MAX_DEVICES];
    cl_uint n = 0;
    cl_int error = ocl.clGetDeviceIDs(platform, CL_DEVICE_TYPE_CPU | CL_DEVICE_TYPE_GPU | CL_DEVICE_TYPE_ACCELERATOR,
                                      OCL_MAX_DEVICES, ids, &n);
    char name[64];
    platform_text(platform, CL_PLATFORM_NAME, name, sizeof name);
    if (error || n == 0) {
        ocl_log(error && error != CL_DEVICE_NOT_FOUND ? TENON_LOG_WARN : TENON_LOG_DEBUG,
                "platform %s has no device (%s)", name, ocl_error_name(error));
        return;
    }
    for (cl_uint i = 0; i < n && i < OCL_MAX_DEVICES && n_found < OCL_MAX_DEVICES; i++) {
        memset(&found[n_found], 0, sizeof found[n_found]);
        describe(platform, ids[i], &found[n_found]);
        const char *why = refuse(ids[i], &found[n_found].limits);
        if (why)
            ocl_log(TENON_LOG_INFO, "%s (%s) is left out: %s", found[n_found].info.name, name, why);
        else
            n_found++;
    }
}

/* Devices with a PCI address first, by address; then by uuid. */
static int by_place(const void *a, const void *b)
{
    const struct tenon_device_info *x = &((const struct ocl_found *)a)->info, *y = &((const struct ocl_found *)b)->info;
    if (!x->location[0] != !y->location[0])
        return x->location[0] ? -1 : 1;
    int order = strcmp(x->location, y->location);
    return order ? order : memcmp(x->uuid, y->uuid, sizeof x->uuid);
}

int32_t ocl_device_count(uint32_t *count)
{
    cl_platform_id platforms[OCL_MAX_PLATFORMS];
    cl_uint n = 0;

    if (!count)
        return ocl_fail(TENON_E_INVALID, "count is NULL");
    if (!discovered) {
        const char *why = ocl_api_load();
        if (why) {
            ocl_log(TENON_LOG_INFO, "%s", why);
        } else {
            cl_int error = ocl.clGetPlatformIDs(OCL_MAX_PLATFORMS, platforms, &n);
            if (error) {
                ocl_log(TENON_LOG_INFO, "no OpenCL platform (%s)", ocl_error_name(error));
                n = 0;
            }
            for (cl_uint i = 0; i < n && i < OCL_MAX_PLATFORMS; i++)
                find_on_platform(platforms[i]);
            qsort(found, n_found, sizeof found[0], by_place);
        }
        discovered = 1;
    }
    *count = n_found;
    return TENON_OK;
}

int32_t ocl_device_info(uint32_t index, struct tenon_device_info *info)
{
    struct tenon_why why;
    uint32_t count;
    int32_t status = ocl_device_count(&count);
    if (status)
        return status;
    if (index >= count)
        return ocl_fail(TENON_E_INVALID, "device index %u: there are %u", index, count);
    status = tenon_struct_write(info, &found[index].info, sizeof found[index].info, &why);
    return status ? ocl_fail(status, "%s", why.text) : TENON_OK;
}
