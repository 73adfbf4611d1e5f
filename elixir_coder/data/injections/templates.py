"""Pairs of faulty and clean code, written down in `pairs/*.txt` as Elixir rather than as Python strings.

    == Refactor.FilterCount filter_then_count          the check, the name of the rule, and words that its kind knows
    ? `$name` filters only to count.                   diagnoses, of which one is drawn; longer ones go on indented
    --
    $items |> Enum.filter($predicate) |> Enum.count()  the fault
    ++
    Enum.count($items, $predicate)                     the same without; left out where that is nothing

`$items` and the like are filled with words of the code at hand (`Words`); `$$` is a dollar sign.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from string import Template


@dataclass(frozen=True)
class Group:
    """One rule. pairs: (faulty, clean), clean "" where there is none."""

    check: str
    name: str
    words: frozenset[str]
    says: tuple[str, ...]
    pairs: tuple[tuple[str, str], ...]


def groups(file: str) -> Iterator[Group]:
    """The rules of a file of templates, in order."""
    text = Path(__file__).with_name("pairs").joinpath(f"{file}.txt").read_text(encoding="utf-8")
    for block in re.split(r"^== ", text, flags=re.MULTILINE)[1:]:
        head, *entries = re.split(r"^--\n", block.rstrip("\n") + "\n", flags=re.MULTILINE)
        first, *told = head.rstrip("\n").split("\n")
        check, name, *words = first.split()
        says = " ".join(line.strip() for line in told).removeprefix("? ").split(" ? ")
        halves = (re.split(r"^\+\+\n", entry, flags=re.MULTILINE) for entry in entries)
        pairs = tuple((each[0].rstrip("\n"), each[1].rstrip("\n") if len(each) > 1 else "") for each in halves)
        yield Group(check, name, frozenset(words), tuple(says), pairs)


def filled(text: str, names: Mapping[str, str]) -> str:
    """Code with its names. What is no name of ours stays."""
    return Template(text).safe_substitute(names)


def joined(text: str, names: Mapping[str, str]) -> str:
    """The same where names stand side by side, as in `$verb_$items`."""
    for key in sorted(names, key=len, reverse=True):
        text = text.replace("$" + key, names[key])
    return text
