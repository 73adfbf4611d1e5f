"""Faults written into clean code and confirmed by Credo and Sobelow: `elixir-coder data inject CORPUS --out DIR`.

A job is one label in one split. It draws pieces of clean code, lets the rules for that label write a fault into each
(`injections`), and has the real tools judge both texts. A pair is kept where the label is in the text with the fault,
at the place of the fault, and not in its clean twin; all other labels of both texts are recorded as the tools gave
them. Both texts parse, and where the clean one compiles by itself the other does too.

Pieces are cut from the files, modules or functions of a corpus once, and lie beside the result while it is made, so
that jobs can draw at random without holding a corpus. A pair belongs to the split of the package that it came from.
"""

from __future__ import annotations

import argparse
import difflib
import functools
import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from random import Random
from typing import Any

from elixir_coder.data import shards, steps
from elixir_coder.data.injections import RULES, Fault, Piece, Rule
from elixir_coder.data.injections.text import Definition, Text
from elixir_coder.data.label import MORE_THAN_WANTED, Judge, Judgement, Sample, module_of, wrapped
from elixir_coder.data.split import SPLITS
from elixir_coder.errors import DataError, InputError
from elixir_coder.example import Example
from elixir_coder.toolchain.finding import Outcome
from elixir_coder.toolchain.toolchain import Toolchain

PER_LABEL = 400
_HELD_OUT_SHARE = 4  # a held-out split gets this part of it
_MAX_LINES, _MAX_CHARACTERS = 60, 3_000  # of a function
_MAX_MODULE_LINES = 110
_AT_A_TIME = 64  # attempts between two looks at how many pairs there are
_MADE_SHARE = 0.3
_ATTEMPTS = 8  # for each pair that is wanted
_FEWEST_ATTEMPTS = 256
_SPARE = 4  # attempts more than are missing, since most are confirmed
_DIRECTIVE = re.compile(r"  (use|import|alias|require) [A-Z][\w.]*(\.\{[\w, ]+\})?(, [\w: \[\]{},]+)?$")
# Functions of Phoenix, Plug and Ecto that are written without parentheses.
_BARE = [
    (name, None)
    for name in ("plug", "pipe_through", "get", "post", "put", "patch", "delete", "socket", "config", "field")
]


# --------------------------------------------------------------------------------------------------------------- pieces


@dataclass(frozen=True, kw_only=True)
class Origin:
    """A piece and the example that it was cut from. name: of the function or of the module."""

    piece: Piece
    name: str
    version: str
    licence: str
    source: str
    parent: str
    line: int


def pieces_of(example: Example) -> Iterator[Origin]:
    """The functions of an example, each also as a module of its own, and its modules that are short."""
    if example.kind == "function":
        module = module_of(example.name)
        code = example.code.rstrip("\n") + "\n"
        if _is_fit(code):
            yield _origin(example, code, "function", module, example.name, example.line)
            yield _origin(example, wrapped(code, module), "module", module, module, example.line)
    elif example.kind in ("file", "module"):
        yield from _of_file(example)


def _of_file(example: Example) -> Iterator[Origin]:
    text = Text(example.code)
    if "\x01" in example.code or "\r" in example.code or "\t" in example.code:
        return
    for module, start, end in _modules(text):
        is_alone = not any(line.startswith("def") for line in (*text.bare[:start], *text.bare[end + 1 :]))
        if end - start < _MAX_MODULE_LINES and is_alone:
            code = "\n".join(text.lines[start : end + 1]) + "\n"
            yield _origin(example, code, "module", module, module, start + 1)
        header = _header(text, start, end)
        for name, arity, first, last in _functions(text, start, end):
            lines = text.lines[first : last + 1]
            if any(line.strip() and not line.startswith("  ") for line in lines):
                continue
            code = "\n".join(line[2:] if line.strip() else "" for line in lines) + "\n"
            if not _is_fit(code):
                continue
            yield _origin(example, code, "function", module, f"{module}.{name}/{arity}", first + 1)
            yield _origin(example, _small_module(module, header, lines), "module", module, module, first + 1)


def _origin(example: Example, code: str, kind: str, module: str, name: str, line: int) -> Origin:
    piece = Piece(code=code, kind=kind, path=example.path, module=module, package=example.package)
    parent = example.parent or example.sha256
    return Origin(
        piece=piece, name=name, version=example.version, licence=example.licence, source=example.source, parent=parent,
        line=line,
    )  # fmt: skip


def _is_fit(code: str) -> bool:
    return 2 <= code.count("\n") <= _MAX_LINES and len(code) <= _MAX_CHARACTERS and "\x01" not in code


def _modules(text: Text) -> Iterator[tuple[str, int, int]]:
    for number, line in enumerate(text.bare):
        head = re.fullmatch(r"defmodule ([A-Z]\w*(?:\.[A-Z]\w*)*) do", line)
        end = next((n for n in range(number + 1, len(text.bare)) if text.bare[n] == "end"), None) if head else None
        if head and end is not None:
            yield head[1], number, end


def _functions(text: Text, start: int, end: int) -> Iterator[tuple[str, int, int, int]]:
    """(name, arity, first line, last line) of each function of a module, with its attributes and all its clauses."""
    groups: list[list[Definition]] = []
    for each in text.definitions:
        if start < each.start < end and each.indent == "  ":
            same = groups and groups[-1][-1].name == each.name and len(groups[-1][-1].params) == len(each.params)
            groups[-1].append(each) if same else groups.append([each])
    for group in groups:
        first = _above(text, group[0].start, start)
        last = group[-1].end
        between = itertools.pairwise(group)
        if all(not any(re.match(r"  \w", text.bare[n]) for n in range(a.end + 1, b.start)) for a, b in between):
            yield group[0].name, len(group[0].params), first, last


def _above(text: Text, line: int, limit: int) -> int:
    """Where what belongs to a function begins: its documentation, specification and comments."""
    at = line
    while at - 1 > limit:
        bare = text.bare[at - 1]
        if bare and not bare.strip("\x01"):  # the end of a heredoc
            at = next((n for n in range(at - 1, limit, -1) if re.match(r"  @\w", text.bare[n])), at)
        elif re.match(r"  (@(doc|spec|impl|deprecated|since|tag|dialyzer)\b|#|  +\S)", bare):
            at -= 1
        else:
            break
    while at < line and not re.match(r"  [@#]", text.bare[at]):
        at += 1
    return at


def _header(text: Text, start: int, end: int) -> tuple[str, tuple[str, ...], dict[str, str]]:
    """What a small module takes over: a line of documentation, directives, and attributes of one line by name."""
    doc = "false"
    directives: list[str] = []
    attributes: dict[str, str] = {}
    for number in range(start + 1, end):
        line = text.lines[number]
        if text.bare[number].startswith("  @moduledoc"):
            told = text.lines[number + 1].strip() if line.endswith('"""') else line.split('"')[1] if '"' in line else ""
            doc = json.dumps(told, ensure_ascii=False) if told and not re.search(r'[\\"#{]', told) else "false"
        elif _DIRECTIVE.match(text.bare[number]) and len(directives) < 6:
            directives.append(line)
        elif found := re.match(r"  @([a-z]\w*) \S", text.bare[number]):
            is_plain = found[1] not in (
                "doc",
                "spec",
                "type",
                "typep",
                "opaque",
                "typedoc",
                "impl",
                "callback",
                "behaviour",
            )
            is_whole = not text.bare[number + 1].startswith(("   ", "\x01")) and _is_balanced(text.bare[number])
            if is_plain and is_whole and re.search(r"[\w)\]}\"\x01]$", text.bare[number]):
                attributes[found[1]] = line
    return doc, tuple(directives), attributes


def _is_balanced(bare: str) -> bool:
    return all(bare.count(a) == bare.count(b) for a, b in ("()", "[]", "{}") if "\x01" not in bare)


def _small_module(module: str, header: tuple[str, tuple[str, ...], dict[str, str]], function: list[str]) -> str:
    doc, directives, attributes = header
    body = "\n".join(function)
    kept = [line for line in directives if _is_used(line, body)]
    used = [line for name, line in attributes.items() if re.search(rf"@{name}\b", body)]
    parts = [f"  @moduledoc {doc}", "\n".join(kept), "\n".join(used), body]
    return f"defmodule {module} do\n" + "\n\n".join(part for part in parts if part) + "\nend\n"


def _is_used(directive: str, body: str) -> bool:
    """Whether what a directive brings in is named in a function; imports may bring in anything."""
    names = re.findall(r"([A-Z]\w*)(?=[},]|$)|as: (\w+)", directive.split(", only")[0])
    return "import" in directive or "use" in directive or any(a or b for a, b in names if (a or b) in body)


# -------------------------------------------------------------------------------------------------- the pieces on disk


@dataclass(frozen=True)
class Store:
    """Pieces of one split, a line of JSON each, read by the place at which the line begins."""

    path: Path

    @functools.cached_property
    def offsets(self) -> list[int]:
        with self.path.open("rb") as file:
            places, at = [], 0
            for line in file:
                places.append(at)
                at += len(line)
        return places

    def read(self, numbers: Iterable[int]) -> list[Origin]:
        found = []
        with self.path.open("rb") as file:
            for number in numbers:
                file.seek(self.offsets[number])
                told = json.loads(file.readline())
                piece = told.pop("piece")
                found.append(Origin(piece=Piece(**{**piece, "peers": tuple(piece["peers"])}), **told))
        return found


def store_pieces(corpus: Path, split: str, path: Path, toolchain: Toolchain) -> int:
    """Cut the pieces of a split and write down those that the formatter leaves as they are; how many."""
    count = 0
    path.parent.mkdir(parents=True, exist_ok=True)
    building = path.with_suffix(".part")
    with building.open("w", encoding="utf-8") as file:
        for origin in _formatted(_cut(corpus, split), toolchain):
            file.write(json.dumps(asdict(origin), ensure_ascii=False) + "\n")
            count += 1
    building.replace(path)
    return count


def _cut(corpus: Path, split: str) -> Iterator[Origin]:
    for example in shards.read_shards(corpus, split):
        yield from pieces_of(example)


def _formatted(origins: Iterable[Origin], toolchain: Toolchain) -> Iterator[Origin]:
    """With the text as the formatter writes it, where that differs in nothing but spaces."""
    waiting: list[Origin] = []

    def codes() -> Iterator[str]:
        for origin in origins:
            waiting.append(origin)
            yield origin.piece.code

    for report in toolchain.map("format", codes(), locals_without_parens=_BARE):
        origin = waiting.pop(0)
        if report.formatted and _solid(report.formatted) == _solid(origin.piece.code):
            yield replace(origin, piece=replace(origin.piece, code=report.formatted))


def _solid(code: str) -> str:
    return re.sub(r"[\s,]", "", code)


# ------------------------------------------------------------------------------------------------------------- the step


@dataclass(frozen=True, kw_only=True)
class Job:
    """check: the label that is wanted `count` times in a split."""

    check: str
    split: str
    count: int


@dataclass(frozen=True)
class Attempt:
    rule: Rule
    origin: Origin
    fault: Fault
    diagnosis: str

    @property
    def kind(self) -> str:
        return self.fault.kind or self.origin.piece.kind

    def sample(self, code: str) -> Sample:
        module = self.origin.piece.module if self.kind == "function" else ""
        return Sample(self.fault.path or self.origin.piece.path, code, module)


class Injection:
    """The step: pairs for one label after the other."""

    def __init__(self, pieces: Path, seed: int):
        self.stores = {path.stem: Store(path) for path in sorted(pieces.glob("*.jsonl"))}
        self.seed = seed
        self.judge = Judge()
        self.toolchain = Toolchain(workers=1)

    def close(self) -> None:
        self.judge.close()
        self.toolchain.close()

    def __call__(self, jobs: list[Job], dropped: Counter[str]) -> list[Example]:
        return [example for job in jobs for example in self._pairs(job, dropped)]

    def _pairs(self, job: Job, dropped: Counter[str]) -> list[Example]:
        random = Random(f"{self.seed} {job.split} {job.check}")
        attempts = self._attempts(job, random, dropped)
        found: list[Example] = []
        attempts_left = max(_ATTEMPTS * job.count, _FEWEST_ATTEMPTS)
        while len(found) < job.count and attempts_left > 0:
            size = min(_AT_A_TIME, attempts_left, job.count - len(found) + _SPARE)
            batch = list(itertools.islice(attempts, size))
            if not batch:
                break
            attempts_left -= len(batch)
            found += self.confirmed(batch, dropped)
        dropped[f"{job.check}: {MORE_THAN_WANTED}"] += max(len(found) - job.count, 0)
        return found[: job.count]

    def _attempts(self, job: Job, random: Random, dropped: Counter[str]) -> Iterator[Attempt]:
        """Faults written into pieces in an order drawn anew in each pass, by the rules for the label in turn."""
        store = self.stores[job.split]
        rules = [rule for rule in RULES if rule.check == job.check]
        seen: set[str] = set()
        for _pass in range(3 * _ATTEMPTS):
            order = random.sample(range(len(store.offsets)), len(store.offsets))
            num_written = 0
            for number in order:
                (origin,) = store.read([number])
                fitting = [rule for rule in rules if origin.piece.kind in rule.takes]
                own = [rule for rule in fitting if not rule.is_made]
                # A fault in the code that is there before one in code that is written for it, where there is a choice.
                made = [rule for rule in fitting if rule.is_made and (not own or random.random() < _MADE_SHARE)]
                for rule in (*random.sample(own, len(own)), *made):
                    attempt = attempt_at(rule, origin, random)
                    if attempt is None:
                        continue
                    key = hashlib.sha256((attempt.fault.code + "\0" + attempt.fault.before).encode()).hexdigest()
                    if key in seen:
                        continue
                    seen.add(key)
                    num_written += 1
                    yield attempt
                    break
            if not num_written:
                return

    def confirmed(self, attempts: list[Attempt], dropped: Counter[str]) -> list[Example]:
        """Those that hold, as examples, in order."""
        told = [f"{attempt.rule.check}: " for attempt in attempts]
        written = self._in_good_form(attempts)
        for name, attempt in zip(told, written):
            if attempt is None:
                dropped[name + "does not parse"] += 1
        kept = [attempt for attempt in written if attempt]
        befores = self.judge([attempt.sample(attempt.fault.before) for attempt in kept])
        hopeful = []
        for attempt, judgement in zip(kept, befores):
            if any(label.check == attempt.rule.check for label in judgement.labels):
                hopeful.append((attempt, judgement))
            else:
                dropped[f"{attempt.rule.check}: the tool says nothing"] += 1
        codes = self.judge([attempt.sample(attempt.fault.code) for attempt, _ in hopeful])
        good = []
        for (attempt, before), code in zip(hopeful, codes):
            reason = refusal(attempt, code, before)
            if reason:
                dropped[f"{attempt.rule.check}: {reason}"] += 1
            else:
                good.append((attempt, code, before))
        compiles = self._compiles([attempt for attempt, _, _ in good])
        examples = []
        for (attempt, code, before), is_fine in zip(good, compiles):
            if is_fine:
                examples.append(_example(attempt, code, before))
            else:
                dropped[f"{attempt.rule.check}: compiles no more"] += 1
        return examples

    def _in_good_form(self, attempts: list[Attempt]) -> list[Attempt | None]:
        """With both texts formatted, or parsed where the fault is one of form; None where one of them is no Elixir."""
        texts = [text for attempt in attempts for text in (attempt.fault.code, attempt.fault.before)]
        reports = list(self.toolchain.map("format", texts, locals_without_parens=_BARE))
        out: list[Attempt | None] = []
        for number, attempt in enumerate(attempts):
            code, before = (report.formatted for report in reports[2 * number : 2 * number + 2])
            if not code or not before:
                out.append(None)
            elif attempt.rule.is_raw:
                out.append(attempt)
            else:
                out.append(
                    replace(attempt, fault=replace(attempt.fault, code=code, before=before)) if code != before else None
                )
        return out

    def _compiles(self, attempts: list[Attempt]) -> list[bool]:
        """Whether the fault leaves code that compiles by itself so. What does not compile alone is not asked."""
        fine = (Outcome.OK, Outcome.WARNING)
        samples = [attempt.sample(attempt.fault.code) for attempt in attempts]
        scripts = [sample.path.endswith(".exs") for sample in samples]
        clean = self.toolchain.map(
            "compile", [sample.judged if not s else "" for sample, s in zip(samples, scripts)], guard=False
        )
        alone = [report.outcome in fine and not s for report, s in zip(list(clean), scripts)]
        asked = [attempt.sample(attempt.fault.before).judged for attempt, is_asked in zip(attempts, alone) if is_asked]
        faulty = iter([report.outcome in fine for report in self.toolchain.map("compile", asked, guard=False)])
        return [next(faulty) if is_asked else True for is_asked in alone]


def attempt_at(rule: Rule, origin: Origin, random: Random) -> Attempt | None:
    """A fault of this rule in this piece, or None where there is no place for it."""
    fault = rule.write(origin.piece, random)
    if fault is None or fault.code == fault.before:
        return None
    return Attempt(rule, origin, fault, rule.diagnosis(fault, random))


def refusal(attempt: Attempt, code: Judgement, before: Judgement) -> str:
    """Why a pair is not kept; "" where the label is at the place of the fault, and not in the clean twin."""
    check = attempt.rule.check
    if len(code.checked_by) < 2 or len(before.checked_by) < 2:
        return "a tool did not judge it"
    if any(label.check == check for label in code.labels):
        return "in the clean twin too"
    if attempt.rule.check.partition(".")[0] != "Credo" and any(label.tool == "sobelow" for label in code.labels):
        return "the safe twin is not safe"
    places = [label.line for label in before.labels if label.check == check]
    changed = changed_lines(attempt.fault.code, attempt.fault.before)
    if not any(line == 0 or _is_about(attempt.fault.before, line, changed) for line in places):
        return "at another place"
    return ""


def changed_lines(code: str, before: str) -> set[int]:
    """The lines of `before`, from 1, that are not in `code`; where lines are missing, those on both sides."""
    matcher = difflib.SequenceMatcher(None, code.split("\n"), before.split("\n"), autojunk=False)
    changed: set[int] = set()
    for tag, _, _, start, end in matcher.get_opcodes():
        if tag != "equal":
            changed |= set(range(start + 1, end + 1)) or {start, start + 1}
    return changed


def _is_about(before: str, line: int, changed: set[int]) -> bool:
    """Whether a line is one of the changed, beside one, or the head of a block that holds one."""
    if changed & {line - 1, line, line + 1}:
        return True
    lines = before.split("\n")
    width = len(lines[line - 1]) - len(lines[line - 1].lstrip(" "))
    below = next(
        (n for n in range(line, len(lines)) if lines[n].strip() and len(lines[n]) - len(lines[n].lstrip(" ")) <= width),
        len(lines),
    )
    return any(line < each <= below for each in changed)


def _example(attempt: Attempt, code: Judgement, before: Judgement) -> Example:
    origin, fault = attempt.origin, attempt.fault
    has_moved = bool(fault.path)
    found = re.search(r"^defmodule ([\w.]+) do", fault.code, re.MULTILINE) if attempt.kind != "function" else None
    return Example.of(
        fault.code,
        path=fault.path or origin.piece.path,
        package=origin.piece.package,
        version=origin.version,
        licence=origin.licence,
        source=origin.source,
        kind="violation",
        name=origin.name if attempt.kind == "function" else found[1] if found else "",
        parent=origin.parent,
        line=0 if has_moved else origin.line,
        before=fault.before,
        diagnosis=attempt.diagnosis,
        injected=attempt.rule.name,
        labels=code.labels,
        before_labels=before.labels,
        checked_by=code.checked_by,
    )


# ---------------------------------------------------------------------------------------------------------- the command


def inject(
    corpus: Path,
    out: Path,
    *,
    per_label: int = PER_LABEL,
    seed: int = 0,
    checks: Iterable[str] | None = None,
    workers: int | None = None,
    resume: bool = False,
) -> steps.StepReport:
    """Write pairs of faulty and clean code for each label. per_label: in `train`; a held-out split gets a quarter.

    checks: only these labels. Raises InputError for a label that no rule is after, DataError where a corpus has no
    piece to write into.
    """
    known = sorted({rule.check for rule in RULES})
    if per_label < 1:
        raise InputError(f"--per_label must be 1 or more, got {per_label}")
    wanted = sorted(set(checks)) if checks else known
    if unknown := [check for check in wanted if check not in known]:
        raise InputError(f"no rule writes {unknown[0]}; there are: {', '.join(known)}")
    splits = [split for split in SPLITS if split in shards.splits_of(corpus)]
    pieces = out / ".pieces"
    jobs: dict[str, list[Job]] = {}
    with Toolchain(workers=workers) as toolchain:
        for split in splits:
            path = pieces / f"{split}.jsonl"
            if not (resume and path.exists()) and not store_pieces(corpus, split, path, toolchain):
                continue
            count = per_label if split == "train" else -(-per_label // _HELD_OUT_SHARE)
            jobs[split] = [Job(check=check, split=split, count=count) for check in wanted]
    if not jobs:
        raise DataError(f"{corpus} has no function that a fault could be written into")
    settings: Mapping[str, Any] = {"per_label": per_label, "seed": seed, "checks": wanted, "corpus": _digest(pieces)}
    report = steps.produce(
        jobs, out, functools.partial(Injection, pieces, seed), name="inject", settings=settings, workers=workers,
        resume=resume, batch_size=1, manifest=_history(corpus),
    )  # fmt: skip
    for path in pieces.glob("*"):
        path.unlink()
    pieces.rmdir()
    return report


def _history(corpus: Path) -> dict[str, Any]:
    return shards.read_manifest(corpus) if (corpus / shards.MANIFEST).exists() else {}


def _digest(pieces: Path) -> str:
    total = hashlib.sha256()
    for path in sorted(pieces.glob("*.jsonl")):
        with path.open("rb") as file:
            while block := file.read(1 << 20):
                total.update(block)
    return total.hexdigest()[:16]


def add_parser(subparsers: argparse._SubParsersAction) -> None:
    parser = subparsers.add_parser(
        "inject",
        help="pairs of faulty and clean code, confirmed by Credo and Sobelow",
        description="Write faults into the code of a corpus and keep those that Credo or Sobelow finds at that very "
        "place, and not in the clean twin.",
    )
    steps.add_step_arguments(parser)
    parser.add_argument(
        "--per_label",
        type=int,
        default=PER_LABEL,
        metavar="N",
        help=f"pairs for each label in train, a quarter of it in the other splits (default: {PER_LABEL})",
    )
    parser.add_argument("--seed", type=int, default=0, help="of what is drawn (default: 0)")
    parser.add_argument("--checks", nargs="+", metavar="LABEL", help="only these labels, by their full names")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """The command `data inject`."""
    report = inject(
        args.corpus, args.out, per_label=args.per_label, seed=args.seed, checks=args.checks, workers=args.workers,
        resume=args.resume,
    )  # fmt: skip
    print(report)
    return 0
