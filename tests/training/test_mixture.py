from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.data.shards import write_shards
from elixir_coder.errors import DataError
from elixir_coder.example import Label
from elixir_coder.tasks import registry
from elixir_coder.tasks.row import Row, Setup, SpecialTokens
from elixir_coder.training.mixture import Corpus, Mixture, Stream, Windows, build_mixture, read_corpus
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


def windows_of(corpus, task=None, length=16, seed=0):
    return Windows(corpus, task or Copy(), length, [seed])


def stream_of(corpus, task=None, seed=0, name="copy", tier=1, folder="files"):
    return Stream(f"{name}:{folder}" + (f":{tier}" if tier > 1 else ""), name, tier, windows_of(corpus, task), seed)


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


@given(corpora, st.integers(1, 40), st.integers(0, 99))
def test_the_first_pass_has_every_token_exactly_once(corpus, length, seed):
    windows = windows_of(corpus, length=length, seed=seed)

    seen = Counter(token for item in range(len(windows)) for token in windows.window_at(item, 0).tokens.tolist())
    overlapping = {  # a file's last window is as long as the others, so it may begin before its cut
        int(token)
        for first, last in zip(corpus.starts, corpus.starts[1:])
        for token in corpus.tokens[max(last - length, first) : last]
    }
    assert set(seen) == set(corpus.tokens.tolist())
    assert all(count == 1 for token, count in seen.items() if token not in overlapping)


@given(corpora, st.integers(0, 5), st.integers(0, 99))
def test_a_window_is_a_piece_of_one_file_and_knows_where_it_ends(corpus, epoch, seed):
    windows = windows_of(corpus, seed=seed)
    last_tokens = {int(corpus.tokens[end - 1]) for end in corpus.starts[1:]}

    for item in range(len(windows)):
        tokens, is_end = windows.window_at(item, epoch)
        assert 1 <= len(tokens) <= 16
        assert tokens.tolist() == list(range(tokens[0], tokens[-1] + 1))
        assert not last_tokens & set(tokens[:-1].tolist())
        assert is_end == (int(tokens[-1]) in last_tokens)


def test_later_passes_cut_the_text_in_other_places():
    windows = windows_of(corpus_of([200]))

    starts = [[int(windows.window_at(item, epoch).tokens[0]) for item in range(5)] for epoch in range(4)]
    assert len({tuple(each) for each in starts}) == 4


# -------------------------------------------------------------------------------------------------------------- streams


@given(corpora, st.integers(0, 5), st.integers(0, 99))
def test_every_item_comes_once_in_each_pass(corpus, epoch, seed):
    stream = stream_of(corpus, seed=seed)
    size = len(stream.items)

    wanted = Counter(tuple(stream.items.window_at(item, epoch).tokens.tolist()) for item in range(size))
    rows = range(epoch * size, (epoch + 1) * size)
    assert Counter(tuple(stream.row(k).source) for k in rows) == wanted


@given(corpora, st.integers(0, 300), st.integers(0, 99))
def test_a_row_depends_on_nothing_but_seed_and_number(corpus, k, seed):
    fresh, used = stream_of(corpus, Draw(), seed), stream_of(corpus, Draw(), seed)
    used.row(k + 70), used.row(0)

    assert fresh.row(k) == used.row(k)


def test_seeds_and_streams_have_orders_of_their_own():
    corpus = corpus_of([90] * 9)
    orders = [
        [tuple(stream.row(k).source) for k in range(20)]
        for stream in (stream_of(corpus), stream_of(corpus, seed=1), stream_of(corpus, folder="others"))
    ]

    assert orders[0] != orders[1] and orders[0] != orders[2]


# -------------------------------------------------------------------------------------------------------------- weights


def test_a_task_shares_out_to_its_streams_by_size_and_temperature():
    streams = [stream_of(corpus_of([16] * 10)), stream_of(corpus_of([16] * 90), folder="more")]

    def weights(temperature):
        return Mixture(streams, temperature).weights({"copy": 1.0}, lambda task: 4)

    assert weights(1.0) == pytest.approx([0.1, 0.9])
    assert weights(2.0) == pytest.approx([0.25, 0.75])
    assert weights(1e9) == pytest.approx([0.5, 0.5])


def test_tasks_have_their_shares_whatever_their_streams():
    streams = [stream_of(corpus_of([16] * size), name=name) for name, size in (("one", 5), ("other", 500))]

    assert Mixture(streams, 1.0).weights({"one": 0.75, "other": 0.25}, lambda task: 4) == pytest.approx([0.75, 0.25])
    assert Mixture(streams, 1.0).weights({"other": 0.25}, lambda task: 4) == pytest.approx([0.0, 1.0])


def test_hard_examples_wait_for_their_tier():
    streams = [stream_of(corpus_of([16] * 10), tier=tier) for tier in (1, 2, 4)]

    assert Mixture(streams, 1.0).weights({"copy": 1.0}, lambda task: 1) == pytest.approx([1, 0, 0])
    assert Mixture(streams, 1.0).weights({"copy": 1.0}, lambda task: 3) == pytest.approx([0.5, 0.5, 0])
    assert Mixture(streams[2:], 1.0).weights({"copy": 1.0}, lambda task: 1) == pytest.approx([1])


# ------------------------------------------------------------------------------------------------------ from the shards


@pytest.fixture
def setup():
    tokenizer = small_tokenizer()
    labels = ("Credo.Check.Readability.ModuleDoc", "Credo.Check.Refactor.Nesting")
    return Setup(tokenizer, SpecialTokens.of(tokenizer), 64, 64, labels, ("SQL.Query",))


@pytest.fixture
def folder(tmp_path):
    judged = [
        example_of(f"def f({n}), do: {n}", kind="function", name=f"M.f/{n}", checked_by=("credo 1.7",), labels=labels)
        for n, labels in enumerate([(), (Label(tool="credo", check="Credo.Check.Refactor.Nesting"),)])
    ]
    files = [example_of(f"defmodule M{n} do\nend\n") for n in (1, 1, 2)]
    write_shards(tmp_path / "shards", {"train": [*files, *judged]}, {})
    return tmp_path / "shards"


def tasks_of(setup, *names):
    return {name: registry.build(name, setup) for name in names}


def test_files_and_examples_of_a_folder_become_the_streams_of_the_tasks(folder, setup):
    mixture = build_mixture([folder], tasks_of(setup, "complete", "quality"), setup=setup, seed=0)

    assert [(stream.key, len(stream.items)) for stream in mixture.streams] == [
        ("complete:shards", 2),  # a text that is there twice counts once
        ("quality:shards", 1),
        ("quality:shards:4", 1),
    ]
    assert mixture.summary() == "complete 2, quality 2"
    assert "quality" in mixture.streams[1].row(0).judgements


def test_a_task_that_nothing_is_of_use_to_is_named(folder, setup):
    with pytest.raises(DataError, match=r"is of use to the task clarify; give more --data"):
        build_mixture([folder], tasks_of(setup, "complete", "clarify"), setup=setup, seed=0)


def test_only_what_is_kept_is_used(folder, setup):
    def keep(example):
        return example.kind != "file"

    assert read_corpus(folder, "train", setup.tokenizer, keep) is None
    mixture = build_mixture([folder], tasks_of(setup, "quality"), setup=setup, seed=0, keep=keep)
    assert len(mixture.streams) == 2


def test_a_folder_that_is_not_there_is_named(setup):
    with pytest.raises(DataError, match="no corpus at absent"):
        build_mixture([Path("absent")], tasks_of(setup, "quality"), setup=setup, seed=0)
