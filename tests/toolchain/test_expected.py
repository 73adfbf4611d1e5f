import pytest

from elixir_coder.toolchain.expected import Expected, differences_from, written_in
from elixir_coder.toolchain.reports import TestVerdict
from elixir_coder.toolchain.toolchain import Toolchain


@pytest.fixture(scope="module")
def toolchain():
    with Toolchain(workers=1) as toolchain:
        yield toolchain


def verdicts(*names):
    return [TestVerdict(module=name.split(": ")[0], name=name.split(": ")[1], state="passed") for name in names]


@pytest.mark.elixir
@pytest.mark.parametrize(
    ("text", "names", "is_open"),
    [
        ("", [], False),
        ('defmodule ATest do\n  use ExUnit.Case\n  test "x", do: assert true\nend', ["ATest: x"], False),
        ('ExUnit.start()\ndefmodule A.B do\n  test "x", %{a: a} do\n    a\n  end\nend', ["A.B: x"], False),
        (
            "defmodule A do\n  use ExUnit.Case, async: true\n  import B\n  @moduletag :c\n  setup do: :ok\n"
            '  describe "f/1" do\n    setup :d\n    @tag :skip\n    test "one" do\n    end\n    test "two"\n  end\n'
            '  test "three" do\n  end\n  defp d(_), do: :ok\nend',
            ["A: f/1 one", "A: f/1 two", "A: three"],
            False,
        ),
        ('defmodule A do\n  test "x", do: 1\n  test "x", do: 2\nend', ["A: x", "A: x"], False),
        ('defmodule A do\n  defmodule B do\n    test "x", do: 1\n  end\nend', ["A.B: x"], False),
        ('defmodule A do\n  (test "x", do: 1; test "y", do: 2)\nend', ["A: x", "A: y"], False),
        ('alias A.B\ndefmodule B.CTest do\n  test "x", do: 1\nend', ["A.B.CTest: x"], False),
        ('alias A.B, as: D\ndefmodule D do\n  test "x", do: 1\nend', ["A.B: x"], False),
        ('alias A.{B, C}\ndefmodule C do\n  test "x", do: 1\nend', ["A.C: x"], False),
        ('defmodule A do\n  alias X.B\n  defmodule B do\n    test "x", do: 1\n  end\nend', ["A.B: x"], False),
        ('defmodule Elixir.A do\n  test "é 名", do: 1\nend', ["A: é 名"], False),
        # names that are not written out
        ('defmodule A do\n  doctest B\n  test "x", do: 1\nend', ["A: x"], True),
        ('defmodule A do\n  for n <- 1..3 do\n    test "n #{n}", do: 1\n  end\nend', [], True),
        ('defmodule A do\n  test "n #{n}", do: 1\nend', [], True),
        ("defmodule A do\n  test unquote(n), do: 1\nend", [], True),
        ('defmodule A do\n  describe d() do\n    test "x", do: 1\n  end\nend', [], True),
        ('defmodule A do\n  use MyApp.Case\n  test "x", do: 1\nend', ["A: x"], True),
        ('defmodule A do\n  property "x", do: 1\nend', [], True),
        ('defmodule unquote(m) do\n  test "x", do: 1\nend', [], True),
        ('if true do\n  defmodule A do\n    test "x", do: 1\n  end\nend', [], True),
        # not tests
        ('defmodule A do\n  def test(name), do: name\n  def f, do: test("x")\n  @a test: "y"\nend', [], False),
    ],
)
def test_names_are_those_written_out(toolchain, text, names, is_open):
    expected = written_in(toolchain.ast(text).ast)
    assert sorted(expected.names.elements()) == names
    assert expected.is_open is is_open


@pytest.mark.parametrize(
    ("ran", "is_open", "message"),
    [
        (["A: x", "A: y"], False, ""),
        (["A: y", "A: x"], True, ""),
        (["A: x"], False, "did not run: A: y"),
        ([], True, "did not run: A: x, A: y"),
        (["A: x", "B: y"], True, "did not run: A: y"),
        (["A: x", "A: z"], False, "did not run: A: y; ran and were not expected: A: z"),
        (["A: x", "A: y", "A: y"], False, "ran and were not expected: A: y"),
        (["A: x", "A: y", "A: z"], True, ""),
    ],
)
def test_tests_that_did_not_run_or_were_added_are_named(ran, is_open, message):
    expected = Expected(is_open=is_open)
    expected.names.update(["A: x", "A: y"])
    assert expected.differences(verdicts(*ran)) == message


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"A: x", "A: y"}, ""),
        ({"test x", "A: test y"}, ""),
        ({"x", "A: y"}, ""),
        ({"x"}, "ran and were not expected: A: y"),
        ({"x", "y", "z"}, "did not run: z"),
        ({"B: x", "y"}, "did not run: B: x; ran and were not expected: A: x"),
        ((), "ran and were not expected: A: x, A: y"),
    ],
)
def test_names_that_the_caller_gives_may_leave_out_module_and_kind(names, message):
    assert differences_from(names, verdicts("A: x", "A: y")) == message


def test_a_long_list_is_cut_off():
    assert differences_from("hgfedcba", []) == "did not run: a, b, c, d, e and 3 more"
