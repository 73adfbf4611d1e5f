"""Take files apart: `elixir-coder data extract CORPUS --out DIR` gives their functions and modules as examples.

A function is all of its clauses with its specifications; its documentation, without the examples, becomes the
instruction, and the examples in it become doctests (`tests`). A module with a @moduledoc becomes an example with that
as the instruction. What a macro writes is not in the text, so it is not here either.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from elixir_coder.example import Example
from elixir_coder.toolchain.facts import FactsReport, FunctionFacts
from elixir_coder.toolchain.toolchain import Toolchain

MAX_FUNCTION_LINES = 150
MAX_MODULE_LINES = 300
MIN_INSTRUCTION = 15  # characters: "See `foo/1`." asks for nothing
_MIN_BODY_LINES = 2  # of a function without documentation: `defp a(b), do: b` teaches little and there are thousands

_IEX = re.compile(r"^\s*iex(\(\d+\))?>", re.MULTILINE)
# What only makes sense beside the rest of the page.
_SECTION = re.compile(r"^\s*#+\s+(Examples?|Doctests?|Usage|See also)\s*:?\s*$", re.MULTILINE | re.IGNORECASE)
_SPACE_AT_END = re.compile(r"[ \t]+$", re.MULTILINE)


class Extract:
    """The step: files to their functions and modules, in the order they stand."""

    def __init__(self) -> None:
        self._toolchain = Toolchain(workers=1)

    def __call__(self, examples: list[Example], dropped: Counter[str]) -> list[Example]:
        files = [example for example in examples if example.kind == "file" and is_code(example.path)]
        dropped["not a code file"] += len(examples) - len(files)
        found: list[Example] = []
        for file, report in zip(files, self._toolchain.map("facts", (file.code for file in files)), strict=True):
            if not report.ok:
                dropped["does not parse"] += 1
                continue
            found += functions_of(file, report, dropped)
            found += modules_of(file, report, dropped)
        return found

    def close(self) -> None:
        self._toolchain.close()


def is_code(path: str) -> bool:
    """Whether a path is Elixir that is no test: tests and what supports them are paired, not taken apart."""
    parts = PurePosixPath(path).parts
    return path.endswith((".ex", ".exs")) and not {"test", "tests"} & set(parts[:-1]) and not is_test(path)


def is_test(path: str) -> bool:
    """Whether a path is one of ExUnit's test files."""
    return path.endswith("_test.exs")


def functions_of(file: Example, report: FactsReport, dropped: Counter[str]) -> Iterator[Example]:
    """The functions of a file, each with what its documentation says."""
    lines = file.code.split("\n")
    for module in report.modules:
        for function in module.functions:
            instruction, doctests = instruction_and_doctests(function.doc or "")
            if reason := _why_not(function, instruction):
                dropped[reason] += 1
                continue
            code = without_lines(lines, function.line, function.end_line, function.doc_line, function.doc_end_line)
            yield _part(
                file,
                code,
                kind="function",
                name=f"{module.name}.{function.name}/{function.arity}",
                line=function.line,
                instruction=instruction,
                tests=doctests,
                test_type="doctest" if doctests else "",
                specs=function.specs,
            )


def modules_of(file: Example, report: FactsReport, dropped: Counter[str]) -> Iterator[Example]:
    """The modules of a file that say in words what they are for."""
    lines = file.code.split("\n")
    for module in report.modules:
        instruction, _doctests = instruction_and_doctests(module.doc or "")
        if len(instruction) < MIN_INSTRUCTION:
            dropped["module without documentation"] += 1
        elif module.end_line - module.line >= MAX_MODULE_LINES:
            dropped["long module"] += 1
        else:
            code = without_lines(lines, module.line, module.end_line, module.doc_line, module.doc_end_line)
            yield _part(
                file,
                code,
                kind="module",
                name=module.name,
                line=module.line,
                instruction=instruction,
                callbacks=module.callbacks,
            )


def instruction_and_doctests(doc: str) -> tuple[str, str]:
    """What a documentation says in words, and the examples in it as they stand; "" where it has none.

    Everything from a heading such as `## Examples` to the next heading that is not one is examples, and so is each
    block with an `iex>` prompt.
    """
    words: list[str] = []
    examples: list[str] = []
    is_example = False
    for block in re.split(r"\n\s*\n", doc.strip("\n")):
        if re.match(r"\s*#+\s", block):
            is_example = bool(_SECTION.match(block.split("\n")[0]))
            if is_example:
                continue
        if _IEX.search(block):
            examples.append(dedent(block.strip("\n").split("\n")))
        elif not is_example:
            words.append(block.strip("\n"))
    instruction = _SPACE_AT_END.sub("", "\n\n".join(words)).strip()
    return (instruction if len(instruction) >= MIN_INSTRUCTION else ""), "\n\n".join(examples)


def without_lines(lines: list[str], first: int, last: int, skip_from: int, skip_to: int) -> str:
    """Lines `first` to `last` without `skip_from` to `skip_to`, all from 1, moved to the left margin; no newline at
    the end of the last."""
    if skip_to and not "".join(lines[skip_to : skip_to + 1]).strip():
        skip_to += 1  # and the blank line behind them
    kept = [line for number, line in enumerate(lines[first - 1 : last], first) if not skip_from <= number <= skip_to]
    return dedent(kept).lstrip("\n")


def dedent(lines: list[str]) -> str:
    """Lines moved to the left by what all of them are indented by: one that is not, as in a text that began at the
    margin, keeps all where they are, so what strings hold changes only as a heredoc's would."""
    indents = [len(line) - len(line.lstrip(" ")) for line in lines if line.strip()]
    margin = min(indents, default=0)
    return "\n".join(line[margin:] for line in lines).rstrip()


def _why_not(function: FunctionFacts, instruction: str) -> str | None:
    num_lines = function.end_line - function.head_line + 1
    if num_lines > MAX_FUNCTION_LINES:
        return "long function"
    if not instruction and num_lines <= _MIN_BODY_LINES and len(function.clauses) == 1:
        return "short function without documentation"
    if function.kind == "defdelegate":
        return "delegate"
    return None


def _part(file: Example, code: str, **fields: Any) -> Example:
    part = Example.of(
        code + "\n",
        path=file.path,
        package=file.package,
        version=file.version,
        licence=file.licence,
        source=file.source,
    )
    return replace(part, parent=file.sha256, **fields)


def add_parser(subparsers: Any) -> None:
    """Add `extract` to the subcommands of `elixir-coder data`."""
    from elixir_coder.data.steps import add_step_arguments

    parser = subparsers.add_parser("extract", help="take files apart into documented functions and modules")
    add_step_arguments(parser)
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """The command `data extract`."""
    from elixir_coder.data.steps import transform

    settings = {"max_function_lines": MAX_FUNCTION_LINES, "max_module_lines": MAX_MODULE_LINES}
    corpus, out = Path(args.corpus), Path(args.out)
    print(transform(corpus, out, Extract, name="extract", settings=settings, workers=args.workers, resume=args.resume))
    return 0
