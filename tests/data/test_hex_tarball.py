import gzip
import random
import resource
import tarfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.data.hex_tarball import Limits, gunzip, read_tarball
from elixir_coder.errors import CorruptArchiveError
from tests.data.hex_server import CODE, FILES, MIX, member, metadata, tar, tarball

SMALL = Limits(max_tarball_bytes=100_000, max_bytes=8_000_000, max_files=20, max_ratio=50, max_metadata_bytes=10_000)


def packed(members, **options):
    """A package whose contents are these members of a tar."""
    return tarball(contents=gzip.compress(tar(members, **options), mtime=0))


def test_a_package_is_read_whole():
    package = read_tarball(tarball("demo", "1.0.0"))
    assert (package.metadata.name, package.metadata.version) == ("demo", "1.0.0")
    assert package.files == {"lib/demo.ex": CODE, "mix.exs": MIX}
    assert package.paths == ("lib/demo.ex", "mix.exs")


def test_only_wanted_files_are_kept_and_all_are_named():
    package = read_tarball(
        tarball(files=FILES | {"priv/big.bin": b"x" * 1000}), lambda path, num_bytes: path.endswith(".ex")
    )
    assert list(package.files) == ["lib/demo.ex"]
    assert "priv/big.bin" in package.paths


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_long_and_foreign_names_are_read_in_every_format(format):
    name = "lib/" + "a" * 90 + "/ü.ex"
    assert read_tarball(packed({name: CODE}, format=format)).files == {name: CODE}


def test_a_link_within_the_package_is_not_followed_and_does_no_harm():
    link = member("lib/again.ex", type=tarfile.SYMTYPE, linkname="../lib/demo.ex")
    package = read_tarball(packed([member("lib/demo.ex", CODE), link]))
    assert package.files == {"lib/demo.ex": CODE}


@pytest.mark.parametrize(
    ("bad", "complaint"),
    [
        (member("../evil.ex", CODE), "the path '../evil.ex' leaves the package"),
        (member("lib/../../evil.ex", CODE), "leaves the package"),
        (member("/etc/passwd", CODE), "the path '/etc/passwd' leaves the package"),
        (member("lib\\..\\..\\evil.ex", CODE), "leaves the package"),
        (member("C:/evil.ex", CODE), "leaves the package"),
        (member(".", CODE), "leaves the package"),
        (member("a", type=tarfile.SYMTYPE, linkname="/etc/passwd"), "the link 'a' points outside, at '/etc/passwd'"),
        (member("lib/a", type=tarfile.SYMTYPE, linkname="../../x"), "points outside"),
        (member("a", type=tarfile.LNKTYPE, linkname="mix.exs"), "'a' is a hard link"),
        (member("a", type=tarfile.CHRTYPE, devmajor=1, devminor=5), "'a' is a device"),
        (member("a", type=tarfile.BLKTYPE, devmajor=8), "'a' is a device"),
        (member("a", type=tarfile.FIFOTYPE), "'a' is a FIFO"),
    ],
)
def test_a_member_that_no_package_may_hold_refuses_the_archive(bad, complaint, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CorruptArchiveError, match=complaint):
        read_tarball(packed([member("lib/demo.ex", CODE), bad]))
    assert list(tmp_path.iterdir()) == []


def test_a_sparse_file_of_any_size_is_refused():
    sparse = member("huge.ex", b"1\n0\n0\n".ljust(512, b"\0"))
    sparse[0].pax_headers = {
        "GNU.sparse.major": "1",
        "GNU.sparse.minor": "0",
        "GNU.sparse.name": "huge.ex",
        "GNU.sparse.realsize": str(2**40),
    }
    with pytest.raises(CorruptArchiveError, match="no plain archive member"):
        read_tarball(packed([sparse]))


def test_a_decompression_bomb_is_refused_before_it_grows():
    deflater = zlib.compressobj(9, wbits=-15)
    megabyte = deflater.compress(bytes(2**20)) + deflater.flush(zlib.Z_FULL_FLUSH)  # may be repeated as it is
    bomb = gzip.compress(b"")[:10] + megabyte * 2048
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(
        CorruptArchiveError, match=r"grows from \d+ to more than \d+ bytes; refused as a decompression bomb"
    ):
        read_tarball(tarball(contents=bomb))
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 600_000  # KiB; whole it is 2 GB


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (tarball(files={"a.ex": random.Random(0).randbytes(200_000)}), "bytes; at most 100000 are read"),
        (tarball(files={f"lib/{n}.ex": CODE for n in range(21)}), "more than 20 files"),
        (tarball(files={"a.ex": bytes(5_000_000)}), "decompression bomb"),
        (tarball(description="x" * 20_000), "metadata.config has .* at most 10000 are read"),
    ],
)
def test_a_limit_is_a_limit(content, complaint):
    with pytest.raises(CorruptArchiveError, match=complaint):
        read_tarball(content, limits=SMALL)


def test_what_just_fits_is_read():
    contents = tar(FILES)
    exact = Limits(max_bytes=len(contents), max_files=4)
    assert read_tarball(tarball(), limits=exact).files == FILES
    with pytest.raises(CorruptArchiveError, match="bomb"):
        read_tarball(tarball(), limits=Limits(max_bytes=len(contents) - 1))


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "damaged archive"),
        (b"<html>not found</html>", "damaged archive"),
        (tarball()[:700], "damaged archive|has no"),
        (tarball(checksum=b"0" * 64), "the inner checksum is wrong"),
        (tarball(checksum=b""), "the inner checksum is wrong"),
        (tarball(checksum=b"\xff" * 64), "the inner checksum is wrong"),
        (tarball(contents=b"not gzip"), "contents.tar.gz is not gzip"),
        (tarball(contents=gzip.compress(tar(FILES))[:-10]), "contents.tar.gz is cut off"),
        (tarball(contents=gzip.compress(tar(FILES)) + b"more"), "followed by 4 bytes"),
        (tarball(contents=gzip.compress(tar(FILES)[:600])), "damaged archive"),
        (tarball(contents=gzip.compress(tar(FILES)[:1024] + b"junk" * 512)), "the archive is damaged after byte 1024"),
        (tarball(meta=b"this is no term"), "metadata.config, line 1"),
        (tarball(meta=metadata(version="")), "metadata.config: no version"),
        (tar({"VERSION": b"3", "CHECKSUM": b""}), "has no metadata.config, contents.tar.gz"),
        (
            tar({"VERSION": b"4", "CHECKSUM": b"", "metadata.config": b"", "contents.tar.gz": b""}),
            "format version b'4'",
        ),
        (tar([member("VERSION", b"3"), member("VERSION", b"3")]), "two parts named VERSION"),
        (tar([member("VERSION", type=tarfile.SYMTYPE, linkname="/dev/zero")]), "points outside"),
    ],
)
def test_a_damaged_tarball_is_refused(content, complaint):
    with pytest.raises(CorruptArchiveError, match=complaint):
        read_tarball(content)


@given(st.data())
def test_no_damage_does_more_than_be_refused(data):
    """Header bytes of the contents changed at will: sizes, types, checksums made to fit again."""
    contents = bytearray(tar(FILES))
    for _ in range(data.draw(st.integers(1, 3))):
        position = data.draw(st.integers(0, 511) | st.integers(0, len(contents) - 1))
        contents[position] = data.draw(st.integers(0, 255))
    header = bytearray(contents[:512])
    header[148:156] = b" " * 8
    contents[148:156] = f"{sum(header):06o}\0 ".encode()
    try:
        package = read_tarball(tarball(contents=gzip.compress(bytes(contents), mtime=0)), limits=SMALL)
    except CorruptArchiveError:
        return
    assert not any(path.startswith(("/", "..")) for path in package.paths)
    assert sum(map(len, package.files.values())) <= len(contents)


def test_a_negative_size_does_not_lead_in_circles():
    contents = bytearray(tar({"a.ex": b"x"}))
    contents[124:136] = b"\xff" * 12  # -1 in base 256
    header = bytearray(contents[:512])
    header[148:156] = b" " * 8
    contents[148:156] = f"{sum(header):06o}\0 ".encode()
    with pytest.raises(CorruptArchiveError):
        read_tarball(tarball(contents=gzip.compress(bytes(contents))))


def test_gunzip_gives_what_was_compressed():
    assert gunzip(gzip.compress(b"hello"), 5, "it") == b"hello"
    with pytest.raises(CorruptArchiveError, match="it grows"):
        gunzip(gzip.compress(b"hello"), 4, "it")
