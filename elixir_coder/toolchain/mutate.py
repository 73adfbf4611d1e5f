"""How much of a program its tests hold on to: small changes are made to the program, and the tests run on each.

    report = score(toolchain, code, tests)
    report.score, report.survivors

A change (a mutant) that makes a test fail is killed; one that no test notices survives, and is shown. The score is the
share of those killed, among those that could be: mutants that do not compile or that are the same program do not count.
Line coverage says what ran; this says what was checked. `elixir-coder mutate LIB TEST` is the same as a command.

What is changed, and what is done about mutants that are equivalent to the original, stands in `beam/mutate.ex`; how
they run, in `beam/mutate_run.ex`. Mutants are listed by a worker that only parses, and run in the sandbox. A suite that
fails on the unchanged code gets no score: nor does one that fails when that is run again between the mutants, because
it is flaky, keeps state, or looks at the code instead of calling it.

A mutant costs little more than compiling its file: `benchmarks/bench_toolchain.py` printed 31 a second on two cores,
where a fresh `elixir` for each takes 13 times as long (docs/TOOLCHAIN.md has the table).
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import math
import os
import random
import sys
import tempfile
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from typing import Any

from elixir_coder.cache import cache_folder
from elixir_coder.errors import InputError, RecipeError
from elixir_coder.toolchain.finding import Finding, Outcome, Severity
from elixir_coder.toolchain.sandbox import find_elixir
from elixir_coder.toolchain.toolchain import TESTS_PATH, Files, Toolchain, pairs_of

CODE_PATH = "code.ex"  # what mutants of code that was given as a text are said to be in

_BATCH = 40  # mutants of one job: it compiles code and tests once, and is lost as a whole with its virtual machine
_SMALLEST_BATCH = 8
_BUDGET_S = 30.0  # after which a job begins no further mutant
_MARGIN_S = 20.0  # for what a job does before the first mutant, and for compiling the last one
_LOOK_AHEAD = 2  # pairs of `score_all` taken for each worker
_CACHED_FORMAT = 1
_BEAM_SOURCES = ("mutate.ex", "mutate_run.ex")


class State(StrEnum):
    """What became of a mutant."""

    KILLED = "killed"  # a test failed
    TIMEOUT = "timeout"  # the tests took too long, or more memory than is allowed; counts as killed
    SURVIVED = "survived"
    INVALID = "invalid"  # does not compile
    EQUIVALENT = "equivalent"  # the compiler makes the same code of it as of the original
    DUPLICATE = "duplicate"  # ... as of another mutant
    CRASH = "crash"  # the virtual machine went away, and nobody knows whether that was the mutant's doing


_STATES = frozenset(State) - {State.CRASH}
_COUNTED = (State.KILLED, State.TIMEOUT, State.SURVIVED)


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One change and what became of it.

    id: its number among all mutants of the code. line, column: from 1. before, after: as source, shortened; "" where
    something was taken away. is_likely_equivalent: perhaps no test could tell.
    test: the one that failed, "Module: name"; "" where none did or nobody knows. detail: what it said.
    """

    id: int
    path: str
    operator: str
    line: int | None
    column: int | None
    before: str
    after: str
    is_likely_equivalent: bool
    state: State
    test: str = ""
    detail: str = ""


@dataclass(frozen=True, kw_only=True)
class MutationReport:
    """What a suite of tests did to the mutants of a program.

    outcome: ok, or why there are no mutants here: what came of the unchanged code and its tests, with the findings.
    mutants: those that ran, by their numbers. num_mutants: how many the code has; more than ran when sampled.
    duration_s: seconds that it took, of the run that did the work where this is from a cache.
    """

    outcome: Outcome
    findings: tuple[Finding, ...] = ()
    mutants: tuple[Mutant, ...] = ()
    num_mutants: int = 0
    duration_s: float = 0.0

    @property
    def counts(self) -> Counter[State]:
        return Counter(mutant.state for mutant in self.mutants)

    @property
    def num_counted(self) -> int:
        """Mutants that the score is a share of; with `num_caught`, what an interval needs."""
        return sum(self.counts[state] for state in _COUNTED)

    @property
    def num_caught(self) -> int:
        return self.counts[State.KILLED] + self.counts[State.TIMEOUT]

    @property
    def score(self) -> float | None:
        """(killed + timeout) / (killed + timeout + survived); None where there was nothing to kill."""
        return self.num_caught / self.num_counted if self.num_counted else None

    @property
    def is_sampled(self) -> bool:
        return len(self.mutants) < self.num_mutants

    @property
    def survivors(self) -> tuple[Mutant, ...]:
        return tuple(mutant for mutant in self.mutants if mutant.state == State.SURVIVED)

    @property
    def by_operator(self) -> dict[str, Counter[State]]:
        """Counts of the states for each operator, in the order of the names."""
        found: dict[str, Counter[State]] = {}
        for mutant in sorted(self.mutants, key=lambda mutant: mutant.operator):
            found.setdefault(mutant.operator, Counter())[mutant.state] += 1
        return found

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; `from_dict` reads it back."""
        return {
            "outcome": str(self.outcome),
            "findings": [finding.to_dict() for finding in self.findings],
            "score": self.score,
            "counts": _plain(self.counts),
            "by_operator": {name: _plain(counts) for name, counts in self.by_operator.items()},
            "num_mutants": self.num_mutants,
            "is_sampled": self.is_sampled,
            "duration_s": self.duration_s,
            "mutants": [
                {field.name: getattr(mutant, field.name) for field in fields(Mutant)} for mutant in self.mutants
            ],
        }

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> MutationReport:
        """Raises KeyError, TypeError or ValueError for what `to_dict` did not write."""
        return cls(
            outcome=Outcome(data["outcome"]),
            findings=tuple(map(Finding.from_dict, data["findings"])),
            mutants=tuple(Mutant(**mutant | {"state": State(mutant["state"])}) for mutant in data["mutants"]),
            num_mutants=data["num_mutants"],
            duration_s=data["duration_s"],
        )


@dataclass(frozen=True, kw_only=True)
class MutationOptions:
    """How to score.

    sample: run this many mutants, drawn from all with equal chances and without putting back, so that a share of them
        estimates the share of all; None for all. seed: of that draw.
    guard: refuse code that asks for what code under judgement may not do.
    timeout_s, timeout_factor: the tests may take `timeout_factor` times what they take on the original, and `timeout_s`
        seconds at least. suite_timeout_s: what the tests may take on the original.
    """

    sample: int | None = None
    seed: int = 0
    guard: bool = True
    timeout_s: float = 1.0
    timeout_factor: float = 5.0
    suite_timeout_s: float = 60.0

    def __post_init__(self) -> None:
        """Raises RecipeError for settings out of range."""
        if self.sample is not None and self.sample < 1:
            raise RecipeError(f"--sample must be 1 or more, got {self.sample}")
        for name in ("timeout_s", "timeout_factor", "suite_timeout_s"):
            if not getattr(self, name) > 0:
                raise RecipeError(f"{name} must be above 0, got {getattr(self, name)}")


_DEFAULTS = MutationOptions()


def score(
    toolchain: Toolchain,
    code: Files,
    tests: Files,
    options: MutationOptions = _DEFAULTS,
    *,
    cache: Path | None = None,
    on_progress: Callable[[int, int], None] | None = None,
) -> MutationReport:
    """Run the tests on the mutants of the code, on all workers of the toolchain.

    code and tests: one text each, or mappings from paths to texts. cache: a folder where reports are kept under what
    they depend on, but for the toolchain's code paths and limits. on_progress: called in this thread with how many
    mutants are done, and of how many.

    Code or tests that do not compile, or tests that fail on the unchanged code, make a report without a score, as does
    a virtual machine that cannot be used. Raises as the toolchain does where nothing can run.
    """
    with ThreadPoolExecutor(toolchain.workers, thread_name_prefix="elixir-coder mutate") as threads:
        return _cached(
            cache,
            toolchain,
            code,
            tests,
            options,
            lambda: _score(toolchain, code, tests, options, threads, on_progress),
        )


def score_all(
    toolchain: Toolchain,
    pairs: Iterable[tuple[Files, Files]],
    options: MutationOptions = _DEFAULTS,
    *,
    cache: Path | None = None,
) -> Iterator[MutationReport]:
    """The reports of many pairs of code and tests, in their order, a few pairs at a time: for rewards and rankings.

    pairs may be without end: two for each worker are taken beyond the one that is answered next.
    """
    at_once = toolchain.workers
    with (
        ThreadPoolExecutor(at_once, thread_name_prefix="elixir-coder mutants") as threads,
        ThreadPoolExecutor(at_once, thread_name_prefix="elixir-coder mutate") as judges,
    ):
        waiting: deque[Future[MutationReport]] = deque()

        def one(code: Files, tests: Files) -> MutationReport:
            work = lambda: _score(toolchain, code, tests, options, threads, None)  # noqa: E731
            return _cached(cache, toolchain, code, tests, options, work)

        try:
            for code, tests in pairs:
                waiting.append(judges.submit(one, code, tests))
                if len(waiting) > _LOOK_AHEAD * at_once:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


# ------------------------------------------------------------------------------------------------------------- the run


class _Unusable(Exception):
    """The suite does not judge the same code the same way twice."""

    def __init__(self, outcome: Outcome, message: str):
        super().__init__(message)
        self.outcome = outcome


def _score(
    toolchain: Toolchain,
    code: Files,
    tests: Files,
    options: MutationOptions,
    threads: ThreadPoolExecutor,
    on_progress: Callable[[int, int], None] | None,
) -> MutationReport:
    started = time.monotonic()
    files, test_files = pairs_of(code, CODE_PATH), pairs_of(tests, TESTS_PATH)
    suite = options.suite_timeout_s
    baseline = toolchain.test(dict(files), dict(test_files), guard=options.guard, test_timeout_s=suite, timeout_s=suite)
    if not baseline.passed:
        return MutationReport(
            outcome=Outcome.TEST_FAILURE if baseline.ok else baseline.outcome,
            findings=baseline.findings,
            duration_s=time.monotonic() - started,
        )
    listed = _listed(toolchain, files, render=False)
    ids = [mutant["id"] for mutant in listed]
    if options.sample is not None and options.sample < len(ids):
        ids = sorted(random.Random(options.seed).sample(ids, options.sample))
    job = _Job(toolchain, files, test_files, options, len(listed), baseline.duration_s)
    try:
        found = _run(job, ids, threads, on_progress)
    except _Unusable as error:
        finding = Finding(
            tool="ex_unit",
            check=str(error.outcome),
            category="test",
            severity=Severity.ERROR,
            message=str(error),
            path=next(iter(dict(test_files)), ""),
        )
        return MutationReport(outcome=error.outcome, findings=(finding,), duration_s=time.monotonic() - started)
    # Rendering a change takes longer than finding it.
    rendered = {mutant["id"]: mutant for mutant in _listed(toolchain, files, render=ids)}
    mutants = tuple(_mutant(rendered[id_], found[id_]) for id_ in ids)
    return MutationReport(
        outcome=Outcome.OK,
        mutants=_without_duplicates(mutants, {id_: found[id_].get("code") for id_ in ids}),
        num_mutants=len(listed),
        duration_s=time.monotonic() - started,
    )


@dataclass(frozen=True)
class _Job:
    """What all batches have in common. suite_s: seconds that compiling and testing the original took."""

    toolchain: Toolchain
    files: list[list[str]]
    tests: list[list[str]]
    options: MutationOptions
    num_mutants: int
    suite_s: float

    def submit(self, ids: Sequence[int]) -> dict[str, Any]:
        args = {
            "files": self.files,
            "tests": self.tests,
            "ids": list(ids),
            "guard": self.options.guard,
            "min_timeout_ms": round(self.options.timeout_s * 1000),
            "timeout_factor": self.options.timeout_factor,
            "budget_ms": round(_BUDGET_S * 1000),
        }
        # Before the first mutant the tests run twice, among the mutants once more; then comes the last mutant.
        deadline_s = _BUDGET_S + _MARGIN_S + self.options.timeout_s + (3 + self.options.timeout_factor) * self.suite_s
        return self.toolchain.submit("mutate", args, evaluates=True, timeout_s=deadline_s)[0]


def _listed(toolchain: Toolchain, files: list[list[str]], *, render: bool | list[int]) -> list[dict[str, Any]]:
    args = {"files": files, "render": render}
    result, _ = toolchain.submit("mutants", args, evaluates=False, timeout_s=60)
    if result["outcome"] != Outcome.OK:  # it compiled just now
        raise InputError(f"mutants cannot be listed: {result['diagnostics'][0]['message']}; shorten the code")
    return result["mutants"]


def _run(
    job: _Job, ids: list[int], threads: ThreadPoolExecutor, on_progress: Callable[[int, int], None] | None
) -> dict[int, dict[str, Any]]:
    """What became of each mutant. Raises _Unusable for tests that have become unusable."""
    workers = job.toolchain.workers
    num_batches = workers * math.ceil(len(ids) / (workers * _BATCH))  # as many for each worker
    size = max(_SMALLEST_BATCH, math.ceil(len(ids) / max(1, num_batches)))
    batches = deque(ids[at : at + size] for at in range(0, len(ids), size))
    under_way: dict[Future[dict[str, Any]], list[int]] = {}
    found: dict[int, dict[str, Any]] = {}
    try:
        while batches or under_way:
            while batches and len(under_way) < workers:
                batch = batches.popleft()
                under_way[threads.submit(job.submit, batch)] = batch
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                batch = under_way.pop(future)
                done, again = _read(future.result(), batch, job.num_mutants)
                found |= done
                batches.extendleft(again)
            if on_progress:
                on_progress(len(found), len(ids))
    finally:
        for future in under_way:
            future.cancel()
    return found


def _read(
    result: dict[str, Any], ids: list[int], num_mutants: int
) -> tuple[dict[int, dict[str, Any]], list[list[int]]]:
    """What a job found, and the batches to run for what it did not. Judged code may have written the answer."""
    done = {}
    for raw in result.get("mutants") or ():
        with contextlib.suppress(AttributeError, TypeError, ValueError):
            if raw.get("id") in ids and raw.get("state") in _STATES and result.get("num_mutants") == num_mutants:
                done[raw["id"]] = raw
    left = [id_ for id_ in ids if id_ not in done]
    if not left:
        return done, []
    if done:
        return done, [left]
    outcome, detail = _ending(result)
    if outcome in (Outcome.TEST_FAILURE, Outcome.COMPILE_ERROR, Outcome.FORBIDDEN_CALL):
        raise _Unusable(outcome, detail)
    if len(ids) > 1:  # which of them it was is found out by halves
        middle = len(ids) // 2
        return {}, [ids[middle:], ids[:middle]]
    is_limit = outcome in (Outcome.TIMEOUT, Outcome.RESOURCE_LIMIT)
    return {ids[0]: {"state": State.TIMEOUT if is_limit else State.CRASH, "detail": detail}}, []


def _ending(result: dict[str, Any]) -> tuple[Outcome, str]:
    try:
        return Outcome(result["outcome"]), str(result["diagnostics"][-1]["message"])
    except (IndexError, KeyError, TypeError, ValueError):
        return Outcome.CRASH, "the worker's answer makes no sense"


def _mutant(listed: dict[str, Any], found: dict[str, Any]) -> Mutant:
    return Mutant(
        id=listed["id"],
        path=listed["path"],
        operator=listed["operator"],
        line=listed["line"],
        column=listed["column"],
        before=listed["before"],
        after=listed["after"],
        is_likely_equivalent=listed["likely_equivalent"],
        state=State(found["state"]),
        test=str(found.get("test") or ""),
        detail=str(found.get("detail") or ""),
    )


def _without_duplicates(mutants: tuple[Mutant, ...], codes: Mapping[int, Any]) -> tuple[Mutant, ...]:
    """Within a job the worker finds them; these are those of different jobs."""
    first: dict[Any, int] = {}
    kept = []
    for mutant in mutants:
        code = codes[mutant.id]
        other = first.setdefault(code, mutant.id) if code and mutant.state in _COUNTED else mutant.id
        if other != mutant.id:
            mutant = replace(mutant, state=State.DUPLICATE, test="", detail=f"of {other}")
        kept.append(mutant)
    return tuple(kept)


def _plain(counts: Counter[State]) -> dict[str, int]:
    return {str(state): counts[state] for state in State if counts[state]}


# ----------------------------------------------------------------------------------------------------------- the cache


def _cached(
    folder: Path | None,
    toolchain: Toolchain,
    code: Files,
    tests: Files,
    options: MutationOptions,
    work: Callable[[], MutationReport],
) -> MutationReport:
    if folder is None:
        return work()
    path = folder / f"{_key(code, tests, options)}.json"
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError, AttributeError):  # absent, or not ours any more
        return MutationReport.from_dict(json.loads(path.read_text(encoding="utf-8")))
    report = work()
    # What the machine was short of today it may have tomorrow.
    if (
        report.outcome not in (Outcome.CRASH, Outcome.RESOURCE_LIMIT, Outcome.TIMEOUT)
        and not report.counts[State.CRASH]
    ):
        _write(path, json.dumps(report.to_dict()))
    return report


def _key(code: Files, tests: Files, options: MutationOptions) -> str:
    installation = find_elixir()
    sources = [Path(__file__).with_name("beam").joinpath(name).read_text(encoding="utf-8") for name in _BEAM_SOURCES]
    settings = {field.name: getattr(options, field.name) for field in fields(MutationOptions)}
    parts = [_CACHED_FORMAT, sources, installation.elixir, installation.otp, settings]
    parts += [pairs_of(code, CODE_PATH), pairs_of(tests, TESTS_PATH)]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def _write(path: Path, text: str) -> None:
    """Whole or not at all, whoever else writes the same; a cache that cannot be written is none."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".json")
        try:
            with open(descriptor, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(name, path)
        except OSError:
            os.unlink(name)
            raise


def default_cache() -> Path:
    """`$XDG_CACHE_HOME/elixir-coder/mutate`, or below ~/.cache."""
    return cache_folder("mutate")


# --------------------------------------------------------------------------------------------------------- the command


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `mutate` to the commands."""
    parser = commands.add_parser(
        "mutate",
        help="find out what a suite of tests does not notice",
        description="Change a program in small ways and run its tests on each change: those that no test notices are "
        "shown. Code and tests run in a sandbox. The exit code is 1 when the score is under --fail-under, and 2 when "
        "there is none, as where the tests fail on the unchanged code.",
    )
    parser.add_argument("lib", nargs="+", type=Path, metavar="LIB", help="a file, or a folder with its .ex files")
    parser.add_argument("test", type=Path, metavar="TEST", help="a file, or a folder with its *_test.exs files")
    parser.add_argument("--sample", type=int, metavar="N", help="run this many mutants, drawn at random (all)")
    parser.add_argument("--seed", type=int, default=_DEFAULTS.seed, help=f"of the draw ({_DEFAULTS.seed})")
    parser.add_argument(
        "--timeout",
        type=float,
        default=_DEFAULTS.timeout_s,
        metavar="SECONDS",
        help="that the tests may take on a mutant, or five times what they take on the original if that is more "
        f"({_DEFAULTS.timeout_s:g})",
    )
    parser.add_argument("--workers", type=int, metavar="N", help="virtual machines at a time (one for each core)")
    parser.add_argument("--fail-under", type=float, metavar="SCORE", help="exit with 1 when the score is less, 0 to 1")
    parser.add_argument("--json", action="store_true", help="print the report as JSON")
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where reports are kept (the user's cache folder)")
    parser.add_argument("--no-cache", action="store_true", help="run the mutants in any case")
    parser.add_argument(
        "--code-path", type=Path, action="append", default=[], metavar="DIR", help="compiled modules that both may use"
    )
    parser.add_argument(
        "--guard",
        action="store_true",
        help="refuse code that asks for files, programs or the network: for code that a model wrote",
    )
    parser.add_argument("--unsafe-no-sandbox", action="store_true", help="run without a sandbox, as mix does")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """The command. Returns 1 when the score is under --fail-under; raises InputError where there is no score."""
    options = MutationOptions(sample=args.sample, seed=args.seed, timeout_s=args.timeout, guard=args.guard)
    if args.fail_under is not None and not 0 <= args.fail_under <= 1:
        raise RecipeError(f"--fail-under must be from 0 to 1, got {args.fail_under:g}")
    code, tests = _sources(args.lib, "*.ex"), _sources([args.test], "*_test.exs")
    cache = None if args.no_cache else args.cache or default_cache()
    with Toolchain(workers=args.workers, sandbox=not args.unsafe_no_sandbox, code_paths=args.code_path) as toolchain:
        report = score(toolchain, code, tests, options, cache=cache, on_progress=_Progress())
    if report.outcome != Outcome.OK:
        raise InputError(f"there is no score without tests that pass on the unchanged code: {_why(report)}")
    print(json.dumps(report.to_dict(), indent=2) if args.json else as_text(report))
    if args.fail_under is not None and (report.score is None or report.score < args.fail_under):
        if not args.json:
            print(f"under {args.fail_under:g}")
        return 1
    return 0


def as_text(report: MutationReport) -> str:
    """A table of the operators, then each survivor as a small difference, then the score."""
    states = [state for state in State if report.counts[state]]
    rows = [["operator", "mutants", *map(str, states)]]
    for operator, counts in report.by_operator.items():
        rows.append([operator, str(counts.total()), *(str(counts[state] or "") for state in states)])
    rows.append(["all", str(len(report.mutants)), *(str(report.counts[state]) for state in states)])
    widths = [max(len(row[at]) for row in rows) for at in range(len(rows[0]))]
    lines = [
        "  ".join([row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:]))]).rstrip()
        for row in rows
    ]
    for mutant in report.survivors:
        mark = "  (perhaps equivalent)" if mutant.is_likely_equivalent else ""
        lines += ["", f"{mutant.path}:{mutant.line}:{mutant.column}: {mutant.operator} survived{mark}"]
        lines += [f"  - {line}" for line in mutant.before.split("\n") if mutant.before]
        lines += [f"  + {line}" for line in mutant.after.split("\n") if mutant.after]
    of = f"{report.num_caught} of {report.num_counted} mutants"
    sampled = f", a sample of {len(report.mutants)} from {report.num_mutants}" if report.is_sampled else ""
    said = "no score: no mutant could be killed" if report.score is None else f"score {report.score:.3f}"
    return "\n".join([*lines, "", f"{said} ({of}{sampled}, {report.duration_s:.1f} s)"])


class _Progress:
    """A line on standard error that is written over; one at the end alone where that is no terminal."""

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._lock = threading.Lock()

    def __call__(self, done: int, of: int) -> None:
        with self._lock:
            if self._is_terminal:
                print(f"\r{done} of {of} mutants", end="\n" if done == of else "", file=sys.stderr, flush=True)
            elif done == of:
                print(f"{of} mutants", file=sys.stderr)


def _why(report: MutationReport) -> str:
    errors = [finding for finding in report.findings if finding.severity == Severity.ERROR] or list(report.findings)
    if not errors:
        return "no test ran"
    place = f"{errors[0].path}:{errors[0].line}: " if errors[0].path and errors[0].line else ""
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{place}{errors[0].message}{more}"


def _sources(paths: Sequence[Path], pattern: str) -> dict[str, str]:
    """Texts by their paths. Raises InputError for a file that cannot be read as text and a folder without any."""
    found: dict[str, str] = {}
    for path in paths:
        files = sorted(path.rglob(pattern)) if path.is_dir() else [path]
        if not files:
            raise InputError(f"{path} has no {pattern} files; name a folder that does, or a file")
        for file in files:
            try:
                found[str(file)] = file.read_text(encoding="utf-8")
            except OSError as error:
                raise InputError(f"{file} cannot be read: {error.strerror}") from None
            except UnicodeDecodeError:
                raise InputError(f"{file} is not UTF-8; Elixir's sources have to be") from None
    return found
