#!/bin/sh
# SPDX-License-Identifier: MIT
# ops.def, the lists and the files agree: a half-added operator cannot land.
srcdir=${srcdir:-.}
cd "$srcdir" || exit 99
n=0
result() {
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
}
echo "TAP version 14"
def=plugin-api/tenon/ops.def
ops=$(sed -n 's/^TENON_OP([0-9]*, *\([a-z0-9_]*\)).*/\1/p' $def)
numbers=$(sed -n 's/^TENON_OP(\([0-9]*\),.*/\1/p' $def)
[ -n "$ops" ]
result $? "ops.def lists operators: $(echo $ops)"
[ "$(grep -c '^TENON_OP(' $def)" -eq "$(echo "$ops" | wc -l)" ]
result $? "every line of ops.def is understood"
[ "$(echo "$numbers" | sort -n | uniq | tr '\n' ' ')" = "$(echo "$numbers" | tr '\n' ' ')" ]
result $? "numbers rise and occur once"
[ -z "$(echo "$ops" | sort | uniq -d)" ]
result $? "names occur once"

for op in $ops; do
    for pattern in plugin-api/tenon/ops/@.h "plugin-api/ops/@_op*.c" "tests/abi/ops/@_contract*.c" "backends/cpu/ops/@_cpu*.c" \
        "shaders/@_gpu*.c" "tests/conform/ops/@_ref*.c"; do
        ls $(echo "$pattern" | sed "s/@/$op/g") >/dev/null 2>&1
        result $? "$op has $(echo "$pattern" | sed "s/@/$op/g")"
    done
done

# The other way round: files of an operator that ops.def does not know. The longest known name wins, so that softmax_merge_op.c
# would not pass for softmax.
for file in plugin-api/ops/*_op*.c tests/abi/ops/*_contract*.c backends/cpu/ops/*_cpu*.c shaders/*_gpu*.c \
    tests/conform/ops/*_ref*.c; do
    [ -e "$file" ] || continue
    base=${file##*/}
    known=1
    for op in $ops; do
        case $base in "$op"_op*.c | "$op"_contract*.c | "$op"_cpu*.c | "$op"_gpu*.c | "$op"_ref*.c) known=0 ;; esac
    done
    result $known "$file belongs to an operator of ops.def"
done
sh tools/ops-am.sh 2>/dev/null | cmp -s - ops.am
result $? "ops.am is what tools/ops-am.sh makes"
echo "1..$n"
