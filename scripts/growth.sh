#!/usr/bin/env bash
# Measures how the costs of ccbackup grow: with files, backups, and the shape of what is backed up. Prints Markdown.
#
#   scripts/growth.sh [OPTION]... [PART]...
#
# Parts, all of them if none is named:
#   tree      time and memory against the number of files
#   chain     many incrementals against two
#   list      list in a repository of many backups
#   sparse    a sparse file of 50 GB
#   wide      ten thousand files in a folder, and a path 120 folders deep
#   size      what an incremental stores: few files changed, a large file changed, a folder moved
#   one-file  bytes read to restore one small file of a backup of 10 GB (needs strace)
#
#   --files N,N,...  trees of so many files (10000,100000,1000000)
#   --chain N        incrementals of the long chain (200)
#   --backups N      backups of the part list (2000)
#   --skip-huge      no tree of a million files; one-file has 1 GB
#   --scale X        all else times X, for a trial of this script (1)
#
# $BENCH_DIR, $CCBACKUP: see bench.sh. It needs age, zstd and up to 50 GB of disk: nothing is
# removed before the end.
set -euo pipefail
# shellcheck source=scripts/bench/setup.sh
. "$(dirname "$0")/bench/setup.sh"
python3 "$project/scripts/bench/growth.py" --work "$work" --ours "$CCBACKUP" "$@"
