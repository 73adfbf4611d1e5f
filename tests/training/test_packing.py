import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.tasks.row import UNKNOWN, Row
from elixir_coder.training.packing import collate, pad

SETTINGS = {"pad_token_id": 0, "start_token_id": 1, "label_sizes": {"quality": 2, "security": 1, "clarification": 1}}

texts = st.lists(st.integers(3, 90), min_size=1, max_size=6)
rows_of_tasks = st.lists(
    st.tuples(st.integers(0, 3), st.builds(Row, texts, st.one_of(st.just([]), texts))), min_size=1, max_size=6
)


def of_segment(batch, name, segments, row, number):
    return batch[name][row][batch[segments][row] == number].tolist()


def test_padding_is_masked_in_the_source_and_ignored_in_the_labels():
    batch = pad([Row([5, 6, 7], [8]), Row([9], [10, 11])], pad_token_id=0)

    assert batch["input_ids"].tolist() == [[5, 6, 7], [9, 0, 0]]
    assert batch["attention_mask"].tolist() == [[1, 1, 1], [1, 0, 0]]
    assert batch["labels"].tolist() == [[8, UNKNOWN], [10, 11]]


def test_a_packed_row_by_example():
    rows = [(2, Row([5, 6, 7], [8, 2])), (0, Row([9], candidates=([4, 4], [3]))), (1, Row([6], [7, 8, 2], match=1))]

    batch = collate(rows, **SETTINGS)

    assert batch["input_ids"].tolist() == [[5, 6, 7, 9, 4, 4, 3, 6]]
    assert batch["segment_ids"].tolist() == [[1, 1, 1, 2, 3, 3, 4, 5]]
    assert batch["decoder_input_ids"].tolist() == [[1, 8, 1, 7, 8]]
    assert batch["decoder_segment_ids"].tolist() == [[1, 1, 5, 5, 5]]
    assert batch["labels"].tolist() == [[8, 2, UNKNOWN, UNKNOWN, UNKNOWN]]
    assert batch["token_tasks"].tolist() == [[2, 2, 1, 1, 1]]
    assert batch["text_tasks"].tolist() == [2, 0, 0, 0, 1]
    assert (batch["queries"].tolist(), batch["positives"].tolist()) == ([1], [0])
    assert batch["candidates"].tolist() == [2, 3]
    assert (batch["match_tokens"].tolist(), batch["match_labels"].tolist()) == ([4], [1])


@given(rows_of_tasks, st.booleans(), st.sampled_from([1, 4, 8]))
def test_every_text_is_there_once_and_whole(rows, packed, multiple):
    batch = collate(rows, packed=packed, multiple=multiple, **SETTINGS)

    assert batch["input_ids"].shape[1] % multiple == batch["labels"].shape[1] % multiple == 0
    assert len(batch["input_ids"]) == (1 if packed else len(rows))
    for number, (task, row) in enumerate(rows):
        line, segment = (0, number + 1) if packed else (number, 1)
        assert of_segment(batch, "input_ids", "segment_ids", line, segment) == row.source
        assert of_segment(batch, "labels", "decoder_segment_ids", line, segment) == row.target
        written = [1, *row.target[:-1]] if row.target else []
        assert of_segment(batch, "decoder_input_ids", "decoder_segment_ids", line, segment) == written
        assert set(of_segment(batch, "token_tasks", "decoder_segment_ids", line, segment)) <= {task}
    assert (batch["segment_ids"] > 0).sum() == sum(len(row.source) for _, row in rows)
    assert (batch["labels"] != UNKNOWN).sum() == sum(len(row.target) for _, row in rows)


@pytest.mark.parametrize("packed", [True, False])
def test_structure_and_labels_stand_where_their_text_does(packed):
    visible = np.array([[True, False], [True, True]])
    rows = [
        (0, Row([5, 6, 7], judgements={"quality": np.array([1, UNKNOWN])})),
        (1, Row([8, 9], positions=[3, 3], visible=visible, tags=np.array([1, 0]), edges=np.array([[0, 1, 1]]))),
    ]

    batch = collate(rows, packed=packed, **SETTINGS)

    first, second = 3, 4  # the second text follows, or begins the second row: the first is as long as both
    assert batch["input_ids"].flatten()[[first, second]].tolist() == [8, 9]
    assert batch["edges"].tolist() == [[first, second, 1]]
    assert batch["edge_tasks"].tolist() == [1]
    assert batch["tags"].flatten()[[first, second]].tolist() == [1, 0]
    assert (batch["tags"] != UNKNOWN).sum() == 2
    assert batch["quality_labels"].tolist() == [[1, UNKNOWN], [UNKNOWN, UNKNOWN]]
    assert batch["position_ids"].flatten()[:5].tolist() == [0, 1, 2, 3, 3]
    mask = batch["attention_mask"]
    line, start = (0, 3) if packed else (1, 0)
    assert torch.equal(mask[line, start : start + 2, start : start + 2], torch.from_numpy(visible))
    assert mask[0, :3, :3].all()
    assert mask.sum() == 9 + 3


def test_what_no_row_has_is_not_there():
    assert set(collate([(0, Row([5], [6]))], **SETTINGS)) == {
        *("input_ids", "segment_ids", "decoder_input_ids", "decoder_segment_ids", "labels", "token_tasks"),
        "text_tasks",
    }


def test_a_batch_that_writes_nothing_has_a_place_to_pad():
    batch = collate([(0, Row([5, 6], judgements={"security": np.array([0])}))], **SETTINGS)

    assert batch["decoder_input_ids"].tolist() == [[0]]
    assert batch["decoder_segment_ids"].tolist() == [[0]]
