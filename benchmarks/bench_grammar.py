"""How much of real Elixir does the grammar accept, and how much of what Elixir's parser refuses does it refuse?

    python benchmarks/bench_grammar.py [FOLDER ...] [--sample N] [--mutants N] [--starts [START ...]] [--show N]

A folder is a project. Files are its *.ex and *.exs without dependencies and builds. The judge is the parser of the
installed Elixir. In both modes:

    files     accepted, of those that Elixir parses; bytes of a refused file count up to its first error, that is up to
              the last byte after which the text could still have gone on. False accepts: files that only we accept
    mutants   functions and small files that parse, changed by one token, a random one: deleted, doubled, swapped with
              the next, replaced, or something put before it. Refused, of those that Elixir refuses (--mutants is their
              number); accepted, of those that Elixir parses
    starts    the same for the other entry points of the grammar, on pieces of the files and mutants of these. Elixir
              judges a piece in the frame that `frame` gives; what it refuses was cut wrongly and is left out

Without a folder, the sources of the installed Elixir are read, or our own Elixir where they are not installed. --show
prints the first errors of each kind. The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import nullcontext
from itertools import islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

from elixir_pieces import PIECES, mutants

from decoding_elixir_coder import accepts, valid_prefix
from elixir_coder.errors import exit_on_error
from elixir_coder.toolchain.toolchain import Toolchain
from grammar_elixir_coder import MODES, STARTS, frame

ROOT = Path(__file__).resolve().parent.parent
MAX_UNIT_BYTES = 4000  # of what is mutated: small, so that there are many places
MUTANTS_OF_EACH = 4
_NOT_OURS = {"deps", "_build", "node_modules", ".git"}
_IS_TEST = re.compile(r"^ *use (?:ExUnit\.Case|[A-Z][\w.]*Case)\b", re.MULTILINE)


class Text(NamedTuple):
    text: str
    where: str  # the file, and the way of a mutant
    project: str = ""


def _judge_many(mode: str, start: str, texts: Sequence[str]) -> list[bool]:
    return [accepts(text, mode, start) for text in texts]


def good_bytes(mode: str, start: str, text: str) -> int:
    """How many bytes of a text that is refused come before its first error."""
    return len(valid_prefix(text, mode, start).encode())


class Judges:
    """The grammar and Elixir's parser on many texts; the grammar in as many processes as the pool has."""

    def __init__(self, toolchain: Toolchain, pool: Executor | None):
        self.toolchain, self.pool = toolchain, pool

    def grammar(self, mode: str, start: str, texts: Sequence[Text]) -> list[bool]:
        """Whether the grammar accepts each."""
        some = [[each.text for each in texts[at : at + 20]] for at in range(0, len(texts), 20)]
        run: Callable[..., Iterable[list[bool]]] = self.pool.map if self.pool else map
        return [
            accepted for each in run(_judge_many, [mode] * len(some), [start] * len(some), some) for accepted in each
        ]

    def elixir(self, start: str, texts: Iterable[Text]) -> Iterator[bool]:
        before, after = frame(start)
        return (report.ok for report in self.toolchain.map("parse", (before + each.text + after for each in texts)))


# What is measured


def share(part: int, whole: int) -> float | None:
    return round(part / whole, 5) if whole else None


class Judged(NamedTuple):
    text: Text
    is_elixir: bool
    is_accepted: bool
    num_bytes: int
    num_good_bytes: int  # up to the first error


def measure_acceptance(judges: Judges, start: str, texts: Sequence[Text], show: int) -> dict[str, Any]:
    """The shares in total and of each project, by mode."""
    parses = list(judges.elixir(start, texts))
    sizes = [len(each.text.encode()) for each in texts]
    rows: dict[str, Any] = {"elixir_parses": sum(parses), "elixir_refuses": len(parses) - sum(parses)}
    for mode in MODES:
        accepted = judges.grammar(mode, start, texts)
        judged = [
            Judged(each, ok, taken, size, size if taken else good_bytes(mode, start, each.text))
            for each, ok, taken, size in zip(texts, parses, accepted, sizes)
        ]
        rows[mode] = {"total": acceptance(judged)}
        for project in dict.fromkeys(each.project for each in texts):
            rows[mode][project] = acceptance([each for each in judged if each.text.project == project])
        refused = (each.text for each in judged if each.is_elixir and not each.is_accepted)
        show_some("refused", mode, start, show, refused)
        show_some("false accept", mode, start, show, (e.text for e in judged if e.is_accepted and not e.is_elixir))
    return rows


def acceptance(judged: Sequence[Judged]) -> dict[str, Any]:
    good = [each for each in judged if each.is_elixir]
    refused = sum(not each.is_accepted for each in good)
    return {
        "of": len(good),
        "accepted": share(len(good) - refused, len(good)),
        "refused": refused,
        "bytes": share(sum(each.num_good_bytes for each in good), sum(each.num_bytes for each in good)),
        "false_accepts": sum(each.is_accepted and not each.is_elixir for each in judged),
    }


def measure_mutants(
    judges: Judges, start: str, units: Sequence[Text], count: int, chance: random.Random, show: int
) -> dict[str, Any]:
    """count: how many mutants that Elixir refuses are wanted; there may be fewer where there are few units."""
    refused: list[Text] = []
    parsed: list[Text] = []
    made = _mutants_of(units, chance)
    while len(refused) < count and (some := list(islice(made, 500))):
        for each, parses in zip(some, judges.elixir(start, some)):
            (parsed if parses else refused).append(each)
    del refused[count:]
    rows: dict[str, Any] = {"elixir_refuses": len(refused), "elixir_parses": len(parsed)}
    for mode in MODES:
        wrong = [each for each, taken in zip(refused, judges.grammar(mode, start, refused)) if taken]
        lost = [each for each, taken in zip(parsed, judges.grammar(mode, start, parsed)) if not taken]
        rows[mode] = {
            "refused": share(len(refused) - len(wrong), len(refused)),
            "false_accepts": len(wrong),
            "false_accepts_by_way": dict(Counter(each.where.split()[0] for each in wrong)),
            "accepted": share(len(parsed) - len(lost), len(parsed)),
        }
        show_some("false accept of a mutant", mode, start, show, wrong)
        if mode == "accept":
            show_some("mutant that Elixir parses refused", mode, start, show, lost)
    return rows


def _mutants_of(units: Sequence[Text], chance: random.Random) -> Iterator[Text]:
    """A few of each unit, and again, until a round brings nothing."""
    seen: set[str] = set()
    while True:
        before = len(seen)
        for unit in chance.sample(units, len(units)):
            for way, mutant in mutants(unit.text, MUTANTS_OF_EACH, chance):
                if mutant not in seen:
                    seen.add(mutant)
                    yield Text(mutant, f"{way} in {unit.where}", unit.project)
        if len(seen) == before:
            return


def show_some(title: str, mode: str, start: str, count: int, texts: Iterable[Text]) -> None:
    for each in islice(texts, count):
        at = good_bytes(mode, start, each.text)
        before, after = (part.decode(errors="replace") for part in (each.text.encode()[:at], each.text.encode()[at:]))
        print(f"== {start}, {mode}: {title}: {each.where}, line {before.count(chr(10)) + 1}")
        print(f"{before[-200:]}<<<HERE>>>{after[:80]}" if after else before, flush=True)


# The material


def files_of(folder: Path, sample: int | None, chance: random.Random) -> list[Text]:
    paths = sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in (".ex", ".exs") and path.is_file() and not _NOT_OURS & set(path.relative_to(folder).parts)
    )
    if sample is not None and sample < len(paths):
        paths = sorted(chance.sample(paths, sample))
    texts = []
    for path in paths:
        try:
            texts.append(Text(path.read_bytes().decode(), str(path), folder.name))
        except UnicodeDecodeError:  # no Elixir
            continue
    return texts


def default_folders() -> list[Path]:
    ask = "IO.puts(:code.lib_dir(:elixir)); IO.puts(:code.lib_dir(:ex_unit))"
    asked = subprocess.run(["elixir", "-e", ask], capture_output=True, text=True, check=True)
    installed = [Path(line) / "lib" for line in asked.stdout.splitlines()]
    found = [folder for folder in installed if any(folder.rglob("*.ex"))]
    return found or [ROOT / "elixir_coder", ROOT / "tests"]


def pieces_of(start: str, files: Sequence[Text]) -> list[Text]:
    if start == "test_file":
        return [each for each in files if each.where.endswith("_test.exs") and _IS_TEST.search(each.text)]
    found: dict[str, Text] = {}
    for each in files:
        for piece in PIECES[start](each.text):
            found.setdefault(piece, Text(piece, each.where, each.project))
    return list(found.values())


def main() -> int:
    args = parse_args()
    chance = random.Random(args.seed)
    folders = args.folders or default_folders()
    files = [each for folder in folders for each in files_of(folder, args.sample, chance)]
    pool = ProcessPoolExecutor(args.workers, get_context("spawn")) if args.workers > 1 else nullcontext()
    results: dict[str, Any] = {"benchmark": "grammar", "folders": [folder.name for folder in folders]}
    with Toolchain() as toolchain, pool as processes:
        judges = Judges(toolchain, processes)

        def parsed(start: str, texts: Sequence[Text]) -> list[Text]:
            return [each for each, ok in zip(texts, judges.elixir(start, texts)) if ok]

        good_files = parsed("file", files)
        for start in args.starts:
            result = results[start] = {}
            pieces = files if start == "file" else pieces_of(start, good_files)
            if start != "file":
                pieces = parsed(start, chance.sample(pieces, min(args.pieces, len(pieces))))
            if not args.only_mutants:
                result["texts"] = measure_acceptance(judges, start, pieces, args.show)
                show_acceptance(start, result["texts"])
            if args.mutants:
                units = [*pieces_of("function", good_files), *good_files] if start == "file" else pieces
                units = parsed(start, [each for each in units if len(each.text.encode()) <= MAX_UNIT_BYTES])
                result["mutants"] = measure_mutants(judges, start, units, args.mutants, chance, args.show)
                show_mutants(start, result["mutants"])
    print(json.dumps(results))
    return 0


def show_acceptance(start: str, rows: dict[str, Any]) -> None:
    for mode in MODES:
        for project, row in rows[mode].items():
            print(
                f"{start:12} {mode:7} {project:16} {row['of']:6} {percent(row['accepted'])} accepted, "
                f"{percent(row['bytes'])} of bytes, {row['refused']} refused, {row['false_accepts']} false accepts",
                flush=True,
            )


def show_mutants(start: str, rows: dict[str, Any]) -> None:
    for mode in MODES:
        row = rows[mode]
        print(
            f"{start:12} {mode:7} mutants: {percent(row['refused'])} of {rows['elixir_refuses']} that Elixir refuses "
            f"are refused ({row['false_accepts']} are not: {row['false_accepts_by_way']}), "
            f"{percent(row['accepted'])} of {rows['elixir_parses']} that it parses are accepted",
            flush=True,
        )


def percent(number: float | None) -> str:
    return "     --" if number is None else f"{number * 100:7.3f}%"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="*", help="projects")
    parser.add_argument("--sample", type=int, help="files of each folder, drawn by chance; all by default")
    parser.add_argument("--mutants", type=int, default=1000, help="that Elixir refuses, for each entry point")
    parser.add_argument("--only-mutants", action="store_true", help="and not the files or pieces themselves")
    parser.add_argument("--starts", nargs="*", default=["file"], choices=STARTS, help="entry points; alone: all")
    parser.add_argument("--pieces", type=int, default=1000, help="for each entry point, drawn by chance")
    parser.add_argument("--show", type=int, default=0, help="errors of each kind to print")
    parser.add_argument("--workers", type=int, default=1, help="processes for the grammar")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.starts = args.starts or list(STARTS)
    return args


if __name__ == "__main__":
    sys.exit(exit_on_error(main))
