"""The `elixir-coder` command: one parser, filled by the modules that do the work.

A module named in COMMANDS has `add_parser(subparsers)`. Each leaf parser it adds sets `run`, a function that takes the
parsed arguments and returns the exit code: 0 done, 1 done but the answer is no, 2 something the user can put right
(an ElixirCoderError or wrong usage). Such a module imports torch and the like inside `run`, so that help stays quick;
and only the module of the command that is called is imported at all.
"""

from __future__ import annotations

import argparse
import gc
import importlib
import sys
from collections.abc import Sequence

from elixir_coder import __version__
from elixir_coder.errors import exit_on_error

GROUPS = {
    "data": "turn sources into the shards a model is trained on",
    "graph": "code as a knowledge graph: build it, ask it, serve it",
    "tokenizer": "train, grow and check the vocabulary",
}

COMMANDS: tuple[tuple[str, str | None, dict[str, str]], ...] = (
    # module, the group it adds to (None for commands of its own), and what it adds, with the help of each
    ("elixir_coder.data.collect", "data", {"collect": "gather Elixir code into parquet shards"}),
    ("elixir_coder.data.cleaning", "data", {"clean": "drop what a model should not learn from, and scrub secrets"}),
    ("elixir_coder.data.duplicates", "data", {"duplicates": "drop files that stand in a corpus twice, or nearly"}),
    ("elixir_coder.data.decontaminate", "data", {"decontaminate": "drop what repeats a benchmark you have a copy of"}),
    ("elixir_coder.data.extract", "data", {"extract": "take files apart into documented functions and modules"}),
    ("elixir_coder.data.pairs", "data", {"pair": "put code and its tests together"}),
    ("elixir_coder.data.changes", "data", {"changes": "pair commit messages with the functions they changed"}),
    ("elixir_coder.data.label", "data", {"label": "what Credo and Sobelow say of the code of a corpus"}),
    ("elixir_coder.data.inject", "data", {"inject": "pairs of faulty and clean code, confirmed by Credo and Sobelow"}),
    ("elixir_coder.data.synthesize", "data", {"synthesize": "write exercises whose programs and tests have run"}),
    (
        "elixir_coder.data.annotate",
        "data",
        {"annotate": "add data flow, patterns, difficulty and what the knowledge graph says to each example"},
    ),
    ("elixir_coder.data.schema", "data", {"schema": "print the JSON schema of a corpus's rows"}),
    ("elixir_coder.data.stats", "data", {"stats": "count what a corpus holds, as tables and plots"}),
    ("elixir_coder.data.provenance", "data", {"provenance": "say where each record comes from"}),
    ("elixir_coder.data.inspect", "data", {"inspect": "look at examples of a corpus"}),
    (
        "elixir_coder.data.graph",
        "graph",
        {
            "build": "put every version of a corpus into the graph; what is there is kept",
            "sync": "the same, and archive versions that the corpus lacks",
            "add": "put the Mix projects of a folder into the graph",
            "archive": "take a version out of what is queried, and keep it",
            "query": "ask the graph in SPARQL",
            "serve": "answer SPARQL over HTTP, for reading only",
            "stats": "count what the graph has",
            "validate": "hold what a corpus gives to the SHACL shapes, without a store",
            "linearize": "say what the graph knows of a module or function in sentences",
            "dump": "write the graph as gzipped N-Quads",
            "load": "read what `graph dump` wrote into an empty graph",
        },
    ),
    (
        "elixir_coder.data.tokenizer",
        "tokenizer",
        {
            "train": "learn a vocabulary from corpora",
            "grow": "add entries to a vocabulary; the old ones keep their ids",
            "check": "encode and decode every file of a corpus",
        },
    ),
    ("elixir_coder.toolchain.check", None, {"check": "say what Elixir's tools find in files or a project"}),
    ("elixir_coder.toolchain.mutate", None, {"mutate": "find out what a suite of tests does not notice"}),
    ("elixir_coder.generation.generator", None, {"generate": "write Elixir after a prompt"}),
    ("elixir_coder.generation.parse", None, {"parse": "show where our grammar and Elixir's parser disagree"}),
    ("elixir_coder.release.parameters", None, {"parameters": "count the parameters of a model, part by part"}),
    (
        "elixir_coder.release.export",
        None,
        {"export": "write the model for other programs", "import": "start from another model"},
    ),
    ("elixir_coder.release.show", None, {"show": "draw what a model computes, as PNG"}),
    ("elixir_coder.release.finetune", None, {"finetune": "fit the model to your own Mix project"}),
    ("elixir_coder.tasks.listing", None, {"tasks": "list what train.py can train a model to do"}),
    ("elixir_coder.release.weights", None, {"save": "make a model folder to ship from a checkpoint"}),
    ("elixir_coder.release.card", None, {"card": "write measured results into the model card"}),
)


def build_parser(word: str | None = None) -> argparse.ArgumentParser:
    """The parser of every command.

    word: that of the command line which names a command or a group: of all others there is only the help, which spares
    the import of their modules.
    """
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
    for module, group, summaries in COMMANDS:
        parsers = groups[group] if group else commands
        if word is None or word == group or (group is None and word in summaries):
            importlib.import_module(module).add_parser(parsers)
        else:
            for name, summary in summaries.items():
                parsers.add_parser(name, help=summary)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code. Raises SystemExit for --help, --version and wrong usage."""
    words = sys.argv[1:] if argv is None else argv
    args = build_parser(words[0] if words else "").parse_args(argv)
    try:
        return exit_on_error(lambda: args.run(args))
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130  # what a shell reports for a program ended by Ctrl-C
    finally:
        if argv is None and "triton" not in sys.modules:  # which tells of all that is left as leaked
            gc.freeze()  # the process ends: a last search for garbage, in the modules of torch, takes half a second
