#!/usr/bin/env bash
# Makes fuzz/seeds anew from what the standard tools and a real backup look like. Only needed when the format changes.
#
#   cargo build && fuzz/make-seeds.sh target/debug/ccbackup
set -euo pipefail
ccbackup=$(realpath "$1")
seeds=$(cd "$(dirname "$0")" && pwd)/seeds
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$work"
rm -rf "$seeds"
mkdir -p "$seeds"/{tar_member,seek_table,index_line,inventory,manifest,sealed,sums}

# A small tree with one entry of every kind.
mkdir -p tree/folder
echo content >tree/file
ln tree/file tree/hardlink
ln -s 'no where' tree/symlink
mkfifo tree/fifo
mknod tree/device c 1 3 || echo "not root: no device in the seeds" >&2
printf 'head' >tree/sparse
truncate -s 300000 tree/sparse
printf 'tail' >>tree/sparse
touch -d '1969-12-31 23:59:58.25 UTC' tree/folder
touch tree/"$(printf 'long%.0s' {1..40})" "$(printf 'tree/\xff\n"\\')"
setfattr -n user.comment -v 'two words' tree/file
find tree -exec touch -h -d @1768660200.5 {} +
for format in pax gnu ustar; do
    for item in tree/*; do
        options=(--sparse)
        [ $format = ustar ] && options=()
        [ $format = pax ] && options+=(--xattrs)
        tar --format=$format "${options[@]}" --owner=root:0 --group=root:0 -cf member.tar "$item" 2>/dev/null || continue
        name=${item#tree/}
        { printf '\1'; head -c 3072 member.tar; } >"$seeds/tar_member/$format-$(tr -dc a-z <<<"${name:0:12}")"
    done
done
head -c 1025 /dev/zero >"$seeds/tar_member/end"

# Two unencrypted backups: a full and an incremental.
export CCBACKUP_HOME=$work/home
run() { "$ccbackup" --repo repo -q create --cipher none --path tree; }
run
sleep 1
echo more >>tree/file
run
tar_stream() { zstd -dcq repo/latest/files.tar.zst; }
{ printf '\1'; tar_stream | head -c 3072; } >"$seeds/tar_member/own"
# Names of this host have no place in a seed; the digests need not match.
sed -i "s/\"host\": \"[^\"]*\"/\"host\": \"host\"/" repo/2*/manifest.json
first=1
for backup in repo/2*/; do
    cp "$backup/manifest.json" "$seeds/manifest/manifest-$first"
    cp "$backup/SHA256SUMS" "$seeds/manifest/sums-$first"
    cp "$backup/SHA256SUMS.sig" "$seeds/manifest/signature-$first"
    cp "$backup/files.index.zst" "$seeds/seek_table/index-$first"
    cp "$backup/files.tar.zst" "$seeds/seek_table/archive-$first"
    zstd -dcq "$backup/files.index.zst" >index
    # One segment, two segments, and the input's own table.
    { printf '\1'; grep '^{"path"' index; } >"$seeds/inventory/one-$first"
    { printf '\1'; grep '^{"path"' index | sed '4s/^/\x1e/'; } >"$seeds/inventory/two-$first"
    { printf '\0'; sed 's/^{"\(segment\|end\|problem\)"/\x1e&/' index; } >"$seeds/inventory/table-$first"
    first=$((first + 1))
done
grep '^{"path"' index | while IFS= read -r line; do
    name=$(sed 's/.*"type":"\([a-z]*\)".*/\1/' <<<"$line")
    printf '%s\n' "$line" >"$seeds/index_line/$name"
    # A large file that was changed: its content lies in pieces.
    if [[ $line == *'"regions"'* ]]; then
        digest=$(printf '%064d' 1)
        pieces='"pieces":[["20260101-000000-2",1,512,5000],["20260117-143000",0,13312,92]]'
        chunks="\"chunks\":[[4096,\"$digest\"],[996,\"$digest\"]],\"unsettled\":true"
        sed "s/\"content\":\[\[[^]]*\]\]/$pieces/; s/}\$/,$chunks}/" <<<"$line" >"$seeds/index_line/pieces"
    fi
done
cp repo/repository.json "$seeds/manifest/repository"

# How much is sealed, and what happens to it then: see fuzz_targets/sealed.rs.
number=1
for mode in '\x46' '\x47'; do
    for length in '\x00\x00\x00' '\x00\x00\x01' '\x01\x00\x02'; do
        for damage in '' '\x00\x10\x27\x01\x00' '\x01\x10\x27\x01\x00' '\x04\x00\x10\x00\x20' '\x05\x00\x00\x01\x00' \
            '\x07\x00\x00\x01\x00' '\x08\x00\x00\x00\x00' '\x0a\x01\x00\x00\x00'; do
            printf "$mode$length$damage" >"$seeds/sealed/$number"
            number=$((number + 1))
        done
    done
done
{ printf '\1'; echo x | age -r "$(age-keygen 2>/dev/null | sed -n 's/^# public key: //p')"; } >"$seeds/sealed/age"
# Which names are listed, and what is changed: see fuzz_targets/sums.rs.
printf '\xff' >"$seeds/sums/all"
printf '\x03\x00\x00\x00' >"$seeds/sums/removed"
printf '\x81\x04\x07\x01' >"$seeds/sums/inserted"
printf '\x22\x02\x00\x01\x03\x00\x00' >"$seeds/sums/doubled-and-capital"
du -sh "$seeds"
