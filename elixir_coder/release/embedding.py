"""Vectors through sentence-transformers: `SentenceTransformer(folder, trust_remote_code=True).encode(texts)`.

Three small files beside a model make its folder one that sentence-transformers opens, on the Hub too, with the weights
that lie there already. They hold no number of the model, so one text serves every size. A subfolder of the repository
could not do that: sentence-transformers has no argument for one, and would want weights, tokenizer and code in it.

The single module calls the model's own `encode` (mean over the real tokens, then length 1), where the usual chain of
Transformer, Pooling and Normalize would average what `AutoModel` gives: where `elixir_coder.checkpoint` has registered
the installed classes that is the decoder's states, which look like any other vector and mean nothing.

`export` writes a folder with the encoder alone, of about half the size.
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import Any

DTYPES = ("float32", "bfloat16", "float16")

_ENCODER_MAP = {
    "AutoConfig": "configuration_elixir_coder.ElixirCoderConfig",
    "AutoModel": "modeling_elixir_coder.ElixirCoderEncoderModel",
    "AutoModelForTextEncoding": "modeling_elixir_coder.ElixirCoderEncoderModel",
}
# Read by sentence-transformers 5.4 and later; the names of the settings are those that every one of these knows.
MODULE_FILES: dict[str, Any] = {
    "modules.json": [{"idx": 0, "name": "0", "path": "", "type": "sentence_transformers.models.Transformer"}],
    "sentence_bert_config.json": {
        "transformer_task": "feature-extraction",
        "modality_config": {"text": {"method": "encode", "method_output_name": None}},
        "module_output_name": "sentence_embedding",
        "model_args": {"dtype": "float32"},  # bfloat16 is slower on most CPUs, and loses two digits
        "tokenizer_args": {"split_special_tokens": True},  # a `<code>` in a comment is four words of text
        "config_args": {"auto_map": _ENCODER_MAP},  # leaves the decoder on the disk
    },
    "config_sentence_transformers.json": {
        "model_type": "SentenceTransformer",
        "prompts": {},
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
    },
}

_ENCODER_WEIGHT = re.compile(r"(?:model\.)?(?P<name>shared\.weight|encoder\.(?!embed_tokens\.).+)")


def write_module_files(folder: Path) -> list[Path]:
    """Write what sentence-transformers reads beside a model's own files, and return the paths."""
    paths = []
    for name, content in MODULE_FILES.items():
        _write_json(path := Path(folder) / name, content)
        paths.append(path)
    return paths


def export(model_folder: Path | str, out: Path | str, dtype: str | None = None) -> list[Path]:
    """Write the encoder of a model folder as one for sentence-transformers, and return its files.

    `AutoModel` opens it as `ElixirCoderEncoderModel`. dtype: of the weights, one of DTYPES; None for what they are.
    Files appear whole, all or none; others in `out` stay.

    Raises CheckpointError for a folder that is no elixir-coder model, and when `out` cannot be written.
    """
    import torch
    from safetensors.torch import save_file

    from elixir_coder.checkpoint import hub_files, load_config, load_model, load_tokenizer
    from elixir_coder.release.folder import building
    from tokenization_elixir_coder import save_tokenizer

    model_folder, out = Path(model_folder), Path(out)
    tokenizer = load_tokenizer(model_folder)
    kind = getattr(torch, dtype) if dtype else load_config(model_folder).dtype or torch.float32
    model = load_model(model_folder, kind=None, dtype=kind, tokenizer=tokenizer)
    matches = ((_ENCODER_WEIGHT.fullmatch(name), weight) for name, weight in model.state_dict().items())
    weights = {match["name"]: weight.contiguous() for match, weight in matches if match}
    config = json.loads((model_folder / "config.json").read_text(encoding="utf-8"))
    config |= {"architectures": ["ElixirCoderEncoderModel"], "auto_map": _ENCODER_MAP}
    config["dtype"] = str(kind).removeprefix("torch.")
    config.pop("custom_pipelines", None)  # they write, which an encoder cannot

    with building(out) as folder:
        _write_json(folder / "config.json", config)
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
        shutil.copymode(folder / "config.json", folder / "model.safetensors")  # nobody else could read it
        save_tokenizer(tokenizer, folder)
        for file in hub_files():
            shutil.copyfile(file, folder / file.name)
        write_module_files(folder)
        names = sorted(path.name for path in folder.iterdir())
    return [out / name for name in names]


def _write_json(path: Path, content: Any) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
