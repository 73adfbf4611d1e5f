"""What workers answer, as reports.

A worker that evaluates code may be under that code's control and answer anything, so nothing in its answer is trusted
to be there or to be of the right type: what makes no sense is a crash.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any, TypeVar

from elixir_coder.toolchain.facts import FactsReport, read_facts
from elixir_coder.toolchain.finding import ENDINGS, Finding, Outcome, Severity
from elixir_coder.toolchain.pool import Answer
from elixir_coder.toolchain.reports import (
    AstReport,
    CompileReport,
    DefinitionsReport,
    FormatReport,
    ModuleDefinition,
    Report,
    TestReport,
    TestVerdict,
)

R = TypeVar("R", bound=Report)

_CATEGORIES = {Outcome.SYNTAX_ERROR: "syntax", Outcome.TEST_FAILURE: "test"}  # the rest: `compile`, but for
# endings, which are of the category of what was to be done.
_CATEGORIES_OF_OPS = {
    "parse": "syntax",
    "ast": "syntax",
    "facts": "syntax",
    "format": "format",
    "test": "test",
    "doctest": "test",
}
_STATES = frozenset({"passed", "failed", "skipped", "excluded", "invalid"})
_FAILED = frozenset({"failed", "invalid"})


def report_of(kind: type[R], answer: Answer, op: str, paths: Mapping[str, str]) -> R:
    """paths: for each name that the worker knows a file by, what findings call it."""
    try:
        return _read(kind, answer, op, paths)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        detail = f"the worker's answer makes no sense ({type(error).__name__}: {error})"
        return kind(outcome=Outcome.CRASH, findings=(_finding(Outcome.CRASH, op, detail),), attempts=answer.attempts)


def not_formatted(code: str, formatted: str, path: str) -> Finding:
    """That a text differs from what the formatter makes of it, at the first line that does."""
    before, after = (text.removesuffix("\n").split("\n") for text in (code, formatted))
    same = next(
        (at for at, lines in enumerate(zip(before, after)) if lines[0] != lines[1]), min(len(before), len(after))
    )
    line = min(same + 1, len(before))
    return Finding(
        tool="mix format",
        check="not_formatted",
        category="format",
        severity=Severity.NOTE,
        message="not formatted; `mix format` rewrites it from this line on",
        path=path,
        line=line,
    )


def with_unexpected_tests(report: TestReport, message: str, path: str) -> TestReport:
    """The same run as a failure, because other tests ran than were expected."""
    finding = Finding(
        tool="ex_unit",
        check="unexpected_tests",
        category="test",
        severity=Severity.ERROR,
        message=message,
        path=path,
    )
    return replace(report, outcome=Outcome.TEST_FAILURE, findings=(*report.findings, finding))


def _read(kind: type[R], answer: Answer, op: str, paths: Mapping[str, str]) -> R:
    result = answer.result
    fields = _FIELDS[kind](result)
    outcome = Outcome(result["outcome"])
    findings = [_of_diagnostic(diagnostic, op, paths) for diagnostic in result["diagnostics"]]
    if failures := [_of_failure(raw, paths) for raw in result.get("tests") or () if raw["state"] in _FAILED]:
        # One for each test that failed, with its name, in place of what else the worker may say of them.
        findings = [finding for finding in findings if finding.check != Outcome.TEST_FAILURE] + failures
        if outcome in (Outcome.OK, Outcome.WARNING):
            outcome = Outcome.TEST_FAILURE
    if not findings and outcome != Outcome.OK:
        findings = [_finding(outcome, op, f"ended in {outcome}")]
    return kind(
        outcome=outcome,
        findings=tuple(findings),
        duration_s=answer.stats.get("duration_us", 0) / 1e6,
        attempts=answer.attempts,
        output=_text(result.get("output", "")),
        **fields,
    )


def _of_diagnostic(raw: dict[str, Any], op: str, paths: Mapping[str, str]) -> Finding:
    return _finding(
        Outcome(raw["check"]),
        op,
        _text(raw["message"]),
        severity=Severity(raw["severity"]),
        path=_path(raw.get("file"), paths),
        line=_place(raw["line"]),
        column=_place(raw["column"]),
    )


def _of_failure(raw: dict[str, Any], paths: Mapping[str, str]) -> Finding:
    return _finding(
        Outcome.TEST_FAILURE,
        "test",
        f"{_text(raw['name'])}: {_text(raw['message'])}",
        path=_path(raw.get("file"), paths),
        line=_place(raw["line"]),
    )


def _path(name: Any, paths: Mapping[str, str]) -> str:
    """A doctest has no file of its own, a timeout none at all: they belong to the only file, or to no certain one."""
    if name in paths:
        return paths[name]
    return next(iter(paths.values())) if len(paths) == 1 else ""


def _finding(check: Outcome, op: str, message: str, *, severity: Severity = Severity.ERROR, **place: Any) -> Finding:
    return Finding(
        tool="ex_unit" if check == Outcome.TEST_FAILURE else "elixir",
        check=str(check),
        category=_CATEGORIES_OF_OPS.get(op, "compile") if check in ENDINGS else _CATEGORIES.get(check, "compile"),
        severity=severity,
        message=message,
        **place,
    )


def _verdict(raw: dict[str, Any]) -> TestVerdict:
    if raw["state"] not in _STATES:
        raise ValueError(f"a test's state is {raw['state']!r}")
    return TestVerdict(
        module=_text(raw["module"]),
        name=_text(raw["name"]),
        state=str(raw["state"]),
        message=_text(raw["message"]),
        duration_s=raw["duration_us"] / 1e6,
        line=_place(raw["line"]),
    )


def _definition(raw: dict[str, Any]) -> ModuleDefinition:
    return ModuleDefinition(
        name=_text(raw["name"]),
        functions=_arities(raw["functions"]),
        macros=_arities(raw["macros"]),
        struct=None if raw["struct"] is None else tuple(map(_text, raw["struct"])),
        behaviours=tuple(map(_text, raw["behaviours"])),
    )


def _arities(raw: list[Any]) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((_text(name), int(arity)) for name, arity in raw))


def _text(raw: Any) -> str:
    if not isinstance(raw, str):
        raise TypeError(f"{raw!r:.50} is not a text")
    return str(raw)


def _place(raw: Any) -> int | None:
    """A line or a column from 1, or None where it is not known."""
    if raw is None:
        return None
    return int(raw) if raw > 0 else None


_FIELDS: dict[type[Report], Callable[[dict[str, Any]], dict[str, Any]]] = {
    Report: lambda result: {},
    FactsReport: read_facts,
    FormatReport: lambda result: {"formatted": result.get("formatted")},
    AstReport: lambda result: {"ast": result.get("ast")},
    CompileReport: lambda result: {"modules": tuple(sorted(map(_text, result.get("modules") or ())))},
    TestReport: lambda result: {"tests": tuple(map(_verdict, result.get("tests") or ()))},
    DefinitionsReport: lambda result: {"modules": tuple(map(_definition, result.get("modules") or ()))},
}
