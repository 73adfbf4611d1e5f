"""Fill in the middle: the encoder reads what stands around a hole, the decoder writes the hole.

    source  <fim_prefix> prefix <fim_suffix> suffix <fim_middle> </s>          target  middle </s>

Method: Bavarian et al. 2022, https://arxiv.org/abs/2207.14255, in prefix-suffix-middle order. The hole is cut between
tokens, so at inference a cursor inside a token is a little harder than anything seen in training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elixir_coder.tasks.row import Row, SpecialTokens
from elixir_coder.tasks.window import Window, crop


@dataclass(frozen=True)
class Infill:
    """source_length, target_length: tokens a pair may have at most."""

    special: SpecialTokens
    source_length: int
    target_length: int

    def __call__(self, window: Window, rng: np.random.Generator) -> Row:
        longest = max(1, min(self.target_length - 1, len(window.tokens) // 2))
        hole = int(rng.integers(1, longest + 1))
        tokens = crop(window.tokens, self.source_length - 4 + hole, rng)
        start = int(rng.integers(len(tokens) - hole + 1))
        return self.at(tokens, start, start + hole)

    def at(self, tokens: np.ndarray, start: int, end: int) -> Row:
        """The pair whose hole is tokens[start:end]."""
        special = self.special
        source = [
            special.fim_prefix,
            *tokens[:start].tolist(),
            special.fim_suffix,
            *tokens[end:].tolist(),
            special.fim_middle,
            special.eos,
        ]
        return Row(source, [*tokens[start:end].tolist(), special.eos])
