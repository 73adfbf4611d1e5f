"""The table that a run on a terminal redraws in place: how far it is, how long still, and how each task does.

    multi  step 1,200 of 10,000  12.0%  ██████▍░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░░
    elapsed 0:12:31  left 1:31:02  tokens/s 4,512  MFU 41.2%
    loss 2.314  learning rate 0.0003  gradient norm 0.82  bits per byte 1.412 (-0.031)
    step 1,000: phase 2 (simple ontology) begins

    task         loss  weight  share  norm  held out  change  metric
    generate    2.101    1.00  12.0%  0.31     0.412  +0.021  token accuracy

A frame is one write, and nothing of the terminal is changed between two frames: the cursor is hidden and lines are cut
inside the frame alone. So there is nothing to restore, however the run ends. What other code prints meanwhile shifts
the table down by as many lines, and a part of the old one stays above it.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from typing import Any, NamedTuple, TextIO

_WRAPPED = "\x1b[?7h"  # long lines go on below
_BEGIN, _END = "\x1b[?25l\x1b[?7l", _WRAPPED + "\x1b[?25h"  # no cursor and no wrapping, and both again
_BOLD, _DIM, _PLAIN = "\x1b[1m", "\x1b[2m", "\x1b[0m"
_TO_LINE_END, _BELOW = "\x1b[K", "\x1b[J"
_SECONDS_A_FRAME = 0.25
_POINTS = 500  # places and times remembered of a run, for the time that is left

# What a record may hold that has a place or a form of its own; all its other numbers are shown by their names.
_GROUPS = ("tasks", "weights", "shares", "gradient_norms", "held_out")
SURENESS = ("count", "low", "high")  # of a score: its rows, and its 95% interval
_NOT_SHOWN = {"step", "seconds", "note", *_GROUPS}
_WORDS: Mapping[str, tuple[str, str]] = {
    "tokens_per_second": ("tokens/s", ",.0f"),
    "mfu": ("MFU", ".1%"),
    "loss": ("loss", ".4g"),
    "learning_rate": ("learning rate", ".3g"),
    "grad_norm": ("gradient norm", ".3g"),
    "bits_per_byte": ("bits per byte", ".4f"),
    "tokens": ("tokens", ",.0f"),
    "epoch": ("epoch", ".2f"),
}


class Dashboard:
    """One run on one terminal. name: of the run. after_step: where a resumed run goes on. steps: of the whole run."""

    def __init__(
        self,
        name: str,
        *,
        steps: int,
        after_step: int = 0,
        stream: TextIO | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        self.name = name
        self.steps = steps
        self.step = after_step
        self.stream = stream or sys.stdout
        self.clock = clock
        self.points = [(after_step, clock())]  # of this process: what was done before took other hardware's time
        self.seconds_before = 0.0  # of the run, when this process began
        self.values: dict[str, float] = {}
        self.note = ""
        self.groups: dict[str, dict[str, Any]] = {group: {} for group in _GROUPS}
        self.tasks: dict[str, None] = {}  # in the order in which they came
        self.before: dict[str, float] = {}  # what was measured in the evaluation before the last
        self.drawn: tuple[int, int] = 0, 0  # lines of the last frame, and the width it was made for
        self.next_frame = 0.0
        self.is_gone = False  # the terminal was closed; a run goes on without it

    def recall(self, record: Mapping[str, Any]) -> None:
        """Take in a record of an earlier part of the run; nothing is drawn."""
        self.seconds_before = record.get("seconds", self.seconds_before)
        self._take(record)

    def show(self, record: Mapping[str, Any]) -> None:
        """Take in a record, as in log.jsonl, and draw."""
        self._take(record)
        self._reach(record["step"])
        self._draw()

    def tick(self, step: int) -> None:
        """A step is done; draw where the last frame is a while old."""
        self._reach(step)
        if self.clock() >= self.next_frame:
            self._draw()

    def say(self, text: str) -> None:
        """Show lines above the table; they stay."""
        self._write(self._back() + _BELOW + _WRAPPED + text.rstrip("\n") + "\n")
        self.drawn = 0, 0
        self._draw()

    def frame(self, width: int, height: int) -> list[str]:
        """What is drawn: at most `height` lines; of the tasks those that there is room for."""
        lines = [_BOLD + self._progress(width) + _PLAIN]
        lines += _flow(self._times(), width) + _flow(self._numbers(), width)
        if self.note:
            lines.append(_cut(self.note, width))
        table = self._table(width)
        if table:
            lines += ["", _DIM + table[0] + _PLAIN]
            room = height - len(lines)
            rows = table[1:]
            if len(rows) > room:
                hidden = len(rows) - max(room - 1, 0)
                rows = [*rows[: max(room - 1, 0)], _cut(f"and {hidden} more tasks: make the window taller", width)]
            lines += rows
        return lines[: max(height, 1)]

    def _take(self, record: Mapping[str, Any]) -> None:
        if "note" in record and (record["note"].startswith("phase") or not self.note):  # others scroll away above
            self.note = f"step {record['step']:,}: {record['note']}"
        for group in _GROUPS:
            self.tasks |= dict.fromkeys(record.get(group, ()))
        for task in record.get("held_out", ()):
            if task in self.groups["held_out"]:
                self.before[task] = headline(self.groups["held_out"][task])[1]
        for group in _GROUPS:
            self.groups[group] |= record.get(group, {})
        if "bits_per_byte" in record and "bits_per_byte" in self.values:
            self.before["bits_per_byte"] = self.values["bits_per_byte"]
        self.values |= {name: value for name, value in record.items() if name not in _NOT_SHOWN}

    def _reach(self, step: int) -> None:
        self.step = step
        (_, began), (_, last), now = self.points[0], self.points[-1], self.clock()
        if now - last >= (now - began) / _POINTS:
            self.points.append((step, now))

    def _times(self) -> list[str]:
        (first_step, began), now = self.points[0], self.clock()
        items = [f"elapsed {duration(self.seconds_before + now - began)}"]
        left = self.steps - self.step
        if left > 0 and self.step > first_step:
            # The last half of the time: long enough to hold evaluations and saves in their share, and without the
            # slow first steps, in which kernels are chosen and compiled.
            step, then = next(point for point in reversed(self.points) if point[1] <= (began + now) / 2)
            if self.step > step:
                items.append(f"left {duration(left * (now - then) / (self.step - step))}")
        return items + [self._number(name) for name in ("tokens_per_second", "mfu") if name in self.values]

    def _numbers(self) -> list[str]:
        names = [name for name in _WORDS if name in self.values] + [name for name in self.values if name not in _WORDS]
        return [self._number(name) for name in names if name not in ("tokens_per_second", "mfu")]

    def _number(self, name: str) -> str:
        word, form = _WORDS.get(name, (name.replace("_", " "), ".4g"))
        change = self.values[name] - self.before[name] if name in self.before else None
        return f"{word} {self.values[name]:{form}}" + ("" if change is None else f" ({change:+{form}})")

    def _progress(self, width: int) -> str:
        done = min(self.step / max(self.steps, 1), 1.0)
        text = _cut(f"{_printable(self.name)}  step {self.step:,} of {self.steps:,}  {done:.1%}", width)
        room = width - len(text) - 2
        return text if room < 8 else f"{text}  {_bar(done, min(room, 60), self.stream.encoding)}"

    def _table(self, width: int) -> list[str]:
        """The head and a line for each task, with the columns that have something to say and that there is room for."""
        held_out = {task: headline(score) for task, score in self.groups["held_out"].items()}
        changes = {task: value - self.before[task] for task, (_, value) in held_out.items() if task in self.before}
        lines = self._lines()
        names = dict.fromkeys(lines.values())

        def formatted(values: Mapping[str, float], form: str) -> dict[str, str]:
            return {lines[name]: format(value, form) for name, value in values.items()}

        columns = [
            _Column("task", 0, {name: _printable(name) for name in names}, is_text=True),
            _Column("loss", 2, formatted(self.groups["tasks"], ".3f")),
            _Column("weight", 5, formatted(self.groups["weights"], ".2f")),
            _Column("share", 4, formatted(self.groups["shares"], ".1%")),
            _Column("norm", 6, formatted(self.groups["gradient_norms"], ".2g")),
            _Column("held out", 0, formatted({task: value for task, (_, value) in held_out.items()}, ".3f")),
            _Column("change", 1, formatted(changes, "+.3f")),
            _Column("metric", 3, {task: name.replace("_", " ") for task, (name, _) in held_out.items()}, is_text=True),
        ]
        columns = [column for column in columns if column.cells]
        if not columns:
            return []
        while _wide(columns) > width and any(column.least for column in columns):
            columns.remove(max(columns, key=lambda column: column.least))
        rows = ["  ".join(column.head() for column in columns)]
        rows += ["  ".join(column.cell(name) for column in columns) for name in names]
        return [_cut(row.rstrip(), width) for row in rows]

    def _lines(self) -> dict[str, str]:
        """The line of the table that each name goes to. A loss "quality:quality" is one of the task before the colon:
        where it is the only one, it stands in that task's line, else in one of its own below."""
        losses: dict[str, dict[str, None]] = {}
        for name in self.tasks:
            losses.setdefault(name.partition(":")[0], {})
        for group in ("tasks", "weights", "gradient_norms"):
            for name in self.groups[group]:
                losses[name.partition(":")[0]][name] = None
        lines = {}
        for task, names in losses.items():
            lines[task] = task
            lines |= {name: task if len(names) == 1 else name for name in names}
        return lines

    def _draw(self) -> None:
        width, height = self._size()
        self.next_frame = self.clock() + _SECONDS_A_FRAME
        lines = self.frame(width - 1, height - 1)  # the cursor has the line below
        back = self._back()
        self.drawn = len(lines), width
        self._write(back + "".join(f"{line}{_TO_LINE_END}\n" for line in lines) + _BELOW)

    def _back(self) -> str:
        """To the first line of the last frame. Where the window has another width, terminals disagree on where that is
        now, so the next frame begins below it."""
        lines, width = self.drawn
        return f"\r\x1b[{lines}A" if lines and width == self._size()[0] else "\r"

    def _size(self) -> tuple[int, int]:
        try:
            size = os.get_terminal_size(self.stream.fileno())
        except (OSError, ValueError):
            return 80, 24
        return (size.columns, size.lines) if size.columns and size.lines else (80, 24)

    def _write(self, text: str) -> None:
        if self.is_gone:
            return
        try:
            self.stream.write(_BEGIN + text + _END)
            self.stream.flush()
        except OSError:
            self.is_gone = True


class _Column(NamedTuple):
    """least: how soon it goes where there is no room, the highest first; 0 stays."""

    name: str
    least: int
    cells: Mapping[str, str]
    is_text: bool = False

    def width(self) -> int:
        return max(len(self.name), *map(len, self.cells.values()))

    def head(self) -> str:
        return self._placed(self.name)

    def cell(self, task: str) -> str:
        return self._placed(self.cells.get(task, ""))

    def _placed(self, text: str) -> str:
        return text.ljust(self.width()) if self.is_text else text.rjust(self.width())


def is_terminal(stream: TextIO) -> bool:
    """Whether a table can be redrawn there."""
    return stream.isatty() and os.environ.get("TERM", "") not in ("", "dumb")


def headline(score: Mapping[str, float]) -> tuple[str, float]:
    """The name and the value of a task's metric, in what a record holds of it beside numbers of every task."""
    return next((name, value) for name, value in score.items() if name not in ("nats", *SURENESS))


def _wide(columns: Iterable[_Column]) -> int:
    widths = [column.width() for column in columns]
    return sum(widths) + 2 * (len(widths) - 1)


def _flow(items: Iterable[str], width: int) -> list[str]:
    """Items side by side, on as many lines as they need."""
    lines: list[str] = []
    for item in items:
        if lines and len(lines[-1]) + 2 + len(item) <= width:
            lines[-1] += f"  {item}"
        else:
            lines.append(item)
    return [_cut(line, width) for line in lines]


def _cut(text: str, width: int) -> str:
    text = _printable(text)
    return text if len(text) <= width else text[: max(width - 3, 0)] + "..."[: max(width, 0)]


def _printable(text: str) -> str:
    """A name or a message may hold anything, and what is not printable would move the cursor."""
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _bar(done: float, width: int, encoding: str | None) -> str:
    if (encoding or "").lower().replace("-", "") != "utf8":
        return ("#" * int(done * width)).ljust(width, ".")
    eighths = int(done * width * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (" ▏▎▍▌▋▊▉"[part] if part else "")).ljust(width, "░")


def duration(seconds: float) -> str:
    """In h:mm:ss."""
    return str(timedelta(seconds=round(seconds)))
