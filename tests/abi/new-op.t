#!/bin/sh
# SPDX-License-Identifier: MIT
# A new operator touches its own files, one line of ops.def and at most a word in a makefile list. Proof on the operators there are: with comments removed, the word of
# an operator (in any case) occurs in the code of its own files and nowhere else in the shared rooms. Examples and tests of the
# rooms may of course use an operator.
srcdir=${srcdir:-.}
CC=${CC:-cc}
cd "$srcdir" || exit 99
n=0
result() {
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
}
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
echo "TAP version 14"
# Comments go, strings and directives stay; kernels have names that the preprocessor would not know.
code() {
    cp "$1" "$tmp/x.c" && $CC -fpreprocessed -dD -E -P "$tmp/x.c" 2>/dev/null
}
code tests/tap.c | grep -q tap_done || { echo "1..0 # SKIP $CC cannot strip comments"; exit 0; }
shared=$(find plugin-api host shaders backends tests/conform bench \( -name '*.c' -o -name '*.h' -o -name '*.k' \) |
    LC_ALL=C sort)
ops=$(sed -n 's/^TENON_OP([0-9]*, *\([a-z0-9_]*\)).*/\1/p' plugin-api/tenon/ops.def)
# Without comments, once a file.
for file in $shared; do
    mkdir -p "$tmp/${file%/*}" && code "$file" >"$tmp/$file"
done
for op in $ops; do
    bad=
    own=0
    longer= # operators whose name begins with this one: their names are not this word, their files may speak of it
    for other in $ops; do
        case $other in "${op}_"*) longer="$longer;s/$other//Ig" ;; esac
    done
    for file in $shared; do
        case $file in
        plugin-api/tenon/ops/$op.h | plugin-api/ops/${op}_op*.c | backends/cpu/ops/${op}_cpu* | shaders/${op}_gpu* | \
            shaders/${op}*.k | shaders/${op}*.args.h | shaders/lib/${op}*.h | tests/conform/ops/${op}_* | \
            tests/conform/catalog_${op}* | plugin-api/tenon/ops/${op}_*.h | plugin-api/ops/${op}_* | \
            backends/cpu/ops/${op}_* | shaders/${op}_*)
            own=$((own + 1))
            continue
            ;;
        # Not of the shared path: a peer of the benchmark maps operators to another library; tests, catalogs of systems and the faults that tests plant
        # use operators.
        bench/peers/* | *_test.c | tests/conform/faulty/* | tests/conform/catalog_*) continue ;;
        esac
        grep -qi "$op" "$tmp/$file" || continue
        # The files of another operator may have the word as one of their own (softmax is a function, and a value of attributes), but
        # not what the operator itself has: its number, its params, its functions.
        word="(^|[^a-z])${op}([^a-z]|\$)"
        for other in $ops; do
            case ${file##*/} in
            "${other}"[_.]* | "catalog_${other}"[_.]*) [ "$other" = "$op" ] || word="(tenon_|tenon__|tenon_opnum_|ops/)${op}([^a-z]|\$)" ;;
            esac
        done
        sed "$longer" "$tmp/$file" | grep -inE "$word" > "$tmp/hits" &&
            bad="$bad
$(sed "s|^|# $file: |" "$tmp/hits")"
    done
    [ -z "$bad" ]
    result $? "$op is named in its own $own files only"
    [ -z "$bad" ] || echo "$bad" | sed '/^$/d' | cut -c1-150
done
echo "1..$n"
