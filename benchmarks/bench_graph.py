"""How fast is a corpus put into the knowledge graph, asked about, and told in sentences?

    python benchmarks/bench_graph.py CORPUS [--files 400]

Loading is of the same files each time, into a new store on the disk, with 1 process (extract, write, load, one after
the other) and with --workers (extracting while loading), in turns (A B A B ...); median of each, and their ratio.
Processor time counts all processes that came to their end, and is what to read on a busy machine. Queries are the
named ones of `graph query --named`, each answered in whole as JSON by a `Reader`, the first answer left out; median of
--repeats. Linearizing is of every module in the store. The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))
from elixir_coder.data.graph import QUERIES, load_corpus, named_query
from elixir_coder.data.shards import read_shards, splits_of, write_shards
from elixir_coder.ontology.linearize import linearize
from elixir_coder.ontology.serve import Reader
from elixir_coder.ontology.store import GraphStore
from elixir_coder.ontology.vocabulary import RDF, STRUCTURE

ARGUMENTS = {"Module": "GenServer", "Module.function/arity": "Enum.map/2"}


def sample(corpus: Path, folder: Path, files: int | None) -> Path:
    """A corpus of files taken evenly from the whole; all of it without a number."""
    if files is None:
        return corpus
    everything = {
        split: [each for each in read_shards(corpus, split) if each.kind == "file"] for split in splits_of(corpus)
    }
    step = max(1, sum(map(len, everything.values())) // files)
    write_shards(folder, {split: found[::step] for split, found in everything.items() if found[::step]}, {})
    return folder


def load_rates(corpus: Path, folder: Path, workers: int, rounds: int) -> dict[str, Any]:
    """Triples a second with 1 process and with several, in turns; the last store is left in `folder`/graph."""
    rates: dict[int, list[float]] = {1: [], workers: []}
    costs: dict[int, list[float]] = {1: [], workers: []}
    number = 0
    for _ in range(rounds):
        for each in dict.fromkeys((1, workers)):
            shutil.rmtree(folder / "graph", ignore_errors=True)
            before = os.times()
            with GraphStore(folder / "graph") as store:
                report = load_corpus(corpus, store, workers=each)
            number = report.num_triples
            rates[each].append(number / report.seconds)
            costs[each].append(sum(os.times()[:4]) - sum(before[:4]))
            print(
                f"{each} workers: {number:,} triples in {report.seconds:.1f} s, {rates[each][-1]:,.0f}/s, "
                f"{costs[each][-1]:.1f} s of processors",
                flush=True,
            )
    single, parallel = (statistics.median(rates[each]) for each in (1, workers))
    return {
        "triples": number,
        "workers": workers,
        "single_per_s": round(single),
        "parallel_per_s": round(parallel),
        "ratio": round(statistics.median(b / a for a, b in zip(rates[1], rates[workers], strict=True)), 2),
        "triples_per_processor_s": {str(each): round(number / statistics.median(cost)) for each, cost in costs.items()},
        "spread": {str(each): [round(rate) for rate in found] for each, found in rates.items()},
    }


def query_times(store: Path, repeats: int) -> dict[str, Any]:
    """Of each named query its rows, and the median of its milliseconds."""
    times = {}
    with Reader(store, timeout_s=600) as reader:
        for name, query in QUERIES.items():
            sparql = named_query(name, ARGUMENTS.get(query.about, ""))
            reader.ask(sparql, max_rows=None)
            took = []
            for _ in range(repeats):
                began = time.perf_counter()
                answer = reader.ask(sparql, max_rows=None)
                took.append((time.perf_counter() - began) * 1000)
            times[name] = {"rows": answer.num_rows, "p50_ms": round(statistics.median(took), 1)}
            print(f"{name}: {times[name]['rows']:,} rows, {times[name]['p50_ms']} ms", flush=True)
    return times


def linearize_rate(folder: Path) -> dict[str, Any]:
    """Modules a second, told from the store, and the characters of it."""
    with GraphStore(folder, read_only=True) as store:
        modules = store.subjects(RDF.type, STRUCTURE.Module)
        began = time.perf_counter()
        texts = [linearize(store, [module]) for module in modules]
        seconds = time.perf_counter() - began
    told = {"modules": len(modules), "modules_per_s": round(len(modules) / seconds, 1), "chars": sum(map(len, texts))}
    print(f"linearize: {told}", flush=True)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("corpus", type=Path)
    parser.add_argument("--files", type=int, help="take so many, evenly (default: all)")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--repeats", type=int, default=11)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="bench-graph-") as name:
        folder = Path(name)
        corpus = sample(args.corpus, folder / "corpus", args.files)
        result = {
            "load": load_rates(corpus, folder, args.workers, args.rounds),
            "queries": query_times(folder / "graph", args.repeats),
            "linearize": linearize_rate(folder / "graph"),
        }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
