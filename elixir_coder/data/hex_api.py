"""What a Hex registry's HTTP API says of packages: lists to page through, downloads, releases, requirements.

Nothing here is signed: it decides what is worth reading, never what is believed (hex_registry.py).

Specification: https://github.com/hexpm/specifications/blob/main/apiary.apib
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from elixir_coder.data.hex_http import HexClient
from elixir_coder.data.hex_metadata import Requirement
from elixir_coder.data.hex_registry import is_name, version_key
from elixir_coder.errors import DataError

SORTS = ("name", "recent_downloads", "total_downloads", "inserted_at", "updated_at")

_ACCEPT = "application/vnd.hex+json, application/json"
_MAX_ANSWER_BYTES = 32 * 1024 * 1024
_MAX_PAGES = 10_000  # of up to 100 packages: fifty times what the public registry has


@dataclass(frozen=True, kw_only=True)
class ReleaseBrief:
    """One release in a package's list. has_docs, inserted_at: None where the registry does not tell."""

    version: str
    has_docs: bool | None = None
    inserted_at: datetime.datetime | None = None


@dataclass(frozen=True, kw_only=True)
class PackageInfo:
    """One package. downloads: over all time; recent_downloads: of the last 90 days. releases: as listed."""

    name: str
    description: str
    licences: tuple[str, ...]
    links: Mapping[str, str]
    downloads: int
    recent_downloads: int
    releases: tuple[ReleaseBrief, ...]
    retired: frozenset[str]
    updated_at: datetime.datetime | None


@dataclass(frozen=True, kw_only=True)
class ReleaseInfo:
    """One release. checksum: the outer one, hexadecimal, "" where the registry does not tell."""

    version: str
    checksum: str
    has_docs: bool
    inserted_at: datetime.datetime | None
    is_retired: bool
    build_tools: tuple[str, ...]
    elixir: str
    requirements: tuple[Requirement, ...]
    downloads: int


class HexApi:
    """The API at the client's `api_url`. Every method raises DataError when an answer cannot be had or understood."""

    def __init__(self, client: HexClient) -> None:
        self._client = client
        self._url = client.settings.api_url

    def packages(self, *, sort: str = "name", search: str | None = None) -> Iterator[PackageInfo]:
        """All packages, or those that a search finds, page by page as they are asked for; each once.

        sort: one of `SORTS`. search: in Hex's own search language, e.g. `name:nerves*`.
        """
        assert sort in SORTS, sort
        seen: set[str] = set()
        for page in range(1, _MAX_PAGES + 1):
            query = {"page": str(page), "sort": sort} | ({"search": search} if search else {})
            url = f"{self._url}/packages?{urlencode(query)}"
            listed = self._json(url)
            if not isinstance(listed, list):
                raise DataError(f"{url}: expected a list of packages, found {_shown(listed)}")
            if not listed:
                return
            # A list that changes while it is read may repeat some packages; a whole page of them is a server that
            # does not count pages.
            new = [info for entry in listed if (info := self._package(entry, url)).name not in seen]
            if not new:
                raise DataError(f"{url}: the page repeats packages of earlier pages; the list would never end")
            seen.update(info.name for info in new)
            yield from {info.name: info for info in new}.values()
        raise DataError(f"{self._url}/packages: more than {_MAX_PAGES} pages; the list would never end")

    def package(self, name: str) -> PackageInfo:
        """One package by name. Raises NotFoundError where there is none."""
        if not is_name(name):
            raise DataError(f"{name!r} cannot be the name of a package")
        url = f"{self._url}/packages/{quote(name)}"
        info = self._package(self._json(url), url)
        if info.name != name:
            raise DataError(f"{url}: answered with the package {info.name!r}")
        return info

    def release(self, name: str, version: str) -> ReleaseInfo:
        """One release with its build tools and requirements. Raises NotFoundError where there is none."""
        if not is_name(name) or version_key(version) is None:
            raise DataError(f"{name!r} {version!r} cannot be a package and a version")
        url = f"{self._url}/packages/{quote(name)}/releases/{quote(version)}"
        entry = _Entry(self._json(url), url)
        meta, requirements = entry.entry("meta"), entry.entry("requirements")
        return ReleaseInfo(
            version=entry.text("version"),
            checksum=entry.text("checksum", "").lower(),
            has_docs=entry.flag("has_docs") is True,
            inserted_at=entry.moment("inserted_at"),
            is_retired=entry.fields.get("retirement") is not None,
            build_tools=meta.texts("build_tools"),
            elixir=meta.text("elixir", ""),
            requirements=tuple(
                Requirement(
                    package=package,
                    requirement=requirement.text("requirement", ""),
                    optional=requirement.flag("optional") is True,
                    app=requirement.text("app", package),
                    repository=requirement.text("repository", ""),
                )
                for package in sorted(requirements.fields)
                for requirement in [requirements.entry(package)]
            ),
            downloads=entry.number("downloads"),
        )

    def _package(self, fields: Any, url: str) -> PackageInfo:
        entry = _Entry(fields, url)
        meta, downloads = entry.entry("meta"), entry.entry("downloads")
        releases = [_Entry(release, url) for release in entry.items("releases")]
        name = entry.text("name")
        if not is_name(name):
            raise DataError(f"{url}: {name!r} cannot be the name of a package")
        links = {label: link for label, link in meta.entry("links").fields.items() if isinstance(link, str)}
        return PackageInfo(
            name=name,
            description=meta.text("description", ""),
            licences=meta.texts("licenses"),
            links=links,
            downloads=downloads.number("all"),
            recent_downloads=downloads.number("recent"),
            releases=tuple(
                ReleaseBrief(
                    version=release.text("version"),
                    has_docs=release.flag("has_docs"),
                    inserted_at=release.moment("inserted_at"),
                )
                for release in releases
            ),
            retired=frozenset(entry.entry("retirements").fields),
            updated_at=entry.moment("updated_at"),
        )

    def _json(self, url: str) -> Any:
        settings = self._client.settings
        body = self._client.get(url, max_bytes=_MAX_ANSWER_BYTES, key=settings.api_key, accept=_ACCEPT)
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise DataError(f"{url}: expected JSON, found {body[:40]!r}") from error


class _Entry:
    """A JSON object whose fields have the types they must have, or an error that names field and address."""

    def __init__(self, fields: Any, url: str) -> None:
        if not isinstance(fields, dict):
            raise DataError(f"{url}: expected an object, found {_shown(fields)}")
        self.fields = fields
        self._url = url

    def text(self, name: str, default: str | None = None) -> str:
        value = self.fields.get(name)
        return self._typed(name, default if value is None else value, str)

    def number(self, name: str) -> int:
        value = self.fields.get(name)
        return self._typed(name, 0 if value is None else value, int)

    def flag(self, name: str) -> bool | None:
        value = self.fields.get(name)
        return None if value is None else self._typed(name, value, bool)

    def texts(self, name: str) -> tuple[str, ...]:
        return tuple(self._typed(name, item, str) for item in self.items(name))

    def items(self, name: str) -> list[Any]:
        value = self.fields.get(name)
        return self._typed(name, [] if value is None else value, list)

    def entry(self, name: str) -> _Entry:
        value = self.fields.get(name)
        return _Entry({} if value is None else value, self._url)

    def moment(self, name: str) -> datetime.datetime | None:
        text = self.text(name, "")
        if not text:
            return None
        try:
            moment = datetime.datetime.fromisoformat(text)
        except ValueError as error:
            raise DataError(f"{self._url}: {name} is no date: {_shown(text)}") from error
        return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)

    def _typed(self, name: str, value: Any, kind: type) -> Any:
        if not isinstance(value, kind):
            raise DataError(f"{self._url}: {name} must be of type {kind.__name__}, found {_shown(value)}")
        return value


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
