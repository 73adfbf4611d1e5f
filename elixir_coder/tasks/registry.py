"""All tasks by the names that recipes and logs use, with what each trains and what is measured of it.

Those of WINDOW_TASKS start from source text alone, those of EXAMPLE_TASKS from an example and what is known of it. What
a task reads and writes is said in the docstring of its module.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from elixir_coder.errors import RecipeError
from elixir_coder.tasks.complete import Complete
from elixir_coder.tasks.denoise import Denoise
from elixir_coder.tasks.infill import Infill
from elixir_coder.tasks.row import ExampleTask, Setup

METRICS: Mapping[str, str] = MappingProxyType(
    {
        "token_accuracy": "share of the target's tokens that are the most probable",
        "macro_f1": "mean over the labels that have a positive of the harmonic mean of precision and recall",
        "average_precision": "precision at each positive, best first, and the mean of them",
        "reciprocal_rank": "mean of 1 / the place of the right text among all candidates of the batch",
    }
)


@dataclass(frozen=True)
class Entry:
    """What there is to say of a task.

    heads: what it trains: "tokens" (what the decoder writes), the heads of the model ("quality", "security",
    "clarification") and those of training alone ("tags", "edges", "contrast", "match").
    """

    task: type
    heads: tuple[str, ...]
    metric: str
    description: str


def _entries(*entries: Entry) -> Mapping[str, Entry]:
    return MappingProxyType({entry.task.name: entry for entry in entries})


_WINDOW = MappingProxyType(
    {
        "denoise": Entry(Denoise, ("tokens",), "token_accuracy", "source text with holes -> what was in them"),
        "infill": Entry(Infill, ("tokens",), "token_accuracy", "what stands around a hole -> the hole"),
        "complete": Entry(Complete, ("tokens",), "token_accuracy", "the beginning of a text -> what follows"),
    }
)
_EXAMPLE = _entries()
TASKS: Mapping[str, Entry] = MappingProxyType({**_WINDOW, **_EXAMPLE})
WINDOW_TASKS: Mapping[str, type] = MappingProxyType({name: entry.task for name, entry in _WINDOW.items()})
EXAMPLE_TASKS: Mapping[str, type[ExampleTask]] = MappingProxyType(
    {name: entry.task for name, entry in _EXAMPLE.items()}
)


def build(name: str, setup: Setup) -> Any:
    """The task of that name, with its own settings as they are.

    Raises RecipeError naming the nearest task for one that is not there, and where the model lacks what it trains.
    """
    if name in WINDOW_TASKS:
        return WINDOW_TASKS[name](setup.special, setup.source_length, setup.target_length)
    if name in EXAMPLE_TASKS:
        return EXAMPLE_TASKS[name](setup)
    nearest = difflib.get_close_matches(name, TASKS, n=1)
    hint = f"did you mean {nearest[0]}?" if nearest else f"there is: {', '.join(TASKS)}"
    raise RecipeError(f"no such task: {name}; {hint}")


def losses(name: str) -> tuple[str, ...]:
    """The names that a task's losses have in logs: `clarify`, for what the decoder writes, `clarify:clarification`."""
    return tuple(name if head == "tokens" else f"{name}:{head}" for head in TASKS[name].heads)


def overview() -> str:
    """A line for each task, for a program's help and the manual."""
    lines = []
    for name, entry in TASKS.items():
        lines.append(f"{name:<17}{entry.description} [{', '.join(entry.heads)}; {entry.metric}]")
    return "\n".join(lines)
