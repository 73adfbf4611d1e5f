import pytest
from hypothesis import given
from hypothesis import strategies as st

from elixir_coder.training.optimization import build_optimizer, learning_rate_at


def rates(schedule, steps=100, warmup_steps=10, min_ratio=0.1, decay_fraction=0.2):
    return [
        learning_rate_at(
            step,
            peak=1.0,
            steps=steps,
            warmup_steps=warmup_steps,
            schedule=schedule,
            min_ratio=min_ratio,
            decay_fraction=decay_fraction,
        )
        for step in range(1, steps + 1)
    ]


@given(st.sampled_from(["cosine", "wsd", "constant"]), st.integers(0, 40))
def test_the_rate_rises_evenly_to_its_peak(schedule, warmup_steps):
    rate = rates(schedule, warmup_steps=warmup_steps)

    assert rate[:warmup_steps] == pytest.approx([step / warmup_steps for step in range(1, warmup_steps + 1)])
    assert max(rate) == pytest.approx(1.0, abs=1e-3)


@given(st.sampled_from(["cosine", "wsd", "constant"]), st.integers(0, 40), st.floats(0, 1))
def test_after_warm_up_the_rate_never_rises(schedule, warmup_steps, min_ratio):
    rate = rates(schedule, warmup_steps=warmup_steps, min_ratio=min_ratio)[max(warmup_steps - 1, 0) :]

    assert rate == sorted(rate, reverse=True)


def test_cosine_passes_the_middle_of_its_range_half_way_and_ends_at_its_least():
    rate = rates("cosine")

    assert rate[54] == pytest.approx(0.55)
    assert rate[-1] == pytest.approx(0.1)


def test_wsd_stays_and_then_falls_on_a_line():
    rate = rates("wsd")

    assert set(rate[9:80]) == {1.0}
    assert rate[80:] == pytest.approx([1 - 0.9 * step / 20 for step in range(1, 21)])


def test_constant_stays_at_the_peak():
    assert set(rates("constant")[9:]) == {1.0}


def test_only_matrices_that_are_no_embeddings_decay(tiny_model):
    optimizer = build_optimizer(tiny_model, learning_rate=1.0, weight_decay=0.1, betas=(0.9, 0.98))

    names = {id(parameter): name for name, parameter in tiny_model.named_parameters()}
    decayed, spared = ([names[id(parameter)] for parameter in group["params"]] for group in optimizer.param_groups)
    assert [group["weight_decay"] for group in optimizer.param_groups] == [0.1, 0.0]
    assert len(decayed) + len(spared) == len(names)
    assert all(name.endswith(("proj.weight", "fc1.weight", "fc_gate.weight", "fc2.weight")) for name in decayed)
    assert {"model.shared.weight", "model.encoder.embed_positions.weight"} <= set(spared)
