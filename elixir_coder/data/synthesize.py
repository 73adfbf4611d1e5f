"""Write verified exercises: `elixir-coder data synthesize --count N --out DIR`.

Families of exercises draw drafts; a program that was there before (names aside) is dropped, and so is one whose shape
has come too often; the others are compiled and run, and what does as it says becomes examples in parquet shards. Same
count, seed and families: same bytes, whatever the number of workers.
"""

from __future__ import annotations

import argparse
import random
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from elixir_coder.data.shards import read_manifest, read_shards
from elixir_coder.data.split import SPLITS
from elixir_coder.data.steps import StepReport, add_step_arguments, produce
from elixir_coder.data.synthesis.diversity import Diversity, identity, shape, split_of
from elixir_coder.data.synthesis.draft import Draft
from elixir_coder.data.synthesis.families import all_families
from elixir_coder.data.synthesis.verify import VERSION, Verifier, examples_of
from elixir_coder.errors import RecipeError
from elixir_coder.example import Example

MAX_OF_A_SHAPE = 12  # programs that differ in literals and fields only; more teach nothing new
BATCH_SIZE = 24  # drafts that one virtual machine judges in one go
_TRIES = 40  # draws for each program that is wanted, before the families count as exhausted


# Draws of a family in each round; the others have one. Composed families have far more to give than written ones.
WEIGHTS = {
    "pipeline_records": 12,
    "pipeline_values": 9,
    "pipeline_tuples": 5,
    "text": 9,
    "list": 8,
    "list_of_strings": 8,
    "list_of_numbers": 8,
    "number": 5,
    "map": 4,
    "list_of_atoms": 2,
    "dates": 2,
}


@dataclass(frozen=True)
class Job:
    """Which draft to draw again in a worker: cheaper to send than the draft."""

    family: str
    number: int
    split: str = SPLITS[0]


class Plan:
    """Which programs are made, and to which split each belongs; the families' draws decide, one after the other.

    One pass finds all: it is iterated for the first split and remembers the few jobs of the others.
    """

    def __init__(self, count: int, seed: int, families: Sequence[str]) -> None:
        self.count, self.seed = count, seed
        self._round = [name for name in families for _ in range(WEIGHTS.get(name, 1))]
        self.dropped: Counter[str] = Counter()

    def jobs(self, split: str) -> Iterator[Job]:
        """The jobs of a split, in the order in which they were drawn."""
        return (job for job in self.drawn() if job.split == split)

    def drawn(self) -> Iterator[Job]:
        """All jobs, in the order in which they were drawn."""
        seen: set[bytes] = set()
        shapes: Counter[bytes] = Counter()
        taken = 0
        self.dropped.clear()
        for number in range(self.count * _TRIES):
            if taken == self.count:
                return
            job = Job(self._round[number % len(self._round)], number)
            code = draft_of(job, self.seed).code
            of_shape = shape(code)
            key = bytes.fromhex(identity(code))
            if key in seen:
                self.dropped["duplicate program"] += 1
            elif shapes[bytes.fromhex(of_shape)] >= MAX_OF_A_SHAPE:
                self.dropped["too many of one shape"] += 1
            else:
                seen.add(key)
                shapes[bytes.fromhex(of_shape)] += 1
                taken += 1
                yield replace(job, split=split_of(of_shape))


class Jobs:
    """The jobs of one split, for as many passes as are wanted."""

    def __init__(self, plan: Plan, split: str) -> None:
        self._plan, self._split = plan, split

    def __iter__(self) -> Iterator[Job]:
        return self._plan.jobs(self._split)


class Synthesize:
    """The step of a worker: draw drafts again, run them, and give their examples."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._verifier = Verifier()

    def __call__(self, jobs: list[Any], dropped: Counter[str]) -> list[Example]:
        drafts = [draft_of(job, self._seed) for job in jobs]
        found: list[Example] = []
        for job, draft, judged in zip(jobs, drafts, self._verifier.judge(drafts)):
            examples = examples_of(draft, judged, dropped)
            # The formatter rewrites `not x in y` and the like, and with that, rarely, the shape.
            if examples and split_of(shape(examples[0].code)) != job.split:
                dropped["reference: shape of another split"] += 1
            else:
                found += examples
        return found

    def close(self) -> None:
        self._verifier.close()


def draft_of(job: Job, seed: int) -> Draft:
    """The draft of a job."""
    return all_families()[job.family](random.Random(f"{seed}:{job.family}:{job.number}"))


def synthesize(
    count: int,
    out: Path,
    *,
    seed: int = 0,
    families: Sequence[str] | None = None,
    workers: int | None = None,
    resume: bool = False,
    progress: bool | None = None,
) -> StepReport:
    """Write exercises of `count` distinct programs to shards in `out`.

    Raises RecipeError for a count below 1 and for a family that there is not.
    """
    known = all_families()
    chosen = list(families) if families else list(known)
    if count < 1:
        raise RecipeError(f"--count must be 1 or more, got {count}")
    if unknown := [name for name in chosen if name not in known]:
        raise RecipeError(f"no such family: {unknown[0]}; there are: {', '.join(known)}")
    plan = Plan(count, seed, chosen)
    report = produce(
        {split: Jobs(plan, split) for split in SPLITS},
        out,
        partial(Synthesize, seed),
        name="synthesize",
        settings={"count": count, "seed": seed, "families": chosen, "version": VERSION},
        workers=workers,
        resume=resume,
        batch_size=BATCH_SIZE,
        progress=progress,
        manifest={"source": "synthesis"},
    )
    report.dropped.update(plan.dropped)
    return report


def diversity_of(folder: Path) -> Diversity:
    """The figures of what lies in a folder of shards."""
    figures = Diversity()
    for split, counts in read_manifest(folder)["splits"].items():
        if counts["num_examples"]:
            for example in read_shards(folder, split):
                figures.add(example, split)
    return figures


def add_parser(subparsers: Any) -> None:
    """Add `synthesize` to the subcommands of `elixir-coder data`."""
    parser = subparsers.add_parser("synthesize", help="write exercises whose programs and tests have run")
    parser.add_argument(
        "--count", type=int, required=True, metavar="N", help="distinct programs; each gives about three examples"
    )
    parser.add_argument("--seed", type=int, default=0, metavar="S", help="of all draws (default: 0)")
    parser.add_argument("--families", nargs="+", metavar="NAME", help=f"among: {', '.join(all_families())}")
    add_step_arguments(parser, takes_corpus=False)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """The command `data synthesize`."""
    report = synthesize(
        args.count,
        args.out,
        seed=args.seed,
        families=args.families,
        workers=args.workers,
        resume=args.resume,
    )
    print(report)
    print(diversity_of(args.out))
    return 0
