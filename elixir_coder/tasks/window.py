"""What a task without examples starts from: a run of tokens of one file."""

from __future__ import annotations

from typing import NamedTuple, Protocol

import numpy as np

from elixir_coder.tasks.row import Row


class Window(NamedTuple):
    """A run of tokens of one file, at least one. tokens: (length,) integers. is_end: whether the file ends with it."""

    tokens: np.ndarray
    is_end: bool


class WindowTask(Protocol):
    """A task makes a row of a window; all its randomness comes from `rng`, so the same seed gives the same row."""

    def __call__(self, window: Window, rng: np.random.Generator) -> Row: ...


def crop(tokens: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    """At most `length` tokens that stand together, from anywhere, so that a task sees all of the text in the end."""
    start = int(rng.integers(max(len(tokens) - length, 0) + 1))
    return tokens[start : start + length]
