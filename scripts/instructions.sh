#!/usr/bin/env bash
# Counts the instructions that a small backup and its way back take, and compares them with what was counted before.
#
#   scripts/instructions.sh            fails when a count is more than 10 % above scripts/instructions.tsv
#   scripts/instructions.sh --update   writes that file anew, after a change that is worth it
#
# Instructions are the same on a busy machine, seconds are not. Needs valgrind; $CCBACKUP names the program, if it should
# not be built here. One thread, since waiting threads count, too.
set -euo pipefail
cd "$(dirname "$0")/.."
baseline=scripts/instructions.tsv
command -v valgrind >/dev/null || { echo "instructions: valgrind is missing; scripts/setup.sh installs it" >&2; exit 1; }
if ! grep -qw avx2 /proc/cpuinfo; then
    echo "instructions: SKIPPED: the counts to compare with are of a processor with AVX2, this one has none" >&2
    exit 0
fi
if [ -z "${CCBACKUP:-}" ]; then
    cargo build --release --locked --quiet
    CCBACKUP=target/release/ccbackup
fi
program=$(realpath "$CCBACKUP")
work=$(mktemp -d "${TMPDIR:-/tmp}/ccbackup-instructions.XXXXXX")
trap 'rm -rf "$work"' EXIT
export CCBACKUP_HOME=$work/home

# 1 500 small files in 30 folders, and one that is cut into chunks; always the same bytes.
python3 - "$work/tree" <<'PYTHON'
import os, random, sys
draw, root = random.Random(1), sys.argv[1]
words = ["".join(draw.choices("abcdefghijklmnopqrstuvwxyz", k=draw.randint(2, 9))) for _ in range(500)]
for number in range(1500):
    folder = os.path.join(root, f"folder-{number % 30}")
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, f"file-{number}.conf"), "w") as file:
        file.write(" ".join(draw.choices(words, k=draw.randrange(20, 400))))
with open(os.path.join(root, "large.bin"), "wb") as file:
    file.write(draw.randbytes(4 << 20) + bytes(6 << 20))
for folder, _, names in os.walk(root):
    for name in names:
        os.utime(os.path.join(folder, name), (1_700_000_000, 1_700_000_000))
PYTHON
age-keygen -o "$work/identity.txt" 2>/dev/null
recipient=$(sed -n 's/^# public key: //p' "$work/identity.txt")

count() {
    local log=$work/callgrind.log
    if ! valgrind --tool=callgrind --callgrind-out-file=/dev/null "$program" --threads 1 --repo "$work/repo" -q \
        --identity "$work/identity.txt" "$@" >"$log" 2>&1; then
        cat "$log" >&2
        exit 1
    fi
    sed -n 's/^.*Collected : *\([0-9]*\).*/\1/p' "$log"
}
create=(create --recipient "$recipient" --path "$work/tree")
counts=$work/counts.tsv
printf 'full\t%s\n' "$(count "${create[@]}")" >"$counts"
# Files that were changed just before a backup are read again by the next one.
sleep 62
count "${create[@]}" --full >/dev/null
printf 'unchanged\t%s\n' "$(count "${create[@]}")" >>"$counts"
for number in 100 130 160; do echo changed >>"$work/tree/folder-10/file-$number.conf"; done
printf 'changed\t%s\n' "$(count "${create[@]}")" >>"$counts"
printf 'verify\t%s\n' "$(count verify)" >>"$counts"
printf 'verify deep\t%s\n' "$(count verify --deep)" >>"$counts"
printf 'restore\t%s\n' "$(count restore --target "$work/out")" >>"$counts"

if [ "${1:-}" = --update ]; then
    cp "$counts" "$baseline"
    cat "$baseline"
    exit 0
fi
worse=0
while IFS=$'\t' read -r phase now; do
    before=$(awk -F '\t' -v phase="$phase" '$1 == phase { print $2 }' "$baseline")
    if [ -z "$before" ] || [ -z "$now" ]; then
        echo "instructions: no count for $phase" >&2
        exit 1
    fi
    change=$(awk -v now="$now" -v before="$before" 'BEGIN { printf "%+.1f", (now / before - 1) * 100 }')
    verdict=$(awk -v change="$change" 'BEGIN { print (change > 10 ? "TOO MANY" : change < -10 ? "fewer: --update" : "") }')
    printf 'instructions: %-12s %13d, %6s %% %s\n' "$phase" "$now" "$change" "$verdict"
    [ "$verdict" != "TOO MANY" ] || worse=1
done <"$counts"
if [ $worse -ne 0 ]; then
    echo "instructions: more than 10 % above $baseline; find out why, or take it with --update" >&2
    exit 1
fi
