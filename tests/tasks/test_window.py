import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.errors import CheckpointError
from elixir_coder.tasks.row import SpecialTokens
from elixir_coder.tasks.window import crop
from tests.evaluation import small
from tests.tasks.given import random, seeds


@given(st.integers(0, 50), st.integers(1, 50), seeds)
def test_a_crop_is_a_run_of_the_tokens_of_the_length_asked_for(num_tokens, length, seed):
    tokens = crop(np.arange(num_tokens), length, random(seed)).tolist()

    assert len(tokens) == min(num_tokens, length)
    assert tokens == [*range(tokens[0], tokens[0] + len(tokens))] if tokens else num_tokens == 0


def test_special_tokens_have_the_ids_of_the_tokenizer():
    special = SpecialTokens.of(small.small_tokenizer())

    assert special.eos == 2
    assert len(set(special.sentinels)) == 100


def test_a_tokenizer_without_a_special_token_is_refused_by_its_name():
    tokenizer = small.small_tokenizer()
    known = tokenizer.convert_tokens_to_ids
    tokenizer.convert_tokens_to_ids = lambda token: None if token == "<fim_middle>" else known(token)

    with pytest.raises(CheckpointError, match="has no token <fim_middle>; train on one made by"):
        SpecialTokens.of(tokenizer)
