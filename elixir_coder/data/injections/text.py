"""Elixir text as rules see it: where strings and comments are, the blocks of `if` and `case`, and functions.

Only texts that `mix format` would leave as they are come here, so that indentation says where a block ends and one
statement stands on each line. Nothing is parsed: what a rule makes of a text is parsed, and judged, afterwards.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache

_HIDDEN = "\x01"  # stands for each character of a string or a comment: no word, no bracket, no space
_CLOSING = {"(": ")", "[": "]", "{": "}", "<": ">"}
_SIGIL = re.compile(r"~([a-z]|[A-Z]+)(\"\"\"|'''|[/|\"'(\[{<])")
_CHARACTER = re.compile(r"\?(\\.|[^\s\w]|\w(?!\w))")


@lru_cache(maxsize=64)  # the rules for a label look at the same piece one after the other
def masked(code: str) -> str:
    """The same text with what is inside of strings, sigils and comments hidden; newlines and delimiters stay."""
    out: list[str] = []
    position = 0
    while position < len(code):
        character = code[position]
        sigil = _SIGIL.match(code, position) if character == "~" else None
        if character == "#":
            end = code.find("\n", position)
            end = len(code) if end < 0 else end
            out.append("#" + _HIDDEN * (end - position - 1))
        elif sigil:
            opening = sigil[2]
            end = _string_end(code, sigil.end(), _CLOSING.get(opening, opening), sigil[1].islower())
            out.append(sigil[0] + _hide(code[sigil.end() : end]))
        elif character in "\"'":
            delimiter = character * 3 if code.startswith(character * 3, position) else character
            end = _string_end(code, position + len(delimiter), delimiter, True)
            out.append(delimiter + _hide(code[position + len(delimiter) : end]))
        elif character == "?" and (found := _CHARACTER.match(code, position)) and not _is_word(code, position - 1):
            end = found.end()
            out.append("?" + _HIDDEN * (end - position - 1))
        else:
            end = position + 1
            out.append(character)
        position = end
    return "".join(out)


def _is_word(code: str, position: int) -> bool:
    return position >= 0 and (code[position].isalnum() or code[position] == "_")


def _string_end(code: str, position: int, delimiter: str, interpolates: bool) -> int:
    """Where the closing delimiter begins."""
    while position < len(code) and not code.startswith(delimiter, position):
        if code[position] == "\\":
            position += 2
        elif interpolates and code.startswith("#{", position):
            depth, position = 1, position + 2
            while position < len(code) and depth:
                if code[position] == '"':
                    position = _string_end(code, position + 1, '"', True)
                depth += {"{": 1, "}": -1}.get(code[position : position + 1], 0)
                position += 1
        else:
            position += 1
    # The delimiter itself stays visible, and is passed over as a string of its own would be.
    return min(position + len(delimiter), len(code))


def _hide(text: str) -> str:
    return re.sub(r"[^\n]", _HIDDEN, text)


@dataclass(frozen=True)
class Branch:
    """`if` or `unless`: line numbers from 0. condition: its text. first: the lines of `do`; second: those of `else`."""

    word: str
    start: int
    end: int
    indent: str
    condition: str
    first: tuple[str, ...]
    second: tuple[str, ...]


@dataclass(frozen=True)
class Case:
    """`case` with its clauses: (pattern, lines of the body, without indentation of their own)."""

    start: int
    end: int
    indent: str
    subject: str
    clauses: tuple[tuple[str, tuple[str, ...]], ...]


@dataclass(frozen=True)
class With:
    """`with`: the texts of its clauses, the lines of `do` and of `else`."""

    start: int
    end: int
    indent: str
    clauses: tuple[str, ...]
    body: tuple[str, ...]
    otherwise: tuple[str, ...]


@dataclass(frozen=True)
class Definition:
    """One clause of a function. start, end: its lines, from 0, end included. body: the first and the last line of what
    stands between `do` and `end`, None for one on a line. params: the text of each parameter."""

    kind: str
    name: str
    params: tuple[str, ...]
    guard: str
    start: int
    end: int
    body: tuple[int, int] | None
    indent: str

    @property
    def variables(self) -> tuple[str, ...]:
        """Parameters that are plain names, or bind one to the whole of a pattern."""
        names = []
        for text in self.params:
            if found := re.fullmatch(r"(?:.*\s=\s)?([a-z]\w*)(?:\s\\\\.*)?", text, re.DOTALL):
                names.append(found[1])
        return tuple(names)


class Text:
    """A text, line by line. Lines are counted from 0 here."""

    def __init__(self, code: str):
        self.code = code

    @cached_property
    def masked(self) -> str:
        return masked(self.code)

    @cached_property
    def lines(self) -> list[str]:
        return self.code.split("\n")

    @cached_property
    def bare(self) -> list[str]:
        """The masked lines; those inside of a heredoc begin with no space."""
        return self.masked.split("\n")

    def find(self, pattern: str) -> Iterator[re.Match[str]]:
        """Matches in what is neither string nor comment."""
        return re.finditer(pattern, self.masked, re.MULTILINE)

    def replaced(self, start: int, end: int, by: str) -> str:
        return self.code[:start] + by + self.code[end:]

    def with_lines(self, start: int, end: int, by: list[str]) -> str:
        """With these lines in the place of lines start to end, end included; end below start inserts before start."""
        return "\n".join([*self.lines[:start], *by, *self.lines[end + 1 :]])

    def indent(self, line: int) -> str:
        return re.match(" *", self.bare[line])[0]  # type: ignore[index]

    def block_end(self, start: int, indent: str) -> int | None:
        """The line of the `end` that belongs to a block whose first line stands at this indentation."""
        for number in range(start + 1, len(self.bare)):
            line = self.bare[number]
            if line.startswith(indent + "end") and not re.match(r"\w", line[len(indent) + 3 :]):
                return number
            if line.strip() and not line.startswith((indent + " ", _HIDDEN)) and not _continues(line, indent):
                return None
        return None

    @cached_property
    def branches(self) -> list[Branch]:
        found = []
        for number, line in enumerate(self.bare):
            head = re.match(r"( *)(if|unless) (.+) do$", line)
            if not head:
                continue
            indent = head[1]
            end = self.block_end(number, indent)
            if end is None or self.bare[end] != indent + "end":
                continue
            middle = [n for n in range(number + 1, end) if self.bare[n] == indent + "else"]
            cut = middle[0] if middle else end
            condition = self.lines[number][head.start(3) : head.end(3)]
            first, second = self.lines[number + 1 : cut], self.lines[cut + 1 : end]
            found.append(Branch(head[2], number, end, indent, condition, tuple(first), tuple(second)))
        return found

    @cached_property
    def cases(self) -> list[Case]:
        found = []
        for number, line in enumerate(self.bare):
            head = re.match(r"( *)case (.+) do$", line)
            if not head or (end := self.block_end(number, head[1])) is None or self.bare[end] != head[1] + "end":
                continue
            clauses = self._clauses(number + 1, end, head[1] + "  ")
            if clauses:
                subject = self.lines[number][head.start(2) : head.end(2)]
                found.append(Case(number, end, head[1], subject, clauses))
        return found

    def _clauses(self, start: int, end: int, indent: str) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Clauses with an arrow, each head on one line; () where it is otherwise."""
        clauses: list[tuple[str, list[str]]] = []
        for number in range(start, end):
            bare, line = self.bare[number], self.lines[number]
            if bare.startswith(indent) and bare[len(indent) : len(indent) + 1] not in (" ", ""):
                arrow = re.match(rf"{indent}(\S.*?) ->(?: (\S.*))?$", bare)
                if arrow:
                    body = [line[arrow.start(2) :]] if arrow[2] else []
                    clauses.append((line[arrow.start(1) : arrow.end(1)], body))
                    continue
                return ()
            if not clauses:
                return ()
            clauses[-1][1].append(line[len(indent) + 2 :] if bare.startswith(indent + "  ") else line)
        trimmed = ((head, tuple(_without_edges(body))) for head, body in clauses)
        return tuple(trimmed)

    @cached_property
    def withs(self) -> list[With]:
        found = []
        for number, line in enumerate(self.bare):
            head = re.match(r"( *)with (.+?)(,| do)$", line)
            if not head or (end := self.block_end(number, head[1])) is None:
                continue
            indent, at = head[1], number
            clauses = [self.lines[number][head.start(2) : head.end(2)]]
            while self.bare[at].endswith(","):
                at += 1
                more = re.match(rf"{indent}     (\S.*?)(,| do)$", self.bare[at])
                if not more:
                    break
                clauses.append(self.lines[at][more.start(1) : more.end(1)])
            if not self.bare[at].endswith(" do"):
                continue
            middle = [n for n in range(at + 1, end) if self.bare[n] == indent + "else"]
            cut = middle[0] if middle else end
            body, rest = self.lines[at + 1 : cut], self.lines[cut + 1 : end]
            found.append(With(number, end, indent, tuple(clauses), tuple(body), tuple(rest)))
        return found

    @cached_property
    def definitions(self) -> list[Definition]:
        found = []
        for match in self.find(r"^( *)(def|defp|defmacro|defmacrop) ([a-z_]\w*[?!]?)"):
            definition = self._definition(match)
            if definition:
                found.append(definition)
        return found

    def _definition(self, match: re.Match[str]) -> Definition | None:
        indent, kind, name = match[1], match[2], match[3]
        start = self.masked.count("\n", 0, match.start())
        position = match.end()
        params: tuple[str, ...] = ()
        if self.masked.startswith("(", position):
            close = closing(self.masked, position)
            if close is None:
                return None
            params = tuple(
                self.code[a:b].strip() for a, b in parts(self.masked, position + 1, close) if self.code[a:b].strip()
            )
            position = close + 1
        guard = re.compile(r"\s+when\s+((?:.|\n)*?)(?=,\s+do:|\s+do$)", re.MULTILINE).match(self.masked, position)
        text = self.code[guard.start(1) : guard.end(1)] if guard else ""
        position = guard.end() if guard else position
        if re.compile(r"\s+do$", re.MULTILINE).match(self.masked, position):
            head_end = self.masked.count("\n", 0, self.masked.find("do", position))
            end = self.block_end(head_end, indent)
            if end is None or self.bare[end] != indent + "end":
                return None
            inside = [n for n in range(head_end + 1, end) if self.bare[n] in (indent + "rescue", indent + "after",
                      indent + "catch", indent + "else")]  # fmt: skip
            last = (inside[0] if inside else end) - 1
            body = (head_end + 1, last) if last > head_end else None
            return Definition(kind, name, params, text, start, end, body, indent)
        if re.compile(r",\s+do: ").match(self.masked, position):
            end = start + self.masked[match.start() : position].count("\n")
            while end + 1 < len(self.bare) and self.bare[end + 1].startswith((indent + " ", _HIDDEN)):
                end += 1
            return Definition(kind, name, params, text, start, end, None, indent)
        return None

    def statements(self, definition: Definition) -> list[int]:
        """The lines of a body at which a statement begins."""
        if definition.body is None:
            return []
        first, last = definition.body
        indent = definition.indent + "  "
        begins = []
        for number in range(first, last + 1):
            line = self.bare[number]
            is_here = line.startswith(indent) and line[len(indent) : len(indent) + 1] not in (" ", "", "#")
            if is_here and not _continues(line, indent):
                begins.append(number)
        return begins


def _continues(line: str, indent: str) -> bool:
    """Whether a line at this indentation goes on with what the line before began."""
    rest = line[len(indent) :] if line.startswith(indent) else line
    return bool(re.match(r"(\)|\]|\}|\"\"\"|'''|end\b|else\b|rescue\b|catch\b|after\b|\|>|\|\||&&|<>|\+\+)", rest))


def _without_edges(lines: list[str]) -> list[str]:
    while lines and not lines[-1].strip():
        lines = lines[:-1]
    return lines


def closing(bare: str, position: int) -> int | None:
    """Where the bracket that opens at `position` is closed."""
    depth = 0
    for at in range(position, len(bare)):
        depth += (bare[at] in "([{") - (bare[at] in ")]}")
        if depth == 0:
            return at
    return None


def parts(bare: str, start: int, end: int) -> list[tuple[int, int]]:
    """The places of what stands between the commas of a list of arguments."""
    found, depth, since = [], 0, start
    for at in range(start, end):
        depth += (bare[at] in "([{") - (bare[at] in ")]}")
        if bare[at] == "," and depth == 0:
            found.append((since, at))
            since = at + 1
    return [*found, (since, end)]
