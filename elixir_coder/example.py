"""The one datum that flows through data, tasks and training: a piece of Elixir and where it came from."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Example:
    """One source file with its provenance.

    code: the text, UTF-8 decodable. path: POSIX path inside the package. package, version: as the source names them.
    licence: an SPDX-like identifier, or "unknown". sha256: of the UTF-8 bytes of `code`, hexadecimal.
    source: the collector it came through, e.g. "debian" or "folder".
    """

    code: str
    path: str
    package: str
    version: str
    licence: str
    sha256: str
    source: str

    @classmethod
    def of(cls, code: str, **provenance: str) -> Example:
        """An example with its checksum worked out from the code."""
        return cls(code=code, sha256=hashlib.sha256(code.encode()).hexdigest(), **provenance)
