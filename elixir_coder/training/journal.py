"""What a run leaves to read: one JSON line per record, TensorBoard scalars, and report.md with curves.

A resumed run drops the records after the checkpoint it goes on from, so that the journal never tells a step twice.
"""

from __future__ import annotations

import json
import platform
from pathlib import Path
from typing import Any

import torch
import transformers

from elixir_coder.errors import require


class Journal:
    """Records of one run in `OUT/log.jsonl` and `OUT/tensorboard`. Every record has a `step`."""

    def __init__(self, out: Path, after_step: int = 0):
        out.mkdir(parents=True, exist_ok=True)
        self.path = out / "log.jsonl"
        kept = [record for record in read_records(self.path) if record["step"] <= after_step]
        self.path.write_text("".join(json.dumps(record) + "\n" for record in kept))
        writer_class = require("torch.utils.tensorboard", "train").SummaryWriter
        self.board = writer_class(str(out / "tensorboard"), purge_step=after_step + 1)

    def write(self, step: int, **values: float) -> None:
        """Add a record and show it as one line."""
        with self.path.open("a") as file:
            file.write(json.dumps({"step": step, **values}) + "\n")
        for name, value in values.items():
            self.board.add_scalar(name, value, step)
        print(f"step {step}  " + "  ".join(f"{name} {value:.5g}" for name, value in values.items()), flush=True)

    def close(self) -> None:
        self.board.close()


def read_records(path: Path) -> list[dict[str, Any]]:
    """The records of a log; a last line that a crash cut short is left out."""
    if not path.exists():
        return []
    records = []
    for line in path.read_text().splitlines():
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def write_report(out: Path, settings: dict[str, Any], best: Path | None) -> Path:
    """OUT/report.md with OUT/curves.png: the result, the curves, what the run cost, settings and versions."""
    records = read_records(out / "log.jsonl")
    training = [record for record in records if "loss" in record]
    held_out = [record for record in records if "bits_per_byte" in record]
    _draw(out / "curves.png", training, held_out)
    last = training[-1] if training else {}
    lines = [
        f"# Training run {out.name}",
        "",
        f"Best checkpoint: {best.name if best else 'none yet'}"
        + (f", {min(record['bits_per_byte'] for record in held_out):.4f} held-out bits per byte." if held_out else "."),
        "",
        "![loss and held-out bits per byte](curves.png)",
        "",
        "| step | tokens with a loss | hours | held-out bits per byte |",
        "|---|---|---|---|",
        *(
            f"| {record['step']} | {int(record['tokens']):,} | {record['seconds'] / 3600:.2f} | "
            f"{record['bits_per_byte']:.4f} |"
            for record in held_out
        ),
        "",
        f"Cost: {last.get('seconds', 0) / 3600:.2f} hours, {int(last.get('tokens', 0)):,} tokens with a loss, "
        f"{last.get('tokens', 0) / max(last.get('seconds', 0), 1e-9):.0f} a second over the whole run, evaluations and "
        f"saving included, on {platform.machine()} with {torch.get_num_threads()} threads.",
        "",
        f"Versions: Python {platform.python_version()}, torch {torch.__version__}, "
        f"transformers {transformers.__version__}.",
        "",
        "Settings:",
        "",
        "```",
        *(f"{name} = {value}" for name, value in settings.items()),
        "```",
        "",
    ]
    report = out / "report.md"
    report.write_text("\n".join(lines))
    return report


def _draw(path: Path, training: list[dict[str, Any]], held_out: list[dict[str, Any]]) -> None:
    matplotlib = require("matplotlib", "train")
    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.plot([r["step"] for r in training], [r["loss"] for r in training], linewidth=0.8)
    left.set(xlabel="step", ylabel="training loss (nats per token)")
    right.plot([r["step"] for r in held_out], [r["bits_per_byte"] for r in held_out], marker="o", markersize=3)
    right.set(xlabel="step", ylabel="held-out bits per byte")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
