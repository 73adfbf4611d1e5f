"""How much faster than a fresh `elixir` for each check are warm workers, and what do mutants and scored tasks cost?

    python benchmarks/bench_toolchain.py [--rounds 5] [--fresh 3] [--workers 2] [--tasks FILE] [--unsafe-no-sandbox]

The material is our own suite of problems: the reference solutions and their tests. In every round each way takes its
turn, so that a busy machine slows all alike: warm workers on every problem, one by one and then as many at a time as
there are workers, and a new process of `elixir` for each of the first few. A ratio is that of one round, seconds of a
fresh check over seconds of a warm one in the same order; printed is the median, with the lowest and the highest.

    parse, format, compile, test     `elixir` reads the same text from a file and does the same, without a sandbox
    mutants                          `elixir` compiles and tests a mutant; ours are listed, compiled and tested
    tasks                            reported scores: a new virtual machine in the sandbox for each, guarded
    shared                           the same on virtual machines that run one task after the other

The warm checks that evaluate run in the sandbox, with the guard on. The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from elixir_coder.errors import MissingDependencyError, exit_on_error
from elixir_coder.evaluation.assembly import assemble
from elixir_coder.evaluation.problems import OWN_SUITE, read_problems
from elixir_coder.toolchain.mutate import score
from elixir_coder.toolchain.toolchain import Toolchain

# What a script that wants one answer would run. The tests start when the script ends, as `mix test` has it.
FRESH = {
    "parse": ["-e", "System.argv() |> hd() |> File.read!() |> Code.string_to_quoted!()", "code.ex"],
    "format": ["-e", "System.argv() |> hd() |> File.read!() |> Code.format_string!()", "code.ex"],
    "compile": ["-e", "System.argv() |> hd() |> Code.compile_file()", "code.ex"],
    "test": ["-e", "ExUnit.start()", "-r", "code.ex", "-r", "test.exs"],
}


class Checked(NamedTuple):
    code: str
    tests: str


def problems_of(path: Path, toolchain: Toolchain) -> list[Checked]:
    given = [problem for problem in read_problems(path) if problem.reference]
    return [Checked(assemble(each, each.reference or "", toolchain).code, each.test_file) for each in given]


def seconds_each(work: Callable[[], object], count: int) -> float:
    started = time.perf_counter()
    work()
    return (time.perf_counter() - started) / count


def fresh(operation: str, problems: Sequence[Checked], folder: Path) -> Callable[[], None]:
    def run() -> None:
        for at, problem in enumerate(problems):
            here = folder / str(at)
            here.mkdir(exist_ok=True)
            (here / "code.ex").write_text(problem.code, "utf-8")
            (here / "test.exs").write_text(problem.tests, "utf-8")
            subprocess.run(["elixir", *FRESH[operation]], cwd=here, check=True, capture_output=True, env=ENVIRONMENT)

    return run


ENVIRONMENT = os.environ | {"LC_ALL": "C.UTF-8", "ELIXIR_ERL_OPTIONS": "+S 1:1"}  # as a worker has it: one scheduler


def one_by_one(toolchain: Toolchain, operation: str, problems: Sequence[Checked]) -> Callable[[], None]:
    check = getattr(toolchain, operation)

    def run() -> None:
        for problem in problems:
            must_be_ok(check(problem.code, problem.tests) if operation == "test" else check(problem.code))

    return run


def at_a_time(toolchain: Toolchain, operation: str, problems: Sequence[Checked], **options: bool) -> Callable[[], None]:
    inputs: Iterable[object] = problems if operation == "test" else [problem.code for problem in problems]

    def run() -> None:
        for report in toolchain.map(operation, inputs, **options):
            must_be_ok(report)

    return run


def must_be_ok(report: object) -> None:
    assert report.ok, report  # type: ignore[attr-defined]  # a check that failed measures something else


def spread(numbers: Sequence[float]) -> dict[str, float]:
    return {"median": statistics.median(numbers), "lowest": min(numbers), "highest": max(numbers)}


def main() -> int:
    args = parse_args()
    if not shutil.which("elixir"):
        raise MissingDependencyError("`elixir` is not on the PATH; install it with: apt install elixir")
    with (
        tempfile.TemporaryDirectory() as folder,
        Toolchain(workers=args.workers, sandbox=not args.unsafe_no_sandbox) as toolchain,
    ):
        problems = problems_of(args.tasks, toolchain)
        rows = measure(toolchain, problems, args.rounds, args.fresh, Path(folder))
    show(rows, args.workers)
    print(json.dumps({"benchmark": "toolchain", "workers": args.workers, "problems": len(problems), "rows": rows}))
    return 0


def measure(
    toolchain: Toolchain, problems: Sequence[Checked], rounds: int, num_fresh: int, folder: Path
) -> dict[str, dict[str, dict[str, float]]]:
    few = problems[:num_fresh]
    samples: dict[str, dict[str, list[float]]] = {}

    def note(row: str, **seconds: float) -> None:
        for name, value in seconds.items():
            samples.setdefault(row, {}).setdefault(name, []).append(value)

    for turn in range(rounds + 1):
        for operation in FRESH:
            cold = seconds_each(fresh(operation, few, folder), len(few))
            warm = seconds_each(one_by_one(toolchain, operation, problems), len(problems))
            many = seconds_each(at_a_time(toolchain, operation, problems), len(problems))
            if turn:  # the first round starts workers and fills caches
                note(operation, fresh_s=cold, warm_s=warm, at_a_time_s=many, ratio=cold / warm)
        started = time.perf_counter()
        reports = [score(toolchain, problem.code, problem.tests) for problem in few]
        mutant = (time.perf_counter() - started) / sum(len(report.mutants) for report in reports)
        if turn:
            note("mutants", fresh_s=cold, at_a_time_s=mutant, ratio=cold / mutant)
        for row, options in (("tasks", {"fresh": True}), ("shared", {})):
            many = seconds_each(at_a_time(toolchain, "test", problems, **options), len(problems))
            if turn:
                note(row, fresh_s=cold, at_a_time_s=many, ratio=cold / many)
    return {row: {name: spread(values) for name, values in of_row.items()} for row, of_row in samples.items()}


def show(rows: dict[str, dict[str, dict[str, float]]], workers: int) -> None:
    print(f"{'':10} {'fresh ms':>9} {'warm ms':>9} {f'{workers} at a time, ms':>18} {'a second':>9}   fresh / warm")
    for name, row in rows.items():
        warm = f"{row['warm_s']['median'] * 1e3:9.2f}" if "warm_s" in row else " " * 9
        many, ratio = row["at_a_time_s"]["median"], row["ratio"]
        print(
            f"{name:10} {row['fresh_s']['median'] * 1e3:9.1f} {warm} {many * 1e3:18.2f} {1 / many:9.1f}   "
            f"{ratio['median']:.1f} ({ratio['lowest']:.1f} to {ratio['highest']:.1f})"
        )


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="times that each way takes its turn")
    parser.add_argument("--fresh", type=int, default=3, help="problems that a fresh `elixir` checks in each round")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--tasks", type=Path, default=OWN_SUITE, help="JSONL with `reference` and `tests`")
    parser.add_argument("--unsafe-no-sandbox", action="store_true", help="run the checks without a sandbox")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(exit_on_error(main))
