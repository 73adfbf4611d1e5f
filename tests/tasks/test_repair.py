from dataclasses import replace

from elixir_coder.tasks.repair import Repair
from tests.tasks.given import random
from tests.tasks.supervised import CHANGE, DIALOGUE, EXERCISE, FUNCTION, LAST, VIOLATION, read, setup_of


def rows(example, **lengths):
    task = Repair(setup_of(**lengths))
    return {(read(row.source), read(row.target)) for seed in range(20) if (row := task(example, random(seed)))}


def test_a_faulty_exercise_is_put_right_by_its_diagnosis():
    before = LAST.replace(").author", ").title")

    assert rows(EXERCISE) == {
        (f"<review>It reads `title`, but the task is about `author`.<file_sep>{before}</s>", LAST + "</s>")
    }


def test_a_fault_is_told_in_words_by_rule_and_line_or_both():
    reason = "Denial of service, CWE-770: each new `name` is a new atom."
    rules = "DOS.StringToAtom line 5", "\nCredo.Check.Warning.UnsafeToAtom line 5"
    reviews = (reason, "".join(rules), f"{rules[0]}: {reason}{rules[1]}")

    assert rows(VIOLATION) == {
        (f"<review>{review}<file_sep>{VIOLATION.before}</s>", VIOLATION.code + "</s>") for review in reviews
    }


def test_a_change_is_asked_for_by_the_message_of_its_commit():
    assert rows(CHANGE) == {
        ("<review>Count from one<file_sep>def a(b), do: b\n</s>", "def a(b), do: b + 1\n</s>"),
    }


def test_a_row_whose_target_ends_before_the_fault_is_left_out():
    place = len(setup_of().ids(LAST[: LAST.index("author\nend")]))

    assert rows(EXERCISE, target_length=place + 10)
    assert not rows(EXERCISE, target_length=place - 10)


def test_code_that_does_not_fit_is_left_out():
    assert not rows(CHANGE, source_length=20)


def test_without_a_fault_there_is_nothing_to_repair():
    task = Repair(setup_of())

    assert not task.accepts(FUNCTION)
    assert not task.accepts(DIALOGUE)
    assert not task.accepts(replace(EXERCISE, before=EXERCISE.code))
    assert not task.accepts(replace(CHANGE, before=""))
