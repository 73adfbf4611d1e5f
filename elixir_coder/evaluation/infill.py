"""Filling holes in held-out files: how often the model writes exactly what stood there, and how near it comes.

Three kinds of hole, where a person's cursor would stand:

    line    the text of one line, from its first to its last visible character
    lines   the same from one line to another, two to eight lines in all
    span    1 to 200 characters from anywhere in a line, so that a hole may begin inside a word

The line where a hole begins says something: it has eight characters or more, which leaves out `end`, `else` and
brackets. No hole is longer than what the model may write. White space at the end counts in no comparison.

Method: Bavarian et al. 2022, section 4, https://arxiv.org/abs/2207.14255
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from elixir_coder.errors import InputError
from elixir_coder.evaluation.scores import edit_similarity, mean_interval, wilson_interval
from elixir_coder.evaluation.writing import Written, write
from elixir_coder.example import Example
from elixir_coder.tasks.infill import Infill
from elixir_coder.tasks.row import SpecialTokens
from tokenization_elixir_coder import encode_untrusted

KINDS = ("line", "lines", "span")
MAX_LINES = 8
MAX_SPAN = 200
_LINE = re.compile(r"^[ \t]*(\S.{6,}\S)[ \t\r]*$", re.MULTILINE)


@dataclass(frozen=True)
class Hole:
    """code[start:end] of an example is taken out. kind: "line", "lines" or "span"."""

    kind: str
    example: Example
    start: int
    end: int

    @property
    def text(self) -> str:
        return self.example.code[self.start : self.end]


@dataclass(frozen=True)
class Score:
    """How `n` holes were filled. Intervals are of 95%. finished: share that ended by itself, not at the limit."""

    n: int
    exact_match: float
    exact_match_interval: tuple[float, float]
    edit_similarity: float
    edit_similarity_interval: tuple[float, float]
    finished: float


def sample_holes(
    examples: Sequence[Example], num_per_kind: int, *, fits: Callable[[str], bool], seed: int = 0
) -> list[Hole]:
    """`num_per_kind` different holes of each kind, or as many as there are; a long file gets more than a short one.

    fits: whether a text is short enough to be asked for. The same files and seed give the same holes.
    Raises InputError when the files have no line for a hole.
    """
    lines = [(example, match.start(1), match.end(1)) for example in examples for match in _LINE.finditer(example.code)]
    if not lines:
        raise InputError("the held-out files have no line of eight characters or more to make a hole of")
    holes: list[Hole] = []
    for kind in KINDS:
        rng = np.random.default_rng([seed, KINDS.index(kind)])
        drawn = (_hole(kind, *lines[place], rng=rng) for place in rng.permutation(len(lines)))
        holes += islice((hole for hole in drawn if hole is not None and fits(hole.text)), num_per_kind)
    return holes


def _hole(kind: str, example: Example, start: int, end: int, *, rng: np.random.Generator) -> Hole | None:
    """A hole that begins in the line example.code[start:end], or None where the kind has none."""
    code = example.code
    if kind == "lines":
        lines = code[end:].split("\n", MAX_LINES)[: rng.integers(2, MAX_LINES + 1)]
        end = len(code[: end + len("\n".join(lines))].rstrip())
        if "\n" not in code[start:end]:
            return None
    elif kind == "span":
        start = int(rng.integers(start, end))
        end = min(start + int(rng.integers(1, MAX_SPAN + 1)), len(code))
        if code[start:end].isspace():
            return None
    return Hole(kind, example, start, end)


def source_of(hole: Hole, tokenizer: PreTrainedTokenizerBase, task: Infill) -> list[int]:
    """What the encoder reads: what stands around the hole, in the form of training, as much as there is room for."""
    before = encode_untrusted(tokenizer, hole.example.code[: hole.start])
    after = encode_untrusted(tokenizer, hole.example.code[hole.end :])
    room = task.source_length - 4  # three FIM tokens and the end
    num_after = min(len(after), max(room // 2, room - len(before)))
    before = before[max(0, len(before) - (room - num_after)) :]
    return task.at(np.array([*before, *after[:num_after]], dtype=np.int64), len(before), len(before)).source


def fill(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    holes: Sequence[Hole],
    *,
    source_length: int,
    max_new_tokens: int,
    batch_size: int = 16,
) -> list[Written]:
    """What the model writes into each hole, taking the likeliest token each time."""
    task = Infill(SpecialTokens.of(tokenizer), source_length, max_new_tokens)
    sources = [source_of(hole, tokenizer, task) for hole in holes]
    return write(model, tokenizer, sources, max_new_tokens=max_new_tokens, batch_size=batch_size)


def score(holes: Sequence[Hole], written: Sequence[Written]) -> Score:
    """Compare what was written with what stood there."""
    pairs = [(hole.text.rstrip(), each.text.rstrip()) for hole, each in zip(holes, written)]
    num_exact = sum(expected == got for expected, got in pairs)
    similarities = [edit_similarity(expected, got) for expected, got in pairs]
    return Score(
        n=len(pairs),
        exact_match=num_exact / len(pairs),
        exact_match_interval=wilson_interval(num_exact, len(pairs)),
        edit_similarity=float(np.mean(similarities)),
        edit_similarity_interval=mean_interval(similarities),
        finished=float(np.mean([each.is_finished for each in written])),
    )


def sample(hole: Hole, written: Written) -> dict[str, Any]:
    """A hole to show: three lines around it, what stood there, and what the model wrote."""
    code = hole.example.code
    return {
        "kind": hole.kind,
        "package": hole.example.package,
        "path": hole.example.path,
        "before": "".join(code[: hole.start].splitlines(keepends=True)[-3:]),
        "expected": hole.text,
        "written": written.text,
        "after": "".join(code[hole.end :].splitlines(keepends=True)[:3]),
    }
