import json
import os

import pytest
import torch
from safetensors.torch import load_file
from transformers import GenerationConfig
from transformers.dynamic_module_utils import get_class_from_dynamic_module

from elixir_coder import cli
from elixir_coder.checkpoint import hub_files, load_model, load_tokenizer, save_model
from elixir_coder.errors import CheckpointError
from elixir_coder.release import weights
from elixir_coder.release.weights import ship
from tests.evaluation.small import small_model, small_tokenizer

MODEL_FILES = {
    *{"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"},
    *{file.name for file in hub_files()},
    "custom_generate",
    *{"modules.json", "sentence_bert_config.json", "config_sentence_transformers.json"},
}
INPUT_IDS = torch.tensor([[300, 301, 302, 2]])


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A checkpoint as a run leaves it."""
    folder = tmp_path_factory.mktemp("run") / "checkpoint-00000020"
    tokenizer = small_tokenizer()
    save_model(folder, small_model(tokenizer), tokenizer, extra=lambda new: (new / "optimizer.pt").write_text("large"))
    return folder


def test_a_new_folder_holds_the_model_and_not_the_optimizer(source, tmp_path):
    written = ship(source, tmp_path / "new" / "model")

    folder = tmp_path / "new" / "model"
    names = {path.name for path in folder.iterdir()}
    assert set(written) == {path for path in folder.rglob("*") if path.is_file()}
    assert names >= MODEL_FILES and "optimizer.pt" not in names


@pytest.mark.parametrize("dtype", weights.DTYPES)
def test_the_weights_have_the_type_asked_for_and_their_values_to_its_rounding(dtype, source, tmp_path):
    ship(source, tmp_path, dtype)

    shipped, before = load_file(tmp_path / "model.safetensors"), load_file(source / "model.safetensors")
    assert shipped.keys() == before.keys()
    assert all(torch.equal(shipped[name], before[name].to(getattr(torch, dtype))) for name in before)
    assert json.loads((tmp_path / "config.json").read_text())["dtype"] == dtype


def test_what_is_shipped_loads_as_a_stranger_would_load_it_and_predicts_the_same(source, tmp_path):
    ship(source, tmp_path, "bfloat16")

    auto_map = json.loads((tmp_path / "config.json").read_text())["auto_map"]
    stranger = get_class_from_dynamic_module(auto_map["AutoModelForSeq2SeqLM"], tmp_path)
    model = stranger.from_pretrained(tmp_path, dtype=torch.float32)
    assert torch.allclose(model(INPUT_IDS).logits, load_model(source)(INPUT_IDS).logits, atol=0.3)
    assert load_tokenizer(tmp_path).get_vocab() == load_tokenizer(source).get_vocab()


def test_generation_starts_ends_and_stops_where_the_tokenizer_says(source, tmp_path):
    ship(source, tmp_path)

    generation = GenerationConfig.from_pretrained(tmp_path)
    assert (generation.decoder_start_token_id, generation.eos_token_id, generation.pad_token_id) == (1, 2, 0)
    assert (generation.max_new_tokens, generation.do_sample, generation.num_beams) == (256, False, 1)


def test_generation_writes_no_special_token_but_the_end(source, tmp_path):
    ship(source, tmp_path)

    special = load_tokenizer(tmp_path).all_special_ids
    assert GenerationConfig.from_pretrained(tmp_path).suppress_tokens == sorted({*special} - {2})


def test_other_files_of_the_folder_stay_as_they_are(source, tmp_path):
    (tmp_path / "docs").mkdir()
    (tmp_path / "README.md").write_text("mine")
    (tmp_path / "config.json").write_text("old")

    ship(source, tmp_path)

    assert (tmp_path / "README.md").read_text() == "mine"
    assert {path.name for path in tmp_path.iterdir()} - MODEL_FILES <= {"docs", "README.md", "pipeline_elixir_coder.py"}
    assert json.loads((tmp_path / "config.json").read_text())["model_type"] == "elixir_coder"


def test_a_folder_can_be_shipped_onto_itself(source, tmp_path):
    ship(source, tmp_path, "float32")
    ship(tmp_path, tmp_path, "bfloat16")

    assert load_file(tmp_path / "model.safetensors")["model.shared.weight"].dtype == torch.bfloat16


def test_a_save_that_fails_changes_nothing(source, tmp_path, monkeypatch):
    (tmp_path / "config.json").write_text("old")

    def full(*args, **values):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("elixir_coder.checkpoint.shutil.copyfile", full)
    for out in (tmp_path, tmp_path / "new"):
        with pytest.raises(CheckpointError, match="No space left on device"):
            ship(source, out)

    assert os.listdir(tmp_path) == ["config.json"]
    assert (tmp_path / "config.json").read_text() == "old"


def test_a_weight_too_large_for_the_type_is_named(source, tmp_path):
    model = load_model(source)
    with torch.no_grad():
        model.model.shared.weight[0, 0] = 1e6  # float16 ends at 65504
    save_model(tmp_path / "large", model, load_tokenizer(source))

    with pytest.raises(CheckpointError, match=r"model\.shared\.weight is not finite in float16; save it with another"):
        ship(tmp_path / "large", tmp_path / "out", "float16")
    assert not (tmp_path / "out").exists()


def test_the_command_names_each_file_with_its_size(source, tmp_path, capsys):
    assert cli.main(["save", str(source), str(tmp_path / "out"), "--dtype", "float32"]) == 0

    lines = capsys.readouterr().out.splitlines()
    size = f"{(tmp_path / 'out' / 'model.safetensors').stat().st_size:,}"
    assert [size, str(tmp_path / "out" / "model.safetensors")] in [line.split() for line in lines]


def test_a_folder_without_a_model_is_one_line_and_exit_code_2(tmp_path, capsys):
    assert cli.main(["save", str(tmp_path / "absent"), str(tmp_path / "out")]) == 2

    assert capsys.readouterr().err.startswith(f"error: no tokenizer at {tmp_path / 'absent'}: ")
    assert not (tmp_path / "out").exists()
