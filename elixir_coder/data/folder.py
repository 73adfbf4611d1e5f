"""Code that lies on this machine: folders of Mix projects, and one project of one's own.

`FolderSource` takes every file of what others wrote, under the licences that it states. `ProjectSource` takes what its
owner works on: `lib`, `test` and `config`, of an umbrella's applications too, to fine-tune a model on it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath

from elixir_coder.data.clean import CODE_SUFFIXES
from elixir_coder.data.project import Wanted, entered, mix_names, mix_projects
from elixir_coder.data.source import Files, Project, Reference
from elixir_coder.errors import DataError, InputError

OWN_FOLDERS = ("lib", "test", "config")


class FolderSource:
    """The Mix projects in a folder, each a package, or the folder as one package."""

    name = "folder"

    def __init__(
        self,
        folder: Path,
        *,
        package: str | None = None,
        version: str | None = None,
        suffixes: Collection[str] = CODE_SUFFIXES,
    ) -> None:
        """package, version: by default what each mix.exs says, or the folder's name and "0"."""
        if not folder.is_dir():
            raise InputError(f"no folder {folder}; expected a Mix project or a folder of them")
        self.folder, self.suffixes = folder, suffixes
        self._package, self._version = package, version

    def references(self) -> Iterator[Reference]:
        """The outermost projects, by path."""
        for project in mix_projects(self.folder) if self._package is None else [self.folder]:
            name, version = mix_names(project)
            yield Reference(
                key=project.relative_to(self.folder).as_posix(),
                package=self._package or name,
                version=self._version or version,
            )

    def read(self, reference: Reference) -> Project:
        """A project's files."""
        wanted = Wanted(self.suffixes)
        files = folder_files(self.folder / reference.key, wanted)
        return Project(package=reference.package, version=reference.version, files=files, dropped=dict(+wanted.dropped))


class ProjectSource:
    """One Mix project: its own code, tests and configuration, and nothing that Mix fetched or made."""

    name = "project"

    def __init__(self, folder: Path, *, suffixes: Collection[str] = CODE_SUFFIXES) -> None:
        if not (folder / "mix.exs").is_file():
            raise InputError(f"no mix.exs in {folder}; expected the folder of a Mix project")
        self.folder, self.suffixes = folder, suffixes

    def references(self) -> Iterator[Reference]:
        """The project."""
        name, version = mix_names(self.folder)
        yield Reference(key=name, package=name, version=version)

    def read(self, reference: Reference) -> Project:
        """The files of the project and of an umbrella's applications."""
        mix = (self.folder / "mix.exs").read_text(encoding="utf-8", errors="replace")
        apps_path = re.search(r'\bapps_path:\s*"([^"]+)"', mix)
        apps = self.folder / (apps_path[1] if apps_path else "apps")
        if not apps.resolve().is_relative_to(self.folder.resolve()):
            raise DataError(f"{self.folder / 'mix.exs'}: apps_path {apps_path and apps_path[1]!r} leaves the project")
        projects = [self.folder, *sorted(path.parent for path in apps.glob("*/mix.exs"))]
        wanted = Wanted(self.suffixes)
        files: Files = {}
        for project in projects:
            inside = project.relative_to(self.folder)
            files[(inside / "mix.exs").as_posix()] = (project / "mix.exs").read_bytes()
            for name in OWN_FOLDERS:
                found = folder_files(project / name, wanted) if (project / name).is_dir() else {}
                files.update({(inside / name / path).as_posix(): content for path, content in found.items()})
        return Project(package=reference.package, version=reference.version, files=files, dropped=dict(+wanted.dropped))


def folder_files(folder: Path, wanted: Wanted) -> Files:
    """The wanted files under a folder, in path order; links are not followed."""
    return {path.relative_to(folder).as_posix(): _content(path) for path in _paths(folder, wanted)}


def unit_of(path: str) -> str:
    """What a file of a project is about, so that code and its tests are kept together: `lib/a/b.ex` and
    `test/a/b_test.exs` are about `a/b`, of the same application."""
    *folders, name = PurePosixPath(path).parts
    own = next((place for place, folder in enumerate(folders) if folder in OWN_FOLDERS), None)
    if own is None:
        return path
    stem = PurePosixPath(name).stem
    return "/".join([*folders[:own], *folders[own + 1 :], stem.removesuffix("_test")])


def _paths(folder: Path, wanted: Wanted) -> Iterable[Path]:
    for top, folders, names in os.walk(folder, followlinks=False):
        here = Path(top)
        folders[:] = entered(folders, names)
        for name in sorted(names):
            path = here / name
            if not path.is_symlink() and path.is_file() and wanted(name, path.stat().st_size):
                yield path


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
