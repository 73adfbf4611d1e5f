import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.tasks.complete import Complete
from elixir_coder.tasks.window import Window
from tests.tasks.given import FIRST, SPECIAL, random, seeds, sides, source_lengths, target_lengths, windows


def split(pair):
    """What was read and what is to be written, without the task's own tokens; and whether the file ends there."""
    assert pair.source[0] == SPECIAL.code and pair.source[-1] == SPECIAL.eos
    ends = pair.target[-1] == SPECIAL.eos
    return pair.source[1:-1], pair.target[: len(pair.target) - ends], ends


@given(windows, source_lengths, target_lengths, seeds)
def test_the_target_begins_where_the_source_stops(window, source_length, target_length, seed):
    read, written, _ = split(Complete(SPECIAL, source_length, target_length)(window, random(seed)))

    text = read + written
    assert written
    assert text == list(range(text[0], text[0] + len(text)))


@given(windows, source_lengths, target_lengths, seeds)
def test_the_target_ends_only_where_the_file_does(window, source_length, target_length, seed):
    _, written, ends = split(Complete(SPECIAL, source_length, target_length)(window, random(seed)))

    reaches_end = written[-1] == window.tokens[-1]
    assert ends == (window.is_end and reaches_end and len(written) < target_length)


@given(windows, source_lengths, target_lengths, seeds)
def test_a_pair_keeps_to_the_lengths(window, source_length, target_length, seed):
    source, target = sides(Complete(SPECIAL, source_length, target_length)(window, random(seed)))

    assert len(source) <= source_length and len(target) <= target_length


@given(windows, seeds)
def test_the_same_seed_gives_the_same_pair(window, seed):
    task = Complete(SPECIAL, 64, 32)

    assert task(window, random(seed)) == task(window, random(seed))


@given(st.booleans(), seeds)
def test_a_long_context_leaves_exactly_a_full_target(is_end, seed):
    window = Window(np.arange(FIRST, FIRST + 62), is_end)
    source, target = sides(Complete(SPECIAL, 32, 32, long_context=1.0)(window, random(seed)))

    assert (len(source), len(target)) == (32, 32)
    assert (target[-1] == SPECIAL.eos) == is_end
