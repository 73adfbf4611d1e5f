"""Completing functions of held-out files: how often Elixir's own parser accepts what comes out.

A prompt is a file up to the body of one of its functions: the head `def name(...) do`, and the next line's indentation,
where an editor puts the cursor. The model reads the end of it and writes on. Two texts are judged:

    function   from the head to the first line that is `end` at the head's own indentation, which is where a function
               ends in formatted Elixir (of 22,324 functions of the Debian corpus the parser accepts 99.8% so cut);
               a completion without such a line is not accepted
    as it is   the file up to the head and all of the completion, which goes on after the function until the model
               ends the file or the limit cuts it off: mostly in mid-code, so this share is low for any model

The same is asked of what the author wrote, cut off at the same number of tokens: no model can be expected to do better.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from elixir_coder.errors import InputError
from elixir_coder.evaluation.scores import wilson_interval
from elixir_coder.evaluation.writing import Written, write
from elixir_coder.example import Example
from elixir_coder.tasks.complete import Complete
from elixir_coder.tasks.row import SpecialTokens
from elixir_coder.tasks.window import Window
from elixir_coder.toolchain.reports import Report
from elixir_coder.toolchain.toolchain import Toolchain
from tokenization_elixir_coder import encode_untrusted, split_prompt

_HEAD = re.compile(
    r"^(?P<indent>[ \t]*)(?:def|defp|defmacro|defmacrop)[ \t(].*\bdo[ \t]*\n(?P<body>[ \t]*)(?=\S)", re.MULTILINE
)


@dataclass(frozen=True)
class Prompt:
    """example.code[:end], whose last function head begins at `head`."""

    example: Example
    head: int
    end: int

    @property
    def head_text(self) -> str:
        return self.example.code[self.head : self.end]


@dataclass(frozen=True)
class Verdict:
    """A completed function and what the parser says of it, None where it has no end; and of the whole text as it is."""

    function: str | None
    of_function: Report | None
    as_it_is: Report

    @property
    def is_accepted(self) -> bool:
        return self.of_function is not None and self.of_function.ok


@dataclass(frozen=True)
class Share:
    """Of `n` functions: accepted, in an interval of 95%; with an end at all; accepted as it is."""

    n: int
    accepted: float
    accepted_interval: tuple[float, float]
    ended: float
    accepted_as_it_is: float


def sample_prompts(examples: Sequence[Example], num_prompts: int, *, seed: int = 0) -> list[Prompt]:
    """`num_prompts` different prompts, or as many as there are. The same files and seed give the same prompts.

    Raises InputError when the files have no function to complete.
    """
    heads = [Prompt(example, *match.span()) for example in examples for match in _HEAD.finditer(example.code)]
    if not heads:
        raise InputError("the held-out files have no line `def name(...) do` to make a prompt of")
    chosen = np.random.default_rng(seed).permutation(len(heads))[:num_prompts]
    return [heads[place] for place in chosen]


def function_of(text: str) -> str | None:
    """The function that a text begins with, to the `end` at its head's indentation, or None where that is missing."""
    indent = text[: len(text) - len(text.lstrip(" \t"))]
    end = re.search(rf"^{indent}end[ \t\r]*$", text, re.MULTILINE)
    return text[: end.end()] if end else None


def complete(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    prompts: Sequence[Prompt],
    *,
    source_length: int,
    max_new_tokens: int,
    is_constrained: bool = False,
    **settings: Any,
) -> list[Written]:
    """What the model writes after each prompt. is_constrained: in Elixir's grammar, so that the file it continues ends
    whole. settings: as for `writing.write`."""
    task = Complete(SpecialTokens.of(tokenizer), source_length, max_new_tokens)
    sources, prefixes = [], []
    for prompt in prompts:
        earlier, latest = split_prompt(encode_untrusted(tokenizer, prompt.example.code[: prompt.end]))
        tokens = np.array(earlier, dtype=np.int64)
        sources.append(task.at(Window(tokens, is_end=False), len(tokens)).source)
        prefixes.append(latest)
    if is_constrained:
        settings["continued"] = [prompt.example.code[: prompt.end] for prompt in prompts]
    return write(model, tokenizer, sources, prefixes, max_new_tokens=max_new_tokens, **settings)


def as_written(prompt: Prompt, tokenizer: PreTrainedTokenizerBase, max_new_tokens: int) -> str:
    """What the author wrote after the prompt, as many tokens of it."""
    tokens = encode_untrusted(tokenizer, prompt.example.code[prompt.end :])[:max_new_tokens]
    return tokenizer.decode(tokens, clean_up_tokenization_spaces=False)


def judge(prompts: Sequence[Prompt], completions: Sequence[str]) -> list[Verdict]:
    """Ask the parser. Raises MissingDependencyError when there is no Elixir."""
    wholes = [prompt.example.code[: prompt.end] + completion for prompt, completion in zip(prompts, completions)]
    functions = [function_of(whole[prompt.head :]) for prompt, whole in zip(prompts, wholes)]
    with Toolchain() as toolchain:
        reports = list(toolchain.map("parse", [*wholes, *(each for each in functions if each is not None)]))
    as_they_are, of_functions = reports[: len(wholes)], iter(reports[len(wholes) :])
    return [
        Verdict(function, None if function is None else next(of_functions), report)
        for function, report in zip(functions, as_they_are)
    ]


def share(verdicts: Sequence[Verdict]) -> Share:
    """Count verdicts."""
    num_accepted = sum(verdict.is_accepted for verdict in verdicts)
    return Share(
        n=len(verdicts),
        accepted=num_accepted / len(verdicts),
        accepted_interval=wilson_interval(num_accepted, len(verdicts)),
        ended=float(np.mean([verdict.function is not None for verdict in verdicts])),
        accepted_as_it_is=float(np.mean([verdict.as_it_is.ok for verdict in verdicts])),
    )


def sample(prompt: Prompt, written: Written, verdict: Verdict) -> dict[str, Any]:
    """A completed function to show: its head, all that the model wrote, what was judged and what the parser said."""
    return {
        "package": prompt.example.package,
        "path": prompt.example.path,
        "head": prompt.head_text,
        "completion": written.text,
        "function": verdict.function,
        "is_accepted": verdict.is_accepted,
        "message": _message(verdict.of_function) if verdict.of_function else "the function has no end",
    }


def _message(report: Report) -> str:
    return report.findings[0].message if report.findings else ""
