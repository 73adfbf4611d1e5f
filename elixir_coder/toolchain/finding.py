"""What any tool found in a text, as one type, and the class that a run ends in.

Findings of Elixir's parser, compiler, formatter and ExUnit, of Credo and of Sobelow are the same to whoever reads them:
a place, a message, and how bad it is. They go out as plain dictionaries for JSON, and as SARIF through `sarif`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Severity(StrEnum):
    """How bad a finding is, in SARIF's words; the worst first."""

    ERROR = "error"  # the text cannot be used as it is
    WARNING = "warning"  # it can, and should not
    NOTE = "note"  # a matter of taste


class Outcome(StrEnum):
    """The one class that a run ends in.

    Where several would fit, the one that explains the others wins: a text that does not parse does not compile either.
    """

    OK = "ok"
    SYNTAX_ERROR = "syntax_error"  # the parser refuses it
    FORBIDDEN_CALL = "forbidden_call"  # it asks for what code under judgement may not do, and was not run
    COMPILE_ERROR = "compile_error"
    UNDEFINED_FUNCTION = "undefined_function"  # of a module that is there, or whose name is misspelt
    MISSING_DEPENDENCY = "missing_dependency"  # a package that is not installed here: not the author's error
    WARNING = "warning"  # it compiles, and the compiler has something to say
    TEST_FAILURE = "test_failure"  # a test failed, or did not run
    TIMEOUT = "timeout"
    RESOURCE_LIMIT = "resource_limit"  # memory, atoms, processes, output or disk
    CRASH = "crash"  # the virtual machine went away and nothing above explains it


ENDINGS = (Outcome.TIMEOUT, Outcome.RESOURCE_LIMIT, Outcome.CRASH)  # of a job that did not get through


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that one tool said of one place.

    tool: `elixir`, `mix format`, `ex_unit`, `credo` or `sobelow`.
    check: the tool's own name of the rule, e.g. `Credo.Check.Readability.ModuleDoc` or `Traversal.FileModule`; for the
        others a word of `Outcome`, or `not_formatted`.
    category: `syntax`, `compile`, `format`, `test`; Credo's and Sobelow's own (`readability`, `Traversal`).
    line, column: from 1; None where the tool does not say. The column counts code points, as Elixir does.
    path: as the caller named the file; "" for a text without one.
    cwe: e.g. ("CWE-22",).
    """

    tool: str
    check: str
    category: str
    severity: Severity
    message: str
    path: str = ""
    line: int | None = None
    column: int | None = None
    cwe: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; `from_dict` reads it back."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__} | {"cwe": list(self.cwe)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Finding:
        """Raises TypeError or ValueError for what `to_dict` did not write."""
        return cls(**data | {"severity": Severity(data["severity"]), "cwe": tuple(data.get("cwe", ()))})
