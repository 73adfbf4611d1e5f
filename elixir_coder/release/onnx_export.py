"""A model as two ONNX graphs, which ONNX Runtime runs anywhere: what reads, and one step of what writes.

    export(Path("."), Path("onnx"))

`encoder.onnx`, once per text: `input_ids` and `attention_mask` (batch, source), int64 -> `last_hidden_state`, and for
each decoder layer N `cross.N.key` and `cross.N.value` (batch, key/value heads, source, head width), worked out once.

`decoder.onnx`, once per step: `input_ids` (batch, target), one token or many, `encoder_attention_mask`, `cross.N.*`,
and `past.N.key`, `past.N.value` (batch, key/value heads, tokens before, head width), at first of no tokens ->
`logits` (batch, target, vocabulary), and `present.N.*`, the past of the next step.

Every size but the model's own is dynamic, and rows are of one length on the decoder's side. Positions of padded sources
are counted as everywhere: left or right padding gives the same. `int8` is ONNX Runtime's dynamic quantisation.
tests/release/test_onnx_export.py writes a text with these graphs in a dozen lines.
"""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from elixir_coder.errors import CheckpointError, require

DTYPES = ("float32", "int8")
_LARGE = 1_500_000_000  # bytes of weights from which they stand in a file beside the graph: protobuf ends at 2 GB


def export(model_folder: Path, out: Path, dtype: str = "float32") -> list[Path]:
    """Write both graphs, the configuration and the tokenizer into `out`, whole or not at all.

    dtype: one of DTYPES; "int8" is matrices of 8 bits by column and inputs of 8 bits by tensor, as they come.

    Raises CheckpointError for a folder that holds no model of ours and when `out` cannot be written;
    MissingDependencyError without the extra `export`.
    """
    for library in ("onnx", "onnxscript", *(["onnxruntime"] if dtype == "int8" else [])):
        require(library, extra="export")
    from elixir_coder.checkpoint import load_model, load_tokenizer
    from elixir_coder.release.folder import building, copy_tokenizer

    if dtype not in DTYPES:
        raise CheckpointError(f"--dtype of ONNX must be one of {', '.join(DTYPES)}, got {dtype!r}")
    model_folder = Path(model_folder)
    model = load_model(model_folder, "generation", tokenizer=load_tokenizer(model_folder))
    with building(out) as folder:
        is_int8 = dtype == "int8"
        for name, program in (("encoder", encoder_program(model)), ("decoder", decoder_program(model, is_int8))):
            program.save(folder / f"{name}.onnx", external_data=4 * model.num_parameters() > _LARGE)
            if is_int8:
                _quantize(folder / f"{name}.onnx")
        for name in ("config.json", "generation_config.json"):
            if (model_folder / name).exists():
                shutil.copyfile(model_folder / name, folder / name)
        copy_tokenizer(model_folder, folder)
        names = sorted(file.name for file in folder.iterdir())
    return [Path(out) / name for name in names]


def encoder_program(model: Any) -> Any:
    """The encoder, and the keys and values of cross-attention in every decoder layer, as a torch.onnx.ONNXProgram."""
    import torch

    class Reader(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model

        def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> tuple[torch.Tensor, ...]:
            read = self.model.model.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
            attentions = [layer.encoder_attn for layer in self.model.model.decoder.layers]
            return read, *(
                attention._heads(project(read))
                for attention in attentions
                for project in (attention.k_proj, attention.v_proj)
            )

    batch, source = _sizes(model, "batch", "source")
    ids = torch.zeros(2, 3, dtype=torch.long)
    return _program(
        Reader(),
        {"input_ids": ids, "attention_mask": ids + 1},
        {"input_ids": {0: batch, 1: source}, "attention_mask": {0: batch, 1: source}},
        ["last_hidden_state", *_names(model, "cross")],
    )


def decoder_program(model: Any, has_own_head: bool = False) -> Any:
    """One step of the decoder, with what was written before it as input and output, as a torch.onnx.ONNXProgram.

    has_own_head: a tied head stands in the graph a second time, transposed, because the quantiser takes no matrix that
    is turned as it is used, and the head is half the work of a small model.
    """
    import torch
    from transformers.cache_utils import DynamicCache, EncoderDecoderCache

    class Writer(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.model = model
            self.head = torch.nn.Parameter(model.lm_head.weight.T.contiguous()) if has_own_head else None

        def forward(
            self,
            input_ids: torch.Tensor,
            encoder_attention_mask: torch.Tensor,
            past: list[torch.Tensor],
            cross: list[torch.Tensor],
        ) -> tuple[torch.Tensor, ...]:
            written, read = DynamicCache(_pairs(past)), DynamicCache(_pairs(cross))
            cache = EncoderDecoderCache(written, read)
            cache.is_updated = dict.fromkeys(range(len(cross) // 2), True)
            hidden = self.model.model.decoder(
                input_ids=input_ids,
                encoder_hidden_states=cross[0][:, 0, :, :1],  # its length alone is read: keys and values are cached
                encoder_attention_mask=encoder_attention_mask,
                past_key_values=cache,
                use_cache=True,
            ).last_hidden_state
            present = [state for layer in written.layers for state in (layer.keys, layer.values)]
            if self.head is None:
                return self.model.lm_head(hidden), *present
            bias = self.model.lm_head.bias
            logits = hidden @ self.head
            return logits if bias is None else logits + bias, *present

    batch, source, target, past = _sizes(model, "batch", "source", "target", "past")
    config = model.config
    heads, width = config.key_value_heads("decoder"), config.head_width("decoder")
    num_states = 2 * config.decoder_layers
    ids = torch.zeros(2, 3, dtype=torch.long)
    return _program(
        Writer(),
        {
            "input_ids": ids,
            "encoder_attention_mask": torch.ones(2, 4, dtype=torch.long),
            "past": [torch.zeros(2, heads, 5, width) for _ in range(num_states)],
            "cross": [torch.zeros(2, heads, 4, width) for _ in range(num_states)],
        },
        {
            "input_ids": {0: batch, 1: target},
            "encoder_attention_mask": {0: batch, 1: source},
            "past": [{0: batch, 2: past}] * num_states,
            "cross": [{0: batch, 2: source}] * num_states,
        },
        ["logits", *_names(model, "present")],
        ["input_ids", "encoder_attention_mask", *_names(model, "past"), *_names(model, "cross")],
    )


def _pairs(states: list[Any]) -> list[tuple[Any, Any]]:
    return list(zip(states[::2], states[1::2]))


def _names(model: Any, kind: str) -> list[str]:
    return [f"{kind}.{layer}.{part}" for layer in range(model.config.decoder_layers) for part in ("key", "value")]


def _sizes(model: Any, *names: str) -> list[Any]:
    """Sizes that may differ from call to call; a text is at most as long as the model reads."""
    import torch

    longest = dict.fromkeys(("source", "target"), model.config.max_position_embeddings)
    return [torch.export.Dim(name, max=longest.get(name)) for name in names]


def _program(
    module: Any, inputs: dict[str, Any], sizes: dict[str, Any], outputs: list[str], names: list[str] | None = None
) -> Any:
    import torch

    with torch.no_grad(), _quiet():
        return torch.onnx.export(
            module.eval(),
            kwargs=inputs,
            dynamic_shapes=sizes,
            input_names=names or list(inputs),
            output_names=outputs,
            dynamo=True,
            verbose=False,
        )


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's remarks on what it is made of and on names of sizes that two inputs share."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def _quantize(path: Path) -> None:
    from onnxruntime import quantization

    with _quiet():
        quantization.quantize_dynamic(path, path, weight_type=quantization.QuantType.QInt8, per_channel=True)
