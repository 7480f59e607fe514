#!/bin/sh
# SPDX-License-Identifier: MIT
# The conformance suite on the executors that are there. In `make check`: the CPU backend's best and plainest ISA, and
# the memory of the other devices, whose drivers compile every kernel variant anew. In check-full: the best ISA at the full
# level and 400 cases of each operator on the others, and every device. Then what the command itself promises.
top=${top_builddir:-.}
tenon=$top/tenon
level=${TENON_TEST_LEVEL:-quick}
scratch=$(mktemp -d) || exit 99
trap 'rm -rf "$scratch"' EXIT
n=0
failed=0
echo "TAP version 14"

check() { # check TEXT STATUS-WANTED COMMAND...
    n=$((n + 1))
    text=$1
    wanted=$2
    shift 2
    "$@" >"$scratch/out" 2>"$scratch/err"
    got=$?
    if [ $got -eq "$wanted" ]; then
        echo "ok $n - $text: $(tail -1 "$scratch/out")"
        return 0
    fi
    echo "not ok $n - $text (exit $got, not $wanted)"
    grep -A 12 '^not ok' "$scratch/out" | head -60 | sed 's/^/# /'
    tail -3 "$scratch/err" | sed 's/^/# /'
    failed=1
    return 1
}

isas='scalar best'
[ "$level" = full ] && case $(uname -m) in
x86_64) isas='scalar sse4 avx2 best' ;;
aarch64) isas='scalar neon best' ;;
esac
for isa in $isas; do
    if [ $isa = best ]; then
        check "cpu" 0 "$tenon" conform --device cpu --level "$level" --jobs "$(nproc)"
    elif "$tenon" conform --device cpu --isa $isa --op memory >/dev/null 2>&1; [ $? = 3 ]; then
        n=$((n + 1))
        echo "ok $n - cpu, $isa # SKIP this processor has no $isa"
    else
        check "cpu, $isa" 0 "$tenon" conform --device cpu --isa $isa --level "$level" --most 400 --jobs "$(nproc)"
    fi
done
for device in $("$tenon" devices 2>/dev/null | sed -n 's/^\([a-z]*:[0-9]*\) .*/\1/p' | grep -v '^cpu:'); do
    if [ "$level" = full ]; then
        check "$device" 0 "$tenon" conform --device "$device" --level quick
    else # a driver that compiles each kernel anew takes minutes over the operators
        check "$device, memory" 0 "$tenon" conform --device "$device" --op memory
    fi
done

# The template computes nothing and still keeps every rule: what its profile asks, and no more.
null=$(cd "$top" && pwd)/backends/null/.libs
chmod go-w "$null" "$null/libtenon-null.so"
check "null, profile null" 0 "$tenon" conform --plugin "$null/libtenon-null.so" --profile null
grep -E '^ok [0-9]+ - [a-z]+ case ' "$scratch/out" >"$scratch/cases" # check() writes to out
check "every case was refused" 1 grep -v '# SKIP' "$scratch/cases"
check "and there were many" 0 test "$(wc -l <"$scratch/cases")" -gt 400
check "null, profile core" 1 "$tenon" conform --plugin "$null/libtenon-null.so" --op softmax --stop

# Every executor against every other: those of the CPU in two exact cases; in check-full all devices in all cases.
if [ "$level" = full ]; then
    check "matrix" 0 "$tenon" conform --matrix --jobs "$(nproc)"
    grep '^# executor' "$scratch/out"
elif [ "$(uname -m)" = x86_64 ]; then
    check "matrix of the CPU, softmax" 0 "$tenon" conform --matrix --device cpu --op softmax --case 11
    check "matrix of the CPU, linear" 0 "$tenon" conform --matrix --device cpu --op linear --case 5
fi
check "matrix of one plugin" 2 "$tenon" conform --matrix --plugin "$null/libtenon-null.so"

# Two runners report what one reports, in the same order.
check "two jobs" 0 "$tenon" conform --device cpu --op linear --jobs 2
grep '^ok' "$scratch/out" >"$scratch/two"
check "one job" 0 "$tenon" conform --device cpu --op linear
grep '^ok' "$scratch/out" >"$scratch/one"
grep '^# reference' "$scratch/out" >"$scratch/reference"
check "the report says how far the references were checked" 0 grep -E \
    ': ([0-9]+ of [0-9]+ cases checked in 256 bits|not checked in 256 bits: built without)' "$scratch/reference"
check "they report the same in the same order" 0 cmp "$scratch/one" "$scratch/two"
check "every 100th case" 0 "$tenon" conform --device cpu --op linear --every 100
check "of which there are fewer" 0 test "$(grep -c 'linear case' "$scratch/out")" -lt 10
check "ten cases at most" 0 "$tenon" conform --device cpu --op linear --most 10
check "which they are" 0 test "$(grep -c '^ok .* linear case' "$scratch/out")" = 10
check "most: none" 2 "$tenon" conform --device cpu --most 0
check "every: none" 2 "$tenon" conform --device cpu --every 0
check "three counts of threads" 0 "$tenon" conform --device cpu --op linear --every 100 --threads 1,2,5
check "threads: none" 2 "$tenon" conform --device cpu --threads 0
check "threads: not a list" 2 "$tenon" conform --device cpu --threads 1,,2
check "threads: too many counts" 2 "$tenon" conform --device cpu --threads 1,2,3,4,5,6,7,8,9
check "jobs: none" 2 "$tenon" conform --device cpu --jobs 0

check "an operator that does not exist" 1 "$tenon" conform --device cpu --op no_such_operator
check "a level that does not exist" 2 "$tenon" conform --device cpu --level quickest
check "a device that does not exist" 3 "$tenon" conform --device nosuch
check "one case by number" 0 "$tenon" conform --device cpu --op softmax --seed 0x7e4e0a --case 12
check "a report" 0 "$tenon" conform --device cpu --op memory --report "$scratch/report"
for file in report.jsonl card.json card.txt; do
    check "$file is there" 0 test -s "$scratch/report/$file"
done
check "JUnit" 0 "$tenon" conform --device cpu --op memory --format junit
cp "$scratch/out" "$scratch/junit"
check "it ends where it should" 0 grep -q "^</testsuite>\$" "$scratch/junit"
echo "1..$n"
exit $failed
