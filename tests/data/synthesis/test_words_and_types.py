"""Types unify as the tables of operations mean them, values are written as Elixir, and verbs are conjugated."""

from __future__ import annotations

import datetime
import random

import pytest

from elixir_coder.data.synthesis.phrasing import gerund, sequence, third
from elixir_coder.data.synthesis.types import Members, Name, Type, literal, parse, spec, substitute, unify


def test_a_variable_stands_for_one_type_in_all_places():
    bound: dict[str, Type] = {}
    assert unify(parse("map(a, [b])"), parse("map(str, [int])"), bound)
    assert substitute(parse("[{a, b?}]"), bound) == parse("[{str, int?}]")
    assert not unify(parse("{a, a}"), parse("{str, int}"), {})


@pytest.mark.parametrize(
    ("pattern", "given", "fits"), [("n", "int", True), ("n", "str", False), ("o", "str", True), ("o", "atom", False)]
)
def test_numbers_and_ordered_values_have_letters_of_their_own(pattern: str, given: str, fits: bool):
    assert unify(parse(pattern), parse(given), {}) is fits


def test_types_are_written_as_typespecs():
    assert spec(parse("map(atom, [int])")) == "%{optional(atom()) => [integer()]}"
    assert spec(parse("{str, float}?")) == "{String.t(), float()} | nil"
    assert spec(Type("order")) == "order()"


@pytest.mark.parametrize(
    ("value", "written"),
    [
        ({Name("id"): 1, Name("tags"): ["a"]}, '%{id: 1, tags: ["a"]}'),
        ({"a": None}, '%{"a" => nil}'),
        ((Name("ok"), True), "{:ok, true}"),
        (Members((1, 2)), "MapSet.new([1, 2])"),
        (datetime.date(2024, 2, 29), "~D[2024-02-29]"),
        ('say "#{x}"\n', '"say \\"\\#{x}\\"\\n"'),
    ],
)
def test_values_are_written_as_elixir(value: object, written: str):
    assert literal(value) == written


@pytest.mark.parametrize(
    ("verbs", "as_third", "as_gerund"),
    [
        ("~drop the rest", "drops the rest", "dropping the rest"),
        ("~square each", "squares each", "squaring each"),
        ("~multiply and ~search", "multiplies and searches", "multiplying and searching"),
        ("~capitalize it", "capitalizes it", "capitalizing it"),
    ],
)
def test_verbs_are_conjugated(verbs: str, as_third: str, as_gerund: str):
    assert (third(verbs), gerund(verbs)) == (as_third, as_gerund)


def test_clauses_stay_in_their_order():
    words = sequence(["sorts", "takes", "sums"], random.Random(1))
    assert words.index("sorts") < words.index("takes") < words.index("sums")
