"""Files that appear whole, all of them or none, in a folder that may hold others."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from elixir_coder.errors import CheckpointError

TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json")


@contextmanager
def building(out: Path, *, replaces_model: bool = False) -> Iterator[Path]:
    """A temporary folder whose files move into `out` when the block ends without an error, and vanish when not.

    Other files in `out` stay as they are. Raises CheckpointError when `out` cannot be written, and, unless that is what
    it is for (`replaces_model`), when it is a model folder, whose configuration would be replaced by another program's.
    """
    out = Path(out)
    if not replaces_model and (out / "model.safetensors").exists():
        raise CheckpointError(f"{out} is a model folder; name another one to write into")
    folder = out / ".building"
    is_new = not out.exists()
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        yield folder
        for file in sorted(path for path in folder.rglob("*") if not path.is_dir()):
            target = out / file.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            os.replace(file, target)
    except OSError as error:
        raise CheckpointError(f"cannot write to {out}: {error}") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        if is_new and out.is_dir() and not any(out.iterdir()):
            out.rmdir()


def copy_tokenizer(model_folder: Path, folder: Path) -> None:
    """A runtime takes and gives token ids: the tokenizer goes with it."""
    for name in TOKENIZER_FILES:
        shutil.copyfile(Path(model_folder) / name, folder / name)
