"""Pipelines of several steps over lists of records, tuples, numbers, strings and dates."""

from __future__ import annotations

import random

from elixir_coder.data.synthesis import subjects
from elixir_coder.data.synthesis.compose import draw_chain, start_of
from elixir_coder.data.synthesis.draft import Draft, Family
from elixir_coder.data.synthesis.exercise import draft_of
from elixir_coder.data.synthesis.subjects import Element

_TRIES = 200


def chained(
    rng: random.Random, family: str, elements: tuple[Element, ...], kind: str, lengths: tuple[int, ...]
) -> Draft:
    """A draft about one of the elements, of as many steps as one of `lengths`."""
    for _ in range(_TRIES):
        start, argument = start_of(rng.choice(elements), kind)
        chain = draw_chain(rng, start, argument, rng.choice(lengths))
        draft = chain and draft_of(rng, chain, family)
        if draft:
            return draft
    raise AssertionError(f"no chain of family {family} in {_TRIES} tries")


def records(rng: random.Random) -> Draft:
    """Orders, users, sensors: lists of maps."""
    return chained(rng, "pipeline_records", subjects.RECORDS, "list", (1, 2, 2, 3, 3, 4, 5))


def tuples(rng: random.Random) -> Draft:
    """Lists of pairs."""
    return chained(rng, "pipeline_tuples", subjects.PAIRS, "list", (1, 2, 2, 3, 4))


def mixed(rng: random.Random) -> Draft:
    """Long pipelines over plain values."""
    return chained(rng, "pipeline_values", (*subjects.INTS, *subjects.FLOATS, *subjects.STRINGS), "list", (3, 3, 4, 5))


FAMILIES: dict[str, Family] = {"pipeline_records": records, "pipeline_tuples": tuples, "pipeline_values": mixed}
