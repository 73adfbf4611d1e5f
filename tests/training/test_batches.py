from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.errors import DataError
from elixir_coder.tasks.row import Row
from elixir_coder.training.batches import IGNORED, Batches, Corpus, collate, dropout_seed
from tests.evaluation.small import example_of, small_tokenizer


class Copy:
    """A task that shows its window: source is the text, target too, and 2 behind it where the file ends."""

    def __call__(self, window, rng):
        tokens = window.tokens.tolist()
        return Row(tokens, [*tokens, 2] if window.is_end else tokens)


class Draw:
    """A task that shows its randomness."""

    def __call__(self, window, rng):
        return Row([1], [int(rng.integers(10**9))])


def corpus_of(sizes):
    """Files of these many tokens, all tokens of the corpus different."""
    return Corpus(np.arange(1000, 1000 + sum(sizes), dtype=np.int32), np.concatenate([[0], np.cumsum(sizes)]))


corpora = st.lists(st.integers(1, 90), min_size=1, max_size=12).map(corpus_of)


def batches_of(corpus, tasks=None, window=16, batch_size=8, parts=1, seed=0):
    tasks = tasks or {Copy(): 1.0}
    return Batches(corpus, tasks, window=window, batch_size=batch_size, parts=parts, seed=seed, pad_token_id=0)


def rows_of(group):
    """The pairs that were collated to a group."""
    sources = [ids[mask.bool()].tolist() for ids, mask in zip(group["input_ids"], group["attention_mask"])]
    return list(zip(sources, [labels[labels != IGNORED].tolist() for labels in group["labels"]]))


# --------------------------------------------------------------------------------------------------------------- corpus


def test_special_tokens_that_stand_in_the_code_are_text_like_any_other():
    corpus = Corpus.of([example_of("</s><code>")], small_tokenizer())

    assert corpus.tokens.min() > 127  # ids below are special
    assert small_tokenizer().decode(corpus.tokens) == "</s><code>"


def test_files_stand_one_after_the_other_and_empty_ones_are_left_out():
    corpus = Corpus.of([example_of("def a"), example_of(""), example_of("def bc")], small_tokenizer())

    texts = [small_tokenizer().decode(corpus.tokens[a:b]) for a, b in zip(corpus.starts, corpus.starts[1:])]
    assert texts == ["def a", "def bc"]


def test_a_corpus_without_text_is_refused():
    with pytest.raises(DataError, match="the corpus has no text"):
        Corpus.of([example_of("")], small_tokenizer())


@given(corpora, st.integers(1, 40))
def test_windows_cut_each_file_into_pieces_that_cover_it(corpus, length):
    by_file = {}
    for file, start in corpus.windows(length):
        by_file.setdefault(int(file), []).append(int(start))

    for file, (first, last) in enumerate(zip(corpus.starts, corpus.starts[1:])):
        assert by_file[file] == list(range(first, last, length))


# ------------------------------------------------------------------------------------------------------------ one epoch


@given(corpora, st.integers(1, 40), st.integers(0, 99))
def test_the_first_epoch_has_every_token_exactly_once(corpus, window, seed):
    batches = batches_of(corpus, window=window, seed=seed)

    seen = Counter(token for row in range(len(batches.windows)) for token in batches.window_at(0, row).tokens.tolist())
    overlapping = {  # a file's last window is as long as the others, so it may begin before its cut
        int(token)
        for first, last in zip(corpus.starts, corpus.starts[1:])
        for token in corpus.tokens[max(last - window, first) : last]
    }
    assert set(seen) == set(corpus.tokens.tolist())
    assert all(count == 1 for token, count in seen.items() if token not in overlapping)


@given(corpora, st.integers(0, 5), st.integers(0, 99))
def test_every_window_is_in_each_epoch_once(corpus, epoch, seed):
    batches = batches_of(corpus, seed=seed)
    num_windows = len(batches.windows)

    wanted = Counter(tuple(batches.window_at(epoch, row).tokens.tolist()) for row in range(num_windows))
    rows = range(epoch * num_windows, (epoch + 1) * num_windows)
    assert Counter(tuple(batches.pair(index).source) for index in rows) == wanted


@given(corpora, st.integers(0, 5), st.integers(0, 99))
def test_a_window_is_a_piece_of_one_file_and_knows_where_it_ends(corpus, epoch, seed):
    batches = batches_of(corpus, seed=seed)
    last_tokens = {int(corpus.tokens[end - 1]) for end in corpus.starts[1:]}

    for row in range(len(batches.windows)):
        tokens, is_end = batches.window_at(epoch, row)
        assert 1 <= len(tokens) <= 16
        assert tokens.tolist() == list(range(tokens[0], tokens[-1] + 1))
        assert not last_tokens & set(tokens[:-1].tolist())
        assert is_end == (int(tokens[-1]) in last_tokens)


def test_later_epochs_cut_the_text_in_other_places():
    batches = batches_of(corpus_of([200]))

    starts = [[int(batches.window_at(epoch, row).tokens[0]) for row in range(5)] for epoch in range(4)]
    assert len({tuple(each) for each in starts}) == 4


# -------------------------------------------------------------------------------------------------------------- a step


@given(corpora, st.integers(1, 50), st.integers(0, 99))
def test_a_step_depends_on_nothing_but_seed_and_number(corpus, step, seed):
    fresh, used = batches_of(corpus, {Draw(): 1.0}, seed=seed), batches_of(corpus, {Draw(): 1.0}, seed=seed)
    used.step(step + 7), used.step(1)

    (one,), (other,) = fresh.step(step)[0], used.step(step)[0]
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_another_seed_gives_other_rows():
    corpus = corpus_of([90] * 9)

    assert rows_of(batches_of(corpus, seed=1).step(1)[0][0]) != rows_of(batches_of(corpus, seed=2).step(1)[0][0])


@given(corpora, st.sampled_from([1, 2, 4, 8]), st.integers(1, 9))
def test_the_groups_of_a_step_are_its_rows_shared_out_by_length(corpus, parts, step):
    whole, _ = batches_of(corpus).step(step)
    groups, num_targets = batches_of(corpus, parts=parts).step(step)

    rows = [row for group in groups for row in rows_of(group)]
    assert [len(group["labels"]) for group in groups] == [8 // parts] * parts
    assert rows == rows_of(whole[0])
    lengths = [len(target) for _, target in rows]
    assert lengths == sorted(lengths)
    assert num_targets == sum(lengths)


def test_the_steps_follow_one_another_without_gap_or_repetition():
    batches = batches_of(corpus_of([64] * 4), window=16, batch_size=4)  # an epoch is four steps

    seen = [row for _, groups, _ in batches.steps(1, 4) for row in rows_of(groups[0])]
    assert sorted(source[0] for source, _ in seen) == list(range(1000, 1256, 16))


def test_steps_go_on_where_they_are_asked_to():
    batches = batches_of(corpus_of([90] * 9))

    (number, (group,), num_targets), *_ = batches.steps(5, 7)
    assert number == 5
    assert (rows_of(group), num_targets) == (rows_of(batches.step(5)[0][0]), batches.step(5)[1])
    assert list(batches.steps(8, 7)) == []


def test_each_task_gets_its_share_of_the_rows():
    class Zero(Copy):
        def __call__(self, window, rng):
            return Row([0], [0])

    batches = batches_of(corpus_of([400] * 10), {Zero(): 1.0, Copy(): 3.0}, batch_size=2000)

    share = sum(batches.pair(index).source == [0] for index in range(2000)) / 2000
    assert share == pytest.approx(0.25, abs=0.03)


def test_padding_is_masked_in_the_source_and_ignored_in_the_labels():
    batch = collate([Row([5, 6, 7], [8]), Row([9], [10, 11])], pad_token_id=0)

    assert batch["input_ids"].tolist() == [[5, 6, 7], [9, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[8, IGNORED], [10, 11]]


def test_no_two_groups_share_a_dropout_seed():
    seeds = {dropout_seed(seed, step, group) for seed in range(5) for step in range(20) for group in range(8)}

    assert len(seeds) == 5 * 20 * 8
