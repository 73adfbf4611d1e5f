import gzip
import hashlib

import pytest

from elixir_coder.data.hex_http import HexClient, NotFoundError
from elixir_coder.data.hex_metadata import Requirement
from elixir_coder.data.hex_registry import HexRegistry, is_stable, version_key
from elixir_coder.errors import CorruptArchiveError, DataError, InputError
from tests.data.hex_server import (
    FILES,
    HexServer,
    cut,
    package_list,
    private_key,
    protobuf,
    public_pem,
    settings,
    signed,
    tarball,
    wrong_length,
)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = HexServer()
    server.publish("demo", "1.0.0")
    yield server
    server.close()


@pytest.fixture
def registry_of(server, tmp_path):
    """Make a registry of the server; all are closed at the end."""
    clients = []

    def make(name="acme", public_key=None, **changes):
        clients.append(HexClient(settings(server, **changes), tmp_path / "cache"))
        return HexRegistry(clients[-1], name=name, public_key=public_key or public_pem())

    yield make
    for client in clients:
        client.close()


def kept(tmp_path):
    return [path for path in (tmp_path / "cache" / "tarballs").rglob("*") if path.is_file()]


def test_the_lists_are_read(registry_of, server):
    needs = {"plug": {"requirement": "~> 1.0", "optional": True, "app": "plug_app"}}
    content = server.publish("other", "0.1.0", requirements=needs)
    server.publish("other", "0.2.0", is_retired=True)
    registry = registry_of()
    assert registry.names() == ["demo", "other"]
    demo, other = registry.versions()
    assert (demo.name, demo.versions, demo.retired) == ("demo", ("1.0.0",), frozenset())
    assert (other.name, other.versions, other.retired) == ("other", ("0.1.0", "0.2.0"), {"0.2.0"})
    first, second = registry.package("other")
    assert first.outer_checksum == hashlib.sha256(content).digest()
    assert first.requirements == (Requirement(package="plug", requirement="~> 1.0", optional=True, app="plug_app"),)
    assert (first.is_retired, second.is_retired) == (False, True)


def test_a_tarball_is_the_one_that_the_list_vouches_for(registry_of, tmp_path):
    registry = registry_of()
    (release,) = registry.package("demo")
    assert registry.tarball("demo", release) == tarball("demo", "1.0.0")
    assert len(kept(tmp_path)) == 1


def test_a_tarball_is_downloaded_once_and_checked_each_time(registry_of, server, tmp_path):
    registry = registry_of()
    (release,) = registry.package("demo")
    for _ in range(2):
        registry.tarball("demo", release)
    assert server.paths().count("/repo/tarballs/demo-1.0.0.tar") == 1
    kept(tmp_path)[0].write_bytes(b"damaged on disk")
    assert registry.tarball("demo", release) == tarball("demo", "1.0.0")
    assert server.paths().count("/repo/tarballs/demo-1.0.0.tar") == 2


def test_another_tarball_than_the_lists_is_refused_and_not_kept(registry_of, server, tmp_path):
    server.bodies["/repo/tarballs/demo-1.0.0.tar"] = tarball("demo", "1.0.0", FILES | {"lib/evil.ex": b"evil"})
    registry = registry_of()
    (release,) = registry.package("demo")
    with pytest.raises(
        CorruptArchiveError, match=r"demo-1\.0\.0\.tar: the outer checksum is \w{64}, the registry says"
    ):
        registry.tarball("demo", release)
    assert kept(tmp_path) == []


def test_a_tarball_cut_short_is_asked_for_again(registry_of, server):
    server.faults["/repo/tarballs/demo-1.0.0.tar"] = iter([cut(600), wrong_length(+9)])
    registry = registry_of()
    assert registry.tarball("demo", registry.package("demo")[0]) == tarball("demo", "1.0.0")


def test_a_tarball_with_too_short_a_length_is_refused(registry_of, server):
    server.faults["/repo/tarballs/demo-1.0.0.tar"] = iter([wrong_length(-512)])
    registry = registry_of()
    with pytest.raises(CorruptArchiveError, match="outer checksum"):
        registry.tarball("demo", registry.package("demo")[0])


PACKAGE = protobuf((2, "demo"), (3, "acme"))


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        (signed(PACKAGE, key="somebody"), "the signature does not fit the repository's public key"),
        (gzip.compress(protobuf((1, PACKAGE))), "the signature does not fit"),
        (gzip.compress(protobuf((1, PACKAGE + b"\x1a\x04acme"), (2, b"x" * 256))), "the signature does not fit"),
        (package_list("other", []), "signed as the list of 'other'"),
        (package_list("demo", [], repository="hexpm"), "signed for the repository 'hexpm', expected 'acme'"),
        (signed(protobuf((2, "demo"))), "damaged, or no list"),
        (signed(b"\xff\xff\xff"), "damaged, or no list"),
        (signed(protobuf((1, b"\x12\x05ab"), (2, "demo"), (3, "acme"))), "damaged, or no list"),
        (gzip.compress(b"\x0a\xff\xff\xff\xff\x0fx"), "damaged, or no list"),
        (package_list("demo", [])[:-6], "the list is cut off"),
        (b"<html>", "the list is not gzip"),
        (b"", "cut off"),
        (gzip.compress(bytes(10**6) * 300, 1), "decompression bomb"),
    ],
    ids="foreign-key no-signature wrong-signature other-package other-repository no-repository no-message bad-release "
    "no-envelope cut no-gzip empty bomb".split(),
)
def test_a_list_that_cannot_be_believed_is_refused(registry_of, server, body, complaint):
    server.bodies["/repo/packages/demo"] = body
    with pytest.raises(DataError, match=rf"/repo/packages/demo: .*{complaint}|{complaint}"):
        registry_of().package("demo")


@pytest.mark.parametrize("path", ["names", "versions"])
def test_the_lists_of_all_packages_are_checked_too(registry_of, server, path):
    registry = registry_of()
    read = getattr(registry, path)
    server.bodies[f"/repo/{path}"] = signed(protobuf((1, protobuf((1, "demo"))), (2, "acme")), key="somebody")
    with pytest.raises(DataError, match=f"/repo/{path}: the signature"):
        read()
    server.bodies[f"/repo/{path}"] = signed(protobuf((1, protobuf((1, "demo"))), (2, "hexpm")))
    with pytest.raises(DataError, match="signed for the repository 'hexpm'"):
        read()


def test_a_retired_version_must_be_listed(registry_of, server):
    entry = protobuf((1, "demo"), (2, "1.0.0"), (3, b"\x07"))
    server.bodies["/repo/versions"] = signed(protobuf((1, entry), (2, "acme")))
    with pytest.raises(DataError, match="demo retires a version that it does not list"):
        registry_of().versions()


def test_fields_that_are_not_known_yet_do_no_harm(registry_of, server):
    server.bodies["/repo/packages/demo"] = signed(PACKAGE + protobuf((99, "new"), (98, 7)))
    assert registry_of().package("demo") == ()


def test_checks_are_left_out_only_when_asked_to(registry_of, server):
    server.bodies["/repo/packages/demo"] = package_list("other", [], repository="hexpm", key="somebody")
    lax = registry_of(verify_registry=False, verify_origin=False)
    assert lax.package("demo") == ()


def test_a_registry_from_before_outer_checksums_is_read(registry_of, server, tmp_path):
    release = protobuf((1, "1.0.0"), (2, bytes(32)))
    server.bodies["/repo/packages/demo"] = signed(protobuf((1, release), (2, "demo"), (3, "acme")))
    registry = registry_of()
    (old,) = registry.package("demo")
    assert old.outer_checksum is None
    assert registry.tarball("demo", old) == tarball("demo", "1.0.0")
    assert kept(tmp_path) == []  # nothing vouches for these bytes before the inner checksum was looked at


def test_a_package_that_is_not_there_is_told_apart(registry_of):
    with pytest.raises(NotFoundError, match="/repo/packages/nothing"):
        registry_of().package("nothing")


def test_names_and_versions_cannot_lead_elsewhere(registry_of, server):
    registry = registry_of()
    with pytest.raises(DataError, match="cannot be the name"):
        registry.package("../names")
    bad = protobuf((1, "../../names"), (2, bytes(32)))
    server.bodies["/repo/packages/demo"] = signed(protobuf((1, bad), (2, "demo"), (3, "acme")))
    with pytest.raises(DataError, match="cannot be a package and a version"):
        registry.tarball("demo", registry.package("demo")[0])


def test_a_key_goes_to_a_trusted_repository_only(registry_of, server):
    registry_of(repo_key="secret").names()
    registry_of(repo_key="secret", is_trusted=False).names()
    registry_of(api_key="secret").names()
    assert [headers.get("authorization") for _, headers, _ in server.requests] == ["secret", None, None]


@pytest.mark.parametrize("format", ["PKCS1", "SubjectPublicKeyInfo"])
def test_a_public_key_is_read_in_both_of_its_forms(registry_of, format):
    from cryptography.hazmat.primitives import serialization

    public = private_key("acme").public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, getattr(serialization.PublicFormat, format))
    assert registry_of(public_key=pem).names() == ["demo"]


def test_a_key_that_is_none_is_an_error(server, tmp_path):
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    curve = ec.generate_private_key(ec.SECP256R1()).public_key()
    other = curve.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    client = HexClient(settings(server), tmp_path)
    for key, complaint in ((b"no key", "is no PEM public key"), (other, "is not RSA"), (None, "--public_key FILE")):
        with pytest.raises(InputError, match=f"repository 'acme'.*{complaint}"):
            HexRegistry(client, name="acme", public_key=key)


def test_the_public_registrys_key_is_the_default(server, tmp_path):
    client = HexClient(settings(server), tmp_path)
    assert HexRegistry(client).name == "hexpm"
    with pytest.raises(DataError, match="the signature does not fit"):
        HexRegistry(client).names()
    client.close()


def test_versions_sort_as_semantic_versions():
    ordered = (
        "0.9.9 1.0.0-0 1.0.0-9 1.0.0-10 1.0.0-alpha 1.0.0-alpha.1 1.0.0-alpha.beta 1.0.0-beta 1.0.0-beta.2 "
        "1.0.0-beta.11 1.0.0-rc.1 1.0.0 1.0.1 1.9.0 1.10.0 2.0.0-dev 2.0.0"
    ).split()
    assert sorted(sorted(ordered), key=version_key) == ordered
    assert version_key("1.0.0+build") == version_key("1.0.0")
    assert version_key("1.0") is version_key("1.0.0/..") is version_key("") is None
    assert is_stable("1.0.0+build") and not is_stable("1.0.0-rc.1") and not is_stable("1.0")


@pytest.mark.elixir
def test_elixir_sorts_versions_the_same_way():
    import random
    import subprocess

    rng = random.Random(7)
    parts = ["", "-0", "-1", "-10", "-9", "-a", "-A", "-a.1", "-a.b", "-rc.0", "-rc.10", "-rc.9", "-1.a", "-a-b"]
    versions = [f"{rng.randrange(2)}.{rng.randrange(12)}.{rng.randrange(3)}{part}" for part in parts * 12]
    versions = list(dict.fromkeys(versions))
    script = 'System.argv() |> Enum.sort(Version) |> Enum.join(" ") |> IO.puts()'
    done = subprocess.run(["elixir", "-e", script, *versions], check=True, capture_output=True, text=True)
    assert done.stdout.split() == sorted(versions, key=version_key)
