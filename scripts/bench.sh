#!/usr/bin/env bash
# Compares whole tools on the same tree in one run: full backup, unchanged, 1 % changed, deep verification, restore.
#
#   scripts/bench.sh [TREE] [ROUNDS]
#
# TREE defaults to a generated one (80 000 small text files and some incompressible ones, about 1.3 GB). Tools take turns,
# figures are medians of ROUNDS (3). One file in a hundred is changed on the way, so a TREE that you name is copied first.
# Tools that are not installed are named and skipped. Everything lies below
# $BENCH_DIR (a temporary folder, removed at the end; if you name one, tree and results stay there). $CCBACKUP names the
# program, if it should not be built here.
set -euo pipefail
project=$(cd "$(dirname "$0")/.." && pwd -P)
rounds=${2:-3}
if [ -n "${BENCH_DIR:-}" ]; then
    mkdir -p "$BENCH_DIR"
    work=$(cd "$BENCH_DIR" && pwd -P)
else
    work=$(mktemp -d "${TMPDIR:-/tmp}/ccbackup-bench.XXXXXX")
    trap 'rm -rf "$work"' EXIT
fi
# The commands below are put together as text.
case $work in
*[!A-Za-z0-9/._-]*) echo "bench: the folder $work has blanks or signs in its name; set BENCH_DIR or TMPDIR" >&2; exit 2 ;;
esac
if [ -z "${CCBACKUP:-}" ]; then
    cargo build --release --locked --quiet --manifest-path "$project/Cargo.toml"
    CCBACKUP=$project/target/release/ccbackup
fi
tree=$work/tree
if [ -n "${1:-}" ]; then
    tree=$work/copy
    rm -rf "$tree"
    cp -a --reflink=auto "$1" "$tree"
elif [ ! -d "$tree" ]; then
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
python3 "$project/scripts/bench.py" "$tree" "$rounds" "$work" "$(realpath "$CCBACKUP")"
