"""Content that says what it is: every page of a file names the file it belongs to, its place and its generation."""

import re

PAGE = 4096
HEAD = re.compile(rb"s([0-9a-f]{8}) g([0-9a-f]{6}) p([0-9a-f]{6}) n([0-9a-f]{8}) k([a-z]) z(\d+)\n")
# No file with content is shorter than a head.
SHORTEST = 64

# How a file is written. Where more than one step can be seen, the name of the file says so.
WHOLE, SPARSE, IN_PLACE, MAPPED = "wsim"


def page(serial, group, number, generation, kind, size):
    head = b"s%08x g%06x p%06x n%08x k%c z%d\n" % (serial, group, number, generation, ord(kind), size)
    return (head * (PAGE // len(head) + 1))[:PAGE]


def is_data(number, count, kind):
    """Whether a page of a whole file is one with content."""
    return kind != SPARSE or number in (0, count - 1) or number % 7 == 3


def whole(serial, group, size, kind):
    """Pages of a file that is never changed after it got its name: offset and bytes of those that are no holes."""
    count = -(-size // PAGE)
    for number in range(count):
        if is_data(number, count, kind):
            yield number * PAGE, page(serial, group, number, 0, kind, size)[: size - number * PAGE]


def mtime_ns(serial):
    """The time of the last change of a whole file or a link, so that mixed up metadata show."""
    return 1_500_000_000_000_000_000 + serial * 1_000_000_007


class Read:
    """What the content of a restored file says about itself."""

    def __init__(self, data):
        self.size = len(data)
        self.serial = self.group = self.kind = None
        self.generations = []
        self.fault = None
        view = memoryview(data)
        for number in range(-(-len(data) // PAGE)):
            self._page(number, bytes(view[number * PAGE : (number + 1) * PAGE]))

    def _page(self, number, data):
        if len(data) < SHORTEST and self.serial is not None and data.strip(b"\0"):
            # The end of a whole file may be too short for a head.
            self.generations.append(0)
            if data != page(self.serial, self.group, number, 0, self.kind, self.promised)[: len(data)]:
                self._wrong(f"the last {len(data)} bytes are not those of file {self.serial:08x}")
            return
        found = HEAD.match(data)
        if not found:
            self.generations.append(0)
            if data.strip(b"\0"):
                self._wrong(f"page {number} is no page of any file: {data[:80]!r}")
            return
        serial, group, place, generation = (int(found[i], 16) for i in range(1, 5))
        kind, size = found[5].decode(), int(found[6])
        self.generations.append(generation)
        if self.serial is None:
            self.serial, self.group, self.kind, self.promised = serial, group, kind, size
        elif (self.serial, self.group, self.kind, self.promised) != (serial, group, kind, size):
            self._wrong(f"page {number} is of file {serial:08x}, group {group}, others of {self.serial:08x}, {self.group}")
        if place != number:
            self._wrong(f"page {number} is page {place} of file {serial:08x}")
        elif data != page(serial, group, number, generation, kind, size)[: len(data)]:
            self._wrong(f"page {number} of file {serial:08x} is torn")

    def _wrong(self, what):
        self.fault = self.fault or what

    def check_whole(self):
        """A file that was never seen half-written: all pages, and nothing else."""
        if self.fault or self.size == 0:
            return self.fault
        if self.serial is None:
            return f"{self.size} zeros"
        if self.size != self.promised:
            return f"file {self.serial:08x} has {self.size} bytes and should have {self.promised}"
        for number, generation in enumerate(self.generations):
            if generation:
                return f"page {number} has generation {generation} in a file that is never changed"
        return None

    def check_holes(self, data):
        """Pages of zeros stand only where the file has holes."""
        count = len(self.generations)
        for number in range(count):
            part = data[number * PAGE : (number + 1) * PAGE]
            if is_data(number, count, self.kind) != bool(part.strip(b"\0")):
                return f"page {number} of {count} of file {self.serial:08x} is zeros, or should be"
        return None
