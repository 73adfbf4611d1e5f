import json

import pytest

from elixir_coder.cli import main
from elixir_coder.data.shards import write_shards
from elixir_coder.data.tokenizer import check, project_of, train
from elixir_coder.errors import CheckpointError, DataError
from elixir_coder.example import Example

CODE = """defmodule Shop.{name} do
  use GenServer

  @spec add(GenServer.server(), integer()) :: :ok | {{:error, atom()}}
  def add(server, number) when number > {number}, do: GenServer.call(server, {{:add_{name}, number}})
end
"""
NAMES = "Cart Order Buyer Parcel Invoice Stock Ledger Route Ticket Seat".split()
SIZE = "1850"


def example(name, path="lib/shop.ex", package="shop"):
    code = CODE.format(name=name, number=len(name))
    return Example.of(code, path=path, package=package, version="1.0", licence="MIT", source="folder")


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    train_split = [example(name, f"lib/{name}.ex", package=name) for name in NAMES]
    write_shards(folder, {"train": train_split, "validation": [example("Other")]}, {"source": "folder"})
    return folder


@pytest.fixture(scope="module")
def trained(corpus, tmp_path_factory):
    out = tmp_path_factory.mktemp("tokenizer") / "new"
    assert main(["tokenizer", "train", "--data", str(corpus), "--vocab_size", SIZE, "--out", str(out)]) == 0
    return out


def test_the_command_writes_a_tokenizer_of_the_wanted_size(trained):
    assert len(json.loads((trained / "tokenizer.json").read_text())["model"]["vocab"]) == int(SIZE)


def test_the_same_corpus_given_twice_changes_nothing(corpus, trained, tmp_path):
    train([corpus, corpus], int(SIZE), tmp_path)

    assert (tmp_path / "tokenizer.json").read_bytes() == (trained / "tokenizer.json").read_bytes()


def test_a_check_reads_every_split_and_passes(corpus, trained, capsys):
    assert main(["tokenizer", "check", "--tokenizer", str(trained), "--data", str(corpus)]) == 0

    report = capsys.readouterr().out
    assert report.startswith("11 files, ")
    assert "changed by encoding and decoding: 0" in report


def test_a_check_names_what_a_broken_tokenizer_does(corpus, trained, tmp_path, capsys):
    state = json.loads((trained / "tokenizer.json").read_text())
    state["model"]["merges"] = []
    state["normalizer"] = {"type": "Lowercase"}
    (tmp_path / "tokenizer.json").write_text(json.dumps(state))

    report = check(tmp_path, [corpus])

    assert len(report["changed"]) == 11
    assert {"defmodule", "|>", ":ok"} <= set(report["cut"])
    assert main(["tokenizer", "check", "--tokenizer", str(tmp_path), "--data", str(corpus)]) == 1
    assert "lib/Cart.ex" in capsys.readouterr().out


def test_growth_keeps_the_old_ids(corpus, trained, tmp_path):
    new = tmp_path / "corpus"
    write_shards(new, {"train": [example("Warehouse", f"{number}.ex") for number in range(9)]}, {})
    arguments = ["--tokenizer", str(trained), "--data", str(new), "--num_new", "7", "--out", str(tmp_path / "grown")]

    assert main(["tokenizer", "grow", *arguments]) == 0

    old, grown = (
        json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
        for folder in (trained, tmp_path / "grown")
    )
    assert old.items() <= grown.items()
    assert len(grown) == len(old) + 7
    assert check(tmp_path / "grown", [corpus, new])["changed"] == []


@pytest.mark.parametrize(
    ("path", "project"),
    [
        ("lib/mix/lib/mix/task.ex", "elixir-lang/mix"),
        ("deps/jose/lib/jose.ex", "elixir-lang/jose"),
        ("apps/web/test/web_test.exs", "elixir-lang/web"),
        ("lib/shop.ex", "elixir-lang"),
        ("README.md", "elixir-lang"),
    ],
)
def test_each_application_of_an_umbrella_is_a_project(path, project):
    assert project_of(example("Cart", path, package="elixir-lang")) == project


def test_a_corpus_that_is_too_small_is_an_error_with_what_it_gives(corpus, tmp_path):
    with pytest.raises(DataError, match=f"cannot train on {corpus}: the text is too small for 32000 entries"):
        train([corpus], 32_000, tmp_path)


def test_a_folder_without_a_tokenizer_is_an_error_with_the_way_out(corpus, tmp_path, capsys):
    with pytest.raises(CheckpointError, match=r"no tokenizer\.json in .*; train one with"):
        check(tmp_path, [corpus])
    assert main(["tokenizer", "grow", "--num_new", "0", "--data", "x", "--out", str(tmp_path)]) == 2
    assert "--num_new must be at least 1, got 0" in capsys.readouterr().err
