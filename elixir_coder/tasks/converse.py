"""A conversation up to the assistant's turn, to what the assistant says.

    source  <|user|> instruction <|end|> <|assistant|> question <|end|> <|user|> answer <|end|> <|assistant|> </s>
    target  reply </s>

From every example with turns; each of the assistant's turns is as likely. A conversation is whole or the row is left
out: what was said first is what is talked about. Metric: token_accuracy.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from elixir_coder.example import Example
from elixir_coder.tasks.prompt import whole_conversation, written
from elixir_coder.tasks.row import Row, Setup


@dataclass(frozen=True)
class Converse:
    """Turns, and the assistant's next one."""

    setup: Setup

    name: ClassVar[str] = "converse"
    metric: ClassVar[str] = "token_accuracy"
    columns: ClassVar[tuple[str, ...]] = ("turns",)

    def accepts(self, example: Example) -> bool:
        return bool(_replies(example))

    def __call__(self, example: Example, rng: np.random.Generator) -> Row | None:
        replies = _replies(example)
        place = replies[int(rng.integers(len(replies)))]
        source = whole_conversation(self.setup, example.turns[:place])
        return Row(source, written(self.setup, example.turns[place].content)) if source else None


def _replies(example: Example) -> list[int]:
    turns = example.turns
    return [place for place in range(1, len(turns)) if (turns[place - 1].role, turns[place].role) == _EXCHANGE]


_EXCHANGE = ("user", "assistant")
