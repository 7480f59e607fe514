#!/bin/sh
# SPDX-License-Identifier: MIT
# Small conformance cases of every operator under Oclgrind, which checks each access and each pair of invocations for races:
# zero reports. Once as rows and products are usually cut, once cut so that small cases take the ways of the large ones.
skip() {
    echo "1..0 # SKIP $1"
    exit 0
}
command -v oclgrind >/dev/null 2>&1 || skip "oclgrind is not installed"
src=${srcdir:-.}
kernels=${top_builddir:-.}/shaders/kernels.c
[ -e "$kernels" ] || skip "no GPU backend is built"
dir=$(mktemp -d "${TMPDIR:-/tmp}/tenon-oclgrind.XXXXXX") || exit 99
trap 'rm -rf "$dir"' EXIT
n=0
recipes=$(find "$src/shaders" -name '*.c' ! -name gpu_cache.c ! -name kernels.c)
build() {
    ${CC:-cc} -O1 $2 -I"$src/plugin-api" -I"$src/shaders" -I"$src/tests/conform" $recipes "$kernels" \
        "$src"/plugin-api/*.c "$src"/plugin-api/ops/*_op.c \
        "$src"/tests/conform/case.c "$src"/tests/conform/number.c "$src"/tests/conform/noise.c "$src"/tests/conform/ops/*_ref*.c "$src"/tests/conform/ops/*_suite*.c \
        "$src"/tests/conform/precise_none.c "$src"/tests/unit/gpu/gpu_host.c "$src"/tests/unit/gpu/gpu_cases.c \
        -o "$dir/$1" -l:libOpenCL.so.1 -lm >"$dir/cc.log" 2>&1
}
build usual "" || { sed 's/^/# /' "$dir/cc.log" | head -20; skip "the program for the cases cannot be built here"; }
build cut "-DWHOLE_COLS=64u -DSOFTWARE_DEPTH=64u" || exit 99
count=16
[ "$TENON_TEST_LEVEL" = full ] && count=40
for program in usual cut; do
    for op in $(sed -n 's/^TENON_OP([0-9]*, *\([a-z0-9_]*\)).*/\1/p' "$src/plugin-api/tenon/ops.def"); do
        n=$((n + 1))
        # The optimiser's intrinsics for inlined structs are unknown to Oclgrind.
        oclgrind --build-options -cl-opt-disable --data-races --log "$dir/report" \
            "$dir/$program" "$op" 0 "$count" Oclgrind 6000 software >"$dir/out" 2>&1
        status=$?
        if [ $status = 0 ] && [ ! -s "$dir/report" ]; then
            echo "ok $n - $op, $program: $(sed -n 's/^# .*: \([0-9]* cases ran\).*/\1/p' "$dir/out"), no report"
        else
            echo "not ok $n - $op, $program: status $status"
            cat "$dir/out" "$dir/report" 2>/dev/null | head -40 | sed 's/^/# /'
        fi
    done
done
echo "1..$n"
