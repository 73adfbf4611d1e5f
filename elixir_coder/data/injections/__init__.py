"""The rules that write faults into clean code, by what they are about."""

from __future__ import annotations

from elixir_coder.data.injections import (  # noqa: F401  (each enters its rules)
    configuration,
    control,
    expressions,
    layout,
    leftovers,
    modules,
    naming,
    security,
    size,
)
from elixir_coder.data.injections.rule import RULES, Fault, Piece, Rule

# Labels of Credo and Sobelow that no text alone can have, with the reason.
UNREACHABLE = {
    "Credo.Check.Readability.PreferUnquotedAtoms": "Credo runs it on Elixir before 1.7 only",
    "Credo.Check.Refactor.MapInto": "Credo runs it on Elixir before 1.8 only",
    "Credo.Check.Warning.LazyLogging": "Credo runs it on Elixir before 1.7 only",
    "Credo.Check.Warning.ForbiddenModule": "says nothing until a project's settings name the modules",
    "Credo.Check.Warning.UnusedOperation": "says nothing until a project's settings name the functions",
    "Credo.Check.Warning.WrongTestFileExtension": "is about the file's name alone: both twins would be the same text",
    "Misc.FilePath": "Sobelow documents it and never reports it",
}

__all__ = ["RULES", "UNREACHABLE", "Fault", "Piece", "Rule"]
