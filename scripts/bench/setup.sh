# shellcheck shell=bash disable=SC2034
# What bench.sh and growth.sh have in common; both read it. Sets $project, $work and $CCBACKUP.
project=$(cd "$(dirname "$0")/.." && pwd -P)
# --help needs neither a build nor a folder.
case " $* " in
*" --help "* | *" -h "*)
    sed -n '2,/^set/{/^#/s/^# \{0,1\}//p}' "$0"
    exit
    ;;
esac
if [ -n "${BENCH_DIR:-}" ]; then
    mkdir -p "$BENCH_DIR"
    work=$(cd "$BENCH_DIR" && pwd -P)
else
    work=$(mktemp -d "${TMPDIR:-/tmp}/ccbackup-bench.XXXXXX")
    trap 'rm -rf "$work"' EXIT
fi
# The commands are put together as text.
case $work in
*[!A-Za-z0-9/._-]*)
    echo "the folder $work has blanks or signs in its name; set BENCH_DIR or TMPDIR" >&2
    exit 2
    ;;
esac
if [ -n "${BENCH_PEERS:-}" ]; then
    PATH=$(cd "$BENCH_PEERS" && pwd -P)/bin:$PATH
    export PATH
fi
if [ -z "${CCBACKUP:-}" ]; then
    cargo build --release --locked --quiet --manifest-path "$project/Cargo.toml"
    CCBACKUP=$project/target/release/ccbackup
fi
CCBACKUP=$(realpath "$CCBACKUP")
# Settings of the user would change what is measured.
unset CCBACKUP_CONFIG CCBACKUP_REPO CCBACKUP_IDENTITY CCBACKUP_HOME
export PYTHONDONTWRITEBYTECODE=1
