"""Findings as SARIF 2.1.0, which code hosts and editors show beside the lines that they are about.

One run for each tool, the tools that found nothing too: a host closes what an earlier run of a tool had found and this
one has not. A finding keeps its identity while lines above it come and go (`primaryLocationLineHash`).

Standard: https://docs.oasis-open.org/sarif/sarif/v2.1.0/sarif-v2.1.0.html
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

from elixir_coder.toolchain.checks.labels import rule
from elixir_coder.toolchain.finding import Finding, Outcome, Severity

SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
URI_BASE = "%SRCROOT%"  # the name that code hosts give to the root of a checkout

_HOMES = {
    "elixir": "https://elixir-lang.org",
    "mix format": "https://hexdocs.pm/mix/Mix.Tasks.Format.html",
    "ex_unit": "https://hexdocs.pm/ex_unit/ExUnit.html",
    "credo": "https://github.com/rrrene/credo",
    "sobelow": "https://github.com/nccgroup/sobelow",
}
_MEANINGS: dict[str, str] = {
    Outcome.SYNTAX_ERROR: "Elixir's parser refuses the text",
    Outcome.FORBIDDEN_CALL: "The code asks for what code under judgement may not do",
    Outcome.COMPILE_ERROR: "The compiler refuses the code",
    Outcome.UNDEFINED_FUNCTION: "A function, macro or module that does not exist is used",
    Outcome.MISSING_DEPENDENCY: "A module of a package that is not installed here is used",
    Outcome.WARNING: "The compiler warns",
    Outcome.TEST_FAILURE: "A test failed or did not run",
    Outcome.TIMEOUT: "The code did not come to an end in time",
    Outcome.RESOURCE_LIMIT: "The code needs more memory, atoms, processes, output or disk than it may have",
    Outcome.CRASH: "The virtual machine went away",
    "not_formatted": "The file differs from what the formatter writes",
    "unexpected_tests": "Other tests ran than those that were to run",
}
_SEVEREST_FIRST = list(Severity)
_PLACEHOLDER = re.compile(r"\{(\d{1,2})\}")
_LINK = re.compile(r"\[(?=[^\[\]\n]*\]\()")


def to_sarif(
    findings: Iterable[Finding],
    *,
    tool_versions: Mapping[str, str],
    root: Path | None = None,
    sources: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """A SARIF log, ready for JSON; the same findings give the same log.

    tool_versions: of every tool that ran ("" where it is not known); each gets a run, with or without findings.
    root: the folder that URIs are relative to. A path outside of it becomes a file: URI; without a root, paths that are
        relative stay as they are.
    sources: texts by path, for the fingerprints; those of other paths are read from the disk.
    """
    by_tool: dict[str, list[Finding]] = {tool: [] for tool in tool_versions}
    for finding in findings:
        by_tool.setdefault(finding.tool, []).append(finding)
    lines = _Lines(sources or {})
    return {
        "$schema": SCHEMA,
        "version": "2.1.0",
        "runs": [_run(tool, found, tool_versions.get(tool, ""), root, lines) for tool, found in by_tool.items()],
    }


def _run(tool: str, findings: list[Finding], version: str, root: Path | None, lines: _Lines) -> dict[str, Any]:
    checks = sorted({finding.check for finding in findings})
    weaknesses = sorted({name for finding in findings for name in finding.cwe}, key=_cwe_number)
    by_check = {check: [finding for finding in findings if finding.check == check] for check in checks}
    driver: dict[str, Any] = {
        "name": tool,
        **({"version": version} if version else {}),
        **({"informationUri": _HOMES[tool]} if tool in _HOMES else {}),
        "rules": [_descriptor(check, of_check, weaknesses) for check, of_check in by_check.items()],
    }
    run: dict[str, Any] = {"tool": {"driver": driver}, "columnKind": "unicodeCodePoints"}
    if weaknesses:
        driver["supportedTaxonomies"] = [{"name": "CWE", "index": 0}]
        run["taxonomies"] = [_taxonomy(weaknesses)]
    if any(finding.path for finding in findings):
        run["originalUriBaseIds"] = {URI_BASE: {"description": {"text": "The root of the checked files."}}}
    seen: Counter[tuple[str, str, str]] = Counter()
    run["results"] = [_result(finding, checks, weaknesses, root, lines, seen) for finding in findings]
    return run


def _descriptor(check: str, findings: list[Finding], weaknesses: list[str]) -> dict[str, Any]:
    first = findings[0]
    meaning = _meaning(first)
    descriptor: dict[str, Any] = {
        "id": check,
        "name": _pascal_case(check),
        "shortDescription": {"text": f"{meaning}."},
        "fullDescription": {"text": f"{meaning}."},
        "help": {"text": f"{meaning}. Found by {first.tool}, category {first.category}."},
        "defaultConfiguration": {"level": str(min((each.severity for each in findings), key=_SEVEREST_FIRST.index))},
    }
    if uri := _help_uri(first):
        descriptor["helpUri"] = uri
        descriptor["help"]["text"] += f" {uri}"
    cwe = sorted({name for finding in findings for name in finding.cwe}, key=_cwe_number)
    descriptor["properties"] = {"tags": [first.category.lower(), *(["security"] if cwe else []), *map(_tag, cwe)]}
    if cwe:
        descriptor["relationships"] = [{"target": _taxon(name, weaknesses), "kinds": ["superset"]} for name in cwe]
    return descriptor


def _result(
    finding: Finding,
    checks: list[str],
    weaknesses: list[str],
    root: Path | None,
    lines: _Lines,
    seen: Counter[tuple[str, str, str]],
) -> dict[str, Any]:
    result: dict[str, Any] = {
        "ruleId": finding.check,
        "ruleIndex": checks.index(finding.check),
        "level": str(finding.severity),
        "message": _message(finding.message),
    }
    uri = ""
    if finding.path:
        location = _artifact(finding.path, root)
        uri = location["uri"]
        physical: dict[str, Any] = {"artifactLocation": location}
        if finding.line:
            physical["region"] = {"startLine": finding.line}
            if finding.column:
                physical["region"]["startColumn"] = finding.column
        result["locations"] = [{"physicalLocation": physical}]
    # Code hosts tell the alerts of a rule in a file apart by this. It goes by the words of the line, so that an alert
    # stays the same one when its line moves, and by a count where several findings share them.
    words = " ".join(lines.at(finding).split())
    digest = hashlib.sha256(words.encode("utf-8", "replace")).hexdigest()[:16]
    seen[finding.check, uri, digest] += 1
    result["partialFingerprints"] = {"primaryLocationLineHash": f"{digest}:{seen[finding.check, uri, digest]}"}
    if finding.cwe:
        result["taxa"] = [_taxon(name, weaknesses) for name in finding.cwe]
    return result


class _Lines:
    """The texts that findings are about, each read once."""

    def __init__(self, sources: Mapping[str, str]):
        self._lines = {path: text.splitlines() for path, text in sources.items()}

    def at(self, finding: Finding) -> str:
        """The line of a finding; its message where it has none."""
        if not finding.path or not finding.line:
            return finding.message
        if finding.path not in self._lines:
            try:
                text = Path(finding.path).read_text("utf-8", "replace")
            except OSError:
                text = ""
            self._lines[finding.path] = text.splitlines()
        lines = self._lines[finding.path]
        return lines[finding.line - 1] if finding.line <= len(lines) else finding.message


def _message(text: str) -> dict[str, Any]:
    """Elixir's messages are full of braces and brackets, which mean something in SARIF.

    The standard wants braces doubled, but no viewer we know undoes that. `{0}`, the tuple, is the one text that would
    be taken for a placeholder, so it is given itself as what to put there. `[text](` would become a link.
    """
    text = text.strip() or "(no message)"
    message: dict[str, Any] = {"text": _LINK.sub(r"\\[", text)}
    if numbers := [int(number) for number in _PLACEHOLDER.findall(text)]:
        message["arguments"] = [f"{{{number}}}" for number in range(max(numbers) + 1)]
    return message


def _artifact(path: str, root: Path | None) -> dict[str, Any]:
    if root is not None:
        absolute = os.path.abspath(path)
        path = os.path.relpath(absolute, root.absolute())
        path = absolute if path.split(os.sep)[0] == os.pardir else path
    if os.path.isabs(path):
        return {"uri": f"file://{_encoded(os.path.normpath(path))}"}
    return {"uri": _encoded(os.path.normpath(path)), "uriBaseId": URI_BASE}


def _encoded(path: str) -> str:
    return quote(os.fsencode(path).replace(os.sep.encode(), b"/"))


def _meaning(finding: Finding) -> str:
    known = rule(finding.check)
    return known.meaning if known else _MEANINGS.get(finding.check, finding.check)


def _help_uri(finding: Finding) -> str | None:
    if finding.tool == "credo" and finding.check.startswith("Credo.Check."):
        return f"https://hexdocs.pm/credo/{quote(finding.check)}.html"
    if finding.tool == "sobelow" and rule(finding.check):
        return f"https://hexdocs.pm/sobelow/Sobelow.{quote(finding.check)}.html"
    return _HOMES["mix format"] if finding.check == "not_formatted" else None


def _pascal_case(check: str) -> str:
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[^0-9A-Za-z]+", check))


def _taxonomy(weaknesses: list[str]) -> dict[str, Any]:
    return {
        "name": "CWE",
        "organization": "MITRE",
        "shortDescription": {"text": "The MITRE Common Weakness Enumeration"},
        "informationUri": "https://cwe.mitre.org",
        "isComprehensive": False,
        "taxa": [
            {"id": name, "helpUri": f"https://cwe.mitre.org/data/definitions/{_cwe_number(name)}.html"}
            for name in weaknesses
        ],
    }


def _taxon(name: str, weaknesses: list[str]) -> dict[str, Any]:
    return {"id": name, "index": weaknesses.index(name), "toolComponent": {"name": "CWE", "index": 0}}


def _cwe_number(name: str) -> int:
    digits = re.sub(r"\D", "", name)
    return int(digits) if digits else 0


def _tag(name: str) -> str:
    return f"external/cwe/cwe-{_cwe_number(name):03d}"
