import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import textwrap
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from elixir_coder.errors import MissingDependencyError
from elixir_coder.toolchain import worker as worker_module
from elixir_coder.toolchain.sandbox import Launch, Limits, NoSandbox, Sandbox
from elixir_coder.toolchain.terms import Atom
from elixir_coder.toolchain.worker import Worker, WorkerDied
from tests.toolchain.processes import are_gone, descendants, machines

pytestmark = pytest.mark.elixir

OPEN = NoSandbox()  # unconfined and unguarded here, so that jobs can do what they like


class Machine:
    """Workers in one event loop, for tests that are not asynchronous; one that died is replaced."""

    def __init__(self, *, evaluates, launch_with=OPEN, limits=OPEN.limits):
        self.evaluates, self.launch_with, self.limits = evaluates, launch_with, limits
        self.runner = asyncio.Runner()
        self.worker = None
        self.stats = {"recycle": False}

    def call(self, op, args, deadline_s=20.0):
        """The result, without what is of no interest when it is empty."""
        if self.worker is None or not self.worker.alive:
            self.worker = self.start()
        result, self.stats = self.runner.run(self.worker.call(op, args, deadline_s=deadline_s))
        return result

    def start(self, **options):
        return self.runner.run(Worker.start(self.launch_with, limits=self.limits, evaluates=self.evaluates, **options))

    def compile(self, code, **options):
        return self.call("compile", {"files": [["lib/a.ex", code]], "guard": False}, **options)

    def printed(self, code, **options):
        """What the code prints while it compiles."""
        return self.compile(code, **options)["output"]

    def test(self, code, tests, guard=False, timeout_ms=5000, seed=0, **options):
        files = [["lib/a.ex", code]] if isinstance(code, str) else code
        args = {"files": files, "tests": [["test/a_test.exs", tests]], "guard": guard}
        return self.call("test", args | {"timeout_ms": timeout_ms, "seed": seed}, **options)

    def close(self):
        if self.worker:
            self.runner.run(self.worker.close())
        self.runner.close()


@pytest.fixture(scope="module")
def parser():
    machine = Machine(evaluates=False)
    yield machine
    machine.close()


@pytest.fixture(scope="module")
def machine():
    machine = Machine(evaluates=True)
    yield machine
    machine.close()


@pytest.fixture
def clean(machine):
    """The machine, which must be as before when the test is through."""
    yield machine
    assert not machine.stats["recycle"]
    assert machine.compile("defmodule A do\nend")["outcome"] == "ok"


def found(result):
    """The diagnostics, in short."""
    return [(one["check"], one["severity"], one["line"], one["message"]) for one in result["diagnostics"]]


def verdicts(result):
    return [(test["name"], test["state"]) for test in result["tests"]]


# --------------------------------------------------------------------------------------------------- texts


def test_elixir_parses(parser):
    code = "defmodule A do\n  def f(x), do: x\nend\n"
    assert parser.call("parse", {"code": code}) == {"outcome": "ok", "diagnostics": [], "output": ""}


@pytest.mark.parametrize(
    ("code", "line", "column", "message"),
    [
        ("f(\n  1,\n  2]", 3, 4, 'unexpected token: ]. The "(" at line 1 is missing terminator ")"'),
        ("foo bar baz)", 1, 12, "unexpected token: )"),
        ("a\nend", 2, 1, "unexpected reserved word: end"),
        ("x = = y", 1, 5, "syntax error before: '='"),
        ("never_an_atom also_never 1 :neither", 1, 28, "syntax error before: neither"),
        ("1 NeverAModule", 1, 3, "syntax error before: 'NeverAModule'"),
        ("1 jamais_é", 1, 3, "syntax error before: jamais_é"),
        ("1 +", 1, 3, "syntax error: expression is incomplete"),
        ("foo do\n  1\n", 3, 1, 'missing terminator: end (for "do" starting at line 1)'),
        ("f(" * 20_000, 1, 40_001, "missing terminator: )"),
        ("a" * 256, 1, 1, "atom length must be less than system limit: aaa"),
        (b"\xff", None, None, "invalid encoding starting at <<255>>"),
        ("1 \x00", 1, 3, "unexpected token: null byte"),
        ("\ufeffx = 1", 1, 1, 'unexpected token: "\ufeff"'),
        ("# \u202e", 1, 1, "invalid bidirectional formatting character in comment: \\u202E"),
        ("ﬁ = 1", 1, 1, 'unexpected token: "ﬁ"'),
    ],
)
def test_what_does_not_parse_is_refused_with_the_place(parser, code, line, column, message):
    result = parser.call("parse", {"code": code})
    [diagnostic] = result["diagnostics"]
    assert result["outcome"] == "syntax_error"
    assert diagnostic["message"].startswith(message)
    assert diagnostic | {"message": ""} == {
        "check": "syntax_error",
        "severity": "error",
        "file": "",
        "line": line,
        "column": column,
        "message": "",
    }


@pytest.mark.parametrize(
    "code",
    ["[" * 50_000 + "]" * 50_000, "1" * 100_000, '"' + "a" * 500_000 + '"', "1 + " * 20_000 + "1", "", "名前 = 1"],
)
def test_large_and_deep_texts_parse(parser, code):
    assert parser.call("parse", {"code": code})["outcome"] == "ok"


def test_a_literal_without_end_is_a_timeout_and_the_next_text_parses(parser):
    with pytest.raises(WorkerDied) as died:
        assert parser.call("parse", {"code": "1" * 3_000_000}, deadline_s=0.2)["outcome"] == "timeout"
        raise WorkerDied(worker_module.Outcome.TIMEOUT, "", by_job=True)  # the machine could end it by itself
    assert died.value.outcome == "timeout"
    assert parser.call("parse", {"code": "1"})["outcome"] == "ok"


def test_texts_make_no_atoms(parser):
    parser.call("parse", {"code": "1 before"})
    parser.call("ast", {"code": "before"})
    before = parser.stats["atoms"]
    names = "\n".join(f"name_{number}(Module{number}, key{number}: :atom{number})" for number in range(5_000))
    assert parser.call("parse", {"code": names})["outcome"] == "ok"
    assert parser.call("ast", {"code": names})["outcome"] == "ok"
    assert parser.call("parse", {"code": names + " 1 name"})["outcome"] == "syntax_error"
    assert parser.stats["atoms"] - before < 10


def test_a_text_is_formatted(parser):
    result = parser.call("format", {"code": "f(  1,2 )  # why", "line_length": 98})
    assert (result["outcome"], result["formatted"]) == ("ok", "# why\nf(1, 2)\n")
    assert parser.call("format", {"code": "", "line_length": 98})["formatted"] == ""
    assert parser.call("format", {"code": "f(aaaa, bbbb)", "line_length": 8})["formatted"] == "f(\n  aaaa,\n  bbbb\n)\n"


def test_what_does_not_parse_is_not_formatted(parser):
    result = parser.call("format", {"code": "f(", "line_length": 98})
    assert result["outcome"] == "syntax_error"
    assert "formatted" not in result


def test_more_names_than_a_machine_has_room_for_are_not_formatted(parser):
    result = parser.call("format", {"code": "\n".join(f"many_{number}" for number in range(60_000))})
    assert found(result) == [("resource_limit", "error", None, "60000 new names, and there is room for 50000")]


def test_a_syntax_tree_is_data(parser):
    def here(column):
        return [(Atom("line"), 1), (Atom("column"), column)]

    tree = parser.call("ast", {"code": "never_seen(x, :und, 'a', \"b\") + {1, nil}"})["ast"]
    call = (Atom("never_seen"), here(1), [(Atom("x"), here(12), None), Atom("und"), [97], "b"])
    assert tree == (Atom("+"), here(31), [call, (1, None)])
    assert isinstance(tree[2][0][0], Atom)
    assert type(tree[2][0][2][3]) is str


# ----------------------------------------------------------------------------------------------- compiling


def test_modules_are_compiled_and_named(clean):
    result = clean.compile("defmodule B do\n  defmodule C do\n  end\nend\ndefmodule A do\nend")
    assert result == {"outcome": "ok", "diagnostics": [], "modules": ["A", "B", "B.C"], "output": ""}


def test_files_may_need_each_other(clean):
    files = [
        ["lib/a.ex", "defmodule A do\n  import B\n  def f, do: g()\nend"],
        ["lib/deep/b.ex", "defmodule B do\n  def g, do: %C{}\nend"],
        ["c.ex", "defmodule C do\n  defstruct [:x]\nend"],
    ]
    assert clean.call("compile", {"files": files, "guard": False})["modules"] == ["A", "B", "C"]


def test_files_stay_inside_their_folder(clean, tmp_path):
    files = [[f"../../../..{tmp_path}/a.ex", "defmodule A do\nend"], [f"{tmp_path}/b.ex", "defmodule B do\nend"]]
    assert clean.call("compile", {"files": files, "guard": False})["outcome"] == "ok"
    assert list(tmp_path.iterdir()) == []


def test_every_file_that_does_not_parse_is_named(clean):
    files = [["a.ex", "f("], ["lib/b.ex", "defmodule B do\nend"], ["lib/c.ex", "\n)"]]
    result = clean.call("compile", {"files": files, "guard": False})
    assert (result["outcome"], result["modules"]) == ("syntax_error", [])
    places = [(one["file"], one["line"], one["column"]) for one in result["diagnostics"]]
    assert places == [("a.ex", 1, 3), ("lib/c.ex", 2, 1)]


def in_function(body):
    return f"defmodule A do\n  def f(x) do\n    {body}\n  end\n  def g(x), do: x\nend"


def in_module(line):
    return f"defmodule A do\n  def g(x), do: x\n  {line}\nend"


# code, class, severity of the first diagnostic, its line, and what its message has.
CLASSES = [
    # the author's errors
    (in_function("x + unknown"), "compile_error", "error", 3, "unknown"),
    (in_module("defstruct [:a]\n  def h, do: %__MODULE__{b: 1}"), "compile_error", "error", 4, "key :b"),
    (in_module("@spec h(integer) :: integer"), "compile_error", "error", 3, "undefined function h/1"),
    (in_module("@spec g(nope()) :: integer"), "compile_error", "error", 3, "type nope/0 undefined"),
    (in_module('raise "boo"'), "compile_error", "error", 3, "** (RuntimeError) boo"),
    (
        in_module("{:ok, _} = :error"),
        "compile_error",
        "error",
        3,
        "** (MatchError) no match of right hand side value: :error",
    ),
    (in_module("throw(:away)"), "compile_error", "error", 3, "** (throw) :away"),
    (in_module("exit(:now)"), "compile_error", "error", 3, "** (exit) :now"),
    ("defmodule Enum do\n  def map(_, _), do: 1\nend", "compile_error", "error", 1, "redefining module Enum"),
    # of a module that is there, or nearly
    (in_function("nope(x)"), "undefined_function", "error", 3, "undefined function nope/1"),
    (in_function("&nope/2"), "undefined_function", "error", 3, "undefined function nope/2"),
    (
        in_function("B.p(x)") + "\ndefmodule B do\n  def q, do: p(1)\n  defp p(x), do: x\nend",
        "undefined_function",
        "warning",
        3,
        "B.p/1 is undefined or private",
    ),
    (in_function("Enum.mapp(x, x)"), "undefined_function", "warning", 3, "Enum.mapp/2 is undefined or private"),
    (in_function("Enum.map(x)"), "undefined_function", "warning", 3, "Enum.map/1 is undefined or private"),
    (in_function(":lists.mapp(x)"), "undefined_function", "warning", 3, ":lists.mapp/1 is undefined or private"),
    (in_function("Enumm.map(x, x)"), "undefined_function", "warning", 3, "Enumm.map/2 is undefined"),
    (in_function("{x, DateTIme.utc_now()}"), "undefined_function", "warning", 3, "DateTIme.utc_now/0 is undefined"),
    (in_function("String.Utils.trim(x)"), "undefined_function", "warning", 3, "String.Utils.trim/1 is undefined"),
    (in_function(":list.map(x, x)"), "undefined_function", "warning", 3, ":list.map/2 is undefined"),
    (in_function("%Enum{}"), "undefined_function", "error", 3, "Enum.__struct__/"),
    (in_function("%B{}") + "\ndefmodule B do\nend", "undefined_function", "error", 3, "B.__struct__/"),
    (in_module("import Enumm"), "undefined_function", "error", 3, "module Enumm is not loaded and could not be found"),
    (in_module("import Enum, only: [nope: 1]"), "undefined_function", None, 3, "cannot import Enum.nope/1"),
    (in_module("use Enum"), "undefined_function", "error", 3, "Enum.__using__/1 is undefined or private"),
    (in_module("Enum.nope()"), "undefined_function", "error", 3, "Enum.nope/0 is undefined or private"),
    (in_module("@behaviour GenServerr"), "undefined_function", "warning", 1, "@behaviour GenServerr does not exist"),
    (
        in_module("def h(x) when is_nope(x), do: x"),
        "undefined_function",
        "error",
        3,
        "cannot find or invoke local is_nope/1",
    ),
    # of a package that is not here
    (in_function("Ecto.Repo.all(x)"), "missing_dependency", "warning", 3, "Ecto.Repo.all/1 is undefined"),
    (in_function("Jason.encode!(x)"), "missing_dependency", "warning", 3, "Jason.encode!/1 is undefined"),
    (in_function("{x, Timex.now()}"), "missing_dependency", "warning", 3, "Timex.now/0 is undefined"),
    (in_function(":cowboy.start_clear(x)"), "missing_dependency", "warning", 3, ":cowboy.start_clear/1 is undefined"),
    (in_function("%Plug.Conn{} = x"), "missing_dependency", "error", 3, "Plug.Conn.__struct__/"),
    (in_function("raise NopeError, x"), "missing_dependency", "warning", 3, "NopeError.exception/1 is undefined"),
    (in_module("use Phoenix.Controller"), "missing_dependency", "error", 3, "module Phoenix.Controller is not loaded"),
    (in_module("import Nope"), "missing_dependency", "error", 3, "module Nope is not loaded and could not be found"),
    (in_module("require Ecto.Query"), "missing_dependency", "error", 3, "module Ecto.Query is not loaded"),
    (in_module("@behaviour Nope"), "missing_dependency", "warning", 1, "@behaviour Nope does not exist"),
    (
        in_module("@derive Jason.Encoder\n  defstruct [:a]"),
        "missing_dependency",
        "error",
        4,
        "could not load module Jason.Encoder",
    ),
    ("defimpl Nope, for: Any do\nend", "missing_dependency", "error", 1, "could not load module Nope"),
    ("x = 1\nNope.f(x)\nx", "missing_dependency", "error", 2, "Nope.f/1 is undefined (module Nope is not available)"),
    # doubts
    (in_function("1"), "warning", "warning", 2, 'variable "x" is unused'),
    (in_module("def h, do: @nope"), "warning", "warning", 3, "undefined module attribute @nope"),
    (in_module("def g(y), do: y"), "warning", "warning", 3, "this clause"),
]


@pytest.mark.parametrize(("code", "outcome", "severity", "line", "message"), CLASSES, ids=lambda value: str(value)[:40])
def test_what_the_compiler_says_has_its_class(machine, code, outcome, severity, line, message):
    result = machine.compile(code)
    first = result["diagnostics"][0]
    assert message in first["message"]
    assert result["outcome"] == first["check"] == outcome
    assert (first["line"], first["file"]) == (line, "lib/a.ex")
    assert severity in (first["severity"], None)  # newer versions only warn of some
    assert not machine.stats["recycle"]


def test_an_error_comes_before_the_warnings_of_the_same_text(clean):
    result = clean.compile(in_function("1") + "\n" + in_function("nope(1)").replace("A", "B"))
    assert result["outcome"] == "undefined_function"
    severities = [one["severity"] for one in result["diagnostics"]]
    assert severities == sorted(severities)


def test_a_module_of_the_same_text_is_no_missing_dependency(clean):
    code = in_function("MyApp.Helper.h(x)") + "\ndefmodule MyApp.Helper do\n  def i, do: 1\nend"
    assert clean.compile(code)["outcome"] == "undefined_function"
    assert (
        clean.compile(in_function("MyApp.Helperr.h(x)").replace("A do", "MyApp.Helper do"))["outcome"]
        == "undefined_function"
    )


def test_what_is_printed_while_compiling_is_kept(clean):
    result = clean.compile('IO.puts("é")\ndefmodule A do\n  IO.inspect([1, :two])\nend')
    assert result["output"] == "é\n[1, :two]\n"


def test_nothing_can_be_read_from_standard_input(clean):
    assert (
        clean.printed('IO.inspect({IO.gets("?"), IO.read(:stdio, 3), IO.read(:stdio, :line)})')
        == "{:eof, :eof, :eof}\n"
    )


# --------------------------------------------------------------------------------------------- definitions


def test_what_a_module_offers_is_listed(clean):
    code = """
    defmodule Shop.Item do
      @behaviour Access
      use GenServer
      defstruct [:price, name: "", tags: []]
      defmacro twice(x), do: quote(do: unquote(x) * 2)
      defguard is_cheap(x) when x < 10
      def total(item, count \\\\ 1), do: hidden(item) * count
      def unquote(:"odd name")(), do: 1
      defp hidden(item), do: item.price
      defmacrop private(x), do: x
      def use_it, do: private(1)
      def init(x), do: {:ok, x}
      def fetch(_, _), do: :error
      def get_and_update(_, _, _), do: {nil, nil}
      def pop(_, _), do: {nil, nil}
    end
    defmodule Shop.Error do
      defexception [:code, message: "no"]
    end
    defmodule Shop.Empty do
    end
    defprotocol Shop.Size do
      def size(x)
    end
    """
    result = clean.call("definitions", {"files": [["a.ex", code]], "guard": False})
    assert result["outcome"] == "ok", found(result)
    empty, error, item, size = result["modules"]
    assert empty == {"name": "Shop.Empty", "functions": [], "macros": [], "struct": None, "behaviours": []}
    assert error == {
        "name": "Shop.Error",
        "functions": [["exception", 1], ["message", 1]],
        "macros": [],
        "struct": ["code", "message"],
        "behaviours": ["Exception"],
    }
    assert item == {
        "name": "Shop.Item",
        "functions": [
            ["child_spec", 1],
            ["code_change", 3],
            ["fetch", 2],
            ["get_and_update", 3],
            ["handle_call", 3],
            ["handle_cast", 2],
            ["handle_info", 2],
            ["init", 1],
            ["odd name", 0],
            ["pop", 2],
            ["terminate", 2],
            ["total", 1],
            ["total", 2],
            ["use_it", 0],
        ],
        "macros": [["is_cheap", 1], ["twice", 1]],
        "struct": ["price", "name", "tags"],
        "behaviours": ["Access", "GenServer"],
    }
    assert (size["name"], size["functions"]) == ("Shop.Size", [["impl_for", 1], ["impl_for!", 1], ["size", 1]])


def test_what_does_not_compile_offers_nothing(clean):
    result = clean.call("definitions", {"files": [["a.ex", in_function("nope()")]], "guard": False})
    assert (result["outcome"], result["modules"]) == ("undefined_function", [])


# --------------------------------------------------------------------------------------------------- tests

CODE = "defmodule A do\n  def add(x, y), do: x + y\n  def slow, do: Process.sleep(:infinity)\nend\n"


def suite_of(*bodies):
    """A test module with a test on each line from the third on."""
    lines = [f'  test "t{number}", do: ({body})' for number, body in enumerate(bodies, 1)]
    return "\n".join(["defmodule ATest do", "  use ExUnit.Case, async: true", *lines, "end"])


def test_each_test_has_its_verdict(clean):
    tests = """
    defmodule ATest do
      use ExUnit.Case
      describe "add" do
        test "works", do: assert A.add(1, 2) == 3
        test "fails" do
          assert A.add(1, 2) == 4
        end
      end
      @tag :skip
      test "later"
      @tag skip: "because"
      test "not now", do: :ok
    end
    """
    result = clean.test(CODE, textwrap.dedent(tests))
    assert result["outcome"] == "test_failure"
    assert [(test["name"], test["state"], test["line"]) for test in result["tests"]] == [
        ("later", "skipped", 11),
        ("not now", "skipped", 13),
        ("add works", "passed", 5),
        ("add fails", "failed", 6),
    ]
    failed = result["tests"][3]
    assert failed["message"] == (
        "Assertion with == failed\ncode:  assert A.add(1, 2) == 4\nleft:  3\nright: 4\n"
        "stacktrace:\n  test/a_test.exs:7: (test)"
    )
    assert (failed["module"], failed["file"]) == ("ATest", "test/a_test.exs")
    assert 0 <= failed["duration_us"] < 1_000_000
    assert result["tests"][1]["message"] == "because"
    assert result["modules"] == ["A"]


def test_tests_that_pass_are_ok(clean):
    result = clean.test(CODE, suite_of("assert A.add(1, 2) == 3", "assert true"))
    assert (result["outcome"], result["diagnostics"]) == ("ok", [])
    assert verdicts(result) == [("t1", "passed"), ("t2", "passed")]


def test_a_second_run_knows_nothing_of_the_first(clean):
    clean.test(CODE, suite_of("flunk()", "assert true"))
    assert verdicts(clean.test(CODE, suite_of("assert true"))) == [("t1", "passed")]
    clean.test(CODE, suite_of("assert true") + "\nnope(")
    clean.test(CODE, suite_of("assert true") + '\nraise "after a module of tests"')
    assert clean.test(CODE, "")["outcome"] == "test_failure"


def test_the_seed_orders_the_tests(clean):
    tests = suite_of(*["assert true"] * 8)
    orders = [[name for name, _ in verdicts(clean.test(CODE, tests, seed=seed))] for seed in (0, 0, 7, 7, 8)]
    assert orders[0] == orders[1] == [f"t{number}" for number in range(1, 9)]
    assert orders[2] == orders[3]
    assert sorted(orders[2]) == orders[0]
    assert len({tuple(order) for order in orders}) == 3


@pytest.mark.parametrize(
    ("body", "outcome", "message"),
    [
        ("assert A.add(1, 1) == 3", "test_failure", "Assertion with == failed"),
        ('raise "boo"', "test_failure", "** (RuntimeError) boo"),
        ("throw(:x)", "test_failure", "** (throw) :x"),
        ("exit(:boom)", "test_failure", "** (exit) :boom"),
        ("Process.exit(self(), :kill)", "test_failure", "** (EXIT from"),
        ("String.length(1)", "test_failure", "** (FunctionClauseError)"),
        (
            "Enum.count(:no_list)",
            "test_failure",
            "** (Protocol.UndefinedError) protocol Enumerable not implemented for",
        ),
        ("A.nope()", "undefined_function", "** (UndefinedFunctionError) function A.nope/0 is undefined or private"),
        (
            "apply(Enumm, :map, [])",
            "undefined_function",
            "function Enumm.map/0 is undefined (module Enumm is not available",
        ),
        ("apply(Nope, :f, [])", "missing_dependency", "function Nope.f/0 is undefined (module Nope is not available"),
        ("Task.await(Task.async(fn -> A.nope() end))", "undefined_function", "A.nope/0 is undefined"),
        ("A.slow()", "timeout", "** (ExUnit.TimeoutError) test timed out after 150ms"),
        ("Enum.to_list(1..100_000_000)", "resource_limit", "killed"),
    ],
)
def test_what_fails_at_run_time_has_its_class(clean, body, outcome, message):
    result = clean.test(CODE, suite_of(body, "assert true"), timeout_ms=150 if "slow" in body else 5000)
    assert result["outcome"] == outcome
    assert verdicts(result) == [("t1", "failed"), ("t2", "passed")]
    assert message in result["tests"][0]["message"]


def test_one_wrong_answer_among_slow_ones_is_a_failure(clean):
    assert clean.test(CODE, suite_of("A.slow()", "flunk()"), timeout_ms=100)["outcome"] == "test_failure"


def test_a_setup_that_fails_makes_its_tests_invalid(clean):
    result = clean.test(CODE, suite_of("assert true").replace("  test", '  setup_all do\n raise "no"\n end\n  test'))
    assert (result["outcome"], verdicts(result)) == ("test_failure", [("t1", "invalid")])
    assert "** (RuntimeError) no" in result["tests"][0]["message"]


def test_messages_have_an_end(clean):
    result = clean.test(CODE, suite_of('flunk(String.duplicate("é", 100_000))'))
    assert len(result["tests"][0]["message"]) == 4000


def test_a_value_that_cannot_be_printed_is_a_failure_like_others(clean):
    code = "defmodule A do\n  defstruct [:x]\n  defimpl Inspect do\n    def inspect(_, _), do: exit(:no)\n  end\nend"
    result = clean.test(code, suite_of("assert %A{} == 1", "assert true"))
    assert (result["outcome"], verdicts(result)) == ("test_failure", [("t1", "failed"), ("t2", "passed")])


def test_code_that_does_not_compile_runs_no_tests(clean):
    result = clean.test(in_function("x + unknown"), suite_of("assert true"))
    assert (result["outcome"], result["tests"], result["modules"]) == ("compile_error", [], [])
    result = clean.test(CODE, "defmodule ATest do")
    assert (result["outcome"], result["tests"]) == ("syntax_error", [])
    assert result["diagnostics"][0]["file"] == "test/a_test.exs"
    result = clean.test(CODE, suite_of("assert unknown"))
    assert (result["outcome"], result["tests"]) == ("compile_error", [])


def test_no_test_is_no_success(clean):
    result = clean.test(CODE, "")
    assert found(result) == [("test_failure", "error", None, "no test ran")]


def test_doubts_of_the_compiler_do_not_undo_tests_that_pass(clean):
    result = clean.test(in_function("Nope.f(x)"), suite_of("assert A.g(1) == 1"))
    assert result["outcome"] == "warning"
    assert found(result)[0][:3] == ("missing_dependency", "warning", 3)


def test_what_tests_print_is_kept(clean):
    body = (
        'IO.puts("out"); IO.puts(:stderr, "err"); assert ExUnit.CaptureIO.capture_io(fn -> IO.puts("x") end) == "x\\n"'
    )
    result = clean.test(CODE, suite_of(body))
    assert (result["outcome"], result["output"]) == ("ok", "out\nerr\n")


def test_logs_can_be_captured(clean):
    tests = suite_of('assert ExUnit.CaptureLog.capture_log(fn -> Logger.error("seen") end) =~ "seen"')
    assert clean.test(CODE, tests.replace("use ExUnit.Case", "require Logger\n  use ExUnit.Case"))["outcome"] == "ok"


def test_what_suites_commonly_use_works(clean):
    code = """
    defmodule Counter do
      use Agent
      require Logger
      def start_link(n), do: Agent.start_link(fn -> n end, name: __MODULE__)
      def next, do: Agent.get_and_update(__MODULE__, &{&1, &1 + 1})
      def warn, do: Logger.warn("careful")
    end
    """
    tests = """
    defmodule CounterTest do
      use ExUnit.Case, async: true
      import ExUnit.{CaptureIO, CaptureLog}
      @moduletag :capture_log

      setup_all do
        {:ok, from: 5}
      end

      setup %{from: from} do
        on_exit(fn -> send(self(), :done) end)
        start_supervised!({Counter, from})
        :ok
      end

      test "counts", %{from: from} do
        assert [Counter.next(), Counter.next()] == [from, from + 1]
      end

      test "starts anew", do: assert Counter.next() == 5
      test "logs", do: assert capture_log(fn -> Counter.warn() end) =~ "careful"
      test "prints", do: assert capture_io(:stderr, fn -> IO.puts(:stderr, "x") end) == "x\\n"
      test "receives" do
        send(self(), {:hello, 1})
        assert_receive {:hello, n} when n == 1
        refute_received _
        assert_raise ArgumentError, fn -> String.to_integer("x") end
        assert catch_exit(exit(:out)) == :out
      end
      @tag :tmp_dir
      test "has a folder", %{tmp_dir: folder}, do: assert File.ls!(folder) == []
      for n <- 1..3 do
        test "made #{n}", do: assert unquote(n) < 4
      end
    end

    defmodule SecondTest do
      use ExUnit.Case, async: true
      test "second", do: :ok
    end

    defmodule ThirdTest do
      use ExUnit.Case
      test "third", do: :ok
    end
    """
    result = clean.test(code, tests)
    assert {test["state"] for test in result["tests"]} == {"passed"}, result["tests"]
    assert len(result["tests"]) == 11


# ------------------------------------------------------------------------------------------------ doctests

DOCUMENTED = '''
defmodule Doc do
  @moduledoc """
      iex> 1 + 1
      2
  """
  @doc """
  Adds one.

      iex> Doc.inc(1)
      2

      iex> Doc.inc(2)
      4
  """
  def inc(x), do: x + 1
  def without, do: 1
end

defmodule Plain do
  def f, do: 1
end
'''


def doctest(machine, code, modules=None):
    args = {"files": [["lib/doc.ex", code]], "guard": False, "timeout_ms": 1000, "modules": modules}
    return machine.call("doctest", args)


def test_each_example_of_the_documentation_is_a_test(clean):
    result = doctest(clean, DOCUMENTED)
    assert result["outcome"] == "test_failure"
    assert {(test["module"], test["file"]) for test in result["tests"]} == {("Doc", "lib/doc.ex")}
    assert verdicts(result) == [
        ("doctest module Doc (1)", "passed"),
        ("doctest Doc.inc/1 (2)", "passed"),
        ("doctest Doc.inc/1 (3)", "failed"),
    ]
    failed = result["tests"][2]
    assert failed["line"] == 13
    assert failed["message"].startswith("Doctest failed\ndoctest:\n  iex> Doc.inc(2)\n  4\n")
    assert result["modules"] == ["Doc", "Plain"]


def test_examples_of_some_modules_can_be_asked_for(clean):
    assert doctest(clean, DOCUMENTED, ["Plain"]) | {"modules": []} == {
        "outcome": "ok",
        "diagnostics": [],
        "modules": [],
        "output": "",
        "tests": [],
    }
    result = doctest(clean, DOCUMENTED, ["Doc", "Nope"])
    assert found(result) == [("test_failure", "error", None, "there is no module Nope to take examples from")]


def test_an_example_that_is_not_elixir_is_a_failure(clean):
    result = doctest(clean, DOCUMENTED.replace("Doc.inc(1)", "Doc.inc("))
    assert result["outcome"] == "test_failure"
    message = (result["diagnostics"] + result["tests"])[-1]["message"]
    assert "Doc.inc(" in "".join(one["message"] for one in result["diagnostics"] + result["tests"]), message


def test_code_without_documentation_has_no_examples(clean):
    result = doctest(clean, CODE)
    assert (result["outcome"], result["tests"]) == ("ok", [])


# ------------------------------------------------------------------------------------- what a job leaves behind

LEFTOVERS = {
    "processes": "for _ <- 1..50, do: spawn(fn -> Process.sleep(:infinity) end)",
    "a process that traps exits": "spawn(fn -> Process.flag(:trap_exit, true); Process.sleep(:infinity) end)",
    "processes that start others": """
    defmodule Again do
      def run, do: (Process.sleep(1); spawn(&Again.run/0))
    end
    spawn(&Again.run/0)
    """,
    "a name": "Process.register(spawn(fn -> Process.sleep(:infinity) end), :taken)",
    "a name of another process": """
    nameless? = &(Process.info(&1, :registered_name) == {:registered_name, []})
    Process.list() |> Enum.find(nameless?) |> Process.register(:also)
    """,
    "a table": ":ets.new(:table, [:named_table, :public])",
    "a table of another process": """
    table = :ets.new(:given, [:named_table, :public])
    :ets.give_away(table, Process.whereis(:init), [])
    """,
    "a persistent term": ":persistent_term.put(:key, :value)",
    "a setting": "Application.put_env(:elixir, :extra, 1); Application.put_env(:ex_unit, :seed, 99)",
    "a deleted setting": "Application.delete_env(:kernel, :logger_level)",
    "a variable": 'System.put_env("LEFT", "1"); System.delete_env("HOME")',
    "a folder": 'File.mkdir_p!("deep/er"); File.cd!("deep/er")',
    "code paths": 'Code.prepend_path("/tmp"); Code.append_path("/")',
    "a compiler option": "Code.put_compiler_option(:warnings_as_errors, true)",
    "a port of a URI scheme": 'URI.default_port("left", 77)',
    "a hook at exit": "System.at_exit(fn _ -> :ok end)",
    "a level of logging": ":logger.set_primary_config(:level, :none)",
    "a log handler": ":logger.add_handler(:mine, :logger_std_h, %{})",
    "modules": 'for n <- 1..20, do: defmodule(Module.concat(Left, "M#{n}"), do: nil)',
    "standard error": "Process.unregister(:standard_error)",
    "a tracer": "spawn(fn -> :erlang.trace(:all, true, [:call]); Process.sleep(:infinity) end)",
}

STATE = """
defmodule ElixirCoderState do
  def print do
    parts = %{
      processes: Process.list() |> Enum.map(&Process.info(&1, :registered_name)) |> Enum.sort() |> Enum.dedup(),
      names: :erlang.registered() |> Enum.sort(),
      tables: :ets.all() |> Enum.filter(&is_atom/1) |> Enum.sort(),
      terms: for({key, _} <- :persistent_term.get(), not match?({:logger_config, _}, key), do: key) |> Enum.sort(),
      settings: :ac_tab |> :ets.match_object({{:env, :_, :_}, :_}) |> Enum.sort(),
      elixir: :elixir_config |> :ets.tab2list() |> Enum.sort(),
      variables: System.get_env(),
      path: :code.get_path(),
      options: for(option <- Code.available_compiler_options(), do: {option, Code.get_compiler_option(option)}),
      log: {:logger.get_primary_config(), :logger.get_handler_ids() |> Enum.sort()},
      modules: for(module <- :erlang.loaded(), Atom.to_string(module) =~ ~r/Left|Again/, do: module)
    }
    IO.inspect(parts, limit: :infinity, printable_limit: :infinity)
  end
end
ElixirCoderState.print()
"""


@pytest.mark.parametrize("leftover", LEFTOVERS)
def test_a_job_leaves_nothing_behind(machine, leftover):
    before = machine.printed(STATE)
    before = machine.printed(STATE)
    worker = machine.worker
    assert machine.compile(LEFTOVERS[leftover])["outcome"] in ("ok", "warning")
    assert not machine.stats["recycle"], "the machine could not clean up"
    assert machine.printed(STATE) == before
    assert machine.worker is worker


def test_who_prints_cannot_have_a_function_called_by_the_one_who_collects_the_output(clean):
    result = clean.compile(
        """
        ask = fn chars ->
          ref = make_ref()
          send(Process.group_leader(), {:io_request, self(), ref, chars})
          receive do: ({:io_reply, ^ref, reply} -> IO.inspect(reply))
        end
        ask.({:put_chars, :unicode, :erlang, :binary_part, ["called\n", 0, 7]})
        ask.({:put_chars, :unicode, :io_lib, :format, ["~s~n", ["formatted"]]})
        """
    )
    assert result["output"] == "{:error, :request}\nformatted\n:ok\n"


def test_files_of_others_stay_when_a_job_without_a_sandbox_is_over(clean, tmp_path):
    (tmp_path / "theirs").touch()
    with tempfile.NamedTemporaryFile() as other:
        result = clean.compile(
            f'System.put_env("TMPDIR", "{tmp_path}")\nFile.write!("mine", "x")\nIO.puts(File.cwd!())'
        )
        assert Path(other.name).exists()
    assert (tmp_path / "theirs").exists()
    assert not Path(result["output"].strip()).exists()


def test_a_machine_without_one_of_its_tables_asks_to_be_replaced(machine):
    machine.compile(":ets.delete(:elixir_modules)")
    assert machine.stats["recycle"]
    machine.runner.run(machine.worker.close())


def test_leftover_processes_are_counted(clean):
    clean.compile(LEFTOVERS["processes"])
    assert clean.stats["left_processes"] >= 50


@pytest.mark.parametrize(
    "code",
    [
        "Process.exit(Process.whereis(:logger), :kill)",
        ":timer.apply_after(60_000, IO, :puts, [1])",
        "for pid <- Process.list(), pid != self(), do: Process.link(pid)",
        "System.at_exit(fn _ -> :ok end)",
        "for pid <- Process.list(), do: send(pid, {:io_reply, make_ref(), :ok})",
    ],
)
def test_a_machine_that_cannot_clean_up_says_so_or_is_as_before(machine, code):
    before = machine.printed(STATE)
    try:
        machine.compile(code)
    except WorkerDied:
        return
    if not machine.stats["recycle"]:
        assert machine.printed(STATE) == before
    machine.runner.run(machine.worker.close())


def test_files_of_a_job_are_removed(machine):
    folder = machine.printed("IO.write(File.cwd!())")
    files = Path(folder).parent
    assert files.name.startswith("elixir-coder-")
    machine.compile('File.write!(Path.join(System.tmp_dir!(), ".left"), "x")')
    assert list(files.iterdir()) == []
    machine.runner.run(machine.worker.close())
    assert not files.exists()


# -------------------------------------------------------------------------------------------------- limits


@pytest.mark.parametrize(
    "code",
    [
        "defmodule A do\n  def f, do: f()\n  Process.sleep(:infinity)\nend",
        "defmodule A do\n  f = fn f -> f.(f) end\n  f.(f)\nend",
        "for _ <- 1..4, do: spawn(fn -> Enum.reduce(Stream.cycle([1]), 0, & &1 + &2) end)\nProcess.sleep(:infinity)",
    ],
)
def test_a_job_ends_at_its_deadline_and_the_machine_lives_on(clean, code):
    started = time.monotonic()
    result = clean.compile(code, deadline_s=0.3)
    assert time.monotonic() - started < 10
    assert found(result) == [("timeout", "error", None, "no end within the time allowed")]


def test_too_much_output_ends_the_job(clean):
    result = clean.compile('for _ <- 1..400, do: IO.puts(String.duplicate("x", 1_000_000))')
    assert found(result) == [("resource_limit", "error", None, "more output than is allowed (16777216 bytes)")]
    result = clean.compile('for _ <- 1..5, do: IO.puts(String.duplicate("é", 20_000))')
    assert result["outcome"] == "ok"
    assert len(result["output"].encode()) in (65535, 65536)


@pytest.mark.parametrize(
    "how", ["{}", "spawn_link(fn -> {} end)\nProcess.sleep(:infinity)", "Task.await(Task.async(fn -> {} end))"]
)
def test_a_process_that_outgrows_its_heap_ends_the_job(clean, how):
    result = clean.compile(how.format("Enum.to_list(1..100_000_000)"))
    assert result["outcome"] == "resource_limit"
    assert found(result)[-1] == ("resource_limit", "error", None, "a process needed more memory than is allowed")


def test_more_processes_than_allowed_end_the_job(clean):
    result = clean.compile("for _ <- 1..40_000, do: spawn(fn -> Process.sleep(:infinity) end)")
    assert result["outcome"] == "resource_limit"


def test_a_job_may_end_its_own_processes(clean):
    assert clean.compile("Process.exit(self(), :kill)")["outcome"] == "compile_error"


SUSPEND_ALL = """
for pid <- Process.list(), pid != self() do
  try do
    :erlang.suspend_process(pid)
  rescue
    ArgumentError -> :ok
  end
end
Process.sleep(:infinity)
"""

DEATHS = {
    "System.halt(3)": ("crash", True, "the machine ended with exit code 3"),
    "System.halt(0)": ("crash", True, "the machine ended with exit code 0"),
    ":erlang.halt(~c(slogan))": ("crash", True, "slogan"),
    'for n <- 1..2_000_000, do: String.to_atom("atom#{n}")': ("resource_limit", True, "more atoms than are allowed"),
    'Enum.map(1..12, fn _ -> :binary.copy(String.duplicate("a", 1_000), 100_000) end)': (
        "resource_limit",
        True,
        "more memory than is allowed",
    ),
    "for pid <- Process.list(), pid != self(), do: Process.exit(pid, :kill)": ("crash", True, ""),
    "for port <- Port.list(), do: (try do Port.close(port) rescue _ -> 1 end)": ("crash", True, ""),
    SUSPEND_ALL: ("timeout", True, "no end within 0.5 s"),
    "Process.flag(:priority, :max)\nEnum.each(Stream.cycle([1]), & &1)": ("timeout", True, "no end within 0.5 s"),
    'for _ <- 1..20, do: IO.puts(:user, String.duplicate("x", 1_000_000))\nProcess.sleep(5_000)': (
        "resource_limit",
        True,
        "more output than is allowed (16777216 bytes)",
    ),
}


@pytest.mark.parametrize("code", DEATHS, ids=lambda code: code[:40])
def test_a_dying_machine_names_the_class_of_its_job(machine, code):
    outcome, by_job, detail = DEATHS[code]
    with pytest.raises(WorkerDied) as died:
        machine.compile(code, deadline_s=0.5 if outcome == "timeout" else 20)
    assert (died.value.outcome, died.value.by_job) == (outcome, by_job)
    assert detail in died.value.detail
    assert not machine.worker.alive
    assert machine.compile("1")["outcome"] == "ok"


def test_a_machine_killed_from_outside_is_not_the_fault_of_its_job(machine):
    machine.compile("1")
    [pid] = machines(machine.worker._process.pid) or [machine.worker._process.pid]

    async def killed():
        call = asyncio.ensure_future(machine.worker.call(*running("Process.sleep(:infinity)"), deadline_s=20))
        await asyncio.sleep(0.2)
        os.kill(pid, signal.SIGKILL)
        await call

    with pytest.raises(WorkerDied) as died:
        machine.runner.run(killed())
    assert (died.value.outcome, died.value.by_job) == ("crash", False)


def running(code):
    return "compile", {"files": [["a.ex", code]], "guard": False}


# ------------------------------------------------------------------------------------ starting, ending, forging


async def start(**options):
    return await Worker.start(OPEN, limits=OPEN.limits, **options)


def test_a_worker_knows_its_versions_and_leaves_no_process():
    async def main():
        worker = await start()
        assert [part.isdigit() for part in [*worker.elixir.split(".")[:2], worker.otp]] == [True] * 3
        assert worker.alive and worker.atoms > 5_000 and worker.num_jobs == 0
        await worker.call("parse", {"code": "1"}, deadline_s=20)
        assert worker.num_jobs == 1
        below = {worker._process.pid, *descendants(worker._process.pid)}
        await worker.close()
        assert not worker.alive
        await worker.close()
        assert are_gone(below)

    asyncio.run(main())


def test_a_cancelled_call_leaves_a_worker_that_can_be_closed():
    async def main():
        worker = await start(evaluates=True)
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.3):
                await worker.call(*running("Process.sleep(:infinity)"), deadline_s=20)
        assert not worker.alive
        await worker.close()

    asyncio.run(main())


class TwoProcesses(NoSandbox):
    """Starts a program that is two processes, as bubblewrap is, and the first may end without the second."""

    def __init__(self, begun):
        super().__init__()
        object.__setattr__(self, "begun", begun)

    def launch(self, argv, **options):
        asyncio.get_running_loop().call_soon(self.begun)  # as soon as the start of the program waits for anything
        launch = super().launch(argv, **options)
        return Launch(("sh", "-c", "sleep 60 & sleep 60"), dict(os.environ), launch.options)


def test_a_start_cancelled_halfway_ends_and_leaves_no_process():
    begun = []

    def cancel():
        while len(begun) < 2:
            begun[:] = [pid for pid, name in descendants().items() if name == "sleep"]
        starting.cancel()

    starting = None

    async def main():
        nonlocal starting
        starting = asyncio.ensure_future(Worker.start(TwoProcesses(cancel), limits=OPEN.limits))
        done, _ = await asyncio.wait([starting], timeout=20)
        assert done and starting.cancelled()
        assert are_gone(begun)

    asyncio.run(main())


def test_code_paths_can_be_used_and_not_replaced(tmp_path):
    source = tmp_path / "there.ex"
    source.write_text("defmodule There do\n  def f, do: 7\nend")
    subprocess.run(["elixirc", "-o", str(tmp_path), str(source)], check=True)

    async def main():
        worker = await start(evaluates=True, code_paths=[tmp_path])
        for _ in range(2):
            result, stats = await worker.call(*running("IO.inspect(There.f())"), deadline_s=20)
            assert (result["output"], stats["recycle"]) == ("7\n", False)
            result, stats = await worker.call(*running("defmodule There do\n  def f, do: 8\nend"), deadline_s=20)
            assert not stats["recycle"]
        await worker.close()

    asyncio.run(main())


def test_the_worker_works_in_the_sandbox():
    machine = Machine(evaluates=None, launch_with=Sandbox.probe())
    try:
        result = machine.test(CODE, suite_of("assert A.add(1, 2) == 3"), guard=True)
        assert verdicts(result) == [("t1", "passed")], found(result)
        listing = 'IO.inspect(Enum.reject(File.ls!("/tmp"), &String.starts_with?(&1, "job-")))'  # each job has its own
        before = machine.printed(listing)
        machine.compile('File.write!("/tmp/left", "x"); File.mkdir!("/tmp/also")')
        assert machine.printed(listing) == before
    finally:
        machine.close()


class Impostor(NoSandbox):
    """Starts a Python program in place of the virtual machine; it speaks on the same pipes."""

    def __init__(self, script):
        super().__init__()
        object.__setattr__(self, "script", script)

    def launch(self, argv, **options):
        launch = super().launch(argv, **options)
        start = argv.index("-elixir_coder_from")
        prelude = f"""
        import sys; sys.path[:] = {sys.path!r}
        import os, time
        from elixir_coder.toolchain.terms import encode, decode
        def read():
            size = int.from_bytes(os.read({argv[start + 1]}, 4), "big")
            return decode(os.read({argv[start + 1]}, size))
        def raw(data): os.write({argv[start + 3]}, data)
        def write(term): data = encode(term); raw(len(data).to_bytes(4, "big") + data)
        ready = ("ready", {{"elixir": "1", "otp": "2", "atoms": 3}})
        good = {{"outcome": "ok", "diagnostics": []}}
        stats = {{"atoms": 3}}
        """
        program = textwrap.dedent(prelude) + self.script
        return Launch((sys.executable, "-c", program), dict(os.environ), launch.options)


FORGERIES = {
    "the key of another": ("write((number, '0' * 32, good, stats))", "the answer is not one to the request"),
    "the number of another": ("write((number + 1, key, good, stats))", "the answer is not one to the request"),
    "no statistics": ("write((number, key, good))", "the answer is not one to the request"),
    "another type": ("write([number, key, good, stats])", "the answer is not one to the request"),
    "a result without a class": ("write((number, key, {}, stats))", "the answer is not one to the request"),
    "no term": ("raw(b'\\0\\0\\0\\3abc')", "the answer is not readable: not an Erlang term"),
    "an endless frame": ("raw(b'\\xff' * 4)", "the answer is not readable: 4294967295 bytes"),
    "half a frame": ("raw(b'\\0\\0\\1\\0abc'); sys.exit(0)", "the machine ended with exit code 0"),
    "a closed pipe": ("os.closerange(3, 99); time.sleep(60)", "the machine closed its connection"),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_an_answer_that_is_none_ends_the_worker(forgery):
    reply, detail = FORGERIES[forgery]
    script = f"write(ready)\nnumber, key, op, args = read()\n{reply}\ntime.sleep(60)"

    async def main():
        worker = await Worker.start(Impostor(script), limits=Limits())
        with pytest.raises(WorkerDied) as died:
            await worker.call("parse", {"code": ""}, deadline_s=10)
        assert (died.value.outcome, died.value.by_job) == ("crash", True)
        assert died.value.detail.startswith(detail)
        assert not worker.alive

    asyncio.run(main())


def test_an_answer_written_before_the_request_is_not_taken():
    script = "write(ready)\nwrite((1, '0' * 32, good, stats))\ntime.sleep(60)"

    async def main():
        worker = await Worker.start(Impostor(script), limits=Limits())
        with pytest.raises(WorkerDied, match="not one to the request"):
            await worker.call("parse", {"code": ""}, deadline_s=10)

    asyncio.run(main())


@pytest.mark.parametrize(
    ("script", "detail"),
    [
        ("print('cannot boot', file=sys.stderr); sys.exit(1)", "the machine ended with exit code 1: cannot boot"),
        ("write('hello'); time.sleep(60)", "the machine did not say that it is ready"),
        ("raw(b'\\0\\0\\0\\1x'); time.sleep(60)", "the machine did not say that it is ready"),
    ],
)
def test_a_machine_that_does_not_come_up_says_why(script, detail):
    with pytest.raises(WorkerDied, match=detail):
        asyncio.run(Worker.start(Impostor(script), limits=Limits()))


def test_a_worker_is_compiled_once_even_when_several_start(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    runs = []
    real = worker_module._run_elixirc
    monkeypatch.setattr(worker_module, "_run_elixirc", lambda *args: (runs.append(1), real(*args)))
    worker_module._compiled_as.cache_clear()
    installation = worker_module.find_elixir()
    with ThreadPoolExecutor(2) as pool:
        folders = set(pool.map(lambda _: worker_module._compiled(installation), range(4)))
    worker_module._compiled_as.cache_clear()
    [folder] = folders
    assert folder.parent == tmp_path / "elixir-coder"
    assert (folder / "Elixir.ElixirCoder.Worker.beam").exists()
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]  # no half-made one beside it
    again = len(runs)
    assert worker_module._compiled(installation) == folder
    assert len(runs) == again
    worker_module._compiled_as.cache_clear()


def test_a_worker_works_where_no_cache_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    worker_module._compiled_as.cache_clear()
    folder = worker_module._compiled(worker_module.find_elixir())
    worker_module._compiled_as.cache_clear()
    assert (folder / "Elixir.ElixirCoder.Worker.beam").exists()


def test_without_elixir_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("ELIXIR_CODER_ELIXIR", raising=False)
    with pytest.raises(MissingDependencyError, match="apt install elixir"):
        asyncio.run(start())
