#!/usr/bin/env bash
# What is run on a machine with a GPU, on programs that were built before: tests, compute-sanitizer, and a benchmark beside PyTorch.
#
#   tests/cuda/device.sh RESULTS [TEST_BINARY...]
#
# Every piece writes files of its own into the folder RESULTS, a piece that fails stops no other, and a summary closes the run;
# the exit status is 1 if anything failed. Neither cargo nor a network is needed. A test binary is what `cargo test --no-run` names.
#
# From the environment, each with a default:
#   DINOFLOW   the program                                    target/release/dinoflow
#   PARTS      what is run, of these                          facts tests sanitizers layers ours pytorch
#   LAYERS     the benchmark of linear layers: what `cargo bench --features cuda --no-run --bench gpu` names
#   LIMIT      the most seconds that one piece may take       300
#   TESTED     which modules' tests run: words of which their names have one      cuda gpu collate::cuts ops::tests knn::tests
#   TOOLS      compute-sanitizer's                            memcheck racecheck initcheck synccheck
#   MODELS     what is timed: GRAPH:MODEL, ours and PyTorch's                        vits16:vit_s16
#   BATCHES    images a step                                  64 256
#   MODES      PyTorch's                                      eager compile
#   STEPS      that are timed                                 20
#   DEVICE     Cuda(0); with Cpu the script can be tried anywhere
#   PYTHON     one that has PyTorch                           python3
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.." || exit 2

if [ $# -lt 1 ]; then
  sed -n '2,/^set /{/^#/s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}" >&2
  exit 2
fi
results=$1
shift
binaries=("$@")
program=${DINOFLOW:-target/release/dinoflow}
limit=${LIMIT:-300}
device=${DEVICE:-Cuda(0)}
python=${PYTHON:-python3}
steps=${STEPS:-20}
mkdir -p "$results" || exit 2
summary=$results/summary.txt
: >"$summary"
failures=0

note() { printf '%s\n' "$*" | tee -a "$summary"; }

# piece NAME COMMAND...: what it prints goes to NAME.txt, its errors to NAME.err; how it ended goes to the summary
piece() {
  local name=$1 began=$SECONDS status
  shift
  timeout --kill-after=10 "$limit" "$@" >"$results/$name.txt" 2>"$results/$name.err" </dev/null
  status=$?
  case $status in
    0) note "ok      $name  $((SECONDS - began)) s" ;;
    124 | 137) note "LIMIT   $name  stopped after $((SECONDS - began)) s" ;;
    *) note "FAILED  $name  status $status after $((SECONDS - began)) s: $(tail -n 1 "$results/$name.err")" ;;
  esac
  [ -s "$results/$name.err" ] || rm -f "$results/$name.err"
  [ $status -eq 0 ] || failures=$((failures + 1))
  return $status
}

# The folders with CUDA's libraries, for our programs alone: PyTorch brings its own. NVRTC finds its other half only this way.
libraries() {
  local folder found=
  for folder in "${CUDA_PATH:-}/lib64" "${CUDA_PATH:-}/lib" "${CUDA_HOME:-}/lib64" /usr/local/cuda/lib64 /usr/local/nvidia/lib64 \
    "$("$python" -c 'import os, nvidia; print(os.path.join(list(nvidia.__path__)[0], "cu13", "lib"))' 2>/dev/null)"; do
    if [ -d "$folder" ] && compgen -G "$folder/lib*.so.*" >/dev/null; then found=$found:$folder; fi
  done
  printf '%s' "${LD_LIBRARY_PATH:-}$found"
}
ours() {
  local name=$1
  shift
  piece "$name" env LD_LIBRARY_PATH="$library_path" "$@"
}

facts() {
  piece nvidia-smi nvidia-smi
  piece gpu nvidia-smi --format=csv \
    --query-gpu=name,compute_cap,driver_version,memory.total,memory.used,clocks.sm,clocks.max.sm,clocks.mem,power.limit,temperature.gpu
  ours libraries ldd "$program"
  if grep -q 'not found' "$results/libraries.txt" 2>/dev/null; then
    note "        $(grep 'not found' "$results/libraries.txt" | tr -s '[:space:]' ' ')"
  fi
}

# the modules of a binary's tests that a GPU is for; a binary that names none fails, for then it didn't start
modules() {
  local words=${TESTED:-cuda gpu collate::cuts ops::tests knn::tests} listed
  listed=$(env LD_LIBRARY_PATH="$library_path" "$1" --list 2>>"$results/modules.err" |
    sed -n 's/: test$//p' | grep -E "${words// /|}" | sed -E 's/(::tests)?::[^:]*$//' | sort -u)
  [ -n "$listed" ] || note "FAILED  $(basename "$1") lists no tests for a GPU: $(tail -n 1 "$results/modules.err")" >&2
  printf '%s\n' "${listed:-nothing-was-listed}"
}

# a module at a time: after one illegal address nothing in the same process can be judged
tests() {
  local binary module name
  [ ${#binaries[@]} -gt 0 ] || note 'none    tests: no test binary was named'
  for binary in "${binaries[@]}"; do
    for module in $(modules "$binary"); do
      [ "$module" != nothing-was-listed ] || { failures=$((failures + 1)) && continue; }
      name=tests-$(basename "$binary")-${module//::/-}
      ours "$name" "$binary" "$module"
      note "        $(grep '^test result' "$results/$name.txt" | tail -n 1)"
    done
  done
}

# each tool on the tests whose names hold the words; it makes kernels many times slower
sanitizers() {
  local tool binary sanitizer module name
  sanitizer=$(command -v compute-sanitizer || ls "${CUDA_PATH:-/usr/local/cuda}"/bin/compute-sanitizer 2>/dev/null)
  if [ -z "$sanitizer" ]; then
    note 'none    sanitizers: compute-sanitizer is not installed'
    return
  fi
  for binary in "${binaries[@]}"; do
    for tool in ${TOOLS:-memcheck racecheck initcheck synccheck}; do
      local more=()
      # memory that one stream uses before another has it, or after
      [ "$tool" != memcheck ] || more=(--track-stream-ordered-races all)
      for module in $(modules "$binary"); do
        [ "$module" != nothing-was-listed ] || { failures=$((failures + 1)) && continue; }
        name=$tool-$(basename "$binary")-${module//::/-}
        ours "$name" "$sanitizer" --tool "$tool" "${more[@]}" --error-exitcode 97 "$binary" --test-threads 1 "$module"
        note "        $(grep 'ERROR SUMMARY\|RACECHECK SUMMARY' "$results/$name.txt" | tail -n 1)"
      done
    done
  done
}

# linear layers in one pass beside the library's product and passes
layers() {
  if [ -z "${LAYERS:-}" ]; then
    note 'none    layers: LAYERS names no benchmark'
    return
  fi
  ours layers "$LAYERS"
}

# each GRAPH:MODEL and batch, for `ours` and `pytorch`
each_case() {
  local model batch
  for model in ${MODELS:-vits16:vit_s16}; do
    for batch in ${BATCHES:-64 256}; do "$1" "${model%%:*}" "${model##*:}" "$batch"; done
  done
}

# the step alone, with what PyTorch's does as well: brain floats, no drop path, a last layer that is trained
bench_ours() {
  ours "ours-$2-$3" "$program" bench "graphs/$1.ron" --json --kernels --no-data --steps "$steps" --warmup 6 \
    --swap 'source=Synthetic(count: 1024, size: 256)' --set "device=$device" --set precision=Bf16 \
    --set "global_batch=$3" --set network.drop_path=0.0 --set 'optimizer.freeze_last_layer=Steps(0)'
}
bench_pytorch() {
  local mode on=cuda
  [ "$device" != Cpu ] || on=cpu
  for mode in ${MODES:-eager compile}; do
    piece "pytorch-$mode-$2-$3" "$python" tests/peers/gpu_step.py --device "$on" --model "$2" --batch "$3" --mode "$mode" --steps "$steps"
  done
}

# images a second, beside each other
compare() {
  "$python" - "$results" <<'PY'
import json, pathlib, sys
found = {}
for path in sorted(pathlib.Path(sys.argv[1]).glob("*.txt")):
    who, _, case = path.stem.partition("-vit_")
    try:
        figures = json.loads(path.read_text())
        found.setdefault(case, []).append((who, figures["images_per_second"], figures.get("peak_memory_bytes")))
    except (ValueError, KeyError, TypeError):
        pass
for case, lines in found.items():
    ours = next((speed for who, speed, _ in lines if who == "ours"), None)
    for who, speed, memory in lines:
        ratio = f"  ours is {ours / speed:.2f} times it" if ours and who != "ours" else ""
        print(f"        vit_{case}: {who} {speed:.1f} images/s, {(memory or 0) / 2**30:.2f} GiB{ratio}")
PY
}

library_path=$(libraries)
# nothing is skipped for want of a GPU
[ "$device" = Cpu ] || export DINOFLOW_NEEDS_GPU=1
for part in ${PARTS:-facts tests sanitizers layers ours pytorch}; do
  case $part in
    facts | tests | sanitizers | layers) "$part" ;;
    ours) each_case bench_ours ;;
    pytorch) each_case bench_pytorch ;;
    *) note "FAILED  there is no part $part"; failures=$((failures + 1)) ;;
  esac
done
compared=$(compare 2>&1)
[ -z "$compared" ] || note "$compared"
note "$failures failed"
[ "$failures" -eq 0 ]
