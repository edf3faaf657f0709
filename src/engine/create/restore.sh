
# Restores one backup with age, zstd, GNU tar, awk and coreutils alone: no other program and no network is needed.
# It reads the inventory, takes every file from the archive that holds it, here or in an earlier backup beside this
# folder, joins files that are stored in pieces, makes hard links, compares what is there with the inventory, and sets
# the metadata of folders last. What cannot be brought back is named and costs nothing else.

set -euf
own_locale=${LC_ALL:-${LC_CTYPE:-${LANG:-C}}}
LC_ALL=C
export LC_ALL
umask 077

usage() {
    cat <<END
usage: sh restore.sh -o OUT [-i IDENTITY] [-c COMPONENT]... [-s ALLOWED_SIGNERS] [-d DECRYPTOR] [-f]
  -o OUT              new or empty folder; component NAME is restored to OUT/NAME
  -i IDENTITY         age identity file, or the raw key file of an aes-256-gcm backup
  -c COMPONENT        only this component; may be given more than once (all: $COMPONENTS)
  -s ALLOWED_SIGNERS  also check the signature against this file, kept outside the repository
  -d DECRYPTOR        aes-256-gcm only: path of aes-decrypt.py
  -f                  go on in spite of damaged files: what is lost with them is named, the rest comes back
exit status: 0 everything is back; 1 it failed; 2 wrong usage; 3 done, but not everything is as it was;
  4 files are damaged: nothing was restored, or with -f what could be read
END
}

say() {
    printf 'restore.sh: %s\n' "$*" >&2
}

fail() {
    say "$@"
    exit 1
}

# Something is not as it was; the rest goes on.
problem() {
    say "$@"
    [ "$status" -ne 0 ] || status=3
}

identity='' out='' signers='' decryptor='' only='' force='' status=0
while getopts i:o:c:s:d:fh option; do
    case $option in
    i) identity=$OPTARG ;;
    o) out=$OPTARG ;;
    c) only="$only $OPTARG" ;;
    s) signers=$OPTARG ;;
    d) decryptor=$OPTARG ;;
    f) force=1 ;;
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
for tool in $tools tar awk sed find sha256sum head tail tac dd touch truncate; do
    command -v "$tool" >/dev/null || fail "the program $tool is needed and not installed"
done
tar --version 2>/dev/null | grep -q 'GNU tar' || fail 'GNU tar is needed'
for component in $only; do
    case " $COMPONENTS " in *" $component "*) ;; *) fail "there is no component $component; there are: $COMPONENTS" ;; esac
done

# GNU tar turns names into the locale's characters and drops what the locale does not have. UTF-8 has everything, and
# names that are no UTF-8 are left alone. Without such a locale, names beyond ASCII are extracted one by one.
utf8=''
for locale in C.UTF-8 C.utf8 en_US.UTF-8 "$own_locale" $(locale -a 2>/dev/null | grep -i 'utf-*8' || :); do
    [ "$(printf '\342\202\254\342\202\254' | env LC_ALL="$locale" wc -m 2>/dev/null)" = 2 ] || continue
    utf8=$locale
    break
done
[ -n "$utf8" ] || say 'this machine has no UTF-8 locale: names beyond ASCII are restored one by one, which takes longer'

work=$(mktemp -d "${TMPDIR:-/tmp}/restore-$ID.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# 1. Nothing is read before every byte of the chain is what the manifest signed. What is not is listed in
# $work/damaged as BACKUP/FILE, or BACKUP/ for all of it; with -f it is read as far as it goes and believed only where
# the inventory, or the digest in it, agrees.
damage() {
    say "$1"
    echo "$2" >>"$work/damaged"
    status=4
}
check_folder() {
    (cd "$root/$1" && sha256sum --check --quiet --strict SHA256SUMS) >"$work/sums" && return
    sed -n 's/: FAILED.*//p' "$work/sums" >"$work/failures"
    [ -s "$work/failures" ] || damage "backup $1 is damaged" "$1/"
    while read -r file; do damage "$root/$1/$file is damaged" "$1/$file"; done <"$work/failures"
}
is_damaged() {
    grep -qxF -e "$1/" -e "$1/$2" "$work/damaged"
}
: >"$work/damaged"
if [ -n "$signers" ]; then
    ssh-keygen -Y verify -f "$signers" -I ccbackup -n ccbackup -s "$here/SHA256SUMS.sig" <"$here/SHA256SUMS" >/dev/null ||
        fail "the signature of $ID does not hold"
fi
check_folder "$ID"
printf '%s\n' "$DEPENDS_ON" >"$work/depends_on"
while read -r backup digest; do
    [ -n "$backup" ] || continue
    if [ ! -d "$root/$backup" ]; then
        damage "backup $backup is needed and not in $root" "$backup/"
    elif ! echo "$digest  $root/$backup/SHA256SUMS" | sha256sum --check --status --strict -; then
        damage "backup $backup is not the one that this backup was built on" "$backup/"
    else
        check_folder "$backup"
    fi
done <"$work/depends_on"
if [ "$status" -ne 0 ] && [ -z "$force" ]; then
    say 'nothing was restored: take another copy of what is damaged, or -f to go on without it'
    exit 4
fi

mkdir -p "$out"
out=$(cd "$out" && pwd)
owner='--no-same-owner' user=$(id -u)
[ "$user" -ne 0 ] || owner='--same-owner --numeric-owner'

# Writes the decrypted, decompressed content of a file of a backup to standard output; readable() must follow.
content() {
    {
        case $EXT in
        .age) age --decrypt --identity "$identity" "$root/$1/$2" ;;
        .aes) python3 "$decryptor" "$identity" <"$root/$1/$2" ;;
        *) cat "$root/$1/$2" ;;
        esac || : >"$work/failed"
    } | zstd --decompress --stdout --quiet || : >"$work/failed"
}

# Whether the content of a file was read to its end. Damage is known already; anything else would hit every file.
readable() {
    [ -e "$work/failed" ] || return 0
    rm -f "$work/failed"
    is_damaged "$1" "$2" || fail "cannot read $root/$1/$2, which is not damaged: wrong key, or no room in $work?"
    say "$root/$1/$2 was read up to its damage; ccbackup can read what lies behind"
    return 1
}

archive_name() {
    [ "$2" -eq 0 ] && echo "$component.tar.zst$EXT" || echo "$component.$2.tar.zst$EXT"
}

# Puts the tar stream of an archive into $work/stream.
load() {
    file=$(archive_name "$1" "$2")
    content "$1" "$file" >"$work/stream"
    readable "$1" "$file" || :
}

untar() {
    # shellcheck disable=SC2086  # the owner options are words
    env LC_ALL="${utf8:-C}" tar --extract --file=- --no-recursion --same-permissions $owner --xattrs --xattrs-include='*' \
        --warning=no-unknown-keyword "$@"
}

# Extracts the members that are listed in a file from one archive.
extract() {
    file=$(archive_name "$1" "$2")
    # In a locale without a name's characters it may become the name of a file before it, which must stay.
    old=''
    [ -n "$utf8" ] || old=--skip-old-files
    content "$1" "$file" | untar --directory="$target" --same-order ${old:+"$old"} --files-from="$3" ||
        problem "tar could not extract everything of $1/$file"
    readable "$1" "$file" || :
}

# Sets $name to the bytes that an escaped path stands for.
unescape() {
    name=$1
    case $name in *%*) name=$(printf '%s' "$name" | sed 's/%/%%/g') ;; esac
    # shellcheck disable=SC2059  # the path is the format on purpose: its escapes are printf's
    name=$(printf "$name.")
    name=${name%.}
}

# Goes to the folder of an entry, a step at a time because its path may be longer than the system takes, and sets $base
# to its name there. For subshells.
go() {
    cd "$target" || return 1
    base=$1
    while [ "$base" != "${base#*/}" ]; do
        part=./${base%%/*} base=${base#*/}
        [ -d "$part" ] || mkdir "$part" || return 1
        [ ! -L "$part" ] && cd -P "$part" 2>/dev/null || return 1
    done
    base=./$base
}

# Sets mode, time and owner of $base as the inventory has them.
dress() {
    [ "$user" -ne 0 ] || chown -h "$3" "$base"
    chmod "$1" "$base" && touch --no-dereference --date="@$2" "$base"
}

# 2. The inventory: the segments of the index, taken from this backup and from those it refers to, in order.
read_inventory() {
    rm -rf "$work/indexes"
    mkdir "$work/indexes"
    : >"$work/inventory"
    lost=0
    index=$component.index.zst$EXT
    content "$ID" "$index" >"$work/indexes/$ID"
    readable "$ID" "$index" || return 1
    # Neighbours are cut out at once; but one by one, with their digests, from an index that is damaged.
    awk -F'"' -v index_file="$index" '
    FILENAME ~ /damaged$/ { bad[$0] = 1; next }
    $1 == "{" && $2 == "segment" {
        split($5, place, ","); split($7, lines, ","); start = place[2] + 0
        alone = bad[$4 "/"] || bad[$4 "/" index_file]
        if ($4 == id && start == end && !alone) { end += place[3]; next }
        if (id != "") printf "%s %.0f %.0f %s\n", id, first, end - first, rest
        id = $4; first = start; end = start + place[3]; rest = (alone ? $6 : "-") " " lines[2]
    }
    END { if (id != "") printf "%s %.0f %.0f %s\n", id, first, end - first, rest }' \
        "$work/damaged" "$work/indexes/$ID" >"$work/segments"
    while read -r backup start length digest lines; do
        if [ ! -e "$work/indexes/$backup" ]; then
            content "$backup" "$index" >"$work/indexes/$backup"
            readable "$backup" "$index" || :
        fi
        tail -c "+$((start + 1))" "$work/indexes/$backup" | head -c "$length" >"$work/segment"
        if [ "$digest" = - ] || [ "$(sha256sum <"$work/segment")" = "$digest  -" ]; then
            cat "$work/segment" >>"$work/inventory"
        else
            lost=$((lost + lines))
            damage "$lines entries of $component are lost: a part of $root/$backup/$index is damaged" "$backup/$index"
        fi
    done <"$work/segments"
}

# 3. Lists for each archive and purpose. Paths stay escaped, as tar -T reads them.
make_lists() {
    mkdir "$lists"
    (cd "$lists" && touch links archives odd folders stubs sources digests expected notes && awk -F'"' -v limit="$((4000 - ${#target}))" -v utf8="$utf8" -v component="$component" -v ext="$EXT" '
    BEGIN {
        for (i = 1; i < 256; i++) byte[sprintf("%03o", i)] = sprintf("%c", i)
        byte["012"] = "\\n"; byte["134"] = "\\\\"
        n = split("path type mode user group mtime ctime sha256 target", part, " "); for (i = 1; i <= n; i++) kind[part[i]] = "text"
        n = split("uid gid inode size regions unsettled", part, " "); for (i = 1; i <= n; i++) kind[part[i]] = "number"
        n = split("home content pieces chunks", part, " "); for (i = 1; i <= n; i++) kind[part[i]] = "places"
    }
    # The bytes of a path, but for LF and backslash, so that it is one line.
    function plain(s,   out, at, c) {
        while ((at = index(s, "\\")) > 0) {
            c = substr(s, at + 1, 1)
            if (c == "\\" || c == "n") { out = out substr(s, 1, at + 1); s = substr(s, at + 2) }
            else { out = out substr(s, 1, at - 1) byte[substr(s, at + 1, 3)]; s = substr(s, at + 4) }
        }
        return out s
    }
    function single(s,   out, at) {
        while ((at = index(s, "\\\\")) > 0) { out = out substr(s, 1, at); s = substr(s, at + 2) }
        return out s
    }
    function damaged(id, volume) {
        return bad[id "/"] || bad[id "/" component (volume ? "." volume : "") ".tar.zst" ext]
    }
    # Known keys come first and in order. A string ends at the next quote, so fields are strings and what is between.
    function parse(   i, key) {
        split("", value); split("", count); split("", place)
        for (i = 2; i <= NF && $i in kind; ) {
            key = $i
            if (kind[key] == "text") { value[key] = $(i + 2); i += 4 }
            else if (kind[key] == "number") { value[key] = substr($(i + 1), 2); i += 2 }
            else {
                count[key] = 0
                for (i++; i <= NF && $i !~ /\][,}]$/; i += 2) if (key != "chunks") place[key, ++count[key]] = $(i + 1) $(i + 2)
                i++
            }
        }
    }
    # Where the extents of a file belong: one after the other into its regions.
    function pieces(path, size,   regions, region, r, left, p, f, g, offset, rest, n, position, lost) {
        regions = 1; region[1] = "0," size; r = 0; left = 0
        if ("regions" in value) regions = split(substr(value["regions"], 3), region, /\],\[/)
        for (p = 1; p <= count["pieces"]; p++) {
            split(place["pieces", p], f, ","); offset = f[3] + 0; rest = f[4] + 0
            if (damaged(f[1], f[2] + 0)) lost = 1
            while (rest > 0) {
                if (left == 0) { if (++r > regions) exit 9; split(region[r], g, ","); position = g[1] + 0; left = g[2] + 0; continue }
                n = rest < left ? rest : left
                source = f[1] " " (f[2] + 0)
                if (!(source in filled)) { filled[source] = 1; print source > "sources" }
                printf "%.0f %.0f %.0f %s\n", offset, n, position, path > ("pieces." f[1] "." (f[2] + 0))
                offset += n; position += n; left -= n; rest -= n
            }
        }
        return lost
    }
    FILENAME ~ /damaged$/ { bad[$0] = 1; next }
    {
        parse(); entries++
        path = single(value["path"]); type = value["type"]; target = single(value["target"]); name = plain(path)
        size = value["size"] + 0 ? value["size"] : 0; sub(/[^0-9].*/, "", size)
        split(place["home", 1], home, ","); id = home[1]; volume = home[2] + 0; archive = id " " volume
        if (id !~ /^[0-9]+-[0-9]+(-[0-9]+)?$/ || ("/" name "/") ~ /\/(\.\.?)?\// || (type == "hardlink" && ("/" plain(target) "/") ~ /\/(\.\.?)?\//)) {
            print "not a path or place to restore: " path > "notes"; next
        }
        letter = type == "symlink" ? "l" : type == "hardlink" ? "?" : type == "fifo" ? "p" : substr(type, 1, 1)
        print letter, size, path "\t" name > "expected"
        if ("unsettled" in value) print "was not read cleanly when the backup was made: " path > "notes"
        if (type == "hardlink") { print target > "links"; print path > "links"; next }
        lost = damaged(id, volume); metadata = value["mode"] " " value["mtime"] " " (value["uid"] + 0) ":" (value["gid"] + 0)
        # A path that the system or the locale cannot take goes its own way; folders too where names may be mixed up.
        if (length(name) > limit || (utf8 == "" && (type == "dir" || (path target) ~ /[^ -~]|\\[23]/))) {
            odd = 1; split(place["content", 1], f, ",")
            if (!((archive, 1) in seen)) { seen[archive, 1] = 1; print archive > "odd" }
            printf "%.0f %.0f\n%s\n%s\n", home[3], f[3] + f[4], path, target > ("odd." id "." volume)
        } else {
            odd = 0
            if (!(archive in seen)) { seen[archive] = 1; print archive > "archives" }
            member = (substr(path, 1, 4) == "\\055" ? "./" : "") path
            print member > ("members." id "." volume)
        }
        if (type == "dir" && (odd || lost)) print metadata, path > "folders"
        else if (type == "dir") print member > ("dirs." id "." volume)
        if ("pieces" in count) { print size, metadata, path > "stubs"; if (pieces(path, size)) lost = 1 }
        if (type == "file" && lost) {
            gsub(/\],\[/, " ", value["regions"]); gsub(/[][]/, "", value["regions"]); sub(/,$|}$/, "", value["regions"])
            print value["sha256"], metadata, path > "digests"; print value["regions"] > "digests"
        }
    }
    END { print entries + 0 > "count" }' "$work/damaged" "$work/inventory") || fail "the inventory of $component cannot be read"
}

# Extracts one member of $work/stream by its place and under its own name, whatever the locale and the length of its
# path. A member is a pax header with records, if it needs any, a header, and content up to $2.
place() {
    at=$1
    case $(tail -c "+$((at + 157))" "$work/stream" | head -c 1) in
    x) at=$((at + 512 + (0$(tail -c "+$((at + 125))" "$work/stream" | head -c 11) + 511) / 512 * 512)) ;;
    esac
    end=$((at + 512))
    [ "$2" -eq 0 ] || end=$((($2 + 511) / 512 * 512))
    (
        go "$3" || exit 1
        quoted=$(printf '%s.' "$base" | sed 's/[\\&,]/\\&/g')
        text=$(printf '%s.' "$4" | sed 's/[\\&,]/\\&/g')
        utf8=C
        tail -c "+$(($1 + 1))" "$work/stream" | head -c "$((end - $1))" |
            untar --transform="s,.*,${quoted%.},SH" --transform="s,.*,${text%.},RHs" || exit 1
        [ "$user" -eq 0 ] || [ -L "$base" ] || [ ! -d "$base" ] || chmod u+rwx "$base"
    )
}

# The stored bytes of a file: its regions, or all of it.
stored() {
    [ -n "$2" ] || cat "$1"
    for region in $2; do tail -c "+$((${region%,*} + 1))" "$1" | head -c "${region#*,}"; done
}

# Compares what is there with the inventory: with "types", prints paths of another type, else a line for each difference.
compare() {
    find "$target" -mindepth 1 -printf '%y %s %P\0' | sed -z 's/\\/\\\\/g; s/\n/\\n/g' | tr '\0' '\n' | awk -v types="$1" '
    function cut() { letter = substr($0, 1, 1); rest = substr($0, 3); size = rest; sub(/ .*/, "", size); rest = substr(rest, length(size) + 2) }
    { cut() }
    state == "found" { have[rest] = letter " " size; next }
    {
        at = index(rest, "\t"); path = substr(rest, 1, at - 1); name = substr(rest, at + 1)
        found = have[name]; delete have[name]
        if (found == "") { if (!types) print "not restored: " path }
        else if (letter == "?") next
        else if (types) { if (substr(found, 1, 1) != letter) print path }
        else if (found != letter " " size && (letter == "f" || substr(found, 1, 1) != letter)) print "has another type or size: " path
    }
    END { if (!types) for (name in have) print "is not of this backup: " name }' state=found - state=expected "$lists/expected"
}

restore_component() {
    target=$out/$component
    mkdir -p "$target"
    [ -z "$(ls -A "$target")" ] || fail "$target is not empty"
    lists=$work/lists
    rm -rf "$lists"
    if ! read_inventory; then
        say "$component is not restored: its index is damaged"
        return
    fi
    make_lists

    # What is damaged comes last, and what it puts where something else belongs is taken away at once.
    for turn in good damaged; do
        while read -r backup volume; do
            if is_damaged "$backup" "$(archive_name "$backup" "$volume")"; then kind=damaged; else kind=good; fi
            [ "$kind" = "$turn" ] || continue
            extract "$backup" "$volume" "$lists/members.$backup.$volume"
            # A folder that its owner may not write to would keep out what later archives bring.
            [ "$user" -eq 0 ] || find "$target" -type d ! -perm -700 -exec chmod u+rwx {} +
            [ "$kind" = damaged ] || continue
            compare types >"$lists/wrong"
            while read -r path; do unescape "$path"; (go "$name" && rm -rf "$base") || :; done <"$lists/wrong"
        done <"$lists/archives"
    done
    while read -r backup volume; do
        ! is_damaged "$backup" "$(archive_name "$backup" "$volume")" || continue
        load "$backup" "$volume"
        while read -r offset end && read -r path && read -r text; do
            unescape "$text"; text=$name
            unescape "$path"
            place "$offset" "$end" "$name" "$text" || problem "tar could not extract $path"
        done <"$lists/odd.$backup.$volume"
    done <"$lists/odd"

    # 4. Files in pieces: their members gave the metadata, now comes the content.
    while read -r size mode mtime ids path; do
        unescape "$path"
        (go "$name" && : >>"$base" && chmod u+rw "$base" && truncate -s 0 "$base" && truncate -s "$size" "$base") || problem "cannot write $path"
    done <"$lists/stubs"
    while read -r backup volume; do
        load "$backup" "$volume"
        while read -r offset length position path; do
            unescape "$path"
            (go "$name" && tail -c "+$((offset + 1))" "$work/stream" | head -c "$length" |
                dd of="$base" bs=1M iflag=fullblock oflag=seek_bytes seek="$position" conv=notrunc status=none) || problem "cannot write $path"
        done <"$lists/pieces.$backup.$volume"
    done <"$lists/sources"
    while read -r size mode mtime ids path; do
        unescape "$path"
        (go "$name" && dress "$mode" "$mtime" "$ids") || problem "cannot set the metadata of $path"
    done <"$lists/stubs"
    while read -r digest mode mtime ids path && read -r regions; do
        unescape "$path"
        (go "$name" && [ -f "$base" ] && [ "$(stored "$base" "$regions" | sha256sum)" = "$digest  -" ] && dress "$mode" "$mtime" "$ids") ||
            (go "$name" && rm -rf "$base") || :
    done <"$lists/digests"

    # 5. Further names of files. One whose first name was not restored is missed below.
    link=$out/.restore-$ID
    while read -r first && read -r path; do
        unescape "$first"; first=$name
        unescape "$path"
        (go "$first" && ln -P "$base" "$link" && go "$name" && mv "$link" "$base") 2>/dev/null || rm -f "$link"
    done <"$lists/links"

    # 6. Is everything there? Two names that became one would show here.
    compare '' >>"$lists/notes"
    [ ! -s "$lists/notes" ] || [ "$status" -ne 0 ] || status=3
    sed "s|^|restore.sh: $component: |" "$lists/notes" >&2

    # 7. Folders last, the deepest first: everything above has touched their times.
    tac "$lists/folders" >"$lists/wrong"
    while read -r mode mtime ids path; do
        unescape "$path"
        (go "$name" && dress "$mode" "$mtime" "$ids") || problem "cannot set the metadata of $path"
    done <"$lists/wrong"
    while read -r backup volume; do
        [ ! -e "$lists/dirs.$backup.$volume" ] || extract "$backup" "$volume" "$lists/dirs.$backup.$volume"
    done <"$lists/archives"
    entries=$(cat "$lists/count")
    echo "restored $component: $((entries - $(grep -c '^not' "$lists/notes"))) of $((entries + lost)) entries"
}

for component in ${only:-$COMPONENTS}; do
    restore_component
done
exit "$status"
