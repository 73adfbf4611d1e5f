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


def wilson_interval(successes: float, n: int) -> tuple[float, float]:
    """95% interval of a share, sound for shares near 0 and 1 too.

    successes: a fraction where it is a sum of numbers between 0 and 1: these vary less than zeros and ones of the same
    mean do, so that the interval is wider than it need be, never narrower.

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


def pass_at_k(n: int, correct: int, k: int) -> float:
    """Chance that at least one of k of a task's n samples passes, `correct` of the n having passed; unbiased.

    1 - C(n - correct, k) / C(n, k), as a product of factors below 1: binomials of a few hundred overflow a float.
    Raises ValueError unless 0 <= correct <= n and 1 <= k <= n.
    Source: Chen et al. 2021, https://arxiv.org/abs/2107.03374
    """
    if not (0 <= correct <= n and 1 <= k <= n):
        raise ValueError(f"pass@k needs 0 <= correct <= n and 1 <= k <= n, got n={n}, correct={correct}, k={k}")
    if n - correct < k:
        return 1.0
    return 1.0 - math.prod(1.0 - k / number for number in range(n - correct + 1, n + 1))
