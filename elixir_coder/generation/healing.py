"""Let a prompt end inside a token: give back its last tokens, and let the model write one that begins like them.

Our vocabulary joins ` do` with the line break and the indentation after it, so a prompt that ends in ` do` ends in a
token that hardly occurs in training. The model begins before it and may choose any token that begins with ` do`.

Method: token healing, https://github.com/guidance-ai/guidance (2023), for as many tokens as one token can replace.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from functools import cached_property

import torch
from transformers import LogitsProcessor, PreTrainedTokenizerBase

LONGEST = 3  # tokens given back at most


class TokenHealing(LogitsProcessor):
    """Allow as the first token only one that begins with `text`; nothing is forbidden after it.

    texts: of every id of the vocabulary. start: how many ids of each row were there before.
    """

    def __init__(self, text: str, texts: TokenTexts, start: int):
        self.forbidden = torch.ones(len(texts), dtype=torch.bool)
        self.forbidden[texts.beginning_with(text)] = False
        self.start = start

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if input_ids.shape[1] > self.start:
            return scores
        return scores.masked_fill(self.forbidden.to(scores.device), -torch.inf)


class TokenTexts(list[str]):
    """Text of every id, and which ids' texts begin with another text: in microseconds, for a prompt waits for it."""

    @cached_property
    def _sorted(self) -> tuple[list[str], list[int]]:
        order = sorted(range(len(self)), key=self.__getitem__)
        return [self[index] for index in order], order

    def beginning_with(self, text: str) -> list[int]:
        """The ids, in the order of their texts: those with this very text come first."""
        texts, order = self._sorted
        first = bisect_left(texts, text)
        after = bisect_right(texts, text, lo=first, key=lambda each: each[: len(text)])
        return order[first:after]


def token_texts(tokenizer: PreTrainedTokenizerBase) -> TokenTexts:
    """Text of every id; "" for special tokens and for those that end inside a character."""
    special = set(tokenizer.all_special_ids)
    # Not through transformers' `batch_decode`, which gives the same and takes three times as long.
    texts = tokenizer.backend_tokenizer.decode_batch(
        [[index] for index in range(len(tokenizer))], skip_special_tokens=False
    )
    return TokenTexts("" if index in special or "\ufffd" in text else text for index, text in enumerate(texts))


def give_back(
    ids: list[int], texts: TokenTexts, may_follow: Callable[[str, list[int]], bool] | None = None
) -> tuple[list[int], str]:
    """The ids without the last ones that a single token could stand for, and the text of these; "" where none could.

    may_follow: whether one of some tokens may be written in the place of a text; by default, any may.
    """
    for number in range(LONGEST, 0, -1):
        last = ids[-number:]
        text = "".join(texts[index] for index in last)
        if len(last) < number or not all(texts[index] for index in last):
            continue
        longer = texts.beginning_with(text)
        if longer and (may_follow is None or may_follow(text, longer)):
            return ids[:-number], text
    return ids, ""
