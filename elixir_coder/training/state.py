"""Checkpoints of a run: Hub folders that also hold what is needed to go on bit-exactly.

    OUT/checkpoint-00000500/   model.safetensors, tokenizer, code, and besides
        optimizer.pt           AdamW's moments
        rng.pt                 torch's random state, one per process
        trainer_state.json     step, tokens seen, held-out bits per byte
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from elixir_coder.checkpoint import save_model
from elixir_coder.errors import CheckpointError


@dataclass
class Progress:
    """How far a run is. tokens: with a loss. bits_per_byte: held-out, None before the first evaluation."""

    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    bits_per_byte: float | None = None


def checkpoints(out: Path) -> list[Path]:
    """The run's checkpoint folders, oldest first."""
    return sorted(out.glob("checkpoint-[0-9]*"))


def save_checkpoint(
    out: Path,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    optimizer: Any,
    rng_states: list[torch.Tensor],
    progress: Progress,
) -> Path:
    """Write one checkpoint folder, all of it or nothing, and return it."""

    def training_state(folder: Path) -> None:
        torch.save(optimizer.state_dict(), folder / "optimizer.pt")
        torch.save(rng_states, folder / "rng.pt")
        (folder / "trainer_state.json").write_text(json.dumps(asdict(progress), indent=2) + "\n")

    folder = out / f"checkpoint-{progress.step:08d}"
    save_model(folder, model, tokenizer, extra=training_state)
    return folder


def read_progress(folder: Path) -> Progress:
    """Raises CheckpointError when the folder has no readable trainer_state.json."""
    try:
        return Progress(**json.loads((folder / "trainer_state.json").read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{folder}: trainer_state.json cannot be read: {error}") from error


def restore_training_state(folder: Path, optimizer: Any, process_index: int, num_processes: int) -> None:
    """Put optimizer and random state back. Raises CheckpointError when they are damaged or of another run."""
    try:
        optimizer.load_state_dict(torch.load(folder / "optimizer.pt", weights_only=True))
        rng_states = torch.load(folder / "rng.pt", weights_only=True)
    except Exception as error:  # torch.load raises whatever the pickle or zip layer does
        raise CheckpointError(f"{folder}: the optimizer state cannot be read ({error}); start with --init_from") from error
    if len(rng_states) != num_processes:
        raise CheckpointError(
            f"{folder} was written by {len(rng_states)} processes and cannot go on with {num_processes}; "
            "use the same number, or start anew with --init_from"
        )
    torch.set_rng_state(rng_states[process_index])


def prune(out: Path, keep_best: int) -> None:
    """Delete all checkpoints but the latest and the `keep_best` of lowest held-out bits per byte."""
    folders = checkpoints(out)
    scored = [(progress.bits_per_byte, folder) for folder in folders if (progress := read_progress(folder))]
    ranked = sorted((score, folder) for score, folder in scored if score is not None)
    kept = {folder for _, folder in ranked[:keep_best]} | set(folders[-1:])
    for folder in folders:
        if folder not in kept:
            shutil.rmtree(folder)


def best_checkpoint(out: Path) -> Path | None:
    """The checkpoint of lowest held-out bits per byte, else the latest, else None."""
    folders = checkpoints(out)
    scored = [(score, folder) for folder in folders if (score := read_progress(folder).bits_per_byte) is not None]
    return min(scored)[1] if scored else (folders[-1] if folders else None)
