import json
import re
from collections import Counter

import pytest

from elixir_coder.errors import InputError, MissingDependencyError
from elixir_coder.toolchain.checks import sobelow
from elixir_coder.toolchain.checks.labels import SECURITY_LABELS, SOBELOW_RULES, label_vector
from elixir_coder.toolchain.checks.sobelow import detect, finding_of, require
from elixir_coder.toolchain.finding import Finding, Severity
from tests.toolchain.checks.cases import EDGES, PROJECT, PROJECT_RULES, controller, security_samples
from tests.toolchain.checks.record import RECORDED, sobelow_findings, write

TOLD = json.loads((RECORDED / "sobelow.json").read_text(encoding="utf-8"))
SAMPLES = security_samples()


def recorded(name: str) -> list[Finding]:
    return [Finding.from_dict(each) for each in TOLD["answers"][name]]


@pytest.fixture(scope="module")
def tool():
    found = detect()
    if found is None:
        pytest.skip(f"Sobelow is not installed; {sobelow.INSTALL}")
    with found:
        yield found


# ------------------------------------------------------------------------------- what was recorded, without the tool


def test_each_rule_was_seen_at_work():
    of_project = {name for names in PROJECT_RULES.values() for name in names}
    assert SAMPLES.keys() | of_project == {each.name for each in SOBELOW_RULES} - {
        "Misc.FilePath"
    }  # which never speaks
    for name in SAMPLES:
        assert label_vector(recorded(name), SECURITY_LABELS)[SECURITY_LABELS.index(name)] == 1
    found = recorded("project")
    assert {
        path: sorted({each.check for each in found if each.path == path}) for path in PROJECT_RULES
    } == PROJECT_RULES


def test_a_finding_says_what_and_where():
    (found,) = recorded("Traversal.SendFile")
    assert (found.tool, found.check, found.category) == ("sobelow", "Traversal.SendFile", "Traversal")
    assert (found.line, found.column, found.cwe) == (5, 5, ("CWE-22",))
    assert found.message == "Directory Traversal in `send_file` (`item`, in `show`)"


def test_confidence_becomes_severity():
    told = {"type": "CI.System: Oh", "line": None, "column": None, "function": "", "variable": ""}
    found = [finding_of(told | {"confidence": word}, "a.ex") for word in ("high", "medium", "low")]
    assert [each.severity for each in found] == [Severity.ERROR, Severity.WARNING, Severity.NOTE]
    assert found[0].message == "Oh"


def test_the_name_that_is_printed_is_made_that_of_the_rule():
    told = {"type": "Vuln.Plug: x", "confidence": "high", "line": None, "column": None, "function": "", "variable": ""}
    assert finding_of(told, "").check == "Vuln.CookieRCE"


def test_a_rule_that_we_do_not_know_is_a_finding_all_the_same():
    told = {"type": "New.Rule: x", "confidence": "low", "line": 1, "column": 1, "function": "f", "variable": ""}
    found = finding_of(told, "a.ex")
    assert (found.check, found.cwe, sum(label_vector([found], SECURITY_LABELS))) == ("New.Rule", (), 0)


# -------------------------------------------------------------------------------------------- finding an installed one


def test_without_one_the_way_to_install_it_is_told(monkeypatch, tmp_path):
    monkeypatch.delenv("ELIXIR_CODER_SOBELOW", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setenv("MIX_HOME", str(tmp_path))
    assert detect(tmp_path) is None
    with pytest.raises(
        MissingDependencyError, match=r"Sobelow is not installed; run: mix escript\.install hex sobelow"
    ):
        require(tmp_path)


def test_one_that_is_too_old_is_an_error(tmp_path):
    write({"sobelow.app": '{application,sobelow,[{vsn,"0.12.2"}]}.'}, tmp_path)
    with pytest.raises(MissingDependencyError, match=r"Sobelow 0\.12\.2 is too old, 0\.13 is needed"):
        detect(configured=tmp_path)


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    write({"sobelow.app": '{application,sobelow,[{vsn,"0.15.0"}]}.'}, tmp_path)
    with pytest.raises(InputError, match="there is no such folder"):
        detect(configured=tmp_path).check_folder(tmp_path / "none")


# ------------------------------------------------------------------------------------------------------ the real tool


class TestLive:
    pytestmark = [pytest.mark.credo, pytest.mark.elixir]

    def test_what_was_recorded_is_what_it_says(self, tool, tmp_path):
        found = sobelow_findings(tool, tmp_path)
        if tool.version == TOLD["version"]:
            assert found == TOLD["answers"]
        assert all(name in {each["check"] for each in found[name]} for name in SAMPLES)

    def test_its_rules_are_those_we_know(self, tool):
        assert set(tool.check_names()) == {each.name for each in SOBELOW_RULES} - {"Misc.FilePath"}

    def test_a_sample_is_judged_as_if_it_were_alone(self, tool):
        router = ("lib/shop_web/router.ex", PROJECT["lib/shop_web/router.ex"])
        settings = ("config/prod.exs", PROJECT["config/prod.exs"])
        template = ("x/show.html.heex", "<%= raw @item %>\n")
        samples = [*SAMPLES.values(), *EDGES.values(), router, settings, template]
        together = tool.check_sources(samples)
        alone = [tool.check_sources([sample])[0] for sample in samples]
        assert together == alone
        assert [each.notes for each in together] == [each.notes for each in alone]
        assert [sorted({each.check for each in found}) for found in together[-3:]] == [
            ["Config.CSP", "Config.CSRF", "Config.CSRFRoute", "Config.Headers"],
            ["Config.HTTPS", "Config.Secrets"],
            ["XSS.Raw"],
        ]

    def test_scripts_and_tests_are_judged_as_samples(self, tool):
        text = controller("String.to_atom(item)")
        results = tool.check_sources([(path, text) for path in ("", "a_test.exs", "lib/mix/tasks/a.ex", "größe.ex")])
        assert [[each.check for each in found] for found in results] == [["DOS.StringToAtom"]] * 4
        assert [found[0].path for found in results] == ["", "a_test.exs", "lib/mix/tasks/a.ex", "größe.ex"]

    @pytest.mark.parametrize("text", ["\udc80", "a = '\udcff'", "defmodule ("])
    def test_what_does_not_parse_harms_nobody(self, tool, text):
        good = ("lib/a.ex", controller("html(conn, item)"))
        first, broken, last = tool.check_sources([good, ("x.ex", text), good])
        assert (list(broken), [(note.kind, note.path) for note in broken.notes]) == ([], [("unparsable", "x.ex")])
        assert [each.check for each in (*first, *last)] == ["XSS.HTML"] * 2

    def test_nothing_is_asked_of_nothing(self, tool):
        assert tool.check_sources([]) == []

    def test_comments_are_honoured_where_they_are_to_be(self, tool):
        text = controller("html(conn, item)").replace("  def show", '  # sobelow_skip ["XSS"]\n  def show')
        assert [len(tool.check_sources([("", text)], comments=comments)[0]) for comments in (False, True)] == [1, 0]

    def test_a_project_says_what_to_leave_out(self, tool, tmp_path):
        write(PROJECT | {".sobelow-conf": '[ignore: ["Config", "XSS.Raw"], exit: :low, version: true]'}, tmp_path)
        found = tool.check_folder(tmp_path)
        assert {each.category for each in found} == {"Vuln"}
        (tmp_path / ".sobelow-conf").write_text("not a list")
        found = tool.check_folder(tmp_path)
        assert [(note.kind, note.path) for note in found.notes] == [("config", ".sobelow-conf")]
        assert {each.category for each in found} == {"Config", "Vuln", "XSS"}

    def test_a_rule_that_crashes_costs_itself_on_that_file_only(self, tool, tmp_path):
        """Sobelow asks for the version of a dependency without looking whether it has one."""
        files = PROJECT | {"deps/ecto/mix.exs": "defmodule Ecto.MixProject do\n  use Mix.Project\nend\n"}
        found = tool.check_folder(write(files, tmp_path))
        assert [(note.kind, note.check, note.path) for note in found.notes] == [("check_crashed", "Vuln.Ecto", "")]
        whole = Counter((each.check, each.path, each.line) for each in recorded("project"))
        assert whole - Counter((each.check, each.path, each.line) for each in found) == Counter(
            {("Vuln.Ecto", "deps/ecto/mix.exs", None): 1}
        )

    def test_a_machine_that_dies_is_started_again(self, tool):
        (before,) = tool.check_sources([SAMPLES["XSS.HTML"]])
        tool._machine._process.kill()
        assert tool.check_sources([SAMPLES["XSS.HTML"]]) == [before]

    def test_each_application_of_an_umbrella_is_a_project(self, tool, tmp_path):
        files = {f"apps/{name}/{path}": text for name in ("one", "two") for path, text in PROJECT.items()}
        found = tool.check_folder(write(files | {"mix.exs": PROJECT["mix.exs"]}, tmp_path))
        assert Counter(each.path.split("/")[1] for each in found) == {"one": 15, "two": 15}

    def test_a_folder_without_a_project_is_judged_file_by_file(self, tool, tmp_path):
        write({"a.ex": controller("html(conn, item)"), "b/c.ex": "defmodule (", "deps/d.ex": "x"}, tmp_path)
        found = tool.check_folder(tmp_path)
        assert [(each.path, each.check) for each in found] == [("a.ex", "XSS.HTML")]
        assert [(note.kind, note.path) for note in found.notes] == [("scope", ""), ("unparsable", "b/c.ex")]

    def test_it_leaves_nothing_behind(self, tool, tmp_path, monkeypatch):
        import tempfile

        monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
        tool.check_sources(SAMPLES.values())
        assert [path for path in tmp_path.iterdir() if not re.match("elixir-coder-checks-", path.name)] == []
