"""A corpus in figures: `elixir-coder data stats CORPUS` prints tables, `--plots DIR` draws them, `--json FILE` keeps
them.

Read once from end to end, an example at a time; what is kept are counts.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from elixir_coder.data import shards
from elixir_coder.data.split import SPLITS
from elixir_coder.data.tokenizer import load
from elixir_coder.errors import DataError, InputError, require
from elixir_coder.example import Example

_BATCH = 256  # texts that the tokenizer is given at once
_PERCENTILES = (50, 90, 99, 100)
# Whether an example has what a task wants of it.
_COVERED = (
    *("instruction", "explanation", "tests", "before", "diagnosis", "question", "turns", "checked_by", "labels"),
    *("specs", "guards", "patterns", "callbacks", "flows", "triples", "linearized", "difficulty"),
)
_COUNTED = ("kind", "source", "package", "licence", "test_type", "matched", "injected", "difficulty")
_MOST_ROWS = 30


@dataclass
class CorpusStats:
    """What was counted of one split.

    counts: for each field of `_COUNTED` how often each value stands there (empty ones left out).
    labels: for each rule of Credo or Sobelow the examples that have it, in code as it is found ("natural") and in the
    faulty half of a pair whose rule it is ("injected"). covered: examples in which a field is not empty.
    tokens, lines: how many examples have this many, of `code`.
    """

    num_examples: int = 0
    num_bytes: int = 0
    counts: dict[str, Counter[str]] = field(default_factory=lambda: {name: Counter() for name in _COUNTED})
    labels: dict[str, Counter[str]] = field(default_factory=lambda: defaultdict(Counter))
    covered: Counter[str] = field(default_factory=Counter)
    operations: Counter[str] = field(default_factory=Counter)
    tokens: Counter[int] = field(default_factory=Counter)
    lines: Counter[int] = field(default_factory=Counter)

    def add(self, example: Example, num_tokens: int) -> None:
        self.num_examples += 1
        self.num_bytes += len(example.code.encode())
        self.tokens[num_tokens] += 1
        self.lines[example.code.count("\n")] += 1
        for name in _COUNTED:
            if value := getattr(example, name):
                self.counts[name][str(value)] += 1
        for name in _COVERED:
            self.covered[name] += bool(getattr(example, name))
        self.operations.update(set(example.operations))
        for check in {label.check for label in example.labels}:
            self.labels[check]["natural"] += 1
        for check in {label.check for label in example.before_labels}:
            self.labels[check]["injected" if check == example.injected else "natural"] += 1

    @property
    def num_tokens(self) -> int:
        return sum(length * count for length, count in self.tokens.items())

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "num_examples": self.num_examples,
            "num_bytes": self.num_bytes,
            "num_tokens": self.num_tokens,
            "tokens": {f"p{each}": percentile(self.tokens, each) for each in _PERCENTILES},
            "lines": {f"p{each}": percentile(self.lines, each) for each in _PERCENTILES},
            **{name: dict(counts.most_common()) for name, counts in self.counts.items() if counts},
            "labels": {check: dict(counts) for check, counts in sorted(self.labels.items())},
            "covered": dict(self.covered),
            "operations": dict(self.operations.most_common()),
        }


def stats_of(corpus: Path, tokenizer: Path, split: str) -> CorpusStats:
    """Count one split of a corpus.

    tokenizer: a folder with tokenizer.json. Raises DataError for a corpus that cannot be read.
    """
    backend = load(tokenizer).backend_tokenizer
    stats = CorpusStats()
    for batch in _batches(shards.read_shards(corpus, split)):
        encodings = backend.encode_batch_fast([example.code for example in batch], add_special_tokens=False)
        for example, encoding in zip(batch, encodings, strict=True):
            stats.add(example, len(encoding))
    return stats


def percentile(counts: Counter[int], per_cent: float) -> int:
    """The smallest value that `per_cent` of all counted ones do not exceed; 0 of none."""
    wanted = math.ceil(counts.total() * per_cent / 100)
    return next((value for value, seen in _running(counts) if seen >= wanted), 0)


def tables(by_split: dict[str, CorpusStats]) -> str:
    """All figures as Markdown, a column for each split."""
    parts = [
        _table(
            "",
            by_split,
            [("examples", lambda s: f"{s.num_examples:,}"), ("MB of code", lambda s: f"{s.num_bytes / 1e6:.2f}")]
            + [("tokens of code", lambda s: f"{s.num_tokens:,}")]
            + [(f"tokens, p{each}", lambda s, each=each: f"{percentile(s.tokens, each):,}") for each in _PERCENTILES]
            + [(f"lines, p{each}", lambda s, each=each: f"{percentile(s.lines, each):,}") for each in _PERCENTILES],
        )
    ]
    for name in _COUNTED:
        if rows := _most(name, by_split):
            parts.append(
                _table(name, by_split, [(value, lambda s, v=value, n=name: f"{s.counts[n][v]:,}") for value in rows])
            )
    checks = sorted({check for stats in by_split.values() for check in stats.labels})
    if checks:
        parts.append(
            _table(
                "positives of a label: natural + injected",
                by_split,
                [(check, lambda s, c=check: _positives(s, c)) for check in checks],
            )
        )
    covered = [name for name in _COVERED if any(stats.covered[name] for stats in by_split.values())]
    parts.append(
        _table(
            "share that has",
            by_split,
            [(name, lambda s, n=name: f"{s.covered[n] / max(s.num_examples, 1):.1%}") for name in covered],
        )
    )
    return "\n\n".join(parts)


def draw(by_split: dict[str, CorpusStats], folder: Path) -> list[Path]:
    """Write tokens.png, licences.png, labels.png and coverage.png (those there is something for); give their paths."""
    require("matplotlib", "pictures")
    from matplotlib.figure import Figure

    folder.mkdir(parents=True, exist_ok=True)
    written = []

    def panel(name: str, height: float, title: str) -> tuple[Any, Any]:
        figure = Figure(figsize=(8, height), layout="constrained")
        axes = figure.add_subplot(title=title)
        written.append((figure, folder / f"{name}.png"))
        return figure, axes

    _figure, axes = panel("tokens", 4, "Length of code")
    for split, stats in by_split.items():
        bins: dict[int, float] = defaultdict(float)
        for length, count in stats.tokens.items():
            bins[int(math.log2(max(length, 1)) * 2)] += count / stats.num_examples
        at = range(min(bins, default=0), max(bins, default=0) + 1)
        axes.plot([2 ** (each / 2) for each in at], [bins[each] for each in at], label=split, drawstyle="steps-mid")
    axes.set(xscale="log", xlabel="tokens", ylabel="share of the examples")
    axes.legend()

    train = next(iter(by_split.values()))
    _bars(panel, "licences", "Licences", {"examples": dict(train.counts["licence"].most_common(_MOST_ROWS))})
    checks = sorted(train.labels, key=lambda check: -train.labels[check].total())
    _bars(
        panel,
        "labels",
        "Positives of each label",
        {way: {c: train.labels[c][way] for c in checks} for way in ("natural", "injected")},
    )
    _bars(
        panel,
        "coverage",
        "Share of the examples that has",
        {"share": {n: c / train.num_examples for n, c in train.covered.items() if c}},
    )
    for figure, path in written:
        figure.savefig(path, dpi=120)
    return [path for _figure, path in written]


def _bars(panel: Any, name: str, title: str, series: dict[str, dict[str, float]]) -> None:
    names = list(dict.fromkeys(itertools.chain.from_iterable(series.values())))
    if not names:
        return
    _figure, axes = panel(name, 1.2 + 0.16 * len(names), title)
    left = [0.0] * len(names)
    for label, values in series.items():
        widths = [values.get(each, 0) for each in names]
        axes.barh(names, widths, left=left, label=label)
        left = [so_far + width for so_far, width in zip(left, widths, strict=True)]
    axes.invert_yaxis()
    axes.tick_params(labelsize=6)
    if len(series) > 1:
        axes.legend()


def _most(name: str, by_split: dict[str, CorpusStats]) -> list[str]:
    together = sum((stats.counts[name] for stats in by_split.values()), Counter[str]())
    return [value for value, _count in together.most_common(_MOST_ROWS)]


def _positives(stats: CorpusStats, check: str) -> str:
    found = stats.labels.get(check, Counter())
    return f"{found['natural']:,} + {found['injected']:,}"


def _table(title: str, by_split: dict[str, CorpusStats], rows: Sequence[tuple[str, Any]]) -> str:
    lines = [f"| {title} | {' | '.join(by_split)} |", f"|---|{'---:|' * len(by_split)}"]
    lines += [f"| {name} | {' | '.join(cell(stats) for stats in by_split.values())} |" for name, cell in rows]
    return "\n".join(lines)


def _running(counts: Counter[int]) -> Iterator[tuple[int, int]]:
    seen = 0
    for value in sorted(counts):
        seen += counts[value]
        yield value, seen


def _batches(examples: Iterable[Example]) -> Iterator[list[Example]]:
    iterator = iter(examples)
    while batch := list(itertools.islice(iterator, _BATCH)):
        yield batch


def add_parser(subparsers: Any) -> None:
    """Add `stats` to the subcommands of `elixir-coder data`."""
    parser = subparsers.add_parser("stats", help="count what a corpus holds, as tables and plots")
    parser.add_argument("corpus", type=Path, metavar="CORPUS", help="folder of shards")
    parser.add_argument("--tokenizer", type=Path, metavar="DIR", help="whose tokens are counted (default: the model's)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write the figures here")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="also draw them here, as PNG")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """The command `data stats`."""
    from elixir_coder.checkpoint import hub_files

    tokenizer = args.tokenizer or hub_files()[0].parent
    splits = sorted(shards.splits_of(args.corpus), key=lambda split: (*SPLITS, split).index(split))
    if not splits:
        shards.shards_of(args.corpus, "train")  # which says what is missing
    by_split = {split: stats_of(args.corpus, tokenizer, split) for split in splits}
    by_split = {split: stats for split, stats in by_split.items() if stats.num_examples}
    if not by_split:
        raise DataError(f"{args.corpus} holds no example")
    print(tables(by_split))
    try:
        if args.json:
            text = json.dumps(
                {split: stats.to_dict() for split, stats in by_split.items()}, indent=2, ensure_ascii=False
            )
            args.json.write_text(text + "\n", encoding="utf-8")
        for path in draw(by_split, args.plots) if args.plots else ():
            print(f"drawn: {path}")
    except OSError as error:
        raise InputError(f"cannot write {error.filename}: {error.strerror}") from error
    return 0
