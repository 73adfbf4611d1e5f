"""Code to what Sobelow says of it: which rule, in which line, and why.

    source  <review> code </s>          judgements  security: 1, 0 or -100 for each of the model's labels
    target  SQL.Query line 7: `name` is put into the query, CWE-89. ... </s>, a line for each finding; or ok </s>

From everything that Sobelow judged; of pairs with a fault written in those that it has something to say of, half of the
rows the faulty text, half the clean one. The sentence comes from the one who wrote the fault; what stood in the code
before has rule and line only. Long code is cut at its end, with the findings there. Metric: macro_average_precision of
the judgements.

Method: after VulLLM, Du et al. 2024, https://arxiv.org/abs/2406.03718: detect, locate, explain.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from elixir_coder.errors import RecipeError
from elixir_coder.example import Example, Label
from elixir_coder.tasks.prompt import NOTHING, finding, written
from elixir_coder.tasks.quality import intended, is_judged, new_labels, review, vector
from elixir_coder.tasks.row import Row, Setup

_TOOL = "sobelow"


@dataclass(frozen=True)
class Security:
    """faulty: share of the rows of a pair that show the text with the fault."""

    setup: Setup
    faulty: float = 0.5

    name: ClassVar[str] = "security"
    metric: ClassVar[str] = "macro_average_precision"
    columns: ClassVar[tuple[str, ...]] = (
        *("kind", "name", "code", "before", "diagnosis", "injected", "labels", "before_labels", "checked_by"),
    )

    def __post_init__(self) -> None:
        if not self.setup.security_labels:
            raise RecipeError("task security needs a model with security labels; give it `security_labels`")

    def accepts(self, example: Example) -> bool:
        labels = (*example.labels, *example.before_labels)
        return is_judged(example, _TOOL) and (not example.before or any(label.tool == _TOOL for label in labels))

    def __call__(self, example: Example, rng: np.random.Generator) -> Row | None:
        seen = review(self.setup, example, rng, self.faulty)
        found = sorted({label for label in seen.labels if label.tool == _TOOL and seen.shows(label)}, key=_place)
        explained = _explained(example) if seen.is_faulty else None
        lines = [finding(each.check, each.line, example.diagnosis if each == explained else "") for each in found]
        judgements = {"security": vector(self.setup.security_labels, seen, _TOOL)}
        return Row(seen.source, written(self.setup, "\n".join(lines) or NOTHING), judgements=judgements)


def _explained(example: Example) -> Label | None:
    """What the one sentence there is speaks of: the first finding of the label that the fault was written for, or what
    Sobelow says of the same line where that label is one of Credo's."""
    new = new_labels(example)
    after = next((label for label in new if label.check == intended(example)), None)
    return next((label for label in new if after and label.tool == _TOOL and label.line == after.line), None)


def _place(label: Label) -> tuple[int, str]:
    return label.line, label.check
