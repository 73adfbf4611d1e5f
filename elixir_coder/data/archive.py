"""Read the files of a source archive without writing any of them to disk.

Nothing is extracted, so nothing can land outside a folder; an archive that *tries* to leave it (absolute names, `..`,
links that point out) is refused all the same, because such an archive is not what it says it is.
"""

from __future__ import annotations

import lzma
import posixpath
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from elixir_coder.errors import CorruptArchiveError


def read_archive(archive: Path, wanted: Callable[[str, int], bool]) -> Iterator[tuple[str, bytes]]:
    """Yield (path, content) of each regular file for which `wanted(path, size in bytes)` holds, in archive order.

    archive: a tar, plain or compressed with gzip, bzip2 or xz. Paths are POSIX; when everything lies in one top folder,
    as in a release tarball, the paths start below it.

    Raises CorruptArchiveError, naming the archive, when it is damaged or one of its paths leaves the folder.
    """
    try:
        with tarfile.open(archive, mode="r:*") as tar:
            members = tar.getmembers()
            for member in members:
                _refuse_escape(archive, member)
            top = _top_folder(members)
            for member in members:
                path = posixpath.normpath(member.name).removeprefix(top)
                if member.isfile() and wanted(path, member.size):
                    content = tar.extractfile(member)
                    assert content is not None, "a regular file has content"
                    yield path, content.read()
    except (tarfile.TarError, EOFError, OSError, lzma.LZMAError, zlib.error) as error:
        raise CorruptArchiveError(
            f"{archive}: damaged archive ({error}); delete it and collect again to download it anew"
        ) from error


def _refuse_escape(archive: Path, member: tarfile.TarInfo) -> None:
    if _leaves(member.name):
        raise CorruptArchiveError(f"{archive}: the path {member.name!r} leaves the target folder; archive refused")
    if member.issym() or member.islnk():
        # A symbolic link is relative to its own folder, a hard link to the root of the archive.
        start = posixpath.dirname(member.name) if member.issym() else ""
        if member.linkname.startswith("/") or _leaves(posixpath.join(start, member.linkname)):
            raise CorruptArchiveError(
                f"{archive}: the link {member.name!r} points outside, at {member.linkname!r}; archive refused"
            )


def _leaves(name: str) -> bool:
    path = posixpath.normpath(name.replace("\\", "/"))
    return path == ".." or path.startswith(("/", "../"))


def _top_folder(members: list[tarfile.TarInfo]) -> str:
    names = [posixpath.normpath(member.name) for member in members]
    tops = {name.partition("/")[0] for name in names} - {"."}
    has_top_file = any("/" not in name and not member.isdir() for name, member in zip(names, members, strict=True))
    if len(tops) != 1 or has_top_file or tops == {"debian"}:
        return ""
    return f"{tops.pop()}/"
