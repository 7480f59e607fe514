#!/bin/sh
# SPDX-License-Identifier: MIT
# The objects of an ISA export the tables of the operators and nothing else: a shared helper compiled for AVX-512 that the linker
# keeps for everybody would crash older processors.
n=0
echo "TAP version 14"
ops=$(sed -n 's/^TENON_OP([0-9]*, *\([a-z0-9_]*\)).*/\1/p' "$srcdir/plugin-api/tenon/ops.def")
for lib in "$top_builddir"/backends/cpu/.libs/libcpu_*.a; do
    isa=$(basename "$lib" .a | sed 's/libcpu_//')
    n=$((n + 1))
    if ! symbols=$("${NM:-nm}" -g --defined-only "$lib" 2>/dev/null); then
        echo "ok $n - $isa # SKIP nm cannot read objects of this architecture"
        continue
    fi
    got=$(echo "$symbols" | awk 'NF == 3 {print $3}' | sort)
    want=$(for op in cpu_ops $ops; do echo "tenon__${op}_$isa"; done | sort)
    if [ "$got" = "$want" ]; then
        echo "ok $n - $isa exports its tables alone"
    else
        echo "not ok $n - $isa exports its tables alone"
        echo "$got" | sed 's/^/# exports /'
    fi
done
[ $n -gt 0 ] || { n=1; echo "not ok 1 - no library of any ISA in $top_builddir"; }
echo "1..$n"
