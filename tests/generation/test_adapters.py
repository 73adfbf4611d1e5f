"""Adapters of the model of this checkout, put on for one request or another."""

import sys

import pytest
import torch

from elixir_coder.checkpoint import load_model
from elixir_coder.cli import main
from elixir_coder.errors import CheckpointError, InputError
from elixir_coder.generation.adapters import AdaptedModels, read_adapter
from elixir_coder.generation.generator import DEFAULT_MODEL, Generator
from elixir_coder.training.adapters import add_adapter, save_adapter

PROMPT = "defmodule Stack do\n  def"
SETTINGS = {"max_new_tokens": 12}


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Two adapters of random weights, large enough that what is written differs."""
    top = tmp_path_factory.mktemp("adapters")
    for seed, name in enumerate(("property", "liveview")):
        model = load_model(DEFAULT_MODEL)
        torch.manual_seed(seed)
        for parameter in add_adapter(model, name):
            torch.nn.init.normal_(parameter, std=0.12)
        save_adapter(model, name, top / name)
    return {name: top / name for name in ("property", "liveview")}


@pytest.fixture(scope="module")
def generator(folders):
    return Generator(adapters=folders)


@pytest.mark.parametrize("runtime", ["fast", pytest.param("plain", marks=pytest.mark.slow)])
def test_each_request_is_written_as_if_its_adapter_were_alone_and_without_one_as_by_the_base(runtime, folders):
    expected = {None: Generator(runtime=runtime).generate(PROMPT, **SETTINGS)}
    for name, folder in folders.items():
        alone = Generator(runtime=runtime, adapters={name: folder})
        expected[name] = alone.generate(PROMPT, adapter=name, **SETTINGS)
    assert len(set(expected.values())) == 3
    both = Generator(runtime=runtime, adapters=folders)
    for name in ("liveview", None, "property", None, "liveview", "property"):
        assert both.generate(PROMPT, adapter=name, **SETTINGS) == expected[name], name


def test_two_requests_at_the_same_time_keep_their_own_adapters(folders, generator):
    expected = {name: generator.generate(PROMPT, adapter=name, **SETTINGS) for name in folders}
    running = {name: generator.stream(PROMPT, adapter=name, **SETTINGS) for name in folders}
    first = {name: next(pieces) for name, pieces in running.items()}
    assert {name: first[name] + "".join(pieces) for name, pieces in running.items()} == expected


def test_with_the_fast_runtime_a_model_is_what_a_folder_of_the_merged_weights_would_give(folders, tmp_path):
    merged = load_model(DEFAULT_MODEL)
    read_adapter(folders["property"]).merge_into(merged)
    merged.save_pretrained(tmp_path)
    of_folder = load_model(tmp_path, runtime="fast")
    models = AdaptedModels(DEFAULT_MODEL, load_model(DEFAULT_MODEL, runtime="fast"), folders, "fast")
    torch.manual_seed(0)
    inputs = {"input_ids": torch.randint(300, 9000, (1, 20)), "decoder_input_ids": torch.randint(300, 9000, (1, 9))}
    assert models["property"].runtime.dtype == "int8"
    assert torch.equal(models["property"](**inputs).logits, of_folder(**inputs).logits)
    assert models["property"].generation_config.to_dict() == models.base.generation_config.to_dict()


def test_no_more_models_than_wanted_are_kept(folders):
    base = load_model(DEFAULT_MODEL)
    models = AdaptedModels(DEFAULT_MODEL, base, folders, "plain", most=1)
    first = models["property"]
    assert models["property"] is first
    assert models["liveview"] is not first
    assert models["property"] is not first
    assert models[None] is base


def test_writing_needs_no_peft(folders, monkeypatch):
    monkeypatch.setitem(sys.modules, "peft", None)
    generator = Generator(adapters=folders)
    assert generator.generate(PROMPT, adapter="property", **SETTINGS)


def test_an_unknown_adapter_is_refused_with_the_nearest_name(generator):
    with pytest.raises(InputError, match="no such adapter: proprety; did you mean property"):
        generator.generate(PROMPT, adapter="proprety")
    with pytest.raises(InputError, match="no such adapter: x; there is: property, liveview"):
        generator.generate(PROMPT, adapter="x")


def test_a_damaged_adapter_is_refused_before_anything_is_written(folders, tmp_path):
    with pytest.raises(CheckpointError, match=rf"no adapter at {tmp_path}"):
        Generator(adapters={"none": tmp_path})


def test_the_command_writes_with_an_adapter(folders, generator, capsys):
    words = ["generate", PROMPT, "--grammar", "none", "--max_new_tokens", "12"]
    assert main([*words, "--adapter", str(folders["property"])]) == 0
    expected = generator.generate(PROMPT, adapter="property", **SETTINGS)
    assert capsys.readouterr().out == f"{PROMPT}{expected}\n"
    assert main([*words, "--adapter", "nowhere"]) == 2
    assert "no adapter at nowhere" in capsys.readouterr().err
