#!/bin/sh
# SPDX-License-Identifier: MIT
# The suite tests itself: each fault of faults.def must make `tenon conform --level quick` fail on an otherwise good
# backend, and without a fault the same cases pass.
top=${top_builddir:-.}
src=${srcdir:-.}
tenon=$top/tenon
TENON_BACKEND_PATH=$top/tests/conform/faulty/.libs
TENON_DEVICE=cpu
export TENON_BACKEND_PATH TENON_DEVICE
chmod go-w "$TENON_BACKEND_PATH" "$TENON_BACKEND_PATH"/libtenon-layer-faulty.so
faults=$(sed -n 's/^FAULT(\([a-z0-9_]*\), \([a-z]*\),.*/\1:\2/p' "$src/tests/conform/faulty/faults.def")
n=0
failed=0
echo "TAP version 14"
for fault in $faults; do
    n=$((n + 1))
    name=${fault%:*}
    op=${fault#*:}
    text=$(sed -n "s/^FAULT($name, [a-z]*, \"\(.*\)\").*/\1/p" "$src/tests/conform/faulty/faults.def")
    out=$(TENON_LAYERS=faulty TENON_LAYER_FAULTY_FAULT=$name "$tenon" conform --op "$op" --stop --timeout 5 2>&1)
    status=$?
    caught=$(printf '%s\n' "$out" | grep '^not ok' | head -1)
    if [ $status -eq 1 ] && [ -n "$caught" ]; then
        echo "ok $n - $name is caught: $text"
        echo "# by ${caught#not ok *- }"
    else
        echo "not ok $n - $name is not caught: $text (exit $status)"
        printf '%s\n' "$out" | tail -3 | sed 's/^/# /'
        failed=1
    fi
done
echo "1..$n"
exit $failed
