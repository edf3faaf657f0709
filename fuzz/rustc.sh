#!/bin/sh
# A RUSTC_WRAPPER: counters for libFuzzer go into ccbackup and the targets alone. The dependencies stay as the tests
# build them, and the compiler is the stable one.
case "$*" in
*'fuzz_targets/'* | *'--crate-name ccbackup '*'--crate-type lib '*)
    exec "$@" -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
        -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
        -Cllvm-args=-sanitizer-coverage-trace-compares
    ;;
*) exec "$@" ;;
esac
