#!/bin/sh
# SPDX-License-Identifier: MIT
# The suite tests itself: each fault of faults.def and of <op>_faults.c must make `tenon conform --level quick` fail on
# an otherwise good backend, by the check that is meant to catch it; and with no fault the layer changes nothing.
top=$(cd "${top_builddir:-.}" && pwd)
src=${srcdir:-.}
tenon=$top/tenon
TENON_BACKEND_PATH=$top/tests/conform/faulty/.libs
TENON_DEVICE=cpu
TENON_LAYERS=faulty
export TENON_BACKEND_PATH TENON_DEVICE TENON_LAYERS
chmod go-w "$TENON_BACKEND_PATH" "$TENON_BACKEND_PATH"/libtenon-layer-faulty.so
# What there is the layer tells itself: name, operator whose cases must notice, text, words of the report.
list=$(TENON_LAYER_FAULTY_FAULT=list "$tenon" devices | sed -n 's/^fault	//p' | sort -u)
[ -n "$list" ] || { echo "Bail out! the layer lists no faults"; exit 99; }
tab=$(printf '\t')
n=0
failed=0
echo "TAP version 14"
while IFS=$tab read -r name op text by; do
    n=$((n + 1))
    # The checks of memory are few, so that the one that is meant may come after another one.
    stop=--stop
    [ "$op" = memory ] && stop=
    [ "$op" = matrix ] && op='softmax --matrix --device cpu'
    # shellcheck disable=SC2086
    out=$(TENON_LAYER_FAULTY_FAULT=$name "$tenon" conform --op $op $stop --timeout 5 2>&1 </dev/null)
    status=$?
    caught=$(printf '%s\n' "$out" | sed -n '/^not ok/,/^  \.\.\./p' | grep -v '^  repro:' | grep -F -m 1 -e "$by")
    if [ $status -eq 1 ] && [ -n "$caught" ]; then
        echo "ok $n - $name is caught: $text"
        echo "# by ${caught#not ok *- }"
    else
        echo "not ok $n - $name is not caught by \"$by\": $text (exit $status)"
        printf '%s\n' "$out" | sed -n '/^not ok/,/^  \.\.\./p' | head -6 | sed 's/^/# /'
        printf '%s\n' "$out" | tail -3 | sed 's/^/# /'
        failed=1
    fi
done <<END
$list
END
for op in memory $(sed -n 's/^TENON_OP([0-9]*, *\([a-z0-9_]*\)).*/\1/p' "$src/plugin-api/tenon/ops.def"); do
    n=$((n + 1))
    if out=$(TENON_LAYER_FAULTY_FAULT=none "$tenon" conform --op "$op" --every 5 2>&1); then
        echo "ok $n - without a fault each fifth case of $op passes: $(printf '%s\n' "$out" | tail -1)"
    else
        echo "not ok $n - without a fault each fifth case of $op passes"
        printf '%s\n' "$out" | grep -A 4 '^not ok' | head -20 | sed 's/^/# /'
        failed=1
    fi
done
echo "1..$n"
exit $failed
