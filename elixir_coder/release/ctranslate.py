"""A model as a CTranslate2 folder: int8 and float generation in C++, without torch or transformers.

    export(Path("."), Path("ct2"), dtype="int8")
    translator = ctranslate2.Translator("ct2")      # tokens in, tokens out; the tokenizer lies beside it

CTranslate2's own converter reads stock classes, and some of what it expects of them is no longer so in transformers 5:
BART's configuration lost `normalize_before`, and T5's calls every head tied, so that an untied one is scaled. This
module fills CTranslate2's specification from our model itself, which also covers what no relative has: grouped heads,
rotary positions in both stacks, a gate on cross-attention (multiplied into the matrix before it).

Not covered: ALiBi, which CTranslate2 has in decoders only; rotations other than the default and linear ones; heads of
single tasks (`separate_decoder_heads`). Checked in tests/release/test_ctranslate.py for every other form of the model.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from elixir_coder.errors import CheckpointError, require

DTYPES = ("int8", "float32", "float16")


def export(model_folder: Path, out: Path, dtype: str = "int8") -> list[Path]:
    """Write the model and its tokenizer into `out`, whole or not at all.

    dtype: one of DTYPES; "int8" quantises matrices and tables row by row, the rest stays float32.

    Raises CheckpointError for a model that CTranslate2 cannot run and when `out` cannot be written;
    MissingDependencyError without the extra `export`.
    """
    require("ctranslate2", extra="export")
    from elixir_coder.checkpoint import load_model, load_tokenizer
    from elixir_coder.release.folder import building, copy_tokenizer

    if dtype not in DTYPES:
        raise CheckpointError(f"--dtype of CTranslate2 must be one of {', '.join(DTYPES)}, got {dtype!r}")
    tokenizer = load_tokenizer(model_folder)
    model = load_model(model_folder, "generation", tokenizer=tokenizer)
    spec = specification(model, tokenizer)
    spec.validate()
    spec.optimize(quantization=dtype)
    with building(out) as folder:
        spec.save(str(folder))
        copy_tokenizer(model_folder, folder)
        names = sorted(file.name for file in folder.iterdir())
    return [Path(out) / name for name in names]


def specification(model: Any, tokenizer: Any) -> Any:
    """CTranslate2's description of our model, with its weights. Raises CheckpointError for a form it does not know."""
    from ctranslate2.specs import transformer_spec

    config = model.config
    _check(config)
    encoder = transformer_spec.TransformerEncoderSpec(
        config.encoder_layers, config.encoder_attention_heads, **_form(config, "encoder")
    )
    decoder = transformer_spec.TransformerDecoderSpec(
        config.decoder_layers, config.decoder_attention_heads, **_form(config, "decoder")
    )
    _fill_stack(encoder, encoder.embeddings[0], model.model.encoder)
    _fill_stack(decoder, decoder.embeddings, model.model.decoder)
    _fill_linear(decoder.projection, model.lm_head)

    spec = transformer_spec.TransformerSpec(encoder, decoder)
    tokens = tokenizer.convert_ids_to_tokens(list(range(config.vocab_size)))
    spec.register_source_vocabulary(tokens)
    spec.register_target_vocabulary(tokens)
    spec.config.bos_token = tokenizer.bos_token
    spec.config.eos_token = tokenizer.eos_token
    spec.config.unk_token = tokenizer.unk_token
    spec.config.decoder_start_token = tokens[config.decoder_start_token_id]
    spec.config.layer_norm_epsilon = config.layer_norm_eps
    return spec


def _check(config: Any) -> None:
    if config.position_embedding_type == "alibi":
        raise CheckpointError(
            "CTranslate2 has ALiBi in decoders only; this model has position_embedding_type='alibi' in its encoder too"
        )
    if config.position_embedding_type == "rotary" and config.rope_parameters["rope_type"] not in ("default", "linear"):
        raise CheckpointError(
            "of rotations this export knows 'default' and 'linear'; this model has "
            f"rope_parameters['rope_type']={config.rope_parameters['rope_type']!r}"
        )
    if config.separate_decoder_heads:
        raise CheckpointError(
            f"CTranslate2 has one head; this model has separate_decoder_heads={config.separate_decoder_heads}"
        )


def _form(config: Any, stack: str) -> dict[str, Any]:
    """What the specification of either stack asks to know before it is filled."""
    from ctranslate2.specs import attention_spec, common_spec

    activations = {"gelu": "GELU", "gelu_new": "GELUTanh", "relu": "RELU", "swish": "SWISH"}
    num_heads, num_key_value_heads = getattr(config, f"{stack}_attention_heads"), config.key_value_heads(stack)
    form = {
        "pre_norm": config.norm_position == "pre",
        "activation": common_spec.Activation[activations[config.activation_function]],
        "layernorm_embedding": config.layernorm_embedding,
        "relative_attention_bias": config.position_embedding_type == "relative",
        "ffn_glu": config.gated_ffn,
        "rms_norm": config.norm_type == "rmsnorm",
        "num_heads_kv": None if num_key_value_heads == num_heads else num_key_value_heads,
        "head_dim": config.head_width(stack),
    }
    if config.position_embedding_type == "rotary":
        rope = config.rope_parameters
        form |= {"rotary_dim": 0, "rotary_interleave": False, "rotary_base": rope["rope_theta"]}
        if rope["rope_type"] == "linear":
            form |= {
                "rotary_scaling_type": attention_spec.RotaryScalingType.Linear,
                "rotary_scaling_factor": rope["factor"],
            }
    return form


def _fill_stack(spec: Any, embeddings: Any, stack: Any) -> None:
    embeddings.weight = stack.embed_tokens.weight
    spec.scale_embeddings = stack.embed_tokens.embed_scale
    if hasattr(spec, "position_encodings") and stack.config.position_embedding_type in ("learned", "sinusoidal"):
        spec.position_encodings.encodings = stack.embed_positions.weight
    if stack.layernorm_embedding is not None:
        _fill_norm(spec.layernorm_embedding, stack.layernorm_embedding)
    if stack.layer_norm is not None:
        _fill_norm(spec.layer_norm, stack.layer_norm)
    for layer_spec, layer in zip(spec.layer, stack.layers):
        _fill_layer(layer_spec, layer)
        if stack.config.position_embedding_type == "relative":  # one table for all layers, which each layer names
            _fill_relative_positions(layer_spec.self_attention, stack.embed_positions)


def _fill_layer(spec: Any, layer: Any) -> None:
    _fill_attention(spec.self_attention, layer.self_attn, is_cross_attention=False)
    _fill_norm(spec.self_attention.layer_norm, layer.self_attn_layer_norm)
    if hasattr(layer, "encoder_attn"):
        _fill_attention(spec.attention, layer.encoder_attn, is_cross_attention=True)
        _fill_norm(spec.attention.layer_norm, layer.encoder_attn_layer_norm)
        if (gate := getattr(layer, "encoder_attn_gate", None)) is not None:
            out = spec.attention.linear[-1]
            out.weight = out.weight * gate.tanh()[:, None]
            if layer.encoder_attn.out_proj.bias is not None:
                out.bias = out.bias * gate.tanh()
    _fill_norm(spec.ffn.layer_norm, layer.final_layer_norm)
    if layer.fc_gate is None:
        _fill_linear(spec.ffn.linear_0, layer.fc1)
    else:
        _fill_linear(spec.ffn.linear_0, layer.fc_gate)
        _fill_linear(spec.ffn.linear_0_noact, layer.fc1)
    _fill_linear(spec.ffn.linear_1, layer.fc2)


def _fill_attention(spec: Any, attention: Any, *, is_cross_attention: bool) -> None:
    """Queries, keys and values are one matrix in self-attention, two (queries; keys and values) in cross-attention."""
    import torch

    query, key, value = attention.q_proj, attention.k_proj, attention.v_proj
    groups = [[query], [key, value]] if is_cross_attention else [[query, key, value]]
    for linear, group in zip(spec.linear, groups):
        linear.weight = torch.cat([each.weight for each in group])
        if query.bias is not None:
            linear.bias = torch.cat([each.bias for each in group])
    _fill_linear(spec.linear[-1], attention.out_proj)
    spec.queries_scale = attention.scaling


def _fill_relative_positions(spec: Any, positions: Any) -> None:
    import numpy

    spec.relative_attention_bias = positions.weight
    spec.relative_attention_max_distance = numpy.int32(positions.max_distance)


def _fill_linear(spec: Any, linear: Any) -> None:
    spec.weight = linear.weight
    if linear.bias is not None:
        spec.bias = linear.bias


def _fill_norm(spec: Any, norm: Any) -> None:
    spec.gamma = norm.weight
    if getattr(norm, "bias", None) is not None:
        spec.beta = norm.bias
