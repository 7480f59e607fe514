#!/bin/sh
# SPDX-License-Identifier: MIT
# The suite tests itself: each fault of faults.def must make `tenon conform --level quick` fail on an otherwise good
# backend, by the check that is meant to catch it; and with no fault the layer changes nothing.
top=$(cd "${top_builddir:-.}" && pwd)
src=${srcdir:-.}
tenon=$top/tenon
def=$src/tests/conform/faulty/faults.def
TENON_BACKEND_PATH=$top/tests/conform/faulty/.libs
TENON_DEVICE=cpu
TENON_LAYERS=faulty
export TENON_BACKEND_PATH TENON_DEVICE TENON_LAYERS
chmod go-w "$TENON_BACKEND_PATH" "$TENON_BACKEND_PATH"/libtenon-layer-faulty.so
faults=$(sed -n 's/^FAULT(\([a-z0-9_]*\), \([a-z]*\),.*/\1:\2/p' "$def")
n=0
failed=0
echo "TAP version 14"
for fault in $faults; do
    n=$((n + 1))
    name=${fault%:*}
    op=${fault#*:}
    text=$(sed -n "s/^FAULT($name, [a-z]*, \"\(.*\)\", \".*\")/\1/p" "$def")
    by=$(sed -n "s/^FAULT($name, [a-z]*, \".*\", \"\(.*\)\")/\1/p" "$def")
    # The checks of memory are few, so that the one that is meant may come after another one.
    stop=--stop
    [ "$op" = memory ] && stop=
    [ "$op" = matrix ] && op='softmax --matrix --device cpu'
    # shellcheck disable=SC2086
    out=$(TENON_LAYER_FAULTY_FAULT=$name "$tenon" conform --op $op $stop --timeout 5 2>&1)
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
done
for op in memory softmax linear; do
    n=$((n + 1))
    if out=$(TENON_LAYER_FAULTY_FAULT=none "$tenon" conform --op $op 2>&1); then
        echo "ok $n - without a fault $op passes: $(printf '%s\n' "$out" | tail -1)"
    else
        echo "not ok $n - without a fault $op passes"
        printf '%s\n' "$out" | grep -A 4 '^not ok' | head -20 | sed 's/^/# /'
        failed=1
    fi
done
echo "1..$n"
exit $failed
