"""Where our grammar and Elixir's own parser disagree: `elixir-coder parse FILE...|DIR`.

    verdicts = compare({"lib/a.ex": text})
    verdicts[0].disagreement           # "", or which of the two refuses what the other one takes

Decoding keeps a model inside the grammar, so what the grammar refuses a model cannot write, and what it takes and
Elixir refuses is a fault that a model may make. Without Elixir the grammar's word stands alone, and the answer says so.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elixir_coder import __version__
from elixir_coder.errors import InputError, require
from elixir_coder.toolchain.check import CheckReport, to_text
from elixir_coder.toolchain.finding import Finding, Outcome, Severity
from elixir_coder.toolchain.toolchain import Toolchain
from grammar_elixir_coder import MODES, STARTS, frame

STDIN = "<stdin>"
_SUFFIXES = (".ex", ".exs")
_EXCLUDED = frozenset({"_build", "deps", "node_modules"})  # and every folder that begins with a dot
_MOST_EXPECTED = 8  # what could have stood there, in a message; a statement may begin in dozens of ways


@dataclass(frozen=True)
class Verdict:
    """What each of the two says of a text, None where it takes it. asked_elixir: False where there was none to ask."""

    path: str
    grammar: Finding | None
    elixir: Finding | None
    asked_elixir: bool = True

    @property
    def disagreement(self) -> str:
        """Which of the two refuses alone: "grammar", "elixir", or "" for none."""
        if not self.asked_elixir or (self.grammar is None) == (self.elixir is None):
            return ""
        return "grammar" if self.grammar else "elixir"

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "path": self.path,
            "grammar": self.grammar and self.grammar.to_dict(),
            "elixir": self.elixir and self.elixir.to_dict(),
            "disagreement": self.disagreement,
        }


def compare(
    texts: Mapping[str, str], *, mode: str = "accept", start: str = "file", toolchain: Toolchain | None = None
) -> list[Verdict]:
    """What the grammar and Elixir say of each text, by the names given to the texts.

    toolchain: whom to ask for Elixir's word; None leaves it out.
    Raises MissingDependencyError without llguidance.
    """
    return [
        Verdict(path, grammar_finding(text, mode, start, path), elixir, toolchain is not None)
        for (path, text), elixir in zip(texts.items(), _elixir_findings(texts, start, toolchain))
    ]


def grammar_finding(text: str, mode: str, start: str, path: str = "") -> Finding | None:
    """Where the grammar leaves a text, as Elixir's findings say it; None where it takes the whole."""
    require("llguidance", "decode")
    from decoding_elixir_coder import first_error

    fault = first_error(text, mode, start)
    if fault is None:
        return None
    line, column = place(text, fault.offset)
    expected = ", ".join(fault.expected[:_MOST_EXPECTED]) + (", ..." if len(fault.expected) > _MOST_EXPECTED else "")
    is_end = fault.offset >= len(text.encode())
    found = "the text ends here" if is_end else "no Elixir goes on like this"
    return Finding(
        tool="grammar",
        check=Outcome.SYNTAX_ERROR,
        category="syntax",
        severity=Severity.ERROR,
        message=f"{found}; expected {expected}" if expected else found,
        path=path,
        line=line,
        column=column,
    )


def place(text: str, offset: int) -> tuple[int, int]:
    """Line and column, from 1 and in code points as Elixir counts, of a byte offset in UTF-8."""
    before = text.encode()[:offset].decode(errors="ignore")
    return before.count("\n") + 1, len(before) - before.rfind("\n")


def _elixir_findings(texts: Mapping[str, str], start: str, toolchain: Toolchain | None) -> Iterable[Finding | None]:
    if toolchain is None:
        return [None] * len(texts)
    before, after = frame(start)
    framed = [before + text + after for text in texts.values()]
    reports = toolchain.map("parse", framed)
    return [
        None if report.ok else _without_frame(report.findings[0], path, text, before)
        for (path, text), report in zip(texts.items(), reports)
    ]


def _without_frame(finding: Finding, path: str, text: str, before: str) -> Finding:
    """The finding with its place in the text alone; at its end, where it is in what was put behind it."""
    line, column = finding.line, finding.column
    last = text.count("\n") + 1
    if line is not None:
        line -= before.count("\n")
        if line == 1 and column is not None:
            column = max(1, column - (len(before) - before.rfind("\n") - 1))
        if line > last:
            line, column = last, len(text) - text.rfind("\n")
        line = max(1, line)
    fields = {name: getattr(finding, name) for name in finding.__dataclass_fields__}
    return Finding(**fields | {"path": path, "line": line, "column": column})


# ---------------------------------------------------------------------------------------------------------- the command


def add_parser(commands: Any) -> None:
    """Add `elixir-coder parse`."""
    parser = commands.add_parser(
        "parse",
        help="show where our grammar and Elixir's parser disagree",
        description="Parse files with the grammar that constrains decoding and with Elixir, and show where each "
        "refuses them. The exit code is 0 when the two agree on every file, 1 when they do not somewhere, 2 when they "
        "could not be asked. Without Elixir, 1 says that the grammar refuses a file.",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file, a folder, or - for standard input")
    parser.add_argument("--mode", choices=MODES, default="accept", help="of the grammar (accept)")
    parser.add_argument("--start", choices=STARTS, default="file", help="what each text is as a whole (file)")
    parser.add_argument("--json", action="store_true", help="answer in JSON")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print what each says of each file; 1 where they disagree."""
    require("llguidance", "decode")  # before files are read and virtual machines are started
    texts, unreadable = read_texts(args.paths)
    if shutil.which("elixir"):
        with Toolchain() as toolchain:
            verdicts = compare(texts, mode=args.mode, start=args.start, toolchain=toolchain)
    else:
        verdicts = compare(texts, mode=args.mode, start=args.start)
    verdicts += unreadable
    if args.json:
        answer = {"version": __version__, "mode": args.mode, "start": args.start, "counts": counts(verdicts)}
        print(json.dumps(answer | {"files": [verdict.to_dict() for verdict in verdicts]}, indent=2))
    else:
        sys.stdout.write(report(verdicts, texts))
    is_alone = any(not verdict.asked_elixir for verdict in verdicts)
    if is_alone:
        print("note: `elixir` is not on the PATH, so only the grammar was asked: apt install elixir", file=sys.stderr)
    return int(any(verdict.disagreement or (is_alone and verdict.grammar) for verdict in verdicts))


def report(verdicts: Sequence[Verdict], texts: Mapping[str, str]) -> str:
    """For people: every refusal with its line and a caret, then how often the two agree."""
    findings = [finding for each in verdicts for finding in (each.grammar, each.elixir) if finding]
    shown = ""
    if findings:
        told = CheckReport(findings=tuple(findings), files=tuple(texts), tool_versions={}, sources=texts)
        shown = to_text(told).rpartition("\n\n")[0] + "\n\n"  # without its count, ours says more
    for verdict in verdicts:
        if verdict.disagreement:
            one, other = ("the grammar", "Elixir") if verdict.disagreement == "grammar" else ("Elixir", "the grammar")
            shown += f"{verdict.path}: {one} refuses what {other} takes\n"
    number = counts(verdicts)
    parts = [f"{number['both_take']} taken, {number['both_refuse']} refused by both"]
    parts += [f"{number['grammar_refuses']} by the grammar alone, {number['elixir_refuses']} by Elixir alone"]
    if any(not verdict.asked_elixir for verdict in verdicts):
        refused = sum(verdict.grammar is not None for verdict in verdicts)
        parts = [f"{len(verdicts) - refused} taken, {refused} refused by the grammar"]
    return shown + f"{len(verdicts)} file{'' if len(verdicts) == 1 else 's'}: {'; '.join(parts)}\n"


def counts(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """How many texts both take, both refuse, and one refuses alone."""
    number = {"both_take": 0, "both_refuse": 0, "grammar_refuses": 0, "elixir_refuses": 0}
    for verdict in verdicts:
        alone = verdict.disagreement
        number[f"{alone}_refuses" if alone else "both_refuse" if verdict.grammar else "both_take"] += 1
    return number


def read_texts(paths: Sequence[str]) -> tuple[dict[str, str], list[Verdict]]:
    """The texts by path, and verdicts on files that are not UTF-8, which both refuse. Raises InputError."""
    texts: dict[str, str] = {}
    unreadable = []
    for shown, data in _contents(paths):
        try:
            texts[shown] = data.decode("utf-8")
        except UnicodeDecodeError as error:
            finding = Finding(
                tool="grammar",
                check=Outcome.SYNTAX_ERROR,
                category="syntax",
                severity=Severity.ERROR,
                message=f"not UTF-8: byte {error.start} is 0x{data[error.start]:02x}",
                path=shown,
            )
            unreadable.append(Verdict(shown, finding, finding))
    return texts, unreadable


def _contents(paths: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    for name in paths:
        path = Path(name)
        if name == "-":
            yield STDIN, sys.stdin.buffer.read()
            continue
        files = sorted(_files_below(path)) if path.is_dir() else [path]
        if not files:
            raise InputError(f"{name}: there is no .ex or .exs file in it")
        for file in files:
            try:
                yield str(file), file.read_bytes()
            except OSError as error:
                raise InputError(f"{file}: cannot be read: {error.strerror}") from error


def _files_below(folder: Path) -> Iterator[Path]:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            if path.name not in _EXCLUDED and not path.name.startswith("."):
                yield from _files_below(path)
        elif path.suffix in _SUFFIXES and path.is_file():
            yield path
