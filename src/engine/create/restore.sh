
# Restores one backup with age, zstd, GNU tar and coreutils alone: no other program and no network is needed.
# It reads the inventory, takes every file from the archive that holds it, here or in an earlier backup beside this
# folder, joins files that are stored in pieces, makes hard links, and sets the metadata of folders last.

set -eu
LC_ALL=C
export LC_ALL
umask 077

usage() {
    cat <<END
usage: sh restore.sh -o OUT [-i IDENTITY] [-c COMPONENT]... [-s ALLOWED_SIGNERS] [-d DECRYPTOR]
  -o OUT              new or empty folder; component NAME is restored to OUT/NAME
  -i IDENTITY         age identity file, or the raw key file of an aes-256-gcm backup
  -c COMPONENT        only this component; may be given more than once (all: $COMPONENTS)
  -s ALLOWED_SIGNERS  also check the signature against this file, kept outside the repository
  -d DECRYPTOR        aes-256-gcm only: path of aes-decrypt.py
END
}

fail() {
    printf 'restore.sh: %s\n' "$*" >&2
    exit 1
}

identity= out= signers= decryptor= only=
while getopts i:o:c:s:d:h option; do
    case $option in
    i) identity=$OPTARG ;;
    o) out=$OPTARG ;;
    c) only="$only $OPTARG" ;;
    s) signers=$OPTARG ;;
    d) decryptor=$OPTARG ;;
    h) usage; exit 0 ;;
    *) usage >&2; exit 2 ;;
    esac
done
shift $((OPTIND - 1))
[ $# -eq 0 ] && [ -n "$out" ] || { usage >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd -P)
root=$(dirname "$here")
[ "${here##*/}" = "$ID" ] || fail "this folder is named ${here##*/}, the backup is $ID: put it back under its name"
case $EXT in
.age) [ -n "$identity" ] || fail "this backup is encrypted with age: give the identity with -i"; tools='age zstd' ;;
.aes) [ -n "$identity" ] && [ -n "$decryptor" ] || fail "this backup is encrypted with aes-256-gcm: give -i KEY and -d aes-decrypt.py"; tools='python3 zstd' ;;
*) tools=zstd ;;
esac
for tool in $tools tar awk sha256sum head tail dd touch truncate; do
    command -v "$tool" >/dev/null || fail "the program $tool is needed and not installed"
done
tar --version 2>/dev/null | grep -q 'GNU tar' || fail 'GNU tar is needed'
for component in $only; do
    case " $COMPONENTS " in *" $component "*) ;; *) fail "there is no component $component; there are: $COMPONENTS" ;; esac
done

# 1. Nothing is read before every byte of the chain is what the manifest signed.
check_folder() {
    (cd "$1" && sha256sum --check --quiet --strict SHA256SUMS) || fail "the backup in $1 is damaged"
}
if [ -n "$signers" ]; then
    ssh-keygen -Y verify -f "$signers" -I ccbackup -n ccbackup -s "$here/SHA256SUMS.sig" <"$here/SHA256SUMS" >/dev/null ||
        fail "the signature of $ID does not hold"
fi
check_folder "$here"
printf '%s\n' "$DEPENDS_ON" | while read -r backup digest; do
    [ -n "$backup" ] || continue
    [ -d "$root/$backup" ] || fail "backup $backup is needed and not in $root"
    echo "$digest  $root/$backup/SHA256SUMS" | sha256sum --check --quiet --strict - ||
        fail "backup $backup is not the one that this backup was built on"
    check_folder "$root/$backup"
done || exit 1

work=$(mktemp -d "${TMPDIR:-/tmp}/restore-$ID.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
mkdir -p "$out"
out=$(cd "$out" && pwd)
owner='--no-same-owner'
[ "$(id -u)" -ne 0 ] || owner='--same-owner --numeric-owner'

# Writes the decrypted, decompressed content of a file to standard output.
content() {
    {
        case $EXT in
        .age) age --decrypt --identity "$identity" "$1" ;;
        .aes) python3 "$decryptor" "$identity" <"$1" ;;
        *) cat "$1" ;;
        esac || : >"$work/failed"
    } | zstd --decompress --stdout --quiet || : >"$work/failed"
}

archive_name() {
    if [ "$2" -eq 0 ]; then
        echo "$root/$1/$component.tar.zst$EXT"
    else
        echo "$root/$1/$component.$2.tar.zst$EXT"
    fi
}

# Extracts the members that are listed in a file from one archive.
extract() {
    # shellcheck disable=SC2086  # the owner options are words
    content "$(archive_name "$1" "$2")" | tar --extract --file=- --directory="$target" --same-order --no-recursion \
        --same-permissions $owner --xattrs --xattrs-include='*' --files-from="$3" || : >"$work/failed"
    [ ! -e "$work/failed" ] || fail "cannot extract from $(archive_name "$1" "$2")"
}

# Sets $name to the bytes that an escaped path stands for.
unescape() {
    name=$(printf '%s' "$1" | sed 's/%/%%/g')
    # shellcheck disable=SC2059  # the path is the format on purpose: its escapes are printf's
    name=$(printf "./$name.")
    name=${name%.}
}

# 2. The inventory: the segments of the index, taken from this backup and from those it refers to, in order.
read_inventory() {
    rm -f "$work"/index.* "$work"/list.* "$work"/inventory
    content "$here/$component.index.zst$EXT" >"$work/index.$ID"
    [ ! -e "$work/failed" ] || fail "cannot read the index of $component"
    awk '/^\{"segment":/ {
        line = $0; sub(/^\{"segment":\["/, "", line); id = line; sub(/".*/, "", id)
        sub(/^[^,]*,/, "", line); split(line, part, ",")
        if (id == last && part[1] + 0 == end) { end += part[2] } else {
            if (last != "") printf "%s %.0f %.0f\n", last, start, end - start
            last = id; start = part[1] + 0; end = start + part[2]
        }
    } END { if (last != "") printf "%s %.0f %.0f\n", last, start, end - start }' "$work/index.$ID" >"$work/ranges"
    : >"$work/inventory"
    while read -r backup start length; do
        if [ ! -e "$work/index.$backup" ]; then
            content "$root/$backup/$component.index.zst$EXT" >"$work/index.$backup"
            [ ! -e "$work/failed" ] || fail "cannot read the index of $component in $backup"
        fi
        tail -c "+$((start + 1))" "$work/index.$backup" | head -c "$length" >>"$work/inventory"
    done <"$work/ranges"
}

# 3. One list an archive and purpose. Paths stay escaped, as tar -T reads them.
make_lists() {
    awk -v work="$work" '
    function text(key,   at, rest) {
        at = index($0, "\"" key "\":\""); if (!at) return ""
        rest = substr($0, at + length(key) + 4); rest = substr(rest, 1, index(rest, "\"") - 1)
        if (index(rest, "\\")) rest = single(rest)
        return rest
    }
    function single(s,   out, at) {
        out = ""
        while ((at = index(s, "\\\\")) > 0) { out = out substr(s, 1, at); s = substr(s, at + 2) }
        return out s
    }
    function list(key,   at, rest) {
        at = index($0, "\"" key "\":[["); if (!at) return ""
        rest = substr($0, at + length(key) + 5)
        return substr(rest, 1, index(rest, "]]") - 1)
    }
    {
        path = text("path"); type = text("type")
        at = index($0, "\"home\":["); rest = substr($0, at + 8); split(rest, home, ",")
        gsub(/"/, "", home[1]); archive = home[1] " " home[2] + 0
        name = path; if (substr(name, 1, 4) == "\\055") name = "./" name
        entries++
        if (type == "hardlink") { print text("target") > (work "/list.links"); print path > (work "/list.links"); next }
        if (!(archive in seen)) { seen[archive] = 1; print archive > (work "/list.archives") }
        suffix = home[1] "." home[2] + 0
        print name > (work "/list.members." suffix)
        if (type == "dir") {
            if (!(archive in withdirs)) { withdirs[archive] = 1; print archive > (work "/list.dirarchives") }
            print name > (work "/list.dirs." suffix)
        }
        if (index($0, "\"pieces\":[")) {
            at = index($0, "\"size\":"); size = substr($0, at + 7); sub(/[,}].*/, "", size)
            print size, text("mode"), text("mtime"), path > (work "/list.stubs")
            regions = split(list("regions"), region, /\],\[/)
            if (!index($0, "\"regions\":[")) { regions = 1; region[1] = "0," size }
            r = 0; left = 0
            pieces = split(list("pieces"), piece, /\],\[/)
            for (p = 1; p <= pieces; p++) {
                split(piece[p], f, ","); gsub(/"/, "", f[1])
                offset = f[3] + 0; length_left = f[4] + 0
                while (length_left > 0) {
                    if (left == 0) { r++; if (r > regions) exit 9; split(region[r], g, ","); position = g[1] + 0; left = g[2] + 0; continue }
                    part = length_left < left ? length_left : left
                    source = f[1] " " f[2] + 0
                    if (!(source in filled)) { filled[source] = 1; print source > (work "/list.sources") }
                    printf "%.0f %.0f %.0f %s\n", offset, part, position, path > (work "/list.pieces." f[1] "." (f[2] + 0))
                    offset += part; position += part; left -= part; length_left -= part
                }
            }
        }
    }
    END { print entries + 0 > (work "/list.count") }' "$work/inventory" || fail "the inventory of $component cannot be read"
}

restore_component() {
    target=$out/$component
    mkdir -p "$target"
    [ -z "$(ls -A "$target")" ] || fail "$target is not empty"
    read_inventory
    make_lists
    for each in archives dirarchives links stubs sources; do [ -e "$work/list.$each" ] || : >"$work/list.$each"; done

    while read -r backup volume; do
        extract "$backup" "$volume" "$work/list.members.$backup.$volume"
        # A folder that its owner may not write to would keep out what later archives bring.
        [ "$(id -u)" -eq 0 ] || find "$target" -type d ! -perm -700 -exec chmod u+rwx {} +
    done <"$work/list.archives"

    # 4. Files in pieces: their members gave the metadata, now comes the content.
    while read -r size mode mtime path; do
        unescape "$path"
        chmod u+rw "$target/$name"
        truncate -s 0 "$target/$name"
        truncate -s "$size" "$target/$name"
    done <"$work/list.stubs"
    while read -r backup volume; do
        content "$(archive_name "$backup" "$volume")" >"$work/stream"
        [ ! -e "$work/failed" ] || fail "cannot read $(archive_name "$backup" "$volume")"
        while read -r offset length position path; do
            unescape "$path"
            tail -c "+$((offset + 1))" "$work/stream" | head -c "$length" |
                dd of="$target/$name" bs=1M iflag=fullblock oflag=seek_bytes seek="$position" conv=notrunc status=none ||
                fail "cannot write $target/$name"
        done <"$work/list.pieces.$backup.$volume"
        rm -f "$work/stream"
    done <"$work/list.sources"
    while read -r size mode mtime path; do
        unescape "$path"
        chmod "$mode" "$target/$name"
        touch --no-dereference --date="@$mtime" "$target/$name"
    done <"$work/list.stubs"

    # 5. Further names of files.
    while read -r first && read -r path; do
        unescape "$first"
        first=$target/$name
        unescape "$path"
        ln -P -- "$first" "$target/$name"
    done <"$work/list.links"

    # 6. Folders last: everything above has touched their times.
    while read -r backup volume; do
        extract "$backup" "$volume" "$work/list.dirs.$backup.$volume"
    done <"$work/list.dirarchives"
    echo "restored $component: $(cat "$work/list.count") entries"
}

for component in ${only:-$COMPONENTS}; do
    restore_component
done
