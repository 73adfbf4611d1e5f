"""Train, grow and check the vocabulary from the command line: corpora in, tokenizer files out.

How the vocabulary is learnt stands in tokenization_elixir_coder.py; what was measured, in docs/TOKENIZER.md.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from elixir_coder.data.shards import read_manifest, read_shards
from elixir_coder.errors import CheckpointError, DataError, InputError
from elixir_coder.example import Example

if TYPE_CHECKING:  # transformers is imported where it is used: the command line's help must stay quick
    from transformers import PreTrainedTokenizerFast

_APPLICATION = re.compile(r"(?:lib|apps|deps)/([^/]+)/")
_BATCH = 256


def train(data: Sequence[Path], vocab_size: int, out: Path) -> PreTrainedTokenizerFast:
    """Learn a vocabulary from the train split of these corpora and write its files to `out`.

    Raises DataError for a corpus that cannot be read or is too small for `vocab_size`.
    """
    from tokenization_elixir_coder import save_tokenizer, train_tokenizer

    documents = [(project_of(example), example.path, example.code) for example in _examples(data, ["train"])]
    try:
        tokenizer = train_tokenizer(documents, vocab_size)
    except ValueError as error:
        raise DataError(f"cannot train on {', '.join(map(str, data))}: {error}") from error
    _save(save_tokenizer, tokenizer, out)
    return tokenizer


def grow(tokenizer: Path, data: Sequence[Path], num_new: int, out: Path) -> PreTrainedTokenizerFast:
    """Add `num_new` entries learnt from the train split of these corpora; all old ids stay. Written to `out`."""
    from tokenization_elixir_coder import grow_vocabulary, save_tokenizer

    old = load(tokenizer)
    texts = [example.code for example in _examples(data, ["train"])]
    try:
        grown = grow_vocabulary(old, texts, num_new)
    except ValueError as error:
        raise DataError(f"cannot grow {tokenizer} from {', '.join(map(str, data))}: {error}") from error
    _save(save_tokenizer, grown, out)
    return grown


def check(tokenizer: Path, data: Sequence[Path]) -> dict[str, Any]:
    """Encode and decode every file of every split of these corpora, and the symbols.

    Returns `num_files`, `num_characters`, `num_tokens`, and what must be empty: `changed`, the paths of files that
    did not come back as they were, `unknown`, those with an unknown token, and `cut`, symbols that are not one token.
    """
    from tokenization_elixir_coder import SYMBOLS

    backend = load(tokenizer).backend_tokenizer
    backend.encode_special_tokens = True  # a file that holds `</s>` holds four characters, not the end of a text
    unknown_id = backend.token_to_id("<unk>")
    report: dict[str, Any] = {"num_files": 0, "num_characters": 0, "num_tokens": 0, "changed": [], "unknown": []}
    for batch in _batches(_examples(data)):
        encodings = backend.encode_batch_fast([example.code for example in batch], add_special_tokens=False)
        for example, ids in zip(batch, (encoding.ids for encoding in encodings)):
            report["num_files"] += 1
            report["num_characters"] += len(example.code)
            report["num_tokens"] += len(ids)
            if backend.decode(ids, skip_special_tokens=False) != example.code:
                report["changed"].append(example.path)
            if unknown_id in ids:
                report["unknown"].append(example.path)
    report["cut"] = [symbol for symbol in SYMBOLS if len(backend.encode(symbol, add_special_tokens=False).ids) != 1]
    return report


def load(folder: Path) -> PreTrainedTokenizerFast:
    """The tokenizer of a model folder, without its model and without running any of its code."""
    from transformers import PreTrainedTokenizerFast

    if not (folder / "tokenizer.json").is_file():
        raise CheckpointError(f"no tokenizer.json in {folder}; train one with: elixir-coder tokenizer train")
    return PreTrainedTokenizerFast.from_pretrained(folder)


def project_of(example: Example) -> str:
    """The unit in which repetition is damped: one application of an umbrella, one folder of `lib`, else the package."""
    match = _APPLICATION.match(example.path)
    return f"{example.package}/{match[1]}" if match else example.package


def add_parser(subparsers: Any) -> None:
    """Add `train`, `grow` and `check` to the subcommands of `elixir-coder tokenizer`."""
    parser = subparsers.add_parser("train", help="learn a vocabulary from corpora")
    parser.add_argument("--vocab_size", type=int, default=32_000, metavar="N", help="entries in all (default: 32000)")
    parser.set_defaults(run=run_train)
    growing = subparsers.add_parser("grow", help="add entries to a vocabulary; the old ones keep their ids")
    growing.add_argument("--num_new", type=int, required=True, metavar="N", help="entries to add")
    growing.set_defaults(run=run_grow)
    checking = subparsers.add_parser("check", help="encode and decode every file of a corpus")
    checking.set_defaults(run=run_check)

    for command in (parser, growing, checking):
        command.add_argument(
            "--data", type=Path, action="append", required=True, metavar="DIR", help="a corpus; may be given again"
        )
    for command in (growing, checking):
        command.add_argument(
            "--tokenizer", type=Path, default=Path(), metavar="DIR", help="folder of tokenizer.json (default: .)"
        )
    for command in (parser, growing):
        command.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the tokenizer's files")


def run_train(args: argparse.Namespace) -> int:
    """The command `tokenizer train`."""
    tokenizer = train(args.data, args.vocab_size, args.out)
    print(f"{args.out}: {len(tokenizer)} entries")
    return 0


def run_grow(args: argparse.Namespace) -> int:
    """The command `tokenizer grow`."""
    if args.num_new < 1:
        raise InputError(f"--num_new must be at least 1, got {args.num_new}")
    tokenizer = grow(args.tokenizer, args.data, args.num_new, args.out)
    print(f"{args.out}: {len(tokenizer)} entries, the last {args.num_new} new")
    return 0


def run_check(args: argparse.Namespace) -> int:
    """The command `tokenizer check`: 0 when everything came back, 1 with a list when something did not."""
    report = check(args.tokenizer, args.data)
    ratio = report["num_characters"] / max(1, report["num_tokens"])
    print(f"{report['num_files']} files, {report['num_characters']} characters, {ratio:.3f} characters per token")
    failures = {
        "changed by encoding and decoding": report["changed"],
        "with unknown tokens": report["unknown"],
        "symbols that are not one token": report["cut"],
    }
    for what, found in failures.items():
        print(f"{what}: {len(found)}" + "".join(f"\n  {each}" for each in found[:20]))
    return 1 if any(failures.values()) else 0


def _examples(data: Sequence[Path], splits: Sequence[str] | None = None) -> Iterator[Example]:
    for folder in data:
        for split in splits or read_manifest(folder)["splits"]:
            yield from read_shards(folder, split)


def _batches(examples: Iterable[Example]) -> Iterator[list[Example]]:
    batch = []
    for example in examples:
        batch.append(example)
        if len(batch) == _BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _save(save: Any, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    try:
        out.mkdir(parents=True, exist_ok=True)
        save(tokenizer, out)
    except OSError as error:
        raise InputError(f"cannot write the tokenizer to {out}: {error}") from error
