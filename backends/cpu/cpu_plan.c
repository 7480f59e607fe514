/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * A descriptor becomes a plan: checked by the contract, copied, given to the operator's tables of the device's ISA.
 * */
#include <stdio.h>
#include <string.h>

#include "cpu_backend.h"

static const struct cpu_op *find_op(const struct tenon_device *device, uint32_t op)
{
    const struct cpu_op *const *ops = tenon__cpu_ops(device->isa);
    while (*ops && (*ops)->op != op)
        ops++;
    return *ops;
}

static int32_t fill_plan(struct tenon_plan *plan, const struct tenon_device *device, const struct tenon_op_desc *desc)
{
    struct cpu_plan *cpu = &plan->cpu;
    struct tenon_why why;
    memset(plan, 0, sizeof *plan);
    plan->device = device;
    int32_t status = tenon_op_check(desc, &plan->contract, cpu->params, sizeof cpu->params, &why);
    if (status)
        return tenon__cpu_fail(status, &why);
    cpu->op = find_op(device, plan->contract->op);
    if (!cpu->op) {
        tenon_why_set(&why, TENON_E_UNSUPPORTED, "%s: not built for %s", plan->contract->name,
                      tenon__cpu_isa_name(device->isa));
        return tenon__cpu_fail(TENON_E_UNSUPPORTED, &why);
    }
    cpu->env = &device->env;
    cpu->n_tensors = plan->contract->n_tensors;
    tenon_op_tensors(desc, plan->contract, cpu->tensor);
    for (uint32_t i = 0; i < cpu->n_tensors; i++)
        plan->bytes[i] = tenon_tensor_bytes(&cpu->tensor[i]);
    snprintf(cpu->impl, sizeof cpu->impl, "%s %s", plan->contract->name, tenon__cpu_isa_name(device->isa));
    return cpu->op->plan(cpu);
}

int32_t tenon__cpu_plan_create(struct tenon_device *device, const struct tenon_op_desc *desc,
                               struct tenon_plan **plan)
{
    const struct tenon_host *host = device->env.host;
    struct tenon_plan *p = host->alloc(host, sizeof *p, _Alignof(struct tenon_plan));
    if (!p)
        return host->fail(host, TENON_E_NOMEM, "no memory for a plan");
    const int32_t status = fill_plan(p, device, desc);
    if (status || !plan)
        host->free(host, p);
    else
        *plan = p;
    return status;
}

int32_t tenon__cpu_plan_info(const struct tenon_plan *plan, struct tenon_plan_info *info)
{
    struct tenon_why why;
    if (!plan)
        return tenon__cpu_fail(tenon_why_set(&why, TENON_E_INVALID, "plan_info: no plan"), &why);
    struct tenon_plan_info full = {.struct_size = sizeof full,
                                   .workspace = plan->cpu.workspace,
                                   .workspace_align = CPU_ALIGN};
    memcpy(full.impl, plan->cpu.impl, sizeof full.impl);
    const int32_t status = tenon_struct_write(info, &full, sizeof full, &why);
    return status ? tenon__cpu_fail(status, &why) : TENON_OK;
}

void tenon__cpu_plan_destroy(struct tenon_plan *plan)
{
    if (plan)
        plan->device->env.host->free(plan->device->env.host, plan);
}
