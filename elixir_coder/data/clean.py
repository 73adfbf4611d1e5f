"""Drop what a model should not learn from, and say why.

A filter gives the reason to drop an example, or None to keep it; `clean` counts the reasons. Exact duplicates go here;
near-duplicates are another step's work.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import PurePosixPath

from elixir_coder.data.licence import ALLOWED, is_allowed
from elixir_coder.example import Example

CODE_SUFFIXES = frozenset({".ex", ".exs"})
GUIDE_SUFFIXES = frozenset({".md", ".livemd", ".cheatmd"})
MAX_BYTES = 1_000_000
MAX_LINE = 1_000  # characters; in Debian's Elixir code 448 is the longest line of a program, 787 of a doctest
MIN_CHARACTERS = 20

Filter = Callable[[Example], str | None]

_GENERATED = re.compile(
    r"do not (edit|modify|change)|do not touch this file|(is|was|been|file) (automatically |auto-?)generated"
    r"|auto-?generated|@generated|generated (automatically )?(by|from|with)",
    re.IGNORECASE,
)
_COMMENT = re.compile(r"^\s*#.*$", re.MULTILINE)
_ELIXIR_IN_MARKDOWN = re.compile(r"^\s*(```|~~~)\s*elixir|iex(\(\d+\))?>|^\s*defmodule\s", re.MULTILINE)


def is_guide(path: str) -> bool:
    """Whether a path is Markdown and not code."""
    return PurePosixPath(path).suffix in GUIDE_SUFFIXES


def too_short(example: Example) -> str | None:
    """Nothing, or next to nothing, in the file."""
    return "too short" if len(example.code.strip()) < MIN_CHARACTERS else None


def too_large(example: Example) -> str | None:
    """More than a megabyte: a table in Elixir's clothes."""
    return "too large" if len(example.code.encode()) > MAX_BYTES else None


def generated(example: Example) -> str | None:
    """A comment near the top says that a program wrote the file.

    "Vendored, do not edit" is kept: people wrote it, elsewhere.
    """
    head = example.code[:1_000]
    comments = head[:200] if is_guide(example.path) else " ".join(_COMMENT.findall(head))
    return "generated" if _GENERATED.search(comments) and "vendored" not in comments.lower() else None


def template(example: Example) -> str | None:
    """An EEx template that carries the name of the file it will become."""
    is_code = not is_guide(example.path)
    lies_with_templates = "templates" in PurePosixPath(example.path).parts
    return "template" if is_code and lies_with_templates and "<%" in example.code else None


def long_lines(example: Example) -> str | None:
    """A line of over 1,000 characters in code: minified, or data."""
    if is_guide(example.path):
        return None  # in prose a paragraph is a line
    return "long lines" if max(map(len, example.code.splitlines()), default=0) > MAX_LINE else None


def data_table(example: Example) -> str | None:
    """Mostly numbers: a lookup table of more than 10 kB with fewer letters than digits."""
    if len(example.code) < 10_000:
        return None
    letters = sum(character.isalpha() for character in example.code)
    digits = sum(character.isdigit() for character in example.code)
    return "data table" if digits > letters else None


def without_elixir(example: Example) -> str | None:
    """Markdown that shows no Elixir: change logs, codes of conduct."""
    return "guide without Elixir" if is_guide(example.path) and not _ELIXIR_IN_MARKDOWN.search(example.code) else None


def licence_in(allowed: Collection[str] = ALLOWED) -> Filter:
    """A filter for files whose licence is unknown or not among `allowed`."""
    return lambda example: None if is_allowed(example.licence, allowed) else "licence"


def first_of_its_content() -> Filter:
    """A filter that remembers: the second file with the same content is a duplicate, whatever its name."""
    seen: set[str] = set()

    def duplicate(example: Example) -> str | None:
        if example.sha256 in seen:
            return "duplicate"
        seen.add(example.sha256)
        return None

    return duplicate


def default_filters(allowed: Collection[str] = ALLOWED) -> list[Filter]:
    """The filters of a collection, cheapest and most telling first; one use, because the last one remembers."""
    return [
        licence_in(allowed),
        too_short,
        too_large,
        generated,
        template,
        long_lines,
        data_table,
        without_elixir,
        first_of_its_content(),
    ]


def clean(examples: Iterable[Example], filters: list[Filter], dropped: Counter[str]) -> Iterator[Example]:
    """The examples no filter objects to; the first objection of the others is counted in `dropped`."""
    for example in examples:
        reason = next((why for check in filters if (why := check(example))), None)
        if reason:
            dropped[reason] += 1
        else:
            yield example
