#!/usr/bin/env bash
# Compiles the fuzz targets with the stable compiler and runs each for some seconds (10), from the seeds in fuzz/seeds.
#
#   scripts/fuzz.sh [SECONDS] [TARGET]...
#
# What a run finds stays in fuzz/corpus, what fails in fuzz/artifacts: `target/debug/TARGET FILE` shows it again.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds=${1:-10}
shift $(($# ? 1 : 0))
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    for file in fuzz/fuzz_targets/*.rs; do
        targets+=("$(basename "$file" .rs)")
    done
fi
command -v c++ >/dev/null || { echo "fuzz: libFuzzer needs a C++ compiler; scripts/setup.sh installs it" >&2; exit 1; }

# The same versions and the same build folder as the tests, so that dependencies are compiled once for both.
cp Cargo.lock fuzz/Cargo.lock
RUSTC_WRAPPER=$PWD/fuzz/rustc.sh cargo build --quiet --manifest-path fuzz/Cargo.toml --target-dir target --bins

mkdir -p fuzz/artifacts
for target in "${targets[@]}"; do
    mkdir -p "fuzz/corpus/$target"
    log=fuzz/artifacts/$target.log
    if ! "target/debug/$target" -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="fuzz/artifacts/$target-" "fuzz/corpus/$target" "fuzz/seeds/$target" >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        echo "fuzz: $target failed; its input is named above" >&2
        exit 1
    fi
    runs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    coverage=$(grep -o 'cov: [0-9]*' "$log" | tail -n 1)
    echo "fuzz: $target held for $runs inputs in $seconds s, ${coverage#cov: } counters reached"
done
