from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.checkpoint import load_config
from elixir_coder.example import Label
from elixir_coder.tasks.quality import TIERS, Quality, tier
from tests.tasks.annotated_code import example_of
from tests.tasks.given import random
from tests.tasks.supervised import EXERCISE, FUNCTION, MODULE, QUALITY, VIOLATION, named, read, setup_of

CREDO = ("credo 1.7.19",)


def row_of(example, **settings):
    return Quality(setup_of(), **settings)(example, random(0))


def judged(example, source_length=1024, **settings):
    row = Quality(setup_of(source_length), **settings)(example, random(0))
    return named(QUALITY, row.judgements["quality"])


def test_what_credo_named_is_one_and_nothing_is_written():
    row = row_of(MODULE)

    assert read(row.source) == "<review>defmodule Shop do\n  def load(name), do: String.to_atom(name)\nend\n</s>"
    assert row.target == []
    assert row.judgements["quality"].tolist() == [0, 1, 0, 1, -100]


def test_of_a_pair_the_faulty_text_has_its_labels_and_the_clean_one_its_own():
    faulty, clean = row_of(VIOLATION, faulty=1.0), row_of(VIOLATION, faulty=0.0)

    assert (read(faulty.source), read(clean.source)) == (
        f"<review>{VIOLATION.before}</s>",
        f"<review>{VIOLATION.code}</s>",
    )
    assert judged(VIOLATION, faulty=1.0) == {"Specs": 1, "UnsafeToAtom": 1, "LazyLogging": -100}
    assert judged(VIOLATION, faulty=0.0) == {"Specs": 1, "LazyLogging": -100}


def test_half_of_the_rows_of_a_pair_are_faulty():
    task = Quality(setup_of())
    num_faulty = sum(int(task(VIOLATION, random(seed)).judgements["quality"][3]) for seed in range(400))

    assert 170 < num_faulty < 230


def test_what_a_function_alone_does_not_show_is_unknown_unless_it_was_named():
    assert judged(FUNCTION) == {"ModuleDoc": -100, "LazyLogging": -100}

    one_function = replace(VIOLATION, name="Shop.load/1")
    assert judged(one_function, faulty=0.0) == {"ModuleDoc": -100, "Specs": 1, "LazyLogging": -100}

    label = Label(tool="credo", check="Credo.Check.Readability.ModuleDoc", line=1)
    assert judged(replace(FUNCTION, labels=(label,))) == {"ModuleDoc": 1, "LazyLogging": -100}


def test_what_lies_behind_the_end_of_cut_code_is_unknown_and_so_is_what_is_measured_over_all_of_it():
    labels = [("Readability.Specs", 1), ("Refactor.ABCSize", 1), ("Warning.UnsafeToAtom", 3)]
    code = "def a(b) do\n  b = b + 1\n  String.to_atom(b)\nend\n"
    example = example_of(
        code,
        kind="file",
        labels=tuple(Label(tool="credo", check=f"Credo.Check.{check}", line=line) for check, line in labels),
        checked_by=CREDO,
    )
    two_lines = len(setup_of().ids(code[: code.index("  String")])) + 4

    assert judged(example) == {"Specs": 1, "ABCSize": 1, "UnsafeToAtom": 1, "LazyLogging": -100}
    assert judged(example, two_lines) == {"Specs": 1, "ABCSize": -100, "UnsafeToAtom": -100, "LazyLogging": -100}


def test_what_credo_did_not_judge_is_not_accepted():
    task = Quality(setup_of())

    assert task.accepts(FUNCTION)
    assert not task.accepts(EXERCISE)
    assert not task.accepts(replace(FUNCTION, checked_by=("sobelow 0.15.0",)))


@given(st.lists(st.integers(0, 9), max_size=4), st.integers(8, 60))
def test_a_label_is_one_where_its_line_is_shown(lines, source_length):
    code = "".join(f"x{number} = y(\n" for number in range(1, 9))
    labels = tuple(Label(tool="credo", check=QUALITY[3], line=line) for line in lines)
    example = example_of(code, kind="file", labels=labels, checked_by=CREDO)
    row = Quality(setup_of(source_length))(example, random(0))

    shown = read(row.source[1:-1])
    is_seen = any(shown == code or line <= shown.count("\n") for line in lines)
    assert row.judgements["quality"][3] == (1 if is_seen else -100 if lines else 0)


# ------------------------------------------------------------------------------------------------------------ the tiers


@pytest.mark.parametrize(
    ("check", "expected"),
    [
        ("Readability.TrailingWhiteSpace", 1),
        ("Warning.IExPry", 1),
        ("Readability.PredicateFunctionNames", 2),
        ("Refactor.UnlessWithElse", 2),
        ("Refactor.MapJoin", 3),
        ("Warning.UnsafeToAtom", 3),
        ("Refactor.CyclomaticComplexity", 4),
        ("Refactor.Nesting", 4),
    ],
)
def test_a_rule_has_its_tier(check, expected):
    label = Label(tool="credo", check=f"Credo.Check.{check}", line=1)

    assert tier(replace(FUNCTION, labels=(label,))) == expected


def test_the_tier_of_a_pair_is_that_of_its_fault_and_of_other_code_its_hardest_rule():
    assert tier(VIOLATION) == 3
    assert tier(MODULE) == 3
    assert tier(FUNCTION) == tier(EXERCISE) == 1


def test_every_quality_label_of_the_model_has_a_tier():
    names = load_config(Path(__file__).parents[2]).quality_labels

    assert set(TIERS) == set(names)
    assert Counter(TIERS.values()) == {1: 21, 2: 45, 3: 36, 4: 10}
