"""What code says of itself, as fields of each example: `elixir-coder data annotate CORPUS --out DIR`.

From the facts of Elixir's own syntax tree and from the knowledge graph come
specs, guards, patterns: as written; a parameter that is a plain variable is no pattern.
callbacks: the text of each @callback, and the callbacks that the functions implement, as `GenServer.handle_call/3`.
flows: every variable with the places its value comes from, function by function.
triples: what the graph knows of the modules, functions and names in the code, tied to where each stands first.
linearized: the same and what follows from it, as sentences. difficulty: 1 to 5, see `difficulty_of`.

A function alone is read inside a module of its name. What does not parse is passed on as it is.
"""

from __future__ import annotations

import argparse
import functools
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from elixir_coder.errors import InputError
from elixir_coder.example import Example, Flow, Triple
from elixir_coder.ontology.extract import schema_triples, triples
from elixir_coder.ontology.linearize import MAX_CHARS, Index, linearize, statements
from elixir_coder.ontology.vocabulary import OTP, STRUCTURE, function_iri, module_iri, name_iri, shown
from elixir_coder.toolchain.facts import FactsReport, FunctionFacts, ModuleFacts
from elixir_coder.toolchain.toolchain import Toolchain

MAX_TRIPLES = 64
_MAX_OF_ONE = 4  # triples that hang on one place

_PLAIN = re.compile(r"[a-z_]\w*[?!]?")
_DEFAULT = re.compile(r"\s*\\\\.*", re.DOTALL)
_MODULE_OF_NAME = re.compile(r"(?P<module>(?:[A-Z]\w*\.)*[A-Z]\w*)\.[^A-Z]")
_DEFINITION = re.compile(r"^\s*(?:@(?:doc|spec|impl)\b|def(?:p|macro|macrop|guard|guardp|delegate)?\s)", re.MULTILINE)
_ALONE = "Snippet"  # the module around a function that nobody named

# Points of `difficulty_of`.
_LINES, _DEPTH, _CLAUSES = (4, 10, 25, 80, 250), (3, 5, 7), (3, 7)
_TIERS = (2, 4, 6, 9)  # from this many points on it is tier 2, 3, 4, 5
_CONTROL = re.compile(r"\b(?:with|try|receive|reduce_while|reduce)\b")
_BINARY = re.compile(r"<<")
_QUOTING = re.compile(r"\b(?:quote|unquote|unquote_splicing|Macro\.\w+)\b")


@dataclass(frozen=True)
class _Text:
    """A text that was read in the place of `code`. first: the line of it on which `code` begins."""

    code: str
    read: str
    first: int

    def __post_init__(self) -> None:
        starts = [0]
        for line in self.code.split("\n"):
            starts.append(starts[-1] + len(line) + 1)
        object.__setattr__(self, "_starts", starts)

    def offset(self, line: int, column: int) -> int:
        """The character of `code` at a line and column (from 1) of what was read; -1 outside of it."""
        starts: list[int] = self._starts  # type: ignore[attr-defined]
        number = line - self.first
        if not 0 <= number < len(starts) - 1:
            return -1
        return starts[number] + column - 1

    def line(self, line: int) -> str:
        """A line of `code`, by its number in what was read."""
        starts: list[int] = self._starts  # type: ignore[attr-defined]
        number = line - self.first
        return self.code[starts[number] : starts[number + 1]] if 0 <= number < len(starts) - 1 else ""

    def find(self, name: str, line: int) -> tuple[int, int]:
        """Where a name stands first on a line, as characters of `code`; (-1, -1) where it does not."""
        before, behind = (r"(?<![\w?!@])" if name[:1].isidentifier() else ""), (r"(?![\w?!])" if _is_word(name) else "")
        match = re.search(before + re.escape(name) + behind, self.line(line))
        if not match:
            return -1, -1
        return self.offset(line, match.start() + 1), self.offset(line, match.end() + 1)


class Annotate:
    """The step: fills the fields of a batch. max_triples and max_chars: of one example."""

    def __init__(self, *, max_triples: int = MAX_TRIPLES, max_chars: int = MAX_CHARS):
        self.max_triples, self.max_chars = max_triples, max_chars
        self._schema = Index(schema_triples())
        self._toolchain = Toolchain(workers=1)

    def __call__(self, examples: list[Example], dropped: Counter[str]) -> list[Example]:
        texts = [_text_of(example) for example in examples]
        reports = self._toolchain.map("facts", [text.read for text in texts])
        return [
            self.annotated(example, text, report)
            for example, text, report in zip(examples, texts, reports, strict=True)
        ]

    def close(self) -> None:
        self._toolchain.close()

    def annotated(self, example: Example, text: _Text, report: FactsReport) -> Example:
        """The example with its fields filled; as it is where there are no facts."""
        if not report.modules:
            return replace(example, difficulty=example.difficulty or (1 if report.ok else 0))
        known = Index(
            triples(report, package=example.package, version=example.version, path=example.path), behind=self._schema
        )
        iris = _Names(example.package, example.version)
        functions = [(module, function) for module in report.modules for function in module.functions]
        if text.read is text.code:
            subjects = [iris.module(module) for module in report.modules]
        else:
            subjects = [iris.function(*each) for each in functions]
        return replace(
            example,
            specs=_unique(spec for _, function in functions for spec in function.specs),
            guards=_unique(clause.guard for _, function in functions for clause in function.clauses if clause.guard),
            patterns=_unique(_patterns(functions)),
            callbacks=_unique(
                [
                    *(text for module in report.modules for text in module.callbacks),
                    *(
                        shown(callback)
                        for each in functions
                        for callback in known.objects(iris.function(*each), STRUCTURE.implementsCallback)
                    ),
                ]
            ),
            flows=_flows([function for _, function in functions], text),
            triples=tuple(self._triples(known, iris, report, text)),
            linearized=linearize(known, subjects, budget=self.max_chars),
            difficulty=example.difficulty or difficulty_of(report, text.read, known, iris),
        )

    def _triples(self, known: Index, iris: _Names, report: FactsReport, text: _Text) -> Iterator[Triple]:
        number = 0
        for subject, (start, end) in _places(iris, report, text).items():
            if start < 0 or number >= self.max_triples:
                continue
            for statement in statements(known, subject)[: min(_MAX_OF_ONE, self.max_triples - number)]:
                number += 1
                yield Triple(
                    subject=shown(subject), predicate=statement.predicate, object=statement.object, start=start, end=end
                )


@dataclass(frozen=True)
class _Names:
    """The IRIs of what one version of a package defines."""

    package: str
    version: str

    def module(self, module: ModuleFacts) -> str:
        return module_iri(self.package, self.version, module.name)

    def function(self, module: ModuleFacts, function: FunctionFacts) -> str:
        return function_iri(self.package, self.version, module.name, function.name, function.arity)


def difficulty_of(report: FactsReport, code: str, known: Index, iris: _Names) -> int:
    """How much there is to get right in a text, from 1 (plain) to 5.

    Points: one for 4, 10, 25, 80 and 250 lines of clauses each; one for code that is indented 3, 5 and 7 steps below
    its head; one for 3 and 7 clauses of one function; and one for each of: guards, recursion, binaries, `with`, `try`,
    `receive` or `reduce`, protocols or behaviours, macros, processes. The tiers begin at 2, 4, 6 and 9 points.
    """
    functions = [(module, function) for module in report.modules for function in module.functions]
    lines = code.split("\n")
    bodies = [
        [
            line
            for line in lines[clause.line - 1 : clause.end_line]
            if line.strip() and not line.lstrip().startswith("#")
        ]
        for _, function in functions
        for clause in function.clauses
    ]
    body = "\n".join(line for clause in bodies for line in clause)
    depth = max((_indent(line) - _indent(clause[0]) for clause in bodies if clause for line in clause), default=0) // 2
    marks = [
        any(clause.guard for _, function in functions for clause in function.clauses),
        any(_is_recursive(module, function) for module, function in functions),
        bool(_BINARY.search(body)),
        bool(_CONTROL.search(body)),
        any(module.kind != "module" or module.behaviours or module.callbacks for module in report.modules),
        any("macro" in function.kind for _, function in functions) or bool(_QUOTING.search(body)),
        any(known.objects(iris.function(*each), OTP.performs) for each in functions)
        or any(known.objects(iris.module(module), OTP.playsRole) for module in report.modules),
    ]
    points = (
        bisect_right(_LINES, sum(map(len, bodies)))
        + bisect_right(_DEPTH, depth)
        + bisect_right(_CLAUSES, max((len(function.clauses) for _, function in functions), default=0))
        + sum(marks)
    )
    return 1 + bisect_right(_TIERS, points)


def _text_of(example: Example) -> _Text:
    """A function alone stands in no module, so it is given one."""
    code = example.code
    if example.kind == "function" or ("defmodule" not in code and _DEFINITION.search(code)):
        named = _MODULE_OF_NAME.match(example.name)
        return _Text(code, f"defmodule {named['module'] if named else _ALONE} do\n{code}\nend\n", 2)
    return _Text(code, code, 1)


def _patterns(functions: Iterable[tuple[ModuleFacts, FunctionFacts]]) -> Iterator[str]:
    for _, function in functions:
        for clause in function.clauses:
            for parameter in clause.params:
                pattern = _DEFAULT.sub("", parameter)
                if not _PLAIN.fullmatch(pattern):
                    yield pattern


def _flows(functions: Iterable[FunctionFacts], text: _Text) -> tuple[Flow, ...]:
    """Elixir miscounts the columns of interpolations in heredocs: a variable that is not where it should be is left
    out."""
    flows: list[Flow] = []
    for function in functions:
        places: dict[int, int] = {}  # of a variable in the function -> in the example
        found: list[tuple[int, int]] = []
        for number, variable in enumerate(function.variables):
            start = text.offset(variable.line, variable.column)
            if start >= 0 and text.code.startswith(variable.name, start):
                places[number] = len(flows) + len(found)
                found.append((start, number))
        for start, number in found:
            variable = function.variables[number]
            sources = tuple(places[source] for source in variable.sources if source in places)
            flows.append(Flow(name=variable.name, start=start, end=start + len(variable.name), sources=sources))
    return tuple(flows)


def _places(iris: _Names, report: FactsReport, text: _Text) -> dict[str, tuple[int, int]]:
    """Where each thing that the graph may know stands first: modules, functions, what is used, what is called."""
    places: dict[str, tuple[int, int]] = {}
    for module in report.modules:
        places.setdefault(iris.module(module), _place_of_module(module, text))
    defined: dict[tuple[str, str, int], str] = {}
    for module in report.modules:
        for function in module.functions:
            subject = iris.function(module, function)
            places.setdefault(subject, text.find(function.name, function.head_line))
            for arity in range(function.arity - function.num_defaults, function.arity + 1):
                defined[module.name, function.name, arity] = subject
    for module in report.modules:
        for name in dict.fromkeys((*module.behaviours, *module.uses)):
            for line in range(module.line, module.end_line + 1):
                if re.match(r"\s*(?:use|@behaviour)\b", text.line(line)) and text.find(name, line)[0] >= 0:
                    places.setdefault(name_iri(name), text.find(name, line))
                    break
    for module in report.modules:
        for function in module.functions:
            for call in function.calls:
                if (call.module or module.name, call.name, call.arity) not in defined:
                    subject = name_iri(call.module or "Kernel", call.name, call.arity)
                    if subject not in places:
                        places[subject] = text.find(call.name, call.line)
    return places


def _place_of_module(module: ModuleFacts, text: _Text) -> tuple[int, int]:
    """A nested module is written without its parents' names."""
    parts = module.name.split(".")
    for first in range(len(parts)):
        place = text.find(".".join(parts[first:]), module.line)
        if place[0] >= 0:
            return place
    return -1, -1


def _is_recursive(module: ModuleFacts, function: FunctionFacts) -> bool:
    arities = range(function.arity - function.num_defaults, function.arity + 1)
    return any(
        call.name == function.name and call.arity in arities and call.module in ("", module.name)
        for call in function.calls
    )


def _indent(line: str) -> int:
    return len(line) - len(line.lstrip())


def _is_word(name: str) -> bool:
    return name[-1:].isalnum() or name[-1:] == "_"


def _unique(texts: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(texts))


def add_parser(subparsers: Any) -> None:
    """Add `annotate` to the subcommands of `elixir-coder data`."""
    from elixir_coder.data.steps import add_step_arguments

    parser = subparsers.add_parser(
        "annotate", help="add data flow, patterns, difficulty and what the knowledge graph says to each example"
    )
    add_step_arguments(parser)
    parser.add_argument(
        "--max_triples", type=int, default=MAX_TRIPLES, metavar="N", help=f"of one example (default: {MAX_TRIPLES})"
    )
    parser.add_argument(
        "--max_chars", type=int, default=MAX_CHARS, metavar="N", help=f"of one linearized text (default: {MAX_CHARS})"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """The command `data annotate`."""
    from elixir_coder.data.steps import transform

    for name in ("max_triples", "max_chars"):
        if getattr(args, name) < 0:
            raise InputError(f"--{name} must be 0 or more, got {getattr(args, name)}")
    settings = {"max_triples": args.max_triples, "max_chars": args.max_chars}
    report = transform(
        args.corpus,
        args.out,
        functools.partial(Annotate, **settings),
        name="annotate",
        settings=settings,
        workers=args.workers,
        resume=args.resume,
    )
    print(report)
    print(f"difficulty: {_tiers(args.out, list(report.splits))}")
    return 0


def _tiers(corpus: Path, splits: Sequence[str]) -> str:
    from elixir_coder.data.shards import read_shards

    tiers = Counter(example.difficulty for split in splits for example in read_shards(corpus, split))
    return ", ".join(f"{tier or 'not judged'}: {tiers[tier]:,}" for tier in sorted(tiers))
