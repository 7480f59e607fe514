#!/bin/sh
# SPDX-License-Identifier: MIT
# Makes configure and Makefile.in from a git checkout.
set -e
cd "$(dirname "$0")"
for tool in autoreconf automake libtoolize pkg-config; do
    command -v "$tool" >/dev/null 2>&1 || {
        echo "autogen.sh: $tool is missing; on Debian: apt-get install autoconf automake libtool pkg-config" >&2
        exit 1
    }
done
mkdir -p build-aux m4
sh tools/ops-am.sh > ops.am
exec autoreconf --install --force "$@"
