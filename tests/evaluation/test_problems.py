"""Reading tasks: our own format strictly, and public benchmarks in the shape they are published in."""

import json

import pyarrow
import pyarrow.parquet
import pytest

from elixir_coder.errors import DataError
from elixir_coder.evaluation.problems import Problem, read_problems, sha256_of
from tests.evaluation.tasks import MCEVAL, MULTIPL_E, TESTS, write, write_exercise

ROW = {
    "id": "pair-swap",
    "prompt": "defmodule Pair do\n  def swap({a, b}) do\n",
    "entry": "Pair.swap/1",
    "tests": TESTS,
}


def test_a_task_has_what_its_row_says(tmp_path):
    more = {
        "kind": "instruction",
        "stop": ["\n\n"],
        "expected": ["swaps"],
        "support": "defmodule Other do\nend\n",
        "reference": "x",
        "wrong": ["y", "z"],
    }
    (problem,) = read_problems(write(tmp_path / "tasks.jsonl", ROW | more))
    assert problem == Problem(
        id="pair-swap",
        prompt=ROW["prompt"],
        entry="Pair.swap/1",
        tests=TESTS,
        kind="instruction",
        stop=("\n\n",),
        expected=("swaps",),
        support="defmodule Other do\nend\n",
        reference="x",
        wrong=("y", "z"),
    )


def test_a_task_needs_only_id_prompt_entry_and_tests(tmp_path):
    (problem,) = read_problems(write(tmp_path / "tasks.jsonl", ROW))
    assert (problem.kind, problem.stop, problem.expected, problem.reference) == ("continuation", (), None, None)
    assert (problem.module, problem.opening, problem.text_to_continue) == ("Pair", ROW["prompt"], ROW["prompt"])


def test_blank_lines_are_no_tasks(tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.write_text(f"\n{json.dumps(ROW)}\n\n  \n")
    assert len(read_problems(path)) == 1


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({**ROW, "id": 3}, "line 2: id is a text, got a number"),
        ({**ROW, "id": ""}, "line 2: id is empty"),
        ({**ROW, "id": "first"}, "line 2: id 'first' is also that of .*line 1; give every task its own"),
        ({name: value for name, value in ROW.items() if name != "tests"}, "line 2: no field tests .it has: entry, id"),
        ({**ROW, "prompt": None}, "line 2: no field prompt"),
        ({**ROW, "prompt": " \n"}, "line 2: the prompt is empty"),
        ({**ROW, "promt": "x"}, "line 2: no such field: promt; a task has: id, prompt"),
        ({**ROW, "kind": "chat"}, "line 2: kind is continuation or instruction, got 'chat'"),
        ({**ROW, "entry": "swap"}, "line 2: entry is a module or a function of one, .*got 'swap'"),
        ({**ROW, "entry": "Pair.swap/x"}, "line 2: entry is a module"),
        ({**ROW, "tests": "assert 1 == 1"}, "line 2: no `test` in tests"),
        ({**ROW, "tests": '# test "commented out"'}, "line 2: no `test` in tests"),
        ({**ROW, "stop": "\n\n"}, "line 2: stop is a list of texts, got a text"),
        ({**ROW, "stop": [""]}, "line 2: stop has an empty text in it"),
        ({**ROW, "expected": []}, "line 2: expected names no test; leave it out"),
        ({**ROW, "expected": [1]}, "line 2: expected is a list of texts, got a list"),
        ({**ROW, "wrong": {"a": 1}}, "line 2: wrong is a list of texts, got an object"),
        ({**ROW, "reference": 1}, "line 2: reference is a text, got a number"),
        ({**ROW, "prompt": "\ud800"}, "line 2: not UTF-8"),
        ([ROW], "line 2: a task is a JSON object, this is a list"),
        ("text", "line 2: a task is a JSON object, this is a text"),
        (None, "line 2: a task is a JSON object, this is null"),
    ],
)
def test_a_row_that_is_no_task_is_told_with_its_line(row, message, tmp_path):
    path = write(tmp_path / "tasks.jsonl", ROW | {"id": "first"}, row)
    with pytest.raises(DataError, match=message) as raised:
        read_problems(path)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"id": ', "line 1: not JSON"),
        (b"[" * 100_000, "line 1: not JSON"),
        (b'{"id": "\xff"}', "line 1: not UTF-8"),
        (b"", "has no tasks in it"),
        (b"\n\n", "has no tasks in it"),
    ],
)
def test_a_file_that_holds_something_else(content, message, tmp_path):
    path = tmp_path / "tasks.jsonl"
    path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_problems(path)


def test_a_place_without_tasks(tmp_path):
    with pytest.raises(DataError, match=r"cannot read the tasks at .*none\.jsonl: No such file"):
        read_problems(tmp_path / "none.jsonl")
    with pytest.raises(DataError, match="has no tasks in it"):
        read_problems(tmp_path)
    with pytest.raises(DataError, match=r"read from \.jsonl and \.parquet files and from folders"):
        read_problems(write(tmp_path / "tasks.csv", ROW))


def test_a_folder_is_all_its_files_and_ids_differ_between_them(tmp_path):
    write(tmp_path / "b.jsonl", ROW | {"id": "b"})
    write(tmp_path / "a.jsonl", ROW | {"id": "a"})
    assert [problem.id for problem in read_problems(tmp_path)] == ["a", "b"]
    write(tmp_path / "c.jsonl", ROW | {"id": "a"})
    with pytest.raises(DataError, match=r"c\.jsonl, line 1: id 'a' is also that of .*a\.jsonl, line 1"):
        read_problems(tmp_path)


def test_the_inside_of_a_test_module_becomes_a_file():
    problem = Problem(id="a", prompt="x", entry="Store.Pair.swap/1", tests='test "one" do\nend')
    assert problem.test_file == 'defmodule Store.PairTest do use ExUnit.Case\ntest "one" do\nend\nend\n'


def test_tests_start_no_exunit_and_keep_their_lines():
    tests = f"ExUnit.start()\nExUnit.configure(exclude: :pending, trace: true)\n{TESTS}ExUnit.run()\n"
    problem = Problem(id="a", prompt="x", entry="Pair", tests=tests)
    assert problem.test_file == f"\n\n{TESTS}\n"


def test_a_comment_about_exunit_makes_no_test_file():
    problem = Problem(id="a", prompt="x", entry="Pair", tests='# use ExUnit.Case\ntest "one" do\nend')
    assert problem.test_file.startswith("defmodule PairTest do use ExUnit.Case\n")


def test_an_instruction_is_a_comment_above_the_module_for_a_model_that_continues():
    problem = Problem(id="a", prompt="Write a pair.\n\nIt swaps.\n", entry="Pair.swap", tests=TESTS, kind="instruction")
    assert problem.text_to_continue == "# Write a pair.\n#\n# It swaps.\ndefmodule Pair do\n"


def test_the_checksum_is_of_all_that_decides_a_figure():
    problem = Problem(id="a", prompt="x", entry="Pair", tests=TESTS)
    others = [
        Problem(id="a", prompt="y", entry="Pair", tests=TESTS),
        Problem(id="a", prompt="x", entry="Pair", tests=TESTS, stop=("\n",)),
        Problem(id="a", prompt="x", entry="Pair", tests=TESTS, expected=("swaps",)),
        Problem(id="a", prompt="x", entry="Pair", tests=TESTS, support="x"),
    ]
    assert len({sha256_of([each]) for each in [problem, *others]}) == 5
    same = Problem(id="a", prompt="x", entry="Pair", tests=TESTS, reference="r", wrong=("w",))
    assert sha256_of([same]) == sha256_of([problem])


# ------------------------------------------------------------------------------------------------------------ MultiPL-E


def test_a_row_of_multipl_e_is_a_continuation_with_its_stop_tokens(tmp_path):
    (problem,) = read_problems(write(tmp_path / "humaneval-elixir.jsonl", MULTIPL_E))
    assert (problem.id, problem.entry) == ("HumanEval_900_swap_pair", "HumanEval.swap_pair")
    assert problem.prompt == problem.opening == MULTIPL_E["prompt"]
    assert problem.stop == ("\ndefmodule", "\n#", "\n\n")
    assert "ExUnit.start" not in problem.test_file
    assert problem.reference is None


def test_multipl_e_is_read_from_parquet_too(tmp_path):
    path = tmp_path / "test-00000-of-00001.parquet"
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist([MULTIPL_E]), path)
    assert read_problems(path) == read_problems(write(tmp_path / "same.jsonl", MULTIPL_E))


def test_multipl_e_in_another_language_is_refused(tmp_path):
    path = write(tmp_path / "rows.jsonl", MULTIPL_E | {"language": "rb"})
    with pytest.raises(DataError, match="line 1: a task in 'rb'; give the rows of humaneval-elixir"):
        read_problems(path)


def test_a_damaged_parquet_file_is_told(tmp_path):
    (tmp_path / "rows.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(DataError, match="cannot be read as parquet"):
        read_problems(tmp_path / "rows.parquet")


# --------------------------------------------------------------------------------------------------------------- McEval


def test_a_row_of_mceval_is_a_continuation_where_its_prompt_begins_a_module(tmp_path):
    (problem,) = read_problems(write(tmp_path / "Elixir.jsonl", MCEVAL))
    assert (problem.id, problem.entry, problem.kind) == ("Elixir/90", "Pair.swap", "continuation")
    assert problem.reference == MCEVAL["canonical_solution"]


def test_a_row_of_mceval_without_a_module_in_its_prompt_is_an_instruction(tmp_path):
    whole = MCEVAL["prompt"] + MCEVAL["canonical_solution"]
    row = MCEVAL | {"prompt": "Write a function that swaps.", "canonical_solution": whole, "entry_point": "Pair.swap"}
    (problem,) = read_problems(write(tmp_path / "Elixir.jsonl", row))
    assert (problem.entry, problem.kind, problem.reference) == ("Pair.swap", "instruction", whole)


def test_a_row_of_mceval_without_any_module_is_refused(tmp_path):
    row = MCEVAL | {"prompt": "Swap.", "canonical_solution": "x"}
    with pytest.raises(DataError, match="line 1: no `defmodule` in it says which module"):
        read_problems(write(tmp_path / "Elixir.jsonl", row))


# ------------------------------------------------------------------------------------------------------------- Exercism


@pytest.fixture
def track(tmp_path):
    write_exercise(tmp_path / "exercises" / "practice")
    return tmp_path


def test_an_exercise_is_an_instruction_with_its_stub_and_no_test_is_pending(track):
    (problem,) = read_problems(track)
    assert (problem.id, problem.entry, problem.kind) == ("pair-swap", "Pair", "instruction")
    assert problem.prompt.startswith(
        "# Instructions\n\nSwap a pair.\n\nWrite the whole of this module:\n\ndefmodule Pair"
    )
    assert "\n  @tag" not in problem.tests
    assert problem.tests.count('test "') == 2
    assert problem.reference == "defmodule Pair do\n  def swap({a, b}), do: {b, a}\nend\n"
    assert read_problems(track / "exercises" / "practice") == [problem]


def test_introductions_and_appendices_are_a_part_of_the_instruction(track):
    docs = track / "exercises" / "practice" / "pair-swap" / ".docs"
    (docs / "introduction.md").write_text("First.")
    (docs / "instructions.append.md").write_text("Last.")
    (problem,) = read_problems(track)
    assert problem.prompt.startswith("First.\n\n# Instructions\n\nSwap a pair.\n\nLast.\n\nWrite")


def test_files_that_the_exercise_gives_are_compiled_with_the_answer(track):
    files = {"solution": ["lib/pair.ex"], "test": ["test/pair_test.exs"], "editor": ["lib/given.ex"]}
    write_exercise(
        track / "exercises" / "practice",
        **{".meta/config.json": json.dumps({"files": files}), "lib/given.ex": "defmodule Given do\nend\n"},
    )
    (problem,) = read_problems(track)
    assert (problem.support, problem.reference) == ("defmodule Given do\nend\n", None)


def test_deprecated_exercises_are_left_out(track):
    write_exercise(track / "exercises" / "practice", "old-one")
    exercises = {"practice": [{"slug": "old-one", "status": "deprecated"}, {"slug": "pair-swap"}]}
    (track / "config.json").write_text(json.dumps({"exercises": exercises}))
    assert [problem.id for problem in read_problems(track)] == ["pair-swap"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({".meta/config.json": "{"}, r"config\.json: not JSON"),
        ({".meta/config.json": "[]"}, r"config\.json: a JSON object is expected, this is a list"),
        ({".meta/config.json": '{"files": {"solution": "lib/pair.ex"}}'}, "solution is a list of texts"),
        ({".meta/config.json": '{"files": {"solution": []}}'}, "files.solution names no file"),
        ({".meta/config.json": '{"files": {"solution": ["../../../../x"]}}'}, "lies outside the exercise"),
        (
            {".meta/config.json": '{"files": {"solution": ["lib/none.ex"]}}'},
            r"cannot read .*lib/none\.ex: No such file",
        ),
        ({"lib/pair.ex": "x = 1"}, "pair-swap: no `defmodule` in it"),
        ({"test/pair_test.exs": "nothing"}, "pair-swap: no `test` in tests"),
    ],
)
def test_an_exercise_that_cannot_be_used_is_told(changes, message, track):
    write_exercise(track / "exercises" / "practice", **changes)
    with pytest.raises(DataError, match=message):
        read_problems(track)


def test_an_exercise_without_instructions_is_told(track):
    (track / "exercises" / "practice" / "pair-swap" / ".docs" / "instructions.md").unlink()
    with pytest.raises(DataError, match=r"no \.docs/instructions\.md"):
        read_problems(track)
