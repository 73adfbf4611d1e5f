"""How well a model does each task it trains on, held out: the same rows in every evaluation, a metric with its interval
for each task, and at the end what goes wrong, by class and with examples.

Nothing is generated here: a decoder task is measured on the target it is given to read, token by token. Whether what
the model writes compiles and passes tests is for evaluation/functional.py to say.
"""

from __future__ import annotations

import hashlib
import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from elixir_coder.data.lexemes import COMMENT, TEXT, pieces
from elixir_coder.data.shards import read_shards
from elixir_coder.evaluation.scores import wilson_interval
from elixir_coder.example import Example
from elixir_coder.generation.healing import TokenTexts, token_texts
from elixir_coder.tasks.registry import TASKS, WINDOW_TASKS
from elixir_coder.tasks.row import UNKNOWN, Row, Setup
from elixir_coder.tasks.window import Window

if TYPE_CHECKING:
    from elixir_coder.training.objective import Objective, Predictions

HEADS = ("quality", "security", "clarification")  # of the model, over a whole text
_EXAMINED = ("code", "kind", "name", "instruction", "before", "test_type", "difficulty", "operations", "injected")
_SPARE = 4  # examples looked at for each row wanted: some are too long, or have nothing in them for the task
_RESAMPLES = 400

Batch = Mapping[str, torch.Tensor]


class Sample(NamedTuple):
    """A row, and the example it was made of."""

    example: Example
    row: Row


@dataclass(frozen=True)
class TaskScore:
    """metric: one of tasks/registry.METRICS. low, high: its 95% interval, from drawing the rows anew. count: rows.
    nats: per token of what the decoder writes, None where it writes nothing."""

    metric: str
    value: float
    low: float
    high: float
    count: int
    nats: float | None = None

    def record(self) -> dict[str, float]:
        """As it stands in a run's log."""
        record = {self.metric: self.value, "low": self.low, "high": self.high, "count": self.count}
        return record if self.nats is None else {**record, "nats": self.nats}


# --------------------------------------------------------------------------------------------------------- what is held out


def sample_rows(
    tasks: Mapping[str, Any], folders: Iterable[Path], per_task: int, *, setup: Setup, seed: int = 0
) -> dict[str, list[Sample]]:
    """For each task `per_task` rows of the validation splits, or as many as there are.

    tasks: what tasks/registry.build gave, by name. An example is chosen by a number that is made of the seed, the task
    and its text, so the same ones come whatever stands around them. Tasks that start from source text take files.
    """
    columns = {*_EXAMINED, "sha256"}.union(*(getattr(task, "columns", ()) for task in tasks.values()))
    chosen: dict[str, list[tuple[int, int, Example]]] = {name: [] for name in tasks}
    examples = (example for folder in folders for example in read_shards(folder, "validation", columns=columns))
    for number, example in enumerate(examples):
        for name, task in tasks.items():
            if not (example.kind == "file" and example.code.strip() if name in WINDOW_TASKS else task.accepts(example)):
                continue
            entry = (-_place(seed, name, example), -number, example)  # a heap gives up its smallest
            heap = chosen[name]
            if len(heap) < per_task * _SPARE:
                heapq.heappush(heap, entry)
            elif entry[:2] > heap[0][:2]:
                heapq.heapreplace(heap, entry)
    samples = {}
    for name, task in tasks.items():
        rows = (
            Sample(example, row)
            for place, _, example in sorted(chosen[name], key=lambda entry: entry[:2], reverse=True)
            if (row := _row(task, example, setup, np.random.default_rng([seed, -place]))) is not None
        )
        samples[name] = [sample for sample, _ in zip(rows, range(per_task))]
    return samples


def _place(seed: int, task: str, example: Example) -> int:
    text = "\0".join([str(seed), task, example.kind, example.sha256, example.instruction, example.before])
    return int.from_bytes(hashlib.blake2b(text.encode(errors="surrogatepass"), digest_size=7).digest(), "big")


def _row(task: Any, example: Example, setup: Setup, rng: np.random.Generator) -> Row | None:
    if not isinstance(task, tuple(WINDOW_TASKS.values())):
        row: Row | None = task(example, rng)
        return row
    tokens = np.asarray(setup.ids(example.code), dtype=np.int32)
    length = setup.source_length + setup.target_length - 3
    start = int(rng.integers(max(len(tokens) - length, 0) + 1))
    window = Window(tokens[start : start + length], is_end=start + length >= len(tokens))
    made: Row = task(window, rng)
    return made


# ---------------------------------------------------------------------------------------------------------------- measures


def measure(
    objective: Objective, batches: Iterable[Batch], tasks: Sequence[str], thresholds: Mapping[str, Any]
) -> dict[str, TaskScore]:
    """The score of each task that the batches have something of.

    batches: as training/packing.py collates them, on the objective's device. tasks: names, by the numbers in the
    batches. thresholds: of "quality" and "security", the probability from which a label counts as given: one, or one
    for each label. The objective is put back in the mode it was in.
    """
    seen: dict[str, _Seen] = {task: _Seen() for task in tasks}
    was_training = objective.training
    objective.eval()
    for number, batch in enumerate(batches):
        predictions = objective.predict(batch)
        for task, part in _by_task(predictions, batch, number, tasks):
            seen[task].parts.append(part)
    objective.train(was_training)
    scores = {task: _score(task, evidence, thresholds) for task, evidence in seen.items()}
    return {task: score for task, score in scores.items() if score is not None}


def average_precision(scores: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean over the positives of the precision among all that score as high as each; nan without a positive.

    scores: (N,) of any scale. labels: (N,) 1 or 0. weights: (N,) how often each counts. What scores alike is taken
    together, so that a constant score gives the share of positives.
    Source: Manning, Raghavan and Schütze 2008, section 8.4; ties as in scikit-learn's average_precision_score.
    """
    order = np.argsort(-np.asarray(scores, dtype=np.float64), kind="stable")
    sorted_scores = np.asarray(scores, dtype=np.float64)[order]
    weight = np.ones(len(order)) if weights is None else np.asarray(weights, dtype=np.float64)[order]
    positive = weight * (np.asarray(labels)[order] == 1)
    is_last = np.append(sorted_scores[1:] != sorted_scores[:-1], True) if len(order) else np.zeros(0, dtype=bool)
    found, taken = np.cumsum(positive)[is_last], np.cumsum(weight)[is_last]
    if not len(found) or found[-1] == 0:
        return float("nan")
    precision = np.divide(found, taken, out=np.zeros_like(found), where=taken > 0)
    return float(np.sum(np.diff(found, prepend=0.0) * precision) / found[-1])


def macro_f1(given: np.ndarray, labels: np.ndarray, weights: np.ndarray | None = None) -> float:
    """Mean of 2·tp / (2·tp + fp + fn) over the labels that have a positive; nan without one.

    given: (R, L) bool, what the model says. labels: (R, L) 1, 0, or -100 where nothing is known. weights: (R,) how
    often each row counts.
    """
    weight = np.ones(len(given)) if weights is None else weights
    hits, invented, missed = (weight @ each for each in _confusion(given, labels))
    has_positive = hits + missed > 0
    if not has_positive.any():
        return float("nan")
    return float(np.mean((2 * hits / np.maximum(2 * hits + invented + missed, 1e-300))[has_positive]))


def _confusion(given: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where a label is found, invented and missed."""
    return given & (labels == 1), given & (labels == 0), ~given & (labels == 1)


class _Part(NamedTuple):
    """What one batch says of one task by one head. rows: (N,) which row each entry is of, told apart within the batch.

    For "tokens" values are nats and labels say whether the likeliest token is right; for other heads values are scores
    and labels what is true; for "contrast" values are ranks.
    """

    head: str
    batch: int
    rows: np.ndarray
    values: np.ndarray
    labels: np.ndarray


@dataclass
class _Seen:
    parts: list[_Part] = field(default_factory=list)

    def all_of(self, head: str) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
        """Row numbers 0, 1, 2, ... through all batches, values and labels; None where there is nothing."""
        parts = [part for part in self.parts if part.head == head and len(part.values)]
        if not parts:
            return None
        keys = np.concatenate([np.stack([np.full(len(p.rows), p.batch), p.rows], axis=1) for p in parts])
        _, rows = np.unique(keys, axis=0, return_inverse=True)
        return (
            rows.reshape(-1),
            np.concatenate([part.values for part in parts]),
            np.concatenate([part.labels for part in parts]),
        )


def _by_task(
    predictions: Predictions, batch: Batch, number: int, tasks: Sequence[str]
) -> Iterator[tuple[str, _Part]]:
    """The parts of a batch's predictions, each with the name of its task."""

    def split(
        head: str, task_numbers: torch.Tensor, rows: np.ndarray, values: torch.Tensor, labels: torch.Tensor
    ) -> Iterator[tuple[str, _Part]]:
        task_of, value, label = _numpy(task_numbers), _numpy(values), _numpy(labels)
        assert len(task_of) == len(rows) == len(value) == len(label), head
        for task in np.unique(task_of):
            mine = task_of == task
            yield tasks[int(task)], _Part(head, number, rows[mine], value[mine], label[mine])

    token_rows = _numpy(batch["decoder_segment_ids"][batch["labels"] != UNKNOWN]) if "labels" in batch else np.zeros(0)
    yield from split(
        "tokens", predictions.token_tasks, token_rows, predictions.token_nats, predictions.token_hits
    )
    for head in HEADS:
        if head in predictions.logits:
            rows = np.arange(len(predictions.segment_tasks))
            yield from split(
                head, predictions.segment_tasks, rows, predictions.logits[head], predictions.labels[head]
            )
    return


def _score(task: str, seen: _Seen, thresholds: Mapping[str, Any]) -> TaskScore | None:
    raise NotImplementedError


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().cpu().float().numpy() if tensor.is_floating_point() else tensor.detach().cpu().numpy()
