"""Elixir as its lexemes: what duplicates and overlaps are counted in, so that comments and layout do not matter.

    lexemes('x = "a  #{b}" # why')     ->  ['x', '=', '"', 'a', '#{', 'b', '}', '"']
    windows(lexemes(code), 5)          ->  one 64-bit number for each five lexemes that stand together

Strings are entered: their words are lexemes too, and what is interpolated is code. No text is refused; after the first
thing that is not Elixir the lexemes are merely the words and signs that stand there.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, NamedTuple

CODE, TEXT, COMMENT = "code", "text", "comment"

_CODE = re.compile(
    r"""
    (?P<space>\s+|\\\n)
    | (?P<comment>\#[^\n]*)
    | (?P<sigil>~(?:[a-z]|[A-Z][A-Z0-9]*)(?:\"{3}|'{3}|[/|"'(\[{<]))
    | (?P<quote>:?(?:\"{3}|'{3}|["']))
    | (?P<plain>
        \?(?:\\(?:x\{[0-9A-Fa-f]*\}|.)|[^\\\s])
        | :(?:[^\W\d]\w*[?!@]?|[-+*/<>=!&|.^~@%]+)
        | [^\W\d]\w*[?!]?
        | 0[xob][0-9A-Fa-f_]+ | \d(?:_?\d)*(?:\.\d(?:_?\d)*(?:[eE][-+]?\d+)?)?
        | <<<|>>>|\|\|\||&&&|===|!==|\+\+\+|---|\.\.\.|<~>|<<~|~>>|\^\^\^
        | \|>|<-|->|=>|==|!=|<=|>=|&&|\|\||<>|\+\+|--|::|\\\\|=~|\.\.|//|<<|>>|~>|<~|\*\*
        | .
      )
    """,
    re.VERBOSE | re.DOTALL,
)
_CLOSES = {"(": ")", "[": "]", "{": "}", "<": ">"}
_WORD = re.compile(r"\w+|[^\w\s]")


class Piece(NamedTuple):
    """A stretch of a text that is `CODE` (one lexeme), `TEXT` (of a string, with its spaces) or a `COMMENT`."""

    kind: str
    text: str
    start: int


class _String(NamedTuple):
    ends: str
    is_raw: bool  # an upper-case sigil: nothing is interpolated


def pieces(code: str) -> Iterator[Piece]:
    """The text in order, without the space between lexemes."""
    inside: list[_String | None] = []  # strings, and None for a brace in the code that one of them interpolates
    at = 0
    while at < len(code):
        string = inside[-1] if inside else None
        if string:
            body = _body(string)
            if match := body.match(code, at):
                if match.end() > at:
                    yield Piece(TEXT, match[0], at)
                at = match.end()
            if at >= len(code):
                return
            if not string.is_raw and code.startswith("#{", at):
                yield Piece(CODE, "#{", at)
                at += 2
                inside.append(None)
            else:
                end = _end(string).match(code, at)
                assert end, (string, code[at : at + 20])
                yield Piece(CODE, string.ends, at)
                at = end.end()
                inside.pop()
            continue
        match = _CODE.match(code, at)
        assert match  # a dot takes anything
        at = match.end()
        text = match[0]
        if match["space"]:
            continue
        if match["comment"]:
            yield Piece(COMMENT, text, match.start())
            continue
        yield Piece(CODE, text, match.start())
        if match["sigil"] or match["quote"]:
            opened = text[-3:] if text.endswith(('"""', "'''")) else text[-1]
            inside.append(_String(_CLOSES.get(opened, opened), text[0] == "~" and text[1].isupper()))
        elif inside and text == "{":
            inside.append(None)
        elif inside and text == "}":
            inside.pop()  # back into the string, or out of a brace in its code


def lexemes(code: str) -> list[str]:
    """What two texts have in common whatever their comments and layout: signs, names, numbers, words of strings."""
    found: list[str] = []
    for piece in pieces(code):
        if piece.kind == CODE:
            found.append(piece.text)
        elif piece.kind == TEXT:
            found += _WORD.findall(piece.text)
    return found


def windows(words: Sequence[str], size: int) -> Any:
    """A numpy array of 64-bit numbers, one for each `size` words in a row; for fewer words one number for all of them.

    The same words give the same numbers on every machine. For no words the array is empty.
    """
    import numpy

    if not words:
        return numpy.empty(0, dtype=numpy.uint64)
    size = min(size, len(words))
    numbers = numpy.fromiter(map(_number, words), dtype=numpy.uint64, count=len(words))
    found = numpy.full(len(words) - size + 1, size, dtype=numpy.uint64)
    for offset in range(size):
        found = found * numpy.uint64(0x9E3779B97F4A7C15) + numbers[offset : offset + len(found)]
    # The last steps of splitmix64: without them, windows that differ in one word differ by a multiple of a constant.
    found = (found ^ (found >> numpy.uint64(30))) * numpy.uint64(0xBF58476D1CE4E5B9)
    found = (found ^ (found >> numpy.uint64(27))) * numpy.uint64(0x94D049BB133111EB)
    return found ^ (found >> numpy.uint64(31))


def digest(words: Sequence[str]) -> bytes:
    """16 bytes that are the same for the same words only."""
    return hashlib.blake2b("\0".join(words).encode(errors="surrogatepass"), digest_size=16).digest()


@lru_cache(maxsize=100_000)
def _number(word: str) -> int:
    return int.from_bytes(hashlib.blake2b(word.encode(errors="surrogatepass"), digest_size=8).digest(), "little")


@lru_cache(maxsize=64)
def _body(string: _String) -> re.Pattern[str]:
    """Matches the text of a string up to its end or an interpolation."""
    quote = re.escape(string.ends[0])
    hash_sign = "" if string.is_raw else "#"
    if len(string.ends) == 1:
        parts = [rf"[^{quote}\\{hash_sign}]++", r"\\."]
    else:  # the end of a heredoc stands first in its line; elsewhere it is text
        parts = [rf"[^\\\n{hash_sign}]++", r"\\[^\n]", rf"\\?\n(?![^\S\n]*{string.ends})"]
    if hash_sign:
        parts.append(r"\#(?!\{)")
    return re.compile(rf"(?:{'|'.join(parts)})*(?:\\\Z)?", re.DOTALL)


@lru_cache(maxsize=64)
def _end(string: _String) -> re.Pattern[str]:
    return re.compile(rf"\\?\n[^\S\n]*{string.ends}" if len(string.ends) == 3 else re.escape(string.ends))
