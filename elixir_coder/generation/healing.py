"""Let a prompt end inside a token: give back its last tokens, and let the model write one that begins like them.

Our vocabulary joins ` do` with the line break and the indentation after it, so a prompt that ends in ` do` ends in a
token that hardly occurs in training. The model begins before it and may choose any token that begins with ` do`.

Method: token healing, https://github.com/guidance-ai/guidance (2023), for as many tokens as one token can replace.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from transformers import LogitsProcessor, PreTrainedTokenizerBase

LONGEST = 3  # tokens given back at most


class TokenHealing(LogitsProcessor):
    """Allow as the first token only one that begins with `text`; nothing is forbidden after it.

    texts: of every id of the vocabulary. start: how many ids of each row were there before.
    """

    def __init__(self, text: str, texts: list[str], start: int):
        self.forbidden = torch.tensor([not each.startswith(text) for each in texts])
        self.start = start

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        if input_ids.shape[1] > self.start:
            return scores
        return scores.masked_fill(self.forbidden.to(scores.device), -torch.inf)


def token_texts(tokenizer: PreTrainedTokenizerBase) -> list[str]:
    """Text of every id; "" for special tokens and for those that end inside a character."""
    special = set(tokenizer.all_special_ids)
    texts = tokenizer.batch_decode([[index] for index in range(len(tokenizer))], clean_up_tokenization_spaces=False)
    return ["" if index in special or "\ufffd" in text else text for index, text in enumerate(texts)]


def give_back(
    ids: list[int], texts: list[str], may_follow: Callable[[str, list[int]], bool] | None = None
) -> tuple[list[int], str]:
    """The ids without the last ones that a single token could stand for, and the text of these; "" where none could.

    may_follow: whether one of some tokens may be written in the place of a text; by default, any may.
    """
    for number in range(LONGEST, 0, -1):
        last = ids[-number:]
        text = "".join(texts[index] for index in last)
        if len(last) < number or not all(texts[index] for index in last):
            continue
        longer = [index for index, each in enumerate(texts) if each.startswith(text)]
        if longer and (may_follow is None or may_follow(text, longer)):
            return ids[:-number], text
    return ids, ""
