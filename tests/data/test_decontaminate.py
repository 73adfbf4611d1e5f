import gzip
import json
from collections import Counter

import pytest

from elixir_coder.data.decontaminate import BenchmarkIndex, Decontaminate, decontaminate, read_items
from elixir_coder.data.shards import read_manifest, read_shards, write_shards
from elixir_coder.errors import InputError, RecipeError
from tests.data.debian_archive import example

TASK = """
defmodule Orbit do
  @moduledoc "Says how old somebody is on another planet, where a year lasts shorter or longer than ours."
  @seconds 31_557_600
  def age_on(:mercury, seconds), do: seconds / (@seconds * 0.2408467)
  def age_on(:venus, seconds), do: seconds / (@seconds * 0.61519726)
  def age_on(planet, _seconds), do: raise ArgumentError, "no such planet: #{planet}"
end
"""
OTHER = """
defmodule Inventory do
  def restock(shelf, amount) when amount > 0, do: Map.update(shelf, :count, amount, &(&1 + amount))
  def sell(%{count: count} = shelf) when count > 0, do: %{shelf | count: count - 1}
  def lists, do: [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]
end
"""


@pytest.fixture
def benchmarks(tmp_path):
    folder = tmp_path / "benchmarks"
    folder.mkdir()
    (folder / "orbit.exs").write_text(TASK)
    (folder / "lists.exs").write_text("assert f([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15]) == 120\n" * 3)
    return folder


def test_a_copied_task_is_dropped_and_says_whose_it_was(benchmarks):
    copied = example(f"# my solution\n{OTHER}\n{TASK.replace('31_557_600', '31557600').upper()}")
    dropped = Counter()

    assert Decontaminate([benchmarks])([copied, example(OTHER)], dropped) == [example(OTHER)]
    assert dropped == {"benchmark overlap: orbit.exs": 1}


def test_other_texts_of_an_example_count_too(benchmarks):
    dropped = Counter()

    assert Decontaminate([benchmarks])([example(OTHER, tests=TASK)], dropped) == []


def test_a_quoted_line_is_no_copy(benchmarks):
    index = BenchmarkIndex(read_items([benchmarks]))
    quoted = "def age_on(planet, _seconds), do: raise ArgumentError, no such planet"

    assert index.overlap(OTHER + quoted) is None
    assert index.overlap(TASK).share == 1


def test_what_hundreds_of_items_have_in_common_matches_nothing():
    generated = "Run mix help deps to learn about dependencies and how they are fetched from the registry"
    index = BenchmarkIndex((str(number), f"{generated} task{number} {TASK}") for number in range(30))

    assert len(index) == 30 * 10  # those that hold the number, which no other item has
    assert index.overlap(generated) is None


def test_every_form_of_benchmark_is_read(tmp_path):
    record = {"prompt": "one", "tests": ["two", {"code": "three"}], "id": 4}
    (tmp_path / "a.jsonl").write_text(json.dumps(record) + "\n\n")
    (tmp_path / "b.json").write_text(json.dumps([record]))
    with gzip.open(tmp_path / "c.jsonl.gz", "wt") as file:
        file.write(json.dumps(record))
    write_shards(tmp_path / "d", {"train": [example("four")]}, {})
    (tmp_path / "e.md").write_text("five")
    (tmp_path / "f.png").write_bytes(b"\x89PNG")

    items = dict(read_items([tmp_path]))

    assert (
        items["a.jsonl:0/tests/1/code"]
        == items["b.json/0/tests/1/code"]
        == items["c.jsonl.gz:0/tests/1/code"]
        == "three"
    )
    assert items["d/train-00000-of-00001.parquet:0/code"] == "four"
    assert items["e.md"] == "five"
    assert not any("png" in name for name in items)


def test_a_corpus_is_written_with_what_was_done(tmp_path, benchmarks):
    corpus, out = tmp_path / "corpus", tmp_path / "out"
    write_shards(corpus, {"train": [example(TASK), example(OTHER)]}, {"source": "test"})

    report = decontaminate(corpus, out, [benchmarks], workers=1)

    assert [each.code for each in read_shards(out, "train")] == [OTHER]
    assert report.dropped == {"benchmark overlap: orbit.exs": 1}
    assert read_manifest(out)["steps"][-1]["settings"]["num_items"] == 2


def test_benchmarks_that_cannot_be_used_are_named(tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.jsonl").write_text("{")

    with pytest.raises(InputError, match="no benchmarks at"):
        list(read_items([tmp_path / "nowhere"]))
    with pytest.raises(InputError, match=r"bad\.jsonl cannot be read"):
        list(read_items([tmp_path]))
    with pytest.raises(InputError, match="no text in"):
        decontaminate(tmp_path, tmp_path / "out", [tmp_path / "empty"])
    with pytest.raises(RecipeError, match="--share"):
        decontaminate(tmp_path, tmp_path / "out", [tmp_path], share=0)
