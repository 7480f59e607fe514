#!/bin/bash
# SPDX-License-Identifier: MIT
# The program in the README is examples/hello, which is built, and it does what it says.
readme=${srcdir:-.}/README.md
hello=${srcdir:-.}/examples/hello/hello.c
if diff <(sed -n '/^```c$/,/^```$/p' "$readme" | sed '1d;$d') <(sed '1,/\*\/$/d' "$hello") >/tmp/readme.$$ 2>&1; then
    echo "ok 1 - the README's program is examples/hello/hello.c"
else
    echo "not ok 1 - the README's program is examples/hello/hello.c"
    sed 's/^/# /' /tmp/readme.$$
fi
rm -f /tmp/readme.$$
out=$(TENON_DEVICE=cpu "${top_builddir:-.}/examples/hello/hello" 2>&1)
if [ "$out" = "cpu:0: 0.224208 0.609460 0.030343 0.135989" ]; then
    echo "ok 2 - it prints the softmax of 1 2 -1 0.5"
else
    echo "not ok 2 - it prints the softmax of 1 2 -1 0.5"
    printf '# %s\n' "$out"
fi
out=$(TENON_DEVICE=none "${top_builddir:-.}/examples/hello/hello" 2>&1) && code=0 || code=$?
if [ $code = 1 ] && [ -n "$out" ]; then
    echo "ok 3 - without a device it says why"
else
    echo "not ok 3 - without a device it says why"
fi
# Every file that a document names is there.
n=3
for page in README.md CONTRIBUTING.md; do
    for file in $(grep -oE '`(host|plugin-api|backends|shaders|tests|bench|examples|tools|docs?)/[A-Za-z0-9_./-]+`' "${srcdir:-.}/$page" | tr -d '`' | sort -u); do
        n=$((n + 1))
        if [ -e "${srcdir:-.}/$file" ]; then echo "ok $n - $page: $file is there"; else echo "not ok $n - $page: $file is there"; fi
    done
done
echo "1..$n"
