"""Looks at trees, compares them, and judges a restored one by what the churning processes know."""

import collections
import os
import re
import stat

import content

Seen = collections.namedtuple("Seen", "word mode owner mtime_ns size target device inode nlink ctime_ns")
Failure = collections.namedtuple("Failure", "kind path detail")

# Folders that the churning processes leave alone.
STILL = (b"still", b"a-still")
WORDS = [
    (stat.S_ISREG, "file"), (stat.S_ISDIR, "dir"), (stat.S_ISLNK, "symlink"), (stat.S_ISFIFO, "fifo"),
    (stat.S_ISCHR, "char"), (stat.S_ISBLK, "block"), (stat.S_ISSOCK, "socket"),
]


def look(root):
    """All entries below `root` and itself, by path; the root's is its last name."""
    seen, stack = {}, [(os.path.basename(root), root)]
    while stack:
        path, full = stack.pop()
        meta = os.lstat(full)
        word = next(word for test, word in WORDS if test(meta.st_mode))
        target = os.readlink(full) if word == "symlink" else None
        seen[path] = Seen(
            word, stat.S_IMODE(meta.st_mode), (meta.st_uid, meta.st_gid), meta.st_mtime_ns,
            meta.st_size if word == "file" else 0, target, meta.st_rdev if word in ("char", "block") else 0,
            meta.st_ino, meta.st_nlink, meta.st_ctime_ns,
        )
        if word == "dir":
            stack.extend((path + b"/" + name, full + b"/" + name) for name in os.listdir(full))
    return seen


def read(path):
    fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with open(fd, "rb") as file:
        return file.read()


def xattrs(path):
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in os.listxattr(path, follow_symlinks=False)}


def unescape(text):
    """The bytes of an escaped path of a document."""
    return re.sub(
        rb"\\(n|\\|[0-7]{3})",
        lambda m: {b"n": b"\n", b"\\": b"\\"}.get(m[1]) or bytes([int(m[1], 8)]),
        text.encode(),
    )


def differences(one, other, parent_one, parent_other, path):
    """What differs between an entry and its restored form."""
    found = [
        f"{what}: {a!r}, restored {b!r}"
        for what, a, b in (
            ("type", one.word, other.word), ("mode", oct(one.mode), oct(other.mode)), ("owner", one.owner, other.owner),
            ("mtime", one.mtime_ns, other.mtime_ns), ("size", one.size, other.size), ("target", one.target, other.target),
            ("device", one.device, other.device),
        )
        if a != b
    ]
    if not found:
        full, restored = parent_one + b"/" + path, parent_other + b"/" + path
        if one.word == "file" and read(full) != read(restored):
            found.append("the content")
        if xattrs(full) != xattrs(restored):
            found.append(f"xattrs: {xattrs(full)!r}, restored {xattrs(restored)!r}")
    return found


def links(seen, paths, only_whole=False):
    """Names of the same file among `paths`; with `only_whole` for files all of whose names are among them."""
    groups = collections.defaultdict(list)
    for path in paths:
        if seen[path].word != "dir" and seen[path].nlink > 1:
            groups[seen[path].inode].append(path)
    return [sorted(n) for n in groups.values() if len(n) > 1 and (not only_whole or len(n) == seen[n[0]].nlink)]


def compare_all(source, restored):
    """Every difference between two trees that must be equal."""
    ours, theirs = look(source), look(restored)
    base, out = os.path.dirname(source), os.path.dirname(restored)
    failures = [Failure("lost", p, "it is not there after the quiet backup") for p in ours.keys() - theirs.keys()]
    failures += [Failure("extra", p, "it is not in the tree") for p in theirs.keys() - ours.keys()]
    for path in ours.keys() & theirs.keys():
        failures += [Failure("altered", path, d) for d in differences(ours[path], theirs[path], base, out, path)]
    one, other = (sorted(links(s, s)) for s in (ours, theirs))
    failures += [Failure("links", names[0], f"names of one file: {names}") for names in one if names not in other]
    failures += [Failure("links", names[0], f"not names of one file: {names}") for names in other if names not in one]
    return failures


class Judge:
    """Judges what was restored from a backup that was made while the tree changed."""

    def __init__(self, made, base, out, restore):
        self.base, self.out = base, out
        self.ours, self.theirs = made.source, look(out + b"/tree")
        self.began_ns, self.truths, self.created = made.began_ns, made.truths, made.problems
        self.told, self.retold = self.spread(self.created), self.spread(restore)
        self.failures = []

    def fail(self, kind, path, detail):
        self.failures.append(Failure(kind, path, detail))

    def spread(self, named):
        """What is said of one name of a file holds for all."""
        names = collections.defaultdict(list)
        for path, seen in self.theirs.items():
            if seen.word != "dir" and seen.nlink > 1:
                names[seen.inode].append(path)
        told = {path: dict(kinds) for path, kinds in named.items()}
        for group in names.values():
            for kinds in [named[path] for path in group if path in named]:
                for path in group:
                    told.setdefault(path, {}).update(kinds)
        return told

    def verdict(self):
        self.check_named()
        self.check_still()
        for path, seen in self.theirs.items():
            parts = path.split(b"/")
            if len(parts) > 1 and re.fullmatch(rb"c\d+", parts[1]):
                self.check_one(path, parts, seen, self.truths[int(parts[1][1:])])
        return self.failures

    def check_named(self):
        """What is called changed is there."""
        for path, kinds in self.created.items():
            if "changed" in kinds and path not in self.theirs:
                self.fail("changed-absent", path, f"a problem calls it changed, so it should be there: {kinds['changed']}")

    def check_still(self):
        """What nothing touched while the backup ran is there and equal, and no problem is laid to it."""
        moved = set().union(*(t["moved"] for t in self.truths))
        strict = []
        for path, seen in self.ours.items():
            parts = path.split(b"/")
            ways = [self.ours[b"/".join(parts[:n])] for n in range(1, len(parts) + (seen.word == "dir"))]
            if any(w.inode in moved for w in ways):
                continue
            untouched = seen.ctime_ns < self.began_ns
            if path not in self.theirs:
                if untouched or seen.word == "dir" or parts[1] in STILL:
                    self.fail("lost", path, f"a {seen.word} that stayed is not there; named as {self.created.get(path)}")
                continue
            if untouched or (len(parts) > 1 and parts[1] in STILL):
                for difference in differences(seen, self.theirs[path], self.base, self.out, path):
                    self.fail("altered", path, f"untouched, but {difference}; named as {self.created.get(path)}")
                blame = set(self.created.get(path, ())) - (set() if untouched else {"changed"})
                if blame:
                    self.fail("blamed", path, f"untouched, but named as {self.created[path]}")
            if untouched:
                strict.append(path)
        for names in links(self.ours, strict, only_whole=True):
            if len({self.theirs[n].inode for n in names}) != 1:
                self.fail("links", names[0], f"untouched names of one file are so no more: {names}")

    def check_one(self, path, parts, seen, truth):
        for parent, name, word in zip(parts, parts[1:], ["dir"] * (len(parts) - 2) + [seen.word]):
            if (parent, name, word) not in truth["edges"]:
                self.fail("stranger", path, f"{parent!r} never held a {word} {name!r} since the round began")
                return
        if seen.word == "file":
            self.check_file(path, parts[-1], seen, truth)
        elif seen.word == "symlink":
            self.check_link(path, seen, truth)

    def check_link(self, path, seen, truth):
        found = re.match(rb"t-(\d+)-", seen.target)
        serial = int(found[1]) if found else None
        if serial is None or not self.was_alive(serial, truth):
            self.fail("stale", path, f"no link to {seen.target!r} was there since the round began")
        elif seen.mtime_ns != content.mtime_ns(serial) and "changed" not in self.told.get(path, ()):
            self.fail("mixed", path, f"its target is {seen.target!r}, its time of another link: {seen.mtime_ns}")

    @staticmethod
    def was_alive(serial, truth):
        return serial in truth["alive"] or truth["first_new"] <= serial <= truth["last"]

    def check_file(self, path, name, seen, truth):
        data = read(self.out + b"/" + path)
        found = content.Read(data)
        group = re.match(rb"g(\d+)-(inplace|mapped)?", name)
        if group and found.group is not None and found.group != int(group[1]):
            self.fail("group", path, f"it holds content of group {found.group}")
            return
        if found.serial is not None and not self.was_alive(found.serial, truth):
            self.fail("stale", path, f"file {found.serial:08x} was gone before the round began")
        kind = found.kind or {b"inplace": content.IN_PLACE, b"mapped": content.MAPPED}.get(group and group[2], content.WHOLE)
        if kind == content.MAPPED:
            return
        if kind == content.IN_PLACE:
            number = int(group[1]) if group else found.group
            fault = self.check_steps(found, *truth["in_place"].get(number, ([], [])))
        else:
            fault = found.check_whole() or (found.check_holes(data) if found.size else None)
            if not fault and found.size and seen.mtime_ns != content.mtime_ns(found.serial):
                fault = f"its content is of file {found.serial:08x}, its time is not: {seen.mtime_ns}"
        if not fault:
            return
        if "changed" not in self.told.get(path, ()):
            self.fail("torn", path, f"{fault}; create named it as {self.created.get(path)}")
        elif path not in self.retold:
            self.fail("silent", path, f"{fault}; create named it changed, restore did not name it")

    @staticmethod
    def check_steps(found, base, log):
        """A file that was changed in place must be as it was after one of its changes."""
        if found.fault:
            return found.fault
        if found.size % content.PAGE:
            return f"its size is {found.size}, which it never had"
        pages, wanted = list(base), found.generations
        wrong = sum(a != b for a, b in zip(pages, wanted))
        if wrong == 0 and len(pages) == len(wanted):
            return None
        for what, place, generation in log:
            if what == "size":
                wrong -= sum(a != b for a, b in zip(pages[place:], wanted[place:]))
                added = [0] * (place - len(pages))
                wrong += sum(b != 0 for b in wanted[len(pages) : place])
                del pages[place:]
                pages.extend(added)
            else:
                for _ in range(place + 1 - len(pages)):
                    wrong += len(pages) < len(wanted) and wanted[len(pages)] != 0
                    pages.append(0)
                if place < len(wanted):
                    wrong += (generation != wanted[place]) - (pages[place] != wanted[place])
                pages[place] = generation
            if wrong == 0 and len(pages) == len(wanted):
                return None
        return f"it never was like this: {len(wanted)} pages, newest generation {max(wanted, default=0)}"
