"""Code to its documentation.

    source  <explanation> <code> code without its documentation </s>          target  documentation </s>

From functions and modules, whose documentation was taken out of the code when they were cut from their files, and from
exercises that document one function; examples are no part of what is to be written, they would have to be run. Long
code is cut at its end. Metric: token_accuracy.

Method: Wang et al. 2021, section 3.2, https://arxiv.org/abs/2109.00859, the direction from code to text.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from elixir_coder.data.extract import dedent, instruction_and_doctests
from elixir_coder.example import Example
from elixir_coder.tasks.prompt import prompt, written
from elixir_coder.tasks.row import Row, Setup

# @doc with text, and the blank line behind it; `@doc false` and `@doc since: "1.2.0"` say nothing in words.
_DOCUMENTATION = re.compile(
    r'^[ \t]*@(?P<what>(?:module|type)?doc) (?:~[sS])?(?:"""\n(?P<heredoc>.*?)^[ \t]*"""|"(?P<line>(?:[^"\\\n]|\\.)*)")'
    r"[ \t]*\n(?:[ \t]*\n)?",
    re.MULTILINE | re.DOTALL,
)


@dataclass(frozen=True)
class Document:
    """Code, and what its authors said of it."""

    setup: Setup

    name: ClassVar[str] = "document"
    metric: ClassVar[str] = "token_accuracy"
    columns: ClassVar[tuple[str, ...]] = ("kind", "code", "instruction")

    def accepts(self, example: Example) -> bool:
        if example.kind == "exercise":
            return example.code.count(" @doc ") == 1
        return example.kind in ("function", "module") and bool(example.instruction)

    def __call__(self, example: Example, rng: np.random.Generator) -> Row | None:
        is_exercise = example.kind == "exercise"
        code = undocumented(example.code) if is_exercise else example.code
        text = _documentation(example.code) if is_exercise else example.instruction
        return Row(prompt(self.setup, "document", code=code), written(self.setup, text)) if text else None


def undocumented(code: str) -> str:
    """The code without what @moduledoc, @doc and @typedoc say in words."""
    return _DOCUMENTATION.sub("", code)


def _documentation(code: str) -> str:
    """What the only @doc of a text says, without its examples; "" for a word or two."""
    for each in _DOCUMENTATION.finditer(code):
        if each["what"] == "doc":
            heredoc, line = each["heredoc"], each["line"]
            text = line.replace('\\"', '"') if heredoc is None else dedent(heredoc.split("\n"))
            return instruction_and_doctests(text)[0]
    return ""
