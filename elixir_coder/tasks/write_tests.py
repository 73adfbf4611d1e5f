"""Code to tests for it.

    source  <test> exunit \\n code </s>          target  tests </s>

The word in front says what kind of tests are wanted: exunit, doctest, property, liveview, conn or data_case. From
everything that has tests. Where code or tests are too long a few test cases that stand together are taken, and of the
code what they name and what that calls (`excerpt`): of Debian's test pairs one in eight would fit whole into 512 tokens
and 512. Metric: token_accuracy.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar, NamedTuple

import numpy as np

from elixir_coder.example import Example
from elixir_coder.tasks.document import undocumented
from elixir_coder.tasks.prompt import whole_prompt, written
from elixir_coder.tasks.row import Row, Setup

_FRAME = 12  # tokens that a prompt needs besides its code, at most: <test>, the kind of tests, a newline, </s>


@dataclass(frozen=True)
class WriteTests:
    """Code, and ExUnit tests or doctests that it passes."""

    setup: Setup

    name: ClassVar[str] = "write_tests"
    metric: ClassVar[str] = "token_accuracy"
    columns: ClassVar[tuple[str, ...]] = ("code", "tests", "test_type")

    def accepts(self, example: Example) -> bool:
        return bool(example.tests)

    def __call__(self, example: Example, rng: np.random.Generator) -> Row | None:
        kind = example.test_type or "exunit"
        most = (self.setup.source_length - _FRAME, self.setup.target_length - 1)
        parts = excerpt(self.setup.ids, example.code, example.tests, *most, rng)
        source = whole_prompt(self.setup, "write_tests", test_type=kind, code=parts[0]) if parts else None
        return Row(source, written(self.setup, parts[1])) if parts and source else None


def excerpt(
    ids: Callable[[str], list[int]], code: str, tests: str, most_code: int, most_tests: int, rng: np.random.Generator
) -> tuple[str, str] | None:
    """Code and tests of so many tokens at most, None where there is no such part: both whole if they fit, else test
    cases that follow one another, with setups, aliases and the helpers they name, and the functions that they name.

    Long texts must be formatted: what stands in a module is told by its indentation.
    """
    if len(ids(code)) <= most_code:
        if len(ids(tests)) <= most_tests:
            return code, tests
        shown_code: str | None = code
        modules = []
    else:
        shown_code, code = None, undocumented(code)
        modules = [(module, _parts(ids, module["body"])) for module in _MODULE.finditer(code)]
    source = _TestFile.of(ids, tests)
    if not source.cases:
        return None
    first = int(rng.integers(len(source.cases)))
    best = None
    for last in range(first + 1, len(source.cases) + 1):
        shown_tests, names, num_tests = source.shown(first, last)
        code_of_cases = shown_code or _shown_code(modules, names, most_code)
        if num_tests > most_tests or code_of_cases is None:
            break
        best = code_of_cases, shown_tests
    return best


# ---------------------------------------------------------------------------------------------------- parts of a module

_CASE = re.compile(r"\s*(?:[@#].*\n\s*)*(?:test|property) ")
_GROUP = re.compile(r"\s*(?:[@#].*\n\s*)*describe ")
_DEFINED = re.compile(r"^  (?:def|defp|defmacro|defmacrop|defguard|defguardp|defdelegate) \(?([a-z_]\w*[?!]?)", re.M)
_MODULE = re.compile(r"^defmodule [^\n]+ do\n(?P<body>.*?)^end$", re.M | re.S)
_HEAD = 24  # tokens of a module's first and last line, at most
_APART = 2  # tokens of the blank line between two parts, at most


class _Part(NamedTuple):
    """What stands in a module between blank lines. defined: functions it defines. names: all that it names.

    num_tokens: with the blank line behind it. group: of a test case, how the describe block around it begins.
    """

    text: str
    defined: frozenset[str]
    names: frozenset[str]
    num_tokens: int
    group: str = ""


def _parts(ids: Callable[[str], list[int]], body: str, indent: int = 2, group: str = "") -> list[_Part]:
    return [_part(ids, text, group) for text in _items(body, indent)]


def _part(ids: Callable[[str], list[int]], text: str, group: str = "") -> _Part:
    names = frozenset(re.findall(r"[a-z_]\w*[?!]?", text))
    return _Part(text, frozenset(_DEFINED.findall(text)), names, len(ids(text)) + _APART, group)


class _TestFile(NamedTuple):
    """Test cases, and what else stands in their module. head: its first line; "" for doctests, which have no module."""

    head: str
    frame: list[_Part]
    cases: list[_Part]
    groups: dict[str, _Part]

    @classmethod
    def of(cls, ids: Callable[[str], list[int]], tests: str) -> _TestFile:
        modules = list(_MODULE.finditer(tests))
        if not modules:  # prompts and what they give, apart from each other by a blank line
            return cls("", [], [_part(ids, block) for block in re.split(r"\n\s*\n", tests.strip("\n"))], {})
        has_case = re.compile(r"^ +(test|property) ", re.M)
        module = next((module for module in modules if has_case.search(module["body"])), modules[0])
        frame: list[_Part] = []
        cases: list[_Part] = []
        for part in _parts(ids, module["body"]):
            if _GROUP.match(part.text):
                head, *lines = part.text.split("\n")
                inner = list(_items("\n".join(lines[:-1]), 4))
                setup = "\n\n".join(text for text in inner if not _CASE.match(text))
                group = f"{head}\n{setup}\n\n" if setup else f"{head}\n"
                cases += [_part(ids, text, group) for text in inner if _CASE.match(text)]
            else:
                (cases if _CASE.match(part.text) else frame).append(part)
        groups = {group: _part(ids, group) for group in dict.fromkeys(part.group for part in cases) if group}
        return cls(module[0].split("\n")[0], frame, cases, groups)

    def shown(self, first: int, last: int) -> tuple[str, frozenset[str], int]:
        """Some cases as a test file of their own, the names in it, and an upper bound of its tokens."""
        cases = self.cases[first:last]
        parts = [*cases, *(self.groups[group] for group in dict.fromkeys(case.group for case in cases) if group)]
        named = _names(parts)
        needed = [part for part in self.frame if not part.defined or part.defined & named]
        texts = []
        for group, of_group in groupby(cases, key=lambda case: case.group):
            text = "\n\n".join(case.text for case in of_group)
            texts.append(f"{group}{text}\n  end" if group else text)
        before = [part.text for part in needed if not part.defined]
        behind = [part.text for part in needed if part.defined]
        num_tokens = sum(part.num_tokens for part in (*parts, *needed)) + _HEAD * bool(self.head)
        text = _module(self.head, [*before, *texts, *behind]) if self.head else "\n\n".join(texts)
        return text, named | _names(needed), num_tokens


def _shown_code(modules: list[tuple[re.Match[str], list[_Part]]], names: frozenset[str], most: int) -> str | None:
    """Of the first module that has one of these functions those functions, what they call as far as there is room, and
    what else stands in it where a third of the room is enough for that."""
    for module, parts in modules:
        shown = {place for place, part in enumerate(parts) if part.defined & names}
        if not shown:
            continue
        head = module[0].split("\n")[0]
        room = most - _HEAD
        frame = [place for place, part in enumerate(parts) if not part.defined]
        if sum(parts[place].num_tokens for place in frame) <= most // 3:
            shown |= set(frame)
        used = sum(parts[place].num_tokens for place in shown)
        if used > room:
            return None
        called = _names(parts[place] for place in shown)
        for place, part in enumerate(parts):
            if place not in shown and part.defined & called and used + part.num_tokens <= room:
                shown.add(place)
                used += part.num_tokens
        return _module(head, [parts[place].text for place in sorted(shown)])
    return None


def _names(parts: Iterable[_Part]) -> frozenset[str]:
    return frozenset().union(*(part.names for part in parts))


def _module(head: str, items: Iterable[str]) -> str:
    return f"{head}\n" + "\n\n".join(items) + "\nend\n"


def _items(body: str, indent: int) -> Iterator[str]:
    """What stands in a module, apart from each other by blank lines, but not inside of anything."""
    item: list[str] = []
    is_heredoc = False
    margin = re.compile(rf" {{{indent}}}\S")
    for line in body.split("\n"):
        if item and not item[-1] and not is_heredoc and margin.match(line):
            yield "\n".join(item).rstrip()
            item = []
        if item or line:
            item.append(line)
        is_heredoc ^= line.count('"""') % 2 == 1
    if item:
        yield "\n".join(item).rstrip()
