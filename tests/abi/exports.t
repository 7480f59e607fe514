#!/bin/sh
# SPDX-License-Identifier: MIT
# Exported symbols: one a plugin (R1); libtenon exports what its map lists, all of it named tenon_, and everything that the public
# headers declare.
srcdir=${srcdir:-.}
top_builddir=${top_builddir:-.}
n=0
result() {
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
}
tmp=$(mktemp -d) || exit 99
trap 'rm -rf "$tmp"' EXIT
echo "TAP version 14"
command -v nm >/dev/null || { echo "1..0 # SKIP nm is not here"; exit 0; }
exported() { nm -D --defined-only "$1" | awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | LC_ALL=C sort -u; }

plugins=0
for so in "$top_builddir"/host/.libs/tenon/libtenon-*.so; do
    [ -e "$so" ] || continue
    plugins=$((plugins + 1))
    # Sanitizers and coverage add symbols of their own, which begin with two underscores.
    symbols=$(exported "$so" | grep -v '^__' | tr '\n' ' ')
    [ "$symbols" = "tenon_backend_entry_v1 " ]
    result $? "${so##*/} exports its entry and nothing else"
    [ "$symbols" = "tenon_backend_entry_v1 " ] || echo "# $symbols"
done
[ $plugins -gt 0 ]
result $? "there are plugins to look at ($plugins)"

lib=$(ls "$top_builddir"/host/.libs/libtenon.so "$top_builddir"/.libs/libtenon.so 2>/dev/null | head -n 1)
if [ -n "$lib" ]; then
    exported "$lib" | grep -v '^TENON_' | grep -v '^__' > "$tmp/exported"
    ! grep -v '^tenon_[a-z]' "$tmp/exported" > "$tmp/odd"
    result $? "libtenon exports tenon_ names only"
    sed 's/^/# /' "$tmp/odd"
    ! grep '^tenon__' "$tmp/exported" > "$tmp/odd"
    result $? "libtenon exports none of its inner tenon__ names"
    sed 's/^/# /' "$tmp/odd"
    # Functions declared by the headers: a name before "(" at the start of a declaration, entries of plugins aside.
    cat "$srcdir"/host/tenon/*.h "$srcdir"/plugin-api/tenon/ops.h |
        ${CC:-cc} -fpreprocessed -E -P -x c - 2>/dev/null | grep -v '^typedef\|^ *#' |
        grep -oE '^[a-z][A-Za-z0-9_ *]*[ *](tenon_[a-z0-9_]+)\(' | grep -oE 'tenon_[a-z0-9_]+\(' | tr -d '(' |
        LC_ALL=C sort -u > "$tmp/declared"
    [ "$(wc -l < "$tmp/declared")" -gt 20 ]
    result $? "the headers declare functions ($(wc -l < "$tmp/declared"))"
    LC_ALL=C comm -23 "$tmp/declared" "$tmp/exported" > "$tmp/missing"
    [ ! -s "$tmp/missing" ]
    result $? "libtenon exports every function that its headers declare"
    sed 's/^/# missing: /' "$tmp/missing"
    LC_ALL=C comm -13 "$tmp/declared" "$tmp/exported" > "$tmp/extra"
    [ ! -s "$tmp/extra" ]
    result $? "and nothing that they do not declare"
    sed 's/^/# extra: /' "$tmp/extra"
else
    n=$((n + 1))
    echo "ok $n - the exports of libtenon # SKIP no shared libtenon in this build"
fi
echo "1..$n"
