"""The parts of growth.sh that measure time and memory."""

import os
import random
import statistics
import sys

import trees
from growth_base import Repository, head, rewrite, row, settle, small_files
from measure import size_of


def tree(setup):
    head("Number of files", "files", "create", "create, unchanged", "verify", "verify --deep", "restore")
    first = None
    for count in setup.files:
        root, repo = setup.folder("tree"), Repository(setup)
        small_files(root, count)
        settle()
        runs = [repo.create(root), repo.create(root), repo.verify(), repo.deep(), repo.restore()]
        row(count, *(f"{run.wall:.2f} s, {run.peak:.0f} MiB" for run in runs))
        if first is None:
            first = (count, runs)
            repo.check(root)
        setup.clear_part()
    if len(setup.files) > 1:
        # 1.0 is linear growth.
        row("time a file, last / first",
            *(f"{run.wall / count / (base.wall / first[0]):.2f}" for run, base in zip(runs, first[1])))


def chain(setup, rounds=3):
    root, draw = setup.folder("tree"), random.Random(trees.SEED)
    paths = small_files(root, setup.scaled(5000), 2000)
    long, short = Repository(setup, "long"), Repository(setup, "short")
    long.create(root)
    for _ in range(setup.chain - rounds):
        rewrite(paths, 5, draw, 2000)
        long.create(root)
    short.create(root)
    results = {name: [] for name in ("create", "list", "verify --deep", "restore")}
    for number in range(rounds):
        rewrite(paths, 5, draw, 2000)
        settle()
        order = [short, long] if number % 2 == 0 else [long, short]
        for name, action in (("create", lambda repo: repo.create(root)), ("list", Repository.list),
                             ("verify --deep", Repository.deep), ("restore", Repository.restore)):
            runs = {repo: action(repo).wall for repo in order}
            results[name].append((runs[short], runs[long]))
        long.check(root)
    head("Length of the chain", "", f"short (1 to {rounds} incrementals) s",
         f"long (up to {setup.chain}) s", "long / short")
    for name, runs in results.items():
        few, many = zip(*runs)
        row(name, f"{statistics.median(few):.2f}", f"{statistics.median(many):.2f}",
            f"{statistics.median(many / few for few, many in runs):.2f}")


def list_many(setup):
    root, repo = setup.folder("tree"), Repository(setup)
    paths = small_files(root, 3)
    walls = []
    for number in range(setup.backups):
        rewrite(paths[:1], 1, random.Random(number))
        walls.append(repo.create(root).wall)
        if number == 4:
            print(f"making {setup.backups} backups, about {sum(walls) / 5 * setup.backups / 60:.0f} min", file=sys.stderr)
    runs = [repo.list() for _ in range(3)]
    best = statistics.median(run.wall for run in runs)
    head("Number of backups", "backups", "list s", "list peak MiB", "first create s", "last create s")
    row(setup.backups, f"{best:.2f}", f"{max(run.peak for run in runs):.0f}",
        f"{statistics.median(walls[:5]):.2f}", f"{statistics.median(walls[-5:]):.2f}")


def sparse(setup):
    root, repo = setup.folder("tree"), Repository(setup)
    os.makedirs(root)
    path, size, draw = os.path.join(root, "sparse.img"), setup.scaled(50 * 10 ** 9), random.Random(1)
    islands = [0, size // 3 // 4096 * 4096, (size - (1 << 20)) // 4096 * 4096]
    with open(path, "wb") as file:
        file.truncate(size)
        for island in islands:
            file.seek(island)
            file.write(draw.randbytes(1 << 20))
        size = max(size, file.tell())
    settle()
    runs = [repo.create(root), repo.create(root), repo.deep(), repo.restore()]
    restored = os.path.join(repo.out, "files/tree/sparse.img")
    with open(path, "rb") as one, open(restored, "rb") as two:
        for island in islands:
            one.seek(island)
            two.seek(island)
            if one.read(1 << 20) != two.read(1 << 20) or os.path.getsize(restored) != size:
                sys.exit("ccbackup restored another sparse file")
    head(f"A sparse file of {size / 1e9:.0f} GB with 3 MiB of data",
         "create", "create, unchanged", "verify --deep", "restore", "restored, on disk", "repository")
    row(*(f"{run.wall:.2f} s, {run.peak:.0f} MiB" for run in runs),
        f"{os.stat(restored).st_blocks / 2048:.1f} MiB", f"{size_of(repo.path) / (1 << 20):.1f} MiB")


def wide(setup):
    head("Shapes", "", "create", "create, unchanged", "verify --deep", "restore, compared")

    def measured(name, root):
        settle()
        repo = Repository(setup)
        runs = [repo.create(root), repo.create(root), repo.deep(), repo.restore()]
        repo.check(root)
        row(name, *(f"{run.wall:.2f} s, {run.peak:.0f} MiB" for run in runs))
        setup.clear_part()

    root, count = setup.folder("tree"), setup.scaled(10_000)
    os.makedirs(root)
    for number in range(count):
        with open(os.path.join(root, f"file{number}"), "wb") as file:
            file.write(b"%d\n" % number)
    measured(f"{count} files in one folder", root)
    path = root
    for level in range(120):
        path = os.path.join(path, f"folder{level}")
        os.makedirs(path)
        with open(os.path.join(path, "file"), "wb") as file:
            file.write(b"%d\n" % level)
    measured("the same, and 120 folders deep", root)
