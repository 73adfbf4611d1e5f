"""The rows of each training step, as a pure function of the recipe and the step number.

Nothing is remembered between steps: row k of an epoch is a window of a file at a place that depends on (seed, epoch, k)
alone. So a resumed run needs no loader state, and every process can work out the whole step and take its share.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from transformers import PreTrainedTokenizerBase

from elixir_coder.errors import DataError
from elixir_coder.example import Example
from elixir_coder.tasks.window import Pair, Task, Window

IGNORED = -100


@dataclass(frozen=True)
class Corpus:
    """Files as one run of tokens. tokens: (total,) int32. starts: (files + 1,) int64, where each file begins."""

    tokens: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, examples: Iterable[Example], tokenizer: PreTrainedTokenizerBase) -> Corpus:
        """Tokenize every example. Raises DataError when there is nothing to train on."""
        texts = [example.code for example in examples]
        if not any(texts):
            raise DataError("the corpus has no text; collect it again")
        files = tokenizer(texts, add_special_tokens=False, split_special_tokens=True).input_ids
        files = [np.asarray(ids, dtype=np.int32) for ids in files if ids]
        starts = np.concatenate([[0], np.cumsum([len(ids) for ids in files])])
        return cls(np.concatenate(files), starts)

    def windows(self, length: int) -> np.ndarray:
        """(windows, 2) int64: the file and the first token of each window when files are cut every `length` tokens."""
        sizes = np.diff(self.starts)
        counts = -(-sizes // length)
        files = np.repeat(np.arange(len(sizes)), counts)
        index_in_file = np.arange(len(files)) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.stack([files, self.starts[files] + index_in_file * length], axis=1)


class Batches:
    """Rows for training steps 1, 2, 3, ...

    tasks: each with its share of the rows. window: tokens a task is given. batch_size: rows of one step over all
    processes. parts: equal groups a step is split into (processes × accumulation); rows are sorted by length first,
    so that each group has little padding.
    """

    def __init__(
        self,
        corpus: Corpus,
        tasks: Mapping[Task, float],
        *,
        window: int,
        batch_size: int,
        parts: int,
        seed: int,
        pad_token_id: int,
    ):
        shares = np.array(list(tasks.values()), dtype=float)
        self.corpus = corpus
        self.tasks = list(tasks)
        self.thresholds = np.cumsum(shares / shares.sum())
        self.window = window
        self.batch_size = batch_size
        self.parts = parts
        self.seed = seed
        self.pad_token_id = pad_token_id
        self.windows = corpus.windows(window)
        self._order: tuple[int, np.ndarray] = (-1, np.empty(0, dtype=int))

    @property
    def steps_per_epoch(self) -> float:
        return len(self.windows) / self.batch_size

    def step(self, step: int) -> tuple[list[dict[str, torch.Tensor]], int]:
        """The groups of step 1, 2, ... and the number of tokens with a loss in all of them together.

        A group holds input_ids, attention_mask (rows, S) and labels (rows, T), int64, -100 where no loss is wanted.
        """
        first = (step - 1) * self.batch_size
        pairs = sorted(
            (self._pair(index) for index in range(first, first + self.batch_size)),
            key=lambda pair: (len(pair.target), len(pair.source), pair),
        )
        size = self.batch_size // self.parts
        groups = [pairs[at : at + size] for at in range(0, self.batch_size, size)]
        num_targets = sum(len(pair.target) for pair in pairs)
        return [collate(group, self.pad_token_id) for group in groups], num_targets

    def _pair(self, index: int) -> Pair:
        epoch, place = divmod(index, len(self.windows))
        if self._order[0] != epoch:
            self._order = (epoch, np.random.default_rng([self.seed, epoch]).permutation(len(self.windows)))
        row = int(self._order[1][place])
        rng = np.random.default_rng([self.seed, epoch, row])
        file, start = self.windows[row]
        first, last = self.corpus.starts[file], self.corpus.starts[file + 1]
        if epoch:  # shift the cuts, so that each epoch sees other windows
            start += rng.integers(-(self.window // 2), self.window // 2 + 1)
        start = min(max(start, first), max(last - self.window, first))
        end = min(start + self.window, last)
        task = self.tasks[int(np.searchsorted(self.thresholds, rng.random(), side="right").clip(0, len(self.tasks) - 1))]
        return task(Window(self.corpus.tokens[start:end], is_end=bool(end == last)), rng)


def collate(pairs: list[Pair], pad_token_id: int) -> dict[str, torch.Tensor]:
    """Pad pairs on the right to one batch."""

    def padded(rows: list[list[int]], value: int) -> torch.Tensor:
        width = max(len(row) for row in rows)
        return torch.tensor([row + [value] * (width - len(row)) for row in rows])

    sources = [pair.source for pair in pairs]
    return {
        "input_ids": padded(sources, pad_token_id),
        "attention_mask": padded([[1] * len(source) for source in sources], 0),
        "labels": padded([pair.target for pair in pairs], IGNORED),
    }
