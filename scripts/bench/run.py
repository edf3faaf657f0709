"""Runs the tools in turn on each tree and prints the figures as Markdown. Started by bench.sh."""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time

import report
import tools
import trees
from measure import machine, measure, size_of


def arguments():
    parser = argparse.ArgumentParser(prog="bench.sh")
    parser.add_argument("--rounds", type=int, default=3, help="figures are medians of so many rounds")
    parser.add_argument("--tree", action="append", default=[], metavar="DIR",
                        help="measure this folder (a copy of it); may be repeated; else a source tree and a mixed one")
    parser.add_argument("--tools", default="", metavar="A,B", help="only these")
    parser.add_argument("--before", default="", metavar="PROGRAM", help="an earlier build of ccbackup to compare with")
    parser.add_argument("--work", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--ours", required=True, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.rounds < 1:
        parser.error("--rounds must be at least 1")
    for path in chosen.tree:
        if not os.path.isdir(path):
            parser.error(f"{path} is not a folder")
    return chosen


def prepare(work, named):
    """Folders of the trees to measure, by name. Trees that the user named are copied: they will be changed."""
    if not named:
        for kind in ("source", "mixed"):
            folder = os.path.join(work, "trees", kind)
            if not os.path.isdir(folder):
                print(f"making {folder}", file=sys.stderr)
                trees.make(kind, folder)
            yield kind, folder
    for number, path in enumerate(named):
        name = f"named-{number + 1}"
        folder = os.path.join(work, "trees", name)
        shutil.rmtree(folder, ignore_errors=True)
        os.makedirs(os.path.dirname(folder), exist_ok=True)
        subprocess.check_call(["cp", "-a", "--reflink=auto", os.path.realpath(path), folder])
        yield name, folder


def discard(work, *paths):
    """Puts aside what is not needed any more. ext4 avoids inodes for minutes after they were freed, and looks for others
    so long that a restore takes several times as long: nothing is removed before all is measured."""
    trash = os.path.join(work, "trash")
    os.makedirs(trash, exist_ok=True)
    for path in paths:
        if os.path.lexists(path):
            os.rename(path, os.path.join(trash, str(len(os.listdir(trash)))))


def settle():
    """ccbackup does not trust a file that was changed in the minute before the last backup, and reads it again."""
    time.sleep(62)


def warm(tree):
    """All tools find the tree in memory and room beside it: what was restored before would fill the memory."""
    try:
        with open("/proc/sys/vm/drop_caches", "w", encoding="utf-8") as file:
            file.write("1")
    except OSError:
        pass  # only root may; then later rounds may find less room
    subprocess.check_call(f"tar -C {tree} -c . | cat > /dev/null", shell=True)


class Bench:
    def __init__(self, tree, work, ours, before, wanted):
        self.tree, self.work = tree, work
        self.out = os.path.join(work, "out")
        self.found = tools.installed(tools.all_tools(tree, work, ours, before), wanted)
        # {tool: {phase: [Run of each round]}}; "restore + sync" and "size" have seconds and bytes.
        self.results = {tool.name: {} for tool in self.found}

    def note(self, tool, column, value):
        self.results[tool.name].setdefault(column, []).append(value)

    def measure(self, tool, command):
        # No settings or caches of the user.
        home = {"HOME": f"{self.work}/home", "XDG_CONFIG_HOME": f"{self.work}/home/config",
                "XDG_CACHE_HOME": f"{self.work}/home/cache"}
        return measure(f"cd {self.work}; {command}", home | tool.env, f"{self.work}/errors")

    def round(self, number):
        # The first command after a pause takes up to a quarter longer, whichever it is: one goes before that does not count.
        first = self.found[0]
        if "full" in first.commands:
            discard(self.work, first.repo, *first.state)
            for command in filter(None, (first.start, first.commands["full"])):
                self.measure(first, command)
        # In each phase the first has it hardest, so all that have the same phases take turns.
        takers = [tool for tool in self.found if "full" in tool.commands]
        turn = number % max(len(takers), 1)
        order = takers[turn:] + takers[:turn] + [tool for tool in self.found if tool not in takers]
        for tool in order:
            discard(self.work, tool.repo, *tool.state)
            if tool.start:
                self.measure(tool, tool.start)
        for phase in tools.PHASES:
            if phase == "changed":
                changed = trees.change_one_percent(self.tree, number)
                time.sleep(3)  # borg looks at seconds
                print(f"round {number + 1}: changed {changed} files", file=sys.stderr)
            for tool in order:
                if phase in tool.commands:
                    self.phase(tool, phase, number)
        discard(self.work, self.out)

    def phase(self, tool, phase, number):
        if phase == "restore":
            discard(self.work, self.out)
        run = self.measure(tool, tool.commands[phase])
        self.note(tool, phase, run)
        print(f"round {number + 1}: {tool.name} {phase} {run.wall:.2f} s", file=sys.stderr)
        if phase == "full":
            self.note(tool, "size", size_of(tool.repo))
        if phase == "restore":
            begun = time.monotonic()
            subprocess.check_call(["sync", "-f", self.out])
            self.note(tool, "restore + sync", run.wall + time.monotonic() - begun)
            if number == 0:
                self.check(tool)

    def check(self, tool):
        """A figure of a restore that went wrong is worth nothing. Ours must be equal in everything."""
        if tool.name in ("ccbackup", "before"):
            wrong = trees.difference(self.tree, os.path.join(self.out, "files", os.path.basename(self.tree)))
            if wrong:
                sys.exit(f"{tool.name} restored something else: {wrong}")
            return
        # The pipe's archive is older than the change, so its bytes differ a little.
        there, here = ([size for _, size in trees.files_of(root)] for root in (self.out, self.tree))
        if len(there) != len(here) or abs(sum(there) - sum(here)) > sum(here) / 100:
            sys.exit(f"{tool.name} restored {len(there)} files with {sum(there)} bytes, not {len(here)} with {sum(here)}")

    def finish(self):
        for tool in self.found:
            discard(self.work, tool.repo, *tool.state)
        discard(self.work, f"{self.work}/home", f"{self.work}/errors")


def main():
    chosen = arguments()
    wanted = [name for name in chosen.tools.split(",") if name]
    written = {"machine": machine(), "rounds": chosen.rounds, "trees": {}}
    for name, tree in prepare(chosen.work, chosen.tree):
        bench = Bench(tree, chosen.work, chosen.ours, chosen.before, wanted)
        files = trees.files_of(tree)
        os.makedirs(f"{chosen.work}/home", exist_ok=True)
        for number in range(chosen.rounds):
            os.sync()
            warm(tree)
            settle()
            bench.round(number)
        bench.finish()
        entry = {"files": len(files), "bytes": sum(size for _, size in files), "versions": tools.versions(bench.found),
                 "titles": {tool.name: tool.title for tool in bench.found}, "results": bench.results}
        written["trees"][name] = entry
        report.tree(name, entry, written, sys.stdout)
        with open(os.path.join(chosen.work, "results.json"), "w", encoding="utf-8") as file:
            json.dump(written, file, indent=1)
    shutil.rmtree(os.path.join(chosen.work, "trash"), ignore_errors=True)


main()
