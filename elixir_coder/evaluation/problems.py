"""Tasks that a model is judged on: a prompt, and ExUnit tests that its answer must pass.

A file of ours is JSON Lines, one task a line:

    id         of the task; no other task of the file has it
    prompt     the beginning of a module, to be written on; with "kind": "instruction", in words what to write
    entry      what the tests call: `Stack`, `Stack.push` or `Stack.push/2`
    tests      an ExUnit file, or the inside of one: `test "..." do ... end`, `describe`, `setup`
    kind       "continuation", which it is when absent, or "instruction"
    stop       texts that end an answer where they begin, e.g. ["\\n\\n"]
    expected   names of the tests that must run, and no others; when absent those written out in `tests`
    support    Elixir that is compiled with every answer
    reference  an answer that passes: what follows the prompt, or a whole module
    wrong      answers that fail, each like `reference`

Three public benchmarks are read as they are published, from a path on this machine; nothing is downloaded. They are for
judging alone: training never sees them.

    MultiPL-E  rows of humaneval-elixir or mbpp-elixir, JSON Lines or Parquet, https://arxiv.org/abs/2208.08227
    McEval     Elixir.jsonl, https://arxiv.org/abs/2406.07436
    Exercism   a checkout of the Elixir track, https://exercism.org/docs/building/tracks/practice-exercises
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Literal

from elixir_coder.errors import DataError, require

OWN_SUITE = Path(__file__).with_name("suites")

_ENTRY = re.compile(r"(?P<module>[A-Z]\w*(?:\.[A-Z]\w*)*)(?:\.(?P<function>[a-z_]\w*[?!]?)(?:/(?P<arity>\d{1,3}))?)?")
_DEFMODULE = re.compile(r"^[ \t]*defmodule[ \t(]+(?P<module>[A-Z]\w*(?:\.[A-Z]\w*)*)", re.MULTILINE)
_DEF = re.compile(r"^[ \t]*def[ \t(]+(?P<function>[a-z_]\w*[?!]?)", re.MULTILINE)
_TEST_MODULE = re.compile(r"^[^#\n]*\buse\b[ \t(]+ExUnit\.Case\b", re.MULTILINE)
_TEST = re.compile(r"^[^#\n]*\b(?:test|property|doctest)\b[ \t(]", re.MULTILINE)
# What a file says when `elixir` runs it; here the toolchain starts ExUnit.
_STARTS_EXUNIT = re.compile(r"^[ \t]*ExUnit\.(?:start|run|configure)\b(?:\(.*\)|[^\n(]*)[ \t]*$", re.MULTILINE)
_PENDING = re.compile(r"^[ \t]*@(?:module|describe)?tag[ \t(]+:?pending\b.*$", re.MULTILINE)

Kind = Literal["continuation", "instruction"]


@dataclass(frozen=True, kw_only=True)
class Problem:
    """One task. The fields are those of a row of our format."""

    id: str
    prompt: str
    entry: str
    tests: str
    kind: Kind = "continuation"
    stop: tuple[str, ...] = ()
    expected: tuple[str, ...] | None = None
    support: str = ""
    reference: str | None = None
    wrong: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """The module that the tests call."""
        match = _ENTRY.fullmatch(self.entry)
        assert match, "checked where it was read"
        return match["module"]

    @property
    def opening(self) -> str:
        """The Elixir that an answer may continue."""
        return self.prompt if self.kind == "continuation" else f"defmodule {self.module} do\n"

    @property
    def text_to_continue(self) -> str:
        """The task for a model that continues text and follows no instructions: these become a comment."""
        if self.kind == "continuation":
            return self.prompt
        lines = self.prompt.strip().splitlines()
        return "\n".join([*(f"# {line}".rstrip() for line in lines), self.opening])

    @property
    def test_file(self) -> str:
        """The tests as an ExUnit file that somebody else runs: inside a module, with nothing that starts ExUnit."""
        tests = _STARTS_EXUNIT.sub("", self.tests)
        return (
            tests if _TEST_MODULE.search(tests) else f"defmodule {self.module}Test do use ExUnit.Case\n{tests}\nend\n"
        )

    @property
    def prompt_sha256(self) -> str:
        """Of what a model is asked; saved beside its answer."""
        return hashlib.sha256(f"{self.kind}\0{self.prompt}\0{self.module}".encode()).hexdigest()


def read_problems(path: Path = OWN_SUITE) -> list[Problem]:
    """The tasks of a file, of every *.jsonl of a folder by their names, or of a checkout of Exercism's track.

    Raises DataError that says which file and line cannot be used, and why.
    """
    try:
        if (practice := _practice(path)) is not None:
            problems = list(_of_exercism(practice))
        elif path.is_dir():
            seen: dict[str, str] = {}
            problems = [problem for file in sorted(path.glob("*.jsonl")) for problem in _of_file(file, seen)]
        else:
            problems = list(_of_file(path, {}))
    except OSError as error:
        raise DataError(f"cannot read the tasks at {error.filename or path}: {error.strerror}") from error
    if not problems:
        raise DataError(f"{path} has no tasks in it; give a file or folder of tasks, as docs/EVALUATION.md says")
    return problems


def sha256_of(problems: Sequence[Problem]) -> str:
    """Of all that decides a figure: prompts, tests and what is compiled with them."""
    digest = hashlib.sha256()
    for problem in problems:
        parts = [problem.id, problem.kind, problem.prompt, problem.entry, problem.tests, problem.support]
        digest.update(json.dumps([*parts, problem.stop, problem.expected]).encode())
    return digest.hexdigest()


# ---------------------------------------------------------------------------------------------------------------- rows


def _of_file(path: Path, seen: dict[str, str]) -> Iterator[Problem]:
    """seen: where each id was read so far; gets those of this file."""
    if path.suffix not in (".jsonl", ".json", ".parquet"):
        raise DataError(f"{path}: tasks are read from .jsonl and .parquet files and from folders")
    for where, row in _rows_of_parquet(path) if path.suffix == ".parquet" else _rows_of_jsonl(path):
        problem = _read_as(row)(row, where)
        if problem.id in seen:
            raise DataError(f"{where}: id {problem.id!r} is also that of {seen[problem.id]}; give every task its own")
        seen[problem.id] = where
        yield problem


def _rows_of_jsonl(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            where = f"{path}, line {number}"
            if not line.strip():
                continue
            try:
                row = json.loads(line.decode("utf-8"))
                json.dumps(row, ensure_ascii=False).encode("utf-8")  # "\ud800" alone is no character
            except UnicodeError:
                raise DataError(f"{where}: not UTF-8; write the file as UTF-8") from None
            except (ValueError, RecursionError) as error:
                raise DataError(f"{where}: not JSON ({error}); a task is one JSON object on one line") from None
            if not isinstance(row, dict):
                raise DataError(f"{where}: a task is a JSON object, this is {_name_of(row)}")
            yield where, row


def _rows_of_parquet(path: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    parquet = require("pyarrow.parquet", "data")
    pyarrow = require("pyarrow", "data")
    try:
        rows = parquet.read_table(path).to_pylist()
    except (pyarrow.ArrowException, ValueError) as error:
        raise DataError(f"{path}: cannot be read as parquet ({error}); copy it again") from error
    for number, row in enumerate(rows, 1):
        yield f"{path}, row {number}", {name: value for name, value in row.items() if value is not None}


def _read_as(row: Mapping[str, Any]) -> Callable[[Mapping[str, Any], str], Problem]:
    if {"name", "language", "stop_tokens"} <= row.keys():
        return _of_multipl_e
    if {"task_id", "test", "canonical_solution"} <= row.keys():
        return _of_mceval
    return _of_ours


def _of_ours(row: Mapping[str, Any], where: str) -> Problem:
    names = [field.name for field in fields(Problem)]
    if unknown := row.keys() - set(names):
        raise DataError(f"{where}: no such field: {sorted(unknown)[0]}; a task has: {', '.join(names)}")
    kind = row.get("kind", "continuation")
    if kind not in ("continuation", "instruction"):
        raise DataError(f"{where}: kind is continuation or instruction, got {kind!r}")
    return _checked(
        Problem(
            id=_text(row, "id", where),
            prompt=_text(row, "prompt", where),
            entry=_text(row, "entry", where),
            tests=_text(row, "tests", where),
            kind=kind,
            stop=_texts(row, "stop", where) or (),
            expected=_texts(row, "expected", where),
            support=_text(row, "support", where, default=""),
            reference=_text(row, "reference", where) if row.get("reference") is not None else None,
            wrong=_texts(row, "wrong", where) or (),
        ),
        where,
    )


def _of_multipl_e(row: Mapping[str, Any], where: str) -> Problem:
    language = _text(row, "language", where)
    if language not in ("elixir", "ex", "exs"):
        raise DataError(f"{where}: a task in {language!r}; give the rows of humaneval-elixir or mbpp-elixir")
    prompt = _text(row, "prompt", where)
    functions = _DEF.findall(prompt)
    return _checked(
        Problem(
            id=_text(row, "name", where),
            prompt=prompt,
            entry=".".join([_module_in([prompt], where), *functions[-1:]]),
            tests=_text(row, "tests", where),
            stop=_texts(row, "stop_tokens", where) or (),
        ),
        where,
    )


def _of_mceval(row: Mapping[str, Any], where: str) -> Problem:
    prompt, tests = _text(row, "prompt", where), _text(row, "test", where)
    reference = _text(row, "canonical_solution", where)
    module = _module_in([prompt, reference], where)
    function = _text(row, "entry_point", where, default="").rpartition(".")[2]
    is_beginning = _DEFMODULE.search(prompt) is not None
    return _checked(
        Problem(
            id=_text(row, "task_id", where),
            prompt=prompt,
            entry=f"{module}.{function}" if re.fullmatch(r"[a-z_]\w*[?!]?", function) else module,
            tests=tests,
            kind="continuation" if is_beginning else "instruction",
            reference=reference,
        ),
        where,
    )


def _checked(problem: Problem, where: str) -> Problem:
    if not problem.prompt.strip():
        raise DataError(f"{where}: the prompt is empty; give the beginning of a module, or an instruction")
    if not _ENTRY.fullmatch(problem.entry):
        raise DataError(
            f"{where}: entry is a module or a function of one, e.g. Stack, Stack.push or Stack.push/2, "
            f"got {problem.entry!r}"
        )
    if not _TEST.search(problem.tests):
        raise DataError(f"{where}: no `test` in tests; give an ExUnit file or the inside of one")
    if problem.expected is not None and not problem.expected:
        raise DataError(f"{where}: expected names no test; leave it out to take the names written in tests")
    for name in ("stop", "expected"):
        if "" in (getattr(problem, name) or ()):
            raise DataError(f"{where}: {name} has an empty text in it")
    return problem


def _module_in(texts: Iterable[str], where: str) -> str:
    for text in texts:
        if match := _DEFMODULE.search(text):
            return match["module"]
    raise DataError(f"{where}: no `defmodule` in it says which module the tests call")


def _text(row: Mapping[str, Any], name: str, where: str, *, default: str | None = None) -> str:
    value = row.get(name, default)
    if value is None:
        raise DataError(f"{where}: no field {name} (it has: {', '.join(sorted(row))})")
    if not isinstance(value, str):
        raise DataError(f"{where}: {name} is a text, got {_name_of(value)}")
    if not value and default is None:
        raise DataError(f"{where}: {name} is empty")
    return value


def _texts(row: Mapping[str, Any], name: str, where: str) -> tuple[str, ...] | None:
    value = row.get(name)
    if value is None:
        return None
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise DataError(f"{where}: {name} is a list of texts, got {_name_of(value)}")
    return tuple(value)


def _name_of(value: Any) -> str:
    names = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), "null")


# ------------------------------------------------------------------------------------------------------------ exercism


def _practice(path: Path) -> Path | None:
    """The folder of practice exercises of a checkout, where the path is one, or is that folder itself."""
    for folder in (path / "exercises" / "practice", path):
        if folder.is_dir() and any(folder.glob("*/.meta/config.json")):
            return folder
    return None


def _of_exercism(practice: Path) -> Iterator[Problem]:
    deprecated = _deprecated(practice.parent.parent / "config.json")
    for config in sorted(practice.glob("*/.meta/config.json")):
        exercise = config.parent.parent
        if exercise.name in deprecated:
            continue
        files = _object(config).get("files", {})
        stub = _joined(exercise, files, "solution", config)
        instructions = [exercise / ".docs" / f"{name}.md" for name in ("introduction", "instructions")]
        instructions += [path.with_suffix(".append.md") for path in instructions]
        words = "\n\n".join(_read(path).strip() for path in instructions if path.exists())
        if not words:
            raise DataError(f"{exercise}: no .docs/instructions.md; check the track out again")
        yield _checked(
            Problem(
                id=exercise.name,
                prompt=f"{words}\n\nWrite the whole of this module:\n\n{stub}",
                entry=_module_in([stub], str(exercise)),
                tests=_PENDING.sub("", _joined(exercise, files, "test", config)),
                kind="instruction",
                support=_joined(exercise, files, "editor", config) if files.get("editor") else "",
                reference=_joined(exercise, files, "example", config) if files.get("example") else None,
            ),
            str(exercise),
        )


def _deprecated(config: Path) -> set[str]:
    if not config.exists():
        return set()
    exercises = _object(config).get("exercises", {})
    return {each["slug"] for each in exercises.get("practice", ()) if each.get("status") == "deprecated"}


def _object(path: Path) -> dict[str, Any]:
    try:
        value = json.loads(_read(path))
    except ValueError as error:
        raise DataError(f"{path}: not JSON ({error}); check the track out again") from None
    if not isinstance(value, dict):
        raise DataError(f"{path}: a JSON object is expected, this is {_name_of(value)}")
    return value


def _joined(exercise: Path, files: Mapping[str, Any], role: str, config: Path) -> str:
    """The exercise's files of a role, one after another. Test helpers only start ExUnit."""
    names = _texts(files, role, str(config)) or ()
    paths = [exercise / name for name in names if Path(name).name != "test_helper.exs"]
    for path in paths:
        if not path.resolve().is_relative_to(exercise.resolve()):
            raise DataError(f"{config}: {path.relative_to(exercise)} lies outside the exercise")
    if not paths:
        raise DataError(f"{config}: files.{role} names no file; check the track out again")
    return "\n\n".join(_read(path).strip("\n") for path in paths) + "\n"


def _read(path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except UnicodeError:
        raise DataError(f"{path}: not UTF-8; check the track out again") from None
