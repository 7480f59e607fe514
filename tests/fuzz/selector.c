/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * The grammar of TENON_DEVICE. What is refused says in which column; what is accepted can be asked about any device. */
#include "../../host/host.h"

#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct tenon_device_info info = {
        .struct_size = sizeof info, .type = TENON_TYPE_GPU, .name = "Some GPU", .location = "0000:03:00.0"};
    struct tenon__selector selector;
    char *text = malloc(size + 1); /* a block of its own: a read past the end is found */
    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = 0;
    int32_t status = tenon__selector_parse(text, &selector);
    if (status) {
        if (status != TENON_E_INVALID || !strstr(tenon_error(), "device selector"))
            abort();
    } else {
        if (selector.n > TENON__TERMS_MAX)
            abort();
        (void)tenon__selector_needs(&selector, "vulkan");
        (void)tenon__selector_removes(&selector, "vulkan", 0, NULL);
        (void)tenon__selector_removes(&selector, "vulkan", 3, &info);
        for (uint32_t i = 0; i < selector.n; i++) {
            int matches = tenon__term_matches(&selector.term[i], "vulkan", 3, &info);
            if (matches && !selector.term[i].automatic && !tenon__term_names(&selector.term[i], "vulkan"))
                abort();
        }
    }
    free(text);
    return 0;
}
