"""Short programs over lists, maps, atoms and dates: one to three steps."""

from __future__ import annotations

import random

from elixir_coder.data.synthesis import subjects
from elixir_coder.data.synthesis.draft import Draft, Family
from elixir_coder.data.synthesis.families.pipelines import chained
from elixir_coder.data.synthesis.subjects import pair_of


def lists(rng: random.Random) -> Draft:
    """Of numbers and of strings."""
    return chained(
        rng, "list", (*subjects.INTS, *subjects.INTS, *subjects.FLOATS, *subjects.STRINGS), "list", (1, 1, 2, 2, 2, 3)
    )


def atoms(rng: random.Random) -> Draft:
    """Of atoms."""
    return chained(rng, "list_of_atoms", subjects.ATOMS, "list", (1, 2, 2, 3))


def dates(rng: random.Random) -> Draft:
    """Of dates, and single ones."""
    return chained(rng, "dates", subjects.DATES, rng.choice(["list", "list", "value"]), (1, 2, 2, 3))


_MAPS = (
    pair_of("item", "items", subjects.STRINGS[1], subjects.INTS[4], "Stock", "Inventory", "Warehouse.Stock"),
    pair_of("player", "players", subjects.STRINGS[0], subjects.INTS[0], "Scores", "Game.Scores"),
    pair_of("city", "cities", subjects.STRINGS[2], subjects.INTS[1], "Temperatures", "Weather"),
    pair_of("product", "products", subjects.STRINGS[10], subjects.INTS[3], "Prices", "Shop.Prices"),
    pair_of("account", "accounts", subjects.STRINGS[0], subjects.INTS[9], "Balances", "Bank"),
    pair_of("candidate", "candidates", subjects.STRINGS[0], subjects.INTS[7], "Votes", "Election"),
    pair_of("tag", "tags", subjects.STRINGS[3], subjects.INTS[18], "TagCloud", "Blog.Tags"),
    pair_of("file", "files", subjects.STRINGS[6], subjects.INTS[17], "Sizes", "Disk.Usage"),
)


def maps(rng: random.Random) -> Draft:
    """From strings to numbers."""
    return chained(rng, "map", _MAPS, "map", (1, 1, 2, 2, 3))


FAMILIES: dict[str, Family] = {"list": lists, "list_of_atoms": atoms, "dates": dates, "map": maps}
