"""Drop files that stand in a corpus twice, or nearly: `elixir-coder data duplicates CORPUS --out DIR`.

Two files are near-duplicates where the share of five-lexeme windows they have in common (the Jaccard index, comments
and layout apart) is at least the threshold. MinHash finds candidates, which are compared exactly: no file goes that is
not as alike as that to one that stays. Of two the held-out one stays, so that training data goes and never a test;
then code in its own place before vendored code; then the newer version; then the order of names.

datatrove does the work, on this machine here; recipes/duplicates.py runs the same stages on Slurm or Ray.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import shutil
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elixir_coder.data.shards import MANIFEST, count_of, read_manifest, shards_of, splits_of
from elixir_coder.data.steps import StepReport, add_step_arguments
from elixir_coder.errors import DataError, InputError, RecipeError, require

WORK = ".duplicates"  # in the folder of the corpus that comes of it: what the stages hand on
THRESHOLD = 0.8
NGRAM = 5
_SETTINGS = "settings.json"
_ROWS_PER_TASK = 2_000


@dataclass(frozen=True, kw_only=True)
class DuplicatesReport(StepReport):
    """num_clusters: groups of which one file or more went. largest: files that went for one that stays, at most."""

    num_clusters: int
    largest: int

    def __str__(self) -> str:
        groups = f"{self.num_clusters:,} files stay for others; one of them for {self.largest:,}"
        return f"{groups}\n{super().__str__()}"


def drop_duplicates(
    corpus: Path,
    out: Path,
    *,
    threshold: float = THRESHOLD,
    ngram: int = NGRAM,
    workers: int | None = None,
    resume: bool = False,
    pairs: Path | None = None,
    progress: bool | None = None,
) -> DuplicatesReport:
    """Write to `out` the files of a corpus that are no duplicates; examples that are not files all stay.

    threshold: the Jaccard index from which two files are duplicates, above 0 and up to 1. ngram: lexemes in a window.
    workers: processes, by default one for each core. resume: go on with the stages of an interrupted run.
    pairs: a file for what went, as JSON lines: each with its reason, its similarity and what stays for it.

    Raises DataError for a corpus that cannot be read, and for a resume with other settings or another corpus.
    """
    started = time.perf_counter()
    work = out / WORK
    settings = prepare(corpus, out, threshold=threshold, ngram=ngram, resume=resume)
    from elixir_coder.data import minhash  # after `prepare` has seen that datatrove is there

    num_tasks = tasks_for(corpus)
    shown = sys.stderr.isatty() if progress is None else progress
    todo = minhash.stages(
        corpus, out, work, threshold=threshold, ngram=ngram, tasks=num_tasks, entry=entry_of(corpus, settings)
    )
    for stage in require("tqdm", "data").tqdm(todo, desc="duplicates", unit="stage", disable=not shown):
        minhash.run_locally(stage, work / "logs", workers or len(os.sched_getaffinity(0)), resume)

    removals = list(minhash.read_removals(work / "removed"))
    if pairs:
        shutil.copyfile(work / "removed" / "removed.jsonl", pairs)
    shutil.rmtree(work)
    stayed = Counter(removal.kept for removal in removals)
    return DuplicatesReport(
        out=out,
        splits=read_manifest(out)["splits"],
        dropped=Counter(removal.reason for removal in removals),
        seconds=time.perf_counter() - started,
        num_clusters=len(stayed),
        largest=max(stayed.values(), default=0),
    )


def prepare(corpus: Path, out: Path, *, threshold: float, ngram: int, resume: bool) -> dict[str, Any]:
    """Check what is asked for, make the work folder, and give the settings that the manifest will show."""
    require("datatrove", "data")
    if not 0 < threshold <= 1:
        raise RecipeError(f"--threshold must be above 0 and at most 1, got {threshold}")
    if ngram < 1:
        raise RecipeError(f"--ngram must be 1 or more, got {ngram}")
    if out.resolve() == corpus.resolve():
        raise InputError(f"--out {out} is the corpus itself; name another folder")
    if not splits_of(corpus):
        shards_of(corpus, "train")  # which says what is missing
    settings = {"threshold": threshold, "ngram": ngram}
    entry = entry_of(corpus, settings)
    path = out / WORK / _SETTINGS
    try:
        if resume and path.exists():
            if json.loads(path.read_text(encoding="utf-8")) != entry:
                raise DataError(f"{out} holds an unfinished run with other settings; run it again without --resume")
            return settings
        shutil.rmtree(path.parent, ignore_errors=True)
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(entry), encoding="utf-8")
    except OSError as error:
        raise DataError(f"cannot write to {out}: {error}") from error
    return settings


def entry_of(corpus: Path, settings: Mapping[str, Any]) -> dict[str, Any]:
    """What the manifest says of the step before its figures; the corpus by a sum of its manifest and shards."""
    said = hashlib.sha256((corpus / MANIFEST).read_bytes() if (corpus / MANIFEST).exists() else b"")
    for split in splits_of(corpus):
        for shard in shards_of(corpus, split):
            said.update(f"\n{shard.name} {shard.stat().st_size}".encode())
    return {"name": "duplicates", "settings": dict(settings), "corpus": said.hexdigest()}


def tasks_for(corpus: Path) -> int:
    """Of the first stage: whatever the number of workers, so that one run can go on where another stopped."""
    total = sum(count_of(corpus, split) for split in splits_of(corpus))
    return min(max(8, total // _ROWS_PER_TASK), 512)  # each opens a file for every bucket


def add_parser(subparsers: Any) -> None:
    """Add `duplicates` to the subcommands of `elixir-coder data`."""
    parser = subparsers.add_parser("duplicates", help="drop files that stand in a corpus twice, or nearly")
    add_step_arguments(parser)
    parser.add_argument(
        "--threshold",
        type=float,
        default=THRESHOLD,
        metavar="SHARE",
        help="of windows in common, from which two files are duplicates (default: %(default)s)",
    )
    parser.add_argument(
        "--ngram", type=int, default=NGRAM, metavar="N", help="lexemes in a window (default: %(default)s)"
    )
    parser.add_argument("--pairs", type=Path, metavar="FILE", help="write what went and what stays for it (JSON lines)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """The command `data duplicates`."""
    report = drop_duplicates(
        args.corpus,
        args.out,
        threshold=args.threshold,
        ngram=args.ngram,
        workers=args.workers,
        resume=args.resume,
        pairs=args.pairs,
    )
    print(report)
    return 0
