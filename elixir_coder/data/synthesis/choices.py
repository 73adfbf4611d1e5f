"""Exercises as points in a space of choices: whatever is said or asked of a program is a step along one axis.

    axes = {
        "order": Axis({"first": Way(ask="The oldest item comes out first.", answer="The oldest one."), "last": ...},
                      question="Which item should `pop/1` return: the oldest or the newest?"),
        "limit": Axis({None: Way(), 5: Way(ask="It holds at most 5 items.", request="Let it hold at most 5 items.")}),
    }
    draw(rng, axes=axes, build=build, ...)

`build` writes the program and its tests for any point. The sentences of the point's ways make the instruction. An
axis that has a question may be left out of it: its ways are then the readings. A way that has a request is what a
user may ask next. An axis of style changes the code and not the tests: its other ways are variants.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from elixir_coder.data.synthesis.draft import Ambiguity, Broken, Draft, FollowUp, Reading

Choices = dict[str, Any]
_MOST_READINGS = 3  # each is run on the tests of all


@dataclass(frozen=True, kw_only=True)
class Way:
    """One value of an axis, in words.

    ask: sentences of the instruction; "" where it goes without saying. answer: to the axis's question. request: of a
    user who has the program the other way and wants it so; reply: what is said before the code.
    """

    ask: str = ""
    answer: str = ""
    request: str = ""
    reply: str = ""


@dataclass(frozen=True, kw_only=True)
class Axis:
    """One thing that can be one way or another.

    ways: by their values, which `build` is given. question: what to ask where the instruction does not say. is_style:
    the tests are the same for all ways. when: the choices under which it matters at all.
    """

    ways: Mapping[Any, Way]
    question: str = ""
    is_style: bool = False
    when: Callable[[Choices], bool] = field(default=lambda choices: True)


@dataclass(frozen=True)
class Fault:
    """A fault as a change of the text: the first `old` becomes `new`; none where the code has no `old`."""

    old: str
    new: str
    kind: str
    diagnosis: str


@dataclass(frozen=True, kw_only=True)
class Program:
    """What `build` writes for one point."""

    code: str
    tests: str
    explanation: str
    faults: Sequence[Fault] = ()
    signatures: Sequence[str] = ()
    example: str = ""


def style(*values: Hashable) -> Axis:
    """An axis of style, whose ways need no words."""
    return Axis(ways={value: Way() for value in values}, is_style=True)


def wanted(ask: str, request: str, reply: str = "") -> Axis:
    """A feature that is there or not, and can be asked for later."""
    return Axis(ways={False: Way(), True: Way(ask=ask, request=request, reply=reply)})


def draw(
    rng: random.Random,
    *,
    family: str,
    name: str,
    module: str,
    titles: Sequence[str],
    axes: Mapping[str, Axis],
    build: Callable[[Choices], Program],
    operations: Sequence[str] = (),
    difficulty: int = 2,
    start: Mapping[str, Any] | None = None,
    num_follow_ups: int = 2,
) -> Draft:
    """One exercise of the space.

    titles: noun phrases for what is to be written, e.g. "a GenServer that keeps a stack of orders". start: values that
    are not drawn. num_follow_ups: at most.
    """
    choices: Choices = {key: rng.choice(list(axis.ways)) for key, axis in axes.items()}
    choices |= start or {}
    program = build(choices)
    asks = _asks(axes, choices)
    return Draft(
        family=family,
        name=name,
        operations=tuple(operations) + tuple(_words_of(axes, choices)),
        instructions=_phrasings(rng, module, titles, asks, program),
        code=program.code,
        tests=program.tests,
        explanation=program.explanation,
        variants=_variants(axes, choices, build, program),
        broken=_broken(rng, program),
        ambiguity=_ambiguity(rng, module, titles, axes, choices, build),
        follow_ups=_follow_ups(rng, axes, choices, build, num_follow_ups),
        difficulty=difficulty,
    )


def _asks(axes: Mapping[str, Axis], choices: Choices, without: str = "") -> list[str]:
    return [
        axis.ways[choices[key]].ask
        for key, axis in axes.items()
        if key != without and axis.when(choices) and axis.ways[choices[key]].ask
    ]


def _words_of(axes: Mapping[str, Axis], choices: Choices) -> list[str]:
    """The choices that tell this program from others of its family."""
    return [
        key if choices[key] is True else f"{key}:{choices[key]}"
        for key, axis in axes.items()
        if axis.when(choices) and choices[key] not in (None, False) and not axis.is_style
    ]


def _variants(
    axes: Mapping[str, Axis], choices: Choices, build: Callable[[Choices], Program], program: Program
) -> tuple[str, ...]:
    codes = {program.code: None}
    for key, axis in axes.items():
        if axis.is_style and axis.when(choices):
            for value in axis.ways:
                codes[build({**choices, key: value}).code] = None
    return tuple(codes)[1:]


def _broken(rng: random.Random, program: Program) -> tuple[Broken, ...]:
    faults = [fault for fault in program.faults if fault.old and fault.old in program.code]
    rng.shuffle(faults)
    return tuple(
        Broken(code=program.code.replace(fault.old, fault.new, 1), diagnosis=fault.diagnosis, kind=fault.kind)
        for fault in faults
    )


def _ambiguity(
    rng: random.Random,
    module: str,
    titles: Sequence[str],
    axes: Mapping[str, Axis],
    choices: Choices,
    build: Callable[[Choices], Program],
) -> Ambiguity | None:
    open_axes = [key for key, axis in axes.items() if axis.question and axis.when(choices)]
    open_axes = [key for key in open_axes if sum(bool(way.answer) for way in axes[key].ways.values()) > 1]
    if not open_axes:
        return None
    key = rng.choice(open_axes)
    readings = []
    values = [value for value, way in axes[key].ways.items() if way.answer]
    for value in sorted(rng.sample(values, min(len(values), _MOST_READINGS)), key=values.index):
        program = build({**choices, key: value})
        readings.append(Reading(answer=axes[key].ways[value].answer, code=program.code, tests=program.tests))
    asks = _asks(axes, choices, without=key)
    bare = Program(code="", tests="", explanation="")  # signatures and examples may tell what is left out
    return Ambiguity(
        instruction=rng.choice(_phrasings(rng, module, titles, asks, bare)),
        question=axes[key].question,
        readings=tuple(readings),
    )


def _follow_ups(
    rng: random.Random,
    axes: Mapping[str, Axis],
    choices: Choices,
    build: Callable[[Choices], Program],
    at_most: int,
) -> tuple[FollowUp, ...]:
    """Each goes on from the one before."""
    now = dict(choices)
    steps: list[FollowUp] = []
    while len(steps) < at_most:
        possible = [
            (key, value)
            for key, axis in axes.items()
            for value, way in axis.ways.items()
            if way.request and value != now[key] and axis.when(now) and now[key] == choices[key]
        ]
        if not possible:
            break
        key, value = rng.choice(possible)
        now[key] = value
        way, program = axes[key].ways[value], build(now)
        reply = way.reply or rng.choice(_REPLIES)
        steps.append(FollowUp(request=way.request, reply=reply, code=program.code, tests=program.tests))
    return tuple(steps)


_REPLIES = (
    "Here is the module with that change.",
    "Done; the rest works as before.",
    "Sure. This is the whole module again.",
    "Changed as you asked:",
    "That is a small change. The module is now:",
)

_OPENERS = (
    "Write $title.",
    "Implement $title.",
    "I need $title.",
    "Please write $title.",
    "Could you write $title?",
    "We are missing $title.",
    "Create $title.",
    "Can you build $title for me?",
    "Give me $title.",
)
_NAMED = (
    "Write `$module`, $title.",
    "`$module` should be $title.",
    "Define the module `$module`: $title.",
    "Module `$module`: $title.",
    "Implement `$module`, $title.",
    "Add a module `$module` to our project, $title.",
)
_CALLS = ("Call the module `$module`.", "The module is `$module`.", "Put it in `$module`.", "Name it `$module`.")
_CLOSERS = (
    "",
    "",
    "",
    "Add docs and typespecs.",
    "Please document the public functions.",
    "Thanks!",
    "Keep it idiomatic.",
)
_BULLETS = ("What it has to do:", "Requirements:", "Details:", "The rules:", "It should behave like this:")


def _phrasings(
    rng: random.Random, module: str, titles: Sequence[str], asks: Sequence[str], program: Program
) -> tuple[str, ...]:
    """The same request four ways: prose, named, a list, and with signatures or an example where there are some."""

    def put(pattern: str) -> str:
        title = rng.choice(list(titles))
        return pattern.replace("$module", module).replace("$title", title)

    prose = " ".join(asks)
    first = " ".join(filter(None, [put(rng.choice(_OPENERS)), put(rng.choice(_CALLS)), prose, rng.choice(_CLOSERS)]))
    second = " ".join(filter(None, [put(rng.choice(_NAMED)), prose]))
    bullets = "\n".join(f"- {ask}" for ask in asks)
    third = put(rng.choice(_NAMED)) + (f"\n\n{rng.choice(_BULLETS)}\n{bullets}" if bullets else "")
    found = [first, second, third]
    if program.signatures:
        lines = "\n".join(f"    {each}" for each in program.signatures)
        found.append(f"{put(rng.choice(_NAMED))}\n\n{lines}\n\n{prose}".strip())
    if program.example:
        lines = "\n".join(f"    {line}" for line in program.example.split("\n"))
        found.append(f"{put(rng.choice(_NAMED))} {prose}\n\nExample:\n\n{lines}")
    return tuple(dict.fromkeys(found))
