"""Turns what was measured on a tree into Markdown: the table of all tools, and the goals."""

import statistics

COLUMNS = ["full", "unchanged", "changed", "deep verify", "keyless verify", "restore", "restore + sync"]
# What we want to be at most, as a part of the other's figure.
GOALS = [
    ("full", "pipe", 0.85), ("full", "bupstash", 0.62),
    ("unchanged", "bupstash", 0.50),
    ("changed", "bupstash", 0.40),
    ("deep verify", "pipe", 0.65), ("deep verify", "conserve", 0.55),
    ("keyless verify", "sha256sum", 0.60),
    ("restore", "pipe", 0.75), ("restore", "bupstash", 0.48),
    # For honesty only: we sync at the end of a restore, the others do not.
    ("restore + sync", "pipe", None), ("restore + sync", "bupstash", None),
    ("size", "pipe", 1.03),
    # An earlier build, if one was named.
    *((phase, "before", 1.03) for phase in ("full", "unchanged", "changed", "deep verify", "keyless verify", "restore")),
]


def seconds(run):
    return getattr(run, "wall", run)


def median(values):
    return statistics.median(values) if values else None


def cell(value, digits=2):
    return "–" if value is None else f"{value:.{digits}f}"


def row(cells, out):
    print("| " + " | ".join(cells) + " |", file=out)


def tree(name, entry, written, out):
    results = entry["results"]
    rounds = "One round" if written["rounds"] == 1 else f"Medians of {written['rounds']} rounds"
    print(f"## Tree: {name}\n", file=out)
    print(f"Machine: {written['machine']}. Tree: {entry['files']} files, {entry['bytes'] >> 20} MiB. "
          f"{rounds}, warm cache, seconds unless said otherwise.", file=out)
    print(f"Versions: {entry['versions']}.\n", file=out)
    row(["tool", *COLUMNS, "CPU s of full", "peak MiB", "repository MiB"], out)
    row(["---"] * (len(COLUMNS) + 4), out)
    for tool, phases in results.items():
        runs = [run for values in phases.values() for run in values if hasattr(run, "peak")]
        row([entry["titles"][tool],
             *(cell(median([seconds(run) for run in phases.get(column, [])])) for column in COLUMNS),
             cell(median([run.cpu for run in phases.get("full", [])])),
             cell(max(run.peak for run in runs), 0),
             cell(median([size / (1 << 20) for size in phases.get("size", [])]), 0)], out)
    print("\nAll encrypt but conserve, which checks and restores clear files. bupstash has no deep verification, and restores "
          "no owners unless asked. The pipe knows only full backups; backwards it decrypts, decompresses, and lists or "
          "extracts. peak MiB is that of the largest process, over all phases. `restore + sync` counts until the data is "
          "on the disk, which ccbackup's `restore` waits for already.\n", file=out)
    goals(results, out)


def goals(results, out):
    """Ratios ours/theirs. Each is taken within a round and then the median of the rounds, so that noise cancels."""
    row(["goal", "against", "ours / theirs", "at most", "met"], out)
    row(["---"] * 5, out)
    for phase, peer, most in GOALS:
        if peer not in results:
            continue
        ours, theirs = results.get("ccbackup", {}).get(phase, []), results.get(peer, {}).get(phase, [])
        ratio = median([seconds(one) / seconds(other) for one, other in zip(ours, theirs)])
        met = "–" if ratio is None or most is None else "yes" if ratio <= most else "**no**"
        row(["repository size" if phase == "size" else phase, peer, cell(ratio), cell(most), met], out)
    print(file=out, flush=True)
