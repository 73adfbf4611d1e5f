"""Exercises about one function: Python works out what it answers; the module and its tests are written around it."""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from elixir_coder.data.synthesis.choices import Axis, Choices, Fault, Program, draw
from elixir_coder.data.synthesis.domains import CONTEXTS
from elixir_coder.data.synthesis.draft import Draft
from elixir_coder.data.synthesis.writing import exunit, fill, literal, module

Sample = tuple[Any, ...]  # the arguments of one call


@dataclass(frozen=True)
class Raises:
    """What a call does that answers nothing. message: the whole of it, or "" for any."""

    exception: str
    message: str = ""


@dataclass(frozen=True, kw_only=True)
class Task:
    """A function, as its exercise tells it.

    function: its name. arguments: (name, type). code: all clauses of it for given choices, with private helpers.
    run: the same in Python, for given choices. samples: the first ones are the doctest; edges: what is easily missed.
    before: what stands before the function in the module (attributes, types, structs). faults: changes of the code.
    after: more tests, as text.
    """

    function: str
    arguments: Sequence[tuple[str, str]]
    returns: str
    documentation: str
    titles: Sequence[str]
    code: Callable[[Choices], str]
    run: Callable[[Choices], Callable[..., Any]]
    samples: Sequence[Sample]
    explanation: str | Callable[[Choices], str]
    edges: Sequence[Sample] = ()
    axes: Mapping[str, Axis] | None = None
    faults: Sequence[Fault] = ()
    before: str = ""
    after: str = ""
    is_pure: bool = True


def exercise(
    rng: random.Random,
    task: Task,
    *,
    family: str,
    module_name: str,
    operations: Sequence[str] = (),
    difficulty: int = 2,
) -> Draft:
    axes = dict(task.axes or {})

    def build(choices: Choices) -> Program:
        answer = task.run(choices)
        types = ", ".join(type for _, type in task.arguments)
        spec = f"{task.function}({types}) :: {task.returns}"
        shown = [sample for sample in task.samples if not isinstance(answer(*sample), Raises)][:2]
        doctest = "\n\n".join(
            f"{_shown(module_name, task, sample)}\n{literal(answer(*sample))}"
            for sample in sorted(shown, key=lambda sample: len(literal(list(sample))))
        )
        is_short = all(len(line) < 90 for line in doctest.split("\n"))
        code = module(
            module_name,
            task.documentation.split("\n")[0],
            task.before,
            fill(
                '@doc $sigil"""\n$documentation\n\n    $doctest\n"""\n@spec $spec\n$code',
                documentation=task.documentation,
                sigil="~S" if "\\" in doctest else "",
                doctest=doctest if task.is_pure and is_short else "",
                spec=spec,
                code=task.code(choices),
            ),
        )
        tests = exunit(
            module_name,
            _test(f"{task.function}/{len(task.arguments)}", module_name, task.function, task.samples, answer),
            _test("edge cases", module_name, task.function, task.edges, answer),
            task.after,
        )
        told = task.explanation if isinstance(task.explanation, str) else task.explanation(choices)
        return Program(code=code, tests=tests, explanation=told, faults=task.faults, signatures=[spec], example=doctest)

    return draw(
        rng,
        family=family,
        name=f"{module_name}.{task.function}/{len(task.arguments)}",
        module=module_name,
        titles=task.titles,
        axes=axes,
        build=build,
        operations=operations or (family,),
        difficulty=difficulty,
    )


def in_context(rng: random.Random, name: str) -> str:
    """A module's name, half of the time inside a part of an application."""
    return f"{rng.choice(CONTEXTS)}.{name}" if rng.random() < 0.5 else name


def _call(module_name: str, function: str, sample: Sample) -> str:
    return f"{module_name}.{function}({', '.join(map(literal, sample))})"


def _shown(module_name: str, task: Task, sample: Sample) -> str:
    """The call in a doctest: a long list gets a name, and each of its elements a line."""
    call = _call(module_name, task.function, sample)
    if len(call) < 80 or not sample or not isinstance(sample[0], list):
        return f"iex> {call}"
    name = task.arguments[0][0]
    elements = "".join(f"...>   {literal(each)},\n" for each in sample[0])
    rest = ", ".join([name, *map(literal, sample[1:])])
    return (
        f"iex> {name} = [\n{elements.removesuffix(',' + chr(10))}\n...> ]\niex> {module_name}.{task.function}({rest})"
    )


def _test(title: str, module_name: str, function: str, samples: Sequence[Sample], answer: Callable[..., Any]) -> str:
    lines = []
    for sample in samples:
        call, given = _call(module_name, function, sample), answer(*sample)
        if isinstance(given, Raises):
            text = f", {literal(given.message)}" if given.message else ""
            lines.append(f"assert_raise {given.exception}{text}, fn -> {call} end")
        elif given is True:
            lines.append(f"assert {call}")
        elif given is False:
            lines.append(f"refute {call}")
        elif given is None:
            lines.append(f"assert {call} == nil")
        else:
            lines.append(f"assert {call} == {literal(given)}")
    return fill('test "$title" do\n  $lines\nend', title=title, lines="\n".join(lines)) if lines else ""
