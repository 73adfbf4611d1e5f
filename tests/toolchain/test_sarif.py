import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from elixir_coder.toolchain.finding import Finding, Outcome, Severity
from elixir_coder.toolchain.sarif import to_sarif

UNDEFINED = Finding(
    tool="elixir",
    check=Outcome.UNDEFINED_FUNCTION,
    category="compile",
    severity=Severity.ERROR,
    message="undefined function foo/0 (expected A to define such a function)",
    path="lib/a.ex",
    line=2,
    column=3,
)
TRAVERSAL = Finding(
    tool="sobelow",
    check="Traversal.FileModule",
    category="Traversal",
    severity=Severity.NOTE,
    message="Directory Traversal in `File.read!`",
    path="lib/a.ex",
    line=3,
    cwe=("CWE-22",),
)
MODULEDOC = Finding(
    tool="credo",
    check="Credo.Check.Readability.ModuleDoc",
    category="readability",
    severity=Severity.NOTE,
    message="Modules should have a @moduledoc tag.",
    path="lib/b c.ex",
    line=1,
    column=11,
)
FINDINGS = [UNDEFINED, TRAVERSAL, MODULEDOC]
VERSIONS = {"elixir": "1.14.0", "mix format": "1.14.0", "credo": "1.7.11", "sobelow": "0.13.0"}


def sarif(findings=FINDINGS, versions=VERSIONS, **options):
    log = to_sarif(findings, tool_versions=versions, **options)
    assert_valid(log)
    return log


def run_of(log, tool):
    (run,) = [run for run in log["runs"] if run["tool"]["driver"]["name"] == tool]
    return run


def result_of(finding, **options):
    (run,) = sarif([finding], {finding.tool: ""}, **options)["runs"]
    (result,) = run["results"]
    return result


def assert_valid(log):
    """The rules of the official schema, and of the standard's text, that a log of ours could break."""
    log = json.loads(json.dumps(log))  # nothing that is not JSON
    assert log.keys() == {"$schema", "version", "runs"}
    assert log["version"] == "2.1.0"
    for run in log["runs"]:
        assert run.keys() <= {"tool", "results", "columnKind", "originalUriBaseIds", "taxonomies"}
        assert run["columnKind"] in ("utf16CodeUnits", "unicodeCodePoints")
        driver = run["tool"]["driver"]
        assert driver["name"]
        assert unique(rule["id"] for rule in driver["rules"])
        for rule in driver["rules"]:
            assert rule["id"]
            assert re.fullmatch(r"[A-Za-z0-9]+", rule["name"])
            for text in ("shortDescription", "fullDescription", "help"):
                assert rule[text]["text"]
            assert rule["defaultConfiguration"]["level"] in ("none", "note", "warning", "error")
            assert unique(rule["properties"]["tags"])
            for relationship in rule.get("relationships", []):
                assert_taxon(relationship["target"], run)
                assert relationship["kinds"] == ["superset"]
        for taxonomy in run.get("taxonomies", []):
            assert taxonomy["name"]
            assert unique(taxon["id"] for taxon in taxonomy["taxa"])
        for result in run["results"]:
            assert_result(result, run)


def assert_result(result, run):
    assert result["message"]["text"]
    assert result["level"] in ("none", "note", "warning", "error")
    assert run["tool"]["driver"]["rules"][result["ruleIndex"]]["id"] == result["ruleId"]
    assert all(isinstance(value, str) for value in result["partialFingerprints"].values())
    for taxon in result.get("taxa", []):
        assert_taxon(taxon, run)
    for location in result.get("locations", []):
        physical = location["physicalLocation"]
        uri = physical["artifactLocation"]["uri"]
        assert re.fullmatch(r"(file://)?([A-Za-z0-9._~/-]|%[0-9A-F]{2})+", uri)
        assert uri.startswith("file:///") != (
            physical["artifactLocation"].get("uriBaseId") in run["originalUriBaseIds"]
        )
        region = physical.get("region", {"startLine": 1})
        assert region["startLine"] >= 1
        assert region.get("startColumn", 1) >= 1


def assert_taxon(reference, run):
    taxonomy = run["taxonomies"][reference["toolComponent"]["index"]]
    assert taxonomy["name"] == reference["toolComponent"]["name"]
    assert taxonomy["taxa"][reference["index"]]["id"] == reference["id"]
    assert {"name": "CWE", "index": 0} in run["tool"]["driver"]["supportedTaxonomies"]


def unique(values):
    values = list(values)
    return len(values) == len(set(values))


def test_every_tool_that_ran_has_a_run_also_without_findings():
    log = sarif()
    assert [run["tool"]["driver"]["name"] for run in log["runs"]] == list(VERSIONS)
    assert [len(run["results"]) for run in log["runs"]] == [1, 0, 1, 1]
    assert run_of(log, "credo")["tool"]["driver"]["version"] == "1.7.11"


def test_a_tool_that_nobody_spoke_of_gets_its_run_too():
    (run,) = sarif([UNDEFINED], {})["runs"]
    assert run["tool"]["driver"]["name"] == "elixir"
    assert "version" not in run["tool"]["driver"]


def test_a_finding_is_a_result_with_its_place():
    assert result_of(UNDEFINED) == {
        "ruleId": "undefined_function",
        "ruleIndex": 0,
        "level": "error",
        "message": {"text": "undefined function foo/0 (expected A to define such a function)"},
        "locations": [
            {
                "physicalLocation": {
                    "artifactLocation": {"uri": "lib/a.ex", "uriBaseId": "%SRCROOT%"},
                    "region": {"startLine": 2, "startColumn": 3},
                }
            }
        ],
        "partialFingerprints": result_of(UNDEFINED)["partialFingerprints"],
    }


def test_a_finding_without_column_line_or_path_says_no_more_than_it_knows():
    assert result_of(replace(UNDEFINED, column=None))["locations"][0]["physicalLocation"]["region"] == {"startLine": 2}
    assert "region" not in result_of(replace(UNDEFINED, line=None))["locations"][0]["physicalLocation"]
    assert "locations" not in result_of(replace(UNDEFINED, path=""))


def test_rules_are_explained():
    (rule,) = run_of(sarif(), "credo")["tool"]["driver"]["rules"]
    assert rule["id"] == "Credo.Check.Readability.ModuleDoc"
    assert rule["name"] == "CredoCheckReadabilityModuleDoc"
    assert rule["helpUri"] == "https://hexdocs.pm/credo/Credo.Check.Readability.ModuleDoc.html"
    assert rule["defaultConfiguration"] == {"level": "note"}
    (rule,) = run_of(sarif(), "elixir")["tool"]["driver"]["rules"]
    assert rule["shortDescription"]["text"] == "A function, macro or module that does not exist is used."


def test_a_rule_is_as_bad_as_its_worst_finding():
    mild, bad = replace(MODULEDOC, severity=Severity.NOTE), replace(MODULEDOC, severity=Severity.WARNING, line=9)
    (rule,) = run_of(sarif([mild, bad]), "credo")["tool"]["driver"]["rules"]
    assert rule["defaultConfiguration"] == {"level": "warning"}


@pytest.mark.parametrize("check", [*Outcome, "not_formatted", "unexpected_tests"])
def test_every_check_of_elixir_itself_has_a_meaning(check):
    if check == Outcome.OK:
        return
    (rule,) = run_of(sarif([replace(UNDEFINED, check=check)]), "elixir")["tool"]["driver"]["rules"]
    assert rule["shortDescription"]["text"].rstrip(".") != check


def test_weaknesses_are_a_taxonomy():
    run = run_of(sarif(), "sobelow")
    (taxonomy,) = run["taxonomies"]
    assert taxonomy["taxa"] == [{"id": "CWE-22", "helpUri": "https://cwe.mitre.org/data/definitions/22.html"}]
    (rule,) = run["tool"]["driver"]["rules"]
    assert rule["properties"]["tags"] == ["traversal", "security", "external/cwe/cwe-022"]
    assert rule["relationships"][0]["target"]["id"] == "CWE-22"
    assert run["results"][0]["taxa"][0]["id"] == "CWE-22"
    assert "taxonomies" not in run_of(sarif(), "elixir")


def test_paths_become_uris():
    def uri(path, **options):
        return result_of(replace(UNDEFINED, path=path), **options)["locations"][0]["physicalLocation"][
            "artifactLocation"
        ]

    assert uri("lib/b c.ex") == {"uri": "lib/b%20c.ex", "uriBaseId": "%SRCROOT%"}
    assert uri("./lib//é:%.ex")["uri"] == "lib/%C3%A9%3A%25.ex"
    assert uri("<stdin>")["uri"] == "%3Cstdin%3E"
    assert uri("lib/\udce9.ex")["uri"] == "lib/%E9.ex"  # a name that is not UTF-8
    assert uri("/elsewhere/a.ex") == {"uri": "file:///elsewhere/a.ex"}


def test_paths_are_relative_to_the_root(tmp_path, monkeypatch):
    (tmp_path / "app/lib").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "app")

    def uri(path):
        finding = replace(UNDEFINED, path=str(path))
        return result_of(finding, root=tmp_path)["locations"][0]["physicalLocation"]["artifactLocation"]

    assert uri("lib/a.ex") == {"uri": "app/lib/a.ex", "uriBaseId": "%SRCROOT%"}
    assert uri(tmp_path / "b.ex") == {"uri": "b.ex", "uriBaseId": "%SRCROOT%"}
    assert uri("../../c.ex") == {"uri": (tmp_path.parent / "c.ex").as_uri()}


def test_no_path_of_this_machine_is_in_a_log(tmp_path):
    assert str(tmp_path) not in json.dumps(sarif(root=tmp_path))
    assert str(Path.cwd()) not in json.dumps(sarif(root=Path.cwd()))


def fingerprint(finding, source):
    return result_of(finding, sources={finding.path: source})["partialFingerprints"]["primaryLocationLineHash"]


def test_a_finding_stays_the_same_when_its_line_moves():
    before = fingerprint(UNDEFINED, "defmodule A do\n  foo()\nend\n")
    assert fingerprint(replace(UNDEFINED, line=4), "# a\n# b\ndefmodule A do\n  foo()\nend\n") == before
    assert fingerprint(UNDEFINED, "defmodule A do\n      foo()\nend\n") == before  # moved to the right
    assert fingerprint(UNDEFINED, "defmodule A do\n  foo(1)\nend\n") != before


def test_findings_on_equal_lines_are_told_apart():
    twice = [replace(UNDEFINED, line=line) for line in (1, 3)]
    run = run_of(sarif(twice, sources={"lib/a.ex": "foo()\n\nfoo()\n"}), "elixir")
    first, second = (result["partialFingerprints"]["primaryLocationLineHash"] for result in run["results"])
    assert first.split(":")[0] == second.split(":")[0]
    assert (first.split(":")[1], second.split(":")[1]) == ("1", "2")


def test_sources_are_read_from_the_disk_where_they_are_not_given(tmp_path):
    path = tmp_path / "a.ex"
    path.write_text("one\n  foo()\n")
    finding = replace(UNDEFINED, path=str(path))
    assert (
        fingerprint(finding, "one\n  foo()\n") == result_of(finding)["partialFingerprints"]["primaryLocationLineHash"]
    )
    path.unlink()
    assert result_of(finding)["partialFingerprints"]["primaryLocationLineHash"]  # then by its message


@pytest.mark.parametrize("message", ["got {:ok, 1}", "%{a: 1}", 'x["a"] (b)', "a {} b", "\\d{2,3}"])
def test_braces_and_brackets_of_elixir_stay_as_they_are(message):
    assert result_of(replace(UNDEFINED, message=message))["message"] == {"text": message}


def test_a_tuple_that_looks_like_a_placeholder_stands_for_itself():
    message = result_of(replace(UNDEFINED, message="got {1}, not {0}"))["message"]
    assert message == {"text": "got {1}, not {0}", "arguments": ["{0}", "{1}"]}
    assert re.sub(r"\{(\d)\}", lambda match: message["arguments"][int(match[1])], message["text"]) == "got {1}, not {0}"


def test_a_message_makes_no_links():
    assert (
        result_of(replace(UNDEFINED, message="see [here](file:///x)"))["message"]["text"] == "see \\[here](file:///x)"
    )


def test_an_empty_message_is_said_to_be_one():
    assert result_of(replace(UNDEFINED, message=" "))["message"]["text"] == "(no message)"


def test_the_same_findings_give_the_same_log():
    assert json.dumps(sarif()) == json.dumps(sarif())
