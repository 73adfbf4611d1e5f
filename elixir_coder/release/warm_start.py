"""An encoder-decoder from a decoder-only model: a Llama's layers become both of our stacks.

    model, tokenizer = load_source(Path("SmolLM2-135M-Instruct.Q4_1.gguf"))
    model = from_llama(model)
    transplant(model, tokenizer, load_tokenizer(Path(".")))

The decoder's cross-attention is the one part that a Llama lacks. It starts as a copy of the self-attention of its layer
behind a gate that starts at zero, so at first the decoder computes exactly what the Llama computed, whatever the
encoder reads, and training opens the gate. `elixir-coder import` does all three steps; figures: docs/WARM_START.md.

Method: both stacks from one decoder-only model, cross-attention from self-attention: Zhang et al. 2025,
https://arxiv.org/abs/2504.06225; the gate: Alayrac et al. 2022, section 2.2, https://arxiv.org/abs/2204.14198
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elixir_coder.errors import CheckpointError, require

if TYPE_CHECKING:
    import torch
    from transformers import PretrainedConfig, PreTrainedModel, PreTrainedTokenizerBase

DTYPES = ("float32", "bfloat16", "float16")
ENCODER_SHARE = 0.4  # of the source's layers, unless told: 12 of 30, as in ElixirCoderConfig.small()

# ------------------------------------------------------------------------------------------------------------- weights

_PARTS = {  # of a layer: our name, its name
    **{f"self_attn.{letter}_proj": f"self_attn.{letter}_proj" for letter in "qkv"},
    "self_attn.out_proj": "self_attn.o_proj",
    "self_attn_layer_norm": "input_layernorm",
    "fc_gate": "mlp.gate_proj",
    "fc1": "mlp.up_proj",
    "fc2": "mlp.down_proj",
    "final_layer_norm": "post_attention_layernorm",
    **{f"encoder_attn.{letter}_proj": f"self_attn.{letter}_proj" for letter in "qkv"},
    "encoder_attn.out_proj": "self_attn.o_proj",
    "encoder_attn_layer_norm": "input_layernorm",
}
_WHOLE = {
    "model.shared.weight": "model.embed_tokens.weight",
    "model.decoder.layer_norm.weight": "model.norm.weight",
    "lm_head.weight": "lm_head.weight",
}
_SOURCES = ("llama", "mistral")  # one architecture; a Mistral's window is refused below
_MUST_BE = {"hidden_act": "silu", "attention_bias": False, "mlp_bias": False, "sliding_window": None}


def from_llama(
    model: PreTrainedModel,
    *,
    encoder_layers: int | Sequence[int] | None = None,
    decoder_layers: int | Sequence[int] | None = None,
) -> PreTrainedModel:
    """An elixir-coder model whose decoder computes what `model`, a LlamaForCausalLM, computes.

    encoder_layers, decoder_layers: which of its layers each stack keeps, by index from 0; or how many, spread evenly
    from the first to the last. Unless told, the decoder keeps all and the encoder two of five (ENCODER_SHARE).

    With all layers in the decoder, the logits for `decoder_input_ids` are those of `model` for the same ids, whatever
    the encoder reads. The encoder's attention looks both ways. The decoder starts with its beginning-of-sequence token.

    How cross-attention reads the encoder: in a Llama the norm before self-attention scales queries, keys and values
    alike, channel by channel. Queries come from the decoder, so the same norm is copied before cross-attention. Keys
    and values come from the encoder, whose one last norm serves every layer: it starts with scales of 1, and each
    layer's own scales go into its key and value matrices. So a layer reads the encoder's states as it would read its
    own input, without rotation. (The source's last norm would not do: it prepares for the output matrix.)

    Weights are copied in the dtype they have. Raises CheckpointError for another architecture, for a setting that has
    no counterpart here, and for layers that the source does not have.
    """
    import torch

    from elixir_coder.checkpoint import ElixirCoderConfig, new_model

    _check_fits(model)
    kept = {
        "encoder": chosen_layers(model.config, encoder_layers, "encoder_layers"),
        "decoder": chosen_layers(model.config, decoder_layers, "decoder_layers"),
    }
    theirs = dict(model.named_parameters(remove_duplicate=False))
    is_tied = model.get_output_embeddings().weight is model.get_input_embeddings().weight
    try:
        config = ElixirCoderConfig(
            **_settings(model.config),
            encoder_layers=len(kept["encoder"]),
            decoder_layers=len(kept["decoder"]),
            tie_word_embeddings=is_tied,
        )
    except ValueError as error:
        raise CheckpointError(f"the source does not fit: {error}") from error
    ours = new_model(config).to(model.dtype)
    with torch.no_grad():
        for name, tensor in ours.named_parameters():
            if name in _WHOLE:
                tensor.copy_(theirs[_WHOLE[name]])
            elif match := re.fullmatch(r"model\.(encoder|decoder)\.layers\.(\d+)\.(.+)\.weight", name):
                stack, index, part = match.groups()
                layer = f"model.layers.{kept[stack][int(index)]}"
                tensor.copy_(theirs[f"{layer}.{_PARTS[part]}.weight"])
                if part in ("encoder_attn.k_proj", "encoder_attn.v_proj"):
                    tensor.mul_(theirs[f"{layer}.input_layernorm.weight"])
            else:  # gates at 0 and the encoder's last norm at 1, as they are made
                assert name.endswith(".encoder_attn_gate") or name == "model.encoder.layer_norm.weight", name
    return ours.train(model.training)


def chosen_layers(config: PretrainedConfig, wanted: int | Sequence[int] | None, name: str) -> list[int]:
    """Indices of the source's layers that a stack keeps. name: "encoder_layers" or "decoder_layers".

    A number n is spread evenly, both ends included: 12 of 30 are 0, 3, 5, 8, 11, 13, 16, 18, 21, 24, 26, 29.
    Raises CheckpointError for none at all, more than there are, and indices that are not there.
    """
    there = config.num_hidden_layers
    if wanted is None:
        wanted = max(1, round(ENCODER_SHARE * there)) if name == "encoder_layers" else there
    if isinstance(wanted, int):
        if not 1 <= wanted <= there:
            raise CheckpointError(f"{name} must be from 1 to {there}, the layers of the source; got {wanted}")
        return [round(place * (there - 1) / max(1, wanted - 1)) for place in range(wanted)]
    layers = list(wanted)
    if not layers or any(not 0 <= layer < there for layer in layers):
        raise CheckpointError(f"{name} must name layers from 0 to {there - 1}, the layers of the source; got {layers}")
    return layers


def _check_fits(model: PreTrainedModel) -> None:
    """Raise CheckpointError for the first thing about the source that our architecture has no place for."""
    config = model.config
    if config.model_type not in _SOURCES:
        bias = next((name for name, _ in model.named_parameters() if name.endswith(".bias")), None)
        why = f"; it has biases ({bias})" if bias else ""
        raise CheckpointError(f"cannot start from a model of type {config.model_type!r}, only {_SOURCES[0]!r}{why}")
    for name, wanted in _MUST_BE.items():
        value = getattr(config, name, wanted)
        if value != wanted:
            raise CheckpointError(f"the source has {name}={value!r}, where only {wanted!r} has a counterpart here")
    if (part := (config.rope_parameters or {}).get("partial_rotary_factor", 1.0)) != 1.0:
        raise CheckpointError(f"the source turns only a part of each head (partial_rotary_factor={part})")


def _settings(config: PretrainedConfig) -> dict[str, Any]:
    """Our configuration fields from a Llama's, without the numbers of layers."""
    ends = config.eos_token_id if isinstance(config.eos_token_id, list) else [config.eos_token_id]
    first = next((each for each in (config.bos_token_id, *ends) if each is not None), 0)
    return {
        "vocab_size": config.vocab_size,
        # what a Llama's tokenizer does without: something to pad with, and something to begin with
        "pad_token_id": next((each for each in (config.pad_token_id, *ends) if each is not None), first),
        "bos_token_id": config.bos_token_id,
        "eos_token_id": config.eos_token_id,
        "decoder_start_token_id": first,
        "d_model": config.hidden_size,
        "encoder_attention_heads": config.num_attention_heads,
        "decoder_attention_heads": config.num_attention_heads,
        "num_key_value_heads": config.num_key_value_heads,
        "head_dim": getattr(config, "head_dim", None),
        "encoder_ffn_dim": config.intermediate_size,
        "decoder_ffn_dim": config.intermediate_size,
        "max_position_embeddings": config.max_position_embeddings,
        "dropout": 0.0,
        "attention_dropout": config.attention_dropout or 0.0,
        "activation_function": "swish",
        "gated_ffn": True,
        "use_bias": False,
        "norm_type": "rmsnorm",
        "norm_position": "pre",
        "layer_norm_eps": config.rms_norm_eps,
        "cross_attention_gate": True,
        "position_embedding_type": "rotary",
        "rope_parameters": dict(config.rope_parameters or {}),
        "init_std": config.initializer_range,
    }


# ---------------------------------------------------------------------------------------------------------- vocabulary

_BOUNDARIES = ("<|endoftext|>", "<|end_of_text|>")  # between two documents of a pretraining corpus
_COUNTERPARTS = {  # of our special tokens, as sources write them; the first that is there counts
    "<s>": ("<|begin_of_text|>", *_BOUNDARIES),
    "</s>": _BOUNDARIES,
    "<pad>": ("<|pad|>", "<|finetune_right_pad_id|>"),
    "<mask>": ("<|mask|>",),
    **{f"<fim_{part}>": (f"<|fim_{part}|>", f"<fim-{part}>") for part in ("prefix", "middle", "suffix", "pad")},
    "<file_sep>": ("<|file_sep|>",),
    "<repo_name>": ("<|repo_name|>", "<reponame>"),
    "<|end|>": ("<|im_end|>", "<|eot_id|>"),
}
# How much more each token of a spelling weighs than the one before it: what follows depends most on the last. Bits per
# byte on unseen Elixir, right after: 2.37 for 1 (the plain mean), 2.27 for 1.5, 2.23 for 2.
GROWTH = 2.0
_NOISE = 0.1  # of the table's own spread: enough to tell <s> from </s>, too little to lose their meaning


def transplant(
    model: PreTrainedModel, source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase
) -> PreTrainedModel:
    """Give `model` the vocabulary of `target` in place of that of `source`, and return it.

    A new token's row is the mean of the rows of the source's tokens that spell its bytes, the last weighing most
    (GROWTH), so a token that both have keeps its row; in an output matrix of its own alike. A special token takes the
    row of its counterpart in the source (_COUNTERPARTS), or the mean row of the words in its name, and a little noise.
    What the source cannot spell takes the mean of all rows. The ids of padding, beginning and end become those of
    `target`. The same input gives the same rows on every run.

    Raises CheckpointError unless both tokenizers are byte-level BPE and the model has a row for each of the source's
    tokens.
    """
    import torch

    from elixir_coder.checkpoint import vocabulary_fields

    old_tables = [model.get_input_embeddings().weight.detach().clone()]
    if not model.config.tie_word_embeddings:
        old_tables.append(model.get_output_embeddings().weight.detach().clone())
    for tokenizer, whose in ((source, "source"), (target, "target")):
        if not _is_byte_level(tokenizer):
            raise CheckpointError(
                f"the {whose}'s tokenizer is not byte-level BPE; only such a vocabulary can be replaced"
            )
    if len(source) > len(old_tables[0]):
        raise CheckpointError(f"the source's tokenizer has {len(source)} tokens but the model {len(old_tables[0])}")

    spellings = _spellings(source, target)
    special = [token for token, added in sorted(target.added_tokens_decoder.items()) if added.special]
    model.resize_token_embeddings(len(target), mean_resizing=False)
    with torch.no_grad():
        tables = (model.get_input_embeddings().weight, model.get_output_embeddings().weight)
        for table, old in zip(tables, old_tables):
            old = old[: len(source)].float()  # rows beyond are padding that nothing trained
            rows = [_mean(old[spelling]) if spelling else old.mean(dim=0) for spelling in spellings]
            table.copy_(torch.stack(rows))
            noise = torch.randn(len(special), old.shape[1], generator=torch.Generator().manual_seed(0))
            table[special] += (_NOISE * old.std(dim=0) * noise).to(table.device, table.dtype)
    _take_token_ids(model, vocabulary_fields(target))
    return model


def _spellings(source: PreTrainedTokenizerBase, target: PreTrainedTokenizerBase) -> list[list[int]]:
    """For each token of `target` the source's tokens that its row comes from; none where the source cannot spell it."""
    from tokenizers import decoders, pre_tokenizers

    from tokenization_elixir_coder import encode_untrusted

    decoder, byte_level = decoders.ByteLevel(), pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    spellings = []
    added_tokens = target.added_tokens_decoder
    for token, symbols in enumerate(target.convert_ids_to_tokens(range(len(target)))):
        added = added_tokens.get(token)
        text = added.content if added else decoder.decode([symbols])
        if added and added.special:
            spellings.append(_counterpart(text, source))
        elif added or [piece for piece, _ in byte_level.pre_tokenize_str(text)] == [symbols]:
            spellings.append(encode_untrusted(source, text))
        else:  # a part of a character, which is no text
            spellings.append([piece.id for piece in source.backend_tokenizer.model.tokenize(symbols)])
    return spellings


def _counterpart(token: str, source: PreTrainedTokenizerBase) -> list[int]:
    from tokenization_elixir_coder import encode_untrusted

    named = {"<s>": source.bos_token, "</s>": source.eos_token}.get(token)
    for name in (token, *_COUNTERPARTS.get(token, ()), named):
        if name in source.added_tokens_encoder:
            return [source.added_tokens_encoder[name]]
    words = re.findall(r"[a-z]+|[0-9]+", token)
    return encode_untrusted(source, " " + " ".join(words))


def _mean(rows: torch.Tensor, growth: float = GROWTH) -> torch.Tensor:
    """(tokens, width) -> (width,): their mean, in which each weighs `growth` times the one before it."""
    import torch

    weights = growth ** torch.arange(len(rows), dtype=rows.dtype)
    return (weights / weights.sum()) @ rows


def _is_byte_level(tokenizer: PreTrainedTokenizerBase) -> bool:
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    return state["model"]["type"] == "BPE" and '"ByteLevel"' in json.dumps(state["pre_tokenizer"])


def _take_token_ids(model: PreTrainedModel, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        setattr(model.config, name, value)
        if name != "vocab_size":
            setattr(model.generation_config, name, value)


# ------------------------------------------------------------------------------------------------------ files, command


def is_llama(path: Path) -> bool:
    """Whether a path is for this module: a .gguf file, or a folder whose config.json tells of a Llama."""
    if path.suffix == ".gguf":
        return path.is_file()
    try:
        return json.loads((path / "config.json").read_text("utf-8")).get("model_type") in _SOURCES
    except (OSError, ValueError, AttributeError):
        return False


def load_source(path: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """The decoder-only model and the tokenizer of a folder as transformers writes it, or of a .gguf file.

    What a .gguf file has quantised becomes float32. Nothing is downloaded, and no code beside the weights is run.
    Raises CheckpointError when it is missing, damaged or of another architecture, and MissingDependencyError for a
    .gguf file without the package `gguf`.
    """
    from transformers import LlamaForCausalLM, MistralForCausalLM, PretrainedConfig, PreTrainedTokenizerFast

    from elixir_coder import checkpoint

    path = Path(path)
    if not path.exists():
        raise CheckpointError(f"no model at {path}: give a folder with config.json, or a .gguf file")
    options: dict[str, Any] = {"local_files_only": True}
    folder, dtype = path, "auto"
    if path.suffix == ".gguf":
        require("gguf", "export")
        folder, dtype = path.parent, "float32"
        options["gguf_file"] = path.name
    classes = dict(zip(_SOURCES, (LlamaForCausalLM, MistralForCausalLM)))
    read = checkpoint.loading(path, lambda: PretrainedConfig.get_config_dict(folder, **options)[0])
    if (kind := read.get("model_type")) not in classes:
        raise CheckpointError(f"{path} holds a model of type {kind!r}; a warm start takes {', '.join(_SOURCES)}")
    tokenizer = checkpoint.loading(path, lambda: PreTrainedTokenizerFast.from_pretrained(folder, **options))
    load = classes[kind].from_pretrained
    model, told = checkpoint.loading(path, lambda: load(folder, dtype=dtype, output_loading_info=True, **options))
    if missing := sorted(told["missing_keys"]):
        raise CheckpointError(f"{path}: the weights lack {missing[0]} and {len(missing) - 1} more; copy it again")
    for name in ("is_local", "local_files_only", "gguf_file"):  # how it was loaded is nothing to save
        tokenizer.init_kwargs.pop(name, None)
    return model.eval(), tokenizer


def import_llama(
    source: Path,
    out: Path,
    *,
    encoder_layers: int | Sequence[int] | None = None,
    decoder_layers: int | Sequence[int] | None = None,
    tokenizer: Path | None = None,
    keep_vocabulary: bool = False,
    dtype: str | None = None,
) -> list[Path]:
    """Write the model folder `out` from a decoder-only model and return its files: all of them or none.

    encoder_layers, decoder_layers: as in `from_llama`. tokenizer: folder of the vocabulary that the model gets, by
    default the one here; keep_vocabulary: leave it the source's, which lacks the tokens of our tasks. dtype: of the
    weights, one of DTYPES; float32 unless told, for only that keeps the decoder's logits to the last bit.

    Raises what `load_source`, `from_llama` and `transplant` raise, and CheckpointError when `out` cannot be written.
    """
    import torch

    from elixir_coder.checkpoint import load_tokenizer, save_model

    target = None if keep_vocabulary else load_tokenizer(tokenizer or Path("."))
    model, theirs = load_source(source)
    ours = from_llama(model, encoder_layers=encoder_layers, decoder_layers=decoder_layers)
    del model
    if target is None:
        target = theirs
        _keep_vocabulary(ours, target, source)
    else:
        transplant(ours, theirs, target)
    save_model(out, ours.to(getattr(torch, dtype or DTYPES[0])), target)
    return sorted(path for path in Path(out).rglob("*") if path.is_file())


def _keep_vocabulary(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source: Path) -> None:
    """Make model and tokenizer agree on the number of tokens and on what pads and begins."""
    from elixir_coder.checkpoint import vocabulary_fields

    if len(tokenizer) > model.config.vocab_size:
        raise CheckpointError(
            f"{source}: the tokenizer has {len(tokenizer)} tokens but the model only {model.config.vocab_size}"
        )
    if len(tokenizer) < model.config.vocab_size:
        model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    tokenizer.eos_token = tokenizer.eos_token or tokenizer.bos_token
    for name in ("pad_token", "bos_token"):
        if getattr(tokenizer, name) is None:
            setattr(tokenizer, name, tokenizer.eos_token)
    _take_token_ids(model, vocabulary_fields(tokenizer))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what `import_llama` takes to the parser of `elixir-coder import`."""
    group = parser.add_argument_group("decoder-only sources (Llama-shaped: a folder or a .gguf file)")
    for stack, default in (("encoder", "two of five"), ("decoder", "all")):
        group.add_argument(
            f"--{stack}_layers",
            type=_layers,
            metavar="N|I,J,...",
            help=f"layers that the {stack} keeps: how many, spread evenly, or which, from 0 (default: {default})",
        )
    vocabulary = group.add_mutually_exclusive_group()
    vocabulary.add_argument("--tokenizer", type=Path, help="folder of the vocabulary it gets (default: here)")
    vocabulary.add_argument("--keep_vocabulary", action="store_true", help="leave it the vocabulary it has")
    group.add_argument("--dtype", choices=DTYPES, help=f"type of the weights (default: {DTYPES[0]})")


def given(args: argparse.Namespace) -> list[str]:
    """Those of `add_arguments` that were given, for a source that they say nothing about."""
    names = ("encoder_layers", "decoder_layers", "tokenizer", "keep_vocabulary", "dtype")
    return [f"--{name}" for name in names if getattr(args, name) not in (None, False)]


def _layers(text: str) -> int | list[int]:
    try:
        return [int(each) for each in text.split(",") if each] if "," in text else int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is neither a number nor numbers with commas between them") from None
