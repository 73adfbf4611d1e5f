"""Instruction to code.

    source  <code> instruction </s>          target  code </s>

From exercises; from ambiguous requests, with question and answer behind; and from functions, whose documentation stands
for the instruction: with document.py both directions of CodeT5's bimodal dual generation. A request is whole or the row
is left out; of long code the beginning is written. Metric: token_accuracy.

Method: Wang et al. 2021, section 3.2, https://arxiv.org/abs/2109.00859
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from elixir_coder.example import Example
from elixir_coder.tasks.prompt import whole_prompt, written
from elixir_coder.tasks.row import Row, Setup


@dataclass(frozen=True)
class Generate:
    """A request and the code that was wanted."""

    setup: Setup

    name: ClassVar[str] = "generate"
    metric: ClassVar[str] = "token_accuracy"
    columns: ClassVar[tuple[str, ...]] = ("kind", "code", "instruction", "question", "turns")

    def accepts(self, example: Example) -> bool:
        return example.kind in ("exercise", "clarification", "function") and bool(example.instruction)

    def __call__(self, example: Example, rng: np.random.Generator) -> Row | None:
        source = whole_prompt(self.setup, "generate", instruction=request(example))
        return Row(source, written(self.setup, example.code)) if source else None


def request(example: Example) -> str:
    """All that was said before the code that the example has, but for code: the instruction, the question that it left
    open with the answer, and what was asked next."""
    said = [turn.content for turn in example.turns if turn.role == "user" or turn.content == example.question]
    return "\n\n".join(said) or example.instruction
