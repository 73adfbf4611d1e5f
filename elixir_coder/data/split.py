"""Which split a package belongs to. A package is never in two, so a held-out file has no sibling in training.

A corpus of one project of one's own is split by what its files are about instead.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable

from elixir_coder.errors import DataError

SPLITS = ("train", "validation", "test")
HELD_OUT_PER_CENT = 5
_ENOUGH_UNITS = 10  # of one project, for each split to have some


def split_packages(
    packages: Iterable[str],
    *,
    validation: Collection[str] | None = None,
    test: Collection[str] | None = None,
) -> dict[str, str]:
    """The split of each package.

    With `validation` or `test` given, those packages are held out and all others train. With neither, a hash of the
    name sends 5% of the packages to each: the same package is in the same split in every corpus, on every machine. Only
    a corpus of one package is all `train`.

    Raises DataError when a package is named for both, or named but not among `packages`.
    """
    names = sorted(set(packages))
    if validation is None and test is None:
        return {name: _by_hash(name) for name in names} if len(names) > 1 else dict.fromkeys(names, "train")
    chosen_validation, chosen_test = set(validation or ()), set(test or ())
    if both := sorted(chosen_validation & chosen_test):
        raise DataError(f"{both[0]} is named for validation and for test; a package belongs to one split")
    if absent := sorted((chosen_validation | chosen_test) - set(names)):
        raise DataError(f"held-out package {absent[0]} was not collected (collected: {', '.join(names) or 'none'})")
    held_out = dict.fromkeys(chosen_validation, "validation") | dict.fromkeys(chosen_test, "test")
    return {name: held_out.get(name, "train") for name in names}


def split_units(units: Iterable[str]) -> dict[str, str]:
    """The split of each unit of one project, by a hash of its name: it stays there as the project grows.

    Of ten units or more, at least one is held out to tune on and one to judge by.
    """
    names = sorted(set(units), key=_digest)
    split = {name: _by_hash(name) for name in names}
    for held_out in SPLITS[1:] if len(names) >= _ENOUGH_UNITS else ():
        if held_out not in split.values():
            split[next(name for name in names if split[name] == "train")] = held_out
    return split


def _by_hash(name: str) -> str:
    bucket = int.from_bytes(_digest(name)[:8], "big") % 100
    if bucket < HELD_OUT_PER_CENT:
        return "test"
    return "validation" if bucket < 2 * HELD_OUT_PER_CENT else "train"


def _digest(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()
