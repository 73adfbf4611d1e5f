"""Run a program where the worst code can do is waste its own few seconds.

Code under judgement (a model's, a stranger's) runs in a virtual machine under bubblewrap: namespaces of its own for
users, processes, network, System V IPC and host name; a root that holds the Erlang and Elixir trees read-only, the
shared libraries they load and no other program, not even a shell; a /tmp of limited size; limits on memory, processor
time, processes and files; a filter on system calls. `Sandbox.probe` runs a program that tries what it must not be able
to do, and raises SandboxError when one of the promises does not hold here: then nothing is run.

Works as root, who starts bubblewrap as nobody, and as an ordinary user; on x86_64 and aarch64, on other processors
without the filter. What only the deadline of a job bounds: processor time, and the number of empty files in /tmp.
"""

from __future__ import annotations

import contextlib
import functools
import os
import platform
import re
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from elixir_coder.errors import MissingDependencyError, SandboxError

NOBODY = 65534  # the user and the group inside, and outside where root starts us

_INSTALL_BUBBLEWRAP = "install it with: apt install bubblewrap"
_INSTALL_ELIXIR = "install it with: apt install elixir"


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one virtual machine may use. A job's share is less: see the pool, which replaces a worn one.

    memory_bytes: of everything the machine allocates; an allocation beyond it ends the machine. Compiling and testing
        a module takes 60 MB.
    heap_bytes: of one Erlang process; the machine kills the process and lives on, so this is far below `memory_bytes`.
    atoms: they are never given back; a machine with Elixir and ExUnit has 20,000, a module adds tens.
    erlang_processes: that live at once.
    ports: open files, sockets and programs, to the machine.
    os_processes: processes and threads inside the sandbox. The machine needs 11 of them, so there is no room for a
        second one. Not enforced where root cannot give up being root.
    file_bytes: of one file that is written.
    disk_bytes: of /tmp as a whole.
    open_files: file descriptors of one process.
    cpu_s: seconds of processor time in the machine's whole life, a backstop: a job's deadline comes long before.
    """

    memory_bytes: int = 1 << 30
    heap_bytes: int = 256 << 20
    atoms: int = 300_000
    erlang_processes: int = 20_000
    ports: int = 1_024
    os_processes: int = 18
    file_bytes: int = 16 << 20
    disk_bytes: int = 64 << 20
    open_files: int = 256
    cpu_s: int = 3_600

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            assert getattr(self, name) > 0, name
        assert self.heap_bytes <= self.memory_bytes


def vm_flags(limits: Limits) -> list[str]:
    """The emulator's flags that hold a machine to its limits, as `erl` takes them (with a plus).

    One scheduler, because a job is judged by one; memory comes from one reserved region ("super carrier") and from
    nowhere else, so that what does not fit there ends the machine with a message, whatever the limits of the system.
    """
    word_bytes = 8
    return [
        *("+S", "1:1", "+SDcpu", "1:1", "+SDio", "1", "+A", "1"),
        *("+t", str(limits.atoms), "+P", str(limits.erlang_processes), "+Q", str(limits.ports)),
        *("+hmax", str(limits.heap_bytes // word_bytes), "+hmaxk", "true", "+hmaxel", "false"),
        *("+MMscs", str(limits.memory_bytes >> 20), "+MMscrpm", "false", "+Musac", "false"),
        *("+MIscs", str(_LITERALS_BYTES >> 20)),
        "+fnu",  # file names are UTF-8, whatever locales are installed
    ]


_LITERALS_BYTES = 128 << 20  # address space for constants of loaded code, 1 GiB if we did not say
# What the machine maps beside its memory: address space for constants, code, stacks, libraries; 0.6 GB measured.
_ADDRESS_SPACE_BYTES = 1 << 30
_DATA_BYTES = 128 << 20  # what it writes to beside its memory: 60 MB measured


# ---------------------------------------------------------------------------------------------------- the installation


@dataclass(frozen=True)
class Installation:
    """Where Elixir and Erlang live; every path is free of symbolic links.

    elixir_root holds `lib/elixir/ebin`; erlang_root holds `lib`, `bin/start_clean.boot` and `erts`.
    """

    elixir_root: Path
    erlang_root: Path
    erts: Path
    elixir: str  # e.g. "1.14.0"
    otp: str  # e.g. "25"

    def command(self, flags: Sequence[str], arguments: Sequence[str]) -> list[str]:
        """What starts the virtual machine itself, without `erl`, which is a shell script.

        flags: of the emulator, as `erl` takes them ("+S", "1:1"); arguments: what follows them (`-noshell`, `-s` ...).
        """
        emulator = [f"-{flag[1:]}" if flag.startswith("+") else flag for flag in flags]
        root = ("-root", str(self.erlang_root), "-bindir", str(self.erts / "bin"), "-progname", "erl")
        return [str(self.erts / "bin" / "beam.smp"), *emulator, "--", *root, "--", "-home", "/tmp", "--", *arguments]

    def environment(self) -> dict[str, str]:
        """What the virtual machine reads from its environment, and nothing of the caller's."""
        return {
            "BINDIR": str(self.erts / "bin"),
            "ROOTDIR": str(self.erlang_root),
            "EMU": "beam",
            "PROGNAME": "erl",
            "HOME": "/tmp",
            "LANG": "C.UTF-8",
            "ERL_CRASH_DUMP_SECONDS": "0",  # a dying machine writes no dump
        }

    def readable(self) -> tuple[Path, ...]:
        """The files and folders that a machine needs to read, and of the programs to execute."""
        return _readable(self)


def find_elixir() -> Installation:
    """The installation behind `$ELIXIR_CODER_ELIXIR` or the `elixir` on the PATH.

    Where `elixir` and `erl` are the scripts of an ordinary installation, it is read off their places; where they are
    something else (shims of asdf or mise, a wrapper), Elixir is started once and asked.

    Raises MissingDependencyError when there is none, or one that does not work or is older than 1.14.
    """
    named = os.environ.get("ELIXIR_CODER_ELIXIR")
    program = shutil.which(named or "elixir")
    if program is None:
        where = (
            f"$ELIXIR_CODER_ELIXIR names {named}, which is not a program" if named else "`elixir` is not on the PATH"
        )
        raise MissingDependencyError(f"running Elixir needs `elixir`, but {where}; {_INSTALL_ELIXIR}")
    return _find_elixir(program, shutil.which("erl"))


@functools.lru_cache(maxsize=8)
def _find_elixir(program: str, erl: str | None) -> Installation:
    found = _read_off(Path(program).resolve(), Path(erl).resolve()) if erl else None
    found = found or _ask(program)
    version = re.match(r"(\d+)\.(\d+)", found.elixir)
    if version is None or (int(version[1]), int(version[2])) < (1, 14):
        raise MissingDependencyError(
            f"`{program}` is Elixir {found.elixir}, and 1.14 or newer is needed; {_INSTALL_ELIXIR}"
        )
    return found


def _read_off(elixir: Path, erl: Path) -> Installation | None:
    elixir_root, erlang_root = elixir.parent.parent, erl.parent.parent
    try:
        ours = b"ERTS_BIN=" in elixir.read_bytes() and b"ROOTDIR=" in erl.read_bytes()
        application = (elixir_root / "lib/elixir/ebin/elixir.app").read_text()
    except OSError:
        return None
    version = re.search(r'{vsn,\s*"([^"]+)"}', application)
    machines = list(erlang_root.glob("erts-*/bin/beam.smp"))
    releases = [path.parent.name for path in erlang_root.glob("releases/*/OTP_VERSION")]
    if not ours or version is None or len(machines) != 1 or len(releases) != 1:
        return None  # a wrapper, or several side by side
    return Installation(elixir_root, erlang_root, machines[0].parent.parent, version[1], releases[0])


_QUESTION = """
for text <- [:code.lib_dir(:elixir), :code.root_dir(), :erlang.system_info(:version)],
    do: IO.puts("answer " <> to_string(text))

IO.puts("answer " <> System.version())
IO.puts("answer " <> System.otp_release())
"""


def _ask(program: str) -> Installation:
    environment = os.environ | {"LC_ALL": "C.UTF-8", "ERL_CRASH_DUMP_SECONDS": "0"}
    try:
        done = subprocess.run(
            [program, "--eval", _QUESTION], stdin=subprocess.DEVNULL, capture_output=True, timeout=60, env=environment
        )
    except subprocess.TimeoutExpired:
        raise MissingDependencyError(f"`{program}` did not answer within 60 s; is the machine busy?") from None
    except OSError as error:
        raise MissingDependencyError(f"`{program}` cannot be run ({error.strerror}); {_INSTALL_ELIXIR}") from None
    answers = re.findall(r"^answer (.*)$", done.stdout.decode("utf-8", "replace"), re.MULTILINE)
    if len(answers) != 5:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        why = said[0] if said else f"exit code {done.returncode}"
        raise MissingDependencyError(f"`{program}` does not work ({why}); reinstall it: apt install --reinstall elixir")
    library, erlang, erts, elixir_version, otp = answers
    erlang_root = Path(erlang).resolve()
    return Installation(
        Path(library).resolve().parent.parent, erlang_root, erlang_root / f"erts-{erts}", elixir_version, otp
    )


@functools.lru_cache(maxsize=8)
def _readable(installation: Installation) -> tuple[Path, ...]:
    erlang, programs = installation.erlang_root, installation.erts / "bin"
    # The second is started with the machine, the third with the first look-up of a name.
    machine = [programs / name for name in ("beam.smp", "erl_child_setup", "inet_gethost")]
    trees = [erlang / "lib", erlang / "releases", installation.elixir_root / "lib", *erlang.glob("bin/*.boot")]
    return (*trees, *machine, *_shared_libraries([*machine, *erlang.glob("lib/*/priv/**/*.so")]))


def _shared_libraries(programs: Sequence[Path]) -> list[Path]:
    """The libraries that the dynamic linker finds for them, by the names under which it looks for them."""
    ldd = shutil.which("ldd")
    if ldd is None:  # no list: all of them, and with them what programs lie among them
        return [path for name in ("/lib", "/lib64", "/usr/lib") if (path := Path(name)).exists()]
    listed = subprocess.run(
        [ldd, *programs], capture_output=True, check=False, env={"PATH": os.defpath}
    ).stdout.decode()
    libraries = {Path(os.path.normpath(name)) for name in re.findall(r"(?:=>|^)\s+(/\S+) \(0x", listed, re.MULTILINE)}
    # The linker's index, for libraries in uncommon places; the locale, for older C libraries.
    return sorted(libraries) + [path for name in _FOR_LIBRARIES if (path := Path(name)).exists()]


_FOR_LIBRARIES = ("/etc/ld.so.cache", "/usr/lib/locale/C.UTF-8", "/usr/lib/locale/C.utf8")


# ------------------------------------------------------------------------------------------------- starting a program


@dataclass(frozen=True)
class Launch:
    """Ready for `subprocess.Popen` or `asyncio.create_subprocess_exec(*argv, env=env, **options)`.

    Used as a context around the start: it closes the descriptors that were for the started program alone.
    """

    argv: tuple[str, ...]
    env: dict[str, str]
    options: dict[str, Any]
    descriptors: tuple[int, ...] = ()

    def __enter__(self) -> Launch:
        return self

    def __exit__(self, *_: object) -> None:
        for descriptor in self.descriptors:
            os.close(descriptor)


@dataclass(frozen=True)
class NoSandbox:
    """Starts a program with limits and an empty environment, and nothing between it and the host.

    For workers that evaluate nothing, and for whoever insists.
    """

    limits: Limits = field(default_factory=Limits)

    def launch(
        self,
        argv: Sequence[str],
        *,
        readable: Sequence[Path] = (),
        env: Mapping[str, str] | None = None,
        fds: Sequence[int] = (3, 4),
    ) -> Launch:
        """As `Sandbox.launch`; what is readable is up to the host."""
        del readable
        return Launch(
            (*_limited(self.limits, fds, os_processes=None), *argv),
            find_elixir().environment() | dict(env or {}),
            {**_OPTIONS, "pass_fds": tuple(fds), "cwd": tempfile.gettempdir()},
        )

    def describe(self) -> str:
        """One line for a report."""
        return "no sandbox"


_OPTIONS = {
    "start_new_session": True,  # Ctrl-C is for us to hear; the machine is told
    "restore_signals": False,  # SIGXFSZ stays ignored: a file that grows too large is an error of the write
}


def _limited(limits: Limits, fds: Sequence[int], *, os_processes: int | None) -> list[str]:
    """`prlimit` before a command. A limit must be there when the program starts, and nothing may run in between."""
    program = shutil.which("prlimit")
    if program is None:
        return []
    amounts = {
        "as": limits.memory_bytes + _ADDRESS_SPACE_BYTES,
        "data": limits.memory_bytes + _DATA_BYTES,
        "cpu": limits.cpu_s,
        "fsize": limits.file_bytes,
        "nofile": max(limits.open_files, *(fd + 64 for fd in fds), 0),  # the machine takes no descriptor beyond it
        "core": 0,
        "nproc": os_processes,
    }
    return [program, *(f"--{name}={amount}" for name, amount in amounts.items() if amount is not None), "--"]


@dataclass(frozen=True)
class Sandbox:
    """Bubblewrap in the way that works here; made by `probe`.

    bubblewrap: the program. user: who starts it when we are root, None for ourselves. has_proc: whether the inside has
    a /proc, of its own processes. filters: whether system calls are filtered.
    """

    limits: Limits
    bubblewrap: str
    user: int | None
    has_proc: bool
    filters: bool

    _proven: ClassVar[dict[tuple[object, ...], Sandbox]] = {}

    @classmethod
    def probe(cls, limits: Limits | None = None) -> Sandbox:
        """The sandbox, once a program inside has failed to do what it must not; 0.3 s, once per process.

        Raises SandboxError when there is none or one of its promises does not hold, with the reason and the way out;
        MissingDependencyError when there is no Elixir.
        """
        limits = limits or Limits()
        installation, program = find_elixir(), shutil.which("bwrap")
        if program is None:
            raise _refused("`bwrap` is not on the PATH", _INSTALL_BUBBLEWRAP)
        if shutil.which("prlimit") is None:
            raise _refused("`prlimit` is not on the PATH", "install it with: apt install util-linux")
        key = (limits, installation, program)
        if key not in cls._proven:
            cls._proven[key] = _first_that_holds(limits, program)
        return cls._proven[key]

    def launch(
        self,
        argv: Sequence[str],
        *,
        readable: Sequence[Path] = (),
        env: Mapping[str, str] | None = None,
        fds: Sequence[int] = (3, 4),
    ) -> Launch:
        """Start `argv` confined.

        argv: with absolute paths inside, which are those outside. readable: further files and folders, read-only; as
        root, others must be able to read them. env: beside what the machine needs; nothing of the caller's.
        fds: descriptors of the caller that the program inherits under the same numbers.

        Raises SandboxError for a `readable` that cannot be read from inside.
        """
        installation = find_elixir()
        paths = list(dict.fromkeys((*installation.readable(), *_prlimit(), *map(_absolute, readable))))
        before, sources = self._within_reach(paths)
        # A file system of its own; what it is made of is first, and closed to writing last.
        options = ["--size", str(self.limits.disk_bytes), "--tmpfs", "/tmp"]
        options += ["--proc", "/proc"] if self.has_proc else []
        for device in ("null", "zero", "random", "urandom"):
            options += ["--dev-bind", f"/dev/{device}", f"/dev/{device}"]
        for path, source in zip(paths, sources, strict=True):
            options += ["--ro-bind", str(source), str(path)]
        options += ["--remount-ro", "/", "--chdir", "/tmp"]
        for name, value in (installation.environment() | dict(env or {})).items():
            options += ["--setenv", name, value]
        filters = (_pipe_with(seccomp_program()),) if self.filters else ()
        for descriptor in filters:
            options += ["--seccomp", str(descriptor)]
        process: dict[str, Any] = {**_OPTIONS, "pass_fds": (*fds, *filters), "cwd": "/"}
        if self.user is not None and not before:
            process |= {"user": self.user, "group": self.user, "extra_groups": []}
        limited = _limited(self.limits, fds, os_processes=self.limits.os_processes + _others_of(self.user))
        whole = (*before, self.bubblewrap, *_NAMESPACES, *options, "--", *limited, *argv)
        return Launch(whole, {}, process, filters)

    def _within_reach(self, paths: Sequence[Path]) -> tuple[list[str], list[Path]]:
        """Where bubblewrap finds each of `paths`, and the command that goes before it to bring them there.

        As root we start it as nobody, who cannot look into a closed home with an installation in it: root then binds
        the paths to an open place, in a file system that only bubblewrap sees, and becomes nobody after that.
        """
        for path in paths:
            if not path.exists():
                raise SandboxError(f"{path} is not there to be read from inside the sandbox; create it first")
            if self.user is not None and not path.stat().st_mode & 0o004:
                raise SandboxError(
                    f"{path} is closed to others, and root's sandbox runs as nobody; open it with: chmod -R o+rX {path}"
                )
        if self.user is None or all(parent.stat().st_mode & 0o001 for path in paths for parent in path.parents):
            return [], list(paths)
        become = shutil.which("setpriv")
        if become is None:
            raise SandboxError("`setpriv` is not on the PATH; install it with: apt install util-linux")
        sources = [Path("/mnt", str(index)) for index in range(len(paths))]
        # Root without its capabilities may not signal nobody, not even by dying: in a namespace they end together. The
        # host's /proc stays, because bubblewrap covers parts of a new one, and then the inner one may mount none.
        before = [self.bubblewrap, "--die-with-parent", "--unshare-pid"]
        before += ["--dev-bind", "/", "/", "--tmpfs", "/mnt"]
        for path, source in zip(paths, sources, strict=True):
            before += ["--ro-bind", str(path), str(source)]
        return [*before, "--", become, f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups", "--"], sources

    def describe(self) -> str:
        """One line for a report: what confines a program here, and what does not."""
        user = "" if self.user is not None or os.geteuid() else "; as root, so the number of processes is not limited"
        proc = "" if self.has_proc else "; without /proc"
        filters = "" if self.filters else f"; without a filter of system calls, which {platform.machine()} has none of"
        return f"bubblewrap{user}{proc}{filters}"


_NAMESPACES = (
    *("--unshare-user", "--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts", "--unshare-cgroup-try"),
    *("--uid", str(NOBODY), "--gid", str(NOBODY), "--cap-drop", "ALL", "--hostname", "sandbox"),
    *("--die-with-parent", "--new-session", "--clearenv"),
)


def _absolute(path: Path) -> Path:
    return Path(os.path.abspath(path))


def _prlimit() -> list[Path]:
    """It sets the limits from inside: there, only what is inside counts as a process of this user."""
    program = shutil.which("prlimit")
    return [Path(program), *_libraries_of(program)] if program else []


@functools.lru_cache(maxsize=8)
def _libraries_of(program: str) -> tuple[Path, ...]:
    return tuple(_shared_libraries([Path(program)]))


def _others_of(user: int | None) -> int:
    """How many processes and threads count against the limit from outside: before Linux 5.14, all of the same user."""
    release = re.match(r"(\d+)\.(\d+)", platform.release())
    if release is None or (int(release[1]), int(release[2])) >= (5, 14):
        return 0
    owner, tasks = os.geteuid() if user is None else user, 0
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            tasks += len(os.listdir(process / "task")) if process.stat().st_uid == owner else 0
    return tasks


def _pipe_with(data: bytes) -> int:
    """A descriptor to read `data` from. It fits into the pipe: 64 KiB, and the filter is under 2."""
    reader, writer = os.pipe()
    with open(writer, "wb") as file:
        file.write(data)
    return reader


# ---------------------------------------------------------------------------------------------------------- the probe


def _first_that_holds(limits: Limits, program: str) -> Sandbox:
    """Try the ways to use bubblewrap, the best one first: as another user when we are root, with a /proc."""
    filters = platform.machine() in _ARCHITECTURES
    users = [NOBODY, None] if os.geteuid() == 0 else [None]
    reasons = []
    for user in users:
        for has_proc in (True, False):
            sandbox = Sandbox(limits, program, user, has_proc, filters)
            reason = _what_does_not_hold(sandbox)
            if reason is None:
                return sandbox
            reasons.append(reason)
    raise _refused(reasons[0], _way_out(reasons[0]))


def _refused(reason: str, way_out: str) -> SandboxError:
    return SandboxError(
        f"code that is not trusted is not run without a sandbox: {reason}; {way_out} (or --unsafe-no-sandbox)"
    )


_SETTINGS = "/proc/sys"


def _way_out(reason: str) -> str:
    settings = {"user/max_user_namespaces": "0", "kernel/unprivileged_userns_clone": "0"}
    settings["kernel/apparmor_restrict_unprivileged_userns"] = "1"
    for name, bad in settings.items():
        with contextlib.suppress(OSError):
            if Path(_SETTINGS, name).read_text().strip() == bad:
                good = {"user/max_user_namespaces": "10000"}.get(name, "01"[bad == "0"])
                return f"allow user namespaces with: sysctl -w {name.replace('/', '.')}={good}"
    if "Unknown option" in reason:
        return "install a newer bubblewrap: 0.8 is known to do"
    if "namespace" in reason or "uid map" in reason or "permitted" in reason:
        return "allow user namespaces; in a container: docker run --security-opt seccomp=unconfined"
    return "see `bwrap --help`"


# What the program inside tries. Every line that it prints is a word and what came of it.
_PROBE_WORDS = set("loopback route list read write tmp large pid processes environment program done".split())
_PROBE = r"""
io:setopts(standard_io, [{encoding, unicode}]),
Say = fun(What, Result) -> io:format("~s ~0tp~n", [What, Result]) end,
Why = fun({ok, _}) -> ok; ({error, Reason}) -> Reason end,
Open = fun(Path, Modes) ->
    case file:open(Path, [raw | Modes]) of {ok, File} -> file:close(File); Error -> Why(Error) end
end,
Say(loopback, Why(gen_tcp:connect({127, 0, 0, 1}, PORT, [], 1000))),
Say(route, Why(gen_tcp:connect({192, 0, 2, 1}, 80, [], 1000))),
[case file:list_dir(Path) of
    {ok, Names} -> io:format("list ~ts~n", [lists:join("/", Names)]);
    {error, _} -> io:format("list ~n")
end || Path <- [HOMES]],
[Say(read, Open(Path, [read])) || Path <- [FILES]],
[Say(write, Open(Path, [read, write])) || Path <- [PLACES]],
Say(tmp, Open("CANARY", [read, write])),
{ok, Large} = file:open("CANARY-large", [write, raw]),
Say(large, Why(file:pwrite(Large, FILE_BYTES, <<0>>))),
Say(pid, list_to_integer(os:getpid())),
Say(processes, case file:list_dir("/proc") of
    {ok, Entries} -> length([Entry || Entry <- Entries, re:run(Entry, "^[0-9]+$") =/= nomatch]);
    {error, _} -> 0
end),
[Say(environment, hd(string:split(Variable, "="))) || Variable <- os:getenv()],
Port = open_port({spawn, "id"}, [exit_status]),
Say(program, receive {Port, {exit_status, Status}} -> Status after 5000 -> none end),
Say(done, ok), halt(0).
"""


def _what_does_not_hold(sandbox: Sandbox) -> str | None:
    """Run the probe; the first promise that does not hold, in words, or None."""
    installation = find_elixir()
    places = {
        "HOMES": sorted({os.path.expanduser("~"), "/root", "/home"} - {"/"}),
        "FILES": sorted({str(Path(__file__).resolve()), "/etc/passwd", "/etc/shadow", "/bin/sh"}),
        "PLACES": [
            "/probe",
            "/dev/probe",
            "/proc/sys/kernel/core_pattern",
            str(installation.elixir_root / "lib/probe"),
        ],
    }
    canary = Path(f"/tmp/elixir-coder-probe-{os.getpid()}-{os.urandom(8).hex()}")
    with socket.create_server(("127.0.0.1", 0)) as server, tempfile.TemporaryDirectory() as closed:
        # The server must not be reached; what lies in a closed folder can be made readable all the same.
        readable = Path(closed, "open")
        readable.mkdir()
        readable.chmod(0o755)
        values = {name: ", ".join(map(_erlang_string, paths)) for name, paths in places.items()}
        values |= {"PORT": str(server.getsockname()[1]), "CANARY": str(canary)}
        values |= {"FILE_BYTES": str(sandbox.limits.file_bytes)}
        question = re.sub("|".join(values), lambda name: values[name[0]], _PROBE)
        arguments = ["-noshell", "-noinput", "-boot", "start_clean", "-eval", question]
        try:
            argv = installation.command(vm_flags(sandbox.limits), arguments)
            with sandbox.launch(argv, readable=[readable], fds=()) as launch:
                pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "capture_output": True}
                done = subprocess.run(launch.argv, env=launch.env, timeout=60, **pipes, **launch.options)
        except subprocess.TimeoutExpired:
            return "the probe did not end within 60 s; is the machine busy?"
        except (OSError, subprocess.SubprocessError) as error:
            return f"`{sandbox.bubblewrap}` cannot be run ({error})"
        except SandboxError as error:
            return str(error)
        leaked = canary.exists()
        for path in (canary, canary.with_name(f"{canary.name}-large")):
            path.unlink(missing_ok=True)
    answers: dict[str, list[str]] = {}
    for line in done.stdout.decode("utf-8", "replace").splitlines():
        word, _, result = line.partition(" ")
        answers.setdefault(word, []).append(result)
    if answers.get("done") != ["ok"]:
        lines = done.stderr.decode("utf-8", "replace").strip().splitlines() or [_end_of(done.returncode)]
        return lines[0].strip()
    if answers.keys() != _PROBE_WORDS:
        return "the probe did not say everything"
    on_the_way = {"", *(part for path in (*installation.readable(), readable) for part in path.parts)}
    return next(_broken(sandbox, places, answers, on_the_way, leaked), None)


def _broken(
    sandbox: Sandbox, places: dict[str, list[str]], answers: dict[str, list[str]], on_the_way: set[str], leaked: bool
) -> Iterator[str]:
    """What the answers say that a promise forbids. on_the_way: names of folders that lead to what is readable."""
    if answers["loopback"] != ["econnrefused"] or answers["route"][0] not in ("enetunreach", "eperm", "eacces"):
        yield f"the network can be reached from inside ({answers['loopback'][0]}, {answers['route'][0]})"
    if answers["tmp"] != ["ok"] or leaked:
        yield f"/tmp is not one of its own inside ({answers['tmp'][0]})"
    for home, names in zip(places["HOMES"], answers["list"], strict=True):
        if not set(names.split("/")) <= on_the_way:
            yield f"{home} can be read from inside"
    for verb, key in (("read", "FILES"), ("write", "PLACES")):
        for place, result in zip(places[key], answers[verb], strict=True):
            if result == "ok":
                yield f"{place} can be opened from inside, to {verb}"
    if answers["large"] != ["efbig"]:
        yield f"a file larger than {sandbox.limits.file_bytes} bytes can be written ({answers['large'][0]})"
    if int(answers["pid"][0]) > 9 or int(answers["processes"][0]) > 9:
        yield "processes of the host can be seen from inside"
    extra = {name.strip('"') for name in answers["environment"]} - {*find_elixir().environment(), "PWD"}
    if extra:
        yield f"the environment is not empty inside ({', '.join(sorted(extra))})"
    if answers["program"] == ["0"]:
        yield "programs of the host can be run from inside"


def _erlang_string(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _end_of(returncode: int) -> str:
    return f"killed by {signal.Signals(-returncode).name}" if returncode < 0 else f"exit code {returncode}"


# ----------------------------------------------------------------------------------------------- the filter of calls

# Numbers of Linux, by processor: <asm/unistd_64.h>, <asm-generic/unistd.h>; -1 where the call is not there.
_ARCHITECTURES = {"x86_64": (0, 0xC000003E), "aarch64": (1, 0xC00000B7)}
_DENIED_CALLS = """
# other processes
ptrace 101 117, process_vm_readv 310 270, process_vm_writev 311 271, kcmp 312 272, pidfd_getfd 438 438,
process_madvise 440 440, perf_event_open 298 241,
# file systems
mount 165 40, umount2 166 39, pivot_root 155 41, chroot 161 51, fsopen 430 430, fsconfig 431 431, fsmount 432 432,
fspick 433 433, move_mount 429 429, open_tree 428 428, mount_setattr 442 442, swapon 167 224, swapoff 168 225,
quotactl 179 60, quotactl_fd 443 443, acct 163 89, fanotify_init 300 262, name_to_handle_at 303 264,
open_by_handle_at 304 265, lookup_dcookie 212 18,
# namespaces
unshare 272 97, setns 308 268, sethostname 170 161, setdomainname 171 162,
# what errors of the kernel have been reached through
bpf 321 280, userfaultfd 323 282, io_uring_setup 425 425, io_uring_enter 426 426, io_uring_register 427 427,
keyctl 250 219, add_key 248 217, request_key 249 218, personality 135 92, modify_ldt 154 -1, uselib 134 -1,
ustat 136 -1, sysfs 139 -1, _sysctl 156 -1, nfsservctl 180 42, memfd_secret 447 447, vhangup 153 58, mbind 237 235,
set_mempolicy 238 237, migrate_pages 256 238, move_pages 279 239, set_mempolicy_home_node 450 450,
# the machine
kexec_load 246 104, kexec_file_load 320 294, init_module 175 105, reboot 169 142, finit_module 313 273,
delete_module 176 106, iopl 172 -1, ioperm 173 -1, settimeofday 164 170, clock_settime 227 112, adjtimex 159 171,
clock_adjtime 305 266, syslog 103 116,
"""
_DENIED = {name: (int(x86), int(arm)) for name, x86, arm in re.findall(r"(\w+) (\d+) (-?\d+),", _DENIED_CALLS)}
_CLONE, _CLONE3, _SOCKET, _IOCTL = (56, 220), (435, 435), (41, 198), (16, 29)
_NEW_NAMESPACES = 0x7E020080  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET,TIME}
_FAMILIES = (1, 2, 10)  # AF_UNIX, AF_INET, AF_INET6: AF_VSOCK would speak past the network namespace to a hypervisor
_TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX: to type into a terminal

_LOAD, _EQUAL, _AT_LEAST, _ANY_OF, _ANSWER = 0x20, 0x15, 0x35, 0x45, 0x06  # classic BPF
_ALLOW, _KILL, _FAIL_WITH = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS, _EAFNOSUPPORT = 1, 38, 97
_NUMBER, _PROCESSOR, _ARGUMENT = 0, 4, (16, 24)  # offsets in struct seccomp_data; low words, both are little-endian


def seccomp_program(machine: str | None = None) -> bytes:
    """The filter for `machine` (this one) as an array of `struct sock_filter`, which is what `bwrap --seccomp` reads.

    A denied call fails with EPERM, so that a program which merely tries lives on. The calls of another processor's or
    of the x32 table are not ours to know: the first end the process, the second do not exist.
    """
    column, audit = _ARCHITECTURES[machine or platform.machine()]
    steps = [(_LOAD, 0, 0, _PROCESSOR), (_EQUAL, 1, 0, audit), (_ANSWER, 0, 0, _KILL), (_LOAD, 0, 0, _NUMBER)]

    def when(test: int, value: int, answer: int) -> None:
        steps.extend([(test, 0, 1, value), (_ANSWER, 0, 0, answer)])

    def when_argument(
        call: tuple[int, int], argument: int, tests: list[tuple[int, int, int, int]], answer: int
    ) -> None:
        """Of `call` alone: `tests` fall through to `answer`, or step over it to the permission behind."""
        steps.append((_EQUAL, 0, len(tests) + 3, call[column]))
        steps.extend([(_LOAD, 0, 0, _ARGUMENT[argument]), *tests, (_ANSWER, 0, 0, answer), (_ANSWER, 0, 0, _ALLOW)])

    if column == 0:
        when(_AT_LEAST, 0x40000000, _FAIL_WITH | _ENOSYS)
    for number in sorted(numbers[column] for numbers in _DENIED.values() if numbers[column] >= 0):
        when(_EQUAL, number, _FAIL_WITH | _EPERM)
    when(_EQUAL, _CLONE3[column], _FAIL_WITH | _ENOSYS)  # its flags lie in memory; the C library then uses clone
    when_argument(_CLONE, 0, [(_ANY_OF, 0, 1, _NEW_NAMESPACES)], _FAIL_WITH | _EPERM)
    families = [(_EQUAL, len(_FAMILIES) - index, 0, family) for index, family in enumerate(_FAMILIES)]
    when_argument(_SOCKET, 0, families, _FAIL_WITH | _EAFNOSUPPORT)
    when_argument(
        _IOCTL, 1, [(_EQUAL, 1, 0, _TERMINAL_INPUT[0]), (_EQUAL, 0, 1, _TERMINAL_INPUT[1])], _FAIL_WITH | _EPERM
    )
    steps.append((_ANSWER, 0, 0, _ALLOW))
    return b"".join(struct.pack("=HBBI", *step) for step in steps)
