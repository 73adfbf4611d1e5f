from dataclasses import replace

from elixir_coder.tasks.generate import Generate
from tests.tasks.given import random
from tests.tasks.supervised import CHANGE, CLARIFICATION, DIALOGUE, EXERCISE, FUNCTION, MODULE, read, setup_of


def texts_of(example, **lengths):
    row = Generate(setup_of(**lengths))(example, random(0))
    return row and (read(row.source), read(row.target))


def test_an_instruction_becomes_code():
    assert texts_of(EXERCISE) == (
        "<code>Write `Books.last/1`, the author of the last book.</s>",
        EXERCISE.code + "</s>",
    )


def test_an_open_request_has_question_and_answer_behind_it():
    assert texts_of(CLARIFICATION) == (
        "<code>Write pick/1.\n\nWhich one?\n\nThe first.</s>",
        "def pick(list), do: hd(list)\n</s>",
    )


def test_the_documentation_of_a_function_stands_for_an_instruction():
    assert texts_of(FUNCTION) == (
        "<code>Counts what is there.</s>",
        "@spec size(list) :: integer\ndef size(list), do: length(list)\n</s>",
    )


def test_long_code_is_written_as_far_as_there_is_room_and_a_long_request_is_left_out():
    target = Generate(setup_of(target_length=10))(FUNCTION, random(0)).target

    assert len(target) == 10
    assert FUNCTION.code.startswith(read(target))
    assert texts_of(EXERCISE, source_length=20) is None


def test_what_asks_for_no_single_piece_of_code_is_not_accepted():
    task = Generate(setup_of())

    assert not any(map(task.accepts, (CHANGE, DIALOGUE, MODULE, replace(FUNCTION, instruction=""))))
