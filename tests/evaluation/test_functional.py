import json
import re
from itertools import combinations
from pathlib import Path

import pytest
import torch

from elixir_coder.errors import DataError, InputError, SandboxError
from elixir_coder.evaluation import functional
from elixir_coder.evaluation.functional import (
    Generation,
    Verdict,
    Writer,
    check_judge,
    check_resumable,
    generate,
    judge,
    read_generations,
    score,
    seed_of,
)
from elixir_coder.evaluation.problems import Problem, read_problems
from elixir_coder.evaluation.saved import SavedRows, read_rows
from elixir_coder.evaluation.scores import wilson_interval
from elixir_coder.toolchain.sandbox import Sandbox
from elixir_coder.toolchain.toolchain import Toolchain
from tests.evaluation.tasks import MCEVAL, MULTIPL_E, write, write_exercise

SWAP = Problem(
    id="swap",
    prompt="defmodule Pair do\n  def swap({a, b}) do\n",
    entry="Pair.swap/1",
    tests="defmodule PairTest do\n  use ExUnit.Case\n"
    '  test "swaps" do\n    assert Pair.swap({1, 2}) == {2, 1}\n  end\n\n'
    '  test "swaps twice" do\n    assert {1, 2} |> Pair.swap() |> Pair.swap() == {1, 2}\n  end\nend\n',
)
FIRST = Problem(
    id="first",
    prompt="Give the first of a pair.",
    entry="Pair.first/1",
    kind="instruction",
    tests='test "first" do\n  assert Pair.first({1, 2}) == 1\nend\n',
)
GOOD = "    {b, a}\n  end\nend\n"


def answer(text, id="swap", sample=0, **more):
    return Generation(id=id, sample=sample, text=text, **more)


# -------------------------------------------------------------------------------------------------------------- judging


@pytest.fixture(scope="module")
def toolchain():
    with Toolchain(workers=2) as toolchain:
        yield toolchain


@pytest.fixture
def judged(toolchain, tmp_path):
    """Verdicts on answers; those of earlier calls in the same test are taken up."""

    def run(*answers, problems=(SWAP, FIRST), timeout_s=10, fresh=True):
        with SavedRows(tmp_path / "verdicts.jsonl", resume=True) as saved:
            return judge(problems, answers, toolchain, saved, timeout_s=timeout_s, fresh=fresh)

    return run


@pytest.mark.elixir
def test_each_answer_ends_in_its_class(judged):
    verdicts = judged(
        answer(GOOD),
        answer("    unused = 1\n    {b, a}\n  end\nend\n", sample=1),
        answer("    {a, b}\n  end\nend\n", sample=2),
        answer("    {b, a\n", sample=3),
        answer("    Enumm.swap(a, b)\n  end\nend\n", sample=4),
        answer("    Decimal.add(a, b)\n  end\nend\n", sample=5),
        answer("    c\n  end\nend\n", sample=6),
        answer("    System.halt(a + b)\n  end\nend\n", sample=7),
        answer("Of course:\n```elixir\ndefmodule Tuples do\n  def first({a, _}), do: a\nend\n```", id="first"),
    )
    assert [(verdict.passed, verdict.outcome, verdict.form) for verdict in verdicts] == [
        (True, "ok", "continuation"),
        (True, "warning", "continuation"),
        (False, "test_failure", "continuation"),
        (False, "syntax_error", "unparsable"),
        (False, "undefined_function", "continuation"),
        (False, "missing_dependency", "continuation"),
        (False, "compile_error", "continuation"),
        (False, "forbidden_call", "continuation"),
        (True, "ok", "renamed"),
    ]
    assert [verdict.sample for verdict in verdicts] == [0, 1, 2, 3, 4, 5, 6, 7, 0]
    assert [bool(verdict.message) for verdict in verdicts] == [not verdict.passed for verdict in verdicts]
    assert "swaps" in verdicts[2].message
    assert all(verdict.seconds > 0 for verdict in verdicts if verdict.passed)


HOSTILE = {
    "ends the machine": "    :erlang.halt(0)\n  end\nend",
    "prints a verdict": '    IO.puts("2 tests, 0 failures")\n    exit(:normal)\n  end\nend',
    "defines the tests anew": "    {a, b}\n  end\nend",
    "redefines ExUnit": "    {a, b}\n  end\nend",
    "has tests of its own": "    {a, b}\n  end\nend",
    "overrides what is compared": "    {a, b}\n  end\nend",
    "never ends": "    Process.sleep(:infinity)\n    {a, b}\n  end\nend",
    "writes to the worker": "    {a, b}\n  end\n  for port <- Port.list(), do: Port.command(port, <<0>>)\nend",
}
AROUND = {
    "defines the tests anew": "defmodule PairTest do\n  def __ex_unit__, do: %{tests: []}\nend\n\n{module}",
    "redefines ExUnit": "defmodule ExUnit.Assertions do\n  defmacro assert(_), do: true\nend\n\n{module}",
    "has tests of its own": '{module}\n\ndefmodule MyTest do\n  use ExUnit.Case\n  test "swaps" do\n  end\n\n'
    '  test "swaps twice" do\n  end\nend',
    "overrides what is compared": "{module}\n\ndefmodule Kernel do\n  def _ == _, do: true\nend",
}


@pytest.mark.elixir
def test_a_hostile_answer_does_not_pass_and_harms_no_other(judged):
    texts = []
    for name, body in HOSTILE.items():
        module = SWAP.prompt + body
        texts.append(AROUND[name].replace("{module}", module) if name in AROUND else body)
    *verdicts, good, good_too = judged(
        *(answer(text, sample=at) for at, text in enumerate(texts)),
        answer(GOOD, sample=len(texts)),
        answer(GOOD, sample=len(texts) + 1),
        timeout_s=3,
    )
    assert {name: verdict.passed for name, verdict in zip(HOSTILE, verdicts)} == dict.fromkeys(HOSTILE, False)
    assert (good.outcome, good_too.outcome) == ("ok", "ok")


@pytest.mark.elixir
def test_a_test_that_was_expected_and_did_not_run_is_a_failure(judged):
    named = Problem(**vars(SWAP) | {"expected": ("swaps", "swaps twice")})
    more = Problem(**vars(SWAP) | {"id": "more", "expected": ("swaps", "swaps twice", "swaps thrice")})
    verdicts = judged(answer(GOOD), answer(GOOD, id="more"), problems=[named, more])
    assert [verdict.passed for verdict in verdicts] == [True, False]
    assert "swaps thrice" in verdicts[1].message


@pytest.mark.elixir
def test_support_is_compiled_with_the_answer(judged):
    problem = Problem(**vars(SWAP) | {"support": "defmodule Given do\n  def make(a, b), do: {a, b}\nend\n"})
    (verdict,) = judged(answer("    Given.make(b, a)\n  end\nend"), problems=[problem])
    assert verdict.outcome == "ok"


@pytest.mark.elixir
def test_a_verdict_is_taken_up_only_for_the_same_answer_tests_and_limits(judged, tmp_path, monkeypatch):
    first = judged(answer(GOOD), answer(GOOD, sample=1))
    saved = (tmp_path / "verdicts.jsonl").read_bytes()
    assert judged(answer(GOOD), answer(GOOD, sample=1)) == first
    assert (tmp_path / "verdicts.jsonl").read_bytes() == saved
    other = Problem(**vars(SWAP) | {"tests": SWAP.tests.replace("{2, 1}", "{3, 1}")})
    assert not judged(answer(GOOD), problems=[other])[0].passed
    assert not judged(answer("    {a, b}\n  end\nend"))[0].passed
    judged(answer(GOOD), timeout_s=9)
    assert len(read_rows(tmp_path / "verdicts.jsonl")) == 5


@pytest.mark.elixir
def test_judging_goes_on_after_a_kill_at_any_byte_of_the_last_verdict(judged, tmp_path):
    path = tmp_path / "verdicts.jsonl"
    whole = judged(answer(GOOD), answer("    {a, b}\n  end\nend", sample=1), fresh=False)
    written = path.read_bytes()
    begin = written.rstrip(b"\n").rfind(b"\n") + 1
    for end in (begin, begin + 1, (begin + len(written)) // 2, len(written) - 1):  # every byte: see test_saved.py
        path.write_bytes(written[:end])
        again = judged(answer(GOOD), answer("    {a, b}\n  end\nend", sample=1), fresh=False)
        assert [(each.sample, each.outcome) for each in again] == [(each.sample, each.outcome) for each in whole]
        assert len(read_rows(path)) == 2


@pytest.mark.elixir
def test_the_references_of_our_own_tasks_pass_and_what_is_wrong_fails(judged):
    problems = read_problems()[:3]
    good = [answer(problem.reference, id=problem.id) for problem in problems if problem.reference]
    bad = [answer(text, problem.id, at) for problem in problems for at, text in enumerate(problem.wrong)]
    verdicts = judged(*good, *bad, problems=problems, fresh=False)
    assert len(good) == 3
    assert bad
    assert [verdict.passed for verdict in verdicts] == [True] * len(good) + [False] * len(bad)


@pytest.mark.elixir
def test_tasks_of_public_benchmarks_are_judged(judged, tmp_path):
    write_exercise(tmp_path / "exercises" / "practice")
    (exercise,) = read_problems(tmp_path)
    (mceval,) = read_problems(write(tmp_path / "mceval.jsonl", MCEVAL))
    (multipl_e,) = read_problems(write(tmp_path / "multipl_e.jsonl", MULTIPL_E))
    verdicts = judged(
        answer(exercise.reference, exercise.id),
        answer("defmodule Pair do\n  def swap({1, 2}), do: {2, 1}\nend", exercise.id, 1),  # fails what was pending
        answer(mceval.reference, mceval.id),
        answer("\n    {a, b} = pair\n    {b, a}\n  end\nend\n\nmore", multipl_e.id),
        answer("\n    pair\n  end\nend\n", multipl_e.id, 1),
        problems=[exercise, mceval, multipl_e],
    )
    assert [verdict.passed for verdict in verdicts] == [True, False, True, True, False]


@pytest.mark.elixir
def test_judging_is_tried_out_before_anything_else():
    assert check_judge().keys() == {"elixir", "otp"}


@pytest.mark.elixir
def test_without_a_sandbox_nothing_is_judged(monkeypatch):
    def probe(limits=None):
        raise SandboxError("no sandbox here; install it with: apt install bubblewrap")

    monkeypatch.setattr(Sandbox, "probe", probe)
    with pytest.raises(SandboxError, match="apt install bubblewrap"):
        check_judge()
    assert check_judge(sandbox=False)


# ----------------------------------------------------------------------------------------------------------- generating

WRITER = {
    "model": {"name": "small", "sha256": "0" * 64},
    "versions": {"torch": "2"},
    "seed": 5,
    "source_length": 64,
    "max_new_tokens": 12,
    "temperature": 1.0,
    "top_p": 0.95,
}


@pytest.fixture
def written(model, tokenizer, tmp_path):
    def run(problems=(SWAP, FIRST), path=tmp_path / "generations.jsonl", num_samples=3, batch_size=4, **changes):
        writer = Writer(**WRITER | changes)
        with SavedRows(path, resume=True) as saved:
            return generate(model, tokenizer, problems, saved, writer, num_samples=num_samples, batch_size=batch_size)

    return run


def test_every_sample_is_saved_with_where_it_comes_from(written, tmp_path):
    generations = written()
    assert [(each.id, each.sample) for each in generations] == [(i, n) for i in ("swap", "first") for n in range(3)]
    rows = read_rows(tmp_path / "generations.jsonl")
    assert sorted(rows, key=lambda row: row["seed"]) == sorted(map(vars, generations), key=lambda row: row["seed"])
    assert len({row["seed"] for row in rows}) == 6
    assert rows[0]["model"] == {"name": "small", "sha256": "0" * 64}
    assert rows[0]["settings"] == {
        "decoding": "unconstrained",
        "seed": 5,
        "source_length": 64,
        "max_new_tokens": 12,
        "temperature": 1.0,
        "top_p": 0.95,
    }
    assert all(0 < row["num_tokens"] <= 12 and row["seconds"] > 0 for row in rows)


def test_any_subset_of_samples_is_the_same_as_in_the_whole(written, tmp_path):
    whole = {(each.id, each.sample): each.text for each in written()}
    assert len(set(whole.values())) == 6
    alone = written([FIRST], path=tmp_path / "one.jsonl", num_samples=2, batch_size=1)
    assert {(each.id, each.sample): each.text for each in alone}.items() <= whole.items()
    other = written([FIRST], path=tmp_path / "two.jsonl", seed=6)
    assert not {each.text for each in other} & set(whole.values())


def test_the_random_state_of_the_program_stays_as_it_was(written):
    before = torch.get_rng_state()
    written()
    assert torch.equal(torch.get_rng_state(), before)


def test_generating_goes_on_after_a_kill_at_any_byte_of_the_last_line(written, tmp_path):
    path = tmp_path / "generations.jsonl"
    texts = [each.text for each in written(batch_size=1)]
    data = path.read_bytes()
    begin = data.rstrip(b"\n").rfind(b"\n") + 1
    for end in range(begin, len(data), 37):
        path.write_bytes(data[:end])
        assert [each.text for each in written(batch_size=1)] == texts
        assert len(read_rows(path)) == 6


def test_more_samples_and_more_tasks_are_added_to_those_there(written, tmp_path):
    two = written([SWAP], num_samples=2)
    before = (tmp_path / "generations.jsonl").read_bytes()
    assert written([SWAP, FIRST])[:2] == two
    assert (tmp_path / "generations.jsonl").read_bytes().startswith(before)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"seed": 6}, "written with settings seed 5, this run has 6; give the same again, or leave --resume out"),
        ({"temperature": 0.5}, "settings temperature 1.0, this run has 0.5"),
        ({"max_new_tokens": 13}, "settings max_new_tokens 12, this run has 13"),
        ({"model": {"name": "small", "sha256": "1" * 64}}, "model sha256 0000"),
        ({"versions": {"torch": "3"}}, "versions torch 2, this run has 3"),
        ({"versions": {}}, "versions torch 2, this run has None"),
        ({"problems": [Problem(**vars(SWAP) | {"prompt": "other"})]}, "answers another prompt of task swap"),
    ],
)
def test_answers_of_another_run_are_refused(changes, message, written, tmp_path):
    written([SWAP], num_samples=1)
    before = (tmp_path / "generations.jsonl").read_bytes()
    with pytest.raises(DataError, match=message):
        written(**changes)
    problems = changes.get("problems", [SWAP])
    writer = Writer(**WRITER | {name: value for name, value in changes.items() if name != "problems"})
    with pytest.raises(DataError, match=message):
        check_resumable(tmp_path / "generations.jsonl", problems, writer)
    assert (tmp_path / "generations.jsonl").read_bytes() == before


def test_an_answer_that_cannot_have_room_after_its_prompt_is_told(written):
    with pytest.raises(InputError, match=r"--task_tokens may be \d+ at most after the prompt of task swap, got 256"):
        written(max_new_tokens=256)


def test_greedy_answers_are_those_of_the_generator_with_the_same_healing(model, tokenizer, tmp_path, written):
    from elixir_coder.checkpoint import save_model
    from elixir_coder.generation.generator import Generator

    save_model(tmp_path / "model", model, tokenizer)
    generator = Generator(tmp_path / "model")
    (swap,) = written([SWAP], num_samples=1, temperature=0.0)
    assert swap.text == generator.generate(SWAP.prompt, max_new_tokens=12)


# ------------------------------------------------------------------------------------------------------ saved elsewhere


def test_answers_from_elsewhere_need_id_and_text_alone(tmp_path):
    rows = [{"id": "first", "text": "x"}, {"id": "swap", "text": "y"}, {"id": "first", "text": "z"}]
    path = write(tmp_path / "theirs.jsonl", *rows, {"id": "swap", "text": "w"}, {"id": "unasked", "text": ""})
    found = read_generations(path, [SWAP, FIRST])
    assert [(each.id, each.sample, each.text) for each in found] == [
        ("swap", 0, "y"),
        ("swap", 1, "w"),
        ("first", 0, "x"),
        ("first", 1, "z"),
    ]
    assert [each.text for each in read_generations(path, [SWAP, FIRST], num_samples=1)] == ["y", "x"]
    assert functional.model_of(path) == {"name": "theirs.jsonl", "sha256": ""}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([{"id": "swap"}], "row 1: an answer needs id and text as texts and sample as a number; text is not so"),
        ([{"id": 3, "text": "x"}], "row 1: an answer needs .*; id is not so"),
        ([{"id": "swap", "text": "x", "sample": "0"}], "row 1: an answer needs .*; sample is not so"),
        ([{"id": "swap", "text": "x", "sample": -1}], "row 1: samples are numbered from 0, got -1"),
        ([{"id": "swap", "text": "x", "sample": 0}] * 2, "row 2: sample 0 of task swap is there twice"),
        ([{"id": "swap", "text": "x"}], "has no sample 0 of task first; every task needs the same number of answers"),
        (
            [{"id": "first", "text": "x"}, *[{"id": "swap", "text": "x"}] * 2],
            r"no sample 1 of task first; .*\(2 here\)",
        ),
        ([], "has no sample 0 of task swap"),
        ([{"id": "swap", "text": "x", "prompt_sha256": "0"}], "row 1: answers another prompt of task swap"),
        (
            [{"id": "swap", "text": "x", "model": {"name": "a"}}, {"id": "first", "text": "x", "model": {"name": "b"}}],
            "row 2: other model than in row 1; a figure is of one model",
        ),
    ],
)
def test_answers_that_make_no_figure_are_refused(rows, message, tmp_path):
    with pytest.raises(DataError, match=message):
        read_generations(write(tmp_path / "theirs.jsonl", *rows), [SWAP, FIRST])


def test_answers_in_a_file_that_is_not_there_are_told(tmp_path):
    with pytest.raises(DataError, match=r"cannot read .*theirs\.jsonl: No such file"):
        read_generations(tmp_path / "theirs.jsonl", [SWAP])


# -------------------------------------------------------------------------------------------------------------- scoring


def scored(passes, ks, **more):
    """The score of tasks whose samples passed or not, as said."""
    problems = [Problem(**vars(SWAP) | {"id": id}) for id in passes]
    generations, verdicts = [], []
    for id, of_task in passes.items():
        for at, passed in enumerate(of_task):
            generations.append(answer("x", id, at, **more))
            outcome = "ok" if passed else "test_failure"
            verdicts.append(
                Verdict(
                    id=id, sample=at, key="", passed=passed, outcome=outcome, form="module", message="", seconds=0.5
                )
            )
    return score(problems, generations, verdicts, ks)


def test_pass_at_k_is_the_share_of_choices_of_k_samples_with_one_that_passes():
    passes = {"a": [True, False, False, False], "b": [False] * 4, "c": [True, True, True, False]}
    figures = scored(passes, [1, 2, 4])
    for k in (1, 2, 4):
        shares = [
            sum(map(any, chosen)) / len(chosen) for of in passes.values() if (chosen := list(combinations(of, k)))
        ]
        assert figures["pass_at_k"][str(k)]["value"] == pytest.approx(sum(shares) / 3)
    assert figures["pass_at_k"]["1"]["value"] == pytest.approx((1 + 0 + 3) / 12)
    assert figures["first_sample"] == {"solved": 2, "n": 3, "share": 2 / 3, "interval": wilson_interval(2, 3)}


def test_with_one_sample_pass_at_1_is_the_share_solved_in_its_wilson_interval():
    figures = scored({"a": [True], "b": [False], "c": [False], "d": [True]}, [1])
    assert figures["pass_at_k"]["1"] == {"value": 0.5, "interval": wilson_interval(2, 4)}
    assert figures["first_sample"]["interval"] == figures["pass_at_k"]["1"]["interval"]


def test_an_interval_has_a_width_where_nothing_or_everything_passes():
    nothing = scored({"a": [False] * 5, "b": [False] * 5}, [1, 5])["pass_at_k"]
    assert [(nothing[k]["value"], nothing[k]["interval"][0]) for k in ("1", "5")] == [(0.0, 0.0)] * 2
    assert 0.6 < nothing["5"]["interval"][1] < 0.7
    everything = scored({"a": [True] * 5, "b": [True] * 5}, [1])["pass_at_k"]["1"]
    assert (everything["value"], everything["interval"][1]) == (1.0, 1.0)


def test_a_score_counts_how_answers_ended_for_all_and_for_each_task():
    figures = scored({"a": [True, False], "b": [False, False]}, [1], num_tokens=7, is_finished=True, seconds=2.0)
    assert figures["outcomes"] == {"test_failure": 3, "ok": 1}
    assert figures["forms"] == {"module": 4}
    assert (figures["num_tasks"], figures["samples_per_task"], figures["finished"]) == (2, 2, 1.0)
    assert (figures["num_tokens"], figures["generation_seconds"], figures["judging_seconds"]) == (28, 8.0, 2.0)
    assert figures["tasks"][0] == {
        "id": "a",
        "n": 2,
        "passed": 1,
        "outcomes": {"ok": 1, "test_failure": 1},
        "num_tokens": 14,
        "seconds": 1.0,
    }
    json.dumps(figures, allow_nan=False)


def test_answers_from_elsewhere_have_no_count_of_tokens():
    figures = scored({"a": [True]}, [1])
    assert (figures["num_tokens"], figures["generation_seconds"], figures["finished"]) == (None, None, None)


# ----------------------------------------------------------------------------------------------------------- the manual


@pytest.mark.elixir
def test_the_task_and_the_answer_of_the_manual_are_what_it_says(judged, tmp_path):
    page = (Path(__file__).parents[2] / "docs" / "EVALUATION.md").read_text("utf-8")
    task, shown = (json.loads(block) for block in re.findall(r"```json\n(.*?)\n```", page, re.DOTALL))
    (problem,) = read_problems(write(tmp_path / "tasks.jsonl", task))
    row = shown | {"prompt_sha256": problem.prompt_sha256}
    (generation,) = read_generations(write(tmp_path / "answers.jsonl", row), [problem])
    assert generation.seed == seed_of(0, "swap", 0)
    assert set(shown) == set(Generation.__dataclass_fields__)
    assert judged(generation, problems=[problem])[0].passed
