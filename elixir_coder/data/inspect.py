"""Look at examples as a person would: `elixir-coder data inspect CORPUS [--kind function] [--package P] [--grep WORD]`.

Shows the code with its line numbers and, beside the lines, what Credo and Sobelow said of them; then whatever else the
example has. With `--random SEED` the examples are a fair sample of all that fit, otherwise the first ones.
"""

from __future__ import annotations

import argparse
import itertools
import random
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from elixir_coder.data import shards
from elixir_coder.errors import InputError
from elixir_coder.example import KINDS, Example, Flow, Label

_TEXTS = ("instruction", "question", "explanation", "diagnosis", "linearized")
_LISTS = ("specs", "guards", "patterns", "callbacks", "answers", "operations", "checked_by")
_MOST_FLOWS = 12


def matching(
    examples: Iterable[Example], *, kind: str = "", package: str = "", name: str = "", grep: str = ""
) -> Iterator[Example]:
    """The examples that fit all that is given. name: a part of it. grep: a regular expression, in any text of theirs.

    Raises InputError for an expression that is none.
    """
    try:
        pattern = re.compile(grep)
    except re.error as error:
        raise InputError(f"--grep {grep!r} is no regular expression: {error}") from error
    for example in examples:
        is_named = (not kind or example.kind == kind) and (not package or example.package == package)
        if is_named and name in example.name and (not grep or any(map(pattern.search, _searched(example)))):
            yield example


def sample(examples: Iterable[Example], number: int, seed: int | None) -> list[Example]:
    """The first `number` examples, or with a seed that many of all, each as likely as any other.

    Method: Vitter 1985, algorithm R, https://doi.org/10.1145/3147.3165
    """
    if seed is None:
        return list(itertools.islice(examples, number))
    rng = random.Random(seed)
    chosen: list[Example] = []
    for position, example in enumerate(examples):
        if position < number:
            chosen.append(example)
        elif (place := rng.randrange(position + 1)) < number:
            chosen[place] = example
    return chosen


def to_text(example: Example, *, colours: bool = False) -> str:
    """One example for a terminal."""

    def heading(text: str) -> str:
        return f"\033[1;36m{text}\033[0m" if colours else text

    title = " ".join(filter(None, [example.kind, example.name]))
    place = f"{example.package} {example.version}, {example.path}{f':{example.line}' if example.line else ''}"
    marks = [f"{name} {value}" for name in ("test_type", "matched", "injected") if (value := getattr(example, name))]
    marks += [f"difficulty {example.difficulty}"] if example.difficulty else []
    parts = [heading(f"== {title}"), f"{place} ({example.licence}, {example.source}) {example.sha256[:12]}"]
    parts += [", ".join(marks)] if marks else []
    parts += [f"{heading(f'-- {name}')}\n{text}" for name in _TEXTS if (text := getattr(example, name))]
    parts += [f"{heading(f'-- {turn.role}')}\n{turn.content}" for turn in example.turns]
    if example.before:
        parts.append(f"{heading('-- before')}\n{numbered(example.before, example.before_labels)}")
    parts.append(f"{heading('-- code')}\n{numbered(example.code, example.labels)}")
    if example.tests:
        parts.append(f"{heading('-- tests')}\n{numbered(example.tests, ())}")
    parts += [f"{heading(f'-- {name}')} {'; '.join(values)}" for name in _LISTS if (values := getattr(example, name))]
    if example.flows:
        parts.append(f"{heading('-- values come from')} {flows_of(example.code, example.flows)}")
    if example.triples:
        triples = "; ".join(f"{each.subject} {each.predicate} {each.object}" for each in example.triples)
        parts.append(f"{heading('-- triples')} {triples}")
    return "\n".join(parts)


def numbered(code: str, labels: Iterable[Label]) -> str:
    """Code with line numbers, and at the end of a line what was said of it; what is about the whole comes first."""
    by_line: dict[int, list[str]] = {}
    for label in labels:
        by_line.setdefault(label.line, []).append(label.check.removeprefix("Credo.Check."))
    lines = code.rstrip("\n").split("\n")
    width = len(str(len(lines)))
    whole = [f"{'':{width}}  # {', '.join(by_line[0])}"] if 0 in by_line else []
    said = {number: f"  # <- {', '.join(checks)}" for number, checks in by_line.items()}
    return "\n".join([*whole, *(f"{n:{width}}  {line}{said.get(n, '')}" for n, line in enumerate(lines, 1))])


def flows_of(code: str, flows: tuple[Flow, ...]) -> str:
    """The first edges between variables, with the lines they stand on."""

    def place(flow: Flow) -> str:
        return f"{flow.name}:{code.count(chr(10), 0, flow.start) + 1}"

    edges = [f"{place(flow)} <- {', '.join(place(flows[s]) for s in flow.sources)}" for flow in flows if flow.sources]
    more = f"; and {len(edges) - _MOST_FLOWS} more" if len(edges) > _MOST_FLOWS else ""
    return "; ".join(edges[:_MOST_FLOWS]) + more


def _searched(example: Example) -> tuple[str, ...]:
    return (example.code, example.before, example.tests, example.path, *(getattr(example, name) for name in _TEXTS))


def add_parser(subparsers: Any) -> None:
    """Add `inspect` to the subcommands of `elixir-coder data`."""
    parser = subparsers.add_parser("inspect", help="look at examples of a corpus")
    parser.add_argument("corpus", type=Path, metavar="CORPUS", help="folder of shards")
    parser.add_argument("--split", default="train", help="default: train")
    parser.add_argument("--kind", choices=KINDS, default="", help="only this kind of example")
    parser.add_argument("--package", default="", metavar="NAME", help="only from this package")
    parser.add_argument("--name", default="", metavar="TEXT", help="part of a module's or function's name")
    parser.add_argument("--grep", default="", metavar="RE", help="a regular expression that some text of it matches")
    parser.add_argument("--number", type=int, default=3, metavar="N", help="how many (default 3)")
    parser.add_argument("--random", type=int, metavar="SEED", help="a sample of all that fit, not the first ones")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """The command `data inspect`; 1 where nothing fits."""
    fits = {name: getattr(args, name) for name in ("kind", "package", "name", "grep")}
    examples = sample(matching(shards.read_shards(args.corpus, args.split), **fits), args.number, args.random)
    if not examples:
        print("no example fits", file=sys.stderr)
        return 1
    print("\n\n".join(to_text(example, colours=sys.stdout.isatty()) for example in examples))
    return 0
