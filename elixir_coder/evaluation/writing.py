"""Let a model write for many inputs, the same way each time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import GenerationConfig, PreTrainedModel, PreTrainedTokenizerBase

from elixir_coder.errors import InputError
from elixir_coder.tasks.window import Pair
from elixir_coder.training.batches import collate


class Written(NamedTuple):
    """What the model wrote. is_finished: it ended by itself, not at the limit."""

    text: str
    is_finished: bool


def write(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    sources: Sequence[list[int]],
    prefixes: Sequence[list[int]] | None = None,
    *,
    max_new_tokens: int,
    batch_size: int = 16,
    temperature: float = 0.0,
    top_p: float = 1.0,
    seed: int = 0,
) -> list[Written]:
    """What the model writes for each source, in order. The random state of the program stays as it was.

    sources: token ids for the encoder, `</s>` last. prefixes: for each, what the decoder begins with. temperature: 0
    takes the likeliest token each time.

    Raises InputError for a source that is empty or longer than the model reads.
    """
    limit = model.config.max_position_embeddings
    for number, source in enumerate(sources):
        if not 0 < len(source) <= limit:
            raise InputError(f"input {number} has {len(source)} tokens; the model reads 1 to {limit}, so shorten it")
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=temperature > 0,
        # All said here, or transformers would take them from the folder's generation_config.json.
        **({"temperature": temperature, "top_p": top_p, "top_k": 0} if temperature > 0 else {}),
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=model.config.decoder_start_token_id,
    )
    prefixes = prefixes or [[] for _ in sources]
    order = sorted(range(len(sources)), key=lambda number: (len(sources[number]), len(prefixes[number])))
    written: dict[int, Written] = {}
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seed)
        for at in range(0, len(order), batch_size):
            numbers = order[at : at + batch_size]
            batch = collate([Pair(sources[number], []) for number in numbers], tokenizer.pad_token_id)
            start = [[model.config.decoder_start_token_id, *prefixes[number]] for number in numbers]
            width = max(len(row) for row in start)
            padding = [width - len(row) for row in start]  # on the left, where the decoder does not look
            outputs = model.generate(
                batch["input_ids"].to(model.device),
                attention_mask=batch["attention_mask"].to(model.device),
                decoder_input_ids=torch.tensor(
                    [[tokenizer.pad_token_id] * pad + row for pad, row in zip(padding, start)], device=model.device
                ),
                decoder_attention_mask=torch.tensor(
                    [[0] * pad + [1] * (width - pad) for pad in padding], device=model.device
                ),
                generation_config=config,
            )
            for number, output in zip(numbers, outputs[:, width:].tolist()):
                written[number] = _read(output, tokenizer)
    return [written[number] for number in range(len(sources))]


def _read(tokens: list[int], tokenizer: PreTrainedTokenizerBase) -> Written:
    is_finished = tokenizer.eos_token_id in tokens
    if is_finished:
        tokens = tokens[: tokens.index(tokenizer.eos_token_id)]
    return Written(tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False), is_finished)
