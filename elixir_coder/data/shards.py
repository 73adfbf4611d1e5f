"""A corpus on disk: parquet shards of `Example`, one set per split, and a manifest beside them.

    DIR/train-00000-of-00002.parquet  train-00001-of-00002.parquet  validation-00000-of-00001.parquet  dataset_info.json

The Hub and `datasets` read the same folder as it is. The same examples give the same bytes.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from elixir_coder.errors import DataError, require
from elixir_coder.example import Example

COLUMNS = tuple(field.name for field in fields(Example))
SHARD_BYTES = 64_000_000
MANIFEST = "dataset_info.json"
_BATCH = 1_000


def write_shards(
    out: Path, splits: Mapping[str, Iterable[Example]], manifest: Mapping[str, Any], *, shard_bytes: int = SHARD_BYTES
) -> dict[str, dict[str, int]]:
    """Replace the corpus in `out` by these examples, and give each split's number of examples, bytes and shards.

    shard_bytes: code bytes after which a shard is full. Everything is written beside `out`'s files first and renamed
    into place at the end, so that a run that is interrupted leaves the corpus that was there.
    """
    _make_folder(out)
    building = out / ".building"
    shutil.rmtree(building, ignore_errors=True)  # what a run that was killed left
    try:
        building.mkdir()
        counts = {split: _write_split(building, split, examples, shard_bytes) for split, examples in splits.items()}
        text = json.dumps({**manifest, "splits": counts}, indent=2, ensure_ascii=False, sort_keys=True)
        (building / MANIFEST).write_text(text + "\n", encoding="utf-8")
        names = {path.name for path in building.iterdir()}
        for stale in out.glob("*-of-*.parquet"):
            if stale.name not in names:
                stale.unlink()
        for name in sorted(names):
            os.replace(building / name, out / name)
    except OSError as error:
        raise DataError(f"cannot write the corpus to {out}: {error}") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return counts


def read_shards(folder: Path, split: str = "train") -> Iterator[Example]:
    """The examples of one split, in the order they were written.

    Raises DataError naming the folder, the split or the shard that is missing, damaged or lacks a column.
    """
    parquet = require("pyarrow.parquet", "data")
    for shard in shards_of(folder, split):
        try:
            with parquet.ParquetFile(shard) as file:
                _check_columns(shard, file.schema_arrow)
                row = 0
                for batch in file.iter_batches(batch_size=_BATCH, columns=list(COLUMNS)):
                    for record in batch.to_pylist():
                        if empty := next((name for name in COLUMNS if record[name] is None), None):
                            raise DataError(f"{shard}, row {row}: column `{empty}` is empty")
                        yield Example(**record)
                        row += 1
        except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
            raise DataError(f"{shard}: cannot be read as parquet ({error}); collect the corpus again") from error


def shards_of(folder: Path, split: str) -> list[Path]:
    """The shard files of a split in order; DataError when the folder, the split or one of the shards is missing."""
    if not folder.is_dir():
        raise DataError(f"no corpus at {folder}; collect one with: elixir-coder data collect debian --out {folder}")
    shards = sorted(folder.glob(f"{split}-*-of-*.parquet"))
    if not shards:
        present = sorted({path.name.partition("-")[0] for path in folder.glob("*-of-*.parquet")})
        raise DataError(f"{folder} has no shards of split `{split}` (it has: {', '.join(present) or 'none'})")
    for number in range(total := int(shards[-1].stem.rpartition("-")[2])):
        expected = _shard_name(split, number, total)
        if number >= len(shards) or shards[number].name != expected:
            raise DataError(f"{folder}: shard {expected} is missing; collect the corpus again")
    return shards


def read_manifest(folder: Path) -> dict[str, Any]:
    """What `write_shards` recorded about the corpus."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / MANIFEST} cannot be read ({error}); collect the corpus again") from error
    return manifest


def _write_split(folder: Path, split: str, examples: Iterable[Example], shard_bytes: int) -> dict[str, int]:
    pyarrow, parquet = require("pyarrow", "data"), require("pyarrow.parquet", "data")
    schema = pyarrow.schema([(name, pyarrow.string()) for name in COLUMNS])
    count = {"num_examples": 0, "num_bytes": 0, "num_shards": 0}
    rows: list[dict[str, str]] = []
    size = 0

    def write_shard() -> None:
        table = pyarrow.Table.from_pylist(rows, schema=schema)
        parquet.write_table(table, folder / f"{split}-{count['num_shards']:05d}.part", compression="zstd")
        count["num_shards"] += 1
        rows.clear()

    for example in examples:
        rows.append(asdict(example))
        num_bytes = len(example.code.encode())
        size += num_bytes
        count["num_examples"] += 1
        count["num_bytes"] += num_bytes
        if size >= shard_bytes:
            write_shard()
            size = 0
    if rows:
        write_shard()
    for number in range(count["num_shards"]):
        os.replace(folder / f"{split}-{number:05d}.part", folder / _shard_name(split, number, count["num_shards"]))
    return count


def _check_columns(shard: Path, schema: Any) -> None:
    for name in COLUMNS:
        if name not in schema.names:
            raise DataError(f"{shard}: no column `{name}` (it has: {', '.join(schema.names)})")
        if str(schema.field(name).type) not in ("string", "large_string"):
            raise DataError(f"{shard}: column `{name}` is {schema.field(name).type}, expected string")


def _shard_name(split: str, number: int, total: int) -> str:
    return f"{split}-{number:05d}-of-{total:05d}.parquet"


def _make_folder(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error}") from error
