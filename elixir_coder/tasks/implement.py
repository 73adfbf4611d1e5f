"""Tests to code that passes them.

    source  <code> <test> tests </s>          target  code </s>

From everything that has tests, the other way round than write_tests.py, with the same parts of what is too long.
Metric: token_accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from elixir_coder.example import Example
from elixir_coder.tasks.prompt import whole_prompt, written
from elixir_coder.tasks.row import Row, Setup
from elixir_coder.tasks.write_tests import excerpt

_FRAME = 3  # tokens that a prompt needs besides its tests: <code>, <test>, </s>


@dataclass(frozen=True)
class Implement:
    """Tests, and the code they are about."""

    setup: Setup

    name: ClassVar[str] = "implement"
    metric: ClassVar[str] = "token_accuracy"
    columns: ClassVar[tuple[str, ...]] = ("code", "tests")

    def accepts(self, example: Example) -> bool:
        return bool(example.tests)

    def __call__(self, example: Example, rng: np.random.Generator) -> Row | None:
        most = (self.setup.target_length - 1, self.setup.source_length - _FRAME)
        parts = excerpt(self.setup.ids, example.code, example.tests, *most, rng)
        source = whole_prompt(self.setup, "implement", tests=parts[1]) if parts else None
        return Row(source, written(self.setup, parts[0])) if parts and source else None
