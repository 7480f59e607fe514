#!/bin/bash
# SPDX-License-Identifier: MIT
# The classifier learns, on every backend alike. Quick: two epochs on the CPU backend; full: the whole program on each.
program=${top_builddir:-.}/examples/fashion/fashion
data=/usr/share/datasets/fashion-mnist
out=$(mktemp -d)
trap 'rm -rf "$out"' EXIT
n=0
check() { # status text
    n=$((n + 1))
    if [ "$1" = 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; sed 's/^/# /' "$out/log" | tail -n 20; fi
}
final() { sed -n 's/^test accuracy \([0-9.]*\) %.*/\1/p' "$out/log"; }
at_least() { awk -v a="$1" -v b="$2" 'BEGIN { exit !(a != "" && a >= b) }'; }

"$program" --device cpu --epochs 0 >"$out/log" 2>&1
check $(($? == 2 ? 0 : 1)) "--epochs 0 is bad usage"
"$program" --device cpu --data "$out" >"$out/log" 2>&1
check $(($? == 2 ? 0 : 1)) "a missing data set is named"
"$program" --device no-such-backend >"$out/log" 2>&1
[ $? = 3 ] || [ ! -e $data ]
check $? "a device that is not there is never replaced by another"
printf 'garbage' | gzip >"$out/train-images-idx3-ubyte.gz"
"$program" --device cpu --data "$out" >"$out/log" 2>&1
check $(($? == 2 ? 0 : 1)) "a broken data set is refused"
if [ ! -e $data ]; then
    n=$((n + 1))
    echo "ok $n - training # SKIP $data is not there (Debian: dataset-fashion-mnist)"
    echo "1..$n"
    exit 0
fi
if [ "${TENON_TEST_LEVEL:-quick}" = quick ]; then
    "$program" --device cpu --epochs 2 --out "$out/a.png" >"$out/log" 2>&1
    check $? "two epochs on cpu"
    at_least "$(final)" 78
    check $? "accuracy $(final) % after two epochs is at least 78 %"
    echo "1..$n"
    exit 0
fi
first=
for device in cpu opencl vulkan; do
    # Enough for 83 % on every device; a processor that plays a GPU takes seconds an epoch.
    "$program" --device "$device" --epochs 6 --out "$out/$device.png" >"$out/log" 2>&1
    code=$?
    if [ $code = 3 ] && [ $device != cpu ]; then
        n=$((n + 1))
        echo "ok $n - $device # SKIP no such device"
        continue
    fi
    check $code "trains on $device"
    accuracy=$(final)
    at_least "$accuracy" 83
    check $? "$device: test accuracy $accuracy % is at least 83 %"
    : "${first:=$accuracy}"
    awk -v a="$accuracy" -v b="$first" 'BEGIN { d = a - b; exit !(a != "" && d <= 0.2 && d >= -0.2) }'
    check $? "$device: within 0.2 points of cpu ($first %)"
    [ "$(head -c 4 "$out/$device.png" | tail -c 3)" = PNG ]
    check $? "$device: wrote a PNG"
done
echo "1..$n"
