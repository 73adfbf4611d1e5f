"""The knowledge graph of a corpus: `elixir-coder graph build CORPUS --store DIR`, and what can be asked of it.

Read it from top to bottom: the versions of a corpus and what each is made of; files become triples in worker processes,
which write them to the disk for the store to load; then the commands.
"""

from __future__ import annotations

import argparse
import functools
import hashlib
import itertools
import json
import multiprocessing
import os
import re
import shutil
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from elixir_coder.errors import DataError, InputError, require
from elixir_coder.ontology.vocabulary import STRUCTURE, name_iri, shown

_JOB_BYTES = 500_000  # of code that a worker turns into triples at a time
_AHEAD = 2  # jobs under way or waiting to be loaded, for each worker
_PARTS = "parts"
_LAST_LOAD = "last_load.json"

_FUNCTION = re.compile(r"(?P<module>(?:[A-Z]\w*\.)*[A-Z]\w*|:\w+)\.(?P<name>[^A-Z].*)/(?P<arity>\d+)")
_LINE = re.compile(r"#L(\d+)")  # in the IRI of what stands in one place
_MODULE = re.compile(r"(?:[A-Z]\w*\.)*[A-Z]\w*|:\w+")


# -------------------------------------------------------------------------------------- versions of a corpus as triples


@dataclass(frozen=True)
class File:
    """A file on its way to triples."""

    package: str
    version: str
    path: str
    code: str


@dataclass
class Found:
    """What a corpus has of one version. digest: the sum of those of its files, which come in any order."""

    package: str
    version: str
    split: str
    source: str
    licences: set[str] = field(default_factory=set)
    num_files: int = 0
    digest: int = 0

    def add(self, path: str, sha256: str, licence: str) -> None:
        self.num_files += 1
        self.licences.add(licence)
        of_file = hashlib.sha256(f"{path}\0{sha256}".encode()).digest()
        self.digest = (self.digest + int.from_bytes(of_file)) % 2**256


@dataclass(frozen=True, kw_only=True)
class LoadReport:
    """What a load did. num_triples: that were written for loading. violations: of the shapes, by file."""

    changes: Any
    num_files: int
    num_triples: int
    seconds: float
    violations: Mapping[str, Sequence[str]]

    def __str__(self) -> str:
        rate = f"{self.num_triples / self.seconds:,.0f} triples/s" if self.num_triples else "nothing to load"
        lines = [
            f"{self.changes}",
            f"{self.num_files:,} files, {self.num_triples:,} triples, {self.seconds:.1f} s, {rate}",
        ]
        lines += [f"{path}: {violation}" for path, found in sorted(self.violations.items()) for violation in found]
        return "\n".join(lines)


def versions_of(corpus: Path) -> dict[tuple[str, str], Found]:
    """The versions in a corpus, from the files (not the functions and pairs taken from them) of all its splits."""
    from elixir_coder.data.shards import read_shards, splits_of

    found: dict[tuple[str, str], Found] = {}
    columns = ("package", "version", "path", "sha256", "source", "licence", "kind")
    for split in splits_of(corpus):
        for each in read_shards(corpus, split, columns=columns):
            if each.kind == "file":
                key = (each.package, each.version)
                if key not in found:
                    found[key] = Found(*key, split, each.source)
                found[key].add(each.path, each.sha256, each.licence)
    if not found:
        raise DataError(f"{corpus} has no files of code; collect some with: elixir-coder data collect --help")
    return found


def load_corpus(
    corpus: Path,
    store: Any,
    *,
    workers: int | None = None,
    validate: bool = False,
    keep_others: bool = True,
    added: str = "",
    progress: bool | None = None,
) -> LoadReport:
    """Put every version of a corpus into a store; one whose files are the same is left as it is.

    workers: processes that read and extract, one for each core by default; 1 works in this one. validate: a version of
    which a file breaks a shape is refused. keep_others: do not archive what the corpus lacks. added: the date to note.
    """
    found = versions_of(corpus)
    files = functools.partial(_files_of_corpus, corpus)
    report = _load(
        store, found, files, workers=workers, validate=validate, keep_others=keep_others, added=added, progress=progress
    )
    for split in sorted({each.split for each in found.values()}):
        store.set_split(split, sorted(key for key, each in found.items() if each.split == split))
    return report


def load_folder(
    folder: Path, store: Any, *, package: str | None = None, version: str | None = None, added: str = "", **how: Any
) -> LoadReport:
    """Put the Mix projects in a folder into a store."""
    from elixir_coder.data.clean import CODE_SUFFIXES
    from elixir_coder.data.folder import FolderSource
    from elixir_coder.data.project import examples_of

    source = FolderSource(folder, package=package, version=version)
    found: dict[tuple[str, str], Found] = {}
    files: list[File] = []
    for reference in source.references():
        project = source.read(reference)
        key = (project.package, project.version)
        for each in examples_of(
            project.files,
            package=project.package,
            version=project.version,
            source=source.name,
            suffixes=CODE_SUFFIXES,
            dropped=Counter(),
        ):
            found.setdefault(key, Found(*key, "", source.name)).add(each.path, each.sha256, each.licence)
            files.append(File(*key, each.path, each.code))
    if not found:
        raise InputError(f"no Elixir code in {folder}")
    return _load(
        store, found, lambda keys: (each for each in files if (each.package, each.version) in keys), added=added, **how
    )


def _load(
    store: Any,
    found: Mapping[tuple[str, str], Found],
    files_of: Callable[[set[tuple[str, str]]], Iterable[File]],
    *,
    workers: int | None = None,
    validate: bool = False,
    keep_others: bool = True,
    added: str = "",
    progress: bool | None = None,
) -> LoadReport:
    from elixir_coder.ontology.extract import schema_triples
    from elixir_coder.ontology.store import Part, Version

    num_workers = _num_workers(workers)
    wanted = [
        Version(
            package=each.package,
            version=each.version,
            digest=f"{each.digest:064x}",
            source=each.source,
            licence=" and ".join(sorted(each.licences)),
            added=added,
        )
        for each in found.values()
    ]
    began = time.monotonic()
    folder = _empty_folder(store.path)
    num_files = num_triples = 0
    violations: dict[str, Sequence[str]] = {}

    def extract(versions: Sequence[Version]) -> Iterator[Part]:
        nonlocal num_files, num_triples
        by_key = {version.key: version for version in versions}
        missing = {key: found[key].num_files for key in by_key}
        refused: set[tuple[str, str]] = set()
        jobs = _jobs(files_of(set(by_key)))
        total = sum(missing.values())
        with _bar(progress, total) as bar:
            for job, (file, written, broken) in _carried_out(jobs, folder, num_workers, "code" if validate else ""):
                for each in job:
                    missing[each.package, each.version] -= 1
                    if _place(each) in broken and not broken[_place(each)].conforms:
                        refused.add((each.package, each.version))
                        violations[_place(each)] = [result.message for result in broken[_place(each)].violations]
                num_files += len(job)
                num_triples += written
                here = dict.fromkeys((each.package, each.version) for each in job)
                yield Part(
                    file=file,
                    completes=tuple(by_key[key] for key in here if not missing[key] and key not in refused),
                )
                file.unlink()
                bar.update(len(job))

    try:
        store.set_schema(schema_triples())
        changes = store.sync(wanted, extract, keep_others=keep_others)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    seconds = time.monotonic() - began
    report = LoadReport(
        changes=changes, num_files=num_files, num_triples=num_triples, seconds=seconds, violations=violations
    )
    if store.path and num_triples:
        last = {
            "num_files": num_files,
            "num_triples": num_triples,
            "seconds": round(seconds, 3),
            "workers": num_workers,
        }
        (store.path / _LAST_LOAD).write_text(json.dumps(last) + "\n", encoding="utf-8")
    return report


def _files_of_corpus(corpus: Path, keys: set[tuple[str, str]]) -> Iterator[File]:
    from elixir_coder.data.shards import read_shards, splits_of

    columns = ("package", "version", "path", "code", "kind")
    for split in splits_of(corpus):
        for each in read_shards(corpus, split, columns=columns):
            if each.kind == "file" and (each.package, each.version) in keys:
                yield File(each.package, each.version, each.path, each.code)


def _jobs(files: Iterable[File]) -> Iterator[list[File]]:
    job: list[File] = []
    size = 0
    for file in files:
        job.append(file)
        size += len(file.code)
        if size >= _JOB_BYTES:
            yield job
            job, size = [], 0
    if job:
        yield job


Result = tuple[Path, int, dict[str, Any]]  # the file, the triples in it, and by place what the shapes say where they do


def _carried_out(
    jobs: Iterable[list[File]], folder: Path, workers: int, kind: str
) -> Iterator[tuple[list[File], Result]]:
    """Each job with its result, in order. kind: of the shapes to hold it to, "" for none."""
    numbered = ((job, folder / f"{number:06d}.nq") for number, job in enumerate(jobs))
    if workers == 1:
        extractor = _Extractor(kind)
        try:
            for job, file in numbered:
                yield job, extractor(job, file)
        finally:
            extractor.close()
        return
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, context, _start_extractor, (kind,)) as pool:
        waiting: deque[tuple[list[File], Future[Result]]] = deque()
        try:
            for job, file in itertools.islice(numbered, workers * _AHEAD):
                waiting.append((job, pool.submit(_extract, job, file)))
            while waiting:
                done, future = waiting.popleft()
                result = future.result()
                for job, file in itertools.islice(numbered, 1):
                    waiting.append((job, pool.submit(_extract, job, file)))
                yield done, result
        except BrokenProcessPool as error:
            raise DataError(
                "a process that extracts died; run again, with fewer --workers where memory is short"
            ) from error
        finally:
            pool.shutdown(cancel_futures=True)


class _Extractor:
    """From files to a file of quads, with a toolchain of its own."""

    def __init__(self, kind: str):
        from elixir_coder.toolchain.toolchain import Toolchain

        self._kind = kind
        self._toolchain = Toolchain(workers=1)

    def __call__(self, job: list[File], file: Path) -> Result:
        from elixir_coder.ontology.extract import triples
        from elixir_coder.ontology.shapes import validate
        from elixir_coder.ontology.store import write_part

        broken: dict[str, Any] = {}

        def of_versions() -> Iterator[tuple[str, str, Iterable[Any]]]:
            for each, report in zip(job, self._toolchain.map("facts", [each.code for each in job]), strict=True):
                found = list(triples(report, package=each.package, version=each.version, path=each.path))
                if self._kind and (conformance := validate(found, kind=self._kind)).counts:
                    broken[_place(each)] = conformance
                yield each.package, each.version, found

        return file, write_part(file, of_versions()), broken

    def close(self) -> None:
        self._toolchain.close()


_extractor: _Extractor | None = None  # of a worker process


def _start_extractor(kind: str) -> None:
    global _extractor
    _extractor = _Extractor(kind)
    Finalize(_extractor, _extractor.close, exitpriority=10)  # before the process ends, which waits for no thread


def _extract(job: list[File], file: Path) -> Result:
    assert _extractor
    return _extractor(job, file)


def _place(file: File) -> str:
    return f"{file.package} {file.version} {file.path}"


def _num_workers(asked: int | None) -> int:
    if asked is not None and asked < 1:
        raise InputError(f"--workers must be 1 or more, got {asked}")
    return asked or len(os.sched_getaffinity(0))


def _empty_folder(store: Path | None) -> Path:
    import tempfile

    if store is None:
        return Path(tempfile.mkdtemp(prefix="elixir-coder-graph-"))
    folder = store / _PARTS
    shutil.rmtree(folder, ignore_errors=True)  # what a run that was killed left
    folder.mkdir(parents=True)
    return folder


def _bar(progress: bool | None, total: int) -> Any:
    shown_now = sys.stderr.isatty() if progress is None else progress
    return require("tqdm", "data").tqdm(total=total, disable=not shown_now, desc="extract and load", unit="file")


# ------------------------------------------------------------------------------------------------------ ready queries


@dataclass(frozen=True)
class NamedQuery:
    """about: what stands for the argument, "" where there is none. sparql: with `$name` for the argument's IRI."""

    summary: str
    about: str
    sparql: str


QUERIES: dict[str, NamedQuery] = {
    "callers-of": NamedQuery(
        "functions and tests that call a function, and how often",
        "Module.function/arity",
        """SELECT ?caller (COUNT(?call) AS ?calls) WHERE {
  ?call structure:callee $name .
  ?caller structure:hasCall ?call
} GROUP BY ?caller ORDER BY DESC(?calls) ?caller""",
    ),
    "calls-of": NamedQuery(
        "what a function calls, over any number of functions of its own file",
        "Module.function/arity",
        """SELECT DISTINCT ?called WHERE {
  ?function structure:identifiedBy $name ; structure:callsFunction*/structure:calls ?called
} ORDER BY ?called""",
    ),
    "implementers-of": NamedQuery(
        "modules that implement a behaviour or a protocol",
        "Module",
        """SELECT DISTINCT ?module WHERE { ?module structure:implementsBehaviour|structure:implementsProtocol $name }
ORDER BY ?module""",
    ),
    "modules-without-doc": NamedQuery(
        "modules that say nothing of themselves and do not hide, apart from tests and implementations of protocols",
        "",
        """SELECT ?module WHERE {
  ?module a structure:Module
  FILTER NOT EXISTS { ?module structure:documentation ?doc }
  FILTER NOT EXISTS { ?module structure:isHidden true }
  FILTER NOT EXISTS { ?module a structure:TestModule }
  FILTER NOT EXISTS { ?module a structure:ProtocolImplementation }
} ORDER BY ?module""",
    ),
    "weaknesses": NamedQuery(
        "functions whose calls deserve a look, with the weakness and its CWE",
        "",
        """SELECT DISTINCT ?function ?called ?weakness ?cwe WHERE {
  ?what security:mayBeCallOf ?called ; skos:prefLabel ?weakness ; security:cwe ?cwe .
  ?function structure:calls ?called ; a structure:Function
} ORDER BY ?function ?called ?weakness ?cwe""",
    ),
    "callbacks-call": NamedQuery(
        "what the callbacks of a behaviour's implementers call, over functions of their own file",
        "Module",
        """SELECT DISTINCT ?module ?function ?called WHERE {
  ?module structure:implementsBehaviour $name .
  ?function structure:belongsTo ?module ; structure:implementsCallback ?callback .
  ?callback structure:inModule $name .
  ?function structure:callsFunction*/structure:calls ?called
  FILTER NOT EXISTS { ?called structure:inModule name:Kernel }
} ORDER BY ?module ?function ?called""",
    ),
    "most-called": NamedQuery(
        "the fifty functions that the most functions and tests call",
        "",
        """SELECT ?called (COUNT(?caller) AS ?callers) WHERE { ?caller structure:calls ?called }
GROUP BY ?called ORDER BY DESC(?callers) ?called LIMIT 50""",
    ),
    "never-called": NamedQuery(
        "private functions that nothing in their file calls",
        "",
        """SELECT ?function WHERE {
  ?function a structure:PrivateFunction
  FILTER NOT EXISTS { ?caller structure:callsFunction ?function FILTER(?caller != ?function) }
} ORDER BY ?function""",
    ),
}


def named_query(name: str, argument: str = "") -> str:
    """The SPARQL of a ready query. Raises InputError for a name or an argument that does not fit."""
    if name not in QUERIES:
        raise InputError(f"no query `{name}`; there are: {', '.join(QUERIES)}")
    query = QUERIES[name]
    if bool(argument) != bool(query.about):
        raise InputError(f"{name} takes {query.about or 'no argument'}, got {argument or 'nothing'}")
    return query.sparql.replace("$name", f"<{iri_of(argument)}>") if argument else query.sparql


def iri_of(name: str) -> str:
    """The IRI of what code calls a module or function by: `Plug.Conn`, `Enum.map/2`, `:lists.map/2`."""
    if match := _FUNCTION.fullmatch(name):
        return name_iri(match["module"], match["name"], int(match["arity"]))
    if _MODULE.fullmatch(name):
        return name_iri(name)
    raise InputError(f"`{name}` is no name of a module or function; expected Module, or Module.function/arity")


# ----------------------------------------------------------------------------------------------------------- commands


def add_parser(subparsers: Any) -> None:
    """Add `build`, `add`, `archive`, `sync`, `query`, `serve`, `stats`, `validate`, `linearize`, `dump` and `load` to
    the subcommands of `elixir-coder graph`."""
    from elixir_coder.ontology.linearize import MAX_CHARS
    from elixir_coder.ontology.serve import MAX_ROWS, TIMEOUT_S

    def command(name: str, run: Callable[[argparse.Namespace], int], summary: str) -> argparse.ArgumentParser:
        parser: argparse.ArgumentParser = subparsers.add_parser(name, help=summary, description=summary)
        parser.set_defaults(run=run)
        parser.add_argument("--store", type=Path, required=True, metavar="DIR", help="folder of the graph")
        return parser

    build = command("build", run_build, "put every version of a corpus into the graph; what is there is kept")
    sync = command("sync", run_build, "the same, and archive versions that the corpus lacks")
    for parser in (build, sync):
        parser.add_argument("corpus", type=Path, metavar="CORPUS", help="folder of shards")
    build.set_defaults(keep_others=True)
    sync.set_defaults(keep_others=False)
    add = command("add", run_add, "put the Mix projects of a folder into the graph")
    add.add_argument("folder", type=Path, metavar="FOLDER", help="a project, or a folder of them")
    add.add_argument("--package", help="its name (default: what mix.exs says)")
    add.add_argument("--version", help="its version (default: what mix.exs says)")
    for parser in (build, sync, add):
        parser.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each core)")
        parser.add_argument("--validate", action="store_true", help="refuse versions that break the SHACL shapes")
        parser.add_argument("--added", default="", metavar="DATE", help="what to note as the date")

    archive = command("archive", run_archive, "take a version out of what is queried, and keep it")
    archive.add_argument("package", metavar="PACKAGE", help="its name")
    archive.add_argument("version", metavar="VERSION", help="as `graph stats` shows it")
    instead = archive.add_mutually_exclusive_group()
    instead.add_argument("--restore", action="store_true", help="bring it back instead")
    instead.add_argument("--remove", action="store_true", help="forget it instead")

    query = command("query", run_query, "ask the graph in SPARQL")
    query.add_argument("query", metavar="QUERY", nargs="?", help="SPARQL, the path of a file with it, or - for stdin")
    names = "; ".join(
        f"{name}{' ' + each.about if each.about else ''}: {each.summary}" for name, each in QUERIES.items()
    )
    query.add_argument("--named", nargs="+", metavar=("NAME", "ARGUMENT"), help=f"a ready query: {names}")
    query.add_argument("--format", choices=FORMATS, default="table", help="of the answer (default: table)")
    query.add_argument("--show", action="store_true", help="print the SPARQL instead of asking")

    serve = command("serve", run_serve, "answer SPARQL over HTTP, for reading only")
    serve.add_argument("--host", default="127.0.0.1", help="address to listen on (default: this machine alone)")
    serve.add_argument("--port", type=int, default=7878, help="default: 7878; 0 takes a free one")
    serve.add_argument("--readers", type=int, default=2, metavar="N", help="queries at a time (default: 2)")
    for parser in (query, serve):
        parser.add_argument(
            "--timeout_s", type=float, default=TIMEOUT_S, metavar="S", help=f"of a query (default: {TIMEOUT_S:g})"
        )
        parser.add_argument(
            "--max_rows", type=int, default=MAX_ROWS, metavar="N", help=f"of an answer (default: {MAX_ROWS}; 0: any)"
        )

    command("stats", run_stats, "count what the graph has")
    summary = "hold what a corpus gives to the SHACL shapes, without a store"
    validate = subparsers.add_parser("validate", help=summary, description=summary)
    validate.set_defaults(run=run_validate)
    validate.add_argument("corpus", type=Path, metavar="CORPUS", help="folder of shards")
    validate.add_argument("--workers", type=int, metavar="N", help="processes (default: one for each core)")
    validate.add_argument(
        "--kind", choices=("code", "security"), default="code", help="code: what must hold; security: what to look at"
    )
    linearize = command("linearize", run_linearize, "say what the graph knows of a module or function in sentences")
    linearize.add_argument("name", metavar="NAME", help="Module, or Module.function/arity")
    linearize.add_argument(
        "--max_chars", type=int, default=MAX_CHARS, metavar="N", help=f"of the text (default: {MAX_CHARS})"
    )
    dump = command("dump", run_dump, "write the graph as gzipped N-Quads")
    dump.add_argument("file", type=Path, metavar="FILE", help="is written anew")
    load = command("load", run_load, "read what `graph dump` wrote into an empty graph")
    load.add_argument("file", type=Path, metavar="FILE", help="what `graph dump` wrote")


def run_build(args: argparse.Namespace) -> int:
    """The commands `graph build` and `graph sync`."""
    how = {"workers": args.workers, "validate": args.validate, "added": args.added, "keep_others": args.keep_others}
    with _open(args.store) as store:
        return _say(load_corpus(args.corpus, store, **how))


def run_add(args: argparse.Namespace) -> int:
    """The command `graph add`."""
    how = {"workers": args.workers, "validate": args.validate, "added": args.added}
    if not args.folder.is_dir():
        raise InputError(f"no folder {args.folder}; expected a Mix project or a folder of them")
    with _open(args.store) as store:
        return _say(load_folder(args.folder, store, package=args.package, version=args.version, **how))


def run_archive(args: argparse.Namespace) -> int:
    """The command `graph archive`."""
    with _open(args.store) as store:
        do = store.restore if args.restore else store.remove if args.remove else store.archive
        do(args.package, args.version)
        print(
            f"{args.package} {args.version}: {'restored' if args.restore else 'removed' if args.remove else 'archived'}"
        )
    return 0


FORMATS = ("table", "json", "csv", "ttl")


def run_query(args: argparse.Namespace) -> int:
    """The command `graph query`."""
    from elixir_coder.ontology.serve import CSV, JSON, TURTLE, Reader

    if (args.query is None) == (args.named is None):
        raise InputError("expected a query, or --named with the name of one")
    sparql = named_query(args.named[0], " ".join(args.named[1:])) if args.named else _query_text(args.query)
    if args.show:
        print(sparql)
        return 0
    wanted = {"table": (JSON, TURTLE), "json": (JSON, "application/ld+json"), "csv": (CSV,), "ttl": (TURTLE,)}
    with Reader(args.store, timeout_s=args.timeout_s) as reader:
        answer = reader.ask(sparql, accept=wanted[args.format], max_rows=args.max_rows or None)
    text = answer.body.decode()
    print(table(json.loads(text)) if answer.media_type == JSON and args.format == "table" else text.rstrip("\n"))
    return 0


def run_serve(args: argparse.Namespace) -> int:
    """The command `graph serve`."""
    import signal

    from elixir_coder.ontology.serve import Endpoint

    if args.readers < 1:
        raise InputError(f"--readers must be 1 or more, got {args.readers}")
    endpoint = Endpoint(
        args.store,
        host=args.host,
        port=args.port,
        readers=args.readers,
        timeout_s=args.timeout_s,
        max_rows=args.max_rows or None,
    )
    with endpoint:
        if not endpoint.is_local:
            print(f"warning: whoever reaches {args.host} can ask this graph", file=sys.stderr)
        print(f"SPARQL at {endpoint.url}; Ctrl-C ends it", flush=True)
        signal.signal(signal.SIGTERM, signal.default_int_handler)
        try:
            endpoint.serve_forever()
        except KeyboardInterrupt:
            return 0
    return 0


def run_stats(args: argparse.Namespace) -> int:
    """The command `graph stats`."""
    from elixir_coder.ontology.store import ACTIVE

    with _open(args.store, read_only=True) as store:
        versions = store.versions()
        active = sum(version.state == ACTIVE for version in versions)
        print(f"{len(store):,} triples; {active:,} versions active, {len(versions) - active:,} archived")
        last = args.store / _LAST_LOAD
        if last.exists():
            load = json.loads(last.read_text(encoding="utf-8"))
            rate = load["num_triples"] / load["seconds"]
            print(
                f"last load: {load['num_files']:,} files, {load['num_triples']:,} triples in {load['seconds']:.1f} s, "
                f"{rate:,.0f} triples/s with {load['workers']} workers"
            )
        counts = "SELECT ?class (COUNT(?one) AS ?number) WHERE { ?one a ?class } GROUP BY ?class"
        for row in sorted(store.query(counts), key=lambda row: (-int(row["number"].value), row["class"].value)):
            print(f"{int(row['number'].value):>12,}  {shown(row['class'].value)}")
        for version in versions:
            print(f"{version.num_triples:>12,}  {version} ({version.source}, {version.licence}, {version.state})")
    return 0


def run_validate(args: argparse.Namespace) -> int:
    """The command `graph validate`: 1 where a file does not conform."""
    import tempfile

    found = versions_of(args.corpus)
    num_files = num_triples = 0
    counts: Counter[tuple[str, str]] = Counter()
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="elixir-coder-graph-") as folder:
        jobs = _jobs(_files_of_corpus(args.corpus, set(found)))
        results = _carried_out(jobs, Path(folder), _num_workers(args.workers), args.kind)
        with _bar(None, sum(each.num_files for each in found.values())) as bar:
            for job, (file, written, broken) in results:
                file.unlink()
                num_files += len(job)
                num_triples += written
                for place, conformance in broken.items():
                    counts += conformance.counts
                    for result in conformance.results:
                        line = _LINE.search(result.focus)
                        print(f"{place}{f':{line[1]}' if line else ''}: {result.severity}: {result.message}")
                bar.update(len(job))
    seconds = time.monotonic() - began
    print(f"{num_files:,} files, {num_triples:,} triples, {seconds:.1f} s")
    for (severity, message), number in counts.most_common():
        print(f"{number:>8,}  {severity}: {message}")
    is_broken = any(severity == "Violation" for severity, _ in counts)
    print("does not conform" if is_broken else "conforms")
    return 1 if is_broken else 0


def run_linearize(args: argparse.Namespace) -> int:
    """The command `graph linearize`."""
    from elixir_coder.ontology.linearize import linearize

    with _open(args.store, read_only=True) as store:
        name = iri_of(args.name)
        subjects = sorted(store.subjects(STRUCTURE.identifiedBy, name))
        if not subjects:
            raise InputError(f"the graph has no definition of {args.name}")
        for subject in subjects:
            print(linearize(store, [subject], budget=args.max_chars) or f"of {shown(subject)} nothing is known")
    return 0


def run_dump(args: argparse.Namespace) -> int:
    """The command `graph dump`."""
    with _open(args.store, read_only=True) as store:
        print(f"{store.dump(args.file):,} quads in {args.file}")
    return 0


def run_load(args: argparse.Namespace) -> int:
    """The command `graph load`."""
    if not args.file.is_file():
        raise InputError(f"no file {args.file}")
    with _open(args.store) as store:
        print(f"{store.load(args.file):,} quads from {args.file}")
    return 0


def table(answer: Mapping[str, Any]) -> str:
    """SPARQL's JSON as lines of columns, with names in a reader's words; yes or no for ASK."""
    if "boolean" in answer:
        return "yes" if answer["boolean"] else "no"
    names = answer["head"]["vars"]
    rows = [[_shown(row.get(name)) for name in names] for row in answer["results"]["bindings"]]
    widths = [max(len(row[at]) for row in [names, *rows]) for at in range(len(names))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in [names, *rows]]
    number = f"{len(rows):,} row{'' if len(rows) == 1 else 's'}"
    return "\n".join(
        [lines[0].rstrip(), "  ".join("-" * width for width in widths), *map(str.rstrip, lines[1:]), number]
    )


def _shown(term: Mapping[str, Any] | None) -> str:
    if term is None:
        return ""
    if term["type"] == "triple":
        return " ".join(_shown(term["value"][part]) for part in ("subject", "predicate", "object"))
    value = str(term["value"])
    return " ".join((shown(value) if term["type"] == "uri" else value).split())


def _say(report: LoadReport) -> int:
    print(report)
    return 1 if report.changes.refused else 0


def _query_text(given: str) -> str:
    if given == "-":
        return sys.stdin.read()
    path = Path(given)
    try:
        is_file = path.is_file()
    except OSError:  # a query is too long for a name
        is_file = False
    try:
        return path.read_text(encoding="utf-8") if is_file else given
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def _open(path: Path, *, read_only: bool = False) -> Any:
    from elixir_coder.ontology.store import GraphStore

    return GraphStore(path, read_only=read_only)
