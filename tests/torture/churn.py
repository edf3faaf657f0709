"""A process that changes an area of a tree all the time, keeping a model of it, until it is told to pause.

Files that are written in one go get their names afterwards (O_TMPFILE and link), so that nobody may see them half. Those
that are changed in place have names that say so. Names tell the group of a file: `g17-…` never holds another group's.
"""

import ctypes
import errno
import mmap
import os
import random
import struct
import time

import content
from content import IN_PLACE, MAPPED, PAGE, SPARSE, WHOLE

LARGE = 8 << 20
# Between two changes of a file in place, so that each has a timestamp of its own whatever the kernel's tick.
SPACING_NS = 12_000_000
SUFFIXES = [b"", b"", b"", b"", b" ", b"\n", b"\xff\xfe", b"\\", b'"', b"\xe2\x80\xaetxt", b"\t", b"%s$(x)", b"\xf3\xa0\x81\x81"]
MODES = [0o644, 0o600, 0o755, 0o4755, 0o2711, 0o1666, 0o000, 0o444]
ROOT = os.geteuid() == 0

_libc = ctypes.CDLL(None, use_errno=True)


def exchange(one, other):
    """Swaps what two names stand for, at once."""
    at_cwd, rename_exchange = -100, 2
    if _libc.renameat2(at_cwd, one, at_cwd, other, rename_exchange) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), one, None, other)


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


class Churner:
    """One area: a folder below the root, another beside the root for what is moved away, and one for building."""

    def __init__(self, base, number, seed, files, counter, moods):
        self.rng = random.Random(f"{seed}-{number}")
        self.root_path = os.path.join(base, b"tree")
        self.limbo_path = os.path.join(base, b"limbo%d" % number)
        self.build = os.path.join(base, b"build%d" % number)
        self.number, self.files, self.counter, self.moods = number, files, counter, moods
        self.serial = self.group = number << 20
        self.at = 0
        self.unique = 0
        self.due = []
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
        for size in [rng.randrange(self.MAPPED_PAGES, 16) * PAGE for _ in range(8)] + [LARGE + 64 * PAGE]:
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

    # Changes.

    def later(self, most, undo):
        """Does something some changes later."""
        self.due.append((self.at + 1 + int(self.rng.random() * most), undo))

    def is_free(self, parent, name):
        return name not in parent.kids and (parent is self.limbo or parent.parent is not None)

    def rename(self, node, parent, name):
        os.rename(self.path(node), self.inside(parent, name))
        self.detach(node)
        self.attach(node, parent, name)
        if node.number:
            self.moved.add(node.number)

    def go_home(self, node, tries=20):
        """Back to where it belongs, as soon as that is possible."""
        if node.parent is None:
            return
        parent, name = node.home
        if self.is_free(parent, name) and not parent.is_inside(node):
            self.rename(node, parent, name)
        elif tries:
            self.later(60, lambda: self.go_home(node, tries - 1))
        else:
            parent, name = self.some_dir(), self.fresh(b"d")
            parent = self.area if parent.is_inside(node) else parent
            self.rename(node, parent, name)
            node.home = (parent, name)

    def move_folder(self):
        node = self.dirs.pick(self.rng)
        parent = self.limbo if self.rng.random() < 0.4 else self.some_dir()
        if parent.is_inside(node) or not self.is_free(parent, node.name):
            return
        self.rename(node, parent, node.name)
        self.later(self.rng.choice((3, 30, 300)), lambda: self.go_home(node))

    def move_name(self):
        node = self.names.pick(self.rng)
        parent = self.some_dir()
        if self.is_free(parent, node.name):
            self.rename(node, parent, node.name)
            node.home = (parent, node.name)

    def swap(self):
        """Two names exchange what they stand for, and again later."""
        one = self.dirs.pick(self.rng)
        other = (self.dirs if self.rng.random() < 0.5 else self.names).pick(self.rng)
        if self.exchange(one, other):
            self.later(self.rng.choice((3, 30)), lambda: self.exchange(one, other))

    def exchange(self, one, other):
        if one.parent is None or other.parent is None or one.is_inside(other) or other.is_inside(one):
            return False
        exchange(self.path(one), self.path(other))
        places = [(n.parent, n.name) for n in (one, other)]
        self.detach(one)
        self.detach(other)
        self.attach(one, *places[1])
        self.attach(other, *places[0])
        self.moved.update(n.number for n in (one, other) if n.number)
        return True

    def forget(self, node):
        """The name is gone."""
        self.detach(node)
        self.names.remove(node)
        node.inode.names.remove(node)

    def stand_in(self):
        """Something else takes the place of a folder for a while: a link to it, or a file."""
        node = self.dirs.pick(self.rng)
        parent, name = node.parent, node.name
        if not self.is_free(self.limbo, name) or parent is self.limbo:
            return
        if self.rng.random() < 0.5:
            self.rename(node, self.limbo, name)
            stand_in = self.add_link(parent, name, 0, self.path(node))
        else:
            inode = self.new_inode(WHOLE, self.next_group(), 300)
            born = self.born(inode, self.path(parent))
            self.rename(node, self.limbo, name)
            self.link_born(born, [self.inside(parent, name)])
            stand_in = self.give_name(inode, parent, name)

        def undo():
            if stand_in.parent is not None:
                os.unlink(self.path(stand_in))
                self.forget(stand_in)
            self.go_home(node)

        self.later(self.rng.choice((3, 30, 100)), undo)

    def replace(self, node=None):
        """A new file takes over a name of an old one of its group."""
        node = node or self.names.pick(self.rng)
        old = node.inode
        if old.word == "symlink":
            new = Inode("symlink", None, self.next_serial(), old.group)
            self.make_link(new, self.path(node), b"again")
        elif old.kind in (WHOLE, SPARSE):
            if old.size >= LARGE and self.rng.random() < 0.9:
                return
            size = LARGE + self.rng.randrange(12 << 20) if old.size >= LARGE else self.some_size()
            new = self.new_inode(old.kind, old.group, size)
            self.link_born(self.born(new, self.path(node.parent)), [self.path(node)], replace=True)
        else:
            return
        old.names.remove(node)
        new.names.append(node)
        node.inode = new

    def use_inode_again(self):
        """All names of a file go, and a stranger gets its inode and several names at once."""
        old = self.names.pick(self.rng).inode
        if old.word != "file" or old.kind != WHOLE or old.fixed or old.size >= LARGE:
            return
        parents = [n.parent for n in old.names] + [self.some_dir()]
        for node in list(old.names):
            os.unlink(self.path(node))
            self.forget(node)
        folder = parents[0]
        self.rng.shuffle(parents)
        new = self.new_inode(WHOLE, self.next_group(), self.some_size())
        names = [self.file_name(new) for _ in parents]
        self.link_born(self.born(new, self.path(folder)), [self.inside(p, n) for p, n in zip(parents, names)])
        for parent, name in zip(parents, names):
            self.give_name(new, parent, name)

    def link_more(self):
        inode = self.names.pick(self.rng).inode
        if inode.word != "file" or len(inode.names) >= 4:
            return
        parent, name = self.some_dir(), self.file_name(inode)
        os.link(self.path(inode.names[0]), self.inside(parent, name), follow_symlinks=False)
        self.give_name(inode, parent, name)

    def link_less(self):
        node = self.names.pick(self.rng)
        if len(node.inode.names) > 1:
            os.unlink(self.path(node))
            self.forget(node)

    def part_from_still(self):
        """A name of a file that has another one in `still` is taken by another file, and given back later."""
        inode, still = self.anchored[int(self.rng.random() * len(self.anchored))]
        if not inode.names:
            parent, name = self.some_dir(), self.file_name(inode)
            os.link(still, self.inside(parent, name))
            self.give_name(inode, parent, name)
        node = inode.names[int(self.rng.random() * len(inode.names))]
        self.replace(node)

        def undo():
            if node.parent is None or node.inode is inode:
                return
            temporary = self.build + b"/s"
            os.link(still, temporary)
            os.rename(temporary, self.path(node))
            node.inode.names.remove(node)
            node.inode = inode
            inode.names.append(node)

        self.later(self.rng.choice((3, 30, 200)), undo)

    def renew_folder(self):
        """A small folder goes with all it holds, and a new one comes."""
        node = self.dirs.pick(self.rng)
        kids = list(node.kids.values())
        if len(kids) > 12 or any(k.kids is not None or k.inode.kind in (IN_PLACE, MAPPED) for k in kids):
            return
        parent, (home, name) = node.parent, node.home
        for kid in kids:
            if kid.inode.word == "file" and len(kid.inode.names) == 1 and not kid.inode.fixed and kid.inode.size >= LARGE:
                return
        for kid in kids:
            os.unlink(self.path(kid))
            self.forget(kid)
        os.rmdir(self.path(node))
        self.detach(node)
        self.dirs.remove(node)
        if not self.is_free(home, name):
            home, name = self.some_dir(), self.fresh(b"d")
        node = self.add_dir(home, name)
        for kid in kids:
            if kid.inode.word == "file" and kid.inode.kind == WHOLE:
                self.add_file(self.new_inode(WHOLE, self.next_group(), self.some_size()), [node])
            elif kid.inode.word == "symlink":
                self.add_link(node, self.fresh(b"l"), 0, b"new")
            elif kid.inode.word == "fifo":
                self.add_fifo(node)
            else:
                self.add_file(self.new_inode(SPARSE, self.next_group(), 20 * PAGE), [node])

    def change_metadata(self):
        node = (self.dirs if self.rng.random() < 0.3 else self.names).pick(self.rng)
        if node.kids is None and (node.inode.fixed or node.inode.kind == MAPPED):
            return
        path = self.path(node)
        draw = self.rng.random()
        if draw < 0.5 and node.word() != "symlink":
            modes = MODES if ROOT else [0o700, 0o755, 0o1700]
            os.chmod(path, self.rng.choice(modes) if ROOT or node.kids is not None else 0o600 | self.rng.choice(MODES))
        elif draw < 0.75 and ROOT:
            os.chown(path, int(self.rng.random() * 4000), int(self.rng.random() * 4000), follow_symlinks=False)
        elif node.word() in ("file", "dir"):
            try:
                if self.rng.random() < 0.7:
                    os.setxattr(path, "user.extra", b"%d" % self.at)
                else:
                    os.removexattr(path, "user.extra")
            except OSError as error:
                if error.errno not in (errno.ENODATA, errno.EACCES):
                    raise

    def change_in_place(self):
        inode = self.in_place[int(self.rng.random() * len(self.in_place))]
        now = time.monotonic_ns()
        if not inode.names or inode.ready > now:
            return
        fd = os.open(self.path(inode.names[0]), os.O_RDWR)
        before = os.fstat(fd).st_mtime_ns
        self.one_step(fd, inode)
        if self.rng.random() < 0.1:
            os.utime(fd, ns=(before, before))
        os.close(fd)
        inode.ready = time.monotonic_ns() + SPACING_NS

    def one_step(self, fd, inode):
        count, draw = len(inode.pages), self.rng.random()
        if draw < 0.15:
            most = LARGE // PAGE * 5 // 4 if inode.group % 2 or count * PAGE >= LARGE else 60
            new = 0 if self.rng.random() < 0.2 else int(self.rng.random() * most)
            os.ftruncate(fd, new * PAGE)
            del inode.pages[new:]
            inode.pages.extend([0] * (new - count))
            inode.log.append(("size", new, 0))
        else:
            place = count if draw < 0.4 or not count else int(self.rng.random() * count)
            generation = self.at & 0xFFFFFFFF
            os.pwrite(fd, content.page(inode.serial, inode.group, place, generation, IN_PLACE, 0), place * PAGE)
            if place == count:
                inode.pages.append(generation)
            inode.pages[place] = generation
            inode.log.append(("page", place, generation))

    def change_through_map(self):
        if not self.mapped:
            return
        inode = self.mapped[int(self.rng.random() * len(self.mapped))]
        self.store(inode, int(self.rng.random() * self.MAPPED_PAGES))

    def store(self, inode, place):
        data = content.page(inode.serial, inode.group, place, self.at & 0xFFFFFFFF, MAPPED, 0)
        inode.map[place * PAGE : (place + 1) * PAGE] = data

    # The process.

    MAPPED_PAGES = 2

    MOODS = {
        "folders": [(move_folder, 8), (swap, 2), (stand_in, 2), (move_name, 1)],
        "links": [(replace, 4), (use_inode_again, 6), (link_more, 3), (link_less, 3), (part_from_still, 6)],
        "contents": [(change_in_place, 12), (change_through_map, 2), (replace, 4), (change_metadata, 3)],
        "all": [
            (move_folder, 4), (swap, 2), (stand_in, 1), (move_name, 3), (replace, 4), (use_inode_again, 3), (link_more, 2),
            (link_less, 2), (part_from_still, 3), (renew_folder, 1), (change_metadata, 3), (change_in_place, 6),
            (change_through_map, 1),
        ],
    }

    def begin(self):
        """What is true when a round begins."""
        self.moved.clear()
        self.edges = self.present_edges()
        self.first_new = self.serial + 1
        inodes = {node.inode for node in self.names.items}
        self.alive = {i.serial for i in inodes} | {i.serial for i, _ in self.anchored}
        for inode in self.in_place:
            inode.log = []
        for inode in self.mapped:
            # Only the first change of a page has a timestamp, until the page is written to the disk.
            for place in range(self.MAPPED_PAGES):
                self.store(inode, place)
        self.bases = {i.group: list(i.pages) for i in self.in_place}

    def present_edges(self):
        edges, stack = set(), [self.top, self.limbo]
        while stack:
            folder = stack.pop()
            for kid in folder.kids.values():
                edges.add((folder.name, kid.name, kid.word()))
                if kid.kids is not None:
                    stack.append(kid)
        return edges

    def truth(self):
        """What may have been seen since the round began."""
        return {
            "edges": self.edges,
            "alive": self.alive,
            "first_new": self.first_new,
            "last": self.serial,
            "moved": self.moved,
            "in_place": {i.group: (self.bases[i.group], i.log) for i in self.in_place},
        }

    def round(self, asked):
        while not asked():
            mood = self.MOODS[self.rng.choice(self.moods)]
            changes = self.rng.choices([c for c, _ in mood], [w for _, w in mood], k=self.rng.randrange(20, 400))
            for change in changes:
                self.at += 1
                if self.due:
                    ready = [u for when, u in self.due if when <= self.at]
                    if ready:
                        self.due = [d for d in self.due if d[0] > self.at]
                        for undo in ready:
                            undo()
                change(self)
                if self.at % 16 == 0:
                    struct.pack_into("Q", self.counter, self.number * 8, self.at)
                    if asked():
                        break


def serve(base, number, seed, files, counter, moods, connection):
    """The life of a churning process."""
    os.umask(0o022)
    churner = Churner(base, number, seed, files, counter, moods)
    connection.send("ready")
    while (word := connection.recv()) in ("go", "go on"):
        if word == "go":
            churner.begin()
        churner.round(connection.poll)
        connection.recv()
        connection.send(churner.truth())


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
            os.chmod(path, rng.choice(MODES) | (0 if ROOT else 0o400))
            os.utime(path, ns=(rng.randrange(10**18), rng.randrange(10**18)))
            if number % 5 == 0:
                os.symlink(b"f%d" % number, below + b"/link-%d" % number)
            if number % 7 == 0:
                os.link(path, folder + b"/hard-%d" % number)
