import json

import pytest

from elixir_coder.toolchain.finding import Finding, Outcome, Severity
from elixir_coder.toolchain.reports import Report, TestReport, TestVerdict

FINDING = Finding(
    tool="sobelow",
    check="Traversal.FileModule",
    category="Traversal",
    severity=Severity.WARNING,
    message="Directory Traversal in `File.read!`",
    path="lib/é.ex",
    line=3,
    column=7,
    cwe=("CWE-22",),
)


def test_a_finding_survives_json():
    assert Finding.from_dict(json.loads(json.dumps(FINDING.to_dict()))) == FINDING


def test_a_finding_is_plain_data():
    assert FINDING.to_dict() == {
        "tool": "sobelow",
        "check": "Traversal.FileModule",
        "category": "Traversal",
        "severity": "warning",
        "message": "Directory Traversal in `File.read!`",
        "path": "lib/é.ex",
        "line": 3,
        "column": 7,
        "cwe": ["CWE-22"],
    }


def test_a_finding_without_a_place_reads_back():
    finding = Finding(tool="elixir", check="crash", category="compile", severity=Severity.ERROR, message="gone")
    assert Finding.from_dict(finding.to_dict()) == finding
    assert (finding.path, finding.line, finding.column, finding.cwe) == ("", None, None, ())


@pytest.mark.parametrize(
    "damage, error",
    [({"severity": "fatal"}, ValueError), ({"colour": "red"}, TypeError), ({"severity": None}, ValueError)],
)
def test_what_is_no_finding_is_refused(damage, error):
    with pytest.raises(error):
        Finding.from_dict(FINDING.to_dict() | damage)


def test_findings_are_values():
    assert {FINDING, Finding.from_dict(FINDING.to_dict())} == {FINDING}


def test_severities_are_those_of_sarif_with_the_worst_first():
    assert list(map(str, Severity)) == ["error", "warning", "note"]


def test_outcomes_are_plain_words():
    assert [str(outcome) for outcome in Outcome] == [
        "ok",
        "syntax_error",
        "forbidden_call",
        "compile_error",
        "undefined_function",
        "missing_dependency",
        "warning",
        "test_failure",
        "timeout",
        "resource_limit",
        "crash",
    ]
    assert json.dumps({"outcome": Outcome.OK}) == '{"outcome": "ok"}'


@pytest.mark.parametrize("outcome", Outcome)
def test_only_warnings_leave_a_text_usable(outcome):
    assert Report(outcome=outcome).ok == (outcome in ("ok", "warning"))


def verdict(state):
    return TestVerdict(module="ATest", name="test a", state=state)


@pytest.mark.parametrize(
    "outcome, states, passed",
    [
        (Outcome.OK, ["passed", "passed"], True),
        (Outcome.WARNING, ["passed", "skipped"], True),
        (Outcome.OK, [], False),
        (Outcome.OK, ["skipped", "excluded"], False),
        (Outcome.TEST_FAILURE, ["passed", "failed"], False),
        (Outcome.TIMEOUT, ["passed"], False),
    ],
)
def test_a_run_passes_when_some_test_did_and_nothing_went_wrong(outcome, states, passed):
    assert TestReport(outcome=outcome, tests=tuple(map(verdict, states))).passed == passed
