"""An area of a tree, and a model of it that is always true, because only one process changes it.

Files that are written in one go get their names afterwards (O_TMPFILE and link), so that nobody may see them half. Those
that are changed in place have names that say so. Names tell the group of a file: `g17-…` never holds another group's.
"""

import errno
import mmap
import os
import random

import content
from content import IN_PLACE, MAPPED, PAGE, SPARSE, WHOLE

LARGE = 8 << 20
# Pages of each mapped file that are changed.
MAPPED_PAGES = 2
SUFFIXES = [b"", b"", b"", b"", b" ", b"\n", b"\xff\xfe", b"\\", b'"', b"\xe2\x80\xaetxt", b"\t", b"%s$(x)", b"\xf3\xa0\x81\x81"]
MODES = [0o644, 0o600, 0o755, 0o4755, 0o2711, 0o1666, 0o000, 0o444]
ROOT = os.geteuid() == 0

def group_of(name):
    """The group that a name tells."""
    return int(name[1:].split(b"-")[0]) if name.startswith(b"g") else None


class Bag:
    """A set from which one can be picked at random."""

    def __init__(self):
        self.items, self.places = [], {}

    def add(self, item):
        self.places[item] = len(self.items)
        self.items.append(item)

    def remove(self, item):
        place, last = self.places.pop(item), self.items.pop()
        if last is not item:
            self.items[place] = last
            self.places[last] = place

    def pick(self, rng):
        return self.items[int(rng.random() * len(self.items))]


class Node:
    """A name in the tree: of a folder, or of an inode of another type."""

    __slots__ = ("name", "parent", "kids", "inode", "home", "number")

    def __init__(self, name, kids=None, inode=None):
        self.name, self.kids, self.inode = name, kids, inode
        self.parent = self.home = self.number = None

    def word(self):
        return "dir" if self.kids is not None else self.inode.word

    def may_be_called(self, name):
        """Names of groups are kept for their files, and for folders."""
        return self.kids is not None or group_of(name) in (None, self.inode.group)

    def is_inside(self, other):
        node = self
        while node is not None and node is not other:
            node = node.parent
        return node is other


class Inode:
    """What is no folder."""

    __slots__ = ("word", "kind", "serial", "group", "names", "fixed", "size", "pages", "log", "ready", "map")

    def __init__(self, word, kind, serial, group, size=0):
        self.word, self.kind, self.serial, self.group, self.size = word, kind, serial, group, size
        self.names, self.fixed, self.pages, self.log, self.ready, self.map = [], False, [], [], 0, None


class Area:
    """One area: a folder below the root, another beside the root for what is moved away, and one for building."""

    def __init__(self, base, number, seed, files):
        self.rng = random.Random(f"{seed}-{number}")
        self.root_path = os.path.join(base, b"tree")
        self.limbo_path = os.path.join(base, b"limbo%d" % number)
        self.build = os.path.join(base, b"build%d" % number)
        self.number, self.files = number, files
        self.serial = self.group = number << 20
        self.unique = 0
        self.moved, self.edges = set(), set()
        self.dirs, self.names = Bag(), Bag()
        self.in_place, self.mapped, self.anchored = [], [], []
        self.cwd = os.open(base, os.O_RDONLY | os.O_DIRECTORY)
        for path in (self.limbo_path, self.build):
            os.mkdir(path)
        self.maps_tell = self.do_maps_tell()
        self.top = Node(b"tree", {})
        self.limbo = Node(b"limbo", {})
        self.area = self.add_dir(self.top, b"c%d" % number)
        self.plant()

    def do_maps_tell(self):
        """Whether changes through a map have timestamps of their own after a sync. On tmpfs no backup could see them."""
        fd = os.open(self.build + b"/m", os.O_CREAT | os.O_RDWR)
        os.ftruncate(fd, PAGE)
        with mmap.mmap(fd, PAGE) as mapped:
            mapped[0] = 1
            os.fsync(fd)
            os.utime(fd, (0, 0))
            mapped[0] = 2
        tells = os.fstat(fd).st_mtime_ns != 0
        os.close(fd)
        os.unlink(self.build + b"/m")
        return tells

    # Paths and the model.

    def path(self, node):
        parts = []
        while node.parent is not None:
            parts.append(node.name)
            node = node.parent
        parts.append(self.root_path if node is self.top else self.limbo_path)
        parts.reverse()
        return b"/".join(parts)

    def inside(self, parent, name):
        return self.path(parent) + b"/" + name

    def attach(self, node, parent, name):
        if node.name != name and node.kids:
            for kid in node.kids.values():
                self.edges.add((name, kid.name, kid.word()))
        node.parent, node.name = parent, name
        parent.kids[name] = node
        self.edges.add((parent.name, name, node.word()))

    def detach(self, node):
        del node.parent.kids[node.name]
        node.parent = None

    def fresh(self, prefix):
        self.unique += 1
        return b"%s-%x%s" % (prefix, self.unique, self.rng.choice(SUFFIXES))

    def add_dir(self, parent, name):
        path = self.inside(parent, name)
        os.mkdir(path)
        node = Node(name, {})
        node.number = os.lstat(path).st_ino
        node.home = (parent, name)
        self.moved.add(node.number)
        self.attach(node, parent, name)
        if parent is not self.top:
            self.dirs.add(node)
        return node

    def some_dir(self):
        """A folder that is in the tree, mostly."""
        return self.dirs.pick(self.rng) if self.rng.random() < 0.97 else self.area

    def file_name(self, inode):
        words = {WHOLE: b"", SPARSE: b"sparse", IN_PLACE: b"inplace", MAPPED: b"mapped"}
        return self.fresh(b"g%d-%s" % (inode.group, words[inode.kind]))

    # Making things.

    def next_serial(self):
        self.serial += 1
        return self.serial

    def next_group(self):
        self.group += 1
        return self.group

    def some_size(self):
        draw = self.rng.random()
        if draw < 0.05:
            return 0
        return int(content.SHORTEST * (200 * 1024 / content.SHORTEST) ** self.rng.random())

    def new_inode(self, kind, group, size):
        return Inode("file", kind, self.next_serial(), group, size)

    def write_whole(self, fd, inode):
        size = inode.size
        if inode.kind == SPARSE:
            for offset, data in content.whole(inode.serial, inode.group, size, inode.kind):
                os.pwrite(fd, data, offset)
            os.ftruncate(fd, size)
        elif inode.kind == WHOLE:
            os.write(fd, b"".join(data for _, data in content.whole(inode.serial, inode.group, size, inode.kind)))
        else:
            count = size // PAGE
            parts = [content.page(inode.serial, inode.group, p, 1, inode.kind, 0) for p in range(count)]
            os.write(fd, b"".join(parts))
            inode.pages = [1] * count
        os.utime(fd, ns=(content.mtime_ns(inode.serial),) * 2)

    def born(self, inode, folder):
        """A new file without a name, in the same group of inodes as `folder`: one that was just freed is used again."""
        try:
            fd = os.open(folder, os.O_TMPFILE | os.O_RDWR, 0o644)
            source, temporary = b"/proc/self/fd/%d" % fd, None
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EISDIR, errno.EINVAL):
                raise
            self.unique += 1
            source = temporary = self.build + b"/t%d" % self.unique
            fd = os.open(source, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o644)
        self.write_whole(fd, inode)
        if self.rng.random() < 0.2:
            os.setxattr(fd, "user.serial", b"%d" % inode.serial)
        return fd, source, temporary

    def link_born(self, born, paths, replace=False):
        fd, source, temporary = born
        for path in paths:
            target = self.build + b"/r" if replace else path
            os.link(source, target, src_dir_fd=self.cwd, follow_symlinks=True)
            if replace:
                os.rename(target, path)
        os.close(fd)
        if temporary:
            os.unlink(temporary)

    def give_name(self, inode, parent, name):
        node = Node(name, inode=inode)
        inode.names.append(node)
        self.attach(node, parent, name)
        self.names.add(node)
        node.home = (parent, name)
        return node

    def add_file(self, inode, parents):
        names = [self.file_name(inode) for _ in parents]
        paths = [self.inside(p, n) for p, n in zip(parents, names)]
        self.link_born(self.born(inode, self.path(parents[0])), paths)
        for parent, name in zip(parents, names):
            self.give_name(inode, parent, name)
        return inode

    def add_link(self, parent, name, group, target):
        inode = Inode("symlink", None, self.next_serial(), group)
        self.make_link(inode, self.inside(parent, name), target)
        return self.give_name(inode, parent, name)

    def make_link(self, inode, path, target):
        temporary = self.build + b"/l"
        os.symlink(b"t-%d-%s" % (inode.serial, target), temporary)
        os.utime(temporary, ns=(content.mtime_ns(inode.serial),) * 2, follow_symlinks=False)
        os.rename(temporary, path)

    def add_fifo(self, parent):
        name = self.fresh(b"p")
        os.mkfifo(self.inside(parent, name), 0o640)
        self.give_name(Inode("fifo", None, self.next_serial(), 0), parent, name)

    def plant(self):
        """The tree as it is at the beginning."""
        rng = self.rng
        for number in range(max(self.files // 8, 12)):
            parent = self.area
            if len(self.dirs.items) > 3 and rng.random() < 0.85:
                parent = self.dirs.pick(rng)
            name = b"d%d%s" % (number, rng.choice(SUFFIXES))
            node = self.add_dir(parent, name)
            os.setxattr(self.path(node), "user.folder", name)
        for number in range(self.files):
            names = 1 if number % 4 else 2 + number % 3
            inode = self.new_inode(WHOLE, self.next_group(), self.some_size())
            self.add_file(inode, [self.some_dir() for _ in range(names)])
        for size in [rng.randrange(8, 400) * PAGE for _ in range(6)]:
            self.add_file(self.new_inode(SPARSE, self.next_group(), size), [self.some_dir()])
        some = 1 + self.files // 750
        for size in [LARGE + rng.randrange(12 << 20) for _ in range(some)]:
            self.add_file(self.new_inode(WHOLE, self.next_group(), size), [self.some_dir()])
        sizes = [rng.randrange(1, 50) * PAGE for _ in range(40)]
        for size in sizes + [LARGE + rng.randrange(512) * PAGE] * some:
            inode = self.new_inode(IN_PLACE, self.next_group(), size)
            self.in_place.append(self.add_file(inode, [self.some_dir() for _ in range(rng.choice((1, 1, 2)))]))
        for size in [rng.randrange(MAPPED_PAGES, 16) * PAGE for _ in range(8)] + [LARGE + 64 * PAGE]:
            if not self.maps_tell:
                break
            inode = self.add_file(self.new_inode(MAPPED, self.next_group(), size), [self.some_dir()])
            fd = os.open(self.path(inode.names[0]), os.O_RDWR)
            inode.map = mmap.mmap(fd, inode.size)
            os.close(fd)
            self.mapped.append(inode)
        for number in range(max(self.files // 20, 10)):
            self.add_link(self.some_dir(), self.fresh(b"l"), 0, b"nowhere" if number % 2 else b"../../still")
        for _ in range(max(self.files // 100, 4)):
            self.add_fifo(self.some_dir())
        # Names that are never touched, of files whose other names are: before the area in path order, and behind it.
        for number in range(max(self.files // 10, 20)):
            inode = self.new_inode(WHOLE, self.next_group(), self.some_size() or 100)
            inode.fixed = True
            parents = [self.some_dir() for _ in range(1 + number % 3)]
            self.add_file(inode, parents)
            place = (b"a-still", b"still")[number % 2]
            still = self.root_path + b"/" + place + b"/g%d-%d" % (inode.group, number)
            os.link(self.path(inode.names[0]), still)
            self.anchored.append((inode, still))


def plant_still(root, seed, files):
    """What nobody ever touches."""
    rng = random.Random(f"{seed}-still")
    for place in (b"a-still", b"still"):
        folder = root + b"/" + place
        os.mkdir(folder)
        for number in range(files):
            if number % 20 == 0:
                below = folder + b"/deep-%d" % number
                os.mkdir(below)
            path = below + b"/f%d%s" % (number, rng.choice(SUFFIXES))
            with open(path, "xb") as file:
                file.write(b"still %d\n" % number * rng.randrange(2000))
                if number % 11 == 0:
                    os.setxattr(file.fileno(), "user.still", b"%d" % number)
            os.chmod(path, rng.choice(MODES) | (0 if ROOT else 0o600))
            os.utime(path, ns=(rng.randrange(10**18), rng.randrange(10**18)))
            if number % 5 == 0:
                os.symlink(b"f%d" % number, below + b"/link-%d" % number)
            if number % 7 == 0:
                os.link(path, folder + b"/hard-%d" % number)
