"""Code and what is wrong with it, to the code put right.

    source  <review> finding <file_sep> code </s>          target  code without the fault </s>

What is wrong is said as a sentence (exercises with a faulty program, pairs with a fault written in), as the tools say
it (`DOS.StringToAtom line 29`), or as both; of a commit it is the message. The code is whole or the row is left out,
and so is a row in which nothing of what is to be changed lies within the target. Metric: token_accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from elixir_coder.example import Example
from elixir_coder.tasks.prompt import finding, whole_prompt, written
from elixir_coder.tasks.quality import intended, new_labels
from elixir_coder.tasks.row import Row, Setup

_MOST_FINDINGS = 3  # that a review names; a fault seldom leads to more, and then to many of one rule


@dataclass(frozen=True)
class Repair:
    """A faulty program, a finding, and the program without it."""

    setup: Setup

    name: ClassVar[str] = "repair"
    metric: ClassVar[str] = "token_accuracy"
    columns: ClassVar[tuple[str, ...]] = (
        *("kind", "code", "instruction", "before", "diagnosis", "injected", "labels", "before_labels"),
    )

    def accepts(self, example: Example) -> bool:
        is_change = example.kind == "change" and bool(example.instruction)
        return bool(example.before) and example.before != example.code and (is_change or bool(example.diagnosis))

    def __call__(self, example: Example, rng: np.random.Generator) -> Row | None:
        review = self._review(example, rng)
        source = whole_prompt(self.setup, "repair", finding=review, before=example.before)
        target = written(self.setup, example.code)
        if not source or target == written(self.setup, example.before):
            return None
        return Row(source, target)

    def _review(self, example: Example, rng: np.random.Generator) -> str:
        if example.kind == "change":
            return example.instruction
        labels = new_labels(example)
        form = int(rng.integers(3)) if labels else 0
        if form == 0:
            return example.diagnosis
        first = next((label for label in labels if label.check == intended(example)), labels[0])
        shown = [first, *(label for label in labels if label != first)][:_MOST_FINDINGS]
        said = {first: example.diagnosis if form == 2 else ""}
        return "\n".join(finding(label.check, label.line, said.get(label, "")) for label in shown)
