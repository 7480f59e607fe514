#!/bin/sh
# SPDX-License-Identifier: MIT
# The rules of the kernels' dialect (shaders/prelude.h) that a compiler of one of the two languages would not notice.
cd "${srcdir:-.}/shaders" || exit 99
n=0
# refuse WHAT PATTERN FILE...: no line but comments may match
refuse() {
    what=$1
    pattern=$2
    shift 2
    n=$((n + 1))
    found=$(sed 's,/\*.*\*/,,; /^ \*/d; s,/\*.*,,' "$@" | grep -nE "$pattern")
    if [ -z "$found" ]; then
        echo "ok $n - $what"
    else
        echo "not ok $n - $what"
        echo "$found" | sed 's/^/# /'
    fi
}
refuse "only prelude.h knows the two languages" 'TN_OPENCL|TN_GLSL|TN_STORAGE16|TN_INF_NAN|__global|__local|gl_|get_(local|global)_id' *.k lib/*.h
refuse "no return in a kernel" '(^|[^a-z_])return([^a-z_]|$)' *.k lib/softmax_look.h lib/softmax_sum.h
refuse "barriers are TN_BARRIER" '(^|[^a-z_])barrier *\(' *.k lib/*.h
refuse "no size_t and no 64-bit integers" '(^|[^a-z_])(size_t|u?long|u?int64_t)([^a-z_]|$)' *.k lib/*.h
refuse "no casts" '\((float|uint|int|bool|xf|xu|tn_v[fiu])\) *[a-zA-Z_(0-9]' *.k lib/*.h
refuse "no hexadecimal floats" '0x[0-9a-f]+\.|0x[0-9a-f]+p' *.k lib/*.h
refuse "no pointers" '(float|uint|int) *\*' *.k lib/*.h
refuse "no bool in a struct" 'TN_STRUCT.*bool|^    bool [a-z_]+; *$' lib/*.h
for k in *.k; do
    n=$((n + 1))
    if grep -q "#define GPU_KERNEL ${k%.k}\$" "${k%.k}.args.h" && grep -q '^TN_END' "$k"; then
        echo "ok $n - $k has its arguments and its end"
    else
        echo "not ok $n - $k has its arguments and its end"
    fi
done
echo "1..$n"
