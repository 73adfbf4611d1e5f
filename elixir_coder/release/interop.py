"""Relatives of the architecture, as tables: which of their settings and weights become which of ours.

    model = from_transformers(BartForConditionalGeneration.from_pretrained(folder))

A relative is a value of our configuration, so a copy gives the same logits to rounding; `benchmarks/bench_parity.py`
measures the difference. What the tables say that is not plain renaming:

- BART keeps two unused rows before position 0.
- T5 does not divide attention scores by √head_dim; √head_dim goes into our query projection. Its first release divides
  the decoder's output by √d_model before the tied head; that goes into our last norm.
- T5 keeps its one table of relative positions per stack inside the stack's first layer.

Not covered: a head with a bias of its own (Marian's `final_logits_bias`, which is zero in BART and Pegasus).
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Container, Iterator
from dataclasses import dataclass

import torch
from transformers import PretrainedConfig, PreTrainedModel

from elixir_coder.checkpoint import ElixirCoderConfig, new_model
from elixir_coder.errors import CheckpointError


@dataclass(frozen=True)
class Relative:
    """How one family of models maps to ours.

    settings: our configuration fields from its configuration. names: patterns for our names, and its names for them;
    without a match the names agree. scale: factor from its tensor to ours, by our name. first_row: rows of its tables
    of positions that stand before position 0. computed: pattern of those of its weights that we compute instead.
    """

    settings: Callable[[PretrainedConfig], dict]
    names: tuple[tuple[str, str], ...] = ()
    scale: Callable[[str, PretrainedConfig], float] = lambda name, config: 1.0
    first_row: int = 0
    computed: str = r""

    def name_of(self, ours: str, theirs: Container[str]) -> str:
        """Its name for our parameter, out of the names it has. Raises CheckpointError when it has none."""
        matches = ((re.fullmatch(pattern, ours), template) for pattern, template in self.names)
        for name in [match.expand(template) for match, template in matches if match] or [ours]:
            if name in theirs:
                return name
        raise CheckpointError(f"the model has no weight for our {ours}")


_TOKENS = ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
_ALIKE = (  # fields that BART and its descendants name as we do
    *(f"{stack}_{what}" for stack in ("encoder", "decoder") for what in ("layers", "attention_heads", "ffn_dim")),
    "d_model",
    "max_position_embeddings",
    "dropout",
    "attention_dropout",
    "activation_dropout",
    "init_std",
    "scale_embedding",
)
_ACTIVATIONS = {"silu": "swish", "gelu_pytorch_tanh": "gelu_new"}  # other names of what we have


def _tokens(config: PretrainedConfig) -> dict:
    return {name: getattr(config, name, None) for name in _TOKENS}  # not every family has every token


def _alike(config: PretrainedConfig) -> dict:
    activation = config.activation_function
    return (
        _tokens(config)
        | {name: getattr(config, name) for name in _ALIKE}
        | {"activation_function": _ACTIVATIONS.get(activation, activation)}
    )


def _bart_settings(config: PretrainedConfig) -> dict:
    return _alike(config) | {
        "norm_position": "post",
        "layernorm_embedding": True,
        "position_embedding_type": "learned",
    }


def _pegasus_settings(config: PretrainedConfig) -> dict:
    return _alike(config) | {"norm_position": "pre", "position_embedding_type": "sinusoidal"}


def _t5_settings(config: PretrainedConfig) -> dict:
    return _tokens(config) | {
        "d_model": config.d_model,
        "encoder_layers": config.num_layers,
        "decoder_layers": config.num_decoder_layers,
        "encoder_attention_heads": config.num_heads,
        "decoder_attention_heads": config.num_heads,
        "head_dim": config.d_kv,
        "encoder_ffn_dim": config.d_ff,
        "decoder_ffn_dim": config.d_ff,
        "dropout": config.dropout_rate,
        "attention_dropout": config.dropout_rate,
        "activation_dropout": config.dropout_rate,
        "activation_function": _ACTIVATIONS.get(config.dense_act_fn, config.dense_act_fn),
        "gated_ffn": config.is_gated_act,
        "use_bias": False,
        "norm_type": "rmsnorm",
        "norm_position": "pre",
        "layer_norm_eps": config.layer_norm_epsilon,
        "position_embedding_type": "relative",
        "relative_attention_num_buckets": config.relative_attention_num_buckets,
        "relative_attention_max_distance": config.relative_attention_max_distance,
    }


def _t5_scale(name: str, config: PretrainedConfig) -> float:
    if name.endswith("q_proj.weight"):
        return math.sqrt(config.d_kv)
    if name == "model.decoder.layer_norm.weight" and config.scale_decoder_outputs:
        return config.d_model**-0.5
    return 1.0


def _t5_names() -> Iterator[tuple[str, str]]:
    yield r"model\.shared\.(\w+)", r"shared.\1"
    for stack, last in (("encoder", 1), ("decoder", 2)):  # the feed-forward part stands last in a T5 block
        ours, theirs = rf"model\.{stack}", rf"{stack}.block.\1.layer"
        yield rf"{ours}\.layer_norm\.weight", rf"{stack}.final_layer_norm.weight"
        yield (
            rf"{ours}\.embed_positions\.weight",
            rf"{stack}.block.0.layer.0.SelfAttention.relative_attention_bias.weight",
        )
        for place, attention, part in ((0, "self_attn", "SelfAttention"), (1, "encoder_attn", "EncDecAttention")):
            yield rf"{ours}\.layers\.(\d+)\.{attention}_layer_norm\.weight", rf"{theirs}.{place}.layer_norm.weight"
            for letter in "qkvo":
                projection = "out_proj" if letter == "o" else f"{letter}_proj"
                yield (
                    rf"{ours}\.layers\.(\d+)\.{attention}\.{projection}\.weight",
                    rf"{theirs}.{place}.{part}.{letter}.weight",
                )
        yield rf"{ours}\.layers\.(\d+)\.final_layer_norm\.weight", rf"{theirs}.{last}.layer_norm.weight"
        for part, name in (("fc_gate", "wi_0"), ("fc1", "wi_1"), ("fc1", "wi"), ("fc2", "wo")):  # wi_1 gated, wi plain
            yield rf"{ours}\.layers\.(\d+)\.{part}\.weight", rf"{theirs}.{last}.DenseReluDense.{name}.weight"


RELATIVES = {
    "bart": Relative(settings=_bart_settings, first_row=2),
    "pegasus": Relative(settings=_pegasus_settings, computed=r".*\.embed_positions\.weight"),
    "t5": Relative(settings=_t5_settings, names=tuple(_t5_names()), scale=_t5_scale),
}


def from_transformers(model: PreTrainedModel) -> PreTrainedModel:
    """An elixir-coder model that computes what `model`, a conditional-generation model of a relative, computes.

    Weights are copied, in the dtype they have; the generation settings come along. Raises CheckpointError for a family
    not in RELATIVES and for weights that our form of it has no place for.
    """
    kind = model.config.model_type
    if kind not in RELATIVES:
        raise CheckpointError(f"cannot copy a model of type {kind!r}; known are {', '.join(sorted(RELATIVES))}")
    relative = RELATIVES[kind]
    bias = getattr(model, "final_logits_bias", None)
    if bias is not None and bias.any():
        raise CheckpointError("its output has a bias (final_logits_bias), which elixir-coder models do not have")
    theirs = dict(model.named_parameters(remove_duplicate=False))
    left = {id(tensor): name for name, tensor in theirs.items() if not re.fullmatch(relative.computed, name)}

    # what the weights say: T5's configuration calls every head tied
    is_tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    config = ElixirCoderConfig(**relative.settings(model.config), tie_word_embeddings=is_tied)
    ours = new_model(config).to(model.dtype)
    with torch.no_grad():
        for name, tensor in ours.named_parameters():
            source = theirs[relative.name_of(name, theirs)]
            left.pop(id(source), None)
            rows = source[relative.first_row :] if "embed_positions" in name else source
            tensor.copy_(rows * relative.scale(name, model.config))
    if left:
        raise CheckpointError(f"there is no place for its weight {min(left.values())}")
    ours.generation_config = copy.deepcopy(model.generation_config)
    return ours.train(model.training)
