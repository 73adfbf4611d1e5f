"""Drop what repeats a benchmark: `elixir-coder data decontaminate CORPUS --out DIR --benchmarks DIR...`.

The benchmarks are local copies in any of the forms they come in: .ex, .exs, .md and .txt files, .json, .jsonl and
.parquet records, of which each text is an item. Ten words in a row that an item and an example share are a match. Signs
are no words; ten words of which fewer than five are different words (numbers that count up, lists) match nothing, nor
do those that more than 20 items have (`mix new` wrote them). An example goes where its matches make up 15% of an item:
benchmarks quote Elixir's own documentation here and there, and that is no leak.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from elixir_coder.data.lexemes import lexemes, windows
from elixir_coder.data.scrub import texts_of
from elixir_coder.data.steps import StepReport, add_step_arguments, transform
from elixir_coder.errors import InputError, RecipeError, require
from elixir_coder.example import Example

NGRAM = 10
SHARE = 0.15  # Elixir's own documentation, which exercises quote, reaches 0.10; copies reach 1
MAX_ITEMS = 20  # a benchmark comes in a dozen variants; what a generator wrote is in hundreds of its files
REASON = "benchmark overlap"

_TEXTS = (".ex", ".exs", ".md", ".txt")
_RECORDS = (".json", ".jsonl", ".jsonl.gz", ".parquet")


class Overlap(NamedTuple):
    """item: `file`, or `file:record/field`. share: of its windows that the text repeats."""

    item: str
    share: float


class BenchmarkIndex:
    """Which windows of words the benchmarks hold, as sorted 64-bit numbers; with them, whose they are."""

    def __init__(self, items: Iterable[tuple[str, str]], *, ngram: int = NGRAM, share: float = SHARE) -> None:
        """items: (name, text) pairs; of equal texts the first counts."""
        import numpy

        self.ngram, self.share = ngram, share
        self.names: list[str] = []
        seen: set[bytes] = set()
        holders: dict[int, list[int]] = defaultdict(list)
        for name, text in items:
            words = words_of(text)
            if (said := hashlib.sha256(" ".join(words).encode(errors="surrogatepass")).digest()) in seen:
                continue
            seen.add(said)
            for number in _telling(words, ngram):
                holders[number].append(len(self.names))
            self.names.append(name)
        self._holders = {number: those for number, those in holders.items() if len(those) <= MAX_ITEMS}
        self._sizes = Counter(item for those in self._holders.values() for item in those)
        self._numbers = numpy.array(sorted(self._holders), dtype=numpy.uint64)

    def __len__(self) -> int:
        """The number of different windows."""
        return len(self._numbers)

    def overlap(self, text: str) -> Overlap | None:
        """The item that a text repeats the greatest part of, where that is at least the share."""
        import numpy

        numbers = windows(words_of(text), self.ngram)
        if not len(numbers) or not len(self._numbers):
            return None
        places = numpy.searchsorted(self._numbers, numbers).clip(max=len(self._numbers) - 1)
        common = set(numbers[self._numbers[places] == numbers].tolist())
        repeated = Counter(item for number in common for item in self._holders[number])
        shares = ((count / self._sizes[item], -item) for item, count in repeated.items())
        best, item = max(shares, default=(0.0, 0))
        return Overlap(self.names[-item], best) if best >= self.share else None


class Decontaminate:
    """The step: examples that repeat no item of a benchmark."""

    def __init__(self, folders: Sequence[Path], *, ngram: int = NGRAM, share: float = SHARE) -> None:
        self._index = BenchmarkIndex(read_items(folders), ngram=ngram, share=share)

    def __call__(self, examples: list[Example], dropped: Counter[str]) -> list[Example]:
        kept = []
        for example in examples:
            found = max(
                (found for text in texts_of(example).values() if (found := self._index.overlap(text))),
                key=lambda overlap: overlap.share,
                default=None,
            )
            if found:
                dropped[f"{REASON}: {found.item.partition(':')[0]}"] += 1
            else:
                kept.append(example)
        return kept

    def close(self) -> None:
        """Nothing to let go of."""


def decontaminate(
    corpus: Path,
    out: Path,
    benchmarks: Sequence[Path],
    *,
    ngram: int = NGRAM,
    share: float = SHARE,
    workers: int | None = None,
    resume: bool = False,
    progress: bool | None = None,
) -> StepReport:
    """Write to `out` the examples of a corpus that repeat none of the benchmarks' items.

    ngram: words in a row that count as repeated. share: of an item's windows, from which an example goes.

    Raises InputError for benchmarks that are not there or hold no text; else as `transform`.
    """
    if ngram < 1 or not 0 < share <= 1:
        raise RecipeError(f"--ngram must be 1 or more and --share above 0 and at most 1, got {ngram} and {share}")
    said = hashlib.sha256()
    num_items = 0
    for name, text in read_items(benchmarks):
        num_items += 1
        said.update(f"{len(text)} {name}\n{text}".encode(errors="surrogatepass"))
    if not num_items:
        raise InputError(f"no text in {', '.join(map(str, benchmarks))}; benchmarks are {', '.join(_TEXTS + _RECORDS)}")
    return transform(
        corpus,
        out,
        partial(Decontaminate, tuple(benchmarks), ngram=ngram, share=share),
        name="decontaminate",
        settings={"benchmarks": said.hexdigest(), "num_items": num_items, "ngram": ngram, "share": share},
        workers=workers,
        resume=resume,
        progress=progress,
    )


def words_of(text: str) -> list[str]:
    """The words of a text, in code and in prose, in lower case."""
    stripped = (lexeme.strip(":?!@").lower() for lexeme in lexemes(text))
    return [word for word in stripped if any(map(str.isalnum, word))]


def read_items(folders: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """Every text in files and folders of benchmarks, in order of their paths, with a name for it."""
    for folder in folders:
        if not folder.exists():
            raise InputError(f"no benchmarks at {folder}; expected a folder with {', '.join(_TEXTS + _RECORDS)} files")
        for path in [folder] if folder.is_file() else sorted(folder.rglob("*")):
            name = path.name if path == folder else path.relative_to(folder).as_posix()
            if not path.is_file() or not name.endswith(_TEXTS + _RECORDS):
                continue
            try:
                yield from _items(path, name)
            except (OSError, ValueError) as error:  # of JSON, UTF-8 and pyarrow, all ValueErrors
                raise InputError(f"{path} cannot be read: {error}") from error


def _items(path: Path, name: str) -> Iterator[tuple[str, str]]:
    if name.endswith(_TEXTS):
        yield name, path.read_text(encoding="utf-8", errors="replace")
    elif name.endswith(".parquet"):
        number = 0
        with require("pyarrow.parquet", "data").ParquetFile(path) as file:
            for batch in file.iter_batches(batch_size=256):
                for record in batch.to_pylist():
                    yield from _texts_in(record, f"{name}:{number}")
                    number += 1
    elif name.endswith(".json"):
        yield from _texts_in(json.loads(path.read_text(encoding="utf-8")), name)
    else:
        with gzip.open(path, "rt", encoding="utf-8") if name.endswith(".gz") else open(path, encoding="utf-8") as lines:
            for number, line in enumerate(lines):
                if line.strip():
                    yield from _texts_in(json.loads(line), f"{name}:{number}")


def _texts_in(value: Any, name: str) -> Iterator[tuple[str, str]]:
    match value:
        case str():
            yield name, value
        case dict():
            for key, each in value.items():
                yield from _texts_in(each, f"{name}/{key}")
        case list():
            for number, each in enumerate(value):
                yield from _texts_in(each, f"{name}/{number}")


def _telling(words: list[str], size: int) -> set[int]:
    """The windows that say something, as numbers."""
    if len(words) < size:
        return set()
    different = max(1, size // 2)  # words that are not numbers: else the list of every second test says something
    return {
        int(number)
        for at, number in enumerate(windows(words, size).tolist())
        if len({word for word in words[at : at + size] if not word[0].isdigit()}) >= different
    }


def add_parser(subparsers: Any) -> None:
    """Add `decontaminate` to the subcommands of `elixir-coder data`."""
    parser = subparsers.add_parser("decontaminate", help="drop what repeats a benchmark you have a copy of")
    add_step_arguments(parser)
    parser.add_argument(
        "--benchmarks", type=Path, nargs="+", required=True, metavar="DIR", help="files, or folders of them"
    )
    parser.add_argument(
        "--ngram", type=int, default=NGRAM, metavar="N", help="words in a row that count as repeated (default: 10)"
    )
    parser.add_argument(
        "--share",
        type=float,
        default=SHARE,
        metavar="SHARE",
        help="of a benchmark's text, from which an example that repeats it goes (default: 0.15)",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """The command `data decontaminate`."""
    report = decontaminate(
        args.corpus,
        args.out,
        args.benchmarks,
        ngram=args.ngram,
        share=args.share,
        workers=args.workers,
        resume=args.resume,
    )
    print(report)
    return 0
