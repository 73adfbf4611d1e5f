"""The estimate against the model itself: weights it has, tensors autograd keeps, and operations that PyTorch counts."""

import peft
import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from configuration_elixir_coder import ElixirCoderConfig
from elixir_coder.checkpoint import new_model
from elixir_coder.training.estimate import Rates, estimate, measure_rates

SHAPES = {
    "tiny": {},
    "small": {"encoder_layers": 1, "decoder_layers": 2},
    "base": {"encoder_layers": 1, "decoder_layers": 1},
    "full": {"encoder_layers": 1, "decoder_layers": 1},
}
SOURCE, TARGET = 96, 64
LENGTHS = {"batch_tokens": SOURCE + TARGET, "source_share": SOURCE / (SOURCE + TARGET)}


def small(preset, **changes):
    return getattr(ElixirCoderConfig, preset)(**{"vocab_size": 256, "dropout": 0.0, **SHAPES[preset], **changes})


def states(model, precision="fp32"):
    ids = torch.arange(SOURCE)[None] % 256
    with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
        outputs = model.model(input_ids=ids, decoder_input_ids=ids[:, :TARGET], use_cache=False)
    return outputs.last_hidden_state


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("preset", SHAPES)
def test_activations_are_what_autograd_keeps(preset, precision):
    config = small(preset)
    model = new_model(config, "multitask").train()
    weights = {weight.untyped_storage().data_ptr() for weight in model.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = tensor  # alive, so that no other gets its address
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        states(model, precision)

    found = sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
    expected = sum(estimate(config, **LENGTHS, precision=precision).activations.values())
    assert expected == pytest.approx(found, rel=0.15)


@pytest.mark.parametrize("preset", SHAPES)
def test_operations_are_those_that_pytorch_counts(preset):
    config = small(preset)
    config._attn_implementation = "eager"  # it does not count those of fused attention
    model = new_model(config, "multitask").train()
    guess = estimate(config, **LENGTHS)

    with FlopCounterMode(display=False) as counter:
        logits = model.lm_head(states(model))
    forward = counter.get_total_flops()
    with FlopCounterMode(display=False) as counter:
        logits.sum().backward()

    assert sum(guess.forward.values()) * guess.num_tokens == pytest.approx(forward, rel=0.02)
    assert sum(guess.backward.values()) * guess.num_tokens == pytest.approx(counter.get_total_flops(), rel=0.1)


def test_weights_gradients_and_moments_are_16_bytes_a_parameter():
    config = small("tiny")
    guess = estimate(config, **LENGTHS)
    count = new_model(config, "multitask").num_parameters()

    assert guess.num_parameters == count
    assert guess.weights + guess.gradients + guess.optimizer_states == 16 * count
    assert estimate(config, **LENGTHS, optimizer="sgd").optimizer_states == 0


@pytest.mark.parametrize(
    ("sharding", "weights", "gradients", "moments"),
    [("none", 1, 1, 1), ("ddp", 1, 1, 1), ("zero2", 1, 4, 4), ("fsdp2", 4, 4, 4)],
)
def test_what_is_shared_out_takes_its_part_in_each_process(sharding, weights, gradients, moments):
    config = small("base")
    alone, one = estimate(config, **LENGTHS), estimate(config, **LENGTHS, num_processes=4, sharding=sharding)

    assert one.weights == alone.weights // weights
    assert one.gradients == alone.gradients // gradients
    assert one.optimizer_states == alone.optimizer_states // moments
    assert (one.exchange > 0) is (sharding != "none")


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing` is deprecated:FutureWarning")  # peft asks for it
def test_adapters_are_trained_alone():
    config = small("base")
    names = ["q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2"]
    adapted = peft.get_peft_model(new_model(config), peft.LoraConfig(r=4, target_modules=names))
    guess = estimate(config, **LENGTHS, adapter_rank=4)

    assert guess.num_trained == adapted.get_nb_trainable_parameters()[0]
    assert guess.gradients == 4 * guess.num_trained
    assert sum(guess.backward.values()) < sum(estimate(config, **LENGTHS).backward.values())


def test_recomputed_activations_take_less_memory_and_more_work():
    config = ElixirCoderConfig.base()
    kept, again = (estimate(config, **LENGTHS, gradient_checkpointing=value) for value in (False, True))

    assert sum(again.activations.values()) < sum(kept.activations.values()) / 3
    assert again.flops == pytest.approx(kept.flops + kept.forward["layers"] + kept.forward["attention"])


def test_texts_that_do_not_see_each_other_share_out_the_attention():
    config = small("tiny")
    one, four = (estimate(config, **LENGTHS, num_texts=count) for count in (1, 4))

    assert four.forward["attention"] == pytest.approx(one.forward["attention"] / 4)
    assert four.activations["attention weights"] == one.activations["attention weights"] // 4
    assert estimate(config, **LENGTHS, attention_in_blocks=True).activations["attention weights"] == 0


def test_logits_take_a_chunk_of_memory_and_no_more():
    config = ElixirCoderConfig.tiny()
    lengths = {"batch_tokens": 20_000, "source_share": 0.5}
    whole, chunk = (estimate(config, **lengths, logits_chunk=size).logits for size in (None, 1024))

    gradients = 4 * (10_000 * 256 + 32_000 * 256)
    assert chunk == 4 * 1024 * 32_000 + gradients
    assert whole == 4 * 4 * 10_000 * 32_000 + gradients


def test_speed_follows_from_the_rates_and_the_processes():
    rates = Rates(layers=2e9, attention=1e9, head=4e9)
    guess = estimate(small("tiny"), **LENGTHS, num_processes=3, sharding="ddp", rates=rates)
    seconds = sum((guess.forward[part] + guess.backward[part]) / getattr(rates, part) for part in guess.forward)

    assert guess.tokens_per_second == pytest.approx(3 / seconds)
    assert estimate(small("tiny"), **LENGTHS).tokens_per_second is None


def test_utilization_is_told_of_devices_whose_peak_is_known():
    guess = estimate(small("tiny"), **LENGTHS, num_processes=2, sharding="ddp")
    half = 0.5 * 2 * 989.5e12 / guess.flops

    assert guess.utilization(half, "NVIDIA H100 80GB HBM3") == pytest.approx(0.5)
    assert guess.utilization(half, "NVIDIA H100 PCIe") > 0.5
    assert guess.utilization(half, "some other card") is None


@pytest.mark.parametrize(("preset", "precision"), [("tiny", "fp32"), ("tiny", "bf16"), ("small", "fp32")])
def test_a_device_can_be_timed(preset, precision):
    rates = measure_rates(small(preset), **LENGTHS, precision=precision, seconds=0)

    assert all(rate > 0 for rate in (rates.layers, rates.attention, rates.head))


def test_the_table_tells_every_part_and_the_sum():
    text = str(estimate(ElixirCoderConfig.base(), **LENGTHS, rates=Rates(1e12, 1e12, 1e12)))

    for part in ("123,", "gradients", "optimizer", "activations: encoder", "logits", "at most", "tokens a second"):
        assert part in text
    assert max(map(len, text.splitlines())) <= 120
