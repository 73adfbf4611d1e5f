"""Everything from nothing: the encoder reads only what is wanted, the decoder writes the window from its first token.

    source  <code> </s>          target  window [</s> where the file ends]
    metric  token_accuracy

`complete` shares a text out between encoder and decoder; here the decoder learns to do without the encoder.

Method: CodeT5+, Wang et al. 2023, section 3.1, the second variant of causal language modelling,
https://arxiv.org/abs/2305.07922
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from elixir_coder.tasks.row import Row, SpecialTokens
from elixir_coder.tasks.window import Window


@dataclass(frozen=True)
class Causal:
    """source_length, target_length: tokens a row may have at most."""

    special: SpecialTokens
    source_length: int
    target_length: int

    def __call__(self, window: Window, rng: np.random.Generator) -> Row:
        target = window.tokens[: self.target_length].tolist()
        if window.is_end and len(window.tokens) < self.target_length:
            target.append(self.special.eos)
        return Row([self.special.code, self.special.eos], target)
