"""Rows in a JSON Lines file that are there as soon as they are known, so that a run that was killed can go on.

A row counts once the end of its line is written. What a kill left of a line is cut off when the file is opened to be
gone on with; a line that is damaged anywhere else is an error, as nobody knows what it said.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

from elixir_coder.errors import DataError, InputError


class SavedRows:
    """The rows of a file, and the file open for more: `with SavedRows(path, resume=True) as saved`.

    resume: go on with the file where there is one; else an older file is kept as `NAME.old` and a new one begun.
    Raises InputError where the file cannot be written or another process is writing it, DataError as `read_rows` does.
    """

    def __init__(self, path: Path, *, resume: bool):
        self.path = path
        self.rows: list[dict[str, Any]] = []
        try:
            if path.exists() and not resume:
                path.replace(path.with_name(f"{path.name}.old"))
            self._file = path.open("a+b")
        except OSError as error:
            raise InputError(f"cannot write {path}: {error.strerror}; choose another place with --out") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._file.seek(0)
            data = self._file.read()
            self.rows = _rows(data[: _whole(data)], path)
            self._file.truncate(_whole(data))
        except BlockingIOError:
            self._file.close()
            raise InputError(f"{path} is being written by another run; wait for it, or choose another --out") from None
        except BaseException:
            self._file.close()
            raise

    def append(self, *rows: Mapping[str, Any]) -> None:
        """Write rows, all of them on the disk when this returns."""
        text = "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows)
        try:
            # A model may have written half a surrogate pair, which UTF-8 has no bytes for.
            self._file.write(text.encode("utf-8", "replace"))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            raise InputError(
                f"cannot write {self.path}: {error.strerror}; make room and go on with --resume"
            ) from error
        self.rows += map(dict, rows)

    def __enter__(self) -> SavedRows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()


def read_rows(path: Path, *, may_be_torn: bool = False) -> list[dict[str, Any]]:
    """The rows of a file, which stays as it is. may_be_torn: a last line without an end is left out, as it is when the
    file is gone on with.

    Raises DataError naming the line that is not a JSON object in UTF-8, and when there is no such file.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror}") from error
    return _rows(data[: _whole(data)] if may_be_torn else data, path)


def _whole(data: bytes) -> int:
    return data.rfind(b"\n") + 1


def _rows(data: bytes, path: Path) -> list[dict[str, Any]]:
    rows = []
    for number, line in enumerate(data.split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise DataError(f"{path}, line {number}: not JSON in UTF-8 ({error}); take that line out") from None
        if not isinstance(row, dict):
            raise DataError(f"{path}, line {number}: not a JSON object; take that line out")
        rows.append(row)
    return rows
