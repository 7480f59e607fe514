#!/bin/sh
# SPDX-License-Identifier: MIT
# The command's promises about `tenon bench`: exit codes, sentences, and the members of a row. Not its figures: they are the machine's.
tenon=${top_builddir:-.}/tenon
n=0
result() {
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
}
# code CODE SENTENCE ARGUMENT...
code() {
    want=$1
    sentence=$2
    shift 2
    said=$("$tenon" bench "$@" 2>&1 >/dev/null)
    got=$?
    [ $got -eq "$want" ] && case $said in *"$sentence"*) true ;; *) false ;; esac
    result $? "bench $* exits with $want and says: $sentence"
    [ $got -eq "$want" ] || echo "# exit $got: $said"
}
echo "TAP version 14"
code 0 "" --help
code 2 "did you mean 'op'" --opp x
code 2 "no operator matches" --op no_such_op
code 2 "quick or full" --size middle
code 2 "from 1 to" --threads 0
code 2 "from 1 to" --rounds many
code 2 "is not an option" cpu
code 2 "no peer 'nobody'" --device cpu --peer nobody
code 2 "column" --device cpu:
code 3 "cpu:63" --device cpu:63
code 2 "must be one of auto" --device cpu --op softmax --attr algo=quickly
code 2 "has no attribute 'alg'" --device cpu --op softmax --attr alg=online
code 2 "only one attribute" --device cpu --op softmax --attr algo=auto/online --attr kind=exp/log_exp
code 2 "one to three numbers" --device cpu --op softmax --shape 4x
code 2 "no row of operator 'linear'" --device cpu --op linear --shape 4x5
code 2 "no row matches --case 'nowhere'" --device cpu --op softmax --case nowhere

rows=$("$tenon" bench --device cpu --op softmax --rounds 1 --threads 1 --json 2>&1)
result $? "softmax on the CPU is measured"
echo "$rows" | sed 's/^/# /'
bad=0
for key in op case dtype device threads median_ms min_ms bytes flops gbps gflops roof_gbps roof_gflops pct_roof peer attr passes moved_gbps; do
    [ "$(echo "$rows" | grep -c "\"$key\":")" = "$(echo "$rows" | wc -l)" ] || { bad=1; echo "# no $key in a row"; }
done
result $bad "every row has every member"
for name in 4096x1024 512x32768 1x16777216 call-cost; do
    echo "$rows" | grep "\"case\":\"$name\"" | grep "\"device\":\"cpu:0\",\"threads\":1," | grep -q '"median_ms":[0-9]'
    result $? "$name has a figure"
done

# A shape of one's own, and one attribute's values side by side: bytes and passes are the algorithm's.
rows=$("$tenon" bench --device cpu --op softmax --shape 3x1000 --attr algo=online/three_pass_reload --rounds 1 --threads 1 --json 2>&1)
result $? "softmax 3x1000 by two algorithms"
echo "$rows" | sed 's/^/# /'
[ "$(echo "$rows" | wc -l)" = 2 ] && [ "$(echo "$rows" | grep -c '"case":"3x1000".*"bytes":24000,"flops":60000,')" = 2 ]
result $? "bytes and flops follow the shape"
echo "$rows" | grep '"attr":"algo=online"' | grep '"passes":"2R+1W"' | grep -q '_avx\|_sse\|_neon\|_scalar' &&
    echo "$rows" | grep '"attr":"algo=three_pass_reload"' | grep -q '"passes":"3R+2W"'
result $? "passes follow the algorithm"
echo "$rows" | awk -F'[:,]' '{ for (i = 1; i < NF; i++) { if ($i == "\"gbps\"") g = $(i + 1); if ($i == "\"moved_gbps\"") m = $(i + 1) }
    r = m / g; bad += !(r > (NR == 1 ? 1.499 : 2.499) && r < (NR == 1 ? 1.501 : 2.501)) } END { exit bad }'
result $? "2R+1W of equal tensors moves 1.5 times the least, 3R+2W 2.5 times"
"$tenon" bench --device cpu --op linear --shape 8x16x4 --rounds 1 --json | grep -q '"case":"8x16x4".*"bytes":896,"flops":1024,'
result $? "flops go with all sizes of linear"
[ "$("$tenon" bench --device cpu --op softmax --case '4096*' --rounds 1 --json | wc -l)" = 1 ]
result $? "--case chooses rows"

# softmax_topk beside what it fuses: softmax, and a top-k of what that wrote (bench compares the results).
rows=$("$tenon" bench --device cpu --op softmax_topk --shape 64x1000x8 --rounds 1 --threads 1 --json 2>&1)
result $? "softmax_topk 64x1000x8"
[ "$(echo "$rows" | wc -l)" = 2 ] && echo "$rows" | grep '"attr":"softmax+raw"' | grep -q '"times_fused":[0-9.]*[1-9]'
result $? "the two operators apart have a row, and how many times as long they take"
[ "$("$tenon" bench --device cpu --op softmax_topk --shape 64x1000x8 --attr norm=log --rounds 1 --json | wc -l)" = 1 ]
result $? "logarithms are not what the two make: no such row"

# A peer that was built computes the same on the same path (bench compares the results).
for peer in onednn xnnpack; do
    if [ ! -e "${top_builddir:-.}/host/.libs/tenon/peers/libtenon-$peer.so" ]; then
        n=$((n + 1))
        echo "ok $n - $peer # SKIP the peer was not built"
        continue
    fi
    rows=$("$tenon" bench --device cpu --peer $peer --op softmax --rounds 1 --threads 2 --json 2>&1)
    [ $? = 0 ] && [ "$(echo "$rows" | grep "\"device\":\"$peer:0\",\"threads\":2,\"peer\":\"$peer\"," | grep -c '"median_ms":[0-9]')" = 4 ]
    result $? "softmax of peer $peer beside ours"
done
echo "1..$n"
