from dataclasses import replace

from elixir_coder.tasks.clarify import Clarify
from tests.tasks.given import random
from tests.tasks.supervised import CLARIFICATION, DIALOGUE, EXERCISE, read, setup_of


def texts_of(example, **settings):
    row = Clarify(setup_of(), **settings)(example, random(0))
    return read(row.source), read(row.target), row.judgements["clarification"].tolist()


def test_what_is_open_is_asked():
    assert texts_of(CLARIFICATION, answered=0.0) == ("<clarification>Write pick/1.</s>", "Which one?</s>", [1])


def test_with_its_answer_the_same_request_is_clear():
    assert texts_of(CLARIFICATION, answered=1.0) == (
        "<clarification>Write pick/1.\n\nWhich one?\n\nThe first.</s>",
        "ok</s>",
        [0],
    )


def test_an_exercise_leaves_nothing_open():
    assert texts_of(EXERCISE) == (
        "<clarification>Write `Books.last/1`, the author of the last book.</s>",
        "ok</s>",
        [0],
    )


def test_a_quarter_of_the_open_requests_come_with_their_answer():
    task = Clarify(setup_of())
    num_open = sum(int(task(CLARIFICATION, random(seed)).judgements["clarification"][0]) for seed in range(400))

    assert 270 < num_open < 330


def test_what_was_not_judged_open_or_clear_is_not_accepted():
    task = Clarify(setup_of())

    assert not task.accepts(DIALOGUE)
    assert not task.accepts(replace(CLARIFICATION, question=""))


def test_a_request_that_does_not_fit_is_left_out():
    assert Clarify(setup_of(source_length=10))(EXERCISE, random(0)) is None
