"""Records are followed back to the files they were taken from."""

import pytest

from elixir_coder.data.provenance import COLUMNS, trace, write_index
from elixir_coder.data.shards import write_shards
from elixir_coder.errors import DataError, InputError
from elixir_coder.example import Example

PLACE = {"path": "lib/a.ex", "package": "shop", "version": "1.0", "licence": "MIT", "source": "folder"}
FILE = Example.of("defmodule A do\n  def a, do: 1\nend\n", **PLACE)
FUNCTION = Example.of("def a, do: 1\n", **PLACE, kind="function", name="A.a/0", parent=FILE.sha256)


@pytest.fixture
def corpora(tmp_path):
    write_shards(tmp_path / "files", {"train": [FILE]}, {})
    write_shards(tmp_path / "parts", {"train": [FUNCTION]}, {})
    return [tmp_path / "files", tmp_path / "parts"]


def test_the_index_has_a_row_for_each_record(corpora, tmp_path):
    import pyarrow.parquet as parquet

    out = tmp_path / "index.parquet"
    assert write_index(corpora, out) == 2
    first, second = parquet.read_table(out).to_pylist()
    assert tuple(first) == COLUMNS
    assert first == {name: getattr(FILE, name, "train") for name in COLUMNS}
    assert second["parent"] == first["sha256"]
    assert list(tmp_path.glob("*.part")) == []


def test_a_record_is_followed_to_its_file(corpora):
    assert [row["kind"] for row in trace(corpora, FUNCTION.sha256[:10])] == ["function", "file"]
    assert [row["kind"] for row in trace(corpora[1:], FUNCTION.sha256)] == ["function"]


def test_what_is_not_there_or_names_nothing_is_refused(corpora):
    with pytest.raises(DataError, match="no record 00000000"):
        trace(corpora, "00000000")
    with pytest.raises(InputError, match="no sha256"):
        trace(corpora, "XYZ")
