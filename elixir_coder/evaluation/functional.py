"""Whether what a model writes does what was asked: pass@k of answers that Elixir compiles and ExUnit tests.

Two steps, each of which may be done alone and gone on with after a kill, since every answer and every verdict is a line
of a file of its own as soon as it is there:

    generate   a model answers each task `num_samples` times; sample i of a task has a seed of its own, so that it is
               the same whichever others are asked for
    judge      each answer is assembled (`assembly`), compiled and tested in the sandbox on a virtual machine that has
               run nothing before

An answer passes when all the tests that were to run did run and passed; how it ended otherwise is its `Outcome`.
"""

from __future__ import annotations

import hashlib
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, fields
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from elixir_coder.errors import DataError, ElixirCoderError, InputError
from elixir_coder.evaluation.assembly import assemble
from elixir_coder.evaluation.problems import Problem
from elixir_coder.evaluation.saved import SavedRows, read_rows
from elixir_coder.evaluation.scores import pass_at_k, wilson_interval
from elixir_coder.evaluation.writing import write
from elixir_coder.generation.healing import TokenTexts, give_back, token_texts
from elixir_coder.tasks.complete import Complete
from elixir_coder.tasks.row import SpecialTokens
from elixir_coder.tasks.window import Window
from elixir_coder.toolchain.finding import Severity
from elixir_coder.toolchain.reports import TestReport
from elixir_coder.toolchain.toolchain import Toolchain
from tokenization_elixir_coder import encode_untrusted, split_prompt

# Columns of a table of results: what a model writes by itself, and what it writes inside Elixir's grammar.
UNCONSTRAINED = "unconstrained"
CONSTRAINED = "grammar"

_MESSAGE_LENGTH = 300  # characters kept of why an answer failed
_SUPPORT_PATH, _CODE_PATH = "support.ex", "code.ex"


@dataclass(frozen=True, kw_only=True)
class Generation:
    """One answer of a model to one task; what is saved of it is these fields.

    sample: from 0. seed: what it was drawn with. seconds: its part of the time its batch took. model: name and sha256
    of the weights. settings: those that decide what is written. Answers from elsewhere have id, sample and text alone.
    """

    id: str
    sample: int
    text: str
    seed: int | None = None
    is_finished: bool | None = None
    num_tokens: int | None = None
    seconds: float | None = None
    prompt_sha256: str | None = None
    model: Mapping[str, Any] | None = None
    versions: Mapping[str, str] | None = None
    settings: Mapping[str, Any] | None = None


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What one answer came to.

    form: how it was read (`assembly`). message: the first thing that is wrong with it. seconds: of compiling and
    testing it, without the start of the virtual machine. key: of all that decides a verdict; one with another key is
    no verdict on this answer.
    """

    id: str
    sample: int
    key: str
    passed: bool
    outcome: str
    form: str
    message: str
    seconds: float


def check_judge(*, sandbox: bool = True) -> dict[str, str]:
    """Versions of Elixir and OTP, once tests ran here as they will; costs a second and saves finding out after hours.

    Raises MissingDependencyError or SandboxError when answers cannot be judged on this machine.
    """
    code = "defmodule Check do\n  def one, do: 1\nend\n"
    tests = 'defmodule CheckTest do\n  use ExUnit.Case\n  test "one" do\n    assert Check.one() == 1\n  end\nend\n'
    with Toolchain(workers=1, timeout_s=60, sandbox=sandbox) as toolchain:
        versions = {"elixir": toolchain.elixir_version, "otp": toolchain.otp_version}
        report = toolchain.test(code, tests, fresh=True)
    if not report.passed:
        raise ElixirCoderError(
            f"a test that must pass ended in {report.outcome} here ({_message(report)}); answers cannot be judged"
        )
    return versions


# ----------------------------------------------------------------------------------------------------------- generating


def seed_of(seed: int, id: str, sample: int) -> int:
    """The seed of one sample: the same in every run with this seed, whatever else is asked for."""
    return int.from_bytes(hashlib.sha256(f"{seed}\0{id}\0{sample}".encode()).digest()[:8], "big") >> 1


@dataclass(frozen=True, kw_only=True)
class Writer:
    """Who writes, and how: saved with each answer, and the same for all answers that make one figure.

    model: name and sha256 of the weights. versions: of the packages. runtime: what computed, None for PyTorch in
    float32. The others are settings of `writing.write`.
    """

    model: Mapping[str, str]
    versions: Mapping[str, str]
    seed: int
    source_length: int
    max_new_tokens: int
    temperature: float
    top_p: float
    decoding: str = UNCONSTRAINED
    runtime: str | None = None

    def saved(self) -> dict[str, Any]:
        """The fields of a `Generation` that are the same for all."""
        settings = {
            "decoding": self.decoding,
            "seed": self.seed,
            "source_length": self.source_length,
            "max_new_tokens": self.max_new_tokens,
            "temperature": self.temperature,
            "top_p": self.top_p if self.temperature > 0 else None,  # plays no part
            **({} if self.runtime is None else {"runtime": self.runtime}),  # older answers do not name it
        }
        return {"model": dict(self.model), "versions": dict(self.versions), "settings": settings}


def check_resumable(path: Path, problems: Sequence[Problem], writer: Writer) -> None:
    """Raise DataError where a file holds answers of another model, of other settings or to other prompts."""
    if path.exists():
        list(_resumed(read_rows(path, may_be_torn=True), path, problems, writer))


def generate(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    problems: Sequence[Problem],
    saved: SavedRows,
    writer: Writer,
    *,
    num_samples: int,
    batch_size: int,
) -> list[Generation]:
    """`num_samples` answers to each task; those in `saved` are taken from there, all others are added to it.

    The prompt is shared out between encoder and decoder as `Generator` does. Raises DataError as `check_resumable`, and
    InputError for a prompt and answer longer than the model takes.
    """
    max_new_tokens = writer.max_new_tokens
    done = {(each.id, each.sample): each for each in _resumed(saved.rows, saved.path, problems, writer)}
    task = Complete(SpecialTokens.of(tokenizer), writer.source_length, max_new_tokens)
    texts = token_texts(tokenizer)
    inputs = {problem.id: _inputs(problem, task, tokenizer, texts) for problem in problems}
    limit = model.config.max_position_embeddings
    for id, (_, begun, _) in inputs.items():
        if 1 + len(begun) + max_new_tokens > limit:
            raise InputError(
                f"--task_tokens may be {limit - len(begun) - 1} at most after the prompt of task {id}, "
                f"got {max_new_tokens}"
            )
    missing = [
        (problem, sample) for problem in problems for sample in range(num_samples) if (problem.id, sample) not in done
    ]
    missing.sort(key=lambda each: tuple(map(len, inputs[each[0].id])))  # rows of a length together
    rest = iter(missing)
    while batch := list(islice(rest, batch_size)):
        started = time.monotonic()
        sources, prefixes, given_back = zip(*(inputs[problem.id] for problem, _ in batch))
        seeds = [seed_of(writer.seed, problem.id, sample) for problem, sample in batch]
        continued = [
            problem.text_to_continue.removesuffix(given) for (problem, _), given in zip(batch, given_back, strict=True)
        ]
        written = write(
            model,
            tokenizer,
            sources,
            prefixes,
            max_new_tokens=max_new_tokens,
            batch_size=batch_size,
            temperature=writer.temperature,
            top_p=writer.top_p,
            seeds=seeds,
            given_back=given_back,
            texts=texts,
            continued=continued if writer.decoding == CONSTRAINED else None,
        )
        seconds = (time.monotonic() - started) / len(batch)
        answers = [
            Generation(
                id=problem.id,
                sample=sample,
                text=each.text.removeprefix(given),
                seed=drawn_with,
                is_finished=each.is_finished,
                num_tokens=each.num_tokens,
                seconds=round(seconds, 3),
                prompt_sha256=problem.prompt_sha256,
                **writer.saved(),
            )
            for (problem, sample), each, given, drawn_with in zip(batch, written, given_back, seeds)
        ]
        saved.append(*(vars(answer) for answer in answers))
        done |= {(answer.id, answer.sample): answer for answer in answers}
    return [done[problem.id, sample] for problem in problems for sample in range(num_samples)]


def _inputs(
    problem: Problem, task: Complete, tokenizer: PreTrainedTokenizerBase, texts: TokenTexts
) -> tuple[list[int], list[int], str]:
    """What the encoder reads, what the decoder begins with, and the text that it must write first."""
    before, given_back = give_back(encode_untrusted(tokenizer, problem.text_to_continue), texts)
    earlier, latest = split_prompt(before)
    tokens = np.array(earlier, dtype=np.int64)
    return task.at(Window(tokens, is_end=False), len(tokens)).source, latest, given_back


def _resumed(
    rows: Sequence[Mapping[str, Any]], path: Path, problems: Sequence[Problem], writer: Writer
) -> Iterator[Generation]:
    prompts = {problem.id: problem.prompt_sha256 for problem in problems}
    for number, row in enumerate(rows, 1):
        generation = _generation(row, f"{path}, row {number}")
        for part, wanted in writer.saved().items():
            had = getattr(generation, part) or {}
            for name in [*wanted, *had]:
                if had.get(name) != wanted.get(name):
                    raise DataError(
                        f"{path} was written with {part} {name} {had.get(name)}, this run has "
                        f"{wanted.get(name)}; give the same again, or leave --resume out to begin anew"
                    )
        if prompts.get(generation.id, generation.prompt_sha256) != generation.prompt_sha256:
            raise DataError(f"{path} answers another prompt of task {generation.id}; leave --resume out to begin anew")
        if generation.id in prompts:
            yield generation


def read_generations(path: Path, problems: Sequence[Problem], num_samples: int | None = None) -> list[Generation]:
    """Saved answers to these tasks, in the order of the tasks: `num_samples` of each, or all, as many of each.

    Rows without `sample` are numbered in their order. Raises DataError for a row that is no answer, one to another
    prompt, answers of different models or settings, and where a task has fewer answers than the others.
    """
    of_task: dict[str, dict[int, Generation]] = {problem.id: {} for problem in problems}
    prompts = {problem.id: problem.prompt_sha256 for problem in problems}
    first: Generation | None = None
    for number, row in enumerate(read_rows(path), 1):
        where = f"{path}, row {number}"
        known = of_task.get(str(row.get("id")), {})
        generation = _generation({"sample": len(known)} | row, where)
        first = first or generation
        for part in ("model", "versions", "settings"):
            if getattr(generation, part) != getattr(first, part):
                raise DataError(
                    f"{where}: other {part} than in row 1; a figure is of one model, so give it a file alone"
                )
        if generation.id not in of_task:
            continue
        if generation.prompt_sha256 not in (None, prompts[generation.id]):
            raise DataError(
                f"{where}: answers another prompt of task {generation.id}; give the --tasks it was written for"
            )
        if generation.sample in known:
            raise DataError(f"{where}: sample {generation.sample} of task {generation.id} is there twice")
        known[generation.sample] = generation
    wanted = num_samples or max(map(len, of_task.values()), default=0)
    for id, known in of_task.items():
        if missing := sorted(set(range(wanted or 1)) - known.keys()):
            raise DataError(
                f"{path} has no sample {missing[0]} of task {id}; every task needs the same number of answers"
                f" ({wanted or 1} here), as a task left out is not one that failed"
            )
    return [of_task[problem.id][sample] for problem in problems for sample in range(wanted)]


def model_of(path: Path) -> dict[str, Any]:
    """Name and sha256 of the model that wrote saved answers, as far as they say."""
    said: dict[str, Any] = next((row["model"] for row in read_rows(path) if isinstance(row.get("model"), dict)), {})
    return {"name": str(said.get("name", path.name)), "sha256": str(said.get("sha256", ""))}


def _generation(row: Mapping[str, Any], where: str) -> Generation:
    kinds: dict[str, type] = {"id": str, "sample": int, "text": str}
    for name, kind in kinds.items():
        if not isinstance(row.get(name), kind) or isinstance(row.get(name), bool):
            raise DataError(f"{where}: an answer needs id and text as texts and sample as a number; {name} is not so")
    if row["sample"] < 0:
        raise DataError(f"{where}: samples are numbered from 0, got {row['sample']}")
    names = {field.name for field in fields(Generation)}
    text = row["text"].encode("utf-8", "replace").decode("utf-8")  # half a surrogate pair is no character
    return Generation(**{name: value for name, value in row.items() if name in names} | {"text": text})


# -------------------------------------------------------------------------------------------------------------- judging


def judge(
    problems: Sequence[Problem],
    generations: Sequence[Generation],
    toolchain: Toolchain,
    saved: SavedRows,
    *,
    timeout_s: float,
    fresh: bool = True,
) -> list[Verdict]:
    """A verdict on each answer, in their order. Those in `saved` on the same text, tests, Elixir and limits are taken
    from there, all others are added to it as they come.

    timeout_s: of one answer, and of each of its tests. fresh: False lets answers share virtual machines, which is
    quicker and not for figures that are reported: one answer may leave something to the next.
    """
    by_id = {problem.id: problem for problem in problems}
    versions = (toolchain.elixir_version, toolchain.otp_version)
    known = {row["key"]: row for row in saved.rows if row.keys() == Verdict.__dataclass_fields__.keys()}
    verdicts: dict[int, Verdict] = {}

    def one(generation: Generation, key: str) -> Verdict:
        problem = by_id[generation.id]
        assembled = assemble(problem, generation.text, toolchain)
        report = test(problem, assembled.code, toolchain, timeout_s=timeout_s, fresh=fresh)
        return Verdict(
            id=generation.id,
            sample=generation.sample,
            key=key,
            passed=report.passed,
            outcome=str(report.outcome),
            form=assembled.form,
            message=_message(report),
            seconds=round(report.duration_s, 3),
        )

    # Twice as many as there are workers: while one is tested, the next is assembled.
    with ThreadPoolExecutor(2 * toolchain.workers) as threads:
        under_way: dict[Future[Verdict], int] = {}
        try:
            for place, generation in enumerate(generations):
                key = _key(by_id[generation.id], generation, versions, timeout_s, fresh)
                if key in known:
                    verdicts[place] = Verdict(**known[key])
                    continue
                while len(under_way) >= 4 * toolchain.workers:
                    _collect(under_way, verdicts, saved)
                under_way[threads.submit(one, generation, key)] = place
            while under_way:
                _collect(under_way, verdicts, saved)
        except BaseException:
            threads.shutdown(wait=False, cancel_futures=True)
            raise
    return [verdicts[place] for place in range(len(generations))]


def test(problem: Problem, code: str, toolchain: Toolchain, *, timeout_s: float, fresh: bool = True) -> TestReport:
    """Run a task's tests on assembled code."""
    files = {_CODE_PATH: code} | ({_SUPPORT_PATH: problem.support} if problem.support else {})
    return toolchain.test(
        files, problem.test_file, expected=problem.expected, fresh=fresh, test_timeout_s=timeout_s, timeout_s=timeout_s
    )


test.__test__ = False  # type: ignore[attr-defined]  # not a test of ours, whatever pytest makes of the name


def _collect(under_way: dict[Future[Verdict], int], verdicts: dict[int, Verdict], saved: SavedRows) -> None:
    done, _ = wait(under_way, return_when=FIRST_COMPLETED)
    for future in sorted(done, key=lambda future: future.exception() is not None):  # what is known is saved first
        verdict = future.result()
        saved.append(vars(verdict))
        verdicts[under_way.pop(future)] = verdict


def _key(problem: Problem, generation: Generation, versions: Sequence[str], timeout_s: float, fresh: bool) -> str:
    parts = [problem.id, generation.sample, generation.text, problem.kind, problem.prompt, problem.entry, problem.tests]
    parts += [problem.stop, problem.expected, problem.support, versions, timeout_s, fresh]
    return hashlib.sha256(repr(parts).encode("utf-8", "backslashreplace")).hexdigest()


def _message(report: TestReport) -> str:
    if report.passed:
        return ""
    findings = sorted(report.findings, key=lambda finding: finding.severity != Severity.ERROR)
    message = " ".join(findings[0].message.split()) if findings else ""
    return message if len(message) <= _MESSAGE_LENGTH else f"{message[: _MESSAGE_LENGTH - 3]}..."


# -------------------------------------------------------------------------------------------------------------- scoring


def score(
    problems: Sequence[Problem], generations: Sequence[Generation], verdicts: Sequence[Verdict], ks: Sequence[int]
) -> dict[str, Any]:
    """The figures of one column, ready for JSON. Every task has the same number of answers, at least the largest k.

    first_sample: tasks that the first answer solved, in a Wilson interval of 95%: one independent yes or no a task.
    pass_at_k: the mean over tasks of the unbiased estimate, in a Wilson interval whose n is the number of tasks too.
    Answers to one task are not independent, so tasks are what was sampled; and estimates lie between 0 and 1, so they
    vary at most as zeros and ones of the same mean would. The interval is thus the plain one for one sample of each
    task and wider than need be for more. Unlike a bootstrap's it has a width where no task, or every task, was solved.
    """
    of_task: dict[str, list[tuple[Generation, Verdict]]] = {problem.id: [] for problem in problems}
    for generation, verdict in zip(generations, verdicts, strict=True):
        of_task[generation.id].append((generation, verdict))
    num_tasks, n = len(problems), len(generations) // len(problems)
    assert all(len(answers) == n for answers in of_task.values()), "as many answers to each task"
    passed = {id: sum(verdict.passed for _, verdict in answers) for id, answers in of_task.items()}
    first = sum(verdict.passed for generation, verdict in zip(generations, verdicts) if generation.sample == 0)
    pass_at = {}
    for k in ks:
        estimates = [pass_at_k(n, correct, k) for correct in passed.values()]
        pass_at[str(k)] = {
            "value": sum(estimates) / num_tasks,
            "interval": wilson_interval(sum(estimates), num_tasks),
        }
    finished = [each.is_finished for each in generations if each.is_finished is not None]
    return {
        "num_tasks": num_tasks,
        "samples_per_task": n,
        "first_sample": {
            "solved": first,
            "n": num_tasks,
            "share": first / num_tasks,
            "interval": wilson_interval(first, num_tasks),
        },
        "pass_at_k": pass_at,
        "outcomes": dict(Counter(verdict.outcome for verdict in verdicts).most_common()),
        "forms": dict(Counter(verdict.form for verdict in verdicts).most_common()),
        "finished": sum(finished) / len(finished) if finished else None,
        "num_tokens": _sum(each.num_tokens for each in generations),
        "generation_seconds": _sum(each.seconds for each in generations),
        "judging_seconds": _sum(verdict.seconds for verdict in verdicts),
        "tasks": [
            {
                "id": id,
                "n": n,
                "passed": passed[id],
                "outcomes": dict(Counter(verdict.outcome for _, verdict in answers).most_common()),
                "num_tokens": _sum(generation.num_tokens for generation, _ in answers),
                "seconds": _sum(verdict.seconds for _, verdict in answers),
            }
            for id, answers in of_task.items()
        ],
    }


def _sum(numbers: Iterator[Any]) -> Any:
    known = [number for number in numbers if number is not None]
    return round(sum(known), 3) if known else None


def sample(problem: Problem, generation: Generation, verdict: Verdict) -> dict[str, Any]:
    """An answer to show: what was asked, all that the model wrote, and what became of it."""
    return {
        "id": problem.id,
        "prompt": problem.prompt,
        "text": generation.text,
        "form": verdict.form,
        "outcome": verdict.outcome,
        "passed": verdict.passed,
        "message": verdict.message,
    }
