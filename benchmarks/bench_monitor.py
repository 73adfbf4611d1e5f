"""How many calls to functions that do not exist does the name monitor prevent, what does it refuse wrongly and cost?

    python benchmarks/bench_monitor.py [--outputs 100] [--tokens 80] [--text FOLDER] [--files 200] [--model FOLDER]

written   Random writers (what follows what in Elixir, from the files of --text or of our own suite) and the model go on
          from beginnings that end in a dereference, under the grammar alone and under grammar and monitor, to a forced
          end. Elixir's parser gives the calls of other modules' functions, a running Elixir says which of these exist:
          calls to functions that do not, per 1,000 calls of modules it knows. Undefined functions are also counted as
          the compiler reports them, over the texts that it gets that far with.
real      Every file of --text is fed to the monitor, token by token: remote calls, and which of them it would refuse.
          To refuse what the installed Elixir does not offer is right: such a text was written for another version.
cost      Microseconds of one token, looked at and written, along the same files; of a full mask where names matter.

The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import re
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from decoding_elixir_coder import ElixirGrammar, GrammarError
from elixir_coder.checkpoint import load_tokenizer
from elixir_coder.errors import exit_on_error
from elixir_coder.evaluation.problems import OWN_SUITE, read_problems
from elixir_coder.generation.generator import DEFAULT_MODEL
from elixir_coder.generation.monitor import NameMonitor
from elixir_coder.toolchain.finding import Outcome
from elixir_coder.toolchain.sandbox import find_elixir
from elixir_coder.toolchain.terms import Atom
from elixir_coder.toolchain.toolchain import Toolchain

BEGINNINGS = (
    "x = Enum.", "x |> String.", "Enum.map(list, &String.", "%Date{", "IO.puts(String.", "if Date.", "Logger.",
    "Map.new(x, fn y -> Map.", "def f(x), do: Keyword.", "for x <- Enum.", "x |> Enum.map(& &1) |> Enum.", "[Enum.",
    ":lists.", "case Map.", "Enum.reduce(list, 0, fn x, y -> ", "%URI{uri | ", "Process.", "alias Enum, as: E\nE.",
    "Application.", "DateTime.",
)  # fmt: skip
BUDGET = 200  # tokens of a forced end
FEW = 30  # draws before a full mask

_TYPES = ("type", "typep", "opaque", "spec", "callback", "macrocallback")
_ASK = """
for line <- IO.stream() do
  [module, name, arity] = line |> String.trim_trailing() |> String.split(" ")
  module = String.to_atom(module)
  name = String.to_atom(name)
  arity = String.to_integer(arity)
  known = Code.ensure_loaded?(module)
  exists = known and (function_exported?(module, name, arity) or macro_exported?(module, name, arity))
  IO.puts(if exists, do: "exists", else: if(known, do: "missing", else: "unknown"))
end
"""

Called = tuple[str, str, int]  # the module as an atom, the function, how many arguments


@dataclass
class Row:
    """What one writer came to in one way."""

    texts: list[str] = field(default_factory=list)
    unended: list[str] = field(default_factory=list)
    calls: Counter[Called] = field(default_factory=Counter)
    compiled: int = 0
    undefined: list[str] = field(default_factory=list)  # what the compiler says of undefined functions of known modules


# ------------------------------------------------------------------------------------------------------ what is called


def remote_calls(tree: Any) -> Iterator[Called]:
    """Calls and captures of other modules' functions in a syntax tree, as far as the tree alone tells their modules.

    Aliases count for the whole text, so a short name that stands for two modules, or for one of the text, is left out.
    """
    aliases: dict[str, set[str]] = {}
    for node in _nodes(tree):
        match node:
            case (Atom("alias" | "require" as kind), _, [target, *options]):
                for full, short in _aliases(kind, target, options):
                    aliases.setdefault(short, set()).add(full)
            case (Atom("defmodule" | "defprotocol" | "defimpl"), _, [(Atom("__aliases__"), _, parts), *_]):
                aliases.setdefault(str(parts[-1]), set()).update(("", str(parts[0])))
                aliases.setdefault(str(parts[0]), set()).update(("", str(parts[0])))
    yield from _calls(tree, aliases, 0)


def _nodes(tree: Any) -> Iterator[Any]:
    yield tree
    if isinstance(tree, (list, tuple)):
        for child in tree:
            yield from _nodes(child)


def _aliases(kind: str, target: Any, options: Sequence[Any]) -> Iterator[tuple[str, str]]:
    named = [value for key, value in (options[0] if options and isinstance(options[0], list) else []) if key == "as"]
    match target:
        case (Atom("__aliases__"), _, parts):
            short = named[0][2][-1] if named and isinstance(named[0], tuple) else parts[-1]
            if named or kind == "alias":
                yield ".".join(map(str, parts)), str(short)
        case ((Atom("."), _, [(Atom("__aliases__"), _, prefix), Atom("{}")]), _, parts):
            for part in parts:
                if isinstance(part, tuple) and part[0] == "__aliases__":
                    yield ".".join(map(str, [*prefix, *part[2]])), str(part[2][-1])


def _calls(tree: Any, aliases: dict[str, set[str]], piped: int) -> Iterator[Called]:
    match tree:
        case (Atom("@"), _, [(Atom(name), _, [_, *_])]) if name in _TYPES:
            return
        case (Atom("|>"), _, [left, right]):
            yield from _calls(left, aliases, 0)
            yield from _calls(right, aliases, 1)
        case (Atom("&"), _, [(Atom("/"), _, [((Atom("."), _, [target, name]), _, []), int(arity)])]):
            yield from _named(target, name, arity, aliases)
        case ((Atom("."), _, [target, str(name)]), _, list(arguments)):
            yield from _named(target, name, len(arguments) + piped, aliases)
            yield from _calls(target, aliases, 0)
            for argument in arguments:
                yield from _calls(argument, aliases, 0)
        case list() | tuple():
            for child in tree:
                yield from _calls(child, aliases, 0)


def _named(target: Any, name: Any, arity: int, aliases: dict[str, set[str]]) -> Iterator[Called]:
    if name in ("{}", "unquote") or not re.fullmatch(r"\S+", str(name)):
        return
    match target:
        case (Atom("__aliases__"), _, [Atom(first), *rest]):
            full = aliases.get(first, {first})
            if len(full) == 1:
                parts = [part for part in (next(iter(full)), *map(str, rest)) if part != "Elixir"]
                yield "Elixir." + ".".join(parts), str(name), arity
        case Atom():
            yield str(target), str(name), arity


def verdicts(calls: Iterable[Called]) -> dict[Called, str]:
    """ "exists", "missing" or "unknown" of each, as a running Elixir says."""
    asked = sorted(set(calls))
    program = str(find_elixir().elixir_root / "bin" / "elixir")
    lines = "".join(f"{module} {name} {arity}\n" for module, name, arity in asked)
    done = subprocess.run([program, "-e", _ASK], input=lines, capture_output=True, text=True, check=True)
    return dict(zip(asked, done.stdout.split(), strict=True))


# ------------------------------------------------------------------------------------------------------------- writing


def bigrams(encoded: Iterable[list[int]], size: int) -> dict[int | None, tuple[np.ndarray, np.ndarray]]:
    """For each token what follows it, and how often; under None all tokens."""
    following: dict[int | None, Counter[int]] = {None: Counter()}
    for ids in encoded:
        following[None].update(ids)
        for last, index in itertools.pairwise(ids):
            following.setdefault(last, Counter())[index] += 1
    return {
        last: (np.array(list(counts), dtype=int), np.log(np.array(list(counts.values()), dtype=float)))
        for last, counts in following.items()
    }


class Random:
    """A writer that knows what follows what, and a little of everything."""

    def __init__(self, encoded: Iterable[list[int]], size: int, seed: int):
        self._following = bigrams(encoded, size)
        ids, logs = self._following[None]
        self._alone = np.full(size, -8.0)
        self._alone[ids] = logs - logs.max()
        self._random = np.random.default_rng(seed)

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        logits = self._alone.copy()
        if ids and ids[-1] in self._following:
            following, logs = self._following[ids[-1]]
            logits[following] = np.maximum(logits[following], logs + 3)
        return logits + self._random.gumbel(size=len(logits))


class Model:
    """The checkpoint's decoder as a writer at temperature 1."""

    def __init__(self, folder: Path, seed: int):
        from elixir_coder.generation.generator import Generator

        self._generator = Generator(folder)
        self._random = np.random.default_rng(seed)
        self._beginning = ""

    def begin(self, beginning: str) -> None:
        self._beginning = beginning

    def logits(self, ids: Sequence[int]) -> np.ndarray:
        import torch

        source, begun, _ = self._generator.inputs(self._beginning)
        model = self._generator.model
        with torch.inference_mode():
            output = model(
                input_ids=torch.tensor([source]), decoder_input_ids=torch.tensor([[*begun, *ids]]), use_cache=False
            )
        logits = output.logits[0, -1].double().numpy()
        return logits + self._random.gumbel(size=len(logits))


def write(writer: Any, grammar: ElixirGrammar, monitor: NameMonitor | None, beginning: str, num_tokens: int) -> str:
    """A whole text. Raises GrammarError where nothing may follow, or no end is found."""
    pieces = grammar.vocabulary.pieces
    matcher = grammar.matcher(beginning)
    state = monitor.state(beginning.encode()) if monitor else None
    if hasattr(writer, "begin"):
        writer.begin(beginning)
    ids: list[int] = []
    for _ in range(num_tokens):
        logits = writer.logits(ids)[: len(pieces)]
        index = next(
            (
                int(each)
                for each in np.argsort(-logits)[:FEW]
                if pieces[each] and matcher.allows(int(each)) and (state is None or state.allows(pieces[each]))
            ),
            None,
        )
        if index is None:
            allowed = matcher.mask()
            named = state.mask(allowed) if state else None
            allowed = (allowed if named is None else allowed & named) & np.array([bool(piece) for piece in pieces])
            if not allowed.any():
                raise GrammarError(f"nothing may follow {(beginning.encode() + matcher.text)[-300:]!r}")
            index = int(np.where(allowed, logits, -np.inf).argmax())
        matcher.consume(index)
        ids.append(index)
        state = state.after(pieces[index]) if state else None

    def check(closing: bytes) -> tuple[int, bool]:
        if state is not None and not (state.allows(closing) and state.after(closing).may_end()):
            return (len(closing) if state.allows(closing) else 0), False
        return matcher.check(closing)

    found = matcher.find_closing(matcher.check, BUDGET)
    if state is not None:
        mended = state.mend(b"".join(pieces[each] for each in found)) if found is not None else None
        if mended is not None and check(mended)[1]:
            return (beginning.encode() + matcher.text + mended).decode()
        found = matcher.find_closing(check, BUDGET, state.completions())
    if found is None:
        text = beginning.encode() + matcher.text
        raise GrammarError(f"no end found for {text[-60:]!r}", text)
    return (beginning.encode() + matcher.text + b"".join(pieces[each] for each in found)).decode()


def fill(row: Row, writer: Any, grammar: ElixirGrammar, monitor: NameMonitor | None, args: argparse.Namespace) -> None:
    for _, beginning in zip(range(args.outputs), itertools.cycle(BEGINNINGS)):
        try:
            row.texts.append(write(writer, grammar, monitor, beginning, args.tokens))
        except GrammarError as error:
            row.unended.append(str(error))


def judge(row: Row, toolchain: Toolchain) -> None:
    for report in toolchain.map("ast", row.texts):
        if report.ok:
            row.calls.update(remote_calls(report.ast))
    for report in toolchain.map("compile", row.texts):
        row.compiled += report.outcome in (Outcome.OK, Outcome.WARNING, Outcome.UNDEFINED_FUNCTION)
        row.undefined += [
            finding.message.splitlines()[0]
            for finding in report.findings
            if re.search(r"\b[A-Z:][\w.]*\.[^ ]+\/\d+ is undefined or private", finding.message)
        ]


def figures(row: Row, exists: dict[Called, str]) -> dict[str, Any]:
    known = {call: number for call, number in row.calls.items() if exists[call] != "unknown"}
    missing = {call: number for call, number in known.items() if exists[call] == "missing"}
    num_calls, num_missing = sum(known.values()), sum(missing.values())
    return {
        "texts": len(row.texts),
        "unended": len(row.unended),
        "calls": row.calls.total(),
        "calls_of_known_modules": num_calls,
        "missing": num_missing,
        "missing_per_1000": 1000 * num_missing / num_calls if num_calls else None,
        "compiled": row.compiled,
        "undefined_by_compiler": len(row.undefined),
        "examples": [f"{module}.{name}/{arity}" for module, name, arity in itertools.islice(missing, 8)],
    }


# ----------------------------------------------------------------------------------------------------------- real code


def along_real(monitor: NameMonitor, encoded: Iterable[list[int]]) -> dict[str, Any]:
    """What the monitor refuses in code that somebody wrote, and what it costs per token."""
    pieces = monitor.vocabulary.pieces
    refused: Counter[str] = Counter()
    looks: list[float] = []
    steps: list[float] = []
    num_calls = 0
    for ids in encoded:
        state = monitor.state(b"")
        text = b"".join(pieces[index] for index in ids)
        num_calls += len(re.findall(rb"\b(?:[A-Z]\w*|:[a-z]\w*)\.[a-z_]\w*", text))
        for index in ids:
            started = time.perf_counter()
            allowed = state.allows(pieces[index])
            looked = time.perf_counter()
            following = state.after(pieces[index])
            steps.append((time.perf_counter() - looked) * 1e6)
            looks.append((looked - started) * 1e6)
            state = following
            if not allowed:
                refused[following.reading.refusal] += 1
    return {
        "tokens": len(steps),
        "calls": num_calls,
        "refused": refused.total(),
        "refused_most": refused.most_common(40),
        "look_us": _spread(looks),
        "write_us": _spread(steps),
    }


def masks(monitor: NameMonitor, beginnings: Iterable[str]) -> list[float]:
    """Milliseconds of full masks where names are at stake, each for the first time."""
    monitor.state(b"x = Enum.").mask()  # what is worked out once for a vocabulary
    spent = []
    for beginning in beginnings:
        for text in (beginning, f"{beginning}at", f"String.upcase({beginning}"):
            state = monitor.state(text.encode())
            started = time.perf_counter()
            state.mask()
            spent.append((time.perf_counter() - started) * 1e3)
    return spent


def _spread(values: Sequence[float]) -> dict[str, float]:
    at = statistics.quantiles(values, n=100) if len(values) > 1 else [0.0] * 99
    return {"p50": at[49], "p95": at[94], "mean": statistics.fmean(values) if values else 0.0}


def texts_of(args: argparse.Namespace) -> list[str]:
    if args.text is None:
        return [problem.reference for problem in read_problems(OWN_SUITE) if problem.reference]
    paths = sorted(path for suffix in ("ex", "exs") for path in args.text.rglob(f"*.{suffix}"))
    chosen = np.random.default_rng(args.seed).permutation(len(paths))[: args.files]
    return [paths[index].read_text("utf-8", errors="replace") for index in chosen]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--outputs", type=int, default=100, help="texts of each writer, each way (default: 100)")
    parser.add_argument("--tokens", type=int, default=80, help="tokens before the forced end (default: 80)")
    parser.add_argument("--text", type=Path, help="folder of Elixir (default: our own suite)")
    parser.add_argument("--files", type=int, default=200, help="files of --text (default: 200)")
    parser.add_argument("--model", type=Path, default=DEFAULT_MODEL, help="folder (default: the shipped one)")
    parser.add_argument("--writers", nargs="*", default=["random", "model"], choices=["random", "model"])
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    tokenizer = load_tokenizer(args.model)
    encoded = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts_of(args)]
    monitor = NameMonitor.of(tokenizer)
    grammar = ElixirGrammar(tokenizer)
    size = len(grammar.vocabulary.pieces)
    rows: dict[str, Row] = {}
    for name in args.writers:
        for way, judge_of_names in (("grammar", None), ("grammar and monitor", monitor)):
            writer = Random(encoded, size, args.seed) if name == "random" else Model(args.model, args.seed)
            row = rows[f"{name}, {way}"] = Row()
            fill(row, writer, grammar, judge_of_names, args)
    with Toolchain() as toolchain:
        for row in rows.values():
            judge(row, toolchain)
    exists = verdicts(call for row in rows.values() for call in row.calls)
    results: dict[str, Any] = {name: figures(row, exists) for name, row in rows.items()}
    for name, row in rows.items():
        print(name, json.dumps(results[name]))
        for why in (*row.unended[:5], *row.undefined[:5]):
            print("   ", why)
    results["real"] = along_real(monitor, encoded)
    print("real", json.dumps(results["real"]))
    results["mask_ms"] = _spread(masks(monitor, BEGINNINGS))
    print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(exit_on_error(main))
