"""How many parameters a model has and where they are, from its configuration alone.

elixir-coder parameters base
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

PRESETS = ("tiny", "small", "base", "full")


def add_parser(subparsers: Any) -> None:
    """Add `elixir-coder parameters`."""
    parser = subparsers.add_parser(
        "parameters",
        help="count the parameters of a model, part by part",
        description="Count the parameters of a preset or of a model folder from its configuration alone.",
    )
    parser.add_argument(
        "model", help=f"{', '.join(PRESETS)}, or a model folder (write ./base for a folder of that name)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Print the table. Raises CheckpointError for a folder without a model."""
    from elixir_coder.checkpoint import configuration_elixir_coder, load_config, preset_config

    config = preset_config(args.model) if args.model in PRESETS else load_config(Path(args.model))
    table = configuration_elixir_coder.parameter_table(config)
    total = configuration_elixir_coder.count_parameters(config)
    for name, count, each in rows(table):
        print(f"{name:<36}{count:>14,}{each}")
    print()
    print(f"{'to write (ForConditionalGeneration)':<36}{total:>14,}  {2 * total / 1e6:,.1f} MB in bf16")
    print(f"{'and to judge (ForMultiTask)':<36}{sum(table.values()):>14,}")
    return 0


def rows(table: dict[str, int]) -> Iterator[tuple[str, int, str]]:
    """Name, parameters and a note for each part that has any; layers of one size in a row are one part."""
    for (stem, size), parts in groupby(table.items(), lambda part: (re.sub(r"\.\d+$", "", part[0]), part[1])):
        names = [name for name, _ in parts]
        if len(names) > 1:
            first, last = (name.rpartition(".")[2] for name in (names[0], names[-1]))
            yield f"{stem}.{first}-{last}", size * len(names), f"  {len(names)} × {size:,}"
        elif size:
            yield names[0], size, ""
