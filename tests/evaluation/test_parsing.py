import pytest

from elixir_coder.errors import InputError
from elixir_coder.evaluation.parsing import (
    Prompt,
    Verdict,
    as_written,
    complete,
    function_of,
    judge,
    sample,
    sample_prompts,
    share,
)
from elixir_coder.evaluation.writing import Written
from elixir_coder.toolchain.finding import Finding, Outcome, Severity
from elixir_coder.toolchain.reports import Report
from tests.evaluation.small import example_of


def test_a_prompt_ends_where_the_body_of_a_function_begins(examples):
    prompts = sample_prompts(examples, 99)
    assert {prompt.head_text for prompt in prompts} == {
        "  def new do\n    ",
        "  def push(stack, item) when is_list(stack) do\n    ",
        "  defp sum([head | tail], total) do\n    ",
        "  def add(%Queue{back: back} = queue, item) do\n    ",
        "  defmacro empty?(queue) do\n    ",
    }
    assert all(prompt.example.code[prompt.end] not in " \n" for prompt in prompts)


def test_the_same_seed_gives_the_same_prompts(examples):
    prompts = sample_prompts(examples, 3, seed=1)
    assert len(prompts) == 3
    assert sample_prompts(examples, 3, seed=1) == prompts
    assert sample_prompts(examples, 3, seed=4) != prompts


def test_files_without_a_function_are_an_error():
    with pytest.raises(InputError, match="no line `def name"):
        sample_prompts([example_of("def f, do: 1\n# def g do\ndefmodule A do\n  1\nend\n")], 3)


@pytest.mark.parametrize(
    ("text", "function"),
    [
        ("def f do\n  1\nend\n\ndef g do", "def f do\n  1\nend"),
        ("  def f do\n    if x do\n    end\n  end\nend\n", "  def f do\n    if x do\n    end\n  end"),
        ("  def f do\n    if x do\n    end\nend\n", None),
        ("def f do\n  ending\n  send\nendless\n", None),
        ("\tdef f do\n\t\t1\n\tend  \n", "\tdef f do\n\t\t1\n\tend  "),
    ],
)
def test_a_function_ends_at_the_end_of_its_own_indentation(text, function):
    assert function_of(text) == function


def test_a_models_completions_are_as_many_as_the_prompts(model, tokenizer, examples):
    prompts = sample_prompts(examples, 4)
    settings = {"source_length": 32, "max_new_tokens": 8, "batch_size": 2}
    written = complete(model, tokenizer, prompts, **settings)
    assert len(written) == 4
    assert complete(model, tokenizer, prompts, **settings) == written
    sampled = complete(model, tokenizer, prompts, temperature=1.0, seed=3, **settings)
    assert sampled == complete(model, tokenizer, prompts, temperature=1.0, seed=3, **settings)
    assert sampled != written


def test_the_authors_text_is_cut_off_at_as_many_tokens(tokenizer, examples):
    prompt = sample_prompts(examples, 1)[0]
    rest = prompt.example.code[prompt.end :]
    assert as_written(prompt, tokenizer, 10_000) == rest
    few = as_written(prompt, tokenizer, 3)
    assert rest.startswith(few)
    assert 0 < len(few) < len(rest)


@pytest.mark.elixir
def test_the_parser_accepts_what_the_authors_wrote(examples):
    prompts = sample_prompts(examples, 99)
    verdicts = judge(prompts, [prompt.example.code[prompt.end :] for prompt in prompts])
    assert [verdict.is_accepted for verdict in verdicts] == [True] * 5
    assert [verdict.as_it_is.ok for verdict in verdicts] == [True] * 5


@pytest.mark.elixir
def test_a_function_is_judged_without_what_follows_it():
    file = example_of("defmodule A do\n  def f do\n    1\n  end\nend\n")
    prompt = Prompt(file, 15, 28)
    assert prompt.head_text == "  def f do\n    "[:13]
    completions = ["    2\n  end\n\n  def g(", "    2 +\n  end\nend\n", "    2\n", "    2\n  end\nend\n"]
    verdicts = judge([prompt] * 4, completions)
    assert [verdict.is_accepted for verdict in verdicts] == [True, False, False, True]
    assert [verdict.function is None for verdict in verdicts] == [False, False, True, False]
    assert [verdict.as_it_is.ok for verdict in verdicts] == [False, False, False, True]


GOOD = Report(outcome=Outcome.OK)
UNEXPECTED = Finding(
    tool="elixir", check="syntax_error", category="syntax", severity=Severity.ERROR, message="unexpected token: )"
)
BAD = Report(outcome=Outcome.SYNTAX_ERROR, findings=(UNEXPECTED,))


def test_a_function_without_an_end_counts_as_not_accepted():
    verdicts = [
        Verdict("def f do\nend", GOOD, BAD),
        Verdict("def f do\n)\nend", BAD, BAD),
        Verdict(None, None, GOOD),
        Verdict("def f do\nend", GOOD, GOOD),
    ]
    counted = share(verdicts)
    assert (counted.n, counted.accepted, counted.ended, counted.accepted_as_it_is) == (4, 0.5, 0.75, 0.5)
    assert counted.accepted_interval == pytest.approx((0.15, 0.85), abs=1e-3)


@pytest.mark.parametrize(
    ("verdict", "is_accepted", "message"),
    [
        (Verdict("f", GOOD, GOOD), True, ""),
        (Verdict("f", BAD, GOOD), False, "unexpected token: )"),
        (Verdict(None, None, GOOD), False, "the function has no end"),
    ],
)
def test_a_sample_says_why_it_was_not_accepted(verdict, is_accepted, message):
    prompt = Prompt(example_of("def f do\n  1\nend\n"), 0, 11)
    shown = sample(prompt, Written("2\nend", False), verdict)
    assert shown == {
        "package": "a",
        "path": "lib/a.ex",
        "head": "def f do\n  ",
        "completion": "2\nend",
        "function": verdict.function,
        "is_accepted": is_accepted,
        "message": message,
    }
