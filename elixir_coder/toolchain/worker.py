"""One virtual machine that stays warm and runs one job after another.

The machine's side is `beam/worker.ex` and its neighbours. They are compiled once for each version of Elixir and of
their own text, into a cache folder, so that a worker starts as fast as an empty machine does. Requests and answers are
framed terms (`terms`) on two pipes of their own, which nothing that judged code prints can reach.

What a machine does is not trusted: an answer counts only with the number and the key of its request, and everything
else that can happen ends the machine and names the class of the job that was running.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import itertools
import os
import re
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, BinaryIO

from elixir_coder.cache import cache_folder
from elixir_coder.errors import MissingDependencyError
from elixir_coder.toolchain import terms
from elixir_coder.toolchain.finding import Outcome
from elixir_coder.toolchain.sandbox import (
    Installation,
    Limits,
    NoSandbox,
    Sandbox,
    find_elixir,
    vm_flags,
)

_SOURCES = Path(__file__).with_name("beam")
_EVALUATING = frozenset({"compile", "test", "doctest", "definitions", "mutate"})
_BOOT_S = 60.0  # a machine is there after 0.3 s; many at a time on a loaded computer take longer
_GRACE_S = 1.5  # what a machine may take beyond a job's deadline to end it and to clean up
_MAX_FRAME_BYTES = 64 << 20
_MAX_NOISE_BYTES = 16 << 20  # of one job, on the machine's own standard output and error
_TAIL_BYTES = 16 << 10  # of these, kept to find out what a machine died of


class WorkerDied(Exception):
    """The machine is gone, and the job with it.

    outcome: the class of the job. detail: one line. by_job: whether the job is the reason, and would be again.
    """

    def __init__(self, outcome: Outcome, detail: str, *, by_job: bool):
        super().__init__(f"{outcome}: {detail}")
        self.outcome = outcome
        self.detail = detail
        self.by_job = by_job


class Worker:
    """A running machine, made by `start`; `close` it. Runs one job at a time.

    elixir, otp: versions, e.g. "1.14.0" and "25". num_jobs: answered so far. atoms: in its table after the last one.
    evaluates: whether it was started to compile and run code.
    """

    elixir: str
    otp: str
    atoms: int

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        requests: _Requests,
        answers: asyncio.StreamReader,
        reading: asyncio.BaseTransport,
        files: str | None,
        evaluates: bool,
    ):
        self._process = process
        self._requests = requests
        self._answers, self._reading = answers, reading
        self._files = files
        self.evaluates = evaluates
        self._noise = _Noise()
        self._draining = asyncio.ensure_future(self._noise.drain(process))
        self._ids = itertools.count(secrets.randbits(32))
        self._is_dead = False
        self.num_jobs = 0

    @classmethod
    async def start(
        cls,
        launch_with: Sandbox | NoSandbox,
        *,
        limits: Limits,
        code_paths: Sequence[Path] = (),
        evaluates: bool | None = None,
    ) -> Worker:
        """Returns when the machine is ready.

        evaluates: whether it will compile and run code, and loads beforehand what that takes; by default where it is
        confined. code_paths: folders of compiled modules that this code may use.

        Raises MissingDependencyError where there is no Elixir or it does not work, SandboxError as `launch` does, and
        WorkerDied when the machine did not come up.
        """
        installation = find_elixir()
        modules = await asyncio.to_thread(_compiled, installation)
        confined = isinstance(launch_with, Sandbox)
        evaluates = confined if evaluates is None else evaluates
        readable = [modules, *(path.resolve() for path in code_paths)]
        # Not cancelled halfway: asyncio would kill bubblewrap alone, whose children are not bound to its life yet, and
        # wait for the end of the output that they hold.
        launching = asyncio.ensure_future(cls._launch(launch_with, installation, limits, readable, evaluates))
        try:
            worker = await asyncio.shield(launching)
        except asyncio.CancelledError:
            with contextlib.suppress(Exception):  # one that was not launched is closed
                await (await launching).close()
            raise
        try:
            await worker._greet()
        except BaseException:
            await worker.close()
            raise
        return worker

    @classmethod
    async def _launch(
        cls,
        launch_with: Sandbox | NoSandbox,
        installation: Installation,
        limits: Limits,
        readable: Sequence[Path],
        evaluates: bool,
    ) -> Worker:
        confined = isinstance(launch_with, Sandbox)
        # The machine empties its folder for temporary files after each job. Confined, it has one of its own.
        files = tempfile.mkdtemp(prefix="elixir-coder-") if evaluates and not confined else None
        with contextlib.ExitStack() as undo, contextlib.ExitStack() as inherited:
            if files:
                undo.callback(shutil.rmtree, files, ignore_errors=True)
            to_machine, from_python = os.pipe()
            inherited.callback(os.close, to_machine)
            requests = await _Requests.on(os.fdopen(from_python, "wb", buffering=0))
            undo.callback(requests.close)
            to_python, from_machine = os.pipe()
            inherited.callback(os.close, from_machine)
            answers, reading = await _reader_on(os.fdopen(to_python, "rb", buffering=0))
            undo.callback(reading.close)
            own = "/tmp" if confined else files
            argv = _command(installation, limits, readable, (to_machine, from_machine), evaluates, own)
            env = {"TMPDIR": files} if files else {}
            with launch_with.launch(argv, readable=readable, env=env, fds=(to_machine, from_machine)) as launch:
                process = await asyncio.create_subprocess_exec(
                    *launch.argv,
                    env=launch.env,
                    **launch.options,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                )
            undo.pop_all()  # it is the worker's from here on
            return cls(process, requests, answers, reading, files, evaluates)

    @property
    def alive(self) -> bool:
        return not self._is_dead and self._process.returncode is None and not self._answers.at_eof()

    async def call(self, op: str, args: dict[str, Any], *, deadline_s: float) -> tuple[dict[str, Any], dict[str, Any]]:
        """Run one job: its result and its statistics.

        deadline_s: seconds after which the machine ends the job by itself, with the class `timeout`; one that does not
        is ended a moment later.

        Raises WorkerDied, after which this worker is of no use. One whose call was cancelled is not either, for nobody
        knows what it is doing.
        """
        assert not self._is_dead, "the worker is gone"
        assert self.evaluates or op not in _EVALUATING, f"this worker was not started for {op}"
        self._is_dead = True  # until the answer is there
        self._noise.begin_job()
        number, key = next(self._ids), secrets.token_hex(16)
        args = args | {"deadline_ms": max(1, round(deadline_s * 1000))}
        request = terms.encode((number, key, op, args))
        try:
            async with asyncio.timeout(deadline_s + _GRACE_S):
                answer = await self._exchange(request, names=op == "ast")
        except TimeoutError:
            await self.close()
            raise WorkerDied(Outcome.TIMEOUT, f"no end within {deadline_s:g} s", by_job=True) from None
        except (EOFError, OSError):
            raise await self._obituary() from None
        except terms.TermError as error:
            await self.close()
            raise WorkerDied(Outcome.CRASH, f"the answer is not readable: {error}", by_job=True) from None
        result, stats = await self._checked(answer, number, key)
        self.atoms = stats["atoms"]
        self.num_jobs += 1
        self._is_dead = False
        return result, stats

    async def close(self) -> None:
        """End the machine and all it started; returns when it is gone. May be called more than once."""
        self._is_dead = True
        ending = asyncio.ensure_future(self._end())
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:
            await ending  # takes milliseconds, and what is left half-closed complains later
            raise

    async def _end(self) -> None:
        self._kill()
        self._requests.close()  # by which a machine ends that no signal reached: bubblewrap had just left our group
        self._reading.close()
        await self._process.wait()
        await self._draining
        if self._files:
            await asyncio.to_thread(shutil.rmtree, self._files, ignore_errors=True)
        await asyncio.sleep(0)  # both pipes are closed by callbacks

    def _kill(self) -> None:
        # Not Process.kill(), which may take the exit status away from asyncio.
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)  # it leads a session of its own

    async def _greet(self) -> None:
        try:
            async with asyncio.timeout(_BOOT_S):
                _, ready = await self._read()
            self.elixir, self.otp, self.atoms = ready["elixir"], ready["otp"], ready["atoms"]
        except TimeoutError:
            raise WorkerDied(Outcome.TIMEOUT, f"the machine was not ready within {_BOOT_S:g} s", by_job=False) from None
        except (EOFError, OSError):
            raise await self._obituary() from None
        except (terms.TermError, TypeError, ValueError, KeyError):
            raise WorkerDied(Outcome.CRASH, "the machine did not say that it is ready", by_job=False) from None

    async def _exchange(self, request: bytes, *, names: bool) -> Any:
        await self._requests.send(len(request).to_bytes(4, "big") + request)
        reading = asyncio.ensure_future(self._read(names))
        too_noisy = asyncio.ensure_future(self._noise.too_much.wait())
        try:
            await asyncio.wait((reading, too_noisy), return_when=asyncio.FIRST_COMPLETED)
            if not reading.done():
                raise EOFError  # the obituary says why
            return reading.result()
        finally:
            for task in (reading, too_noisy):
                task.cancel()
            await asyncio.gather(reading, too_noisy, return_exceptions=True)

    async def _read(self, names: bool = False) -> Any:
        size = int.from_bytes(await self._answers.readexactly(4), "big")
        if size > _MAX_FRAME_BYTES:
            raise terms.TermError(f"{size} bytes; {_MAX_FRAME_BYTES} is the most")
        data = await self._answers.readexactly(size)
        return terms.decode(data, names=names)

    async def _checked(self, answer: Any, number: int, key: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """Raises WorkerDied for what is not the answer to this request: something else wrote to the pipe."""
        match answer if isinstance(answer, tuple) else ():
            case (
                int(said),
                str(proof),
                {"outcome": str(), "diagnostics": list()} as result,
                {"atoms": int()} as stats,
            ):
                if said == number and proof == key:
                    return result, stats
        await self.close()
        raise WorkerDied(Outcome.CRASH, "the answer is not one to the request", by_job=True)

    async def _obituary(self) -> WorkerDied:
        """What the machine died of, once it has."""
        self._is_dead = True
        killed = False
        try:
            async with asyncio.timeout(1.0):
                await self._process.wait()
        except TimeoutError:  # it closed its pipe, or it talks too much
            killed = True
        await self.close()
        if self._noise.too_much.is_set():
            return WorkerDied(
                Outcome.RESOURCE_LIMIT, f"more output than is allowed ({_MAX_NOISE_BYTES} bytes)", by_job=True
            )
        if killed:
            return WorkerDied(Outcome.CRASH, "the machine closed its connection", by_job=True)
        status = self._process.returncode
        assert status is not None
        return _cause_of_death(status, self._noise.tail())


class _Noise:
    """What a machine writes to its own standard output and error: its end is kept, its amount counted."""

    def __init__(self) -> None:
        self.too_much = asyncio.Event()
        self._tail = bytearray()
        self._num_bytes = 0

    def begin_job(self) -> None:
        self._num_bytes = 0
        self._tail.clear()

    def tail(self) -> str:
        return self._tail.decode("utf-8", "replace")

    async def drain(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        while data := await process.stdout.read(1 << 16):
            self._num_bytes += len(data)
            self._tail += data
            del self._tail[:-_TAIL_BYTES]
            if self._num_bytes > _MAX_NOISE_BYTES:
                self.too_much.set()


class _Requests(asyncio.Protocol):
    """The writing end of a pipe; `send` waits until the machine has taken what came before."""

    _transport: asyncio.WriteTransport

    def __init__(self) -> None:
        self._writable = asyncio.Event()
        self._writable.set()
        self._is_lost = False

    @classmethod
    async def on(cls, pipe: BinaryIO) -> _Requests:
        self = cls()
        self._transport, _ = await asyncio.get_running_loop().connect_write_pipe(lambda: self, pipe)
        return self

    async def send(self, data: bytes) -> None:
        if self._is_lost:
            raise BrokenPipeError
        self._transport.write(data)
        await self._writable.wait()

    def close(self) -> None:
        if not self._transport.is_closing():  # twice would be one callback too many
            self._transport.abort()

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def connection_lost(self, error: Exception | None) -> None:
        self._is_lost = True
        self._writable.set()


async def _reader_on(pipe: BinaryIO) -> tuple[asyncio.StreamReader, asyncio.BaseTransport]:
    reader = asyncio.StreamReader(limit=1 << 20)
    transport, _ = await asyncio.get_running_loop().connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), pipe
    )
    return reader, transport


# ------------------------------------------------------------------------------------------------------ causes of death

_FATAL = (
    (re.compile(r"no more index entries in atom_tab"), "more atoms than are allowed"),
    (re.compile(r"Cannot (re)?allocate|_alloc: Cannot|out of memory|enomem", re.I), "more memory than is allowed"),
    (re.compile(r"[Ff]ailed to create .*thread|pthread_create|erts_thr_create"), "more threads than are allowed"),
    (re.compile(r"Resource temporarily unavailable|Too many open files"), "more of the system than is allowed"),
)
_FROM_OUTSIDE = frozenset({signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT})


def _cause_of_death(status: int, said: str) -> WorkerDied:
    """status: the exit code, negative for a signal; bubblewrap turns a signal into 128 plus its number."""
    for pattern, what in _FATAL:
        if pattern.search(said):
            return WorkerDied(Outcome.RESOURCE_LIMIT, what, by_job=True)
    number = -status if status < 0 else status - 128
    try:
        killer = signal.Signals(number) if status < 0 or 128 < status < 193 else None
    except ValueError:
        killer = None
    if killer is signal.SIGXCPU:
        return WorkerDied(Outcome.TIMEOUT, "more processor time than is allowed", by_job=True)
    if killer is signal.SIGXFSZ:
        return WorkerDied(Outcome.RESOURCE_LIMIT, "a larger file than is allowed", by_job=True)
    if killer is not None:
        detail = f"the machine was killed by {killer.name}"
        return WorkerDied(Outcome.CRASH, detail, by_job=killer not in _FROM_OUTSIDE)
    last = next((line.strip() for line in reversed(said.splitlines()) if line.strip()), "")
    detail = f"the machine ended with exit code {status}" + (f": {last[:300]}" if last else "")
    return WorkerDied(Outcome.CRASH, detail, by_job=True)


# ------------------------------------------------------------------------------------------------------- the boot line


def _command(
    installation: Installation,
    limits: Limits,
    code_paths: Sequence[Path],
    descriptors: Sequence[int],
    evaluates: bool,
    own: str | None,
) -> list[str]:
    """own: the folder for temporary files that is the machine's alone, and that it may empty; None where it is not."""
    # Logging costs time to set up and would print; who waits for a job hears of its errors.
    arguments = ["-noshell", "-noinput", "-boot", "start_clean", "-kernel", "logger", "[{handler,default,undefined}]"]
    arguments += ["-elixir", "ansi_enabled", "false"]
    libraries = sorted(installation.elixir_root.glob("lib/*/ebin"))
    arguments += ["-pa", *map(str, [*libraries, *code_paths])]
    arguments += ["-elixir_coder_from", str(descriptors[0]), "-elixir_coder_to", str(descriptors[1])]
    arguments += ["-elixir_coder_evaluates"] * evaluates
    arguments += ["-elixir_coder_own", own] if own else []
    arguments += ["-s", "Elixir.ElixirCoder.Worker", "start"]
    # The machine's log tells us which process was killed for its heap.
    return installation.command([*vm_flags(limits), "+hmaxel", "true"], arguments)


def _sources() -> list[Path]:
    return sorted(_SOURCES.glob("*.ex"))


def _compiled(installation: Installation) -> Path:
    """The folder of our modules as this Elixir compiles them; compiled when it is not there yet.

    Raises MissingDependencyError when Elixir cannot.
    """
    digest = hashlib.sha256(f"{installation.elixir} {installation.otp} {installation.elixir_root}".encode())
    for source in _sources():
        digest.update(source.name.encode() + b"\0" + source.read_bytes() + b"\0")
    return _compiled_as(installation, digest.hexdigest()[:20])


@functools.lru_cache(maxsize=8)
def _compiled_as(installation: Installation, digest: str) -> Path:
    cache = _cache_folder()
    folder = cache / f"worker-{digest}"
    if folder.is_dir():
        return folder
    with tempfile.TemporaryDirectory(prefix=".worker-", dir=cache) as name:
        made = Path(name) / "ebin"
        made.mkdir()
        _run_elixirc(installation, made)
        for path in (made, *made.iterdir()):  # the sandbox of root reads them as nobody
            path.chmod(0o755 if path is made else 0o644)
        try:
            made.rename(folder)  # whole or not at all
        except OSError:
            if not folder.is_dir():  # else another process was quicker, with the same
                raise
    return folder


def _run_elixirc(installation: Installation, to: Path) -> None:
    libraries = [str(path) for path in sorted(installation.elixir_root.glob("lib/*/ebin"))]
    arguments = [
        "-noshell",
        "-boot",
        "start_clean",
        "-pa",
        *libraries,
        "-s",
        "elixir",
        "start_cli",
        "-extra",
        "+elixirc",
    ]
    argv = installation.command(["+S", "1:1", "+fnu"], [*arguments, "-o", str(to), *map(str, _sources())])
    try:
        done = subprocess.run(
            argv,
            env=installation.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
        )
        said, failed = done.stdout.decode("utf-8", "replace").strip(), done.returncode != 0
    except (OSError, subprocess.TimeoutExpired) as error:
        said, failed = str(error), True
    if failed:
        raise MissingDependencyError(
            f"Elixir {installation.elixir} in {installation.elixir_root} does not compile the worker"
            f" ({said.splitlines()[0] if said else 'no reason given'}); reinstall it: apt install --reinstall elixir"
        )


def _cache_folder() -> Path:
    """Where compiled workers are kept; a temporary folder of this process where that cannot be written."""
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if os.access(folder, os.W_OK):
            return folder
    except OSError:
        pass
    return _temporary_folder()


@functools.cache
def _temporary_folder() -> Path:
    import atexit

    folder = tempfile.mkdtemp(prefix="elixir-coder-")
    os.chmod(folder, 0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)
