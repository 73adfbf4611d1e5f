"""Elixir text cut into tokens, into pieces such as functions and patterns, and into mutants of one token.

Made for measuring a grammar, so it must not know the grammar: tokens come from one regular expression, pieces from the
indentation that the formatter gives. What is cut wrongly is no harm: whoever measures asks Elixir about every piece.
"""

from __future__ import annotations

import random
import re
import textwrap
from collections.abc import Iterator
from typing import NamedTuple


class Token(NamedTuple):
    kind: str
    text: str
    at: int  # characters from the start


KEYWORDS = frozenset("do end fn else rescue catch after when and or not in".split())
DELIMITERS = ["(", ")", "[", "]", "{", "}", "%{", "<<", ">>", ",", ";"]
OPERATORS = (
    "+ - * / = == != === !== < > <= >= && || ! ++ -- <> |> | :: -> <- => .. . & ^ @ ~> \\\\ =~ ** // &&& ||| <<< >>>"
).split()
SAMPLES = {  # a token of each kind, for the places where another kind stands
    "word": "value",
    "alias": "Enum",
    "number": "42",
    "atom": ":ok",
    "key": "key:",
    "text": '"text"',
    "char": "?a",
    "newline": "\n",
    "keyword": "end",
    "delimiter": ")",
    "operator": "|>",
}

_QUOTES = {"(": ")", "[": "]", "{": "}", "<": ">"}
_TOKEN = re.compile(
    r"""(?P<comment>\#[^\n]*)
      | (?P<newline>\n)
      | (?P<blank>[ \t\r]+)
      | (?P<quoted>~[a-zA-Z]+(?:\"{3}|'{3}|["'/|(\[{<])|:?(?:\"{3}|'{3}|["']))
      | (?P<char>\?(?:\\.|[^\s\\]))
      | (?P<number>0x[0-9a-fA-F_]+|0b[01_]+|0o[0-7_]+|\d[\d_]*(?:\.\d[\d_]*(?:[eE][+-]?\d+)?)?)
      | (?P<key>[^\W\d]\w*[?!]?:(?=\s))
      | (?P<atom>:(?:[^\W\d][\w@]*[?!]?|[+\-*/=<>!&|.^~@%{}]+))
      | (?P<alias>[A-Z]\w*)
      | (?P<word>[^\W\d]\w*[?!]?)
      | (?P<delimiter>%\{|<<|>>|[()\[\]{},;])
      | (?P<operator>\|\|\||&&&|<<<|>>>|\^\^\^|===|!==|\+\+\+|---|\.\.\.|<~>|~>>|<<~|<\|>|~~~
          |\|>|\|\||&&|==|!=|<=|>=|=~|\+\+|--|<>|::|->|<-|=>|\.\.|~>|<~|\\\\|\*\*|//|[+\-*/=<>!|&^@.%:~?$\\`])
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)


def tokens_of(text: str) -> list[Token]:
    """Every token of a text in its order, blanks left out.

    A string with `#{` is a token up to there, then the tokens inside, then one from `}` on, as Elixir's tokenizer sees
    it.
    """
    tokens: list[Token] = []
    at, quotes = 0, [""]  # of each open `{`: the quotes to go on with behind its `}`, or "" for a plain one
    while at < len(text):
        if text[at] == "}" and len(quotes) > 1 and (quote := quotes.pop()):
            end, is_open = _quoted_end(text, at + 1, quote)
            kind = "text"
        else:
            match = _TOKEN.match(text, at)
            assert match and match.lastgroup  # `other` takes whatever is left
            kind, end, is_open, quote = match.lastgroup, match.end(), False, ""
            if kind == "quoted":
                kind = "text"
                quote = _closing(match[0])
                end, is_open = _quoted_end(text, end, quote)
            elif match[0] in ("{", "%{"):
                quotes.append("")
            elif kind == "word" and match[0] in KEYWORDS:
                kind = "keyword"
        if is_open:
            quotes.append(quote)
        if kind != "blank":
            tokens.append(Token(kind, text[at:end], at))
        at = end
    return tokens


def _closing(opening: str) -> str:
    """What ends a quoted text that starts so: the delimiter, with "~" before it where nothing is filled in."""
    delimiter = re.sub(r"^[~:][a-zA-Z]*", "", opening)
    is_raw = opening.startswith("~") and opening[1].isupper()
    return ("~" if is_raw else "") + _QUOTES.get(delimiter, delimiter)


def _quoted_end(text: str, at: int, quote: str) -> tuple[int, bool]:
    """Where the quoted text that goes on at `at` stops, and whether that is at a `#{`."""
    is_raw, delimiter = quote.startswith("~") and len(quote) > 1, quote.lstrip("~")
    stop = re.compile(rf"\\.|{re.escape(delimiter)}" + ("" if is_raw else r"|\#\{"), re.DOTALL)
    while match := stop.search(text, at):
        if not match[0].startswith("\\"):
            modifiers = re.compile("[a-zA-Z]*" if match[0] == delimiter and delimiter not in "\"'" else "")
            end = modifiers.match(text, match.end())
            assert end
            return end.end(), match[0] == "#{"
        at = match.end()
    return len(text), False


# Pieces. A block is a line and the deeper lines below it, with what closes it at its own depth.

_CLOSES = re.compile(r" *(?:end\b|else\b|rescue\b|catch\b|after\b|[\])}]|>>)")
_DEFINITION = re.compile(r" *(?:def|defp|defmacro|defmacrop)\s+\(?([\w?!]+)")
_OF_DEFINITION = re.compile(r" *(?:@(?:doc|spec|impl|since|deprecated|dialyzer|compile)\b|#)")
_DEEPEST = 10**6


class Lines:
    """A text by lines, with how far each is indented; deepest is what a string of several lines goes on in."""

    def __init__(self, text: str):
        self.lines = text.split("\n")
        self.depths = [len(line) - len(line.lstrip(" ")) if line.strip() else _DEEPEST for line in self.lines]
        for token in tokens_of(text):
            if token.kind == "text" and "\n" in token.text:
                first = text.count("\n", 0, token.at) + 1
                for at in range(first, first + token.text.count("\n")):
                    self.depths[at] = _DEEPEST

    def block_end(self, first: int) -> int:
        """The line behind the block that starts at line `first`."""
        depth, last = self.depths[first], first
        for at in range(first + 1, len(self.lines)):
            closes = self.depths[at] == depth and _CLOSES.match(self.lines[at])
            if self.depths[at] <= depth and not closes:
                break
            if self.lines[at].strip():
                last = at
            if closes and self.lines[at].strip() == "end":
                break
        return last + 1

    def between(self, first: int, behind: int) -> str:
        return textwrap.dedent("\n".join(self.lines[first:behind])).strip("\n") + "\n"


def functions(text: str) -> Iterator[str]:
    """Definitions of one name that stand together, with the attributes and comments before them."""
    code = Lines(text)
    at, first, name, behind = 0, 0, "", 0  # of the group being read: its first line, its name, the line behind it
    while at < len(code.lines):
        if code.depths[at] == _DEEPEST:
            at += 1
            continue
        line, end = code.lines[at], code.block_end(at)
        definition = _DEFINITION.match(line)
        is_same_depth = behind and code.depths[first] == code.depths[at]
        if not (
            is_same_depth and (name in ("", definition[1]) if definition else _OF_DEFINITION.match(line) and not name)
        ):
            if name:
                yield code.between(first, behind)
            first, name, behind = at, "", 0
        if definition:
            name, behind = definition[1], end
        elif _OF_DEFINITION.match(line):
            behind = end
        else:
            end = at + 1  # into this block: it may hold definitions
        at = end
    if name:
        yield code.between(first, behind)


def module_bodies(text: str) -> Iterator[str]:
    """What stands between the `do` and the `end` of each `defmodule`."""
    yield from _bodies(text, re.compile(r" *defmodule .*\bdo$"))


def expressions(text: str) -> Iterator[str]:
    """Bodies of definitions and tests."""
    for body in _bodies(text, re.compile(r" *(?:def|defp|defmacro|defmacrop|test|setup)\b.*\bdo$")):
        if not re.search(r"^(?:rescue|catch|else|after)$", body, re.MULTILINE):
            yield body


def _bodies(text: str, opening: re.Pattern[str]) -> Iterator[str]:
    code = Lines(text)
    for at, line in enumerate(code.lines):
        if code.depths[at] < _DEEPEST and opening.match(line):
            end = code.block_end(at)
            if code.lines[end - 1].strip() == "end" and end - 1 > at + 1:
                yield code.between(at + 1, end - 1)


def typespecs(text: str) -> Iterator[str]:
    """What stands to the right of `::` in types, and of the last `::` in the first line of specifications."""
    code = Lines(text)
    opening = re.compile(r" *@(?:(?:type|typep|opaque) [^:]+|(?:spec|callback|macrocallback) .*\)) ::(?= |$)")
    for at, line in enumerate(code.lines):
        if code.depths[at] < _DEEPEST and (match := opening.match(line)):
            rest = "\n".join([line[match.end() :], *code.lines[at + 1 : code.block_end(at)]])
            yield rest.strip()


def patterns(text: str) -> Iterator[str]:
    """What stands to the left of `->` in `fn` and in blocks, without those of `cond`, with its guard."""
    tokens = tokens_of(text)
    starts: list[tuple[str, int]] = [("", 0)]  # of each open block or bracket: what opened it, where a clause may start
    before = Token("newline", "\n", 0)
    for at, token in enumerate(tokens):
        end = token.at + len(token.text)
        following = tokens[at + 1].text if at + 1 < len(tokens) else ""
        match token.text:
            case "(" | "[" | "{" | "%{" | "<<" | "fn":
                starts.append((token.text, end))
            case "do":
                starts.append(("cond" if before.text == "cond" else "do", end))
            case ")" | "]" | "}" | ">>" | "end" if len(starts) > 1:
                starts.pop()
            case "after":  # a number of milliseconds
                starts[-1] = ("cond", end)
            case "else" | "rescue" | "catch" | "\n" | ";" if following != "when":
                starts[-1] = (starts[-1][0], end)
            case _ if token.kind == "comment":
                starts[-1] = (starts[-1][0], end)
            case "->":
                opener, start = starts[-1]
                pattern = text[start : token.at].strip()
                if opener in ("fn", "do") and pattern and "," not in _outside_brackets(pattern):
                    yield pattern
                starts[-1] = (opener, end)
            case _ if token.kind == "text" and token.text.endswith("#{"):
                if not token.text.startswith("}"):
                    starts.append(("#{", end))
            case _ if token.kind == "text" and token.text.startswith("}") and len(starts) > 1:
                starts.pop()
        before = token


def _outside_brackets(text: str) -> set[str]:
    depth, outside = 0, set()
    for token in tokens_of(text):
        depth -= token.text in (")", "]", "}", ">>")
        if depth == 0:
            outside.add(token.text)
        depth += token.text in ("(", "[", "{", "%{", "<<")
    return outside


PIECES = {
    "module_body": module_bodies,
    "function": functions,
    "expression": expressions,
    "pattern": patterns,
    "typespec": typespecs,
}


# Mutants


def mutants(text: str, count: int, chance: random.Random) -> Iterator[tuple[str, str]]:
    """Up to `count` different texts that are one token away, each with the way it was made."""
    tokens = [token for token in tokens_of(text) if token.kind != "comment"]
    seen = {text}
    for _ in range(4 * count if tokens else 0):  # some come out the same
        way = chance.choice(list(_WAYS))
        mutant = _WAYS[way](text, tokens, chance.randrange(len(tokens)), chance)
        if mutant not in seen:
            seen.add(mutant)
            yield way, mutant
            if len(seen) > count:
                return


def _delete(text: str, tokens: list[Token], at: int, chance: random.Random) -> str:
    token = tokens[at]
    return text[: token.at] + text[token.at + len(token.text) :]


def _duplicate(text: str, tokens: list[Token], at: int, chance: random.Random) -> str:
    token = tokens[at]
    end = token.at + len(token.text)
    return text[:end] + chance.choice(["", " "]) + token.text + text[end:]


def _swap(text: str, tokens: list[Token], at: int, chance: random.Random) -> str:
    if at + 1 == len(tokens):
        return text
    one, two = tokens[at], tokens[at + 1]
    between = text[one.at + len(one.text) : two.at]
    return text[: one.at] + two.text + between + one.text + text[two.at + len(two.text) :]


def _replace(text: str, tokens: list[Token], at: int, chance: random.Random) -> str:
    token, other = tokens[at], chance.choice(tokens)
    if chance.random() < 0.5 or other.kind == token.kind:
        new = SAMPLES[chance.choice([kind for kind in SAMPLES if kind != token.kind])]
    else:
        new = other.text
    return text[: token.at] + new + text[token.at + len(token.text) :]


def _insert(text: str, tokens: list[Token], at: int, chance: random.Random) -> str:
    new = chance.choice(chance.choice([DELIMITERS, OPERATORS, sorted(KEYWORDS)]))
    new = chance.choice(["", " "]) + new + chance.choice(["", " "])
    place = tokens[at].at
    return text[:place] + new + text[place:]


_WAYS = {"delete": _delete, "duplicate": _duplicate, "swap": _swap, "replace": _replace, "insert": _insert}
