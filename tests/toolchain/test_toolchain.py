import asyncio
import gc
import itertools
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from elixir_coder.errors import ElixirCoderError, MissingDependencyError, RecipeError
from elixir_coder.toolchain.finding import Outcome, Severity
from elixir_coder.toolchain.reports import Report
from elixir_coder.toolchain.sandbox import Limits
from elixir_coder.toolchain.terms import Atom
from elixir_coder.toolchain.toolchain import AsyncToolchain, Toolchain
from tests.toolchain.processes import are_gone, descendants, machines

elixir = pytest.mark.elixir

CALC = "defmodule Calc do\n  def add(a, b), do: a + b\nend\n"
CALC_TEST = """defmodule CalcTest do
  use ExUnit.Case

  test "adds" do
    assert Calc.add(1, 2) == 3
  end

  describe "add/2" do
    test "takes negative numbers" do
      assert Calc.add(-1, 1) == 0
    end
  end
end
"""


@pytest.fixture(scope="module")
def toolchain():
    before = descendants()  # multiprocessing's helper of other tests lives as long as this process
    with Toolchain(workers=2) as toolchain:
        yield toolchain
    assert are_gone(descendants().keys() - before.keys())


@pytest.fixture
def started():
    """What processes there are that were not there before; none of them after the test."""
    before = set(descendants())

    def started():
        return set(descendants()) - before

    yield started
    assert are_gone(started())


# ----------------------------------------------------------------------------------------- parse, format, syntax trees

GOOD = [
    "",
    "defmodule A do\n  def f(x), do: x\nend\n",
    '"#{1 + 1}" <> ~s(a "b")',
    "éa = 1\n名 = éa",
    "unquote_splicing(x)",
    "x not in y",
    "a\r\n\tb",
    ':"a #{b}"',
    "no_such_name_was_ever_an_atom.neither_was(this: :one)",
]
BAD = {
    "def f(": (1, "missing terminator: )"),
    "a\nend": (2, "unexpected reserved word: end"),
    "foo do\n  1\n": (3, "missing terminator: end"),
    '"#{': (1, "missing interpolation terminator"),
    "\udcff": (None, "invalid encoding"),
    "f a, g b, c": (1, "unexpected comma."),
    "a" * 256: (1, "atom length must be less"),
    "1 \x00": (1, "null byte"),
}


@elixir
def test_elixir_parses(toolchain):
    for report in toolchain.map("parse", GOOD):
        assert report == Report(outcome=Outcome.OK, duration_s=report.duration_s)
        assert 0 < report.duration_s < 5


@elixir
@pytest.mark.parametrize("code", BAD)
def test_what_is_not_elixir_is_a_syntax_error_with_its_place(toolchain, code):
    report = toolchain.parse(code, path="lib/a.ex")
    line, message = BAD[code]
    assert (report.ok, report.outcome) == (False, "syntax_error")
    (finding,) = report.findings
    assert (finding.tool, finding.check, finding.category) == ("elixir", "syntax_error", "syntax")
    assert (finding.severity, finding.path, finding.line) == (Severity.ERROR, "lib/a.ex", line)
    assert message in finding.message


@elixir
def test_parsing_evaluates_nothing(toolchain, tmp_path):
    mark = tmp_path / "mark"
    assert toolchain.parse(f'File.write!("{mark}", "x")\ndefmodule A do\n  File.touch!("{mark}")\nend').ok
    assert not mark.exists()


@elixir
def test_names_do_not_fill_the_table_of_atoms():
    names = "\n".join(f"never_seen_{number}" for number in range(30_000))
    with Toolchain(workers=1, limits=Limits(atoms=32_768)) as toolchain:
        report = toolchain.parse(names)
        assert (report.outcome, report.attempts) == ("ok", 1)


@elixir
def test_the_parsers_verdict_is_that_of_elixir_left_to_itself(toolchain, tmp_path):
    text = "\n".join(GOOD[1:3])
    pieces = [text[:at] + text[at + 3 :] for at in range(0, len(text), 2)]
    for number, piece in enumerate(pieces):
        (tmp_path / f"{number:03}").write_text(piece, encoding="utf-8")
    program = """
    for path <- Path.wildcard(hd(System.argv()) <> "/*") |> Enum.sort() do
      IO.puts(match?({:ok, _}, Code.string_to_quoted(File.read!(path))))
    end
    """
    done = subprocess.run(["elixir", "-e", program, str(tmp_path)], capture_output=True, text=True, check=True)
    plain = [line == "true" for line in done.stdout.split()]
    assert {True, False} <= set(plain)
    assert [report.ok for report in toolchain.map("parse", pieces)] == plain


@elixir
def test_a_text_that_is_not_formatted_has_a_finding_on_the_first_line_that_changes(toolchain):
    report = toolchain.format("a = 1\nb  =  2\n", path="a.ex")
    assert (report.outcome, report.formatted) == ("ok", "a = 1\nb = 2\n")
    (finding,) = report.findings
    assert (finding.tool, finding.check, finding.category) == ("mix format", "not_formatted", "format")
    assert (finding.severity, finding.path, finding.line) == (Severity.NOTE, "a.ex", 2)
    assert toolchain.format("a = 1\n").findings == ()
    assert toolchain.format("a = 1").findings[0].line == 1
    assert toolchain.format("a = 1\n\n\n").findings[0].line == 2
    assert toolchain.format("foo(a, bcd, efgh)\n", line_length=10).formatted == "foo(\n  a,\n  bcd,\n  efgh\n)\n"


@elixir
def test_what_does_not_parse_is_not_formatted(toolchain):
    report = toolchain.format("a = (\n")
    assert (report.outcome, report.formatted) == ("syntax_error", None)
    assert [finding.check for finding in report.findings] == ["syntax_error"]


@elixir
def test_a_syntax_tree_is_data(toolchain):
    form, meta, arguments = toolchain.ast("never_seen_a + 1").ast
    assert form == Atom("+")
    assert (Atom("line"), 1) in meta
    (name, _, context), one = arguments
    assert (name, context, one) == (Atom("never_seen_a"), None, 1)
    assert toolchain.ast("a b c(").ast is None


# ------------------------------------------------------------------------------------------------- compile and list


@elixir
def test_code_that_compiles_lists_its_modules(toolchain):
    report = toolchain.compile("defmodule B do\n  defmodule C do\n  end\nend\ndefmodule A do\nend")
    assert (report.outcome, report.modules, report.findings) == ("ok", ("A", "B", "B.C"), ())


@elixir
def test_a_warning_leaves_code_usable(toolchain):
    report = toolchain.compile("defmodule A do\n  def f(x), do: 1\nend")
    assert (report.ok, report.outcome, report.modules) == (True, "warning", ("A",))
    (finding,) = report.findings
    assert (finding.check, finding.category, finding.severity) == ("warning", "compile", Severity.WARNING)
    assert (finding.path, finding.line) == ("", 2)
    assert "unused" in finding.message


@elixir
@pytest.mark.parametrize(
    ("code", "outcome", "line"),
    [
        ("defmodule A do\n  def f(x), do: y\nend", "compile_error", 2),
        ("defmodule A do\n  def f(x), do: g(x)\nend", "undefined_function", 2),
        ("defmodule A do\n  def f(x), do: Enum.mapp(x)\nend", "undefined_function", 2),
        ("defmodule A do\n  use Phoenix.Controller\nend", "missing_dependency", 2),
        ("defmodule A do\n  def f(x), do: (x\nend", "syntax_error", None),
    ],
)
def test_what_does_not_compile_has_its_class_and_place(toolchain, code, outcome, line):
    report = toolchain.compile(code)
    assert (report.outcome, report.ok) == (outcome, False)
    worst = next(finding for finding in report.findings if finding.check == outcome)
    assert worst.severity in (Severity.ERROR, Severity.WARNING)
    assert line is None or worst.line == line


@elixir
def test_findings_carry_the_paths_of_files_given_together(toolchain):
    files = {
        "lib/a.ex": "defmodule A do\n  def f, do: B.g()\nend",
        "lib/b.ex": "defmodule B do\n\n  def g(x), do: :ok\n  def g, do: 1\nend",
    }
    report = toolchain.compile(files)
    assert (report.outcome, report.modules) == ("warning", ("A", "B"))
    assert {finding.path for finding in report.findings} == {"lib/b.ex"}


@elixir
def test_definitions_are_listed(toolchain):
    code = (
        "defmodule B do\n  @behaviour Access\n  defstruct [:y, :x]\n"
        "  def g(a, b \\\\ 1), do: {a, b}\n  defp h, do: h()\n"
        "  defmacro m(x), do: x\n  def fetch(_, _), do: :error\n  def get_and_update(d, _, _), do: {nil, d}\n"
        "  def pop(d, _), do: {nil, d}\nend\ndefmodule A do\nend"
    )
    first, second = toolchain.definitions(code).modules
    assert (first.name, first.functions, first.struct) == ("A", (), None)
    assert (second.name, second.macros, second.struct) == ("B", (("m", 1),), ("y", "x"))
    assert {("g", 1), ("g", 2), ("fetch", 2)} <= set(second.functions)
    assert ("h", 0) not in second.functions
    assert second.behaviours == ("Access",)


# ------------------------------------------------------------------------------------------------------------- tests


@elixir
def test_tests_that_pass(toolchain):
    report = toolchain.test(CALC, CALC_TEST)
    assert (report.outcome, report.passed, report.findings) == ("ok", True, ())
    assert [(test.module, test.name, test.state) for test in report.tests] == [
        ("CalcTest", "adds", "passed"),
        ("CalcTest", "add/2 takes negative numbers", "passed"),
    ]


@elixir
def test_every_test_that_fails_is_a_finding(toolchain):
    report = toolchain.test(CALC.replace("a + b", "a - b"), CALC_TEST)
    assert (report.outcome, report.passed) == ("test_failure", False)
    assert [test.state for test in report.tests] == ["failed", "failed"]
    first, second = report.findings
    assert (first.tool, first.check, first.category) == ("ex_unit", "test_failure", "test")
    assert (first.severity, first.path) == (Severity.ERROR, "test.exs")
    assert first.message.startswith("adds: ") and "-1" in first.message
    assert second.message.startswith("add/2 takes negative numbers: ")
    assert [test.line for test in report.tests] == [4, 9] or [first.line, second.line] == [5, 10]


@elixir
def test_files_of_code_and_tests_keep_their_paths(toolchain):
    code = {"lib/calc.ex": CALC.replace("a + b", "c + b")}
    report = toolchain.test(code, {"test/calc_test.exs": CALC_TEST})
    assert report.outcome == "compile_error"
    assert {finding.path for finding in report.findings} == {"lib/calc.ex"}
    report = toolchain.test({"lib/calc.ex": CALC}, {"test/calc_test.exs": CALC_TEST.replace("== 3", "== 4")})
    assert [finding.path for finding in report.findings] == ["test/calc_test.exs"]
    with pytest.raises(RecipeError, match=r"a[.]ex is the path of code and of tests"):
        toolchain.test({"a.ex": CALC}, {"a.ex": CALC_TEST})


@elixir
def test_tests_that_do_not_parse_run_nothing(toolchain):
    report = toolchain.test(CALC, CALC_TEST + "end\n")
    assert (report.outcome, report.tests) == ("syntax_error", ())
    assert [(finding.path, finding.line) for finding in report.findings] == [("test.exs", 14)]


@elixir
def test_a_test_without_end_is_a_failure_and_a_job_without_end_a_timeout(toolchain):
    forever = CALC.replace("a + b", "add(a, b)")
    report = toolchain.test(forever, CALC_TEST, test_timeout_s=0.2)
    assert (report.outcome, [test.state for test in report.tests]) == ("timeout", ["failed", "failed"])
    started = time.monotonic()
    report = toolchain.test(forever, CALC_TEST, test_timeout_s=60, timeout_s=0.5)
    assert time.monotonic() - started < 5
    assert report.outcome == "timeout"
    assert [finding.check for finding in report.findings] == ["timeout"]
    assert toolchain.test(CALC, CALC_TEST).passed


@elixir
def test_a_test_that_nobody_wrote_is_a_failure(toolchain):
    added = CALC + 'defmodule MoreTest do\n  use ExUnit.Case\n  test "is good", do: assert(true)\nend\n'
    report = toolchain.test(added, CALC_TEST, guard=False)
    assert report.outcome == "test_failure"
    assert "ran and were not expected: MoreTest: is good" in report.findings[-1].message
    assert report.findings[-1].check == "unexpected_tests"


@elixir
@pytest.mark.parametrize(
    ("expected", "message"),
    [
        (["CalcTest: test adds", "CalcTest: test add/2 takes negative numbers"], ""),
        (["adds", "add/2 takes negative numbers"], ""),
        (["adds"], "ran and were not expected: CalcTest: add/2 takes negative numbers"),
        (["adds", "add/2 takes negative numbers", "multiplies"], "did not run: multiplies"),
    ],
)
def test_the_tests_that_the_caller_expects_and_no_others_must_run(toolchain, expected, message):
    report = toolchain.test(CALC, CALC_TEST, expected=expected)
    assert report.passed is (message == "")
    assert [(finding.check, finding.message) for finding in report.findings] == (
        [("unexpected_tests", message)] if message else []
    )


@elixir
def test_no_test_at_all_is_a_failure(toolchain):
    report = toolchain.test(CALC, 'defmodule CalcTest do\n  use ExUnit.Case\n  for _ <- [], do: test("x")\nend')
    assert (report.outcome, report.passed) == ("test_failure", False)
    assert [finding.message for finding in report.findings] == ["no test ran"]


@elixir
def test_generated_tests_and_doctests_need_not_be_named(toolchain):
    tests = """defmodule CalcTest do
      use ExUnit.Case
      for n <- 1..3 do
        test "adds #{n}", do: assert Calc.add(unquote(n), 1) == unquote(n) + 1
      end
      test "adds", do: assert Calc.add(1, 1) == 2
    end"""
    report = toolchain.test(CALC, tests)
    assert (report.passed, len(report.tests)) == (True, 4)


@elixir
def test_doctests(toolchain):
    code = (
        'defmodule D do\n  @doc """\n      iex> D.f(1)\n      2\n\n      iex> D.f(2)\n      4\n  """\n'
        "  def f(x), do: x + 1\nend"
    )
    report = toolchain.doctest(code)
    assert (report.outcome, report.passed) == ("test_failure", False)
    assert [test.state for test in report.tests] == ["passed", "failed"]
    assert [finding.tool for finding in report.findings] == ["ex_unit"]
    assert toolchain.doctest(code.replace("x + 1", "2 * x")).passed
    without = toolchain.doctest(CALC)
    assert (without.outcome, without.tests, without.passed) == ("ok", (), False)


@elixir
def test_a_fresh_machine_knows_nothing_of_earlier_jobs(toolchain):
    tests = 'defmodule T do\n  use ExUnit.Case\n  test "x", do: assert(A.f() == 1)\nend'
    code = "defmodule A do\n  def f, do: 1\nend"
    reports = [toolchain.test(code, tests, fresh=True) for _ in range(3)]
    assert all(report.passed for report in reports)
    # Atoms are never freed: where none of the first job's is there, the machine is another one.
    seen = 'defmodule M do\n  def f, do: String.to_existing_atom("left_" <> "by_a_job")\nend'
    leave = 'defmodule M do\n  def f, do: String.to_atom("left_" <> "by_a_job")\nend'
    use = 'defmodule T do\n  use ExUnit.Case\n  test "x", do: assert(is_atom(M.f()))\nend'
    assert toolchain.test(leave, use, fresh=True, guard=False).passed
    assert not toolchain.test(seen, use, fresh=True, guard=False).passed


# ----------------------------------------------------------------------------------------- the two ways of calling it


@elixir
def test_sync_and_async_answer_the_same(toolchain):
    async def main():
        async with AsyncToolchain(workers=1) as other:
            return [
                await other.parse("a("),
                await other.format("a  b"),
                await other.ast("a b"),
                await other.compile(CALC),
                await other.definitions(CALC),
                await other.test(CALC.replace("+", "-"), CALC_TEST),
                await other.doctest(CALC),
                await other.versions(),
            ]

    def without_time(report):
        if not isinstance(report, Report):
            return report
        fields = {name: getattr(report, name) for name in report.__dataclass_fields__} | {"duration_s": 0}
        fields["tests"] = [(test.name, test.state, test.message) for test in fields.get("tests", ())]
        return type(report), fields

    ours = [
        toolchain.parse("a("),
        toolchain.format("a  b"),
        toolchain.ast("a b"),
        toolchain.compile(CALC),
        toolchain.definitions(CALC),
        toolchain.test(CALC.replace("+", "-"), CALC_TEST),
        toolchain.doctest(CALC),
        (toolchain.elixir_version, toolchain.otp_version),
    ]
    assert [*map(without_time, ours)] == [*map(without_time, asyncio.run(main()))]


@elixir
def test_versions_are_numbers(toolchain):
    assert all(part.isdigit() for part in toolchain.elixir_version.partition("-")[0].split("."))
    assert toolchain.otp_version.isdigit()


@elixir
def test_several_threads_get_their_own_answers(toolchain):
    def of_thread(thread):
        return [toolchain.ast(str(thread * 100 + number)).ast for number in range(50)]

    with ThreadPoolExecutor(8) as threads:
        for thread, numbers in enumerate(threads.map(of_thread, range(8))):
            assert numbers == [thread * 100 + number for number in range(50)]


@elixir
def test_a_raw_operation_answers_with_its_statistics(toolchain):
    result, stats = toolchain.submit("parse", {"code": "a"}, evaluates=False)
    assert (result["outcome"], stats["attempts"]) == ("ok", 1)
    assert stats["duration_us"] > 0
    result, stats = toolchain.submit("compile", {"files": [["a.ex", "System.halt(1)"]], "guard": False}, evaluates=True)
    assert (result["outcome"], stats["attempts"]) == ("crash", 1)
    assert result["diagnostics"][0]["message"]


# -------------------------------------------------------------------------------------------------------------- map


@elixir
def test_reports_stand_in_the_order_of_the_inputs(toolchain):
    assert [report.ast for report in toolchain.map("ast", map(str, range(300)))] == list(range(300))
    texts = ["a", ")", "b\n\n", "(", "", "]"] * 30
    assert [report.ok for report in toolchain.map("parse", texts)] == [True, False] * 90
    assert list(toolchain.map("parse", [])) == []


@elixir
def test_an_endless_input_is_not_taken_beyond_a_bound(toolchain):
    num_taken = 0

    def endless():
        nonlocal num_taken
        for num_taken in itertools.count(1):
            yield f"a{num_taken}"

    reports = toolchain.map("parse", endless())
    assert num_taken == 0
    for num_answered in range(1, 200):
        assert next(reports).ok
        assert num_answered <= num_taken <= num_answered + 40
    reports.close()
    assert num_taken <= 199 + 40


@elixir
def test_a_slow_input_does_not_hold_back_the_reports_before_it(toolchain):
    num_taken = 0

    def slow():
        nonlocal num_taken
        while True:
            num_taken += 1
            time.sleep(0.5)
            yield "a"

    assert toolchain.parse("a").ok
    reports = toolchain.map("parse", slow())
    assert next(reports).ok
    assert num_taken < 8  # not as many as would fit
    reports.close()


@elixir
def test_pairs_of_code_and_tests_are_mapped_with_the_same_options(toolchain):
    pairs = [(CALC, CALC_TEST), (CALC.replace("+", "-"), CALC_TEST)] * 3
    assert [report.passed for report in toolchain.map("test", pairs, seed=3)] == [True, False] * 3


@elixir
def test_closing_early_cancels_what_is_under_way(toolchain):
    forever = "defmodule A do\n  def f, do: f()\n  f = fn f -> f.(f) end\n  f.(f)\nend"
    reports = toolchain.map("compile", itertools.chain([CALC], itertools.repeat(forever)), timeout_s=60)
    assert next(reports).ok
    started = time.monotonic()
    reports.close()
    assert toolchain.compile(CALC).ok
    assert time.monotonic() - started < 20


@elixir
def test_an_input_that_raises_ends_the_map(toolchain):
    def broken():
        yield "a"
        raise ValueError("no more")

    reports = toolchain.map("parse", broken())
    with pytest.raises(ValueError, match="no more"):
        list(reports)
    assert toolchain.parse("a").ok


def test_an_operation_that_is_not_there_is_named():
    with Toolchain() as toolchain, pytest.raises(RecipeError, match="no such operation: pares; there are: parse"):
        toolchain.map("pares", [])


# ----------------------------------------------------------------------------------------- what goes wrong around it


@elixir
def test_reports_survive_the_machines_that_are_killed():
    chance = random.Random(0)
    tests = 'defmodule T do\n  use ExUnit.Case\n  test "x", do: assert(A.f() == 1)\nend'
    codes = [f"defmodule A do\n  def f, do: {number % 2}\nend" for number in range(60)]
    reports, num_killed = [], 0
    with Toolchain(workers=2) as toolchain:
        for report in toolchain.map("test", [(code, tests) for code in codes]):
            reports.append(report)
            if len(reports) % 15 == 5:  # far apart: a job that is hit twice is rightly a crash
                os.kill(chance.choice(machines()), signal.SIGKILL)
                num_killed += 1
    assert [report.passed for report in reports] == [False, True] * 30
    assert num_killed == 4
    assert 1 <= sum(report.attempts == 2 for report in reports) <= 4


@elixir
def test_an_async_toolchain_belongs_to_one_event_loop():
    toolchain = AsyncToolchain(workers=1)

    async def first():
        assert (await toolchain.parse("a")).ok
        with pytest.raises(ElixirCoderError, match="belongs to another event loop"):
            await asyncio.to_thread(asyncio.run, toolchain.parse("a"))
        await toolchain.close()

    asyncio.run(first())


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"workers": 0}, "workers must be 1 or more, got 0"), ({"timeout_s": 0}, "timeout_s must be above 0, got 0")],
)
def test_settings_out_of_range_are_an_error(settings, message):
    with pytest.raises(RecipeError, match=message):
        Toolchain(**settings)
    gc.collect()


def test_a_toolchain_that_was_not_needed_starts_nothing(started, monkeypatch):
    monkeypatch.setenv("PATH", "")
    with Toolchain() as toolchain:
        assert list(toolchain.map("parse", [])) == []
        assert started() == set()


@elixir
def test_what_was_begun_is_there_for_the_first_call(started):
    with Toolchain(workers=1) as toolchain:
        toolchain.begin()
        until = time.monotonic() + 20
        while not (begun := started() & set(machines())) and time.monotonic() < until:
            time.sleep(0.01)
        assert toolchain.parse("a").ok
        assert started() & set(machines()) == begun


@elixir
def test_what_was_begun_for_nothing_ends(started):
    with Toolchain(workers=1) as toolchain:
        toolchain.begin()


def test_what_goes_wrong_at_the_beginning_is_said_at_the_first_call(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with Toolchain(workers=1) as toolchain:
        toolchain.begin()
        with pytest.raises(MissingDependencyError, match="apt install elixir"):
            toolchain.parse("a")


def test_without_elixir_the_error_says_how_to_install_it(monkeypatch):
    monkeypatch.setenv("PATH", "")
    with Toolchain() as toolchain, pytest.raises(MissingDependencyError, match="apt install elixir"):
        toolchain.parse("a")


@pytest.mark.parametrize(
    "script", ["echo cannot boot >&2; exit 1", "exit 3", "echo ok", "kill -9 $$"], ids=["says", "ends", "odd", "killed"]
)
@pytest.mark.usefixtures("started")
def test_an_elixir_that_does_not_work_is_an_error(script, tmp_path, monkeypatch):
    program = tmp_path / "elixir"
    program.write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    with Toolchain() as toolchain:
        for _ in range(2):
            with pytest.raises(MissingDependencyError, match="does not work"):
                toolchain.parse("a")


@elixir
@pytest.mark.usefixtures("started")
def test_a_closed_toolchain_says_so():
    toolchain = Toolchain(workers=1)
    assert toolchain.parse("a").ok
    toolchain.close()
    toolchain.close()
    with pytest.raises(ElixirCoderError, match="this toolchain is closed"):
        toolchain.parse("a")


@elixir
@pytest.mark.usefixtures("started")
def test_calls_of_other_threads_end_when_it_is_closed():
    errors = []

    def call(toolchain):
        try:
            toolchain.submit(
                "compile", {"files": [["a.ex", "Process.sleep(:infinity)"]], "guard": False}, evaluates=True
            )
        except ElixirCoderError as error:
            errors.append(str(error))

    for wait_s in (0.0, 0.1, 1.0):  # before, while and after the machine starts
        with Toolchain(workers=1, timeout_s=60, sandbox=False) as toolchain:
            threads = [threading.Thread(target=call, args=(toolchain,)) for _ in range(3)]
            for thread in threads:
                thread.start()
            time.sleep(wait_s)
        for thread in threads:
            thread.join(timeout=5)
            assert not thread.is_alive()
    assert len(errors) == 9
    assert all("closed" in error for error in errors)


@elixir
def test_a_toolchain_that_was_forgotten_ends_its_machines(started):
    toolchain = Toolchain(workers=1)
    assert toolchain.parse("a").ok
    assert started()
    with pytest.warns(ResourceWarning, match="not closed"):
        del toolchain
        gc.collect()


# What a shell starts in the background ignores Ctrl-C, and so does what that starts.
PROGRAM = """
import os, signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from elixir_coder.toolchain.toolchain import Toolchain
toolchain = Toolchain(workers=1, timeout_s=60)
toolchain.parse("a")
"""


def ended(program, *, signal_after=None, wait_s=0.0, code=0):
    """Run a program of a Toolchain; returns what it wrote, when nothing of it is left."""
    process = subprocess.Popen(
        [sys.executable, "-W", "default", "-c", PROGRAM + program],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout.readline() == "ready\n"
        below = descendants(process.pid)
        assert below
        time.sleep(wait_s)
        if signal_after:
            process.send_signal(signal_after)
        _, errors = process.communicate(timeout=30)
    assert process.returncode == code
    assert are_gone(below)
    return errors


@elixir
def test_nothing_is_left_when_the_program_ends():
    assert "a Toolchain was not closed" in ended("print('ready', flush=True); time.sleep(0.3)")


@elixir
def test_nothing_is_left_after_ctrl_c():
    program = """
with toolchain:
    print('ready', flush=True)
    toolchain.submit('ast', {'code': 'a'}, evaluates=False)
    toolchain.submit('compile', {'files': [['a', 'Process.sleep(:infinity)']], 'guard': False}, evaluates=True)
"""
    for wait_s in (0.0, 1.0):  # while the machine starts, and while it runs the job
        errors = ended(program, signal_after=signal.SIGINT, wait_s=wait_s, code=-signal.SIGINT)
        assert errors.rstrip().endswith("KeyboardInterrupt")
        assert "ResourceWarning" not in errors


@elixir
def test_nothing_is_left_when_the_program_is_killed():
    ended("print('ready', flush=True); time.sleep(60)", signal_after=signal.SIGKILL, code=-signal.SIGKILL)


def call_in_child(toolchain, queue):
    try:
        toolchain.parse("a")
    except ElixirCoderError as error:
        queue.put(str(error))
    toolchain.close()


@elixir
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_the_child_is_told_and_the_parent_goes_on():
    fork = multiprocessing.get_context("fork")
    with Toolchain(workers=1) as toolchain:
        assert toolchain.parse("a").ok
        queue = fork.Queue()
        child = fork.Process(target=call_in_child, args=(toolchain, queue))
        child.start()
        assert "make a toolchain in each process" in queue.get(timeout=30)
        child.join(timeout=30)
        assert child.exitcode == 0
        report = toolchain.parse("b")
        assert (report.ok, report.attempts) == (True, 1)
        queue.close()
        queue.join_thread()
