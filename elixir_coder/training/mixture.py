"""What the rows of a run are drawn from: a stream for every task, folder of data and tier, each endless.

A stream gives its k-th row as a pure function of the seed and k: each pass through it has every item once, in an order
of its own. So all that a resumed run has to know is how far each stream is.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from transformers import PreTrainedTokenizerBase

from elixir_coder.data.shards import Table
from elixir_coder.errors import DataError
from elixir_coder.example import Example
from elixir_coder.tasks import quality, registry
from elixir_coder.tasks.row import ExampleTask, Row, Setup
from elixir_coder.tasks.window import Window, WindowTask
from elixir_coder.training.curriculum import TIERED

# What a random stream is for; with it in the seed, no two purposes ever share one.
_ORDER, _SHIFT, _ROW = range(1, 4)
_WHOLE_PROGRAMS = ("file", "exercise")  # kinds whose code stands for itself
_TOKENIZED_AT_ONCE = 1000


@dataclass(frozen=True)
class Corpus:
    """Files as one run of tokens. tokens: (total,) int32. starts: (files + 1,) int64, where each file begins."""

    tokens: np.ndarray
    starts: np.ndarray

    @classmethod
    def of(cls, examples: Iterable[Example], tokenizer: PreTrainedTokenizerBase) -> Corpus:
        """Tokenize every example. A special token's name in the code is text like any other.

        Raises DataError when there is nothing to train on.
        """
        files: list[np.ndarray] = []
        texts_left = (example.code for example in examples)
        while texts := list(islice(texts_left, _TOKENIZED_AT_ONCE)):  # lists of all of it would take nine times as much
            encoded = tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)
            files += [np.asarray(ids, dtype=np.int32) for ids in encoded.input_ids if ids]
        if not files:
            raise DataError("the corpus has no text; collect it again")
        starts = np.concatenate([[0], np.cumsum([len(ids) for ids in files])])
        return cls(np.concatenate(files), starts)

    def windows(self, length: int) -> np.ndarray:
        """(windows, 2) int64: the file and the first token of each window when files are cut every `length` tokens."""
        sizes = np.diff(self.starts)
        counts = -(-sizes // length)
        files = np.repeat(np.arange(len(sizes)), counts)
        index_in_file = np.arange(len(files)) - np.repeat(np.cumsum(counts) - counts, counts)
        return np.stack([files, self.starts[files] + index_in_file * length], axis=1)


class Items(Protocol):
    """What a stream goes through: the row of an item in a pass, or None where it gives none."""

    def __len__(self) -> int: ...

    def row(self, item: int, epoch: int, rng: np.random.Generator) -> Row | None: ...


class Windows:
    """The files of a corpus cut into windows for a task. After the first pass the cuts of each file are shifted, so
    that its text is seen in other pieces."""

    def __init__(self, corpus: Corpus, task: WindowTask, length: int, seed: Sequence[int]):
        self.corpus, self.task, self.length, self.seed = corpus, task, length, seed
        self.windows = corpus.windows(length)

    def __len__(self) -> int:
        return len(self.windows)

    def row(self, item: int, epoch: int, rng: np.random.Generator) -> Row:
        return self.task(self.window_at(item, epoch), rng)

    def window_at(self, item: int, epoch: int) -> Window:
        """Window `item` of a pass."""
        file, start = self.windows[item]
        first, last = self.corpus.starts[file : file + 2]
        if epoch:
            shifts = np.random.default_rng([*self.seed, _SHIFT, epoch, int(file)])
            start += shifts.integers(-(self.length // 2), self.length // 2 + 1)
        start = min(max(start, first), max(last - self.length, first))
        end = min(start + self.length, last)
        return Window(self.corpus.tokens[start:end], is_end=bool(end == last))


class Accepted:
    """The examples of a table that a task can use."""

    def __init__(self, table: Table, places: np.ndarray, task: ExampleTask):
        self.table, self.places, self.task = table, places, task

    def __len__(self) -> int:
        return len(self.places)

    def row(self, item: int, epoch: int, rng: np.random.Generator) -> Row | None:
        return self.task(self.table[int(self.places[item])], rng)


class Stream:
    """Rows without end from items, all of them in each pass. key: names it in checkpoints and seeds its order."""

    def __init__(self, key: str, task: str, tier: int, items: Items, seed: int):
        self.key, self.task, self.tier, self.items = key, task, tier, items
        self.seed = [seed, zlib.crc32(key.encode())]
        self._order = lru_cache(maxsize=2)(self._order_of)

    def row(self, k: int) -> Row | None:
        """The k-th row, from 0; None where that item gives none."""
        epoch, place = divmod(k, len(self.items))
        item = int(self._order(epoch)[place])
        return self.items.row(item, epoch, np.random.default_rng([*self.seed, _ROW, epoch, item]))

    def _order_of(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([*self.seed, _ORDER, epoch]).permutation(len(self.items))


@dataclass(frozen=True)
class Mixture:
    """All streams of a run, and how much of a task each gives."""

    streams: list[Stream]
    temperature: float

    def weights(self, shares: Mapping[str, float], tier_at: Callable[[str], int]) -> np.ndarray:
        """(streams,) probabilities: each task's share, dealt out to its streams by size ** (1 / temperature).

        tier_at: the hardest tier of a task's examples now. A temperature of 1 takes what there is, a high one the same
        from each folder (Raffel et al. 2020, section 3.5.2, https://arxiv.org/abs/1910.10683).
        """
        weights = np.zeros(len(self.streams))
        for task, share in shares.items():
            own = [n for n, each in enumerate(self.streams) if each.task == task and each.tier <= tier_at(task)]
            own = own or [n for n, each in enumerate(self.streams) if each.task == task]  # when all it has is hard
            sizes = np.array([len(self.streams[n].items) for n in own], dtype=float) ** (1 / self.temperature)
            weights[own] = share * sizes / sizes.sum()
        return weights / weights.sum()

    def summary(self) -> str:
        """How much there is of each task: "complete 1,930, quality 31,200"."""
        sizes: dict[str, int] = {}
        for stream in self.streams:
            sizes[stream.task] = sizes.get(stream.task, 0) + len(stream.items)
        return ", ".join(f"{task} {size:,}" for task, size in sizes.items())


def build_mixture(
    folders: Sequence[Path],
    tasks: Mapping[str, Any],
    *,
    split: str = "train",
    setup: Setup,
    seed: int,
    temperature: float = 1.0,
    keep: Callable[[Example], bool] | None = None,
) -> Mixture:
    """The streams that these tasks, by name, have in these folders of shards.

    keep: which examples may be used at all. Raises DataError naming a task for which no folder has anything.
    """
    streams: list[Stream] = []
    wanted = {name: task for name, task in tasks.items() if name in registry.EXAMPLE_TASKS}
    windowed = {name: task for name, task in tasks.items() if name not in wanted}
    for folder in folders:
        if wanted:
            streams += _example_streams(folder, wanted, split, seed, keep)
        if windowed:
            streams += _window_streams(folder, windowed, split, setup, seed, keep)
    for name in tasks:
        if not any(stream.task == name for stream in streams):
            places = ", ".join(map(str, folders))
            raise DataError(f"nothing in {places} (split {split}) is of use to the task {name}; give more --data")
    order = list(tasks)
    return Mixture(sorted(streams, key=lambda stream: order.index(stream.task)), temperature)


def _window_streams(
    folder: Path,
    tasks: Mapping[str, WindowTask],
    split: str,
    setup: Setup,
    seed: int,
    keep: Callable[[Example], bool] | None,
) -> Iterator[Stream]:
    corpus = read_corpus(folder, split, setup.tokenizer, keep)
    if corpus is None:
        return
    length = setup.source_length + setup.target_length - 3  # room for the task token and both ends
    for name, task in tasks.items():
        key = f"{name}:{folder.name}"
        yield Stream(key, name, 1, Windows(corpus, task, length, [seed, zlib.crc32(key.encode())]), seed)


def read_corpus(
    folder: Path, split: str, tokenizer: PreTrainedTokenizerBase, keep: Callable[[Example], bool] | None = None
) -> Corpus | None:
    """The whole programs of a folder as tokens, None where it has none. A text that stands there twice is read once."""
    table = Table(folder, split, ("code", "kind", "package", "sha256"))
    seen: set[str] = set()

    def texts() -> Iterator[Example]:
        for example in table:
            if example.kind in _WHOLE_PROGRAMS and example.sha256 not in seen and (keep is None or keep(example)):
                seen.add(example.sha256)
                yield example

    try:
        return Corpus.of(texts(), tokenizer)
    except DataError:
        return None


def _example_streams(
    folder: Path,
    tasks: Mapping[str, ExampleTask],
    split: str,
    seed: int,
    keep: Callable[[Example], bool] | None,
) -> Iterator[Stream]:
    columns = sorted({"package", *(column for task in tasks.values() for column in task.columns)})
    table = Table(folder, split, columns)
    places: dict[tuple[str, int], list[int]] = {}
    for place, example in enumerate(table):
        if keep is not None and not keep(example):
            continue
        for name, task in tasks.items():
            if task.accepts(example):
                tier = quality.tier(example) if name in TIERED else 1
                places.setdefault((name, tier), []).append(place)
    for (name, tier), found in sorted(places.items()):
        key = f"{name}:{folder.name}" + (f":{tier}" if tier > 1 else "")
        yield Stream(key, name, tier, Accepted(table, np.array(found), tasks[name]), seed)
