#!/usr/bin/env bash
# Compares whole tools on the same tree in one run: full backup, unchanged, 1 % changed, deep verification, restore.
#
#   scripts/bench.sh [TREE] [ROUNDS]
#
# TREE defaults to a generated one (80 000 small text files and some incompressible ones, about 1.3 GB). Tools take turns,
# figures are medians of ROUNDS (3). Tools that are not installed are named and skipped. Everything lies below
# $BENCH_DIR (a temporary folder, removed at the end; if you name one, tree and results stay there).
set -euo pipefail
cd "$(dirname "$0")/.."
project=$PWD
rounds=${2:-3}
if [ -n "${BENCH_DIR:-}" ]; then
    work=$BENCH_DIR
    mkdir -p "$work"
else
    work=$(mktemp -d "${TMPDIR:-/tmp}/ccbackup-bench.XXXXXX")
    trap 'rm -rf "$work"' EXIT
fi
cargo build --release --locked --quiet
tree=${1:-$work/tree}
if [ ! -d "$tree" ]; then
    echo "generating $tree" >&2
    python3 - "$tree" <<'PYTHON'
import os, random, sys
root, draw = sys.argv[1], random.Random(20260117)
words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz_", k=draw.randint(2, 11))) for _ in range(6000)]
for number in range(80_000):
    folder = os.path.join(root, f"{number % 61:02}", f"{number // 61 % 71:02}")
    os.makedirs(folder, exist_ok=True)
    size = int(draw.lognormvariate(8.9, 1.1)) % 400_000
    with open(os.path.join(folder, f"{words[number % 6000]}{number}.txt"), "w") as file:
        while size > 0:
            line = " ".join(draw.choices(words, k=draw.randint(3, 14)))
            file.write("    " * draw.randint(0, 4) + line + ";\n")
            size -= len(line) + 12
for number in range(40):
    with open(os.path.join(root, f"block{number}.bin"), "wb") as file:
        file.write(draw.randbytes(2_000_000))
PYTHON
fi
tree=$(cd "$tree" && pwd -P)
python3 "$project/scripts/bench.py" "$tree" "$rounds" "$work" "$project/target/release/ccbackup"
