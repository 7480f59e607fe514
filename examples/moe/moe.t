#!/bin/bash
# SPDX-License-Identifier: MIT
# One MoE layer on every device: the dense masked sum, and the same bits for tokens in another order.
program=${top_builddir:-.}/examples/moe/moe
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
n=0
check() { # status text
    n=$((n + 1))
    if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; sed 's/^/# /' "$out/log" | tail -n 20; fi
}
refused() { # words text: what a mistaken call says
    "$program" "${@:3}" >"$out/log" 2>&1
    [ $? = 2 ] && grep -q -- "$1" "$out/log"
    check $? "$2"
}

refused "at most the 4 experts" "--top-k above --experts is bad usage" --experts 4 --top-k 5
refused "from 1 to" "--tokens 0 is bad usage" --tokens 0
refused "f32, bf16 or i8" "an unknown --type is bad usage" --type f64
"$program" --device no-such-backend >"$out/log" 2>&1
check $(($? == 3 ? 0 : 1)) "a device that is not there is never replaced by another"
for device in cpu opencl vulkan; do
    for args in "" "--type bf16" "--type i8" "--tokens 1" "--tokens 37 --skew" "--experts 1 --top-k 1" "--top-k 16" \
        "--tokens 9 --width 95 --hidden 33 --experts 7 --top-k 3"; do
        # shellcheck disable=SC2086 # the words of args
        "$program" --device $device --check 64 $args >"$out/log" 2>&1
        code=$?
        if [ $code = 3 ] && [ $device != cpu ]; then
            n=$((n + 1))
            echo "ok $n - $device # SKIP no such device"
            continue 2
        fi
        check $code "$device: a layer${args:+ with }$args is the dense masked sum, whatever the order of its tokens"
    done
done
echo "1..$n"
