"""Text and code that belong together: found among others, and told from what is alike.

Retrieve    source  request or documentation </s>       candidates  code </s>, then what is alike and wrong, each </s>
Match       source  request </s>       target  code </s> or what is alike and wrong </s>       match  1 or 0

Wrong is what the example itself has: the faulty program of an exercise, and the program before the last request of a
dialogue. Code of other examples needs no row of its own, the batch has it. Matching sees right and wrong equally often,
and only of examples that have both, so that neither text alone says which it is. A request is whole or the row is left
out; long code is cut at its end. Metrics: reciprocal_rank, average_precision.

Method: CodeT5+, Wang et al. 2023, section 3.2, https://arxiv.org/abs/2305.07922: text-code contrastive learning and
text-code matching, on the same encoder and decoder as everything else.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from elixir_coder.example import Example
from elixir_coder.tasks.document import undocumented
from elixir_coder.tasks.generate import request
from elixir_coder.tasks.prompt import prompt, whole_prompt, written
from elixir_coder.tasks.row import Row, Setup


@dataclass(frozen=True)
class Retrieve:
    """undocumented: share of the rows whose code is shown without its documentation, which repeats the request."""

    setup: Setup
    undocumented: float = 0.5

    name: ClassVar[str] = "retrieve"
    metric: ClassVar[str] = "reciprocal_rank"
    columns: ClassVar[tuple[str, ...]] = ("kind", "code", "instruction", "before", "question", "turns")

    def accepts(self, example: Example) -> bool:
        return bool(example.instruction) and example.kind in _KINDS

    def __call__(self, example: Example, rng: np.random.Generator) -> Row | None:
        source = whole_prompt(self.setup, "retrieve", text=request(example))
        if not source:
            return None
        codes = [example.code, *_wrong(example)]
        if rng.random() < self.undocumented:
            codes = [undocumented(code) for code in codes]
        right, *wrong = (prompt(self.setup, "retrieve", text=code) for code in codes)
        return Row(source, candidates=(right, *(code for code in wrong if code != right)))


@dataclass(frozen=True)
class Match:
    """undocumented: as for Retrieve."""

    setup: Setup
    undocumented: float = 0.5

    name: ClassVar[str] = "match"
    metric: ClassVar[str] = "average_precision"
    columns: ClassVar[tuple[str, ...]] = ("kind", "code", "instruction", "before", "question", "turns")

    def accepts(self, example: Example) -> bool:
        return bool(example.instruction) and bool(_wrong(example))

    def __call__(self, example: Example, rng: np.random.Generator) -> Row | None:
        source = whole_prompt(self.setup, "match", instruction=request(example))
        codes = [example.code, _wrong(example)[0]]
        if rng.random() < self.undocumented:
            codes = [undocumented(code) for code in codes]
        right, wrong = (written(self.setup, code) for code in codes)
        is_right = bool(rng.integers(2))
        if not source or right == wrong:  # they differ in what was cut, or in their documentation
            return None
        return Row(source, right if is_right else wrong, match=int(is_right))


_KINDS = ("exercise", "clarification", "dialogue", "function", "module")


def _wrong(example: Example) -> list[str]:
    """Code like the example's that is not what was asked for."""
    return [example.before] if example.before and example.kind in ("exercise", "dialogue") else []
