"""LoRA adapters on the small model of conftest.py: what trains, what is saved, and which one computes."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file, save_file

from elixir_coder.checkpoint import new_model, preset_config
from elixir_coder.errors import CheckpointError, RecipeError
from elixir_coder.generation.adapters import WEIGHTS, read_adapter
from elixir_coder.recipe import TrainRecipe, parse
from elixir_coder.training.adapters import adapters_of, add_adapter, load_adapter, save_adapter, use_adapter

by_peft = pytest.mark.filterwarnings(  # peft 0.21 asks transformers 5.23 by the old name
    "ignore:`is_gradient_checkpointing` is deprecated:FutureWarning"
)
SHARES = {"tiny": 1.25, "small": 1.12, "base": 0.66, "full": 0.57}


def batch():
    torch.manual_seed(7)
    return {"input_ids": torch.randint(9, 500, (3, 12)), "labels": torch.randint(9, 500, (3, 8))}


@torch.no_grad()
def logits_of(model):
    return model(**batch()).logits


def trained(model, name, seed=0, steps=3):
    """The model with a new adapter that has learnt a little of one batch."""
    torch.manual_seed(seed)
    optimizer = torch.optim.AdamW(add_adapter(model, name), lr=1e-2)
    for _ in range(steps):
        model(**batch()).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


@pytest.fixture
def copy_of(tiny_model):
    """Makes a fresh model with the weights of `tiny_model`."""

    def copy(kind="generation"):
        torch.manual_seed(1)
        model = new_model(tiny_model.config, kind)
        model.load_state_dict(tiny_model.state_dict(), strict=False)
        return model.eval()

    return copy


@pytest.fixture
def folder(copy_of, tmp_path):
    """A saved adapter of `tiny_model`'s weights."""
    save_adapter(trained(copy_of(), "mine"), "mine", tmp_path / "mine")
    return tmp_path / "mine"


@pytest.mark.parametrize("preset", SHARES)
def test_at_rank_4_about_a_hundredth_of_the_parameters_train(preset):
    with torch.device("meta"):
        model = new_model(preset_config(preset))
    total = model.num_parameters()
    share = 100 * sum(parameter.numel() for parameter in add_adapter(model, "mine")) / total
    assert share == pytest.approx(SHARES[preset], abs=0.005)


def test_a_new_adapter_changes_nothing(tiny_model):
    before = logits_of(tiny_model)
    add_adapter(tiny_model, "mine")
    assert torch.equal(logits_of(tiny_model), before)


def test_only_the_adapter_learns(tiny_model, copy_of):
    model = trained(copy_of(), "mine")
    learnt = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert learnt
    assert all("lora_" in name for name in learnt)
    for name, weight in tiny_model.named_parameters():
        inner, _, last = name.rpartition(".")
        wrapped = f"{inner}.base_layer.{last}"
        names = dict(model.named_parameters())
        assert torch.equal(names.get(wrapped, names.get(name)), weight), name


def test_heads_are_left_alone(copy_of):
    model = copy_of("multitask")
    add_adapter(model, "mine")
    adapted = {name.partition(".lora_A")[0] for name, _ in model.named_parameters() if ".lora_A" in name}
    assert len(adapted) == 2 * (4 + 3) + 2 * (8 + 3)
    assert not any("head" in name for name in adapted)


@by_peft
def test_peft_reads_what_was_saved(folder, copy_of):
    model = copy_of()
    load_adapter(model, "mine", folder)
    assert torch.equal(logits_of(PeftModel.from_pretrained(copy_of(), folder).eval()), logits_of(model))


@by_peft
def test_what_peft_saved_is_read(folder, copy_of, tmp_path):
    PeftModel.from_pretrained(copy_of(), folder).save_pretrained(tmp_path / "by_peft")
    ours, peft = copy_of(), copy_of()
    load_adapter(ours, "mine", folder)
    load_adapter(peft, "mine", tmp_path / "by_peft")
    assert torch.equal(logits_of(peft), logits_of(ours))


def test_a_saved_adapter_goes_on_training(folder, copy_of):
    model = copy_of()
    parameters = load_adapter(model, "mine", folder)
    before = [parameter.clone() for parameter in parameters]
    optimizer = torch.optim.AdamW(parameters, lr=1e-2)
    model(**batch()).loss.backward()
    optimizer.step()
    assert not any(torch.equal(old, new) for old, new in zip(before, parameters))


def test_each_of_two_adapters_computes_as_if_it_were_alone_and_none_as_the_base(tiny_model, copy_of, tmp_path):
    base = logits_of(tiny_model)
    alone = {}
    for seed, name in enumerate(("property", "liveview")):
        save_adapter(trained(copy_of(), name, seed=seed), name, tmp_path / name)
        model = copy_of()
        load_adapter(model, name, tmp_path / name)
        alone[name] = logits_of(model)
    both = copy_of("multitask")
    for name in alone:
        load_adapter(both, name, tmp_path / name)
    assert adapters_of(both) == ["property", "liveview"]
    assert not torch.equal(alone["property"], alone["liveview"])
    for name in ("property", None, "liveview", "liveview", None, "property"):
        use_adapter(both, name)
        assert torch.equal(logits_of(both), base if name is None else alone[name]), name


def test_the_adapter_in_use_is_the_one_that_trains(copy_of):
    model = copy_of()
    add_adapter(model, "first")
    add_adapter(model, "second")
    use_adapter(model, None)
    use_adapter(model, "first")
    learning = [name for name, parameter in model.named_parameters() if parameter.requires_grad]
    assert learning
    assert all(".first." in name for name in learning)


def test_merged_weights_compute_the_same_to_rounding(folder, copy_of):
    unmerged, merged = copy_of(), copy_of()
    load_adapter(unmerged, "mine", folder)
    read_adapter(folder).merge_into(merged)
    assert torch.allclose(logits_of(merged), logits_of(unmerged), rtol=0, atol=1e-5)
    assert (logits_of(merged) - logits_of(copy_of())).abs().max() > 0.01


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / WEIGHTS).unlink(), "does not exist"),
        (lambda folder: (folder / WEIGHTS).write_bytes((folder / WEIGHTS).read_bytes()[:-50]), "truncated or damaged"),
        (lambda folder: (folder / "adapter_config.json").write_text("{"), "not a readable JSON file"),
        (lambda folder: (folder / "adapter_config.json").write_text("[]"), "expected peft's settings"),
        (lambda folder: shutil.rmtree(folder), "no adapter at"),
        (lambda folder: set_config(folder, use_dora=True), "use_dora is True; expected plain LoRA"),
        (lambda folder: set_config(folder, peft_type="IA3"), "peft_type is 'IA3'"),
        (lambda folder: set_config(folder, init_lora_weights="pissa"), "init_lora_weights is 'pissa'"),
        (lambda folder: set_config(folder, r=8), "expected (8, inputs)"),
        (lambda folder: set_config(folder, lora_alpha=None), "lora_alpha None; expected numbers"),
        (lambda folder: set_tensors(folder, lambda all: all.pop(next(k for k in all if "_B" in k))), "no lora_B"),
        (lambda folder: set_tensors(folder, lambda all: all.pop(next(k for k in all if "_A" in k))), "other half"),
        (lambda folder: set_tensors(folder, lambda all: all.update(more=torch.zeros(1))), "more is no part of"),
        (lambda folder: set_tensors(folder, lambda all: next(iter(all.values())).fill_(torch.nan)), "finite number"),
        (lambda folder: set_tensors(folder, lambda all: all.clear()), "adapts nothing"),
    ],
)
def test_a_damaged_adapter_is_refused_by_name(folder, change, message):
    change(folder)
    with pytest.raises(CheckpointError) as error:
        read_adapter(folder)
    assert message in str(error.value)
    assert str(folder) in str(error.value)


def set_config(folder, **values):
    path = folder / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def set_tensors(folder, change):
    tensors = load_file(folder / WEIGHTS)
    change(tensors)
    save_file(tensors, folder / WEIGHTS)


def test_an_adapter_of_other_weights_is_refused(folder, copy_of):
    other = copy_of()
    with torch.no_grad():
        other.model.decoder.layers[1].fc2.weight.mul_(1.01)
    with pytest.raises(CheckpointError, match="trained on other weights; use it with the model it was trained on"):
        load_adapter(other, "mine", folder)
    assert adapters_of(other) == []


def test_the_same_weights_in_half_precision_are_the_same_base(folder, copy_of):
    read_adapter(folder).check_fits(copy_of().bfloat16())


def test_an_adapter_of_another_shape_is_refused(folder, tiny_config):
    tiny_config.decoder_ffn_dim = 48
    with pytest.raises(CheckpointError, match=r"decoder\.layers\.0\.fc1 of the shape \(64, 32\), which is \(48, 32\)"):
        load_adapter(new_model(tiny_config), "mine", folder)
    tiny_config.decoder_layers = 1
    tiny_config.decoder_ffn_dim = 64
    with pytest.raises(CheckpointError, match=r"decoder\.layers\.1\.\S+, which the model has not"):
        load_adapter(new_model(tiny_config), "mine", folder)


def test_saving_replaces_the_whole_folder_or_leaves_it(folder, copy_of):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    model = trained(copy_of(), "other", seed=3)
    with torch.no_grad():
        next(p for name, p in model.named_parameters() if "lora_B" in name).fill_(torch.inf)
    with pytest.raises(CheckpointError, match="not a finite number"):
        save_adapter(model, "other", folder)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before

    (folder / "stray").touch()
    save_adapter(trained(copy_of(), "other", seed=3), "other", folder)
    assert {path.name for path in folder.iterdir()} == set(before)
    assert (folder / WEIGHTS).read_bytes() != before[WEIGHTS]
    assert [path.name for path in folder.parent.iterdir()] == ["mine"]


def test_a_folder_that_cannot_be_written_is_an_error(copy_of, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(CheckpointError, match="cannot write"):
        save_adapter(trained(copy_of(), "mine", steps=1), "mine", tmp_path / "file" / "mine")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"name": "a.b"}, "letters, digits"),
        ({"name": "mine", "rank": 0}, "from 1 to 32"),
        ({"name": "mine", "rank": 33}, "from 1 to 32"),
        ({"name": "mine", "targets": ["fc3"]}, "no layer of the model is called fc3"),
    ],
)
def test_what_cannot_be_put_on_is_refused(tiny_model, settings, message):
    with pytest.raises(RecipeError, match=message):
        add_adapter(tiny_model, **settings)
    assert adapters_of(tiny_model) == []


def test_a_name_is_used_once_and_has_to_be_known(tiny_model):
    add_adapter(tiny_model, "mine")
    with pytest.raises(RecipeError, match="mine already"):
        add_adapter(tiny_model, "mine")
    with pytest.raises(RecipeError, match="no adapter called your; it has: mine"):
        use_adapter(tiny_model, "your")


@pytest.mark.parametrize("kind", ["exunit", "property", "liveview"])
def test_each_kind_of_tests_has_a_recipe(kind):
    recipe = parse(TrainRecipe, [f"@{Path(__file__).parents[2]}/recipes/adapters/{kind}.args"])
    assert (recipe.adapter, recipe.test_type, recipe.adapter_rank) == (kind, kind, 4)
    assert recipe.shares == {"write_tests": 1.0}
