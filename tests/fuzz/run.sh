#!/bin/sh
# SPDX-License-Identifier: MIT
# tests/fuzz/run.sh SECONDS TARGET...: runs libFuzzer targets side by side, from the top of the build tree.
seconds=$1
shift
work=$PWD/tests/fuzz/work
mkdir -p "$work/elf" "$work/selector" "$work/desc"
# Seeds: the head of a real plugin, cut at three places; selectors with every part of the grammar.
for n in 200 1500 4096; do
    head -c $n backends/null/.libs/libtenon-null.so >"$work/elf/seed-$n"
done
i=0
for text in none auto 'cpu:*' 'vulkan:gpu,!opencl' 'x:uuid=12ab' 'x:pci=0000:03:00.0' 'x:name=some*' 'AUTO, !cpu:0'; do
    i=$((i + 1))
    printf '%s' "$text" >"$work/selector/seed-$i"
done
for i in 0 1 2 3 4 5 6 7; do
    printf '%b' "\\000\\00$i\\000\\000\\000\\000" >"$work/desc/seed-$i"
    printf '%b' "\\001\\00$i\\000\\000\\000\\000" >"$work/desc/seed-1$i"
done
for target; do
    name=${target##*/}
    ("./$target" -max_total_time="$seconds" -max_len=4096 -timeout=10 -rss_limit_mb=2048 -artifact_prefix="$work/" -print_final_stats=1 \
        "$work/$name" >"$work/$name.log" 2>&1; echo $? >"$work/$name.status") &
done
wait
failed=0
for target; do
    name=${target##*/}
    status=$(cat "$work/$name.status")
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$work/$name.log")
    cover=$(sed -n 's/.* cov: \([0-9]*\) .*/\1/p' "$work/$name.log" | tail -1)
    if [ "$status" = 0 ]; then
        echo "ok - $name: $runs runs in $seconds s, $cover edges, nothing found"
    else
        echo "not ok - $name (exit $status); inputs are in $work"
        grep -A 30 -E 'ERROR: |runtime error|SUMMARY' "$work/$name.log" | head -40 | sed 's/^/# /'
        failed=1
    fi
done
exit $failed
