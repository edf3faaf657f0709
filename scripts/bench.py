"""Runs the tools of bench.sh in turn and prints medians as a Markdown table."""

import json
import os
import platform
import random
import shutil
import statistics
import subprocess
import sys
import time

TREE, ROUNDS, WORK, OURS = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
PASSWORD = "benchmark"
PHASES = ["full", "unchanged", "changed", "verify", "restore"]


def place(name):
    return os.path.join(WORK, name)


def fresh(*names):
    for name in names:
        shutil.rmtree(place(name), ignore_errors=True)


def measure(command, env):
    """Wall and CPU seconds and peak memory of a command with all its children."""
    begun = time.monotonic()
    child = os.fork()
    if child == 0:
        null = os.open("/dev/null", os.O_RDWR)
        os.dup2(null, 0)
        os.dup2(null, 1)
        errors = os.open(place("errors"), os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        os.dup2(errors, 2)
        os.execvpe("bash", ["bash", "-euo", "pipefail", "-c", command], {**os.environ, **env})
    _, status, usage = os.wait4(child, 0)
    wall = time.monotonic() - begun
    if status != 0:
        with open(place("errors"), encoding="utf-8", errors="replace") as errors:
            sys.exit(f"failed: {command}\n{errors.read()[-2000:]}")
    return wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024


def size_of(path):
    return int(subprocess.check_output(["du", "-sm", "--apparent-size", path]).split()[0])


def touch_one_percent(seed):
    """Rewrites a line of every hundredth file."""
    draw = random.Random(seed)
    for folder, _, files in os.walk(TREE):
        for name in sorted(files):
            path = os.path.join(folder, name)
            if draw.randrange(100) == 0 and os.path.isfile(path) and not os.path.islink(path):
                with open(path, "ab") as file:
                    file.write(f"changed {seed}\n".encode())


def key():
    path = place("identity.txt")
    if not os.path.exists(path):
        subprocess.check_call(["age-keygen", "-o", path], stderr=subprocess.DEVNULL)
        os.chmod(path, 0o600)
    with open(path, encoding="utf-8") as file:
        return next(line.split(": ")[1].strip() for line in file if "public key" in line)


PARENT, NAME = os.path.split(TREE)
RECIPIENT = key()
OUT = place("out")


def tools():
    repo = place("repo-ccbackup")
    env = {"CCBACKUP_HOME": place("home")}
    ours = f"{OURS} --repo {repo} -q"
    create = f"{ours} create --recipient {RECIPIENT} --path {TREE}"
    yield "ccbackup", None, env, repo, {
        "full": create, "unchanged": create, "changed": create,
        "verify": f"{ours} verify --deep --identity {place('identity.txt')}",
        "restore": f"{ours} restore --target {OUT} --identity {place('identity.txt')}",
    }, "ccbackup --version"
    repo = place("repo-pipe")
    back = f"age -d -i {place('identity.txt')} {repo}/full.tar.zst.age | zstd -dc"
    yield "tar \\| zstd -3 -T0 \\| age", None, {}, repo, {
        "full": f"mkdir -p {repo}; tar -C {PARENT} -c {NAME} | zstd -3 -T0 -q | age -r {RECIPIENT} > {repo}/full.tar.zst.age",
        "verify": f"{back} | tar -t > /dev/null",
        "restore": f"mkdir {OUT}; {back} | tar -x -C {OUT}",
    }, "age --version"
    repo = place("repo-restic")
    env = {"RESTIC_PASSWORD": PASSWORD, "RESTIC_REPOSITORY": repo, "RESTIC_CACHE_DIR": place("cache-restic")}
    backup = f"restic backup -q {TREE}"
    yield "restic", "restic init -q", env, repo, {
        "full": backup, "unchanged": backup, "changed": backup,
        "verify": "restic check -q --read-data", "restore": f"restic restore -q latest --target {OUT}",
    }, "restic version"
    repo = place("repo-borg")
    env = {"BORG_PASSPHRASE": PASSWORD, "BORG_REPO": repo, "BORG_BASE_DIR": place("cache-borg"),
           "BORG_RELOCATED_REPO_ACCESS_IS_OK": "yes"}
    backup = f"borg create --compression zstd,3 ::$(date +%s%N) {TREE}"
    yield "borg", "borg init -e repokey-blake2", env, repo, {
        "full": backup, "unchanged": backup, "changed": backup,
        "verify": "borg check --verify-data",
        "restore": f"mkdir {OUT}; cd {OUT}; borg extract ::$(borg list --last 1 --short)",
    }, "borg --version"
    repo = place("repo-rustic")
    env = {"RUSTIC_PASSWORD": PASSWORD, "RUSTIC_REPOSITORY": repo, "RUSTIC_CACHE_DIR": place("cache-rustic"),
           "RUSTIC_NO_PROGRESS": "true"}
    backup = f"rustic backup {TREE}"
    yield "rustic", "rustic init", env, repo, {
        "full": backup, "unchanged": backup, "changed": backup,
        "verify": "rustic check --read-data", "restore": f"rustic restore latest {OUT}",
    }, "rustic --version"
    repo = place("repo-bupstash")
    env = {"BUPSTASH_KEY": place("bupstash.key"), "BUPSTASH_REPOSITORY": repo,
           "BUPSTASH_SEND_LOG": place("bupstash.log"), "BUPSTASH_QUERY_CACHE": place("bupstash.cache")}
    backup = f"bupstash put -q --compression zstd:3 name=bench {TREE}"
    start = f"rm -f {place('bupstash')}.*; bupstash new-key -o {place('bupstash.key')}; bupstash init"
    yield "bupstash", start, env, repo, {
        "full": backup, "unchanged": backup, "changed": backup,
        "restore": f"mkdir {OUT}; bupstash restore -q --into {OUT} id=$(bupstash list name=bench | tail -1 | grep -o 'id=\"[^\"]*' | cut -c5-)",
    }, "bupstash version"


def main():
    found, versions, results, sizes = [], [], {}, {}
    for tool in tools():
        program = "age" if tool[0].startswith("tar") else tool[0]
        if program != "ccbackup" and not shutil.which(program):
            print(f"skipped: {program} is not installed", file=sys.stderr)
            continue
        found.append(tool)
        command = tool[5].replace("ccbackup", OURS)
        version = subprocess.check_output(command, shell=True, text=True).split("\n")[0]
        versions.append(version if version.startswith(program) else f"{program} {version}")
    subprocess.run(["bash", "-c", f"tar -C {PARENT} -c {NAME} | cat > /dev/null"], check=True)
    for number in range(ROUNDS):
        for name, _, _, repo, _, _ in found:
            fresh(os.path.basename(repo), "home", "cache-restic", "cache-borg", "cache-rustic")
        for phase in PHASES:
            if phase == "changed":
                touch_one_percent(number)
            order = found[number % len(found):] + found[:number % len(found)]
            for name, start, env, repo, commands, _ in order:
                if phase not in commands:
                    continue
                if phase == "full" and start:
                    measure(start, env)
                fresh("out")
                results.setdefault((name, phase), []).append(measure(commands[phase], env))
                if phase == "full":
                    sizes[name] = size_of(repo)
        fresh("out")
    report(found, results, sizes, versions)


def report(found, results, sizes, versions):
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        cpu = next((line.split(": ")[1].strip() for line in file if line.startswith("model name")), "unknown")
    with open("/proc/meminfo", encoding="utf-8") as file:
        memory = int(file.readline().split()[1]) // (1 << 20)
    files = sum(len(names) for _, _, names in os.walk(TREE))
    print(f"Machine: {cpu}, {os.cpu_count()} cores, {memory} GiB, Linux {platform.release()}. "
          f"Tree: {files} files, {size_of(TREE)} MiB. Medians of {ROUNDS} rounds, warm cache.")
    print("Versions: " + "; ".join(versions) + ".\n")
    print("| tool | " + " | ".join(f"{phase} s" for phase in PHASES) + " | CPU s of full | peak MiB | repository MiB |")
    print("|---" * (len(PHASES) + 4) + "|")
    for name, *_ in found:
        def median(phase, field):
            runs = results.get((name, phase))
            return statistics.median(run[field] for run in runs) if runs else None
        cells = [f"{median(p, 0):.2f}" if median(p, 0) is not None else "–" for p in PHASES]
        peak = max(run[2] for phase in PHASES for run in results.get((name, phase), []))
        print(f"| {name} | " + " | ".join(cells) + f" | {median('full', 1):.2f} | {peak} | {sizes[name]} |")
    with open(place("results.json"), "w", encoding="utf-8") as file:
        json.dump({f"{name}/{phase}": runs for (name, phase), runs in results.items()}, file, indent=1)


main()
