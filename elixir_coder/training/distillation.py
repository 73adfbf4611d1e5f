"""A small model that learns from a large one: the large one frozen, and the small one begun from its layers.

The loss is `training/losses.distillation_losses`: for each token that is written, how far the student's probabilities
are from the teacher's (Hinton et al. 2015, https://arxiv.org/abs/1503.02531; of text, word by word: Kim and Rush 2016,
section 3.1, https://arxiv.org/abs/1606.07947).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

from elixir_coder import checkpoint
from elixir_coder.errors import CheckpointError, RecipeError

_LAYER = re.compile(r"(?P<stack>encoder|decoder)\.layers\.(?P<index>\d+)\.")
_STACKS = ("encoder", "decoder")

# Fields by which a model computes something else with the same weights, or has weights of other shapes. Those of layers
# are not among them, and lengths only matter where there is a table of positions, whose shape tells.
_SHAPE = (
    "vocab_size d_model encoder_attention_heads decoder_attention_heads num_key_value_heads head_dim encoder_ffn_dim"
    " decoder_ffn_dim activation_function gated_ffn use_bias norm_type norm_position layer_norm_eps layernorm_embedding"
    " cross_attention_gate scale_embedding tie_word_embeddings lm_head_bias position_embedding_type rope_parameters"
    " share_position_embeddings relative_attention_num_buckets relative_attention_max_distance"
).split()


@dataclass(frozen=True)
class Teacher:
    """A model that is only read. It is no part of the student: neither trained nor saved with it."""

    model: PreTrainedModel

    @classmethod
    def load(
        cls,
        folder: Path | str,
        tokenizer: PreTrainedTokenizerBase,
        *,
        dtype: torch.dtype = torch.float32,
        device: torch.device | str = "cpu",
    ) -> Teacher:
        """The model of a folder. tokenizer: the student's, whose every token must be the teacher's of the same id.

        Raises CheckpointError when it is not, and as `load_model` does.
        """
        theirs, ours = checkpoint.load_tokenizer(folder).get_vocab(), tokenizer.get_vocab()
        if theirs != ours:
            odd = min(theirs.items() ^ ours.items(), key=lambda pair: (pair[1], pair[0]))
            raise CheckpointError(
                f"{folder}: the teacher has another vocabulary than the student ({len(theirs):,} and {len(ours):,} "
                f"tokens, the first that differs is {odd[0]!r} with id {odd[1]}); train both with one tokenizer"
            )
        model = checkpoint.load_model(folder, dtype=dtype, tokenizer=tokenizer)
        return cls(model.to(device).requires_grad_(False).eval())

    @property
    def weight(self) -> torch.Tensor:
        """Its output matrix (V, E)."""
        return self.model.lm_head.weight

    @property
    def bias(self) -> torch.Tensor | None:
        """What it adds to the logits (V,), if anything."""
        return self.model.lm_head.bias

    @torch.no_grad()
    def hidden(self, inputs: Mapping[str, Any]) -> torch.Tensor:
        """The decoder's states (B, T, E) for what the student's `model.model(**inputs)` gets, packed or not."""
        return self.model.model(**inputs).last_hidden_state


def student_config(
    teacher: PretrainedConfig,
    preset: str | None = None,
    *,
    encoder_layers: int | None = None,
    decoder_layers: int | None = None,
    **overrides: Any,
) -> checkpoint.ElixirCoderConfig:
    """The configuration of a model that can learn from the teacher: the same vocabulary and labels.

    preset: one of `ElixirCoderConfig`'s; without one the teacher's own shape, with so many layers. overrides: more
    fields to change. Raises RecipeError for what cannot be, such as more layers than the teacher has.
    """
    given = {"encoder_layers": encoder_layers, "decoder_layers": decoder_layers}
    layers = {name: number for name, number in given.items() if number is not None}
    if preset is not None:
        shared = (
            "vocab_size pad_token_id bos_token_id eos_token_id decoder_start_token_id quality_labels security_labels"
        )
        fields = {name: getattr(teacher, name) for name in shared.split()}
        return checkpoint.preset_config(preset, **fields | layers | overrides)
    for name, number in layers.items():
        if not 1 <= number <= getattr(teacher, name):
            raise RecipeError(
                f"{name} of the student must be 1 to {getattr(teacher, name)}, as the teacher; got {number}"
            )
    try:
        return type(teacher)(**teacher.to_dict() | layers | overrides)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"the student's configuration cannot be: {error}") from error


def student_from(
    teacher: PreTrainedModel, config: checkpoint.ElixirCoderConfig, kind: str = "generation"
) -> PreTrainedModel:
    """A model of `config` with the teacher's weights: those of evenly spaced layers, first and last among them.

    kind: as in `checkpoint.load_model`; a head that the teacher does not have keeps random weights. No memory is shared
    with the teacher.

    Raises CheckpointError naming the field by which the teacher's layers do not fit.
    Source: "shrink and fine-tune", Shleifer and Rush 2020, section 3, https://arxiv.org/abs/2010.13002
    """
    for name in _SHAPE:
        theirs, ours = getattr(teacher.config, name), getattr(config, name)
        if theirs != ours:
            raise CheckpointError(
                f"the teacher's layers do not fit the student: {name} is {theirs} and {ours}; give the student the "
                "teacher's, or begin it from random weights: it can learn from the teacher all the same"
            )
    student = checkpoint.new_model(config, kind)
    picked = {
        stack: evenly(getattr(teacher.config, f"{stack}_layers"), getattr(config, f"{stack}_layers"))
        for stack in _STACKS
    }

    def source_of(name: str) -> str:
        layer = _LAYER.search(name)
        if layer is None:
            return name
        begin, end = layer.span("index")
        return f"{name[:begin]}{picked[layer['stack']][int(layer['index'])]}{name[end:]}"

    given = teacher.state_dict()
    with torch.no_grad():
        for name, own in student.state_dict().items():  # tensors that share the model's memory
            value = given.get(source_of(name))
            if value is None and "_head" in name and not name.startswith("lm_head"):
                continue
            if value is None or value.shape != own.shape:
                shape = "is missing there" if value is None else f"has the shape {tuple(value.shape)} there"
                raise CheckpointError(f"the teacher does not fit the student: {name} {tuple(own.shape)} {shape}")
            own.copy_(value)
    return student


def evenly(num_layers: int, num_picked: int) -> list[int]:
    """So many of the layers, in order, the first and the last among them: evenly(12, 3) is [0, 6, 11].

    Raises RecipeError when there are not as many.
    """
    if not 1 <= num_picked <= num_layers:
        raise RecipeError(f"a student's stack has 1 to {num_layers} layers, as many as the teacher's; got {num_picked}")
    gaps = max(1, num_picked - 1)
    return [(2 * index * (num_layers - 1) + gaps) // (2 * gaps) for index in range(num_picked)]
