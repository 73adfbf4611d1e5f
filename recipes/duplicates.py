"""`elixir-coder data duplicates` on a cluster: the same stages, on Slurm or Ray.

    python recipes/duplicates.py CORPUS --out DIR --executor slurm --tasks 200 --partition cpu --time 04:00:00
    python recipes/duplicates.py CORPUS --out DIR --executor ray --tasks 200

CORPUS, DIR and this checkout's environment lie where every machine sees them. Four jobs follow each other: `sign` with
as many tasks as you ask for, `match` with one for each bucket of the signatures, `choose` and `write` with one. Which
files stay, and the bytes of the corpus, are those of a run on one machine. Run the same line again after a failure:
tasks that are done are not done again. What went, and for what, is in DIR/.duplicates/removed/removed.jsonl; the folder
DIR/.duplicates may go when the last job is done.

Slurm must be there for the one, `pip install ray` for the other; both need: pip install 'elixir-coder[data]'
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from elixir_coder.data.duplicates import NGRAM, THRESHOLD, WORK, entry_of, prepare
from elixir_coder.errors import exit_on_error, require


def main(args: argparse.Namespace) -> int:
    corpus, out = args.corpus.resolve(), args.out.resolve()
    settings = prepare(corpus, out, threshold=args.threshold, ngram=args.ngram, resume=True)
    minhash = require("elixir_coder.data.minhash", "data")
    stages = minhash.stages(
        corpus,
        out,
        out / WORK,
        threshold=args.threshold,
        ngram=args.ngram,
        tasks=args.tasks,
        entry=entry_of(corpus, settings),
    )
    (slurm if args.executor == "slurm" else ray)(stages, out / WORK / "logs", args)
    return 0


def slurm(stages: list[Any], logs: Path, args: argparse.Namespace) -> None:
    """Submit the four jobs, each to begin when the one before is done."""
    from datatrove.executor.slurm import SlurmPipelineExecutor

    executor = None
    for stage in stages:
        executor = SlurmPipelineExecutor(
            stage.pipeline,
            tasks=stage.tasks,
            time=args.time,
            partition=args.partition,
            mem_per_cpu_gb=args.memory,
            job_name=f"duplicates-{stage.name}",
            logging_dir=str(logs / stage.name),
            slurm_logs_folder=str(logs / stage.name / "slurm"),
            env_command=f"export PATH={Path(sys.executable).parent}:$PATH",
            mail_type="NONE",
            depends=executor,
        )
        executor.launch_job()


def ray(stages: list[Any], logs: Path, args: argparse.Namespace) -> None:
    """Carry out the four jobs one after the other, on the Ray cluster that this machine belongs to."""
    from datatrove.executor.ray import RayPipelineExecutor

    for stage in stages:
        RayPipelineExecutor(
            stage.pipeline, tasks=stage.tasks, mem_per_cpu_gb=args.memory, logging_dir=str(logs / stage.name)
        ).run()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], formatter_class=argparse.ArgumentDefaultsHelpFormatter
    )
    parser.add_argument("corpus", type=Path, metavar="CORPUS")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR")
    parser.add_argument("--executor", choices=("slurm", "ray"), required=True)
    parser.add_argument("--tasks", type=int, default=100, help="of the stage that reads the corpus; keep it on a rerun")
    parser.add_argument("--threshold", type=float, default=THRESHOLD)
    parser.add_argument("--ngram", type=int, default=NGRAM)
    parser.add_argument("--memory", type=int, default=4, metavar="GB", help="of a task")
    parser.add_argument("--partition", default="cpu", help="of Slurm")
    parser.add_argument("--time", default="04:00:00", help="limit of a job of Slurm")
    sys.exit(exit_on_error(lambda: main(parser.parse_args())))
