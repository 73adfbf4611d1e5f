import re
from collections import Counter
from random import Random

import pytest

from elixir_coder.data.inject import attempt_at, pieces_of
from elixir_coder.data.injections import RULES, UNREACHABLE, Piece
from elixir_coder.data.injections.rule import with_helper
from elixir_coder.data.injections.templates import groups
from elixir_coder.data.injections.words import Words, draw, nouns_of, plural, singular
from elixir_coder.example import Example
from elixir_coder.toolchain.checks.labels import QUALITY_LABELS, SECURITY_LABELS
from elixir_coder.toolchain.toolchain import Toolchain

SHOP = """defmodule Shop.Cart do
  @moduledoc "What a customer is going to buy."

  @max_items 20

  @doc "The price of all items, with tax."
  @spec total([map()], number()) :: {:ok, number()} | :empty
  def total(items, tax_rate) do
    priced = Enum.reject(items, &is_nil(&1.price))
    sum = priced |> Enum.map(& &1.price) |> Enum.sum()

    if sum > 0 do
      {:ok, sum * (1 + tax_rate)}
    else
      :empty
    end
  end

  def label(items, opts) do
    joiner = Keyword.get(opts, :joiner, ", ")

    items
    |> Enum.filter(&valid?(&1, @max_items))
    |> Enum.sort_by(& &1.name)
    |> Enum.map_join(joiner, & &1.name)
  end

  defp valid?(%{amount: amount} = item, most) do
    case Map.fetch(item, :name) do
      {:ok, name} -> name != "" and amount < most
      :error -> false
    end
  end

  def fetch(cart, key) do
    if is_nil(cart), do: raise(ArgumentError)

    with {:ok, item} <- Map.fetch(cart, key),
         {:ok, price} <- Map.fetch(item, :price) do
      {item, price}
    end
  end

  def open(path) do
    File.read!(path)
  rescue
    error -> {:error, error}
  end
end
"""
FILE = Example.of(SHOP, path="lib/shop/cart.ex", package="shop", version="1", licence="MIT", source="folder")


@pytest.fixture(scope="module")
def attempts():
    """Up to three faults by each rule, in pieces of the shop."""
    origins = list(pieces_of(FILE))
    found = {}
    for rule in RULES:
        random = Random(rule.name)
        fitting = [origin for origin in origins if origin.piece.kind in rule.takes]
        tried = (attempt_at(rule, origin, random) for _ in range(4) for origin in fitting)
        found[rule.name] = [attempt for _, attempt in zip(range(3), filter(None, tried))]
    return found


def test_every_label_has_a_rule_or_a_reason():
    labels = {*QUALITY_LABELS, *SECURITY_LABELS}
    with_rule = {rule.check for rule in RULES}
    assert with_rule | UNREACHABLE.keys() == labels
    assert not with_rule & UNREACHABLE.keys()


def test_rules_have_names_of_their_own():
    assert [name for name, count in Counter(rule.name for rule in RULES).items() if count > 1] == []


def test_every_label_is_written_into_a_short_module(attempts):
    written = {attempt.rule.check for found in attempts.values() for attempt in found}
    assert {rule.check for rule in RULES} - written == set()


@pytest.mark.elixir
def test_both_twins_are_elixir_and_differ(attempts):
    listed = [attempt for found in attempts.values() for attempt in found]
    texts = [text for attempt in listed for text in (attempt.fault.code, attempt.fault.before)]
    with Toolchain() as toolchain:
        reports = list(toolchain.map("parse", texts))
    wrong = [listed[number // 2].rule.name for number, report in enumerate(reports) if not report.ok]
    assert wrong == []
    assert all(attempt.fault.code != attempt.fault.before for attempt in listed)


def test_a_diagnosis_speaks_of_what_stands_there(attempts):
    for found in attempts.values():
        for attempt in found:
            assert len(attempt.diagnosis) > 20, attempt.rule.name
            assert not re.search(r"\$[a-z]", attempt.diagnosis), attempt.rule.name
            quoted = re.findall(r"`([^`]+)`", attempt.diagnosis)
            assert (
                quoted
                or attempt.rule.check.startswith("Con")
                or "CWE" in attempt.diagnosis
                or len(attempt.rule.says) > 1
            )


def test_a_vulnerability_is_told_with_its_weakness():
    for rule in RULES:
        if not rule.check.startswith("Credo."):
            assert all("CWE-" in told for told in rule.says), rule.name


def test_the_same_draw_gives_the_same_fault():
    origins = list(pieces_of(FILE))
    for rule in RULES:
        for origin in origins[:3]:
            if origin.piece.kind in rule.takes:
                one, two = (attempt_at(rule, origin, Random(7)) for _ in range(2))
                assert one == two, rule.name


def test_templates_are_read_as_they_are_written():
    group = next(groups("pipelines"))
    assert (group.check, group.name) == ("Refactor.FilterCount", "filter_then_count")
    assert group.pairs[0] == (
        "$items |> Enum.filter($predicate) |> Enum.count()",
        "Enum.count($items, $predicate)",
    )
    assert len(group.says) == 2 and all(told.endswith(".") for told in group.says)
    note = next(groups("leftovers"))
    assert note.pairs[0] == ("IO.inspect($x)", "")


def test_words_come_from_the_names_of_the_code():
    nouns = nouns_of(
        "def total(cart, tax_rate) do\n  # nothing of this comment\n  Shop.Item.price(cart, tax_rate)\nend\n"
    )
    assert nouns == ["cart", "rate", "shop"]
    assert len(set(draw(Random(0), nouns, 6))) == 6
    assert [plural(word) for word in ("box", "entry", "item")] == ["boxes", "entries", "items"]
    assert [singular(word) for word in ("boxes", "entries", "items")] == ["box", "entry", "item"]


def test_a_helper_stands_inside_of_the_module():
    piece = Piece(code=SHOP, kind="module", path="", module="Shop.Cart", package="")
    out = with_helper(piece, "def a do\n  1\nend", Random(1))
    assert "\n\n  def a do\n    1\n  end\n" in out and out.endswith("  end\nend\n")
    assert Words(piece, Random(0))["app"] == "shop"
