"""Runs the program under test."""

import json
import os
import signal
import subprocess
import time


class Outcome:
    def __init__(self, arguments, code, document, errors, seconds):
        self.arguments, self.code, self.document, self.errors, self.seconds = arguments, code, document, errors, seconds

    def problems(self, unescape):
        """Problems by path of the tree and kind."""
        found = {}
        for problem in (self.document or {}).get("problems", []):
            path = unescape(problem["path"].removeprefix("files/"))
            found.setdefault(path, {})[problem["kind"]] = problem["detail"]
        return found

    def last_words(self):
        return self.errors.decode(errors="replace").strip()[-1500:]


class Program:
    def __init__(self, binary, base):
        self.binary, self.base, self.runs = binary, base, 0
        self.environment = {
            "PATH": os.environ.get("PATH", "/usr/bin:/bin"), "CCBACKUP_HOME": os.path.join(base, "home"),
            "CCBACKUP_REPO": os.path.join(base, "backups"), "HOME": base,
        }
        os.mkdir(os.path.join(base, "logs"))

    def command(self, arguments):
        return [self.binary, "--json", "--nice", "0", *arguments]

    def as_typed(self, arguments):
        words = [f"{k}={v}" for k, v in self.environment.items() if k.startswith("CCBACKUP")]
        return " ".join(["cd", self.base, "&&", *words, self.binary, *arguments])

    def run(self, *arguments, kill=None):
        """Runs to its end, or sends the signal of `kill` after its seconds."""
        self.runs += 1
        log = os.path.join(self.base, "logs", f"{self.runs:05}-{arguments[0]}")
        begun = time.monotonic()
        with open(log + ".json", "wb+") as out, open(log + ".err", "wb+") as err:
            child = subprocess.Popen(self.command(arguments), cwd=self.base, env=self.environment, stdout=out, stderr=err)
            if kill:
                try:
                    child.wait(kill[0])
                except subprocess.TimeoutExpired:
                    child.send_signal(kill[1])
            child.wait()
            seconds = time.monotonic() - begun
            out.seek(0), err.seek(0)
            try:
                document = json.load(out)
            except ValueError:
                document = None
            return Outcome(arguments, child.returncode, document, err.read(), seconds)

    def visible(self):
        """Names of the backups that can be seen."""
        try:
            return {n for n in os.listdir(self.environment["CCBACKUP_REPO"]) if n[:2] == "20"}
        except FileNotFoundError:
            return set()


KILL, TERM = signal.SIGKILL, signal.SIGTERM
