"""The tools that are compared: one command line for each phase.

A tool that lacks a phase has no entry for it and no figure. Every tool runs with its default settings but for the
compression, which is zstd level 3 where it can be chosen.
"""

import dataclasses
import os
import shlex
import shutil
import subprocess
import sys

PHASES = ["full", "unchanged", "changed", "deep verify", "keyless verify", "restore"]
PASSWORD = "benchmark"


@dataclasses.dataclass
class Tool:
    name: str
    title: str
    program: str          # must be installed
    version: str          # command whose first line is the version
    commands: dict        # phase -> command
    start: str = ""       # makes an empty repository; not measured
    env: dict = dataclasses.field(default_factory=dict)
    repo: str = ""
    state: tuple = ()     # caches and keys, removed with the repository


def key(work):
    """Makes the age key pair of ccbackup and the pipe, and says the public half."""
    path = os.path.join(work, "identity.txt")
    if not os.path.exists(path):
        subprocess.check_call(["age-keygen", "-o", path], stderr=subprocess.DEVNULL)
        os.chmod(path, 0o600)
    with open(path, encoding="utf-8") as file:
        return next(line.split(": ")[1].strip() for line in file if "public key" in line)


def our_tool(name, program, tree, work):
    """ccbackup, or an earlier build of it under another name."""
    quoted, repo, home = shlex.quote(program), f"{work}/repo-{name}", f"{work}/home-{name}"
    with_key, call = f"--identity {work}/identity.txt", f"{quoted} --repo {repo} -q"
    create = f"{call} create --recipient {key(work)} --path {tree}"
    return Tool(
        name, name, program, f"{quoted} --version",
        {"full": create, "unchanged": create, "changed": create,
         "deep verify": f"{call} verify --deep {with_key}",
         "keyless verify": f"{call} verify",
         "restore": f"{call} restore --target {work}/out {with_key}"},
        env={"CCBACKUP_HOME": home}, repo=repo, state=(home,))


def all_tools(tree, work, ours, before):
    """The tools, set up to back up `tree`, to keep all they write below `work` and to restore into `work`/out."""
    out, identity, recipient = f"{work}/out", f"{work}/identity.txt", key(work)
    parent, name = os.path.split(tree)

    def repeated(command):
        return {"full": command, "unchanged": command, "changed": command}

    yield our_tool("ccbackup", ours, tree, work)
    repo = f"{work}/repo-ccbackup"
    if before:
        yield our_tool("before", before, tree, work)

    # The least that checks the files of our repository without a key.
    yield Tool("sha256sum", "sha256sum of ccbackup's files", "sha256sum", "sha256sum --version",
               {"keyless verify": f"find {repo} -type f -print0 | xargs -0 sha256sum"})

    repo = f"{work}/repo-pipe"
    stored = f"{repo}/full.tar.zst.age"
    backwards = f"age -d -i {identity} {stored} | zstd -dc"
    yield Tool(
        "pipe", "tar \\| zstd -3 -T0 \\| age", "age", "echo age $(age --version)",
        {"full": f"tar -C {parent} -c {name} | zstd -3 -T0 -q | age -r {recipient} > {stored}",
         "deep verify": f"{backwards} | tar -t",
         "restore": f"mkdir {out}; {backwards} | tar -x -C {out}"},
        start=f"mkdir {repo}", repo=repo)

    repo = f"{work}/repo-bupstash"
    yield Tool(
        "bupstash", "bupstash", "bupstash", "bupstash version | tr - ' '",
        repeated(f"bupstash put -q --compression zstd:3 --send-log {work}/bupstash.log {tree} > {work}/bupstash.id")
        | {"restore": f"mkdir {out}; bupstash restore -q --into {out} id=$(cat {work}/bupstash.id)"},
        start=f"bupstash new-key -o {work}/bupstash.key; bupstash init",
        env={"BUPSTASH_KEY": f"{work}/bupstash.key", "BUPSTASH_REPOSITORY": repo,
             "BUPSTASH_QUERY_CACHE": f"{work}/bupstash.cache"},
        repo=repo, state=tuple(f"{work}/bupstash.{end}" for end in ("key", "log", "id", "cache")))

    repo = f"{work}/repo-conserve"
    yield Tool(
        "conserve", "conserve", "conserve", "conserve --version",
        repeated(f"conserve backup --no-progress {repo} {tree}") | {
            "deep verify": f"conserve validate --no-progress {repo}",
            "restore": f"conserve restore --no-progress {repo} {out}"},
        start=f"conserve init {repo}", repo=repo)

    repo = f"{work}/repo-restic"
    yield Tool(
        "restic", "restic", "restic", "restic version",
        repeated(f"restic backup -q {tree}") | {
            "deep verify": "restic check -q --read-data",
            "restore": f"restic restore -q latest --target {out}"},
        start="restic init -q", repo=repo, state=(f"{work}/cache-restic",),
        env={"RESTIC_PASSWORD": PASSWORD, "RESTIC_REPOSITORY": repo, "RESTIC_CACHE_DIR": f"{work}/cache-restic"})

    repo = f"{work}/repo-borg"
    yield Tool(
        "borg", "borg", "borg", "borg --version",
        repeated(f"borg create --compression zstd,3 ::$(date +%s%N) {tree}") | {
            "deep verify": "borg check --verify-data",
            "restore": f"mkdir {out}; cd {out}; borg extract ::$(borg list --last 1 --short)"},
        start="borg init -e repokey-blake2", repo=repo, state=(f"{work}/cache-borg",),
        env={"BORG_PASSPHRASE": PASSWORD, "BORG_REPO": repo, "BORG_BASE_DIR": f"{work}/cache-borg"})

    repo = f"{work}/repo-rustic"
    yield Tool(
        "rustic", "rustic", "rustic", "rustic --version",
        repeated(f"rustic backup {tree}") | {
            "deep verify": "rustic check --read-data",
            "restore": f"rustic restore latest {out}"},
        start="rustic init", repo=repo, state=(f"{work}/cache-rustic",),
        env={"RUSTIC_PASSWORD": PASSWORD, "RUSTIC_REPOSITORY": repo, "RUSTIC_CACHE_DIR": f"{work}/cache-rustic",
             "RUSTIC_NO_PROGRESS": "true"})


def installed(tools, wanted):
    """Those of `wanted` (names; all if empty) that can run. The others are named on stderr."""
    found, names = [], []
    for tool in tools:
        names.append(tool.name)
        if wanted and tool.name not in wanted and not (tool.name == "sha256sum" and "ccbackup" in wanted):
            continue
        if shutil.which(tool.program):
            found.append(tool)
        else:
            print(f"skipped: {tool.program} is not installed", file=sys.stderr)
    unknown = set(wanted) - set(names)
    if unknown:
        names.remove("sha256sum")
        sys.exit(f"no such tool: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    if "ccbackup" not in (tool.name for tool in found):
        found = [tool for tool in found if tool.name != "sha256sum"]
    return found


def versions(tools):
    """One line: the versions as the tools tell them."""
    return "; ".join(subprocess.check_output(tool.version, shell=True, text=True).split("\n")[0] for tool in tools)
