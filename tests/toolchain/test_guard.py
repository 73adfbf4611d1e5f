"""Code under judgement cannot reach its verdict, and code that means no harm is not refused.

Without the sandbox, to see what the guard is worth alone.
"""

import re
from pathlib import Path

import pytest

from elixir_coder.toolchain.finding import Outcome, Severity
from elixir_coder.toolchain.toolchain import Toolchain
from tests.toolchain import forgeries

pytestmark = pytest.mark.elixir

RIGHT = "defmodule Answer do\n  def answer, do: 42\nend\n"


def honest():
    """(name, code, tests) of the programs in `honest.exs`."""
    text = (Path(__file__).parent / "honest.exs").read_text(encoding="utf-8")
    parts = re.split(r"^#### (.*)\n", text, flags=re.MULTILINE)[1:]
    return [(name, *program.split("#-- tests\n")) for name, program in zip(parts[::2], parts[1::2])]


HONEST = honest()


@pytest.fixture(scope="module")
def toolchain():
    with Toolchain(workers=1, sandbox=False) as toolchain:
        yield toolchain


def refusals(report):
    return [(finding.line, finding.column, finding.message) for finding in report.findings]


# ------------------------------------------------------------------------------------------------------ forged verdicts


@pytest.mark.parametrize("forgery", forgeries.FORGERIES, ids=lambda forgery: forgery.name)
def test_a_forged_verdict_is_no_good_verdict(toolchain, forgery):
    report = toolchain.test(forgery.code, forgery.tests)
    assert not report.passed
    assert report.outcome not in (Outcome.OK, Outcome.WARNING)
    if forgery.refused:
        assert report.outcome == Outcome.FORBIDDEN_CALL
        assert report.findings[0].check == "forbidden_call"
        assert report.findings[0].severity == Severity.ERROR


def test_there_are_more_than_a_hundred_different_forgeries():
    assert len({forgery.name for forgery in forgeries.FORGERIES}) == len(forgeries.FORGERIES) > 100


def test_a_right_program_passes_all_tests_that_forgeries_are_put_to(toolchain):
    for tests in {forgery.tests for forgery in forgeries.FORGERIES}:
        code = RIGHT.replace("end\n", "  def other, do: 42\n  defmacro __using__(_), do: nil\nend\n")
        assert toolchain.test(code, tests).outcome == Outcome.OK


def test_after_a_forgery_the_next_program_is_judged_as_ever(toolchain):
    lasting = "spawn(fn -> Process.sleep(30); send(:init, {:stop, :stop}) end)\n  def answer, do: 41"
    assert not toolchain.test(RIGHT.replace("def answer, do: 42", lasting), forgeries.TESTS).passed
    assert toolchain.test(RIGHT, forgeries.TESTS).passed
    assert toolchain.test(RIGHT.replace("42", "41"), forgeries.TESTS).outcome == Outcome.TEST_FAILURE


# ------------------------------------------------------------------------------------------------------ honest programs


@pytest.mark.parametrize(("name", "code", "tests"), HONEST, ids=[name for name, _, _ in HONEST])
def test_an_honest_program_is_not_refused(toolchain, name, code, tests):
    report = toolchain.test(code, tests)
    assert refusals(report) == []
    assert report.outcome == Outcome.OK


def test_the_honest_programs_are_many():
    assert len(HONEST) >= 60


OWN_NAMES = [
    """
    defmodule A do
      alias A.System
      def f, do: System.halt(0)
    end

    defmodule A.System do
      def halt(x), do: x
    end
    """,
    """
    defmodule A do
      defmodule File do
        def write!(a, b), do: {a, b}
      end

      def f, do: File.write!(1, 2)
    end
    """,
    """
    defmodule A do
      @spec f(File.Stat.t(), port()) :: System.time_unit()
      def f(_, _), do: :second
    end
    """,
    """
    defmodule A do
      defmodule List do
        defstruct [:a]
      end

      def f, do: %List{a: 1}
    end
    """,
    """
    defmodule A do
      def halt(map), do: map.system.halt
      def os, do: {:os, :cmd, ["ls"]}
    end
    """,
]


@pytest.mark.parametrize("code", OWN_NAMES)
def test_names_of_its_own_are_the_codes_own(toolchain, code):
    assert toolchain.compile(code).findings == ()


# ------------------------------------------------------------------------------------------------------ what it says


def test_a_refusal_names_the_call_its_reason_and_the_place(toolchain):
    code = "defmodule A do\n  alias System, as: S\n\n  def f(x), do: x |> S.halt()\nend\n"
    (finding,) = toolchain.compile({"lib/a.ex": code}).findings
    assert (finding.path, finding.line, finding.column) == ("lib/a.ex", 4, 22)
    assert (
        finding.message == "`System.halt/1` may not be called: it acts on the virtual machine or the operating system"
    )


def test_every_refused_call_is_named_at_once(toolchain):
    code = "defmodule A do\n  def f, do: Port.list()\n  def g, do: :os.getenv()\n  def h, do: Node.stop()\nend\n"
    assert [finding.line for finding in toolchain.compile(code).findings] == [2, 3, 4]


def test_what_a_macro_makes_is_refused_where_it_is_used(toolchain):
    code = (
        "defmodule A do\n  defmacro call(m, f), do: {{:., [], [m, f]}, [], []}\nend\n\n"
        "defmodule B do\n  import A\n  def f do\n    :fine\n    call(:init, :stop)\n  end\nend\n"
    )
    (finding,) = toolchain.compile(code).findings
    assert (finding.check, finding.line) == ("forbidden_call", 9)
    assert finding.message == "`:init.stop/0` may not be called: it ends the virtual machine"


def test_a_refusal_at_run_time_names_the_line_of_the_code(toolchain):
    code = "defmodule Answer do\n  def answer do\n    m = :init\n    m.stop()\n    41\n  end\nend\n"
    report = toolchain.test({"lib/answer.ex": code}, forgeries.TESTS)
    assert report.outcome == Outcome.FORBIDDEN_CALL
    finding = report.findings[0]
    assert finding.message == "`:init.stop/0` may not be called: it ends the virtual machine"
    assert (finding.path, finding.line) == ("lib/answer.ex", 4)
    assert not any("ElixirCoder" in finding.message for finding in report.findings if finding.check == "forbidden_call")
    assert not any("guard" in finding.message for finding in report.findings)


def test_a_module_that_is_not_there_is_not_the_guards_business(toolchain):
    report = toolchain.compile("defmodule A do\n  def f, do: Jason.encode!(1)\n  def g, do: Enum.mpa([], 1)\nend\n")
    assert "forbidden_call" not in {finding.check for finding in report.findings}


def test_guards_and_patterns_stay_as_they_are(toolchain):
    code = (
        "defmodule A do\n  def f(m, <<n, s::binary-size(n)>>) when m.size > n and is_map_key(m, :a), do: s\n"
        "  def f(%mod{}, _), do: mod\n  def f(_, _), do: nil\nend\n"
    )
    tests = (
        'defmodule ATest do\n  use ExUnit.Case\n\n  test "f" do\n    assert A.f(%{size: 9, a: 1}, <<1, "x">>) == "x"\n'
        '    assert A.f(1..2, "") == Range\n  end\nend\n'
    )
    assert toolchain.test(code, tests).outcome == Outcome.OK


def test_without_the_guard_nothing_is_refused(toolchain):
    code = "defmodule A do\n  def f, do: System.pid()\n  def g(m), do: m.list()\nend\n"
    tests = 'defmodule ATest do\n  use ExUnit.Case\n  test "f", do: assert(is_binary(A.f()) and A.g(Process))\nend\n'
    assert toolchain.test(code, tests, guard=False).outcome == Outcome.OK
    assert toolchain.test(code, tests).outcome == Outcome.FORBIDDEN_CALL
