"""Backs up a tree that is changed all the time, checks and restores every backup, and judges what came back.

    python3 tests/torture --binary target/release/ccbackup [--seed N] [--seconds N] [--kills] …

Ends with one line of JSON. Exit code 0: nothing wrong; 1: a backup was not what it should be; what is needed to look at it
stays and is named.
"""

import argparse
import collections
import json
import mmap
import multiprocessing
import os
import random
import shutil
import struct
import sys
import tempfile
import time

sys.dont_write_bytecode = True

import area  # noqa: E402
import churn  # noqa: E402
import look  # noqa: E402
from program import KILL, TERM, Program  # noqa: E402

# Timestamps of the kernel may lie a tick behind its clock.
TICK_NS = 20_000_000
# Failures of a kind that are printed in one round.
SHOWN = 4


# A backup, the tree as it was behind it, and what is known of the changes since `began_ns`.
Made = collections.namedtuple("Made", "id source began_ns truths problems")


class Torture:
    def __init__(self, options, seed):
        self.options, self.seed = options, seed
        self.rng = random.Random(f"{seed}-runner")
        self.base = tempfile.mkdtemp(prefix=f"torture-{seed}-", dir=options.dir)
        self.program = Program(os.path.abspath(options.binary), self.base)
        self.failures, self.kinds = [], collections.Counter()
        self.rounds = self.changes = self.problems = self.killed = self.restores_killed = 0
        self.kept, self.found_after = set(), {}
        self.counter = mmap.mmap(-1, 8 * options.churners)
        self.cipher = self.rng.choice(["none", "none", "age", "aes-256-gcm"])
        self.create_seconds = 1.0

    def start(self):
        base = os.fsencode(self.base)
        os.mkdir(base + b"/tree")
        area.plant_still(base + b"/tree", self.seed, max(self.options.files // 8, 40))
        self.churners = []
        for number in range(self.options.churners):
            ours, theirs = multiprocessing.Pipe()
            process = multiprocessing.Process(
                target=churn.serve,
                args=(base, number, self.seed, self.options.files, self.counter, self.options.mood, theirs),
                daemon=True,
            )
            process.start()
            theirs.close()
            self.churners.append((process, ours))
        self.hear()
        self.began_ns = None

    def hear(self):
        try:
            return [connection.recv() for _, connection in self.churners]
        except EOFError:
            raise SystemExit("torture: a churning process died; that is a fault of the torture itself") from None

    def tell(self, word):
        for _, connection in self.churners:
            connection.send(word)

    def stop(self):
        churners, self.churners = self.churners, []
        for process, connection in churners:
            connection.close()
            process.terminate()
            process.join()

    def changes_so_far(self):
        return sum(struct.unpack_from("Q", self.counter, 8 * n)[0] for n in range(self.options.churners))

    # Rounds.

    def say(self, text):
        if not self.options.quiet:
            print(f"[{time.monotonic() - self.begun:6.1f} s] seed {self.seed} round {self.rounds}: {text}", flush=True)

    def wrong(self, failures):
        for failure in failures:
            self.kinds[failure.kind] += 1
            self.found_after.setdefault(failure.kind, round(time.monotonic() - self.begun, 1))
        shown = collections.Counter()
        for failure in failures:
            shown[failure.kind] += 1
            if shown[failure.kind] <= SHOWN:
                self.say(f"WRONG {failure.kind}: {failure.path!r}: {failure.detail}")
        more = {kind: count - SHOWN for kind, count in shown.items() if count > SHOWN}
        if more:
            self.say(f"… and more of these kinds: {more}")
        self.failures += failures

    def wrong_exit(self, outcome, wanted):
        if outcome.code in wanted:
            return False
        verb = outcome.arguments[0]
        text = outcome.last_words() or json.dumps(outcome.document)[:1500]
        findings = [f"{f['path']}: {f['detail']}" for f in (outcome.document or {}).get("findings", [])]
        detail = f"exit {outcome.code}, expected one of {wanted}: {findings[:5] or text}"
        self.wrong([look.Failure(f"{verb}-exit-{outcome.code}", b"", detail)])
        return True

    def create_arguments(self):
        draw = self.rng.random
        arguments = ["create", "--path", "tree", "--cipher", self.cipher, "--level", "1"]
        arguments += ["--threads", str(self.rng.choice((1, 2, 2, 4)))]
        if draw() < 0.5:
            arguments += ["--limit-rate", self.rng.choice(("20M", "40M", "80M"))]
        if draw() < 0.12:
            arguments += ["--full"]
        if draw() < 0.06:
            arguments += ["--rehash"]
        return arguments

    def round(self, may_kill):
        made = self.capture(may_kill, self.rng.random() * 0.03)
        if made:
            self.check(made, may_kill)

    def last_round(self):
        """The tree has changed for a while before this capture, and nothing is synced between it and the quiet one: what
        was written through a map meanwhile has times of long before.
        """
        made = self.capture(False, 3.5)
        self.stop()
        if made:
            self.quiet()
            self.check(made, False)

    def capture(self, may_kill, wait):
        """Makes a backup while the tree changes."""
        self.rounds += 1
        go_on = self.began_ns is not None
        if not go_on:
            self.began_ns = time.time_ns() - TICK_NS
        self.tell("go on" if go_on else "go")
        time.sleep(wait)
        kill = None
        if may_kill and self.rng.random() < 0.4:
            kill = (self.rng.random() ** 2 * self.create_seconds * 1.2, self.rng.choice((KILL, KILL, TERM)))
        visible, before = self.program.visible(), self.changes_so_far()
        created = self.program.run(*self.create_arguments(), kill=kill)
        changes = self.changes_so_far() - before
        self.tell("pause")
        truths = self.hear()
        self.changes += changes
        # A signal that comes before the handler is there ends a process as it ends any other.
        if kill and created.code in (-KILL, -TERM, 128 + TERM):
            self.killed += 1
            self.after_kill(created, visible, changes)
            return None
        began_ns, self.began_ns = self.began_ns, None
        self.create_seconds = 0.7 * self.create_seconds + 0.3 * created.seconds
        problems = created.problems(look.unescape)
        self.problems += len(problems)
        self.say(
            f"{' '.join(created.arguments[7:])}: exit {created.code} after {created.seconds:.2f} s, "
            f"{changes} changes meanwhile, {len(problems)} problems"
        )
        if self.wrong_exit(created, (0, 3)):
            return None
        source = look.look(os.fsencode(self.base) + b"/tree")
        return Made(created.document["id"], source, began_ns, truths, problems)

    def check(self, made, may_kill):
        """Verifies, restores and judges a backup."""
        self.wrong_exit(self.program.run("verify", "--deep", made.id), (0,))
        out = os.path.join(self.base, "out")
        restore = self.restore(made.id, out, may_kill)
        self.wrong_exit(restore, (0, 3))
        if os.path.isdir(os.path.join(out, "files", "tree")):
            base = os.fsencode(self.base)
            judge = look.Judge(made, base, os.fsencode(out) + b"/files", restore.problems(look.unescape))
            self.wrong(judge.verdict())
        self.put_away(out)

    def restore(self, backup, out, may_kill):
        arguments = ("restore", "--target", out, backup)
        while may_kill and self.rng.random() < 0.35:
            kill = (self.rng.random() ** 2 * self.create_seconds, self.rng.choice((KILL, KILL, TERM)))
            outcome = self.program.run(*arguments, kill=kill)
            if outcome.code not in (-KILL, -TERM, 128 + TERM):
                # It was faster. What is there now is restored over.
                shutil.rmtree(out, ignore_errors=True)
                break
            self.restores_killed += 1
        return self.program.run(*arguments)

    def after_kill(self, created, visible, changes):
        now = self.program.visible()
        self.say(f"killed ({created.code}) after {created.seconds:.2f} s and {changes} changes, {len(now)} backups")
        if len(now - visible) > 1 or visible - now:
            self.wrong([look.Failure("killed", b"", f"visible before: {sorted(visible)}, after: {sorted(now)}")])
        if now:
            self.wrong_exit(self.program.run("verify", "--all"), (0,))

    def put_away(self, out):
        """A failed restore is kept, once for each kind of failure."""
        if self.kinds.keys() <= self.kept:
            shutil.rmtree(out, ignore_errors=True)
            return
        self.kept = set(self.kinds)
        kept = os.path.join(self.base, f"restored-in-round-{self.rounds}")
        os.rename(out, kept)
        self.say(f"what was restored is kept in {kept}")

    def quiet(self):
        """Nothing changes any more: one incremental must be equal to the tree."""
        self.rounds += 1
        out = os.path.join(self.base, "quiet")
        created = self.program.run("create", "--path", "tree", "--cipher", self.cipher, "--level", "1")
        if self.wrong_exit(created, (0,)):
            self.say(f"problems of the quiet run: {created.problems(look.unescape)}")
            return
        if not self.failures:
            self.wrong_exit(self.program.run("verify", "--all", "--deep"), (0,))
        if not self.wrong_exit(self.program.run("restore", "--target", out), (0,)):
            base = os.fsencode(self.base)
            self.wrong(look.compare_all(base + b"/tree", os.fsencode(out) + b"/files/tree"))
        incomplete = [n for n in os.listdir(self.program.environment["CCBACKUP_REPO"]) if n.startswith(".incomplete")]
        if incomplete:
            self.wrong([look.Failure("incomplete", b"", f"left after a whole run: {incomplete}")])
        self.say(f"the quiet one: {created.seconds:.2f} s, {len(self.program.visible())} backups")
        if not self.failures:
            shutil.rmtree(out)

    def run(self):
        self.begun = time.monotonic()
        self.start()
        self.say(f"tree planted in {self.base}, cipher {self.cipher}")
        self.begun = time.monotonic()
        try:
            while time.monotonic() - self.begun < self.options.seconds:
                self.round(self.options.kills)
                if self.failures and not self.options.keep_going:
                    break
            if not self.failures or self.options.keep_going:
                self.last_round()
        finally:
            self.stop()
        if self.failures:
            self.say(f"kept: {self.base} (logs of every run in logs/); look at it with:")
            for arguments in (["list"], ["verify", "--deep"], ["show"], ["restore", "--target", "again"]):
                self.say("  " + self.program.as_typed(arguments))
        elif not self.options.keep:
            shutil.rmtree(self.base)

    def summary(self):
        return {
            "seed": self.seed, "rounds": self.rounds, "changes": self.changes, "problems": self.problems,
            "killed": self.killed, "restores_killed": self.restores_killed, "failures": dict(self.kinds),
            "first_seconds": self.found_after, "kept": self.base if self.failures else None,
        }


def main():
    parser = argparse.ArgumentParser(prog="torture", description=__doc__.split("\n", 1)[0])
    parser.add_argument("--binary", required=True, help="the ccbackup to torture")
    parser.add_argument("--seed", type=int, action="append", help="may be repeated; one run each")
    parser.add_argument("--seconds", type=float, default=8, help="of churn and checks for each seed, before the quiet end")
    parser.add_argument("--churners", type=int, default=1, help="processes that change the tree")
    parser.add_argument("--files", type=int, default=1500, help="files of each area at the beginning")
    moods = list(churn.Churner.MOODS)
    parser.add_argument("--mood", choices=moods, action="append", help="only these kinds of changes; may be repeated")
    parser.add_argument("--dir", help="where to work; holds the tree, the repository and what is restored")
    parser.add_argument("--kills", action="store_true", help="kill some runs of create and restore")
    parser.add_argument("--keep-going", action="store_true", help="go on after a failure and count all kinds")
    parser.add_argument("--keep", action="store_true", help="remove nothing at the end")
    parser.add_argument("--quiet", action="store_true", help="print nothing but the last line")
    options = parser.parse_args()
    options.mood = options.mood or moods
    failed = False
    for seed in options.seed or [random.SystemRandom().randrange(1 << 32)]:
        torture = Torture(options, seed)
        torture.run()
        print(json.dumps(torture.summary()), flush=True)
        failed |= bool(torture.failures)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
