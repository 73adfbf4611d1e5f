"""One virtual machine that serves Credo or Sobelow, asked and answered in framed Erlang terms.

Loading either tool takes most of a second and judging a file a few milliseconds, so the machine stays up between
questions. Both tools read code and run none of it; the machine gets limits on memory, atoms and files all the same, and
when a text brings it down it is started anew (`MachineDied` says that it happened). A tool in the build folder of a
project came with the project, and deserves no more trust: it runs in the sandbox, and can read the project and nothing
else of the host.

What is installed where is found by `installed_at` and its kin: an ebin folder, a build folder of a project, an
escript or an archive all come down to a list of folders with compiled modules.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import struct
import subprocess
import tempfile
import threading
import time
import weakref
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Self

from elixir_coder.errors import MissingDependencyError
from elixir_coder.toolchain.finding import Finding
from elixir_coder.toolchain.sandbox import Limits, NoSandbox, Sandbox, find_elixir, vm_flags
from elixir_coder.toolchain.terms import TermError, decode, encode

_HERE = Path(__file__).parent
# Of one machine: a folder of 1,000 files takes 400 MB in Credo, which keeps every syntax tree.
_LIMITS = Limits(memory_bytes=2 << 30, heap_bytes=1 << 30, atoms=1_000_000, erlang_processes=60_000, os_processes=40)
_WORN_ATOMS = 600_000
_BOOT_S = 60.0
_LARGEST_FRAME_BYTES = 256 << 20


# --------------------------------------------------------------------------------------------------- what comes back


@dataclass(frozen=True, kw_only=True)
class Note:
    """Why a file or a rule was not judged; no finding, because nothing was found.

    kind: `unparsable`, `unreadable`, `check_crashed`, `timeout`, `died` (the machine went away over it),
        `config` (something in a configuration that is not followed) or `scope` (rules that need more than was given).
    path: as in a finding; "" where it is not about one file. check: the rule; "" where all of them are meant.
    """

    kind: str
    message: str
    path: str = ""
    check: str = ""
    line: int | None = None
    column: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return {name: getattr(self, name) for name in self.__dataclass_fields__}


class Findings(list[Finding]):
    """A list of findings that also says, in `notes`, what was not judged and why."""

    def __init__(self, findings: Iterable[Finding] = (), notes: Iterable[Note] = ()):
        super().__init__(findings)
        self.notes: tuple[Note, ...] = tuple(notes)

    def __repr__(self) -> str:
        return f"Findings({list.__repr__(self)}, notes={self.notes!r})"


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """By path, line, column and rule: the tools give theirs as they come."""
    return sorted(findings, key=lambda each: (each.path, each.line or 0, each.column or 0, each.check, each.message))


# ------------------------------------------------------------------------------------------------- what is installed


@dataclass(frozen=True)
class Installed:
    """A tool's compiled modules. folders: what goes on the code path; packed: escripts and archives, unpacked at the
    start of a machine into a folder of its own. project: in whose build folder it was found, if it was."""

    tool: str
    version: str
    found_in: Path
    folders: tuple[Path, ...] = ()
    packed: tuple[Path, ...] = ()
    project: Path | None = None


def installed_at(tool: str, place: Path) -> Installed | None:
    """The tool at a place that was named: its ebin folder, a folder of such folders, a project, an escript, an archive.

    None where there is nothing of the kind.
    """
    if place.is_file():
        return _packed(tool, place)
    if not place.is_dir():
        return None
    if (place / f"{tool}.app").is_file():
        return _built(tool, place)
    if (place / "ebin" / f"{tool}.app").is_file():
        return _built(tool, place / "ebin")
    if (place / tool / "ebin" / f"{tool}.app").is_file():
        return _built(tool, place / tool / "ebin")
    found = installed_in_project(tool, place)
    return replace(found, project=None) if found else None  # named by the user: not for the project's own sake


def installed_in_project(tool: str, project: Path) -> Installed | None:
    """The tool as a dependency that a mix project, or the umbrella above it, has compiled; the latest of its builds."""
    root = project.resolve()
    for folder in (root, *root.parents[:2]):  # an application of an umbrella lies two below it
        if folder != root and not (folder / "mix.exs").is_file():
            continue
        builds = list(folder.glob(f"_build/*/lib/{tool}/ebin/{tool}.app"))
        if builds:
            return replace(_built(tool, max(builds, key=lambda app: app.stat().st_mtime).parent), project=folder)
    return None


def installed_for_user(tool: str) -> Installed | None:
    """The tool as an escript on the PATH or where mix puts escripts, or as an archive of mix."""
    home = Path(os.environ.get("MIX_HOME") or Path.home() / ".mix")
    escripts = Path(os.environ.get("MIX_ESCRIPTS") or home / "escripts")
    for folder in (*map(Path, os.environ.get("PATH", "").split(os.pathsep)), escripts):
        # A program of that name that is no escript is somebody else's.
        if (folder / tool).is_file() and (found := _packed(tool, folder / tool)):
            return found
    archives = Path(os.environ.get("MIX_ARCHIVES") or home / "archives")
    apps = archives.glob(f"{tool}-*/{tool}-*/ebin/{tool}.app")
    newest = max(apps, key=lambda app: _version_key(_app(app.read_text(encoding="utf-8"))[0]), default=None)
    return _built(tool, newest.parent) if newest else None


def _built(tool: str, ebin: Path) -> Installed:
    """With what it needs at run time, which mix puts beside it; nothing else of the project comes along."""
    version, needs, _ = _app((ebin / f"{tool}.app").read_text(encoding="utf-8"))
    folders, waiting = {tool: ebin}, list(needs)
    while waiting:
        name = waiting.pop()
        if name in folders or name in _WITH_ELIXIR:
            continue
        beside = [ebin.parent.parent / name / "ebin", *ebin.parent.parent.parent.glob(f"{name}-*/{name}-*/ebin")]
        if found := next((folder for folder in beside if (folder / f"{name}.app").is_file()), None):
            folders[name] = found
            waiting += _app((found / f"{name}.app").read_text(encoding="utf-8"))[1]
    return Installed(tool, version, ebin, tuple(folders.values()))


def _packed(tool: str, path: Path) -> Installed | None:
    """An escript or an archive: a zip file, the former behind a line for the shell."""
    try:
        with zipfile.ZipFile(path) as pack:
            names = [name for name in pack.namelist() if name.rpartition("/")[2] == f"{tool}.app"]
            if not names:
                return None
            version = _app(pack.read(names[0]).decode("utf-8"))[0]
    except (OSError, zipfile.BadZipFile):
        return None
    return Installed(tool, version, path, packed=(path,))


def _unpack(installed: Installed, target: Path) -> None:
    """The tool's own modules and those of what it needs; an escript also holds the Elixir it was built with."""
    for path in installed.packed:
        try:
            with zipfile.ZipFile(path) as pack:
                entries = {name.rpartition("/")[2]: name for name in pack.namelist()}
                waiting, done = [installed.tool], set[str]()
                while waiting:
                    name = waiting.pop()
                    if name in done or name in _WITH_ELIXIR or f"{name}.app" not in entries:
                        continue
                    done.add(name)
                    text = pack.read(entries[f"{name}.app"]).decode("utf-8")
                    _, needs, modules = _app(text)
                    waiting += needs
                    (target / f"{name}.app").write_text(text, encoding="utf-8")
                    for module in modules:
                        if entry := entries.get(f"{module}.beam"):
                            (target / f"{module}.beam").write_bytes(pack.read(entry))
        except (OSError, zipfile.BadZipFile) as error:
            raise MissingDependencyError(
                f"{path}: cannot be unpacked ({error}); install {installed.tool} again"
            ) from None


# Part of Elixir or of Erlang: the running ones are used.
_WITH_ELIXIR = frozenset("elixir eex ex_unit iex logger mix kernel stdlib crypto inets ssl compiler".split())


def _app(text: str) -> tuple[str, list[str], list[str]]:
    """version, needed applications and modules, of an `.app` file."""
    version = re.search(r'\{vsn,\s*"([^"]*)"', text)
    lists = []
    for name in ("applications", "modules"):
        found = re.search(rf"\{{{name},\s*\[([^\]]*)\]", text)
        words = found[1].split(",") if found else []
        lists.append([word.strip().strip("'") for word in words if word.strip()])
    return version[1] if version else "", lists[0], lists[1]


def _version_key(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version))


# ------------------------------------------------------------------------------------------------------- the machine


class MachineDied(Exception):
    """The virtual machine went away, or was silent for too long and was ended, while it was asked."""


@dataclass
class Machine:
    """A virtual machine with one tool loaded; started by the first question and again after it died.

    server: the script beside this file that answers. schedulers: how many of the machine's questions run at once.
    sandbox: False runs the tool of a project without one, too.
    """

    installed: Installed
    server: str
    schedulers: int
    sandbox: bool = True
    hello: dict[str, Any] = field(default_factory=dict)
    num_started: int = 0
    _process: subprocess.Popen[bytes] | None = None
    _end: Any = None
    _read: int = -1
    _write: int = -1
    _errors: Any = None
    _buffer: bytearray = field(default_factory=bytearray)

    def start(self) -> None:
        """Start it, unless it runs.

        Raises MissingDependencyError when there is no Elixir or the tool does not load, SandboxError where the tool
        would need a sandbox and there is none.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        folder = tempfile.TemporaryDirectory(prefix="elixir-coder-checks-")
        with contextlib.ExitStack() as stack:
            stack.enter_context(folder)
            if self.installed.packed:
                _unpack(self.installed, Path(folder.name))
            to_machine, write = os.pipe()
            stack.callback(os.close, write)
            read, from_machine = os.pipe()
            stack.callback(os.close, read)
            errors = stack.enter_context(tempfile.TemporaryFile())
            try:
                project = self.installed.project if self.sandbox else None
                launch_with = Sandbox.probe(_LIMITS) if project else NoSandbox(_LIMITS)
                own = "/tmp" if project else folder.name
                launch = launch_with.launch(
                    self._command(folder.name, to_machine, from_machine),
                    readable=[project, _HERE, *self.installed.folders] if project else [],
                    env={"TMPDIR": own, "HOME": own, "MIX_ENV": "prod"},
                    fds=(to_machine, from_machine),
                )
                with launch:
                    self._process = subprocess.Popen(
                        launch.argv, env=launch.env, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=errors,
                        **launch.options,
                    )  # fmt: skip
            finally:
                os.close(to_machine)
                os.close(from_machine)
            stack.callback(_end, self._process)
            stack = stack.pop_all()
            self._end = weakref.finalize(self, stack.close)
        self._read, self._write, self._errors = read, write, errors
        self._buffer = bytearray()
        self.num_started += 1
        try:
            word, self.hello = self._receive(time.monotonic() + _BOOT_S)
            assert word == "ready"
        except (MachineDied, ValueError) as error:
            said = self._said() or str(error)
            self.close()
            raise MissingDependencyError(
                f"{self.installed.found_in}: {self.installed.tool} {self.installed.version} does not load ({said}); "
                "was it built for another Elixir? Build it again with the one that is installed"
            ) from None

    def _command(self, folder: str, to_machine: int, from_machine: int) -> list[str]:
        elixir = find_elixir()
        paths = [*sorted((elixir.elixir_root / "lib").glob("*/ebin")), *self.installed.folders]
        if self.installed.packed:
            paths.append(Path(folder))
        name = self.server.capitalize()
        return elixir.command(
            [*vm_flags(_LIMITS), "+S", f"{self.schedulers}:{self.schedulers}"],
            [
                *("-noshell", "-noinput", "-elixir_root", str(elixir.elixir_root / "lib")),
                *("-pa", *map(str, paths)),
                *("-s", "elixir", "start_cli", "-extra"),
                *("-r", str(_HERE / "machine.exs"), "-r", str(_HERE / f"{self.server}.exs")),
                *("-e", f"ElixirCoder.Checks.Machine.serve(ElixirCoder.Checks.{name}, {to_machine}, {from_machine})"),
            ],
        )

    def ask(self, op: str, args: Mapping[str, Any], *, silence_s: float) -> dict[str, Any]:
        """One question, one answer. Raises MachineDied, also when the machine says nothing for `silence_s`."""
        (answer,) = self.ask_all([(op, args)], silence_s=silence_s, at_once=1)
        if isinstance(answer, dict):
            return answer
        raise answer or MachineDied("it was not asked")

    def ask_all(
        self, questions: Sequence[tuple[str, Mapping[str, Any]]], *, silence_s: float, at_once: int
    ) -> list[dict[str, Any] | MachineDied | None]:
        """An answer for each question, in order, with up to `at_once` of them under way.

        When the machine dies, those under way are answered MachineDied and those not yet asked None: what brought it
        down, and what to ask again, is for the caller to find out.
        """
        self.start()
        answers: list[dict[str, Any] | MachineDied | None] = [None] * len(questions)
        waiting: dict[int, float] = {}
        following = 0
        try:
            while waiting or following < len(questions):
                while following < len(questions) and len(waiting) < at_once:
                    op, args = questions[following]
                    self._send((following, op, dict(args)))
                    waiting[following] = time.monotonic() + silence_s
                    following += 1
                number, answer = self._receive(min(waiting.values()))
                if number not in waiting:
                    raise MachineDied("it answered what it was not asked")
                if answer == "alive":
                    waiting[number] = time.monotonic() + silence_s
                else:
                    del waiting[number]
                    answers[number] = answer
        except MachineDied as died:
            reason = f"{died}; {said}" if (said := self._said()) else str(died)
            for number in waiting:
                answers[number] = MachineDied(reason)
            self.close()
        return answers

    @property
    def is_worn(self) -> bool:
        """Whether it holds so many atoms, which are never given back, that it should be replaced."""
        return self.hello.get("atoms", 0) > _WORN_ATOMS

    def close(self) -> None:
        """End it; the next question starts another one."""
        if self._end is not None:
            self._end()
        self._end = self._process = None

    def _send(self, term: Any) -> None:
        data = encode(term)
        frame = struct.pack(">I", len(data)) + data
        try:
            while frame:
                frame = frame[os.write(self._write, frame) :]
        except OSError:
            raise MachineDied("the virtual machine went away") from None

    def _receive(self, deadline: float) -> tuple[Any, Any]:
        poll = select.poll()
        poll.register(self._read, select.POLLIN)
        while True:
            if len(self._buffer) >= 4:
                (size,) = struct.unpack_from(">I", self._buffer)
                if size > _LARGEST_FRAME_BYTES:
                    raise MachineDied("it answered more than it may")
                if len(self._buffer) >= 4 + size:
                    frame = bytes(self._buffer[4 : 4 + size])
                    del self._buffer[: 4 + size]
                    try:
                        first, second = decode(frame)
                    except (TermError, TypeError, ValueError):
                        raise MachineDied("it answered what is no term") from None
                    if isinstance(second, dict) and "atoms" in second:
                        self.hello["atoms"] = second["atoms"]
                    return first, second
            left_ms = max(deadline - time.monotonic(), 0) * 1000
            if not poll.poll(left_ms):
                raise MachineDied("the virtual machine did not answer in time")
            piece = os.read(self._read, 1 << 20)
            if not piece:
                raise MachineDied("the virtual machine went away")
            self._buffer += piece

    def _said(self) -> str:
        """The end of what the machine wrote to its standard error, on one line."""
        size = self._errors.seek(0, os.SEEK_END)
        self._errors.seek(max(0, size - 2000))
        lines = self._errors.read().decode("utf-8", "replace").split("\n")
        return " ".join(" ".join(lines[-6:]).split())[-300:]


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


# ------------------------------------------------------------------------------------------------------- what is asked


class Linter:
    """An installed tool on a virtual machine that starts with the first question and ends with `close` or the `with`.

    A subclass says what the tool is called, in Elixir and in a sentence; the variable that may name one; the oldest
    version that will do; and how one installs it.
    """

    tool: ClassVar[str]
    title: ClassVar[str]
    variable: ClassVar[str]
    oldest: ClassVar[tuple[int, int]]
    install: ClassVar[str]

    @classmethod
    def detect(
        cls, project: Path | None = None, configured: str | Path | None = None, *, sandbox: bool = True
    ) -> Self | None:
        """The one to use: the configured one, that of the variable, the project's own, the user's; or None.

        project: where mix has compiled it as a dependency. That one runs in the sandbox, for it came with the project;
            sandbox: False runs it without one, as `mix` does.
        configured: an escript, an archive, an ebin folder or a project that has compiled it.
        Raises MissingDependencyError where one is named and is not there, or is too old.
        """
        named = str(configured) if configured else os.environ.get(cls.variable)
        if named:
            installed = installed_at(cls.tool, Path(named).expanduser())
            if installed is None:
                raise MissingDependencyError(f"there is no compiled {cls.title} at {named}; {cls.install}")
        else:
            installed = installed_in_project(cls.tool, project) if project else None
            installed = installed or installed_for_user(cls.tool)
        return cls(installed, sandbox=sandbox) if installed else None

    @classmethod
    def require(cls, project: Path | None = None, configured: str | Path | None = None) -> Self:
        """As `detect`. Raises MissingDependencyError, with the way to install it, where there is none."""
        found = cls.detect(project, configured)
        if found is None:
            raise MissingDependencyError(f"{cls.title} is not installed; {cls.install}")
        return found

    def __init__(self, installed: Installed, *, sandbox: bool = True):
        """Raises MissingDependencyError for one that is too old."""
        version = tuple(int(part) for part in installed.version.split("-")[0].split(".")[:2] if part.isdigit())
        if version < self.oldest:
            raise MissingDependencyError(
                f"{installed.found_in}: {self.title} {installed.version} is too old, "
                f"{'.'.join(map(str, self.oldest))} is needed; {self.install}"
            )
        self.installed = installed
        self.version = installed.version
        self._machine = Machine(installed, self.tool, schedulers=min(os.cpu_count() or 1, 8), sandbox=sandbox)
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the virtual machine."""
        self._machine.close()
