"""What is kept of a draft has run: expected values come from the reference, faults fail, readings differ."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest

from elixir_coder.data.synthesis.diversity import shape, split_of
from elixir_coder.data.synthesis.draft import Ambiguity, Broken, Draft, FollowUp, Reading
from elixir_coder.data.synthesis.families import collections, numbers, pipelines, strings
from elixir_coder.data.synthesis.verify import Verifier
from elixir_coder.example import Example
from elixir_coder.toolchain.toolchain import Toolchain

pytestmark = pytest.mark.elixir

CODE = '''
defmodule Scores do
  @moduledoc "Scores."

  @doc """
  Adds up.

      iex> Scores.total([1, 2])
      @@Scores.total([1, 2])@@
  """
  @spec total([integer()]) :: integer()
  def total(scores), do: Enum.sum(scores)
end
'''
TESTS = """
defmodule ScoresTest do
  use ExUnit.Case, async: true
  test "adds up" do
    assert Scores.total([1,2,4]) == @@Scores.total([1,2,4])@@
    assert Scores.total([]) == @@Scores.total([])@@
  end
end
"""
DRAFT = Draft(
    family="made",
    name="Scores.total/1",
    operations=("sum",),
    instructions=("Add up scores: `Scores.total([1, 2])` is @@Scores.total([1, 2])@@.", "Sum.", "Total."),
    code=CODE,
    tests=TESTS,
    explanation="Of none it is @@Scores.total([])@@.",
    broken=(
        Broken(code=CODE.replace("Enum.sum", "Enum.product"), diagnosis="It multiplies.", kind="wrong_function"),
        Broken(code=CODE.replace("Enum.sum", "Enum.total"), diagnosis="No such function.", kind="undefined_function"),
        Broken(code=CODE.replace("Enum.sum(scores)", "0 + Enum.sum(scores)"), diagnosis="Wrong.", kind="none"),
    ),
)


def reading(answer: str, function: str) -> Reading:
    return Reading(answer=answer, code=CODE.replace("Enum.sum(", function), tests=TESTS)


@pytest.fixture(scope="module")
def verifier() -> Iterator[Verifier]:
    with Verifier() as verifier:
        yield verifier


def of_kind(examples: list[Example], kind: str) -> list[Example]:
    return [example for example in examples if example.kind == kind]


def same_split(*codes: str) -> bool:
    return len({split_of(shape(code)) for code in codes}) == 1


def test_expected_values_are_what_the_reference_gives(verifier: Verifier):
    first = verifier.examples([DRAFT], Counter())[0]
    assert first.instruction.endswith("is 3.")
    assert first.explanation == "Of none it is 0."
    assert "assert Scores.total([1, 2, 4]) == 7\n" in first.tests  # formatted, too
    assert "iex> Scores.total([1, 2])\n      3\n" in first.code
    assert first.specs == ("total([integer()]) :: integer()",)


def test_only_faults_that_fail_are_kept(verifier: Verifier):
    dropped: Counter[str] = Counter()
    examples = verifier.examples([DRAFT], dropped)
    assert [(each.injected, each.diagnosis) for each in examples] == [
        ("wrong_function", "It multiplies."),
        ("undefined_function", "No such function."),
    ]
    assert dropped == {"broken: passes the tests": 1}


def test_a_variant_has_to_pass_the_same_tests(verifier: Verifier):
    good, bad = CODE.replace("Enum.sum(scores)", "Enum.reduce(scores, 0, &+/2)"), CODE.replace("Enum.sum", "Enum.max")
    assert not same_split(CODE, bad) or same_split(CODE, good)
    dropped: Counter[str] = Counter()
    examples = verifier.examples([replace(DRAFT, broken=(), variants=(good, bad))], dropped)
    assert dropped["variant: test_failure"] == 1
    assert len(examples) + dropped["variant: shape of another split"] == 2


def test_a_reference_that_fails_or_warns_takes_its_draft_along(verifier: Verifier):
    wrong = replace(DRAFT, tests=TESTS.replace("@@Scores.total([])@@", "1"))
    warns = replace(DRAFT, code=CODE.replace("def total(scores)", "def total(scores, _ \\\\ nil, other \\\\ 1)"))
    always = replace(DRAFT, tests=TESTS.replace("[1,2,4]", "nil"))
    dropped: Counter[str] = Counter()
    assert verifier.examples([wrong, warns, always], dropped) == []
    assert dropped == {"reference: test_failure": 1, "reference: warning": 1, "reference: no_value": 1}


def test_readings_have_to_differ(verifier: Verifier):
    def asked(*functions: str) -> Draft:
        readings = tuple(reading(each, each) for each in functions)
        return replace(DRAFT, ambiguity=Ambiguity(instruction="Combine.", question="How?", readings=readings))

    dropped: Counter[str] = Counter()
    examples = verifier.examples([asked("Enum.sum(", "Enum.product("), asked("Enum.sum(", "0 + Enum.sum(")], dropped)
    assert dropped["ambiguity: readings pass each other's tests"] == 1
    told = of_kind(examples, "clarification")
    assert len(told) + dropped["ambiguity: shape of another split"] == 2
    for example in told:
        assert [turn.role for turn in example.turns] == ["user", "assistant", "user", "assistant"]
        assert example.turns[2].content in example.code
        assert example.answers == ("Enum.sum(", "Enum.product(")


def test_examples_in_the_documentation_keep_their_escapes(verifier: Verifier):
    code = CODE.replace("Enum.sum(scores)", 'Enum.join(scores, "\\n")').replace(":: integer()", ":: String.t()")
    example = verifier.examples([replace(DRAFT, code=code, broken=())], Counter())[0]
    assert '@doc ~S"""' in example.code
    with Toolchain(workers=1) as toolchain:
        assert toolchain.doctest(example.code).passed


def test_what_is_asked_next_ends_in_its_program(verifier: Verifier):
    renamed = CODE.replace("total", "sum_of")
    next_one = FollowUp(request="Rename it.", reply="Done.", code=renamed, tests=TESTS.replace("total", "sum_of"))
    examples = of_kind(verifier.examples([replace(DRAFT, follow_ups=(next_one,))], Counter()), "dialogue")
    assert len(examples) == 1
    assert "def sum_of(" in examples[0].code
    assert examples[0].turns[-1].content.startswith("Done.\n\n```elixir\ndefmodule Scores do")


def test_a_draft_that_ends_the_machine_takes_no_other_with_it(verifier: Verifier):
    deadly = replace(DRAFT, code=CODE.replace("def total", ":erlang.halt()\n  def total"))
    dropped: Counter[str] = Counter()
    examples = verifier.examples([DRAFT, deadly, DRAFT], dropped)
    assert len(examples) == 4
    assert dropped["reference: did not end"] == 1


def test_what_families_draw_passes_by_the_ordinary_toolchain(verifier: Verifier):
    families = pipelines.FAMILIES | collections.FAMILIES | strings.FAMILIES | numbers.FAMILIES
    drafts = [family(random.Random(f"{name}:1")) for name, family in families.items()]
    dropped: Counter[str] = Counter()
    examples = verifier.examples(drafts, dropped)
    assert not [reason for reason in dropped if reason.startswith("variant:") and "split" not in reason]
    of_reference = {example.code: example for example in of_kind(examples, "exercise")}
    assert len(of_reference) >= len(families) // 2
    with Toolchain(workers=1) as toolchain:
        for code, example in list(of_reference.items())[:5]:
            assert toolchain.test(code, example.tests).passed
            assert toolchain.doctest(code).passed
            assert not example.before or not toolchain.test(example.before, example.tests).passed
