#!/bin/sh
# SPDX-License-Identifier: MIT
# Every installed header compiles alone, twice, as C99, C11 and C++17 without extensions; every struct of the ABI has its layout
# frozen; the layout holds on other machines too, where a compiler for them is here (R8, R3, R7).
srcdir=${srcdir:-.}
CC=${CC:-cc}
n=0
result() { # status name
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
}
skipped() {
    n=$((n + 1))
    echo "ok $n - $1 # SKIP $2"
}
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
include="-I$srcdir/plugin-api -I$srcdir/host"
CXX=${CXX:-$(command -v g++ || command -v clang++ || :)}
[ -n "$CXX" ] && ! echo 'int x;' | $CXX -x c++ -std=c++17 -fsyntax-only - 2>/dev/null && CXX=

echo "TAP version 14"
cd "$srcdir" && headers=$(ls plugin-api/tenon/*.h plugin-api/tenon/ops/*.h host/tenon/*.h) && cd - >/dev/null || exit 99
for header in $headers; do
    name=${header#*/}
    printf '#include <%s>\n#include <%s>\nextern int tenon_here;\n' "$name" "$name" > "$tmp/one.c"
    for std in c99 c11; do
        $CC -std=$std -pedantic -Wall -Wextra -Wstrict-prototypes -Werror $include -fsyntax-only "$tmp/one.c" 2>"$tmp/log"
        result $? "$name as $std"
        sed 's/^/# /' "$tmp/log"
    done
    if [ -n "$CXX" ]; then
        $CXX -x c++ -std=c++17 -pedantic -Wall -Wextra -Werror $include -fsyntax-only "$tmp/one.c" 2>"$tmp/log"
        result $? "$name as C++17"
        sed 's/^/# /' "$tmp/log"
    else
        skipped "$name as C++17" "no C++ compiler"
    fi
done

for header in tensor host backend; do
    for struct in $(sed -n 's/^struct \(tenon_[a-z_]*\) {.*/\1/p' "$srcdir/plugin-api/tenon/$header.h"); do
        grep -q "^SIZE($struct," "$srcdir/tests/abi/layout.c"
        result $? "the layout of struct $struct is frozen"
    done
done
grep -E '\b(bool|_Bool|long|enum [a-z])\b' "$srcdir"/plugin-api/tenon/backend.h "$srcdir"/plugin-api/tenon/host.h \
    "$srcdir"/plugin-api/tenon/tensor.h | grep -v '^[^:]*: *\(/\?\*\|//\)' | grep -v '/\*' > "$tmp/log"
[ ! -s "$tmp/log" ]
result $? "no bool, long or named enum crosses the ABI"
sed 's/^/# /' "$tmp/log"

for target in i386-linux-gnu armv7-linux-gnueabihf aarch64-linux-gnu x86_64-linux-gnu; do
    if echo 'int x;' | clang -target $target -ffreestanding -fsyntax-only -x c - 2>/dev/null; then
        clang -target $target -ffreestanding -std=c11 -Wall -Wextra -Werror $include -fsyntax-only "$srcdir/tests/abi/layout.c" \
            2>"$tmp/log"
        result $? "the layout on $target"
        sed 's/^/# /' "$tmp/log"
    else
        skipped "the layout on $target" "no clang for it"
    fi
done
echo "1..$n"
