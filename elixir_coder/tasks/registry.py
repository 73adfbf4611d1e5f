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
from elixir_coder.tasks.annotated import Annotated, AnnotatedText
from elixir_coder.tasks.causal import Causal
from elixir_coder.tasks.clarify import Clarify
from elixir_coder.tasks.complete import Complete
from elixir_coder.tasks.converse import Converse
from elixir_coder.tasks.denoise import Denoise
from elixir_coder.tasks.document import Document
from elixir_coder.tasks.explain import Explain
from elixir_coder.tasks.flows import FlowAlignment, FlowEdges
from elixir_coder.tasks.generate import Generate
from elixir_coder.tasks.identifiers import MaskIdentifiers, TagIdentifiers
from elixir_coder.tasks.implement import Implement
from elixir_coder.tasks.infill import Infill
from elixir_coder.tasks.ontology import Ontology
from elixir_coder.tasks.quality import Quality
from elixir_coder.tasks.repair import Repair
from elixir_coder.tasks.retrieval import Match, Retrieve
from elixir_coder.tasks.row import ExampleTask, Setup
from elixir_coder.tasks.security import Security
from elixir_coder.tasks.write_tests import WriteTests

METRICS: Mapping[str, str] = MappingProxyType(
    {
        "token_accuracy": "share of the target's tokens that are the most probable",
        "macro_average_precision": "mean over the labels that have a positive of their average precision",
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


def _window(task: type, description: str) -> Entry:
    return Entry(task, ("tokens",), "token_accuracy", description)


_WINDOW: Mapping[str, Entry] = MappingProxyType(
    {
        "denoise": _window(Denoise, "text with holes -> what was in them"),
        "infill": _window(Infill, "what stands around a hole -> the hole"),
        "complete": _window(Complete, "the beginning of a text -> what follows"),
        "causal": _window(Causal, "nothing -> a text"),
    }
)
_OF_EXAMPLES: tuple[tuple[type[ExampleTask], str, str], ...] = (
    (TagIdentifiers, "tags", "code -> which tokens belong to a name"),
    (MaskIdentifiers, "tokens", "code with its names hidden -> the names"),
    (FlowEdges, "edges", "code and its variables -> which value comes from which"),
    (FlowAlignment, "edges", "code and its variables -> which is written where"),
    (AnnotatedText, "tokens", "what the knowledge graph says, and the beginning of code -> what follows"),
    (Annotated, "tokens", "the beginning of code with knowledge beside it -> what follows"),
    (Ontology, "tokens", "code -> what the knowledge graph says of it"),
    (Generate, "tokens", "a request -> code"),
    (Converse, "tokens", "a conversation -> the assistant's next turn"),
    (WriteTests, "tokens", "code and the kind of tests -> tests"),
    (Implement, "tokens", "tests -> code that passes them"),
    (Quality, "quality", "code -> which checks of Credo it breaks"),
    (Security, "security tokens", "code -> which rules of Sobelow it breaks, where, and why"),
    (Clarify, "clarification tokens", "a request -> whether something is open, and the question to ask"),
    (Explain, "tokens", "code -> what it does and why"),
    (Repair, "tokens", "code and what is wrong with it -> code without the fault"),
    (Document, "tokens", "code -> its documentation"),
    (Retrieve, "contrast", "a request -> the code that answers it, among others"),
    (Match, "match", "a request and code -> whether they belong together"),
)
_EXAMPLE: Mapping[str, Entry] = MappingProxyType(
    {task.name: Entry(task, tuple(heads.split()), task.metric, says) for task, heads, says in _OF_EXAMPLES}
)
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
        task: Any = EXAMPLE_TASKS[name]
        return task(setup)
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
