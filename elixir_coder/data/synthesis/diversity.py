"""How different exercises are: programs with their names taken away, their shapes, and the entropy of the wording.

A program's identity is its token stream without documentation, typespecs and layout, where the module, its functions
and variables are numbered in the order in which they come. Its shape has no literals and field names either: two
programs of one shape never go to different splits.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from elixir_coder.data.split import SPLITS
from elixir_coder.example import Example

_TOKEN = re.compile(
    r'"""(?:.|\n)*?"""|~\w(?:/(?:\\.|[^/\\])*/\w*|\([^)]*\)|\[[^\]]*\]|"[^"]*")|"(?:\\.|[^"\\])*"|#[^\n]*'
    r"|:\"[^\"]*\"|(?<![:\w]):[a-z_]\w*[?!]?|[a-z_]\w*[?!]?:(?=\s)|[A-Z]\w*(?:\.[A-Z]\w*)*|@?[a-z_]\w*[?!]?|\d[\d_.]*(?:e-?\d+)?|&\d|[^\s\w]"
)
_WORDS = frozenset(
    "def defp defmodule defmacro defstruct do end fn when case cond if unless for with in and or not else rescue catch "
    "after receive true false nil use import alias require raise throw try quote unquote super @impl @behaviour".split()
)
_DEFINED = re.compile(r"\b(?:defp?|defmacrop?|defguardp?)\s+([a-z_]\w*[?!]?)")
_DROPPED = re.compile(
    r'^\s*@(?:doc|moduledoc|typedoc)\s+(?:~S)?"""(?:.|\n)*?^\s*"""[^\n]*$|^\s*@(?:doc|moduledoc)\s+(?:"(?:\\.|[^"\\])*"|false)[^\n]*$'
    r"|^\s*@(?:spec|type|typep|opaque)\b[^\n]*(?:\n\s{8,}[^\n]*)*",
    re.MULTILINE,
)
_PERCENT = {SPLITS[1]: 5, SPLITS[2]: 5}


def tokens_of(code: str, *, shape: bool) -> list[str]:
    """The program as tokens with its own names numbered; of its shape, literals, atoms and fields are placeholders."""
    code = _DROPPED.sub("", code)
    functions = set(_DEFINED.findall(code))
    names: dict[str, str] = {}
    found: list[str] = []
    before = before_dot = ""  # the last token, and the one that a dot follows
    for token in _TOKEN.findall(code):
        if token.startswith("#") and len(token) > 1 and not before.endswith('"'):
            continue
        if shape and token in "()":
            continue  # the formatter takes some away, and a shape is the same before and after it
        first = token[0]
        written = token
        if first in '"~' or first.isdigit():
            written = "_L" if shape else token
        elif (first == ":" and len(token) > 1) or (token.endswith(":") and len(token) > 1):
            written = (
                (":_" if first == ":" else "_:")
                if shape and token not in ("do:", "else:", "reduce:", "into:")
                else token
            )
        elif first.isupper():
            if before == "defmodule" or token in names:
                written = names.setdefault(token, f"M{len(names)}")
        elif (first.islower() or first == "_") and token not in _WORDS:
            if before == ".":
                written = "_F" if shape and not before_dot[:1].isupper() else token
            elif token in functions:
                written = names.setdefault(f"{token}/", f"F{len(names)}")
            elif token not in _CALLS:
                written = names.setdefault(token, f"V{len(names)}") if token != "_" else "_"
        found.append(written)
        before_dot = before if token == "." else ""
        before = token
    return found


_CALLS = frozenset(
    "length hd tl abs max min rem div round trunc floor ceil elem is_list is_map is_binary is_integer is_float is_atom "
    "is_nil is_number is_tuple is_function map_size tuple_size byte_size to_string inspect then tap send self spawn "
    "spawn_link put_in get_in update_in pop_in put_elem apply node make_ref exit struct is_struct is_boolean".split()
)


def identity(code: str) -> str:
    """The same for two programs that differ in names, layout and documentation only."""
    return _digest(tokens_of(code, shape=False))


def shape(code: str) -> str:
    """The same for two programs that differ in literals, atoms and fields besides."""
    return _digest(tokens_of(code, shape=True))


def split_of(shape_digest: str) -> str:
    """The split that programs of a shape belong to: 90% train, 5% validation, 5% test."""
    number = int(shape_digest[:8], 16) % 100
    for split, percent in _PERCENT.items():
        if number < percent:
            return split
        number -= percent
    return SPLITS[0]


def _digest(tokens: list[str]) -> str:
    return hashlib.sha256("\x1f".join(tokens).encode()).hexdigest()[:16]


class Entropy:
    """The entropy of n-grams of words over a stream of texts, in bits."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._counts: Counter[int] = Counter()

    def add(self, text: str) -> None:
        words = re.findall(r"\w+|[^\s\w]", text.lower())
        self._counts.update(hash_of(words[at : at + self._size]) for at in range(len(words) - self._size + 1))

    @property
    def bits(self) -> float:
        total = self._counts.total()
        return -sum(count / total * math.log2(count / total) for count in self._counts.values()) if total else 0.0

    @property
    def distinct(self) -> int:
        return len(self._counts)

    @property
    def total(self) -> int:
        return self._counts.total()


def hash_of(words: Iterable[str]) -> int:
    return int.from_bytes(hashlib.blake2b(" ".join(words).encode(), digest_size=8).digest(), "big")


class Diversity:
    """Figures of a stream of examples: how many there are of what, and how different they are."""

    def __init__(self) -> None:
        self.kinds: Counter[str] = Counter()
        self.families: Counter[str] = Counter()
        self.difficulties: Counter[int] = Counter()
        self.operations: Counter[str] = Counter()
        self.faults: Counter[str] = Counter()
        self.splits: dict[str, set[str]] = {}
        self._combinations: set[int] = set()
        self._programs: set[str] = set()
        self._instructions: set[int] = set()
        self._pairs: set[tuple[str, int]] = set()
        self._tests: set[int] = set()
        self._trigrams = Entropy(3)
        self._words = Entropy(1)

    def add(self, example: Example, split: str) -> None:
        """Count one example of a split."""
        self.kinds[example.kind] += 1
        self.families[example.path.partition("/")[0]] += 1
        self.difficulties[example.difficulty] += 1
        self.operations.update(example.operations)
        if example.injected:
            self.faults[example.injected] += 1
        self.splits.setdefault(split, set()).add(shape(example.code))
        program, instruction = identity(example.code), hash_of([example.instruction])
        if instruction not in self._instructions:
            self._words.add(example.instruction)
            self._trigrams.add(example.instruction)
        self._combinations.add(hash_of(example.operations))
        self._programs.add(program)
        self._instructions.add(instruction)
        self._pairs.add((program, instruction))
        self._tests.add(hash_of([example.tests]))

    def __str__(self) -> str:
        shapes = set().union(*self.splits.values()) if self.splits else set()
        shared = sum(len(each) for each in self.splits.values()) - len(shapes)
        lines = [
            f"items: {self.kinds.total():,} ({_counts(self.kinds)}), {self.faults.total():,} with a faulty program",
            f"distinct: {len(self._programs):,} programs, {len(shapes):,} shapes ({shared} in two splits), "
            f"{len(self._instructions):,} instructions, {len(self._pairs):,} programs with instruction, "
            f"{len(self._tests):,} test modules",
            f"operations: {len(self.operations):,} different, {len(self._combinations):,} combinations",
            f"words of the instructions: {self._words.bits:.2f} bits a word, {self._trigrams.bits:.2f} a trigram "
            f"({self._trigrams.distinct:,} of {self._trigrams.total:,} trigrams are distinct)",
            f"difficulty: {_counts(dict(sorted(self.difficulties.items())))}",
            f"families: {_counts(self.families)}",
            f"faults: {_counts(self.faults)}",
        ]
        return "\n".join(lines)


def _counts(counts: Mapping[Any, int]) -> str:
    ordered = counts.most_common() if isinstance(counts, Counter) else counts.items()
    return ", ".join(f"{name} {count:,}" for name, count in ordered)
