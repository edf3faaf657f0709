#!/usr/bin/env bash
# Backs up a tree that two processes change all the time, kills some of the runs, and checks every backup (docs/TESTING.md).
#
#   scripts/torture.sh [MINUTES] [SEED]
#
# 10 minutes and a random seed by default. More options: python3 tests/torture --help. CCBACKUP_TORTURE_BINARY names another
# program than the release build.
set -euo pipefail
cd "$(dirname "$0")/.."
minutes=${1:-10}
seed=${2:-$((RANDOM << 15 | RANDOM))}
binary=${CCBACKUP_TORTURE_BINARY:-target/release/ccbackup}
if [ -z "${CCBACKUP_TORTURE_BINARY:-}" ]; then
    cargo build --release --locked --quiet --bin ccbackup
fi
# A tree and a repository each: what fails in one is kept, and a long chain does not fill the disk.
part=$((minutes * 60 < 300 ? minutes * 60 : 300))
seeds=()
for ((i = 0; i * part < minutes * 60; i++)); do
    seeds+=(--seed $((seed + i)))
done
echo "torture: $minutes minutes, seed $seed, $binary"
exec python3 -B tests/torture --binary "$binary" --seconds "$part" --churners 2 --kills "${seeds[@]}"
