"""What each operation of the toolchain answers.

A report always has an outcome; what else it carries is there when the outcome allows it. Code that does not parse,
compile or pass is a report like any other: exceptions are for what the caller can put right.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from elixir_coder.toolchain.finding import Finding, Outcome


@dataclass(frozen=True, kw_only=True)
class Report:
    """What every operation answers.

    duration_s: seconds the job took on its worker, of the attempt that answered.
    attempts: 1, or 2 where a worker went away in mid-job and another one took the job over.
    output: what the code printed, as far as it is kept.
    """

    outcome: Outcome
    findings: tuple[Finding, ...] = ()
    duration_s: float = 0.0
    attempts: int = 1
    output: str = ""

    @property
    def ok(self) -> bool:
        """Whether the text is usable: nothing wrong, or warnings alone."""
        return self.outcome in (Outcome.OK, Outcome.WARNING)


@dataclass(frozen=True, kw_only=True)
class FormatReport(Report):
    """formatted: the text as `mix format` writes it, with one newline at its end; None where it does not parse."""

    formatted: str | None = None


@dataclass(frozen=True, kw_only=True)
class AstReport(Report):
    """ast: the syntax tree as `terms` decodes it: a call is (form, metadata, arguments); atoms are `Atom`."""

    ast: Any = None


@dataclass(frozen=True, kw_only=True)
class CompileReport(Report):
    """modules: the names of the modules it defines, as Elixir writes them, sorted."""

    modules: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class TestVerdict:
    """What one ExUnit test came to.

    state: passed, failed, skipped, excluded or invalid (its setup_all failed).
    """

    __test__ = False  # not a test of ours, whatever pytest makes of the name

    module: str
    name: str
    state: str
    message: str = ""
    duration_s: float = 0.0
    line: int | None = None


@dataclass(frozen=True, kw_only=True)
class TestReport(Report):
    """tests: one verdict for each test, in the order they ran."""

    __test__ = False

    tests: tuple[TestVerdict, ...] = ()

    @property
    def passed(self) -> bool:
        """Whether there were tests and every one that was to run passed."""
        return self.ok and any(test.state == "passed" for test in self.tests)


@dataclass(frozen=True, kw_only=True)
class ModuleDefinition:
    """What a module offers. functions, macros: (name, arity), sorted. struct: its fields in order, or None."""

    name: str
    functions: tuple[tuple[str, int], ...] = ()
    macros: tuple[tuple[str, int], ...] = ()
    struct: tuple[str, ...] | None = None
    behaviours: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class DefinitionsReport(Report):
    """modules: what each module of the text defines, in the order of the names."""

    modules: tuple[ModuleDefinition, ...] = ()
