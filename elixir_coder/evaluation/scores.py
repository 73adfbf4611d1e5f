"""Comparing texts, and saying how sure a figure is."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

_Z = 1.959964  # 95% of a normal distribution lies within this many standard deviations


def edit_distance(a: str, b: str) -> int:
    """Levenshtein distance: characters to insert, delete or replace to make one text of the other.

    Method: Wagner and Fischer 1974, a row at a time. Along a row an insertion costs 1 a step, so the best way to each
    place is a running minimum of (cost - place).
    """
    if len(a) < len(b):
        a, b = b, a
    letters = np.array([ord(letter) for letter in b])
    places = np.arange(len(b) + 1)
    row = places
    for letter in a:
        down_or_across = np.minimum(row[1:] + 1, row[:-1] + (letters != ord(letter)))
        row = np.minimum.accumulate(np.concatenate([[row[0] + 1], down_or_across]) - places) + places
    return int(row[-1])


def edit_similarity(a: str, b: str) -> float:
    """1 for equal texts, 0 for texts with nothing in common: 1 - distance / length of the longer."""
    longest = max(len(a), len(b))
    return 1 - edit_distance(a, b) / longest if longest else 1.0


def wilson_interval(successes: int, n: int) -> tuple[float, float]:
    """95% interval of a share, sound for shares near 0 and 1 too.

    Raises ValueError for n = 0. Source: Wilson 1927; Brown, Cai and DasGupta 2001, section 3.1.1.
    """
    if n < 1:
        raise ValueError("a share of nothing has no interval")
    share = successes / n
    middle = share + _Z**2 / (2 * n)
    spread = _Z * math.sqrt(share * (1 - share) / n + _Z**2 / (4 * n**2))
    low, high = ((middle + sign * spread) / (1 + _Z**2 / n) for sign in (-1, 1))
    return (0.0 if successes == 0 else low), (1.0 if successes == n else high)  # exact there, but for rounding


def mean_interval(values: Sequence[float]) -> tuple[float, float]:
    """95% interval of the mean of numbers between 0 and 1, by the normal approximation; (0, 1) for fewer than two."""
    if len(values) < 2:
        return 0.0, 1.0
    mean = float(np.mean(values))
    spread = _Z * float(np.std(values, ddof=1)) / math.sqrt(len(values))
    return max(0.0, mean - spread), min(1.0, mean + spread)
