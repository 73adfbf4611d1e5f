import math
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.evaluation.scores import edit_distance, edit_similarity, mean_interval, pass_at_k, wilson_interval

TEXTS = st.text("ab\n🜁", max_size=12)


def distance_by_definition(a: str, b: str) -> int:
    table = [[0] * (len(b) + 1) for _ in range(len(a) + 1)]
    for i in range(len(a) + 1):
        for j in range(len(b) + 1):
            if i == 0 or j == 0:
                table[i][j] = i + j
            else:
                replaced = table[i - 1][j - 1] + (a[i - 1] != b[j - 1])
                table[i][j] = min(replaced, table[i - 1][j] + 1, table[i][j - 1] + 1)
    return table[-1][-1]


@given(TEXTS, TEXTS)
def test_the_edit_distance_is_that_of_the_definition(a, b):
    assert edit_distance(a, b) == edit_distance(b, a) == distance_by_definition(a, b)


def test_kitten_becomes_sitting_in_three_edits():
    assert edit_distance("kitten", "sitting") == 3
    assert edit_similarity("kitten", "sitting") == 1 - 3 / 7


@pytest.mark.parametrize(("a", "b", "similarity"), [("", "", 1), ("x", "x", 1), ("", "x", 0), ("ab", "cd", 0)])
def test_similarity_is_one_for_equal_texts_and_zero_for_strangers(a, b, similarity):
    assert edit_similarity(a, b) == similarity


def test_wilson_intervals_are_those_of_the_formula():
    assert wilson_interval(5, 10) == pytest.approx((0.236593, 0.763407), abs=1e-6)
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998, table I


def test_a_wilson_interval_of_none_or_all_begins_or_ends_at_the_edge():
    assert wilson_interval(0, 10) == (0.0, pytest.approx(0.277533, abs=1e-6))
    assert wilson_interval(10, 10) == (pytest.approx(0.722467, abs=1e-6), 1.0)


def test_a_share_of_nothing_has_no_interval():
    with pytest.raises(ValueError, match="of nothing"):
        wilson_interval(0, 0)


def test_the_interval_of_a_mean_narrows_with_the_root_of_n():
    low, high = mean_interval([0.4, 0.6] * 50)
    wide_low, wide_high = mean_interval([0.4, 0.6] * 2)
    assert (low + high) / 2 == pytest.approx(0.5)
    assert (high - low) == pytest.approx(2 * 1.959964 * 0.1 * (100 / 99) ** 0.5 / 10)
    assert (wide_high - wide_low) > 4 * (high - low)


def test_the_interval_of_a_mean_stays_between_0_and_1():
    assert mean_interval([0.3]) == (0.0, 1.0)
    assert mean_interval([0.0, 1.0]) == (0.0, 1.0)


@given(st.integers(1, 9).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_choices_that_have_a_sample_that_passed(numbers):
    n, correct, k = numbers
    chosen = list(combinations([True] * correct + [False] * (n - correct), k))
    assert pass_at_k(n, correct, k) == pytest.approx(sum(map(any, chosen)) / len(chosen), abs=1e-12)


@given(st.integers(1, 2000).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_exact_for_any_number_of_samples(numbers):
    n, correct, k = numbers
    exact = 1 - Fraction(math.comb(n - correct, k), math.comb(n, k))
    assert pass_at_k(n, correct, k) == pytest.approx(float(exact), abs=1e-12)


@pytest.mark.parametrize("numbers", [(0, 0, 1), (3, 4, 1), (3, -1, 1), (3, 1, 0), (3, 1, 4)])
def test_pass_at_k_of_what_cannot_be_is_an_error(numbers):
    with pytest.raises(ValueError, match="pass@k needs"):
        pass_at_k(*numbers)


@given(st.lists(st.floats(0, 1), min_size=2, max_size=40))
def test_numbers_between_0_and_1_vary_at_most_as_the_interval_of_their_sum_assumes(values):
    mean = sum(values) / len(values)
    assert sum((value - mean) ** 2 for value in values) / len(values) <= mean * (1 - mean) + 1e-9
    low, high = wilson_interval(sum(values), len(values))
    assert low - 1e-9 <= mean <= high + 1e-9
