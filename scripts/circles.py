#!/usr/bin/env python3
"""Finds circles between the source files of `src/`, and between its modules (folders).

    scripts/circles.py              lists all circles and exits 1, or says that there is none
    scripts/circles.py --edges      prints who uses whom, file by file
    scripts/circles.py --self-test  tries the rules below on a small source tree

A file A uses a file B if production code in A names an item that B defines.

* Files are those that `mod` declarations reach from `src/lib.rs`. The programs in `src/bin/` are left out: nothing can
  use a program. Left out too: comments, strings, what is `#[cfg(test)]`, and modules whose name starts with `tests`.
* Items are fn, struct, enum, trait, type, const, static and macro_rules. They are named by `use` (braces, `self`,
  `super`, `crate`, `as`, `*`) or by a path in the code: `super::x::Y`, `child::Thing`, `imported_module::Thing`.
* A name belongs to the file that defines it. Imports on the way, public or not, are followed. A name that is not found
  (a macro made it, or another crate did) belongs to the file of the last module that was found.
* A `use` without `pub` counts in any case. A re-export (`pub use`, `pub(super) use`, ...) counts only if the file
  itself uses the name: a `mod.rs` that only declares and re-exports uses nothing. But a `mod.rs` that uses its
  children while they use items of its own is in a circle with them.
* To name a module (`mod x;`, `use super::x;`) is no use of it; the paths that go through the name are. `use x::*` uses
  the items whose names appear in the code, or the file of `x` if none does.

A circle of files is a set of files each of which uses each other, directly or through others of the set.

A circle of modules is the same for the direct children of one folder: a child that is a folder stands for all files
below it and for its own `mod.rs` (or `x.rs` beside `x/`). The file of the folder itself takes no part among its
children. A circle that is made of single files only is told once, as a circle of files.

What this cannot see: methods and fields (who calls a method names no file; `impl Target` counts through the `use` of
`Target`), names in strings (serde's `with = ".."`), macros that are in scope without a path, `#[path]`. Names are not
told apart by scope inside a file: a `use` in a function counts for its whole module. A re-exported function counts as
used by the file itself only if it is called there.
"""

import re
import sys
import tempfile
from collections import defaultdict
from pathlib import Path

TOKEN = re.compile(
    r"""(?P<blank> \s+ | //[^\n]* )
      | (?P<comment> /\* )
      | (?P<text> [bc]?r(?P<hashes>\#*)".*?"(?P=hashes) | [bc]?"(?:\\.|[^"\\])*"
                | b?'(?: \\u\{[^}]*\} | \\x.. | \\. | [^\\'] )' )
      | (?P<word> '?(?:r\#)?\w+ | :: | \.\.[.=]? | . )""",
    re.VERBOSE | re.DOTALL,
)
CLOSING = {"(": ")", "[": "]", "{": "}"}
DEFINING = {"fn", "struct", "enum", "trait", "type", "const", "static"}
ENDS_WITH_SEMICOLON = {"use", "const", "static", "type", "let"}
ENDS_WITH_BLOCK = set("fn struct enum trait impl mod macro_rules unsafe async extern { if match for while loop".split())


class Module:
    """What one module declares, imports and names. Paths of modules are tuples; that of the crate is ()."""

    def __init__(self, file):
        self.file = file
        self.items = set()
        self.imports = {}  # name -> path as written
        self.globs = []  # paths as written, without the star
        self.uses = []  # (path, is it a re-export, line)
        self.named = []  # (path, line): paths in the code, and single names


def tokens(text):
    """The words of a source file with their lines; a literal is one `""`."""
    found, at, line = [], 0, 1
    while at < len(text):
        match = TOKEN.match(text, at)
        end = match.end()
        if match["comment"]:
            depth = 1
            while depth:
                mark = re.compile(r"/\*|\*/").search(text, end)
                depth, end = depth + (1 if mark[0] == "/*" else -1), mark.end()
        elif not match["blank"]:
            found.append(('""' if match["text"] else match[0].removeprefix("r#"), line))
        line += text.count("\n", at, end)
        at = end
    return found


def partners(words):
    """Where each bracket closes."""
    closes, open_ones = {}, []
    for at, (word, _) in enumerate(words):
        if word in CLOSING:
            open_ones.append(at)
        elif word in CLOSING.values():
            closes[open_ones.pop()] = at
    return closes


def item_end(words, closes, at):
    """The end of the item, field, arm or statement that begins at `at`, behind its attributes."""
    while words[at][0] == "#":
        at = closes[at + 1] + 1
    if words[at][0] == "pub":
        at = closes[at + 1] + 1 if words[at + 1][0] == "(" else at + 1
    kind = words[at][0]
    if kind == "const" and words[at + 1][0] in ("fn", "unsafe", "async", "extern"):
        kind = "fn"
    while at < len(words) and words[at][0] not in CLOSING.values():
        word = words[at][0]
        if word == ";" or (word == "," and kind not in ENDS_WITH_BLOCK | ENDS_WITH_SEMICOLON):
            return at + 1
        at = closes.get(at, at) + 1
        if word == "{" and kind in ENDS_WITH_BLOCK:
            return at
    return at


def production(words):
    """The words without what is compiled for tests only."""
    closes, kept, at = partners(words), [], 0
    while at < len(words):
        if words[at][0] == "#" and words[at + 1][0] == "[":
            attribute = [word for word, _ in words[at + 2 : closes[at + 1]]]
            if attribute[0] == "cfg" and "test" in attribute and not {"not", "any"} & set(attribute):
                at = item_end(words, closes, at)
                continue
        kept.append(words[at])
        at += 1
    return kept


def use_tree(words, at, prefix=()):
    """The leaves `(path, name here, line)` of a `use`, and where it ends."""
    path = prefix
    while True:
        word, line = words[at]
        at += 1
        if word == "{":
            leaves = []
            while words[at][0] != "}":
                more, at = use_tree(words, at, path)
                leaves += more
                at += words[at][0] == ","
            return leaves, at + 1
        path += (word,)
        if words[at][0] == "::":
            at += 1
            continue
        if word == "self" and len(path) > 1:
            path = path[:-1]
        if words[at][0] == "as":
            return [(path, words[at + 1][0], line)], at + 2
        return [(path, path[-1], line)], at


def read(modules, file, path):
    """Reads a file, and all that it declares, into `modules`."""
    words = production(tokens(file.read_text())) + [("", 0)] * 2
    folder = file.parent if file.name in ("lib.rs", "mod.rs") else file.parent / file.stem
    here = modules[path] = Module(file)
    scopes, depth, at = [(path, 0)], 0, 0  # the file, and inline modules
    while at < len(words) - 2:
        (word, line), (after, _), before = words[at], words[at + 1], words[at - 1][0] if at else ""
        at += 1
        if word in CLOSING:
            depth += 1
        elif word in CLOSING.values():
            depth -= 1
            if depth < scopes[-1][1]:
                scopes.pop()
                here = modules[scopes[-1][0]]
        elif word == "use" and after != "<":
            public = before == "pub"
            if before == ")":  # pub(super) use, pub(in a::b) use
                opened = max(i for i in range(at - 1) if words[i][0] == "(")
                public = words[opened - 1][0] == "pub"
            leaves, at = use_tree(words, at)
            for target, name, line in leaves:
                here.uses.append((target, public, line))
                if target[-1] == "*":
                    here.globs.append(target[:-1])
                elif name != "_":
                    here.imports.setdefault(name, target)
        elif word == "mod" and words[at + 1][0] in (";", "{"):
            child, inline = scopes[-1][0] + (after,), words[at + 1][0] == "{"
            at += 2
            if inline:
                depth += 1
                scopes.append((child, depth))
                here = modules[child] = Module(file)
            elif not after.startswith("tests"):
                inside = folder.joinpath(*child[len(path) : -1])
                flat = inside / f"{after}.rs"
                read(modules, flat if flat.exists() else inside / after / "mod.rs", child)
        elif word == "macro_rules" and after == "!":
            here.items.add(words[at + 1][0])
        elif word in DEFINING:
            if depth == scopes[-1][1] and before not in ("*", "<", ",") and after not in DEFINING:
                here.items.add(words[at + 1][0] if after == "mut" else after)
        elif (word[0].isalpha() or word[0] == "_") and before not in DEFINING | {".", "::", "mod"}:
            named = (word,)
            while words[at][0] == "::" and re.match(r"[^\W\d]", words[at + 1][0]):
                named += (words[at + 1][0],)
                at += 2
            if len(named) > 1 or word[0].isupper() or after in ("(", "!", "::"):
                here.named.append((named, line))


class Crate:
    """All modules of a source folder, and which file uses what of which other."""

    def __init__(self, src):
        self.src, self.modules = src, {}
        read(self.modules, src / "lib.rs", ())
        self.paths = {module.file: path for path, module in reversed(self.modules.items())}
        self.edges = defaultdict(dict)  # (file, file) -> {name: first line}
        for path, module in self.modules.items():
            for target, public, line in module.uses:
                if target[-1] == "*" and not public:
                    self.glob(path, target[:-1], line)
                elif not public:
                    self.use(module, self.resolve(path, target), line)
            for target, line in module.named:
                self.use(module, self.resolve(path, target), line)

    def lookup(self, at, name, last, seen):
        """What `name` is in the module `at`: (module, None), (module, item) or None. `last`: no `::` follows."""
        module, child = self.modules[at], at + (name,) if at + (name,) in self.modules else None
        if child and not last:
            return child, None
        if name in module.items:
            return at, name
        if name in module.imports and (found := self.resolve(at, module.imports[name], last, seen)):
            return found
        if child:
            return child, None
        for glob in module.globs:
            target = self.resolve(at, glob, False, seen)
            if target and not target[1] and (found := self.lookup(target[0], name, last, seen | {(at, glob, False)})):
                return found
        return None

    def resolve(self, at, path, last=True, seen=frozenset()):
        """What a path means that is written in the module `at`; None if it leads to another crate."""
        if (at, path, last) in seen:
            return None
        seen |= {(at, path, last)}
        here, rest = at, list(path)
        if rest[0] == "crate":
            here, rest = (), rest[1:]
        elif rest[0] in ("self", "super"):
            while rest and rest[0] in ("self", "super"):
                here = here[:-1] if rest.pop(0) == "super" else here
        else:
            found = self.lookup(at, rest.pop(0), last and len(path) == 1, seen)
            if not found or found[1]:
                return found
            here = found[0]
        while rest:
            name = rest.pop(0)
            here, item = self.lookup(here, name, last and not rest, seen) or (here, name)
            if item:
                return here, item
        return here, None

    def use(self, module, target, line):
        if target and target[1] and (other := self.modules[target[0]].file) != module.file:
            names = self.edges[module.file, other]
            names[target[1]] = min(line, names.get(target[1], line))

    def glob(self, path, written, line):
        """The items of a `*` are found by their names in the code; here is the case that there are none."""
        target = self.resolve(path, written)
        if target and not target[1]:
            words = {named[0] for named, _ in self.modules[path].named}
            found = any(self.lookup(target[0], word, True, frozenset()) for word in words)
            target = None if found else (target[0], "*")
        self.use(self.modules[path], target, line)

    def show(self, edge):
        names = self.edges[edge]
        one, other = (file.relative_to(self.src.parent) for file in edge)
        return f"{one} -> {other}: {', '.join(sorted(names))} (line {min(names.values())})"

    def circles(self):
        """All circles, as pairs of a title and the edges in it."""
        found = []
        for circle in components(self.edges):
            title = "files: " + ", ".join(str(file.relative_to(self.src.parent)) for file in circle)
            found.append((title, sorted(edge for edge in self.edges if set(edge) <= set(circle))))
        folders = {path[:-1] for path in self.paths.values() if path}
        for folder in sorted(folders):
            projected = defaultdict(list)
            for edge in sorted(self.edges):
                one, other = (self.paths[file][: len(folder) + 1] for file in edge)
                if one != other and all(child and child[:-1] == folder for child in (one, other)):
                    projected[one, other].append(edge)
            for circle in components(projected):
                if set(circle) & folders:
                    title = f"modules in {Path(self.src.name, *folder)}: " + ", ".join(child[-1] for child in circle)
                    inner = [edges for pair, edges in projected.items() if set(pair) <= set(circle)]
                    found.append((title, sorted(sum(inner, []))))
        return found


def components(edges):
    """The sets of more than one node that all reach each other."""
    after = defaultdict(set)
    for one, other in edges:
        after[one].add(other)
    reached = {}
    for node in after:
        reached[node], todo = set(), [node]
        while todo:
            new = after.get(todo.pop(), set()) - reached[node]
            reached[node] |= new
            todo += new
    back = {node: tuple(sorted(other for other in reached[node] if node in reached.get(other, ()))) for node in reached}
    return sorted(set(back.values()) - {()})


SELF_TEST = """
//- lib.rs
pub mod facade; pub mod parent; pub mod pair; pub mod tested; pub mod a; pub mod b; pub mod glob;
//- facade/mod.rs
//! [`inner::Inner`]
mod inner; mod other; mod deep { pub(super) use super::other::Deep; }
pub(in crate::facade) use inner::Inner; pub use self::other::{Other as Else, *}; use deep::Deep;
//- facade/inner.rs
use super::{Else, Deep, Glob}; pub struct Inner;
//- facade/other.rs
pub struct Other; pub struct Deep; pub struct Glob; const TEXT: &str = "super::Inner"; // super::Inner
//- parent/mod.rs
mod child; pub use child::Child; pub struct Own { child: Child }
//- parent/child.rs
use super::Own; pub struct Child;
//- pair/mod.rs
mod one; mod two; mod three;
//- pair/one.rs
use super::two::{self}; pub fn first() { two::second(0..super::three::LIMIT) }
//- pair/two.rs
pub fn second(n: u8) -> impl Fn() + use<> { super::one::first }
//- pair/three.rs
pub const LIMIT: u8 = b'"' + 1;
//- tested/mod.rs
mod left; mod right; mod tests;
//- tested/left.rs
use super::right::Right; pub struct Left<'a> { #[cfg(test)] x: super::right::Right, y: &'a u8 }
//- tested/right.rs
/// See [`super::left::Left`]. /* */
pub struct Right; /* super::left::Left /* nested */ super::left::Left */
#[cfg(test)] use super::left::Left;
#[cfg(test)] #[allow(unused)] pub(crate) fn help<A, B>() -> super::left::Left { super::left::Left }
#[cfg(all(test, unix))] mod tests { use super::super::left::Left; }
//- a/mod.rs
pub mod w; pub mod x;
//- a/w.rs
pub struct W;
//- a/x.rs
use crate::b::y as why; fn x() -> why::Y { why::Y }
//- b.rs
pub mod y; pub mod z;
//- b/y.rs
pub struct Y;
//- b/z.rs
fn z() { crate::a::w::W; }
//- glob/mod.rs
mod all; mod some; pub struct Mine;
//- glob/all.rs
use super::*; pub struct All(Mine);
//- glob/some.rs
use super::all::*; make!(Some);
"""


def self_test():
    with tempfile.TemporaryDirectory() as folder:
        src = Path(folder, "src")
        for name, text in re.findall(r"^//- (\S+)\n(.*?)(?=^//-|\Z)", SELF_TEST, re.DOTALL | re.MULTILINE):
            src.joinpath(name).parent.mkdir(parents=True, exist_ok=True)
            src.joinpath(name).write_text(text)
        crate = Crate(src)
        edges = [crate.show(edge).replace("src/", "") for edge in sorted(crate.edges)]
        circles = [title.replace("src/", "") for title, _ in crate.circles()]
    assert edges == [
        "a/x.rs -> b/y.rs: Y (line 1)",
        "b/z.rs -> a/w.rs: W (line 1)",
        "facade/inner.rs -> facade/other.rs: Deep, Glob, Other (line 1)",
        "facade/mod.rs -> facade/other.rs: Deep (line 3)",
        "glob/all.rs -> glob/mod.rs: Mine (line 1)",
        "glob/some.rs -> glob/all.rs: * (line 1)",
        "pair/one.rs -> pair/three.rs: LIMIT (line 1)",
        "pair/one.rs -> pair/two.rs: second (line 1)",
        "pair/two.rs -> pair/one.rs: first (line 1)",
        "parent/child.rs -> parent/mod.rs: Own (line 1)",
        "parent/mod.rs -> parent/child.rs: Child (line 1)",
        "tested/left.rs -> tested/right.rs: Right (line 1)",
    ], "\n".join(edges)
    assert circles == [
        "files: pair/one.rs, pair/two.rs",
        "files: parent/child.rs, parent/mod.rs",
        "modules in src: a, b",
    ], "\n".join(circles)
    print("the rules of circles.py hold")


def main(arguments):
    if arguments == ["--self-test"]:
        return self_test()
    if arguments not in ([], ["--edges"]):
        sys.exit(__doc__)
    crate = Crate(Path(__file__).resolve().parent.parent / "src")
    if arguments:
        return print("\n".join(crate.show(edge) for edge in sorted(crate.edges)))
    circles = crate.circles()
    for title, edges in circles:
        print(f"circle of {title}", *(f"  {crate.show(edge)}" for edge in edges), sep="\n")
    if circles:
        sys.exit(1)
    print(f"no circles in {len(crate.paths)} files")


if __name__ == "__main__":
    main(sys.argv[1:])
