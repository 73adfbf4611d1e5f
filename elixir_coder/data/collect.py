"""Collect Elixir code into a corpus: `elixir-coder data collect SOURCE ... --out DIR`.

Read it from top to bottom: a source lists packages, a few at a time are read, their files become `Example`s with a
licence, cleaning drops some and says why, and each package's fate goes into a ledger as it happens. What was read lies
in `OUT/.unfinished` until all is there; then each package goes to one split, and parquet shards replace the corpus in
one step. At no time is more in memory than the packages that are being read.
"""

from __future__ import annotations

import argparse
import hashlib
import itertools
import sys
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import closing
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from elixir_coder.cache import cache_folder
from elixir_coder.data import shards
from elixir_coder.data.clean import clean, default_filters
from elixir_coder.data.debian import DEFAULT_SUITES, DebianSource
from elixir_coder.data.folder import FolderSource, ProjectSource, unit_of
from elixir_coder.data.ledger import LEDGER, Fate, Known, Staging
from elixir_coder.data.licence import ALLOWED, canonical
from elixir_coder.data.project import NotWanted, canonical_url, examples_of, extras_of, suffixes_of
from elixir_coder.data.source import Reference, Source
from elixir_coder.data.split import SPLITS, split_packages, split_units
from elixir_coder.data.steps import reasons
from elixir_coder.errors import DataError, ElixirCoderError, InputError, MissingDependencyError, require
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
PROPRIETARY = "proprietary"
_CONCURRENCY = 4
_OLDER = "older version of a held-out package"
_SHOWN = 60  # packages that a report lists


@runtime_checkable
class RowSource(Protocol):
    """A source of files and not of projects. examples: of one reference, with the same duties as `Source.read`."""

    name: str

    def references(self) -> Iterator[Reference]: ...

    def examples(self, reference: Reference, dropped: Counter[str]) -> Iterator[Example]: ...


@dataclass(frozen=True, kw_only=True)
class CollectReport:
    """What a collection did. Sizes are bytes of code; the same figures are in the corpus's dataset_info.json, and each
    package's fate in its ledger.jsonl."""

    out: Path
    splits: Mapping[str, Mapping[str, int]]
    packages: Sequence[Mapping[str, Any]]
    dropped: Mapping[str, int]
    warnings: Sequence[str] = ()
    fates: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        lines = [
            f"{split}: {count['num_examples']} files, {count['num_bytes'] / 1e6:.2f} MB, {count['num_shards']} shards"
            for split, count in self.splits.items()
        ]
        lines += [
            f"  {row['package']} {row['version']} ({row['split']}): {row['num_examples']} files, "
            f"{row['num_bytes'] / 1e6:.2f} MB"
            for row in self.packages[:_SHOWN]
        ]
        if len(self.packages) > _SHOWN:
            lines.append(f"  and {len(self.packages) - _SHOWN:,} packages more, in {self.out / LEDGER}")
        if set(self.fates) > {"kept"}:
            lines.append(", ".join(f"{fate} {count:,}" for fate, count in sorted(self.fates.items())))
        return "\n".join([*lines, f"dropped: {reasons(self.dropped)}"])


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to collect, whatever the source.

    validation_packages, test_packages: held out; None for both leaves it to a hash of the name. licence: of everything,
    whatever the files say. known: corpora whose packages and repositories are left out. one_version_held_out: of a
    package that is held out, only the version that the source lists first is kept. usual_validation, usual_test: held
    out of what there is of them, where nothing is named. by_unit: the split goes by what a file is about, not by its
    package. strict: a package that could not be read is an error.
    """

    validation_packages: Sequence[str] | None = None
    test_packages: Sequence[str] | None = None
    with_guides: bool = False
    allowed_licences: Collection[str] = ALLOWED
    licence: str | None = None
    known: Sequence[Path] = ()
    usual_validation: Sequence[str] | None = None
    usual_test: Sequence[str] | None = None
    one_version_held_out: bool = False
    by_unit: bool = False
    concurrency: int = _CONCURRENCY
    resume: bool = False
    strict: bool = False
    progress: bool | None = None

    def __post_init__(self) -> None:
        if self.concurrency < 1:
            raise InputError(f"--concurrency must be 1 or more, got {self.concurrency}")


def collect(source: Source | RowSource, out: Path, plan: Plan, *, must_have: Collection[str] = ()) -> CollectReport:
    """Collect what a source has into parquet shards in `out`.

    The result is the same whatever the concurrency and however often it was interrupted and resumed. must_have:
    packages without which it is an error. One that cannot be read is a warning, and stops no other.

    Raises DataError when nothing could be kept; when it is because nothing could be read, what the first one raised.
    """
    known = Known.read(plan.known)
    with closing(Staging(out, _identity(source, plan), resume=plan.resume)) as staging:
        references = _unique(source.references())
        first_error = _read_all(source, references, staging, plan, known)
        fates = [staging.fates[reference.key] for reference in references]
        kept = [fate for fate in fates if fate.fate == "kept"]
        if plan.strict and (failed := [fate for fate in fates if fate.fate == "failed"]):
            raise DataError(
                f"{len(failed)} packages could not be read, the first: {failed[0].key}: {failed[0].reason}; "
                "what was read is kept: try the others again with --resume, or do without them and without --strict"
            )
        if not kept:
            staging.discard()
            if first_error is not None and all(fate.fate == "failed" for fate in fates):
                raise first_error
        if lost := sorted(set(must_have) - {fate.package for fate in kept}):
            raise DataError(f"nothing was collected from {lost[0]} ({_why(lost[0], fates)})")
        if not kept:
            hint = "; name its licence with --licence" if source.name == "folder" and _dropped(fates)["licence"] else ""
            raise DataError(f"nothing to write to {out}: no file was kept (dropped: {reasons(_dropped(fates))}){hint}")
        return _write(source, out, fates, staging, plan)


def collect_debian(
    out: Path,
    packages: Sequence[str] | None = None,
    suites: Sequence[str] | None = None,
    *,
    cache: Path | None = None,
    etc: Path = Path("/etc/apt"),
    **plan: Any,
) -> CollectReport:
    """Collect the Elixir code of Debian source packages.

    packages: source package names; by default ours and every package whose index entry builds with Elixir.
    suites: bookworm, trixie and sid by default, those that the mirror has. Each version that a suite has is taken; of
    equal files the newest version's is kept. cache: downloads and indices, `~/.cache/elixir-coder/debian` by default.
    plan: as in `Plan`; the packages of `DEBIAN_VALIDATION` and `DEBIAN_TEST` are held out by default.

    Raises DataError when no suite can be reached or nothing was collected, CorruptArchiveError for a damaged archive
    where there is no other.
    """
    settled = Plan(one_version_held_out=True, usual_validation=DEBIAN_VALIDATION, usual_test=DEBIAN_TEST, **plan)
    suffixes = suffixes_of(settled.with_guides)
    source = DebianSource(cache or default_cache(), packages, suites, etc=etc, suffixes=suffixes)
    with _bar(settled.progress, total=source.num_bytes, unit="B", unit_scale=True, desc="download") as bar:
        source.arrived = bar.update
        return collect(source, out, settled, must_have=packages or ())


def collect_folder(
    folder: Path, out: Path, *, package: str | None = None, version: str | None = None, **plan: Any
) -> CollectReport:
    """Collect the Elixir code under `folder`: one project, or a folder of projects (each with its own mix.exs).

    package, version: by default what mix.exs says, or the folder's name and "0". plan: as in `Plan`; licence: by
    default the one whose text the project's LICENSE file holds. Build output and fetched dependencies are not entered,
    links are not followed.

    Raises InputError when `folder` is not a folder, DataError when nothing in it could be kept.
    """
    settled = Plan(**plan)
    suffixes = suffixes_of(settled.with_guides)
    return collect(FolderSource(folder, package=package, version=version, suffixes=suffixes), out, settled)


def collect_project(folder: Path, out: Path, *, licence: str = PROPRIETARY, **plan: Any) -> CollectReport:
    """Collect one Mix project of one's own, to fine-tune a model on it: `lib`, `test` and `config`.

    Each file of code goes with its tests into one split, by a hash of what they are about. licence: what is written
    into the examples; nothing is left out for it.
    """
    settled = Plan(licence=licence, by_unit=True, **plan)
    return collect(ProjectSource(folder, suffixes=suffixes_of(settled.with_guides)), out, settled)


def default_cache() -> Path:
    """Where downloads are kept between runs: $XDG_CACHE_HOME/elixir-coder/debian."""
    return cache_folder("debian")


# ----------------------------------------------------------------------------------------------- reading, and its fates


def _read_all(
    source: Source | RowSource, references: Sequence[Reference], staging: Staging, plan: Plan, known: Known
) -> Exception | None:
    """Read what has no fate yet, several at a time; give what the first one that failed raised."""
    pending = iter([reference for reference in references if reference.key not in staging.fates])
    failures: dict[str, Exception] = {}
    waiting: set[Future[Fate]] = set()
    threads = ThreadPoolExecutor(plan.concurrency)
    done_before = len(staging.fates)
    try:
        with _bar(plan.progress, total=len(references), initial=done_before, desc="read", unit="package") as bar:
            while True:
                for reference in itertools.islice(pending, 2 * plan.concurrency - len(waiting)):
                    waiting.add(threads.submit(_fate_of, source, reference, staging, plan, known, failures))
                if not waiting:
                    break
                done, waiting = wait(waiting, return_when=FIRST_COMPLETED)
                for future in done:
                    staging.note(fate := future.result())
                    bar.set_postfix_str(f"{fate.package} {fate.version}", refresh=False)
                    bar.update()
    finally:
        threads.shutdown(cancel_futures=True)
    return next((failures[each.key] for each in references if each.key in failures), None)


def _fate_of(
    source: Source | RowSource,
    reference: Reference,
    staging: Staging,
    plan: Plan,
    known: Known,
    failures: dict[str, Exception],
) -> Fate:
    """Read one reference, put its examples down, and say what became of it."""
    fate = Fate(
        key=reference.key,
        package=reference.package,
        version=reference.version,
        fate="dropped",
        more=extras_of(reference, Reference),
    )
    dropped: Counter[str] = Counter()
    seen: Counter[str] = Counter()
    try:
        if reason := known.reason(reference.package, reference.url):
            raise NotWanted(reason)
        read = _examples(source, reference, plan, known, fate, dropped)
        licences = {*plan.allowed_licences, canonical(plan.licence)} if plan.licence else plan.allowed_licences
        kept = clean(_counted(read, seen), default_filters(licences), dropped)
        staging.write(reference.key, _weighed(kept, fate))
    except NotWanted as reason:
        fate.reason = str(reason)
        dropped[str(reason)] += 1
    except MissingDependencyError:
        raise
    except (ElixirCoderError, OSError) as error:
        failures[reference.key] = error
        fate.fate, fate.reason = "failed", " ".join(str(error).split())
        fate.num_examples = fate.num_bytes = 0
        fate.licences.clear()
    fate.num_files = seen["files"] + sum(count for why, count in dropped.items() if why in ("too large", "not UTF-8"))
    fate.dropped = dict(+dropped)
    if fate.num_examples:
        fate.fate = "kept"
    elif not fate.reason:
        fate.reason = max(fate.dropped, key=lambda why: fate.dropped[why], default="no Elixir file")
    return fate


def _examples(
    source: Source | RowSource, reference: Reference, plan: Plan, known: Known, fate: Fate, dropped: Counter[str]
) -> Iterator[Example]:
    if isinstance(source, RowSource):
        return source.examples(reference, dropped)
    project = source.read(reference)
    fate.package, fate.version, fate.url = project.package, project.version, canonical_url(project.url)
    if reason := known.reason(project.package, project.url):
        raise NotWanted(reason)
    dropped.update(project.dropped)
    fate.warnings += project.warnings
    return examples_of(
        project.files,
        package=project.package,
        version=project.version,
        source=source.name,
        suffixes=suffixes_of(plan.with_guides),
        dropped=dropped,
        licence=plan.licence,
        stated=project.licence,
    )


def _counted(examples: Iterable[Example], seen: Counter[str]) -> Iterator[Example]:
    for example in examples:
        seen["files"] += 1
        yield example


def _weighed(examples: Iterable[Example], fate: Fate) -> Iterator[Example]:
    for example in examples:
        fate.num_examples += 1
        fate.num_bytes += len(example.code.encode())
        fate.licences[example.licence] = fate.licences.get(example.licence, 0) + 1
        yield example


def _unique(references: Iterable[Reference]) -> list[Reference]:
    """The references, of equal keys the first; a list of names is small, unlike what they name."""
    unique: dict[str, Reference] = {}
    for reference in references:
        unique.setdefault(reference.key, reference)
    return list(unique.values())


def _identity(source: Source | RowSource, plan: Plan) -> dict[str, Any]:
    """What must be the same for a collection to be gone on with."""
    return {
        "source": source.name,
        "settings": getattr(source, "settings", {}),
        "with_guides": plan.with_guides,
        "licence": plan.licence,
        "allowed_licences": sorted(plan.allowed_licences),
        "known": [hashlib.sha256((each / shards.MANIFEST).read_bytes()).hexdigest() for each in plan.known],
    }


# ------------------------------------------------------------------------------------- from what was read to the shards


class _Settled:
    """What depends on all packages together: which files are duplicates, and which split each package goes to."""

    def __init__(self, fates: Iterable[Fate], staging: Staging, plan: Plan) -> None:
        self.left_out: dict[str, set[int]] = {}  # reference -> places of its examples that are duplicates
        packages: dict[str, set[str]] = {}
        seen: set[bytes] = set()  # 16 bytes of each file's checksum: all that grows with the corpus
        for fate in fates:
            left_out, names = self.left_out.setdefault(fate.key, set()), packages.setdefault(fate.key, set())
            for place, example in enumerate(staging.read(fate, ("sha256", "package"))):
                digest = bytes.fromhex(example.sha256)[:16]
                if digest in seen:
                    left_out.add(place)
                else:
                    seen.add(digest)
                    names.add(example.package)
        self.fates = [fate for fate in fates if packages[fate.key]]
        self.older: set[str] = set()
        self._packages: dict[str, str] = {}
        self._units: dict[str, str] = {}
        if plan.by_unit:
            paths = (example.path for fate in self.fates for example in staging.read(fate, ("path",)))
            self._units = split_units(map(unit_of, paths))
            self.splits_in = {fate.key: set(SPLITS) for fate in self.fates}
            return
        collected = {name for names in packages.values() for name in names}
        self._packages = split_packages(
            collected,
            validation=_held_out(plan.validation_packages, plan.usual_validation, collected, plan.test_packages),
            test=_held_out(plan.test_packages, plan.usual_test, collected, plan.validation_packages),
        )
        self.splits_in = {fate.key: {self._packages[name] for name in packages[fate.key]} for fate in self.fates}
        if plan.one_version_held_out:
            newest = {fate.package: fate.version for fate in reversed(self.fates)}
            self.older = {
                fate.key
                for fate in self.fates
                if self._packages[fate.package] != "train" and fate.version != newest[fate.package]
            }
            self.fates = [fate for fate in self.fates if fate.key not in self.older]

    def split_of(self, example: Example) -> str:
        """Where an example belongs."""
        return self._units[unit_of(example.path)] if self._units else self._packages[example.package]


def _write(source: Source | RowSource, out: Path, fates: list[Fate], staging: Staging, plan: Plan) -> CollectReport:
    """Write the corpus from what lies in the staging, by package and version, and the ledger beside it."""
    settled = _Settled([fate for fate in fates if fate.fate == "kept"], staging, plan)
    final = {fate.key: _before_writing(fate, settled) for fate in fates}
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    in_order = sorted(settled.fates, key=lambda fate: (fate.package, fate.version))

    def examples(split: str) -> Iterator[Example]:
        for fate in in_order:
            if split not in settled.splits_in[fate.key]:
                continue
            left_out = settled.left_out[fate.key]
            for place, example in enumerate(staging.read(fate)):
                if place not in left_out and settled.split_of(example) == split:
                    _count(example, final[fate.key], rows, "any" if plan.by_unit else split)
                    bar.update()
                    yield example

    num_examples = sum(fate.num_examples - len(settled.left_out[fate.key]) for fate in in_order)
    with _bar(plan.progress, total=num_examples, desc="write", unit="file") as bar:
        told = partial(_manifest, source, fates=final.values(), rows=rows)
        counts = shards.write_shards(out, {split: examples(split) for split in SPLITS}, told)
    manifest = told()
    staging.finish(final.values())
    return CollectReport(
        out=out,
        splits=counts,
        packages=manifest["packages"],
        dropped=manifest["dropped"],
        warnings=tuple(manifest["warnings"]),
        fates=manifest["fates"],
    )


def _before_writing(fate: Fate, settled: _Settled) -> Fate:
    """A fate with the drops of the whole collection, and with what is counted as the examples are written at zero."""
    num_duplicates = len(settled.left_out.get(fate.key, ()))
    dropped = Counter(fate.dropped) + Counter({"duplicate": num_duplicates})
    is_older = fate.key in settled.older
    if is_older:
        dropped[_OLDER] += fate.num_examples - num_duplicates
    is_left_out = is_older or (fate.num_examples > 0 and num_duplicates == fate.num_examples)
    return replace(
        fate,
        fate="dropped" if is_left_out else fate.fate,
        reason=fate.reason if not is_left_out else _OLDER if is_older else "duplicate",
        num_examples=0,
        num_bytes=0,
        licences={},
        dropped=dict(dropped),
    )


def _count(example: Example, fate: Fate, rows: dict[tuple[str, str], dict[str, Any]], split: str) -> None:
    """Count an example that is written: for its reference, and for its version of its package."""
    names = {"package": example.package, "version": example.version, "split": split}
    url = {"url": fate.url} if fate.url else {}
    row = rows.setdefault(
        (example.package, example.version), {**names, **url, **fate.more, "num_examples": 0, "num_bytes": 0}
    )
    num_bytes = len(example.code.encode())
    row["num_examples"] += 1
    row["num_bytes"] += num_bytes
    fate.num_examples += 1
    fate.num_bytes += num_bytes
    fate.licences[example.licence] = fate.licences.get(example.licence, 0) + 1


def _manifest(
    source: Source | RowSource, fates: Collection[Fate], rows: Mapping[tuple[str, str], dict[str, Any]]
) -> dict[str, Any]:
    failed = [f"{fate.key}: {fate.reason}; left out" for fate in fates if fate.fate == "failed"]
    licences: Counter[str] = Counter()
    for fate in fates:
        licences.update(fate.licences)
    return {
        "source": source.name,
        "packages": [row for _, row in sorted(rows.items())],
        "licences": dict(licences),
        "dropped": dict(_dropped(fates)),
        "fates": dict(Counter(fate.fate for fate in fates)),
        "warnings": [*getattr(source, "warnings", ()), *(each for fate in fates for each in fate.warnings), *failed],
    }


def _dropped(fates: Iterable[Fate]) -> Counter[str]:
    dropped: Counter[str] = Counter()
    for fate in fates:
        dropped.update(fate.dropped)
    return dropped


def _why(package: str, fates: Sequence[Fate]) -> str:
    """Why there is nothing of a package."""
    its = [fate for fate in fates if fate.package == package]
    told = [*(each for fate in its for each in fate.warnings), *(fate.reason for fate in its if fate.fate == "failed")]
    return told[0] if told else f"dropped: {reasons(_dropped(its))}"


def _held_out(
    named: Sequence[str] | None, usual: Sequence[str] | None, collected: Collection[str], other: Sequence[str] | None
) -> Sequence[str] | None:
    if named is not None or usual is None:
        return named
    return [name for name in usual if name in collected and name not in (other or ())]


def _bar(progress: bool | None, **settings: Any) -> Any:
    shown = sys.stderr.isatty() if progress is None else progress
    return require("tqdm", "data").tqdm(disable=not shown, **settings)


# ------------------------------------------------------------------------------------------------------ the commands


def add_parser(subparsers: Any) -> None:
    """Add `collect` with its sources to the subcommands of `elixir-coder data`."""
    from elixir_coder.data import git, hex, hub

    collecting = subparsers.add_parser("collect", help="gather Elixir code into parquet shards")
    sources = collecting.add_subparsers(dest="source", required=True, metavar="SOURCE")

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

    for module, name, summary in (
        (hex, "hex", "packages of a Hex registry"),
        (git, "git", "git repositories, cloned or here"),
        (hub, "hub", "a data set of the Hugging Face Hub, streamed"),
    ):
        parser = sources.add_parser(name, help=summary)
        module.add_arguments(parser)
        parser.set_defaults(run=partial(run_source, module.source_of))
        _add_package_arguments(parser)
        _add_shared_arguments(parser, with_concurrency=module is not hex)  # which has one of its own
    for parser in (debian, folder):
        _add_package_arguments(parser)
        _add_shared_arguments(parser)

    project = sources.add_parser("project", help="your own Mix project, to fine-tune a model on it")
    project.add_argument("folder", type=Path, metavar="DIR", help="folder of its mix.exs; an umbrella's is one project")
    project.add_argument(
        "--licence", default=PROPRIETARY, metavar="ID", help="what to write into the examples (default: %(default)s)"
    )
    project.set_defaults(run=run_project)
    _add_shared_arguments(project)


def run_debian(args: argparse.Namespace) -> int:
    """The command `data collect debian`."""
    return _say(collect_debian(args.out, args.packages, args.suites, cache=args.cache, **_plan_of(args)))


def run_folder(args: argparse.Namespace) -> int:
    """The command `data collect folder`."""
    names = {"package": args.package, "version": args.version, "licence": args.licence}
    return _say(collect_folder(args.folder, args.out, **names, **_plan_of(args)))


def run_project(args: argparse.Namespace) -> int:
    """The command `data collect project`."""
    return _say(collect_project(args.folder, args.out, licence=args.licence, **_plan_of(args)))


def run_source(source_of: Callable[[argparse.Namespace], Source | RowSource], args: argparse.Namespace) -> int:
    """The command `data collect` with any other source, which is made of its own arguments."""
    source = source_of(args)
    plan: dict[str, Any] = {"concurrency": getattr(source, "concurrency", _CONCURRENCY), **_plan_of(args)}
    return _say(collect(source, args.out, Plan(**plan)))


def _add_package_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--validation_packages", nargs="*", metavar="NAME", help="packages held out to tune on")
    parser.add_argument("--test_packages", nargs="*", metavar="NAME", help="packages held out to judge by")
    parser.add_argument(
        "--known", nargs="+", type=Path, default=[], metavar="CORPUS", help="leave out what these corpora already have"
    )
    parser.add_argument(
        "--allow_licences",
        nargs="+",
        default=[],
        metavar="ID",
        help="licences to keep besides the permissive ones; `unknown` is one",
    )


def _add_shared_arguments(parser: argparse.ArgumentParser, *, with_concurrency: bool = True) -> None:
    parser.add_argument(
        "--out", type=Path, required=True, metavar="DIR", help="folder of the corpus, replaced as a whole"
    )
    parser.add_argument("--with_guides", action="store_true", help="also take Markdown that shows Elixir")
    if with_concurrency:
        parser.add_argument(
            "--concurrency", type=int, metavar="N", help=f"packages read at once (default: {_CONCURRENCY})"
        )
    parser.add_argument("--resume", action="store_true", help="go on with what an interrupted run left in --out")
    parser.add_argument("--strict", action="store_true", help="fail where a package cannot be read; else a warning")


def _plan_of(args: argparse.Namespace) -> dict[str, Any]:
    named = ("validation_packages", "test_packages", "known", "with_guides", "concurrency", "resume", "strict")
    plan = {name: value for name in named if (value := getattr(args, name, None)) is not None}
    return {**plan, "allowed_licences": ALLOWED | set(getattr(args, "allow_licences", ()))}


def _say(report: CollectReport) -> int:
    for warning in report.warnings:
        print(f"warning: {warning}", file=sys.stderr)
    print(report)
    return 0
