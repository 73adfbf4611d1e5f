"""Eight-bit weights, by each library that offers them, stay close to the model they were made from.

Closeness is the norm of the difference of all logits over that of the logits. Random weights of width 32 are a hard
case: the errors of the weights average out over 32 products only.
"""

from __future__ import annotations

import pytest
import torch

pytest.importorskip("torchao", reason="needs torchao: pip install 'elixir-coder[quantize]'")
from torchao.quantization import Int8DynamicActivationInt8WeightConfig, Int8Tensor, Int8WeightOnlyConfig, quantize_
from transformers import TorchAoConfig

from tests.ecosystem.small_folder import load, sources, targets


@torch.no_grad()
def logits_of(model):
    return model(**sources(), labels=targets()).logits


def error_of(model, folder):
    plain = logits_of(load(folder))
    return ((logits_of(model) - plain).norm() / plain.norm()).item()


def is_quantized(model):
    """Every matrix of the layers, and none of the norms and positions."""
    layers = [
        module for module in model.modules() if isinstance(module, torch.nn.Linear) and module is not model.lm_head
    ]
    return len(layers) > 0 and all(isinstance(layer.weight, Int8Tensor) for layer in layers)


@pytest.mark.parametrize(
    ("config", "bound"),
    [(Int8WeightOnlyConfig(), 0.05), (Int8DynamicActivationInt8WeightConfig(), 0.08)],
    ids=["weights", "weights and activations"],
)
def test_torchao_makes_linear_layers_eight_bit(config, bound, folder):
    model = load(folder)
    quantize_(model, config)
    assert is_quantized(model)
    assert 0 < error_of(model, folder) < bound
    assert model.generate(**sources(), max_new_tokens=5, min_new_tokens=5).shape == (3, 6)


def test_torchao_leaves_the_input_table_of_a_tied_head_as_it_is(tiny):
    """The head becomes an eight-bit copy, which costs a quarter of the table more."""
    model = load(tiny)
    quantize_(model, Int8WeightOnlyConfig())
    assert isinstance(model.lm_head.weight, Int8Tensor)
    assert torch.equal(model.get_input_embeddings().weight, load(tiny).get_input_embeddings().weight)


def test_from_pretrained_quantizes_with_torchao_and_the_copy_saved_is_small(folder, tmp_path):
    model = load(folder, quantization_config=TorchAoConfig(Int8WeightOnlyConfig()))
    assert is_quantized(model)
    assert model.lm_head.weight is model.get_input_embeddings().weight  # left alone here, and so still tied
    assert 0 < error_of(model, folder) < 0.05
    written = model.generate(**sources(), max_new_tokens=5, min_new_tokens=5)

    model.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert is_quantized(again)
    assert torch.equal(logits_of(again), logits_of(model))
    assert torch.equal(again.generate(**sources(), max_new_tokens=5, min_new_tokens=5), written)
    assert (tmp_path / "model.safetensors").stat().st_size < 0.7 * (folder / "model.safetensors").stat().st_size


def test_eight_bit_encoders_judge_and_search_as_before(folder):
    for auto, outputs in {
        "AutoModelForTextEncoding": lambda model: model.encode(**sources()),
        "AutoModelForSequenceClassification": lambda model: model(**sources()).logits,
    }.items():
        model = load(folder, auto)
        plain = outputs(model)
        quantize_(model, Int8WeightOnlyConfig())
        assert ((outputs(model) - plain).norm() / plain.norm()).item() < 0.05


@pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated:DeprecationWarning")
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor, torch.quantize_per_channel:UserWarning")
def test_torchs_dynamic_quantization_makes_linear_layers_eight_bit(folder):
    model = torch.ao.quantization.quantize_dynamic(load(folder), {torch.nn.Linear}, dtype=torch.qint8)
    assert not any(isinstance(module, torch.nn.Linear) for module in model.modules())
    assert 0 < error_of(model, folder) < 0.15
    assert model.generate(**sources(), max_new_tokens=5, min_new_tokens=5).shape == (3, 6)
