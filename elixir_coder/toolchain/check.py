"""Everything that Elixir's tools say of files and projects, in one call: `elixir-coder check FILE...|DIR`.

    parse      is it Elixir?
    format     is it written as `mix format` would, with the settings of the project's `.formatter.exs`?
    compile    what does the compiler say? In a sandbox, because compiling runs macros; the files of a project together
    credo      style and likely faults, where Credo is installed
    sobelow    vulnerabilities, where Sobelow is installed

A `Checker` answers the same report to other programs, and keeps its virtual machines between calls. Nothing of a
project is run outside of the sandbox: `mix.exs` and `.formatter.exs` are read as data. Scripts and tests (.exs) are
parsed and formatted, but not compiled, because compiling a script runs it. Templates (.eex, .heex) are left alone.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import sys
import tempfile
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from elixir_coder import __version__
from elixir_coder.errors import InputError, RecipeError, SandboxError
from elixir_coder.toolchain.checks import credo, sobelow
from elixir_coder.toolchain.finding import ENDINGS, Finding, Outcome, Severity
from elixir_coder.toolchain.project import MixProject, formatter_settings, mentions, project_of
from elixir_coder.toolchain.reports import Report
from elixir_coder.toolchain.sandbox import Limits
from elixir_coder.toolchain.sarif import to_sarif
from elixir_coder.toolchain.toolchain import Toolchain

STEPS = ("parse", "format", "compile", "credo", "sobelow")
STDIN = "<stdin>"

T = TypeVar("T")

_SUFFIXES = (".ex", ".exs")
_EXCLUDED = frozenset({"_build", "deps", "node_modules"})  # and every folder that begins with a dot
_LARGEST_BYTES = 4 << 20  # the largest file of Elixir's own sources has 0.3 MB
_LARGEST_RESOURCE_BYTES = 1 << 20
_LARGEST_RESOURCES_BYTES = 8 << 20  # of one project
_TOOLS = ("elixir", "mix format", "credo", "sobelow")  # in the order of the steps


@dataclass(frozen=True, kw_only=True)
class CheckOptions:
    """What to check, and how.

    steps: some of STEPS. strict: Credo's checks of low priority too. guard: refuse code that asks for files, programs,
    the network and the like before it is compiled, which is for code that a model wrote. timeout_s: seconds that
    compiling one project, and each other step on one file, may take.
    """

    steps: Collection[str] = STEPS
    strict: bool = False
    guard: bool = False
    timeout_s: float = 120.0

    def __post_init__(self) -> None:
        for step in self.steps:
            if step not in STEPS:
                raise RecipeError(f"no such step: {step}; there are: {', '.join(STEPS)}")
        if not self.steps:
            raise RecipeError(f"nothing to check is left; there are: {', '.join(STEPS)}")
        if not self.timeout_s > 0:
            raise RecipeError(f"the timeout must be above 0 seconds, got {self.timeout_s:g}")


_DEFAULTS = CheckOptions()

# A whole project in one virtual machine needs more than one module does.
_LIMITS = Limits(memory_bytes=3 << 30, heap_bytes=1 << 30, atoms=1_000_000, disk_bytes=256 << 20)
_LINTERS: dict[str, Any] = {"credo": credo, "sobelow": sobelow}


@dataclass(frozen=True)
class Skipped:
    """What was not judged, and why: no finding, because nothing was found. path: "" where it is not about one file."""

    step: str
    reason: str
    path: str = ""

    def __str__(self) -> str:
        return f"{self.step}: {f'{self.path}: ' if self.path else ''}{self.reason}"


def _order_of_skipped(skipped: Skipped) -> tuple[int, str, str]:
    return STEPS.index(skipped.step), skipped.path, skipped.reason


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """findings: by file, line and column. files: the paths that were checked, in order, as the caller named them.

    tool_versions: of the tools that ran. skipped: what was left out. sources: the text of each file that could be read.
    formatted: of each file that is not formatted, how it would be.
    """

    findings: tuple[Finding, ...]
    files: tuple[str, ...]
    tool_versions: Mapping[str, str]
    skipped: tuple[Skipped, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict, repr=False)
    formatted: Mapping[str, str] = field(default_factory=dict, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {
            "version": __version__,
            "files": len(self.files),
            "tools": dict(self.tool_versions),
            "findings": [finding.to_dict() for finding in self.findings],
            "skipped": [vars(each) for each in self.skipped],
        }


def check_paths(
    paths: Sequence[str | Path],
    options: CheckOptions = _DEFAULTS,
    *,
    workers: int | None = None,
    sandbox: bool = True,
) -> CheckReport:
    """`Checker.check_paths`, once."""
    with Checker(workers=workers, sandbox=sandbox) as checker:
        return checker.check_paths(paths, options)


class Checker:
    """Checks again and again on virtual machines that stay warm; for any number of threads at a time.

    workers: jobs at a time, one for each core by default. sandbox: False compiles without one.
    """

    def __init__(self, *, workers: int | None = None, sandbox: bool = True):
        """Raises RecipeError for settings out of range."""
        self._sandbox = sandbox
        self._toolchain = Toolchain(workers=workers, sandbox=sandbox, limits=_LIMITS)
        self._linters: dict[Any, Any] = {}
        self._lock = threading.Lock()

    def __enter__(self) -> Checker:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all virtual machines."""
        self._toolchain.close()
        with self._lock:
            linters, self._linters = list(self._linters.values()), {}
        for linter in linters:
            linter.close()

    def check_paths(self, paths: Sequence[str | Path], options: CheckOptions = _DEFAULTS) -> CheckReport:
        """Check files, and folders with all .ex and .exs files below them but those of dependencies and builds.

        A folder with a `mix.exs`, and every file below one, is checked as a Mix project: its files are compiled
        together, with the packages in its `_build`. Other files are compiled with those they mention.
        Raises InputError for a path that cannot be read, SandboxError where there is no working sandbox to compile in,
        and MissingDependencyError without a working Elixir.
        """
        return _Check(self, _collect(paths), options).run()

    def check_texts(self, texts: Mapping[str, str], options: CheckOptions = _DEFAULTS) -> CheckReport:
        """Check texts that lie in no folder, by the names that findings shall have for them; a name that ends in .exs
        makes a script. Raises as `check_paths` does."""
        sources = [_Source(name, None, text) for name, text in texts.items()]
        return _Check(self, _Collected(sources, [], []), options).run()

    @contextlib.contextmanager
    def toolchain(self, packages: tuple[Path, ...] = ()) -> Iterator[Toolchain]:
        """One whose code may use these folders of compiled modules."""
        if not packages:
            yield self._toolchain
            return
        with Toolchain(
            workers=self._toolchain.workers, sandbox=self._sandbox, limits=_LIMITS, code_paths=packages
        ) as toolchain:
            yield toolchain

    def linter(self, tool: str, root: Path | None) -> Any:
        """The Credo or Sobelow of a project; None where it is not installed."""
        linter = _LINTERS[tool].detect(root, sandbox=self._sandbox)
        if linter is None:
            return None
        with self._lock:  # what was made just now has started nothing yet
            return self._linters.setdefault((tool, linter.installed), linter)

    def all(self, function: Callable[[T], Any], given: Iterable[T]) -> None:
        """Call a function with each, as many at a time as there are workers. Raises what the first one raises."""
        threads = ThreadPoolExecutor(self._toolchain.workers + 1)
        is_done = False
        try:
            for future in [threads.submit(function, each) for each in given]:
                future.result()
            is_done = True
        finally:
            # After an error or Ctrl-C, calls that are under way end when their toolchain is closed.
            threads.shutdown(wait=is_done, cancel_futures=True)


# -------------------------------------------------------------------------------------------------------------- files


@dataclass(frozen=True)
class _Source:
    """shown: as findings name it. path: where it lies, absolute; None for a text."""

    shown: str
    path: Path | None
    text: str
    is_named: bool = False  # by the caller, and not only the folder it lies in

    @property
    def is_script(self) -> bool:
        return self.shown.endswith(".exs")


@dataclass(frozen=True)
class _Collected:
    sources: list[_Source]
    findings: list[Finding]  # about files that cannot be read as Elixir
    folders: list[Path]  # that the caller named


def _collect(paths: Sequence[str | Path]) -> _Collected:
    if not paths:
        raise InputError("no file or folder to check")
    places: dict[Path, tuple[str, bool]] = {}
    collected = _Collected([], [], [])
    for path in map(str, paths):
        place = Path(os.path.abspath(path))
        if place.is_dir():
            before = len(places)
            collected.folders.append(place)
            for found in _files_below(place, is_top=True):
                places.setdefault(found, (os.path.normpath(os.path.join(path, found.relative_to(place))), False))
            if len(places) == before and not any(place in known.parents for known in places):
                raise InputError(f"{path}: there is no .ex or .exs file in it")
        elif not place.exists():
            raise InputError(f"{path}: there is no such file or folder")
        elif place.suffix not in _SUFFIXES:
            raise InputError(f"{path}: only .ex and .exs files are checked")
        else:
            places[place] = (os.path.normpath(path), True)
    for place in sorted(places):
        shown, is_named = places[place]
        text = _read(place, shown)
        if isinstance(text, Finding):
            collected.findings.append(text)
        else:
            collected.sources.append(_Source(shown, place, text, is_named))
    return collected


def _files_below(folder: Path, *, is_top: bool) -> Iterator[Path]:
    """Links to files are followed, links to folders are not: they may lead round in a circle, or out of the folder."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise InputError(f"{folder}: cannot be read: {error.strerror}") from error
    # Packages and builds lie beside mix.exs; `lib/deps` is somebody's own.
    excluded = _EXCLUDED if is_top or (folder / "mix.exs").is_file() else {"node_modules"}
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            if entry.name not in excluded and not entry.name.startswith("."):
                yield from _files_below(Path(entry.path), is_top=False)
        elif entry.name.endswith(_SUFFIXES) and entry.is_file():
            yield Path(entry.path)


def _read(place: Path, shown: str) -> str | Finding:
    problem = partial(Finding, tool="elixir", category="syntax", severity=Severity.ERROR, path=shown)
    try:
        with place.open("rb") as file:
            data = file.read(_LARGEST_BYTES + 1)
    except OSError as error:
        raise InputError(f"{shown}: cannot be read: {error.strerror}") from error
    if len(data) > _LARGEST_BYTES:
        return problem(check=Outcome.RESOURCE_LIMIT, message=f"larger than {_LARGEST_BYTES >> 20} MiB; it was not read")
    return _decoded(data, problem)


def _decoded(data: bytes, problem: Callable[..., Finding]) -> str | Finding:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8", "replace")
        line, column = before.count("\n") + 1, len(before) - (before.rfind("\n") + 1) + 1
        message = f"not UTF-8: byte 0x{data[error.start]:02x}"
        return problem(check=Outcome.SYNTAX_ERROR, message=message, line=line, column=column)


# ------------------------------------------------------------------------------------------------------------- checking


@dataclass(frozen=True)
class _Unit:
    """Files that are compiled in one job.

    files: by the names that the compiler knows them by. shown: what findings call them; files that are not there were
    not asked about. name: of the unit as a whole, in findings that are about no line. project: with its packages.
    """

    files: Mapping[str, str]
    shown: Mapping[str, str]
    name: str
    root: Path | None = None
    project: MixProject | None = None


class _Check:
    """One call: the files, and what has been found in them so far."""

    def __init__(self, checker: Checker, collected: _Collected, options: CheckOptions):
        self._checker = checker
        self._sources = collected.sources
        self._folders = collected.folders
        self._options = options
        self._findings = list(collected.findings)
        self._files = {source.shown: None for source in collected.sources} | {
            finding.path: None for finding in collected.findings
        }
        self._skipped: list[Skipped] = []
        self._versions: dict[str, str] = {}
        self._formatted: dict[str, str] = {}
        self._unparsable: set[str] = {finding.path for finding in collected.findings}
        self._unread: set[Path] = {Path(os.path.abspath(path)) for path in self._unparsable}
        self._trees: dict[Path, Any] = {}
        self._projects: dict[Path, MixProject | None] = {}

    def run(self) -> CheckReport:
        steps = set(self._options.steps)
        with self._checker.toolchain() as toolchain:
            self._versions["elixir"] = toolchain.elixir_version
            if "format" in steps:
                self._versions["mix format"] = self._versions["elixir"]
            self._read_projects(toolchain)
            if "parse" in steps or "format" in steps:
                self._checker.all(partial(self._parse, toolchain), self._sources)
        if "compile" in steps:
            self._compile()
        for tool in ("credo", "sobelow"):
            if tool in steps:
                self._lint(tool)
        return CheckReport(
            findings=tuple(sorted(dict.fromkeys(self._findings), key=self._order)),
            files=tuple(sorted(self._files)),
            tool_versions={tool: self._versions[tool] for tool in _TOOLS if tool in self._versions},
            skipped=tuple(sorted(set(self._skipped), key=_order_of_skipped)),
            sources={source.shown: source.text for source in self._sources},
            formatted=self._formatted,
        )

    def _order(self, finding: Finding) -> tuple[Any, ...]:
        place = (finding.path, finding.line or 0, finding.column or 0)
        return (*place, _TOOLS.index(finding.tool), finding.check, finding.message)

    def _skip(self, step: str, reason: str, path: str = "") -> None:
        self._skipped.append(Skipped(step, " ".join(reason.split()), path))

    # --------------------------------------------------------------------------------------------- settings of projects

    def _read_projects(self, toolchain: Toolchain) -> None:
        """Parse the settings that will be asked for."""
        folders = {source.path.parent for source in self._sources if source.path}
        above = {parent for folder in folders for parent in (folder, *folder.parents)}
        members = {
            path.parent for folder in above if (folder / "mix.exs").is_file() for path in folder.glob("*/*/mix.exs")
        }
        packages = {path.parent for folder in above for path in folder.glob("deps/*/.formatter.exs")}
        wanted = [
            folder / name
            for folder in sorted(above | members | packages)
            for name in ("mix.exs", ".formatter.exs")
            if (folder / name).is_file()
        ]

        for path in wanted:
            if isinstance(text := _read(path, str(path)), str):
                self._trees[path] = toolchain.ast(text).ast

    def _project(self, folder: Path) -> MixProject | None:
        if folder not in self._projects:
            self._projects[folder] = project_of(folder, self._trees.get)
        return self._projects[folder]

    # ------------------------------------------------------------------------------------------------- parse and format

    def _parse(self, toolchain: Toolchain, source: _Source) -> None:
        options = self._format_options(source) if "format" in self._options.steps else None
        if options is None:
            report: Report = toolchain.parse(source.text, path=source.shown)
        else:
            report = of_format = toolchain.format(source.text, path=source.shown, **options)
            if of_format.formatted is not None and of_format.formatted != source.text:
                self._formatted[source.shown] = of_format.formatted
        self._findings += report.findings
        if not report.ok:
            self._unparsable.add(source.shown)

    def _format_options(self, source: _Source) -> dict[str, Any] | None:
        """None for a file that is not to be formatted, or that nobody can say of how."""
        if source.path is None:
            return {}
        settings = formatter_settings(source.path.parent, self._trees.get)
        if settings.unknown and settings.folder:
            place = os.path.relpath(settings.folder / ".formatter.exs")
            self._skip("format", f"{settings.unknown}, so it is not known how files are to be formatted", place)
            return None
        if not source.is_named and not settings.covers(source.path):
            return None
        return dict(settings.options)

    # ---------------------------------------------------------------------------------------------------------- compile

    def _compile(self) -> None:
        by_packages: dict[tuple[Path, ...], list[_Unit]] = {}
        for unit in self._units():
            packages = unit.project.dependencies() if unit.project else ()
            by_packages.setdefault(packages, []).append(unit)
        for packages, units in by_packages.items():
            with self._checker.toolchain(packages) as toolchain:
                try:
                    self._checker.all(partial(self._compile_unit, toolchain), units)
                except SandboxError as error:
                    raise SandboxError(f"{error}; or leave compiling out: --skip compile") from error

    def _compile_unit(self, toolchain: Toolchain, unit: _Unit) -> None:
        if broken := sorted(self._unparsable & set(unit.shown.values())):
            if others := sorted(set(unit.shown.values()) - set(broken)):
                of_others = others[0] if len(others) == 1 else f"{len(others)} files"
                self._skip("compile", f"{of_others} not compiled, because this one cannot be parsed", broken[0])
            return
        options = self._options
        report = toolchain.compile(
            unit.files, resources=_resources(unit), guard=options.guard, timeout_s=options.timeout_s
        )
        if report.outcome in ENDINGS:
            self._findings += [
                replace(finding, path=unit.name, line=None, column=None) if finding.check in ENDINGS else finding
                for finding in report.findings
                if finding.check in ENDINGS or finding.path in unit.shown
            ]
            return
        findings = [replace(each, path=unit.shown[each.path]) for each in report.findings if each.path in unit.shown]
        self._findings += [finding for finding in findings if finding.check != Outcome.MISSING_DEPENDENCY]
        self._findings += _missing([each for each in report.findings if each.check == Outcome.MISSING_DEPENDENCY], unit)

    def _units(self) -> Iterator[_Unit]:
        loose: list[_Source] = []
        asked: dict[MixProject, list[_Source]] = {}
        for source in self._sources:
            if source.is_script:
                continue
            project = self._project(source.path.parent) if source.path else None
            if project is None or source.path is None:
                loose.append(source)
            elif project.compiles(source.path):
                asked.setdefault(project, []).append(source)
        for project, sources in asked.items():
            yield self._unit_of_project(project, sources)
        yield from _units_of(loose)

    def _unit_of_project(self, project: MixProject, sources: Sequence[_Source]) -> _Unit:
        """All that the project compiles, because a file is judged in its company; shown are the files asked for."""
        root = project.root
        shown = {source.path.relative_to(root).as_posix(): source.shown for source in sources if source.path}
        files = {source.path.relative_to(root).as_posix(): source.text for source in sources if source.path}
        for path in (path for place in project.source_paths for path in _files_below_or_none(root / place)):
            name = path.relative_to(root).as_posix()
            is_new = name not in files and project.compiles(path) and path not in self._unread
            if is_new and isinstance(text := _read(path, _shown(path)), str):
                files[name] = text
        return _Unit(dict(sorted(files.items())), shown, _shown(root), root, project)

    # ---------------------------------------------------------------------------------------------------------- linters

    def _lint(self, tool: str) -> None:
        """Credo or Sobelow, on whole projects where a folder was asked for, else on each file by itself."""
        loose: dict[Path | None, list[_Source]] = {}
        whole: set[Path] = set()
        for source in self._sources:
            if source.shown in self._unparsable or (tool == "sobelow" and source.is_script):
                continue
            project = self._project(source.path.parent) if source.path else None
            if project and any(project.root.is_relative_to(folder) for folder in self._folders):
                whole.add(project.root)
            else:
                loose.setdefault(project.root if project else None, []).append(source)
        shown = {source.path: source.shown for source in self._sources if source.path}
        for root in sorted({*whole, *loose}, key=str):
            linter = self._checker.linter(tool, root)
            if linter is None:
                self._skip(tool, f"{tool.capitalize()} is not installed; {_LINTERS[tool].INSTALL}")
                continue
            if root in whole:
                found = linter.check_folder(root, **({"strict": self._strict()} if tool == "credo" else {}))
                self._take(tool, found, partial(_shown_below, root, shown))
            if sources := loose.get(root):
                for source, found in zip(sources, self._each(tool, linter, root, sources)):
                    self._take(tool, found, partial(_always, source.shown))
            self._versions[tool] = linter.version

    def _strict(self) -> bool | None:
        return True if self._options.strict else None

    def _each(self, tool: str, linter: Any, root: Path | None, sources: Sequence[_Source]) -> Iterable[Any]:
        def name(source: _Source) -> str:
            if source.path is None:
                return source.shown if source.is_script else ""
            return source.path.relative_to(root).as_posix() if root else source.path.name

        samples = [(name(source), source.text) for source in sources]
        if tool == "credo":
            return linter.each_source(samples, project=root, strict=self._strict())
        return linter.each_source(samples, comments=True)  # those that people put in the code

    def _take(self, tool: str, found: Any, shown: Callable[[str], str]) -> None:
        self._findings += [replace(finding, path=shown(finding.path)) for finding in found]
        for note in found.notes:
            if note.kind == "unparsable":  # parsing says so itself
                continue
            message = f"{note.check}: {note.message}" if note.check else note.message
            self._skip(tool, message, shown(note.path) if note.path else "")


def _missing(findings: Sequence[Finding], unit: _Unit) -> Iterator[Finding]:
    """One note for each module of a package that is not here, at the first place that uses it."""
    places: dict[str, list[Finding]] = {}
    for finding in findings:
        named = _MODULE.search(finding.message)
        places.setdefault(named[0] if named else finding.message, []).append(finding)
    for module, uses in sorted(places.items()):
        shown = [replace(use, path=unit.shown[use.path]) for use in uses if use.path in unit.shown]
        if not shown:
            continue
        stops = "; compiling stopped there" if any(use.severity == Severity.ERROR for use in uses) else ""
        more = f", here and in {_number(len(uses) - 1, 'other place')}" if len(uses) > 1 else ""
        if unit.project:
            way_out = "run `mix deps.get` and `mix compile`, and check again"
        else:
            way_out = "a file in a Mix project is checked with the packages of the project"
        message = f"{module} is not installed here, so its use cannot be judged{more}{stops}; {way_out}"
        yield replace(shown[0], severity=Severity.NOTE, message=message)


_MODULE = re.compile(r"(?<![\w.])[A-Z]\w*(?:\.[A-Z]\w*)*|(?<![\w:]):[a-z]\w*")


def _units_of(sources: Sequence[_Source]) -> Iterator[_Unit]:
    """Files outside of a project, with those that they mention.

    A file is taken to mention a module when it has each part of the module's name somewhere, which is more often than
    it does, and only compiles more files together than would be needed. Where two files define modules of the same
    name, each of those that would meet is compiled alone.
    """
    words = mentions([source.text for source in sources])
    times = Counter(name for defined, _ in words for name in defined)
    group = list(range(len(sources)))  # of each source the number of another one of its group, its own for the first

    def first(number: int) -> int:
        while group[number] != number:
            group[number] = group[group[number]]
            number = group[number]
        return number

    using: dict[str, list[int]] = {}
    for number, (_, capitalized) in enumerate(words):
        for word in capitalized:
            using.setdefault(word, []).append(number)
    for number, (defined, _) in enumerate(words):
        for name in defined:
            *_, last = parts = name.split(".")
            for other in using[last] if times[name] == 1 else ():
                if words[other][1].issuperset(parts):
                    group[first(other)] = first(number)
    groups: dict[int, list[int]] = {}
    for number in range(len(sources)):
        groups.setdefault(first(number), []).append(number)
    for numbers in groups.values():
        names = Counter(name for number in numbers for name in words[number][0])
        members = [sources[number] for number in numbers]
        for together in [[source] for source in members] if any(count > 1 for count in names.values()) else [members]:
            files = {f"{number}/{Path(source.shown).name}": source for number, source in enumerate(together)}
            if len(together) == 1:
                files = {Path(together[0].shown).name: together[0]}
            root = together[0].path.parent if together[0].path else None
            yield _Unit(
                files={name: source.text for name, source in files.items()},
                shown={name: source.shown for name, source in files.items()},
                name=together[0].shown,
                root=root,
            )


def _resources(unit: _Unit) -> dict[str, str]:
    """Files that modules name and may read while they are compiled: a README for documentation, a template."""
    found: dict[str, str] = {}
    if unit.root is None:
        return found
    left = _LARGEST_RESOURCES_BYTES
    for name, text in unit.files.items():
        for word in dict.fromkeys(_QUOTED.findall(text)):
            for folder in (Path(), Path(name).parent):
                relative = os.path.normpath(folder / word.lstrip("/"))  # __DIR__ <> "/page.eex"
                path = unit.root / relative
                if relative in found or relative in unit.files or relative.startswith(".."):
                    continue
                with contextlib.suppress(OSError, UnicodeError, ValueError):
                    if path.is_file() and path.stat().st_size <= min(left, _LARGEST_RESOURCE_BYTES):
                        found[relative] = path.read_text("utf-8")
                        left -= len(found[relative])
    return found


_QUOTED = re.compile(r'"([\w./ -]{1,200}\.\w{1,10}|[A-Z]{4,20})"')


def _files_below_or_none(place: Path) -> Iterator[Path]:
    if place.is_dir():
        yield from _files_below(place, is_top=False)
    elif place.is_file():
        yield place


def _shown_below(root: Path, named: Mapping[Path, str], path: str) -> str:
    return named.get(root / path) or _shown(root / path)


def _always(shown: str, path: str) -> str:
    del path  # what a linter calls the one file that it was given
    return shown


def _shown(path: Path) -> str:
    """A path that the caller did not name: from the current folder where it is below that."""
    relative = os.path.relpath(path)
    return str(path) if relative.startswith(os.pardir) else relative


# -------------------------------------------------------------------------------------------------------------- showing


_COLOURS = {Severity.ERROR: "31", Severity.WARNING: "33", Severity.NOTE: "36"}
_WIDEST = 100  # columns of a shown line; a longer one is cropped around its finding
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")


def to_text(report: CheckReport, *, colours: bool = False) -> str:
    """For people: findings by file, each with its line and a caret below the column."""

    def paint(text: str, code: str) -> str:
        return f"\x1b[{code}m{text}\x1b[0m" if colours else text

    lines: list[str] = []
    sources: dict[str, list[str]] = {}
    last_path: str | None = None
    for finding in report.findings:
        if finding.path != last_path:
            lines += [""] if lines else []
            lines.append(paint(_visible(finding.path), "1"))
            last_path = finding.path
        place = ":".join(str(number) for number in (finding.line, finding.column) if number)
        first, *rest = _visible(finding.message, keep="\n").split("\n")
        name = finding.check if finding.tool in ("credo", "sobelow") else f"{finding.tool}: {finding.check}"
        weakness = "".join(f", {name}" for name in finding.cwe)
        severity = paint(str(finding.severity), _COLOURS[finding.severity])
        lines.append(f"  {place:>6} {severity} {first} {paint(f'[{name}{weakness}]', '2')}")
        lines += [f"         {line}".rstrip() for line in rest]
        if finding.path not in sources:
            sources[finding.path] = report.sources.get(finding.path, "").splitlines()
        if finding.line and finding.line <= len(sources[finding.path]):
            source, caret = _excerpt(sources[finding.path][finding.line - 1], finding.column)
            lines.append(f"         {source}")
            lines += [f"         {paint(caret, _COLOURS[finding.severity])}"] if caret else []
    lines += [""] if lines else []
    counts = Counter(finding.severity for finding in report.findings)
    told = ", ".join(_number(counts[severity], str(severity)) for severity in Severity if counts[severity])
    lines.append(f"{_number(len(report.files), 'file')}: {told or 'nothing found'}")
    return "\n".join(lines) + "\n"


def _number(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _excerpt(line: str, column: int | None) -> tuple[str, str]:
    """A source line without its indentation, and what to print below it: a caret, or nothing."""
    start = len(line) - len(line.lstrip())
    if column is None:
        return _visible(line[start : start + _WIDEST].replace("\t", "  ")), ""
    at = max(column - 1, 0)
    start = min(start, at) if at - start < _WIDEST - 20 else at - _WIDEST // 2
    before, after = (
        _visible(line[start:at].replace("\t", "  ")),
        _visible(line[at : start + _WIDEST].replace("\t", "  ")),
    )
    return before + after, " " * sum(map(_cells, before)) + "^"


def _cells(char: str) -> int:
    """How many columns a character takes in a terminal."""
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _visible(text: str, keep: str = "") -> str:
    """Without what would move a terminal's cursor, change its colours or turn its direction: code may hold anything."""
    return _CONTROL.sub(lambda match: match[0] if match[0] in keep else f"\\u{{{ord(match[0]):x}}}", text)


def fails(report: CheckReport, fail_on: Severity) -> bool:
    """Whether there is a finding as bad as `fail_on`. What is not installed here is no fault of the files."""
    severities = list(Severity)
    worst = severities[: severities.index(fail_on) + 1]
    return any(finding.severity in worst and finding.check != Outcome.MISSING_DEPENDENCY for finding in report.findings)


# ---------------------------------------------------------------------------------------------------------- the command


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """Add `check` to the commands."""
    parser = commands.add_parser(
        "check",
        help="say what Elixir's tools find in files or a project",
        description="Say what Elixir's parser, formatter and compiler, Credo and Sobelow find in files or a project. "
        "Compiling runs macros, so it happens in a sandbox. Scripts and tests (.exs) are parsed and formatted but not "
        "compiled, because that would run them; templates are left alone. The exit code is 0 when nothing was found, 1 "
        "when something was, 2 when the check could not be made.",
    )
    parser.add_argument("paths", nargs="+", metavar="PATH", help="a file, a folder, or - for standard input")
    parser.add_argument("--format", choices=("text", "json", "sarif"), default="text", help="of the answer (text)")
    parser.add_argument("--output", type=Path, metavar="FILE", help="write the answer to a file")
    parser.add_argument("--only", type=_steps, metavar="STEP,...", help=f"these steps alone, of {', '.join(STEPS)}")
    parser.add_argument("--skip", type=_steps, metavar="STEP,...", default=(), help="all steps but these")
    parser.add_argument(
        "--fail-on",
        choices=[str(severity) for severity in Severity],
        default="note",
        help="the mildest finding that makes the exit code 1 (note); a package that is not installed never does",
    )
    parser.add_argument("--strict", action="store_true", help="Credo's checks of low priority too")
    parser.add_argument("--fix", action="store_true", help="write files that are not formatted as they should be")
    parser.add_argument(
        "--guard",
        action="store_true",
        help="do not compile code that asks for files, programs or the network: for code that a model wrote",
    )
    parser.add_argument("--unsafe-no-sandbox", action="store_true", help="run code without a sandbox, as mix does")
    parser.add_argument("--workers", type=int, metavar="N", help="virtual machines at a time (one for each core)")
    parser.add_argument(
        "--timeout",
        type=float,
        default=_DEFAULTS.timeout_s,
        metavar="SECONDS",
        help=f"that compiling one project may take ({_DEFAULTS.timeout_s:g})",
    )
    parser.set_defaults(run=run)


def _steps(text: str) -> tuple[str, ...]:
    return tuple(step.strip() for step in text.split(",") if step.strip())


def run(args: argparse.Namespace) -> int:
    """The command. Returns 1 when something was found that is as bad as `--fail-on`."""
    unknown = [step for step in (*(args.only or ()), *args.skip) if step not in STEPS]
    if unknown:
        raise RecipeError(f"no such step: {unknown[0]}; there are: {', '.join(STEPS)}")
    options = CheckOptions(
        steps=[step for step in STEPS if step in (args.only or STEPS) and step not in args.skip],
        strict=args.strict,
        guard=args.guard,
        timeout_s=args.timeout,
    )
    if args.fix and "format" not in options.steps:
        raise RecipeError("--fix writes formatted files, and formatting is left out")
    with Checker(workers=args.workers, sandbox=not args.unsafe_no_sandbox) as checker:
        is_stdin = "-" in args.paths
        report = _check_stdin(checker, args, options) if is_stdin else checker.check_paths(args.paths, options)
    for skipped in report.skipped:
        print(f"skipped {_visible(str(skipped))}", file=sys.stderr)
    if args.fix:
        report = _fix(report)
    is_terminal = args.output is None and sys.stdout.isatty() and os.environ.get("TERM") != "dumb"
    text = _rendered(report, args.format, colours=is_terminal and not os.environ.get("NO_COLOR"))
    if args.output:
        _write(args.output, text.encode("utf-8", "backslashreplace"))
    else:
        encoding = sys.stdout.encoding or "utf-8"
        sys.stdout.write(text.encode(encoding, "backslashreplace").decode(encoding))
        sys.stdout.flush()
    return int(fails(report, Severity(args.fail_on)))


def _check_stdin(checker: Checker, args: argparse.Namespace, options: CheckOptions) -> CheckReport:
    if len(args.paths) > 1:
        raise InputError("standard input (-) is checked by itself; leave out the other paths")
    if args.fix:
        raise InputError("--fix writes files, and standard input is none")
    problem = partial(Finding, tool="elixir", category="syntax", severity=Severity.ERROR, path=STDIN)
    data = sys.stdin.buffer.read(_LARGEST_BYTES + 1)
    if len(data) > _LARGEST_BYTES:
        raise InputError(f"standard input is larger than {_LARGEST_BYTES >> 20} MiB")
    text = _decoded(data, problem)
    if isinstance(text, str):
        return checker.check_texts({STDIN: text}, options)
    return CheckReport(findings=(text,), files=(STDIN,), tool_versions={})


def _rendered(report: CheckReport, form: str, *, colours: bool) -> str:
    if form == "text":
        return to_text(report, colours=colours)
    if form == "json":
        return json.dumps(report.to_dict(), indent=2) + "\n"
    log = to_sarif(report.findings, tool_versions=report.tool_versions, root=Path.cwd(), sources=report.sources)
    return json.dumps(log, indent=2) + "\n"


def _fix(report: CheckReport) -> CheckReport:
    """Write what is not formatted, unless somebody else has written it meanwhile, and drop these findings."""
    fixed = set()
    for shown, formatted in report.formatted.items():
        if _read(Path(shown), shown) == report.sources[shown]:
            _write(Path(shown), formatted.encode())
            fixed.add(shown)
    print(f"formatted {_number(len(fixed), 'file')}", file=sys.stderr)
    findings = [each for each in report.findings if each.check != "not_formatted" or each.path not in fixed]
    # Lines have moved, so what is shown of a file is what it was; only its formatting is taken for granted.
    return replace(report, findings=tuple(findings))


def _write(path: Path, data: bytes) -> None:
    """All or nothing, keeping the permissions of a file that is there and the link that it may be."""
    place = Path(os.path.realpath(path))
    try:
        mode = place.stat().st_mode & 0o7777 if place.exists() else None
        handle, new = tempfile.mkstemp(dir=place.parent, prefix=f".{place.name}-")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(data)
            if mode is None:
                umask = os.umask(0)
                os.umask(umask)
                mode = 0o666 & ~umask
            os.chmod(new, mode)
            os.replace(new, place)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(new)
            raise
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error
