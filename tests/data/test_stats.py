"""The figures of a corpus, against a corpus small enough to count by hand."""

import argparse
import json
from collections import Counter

import pytest

from elixir_coder.data.shards import write_shards
from elixir_coder.data.stats import percentile, run
from elixir_coder.errors import DataError
from elixir_coder.example import Example, Label

PLACE = {"path": "a.ex", "package": "shop", "version": "1.0", "licence": "MIT", "source": "folder"}
EXAMPLES = [
    Example.of("x = 1\n", **PLACE),
    Example.of(
        "def a, do: 1\n", **PLACE, kind="function", instruction="One.", labels=(Label(tool="credo", check="A"),)
    ),
    Example.of(
        "def b, do: 2\n",
        **PLACE | {"licence": "ISC"},
        kind="violation",
        before="def b, do: IO.inspect(2)\n",
        injected="A",
        before_labels=(
            Label(tool="credo", check="A", line=1),
            Label(tool="credo", check="B"),
            Label(tool="credo", check="A"),
        ),
    ),
]


@pytest.fixture
def corpus(tmp_path):
    write_shards(tmp_path / "corpus", {"train": EXAMPLES, "test": EXAMPLES[:1]}, {})
    return tmp_path / "corpus"


def arguments(corpus, **others):
    return argparse.Namespace(**{"corpus": corpus, "tokenizer": None, "json": None, "plots": None} | others)


def test_everything_is_counted_once(corpus, tmp_path, capsys):
    assert run(arguments(corpus, json=tmp_path / "stats.json")) == 0
    stats = json.loads((tmp_path / "stats.json").read_text())
    assert list(stats) == ["train", "test"]
    train = stats["train"]
    assert (train["num_examples"], train["num_bytes"]) == (3, sum(len(each.code) for each in EXAMPLES))
    assert train["kind"] == {"file": 1, "function": 1, "violation": 1}
    assert train["licence"] == {"MIT": 2, "ISC": 1}
    assert train["labels"] == {"A": {"natural": 1, "injected": 1}, "B": {"natural": 1}}
    assert (train["covered"]["instruction"], train["covered"]["before"], train["covered"]["tests"]) == (1, 1, 0)
    assert train["lines"]["p100"] == 1
    assert 0 < train["tokens"]["p50"] <= train["tokens"]["p100"] and train["num_tokens"] > 6
    out = capsys.readouterr().out
    assert "| examples | 3 | 1 |" in out and "| A | 1 + 1 | 0 + 0 |" in out and "| instruction | 33.3% | 0.0% |" in out


def test_plots_are_drawn_of_what_there_is(corpus, tmp_path):
    run(arguments(corpus, plots=tmp_path / "plots"))
    drawn = {path.name: path.read_bytes() for path in (tmp_path / "plots").iterdir()}
    assert set(drawn) == {"tokens.png", "licences.png", "labels.png", "coverage.png"}
    assert all(data.startswith(b"\x89PNG") for data in drawn.values())


def test_no_corpus_is_said_to_be_none(tmp_path):
    with pytest.raises(DataError, match="no corpus at"):
        run(arguments(tmp_path / "none"))


@pytest.mark.parametrize(("per_cent", "expected"), [(50, 2), (75, 2), (76, 9), (100, 9), (1, 1)])
def test_percentile_is_the_nearest_rank(per_cent, expected):
    assert percentile(Counter([1, 2, 2, 9]), per_cent) == expected
