import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.tasks.write_tests import WriteTests, excerpt
from tests.tasks.given import random, seeds
from tests.tasks.supervised import CHANGE, EXERCISE, FUNCTION, LAST, TEST_PAIR, TESTS, read, setup_of

STORE = '''defmodule Store do
  @moduledoc "Keeps what it is given."

  @empty %{}

  @doc """
  A store with nothing in it.

  def new is not code here.
  """
  def new, do: @empty

  def put(store, key, value) do
    check(key)

    Map.put(store, key, value)
  end

  def get(store, key), do: Map.get(store, key)

  defp check(key) when is_atom(key), do: :ok

  def sum(store) do
    store
    |> Map.values()
    |> Enum.sum()
  end
end
'''
STORE_TESTS = """Code.require_file("helper.exs", __DIR__)

defmodule StoreTest do
  use ExUnit.Case

  @moduletag :fast

  describe "put/3" do
    setup do
      {:ok, store: Store.new()}
    end

    test "keeps a value", %{store: store} do
      store = Store.put(store, :a, 1)

      assert Store.get(store, :a) == 1
    end

    @tag :slow
    test "refuses another key", %{store: store} do
      assert_raise FunctionClauseError, fn -> Store.put(store, "a", 1) end
    end
  end

  # Adds up.
  test "sum" do
    assert Store.sum(filled()) == 3
  end

  defp filled, do: %{a: 1, b: 2}
end
"""


def ids(text):
    return list(text)  # one token a character


def texts_of(example, **lengths):
    row = WriteTests(setup_of(**lengths))(example, random(0))
    return row and (read(row.source), read(row.target))


def test_code_and_the_kind_of_tests_become_tests():
    assert texts_of(EXERCISE) == (f"<test>exunit\n{LAST}</s>", f"{TESTS}</s>")
    assert texts_of(TEST_PAIR)[0].startswith("<test>conn\ndefmodule Books do\n")
    assert texts_of(FUNCTION) == (
        "<test>doctest\n@spec size(list) :: integer\ndef size(list), do: length(list)\n</s>",
        "iex> size([1])\n1</s>",
    )


def test_what_has_no_tests_is_not_accepted():
    assert not WriteTests(setup_of()).accepts(CHANGE)


def parts(seed, most_code=10_000, most_tests=10_000):
    return excerpt(ids, STORE, STORE_TESTS, most_code, most_tests, random(seed))


def test_what_fits_stays_whole():
    assert parts(0) == (STORE, STORE_TESTS)


@pytest.mark.parametrize("seed", range(6))
def test_of_long_tests_some_cases_are_taken_with_setup_and_helpers(seed):
    code, tests = parts(seed, most_tests=len(STORE_TESTS) - 60)
    group = '  describe "put/3" do\n    setup do\n      {:ok, store: Store.new()}\n    end\n\n'
    keeps, refuses, adds = (
        STORE_TESTS[STORE_TESTS.index(begin) : STORE_TESTS.index(end) + len(end)]
        for begin, end in [
            ('    test "keeps', "== 1\n    end"),
            ("    @tag", '"a", 1) end\n    end'),
            ("  # Adds", "== 3\n  end"),
        ]
    )
    head = "defmodule StoreTest do\n  use ExUnit.Case\n\n  @moduletag :fast\n\n"

    assert code == STORE
    assert tests in (
        f"{head}{group}{keeps}\n\n{refuses}\n  end\nend\n",
        f"{head}{group}{keeps}\n\n{refuses}\n  end\n\n{adds}\n\n  defp filled, do: %{{a: 1, b: 2}}\nend\n",
        f"{head}{group}{refuses}\n  end\n\n{adds}\n\n  defp filled, do: %{{a: 1, b: 2}}\nend\n",
        f"{head}{adds}\n\n  defp filled, do: %{{a: 1, b: 2}}\nend\n",
    )


def test_of_long_code_what_the_cases_name_is_taken_and_what_that_calls():
    seen = {parts(seed, most_code=330, most_tests=380) for seed in range(20)} - {None}

    codes = {code for code, _ in seen}
    assert (
        "defmodule Store do\n  @empty %{}\n\n  def new, do: @empty\n\n  def put(store, key, value) do\n"
        "    check(key)\n\n    Map.put(store, key, value)\n  end\n\n  defp check(key) when is_atom(key), do: :ok\nend\n"
    ) in codes
    assert any("def sum(store)" in code and "def put" not in code for code in codes)


@given(seeds, st.integers(0, 700), st.integers(0, 900))
def test_an_excerpt_fits_and_holds_a_case_and_what_it_names(seed, most_code, most_tests):
    made = parts(seed, most_code, most_tests)
    if made:
        code, tests = made
        assert len(code) <= most_code and len(tests) <= most_tests
        assert 'test "' in tests and tests.count("describe") <= 1
        for name in ("put", "sum", "get"):
            assert f"Store.{name}(" not in tests or f"def {name}(" in code


def test_where_no_case_fits_there_is_no_excerpt():
    assert parts(0, most_tests=50) is None
    assert parts(0, most_code=30) is None


def test_of_long_doctests_some_examples_are_taken():
    tests = "iex> f(1)\n1\n\niex> f(2)\n2\n\niex> f(3)\n3"

    made = {excerpt(ids, "def f(x), do: x\n", tests, 100, 26, random(seed))[1] for seed in range(20)}
    assert made == {"iex> f(1)\n1\n\niex> f(2)\n2", "iex> f(2)\n2\n\niex> f(3)\n3", "iex> f(3)\n3"}


def test_a_function_too_long_by_itself_has_no_excerpt():
    assert excerpt(ids, "def f(x), do: x\n" * 9, TESTS, 100, 1000, random(0)) is None


def test_many_attributes_before_no_test_take_no_time():
    attributes = "".join(f"  @attribute_{number} [:value, {number}]\n" for number in range(60))
    tests = f"defmodule A do\n{attributes}  x\nend\n"

    assert excerpt(ids, "x\n", tests, 100, 100, random(0)) is None  # exponential while the pattern was ambiguous
