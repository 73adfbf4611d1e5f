"""How far is a model copied from a relative, or to one, from the original?

Random weights, with noise on biases and norms and matrices four times as large, so that a wrong scale, offset or mask
shows. First one row per relative copied to ours (`from_transformers`), then one per model of ours copied to a relative
(`to_transformers`): the largest difference of the logits with padding, without and with the cache, of the loss, and the
tokens that differ in greedy and in beam search. Exit code 1 when a logit or a loss differs by more than 1e-4 or a token
differs. The last line of stdout is JSON.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    BlenderbotConfig,
    BlenderbotForConditionalGeneration,
    M2M100Config,
    M2M100ForConditionalGeneration,
    MarianConfig,
    MarianMTModel,
    MBartConfig,
    MBartForConditionalGeneration,
    PegasusConfig,
    PegasusForConditionalGeneration,
    PLBartConfig,
    PLBartForConditionalGeneration,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

sys.path.insert(0, str(Path(__file__).parents[1]))
from elixir_coder.checkpoint import ElixirCoderConfig, new_model
from elixir_coder.release.interop import RELATIVES, from_transformers, to_transformers

LIMIT = 1e-4
_ALONE = 12  # positions

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
    "BART, untied": lambda: _untied(BartForConditionalGeneration(BartConfig(**_BART_SHAPE))),
    "PLBart": lambda: PLBartForConditionalGeneration(PLBartConfig(**_BART_SHAPE, decoder_start_token_id=4)),
    "mBART": lambda: MBartForConditionalGeneration(MBartConfig(**_BART_SHAPE, decoder_start_token_id=5)),
    "Blenderbot": lambda: BlenderbotForConditionalGeneration(BlenderbotConfig(**_BART_SHAPE)),
    "Pegasus": lambda: PegasusForConditionalGeneration(
        PegasusConfig(**_BART_SHAPE, activation_function="relu", scale_embedding=True)
    ),
    "Marian": lambda: MarianMTModel(
        MarianConfig(
            **_BART_SHAPE,
            activation_function="swish",
            scale_embedding=True,
            pad_token_id=130,
            decoder_start_token_id=130,
        )
    ),
    "M2M100": lambda: M2M100ForConditionalGeneration(M2M100Config(**_BART_SHAPE)),
    "T5 v1.1": lambda: _untied(
        T5ForConditionalGeneration(T5Config(**_T5_SHAPE, feed_forward_proj="gated-gelu", tie_word_embeddings=False))
    ),
    "T5 v1.0": lambda: T5ForConditionalGeneration(T5Config(**_T5_SHAPE)),
}

_OUR_T5 = {  # the shape of the tiny preset
    "encoder_ffn_dim": 96,
    "decoder_ffn_dim": 96,
    "decoder_attention_heads": 4,
    "activation_function": "gelu_new",
    "gated_ffn": True,
    "scale_embedding": True,
    "relative_attention_max_distance": 40,
}
EXPORTS: dict[str, tuple[str, dict[str, Any]]] = {  # the relative, and what differs from its form and _BART_SHAPE
    "bart": ("bart", {"scale_embedding": True}),
    "bart, untied": ("bart", {"tie_word_embeddings": False}),
    "bart, grouped": ("bart", {"num_key_value_heads": 2, "lm_head_bias": True}),
    "bart, gate": ("bart", {"cross_attention_gate": True}),
    "plbart": ("plbart", {"activation_function": "relu"}),
    "mbart": ("mbart", {"share_position_embeddings": True}),
    "blenderbot": ("blenderbot", {"scale_embedding": True}),
    "pegasus": ("pegasus", {"activation_function": "gelu_new"}),
    "marian": ("marian", {"activation_function": "swish", "lm_head_bias": True}),
    "t5, as tiny": ("t5", _OUR_T5),
    "t5, unscaled": ("t5", _OUR_T5 | {"scale_embedding": False, "gated_ffn": False, "head_dim": 24}),
    "t5, untied": ("t5", _OUR_T5 | {"tie_word_embeddings": False, "activation_function": "gelu"}),
    "t5, grouped": ("t5", _OUR_T5 | {"num_key_value_heads": 2, "cross_attention_gate": True}),
}


def _untied(model: PreTrainedModel) -> PreTrainedModel:
    """With an output matrix of its own: transformers 5 ties all tables of a model that it makes, or none of BART's."""
    model.lm_head.weight = torch.nn.Parameter(torch.randn_like(model.lm_head.weight))
    return model


def build(name: str, seed: int = 0) -> PreTrainedModel:
    """A reference with random weights that hide no error, in evaluation mode."""
    torch.manual_seed(seed)
    model = REFERENCES[name]().eval()
    if name == "Marian":  # of these only Marian was ever published with a bias on its output that is not zero
        model.final_logits_bias.normal_()
    return _noised(model)


def build_ours(name: str, seed: int = 0) -> PreTrainedModel:
    """A model of ours of the form of a relative, with random weights that hide no error, in evaluation mode."""
    kind, differences = EXPORTS[name]
    torch.manual_seed(seed)
    config = ElixirCoderConfig(**_BART_SHAPE | dict(RELATIVES[kind].form) | differences)
    return _noised(new_model(config).eval())


@torch.no_grad()
def _noised(model: PreTrainedModel) -> PreTrainedModel:
    for parameter in model.parameters():
        if parameter.dim() == 1:
            parameter.add_(0.3 * torch.randn_like(parameter))
        elif parameter.requires_grad:  # a table of sinusoids is to stay one
            parameter.mul_(4)
    return model


def batch(model: PreTrainedModel, rows: int = 3, source_length: int = 37, target_length: int = 48) -> dict:
    """Rows of different lengths, padded on the right, with labels to match and what the decoder reads."""
    pad = model.config.pad_token_id
    source = torch.randint(6, model.config.vocab_size - 1, (rows, source_length))
    target = torch.randint(6, model.config.vocab_size - 1, (rows, target_length))
    mask = torch.ones_like(source)
    for row in range(rows):
        mask[row, source_length - 5 * row :] = 0
        target[row, target_length - 7 * row :] = -100
    # Given, because PLBart and mBART begin what they read with the last label instead.
    written = torch.full_like(target, model.config.decoder_start_token_id)
    written[:, 1:] = target[:, :-1].masked_fill(target[:, :-1] == -100, pad)
    return {
        "input_ids": source.masked_fill(mask == 0, pad),
        "attention_mask": mask,
        "decoder_input_ids": written,
        "labels": target,
    }


@torch.no_grad()
def differences(one: PreTrainedModel, other: PreTrainedModel) -> dict[str, float]:
    """Largest difference of each kind between two models on one batch."""
    inputs = batch(one)
    is_target = inputs["labels"] != -100
    plain = [model(**inputs) for model in (one, other)]
    cached = [_with_cache(model, inputs) for model in (one, other)]

    def largest(a: torch.Tensor, b: torch.Tensor) -> float:
        return (a - b)[is_target].abs().max().item()

    source = {name: inputs[name] for name in ("input_ids", "attention_mask")}
    settings = {"max_new_tokens": 12, "min_new_tokens": 12}
    greedy = [model.generate(**source, **settings) for model in (one, other)]
    beams = [model.generate(**source, **settings, num_beams=4) for model in (one, other)]
    return {
        "logits": largest(plain[0].logits, plain[1].logits),
        "cached": max(largest(*cached), largest(cached[1], plain[0].logits)),
        "loss": (plain[0].loss - plain[1].loss).abs().item(),
        "greedy": int((greedy[0] != greedy[1]).sum()),
        "beams": int((beams[0] != beams[1]).sum()),
        "logits_std": plain[0].logits.std().item(),
    }


def _with_cache(model: PreTrainedModel, inputs: dict) -> torch.Tensor:
    """The logits of a first part read at once, and of every position after it read alone."""
    written = inputs["decoder_input_ids"]
    length = written.shape[1]
    past, logits = None, []
    for part in written.split([length - _ALONE, *[1] * _ALONE], dim=1):
        step = model(
            input_ids=inputs["input_ids"],
            attention_mask=inputs["attention_mask"],
            decoder_input_ids=part,
            past_key_values=past,
            use_cache=True,
        )
        past = step.past_key_values
        logits.append(step.logits)
    return torch.cat(logits, dim=1)


def pairs() -> dict[str, Callable[[], tuple[PreTrainedModel, PreTrainedModel]]]:
    """Every comparison by name: the original and its copy."""

    def to_ours(name: str) -> tuple[PreTrainedModel, PreTrainedModel]:
        theirs = build(name)
        return theirs, from_transformers(theirs)

    def from_ours(name: str) -> tuple[PreTrainedModel, PreTrainedModel]:
        ours = build_ours(name)
        return ours, to_transformers(ours, EXPORTS[name][0])

    def back(name: str) -> tuple[PreTrainedModel, PreTrainedModel]:
        ours = from_transformers(build(name))
        return ours, to_transformers(ours, "m2m_100")

    found = {f"{name} -> ours": lambda name=name: to_ours(name) for name in REFERENCES}
    found |= {f"ours -> {name}": lambda name=name: from_ours(name) for name in EXPORTS}
    return found | {"ours -> m2m_100": lambda: back("M2M100")}  # only what has its table of positions can go there


def main() -> int:
    torch.set_num_threads(1)
    rows = {}
    print(f"{'':22} {'logits':>8} {'cached':>8} {'loss':>8} {'greedy':>7} {'beams':>6} {'std of logits':>14}")
    for name, make in pairs().items():
        row = rows[name] = differences(*make())
        numbers = " ".join(f"{row[kind]:8.1e}" for kind in ("logits", "cached", "loss"))
        print(f"{name:22} {numbers} {row['greedy']:7d} {row['beams']:6d} {row['logits_std']:14.2f}", flush=True)
    worst = max(row[kind] for row in rows.values() for kind in ("logits", "cached", "loss"))
    is_equal = worst <= LIMIT and not any(row["greedy"] or row["beams"] for row in rows.values())
    print(json.dumps({"benchmark": "parity", "largest_difference": worst, "equal": is_equal, "rows": rows}))
    return 0 if is_equal else 1


if __name__ == "__main__":
    sys.exit(main())
