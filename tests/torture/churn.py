"""A process that changes an area of a tree all the time until it is told to pause, and says what may have been seen."""

import ctypes
import errno
import os
import struct
import time

import content
from area import LARGE, MAPPED_PAGES, MODES, ROOT, Area, Inode, group_of
from content import IN_PLACE, MAPPED, PAGE, SPARSE, WHOLE

# Between two changes of a file in place, so that each has a timestamp of its own whatever the kernel's tick.
SPACING_NS = 12_000_000

_libc = ctypes.CDLL(None, use_errno=True)


def exchange(one, other):
    """Swaps what two names stand for, at once."""
    at_cwd, rename_exchange = -100, 2
    if _libc.renameat2(at_cwd, one, at_cwd, other, rename_exchange) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), one, None, other)


class Churner(Area):
    """Changes its area at random."""

    def __init__(self, base, number, seed, files, counter, moods):
        super().__init__(base, number, seed, files)
        self.counter, self.moods = counter, moods
        self.at = 0
        self.due = []

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
        if not (one.may_be_called(other.name) and other.may_be_called(one.name)):
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
            inode = self.new_inode(WHOLE, group_of(name) or self.next_group(), 300)
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
            if kid.inode.size >= LARGE:
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
        self.store(inode, int(self.rng.random() * MAPPED_PAGES))

    def store(self, inode, place):
        data = content.page(inode.serial, inode.group, place, self.at & 0xFFFFFFFF, MAPPED, 0)
        inode.map[place * PAGE : (place + 1) * PAGE] = data

    # The process.

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
            for place in range(MAPPED_PAGES):
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
