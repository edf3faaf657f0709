"""The parts of growth.sh that count bytes: what an incremental stores, and what a restore of one file reads."""

import collections
import os
import random
import re
import shutil
import subprocess
import sys

import trees
from growth_base import Repository, head, rewrite, row, settle, small_files

# Calls that take bytes out of a file; of mmap the whole range counts.
READS = "read,readv,pread64,preadv,preadv2,mmap,sendfile,splice,copy_file_range"


def size(setup):
    head("What an incremental stores", "case", "stored", "bound", "stored / bound", "at most", "met")
    few_changed(setup)
    setup.clear_part()
    large_changed(setup)
    setup.clear_part()
    moved(setup)


def verdict(case, stored, bound, most):
    met = "–" if most is None else "yes" if stored <= most * bound else "**no**"
    row(case, f"{stored / 1024:.0f} KiB", f"{bound / 1024:.0f} KiB", f"{stored / bound:.3f}",
               "–" if most is None else most, met)


def few_changed(setup):
    """The price of the index: ten files changed in a large tree, less their data, which does not compress."""
    root, draw, repo = setup.folder("tree"), random.Random(1), Repository(setup)
    paths = small_files(root, setup.scaled(80_000))
    settle()
    repo.create(root)
    rewrite(paths, 10, draw)
    repo.create(root)
    verdict(f"10 files of {len(paths)} changed, less their data; bound: 300 KiB", repo.stored() - 10 * 200, 300 << 10, 1)


def big_file(path, length, draw):
    with open(path, "wb") as file:
        while length > 0:
            file.write(draw.randbytes(min(length, 8 << 20)))
            length -= 8 << 20


def chunks(repo):
    """The chunks of the one large file in the newest backup: digest -> length."""
    lines = [line for line in repo.index() if "chunks" in line]
    if len(lines) != 1:
        sys.exit(f"the index lists chunks of {len(lines)} files, not of one")
    return {digest: length for length, digest in lines[0]["chunks"]}


def large_changed(setup):
    """A large file of random bytes, written into here and there. The bound is the length of the chunks that are new."""
    root, draw, repo = setup.folder("tree"), random.Random(2), Repository(setup)
    os.makedirs(root)
    path, length = os.path.join(root, "base.db"), max(64 << 20, setup.scaled(1 << 30))
    big_file(path, length, draw)
    settle()
    repo.create(root)
    # One write in a hundred MiB touches about one chunk in a hundred. One byte in a hundred touches all of them.
    for name, writes in (("one chunk in 100", max(1, length // (100 << 20))), ("one byte in 100", length // 6400)):
        before = chunks(repo)
        trees.scribble(path, length, writes, draw)
        settle()
        repo.create(root)
        after = chunks(repo)
        changed = sum(length for digest, length in after.items() if digest not in before)
        count = sum(digest not in before for digest in after)
        verdict(f"{writes} writes of 64 bytes in {length >> 20} MiB ({name}); bound: {count} new chunks of {len(after)}",
                repo.stored(), changed, None)
    repo.restore()
    repo.check(root)


def moved(setup):
    """A moved folder is known content at another place: files short and long, and one that is cut into chunks."""
    root, draw, repo = setup.folder("tree"), random.Random(3), Repository(setup)
    small_files(os.path.join(root, "here"), setup.scaled(1000), 4000)
    big_file(os.path.join(root, "here", "base.db"), 32 << 20, draw)
    settle()
    repo.create(root)
    data = sum(length for _, length in trees.files_of(root))
    os.rename(os.path.join(root, "here"), os.path.join(root, "there"))
    repo.create(root)
    # No data is stored: index and member headers only. A hundredth of the data leaves room for nothing else.
    verdict("folder moved; bound: its data", repo.stored(), data, None)
    verdict("the same, archive alone", repo.stored(".tar."), data, 0.01)
    repo.restore()
    repo.check(root)


def one_file(setup):
    """Bytes read from the repository for one small file of a large backup."""
    if not shutil.which("strace"):
        print("skipped: strace is not installed", file=sys.stderr)
        return
    root, draw, repo = setup.folder("tree"), random.Random(4), Repository(setup)
    total = setup.scaled(10 ** 10 if setup.huge else 10 ** 9)
    # A tenth in small files of 20 kB, the rest in eight large ones. None of it compresses.
    small = small_files(os.path.join(root, "small"), max(100, total // 200_000), 20_000)
    os.makedirs(os.path.join(root, "large"))
    for number in range(8):
        big_file(os.path.join(root, "large", f"block{number}"), total * 9 // 80, draw)
    settle()
    repo.create(root)
    wanted = small[len(small) // 2]
    within = os.path.join("tree", os.path.relpath(wanted, root))
    inner = f"files/{within}"
    trace = setup.folder("trace")
    head(f"One file of 20 kB out of {total / 1e9:.1f} GB in {len(small) + 8} files",
                "command", "wall s", "bytes read from the repository", "of these index", "part of the backup")
    stored = repo.stored()
    for name, command in (
            ("restore --include", f"restore --target {repo.out} --identity {repo.identity} --include /{within}"),
            ("cat", f"cat --identity {repo.identity} latest {inner} > {setup.folder('one')}")):
        shutil.rmtree(repo.out, ignore_errors=True)
        wall = repo.run(command).wall
        shutil.rmtree(repo.out, ignore_errors=True)
        shutil.rmtree(trace, ignore_errors=True)
        os.makedirs(trace)
        subprocess.check_call(f"strace -ff -y -qq -e trace={READS} -o {trace}/t {repo.command(command)}",
                              shell=True, env={**os.environ, **repo.env}, stdout=subprocess.DEVNULL)
        result = os.path.join(repo.out, inner) if name != "cat" else setup.folder("one")
        if not os.path.exists(result) or not trees.same_content(result, wanted):
            sys.exit(f"{name} gave another file")
        read = bytes_read(trace, repo.path)
        total_read = sum(read.values())
        index = sum(count for path, count in read.items() if ".index." in path)
        row(name, f"{wall:.2f}", total_read, index, f"{total_read / stored:.6f}")


def bytes_read(trace, folder):
    """Bytes by file below `folder`, out of traces of single threads with the paths of descriptors."""
    call = re.compile(r"^(\w+)\((.*)\)\s+= (\d+|0x[0-9a-f]+)")
    counts = collections.Counter()
    for entry in os.scandir(trace):
        with open(entry.path, encoding="utf-8", errors="replace") as file:
            for line in file:
                found = call.match(line)
                if not found:
                    continue
                name, arguments, result = found.groups()
                # Paths stand behind a descriptor; what was read may look like one, but a path comes first.
                path = re.search(r"\b\d+<(/[^>]*)>", arguments)
                if not path or not path.group(1).startswith(folder + "/"):
                    continue
                counts[path.group(1)] += int(arguments.split(",")[1]) if name == "mmap" else int(result, 0)
    return counts
