"""The rules of Credo and Sobelow as labels of a model, and what each of them means.

Credo 1.7 has 112 checks, and each is a quality label. Sobelow has 31 rules; those that speak of Elixir source or of
configuration are the security labels (its rules on the versions of dependencies and on templates judge something that
the model does not read), together with `Misc.FilePath`, which Sobelow documents and never reports.
The facts lie beside this file in `credo_checks.json` and `sobelow_types.json`, in the order of the labels.

A check of a plugin or of a newer Credo is a finding like any other, but no label.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from elixir_coder.toolchain.checks.machine import Findings, Note
from elixir_coder.toolchain.finding import Finding, Severity

# What Credo's words for a priority are worth to it.
_PRIORITIES = {"ignore": -100, "low": -10, "normal": 1, "high": 10, "higher": 20}


@dataclass(frozen=True, kw_only=True)
class Rule:
    """What is known of one rule of Credo or Sobelow, whether or not it is a label.

    name: as the tool writes it. id: the tool's short one, e.g. EX3009 or SBLW019; "" where it has none.
    category: as in a finding. severity: of a finding that nothing raised or lowered.
    kind: `file` or `project` for Credo (the latter compares the files of a project); for Sobelow `code`, `config`,
        `dependency` or `template`.
    enabled: whether the tool runs it when nobody says anything. elixir: the versions it runs on, "" for all.
    needs: `parameters` where it does nothing without; file_filtered: whether it looks at some file names only (tests).
    """

    name: str
    tool: str
    id: str
    category: str
    severity: Severity
    kind: str
    meaning: str
    cwe: tuple[str, ...] = ()
    enabled: bool = True
    elixir: str = ""
    needs: str = ""
    file_filtered: bool = False


def credo_severity(category: str, priority: int) -> Severity:
    """A finding of Credo in our words.

    Its category `warning` is about code that is likely wrong: WARNING, unless its priority is below 0, which Credo
    shows in strict mode only. The others are about style and structure: NOTE, unless Credo gives them the highest of
    its priorities (20 and above). Nothing that Credo finds keeps a text from being used.
    """
    if priority >= _PRIORITIES["higher"] or (category == "warning" and priority >= 0):
        return Severity.WARNING
    return Severity.NOTE


def sobelow_severity(confidence: str) -> Severity:
    """How sure Sobelow is, in our words: high is ERROR, as in its own SARIF, medium WARNING and low NOTE."""
    return {"high": Severity.ERROR, "medium": Severity.WARNING}.get(confidence, Severity.NOTE)


def _read(file: str) -> list[dict[str, Any]]:
    return json.loads(Path(__file__).with_name(file).read_text(encoding="utf-8"))


def _credo_rule(fact: dict[str, Any]) -> Rule:
    priority = fact["base_priority"]
    return Rule(
        name=fact["name"],
        tool="credo",
        id=fact["id"],
        category=fact["category"],
        severity=credo_severity(fact["category"], _PRIORITIES.get(priority, priority)),
        kind=fact["scope"],
        meaning=fact["meaning"],
        cwe=tuple(fact["cwe"]),
        enabled=fact["default"] == "enabled",
        elixir=fact.get("elixir", ""),
        needs=fact.get("needs", ""),
        file_filtered=fact.get("file_filtered", False),
    )


def _sobelow_rule(fact: dict[str, Any]) -> Rule:
    return Rule(
        name=fact["name"],
        tool="sobelow",
        id=fact["id"],
        category=fact["category"],
        severity=Severity.WARNING,  # its confidence depends on the code
        kind=fact["kind"],
        meaning=fact["meaning"],
        cwe=tuple(fact["cwe"]),
    )


CREDO_RULES = tuple(map(_credo_rule, _read("credo_checks.json")))
SOBELOW_RULES = tuple(map(_sobelow_rule, _read("sobelow_types.json")))

QUALITY_LABELS = tuple(rule.name for rule in CREDO_RULES)
SECURITY_LABELS = tuple(rule.name for rule in SOBELOW_RULES if rule.kind in ("code", "config"))


@cache
def _rules() -> dict[str, Rule]:
    return {rule.name: rule for rule in (*CREDO_RULES, *SOBELOW_RULES)}


def rule(name: str) -> Rule | None:
    """What is known of the rule of that name; None for one of a plugin or of a newer release."""
    return _rules().get(name)


def label_vector(findings: Iterable[Finding], labels: Sequence[str]) -> list[int]:
    """1 for each label that at least one finding names, 0 for the others, in the order of the labels."""
    found = {finding.check for finding in findings}
    return [int(label in found) for label in labels]


def judged_vector(result: Findings, labels: Sequence[str], *, path: str | None = None) -> list[int]:
    """1 for each label whose absence from `result` says something, 0 where the rule did not get to judge.

    A text that does not parse is judged by nothing, and a rule that crashed or ran out of time says nothing about that
    file. path: count the notes about one file of a folder, and those about all of it.
    """
    notes = [note for note in result.notes if path is None or note.path in ("", path)]
    if any(_concerns_all(note) for note in notes):
        return [0] * len(labels)
    missed = {note.check for note in notes if note.kind in ("check_crashed", "timeout", "died")}
    return [int(label not in missed) for label in labels]


def _concerns_all(note: Note) -> bool:
    return not note.check and note.kind in ("unparsable", "unreadable", "check_crashed", "timeout", "died")


def unknown_checks(findings: Iterable[Finding]) -> list[str]:
    """The rules that findings name and no label does, sorted: those of plugins, of newer releases, and what the model
    does not read (versions of dependencies, templates)."""
    known = {*QUALITY_LABELS, *SECURITY_LABELS}
    return sorted({each.check for each in findings if each.tool in ("credo", "sobelow")} - known)
