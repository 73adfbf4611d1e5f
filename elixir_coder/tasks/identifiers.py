"""Names in code: which tokens belong to one, and what a name was that was hidden everywhere.

tag_identifiers
    source  <code> code </s>          tags  1 for a token that has a character of an identifier, 0 for any other
    metric  average_precision
mask_identifiers
    source  <code> def <extra_id_0>(<extra_id_1>), do: <extra_id_1> + 1 </s>
    target  <extra_id_0> next <extra_id_1> number </s>
    metric  token_accuracy

Identifiers are variables, functions, fields behind a dot, modules and attributes, each part of `Shop.Cart` for itself:
what Elixir's own tokenizer calls identifier or alias, without the words of the language (`def`, `case`, `@doc`, `_`).
Atoms and keys of keyword lists are none. Our tokens may hold several words and signs; one such word makes the tag 1.

Hidden are variables and the functions that the text defines, since only for these the text has every place: each name
has one sentinel, in the order in which names first appear. A field, key or word of a comment of the same name stays.

Method: CodeT5, Wang et al. 2021, section 3.2, https://arxiv.org/abs/2109.00859
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np

from elixir_coder.data.lexemes import CODE, TEXT, Piece, pieces
from elixir_coder.example import Example
from elixir_coder.tasks.row import UNKNOWN, Row, Setup
from tokenization_elixir_coder import ATTRIBUTES, KEYWORDS

_NAME = re.compile(r"[^\W\d]\w*[?!]?")
_OF_THE_LANGUAGE = frozenset([*KEYWORDS, "_"])
_OWN_ATTRIBUTES = frozenset(attribute.removeprefix("@") for attribute in ATTRIBUTES)
_DEFINES = frozenset("def defp defmacro defmacrop defguard defguardp defdelegate".split())
_ELSEWHERE = frozenset([".", "@"])  # what stands behind these is no variable, and no function of the text


class Identifier(NamedTuple):
    """A name where it stands: characters [start, end). before: the lexeme of code in front of it, "" for none."""

    text: str
    start: int
    end: int
    before: str


class Encoded(NamedTuple):
    """Tokens of a text. starts, ends: (length,) int64, the characters that each is made of."""

    ids: np.ndarray
    starts: np.ndarray
    ends: np.ndarray

    def crop(self, length: int, rng: np.random.Generator) -> Encoded:
        """At most `length` tokens that stand together, from anywhere."""
        first = int(rng.integers(max(len(self.ids) - length, 0) + 1))
        return self.between(first, first + length)

    def between(self, first: int, end: int) -> Encoded:
        return Encoded(*(part[max(first, 0) : end] for part in self))

    def spanned(self, start: int, end: int) -> tuple[int, int]:
        """The tokens [first, last + 1) that have a character of [start, end)."""
        return int(np.searchsorted(self.ends, start, side="right")), int(np.searchsorted(self.starts, end))


def encode(setup: Setup, text: str) -> Encoded:
    """The tokens of a text that others wrote, as `Setup.ids`, with their places."""
    encoding = setup.tokenizer(
        text, add_special_tokens=False, split_special_tokens=True, return_offsets_mapping=True, verbose=False
    )
    places = np.asarray(encoding["offset_mapping"], dtype=np.int64).reshape(-1, 2)
    return Encoded(np.asarray(encoding["input_ids"], dtype=np.int64), places[:, 0], places[:, 1])


def encode_all(setup: Setup, texts: Sequence[str]) -> list[list[int]]:
    """`Setup.ids` of each text: one call, which takes a fraction of the time of many."""
    if not texts:
        return []
    ids: list[list[int]] = setup.tokenizer(
        list(texts), add_special_tokens=False, split_special_tokens=True, verbose=False
    )["input_ids"]
    return ids


def identifiers(code: str) -> Iterator[Identifier]:
    """Every identifier of a text, in order; see the top of this file for what is one."""
    before, last, last_but_one = "", Piece(CODE, "", 0), Piece(CODE, "", 0)
    for piece in pieces(code):
        if piece.kind == CODE:
            if _NAME.fullmatch(piece.text) and not _is_modifier(piece, last, last_but_one):
                end = piece.start + len(piece.text)
                is_key = code.startswith(":", end) and not code.startswith("::", end)
                if not is_key and not _is_of_the_language(piece.text, before):
                    yield Identifier(piece.text, piece.start, end, before)
            before = piece.text
        last_but_one, last = last, piece


def _is_of_the_language(word: str, before: str) -> bool:
    if before == "@":
        return word in _OWN_ATTRIBUTES
    return before != "." and word in _OF_THE_LANGUAGE


def _is_modifier(piece: Piece, last: Piece, last_but_one: Piece) -> bool:
    """Whether a word is the `i` of `~r/x/i`: it touches what closes a string, which nothing else does."""
    closes = last_but_one.kind == TEXT or last_but_one.text == "}" or last_but_one.text.startswith("~")
    touches = last.start + len(last.text) == piece.start
    return touches and closes and last.text in ("/", "|", '"', "'", ")", "]", "}", ">", '"""', "'''")


@dataclass(frozen=True)
class TagIdentifiers:
    name: ClassVar[str] = "tag_identifiers"
    metric: ClassVar[str] = "average_precision"
    columns: ClassVar[tuple[str, ...]] = ("code",)

    setup: Setup

    def accepts(self, example: Example) -> bool:
        return bool(example.code)

    def __call__(self, example: Example, rng: np.random.Generator) -> Row | None:
        tokens = encode(self.setup, example.code).crop(self.setup.source_length - 2, rng)
        if not len(tokens.ids):
            return None
        named = np.zeros(len(example.code) + 1, dtype=np.int64)  # of the characters before each place
        for identifier in identifiers(example.code):
            if identifier.start >= tokens.ends[-1]:
                break
            named[identifier.start + 1 : identifier.end + 1] = 1
        named = np.cumsum(named)
        tags = (named[tokens.ends] > named[tokens.starts]).astype(np.int8)
        special = self.setup.special
        return Row(
            source=[special.code, *tokens.ids.tolist(), special.eos],
            tags=np.concatenate([[UNKNOWN], tags, [UNKNOWN]]).astype(np.int8),
        )


@dataclass(frozen=True)
class MaskIdentifiers:
    """Every variable and every function of the text is hidden, while there is room for their names in the target.

    Which names are variables is known from Elixir's own syntax tree, so it wants examples that `data annotate` read.
    """

    name: ClassVar[str] = "mask_identifiers"
    metric: ClassVar[str] = "token_accuracy"
    columns: ClassVar[tuple[str, ...]] = ("code", "flows")

    setup: Setup

    def accepts(self, example: Example) -> bool:
        return bool(example.flows)

    def __call__(self, example: Example, rng: np.random.Generator) -> Row | None:
        setup, special = self.setup, self.setup.special
        tokens = encode(setup, example.code).crop(setup.source_length - 2, rng)
        if not len(tokens.ids):
            return None
        start, end = int(tokens.starts[0]), int(tokens.ends[-1])
        places = [each for each in _own_names(example, end) if each.start >= start]
        names = list(dict.fromkeys(place.text for place in places))[: len(special.sentinels)]
        spelt = encode_all(setup, names)
        used = np.cumsum([1 + len(ids) for ids in spelt])  # of the target, after each name
        sentinels = dict(zip(names[: int(np.searchsorted(used, setup.target_length, "left"))], special.sentinels))

        hidden = [place for place in places if place.text in sentinels]
        edges = [start, *(edge for place in hidden for edge in (place.start, place.end)), end]
        kept = encode_all(setup, [example.code[a:b] for a, b in zip(edges[::2], edges[1::2], strict=True)])
        source = [special.code, *kept[0]]
        for place, ids in zip(hidden, kept[1:], strict=True):
            source += [sentinels[place.text], *ids]
        del source[setup.source_length - 1 :]  # parted by sentinels, a text may take more tokens than it did in one

        target: list[int] = []
        left = set(source)
        for sentinel, ids in zip(sentinels.values(), spelt):
            if sentinel in left:
                target += [sentinel, *ids]
        return Row([*source, special.eos], [*target, special.eos]) if target else None


def _own_names(example: Example, end: int) -> list[Identifier]:
    """Where the variables and functions of a text stand, up to character `end`."""
    found = [each for each in identifiers(example.code) if each.before not in _ELSEWHERE]
    names = {flow.name for flow in example.flows} | {each.text for each in found if each.before in _DEFINES}
    return [each for each in found if each.text in names and each.end <= end]
