"""What a family of exercises draws before anything of it has run: one program, and all that is said and asked of it.

A family is a function from a random generator to a `Draft`. The same state of the generator gives the same draft, so
draw from nothing else, and never iterate over a set. Nothing in a draft is believed: verify.py formats, compiles and
runs every program of it, and drops what does not do what the draft says.

Expected values need not be known here. In `tests` and in the doctests of `code` a family writes `expected(EXPRESSION)`
(see `expected`), and the verifier puts in what the reference gives:

    assert Orders.total([]) == @@Orders.total([])@@
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

MARK = "@@"  # no operator of Elixir's, so it is never part of a program


@dataclass(frozen=True, kw_only=True)
class Broken:
    """A faulty program, and what is wrong with it.

    code: a whole module of the same name as the reference. kind: of the fault, e.g. `off_by_one`. diagnosis: one or two
    sentences for the author of the program. Where the diagnosis is kept, the tests of the draft have failed on it, or
    it did not compile.
    """

    code: str
    diagnosis: str
    kind: str


@dataclass(frozen=True, kw_only=True)
class Reading:
    """One way to understand an instruction that leaves a fact open.

    answer: the fact, as an answer to the question. code: a whole module. tests: that `code` passes, and that the code
    of every other reading fails.
    """

    answer: str
    code: str
    tests: str


@dataclass(frozen=True, kw_only=True)
class Ambiguity:
    """An instruction without one deciding fact, the question that brings it back, and a program for each answer."""

    instruction: str
    question: str
    readings: tuple[Reading, ...]  # two or more


@dataclass(frozen=True, kw_only=True)
class FollowUp:
    """What is asked next of a program, and the program after it.

    request: the user's words. reply: a sentence of the assistant before the code. code: a whole module that passes
    `tests`. Several follow-ups of one draft build on each other, in their order.
    """

    request: str
    reply: str
    code: str
    tests: str


@dataclass(frozen=True, kw_only=True)
class Draft:
    """One exercise before it is verified.

    family: of exercises, e.g. `pipelines`. name: `Module.function/arity`. operations: what the program is made of, in
    the order of the program. instructions: the same request in several phrasings, of which variants get the last ones;
    these ask for no style that only the reference has. code: the idiomatic reference, a
    whole module with @doc, @spec and, where the function is pure, a doctest. variants: other idiomatic programs that
    pass the same tests. tests: a whole ExUnit module. explanation: what the code does and why, in plain words.
    broken, ambiguity, follow_ups: as above. difficulty: 1 (plain) to 5.
    """

    family: str
    name: str
    operations: tuple[str, ...]
    instructions: tuple[str, ...]
    code: str
    tests: str
    explanation: str
    variants: tuple[str, ...] = ()
    broken: tuple[Broken, ...] = ()
    ambiguity: Ambiguity | None = None
    follow_ups: tuple[FollowUp, ...] = ()
    difficulty: int = 1


Family = Callable[[random.Random], Draft]


def expected(expression: str) -> str:
    """A placeholder for what the reference gives for an Elixir expression, e.g. `Orders.total([])`."""
    assert MARK not in expression, expression
    return f"{MARK}{expression}{MARK}"
