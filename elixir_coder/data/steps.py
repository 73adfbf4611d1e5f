"""Take a corpus through a step on several processes: `transform` for examples, `produce` for other jobs.

    class Parse:                                    # one in each worker process
        def __init__(self): self.toolchain = Toolchain(workers=1)
        def __call__(self, examples, dropped): return [each for each in examples if self.parses(each, dropped)]
        def close(self): self.toolchain.close()

    report = transform(corpus, out, Parse, name="parse", settings={}, workers=2)

Batches go out in order, a few at a time, and their results are written in order, so the corpus that comes out is the
same whatever the number of workers. Shards that are full lie in `OUT/.unfinished` with a progress file; an interrupted
run goes on after the last of them, and at the end all are renamed into place.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import json
import multiprocessing
import os
import pickle
import queue
import shutil
import signal
import sys
import time
import traceback
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sized
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from elixir_coder.data import shards
from elixir_coder.data.split import SPLITS
from elixir_coder.errors import DataError, ElixirCoderError, InputError, require
from elixir_coder.example import Example

BATCH_SIZE = 64
SHARD_BYTES = 16_000_000
SHARD_BATCHES = 64  # at most, since what is not in a whole shard is done again after an interruption
UNFINISHED = ".unfinished"
_PROGRESS = "progress.json"
_AHEAD = 4  # batches under way or waiting to be written, for each worker
_PATIENCE_S = 10  # for a worker to close its step


class Step(Protocol):
    """What is done with a batch: made in each worker process, called there, and closed there.

    It gives the examples that come of a batch and counts in `dropped` why others do not. The same batch has to give the
    same examples in every process and whatever came before it.
    """

    def __call__(self, jobs: list[Any], dropped: Counter[str], /) -> list[Example]: ...

    def close(self) -> None: ...


@dataclass(frozen=True, kw_only=True)
class StepReport:
    """What a step did. splits: for each its num_examples, num_bytes of code and num_shards. seconds: of all the runs
    it took."""

    out: Path
    splits: Mapping[str, Mapping[str, int]]
    dropped: Counter[str]
    seconds: float

    def __str__(self) -> str:
        lines = [
            f"{split}: {count['num_examples']:,} examples, {count['num_bytes'] / 1e6:.2f} MB of code, "
            f"{count['num_shards']} shards"
            for split, count in self.splits.items()
        ]
        return "\n".join([*lines, f"dropped: {reasons(self.dropped)}", f"{self.seconds:.1f} s, in {self.out}"])


def transform(
    corpus: Path,
    out: Path,
    make: Callable[[], Step],
    *,
    name: str,
    settings: Mapping[str, Any],
    workers: int | None = None,
    resume: bool = False,
    batch_size: int = BATCH_SIZE,
    shard_bytes: int = SHARD_BYTES,
    progress: bool | None = None,
) -> StepReport:
    """Take every split of a corpus through a step, and write what comes of it to `out` as a corpus.

    make: picklable (a class, or functools.partial of one); called in each worker. settings: what the result depends on;
    with the name they go into the manifest, after the steps that the corpus has behind it. workers: processes, by
    default one for each core; 1 works in this process. resume: go on with what an interrupted run left in `out`.

    Raises DataError for a corpus that cannot be read, for a worker that died, where nothing is left, and for a resume
    with other settings or another corpus; what the step raises comes through. Whole shards are kept.
    """
    if out.resolve() == corpus.resolve():
        raise InputError(f"--out {out} is the corpus itself; name another folder")
    splits = [split for split in SPLITS if list(corpus.glob(f"{split}-*-of-*.parquet"))]
    splits += [split for split in shards.splits_of(corpus) if split not in SPLITS]
    if not splits:
        shards.shards_of(corpus, SPLITS[0])  # which says what is missing
    history = shards.read_manifest(corpus) if (corpus / shards.MANIFEST).exists() else {}
    run = _Run(
        out=out,
        name=name,
        settings=settings,
        input=_fingerprint(corpus, splits),
        manifest=history,
        batch_size=batch_size,
        shard_bytes=shard_bytes,
    )
    totals = {split: shards.count_of(corpus, split) for split in splits}
    sources = {split: _Corpus(corpus, split) for split in splits}
    return run.carry_out(sources, totals, make, workers, resume, progress)


def produce(
    jobs: Mapping[str, Iterable[Any]],
    out: Path,
    make: Callable[[], Step],
    *,
    name: str,
    settings: Mapping[str, Any],
    workers: int | None = None,
    resume: bool = False,
    batch_size: int = BATCH_SIZE,
    shard_bytes: int = SHARD_BYTES,
    progress: bool | None = None,
    manifest: Mapping[str, Any] | None = None,
) -> StepReport:
    """The same for jobs that are not examples: for each split what can be pickled, in the same order in every run.

    settings: everything that the jobs follow from. manifest: what it says beside the step.
    """
    run = _Run(
        out=out,
        name=name,
        settings=settings,
        input="",
        manifest=manifest or {},
        batch_size=batch_size,
        shard_bytes=shard_bytes,
    )
    totals = {split: len(each) for split, each in jobs.items() if isinstance(each, Sized)}
    sources = {split: _Jobs(each) for split, each in jobs.items()}
    return run.carry_out(sources, totals, make, workers, resume, progress)


def add_step_arguments(parser: argparse.ArgumentParser, *, takes_corpus: bool = True) -> None:
    """The arguments that every step's command has."""
    if takes_corpus:
        parser.add_argument("corpus", type=Path, metavar="CORPUS", help="folder of shards")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder of the corpus that comes of it")
    parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each core)")
    parser.add_argument("--resume", action="store_true", help="go on with what an interrupted run left in DIR")


def reasons(dropped: Mapping[str, int]) -> str:
    """Counted reasons as a line, the most frequent first."""
    return ", ".join(f"{reason} {count:,}" for reason, count in (+Counter(dropped)).most_common()) or "nothing"


@dataclass(frozen=True)
class _Corpus:
    folder: Path
    split: str

    def since(self, start: int) -> Iterator[Example]:
        return shards.read_shards(self.folder, self.split, start=start)


@dataclass(frozen=True)
class _Jobs:
    jobs: Iterable[Any]

    def since(self, start: int) -> Iterator[Any]:
        return itertools.islice(self.jobs, start, None)


# ------------------------------------------------------------------------------------------ a run and how far it came


@dataclass(kw_only=True)
class _Split:
    """How far a split came: all of it is in whole shards. num_batches: taken from its source."""

    num_batches: int = 0
    num_examples: int = 0
    num_bytes: int = 0
    num_shards: int = 0
    is_done: bool = False

    @property
    def counts(self) -> dict[str, int]:
        return {"num_examples": self.num_examples, "num_bytes": self.num_bytes, "num_shards": self.num_shards}


@dataclass(kw_only=True)
class _Progress:
    """What is in the whole shards of a run that is not finished."""

    splits: dict[str, _Split] = field(default_factory=dict)
    dropped: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0


@dataclass(frozen=True, kw_only=True)
class _Run:
    out: Path
    name: str
    settings: Mapping[str, Any]
    input: str
    manifest: Mapping[str, Any]
    batch_size: int
    shard_bytes: int

    def carry_out(
        self,
        sources: Mapping[str, _Corpus | _Jobs],
        totals: Mapping[str, int],
        make: Callable[[], Step],
        workers: int | None,
        resume: bool,
        progress: bool | None,
    ) -> StepReport:
        num_workers = len(os.sched_getaffinity(0)) if workers is None else workers
        if num_workers < 1 or self.batch_size < 1:
            raise InputError(f"--workers and the batch size must be 1 or more, got {num_workers}, {self.batch_size}")
        if resume and (report := self._finished_before()):
            return report
        try:
            state = self._begin(sources, resume)
            pending = {split: source for split, source in sources.items() if not state.splits[split].is_done}
            with (
                closing(_crew(make, num_workers if pending else 1, self.name)) as crew,
                self._bar(state, totals, progress) as bar,
            ):
                for split, source in pending.items():
                    self._take_through(split, source, crew, state, bar)
            return self._finish(state)
        except OSError as error:
            raise DataError(f"cannot write the corpus to {self.out}: {error}") from error

    @property
    def _building(self) -> Path:
        return self.out / UNFINISHED

    @property
    def _identity(self) -> dict[str, Any]:
        """What must be the same for a run to be gone on with, as JSON gives it back."""
        identity = {
            "name": self.name,
            "settings": dict(self.settings),
            "corpus": self.input,
            "batch_size": self.batch_size,
            "shard_bytes": self.shard_bytes,
        }
        restored: dict[str, Any] = json.loads(json.dumps(identity, default=str))
        return restored

    def _begin(self, splits: Iterable[str], resume: bool) -> _Progress:
        shards.make_folder(self.out)
        path = self._building / _PROGRESS
        if resume and path.exists():
            return self._read_progress(path)
        shutil.rmtree(self._building, ignore_errors=True)
        self._building.mkdir()
        state = _Progress(splits={split: _Split() for split in splits})
        self._save(state)
        return state

    def _read_progress(self, path: Path) -> _Progress:
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            splits = {split: _Split(**each) for split, each in saved["splits"].items()}
            state = _Progress(splits=splits, dropped=Counter(saved["dropped"]), seconds=saved["seconds"])
            begun = saved["run"]
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise DataError(f"{path} cannot be read ({error}); begin anew without --resume") from error
        if begun != self._identity:
            differing = sorted(key for key in self._identity if begun.get(key) != self._identity[key])
            told = "; ".join(
                "the corpus is another one"
                if key == "corpus"
                else f"{key}: {begun.get(key)}, now {self._identity[key]}"
                for key in differing
            )
            raise DataError(
                f"{self.out} holds an unfinished run that was begun otherwise ({told}); begin anew without --resume"
            )
        return state

    def _save(self, state: _Progress) -> None:
        splits = {split: asdict(each) for split, each in state.splits.items()}
        saved = {"run": self._identity, "splits": splits, "dropped": dict(state.dropped), "seconds": state.seconds}
        text = json.dumps(saved, indent=2, ensure_ascii=False)
        beside = self._building / f"{_PROGRESS}.new"
        beside.write_text(text + "\n", encoding="utf-8")
        os.replace(beside, self._building / _PROGRESS)

    def _take_through(self, split: str, source: _Corpus | _Jobs, crew: _Crew, state: _Progress, bar: Any) -> None:
        """Everything of a split that is not in a whole shard yet."""
        done = state.splits[split]
        batches = _batches(source.since(done.num_batches * self.batch_size), self.batch_size)
        so_far, dropped, began = replace(done), Counter(state.dropped), time.monotonic() - state.seconds

        def keep() -> None:
            writer.end_shard()
            so_far.num_shards = writer.num_shards
            state.splits[split], state.dropped = replace(so_far), Counter(dropped)
            state.seconds = time.monotonic() - began
            self._save(state)

        with (
            closing(shards.ShardWriter(self._building, split, num_shards=done.num_shards)) as writer,
            closing(crew.map(split, batches, done.num_batches)) as results,
        ):
            for size, (examples, reasons_of_batch) in results:
                for example in examples:
                    writer.write(example)
                    so_far.num_bytes += len(example.code.encode())
                so_far.num_examples += len(examples)
                so_far.num_batches += 1
                dropped.update(reasons_of_batch)
                bar.update(size)
                if writer.shard_bytes >= self.shard_bytes or so_far.num_batches % SHARD_BATCHES == 0:
                    keep()
            so_far.is_done = True
            keep()

    def _finish(self, state: _Progress) -> StepReport:
        counts = {split: each.counts for split, each in state.splits.items()}
        if not any(count["num_examples"] for count in counts.values()):
            raise DataError(f"nothing to write to {self.out}: no example was kept (dropped: {reasons(state.dropped)})")
        entry = {**self._entry, "splits": counts, "dropped": dict(sorted((+state.dropped).items()))}
        steps = [*self.manifest.get("steps", ()), entry]
        shards.put_in_place(self._building, self.out, counts, {**self.manifest, "steps": steps})
        shutil.rmtree(self._building, ignore_errors=True)
        return StepReport(out=self.out, splits=counts, dropped=+state.dropped, seconds=state.seconds)

    @property
    def _entry(self) -> dict[str, Any]:
        """What a manifest says of the step before its figures."""
        named = {name: self._identity[name] for name in ("name", "settings", "corpus")}
        return {name: value for name, value in named.items() if value != ""}

    def _finished_before(self) -> StepReport | None:
        """The report of just this run, where it is the last that wrote the corpus."""
        if (self._building / _PROGRESS).exists() or not (self.out / shards.MANIFEST).exists():
            return None
        last: dict[str, Any] = next(iter(reversed(shards.read_manifest(self.out).get("steps", ()))), {})
        if any(last.get(key) != value for key, value in self._entry.items()):
            return None
        return StepReport(out=self.out, splits=last["splits"], dropped=Counter(last["dropped"]), seconds=0.0)

    def _bar(self, state: _Progress, totals: Mapping[str, int], shown: bool | None) -> Any:
        initial = sum(
            min(each.num_batches * self.batch_size, totals.get(split, sys.maxsize))
            for split, each in state.splits.items()
        )
        return require("tqdm", "data").tqdm(
            desc=self.name,
            unit="job" if not self.input else "example",
            total=sum(totals.values()) if set(totals) == set(state.splits) else None,
            initial=initial,
            disable=not (sys.stderr.isatty() if shown is None else shown),
        )


def _batches(jobs: Iterator[Any], size: int) -> Iterator[list[Any]]:
    while batch := list(itertools.islice(jobs, size)):
        yield batch


def _fingerprint(corpus: Path, splits: Iterable[str]) -> str:
    """Tells a corpus from another without reading it: its manifest, and the names and sizes of its shards."""
    said = hashlib.sha256()
    if (corpus / shards.MANIFEST).exists():
        said.update((corpus / shards.MANIFEST).read_bytes())
    for split in splits:
        for shard in shards.shards_of(corpus, split):
            said.update(f"\n{shard.name} {shard.stat().st_size}".encode())
    return said.hexdigest()


# ------------------------------------------------------------------------------------------------- who does the batches

_Result = tuple[list[Example], Counter[str]]


class _Crew(Protocol):
    def map(self, split: str, batches: Iterator[list[Any]], first: int) -> Generator[tuple[int, _Result]]:
        """The size of each batch, and what came of it, in order. first: the number of the first, to name one by."""
        ...

    def close(self) -> None: ...


class _Alone:
    """The step in this process."""

    def __init__(self, make: Callable[[], Step]) -> None:
        self._make = make
        self._step: Step | None = None

    def map(self, split: str, batches: Iterator[list[Any]], first: int) -> Generator[tuple[int, _Result]]:
        if self._step is None:
            self._step = self._make()
        for batch in batches:
            dropped: Counter[str] = Counter()
            yield len(batch), (self._step(batch, dropped), dropped)

    def close(self) -> None:
        if self._step is not None:
            self._step.close()


class _Workers:
    """The step in processes of its own, one batch each at a time. A thread for each waits for its answer."""

    def __init__(self, make: Callable[[], Step], num: int, name: str) -> None:
        self._name = name
        self._processes: list[Any] = []
        self._pipes: list[Connection] = []
        self._idle: queue.SimpleQueue[int] = queue.SimpleQueue()
        self._threads = ThreadPoolExecutor(num)
        self._is_broken = False
        context = multiprocessing.get_context("spawn")  # a fork would copy locks and threads as they stand
        try:
            for number in range(num):
                ours, theirs = context.Pipe()
                self._pipes.append(ours)
                process = context.Process(target=_work, args=(theirs, make), name=f"{name}-{number}", daemon=True)
                with _without_interrupts():  # until it has said that it takes none
                    process.start()
                theirs.close()
                self._processes.append(process)
                self._idle.put(number)
        except BaseException:
            self._is_broken = True
            self.close()
            raise

    def map(self, split: str, batches: Iterator[list[Any]], first: int) -> Generator[tuple[int, _Result]]:
        waiting: deque[tuple[int, Future[_Result]]] = deque()
        numbers = itertools.count(first)
        try:
            while True:
                ahead = _AHEAD * len(self._processes) - len(waiting)
                for batch in itertools.islice(batches, ahead):
                    waiting.append((len(batch), self._threads.submit(self._ask, batch, split, next(numbers))))
                if not waiting:
                    return
                size, future = waiting[0]
                yield size, future.result()
                waiting.popleft()
        except BaseException:
            self._is_broken = True
            raise

    def close(self) -> None:
        for process, pipe in zip(self._processes, self._pipes, strict=False):
            if self._is_broken:
                process.terminate()
            else:
                with suppress(BrokenPipeError):
                    pipe.send(None)
        for process in self._processes:
            process.join(_PATIENCE_S)
            if process.exitcode is None:
                process.kill()
                process.join()
        self._threads.shutdown(cancel_futures=True)
        for pipe in self._pipes:
            pipe.close()

    def _ask(self, batch: list[Any], split: str, number: int) -> _Result:
        worker = self._idle.get()
        pipe = self._pipes[worker]
        try:
            with suppress(BrokenPipeError):  # it could not make its step, and has said so
                pipe.send(batch)
            answer = pipe.recv()
        except (EOFError, ConnectionError):
            self._processes[worker].join(_PATIENCE_S)
            end = _end_of(self._processes[worker].exitcode)
            raise DataError(
                f"{self._name}: a worker {end} on batch {number} of split {split} "
                f"({len(batch)} jobs, the first: {_named(batch[0])}); whole shards are kept, and --resume goes on there"
            ) from None
        finally:
            self._idle.put(worker)
        if isinstance(answer, BaseException):
            raise answer
        result: _Result = answer
        return result


def _crew(make: Callable[[], Step], num_workers: int, name: str) -> _Crew:
    return _Alone(make) if num_workers == 1 else _Workers(make, num_workers, name)


@contextmanager
def _without_interrupts() -> Iterator[None]:
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _work(pipe: Connection, make: Callable[[], Step]) -> None:
    """A worker process: batches in, results or what was raised out, until None comes or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends this
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that the step is closed
    step: Step | None = None
    try:
        step = make()
        while (batch := pipe.recv()) is not None:
            dropped: Counter[str] = Counter()
            pipe.send((step(batch, dropped), dropped))
    except (EOFError, BrokenPipeError):
        pass
    except Exception as error:
        with suppress(BrokenPipeError):
            pipe.send(_portable(error))
    finally:
        if step is not None:
            step.close()


def _portable(error: Exception) -> Exception:
    """An error as it can be sent, with where it happened if it is a fault of the program."""
    told = traceback.format_exc()
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        error = RuntimeError(f"{type(error).__name__}: {error}")
    if not isinstance(error, ElixirCoderError):
        error.add_note(f"In a worker:\n{told}")
    return error


def _end_of(exit_code: int | None) -> str:
    if exit_code is None:
        return "does not answer"
    return f"was ended by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"ended with exit code {exit_code}"


def _named(job: Any) -> str:
    return f"{job.package} {job.version} {job.path}" if isinstance(job, Example) else repr(job)[:80]
