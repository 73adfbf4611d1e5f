"""How a run is spread: files for `accelerate launch`, and what they and PyTorch's savings must not change.

DDP of the whole of train.py is in tests/test_train.py; a step of FSDP2, with gradient checkpointing, of every kind of
model in tests/ecosystem/test_distributed.py; recomputed gradients of every kind of model in tests/test_modeling.py.
"""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.utils import FullyShardedDataParallelPlugin

from elixir_coder.checkpoint import new_model

FOLDER = Path(__file__).parents[1] / "recipes" / "accelerate"
FILES = sorted(FOLDER.glob("*.yaml"))
ROWS = 4


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_accelerate_reads_every_file_and_knows_its_settings(path):
    config = load_config_from_file(str(path))

    assert config.num_processes > 1
    assert str(config.mixed_precision or "no") == "no", "the recipe says it, and the loop does it"
    assert not config.use_cpu, "that starts one process whatever num_processes says"
    known = {f"fsdp_{field.name}" for field in dataclasses.fields(FullyShardedDataParallelPlugin)}
    assert config.fsdp_config.keys() <= known | {"fsdp_version", "fsdp_offload_params"}
    if config.deepspeed_config:
        assert (FOLDER.parents[1] / config.deepspeed_config["deepspeed_config_file"]).is_file()


def test_each_way_of_sharing_has_its_file():
    kinds = {path.stem: str(load_config_from_file(str(path)).distributed_type) for path in FILES}

    assert {name: kind.removeprefix("DistributedType.") for name, kind in kinds.items()} == {
        "cpu2": "MULTI_GPU",  # with ACCELERATE_USE_CPU in front
        "ddp": "MULTI_GPU",
        "deepspeed_zero2": "DEEPSPEED",
        "fsdp2": "FSDP",
    }


def test_deepspeed_is_told_what_it_needs_before_it_sees_a_batch():
    config = json.loads((FOLDER / "deepspeed_zero2.json").read_text())

    assert config["zero_optimization"]["stage"] == 2
    assert config["train_micro_batch_size_per_gpu"] == config["gradient_accumulation_steps"] == 1
    assert config["zero_allow_untested_optimizer"], "AdamW is ours"


# ---------------------------------------------------------------------------------------- what must not change a step


def gradients(model, **changes):
    """Loss and gradients of four rows, in `parts` passes."""
    parts = changes.pop("parts", 1)
    forward = changes.pop("through", model)
    torch.manual_seed(0)
    source, labels = torch.randint(3, 500, (2, ROWS, 24))
    labels[:, 20:] = -100
    total = 0.0
    for rows in torch.arange(ROWS).chunk(parts):
        torch.manual_seed(1)
        loss = forward(input_ids=source[rows], labels=labels[rows], num_items_in_batch=ROWS * 20).loss
        loss.backward()
        total += loss.item()
    return total, {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


def model_of(config, dropout=0.0):
    torch.manual_seed(0)
    config.dropout = dropout
    return new_model(config).train()


def largest_difference(one, other):
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


def test_recomputed_activations_give_the_same_gradients_bit_for_bit_with_dropout(tiny_config):
    kept, again = model_of(tiny_config, dropout=0.1), model_of(tiny_config, dropout=0.1)
    # its name before transformers 5.23 is the second, of which that one warns
    (getattr(again, "activation_checkpointing_enable", None) or again.gradient_checkpointing_enable)()
    calls = []
    for layer in again.model.encoder.layers:
        layer.fc1.register_forward_hook(lambda *_: calls.append(1))

    (loss, first), (same_loss, second) = gradients(kept), gradients(again)

    assert len(calls) == 2 * len(again.model.encoder.layers), "each layer is worked out twice"
    assert loss == same_loss
    assert largest_difference(first, second) == 0


def test_a_batch_in_parts_gives_the_gradients_of_the_whole(tiny_config):
    (loss, whole), (summed, parts) = (gradients(model_of(tiny_config), parts=count) for count in (1, 4))

    assert summed == pytest.approx(loss, rel=1e-6)
    assert largest_difference(whole, parts) < 1e-6


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:`torch.jit:DeprecationWarning")  # torch's own compiler
def test_a_compiled_model_gives_the_gradients_of_the_eager_one(tiny_config):
    eager, other = model_of(tiny_config), model_of(tiny_config)
    loss, first = gradients(eager)
    same_loss, second = gradients(other, through=torch.compile(other, dynamic=True))

    assert same_loss == pytest.approx(loss, rel=1e-5)
    assert largest_difference(first, second) < 1e-5
