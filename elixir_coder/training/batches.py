"""The rows of each training step: drawn from a mixture, cut into groups of equally many tokens, made into tensors.

A step depends on the seed, its number and how far each stream is; the latter, a few integers, is all that a checkpoint
has to hold. Every process works out the whole step and takes its share.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from elixir_coder.errors import DataError
from elixir_coder.tasks.row import Row
from elixir_coder.training.curriculum import Curriculum
from elixir_coder.training.mixture import Mixture
from elixir_coder.training.objective import counts_of
from elixir_coder.training.packing import collate

# What a random stream is for; with it in the seed, no two purposes ever share one.
_DRAW, _DROPOUT = range(101, 103)
# Rows of a task that are drawn together: texts that are to be told apart need company.
_TOGETHER: Mapping[str, int] = {"retrieve": 8}
_MOST_MISSES = 1000  # examples in a row that give none


def dropout_seed(seed: int, step: int, group: int) -> int:
    """What to seed torch with before a group's forward pass.

    The masks are then the same after a resume, and the same whichever process the group falls to.
    """
    return int(np.random.SeedSequence([seed, _DROPOUT, step, group]).generate_state(1, np.uint64)[0])


@dataclass(frozen=True)
class Step:
    """groups: for each backward pass what `Objective` takes. counts: (tasks, KINDS) losses in all groups together.
    num_tokens: that are read or written. num_places: the same with padding. cursors: how far each stream is then."""

    number: int
    groups: list[dict[str, torch.Tensor]]
    counts: torch.Tensor
    num_tokens: int
    num_places: int
    cursors: dict[str, int]


class Batches:
    """Training steps 1, 2, 3, ...

    tasks: names, whose places are the task numbers. batch_tokens: that a step reads and writes, at least; the row that
    reaches it is the last. parts: groups a step is cut into (processes × accumulation). collating: further arguments
    of `packing.collate`.
    """

    def __init__(
        self,
        mixture: Mixture,
        curriculum: Curriculum,
        tasks: tuple[str, ...],
        *,
        batch_tokens: int,
        parts: int,
        seed: int,
        collating: Mapping[str, Any],
    ):
        self.mixture = mixture
        self.curriculum = curriculum
        self.numbers = {task: number for number, task in enumerate(tasks)}
        self.batch_tokens = batch_tokens
        self.parts = parts
        self.seed = seed
        self.collating = collating

    def steps(self, first: int, last: int, cursors: Mapping[str, int]) -> Iterator[Step]:
        """Steps first..last, where `cursors` says how far the streams were before. The next one is made in a thread
        meanwhile."""
        with ThreadPoolExecutor(max_workers=1) as thread:
            upcoming = thread.submit(self.step, first, cursors)
            for number in range(first, last + 1):
                step = upcoming.result()
                upcoming = thread.submit(self.step, number + 1, step.cursors)
                yield step

    def step(self, number: int, cursors: Mapping[str, int]) -> Step:
        """One step; the same arguments give the same step."""
        rows, after = self.rows(number, cursors)
        groups = _shared_out(rows, self.parts)
        tensors = [collate(group, **self.collating) for group in groups]
        return Step(
            number=number,
            groups=tensors,
            counts=torch.stack([counts_of(each, len(self.numbers)) for each in tensors]).sum(dim=0),
            num_tokens=sum(row.num_tokens for _, row in rows),
            num_places=sum(each["input_ids"].numel() + each["labels"].numel() for each in tensors),
            cursors=after,
        )

    def rows(self, number: int, cursors: Mapping[str, int]) -> tuple[list[tuple[int, Row]], dict[str, int]]:
        """The rows of a step, each with the number of its task, and how far the streams are after them.

        Raises DataError when a stream gives no row any more.
        """
        shares = self.curriculum.shares_at(number)
        weights = self.mixture.weights(
            {task: share / _TOGETHER.get(task, 1) for task, share in shares.items()},
            lambda task: self.curriculum.tier_at(task, number),
        )
        thresholds = np.cumsum(weights)[:-1]
        rng = np.random.default_rng([self.seed, _DRAW, number])
        after = dict(cursors)
        rows: list[tuple[int, Row]] = []
        num_tokens = misses = 0
        while num_tokens < self.batch_tokens or len(rows) < self.parts:
            stream = self.mixture.streams[int(np.searchsorted(thresholds, rng.random(), side="right"))]
            for _ in range(_TOGETHER.get(stream.task, 1)):
                row = stream.row(after.get(stream.key, 0))
                after[stream.key] = after.get(stream.key, 0) + 1
                if row is None:
                    misses += 1
                    if misses == _MOST_MISSES:
                        raise DataError(
                            f"{misses} examples of {stream.key} give no row of at most --source_length and "
                            "--target_length tokens; raise them or leave the task out"
                        )
                    continue
                misses = 0
                rows.append((self.numbers[stream.task], row))
                num_tokens += row.num_tokens
        return rows, after


def _shared_out(rows: list[tuple[int, Row]], parts: int) -> list[list[tuple[int, Row]]]:
    """The rows in groups of about as many tokens; those with candidates stay together, since each is the others' foil.

    The longest first, each to the group that has least: at most one row's length between the groups.
    """
    together = [each for each in rows if each[1].candidates]
    bundles = [[each] for each in rows if not each[1].candidates] + ([together] if together else [])
    bundles.sort(key=lambda bundle: -sum(row.num_tokens for _, row in bundle))
    groups: list[list[tuple[int, Row]]] = [[] for _ in range(parts)]
    sizes = [0] * parts
    for bundle in bundles:
        place = min(range(parts), key=lambda part: (sizes[part], len(groups[part])))
        groups[place] += bundle
        sizes[place] += sum(row.num_tokens for _, row in bundle)
    if not all(groups):
        raise DataError(f"a step has fewer rows than its {parts} groups; raise --batch_tokens")
    return groups
