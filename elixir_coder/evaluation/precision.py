"""What a runtime costs in quality: each against PyTorch in float32, on the same files, given the same text so far.

At every token of held-out files, read and predicted as for bits per byte, the distributions of two runtimes are
compared: whether both find the same token most probable, how many of the five most probable tokens they share, and
what a compressor would lose by taking one for the other. What they write by themselves is compared by `eval.py`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from elixir_coder.checkpoint import load_model
from elixir_coder.errors import RecipeError
from elixir_coder.evaluation.compression import pieces, target_scores
from elixir_coder.evaluation.scores import wilson_interval
from elixir_coder.tasks.complete import Complete
from elixir_coder.training.mixture import Corpus

NUM_TOP = 5


@dataclass(frozen=True)
class Runtime:
    """What a model computes with. name: "plain", which is PyTorch, or "fast". dtype: of its weights."""

    name: str
    dtype: str

    def __str__(self) -> str:
        return f"{self.name} {self.dtype}"


REFERENCE = Runtime("plain", "float32")
COMPARED = (Runtime("plain", "bfloat16"), Runtime("fast", "int8"), Runtime("fast", "bfloat16"))


@dataclass(frozen=True)
class Fidelity:
    """How near a runtime comes to the reference over `num_tokens` tokens. Intervals are of 95%.

    bits_change: of bits per byte, relative to the reference's. same_token: share of tokens where both find the same one
    most probable. top_five: share of the reference's five most probable that are among the runtime's. lost_bits: what a
    token costs more, on average over the reference's own distribution (Kullback-Leibler).
    """

    num_tokens: int
    bits_per_byte: float
    bits_change: float
    same_token: float
    same_token_interval: tuple[float, float]
    top_five: float
    lost_bits: float


def open_model(folder: Path, runtime: Runtime, tokenizer: PreTrainedTokenizerBase) -> PreTrainedModel:
    """The model of a folder with this runtime.

    Raises RecipeError where the runtime cannot be had, and a CheckpointError as `load_model` does.
    """
    if runtime.name == "plain":
        return load_model(folder, dtype=getattr(torch, runtime.dtype), tokenizer=tokenizer)
    model = load_model(folder, tokenizer=tokenizer, runtime=runtime.name, runtime_dtype=runtime.dtype)
    if model.runtime is None:
        raise RecipeError(f"--runtime {runtime.name} cannot be had here: {model.why_plain}; take --runtime plain")
    return model


def weights_bytes(model: PreTrainedModel) -> int:
    """Memory that the weights take, packed or not; a table that is used twice counts once."""
    sizes = {each.data_ptr(): each.nbytes for each in (*model.parameters(), *model.buffers())}
    return sum(sizes.values())


def compare(
    models: Mapping[Runtime, PreTrainedModel],
    corpus: Corpus,
    task: Complete,
    *,
    num_bytes: int,
    pad_token_id: int,
    batch_size: int = 8,
) -> dict[Runtime, Fidelity]:
    """Each of the models against the first. num_bytes: of the files in `corpus`, in UTF-8."""
    located = sorted(pieces(corpus, task), key=lambda each: (len(each[1].target), len(each[1].source)))
    pairs = [pair for _, pair in located]
    sums = np.zeros((len(models), 4))
    with torch.inference_mode():
        for at in range(0, len(pairs), batch_size):
            rows = [target_scores(model, pairs[at : at + batch_size], pad_token_id) for model in models.values()]
            for (reference, targets), *others in zip(*rows):
                scored = (reference, *(scores for scores, _ in others))
                sums += list(_compared(scored, targets))
    num_tokens = sum(len(pair.target) for pair in pairs)
    reference_bits = float(sums[0, 0])
    return {
        runtime: Fidelity(
            num_tokens=num_tokens,
            bits_per_byte=bits / num_bytes,
            bits_change=bits / reference_bits - 1,
            same_token=same / num_tokens,
            same_token_interval=wilson_interval(same, num_tokens),
            top_five=shared / num_tokens,
            lost_bits=lost / num_tokens,
        )
        for runtime, (bits, same, shared, lost) in zip(models, sums.tolist())
    }


def _compared(scored: Sequence[torch.Tensor], targets: torch.Tensor) -> Iterator[tuple[float, float, float, float]]:
    """For the scores (T, vocabulary) of each model, sums over tokens: bits, same token, share of five, lost bits."""
    expected = scored[0].log_softmax(dim=-1)
    top = expected.topk(NUM_TOP).indices
    for scores in scored:
        found = scores.log_softmax(dim=-1)
        of_targets = found.gather(-1, targets[:, None]).double()
        is_shared = (found.topk(NUM_TOP).indices[:, :, None] == top[:, None, :]).any(dim=-1)
        lost = (expected.exp() * (expected - found)).sum(dim=-1).double()
        yield (
            -of_targets.sum().item() / math.log(2),
            (scores.argmax(dim=-1) == scored[0].argmax(dim=-1)).sum().item(),
            is_shared.double().mean(dim=-1).sum().item(),
            lost.sum().item() / math.log(2),
        )
