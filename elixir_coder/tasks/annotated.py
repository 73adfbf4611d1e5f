"""Code read with what the knowledge graph says of it, written on from there.

    target     rest </s>                                                      metric  token_accuracy
annotated_text
    source     <code> sentences <file_sep> prefix </s>
annotated
    source     <code> prefix </s>, and behind each thing in it that something is known of, what that is:
               def stop calls GenServer.stop/2 (server), do:
    positions  soft ones: what is known stands beside the code that goes on, not before it
    visible    what is known is seen by itself and by what it is about

The decoder writes on, since that is where the graph helps: it says of a function that stands in the prefix what it
calls, performs and answers to, which is what the rest of it must do. Were the whole code in the source, as for a label,
most of what is known could be read there as well.

The sentences say more at once (what a called function does in turn), as text that needs no mask; training begins with
them, and goes on to the tree.

Method: K-BERT, Liu et al. 2020, section 3, https://arxiv.org/abs/1909.07606
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from elixir_coder.example import Example
from elixir_coder.ontology.linearize import inject
from elixir_coder.tasks.identifiers import encode
from elixir_coder.tasks.row import Row, Setup


@dataclass(frozen=True)
class AnnotatedText:
    """most_text: share of the source that the sentences may take; those that fit whole are kept, from the first."""

    name: ClassVar[str] = "annotated_text"
    metric: ClassVar[str] = "token_accuracy"
    columns: ClassVar[tuple[str, ...]] = ("code", "linearized")

    setup: Setup
    most_text: float = 0.5

    def accepts(self, example: Example) -> bool:
        return bool(example.linearized)

    def __call__(self, example: Example, rng: np.random.Generator) -> Row | None:
        setup, special = self.setup, self.setup.special
        room = setup.source_length - 3
        known = self._sentences(example.linearized, int(room * self.most_text))
        code = encode(setup, example.code).ids.tolist()
        if not known or len(code) < 2:
            return None
        cut = _early(1, len(code) - 1, rng)
        prefix = code[max(0, cut - (room - len(known))) : cut]
        source = [special.code, *known, special.file_sep, *prefix, special.eos]
        return Row(source, _rest(setup, code[cut:]))

    def _sentences(self, text: str, most: int) -> list[int]:
        """The first sentences, whole, that take `most` tokens together."""
        kept = text
        while len(ids := self.setup.ids(kept)) > most:
            cut = kept.rstrip(".").rfind(". ")
            if cut < 0:
                return []
            kept = kept[: cut + 1]
        return ids


@dataclass(frozen=True)
class Annotated:
    """most_known: share of the source kept for what is known where the code would fill it. max_per_anchor: statements
    about one thing; the paper has 2."""

    name: ClassVar[str] = "annotated"
    metric: ClassVar[str] = "token_accuracy"
    columns: ClassVar[tuple[str, ...]] = ("code", "triples")

    setup: Setup
    most_known: float = 0.5
    max_per_anchor: int = 2

    def accepts(self, example: Example) -> bool:
        return any(triple.start >= 0 for triple in example.triples)

    def __call__(self, example: Example, rng: np.random.Generator) -> Row | None:
        setup, special = self.setup, self.setup.special
        code = encode(setup, example.code)
        room = setup.source_length - 2 - int(setup.source_length * self.most_known)
        spans = {
            triple: code.spanned(triple.start, triple.end)
            for triple in example.triples
            if 0 <= triple.start < triple.end <= len(example.code)
        }
        # The prefix is to hold one thing at least that something is known of, and there must be a rest.
        choices = [(first, end) for first, end in spans.values() if end < len(code.ids) and end - first <= room]
        if not choices:
            return None
        first, end = choices[int(rng.integers(len(choices)))]
        cut = _early(end, min(len(code.ids) - 1, first + room), rng)
        begin = max(0, cut - room)

        prefix = code.between(begin, cut)
        places = zip(prefix.starts.tolist(), prefix.ends.tolist(), strict=True)
        knowledge = inject(
            [special.code, *prefix.ids.tolist(), special.eos],
            [(0, 0), *places, (0, 0)],
            [triple for triple, (first, end) in spans.items() if begin <= first and end <= cut],
            setup.ids,
            max_length=setup.source_length,
            max_per_anchor=self.max_per_anchor,
        )
        if not knowledge.anchors:
            return None  # nothing that is known is short enough
        return Row(
            source=list(knowledge.input_ids),
            target=_rest(setup, code.ids[cut:].tolist()),
            positions=list(knowledge.position_ids),
            visible=knowledge.visible().numpy(),
        )


def _early(first: int, last: int, rng: np.random.Generator) -> int:
    """A place from `first` to `last`, half of the time in the first quarter.

    What is known helps while it is yet to be written: of 1,360 functions, 66% name in the rest what the triples name;
    with all places alike it is 52%.
    """
    return first + int((last - first + 1) * rng.random() ** 2)


def _rest(setup: Setup, code: list[int]) -> list[int]:
    """What the decoder writes: </s> belongs to it where the code's end does."""
    return [*code, setup.special.eos][: setup.target_length]
