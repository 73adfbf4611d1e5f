import argparse
from collections import Counter
from dataclasses import replace

import pytest

from elixir_coder.data.annotate import Annotate, add_parser
from elixir_coder.data.shards import read_shards, write_shards
from elixir_coder.example import Example

pytestmark = pytest.mark.elixir

CART = """defmodule Shop.Cart do
  @moduledoc "Was schön ist: a cart."
  use GenServer

  @callback price(item :: term()) :: integer()

  @impl true
  def init(_), do: {:ok, %{}}

  @impl true
  def handle_call({:add, item}, _from, state) when is_map(item) and map_size(item) > 0 do
    {:reply, :ok, total(Map.put(state, item.name, "ö" <> item.name))}
  end

  @spec label(String.t(), keyword()) :: atom()
  def label(text, opts \\\\ []), do: opts[:as] || String.to_atom(text)

  defp total(state) do
    sum = state |> Map.values() |> Enum.count()
    Map.put(state, :total, sum)
  end
end
"""
TOTAL = """  @spec total(map()) :: map()
  defp total(state) do
    sum = Enum.count(state)
    Map.put(state, :total, sum)
  end
"""


def example(code, **fields):
    return Example.of(
        code, **({"path": "lib/cart.ex", "package": "shop", "version": "1", "licence": "MIT", "source": "x"} | fields)
    )


@pytest.fixture(scope="module")
def annotate():
    step = Annotate()
    yield lambda *examples: step(list(examples), Counter())
    step.close()


@pytest.fixture(scope="module")
def cart(annotate):
    return annotate(example(CART))[0]


def written(example, span):
    return example.code[span.start : span.end]


class TestFile:
    def test_specs_guards_and_patterns_are_as_written(self, cart):
        assert cart.specs == ("label(String.t(), keyword()) :: atom()",)
        assert cart.guards == ("is_map(item) and map_size(item) > 0",)
        assert cart.patterns == ("{:add, item}",)

    def test_callbacks_are_those_that_it_declares_and_those_that_it_implements(self, cart):
        assert cart.callbacks == ("price(item :: term()) :: integer()", "GenServer.init/1", "GenServer.handle_call/3")

    def test_each_variable_is_where_it_stands_and_comes_from_where_it_was_bound(self, cart):
        assert all(written(cart, flow) == flow.name for flow in cart.flows)
        used = [flow for flow in cart.flows if flow.name == "item" and flow.sources]
        assert len(used) == 4  # two in the guard, two in the body: after a letter of two bytes, too
        (bound,) = {source for flow in used for source in flow.sources}
        assert cart.code[: cart.flows[bound].start].endswith("{:add, ")

    def test_variables_of_one_function_do_not_come_from_another(self, cart):
        total = cart.code.index("defp total")
        sums = [flow for flow in cart.flows if flow.name == "state" and flow.start > total]
        assert len(sums) == 3
        assert all(
            cart.flows[source].start > total for flow in cart.flows if flow.start > total for source in flow.sources
        )

    def test_triples_hang_on_the_words_they_are_about(self, cart):
        hung = {(written(cart, each), each.subject, each.predicate, each.object) for each in cart.triples}
        assert ("Shop.Cart", "Shop.Cart", "is a", "server") in hung
        assert ("handle_call", "Shop.Cart.handle_call/3", "calls", "Shop.Cart.total/1") in hung
        assert ("total", "Shop.Cart.total/1", "is called by", "Shop.Cart.handle_call/3") in hung
        assert ("GenServer", "GenServer", "gives the role", "server") in hung
        weakness = "atom exhaustion (CWE-400)"
        assert ("to_atom", "String.to_atom/1", "may be the weakness", weakness) in hung

    def test_the_text_follows_calls_further(self, cart):
        assert (
            "Shop.Cart.handle_call/3 implements GenServer.handle_call/3 and calls Map.put/3; total/1, which calls"
            in (cart.linearized)
        )

    def test_triples_and_text_are_kept_within_what_is_asked(self):
        step = Annotate(max_triples=3, max_chars=110)
        (short,) = step([example(CART)], Counter())
        step.close()
        assert len(short.triples) == 3
        assert short.linearized == (
            "Shop.Cart is a server, implements the behaviour GenServer and asks for Shop.Cart.price/1."
        )


class TestFunction:
    @pytest.fixture
    def total(self, annotate):
        return annotate(example(TOTAL, kind="function", name="Shop.Cart.total/1"))[0]

    def test_it_is_read_in_a_module_of_its_name_with_places_in_its_own_text(self, total):
        assert total.specs == ("total(map()) :: map()",)
        assert [(written(total, flow), flow.sources) for flow in total.flows] == [
            ("state", ()),
            ("sum", (2,)),
            ("state", (0,)),
            ("state", (0,)),
            ("sum", (1,)),
        ]
        assert {(written(total, each), each.subject) for each in total.triples} == {("total", "Shop.Cart.total/1")}
        assert total.linearized == "Shop.Cart.total/1 calls Enum.count/1 and Map.put/3."

    def test_a_function_without_a_name_is_read_too(self, annotate):
        (alone,) = annotate(example("def a(%{b: c}) when c > 0, do: c", kind="violation"))
        assert alone.patterns == ("%{b: c}",)
        assert [written(alone, flow) for flow in alone.flows] == ["c", "c", "c"]


def test_what_does_not_parse_goes_through_as_it_is(annotate):
    broken = example("defmodule A do\n  def (\nend")
    assert annotate(broken) == [broken]


def test_a_difficulty_that_is_given_is_kept(annotate):
    assert annotate(replace(example(CART), difficulty=2))[0].difficulty == 2


def test_more_to_get_right_is_more_difficult(annotate):
    plain = "defmodule A do\n  def a(b), do: b\nend"
    guarded = "defmodule A do\n  def a(b) when b > 0, do: a(b - 1)\n  def a(_), do: 0\nend"
    nested = guarded.replace(
        "do: 0",
        "do: (\n"
        + "".join(f"{'  ' * depth}case {depth} do\n{'  ' * depth} _ ->\n" for depth in range(2, 8))
        + "1\n"
        + "end\n" * 6
        + ")",
    )
    tiers = [each.difficulty for each in annotate(example(plain), example(guarded), example(nested), example(CART))]
    assert tiers == [1, 2, 4, 3]


def test_the_command_gives_the_same_corpus_whatever_the_number_of_workers(tmp_path, annotate, capsys):
    examples = [example(CART.replace("Shop", f"Shop{number}")) for number in range(3)]
    write_shards(tmp_path / "corpus", {"train": examples}, {})
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers())
    for workers in ("1", "2"):
        words = ["annotate", str(tmp_path / "corpus"), "--out", str(tmp_path / workers), "--workers", workers]
        args = parser.parse_args(words)
        assert args.run(args) == 0
        assert "difficulty: 3: 3" in capsys.readouterr().out
    assert list(read_shards(tmp_path / "1", "train")) == annotate(*examples)
    one, two = (next((tmp_path / workers).glob("train-*")).read_bytes() for workers in ("1", "2"))
    assert one == two
