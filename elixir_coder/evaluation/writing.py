"""Let a model write for many inputs, the same way each time."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

import torch
from transformers import GenerationConfig, LogitsProcessor, PreTrainedModel, PreTrainedTokenizerBase

from decoding_elixir_coder import ElixirGrammarProcessor, GrammarError
from elixir_coder.errors import InputError, require
from elixir_coder.generation.generator import grammar_for
from elixir_coder.generation.healing import TokenHealing, TokenTexts
from elixir_coder.tasks.row import Row
from elixir_coder.training.packing import pad


class Written(NamedTuple):
    """What the model wrote. is_finished: it ended by itself, not at the limit. num_tokens: with `</s>` if it ended."""

    text: str
    is_finished: bool
    num_tokens: int = 0


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
    seeds: Sequence[int] | None = None,
    given_back: Sequence[str] | None = None,
    texts: TokenTexts | None = None,
    continued: Sequence[str] | None = None,
) -> list[Written]:
    """What the model writes for each source, in order. The random state of the program stays as it was.

    sources: token ids for the encoder, `</s>` last. prefixes: for each, what the decoder begins with. temperature: 0
    takes the likeliest token each time. seed: of sampling, for all together. seeds: one for each source instead, so
    that what is written for it does not depend on which others there are (but for how the machine rounds in a batch of
    another size). given_back: for each, text that its first token must begin with (see `generation/healing.py`), which
    is part of what is written; texts: of every id, by `healing.token_texts`. continued: the code that each text
    continues; what is written is then kept in Elixir's grammar, and ended as a whole file within the limit. Code that
    is no beginning of Elixir is continued without the grammar, and their number goes to standard error.

    Raises InputError for a source that is empty or longer than the model reads, GrammarError where code to continue
    cannot be ended within the limit.
    """
    limit = model.config.max_position_embeddings
    for number, source in enumerate(sources):
        if not 0 < len(source) <= limit:
            raise InputError(f"input {number} has {len(source)} tokens; the model reads 1 to {limit}, so shorten it")
    config = GenerationConfig(
        max_new_tokens=max_new_tokens,
        do_sample=temperature > 0 and seeds is None,
        # All said here, or transformers would take them from the folder's generation_config.json.
        **({"temperature": temperature, "top_p": top_p, "top_k": 0} if temperature > 0 and seeds is None else {}),
        num_beams=1,
        repetition_penalty=1.0,
        no_repeat_ngram_size=0,
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        decoder_start_token_id=model.config.decoder_start_token_id,
    )
    prefixes = prefixes or [[] for _ in sources]
    if continued is not None:
        require("llguidance", "decode")
    modes = [None if continued is None else _mode_for(tokenizer, continued[number]) for number in range(len(sources))]
    if continued is not None and None in modes:
        print(
            f"{modes.count(None)} of {len(modes)} inputs are no beginning of Elixir: continued without the grammar",
            file=sys.stderr,
        )
    order = sorted(range(len(sources)), key=lambda number: (len(sources[number]), len(prefixes[number])))
    written: dict[int, Written] = {}
    with torch.random.fork_rng(), torch.inference_mode():
        torch.manual_seed(seed)
        groups = [[at for at in order if modes[at] is not None], [at for at in order if modes[at] is None]]
        for numbers in (group[at : at + batch_size] for group in groups for at in range(0, len(group), batch_size)):
            batch = pad([Row(sources[number], []) for number in numbers], tokenizer.pad_token_id)
            start = [[model.config.decoder_start_token_id, *prefixes[number]] for number in numbers]
            width = max(len(row) for row in start)
            padding = [width - len(row) for row in start]  # on the left, where the decoder does not look
            processors: list[LogitsProcessor] = []
            if given_back is not None and texts is not None:
                processors.append(_RowsBegin([given_back[number] for number in numbers], texts, width))
            if continued is not None and modes[numbers[0]] is not None:
                processors.append(
                    ElixirGrammarProcessor(
                        tokenizer,
                        mode=[modes[number] or "strict" for number in numbers],
                        prefix=[continued[number] for number in numbers],
                        max_new_tokens=max_new_tokens,
                        prompt_length=width,
                        # Where the rows draw for themselves they need every allowed token.
                        do_sample=None if seeds is not None and temperature > 0 else temperature > 0,
                        temperature=temperature,
                        top_p=top_p,
                    )
                )
            if seeds is not None and temperature > 0:
                of_rows = [seeds[number] for number in numbers]
                processors.append(_RowsDraw(of_rows, temperature, top_p, start=width, length=max_new_tokens))
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
                logits_processor=processors,
            )
            for number, output in zip(numbers, outputs[:, width:].tolist()):
                written[number] = _read(output, tokenizer)
    return [written[number] for number in range(len(sources))]


def _mode_for(tokenizer: PreTrainedTokenizerBase, code: str) -> str | None:
    """The mode of the grammar in which the code can be continued, or None where it is no beginning of Elixir."""
    try:
        return grammar_for(tokenizer, code).mode
    except GrammarError:
        return None


def _read(tokens: list[int], tokenizer: PreTrainedTokenizerBase) -> Written:
    is_finished = tokenizer.eos_token_id in tokens
    if is_finished:
        tokens = tokens[: tokens.index(tokenizer.eos_token_id)]
    text = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    return Written(text, is_finished, len(tokens) + is_finished)


class _RowsBegin(LogitsProcessor):
    """Token healing with a text for each row, "" for none."""

    def __init__(self, given_back: Sequence[str], texts: TokenTexts, start: int):
        self.of_rows = [TokenHealing(text, texts, start) if text else None for text in given_back]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        rows = [
            row if healing is None else healing(ids[None], row[None])[0]
            for healing, ids, row in zip(self.of_rows, input_ids, scores)
        ]
        return torch.stack(rows)


class _RowsDraw(LogitsProcessor):
    """Sample each row from its nucleus with a random sequence of its own: leaves the token drawn as the only one.

    A token is drawn by where one uniform number falls among the probabilities, the largest first.
    """

    def __init__(self, seeds: Sequence[int], temperature: float, top_p: float, *, start: int, length: int):
        draws = [torch.rand(length, generator=torch.Generator().manual_seed(seed)) for seed in seeds]
        self.draws = torch.stack(draws)
        self.temperature = temperature
        self.top_p = top_p
        self.start = start

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        chances, tokens = torch.softmax(scores.float() / self.temperature, dim=-1).sort(descending=True, stable=True)
        up_to = chances.cumsum(dim=-1)
        chances = chances.masked_fill(up_to - chances >= self.top_p, 0)  # the most likely one always stays
        up_to = chances.cumsum(dim=-1)
        drawn = self.draws[:, input_ids.shape[1] - self.start, None].to(scores.device) * up_to[:, -1:]
        # Rounding may put the sum of all above the last step; the last token with any chance is drawn then.
        place = (up_to <= drawn).sum(dim=-1, keepdim=True).minimum((chances > 0).sum(dim=-1, keepdim=True) - 1)
        return torch.full_like(scores, -torch.inf).scatter(-1, tokens.gather(-1, place), 0.0)
