import argparse
import os
from pathlib import Path

import pytest

from elixir_coder.data.collect import DEBIAN_TEST, DEBIAN_VALIDATION, add_parser, collect_debian, collect_folder
from elixir_coder.data.debian import DEFAULT_PACKAGES
from elixir_coder.data.shards import read_manifest, read_shards
from elixir_coder.errors import CorruptArchiveError, DataError, InputError
from tests.data.debian_archive import module, tarball

LONG_AGO = "# a comment, so that the file is long enough\n"


def paths(folder: Path, split: str = "train") -> list[str]:
    return [example.path for example in read_shards(folder, split)]


def project(folder: Path, app: str = "toy", files: dict[str, bytes] | None = None) -> Path:
    mix = f'def project, do: [app: :{app}, version: "0.3.1", package: [licenses: ["MIT"]]]\n'.encode()
    for name, content in {"mix.exs": mix, "lib/a.ex": module(f"{app}A"), **(files or {})}.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.fixture
def collect(archive, tmp_path):
    def run(packages=None, suites=("bookworm",), **settings):
        return collect_debian(
            tmp_path / "corpus", packages, suites, cache=tmp_path / "cache", etc=archive.etc(), **settings
        )

    return run


def test_a_debian_package_becomes_examples_with_their_provenance(archive, collect, tmp_path):
    archive.add("toy", "1.0-1", {"lib/toy.ex": module("Toy"), "c_src/toy.c": b"int x;", "README.md": b"# Toy"})

    report = collect()

    (example,) = read_shards(tmp_path / "corpus")
    assert example.code == module("Toy").decode()
    assert (example.path, example.package, example.version) == ("lib/toy.ex", "toy", "1.0-1")
    assert (example.licence, example.source) == ("Apache-2.0", "debian")
    assert report.splits["train"] == {"num_examples": 1, "num_bytes": len(example.code), "num_shards": 1}
    assert read_manifest(tmp_path / "corpus")["packages"] == [
        {
            "package": "toy",
            "version": "1.0-1",
            "suite": "bookworm",
            "split": "train",
            "num_examples": 1,
            "num_bytes": len(example.code),
        }
    ]


def test_of_equal_files_in_two_suites_the_newer_version_is_kept(archive, collect, tmp_path):
    same, old, new = module("Same"), module("Old"), module("New")
    archive.add("toy", "1.0-1", {"lib/same.ex": same, "lib/toy.ex": old}, suite="bookworm")
    archive.add("toy", "2.0-1", {"lib/same.ex": same, "lib/toy.ex": new}, suite="trixie")

    report = collect(suites=["bookworm", "trixie"])

    found = [(example.version, example.path) for example in read_shards(tmp_path / "corpus")]
    assert found == [("1.0-1", "lib/toy.ex"), ("2.0-1", "lib/same.ex"), ("2.0-1", "lib/toy.ex")]
    assert report.dropped == {"duplicate": 1}


def test_of_a_held_out_package_only_the_newest_version_judges(archive, collect, tmp_path):
    archive.add("toy", "1.0-1", {"lib/toy.ex": module("Old")}, suite="bookworm")
    archive.add("toy", "2.0-1", {"lib/toy.ex": module("New")}, suite="trixie")
    archive.add("other", "1.0-1", {"lib/other.ex": module("Other")})

    report = collect(suites=["bookworm", "trixie"], test_packages=["toy"])

    assert [example.version for example in read_shards(tmp_path / "corpus", "test")] == ["2.0-1"]
    assert report.dropped == {"older version of a held-out package": 1}


def test_the_default_held_out_packages_are_held_out(archive, collect, tmp_path):
    for name in DEFAULT_PACKAGES:
        archive.add(name, "1.0-1", {"lib/a.ex": module(name.replace("-", "_").title())})

    collect()

    corpus = tmp_path / "corpus"
    assert {example.package for example in read_shards(corpus, "validation")} == set(DEBIAN_VALIDATION)
    assert {example.package for example in read_shards(corpus, "test")} == set(DEBIAN_TEST)
    assert {e.package for e in read_shards(corpus)} == set(DEFAULT_PACKAGES) - {*DEBIAN_VALIDATION, *DEBIAN_TEST}


def test_guides_come_only_when_asked_for(archive, collect, tmp_path):
    archive.add("toy", "1.0-1", {"lib/toy.ex": module("Toy"), "pages/a.md": b"# A\n\n    iex> 1 + 1\n    2\n"})

    collect()
    assert paths(tmp_path / "corpus") == ["lib/toy.ex"]
    collect(with_guides=True)
    assert paths(tmp_path / "corpus") == ["lib/toy.ex", "pages/a.md"]


def test_a_file_that_is_not_utf_8_is_counted_and_left_out(archive, collect, tmp_path):
    archive.add("toy", "1.0-1", {"lib/toy.ex": module("Toy"), "lib/latin.ex": b'defmodule A do "\xe9" end\n'})

    assert collect().dropped == {"not UTF-8": 1}
    assert paths(tmp_path / "corpus") == ["lib/toy.ex"]


def test_a_file_over_a_megabyte_is_counted_and_never_read(archive, collect, tmp_path):
    archive.add("toy", "1.0-1", {"lib/toy.ex": module("Toy"), "lib/big.ex": b"# x\n" * 300_000})

    assert collect().dropped == {"too large": 1}


def test_where_the_mirror_lacks_debian_copyright_the_licence_file_speaks(archive, collect, tmp_path):
    mit = b"Permission is hereby granted, free of charge, to any person obtaining a copy"
    archive.add("toy", "1.0-1", {"lib/toy.ex": module("Toy"), "LICENSE": mit})
    (archive.root / "pool" / "toy" / "toy_1.0-1.debian.tar.xz").unlink()

    report = collect()

    assert [example.licence for example in read_shards(tmp_path / "corpus")] == ["MIT"]
    assert report.warnings == ("toy 1.0-1: the mirror does not serve toy_1.0-1.debian.tar.xz",)


def test_a_copyleft_package_is_dropped_unless_its_licence_is_allowed(archive, collect, tmp_path):
    gpl = "Format: https://example.org/1.0/\n\nFiles: *\nCopyright: A\nLicense: GPL-3+\n"
    archive.add("toy", "1.0-1", {"lib/toy.ex": module("Toy")}, copyright_=gpl)

    with pytest.raises(DataError, match=r"no file was kept \(dropped: licence 1\)"):
        collect()
    collect(allowed_licences={"GPL-3+"})
    assert paths(tmp_path / "corpus") == ["lib/toy.ex"]


def test_an_archive_that_would_write_outside_its_folder_stops_the_collection(archive, collect, tmp_path):
    pool = archive.root / "pool" / "toy"
    pool.mkdir(parents=True)
    tarball(pool / "toy_1.0.orig.tar.xz", {"toy-1.0/a.ex": module("A"), "../../evil.ex": module("Evil")})
    archive.add("toy", "1.0-1", {})

    with pytest.raises(CorruptArchiveError, match=r"toy_1\.0\.orig\.tar\.xz: the path '\.\./\.\./evil\.ex' leaves"):
        collect()
    assert not list(tmp_path.rglob("evil.ex"))
    assert not (tmp_path / "corpus").exists()


def test_a_collection_that_was_cut_off_goes_on_where_it_stopped(archive, collect, tmp_path):
    archive.add("toy", "1.0-1", {"lib/toy.ex": module("Toy"), "noise.bin": os.urandom(200_000)})
    archive.cut["toy_1.0.orig.tar.xz"] = 20_000
    with pytest.raises(DataError, match="run the same command again to resume"):
        collect()
    archive.cut.clear()
    archive.requests.clear()

    collect()

    assert paths(tmp_path / "corpus") == ["lib/toy.ex"]
    asked = dict(archive.requests)
    assert int(asked["toy_1.0.orig.tar.xz"].removeprefix("bytes=").rstrip("-")) >= 20_000


def test_a_package_that_does_not_exist_is_an_error_naming_it(archive, collect):
    archive.add("toy", "1.0-1", {"lib/toy.ex": module("Toy")})

    with pytest.raises(DataError, match="no source package tpy in bookworm"):
        collect(["tpy"])


def test_a_named_package_that_the_mirror_does_not_serve_is_an_error(archive, collect):
    archive.add("toy", "1.0-1", {"lib/toy.ex": module("Toy")})
    (archive.root / "pool" / "toy" / "toy_1.0.orig.tar.xz").unlink()

    with pytest.raises(DataError, match=r"nothing was collected from toy .*does not serve toy_1\.0\.orig\.tar\.xz"):
        collect(["toy"])


def test_a_named_suite_that_the_mirror_lacks_is_an_error(archive, collect):
    archive.add("toy", "1.0-1", {"lib/toy.ex": module("Toy")})

    with pytest.raises(DataError, match="no source index of suite trixie"):
        collect(suites=["bookworm", "trixie"])


def test_progress_is_shown_when_asked_for_and_silent_off_a_terminal(archive, collect, capfd):
    archive.add("toy", "1.0-1", {"lib/toy.ex": module("Toy")})

    collect()
    assert capfd.readouterr() == ("", "")
    collect(progress=True)
    assert "download: 100%" in capfd.readouterr().err


def test_a_mix_project_names_itself(tmp_path):
    collect_folder(project(tmp_path / "src"), tmp_path / "corpus")

    found = list(read_shards(tmp_path / "corpus"))
    assert [example.path for example in found] == ["lib/a.ex", "mix.exs"]
    assert {(e.package, e.version, e.licence, e.source) for e in found} == {("toy", "0.3.1", "MIT", "folder")}


def test_what_the_caller_says_comes_before_what_the_project_says(tmp_path):
    source = project(tmp_path / "src", files={"LICENSE": b"Apache License\nVersion 2.0"})

    collect_folder(source, tmp_path / "corpus", package="mine", version="9", licence="LicenseRef-ours")

    assert {(e.package, e.version, e.licence) for e in read_shards(tmp_path / "corpus")} == {
        ("mine", "9", "LicenseRef-ours")
    }


def test_a_folder_of_projects_is_split_by_project(tmp_path):
    for app in ("one", "two", "three"):
        project(tmp_path / "src" / app, app)

    collect_folder(tmp_path / "src", tmp_path / "corpus", validation_packages=["two"], test_packages=["three"])

    packages = {split: {e.package for e in read_shards(tmp_path / "corpus", split)} for split in ("train", "test")}
    assert packages == {"train": {"one"}, "test": {"three"}}


def test_an_umbrella_is_one_package(tmp_path):
    project(tmp_path / "src", "umbrella", {"apps/web/mix.exs": b"[app: :web]" + LONG_AGO.encode()})

    report = collect_folder(tmp_path / "src", tmp_path / "corpus")

    assert [row["package"] for row in report.packages] == ["umbrella"]


def test_build_output_dependencies_and_links_are_not_entered(tmp_path):
    files = {f"{folder}/x.ex": module("X") for folder in ("deps/x/lib", "_build/dev", ".git", "lib/deps")}
    source = project(tmp_path / "src", files=files)
    (source / "lib" / "link.ex").symlink_to("/etc/passwd")
    (source / "loop").symlink_to(source)

    collect_folder(source, tmp_path / "corpus")

    assert paths(tmp_path / "corpus") == ["lib/a.ex", "lib/deps/x.ex", "mix.exs"]


def test_windows_line_ends_and_byte_order_marks_are_normalised(tmp_path):
    source = project(tmp_path / "src", files={"lib/w.ex": b"\xef\xbb\xbfdefmodule W do\r\n  @a 1\r\nend\r\n"})

    collect_folder(source, tmp_path / "corpus")

    codes = {example.path: example.code for example in read_shards(tmp_path / "corpus")}
    assert codes["lib/w.ex"] == "defmodule W do\n  @a 1\nend\n"


def test_a_file_name_that_is_not_utf_8_does_not_break_the_corpus(tmp_path):
    source = project(tmp_path / "src")
    (source / "lib" / os.fsdecode(b"caf\xe9.ex")).write_bytes(module("Coffee"))

    collect_folder(source, tmp_path / "corpus")

    assert "lib/caf\N{REPLACEMENT CHARACTER}.ex" in paths(tmp_path / "corpus")


def test_a_project_in_a_folder_whose_name_is_not_utf_8_does_not_break_the_corpus(tmp_path):
    project(
        tmp_path / "src" / os.fsdecode(b"caf\xe9"), files={"mix.exs": b'[package: [licenses: ["MIT"]]]  # a name\n'}
    )

    report = collect_folder(tmp_path / "src", tmp_path / "corpus")

    assert [row["package"] for row in report.packages] == ["caf\N{REPLACEMENT CHARACTER}"]


def test_a_missing_folder_is_an_error(tmp_path):
    with pytest.raises(InputError, match=r"no folder .*/nowhere"):
        collect_folder(tmp_path / "nowhere", tmp_path / "corpus")


def test_code_without_a_licence_is_an_error_that_says_how_to_name_one(tmp_path):
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "a.ex").write_bytes(module("A"))

    with pytest.raises(DataError, match=r"no file was kept \(dropped: licence 1\); name its licence with --licence"):
        collect_folder(tmp_path / "src", tmp_path / "corpus")


def parse(*words: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(required=True))
    return parser.parse_args(words)


def test_the_folder_command_collects_and_prints_what_it_did(tmp_path, capsys):
    source = project(tmp_path / "src", files={"lib/b.ex": b"# x"})
    args = parse("collect", "folder", str(source), "--out", str(tmp_path / "corpus"))

    assert args.run(args) == 0

    assert capsys.readouterr().out.splitlines() == [
        "train: 2 files, 0.00 MB, 1 shards",
        "validation: 0 files, 0.00 MB, 0 shards",
        "test: 0 files, 0.00 MB, 0 shards",
        "  toy 0.3.1 (train): 2 files, 0.00 MB",
        "dropped: too short 1",
    ]


def test_the_debian_command_takes_the_words_of_its_help():
    words = "collect debian --out d --packages a b --suites sid --validation_packages a --test_packages --with_guides"
    args = parse(*words.split())

    assert (args.out, args.packages, args.suites) == (Path("d"), ["a", "b"], ["sid"])
    assert (args.validation_packages, args.test_packages, args.with_guides) == (["a"], [], True)


@pytest.mark.network
def test_nimble_parsec_comes_from_the_machines_own_mirror(tmp_path):
    report = collect_debian(
        tmp_path / "corpus", ["elixir-nimble-parsec"], ["trixie"], test_packages=[], cache=tmp_path / "cache"
    )

    assert report.splits["train"]["num_examples"] > 10
    assert "lib/nimble_parsec.ex" in paths(tmp_path / "corpus")
    assert {example.licence for example in read_shards(tmp_path / "corpus")} == {"Apache-2.0"}
