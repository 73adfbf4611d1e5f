"""Does all that a random model writes under the grammar parse, and can it be ended, fast, wherever it stopped?

    python benchmarks/bench_random_writer.py [--outputs 50] [--models bigrams keywords ...]
        [--starts file function ...] [--text FOLDER] [--mode strict] [--tokens 100] [--budget 200] [--shrink]

Random models draw from the tokens that the grammar allows and from nothing else; after --tokens of them the matcher is
asked to end the text within --budget more, and Elixir's parser judges the whole, before any last check of ours.

    bigrams     what follows what in Elixir, with a little of every token: plausible, and wrong in every way
    keywords    operators, delimiters, keywords, quotes, newlines and hard spellings, hardly anything else
    symbols     code and hardly a text: brackets, operators, blanks, short words and names, so that every pair meets
    lengths     every token, the shorter the likelier
    bytes       only the tokens of one byte: whatever can be spelt is spelt

Each output has its own temperature, from 0.6 to 2. The bigrams are those of the files of --text, or of our own Elixir.
Where a text is refused, --shrink takes characters from it while the grammar accepts it and the parser does not.
Milliseconds and tokens are those of the forced end, p50 and p95. The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from decoding_elixir_coder import ElixirGrammar, ElixirMatcher, GrammarError, accepts
from elixir_coder.checkpoint import load_tokenizer
from elixir_coder.errors import DataError, exit_on_error
from elixir_coder.evaluation.problems import read_problems
from elixir_coder.toolchain.toolchain import Toolchain
from grammar_elixir_coder import MODES, STARTS, frame

ROOT = Path(__file__).parents[1]
MAX_FILES = 500  # of --text: a million tokens, after which new pairs are rare
MODELS = ("bigrams", "keywords", "symbols", "lengths", "bytes")
MAX_SHRUNK = 3  # of each message
TEMPERATURES = (0.6, 1.0, 1.0, 1.4, 2.0)
DRAWS = 20  # of tokens to ask for before the mask of all is made

# What the keyword model prefers: words of the tokenizer and parser, and the spellings that they treat in a special way.
_PREFERRED = (
    "( ) [ ] { } < > , ; : . & | @ ^ ! + - * / % = ~ ? # \" ' \\ do end fn -> => :: .. // ..// << >> when and or not "
    "in after else rescue catch nil true false &1 %{ #{ ~s ~r ~w ~S \"\"\" ''' ~s( ~r/ ~w[ ?a a: do: \\\\ x A 0 1 0x1f "
    '1_0 :" ... <> |> <- !== === =~ ^^^ ~~~ &&& ||| +++ --- ** <|> \\x \\u \\u{ !~ % {} unquote_splicing __aliases__ '
    "__block__ __MODULE__ @spec defp quote é"
).split()
_PREFERRED += [
    "\n",
    "\n\n",
    " ",
    "  ",
    "\t",
    "\r",
    *(f" {word}" for word in ("do", "end", "fn", "->", "when", "and", "in")),
]
_PREFERRED += [
    " not",
    " -1",
    " -",
    " (",
    " [",
    " &",
    " @",
    "\n|>",
    "\n.",
    "\nend",
    "\nx",
    '"""\n',
    '~s"""\n',
    '\n"""',
    ": ",
]

# What the symbol model writes, with weights: much blank, few quotes, since a text once opened swallows the rest.
_SYMBOLS = {" ": 9, "\n": 4, "\t": 0.2, '"': 0.08, "'": 0.05, "#": 0.02, "~": 0.15}
_SYMBOLS |= dict.fromkeys("()[]{},.:;=+-*/<>|&!@^%\\?", 2) | dict.fromkeys("abxyfAB01", 2)
_SYMBOLS |= dict.fromkeys(
    "do end fn not and or in when else after nil true -> => :: .. // ..// << >> {} %{ () []".split(), 3
)
_SYMBOLS |= dict.fromkeys(["&1", "!=", "<>", "++", "--", "|>", "<-", "...", "do:", ": ", " do", " end", "A.", "/1"], 3)

Weights = Callable[[int | None], np.ndarray]  # from the last token to (vocabulary,) weights of the next one


@dataclass
class Row:
    """What one model came to from one entry point."""

    written: int = 0
    ended: int = 0
    parsed: int = 0
    refused: list[tuple[str, str]] = field(default_factory=list)  # (text, what Elixir says)
    unended: list[tuple[str, str]] = field(default_factory=list)  # (text, why)
    end_ms: list[float] = field(default_factory=list)
    end_tokens: list[int] = field(default_factory=list)

    def figures(self) -> dict[str, Any]:
        return {
            "written": self.written,
            "ended": self.ended,
            "parsed": self.parsed,
            "parsed_share": self.parsed / self.ended if self.ended else None,
            "end_ms_p50": quantile(self.end_ms, 50),
            "end_ms_p95": quantile(self.end_ms, 95),
            "end_tokens_p50": quantile(self.end_tokens, 50),
            "end_tokens_p95": quantile(self.end_tokens, 95),
        }


def quantile(values: Sequence[float], percent: int) -> float | None:
    if len(values) < 2:
        return values[0] if values else None
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]


# ------------------------------------------------------------------------------------------------------ random models


def models(pieces: Sequence[bytes], encode: Callable[[str], list[int]], texts: Sequence[str]) -> dict[str, Weights]:
    """The random models by their names. pieces: the bytes of every token, empty for one that writes nothing."""
    lengths = np.array([len(piece) for piece in pieces], dtype=float)
    keywords = np.full(len(pieces), 1e-7)
    for word in _PREFERRED:
        ids = encode(word)
        keywords[ids] += 1 / len(ids)
    symbols = np.array([_SYMBOLS.get(piece.decode("latin-1"), 0) for piece in pieces])
    by_length = np.where(lengths > 0, np.exp(-lengths / 2), 0)
    single = (lengths == 1).astype(float)
    return {
        "bigrams": bigrams([encode(text) for text in texts], len(pieces)),
        "keywords": lambda _last: keywords,
        "symbols": lambda _last: symbols,
        "lengths": lambda _last: by_length,
        "bytes": lambda _last: single,
    }


def bigrams(encoded: Sequence[list[int]], size: int) -> Weights:
    following: dict[int, Counter[int]] = {}
    alone = np.zeros(size)
    for ids in encoded:
        for last, following_id in itertools.pairwise(ids):
            following.setdefault(last, Counter())[following_id] += 1
            alone[following_id] += 1
    smooth = 0.1 * alone / max(alone.sum(), 1) + 0.01 / size

    def weights(last: int | None) -> np.ndarray:
        counts = following.get(last) if last is not None else None
        if not counts:
            return smooth
        weighed = smooth.copy()
        weighed[list(counts)] += 0.89 * np.array(list(counts.values())) / counts.total()
        return weighed

    return weights


def draw(matcher: ElixirMatcher, weights: np.ndarray, random: np.random.Generator) -> int | None:
    """A token drawn from those that the grammar allows: drawn and asked for first, as a mask costs more."""
    sums = np.cumsum(weights)
    refused = set()
    for _ in range(DRAWS):
        index = int(np.searchsorted(sums, random.random() * sums[-1], side="right"))
        if index not in refused and matcher.allows(index):
            return index
        refused.add(index)
    sums = np.cumsum(np.where(matcher.mask(), weights, 0))
    if sums[-1] <= 0:
        return None
    return int(np.searchsorted(sums, random.random() * sums[-1], side="right"))


def write(matcher: ElixirMatcher, model: Weights, num_tokens: int, random: np.random.Generator) -> list[int]:
    """Let the model write: fewer tokens only where the grammar leaves none, which `close` will show."""
    temperature = random.choice(TEMPERATURES)
    silent = np.array([not piece for piece in matcher.vocabulary.pieces])
    ids: list[int] = []
    while len(ids) < num_tokens:
        weights = np.where(silent, 0, model(ids[-1] if ids else None))
        index = draw(matcher, weights if temperature == 1 else weights ** (1 / temperature), random)
        if index is None or not matcher.consume(index):
            break
        ids.append(index)
    return ids


# ---------------------------------------------------------------------------------------------------------- measuring


def measure(grammar: ElixirGrammar, model: Weights, args: argparse.Namespace, toolchain: Toolchain, seed: int) -> Row:
    random, row = np.random.default_rng(seed), Row()
    texts: list[str] = []
    for _ in range(args.outputs):
        matcher = grammar.matcher()
        write(matcher, model, args.tokens, random)
        row.written += 1
        started = time.perf_counter()
        try:
            closing = matcher.close(args.budget)
        except GrammarError as error:
            row.unended.append((matcher.text.decode(errors="replace"), str(error)))
            continue
        row.end_ms.append((time.perf_counter() - started) * 1e3)
        row.end_tokens.append(len(closing))
        text = matcher.text + b"".join(grammar.vocabulary.pieces[index] for index in closing)
        row.ended += 1
        texts.append(text.decode(errors="replace"))  # what cannot be decoded is a fault, and the parser sees it
    for text, complaint in zip(texts, complaints(toolchain, texts, grammar.start)):
        if complaint:
            row.refused.append((text, complaint))
    row.parsed = row.ended - len(row.refused)
    return row


def complaints(toolchain: Toolchain, texts: Sequence[str], start: str) -> Iterator[str | None]:
    """What Elixir's parser says of each text, as a text of this entry point; None where it parses."""
    before, after = frame(start)
    for report in toolchain.map("parse", (before + text + after for text in texts)):
        yield None if report.ok else (report.findings[0].message if report.findings else str(report.outcome))


def shrink(text: str, is_wrong: Callable[[str], bool]) -> str:
    """A text as short as it gets by taking runs of characters away while it stays wrong."""
    size = len(text) // 2
    while size:
        at, before = 0, text
        while at < len(text):
            shorter = text[:at] + text[at + size :]
            if is_wrong(shorter):
                text = shorter
            else:
                at += max(1, size // 2)
        if size > 1 or text == before:
            size //= 2
    return text


def shrunk(row: Row, mode: str, start: str, toolchain: Toolchain) -> dict[str, list[str]]:
    """Short texts that the grammar accepts and the parser refuses, by what it says; as far as they are wanted."""
    found: dict[str, list[str]] = {}

    def is_wrong(text: str) -> bool:
        return accepts(text, mode, start) and next(complaints(toolchain, [text], start)) is not None

    for text, complaint in sorted(row.refused, key=lambda each: len(each[0])):
        examples = found.setdefault(complaint.splitlines()[0], [])
        if len(examples) < MAX_SHRUNK:
            examples.append(shrink(text, is_wrong))
    return found


def main() -> int:
    args = parse_args()
    tokenizer = load_tokenizer(args.tokenizer)
    rows: dict[str, dict[str, Any]] = {}
    with Toolchain(sandbox=not args.unsafe_no_sandbox) as toolchain:
        print(f"{'start':12} {'model':9} {'written':>7} {'ended':>7} {'parse':>7} {'share':>8}   end: ms; tokens")
        for start in args.starts:
            grammar = ElixirGrammar(tokenizer, args.mode, start)
            drawn = models(grammar.vocabulary.pieces, encoder(tokenizer), read_texts(args.text))
            for name in args.models:
                row = measure(grammar, drawn[name], args, toolchain, args.seed)
                rows[f"{start} {name}"] = row.figures()
                show(start, name, row)
                if args.shrink:
                    show_examples(row, shrunk(row, args.mode, start, toolchain))
    together = {name: sum(row[name] for row in rows.values()) for name in ("written", "ended", "parsed")}
    print(
        json.dumps({"benchmark": "random_writer", "mode": args.mode, "tokens": args.tokens, **together, "rows": rows})
    )
    return 0


def encoder(tokenizer: Any) -> Callable[[str], list[int]]:
    return lambda text: tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]


def read_texts(folder: Path | None) -> list[str]:
    """Elixir to count bigrams in: the files of a folder, or what the repository has."""
    if folder is None:
        problems = read_problems()
        own = sorted((ROOT / "elixir_coder").rglob("*.ex"))
        return [part for each in problems for part in (each.reference, each.tests) if part] + [
            p.read_text() for p in own
        ]
    paths = sorted(path for path in folder.rglob("*.ex*") if path.suffix in (".ex", ".exs") and path.is_file())
    if not paths:
        raise DataError(f"{folder} has no .ex or .exs files; give --text a folder that has")
    return [path.read_text("utf-8", errors="ignore") for path in paths[:: -(-len(paths) // MAX_FILES)]]


def show(start: str, name: str, row: Row) -> None:
    figures = row.figures()
    share = "" if figures["parsed_share"] is None else f"{figures['parsed_share']:8.2%}"
    ends = [figures[f"end_{unit}_p{percent}"] or 0 for unit in ("ms", "tokens") for percent in (50, 95)]
    print(
        f"{start:12} {name:9} {row.written:7} {row.ended:7} {row.parsed:7} {share:>8}   "
        f"{ends[0]:.1f}, {ends[1]:.1f}; {ends[2]:.0f}, {ends[3]:.0f}",
        flush=True,
    )


def show_examples(row: Row, found: dict[str, list[str]]) -> None:
    for text, why in row.unended[:MAX_SHRUNK]:
        print(f"    not ended: {why.splitlines()[0]}: ...{text[-60:]!r}")
    for complaint, examples in found.items():
        print(f"    {complaint}")
        for example in examples:
            print(f"        {example!r}", flush=True)


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--outputs", type=int, default=50, help="texts of each model from each entry point")
    parser.add_argument("--models", nargs="+", default=MODELS, choices=MODELS)
    parser.add_argument("--starts", nargs="+", default=list(STARTS), choices=STARTS)
    parser.add_argument("--mode", default="strict", choices=MODES)
    parser.add_argument("--tokens", type=int, default=100, help="that the model writes before it is stopped")
    parser.add_argument("--budget", type=int, default=200, help="tokens that ending may take")
    parser.add_argument("--text", type=Path, help="folder of Elixir for the bigrams; ours by default")
    parser.add_argument("--tokenizer", type=Path, default=ROOT)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shrink", action="store_true", help="shorten what Elixir refuses, and print it")
    parser.add_argument("--unsafe-no-sandbox", action="store_true", help="run the checks without a sandbox")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(exit_on_error(main))
