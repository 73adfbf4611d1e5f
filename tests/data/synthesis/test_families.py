"""Families of exercises: the same seed draws the same, and what is drawn does what it says."""

import random

import pytest

from elixir_coder.data.synthesis.choices import Axis, Fault, Program, Way, draw
from elixir_coder.data.synthesis.domains import ENTITIES
from elixir_coder.data.synthesis.families import (
    ambiguous,
    control,
    errors,
    processes,
    recursion,
    rows,
    state,
    structs,
    supervision,
)
from elixir_coder.data.synthesis.writing import fill, literal
from elixir_coder.toolchain.toolchain import Toolchain

MODULES = (ambiguous, control, errors, processes, recursion, rows, state, structs, supervision)
FAMILIES = {name: family for module in MODULES for name, family in module.FAMILIES.items()}
SEEDS = (11, 12)


def drawn(name, seed):
    return FAMILIES[name](random.Random(f"{name} {seed}"))


def test_no_family_hides_another():
    assert len(FAMILIES) == sum(len(module.FAMILIES) for module in MODULES)


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_seed_draws_the_same_draft_and_another_seed_another(name):
    assert drawn(name, 1) == drawn(name, 1)
    assert len({drawn(name, seed).code for seed in range(12)}) > 6


@pytest.mark.parametrize("name", sorted(FAMILIES))
def test_a_draft_is_whole(name):
    for seed in range(8):
        draft = drawn(name, seed)
        assert draft.family == name
        assert len(draft.instructions) >= 2 and all("$" not in each for each in draft.instructions)
        assert draft.explanation and "@moduledoc" in draft.code and "@doc" in draft.code and "@spec" in draft.code
        assert draft.code not in draft.variants and all(each.code != draft.code for each in draft.broken)


def test_an_ambiguous_instruction_does_not_say_what_its_question_asks():
    for name in ambiguous.FAMILIES:
        draft = drawn(name, 3)
        readings = draft.ambiguity.readings
        assert len({reading.code for reading in readings}) == len(readings) >= 2
        assert draft.ambiguity.question.endswith("?")
        assert draft.ambiguity.instruction not in draft.instructions


@pytest.mark.elixir
def test_what_is_drawn_does_what_the_draft_says():
    jobs = []
    for name in FAMILIES:
        for seed in SEEDS:
            draft = drawn(name, seed)
            jobs.append((name, seed, "reference", True, draft.code, draft.tests))
            # Of the rest one each, so that all families take seconds; `data synthesize` runs everything.
            for broken in draft.broken[:1] if seed == SEEDS[0] else ():
                jobs.append((name, seed, broken.kind, False, broken.code, draft.tests))
            for step in draft.follow_ups[:1] if seed == SEEDS[1] else ():
                jobs.append((name, seed, step.request, True, step.code, step.tests))
    with Toolchain() as toolchain:
        reports = list(toolchain.map("test", (job[4:] for job in jobs)))
    wrong = [
        (*job[:3], report.outcome, report.findings[:1])
        for job, report in zip(jobs, reports)
        if (report.outcome == "ok") is not job[3]
    ]
    assert wrong == []


@pytest.mark.elixir
def test_readings_pass_their_own_tests_and_fail_those_of_others():
    jobs = []
    for name in sorted(ambiguous.FAMILIES)[::6]:
        readings = drawn(name, 5).ambiguity.readings
        jobs += [(name, one is other, one.code, other.tests) for one in readings for other in readings]
    with Toolchain() as toolchain:
        reports = list(toolchain.map("test", (job[2:] for job in jobs)))
    assert [(job[0], job[1]) for job, report in zip(jobs, reports) if (report.outcome == "ok") is not job[1]] == []


class TestChoices:
    axes = {
        "order": Axis(ways={1: Way(ask="Up.", answer="Up."), 2: Way(ask="Down.", answer="Down.")}, question="Which?"),
        "more": Axis(ways={False: Way(), True: Way(ask="And more.", request="Add more.", reply="More:")}),
    }

    def draft(self, **start):
        def build(choices):
            code = f"order {choices['order']} more {choices['more']}"
            return Program(
                code=code, tests=f"tests of {code}", explanation="", faults=[Fault("order", "ordre", "k", "d")]
            )

        return draw(random.Random(0), family="f", name="A.b/1", module="A", titles=["a thing"], axes=self.axes,
                    build=build, start=start)  # fmt: skip

    def test_the_question_stands_for_the_sentence_that_is_left_out(self):
        ambiguity = self.draft(order=1, more=True).ambiguity
        assert "Up." not in ambiguity.instruction and "And more." in ambiguity.instruction
        assert [(each.answer, each.code) for each in ambiguity.readings] == [
            ("Up.", "order 1 more True"),
            ("Down.", "order 2 more True"),
        ]

    def test_a_request_is_a_step_from_the_program_to_another(self):
        (step,) = self.draft(order=2, more=False).follow_ups
        assert (step.request, step.reply, step.code) == ("Add more.", "More:", "order 2 more True")
        assert self.draft(order=2, more=True).follow_ups == ()

    def test_a_fault_changes_the_text_once(self):
        (broken,) = self.draft(order=1, more=False).broken
        assert broken.code == "ordre 1 more False"


def test_places_keep_the_indentation_of_their_line_and_leave_none_when_empty():
    assert fill("a\n  $body\n  $none\nb $x", body="one\n\ntwo", none="", x=3) == "a\n  one\n\n  two\nb 3"


@pytest.mark.elixir
def test_literals_are_what_elixir_reads():
    record = ENTITIES[0].record(random.Random(0))
    value = {"a": [1, None, True, 2.5, 'x "y" #{z}\n'], "b": {"c": (1, [])}, **record}
    tests = f"""
    defmodule ATest do
      use ExUnit.Case

      test "the literal" do
        assert %{{a: [1, nil, true, 2.5, text], b: %{{c: {{1, []}}}}}} = {literal(value)}
        assert text == "x " <> <<34>> <> "y" <> <<34, 32, 35>> <> "{{z}}" <> <<10>>
      end
    end
    """
    with Toolchain(workers=1) as toolchain:
        assert toolchain.test("defmodule A do\nend\n", tests).outcome == "ok"
