"""What Credo and Sobelow say of code, as labels: `elixir-coder data label CORPUS --out DIR`.

A file or a module is judged as it stands. A function is judged inside of a module of its own, which has the name that
the function's module has and says `@moduledoc false`; lines are those of the function, and what the tools say of the
module around it is left out. So each label can be seen in the text that carries it: what depends on the rest of the
file (whether other functions use spaces, say) is a label of the file, and `within` gives the part of a file's labels
that lies in a range of its lines.

All of Credo's checks are on, also those that it leaves off by itself, each with its own parameters. A text by itself is
a project of one file. What a tool could not judge has no labels of that tool, and the tool is not in `checked_by`.
"""

from __future__ import annotations

import argparse
import functools
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

from elixir_coder.data import shards, steps
from elixir_coder.example import Example, Label
from elixir_coder.toolchain.checks import credo, sobelow
from elixir_coder.toolchain.checks.labels import QUALITY_LABELS, SECURITY_LABELS
from elixir_coder.toolchain.checks.machine import Findings, Note

_JUDGED = ("file", "module", "function", "violation", "exercise")
MORE_THAN_WANTED = "more than were wanted"  # a reason to drop a pair that was confirmed
_HEAD_LINES = 3  # of the module that is put around a function

# Checks that compare the parts of a file with each other: of a function alone they say less than of its file.
OF_FILES = (
    *(name for name in QUALITY_LABELS if ".Consistency." in name),
    "Credo.Check.Design.DuplicatedCode",
    "Credo.Check.Design.AliasUsage",
)


@dataclass(frozen=True)
class Sample:
    """A text to be judged. module: what a function stands in; "" for a text that stands by itself."""

    path: str
    code: str
    module: str = ""

    @classmethod
    def of(cls, example: Example, code: str | None = None) -> Sample:
        """code: another text in the place of the example's."""
        is_function = example.kind == "function" or (example.kind == "violation" and "/" in example.name)
        module = module_of(example.name) if is_function else ""
        return cls(example.path, example.code if code is None else code, module)

    @property
    def judged(self) -> str:
        return wrapped(self.code, self.module) if self.module else self.code


@dataclass(frozen=True)
class Judgement:
    """labels: in the order of their lines. checked_by: the tools that judged the text."""

    labels: tuple[Label, ...] = ()
    checked_by: tuple[str, ...] = ()


def module_of(name: str) -> str:
    """The module of `Module.function/arity`."""
    module = re.sub(r"\.[^.A-Z][^.]*/\d+$|\.[^\w.]+/\d+$", "", name)
    return module if re.fullmatch(r"[A-Z]\w*(\.[A-Z]\w*)*", module) else "Sample"


def wrapped(code: str, module: str) -> str:
    """A function inside of a module. Empty lines stay empty, and the text of a heredoc moves with its quotes."""
    inner = "".join("  " + line if line.strip("\r\n") else line for line in code.splitlines(keepends=True))
    end = "" if inner.endswith("\n") else "\n"
    return f"defmodule {module} do\n  @moduledoc false\n\n{inner}{end}end\n"


def within(labels: Iterable[Label], line: int, end_line: int) -> tuple[Label, ...]:
    """Of a file's labels those in some of its lines, which count from 1 there. What is said of the file as a whole, and
    what only the rest of the file explains (`OF_FILES`), stays with the file."""
    return tuple(
        replace(label, line=label.line - line + 1)
        for label in labels
        if line <= label.line <= end_line and label.check not in OF_FILES
    )


class Judge:
    """Credo and Sobelow, started once and asked in bulk.

    Raises MissingDependencyError where one of them is not installed.
    """

    def __init__(self) -> None:
        self.credo = credo.require(None)
        self.sobelow = sobelow.require(None)

    def close(self) -> None:
        self.credo.close()
        self.sobelow.close()

    def __call__(self, samples: Sequence[Sample]) -> list[Judgement]:
        """What both say of each text, which is judged by itself."""
        texts = [(sample.path, sample.judged) for sample in samples]
        by_credo = self.credo.each_source(texts, all_checks=True, comments=False)
        by_sobelow = self.sobelow.each_source(texts)
        return [self._judgement(*each) for each in zip(samples, by_credo, by_sobelow)]

    def _judgement(self, sample: Sample, by_credo: Findings, by_sobelow: Findings) -> Judgement:
        labels: set[tuple[int, str, str]] = set()
        checked_by = []
        num_lines = sample.code.count("\n") + 1
        for tool, findings, known in (
            (self.credo, by_credo, _QUALITY),
            (self.sobelow, by_sobelow, _SECURITY),
        ):
            if any(map(_spoils, findings.notes)):
                continue
            checked_by.append(f"{tool.tool} {tool.version}")
            for finding in findings:
                line = (finding.line or 0) - _HEAD_LINES * bool(sample.module and finding.line)
                if finding.check in known and not (sample.module and not 1 <= line <= num_lines):
                    labels.add((line, tool.tool, finding.check))
        return Judgement(
            tuple(Label(tool=tool, check=check, line=line) for line, tool, check in sorted(labels)), tuple(checked_by)
        )


_QUALITY, _SECURITY = frozenset(QUALITY_LABELS), frozenset(SECURITY_LABELS)


def _spoils(note: Note) -> bool:
    """Whether a note means that the silence of a tool says nothing."""
    return note.kind in ("unparsable", "unreadable", "check_crashed", "timeout", "died")


class Labelling:
    """The step: examples with the labels of their code, and of `before` where there is one."""

    def __init__(self) -> None:
        self.judge = Judge()

    def close(self) -> None:
        self.judge.close()

    def __call__(self, examples: list[Example], dropped: Counter[str]) -> list[Example]:
        places = [number for number, example in enumerate(examples) if example.kind in _JUDGED]
        befores = [number for number in places if examples[number].kind == "violation" and examples[number].before]
        samples = [Sample.of(examples[number]) for number in places]
        samples += [Sample.of(examples[number], examples[number].before) for number in befores]
        judgements = self.judge(samples)
        out = list(examples)
        for number, judgement in zip(places, judgements):
            out[number] = replace(out[number], labels=judgement.labels, checked_by=judgement.checked_by)
        for number, judgement in zip(befores, judgements[len(places) :]):
            both = tuple(tool for tool in out[number].checked_by if tool in judgement.checked_by)
            out[number] = replace(out[number], before_labels=judgement.labels, checked_by=both)
        return out


# ------------------------------------------------------------------------------------------------------------ the table


@dataclass(frozen=True, kw_only=True)
class LabelRow:
    """How many examples of a split carry a label: in code as it was written (by kind), and in faults written in.

    injected: pairs whose rule was after this label; beside: pairs in which it appeared beside the one intended.
    """

    check: str
    split: str
    natural: Mapping[str, int]
    injected: int = 0
    beside: int = 0


def label_table(folder: Path) -> list[LabelRow]:
    """For each split and each label, how many examples of a corpus carry it. Raises DataError as `read_shards` does."""
    rows = []
    for split in shards.splits_of(folder):
        natural: dict[str, Counter[str]] = {name: Counter() for name in (*QUALITY_LABELS, *SECURITY_LABELS)}
        injected: Counter[str] = Counter()
        beside: Counter[str] = Counter()
        for example in shards.read_shards(folder, split):
            own = {label.check for label in example.labels}
            if example.kind != "violation":
                for check in own:
                    natural[check][example.kind] += 1
                continue
            intended = check_of(example.injected)
            injected[intended] += 1
            beside.update({label.check for label in example.before_labels} - own - {intended})
        for check, kinds in natural.items():
            row = LabelRow(
                check=check, split=split, natural=dict(kinds), injected=injected[check], beside=beside[check]
            )
            rows.append(row)
    return rows


def check_of(rule_name: str) -> str:
    """The label that a rule of injection is after; "" for one that is not known."""
    from elixir_coder.data.injections import RULES

    return {rule.name: rule.check for rule in RULES}.get(rule_name, "")


def confirmation_rates(folder: Path) -> dict[str, float]:
    """For each label that faults were written for, the share of them that the tools confirmed, by what the manifest
    counts; {} for a corpus that has none."""
    history = shards.read_manifest(folder).get("steps", ()) if (folder / shards.MANIFEST).exists() else ()
    dropped: Mapping[str, int] = next((step["dropped"] for step in reversed(history) if step["name"] == "inject"), {})
    confirmed, refused = Counter[str](), Counter[str]()
    for row in label_table(folder):
        confirmed[row.check] += row.injected
    for reason, count in dropped.items():
        check, _, why = reason.partition(": ")
        (confirmed if why == MORE_THAN_WANTED else refused)[check] += count
    return {check: count / (count + refused[check]) for check, count in confirmed.items() if count}


def show_table(rows: Iterable[LabelRow], rates: Mapping[str, float] = MappingProxyType({})) -> str:
    """As text, a line for each label and split that has any. rates: of confirmation, by label."""
    heads = ("file", "module", "function", "injected", "beside", "confirmed")
    lines = [f"{'label':<50}{'split':<11}" + "".join(f"{head:>10}" for head in heads)]
    for row in rows:
        counts = [*(row.natural.get(kind, 0) for kind in heads[:3]), row.injected, row.beside]
        if any(counts):
            rate = f"{rates[row.check]:.0%}" if row.check in rates else ""
            shown = [row.check.removeprefix("Credo.Check."), row.split, *counts, rate]
            lines.append(f"{shown[0]:<50}{shown[1]:<11}" + "".join(f"{each:>10}" for each in shown[2:]))
    return "\n".join(lines)


# ---------------------------------------------------------------------------------------------------------- the command


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "label",
        help="what Credo and Sobelow say of the code of a corpus",
        description="Fill the labels of a corpus: every check of Credo and every rule of Sobelow, on each file, module "
        "and function by itself. With --table alone, print how many examples of CORPUS carry each label.",
    )
    parser.add_argument("corpus", type=Path, metavar="CORPUS", help="folder of shards")
    parser.add_argument("--out", type=Path, metavar="DIR", help="folder of the labelled corpus")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each core)")
    parser.add_argument("--resume", action="store_true", help="go on with what an interrupted run left in DIR")
    parser.add_argument("--table", action="store_true", help="print the positives of each label")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """The command `data label`."""
    from elixir_coder.errors import InputError

    if not args.out and not args.table:
        raise InputError("data label needs --out DIR, where the labelled corpus goes, or --table")
    if args.out:
        print(label(args.corpus, args.out, workers=args.workers, resume=args.resume))
    if args.table:
        folder = args.out or args.corpus
        print(show_table(label_table(folder), confirmation_rates(folder)))
    return 0


def label(corpus: Path, out: Path, *, workers: int | None = None, resume: bool = False) -> steps.StepReport:
    """Label a corpus. Raises MissingDependencyError without Credo or Sobelow, DataError as `transform` does."""
    judge = Judge()
    versions = {tool.tool: tool.version for tool in (judge.credo, judge.sobelow)}
    judge.close()
    return steps.transform(
        corpus, out, functools.partial(Labelling), name="label", settings=versions, workers=workers, resume=resume
    )
