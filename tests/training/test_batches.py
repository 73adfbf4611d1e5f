import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.errors import DataError
from elixir_coder.tasks.row import UNKNOWN, Row
from elixir_coder.training.batches import Batches, dropout_seed
from elixir_coder.training.curriculum import Curriculum
from elixir_coder.training.mixture import Mixture, Stream
from tests.training.test_mixture import Copy, Draw, corpora, corpus_of, stream_of

LABELS = {"quality": 1, "security": 1, "clarification": 1}


class Misses:
    """Items that give no row but at every eleventh."""

    def __init__(self, every=11):
        self.every = every

    def __len__(self):
        return 44

    def row(self, item, epoch, rng):
        return Row([item + 3], [5, 5, 5]) if self.every and item % self.every == 0 else None


def batches_of(*streams, batch_tokens=200, parts=1, seed=0, shares=None, **curriculum):
    tasks = tuple(dict.fromkeys(stream.task for stream in streams))
    plan = Curriculum(shares or dict.fromkeys(tasks, 1.0), 100, **curriculum)
    collating = {"pad_token_id": 0, "start_token_id": 1, "label_sizes": LABELS}
    return Batches(
        Mixture(list(streams), 1.0), plan, tasks, batch_tokens=batch_tokens, parts=parts, seed=seed, collating=collating
    )


def texts_of(groups):
    """The sources of all groups, one by one."""
    return [
        tuple(group["input_ids"][group["segment_ids"] == number].tolist())
        for group in groups
        for number in range(1, int(group["segment_ids"].max()) + 1)
    ]


def same(one, other):
    return len(one) == len(other) and all(
        a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a) for a, b in zip(one, other)
    )


@given(corpora, st.integers(1, 50), st.integers(0, 99))
def test_a_step_depends_on_nothing_but_seed_number_and_cursors(corpus, number, seed):
    fresh, used = (batches_of(stream_of(corpus, Draw()), seed=seed, batch_tokens=16) for _ in range(2))
    used.step(number + 7, {"copy:files": 3}), used.step(1, {})

    one, other = fresh.step(number, {"copy:files": 5}), used.step(number, {"copy:files": 5})
    assert same(one.groups, other.groups) and one.cursors == other.cursors


@given(corpora, st.sampled_from([1, 2, 4]), st.integers(0, 9))
def test_the_groups_of_a_step_are_its_rows_shared_out_evenly(corpus, parts, start):
    whole = batches_of(stream_of(corpus)).step(1, {"copy:files": start})
    step = batches_of(stream_of(corpus), parts=parts).step(1, {"copy:files": start})

    assert sorted(texts_of(step.groups)) == sorted(texts_of(whole.groups))
    assert torch.equal(step.counts, whole.counts)
    sizes = [int((group["segment_ids"] > 0).sum() + (group["labels"] != UNKNOWN).sum()) for group in step.groups]
    assert max(sizes) - min(sizes) <= 2 * 16 + 1  # no more than one row
    assert sum(sizes) == step.num_tokens >= 200
    assert step.num_places == step.num_tokens  # nothing is padded


def test_the_steps_follow_one_another_without_gap_or_repetition():
    batches = batches_of(stream_of(corpus_of([64] * 4)), batch_tokens=4 * 32)  # a pass is four steps

    seen = [text for step in batches.steps(1, 4, {}) for text in texts_of(step.groups)]
    assert sorted(text[0] for text in seen) == list(range(1000, 1256, 16))


def test_steps_go_on_where_their_cursors_say():
    batches = batches_of(stream_of(corpus_of([90] * 9)), stream_of(corpus_of([40] * 9), name="other"))
    straight = list(batches.steps(1, 6, {}))

    resumed = list(batches.steps(4, 6, straight[2].cursors))
    assert [step.number for step in resumed] == [4, 5, 6]
    assert all(same(one.groups, other.groups) for one, other in zip(straight[3:], resumed))
    assert list(batches.steps(7, 6, {})) == []


def test_each_task_gets_its_share_of_the_rows():
    streams = [stream_of(corpus_of([400] * 10), name=name) for name in ("one", "other")]
    batches = batches_of(*streams, shares={"one": 1.0, "other": 3.0}, batch_tokens=32 * 2000)

    tasks = [task for task, _ in batches.rows(1, {})[0]]
    assert np.mean(tasks) == pytest.approx(0.75, abs=0.03)


def test_texts_to_tell_apart_come_in_company_and_stay_in_one_group():
    class Find(Copy):
        def __call__(self, window, rng):
            return Row([7], candidates=(window.tokens.tolist(),))

    streams = [stream_of(corpus_of([400] * 10)), stream_of(corpus_of([400] * 10), Find(), name="retrieve")]
    batches = batches_of(*streams, batch_tokens=2000, parts=4)

    for number in range(1, 9):
        with_queries = [group for group in batches.step(number, {}).groups if "queries" in group]
        assert len(with_queries) <= 1
        assert all(len(group["queries"]) % 8 == 0 for group in with_queries)
    rows = [task for number in range(1, 30) for task, _ in batches.rows(number, {})[0]]
    assert np.mean(rows) == pytest.approx(0.5, abs=0.1)  # its share, all the same


def test_what_gives_no_row_is_passed_over_and_counted():
    stream = Stream("copy:files", "copy", 1, Misses(), 0)

    rows, after = batches_of(stream, batch_tokens=8).rows(1, {})
    assert len(rows) == 2 and after["copy:files"] > 2
    with pytest.raises(DataError, match="1000 examples of copy:files give no row of at most --source_length"):
        batches_of(Stream("copy:files", "copy", 1, Misses(every=0), 0)).rows(1, {})


def test_a_step_of_fewer_rows_than_groups_takes_more_rows():
    step = batches_of(stream_of(corpus_of([64] * 4)), batch_tokens=1, parts=3).step(1, {})

    assert [len(texts_of([group])) for group in step.groups] == [1, 1, 1]


def test_no_two_groups_share_a_dropout_seed():
    seeds = {dropout_seed(seed, step, group) for seed in range(5) for step in range(20) for group in range(8)}

    assert len(seeds) == 5 * 20 * 8
