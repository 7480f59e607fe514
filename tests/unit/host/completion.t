#!/bin/bash
# SPDX-License-Identifier: MIT
# What bash would offer, for command lines as bash splits them.
top=${top_builddir:-.}
unset TENON_DEVICE TENON_LAYERS
export TENON_BACKEND_PATH=$(cd "$top/tests/unit/host/.libs" && pwd)
source "${srcdir:-.}/host/cli/completion/tenon" || exit 99
n=0 failed=0
# offers NAME WANTED WORD...: the last word is the one being typed; WANTED are words that must all be offered, !x must not
offers() {
    local name=$1 wanted=$2 w good=1
    shift 2
    COMP_WORDS=("$@")
    COMP_CWORD=$(($# - 1))
    COMPREPLY=()
    _tenon "$top/tenon"
    for w in $wanted; do
        case $w in
        !*) [[ " ${COMPREPLY[*]} " == *" ${w#!} "* ]] && good=0 ;;
        *) [[ " ${COMPREPLY[*]} " == *" $w "* ]] || good=0 ;;
        esac
    done
    n=$((n + 1))
    [ $good = 1 ] && echo "ok $n - $name" && return
    echo "not ok $n - $name"
    echo "# offered: ${COMPREPLY[*]}"
    failed=1
}
echo "TAP version 14"
offers "commands" "devices ops run conform bench kernels" tenon ""
offers "a prefix" "devices !ops" tenon de
offers "operators" "softmax linear" tenon ops ""
offers "run: operators and options" "softmax linear --in --out" tenon run ""
offers "run: one operator is enough" "!softmax --attr" tenon run softmax ""
offers "inputs" "x= bias= !y=" tenon run softmax --in ""
offers "outputs" "y= lse= !x=" tenon run softmax --out ""
offers "attributes" "kind= algo= scale=" tenon run softmax --attr ""
offers "a value, after =" "two_pass_ext online" tenon run softmax --attr algo =
offers "a value, begun" "two_pass_ext !online" tenon run softmax --attr algo = tw
offers "types" "f16 bf16" tenon run softmax --dtype y =
offers "devices" "auto toy:2 toy" tenon run softmax --device ""
offers "a device, after :" "2 gpu" tenon run softmax --device toy :
offers "levels" "quick full soak" tenon conform --level ""
echo "1..$n"
exit $failed
