#!/bin/sh
# SPDX-License-Identifier: MIT
# run.t with the layer "check" between the host and its toys: the host breaks no rule of the ABI (R40, R60 to R67).
top=${top_builddir:-.}
TENON_TEST_LAYER_PATH=$(mktemp -d) || exit 99
trap 'rm -rf "$TENON_TEST_LAYER_PATH"' EXIT
cp "$top/.libs/libtenon-layer-check.so" "$TENON_TEST_LAYER_PATH" && chmod go-w "$TENON_TEST_LAYER_PATH"/* || exit 99
TENON_TEST_LAYERS=check
export TENON_TEST_LAYER_PATH TENON_TEST_LAYERS
"$top/tests/unit/host/run.t"
