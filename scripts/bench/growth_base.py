"""What the parts of growth.sh share: where things lie, a repository of ccbackup, small files, tables."""

import json
import os
import random
import shlex
import shutil
import subprocess
import sys
import time

import tools
import trees
from measure import measure


class Setup:
    """Where things lie and how large they are to be."""

    def __init__(self, chosen):
        self.work = os.path.join(chosen.work, "growth")
        self.program, self.scale, self.huge = chosen.ours, chosen.scale, not chosen.skip_huge
        self.files = [int(count) for count in chosen.files.split(",")]
        if chosen.skip_huge:
            self.files = [count for count in self.files if count < 1_000_000]
        self.chain, self.backups = chosen.chain, chosen.backups
        self.clear()
        os.makedirs(self.work)
        self.recipient = tools.key(self.work)

    def scaled(self, number):
        return max(1, int(number * self.scale))

    def folder(self, name):
        return os.path.join(self.work, name)

    def clear(self):
        shutil.rmtree(self.work, ignore_errors=True)

    def discard(self, path):
        """Puts a folder aside. What is removed makes ext4 slow for minutes: it looks for inodes that are not just freed."""
        trash = self.folder("trash")
        os.makedirs(trash, exist_ok=True)
        if os.path.lexists(path):
            os.rename(path, os.path.join(trash, str(len(os.listdir(trash)))))

    def clear_part(self):
        for name in os.listdir(self.work):
            if name not in ("identity.txt", "trash"):
                self.discard(self.folder(name))


class Repository:
    """A repository of ccbackup; every method runs the program once and says what that cost."""

    def __init__(self, setup, name="repo"):
        self.path, self.out = setup.folder(name), setup.folder(name + "-out")
        self.setup = setup
        self.identity = setup.folder("identity.txt")
        self.env = {"CCBACKUP_HOME": setup.folder(name + "-home"), "XDG_CONFIG_HOME": setup.folder("config")}

    def command(self, arguments):
        return f"{shlex.quote(self.setup.program)} --repo {self.path} -q {arguments}"

    def run(self, arguments):
        return measure(f"cd {self.setup.work}; {self.command(arguments)}", self.env, self.setup.folder("errors"))

    def create(self, tree):
        return self.run(f"create --recipient {self.setup.recipient} --path {tree}")

    def verify(self):
        return self.run("verify")

    def deep(self):
        return self.run(f"verify --deep --identity {self.identity}")

    def list(self):
        return self.run("list")

    def restore(self, more=""):
        self.setup.discard(self.out)
        return self.run(f"restore --target {self.out} --identity {self.identity} {more}")

    def latest(self):
        return os.path.join(self.path, os.readlink(os.path.join(self.path, "latest")))

    def stored(self, ending=""):
        """Bytes of the newest backup's files, or of those whose name has `ending` in it."""
        return sum(entry.stat().st_size for entry in os.scandir(self.latest()) if ending in entry.name)

    def index(self):
        """The lines of the newest backup's own index file."""
        command = f"age -d -i {self.identity} {self.latest()}/files.index.zst.age | zstd -dc"
        return [json.loads(line) for line in subprocess.check_output(command, shell=True).splitlines()]

    def check(self, tree):
        wrong = trees.difference(tree, os.path.join(self.out, "files", os.path.basename(tree)))
        if wrong:
            sys.exit(f"ccbackup restored something else: {wrong}")


def settle():
    """Files that were changed just before a backup are read again by the next one."""
    time.sleep(3)


def small_files(root, count, each=200):
    """`count` files of `each` bytes that hardly compress, 100 in a folder, at most 100 folders in a folder."""
    draw = random.Random(trees.SEED)
    paths = []
    for number in range(count):
        folder = os.path.join(root, f"{number // 10_000:03}", f"{number // 100 % 100:02}")
        if number % 100 == 0:
            os.makedirs(folder)
        path = os.path.join(folder, f"file{number}.txt")
        paths.append(path)
        with open(path, "wb", buffering=0) as file:
            file.write(draw.randbytes(each))
    return paths


def rewrite(paths, count, draw, each=200):
    for path in draw.sample(paths, count):
        with open(path, "wb") as file:
            file.write(draw.randbytes(each))


def row(*cells):
    print("| " + " | ".join(str(cell) for cell in cells) + " |", flush=True)


def head(title, *cells):
    print(f"\n## {title}\n")
    row(*cells)
    row(*["---"] * len(cells))
