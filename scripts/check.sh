#!/usr/bin/env bash
# All gates but the tests: format, lints, documentation, shell syntax, circles of files and modules, file sizes.
set -euo pipefail
cd "$(dirname "$0")/.."

say() { printf '\n== %s\n' "$*"; }

say "format"
cargo fmt --check

say "lints"
cargo clippy --all-targets --locked -- -D warnings

say "documentation"
RUSTDOCFLAGS="-D warnings" cargo doc --no-deps --document-private-items --locked

say "shell"
for script in scripts/*.sh scripts/bench/*.sh .ci/run; do
    bash -n "$script"
done
sh -n src/engine/create/restore.sh
if command -v shellcheck >/dev/null; then
    shellcheck --severity=warning scripts/*.sh scripts/bench/*.sh .ci/run
    shellcheck --severity=warning --shell=sh src/engine/create/restore.sh
else
    echo "shellcheck is not installed: skipped"
fi

say "circles"
python3 scripts/circles.py --self-test
python3 scripts/circles.py

say "file sizes"
long=$(find src -name '*.rs' -exec awk 'END { if (NR > 500) print FILENAME ": " NR " lines" }' {} \;)
if [ -n "$long" ]; then
    echo "files that cannot be read in one sitting:"
    echo "$long"
    exit 1
fi
echo "every file below 500 lines"
