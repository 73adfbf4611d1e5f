"""How far is a model copied from a relative from the relative itself?

Random weights, with noise on biases and norms and matrices four times as large, so that a wrong scale, offset or mask
shows. One row per relative: the largest difference of the logits with padding, without and with the cache, of the loss,
and the tokens that differ in greedy and in beam search. Exit code 1 when a logit differs by more than 1e-4 or a token
differs. The last line of stdout is JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    PegasusConfig,
    PegasusForConditionalGeneration,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

sys.path.insert(0, str(Path(__file__).parents[1]))
from elixir_coder.release.interop import from_transformers

LIMIT = 1e-4

_BART_SHAPE = {
    "vocab_size": 131,
    "d_model": 48,
    "encoder_layers": 3,
    "decoder_layers": 2,
    "encoder_attention_heads": 4,
    "decoder_attention_heads": 6,
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 80,
    "max_position_embeddings": 96,
}
_T5_SHAPE = {
    "vocab_size": 131,
    "d_model": 48,
    "d_kv": 24,  # no square, so that √head_dim is not exact
    "d_ff": 96,
    "num_layers": 3,
    "num_decoder_layers": 2,
    "num_heads": 4,
    "relative_attention_max_distance": 40,
    "decoder_start_token_id": 0,
    # T5 starts with matrices far larger than BART's. Four times those make attention an either-or, and T5 differs from
    # itself by 5e-3 with and without its cache; four times a quarter is T5 as it starts.
    "initializer_factor": 0.25,
}
REFERENCES: dict[str, Callable[[], PreTrainedModel]] = {
    "BART": lambda: BartForConditionalGeneration(BartConfig(**_BART_SHAPE, scale_embedding=True)),
    "Pegasus": lambda: PegasusForConditionalGeneration(
        PegasusConfig(**_BART_SHAPE, activation_function="relu", scale_embedding=True)
    ),
    "T5 v1.1": lambda: _untied(
        T5ForConditionalGeneration(T5Config(**_T5_SHAPE, feed_forward_proj="gated-gelu", tie_word_embeddings=False))
    ),
    "T5 v1.0": lambda: T5ForConditionalGeneration(T5Config(**_T5_SHAPE)),
}


def _untied(model: PreTrainedModel) -> PreTrainedModel:
    """With an output matrix of its own: transformers 5 ties every T5 it makes, but not one it loads."""
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
    return model


def build(name: str, seed: int = 0) -> PreTrainedModel:
    """A reference with random weights that hide no error, in evaluation mode."""
    torch.manual_seed(seed)
    model = REFERENCES[name]().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 1:
                parameter.add_(0.3 * torch.randn_like(parameter))
            elif parameter.requires_grad:  # a table of sinusoids is to stay one
                parameter.mul_(4)
    return model


def batch(model: PreTrainedModel, rows: int = 3, source_length: int = 37, target_length: int = 60) -> dict:
    """Rows of different lengths, padded on the right, with labels to match."""
    source = torch.randint(3, model.config.vocab_size, (rows, source_length))
    target = torch.randint(3, model.config.vocab_size, (rows, target_length))
    mask = torch.ones_like(source)
    for row in range(rows):
        mask[row, source_length - 5 * row :] = 0
        target[row, target_length - 7 * row :] = -100
    return {
        "input_ids": source.masked_fill(mask == 0, model.config.pad_token_id),
        "attention_mask": mask,
        "labels": target,
    }


@torch.no_grad()
def differences(theirs: PreTrainedModel, ours: PreTrainedModel) -> dict[str, float]:
    """Largest difference of each kind between two models on one batch."""
    inputs = batch(theirs)
    is_target = inputs["labels"] != -100
    plain = [model(**inputs) for model in (theirs, ours)]
    cached = [_step_by_step(model, inputs) for model in (theirs, ours)]

    def largest(a: torch.Tensor, b: torch.Tensor) -> float:
        return (a - b)[is_target].abs().max().item()

    source = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    settings = {"max_new_tokens": 24, "min_new_tokens": 24}
    greedy = [model.generate(**source, **settings) for model in (theirs, ours)]
    beams = [model.generate(**source, **settings, num_beams=4) for model in (theirs, ours)]
    return {
        "logits": largest(plain[0].logits, plain[1].logits),
        "cached": max(largest(*cached), largest(cached[1], plain[0].logits)),
        "loss": (plain[0].loss - plain[1].loss).abs().item(),
        "greedy": int((greedy[0] != greedy[1]).sum()),
        "beams": int((beams[0] != beams[1]).sum()),
        "logits_std": plain[0].logits.std().item(),
    }


def _step_by_step(model: PreTrainedModel, inputs: dict) -> torch.Tensor:
    written = model.prepare_decoder_input_ids_from_labels(inputs["labels"])
    past, logits = None, []
    for position in range(written.shape[1]):
        step = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            decoder_input_ids=written[:, position : position + 1],
            past_key_values=past,
            use_cache=True,
        )
        past = step.past_key_values
        logits.append(step.logits)
    return torch.cat(logits, dim=1)


def main() -> int:
    torch.set_num_threads(1)
    rows = {}
    print(f"{'':8} {'logits':>8} {'cached':>8} {'loss':>8} {'greedy':>7} {'beams':>6} {'std of logits':>14}")
    for name in REFERENCES:
        theirs = build(name)
        row = rows[name] = differences(theirs, from_transformers(theirs))
        numbers = " ".join(f"{row[kind]:8.1e}" for kind in ("logits", "cached", "loss"))
        print(f"{name:8} {numbers} {row['greedy']:7d} {row['beams']:6d} {row['logits_std']:14.2f}")
    worst = max(row[kind] for row in rows.values() for kind in ("logits", "cached"))
    is_equal = worst <= LIMIT and not any(row["greedy"] or row["beams"] for row in rows.values())
    print(json.dumps({"benchmark": "parity", "largest_difference": worst, "equal": is_equal, "rows": rows}))
    return 0 if is_equal else 1


if __name__ == "__main__":
    sys.exit(main())
