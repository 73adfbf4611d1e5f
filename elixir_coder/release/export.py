"""Model folders for programs that have never heard of us, and folders of other models for ours.

    elixir-coder export --to t5 runs/tiny/t5 --model runs/tiny/best
    elixir-coder import --from CodeT5 models/codet5 --add_tokens

`export` writes a family of transformers (a folder that loads with stock classes and no remote code) or what another
program runs: GGUF, CTranslate2, ONNX. `import` reads a family of transformers or a Llama-shaped model, never code that
lies beside the weights. Which family holds which of our models: docs/INTEROP.md.
"""

from __future__ import annotations

import argparse
import importlib
import json
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elixir_coder.errors import CheckpointError, require
from elixir_coder.release import warm_start

if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

FAMILIES = ("t5", "bart", "plbart", "mbart", "blenderbot", "pegasus", "marian", "m2m_100")
RUNTIMES = {  # each has DTYPES and export(model_folder, out, dtype) -> files, whole or none
    "gguf": "elixir_coder.release.gguf_export",
    "ctranslate2": "elixir_coder.release.ctranslate",
    "onnx": "elixir_coder.release.onnx_export",
    "sentence-transformers": "elixir_coder.release.embedding",
}
DTYPES = ("float32", "bfloat16", "float16")
DEFAULT_MODEL = Path(__file__).resolve().parents[2]  # a checkout is a model folder

Say = Callable[[str], None]


def _silent(text: str) -> None:
    pass


# --------------------------------------------------------------------------------------------------------------- out


def export(model_folder: Path, out: Path, to: str, dtype: str | None = None, say: Say = _silent) -> list[Path]:
    """Write `out` for another program and return its files; everything is written or nothing.

    to: one of FAMILIES or RUNTIMES. dtype: of the weights, one of DTYPES or of the runtime's; None for the first.
    say: is told what stays behind.

    Raises CheckpointError when the target has no place for the model's form, for another dtype, and when `out` exists
    or cannot be written; MissingDependencyError when the runtime's library is not installed.
    """
    if to in RUNTIMES:
        runtime = importlib.import_module(RUNTIMES[to])
        _check_dtype(dtype, runtime.DTYPES, to)
        is_chosen = dtype is not None and len(runtime.DTYPES) > 1
        return runtime.export(model_folder, out, **{"dtype": dtype} if is_chosen else {})
    _check_dtype(dtype, DTYPES, to)
    return _export_family(model_folder, out, to, dtype or DTYPES[0], say)


def _check_dtype(dtype: str | None, known: tuple[str, ...], to: str) -> None:
    if dtype is not None and dtype not in known:
        raise CheckpointError(f"--to {to} writes --dtype {', '.join(known)}, not {dtype}")


def _export_family(model_folder: Path, out: Path, kind: str, dtype: str, say: Say) -> list[Path]:
    import torch
    from safetensors import SafetensorError

    from elixir_coder import checkpoint
    from elixir_coder.release.folder import building
    from elixir_coder.release.interop import to_transformers
    from tokenization_elixir_coder import save_tokenizer

    _check_new(out)
    tokenizer = checkpoint.load_tokenizer(model_folder)
    model = checkpoint.load_model(model_folder, tokenizer=tokenizer)
    theirs = to_transformers(model, kind).to(getattr(torch, dtype))
    for name, weight in theirs.named_parameters():
        if not weight.isfinite().all():
            raise CheckpointError(f"{model_folder}: {name} is not finite in {dtype}; export it with another --dtype")
    if "ElixirCoderForMultiTask" in (checkpoint.load_config(model_folder).architectures or ()):
        say(f"left out, because {kind} has no such part: the heads that judge")
    if names := model.config.separate_decoder_heads:
        say(f"left out, because {kind} has one head: separate_decoder_heads {', '.join(names)}")
    try:
        with building(out) as folder, checkpoint.quiet():
            theirs.save_pretrained(folder)
            save_tokenizer(tokenizer, folder)
            for path in folder.iterdir():
                shutil.copymode(folder / "config.json", path)  # safetensors lets nobody else read what it writes
    except (SafetensorError, RuntimeError) as error:  # a full disk, told by who was writing
        raise CheckpointError(f"cannot write to {out}: {error}") from error
    return sorted(out.iterdir())


def _check_new(out: Path) -> None:
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise CheckpointError(f"{out} exists; name a new folder or an empty one")


# ---------------------------------------------------------------------------------------------------------------- in


def import_family(source: Path, out: Path, add_tokens: bool = False, say: Say = _silent) -> list[Path]:
    """Write the elixir-coder folder `out` from a folder of one of FAMILIES and return its files, all or none.

    The model computes what it computed; its tokenizer stays as it is, and rows of the model that no token has go.
    add_tokens: give the tokenizer the task, FIM and span tokens of ours that it lacks, and the model rows for them,
    which `elixir-coder generate` and train.py need. say: is told what changed and what is missing.

    Only weights and tokenizer are read, with transformers' own classes; code in the folder is not run.
    Raises CheckpointError when `source` is no such folder, is damaged or has a part that our models lack, and when
    `out` exists or cannot be written; MissingDependencyError when its tokenizer needs sentencepiece.
    """
    from elixir_coder import checkpoint
    from elixir_coder.release.interop import from_transformers

    _check_new(out)
    theirs = _load_stock(source)
    model = from_transformers(theirs)
    tokenizer = _load_tokenizer(source)
    _check_fits(tokenizer, model.config.vocab_size, source)
    _agree_on_tokens(model, tokenizer, source, add_tokens, say)

    def keep_class(folder: Path) -> None:
        """A tokenizer without tokenizer.json is only what its own class makes of its files."""
        if not tokenizer.is_fast:
            path = folder / "tokenizer_config.json"
            config = json.loads(path.read_text(encoding="utf-8")) | {"tokenizer_class": type(tokenizer).__name__}
            path.write_text(json.dumps(config, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")

    checkpoint.save_model(out, model, tokenizer, extra=keep_class)
    return sorted(path for path in out.rglob("*") if path.is_file())


def _load_stock(source: Path) -> PreTrainedModel:
    import transformers

    from elixir_coder import checkpoint
    from elixir_coder.release.interop import relative_of

    try:
        config = json.loads((source / "config.json").read_text(encoding="utf-8"))
        kind = config["model_type"]
    except FileNotFoundError:
        raise CheckpointError(f"no model at {source}: {source / 'config.json'} does not exist") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{source / 'config.json'} is no configuration with a model_type: {error}") from error
    if kind == "elixir_coder":
        raise CheckpointError(f"{source} is an elixir-coder folder already; use it as it is")
    model_class = getattr(transformers, relative_of(kind).model)
    if not [*source.glob("*.safetensors"), *source.glob("*.bin")]:
        raise CheckpointError(f"{source} has no weights: neither model.safetensors nor pytorch_model.bin")
    try:
        model, info = checkpoint.loading(
            source,
            lambda: model_class.from_pretrained(
                source, local_files_only=True, output_loading_info=True, ignore_mismatched_sizes=True
            ),
        )
    except (pickle.UnpicklingError, EOFError) as error:
        raise CheckpointError(
            f"{source}: pytorch_model.bin holds something else than weights, or a part: {error}"
        ) from error
    for name, saved, wanted in sorted(info["mismatched_keys"]):
        raise CheckpointError(
            f"{source}: {name} has the shape {tuple(saved)} in the weights but {tuple(wanted)} in the configuration"
        )
    if missing := sorted(info["missing_keys"]):
        raise CheckpointError(f"{source}: the weights lack {missing[0]} and {len(missing) - 1} more; copy them again")
    return model.float().eval()


def _load_tokenizer(source: Path) -> PreTrainedTokenizerBase:
    from elixir_coder import checkpoint

    if (source / "tokenizer.json").exists():
        tokenizer = checkpoint.load_tokenizer(source)
    else:
        if [*source.glob("*.model"), *source.glob("*.spm")]:
            require("sentencepiece", extra="export")
            require("google.protobuf", extra="export")
        tokenizer_class = _tokenizer_class(source)
        tokenizer = checkpoint.loading(source, lambda: tokenizer_class.from_pretrained(source, local_files_only=True))
    for name in ("auto_map", "is_local", "local_files_only"):  # code that stays behind, and how it was loaded here
        tokenizer.init_kwargs.pop(name, None)
    return tokenizer


def _tokenizer_class(source: Path) -> Any:
    """The class of transformers that makes a tokenizer of other files than tokenizer.json."""
    import transformers

    for file in ("tokenizer_config.json", "config.json"):
        settings = json.loads((source / file).read_text(encoding="utf-8")) if (source / file).exists() else {}
        if (name := settings.get("tokenizer_class")) and (found := getattr(transformers, name, None)):
            return found
    raise CheckpointError(
        f"no tokenizer at {source}: there is no tokenizer.json, and no tokenizer_class of transformers is named in "
        "tokenizer_config.json; load it with its class there and save it with save_pretrained"
    )


def _check_fits(tokenizer: PreTrainedTokenizerBase, num_rows: int, source: Path) -> None:
    """Raise CheckpointError unless the tokenizer can be the one that the model's rows were made for."""
    num_tokens = len(tokenizer)
    if lacking := set(range(num_tokens)) - set(tokenizer.get_vocab().values()):
        raise CheckpointError(f"{source}: the tokenizer has {num_tokens} tokens, but none with the id {min(lacking)}")
    # T5 has 28 rows in 32,128 to spare. A class of transformers that finds no vocabulary makes a tokenizer without one.
    if not 0.9 * num_rows <= num_tokens <= num_rows:
        raise CheckpointError(
            f"{source}: the tokenizer has {num_tokens} tokens but the model {num_rows}; its files are missing, or it "
            "is that of another model"
        )


def _agree_on_tokens(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source: Path, add_tokens: bool, say: Say
) -> None:
    """Give the model a row for each token, and the ids of the tokenizer, in place.

    Raises CheckpointError when the tokenizer is that of another model.
    """
    import torch
    from tokenizers import AddedToken

    from elixir_coder import checkpoint
    from tokenization_elixir_coder import SPECIAL_TOKENS

    config, num_rows = model.config, model.config.vocab_size
    for name in ("pad_token_id", "bos_token_id", "eos_token_id"):
        known = getattr(tokenizer, name)
        if getattr(config, name) is None or (known is None and name == "bos_token_id"):  # nothing reads the latter
            setattr(config, name, known)
    if config.decoder_start_token_id is None:  # mBART and PLBart take it from what they are to write
        start = model.generation_config.decoder_start_token_id
        config.decoder_start_token_id = config.eos_token_id if start is None else start
        say(f"the decoder starts with {tokenizer.convert_ids_to_tokens(config.decoder_start_token_id)}")
    if len(tokenizer) < num_rows:
        model.resize_token_embeddings(len(tokenizer))
        say(f"left out: {num_rows - len(tokenizer)} rows of the model that no token has")
    vocabulary = tokenizer.get_vocab()
    missing = [token for token in SPECIAL_TOKENS if token not in vocabulary and not token.startswith("<reserved_")]
    if missing and add_tokens:
        tokenizer.add_tokens([AddedToken(token, special=True, normalized=False) for token in missing])
        with torch.random.fork_rng(devices=[]), checkpoint.quiet():
            torch.manual_seed(0)  # new rows lie near the mean of the old ones, at the same places each time
            model.resize_token_embeddings(len(tokenizer))
        say(f"added: {len(missing)} special tokens")
    elif missing:
        some = ", ".join([*missing[:3], "..."] if len(missing) > 3 else missing)
        say(f"the tokenizer lacks {some}, which generate and train.py need; import with --add_tokens to have them")
    if not tokenizer.is_fast:
        say(f"a {type(tokenizer).__name__} has no tokenizer.json, which generate and train.py read")
    checkpoint.check_vocabulary(config, tokenizer, source)


# ----------------------------------------------------------------------------------------------------------- commands


def add_parser(subparsers: Any) -> None:
    """Add `elixir-coder export` and `elixir-coder import`."""
    parser = subparsers.add_parser(
        "export",
        help="write the model for other programs",
        description="Write a model folder as a model of transformers' own classes, or as what another program runs.",
    )
    parser.add_argument("--to", required=True, choices=(*FAMILIES, *RUNTIMES), help="what to write")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to write, new or empty; for gguf a file too")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="model folder (default: the shipped model)")
    parser.add_argument(
        "--dtype", help=f"type of the weights: {', '.join(DTYPES)} (default: the first), or what a runtime has"
    )
    parser.set_defaults(run=run_export)

    parser = subparsers.add_parser(
        "import",
        help="start from another model",
        description="Make an elixir-coder folder of a folder of transformers (T5, CodeT5, BART, PLBart, ...) or of a "
        "Llama-shaped model.",
    )
    parser.add_argument("--from", dest="source", required=True, type=Path, help="model folder, or a .gguf file")
    parser.add_argument("out", metavar="OUT", type=Path, help="folder to write, new or empty")
    parser.add_argument(
        "--add_tokens",
        action="store_true",
        help="add the special tokens that generate and train.py need to the tokenizer (not for a Llama)",
    )
    warm_start.add_arguments(parser)
    parser.set_defaults(run=run_import)


def run_export(args: argparse.Namespace) -> int:
    """Write for another program, and name each file with its size."""
    _show(export(args.model, args.out, args.to, args.dtype, say=_note))
    return 0


def run_import(args: argparse.Namespace) -> int:
    """Write an elixir-coder folder, and name each file with its size."""
    if warm_start.is_llama(args.source):
        if args.add_tokens:
            raise CheckpointError("--add_tokens is not for a Llama; its vocabulary is replaced by that of --tokenizer")
        _check_new(args.out)
        files = warm_start.import_llama(
            args.source,
            args.out,
            encoder_layers=args.encoder_layers,
            decoder_layers=args.decoder_layers,
            tokenizer=args.tokenizer,
            keep_vocabulary=args.keep_vocabulary,
            dtype=args.dtype,
        )
    else:
        if given := warm_start.given(args):
            raise CheckpointError(f"{', '.join(given)}: only for a Llama-shaped model, which {args.source} is not")
        files = import_family(args.source, args.out, args.add_tokens, say=_note)
    _show(files)
    return 0


def _note(text: str) -> None:
    print(f"note: {text}")


def _show(files: list[Path]) -> None:
    for file in files:
        print(f"{file.stat().st_size:>12,}  {file}")
