#!/bin/sh
# SPDX-License-Identifier: MIT
# The man pages say what the program has: every function, option, setting and reason; and the example of libtenon(3) runs.
src=${srcdir:-.}
top=${top_builddir:-.}
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
n=0 failed=0
check() { # NAME MISSING
    n=$((n + 1))
    if [ -z "$2" ]; then
        echo "ok $n - $1"
    else
        echo "not ok $n - $1"
        echo "# missing:" $2
        failed=1
    fi
}
# The words of standard input that the page does not have.
absent() { while read -r word; do grep -Fqe "$word" "$1" || echo "$word"; done; }

echo "TAP version 14"
check "libtenon(3) has every function of tenon.h" \
    "$(grep -o '\btenon_[a-z_]*(' "$src/host/tenon/tenon.h" | tr -d '(' | sort -u | absent "$src/doc/libtenon.3")"
check "tenon(1) has every setting that the host reads" \
    "$(grep -ho '"TENON_[A-Z_]*"' "$src"/host/*.c | grep -v '_"$' | tr -d '"' | sort -u | absent "$src/doc/tenon.1")"
for command in devices run kernels ops conform bench; do
    check "tenon(1) has the options of $command" \
        "$("$top/tenon" $command --help | grep -o -e '--[a-z]*' | sed 's/^--/Fl -/' | grep -v help | sort -u | absent "$src/doc/tenon.1")"
done
check "tenon(1) has every command" \
    "$("$top/tenon" --help | sed -n 's/^  \([a-z]*\) .*/Cm \1/p' | grep -v help | absent "$src/doc/tenon.1")"
check "tenon-backend(7) has every reason of SPEC.md" \
    "$(sed -n '/^| reason/,/^$/p' "$src/plugin-api/SPEC.md" | cut -d'|' -f2 | grep -o '[A-Z][A-Z_]*' | sort -u | absent "$src/doc/tenon-backend.7")"
check "tenon-backend(7) has every reason that the host gives" \
    "$(grep -ho 'refuse[a-z_]*([a-z&\[\], >-]*"[A-Z_]*"' "$src"/host/*.c | grep -o '"[A-Z_]*"' | tr -d '"' | sort -u | absent "$src/doc/tenon-backend.7")"
check "the completion has the options of every command" \
    "$(for command in devices run kernels ops conform bench; do "$top/tenon" $command --help | grep -o -e '^ *-*[a-z, -]*--[a-z]*' | grep -o -e '--[a-z]*'; done | sort -u | absent "$src/host/cli/completion/tenon")"

awk '/^\.Bd -literal$/ {on = 1; next} /^\.Ed/ {on = 0} on' "$src/doc/libtenon.3" | sed 's/\\en/\\n/' > "$work/example.c"
n=$((n + 1))
if grep -aqE '__(asan|tsan|ubsan)_' "$top/host/.libs/libtenon.so"; then
    echo "ok $n - the example of libtenon(3) # SKIP libtenon needs a sanitizer's runtime"
elif ! ${CC:-cc} -std=c11 -Wall -Werror -I"$src/plugin-api" -I"$src/host" "$work/example.c" -L"$top/host/.libs" -ltenon \
    -Wl,-rpath,"$(cd "$top/host/.libs" && pwd)" -o "$work/example" > "$work/log" 2>&1; then
    echo "not ok $n - the example of libtenon(3) compiles"
    sed 's/^/# /' "$work/log"
    failed=1
elif [ "$(TENON_BACKEND_PATH=$(cd "$top/tests/unit/host/.libs" && pwd) TENON_DEVICE=toy:4 "$work/example")" = \
    "0.224208 0.60946 0.0303432 0.135989" ]; then
    echo "ok $n - the example of libtenon(3) runs"
else
    echo "not ok $n - the example of libtenon(3) gives another result"
    failed=1
fi
echo "1..$n"
exit $failed
