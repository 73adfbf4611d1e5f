"""Where code comes from, behind one interface: a source lists what it has, and reads one version of one package.

    for reference in source.references():
        project = source.read(reference)

`collect` does the rest the same for every source: concurrency, fates, licences, cleaning, splits, shards.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Protocol

Files = dict[str, bytes]  # POSIX path in the project -> content


@dataclass(frozen=True, kw_only=True)
class Reference:
    """One version of one package that a source has. key: names it in the manifest, the same in every run. url: of the
    repository, where it is known before anything is read."""

    key: str
    package: str
    version: str
    url: str = ""


@dataclass(frozen=True, kw_only=True)
class Project:
    """What was read. files: regular files that may be code or say what licence the code is under.

    licence: an SPDX-like expression where the source states one, None where the files are to say. url: of the
    repository, "" where nobody says; it tells the same project from two sources apart from two projects.
    dropped: files left out for their size or kind, by reason. warnings: what the user should hear.
    """

    package: str
    version: str
    files: Files
    licence: str | None = None
    url: str = ""
    dropped: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class Source(Protocol):
    """name: of the collector, as `Example.source`.

    references: the same in each run, and cheap. read: safe in several threads at once; raises DataError, which becomes
    the fate of that package and stops no other.
    """

    name: str

    def references(self) -> Iterator[Reference]: ...

    def read(self, reference: Reference) -> Project: ...
