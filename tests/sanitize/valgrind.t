#!/bin/sh
# SPDX-License-Identifier: MIT
# The conformance suite's quick level, 100 cases of an operator, on the CPU backend under valgrind: no bad access, no use of
# uninitialised memory, no lost block, in the runner or in the device process, which valgrind follows through fork. Valgrind knows no AVX-512, so the ISA is AVX2 (the
# plainest elsewhere). Not part of `make check`.
top=${top_builddir:-.}
command -v valgrind >/dev/null || { echo "1..0 # SKIP there is no valgrind"; exit 0; }
scratch=$(mktemp -d) || exit 99
trap 'rm -rf "$scratch"' EXIT
isa=scalar
"$top/tenon" conform --device cpu --isa avx2 --op memory >/dev/null 2>&1 && isa=avx2
run() { # run ARGUMENT...: the suite under valgrind
    rm -f "$scratch"/report.*
    "$top/libtool" --mode=execute valgrind -q --error-exitcode=99 --leak-check=full --show-leak-kinds=definite \
        --errors-for-leak-kinds=definite --log-file="$scratch/report.%p" "$top/tenon" conform --device cpu --isa $isa \
        --level quick --timeout 3600 "$@" >"$scratch/out" 2>"$scratch/err"
}
reported() {
    [ -n "$(cat "$scratch"/report.* 2>/dev/null)" ]
}
# Valgrind runs one thread at a time: with more threads than processors none waits by spinning.
TENON_THREADS=$(($(nproc) + 1))
export TENON_THREADS
echo "TAP version 14"
begin=$(date +%s)
n=1
failed=0
run --threads 1 --most 100 --jobs "$(nproc)"
status=$?
if [ $status -eq 0 ] && ! reported; then
    echo "ok $n - $isa: $(tail -1 "$scratch/out"), $(($(date +%s) - begin)) s"
else
    echo "not ok $n - $isa (exit $status)"
    grep -A 12 '^not ok' "$scratch/out" | head -40 | sed 's/^/# /'
    tail -3 "$scratch/err" | sed 's/^/# /'
    cat "$scratch"/report.* | head -150 | sed 's/^/# /'
    failed=1
fi
# A mistake sown into the device process must fail the run, or all of the above proves nothing.
mkdir "$scratch/faulty" && cp "$top/tests/conform/faulty/.libs/libtenon-layer-faulty.so" "$scratch/faulty" && chmod -R go-w "$scratch/faulty"
for seed in seed_leak seed_overrun; do
    n=$((n + 1))
    TENON_BACKEND_PATH=$scratch/faulty TENON_LAYERS=faulty TENON_LAYER_FAULTY_FAULT=$seed run --op memory
    status=$?
    if [ $status -eq 1 ] && reported; then
        echo "ok $n - noticed: $seed"
    else
        echo "not ok $n - not noticed: $seed (exit $status)"
        failed=1
    fi
done
echo "1..$n"
exit $failed
