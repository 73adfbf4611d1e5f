"""A T5-shaped model as one GGUF file, which stock llama.cpp runs: weights, tokenizer, token ids.

    export(Path("."), Path("elixir-coder.gguf"), dtype="q8_0")

What llama.cpp's `t5` graph leaves out is put into the weights, so that it computes what our model computes:

- It does not divide attention scores by √head_dim, nor does T5: the queries of the T5 form carry that factor.
- It does not divide the decoder's output by √d_model before a tied head, as T5 does. The last norm of the decoder
  carries that factor; then input table and head are one tensor, which stands in the file once.

Its graph is written for T5's shapes: a gate with gelu (by tanh) or none with relu, positions in buckets up to distance
128, one key/value head per query head. Everything else is refused with the setting that stands in the way.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

from elixir_coder.errors import CheckpointError, require

DTYPES = ("f16", "f32", "q8_0")  # of the matrices; norms and tables of positions are always f32
SUFFIX = ".gguf"
MAX_DISTANCE = 128  # from where llama.cpp puts all distances into one bucket; its source has no key for it


def export(model_folder: Path, out: Path, dtype: str = "f16") -> list[Path]:
    """Write `out`, or `model-DTYPE.gguf` in it when it is no name of a GGUF file, whole or not at all.

    dtype: one of DTYPES; "q8_0" is 8 bits in blocks of 32 with a scale each. A matrix whose rows are no multiple of 32
    stays f16 in it.

    Raises CheckpointError for a model that llama.cpp's T5 cannot be, for a tokenizer whose split it does not know by
    name, and when the file cannot be written; MissingDependencyError without the extra `export`.
    """
    require("gguf", extra="export")
    import gguf

    from elixir_coder.checkpoint import load_model, load_tokenizer
    from elixir_coder.release.interop import to_transformers

    if dtype not in DTYPES:
        raise CheckpointError(f"--dtype of a GGUF file must be one of {', '.join(DTYPES)}, got {dtype!r}")
    file = out if out.suffix == SUFFIX else out / f"model-{dtype}{SUFFIX}"
    tokenizer = load_tokenizer(model_folder)
    model = load_model(model_folder, "generation", tokenizer=tokenizer)
    theirs = to_transformers(model, "t5")
    _check(theirs.config)

    building = file.with_name(f".{file.name}.building")
    writer = gguf.GGUFWriter(building, gguf.MODEL_ARCH_NAMES[gguf.MODEL_ARCH.T5])
    _add_settings(writer, theirs.config, model.config.max_position_embeddings, dtype)
    _add_tokenizer(writer, tokenizer, model.generation_config)
    for name, tensor in _tensors(theirs):
        _add_tensor(writer, name, tensor, dtype)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with closing(writer):
            writer.write_header_to_file()
            writer.write_kv_data_to_file()
            writer.write_tensors_to_file()
        os.replace(building, file)
    except OSError as error:
        building.unlink(missing_ok=True)
        raise CheckpointError(f"cannot write {file}: {error}") from error
    return [file]


def _check(config: Any) -> None:
    """Raise CheckpointError for the first setting of a T5 that llama.cpp's graph has no place for."""
    activation = config.dense_act_fn
    if activation != ("gelu_new" if config.is_gated_act else "relu"):
        kind = "with" if config.is_gated_act else "without"
        raise CheckpointError(
            f"llama.cpp computes gelu_new with a gate or relu without one; this model has "
            f"activation_function={activation!r} {kind} gated_ffn"
        )
    if config.relative_attention_max_distance != MAX_DISTANCE:
        raise CheckpointError(
            f"llama.cpp puts distances from {MAX_DISTANCE} on into one bucket; this model has "
            f"relative_attention_max_distance={config.relative_attention_max_distance}"
        )


def _add_settings(writer: Any, config: Any, max_length: int, dtype: str) -> None:
    import gguf

    file_type = {"f32": "ALL_F32", "f16": "MOSTLY_F16", "q8_0": "MOSTLY_Q8_0"}[dtype]
    writer.add_name("elixir-coder")
    writer.add_file_type(gguf.LlamaFileType[file_type])
    writer.add_context_length(max_length)
    writer.add_embedding_length(config.d_model)
    writer.add_feed_forward_length(config.d_ff)
    writer.add_block_count(config.num_layers)
    writer.add_decoder_block_count(config.num_decoder_layers)
    writer.add_head_count(config.num_heads)
    writer.add_key_length(config.d_kv)
    writer.add_value_length(config.d_kv)
    writer.add_layer_norm_eps(config.layer_norm_epsilon)
    writer.add_layer_norm_rms_eps(config.layer_norm_epsilon)
    writer.add_relative_attn_buckets_count(config.relative_attention_num_buckets)
    writer.add_decoder_start_token_id(config.decoder_start_token_id)


def _add_tokenizer(writer: Any, tokenizer: Any, generation_config: Any) -> None:
    """Byte-level BPE as llama.cpp reads it: tokens by id, merges in order, the name of the split before them.

    No chat template: with one, llama.cpp's programs turn a prompt into a conversation, which this model was not trained
    on.
    """
    import gguf

    split = tokenizer.init_kwargs.get("llama_cpp_pre_tokenizer")
    state = json.loads(tokenizer.backend_tokenizer.to_str())["model"]
    if split is None or state["type"] != "BPE":
        raise CheckpointError(
            "llama.cpp must know by name how a tokenizer cuts text; tokenizer_config.json names no "
            f"llama_cpp_pre_tokenizer for this {state['type']}. Use the tokenizer of `elixir-coder tokenizer train`"
        )
    special, added = set(tokenizer.all_special_ids), set(tokenizer.added_tokens_decoder)
    kinds = gguf.TokenType
    types = [  # text that spells a control token stays text unless the caller asks for special tokens
        kinds.CONTROL if index in special else kinds.USER_DEFINED if index in added else kinds.NORMAL
        for index in range(len(tokenizer))
    ]
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(split)
    writer.add_token_list(tokenizer.convert_ids_to_tokens(list(range(len(tokenizer)))))
    writer.add_token_types(types)
    writer.add_token_merges([" ".join(pair) for pair in state["merges"]])
    for name in ("bos", "eos", "unk", "pad", "mask"):
        if (index := getattr(tokenizer, f"{name}_token_id")) is not None:
            getattr(writer, f"add_{name}_token_id")(index)
    fim = tokenizer.init_kwargs.get("fim_template", {})
    for name, key in (("prefix", "pre"), ("suffix", "suf"), ("middle", "mid"), ("pad", "pad")):
        if name in fim:
            writer.add_uint32(f"tokenizer.ggml.fim_{key}_token_id", tokenizer.convert_tokens_to_ids(fim[name]))
    probe = tokenizer("a").input_ids
    writer.add_add_bos_token(probe[0] == tokenizer.bos_token_id)
    writer.add_add_eos_token(probe[-1] == tokenizer.eos_token_id)
    writer.add_add_space_prefix(False)
    if suppressed := generation_config.suppress_tokens:
        writer.add_array("tokenizer.ggml.suppress_tokens", list(suppressed))


def _tensors(theirs: Any) -> Iterator[tuple[str, Any]]:
    """llama.cpp's names and what stands under them, float32, from a stock T5."""
    import gguf

    config = theirs.config
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.T5, max(config.num_layers, config.num_decoder_layers))
    for name, tensor in theirs.named_parameters():  # a tied head is the input table, and comes once
        if name == "decoder.final_layer_norm.weight" and config.scale_decoder_outputs:
            tensor = tensor * config.d_model**-0.5
        llama_name = names.get_name(name, try_suffixes=(".weight",))
        assert llama_name is not None, name
        yield llama_name, tensor.detach().float().numpy()


def _add_tensor(writer: Any, name: str, tensor: Any, dtype: str) -> None:
    import gguf

    is_matrix = tensor.ndim == 2 and not name.endswith("attn_rel_b.weight")
    if is_matrix and dtype == "q8_0" and tensor.shape[1] % 32 == 0:
        kind = gguf.GGMLQuantizationType.Q8_0
        writer.add_tensor(name, gguf.quants.quantize(tensor, kind), raw_dtype=kind)
    else:
        writer.add_tensor(name, tensor.astype("float16" if is_matrix and dtype != "f32" else "float32"))
