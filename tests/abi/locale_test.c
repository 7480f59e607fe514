/* SPDX-License-Identifier: MIT
 * Copyright The Tenon authors
 *
 * tenon_op_attr_set reads the same numbers whatever the locale of the process is. */
#include <locale.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <tenon/ops.h>
#include <tenon/ops/softmax.h>

#include "../tap.h"

/* A locale of our own, because which ones a machine has is its own affair. 0: it cannot be made. */
static int use_comma(const char *folder)
{
    static const char text[] = "LC_NUMERIC\ndecimal_point \",\"\nthousands_sep \".\"\ngrouping 3;3\nEND LC_NUMERIC\n";
    char path[128], command[512];
    snprintf(path, sizeof path, "%s/comma", folder);
    FILE *f = fopen(path, "w");
    if (!f)
        return 0;
    fputs(text, f);
    fclose(f);
    snprintf(command, sizeof command, "localedef -c -i %s %s/comma_XX >/dev/null 2>&1", path, folder);
    if (system(command) == -1) /* it complains of the other categories even when it has done its work */
        return 0;
    setenv("LOCPATH", folder, 1);
    return setlocale(LC_NUMERIC, "comma_XX") != NULL;
}

static void check_attributes(const char *where)
{
    const struct tenon_op_contract *contract = tenon_op_contract_by_number(TENON_OPNUM_softmax);
    struct tenon_softmax_params p;
    struct tenon_why why = {0};
    tenon_op_defaults(contract, &p);
    is_int(tenon_op_attr_set(contract, &p, "inv_temp=0.375", &why), TENON_OK, "%s: a point is taken", where);
    ok(p.inv_temp == 0.375f, "%s: and read right", where);
    is_int(tenon_op_attr_set(contract, &p, "scale=0,5", &why), TENON_E_ARG, "%s: a comma is refused", where);
    ok(p.scale == 1.0f, "%s: and nothing is written", where);
    is_int(tenon_op_attr_set(contract, &p, "inv_temp=-0.5", &why), TENON_E_ARG, "%s: what is out of range too", where);
    ok(!strchr(why.text, ','), "%s: in words with points: %s", where, why.text);
}

int main(void)
{
    char folder[] = "/tmp/tenon-locale-XXXXXX", command[64];
    check_attributes("C");
    if (!mkdtemp(folder))
        return tap_done();
    if (use_comma(folder)) {
        char half[8];
        snprintf(half, sizeof half, "%.1f", 0.5);
        is_str(half, "0,5", "the process has the comma");
        check_attributes("comma");
        snprintf(half, sizeof half, "%.1f", 0.5);
        is_str(half, "0,5", "and keeps it");
    } else {
        skip("there is no localedef", "attributes in a locale with a comma");
    }
    snprintf(command, sizeof command, "rm -r %s", folder);
    return system(command) == -1 ? 1 : tap_done();
}
