"""Files taken apart: what becomes a function, a module, an instruction and a doctest."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.data.extract import Extract, dedent, instruction_and_doctests, is_code
from elixir_coder.data.shards import read_shards, write_shards
from elixir_coder.data.steps import transform
from elixir_coder.example import Example
from elixir_coder.toolchain.toolchain import Toolchain

PLACE = {"package": "shop", "version": "1.0", "licence": "MIT", "source": "folder"}

CODE = '''
defmodule Shop.Price do
  @moduledoc """
  Prices, and what is done with them.
  """

  @doc """
  Adds the tax to a price.

  ## Examples

      iex> Shop.Price.with_tax(100)
      119

  ## Rounding

  Rounds down.
  """
  @doc since: "1.2.0"
  @spec with_tax(integer) :: integer
  def with_tax(price) when price > 0 do
    div(price * 119, 100)
  end

  def with_tax(0), do: 0

  def short(a), do: a

  defp helper(a) do
    b = a + 1
    b * 2
  end
end
'''


@pytest.fixture(scope="module")
def step():
    step = Extract()
    yield step
    step.close()


@pytest.mark.elixir
def test_a_function_is_whole_and_its_doc_becomes_words_and_doctests(step):
    file = Example.of(CODE, path="lib/price.ex", **PLACE)
    dropped = Counter()
    with_tax, helper, module = step([file], dropped)

    assert (with_tax.kind, with_tax.name, with_tax.line) == ("function", "Shop.Price.with_tax/1", 7)
    assert with_tax.instruction == "Adds the tax to a price.\n\n## Rounding\n\nRounds down."
    assert (with_tax.tests, with_tax.test_type) == ("iex> Shop.Price.with_tax(100)\n119", "doctest")
    assert with_tax.specs == ("with_tax(integer) :: integer",)
    assert with_tax.parent == file.sha256
    assert with_tax.code == (
        '@doc since: "1.2.0"\n@spec with_tax(integer) :: integer\ndef with_tax(price) when price > 0 do\n'
        "  div(price * 119, 100)\nend\n\ndef with_tax(0), do: 0\n"
    )
    assert with_tax.sha256 == Example.of(with_tax.code, path="", **PLACE).sha256
    assert helper.name == "Shop.Price.helper/1"
    assert dropped == {"short function without documentation": 1, "not a code file": 0}

    assert (module.kind, module.instruction) == ("module", "Prices, and what is done with them.")
    assert module.code.startswith("defmodule Shop.Price do\n  @doc")


@pytest.mark.elixir
def test_what_is_taken_out_still_parses(step):
    file = Example.of(CODE, path="lib/price.ex", **PLACE)
    with Toolchain(workers=1) as toolchain:
        assert all(toolchain.parse(part.code).ok for part in step([file], Counter()))


def test_tests_and_their_support_are_no_code():
    assert is_code("lib/a.ex") and is_code("apps/b/mix.exs")
    assert not is_code("test/a_test.exs") and not is_code("test/support/conn_case.ex") and not is_code("README.md")


@pytest.mark.parametrize(
    ("doc", "instruction", "doctests"),
    [
        ("", "", ""),
        ("See `foo/1`.", "", ""),
        ("Sorts all of them.\n\n    iex> f([2, 1])\n    [1, 2]\n", "Sorts all of them.", "iex> f([2, 1])\n[1, 2]"),
        (
            "Sorts all of them.\n\n## Examples\n\nSee below.\n\n## Options\n\n  * `:by`\n",
            "Sorts all of them.\n\n## Options\n\n  * `:by`",
            "",
        ),
    ],
)
def test_examples_are_no_part_of_the_instruction(doc, instruction, doctests):
    assert instruction_and_doctests(doc) == (instruction, doctests)


@given(
    st.lists(st.text("ab \t", max_size=6).filter(lambda line: not line or line.strip()), max_size=6), st.integers(0, 8)
)
def test_dedent_is_the_inverse_of_indenting(lines, margin):
    at_margin = ["x", *lines]
    indented = [" " * margin + line if line.strip() else line for line in at_margin]
    assert dedent(indented) == "\n".join(at_margin).rstrip()


@pytest.mark.elixir
def test_a_corpus_goes_through(tmp_path):
    files = {
        "train": [Example.of(CODE, path="lib/price.ex", **PLACE)],
        "test": [Example.of("x = ", path="a.ex", **PLACE)],
    }
    write_shards(tmp_path / "corpus", files, {})
    report = transform(tmp_path / "corpus", tmp_path / "out", Extract, name="extract", settings={}, workers=1)
    assert [each.kind for each in read_shards(tmp_path / "out")] == ["function", "function", "module"]
    assert report.dropped["does not parse"] == 1
