"""Programs over one number: digits, divisors, ranges, checks; and over lists of numbers."""

from __future__ import annotations

import random

from elixir_coder.data.synthesis import subjects
from elixir_coder.data.synthesis.draft import Draft, Family
from elixir_coder.data.synthesis.families.pipelines import chained


def single(rng: random.Random) -> Draft:
    """From an integer."""
    return chained(rng, "number", subjects.NUMBERS, "value", (1, 2, 2, 3, 3))


def number_lists(rng: random.Random) -> Draft:
    """From a list of numbers."""
    return chained(rng, "list_of_numbers", (*subjects.INTS, *subjects.FLOATS), "list", (1, 2, 2, 3, 3))


FAMILIES: dict[str, Family] = {"number": single, "list_of_numbers": number_lists}
