"""Clean a corpus: `elixir-coder data clean CORPUS --out DIR`.

Drops files that a model should not learn from (clean.py says why, one reason each), writes over secrets and addresses
(scrub.py), and asks Elixir's parser about the rest. Then `elixir-coder data duplicates` and `data decontaminate`.
"""

from __future__ import annotations

import argparse
import os
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

from elixir_coder.data.clean import clean, content_filters, is_guide
from elixir_coder.data.scrub import scrub_example
from elixir_coder.data.steps import StepReport, add_step_arguments, transform
from elixir_coder.errors import InputError
from elixir_coder.example import Example
from elixir_coder.toolchain.finding import Outcome
from elixir_coder.toolchain.toolchain import Toolchain

SCRUBBED = "(scrubbed) "  # before what was written over, in the counts; nothing is dropped for it
UNPARSED = "does not parse"


class Clean:
    """The step: filters, scrubbing, and the parser of a virtual machine of its own."""

    def __init__(self, *, scrubs: bool = True, parses: bool = True) -> None:
        self._filters = content_filters()
        self._scrubs = scrubs
        self._toolchain = Toolchain(workers=1) if parses else None

    def __call__(self, examples: list[Example], dropped: Counter[str]) -> list[Example]:
        kept = list(clean(examples, self._filters, dropped))
        if self._scrubs:
            kept = [self._scrubbed(example, dropped) for example in kept]
        if self._toolchain is None:
            return kept
        is_good = {id(example): True for example in kept}
        code = [example for example in kept if not is_guide(example.path)]
        for example, report in zip(code, self._toolchain.map("parse", (each.code for each in code)), strict=True):
            is_good[id(example)] = report.outcome == Outcome.OK
        dropped[UNPARSED] += len(kept) - sum(is_good.values())
        return [example for example in kept if is_good[id(example)]]

    def close(self) -> None:
        if self._toolchain is not None:
            self._toolchain.close()

    def _scrubbed(self, example: Example, dropped: Counter[str]) -> Example:
        scrubbed, found = scrub_example(example)
        for kind, count in found.items():
            dropped[SCRUBBED + kind] += count
        return scrubbed


def clean_corpus(
    corpus: Path,
    out: Path,
    *,
    scrubs: bool = True,
    parses: bool = True,
    workers: int | None = None,
    resume: bool = False,
    progress: bool | None = None,
) -> StepReport:
    """Write to `out` what stays of a corpus, scrubbed.

    parses: drop what Elixir's parser refuses. The version of the Elixir that was asked stands in the manifest.

    Raises MissingDependencyError without an Elixir to ask; else as `transform`.
    """
    settings: dict[str, Any] = {"scrubs": scrubs, "parses": parses}
    if parses:
        with Toolchain(workers=1) as toolchain:
            settings["elixir"] = toolchain.elixir_version
    return transform(
        corpus,
        out,
        partial(Clean, scrubs=scrubs, parses=parses),
        name="clean",
        settings=settings,
        workers=workers,
        resume=resume,
        progress=progress,
    )


def add_parser(subparsers: Any) -> None:
    """Add `clean` to the subcommands of `elixir-coder data`."""
    parser = subparsers.add_parser("clean", help="drop what a model should not learn from, and scrub secrets")
    add_step_arguments(parser)
    parser.add_argument(
        "--elixir",
        type=Path,
        metavar="PATH",
        help="whose parser decides (default: the one on the PATH): a newer one keeps more",
    )
    parser.add_argument("--keep_unparsed", action="store_true", help="do not ask a parser")
    parser.add_argument("--keep_secrets", action="store_true", help="do not scrub")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """The command `data clean`."""
    if args.elixir:
        if not args.elixir.is_file():
            raise InputError(f"no program at {args.elixir}; expected the `elixir` of an installation")
        os.environ["ELIXIR_CODER_ELIXIR"] = str(args.elixir.resolve())  # for the workers too
    report = clean_corpus(
        args.corpus,
        args.out,
        scrubs=not args.keep_secrets,
        parses=not args.keep_unparsed,
        workers=args.workers,
        resume=args.resume,
    )
    print(report)
    return 0
