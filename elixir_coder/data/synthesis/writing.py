"""Elixir as text: literals of Python's values, and templates with named places.

    fill('''
    def $name(list) do
      $body
    end
    ''', name="first", body="case list do\\n  [] -> nil\\n  [head | _] -> head\\nend")

A place is `$word`. Where it stands alone on its line, what is put in keeps its lines at that indentation, and nothing
leaves no line.
"""

from __future__ import annotations

import re
import textwrap
from typing import Any

from elixir_coder.data.synthesis.domains import Atom

_PLACE = re.compile(r"\$([a-z][a-z0-9_]*)")
_LINE = re.compile(r"^([ \t]*)\$([a-z][a-z0-9_]*)[ \t]*$", re.MULTILINE)


class Raw(str):
    """Elixir as it stands, where a literal is expected."""

    __slots__ = ()


def fill(template: str, **parts: Any) -> str:
    """The template, dedented, with its places filled; a place that no part is for stays as it is, for a later one."""
    text = textwrap.dedent(template).strip("\n")
    text = _LINE.sub(lambda found: _lines(found, parts), text)
    text = _PLACE.sub(lambda found: str(parts.get(found[1], found[0])), text)
    text = "\n".join(line.rstrip() for line in text.split("\n") if line != _NOTHING)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n")


_NOTHING = "\0"  # a line that a place left empty


def _lines(found: re.Match[str], parts: dict[str, Any]) -> str:
    if found[2] not in parts:
        return found[0]
    part = str(parts[found[2]])
    return textwrap.indent(part.strip("\n"), found[1]) if part else _NOTHING


def module(name: str, documentation: str, *parts: str) -> str:
    """A whole module of parts with a line between them; empty ones are left out."""
    body = "\n\n".join(part.strip("\n") for part in parts if part)
    return (
        fill(
            '''
        defmodule $name do
          @moduledoc """
          $documentation
          """

          $body
        end
        ''',
            name=name,
            documentation=documentation,
            body=body,
        )
        + "\n"
    )


def exunit(name: str, *parts: str, is_async: bool = True, capture_log: bool = False, setup: str = "") -> str:
    """A whole test module about a module. parts: tests, as `check` writes them, or helpers."""
    body = "\n\n".join(part.strip("\n") for part in (setup, *parts) if part)
    header = "use ExUnit.Case, async: true" if is_async else "use ExUnit.Case"
    return (
        fill(
            """
        defmodule $name do
          $header

          $log

          $body
        end
        """,
            name=f"{name}Test",
            header=header,
            log="@moduletag :capture_log" if capture_log else "",
            body=body,
        )
        + "\n"
    )


def check(title: str, body: str, **parts: Any) -> str:
    """One test. body: its lines, filled as a template."""
    return fill('test "$title" do\n  $body\nend', title=title, body=fill(body, **parts))


def literal(value: Any) -> str:
    """A value of Python in Elixir: Atom, str, numbers, bool, None, list, tuple, dict (with atom keys where it can)."""
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Atom):
        return f":{value}"
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\t", "\\t")
        return '"' + escaped.replace("#{", "\\#{") + '"'
    if isinstance(value, int) and abs(value) >= 100_000:
        return f"{value:_}"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, list):
        return "[" + ", ".join(_element(each, value) for each in value) + "]"
    if isinstance(value, tuple):
        return "{" + ", ".join(map(literal, value)) + "}"
    if isinstance(value, dict):
        if all(type(key) is str and re.fullmatch(r"[a-z_]\w*", key) for key in value):
            return "%{" + ", ".join(f"{key}: {literal(each)}" for key, each in value.items()) + "}"
        return "%{" + ", ".join(f"{literal(key)} => {literal(each)}" for key, each in value.items()) + "}"
    raise AssertionError(f"no Elixir literal for {value!r}")


def _element(value: Any, of: list[Any]) -> str:
    """Of a list: `key: value` where all are such pairs."""
    if all(isinstance(each, tuple) and len(each) == 2 and isinstance(each[0], Atom) for each in of):
        return f"{value[0]}: {literal(value[1])}"
    return literal(value)


def record(fields: dict[str, Any], struct: str = "") -> str:
    """A map with atom keys, or a struct."""
    return f"%{struct}{{" + ", ".join(f"{key}: {literal(each)}" for key, each in fields.items()) + "}"


def string_keys(pairs: dict[str, Any]) -> str:
    """A map with text keys."""
    return "%{" + ", ".join(f"{literal(str(key))} => {literal(each)}" for key, each in pairs.items()) + "}"


def listed(items: list[str]) -> str:
    """`a, b and c`."""
    return items[0] if len(items) == 1 else ", ".join(items[:-1]) + " and " + items[-1]
