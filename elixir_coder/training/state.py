"""The folder of a run: whole checkpoints only, one writer at a time.

    OUT/recipe.args                the settings, in the words of the command line
    OUT/log.jsonl  tensorboard/    see training/journal.py, as for report.md and curves.png
    OUT/checkpoint-00000500/       a Hub folder (weights, tokenizer, code) that also holds what a resume needs:
        optimizer.pt               AdamW's moments
        objective.pt               heads that only training has, and what it learned of how losses are weighed
        trainer_state.json         step, tokens seen, held-out bits per byte, how far each stream of data is
    OUT/best                       link to the checkpoint of lowest held-out bits per byte

Learning rate, rows and dropout are pure functions of the step and of how far the streams are, so these files are all
there is to restore. A run that trains an adapter has adapter/ in its checkpoints instead of a model.
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from transformers import PreTrainedTokenizerBase

from elixir_coder import recipe as recipes
from elixir_coder.checkpoint import save_model, sync
from elixir_coder.errors import CheckpointError, RecipeError, TrainingError
from elixir_coder.recipe import TrainRecipe
from elixir_coder.training.adapters import save_adapter
from elixir_coder.training.objective import Objective
from elixir_coder.training.sharding import load_moments
from elixir_coder.training.terms import Terms

if TYPE_CHECKING:
    from accelerate import Accelerator  # type: ignore[import-untyped]

SETTINGS = "recipe.args"
OPTIMIZER, OBJECTIVE, ADAPTER = "optimizer.pt", "objective.pt", "adapter"
_STATE_BYTES = 12  # of a parameter in a checkpoint: its float32 and AdamW's two moments


@dataclass
class Progress:
    """How far a run is. tokens: read and written. bits_per_byte: held-out, None where this step was not measured.
    cursors: how many rows each stream of data has given."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    bits_per_byte: float | None = None
    cursors: dict[str, int] = field(default_factory=dict)


def checkpoints(out: Path) -> list[Path]:
    """The run's checkpoint folders, oldest first."""
    return sorted(out.glob("checkpoint-[0-9]*"))


def latest_checkpoint(recipe: TrainRecipe) -> Path | None:
    """Where a run with this recipe goes on, None for a new run. Writes nothing.

    Raises RecipeError when --out holds a run and this one is no --resume, when the run there has another --preset, and
    when --out cannot be a folder to write to.
    """
    out = recipe.out
    existing = next(path for path in (out, *out.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise RecipeError(f"--out {out} cannot be made: {existing} is not a folder one may write to; choose another")
    found = checkpoints(out)
    settings = out / SETTINGS
    if not found and not settings.exists():
        return None
    if not recipe.resume:
        raise RecipeError(f"--out {out} already holds a run; go on with --resume or choose another folder")
    if settings.exists():
        begun_with = recipes.parse(TrainRecipe, [f"@{settings.absolute()}"])
        if begun_with.preset != recipe.preset:
            raise RecipeError(f"the run in {out} was begun with --preset {begun_with.preset}, not {recipe.preset}")
    return found[-1] if found else None


@contextmanager
def open_run(recipe: TrainRecipe, latest: Path | None) -> Iterator[None]:
    """Make --out, keep other runs out of it, and clear away what a run that was killed left half-written.

    latest: what `latest_checkpoint` found. Raises RecipeError while another process trains there.
    """
    out = recipe.out
    try:
        out.mkdir(parents=True, exist_ok=True)
        handle = os.open(out, os.O_RDONLY)
    except OSError as error:
        raise RecipeError(f"--out {out} cannot be made: {error.strerror}") from error
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # gone with the process, however that ends
        except BlockingIOError:
            raise RecipeError(f"another process is training in --out {out}; wait for it or choose another") from None
        if checkpoints(out)[-1:] != ([latest] if latest else []):
            raise RecipeError(f"another process has just written to --out {out}; start again")
        for unfinished in out.glob(".checkpoint-*"):
            shutil.rmtree(unfinished)
        recipes.save(recipe, out / SETTINGS)
        yield
    finally:
        os.close(handle)


def check_disk(out: Path, num_parameters: int, keep_best: int) -> None:
    """Raise TrainingError when the disk has no room for the checkpoints that stand side by side at most."""
    needed = num_parameters * _STATE_BYTES * (keep_best + 2)
    free = shutil.disk_usage(next(path for path in (out, *out.absolute().parents) if path.exists())).free
    if free < needed:
        raise TrainingError(
            f"{out}: {keep_best + 2} checkpoints need {needed / 1e9:.1f} GB and the disk has {free / 1e9:.1f} GB free; "
            "make room, choose another --out or lower --keep_best"
        )


def save_checkpoint(
    out: Path,
    objective: Objective,
    terms: Terms,
    tokenizer: PreTrainedTokenizerBase,
    moments: Mapping[str, Any],
    progress: Progress,
    adapter: str | None = None,
) -> Path:
    """Write one checkpoint folder, all of it or nothing, and return it. moments: of `sharding.whole_moments`. adapter:
    which of the model to save instead of the model.

    Raises TrainingError for a weight that is not a finite number, CheckpointError when it cannot be written.
    """
    broken = next((name for name, weight in objective.named_parameters() if not weight.isfinite().all()), None)
    if broken is not None:
        raise not_finite(out, f"weight {broken.removeprefix('model.')} after step {progress.step}")

    def training_state(folder: Path) -> None:
        torch.save(dict(moments), folder / OPTIMIZER)
        learned = {"heads": objective.heads.state_dict(), "terms": terms.state_dict()}
        torch.save(learned, folder / OBJECTIVE)
        (folder / "trainer_state.json").write_text(json.dumps(asdict(progress), indent=2) + "\n")

    folder = out / f"checkpoint-{progress.step:08d}"
    if adapter is None:
        save_model(folder, objective.model, tokenizer, extra=training_state)
        return folder
    building = out / f".{folder.name}.building"
    shutil.rmtree(building, ignore_errors=True)
    try:
        building.mkdir()
        save_adapter(objective.model, adapter, building / ADAPTER)
        training_state(building)
        for path in (building / OPTIMIZER, building / OBJECTIVE, building / "trainer_state.json", building):
            sync(path)
        os.replace(building, folder)
    except OSError as error:
        raise CheckpointError(f"cannot write {folder}: {error}") from error
    return folder


def not_finite(out: Path, what: str) -> TrainingError:
    """The error for a number that makes all that follows worthless; it names the checkpoint to go back to."""
    last = checkpoints(out)[-1:]
    way_back = f"the last good checkpoint is {last[0]}" if last else "no checkpoint was written before"
    return TrainingError(
        f"{what} is not a finite number; {way_back}; go on with --resume and a lower --learning_rate or --max_grad_norm"
    )


def read_progress(folder: Path) -> Progress:
    """Raises CheckpointError when the folder has no readable trainer_state.json."""
    try:
        return Progress(**json.loads((folder / "trainer_state.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder}: trainer_state.json cannot be read: {error}") from error


def restore(folder: Path, accelerator: Accelerator, optimizer: Any, terms: Terms) -> Progress:
    """Put back AdamW's moments and the weights of losses; settings stay those of the recipe. Raises CheckpointError for
    damaged files."""
    try:
        saved = torch.load(folder / OPTIMIZER, map_location="cpu", weights_only=True)
        load_moments(accelerator, optimizer, saved)
        terms.load_state_dict(torch.load(folder / OBJECTIVE, map_location="cpu", weights_only=True)["terms"])
    except CheckpointError:
        raise
    except Exception as error:  # torch.load raises whatever the pickle or zip layer does
        raise CheckpointError(
            f"{folder}/{OPTIMIZER} or {OBJECTIVE} cannot be read ({error}); delete the folder to go on from the one "
            f"before, or start a new run with --init_from {folder}"
        ) from error
    return read_progress(folder)


def restore_heads(folder: Path, objective: Objective) -> None:
    """The heads of training from a checkpoint. Raises CheckpointError."""
    try:
        objective.heads.load_state_dict(torch.load(folder / OBJECTIVE, map_location="cpu", weights_only=True)["heads"])
    except Exception as error:  # torch.load raises whatever the pickle or zip layer does
        raise CheckpointError(f"{folder}/{OBJECTIVE} cannot be read ({error}); delete it to begin anew") from error


def prune(out: Path, keep_best: int) -> None:
    """Delete all checkpoints but the latest and the `keep_best` of lowest held-out bits per byte."""
    folders = checkpoints(out)
    kept = {*best_checkpoints(out)[:keep_best], *folders[-1:]}
    for folder in folders:
        if folder not in kept:
            doomed = folder.with_name(f".{folder.name}.pruned")  # no longer a checkpoint once it is half deleted
            os.replace(folder, doomed)
            shutil.rmtree(doomed)


def best_checkpoints(out: Path) -> list[Path]:
    """The checkpoints that were measured, the lowest held-out bits per byte first."""
    scored = [(read_progress(folder).bits_per_byte, folder) for folder in checkpoints(out)]
    return [folder for _, folder in sorted((score, folder) for score, folder in scored if score is not None)]


def best_checkpoint(out: Path) -> Path | None:
    """The best of those that were measured, else the latest, else None."""
    return next(iter(best_checkpoints(out) or checkpoints(out)[::-1]), None)


def link_best(out: Path) -> None:
    """Point OUT/best at the best checkpoint, where the file system has links."""
    best = best_checkpoint(out)
    link, new = out / "best", out / ".best"
    if best is None or (link.is_symlink() and os.readlink(link) == best.name):
        return
    try:
        new.unlink(missing_ok=True)
        new.symlink_to(best.name)
        os.replace(new, link)
    except OSError:  # a convenience: report.md names the folder too
        new.unlink(missing_ok=True)
