"""Where each record comes from: `elixir-coder data provenance CORPUS --out FILE`, `... --trace SHA256`.

The index is one parquet file with a row for each record of a corpus and of what was made of it: its checksum, that of
the file it was taken from, and package, version, path, licence and source. `--trace` follows a record back to its file
through any number of corpora.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from elixir_coder.data import shards
from elixir_coder.errors import DataError, InputError, require
from elixir_coder.example import Example

COLUMNS = ("sha256", "parent", "kind", "name", "package", "version", "path", "licence", "source", "split")
_BATCH = 10_000
_SHORTEST = 8  # digits of a checksum that is to be found


def write_index(corpora: Sequence[Path], out: Path) -> int:
    """Write the index of these corpora, in their order; give the number of its rows.

    The file is replaced when the new one is whole. Raises DataError for a corpus that cannot be read.
    """
    pyarrow, parquet = require("pyarrow", "data"), require("pyarrow.parquet", "data")
    schema = pyarrow.schema([(name, pyarrow.string()) for name in COLUMNS])
    part = out.with_name(out.name + ".part")
    num_rows = 0
    try:
        with parquet.ParquetWriter(part, schema, compression="zstd") as writer:
            rows: list[dict[str, str]] = []
            for row in _rows(corpora):
                rows.append(row)
                num_rows += 1
                if len(rows) == _BATCH:
                    writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
                    rows.clear()
            writer.write_table(pyarrow.Table.from_pylist(rows, schema=schema))
        os.replace(part, out)
    except OSError as error:
        raise DataError(f"cannot write the index to {out}: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return num_rows


def trace(corpora: Sequence[Path], checksum: str) -> list[dict[str, str]]:
    """The record with this checksum (or the beginning of one) and, one after the other, what it was taken from.

    Raises InputError for a beginning too short to name one record, DataError where none or several have it.
    """
    if len(checksum) < _SHORTEST or not set(checksum) <= set("0123456789abcdef"):
        raise InputError(f"{checksum!r} is no sha256 or its first {_SHORTEST} or more digits, in lower case")
    chain: list[dict[str, str]] = []
    while checksum:
        found = {row["sha256"]: row for row in _rows(corpora) if row["sha256"].startswith(checksum)}
        if len(found) > 1:
            raise DataError(f"{checksum} begins {len(found)} records; give more of its digits")
        if not found and chain:
            break  # the corpus with its file was not given
        if not found:
            raise DataError(f"no record {checksum} in {', '.join(map(str, corpora))}")
        (row,) = found.values()
        chain.append(row)
        checksum = row["parent"] if row["parent"] != row["sha256"] else ""
    return chain


def _rows(corpora: Sequence[Path]) -> Iterator[dict[str, str]]:
    for corpus in corpora:
        for split in shards.splits_of(corpus):
            for example in shards.read_shards(corpus, split):
                yield _row(example, split)


def _row(example: Example, split: str) -> dict[str, str]:
    return {name: getattr(example, name) for name in COLUMNS[:-1]} | {"split": split}


def add_parser(subparsers: Any) -> None:
    """Add `provenance` to the subcommands of `elixir-coder data`."""
    parser = subparsers.add_parser("provenance", help="say where each record comes from")
    parser.add_argument("corpora", nargs="+", type=Path, metavar="CORPUS", help="folders of shards")
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--out", type=Path, metavar="FILE", help="write the index of all records here, as parquet")
    what.add_argument("--trace", metavar="SHA256", help="follow one record back to its file")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """The command `data provenance`."""
    for corpus in args.corpora:
        if not shards.splits_of(corpus):
            shards.shards_of(corpus, "train")  # which says what is missing
    if args.trace:
        for row in trace(args.corpora, args.trace):
            print(" ".join(f"{name}={row[name]}" for name in COLUMNS if row[name]))
    else:
        print(f"{write_index(args.corpora, args.out):,} records in {args.out}")
    return 0
