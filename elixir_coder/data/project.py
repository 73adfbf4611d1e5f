"""What collectors share: which files of a project are wanted, what its mix.exs says, and files as `Example`s."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator
from dataclasses import fields
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from elixir_coder.data.clean import CODE_SUFFIXES, GUIDE_SUFFIXES, MAX_BYTES
from elixir_coder.data.licence import UNKNOWN, Licences, canonical, states_licence
from elixir_coder.data.source import Files
from elixir_coder.errors import DataError
from elixir_coder.example import Example

_SKIPPED_FOLDERS = frozenset({".git", ".elixir_ls", "node_modules"})
_MADE_BY_MIX = frozenset({"_build", "deps", "cover"})  # where they stand beside a mix.exs


class NotWanted(DataError):
    """A package that its source leaves out by its own rule, which is the message: too few stars, for example."""


class Wanted:
    """Which files to read, by path and size; code that is too large is counted in `dropped`."""

    def __init__(self, suffixes: Collection[str] = CODE_SUFFIXES) -> None:
        self.suffixes = suffixes
        self.dropped: Counter[str] = Counter()

    def __call__(self, path: str, num_bytes: int) -> bool:
        is_code = PurePosixPath(path).suffix in self.suffixes
        if num_bytes > MAX_BYTES:
            self.dropped["too large"] += is_code
            return False
        return is_code or states_licence(path)


def suffixes_of(with_guides: bool) -> frozenset[str]:
    """The suffixes of the files that become examples."""
    return CODE_SUFFIXES | GUIDE_SUFFIXES if with_guides else CODE_SUFFIXES


def examples_of(
    files: Files,
    *,
    package: str,
    version: str,
    source: str,
    suffixes: Collection[str],
    dropped: Counter[str],
    licence: str | None = None,
    stated: str | None = None,
) -> Iterator[Example]:
    """The files with one of the suffixes as examples; one that is not UTF-8 is counted as dropped.

    licence: of every file; None reads it from what the files say. stated: what the source says of the whole; only a
    file's own header, or a licence in a folder below the top, says otherwise.
    """
    licences = Licences(
        (path, content.decode("utf-8", errors="replace"))
        for path, content in files.items()
        if states_licence(path) and (stated is None or "/" in path)
    )
    for path, content in sorted(files.items()):
        if PurePosixPath(path).suffix not in suffixes:
            continue
        try:
            code = content.decode("utf-8")
        except UnicodeDecodeError:
            dropped["not UTF-8"] += 1
            continue
        code = code.removeprefix("\ufeff").replace("\r\n", "\n")
        its_licence = canonical(licence) if licence else licences.of(path, code)
        if its_licence == UNKNOWN and stated:
            its_licence = canonical(stated)
        yield Example.of(
            code, path=_decodable(path), package=package, version=version, licence=its_licence, source=source
        )


def is_entered(path: str, projects: Collection[str]) -> bool:
    """Whether no folder on the way to a file holds build output or what others wrote.

    projects: the folders with a mix.exs, "" for the top: only beside one are `deps` and `_build` what Mix makes.
    """
    *folders, _ = PurePosixPath(path).parts
    return not any(
        name in _SKIPPED_FOLDERS or (name in _MADE_BY_MIX and "/".join(folders[:depth]) in projects)
        for depth, name in enumerate(folders)
    )


def entered(folders: Iterable[str], names: Collection[str]) -> list[str]:
    """The folders to go into, of those that lie beside files of these names."""
    skipped = _SKIPPED_FOLDERS | _MADE_BY_MIX if "mix.exs" in names else _SKIPPED_FOLDERS
    return sorted(set(folders) - skipped)


def mix_projects(folder: Path) -> list[Path]:
    """The outermost folders with a mix.exs, or the folder itself when there is none."""
    if (folder / "mix.exs").is_file():
        return [folder]
    projects: list[Path] = []
    for top, folders, names in os.walk(folder, followlinks=False):
        folders[:] = entered(folders, names)
        if "mix.exs" in names:
            projects.append(Path(top))
            folders.clear()  # an umbrella's children belong to it
    return projects or [folder]


def mix_names(project: Path) -> tuple[str, str]:
    """The package name and version that a project's mix.exs states, or the folder's name and "0"."""
    mix = project / "mix.exs"
    text = mix.read_text(encoding="utf-8", errors="replace") if mix.is_file() else ""
    name, version = mix_says(text)
    return name or _decodable(project.resolve().name), version or "0"


def _decodable(name: str) -> str:
    return os.fsencode(name).decode("utf-8", errors="replace")  # the name of a file need not be UTF-8


def mix_says(text: str) -> tuple[str, str]:
    """The application's name and version in the text of a mix.exs, "" for what is not written there."""
    name = re.search(r"\bapp:\s*:(\w+)", text)
    version = re.search(r'(?:@version|\bversion:)\s*"([^"]+)"', text)
    return name[1] if name else "", version[1] if version else ""


def canonical_url(url: str) -> str:
    """A repository's address without what does not tell it from another: `git@host:a/b.git` is `host/a/b`.

    "" for none, and for a path on one machine, which tells nothing on another.
    """
    text = url.strip()
    if re.match(r"[^/:@\s]+@[^/:\s]+:(?!//)", text):  # scp's way: user@host:path
        user_host, _, path = text.partition(":")
        text = f"ssh://{user_host}/{path}"
    parts = urlsplit(text.removeprefix("git+"))
    if parts.scheme == "file" or not parts.hostname:
        return ""
    try:
        port = f":{parts.port}" if parts.port not in (None, 22, 80, 443, 9418) else ""
    except ValueError:
        port = ""
    path = re.sub(r"//+", "/", parts.path).strip("/")
    path = re.sub(r"/(?:-/)?(?:tree|blob)/.*", "", path)  # a page inside the repository
    return f"{parts.hostname.removeprefix('www.')}{port}/{path.removesuffix('.git')}".lower()


def extras_of(value: Any, base: Any) -> dict[str, Any]:
    """What a subclass of a dataclass adds that can stand in a manifest: texts and numbers, but for an address."""
    known = {each.name for each in fields(base)} | {"url"}
    return {
        name: given
        for name, given in vars(value).items()
        if name not in known and isinstance(given, str | int | float) and given != ""
    }
