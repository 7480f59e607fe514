#!/bin/sh
# SPDX-License-Identifier: MIT
# SPEC.md and the tests point at each other: every rule names a test that exists (or says that none can), every test of the ABI and of
# the plugins is named by a rule; every reason code of the loader is in SPEC.md and the other way round.
srcdir=${srcdir:-.}
cd "$srcdir" || exit 99
spec=plugin-api/SPEC.md
n=0
result() {
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
}
echo "TAP version 14"
rules=$(sed -n 's/^| \(R[0-9]*\) |.*/\1/p' $spec)
[ "$(echo "$rules" | wc -l)" -gt 30 ]
result $? "there are $(echo "$rules" | wc -l) rules"
[ -z "$(echo "$rules" | sort | uniq -d)" ]
result $? "each has its own number"
known() { # tests/x/y-z.t is a script, or a program made of y-z.c or y_z_test.c
    [ -e "$1" ] || [ -e "${1%.t}.c" ] || [ -e "$(echo "${1%.t}" | sed 's/-\([a-z]*\)$/_\1/')_test.c" ]
}
bad=
for test in $(grep '^| R[0-9]* |' $spec | grep -o 'tests/[a-z/.-]*' | sort -u); do
    known "$test" || bad="$bad $test"
done
[ -z "$bad" ]
result $? "every test that a rule names exists"
[ -z "$bad" ] || echo "# missing:$bad"
bad=$(grep '^| R[0-9]* |' $spec | grep -v 'tests/' | grep -v '| - | - |$' | cut -c1-8)
[ -z "$bad" ]
result $? "every rule names a test or says that nothing can enforce it"
[ -z "$bad" ] || echo "# $bad"
bad=
for test in $(ls tests/plugins/*.t 2>/dev/null) $(grep -oh 'tests/plugins/[a-z-]*\.t' tests/plugins/plugins.am | sort -u); do
    grep -q "$test" $spec || bad="$bad $test"
done
[ -z "$bad" ]
result $? "every test of the plugins is named by a rule"
[ -z "$bad" ] || echo "# unnamed:$bad"

sed -n 's/^| \(`[A-Z_`, ]*`\) |.*/\1/p' $spec | tr -d '`' | tr ',' '\n' | tr -d ' ' | LC_ALL=C sort -u > /tmp/spec-reasons.$$
grep -ohE '(refuse[a-z_]*\([^"]*|reason = )"[A-Z_]+"' host/*.c host/cli/*.c 2>/dev/null | grep -oE '"[A-Z_]+"' | tr -d '"' |
    LC_ALL=C sort -u > /tmp/host-reasons.$$
LC_ALL=C comm -13 /tmp/spec-reasons.$$ /tmp/host-reasons.$$ > /tmp/unknown-reasons.$$
[ -s /tmp/host-reasons.$$ ] && [ ! -s /tmp/unknown-reasons.$$ ]
result $? "every reason that the loader gives is in SPEC.md ($(wc -l < /tmp/host-reasons.$$))"
sed 's/^/# /' /tmp/unknown-reasons.$$
rm -f /tmp/*-reasons.$$
echo "1..$n"
