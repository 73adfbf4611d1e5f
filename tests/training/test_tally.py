import pytest
import torch

from elixir_coder.checkpoint import preset_config
from elixir_coder.training.batches import Step
from elixir_coder.training.estimate import estimate
from elixir_coder.training.tally import Tally


def step_of(num_tokens, num_places):
    return Step(1, [], torch.zeros(1, 8), num_tokens, num_places, {})


def test_a_record_has_the_means_of_the_steps():
    tally = Tally()
    tally.add(step_of(90, 100), 3.0, {"complete": 2.0}, 1.0)
    tally.add(step_of(110, 150), 1.0, {"complete": 4.0, "quality:quality": 0.5}, 3.0)

    expected = estimate(preset_config("tiny"), batch_tokens=512, source_share=0.5)
    record = tally.record(expected, torch.device("cpu"))
    assert record.pop("tasks") == {"complete": 3.0, "quality:quality": 0.5}
    assert record == pytest.approx({"loss": 2.0, "tokens_per_second": 50.0, "padding": 0.2})


def test_the_share_of_a_known_accelerators_peak_is_told(monkeypatch):
    tally = Tally()
    tally.add(step_of(10**6, 10**6), 3.0, {}, 1.0)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: "NVIDIA H200")
    expected = estimate(preset_config("base"), batch_tokens=512, source_share=0.5)

    mfu = tally.record(expected, torch.device("cuda"))["mfu"]
    assert mfu == pytest.approx(10**6 * expected.flops / 989e12, rel=0.01)
