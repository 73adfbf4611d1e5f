"""What a training run is measured on: held-out files for bits per byte, and rows of every task, the same each time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from transformers import PreTrainedTokenizerBase

from elixir_coder.data.shards import read_shards, splits_of
from elixir_coder.evaluation.compression import bits_per_byte, with_text
from elixir_coder.evaluation.tasks import Sample, TaskScore, batches_of, failures, measure, sample_rows
from elixir_coder.example import Example
from elixir_coder.recipe import TrainRecipe
from elixir_coder.tasks.row import Setup
from elixir_coder.training import state
from elixir_coder.training.objective import Objective


@dataclass(frozen=True)
class HeldOut:
    """What is measured in every evaluation, the same each time. files: held out. samples: rows of each task."""

    objective: Objective
    tokenizer: PreTrainedTokenizerBase
    files: list[Example]
    samples: dict[str, list[Sample]]

    @classmethod
    def of(
        cls,
        recipe: TrainRecipe,
        objective: Objective,
        tokenizer: PreTrainedTokenizerBase,
        tasks: Mapping[str, Any],
        setup: Setup,
    ) -> HeldOut:
        samples = {}
        if recipe.eval_rows:
            samples = sample_rows(tasks, recipe.data, recipe.eval_rows, setup=setup, seed=recipe.seed)
        return cls(objective, tokenizer, read_held_out(recipe), samples)

    def bits_per_byte(self, recipe: TrainRecipe) -> float:
        """Of the held-out files."""
        lengths = {"source_length": recipe.source_length, "target_length": recipe.target_length}
        score = bits_per_byte(self.objective.model, self.tokenizer, self.files, **lengths).bits_per_byte
        if not math.isfinite(score):
            raise state.not_finite(recipe.out, "the held-out loss")
        return score

    def scores(self) -> dict[str, TaskScore]:
        """Of each task that has held-out rows."""
        batches = batches_of(self.objective, self.samples)
        return measure(self.objective, batches)

    def failures(self) -> str:
        """What goes wrong, as Markdown."""
        return failures(self.objective, self.samples, self.tokenizer) if self.samples else ""


def read_held_out(recipe: TrainRecipe) -> list[Example]:
    """Validation files up to the limits of the recipe, the same ones in every evaluation; where there are none, other
    texts."""
    chosen: list[Example] = []
    num_bytes = 0
    folders = [folder for folder in recipe.data if "validation" in splits_of(folder)] or recipe.data[:1]

    def examples() -> Iterator[Example]:
        for folder in folders:
            yield from read_shards(folder, "validation", columns=("code", "kind"))

    has_files = any(example.kind == "file" for example in examples())
    for example in examples():
        if has_files and example.kind != "file":
            continue
        num_bytes += len(example.code.encode())
        if len(chosen) == recipe.eval_files or (chosen and num_bytes > recipe.eval_bytes):
            break
        chosen.append(example)
    return with_text(chosen)
