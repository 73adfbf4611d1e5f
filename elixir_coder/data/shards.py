"""A corpus on disk: parquet shards of `Example`, one set per split, and a manifest beside them.

    DIR/train-00000-of-00002.parquet  train-00001-of-00002.parquet  validation-00000-of-00001.parquet  dataset_info.json

The Hub and `datasets` read the same folder as it is. The same examples give the same bytes. The columns are the fields
of `Example`, nested where those are; a shard need not have the columns of fields that have a default.
"""

from __future__ import annotations

import bisect
import itertools
import json
import os
import shutil
import typing
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, cast

from elixir_coder.errors import DataError, require
from elixir_coder.example import Example

COLUMNS = tuple(field.name for field in fields(Example))
REQUIRED = tuple(field.name for field in fields(Example) if field.default is MISSING)
SHARD_BYTES = 64_000_000
MANIFEST = "dataset_info.json"
_GROUP_BYTES = 8_000_000  # of a row group: what a writer holds in memory
_ITEM_BYTES = 48  # of a label, an edge, a turn, beside its text: an estimate, to tell when a shard is full
_BATCH = 1_000
_HINTS: dict[str, Any] = typing.get_type_hints(Example)


class ShardWriter:
    """Writes the shards of one split one after the other, a row group at a time, as `SPLIT-00000.part` in a folder.

    `end_shard` closes a shard; the names that say how many there are come with `finish_split`.
    """

    def __init__(self, folder: Path, split: str, *, num_shards: int = 0) -> None:
        """num_shards: that are there already, of a run that goes on."""
        self.folder, self.split, self.num_shards = folder, split, num_shards
        self.shard_bytes = 0  # in the shard that is being written
        self._rows: list[Example] = []
        self._rows_bytes = 0
        self._file: Any = None

    def write(self, example: Example) -> None:
        """Add an example to the shard."""
        self._rows.append(example)
        num_bytes = _weight(example)
        self._rows_bytes += num_bytes
        self.shard_bytes += num_bytes
        if self._rows_bytes >= _GROUP_BYTES:
            self._write_rows()

    def end_shard(self) -> None:
        """Close the shard, if there is anything in it."""
        if self._rows:
            self._write_rows()
        if self._file is not None:
            self._file.close()
            self._file = None
            self.num_shards += 1
        self.shard_bytes = 0

    def close(self) -> None:
        """Let go of the shard that is being written, which stays incomplete."""
        self._rows.clear()
        if self._file is not None:
            self._file.close()
            self._file = None

    def _write_rows(self) -> None:
        table = _table(self._rows)
        if self._file is None:
            path = part_of(self.folder, self.split, self.num_shards)
            self._file = require("pyarrow.parquet", "data").ParquetWriter(path, table.schema, compression="zstd")
        self._file.write_table(table)
        self._rows.clear()
        self._rows_bytes = 0


def write_shards(
    out: Path,
    splits: Mapping[str, Iterable[Example]],
    manifest: Mapping[str, Any] | Callable[[], Mapping[str, Any]],
    *,
    shard_bytes: int = SHARD_BYTES,
) -> dict[str, dict[str, int]]:
    """Replace the corpus in `out` by these examples, and give each split's number of examples, bytes and shards.

    manifest: or what gives it once the examples are written. shard_bytes: bytes, of all columns and before compression,
    after which a shard is full. Everything is written beside `out`'s files first and renamed into place at the end, so
    that a run that is interrupted leaves the corpus that was there.
    """
    make_folder(out)
    building = out / ".building"
    shutil.rmtree(building, ignore_errors=True)  # what a run that was killed left
    try:
        building.mkdir()
        counts = {split: _write_split(building, split, examples, shard_bytes) for split, examples in splits.items()}
        put_in_place(building, out, counts, manifest() if callable(manifest) else manifest)
    except OSError as error:
        raise DataError(f"cannot write the corpus to {out}: {error}") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return counts


def put_in_place(
    building: Path, out: Path, counts: Mapping[str, Mapping[str, int]], manifest: Mapping[str, Any]
) -> None:
    """Make the parts in `building` the corpus in `out`, with its manifest; what was there goes.

    Safe to call again where it was interrupted.
    """
    text = json.dumps({**manifest, "splits": counts}, indent=2, ensure_ascii=False, sort_keys=True)
    (building / MANIFEST).write_text(text + "\n", encoding="utf-8")
    places = {
        out / shard_name(split, number, count["num_shards"]): part_of(building, split, number)
        for split, count in counts.items()
        for number in range(count["num_shards"])
    }
    for stale in out.glob("*-of-*.parquet"):
        if stale not in places:
            stale.unlink()
    for place, part in places.items():
        if part.exists():
            os.replace(part, place)
    os.replace(building / MANIFEST, out / MANIFEST)


def read_shards(
    folder: Path, split: str = "train", *, columns: Collection[str] | None = None, start: int = 0
) -> Iterator[Example]:
    """The examples of one split, in the order they were written.

    columns: the fields to read, which spares the time for the others: they are empty. start: examples to pass over.

    Raises DataError naming the folder, the split or the shard that is missing, damaged or lacks a column.
    """
    parquet = require("pyarrow.parquet", "data")
    for shard in shards_of(folder, split):
        if start:
            with _readable(shard):
                num_rows = parquet.read_metadata(shard).num_rows
            if start >= num_rows:
                start -= num_rows
                continue
        yield from itertools.islice(read_shard(shard, columns=columns), start, None)
        start = 0


def read_shard(shard: Path, *, columns: Collection[str] | None = None) -> Iterator[Example]:
    """The examples of one shard file; arguments and errors are those of `read_shards`."""
    parquet = require("pyarrow.parquet", "data")
    blank = dict.fromkeys(REQUIRED, "")
    with _readable(shard), parquet.ParquetFile(shard) as file:
        _check_columns(shard, file.schema_arrow)
        filled = _filled(file.metadata)
        written = [name for name in COLUMNS if name in filled and (columns is None or name in columns)]
        row = 0
        for batch in file.iter_batches(batch_size=_BATCH, columns=written):
            for values in _rows_of(shard, row, batch, written):
                yield Example(**blank | dict(zip(written, values, strict=True)))
            row += batch.num_rows


class Table:
    """The examples of one split to look up by number, in memory as parquet's columns: without Python's objects a tenth
    of the room.

    columns: the fields to keep; the others are empty. Raises DataError as `read_shards` does.
    """

    def __init__(self, folder: Path, split: str, columns: Collection[str]) -> None:
        parquet = require("pyarrow.parquet", "data")
        self._batches: list[tuple[Path, list[str], Any]] = []
        for shard in shards_of(folder, split):
            with _readable(shard), parquet.ParquetFile(shard) as file:
                _check_columns(shard, file.schema_arrow)
                names = sorted(_filled(file.metadata) & set(columns))
                self._batches += [(shard, names, batch) for batch in file.iter_batches(_BATCH, columns=names)]
        self._starts = [0, *itertools.accumulate(batch.num_rows for _, _, batch in self._batches)]

    def __len__(self) -> int:
        return self._starts[-1]

    def __getitem__(self, number: int) -> Example:
        if not 0 <= number < len(self):
            raise IndexError(f"example {number} of {len(self)}")
        place = bisect.bisect_right(self._starts, number) - 1
        return next(self._examples(place, number - self._starts[place], 1))

    def __iter__(self) -> Iterator[Example]:
        for place, (_, _, batch) in enumerate(self._batches):
            yield from self._examples(place, 0, batch.num_rows)

    def _examples(self, place: int, first: int, count: int) -> Iterator[Example]:
        shard, names, batch = self._batches[place]
        blank = dict.fromkeys(REQUIRED, "")
        for values in _rows_of(shard, self._starts[place] + first, batch.slice(first, count), names):
            yield Example(**blank | dict(zip(names, values, strict=True)))


@contextmanager
def _readable(shard: Path) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError) as error:  # pyarrow's ArrowInvalid is a ValueError
        raise DataError(f"{shard}: cannot be read as parquet ({error}); collect the corpus again") from error


def shards_of(folder: Path, split: str) -> list[Path]:
    """The shard files of a split in order; DataError when the folder, the split or one of the shards is missing."""
    if not folder.is_dir():
        raise DataError(f"no corpus at {folder}; collect one with: elixir-coder data collect debian --out {folder}")
    shards = sorted(folder.glob(f"{split}-*-of-*.parquet"))
    if not shards:
        raise DataError(f"{folder} has no shards of split `{split}` (it has: {', '.join(splits_of(folder)) or 'none'})")
    for number in range(total := int(shards[-1].stem.rpartition("-")[2])):
        expected = shard_name(split, number, total)
        if number >= len(shards) or shards[number].name != expected:
            raise DataError(f"{folder}: shard {expected} is missing; collect the corpus again")
    return shards


def splits_of(folder: Path) -> list[str]:
    """The splits that a corpus has shards of, by name."""
    return sorted({path.name.rpartition("-of-")[0].rpartition("-")[0] for path in folder.glob("*-of-*.parquet")})


def count_of(folder: Path, split: str) -> int:
    """The number of examples of a split, from the shards themselves."""
    parquet = require("pyarrow.parquet", "data")
    total = 0
    for shard in shards_of(folder, split):
        with _readable(shard):
            total += parquet.read_metadata(shard).num_rows
    return total


def read_manifest(folder: Path) -> dict[str, Any]:
    """What `write_shards` recorded about the corpus."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"{folder / MANIFEST} cannot be read ({error}); collect the corpus again") from error
    return manifest


def shard_name(split: str, number: int, total: int) -> str:
    """The file name of a shard."""
    return f"{split}-{number:05d}-of-{total:05d}.parquet"


def part_of(folder: Path, split: str, number: int) -> Path:
    """Where a shard is written before it is known how many there are."""
    return folder / f"{split}-{number:05d}.part"


def make_folder(folder: Path) -> None:
    """Make the folder of a corpus; DataError when that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"cannot write to {folder}: {error}") from error


def _write_split(folder: Path, split: str, examples: Iterable[Example], shard_bytes: int) -> dict[str, int]:
    writer = ShardWriter(folder, split)
    num_examples = num_bytes = 0
    try:
        for example in examples:
            writer.write(example)
            num_examples += 1
            num_bytes += len(example.code.encode())
            if writer.shard_bytes >= shard_bytes:
                writer.end_shard()
        writer.end_shard()
    finally:
        writer.close()
    return {"num_examples": num_examples, "num_bytes": num_bytes, "num_shards": writer.num_shards}


def _weight(example: Example) -> int:
    texts = items = 0
    for value in vars(example).values():
        if isinstance(value, str):
            texts += len(value)
        elif isinstance(value, tuple):
            items += len(value)
    return texts + items * _ITEM_BYTES


# -------------------------------------------------------------- fields of dataclasses as arrow columns, and back


def _table(rows: list[Example]) -> Any:
    columns = [_encode([getattr(row, name) for row in rows], _HINTS[name]) for name in COLUMNS]
    return require("pyarrow", "data").Table.from_arrays(columns, names=list(COLUMNS))


def _type(hint: Any) -> Any:
    """The arrow type of an annotation: str, int, tuple[X, ...] or a dataclass of these."""
    pyarrow = require("pyarrow", "data")
    if is_dataclass(hint):
        return pyarrow.struct([(name, _type(inner)) for name, inner in typing.get_type_hints(hint).items()])
    if typing.get_origin(hint) is tuple:
        return pyarrow.list_(_type(typing.get_args(hint)[0]))
    return {str: pyarrow.string(), int: pyarrow.int32()}[hint]


def _encode(values: list[Any], hint: Any) -> Any:
    pyarrow = require("pyarrow", "data")
    if is_dataclass(hint):
        hints = typing.get_type_hints(hint)
        columns = [_encode([getattr(value, name) for value in values], inner) for name, inner in hints.items()]
        return pyarrow.StructArray.from_arrays(columns, fields=list(_type(hint)))
    if typing.get_origin(hint) is tuple:
        items = _encode([item for value in values for item in value], typing.get_args(hint)[0])
        offsets = [0, *itertools.accumulate(map(len, values))]
        return pyarrow.ListArray.from_arrays(pyarrow.array(offsets, pyarrow.int32()), items)
    return pyarrow.array(values, _type(hint))


def _decode(array: Any, hint: Any) -> list[Any]:
    """The values of an arrow array; a missing list is an empty one, of others None stays None."""
    if is_dataclass(hint):
        hints, make = typing.get_type_hints(hint), cast(Callable[..., Any], hint)
        places = {field.name: number for number, field in enumerate(array.type)}
        columns = array.flatten()
        values = [_decode(columns[places[name]], inner) for name, inner in hints.items()]
        return [make(**dict(zip(hints, row, strict=True))) for row in zip(*values, strict=True)]
    if typing.get_origin(hint) is tuple:
        items = _decode(array.flatten(), typing.get_args(hint)[0])
        ends = list(itertools.accumulate(length or 0 for length in array.value_lengths().to_pylist()))
        return [tuple(items[start:end]) for start, end in zip([0, *ends], ends, strict=False)]
    return array.to_pylist() if hint is str or array.null_count else array.to_numpy().tolist()


def _rows_of(shard: Path, first: int, batch: Any, names: list[str]) -> Iterator[tuple[Any, ...]]:
    columns = []
    for name in names:
        column = batch.column(name)
        values = _decode(column, _HINTS[name])
        if column.null_count:
            if name in REQUIRED:
                raise DataError(f"{shard}, row {first + values.index(None)}: column `{name}` is empty")
            default = getattr(Example, name)
            values = [default if value is None else value for value in values]
        columns.append(values)
    return zip(*columns, strict=True) if columns else iter([()] * batch.num_rows)


def _filled(metadata: Any) -> set[str]:
    """The required columns, and of the others those that hold anything but the default, as the file's statistics tell.

    To read a column of nothing takes as long as one of something: most columns of most corpora are such.
    """
    names = set(REQUIRED)
    for group in map(metadata.row_group, range(metadata.num_row_groups)):
        for column in map(group.column, range(group.num_columns)):
            name, dot, _ = column.path_in_schema.partition(".")
            told = column.statistics
            if (
                name not in COLUMNS
                or name in names
                or (told is not None and told.has_null_count and _is_default(told, name, dot))
            ):
                continue
            names.add(name)
    return names


def _is_default(told: Any, name: str, dot: str) -> bool:
    if told.null_count and not told.has_min_max and not told.num_values:
        return True  # only empty lists, or missing values
    is_one_value = told.has_min_max and not told.null_count and told.min == told.max
    return not dot and is_one_value and told.max == getattr(Example, name)


def _check_columns(shard: Path, schema: Any) -> None:
    for name in COLUMNS:
        if name in schema.names:
            if not _fits(found := schema.field(name).type, _type(_HINTS[name])):
                raise DataError(f"{shard}: column `{name}` is {found}, expected {_type(_HINTS[name])}")
        elif name in REQUIRED:
            raise DataError(f"{shard}: no column `{name}` (it has: {', '.join(schema.names)})")


def _fits(found: Any, expected: Any) -> bool:
    """Whether a type holds what ours does: other programs write large strings, large lists and wide integers."""
    types = require("pyarrow.types", "data")
    if types.is_struct(expected):
        names = {field.name: field.type for field in found} if types.is_struct(found) else {}
        return all(field.name in names and _fits(names[field.name], field.type) for field in expected)
    if types.is_list(expected):
        return (types.is_list(found) or types.is_large_list(found)) and _fits(found.value_type, expected.value_type)
    if types.is_integer(expected):
        return bool(types.is_integer(found))
    return bool(types.is_string(found) or types.is_large_string(found))
