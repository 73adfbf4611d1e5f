import numpy as np
from hypothesis import given

from elixir_coder.tasks.causal import Causal
from elixir_coder.tasks.window import Window
from tests.tasks.given import FIRST, SPECIAL, random, seeds, source_lengths, target_lengths, windows


def test_the_encoder_is_told_nothing_and_the_decoder_writes_it_all():
    row = Causal(SPECIAL, 8, 8)(Window(np.arange(FIRST, FIRST + 3), is_end=True), random(0))

    assert (row.source, row.target) == ([SPECIAL.code, SPECIAL.eos], [FIRST, FIRST + 1, FIRST + 2, SPECIAL.eos])


@given(windows, source_lengths, target_lengths, seeds)
def test_the_target_is_the_start_of_the_window_and_ends_only_where_the_file_does(
    window, source_length, target_length, seed
):
    row = Causal(SPECIAL, source_length, target_length)(window, random(seed))

    text = [*window.tokens.tolist(), *[SPECIAL.eos] * window.is_end]
    assert row.target == text[:target_length]
    assert len(row.source) <= source_length
