"""Is a step on two processes twice as fast as a plain loop, and does its memory stay flat as the corpus grows?

    python benchmarks/bench_steps.py CORPUS [--workers 2] [--rounds 3] [--copies 3] [--sizes 1 3 10] [--plot PNG]

The step is `extract`: each file goes through Elixir's parser (its facts) and is taken apart into functions and modules.
The corpus is the one given, several times over, each time with another comment at the end of its files.

    throughput   `copies` times the corpus, by `transform` on `workers` processes and by plain loops in one, in turns:
                 reading, the step, writing. One loop takes a file at a time, the other (`batches`) as many as a worker
                 does; with many at hand Elixir's process works ahead, so that this loop is busy on more than one core.
                 A ratio is that of one round, with the start of all processes; printed is the median, with the lowest
                 and the highest. `cpu` is the ratio of processor seconds to those of the loop over batches: what the
                 machinery costs, whatever else the machine does.
    memory       resident bytes of the whole tree of processes, added up four times a second, as the corpus grows

The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from elixir_coder.data.extract import Extract
from elixir_coder.data.shards import read_manifest, read_shards, splits_of, write_shards
from elixir_coder.data.steps import BATCH_SIZE, transform
from elixir_coder.errors import exit_on_error
from elixir_coder.example import Example

_EVERY_S = 0.25
_PAGE = os.sysconf("SC_PAGE_SIZE")


def grown(corpus: Path, times: int, out: Path) -> Path:
    """The corpus, `times` times over, as one split."""

    def examples() -> Iterator[Example]:
        for copy, split in itertools.product(range(times), splits_of(corpus)):
            for example in read_shards(corpus, split):
                yield replace(example, code=f"{example.code}\n# copy {copy}\n")

    write_shards(out, {"train": examples()}, {}, shard_bytes=16_000_000)
    return out


def plain_loop(corpus: Path, out: Path, size: int) -> None:
    """What one would write first: read, do, write, in one process. size: of a batch."""
    step, dropped = Extract(), Counter[str]()

    def done() -> Iterator[Example]:
        examples = read_shards(corpus)
        while batch := list(itertools.islice(examples, size)):
            yield from step(batch, dropped)

    try:
        write_shards(out, {"train": done()}, {}, shard_bytes=16_000_000)
    finally:
        step.close()


def many(corpus: Path, out: Path, workers: int) -> None:
    """The same through `transform`."""
    transform(corpus, out, Extract, name="extract", settings={}, workers=workers)


def timed(work: Callable[[], None]) -> tuple[float, float]:
    """Seconds on the clock, and of processors in this process and those that it started and that ended."""
    before, began = os.times(), time.perf_counter()
    work()
    seconds, after = time.perf_counter() - began, os.times()
    return seconds, sum(after[:4]) - sum(before[:4])


def throughput(corpus: Path, folder: Path, workers: int, rounds: int) -> dict[str, Any]:
    num_bytes = read_manifest(corpus)["splits"]["train"]["num_bytes"]
    ways: dict[str, Callable[[], None]] = {
        "loop": lambda: plain_loop(corpus, folder / "loop", 1),
        "transform": lambda: many(corpus, folder / "transform", workers),
        "batches": lambda: plain_loop(corpus, folder / "batches", BATCH_SIZE),
    }
    rows = []
    for number in range(rounds):
        order = list(ways) if number % 2 == 0 else list(reversed(ways))
        rows.append({way: timed(ways[way]) for way in order})
    written = {way: [each.sha256 for each in read_shards(folder / way)] for way in ways}
    assert written["loop"] == written["batches"] == written["transform"], "all write the same"
    return {
        "code_mb": num_bytes / 1e6,
        "examples": len(written["loop"]),
        "mb_per_s": {way: num_bytes / 1e6 / statistics.median(row[way][0] for row in rows) for way in ways},
        "ratio": spread([row["loop"][0] / row["transform"][0] for row in rows]),
        "ratio_to_batches": spread([row["batches"][0] / row["transform"][0] for row in rows]),
        "cpu": spread([row["transform"][1] / row["batches"][1] for row in rows]),
    }


def memory(corpus: Path, out: Path, workers: int) -> list[tuple[float, float]]:
    """(seconds since the start, resident MB of the tree of processes) of a `transform` in a process of its own."""
    words = [sys.executable, __file__, str(corpus), "--workers", str(workers), "--only_step", str(out)]
    began = time.perf_counter()
    samples = []
    with subprocess.Popen(words, stdout=subprocess.DEVNULL) as running:
        while running.poll() is None:
            samples.append((time.perf_counter() - began, resident_bytes(running.pid) / 1e6))
            time.sleep(_EVERY_S)
    assert running.returncode == 0, "the step that is measured works"
    return samples


def resident_bytes(process: int) -> int:
    """Of a process and all that come of it; one that has just ended counts as nothing."""
    try:
        pages = int(Path(f"/proc/{process}/statm").read_text().split()[1])
        threads = list(Path(f"/proc/{process}/task").iterdir())
        children = [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return pages * _PAGE + sum(map(resident_bytes, children))


def spread(numbers: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(numbers), "lowest": min(numbers), "highest": max(numbers)}


def draw(path: Path, curves: dict[int, list[tuple[float, float]]], sizes_mb: dict[int, float]) -> None:
    """Memory over the course of each run, one line for each size of the corpus."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 4))
    for times, samples in curves.items():
        whole = samples[-1][0]
        axes.plot(
            [100 * at / whole for at, _ in samples],
            [mb for _, mb in samples],
            label=f"{sizes_mb[times]:.0f} MB of code",
        )
    axes.set(xlabel="% of the run", ylabel="MB resident, all processes", ylim=(0, None))
    axes.set_title("Memory of a step as the corpus grows")
    axes.legend(title="corpus", loc="lower right")
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, dpi=150)


def main() -> int:
    args = parse_args()
    if args.only_step:
        many(args.corpus, args.only_step, args.workers)
        return 0
    result: dict[str, Any] = {"benchmark": "steps", "workers": args.workers, "batch_size": BATCH_SIZE}
    with tempfile.TemporaryDirectory(dir=args.scratch) as scratch:
        folder = Path(scratch)
        if args.rounds:
            several = grown(args.corpus, args.copies, folder / "several")
            result["throughput"] = told = throughput(several, folder, args.workers, args.rounds)
            speeds = ", ".join(f"{way} {speed:.2f} MB/s" for way, speed in told["mb_per_s"].items())
            print(f"{told['code_mb']:.1f} MB of code, {told['examples']:,} examples: {speeds}")
            for name in ("ratio", "ratio_to_batches", "cpu"):
                each = told[name]
                print(f"  {name}: {each['median']:.2f} ({each['lowest']:.2f} to {each['highest']:.2f})")
        curves, sizes_mb = {}, {}
        for times in args.sizes:
            corpus = grown(args.corpus, times, folder / f"grown-{times}")
            sizes_mb[times] = read_manifest(corpus)["splits"]["train"]["num_bytes"] / 1e6
            curves[times] = memory(corpus, folder / "out", args.workers)
            peak = max(mb for _, mb in curves[times])
            print(
                f"{times} times, {sizes_mb[times]:.1f} MB of code: at most {peak:.0f} MB, {curves[times][-1][0]:.0f} s"
            )
        result["memory"] = [
            {"times": times, "code_mb": sizes_mb[times], "peak_mb": max(mb for _, mb in samples), "s": samples[-1][0]}
            for times, samples in curves.items()
        ]
        if args.plot:
            draw(args.plot, curves, sizes_mb)
    print(json.dumps(result))
    return 0


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Time a step on several processes, and watch its memory.")
    parser.add_argument("corpus", type=Path, metavar="CORPUS", help="folder of shards with files of Elixir")
    parser.add_argument("--workers", type=int, default=2, help="processes of `transform` (default: %(default)s)")
    parser.add_argument(
        "--rounds", type=int, default=3, help="of the comparison; 0 leaves it out (default: %(default)s)"
    )
    parser.add_argument("--copies", type=int, default=3, help="of the corpus, in the comparison (default: %(default)s)")
    parser.add_argument(
        "--sizes", type=int, nargs="*", default=[1, 3, 10], help="how often the corpus is taken for its memory"
    )
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw memory over time")
    parser.add_argument("--scratch", type=Path, metavar="DIR", help="where corpora are written (default: the system's)")
    parser.add_argument("--only_step", type=Path, metavar="DIR", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(exit_on_error(main))
