"""Programs over one text: words, letters, counts, checks, changed text."""

from __future__ import annotations

import random

from elixir_coder.data.synthesis import subjects
from elixir_coder.data.synthesis.draft import Draft, Family
from elixir_coder.data.synthesis.families.pipelines import chained


def texts(rng: random.Random) -> Draft:
    """From a text."""
    return chained(rng, "text", subjects.TEXTS, "value", (1, 2, 2, 3, 3, 4))


def string_lists(rng: random.Random) -> Draft:
    """From a list of strings."""
    return chained(rng, "list_of_strings", subjects.STRINGS, "list", (1, 2, 2, 3, 3))


FAMILIES: dict[str, Family] = {"text": texts, "list_of_strings": string_lists}
