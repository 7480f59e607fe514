/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The table of the operators' contracts, and what can be done with a contract alone. */
#include <string.h>

#include "contract.h"

#define TENON_OP(number, name) &tenon__##name##_contract,
static const struct tenon_op_contract *const contracts[] = {
#include <tenon/ops.def>
    NULL,
};
#undef TENON_OP

const struct tenon_op_contract *tenon_op_contract_at(uint32_t i)
{
    return i < sizeof contracts / sizeof contracts[0] ? contracts[i] : NULL;
}

const struct tenon_op_contract *tenon_op_contract_by_number(uint32_t op)
{
    for (uint32_t i = 0; contracts[i]; i++)
        if (contracts[i]->op == op)
            return contracts[i];
    return NULL;
}

const struct tenon_op_contract *tenon_op_contract_by_name(const char *name)
{
    for (uint32_t i = 0; name && contracts[i]; i++)
        if (strcmp(contracts[i]->name, name) == 0)
            return contracts[i];
    return NULL;
}

void tenon_op_defaults(const struct tenon_op_contract *contract, void *params)
{
    unsigned char *bytes = params;
    memset(bytes, 0, contract->params_size);
    memcpy(bytes, &contract->params_size, sizeof contract->params_size);
    for (uint32_t i = 0; i < contract->n_attrs; i++) {
        const struct tenon_attr_spec *attr = &contract->attrs[i];
        if (attr->type == TENON_ATTR_F32) {
            float value = (float)attr->def;
            memcpy(bytes + attr->offset, &value, sizeof value);
        } else if (attr->type == TENON_ATTR_U64) {
            uint64_t value = (uint64_t)attr->def;
            memcpy(bytes + attr->offset, &value, sizeof value);
        } else if (attr->type == TENON_ATTR_I32) {
            int32_t value = (int32_t)attr->def;
            memcpy(bytes + attr->offset, &value, sizeof value);
        } else {
            uint32_t value = (uint32_t)attr->def;
            memcpy(bytes + attr->offset, &value, sizeof value);
        }
    }
}

void tenon_op_tensors(const struct tenon_op_desc *desc, const struct tenon_op_contract *contract,
                      struct tenon_tensor *tensors)
{
    uint32_t n = desc->n_tensors < contract->n_tensors ? desc->n_tensors : contract->n_tensors;
    memcpy(tensors, desc->tensors, n * sizeof *tensors);
    memset(tensors + n, 0, (contract->n_tensors - n) * sizeof *tensors);
}
