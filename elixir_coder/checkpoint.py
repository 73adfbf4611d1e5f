"""Model folders: the only place that calls Auto* classes, and the one that writes folders the Hub understands.

A folder holds config.json, model.safetensors, the tokenizer and the Python files that `trust_remote_code` needs. For
models of our own type the installed classes are used, so opening somebody's elixir-coder folder runs no code of theirs.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import json
import os
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForPreTraining,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

import configuration_elixir_coder
import modeling_elixir_coder
from elixir_coder.errors import CheckpointError, RecipeError

ElixirCoderConfig = configuration_elixir_coder.ElixirCoderConfig

_AUTO_CLASSES: dict[str, tuple[Any, type[PreTrainedModel]]] = {
    "base": (AutoModel, modeling_elixir_coder.ElixirCoderModel),
    "generation": (AutoModelForSeq2SeqLM, modeling_elixir_coder.ElixirCoderForConditionalGeneration),
    "classification": (
        AutoModelForSequenceClassification,
        modeling_elixir_coder.ElixirCoderForSequenceClassification,
    ),
    "multitask": (AutoModelForPreTraining, modeling_elixir_coder.ElixirCoderForMultiTask),
}

AutoConfig.register("elixir_coder", ElixirCoderConfig, exist_ok=True)
for _auto, _model in _AUTO_CLASSES.values():
    _auto.register(ElixirCoderConfig, _model, exist_ok=True)


def load_config(folder: Path | str) -> ElixirCoderConfig:
    """The configuration of an elixir-coder folder.

    Raises CheckpointError when the folder or its config.json is missing or damaged, or is of another architecture.
    """
    path = Path(folder) / "config.json"
    try:
        model_type = json.loads(path.read_text()).get("model_type")
    except FileNotFoundError:
        raise CheckpointError(f"no model at {folder}: {path} does not exist") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not a readable JSON file: {error}") from error
    if model_type != "elixir_coder":
        raise CheckpointError(f"{folder} holds a model of type {model_type!r}, expected 'elixir_coder'")
    return _loading(folder, lambda: AutoConfig.from_pretrained(folder, local_files_only=True))


def load_tokenizer(folder: Path | str) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder. Raises CheckpointError when it is missing or damaged."""
    if not (Path(folder) / "tokenizer.json").exists():
        raise CheckpointError(
            f"no tokenizer at {folder}: tokenizer.json does not exist; make one with `elixir-coder tokenizer train`"
        )
    return _loading(folder, lambda: AutoTokenizer.from_pretrained(folder, local_files_only=True))


def load_model(
    folder: Path | str,
    kind: str = "generation",
    *,
    dtype: torch.dtype = torch.float32,
    tokenizer: PreTrainedTokenizerBase | None = None,
    **overrides: Any,
) -> PreTrainedModel:
    """The model of an elixir-coder folder, in evaluation mode.

    kind: "base", "generation", "classification" or "multitask". tokenizer: checked to have the model's vocabulary.
    overrides: configuration fields, e.g. dropout=0.1.

    Raises CheckpointError for another architecture, damaged or missing weights, or another vocabulary.
    """
    load_config(folder)
    auto_class, _ = _AUTO_CLASSES[kind]
    model, info = _loading(
        folder,
        lambda: auto_class.from_pretrained(
            folder, dtype=dtype, local_files_only=True, output_loading_info=True, **overrides
        ),
    )
    missing = sorted(name for name in info["missing_keys"] if "_head" not in name or name.startswith("lm_head"))
    if missing:
        raise CheckpointError(f"{folder}: the weights lack {missing[0]} and {len(missing) - 1} more; save it again")
    if tokenizer is not None:
        check_vocabulary(model.config, tokenizer, folder)
    return model.eval()


def check_vocabulary(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, folder: Path | str) -> None:
    """Raise CheckpointError unless the model has a row for exactly each of the tokenizer's tokens."""
    if len(tokenizer) != config.vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has {len(tokenizer)} tokens but the model {config.vocab_size}; "
            "use the tokenizer that the model was trained with"
        )


def new_model(config: ElixirCoderConfig, kind: str = "generation") -> PreTrainedModel:
    """A model with random weights from torch's generator."""
    return _AUTO_CLASSES[kind][1](config)


def preset_config(preset: str, **overrides: Any) -> ElixirCoderConfig:
    """`ElixirCoderConfig.tiny()`, `.base()` or `.full()` with some fields changed; RecipeError for what cannot be."""
    try:
        return getattr(ElixirCoderConfig, preset)(**overrides)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"--config_overrides does not fit --preset {preset}: {error}") from error


def config_overrides(texts: Iterable[str]) -> dict[str, Any]:
    """`["d_model=64", "norm_type=rmsnorm"]` -> fields and values. Raises RecipeError naming the nearest field."""
    names = [field.name for field in dataclasses.fields(ElixirCoderConfig)]
    overrides = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in names:
            nearest = difflib.get_close_matches(name, names, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else ""
            raise RecipeError(f"the configuration has no field {name!r} (in --config_overrides){hint}")
        try:
            overrides[name] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            overrides[name] = value
    return overrides


def save_model(
    folder: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    *,
    extra: Callable[[Path], None] | None = None,
) -> None:
    """Write a folder that `from_pretrained` and the Hub understand, all of it or nothing.

    extra: writes more files into the folder (given its temporary path) before it is put in place. An existing folder
    is replaced; a crash leaves the old one or the new one.
    """
    folder = Path(folder)
    building = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    try:
        building.mkdir(parents=True)
        model.save_pretrained(building)
        tokenizer.save_pretrained(building)
        for file in hub_files():
            shutil.copyfile(file, building / file.name)
        if extra is not None:
            extra(building)
        for path in building.iterdir():
            with path.open("rb") as handle:
                os.fsync(handle.fileno())
        _replace_folder(building, folder)
    except OSError as error:
        raise CheckpointError(f"cannot write {folder}: {error}") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def hub_files() -> list[Path]:
    """The Python files that stand beside the weights on the Hub."""
    return sorted(Path(configuration_elixir_coder.__file__).parent.glob("*_elixir_coder.py"))


def _replace_folder(new: Path, folder: Path) -> None:
    old = folder.with_name(f".{folder.name}.replaced")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(new, folder)
    shutil.rmtree(old, ignore_errors=True)


def _loading(folder: Path | str, load: Callable[[], Any]) -> Any:
    try:
        return load()
    except SafetensorError as error:
        raise CheckpointError(f"{folder}: model.safetensors is truncated or damaged ({error}); copy it again") from error
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise CheckpointError(f"cannot load {folder}: {error}") from error
