import itertools
import os
import subprocess

import pytest

from elixir_coder.data.debian import PrivateApt, private_sources, uses_elixir, version_key
from elixir_coder.errors import CorruptArchiveError, DataError
from tests.data.debian_archive import module

INCOMPRESSIBLE = os.urandom(300_000)


@pytest.fixture
def apt(archive, tmp_path):
    def ready(*suites: str) -> PrivateApt:
        private = PrivateApt(tmp_path / "cache", suites or ("bookworm",), archive.etc())
        private.update()
        return private

    return ready


def test_a_download_that_was_cut_off_is_resumed_where_it_stopped(archive, apt):
    archive.add("toy", "1.0-1", {"lib/toy.ex": INCOMPRESSIBLE})
    archive.cut["toy_1.0.orig.tar.xz"] = 40_000
    private = apt()
    (package,) = private.find(["bookworm"])

    with pytest.raises(DataError, match=r"could not fetch toy_1\.0\.orig\.tar\.xz .* run the same command again"):
        private.download(package)
    kept = (private.archives / "toy_1.0.orig.tar.xz").stat().st_size
    assert kept >= 40_000

    archive.cut.clear()
    archive.requests.clear()
    assert private.download(package) == []
    assert private.missing(package) == []
    assert archive.requests == [("toy_1.0.orig.tar.xz", f"bytes={kept}-")]


def test_the_bytes_reported_while_downloading_add_up_to_the_package(archive, apt):
    archive.add("toy", "1.0-1", {"lib/toy.ex": INCOMPRESSIBLE})
    private = apt()
    (package,) = private.find(["bookworm"])

    first, second = [], []
    private.download(package, first.append)
    private.download(package, second.append)

    assert sum(first) == sum(second) == package.num_bytes > 300_000


def test_what_is_already_here_is_not_fetched_again(archive, apt):
    archive.add("toy", "1.0-1", {"lib/toy.ex": module("Toy")})
    private = apt()
    (package,) = private.find(["bookworm"])
    private.download(package)
    archive.requests.clear()

    assert private.download(package) == []

    assert archive.requests == []


def test_a_file_damaged_on_disk_is_fetched_anew(archive, apt):
    archive.add("toy", "1.0-1", {"lib/toy.ex": module("Toy")})
    private = apt()
    (package,) = private.find(["bookworm"])
    private.download(package)
    orig = private.archives / "toy_1.0.orig.tar.xz"
    sound = orig.read_bytes()
    orig.write_bytes(b"\0" * len(sound))

    assert private.missing(package) == [orig.name]
    private.download(package)

    assert orig.read_bytes() == sound


def test_a_file_that_is_not_the_one_in_the_signed_index_is_an_error_naming_it(archive, apt):
    archive.add("toy", "1.0-1", {"lib/toy.ex": module("Toy")})
    pool = archive.root / "pool" / "toy" / "toy_1.0.orig.tar.xz"
    pool.write_bytes(b"\0" * pool.stat().st_size)
    private = apt()
    (package,) = private.find(["bookworm"])

    with pytest.raises(CorruptArchiveError, match=r"toy_1\.0\.orig\.tar\.xz.*Hash Sum mismatch"):
        private.download(package)


def test_files_that_the_mirror_lacks_are_named_and_the_others_kept(archive, apt):
    archive.add("toy", "1.0-1", {"lib/toy.ex": module("Toy")})
    (archive.root / "pool" / "toy" / "toy_1.0-1.debian.tar.xz").unlink()
    private = apt()
    (package,) = private.find(["bookworm"])

    assert private.download(package) == ["toy_1.0-1.debian.tar.xz"]
    assert (private.archives / "toy_1.0.orig.tar.xz").is_file()


def test_packages_that_build_with_elixir_are_found_without_naming_them(archive, apt):
    archive.add("surprise", "0.1-1", {"lib/a.ex": module("A")}, depends="debhelper-compat (= 13), elixir (>= 1.14)")
    archive.add("unrelated", "0.1-1", {"lib/a.ex": module("A")}, depends="elixirfm, libelixir-dev")
    archive.add("erlang", "27-1", {"lib/a.ex": module("A")}, depends="elixir <!nodoc>")

    assert [package.name for package in apt().find(["bookworm"])] == ["surprise"]


def test_each_version_is_found_once_newest_first(archive, apt):
    for version, suite in (("1.9-1", "bookworm"), ("1.10-1", "trixie"), ("1.10-1", "sid"), ("1.10~rc1-1", "sid")):
        archive.add("toy", version, {"lib/toy.ex": module("Toy")}, suite=suite)
    private = apt("bookworm", "trixie", "sid")

    found = private.find(["bookworm", "trixie", "sid"])

    assert [(package.version, package.suite) for package in found] == [
        ("1.10-1", "trixie"),
        ("1.10~rc1-1", "sid"),
        ("1.9-1", "bookworm"),
    ]


def test_a_suite_that_the_mirror_lacks_leaves_the_others_usable(archive, apt):
    archive.add("toy", "1.0-1", {"lib/toy.ex": module("Toy")})
    private = apt("bookworm", "trixie")

    assert list(private.suites()) == ["bookworm"]
    assert [package.name for package in private.find(["bookworm", "trixie"])] == ["toy"]


def test_an_index_that_names_a_file_outside_the_folder_is_refused(archive, apt):
    archive.add("toy", "1.0-1", {"lib/toy.ex": module("Toy")})
    archive._entries["bookworm"][0] = archive._entries["bookworm"][0].replace(" toy_1.0-1.dsc", " ../../toy_1.0-1.dsc")
    archive.publish("bookworm")

    with pytest.raises(CorruptArchiveError, match=r"toy: the file name '\.\./\.\./toy_1\.0-1\.dsc' leaves"):
        apt().find(["bookworm"])


def test_versions_sort_as_dpkg_sorts_them():
    versions = "1:0.1 1.0 1.0-1 1.0-1.1 1.0-10 1.0+dfsg-1 1.0~rc1-1 1.0~~ 1.0a 1.10-1 1.9-1 0.35.1+dfsg-4 1.0-1~bpo12+1"
    by_key = sorted(versions.split(), key=version_key)

    for older, newer in itertools.pairwise(by_key):
        assert subprocess.run(["dpkg", "--compare-versions", older, "lt", newer]).returncode == 0, (older, newer)


@pytest.mark.parametrize(
    ("depends", "expected"),
    [
        ("debhelper, elixir", True),
        ("elixir (>= 1.7)", True),
        ("dh-elixir", True),
        ("elixir:native <!nocheck>", True),
        ("libelixirfm-perl", False),
        ("elixir-ex-doc", False),
    ],
)
def test_a_build_dependency_is_read_as_a_whole_name(depends, expected):
    assert uses_elixir({"build-depends": depends}) is expected


def test_the_private_list_takes_mirror_and_key_from_deb822_entries(tmp_path):
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    (parts / "a.sources").write_text(
        "Types: deb\nURIs: https://example.org/other\nSuites: stable-things\nComponents: main\n\n"
        "Enabled: no\nTypes: deb\nURIs: https://example.org/off\nSuites: bookworm\nComponents: main\n\n"
        "# the real one\nTypes: deb deb-src\nURIs: https://example.org/debian\nSuites: bookworm bookworm-updates\n"
        "Components: main contrib\nSigned-By:\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n"
    )

    assert private_sources(tmp_path, ["trixie", "sid"]) == (
        "Types: deb-src\nURIs: https://example.org/debian\nSuites: trixie sid\nComponents: main\n"
        "Signed-By: \n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n abc\n"
    )


def test_the_private_list_takes_mirror_and_key_from_one_line_entries(tmp_path):
    (tmp_path / "sources.list").write_text(
        "# deb https://example.org/comment bookworm main\n"
        "deb https://example.org/security bookworm-security main\n"
        "deb [arch=amd64 signed-by=/usr/share/keyrings/k.gpg] https://example.org/debian bookworm main  # it\n"
    )

    assert private_sources(tmp_path, ["bookworm"]) == (
        "Types: deb-src\nURIs: https://example.org/debian\nSuites: bookworm\nComponents: main\n"
        "Signed-By: /usr/share/keyrings/k.gpg\n"
    )


def test_a_machine_without_a_debian_mirror_is_told_what_was_looked_for(tmp_path):
    with pytest.raises(
        DataError, match=r"no Debian mirror in .*: expected a `deb` entry of a release such as bookworm"
    ):
        private_sources(tmp_path, ["bookworm"])


def test_a_suite_name_cannot_smuggle_a_line_into_the_list(archive):
    with pytest.raises(DataError, match="not a Debian suite"):
        private_sources(archive.etc(), ["sid\nTrusted: yes"])
