"""Read a Hex repository: its signed lists of packages, versions and checksums, and the tarballs that they vouch for.

Each list is gzip around a protobuf `Signed {payload, signature}`; the signature is RSA over SHA-512 by the repository's
key, and the payload says which repository and package it is about, so that one list cannot stand in for another. Who
serves the files need not be trusted. The messages are described here in code: nothing is generated.

Specification: https://github.com/hexpm/specifications/blob/main/registry-v2.md
"""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from elixir_coder.data.hex_http import HexClient, write_whole
from elixir_coder.data.hex_metadata import Requirement
from elixir_coder.data.hex_tarball import DEFAULT_LIMITS, Limits, gunzip
from elixir_coder.errors import CorruptArchiveError, DataError, InputError, require

PUBLIC_NAME = "hexpm"
# https://hex.pm/docs/public_keys
PUBLIC_KEY = b"""\
-----BEGIN PUBLIC KEY-----
MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEApqREcFDt5vV21JVe2QNB
Edvzk6w36aNFhVGWN5toNJRjRJ6m4hIuG4KaXtDWVLjnvct6MYMfqhC79HAGwyF+
IqR6Q6a5bbFSsImgBJwz1oadoVKD6ZNetAuCIK84cjMrEFRkELtEIPNHblCzUkkM
3rS9+DPlnfG8hBvGi6tvQIuZmXGCxF/73hU0/MyGhbmEjIKRtG6b0sJYKelRLTPW
XgK7s5pESgiwf2YC/2MGDXjAJfpfCd0RpLdvd4eRiXtVlE9qO9bND94E7PgQ/xqZ
J1i2xWFndWa6nfFnRxZmCStCOZWYYPlaxr+FZceFbpMwzTNs4g3d4tLNUcbKAIH4
0wIDAQAB
-----END PUBLIC KEY-----
"""

_MAX_LIST_BYTES = 64 * 1024 * 1024  # compressed; the public /versions has about 1 MB
_MAX_PLAIN_LIST_BYTES = 256 * 1024 * 1024

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*")
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)(?:-([0-9A-Za-z.-]+))?(?:\+[0-9A-Za-z.-]+)?")

# message -> fields: (name, number, type, label). The names are ours where two of Hex's files say `Package`.
_MESSAGES: dict[str, tuple[tuple[str, int, str, str], ...]] = {
    "Signed": (("payload", 1, "bytes", "required"), ("signature", 2, "bytes", "optional")),
    "Names": (("packages", 1, "Name", "repeated"), ("repository", 2, "string", "required")),
    "Name": (("name", 1, "string", "required"),),
    "Versions": (("packages", 1, "PackageVersions", "repeated"), ("repository", 2, "string", "required")),
    "PackageVersions": (
        ("name", 1, "string", "required"),
        ("versions", 2, "string", "repeated"),
        ("retired", 3, "int32", "repeated"),
    ),
    "Package": (
        ("releases", 1, "Release", "repeated"),
        ("name", 2, "string", "required"),
        ("repository", 3, "string", "required"),
    ),
    "Release": (
        ("version", 1, "string", "required"),
        ("inner_checksum", 2, "bytes", "required"),
        ("dependencies", 3, "Dependency", "repeated"),
        ("retired", 4, "Retirement", "optional"),
        ("outer_checksum", 5, "bytes", "optional"),
    ),
    "Retirement": (("reason", 1, "int32", "required"), ("message", 2, "string", "optional")),
    "Dependency": (
        ("package", 1, "string", "required"),
        ("requirement", 2, "string", "required"),
        ("optional", 3, "bool", "optional"),
        ("app", 4, "string", "optional"),
        ("repository", 5, "string", "optional"),
    ),
}


@dataclass(frozen=True, kw_only=True)
class Release:
    """One version as the signed registry vouches for it. outer_checksum: None in registries written before 2019."""

    version: str
    inner_checksum: bytes
    outer_checksum: bytes | None
    is_retired: bool
    requirements: tuple[Requirement, ...]


@dataclass(frozen=True, kw_only=True)
class PackageVersions:
    """The versions of one package, as listed, and those of them that were retired."""

    name: str
    versions: tuple[str, ...]
    retired: frozenset[str]


class HexRegistry:
    """One repository, asked through `client` and believed only as far as its key goes."""

    def __init__(
        self,
        client: HexClient,
        *,
        name: str = PUBLIC_NAME,
        public_key: bytes | None = PUBLIC_KEY,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        """name: what the signed lists must call the repository. public_key: PEM; None only where the client's settings
        say not to verify.

        Raises InputError for a key that is not an RSA public key, or for none.
        """
        self.name = name
        self._client = client
        self._limits = limits
        settings = client.settings
        self._url = settings.repo_url
        self._key = settings.repo_key if settings.is_trusted else None
        self._public_key = _load_key(public_key, name) if settings.verify_registry else None
        # Several versions of one package are mostly read one after another.
        self.package = functools.lru_cache(maxsize=256)(self._package)

    def names(self) -> list[str]:
        """The names of all packages, sorted."""
        return sorted(package.name for package in self._list("names", "Names").packages)

    def versions(self) -> list[PackageVersions]:
        """All packages with their versions, sorted by name."""
        listed = []
        for package in self._list("versions", "Versions").packages:
            versions = tuple(package.versions)
            if any(not 0 <= index < len(versions) for index in package.retired):
                raise DataError(f"{self._url}/versions: {package.name} retires a version that it does not list")
            retired = frozenset(versions[index] for index in package.retired)
            listed.append(PackageVersions(name=package.name, versions=versions, retired=retired))
        return sorted(listed, key=lambda package: package.name)

    def _package(self, name: str) -> tuple[Release, ...]:
        """The releases of a package with checksums and requirements, as listed.

        Raises NotFoundError for a package that is not there, DataError when the list cannot be had or believed.
        """
        if not is_name(name):
            raise DataError(f"{name!r} cannot be the name of a package")
        package = self._list(f"packages/{quote(name)}", "Package")
        if package.name != name and self._client.settings.verify_origin:
            raise DataError(f"{self._url}/packages/{name}: signed as the list of {package.name!r}; refused")
        return tuple(_release(release) for release in package.releases)

    def tarball(self, name: str, release: Release) -> bytes:
        """The tarball of a release, whose outer checksum is the registry's; kept on disk once it was checked.

        Raises CorruptArchiveError when what is served has another checksum.
        """
        if not is_name(name) or version_key(release.version) is None:
            raise DataError(f"{name!r} {release.version!r} cannot be a package and a version")
        # By content: the same tarball on another mirror is found again, and what is here is checked on each use.
        checksum = release.outer_checksum or release.inner_checksum
        kept = self._client.cache / "tarballs" / checksum.hex()[:2] / f"{checksum.hex()[2:]}.tar"
        if (tarball := _intact(kept, release)) is not None:
            return tarball
        url = f"{self._url}/tarballs/{quote(name)}-{quote(release.version)}.tar"
        tarball = self._client.get(url, max_bytes=self._limits.max_tarball_bytes, key=self._key, keep=False)
        if release.outer_checksum is not None and hashlib.sha256(tarball).digest() != release.outer_checksum:
            raise CorruptArchiveError(
                f"{url}: the outer checksum is {hashlib.sha256(tarball).hexdigest()}, "
                f"the registry says {release.outer_checksum.hex()}; tarball refused"
            )
        if release.outer_checksum is not None:
            write_whole(kept, tarball)
        return tarball

    def _list(self, path: str, message: str) -> Any:
        url = f"{self._url}/{path}"
        body = self._client.get(url, max_bytes=_MAX_LIST_BYTES, key=self._key)
        try:
            signed = _decode("Signed", gunzip(body, _MAX_PLAIN_LIST_BYTES, "the list"))
            if self._public_key is not None:
                _verify(self._public_key, signed.payload, signed.signature, url)
            listed = _decode(message, signed.payload)
        except CorruptArchiveError as error:
            raise DataError(f"{url}: damaged, or no list of a Hex registry ({error})") from error
        if listed.repository != self.name and self._client.settings.verify_origin:
            raise DataError(f"{url}: signed for the repository {listed.repository!r}, expected {self.name!r}; refused")
        return listed


def is_name(name: str) -> bool:
    """Whether this may stand in an address as the name of a package."""
    return len(name) <= 255 and _NAME.fullmatch(name) is not None


def version_key(version: str) -> tuple[Any, ...] | None:
    """A key that sorts versions as Semantic Versioning does, None for what is no version.

    Source: https://semver.org/#spec-item-11
    """
    match = _VERSION.fullmatch(version) if len(version) <= 255 else None
    if match is None:
        return None
    *numbers, before = match.groups()
    # Numbers stand below words, and any pre-release below the release itself.
    rank = tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in (before or "").split("."))
    return (*map(int, numbers), before is None, rank)


def is_stable(version: str) -> bool:
    """Whether this is a version, and not a pre-release."""
    key = version_key(version)
    return key is not None and bool(key[3])


def _decode(name: str, encoded: bytes) -> Any:
    """One of a registry's messages, with all that it must have."""
    factory = require("google.protobuf.message_factory", "data")
    decode_error = require("google.protobuf.message", "data").DecodeError
    try:
        message = factory.GetMessageClass(_pool().FindMessageTypeByName(f"hex.{name}")).FromString(encoded)
    except decode_error as error:
        raise CorruptArchiveError(f"no message {name}: {error}") from error
    if not message.IsInitialized():  # not every implementation of protobuf looks at this when it decodes
        raise CorruptArchiveError(f"the message {name} lacks {', '.join(message.FindInitializationErrors()[:3])}")
    return message


@functools.cache
def _pool() -> Any:
    """The messages' descriptors, as protoc would make them from Hex's .proto files."""
    descriptors = require("google.protobuf.descriptor_pb2", "data")
    file = descriptors.FileDescriptorProto(name="hex_registry.proto", package="hex", syntax="proto2")
    for name, fields in _MESSAGES.items():
        message = file.message_type.add(name=name)
        for field_name, number, kind, label in fields:
            field = message.field.add(name=field_name, number=number)
            field.label = getattr(field, f"LABEL_{label.upper()}")
            if kind in _MESSAGES:
                field.type, field.type_name = field.TYPE_MESSAGE, f".hex.{kind}"
            else:
                field.type = getattr(field, f"TYPE_{kind.upper()}")
    pool = require("google.protobuf.descriptor_pool", "data").DescriptorPool()
    pool.AddSerializedFile(file.SerializeToString())
    return pool


def _release(release: Any) -> Release:
    return Release(
        version=release.version,
        inner_checksum=release.inner_checksum,
        outer_checksum=release.outer_checksum or None,
        is_retired=release.HasField("retired"),
        requirements=tuple(
            Requirement(
                package=dependency.package,
                requirement=dependency.requirement,
                optional=dependency.optional,
                app=dependency.app or dependency.package,
                repository=dependency.repository,
            )
            for dependency in release.dependencies
        ),
    )


def _intact(kept: Path, release: Release) -> bytes | None:
    try:
        tarball = kept.read_bytes()
    except OSError:
        return None
    return tarball if hashlib.sha256(tarball).digest() == release.outer_checksum else None


def _load_key(public_key: bytes | None, name: str) -> Any:
    if public_key is None:
        raise InputError(f"no public key for the repository {name!r}; give its PEM file with --public_key FILE")
    serialization = require("cryptography.hazmat.primitives.serialization", "data")
    rsa = require("cryptography.hazmat.primitives.asymmetric.rsa", "data")
    unsupported = require("cryptography.exceptions", "data").UnsupportedAlgorithm
    try:
        key = serialization.load_pem_public_key(public_key)
    except (ValueError, TypeError, unsupported) as error:
        raise InputError(f"the public key of the repository {name!r} is no PEM public key ({error})") from error
    if not isinstance(key, rsa.RSAPublicKey):
        raise InputError(f"the public key of the repository {name!r} is not RSA, which Hex signs with")
    return key


def _verify(key: Any, payload: bytes, signature: bytes, url: str) -> None:
    hashes = require("cryptography.hazmat.primitives.hashes", "data")
    padding = require("cryptography.hazmat.primitives.asymmetric.padding", "data")
    invalid = require("cryptography.exceptions", "data").InvalidSignature
    try:
        key.verify(signature, payload, padding.PKCS1v15(), hashes.SHA512())
    except invalid:
        raise DataError(
            f"{url}: the signature does not fit the repository's public key; a proxy or mirror changed the list, "
            f"or --public_key is another repository's"
        ) from None
