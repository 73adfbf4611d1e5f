"""Commits become instructions with the functions they changed."""

from collections import Counter
from types import SimpleNamespace

import pytest

from elixir_coder.data.changes import Changes, instruction_of

BEFORE = """
defmodule A do
  @doc "Old words."
  def a(x), do: x

  def b(x) do
    x + 1
  end

  def gone, do: 1
end
"""
AFTER = """
defmodule A do
  @doc "New words."
  def a(x), do: x

  @spec b(integer) :: integer
  def b(x) when is_integer(x) do
    x + 1
  end

  defp new(y), do: y
end
"""
FIELDS = {"package": "a", "version": "1", "licence": "MIT", "source": "git"}


def commit(message, *changes):
    return SimpleNamespace(sha="0" * 40, message=message, changes=changes), FIELDS


@pytest.fixture(scope="module")
def step():
    step = Changes()
    yield step
    step.close()


@pytest.mark.elixir
def test_a_change_is_a_function_before_and_after(step):
    dropped = Counter()
    changed, new = step([commit("Check that it is an integer (#12)\n\nFixes #3", ("lib/a.ex", BEFORE, AFTER))], dropped)
    assert (changed.kind, changed.name, changed.line) == ("change", "A.b/1", 6)
    assert changed.instruction == "Check that it is an integer"
    assert changed.before == "def b(x) do\n  x + 1\nend\n"
    assert changed.code == "@spec b(integer) :: integer\ndef b(x) when is_integer(x) do\n  x + 1\nend\n"
    assert (new.name, new.before, new.code) == ("A.new/1", "", "defp new(y), do: y\n")
    assert not dropped


@pytest.mark.elixir
def test_a_commit_that_says_or_changes_too_little_or_too_much_is_dropped(step):
    many = "defmodule A do\n" + "".join(f"  def f{n}(x), do: x\n" for n in range(6)) + "end\n"
    dropped = Counter()
    jobs = [
        commit("Bump version", ("lib/a.ex", BEFORE, AFTER)),
        commit("Change the tests a lot", ("test/a_test.exs", BEFORE, AFTER)),
        commit("Rewrite all of the functions", ("lib/a.ex", many, many.replace("do: x", "do: -x"))),
        commit("Change the words alone", ("lib/a.ex", BEFORE, BEFORE.replace("Old", "Other"))),
        commit("Break it with great care", ("lib/a.ex", BEFORE, "defmodule A do")),
    ]
    assert step(jobs, dropped) == []
    assert dropped == {
        "message says nothing": 1,
        "no code changed": 1,
        "changes too much": 1,
        "no function changed": 1,
        "does not parse": 1,
    }


@pytest.mark.parametrize(
    ("message", "instruction"),
    [
        ("Return an error for empty input (#1234)", "Return an error for empty input"),
        ("Add it\n\nBecause.\n\nCo-authored-by: A <a@b.c>\n", "Add it\n\nBecause."),
        ("Merge branch 'main'", ""),
        ("v1.2.3 is released", ""),
        ("Fix typos in the guides", ""),
        ("oops", ""),
        ("Refactoringofeverything", ""),
    ],
)
def test_a_message_is_an_instruction_when_it_says_something(message, instruction):
    assert instruction_of(message) == instruction
