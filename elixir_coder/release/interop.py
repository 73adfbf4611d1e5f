"""Relatives of the architecture, as tables: which of their settings and weights become which of ours, and back.

    model = from_transformers(BartForConditionalGeneration.from_pretrained(folder))
    theirs = to_transformers(model, "bart")

A relative is a value of our configuration, so a copy gives the same logits to rounding; `benchmarks/bench_parity.py`
measures the difference in both directions, docs/INTEROP.md tells it for each family. What is not plain renaming:

- BART, PLBart and mBART keep two unused rows before position 0.
- Pegasus and Marian compute their sinusoids as we do. M2M100 computes others (frequencies spaced by d/2 - 1): they come
  in as a learned table, which goes back only as long as it was not trained away from theirs.
- T5 does not divide attention scores by √head_dim; √head_dim goes into our query projection. A T5 that divides the
  decoder's output by √d_model before the head has that in the head's matrix; where this is the input table too, ours is
  T5's divided by √d_model, and `scale_embedding` multiplies it again where it is read.
- T5 keeps its one table of relative positions per stack inside the stack's first layer.
- Their `final_logits_bias` is the bias of our lm_head; one of zeros is none.

On the way out three forms of ours are written into weights that give the same: grouped key/value heads are repeated, a
table of positions shared by both stacks is copied, and the gate of cross-attention goes into its output projection.

Not covered: BlenderbotSmall, whose decoder adds positions after the norm of its embeddings.
"""

from __future__ import annotations

import copy
import math
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
import transformers
from torch import nn
from transformers import PretrainedConfig, PreTrainedModel

from elixir_coder.checkpoint import ElixirCoderConfig, new_model
from elixir_coder.errors import CheckpointError


@dataclass(frozen=True)
class Relative:
    """How one family of models maps to ours; the same rows are read in both directions.

    model: its class in transformers. form: values of our fields that all its models have. imported: values that ours
    have when they come from it, and need not have to go there. fields: our fields, and its names for them. read, write:
    what is more than a name: our fields from its configuration, and its from ours.
    names: patterns for our weights, and its names for them, which agree where none matches; of several the first one
    that it has is read, and all are written. scale: factor from its weight to ours, by our name.
    positions: its table, (at least max_position_embeddings, d_model), row 0 for position 0, from the module that holds
    it and the configuration; None where it is a weight like others. computes_positions: its table is no weight.
    """

    model: str
    form: Mapping[str, Any]
    fields: tuple[tuple[str, str], ...]
    read: Callable[[PretrainedConfig], dict[str, Any]]
    write: Callable[[ElixirCoderConfig], dict[str, Any]]
    imported: Mapping[str, Any] = field(default_factory=dict)
    names: tuple[tuple[str, str], ...] = ()
    scale: Callable[[str, ElixirCoderConfig, PretrainedConfig], float] = lambda name, ours, theirs: 1.0
    positions: Callable[[nn.Module, PretrainedConfig], torch.Tensor] | None = None
    computes_positions: bool = False

    def names_of(self, ours: str, theirs: Mapping[str, torch.Tensor]) -> list[str]:
        """Its names for our parameter, out of the weights it has; empty when it has none."""
        matches = ((re.fullmatch(pattern, ours), template) for pattern, template in self.names)
        return [name for name in [match.expand(text) for match, text in matches if match] or [ours] if name in theirs]


# ---------------------------------------------------------------------------------------------------------- the tables

_TOKENS = ("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id")
_TRAINING_ONLY = ("dropout", "attention_dropout", "activation_dropout", "init_std")  # no part of what is computed
_TABLE, _BIAS = "embed_tokens.weight", "final_logits_bias"
_ALIASES = {"silu": "swish", "gelu_pytorch_tanh": "gelu_new", "gelu_python": "gelu"}  # other names of what we have


def _one_activation(config: PretrainedConfig) -> dict[str, Any]:
    return {"activation_function": _ALIASES.get(config.activation_function, config.activation_function)}


def _to_bart(config: ElixirCoderConfig) -> dict[str, Any]:
    return {
        "activation_function": config.activation_function,
        "tie_word_embeddings": config.tie_word_embeddings,
        "forced_eos_token_id": None,  # BART's default; where a model wants it, its generation settings say so
    }


def _bart(model: str, **differences: Any) -> Relative:
    """BART and its descendants: fields named as ours, one layer's weights named as ours. differences: from BART."""
    form = {
        "norm_type": "layernorm",
        "norm_position": "post",
        "layer_norm_eps": 1e-5,
        "layernorm_embedding": True,
        "gated_ffn": False,
        "use_bias": True,
        "position_embedding_type": "learned",
    }
    stacks = ("encoder", "decoder")
    alike = [f"{stack}_{what}" for stack in stacks for what in ("layers", "attention_heads", "ffn_dim")]
    alike += ["d_model", "max_position_embeddings", "scale_embedding", *_TRAINING_ONLY]
    settings: dict[str, Any] = {
        "fields": tuple((name, name) for name in alike),
        "read": _one_activation,
        "write": _to_bart,
        # What is called `shared` is read only where the encoder reads it too.
        "names": (
            (r"model\.shared\.weight", f"model.encoder.{_TABLE}"),
            (r"model\.shared\.weight", "model.shared.weight"),
            (r"lm_head\.bias", _BIAS),
        ),
        "positions": lambda module, config: module.weight[2:],
    }
    return Relative(model=model, form=form | differences.pop("form", {}), **settings | differences)


def _m2m_100_positions(module: nn.Module, config: PretrainedConfig) -> torch.Tensor:
    """Computed anew: the buffer may have fewer rows than positions, or more once a longer text was read."""
    first = config.pad_token_id + 1
    table = module.get_embedding(first + config.max_position_embeddings, config.d_model, config.pad_token_id)
    return table[first:]


_T5_FORM = {
    "norm_type": "rmsnorm",
    "norm_position": "pre",
    "layernorm_embedding": False,
    "use_bias": False,
    "position_embedding_type": "relative",
    "lm_head_bias": False,
}
_T5_FIELDS = (
    ("d_model", "d_model"),
    ("encoder_layers", "num_layers"),
    ("decoder_layers", "num_decoder_layers"),
    ("encoder_attention_heads", "num_heads"),
    ("decoder_attention_heads", "num_heads"),
    ("head_dim", "d_kv"),
    ("encoder_ffn_dim", "d_ff"),
    ("decoder_ffn_dim", "d_ff"),
    ("dropout", "dropout_rate"),
    ("attention_dropout", "dropout_rate"),
    ("activation_dropout", "dropout_rate"),
    ("layer_norm_eps", "layer_norm_epsilon"),
    ("relative_attention_num_buckets", "relative_attention_num_buckets"),
    ("relative_attention_max_distance", "relative_attention_max_distance"),
)


def _from_t5(config: PretrainedConfig) -> dict[str, Any]:
    activation = config.dense_act_fn
    return {"activation_function": _ALIASES.get(activation, activation), "gated_ffn": config.is_gated_act}


def _to_t5(config: ElixirCoderConfig) -> dict[str, Any]:
    activation = config.activation_function
    if config.gated_ffn:  # to T5, "gated-gelu" has always meant the approximation
        activation = "gated-" + {"gelu_new": "gelu", "gelu": "gelu_python"}.get(activation, activation)
    return {
        "feed_forward_proj": activation,
        "n_positions": config.max_position_embeddings,  # T5 has no limit; other programs read theirs from here
        # T5 1.0 ties its head and scales what goes in, T5 1.1 does neither. What is written follows that, so that
        # every program that knows T5 reads it right.
        "tie_word_embeddings": config.tie_word_embeddings,
    }


def _t5_scale(name: str, ours: ElixirCoderConfig, theirs: PretrainedConfig) -> float:
    if name.endswith("q_proj.weight"):
        return math.sqrt(theirs.d_kv)
    output = theirs.d_model**-0.5 if theirs.scale_decoder_outputs else 1.0
    is_input, is_head = name.endswith(("shared.weight", _TABLE)), name == "lm_head.weight"
    if ours.tie_word_embeddings and not ours.scale_embedding:  # the one table is read as it is: the last norm scales
        return output if name == "model.decoder.layer_norm.weight" else 1.0
    if is_input and ours.scale_embedding:
        return theirs.d_model**-0.5
    return output if is_head else 1.0


def _t5_names() -> Iterator[tuple[str, str]]:
    for name in (f"encoder.{_TABLE}", "shared.weight"):
        yield r"model\.shared\.weight", name
    for stack, last in (("encoder", 1), ("decoder", 2)):  # the feed-forward part stands last in a T5 block
        ours, theirs = rf"model\.{stack}", rf"{stack}.block.\1.layer"
        yield rf"{ours}\.embed_tokens\.weight", rf"{stack}.{_TABLE}"
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


_SINUSOIDS: dict[str, Any] = {"positions": lambda module, config: module.weight, "computes_positions": True}

RELATIVES = {
    "bart": _bart("BartForConditionalGeneration"),
    "plbart": _bart("PLBartForConditionalGeneration"),
    "mbart": _bart("MBartForConditionalGeneration", form={"norm_position": "pre"}),
    "blenderbot": _bart(
        "BlenderbotForConditionalGeneration",
        form={"norm_position": "pre", "layernorm_embedding": False},
        positions=lambda module, config: module.weight,
    ),
    "pegasus": _bart(
        "PegasusForConditionalGeneration",
        form={"norm_position": "pre", "layernorm_embedding": False, "position_embedding_type": "sinusoidal"},
        **_SINUSOIDS,
    ),
    "marian": _bart(
        "MarianMTModel",
        form={"layernorm_embedding": False, "position_embedding_type": "sinusoidal"},
        **_SINUSOIDS,
    ),
    "m2m_100": _bart(
        "M2M100ForConditionalGeneration",
        form={"norm_position": "pre", "layernorm_embedding": False, "lm_head_bias": False},
        imported={"share_position_embeddings": True},
        positions=_m2m_100_positions,
        computes_positions=True,
    ),
    "t5": Relative(
        model="T5ForConditionalGeneration",
        form=_T5_FORM,
        fields=_T5_FIELDS,
        read=_from_t5,
        write=_to_t5,
        names=tuple(_t5_names()),
        scale=_t5_scale,
    ),
}


# ------------------------------------------------------------------------------------------------- theirs becomes ours


def relative_of(kind: str) -> Relative:
    """The row of a family. Raises CheckpointError naming those there are."""
    if kind not in RELATIVES:
        raise CheckpointError(f"cannot copy a model of type {kind!r}; known are {', '.join(sorted(RELATIVES))}")
    return RELATIVES[kind]


def from_transformers(model: PreTrainedModel) -> PreTrainedModel:
    """An elixir-coder model that computes what `model`, a conditional-generation model of a relative, computes.

    Weights are copied, in the dtype they have; the generation settings come along. Raises CheckpointError for a family
    not in RELATIVES and for weights that our form of it has no place for.
    """
    kind = model.config.model_type
    relative = relative_of(kind)
    if not isinstance(model, getattr(transformers, relative.model)):
        raise CheckpointError(f"cannot copy a {type(model).__name__}; load the folder as {relative.model}")
    weights = _weights(model, relative)
    if _BIAS in weights and not weights[_BIAS].any():
        del weights[_BIAS]
    ours = _new_ours(model, relative, weights)
    # `shared` is nothing of its own: where no stack reads it, nobody does.
    left = {id(tensor): name for name, tensor in weights.items() if not name.endswith("shared.weight")}
    read: dict[int, str] = {}
    with torch.no_grad():
        for name, tensor in _weights(ours, relative).items():
            source = next(iter(relative.names_of(name, weights)), None)
            if source is None:
                raise CheckpointError(f"the model has no weight for our {name}")
            left.pop(id(weights[source]), None)
            before = read.setdefault(id(tensor), source)
            if weights[source] is not weights[before] and not torch.equal(weights[source], weights[before]):
                raise CheckpointError(f"its {before} and {source} differ, and our models have one table for both")
            tensor.copy_(weights[source] * relative.scale(name, ours.config, model.config))
        for mine, theirs in _position_tables(ours, model, relative):
            if ours.config.position_embedding_type == "sinusoidal":
                _check_table(theirs, mine, "its table of positions is not the one that its kind computes")
            else:
                mine.copy_(theirs)
    if left:
        raise CheckpointError(f"there is no place for its weight {min(left.values())}")
    ours.generation_config = copy.deepcopy(model.generation_config)
    return ours.train(model.training)


def _new_ours(model: PreTrainedModel, relative: Relative, weights: Mapping[str, torch.Tensor]) -> PreTrainedModel:
    theirs = model.config
    # What the weights say: T5's configuration calls every head tied.
    is_tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    fields = {name: getattr(theirs, name, None) for name in _TOKENS}  # not every family has every token
    fields |= {ours: getattr(theirs, name) for ours, name in relative.fields}
    fields |= dict(relative.form) | dict(relative.imported) | relative.read(theirs)
    fields |= {"tie_word_embeddings": is_tied, "lm_head_bias": _BIAS in weights}
    if "scale_embedding" not in fields:
        fields["scale_embedding"] = is_tied and theirs.scale_decoder_outputs
    try:
        return new_model(ElixirCoderConfig(**fields)).to(model.dtype)
    except ValueError as error:
        raise CheckpointError(f"this {theirs.model_type} model has no form of ours: {error}") from error


# ------------------------------------------------------------------------------------------------- ours becomes theirs


def to_transformers(model: PreTrainedModel, kind: str) -> PreTrainedModel:
    """A model of transformers' own class for `kind` that computes what `model`, one of ours that writes, computes.

    Weights are copied, in the dtype they have; the generation settings come along. Heads that judge and
    `separate_decoder_heads` stay behind. Raises CheckpointError when the family has no place for the model's form,
    naming every setting that stands in the way and the families that have it.
    """
    relative = relative_of(kind)
    if not hasattr(model, "lm_head"):
        raise CheckpointError(f"a {type(model).__name__} writes nothing; load the folder as one that does")
    ours = model.config
    if found := obstacles(ours, kind):
        fitting = [each for each in RELATIVES if not obstacles(ours, each)]
        way_out = f"it can be written as {', '.join(fitting)}" if fitting else "no other family of transformers has it"
        raise CheckpointError(f"cannot write this model as {kind}: {'; '.join(found)}; {way_out}")
    theirs = _new_theirs(model, relative)
    weights = _weights(theirs, relative)
    left = {id(tensor): name for name, tensor in weights.items() if name != _BIAS}  # zero where ours has none
    with torch.no_grad():
        for name, tensor in _weights(model, relative).items():
            value = _without_own_form(model, name, tensor) / relative.scale(name, ours, theirs.config)
            for target in relative.names_of(name, weights):
                weights[target].copy_(value)
                left.pop(id(weights[target]), None)
        for mine, table in _position_tables(model, theirs, relative):
            if relative.computes_positions:
                _check_table(mine, table, f"this model's positions are not those that {kind} computes")
            else:
                table.copy_(mine)
    assert not left, f"nothing was written to {sorted(left.values())}"
    theirs.generation_config = copy.deepcopy(model.generation_config)
    return theirs.train(model.training)


def obstacles(config: ElixirCoderConfig, kind: str) -> list[str]:
    """Each setting of ours that a family has no place for, in words; none when the model can be written as one."""
    relative = relative_of(kind)
    found = []
    for name, wanted in relative.form.items():
        if (value := getattr(config, name)) != wanted:
            found.append(f"{name} is {value!r}, in {kind} {wanted!r}")
    values: dict[str, tuple[str, Any]] = {}
    for name, theirs in relative.fields:
        value = _value(config, name)
        before, same = values.setdefault(theirs, (name, value))
        if same != value and name not in _TRAINING_ONLY:
            found.append(f"{before} is {same} and {name} {value}, which are one {theirs} in {kind}")
    for stack in ("encoder", "decoder") if "head_dim" not in dict(relative.fields) else ():
        heads, width = getattr(config, f"{stack}_attention_heads"), config.head_width(stack)
        if heads * width != config.d_model:
            found.append(f"head_dim is {width}, in {kind} d_model / {stack}_attention_heads")
    return found


def _value(config: ElixirCoderConfig, name: str) -> Any:
    return config.head_width("encoder") if name == "head_dim" else getattr(config, name)


def _new_theirs(model: PreTrainedModel, relative: Relative) -> PreTrainedModel:
    ours = model.config
    fields: dict[str, Any] = {name: getattr(ours, name) for name in _TOKENS}
    for name, theirs in relative.fields:
        fields.setdefault(theirs, _value(ours, name))
    model_class = getattr(transformers, relative.model)
    new = model_class(model_class.config_class(**fields | relative.write(ours)))
    if not ours.tie_word_embeddings and new.lm_head.weight is new.get_input_embeddings().weight:
        # transformers 5 ties every T5 it makes, but not one it loads with two matrices and this in its configuration
        new.lm_head.weight = nn.Parameter(torch.empty_like(new.lm_head.weight))
        new.config.tie_word_embeddings = False
    return new.to(model.dtype)


def _without_own_form(model: PreTrainedModel, name: str, tensor: torch.Tensor) -> torch.Tensor:
    """A weight of ours as a model would have it that has a key/value head for each head, and no gate."""
    module, _, part = name.rpartition(".")
    attention, _, projection = module.rpartition(".")
    if projection in ("k_proj", "v_proj"):
        owner = model.get_submodule(attention)
        heads = tensor.unflatten(0, (-1, owner.head_dim))
        return heads.repeat_interleave(owner.num_key_value_groups, dim=0).flatten(0, 1)
    if model.config.cross_attention_gate and attention.endswith("encoder_attn") and projection == "out_proj":
        gate = model.get_submodule(attention.removesuffix(".encoder_attn")).encoder_attn_gate.tanh()
        return tensor * (gate[:, None] if part == "weight" else gate)
    return tensor


# ------------------------------------------------------------------------------------------------------ both directions

_OURS_ALONE = r"(?!model\.|lm_head\.).*|.*encoder_attn_gate"  # heads of our own; the gate is no weight of its own


def _weights(model: PreTrainedModel, relative: Relative) -> dict[str, torch.Tensor]:
    """Every weight that is copied by name, a shared one under each of its names."""
    weights = dict(model.named_parameters(remove_duplicate=False))
    if relative.positions is not None:
        weights = {name: tensor for name, tensor in weights.items() if "embed_positions" not in name}
    if (bias := getattr(model, _BIAS, None)) is not None:
        weights[_BIAS] = bias[0]
    if model.config.model_type == ElixirCoderConfig.model_type:
        return {name: tensor for name, tensor in weights.items() if not re.fullmatch(_OURS_ALONE, name)}
    return weights


def _position_tables(
    ours: PreTrainedModel, theirs: PreTrainedModel, relative: Relative
) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Of each stack our table and theirs, (max_position_embeddings, d_model); none where they are weights by name."""
    if relative.positions is None:
        return
    for stack in ("encoder", "decoder"):
        mine, module = (getattr(each.model, stack).embed_positions for each in (ours, theirs))
        yield mine.weight, relative.positions(module, theirs.config)


def _check_table(given: torch.Tensor, computed: torch.Tensor, message: str) -> None:
    """Raise CheckpointError unless a table of values up to 1 is the computed one, to the rounding of its dtype."""
    difference = (given.float() - computed.float()).abs().max().item()
    if not difference <= max(1e-4, torch.finfo(given.dtype).eps):  # nan is no table either
        raise CheckpointError(f"{message} (largest difference {difference:.1e})")
