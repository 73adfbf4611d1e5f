"""Elixir's parser, formatter, compiler and ExUnit as Python calls, on virtual machines that stay warm.

    with Toolchain() as toolchain:
        report = toolchain.test(code, tests)
        report.outcome, report.findings, report.tests

`Toolchain` is for threads, `AsyncToolchain` for an event loop; both answer the same reports. Whatever the code does, a
call returns a report, after `timeout_s` and a moment at the latest; exceptions are for what the caller can put right.

Parsing and formatting evaluate nothing. Compiling already does (macros run), so compile, test, doctest and definitions
run in a sandbox, and are refused with SandboxError where there is no working one, unless `sandbox=False` insists.
"""

from __future__ import annotations

import asyncio
import os
import threading
import warnings
import weakref
from collections import deque
from collections.abc import Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeVar

from elixir_coder.errors import ElixirCoderError, RecipeError
from elixir_coder.toolchain.answers import not_formatted, report_of, with_unexpected_tests
from elixir_coder.toolchain.expected import Expected, differences_from, written_in
from elixir_coder.toolchain.facts import FactsReport
from elixir_coder.toolchain.finding import Outcome
from elixir_coder.toolchain.pool import Answer, Pool
from elixir_coder.toolchain.reports import (
    AstReport,
    CompileReport,
    DefinitionsReport,
    FormatReport,
    Report,
    TestReport,
)
from elixir_coder.toolchain.sandbox import Limits, NoSandbox, Sandbox
from elixir_coder.toolchain.worker import Worker

T = TypeVar("T")
_LIMITS = Limits()
Files = str | Mapping[str, str]
_NO_FILES: Mapping[str, str] = MappingProxyType({})

TESTS_PATH = "test.exs"  # what findings call tests that were given as a text
_CODE_PATH = "code.ex"  # what the worker calls code that was given as a text; findings call it ""

# A parser leaves nothing behind that grows; whatever may have been evaluated on the others is not worth more than this.
_MAX_PARSING_JOBS = 100_000
_MAX_EVALUATING_JOBS = 500
_MAX_ATOMS_SHARE = 0.6  # of the limit: a job that needs the other 40% is an atom bomb

_MAX_CPU_SHARE = 0.5  # of the processor time of a virtual machine's life, which the last job must not run into

_NUM_EXPECTED_KEPT = 512  # test files whose names are remembered: many samples are judged by the same tests
_WAKE_S = 0.5  # seconds of one wait in a thread, which then looks for Ctrl-C

# Of `map`: crossing to the loop's thread and back costs as much as parsing a file, so texts that are parsed go in
# chunks; where a job may last seconds, there must be enough of them to do behind one that does.
_CHUNK = 8
_AHEAD_OF_SLOW = 16  # for each worker


class AsyncToolchain:
    """The toolchain for one event loop: `async with AsyncToolchain() as toolchain`.

    workers: jobs at a time of each kind (parsing, evaluating), one for each core by default. timeout_s: seconds of one
    job. code_paths: folders of compiled modules (`_build/dev/lib/*/ebin`) that judged code may use.
    limits: of each worker. Virtual machines start when first needed.

    code and tests are one text or a mapping from paths to texts; findings carry these paths, "" for a code text and
    "test.exs" for a test text.

    Every call raises MissingDependencyError when there is no working Elixir, SandboxError when code would have to be
    evaluated and there is no working sandbox, and ElixirCoderError once the toolchain is closed.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        timeout_s: float = 10.0,
        sandbox: bool = True,
        limits: Limits = _LIMITS,
        code_paths: Sequence[Path] = (),
    ):
        """Raises RecipeError for settings out of range."""
        if workers is not None and workers < 1:
            raise RecipeError(f"workers must be 1 or more, got {workers}")
        if not timeout_s > 0:
            raise RecipeError(f"timeout_s must be above 0, got {timeout_s}")
        self.workers = workers or len(os.sched_getaffinity(0))
        self.timeout_s = timeout_s
        self._sandbox = sandbox
        self._limits = limits
        self._code_paths = tuple(code_paths)
        self._parsing: Pool | None = None
        self._evaluating: Pool | None = None
        self._expected: dict[str, Expected] = {}
        self._process_id = os.getpid()
        self._loop: asyncio.AbstractEventLoop | None = None  # that of the first call
        self._is_closed = False

    async def __aenter__(self) -> AsyncToolchain:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """End all virtual machines and return when they are gone. Calls that are not done raise ElixirCoderError."""
        self._is_closed = True
        if os.getpid() == self._process_id:
            await asyncio.gather(*(pool.close() for pool in (self._parsing, self._evaluating) if pool))

    async def versions(self) -> tuple[str, str]:
        """Of Elixir and of OTP, e.g. ("1.14.0", "25")."""
        return await self._pool_of_parsers().versions()

    async def parse(self, code: str, *, path: str = "") -> Report:
        """Ask Elixir's parser: ok, or syntax_error with the place."""
        return report_of(Report, await self._run("parse", {"code": code}), "parse", {"": path})

    async def format(
        self,
        code: str,
        *,
        line_length: int = 98,
        locals_without_parens: Sequence[tuple[str, int | None]] = (),
        force_do_end_blocks: bool = False,
        path: str = "",
    ) -> FormatReport:
        """What `mix format` makes of a text, and a finding `not_formatted` where that differs from the text.

        The settings are those of a `.formatter.exs`; an arity of None is any.
        """
        args = {
            "code": code,
            "line_length": line_length,
            "locals_without_parens": [list(each) for each in locals_without_parens],
            "force_do_end_blocks": force_do_end_blocks,
        }
        answer = await self._run("format", args)
        report = report_of(FormatReport, answer, "format", {"": path})
        if report.formatted is None or report.formatted == code:
            return report
        return replace(report, findings=(*report.findings, not_formatted(code, report.formatted, path)))

    async def ast(self, code: str, *, path: str = "") -> AstReport:
        """The syntax tree of a text as Python data."""
        return report_of(AstReport, await self._run("ast", {"code": code}), "ast", {"": path})

    async def facts(self, code: str, *, path: str = "") -> FactsReport:
        """The modules, functions, calls and flow of values of a text, as it says them itself."""
        return report_of(FactsReport, await self._run("facts", {"code": code}), "facts", {"": path})

    async def compile(
        self,
        code: Files,
        *,
        resources: Mapping[str, str] = _NO_FILES,
        guard: bool = True,
        timeout_s: float | None = None,
    ) -> CompileReport:
        """Compile texts together.

        resources: texts that lie beside them, by their paths, for what is read while compiling, such as a template.
        guard: refuse code that asks for what it may not do, before any of it runs.
        """
        files, paths = _files(code, _CODE_PATH, "")
        args = {"files": files, "resources": pairs_of(resources, ""), "guard": guard}
        answer = await self._run("compile", args, evaluates=True, timeout_s=timeout_s)
        return report_of(CompileReport, answer, "compile", paths)

    async def test(
        self,
        code: Files,
        tests: Files,
        *,
        guard: bool = True,
        expected: Collection[str] | None = None,
        fresh: bool = False,
        test_timeout_s: float = 5.0,
        timeout_s: float | None = None,
        seed: int = 0,
    ) -> TestReport:
        """Compile code, then run ExUnit tests on it.

        Only the tests that are expected count: where one of them did not run, another one did, or none, the outcome is
        test_failure with a finding `unexpected_tests`. expected: their names, as "Module: name" or the name alone,
        where a test in a `describe` is "describe name"; by default those that the tests' text writes out (`expected`).
        fresh: on a virtual machine that has run nothing before, for scores that are reported.
        test_timeout_s: of one test. seed: of ExUnit's order; 0 keeps the order of the text.
        Raises RecipeError where code and tests share a path.
        """
        files, paths = _files(code, _CODE_PATH, "")
        test_files, test_paths = _files(tests, TESTS_PATH, TESTS_PATH)
        if both := sorted(paths.keys() & test_paths.keys()):
            raise RecipeError(f"{both[0]} is the path of code and of tests; give them different ones")
        of_text = Expected()
        if expected is None:
            for name, text in test_files:
                of_file = await self._expected_of(text, path=test_paths[name])
                if isinstance(of_file, AstReport):
                    return TestReport(outcome=of_file.outcome, findings=of_file.findings, attempts=of_file.attempts)
                of_text.names.update(of_file.names)
                of_text.is_open |= of_file.is_open
        args = {
            "files": files,
            "tests": test_files,
            "guard": guard,
            "timeout_ms": round(test_timeout_s * 1000),
            "seed": seed,
        }
        answer = await self._run("test", args, evaluates=True, fresh=fresh, timeout_s=timeout_s)
        report = report_of(TestReport, answer, "test", paths | test_paths)
        if report.outcome not in (Outcome.OK, Outcome.WARNING, Outcome.TEST_FAILURE):
            return report
        wrong = of_text.differences(report.tests) if expected is None else differences_from(expected, report.tests)
        if report.ok and not report.tests:
            wrong = wrong or "no test ran"
        return with_unexpected_tests(report, wrong, next(iter(test_paths.values()), "")) if wrong else report

    async def doctest(
        self,
        code: Files,
        *,
        modules: Sequence[str] | None = None,
        guard: bool = True,
        fresh: bool = False,
        test_timeout_s: float = 5.0,
        timeout_s: float | None = None,
    ) -> TestReport:
        """Run the examples in the documentation of these modules, by default of all that the code defines.

        Code without any ends in ok, and has not `passed`.
        """
        files, paths = _files(code, _CODE_PATH, "")
        args = {
            "files": files,
            "guard": guard,
            "timeout_ms": round(test_timeout_s * 1000),
            "modules": None if modules is None else list(modules),
        }
        answer = await self._run("doctest", args, evaluates=True, fresh=fresh, timeout_s=timeout_s)
        return report_of(TestReport, answer, "doctest", paths)

    async def definitions(
        self, code: Files, *, guard: bool = True, timeout_s: float | None = None
    ) -> DefinitionsReport:
        """Compile texts and list what their modules offer."""
        files, paths = _files(code, _CODE_PATH, "")
        answer = await self._run("definitions", {"files": files, "guard": guard}, evaluates=True, timeout_s=timeout_s)
        return report_of(DefinitionsReport, answer, "definitions", paths)

    async def submit(
        self, op: str, args: dict[str, Any], *, evaluates: bool, fresh: bool = False, timeout_s: float | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """Any operation of the worker: its result and its statistics, with the number of "attempts", as they came.

        Where the worker died the result has the class as "outcome" and the reason in "diagnostics".
        """
        answer = await self._run(op, args, evaluates=evaluates, fresh=fresh, timeout_s=timeout_s)
        return answer.result, answer.stats | {"attempts": answer.attempts}

    async def _run(
        self,
        op: str,
        args: dict[str, Any],
        *,
        evaluates: bool = False,
        fresh: bool = False,
        timeout_s: float | None = None,
    ) -> Answer:
        if timeout_s is not None and not timeout_s > 0:
            raise RecipeError(f"timeout_s must be above 0, got {timeout_s}")
        pool = await self._pool_of_evaluators() if evaluates else self._pool_of_parsers()
        return await pool.run(op, args, deadline_s=timeout_s or self.timeout_s, fresh=fresh)

    def _pool_of_parsers(self) -> Pool:
        self._check_usable()
        if self._parsing is None:
            self._parsing = self._pool(NoSandbox(self._limits), (), _MAX_PARSING_JOBS, evaluates=False)
        return self._parsing

    async def _pool_of_evaluators(self) -> Pool:
        self._check_usable()
        if self._evaluating is None:
            launch_with = (
                await asyncio.to_thread(Sandbox.probe, self._limits) if self._sandbox else NoSandbox(self._limits)
            )
            self._check_usable()
            if self._evaluating is None:  # nobody else was quicker
                self._evaluating = self._pool(launch_with, self._code_paths, _MAX_EVALUATING_JOBS, evaluates=True)
        return self._evaluating

    def _pool(
        self, launch_with: Sandbox | NoSandbox, code_paths: Sequence[Path], max_jobs: int, *, evaluates: bool
    ) -> Pool:
        return Pool(
            lambda: Worker.start(launch_with, limits=self._limits, code_paths=code_paths, evaluates=evaluates),
            size=self.workers,
            max_jobs=max_jobs,
            max_atoms=int(_MAX_ATOMS_SHARE * self._limits.atoms),
            max_busy_s=_MAX_CPU_SHARE * self._limits.cpu_s,
        )

    def _check_usable(self) -> None:
        if self._is_closed:
            raise ElixirCoderError("this toolchain is closed; make another one")
        _check_process(self._process_id)
        loop = asyncio.get_running_loop()
        self._loop = self._loop or loop
        if loop is not self._loop:
            raise ElixirCoderError("this toolchain belongs to another event loop; make one in each, or a Toolchain")

    async def _expected_of(self, text: str, *, path: str) -> Expected | AstReport:
        """The tests in a text, or the report that says why it has none."""
        known = self._expected.pop(text, None)
        if known is None:
            report = await self.ast(text, path=path)
            if not report.ok:
                return report
            known = written_in(report.ast)
        self._expected[text] = known  # last: the first of a dict is the one that was not asked for longest
        if len(self._expected) > _NUM_EXPECTED_KEPT:
            self._expected.pop(next(iter(self._expected)))
        return known


class Toolchain:
    """The toolchain for threads: `with Toolchain() as toolchain`. Settings and reports are those of `AsyncToolchain`.

    Any number of threads may use one Toolchain at the same time. It does not survive a fork: make one in each process.
    """

    def __init__(
        self,
        *,
        workers: int | None = None,
        timeout_s: float = 10.0,
        sandbox: bool = True,
        limits: Limits = _LIMITS,
        code_paths: Sequence[Path] = (),
    ):
        """Raises RecipeError for settings out of range."""
        self._toolchain = AsyncToolchain(
            workers=workers, timeout_s=timeout_s, sandbox=sandbox, limits=limits, code_paths=code_paths
        )
        self._process_id = os.getpid()
        self._lock = threading.Lock()  # between "is it closed?" and the call
        self._loop = asyncio.new_event_loop()
        thread = threading.Thread(target=_serve, args=(self._loop,), name="elixir-coder toolchain", daemon=True)
        # Runs once: by close, when nobody holds the Toolchain any more, or when the interpreter ends.
        self._finalizer = weakref.finalize(self, _end, self._toolchain, self._loop, thread, self._process_id)
        thread.start()

    def __enter__(self) -> Toolchain:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all virtual machines and return when they are gone; calls of other threads raise ElixirCoderError."""
        if os.getpid() != self._process_id:
            return  # the lock may have been held when the process was forked
        with self._lock:
            parts = self._finalizer.detach()
        if parts:
            _end(*parts[2], is_forgotten=False)

    @property
    def workers(self) -> int:
        return self._toolchain.workers

    @property
    def elixir_version(self) -> str:
        """E.g. "1.14.0"."""
        return self._wait(self._toolchain.versions)[0]

    @property
    def otp_version(self) -> str:
        """E.g. "25"."""
        return self._wait(self._toolchain.versions)[1]

    def begin(self) -> None:
        """Start what parses, and do not wait for it. What goes wrong there, the first call says."""
        self._begin(self._toolchain.versions)

    def parse(self, code: str, *, path: str = "") -> Report:
        """As AsyncToolchain.parse."""
        return self._wait(self._toolchain.parse, code, path=path)

    def format(
        self,
        code: str,
        *,
        line_length: int = 98,
        locals_without_parens: Sequence[tuple[str, int | None]] = (),
        force_do_end_blocks: bool = False,
        path: str = "",
    ) -> FormatReport:
        """As AsyncToolchain.format."""
        return self._wait(
            self._toolchain.format,
            code,
            line_length=line_length,
            locals_without_parens=locals_without_parens,
            force_do_end_blocks=force_do_end_blocks,
            path=path,
        )

    def ast(self, code: str, *, path: str = "") -> AstReport:
        """As AsyncToolchain.ast."""
        return self._wait(self._toolchain.ast, code, path=path)

    def facts(self, code: str, *, path: str = "") -> FactsReport:
        """As AsyncToolchain.facts."""
        return self._wait(self._toolchain.facts, code, path=path)

    def compile(
        self,
        code: Files,
        *,
        resources: Mapping[str, str] = _NO_FILES,
        guard: bool = True,
        timeout_s: float | None = None,
    ) -> CompileReport:
        """As AsyncToolchain.compile."""
        return self._wait(self._toolchain.compile, code, resources=resources, guard=guard, timeout_s=timeout_s)

    def test(
        self,
        code: Files,
        tests: Files,
        *,
        guard: bool = True,
        expected: Collection[str] | None = None,
        fresh: bool = False,
        test_timeout_s: float = 5.0,
        timeout_s: float | None = None,
        seed: int = 0,
    ) -> TestReport:
        """As AsyncToolchain.test."""
        return self._wait(
            self._toolchain.test,
            code,
            tests,
            guard=guard,
            expected=expected,
            fresh=fresh,
            test_timeout_s=test_timeout_s,
            timeout_s=timeout_s,
            seed=seed,
        )

    def doctest(
        self,
        code: Files,
        *,
        modules: Sequence[str] | None = None,
        guard: bool = True,
        fresh: bool = False,
        test_timeout_s: float = 5.0,
        timeout_s: float | None = None,
    ) -> TestReport:
        """As AsyncToolchain.doctest."""
        return self._wait(
            self._toolchain.doctest,
            code,
            modules=modules,
            guard=guard,
            fresh=fresh,
            test_timeout_s=test_timeout_s,
            timeout_s=timeout_s,
        )

    def definitions(self, code: Files, *, guard: bool = True, timeout_s: float | None = None) -> DefinitionsReport:
        """As AsyncToolchain.definitions."""
        return self._wait(self._toolchain.definitions, code, guard=guard, timeout_s=timeout_s)

    def submit(
        self, op: str, args: dict[str, Any], *, evaluates: bool, fresh: bool = False, timeout_s: float | None = None
    ) -> tuple[dict[str, Any], dict[str, Any]]:
        """As AsyncToolchain.submit."""
        return self._wait(self._toolchain.submit, op, args, evaluates=evaluates, fresh=fresh, timeout_s=timeout_s)

    def map(self, operation: str, inputs: Iterable[Any], **options: Any) -> Iterator[Any]:
        """The reports of one operation on many inputs, in their order, on all workers at once.

        inputs: what the operation takes first; for `test` pairs (code, tests). They may be without end: a few dozen at
        most are taken beyond the report that is given out, in the thread that iterates. Closing the iterator cancels
        what is under way. options: as for the operation, the same for all.
        Raises what the operation raises, in the place of the report; nothing comes after it.
        """
        if operation not in (*_QUICK, *_SLOW):
            raise RecipeError(f"no such operation: {operation}; there are: {', '.join((*_QUICK, *_SLOW))}")
        arguments = inputs if operation == "test" else ((each,) for each in inputs)
        return self._map(getattr(self._toolchain, operation), iter(arguments), operation in _QUICK, options)

    def _map(
        self,
        function: Callable[..., Coroutine[Any, Any, T]],
        arguments: Iterator[tuple[Any, ...]],
        is_quick: bool,
        options: dict[str, Any],
    ) -> Iterator[T]:
        size, num_ahead = (_CHUNK, self.workers + 2) if is_quick else (1, _AHEAD_OF_SLOW * self.workers)
        waiting: deque[Future[tuple[list[T], Exception | None]]] = deque()

        def is_next_ready() -> bool:
            return not waiting or waiting[0].done()

        is_over = False
        try:
            while True:
                # One more chunk for each that goes out keeps the workers busy. Beyond that inputs are taken only while
                # the next report is not there: taking one may last longer (a model writes it) than judging it.
                is_due = True
                while not is_over and len(waiting) < num_ahead and (is_due or not is_next_ready()):
                    is_due = False
                    chunk: list[tuple[Any, ...]] = []
                    while len(chunk) < size and not (chunk and is_next_ready()):
                        try:
                            chunk.append(next(arguments))
                        except StopIteration:
                            is_over = True
                            break
                    if chunk:
                        waiting.append(self._begin(_one_by_one, function, chunk, options))
                if not waiting:
                    return
                reports, error = _result_of(waiting[0])
                waiting.popleft()
                yield from reports
                if error:
                    raise error
        finally:
            for future in waiting:
                future.cancel()

    def _wait(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any, **options: Any) -> T:
        future = self._begin(function, *args, **options)
        try:
            return _result_of(future)
        except BaseException:  # Ctrl-C: the job ends too
            future.cancel()
            raise

    def _begin(self, function: Callable[..., Coroutine[Any, Any, T]], *args: Any, **options: Any) -> Future[T]:
        _check_process(self._process_id)
        with self._lock:
            if not self._finalizer.alive:
                raise ElixirCoderError("this toolchain is closed; make another one")
            return asyncio.run_coroutine_threadsafe(function(*args, **options), self._loop)


_QUICK = ("parse", "format", "ast", "facts")
_SLOW = ("compile", "test", "doctest", "definitions")


async def _one_by_one(
    function: Callable[..., Coroutine[Any, Any, T]], chunk: list[tuple[Any, ...]], options: dict[str, Any]
) -> tuple[list[T], Exception | None]:
    """The reports up to the first exception, and that."""
    reports: list[T] = []
    for arguments in chunk:
        try:
            reports.append(await function(*arguments, **options))
        except Exception as error:
            return reports, error
    return reports, None


def _result_of(future: Future[T]) -> T:
    """Wait for it. A signal that arrives on the way into a wait does not interrupt that one, so no wait is long."""
    while True:
        try:
            return future.result(timeout=_WAKE_S)
        except TimeoutError:
            if future.done():  # the job's own, or in this very moment
                return future.result()


def pairs_of(given: Files, name: str) -> list[list[str]]:
    """What the worker is given: a file's name and text. name: of a text that came without one."""
    return [[path, text] for path, text in ({name: given} if isinstance(given, str) else given).items()]


def _files(given: Files, name: str, path: str) -> tuple[list[list[str]], dict[str, str]]:
    """Pairs for the worker, and for each name in them the path that findings show."""
    return pairs_of(given, name), {name: path} if isinstance(given, str) else {path: path for path in given}


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
    finally:
        loop.close()


def _end(
    toolchain: AsyncToolchain,
    loop: asyncio.AbstractEventLoop,
    thread: threading.Thread,
    process_id: int,
    *,
    is_forgotten: bool = True,
) -> None:
    if os.getpid() != process_id:
        return  # after a fork: the virtual machines belong to the parent

    async def close() -> None:
        try:
            await toolchain.close()
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others)  # calls of other threads, which now raise
        finally:
            loop.stop()

    asyncio.run_coroutine_threadsafe(close(), loop)
    while thread.is_alive() and threading.current_thread() is not thread:  # the garbage collector runs in any thread
        thread.join(_WAKE_S)
    if is_forgotten:
        warnings.warn("a Toolchain was not closed; use it in a `with`", ResourceWarning, stacklevel=2)


def _check_process(process_id: int) -> None:
    if os.getpid() != process_id:
        raise ElixirCoderError(
            f"this toolchain belongs to process {process_id}, this is process {os.getpid()}, forked from it; "
            "make a toolchain in each process"
        )
