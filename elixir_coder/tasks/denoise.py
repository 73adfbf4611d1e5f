"""Span denoising: the encoder reads text with holes, the decoder writes what was in them.

    source  def <extra_id_0>(a, b) do ... </s>          target  <extra_id_0> add <extra_id_1> ... </s>

Method: Raffel et al. 2020, section 3.1.4, https://arxiv.org/abs/1910.10683: 15% of the tokens, spans of 3 on average.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elixir_coder.tasks.row import Row, SpecialTokens
from elixir_coder.tasks.window import Window, crop


@dataclass(frozen=True)
class Denoise:
    """source_length, target_length: tokens a pair may have at most. density: share of tokens taken out. mean_span:
    tokens a hole has on average."""

    special: SpecialTokens
    source_length: int
    target_length: int
    density: float = 0.15
    mean_span: float = 3.0

    def __call__(self, window: Window, rng: np.random.Generator) -> Row:
        tokens = crop(window.tokens, self.source_length - 1, rng)
        num_noise = min(max(1, round(len(tokens) * self.density)), self.target_length - 2, len(tokens))
        num_spans = max(1, round(num_noise / self.mean_span))
        num_kept = len(tokens) - num_noise
        # Every hole needs a sentinel in the target and, but for the first, kept text in front of it.
        num_spans = min(num_spans, len(self.special.sentinels), self.target_length - 1 - num_noise, max(1, num_kept))
        noise = _split(num_noise, num_spans, rng)
        kept = _split(num_kept, num_spans, rng) if num_kept >= num_spans else [num_kept]

        source: list[int] = []
        target: list[int] = []
        position = 0
        for sentinel, keep, take in zip(self.special.sentinels, kept, noise):
            source += [*tokens[position : position + keep].tolist(), sentinel]
            position += keep
            target += [sentinel, *tokens[position : position + take].tolist()]
            position += take
        return Row([*source, self.special.eos], [*target, self.special.eos])


def _split(total: int, parts: int, rng: np.random.Generator) -> list[int]:
    """Random whole numbers, each at least 1, that add up to `total`."""
    cuts = np.sort(rng.choice(total - 1, size=parts - 1, replace=False)) + 1
    return np.diff(np.concatenate([[0], cuts, [total]])).tolist()
