"""Open a Hex package tarball in memory: nothing is unpacked to disk, and nothing grows beyond stated bounds.

A tarball holds VERSION, CHECKSUM (the inner checksum), metadata.config and contents.tar.gz. Its outer checksum is the
registry's to check (hex_registry.py); here is everything that can be known from the bytes alone.

Specification: https://github.com/hexpm/specifications/blob/main/package_tarball.md
"""

from __future__ import annotations

import hashlib
import io
import posixpath
import tarfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from elixir_coder.data.hex_metadata import Metadata, read_metadata
from elixir_coder.data.source import Files
from elixir_coder.errors import CorruptArchiveError

_MEMBERS = ("VERSION", "CHECKSUM", "metadata.config", "contents.tar.gz")
_VERSION = b"3"
_NO_BOMB_BYTES = 4 * 1024 * 1024  # a tar of small files is mostly padding: the ratio says nothing below this


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What a package may grow to. The sizes are those that the public registry itself accepts."""

    max_tarball_bytes: int = 16 * 1024 * 1024
    max_bytes: int = 128 * 1024 * 1024  # of contents.tar.gz, uncompressed
    max_files: int = 20_000
    max_ratio: int = 200  # of contents.tar.gz; real packages stay below 30
    max_metadata_bytes: int = 2 * 1024 * 1024


DEFAULT_LIMITS = Limits()


@dataclass(frozen=True, kw_only=True)
class HexPackage:
    """What a tarball holds. paths: of all regular files; files: of those that were wanted, with their content."""

    metadata: Metadata
    paths: tuple[str, ...]
    files: Files
    inner_checksum: bytes


def read_tarball(
    tarball: bytes, wanted: Callable[[str, int], bool] = lambda path, num_bytes: True, limits: Limits = DEFAULT_LIMITS
) -> HexPackage:
    """Check a package tarball and read the files of its contents for which `wanted(path, size in bytes)` holds.

    Raises CorruptArchiveError when it is damaged, lacks a part, does not have the checksum it states, holds anything
    but files, folders and links within it, has a path that leaves it, or exceeds a limit.
    """
    if len(tarball) > limits.max_tarball_bytes:
        raise CorruptArchiveError(f"the tarball has {len(tarball)} bytes; at most {limits.max_tarball_bytes} are read")
    parts: dict[str, bytes] = {}
    for path, content in _regular_files(tarball, lambda path, _: path in _MEMBERS, limits):
        if path in parts:
            raise CorruptArchiveError(f"the tarball has two parts named {path}")
        if content is not None:
            parts[path] = content
    if missing := [name for name in _MEMBERS if name not in parts]:
        raise CorruptArchiveError(f"the tarball has no {', '.join(missing)}")
    version, stated, metadata, contents = (parts[name] for name in _MEMBERS)
    if version != _VERSION:
        raise CorruptArchiveError(f"the tarball has format version {version[:20]!r}; only {_VERSION!r} is known")
    inner = hashlib.sha256(version + metadata + contents)
    if stated.decode("ascii", errors="replace").strip().lower() != inner.hexdigest():
        raise CorruptArchiveError("the inner checksum is wrong: CHECKSUM does not fit the rest of the tarball")
    if len(metadata) > limits.max_metadata_bytes:
        raise CorruptArchiveError(
            f"metadata.config has {len(metadata)} bytes; at most {limits.max_metadata_bytes} are read"
        )
    paths: list[str] = []
    files: Files = {}
    for path, content in _regular_files(
        gunzip(contents, limits.max_bytes, "contents.tar.gz", limits.max_ratio), wanted, limits
    ):
        paths.append(path)
        if content is not None:
            files[path] = content  # of equal paths the last counts, as when unpacking
    return HexPackage(
        metadata=read_metadata(metadata),
        paths=tuple(dict.fromkeys(paths)),
        files=files,
        inner_checksum=inner.digest(),
    )


def gunzip(content: bytes, max_bytes: int, what: str, max_ratio: int | None = None) -> bytes:
    """Decompress exactly one gzip member, at most to `max_bytes` and `max_ratio` times its size.

    what: names it in errors. Raises CorruptArchiveError when it is damaged, cut off, or larger than that.
    """
    if max_ratio is not None:
        max_bytes = min(max_bytes, max(_NO_BOMB_BYTES, max_ratio * len(content)))
    inflater = zlib.decompressobj(wbits=31)
    try:
        # One byte more than allowed tells a bomb from what just fits.
        plain = inflater.decompress(content, max_bytes + 1)
    except zlib.error as error:
        raise CorruptArchiveError(f"{what} is not gzip, or damaged ({error})") from error
    if len(plain) > max_bytes:
        raise CorruptArchiveError(
            f"{what} grows from {len(content)} to more than {max_bytes} bytes; refused as a decompression bomb"
        )
    if not inflater.eof:
        raise CorruptArchiveError(f"{what} is cut off")
    if inflater.unused_data:
        raise CorruptArchiveError(f"{what} is followed by {len(inflater.unused_data)} bytes that are not part of it")
    return plain


def _regular_files(
    archive: bytes, wanted: Callable[[str, int], bool], limits: Limits
) -> Iterator[tuple[str, bytes | None]]:
    """Each regular file of an uncompressed tar with its content, None for one that is not wanted."""
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:") as tar:
            num_members, end = 0, 0
            while (member := tar.next()) is not None:
                num_members += 1
                if num_members > limits.max_files:
                    raise CorruptArchiveError(f"more than {limits.max_files} files in the archive")
                # A sparse file may state any size; a negative size would lead tarfile backwards.
                if member.issparse() or member.size < 0 or member.offset_data <= end:
                    raise CorruptArchiveError(f"{member.name!r} is no plain archive member; archive refused")
                end = member.offset_data
                _refuse_unsafe(member)
                if not member.isreg():
                    continue
                path = posixpath.normpath(member.name)
                file = tar.extractfile(member) if wanted(path, member.size) else None
                yield path, file.read() if file else None
            if archive[tar.offset :].strip(b"\0"):
                raise CorruptArchiveError(f"the archive is damaged after byte {tar.offset}")
    except (tarfile.TarError, ValueError, OverflowError, EOFError, OSError) as error:
        raise CorruptArchiveError(f"damaged archive ({error})") from error


def _refuse_unsafe(member: tarfile.TarInfo) -> None:
    if _leaves(member.name) or (member.isreg() and posixpath.normpath(member.name) == "."):
        raise CorruptArchiveError(f"the path {member.name!r} leaves the package; archive refused")
    if member.issym():
        target = posixpath.join(posixpath.dirname(member.name), member.linkname)
        if _leaves(member.linkname if member.linkname.startswith("/") else target):
            raise CorruptArchiveError(
                f"the link {member.name!r} points outside, at {member.linkname!r}; archive refused"
            )
    elif not (member.isreg() or member.isdir()):
        kinds = {tarfile.LNKTYPE: "a hard link", tarfile.FIFOTYPE: "a FIFO"}
        kind = kinds.get(member.type, "a device" if member.isdev() else f"of unknown type {member.type!r}")
        raise CorruptArchiveError(f"{member.name!r} is {kind}, which no package may hold; archive refused")


def _leaves(name: str) -> bool:
    path = posixpath.normpath(name.replace("\\", "/"))
    return path == ".." or path.startswith(("/", "../")) or "\0" in name or path[1:3] == ":/"
