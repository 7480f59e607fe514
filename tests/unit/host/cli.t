#!/bin/sh
# SPDX-License-Identifier: MIT
# The tenon command from outside: exit codes, messages, files, JSON. On the toy backend, so that nothing else is needed.
top=${top_builddir:-.}
tenon=$top/tenon
work=$(mktemp -d) || exit 99
trap 'rm -rf "$work"' EXIT
chmod 755 "$work"
unset TENON_DEVICE TENON_LAYERS TENON_LOG
TENON_BACKEND_PATH=$(cd "$top/tests/unit/host/.libs" && pwd)
export TENON_BACKEND_PATH
n=0 failed=0

report() { # STATUS NAME
    n=$((n + 1))
    if [ "$1" = 0 ]; then
        echo "ok $n - $2"
    else
        echo "not ok $n - $2"
        failed=1
        sed 's/^/# out: /' "$work/out"
        sed 's/^/# err: /' "$work/err"
    fi
}
# run CODE NAME PATTERN COMMAND...: the exit code, and the pattern (extended) somewhere in what was said
run() {
    code=$1 name=$2 pattern=$3
    shift 3
    "$@" > "$work/out" 2> "$work/err"
    got=$?
    [ "$got" = "$code" ] && cat "$work/out" "$work/err" | grep -Eq -e "$pattern"
    good=$?
    [ "$got" = "$code" ] || echo "# exit code $got, wanted $code"
    report $good "$name"
}
# npy FILE DESCR SHAPE [FORTRAN]: a header; elements follow from standard input
npy() {
    header="{'descr': '$2', 'fortran_order': ${4:-False}, 'shape': $3, }"
    length=$((${#header} + 1))
    { printf '\223NUMPY\001\000'; printf "\\$(printf %03o $length)\\000"; printf '%s\n' "$header"; cat; } > "$work/$1"
}
zeros() { head -c "$1" /dev/zero; }

echo "TAP version 14"
run 2 "no command" "usage: tenon" "$tenon"
run 0 "--help" "devices" "$tenon" --help
run 0 "--version" "tenon [0-9.]+ \(ABI 1\.0\)" "$tenon" --version
run 2 "a wrong command has a suggestion" "did you mean 'devices'" "$tenon" devcies
for command in devices ops run kernels; do
    run 0 "$command --help" "usage: tenon $command" "$tenon" "$command" --help
    run 0 "help $command" "usage: tenon $command" "$tenon" help "$command"
    run 2 "$command refuses an unknown option" "option '--zzz'" "$tenon" "$command" --zzz
done
run 2 "a wrong option has a suggestion" "did you mean 'json'" "$tenon" devices --jsno
run 2 "an option that takes no value" "takes no value" "$tenon" devices --json=1
run 2 "an option that needs one" "needs a value" "$tenon" run softmax --in
run 2 "too many arguments" "too much" "$tenon" devices all

run 0 "devices" "^toy:2 +gpu +1.0 GiB +Toy GPU" "$tenon" devices
run 0 "devices -v says what would be used" "auto chooses toy:2" "$tenon" devices -v
run 0 "devices --json" '^\{"device":"toy:2","backend":"toy",.*"reason":null' "$tenon" devices --json
run 0 "devices --probe" "^toy2:4 +cpu" "$tenon" devices --probe
run 2 "a probe without time" "from 1 to 3600" "$tenon" devices --probe=0
mkdir "$work/zoo" && chmod 755 "$work/zoo"
if cp "$top"/tests/plugins/zoo/libtenon-ctor_crash.so "$top"/tests/plugins/zoo/libtenon-ctor_hang.so \
    "$top"/tests/plugins/zoo/libtenon-ctor_exit.so "$work/zoo" 2> /dev/null; then
    TENON_BACKEND_PATH=$work/zoo "$tenon" devices --probe=2 --json > "$work/probed" 2> /dev/null
    run 0 "a plugin that crashes" '"reason":"CRASHED","detail":"killed by signal' grep ctor_crash "$work/probed"
    run 0 "a plugin that hangs" '"reason":"TIMEOUT","detail":"no answer within 2' grep ctor_hang "$work/probed"
    run 0 "a plugin that exits" '"reason":"EXITED","detail":"ended its process' grep ctor_exit "$work/probed"
else
    n=$((n + 1))
    echo "ok $n - probing plugins that misbehave # SKIP they are not built"
fi
mkdir "$work/many" && chmod 755 "$work/many"
for i in 1 2 3 4 5 6 7; do
    for j in 0 1 2 3 4 5 6 7 8 9; do echo x > "$work/many/libtenon-x$i$j.so"; done
done
chmod go-w "$work"/many/*
run 3 "more plugins than can be" '"backend":"x75".*"reason":"TOO_MANY"|"backend":"x74".*"reason":"TOO_MANY"' \
    env TENON_BACKEND_PATH="$work/many" "$tenon" devices --json
run 2 "a misspelt layer" "no layer 'chekc'" env TENON_LAYERS=chekc "$tenon" devices
run 0 "a misspelt setting is warned about" "did you mean TENON_DEVICE" env TENON_DEVCE=toy "$tenon" devices

run 0 "ops" "^softmax +" "$tenon" ops
run 0 "ops softmax" "^  two_pass_ext|two_pass_ext" "$tenon" ops softmax
run 0 "ops --json" '"op":"linear","number":5' "$tenon" ops --json
run 2 "a wrong operator has a suggestion" "did you mean 'softmax'" "$tenon" ops sotfmax

zeros 64 | npy x.npy '<f4' '(2, 8)'
run 0 "run" "softmax on toy:2: toy_softmax" "$tenon" run softmax --device toy:2 --in x="$work/x.npy" --out y="$work/y.npy"
run 0 "the result" "3e00 *0000 *3e00|0000 *3e00" sh -c "tail -c 64 '$work/y.npy' | od -An -tx2"
run 0 "has NumPy's header" "'descr': '<f4', 'fortran_order': False, 'shape': \(2, 8\)" head -c 128 "$work/y.npy"
run 0 "run without --out summarises" "y +f32 +2x8 +min 0.125 +max 0.125" "$tenon" run softmax -d toy:4 -i x="$work/x.npy"
run 0 "run --json" '^\{"op":"softmax","device":"toy:4".*"shape":\[2,8\],"min":0.125' \
    "$tenon" run softmax -d toy:4 -i x="$work/x.npy" --json
run 0 "options before the operator" "toy_softmax" "$tenon" run -d toy:4 -a kind=exp -i x="$work/x.npy" softmax
run 2 "a wrong input name" "no input 'xx'; did you mean 'x'|no input 'xx'" "$tenon" run softmax --in xx="$work/x.npy"
run 2 "an input name like no other" "no input 'qqqqqqq'; there are x, bias, mask, valid_len, row_scale, sink" "$tenon" run softmax --in qqqqqqq="$work/x.npy"
run 2 "an attribute like no other" "no attribute 'qqqqqqq'; there are kind, algo" "$tenon" run softmax --attr qqqqqqq=1 --in x="$work/x.npy"
run 2 "an output given as input" "no input 'y'" "$tenon" run softmax --in y="$work/x.npy"
run 2 "an input given twice" "given twice" "$tenon" run softmax --in x="$work/x.npy" --in x="$work/x.npy"
run 2 "a missing input" "needs --in x=" "$tenon" run softmax
run 2 "a missing file" "No such file" "$tenon" run softmax --in x="$work/nosuch.npy"
run 2 "a wrong attribute" "no attribute 'algos'; did you mean 'algo'" "$tenon" run softmax --attr algos=online --in x="$work/x.npy"
run 2 "a wrong value" "did you mean 'online'" "$tenon" run softmax --attr algo=onlien --in x="$work/x.npy"
run 2 "a number out of range" "inv_temp=-1: must be a number from 0" "$tenon" run softmax --attr inv_temp=-1 --in x="$work/x.npy"
run 2 "not a number" "scale=nan" "$tenon" run softmax --attr scale=nan --in x="$work/x.npy"
run 2 "what the device cannot" "UNSUPPORTED: toy:4: the toy knows" "$tenon" run softmax -d toy:4 --attr kind=log_exp --in x="$work/x.npy"
run 2 "a wrong type" "did you mean 'f16'|no such type" "$tenon" run softmax --dtype y=f61 --in x="$work/x.npy"
run 2 "a wrong selector" "column 5" "$tenon" run softmax -d toy:gup --in x="$work/x.npy"
run 3 "a device that is not there" "did you mean 'toy'" "$tenon" run softmax -d tyo --in x="$work/x.npy"
zeros 12 | npy bias.npy '<f4' '(3,)'
run 2 "shapes that do not fit" "SHAPE: softmax: " "$tenon" run softmax --in x="$work/x.npy" --in bias="$work/bias.npy"
run 1 "an output that cannot be written" "cannot write" "$tenon" run softmax -d toy:4 --in x="$work/x.npy" --out y=/nosuch/y.npy
cp "$work/y.npy" "$work/kept.npy"
run 2 "a failed run" "SHAPE" "$tenon" run softmax --in x="$work/x.npy" --in bias="$work/bias.npy" --out y="$work/y.npy"
run 0 "leaves the old output alone" "^$" sh -c "cmp '$work/y.npy' '$work/kept.npy' && echo"

# Files that must be refused, each with its sentence.
refuse() { # NAME PATTERN
    run 2 "$1" "$2" "$tenon" run softmax -d toy:4 --in x="$work/bad.npy"
}
zeros 64 | npy bad.npy '<f4' '(2, 8)' True; refuse "Fortran order" "Fortran order; save numpy.ascontiguousarray"
zeros 64 | npy bad.npy '>f4' '(2, 8)'; refuse "big-endian" "big-endian"
zeros 128 | npy bad.npy '<f8' '(2, 8)'; refuse "f8" "astype\('f4'\)"
zeros 60 | npy bad.npy '<f4' '(2, 8)'; refuse "too short" "does not fit the 60 bytes"
zeros 68 | npy bad.npy '<f4' '(2, 8)'; refuse "too long" "does not fit the 68 bytes"
zeros 64 | npy bad.npy '<f4' '(4294967296, 4294967296, 2)'; refuse "a product that overflows" "does not fit"
zeros 64 | npy bad.npy '<f4' '(99999999999999999999,)'; refuse "an axis that overflows" "too large"
zeros 64 | npy bad.npy '<f4' '(-2, 8)'; refuse "a negative axis" "not a number"
zeros 64 | npy bad.npy '<f4' '(1,1,1,1,1,1,1,1,16)'; refuse "nine axes" "more than 8 axes"
zeros 64 | npy bad.npy '<f4' '(2 8)'; refuse "a tuple without comma" "not a tuple"
zeros 64 | npy bad.npy '<f4' '2'; refuse "no tuple" "not a tuple"
zeros 64 | npy bad.npy '<c8' '(8,)'; refuse "complex" "type <c8 is none of"
zeros 64 | npy bad.npy '<u2' '(2, 16)'; refuse "u2 without saying bf16" "say --dtype x=bf16"
zeros 64 | npy bad.npy "<f4', 'evil': '1" '(2, 8)'; refuse "an unknown key" "unknown key 'evil'"
zeros 64 | npy bad.npy "<f4', 'descr': '<f4" '(2, 8)'; refuse "a key twice" "'descr' twice"
printf '\223NUMPY\001\000\377\377{' > "$work/bad.npy"; refuse "a header longer than the file" "claims 65535 bytes"
printf '\223NUMPY\011\000\001\000{' > "$work/bad.npy"; refuse "version 9" "version 9"
printf '\223NUMPY\002\000\377\377\377\377' > "$work/bad.npy"; refuse "a header of 4 GiB" "claims 4294967295"
printf 'hello' > "$work/bad.npy"; refuse "a text file" "not a .npy file"
: > "$work/bad.npy"; refuse "an empty file" "not a .npy file"
rm "$work/bad.npy"; mkfifo "$work/bad.npy"; refuse "a FIFO" "not a regular file"
rm "$work/bad.npy"; mkdir "$work/bad.npy"; refuse "a folder" "not a regular file"
rmdir "$work/bad.npy"

zeros 4 | npy scalar.npy '<f4' '()'
run 2 "a scalar" "softmax: x" "$tenon" run softmax --in x="$work/scalar.npy"
zeros 0 | npy empty.npy '<f4' '(0, 8)'
run 0 "no rows" "y +f32 +0x8" "$tenon" run softmax -d toy:4 --in x="$work/empty.npy" --out y="$work/y0.npy"
run 0 "give a file without elements" "shape': \(0, 8\)" cat "$work/y0.npy"
run 3 "kernels of a backend that has none to tell of" "tenon.kernels/1" "$tenon" kernels -d toy:4
run 1 "a closed standard output" "cannot write" sh -c "'$tenon' ops > /dev/full"
echo "1..$n"
exit $failed
