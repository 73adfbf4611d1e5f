"""Bits per byte: how well files it has never seen are predicted, comparable across tokenizers and with compressors.

A file is cut into pieces of `target_length` tokens. The encoder reads what stands before a piece (its last
`source_length` tokens), the decoder predicts the piece, and the end of the file after the last one. The sum of
-log2 p over all of it, divided by the file's UTF-8 bytes, is what a compressor with this model would need.
"""

from __future__ import annotations

import lzma
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from elixir_coder.errors import InputError
from elixir_coder.example import Example
from elixir_coder.tasks.complete import Complete
from elixir_coder.tasks.row import UNKNOWN, Row, SpecialTokens
from elixir_coder.tasks.window import Window
from elixir_coder.training.mixture import Corpus
from elixir_coder.training.packing import pad


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
    examples = with_text(examples)
    corpus = Corpus.of(examples, tokenizer)
    task = Complete(SpecialTokens.of(tokenizer), source_length, target_length)
    bits = file_bits(model, corpus, task, pad_token_id=tokenizer.pad_token_id, batch_size=batch_size)
    num_bytes = sum(len(example.code.encode()) for example in examples)
    return Compression(float(bits.sum()) / num_bytes, num_bytes, len(corpus.tokens), len(examples))


def with_text(examples: Iterable[Example]) -> list[Example]:
    """The examples that are not empty. Raises InputError when there is none."""
    chosen = [example for example in examples if example.code]
    if not chosen:
        raise InputError("there is no held-out file with text in it, so nothing to measure; collect the corpus again")
    return chosen


def file_bits(
    model: PreTrainedModel, corpus: Corpus, task: Complete, *, pad_token_id: int, batch_size: int = 8
) -> np.ndarray:
    """(files,) float64: bits that each file takes, its end included."""
    located = sorted(pieces(corpus, task), key=lambda each: (len(each[1].target), len(each[1].source)))
    bits = np.zeros(len(corpus.starts) - 1)
    was_training = model.training
    model.eval()
    with torch.inference_mode():
        for at in range(0, len(located), batch_size):
            files, pairs = zip(*located[at : at + batch_size])
            np.add.at(bits, list(files), negative_log_likelihood(model, pairs, pad_token_id) / math.log(2))
    model.train(was_training)
    return bits


def pieces(corpus: Corpus, task: Complete) -> Iterator[tuple[int, Row]]:
    """Every piece of every file with the file's number; each token, and each file's end, is predicted once."""
    step = task.target_length - 1  # one short of the limit, so that the file's end fits into its last piece
    for number, (first, last) in enumerate(zip(corpus.starts, corpus.starts[1:])):
        tokens = corpus.tokens[first:last]
        for cut in range(0, len(tokens), step):
            yield number, task.at(Window(tokens[: cut + step], is_end=cut + step >= len(tokens)), cut)


def negative_log_likelihood(model: PreTrainedModel, pairs: Sequence[Row], pad_token_id: int) -> np.ndarray:
    """(rows,) float64: the sum of -ln p of each pair's target, in one forward pass."""
    # Row by row: the log-softmax of a whole batch over 32,000 tokens would be as large as the logits once more.
    losses = [
        F.cross_entropy(scores, targets, reduction="none").double().sum()
        for scores, targets in target_scores(model, pairs, pad_token_id)
    ]
    return torch.stack(losses).cpu().numpy()


def target_scores(
    model: PreTrainedModel, pairs: Sequence[Row], pad_token_id: int
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """For each pair the scores (T, vocabulary) float32 of its target's tokens, and these (T,); both may be gone when
    the next ones are asked for. With the fast runtime they are what it writes by, not what its plain forward gives."""
    batch = {name: tensor.to(model.device) for name, tensor in pad(list(pairs), pad_token_id).items()}
    labels = batch.pop("labels")
    decoder_input_ids = model.prepare_decoder_input_ids_from_labels(labels)
    runtime = getattr(model, "runtime", None)
    if runtime is None:
        logits = model(**batch, decoder_input_ids=decoder_input_ids, use_cache=False).logits
        for row, label in zip(logits, labels):
            yield row[label != UNKNOWN].float(), label[label != UNKNOWN]
    else:
        for source, written, label in zip(runtime.read(**batch), decoder_input_ids, labels):
            is_real = label != UNKNOWN
            state = runtime.state([source], capacity=int(is_real.sum()))
            yield state.step([written[is_real].tolist()], keep_all=True), label[is_real]


def xz_bits(examples: Iterable[Example]) -> int:
    """Bits of all the files as one stream of `xz -9e`, which learns from nothing but the stream itself."""
    return 8 * len(
        lzma.compress("".join(example.code for example in examples).encode(), preset=9 | lzma.PRESET_EXTREME)
    )
