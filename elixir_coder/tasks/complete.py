"""Prefix to rest: the encoder reads what stands before the cursor, the decoder writes what follows.

    source  <code> prefix </s>          target  rest [</s> where the file ends]

Held-out bits per byte are measured on such pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elixir_coder.tasks.row import Row, SpecialTokens
from elixir_coder.tasks.window import Window


@dataclass(frozen=True)
class Complete:
    """source_length, target_length: tokens a pair may have at most. long_context: share of rows whose prefix is as
    long as it can be; the others are cut anywhere, since a user's prompt is often short."""

    special: SpecialTokens
    source_length: int
    target_length: int
    long_context: float = 0.8

    def __call__(self, window: Window, rng: np.random.Generator) -> Row:
        length = len(window.tokens)
        if rng.random() < self.long_context:
            cut = max(length - self.target_length + window.is_end, 0)
        else:
            cut = int(rng.integers(length))
        return self.at(window, cut)

    def at(self, window: Window, cut: int) -> Row:
        """The pair whose target begins at token `cut` of the window."""
        source = window.tokens[max(0, cut - (self.source_length - 2)) : cut].tolist()
        target = window.tokens[cut : cut + self.target_length].tolist()
        if window.is_end and cut + len(target) == len(window.tokens) and len(target) < self.target_length:
            target.append(self.special.eos)
        return Row([self.special.code, *source, self.special.eos], target)
