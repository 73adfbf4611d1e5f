"""The tasks that ship with the package: every reference passes, every wrong answer fails, and prompts say enough."""

import json
import re
from pathlib import Path

import pytest

import elixir_coder.evaluation
from elixir_coder.toolchain.finding import Outcome
from elixir_coder.toolchain.toolchain import Toolchain

SUITES = Path(elixir_coder.evaluation.__file__).with_name("suites")
ROWS = [
    row | {"suite": path.stem}
    for path in sorted(SUITES.glob("*.jsonl"))
    for row in map(json.loads, path.read_text("utf-8").splitlines())
]
SOME = ROWS[::8]


def whole(row, answer):
    return row["prompt"] + answer if row["kind"] == "continuation" else answer


def named(row):
    return row["id"]


@pytest.fixture(scope="module")
def toolchain():
    with Toolchain() as toolchain:
        yield toolchain


def mistakes(toolchain, rows):
    """What is not as it must be, in words."""
    for row in rows:

        def judge(answer, row=row):
            return toolchain.test(whole(row, answer), row["tests"], expected=row["expected"], timeout_s=30)

        report = judge(row["reference"])
        if report.outcome != Outcome.OK or len(report.tests) != len(row["expected"]):
            yield f"{row['id']}: the reference ends in {report.outcome}: {report.findings[:1]}"
        for number, answer in enumerate(row["wrong"]):
            report = judge(answer)
            if report.outcome != Outcome.TEST_FAILURE:
                yield f"{row['id']}: wrong answer {number} ends in {report.outcome}"
            elif any(finding.check == "unexpected_tests" for finding in report.findings):
                yield f"{row['id']}: wrong answer {number} kept tests from running"


@pytest.mark.elixir
def test_references_pass_and_wrong_answers_fail(toolchain):
    assert list(mistakes(toolchain, SOME)) == []


@pytest.mark.slow
@pytest.mark.elixir
def test_all_references_pass_and_all_wrong_answers_fail(toolchain):
    assert list(mistakes(toolchain, ROWS)) == []


@pytest.mark.elixir
def test_references_and_tests_are_formatted_and_the_compiler_has_nothing_to_say(toolchain):
    texts = [whole(row, row["reference"]) for row in ROWS]
    assert [row["id"] for row, text in zip(ROWS, texts) if toolchain.format(text).formatted != text] == []
    assert [row["id"] for row in ROWS if toolchain.format(row["tests"]).formatted != row["tests"]] == []
    assert [
        row["id"] for row, report in zip(ROWS, toolchain.map("compile", texts)) if report.outcome != Outcome.OK
    ] == []


def test_there_are_many_tasks_of_both_kinds():
    assert len(ROWS) >= 60
    kinds = [row["kind"] for row in ROWS]
    assert set(kinds) == {"continuation", "instruction"}
    assert kinds.count("instruction") >= len(ROWS) // 4


@pytest.mark.parametrize("suite", sorted({row["suite"] for row in ROWS}))
def test_rows_are_sorted_and_have_names_of_their_own(suite):
    names = [row["id"] for row in ROWS if row["suite"] == suite]
    assert names == sorted(set(names))


@pytest.mark.parametrize("row", ROWS, ids=named)
def test_a_task_is_whole(row):
    assert row.keys() == {"id", "kind", "entry", "prompt", "reference", "wrong", "tests", "expected", "suite"}
    assert re.fullmatch(r"[a-z]+(-[a-z]+)+", row["id"])
    module = re.match(r"[A-Z][\w.]*\b(?!\()", row["entry"])[0].rpartition(".")[0] or row["entry"]
    module = module if f"defmodule {module} do" in whole(row, row["reference"]) else row["entry"]
    assert f"defmodule {module} do" in whole(row, row["reference"])
    assert 4 <= len(row["expected"]) <= 8
    assert [name for name in row["expected"] if f'test "{name}"' not in row["tests"]] == []
    assert len(row["wrong"]) >= 2
    assert len({row["reference"], *row["wrong"]}) == 1 + len(row["wrong"])


@pytest.mark.parametrize("row", [row for row in ROWS if row["kind"] == "continuation"], ids=named)
def test_a_beginning_documents_what_is_to_be_written_with_an_example(row):
    assert row["prompt"].startswith("defmodule ")
    assert '@moduledoc """' in row["prompt"]
    assert "      iex> " in row["prompt"]
    assert row["prompt"].endswith("\n")


@pytest.mark.parametrize("row", [row for row in ROWS if row["kind"] == "instruction"], ids=named)
def test_an_instruction_names_the_module_and_what_it_offers(row):
    assert f"`{row['entry'].partition('/')[0].rpartition('.')[0] or row['entry']}" in row["prompt"]
    assert "defmodule" not in row["prompt"]
