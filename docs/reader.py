#!/usr/bin/env python3
"""A second reader of repositories, written from FORMAT.md alone; numbers in brackets are its sections.

  reader.py check REPO [ID|--all] [--deep]   damage and what is missing; without --deep no key is needed
  reader.py ls REPO ID                       the inventory, one escaped path a line
  reader.py restore REPO ID -o OUT           everything into OUT/<component>/…; OUT must be new or empty

Options: -i FILE (identity or AES key), -s KEY|FILE (trusted signer), both may be repeated; --allow-unsigned; --json.
ID may be `latest`. Needs Python 3.11, the package `cryptography`, and the program `zstd` (if frames are to be opened).
Exit status: 0 clean, 1 newer-format, no-key, wrong-key or failed, 2 usage, 3 restored with problems, 4 damage,
5 unsigned or wrong-signer. It is written to be read and to check the other reader, not to be fast.
"""
import argparse, base64, bisect, calendar, collections, hashlib, hmac, itertools, json, os, re, stat, struct, subprocess
import sys, tempfile

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ed25519, padding, rsa, x25519
from cryptography.hazmat.primitives.ciphers.aead import AESGCM, ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_ssh_private_key

# [12] Limits
MAX_PATH, MAX_NAME, MAX_TARGET, MAX_XATTR = 32768, 255, 4096, 1 << 20
MAX_SIZE, MAX_PAX, MAX_LONG_NAME, MAX_REGIONS = 1 << 60, 8 << 20, 65536, 1_000_000
MAX_FRAME, MAX_STORED, MAX_FRAMES, MAX_WINDOW = 64 << 20, 67372032, 1 << 27, 1 << 27
MAX_TABLE, MAX_PROBLEMS, MAX_SMALL, MAX_SIGNATURE = 512 << 20, 512 << 20, 16 << 20, 65536
MAX_AGE_HEADER, MAX_AGE_LINES, MAX_KEY_FILE, MAX_DEPTH = 262144, 4096, 1 << 20, 127
U32, U64 = (1 << 32) - 1, (1 << 64) - 1

class Bad(Exception):
    """Damage [1]: bytes are not what was signed, or contradict the format."""

class Stop(Exception):
    """What is no damage and ends the work: newer-format, no-key, wrong-key, unsigned, wrong-signer, failed."""

    def __init__(self, kind, text):
        super().__init__(text)
        self.kind = kind

def need(holds, text):
    if not holds:
        raise Bad(text)

def sha256(data):
    return hashlib.sha256(data).hexdigest()

class Report:
    """Findings and notes in the order in which they were found."""

    def __init__(self):
        self.findings, self.notes, self.problems = [], [], []

    def add(self, kind, backup, component, path, detail):
        item = dict(kind=kind, backup=backup, component=component, path=path, detail=str(detail))
        if item not in self.findings:
            self.findings.append(item)

    def add_error(self, error, kind, backup, component, path):
        self.add(error.kind if isinstance(error, Stop) else kind, backup, component, path, error)

    def exit_code(self):
        kinds = {finding["kind"] for finding in self.findings}
        if kinds - {"unsigned", "wrong-signer", "newer-format", "no-key", "wrong-key", "failed"}:
            return 4
        if kinds & {"unsigned", "wrong-signer"}:
            return 5
        return 1 if kinds else 3 if self.problems else 0

# ---- [6] Paths and escapes

# Invalid UTF-8 appears here as surrogates, one for each byte.
ESCAPED = re.compile(
    '[\0-\x1f"\\\\\x7f-\xa0\xad\u0600-\u0605\u061c\u1680\u180e\u2000-\u200f\u2028-\u202f\u205f-\u206f\u3000'
    '\udc80-\udcff\ue000-\uf8ff\ufeff\ufff9-\ufffb\U000e0000-\U0010ffff]|^[ -]| \\Z')

def escape(data):
    def one(match):
        char = match[0]
        if char in "\\\n":
            return "\\\\" if char == "\\" else "\\n"
        return "".join("\\%03o" % byte for byte in char.encode("utf-8", "surrogateescape"))
    return ESCAPED.sub(one, data.decode("utf-8", "surrogateescape"))

def unescape(text):
    def one(match):
        code = match[1]
        need(code, f"{text!r} has an escape that is none")
        return b"\\" if code == b"\\" else b"\n" if code == b"n" else bytes([int(code, 8)])
    data = re.sub(rb"\\(\\|n|[0-3][0-7]{2})?", one, text.encode())
    need(escape(data) == text, f"{text!r} is not in the one form that escapes have, {escape(data)!r}")
    return data

def check_path(path):
    names = path.split(b"/")
    need(len(path) <= MAX_PATH and b"\0" not in path, "a path is too long, or has a NUL in it")
    need(all(0 < len(name) <= MAX_NAME and name not in (b".", b"..") for name in names),
         f"{escape(path)} is no path below a folder")
    return path

def tree_key(path):
    return path.replace(b"/", b"\0")

# ---- [4] JSON documents

class Odd:
    """A number that is no plain integer; good for nothing but keys that nobody knows."""

def no_twins(pairs):
    value = dict(pairs)
    need(len(value) == len(pairs), f"a key comes twice among {[key for key, _ in pairs]}")
    return value

def depth_of(value):
    deepest, work = 0, [(value, 1)]
    while work:
        item, depth = work.pop()
        if isinstance(item, (dict, list)):
            deepest = max(deepest, depth)
            work += [(inner, depth + 1) for inner in (item.values() if isinstance(item, dict) else item)]
    return deepest

def document(data, name):
    """The JSON object in a file, after a look at its format and version [2]."""
    def number(text):
        return int(text) if re.fullmatch("[0-9]{1,20}", text) else Odd()

    def constant(text):
        raise Bad(f"{name}: {text} is no JSON")
    try:
        text = data.decode()
        probe = json.loads(text, parse_int=number, parse_float=number, parse_constant=constant)
        need(depth_of(probe) <= MAX_DEPTH, f"{name} is nested too deeply")
        json.dumps(probe, ensure_ascii=False, default=str).encode()  # fails on half a surrogate pair
        need(isinstance(probe, dict) and probe.get("format") == "ccbackup", f"{name} is of another format")
        version = probe.get("version")
        need(type(version) is int and 1 <= version <= U32, f"{name} does not say its version")
        if version > 1:
            raise Stop("newer-format", f"{name} has version {version} of the format, this reader knows 1")
        return json.loads(text, parse_int=number, parse_float=number, object_pairs_hook=no_twins)
    except (ValueError, RecursionError) as error:
        raise Bad(f"{name} is no JSON: {error}") from None

def text_of(value):
    return isinstance(value, str)

def integer(high, low=0):
    return lambda value: type(value) is int and low <= value <= high

def matching(pattern):
    return lambda value: isinstance(value, str) and re.fullmatch(pattern, value) is not None

def list_of(check):
    return lambda value: isinstance(value, list) and all(map(check, value))

def ascending(values):
    return all(a < b for a, b in itertools.pairwise(values))

def time_of(value):
    if not matching(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")(value):
        return False
    year, month, day, hour, minute, second = map(int, re.findall("[0-9]+", value))
    return (year >= 1970 and 1 <= month <= 12 and 1 <= day <= calendar.monthrange(year, month)[1]
            and hour < 24 and minute < 60 and second < 60)

ID = r"[0-9]{8}-[0-9]{6}(-([2-9]|[1-9][0-9]{1,8}))?"
is_id, is_digest, is_size = matching(ID), matching("[0-9a-f]{64}"), integer(MAX_SIZE)

def shape(what, keys, optional=()):
    """A check for an object: all keys of `keys` and of `optional` are as they must be, others are passed over."""
    def check(value):
        need(isinstance(value, dict), f"{what} is no object")
        for key, test in keys.items():
            need(key in value or key in optional, f"{what} has no {key}")
            need(key not in value or test(value[key]), f"{what}: {key} is not as it must be")
        return True
    return check

def sealing(value):
    need(isinstance(value, dict), "sealing is no object")
    keys = {"age": {"cipher", "recipients"}, "aes-256-gcm": {"cipher", "key_id"}, "none": {"cipher"}}
    cipher = value.get("cipher")
    need(isinstance(cipher, str) and keys.get(cipher) == set(value), "sealing has keys or a cipher that nobody knows")
    if cipher == "age":
        names = value["recipients"]
        need(list_of(text_of)(names) and names and ascending([n.encode() for n in names]), "sealing: recipients")
    if cipher == "aes-256-gcm":
        need(matching("[0-9a-f]{16}")(value["key_id"]), "sealing: key_id")
    return True

dependency = shape("a dependency", {"id": is_id, "sums_sha256": is_digest})
archive = shape("an archive", {"name": text_of, "volume": integer(U32), "size_bytes": is_size, "sha256": is_digest,
                               "tar_bytes": is_size, "frames": integer(MAX_FRAMES)})
index_table = shape("a table", {"offset": is_size, "bytes": integer(MAX_TABLE), "sha256": is_digest})
index_file = shape("an index", {"name": text_of, "size_bytes": is_size, "sha256": is_digest, "segments": is_size,
                                "own_segments": is_size, "table": index_table}, {"table"})
problem_count = shape("a problem", {"kind": text_of, "count": integer(MAX_SIZE, 1)})
def table_of(check):
    """At most 1 000 values by names, and nothing longer than 4 096 bytes."""
    return lambda v: isinstance(v, dict) and len(v) <= 1000 and all(fact_of(k) and check(x) for k, x in v.items())

def fact_of(value):
    return text_of(value) and len(value.encode()) <= 4096

source_of = shape("a source", {"version": fact_of, "counts": table_of(is_size), "facts": table_of(fact_of)},
                  {"version", "counts", "facts"})
failed_of = shape("a failed component", {
    "name": matching("[a-z0-9][a-z0-9_-]{0,63}"), "kind": fact_of, "reason": fact_of, "detail": fact_of,
    "last_good": dependency}, {"last_good"})
point_of = shape("a recovery point", {"skew_seconds": is_size, "verdict": text_of})
component_of = shape("a component", {
    "name": matching("[a-z0-9][a-z0-9_-]{0,63}"), "kind": text_of, "captured_from": time_of,
    "captured_until": time_of, "entries": is_size, "new_entries": is_size, "content_bytes": is_size,
    "bytes_read": is_size, "bytes_stored": is_size, "archives": list_of(archive), "index": index_file,
    "problems": list_of(problem_count), "left_out": is_size, "source": source_of}, {"left_out", "source"})
manifest_of = shape("manifest.json", {
    "id": is_id, "sequence": integer(MAX_SIZE, 1), "created_at": time_of, "finished_at": time_of,
    "kind": lambda v: v in ("full", "incremental"), "parent": lambda v: v is None or dependency(v),
    "depends_on": list_of(dependency), "repository_id": matching("[0-9a-f]{32}"), "repository_sha256": is_digest,
    "host": text_of, "host_id": text_of, "tool": text_of, "sealing": sealing, "chunking": text_of,
    "tags": lambda v: isinstance(v, dict) and all(text_of(k) and text_of(x) for k, x in v.items()),
    "components": list_of(component_of), "failed": list_of(failed_of), "recovery_point": point_of},
    {"tags", "failed", "recovery_point"})
EXTENSION = {"age": ".age", "aes-256-gcm": ".aes", "none": ""}

def archive_name(component, volume, extension):
    return f"{component}.{volume}.tar.zst{extension}" if volume else f"{component}.tar.zst{extension}"

def parse_manifest(data):
    m = document(data, "manifest.json")
    manifest_of(m)
    ids = [d["id"] for d in m["depends_on"]]
    need(ascending(ids), "depends_on is not sorted")
    need(m["id"] not in ids and (not m["parent"] or m["parent"]["id"] != m["id"]), "it depends on itself")
    need(m["kind"] != "full" or not ids, "a full backup depends on others")
    names = [c["name"] for c in m["components"] + m.get("failed", [])]
    need(len(set(names)) == len(names), "two components have one name")
    extension = EXTENSION[m["sealing"]["cipher"]]
    for c in m["components"]:
        need(c["index"]["name"] == f"{c['name']}.index.zst{extension}", f"{c['name']}: name of the index")
        for number, a in enumerate(c["archives"]):
            need(a["volume"] == number, f"{c['name']}: volumes are not numbered 0, 1, 2, …")
            need(a["name"] == archive_name(c["name"], number, extension), f"{c['name']}: name of an archive")
        need(ascending([p["kind"].encode() for p in c["problems"]]), f"{c['name']}: problems are not sorted")
    return m

# ---- Files of a repository

def open_regular(path):
    """A regular file; links, pipes and devices that somebody planted are not opened."""
    try:
        number = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise Bad(f"it cannot be opened: {error.strerror}") from None
    file = os.fdopen(number, "rb")
    if not stat.S_ISREG(os.fstat(number).st_mode):
        file.close()
        raise Bad("it is no regular file")
    return file

def read_small(path, limit=MAX_SMALL):
    with open_regular(path) as file:
        data = file.read(limit + 1)
    need(len(data) <= limit, f"{os.path.basename(path)} is longer than {limit} bytes")
    return data

def digest_of_file(path):
    with open_regular(path) as file:
        return hashlib.file_digest(file, "sha256").hexdigest(), os.fstat(file.fileno()).st_size

def parse_sums(data):
    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise Bad("SHA256SUMS is not ASCII") from None
    need(re.fullmatch(r"([0-9a-f]{64}  [A-Za-z0-9_-][A-Za-z0-9._-]*\n)+", text), "SHA256SUMS has a line that is none")
    names = [line[66:] for line in text.split("\n")[:-1]]
    need(ascending(names), "SHA256SUMS is not sorted")
    need(not {"SHA256SUMS", "SHA256SUMS.sig"} & set(names), "SHA256SUMS names itself or its signature")
    return {line[66:]: line[:64] for line in text.split("\n")[:-1]}

# ---- [10] Signature

def ssh_string(data):
    return struct.pack(">I", len(data)) + data

SSH_KEY = ssh_string(b"ssh-ed25519") + struct.pack(">I", 32)
SIG_HEAD = b"SSHSIG" + struct.pack(">II", 1, 51) + SSH_KEY
SIG_TAIL = (ssh_string(b"ccbackup") + ssh_string(b"") + ssh_string(b"sha512")
            + struct.pack(">I", 83) + ssh_string(b"ssh-ed25519") + struct.pack(">I", 64))

def armor(blob):
    text = base64.b64encode(blob).decode()
    lines = [text[at:at + 70] for at in range(0, len(text), 70)]
    return "\n".join(["-----BEGIN SSH SIGNATURE-----", *lines, "-----END SSH SIGNATURE-----", ""]).encode()

def signer_of(signature, message):
    """The public key whose signature this is. There is one canonical form, so it is built again and compared."""
    body = b"".join(signature.split(b"\n")[1:-2])
    try:
        blob = base64.b64decode(body, validate=True)
    except ValueError:
        blob = b""
    key, seal = blob[len(SIG_HEAD):len(SIG_HEAD) + 32], blob[-64:]
    need(len(key) == 32 and signature == armor(SIG_HEAD + key + SIG_TAIL + seal), "the signature has another form")
    signed = b"SSHSIG" + b"".join(map(ssh_string, (b"ccbackup", b"", b"sha512", hashlib.sha512(message).digest())))
    try:
        ed25519.Ed25519PublicKey.from_public_bytes(key).verify(seal, signed)
    except (InvalidSignature, ValueError):
        raise Bad("the signature does not fit SHA256SUMS") from None
    return key

def signers_in(text):
    keys = set()
    for word in re.findall(r"ssh-ed25519 ([A-Za-z0-9+/]{68})(?![A-Za-z0-9+/=])", text):
        blob = base64.b64decode(word)
        if blob.startswith(SSH_KEY):
            keys.add(blob[len(SSH_KEY):])
    return keys

# ---- Keys

BECH32 = "qpzry9x8gf2tvdw0s3jn54khce6mua7l"

def bech32(text):
    """The 32 bytes of AGE-SECRET-KEY-1… (BIP 173)."""
    low = text.lower()
    prefix, _, rest = low.rpartition("1")
    need(text in (low, text.upper()) and prefix == "age-secret-key-" and set(rest) <= set(BECH32), "no age identity")
    values = [BECH32.index(char) for char in rest]
    check = 1
    for value in [ord(c) >> 5 for c in prefix] + [0] + [ord(c) & 31 for c in prefix] + values:
        top, check = check >> 25, (check & 0x1FFFFFF) << 5 ^ value
        for bit, part in enumerate((0x3B6A57B2, 0x26508E6D, 0x1EA119FA, 0x3D4233DD, 0x2A1462B3)):
            check ^= part if top >> bit & 1 else 0
    need(check == 1 and len(values) == 58, "the age identity has a typing error")
    number = 0
    for value in values[:-6]:
        number = number << 5 | value
    need(number & 15 == 0, "the age identity has a typing error")
    return (number >> 4).to_bytes(32, "big")

class Keys:
    def __init__(self, files):
        self.x25519, self.ssh, self.aes, self.signers = [], [], [], set()
        for name in files:
            data = read_small(name, MAX_KEY_FILE)
            if len(data) == 32:
                self.aes.append(data)
                continue
            text = data.decode("utf-8", "replace")
            if text.startswith("-----BEGIN OPENSSH PRIVATE KEY-----"):
                self.ssh.append(load_ssh_private_key(data, None))
                continue
            for line in text.split("\n"):
                if line.strip().upper().startswith("AGE-SECRET-KEY-1"):
                    self.x25519.append(bech32(line.strip()))
                if line.startswith("# ccbackup-signer:"):
                    self.signers |= signers_in(line)

# ---- [8] Sealing

def hkdf(key, salt, info):
    return HKDF(hashes.SHA256(), 32, salt, info).derive(key)

def age_base64(text, length=None):
    """Standard alphabet, no padding, canonical."""
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        raise Bad("the age header has bad base64") from None
    need(base64.b64encode(data).decode().rstrip("=") == text, "the age header has base64 that is not canonical")
    need(length in (None, len(data)), "the age header has a value of another length")
    return data

def age_header(file):
    """Stanzas, signed text, MAC and length of a header."""
    data = file.read(MAX_AGE_HEADER)
    need(data.startswith(b"age-encryption.org/v1\n"), "it is no age file of version 1")
    end = re.search(rb"\n--- [^\n]*\n", data)
    need(end and data.count(b"\n", 0, end.end()) <= MAX_AGE_LINES, "its age header has no end, or is too long")
    try:
        lines = data[:end.end() - 1].decode("ascii").split("\n")[1:]
    except UnicodeDecodeError:
        raise Bad("its age header is not ASCII") from None
    mac, stanzas, at = age_base64(lines.pop()[4:], 32), [], 0
    while at < len(lines):
        words = lines[at].split(" ")
        need(words[0] == "->" and len(words) > 1 and all(re.fullmatch("[!-~]+", word) for word in words),
             "its age header has a line that is none")
        at, body = at + 1, ""
        while True:
            need(at < len(lines) and len(lines[at]) <= 64, "its age header has a stanza without an end")
            body += lines[at]
            at += 1
            if len(lines[at - 1]) < 64:
                break
        stanzas.append((words[1], words[2:], age_base64(body)))
    need(stanzas, "its age header has no stanza")
    return stanzas, data[:end.start() + 4], mac, end.end()

def unwrap(key, body):
    try:
        return ChaCha20Poly1305(key).decrypt(bytes(12), body, None)
    except InvalidTag:
        return None

def exchange(secret, public):
    try:
        return x25519.X25519PrivateKey.from_private_bytes(secret).exchange(
            x25519.X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise Bad("its age header has a share of low order") from None

def public_x25519(secret):
    return x25519.X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()

def age_file_key(stanzas, keys):
    for kind, words, body in stanzas:
        info = b"age-encryption.org/v1/" + kind.encode()
        if kind == "X25519":
            need(len(words) == 1 and len(body) == 32, "its age header has a bad X25519 stanza")
            share = age_base64(words[0], 32)
            for secret in keys.x25519:
                yield unwrap(hkdf(exchange(secret, share), share + public_x25519(secret), info), body)
        for key in keys.ssh:
            wire = base64.b64decode(key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH).split()[1])
            if not words or words[0] != base64.b64encode(hashlib.sha256(wire).digest()[:4]).decode().rstrip("="):
                continue
            if kind == "ssh-ed25519" and isinstance(key, ed25519.Ed25519PrivateKey):
                need(len(words) == 2 and len(body) == 32, "its age header has a bad ssh-ed25519 stanza")
                share, secret = age_base64(words[1], 32), hashlib.sha512(key.private_bytes_raw()).digest()[:32]
                shared = exchange(hkdf(b"", wire, info), exchange(secret, share))
                yield unwrap(hkdf(shared, share + public_x25519(secret), info), body)
            if kind == "ssh-rsa" and isinstance(key, rsa.RSAPrivateKey):
                try:
                    yield key.decrypt(body, padding.OAEP(padding.MGF1(hashes.SHA256()), hashes.SHA256(), info))
                except ValueError:
                    yield None

class WrongKey(Exception):
    pass

class Sealed:
    """The clear bytes of a sealed file at any offset."""
    CHUNK, TAG = 65536, 16

    def __init__(self, file, extension, keys):
        self.file, self.cached = file, (None, b"")
        total = os.fstat(file.fileno()).st_size
        self.cipher, self.start = {".age": self.open_age, ".aes": self.open_aes, "": lambda _: (None, 0)}[extension](keys)
        if not self.cipher:
            self.length = total
            return
        size = total - self.start
        self.chunks = -(-size // (self.CHUNK + self.TAG))
        self.length = size - self.chunks * self.TAG
        need(self.chunks and self.length >= (self.chunks - 1) * self.CHUNK, "it was cut")
        need(self.chunks == 1 or self.length > (self.chunks - 1) * self.CHUNK, "its last chunk is empty")

    def open_age(self, keys):
        stanzas, signed, mac, end = age_header(self.file)
        if not keys.x25519 and not keys.ssh:
            raise Stop("no-key", "it is sealed with age, and no identity was given")
        file_key = next((key for key in age_file_key(stanzas, keys) if key), None)
        if file_key is None:
            raise WrongKey("no stanza of its age header opens with the identities given")
        expected = hmac.new(hkdf(file_key, None, b"header"), signed, "sha256").digest()
        need(len(file_key) == 16 and hmac.compare_digest(mac, expected), "the MAC of its age header does not hold")
        self.file.seek(end)
        nonce = self.file.read(16)
        need(len(nonce) == 16, "it was cut")
        return ChaCha20Poly1305(hkdf(file_key, nonce, b"payload")), end + 16

    def open_aes(self, keys):
        line, salt = self.file.read(41), self.file.read(32)
        found = re.fullmatch(rb"ccbackup-aes-256-gcm v1 ([0-9a-f]{16})\n", line)
        need(found and len(salt) == 32, "its header is not that of aes-256-gcm")
        if not keys.aes:
            raise Stop("no-key", "it is sealed with aes-256-gcm, and no key was given")
        for key in keys.aes:
            if sha256(b"ccbackup aes key id\0" + key)[:16].encode() == found[1]:
                return AESGCM(hkdf(key, salt, b"ccbackup payload")), 73
        raise WrongKey(f"it is sealed with the key {found[1].decode()}")

    def stored(self, offset, length):
        try:
            return os.pread(self.file.fileno(), length, offset)
        except OSError as error:
            raise Bad(f"it cannot be read: {error.strerror}") from None

    def chunk(self, number):
        if self.cached[0] != number:
            data = self.stored(self.start + number * (self.CHUNK + self.TAG), self.CHUNK + self.TAG)
            nonce = number.to_bytes(11, "big") + bytes([number == self.chunks - 1])
            try:
                self.cached = number, self.cipher.decrypt(nonce, data, None)
            except InvalidTag:
                raise Bad(f"its chunk {number} does not open") from None
        return self.cached[1]

    def read(self, offset, length):
        need(0 <= offset <= offset + length <= self.length, "it is shorter than it should be")
        if not self.cipher:
            return self.stored(offset, length)
        first, last = offset // self.CHUNK, -(-(offset + length) // self.CHUNK)
        joined = b"".join(self.chunk(number) for number in range(first, last))
        return joined[offset - first * self.CHUNK:][:length]

# ---- [9] Frames

def frame_header(data):
    """Length of the header and of the content of a zstd frame."""
    need(data[:4] == b"\x28\xb5\x2f\xfd" and len(data) >= 6, "a frame is no zstd frame")
    flags = data[4]
    single, size_flag = flags >> 5 & 1, flags >> 6
    need(not flags & 8 and not flags & 3, "a frame has a reserved bit, or needs a dictionary")
    need(flags & 4, "a frame has no checksum")
    need(single or size_flag, "a frame does not say its content size")
    at, width = 5 + (not single), 1 << size_flag
    need(len(data) >= at + width, "a frame was cut")
    content = int.from_bytes(data[at:at + width], "little") + (256 if width == 2 else 0)
    base = 1 << 10 + (data[5] >> 3)
    need((content if single else base + base // 8 * (data[5] & 7)) <= MAX_WINDOW, "a frame needs a larger window")
    need(content <= MAX_FRAME, "a frame holds too much")
    return at + width, content

def frame_length(data):
    """Stored length of the frame at the beginning of `data`, by its block headers."""
    at, last = frame_header(data)[0], False
    while not last:
        need(len(data) >= at + 3, "a frame was cut")
        block = int.from_bytes(data[at:at + 3], "little")
        last, kind, size = block & 1, block >> 1 & 3, block >> 3
        need(kind != 3, "a frame has a reserved block")
        at += 3 + (1 if kind == 1 else size)
    return at + 4

def decode(data, length):
    need(frame_header(data)[1] == length, "a frame has another content size than its seek table says")
    need(frame_length(data) == len(data), "a frame does not end where its seek table says")
    with tempfile.TemporaryFile() as source:
        source.write(data)
        source.seek(0)
        with subprocess.Popen(["zstd", "-dcq"], stdin=source, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
            content = child.stdout.read(length + 1)
            child.stdout.close()
    need(child.returncode == 0 and len(content) == length, "a frame does not decompress")
    return content

class Frames:
    """An archive or index file as the stream that it holds."""

    def __init__(self, sealed, salvage=False):
        self.sealed, self.cache = sealed, collections.OrderedDict()
        self.frames = self.salvaged(sealed) if salvage else self.seek_table(sealed)
        self.stored = [0, *itertools.accumulate(stored for stored, _ in self.frames)]
        self.starts = [0, *itertools.accumulate(content for _, content in self.frames)]
        self.length = self.starts[-1]

    @staticmethod
    def seek_table(sealed):
        total = sealed.length
        need(total >= 17, "it is too short for a seek table")
        count, descriptor, magic = struct.unpack("<IBI", sealed.read(total - 9, 9))
        size = 17 + 8 * count
        need(magic == 0x8F92EAB1 and descriptor == 0 and count <= MAX_FRAMES and size <= total, "its seek table is bad")
        table = sealed.read(total - size, size)
        need(struct.unpack("<II", table[:8]) == (0x184D2A5E, size - 8), "its seek table is bad")
        frames = list(struct.iter_unpack("<II", table[8:-9]))
        need(all(a <= MAX_STORED and b <= MAX_FRAME for a, b in frames), "its seek table has a frame too long")
        need(sum(a for a, _ in frames) == total - size, "its seek table does not add up")
        return frames

    @staticmethod
    def walk(sealed):
        """Frames one after the other from the front, up to what is none."""
        at = 0
        try:
            while True:
                size, content = frame_header(sealed.read(at, min(18, sealed.length - at)))
                end, last = at + size, False
                while not last:
                    block = int.from_bytes(sealed.read(end, 3), "little")
                    last, end = block & 1, end + 3 + (1 if block >> 1 & 3 == 1 else block >> 3)
                need(end + 4 <= sealed.length, "a frame was cut")
                yield end + 4 - at, content
                at = end + 4
        except Bad:
            return

    @classmethod
    def salvaged(cls, sealed):
        """What is left of a file that is known to be damaged."""
        found = list(cls.walk(sealed))
        try:
            table = cls.seek_table(sealed)
        except Bad:
            if not found:
                raise
            return found
        return table if sum(a for a, _ in found) < sum(a for a, _ in table) else found

    def frame(self, number):
        if number not in self.cache:
            stored, content = self.frames[number]
            self.cache[number] = decode(self.sealed.read(self.stored[number], stored), content)
            if len(self.cache) > 6:
                self.cache.popitem(last=False)
        self.cache.move_to_end(number)
        return self.cache[number]

    def parts(self, offset, length):
        """The bytes of a range, in parts that lie in one frame each."""
        need(0 <= offset <= offset + length <= self.length, f"it ends at {self.length}, before {offset + length}")
        number = bisect.bisect_right(self.starts, offset) - 1
        while length:
            begin = offset - self.starts[number]
            part = self.frame(number)[begin:begin + length]
            yield part
            offset, length, number = offset + len(part), length - len(part), number + 1

    def read(self, offset, length):
        return b"".join(self.parts(offset, length))

    def is_frame(self, offset, length):
        number = bisect.bisect_left(self.starts, offset)
        return number < len(self.frames) and (self.starts[number], self.frames[number][1]) == (offset, length)

# ---- [7] Lines of an index

TOKEN = re.compile(r'"((?:[^"\\\x00-\x1f]|\\\\)*+)"|(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)|(true|false|null)')
WORDS = {"true": True, "false": False, "null": None}

class Pairs(list):
    """An object, its keys in their order."""

def compact(text, at=0, depth=1):
    """A JSON value without white space at `at`, and where it ends. The only escape in a string is `\\\\`."""
    opening = text[at:at + 1]
    if opening not in ("{", "["):
        found = TOKEN.match(text, at)
        need(found, f"a line is no JSON at byte {at}")
        if found[1] is not None:
            return found[1].replace("\\\\", "\\"), found.end()
        if found[3]:
            return WORDS[found[3]], found.end()
        return (int(found[2]) if re.fullmatch("[0-9]{1,20}", found[2]) else Odd()), found.end()
    need(depth <= MAX_DEPTH, "a line is nested too deeply")
    values, seen, closing = (Pairs(), set(), "}") if opening == "{" else ([], None, "]")
    at += 1
    while text[at:at + 1] != closing:
        if values:
            need(text[at:at + 1] == ",", f"a line is no JSON at byte {at}")
            at += 1
        if seen is not None:
            key, at = compact(text, at, depth + 1)
            need(isinstance(key, str) and key not in seen and text[at:at + 1] == ":", f"a line has a bad key at byte {at}")
            seen.add(key)
            value, at = compact(text, at + 1, depth + 1)
            values.append((key, value))
        else:
            value, at = compact(text, at, depth + 1)
            values.append(value)
        need(values and text[at:at + 1] in (",", closing), f"a line is no JSON at byte {at}")
    return values, at + 1

def line_value(line):
    try:
        value, end = compact(line.decode())
    except UnicodeDecodeError:
        raise Bad("a line is not UTF-8") from None
    need(end == len(line.decode()) and isinstance(value, Pairs), "a line is no object")
    return value

def ordered(pairs, keys, what):
    """The known keys of an object, which come first and in the order of `keys`."""
    need(isinstance(pairs, Pairs), f"{what} is no object")
    names = [key for key, _ in pairs]
    known = [key for key in keys if key in names]
    need(names[:len(known)] == known, f"{what}: keys are not in order")
    return dict(pairs[:len(known)])

ENTRY_KEYS = ("path type mode uid gid user group mtime ctime inode home size sha256 content pieces regions chunks "
              "unsettled target device xattrs").split()
ALWAYS = {"path", "type", "mode", "uid", "gid", "mtime", "ctime", "inode", "home"}
TYPE_KEYS = {  # needed, possible
    "file": ({"size", "sha256"}, {"content", "pieces", "regions", "chunks", "unsettled", "xattrs"}),
    "dir": (set(), {"xattrs"}), "symlink": ({"target"}, {"xattrs"}), "hardlink": ({"target"}, {"xattrs"}),
    "fifo": (set(), {"xattrs"}), "char": ({"device"}, {"xattrs"}), "block": ({"device"}, {"xattrs"})}

def nanoseconds(text):
    found = matching(r"-?(0|[1-9][0-9]*)(\.[0-9]{0,8}[1-9])?")(text) and text != "-0"
    need(found and len(text) <= 32, f"{text!r} is no time")
    whole, _, part = text.lstrip("-").partition(".")
    value = int(whole) * 10**9 + int(part.ljust(9, "0") or 0)
    value = -value if text[0] == "-" else value
    need(-(1 << 63) <= value // 10**9 < 1 << 63, f"{text} is beyond the range of times")
    return value

def place(value, *checks):
    need(isinstance(value, list) and len(value) == len(checks) and all(c(v) for c, v in zip(checks, value)),
         "a list has other parts than it must have")
    return tuple(value)

def extent_list(value):
    need(isinstance(value, list), "extents are no list")
    return [place(v, is_id, integer(U32), is_size, is_size) for v in value]

class Entry:
    """One entry line."""

    def __init__(self, line):
        need(line.startswith(b'{"path":"'), "a line is no entry")
        v = ordered(line_value(line), ENTRY_KEYS, "an entry")
        need(ALWAYS <= set(v), f"an entry has no {min(ALWAYS - set(v), default='')}")
        need(all(isinstance(v[k], str) for k in ("path", "type", "mode", "mtime", "ctime")), "an entry has a bad value")
        self.path, self.type = check_path(unescape(v["path"])), v["type"]
        needed, possible = TYPE_KEYS.get(self.type, (None, None))
        need(needed is not None, f"{v['path']} has an unknown type")
        special = set(v) - ALWAYS - {"user", "group"}
        need(needed <= special <= needed | possible, f"{v['path']} lacks keys of its type, or has foreign ones")
        need(matching("[0-7]{4}")(v["mode"]), f"{v['path']} has a bad mode")
        need(all(integer(U32)(v[k]) for k in ("uid", "gid")) and integer(U64)(v["inode"]), f"{v['path']}: bad numbers")
        self.mode, self.uid, self.gid = int(v["mode"], 8), v["uid"], v["gid"]
        self.user, self.group = (self.owner(v, key) for key in ("user", "group"))
        self.mtime, self.mtime_text = nanoseconds(v["mtime"]), v["mtime"]
        nanoseconds(v["ctime"])
        self.home = place(v["home"], is_id, integer(U32), is_size)
        self.unsettled = v.get("unsettled", False)
        need("unsettled" not in v or self.unsettled is True, f"{v['path']}: unsettled is not true")
        self.size, self.xattrs = 0, self.attributes(v)
        if self.type == "file":
            self.content(v)
        if "target" in v:
            need(isinstance(v["target"], str), f"{v['path']} has a bad target")
            self.target = unescape(v["target"])
            need(0 < len(self.target) <= MAX_TARGET and b"\0" not in self.target or self.type == "hardlink",
                 f"{v['path']} has a bad target")
            if self.type == "hardlink":
                check_path(self.target)
        if "device" in v:
            self.device = place(v["device"], integer(4095), integer((1 << 20) - 1))

    @staticmethod
    def owner(v, key):
        if key not in v:
            return b""
        need(isinstance(v[key], str) and v[key], f"{v['path']}: empty {key}")
        name = unescape(v[key])
        try:
            name.decode()
        except UnicodeDecodeError:
            raise Bad(f"{v['path']}: {key} is not UTF-8") from None
        return name

    @staticmethod
    def attributes(v):
        found = v.get("xattrs", [])
        need(isinstance(found, list) and (found or "xattrs" not in v), f"{v['path']}: xattrs is empty")
        pairs = []
        for item in found:
            name, value = place(item, text_of, matching("[A-Za-z0-9+/]*={0,2}"))
            name = unescape(name)
            need(0 < len(name) <= MAX_NAME and b"\0" not in name, f"{v['path']}: bad name of an attribute")
            try:
                data = base64.b64decode(value, validate=True)
            except ValueError:
                raise Bad(f"{v['path']}: bad base64") from None
            need(base64.b64encode(data).decode() == value and len(data) <= MAX_XATTR, f"{v['path']}: bad attribute")
            pairs.append((name, data))
        need(ascending([name for name, _ in pairs]), f"{v['path']}: attributes are not sorted")
        return pairs

    def content(self, v):
        need(is_size(v["size"]) and is_digest(v["sha256"]), f"{v['path']}: bad size or digest")
        need(("content" in v) != ("pieces" in v), f"{v['path']} has no content, or two")
        self.size, self.sha256, self.whole = v["size"], v["sha256"], "content" in v
        self.extents = extent_list(v["content"] if self.whole else v["pieces"])
        need(len(self.extents) == 1 if self.whole else all(e[3] for e in self.extents), f"{v['path']}: bad extents")
        self.regions, self.sparse, stored = [(0, self.size)] if self.size else [], "regions" in v, self.size
        if self.sparse:
            regions = v["regions"]
            need(isinstance(regions, list) and len(regions) <= MAX_REGIONS and self.size, f"{v['path']}: bad regions")
            self.regions, end = [place(r, is_size, integer(MAX_SIZE, 1)) for r in regions], 0
            for offset, length in self.regions:
                need(end <= offset and offset + length <= self.size and offset % 512 == 0
                     and ((offset + length) % 512 == 0 or offset + length == self.size), f"{v['path']}: bad regions")
                end = offset + length
            stored = sum(length for _, length in self.regions)
        need(sum(e[3] for e in self.extents) == stored, f"{v['path']}: extents do not add up")
        self.chunks = []
        if "chunks" in v:
            need(isinstance(v["chunks"], list) and v["chunks"], f"{v['path']}: bad chunks")
            self.chunks = [place(c, integer(MAX_SIZE, 1), is_digest) for c in v["chunks"]]
            need(sum(length for length, _ in self.chunks) == stored, f"{v['path']}: chunks do not add up")

def single(line, key):
    """The value of a line that is an object with this key and no other."""
    pairs = line_value(line)
    need([name for name, _ in pairs] == [key], f"a line is no {key} line")
    return pairs[0][1]

Segment = collections.namedtuple("Segment", "backup offset length digest lines first")

def parse_segment(line):
    s = Segment(*place(single(line, "segment"), is_id, is_size, integer(MAX_FRAME, 1), is_digest, integer(MAX_FRAME, 1),
                       text_of))
    return s._replace(first=check_path(unescape(s.first)))

def parse_problem(line):
    v = ordered(single(line, "problem"), ["kind", "path", "detail"], "a problem")
    need(len(v) == 3 and all(isinstance(x, str) for x in v.values()), "a problem line lacks a key")
    unescape(v["path"])
    return v

def parse_end(line):
    v = ordered(single(line, "end"), ["table_offset", "segments", "entries"], "the end line")
    need(len(v) == 3 and all(map(is_size, v.values())), "the end line lacks a key")
    return v

def lines_of(data):
    need(data == b"" or data.endswith(b"\n"), "a line has no end")
    return data.split(b"\n")[:-1]

# ---- [5] Tar members, for the comparison with the index

def tar_number(field):
    if field[0] & 0x80:
        need(field[0] in (0x80, 0xFF), "a tar header has a bad number")
        return int.from_bytes(field[1:], "big", signed=field[0] == 0xFF)
    text = field.strip(b"\0 ")
    need(re.fullmatch(b"[0-7]*", text), "a tar header has a bad number")
    return int(text or b"0", 8)

def pax_records(data):
    records, at = {}, 0
    while at < len(data):
        found = re.compile(rb"([1-9][0-9]{0,9}) ").match(data, at)
        need(found, "a pax record has no length")
        end = at + int(found[1])
        need(found.end() < end <= len(data) and data[end - 1:end] == b"\n", "a pax record has a bad length")
        key, equals, value = data[found.end():end - 1].partition(b"=")
        need(equals and key and key not in records, "a pax record is bad or comes twice")
        records[key], at = value, end
    return records

class Member:
    """The member whose first header block is at `offset` of a tar stream."""

    def __init__(self, stream, offset):
        self.pax, names = None, {}
        while True:
            header = stream.read(offset, 512)
            need(tar_number(header[148:156]) == sum(header[:148]) + 256 + sum(header[156:]), "a tar header has a bad checksum")
            need(header[257:263] in (b"ustar\0", b"ustar "), "a tar header is no ustar header")
            kind, size = header[156:157], tar_number(header[124:136])
            offset += 512
            if kind not in (b"x", b"g", b"L", b"K"):
                break
            need(size <= (MAX_LONG_NAME if kind in b"LK" else MAX_PAX), "a tar header is too long")
            data = stream.read(offset, size)
            offset += -(-size // 512) * 512
            if kind == b"g":
                need(set(pax_records(data)) <= {b"comment"}, "a global pax header sets something")
            elif kind == b"x":
                need(self.pax is None, "a member has two pax headers")
                self.pax = pax_records(data)
            else:
                need(kind not in names, "a member has two long names")
                names[kind] = data.rstrip(b"\0")
        self.fields(header, kind, names)
        self.size = self.number(b"size", size)
        self.data, self.sparse = offset, self.pax.get(b"GNU.sparse.major")
        self.stub = self.pax.get(b"CCBACKUP.pieces") == b"1"
        if self.sparse is not None:
            self.sparse_map(stream)

    def number(self, key, value):
        if key not in self.pax:
            return value
        need(re.fullmatch(b"0|[1-9][0-9]{0,19}", self.pax[key]), "a pax record is no number")
        return int(self.pax[key])

    def fields(self, header, kind, names):
        self.pax = pax = self.pax or {}
        need(not (names and {b"path", b"linkpath"} & set(pax)), "a member has its name twice")
        cut = lambda begin, end: header[begin:end].split(b"\0")[0]
        name, prefix = cut(0, 100), cut(345, 500) if header[262:263] != b" " else b""
        name = pax.get(b"GNU.sparse.name", pax.get(b"path", names.get(b"L", prefix + b"/" + name if prefix else name)))
        self.type = {b"0": "file", b"\0": "file", b"7": "file", b"1": "hardlink", b"2": "symlink", b"3": "char",
                     b"4": "block", b"5": "dir", b"6": "fifo"}.get(kind)
        need(self.type, f"a tar header has the unknown type {kind!r}")
        self.path = name[:-1] if self.type == "dir" and name.endswith(b"/") else name
        self.link = pax.get(b"linkpath", names.get(b"K", cut(157, 257)))
        self.mode = tar_number(header[100:108])
        self.uid, self.gid = self.number(b"uid", tar_number(header[108:116])), self.number(b"gid", tar_number(header[116:124]))
        self.user, self.group = pax.get(b"uname", cut(265, 297)), pax.get(b"gname", cut(297, 329))
        self.mtime = nanoseconds(pax[b"mtime"].decode("ascii", "replace")) if b"mtime" in pax else tar_number(header[136:148]) * 10**9
        self.device = tar_number(header[329:337]), tar_number(header[337:345])
        self.xattrs = sorted((key[13:].replace(b"%3D", b"=").replace(b"%25", b"%"), value)
                             for key, value in pax.items() if key.startswith(b"SCHILY.xattr."))

    def sparse_map(self, stream):
        allowed = {b"GNU.sparse." + key for key in (b"major", b"minor", b"name", b"realsize")}
        need({key for key in self.pax if key.startswith(b"GNU.sparse.")} == allowed
             and (self.sparse, self.pax[b"GNU.sparse.minor"]) == (b"1", b"0"), "a sparse member has another form")
        text, at, numbers, wanted = b"", self.data, [], 1
        while len(numbers) < wanted:
            need(at + 512 <= self.data + self.size, "a sparse map has no end")
            text += stream.read(at, 512)
            at += 512
            done, newline, rest = text.rpartition(b"\n")
            for line in done.split(b"\n") if newline else []:
                if len(numbers) < wanted:
                    need(re.fullmatch(b"0|[1-9][0-9]{0,19}", line), "a sparse map has a bad number")
                    numbers.append(int(line))
                    need(len(numbers) > 1 or numbers[0] <= MAX_REGIONS + 1, "a sparse map is too long")
                    wanted = 1 + 2 * numbers[0]
                else:
                    rest = line + newline + rest
            text = rest
        need(not text.strip(b"\0"), "a sparse map has more than it says")
        self.size, self.real_size, self.data = self.size - (at - self.data), self.number(b"GNU.sparse.realsize", 0), at
        self.map = [pair for pair in zip(numbers[1::2], numbers[2::2]) if pair != (self.real_size, 0)]

def differences(entry, member):
    """What an entry and its member do not have in common [5, 7]."""
    dashed = lambda name: b"./" + name if name.startswith(b"-") else name
    pairs = [("type", entry.type, member.type), ("path", dashed(entry.path), member.path),
             ("mode", entry.mode, member.mode & 0o7777), ("uid", entry.uid, member.uid), ("gid", entry.gid, member.gid),
             ("user", entry.user, member.user), ("group", entry.group, member.group),
             ("mtime", entry.mtime, member.mtime), ("xattrs", entry.xattrs, member.xattrs)]
    if entry.type == "symlink":
        pairs.append(("target", entry.target, member.link))
    if entry.type == "hardlink":
        pairs.append(("target", dashed(entry.target), member.link))
    if entry.type in ("char", "block"):
        pairs.append(("device", entry.device, member.device))
    if entry.type == "file" and member.stub:
        pairs += [("content", entry.whole, False), ("size", 0, member.size)]
    elif entry.type == "file":
        is_sparse = member.sparse is not None
        pairs += [("regions", entry.sparse, is_sparse), ("size", entry.size, member.real_size if is_sparse else member.size)]
        if is_sparse and entry.sparse:
            pairs.append(("regions", entry.regions, member.map))
        if entry.whole:
            pairs.append(("content", entry.extents[0], (*entry.home[:2], member.data, member.size)))
    elif entry.type != "file":
        pairs.append(("size", 0, member.size))
    return [name for name, ours, theirs in pairs if ours != theirs]

# ---- Backups

class Backup:
    """A backup whose manifest was found good; `sums` are the digests of its files."""

    def __init__(self, folder, sums, sums_digest, manifest):
        self.folder, self.sums, self.sums_digest, self.manifest = folder, sums, sums_digest, manifest
        self.id = manifest["id"]
        self.depends_on = {d["id"]: d["sums_sha256"] for d in manifest["depends_on"]}

class Repository:
    def __init__(self, folder, signers, allow_unsigned):
        self.folder, self.signers, self.allow_unsigned = folder, signers, allow_unsigned
        self.error = None
        try:
            data = read_small(os.path.join(folder, "repository.json"))
            value = document(data, "repository.json")
            shape("repository.json", {"repository_id": matching("[0-9a-f]{32}"), "created_at": time_of})(value)
            self.id, self.digest = value["repository_id"], sha256(data)
        except FileNotFoundError:
            self.error = Bad("repository.json is missing")
        except Bad as error:
            self.error = error

    def ids(self):
        names = sorted(os.listdir(self.folder))
        return [n for n in names if is_id(n) and stat.S_ISDIR(os.lstat(os.path.join(self.folder, n)).st_mode)]

    def sums_of(self, id):
        return read_small(os.path.join(self.folder, id, "SHA256SUMS"))

    def load(self, id):
        """A backup by the checks of a reader [4]: signature, digest, manifest, its id and its repository."""
        folder = os.path.join(self.folder, id)
        if id not in self.ids():
            raise Stop("failed", f"there is no backup {id}")
        try:
            data = self.sums_of(id)
        except FileNotFoundError:
            raise Bad("SHA256SUMS is missing") from None
        self.check_signature(folder, data)
        sums = parse_sums(data)
        try:
            text = read_small(os.path.join(folder, "manifest.json"))
        except FileNotFoundError:
            raise Bad("manifest.json is missing") from None
        need(sums.get("manifest.json") == sha256(text), "manifest.json is not the one in SHA256SUMS")
        manifest = parse_manifest(text)
        need(manifest["id"] == id, f"its manifest is that of {manifest['id']}")
        if not self.error:
            need(manifest["repository_id"] == self.id, "it belongs to another repository")
        return Backup(folder, sums, sha256(data), manifest)

    def check_signature(self, folder, data):
        try:
            signature = read_small(os.path.join(folder, "SHA256SUMS.sig"), MAX_SIGNATURE)
        except FileNotFoundError:
            if self.allow_unsigned:
                return
            raise Stop("unsigned", "SHA256SUMS.sig is missing") from None
        key = signer_of(signature, data)
        if self.allow_unsigned or key in self.signers:
            return
        if not self.signers:
            raise Stop("unsigned", "no trusted signer is known")
        raise Stop("wrong-signer", "it is signed by somebody who is not trusted")

    def find(self, id):
        if id != "latest":
            return self.load(id)
        found = []
        for name in self.ids():
            try:
                found.append(self.load(name))
            except (Bad, Stop):
                pass
        if not found:
            return self.load((self.ids() or ["latest"])[-1])
        return max(found, key=lambda backup: backup.manifest["sequence"])

    def claims(self, newest):
        """Backups that cannot be opened, and that claim to be newer than the newest, or of a newer format."""
        limit, found = self.load(newest).manifest["sequence"], []
        for id in self.ids():
            try:
                if parse_manifest(read_small(os.path.join(self.folder, id, "manifest.json")))["sequence"] > limit:
                    found.append(id)
            except Stop:
                found.append(id)
            except (Bad, OSError):
                pass
        return found

# ---- Verification without a key

def check_folder(repo, report):
    """What lies in the repository's folder."""
    if repo.error:
        report.add("repository", "", None, "repository.json", repo.error)
    for name in sorted(os.listdir(os.fsencode(repo.folder))):
        text = os.fsdecode(name)
        if is_id(text) and not stat.S_ISDIR(os.lstat(os.path.join(repo.folder, text)).st_mode):
            report.add("unexpected", "", None, text, "it has the name of a backup and is no folder")
        if is_id(text) or re.fullmatch(r"\.incomplete-.*|\.staged-.*", text, re.S):
            continue
        if text not in ("repository.json", "allowed_signers", ".lock", "latest", "latest-good"):
            report.notes.append(f"{escape(name)} does not belong to the repository")
    try:
        named = signers_in(read_small(os.path.join(repo.folder, "allowed_signers")).decode("utf-8", "replace"))
    except (OSError, Bad):
        named = set()
    if not named or not named <= repo.signers:
        report.notes.append("allowed_signers does not name trusted signers alone")

def check_backup(repo, id, report):
    """Signature, manifest, digests of all files, and nothing beside them."""
    try:
        backup = repo.load(id)
    except (Bad, Stop) as error:
        report.add_error(error, "manifest", id, None, id)
        return None
    stored = {f["name"]: f for c in backup.manifest["components"] for f in [*c["archives"], c["index"]]}
    for name, about in stored.items():
        if backup.sums.get(name) != about["sha256"]:
            report.add("manifest", id, None, f"{id}/{name}", "manifest.json and SHA256SUMS differ about it")
    for name, digest in backup.sums.items():
        path = f"{id}/{name}"
        try:
            found, size = digest_of_file(os.path.join(backup.folder, name))
            if found != digest:
                report.add("changed", id, None, path, f"its SHA-256 is {found}, signed was {digest}")
            elif name in stored and stored[name]["size_bytes"] != size:
                report.add("manifest", id, None, path, "it has another size than the manifest says")
        except FileNotFoundError:
            report.add("missing", id, None, path, "it is missing")
        except Bad as error:
            report.add("unreadable", id, None, path, error)
    for name in sorted(os.listdir(os.fsencode(backup.folder))):
        if os.fsdecode(name) not in {*backup.sums, "SHA256SUMS", "SHA256SUMS.sig"}:
            report.add("unexpected", id, None, f"{id}/{escape(name)}", "it is not listed in SHA256SUMS")
    return backup

def check_chain(repo, backup, loaded, report):
    """Repository, dependencies and parent are those that were there, and numbers tell their order."""
    if not repo.error and backup.manifest["repository_sha256"] != repo.digest:
        report.add("repository", "", None, "repository.json", f"for {backup.id} it is not the one in which this backup was made")
    sequence = backup.manifest["sequence"]
    parent = backup.manifest["parent"]
    named = [("chain", id, digest) for id, digest in backup.depends_on.items()]
    for kind, id, digest in named + ([("parent", parent["id"], parent["sums_sha256"])] if parent else []):
        try:
            found = sha256(repo.sums_of(id))
        except FileNotFoundError:
            if kind == "chain":
                report.add("missing", backup.id, None, id, f"it depends on {id}, which is missing")
            elif os.path.isdir(os.path.join(repo.folder, id)):
                report.add(kind, backup.id, None, id, f"its parent {id} has no SHA256SUMS")
            continue
        except Bad as error:
            report.add(kind, backup.id, None, id, error)
            continue
        if found != digest:
            report.add(kind, backup.id, None, id, f"it was built on another {id} than the one that is there")
        elif loaded.get(id) and loaded[id].manifest["sequence"] >= sequence:
            report.add("chain", backup.id, None, id, f"{id} has not a smaller sequence number")
    for other in loaded.values():
        if other and other.id != backup.id and other.manifest["sequence"] == sequence:
            report.add("chain", backup.id, None, other.id, f"{other.id} has the same sequence number {sequence}")

def check(repo, ids, report):
    """Verifies these backups and all they depend on. Returns what could be loaded."""
    check_folder(repo, report)
    waiting, checked = list(ids), {}
    while waiting:
        id = waiting.pop(0)
        if id not in checked and os.path.isdir(os.path.join(repo.folder, id)):
            checked[id] = check_backup(repo, id, report)
            waiting += checked[id].depends_on if checked[id] else []
    loaded = dict(checked)
    for id in repo.ids():
        try:
            loaded.setdefault(id, None)
            loaded[id] = loaded[id] or repo.load(id)
        except (Bad, Stop):
            pass
    newest = max(filter(None, loaded.values()), key=lambda backup: backup.manifest["sequence"], default=None)
    link = os.path.join(repo.folder, "latest")
    if newest and (not os.path.islink(link) or os.readlink(link) != newest.id):
        report.notes.append(f"latest does not point to the newest backup, {newest.id}")
    for backup in filter(None, checked.values()):
        check_chain(repo, backup, loaded, report)
    return checked

# ---- Opening a chain

class Chain:
    """The files that one backup refers to: its own and those of its dependencies."""

    def __init__(self, repo, backup, keys):
        self.repo, self.backup, self.keys, self.open_files, self.sums = repo, backup, keys, {}, {backup.id: backup.sums}
        for id, digest in backup.depends_on.items():
            try:
                data = repo.sums_of(id)
                self.sums[id] = parse_sums(data) if sha256(data) == digest else {}
            except (Bad, OSError):
                self.sums[id] = {}

    def open(self, id, stem, salvage=False):
        key = id, stem, salvage
        if key not in self.open_files:
            try:
                self.open_files[key] = self.open_now(*key)
            except Bad as error:
                self.open_files[key] = error
        if isinstance(self.open_files[key], Bad):
            raise self.open_files[key]
        return self.open_files[key]

    def open_now(self, id, stem, salvage):
        need(id in self.sums, f"it refers to {id}, on which this backup does not depend")
        extension = EXTENSION[self.backup.manifest["sealing"]["cipher"]]
        name, path = f"{id}/{stem}{extension}", os.path.join(self.repo.folder, id, stem + extension)
        try:
            return Frames(Sealed(open_regular(path), extension, self.keys), salvage)
        except FileNotFoundError:
            raise Bad(f"{name} is missing") from None
        except WrongKey as error:
            digest = self.sums[id].get(stem + extension)
            need(digest in (None, digest_of_file(path)[0]), f"{name} is not what was signed: {error}")
            raise Stop("wrong-key", f"{name}: {error}") from None
        except Bad as error:
            raise Bad(f"{name}: {error}") from None

    def volume(self, component, id, volume):
        return self.open(id, archive_name(component, volume, ""))

class Inventory:
    """The index of a component. Damage is reported, and what can be trusted is still read."""

    def __init__(self, chain, component, report):
        self.chain, self.component, self.report = chain, component, report
        self.name, self.backup = component["name"], chain.backup
        self.table, self.complete = [], True

    def damage(self, detail, kind="index", path=None):
        self.report.add(kind, self.backup.id, self.name, path or f"{self.backup.id}/{self.component['index']['name']}", detail)

    def stream(self, id):
        """An index file. What is read of it is bound by digests, so of a damaged one what is left will do."""
        stem, is_own = f"{self.name}.index.zst", id == self.backup.id
        try:
            return self.chain.open(id, stem, is_own and not self.whole)
        except Bad:
            if is_own:
                raise
            return self.chain.open(id, stem, True)

    def open(self, deep=False):
        """Reads the table. An index that is not what was signed is used as far as the manifest binds its table."""
        about = self.component["index"]
        try:
            found, _ = digest_of_file(os.path.join(self.backup.folder, about["name"]))
        except FileNotFoundError:
            return self.damage("it is missing", "missing")
        except Bad as error:
            return self.damage(error, "unreadable")
        whole = found == about["sha256"]
        try:
            self.whole = whole
            stream = self.stream(self.backup.id)
            if whole:
                self.read_all(stream, deep)
            else:
                need("table" in about, "nothing else binds its segments")
                self.read_table(stream, about["table"]["offset"], about["table"]["bytes"], about["table"]["sha256"])
        except Bad as error:
            self.table = []
            why = "" if whole else f"its SHA-256 is {found}, signed was {about['sha256']}; "
            self.damage(f"no entry of {self.name} can be read: {why}{error}")

    def read_table(self, stream, offset, length, digest=None):
        need(0 <= length <= MAX_TABLE, "its table is too long")
        data = stream.read(offset, length)
        need(digest in (None, sha256(data)), "its table is damaged")
        self.table = [parse_segment(line) for line in lines_of(data)]
        need(ascending([tree_key(segment.first) for segment in self.table]), "its table is not in order")
        own, end = 0, 0
        for segment in self.table:
            need(segment.backup in self.chain.sums, f"it refers to {segment.backup}, on which this backup does not depend")
            if segment.backup == self.backup.id:
                need(segment.offset == end, "its own segments do not lie one after the other")
                own, end = own + 1, end + segment.length
        about = self.component["index"]
        need((len(self.table), own) == (about["segments"], about["own_segments"]), "it has another number of segments")
        return end

    def read_all(self, stream, deep):
        need(stream.frames, "it is empty")
        last = stream.starts[-2]
        lines = lines_of(stream.read(last, stream.length - last))
        need(len(lines) == 1, "its last frame is not the end line")
        end = parse_end(lines[0])
        at, size, table = end["table_offset"], last - end["table_offset"], self.component["index"].get("table")
        own_end = self.read_table(stream, at, size, table and table["sha256"])
        need(not table or (table["offset"], table["bytes"]) == (at, size), "its table is not the one in the manifest")
        need(len(self.table) == end["segments"] and sum(s.lines for s in self.table) == end["entries"],
             "its table has other totals than its end says")
        need(0 <= at - own_end <= MAX_PROBLEMS, "its problems are too long")
        try:
            if deep:
                self.check_problems(stream.read(own_end, at - own_end))
        except Bad as error:
            self.damage(error)

    def check_problems(self, data):
        """What nobody needs to restore."""
        listed = collections.Counter(parse_problem(line)["kind"] for line in lines_of(data))
        counts = {p["kind"]: p["count"] for p in self.component["problems"]}
        counts["left-out"] = self.component.get("left_out", 0)
        for kind, number in listed.items():
            need(number <= counts.get(kind, 0), f"it lists more problems of the kind {kind} than the manifest counts")

    def segment(self, segment):
        stream = self.stream(segment.backup)
        need(stream.is_frame(segment.offset, segment.length), "no frame is where the segment should be")
        data = stream.read(segment.offset, segment.length)
        need(sha256(data) == segment.digest, f"the segment in {segment.backup} is not what was signed")
        return data

    def entries(self):
        """All entries that can be trusted, in order. What is lost is reported with the paths that bound it."""
        folders, previous, known = [], None, {}
        for number, segment in enumerate(self.table):
            following = self.table[number + 1].first if number + 1 < len(self.table) else None
            try:
                lines = lines_of(self.segment(segment))
                need(len(lines) == segment.lines, "a segment has another number of lines")
            except Bad as error:
                until = f", before {escape(following)}" if following else ""
                self.damage(f"{segment.lines} entries from {escape(segment.first)} on{until} are lost: {error}")
                self.complete, previous = False, segment.first
                continue
            for at, line in enumerate(lines):
                try:
                    entry = Entry(line)
                    need(at or entry.path == segment.first, "a segment begins with another path")
                    need(previous is None or tree_key(previous) < tree_key(entry.path), f"{escape(entry.path)} is out of order")
                    need(following is None or tree_key(entry.path) < tree_key(following), f"{escape(entry.path)} is out of order")
                except Bad as error:
                    self.complete = False
                    self.damage(error)
                    continue
                previous = entry.path
                try:
                    self.check_place(entry, folders, known)
                except Bad as error:
                    self.damage(error, "index", escape(self.name.encode() + b"/" + entry.path))
                    continue
                yield entry

    def check_place(self, entry, folders, known):
        """The folder of an entry and the file of a hard link come before it."""
        path = entry.path
        while folders and not path.startswith(folders[-1] + b"/"):
            folders.pop()
        folder = path.rpartition(b"/")[0]
        if folder and (not folders or folders[-1] != folder):
            above = [folder[:at] for at in range(len(folder) + 1) if folder[at:at + 1] in (b"", b"/")]
            need(not any(name in known for name in above), f"{escape(path)} lies below what is no folder")
            if self.complete:
                self.damage(f"the folder of {escape(path)} is missing", "index", escape(self.name.encode() + b"/" + folder))
            folders.append(folder)
        if entry.type == "dir":
            folders.append(path)
            return
        is_link = entry.type == "hardlink"
        need(not is_link or known.get(entry.target), f"{entry.type} to {escape(getattr(entry, 'target', b''))}, which is no earlier file")
        known[path] = not is_link

def content_parts(chain, component, entry):
    """The stored bytes of a file, part by part. Digests are compared by the caller."""
    for id, volume, offset, length in entry.extents:
        if length:
            yield from chain.volume(component, id, volume).parts(offset, length)

def check_content(chain, component, entry):
    digest = hashlib.sha256()
    for part in content_parts(chain, component, entry):
        digest.update(part)
    need(digest.hexdigest() == entry.sha256, "its content is not what was captured")

def check_deep(repo, backup, keys, report):
    """Every entry of a backup: its line, its tar member and its content."""
    chain = Chain(repo, backup, keys)
    for component in backup.manifest["components"]:
        name, inventory = component["name"], Inventory(chain, component, report)
        inventory.open(deep=True)
        if inventory.table:
            check_archives(chain, component, report)
        totals = collections.Counter(entries=0, new_entries=0, content_bytes=0)
        for entry in inventory.entries():
            totals.update(entries=1, new_entries=entry.home[0] == backup.id, content_bytes=entry.size)
            try:
                member = Member(chain.volume(name, *entry.home[:2]), entry.home[2])
                found = differences(entry, member)
                need(not found, f"its tar member differs in {', '.join(found)}")
                if entry.type == "file":
                    check_content(chain, name, entry)
            except Bad as error:
                report.add("content", backup.id, name, escape(name.encode() + b"/" + entry.path), error)
        for key, found in totals.items():
            if inventory.complete and min(found, MAX_SIZE) != component[key]:
                report.add("manifest", backup.id, name, f"{backup.id}/manifest.json", f"{key} is {component[key]}, found {found}")

def check_archives(chain, component, report):
    for a in component["archives"]:
        try:
            stream = chain.volume(component["name"], chain.backup.id, a["volume"])
            need((len(stream.frames), stream.length) == (a["frames"], a["tar_bytes"]), "it has other frames than the manifest says")
        except Bad as error:
            report.add("manifest", chain.backup.id, component["name"], f"{chain.backup.id}/{a['name']}", error)

# ---- Restore

class Target:
    """The only code that writes. Paths go through descriptors of their folders, so any length will do."""

    def __init__(self, folder):
        self.root = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.current, self.fd = b"", os.dup(self.root)

    def place(self, path):
        """A short path to the entry, through its folder, which is made if damage took it away."""
        folder, _, name = path.rpartition(b"/")
        if folder != self.current:
            os.close(self.fd)
            self.current, self.fd = None, os.dup(self.root)
            for part in folder.split(b"/") if folder else []:
                try:
                    os.mkdir(part, 0o700, dir_fd=self.fd)
                except FileExistsError:
                    pass
                inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self.fd)
                os.close(self.fd)
                self.fd = inner
            self.current = folder
        return b"/proc/self/fd/%d/%s" % (self.fd, name)

def make_file(path, chain, component, entry):
    """Content with its holes. It keeps its name only if the digest is right."""
    number = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    try:
        os.ftruncate(number, entry.size)
        digest, regions, left, at = hashlib.sha256(), iter(entry.regions), 0, 0
        for part in content_parts(chain, component, entry):
            digest.update(part)
            while part:
                if not left:
                    at, left = next(regions)
                written = os.pwrite(number, part[:left], at)
                at, left, part = at + written, left - written, part[written:]
        need(digest.hexdigest() == entry.sha256, "its content is not what was captured")
    except BaseException:
        os.unlink(path)
        raise
    finally:
        os.close(number)

def make(target, chain, component, entry):
    path = target.place(component.encode() + b"/" + entry.path)
    if entry.type == "dir":
        if not os.path.isdir(path):
            os.mkdir(path, 0o700)
    elif entry.type == "file":
        make_file(path, chain, component, entry)
    elif entry.type == "symlink":
        os.symlink(entry.target, path)
    elif entry.type == "hardlink":
        kept = os.dup(target.fd)
        try:
            source = target.place(component.encode() + b"/" + entry.target)
            os.link(source, b"/proc/self/fd/%d/%s" % (kept, path.rpartition(b"/")[2]), follow_symlinks=False)
        finally:
            os.close(kept)
    else:
        kind = {"fifo": stat.S_IFIFO, "char": stat.S_IFCHR, "block": stat.S_IFBLK}[entry.type]
        os.mknod(path, kind | 0o600, os.makedev(*getattr(entry, "device", (0, 0))))

def set_metadata(target, component, entry, report):
    """Owner, mode, attributes, and last the time."""
    path = target.place(component.encode() + b"/" + entry.path)
    shown = escape(component.encode() + b"/" + entry.path)
    steps = [("owner", lambda: os.chown(path, entry.uid, entry.gid, follow_symlinks=False))]
    if entry.type != "symlink":
        steps.append(("mode", lambda: os.chmod(path, entry.mode)))
    for name, value in entry.xattrs:
        steps.append((f"attribute {escape(name)}", lambda n=name, v=value: os.setxattr(path, n, v, follow_symlinks=False)))
    steps.append(("time", lambda: os.utime(path, ns=(entry.mtime, entry.mtime), follow_symlinks=False)))
    for what, step in steps:
        try:
            step()
        except (OSError, OverflowError) as error:
            report.problems.append(f"{shown}: {what} was not set: {error}")

def restore(repo, backup, keys, out, report):
    os.makedirs(out, mode=0o700, exist_ok=True)
    if os.listdir(out):
        raise Stop("failed", f"{out} is not empty")
    if repo.error:
        report.add("repository", "", None, "repository.json", repo.error)
    target, chain = Target(out), Chain(repo, backup, keys)
    for component in backup.manifest["components"]:
        name, folders = component["name"], []
        os.mkdir(os.path.join(out, name), 0o700)
        inventory = Inventory(chain, component, report)
        inventory.open()
        for entry in inventory.entries():
            shown = escape(name.encode() + b"/" + entry.path)
            try:
                make(target, chain, name, entry)
                if entry.type == "dir":
                    folders.append(entry)
                elif entry.type != "hardlink":
                    set_metadata(target, name, entry, report)
                if entry.unsettled:
                    report.problems.append(f"{shown}: it changed while it was captured")
            except Bad as error:
                report.add("content", backup.id, name, shown, error)
            except (OSError, OverflowError) as error:
                report.problems.append(f"{shown}: it was not restored: {error}")
        for entry in reversed(folders):
            set_metadata(target, name, entry, report)

def ls(repo, backup, keys, report, as_json):
    chain, rows = Chain(repo, backup, keys), []
    for component in backup.manifest["components"]:
        inventory = Inventory(chain, component, report)
        inventory.open()
        for e in inventory.entries():
            row = dict(component=component["name"], path=escape(e.path), type=e.type, size=e.size, mode="%04o" % e.mode,
                       uid=e.uid, gid=e.gid, mtime=e.mtime_text, **({"sha256": e.sha256} if e.type == "file" else {}))
            if as_json:
                rows.append(row)
            else:
                print(escape(component["name"].encode() + b"/" + e.path))
    if as_json:
        json.dump(rows, sys.stdout, indent=2, ensure_ascii=False)

# ---- Command line

def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("verb", choices=["check", "ls", "restore"])
    parser.add_argument("repo")
    parser.add_argument("id", nargs="?", default="latest")
    parser.add_argument("-i", "--identity", action="append", default=[])
    parser.add_argument("-s", "--signer", action="append", default=[])
    parser.add_argument("-o", "--out")
    for flag in ("--all", "--deep", "--json", "--allow-unsigned"):
        parser.add_argument(flag, action="store_true")
    args = parser.parse_intermixed_args()
    if (args.verb == "restore") != (args.out is not None):
        parser.error("restore needs -o OUT, other verbs take none")
    if args.id != "latest" and not is_id(args.id):
        parser.error(f"{args.id} is no id")
    return args

def run(args, report):
    keys = Keys(args.identity)
    signers = set(keys.signers) if not args.signer else set()
    for signer in args.signer:
        signers |= signers_in(signer if signer.startswith("ssh-ed25519 ") else read_small(signer).decode("utf-8", "replace"))
    repo = Repository(args.repo, signers, args.allow_unsigned)
    if args.verb != "check":
        backup = repo.find(args.id)
        if args.verb == "ls":
            return ls(repo, backup, keys, report, args.json)
        return restore(repo, backup, keys, args.out, report)
    ids = repo.ids() if args.all else [repo.find("latest").id if args.id == "latest" else args.id]
    if args.id == "latest" and not args.all:
        ids += repo.claims(ids[0])
    if not args.all and not os.path.isdir(os.path.join(args.repo, ids[0])):
        raise Stop("failed", f"there is no backup {ids[0]}")
    checked = check(repo, ids, report)
    for id in ids if args.deep else []:
        if checked.get(id):
            try:
                check_deep(repo, checked[id], keys, report)
            except Stop as error:
                report.add(error.kind, id, None, id, error)

def main():
    args, report = arguments(), Report()
    try:
        run(args, report)
    except (Bad, Stop, OSError) as error:
        report.add(getattr(error, "kind", "manifest" if isinstance(error, Bad) else "failed"), args.id, None, "", error)
    if args.json and args.verb != "ls":
        json.dump(dict(ok=not report.findings, findings=report.findings, notes=report.notes + report.problems),
                  sys.stdout, indent=2, ensure_ascii=False)
        print()
    out = sys.stderr if args.json or args.verb == "ls" else sys.stdout
    for f in report.findings:
        print(f"{f['kind'].upper()} {f['backup'] or '-'} {f['component'] or '-'} {f['path'] or '-'}: {f['detail']}", file=out)
    for text in report.notes + report.problems:
        print(f"note: {text}", file=sys.stderr)
    sys.exit(report.exit_code())

if __name__ == "__main__":
    main()
