"""Does an instruction leave something open, and what is to be asked?

    source  <clarification> instruction </s>          target  question </s>, or ok </s>
    judgements  clarification: 1 where something is open, else 0

Positives are instructions of which one fact was left out; negatives exercises, and the positives with question and
answer behind them, so that it is not the subject that decides. An instruction is whole or the row is left out. Metric:
average_precision of the judgement. Tests that two readings pass each other's tests decided what is ambiguous: see
data/synthesis.

Method: after ClarifyGPT, Mu et al. 2023, https://arxiv.org/abs/2310.10996
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from elixir_coder.example import Example
from elixir_coder.tasks.generate import request
from elixir_coder.tasks.prompt import NOTHING, whole_prompt, written
from elixir_coder.tasks.row import Row, Setup


@dataclass(frozen=True)
class Clarify:
    """answered: share of the open instructions that are shown with their answer, as negatives."""

    setup: Setup
    answered: float = 0.25

    name: ClassVar[str] = "clarify"
    metric: ClassVar[str] = "average_precision"
    columns: ClassVar[tuple[str, ...]] = ("kind", "instruction", "question", "turns")

    def accepts(self, example: Example) -> bool:
        is_open = example.kind == "clarification" and bool(example.question)
        return bool(example.instruction) and (is_open or example.kind == "exercise")

    def __call__(self, example: Example, rng: np.random.Generator) -> Row | None:
        is_open = bool(example.question)
        if is_open and rng.random() < self.answered:
            is_open, instruction = False, request(example)
        else:
            instruction = example.instruction
        source = whole_prompt(self.setup, "clarify", instruction=instruction)
        if not source:
            return None
        target = written(self.setup, example.question if is_open else NOTHING)
        return Row(source, target, judgements={"clarification": np.array([int(is_open)])})
