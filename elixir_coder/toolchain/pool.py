"""Jobs on a few workers at once: every job is answered once, whatever becomes of the worker that runs it.

A job waits in its caller until one of `size` slots is free, first come first served, and then has a worker to itself:
nothing queues up in here, so who submits without waiting for answers holds what it submitted. Workers start when a job
needs one and are kept; each is replaced after a number of jobs, when its atom table fills up (atoms are never freed),
when the virtual machine asks for it, and when its job was cancelled, as nobody knows what that job goes on doing.

A worker that goes away in mid-job for no known reason (`kill -9`, a machine short of memory) may not be its job's
fault: the job goes to another worker once. Where the reason is known, or it happens again, that is the job's answer.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from elixir_coder.errors import ElixirCoderError, MissingDependencyError
from elixir_coder.toolchain.finding import Outcome
from elixir_coder.toolchain.worker import Worker, WorkerDied

_MAX_STARTS = 3  # in a row: one may be killed from outside, three have a reason
_MAX_ATTEMPTS = 2


class Answer(NamedTuple):
    """result: as the worker gave it, or with its class and a diagnostic where it died. attempts: 1 or 2."""

    result: dict[str, Any]
    stats: dict[str, Any]
    attempts: int


class Pool:
    """Up to `size` workers at work, and, once a job asked for a fresh one, as many spares that have run nothing yet."""

    def __init__(
        self, start: Callable[[], Awaitable[Worker]], *, size: int, max_jobs: int, max_atoms: int, max_busy_s: float
    ):
        """Of one worker that gets another job, max_atoms: in its table; max_jobs, max_busy_s: behind it."""
        self._start_worker = start
        self._size = size
        self._max_jobs = max_jobs
        self._max_atoms = max_atoms
        self._max_busy_s = max_busy_s
        self._slots = asyncio.Semaphore(size)
        self._workers: dict[Worker, float] = {}  # all that are to be closed; seconds that each was at work
        self._idle: list[Worker] = []  # the last used comes first: its caches are warm
        self._spares: deque[asyncio.Task[Worker]] = deque()  # have run nothing yet; some are still starting
        self._starting: set[asyncio.Task[Worker]] = set()  # spares and those that jobs wait for
        self._closing: set[asyncio.Task[None]] = set()
        self._is_closed = False

    async def run(self, op: str, args: dict[str, Any], *, deadline_s: float, fresh: bool = False) -> Answer:
        """Wait for a worker, then for its answer. deadline_s: of one attempt, without the wait for a worker.

        fresh: on a worker that has run nothing before and will run nothing after.
        Raises MissingDependencyError or SandboxError when no worker can be started, ElixirCoderError when the pool is
        closed, before or meanwhile.
        """
        async with self._slots:
            attempts = 0
            while True:
                attempts += 1
                worker = await self._take(fresh)
                started = time.monotonic()
                try:
                    result, stats = await worker.call(op, args, deadline_s=deadline_s)
                except WorkerDied as died:
                    self._discard(worker)
                    self._check_open()
                    if died.outcome == Outcome.CRASH and not died.by_job and attempts < _MAX_ATTEMPTS:
                        continue
                    stats = {"duration_us": round((time.monotonic() - started) * 1e6)}
                    return Answer(_result_of(died), stats, attempts)
                except BaseException:
                    self._discard(worker)
                    raise
                if worker in self._workers:
                    self._workers[worker] += time.monotonic() - started
                if fresh or self._is_spent(worker, stats):
                    self._discard(worker)
                else:
                    self._idle.append(worker)
                return Answer(result, stats, attempts)

    async def versions(self) -> tuple[str, str]:
        """Of Elixir and of OTP, as a worker says. Raises as `run` does."""
        async with self._slots:
            worker = await self._take(fresh=False)
            self._idle.append(worker)
            return worker.elixir, worker.otp

    async def close(self) -> None:
        """End every worker, those at work too, whose jobs then raise ElixirCoderError. Returns when they are gone."""
        self._is_closed = True
        ending = asyncio.ensure_future(self._end_all())
        try:
            await asyncio.shield(ending)
        except asyncio.CancelledError:  # a second Ctrl-C: no reason to leave processes behind
            await ending
            raise

    async def _end_all(self) -> None:
        for start in self._starting:
            start.cancel()
        await asyncio.gather(*self._starting, return_exceptions=True)
        for worker in list(self._workers):
            self._discard(worker)
        await asyncio.gather(*self._closing)
        self._spares.clear()
        self._idle.clear()

    def _check_open(self) -> None:
        if self._is_closed:
            raise ElixirCoderError(
                "the toolchain was closed before this job was done; keep it open, or make another one"
            )

    async def _take(self, fresh: bool) -> Worker:
        while True:
            self._check_open()
            worker = self._idle.pop() if self._idle and not fresh else await self._take_spare(fresh)
            self._check_open()
            if worker.alive:
                return worker
            self._discard(worker)

    async def _take_spare(self, fresh: bool) -> Worker:
        while self._spares and self._spares[0].done() and (self._spares[0].cancelled() or self._spares[0].exception()):
            self._spares.popleft()  # what stopped it may be over by now, and if not the next one says so
        spare = self._spares.popleft() if self._spares else self._begin_spare()
        if fresh:
            self._spares.extend(self._begin_spare() for _ in range(len(self._spares), self._size))
        try:
            return await asyncio.shield(spare)
        except asyncio.CancelledError:
            if spare.cancelled():
                self._check_open()
            else:  # it is the job that was cancelled; the worker will do for another one
                self._spares.appendleft(spare)
            raise

    def _begin_spare(self) -> asyncio.Task[Worker]:
        start = asyncio.ensure_future(self._start())
        self._starting.add(start)
        start.add_done_callback(self._began)
        return start

    def _began(self, start: asyncio.Task[Worker]) -> None:
        self._starting.discard(start)
        if not start.cancelled():
            start.exception()  # is told to whoever takes it; a spare that nobody takes is nobody's trouble

    async def _start(self) -> Worker:
        for _ in range(_MAX_STARTS):
            try:
                worker = await self._start_worker()
            except WorkerDied as died:
                reason = died.detail
                if died.by_job:
                    break  # it has no job: the reason lies in the machine, which will not do better
            else:
                self._workers[worker] = 0.0
                return worker
        raise MissingDependencyError(f"the virtual machine does not start ({reason}); does `elixir --version` work?")

    def _is_spent(self, worker: Worker, stats: dict[str, Any]) -> bool:
        return (
            not worker.alive
            or self._workers.get(worker, 0.0) >= self._max_busy_s
            or stats.get("recycle") is True
            or worker.num_jobs >= self._max_jobs
            or worker.atoms >= self._max_atoms
        )

    def _discard(self, worker: Worker) -> None:
        if worker in self._workers:
            del self._workers[worker]
            closing = asyncio.ensure_future(worker.close())
            self._closing.add(closing)
            closing.add_done_callback(self._closing.discard)


def _result_of(died: WorkerDied) -> dict[str, Any]:
    diagnostic = {"check": str(died.outcome), "severity": "error", "line": None, "column": None, "file": ""}
    return {
        "outcome": str(died.outcome),
        "diagnostics": [diagnostic | {"message": died.detail}],
        "output": "",
    }
