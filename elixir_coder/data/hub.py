"""Code from a data set of the Hugging Face Hub, or one like it in a folder, streamed: nothing is kept of it but Elixir.

    elixir-coder data collect hub OWNER/NAME --map code=content,path=max_path,licence=licences,package=repo --out DIR

A row is a file. Its columns are named by `--map FIELD=COLUMN`; the fields are those of `FIELDS`.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from elixir_coder.data.clean import CODE_SUFFIXES, MAX_BYTES
from elixir_coder.data.licence import UNKNOWN, canonical, licence_of_header
from elixir_coder.data.project import suffixes_of
from elixir_coder.data.source import Reference
from elixir_coder.errors import DataError, InputError, require
from elixir_coder.example import Example

FIELDS = ("code", "path", "package", "version", "licence", "language")
DEFAULT_MAP = {"code": "content", "path": "path", "licence": "license", "package": "repo_name"}
_ELIXIR = ("elixir", "ex", "exs")  # what a language column says of it


class HubSource:
    """The rows of one split of a data set that are Elixir."""

    name = "hub"

    def __init__(
        self,
        dataset: str,
        *,
        config: str | None = None,
        split: str = "train",
        revision: str | None = None,
        columns: Mapping[str, str] | None = None,
        suffixes: Collection[str] = CODE_SUFFIXES,
    ) -> None:
        """dataset: its id, or a folder of parquet or JSON lines. columns: field -> column, `DEFAULT_MAP` by default;
        a row is Elixir if its path has one of the suffixes, or its language says so.

        Raises InputError for a map without code, or with neither path nor language.
        """
        self.dataset, self.config, self.split, self.revision = dataset, config, split, revision
        self.columns, self.suffixes = dict(columns or DEFAULT_MAP), suffixes
        if unknown := sorted(set(self.columns) - set(FIELDS)):
            raise InputError(f"--map: no field {unknown[0]}; there are: {', '.join(FIELDS)}")
        if "code" not in self.columns or not {"path", "language"} & set(self.columns):
            raise InputError("--map must name the column of the code, and of the path or the language")

    @property
    def settings(self) -> dict[str, Any]:
        """What decides which rows there are and how they are read."""
        return {
            "dataset": self.dataset,
            "config": self.config,
            "split": self.split,
            "revision": self.revision,
            "columns": self.columns,
        }

    def references(self) -> Iterator[Reference]:
        """The files of the data set, of which each is read on its own."""
        for number in range(total := self._stream().num_shards):
            name = Path(self.dataset).name if Path(self.dataset).is_dir() else self.dataset
            key = f"{name} {self.config or ''} {self.split} {number + 1} of {total}"
            yield Reference(key=" ".join(key.split()), package=name, version=self.revision or "0")

    def examples(self, reference: Reference, dropped: Counter[str]) -> Iterator[Example]:
        """The Elixir of one file of the data set. Raises DataError where it cannot be read or lacks a column."""
        number, total = (int(word) for word in reference.key.split(" ")[-3::2])
        rows = self._stream().shard(num_shards=total, index=number - 1)
        try:
            for place, row in enumerate(rows):
                if place == 0 and (absent := [column for column in self.columns.values() if column not in row]):
                    raise DataError(
                        f"{self.dataset}: no column `{absent[0]}` (it has: {', '.join(row)}); name it with --map"
                    )
                example = self._example(row, place, reference, dropped)
                if example is not None:
                    yield example
        except DataError:
            raise
        except Exception as error:  # whatever reads the files raises whatever it likes
            raise DataError(f"{reference.key}: cannot be read ({type(error).__name__}: {error})") from error

    def _stream(self) -> Any:
        datasets = require("datasets", "data")
        try:
            stream = datasets.load_dataset(
                self.dataset, self.config, split=self.split, revision=self.revision, streaming=True
            )
        except Exception as error:
            raise DataError(f"data set {self.dataset}: {type(error).__name__}: {error}") from error
        names = stream.column_names
        return stream.select_columns([name for name in names if name in self.columns.values()]) if names else stream

    def _example(
        self, row: Mapping[str, Any], place: int, reference: Reference, dropped: Counter[str]
    ) -> Example | None:
        said = {field: row[column] for field, column in self.columns.items()}
        path = str(said.get("path") or f"{place}.ex").lstrip("/")
        is_elixir = PurePosixPath(path).suffix in self.suffixes
        if "language" in self.columns:
            is_elixir = str(said["language"]).lower() in _ELIXIR and (is_elixir or "path" not in self.columns)
        if not is_elixir:
            return None
        code = said["code"]
        try:
            text = (code.decode() if isinstance(code, bytes) else str(code or "")).removeprefix("\ufeff")
            text.encode()
        except UnicodeError:
            dropped["not UTF-8"] += 1
            return None
        if len(text) > MAX_BYTES:
            dropped["too large"] += 1
            return None
        text = text.replace("\r\n", "\n")
        licence = licence_of_header(text)
        return Example.of(
            text,
            path=path,
            package=str(said.get("package") or reference.package),
            version=str(said.get("version") or reference.version),
            licence=_licence(said.get("licence")) if licence == UNKNOWN else licence,
            source=self.name,
        )


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `data collect hub`."""
    told = ",".join(f"{field}={column}" for field, column in DEFAULT_MAP.items())
    parser.add_argument("dataset", metavar="ID", help="of the data set, or a folder of parquet or JSON lines")
    parser.add_argument("--config", metavar="NAME", help="its configuration, where it has several")
    parser.add_argument("--split", default="train", metavar="NAME", help="which of its splits (default: %(default)s)")
    parser.add_argument(
        "--revision", metavar="REV", help="branch, tag or commit; name one for a corpus to be made again"
    )
    parser.add_argument(
        "--map",
        type=_map,
        metavar="FIELD=COLUMN,...",
        help=f"columns of {', '.join(FIELDS)} (default: {told})",
    )


def source_of(args: argparse.Namespace) -> HubSource:
    """The source that the arguments describe."""
    return HubSource(
        args.dataset,
        config=args.config,
        split=args.split,
        revision=args.revision,
        columns=args.map,
        suffixes=suffixes_of(args.with_guides),
    )


def _map(text: str) -> dict[str, str]:
    pairs = [pair.partition("=") for pair in text.split(",") if pair.strip()]
    if wrong := next((field for field, _, column in pairs if not column), None):
        raise argparse.ArgumentTypeError(f"{wrong!r} names no column; expected FIELD=COLUMN,FIELD=COLUMN")
    return {field.strip(): column.strip() for field, _, column in pairs}


def _licence(said: Any) -> str:
    names = [str(each) for each in said if each] if isinstance(said, list | tuple) else [str(said or "")]
    return " and ".join(canonical(name) for name in names if name.strip()) or UNKNOWN
