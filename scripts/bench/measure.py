"""Runs a command and says what it cost: wall and CPU seconds, peak memory, of the command with all its children.

The command is a child of a small fresh interpreter. A process starts with the peak memory of the one that
started it, so a harness that holds long lists would hand its own peak to every tool.
"""

import collections
import json
import os
import subprocess
import sys
import time

# Seconds, seconds, MiB. The peak is that of the largest single process, not the sum of a pipe.
Run = collections.namedtuple("Run", "wall cpu peak")


def measure(command, env, errors):
    """Runs `command` in bash. Its stderr goes to the file `errors`; a failure ends the program with it."""
    # What was written before this command is not its bill.
    os.sync()
    answer = subprocess.run([sys.executable, "-IS", os.path.abspath(__file__), errors, command],
                            env={**os.environ, **env}, stdout=subprocess.PIPE, check=True)
    status, *costs = json.loads(answer.stdout)
    if status != 0:
        with open(errors, encoding="utf-8", errors="replace") as file:
            sys.exit(f"failed with {status}: {command}\n{file.read()[-4000:]}")
    return Run(*costs)


def main():
    errors, command = sys.argv[1:]
    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        os.dup2(os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), 2)
        os.execvp("bash", ["bash", "-euo", "pipefail", "-c", command])
    _, status, usage = os.wait4(child, 0)
    wall = time.monotonic() - begun
    print(json.dumps([os.waitstatus_to_exitcode(status), wall, usage.ru_utime + usage.ru_stime,
                      usage.ru_maxrss / 1024]))


def size_of(path):
    """Bytes of all files below a folder, as `du` counts apparent sizes."""
    return int(subprocess.check_output(["du", "-sb", path]).split()[0])


def machine():
    """One sentence on processor, memory and kernel."""
    import platform
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        cpu = next((line.split(": ")[1].strip() for line in file if line.startswith("model name")), "unknown")
    with open("/proc/meminfo", encoding="utf-8") as file:
        memory = int(file.readline().split()[1]) >> 20
    return f"{cpu}, {os.cpu_count()} cores, {memory} GiB, Linux {platform.release()}"


if __name__ == "__main__":
    main()
