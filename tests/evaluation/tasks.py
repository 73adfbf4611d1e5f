"""Tasks in the shapes of public benchmarks, written for these tests: nothing of the benchmarks is in the repository."""

import json

TESTS = (
    'defmodule PairTest do\n  use ExUnit.Case\n  test "swaps" do\n    assert Pair.swap({1, 2}) == {2, 1}\n  end\nend\n'
)

MULTIPL_E = {
    "name": "HumanEval_900_swap_pair",
    "language": "elixir",
    "prompt": "# Swap the two.\n\ndefmodule HumanEval do\n  def swap_pair(pair) do",
    "doctests": "transform",
    "original": "elsewhere",
    "prompt_terminology": "reworded",
    "tests": "ExUnit.start()\n\ndefmodule HumanEvalTest do\n  use ExUnit.Case, async: true\n"
    '  test "swap_pair" do\n    assert HumanEval.swap_pair({1, 2}) == {2, 1}\n  end\nend\n',
    "stop_tokens": ["\ndefmodule", "\n#", "\n\n"],
}


MCEVAL = {
    "task_id": "Elixir/90",
    "prompt": 'defmodule Pair do\n  @doc """\n  Swaps.\n  """\n  def swap(pair) do\n',
    "entry_point": "swap",
    "canonical_solution": "    {a, b} = pair\n    {b, a}\n  end\nend\n",
    "test": TESTS,
    "signature": "swap(pair)",
    "docstring": "Swaps.",
    "instruction": "Write it.",
    "level": "easy",
}


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def write_exercise(practice, slug="pair-swap", **changes):
    files = {
        ".meta/config.json": json.dumps(
            {"files": {"solution": ["lib/pair.ex"], "test": ["test/pair_test.exs"], "example": [".meta/example.ex"]}}
        ),
        ".meta/example.ex": "defmodule Pair do\n  def swap({a, b}), do: {b, a}\nend\n",
        ".docs/instructions.md": "# Instructions\n\nSwap a pair.\n",
        "lib/pair.ex": "defmodule Pair do\n  def swap(pair) do\n  end\nend\n",
        "test/pair_test.exs": TESTS.replace("  test", "  # @tag :pending\n  test").replace(
            "end\nend\n",
            'end\n\n  @tag :pending\n  test "again" do\n    assert Pair.swap({3, 4}) == {4, 3}\n  end\nend\n',
        ),
        "test/test_helper.exs": "ExUnit.start()\nExUnit.configure(exclude: :pending, trace: true)\n",
    }
    for name, text in (files | changes).items():
        path = practice / slug / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
