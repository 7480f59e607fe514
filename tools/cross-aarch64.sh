#!/usr/bin/env bash
# SPDX-License-Identifier: MIT
# tools/cross-aarch64.sh DIR [conform]: cross-compiles for aarch64 into DIR and runs the compiled tests under qemu-user; with
# `conform` the conformance suite too, which takes minutes. The arm64 libraries are downloaded by apt into DIR with a package
# state of its own, so the system's is not touched.
set -euo pipefail
top=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
mkdir -p "$1"
dir=$(cd "$1" && pwd)
root=$dir/sysroot
triplet=aarch64-linux-gnu

if [ ! -e "$root/.done" ]; then
    mkdir -p "$dir/apt/state/lists/partial" "$dir/apt/cache/archives/partial" "$root"
    : >"$dir/apt/status"
    apt=(apt-get -q -o APT::Architecture=arm64 -o APT::Architectures::=arm64 -o Dir::State="$dir/apt/state"
        -o Dir::State::status="$dir/apt/status" -o Dir::Cache="$dir/apt/cache")
    "${apt[@]}" update
    "${apt[@]}" install -y --no-install-recommends --download-only libc6-dev libpthreadpool-dev libjson-c-dev nettle-dev
    for deb in "$dir"/apt/cache/archives/*.deb; do
        dpkg -x "$deb" "$root"
    done
    # Absolute paths inside linker scripts would leave the sysroot; the cross compiler brings its own C library to link with.
    rm -f "$root/usr/lib/$triplet"/lib{c,m,pthread}.{so,a}
    touch "$root/.done"
fi
mkdir -p "$dir/build"
cd "$dir/build"
libs=$root/usr/lib/$triplet
[ -e Makefile ] || "$top/configure" --host=$triplet --enable-werror --disable-opencl --disable-vulkan \
    CC=$triplet-gcc CFLAGS='-O2 -g' CPPFLAGS="-idirafter $root/usr/include -idirafter $root/usr/include/$triplet" \
    LDFLAGS="-L$libs -Wl,-rpath-link,$libs -Wl,-rpath-link,$root/lib/$triplet"
make -j"$(nproc)"
emulate="qemu-aarch64 -L $root -E LD_LIBRARY_PATH=$dir/build/host/.libs:$libs:$root/lib/$triplet"
make check-emulated EMULATOR="$emulate"
[ "${2:-}" != conform ] || $emulate "$dir/build/.libs/tenon" conform --device cpu --isa neon
