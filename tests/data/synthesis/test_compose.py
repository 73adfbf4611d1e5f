"""Chains fit by their types, and each can be written in several styles."""

from __future__ import annotations

import random

import pytest

from elixir_coder.data.synthesis import render
from elixir_coder.data.synthesis.compose import Chain, draw_chain, start_of
from elixir_coder.data.synthesis.families import collections, numbers, pipelines, strings
from elixir_coder.data.synthesis.operations.higher import filter_by, map_by
from elixir_coder.data.synthesis.operations.plain import ROWS, operation_of
from elixir_coder.data.synthesis.render import Frame, call_with, split_pipe, written
from elixir_coder.data.synthesis.subjects import INTS, RECORDS, STRINGS

FAMILIES = pipelines.FAMILIES | collections.FAMILIES | strings.FAMILIES | numbers.FAMILIES


def chains(num: int) -> list[Chain]:
    found = []
    for number in range(num):
        rng = random.Random(number)
        start, argument = start_of(rng.choice([*INTS, *RECORDS, *STRINGS]), "list")
        if chain := draw_chain(rng, start, argument, rng.choice([2, 3])):
            found.append(chain)
    return found


def test_each_step_takes_what_the_one_before_gives():
    drawn = chains(200)
    assert len(drawn) > 150
    for chain in drawn:
        states = [chain.start, *(step.after for step in chain.steps)]
        assert [state.type for state in states[:-1]] == [step.before.type for step in chain.steps]


def test_no_step_undoes_what_the_one_before_did():
    pairs = {
        (one.split(":")[0], two.split(":")[0]) for chain in chains(400) for one, two in zip(chain.tags, chain.tags[1:])
    }
    assert not pairs & {("sort", "sum"), ("reverse", "sort"), ("uniq", "max"), ("filter", "filter"), ("take", "take")}


@pytest.mark.parametrize("name", FAMILIES)
def test_the_same_state_of_the_generator_gives_the_same_draft(name: str):
    one, other = (FAMILIES[name](random.Random(f"{name}3")) for _ in range(2))
    assert one == other
    assert one != FAMILIES[name](random.Random(f"{name}4"))


def test_a_pipe_is_split_where_it_is_one():
    code = 'Enum.map(&(&1 |> f() |> g())) |> then(fn x -> x |> h() end) |> Enum.join(" |> ")'
    assert split_pipe(code) == ["Enum.map(&(&1 |> f() |> g()))", "then(fn x -> x |> h() end)", 'Enum.join(" |> ")']


def test_a_single_call_takes_its_argument_without_a_pipe():
    assert call_with("Enum.sum()", "scores") == "Enum.sum(scores)"
    assert call_with("Enum.take(3)", "scores") == "Enum.take(scores, 3)"
    assert call_with("then(&(&1 == Enum.reverse(&1)))", "scores") == "scores == Enum.reverse(scores)"


def test_a_filter_a_mapping_and_a_sum_can_be_written_in_every_style():
    add_up = operation_of(next(row for row in ROWS if row.tag == "sum"))
    frame = Frame(module="Scores", function="total", about="Sums.", documentation="Adds up.")
    styles = set()
    for number in range(300):
        start, argument = start_of(INTS[0], "list")
        chain = draw_chain(random.Random(number), start, argument, 3, [(filter_by, 1), (map_by, 1), (add_up, 1)])
        if chain and [tag.split(":")[0] for tag in chain.tags] == ["filter", "map", "sum"]:
            styles |= {style for style in render.STYLES if written(chain, frame, style)}
    assert styles == set(render.STYLES)
