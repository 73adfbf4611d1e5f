"""`elixir-coder finetune` from a project on disk to a report, with a small model."""

import argparse
import json
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from elixir_coder.checkpoint import new_model, preset_config, save_model, vocabulary_fields
from elixir_coder.data.shards import read_shards
from elixir_coder.errors import InputError, RecipeError
from elixir_coder.generation.adapters import read_adapter
from elixir_coder.generation.generator import Generator
from elixir_coder.release import finetune as command
from elixir_coder.release.finetune import Measured, Outcome, Settings, change_interval, finetune, measured_files, report
from tests.evaluation.small import example_of, small_tokenizer
from tests.training.small_project import write_project

SETTINGS = {"steps": 30, "batch_tokens": 400, "source_length": 48, "target_length": 48}


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model folder of random weights."""
    folder, tokenizer = tmp_path_factory.mktemp("model") / "model", small_tokenizer()
    torch.manual_seed(0)
    sizes = {"d_model": 32, "encoder_layers": 1, "decoder_layers": 1, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64}
    config = preset_config("tiny", **vocabulary_fields(tokenizer), **sizes, max_position_embeddings=256)
    save_model(folder, new_model(config), tokenizer)
    return folder


@pytest.fixture(scope="module")
def outcome(model, tmp_path_factory):
    """What came of a small project, and what was said meanwhile."""
    command.NUM_HOLES, command.NUM_PROMPTS, before = 4, 3, (command.NUM_HOLES, command.NUM_PROMPTS)
    said = []
    try:
        folder = tmp_path_factory.mktemp("finetune")
        project = write_project(folder / "shop")
        made = finetune(project, folder / "out", Settings(**SETTINGS), model=model, say=said.append)
    finally:
        command.NUM_HOLES, command.NUM_PROMPTS = before
    return SimpleNamespace(made=made, out=folder / "out", said=said)


def test_files_that_were_held_out_are_predicted_better_afterwards(outcome):
    assert outcome.made.change < -0.02
    assert outcome.made.project == "shop 0.3.0"


def test_nothing_of_a_file_that_was_held_out_is_learnt(outcome):
    learnt = list(read_shards(outcome.out / "corpus", "train"))
    held_out = list(read_shards(outcome.out / "corpus", "validation"))
    assert {example.kind for example in held_out} == {"file"}
    assert not {example.path for example in learnt} & {example.path for example in held_out}
    assert any(example.tests for example in learnt)
    assert not {example.tests for example in learnt} & {example.code for example in held_out}


def test_the_adapter_is_a_folder_to_write_with(outcome, model):
    adapter = read_adapter(outcome.out / "adapter")
    assert adapter.rank == 4
    generator = Generator(model, adapters={"shop": outcome.out / "adapter"})
    prompt = "defmodule Shop.Part7 do\n"
    assert generator.generate(prompt, adapter="shop", max_new_tokens=8) != generator.generate(prompt, max_new_tokens=8)


def test_the_report_holds_the_figures(outcome):
    text = (outcome.out / "report.md").read_text()
    figures = json.loads((outcome.out / "results.json").read_text())
    assert text.startswith("# shop 0.3.0: before and after fine-tuning")
    assert f"| {figures['before']['bits_per_byte']:.4f} |" in text
    assert f"| {figures['after']['bits_per_byte']:.4f} ({figures['change']:+.4f}" in text
    assert f"of {figures['before']['infill']['n']} holes filled exactly" in text
    assert f"--adapter {outcome.out / 'adapter'}" in text
    assert figures["facts"]["Training"].startswith("30 steps in ")
    low, high = figures["change_interval"]
    assert low <= figures["change"] <= high


def test_what_happens_is_said(outcome):
    assert any(line.startswith("held out: ") for line in outcome.said)
    assert any(line.startswith("before: ") for line in outcome.said)
    assert any(line.startswith("step 30, 100%") for line in outcome.said)


# ------------------------------------------------------------------------------------------------ refused, before work


def test_a_folder_without_mix_exs_is_refused(tmp_path, model):
    with pytest.raises(InputError, match=r"no mix\.exs in"):
        finetune(tmp_path, tmp_path / "out", model=model)
    assert not (tmp_path / "out").exists()


def test_too_little_code_is_refused(tmp_path, model):
    with pytest.raises(InputError, match="too little to learn"):
        finetune(write_project(tmp_path / "shop", num_modules=2), tmp_path / "out", model=model)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_holds_something_is_not_written_to(tmp_path, model):
    (tmp_path / "precious").touch()
    with pytest.raises(RecipeError, match=r"is not empty; choose another folder"):
        finetune(tmp_path, tmp_path, model=model)


def test_a_folder_that_cannot_be_made_is_refused(tmp_path, model):
    (tmp_path / "file").touch()
    with pytest.raises(RecipeError, match=r"--out .* cannot be made: .*file is not a folder"):
        finetune(tmp_path, tmp_path / "file" / "out", model=model)


@pytest.mark.parametrize(
    "setting", [{"minutes": 0}, {"steps": 0}, {"rank": 0}, {"learning_rate": -1}, {"source_length": 2}, {"seed": -1}]
)
def test_a_setting_out_of_range_is_refused_by_name(setting):
    with pytest.raises(RecipeError, match=f"--{next(iter(setting))} must be"):
        Settings(**setting)


def test_rows_longer_than_the_model_reads_are_refused(tmp_path, model):
    with pytest.raises(RecipeError, match="--source_length must be at most 256, got 512"):
        finetune(tmp_path, tmp_path / "out", Settings(source_length=512), model=model)


# --------------------------------------------------------------------------------------------------------- the figures


def measured(bits):
    score = SimpleNamespace(n=9, exact_match=0.0, exact_match_interval=(0.0, 0.3), edit_similarity=0.2)
    return Measured(np.array(bits), np.full(len(bits), 100), score, None)


@pytest.mark.parametrize(
    ("after", "verdict"),
    [
        ([180.0, 190.0, 170.0], "predicts code of the project that it has not seen better"),
        ([180.0, 190.0, 201.0], "by no more than their choice may change"),
        ([210.0, 190.0, 260.0], "does not help"),
    ],
)
def test_the_verdict_is_as_sure_as_the_figures(after, verdict, tmp_path):
    before = measured([200.0, 200.0, 200.0])
    assert verdict in report(Outcome(tmp_path, "a 1", {}, before, measured(after)))


def test_one_file_has_no_interval():
    assert change_interval(measured([200.0]), measured([180.0])) is None


def test_the_interval_of_a_change_that_all_files_share_is_the_change():
    low, high = change_interval(measured([200.0, 300.0]), measured([180.0, 280.0]))
    assert low == pytest.approx(-0.2)
    assert high == pytest.approx(-0.2)


def test_no_more_than_sixty_kilobytes_are_measured():
    files = [example_of(f"# {number}\n" * 2_000, f"lib/a{number}.ex") for number in range(10)]
    chosen = measured_files(files)
    assert 0 < sum(len(file.code) for file in chosen) <= 60_000
    assert measured_files(files[::-1]) == chosen


def test_the_command_takes_every_setting():
    parser = argparse.ArgumentParser()
    command.add_parser(parser.add_subparsers())
    args = parser.parse_args(["finetune", "shop", "--out", "out", "--steps", "7", "--learning_rate", "1e-3"])
    assert (args.steps, args.learning_rate, args.minutes, args.rank) == (7, 1e-3, 5.0, 4)
