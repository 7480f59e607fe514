#!/bin/sh
# SPDX-License-Identifier: MIT
# Folders depend only downwards: plugin-api <- host, shaders, backends <- tests, bench, examples. Every #include of the project is
# resolved to the room it reaches into, and the pair is looked up below.
srcdir=${srcdir:-.}
cd "$srcdir" || exit 99
n=0
result() {
    n=$((n + 1))
    if [ "$1" -eq 0 ]; then echo "ok $n - $2"; else echo "not ok $n - $2"; fi
}
room_of() {
    case $1 in
    backends/*/*) echo "$1" | cut -d/ -f1,2 ;;
    tests/*/*) echo "$1" | cut -d/ -f1,2 ;;
    host/tenon/*) echo public ;;
    host/cli/*) echo host/cli ;;
    *) echo "${1%%/*}" ;;
    esac
}
# from room -> rooms it may look into, besides itself. "public" is the application header host/tenon/.
allowed() {
    case $1 in
    plugin-api) echo "" ;;
    public) echo "plugin-api" ;;
    host) echo "plugin-api public" ;;
    host/cli) echo "plugin-api public host tests/conform bench" ;;
    shaders) echo "plugin-api" ;;
    backends/opencl | backends/vulkan) echo "plugin-api shaders" ;;
    backends/*) echo "plugin-api" ;;
    tests/conform) echo "plugin-api public tests" ;;
    bench) echo "plugin-api public tests tests/conform" ;;
    examples) echo "plugin-api public" ;;
    tests | tests/*) echo "plugin-api public host host/cli shaders backends/cpu backends/opencl backends/vulkan backends/hook backends/null tests tests/conform tests/plugins" ;;
    *) echo "" ;;
    esac
}
echo "TAP version 14"
files=$(find plugin-api host shaders backends tests bench examples -name '*.c' -o -name '*.h' -o -name '*.k' | LC_ALL=C sort)
bad=
for file in $files; do
    from=$(room_of "$file")
    folder=$(dirname "$file")
    for name in $(sed -n 's/^[ \t]*#[ \t]*include[ \t]*[<"]\([^>"]*\)[>"].*/\1/p' "$file"); do
        target=
        for base in "$folder" "$from" plugin-api host shaders tests tests/conform backends/cpu; do
            [ -e "$base/$name" ] && { target=$base/$name; break; }
        done
        [ -n "$target" ] || continue # of the system, or made by the build
        target=$(realpath --relative-to=. "$target" 2>/dev/null || echo "$target")
        to=$(room_of "$target")
        [ "$from" = "$to" ] && continue
        case " $(allowed "$from") " in *" $to "*) ;; *) bad="$bad
# $file includes $name, which is in $to" ;; esac
    done
done
[ -z "$bad" ]
result $? "no include points upwards or sideways ($(echo "$files" | wc -l) files)"
[ -z "$bad" ] || echo "$bad" | sed '/^$/d'
for backend in backends/*/; do
    ! grep -nE '\b(getenv|secure_getenv|exit|_exit|abort|printf|puts|perror|setenv|setlocale|signal|sigaction|fork)\(' \
        $(find "$backend" -name '*.c' -o -name '*.h') /dev/null | grep -vE '(f|s|sn|vsn)printf\(' | grep -vE '^\S+: *(/?\*|//)' |
        sed 's/^/# /' | grep .
    result $? "$backend: no printing, no environment, no exit (R21)"
done
echo "1..$n"
