from collections import Counter

import pytest

from configuration_elixir_coder import QUALITY_LABELS, SECURITY_LABELS
from elixir_coder.toolchain.checks import labels
from elixir_coder.toolchain.checks.labels import (
    CREDO_RULES,
    SOBELOW_RULES,
    credo_severity,
    judged_vector,
    label_vector,
    rule,
    sobelow_severity,
    unknown_checks,
)
from elixir_coder.toolchain.checks.machine import Findings, Note
from elixir_coder.toolchain.finding import Finding, Severity


def finding(check: str, tool: str = "credo") -> Finding:
    return Finding(tool=tool, check=check, category="", severity=Severity.NOTE, message="")


def test_the_labels_are_those_of_the_model_in_their_order():
    assert labels.QUALITY_LABELS == QUALITY_LABELS
    assert labels.SECURITY_LABELS == SECURITY_LABELS


def test_every_rule_is_described():
    assert (len(CREDO_RULES), len(SOBELOW_RULES)) == (112, 32)
    for each in (*CREDO_RULES, *SOBELOW_RULES):
        assert each.meaning and each.category and all(number.startswith("CWE-") for number in each.cwe)
        assert each.tool == ("credo" if each.name.startswith("Credo.") else "sobelow")
    ids = Counter(each.id for each in (*CREDO_RULES, *SOBELOW_RULES) if each.id)
    assert {name: count for name, count in ids.items() if count > 1} == {"EX5029": 2}  # so it is in Credo
    assert all(each.cwe for each in SOBELOW_RULES)


def test_a_rule_is_found_by_its_name():
    known = rule("Credo.Check.Warning.UnsafeToAtom")
    assert known is not None
    assert (known.category, known.severity, known.enabled) == ("warning", Severity.WARNING, False)
    sobelow = rule("Traversal.FileModule")
    assert sobelow is not None
    assert (sobelow.id, sobelow.kind, sobelow.cwe) == ("SBLW019", "code", ("CWE-22",))
    assert rule("MyPlugin.Check.Taste") is None


def test_a_vector_has_a_place_for_each_label():
    found = [finding("Credo.Check.Design.TagTODO"), finding("Credo.Check.Design.TagTODO"), finding("MyPlugin.Taste")]
    vector = label_vector(found, QUALITY_LABELS)
    assert (len(vector), sum(vector)) == (112, 1)
    assert vector[QUALITY_LABELS.index("Credo.Check.Design.TagTODO")] == 1


def test_what_is_no_label_is_named():
    found = [finding("MyPlugin.Taste"), finding("Vuln.Plug", "sobelow"), finding("syntax_error", "elixir")]
    assert unknown_checks([*found, finding("Credo.Check.Design.TagTODO")]) == ["MyPlugin.Taste", "Vuln.Plug"]


@pytest.mark.parametrize(
    ("category", "priority", "severity"),
    [
        ("warning", 12, Severity.WARNING),
        ("warning", 0, Severity.WARNING),
        ("warning", -5, Severity.NOTE),
        ("readability", 12, Severity.NOTE),
        ("design", 20, Severity.WARNING),
        ("a plugin's", -100, Severity.NOTE),
    ],
)
def test_severity_follows_category_and_priority_in_credo(category, priority, severity):
    assert credo_severity(category, priority) is severity


def test_severity_follows_confidence_in_sobelow():
    words = [sobelow_severity(word) for word in ("high", "medium", "low")]
    assert words == [Severity.ERROR, Severity.WARNING, Severity.NOTE]


def test_a_rule_that_did_not_get_to_judge_is_told_from_one_that_found_nothing():
    crashed = Note(kind="check_crashed", check="Credo.Check.Design.TagTODO", message="", path="lib/a.ex")
    vector = judged_vector(Findings((), [crashed]), QUALITY_LABELS)
    assert [label for label, judged in zip(QUALITY_LABELS, vector) if not judged] == ["Credo.Check.Design.TagTODO"]
    assert all(judged_vector(Findings((), [crashed]), QUALITY_LABELS, path="lib/b.ex"))


@pytest.mark.parametrize("kind", ["unparsable", "unreadable", "died", "timeout"])
def test_nothing_judges_a_text_that_cannot_be_read(kind):
    assert not any(judged_vector(Findings((), [Note(kind=kind, message="")]), QUALITY_LABELS))


@pytest.mark.parametrize("kind", ["config", "scope"])
def test_a_remark_about_the_settings_takes_no_label_away(kind):
    assert all(judged_vector(Findings((), [Note(kind=kind, message="")]), QUALITY_LABELS))
