"""What a run leaves to read: one JSON line per record, TensorBoard scalars, and report.md with curves.

A record is a step and numbers; those of the tasks are nested, by what they are and then by task:

    {"step": 100, "loss": 2.3, "tasks": {"generate": 2.1, "quality": 0.3}, "gradient_norms": {"generate": 0.4, ...}}
    {"step": 100, "bits_per_byte": 1.4, "held_out": {"generate": {"token_accuracy": 0.41, "nats": 2.0, "count": 64}}}
    {"step": 100, "note": "phase 2 (simple ontology) begins"}

A resumed run drops the records after the checkpoint it goes on from, so that the journal never tells a step twice.
"""

from __future__ import annotations

import json
import math
import os
import platform
import resource
import sys
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any

import torch

from elixir_coder.errors import require
from elixir_coder.training.dashboard import SURENESS, Dashboard, duration, headline, is_terminal
from elixir_coder.training.state import SETTINGS, best_checkpoint, read_progress

_LIBRARIES = ("elixir-coder", "torch", "transformers", "tokenizers", "accelerate", "safetensors", "numpy")

Value = float | Mapping[str, float] | Mapping[str, Mapping[str, float]]


class Journal:
    """Records of one run in OUT/log.jsonl and OUT/tensorboard, each with its step; on a terminal a table of the last
    ones that is redrawn in place, elsewhere a line for each.

    after_step: where a resumed run goes on. steps: of the whole run. is_silent: write and show nothing, as all
    processes but one should.

    Raises MissingDependencyError now, not at the first report, when what draws the curves is not installed.
    """

    def __init__(self, out: Path, after_step: int = 0, *, steps: int = 0, is_silent: bool = False):
        self.out = out
        self.is_silent = is_silent
        self.dashboard: Dashboard | None = None
        if is_silent:
            return
        require("matplotlib", "train")
        writer_class = require("torch.utils.tensorboard", "train").SummaryWriter
        self.path = out / "log.jsonl"
        kept = [record for record in read_records(self.path) if record["step"] <= after_step]
        _write_whole(self.path, "".join(json.dumps(record) + "\n" for record in kept))
        self.board = writer_class(str(out / "tensorboard"), purge_step=after_step + 1)
        if steps and is_terminal(sys.stdout):
            self.dashboard = Dashboard(out.absolute().name, steps=steps, after_step=after_step)
            for record in kept:
                self.dashboard.recall(record)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if not self.is_silent:
            self.board.close()

    def say(self, text: str) -> None:
        """Show a line that is no record."""
        if self.is_silent:
            return
        if self.dashboard:
            self.dashboard.say(text)
        else:
            print(text, flush=True)

    def tick(self, step: int) -> None:
        """A step is done, with or without a record of it: what a terminal shows moves on."""
        if self.dashboard:
            self.dashboard.tick(step)

    def write(self, step: int, **values: Value) -> None:
        """Add a record and show it."""
        if self.is_silent:
            return
        record = {"step": step, **values}
        self._append(record)
        for name, value in _scalars(values):
            self.board.add_scalar(name, value, step)
        if self.dashboard:
            self.dashboard.show(record)
        else:
            self.say(_as_lines(record))

    def note(self, step: int, text: str) -> None:
        """Add what happened in words, e.g. which phase of the curriculum begins."""
        if self.is_silent:
            return
        record = {"step": step, "note": text}
        self._append(record)
        self.board.add_text("notes", text, step)
        if self.dashboard:
            self.dashboard.recall(record)
        self.say(f"step {step}: {text}")

    def report(self, facts: Mapping[str, str], errors: str = "") -> None:
        """Write OUT/report.md with its pictures. errors: a section of Markdown on what the model gets wrong."""
        if not self.is_silent:
            write_report(self.out, {**facts, "Memory": peak_memory()}, errors)

    def _append(self, record: Mapping[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")


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


def write_report(out: Path, facts: Mapping[str, str], errors: str = "") -> None:
    """OUT/report.md with OUT/curves.png and, where there are tasks, OUT/tasks.png, from the log, the checkpoints and
    the recipe that lie there: the result, the curves, each task first, best and last, phases, what the run cost,
    versions and settings. facts: more to tell, e.g. {"Hardware": "2 × cpu"}. errors: a section to end with."""
    records = read_records(out / "log.jsonl")
    training = [record for record in records if "loss" in record]
    held_out = [record for record in records if "bits_per_byte" in record]
    notes = [record for record in records if "note" in record]
    curves = task_curves(records)
    _draw(out / "curves.png", training, held_out)
    if curves:
        phases = [record["step"] for record in notes if record["note"].startswith("phase")]
        _draw_tasks(out / "tasks.png", curves, phases)
    best = best_checkpoint(out)
    done = max(
        (record for record in records if "tokens" in record),
        key=lambda record: record["step"],
        default={"step": 0, "seconds": 0.0, "tokens": 0},
    )
    versions = ", ".join(f"{library} {version(library)}" for library in _LIBRARIES)
    lines = [
        f"# Training run {out.absolute().name}",
        "",
        f"Best checkpoint: {_named(best)}",
        "",
        "![training loss and held-out bits per byte](curves.png)",
        "",
        "| step | tokens | h:mm:ss | held-out bits per byte |",
        "|---:|---:|---:|---:|",
        *(
            f"| {each['step']:,} | {each['tokens']:,} | {duration(each['seconds'])} | {each['bits_per_byte']:.4f} |"
            for each in held_out
        ),
        "",
        *_task_section(curves),
        *_notes_section(notes),
        f"Cost: {duration(done['seconds'])} (h:mm:ss) for {done['step']:,} steps, {done['tokens']:,} tokens read and "
        f"written, {done['tokens'] / max(done['seconds'], 1e-9):,.0f} a second with all evaluations and saves.",
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
        *errors.splitlines(),
    ]
    _write_whole(out / "report.md", "\n".join(lines).rstrip("\n") + "\n")


class TaskCurve:
    """What the log tells of one task. held_out: (step, score) of each evaluation that measured it, the score as in the
    log. losses: by loss name, of which a task may have several, the (step, loss) of each record."""

    def __init__(self) -> None:
        self.held_out: list[tuple[int, Mapping[str, float]]] = []
        self.losses: dict[str, list[tuple[int, float]]] = {}


def task_curves(records: list[dict[str, Any]]) -> dict[str, TaskCurve]:
    """The curve of each task, in the order in which the log first names them. A loss "quality:security" is one of the
    task before the colon."""
    curves: dict[str, TaskCurve] = {}
    for record in records:
        for name, loss in record.get("tasks", {}).items():
            curve = curves.setdefault(name.partition(":")[0], TaskCurve())
            curve.losses.setdefault(name, []).append((record["step"], loss))
        for task, score in record.get("held_out", {}).items():
            curves.setdefault(task, TaskCurve()).held_out.append((record["step"], score))
    return curves


def hardware(device: torch.device, num_processes: int) -> str:
    """What a run computes on, in words."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
    else:
        name = f"{device.type} ({platform.machine()}), {torch.get_num_threads()} threads"
    return f"{num_processes} × {name}"


def peak_memory() -> str:
    """The most memory that this process has held at a time, in words."""
    kilobytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1024 if sys.platform == "darwin" else 1)
    text = f"{kilobytes * 1024 / 1e9:.2f} GB of main memory at most"
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        text += f", {torch.cuda.max_memory_allocated() / 1e9:.2f} GB of the accelerator's"
    return text


def _scalars(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """Numbers of a nested record by names that TensorBoard groups and does not alter: `held_out/generate/nats`. How
    sure a number is stays in the log."""
    for name, value in values.items():
        if name in SURENESS:
            continue
        path = prefix + name.replace(":", ".")
        if isinstance(value, Mapping):
            yield from _scalars(value, f"{path}/")
        else:
            yield path, value


def _as_lines(record: Mapping[str, Any]) -> str:
    """A record for a terminal that cannot redraw: a line of what belongs to the step, and one for each group."""
    plain = {name: value for name, value in record.items() if not isinstance(value, Mapping) and name != "step"}
    lines = [f"step {record['step']}  " + "  ".join(f"{name} {value:.5g}" for name, value in plain.items())]
    for group, values in record.items():
        if isinstance(values, Mapping) and values:
            shown = {
                task: headline(value)[1] if isinstance(value, Mapping) else value for task, value in values.items()
            }
            lines.append(f"  {group}  " + "  ".join(f"{task} {value:.4g}" for task, value in shown.items()))
    return "\n".join(lines)


def _task_section(curves: Mapping[str, TaskCurve]) -> list[str]:
    if not curves:
        return []
    lines = [
        "## Tasks",
        "",
        "![each task's held-out metric, and its training loss](tasks.png)",
        "",
        "Held out, first, best and last; nats per token of what a decoder task writes. The interval (95%) is that of "
        "the last.",
        "",
        "| task | metric | n | first | best (step) | last | interval | nats: first → last |",
        "|---|---|---:|---:|---:|---:|---:|---:|",
    ]
    for task, curve in curves.items():
        if not curve.held_out:
            lines.append(f"| {task} | not measured | | | | | | |")
            continue
        first, last = curve.held_out[0][1], curve.held_out[-1][1]
        best_step, best = max(curve.held_out, key=lambda each: _comparable(headline(each[1])[1]))
        interval = f"{last['low']:.3f}–{last['high']:.3f}" if "low" in last else ""
        nats = f"{first['nats']:.3f} → {last['nats']:.3f}" if "nats" in first and "nats" in last else ""
        lines.append(
            f"| {task} | {headline(last)[0].replace('_', ' ')} | {last.get('count', 0):,} | {headline(first)[1]:.3f} "
            f"| {headline(best)[1]:.3f} ({best_step:,}) | {headline(last)[1]:.3f} | {interval} | {nats} |"
        )
    return [*lines, ""]


def _comparable(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def _notes_section(notes: list[dict[str, Any]]) -> list[str]:
    if not notes:
        return []
    rows = [f"| {note['step']:,} | {note['note'].replace('|', '&#124;')} |" for note in notes]
    return ["## Phases", "", "| step | |", "|---:|---|", *rows, ""]


def _named(best: Path | None) -> str:
    if best is None:
        return "none yet."
    bits_per_byte = read_progress(best).bits_per_byte
    score = "not measured" if bits_per_byte is None else f"{bits_per_byte:.4f} held-out bits per byte"
    return f"`{best.name}`, {score}; the link `best` points to it."


def _draw(path: Path, training: list[dict[str, Any]], held_out: list[dict[str, Any]]) -> None:
    pyplot = _pyplot()
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    left.plot([r["step"] for r in training], [r["loss"] for r in training], linewidth=0.8)
    left.set(xlabel="step", ylabel="training loss")
    right.plot([r["step"] for r in held_out], [r["bits_per_byte"] for r in held_out], marker="o", markersize=3)
    right.set(xlabel="step", ylabel="held-out bits per byte")
    _save(figure, path)


def _draw_tasks(path: Path, curves: Mapping[str, TaskCurve], transitions: list[int]) -> None:
    """A panel for each task: what is measured of it held out, with its interval, and behind it its training losses."""
    pyplot = _pyplot()
    num_columns = min(4, len(curves))
    num_rows = -(-len(curves) // num_columns)
    width, height = max(3.4 * num_columns, 7.6), 2.3 * num_rows + 0.6  # inches: the title needs the first
    figure, panels = pyplot.subplots(
        num_rows,
        num_columns,
        figsize=(width, height),
        sharex=True,
        squeeze=False,
        # inches around and between panels: to work them out would take as long as all the rest
        gridspec_kw={
            "left": 0.5 / width,
            "right": 1 - 0.45 / width,
            "bottom": 0.5 / height,
            "top": 1 - 0.6 / height,
            "wspace": 0.9 / (width / num_columns - 0.9),
            "hspace": 0.6 / (height / num_rows - 0.6),
        },
    )
    for panel in panels.flat[len(curves) :]:
        panel.set_visible(False)
    for number, (panel, (task, curve)) in enumerate(zip(panels.flat, curves.items())):
        loss_axis = panel.twinx()
        panel.set_zorder(loss_axis.get_zorder() + 1)  # the metric in front of the losses
        panel.patch.set_visible(False)
        for shade, (loss_name, losses) in zip(_SHADES, curve.losses.items()):
            loss_axis.plot(*zip(*losses), color=shade, linewidth=0.9, label=loss_name)
        if len(curve.losses) > 1:
            loss_axis.legend(fontsize=6, loc="upper right", labelcolor="0.4")
        loss_axis.tick_params(labelsize=7, labelcolor=_SHADES[1], color=_SHADES[0])
        loss_axis.locator_params(nbins=4)
        name = "not measured"
        if curve.held_out:
            steps = [step for step, _ in curve.held_out]
            name = headline(curve.held_out[-1][1])[0].replace("_", " ")
            values = [headline(score)[1] for _, score in curve.held_out]
            panel.plot(steps, values, color="C0", marker="o", markersize=2.5)
            # What moves is to be seen, however wide its interval.
            margin = max(0.4 * (max(values) - min(values)), 0.02)
            bottom, top = max(min(values) - margin, 0.0), min(max(values) + margin, 1.0)
            panel.set_ylim(bottom - 0.04 * (top - bottom), top + 0.04 * (top - bottom))
            panel.locator_params(axis="y", nbins=5)
            if all("low" in score for _, score in curve.held_out):
                low, high = ([score[end] for _, score in curve.held_out] for end in ("low", "high"))
                panel.fill_between(steps, low, high, color="C0", alpha=0.15, linewidth=0)
        else:
            panel.set_yticks([])
        for step in transitions:
            panel.axvline(step, color="0.6", linewidth=0.7, linestyle=":")
        panel.set_title(f"{task}: {name}", fontsize=9)
        panel.tick_params(labelsize=7)
        panel.locator_params(axis="x", nbins=4)
        if number + num_columns >= len(curves):  # the lowest of its column
            panel.tick_params(labelbottom=True)
            panel.set_xlabel("step", fontsize=8)
    figure.suptitle(
        "held-out metric (blue, with its 95% interval) and training loss (grey, scale on the right)"
        + ("; dotted: a phase begins" if transitions else ""),
        fontsize=8.5,
        y=1 - 0.2 / height,
    )
    _save(figure, path)


_SHADES = ("0.72", "0.5", "0.85")  # greys, for the training losses of a task


def _pyplot() -> Any:
    require("matplotlib", "train").use("Agg")
    from matplotlib import pyplot

    return pyplot


def _save(figure: Any, path: Path) -> None:
    new = path.with_name(f".{path.name}")
    figure.savefig(new, dpi=110, format="png")
    os.replace(new, path)
    _pyplot().close(figure)


def _write_whole(path: Path, text: str) -> None:
    new = path.with_name(f".{path.name}")
    new.write_text(text, encoding="utf-8")
    os.replace(new, path)
