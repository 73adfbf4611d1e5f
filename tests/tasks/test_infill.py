import numpy as np
from hypothesis import given

from elixir_coder.tasks.infill import Infill
from elixir_coder.tasks.window import Window
from tests.tasks.given import FIRST, SPECIAL, random, seeds, sides, source_lengths, target_lengths, windows


def parts(pair):
    """prefix, middle, suffix."""
    source = pair.source
    cut = source.index(SPECIAL.fim_suffix)
    assert source[0] == SPECIAL.fim_prefix and source[-2:] == [SPECIAL.fim_middle, SPECIAL.eos]
    assert pair.target[-1] == SPECIAL.eos
    return source[1:cut], pair.target[:-1], source[cut + 1 : -2]


@given(windows, source_lengths, target_lengths, seeds)
def test_prefix_middle_and_suffix_are_one_piece_of_the_window(window, source_length, target_length, seed):
    prefix, middle, suffix = parts(Infill(SPECIAL, source_length, target_length)(window, random(seed)))

    text = prefix + middle + suffix
    assert middle
    assert text == list(range(text[0], text[0] + len(text)))
    assert len(text) == min(len(window.tokens), source_length - 4 + len(middle))


@given(windows, source_lengths, target_lengths, seeds)
def test_a_pair_keeps_to_the_lengths(window, source_length, target_length, seed):
    source, target = sides(Infill(SPECIAL, source_length, target_length)(window, random(seed)))

    assert len(source) <= source_length and len(target) <= target_length


@given(windows, seeds)
def test_the_same_seed_gives_the_same_pair(window, seed):
    task = Infill(SPECIAL, 64, 32)

    assert task(window, random(seed)) == task(window, random(seed))


def test_the_hole_is_in_time_everywhere_and_of_every_length_up_to_half():
    task, places, lengths = Infill(SPECIAL, 64, 64), set(), set()
    window = Window(np.arange(FIRST, FIRST + 20), is_end=True)
    for seed in range(600):
        _, middle, _ = parts(task(window, random(seed)))
        places.update(middle)
        lengths.add(len(middle))

    assert places == set(range(FIRST, FIRST + 20))
    assert lengths == set(range(1, 11))
