"""What became of each package of a collection, and what has been read of one that is not finished.

The ledger, `ledger.jsonl` beside the shards, has a line for each package. While a collection runs it grows in
`OUT/.unfinished`, beside the examples of the packages that were read; an interrupted run goes on from there.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from elixir_coder.data import shards
from elixir_coder.data.project import canonical_url
from elixir_coder.data.steps import UNFINISHED
from elixir_coder.errors import DataError
from elixir_coder.example import Example

LEDGER = "ledger.jsonl"
_RUN = "run.json"


@dataclass(kw_only=True)
class Fate:
    """What became of one reference of a source.

    fate: kept, dropped (by a rule, which is the reason) or failed (the error is the reason). num_files: that were
    looked at. more: what the source says beside.
    """

    key: str
    package: str
    version: str
    fate: str
    reason: str = ""
    url: str = ""
    num_files: int = 0
    num_examples: int = 0
    num_bytes: int = 0
    licences: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, int] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    more: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Known:
    """What other corpora have: packages by name, repositories by canonical address."""

    packages: frozenset[str] = frozenset()
    urls: frozenset[str] = frozenset()

    @classmethod
    def read(cls, corpora: Iterable[Path]) -> Known:
        """From the manifests of these corpora, whatever steps they went through since."""
        rows = [row for corpus in corpora for row in shards.read_manifest(corpus).get("packages", ())]
        urls = frozenset(row["url"] for row in rows if row.get("url"))
        return cls(frozenset(row["package"] for row in rows), urls)

    def reason(self, package: str, url: str) -> str:
        """Why a package is left out, or ""."""
        if package in self.packages:
            return "package of a known corpus"
        return "repository of a known corpus" if url and canonical_url(url) in self.urls else ""


class Staging:
    """What has been read of a collection that is not finished: the examples of each reference and the ledger."""

    def __init__(self, out: Path, identity: Mapping[str, Any], *, resume: bool) -> None:
        self._out, self._was_there = out, out.exists()
        self.folder = out / UNFINISHED
        self.fates: dict[str, Fate] = {}
        begun = self.folder / _RUN
        identity = json.loads(json.dumps(identity, default=str))
        try:
            if resume and begun.exists():
                self._go_on(begun, identity)
            else:
                shutil.rmtree(self.folder, ignore_errors=True)
                self.folder.mkdir(parents=True)
                begun.write_text(json.dumps(identity, indent=2) + "\n", encoding="utf-8")
            self._ledger = (self.folder / LEDGER).open("a", encoding="utf-8")
        except OSError as error:
            raise DataError(f"cannot write to {out}: {error}") from error

    def _go_on(self, begun: Path, identity: Mapping[str, Any]) -> None:
        try:
            before = json.loads(begun.read_text(encoding="utf-8"))
            lines = (self.folder / LEDGER).read_text(encoding="utf-8").splitlines(keepends=True)
            whole = [line for line in lines if line.endswith("\n")]  # the last one may have been cut off
            fates = [Fate(**json.loads(line)) for line in whole]
        except (ValueError, TypeError) as error:
            raise DataError(f"{self.folder} cannot be read ({error}); begin anew without --resume") from error
        if before != identity:
            differing = [key for key in identity if before.get(key) != identity[key]]
            told = "; ".join(f"{key}: {before.get(key)}, now {identity[key]}" for key in differing)
            raise DataError(
                f"{self._out} holds an unfinished collection that was begun otherwise ({told}); "
                "begin anew without --resume"
            )
        self.fates = {fate.key: fate for fate in fates if fate.fate != "failed"}
        (self.folder / LEDGER).write_text("".join(whole), encoding="utf-8")

    def note(self, fate: Fate) -> None:
        """Write a fate into the ledger, after which it is not sought again."""
        self.fates[fate.key] = fate
        self._ledger.write(_line(fate))
        self._ledger.flush()

    def write(self, key: str, examples: Iterable[Example]) -> None:
        """Put the examples of a reference down."""
        with closing(shards.ShardWriter(self.folder, _file_name(key))) as writer:
            for example in examples:
                writer.write(example)
            writer.end_shard()

    def read(self, fate: Fate, columns: Collection[str] | None = None) -> Iterator[Example]:
        """The examples of a reference as they were put down."""
        return shards.read_shard(shards.part_of(self.folder, _file_name(fate.key), 0), columns=columns)

    def close(self) -> None:
        """Stop writing; what was read stays for a run that goes on."""
        self._ledger.close()

    def finish(self, fates: Iterable[Fate]) -> None:
        """Put the whole ledger beside the shards, and leave nothing else behind."""
        try:
            ledger = self.folder / f"{LEDGER}.new"
            ledger.write_text("".join(map(_line, fates)), encoding="utf-8")
            os.replace(ledger, self._out / LEDGER)
        except OSError as error:
            raise DataError(f"cannot write the ledger to {self._out}: {error}") from error
        self.discard()

    def discard(self) -> None:
        """Leave nothing behind."""
        self._ledger.close()
        shutil.rmtree(self.folder, ignore_errors=True)
        if not self._was_there:
            with suppress(OSError):
                self._out.rmdir()


def _line(fate: Fate) -> str:
    return json.dumps(asdict(fate), sort_keys=True) + "\n"  # in ASCII: the name of a folder need not be UTF-8


def _file_name(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", errors="surrogateescape")).hexdigest()[:20]
