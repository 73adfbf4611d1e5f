"""Collect Elixir code into a corpus: `elixir-coder data collect debian --out DIR`, `... collect folder DIR --out DIR`.

Read it from top to bottom: sources give (path, bytes), bytes become `Example`s with a licence, cleaning drops some and
says why, each package goes to one split, and parquet shards replace the corpus in one step.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from elixir_coder.cache import cache_folder
from elixir_coder.data.archive import read_archive
from elixir_coder.data.clean import CODE_SUFFIXES, GUIDE_SUFFIXES, MAX_BYTES, clean, default_filters
from elixir_coder.data.debian import DEFAULT_SUITES, PrivateApt, SourcePackage
from elixir_coder.data.licence import ALLOWED, Licences, canonical, states_licence
from elixir_coder.data.shards import write_shards
from elixir_coder.data.split import SPLITS, split_packages
from elixir_coder.errors import DataError, InputError, require
from elixir_coder.example import Example

# Held out by default: a parser library to tune on; a parser-combinator library and the lexer family to judge by. They
# are small, pure Elixir, and not one of their files shares a tenth of its six-line windows with the training packages.
DEBIAN_VALIDATION = ("elixir-earmark-parser",)
DEBIAN_TEST = (
    "elixir-makeup",
    "elixir-makeup-c",
    "elixir-makeup-elixir",
    "elixir-makeup-erlang",
    "elixir-nimble-parsec",
)

Files = dict[str, bytes]  # path in the project -> content

_ARCHIVE = re.compile(r"(?:\.orig(?:-(?P<component>[A-Za-z0-9-]+))?|\.debian|_[^_]*)\.tar\.\w+$")
_SKIPPED_FOLDERS = frozenset({".git", ".elixir_ls", "node_modules"})
_MADE_BY_MIX = frozenset({"_build", "deps", "cover"})  # where they stand beside a mix.exs


@dataclass(frozen=True, kw_only=True)
class CollectReport:
    """What a collection did. Sizes are bytes of code; the same figures are in the corpus's dataset_info.json."""

    out: Path
    splits: Mapping[str, Mapping[str, int]]
    packages: Sequence[Mapping[str, Any]]
    dropped: Mapping[str, int]
    warnings: Sequence[str] = ()

    def __str__(self) -> str:
        lines = [
            f"{split}: {count['num_examples']} files, {count['num_bytes'] / 1e6:.2f} MB, {count['num_shards']} shards"
            for split, count in self.splits.items()
        ]
        lines += [
            f"  {row['package']} {row['version']} ({row['split']}): {row['num_examples']} files, "
            f"{row['num_bytes'] / 1e6:.2f} MB"
            for row in self.packages
        ]
        return "\n".join([*lines, f"dropped: {_reasons(self.dropped)}"])


def collect_debian(
    out: Path,
    packages: Sequence[str] | None = None,
    suites: Sequence[str] | None = None,
    *,
    validation_packages: Sequence[str] | None = None,
    test_packages: Sequence[str] | None = None,
    with_guides: bool = False,
    allowed_licences: Collection[str] = ALLOWED,
    cache: Path | None = None,
    etc: Path = Path("/etc/apt"),
    progress: bool | None = None,
) -> CollectReport:
    """Collect the Elixir code of Debian source packages into parquet shards in `out`.

    packages: source package names; by default ours and every package whose index entry builds with Elixir.
    suites: bookworm, trixie and sid by default, those that the mirror has. Each version that a suite has is taken; of
    equal files the newest version's is kept. cache: downloads and indices, `~/.cache/elixir-coder/debian` by default.
    progress: bars on stderr; None shows them on a terminal.

    Raises DataError when no suite can be reached or nothing was collected, CorruptArchiveError for a damaged archive.
    """
    wanted_suites = tuple(suites or DEFAULT_SUITES)
    apt = PrivateApt(cache or default_cache(), wanted_suites, etc)
    complaints = apt.update()
    reachable = apt.suites()
    absent = [suite for suite in wanted_suites if suite not in reachable]
    if absent and (suites or not reachable):
        raise DataError(f"no source index of suite {absent[0]}: {' '.join(complaints[-1:]) or 'not on the mirror'}")
    warnings = [f"suite {suite} is not on the mirror; left out" for suite in absent]
    warnings += [f"an index is not fresh: {line}" for line in complaints if "Failed to fetch" in line]

    found = apt.find(wanted_suites, packages)
    if unknown := sorted(set(packages or ()) - {package.name for package in found}):
        raise DataError(f"no source package {unknown[0]} in {', '.join(wanted_suites)}")

    with _bar(progress, total=sum(package.num_bytes for package in found), unit="B", desc="download") as bar:
        for package in found:
            bar.set_postfix_str(f"{package.name} {package.version}")
            if lacking := apt.download(package, bar.update):
                warnings.append(f"{package.name} {package.version}: the mirror does not serve {', '.join(lacking)}")

    suffixes = CODE_SUFFIXES | GUIDE_SUFFIXES if with_guides else CODE_SUFFIXES
    dropped: Counter[str] = Counter()
    examples: list[Example] = []
    filters = default_filters(allowed_licences)
    for package in _bar(progress, found, desc="read", unit="package"):
        read = examples_of(
            package_files(apt, package, dropped, suffixes),
            package=package.name,
            version=package.version,
            source="debian",
            suffixes=suffixes,
            dropped=dropped,
        )
        examples += clean(read, filters, dropped)

    collected = {example.package for example in examples}
    had = {(example.package, example.version) for example in examples}
    if lost := sorted(set(packages or ()) - collected):
        reason = next((warning for warning in warnings if warning.startswith(lost[0])), f"dropped: {_reasons(dropped)}")
        raise DataError(f"nothing was collected from {lost[0]} ({reason})")
    split = split_packages(
        collected,
        validation=_held_out(validation_packages, DEBIAN_VALIDATION, collected, test_packages),
        test=_held_out(test_packages, DEBIAN_TEST, collected, validation_packages),
    )
    newest = {package.name: package.version for package in reversed(found) if (package.name, package.version) in had}
    kept = [e for e in examples if split[e.package] == "train" or e.version == newest[e.package]]
    dropped["older version of a held-out package"] += len(examples) - len(kept)
    suite_of = {(package.name, package.version): package.suite for package in found}
    return _write(out, kept, split, dropped, warnings, collector="debian", suite_of=suite_of)


def collect_folder(
    folder: Path,
    out: Path,
    *,
    package: str | None = None,
    version: str | None = None,
    licence: str | None = None,
    validation_packages: Sequence[str] | None = None,
    test_packages: Sequence[str] | None = None,
    with_guides: bool = False,
    allowed_licences: Collection[str] = ALLOWED,
    progress: bool | None = None,
) -> CollectReport:
    """Collect the Elixir code under `folder`: one project, or a folder of projects (each with its own mix.exs).

    package, version: by default what mix.exs says, or the folder's name and "0". licence: by default the one whose text
    the project's LICENSE file holds. Build output and fetched dependencies are not entered, links are not followed.

    Raises InputError when `folder` is not a folder, DataError when nothing in it could be kept.
    """
    if not folder.is_dir():
        raise InputError(f"no folder {folder}; expected a Mix project or a folder of them")
    projects = mix_projects(folder) if package is None else [folder]
    suffixes = CODE_SUFFIXES | GUIDE_SUFFIXES if with_guides else CODE_SUFFIXES
    dropped: Counter[str] = Counter()
    examples: list[Example] = []
    filters = default_filters({*allowed_licences, canonical(licence)} if licence else allowed_licences)
    for project in _bar(progress, projects, desc="read", unit="project"):
        name, stated_version = mix_names(project)
        read = examples_of(
            folder_files(project, dropped, suffixes, skip=[other for other in projects if other != project]),
            package=package or name,
            version=version or stated_version,
            source="folder",
            suffixes=suffixes,
            dropped=dropped,
            licence=licence,
        )
        examples += clean(read, filters, dropped)
    split = split_packages(
        {example.package for example in examples}, validation=validation_packages, test=test_packages
    )
    return _write(out, examples, split, dropped, [], collector="folder", suite_of={})


def package_files(apt: PrivateApt, package: SourcePackage, dropped: Counter[str], suffixes: Collection[str]) -> Files:
    """The files of a source package that was downloaded, whole or in part, archive by archive."""
    wanted = _wanted(suffixes, dropped)
    absent = apt.missing(package)
    files: Files = {}
    for file in package.files:
        if file.name not in absent and (archive := _ARCHIVE.search(file.name)):
            component = f"{archive['component']}/" if archive["component"] else ""
            for path, content in read_archive(apt.archives / file.name, wanted):
                files[component + path] = content
    return files


def folder_files(folder: Path, dropped: Counter[str], suffixes: Collection[str], skip: Collection[Path] = ()) -> Files:
    """The files under a folder, in path order, without the folders of `skip`; links are not followed."""
    wanted = _wanted(suffixes, dropped)
    files: Files = {}
    for top, folders, names in os.walk(folder, followlinks=False):
        here = Path(top)
        folders[:] = [name for name in _entered(folders, names) if here / name not in skip]
        for name in sorted(names):
            path = here / name
            if path.is_symlink() or not path.is_file() or not wanted(name, path.stat().st_size):
                continue
            try:
                files[path.relative_to(folder).as_posix()] = path.read_bytes()
            except OSError as error:
                raise InputError(f"cannot read {path}: {error.strerror}") from error
    return files


def examples_of(
    files: Files,
    *,
    package: str,
    version: str,
    source: str,
    suffixes: Collection[str],
    dropped: Counter[str],
    licence: str | None = None,
) -> Iterator[Example]:
    """The files with one of the suffixes as examples; one that is not UTF-8 is counted as dropped.

    licence: of every file; None reads it from what the files say.
    """
    licences = Licences(
        (path, content.decode("utf-8", errors="replace")) for path, content in files.items() if states_licence(path)
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
        path = os.fsencode(path).decode("utf-8", errors="replace")  # file names need not be UTF-8
        yield Example.of(code, path=path, package=package, version=version, licence=its_licence, source=source)


def mix_projects(folder: Path) -> list[Path]:
    """The outermost folders with a mix.exs, or the folder itself when there is none."""
    if (folder / "mix.exs").is_file():
        return [folder]
    projects: list[Path] = []
    for top, folders, names in os.walk(folder, followlinks=False):
        folders[:] = _entered(folders, names)
        if "mix.exs" in names:
            projects.append(Path(top))
            folders.clear()  # an umbrella's children belong to it
    return projects or [folder]


def mix_names(project: Path) -> tuple[str, str]:
    """The package name and version that a project's mix.exs states, or the folder's name and "0"."""
    name, version = project.resolve().name, "0"
    mix = project / "mix.exs"
    if mix.is_file():
        text = mix.read_text(encoding="utf-8", errors="replace")
        if match := re.search(r"\bapp:\s*:(\w+)", text):
            name = match[1]
        if match := re.search(r'(?:@version|\bversion:)\s*"([^"]+)"', text):
            version = match[1]
    return name, version


def default_cache() -> Path:
    """Where downloads are kept between runs: $XDG_CACHE_HOME/elixir-coder/debian."""
    return cache_folder("debian")


def add_parser(subparsers: Any) -> None:
    """Add `collect debian` and `collect folder` to the subcommands of `elixir-coder data`."""
    collect = subparsers.add_parser("collect", help="gather Elixir code into parquet shards")
    sources = collect.add_subparsers(dest="source", required=True, metavar="SOURCE")

    debian = sources.add_parser("debian", help="source packages of Debian bookworm or newer")
    debian.add_argument(
        "--packages", nargs="+", metavar="NAME", help="source packages (default: ours and all that build with Elixir)"
    )
    debian.add_argument(
        "--suites", nargs="+", metavar="NAME", help=f"Debian releases (default: {' '.join(DEFAULT_SUITES)})"
    )
    debian.add_argument(
        "--cache", type=Path, metavar="DIR", help="where downloads are kept (default: ~/.cache/elixir-coder/debian)"
    )
    debian.set_defaults(run=run_debian)

    folder = sources.add_parser("folder", help="a Mix project, or a folder of them")
    folder.add_argument(
        "folder", type=Path, metavar="DIR", help="its name, version and licence are read from its files"
    )
    folder.add_argument("--package", help="name for everything in DIR (default: what each mix.exs says)")
    folder.add_argument("--version", help="version (default: what each mix.exs says)")
    folder.add_argument("--licence", help="licence you hold the code under (default: read from the LICENSE file)")
    folder.set_defaults(run=run_folder)

    for parser in (debian, folder):
        parser.add_argument(
            "--out", type=Path, required=True, metavar="DIR", help="folder of the corpus, replaced as a whole"
        )
        parser.add_argument("--validation_packages", nargs="*", metavar="NAME", help="packages held out to tune on")
        parser.add_argument("--test_packages", nargs="*", metavar="NAME", help="packages held out to judge by")
        parser.add_argument("--with_guides", action="store_true", help="also take Markdown that shows Elixir")
        parser.add_argument(
            "--allow_licences",
            nargs="+",
            default=[],
            metavar="ID",
            help="licences to keep besides the permissive ones; `unknown` is one",
        )


def run_debian(args: argparse.Namespace) -> int:
    """The command `data collect debian`."""
    report = collect_debian(args.out, args.packages, args.suites, cache=args.cache, **_shared_arguments(args))
    return _say(report)


def run_folder(args: argparse.Namespace) -> int:
    """The command `data collect folder`."""
    names = {"package": args.package, "version": args.version, "licence": args.licence}
    return _say(collect_folder(args.folder, args.out, **names, **_shared_arguments(args)))


def _say(report: CollectReport) -> int:
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(report)
    return 0


def _shared_arguments(args: argparse.Namespace) -> dict[str, Any]:
    return {
        "validation_packages": args.validation_packages,
        "test_packages": args.test_packages,
        "with_guides": args.with_guides,
        "allowed_licences": ALLOWED | set(args.allow_licences),
    }


def _entered(folders: Iterable[str], names: Collection[str]) -> list[str]:
    skipped = _SKIPPED_FOLDERS | _MADE_BY_MIX if "mix.exs" in names else _SKIPPED_FOLDERS
    return sorted(set(folders) - skipped)


def _wanted(suffixes: Collection[str], dropped: Counter[str]) -> Callable[[str, int], bool]:
    def wanted(path: str, num_bytes: int) -> bool:
        is_code = PurePosixPath(path).suffix in suffixes
        if num_bytes > MAX_BYTES:
            dropped["too large"] += is_code
            return False
        return is_code or states_licence(path)

    return wanted


def _held_out(
    named: Sequence[str] | None, default: Sequence[str], collected: Collection[str], other: Sequence[str] | None
) -> Sequence[str]:
    if named is not None:
        return named
    return [name for name in default if name in collected and name not in (other or ())]


def _write(
    out: Path,
    examples: list[Example],
    split: Mapping[str, str],
    dropped: Counter[str],
    warnings: list[str],
    *,
    collector: str,
    suite_of: Mapping[tuple[str, str], str],
) -> CollectReport:
    if not examples:
        hint = "; name its licence with --licence" if collector == "folder" and dropped["licence"] else ""
        raise DataError(f"nothing to write to {out}: no file was kept (dropped: {_reasons(dropped)}){hint}")
    examples.sort(key=lambda example: (example.package, example.version, example.path))
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for example in examples:
        key = (example.package, example.version)
        names = {"package": example.package, "version": example.version, "split": split[example.package]}
        suite = {"suite": suite_of[key]} if key in suite_of else {}
        row = rows.setdefault(key, {**names, **suite, "num_examples": 0, "num_bytes": 0})
        row["num_examples"] += 1
        row["num_bytes"] += len(example.code.encode())
    manifest = {
        "source": collector,
        "packages": list(rows.values()),
        "licences": dict(Counter(example.licence for example in examples)),
        "dropped": dict(+dropped),
        "warnings": warnings,
    }
    by_split = {name: [example for example in examples if split[example.package] == name] for name in SPLITS}
    counts = write_shards(out, by_split, manifest)
    return CollectReport(
        out=out, splits=counts, packages=list(rows.values()), dropped=dict(+dropped), warnings=tuple(warnings)
    )


def _reasons(dropped: Mapping[str, int]) -> str:
    return ", ".join(f"{reason} {count}" for reason, count in (+Counter(dropped)).most_common()) or "nothing"


def _bar(progress: bool | None, iterable: Iterable[Any] | None = None, **settings: Any) -> Any:
    shown = sys.stderr.isatty() if progress is None else progress
    return require("tqdm", "data").tqdm(iterable, disable=not shown, unit_scale=settings.get("unit") == "B", **settings)
