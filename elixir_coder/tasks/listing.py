"""`elixir-coder tasks`: what a model can be trained to do, as `train.py --tasks` names it."""

from __future__ import annotations

import argparse
from typing import Any


def add_parser(subparsers: Any) -> None:
    parser = subparsers.add_parser(
        "tasks",
        help="list what train.py can train a model to do",
        description="What `train.py --tasks` can name: what is read -> what is said of it [losses; metric].",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    from elixir_coder.tasks.registry import overview

    print(overview())
    return 0
