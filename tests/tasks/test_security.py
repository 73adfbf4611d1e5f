from dataclasses import replace

from elixir_coder.example import Label
from elixir_coder.tasks.security import Security
from tests.tasks.given import random
from tests.tasks.supervised import EXERCISE, FUNCTION, MODULE, SECURITY, VIOLATION, named, read, setup_of


def row_of(example, source_length=1024, **settings):
    return Security(setup_of(source_length), **settings)(example, random(0))


def said(row):
    return read(row.target), named(SECURITY, row.judgements["security"])


def test_a_finding_is_told_with_rule_line_and_reason():
    row = row_of(VIOLATION, faulty=1.0)

    assert read(row.source) == f"<review>{VIOLATION.before}</s>"
    assert said(row) == (
        "DOS.StringToAtom line 5: Denial of service, CWE-770: each new `name` is a new atom.</s>",
        {"StringToAtom": 1, "FilePath": -100},
    )


def test_of_the_clean_twin_there_is_nothing_to_say():
    assert said(row_of(VIOLATION, faulty=0.0)) == ("ok</s>", {"FilePath": -100})


def test_what_nobody_explained_has_rule_and_line_only():
    assert said(row_of(MODULE)) == ("DOS.StringToAtom line 2</s>", {"StringToAtom": 1, "FilePath": -100})


def test_the_reason_is_that_of_the_line_it_speaks_of():
    beside = Label(tool="sobelow", check="SQL.Query", line=2)
    by_credo = replace(VIOLATION, injected="new_atoms", before_labels=(beside, *VIOLATION.before_labels))
    by_sobelow = replace(VIOLATION, before_labels=(beside, *VIOLATION.before_labels))

    assert said(row_of(by_credo, faulty=1.0))[0].startswith("SQL.Query line 2\nDOS.StringToAtom line 5: Denial")
    assert said(row_of(by_sobelow, faulty=1.0))[0].startswith("SQL.Query line 2\nDOS.StringToAtom line 5: Denial")


def test_what_only_a_module_shows_is_unknown_of_a_function():
    assert said(row_of(FUNCTION)) == ("ok</s>", {"HTML": -100, "FilePath": -100})


def test_a_finding_behind_the_end_of_cut_code_is_not_told():
    source, target = (row := row_of(VIOLATION, 30, faulty=1.0)).source, read(row.target)

    assert len(source) == 30
    assert target == "ok</s>"
    assert said(row)[1] == {"StringToAtom": -100, "FilePath": -100}


def test_pairs_without_a_finding_of_sobelow_and_what_it_did_not_judge_are_not_accepted():
    task = Security(setup_of())
    no_finding = tuple(label for label in VIOLATION.before_labels if label.tool == "credo")

    assert task.accepts(VIOLATION) and task.accepts(FUNCTION)
    assert not task.accepts(replace(VIOLATION, before_labels=no_finding))
    assert not task.accepts(replace(FUNCTION, checked_by=("credo 1.7.19",)))
    assert not task.accepts(EXERCISE)
