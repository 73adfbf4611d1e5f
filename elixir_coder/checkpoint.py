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
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
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
from transformers.utils import logging

import configuration_elixir_coder
import modeling_elixir_coder
import tokenization_elixir_coder
from elixir_coder.errors import CheckpointError, RecipeError

ElixirCoderConfig = configuration_elixir_coder.ElixirCoderConfig

_ROOT = Path(configuration_elixir_coder.__file__).parent

_TOKEN_IDS = ("pad_token_id", "bos_token_id", "eos_token_id")

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
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"no model at {folder}: {path} does not exist") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not a readable JSON file: {error}") from error
    model_type = config.get("model_type") if isinstance(config, dict) else None
    if model_type != "elixir_coder":
        raise CheckpointError(
            f"{folder} holds a model of type {model_type!r}, expected 'elixir_coder'; give a folder that train.py wrote"
        )
    return loading(folder, lambda: AutoConfig.from_pretrained(folder, local_files_only=True))


def load_tokenizer(folder: Path | str) -> PreTrainedTokenizerBase:
    """The tokenizer of a folder. Raises CheckpointError when it is missing or damaged."""
    if not (Path(folder) / "tokenizer.json").exists():
        raise CheckpointError(
            f"no tokenizer at {folder}: tokenizer.json does not exist; make one with `elixir-coder tokenizer train`"
        )
    tokenizer = loading(folder, lambda: AutoTokenizer.from_pretrained(folder, local_files_only=True))
    for name in ("is_local", "local_files_only"):  # how it was loaded here is nothing to save
        tokenizer.init_kwargs.pop(name, None)
    return tokenizer


def load_model(
    folder: Path | str,
    kind: str | None = "generation",
    *,
    dtype: torch.dtype = torch.float32,
    tokenizer: PreTrainedTokenizerBase | None = None,
    **overrides: Any,
) -> PreTrainedModel:
    """The model of an elixir-coder folder, in evaluation mode.

    kind: "base", "generation", "classification" or "multitask"; None for the one that was saved. tokenizer: checked to
    have the model's vocabulary. overrides: configuration fields, e.g. dropout=0.1, and `runtime` and
    `runtime_dtype` of `from_pretrained`; where the fast one cannot be had, `model.why_plain` says why.

    Raises CheckpointError for another architecture, damaged or missing weights, or another vocabulary.
    """
    config = load_config(folder)
    auto_class, _ = _AUTO_CLASSES[kind or saved_kind(config, folder)]
    model, info = loading(
        folder,
        lambda: auto_class.from_pretrained(
            folder,
            dtype=dtype,
            local_files_only=True,
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # told below, with the name of the first
            **overrides,
        ),
    )
    for name, saved, wanted in sorted(info["mismatched_keys"]):
        raise CheckpointError(
            f"{folder}: {name} has the shape {tuple(saved)} in the weights but {tuple(wanted)} in the configuration"
        )
    missing = sorted(name for name in info["missing_keys"] if "_head" not in name or name.startswith("lm_head"))
    if missing:
        raise CheckpointError(f"{folder}: the weights lack {missing[0]} and {len(missing) - 1} more; save it again")
    if tokenizer is not None:
        check_vocabulary(model.config, tokenizer, folder)
    return model.eval()


def check_vocabulary(config: PretrainedConfig, tokenizer: PreTrainedTokenizerBase, folder: Path | str) -> None:
    """Raise CheckpointError unless the model has a row for each of the tokenizer's tokens and they agree on the ids of
    padding, beginning and end. folder: whose tokenizer it is."""
    if len(tokenizer) != config.vocab_size:
        raise CheckpointError(
            f"{folder}: the tokenizer has {len(tokenizer)} tokens but the model {config.vocab_size}; "
            "use the tokenizer that the model was trained with"
        )
    for name in _TOKEN_IDS:
        ids = getattr(tokenizer, name), getattr(config, name)
        if ids[0] != ids[1]:
            raise CheckpointError(
                f"{folder}: {name} is {ids[0]} in the tokenizer but {ids[1]} in the model; "
                "use the tokenizer that the model was trained with"
            )


def vocabulary_fields(tokenizer: PreTrainedTokenizerBase) -> dict[str, int]:
    """The configuration fields of a new model that follow from its tokenizer."""
    ids = {name: getattr(tokenizer, name) for name in _TOKEN_IDS}
    return {"vocab_size": len(tokenizer), **ids, "decoder_start_token_id": tokenizer.bos_token_id}


def new_model(config: ElixirCoderConfig, kind: str = "generation") -> PreTrainedModel:
    """A model with random weights from torch's generator."""
    return _AUTO_CLASSES[kind][1](config)


def preset_config(preset: str, **overrides: Any) -> ElixirCoderConfig:
    """`ElixirCoderConfig.tiny()`, `.small()`, ... with some fields changed; RecipeError for what cannot be."""
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

    extra: writes more files into the folder (given its temporary path) before it is put in place. A folder of that name
    is put aside first, so a crash at that moment leaves it as `.NAME.replaced`.

    Raises CheckpointError when it cannot be written.
    """
    folder = Path(folder)
    building = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    try:
        building.mkdir(parents=True)
        with quiet():
            model.save_pretrained(building)
        tokenization_elixir_coder.save_tokenizer(tokenizer, building)
        _copy_code(building)
        if extra is not None:
            extra(building)
        for path in sorted(building.rglob("*"), reverse=True):  # files before the folder that names them
            if path.is_file():
                shutil.copymode(building / "config.json", path)  # safetensors lets nobody else read what it writes
            sync(path)
        replace_folder(building, folder)
    except (OSError, SafetensorError, RuntimeError) as error:  # a full disk is each of these, by who was writing
        raise CheckpointError(f"cannot write {folder}: {error}") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def hub_files() -> list[Path]:
    """The Python files that stand beside the weights on the Hub."""
    return sorted(_ROOT.glob("*_elixir_coder.py"))


def _copy_code(folder: Path) -> None:
    """`hub_files`, and the `generate` that transformers finds in its own folder; an installed wheel has none of it."""
    for file in [*hub_files(), *_ROOT.glob("custom_generate/generate.py")]:
        target = folder / file.relative_to(_ROOT)
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(file, target)


def saved_kind(config: ElixirCoderConfig, folder: Path | str) -> str:
    """What `load_model` calls the model that was saved. Raises CheckpointError where the folder does not say."""
    for kind, (_, model_class) in _AUTO_CLASSES.items():
        if model_class.__name__ in (config.architectures or ()):
            return kind
    raise CheckpointError(f"{folder}/config.json does not say in `architectures` which model it is; save it again")


def replace_folder(new: Path, folder: Path) -> None:
    """Put a folder that is whole in place of another, which is put aside first and then deleted."""
    old = folder.with_name(f".{folder.name}.replaced")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        os.replace(folder, old)
    os.replace(new, folder)
    sync(folder.parent)
    shutil.rmtree(old, ignore_errors=True)


def loading(folder: Path | str, load: Callable[[], Any]) -> Any:
    """What `load` gives, without transformers' chatter; CheckpointError when it finds the folder damaged."""
    try:
        with quiet():
            return load()
    except SafetensorError as error:
        raise CheckpointError(
            f"{folder}: model.safetensors is truncated or damaged ({error}); copy it again"
        ) from error
    except (OSError, ValueError, RuntimeError, KeyError, TypeError) as error:
        raise CheckpointError(f"cannot load {folder}: {error}; make or copy it again") from error


@contextmanager
def quiet() -> Iterator[None]:
    """Without transformers' progress bars and load reports; what matters of them is raised."""
    had_bars, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if had_bars:
            logging.enable_progress_bar()
