"""Bits per byte: how well a model predicts files it has never seen, comparable across tokenizers.

A file is cut into pieces of `target_length` tokens. The encoder reads what stands before a piece (its last
`source_length` tokens), the decoder predicts the piece, and the end of the file after the last one. The sum of
-log2 p over all of it, divided by the file's UTF-8 bytes, is what a compressor with this model would need.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from elixir_coder.errors import InputError
from elixir_coder.example import Example
from elixir_coder.tasks.complete import Complete
from elixir_coder.tasks.window import Pair, SpecialTokens, Window
from elixir_coder.training.batches import IGNORED, Corpus, collate


@dataclass(frozen=True)
class Compression:
    """bits_per_byte over `num_bytes` bytes, in `num_tokens` tokens of `num_files` files."""

    bits_per_byte: float
    num_bytes: int
    num_tokens: int
    num_files: int


def bits_per_byte(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    examples: Sequence[Example],
    *,
    source_length: int = 512,
    target_length: int = 256,
    batch_size: int = 8,
) -> Compression:
    """Held-out bits per byte of whole files. The model is put back in the mode it was in.

    Raises InputError when there is nothing to measure.
    """
    examples = [example for example in examples if example.code]
    if not examples:
        raise InputError("there are no held-out files to measure bits per byte on")
    corpus = Corpus.of(examples, tokenizer)
    pairs = list(pieces(corpus, Complete(SpecialTokens.of(tokenizer), source_length, target_length)))
    pairs.sort(key=lambda pair: (len(pair.source), len(pair.target)))
    was_training = model.training
    model.eval()
    nats = 0.0
    with torch.inference_mode():
        for at in range(0, len(pairs), batch_size):
            nats += negative_log_likelihood(model, pairs[at : at + batch_size], tokenizer.pad_token_id)
    model.train(was_training)
    num_bytes = sum(len(example.code.encode()) for example in examples)
    return Compression(nats / math.log(2) / num_bytes, num_bytes, len(corpus.tokens), len(examples))


def pieces(corpus: Corpus, task: Complete) -> Iterator[Pair]:
    """Every piece of every file, with what stands before it; each token, and each file's end, is predicted once."""
    for first, last in zip(corpus.starts, corpus.starts[1:]):
        file = Window(corpus.tokens[first:last], is_end=True)
        # One token short of the limit, so that the file's end fits into its last piece.
        for cut in range(0, len(file.tokens), task.target_length - 1):
            yield task.at(Window(file.tokens[: cut + task.target_length - 1], is_end=_ends(file, cut, task)), cut)


def _ends(file: Window, cut: int, task: Complete) -> bool:
    return cut + task.target_length - 1 >= len(file.tokens)


def negative_log_likelihood(model: PreTrainedModel, pairs: Iterable[Pair], pad_token_id: int) -> float:
    """Sum of -ln p of the targets of one batch, in float64."""
    batch = {name: tensor.to(model.device) for name, tensor in collate(list(pairs), pad_token_id).items()}
    labels = batch.pop("labels")
    decoder_input_ids = model.prepare_decoder_input_ids_from_labels(labels)
    logits = model(**batch, decoder_input_ids=decoder_input_ids, use_cache=False).logits.float()
    losses = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORED, reduction="none")
    return float(losses.double().sum())
