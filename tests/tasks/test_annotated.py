from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.tasks.annotated import Annotated, AnnotatedText
from elixir_coder.tasks.row import MIN_SOURCE_LENGTH, MIN_TARGET_LENGTH
from tests.evaluation import small
from tests.tasks.annotated_code import (
    ADD,
    ADD_EXAMPLE,
    TOKENIZER,
    annotated_examples,
    check_shape,
    example_of,
    same,
    setup_of,
    triple,
)
from tests.tasks.given import random, seeds

TASKS = (AnnotatedText, Annotated)
CALLS = example_of(ADD, triples=(triple(ADD, "add/2", "calls", "Queue.put/3", "add"),))
CALLS_AND_TEXT = replace(CALLS, linearized="add/2 calls Queue.put/3.")


def test_what_is_known_hangs_on_its_word_and_the_code_goes_on_beside_it():
    row = Annotated(setup_of())(CALLS, random(1))

    assert TOKENIZER.decode(row.source) == "<code>def add calls Queue.put/3(queue, item) do\n  back</s>"
    assert TOKENIZER.decode(row.target) == " = [item | queue.back]\n  Queue.put(queue, :back, back)\nend\n</s>"
    assert row.positions == [
        *(0, 1, 2, 3),  # <code> def _ad d
        *(4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15),  # calls Queue.put/3, one letter a token
        *(4, 5, 6, 7, 8, 9, 10, 11, 12),  # (queue, item) do \n _back </s>
    ]


def test_only_its_word_and_itself_see_what_is_known():
    row = Annotated(setup_of())(CALLS, random(1))
    add, known, code = {2, 3}, {*range(4, 16)}, {*range(4), *range(16, 25)}

    for at in range(25):
        sees = set(np.flatnonzero(row.visible[at]).tolist())
        assert sees == (add | known if at in known else code | known if at in add else code)


def test_sentences_stand_in_front_of_the_code():
    row = AnnotatedText(setup_of())(ADD_EXAMPLE, random(0))

    source, target = TOKENIZER.decode(row.source), TOKENIZER.decode(row.target)
    known, prefix = source.split("<file_sep>")
    assert known == "<code>Shop.Queue.add/2 calls Queue.put/3. Queue.put/3 performs a write."
    assert prefix.removesuffix("</s>") + target == f"{ADD}</s>"


def test_sentences_that_do_not_fit_are_left_out_whole():
    row = AnnotatedText(setup_of(70))(ADD_EXAMPLE, random(0))

    assert TOKENIZER.decode(row.source).startswith("<code>Shop.Queue.add/2 calls Queue.put/3.<file_sep>")
    assert AnnotatedText(setup_of(30))(ADD_EXAMPLE, random(0)) is None


def test_what_the_rest_is_about_is_not_told():
    known_of_put = replace(CALLS, triples=(*CALLS.triples, triple(ADD, "Queue.put/3", "causes", "write", "put")))
    rows = [Annotated(setup_of())(known_of_put, random(seed)) for seed in range(200)]

    told = [" causes write" in TOKENIZER.decode(row.source) for row in rows]
    targets = [TOKENIZER.decode(row.target) for row in rows]
    assert told == [not ("put(" in target or target.startswith("t(")) for target in targets]
    assert {*told} == {True, False} and any(target.startswith("t(") for target in targets)  # "put" is cut in two


@pytest.mark.parametrize("task", TASKS)
def test_the_code_is_cut_early_more_often_than_late(task):
    targets = [len(task(setup_of())(CALLS_AND_TEXT, random(seed)).target) for seed in range(300)]

    assert np.median(targets) > 0.6 * max(targets)
    assert min(targets) < 0.1 * max(targets)


def test_nothing_known_gives_no_row():
    nowhere = replace(CALLS, triples=(replace(CALLS.triples[0], start=-1, end=-1),))

    assert not Annotated(setup_of()).accepts(nowhere)
    assert not AnnotatedText(setup_of()).accepts(CALLS)
    assert Annotated(setup_of(12))(CALLS, random(0)) is None  # the branch alone is longer


@given(
    annotated_examples(),
    st.sampled_from(TASKS),
    st.integers(MIN_SOURCE_LENGTH, 90),
    st.integers(MIN_TARGET_LENGTH, 60),
    seeds,
)
def test_rows_keep_to_the_contract_and_to_the_seed(example, task, source_length, target_length, seed):
    setup = setup_of(source_length, target_length)
    row = task(setup)(example, random(seed))

    if row:
        check_shape(row, setup)
        assert row.target and same(row, task(setup)(example, random(seed)))


@given(annotated_examples(), st.integers(MIN_SOURCE_LENGTH, 90), seeds)
def test_the_target_goes_on_where_the_code_of_the_source_stops(example, source_length, seed):
    row = Annotated(setup_of(source_length))(example, random(seed))

    if row:
        assert (row.visible == row.visible.T).all()
        read = [token for at, token in enumerate(row.source) if row.visible[at, 0]][1:-1]
        whole = setup_of().ids(example.code)
        assert row.target[-1] == setup_of().special.eos
        assert [*read, *row.target[:-1]] == whole[len(whole) - len(read) - len(row.target) + 1 :]


@pytest.mark.parametrize("task", TASKS)
def test_the_model_trains_on_a_row(task):
    model = small.small_model(TOKENIZER)
    row = task(setup_of())(ADD_EXAMPLE, random(0))
    given = {"attention_mask": torch.ones(1, len(row.source))}
    if row.visible is not None:
        given = {"attention_mask": torch.from_numpy(row.visible)[None], "position_ids": torch.tensor([row.positions])}
    encoded = model.get_encoder()(input_ids=torch.tensor([row.source]), **given)
    loss = model(encoder_outputs=encoded, labels=torch.tensor([row.target])).loss
    loss.backward()

    assert torch.isfinite(loss)
    assert model.get_encoder().layers[0].fc1.weight.grad.abs().sum() > 0
