import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from elixir_coder.data.shards import count_of, read_manifest, read_shards, splits_of, write_shards
from elixir_coder.errors import DataError
from elixir_coder.example import Example, Flow, Label, Triple, Turn
from tests.data.debian_archive import example

text = st.text(st.characters(codec="utf-8"), max_size=60)
words = st.lists(text, max_size=3).map(tuple)
places = st.integers(-1, 2**31 - 1)


def several(make, **fields):
    return st.lists(st.builds(make, **fields), max_size=3).map(tuple)


optional = {
    **dict.fromkeys(("kind", "instruction", "tests", "before", "linearized"), text),
    **dict.fromkeys(("answers", "specs", "guards", "operations"), words),
    **dict.fromkeys(("line", "difficulty"), places),
    "labels": several(Label, tool=text, check=text, line=places),
    "flows": several(Flow, name=text, start=places, end=places, sources=st.lists(places, max_size=3).map(tuple)),
    "triples": several(Triple, subject=text, predicate=text, object=text, start=places, end=places),
    "turns": several(Turn, role=text, content=text),
}
provenance = dict.fromkeys(("path", "package", "version", "licence", "source"), text)
examples = st.fixed_dictionaries({"code": text, **provenance}, optional=optional).map(lambda made: Example.of(**made))


@settings(max_examples=50)
@given(st.lists(examples, min_size=1, max_size=8), st.integers(1, 200))
def test_examples_come_back_as_they_were(tmp_path_factory, written, shard_bytes):
    folder = tmp_path_factory.mktemp("corpus")
    write_shards(folder, {"train": written}, {}, shard_bytes=shard_bytes)

    assert list(read_shards(folder, "train")) == written


def test_a_shard_without_the_optional_columns_reads_with_their_defaults(tmp_path):
    fields = {name: [name] for name in ("code", "path", "package", "version", "licence", "sha256", "source")}
    pq.write_table(pa.table(fields | {"other": [1.5]}), tmp_path / "train-00000-of-00001.parquet")

    assert list(read_shards(tmp_path)) == [Example(**{name: name for name in fields})]


def test_what_other_programs_write_reads_too(tmp_path):
    fields = {name: [name] * 2 for name in ("code", "path", "package", "version", "licence", "sha256", "source")}
    label = pa.struct(
        [("line", pa.int64()), ("check", pa.large_string()), ("tool", pa.string()), ("more", pa.string())]
    )
    labels = pa.array([[{"tool": "credo", "check": "C", "line": 3}], None], pa.large_list(label))
    table = pa.table(fields | {"labels": labels, "line": pa.array([None, 7], pa.int64()), "kind": [None, "module"]})
    pq.write_table(table, tmp_path / "train-00000-of-00001.parquet", write_statistics=False)

    one, two = read_shards(tmp_path)

    assert (one.labels, one.line, one.kind) == ((Label(tool="credo", check="C", line=3),), 0, "file")
    assert (two.labels, two.line, two.kind) == ((), 7, "module")


def test_a_nested_column_of_another_type_is_an_error(tmp_path):
    fields = {name: ["x"] for name in ("code", "path", "package", "version", "licence", "sha256", "source")}
    pq.write_table(pa.table(fields | {"labels": [["credo"]]}), tmp_path / "train-00000-of-00001.parquet")

    with pytest.raises(DataError, match=r"column `labels` is list<element: string>, expected list<.*tool"):
        list(read_shards(tmp_path))


def test_only_the_columns_that_are_asked_for_are_read(tmp_path):
    write_shards(tmp_path, {"train": [example("x = 1", labels=(Label(tool="credo", check="C"),))]}, {})

    (read,) = read_shards(tmp_path, columns=("path", "labels"))

    assert (read.path, read.labels) == ("lib/a.ex", (Label(tool="credo", check="C"),))
    assert (read.code, read.package, read.sha256) == ("", "", "")


@pytest.mark.parametrize("start", range(8))
def test_reading_may_begin_anywhere(tmp_path, start):
    written = [example(f"x = {number}") for number in range(7)]
    write_shards(tmp_path, {"train": written}, {}, shard_bytes=100)

    assert list(read_shards(tmp_path, start=start)) == written[start:]


def test_splits_and_their_sizes_are_told_without_a_manifest(tmp_path):
    write_shards(tmp_path, {"train": [example()] * 5, "a-b": [example()]}, {}, shard_bytes=1)
    (tmp_path / "dataset_info.json").unlink()

    assert splits_of(tmp_path) == ["a-b", "train"]
    assert count_of(tmp_path, "train") == 5


def test_the_datasets_library_would_find_the_splits_by_name(tmp_path):
    one, two = example("defmodule One do\nend\n"), example("defmodule Two do\nend\n")
    counts = write_shards(tmp_path, {"train": [one, two], "test": [one], "validation": []}, {}, shard_bytes=1)

    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "dataset_info.json",
        "test-00000-of-00001.parquet",
        "train-00000-of-00002.parquet",
        "train-00001-of-00002.parquet",
    ]
    assert counts["train"] == {"num_examples": 2, "num_bytes": 42, "num_shards": 2}
    assert read_manifest(tmp_path)["splits"] == counts


def test_two_runs_write_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        write_shards(tmp_path / name, {"train": [example()] * 10}, {"source": "folder"})

    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


def test_a_smaller_corpus_leaves_no_shard_of_the_larger_one(tmp_path):
    many = [example(f"x = {number}") for number in range(5)]
    write_shards(tmp_path, {"train": many, "test": many}, {}, shard_bytes=1)

    write_shards(tmp_path, {"train": many[:1]}, {})

    assert list(read_shards(tmp_path, "train")) == many[:1]
    assert not list(tmp_path.glob("test-*"))


def test_a_run_that_breaks_off_leaves_the_corpus_that_was_there(tmp_path):
    write_shards(tmp_path, {"train": [example()]}, {"run": 1})

    def breaking():
        yield example("other = 1")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shards(tmp_path, {"train": breaking()}, {"run": 2}, shard_bytes=1)

    assert list(read_shards(tmp_path)) == [example()]
    assert read_manifest(tmp_path)["run"] == 1
    assert not list(tmp_path.glob(".*"))


def test_a_missing_folder_is_an_error_that_says_how_to_make_it(tmp_path):
    with pytest.raises(DataError, match=r"no corpus at .*/nowhere; collect one with: elixir-coder data collect debian"):
        list(read_shards(tmp_path / "nowhere", "train"))


def test_a_missing_split_is_an_error_that_lists_those_there_are(tmp_path):
    write_shards(tmp_path, {"train": [example()], "test": [example()]}, {})

    with pytest.raises(DataError, match=r"no shards of split `validation` \(it has: test, train\)"):
        list(read_shards(tmp_path, "validation"))


def test_a_missing_shard_is_an_error_naming_it(tmp_path):
    write_shards(tmp_path, {"train": [example(f"x = {n}") for n in range(3)]}, {}, shard_bytes=1)
    (tmp_path / "train-00001-of-00003.parquet").unlink()

    with pytest.raises(DataError, match=r"shard train-00001-of-00003\.parquet is missing"):
        list(read_shards(tmp_path))


def test_a_missing_column_is_an_error_naming_the_shard_and_its_columns(tmp_path):
    pq.write_table(pa.table({"path": ["a"], "source": ["b"]}), tmp_path / "train-00000-of-00001.parquet")

    with pytest.raises(DataError, match=r"train-00000-of-00001\.parquet: no column `code` \(it has: path, source\)"):
        list(read_shards(tmp_path))


def test_a_column_of_another_type_is_an_error(tmp_path):
    fields = {name: ["x"] for name in ("code", "path", "package", "licence", "sha256", "source")}
    pq.write_table(pa.table(fields | {"version": [1]}), tmp_path / "train-00000-of-00001.parquet")

    with pytest.raises(DataError, match="column `version` is int64, expected string"):
        list(read_shards(tmp_path))


def test_an_empty_cell_is_an_error_naming_the_row(tmp_path):
    fields = {name: ["x", "x"] for name in ("path", "package", "version", "licence", "sha256", "source")}
    pq.write_table(pa.table(fields | {"code": ["x", None]}), tmp_path / "train-00000-of-00001.parquet")

    with pytest.raises(DataError, match=r"train-00000-of-00001\.parquet, row 1: column `code` is empty"):
        list(read_shards(tmp_path))


def test_a_damaged_shard_is_an_error_naming_it(tmp_path):
    write_shards(tmp_path, {"train": [example()]}, {})
    shard = tmp_path / "train-00000-of-00001.parquet"
    shard.write_bytes(shard.read_bytes()[:200])

    with pytest.raises(DataError, match=r"train-00000-of-00001\.parquet: cannot be read as parquet"):
        list(read_shards(tmp_path))


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(DataError, match="cannot write to"):
        write_shards(tmp_path / "file" / "corpus", {"train": [example()]}, {})


def test_a_damaged_manifest_is_an_error_naming_it(tmp_path):
    (tmp_path / "dataset_info.json").write_text(json.dumps({})[:1])

    with pytest.raises(DataError, match=r"dataset_info\.json cannot be read"):
        read_manifest(tmp_path)
