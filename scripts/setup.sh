#!/usr/bin/env bash
# Installs what building and testing need on Debian and Ubuntu, a Rust toolchain aside. May be run again at any time.
set -euo pipefail

packages=(
    gcc g++ libc6-dev         # builds libzstd, libFuzzer and the linker's part
    age zstd tar coreutils mawk gawk openssh-client # the standard tools that must read what we write
    locales                   # restoring by hand is tested in a Latin-1 locale, too
    attr acl libcap2-bin      # extended attributes, ACLs and file capabilities of test trees
    libarchive-tools          # bsdtar, a second opinion on tar
    python3 python3-cryptography # aes-decrypt.py and tarfile, a third opinion
    sqlite3                   # databases that come back are looked at by their own client
    util-linux                # setpriv: some tests are about users that are not root
    valgrind                  # instruction counts
    postgresql postgresql-client # a server to capture and apply; the extensions come with it
    openssl                   # a server that speaks TLS, for the HTTP client
    redis-server redis-tools  # servers to capture and apply, and their client
)

if ! command -v cargo >/dev/null; then
    echo "setup: no Rust toolchain is installed; see https://rustup.rs" >&2
    exit 1
fi
if ! command -v apt-get >/dev/null; then
    echo "setup: this is not Debian or Ubuntu; install what these packages hold: ${packages[*]}" >&2
    exit 1
fi
missing=()
for package in "${packages[@]}"; do
    dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null | grep -qx installed || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    echo "setup: everything is installed"
    exit 0
fi
echo "setup: installing ${missing[*]}"
sudo=()
[ "$(id -u)" -eq 0 ] || sudo=(sudo)
# Packages of servers must not start a service: tests start servers of their own, on ports of their own.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | "${sudo[@]}" tee "$policy" >/dev/null
    "${sudo[@]}" chmod 755 "$policy"
    trap '"${sudo[@]}" rm -f "$policy"' EXIT
fi
"${sudo[@]}" apt-get update -qq
"${sudo[@]}" env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
