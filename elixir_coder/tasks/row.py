"""What every task makes: one row to train on, as token ids and what is to be said of them.

A task is a pure function of what it is given and of `rng`, so the same seed gives the same row. Most start from an
`Example`; those that need nothing but source text start from a `Window` of tokens (tasks/window.py).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from transformers import PreTrainedTokenizerBase

from elixir_coder.errors import CheckpointError
from elixir_coder.example import Example
from tokenization_elixir_coder import encode_untrusted

# The shortest source_length and target_length that leave every task room for text between its own tokens.
MIN_SOURCE_LENGTH = 8
MIN_TARGET_LENGTH = 4

UNKNOWN = -100  # a label that counts in no loss, as everywhere in transformers


@dataclass(frozen=True)
class Row:
    """One training row; what it does not have is empty. S tokens of source, T of target.

    source: (S,) what the encoder reads, </s> included. target: (T,) what the decoder writes, </s> included where the
    text ends; every token of it counts in the loss, unless `match` is given.
    positions: (S,) where each token of the source stands; None for 0, 1, 2, ... visible: (S, S) bool, which token (row)
    sees which (column); None for all.
    judgements: by head ("quality", "security": one of 1, 0, -100 for each label of the model; "clarification": (1,)).
    tags: (S,) int8, 1 where a token of the source is part of an identifier, 0 where not, -100 where it does not count.
    edges: (E, 3) int32: two tokens of the source, and 1 where they belong together, else 0.
    candidates: texts to encode; the source is to be found nearest to the first, the others are alike and wrong.
    match: whether the target belongs to the source (1) or not (0); its tokens are read, not written.
    """

    source: list[int]
    target: list[int] = field(default_factory=list)
    positions: Sequence[int] | None = None
    visible: np.ndarray | None = None
    judgements: Mapping[str, np.ndarray] = field(default_factory=dict)
    tags: np.ndarray | None = None
    edges: np.ndarray | None = None
    candidates: tuple[list[int], ...] = ()
    match: int | None = None

    @property
    def num_tokens(self) -> int:
        """All that is read and written."""
        return len(self.source) + len(self.target) + sum(map(len, self.candidates))


@dataclass(frozen=True)
class SpecialTokens:
    """Ids of the tokens that tasks write, looked up once."""

    eos: int
    mask: int
    code: int
    test: int
    review: int
    explanation: int
    clarification: int
    ontology: int
    file_sep: int
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

        names = "mask code test review explanation clarification ontology file_sep fim_prefix fim_middle fim_suffix"
        return cls(
            eos=id_of("</s>"),
            sentinels=tuple(id_of(f"<extra_id_{index}>") for index in range(100)),
            **{name: id_of(f"<{name}>") for name in names.split()},
        )


@dataclass(frozen=True)
class Setup:
    """What tasks need to know of the model they train: its tokens, its labels, and how long a row may be.

    source_length, target_length: tokens a row may have at most, special tokens included. quality_labels,
    security_labels: names in the order of the model's logits.
    """

    tokenizer: PreTrainedTokenizerBase
    special: SpecialTokens
    source_length: int
    target_length: int
    quality_labels: tuple[str, ...] = ()
    security_labels: tuple[str, ...] = ()

    def ids(self, text: str) -> list[int]:
        """Token ids of a text in which a special token's name is text like any other."""
        return encode_untrusted(self.tokenizer, text)


@runtime_checkable
class ExampleTask(Protocol):
    """A task that starts from an example. Its module says source, target, labels and metric.

    name: what recipes and logs call it. metric: what is measured of it on held-out examples, one of
    tasks/registry.METRICS. columns: the fields of `Example` it reads, so that no others are kept.
    """

    name: ClassVar[str]
    metric: ClassVar[str]
    columns: ClassVar[tuple[str, ...]]

    def accepts(self, example: Example) -> bool:
        """Whether it can make anything of the example: quick, and without looking at tokens."""
        ...

    def __call__(self, example: Example, rng: np.random.Generator) -> Row | None:
        """The row of an accepted example, or None where its lengths leave no row worth having."""
        ...
