"""What a rule is: it looks at a piece of clean code and writes one fault into it, or has nothing to write there."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from random import Random
from string import Template
from typing import TypeVar

from elixir_coder.data.injections.text import Text


@dataclass(frozen=True, kw_only=True)
class Piece:
    """Clean code that a fault is to be written into: one function by itself, or a whole module.

    module: its name, in full. path: in its package. peers: modules that the code, or its file, names.
    """

    code: str
    kind: str
    path: str
    module: str
    package: str
    peers: tuple[str, ...] = ()

    @property
    def text(self) -> Text:
        return Text(self.code)

    @property
    def is_module(self) -> bool:
        return self.kind != "function"


@dataclass(frozen=True, kw_only=True)
class Fault:
    """code: without the fault, before: with it. names: what the diagnosis speaks of. path, kind: where the code lies
    and what it is, where that is not what the piece was."""

    code: str
    before: str
    names: dict[str, str] = field(default_factory=dict)
    path: str = ""
    kind: str = ""


@dataclass(frozen=True, kw_only=True)
class Rule:
    """name: what `Example.injected` says. check: the label that it is after. says: diagnoses, with $names.

    takes: the kinds of pieces it can use. is_raw: the fault is one of layout, which formatting would undo. is_made: the
    fault stands in a function that is written for it, and not in the code that was there.
    write: gives the same for the same piece and state of the generator.
    """

    name: str
    check: str
    write: Callable[[Piece, Random], Fault | None]
    says: tuple[str, ...]
    takes: tuple[str, ...] = ("function", "module")
    is_raw: bool = False
    is_made: bool = False

    def diagnosis(self, fault: Fault, random: Random) -> str:
        return Template(random.choice(self.says)).substitute(fault.names)


T = TypeVar("T")
RULES: list[Rule] = []


def rule(
    check: str,
    *says: str,
    takes: Iterable[str] = ("function", "module"),
    raw: bool = False,
    made: bool = False,
    name: str = "",
) -> Callable[[Callable[[Piece, Random], Fault | None]], Callable[[Piece, Random], Fault | None]]:
    """Enter a function as a rule, by its own name. check: of Credo, without `Credo.Check.`, or of Sobelow."""

    def enter(write: Callable[[Piece, Random], Fault | None]) -> Callable[[Piece, Random], Fault | None]:
        in_full = check if check.partition(".")[0] in _SOBELOW else f"Credo.Check.{check}"
        called = name or getattr(write, "__name__", "")
        RULES.append(
            Rule(name=called, check=in_full, write=write, says=says, takes=tuple(takes), is_raw=raw, is_made=made)
        )
        return write

    return enter


_SOBELOW = ("CI", "Config", "DOS", "Misc", "RCE", "SQL", "Traversal", "XSS")


def choose(random: Random, sites: Iterable[T]) -> T | None:
    """One of them, or None where there is none."""
    listed = list(sites)
    return random.choice(listed) if listed else None


def indented(code: str, by: str = "  ") -> str:
    """Each line that holds something, moved to the right; inside of heredocs too, as Elixir wants it."""
    return "".join(by + line if line.strip() else line for line in code.splitlines(keepends=True))


def dedented(lines: Iterable[str]) -> list[str]:
    listed = list(lines)
    width = min((len(line) - len(line.lstrip(" ")) for line in listed if line.strip()), default=0)
    return [line[width:] if line.strip() else "" for line in listed]


def with_helper(piece: Piece, code: str, random: Random) -> str:
    """The piece with one more function: behind the others, inside of the module where there is one."""
    if not piece.is_module:
        return piece.code.rstrip("\n") + "\n\n" + code.rstrip("\n") + "\n"
    lines = piece.code.rstrip("\n").split("\n")
    last = max((n for n, line in enumerate(lines) if line == "end"), default=None)
    if last is None:
        return piece.code
    added = indented(code.rstrip("\n")).split("\n")
    places = [last]
    text = piece.text
    starts = [d.start for d in text.definitions if d.indent == "  "]
    if starts and random.random() < 0.3:  # before the first function, with what is written above it
        first = starts[0]
        while first > 1 and text.bare[first - 1].strip() and not re.match(r" *defmodule\b", text.bare[first - 1]):
            first -= 1
        if not text.bare[first - 1].strip():
            return "\n".join([*lines[:first], *added, "", *lines[first:]]) + "\n"
    return "\n".join([*lines[: places[0]], "", *added, *lines[places[0] :]]) + "\n"
