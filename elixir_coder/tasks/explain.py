"""Code to an explanation of what it does and why.

    source  <explanation> code </s>          target  explanation </s>

From exercises. Their documentation says much of it already, so it is taken out of some: of a share, and of code that is
too long with it. Code is whole or the row is left out. Metric: token_accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from elixir_coder.example import Example
from elixir_coder.tasks.document import undocumented
from elixir_coder.tasks.prompt import whole_prompt, written
from elixir_coder.tasks.row import Row, Setup


@dataclass(frozen=True)
class Explain:
    """undocumented: share of the rows whose code is shown without its documentation."""

    setup: Setup
    undocumented: float = 0.5

    name: ClassVar[str] = "explain"
    metric: ClassVar[str] = "token_accuracy"
    columns: ClassVar[tuple[str, ...]] = ("code", "explanation")

    def accepts(self, example: Example) -> bool:
        return bool(example.explanation)

    def __call__(self, example: Example, rng: np.random.Generator) -> Row | None:
        source = None
        if rng.random() >= self.undocumented:
            source = whole_prompt(self.setup, "explain", code=example.code)
        source = source or whole_prompt(self.setup, "explain", code=undocumented(example.code))
        return Row(source, written(self.setup, example.explanation)) if source else None
