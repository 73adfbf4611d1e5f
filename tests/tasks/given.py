"""What the tasks are tested on: windows of distinct tokens, and special tokens that no window holds."""

import numpy as np
from hypothesis import strategies as st

from elixir_coder.tasks.row import MIN_SOURCE_LENGTH, MIN_TARGET_LENGTH, SpecialTokens
from elixir_coder.tasks.window import Window

_NAMES = "eos mask code fim_prefix fim_middle fim_suffix test review explanation clarification ontology file_sep"
SPECIAL = SpecialTokens(
    sentinels=tuple(range(100, 200)), **{name: index for index, name in enumerate(_NAMES.split(), start=2)}
)
FIRST = 1000  # token at position i of a window is FIRST + i, so that a copy shows where it came from

windows = st.builds(
    lambda length, is_end: Window(np.arange(FIRST, FIRST + length, dtype=np.int32), is_end),
    st.integers(1, 300),
    st.booleans(),
)
source_lengths = st.integers(MIN_SOURCE_LENGTH, 120)
target_lengths = st.integers(MIN_TARGET_LENGTH, 120)
seeds = st.integers(0, 2**32 - 1)


def random(seed):
    return np.random.default_rng(seed)


def sides(row):
    return row.source, row.target
