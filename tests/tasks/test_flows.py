from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.checkpoint import load_tokenizer
from elixir_coder.tasks.flows import FlowAlignment, FlowEdges, graph_of
from elixir_coder.tasks.row import MIN_SOURCE_LENGTH
from tests.evaluation import small
from tests.tasks.annotated_code import (
    ADD,
    ADD_EXAMPLE,
    TOKENIZER,
    annotated_examples,
    check_shape,
    example_of,
    flows_of,
    same,
    setup_of,
)
from tests.tasks.given import random, seeds

TASKS = (FlowEdges, FlowAlignment)
source_lengths = st.integers(MIN_SOURCE_LENGTH, 120)


def word(row, place):
    return TOKENIZER.decode([row.source[place]])


def seen(row):
    """For each variable of the row, by its number, what it sees: numbers of variables, and words of the code."""
    num_code = row.positions.index(0)
    sees = {}
    for node in range(num_code, len(row.source)):
        places = [int(place) for place in np.flatnonzero(row.visible[node]) if place != node]
        sees[node - num_code] = [
            place - num_code if place >= num_code else f"{word(row, place)} at {place}" for place in places
        ]
    return sees


# def add(queue, item) do  back = [item | queue.back]  Queue.put(queue, :back, back) end
#         0      1         2       3      4                      5             6
WRITTEN_AS = ["queue at 5", " item at 7", " back at 11", "item at 14", " queue at 16", "queue at 26", " back at 32"]
COMES_FROM = [[], [], [3, 4], [1], [0], [0], [2]]


def test_the_variables_stand_behind_the_code_and_see_where_they_come_from():
    row = FlowEdges(setup_of(), share=0.01)(ADD_EXAMPLE, random(0))

    assert TOKENIZER.decode(row.source) == f"<code>{ADD}</s>" + "queueitembackitemqueuequeueback"
    assert row.positions == [*range(1, 39), 0, 0, 0, 0, 0, 0, 0]
    hidden = {(number, source) for number, sources in enumerate(COMES_FROM) for source in sources}
    hidden -= {(number, source) for number, sources in seen(row).items() for source in sources}
    asked = [(a - 38, b - 38, label) for a, b, label in row.edges.tolist()]
    assert hidden == {(5, 0)}  # with one variable taken, its connections are the only ones gone
    assert asked == [(5, 0, 1), (5, 4, 0)]
    assert [each[0] for each in seen(row).values()] == WRITTEN_AS


def test_the_alignment_asks_which_tokens_a_variable_is_written_as():
    row = FlowAlignment(setup_of(), share=0.01)(ADD_EXAMPLE, random(0))

    assert seen(row) == {
        number: [*([] if number == 5 else [WRITTEN_AS[number]]), *COMES_FROM[number]] for number in range(7)
    }
    assert [(a - 38, f"{word(row, b)} at {b}", label) for a, b, label in row.edges.tolist()] == [
        (5, "queue at 26", 1),
        (5, "pu at 23", 0),
    ]


def test_a_fifth_of_the_variables_lose_all_their_connections():
    code = " + ".join(["value"] * 30)
    flows = flows_of(code, ("value", 0), *(("value", number, number - 1) for number in range(1, 30)))
    for task, kept in ((FlowEdges, 0), (FlowAlignment, 1)):
        row = task(setup_of(256))(example_of(code, flows=flows), random(0))
        num_code = row.positions.index(0)
        positive = {a for a, _, label in row.edges.tolist() if label} | {
            b for _, b, label in row.edges.tolist() if label
        }
        nodes = [place for place in positive if place >= num_code]
        assert (len(nodes) == 6) == bool(kept)  # an edge has two ends, an alignment one
        assert not any(row.visible[a, b] or row.visible[b, a] for a, b, _ in row.edges.tolist())


def test_the_variables_take_a_quarter_of_the_row_at_most():
    code = ",".join(["a"] * 100)
    flows = flows_of(code, *(("a", number) for number in range(100)))
    graph = graph_of(setup_of(64), example_of(code, flows=flows), random(0))

    assert (graph.num_code, len(graph.source)) == (48, 64)


def test_a_graph_without_a_connection_that_could_be_missing_gives_no_row():
    code = "def f(a), do: a"
    example = example_of(code, flows=flows_of(code, ("a", 0), ("a", 1, 0)))

    assert not FlowEdges(setup_of()).accepts(example)
    assert FlowEdges(setup_of())(example, random(0)) is None
    assert not FlowAlignment(setup_of()).accepts(example_of(code))


def test_a_variable_of_several_tokens_sees_them_all_and_the_shipped_tokens_may_hold_more_than_it():
    shipped = load_tokenizer(Path(__file__).parents[2])
    code = "def run(filtered_nodes), do: filtered_nodes"
    flows = flows_of(code, ("filtered_nodes", 0), ("filtered_nodes", 1, 0))
    graph = graph_of(setup_of(tokenizer=shipped), example_of(code, flows=flows), random(0))

    of_first = [token for node, token in graph.written_as.tolist() if node == graph.num_code]
    assert "filtered_nodes" in shipped.decode([graph.source[token] for token in of_first])
    assert len(of_first) > 1


@given(annotated_examples(), source_lengths, st.sampled_from(TASKS), seeds)
def test_rows_keep_to_the_contract_and_to_the_seed(example, source_length, task, seed):
    setup = setup_of(source_length)
    row = task(setup)(example, random(seed))

    if row:
        check_shape(row, setup)
        assert same(row, task(setup)(example, random(seed)))


@given(annotated_examples(), source_lengths, seeds)
def test_every_variable_of_a_graph_is_written_whole_in_its_code(example, source_length, seed):
    graph = graph_of(setup_of(source_length), example, random(seed))

    assert len(graph.source) <= source_length
    written = {node: [] for node in range(graph.num_code, len(graph.source))}
    for node, token in graph.written_as.tolist():
        assert 1 <= token < graph.num_code - 1
        written[node].append(graph.source[token])
    names = {flow.name for flow in example.flows}
    assert all(TOKENIZER.decode(tokens).strip() in names for tokens in written.values())


@given(annotated_examples(), source_lengths, st.sampled_from(TASKS), seeds)
def test_code_sees_code_and_a_variable_and_its_tokens_see_each_other(example, source_length, task, seed):
    row = task(setup_of(source_length))(example, random(seed))

    if row:
        num_code = row.positions.index(0)
        inner = slice(1, num_code - 1)  # between <code> and </s>, which see all
        assert row.visible[:num_code, :num_code].all()
        assert row.visible[[0, num_code - 1]].all()
        assert (row.visible[inner, num_code:] == row.visible[num_code:, inner].T).all()
        assert not row.visible[num_code:, [0, num_code - 1]].any()


@given(annotated_examples(), source_lengths, st.sampled_from(TASKS), seeds)
def test_what_is_asked_is_hidden_balanced_and_true(example, source_length, task, seed):
    setup = setup_of(source_length)
    row = task(setup)(example, random(seed))

    if row:
        graph = graph_of(setup, example, random(seed))
        true = {frozenset(pair) for pair in (graph.comes_from if task is FlowEdges else graph.written_as).tolist()}
        pairs = [frozenset((a, b)) for a, b, _ in row.edges.tolist()]
        assert [pair in true for pair in pairs] == [bool(label) for label in row.edges[:, 2]]
        assert row.edges[:, 2].mean() == 0.5
        assert all(a > b for a, b, _ in row.edges.tolist())
        assert not any(
            row.visible[a, b] or (b >= row.positions.index(0) and row.visible[b, a]) for a, b, _ in row.edges
        )


@pytest.mark.parametrize("task", TASKS)
def test_the_encoder_reads_a_row_and_only_what_is_visible_changes_a_variable(task):
    model = small.small_model(TOKENIZER)
    row = task(setup_of())(ADD_EXAMPLE, random(0))
    node = len(row.source) - 1
    unseen = int(np.flatnonzero(~row.visible[node] & (np.arange(len(row.source)) < 38))[3])

    def states(source):
        with torch.no_grad():
            return model.get_encoder()(
                input_ids=torch.tensor([source]),
                attention_mask=torch.from_numpy(row.visible)[None],
                position_ids=torch.tensor([row.positions]),
            ).last_hidden_state[0]

    changed = list(row.source)
    changed[unseen] += 1
    before, after = states(row.source), states(changed)
    assert torch.isfinite(before).all()
    assert torch.equal(before[node], after[node])  # one layer: nothing comes round another way
    assert not torch.equal(before[0], after[0])
