import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.errors import InputError
from elixir_coder.evaluation.infill import (
    KINDS,
    MAX_LINES,
    MAX_SPAN,
    Hole,
    fill,
    sample,
    sample_holes,
    score,
    source_of,
)
from elixir_coder.evaluation.writing import Written
from elixir_coder.tasks.infill import Infill
from elixir_coder.tasks.row import SpecialTokens
from tests.evaluation.small import example_of


def short(text):
    return len(text) < 150


def test_the_same_seed_gives_the_same_holes(examples):
    holes = sample_holes(examples, 5, fits=short, seed=1)
    assert sample_holes(examples, 5, fits=short, seed=1) == holes
    assert sample_holes(examples, 5, fits=short, seed=2) != holes


def test_there_are_as_many_holes_of_each_kind_and_no_two_are_one(examples):
    holes = sample_holes(examples, 6, fits=short)
    assert [hole.kind for hole in holes] == [kind for kind in KINDS for _ in range(6)]
    assert len({(hole.kind, hole.example.path, hole.start) for hole in holes}) == len(holes)


def test_more_holes_of_a_kind_are_the_same_ones_and_others(examples):
    few, many = ([hole for hole in sample_holes(examples, n, fits=short) if hole.kind == "span"] for n in (3, 6))
    assert many[:3] == few


def test_a_hole_in_a_line_is_all_of_it_that_can_be_seen(examples):
    lines = {line.strip() for example in examples for line in example.code.splitlines()}
    holes = [hole for hole in sample_holes(examples, 99, fits=lambda text: True) if hole.kind == "line"]
    assert {hole.text for hole in holes} == {line for line in lines if len(line) >= 8}


def test_a_hole_of_lines_has_two_to_eight_and_begins_and_ends_with_what_can_be_seen(examples):
    holes = [hole for hole in sample_holes(examples, 99, fits=lambda text: True) if hole.kind == "lines"]
    assert {hole.text.count("\n") + 1 for hole in holes} <= set(range(2, MAX_LINES + 1))
    assert all(hole.text == hole.text.strip() for hole in holes)
    assert all(hole.example.code[: hole.start].rpartition("\n")[2].strip() == "" for hole in holes)
    assert all(re.match(r"[ \t]*(\n|\Z)", hole.example.code[hole.end :]) for hole in holes)


def test_a_hole_of_any_characters_is_never_blank_and_never_longer_than_the_limit(examples):
    holes = [hole for hole in sample_holes(examples, 99, fits=lambda text: True) if hole.kind == "span"]
    assert all(0 < len(hole.text) <= MAX_SPAN and hole.text.strip() for hole in holes)
    assert any(hole.example.code[hole.start - 1].isalpha() and hole.text[0].isalpha() for hole in holes)


def test_holes_that_do_not_fit_are_left_out(examples):
    assert all(len(hole.text) < 30 for hole in sample_holes(examples, 20, fits=lambda text: len(text) < 30))


def test_files_without_a_line_to_take_out_are_an_error():
    with pytest.raises(InputError, match="no line of eight characters"):
        sample_holes([example_of("end\n\n  )\n")], 3, fits=short)


@pytest.fixture(scope="module")
def special(tokenizer):
    return SpecialTokens.of(tokenizer)


def test_the_encoder_reads_both_sides_of_the_hole(tokenizer, special, examples):
    for hole in sample_holes(examples, 4, fits=short):
        source = source_of(hole, tokenizer, Infill(special, 512, 64))
        before, after = hole.example.code[: hole.start], hole.example.code[hole.end :]
        assert tokenizer.decode(source) == f"<fim_prefix>{before}<fim_suffix>{after}<fim_middle></s>"


@given(st.integers(0, 60), st.integers(0, 60), st.integers(8, 40))
def test_a_source_keeps_what_is_nearest_to_the_hole_and_fills_its_room(tokenizer, special, before, after, length):
    code = "".join(f"{number}\n" for number in range(1000, 1000 + before + 1 + after))
    hole = Hole("line", example_of(code), 5 * before, 5 * before + 4)
    source = source_of(hole, tokenizer, Infill(special, length, 16))
    assert len(source) <= length
    text = tokenizer.decode(source)
    shown_before, shown_after = re.fullmatch(
        r"<fim_prefix>(.*)<fim_suffix>(.*)<fim_middle></s>", text, re.DOTALL
    ).groups()
    assert code[: hole.start].endswith(shown_before)
    assert code[hole.end :].startswith(shown_after)
    if len(source) < length:
        assert (shown_before, shown_after) == (code[: hole.start], code[hole.end :])


def test_a_models_answers_are_as_many_as_the_holes(model, tokenizer, examples):
    holes = sample_holes(examples, 2, fits=short)
    written = fill(model, tokenizer, holes, source_length=64, max_new_tokens=8, batch_size=4)
    assert len(written) == len(holes)
    assert fill(model, tokenizer, holes, source_length=64, max_new_tokens=8, batch_size=4) == written


def test_the_score_counts_exact_answers_and_nearness(examples):
    code = "alpha = 1\nbeta = 22\n"
    holes = [Hole("line", example_of(code), 0, 9), Hole("line", example_of(code), 10, 19)]
    scored = score(holes, [Written("alpha = 1\n", True), Written("beta = 2", False)])
    assert (scored.n, scored.exact_match, scored.finished) == (2, 0.5, 0.5)
    assert scored.edit_similarity == pytest.approx((1 + 8 / 9) / 2)
    assert scored.exact_match_interval == pytest.approx((0.0945, 0.9055), abs=1e-4)


def test_a_sample_shows_the_hole_and_what_came():
    code = "one\ntwo\nthree\nfour = 4\nfive\nsix\nseven\n"
    shown = sample(Hole("line", example_of(code), 14, 22), Written("four = 5", True))
    assert shown == {
        "kind": "line",
        "package": "a",
        "path": "lib/a.ex",
        "before": "one\ntwo\nthree\n",
        "expected": "four = 4",
        "written": "four = 5",
        "after": "\nfive\nsix\n",
    }
