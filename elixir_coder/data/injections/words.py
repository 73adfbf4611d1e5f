"""Names for what is written into a piece: drawn from the words of the code that stands there, so that they fit it."""

from __future__ import annotations

import re
from random import Random

from elixir_coder.data.injections.rule import Piece
from elixir_coder.data.injections.text import masked

# Used where a piece has too few words of its own.
_COMMON = tuple(
    "entry record event message token item user order account ticket report page session task job node field value "
    "row option result segment header product invoice comment label group member attempt version source target".split()
)
_NO_NOUNS = frozenset(
    "def defp end do fn when true false nil and or not in is the for with case cond else if unless raise rescue after "
    "catch import alias require use quote unquote module defmodule moduledoc doc spec impl elixir opts args list lists "
    "map maps string integer atom binary enum keyword stream acc rest head tail var vars get put set new has ok error "
    "from into that this then return returns given any term atoms struct file exs test tests assert refute describe "
    "can must may does each non self pid ref key keys kernel macro env type types callback behaviour since since fun "
    "defmacro defmacrop defguard defguardp defstruct defimpl defprotocol defexception "
    "defdelegate defoverridable otherwise until via gets takes given when where why how each "
    "both such other others same next prev old function functions to_string inspect length "
    "size count first last erlang io code true tuple number boolean float "
    "charlist regex task agent system path process access mix add all one two its are was will "
    "not use used using".split()
)
_VERBS = "collect select prepare gather summarize list pick read load find fetch build describe report check".split()
_FIELDS = "name status price score kind amount level weight owner title state rank total label code position".split()


class Words:
    """What templates are filled with; every lookup of one object gives the same."""

    def __init__(self, piece: Piece, random: Random):
        nouns = nouns_of(piece.code)
        item, other, third = draw(random, nouns, 3)
        field, field2, field3, field4 = random.sample(_FIELDS, 4)
        self.names = {
            "item": item,
            "items": plural(item),
            "other": other,
            "others": plural(other),
            "third": third,
            "thirds": plural(third),
            "Item": camel(item),
            "Other": camel(other),
            "Third": camel(third),
            "field": field,
            "field2": field2,
            "field3": field3,
            "field4": field4,
            "verb": random.choice(_VERBS),
            "n": str(random.choice((2, 3, 5, 7, 8, 10, 12, 15, 18, 20, 24, 25, 30, 50, 60, 64, 100))),
            "m": str(random.randint(2, 9)),
            "big": str(
                random.choice((10, 12, 15, 20, 25, 36, 45, 60, 64, 72, 90, 128, 256, 500, 864))
                * 1000
                * random.choice((1, 1, 10, 100))
                + random.choice((0, 0, 0, 1, 250, 512))
            ),
            "module": piece.module or "Sample",
            "last": (piece.module or "Sample").rpartition(".")[2],
            "root": (piece.module or "Sample").partition(".")[0],
            "app": snake((piece.module or "Sample").partition(".")[0]),
        }

    def __getitem__(self, name: str) -> str:
        return self.names[name]


def nouns_of(code: str) -> list[str]:
    """Words of the names in a text, in the order in which they first stand there: of a variable or a function the
    last word, of a module those of its first part."""
    words: dict[str, None] = {}
    for name in re.findall(r"(?<![\w.:@&])[A-Za-z]\w+(?![\w(]|: )|(?<![\w.])[a-z]+(?:_[a-z]+)+(?=\()", masked(code)):
        found = re.findall(r"[A-Z][a-z]+", name) if name[0].isupper() else re.findall(r"[a-z]+", name)[-1:]
        for word in (each.lower() for each in found):
            if 3 <= len(word) <= 12 and word not in _NO_NOUNS:
                words[word] = None
    return [word for word in words if not word.endswith(("ing", "ed", "ly", "ss", "us"))][:40]


def draw(random: Random, nouns: list[str], count: int) -> list[str]:
    """Different singular nouns, with common ones where there are too few."""
    own = list(dict.fromkeys(singular(word) for word in nouns))
    chosen = random.sample(own, min(count, len(own)))
    more = [word for word in _COMMON if word not in chosen]
    return chosen + random.sample(more, count - len(chosen))


def plural(word: str) -> str:
    if word.endswith(("s", "x", "ch", "sh")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def singular(word: str) -> str:
    if word.endswith("ies") and len(word) > 4:
        return word[:-3] + "y"
    if word.endswith(("ches", "shes", "xes", "sses")):
        return word[:-2]
    return word[:-1] if word.endswith("s") and len(word) > 4 else word


def camel(name: str) -> str:
    """CamelCase of a snake_case name."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def snake(name: str) -> str:
    """snake_case of a CamelCase name."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def lower_camel(name: str) -> str:
    """camelCase of a snake_case name; the same where it has one word."""
    first, *rest = name.split("_")
    return first + "".join(part[:1].upper() + part[1:] for part in rest)
