"""Commits as examples: `elixir-coder data changes REPOSITORY... --out DIR` pairs each message with what it changed.

A change is one function before and after a commit, with the message as the instruction: short enough to learn from,
and whole. A commit that changes many functions says too little about each of them, so only small ones are taken.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from elixir_coder.data.extract import MAX_FUNCTION_LINES, is_code, without_lines
from elixir_coder.data.licence import Licences, canonical, is_allowed
from elixir_coder.errors import DataError
from elixir_coder.example import Example
from elixir_coder.toolchain.facts import FactsReport, FunctionFacts
from elixir_coder.toolchain.toolchain import Toolchain

MAX_FUNCTIONS = 4  # that one commit changes
MIN_MESSAGE = 12  # characters
MAX_MESSAGE = 2_000

# Housekeeping, which says nothing about code.
_NO_INSTRUCTION = re.compile(
    r"(merge|revert|bump|release|prepare (for )?release|update (the )?(changelog|readme|deps|dependenc\w+|version)"
    r"|fix(ed)? (typos?|build|ci|test|tests|dialyzer|warnings?|credo)|mix format|format(ting)?|typos?|wip"
    r"|v?\d+\.\d+(\.\d+)?)\b",
    re.IGNORECASE,
)
_TRAILER = re.compile(
    r"^(signed-off-by|co-authored-by|reviewed-by|change-id|cc|closes?|fix(es)?|refs?)\b.*$", re.I | re.M
)
_NUMBER_OF_REQUEST = re.compile(r"\s*\((close[sd]?\s+|fix(es|ed)?\s+)?#\d+\)")


class Changes:
    """The step: a job is (commit, the fields its examples share); what comes of it are its changed functions."""

    def __init__(self) -> None:
        self._toolchain = Toolchain(workers=1)

    def __call__(self, jobs: list[tuple[Any, Mapping[str, str]]], dropped: Counter[str]) -> list[Example]:
        return [change for commit, fields in jobs for change in self._changes(commit, fields, dropped)]

    def close(self) -> None:
        self._toolchain.close()

    def _changes(self, commit: Any, fields: Mapping[str, str], dropped: Counter[str]) -> list[Example]:
        instruction = instruction_of(commit.message)
        files = [(path, before, after) for path, before, after in commit.changes if is_code(path)]
        if not instruction or not files:
            dropped["message says nothing" if files else "no code changed"] += 1
            return []
        found: list[Example] = []
        for path, before, after in files:
            facts_before, facts_after = self._toolchain.map("facts", (before, after))
            if not (facts_before.ok and facts_after.ok):
                dropped["does not parse"] += 1
                return []
            for name, old, new, line in changed_functions(before, facts_before, after, facts_after):
                change = Example.of(new, path=path, **fields)
                found.append(replace(change, kind="change", name=name, line=line, before=old, instruction=instruction))
        if not found:
            dropped["no function changed"] += 1
        elif len(found) > MAX_FUNCTIONS:
            dropped["changes too much"] += 1
            return []
        return found


def instruction_of(message: str) -> str:
    """What a commit's message asks for, without trailers and numbers of requests; "" where it says nothing of code."""
    text = _TRAILER.sub("", _NUMBER_OF_REQUEST.sub("", message))
    text = re.sub(r"\n{3,}", "\n\n", text).strip()
    first = text.split("\n")[0]
    if not MIN_MESSAGE <= len(text) <= MAX_MESSAGE or _NO_INSTRUCTION.match(first) or " " not in first:
        return ""
    return text


def changed_functions(
    before: str, facts_before: FactsReport, after: str, facts_after: FactsReport
) -> Iterator[tuple[str, str, str, int]]:
    """(name, before, after, line after) of each function whose code differs, in the order of the new text.

    A new function has "" as `before`; one that is gone, or whose documentation alone differs, is not there.
    """
    old = {name: _code(before, function) for name, function in _functions(facts_before)}
    for name, function in _functions(facts_after):
        new = _code(after, function)
        if function.end_line - function.head_line < MAX_FUNCTION_LINES and old.get(name, "") != new:
            yield name, old.get(name, ""), new, function.line


def _functions(facts: FactsReport) -> Iterator[tuple[str, FunctionFacts]]:
    for module in facts.modules:
        for function in module.functions:
            yield f"{module.name}.{function.name}/{function.arity}", function


def _code(text: str, function: FunctionFacts) -> str:
    lines = text.split("\n")
    start, end = function.line, function.end_line
    return without_lines(lines, start, end, function.doc_line, function.doc_end_line) + "\n"


def add_parser(subparsers: Any) -> None:
    """Add `changes` to the subcommands of `elixir-coder data`."""
    from elixir_coder.data.steps import add_step_arguments

    parser = subparsers.add_parser("changes", help="pair commit messages with the functions they changed")
    parser.add_argument("repositories", nargs="+", type=Path, metavar="REPOSITORY", help="local clones, bare or not")
    parser.add_argument("--limit", type=int, default=5_000, metavar="N", help="newest commits of each (default 5000)")
    parser.add_argument("--licence", help="licence of all of them (default: read from what each repository holds)")
    add_step_arguments(parser, takes_corpus=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """The command `data changes`."""
    from elixir_coder.data.split import split_packages
    from elixir_coder.data.steps import produce

    fields = {repository: fields_of(repository, args.licence) for repository in args.repositories}
    split = split_packages({each["package"] for each in fields.values()})
    jobs = {
        name: _Commits({path: each for path, each in fields.items() if split[each["package"]] == name}, args.limit)
        for name in dict.fromkeys(split.values())
    }
    settings = {"repositories": [dict(each) for each in fields.values()], "limit": args.limit}
    report = produce(
        jobs, args.out, Changes, name="changes", settings=settings, workers=args.workers, resume=args.resume
    )
    print(report)
    return 0


def fields_of(folder: Path, licence: str | None) -> dict[str, str]:
    """What the changes of a repository share: package, version, licence and source.

    Raises DataError where neither `licence` nor the repository's files state one that we may use.
    """
    from elixir_coder.data import git
    from elixir_coder.data.project import Wanted

    repository = git.Repository(folder)
    commit = repository.commit_of("HEAD")
    if licence:
        stated = canonical(licence)
    else:
        files = repository.files(commit, Wanted(frozenset()))  # those that state a licence alone
        stated = Licences((path, data.decode(errors="replace")) for path, data in files.items()).of("lib/a.ex", "")
        if not is_allowed(stated):
            raise DataError(f"{folder} is under the licence {stated}; name with --licence the one you may use it under")
    package = git.reference_of(str(folder)).package
    return {"package": package, "version": repository.version(commit), "licence": stated, "source": "git"}


@dataclass(frozen=True)
class _Commits:
    """The jobs of one split, read anew each time they are gone through."""

    fields: Mapping[Path, Mapping[str, str]]
    limit: int

    def __iter__(self) -> Iterator[tuple[Any, Mapping[str, str]]]:
        from elixir_coder.data import git

        for repository, fields in self.fields.items():
            for commit in git.commits(repository, limit=self.limit):
                yield commit, fields
