"""`elixir-coder parameters` prints what `count_parameters` counts."""

import argparse
import re

import pytest

from configuration_elixir_coder import ElixirCoderConfig
from elixir_coder.errors import CheckpointError
from elixir_coder.release import parameters


def output_of(capsys, *arguments):
    parser = argparse.ArgumentParser()
    parameters.add_parser(parser.add_subparsers())
    args = parser.parse_args(["parameters", *arguments])
    assert args.run(args) == 0
    return {re.split(r"  +", line)[0]: line for line in capsys.readouterr().out.splitlines()}


def test_the_table_of_a_preset_adds_up_to_its_size(capsys):
    lines = output_of(capsys, "base")
    assert "24,576,000" in lines["model.shared"]
    assert "42,527,232" in lines["model.encoder.layers.0-5"]
    assert "6 × 7,087,872" in lines["model.encoder.layers.0-5"]
    assert "model.encoder.embed_positions" not in lines  # computed, so nothing to count
    assert "123,816,960  247.6 MB in bf16" in lines["to write (ForConditionalGeneration)"]


def test_a_folder_is_counted_by_its_configuration(capsys, tmp_path):
    ElixirCoderConfig.tiny(vocab_size=100, d_model=8, encoder_layers=1).save_pretrained(tmp_path)
    lines = output_of(capsys, str(tmp_path))
    assert lines["model.shared"].split() == ["model.shared", "800"]
    assert "model.encoder.layers.0" in lines


def test_a_folder_without_a_model_is_an_error(capsys, tmp_path):
    with pytest.raises(CheckpointError, match="no model at"):
        output_of(capsys, str(tmp_path))
