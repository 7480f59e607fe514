#!/bin/sh
# SPDX-License-Identifier: MIT
# The same on a second driver, Mesa's Rusticl on llvmpipe, where it is installed.
[ -e /etc/OpenCL/vendors/rusticl.icd ] || { echo "1..0 # SKIP Rusticl is not installed"; exit 0; }
OCL_ICD_VENDORS=rusticl.icd RUSTICL_ENABLE=llvmpipe exec "${top_builddir:-.}/tests/unit/ocl_faults.t"
