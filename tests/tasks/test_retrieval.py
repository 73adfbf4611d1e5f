from dataclasses import replace

from elixir_coder.tasks.retrieval import Match, Retrieve
from tests.tasks.given import random
from tests.tasks.supervised import (
    BARE,
    CHANGE,
    CLARIFICATION,
    DIALOGUE,
    EXERCISE,
    FUNCTION,
    LAST,
    VIOLATION,
    read,
    setup_of,
)

WRONG = LAST.replace(").author", ").title")


def retrieve(example, source_length=1024, **settings):
    row = Retrieve(setup_of(source_length), **settings)(example, random(0))
    return row and (read(row.source), [read(each) for each in row.candidates])


def match(example, seed=0, **settings):
    row = Match(setup_of(), **settings)(example, random(seed))
    return row and (read(row.source), read(row.target), row.match)


def test_a_request_is_to_find_its_code_and_not_the_faulty_twin():
    assert retrieve(EXERCISE, undocumented=0.0) == (
        "Write `Books.last/1`, the author of the last book.</s>",
        [LAST + "</s>", WRONG + "</s>"],
    )


def test_some_code_is_shown_without_the_documentation_that_repeats_the_request():
    bare = BARE.replace(").author", ").title")

    assert retrieve(EXERCISE, undocumented=1.0)[1] == [BARE + "</s>", bare + "</s>"]


def test_of_a_dialogue_the_program_before_the_last_request_is_wrong():
    assert retrieve(DIALOGUE) == (
        "Add 1.\n\nNow 4 more.</s>",
        ["def add(a), do: a + 5\n</s>", "def add(a), do: a + 1\n</s>"],
    )


def test_what_has_no_like_has_one_candidate():
    assert retrieve(FUNCTION) == ("Counts what is there.</s>", [FUNCTION.code + "</s>"])
    assert retrieve(CLARIFICATION)[1] == [CLARIFICATION.code + "</s>"]


def test_twins_that_differ_in_what_is_cut_are_one_candidate():
    _, candidates = retrieve(EXERCISE, len(setup_of().ids(EXERCISE.instruction)) + 1)

    assert len(candidates) == 1 and LAST.startswith(candidates[0].removesuffix("</s>"))


def test_a_request_that_does_not_fit_is_left_out():
    assert retrieve(EXERCISE, 20) is None


def test_right_and_wrong_code_are_matched_equally_often():
    rows = [match(EXERCISE, seed, undocumented=0.0) for seed in range(200)]
    request = "Write `Books.last/1`, the author of the last book.</s>"

    assert set(rows) == {(request, LAST + "</s>", 1), (request, WRONG + "</s>", 0)}
    assert 80 < sum(is_right for _, _, is_right in rows) < 120


def test_twins_that_differ_in_their_documentation_alone_match_nothing_without_it():
    example = replace(EXERCISE, before=LAST.replace("Small", "Large"))

    assert match(example, undocumented=1.0) is None
    assert match(example, undocumented=0.0)


def test_examples_without_wrong_code_are_not_matched_and_those_without_a_request_not_sought():
    setup = setup_of()

    assert not any(map(Match(setup).accepts, (FUNCTION, CLARIFICATION, VIOLATION, CHANGE)))
    assert not any(map(Retrieve(setup).accepts, (VIOLATION, CHANGE, replace(FUNCTION, instruction=""))))
