"""Each entry point of the grammar takes what belongs there and little else, and Elixir's parser takes it too."""

import random

import pytest

from benchmarks.elixir_pieces import PIECES, mutants, tokens_of
from decoding_elixir_coder import accepts
from elixir_coder.toolchain.toolchain import Toolchain
from grammar_elixir_coder import MODES, STARTS, frame

TEST_FILE = """Code.require_file("helper.exs", __DIR__)

defmodule Shop.Fake do
  def price(_), do: 1
end

defmodule Shop.CartTest do
  use ExUnit.Case, async: true
  import Shop.Cart
  @moduletag :capture_log

  setup %{article: article} do
    {:ok, cart: add(new(), article)}
  end

  describe "total/1" do
    test "sums what is in the cart", %{cart: cart} do
      assert total(cart) == 2
    end
  end

  defp two, do: 2
end
"""
MODULE = '''defmodule Shop.Cart do
  @moduledoc """
  Keeps what a buyer has put aside.
  """
  use GenServer
  alias Shop.{Article, Price}

  @type t :: %__MODULE__{items: %{optional(atom) => pos_integer}, owner: pid | nil}
  @type change :: (t, keyword -> {:ok, t} | :error)
  defstruct [:owner, items: %{}]

  @doc "Puts an article aside."
  @spec add(t, atom, pos_integer) :: t
  def add(cart, article, count \\\\ 1)

  def add(%__MODULE__{items: items} = cart, article, count) when is_atom(article) and count > 0 do
    %{cart | items: Map.update(items, article, count, &(&1 + count))}
  end

  for name <- [:apple, :pear] do
    def unquote(name)(), do: unquote(name)
  end

  def total(%{items: items}) do
    items
    |> Enum.map(fn
      {_, count} when count > 9 -> count
      {article, count} -> Price.of(article) * count
    end)
    |> Enum.sum()
  end

  def handle_info(message, state) do
    case message do
      {:add, article} -> {:noreply, add(state, article)}
      <<length::8, rest::binary-size(length)>> -> {:noreply, rest, state}
      [^state | _] = all -> {:stop, "got #{length(all)}", state}
      _ -> {:noreply, state}
    end
  rescue
    error in ArgumentError -> {:stop, error, state}
  end
end
'''
BELONGS = {
    "file": [MODULE, TEST_FILE, "", "# nothing yet\n", "x = 1"],
    "module_body": [
        "use GenServer\nalias A.{B, C}\nimport Bitwise, only: [band: 2]\nrequire Logger",
        "@doc false\ndef f(x), do: x\n\ndefmodule Inner do\nend",
        'names = ["a", "b"]\n\nfor name <- names do\n  def unquote(name)(), do: 1\nend',
        'Record.defrecord(:point, x: 0, y: 0)\nfield :name, :string\nschema "a" do\n  field :b\nend',
    ],
    "function": [
        "def f, do: 1",
        "defp f(0), do: 1\n\ndefp f(n) when n > 0 do\n  n * f(n - 1)\nend",
        '# Adds.\n@doc """\nAdds.\n"""\n@spec add(term, term) :: term\ndef add(a, b \\\\ 1)\ndef add(a, b), do: a',
        "defmacro unless(condition, do: block) do\n  quote do: if(!unquote(condition), do: unquote(block))\nend",
        "@impl true\ndef a + b, do: plus(a, b)",
        "def f do\n  1\nrescue\n  _ -> 2\nafter\n  3\nend",
    ],
    "expression": [
        "x = 1\nx + 1",
        "case x do\n  1 -> :one\n  _ -> :many\nend",
        "f x, y: 1",
        "Enum.map(list, & &1.name)",
    ],
    "test_file": [TEST_FILE, 'defmodule ATest do\n  use MyApp.DataCase\n\n  test "a" do\n    assert true\n  end\nend'],
    "pattern": [
        "_",
        "{:ok, [first | _] = all}",
        '%{"id" => id, size: size} = map',
        "%User{name: ^name}",
        "%module{}",
        "x when x in [1, 2] or is_nil(x)",
        '"GET " <> path',
        "<<0x1F, length::16-little, text::binary-size(length), _::bits>>",
        "error in [ArgumentError, KeyError]",
        "-1..1",
        "~w(a b)a",
        "@default",
    ],
    "typespec": [
        "integer",
        "{:ok, String.t()} | {:error, reason :: term}",
        "%{required(:id) => pos_integer, optional(atom) => any}",
        "%__MODULE__{name: binary | nil}",
        "(-> any)",
        "(integer, [t(a), ...] -> <<_::8, _::_*16>>)",
        "(... -> :erl_types.t())",
        "0..255 | -1",
        "[key: value] when key: atom, value: var",
    ],
}
DOES_NOT_BELONG = {  # in strict
    "file": ["x = ", "def f(x) do", "f(a, b c, d)"],
    "module_body": ["1 + 1", ":ok", "name", "[1, 2]", '"text"', "fn -> 1 end", "a |> b()", "@name", "-x"],
    "function": [
        "@doc false",
        "x = 1",
        "defmodule A do\nend",
        "f(x)",
        "use GenServer",
        "def f, do: 1\nf()",
        "def 1, do: 2",
    ],
    "expression": ["end", "x = 1)", "-> 1"],
    "test_file": ["defmodule ATest do\nend", "use ExUnit.Case", "x = 1"],
    "pattern": [
        "f(x)",
        "A.f()",
        "fn -> 1 end",
        "case x do\n 1 -> 2\nend",
        "a, b",
        "x + 1",
        "a |> b",
        "x when",
        "&1",
        "if x, do: y",
    ],
    "typespec": ["1 + 1", "fn -> 1 end", "a -> b", "a, b", "if x, do: y", '"text"', "x = 1", "case x do\nend"],
}


@pytest.fixture(scope="module")
def toolchain():
    with Toolchain() as toolchain:
        yield toolchain


@pytest.mark.parametrize("start", STARTS)
def test_what_people_write_there_is_taken_in_both_modes(start):
    assert [(mode, text) for mode in MODES for text in BELONGS[start] if not accepts(text, mode, start)] == []


@pytest.mark.parametrize("start", STARTS)
def test_what_has_no_meaning_there_is_refused_in_strict_mode(start):
    assert [text for text in DOES_NOT_BELONG[start] if accepts(text, "strict", start)] == []


def test_a_function_is_definitions_in_both_modes():
    for text in DOES_NOT_BELONG["function"][:-1]:
        assert not accepts(text, "accept", "function"), text


@pytest.mark.elixir
@pytest.mark.parametrize("start", STARTS)
def test_the_frame_makes_a_file_of_it(start, toolchain):
    before, after = frame(start)
    texts = BELONGS[start]
    reports = toolchain.map("parse", (before + text + after for text in texts))
    assert [text for text, report in zip(texts, reports) if not report.ok] == []


@pytest.mark.parametrize("start", sorted(PIECES))
def test_pieces_of_a_module_are_taken_in_both_modes(start):
    pieces = list(PIECES[start](MODULE))

    assert len(pieces) == {"module_body": 1, "function": 4, "expression": 2, "pattern": 7, "typespec": 3}[start]
    assert [(mode, piece) for mode in MODES for piece in pieces if not accepts(piece, mode, start)] == []


@pytest.mark.elixir
@pytest.mark.parametrize("start", ["file", "function", "pattern", "typespec"])
def test_mutants_that_elixir_refuses_are_refused_in_both_modes(start, toolchain):
    chance = random.Random(start)
    units = PIECES["function"](MODULE) if start == "file" else PIECES[start](MODULE)
    made = [mutant for unit in units for _, mutant in mutants(unit, 25, chance)]
    before, after = frame(start)
    refused = [
        mutant
        for mutant, report in zip(made, toolchain.map("parse", [before + mutant + after for mutant in made]))
        if not report.ok
    ]

    assert len(refused) > 40
    assert [(mode, mutant) for mode in MODES for mutant in refused if accepts(mutant, mode, start)] == []


def test_tokens_follow_interpolation_and_heredocs():
    text = 'x = "a #{f("b")} c"\n~S"""\n#{no}\n"""\n[a: ?}, b: :"c d"]'

    assert [token.text for token in tokens_of(text) if token.kind in ("text", "char", "key")] == [
        '"a #{',
        '"b"',
        '} c"',
        '~S"""\n#{no}\n"""',
        "a:",
        "?}",
        "b:",
        ':"c d"',
    ]
