import argparse
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from elixir_coder.data.collect import Plan, add_parser, collect
from elixir_coder.data.hub import HubSource
from elixir_coder.data.shards import read_manifest, read_shards
from elixir_coder.errors import DataError, InputError
from tests.data.debian_archive import module


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


def row(number: int, **fields: object) -> dict[str, object]:
    code = module(f"M{number}").decode()
    given = {"content": code, "path": f"lib/m{number}.ex", "license": "mit", "repo_name": f"owner/r{number % 2}"}
    return given | fields


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "dataset"
    folder.mkdir()
    rows = [row(number) for number in range(6)]
    rows[1]["path"] = "lib/m1.py"
    rows[2]["license"] = "gpl-3.0"
    rows[3]["content"] = "# SPDX-License-Identifier: GPL-2.0-only\n" + module("M3").decode()
    for number in range(2):
        pq.write_table(pa.Table.from_pylist(rows[3 * number : 3 * number + 3]), folder / f"train-{number}.parquet")
    return folder


def collected(source, out, **plan):
    report = collect(source, out, Plan(**plan))
    return report, [example for split in ("train", "validation", "test") for example in _read(out, split)]


def _read(out, split):
    return read_shards(out, split) if list(out.glob(f"{split}-*")) else ()


def test_the_elixir_rows_with_an_allowed_licence_are_kept(dataset, tmp_path):
    report, found = collected(HubSource(str(dataset)), tmp_path / "corpus", test_packages=["owner/r1"])

    assert [(each.path, each.package, each.licence, each.source) for each in found] == [
        ("lib/m0.ex", "owner/r0", "MIT", "hub"),
        ("lib/m4.ex", "owner/r0", "MIT", "hub"),
        ("lib/m5.ex", "owner/r1", "MIT", "hub"),
    ]
    assert report.dropped == {"licence": 2}
    assert [example.path for example in read_shards(tmp_path / "corpus", "test")] == ["lib/m5.ex"]
    rows = read_manifest(tmp_path / "corpus")["packages"]
    assert [(each["package"], each["num_examples"]) for each in rows] == [("owner/r0", 2), ("owner/r1", 1)]


def test_columns_are_named_by_the_map_and_a_language_tells_what_is_elixir(tmp_path):
    (tmp_path / "dataset").mkdir()
    rows = [
        {"text": module("A").decode(), "lang": "Elixir", "licences": ["MIT", "Apache-2.0"], "extra": 1},
        {"text": "print(1)  # not this language at all", "lang": "Python", "licences": ["MIT"], "extra": 1},
        {"text": module("B").decode(), "lang": "elixir", "licences": [], "extra": 1},
    ]
    (tmp_path / "dataset" / "train.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    source = HubSource(
        str(tmp_path / "dataset"), columns={"code": "text", "language": "lang", "licence": "licences"}, revision=None
    )

    report, found = collected(source, tmp_path / "corpus")

    assert [(each.code, each.path, each.package, each.licence) for each in found] == [
        (module("A").decode(), "0.ex", "dataset", "MIT and Apache-2.0")
    ]
    assert report.dropped == {"licence": 1}


def test_any_concurrency_writes_the_same_bytes(dataset, tmp_path):
    for concurrency in (1, 2):
        collected(HubSource(str(dataset)), tmp_path / str(concurrency), concurrency=concurrency)

    one, two = ({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("1", "2"))
    assert one == two


def test_a_column_that_is_not_there_is_an_error_naming_those_that_are(dataset, tmp_path):
    source = HubSource(str(dataset), columns={"code": "text", "path": "path"})

    with pytest.raises(DataError, match=r"no column `text` \(it has: .*path.*\); name it with --map"):
        collect(source, tmp_path / "corpus", Plan())


def test_a_data_set_that_is_not_there_is_an_error_naming_it(tmp_path):
    with pytest.raises(DataError, match=r"data set .*nowhere"):
        collect(HubSource(str(tmp_path / "nowhere")), tmp_path / "corpus", Plan())


def test_a_damaged_file_is_the_fate_of_that_file_only(dataset, tmp_path):
    whole = (dataset / "train-1.parquet").read_bytes()
    (dataset / "train-1.parquet").write_bytes(whole[:50] + bytes(200) + whole[250:])

    report, found = collected(HubSource(str(dataset)), tmp_path / "corpus")

    assert [each.path for each in found] == ["lib/m0.ex"]
    assert report.fates == {"kept": 1, "failed": 1}
    assert "dataset train 2 of 2: cannot be read" in report.warnings[0]


@pytest.mark.parametrize(
    ("columns", "told"),
    [({"path": "p"}, "--map must name"), ({"code": "c"}, "--map must name"), ({"cod": "c"}, "no field cod")],
)
def test_a_map_that_cannot_be_meant_is_refused(columns, told):
    with pytest.raises(InputError, match=told):
        HubSource("a/b", columns=columns)


def test_the_command_takes_the_words_of_its_help(dataset, tmp_path, capsys):
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(required=True))
    words = ["collect", "hub", str(dataset), "--map", "code=content,path=path,licence=license", "--out"]
    args = parser.parse_args([*words, str(tmp_path / "corpus")])

    assert args.run(args) == 0
    assert capsys.readouterr().out.startswith("train: 3 files")
    with pytest.raises(SystemExit):
        parser.parse_args([*words, "x", "--map", "code"])
