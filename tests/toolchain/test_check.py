"""`elixir-coder check`, on small files and projects, with the real tools."""

import argparse
import io
import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from elixir_coder.errors import InputError, RecipeError, exit_on_error
from elixir_coder.toolchain import check
from elixir_coder.toolchain.check import Checker, CheckOptions, CheckReport, fails, to_text
from elixir_coder.toolchain.checks import credo, sobelow
from elixir_coder.toolchain.finding import Finding, Severity

pytestmark = pytest.mark.elixir

GOOD = "defmodule Good do\n  def f(x), do: x\nend\n"
MIX = 'defmodule App.MixProject do\n  use Mix.Project\n  def project, do: [app: :app, version: "1.0.0"]\nend\n'
READING = CheckOptions(steps=("parse", "format"))
COMPILING = CheckOptions(steps=("parse", "compile"))


_checkers = []


@pytest.fixture(scope="module", autouse=True)
def warm():
    """One Checker for all: starting its virtual machines takes longer than most tests."""
    with Checker(workers=1) as checker:
        _checkers.append(checker)
        yield
        _checkers.clear()


def check_paths(paths, options):
    return _checkers[0].check_paths(paths, options)


def check_texts(texts, options):
    return _checkers[0].check_texts(texts, options)


@pytest.fixture(autouse=True)
def no_linters(monkeypatch, tmp_path):
    """What is installed on this machine is no part of these tests; each runs in an empty folder of its own."""
    for module in (credo, sobelow):
        monkeypatch.setattr(module, "detect", lambda project=None, configured=None, **_: None)
    monkeypatch.chdir(tmp_path)


def write(files):
    for name, text in files.items():
        path = Path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text if isinstance(text, bytes) else text.encode())


def told(report):
    """Findings in short: path, line, check."""
    return [(finding.path, finding.line, finding.check) for finding in report.findings]


def command(*words, stdin=b"", monkeypatch=None):
    parser = argparse.ArgumentParser()
    check.add_parser(parser.add_subparsers())
    args = parser.parse_args(["check", *words])
    if monkeypatch:
        monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(stdin)))
    return exit_on_error(lambda: args.run(args))


# ------------------------------------------------------------------------------------------------------------ one text


def test_a_good_text_has_no_findings():
    report = check_texts({"good.ex": GOOD}, CheckOptions(steps=("parse", "format", "compile")))
    assert report.findings == ()
    assert report.files == ("good.ex",)
    assert set(report.tool_versions) == {"elixir", "mix format"}
    assert not fails(report, Severity.NOTE)


def test_each_step_finds_what_it_is_for():
    texts = {
        "broken.ex": "x =\n  )\n",
        "format.ex": "defmodule B do\n  def f(x),   do: x\nend\n",
        "compile.ex": "defmodule C do\n  def f(x), do: 1\n  def g, do: Enum.no_such([])\nend\n",
    }
    report = check_texts(texts, CheckOptions(steps=("parse", "format", "compile")))
    assert told(report) == [
        ("broken.ex", 2, "syntax_error"),
        ("compile.ex", 2, "warning"),
        ("compile.ex", 3, "undefined_function"),
        ("format.ex", 2, "not_formatted"),
    ]
    assert [finding.severity for finding in report.findings] == ["error", "warning", "warning", "note"]


def test_a_text_that_does_not_parse_is_reported_once():
    for steps in (("parse",), ("format",), ("compile",), ("parse", "format", "compile")):
        report = check_texts({"a.ex": "def f("}, CheckOptions(steps=steps))
        assert told(report) == [("a.ex", 1, "syntax_error")], steps


def test_a_script_is_not_compiled():
    report = check_texts({"a.exs": 'raise "ran"\nunknown()\n'}, CheckOptions(steps=("parse", "format", "compile")))
    assert report.findings == ()


def test_compiling_stays_in_the_sandbox(tmp_path):
    code = f'defmodule A do\n  File.write!("{tmp_path}/ran", "")\nend\n'
    assert told(check_texts({"a.ex": code}, COMPILING)) == [("a.ex", 2, "compile_error")]
    assert not (tmp_path / "ran").exists()


def test_guarded_code_is_refused_before_it_runs():
    report = check_texts(
        {"a.ex": "defmodule A do\n  System.halt(1)\nend\n"}, CheckOptions(steps=("compile",), guard=True)
    )
    assert told(report) == [("a.ex", 2, "forbidden_call")]


def test_code_that_does_not_end_is_a_finding_about_its_file():
    code = "defmodule A do\n  Stream.run(Stream.cycle([1]))\nend\n"
    report = check_texts({"a.ex": code}, CheckOptions(steps=("compile",), timeout_s=0.5))
    assert told(report) == [("a.ex", None, "timeout")]


# ------------------------------------------------------------------------------------------------------- files, folders


def test_a_folder_is_its_elixir_files_without_those_of_others():
    skipped = ["_build/a.ex", "deps/x/a.ex", "node_modules/a.ex", ".git/a.ex", ".elixir_ls/a.ex"]
    write(dict.fromkeys(["b.ex", "sub/a.ex", "sub/deps/c.exs", "page.eex", "page.heex", "notes.md", *skipped], GOOD))
    assert check_paths(["."], READING).files == ("b.ex", "sub/a.ex", "sub/deps/c.exs")


def test_paths_are_those_of_the_caller(tmp_path):
    write({"a/b.ex": GOOD})
    for named, shown in {
        "a": "a/b.ex",
        "./a/": "a/b.ex",
        "a/b.ex": "a/b.ex",
        str(tmp_path): f"{tmp_path}/a/b.ex",
    }.items():
        assert check_paths([named], READING).files == (shown,)
    os.chdir("a")
    assert check_paths(["../a"], READING).files == ("../a/b.ex",)


def test_a_file_is_checked_once_however_often_it_is_named():
    write({"a/b.ex": "x  = 1\n"})
    assert told(check_paths(["a", "a/b.ex", "."], READING)) == [("a/b.ex", 1, "not_formatted")]


def test_links_to_folders_are_not_followed():
    write({"a/b.ex": GOOD})
    os.symlink("..", "a/loop")
    os.symlink("b.ex", "a/c.ex")
    assert check_paths(["a"], READING).files == ("a/b.ex", "a/c.ex")


def test_files_that_are_no_text_are_findings():
    write({"a.ex": b'x = 1\ny = "\xe9"\n', "big.ex": b" " * (5 << 20), "good.ex": GOOD})
    report = check_paths(["."], READING)
    assert told(report) == [("a.ex", 2, "syntax_error"), ("big.ex", None, "resource_limit")]
    assert report.findings[0].column == 6
    assert report.files == ("a.ex", "big.ex", "good.ex")


@pytest.mark.parametrize(
    "paths, message",
    [
        (["none.ex"], "none.ex: there is no such file or folder"),
        (["empty"], "empty: there is no .ex or .exs file in it"),
        (["page.heex"], "page.heex: only .ex and .exs files are checked"),
        ([], "no file or folder to check"),
    ],
)
def test_what_cannot_be_checked_is_the_callers_error(paths, message):
    write({"empty/notes.md": "", "page.heex": ""})
    with pytest.raises(InputError, match=message):
        check_paths(paths, READING)


def test_loose_files_are_compiled_with_those_they_mention():
    write(
        {
            "a.ex": "defmodule Lib.A do\n  defmacro one, do: 1\nend\n",
            "b.ex": "defmodule B do\n  require Lib.A, as: X\n  def f, do: X.one()\nend\n",
            "other.ex": 'defmodule Other do\n  raise "broken"\nend\n',
        }
    )
    assert told(check_paths(["."], COMPILING)) == [("other.ex", 2, "compile_error")]


def test_loose_files_with_modules_of_the_same_name_are_compiled_apart():
    write({f"{name}.ex": f'defmodule Solution do\n  {name} "x"\nend\n' for name in ("is_atom", "raise")})
    assert told(check_paths(["."], COMPILING)) == [("raise.ex", 2, "compile_error")]


def test_a_hundred_files_are_in_order(tmp_path):
    write({f"f{number:03}.exs": "x  = 1\n" for number in range(100)})
    with Checker(workers=2) as checker:
        report = checker.check_paths(["."], READING)
    assert [finding.path for finding in report.findings] == [f"f{number:03}.exs" for number in range(100)]


# ------------------------------------------------------------------------------------------------------------- projects


def test_files_of_a_project_are_compiled_together():
    write(
        {
            "mix.exs": MIX,
            "lib/a.ex": "defmodule App.A do\n  use App.B\nend\n",
            "lib/b.ex": "defmodule App.B do\n  defmacro __using__(_), do: quote(do: def(f, do: 1))\nend\n",
            "priv/example.ex": 'defmodule App.A do\n  raise "not compiled"\nend\n',
            "test/a_test.exs": 'raise "not run"\n',
        }
    )
    assert told(check_paths(["."], COMPILING)) == []
    assert told(check_paths(["lib/a.ex"], COMPILING)) == []  # with the rest of its project


def test_one_file_of_a_project_gets_its_own_findings_alone():
    write({"mix.exs": MIX, "lib/a.ex": "defmodule A do\n  def f(x), do: 1\nend\n"})
    write({"lib/b.ex": "defmodule B do\n  def f(y), do: 1\nend\n"})
    assert told(check_paths(["lib/b.ex"], COMPILING)) == [("lib/b.ex", 2, "warning")]
    assert told(check_paths(["lib"], COMPILING)) == [("lib/a.ex", 2, "warning"), ("lib/b.ex", 2, "warning")]


def test_a_file_that_does_not_parse_keeps_its_project_from_being_compiled():
    write({"mix.exs": MIX, "lib/a.ex": ")\n", "lib/b.ex": "defmodule B do\n  use A\nend\n"})
    report = check_paths(["."], COMPILING)
    assert told(report) == [("lib/a.ex", 1, "syntax_error")]
    assert [str(skipped) for skipped in report.skipped] == [
        "compile: lib/a.ex: lib/b.ex not compiled, because this one cannot be parsed"
    ]


def test_packages_that_are_not_installed_are_no_fault_of_the_files():
    write(
        {
            "mix.exs": MIX,
            "lib/a.ex": 'defmodule A do\n  def f, do: Jason.encode!(1)\n  def g, do: Jason.decode!("1")\nend\n',
        }
    )
    report = check_paths(["."], COMPILING)
    assert told(report) == [("lib/a.ex", 2, "missing_dependency")]
    assert report.findings[0].severity == Severity.NOTE
    assert report.findings[0].message == (
        "Jason is not installed here, so its use cannot be judged, here and in 1 other place; "
        "run `mix deps.get` and `mix compile`, and check again"
    )
    assert not fails(report, Severity.NOTE)


@pytest.fixture
def package(tmp_path):
    """A compiled package of the project, as mix leaves it."""
    ebin = tmp_path / "_build/dev/lib/jason/ebin"
    ebin.mkdir(parents=True)
    write({"jason.ex": "defmodule Jason do\n  defmacro encode!(x), do: inspect(x)\nend\n"})
    subprocess.run(["elixirc", "-o", ebin, "jason.ex"], check=True, env=os.environ | {"LC_ALL": "C.UTF-8"})
    os.unlink("jason.ex")


def test_compiled_packages_of_the_project_are_used(package):
    write({"mix.exs": MIX, "lib/a.ex": "defmodule A do\n  require Jason\n  def f, do: Jason.encode!(1)\nend\n"})
    assert told(check_paths(["."], COMPILING)) == []


def test_files_that_modules_read_while_they_are_compiled_are_there():
    write(
        {
            "mix.exs": MIX,
            "README.md": "# A\n",
            "lib/a.ex": 'defmodule A do\n  @moduledoc File.read!("README.md")\nend\n',
            "lib/b/b.ex": 'defmodule B do\n  @page EEx.eval_file(__DIR__ <> "/page.eex")\n  def f, do: @page\nend\n',
            "lib/b/page.eex": "<%= 1 + 1 %>\n",
        }
    )
    assert told(check_paths(["."], COMPILING)) == []


def test_modules_may_ask_mix_for_the_environment_while_they_are_compiled():
    write(
        {
            "mix.exs": MIX,
            "lib/a.ex": "defmodule A do\n  @version Mix.Project.config()[:version]\n  def f, do: @version\nend\n",
        }
    )
    write({"lib/b.ex": 'defmodule B do\n  if Mix.env() == :prod, do: raise("prod")\nend\n'})
    assert told(check_paths(["."], COMPILING)) == []


def test_an_umbrella_is_compiled_as_one():
    write({"mix.exs": MIX.replace("app: :app", 'apps_path: "apps"')})
    write({f"apps/{name}/mix.exs": MIX.replace(":app", f":{name}") for name in ("one", "two")})
    write({"apps/one/lib/one.ex": "defmodule One do\n  def f, do: 1\nend\n"})
    write({"apps/two/lib/two.ex": "defmodule Two do\n  def f, do: One.f()\n  def g, do: One.missing()\nend\n"})
    assert told(check_paths(["."], COMPILING)) == [("apps/two/lib/two.ex", 3, "undefined_function")]
    assert told(check_paths(["apps/two"], COMPILING)) == [("apps/two/lib/two.ex", 3, "undefined_function")]


def test_a_project_in_a_project_is_one_of_its_own():
    write({"mix.exs": MIX, "lib/a.ex": GOOD, "examples/x/mix.exs": MIX, "examples/x/lib/a.ex": GOOD})
    assert told(check_paths(["."], COMPILING)) == []


def test_the_settings_of_the_formatter_hold():
    write(
        {
            "mix.exs": MIX,
            ".formatter.exs": '[inputs: ["lib/*.ex"], line_length: 20, locals_without_parens: [f: 1]]',
            "lib/a.ex": "f 1\ng 1\n",
            "lib/b.ex": "f 1\n\n[\n  aaaaaaaaaa,\n  bbbbbbbbbb\n]\n",
            "priv/c.exs": "x  = 1\n",
        }
    )
    assert told(check_paths(["."], READING)) == [("lib/a.ex", 2, "not_formatted")]
    assert told(check_paths(["priv/c.exs"], READING)) == [("priv/c.exs", 1, "not_formatted")]  # asked for by name


def test_where_the_settings_cannot_be_known_files_are_not_judged_by_them():
    write({".formatter.exs": '[inputs: ["*.ex"], import_deps: [:ecto]]', "a.ex": "x  = 1\n", "b.ex": "x  = )\n"})
    report = check_paths(["."], READING)
    assert told(report) == [("b.ex", 1, "syntax_error")]
    (skipped,) = report.skipped
    assert str(skipped).startswith("format: .formatter.exs: its import_deps need deps/ecto, which is not there")


# -------------------------------------------------------------------------------------------------------------- linters


class Linter:
    """Stands in for an installed Credo or Sobelow, whose own answers are tested beside them."""

    version = "1.7.0"

    def __init__(self, tool, calls, note=None):
        self.tool, self.calls, self.note = tool, calls, note

        self.installed = id(self)

    def close(self):
        pass

    def _found(self, path):
        finding = Finding(
            tool=self.tool, check="Some.Check", category="x", severity=Severity.WARNING, message="m", path=path, line=1
        )
        return FindingsWithNotes([finding], [self.note] if self.note else [])

    def check_folder(self, folder, **options):
        self.calls.append(("folder", folder, options))
        return self._found("lib/a.ex")

    def each_source(self, samples, **options):
        self.calls.append(("sources", [path for path, _ in samples], options))
        return [self._found(path or "lib/sample.ex") for path, _ in samples]


class FindingsWithNotes(list):
    def __init__(self, findings, notes):
        super().__init__(findings)
        self.notes = notes


@pytest.fixture
def calls(monkeypatch):
    calls = []
    monkeypatch.setattr(credo, "detect", lambda project=None, **_: Linter("credo", calls))
    return calls


LINTING = CheckOptions(steps=("parse", "credo"))


def test_a_project_is_linted_as_a_whole(calls, tmp_path):
    write({"app/mix.exs": MIX, "app/lib/a.ex": GOOD})
    report = check_paths(["app"], LINTING)
    assert calls == [("folder", tmp_path / "app", {"strict": None})]
    assert told(report) == [("app/lib/a.ex", 1, "Some.Check")]
    assert report.tool_versions["credo"] == "1.7.0"


def test_a_single_file_is_linted_by_itself(calls, tmp_path):
    write({"mix.exs": MIX, "lib/a.ex": GOOD, "x/y.ex": GOOD})
    check_paths(["lib/a.ex"], CheckOptions(steps=("credo",), strict=True))
    assert calls == [("sources", ["lib/a.ex"], {"project": tmp_path, "strict": True})]


def test_texts_are_linted_by_themselves(calls):
    report = check_texts({"<stdin>": GOOD}, LINTING)
    assert calls == [("sources", [""], {"project": None, "strict": None})]
    assert told(report) == [("<stdin>", 1, "Some.Check")]


def test_what_does_not_parse_is_not_linted(calls):
    check_texts({"a.ex": "def f(", "b.ex": GOOD}, LINTING)
    assert calls == [("sources", [""], {"project": None, "strict": None})]


def test_a_check_that_crashed_is_told(monkeypatch):
    note = SimpleNamespace(kind="check_crashed", check="Some.Check", message="it crashed", path="lib/sample.ex")
    monkeypatch.setattr(credo, "detect", lambda project=None, **_: Linter("credo", [], note))
    report = check_texts({"a.ex": GOOD}, LINTING)
    assert [str(skipped) for skipped in report.skipped] == ["credo: a.ex: Some.Check: it crashed"]


def test_linters_that_are_not_installed_are_told_with_the_way_to_install_them(capsys):
    write({"a.ex": GOOD})
    assert command("a.ex") == 0
    told = capsys.readouterr().err.splitlines()
    assert [line.split(";")[0] for line in told] == [
        "skipped credo: Credo is not installed",
        "skipped sobelow: Sobelow is not installed",
    ]
    assert all("mix" in line for line in told)


@pytest.mark.credo
def test_the_real_linters(monkeypatch):
    monkeypatch.undo()
    if not (os.environ.get(credo.VARIABLE) and os.environ.get(sobelow.VARIABLE)):
        pytest.skip(f"{credo.VARIABLE} and {sobelow.VARIABLE} are not both set")
    code = "defmodule A do\n  def f(path), do: File.read!(path) |> IO.inspect()\nend\n"
    report = check_texts({"a.ex": code}, CheckOptions())
    found = {finding.check for finding in report.findings}
    assert {"Credo.Check.Readability.ModuleDoc", "Credo.Check.Warning.IoInspect", "Traversal.FileModule"} <= found


# -------------------------------------------------------------------------------------------------------------- showing


def report_of(*findings, sources=()):
    return CheckReport(findings=findings, files=("lib/a.ex",), tool_versions={}, sources=dict(sources))


def finding_at(line, column, message="no", **options):
    options = {"tool": "elixir", "check": "compile_error", "category": "compile", "severity": Severity.ERROR} | options
    return Finding(message=message, path="lib/a.ex", line=line, column=column, **options)


def test_findings_are_shown_with_their_line_and_a_caret():
    report = report_of(
        finding_at(2, 3, "undefined function foo/0"),
        finding_at(3, None, "a\nb", severity=Severity.NOTE, tool="credo", check="Credo.Check.X", cwe=("CWE-1",)),
        sources={"lib/a.ex": "defmodule A do\n  foo()\n\tbar()\nend\n"},
    )
    assert to_text(report) == (
        "lib/a.ex\n"
        "     2:3 error undefined function foo/0 [elixir: compile_error]\n"
        "         foo()\n"
        "         ^\n"
        "       3 note a [Credo.Check.X, CWE-1]\n"
        "         b\n"
        "         bar()\n"
        "\n"
        "1 file: 1 error, 1 note\n"
    )


def test_nothing_found_is_said():
    assert to_text(report_of()) == "1 file: nothing found\n"


@pytest.mark.parametrize(
    "line, column, shown",
    [
        ("  a  b", 6, ["a  b", "   ^"]),
        ("日本 x", 4, ["日本 x", "     ^"]),  # wide characters take two columns
        ("e\u0301 x", 4, ["e\u0301 x", "  ^"]),  # a combining one none
        ("\ta\tb", 4, ["a  b", "   ^"]),
        ("ab", 3, ["ab", "  ^"]),  # behind the end
        ("  a", 1, ["  a", "^"]),  # in the indentation
        ("a" * 300 + "b", 301, ["a" * 50 + "b", " " * 50 + "^"]),
        ("a" * 300, 1, ["a" * 100, "^"]),
    ],
)
def test_the_caret_stands_below_its_column(line, column, shown):
    lines = to_text(report_of(finding_at(1, column), sources={"lib/a.ex": line})).split("\n")
    assert [text.removeprefix(" " * 9) for text in lines[2:4]] == shown


def test_a_finding_behind_the_end_of_its_file_is_shown_without_a_line():
    assert to_text(report_of(finding_at(9, 1), sources={"lib/a.ex": "x\n"})).splitlines()[2] == ""


def test_what_code_holds_does_not_steer_the_terminal():
    report = report_of(finding_at(1, 1, "\x1b[31mred\x07"), sources={"lib/a.ex": "x\x1b[2J\u202ey"})
    text = to_text(report)
    assert "\x1b" not in text and "\u202e" not in text and "\x07" not in text
    assert "\\u{1b}[31mred\\u{7}" in text


def test_colours_are_for_terminals():
    report = report_of(finding_at(1, 1), sources={"lib/a.ex": "x"})
    assert "\x1b[31merror\x1b[0m" in to_text(report, colours=True)
    assert "\x1b" not in to_text(report)


@pytest.mark.parametrize("severity, exits", [("error", "100"), ("warning", "110"), ("note", "111")])
def test_what_decides_can_be_chosen(severity, exits):
    found = [fails(report_of(finding_at(1, 1, severity=each)), Severity(severity)) for each in Severity]
    assert "".join(str(int(each)) for each in found) == exits


# ---------------------------------------------------------------------------------------------------------- the command


def test_the_exit_code_says_whether_something_was_found(capsys):
    write({"good.ex": GOOD, "bad.ex": "x  = 1\n"})
    assert command("good.ex", "--only", "parse,format") == 0
    assert capsys.readouterr().out == "1 file: nothing found\n"
    assert command("bad.ex", "--only", "parse,format") == 1
    assert "bad.ex\n       1 note not formatted" in capsys.readouterr().out
    assert command("bad.ex", "--only", "parse,format", "--fail-on", "warning") == 0
    assert command("bad.ex", "--skip", "format,compile,credo,sobelow") == 0


@pytest.mark.parametrize(
    "words, message",
    [
        (["none.ex"], "none.ex: there is no such file or folder"),
        (["a.ex", "--only", "pars"], "no such step: pars; there are: parse, format, compile, credo, sobelow"),
        (["a.ex", "--only", "parse", "--skip", "parse"], "nothing to check is left"),
        (["a.ex", "--fix", "--skip", "format"], "--fix writes formatted files, and formatting is left out"),
        (["a.ex", "--timeout", "0"], "the timeout must be above 0 seconds, got 0"),
        (["a.ex", "--workers", "0"], "workers must be 1 or more, got 0"),
        (["-", "a.ex"], "standard input (-) is checked by itself"),
        (["-", "--fix"], "--fix writes files, and standard input is none"),
        (["a.ex", "--only", "parse", "--output", "no/such/folder.txt"], "no/such/folder.txt: cannot be written"),
    ],
)
def test_a_users_error_is_one_line_and_exit_code_2(words, message, capsys):
    write({"a.ex": GOOD})
    assert command(*words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_json(capsys):
    write({"a.ex": "x  = 1\n"})
    assert command("a.ex", "--format", "json", "--only", "parse,format") == 1
    answer = json.loads(capsys.readouterr().out)
    assert answer["files"] == 1
    assert answer["tools"].keys() == {"elixir", "mix format"}
    assert [Finding.from_dict(each).check for each in answer["findings"]] == ["not_formatted"]
    assert answer["skipped"] == []


def test_sarif_goes_to_a_file():
    write({"sub/a.ex": "x  = 1\n"})
    assert command("sub", "--format", "sarif", "--only", "parse,format", "--output", "out.sarif") == 1
    log = json.loads(Path("out.sarif").read_text())
    assert [run["tool"]["driver"]["name"] for run in log["runs"]] == ["elixir", "mix format"]
    (result,) = log["runs"][1]["results"]
    assert result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] == "sub/a.ex"
    assert sorted(path.name for path in Path().iterdir()) == ["out.sarif", "sub"]  # nothing left beside it


def test_standard_input(monkeypatch, capsys):
    assert command("-", "--only", "parse,format", stdin=b"x  = 1\n", monkeypatch=monkeypatch) == 1
    assert capsys.readouterr().out.startswith("<stdin>\n       1 note not formatted")
    assert command("-", "--only", "parse", stdin=b'"\xff"', monkeypatch=monkeypatch) == 1
    assert "not UTF-8: byte 0xff" in capsys.readouterr().out


def test_fix_writes_formatted_files_and_nothing_else(capsys):
    write({"a.ex": "x  = 1\n", "b.ex": "y = 1\n", "c.ex": "z =\n"})
    os.chmod("a.ex", 0o640)
    before = os.stat("b.ex").st_mtime_ns
    assert command("a.ex", "b.ex", "--fix", "--only", "parse,format") == 0
    assert capsys.readouterr().err == "formatted 1 file\n"
    assert Path("a.ex").read_text() == "x = 1\n"
    assert stat.S_IMODE(os.stat("a.ex").st_mode) == 0o640
    assert os.stat("b.ex").st_mtime_ns == before
    assert command("c.ex", "--fix", "--only", "parse,format") == 1
    assert Path("c.ex").read_text() == "z =\n"


def test_nothing_is_written_without_being_asked():
    write({"a.ex": "x  = 1\n"})
    command("a.ex", "--only", "format")
    assert Path("a.ex").read_text() == "x  = 1\n"


def test_fix_follows_a_link_to_its_file():
    write({"real/a.ex": "x  = 1\n"})
    os.symlink("real/a.ex", "a.ex")
    assert command("a.ex", "--fix", "--only", "format") == 0
    assert Path("a.ex").is_symlink()
    assert Path("real/a.ex").read_text() == "x = 1\n"


def test_fix_leaves_a_file_that_somebody_else_has_written_meanwhile():
    write({"a.ex": "x  = 1\n"})
    report = check_paths(["a.ex"], READING)
    write({"a.ex": "x  = 2\n"})
    assert told(check._fix(report)) == [("a.ex", 1, "not_formatted")]
    assert Path("a.ex").read_text() == "x  = 2\n"


def test_options_are_checked():
    with pytest.raises(RecipeError, match="no such step: lint"):
        CheckOptions(steps=("lint",))
    with pytest.raises(RecipeError, match="nothing to check is left"):
        CheckOptions(steps=())


def test_the_python_of_the_manual_runs(capsys):
    page = Path(__file__).parents[2] / "docs/TOOLCHAIN.md"
    blocks = re.findall(r"^```python\n(.*?)^```$", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    for block in blocks:
        exec(compile(block, str(page), "exec"), {})
    assert len(blocks) == 2
    assert "a.ex 2 undefined_function Enum.fist/1 is undefined or private" in capsys.readouterr().out
