"""What a run leaves to read: one JSON line per record, TensorBoard scalars, and report.md with curves.

A resumed run drops the records after the checkpoint it goes on from, so that the journal never tells a step twice.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from elixir_coder.errors import require
from elixir_coder.training.state import SETTINGS, best_checkpoint, read_progress

_LIBRARIES = ("elixir-coder", "torch", "transformers", "tokenizers", "accelerate", "safetensors", "numpy")


class Journal:
    """Records of one run in OUT/log.jsonl and OUT/tensorboard, each with its step, and a line for each on the terminal.

    after_step: where a resumed run goes on. is_silent: write and show nothing, as all processes but one should.

    Raises MissingDependencyError now, not at the first report, when what draws the curves is not installed.
    """

    def __init__(self, out: Path, after_step: int = 0, *, is_silent: bool = False):
        self.out = out
        self.is_silent = is_silent
        if is_silent:
            return
        require("matplotlib", "train")
        writer_class = require("torch.utils.tensorboard", "train").SummaryWriter
        self.path = out / "log.jsonl"
        kept = [record for record in read_records(self.path) if record["step"] <= after_step]
        _write_whole(self.path, "".join(json.dumps(record) + "\n" for record in kept))
        self.board = writer_class(str(out / "tensorboard"), purge_step=after_step + 1)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self.is_silent:
            self.board.close()

    def say(self, text: str) -> None:
        """Show a line that is no record."""
        if not self.is_silent:
            print(text, flush=True)

    def write(self, step: int, **values: float) -> None:
        """Add a record and show it as one line."""
        if self.is_silent:
            return
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            self.board.add_scalar(name, value, step)
        self.say(f"step {step}  " + "  ".join(f"{name} {value:.5g}" for name, value in values.items()))

    def report(self, facts: Mapping[str, str]) -> None:
        """Write OUT/report.md and OUT/curves.png."""
        if not self.is_silent:
            write_report(self.out, facts)


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of a log; a last line that a crash cut short is left out."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def write_report(out: Path, facts: Mapping[str, str]) -> None:
    """OUT/report.md with OUT/curves.png, from the log, the checkpoints and the recipe that lie there: the result, the
    curves, what the run cost, versions and settings. facts: more to tell, e.g. {"Hardware": "2 × cpu"}."""
    records = read_records(out / "log.jsonl")
    training = [record for record in records if "loss" in record]
    held_out = [record for record in records if "bits_per_byte" in record]
    _draw(out / "curves.png", training, held_out)
    best = best_checkpoint(out)
    done = max(records, key=lambda record: record["step"], default={"step": 0, "seconds": 0.0, "tokens": 0})
    versions = ", ".join(f"{library} {version(library)}" for library in _LIBRARIES)
    lines = [
        f"# Training run {out.absolute().name}",
        "",
        f"Best checkpoint: {_named(best)}",
        "",
        "![training loss and held-out bits per byte](curves.png)",
        "",
        "| step | tokens with a loss | h:mm:ss | held-out bits per byte |",
        "|---:|---:|---:|---:|",
        *(
            f"| {each['step']:,} | {each['tokens']:,} | {_time(each['seconds'])} | {each['bits_per_byte']:.4f} |"
            for each in held_out
        ),
        "",
        f"Cost: {_time(done['seconds'])} (h:mm:ss) for {done['step']:,} steps, {done['tokens']:,} tokens with a loss, "
        f"{done['tokens'] / max(done['seconds'], 1e-9):,.0f} a second with all evaluations and saves.",
        "",
        *(f"{name}: {fact}\n" for name, fact in facts.items()),
        f"Versions: Python {platform.python_version()}, {versions}.",
        "",
        "Settings:",
        "",
        "```",
        *(out / SETTINGS).read_text(encoding="utf-8").splitlines(),
        "```",
        "",
    ]
    _write_whole(out / "report.md", "\n".join(lines))


def hardware(device: torch.device, num_processes: int) -> str:
    """What a run computes on, in words."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{device.type} ({platform.machine()}), {torch.get_num_threads()} threads"
    return f"{num_processes} × {name}"


def _named(best: Path | None) -> str:
    if best is None:
        return "none yet."
    bits_per_byte = read_progress(best).bits_per_byte
    score = "not measured" if bits_per_byte is None else f"{bits_per_byte:.4f} held-out bits per byte"
    return f"`{best.name}`, {score}; the link `best` points to it."


def _time(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))


def _draw(path: Path, training: list[dict[str, Any]], held_out: list[dict[str, Any]]) -> None:
    require("matplotlib", "train").use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.plot([r["step"] for r in training], [r["loss"] for r in training], linewidth=0.8)
    left.set(xlabel="step", ylabel="training loss (nats per token)")
    right.plot([r["step"] for r in held_out], [r["bits_per_byte"] for r in held_out], marker="o", markersize=3)
    right.set(xlabel="step", ylabel="held-out bits per byte")
    new = path.with_name(f".{path.name}")
    figure.savefig(new, dpi=110, format="png")
    os.replace(new, path)
    pyplot.close(figure)


def _write_whole(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}")
    new.write_text(text, encoding="utf-8")
    os.replace(new, path)
