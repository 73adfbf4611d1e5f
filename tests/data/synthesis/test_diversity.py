"""Programs are told apart by what they do, not by their names; one shape is in one split."""

from __future__ import annotations

import pytest

from elixir_coder.data.split import SPLITS
from elixir_coder.data.synthesis.diversity import Entropy, identity, shape, split_of

CODE = '''
defmodule Shop.Orders do
  @moduledoc "Orders."

  @doc """
  Adds up.

      iex> Shop.Orders.total([%{price: 3}])
      3
  """
  @spec total([map()]) :: integer()
  def total(orders) do
    orders |> Enum.filter(&(&1.price > 2)) |> Enum.map(fn order -> order.price end) |> Enum.sum()
  end
end
'''


@pytest.mark.parametrize(
    ("old", "new"),
    [("orders", "items"), ("total", "sum_of"), ("Shop.Orders", "Cart"), ("Adds up.", "Sums."), ("  def", "\n  def")],
)
def test_names_documentation_and_layout_do_not_matter(old: str, new: str):
    other = CODE.replace(old, new)
    assert other != CODE
    assert identity(other) == identity(CODE)
    assert shape(other) == shape(CODE)


@pytest.mark.parametrize(("old", "new"), [("> 2", "> 7"), ("price", "weight")])
def test_literals_and_fields_matter_to_a_program_but_not_to_its_shape(old: str, new: str):
    other = CODE.replace(old, new)
    assert identity(other) != identity(CODE)
    assert shape(other) == shape(CODE)


@pytest.mark.parametrize(("old", "new"), [("> 2", "< 2"), ("Enum.sum", "Enum.max"), ("fn order ->", "fn _ ->")])
def test_what_a_program_does_matters_to_its_shape(old: str, new: str):
    assert shape(CODE.replace(old, new)) != shape(CODE)


def test_the_formatter_does_not_change_a_shape():
    assert shape("def f(a), do: Enum.map(a, &(&1.b))") == shape("def f(a), do: Enum.map(a, & &1.b)")


def test_which_variable_is_used_matters():
    one = "defmodule A do\n  def f(a, b), do: a - b\nend\n"
    assert shape(one) != shape(one.replace("a - b", "b - a"))
    assert shape(one) == shape(one.replace("(a, b), do: a - b", "(x, y), do: x - y"))


def test_shapes_are_spread_over_the_splits():
    counts = [split_of(shape(f"def f(x), do: Enum.f{number}(x)")) for number in range(600)]
    shares = {split: counts.count(split) / 600 for split in SPLITS}
    assert 0.85 < shares["train"] < 0.95
    assert min(shares.values()) > 0.02


def test_entropy_counts_bits():
    entropy = Entropy(1)
    entropy.add("a b c d")
    assert (entropy.bits, entropy.distinct, entropy.total) == (2.0, 4, 4)
