#!/bin/sh
# SPDX-License-Identifier: MIT
# The repro line of a failure, run in an empty environment, fails in the same test in the same way: for memory, hostile
# descriptors and cases, whatever of device, plugin, ISA, profile and layers came from options or from the environment.
top=$(cd "${top_builddir:-.}" && pwd)
tenon=$top/tenon
cpu=$top/host/.libs/tenon/libtenon-cpu.so
null=$top/backends/null/.libs/libtenon-null.so
TENON_BACKEND_PATH=$top/tests/conform/faulty/.libs
TENON_LAYERS=faulty
TENON_THREADS=2
export TENON_BACKEND_PATH TENON_LAYERS TENON_THREADS
chmod go-w "$TENON_BACKEND_PATH" "$TENON_BACKEND_PATH"/*.so "${null%/*}" "$null"
scratch=$(mktemp -d) || exit 99
trap 'rm -rf "$scratch"' EXIT
n=0
failed=0
echo "TAP version 14"

result() { # result STATUS TEXT
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then
        echo "ok $n - $2"
        return
    fi
    echo "not ok $n - $2"
    sed 's/^/# /' "$scratch/first" "$scratch/second"
    failed=1
}

# What failed, how, with which kernel; without the number of the test, which differs.
failure() {
    sed -n '/^not ok/,/^  \.\.\./p' "$1" | sed 's/^not ok [0-9]* /not ok /' | grep -v '^  repro:'
}

# replays TEXT WORD ARGUMENT...: the first failure of `tenon conform ARGUMENT... --stop` replays; WORD is in its line
replays() {
    text=$1
    word=$2
    shift 2
    "$tenon" conform "$@" --stop >"$scratch/out" 2>&1
    failure "$scratch/out" >"$scratch/first"
    line=$(sed -n "s/^  repro: '\(.*\)'\$/\1/p" "$scratch/out" | head -1)
    (cd / && env -i PATH="$top:$PATH" HOME="$HOME" sh -c "$line") >"$scratch/again" 2>&1
    failure "$scratch/again" >"$scratch/second"
    [ -s "$scratch/first" ] && cmp -s "$scratch/first" "$scratch/second"
    result $? "$text: $(sed -n '1s/^not ok - //p' "$scratch/first")"
    case $line in
    *"$word"*) result 0 "its line has $word" ;;
    *)
        echo "$line" >"$scratch/second"
        result 1 "its line has $word"
        ;;
    esac
}

for row in copy_short:memory wrong_status:softmax ulps_50:softmax; do
    TENON_LAYER_FAULTY_FAULT=${row%:*}
    export TENON_LAYER_FAULTY_FAULT
    op=${row#*:}
    TENON_DEVICE=cpu replays "$op, device of the environment" "--device cpu:0" --op "$op"
    replays "$op, --device" "TENON_LAYERS=faulty" --op "$op" --device cpu
    replays "$op, --plugin" "--plugin $cpu" --op "$op" --plugin "$cpu"
    replays "$op, --isa" "--isa scalar" --op "$op" --device cpu --isa scalar
    TENON_CPU_ISA=scalar replays "$op, TENON_CPU_ISA" "TENON_CPU_ISA=scalar" --op "$op" --plugin "$cpu"
    replays "$op, --profile" "--profile core-f32" --op "$op" --device cpu --profile core-f32
done
TENON_LAYER_FAULTY_FAULT=hang_65 replays "--timeout" "--timeout 1" --op softmax --device cpu --timeout 1
TENON_LAYER_FAULTY_FAULT=batch_depends replays "--seed" "--seed 0x63" --op linear --device cpu --seed 99
# A word that the shell would take apart.
odd="$scratch/a b;c"
mkdir "$odd" && cp "$null" "$odd/" && chmod go-w "$scratch" "$odd" "$odd/libtenon-null.so"
unset TENON_LAYERS
replays "a plugin in a folder of odd name" "a\\ b\\;c" --op linear --plugin "$odd/libtenon-null.so"
echo "1..$n"
exit $failed
