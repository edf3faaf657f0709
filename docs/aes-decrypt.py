#!/usr/bin/env python3
"""Opens a file that ccbackup sealed with AES-256-GCM (FORMAT.md section 8): aes-decrypt.py KEYFILE < in > out

Needs the package `cryptography`. The output is good only if the exit status is 0: what is printed before a failure
is genuine, but the rest is missing. Typical use: aes-decrypt.py key < configs.tar.zst.aes | zstd -d | tar -x -C out
"""
import hashlib
import sys

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

TAG, SEALED_CHUNK = 16, 65536 + 16


def main(key_file):
    source, target = sys.stdin.buffer, sys.stdout.buffer
    with open(key_file, "rb") as file:
        key = file.read(33)
    if len(key) != 32:
        sys.exit(f"{key_file} is no AES key: expected 32 raw bytes")
    key_id = hashlib.sha256(b"ccbackup aes key id\0" + key).hexdigest()[:16]
    line, salt = source.read(41), source.read(32)
    if not line.startswith(b"ccbackup-aes-256-gcm v1 ") or not line.endswith(b"\n") or len(salt) != 32:
        sys.exit("the input is not sealed with AES-256-GCM by ccbackup")
    if line[24:40] != key_id.encode():
        sys.exit(f"the input is sealed with the key {line[24:40].decode(errors='replace')}, this key is {key_id}")
    cipher = AESGCM(HKDF(hashes.SHA256(), 32, salt, b"ccbackup payload").derive(key))
    number, chunk, last = 0, source.read(SEALED_CHUNK), False
    while not last:
        following = source.read(SEALED_CHUNK)
        last = not following
        if len(chunk) < TAG or (len(chunk) == TAG and number > 0):
            sys.exit("the input is cut")
        try:
            target.write(cipher.decrypt(number.to_bytes(11, "big") + bytes([last]), chunk, None))
        except InvalidTag:
            sys.exit(f"the input is damaged or cut in chunk {number}")
        number, chunk = number + 1, following
    target.flush()


if __name__ == "__main__":
    main(sys.argv[1]) if len(sys.argv) == 2 else sys.exit("usage: aes-decrypt.py KEYFILE < in > out")
