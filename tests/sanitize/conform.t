#!/bin/sh
# SPDX-License-Identifier: MIT
# The conformance suite's quick level, 120 cases of an operator, in a tree configured with --enable-sanitize, on each device
# of $TENON_SANITIZE_DEVICES (cpu and vulkan). No sanitizer may have anything to say of our frames. The device process is a fork of the
# instrumented runner: a report in it ends it with a status that is no answer, or with one that the result "device: it closes" does
# not take; besides, whatever any process reports goes to files that this script looks at. What drivers do among themselves is
# suppressed by library, in *.supp here.
top=${top_builddir:-.}
src=${srcdir:-.}
tenon=$top/tenon
scratch=$(mktemp -d) || exit 99
trap 'rm -rf "$scratch"' EXIT
log=log_path=$scratch/report
here=$(cd "$src/tests/sanitize" && pwd)
ASAN_OPTIONS=detect_leaks=1:allocator_may_return_null=1:detect_stack_use_after_return=1:$log
LSAN_OPTIONS=suppressions=$here/lsan.supp:print_suppressions=0
UBSAN_OPTIONS=halt_on_error=1:print_stacktrace=1:$log
TSAN_OPTIONS=suppressions=$here/tsan.supp:print_suppressions=0:ignore_noninstrumented_modules=1:second_deadlock_stack=1:$log
export ASAN_OPTIONS LSAN_OPTIONS UBSAN_OPTIONS TSAN_OPTIONS
TENON_CACHE_DIR=$scratch/cache
export TENON_CACHE_DIR
n=0
failed=0
echo "TAP version 14"
sanitizers=$(sed -n 's/^SAN_FLAGS = //p' "$top/Makefile")
for device in ${TENON_SANITIZE_DEVICES:-cpu vulkan}; do
    n=$((n + 1))
    rm -f "$scratch"/report.*
    begin=$(date +%s)
    "$tenon" conform --device "$device" --level quick --most 120 --timeout 900 --jobs "$(nproc)" >"$scratch/out" 2>"$scratch/err"
    status=$?
    seconds=$(($(date +%s) - begin))
    if [ $status -eq 3 ]; then
        echo "ok $n - $device # SKIP no such device"
    elif [ $status -eq 0 ] && ! ls "$scratch"/report.* >/dev/null 2>&1 && ! grep -q 'runtime error:' "$scratch/err"; then
        echo "ok $n - $device: $(tail -1 "$scratch/out"), $seconds s"
    else
        echo "not ok $n - $device (exit $status)"
        grep -A 12 '^not ok' "$scratch/out" | head -40 | sed 's/^/# /'
        tail -3 "$scratch/err" | sed 's/^/# /'
        cat "$scratch"/report.* 2>/dev/null | head -150 | sed 's/^/# /'
        failed=1
    fi
done
# A mistake sown into the device process must fail the run, or all of the above proves nothing.
faulty=$scratch/faulty
mkdir "$faulty" && cp "$top/tests/conform/faulty/.libs/libtenon-layer-faulty.so" "$faulty" && chmod -R go-w "$faulty"
sed -n 's/^SEED(\([a-z_]*\), \([a-z ]*\), "\(.*\)")/\1:\2:\3/p' "$src/tests/conform/faulty/seeds.def" >"$scratch/seeds"
while IFS=: read -r seed by text; do
    n=$((n + 1))
    case $sanitizers in
    *${by%% *}*) ;;
    *) echo "ok $n - $seed # SKIP this tree has no ${by%% *} sanitizer"; continue ;;
    esac
    rm -f "$scratch"/report.*
    TENON_BACKEND_PATH=$faulty TENON_LAYERS=faulty TENON_LAYER_FAULTY_FAULT=$seed \
        "$tenon" conform --device cpu --op memory >"$scratch/out" 2>"$scratch/err"
    status=$?
    # With two sanitizers in one program the second has its own idea of where a report goes.
    if [ $status -eq 1 ] && { ls "$scratch"/report.* >/dev/null 2>&1 || grep -q 'runtime error:' "$scratch/err"; }; then
        echo "ok $n - noticed: $text"
    else
        echo "not ok $n - not noticed: $text (exit $status)"
        tail -3 "$scratch/err" | sed 's/^/# /'
        cat "$scratch"/report.* 2>/dev/null | head -40 | sed 's/^/# /'
        failed=1
    fi
    tail -1 "$scratch/out" | sed 's/^/# /'
    grep '^not ok' "$scratch/out" | sed 's/^/# /'
done <"$scratch/seeds"
echo "1..$n"
exit $failed
