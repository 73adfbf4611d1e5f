"""What a model wrote for a task, as Elixir that the task's tests can be run on.

A model goes on with the prompt, or writes a whole module, bare or in a fenced block with words around it. Which it is
and where it ends, Elixir's parser alone decides: nothing here runs code or knows whether it passes. In this order, the
first that parses is taken:

    module        an answer that begins with `defmodule` of the module asked for
    continuation  the prompt and the answer up to where the module closes. An answer that never closes the module is cut
                  after the last line where only the module is left open, which is then closed; a function that the
                  answer does not end itself is not closed for it
    module        the module asked for, anywhere in the answer
    renamed       a single module of another name, given the name asked for

Where none parses, the prompt and the whole answer are what is judged: a syntax error. An instruction has no prompt to
go on with, so an answer without the module's own `defmodule` line is read as what stands after that line.

Each is tried on the answer as it is, then on every fenced block of it, then on all of them together.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from elixir_coder.evaluation.problems import Problem
from elixir_coder.toolchain.terms import Atom, nodes_of
from elixir_coder.toolchain.toolchain import Toolchain

Form = Literal["continuation", "module", "renamed", "unparsable"]

# Parsing takes under a millisecond for what a model writes, and these keep a hostile answer from taking hours.
_MAX_ENDS = 400  # lines that an answer is tried to end after, from the top and from the bottom
_MAX_CHARACTERS = 200_000  # a longer answer is not read but judged as it is

# At the left margin: one inside a heredoc of a module is documentation.
_FENCE = re.compile(
    r"^ ?(?P<fence>`{3,}|~{3,})[ \t]*(?:elixir|ex|exs)?[ \t]*\r?\n(?P<code>.*?)(?:^ ?(?P=fence)[ \t]*\r?$|\Z)",
    re.DOTALL | re.MULTILINE | re.IGNORECASE,
)
_OTHER_FENCE = re.compile(
    r"^ ?(?P<fence>`{3,}|~{3,})(?![ \t]*(?:elixir|ex|exs)?[ \t]*\r?$)[^\n]*\n.*?(?:^ ?(?P=fence)[ \t]*\r?$|\Z)",
    re.DOTALL | re.MULTILINE | re.IGNORECASE,
)
_ANY_DEFMODULE = re.compile(r"^[ \t]*(?:defmodule|defprotocol|defimpl)\b", re.MULTILINE)
_MODULE_HEAD = re.compile(r"^(?P<indent>[ \t]*)defmodule\b[^\n]*\bdo[ \t]*(?:#[^\n]*)?$", re.MULTILINE)
_LINE_WITH_END = re.compile(r"^[^\n]*\bend\b[^\n]*$", re.MULTILINE)
_BEGINS_WITH_A_MODULE = re.compile(r"(?:[ \t]*(?:#.*)?\n)*defmodule\b")
_BEFORE_A_MODULE = re.compile(r"[ \t]*(?:#.*|(?:alias|import|require)\b.*)?\r?")  # lines that belong to it


@dataclass(frozen=True)
class Assembled:
    """code: what is compiled. form: how the answer was read."""

    code: str
    form: Form


def assemble(problem: Problem, answer: str, toolchain: Toolchain) -> Assembled:
    """Read an answer, with the toolchain's parser and nothing else of it."""
    answer = _until_stop(answer.replace("\r\n", "\n"), problem.stop)
    texts = list(_texts(answer)) if len(answer) <= _MAX_CHARACTERS else []
    head = re.compile(rf"^defmodule[ \t(]+{re.escape(problem.module)}(?![\w.])", re.MULTILINE)
    readings: tuple[Callable[[str], Assembled | None], ...] = (
        lambda text: _whole(problem, text, toolchain) if _begins_with(head, text) else None,
        lambda text: _continued(problem, text, head, toolchain, is_block=text is not texts[0]),
        lambda text: _whole(problem, text, toolchain),
        lambda text: _renamed(problem, text, toolchain),
    )
    for read in readings:
        for text in texts:
            if assembled := read(text):
                return assembled
    return Assembled(problem.opening + answer, "unparsable")


def _until_stop(answer: str, stop: Iterable[str]) -> str:
    return answer[: min((at for text in stop if (at := answer.find(text)) >= 0), default=len(answer))]


def _texts(answer: str) -> Iterator[str]:
    yield answer
    blocks = [match["code"] for match in _FENCE.finditer(_OTHER_FENCE.sub("", answer))]
    yield from blocks
    if len(blocks) > 1:
        yield "\n".join(blocks)


def _begins_with(head: re.Pattern[str], text: str) -> bool:
    match = head.search(text)
    return match is not None and all(map(_BEFORE_A_MODULE.fullmatch, text[: match.start()].splitlines()))


def _whole(problem: Problem, text: str, toolchain: Toolchain) -> Assembled | None:
    for code, tree in _modules(text, toolchain):
        if problem.module in _module_names(tree):
            return Assembled(_above(problem, toolchain) + code, "module")
    return None


def _renamed(problem: Problem, text: str, toolchain: Toolchain) -> Assembled | None:
    for code, tree in _modules(text, toolchain):
        names = _module_names(tree, nested=False)
        if len(names) == 1 and (renamed := _with_name(code, tree, names[0], problem.module)) is not None:
            return Assembled(_above(problem, toolchain) + renamed, "renamed")
    return None


def _above(problem: Problem, toolchain: Toolchain) -> str:
    """What of the prompt stays above a module that the answer begins itself: all of it, or nothing where the prompt
    leaves something open, as that is what the answer writes anew."""
    is_closed = problem.kind == "continuation" and toolchain.parse(problem.prompt).ok
    return f"{problem.prompt}\n" if is_closed else ""


def _modules(text: str, toolchain: Toolchain) -> Iterator[tuple[str, Any]]:
    """The longest part of a text that begins with a module (and the comments and aliases right above it), ends with
    `end` and parses, with its tree; none where there is none."""
    first = _ANY_DEFMODULE.search(text)
    if first is None:
        return
    above = text[: first.start()].splitlines(keepends=True)
    while above and _BEFORE_A_MODULE.fullmatch(above[-1].rstrip("\n")):
        above.pop()
    start = sum(map(len, above))
    for end in [*_ends(text, first.start())[: -_MAX_ENDS - 1 : -1], len(text)]:
        if toolchain.parse(code := text[start:end]).ok:
            yield code, toolchain.ast(code).ast
            return


def _continued(
    problem: Problem, text: str, head: re.Pattern[str], toolchain: Toolchain, *, is_block: bool
) -> Assembled | None:
    opening = problem.opening
    if is_block and opening[-1:].strip():
        opening += "\n"
    if opening.endswith("\n") and _BEGINS_WITH_A_MODULE.match(text):
        return None
    again = head.search(text)  # the module once more is another answer, not a part of this one
    text = text[: again.start()] if again else text
    if toolchain.parse(opening).ok:  # nothing is open, so the module was the answer's to begin
        is_continued = again is None and toolchain.parse(opening + text).ok
        return Assembled(opening + text, "continuation") if is_continued else None
    for end in [*_ends(text)[:_MAX_ENDS], len(text)]:
        if toolchain.parse(code := opening + text[:end]).ok:
            return Assembled(code, "continuation")
    line_ends = [*(match.start() for match in re.finditer("\n", text)), len(text)]
    for end in line_ends[: -_MAX_ENDS - 1 : -1]:
        for number in range(1, _num_open_modules(opening) + 1):
            if toolchain.parse(code := opening + text[:end] + "\n" + "end\n" * number).ok:
                return Assembled(code, "continuation")
    return None


def _ends(text: str, start: int = 0) -> list[int]:
    """The ends of the lines of text[start:] that have an `end`."""
    return [match.end() for match in _LINE_WITH_END.finditer(text, start)]


def _num_open_modules(opening: str) -> int:
    heads = _MODULE_HEAD.finditer(opening)
    return sum(not re.compile(rf"^{head['indent']}end\b", re.MULTILINE).search(opening, head.end()) for head in heads)


# ---------------------------------------------------------------------------------------------------------------- trees


def _module_names(tree: Any, inside: str = "", *, nested: bool = True) -> list[str]:
    """Full names of the modules that a tree defines under names written out."""
    names = []
    for statement in _statements(tree):
        match statement:
            case (Atom("defmodule"), _, [(Atom("__aliases__"), _, parts), *blocks]) if _is_name(parts):
                name = ".".join([inside, *parts] if inside else parts)
                names.append(name)
                if nested and blocks and isinstance(blocks[0], list):
                    for block in blocks[0]:
                        names += _module_names(block[1], name) if isinstance(block, tuple) and len(block) == 2 else []
    return names


def _statements(tree: Any) -> list[Any]:
    match tree:
        case (Atom("__block__"), _, list(statements)):
            return statements
    return [tree]


def _is_name(parts: Any) -> bool:
    return isinstance(parts, list) and bool(parts) and all(isinstance(part, Atom) for part in parts)


def _with_name(code: str, tree: Any, old: str, new: str) -> str | None:
    """The code with another name for a module wherever that is written, but not in texts and comments."""
    places = set()
    old_parts = old.split(".")
    for node in nodes_of(tree):
        match node:
            case (Atom("__aliases__"), list(metadata), list(parts)) if parts[: len(old_parts)] == old_parts:
                place = {str(name): value for name, value in metadata}
                places.add((place.get("line"), place.get("column")))
    lines = code.split("\n")
    for line, column in sorted(places, reverse=True, key=lambda place: (place[0] or 0, place[1] or 0)):
        if line is None or column is None:
            return None
        text = lines[line - 1]
        if not text.startswith(old, column - 1):  # written as `Old . Name`, or shortened by an alias
            return None
        lines[line - 1] = text[: column - 1] + new + text[column - 1 + len(old) :]
    return "\n".join(lines)
