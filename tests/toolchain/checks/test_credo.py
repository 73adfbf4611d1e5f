import json
import subprocess
import zipfile
from collections import Counter
from pathlib import Path

import pytest

from elixir_coder.errors import InputError, MissingDependencyError
from elixir_coder.toolchain.checks import credo
from elixir_coder.toolchain.checks.credo import detect, require, result_of
from elixir_coder.toolchain.checks.labels import QUALITY_LABELS, label_vector
from elixir_coder.toolchain.checks.machine import Findings
from elixir_coder.toolchain.finding import Severity
from tests.toolchain.checks.cases import EDGES, FOR_OLD_ELIXIR, WITH_PARAMETERS, body, quality_samples
from tests.toolchain.checks.record import RECORDED, credo_answers, write

TOLD = json.loads((RECORDED / "credo.json").read_text(encoding="utf-8"))
SAMPLES = quality_samples()
SILENT = {f"Credo.Check.{name}" for name in (*WITH_PARAMETERS, *FOR_OLD_ELIXIR)}
live = [pytest.mark.credo, pytest.mark.elixir]


def recorded(name: str, path: str | None = None) -> Findings:
    return result_of(TOLD["answers"][name], [], path)


@pytest.fixture(scope="module")
def tool():
    found = detect()
    if found is None:
        pytest.skip(f"Credo is not installed; {credo.INSTALL}")
    with found:
        yield found


def names(findings: Findings) -> set[str]:
    return {finding.check.removeprefix("Credo.Check.") for finding in findings}


# ------------------------------------------------------------------------------- what was recorded, without the tool


@pytest.mark.parametrize("check", sorted(SAMPLES.keys() - SILENT))
def test_each_check_was_seen_at_work(check):
    found = recorded(check)
    assert check in {finding.check for finding in found}
    assert label_vector(found, QUALITY_LABELS)[QUALITY_LABELS.index(check)] == 1


def test_a_finding_carries_what_credo_says():
    (found,) = [each for each in recorded("Credo.Check.Warning.UnsafeToAtom", "a.ex") if "Unsafe" in each.check]
    assert (found.tool, found.category, found.severity) == ("credo", "warning", Severity.WARNING)
    assert (found.path, found.line, found.column) == ("a.ex", 5, 5)
    assert found.message == "Prefer String.to_existing_atom/1 over String.to_atom/1 to avoid creating atoms at runtime."


def test_what_has_no_place_has_no_line():
    found = [each for name in SAMPLES for each in recorded(name)]
    assert all(each.line is None or each.line > 0 for each in found)
    assert all(each.column is None or each.column > 0 for each in found)
    assert {each.category for each in found} == {"consistency", "design", "readability", "refactor", "warning"}


def test_a_text_that_does_not_parse_is_a_note_with_its_place():
    found = recorded("does not parse", "x.ex")
    (note,) = found.notes
    assert (list(found), note.kind, note.path, note.line) == ([], "unparsable", "x.ex", 4)


def test_columns_count_characters_and_not_bytes():
    places = {each.check.rpartition(".")[2]: (each.line, each.column) for each in recorded("not ASCII")}
    assert (places["IoInspect"], places["UnsafeToAtom"]) == ((5, 23), (6, 12))


def test_a_check_of_test_files_looks_at_no_other_file():
    assert {"Design.SkipTestWithoutComment", "Refactor.PassAsyncInTestCases"} <= names(recorded("test"))
    assert names(recorded("no test")) == {"Warning.Dbg"}


def test_nothing_is_said_of_an_empty_file():
    assert (list(recorded("empty")), recorded("empty").notes) == ([], ())


# -------------------------------------------------------------------------------------------- finding an installed one


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """Neither on the PATH nor in mix's folders."""
    monkeypatch.delenv("ELIXIR_CODER_CREDO", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("MIX_HOME", str(tmp_path / "mix"))
    monkeypatch.delenv("MIX_ARCHIVES", raising=False)
    monkeypatch.delenv("MIX_ESCRIPTS", raising=False)
    return tmp_path


def application(name: str, version: str, needs: str = "kernel,elixir") -> str:
    facts = f"{{modules,['Elixir.{name.title()}']}},{{applications,[{needs}]}},{{vsn,\"{version}\"}}"
    return f"{{application,{name},\n  [{facts}]}}.\n"


def build(folder: Path, name: str, version: str, needs: str = "kernel,elixir") -> Path:
    write({f"{name}/ebin/{name}.app": application(name, version, needs)}, folder)
    return folder / name / "ebin"


def pack(path: Path, name: str, version: str, folder: str = "", start: bytes = b"") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(f"{folder}{name}.app", application(name, version))
    path.write_bytes(start + path.read_bytes())
    path.chmod(0o755)
    return path


def test_without_one_the_way_to_install_it_is_told(nowhere):
    assert detect(nowhere) is None
    with pytest.raises(
        MissingDependencyError, match=r'Credo is not installed; add \{:credo, "~> 1\.7", only: .*mix\.exs'
    ):
        require(nowhere)


def test_the_one_of_the_project_comes_with_what_it_needs(nowhere):
    lib = nowhere / "shop/_build/dev/lib"
    build(lib, "credo", "1.7.5", "kernel,jason,logger")
    build(lib, "jason", "1.4.0", "decimal")
    build(lib, "decimal", "2.0.0")
    build(lib, "shop", "0.1.0")
    found = detect(nowhere / "shop")
    assert found is not None
    assert found.version == "1.7.5"
    assert {folder.parent.name for folder in found.installed.folders} == {"credo", "jason", "decimal"}


def test_the_latest_build_of_a_project_is_taken(nowhere):
    import os

    for age, environment in enumerate(("test", "dev")):
        ebin = build(nowhere / f"_build/{environment}/lib", "credo", f"1.7.{age}")
        os.utime(ebin / "credo.app", (1000 - age, 1000 - age))
    found = detect(nowhere)
    assert found is not None
    assert found.version == "1.7.0"


def test_an_application_of_an_umbrella_has_that_of_the_umbrella(nowhere):
    build(nowhere / "_build/dev/lib", "credo", "1.7.1")
    write({"mix.exs": "", "apps/shop/mix.exs": ""}, nowhere)
    found = detect(nowhere / "apps/shop")
    assert found is not None
    assert found.version == "1.7.1"


@pytest.mark.elixir
@pytest.mark.parametrize("sandbox", [True, False])
def test_what_a_project_brings_along_runs_in_the_sandbox(monkeypatch, tmp_path, sandbox):
    monkeypatch.delenv("ELIXIR_CODER_CREDO", raising=False)
    ebin, mark = build(tmp_path / "shop/_build/dev/lib", "credo", "1.7.5"), tmp_path / "mark"
    mark.touch()
    mark.chmod(0o666)  # the sandbox of root is nobody's
    (tmp_path / "shop").chmod(0o755)
    source = tmp_path / "credo.ex"
    asked_first = f"def __struct__(_ \\\\ []), do: File.write({json.dumps(str(mark))}, ~s(x))"
    source.write_text(f"defmodule Credo.Execution do\n  {asked_first}\nend\n")
    subprocess.run(["elixirc", "-o", ebin, source], check=True, capture_output=True)
    with detect(tmp_path / "shop", sandbox=sandbox) as found, pytest.raises(MissingDependencyError, match="not load"):
        found.check_sources([("", "1")])
    assert mark.read_text() == ("" if sandbox else "x")


def test_an_escript_on_the_path_is_found_and_another_program_of_that_name_is_not(nowhere):
    write({"bin/credo": "#!/bin/sh\necho something else\n"}, nowhere)
    (nowhere / "bin/credo").chmod(0o755)
    assert detect() is None
    pack(nowhere / "mix/escripts/credo", "credo", "1.7.2", start=b"#! /usr/bin/env escript\n")
    found = detect()
    assert found is not None
    assert (found.version, found.installed.found_in) == ("1.7.2", nowhere / "mix/escripts/credo")


def test_the_newest_archive_is_taken(nowhere):
    for version in ("1.7.9", "1.7.10"):
        build(nowhere / f"mix/archives/credo-{version}", "credo", version).parent.rename(
            nowhere / f"mix/archives/credo-{version}/credo-{version}"
        )
    found = detect()
    assert found is not None
    assert found.version == "1.7.10"


@pytest.mark.parametrize("place", ["lib/credo/ebin", "lib/credo", "lib", "credo.ez"])
def test_one_can_be_named_in_several_ways(place, nowhere, monkeypatch):
    build(nowhere / "lib", "credo", "1.7.3")
    pack(nowhere / "credo.ez", "credo", "1.7.3", folder="credo-1.7.3/ebin/")
    monkeypatch.setenv("ELIXIR_CODER_CREDO", str(nowhere / place))
    found = detect()
    assert found is not None
    assert found.version == "1.7.3"


@pytest.mark.parametrize("content", [None, b"", b"#!/bin/sh\n"])
def test_a_named_one_that_is_not_there_is_an_error(content, nowhere):
    path = nowhere / "credo"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MissingDependencyError, match=r"there is no compiled Credo at .*/credo; add"):
        detect(configured=path)


def test_one_that_is_too_old_is_an_error(nowhere):
    with pytest.raises(MissingDependencyError, match=r"Credo 1\.6\.7 is too old, 1\.7 is needed"):
        detect(configured=build(nowhere, "credo", "1.6.7"))


@pytest.mark.elixir
def test_one_that_does_not_load_is_an_error(tmp_path):
    with (
        detect(configured=build(tmp_path, "credo", "1.7.3")) as broken,  # an .app file and no modules
        pytest.raises(MissingDependencyError, match=r"credo 1\.7\.3 does not load .* Build it again"),
    ):
        broken.check_sources([("", "1")])


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    unused = detect(configured=build(tmp_path, "credo", "1.7.3"))
    with pytest.raises(InputError, match="there is no such folder"):
        unused.check_folder(tmp_path / "none")


# ------------------------------------------------------------------------------------------------------ the real tool


class TestLive:
    pytestmark = live

    def test_what_was_recorded_is_what_it_says(self, tool):
        names = set(tool.check_names())
        answers = credo_answers(tool)
        if (tool.version, tool._machine.hello["elixir"]) == (TOLD["version"], TOLD["elixir"]):
            assert answers == TOLD["answers"]
        silent = SILENT | {
            "Credo.Check.Readability.PredicateFunctionNames",
            "Credo.Check.Warning.WrongTestFileExtension",
        }
        for check in SAMPLES.keys() & names - silent:
            assert check in {issue["check"] for issue in answers[check]["issues"]}

    def test_a_sample_is_judged_as_if_it_were_alone(self, tool):
        samples = [*SAMPLES.values(), *EDGES.values()]
        together = tool.check_sources(samples, all_checks=True)
        backwards = tool.check_sources(samples[::-1], all_checks=True)[::-1]
        assert together == backwards
        twins = tool.check_sources([SAMPLES["Credo.Check.Warning.IoInspect"]] * 5, all_checks=True)
        assert names(twins[0]) == {"Readability.Specs", "Warning.IoInspect"}  # and no duplicated code
        assert all(twin == twins[0] for twin in twins)

    def test_without_all_checks_only_those_that_are_on_speak(self, tool):
        text = body("IO.inspect(item)\nlist |> Enum.sort() |> Enum.sum()")
        plain, everything = (tool.check_sources([("", text)], all_checks=all_)[0] for all_ in (False, True))
        assert names(plain) == {"Warning.IoInspect"}
        assert {"Warning.IoInspect", "Readability.Specs", "Readability.OnePipePerLine"} <= names(everything)

    def test_strict_shows_what_has_a_low_priority(self, tool):
        sample = SAMPLES["Credo.Check.Readability.AliasOrder"]
        assert [names(tool.check_sources([sample], strict=strict)[0]) for strict in (False, True)] == [
            set(),
            {"Readability.AliasOrder"},
        ]

    def test_comments_are_honoured_unless_they_are_not_to_be(self, tool):
        for comments, lines in ((True, [7]), (False, [6, 7])):
            (found,) = tool.check_sources([EDGES["switched off"]], comments=comments)
            assert [each.line for each in found if "IoInspect" in each.check] == lines

    @pytest.mark.parametrize("text", ["\udc80", "a = '\udcff'", "defmodule ("])
    def test_what_does_not_parse_harms_nobody(self, tool, text):
        first, broken, last = tool.check_sources([("", body("dbg(item)")), ("x", text), ("", body("dbg(item)"))])
        assert (list(broken), [note.kind for note in broken.notes]) == ([], ["unparsable"])
        assert names(first) == names(last) == {"Warning.Dbg"}

    def test_nothing_is_asked_of_nothing(self, tool):
        assert tool.check_sources([]) == []

    def test_a_folder_is_judged_as_one(self, tool, tmp_path):
        spaces = body("x = item\n{x, list, map}")
        tabs = spaces.replace("  ", "\t")
        write({"lib/a.ex": spaces, "lib/b.ex": spaces, "lib/c.ex": tabs}, tmp_path)
        found = tool.check_folder(tmp_path)
        assert {(each.path, each.check.rpartition(".")[2]) for each in found} == {("lib/c.ex", "TabsOrSpaces")}
        assert not any(tool.check_sources([("lib/c.ex", tabs)]))

    def test_a_project_says_which_checks_it_wants(self, tool, tmp_path):
        settings = ", ".join(f"{{Credo.Check.{name}, {params}}}" for name, params in WITH_PARAMETERS.items())
        write(
            {
                "mix.exs": "",
                ".credo.exs": '%{configs: [%{name: "default", files: %{included: ["lib/"], excluded: [~r"/made/"]},\n'
                f"checks: %{{extra: [{settings}], disabled: [{{Credo.Check.Warning.IoInspect, []}}]}}}}]}}",
                "lib/a.ex": body("Depot.pure(item)\nIO.inspect(item)\ndbg(list)"),
                "lib/made/b.ex": body("dbg(item)"),
                "test/c.exs": body("dbg(item)"),
            },
            tmp_path,
        )
        found = tool.check_folder(tmp_path)
        known = {f"Credo.Check.{name}" for name in WITH_PARAMETERS} & set(tool.check_names())
        wanted = {name.removeprefix("Credo.Check.") for name in known} | {"Warning.Dbg"}
        assert (names(found), {each.path for each in found}) == (wanted, {"lib/a.ex"})
        (sample,) = tool.check_sources([("lib/x.ex", body("IO.inspect(item)"))], project=tmp_path)
        assert list(sample) == []
        assert "Warning.IoInspect" in names(tool.check_folder(tmp_path, all_checks=True))

    def test_code_in_the_settings_is_not_run(self, tool, tmp_path):
        mark = tmp_path / "mark"
        write(
            {
                ".credo.exs": f'File.touch!("{mark}")\n%{{configs: []}}\n',
                "config/.credo.exs": '%{configs: [%{name: "default", requires: ["./checks.ex"], plugins: [{A, []}]}]}',
                "checks.ex": f'File.touch!("{mark}")',
                "lib/a.ex": body("dbg(item)"),
            },
            tmp_path,
        )
        found = tool.check_folder(tmp_path)
        assert not mark.exists()
        assert "Warning.Dbg" in names(found)
        assert [note.kind for note in found.notes] == ["config"] * 3
        assert "is code and not data, which is run for a trusted project only" in found.notes[0].message

    @pytest.mark.parametrize("text", ["%{configs: :none}", "[]", "1", "%{configs: [", "%{configs: [%{name: 1}]}", ""])
    def test_settings_that_are_none_are_a_note(self, tool, tmp_path, text):
        write({".credo.exs": text, "lib/a.ex": body("dbg(item)")}, tmp_path)
        found = tool.check_folder(tmp_path)
        assert names(found) == {"Warning.Dbg"}
        assert {note.kind for note in found.notes} <= {"config"}

    @pytest.mark.parametrize("params", ["[priority: :hihg]", "%{a: 1}", '"x"', "[files: %{included: [1]}]", "[1]"])
    def test_parameters_that_are_none_cost_the_check_alone(self, tool, tmp_path, params):
        settings = f"{{Credo.Check.Warning.Dbg, {params}}}"
        write(
            {
                ".credo.exs": f'%{{configs: [%{{name: "default", checks: %{{extra: [{settings}]}}}}]}}',
                "lib/a.ex": body("dbg(item)\nIO.inspect(item)"),
            },
            tmp_path,
        )
        found = tool.check_folder(tmp_path)
        assert names(found) == {"Warning.IoInspect"}
        assert [(note.kind, note.check) for note in found.notes] == [("config", "Credo.Check.Warning.Dbg")]

    def test_a_check_that_fails_costs_itself_on_that_file_only(self, tool, custom):
        found = tool.check_folder(custom, trust=True, timeout_s=4)
        assert [(each.path, each.check) for each in found] == [
            (f"lib/{name}.ex", "Shop.Moody") for name in ("calm", "sleep") if name == "calm"
        ] + [(f"lib/{name}.ex", "Shop.Steady") for name in ("calm", "exit", "kill", "raise", "throw")]
        notes = {(note.path, note.check): note.kind for note in found.notes}
        assert notes == {
            ("lib/exit.ex", "Shop.Moody"): "check_crashed",
            ("lib/kill.ex", "Shop.Moody"): "check_crashed",
            ("lib/raise.ex", "Shop.Moody"): "check_crashed",
            ("lib/throw.ex", "Shop.Moody"): "check_crashed",
            ("lib/sleep.ex", "Shop.Moody"): "timeout",
            ("lib/sleep.ex", "Shop.Steady"): "timeout",
        }

    def test_a_machine_that_dies_takes_one_sample_along(self, tool, custom):
        samples = [(f"lib/a{n}.ex", "halt()" if n == 5 else "calm()") for n in range(12)]
        started = tool._machine.num_started
        results = tool.check_sources(samples, project=custom, trust=True)
        assert [len(result) for result in results] == [0 if n == 5 else 2 for n in range(12)]
        assert [note.kind for note in results[5].notes] == ["died"]
        assert tool._machine.num_started > started

    def test_a_machine_that_was_ended_from_outside_is_started_again(self, tool):
        (before,) = tool.check_sources([("", body("dbg(item)"))])
        tool._machine._process.kill()
        assert tool.check_sources([("", body("dbg(item)"))]) == [before]

    def test_a_folder_that_kills_the_machine_is_judged_file_by_file(self, tool, custom):
        for path in custom.glob("lib/*.ex"):
            path.unlink()
        write({"lib/bad.ex": "halt()", "lib/good.ex": "calm()"}, custom)
        found = tool.check_folder(custom, trust=True)
        assert [each.path for each in found] == ["lib/good.ex"] * 2
        assert [(note.kind, note.path) for note in found.notes] == [("died", ""), ("died", "lib/bad.ex")]

    def test_it_says_the_same_as_its_own_command(self, tool, tmp_path):
        if not tool.installed.packed or tool.installed.found_in.suffix == ".ez":
            pytest.skip("only an escript is a command")
        files = {f"lib/{number}_{Path(path).name}": text for number, (path, text) in enumerate(SAMPLES.values())}
        write({"mix.exs": "", "test/a_test.exs": EDGES["test"][1], **files}, tmp_path)
        command = [str(tool.installed.found_in), "--strict", "--format", "json", "--mute-exit-status"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True)
        told = json.loads(done.stdout[done.stdout.index("{") :])["issues"]
        theirs = Counter((each["check"], each["filename"], each["line_no"], each["message"]) for each in told)
        ours = tool.check_folder(tmp_path, strict=True)
        assert Counter((each.check, each.path, each.line, each.message) for each in ours) == theirs
        assert sum(theirs.values()) > 70

    def test_one_in_the_build_folder_of_a_project_works(self, tool, tmp_path, monkeypatch):
        if not tool.installed.packed or tool.installed.found_in.suffix == ".ez":
            pytest.skip("only an escript holds all that a build folder does")
        from elixir_coder.toolchain.checks.machine import _unpack

        for name in ("credo", "bunt", "jason", "file_system"):
            (tmp_path / f"_build/dev/lib/{name}/ebin").mkdir(parents=True)
        _unpack(tool.installed, tmp_path / "_build/dev/lib/credo/ebin")
        for name in ("bunt", "jason", "file_system"):
            moved = tmp_path / f"_build/dev/lib/credo/ebin/{name}.app"
            moved.rename(tmp_path / f"_build/dev/lib/{name}/ebin/{name}.app")
        monkeypatch.delenv("ELIXIR_CODER_CREDO", raising=False)
        write({"lib/a.ex": body("dbg(item)")}, tmp_path)
        tmp_path.chmod(0o755)  # the sandbox of root is nobody's
        with detect(tmp_path) as other:
            assert names(other.check_sources([("", body("dbg(item)"))])[0]) == {"Warning.Dbg"}
            assert "Warning.Dbg" in names(other.check_folder(tmp_path))


@pytest.fixture
def custom(tmp_path):
    """A trusted project with a check that does what the text says, and one behind it that always has a finding."""
    checks = """\
defmodule Shop.Moody do
  use Credo.Check, base_priority: :high, category: :warning

  def run(source_file, params) do
    case Credo.SourceFile.source(source_file) do
      "raise()" -> raise "bad mood"
      "throw()" -> throw(:mood)
      "exit()" -> exit(:mood)
      "kill()" -> Process.exit(self(), :kill)
      "sleep()" -> Process.sleep(:infinity)
      "halt()" -> System.halt(3)
      "calm()" -> [format_issue(IssueMeta.for(source_file, params), message: "calm", line_no: 1)]
    end
  end
end

defmodule Shop.Steady do
  use Credo.Check, base_priority: :high, category: :warning

  def run(source_file, params), do: [format_issue(IssueMeta.for(source_file, params), message: "here", line_no: 1)]
end
"""
    files = {f"lib/{name}.ex": f"{name}()" for name in ("calm", "exit", "kill", "raise", "sleep", "throw")}
    settings = """\
%{configs: [%{name: "default", requires: ["./checks.exs"], files: %{included: ["lib/"]},
  checks: %{enabled: [{Shop.Moody, []}, {Shop.Steady, []}]}}]}
"""
    return write({"mix.exs": "", "checks.exs": checks, ".credo.exs": settings, **files}, tmp_path)
