import argparse
import json
from dataclasses import asdict, replace
from pathlib import Path

import jsonschema
import pyarrow.parquet as pq
import pytest

from elixir_coder.data.schema import SCHEMA_FILE, add_parser, schema, text
from elixir_coder.data.shards import shards_of, write_shards
from elixir_coder.example import Example, Flow, Label, Triple, Turn
from tests.data.debian_archive import example

RICH = replace(
    example(),
    kind="function",
    labels=(Label(tool="credo", check="Credo.Check.Warning.IoInspect", line=2),),
    flows=(Flow(name="a", start=0, end=1), Flow(name="b", start=4, end=5, sources=(0,))),
    triples=(Triple(subject="A", predicate="defines", object="b/0"),),
    turns=(Turn(role="user", content="Write it."),),
    operations=("map", "filter"),
    difficulty=2,
)


@pytest.fixture(scope="module")
def validator():
    jsonschema.Draft202012Validator.check_schema(schema())
    return jsonschema.Draft202012Validator(json.loads(SCHEMA_FILE.read_text("utf-8")))


def test_the_committed_file_is_the_schema_of_the_dataclass():
    assert SCHEMA_FILE.read_text("utf-8") == text(), (
        "run: elixir-coder data schema > elixir_coder/data/example.schema.json"
    )


def test_rows_of_shards_are_valid(validator, tmp_path: Path):
    write_shards(tmp_path, {"train": [example(), RICH]}, {})

    rows = pq.read_table(shards_of(tmp_path, "train")[0]).to_pylist()

    assert [list(validator.iter_errors(row)) for row in rows] == [[], []]
    assert rows[1] == json.loads(json.dumps(asdict(RICH)))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"code": None}, "None is not of type 'string'"),
        ({"kind": "poem"}, "'poem' is not one of"),
        ({"sha256": "abc"}, "does not match"),
        ({"labels": [{"tool": "credo"}]}, "'check' is a required property"),
        ({"difficulty": 6}, "greater than the maximum"),
        ({"flows": [{"name": "a", "start": 0, "end": 1, "sources": ["b"]}]}, "is not of type 'integer'"),
        ({"mood": "good"}, "Additional properties are not allowed"),
    ],
)
def test_what_is_no_example_is_refused(validator, change, told):
    row = json.loads(json.dumps(asdict(RICH))) | change

    assert told in " ".join(error.message for error in validator.iter_errors(row))


def test_a_row_without_provenance_is_refused(validator):
    row = json.loads(json.dumps(asdict(example())))
    del row["licence"]

    assert [error.message for error in validator.iter_errors(row)] == ["'licence' is a required property"]


def test_every_field_that_has_a_default_has_it_in_the_schema():
    said = {name: each["default"] for name, each in schema()["properties"].items() if "default" in each}

    assert Example(
        **dict.fromkeys(schema()["required"], ""),
        **{name: tuple(value) if isinstance(value, list) else value for name, value in said.items()},
    ) == Example(code="", path="", package="", version="", licence="", sha256="", source="")


def test_the_command_prints_it(capsys):
    parser = argparse.ArgumentParser()
    add_parser(parser.add_subparsers(required=True))
    args = parser.parse_args(["schema"])

    assert args.run(args) == 0
    assert json.loads(capsys.readouterr().out) == schema()
