"""The types by which operations are put together, and values of them as Elixir writes them.

A type is written as in the tables of operations: `int`, `[str]`, `{str, int}`, `int?`, `map(str, [a])`. One letter is a
variable: `n` stands for a number, `o` for what has an order that people expect (numbers and strings), others for
anything.
"""

from __future__ import annotations

import datetime
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any


class Name(str):
    """An atom, without its colon."""


class Members(tuple):
    """The members of a MapSet, in the order in which they are written."""


class Pairs(tuple):
    """A keyword list: (name, value) pairs."""


class Span(tuple):
    """A range: first and last."""


@dataclass(frozen=True)
class Type:
    """name: `int`, `list`, `tuple`, `map`, `option`, `set`, `keyword`, ..., a record's name, or a variable's letter."""

    name: str
    arguments: tuple[Type, ...] = ()

    @property
    def is_variable(self) -> bool:
        return len(self.name) == 1

    @property
    def item(self) -> Type:
        """Of a list, a set or an option: the type of what is in it."""
        return self.arguments[0]


_TOKEN = re.compile(r"\w+|[\[\]{}(),?]")
_SPECS = {
    "int": "integer()",
    "float": "float()",
    "number": "number()",
    "str": "String.t()",
    "bool": "boolean()",
    "atom": "atom()",
    "range": "Range.t()",
    "date": "Date.t()",
    "charlist": "charlist()",
    "any": "term()",
}
_NUMBERS = ("int", "float", "number")


@lru_cache(maxsize=4096)
def parse(text: str) -> Type:
    """A type from how the tables write it."""
    tokens = _TOKEN.findall(text)
    parsed, rest = _parse(tokens)
    assert not rest, text
    return parsed


def _parse(tokens: list[str]) -> tuple[Type, list[str]]:
    head, rest = tokens[0], tokens[1:]
    if head == "[":
        item, rest = _parse(rest)
        parsed, rest = Type("list", (item,)), rest[1:]
    elif head == "{":
        arguments, rest = _parse_until(rest, "}")
        parsed = Type("tuple", arguments)
    elif rest and rest[0] == "(":
        arguments, rest = _parse_until(rest[1:], ")")
        parsed = Type(head, arguments)
    else:
        parsed = Type(head)
    if rest and rest[0] == "?":
        parsed, rest = Type("option", (parsed,)), rest[1:]
    return parsed, rest


def _parse_until(tokens: list[str], end: str) -> tuple[tuple[Type, ...], list[str]]:
    arguments: list[Type] = []
    while tokens[0] != end:
        argument, tokens = _parse(tokens)
        arguments.append(argument)
        if tokens[0] == ",":
            tokens = tokens[1:]
    return tuple(arguments), tokens[1:]


def unify(pattern: Type, given: Type, bound: dict[str, Type]) -> bool:
    """Whether `given` is an instance of `pattern`; what its variables stand for is added to `bound`."""
    if pattern.is_variable:
        if pattern.name == "n" and given.name not in _NUMBERS:
            return False
        if pattern.name == "o" and given.name not in (*_NUMBERS, "str"):
            return False
        return bound.setdefault(pattern.name, given) == given
    if pattern.name == "any":
        return True
    if pattern.name != given.name or len(pattern.arguments) != len(given.arguments):
        return False
    return all(unify(one, other, bound) for one, other in zip(pattern.arguments, given.arguments))


def substitute(pattern: Type, bound: dict[str, Type]) -> Type:
    """The pattern with its variables replaced."""
    if pattern.is_variable:
        return bound[pattern.name]
    return Type(pattern.name, tuple(substitute(each, bound) for each in pattern.arguments))


def spec(given: Type) -> str:
    """As a typespec; records are types of their module."""
    if given.name in _SPECS:
        return _SPECS[given.name]
    inner = [spec(each) for each in given.arguments]
    match given.name:
        case "list":
            return f"[{inner[0]}]"
        case "tuple":
            return f"{{{', '.join(inner)}}}"
        case "map":
            return f"%{{optional({inner[0]}) => {inner[1]}}}"
        case "option":
            return f"{inner[0]} | nil"
        case "set":
            return f"MapSet.t({inner[0]})"
        case "keyword":
            return f"[{{atom(), {inner[0]}}}]"
        case "result":
            return f"{{:ok, {inner[0]}}} | {{:error, atom()}}"
    return f"{given.name}()"


def literal(value: Any) -> str:
    """A value as Elixir source."""
    if value is None or isinstance(value, bool):
        return {None: "nil", True: "true", False: "false"}[value]
    if isinstance(value, Name):
        return f":{value}"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("#{", "\\#{") + '"'
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, datetime.date):
        return f"~D[{value.isoformat()}]"
    if isinstance(value, Span):
        return f"{value[0]}..{value[1]}"
    if isinstance(value, Members):
        return f"MapSet.new({literal(list(value))})"
    if isinstance(value, Pairs):
        return f"[{', '.join(f'{name}: {literal(each)}' for name, each in value)}]"
    if isinstance(value, dict):
        if value and all(isinstance(key, Name) for key in value):
            return f"%{{{', '.join(f'{key}: {literal(each)}' for key, each in value.items())}}}"
        return f"%{{{', '.join(f'{literal(key)} => {literal(each)}' for key, each in value.items())}}}"
    if isinstance(value, tuple):
        return f"{{{', '.join(map(literal, value))}}}"
    assert isinstance(value, list), value
    return f"[{', '.join(map(literal, value))}]"
