import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from elixir_coder.cli import build_parser
from elixir_coder.errors import InputError, RecipeError
from elixir_coder.toolchain import mutate
from elixir_coder.toolchain.finding import Outcome
from elixir_coder.toolchain.mutate import MutationOptions, MutationReport, State, as_text, score, score_all
from elixir_coder.toolchain.toolchain import Toolchain

pytestmark = pytest.mark.elixir

BEAM = Path(mutate.__file__).with_name("beam")

STACK = """\
defmodule Stack do
  def push(stack, item), do: [item | stack]

  def pop([]), do: {:error, :empty}
  def pop([top | rest]), do: {:ok, top, rest}

  def size(stack), do: size(stack, 0)
  defp size([], count), do: count
  defp size([_ | rest], count), do: size(rest, count + 1)
end
"""
STRONG = """\
defmodule StackTest do
  use ExUnit.Case, async: true

  test "what was pushed last is popped first" do
    stack = [] |> Stack.push(:a) |> Stack.push(:b)
    assert Stack.size(stack) == 2
    assert {:ok, :b, rest} = Stack.pop(stack)
    assert {:ok, :a, []} = Stack.pop(rest)
  end

  test "nothing can be popped off an empty stack" do
    assert Stack.pop([]) == {:error, :empty}
  end
end
"""
WEAK = """\
defmodule StackTest do
  use ExUnit.Case

  test "it runs" do
    Stack.push([], :a)
    assert Stack.size([]) == 0
  end
end
"""


@pytest.fixture(scope="module")
def toolchain():
    with Toolchain(workers=1) as toolchain:
        yield toolchain


@pytest.fixture(scope="module")
def strong(toolchain):
    return score(toolchain, STACK, STRONG)


def listed(toolchain, code):
    """Each mutant as `operator: before -> after`, with a `~` where it is likely to be equivalent."""
    result, _ = toolchain.submit("mutants", {"files": [["code.ex", code]]}, evaluates=False)
    assert result["outcome"] == "ok", result
    return [
        f"{mutant['operator']}: {mutant['before']} -> {mutant['after']}{' ~' if mutant['likely_equivalent'] else ''}"
        for mutant in result["mutants"]
    ]


def states(report):
    """The state of each mutant, by `operator: before -> after`."""
    assert report.outcome == Outcome.OK, report.findings
    return {f"{mutant.operator}: {mutant.before} -> {mutant.after}": mutant.state for mutant in report.mutants}


# ------------------------------------------------------------------------------------------------- what is changed

OPERATORS = {
    "a + b": ["arithmetic: a + b -> a - b"],
    "div(a, b)": ["arithmetic: div(a, b) -> rem(a, b)"],
    "-a": ["arithmetic: -a -> a"],
    "-3": ["arithmetic: -3 -> 3", "integer: -3 -> -2", "integer: -3 -> -4", "integer: -3 -> 0"],
    "a < b": ["comparison: a < b -> a <= b", "comparison: a < b -> a > b", "comparison: a < b -> a >= b"],
    "a == b": ["comparison: a == b -> a != b"],
    "a in b": ["comparison: a in b -> a not in b"],
    "a =~ b": ["comparison: a =~ b -> not (a =~ b)"],
    "a and b": ["boolean: a and b -> a or b"],
    "a || b": ["boolean: a || b -> a && b"],
    "not a": ["boolean: not a -> a"],
    "!a": ["boolean: !a -> a"],
    "a not in b": ["boolean: a not in b -> a in b"],
    "if f(x), do: y": ["condition: f(x) -> !f(x)"],
    "unless f(x), do: y": ["condition: f(x) -> !f(x)"],
    "for x <- y, f(x), do: x": ["condition: f(x) -> !f(x)"],
    "cond do\n  f(x) -> y\n  true -> z\nend": [
        "branch_deletion: f(x) -> y -> ",
        "branch_deletion: true -> z -> ",
        "condition: f(x) -> !f(x)",
    ],
    "7": ["integer: 7 -> 8", "integer: 7 -> 6", "integer: 7 -> 0"],
    "1_000": ["integer: 1_000 -> 1001", "integer: 1_000 -> 999", "integer: 1_000 -> 0"],
    "0": ["integer: 0 -> 1", "integer: 0 -> -1"],
    "?a": ["integer: ?a -> ?b"],
    "2.5": ["float: 2.5 -> 3.5", "float: 2.5 -> 0.0"],
    "true": ["boolean_literal: true -> false"],
    ":red": ["atom: :red -> :mutated"],
    "{:ok, x}": ["ok_error: :ok -> :error"],
    '"text"': ['string: "text" -> ""'],
    '""': ['string: "" -> "mutated"'],
    '"a#{b}c"': ['string: "a#{b}c" -> ""'],
    "~s(text)": ['string: ~s(text) -> ""'],
    "[x, y]": ["list: [x, y] -> []"],
    "~w(a b)": ["list: ~w(a b) -> []"],
    "a |> f() |> g(b)": ["pipeline: |> f() -> ", "pipeline: |> g(b) -> "],
    "Enum.filter(a, b)": ["call: Enum.filter(a, b) -> Enum.reject(a, b)"],
    "Enum.reverse(a)": ["call: Enum.reverse(a) -> a"],
    "&String.upcase/1": ["call: &String.upcase/1 -> &String.downcase/1"],
    "max(a, b)": ["call: max(a, b) -> min(a, b)"],
    "a |> max(b)": ["pipeline: |> max(b) -> ", "call: max(b) -> min(b)"],
    "a ++ b": ["list_operator: a ++ b -> a -- b"],
    "a <> b": ["concatenation: a <> b -> a", "concatenation: a <> b -> b"],
    "a..b": ["range: a..b -> (a + 1)..b", "range: a..b -> a..(b - 1)"],
    "1..b//2": [
        "range: 1..b//2 -> 1..(b - 1)//2",
        "integer: 1 -> 2",
        "integer: 1 -> 0",
        "range: 2 -> 3",
        "range: 2 -> 1",
    ],
    "%{m | a: x}": ["update_removal: %{m | a: x} -> m"],
    "%S{m | a: x, b: y}": [
        "update_removal: %S{m | a: x, b: y} -> m",
        "update_removal: a: x -> ",
        "update_removal: b: y -> ",
    ],
    "f(x)\ny = g(x)\nx = h(y)\nl(x)": ["statement_deletion: f(x) -> ", "statement_deletion: x = h(y) -> "],
    "def f(a \\\\ nil, b \\\\ g()), do: raise(a)": [
        "default_argument: nil -> :mutated",
        "default_argument: g() -> nil",
    ],
    "def f(x) when is_x(x), do: raise(x)": [
        "guard_removal: when is_x(x) -> ",
        "guard_negation: is_x(x) -> not is_x(x)",
    ],
    "with {a, b} <- x, c <- y do\n  raise a\nelse\n  _ -> z\nend": [
        "else_removal: _ -> z -> ",
        "branch_deletion: c <- y -> ",
    ],
    "case x do\n  {a, b} -> a\n  {c, 1} -> c\n  [] -> x\nend": [
        "branch_deletion: {a, b} -> a -> ",
        "branch_deletion: {c, 1} -> c -> ",
        "branch_deletion: [] -> x -> ",
        "branch_order: {a, b} -> a\n{c, 1} -> c -> {c, 1} -> c\n{a, b} -> a",
        "integer: 1 -> 2",
        "integer: 1 -> 0",
    ],
    "fn\n  {a} -> a\n  b -> b\nend": [
        "branch_deletion: {a} -> a -> ",
        "branch_deletion: b -> b -> ",
        "branch_order: {a} -> a\nb -> b -> b -> b\n{a} -> a",
    ],
    "try do\n  x\nrescue\n  A -> y\n  e in B -> e\nend": [
        "branch_deletion: A -> y -> ",
        "branch_deletion: e in B -> e -> ",
    ],
    "x[:key].field": ["atom: :key -> :mutated"],
    "f(a: x, b: :c)": ["atom: :c -> :mutated"],
    "quote do\n  unquote(x) + y\nend": ["arithmetic: unquote(x) + y -> unquote(x) - y"],
}
RETURNS = {
    "f(x)": ["nil"],
    "{x, y}": ["nil"],
    "[]": ["nil"],
    "%{a: x}": ["%{}"],
    "x ++ y": ["[]"],
    "x <> y": ['""'],
    "x + y": ["0"],
    "x == y": ["true", "false"],
    "Enum.empty?(x)": ["true", "false"],
    "x |> g() |> is_nil()": ["true", "false"],
    "raise(x)": [],
    "5": [],
}
LEFT_ALONE = [
    '@moduledoc "x"',
    '@doc "x" <> "y"',
    "@spec f(1) :: :a",
    "@type t :: 1 | 2",
    "@behaviour :a",
    "use X, a: 1",
    "import Y, only: [f: 1]",
    "alias A.B, as: C",
    "require Logger",
    "@x",
    "a ++ []",
    "f(a: b)",
    ":lists.reverse(x)",
    "&f/1",
    "&(&1)",
    "^a = b",
    "<<a::8, b::binary-size(2)>>",
    "~r/a+/",
    'Logger.info("x")',
    'inspect(x, label: "y")',
    'IO.inspect(x, label: "y")',
    "dbg(1)",
]


def test_each_operator_changes_what_it_is_for_and_nothing_else(toolchain):
    assert {source: listed(toolchain, source) for source in OPERATORS} == OPERATORS


def test_what_a_function_gives_back_is_replaced_by_something_of_its_kind(toolchain):
    found = {}
    for source in RETURNS:
        mutants = listed(toolchain, f"def f(x, y), do: {source}")
        found[source] = [mutant.rpartition(" -> ")[2] for mutant in mutants if mutant.startswith("return_value")]
    assert found == RETURNS


def test_each_branch_of_a_function_has_its_own_value_to_replace(toolchain):
    code = (
        "def f(x) do\n  if x do\n    g(x)\n  else\n    case x do\n      1 -> h(x)\n      _ -> [x]\n    end\n  end\nend"
    )
    returned = [mutant for mutant in listed(toolchain, code) if mutant.startswith("return_value")]
    assert returned == ["return_value: g(x) -> nil", "return_value: h(x) -> nil"]


def test_a_question_is_answered_with_yes_and_no(toolchain):
    assert listed(toolchain, "def f?(x), do: g(x)") == ["return_value: g(x) -> true", "return_value: g(x) -> false"]


def test_what_says_nothing_about_tests_is_left_alone(toolchain):
    assert {source: listed(toolchain, source) for source in LEFT_ALONE} == {source: [] for source in LEFT_ALONE}


def test_what_comes_to_the_same_is_not_listed(toolchain):
    assert listed(toolchain, "a + 0") == ["integer: 0 -> 1", "integer: 0 -> -1"]
    assert listed(toolchain, 'a <> ""') == ['concatenation: a <> "" -> ""', 'string: "" -> "mutated"']
    assert listed(toolchain, "raise x\n1 + 1") == ["statement_deletion: raise x -> "]  # the rest is never reached


def test_clauses_change_places_only_where_one_value_can_match_both(toolchain):
    pairs = {
        ("1", "x"): True,
        ("1", "2"): False,
        ("{:ok, x}", "{:error, x}"): False,
        ("{x, 1}", "{2, y}"): True,
        ("[]", "[x | y]"): False,
        ("[x]", "[y | z]"): True,
        ("%{a: 1}", "%{a: 2}"): False,
        ("%{a: 1}", "%{b: 2}"): True,
        ("%A{}", "%B{}"): False,
        ('"a" <> x', '"b" <> x'): False,
        ('"a" <> x', '"ab"'): True,
        ("x = {1}", "{2}"): False,
        (":a", '"a"'): False,
        ("0", "n when n > 0"): False,
        ("0", "n when n >= 0"): True,
        ("x", "x"): False,  # the second is never run
        ("n when n > 5", "n when n > 2"): True,
        ("n when n in ?a..?z", "m when m in ?A..?Z"): False,
        ("n when is_binary(n)", "n when is_integer(n) and n != 7"): False,
        ("n when is_map(n)", "n when is_tuple(n)"): True,  # marked, as nobody here knows
    }
    found = {}
    for one, other in pairs:
        clauses = [pattern.partition(" when ") for pattern in (one, other)]
        heads = [f"def f({pattern}){when}{guard}, do: raise(:a)" for pattern, when, guard in clauses]
        code = "defmodule A do\n" + "\n".join(heads) + "\nend"
        found[one, other] = any(mutant.startswith("clause_order") for mutant in listed(toolchain, code))
    assert found == pairs


def test_a_clause_is_deleted_only_where_another_one_is_left(toolchain):
    code = (
        "defmodule A do\n  def f(1), do: raise(:a)\n  @doc false\n  def f(x), do: raise(x)\n  def g, do: raise(:a)\nend"
    )
    deleted = [mutant for mutant in listed(toolchain, code) if mutant.startswith("clause_deletion")]
    assert deleted == ["clause_deletion: def f(1), do: raise(:a) -> ", "clause_deletion: def f(x), do: raise(x) -> "]


def test_what_is_perhaps_equivalent_is_marked(toolchain):
    code = """
    defmodule A do
      def f(0), do: raise(:a)
      def f(n) when n > 0, do: Process.sleep(1)
      def g(a, b), do: if(a < b, do: a, else: b)
    end
    """
    assert [mutant for mutant in listed(toolchain, code) if mutant.endswith("~")] == [
        "comparison: n > 0 -> n >= 0 ~",
        "integer: 0 -> -1 ~",
        "integer: 1 -> 2 ~",
        "integer: 1 -> 0 ~",
        "comparison: a < b -> a <= b ~",
    ]


def test_a_mutant_has_the_place_of_what_it_changes(toolchain):
    result, _ = toolchain.submit("mutants", {"files": [["a.ex", "x\n  |> f()\n  |> g(:é, 12)"]]}, evaluates=False)
    places = [(mutant["operator"], mutant["line"], mutant["column"]) for mutant in result["mutants"]]
    assert places == [("pipeline", 2, 3), ("pipeline", 3, 3), ("atom", 3, 8)] + [("integer", 3, 12)] * 3


def test_files_are_numbered_through(toolchain):
    result, _ = toolchain.submit("mutants", {"files": [["a.ex", "?a"], ["b.ex", "?b"]]}, evaluates=False)
    assert [(mutant["id"], mutant["path"]) for mutant in result["mutants"]] == [(0, "a.ex"), (1, "b.ex")]


def test_names_that_are_listed_do_not_fill_the_table_of_atoms(toolchain):
    def atoms(number):
        names = ", ".join(f"{{:never_{number}_{at}, Never{number}.A{at}.f?(v_{number}_{at}) + 1}}" for at in range(300))
        result, stats = toolchain.submit("mutants", {"files": [["a.ex", f"[{names}]"]]}, evaluates=False)
        assert result["mutants"][1]["before"] == f":never_{number}_0"
        assert any(f"Never{number}.A7.f?(v_{number}_7) - 1" == mutant["after"] for mutant in result["mutants"])
        return stats["atoms"]

    atoms(1)
    first = atoms(2)
    assert atoms(3) - first < 10


def test_every_mutant_of_real_code_differs_from_it_and_is_elixir(tmp_path):
    program = """
    alias ElixirCoder.Worker.Mutate
    strip = fn tree -> Macro.prewalk(tree, fn {form, _, arguments} -> {form, [], arguments}; other -> other end) end
    numbers =
      for path <- System.argv() do
        text = File.read!(path)
        {:ok, tree} = Mutate.parse(text, path)
        original = strip.(Mutate.unwrap(tree))
        ^original = strip.(Code.string_to_quoted!(text))
        mutants = Mutate.of_tree(tree)
        for mutant <- Enum.take_every(mutants, 7) do
          changed = tree |> Mutate.apply_mutant(mutant) |> Mutate.unwrap() |> strip.()
          if changed == original, do: raise("no change: #{inspect(mutant)}")
          changed |> Macro.to_string() |> Code.string_to_quoted!()
          if not is_integer(mutant.line), do: raise("no place: #{inspect(mutant)}")
        end
        for %{"before" => same, "after" => same} = mutant <- Mutate.mutants(%{"files" => [[path, text]]})["mutants"],
            do: raise("looks the same: #{inspect(mutant)}")
        length(mutants)
      end
    IO.puts(Enum.sum(numbers))
    """
    script = tmp_path / "property.exs"
    script.write_text(program)
    files = [str(BEAM / name) for name in ("compile.ex", "restore.ex", "source.ex", "definitions.ex", "tests.ex")]
    argv = ["elixir", "-r", str(BEAM / "mutate.ex"), "-r", str(BEAM / "mutate_run.ex"), str(script), *files]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    assert int(done.stdout) > 500


# ---------------------------------------------------------------------------------------------- what becomes of it


def test_a_good_suite_kills_what_a_poor_one_does_not_notice(toolchain, strong):
    weak = score(toolchain, STACK, WEAK)
    assert strong.score == 1.0 and strong.survivors == ()
    assert weak.score is not None and 0 < weak.score < 0.5
    assert "list: [item | stack] -> []" in {f"{m.operator}: {m.before} -> {m.after}" for m in weak.survivors}


def test_the_killer_is_named(strong):
    killers = {mutant.before: mutant.test for mutant in strong.mutants if mutant.operator == "atom"}
    assert killers == {":empty": "StackTest: nothing can be popped off an empty stack"}


def test_the_score_counts_timeouts_as_killed_and_leaves_out_what_cannot_be_killed(strong):
    kept = [replace(strong.mutants[0], state=state) for state in State]
    report = replace(strong, mutants=tuple(kept))
    assert report.score == 2 / 3
    assert (report.num_caught, report.num_counted) == (2, 3)
    assert replace(strong, mutants=()).score is None


def test_a_mutant_that_never_ends_is_a_timeout_and_the_others_are_not(toolchain):
    code = "defmodule A do\n  def f(0), do: :done\n  def f(n), do: f(n - 1)\nend"
    tests = 'defmodule ATest do\n  use ExUnit.Case\n  test "f" do\n    assert A.f(3) == :done\n  end\nend'
    found = states(score(toolchain, code, tests, MutationOptions(timeout_s=0.5)))
    assert found.pop("arithmetic: n - 1 -> n + 1") == State.TIMEOUT
    assert found.pop("integer: 1 -> 0") == State.TIMEOUT
    assert found.pop("integer: 0 -> 1") == State.SURVIVED
    assert found.pop("integer: 1 -> 2") == State.TIMEOUT
    assert found.pop("clause_deletion: def f(0), do: :done -> ") == State.TIMEOUT
    assert found.pop(
        "clause_order: def f(0), do: :done\ndef f(n), do: f(n - 1) -> def f(n), do: f(n - 1)\ndef f(0), do: :done"
    ) in (State.TIMEOUT, State.DUPLICATE)
    assert set(found.values()) == {State.KILLED}


def test_a_mutant_that_ends_the_machine_costs_only_itself(toolchain):
    code = """
    defmodule A do
      def f(n) do
        times = if n > 9, do: 1, else: n
        byte_size(:binary.copy("ab", times))
      end
    end
    """
    tests = """
    defmodule ATest do
      use ExUnit.Case
      test "f" do
        assert A.f(5) == 10
        assert A.f(100_000_000_000) == 2
      end
    end
    """
    found = states(score(toolchain, code, tests))
    assert found["comparison: n > 9 -> n <= 9"] == State.KILLED  # A.f(5) notices first
    assert found["comparison: n > 9 -> n >= 9"] == State.SURVIVED
    assert found["integer: 1 -> 2"] == State.KILLED
    tests = tests.replace("assert A.f(5) == 10", "")
    found = states(score(toolchain, code, tests))
    assert found["comparison: n > 9 -> n <= 9"] == State.TIMEOUT
    assert found["comparison: n > 9 -> n >= 9"] == State.SURVIVED
    assert found["integer: 1 -> 2"] == State.KILLED


def test_mutants_that_the_compiler_makes_one_program_of_run_once(toolchain):
    code = """
    defmodule A do
      def f(x) do
        _ = {1, x}
        if x == :a, do: 1, else: 2
      end
    end
    """
    tests = 'defmodule ATest do\n  use ExUnit.Case\n  test "f" do\n    assert A.f(:a) == 1\n  end\nend'
    found = states(score(toolchain, code, tests))
    assert found["statement_deletion: _ = {1, x} -> "] == State.EQUIVALENT
    assert found["comparison: x == :a -> x != :a"] == State.KILLED


def test_a_mutant_that_does_not_compile_is_invalid(toolchain):
    code = "defmodule A do\n  @parts 2\n  @share div(100, @parts)\n  def f, do: @share\nend"
    tests = 'defmodule ATest do\n  use ExUnit.Case\n  test "f" do\n    assert A.f() == 50\n  end\nend'
    found = states(score(toolchain, code, tests))
    assert found["integer: 2 -> 0"] == State.INVALID
    assert found["integer: 2 -> 3"] == State.KILLED


def test_tests_that_took_macros_and_structs_from_the_code_are_compiled_again(toolchain):
    code = """
    defmodule Size do
      defstruct width: 3
      defmacro twice(x), do: quote(do: unquote(x) * 2)
      def names, do: [:one]
    end
    """
    tests = """
    defmodule SizeTest do
      use ExUnit.Case
      require Size
      test "macro", do: assert(Size.twice(5) == 10)
      test "struct", do: assert(%Size{}.width == 3)
      for name <- Size.names(), do: test("#{name}", do: assert(unquote(name) == :one))
    end
    """
    report = score(toolchain, code, tests)
    found = states(report)
    assert found["arithmetic: unquote(x) * 2 -> unquote(x) + 2"] == State.KILLED
    assert found["integer: 3 -> 4"] == State.KILLED
    assert found["atom: :one -> :mutated"] == State.KILLED
    assert found["list: [:one] -> []"] == State.SURVIVED  # then there is no such test


def test_files_that_took_a_macro_from_the_mutated_one_are_compiled_again(toolchain):
    code = {
        "lib/use.ex": "defmodule Use do\n  require Rule\n  def f(x), do: Rule.plus(x)\nend",
        "lib/rule.ex": "defmodule Rule do\n  defmacro plus(x), do: quote(do: unquote(x) + 4)\nend",
    }
    tests = 'defmodule UseTest do\n  use ExUnit.Case\n  test "f", do: assert(Use.f(1) == 5)\nend'
    report = score(toolchain, code, {"test/use_test.exs": tests})
    assert {mutant.path for mutant in report.mutants} == {"lib/use.ex", "lib/rule.ex"}
    assert report.score == 1.0 and report.counts[State.KILLED] >= 5


def test_processes_names_and_tables_of_one_mutant_are_not_there_for_the_next(toolchain):
    code = """
    defmodule Counter do
      use Agent
      def start(n), do: Agent.start(fn -> :ets.new(:numbers, [:named_table]) && n end, name: __MODULE__)
      def next, do: Agent.get_and_update(__MODULE__, &{&1, &1 + 1})
    end
    """
    tests = """
    defmodule CounterTest do
      use ExUnit.Case
      test "counts" do
        assert {:ok, _} = Counter.start(5)
        assert [Counter.next(), Counter.next()] == [5, 6]
        Application.put_env(:counter, :seen, true)
      end
      test "begins with nothing" do
        :persistent_term.put(:seen, 1)
      end
    end
    """
    found = states(score(toolchain, code, tests))
    assert found.pop("atom: :numbers -> :mutated") == State.SURVIVED  # which nothing looks into
    assert found.pop("list: [:named_table] -> []") == State.SURVIVED
    assert len(found) == 7 and set(found.values()) == {State.KILLED}


def test_examples_in_documentation_are_tests_too(toolchain):
    code = 'defmodule A do\n  @doc """\n      iex> A.f(1)\n      3\n  """\n  def f(x), do: x + 2\nend'
    tests = "defmodule ATest do\n  use ExUnit.Case\n  doctest A\nend"
    report = score(toolchain, code, tests)
    assert report.score == 1.0 and report.counts[State.KILLED] == len(report.mutants) >= 4


def test_setups_and_linked_processes_that_fail_kill(toolchain):
    code = "defmodule A do\n  def f, do: 1\n  def g(x), do: spawn_link(fn -> 1 = x end)\nend"
    tests = """
    defmodule ATest do
      use ExUnit.Case
      setup_all do
        1 = A.f()
        :ok
      end
      test "g" do
        A.g(1)
        Process.sleep(20)
      end
    end
    """
    found = score(toolchain, code, tests)
    killers = {mutant.line: mutant.test for mutant in found.mutants if mutant.state == State.KILLED}
    assert killers[2] == "ATest: setup_all"
    assert killers[3] == "ATest: g"


# --------------------------------------------------------------------------------------------- suites without a score


def test_tests_that_fail_on_the_unchanged_code_are_named(toolchain):
    report = score(toolchain, STACK, STRONG.replace("== 2", "== 3"))
    assert report.outcome == Outcome.TEST_FAILURE and report.score is None and report.mutants == ()
    assert "what was pushed last is popped first" in report.findings[0].message


def test_code_that_does_not_compile_has_no_score(toolchain):
    assert score(toolchain, "defmodule A do\n  def f(, do: 1\nend", STRONG).outcome == Outcome.SYNTAX_ERROR
    assert score(toolchain, STACK, "defmodule T do\n  use ExUnit.Case\nend").outcome == Outcome.TEST_FAILURE


def test_a_suite_that_fails_whenever_it_is_run_again_has_no_score(toolchain):
    forger = STRONG.replace(
        "assert Stack.pop([]) == {:error, :empty}", "assert ExUnit.configuration()[:max_failures] == :infinity"
    )
    report = score(toolchain, STACK, forger, MutationOptions(guard=False))
    assert report.outcome == Outcome.TEST_FAILURE
    assert "fails when the unchanged code is run again" in report.findings[0].message


def test_code_that_may_not_run_is_not_mutated(toolchain):
    code = 'defmodule A do\n  def f, do: System.cmd("id", [])\nend'
    report = score(toolchain, code, 'defmodule T do\n  use ExUnit.Case\n  test "f", do: A.f()\nend')
    assert report.outcome == Outcome.FORBIDDEN_CALL


def test_code_without_anything_to_change_has_no_score(toolchain):
    tests = 'defmodule T do\n  use ExUnit.Case\n  test "f", do: assert(A.__info__(:module) == A)\nend'
    report = score(toolchain, "defmodule A do\nend", tests)
    assert (report.outcome, report.score, report.num_mutants) == (Outcome.OK, None, 0)


# ------------------------------------------------------------------------------------------- samples, cache, reports


def test_a_sample_is_the_same_for_the_same_seed(toolchain, strong):
    one, again, other = (score(toolchain, STACK, STRONG, MutationOptions(sample=5, seed=seed)) for seed in (1, 1, 2))
    assert [mutant.id for mutant in one.mutants] == [mutant.id for mutant in again.mutants]
    assert [mutant.id for mutant in one.mutants] != [mutant.id for mutant in other.mutants]
    assert one.is_sampled and len(one.mutants) == 5 and one.num_mutants == len(strong.mutants)
    assert not strong.is_sampled
    assert set(one.mutants) <= {replace(mutant, detail=mutant.detail) for mutant in strong.mutants}


def test_many_pairs_are_scored_in_their_order(toolchain):
    broken = STRONG.replace("== 2", "== 3")
    reports = list(score_all(toolchain, [(STACK, STRONG), (STACK, broken), (STACK, WEAK)], MutationOptions(sample=6)))
    assert [report.outcome for report in reports] == [Outcome.OK, Outcome.TEST_FAILURE, Outcome.OK]
    assert reports[0].score > reports[2].score


class Nothing:
    """A toolchain that is not to be asked."""

    workers = 1


def test_a_report_is_kept_and_found_again(toolchain, tmp_path):
    options = MutationOptions(sample=4)
    first = score(toolchain, STACK, STRONG, options, cache=tmp_path)
    assert score(Nothing(), STACK, STRONG, options, cache=tmp_path) == first
    assert [path.suffix for path in tmp_path.iterdir()] == [".json"]
    with pytest.raises(AttributeError):  # other settings, other code: not that report
        score(Nothing(), STACK, STRONG, MutationOptions(sample=4, seed=1), cache=tmp_path)
    with pytest.raises(AttributeError):
        score(Nothing(), STACK + "\n", STRONG, options, cache=tmp_path)


@pytest.mark.parametrize("damage", ["", "{", "[]", "null", '{"outcome": "no such"}', '{"outcome": "ok"}'])
def test_a_damaged_entry_of_the_cache_is_written_again(toolchain, tmp_path, damage):
    tests = 'defmodule T do\n  use ExUnit.Case\n  test "f", do: assert(A.f() == :a)\nend'
    code = "defmodule A do\n  def f, do: :a\nend"
    first = score(toolchain, code, tests, cache=tmp_path)
    (entry,) = tmp_path.iterdir()
    entry.write_text(damage)
    again = score(toolchain, code, tests, cache=tmp_path)
    assert states(again) == states(first) == {"atom: :a -> :mutated": State.KILLED}
    assert MutationReport.from_dict(json.loads(entry.read_text())) == again


def test_a_cache_that_cannot_be_written_is_none(toolchain, tmp_path):
    (tmp_path / "file").touch()
    report = score(toolchain, STACK, STRONG, MutationOptions(sample=2), cache=tmp_path / "file" / "folder")
    assert report.outcome == Outcome.OK


def test_a_report_survives_json(strong):
    data = json.loads(json.dumps(strong.to_dict()))
    assert MutationReport.from_dict(data) == strong
    assert data["score"] == 1.0
    assert sum(data["counts"].values()) == len(strong.mutants) == data["num_mutants"]
    assert sum(sum(counts.values()) for counts in data["by_operator"].values()) == len(strong.mutants)


@pytest.mark.parametrize("setting", [{"sample": 0}, {"timeout_s": 0}, {"timeout_factor": -1}, {"suite_timeout_s": 0}])
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(RecipeError, match="must be"):
        MutationOptions(**setting)


def test_answers_that_make_no_sense_are_not_believed():
    good = {"id": 1, "state": "killed"}
    read = mutate._read
    assert read({"outcome": "ok", "num_mutants": 9, "mutants": [good]}, [1], 9) == ({1: good}, [])
    for forged in (
        {"outcome": "ok", "num_mutants": 9, "mutants": [{"id": 7, "state": "killed"}]},
        {"outcome": "ok", "num_mutants": 8, "mutants": [good]},
        {"outcome": "ok", "num_mutants": 9, "mutants": [{"id": 1, "state": "fine"}, 5, None]},
        {"outcome": "nonsense"},
        {"outcome": "ok", "mutants": "killed"},
    ):
        found, again = read(forged, [1], 9)
        assert (found[1]["state"], again) == (State.CRASH, [])
        assert read(forged, [1, 2, 3], 9) == ({}, [[2, 3], [1]])


# ----------------------------------------------------------------------------------------------------- the command


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A folder with code and tests; reports are kept in it, too."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    Path("lib").mkdir()
    Path("test").mkdir()
    Path("lib/stack.ex").write_text(STACK)
    Path("test/stack_test.exs").write_text(WEAK)
    Path("test/test_helper.exs").write_text("ExUnit.start()")
    return tmp_path


def command(*arguments):
    args = build_parser().parse_args(["mutate", *arguments])
    return args.run(args)


def test_the_command_shows_what_survived_and_the_score(project, capsys, monkeypatch):
    arguments = ["lib", "test", "--sample", "12", "--workers", "1"]
    assert command(*arguments) == 0
    out, err = capsys.readouterr()
    assert "lib/stack.ex:2:30: list survived\n  - [item | stack]\n  + []\n" in out
    assert out.splitlines()[0].split()[:3] == ["operator", "mutants", "killed"]
    assert "a sample of 12 from 18" in out and "score 0." in out
    assert err == "12 mutants\n"
    # Now it is in the cache.
    monkeypatch.setattr(mutate, "_score", None)
    assert command(*arguments, "--fail-under", "0.9") == 1
    assert command(*arguments, "--fail-under", "0.1", "--json") == 0
    assert MutationReport.from_dict(json.loads(capsys.readouterr().out.split("under 0.9\n")[1])).is_sampled


def test_the_command_says_what_is_wrong(project):
    with pytest.raises(InputError, match=r"lib/none.ex cannot be read: No such file"):
        command("lib/none.ex", "test")
    with pytest.raises(InputError, match=r"cache has no \*_test.exs files"):
        Path("cache").mkdir()
        command("lib", "cache")
    with pytest.raises(RecipeError, match="--fail-under must be from 0 to 1, got 80"):
        command("lib", "test", "--fail-under", "80")
    Path("test/stack_test.exs").write_text(WEAK.replace("== 0", "== 1"))
    with pytest.raises(InputError, match=r"tests that pass on the unchanged code: test/stack_test.exs:4: it runs: "):
        command("lib", "test", "--workers", "1", "--no-cache")
    Path("lib/stack.ex").write_bytes(b"\xff")
    with pytest.raises(InputError, match=r"lib/stack.ex is not UTF-8"):
        command("lib", "test")


def test_a_table_of_nothing_can_be_printed():
    assert as_text(MutationReport(outcome=Outcome.OK)).endswith(
        "no score: no mutant could be killed (0 of 0 mutants, 0.0 s)"
    )
