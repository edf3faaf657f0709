#!/usr/bin/env bash
# Compares whole tools on the same trees in one run: full backup, unchanged, 1 % changed, verification, restore.
#
#   scripts/bench.sh [--rounds N] [--tree DIR]... [--tools ccbackup,before,pipe,bupstash,conserve,restic,borg,rustic]
#                    [--before PROGRAM]
#
# --before names an earlier build of ccbackup, which takes turns with the others.
#
# Without --tree there are two: a source tree (the kernel's, if Debian's package linux-source-6.1 is installed, else 80 000
# generated text files) and a generated mixed one (36 000 files, about 570 MB). One file in a hundred is changed on the way,
# so a tree that you name is copied first. Tools take turns, figures are medians of N (3) rounds. Tools that are not
# installed are named and skipped. Nothing is removed before the end: without --tree have 20 GB of disk for each round.
#
# $BENCH_DIR    everything lies below it. Default: a temporary folder, removed at the end. If you name one, the trees and
#               results.json stay there, and the trees are used again.
# $BENCH_PEERS  programs in its folder bin are found first, as after: cargo install --root DIR bupstash conserve rustic-rs
# $CCBACKUP     the program, if it should not be built here.
set -euo pipefail
# shellcheck source=scripts/bench/setup.sh
. "$(dirname "$0")/bench/setup.sh"
python3 "$project/scripts/bench/run.py" --work "$work" --ours "$CCBACKUP" "$@"
