from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.tasks.denoise import Denoise
from elixir_coder.tasks.window import Window
from tests.tasks.given import FIRST, SPECIAL, random, seeds, sides, source_lengths, target_lengths, windows


def put_back(pair):
    """The source with each sentinel replaced by what the target has behind it."""
    spans, holes = {}, []
    for token in pair.target[:-1]:
        if token in SPECIAL.sentinels:
            holes.append(spans.setdefault(token, []))
        else:
            holes[-1].append(token)
    return [part for token in pair.source[:-1] for part in spans.get(token, [token])]


@given(windows, source_lengths, target_lengths, seeds)
def test_the_spans_of_the_target_fill_the_holes_of_the_source(window, source_length, target_length, seed):
    pair = Denoise(SPECIAL, source_length, target_length)(window, random(seed))

    text = put_back(pair)
    assert text == list(range(text[0], text[0] + len(text)))
    assert len(text) == min(len(window.tokens), source_length - 1)


@given(windows, source_lengths, target_lengths, seeds)
def test_a_pair_keeps_to_the_lengths_and_ends_on_both_sides(window, source_length, target_length, seed):
    source, target = sides(Denoise(SPECIAL, source_length, target_length)(window, random(seed)))

    assert len(source) <= source_length and len(target) <= target_length
    assert source[-1] == target[-1] == SPECIAL.eos
    assert source.count(SPECIAL.eos) == target.count(SPECIAL.eos) == 1


@given(windows, seeds)
def test_sentinels_count_up_from_the_first_and_none_stands_beside_another(window, seed):
    source, target = sides(Denoise(SPECIAL, 300, 300)(window, random(seed)))

    for side in (source, target):
        used = [token for token in side if token in SPECIAL.sentinels]
        assert used == list(SPECIAL.sentinels[: len(used)])
        assert not any(a in SPECIAL.sentinels and b in SPECIAL.sentinels for a, b in pairwise(side))


@given(windows, seeds)
def test_the_same_seed_gives_the_same_pair(window, seed):
    task = Denoise(SPECIAL, 64, 32)

    assert task(window, random(seed)) == task(window, random(seed))


@given(st.integers(0, 9))
def test_fifteen_percent_of_the_tokens_are_taken_out_in_spans_of_three(seed):
    window = Window(np.arange(FIRST, FIRST + 200), is_end=True)
    source, target = sides(Denoise(SPECIAL, 256, 256)(window, random(seed)))

    num_spans = sum(token in SPECIAL.sentinels for token in source)
    assert (len(target) - 1 - num_spans, num_spans) == (30, 10)


def test_every_part_of_a_long_window_is_seen_in_time():
    task, seen = Denoise(SPECIAL, 32, 32), set()
    window = Window(np.arange(FIRST, FIRST + 100), is_end=True)
    for seed in range(600):
        seen.update(put_back(task(window, random(seed))))

    assert seen == set(range(FIRST, FIRST + 100))
