"""Packages of a Hex registry as a source: which are worth reading, and each of them checked before a byte is used.

    source = HexSource(HexSettings.from_environment(), sort="recent_downloads", limit=500)
    for reference in source.references():
        project = source.read(reference)

What the API says (downloads, dates, documentation) decides what is read; what is believed comes from the signed
registry and the checksums in it. A registry without an API is read from its own lists.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import datetime
import difflib
import logging
import math
import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from elixir_coder.cache import cache_folder
from elixir_coder.data.clean import CODE_SUFFIXES
from elixir_coder.data.hex_api import SORTS, HexApi, PackageInfo, ReleaseBrief
from elixir_coder.data.hex_http import HexClient, HexSettings, NotFoundError, origin
from elixir_coder.data.hex_metadata import repository_of
from elixir_coder.data.hex_registry import PUBLIC_KEY, PUBLIC_NAME, HexRegistry, Release, is_stable, version_key
from elixir_coder.data.hex_tarball import DEFAULT_LIMITS, HexPackage, Limits, read_tarball
from elixir_coder.data.project import NotWanted, Wanted, suffixes_of
from elixir_coder.data.source import Project, Reference
from elixir_coder.errors import CorruptArchiveError, DataError, InputError, RecipeError

RELEASES = ("newest", "all")

# What each part of the score counts for. Most packages ship without their tests, so those that do are worth much.
WEIGHTS = {"tests": 0.3, "docs": 0.2, "downloads": 0.3, "recency": 0.2}
_MANY_DOWNLOADS = 100_000  # of the last 90 days, as about the 300 most used packages have: the full part
_HALF_LIFE_DAYS = 730
_TEST_FILE = re.compile(r"(?:^|/)test/(?:.+/)?[^/]+_test\.exs$")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Quality:
    """How good a release promises to be: parts and `score` between 0 and 1.

    tests: whether there are ExUnit files in the tarball; None before it was read. docs: whether documentation was
    published. downloads: recent ones, on a logarithmic scale. recency: halves every two years without a release.
    """

    docs: float
    downloads: float
    recency: float
    tests: float | None = None

    @property
    def score(self) -> float:
        """The weighted sum of the parts; tests that were not looked for yet count as there, so it can only fall."""
        parts = dataclasses.asdict(self) | {"tests": 1.0 if self.tests is None else self.tests}
        return math.fsum(WEIGHTS[name] * part for name, part in parts.items())

    def __str__(self) -> str:
        parts = ", ".join(
            f"{name} {'not known' if (part := getattr(self, name)) is None else format(part, '.2f')}"
            for name in WEIGHTS
        )
        return f"{self.score:.2f} ({parts})"


@dataclass(frozen=True, kw_only=True)
class Thresholds:
    """What a package must reach to be read. min_downloads: over all time. is_elixir: built by mix."""

    min_downloads: int = 0
    min_score: float = 0.0
    max_age_days: int | None = None
    is_elixir: bool = True

    def __post_init__(self) -> None:
        if self.min_downloads < 0:
            raise RecipeError(f"--min_downloads must not be below 0, got {self.min_downloads}")
        if not 0 <= self.min_score <= 1:
            raise RecipeError(f"--min_score must be between 0 and 1, got {self.min_score}")
        if self.max_age_days is not None and self.max_age_days < 0:
            raise RecipeError(f"--max_age_days must not be below 0, got {self.max_age_days}")

    @property
    def need_api(self) -> bool:
        """Whether the signed lists alone cannot decide."""
        return self.min_downloads > 0 or self.min_score > 0 or self.max_age_days is not None


@dataclass(frozen=True, kw_only=True)
class HexReference(Reference):
    """A release with what the API promised of it; None and "" where there is no API.

    url: of the source repository. downloads: of the package, over all time. score, parts: the quality, for a manifest.
    """

    url: str = ""
    downloads: int | None = None
    score: float | None = None
    parts: str = ""
    quality: Quality | None = None


class HexSource:
    """A `Source` of the packages of one Hex registry. `read` may be called from several threads.

    dropped: what `references` left out and why, counted anew by each call. concurrency: how many requests at once.
    """

    name = "hex"

    def __init__(
        self,
        settings: HexSettings,
        *,
        names: Sequence[str] = (),
        sort: str = "name",
        search: str | None = None,
        limit: int | None = None,
        releases: str = "newest",
        thresholds: Thresholds | None = None,
        as_of: datetime.date | None = None,
        with_api: bool = True,
        repository: str = PUBLIC_NAME,
        public_key: bytes | None = PUBLIC_KEY,
        cache: Path | None = None,
        limits: Limits = DEFAULT_LIMITS,
        suffixes: Collection[str] = CODE_SUFFIXES,
    ) -> None:
        """names: packages, each `NAME` or `NAME@VERSION`; by default what the registry lists. sort: one of `SORTS`.
        limit: of packages, counted after the thresholds. releases: `newest` is the newest stable one that was not
        retired (a pre-release where there is none), `all` every one that was not retired. as_of: the day that ages are
        counted from; today by default. with_api: False for a registry that has only the signed lists. repository,
        public_key: how the signed lists name it, and the PEM key they are signed with. suffixes: of the files that
        `read` gives, beside those that state a licence.

        Raises RecipeError or InputError for settings that cannot be meant.
        """
        if sort not in SORTS:
            raise RecipeError(f"--sort must be one of {', '.join(SORTS)}, got {sort!r}")
        if releases not in RELEASES:
            raise RecipeError(f"--releases must be one of {', '.join(RELEASES)}, got {releases!r}")
        if limit is not None and limit < 1:
            raise RecipeError(f"--limit must be above 0, got {limit}")
        self.thresholds = thresholds or Thresholds()
        if names and search:
            raise RecipeError("--search finds packages and so do names; give one of them")
        if not with_api and (self.thresholds.need_api or search or sort != "name"):
            raise RecipeError(
                "thresholds, --search and --sort need the registry's API; leave them out or give --api_url"
            )
        self.concurrency = settings.concurrency
        self.client = HexClient(settings, cache or cache_folder("hex"))
        self.registry = HexRegistry(self.client, name=repository, public_key=public_key, limits=limits)
        self.api = HexApi(self.client) if with_api else None
        self.dropped: Counter[str] = Counter()
        self._names = names
        self._sort = sort
        self._search = search
        self._limit = limit
        self._releases = releases
        self._as_of = as_of or datetime.datetime.now(datetime.UTC).date()
        self._complaints: list[str] = []
        if not settings.verify_registry:
            self._complaints.append("HEX_UNSAFE_REGISTRY is set: no signature of the registry was checked")
        self.settings: dict[str, Any] = {
            "repository": repository,
            "names": list(names),
            "sort": sort,
            "search": search,
            "limit": limit,
            "releases": releases,
            "thresholds": dataclasses.asdict(self.thresholds),
            "as_of": str(as_of or ""),
        }
        self._limits = limits
        self._suffixes = frozenset(suffixes)

    @property
    def warnings(self) -> list[str]:
        """What a reader of the corpus should know: checks that were left out, and packages that were and why."""
        left_out = [f"left out for {why}: {count}" for why, count in sorted(self.dropped.items())]
        return self._complaints + left_out

    def references(self) -> Iterator[HexReference]:
        """The releases to read. A package that cannot be looked up now is given without a version, so that its own
        `read` says why and the others go on; a named one that does not exist is an error at once.

        Raises DataError when the list of packages cannot be had, InputError for a name that is not in it.
        """
        self.dropped.clear()
        taken = 0
        for chosen in self._named() if self._names else self._listed():
            if chosen:
                yield from chosen
                taken += 1
            if taken == self._limit:
                return

    def read(self, reference: Reference) -> Project:
        """Download a release, check it against the signed registry, and give its files. A reference without a version
        is to the newest release.

        Raises DataError or CorruptArchiveError, beginning with package and version, for one that cannot be had or
        believed, NotWanted for one that does not reach the thresholds.
        """
        name = reference.package
        wanted = Wanted(self._suffixes)
        with _about(f"{name} {reference.version}".strip()):
            reference = self._vetted(reference)
            release = _named_release(self.registry.package(name), reference.version)
            package = read_tarball(self.registry.tarball(name, release), wanted, self._limits)
            _agree(package, name, release)
        self._refuse_poor(package, reference.quality)
        return Project(
            package=name,
            version=release.version,
            files=package.files,
            licence=package.metadata.licence,
            url=repository_of(package.metadata.links),
            dropped=wanted.dropped,
        )

    def quality(self, info: PackageInfo, release: ReleaseBrief) -> Quality:
        """What the API promises of a release."""
        released = release.inserted_at or info.updated_at
        age_days = max(0, (self._as_of - released.date()).days) if released else None
        return Quality(
            docs=float(release.has_docs is True),
            downloads=min(1.0, math.log1p(max(0, info.recent_downloads)) / math.log1p(_MANY_DOWNLOADS)),
            recency=0.0 if age_days is None else 0.5 ** (age_days / _HALF_LIFE_DAYS),
        )

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def _listed(self) -> Iterator[list[HexReference]]:
        if self.api is None:
            yield from self._listed_by_registry()
            return
        infos = self.api.packages(sort=self._sort, search=self._search)
        try:
            first = next(infos, None)
        except DataError as error:
            # The order and the numbers are the API's alone; everything that there is, both can tell.
            if self.thresholds.need_api or self._search or self._limit is not None:
                raise
            self._complaints.append(f"the API cannot be asked ({error}): the registry's own lists were read instead")
            yield from self._listed_by_registry()
            return
        while first is not None:
            try:
                yield self._chosen(first)
            except DataError as error:
                yield [_unresolved(first.name, "", error)]
            first = next(infos, None)

    def _listed_by_registry(self) -> Iterator[list[HexReference]]:
        for package in self.registry.versions():
            usable = [version for version in package.versions if version not in package.retired]
            yield [_reference(package.name, version) for version in self._pick(usable)]

    def _named(self) -> Iterator[list[HexReference]]:
        for spec in dict.fromkeys(self._names):
            name, _, version = spec.partition("@")
            try:
                yield self._look_up(name, version)
            except NotFoundError as error:
                raise InputError(f"{spec} is not in the registry ({error}){self._did_you_mean(name)}") from error
            except DataError as error:
                yield [_unresolved(name, version, error)]

    def _look_up(self, name: str, version: str) -> list[HexReference]:
        """What to take of a named package: this version, or where it is "" what `releases` says."""
        if self.api is not None:
            return self._chosen(self.api.package(name), version)
        releases = self.registry.package(name)
        if version:
            return [_reference(name, _named_release(releases, version).version)]
        return [_reference(name, chosen) for chosen in self._pick(r.version for r in releases if not r.is_retired)]

    def _vetted(self, reference: Reference) -> HexReference:
        """The reference with its version and what the thresholds are about, where `references` could not find out."""
        quality = reference.quality if isinstance(reference, HexReference) else None
        if reference.version and (quality is not None or not self.thresholds.need_api):
            return HexReference(key="", package=reference.package, version=reference.version, quality=quality)
        found = self._look_up(reference.package, reference.version)
        if not found:
            raise NotWanted("below a threshold, or retired")
        return found[0]

    def _chosen(self, info: PackageInfo, named: str = "") -> list[HexReference]:
        """The releases of one package that reach the thresholds."""
        info = self._complete(info)
        briefs = {release.version: release for release in info.releases}
        if named and named not in briefs:
            raise NotFoundError(f"no release {named}")
        chosen = []
        for version in [named] if named else self._pick(briefs.keys() - info.retired):
            quality = self.quality(info, briefs[version])
            if reason := self._too_poor(info, briefs[version], quality):
                self.dropped[reason] += 1
            else:
                promised = HexReference(
                    key=f"{info.name}-{version}",
                    package=info.name,
                    version=version,
                    url=repository_of(info.links),
                    downloads=info.downloads,
                    score=round(quality.score, 4),
                    parts=str(quality),
                    quality=quality,
                )
                chosen.append(promised)
        return chosen

    def _complete(self, info: PackageInfo) -> PackageInfo:
        """The package with its releases, which short lists leave out."""
        assert self.api is not None
        return info if info.releases else self.api.package(info.name)

    def _too_poor(self, info: PackageInfo, release: ReleaseBrief, quality: Quality) -> str | None:
        least = self.thresholds
        released = release.inserted_at or info.updated_at
        if info.downloads < least.min_downloads:
            return f"fewer than {least.min_downloads} downloads"
        if least.max_age_days is not None:
            if released is None:
                return "lack of a date"
            if (self._as_of - released.date()).days > least.max_age_days:
                return f"an age above {least.max_age_days} days"
        return _below(least.min_score) if quality.score < least.min_score else None

    def _refuse_poor(self, package: HexPackage, quality: Quality | None) -> None:
        """What only the tarball can tell."""
        if self.thresholds.is_elixir and "mix" not in package.metadata.build_tools:
            raise NotWanted("not built by mix")
        if quality is not None and self.thresholds.min_score > 0:
            has_tests = any(map(_TEST_FILE.search, package.paths))
            if dataclasses.replace(quality, tests=float(has_tests)).score < self.thresholds.min_score:
                raise NotWanted(_below(self.thresholds.min_score))

    def _pick(self, versions: Iterable[str]) -> list[str]:
        """The versions to take of those that may be, newest first."""
        known = sorted(filter(version_key, versions), key=_order, reverse=True)
        if not known:
            self.dropped["lack of a release that is not retired"] += 1
        if self._releases == "all":
            return known
        return [next(filter(is_stable, known), known[0])] if known else []

    def _did_you_mean(self, name: str) -> str:
        with contextlib.suppress(DataError):
            if near := difflib.get_close_matches(name, self.registry.names(), n=1):
                return f"; did you mean {near[0]}?"
        return ""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `elixir-coder data collect hex` that `source_of` reads."""
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="packages, as NAME or NAME@VERSION (default: all that the registry lists)",
    )
    parser.add_argument(
        "--sort", choices=SORTS, default="name", help="order in which packages are taken (default: name)"
    )
    parser.add_argument("--search", metavar="TEXT", help="only packages that the registry's search finds")
    parser.add_argument("--limit", type=int, metavar="N", help="at most so many packages, after the thresholds")
    parser.add_argument("--releases", choices=RELEASES, default="newest", help="newest stable release, or all")
    parser.add_argument("--min_downloads", type=int, default=0, metavar="N", help="over all time (default: 0)")
    parser.add_argument(
        "--min_score",
        type=float,
        default=0.0,
        metavar="S",
        help="0 to 1, of tests, documentation, downloads and recency (default: 0)",
    )
    parser.add_argument("--max_age_days", type=int, metavar="N", help="leave out what was released longer ago")
    parser.add_argument(
        "--as_of", type=_day, metavar="DATE", help="the day that ages are counted from, as 2026-01-31 (default: today)"
    )
    parser.add_argument("--any_build_tool", action="store_true", help="also packages that mix does not build")
    parser.add_argument("--api_url", metavar="URL", help="of the HTTP API (default: HEX_API_URL, then Hex's own)")
    parser.add_argument("--no_api", action="store_true", help="the registry has only its signed lists")
    parser.add_argument("--repo_url", metavar="URL", help="of the repository (default: HEX_MIRROR, then Hex's own)")
    parser.add_argument(
        "--repository", default=PUBLIC_NAME, metavar="NAME", help=f"how the lists name it (default: {PUBLIC_NAME})"
    )
    parser.add_argument("--public_key", type=Path, metavar="FILE", help="PEM file with the repository's public key")
    parser.add_argument(
        "--concurrency", type=int, metavar="N", help="requests at once (default: HEX_HTTP_CONCURRENCY, then 8)"
    )
    parser.add_argument("--cache", type=Path, metavar="DIR", help="where answers and tarballs are kept between runs")


def source_of(args: argparse.Namespace) -> HexSource:
    """The source that the arguments of `add_arguments` and the `HEX_*` variables describe.

    Raises RecipeError or InputError for what cannot be meant.
    """
    settings = HexSettings.from_environment()
    changes: dict[str, object] = {}
    # The keys in the environment are of the servers in the environment: they go to no other that is given here.
    if args.repo_url:
        is_its_own = origin(args.repo_url) == origin(settings.repo_url)
        changes |= {"repo_url": args.repo_url.rstrip("/"), "is_trusted": is_its_own and settings.is_trusted}
    if args.api_url:
        is_its_own = origin(args.api_url) == origin(settings.api_url)
        changes |= {"api_url": args.api_url.rstrip("/"), "api_key": settings.api_key if is_its_own else None}
    if args.concurrency is not None:
        changes["concurrency"] = args.concurrency
    public_key = (
        _read_key(args.public_key) if args.public_key else (PUBLIC_KEY if args.repository == PUBLIC_NAME else None)
    )
    return HexSource(
        dataclasses.replace(settings, **changes),  # type: ignore[arg-type]
        names=args.names,
        sort=args.sort,
        search=args.search,
        limit=args.limit,
        releases=args.releases,
        thresholds=Thresholds(
            min_downloads=args.min_downloads,
            min_score=args.min_score,
            max_age_days=args.max_age_days,
            is_elixir=not args.any_build_tool,
        ),
        as_of=args.as_of,
        # The public API knows nothing of another repository.
        with_api=not args.no_api and (args.repository == PUBLIC_NAME or bool(args.api_url)),
        repository=args.repository,
        public_key=public_key,
        cache=args.cache,
        suffixes=suffixes_of(getattr(args, "with_guides", False)),
    )


@contextlib.contextmanager
def _about(what: str) -> Iterator[None]:
    try:
        yield
    except NotWanted:
        raise  # it is counted by its words
    except DataError as error:
        raise type(error)(f"{what}: {error}") from error


def _agree(package: HexPackage, name: str, release: Release) -> None:
    """Refuse a tarball that is another release's, whatever its checksums."""
    if package.inner_checksum != release.inner_checksum:
        raise CorruptArchiveError("the inner checksum is not the one that the registry has; tarball refused")
    stated = package.metadata
    if (stated.name, stated.version) != (name, release.version):
        raise CorruptArchiveError(f"the tarball says that it is {stated.name} {stated.version}; refused")


def _named_release(releases: Iterable[Release], version: str) -> Release:
    for release in releases:
        if release.version == version:
            return release
    raise NotFoundError(f"no release {version}")


def _order(version: str) -> tuple[object, ...]:
    key = version_key(version)
    assert key is not None, version
    return key


def _reference(name: str, version: str) -> HexReference:
    return HexReference(key=f"{name}-{version}", package=name, version=version)


def _unresolved(name: str, version: str, error: DataError) -> HexReference:
    logger.info("%s cannot be looked up: %s", name, error)
    return HexReference(key=f"{name}-{version}" if version else name, package=name, version=version)


def _below(min_score: float) -> str:
    return f"a score below {min_score}"


def _day(text: str) -> datetime.date:
    try:
        return datetime.date.fromisoformat(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a date such as 2026-01-31, got {text!r}") from None


def _read_key(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read the public key {path}: {error.strerror}") from error
