"""Make a model folder to ship from a checkpoint: `elixir-coder save runs/tiny/best . --dtype bfloat16`.

Weights in the type they are shipped in, configuration, defaults of `generate`, tokenizer and Hub code; not the
optimizer. In a folder that holds more than a model, such as a checkout, only these files are replaced.
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from typing import Any

from elixir_coder.errors import CheckpointError
from elixir_coder.release.embedding import write_module_files
from elixir_coder.release.folder import building

DTYPES = ("bfloat16", "float16", "float32")
MAX_NEW_TOKENS = 256  # transformers' own default, 20, is two lines of Elixir


def ship(source: Path, out: Path, dtype: str = "bfloat16") -> list[Path]:
    """Write the model folder and return its files. Every file appears whole, and none changes before all are written.

    Raises CheckpointError when `source` is no model folder with a fitting tokenizer, when a weight is too large for
    `dtype`, and when `out` cannot be written.
    """
    import torch

    from elixir_coder.checkpoint import load_model, load_tokenizer, save_model

    tokenizer = load_tokenizer(source)
    model = load_model(source, kind=None, dtype=getattr(torch, dtype), tokenizer=tokenizer)
    for name, weight in model.named_parameters():
        if not weight.isfinite().all():
            raise CheckpointError(f"{source}: {name} is not finite in {dtype}; save it with another --dtype")
    if (generation := getattr(model, "generation_config", None)) is not None:
        generation.update(
            # Greedy, so that the same prompt gives the same code; a caller who samples says how.
            do_sample=False,
            num_beams=1,
            max_new_tokens=MAX_NEW_TOKENS,
            # Sentinels and task tokens are nothing a reader wants; who asks for denoised spans sets this to None.
            suppress_tokens=sorted({*tokenizer.all_special_ids} - {tokenizer.eos_token_id}),
            _from_model_config=False,
        )

    with building(out, replaces_model=True) as folder:
        save_model(folder, model, tokenizer, extra=lambda saved: _add_files(source, saved))
        names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return [out / name for name in names]


def _add_files(source: Path, folder: Path) -> None:
    """The step and the tokens seen, which the model card tells, and what sentence-transformers reads."""
    write_module_files(folder)
    if (progress := source / "trainer_state.json").exists():
        shutil.copyfile(progress, folder / progress.name)


def add_parser(subparsers: Any) -> None:
    """Add `elixir-coder save`."""
    parser = subparsers.add_parser(
        "save",
        help="make a model folder to ship from a checkpoint",
        description="Write a checkpoint's weights, configuration, tokenizer and code as a Hub model folder.",
    )
    parser.add_argument("checkpoint", type=Path, help="model folder to read, e.g. runs/tiny/best")
    parser.add_argument("out", type=Path, help="folder to write; other files in it stay as they are")
    parser.add_argument("--dtype", choices=DTYPES, default="bfloat16", help="type of the weights (default: bfloat16)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write the folder and name each file with its size."""
    for file in ship(args.checkpoint, args.out, args.dtype):
        print(f"{file.stat().st_size:>12,}  {file}")
    return 0
