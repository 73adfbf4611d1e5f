"""How many near-duplicates does MinHash miss, how many does it find that are none, and what does the search cost?

    python benchmarks/bench_duplicates.py CORPUS [--threshold 0.8] [--rounds 3]

CORPUS is a folder of shards. The truth is the Jaccard index of every two files, on sets of five lexemes and without a
hash, as far as their sizes allow the threshold; the same order of names decides which of two goes. Recall and precision
are those of the files that `elixir-coder data duplicates` drops. Seconds are of the whole command, on one worker and on
one for each core, taking turns; the ratio is the median of the rounds. The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

from elixir_coder.data import minhash
from elixir_coder.data.duplicates import NGRAM, THRESHOLD, drop_duplicates
from elixir_coder.data.lexemes import digest, lexemes
from elixir_coder.data.shards import read_shards
from elixir_coder.errors import exit_on_error


def truth(corpus: Path, threshold: float) -> tuple[set[int], int, float]:
    """The rows that go, the pairs at or above the threshold, and the bytes of code."""
    members: list[minhash.Member] = []
    sets, num_bytes = [], 0
    for split in minhash.splits_in_order(corpus):
        for example in read_shards(corpus, split):
            words = lexemes(example.code)
            sets.append(
                {tuple(words[at : at + NGRAM]) for at in range(max(1, len(words) - NGRAM + 1))} if words else set()
            )
            named = {"package": example.package, "version": example.version, "path": example.path}
            members.append(
                minhash.Member(split=split, **named, digest=digest(words).hex(), row=len(members), shingles=None)
            )
            num_bytes += len(example.code.encode())
    alike = defaultdict(set)
    by_size = sorted((row for row in range(len(sets)) if sets[row]), key=lambda row: len(sets[row]))
    for place, row in enumerate(by_size):
        for other in by_size[place + 1 :]:
            if len(sets[row]) < threshold * len(sets[other]):
                break
            common = len(sets[row] & sets[other])
            if common >= threshold * (len(sets[row]) + len(sets[other]) - common):
                alike[row].add(other)
                alike[other].add(row)
    stays: set[int] = set()
    for member in minhash.in_rank(members):
        if not alike[member.row] & stays:
            stays.add(member.row)
    return set(range(len(sets))) - stays, sum(map(len, alike.values())) // 2, num_bytes


def main(args: argparse.Namespace) -> int:
    expected, num_pairs, num_bytes = truth(args.corpus, args.threshold)
    all_cores = len(os.sched_getaffinity(0))
    seconds: dict[int, list[float]] = {1: [], all_cores: []}
    with tempfile.TemporaryDirectory() as folder:
        pairs = Path(folder) / "pairs.jsonl"
        for _ in range(args.rounds):
            for workers in seconds:
                started = time.perf_counter()
                drop_duplicates(
                    args.corpus, Path(folder) / "out", threshold=args.threshold, workers=workers, pairs=pairs
                )
                seconds[workers].append(time.perf_counter() - started)
        found = {json.loads(line)["row"] for line in pairs.read_text(encoding="utf-8").splitlines()}
    ratios = [one / many for one, many in zip(seconds[1], seconds[all_cores], strict=True)]
    result = {
        "files_to_drop": len(expected),
        "pairs": num_pairs,
        "recall": len(found & expected) / max(1, len(expected)),
        "precision": len(found & expected) / max(1, len(found)),
        "mb": round(num_bytes / 1e6, 2),
        "mb_per_s": round(num_bytes / 1e6 / statistics.median(seconds[all_cores]), 2),
        "one_worker_over_all": round(statistics.median(ratios), 2),
        "spread": [round(min(ratios), 2), round(max(ratios), 2)],
        "workers": all_cores,
    }
    for name, value in result.items():
        print(f"{name}: {value}")
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path, metavar="CORPUS")
    parser.add_argument("--threshold", type=float, default=THRESHOLD)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    sys.exit(exit_on_error(lambda: main(arguments)))
