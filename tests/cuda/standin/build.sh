#!/usr/bin/env bash
# Builds the stand-in's libraries into a folder: build.sh [--test] FOLDER
# With --test its own tests as well, which then run. SANITIZE=address,undefined builds all with sanitizers.
set -euo pipefail

test=
if [ "${1:-}" = --test ]; then test=yes; shift; fi
[ $# = 1 ] || { echo "usage: build.sh [--test] FOLDER" >&2; exit 2; }
mkdir -p "$1"
out=$(cd "$1" && pwd)
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
kernels=$(cd "$here/../../../src/kernels/cuda/source" && pwd)
compiler=${CXX:-g++}
flags=(-std=c++17 -march=native -g1 -fPIC -Wall -Wextra -fno-strict-aliasing -I "$here" -I "$kernels")
[ -z "${SANITIZE:-}" ] || flags+=(-fsanitize="$SANITIZE" -fno-sanitize-recover=undefined -fno-omit-frame-pointer)
objects=$out/objects${SANITIZE:+-$SANITIZE}
mkdir -p "$objects"

# newer OBJECT SOURCE...: whether the object must be built again
stale() {
    local object=$1 source
    [ -e "$object" ] || return 0
    shift
    for source in "$@" "$here/standin.h" "$here/streams.h" "${BASH_SOURCE[0]}"; do [ "$source" -nt "$object" ] && return 0; done
    return 1
}
# Kernels go into a namespace without a name: what two files both call `helper` stays apart.
compile_kernels() {
    printf '#include "standin.h"\nnamespace {\n#include "%s"\n}\n' "$1" |
        "$compiler" "${flags[@]}" -O2 -ffp-contract=off -DSTANDIN -Wno-unknown-pragmas -Wno-unused-function -c -x c++ - -o "$2.new" && mv "$2.new" "$2"
}
compile() { # SOURCE OBJECT FLAG...
    "$compiler" "${flags[@]}" "${@:3}" -c "$1" -o "$2.new" && mv "$2.new" "$2"
}

cores=$(nproc 2>/dev/null || echo 2)
failed=
pids=()
later() {
    if [ ${#pids[@]} -ge "$cores" ]; then
        wait "${pids[0]}" || failed=yes
        pids=("${pids[@]:1}")
    fi
    "$@" &
    pids+=($!)
}
shared=("$kernels"/*.cuh)
kernel_objects=()
for source in "$kernels"/*.cu; do
    [ -e "$source" ] || continue
    object=$objects/$(basename "$source").o
    kernel_objects+=("$object")
    if stale "$object" "$source" "${shared[@]}"; then later compile_kernels "$source" "$object"; fi
done
for part in fibers streams driver nvrtc; do
    if stale "$objects/$part.o" "$here/$part.cpp"; then later compile "$here/$part.cpp" "$objects/$part.o" -O2; fi
done
if stale "$objects/blas.o" "$here/blas.cpp"; then later compile "$here/blas.cpp" "$objects/blas.o" -O3 -ffp-contract=fast; fi
if [ -n "$test" ]; then
    if stale "$objects/selftest-kernels.o" "$here/selftest.cu" "${shared[@]}"; then later compile_kernels "$here/selftest.cu" "$objects/selftest-kernels.o"; fi
    if stale "$objects/selftest.o" "$here/selftest.cpp"; then later compile "$here/selftest.cpp" "$objects/selftest.o" -O2; fi
fi
for pid in "${pids[@]:-}"; do [ -z "$pid" ] || wait "$pid" || failed=yes; done
[ -z "$failed" ] || exit 1

link() { # LIBRARY OBJECT...: replaced at once, since a program may have it open
    "$compiler" "${flags[@]}" -shared -Wl,-soname,"$1" -o "$out/$1.new" "${@:2}" && mv "$out/$1.new" "$out/$1"
}
link libcuda.so.1 "$objects"/{fibers,streams,driver}.o ${kernel_objects[@]+"${kernel_objects[@]}"}
ln -sf libcuda.so.1 "$out/libcuda.so"
link libcublas.so "$objects/blas.o"
link libcublasLt.so "$objects/blas.o"
link libnvrtc.so "$objects/nvrtc.o"

if [ -n "$test" ]; then
    "$compiler" "${flags[@]}" -pthread -o "$out/selftest" "$objects"/{selftest,selftest-kernels,fibers,streams,driver,blas}.o
    for order in forward reverse shuffle; do
        ASAN_OPTIONS=detect_leaks=0 STANDIN_ORDER=$order "$out/selftest"
    done
    ASAN_OPTIONS=detect_leaks=0 STANDIN_STREAMS=early "$out/selftest"
fi
