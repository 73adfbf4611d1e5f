"""Debian source packages through a private apt: own lists, own cache, the machine's mirror and signing keys.

apt checks the signature of each suite's index, the checksum of each file, and resumes a file that was cut off. The
machine's own apt is neither changed nor asked for privileges. A mirror that lacks some of a package's files still
gives the rest: what is missing is named, not guessed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elixir_coder.data.archive import read_archive
from elixir_coder.data.clean import CODE_SUFFIXES
from elixir_coder.data.deb822 import parse_deb822
from elixir_coder.data.project import Wanted
from elixir_coder.data.source import Files, Project, Reference
from elixir_coder.errors import CorruptArchiveError, DataError, MissingDependencyError

DEFAULT_PACKAGES = (
    "elixir-lang",
    "elixir-ex-doc",
    "elixir-earmark-parser",
    "elixir-nimble-parsec",
    "elixir-makeup",
    "elixir-makeup-c",
    "elixir-makeup-elixir",
    "elixir-makeup-erlang",
    "erlang-hex",
    "rabbitmq-server",
)
DEFAULT_SUITES = ("bookworm", "trixie", "sid")
# They build with Elixir and are not taken unless named: erlang only makes its manuals with ex_doc (49 MB),
# sonic-pi is a small Elixir server under 56 MB of sounds.
NOT_WORTH_FETCHING = frozenset({"erlang", "sonic-pi"})

_BASE_SUITES = frozenset(
    "bookworm trixie forky duke sid oldoldstable oldstable stable testing unstable experimental".split()
)
_NOT_SERVED = re.compile(r"\b(404|410)\s|File not found|Failed to fetch some archives")
_DAMAGED = re.compile(r"Hash Sum mismatch|unexpected size", re.IGNORECASE)
_POLL_S = 0.2
_ARCHIVE = re.compile(r"(?:\.orig(?:-(?P<component>[A-Za-z0-9-]+))?|\.debian|_[^_]*)\.tar\.\w+$")


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One file of a source package as the signed index describes it."""

    name: str
    num_bytes: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class SourcePackage:
    """One version of a source package, and the first of the wanted suites that has it."""

    name: str
    version: str
    suite: str
    files: tuple[SourceFile, ...]

    @property
    def num_bytes(self) -> int:
        return sum(file.num_bytes for file in self.files)


@dataclass(frozen=True, kw_only=True)
class DebianReference(Reference):
    """A version of a source package. suite: the first of the wanted ones that has it."""

    suite: str


class DebianSource:
    """Source packages of Debian releases, each version that a suite has, by name and newest first."""

    name = "debian"

    def __init__(
        self,
        home: Path,
        packages: Sequence[str] | None = None,
        suites: Sequence[str] | None = None,
        *,
        etc: Path = Path("/etc/apt"),
        suffixes: Collection[str] = CODE_SUFFIXES,
    ) -> None:
        """Refresh the indices and look the packages up. home: downloads and indices, kept between runs. packages: None
        takes ours and all that build with Elixir. suites: None takes those of `DEFAULT_SUITES` that the mirror has.

        Raises DataError for a suite that cannot be reached, or a package that no suite has.
        """
        wanted_suites = tuple(suites or DEFAULT_SUITES)
        self.suffixes = suffixes
        self._apt = PrivateApt(home, wanted_suites, etc)
        self._one_at_a_time = threading.Lock()
        complaints = self._apt.update()
        reachable = self._apt.suites()
        absent = [suite for suite in wanted_suites if suite not in reachable]
        if absent and (suites or not reachable):
            raise DataError(f"no source index of suite {absent[0]}: {' '.join(complaints[-1:]) or 'not on the mirror'}")
        self.warnings = [f"suite {suite} is not on the mirror; left out" for suite in absent]
        self.warnings += [f"an index is not fresh: {line}" for line in complaints if "Failed to fetch" in line]
        found = self._apt.find(wanted_suites, packages)
        if unknown := sorted(set(packages or ()) - {package.name for package in found}):
            raise DataError(f"no source package {unknown[0]} in {', '.join(wanted_suites)}")
        self._packages = {f"{package.name} {package.version}": package for package in found}
        self.num_bytes = sum(package.num_bytes for package in found)
        self.arrived: Callable[[int], object] = lambda _: None  # told the number of bytes that came in, as they come

    def references(self) -> Iterator[DebianReference]:
        """The versions found, newest first."""
        for key, package in self._packages.items():
            yield DebianReference(key=key, package=package.name, version=package.version, suite=package.suite)

    def read(self, reference: Reference) -> Project:
        """Fetch a source package and read its files; what the mirror does not serve is a warning."""
        package = self._packages[reference.key]
        with self._one_at_a_time:  # two apts would rebuild one cache of indices
            lacking = self._apt.download(package, self.arrived)
        wanted = Wanted(self.suffixes)
        absent = f"{reference.key}: the mirror does not serve {', '.join(lacking)}"
        return Project(
            package=package.name,
            version=package.version,
            files=package_files(self._apt, package, wanted),
            dropped=dict(+wanted.dropped),
            warnings=(absent,) if lacking else (),
        )


def package_files(apt: PrivateApt, package: SourcePackage, wanted: Wanted) -> Files:
    """The files of a source package that was downloaded, whole or in part, archive by archive."""
    absent = apt.missing(package)
    files: Files = {}
    for file in package.files:
        if file.name not in absent and (archive := _ARCHIVE.search(file.name)):
            component = f"{archive['component']}/" if archive["component"] else ""
            for path, content in read_archive(apt.archives / file.name, wanted):
                files[component + path] = content
    return files


class PrivateApt:
    """apt with all of its state in one folder of ours, reading source indices of the wanted suites."""

    def __init__(self, home: Path, suites: Sequence[str], etc: Path = Path("/etc/apt")) -> None:
        """home: created when absent, kept between runs. etc: where the machine's own sources are listed."""
        if shutil.which("apt-get") is None:
            raise MissingDependencyError("collecting from Debian needs `apt-get`, which is not on the PATH")
        self.home = home.resolve()
        self.archives = self.home / "sources"
        for folder in (self.home / "lists" / "partial", self.home / "archives" / "partial", self.archives):
            folder.mkdir(parents=True, exist_ok=True)
        self._sources = self.home / "private.sources"
        self._sources.write_text(private_sources(etc, suites), encoding="utf-8")

    def update(self) -> list[str]:
        """Refresh the signed source indices; give apt's complaints, which name the suites it could not reach."""
        done = self._apt("apt-get", "update")
        return [line for line in done.stderr.splitlines() if line.startswith(("E:", "W:"))]

    def suites(self) -> dict[str, Path]:
        """The suites that are at hand, each with its index file."""
        listed = self._apt("apt-get", "indextargets", "--format", "$(RELEASE) $(CREATED_BY) $(FILENAME)").stdout
        rows = (line.split(" ", 2) for line in listed.splitlines())
        return {suite: Path(file) for suite, kind, file in rows if kind == "Sources" and Path(file).is_file()}

    def find(self, suites: Iterable[str], packages: Collection[str] | None = None) -> list[SourcePackage]:
        """The named packages of these suites, each version once, by name and newest first.

        packages: None takes `DEFAULT_PACKAGES` and every package whose build dependencies name elixir.
        """
        found: dict[tuple[str, str], SourcePackage] = {}
        indices = self.suites()
        for suite in suites:
            for entry in _index_entries(indices[suite]) if suite in indices else ():
                if _is_wanted(entry, packages):
                    package = _source_package(entry, suite)
                    found.setdefault((package.name, package.version), package)
        newest_first = sorted(found.values(), key=lambda package: version_key(package.version), reverse=True)
        return sorted(newest_first, key=lambda package: package.name)

    def download(self, package: SourcePackage, arrived: Callable[[int], object] = lambda _: None) -> list[str]:
        """Fetch the package's files that are not here yet, resuming partial ones; name those the mirror does not have.

        arrived: told the number of bytes that came in, as they come. The files lie in `archives` under their names.
        Raises DataError when the connection fails, CorruptArchiveError when the mirror's file is not the one that the
        signed index describes.
        """
        for file in package.files:  # apt cannot resume a file that is as long as it should be and still wrong
            path = self.archives / file.name
            if path.exists() and path.stat().st_size >= file.num_bytes and not is_intact(path, file):
                path.unlink()
        if not self.missing(package):
            arrived(package.num_bytes)
            return []
        spec = f"{package.name}={package.version}"
        command = ["apt-get", "source", "--download-only", "--only-source", *self._options(), spec]
        seen = 0
        with subprocess.Popen(
            command, cwd=self.archives, env=_environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
        ) as process:
            complaints = None
            while complaints is None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    complaints = process.communicate(timeout=_POLL_S)[1]
                now = sum(_size(self.archives / file.name) for file in package.files)
                arrived(max(0, now - seen))
                seen = max(seen, now)
        errors = [line for line in complaints.splitlines() if line.startswith("E:")]
        absent = self.missing(package)
        for error in errors if absent else ():
            if _DAMAGED.search(error):
                raise CorruptArchiveError(f"{package.name} {package.version}: {error.removeprefix('E: ')}")
            if not _NOT_SERVED.search(error):
                raise DataError(
                    f"could not fetch {', '.join(absent)} ({error.removeprefix('E: ')}); "
                    f"what arrived is kept in {self.archives}: run the same command again to resume"
                )
        arrived(package.num_bytes - seen)
        return absent

    def missing(self, package: SourcePackage) -> list[str]:
        """The names of the package's files that are not here whole."""
        return [file.name for file in package.files if not is_intact(self.archives / file.name, file)]

    def _apt(self, *command: str) -> subprocess.CompletedProcess[str]:
        words = [*command[:2], *self._options(), *command[2:]]
        return subprocess.run(words, cwd=self.home, env=_environment(), capture_output=True, text=True)

    def _options(self) -> list[str]:
        settings = {
            "Dir::State": self.home,
            "Dir::State::Lists": self.home / "lists",
            "Dir::Cache": self.home,
            "Dir::Etc::sourcelist": self._sources,
            "Dir::Etc::sourceparts": "/dev/null",
            "Acquire::GzipIndexes": "false",
            "Acquire::Languages": "none",
            "APT::Sandbox::User": "root",  # as root, apt would otherwise fetch as a user who may not write to `home`
            "Acquire::Retries": "3",
        }
        return [f"-o{name}={value}" for name, value in settings.items()]


def private_sources(etc: Path, suites: Sequence[str]) -> str:
    """A deb822 list of source packages for `suites`, with the mirror and the keys of the machine's own Debian entry.

    Reads `sources.list`, `sources.list.d/*.list` and `*.sources` under `etc`. The first entry that is enabled, has
    component `main` and names one of Debian's releases (no security, update or third-party archive) is taken.

    Raises DataError when there is none, or when a suite's name could break the list.
    """
    if bad := next((suite for suite in suites if not re.fullmatch(r"[a-z0-9][a-z0-9.+-]*", suite)), None):
        raise DataError(f"not a Debian suite: {bad!r}; expected names such as {', '.join(DEFAULT_SUITES)}")
    for entry in _machine_entries(etc):
        is_enabled = entry.get("enabled", "yes").lower() not in ("no", "false", "0")
        has_release = _BASE_SUITES & set(entry.get("suites", "").split())
        if not (is_enabled and has_release and "main" in entry.get("components", "").split()):
            continue
        lines = ["Types: deb-src", f"URIs: {entry['uris']}", f"Suites: {' '.join(suites)}", "Components: main"]
        for name in ("Signed-By", "Trusted"):
            if value := entry.get(name.lower()):
                lines.append(f"{name}: " + value.replace("\n", "\n "))
        return "\n".join(lines) + "\n"
    raise DataError(
        f"no Debian mirror in {etc}: expected a `deb` entry of a release such as bookworm with component main"
    )


def uses_elixir(entry: dict[str, str]) -> bool:
    """Whether an index entry's build dependencies name elixir, as those of a package written in Elixir do."""
    depends = " ".join(entry.get(field, "") for field in ("build-depends", "build-depends-indep", "build-depends-arch"))
    return re.search(r"(?<![\w.+-])(elixir|dh-elixir)(?![\w.+-])", depends) is not None


def version_key(version: str) -> tuple[Any, ...]:
    """A key that sorts Debian versions from old to new (deb-version(7)): epoch, upstream version, revision."""
    epoch, colon, rest = version.partition(":")
    if not colon:
        epoch, rest = "0", version
    upstream, _, revision = rest.rpartition("-") if "-" in rest else (rest, "", "0")
    return int(epoch), _part_key(upstream), _part_key(revision)


def is_intact(path: Path, file: SourceFile) -> bool:
    """Whether the file on disk has the size and sha256 of the index."""
    if _size(path) != file.num_bytes:
        return False
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest() == file.sha256


def _part_key(text: str) -> tuple[tuple[tuple[int, ...], int], ...]:
    # Runs of non-digits and numbers in turn. `~` sorts before the end of a run, letters before other characters.
    runs = re.findall(r"(\D*)(\d*)", text)
    return tuple(((*map(_weight, word), 0), int(number or 0)) for word, number in runs)


def _weight(character: str) -> int:
    return -1 if character == "~" else ord(character) if character.isalpha() else ord(character) + 256


def _machine_entries(etc: Path) -> Iterator[dict[str, str]]:
    parts = etc / "sources.list.d"
    for path in sorted([etc / "sources.list", *parts.glob("*.list"), *parts.glob("*.sources")]):
        if not path.is_file():
            continue
        text = path.read_text(encoding="utf-8", errors="replace")
        if path.suffix == ".sources":
            yield from parse_deb822(text)
        else:
            yield from filter(None, map(_one_line_entry, text.splitlines()))


def _one_line_entry(line: str) -> dict[str, str] | None:
    match = re.fullmatch(r"\s*deb(?:-src)?\s+(?:\[([^]]*)\]\s+)?(\S+)\s+(\S+)\s+([^#]*)(#.*)?", line)
    if match is None:
        return None
    options = dict(option.partition("=")[::2] for option in (match[1] or "").split())
    entry = {"uris": match[2], "suites": match[3], "components": match[4]}
    return entry | {name.lower(): value.replace(",", " ") for name, value in options.items()}


def _index_entries(index: Path) -> Iterator[dict[str, str]]:
    with index.open(encoding="utf-8", errors="replace") as lines:
        block: list[str] = []
        for line in lines:
            if line != "\n":
                block.append(line)
                continue
            yield from parse_deb822("".join(block))
            block.clear()
        yield from parse_deb822("".join(block))


def _is_wanted(entry: dict[str, str], packages: Collection[str] | None) -> bool:
    name = entry.get("package", "")
    if "checksums-sha256" not in entry or entry.get("extra-source-only") == "yes":  # superseded, kept for its licence
        return False
    if packages is not None:
        return name in packages
    return name in DEFAULT_PACKAGES or (name not in NOT_WORTH_FETCHING and uses_elixir(entry))


def _source_package(entry: dict[str, str], suite: str) -> SourcePackage:
    rows = (line.split() for line in entry["checksums-sha256"].splitlines() if line.strip())
    files = tuple(SourceFile(name=name, num_bytes=int(size), sha256=digest) for digest, size, name in rows)
    for file in files:
        if "/" in file.name or file.name.startswith("."):
            raise CorruptArchiveError(f"{entry['package']}: the file name {file.name!r} leaves the download folder")
    return SourcePackage(name=entry["package"], version=entry["version"], suite=suite, files=files)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C"}
