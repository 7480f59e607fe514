#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# The conformance suite's quick level on the CPU backend under valgrind: no bad access, no use of uninitialised memory, no lost block,
# in the runner or in the device process, which valgrind follows through fork. Valgrind knows no AVX-512, so the ISA is AVX2 (the
# plainest elsewhere). Each operator is a process of its own, as many at once as there are processors. Not part of `make check`.
top=${top_builddir:-.}
command -v valgrind >/dev/null || { echo "1..0 # SKIP there is no valgrind"; exit 0; }
scratch=$(mktemp -d) || exit 99
trap 'rm -rf "$scratch"' EXIT
isa=scalar
"$top/tenon" conform --device cpu --isa avx2 --op memory >/dev/null 2>&1 && isa=avx2
one() { # one OPERATOR
    begin=$(date +%s)
    "$top/libtool" --mode=execute valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=definite --errors-for-leak-kinds=definite \
        --log-file="$scratch/report.$1.%p" "$top/tenon" conform --device cpu --isa $isa --level quick --op "$1" --timeout 3600 \
        >"$scratch/out.$1" 2>"$scratch/err.$1"
    echo "$? $(($(date +%s) - begin))" >"$scratch/status.$1"
}
ops="memory $("$top/tenon" ops | sed -n 's/^\([a-z][a-z0-9_]*\) .*/\1/p')"
export top scratch isa
for op in $ops; do
    one "$op" &
    running=$(($(jobs -p | wc -l)))
    [ $running -lt "$(nproc)" ] || wait -n 2>/dev/null || wait
done
wait
echo "TAP version 14"
n=0
failed=0
for op in $ops; do
    n=$((n + 1))
    read -r status seconds <"$scratch/status.$op"
    if [ "$status" -eq 0 ] && [ -z "$(cat "$scratch/report.$op".* 2>/dev/null)" ]; then
        echo "ok $n - $op, $isa: $(tail -1 "$scratch/out.$op"), $seconds s"
    else
        echo "not ok $n - $op, $isa (exit $status)"
        grep -A 12 '^not ok' "$scratch/out.$op" | head -40 | sed 's/^/# /'
        tail -3 "$scratch/err.$op" | sed 's/^/# /'
        cat "$scratch/report.$op".* | head -150 | sed 's/^/# /'
        failed=1
    fi
done
# A mistake sown into the device process must fail the run, or all of the above proves nothing.
mkdir "$scratch/faulty" && cp "$top/tests/conform/faulty/.libs/libtenon-layer-faulty.so" "$scratch/faulty" && chmod -R go-w "$scratch/faulty"
for seed in seed_leak seed_overrun; do
    n=$((n + 1))
    rm -f "$scratch"/report.memory.*
    TENON_BACKEND_PATH=$scratch/faulty TENON_LAYERS=faulty TENON_LAYER_FAULTY_FAULT=$seed one memory
    read -r status seconds <"$scratch/status.memory"
    if [ "$status" -eq 1 ] && [ -n "$(cat "$scratch"/report.memory.*)" ]; then
        echo "ok $n - noticed: $seed"
    else
        echo "not ok $n - not noticed: $seed (exit $status)"
        failed=1
    fi
done
echo "1..$n"
exit $failed
