"""Measures how ccbackup's costs grow, part by part. Started by growth.sh."""

import argparse
import subprocess
import sys

import growth_size
import growth_time
from growth_base import Setup
from measure import machine

PARTS = {"tree": growth_time.tree, "chain": growth_time.chain, "list": growth_time.list_many,
         "sparse": growth_time.sparse, "wide": growth_time.wide,
         "size": growth_size.size, "one-file": growth_size.one_file}


def main():
    parser = argparse.ArgumentParser(prog="growth.sh")
    parser.add_argument("parts", nargs="*", metavar="PART", help=" ".join(PARTS))
    parser.add_argument("--files", default="10000,100000,1000000")
    parser.add_argument("--chain", type=int, default=200)
    parser.add_argument("--backups", type=int, default=2000)
    parser.add_argument("--skip-huge", action="store_true")
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--work", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--ours", required=True, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    for part in chosen.parts:
        if part not in PARTS:
            parser.error(f"no such part: {part}; there are {', '.join(PARTS)}")
    setup = Setup(chosen)
    version = subprocess.check_output([chosen.ours, "--version"], text=True).strip()
    print(f"Machine: {machine()}. {version}. Encrypted, zstd level 3.")
    for part in chosen.parts or PARTS:
        print(f"part {part}", file=sys.stderr)
        PARTS[part](setup)
        setup.clear_part()
    setup.clear()


main()
