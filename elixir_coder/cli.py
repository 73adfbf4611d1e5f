"""The `elixir-coder` command: one parser, filled by the modules that do the work.

A module named in COMMANDS has `add_parser(subparsers)`. Each leaf parser it adds sets `run`, a function that takes the
parsed arguments and returns the exit code: 0 done, 1 done but the answer is no, 2 something the user can put right
(an ElixirCoderError or wrong usage). Such a module imports torch and the like inside `run`, so that help stays quick.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from elixir_coder import __version__
from elixir_coder.errors import exit_on_error

GROUPS = {
    "data": "turn sources into the shards a model is trained on",
    "tokenizer": "train, grow and check the vocabulary",
}

COMMANDS = (  # module, and the group it adds to; None for a command of its own
    ("elixir_coder.data.collect", "data"),
    ("elixir_coder.data.tokenizer", "tokenizer"),
    ("elixir_coder.toolchain.check", None),
    ("elixir_coder.toolchain.mutate", None),
    ("elixir_coder.generation.generator", None),
    ("elixir_coder.generation.parse", None),
    ("elixir_coder.release.parameters", None),
    ("elixir_coder.release.export", None),
    ("elixir_coder.release.show", None),
    ("elixir_coder.release.weights", None),
    ("elixir_coder.release.card", None),
)


def build_parser() -> argparse.ArgumentParser:
    """The parser of every command."""
    parser = argparse.ArgumentParser(
        prog="elixir-coder", description="Write, check and learn from Elixir code with a small encoder-decoder model."
    )
    parser.add_argument("--version", action="version", version=f"elixir-coder {__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    groups = {
        name: commands.add_parser(name, help=summary, description=summary).add_subparsers(
            title="commands", metavar="COMMAND", required=True
        )
        for name, summary in GROUPS.items()
    }
    for module, group in COMMANDS:
        importlib.import_module(module).add_parser(groups[group] if group else commands)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Raises SystemExit for --help, --version and wrong usage."""
    args = build_parser().parse_args(argv)
    try:
        return exit_on_error(lambda: args.run(args))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130  # what a shell reports for a program ended by Ctrl-C
