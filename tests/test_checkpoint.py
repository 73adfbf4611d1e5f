import json
import os
import shutil
import stat
from pathlib import Path

import pytest
import torch
from transformers import AutoTokenizer
from transformers.dynamic_module_utils import get_class_from_dynamic_module
from transformers.utils import logging

from elixir_coder import checkpoint
from elixir_coder.checkpoint import (
    check_vocabulary,
    config_overrides,
    load_config,
    load_model,
    load_tokenizer,
    new_model,
    preset_config,
    save_model,
    vocabulary_fields,
)
from elixir_coder.errors import CheckpointError, RecipeError
from tests.evaluation.small import small_model, small_tokenizer

INPUT_IDS = torch.tensor([[300, 301, 302, 2]])


@pytest.fixture(scope="module")
def tokenizer():
    return small_tokenizer()


@pytest.fixture(scope="module")
def folder(tmp_path_factory, tokenizer):
    folder = tmp_path_factory.mktemp("checkpoints") / "small"
    save_model(folder, small_model(tokenizer), tokenizer)
    return folder


def copy_of(folder, to, **config):
    """A copy of the model folder with some fields of config.json changed."""
    shutil.copytree(folder, to)
    fields = json.loads((folder / "config.json").read_text())
    (to / "config.json").write_text(json.dumps(fields | config))
    return to


# --------------------------------------------------------------------------------------------------------------- saving


def test_a_folder_comes_back_as_the_same_model_and_tokenizer(folder, tokenizer):
    model = load_model(folder, tokenizer=load_tokenizer(folder))

    assert torch.equal(model(INPUT_IDS).logits, small_model(tokenizer)(INPUT_IDS).logits)
    assert load_tokenizer(folder).get_vocab() == tokenizer.get_vocab()


def test_a_folder_is_one_that_the_hub_understands(folder, tokenizer):
    auto_map = json.loads((folder / "config.json").read_text())["auto_map"]
    model = get_class_from_dynamic_module(auto_map["AutoModelForSeq2SeqLM"], folder).from_pretrained(folder)

    assert type(model).__module__.startswith("transformers_modules.")
    assert torch.equal(model(INPUT_IDS).logits, small_model(tokenizer)(INPUT_IDS).logits)
    assert len(AutoTokenizer.from_pretrained(folder)) == len(tokenizer)


def test_every_file_of_a_folder_may_be_read_by_whom_any_new_file_may_be(folder, tmp_path):
    (tmp_path / "new").write_text("")
    usual = stat.S_IMODE((tmp_path / "new").stat().st_mode)

    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.rglob("*") if path.is_file()} == {usual}


def test_how_the_tokenizer_was_loaded_is_not_saved_with_it(folder, tmp_path):
    tokenizer = load_tokenizer(folder)
    save_model(tmp_path / "again", small_model(tokenizer), tokenizer)

    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (tmp_path / "again" / name).read_text() == (folder / name).read_text()


@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), RuntimeError("PytorchStreamWriter failed")])
def test_a_save_that_fails_leaves_what_was_there_and_nothing_half_written(error, folder, tmp_path, tokenizer):
    there = copy_of(folder, tmp_path / "model")
    before = (there / "model.safetensors").read_bytes()

    def fail(building):
        raise error

    with pytest.raises(CheckpointError, match=rf"cannot write {there}: "):
        save_model(there, small_model(tokenizer), tokenizer, extra=fail)

    assert os.listdir(tmp_path) == ["model"]
    assert (there / "model.safetensors").read_bytes() == before


def test_a_folder_of_that_name_is_replaced_as_a_whole(folder, tmp_path, tokenizer):
    there = copy_of(folder, tmp_path / "model")
    (there / "of the old one").write_text("")

    save_model(there, small_model(tokenizer), tokenizer)

    assert os.listdir(tmp_path) == ["model"]
    assert not (there / "of the old one").exists()


# -------------------------------------------------------------------------------------------------------------- loading


def test_loading_shows_no_bars_and_no_reports(folder, capfd):
    load_model(folder)

    assert capfd.readouterr() == ("", "")
    assert logging.is_progress_bar_enabled()


def test_the_kind_that_was_saved_is_loaded_where_none_is_asked_for(folder, tmp_path, tokenizer):
    save_model(tmp_path / "multi", new_model(load_config(folder), "multitask"), tokenizer)

    assert type(load_model(folder, kind=None)).__name__ == "ElixirCoderForConditionalGeneration"
    assert type(load_model(tmp_path / "multi", kind=None)).__name__ == "ElixirCoderForMultiTask"
    with pytest.raises(CheckpointError, match="does not say in `architectures` which model it is"):
        load_model(copy_of(folder, tmp_path / "unnamed", architectures=None), kind=None)


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"model_type": "bart"}, "holds a model of type 'bart', expected 'elixir_coder'; give a folder that train.py"),
        ({"d_model": 64}, r"has the shape \(\d+, 32\) in the weights but \(\d+, 64\) in the configuration"),
        ({"encoder_layers": 2}, r"the weights lack model\.encoder\.layers\.1\.\S+ and \d+ more"),
        ({"norm_type": "batchnorm"}, "norm_type must be one of layernorm, rmsnorm, got 'batchnorm'"),
    ],
)
def test_a_configuration_that_the_weights_do_not_fit_is_refused(config, message, folder, tmp_path):
    with pytest.raises(CheckpointError, match=message):
        load_model(copy_of(folder, tmp_path / "model", **config))


@pytest.mark.parametrize("text", ["[]", "{", "", "\x00"])
def test_a_damaged_configuration_is_refused(text, folder, tmp_path):
    there = copy_of(folder, tmp_path / "model")
    (there / "config.json").write_text(text)

    with pytest.raises(CheckpointError, match=r"config\.json is not a readable JSON file|expected 'elixir_coder'"):
        load_config(there)


@pytest.mark.parametrize("length", [0, 7, 1000])
def test_truncated_weights_are_refused(length, folder, tmp_path):
    there = copy_of(folder, tmp_path / "model")
    with (there / "model.safetensors").open("r+b") as weights:
        weights.truncate(length)

    with pytest.raises(CheckpointError, match=r"model\.safetensors is truncated or damaged"):
        load_model(there)


@pytest.mark.parametrize("content", [b"", b"{", b"{}", b"[]", b"\xff\xfe"])
def test_a_damaged_tokenizer_is_refused(content, folder, tmp_path):
    there = copy_of(folder, tmp_path / "model")
    (there / "tokenizer.json").write_bytes(content)

    with pytest.raises(CheckpointError, match="cannot load"):
        load_tokenizer(there)


def test_an_absent_tokenizer_is_told_with_the_command_that_makes_one(tmp_path):
    with pytest.raises(
        CheckpointError, match=r"tokenizer\.json does not exist; make one with `elixir-coder tokenizer train`"
    ):
        load_tokenizer(tmp_path)


# ----------------------------------------------------------------------------------------------------------- vocabulary


def test_a_model_made_for_a_tokenizer_fits_it(tokenizer):
    check_vocabulary(preset_config("tiny", **vocabulary_fields(tokenizer)), tokenizer, "here")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"vocab_size": 501}, "here: the tokenizer has 500 tokens but the model 501; use the tokenizer that the model"),
        ({"eos_token_id": 5}, "here: eos_token_id is 2 in the tokenizer but 5 in the model; use the tokenizer that"),
    ],
)
def test_a_tokenizer_that_the_model_was_not_trained_with_is_refused(fields, message, tokenizer):
    config = preset_config("tiny", **vocabulary_fields(tokenizer) | fields)

    with pytest.raises(CheckpointError, match=message):
        check_vocabulary(config, tokenizer, "here")


# ------------------------------------------------------------------------------------------------------------ overrides


def test_overrides_are_read_as_the_values_they_look_like():
    words = ("d_model=64", "dropout=0.5", "gated_ffn=False", "norm_type=rmsnorm", "num_key_value_heads=None")

    assert config_overrides(words) == {
        "d_model": 64,
        "dropout": 0.5,
        "gated_ffn": False,
        "norm_type": "rmsnorm",
        "num_key_value_heads": None,
    }


def test_an_unknown_field_names_the_nearest():
    with pytest.raises(
        RecipeError, match=r"no field 'encoder_layer' \(in --config_overrides\); did you mean encoder_layers"
    ):
        config_overrides(["encoder_layer=3"])


@pytest.mark.parametrize("override", ["d_model=abc", "dropout=2", "d_model=33", "activation_function=tan"])
def test_a_value_that_cannot_be_is_refused_with_the_preset(override):
    with pytest.raises(RecipeError, match="--config_overrides does not fit --preset tiny: "):
        preset_config("tiny", **config_overrides([override]))


def test_the_code_of_the_hub_is_the_code_that_is_installed(folder):
    files = {file.name for file in checkpoint.hub_files()}

    assert {"configuration_elixir_coder.py", "modeling_elixir_coder.py", "tokenization_elixir_coder.py"} <= files
    assert all((folder / file.name).read_bytes() == file.read_bytes() for file in checkpoint.hub_files())
    generate = Path("custom_generate", "generate.py")
    assert (folder / generate).read_bytes() == (Path(__file__).parents[1] / generate).read_bytes()
