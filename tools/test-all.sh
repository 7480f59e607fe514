#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# tools/test-all.sh BUILD: every test of a built tree, then the same quick tests under the sanitizers, valgrind and on other
# processors. Goes on after a failure; the last line counts what every stage reported.
set -uo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
build=$1
work=$build/stages
rm -rf "$work"
mkdir -p "$work"
passed=0 failed=0 skipped=0
begin=$SECONDS

# stage NAME COMMAND...: one more test, whose log is kept
stage() {
    local name=$1 start=$SECONDS
    shift
    printf '== %s\n' "$name"
    if "$@" >"$work/$name.log" 2>&1; then
        passed=$((passed + 1))
        printf '   ok, %d s\n' $((SECONDS - start))
    else
        failed=$((failed + 1))
        printf '   FAILED after %d s; the end of %s:\n' $((SECONDS - start)) "$work/$name.log"
        grep -hE '^(not ok|FAIL|ERROR|XPASS)' "$work/$name.log" | head -n 20
        tail -n 30 "$work/$name.log"
    fi
}

# tally DIR: adds what the TAP programs of a build tree reported
tally() {
    local p f s
    p=$(find "$1" -name '*.trs' -exec grep -h '^:test-result: PASS' {} + 2>/dev/null | wc -l)
    f=$(find "$1" -name '*.trs' -exec grep -hE '^:test-result: (FAIL|ERROR|XPASS)' {} + 2>/dev/null | wc -l)
    s=$(find "$1" -name '*.trs' -exec grep -h '^:test-result: SKIP' {} + 2>/dev/null | wc -l)
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + s))
    printf '   %d passed, %d failed, %d skipped there\n' "$p" "$f" "$s"
}

# tree NAME CONFIGURE-ARGUMENT...: configures and builds another tree
tree() {
    mkdir -p "$work/$1" && (cd "$work/$1" && shift && "$top/configure" --enable-werror "$@" && make -j"$(nproc)")
}

stage check-full make -C "$build" -j"$(nproc)" check-full
tally "$build"

# For its warnings: they do not depend on how much it optimises.
stage build-clang tree clang CC=clang CFLAGS=-O0
fuzz() {
    mkdir -p "$work/fuzz" && (cd "$work/fuzz" && "$top/configure" --enable-werror CC=clang --enable-fuzz &&
        make -j"$(nproc)" check-fuzz FUZZ_SECONDS=20)
}
stage fuzz fuzz
# What a sanitizer sees is in the code that all ISAs share: two of them will do.
stage build-asan tree asan --enable-isa=scalar,avx2 --enable-sanitize=address,undefined CFLAGS='-O1 -g'
stage check-asan make -C "$work/asan" -j"$(nproc)" check-sanitize
tally "$work/asan"
stage build-tsan tree tsan --enable-isa=scalar,avx2 --enable-sanitize=thread CFLAGS='-O1 -g'
stage check-tsan make -C "$work/tsan" -j"$(nproc)" check-sanitize
tally "$work/tsan"
stage check-valgrind make -C "$build" -j"$(nproc)" check-valgrind
stage cross-aarch64 "$top/tools/cross-aarch64.sh" "$work/aarch64"
tally "$work/aarch64"
# The tarball builds, installs, passes a test and uninstalls; all the tests have run above, and what -O0 builds for two ISAs shows
# that the lists hold together. That nothing is missing, the list of files shows better.
stage distcheck make -C "$build" distcheck AM_MAKEFLAGS='TESTS=tests/abi/contract.t' \
    DISTCHECK_CONFIGURE_FLAGS='CFLAGS=-O0 --enable-isa=scalar,avx2'
tarball() {
    tar tf "$build"/tenon-*.tar.xz | sed 's,^[^/]*/,,' | LC_ALL=C sort >"$work/tarball" &&
        git -C "$top" ls-files plugin-api host backends shaders tests bench examples doc | LC_ALL=C sort |
        LC_ALL=C comm -23 - "$work/tarball" >"$work/missing" &&
        cat "$work/missing" && [ ! -s "$work/missing" ]
}
stage tarball tarball

printf 'all stages took %d min\n' $(((SECONDS - begin) / 60))
printf '%d passed, %d failed, %d skipped\n' $passed $failed $skipped
[ $failed = 0 ]
