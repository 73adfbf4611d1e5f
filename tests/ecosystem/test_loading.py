"""A folder is loaded and saved in every way transformers has, and holds the same model with the same ties each time."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
import transformers
from accelerate import infer_auto_device_map, init_empty_weights, load_checkpoint_and_dispatch
from accelerate.utils import calculate_maximum_sizes
from safetensors import safe_open
from transformers import AutoConfig

from tests.ecosystem.small_folder import AUTO_CLASSES, largest_difference, load, sources, targets, write_folder

CODE = {"configuration_elixir_coder.py", "modeling_elixir_coder.py", "tokenization_elixir_coder.py"}
TIED = {
    "model.shared.weight",
    "model.encoder.embed_tokens.weight",
    "model.decoder.embed_tokens.weight",
    "lm_head.weight",
}


@torch.no_grad()
def logits_of(model):
    return model(**sources(), labels=targets()).logits


def assert_tied(model):
    places = {name: p.data_ptr() for name, p in model.named_parameters(remove_duplicate=False)}
    assert len({places[name] for name in TIED}) == 1


def empty(folder, auto="AutoModelForSeq2SeqLM"):
    config = AutoConfig.from_pretrained(folder, trust_remote_code=True)
    return getattr(transformers, auto).from_config(config, trust_remote_code=True)


# ------------------------------------------------------------------------------------------------------ types, devices


@pytest.mark.parametrize("auto", AUTO_CLASSES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_every_class_loads_in_the_type_asked_for(dtype, auto, tiny):
    halved = load(tiny, auto, dtype=dtype).state_dict()
    assert {tensor.dtype for tensor in halved.values()} == {dtype}
    for name, tensor in load(tiny, auto).state_dict().items():
        assert torch.equal(halved[name], tensor.to(dtype)), name


def test_a_folder_in_bfloat16_is_loaded_as_it_is_or_as_asked(tiny, tmp_path):
    load(tiny, dtype=torch.bfloat16).save_pretrained(tmp_path)
    assert load(tmp_path, dtype="auto").dtype == load(tmp_path).dtype == torch.bfloat16
    assert load(tmp_path, dtype=torch.float32).dtype == torch.float32


@pytest.mark.parametrize("auto", AUTO_CLASSES)
def test_every_class_is_measured_without_memory_for_its_weights(auto, folder):
    """What `accelerate estimate-memory` does."""
    with init_empty_weights():
        model = empty(folder, auto)
    model.tie_weights()
    assert {p.device.type for p in model.parameters()} == {"meta"}
    whole = load(folder, auto)
    assert {n: p.shape for n, p in model.named_parameters()} == {n: p.shape for n, p in whole.named_parameters()}
    assert calculate_maximum_sizes(model)[0] == sum(p.numel() for p in whole.parameters()) * 4


@pytest.mark.parametrize("variant", ["tiny", "bart", "base"])
def test_an_empty_model_is_filled_from_the_folder(variant, tmp_path):
    """Sinusoids are in no file, so an empty model has to hold them already. As for any tied model, ties come first."""
    folder = write_folder(tmp_path, variant)
    with init_empty_weights():
        model = empty(folder)
    model.tie_weights()
    filled = load_checkpoint_and_dispatch(model, str(folder), device_map={"": "cpu"}).eval()
    assert torch.equal(logits_of(filled), logits_of(load(folder)))
    assert_tied(filled)


@pytest.mark.parametrize("settings", [{"device_map": "auto"}, {"device_map": {"": "cpu"}}], ids=str)
@pytest.mark.parametrize("variant", ["tiny", "bart", "base"])
def test_a_device_map_changes_nothing(settings, variant, tmp_path):
    folder = write_folder(tmp_path, variant)
    mapped = load(folder, **settings)
    assert torch.equal(logits_of(mapped), logits_of(load(folder)))
    assert_tied(mapped)


def test_the_meta_device_holds_shapes_only(folder):
    assert {p.device.type for p in load(folder, device_map="meta").parameters()} == {"meta"}


@pytest.mark.filterwarnings(  # accelerate names every place of a shared module, and misses all but the first
    "ignore:The following device_map keys do not match any submodules in the model:UserWarning"
)
def test_layers_may_stay_on_the_disk(folder, tmp_path):
    whole = load(folder)
    device_map = infer_auto_device_map(
        whole, {"cpu": 100_000, "disk": 10**9}, no_split_module_classes=whole._no_split_modules
    )
    assert {"cpu", "disk"} == set(device_map.values())
    split = load(folder, device_map=device_map, offload_folder=str(tmp_path))
    assert torch.equal(logits_of(split), logits_of(whole))
    settings = {"max_new_tokens": 5}
    assert torch.equal(split.generate(**sources(), **settings), whole.generate(**sources(), **settings))


# -------------------------------------------------------------------------------------------------------------- saving


def test_weights_in_many_files_are_the_weights_in_one(folder, tmp_path):
    whole = load(folder)
    whole.save_pretrained(tmp_path, max_shard_size="30KB")
    files = list(tmp_path.glob("*.safetensors"))
    assert len(files) > 2
    again = load(tmp_path)
    assert largest_difference(again.state_dict(), whole.state_dict()) == 0
    assert_tied(again)
    names = [name for path in files for name in names_in(path)]
    assert len(set(names)) == len(names)
    assert TIED & {*names} == {"model.shared.weight"}


def names_in(path):
    with safe_open(path, "pt") as file:
        return list(file.keys())


@pytest.mark.parametrize("auto", AUTO_CLASSES)
def test_a_copy_of_a_copy_has_the_code_and_the_weights(auto, tiny, tmp_path):
    first = load(tiny, auto)
    first.save_pretrained(tmp_path / "second")
    load(tmp_path / "second", auto).save_pretrained(tmp_path / "third")
    third = load(tmp_path / "third", auto)
    assert largest_difference(third.state_dict(), first.state_dict()) == 0
    for copy in ("second", "third"):
        for name in CODE:
            assert (tmp_path / copy / name).read_bytes() == (tiny / name).read_bytes()
        config, original = (json.loads((place / "config.json").read_text()) for place in (tmp_path / copy, tiny))
        assert config["auto_map"] == original["auto_map"]
        assert config["custom_pipelines"] == original["custom_pipelines"]
        assert config["architectures"] == [AUTO_CLASSES[auto]]


@pytest.mark.parametrize("tie", [True, False])
@pytest.mark.parametrize("size", [300, 200])
def test_a_resized_vocabulary_is_saved_with_its_heads_and_ties(size, tie, tmp_path):
    folder = write_folder(tmp_path / "first", tie_word_embeddings=tie, separate_decoder_heads=["explanation"])
    model = load(folder, "AutoModelForPreTraining")
    before = logits_of(model)
    model.resize_token_embeddings(size, mean_resizing=False)
    kept = min(size, before.shape[-1])
    assert torch.allclose(logits_of(model)[..., :kept], before[..., :kept], atol=1e-5)
    model.save_pretrained(tmp_path / "second")
    again = load(tmp_path / "second", "AutoModelForPreTraining")
    assert torch.equal(logits_of(again), logits_of(model))
    assert again.config.vocab_size == size
    assert again.generate(**sources(), decoder_head="explanation", max_new_tokens=3).shape == (3, 4)
    if tie:
        assert_tied(model)
        assert_tied(again)


# ------------------------------------------------------------------------------------------------------ far from here

ALONE = """
import socket, sys

def refuse(*args, **kwargs):
    raise AssertionError(f"the network was asked for {args}")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = socket.create_connection = refuse
import torch
from transformers import AutoModelForSeq2SeqLM, AutoTokenizer, pipeline

torch.set_num_threads(1)
model = AutoModelForSeq2SeqLM.from_pretrained(".", trust_remote_code=True)
tokenizer = AutoTokenizer.from_pretrained(".", trust_remote_code=True)
inputs = tokenizer("<code>x</s>", add_special_tokens=False, return_tensors="pt")
print(model.generate(**inputs, max_new_tokens=6, min_new_tokens=6).tolist())
print(pipeline(model=".", trust_remote_code=True, device="cpu")("def f", max_new_tokens=4)[0].keys())
model.save_pretrained("copy")
print("elixir_coder" in sys.modules or "modeling_elixir_coder" in sys.modules)
"""


def test_a_folder_in_another_place_asks_no_network(tiny, tmp_path):
    """Online as far as transformers knows, but with every socket closed, and nothing of this checkout on the path."""
    folder = shutil.copytree(tiny, tmp_path / "any name")
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "HF_HUB_OFFLINE")}
    environment |= {"HF_MODULES_CACHE": str(tmp_path / "modules"), "HF_HOME": str(tmp_path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", ALONE],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    ids, keys, has_ours = done.stdout.splitlines()
    inputs = torch.tensor([[4, *transformers.AutoTokenizer.from_pretrained(tiny)("x").input_ids, 2]])
    assert json.loads(ids) == load(tiny).generate(inputs, max_new_tokens=6, min_new_tokens=6).tolist()
    assert (keys, has_ours) == ("dict_keys(['generated_text'])", "False")
    assert {path.name for path in (folder / "copy").iterdir()} >= CODE
