"""Code from git repositories: cloned without history, or read where they lie, never checked out.

    elixir-coder data collect git https://host/owner/name [...] --out DIR

Files come out of git's object store (`ls-tree`, `cat-file`), so no hook, filter, submodule or link of a repository can
do anything. Of an address only the usual transports are spoken, and nothing that begins with `-` reaches git. A forge's
API, where one is given, says how many stars a repository has and when it was last worked on.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Collection, Generator, Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path, PurePosixPath
from typing import IO, Any, Protocol
from urllib.parse import urlsplit

from elixir_coder.data.clean import CODE_SUFFIXES, MAX_BYTES
from elixir_coder.data.project import NotWanted, Wanted, canonical_url, is_entered, mix_says, suffixes_of
from elixir_coder.data.source import Files, Project, Reference
from elixir_coder.errors import DataError, InputError, MissingDependencyError, require

TRANSPORTS = ("https", "http", "ssh", "git", "file")
MAX_CHANGED_FILES = 20  # a commit that touches more is a rename, a release, an import
MAX_MESSAGE = 10_000  # characters
_SHORT = 12  # hexadecimal digits of a commit that name it in a version
_TIMEOUT_S = 1_800.0
_TRIES = 3
_MAX_WAIT_S = 60.0
_POINTER = b"version https://git-lfs"
_PEOPLE = re.compile(r"^[A-Za-z-]+-by: .*\n?", re.MULTILINE)  # `Co-authored-by: Somebody <an address>`
_SETTINGS = (
    "core.hooksPath=/dev/null",
    "core.fsmonitor=false",
    "core.quotePath=false",
    "log.showSignature=false",
    "http.lowSpeedLimit=1000",  # bytes a second, below which a server counts as silent
    "http.lowSpeedTime=60",
)


@dataclass(frozen=True, kw_only=True)
class GitReference(Reference):
    """A repository. url: as it was given. ref: a branch or tag, "" for the default branch."""

    url: str
    ref: str = ""


@dataclass(frozen=True, kw_only=True)
class Commit:
    """What a commit changed in Elixir files, and what its message says; not who wrote, signed or reviewed it.

    date: ISO 8601, of the commit. changes: (path, before, after), where before is "" for a new file, after "" for a
    deleted one; a renamed file has its new path.
    """

    sha: str
    message: str
    date: str
    changes: tuple[tuple[str, str, str], ...]


class GitSource:
    """Repositories by address: a URL, or a folder of this machine, each with `#REF` behind it where it is not the
    default branch that is wanted."""

    name = "git"

    def __init__(
        self,
        addresses: Iterable[str],
        *,
        suffixes: Collection[str] = CODE_SUFFIXES,
        forge: Forge | None = None,
        min_stars: int = 0,
        pushed_after: date | None = None,
        timeout_s: float = _TIMEOUT_S,
    ) -> None:
        """forge: asked about each repository before it is cloned; it drops those with fewer stars than `min_stars`,
        or last pushed to before `pushed_after`.

        Raises InputError for an address that is none, MissingDependencyError without git.
        """
        if shutil.which("git") is None:
            raise MissingDependencyError("collecting from git needs `git`, which is not on the PATH")
        if forge is None and (min_stars or pushed_after):
            raise InputError("--min_stars and --pushed_after need --api, which knows them")
        self.suffixes, self.timeout_s = suffixes, timeout_s
        self._forge, self._min_stars, self._pushed_after = forge, min_stars, pushed_after
        unique: dict[str, GitReference] = {}
        for address in addresses:
            reference = reference_of(address)
            if canonical_url(reference.url) or reference.key not in unique:
                unique.setdefault(reference.key, reference)
            elif unique[reference.key].url != reference.url:
                raise InputError(f"{unique[reference.key].url} and {reference.url} are both {reference.key}; name one")
        if not unique:
            raise InputError("no repository is named; give URLs or --list FILE")
        self._references = list(unique.values())

    @property
    def settings(self) -> dict[str, Any]:
        """What decides which repositories are wanted."""
        return {"min_stars": self._min_stars, "pushed_after": str(self._pushed_after or "")}

    def references(self) -> Iterator[GitReference]:
        """The repositories as they were named, each once."""
        yield from self._references

    def read(self, reference: Reference) -> Project:
        """A repository's files at its default branch, or the branch or tag that was named."""
        assert isinstance(reference, GitReference), "of this source"
        is_here = Path(reference.url).is_dir()
        if self._forge:
            self._ask(self._forge, Repository(Path(reference.url)).origin if is_here else reference.url)
        with self._repository(reference) as repository:
            wanted = Wanted(self.suffixes)
            commit = repository.commit_of(reference.ref if is_here and reference.ref else "HEAD")
            return Project(
                package=reference.package,
                version=repository.version(commit, reference.ref),
                files=repository.files(commit, wanted),
                url=repository.origin if is_here else reference.url,
                dropped=dict(+wanted.dropped),
            )

    def _ask(self, forge: Forge, url: str) -> None:
        about = forge.about(url)
        if about.stars < self._min_stars:
            raise NotWanted(f"fewer than {self._min_stars} stars")
        if self._pushed_after and about.pushed < self._pushed_after:
            raise NotWanted(f"not pushed to since {self._pushed_after}")

    @contextmanager
    def _repository(self, reference: GitReference) -> Iterator[Repository]:
        if Path(reference.url).is_dir():
            yield Repository(Path(reference.url))
            return
        with tempfile.TemporaryDirectory(prefix="elixir-coder-git-", ignore_cleanup_errors=True) as folder:
            clone(reference.url, Path(folder) / "bare.git", ref=reference.ref, timeout_s=self.timeout_s)
            yield Repository(Path(folder) / "bare.git")


class Repository:
    """A repository on this machine, bare or with a work tree, of which only the object store is read."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def origin(self) -> str:
        """The address it was cloned from, "" where there is none."""
        try:
            return _git(self.folder, "config", "--get", "remote.origin.url").strip()
        except DataError:
            return ""

    @property
    def name(self) -> str:
        """Of the application that its mix.exs describes, or of the folder."""
        try:
            mix = _git(self.folder, "cat-file", "blob", "HEAD:mix.exs")
        except DataError:
            mix = ""
        return mix_says(mix)[0] or self.folder.resolve().name.removesuffix(".git")

    def commit_of(self, ref: str) -> str:
        """The commit that a branch, tag or `HEAD` names."""
        return _git(self.folder, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}").strip()

    def version(self, commit: str, asked_for: str = "") -> str:
        """The tag that was asked for, the greatest tag of the commit, or its date and the beginning of its name."""
        tags = _git(self.folder, "tag", "--sort=-version:refname", "--points-at", commit).split()
        if tags:
            return asked_for if asked_for in tags else tags[0]
        day = _git(self.folder, "log", "-1", "--format=%cd", "--date=format-local:%Y-%m-%d", commit, "--").strip()
        return f"{day}-{commit[:_SHORT]}"

    def files(self, commit: str, wanted: Wanted) -> Files:
        """The wanted regular files of a commit by path; submodules, links and what lies in a store of large files are
        left out."""
        listed = _git_bytes(self.folder, "ls-tree", "-r", "-z", "-l", "--full-tree", commit)
        entries: dict[str, tuple[str, int]] = {}
        for entry in filter(None, os.fsdecode(listed).split("\0")):
            described, _, path = entry.partition("\t")
            mode, kind, blob, size = described.split()
            if kind == "blob" and mode in ("100644", "100755"):
                entries[path] = (blob, int(size))
        projects = {path.rpartition("/")[0] for path in entries if PurePosixPath(path).name == "mix.exs"}
        chosen = {
            path: blob for path, (blob, size) in entries.items() if is_entered(path, projects) and wanted(path, size)
        }
        files: Files = {}
        with Objects(self.folder) as objects:
            for path, blob in chosen.items():
                content = objects.read(blob) or b""
                if content.startswith(_POINTER):
                    wanted.dropped["in a store of large files"] += 1
                else:
                    files[path] = content
        return files


class Objects:
    """Objects of a repository by name, through one process."""

    def __init__(self, folder: Path) -> None:
        self._process = _start(folder, "cat-file", "--batch", stdin=subprocess.PIPE)
        assert self._process.stdin and self._process.stdout
        self._asked: IO[bytes] = self._process.stdin
        self._told: IO[bytes] = self._process.stdout
        self._folder = folder

    def read(self, name: str, limit: int = MAX_BYTES) -> bytes | None:
        """The content of an object, None for one of more bytes than `limit`.

        Raises DataError where the repository lacks it.
        """
        self._asked.write(name.encode() + b"\n")
        self._asked.flush()
        header = self._told.readline().split()
        if len(header) != 3:
            raise DataError(f"{self._folder}: object {name} is missing; clone the repository again")
        num_bytes = int(header[2]) + 1  # a line end follows
        if num_bytes - 1 <= limit:
            return self._told.read(num_bytes)[:-1]
        while num_bytes:
            num_bytes -= len(self._told.read(min(num_bytes, limit)))
        return None

    def __enter__(self) -> Objects:
        return self

    def __exit__(self, *_: object) -> None:
        _end(self._process)


def reference_of(address: str) -> GitReference:
    """The repository that an address names, `URL#REF` or a folder. Raises InputError for one git must not be given.

    A package is called as the last word of the repository's address, or where a folder has none as its mix.exs says.
    """
    text = address.strip()
    url, _, ref = (text, "", "") if Path(text).is_dir() else text.partition("#")
    if not url or url.startswith("-") or ref.startswith("-") or re.search(r"[\s\x00-\x1f]", ref):
        raise InputError(f"not the address of a repository: {address!r}")
    if (folder := Path(url)).is_dir():
        repository = Repository(folder)
        known_as = canonical_url(repository.origin)
        package = PurePosixPath(known_as).name or repository.name
    elif "::" in url or re.search(r"[\s\x00-\x1f]", url) or _transport(url) not in TRANSPORTS:
        raise InputError(f"{address!r} is no folder, and no address over {', '.join(TRANSPORTS)}")
    else:
        known_as = canonical_url(url)
        package = PurePosixPath(urlsplit(url).path).name.removesuffix(".git").lower()
        if known_as.startswith("-") or not package:
            raise InputError(f"not the address of a repository: {address!r}")
    key = (known_as or package) + (f"#{ref}" if ref else "")
    return GitReference(key=key, package=package, version=ref, url=url, ref=ref)


def clone(url: str, folder: Path, *, ref: str = "", timeout_s: float = _TIMEOUT_S) -> None:
    """Clone the newest commit of one branch or tag, bare: no history, work tree, submodule, hook or template.

    Raises DataError with what git said.
    """
    chosen = [f"--branch={ref}"] if ref else []
    shallow = ["--bare", "--depth=1", "--single-branch", "--no-recurse-submodules", "--template=", "--quiet"]
    if urlsplit(url).scheme == "file" or Path(url).exists():
        shallow.append("--no-local")  # a path is copied whole otherwise
    _git(None, "clone", *shallow, *chosen, "--", url, str(folder), timeout_s=timeout_s)


def commits(repository: Path, limit: int | None = None, *, ref: str = "HEAD") -> Iterator[Commit]:
    """The commits that changed Elixir files, newest first, without merges and without the first of a history.

    limit: how many, at most; None for all. Left out are commits of more than `MAX_CHANGED_FILES` Elixir files or with a
    message beyond `MAX_MESSAGE`, and of the others the files that are too large or not UTF-8; so is a commit of which
    nothing is left. Runs as it is iterated: nothing of the history is held.
    """
    start = Repository(repository).commit_of(ref)
    number = 0
    with Objects(repository) as objects, closing(_logged(repository, start)) as logged:
        for sha, day, message, entries in logged:
            if number == limit:
                return
            if not entries or len(entries) > MAX_CHANGED_FILES or len(message) > MAX_MESSAGE:
                continue
            changes = tuple(filter(None, (_change(objects, *entry) for entry in entries)))
            if changes:
                number += 1
                yield Commit(sha=sha, message=message, date=day, changes=changes)


# ---------------------------------------------------------------------------------------------------- a forge's API


@dataclass(frozen=True, kw_only=True)
class About:
    """What a forge says of a repository."""

    stars: int
    pushed: date


class Forge(Protocol):
    """Whoever knows about repositories."""

    def about(self, url: str) -> About: ...


class ForgeApi:
    """The API that GitHub has, and others like it: `API/repos/OWNER/NAME`."""

    def __init__(self, api: str, token: str = "") -> None:
        """api: base address. token: sent as a bearer's, where the forge asks for one."""
        self._api = api.rstrip("/")
        self._headers = {"Accept": "application/json", "User-Agent": "elixir-coder"}
        if token:
            self._headers["Authorization"] = f"Bearer {token}"

    def about(self, url: str) -> About:
        """Stars and the day of the last push. Raises DataError where the forge does not tell."""
        path = "/".join(canonical_url(url).split("/")[1:])
        said = self._get(f"{self._api}/repos/{path}")
        try:
            pushed = datetime.fromisoformat(said["pushed_at"].replace("Z", "+00:00")).astimezone(UTC).date()
            return About(stars=int(said["stargazers_count"]), pushed=pushed)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise DataError(f"{self._api}/repos/{path}: no stars or date in the answer ({error!r})") from error

    def _get(self, address: str) -> Any:
        httpx = require("httpx", "data")
        for attempt in range(_TRIES):
            try:
                answer = httpx.get(address, headers=self._headers, timeout=30.0, follow_redirects=True)
                if answer.status_code in (403, 429, 500, 502, 503) and attempt < _TRIES - 1:
                    time.sleep(_wait_of(answer.headers.get("Retry-After", "")))
                    continue
                answer.raise_for_status()
                return answer.json()
            except (httpx.HTTPError, ValueError) as error:
                if isinstance(error, httpx.TransportError) and attempt < _TRIES - 1:
                    continue
                raise DataError(f"{address}: {error}") from error
        raise AssertionError("the last attempt returns or raises")


def _wait_of(retry_after: str) -> float:
    return min(float(retry_after), _MAX_WAIT_S) if retry_after.isdigit() else 1.0


# ------------------------------------------------------------------------------------------------------- the command


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments of `data collect git`."""
    parser.add_argument(
        "urls", nargs="*", metavar="URL[#REF]", help="repositories: addresses, or folders of this machine"
    )
    parser.add_argument("--list", type=Path, metavar="FILE", help="more of them, one a line; # begins a comment")
    parser.add_argument("--api", metavar="URL", help="API of the forge they are on, as GitHub's: it knows stars")
    parser.add_argument("--min_stars", type=int, default=0, metavar="N", help="leave out repositories with fewer")
    parser.add_argument(
        "--pushed_after", type=_day, metavar="YYYY-MM-DD", help="leave out what was last worked on before that day"
    )


def source_of(args: argparse.Namespace) -> GitSource:
    """The source that the arguments describe. The API's token, if it wants one, is in $GIT_API_TOKEN."""
    return GitSource(
        [*args.urls, *(read_list(args.list) if args.list else ())],
        suffixes=suffixes_of(args.with_guides),
        forge=ForgeApi(args.api, os.environ.get("GIT_API_TOKEN", "")) if args.api else None,
        min_stars=args.min_stars,
        pushed_after=args.pushed_after,
    )


def read_list(path: Path) -> list[str]:
    """The addresses in a file, one a line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the list {path}: {error}") from error
    return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def _day(text: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"{text!r} is not a day such as 2024-01-31") from error


# --------------------------------------------------------------------------------------------------- speaking to git


def _transport(url: str) -> str:
    if re.match(r"[^/:@\s]+@[^/:\s]+:(?!//)", url):
        return "ssh"
    return urlsplit(url).scheme


def _command(folder: Path | None, words: Sequence[str]) -> list[str]:
    where = ["-C", str(folder), "-c", "safe.directory=*"] if folder else []
    return ["git", "--no-pager", *where, *(word for setting in _SETTINGS for word in ("-c", setting)), *words]


def _environment(transports: Sequence[str] = ()) -> dict[str, str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    return clean | {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "true",  # a program that says nothing
        "GIT_SSH_COMMAND": "ssh -oBatchMode=yes",
        "GIT_ALLOW_PROTOCOL": ":".join(transports),  # reading what is here needs none
        "GIT_LFS_SKIP_SMUDGE": "1",
        "GIT_NO_LAZY_FETCH": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_NO_REPLACE_OBJECTS": "1",
        "TZ": "UTC",
        "LC_ALL": "C.UTF-8",
    }


def _git_bytes(folder: Path | None, *words: str, timeout_s: float = _TIMEOUT_S) -> bytes:
    try:
        done = subprocess.run(
            _command(folder, words),
            env=_environment(() if folder else TRANSPORTS),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=timeout_s,
        )
    except subprocess.TimeoutExpired as error:
        raise DataError(f"git {words[0]} took more than {timeout_s:.0f} s and was ended") from error
    if done.returncode:
        said = " ".join(done.stderr.decode("utf-8", errors="replace").split()) or f"exit code {done.returncode}"
        raise DataError(f"git {words[0]}{f' in {folder}' if folder else ''}: {said}")
    return done.stdout


def _git(folder: Path | None, *words: str, timeout_s: float = _TIMEOUT_S) -> str:
    return _git_bytes(folder, *words, timeout_s=timeout_s).decode("utf-8", errors="replace")


def _start(folder: Path, *words: str, stdin: int = subprocess.DEVNULL) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        _command(folder, words), env=_environment(), stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.stdin:
        process.stdin.close()
    if process.stdout:
        process.stdout.close()
    process.terminate()
    process.wait()


_Entry = tuple[str, str, str]  # path, name of the object before, after; zeros for none


def _logged(folder: Path, start: str) -> Generator[tuple[str, str, str, list[_Entry]]]:
    """Commit, date, message and changed Elixir files, of every commit but merges and the first."""
    shown = ["--no-merges", "-z", "--raw", "-r", "-M", "--no-abbrev", "--diff-filter=AMRD", "--no-textconv"]
    globs = [f":(glob)**/*{suffix}" for suffix in sorted(CODE_SUFFIXES)]
    format_ = "--format=%x02%H%x00%P%x00%cI%x00%B%x03"  # what is changed follows as `:modes names status`, and paths
    process = _start(folder, "log", *shown, format_, start, "--", *globs)
    assert process.stdout
    tokens = _tokens(process.stdout)
    try:
        token = next(tokens, None)
        while token is not None:
            sha, parents, day, message = token.removeprefix("\x02"), next(tokens), next(tokens), next(tokens)
            entries: list[_Entry] = []
            while (token := next(tokens, None)) is not None and not token.startswith("\x02"):
                if token:  # between commits there is an empty one
                    _, _, before, after, status = token.lstrip("\n").split(" ")
                    path = next(tokens)
                    entries.append((next(tokens) if status.startswith("R") else path, before, after))
            if parents:  # else it is the whole of a project, or where a shallow clone was cut off
                yield sha, day, _PEOPLE.sub("", message.removesuffix("\x03")).strip(), entries
    finally:
        _end(process)


def _tokens(stream: IO[bytes]) -> Iterator[str]:
    """What stands before each zero byte."""
    rest = b""
    while block := stream.read(65_536):
        *whole, rest = (rest + block).split(b"\0")
        for token in whole:
            yield token.decode("utf-8", errors="surrogateescape")


def _change(objects: Objects, path: str, before: str, after: str) -> tuple[str, str, str] | None:
    if before == after:
        return None  # only its name or mode
    texts = []
    for name in (before, after):
        content = objects.read(name) if name.strip("0") else b""
        if content is None:
            return None
        try:
            texts.append(content.decode("utf-8").removeprefix("\ufeff").replace("\r\n", "\n"))
        except UnicodeDecodeError:
            return None
    return path.encode("utf-8", errors="surrogateescape").decode("utf-8", errors="replace"), texts[0], texts[1]
