import io
import tarfile

import pytest

from elixir_coder.data.archive import read_archive
from elixir_coder.errors import CorruptArchiveError
from tests.data.debian_archive import tarball


def everything(path, num_bytes):
    return True


@pytest.mark.parametrize("compression", ["", "gz", "bz2", "xz"])
def test_paths_start_below_the_top_folder_of_a_release(tmp_path, compression):
    with tarfile.open(tmp_path / "toy.tar", f"w:{compression}") as tar:
        for name in ("toy-1.0/mix.exs", "./toy-1.0/lib/toy.ex"):
            member = tarfile.TarInfo(name)
            member.size = 3
            tar.addfile(member, io.BytesIO(b"abc"))

    assert dict(read_archive(tmp_path / "toy.tar", everything)) == {"mix.exs": b"abc", "lib/toy.ex": b"abc"}


def test_an_archive_without_a_top_folder_keeps_its_paths(tmp_path):
    archive = tarball(tmp_path / "a.tar.xz", {"mix.exs": b"a", "lib/a.ex": b"b"})

    assert [path for path, _ in read_archive(archive, everything)] == ["mix.exs", "lib/a.ex"]


def test_the_debian_folder_of_a_packaging_archive_is_kept(tmp_path):
    archive = tarball(tmp_path / "a.debian.tar.xz", {"debian/copyright": b"a"})

    assert [path for path, _ in read_archive(archive, everything)] == ["debian/copyright"]


def test_only_wanted_files_are_read(tmp_path):
    archive = tarball(tmp_path / "a.tar.xz", {"a/x.ex": b"1234", "a/y.ex": b"12345"})

    assert dict(read_archive(archive, lambda path, num_bytes: num_bytes < 5)) == {"x.ex": b"1234"}


@pytest.mark.parametrize("name", ["../evil.ex", "toy/../../evil.ex", "/etc/evil.ex", "toy/..\\..\\..\\evil.ex"])
def test_a_path_that_leaves_the_folder_is_refused(tmp_path, name):
    archive = tarball(tmp_path / "evil.tar.xz", {"toy/good.ex": b"x", name: b"x"})

    with pytest.raises(CorruptArchiveError, match=r"evil\.tar\.xz: the path .*evil\.ex' leaves the target folder"):
        list(read_archive(archive, everything))


@pytest.mark.parametrize("target", ["/etc", "../..", "lib/../../../etc"])
def test_a_link_that_points_outside_is_refused(tmp_path, target):
    archive = tarball(tmp_path / "evil.tar.xz", {"toy/good.ex": b"x"}, links={"toy/link": target})

    with pytest.raises(CorruptArchiveError, match=r"evil\.tar\.xz: the link 'toy/link' points outside"):
        list(read_archive(archive, everything))


def test_a_link_that_stays_inside_is_passed_over(tmp_path):
    archive = tarball(tmp_path / "a.tar.xz", {"toy/lib/a.ex": b"x"}, links={"toy/test/b.ex": "../lib/a.ex"})

    assert [path for path, _ in read_archive(archive, everything)] == ["lib/a.ex"]


@pytest.mark.parametrize("damage", ["truncated", "scrambled", "not an archive", "empty"])
def test_a_damaged_archive_is_an_error_naming_the_file(tmp_path, damage):
    archive = tarball(tmp_path / "broken.tar.xz", {f"toy/{n}.ex": bytes([n]) * 9_999 for n in range(50)})
    sound = archive.read_bytes()
    middle = len(sound) // 2
    archive.write_bytes(
        {
            "truncated": sound[:middle],
            "scrambled": sound[:middle] + b"\xff" * 40 + sound[middle + 40 :],
            "not an archive": b"<html>404</html>",
            "empty": b"",
        }[damage]
    )

    with pytest.raises(CorruptArchiveError, match=r"broken\.tar\.xz: damaged archive"):
        list(read_archive(archive, everything))
