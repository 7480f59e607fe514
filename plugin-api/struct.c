/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The growth rules of structs and chains, and the checks of a call's arguments that need no object of the backend. */
#include <string.h>

#include <tenon/ops.h>

static uint32_t struct_size_of(const void *data)
{
    uint32_t size;
    memcpy(&size, data, sizeof size);
    return size;
}

int32_t tenon_struct_check(const void *data, size_t first, size_t known, const char *what, struct tenon_why *why)
{
    if (!data)
        return tenon_why_set(why, TENON_E_INVALID, "%s is NULL", what);
    uint32_t size = struct_size_of(data);
    if (size < first || size > TENON_STRUCT_MAX)
        return tenon_why_set(why, TENON_E_INVALID, "%s: struct_size %u: must be within [%zu, %u]", what, size, first,
                             TENON_STRUCT_MAX);
    const unsigned char *bytes = data;
    for (size_t i = known; i < size; i++)
        if (bytes[i])
            return tenon_why_set(why, TENON_E_UNSUPPORTED,
                                 "%s: byte %zu of %u is used, but only the first %zu are known here", what, i, size,
                                 known);
    return TENON_OK;
}

int32_t tenon_chain_check(const struct tenon_chain *chain, struct tenon_why *why)
{
    for (uint32_t n = 0; chain; chain = chain->next, n++) {
        if (n == TENON_CHAIN_MAX)
            return tenon_why_set(why, TENON_E_INVALID, "chain: more than %d entries, or a cycle", TENON_CHAIN_MAX);
        if (chain->struct_size < sizeof *chain || chain->struct_size > TENON_STRUCT_MAX)
            return tenon_why_set(why, TENON_E_INVALID, "chain entry %u: struct_size %u: must be within [%zu, %u]", n,
                                 chain->struct_size, sizeof *chain, TENON_STRUCT_MAX);
        if (chain->type & TENON_CHAIN_CRITICAL)
            return tenon_why_set(why, TENON_E_UNSUPPORTED,
                                 "chain entry %u: type 0x%08x is not known here and must be understood", n,
                                 chain->type);
    }
    return TENON_OK;
}

int32_t tenon_struct_write(void *out, const void *full, size_t full_size, struct tenon_why *why)
{
    const size_t head = sizeof(uint32_t);
    if (!out)
        return tenon_why_set(why, TENON_E_INVALID, "output struct is NULL");
    uint32_t size = struct_size_of(out);
    if (size < 2 * head || size > TENON_STRUCT_MAX)
        return tenon_why_set(why, TENON_E_INVALID, "output struct: struct_size %u: must be within [%zu, %u]", size,
                             2 * head, TENON_STRUCT_MAX);
    size_t n = size < full_size ? size : full_size;
    memcpy((char *)out + head, (const char *)full + head, n - head);
    memset((char *)out + n, 0, size - n); /* what we do not know reads as zero */
    return TENON_OK;
}

int32_t tenon_buffer_desc_check(const struct tenon_buffer_desc *desc, const struct tenon_device_info *info,
                                struct tenon_why *why)
{
    int32_t status = tenon_struct_check(desc, sizeof *desc, sizeof *desc, "buffer descriptor", why);
    if (!status)
        status = tenon_chain_check(desc->next, why);
    if (status)
        return status;
    if (desc->flags & ~TENON_BUF_ALL)
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "buffer flags 0x%x: known here are 0x%x", desc->flags,
                             TENON_BUF_ALL);
    if (desc->size == 0)
        return tenon_why_set(why, TENON_E_INVALID, "buffer size 0: must be at least 1");
    if (desc->size > info->max_buffer)
        return tenon_why_set(why, TENON_E_NOMEM, "buffer size %llu: the device allows %llu",
                             (unsigned long long)desc->size, (unsigned long long)info->max_buffer);
    if (!(desc->flags & TENON_BUF_IMPORT)) {
        if (desc->host_ptr)
            return tenon_why_set(why, TENON_E_INVALID, "buffer host_ptr is given without TENON_BUF_IMPORT");
        return TENON_OK;
    }
    if (!(info->caps & TENON_CAP_IMPORT) || !info->import_align)
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "this device cannot import memory");
    if (!desc->host_ptr)
        return tenon_why_set(why, TENON_E_INVALID, "TENON_BUF_IMPORT needs host_ptr");
    if ((uintptr_t)desc->host_ptr & (info->import_align - 1))
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "host_ptr %p: must be aligned to %u bytes to be imported",
                             desc->host_ptr, info->import_align);
    if (desc->size > UINTPTR_MAX - (uintptr_t)desc->host_ptr)
        return tenon_why_set(why, TENON_E_INVALID, "buffer size %llu: reaches beyond the address space",
                             (unsigned long long)desc->size);
    return TENON_OK;
}

static int32_t check_offset(const struct tenon_bind *bind, const char *what, uint32_t i,
                            const struct tenon_device_info *info, struct tenon_why *why)
{
    if (bind->offset & (info->bind_align - 1))
        return tenon_why_set(why, TENON_E_INVALID, "%s %u: offset %llu: must be a multiple of %u", what, i,
                             (unsigned long long)bind->offset, info->bind_align);
    return TENON_OK;
}

static int32_t check_transfer(const struct tenon_cmd *cmd, uint32_t n_args, const char *name, struct tenon_why *why)
{
    if (cmd->n_args != n_args || !cmd->args)
        return tenon_why_set(why, TENON_E_INVALID, "%s: n_args %u: must be %u", name, cmd->n_args, n_args);
    for (uint32_t i = 0; i < n_args; i++) {
        if (!cmd->args[i].buffer)
            return tenon_why_set(why, TENON_E_INVALID, "%s: argument %u has no buffer", name, i);
        if (cmd->size > UINT64_MAX - cmd->args[i].offset)
            return tenon_why_set(why, TENON_E_INVALID, "%s: argument %u: offset %llu + size %llu overflows", name, i,
                                 (unsigned long long)cmd->args[i].offset, (unsigned long long)cmd->size);
    }
    return TENON_OK;
}

static int32_t check_fill(const struct tenon_cmd *cmd, struct tenon_why *why)
{
    int32_t status = check_transfer(cmd, 1, "FILL", why);
    if (!status && (cmd->size & 3 || cmd->args[0].offset & 3))
        status = tenon_why_set(why, TENON_E_INVALID, "FILL: offset %llu, size %llu: must be multiples of 4",
                               (unsigned long long)cmd->args[0].offset, (unsigned long long)cmd->size);
    return status;
}

static int32_t check_run(const struct tenon_cmd *cmd, const struct tenon_device_info *info, struct tenon_why *why)
{
    if (!cmd->plan)
        return tenon_why_set(why, TENON_E_INVALID, "RUN without a plan");
    if (cmd->n_args > TENON_MAX_TENSORS || (cmd->n_args && !cmd->args))
        return tenon_why_set(why, TENON_E_INVALID, "RUN: n_args %u: must be the number of the plan's tensors",
                             cmd->n_args);
    int32_t status = check_offset(&cmd->workspace, "RUN: workspace", 0, info, why);
    for (uint32_t i = 0; !status && i < cmd->n_args; i++)
        status = check_offset(&cmd->args[i], "RUN: argument", i, info, why);
    return status;
}

int32_t tenon_cmd_check(const struct tenon_cmd *cmd, const struct tenon_device_info *info, struct tenon_why *why)
{
    int32_t status = tenon_struct_check(cmd, sizeof *cmd, sizeof *cmd, "command", why);
    if (!status)
        status = tenon_chain_check(cmd->next, why);
    if (status)
        return status;
    if (cmd->flags)
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "command flags 0x%x: none are known here", cmd->flags);
    switch (cmd->kind) {
    case TENON_CMD_RUN:
        return check_run(cmd, info, why);
    case TENON_CMD_COPY:
        return check_transfer(cmd, 2, "COPY", why);
    case TENON_CMD_FILL:
        return check_fill(cmd, why);
    case TENON_CMD_WAIT:
        if (!(info->caps & TENON_CAP_XQUEUE))
            return tenon_why_set(why, TENON_E_UNSUPPORTED, "this device has no WAIT command (TENON_CAP_XQUEUE)");
        return cmd->queue ? TENON_OK : tenon_why_set(why, TENON_E_INVALID, "WAIT without a queue");
    default:
        return tenon_why_set(why, TENON_E_UNSUPPORTED, "command kind %u: known here are RUN COPY FILL WAIT", cmd->kind);
    }
}
