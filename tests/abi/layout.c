/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The layout of every struct of the ABI, member by member, for major 1: SIZE(struct, bytes) and AT(struct, member,
 * offset) on LP64, on ILP32 with 8-byte aligned uint64_t (ARM), and on i386, where uint64_t is aligned to 4. A change
 * here is a new major; a member appended at an end is a new line and a new size (R3, R7). The params of the operators
 * are frozen in plugin-api/ops. */
#include <limits.h>
#include <stddef.h>

#include <tenon/ops.h>

#if UINTPTR_MAX > 0xffffffffu
#define PICK(lp64, ilp32, i386) lp64
#elif defined(__i386__)
#define PICK(lp64, ilp32, i386) i386
#else
#define PICK(lp64, ilp32, i386) ilp32
#endif
#define SIZE(type, lp64, ilp32, i386)                                                                                  \
    _Static_assert(sizeof(struct type) == PICK(lp64, ilp32, i386), "size of struct " #type);
#define AT(type, member, lp64, ilp32, i386)                                                                            \
    _Static_assert(offsetof(struct type, member) == PICK(lp64, ilp32, i386), #type "." #member);

SIZE(tenon_tensor, 136, 136, 136)
AT(tenon_tensor, dtype, 0, 0, 0)
AT(tenon_tensor, rank, 4, 4, 4)
AT(tenon_tensor, dim, 8, 8, 8)
AT(tenon_tensor, stride, 72, 72, 72)

SIZE(tenon_host, 72, 40, 40)
AT(tenon_host, struct_size, 0, 0, 0)
AT(tenon_host, abi_minor, 4, 4, 4)
AT(tenon_host, name, 8, 8, 8)
AT(tenon_host, log, 16, 12, 12)
AT(tenon_host, fail, 24, 16, 16)
AT(tenon_host, alloc, 32, 20, 20)
AT(tenon_host, free, 40, 24, 24)
AT(tenon_host, config, 48, 28, 28)
AT(tenon_host, parallel, 56, 32, 32)
AT(tenon_host, extension, 64, 36, 36)

SIZE(tenon_chain, 16, 12, 12)
AT(tenon_chain, struct_size, 0, 0, 0)
AT(tenon_chain, type, 4, 4, 4)
AT(tenon_chain, next, 8, 8, 8)

SIZE(tenon_device_info, 288, 288, 288)
AT(tenon_device_info, struct_size, 0, 0, 0)
AT(tenon_device_info, type, 4, 4, 4)
AT(tenon_device_info, caps, 8, 8, 8)
AT(tenon_device_info, mem_total, 16, 16, 16)
AT(tenon_device_info, max_buffer, 24, 24, 24)
AT(tenon_device_info, bind_align, 32, 32, 32)
AT(tenon_device_info, import_align, 36, 36, 36)
AT(tenon_device_info, max_queues, 40, 40, 40)
AT(tenon_device_info, vendor_id, 44, 44, 44)
AT(tenon_device_info, uuid, 48, 48, 48)
AT(tenon_device_info, name, 64, 64, 64)
AT(tenon_device_info, driver, 192, 192, 192)
AT(tenon_device_info, location, 256, 256, 256)

SIZE(tenon_buffer_desc, 32, 24, 24)
AT(tenon_buffer_desc, struct_size, 0, 0, 0)
AT(tenon_buffer_desc, flags, 4, 4, 4)
AT(tenon_buffer_desc, size, 8, 8, 8)
AT(tenon_buffer_desc, host_ptr, 16, 16, 16)
AT(tenon_buffer_desc, next, 24, 20, 20)

SIZE(tenon_op_desc, 40, 28, 28)
AT(tenon_op_desc, struct_size, 0, 0, 0)
AT(tenon_op_desc, op, 4, 4, 4)
AT(tenon_op_desc, flags, 8, 8, 8)
AT(tenon_op_desc, n_tensors, 12, 12, 12)
AT(tenon_op_desc, tensors, 16, 16, 16)
AT(tenon_op_desc, params, 24, 20, 20)
AT(tenon_op_desc, next, 32, 24, 24)

SIZE(tenon_plan_info, 88, 88, 88)
AT(tenon_plan_info, struct_size, 0, 0, 0)
AT(tenon_plan_info, flags, 4, 4, 4)
AT(tenon_plan_info, workspace, 8, 8, 8)
AT(tenon_plan_info, workspace_align, 16, 16, 16)
AT(tenon_plan_info, reserved, 20, 20, 20)
AT(tenon_plan_info, impl, 24, 24, 24)

SIZE(tenon_bind, 16, 16, 12)
AT(tenon_bind, buffer, 0, 0, 0)
AT(tenon_bind, offset, 8, 8, 4)

SIZE(tenon_cmd, 80, 64, 60)
AT(tenon_cmd, struct_size, 0, 0, 0)
AT(tenon_cmd, kind, 4, 4, 4)
AT(tenon_cmd, flags, 8, 8, 8)
AT(tenon_cmd, n_args, 12, 12, 12)
AT(tenon_cmd, args, 16, 16, 16)
AT(tenon_cmd, plan, 24, 20, 20)
AT(tenon_cmd, workspace, 32, 24, 24)
AT(tenon_cmd, size, 48, 40, 36)
AT(tenon_cmd, value, 56, 48, 44)
AT(tenon_cmd, queue, 64, 56, 52)
AT(tenon_cmd, next, 72, 60, 56)

SIZE(tenon_backend, 160, 84, 84)
AT(tenon_backend, struct_size, 0, 0, 0)
AT(tenon_backend, abi_minor, 4, 4, 4)
AT(tenon_backend, id, 8, 8, 8)
AT(tenon_backend, version, 16, 12, 12)
AT(tenon_backend, device_count, 24, 16, 16)
AT(tenon_backend, device_info, 32, 20, 20)
AT(tenon_backend, device_open, 40, 24, 24)
AT(tenon_backend, device_close, 48, 28, 28)
AT(tenon_backend, buffer_create, 56, 32, 32)
AT(tenon_backend, buffer_destroy, 64, 36, 36)
AT(tenon_backend, buffer_map, 72, 40, 40)
AT(tenon_backend, buffer_unmap, 80, 44, 44)
AT(tenon_backend, plan_create, 88, 48, 48)
AT(tenon_backend, plan_info, 96, 52, 52)
AT(tenon_backend, plan_destroy, 104, 56, 56)
AT(tenon_backend, queue_create, 112, 60, 60)
AT(tenon_backend, queue_destroy, 120, 64, 64)
AT(tenon_backend, enqueue, 128, 68, 68)
AT(tenon_backend, queue_wait, 136, 72, 72)
AT(tenon_backend, plan_record, 144, 76, 76)
AT(tenon_backend, extension, 152, 80, 80)

_Static_assert(CHAR_BIT == 8 && sizeof(float) == 4 && sizeof(double) == 8, "IEEE machine with 8-bit bytes");
_Static_assert(TENON_F32 == 0x12002 && TENON_BF16 == 0x11004 && TENON_I8 == 0x10800, "DLPack's type words");
_Static_assert(TENON_E_ARG == -1 && TENON_E_INTERNAL == -16, "status codes are append-only");
_Static_assert(offsetof(struct tenon_backend, plan_record) ==
                   offsetof(struct tenon_backend, queue_wait) + sizeof(void *),
               "the mandatory slots stand together, before the optional ones");
