"""The trees that are measured: how they are made, changed a little, and compared.

All of it comes from a seed, so two machines measure the same. `python3 trees.py mixed|source DIR` makes one.
"""

import array
import json
import os
import random
import sqlite3
import stat
import string
import subprocess
import sys

KERNEL = "/usr/src/linux-source-6.1.tar.xz"
SEED = 20260117
LARGE = 1 << 20     # from here on a changed file is written into, not appended to
HUGE = 8 << 20      # from here on ccbackup cuts files into chunks


def make(kind, folder):
    """Makes a tree in `folder`, which does not exist. A run that is cut short leaves no half tree behind."""
    unfinished = folder + ".unfinished"
    subprocess.check_call(["rm", "-rf", unfinished])
    os.makedirs(unfinished)
    if kind == "mixed":
        mixed(unfinished)
    elif os.path.exists(KERNEL):
        subprocess.check_call(["tar", "-C", unfinished, "--strip-components=1", "-xf", KERNEL])
    else:
        source(unfinished)
    os.rename(unfinished, folder)


def word_list(draw, count):
    letters = string.ascii_lowercase + "_"
    return ["".join(draw.choices(letters, k=draw.randint(2, 11))) for _ in range(count)]


def source(root, count=80_000):
    """Small text files, like source code."""
    draw = random.Random(SEED)
    words = word_list(draw, 6000)
    for number in range(count):
        folder = os.path.join(root, f"{number % 61:02}", f"{number // 61 % 71:02}")
        os.makedirs(folder, exist_ok=True)
        size = int(draw.lognormvariate(8.9, 1.1)) % 400_000
        with open(os.path.join(folder, f"{words[number % 6000]}{number}.c"), "wb") as file:
            file.write(prose(draw, words, size, ";\n    "))


def prose(draw, words, size, end):
    """Text of about `size` bytes: lines of words, cut and joined in new order so that no two files are alike."""
    drawn = iter(draw.choices(words, k=size // 7 + 1))
    lines = []
    for word in drawn:
        lines.append(" ".join([word, *(next(drawn, "") for _ in range(draw.randrange(3, 12)))]))
    return end.join(lines).encode()[:size]


class Makers:
    """One method for each kind of file of the mixed tree; each writes about `size` bytes to `path`."""

    def __init__(self, draw):
        self.draw = draw
        self.words = word_list(draw, 5000)
        # A few words are frequent and most are rare, as in any language; else text compresses too badly.
        self.speech = draw.choices(self.words, weights=[1 / rank for rank in range(3, 5003)], k=1 << 16)
        # Components of embeddings: around zero, 65 536 different values.
        self.floats = [draw.gauss(0, 0.05) for _ in range(1 << 16)]
        self.clock = 1_760_000_000

    def phrase(self, count):
        return " ".join(self.draw.choices(self.speech, k=count))

    def write(self, path, parts, size):
        """Writes the endless `parts` until there are `size` bytes."""
        with open(path, "w", encoding="ascii") as file:
            while size > 0:
                part = next(parts)
                file.write(part)
                size -= len(part)

    def json(self, path, size):
        def documents():
            while True:
                document = {"id": f"{self.draw.getrandbits(128):032x}", "created": self.clock + self.draw.randrange(10 ** 6),
                            "title": self.phrase(5), "body": self.phrase(40), "score": self.draw.random(),
                            "tags": self.draw.choices(self.words, k=3)}
                yield json.dumps(document) + "\n"
        self.write(path, documents(), size)

    def log(self, path, size):
        def lines():
            while True:
                self.clock += self.draw.randrange(3)
                level = self.draw.choice(("INFO", "INFO", "INFO", "WARN"))
                yield (f"{self.clock}.{self.draw.randrange(1000):03} {level} [{self.draw.getrandbits(32):08x}] "
                       f"{self.phrase(9)} took={self.draw.randrange(5000)}us\n")
        self.write(path, lines(), size)

    def sql(self, path, size):
        def rows():
            table = self.draw.choice(self.words)
            number = 0
            while True:
                number += 1
                yield (f"INSERT INTO {table} VALUES ({number},'{self.phrase(6)}',{self.draw.randrange(10 ** 7)},"
                       f"'{self.draw.getrandbits(64):016x}');\n")
        self.write(path, rows(), size)

    def vectors(self, path, size):
        values = array.array("f", self.draw.choices(self.floats, k=size // 4))
        with open(path, "wb") as file:
            file.write(b"float32 768\n" if path.endswith(".gob") else b"")
            values.tofile(file)

    def block(self, path, size):
        with open(path, "wb") as file:
            file.write(self.draw.randbytes(size))

    def database(self, path, size):
        rows = [(number, self.phrase(8), self.draw.random(), self.draw.randbytes(24)) for number in range(size // 135)]
        with sqlite3.connect(path, isolation_level=None) as base:
            # No journal and one transaction: thousands of databases would else wait for the disk.
            for command in ("PRAGMA journal_mode=OFF", "PRAGMA synchronous=OFF", "BEGIN",
                            "CREATE TABLE item (id INTEGER PRIMARY KEY, name TEXT, weight REAL, mark BLOB)"):
                base.execute(command)
            base.executemany("INSERT INTO item VALUES (?, ?, ?, ?)", rows)
            base.execute("CREATE INDEX by_weight ON item (weight)")
            base.execute("COMMIT")
        base.close()


# Kind, endings, number of files, median and spread of their sizes (lognormal), sizes of the large ones.
MIXED = [
    ("json", (".json",), 15_299, 4_500, 0.9, [12 << 20]),
    ("log", (".log",), 6_498, 8_000, 1.0, [40 << 20, 24 << 20]),
    ("sql", (".sql",), 2_499, 15_000, 1.0, [48 << 20]),
    ("vectors", (".bin", ".gob"), 8_999, 3_072, 0.2, [24 << 20]),
    ("database", (".sqlite",), 499, 70_000, 0.8, [28 << 20]),
    ("block", (".zst", ".jpg"), 2_199, 7_000, 1.0, [16 << 20]),
]


def mixed(root, part=1.0):
    """36 000 files, about 570 MB, of the kinds that self-hosted stacks leave behind."""
    makers = Makers(random.Random(SEED))
    draw = random.Random(SEED + 1)
    for kind, endings, count, median, spread, large in MIXED:
        maker = getattr(makers, kind)
        sizes = [int(median * draw.lognormvariate(0, spread)) for _ in range(int(count * part))]
        for number, size in enumerate(sizes + [int(size * part) for size in large]):
            folder = os.path.join(root, kind, f"{number // 150:03}")
            if number % 150 == 0:
                os.makedirs(folder)
            maker(os.path.join(folder, f"{makers.words[number % 5000]}-{number}{endings[number % len(endings)]}"), size)


def files_of(root):
    """All regular files below `root`, sorted, so that a seed draws the same ones everywhere."""
    found = []
    for folder, _, names in os.walk(root):
        for name in names:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            if stat.S_ISREG(status.st_mode):
                found.append((path, status.st_size))
    return sorted(found)


def change_one_percent(root, seed):
    """Changes every hundredth file, and at least one of the huge ones. Says how many."""
    draw = random.Random(seed)
    files = files_of(root)
    chosen = set(draw.sample(files, max(1, len(files) // 100)))
    huge = [file for file in files if file[1] >= HUGE]
    if huge:
        chosen.add(draw.choice(huge))
    for path, size in sorted(chosen):
        if size < LARGE:
            with open(path, "ab") as file:
                file.write(f"changed {seed}\n".encode())
        else:
            scribble(path, size, 5, draw)
    return len(chosen)


def scribble(path, size, count, draw):
    """Writes `count` times 64 random bytes somewhere into a file, as databases do."""
    with open(path, "r+b") as file:
        for _ in range(count):
            file.seek(draw.randrange(size - 64))
            file.write(draw.randbytes(64))


def difference(left, right):
    """The first difference between two trees in names, types, modes, times, links and content, or None."""
    pending = [""]
    while pending:
        inner = pending.pop()
        here, there = os.path.join(left, inner), os.path.join(right, inner)
        if sorted(os.listdir(here)) != sorted(os.listdir(there)):
            return f"other names in {there}"
        for name in os.listdir(here):
            mine, other = os.path.join(here, name), os.path.join(there, name)
            one, two = os.lstat(mine), os.lstat(other)
            if one.st_mode != two.st_mode or (one.st_uid, one.st_gid) != (two.st_uid, two.st_gid):
                return f"other type, mode or owner: {other}"
            if one.st_mtime_ns != two.st_mtime_ns:
                return f"other time: {other}"
            if stat.S_ISDIR(one.st_mode):
                pending.append(os.path.join(inner, name))
            elif stat.S_ISLNK(one.st_mode) and os.readlink(mine) != os.readlink(other):
                return f"other link: {other}"
            elif stat.S_ISREG(one.st_mode) and not same_content(mine, other):
                return f"other content: {other}"
    return None


def same_content(mine, other):
    with open(mine, "rb", buffering=0) as left, open(other, "rb", buffering=0) as right:
        while True:
            one, two = left.read(1 << 20), right.read(1 << 20)
            if one != two:
                return False
            if not one:
                return True


if __name__ == "__main__":
    make(*sys.argv[1:])
