"""What every self-supervised task starts from, and the pair it makes of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
from transformers import PreTrainedTokenizerBase

from elixir_coder.errors import CheckpointError

# The shortest source_length and target_length that leave every task room for text between its own tokens.
MIN_SOURCE_LENGTH = 8
MIN_TARGET_LENGTH = 4


class Window(NamedTuple):
    """A run of tokens of one file, at least one. tokens: (length,) integers. is_end: whether the file ends with it."""

    tokens: np.ndarray
    is_end: bool


class Pair(NamedTuple):
    """One training row as token ids: what the encoder reads, and what the decoder is to write."""

    source: list[int]
    target: list[int]


class Task(Protocol):
    """A task makes a pair of a window; all its randomness comes from `rng`, so the same seed gives the same pair."""

    def __call__(self, window: Window, rng: np.random.Generator) -> Pair: ...


def crop(tokens: np.ndarray, length: int, rng: np.random.Generator) -> np.ndarray:
    """At most `length` tokens that stand together, from anywhere, so that a task sees all of the text in the end."""
    start = int(rng.integers(max(len(tokens) - length, 0) + 1))
    return tokens[start : start + length]


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the tokens that tasks write, looked up once."""

    eos: int
    code: int
    fim_prefix: int
    fim_middle: int
    fim_suffix: int
    sentinels: tuple[int, ...]

    @classmethod
    def of(cls, tokenizer: PreTrainedTokenizerBase) -> SpecialTokens:
        """Raises CheckpointError naming the first token that the tokenizer does not have."""

        def id_of(token: str) -> int:
            index = tokenizer.convert_tokens_to_ids(token)
            if not isinstance(index, int) or index == tokenizer.unk_token_id:
                raise CheckpointError(
                    f"the tokenizer at {tokenizer.name_or_path} has no token {token}; train on one made by "
                    "`elixir-coder tokenizer train`, or import the model with --add_tokens"
                )
            return index

        return cls(
            eos=id_of("</s>"),
            code=id_of("<code>"),
            fim_prefix=id_of("<fim_prefix>"),
            fim_middle=id_of("<fim_middle>"),
            fim_suffix=id_of("<fim_suffix>"),
            sentinels=tuple(id_of(f"<extra_id_{index}>") for index in range(100)),
        )
