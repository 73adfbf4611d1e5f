"""The counting model against the textbook's recursion, written out with dictionaries."""

import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.evaluation.ngram import NgramModel
from elixir_coder.training.mixture import Corpus

VOCABULARY, EOS = 6, 0
FILES = st.lists(st.lists(st.sampled_from([1, 1, 1, 2, 2, 3, 4]), min_size=1, max_size=40), min_size=1, max_size=5)


def corpus_of(files):
    starts = np.concatenate([[0], np.cumsum([len(file) for file in files])])
    return Corpus(np.concatenate(files).astype(np.int32), starts)


def kneser_ney(files, order):
    """p(context, token) by recursion, after Chen and Goodman."""
    counts = [Counter() for _ in range(order + 1)]
    for file in files:
        text = [None] * (order - 1) + file + [EOS]
        for end in range(order, len(text) + 1):
            for n in range(1, order + 1):
                counts[n][tuple(text[end - n : end])] += 1
    for n in range(1, order):
        counts[n] = Counter(longer[1:] for longer in counts[n + 1])

    def discounts(n):
        n1, n2, n3, n4 = (Counter(counts[n].values())[times] for times in (1, 2, 3, 4))
        if min(n1, n2, n3, n4) > 0:
            y = n1 / (n1 + 2 * n2)
            found = [0, 1 - 2 * y * n2 / n1, 2 - 3 * y * n3 / n2, 3 - 4 * y * n4 / n3]
            if min(found[1:]) > 0:
                return found
        return [0, 0.5, 1, 1.5]

    taken = [None, *(discounts(n) for n in range(1, order + 1))]

    def probability(context, token, n=order):
        if n == 0:
            return 1 / VOCABULARY
        context = tuple(context)[len(context) - n + 1 :]
        below = probability(context, token, n - 1)
        following = {ngram[-1]: count for ngram, count in counts[n].items() if ngram[:-1] == context}
        if not following:
            return below
        rest = sum(taken[n][min(count, 3)] for count in following.values())
        count = following.get(token, 0)
        return (count - taken[n][min(count, 3)] + rest * below) / sum(following.values())

    return probability


@given(FILES, FILES, st.integers(1, 5))
def test_probabilities_are_those_of_the_recursion(train, held_out, order):
    probability = kneser_ney(train, order)
    expected = []
    for file in held_out:
        text = [None] * (order - 1) + file + [EOS]
        expected += [-math.log2(probability(text[:at], text[at])) for at in range(order - 1, len(text))]
    model = NgramModel(corpus_of(train), vocab_size=VOCABULARY, eos=EOS, order=order)
    np.testing.assert_allclose(model.token_bits(corpus_of(held_out)), expected)


@given(FILES, st.lists(st.integers(1, 5), max_size=6))
def test_probabilities_add_up_to_one_over_the_vocabulary(train, context):
    model = NgramModel(corpus_of(train), vocab_size=VOCABULARY, eos=EOS)
    bits = [model.token_bits(corpus_of([[*context, token]]))[-2] for token in range(VOCABULARY)]
    assert sum(2.0**-bit for bit in bits) == pytest.approx(1, abs=1e-12)


def test_the_bits_of_a_file_are_those_of_its_tokens_and_its_end():
    model = NgramModel(corpus_of([[1, 2, 3, 1, 2, 4]]), vocab_size=VOCABULARY, eos=EOS)
    files = corpus_of([[1, 2], [3], [5, 5, 5, 1]])
    tokens = model.token_bits(files)
    assert len(tokens) == 7 + 3
    np.testing.assert_allclose(model.file_bits(files), [tokens[:3].sum(), tokens[3:5].sum(), tokens[5:].sum()])


def test_a_token_never_seen_is_unlikely_but_not_impossible():
    model = NgramModel(corpus_of([[1, 2, 1, 2, 3]]), vocab_size=1000, eos=EOS)
    seen, unseen = (model.token_bits(corpus_of([[token]]))[0] for token in (1, 999))
    assert 0 < seen < 2 < 10 < unseen < 20


def test_context_makes_what_was_read_often_cheap():
    song = [1, 2, 3, 4] * 50
    long, short = (
        NgramModel(corpus_of([song]), vocab_size=1000, eos=EOS, order=order).file_bits(corpus_of([song]))[0]
        for order in (5, 1)
    )
    assert long < 20 < 200 * 1.9 < short


def test_one_file_says_nothing_about_the_next():
    model = NgramModel(corpus_of([[1, 2, 3, 4, 5]]), vocab_size=VOCABULARY, eos=EOS)
    alone, after = model.file_bits(corpus_of([[2, 3]])), model.file_bits(corpus_of([[4, 1], [2, 3]]))
    assert after[1] == alone[0]
