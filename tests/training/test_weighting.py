import copy
import io
import math

import pytest
import torch
from torch import nn

from elixir_coder.errors import CheckpointError, RecipeError
from elixir_coder.training.weighting import Weighting, gradient_norms

SCALES = {"small": 1.0, "large": 100.0}


class TwoTasks:
    """Two noisy regressions on shared features, alike but for the scale of their losses."""

    def __init__(self, weighting, learning_rate=1e-3):
        generator = torch.Generator().manual_seed(0)
        self.weighting = weighting
        self.inputs = torch.randn(64, 4, generator=generator)
        self.shared = nn.Parameter(torch.randn(4, 4, generator=generator) / 2)
        self.own = {name: torch.randn(4, generator=generator) for name in SCALES}
        self.noise = {name: torch.randn(64, generator=generator) for name in SCALES}
        groups = [{"params": [self.shared]}, {"params": list(weighting.parameters()), "lr": 0.05, "betas": (0.9, 0.9)}]
        self.optimizer = torch.optim.Adam(groups, lr=learning_rate)

    def loss(self, name):
        error = torch.tanh(self.inputs @ self.shared) @ self.own[name] - self.inputs.sum(dim=1) - self.noise[name]
        return SCALES[name] * error.square().mean()

    def step(self):
        """One step of the model, then one of the weights, as a training loop takes them."""
        losses = {name: self.loss(name) for name in SCALES}
        means = {name: loss.item() for name, loss in losses.items()}
        coefficients = self.weighting.coefficients(losses)
        total = sum(coefficients[name] * loss for name, loss in losses.items()) + self.weighting.regularizer(means)
        norms = gradient_norms(losses.__getitem__, losses, [self.shared])
        self.optimizer.zero_grad()
        total.backward()
        self.optimizer.step()
        self.weighting.update(norms, means)
        return means, norms


def lengths(tasks, norms):
    """How long the gradient of each task is, as it counts."""
    return {name: float(each) * norms[name] for name, each in tasks.weighting.coefficients(norms).items()}


class TestFixed:
    def test_a_weight_is_found_by_name_then_by_task_and_is_else_one(self):
        weighting = Weighting("fixed", ["a", "b:x", "b:y"], fixed={"b": 0.5, "b:y": 0.3})

        assert {name: float(each) for name, each in weighting.coefficients(["a", "b:x", "b:y"]).items()} == (
            pytest.approx({"a": 1.0, "b:x": 0.5, "b:y": 0.3})
        )
        assert weighting.regularizer({"a": 3.0}).item() == 0
        assert list(weighting.parameters()) == []

    def test_only_the_tasks_of_the_step_have_a_coefficient(self):
        assert set(Weighting("fixed", ["a", "b"]).coefficients(["b"])) == {"b"}

    @pytest.mark.parametrize(
        ("method", "fixed", "words"),
        [
            ("even", {}, "one of fixed, uncertainty, gradnorm; got 'even'"),
            ("fixed", {"c": 1.0}, "'c', which is no loss of this run; there are a, b:x"),
            ("fixed", {"b": -1.0}, "weight of 'b' must be 0 or above, got -1.0"),
        ],
    )
    def test_what_cannot_be_is_an_error_of_the_recipe(self, method, fixed, words):
        with pytest.raises(RecipeError, match=words):
            Weighting(method, ["a", "b:x"], fixed=fixed)


class TestUncertainty:
    def test_the_total_and_its_gradients_are_those_of_the_paper(self):
        weighting = Weighting("uncertainty", ["a", "b"], fixed={"b": 0.5})
        with torch.no_grad():
            weighting.log_variances.copy_(torch.tensor([0.7, -1.1]))
        losses = [torch.tensor(value, requires_grad=True) for value in (3.0, 0.2)]
        variances = weighting.log_variances
        paper = sum(weight * ((-own).exp() * loss + own) for weight, own, loss in zip((1.0, 0.5), variances, losses))
        expected = torch.autograd.grad(paper, [*losses, variances])

        coefficients = weighting.coefficients(["a", "b"])
        weighted = coefficients["a"] * losses[0] + coefficients["b"] * losses[1]
        total = weighted + weighting.regularizer({"a": 3.0, "b": 0.2})

        torch.testing.assert_close(total, paper)
        torch.testing.assert_close(torch.autograd.grad(total, [*losses, variances]), expected)

    def test_log_variances_become_the_logarithm_of_the_losses_of_either_scale(self):
        tasks = TwoTasks(Weighting("uncertainty", list(SCALES)))

        for _ in range(500):
            means, _ = tasks.step()

        learned = dict(zip(SCALES, tasks.weighting.log_variances.tolist()))
        assert means["large"] > 30 * means["small"]
        assert learned == pytest.approx({name: math.log(mean) for name, mean in means.items()}, abs=0.03)

    def test_a_task_that_is_absent_learns_nothing(self):
        weighting = Weighting("uncertainty", ["a", "b"])

        weighting.regularizer({"a": 3.0}).backward()

        assert weighting.log_variances.grad.tolist() == [-2.0, 0.0]


class TestGradNorm:
    def test_gradients_become_equally_long_whatever_the_scale_of_the_losses(self):
        tasks = TwoTasks(Weighting("gradnorm", list(SCALES), alpha=0.0))
        _, norms = tasks.step()
        assert norms["large"] > 30 * norms["small"]

        for _ in range(400):
            _, norms = tasks.step()

        ours = lengths(tasks, norms)
        assert ours["small"] == pytest.approx(ours["large"], rel=0.06)
        assert sum(map(float, tasks.weighting.coefficients(SCALES).values())) == pytest.approx(2)

    def test_with_a_restoring_force_the_task_that_lags_behind_has_the_longer_gradient(self):
        weighting = Weighting("gradnorm", list(SCALES), alpha=1.5, learning_rate=0.01)
        weighting.update({"small": 1.0, "large": 100.0}, {"small": 1.0, "large": 100.0})

        for _ in range(1000):  # half of the one loss is left, all of the other
            weighting.update({"small": 1.0, "large": 100.0}, {"small": 0.5, "large": 100.0})

        small, large = (float(each) for each in weighting.coefficients(SCALES).values())
        mean = (small + 100 * large) / 2
        wanted = mean * (0.5 / 0.75) ** 1.5, mean * (1.0 / 0.75) ** 1.5
        missed = abs(small - wanted[0]) + abs(100 * large - wanted[1])
        assert 100 * large > 2 * small
        assert missed == pytest.approx(sum(wanted) - 2 * mean, abs=0.02 * mean)  # which nothing can be below

    def test_fixed_weights_say_how_much_longer_a_gradient_shall_be(self):
        weighting = Weighting("gradnorm", list(SCALES), fixed={"small": 2.0}, alpha=0.0)

        for _ in range(400):
            weighting.update({"small": 1.0, "large": 100.0}, SCALES)

        small, large = (float(each) for each in weighting.coefficients(SCALES).values())
        assert small / (100 * large) == pytest.approx(2.0, rel=0.06)

    def test_the_tasks_of_a_step_share_out_what_they_had(self):
        weighting = Weighting("gradnorm", ["a", "b", "c"])

        for _ in range(10):
            weighting.update({"a": 1.0, "c": 5.0}, {"a": 1.0, "c": 1.0})

        a, b, c = (float(each) for each in weighting.coefficients("abc").values())
        assert b == 1
        assert a > 1 > c
        assert a + c == pytest.approx(2)

    @pytest.mark.parametrize("bad", [0.0, math.nan, math.inf])
    def test_a_step_without_a_sensible_number_changes_nothing(self, bad):
        weighting = Weighting("gradnorm", list(SCALES))

        weighting.update(dict.fromkeys(SCALES, bad), SCALES)
        weighting.update(SCALES, dict.fromkeys(SCALES, bad))

        assert weighting.first_means.isnan().all()
        assert {float(each) for each in weighting.coefficients(SCALES).values()} == {1.0}


class TestState:
    @pytest.mark.parametrize("method", ["fixed", "uncertainty", "gradnorm"])
    def test_a_resumed_run_goes_on_bit_for_bit(self, method):
        tasks, resumed = (TwoTasks(Weighting(method, list(SCALES))) for _ in range(2))
        for _ in range(5):
            tasks.step()
        file = io.BytesIO()
        torch.save(tasks.weighting.state_dict(), file)
        file.seek(0)

        resumed.weighting.load_state_dict(torch.load(file, weights_only=True))
        resumed.optimizer.load_state_dict(copy.deepcopy(tasks.optimizer.state_dict()))
        resumed.shared.data.copy_(tasks.shared)
        for each in (tasks, resumed):
            for _ in range(5):
                each.step()

        assert torch.equal(resumed.shared, tasks.shared)
        assert resumed.weighting.coefficients(SCALES) == tasks.weighting.coefficients(SCALES)
        saved = tasks.weighting.state_dict()
        assert all(
            torch.equal(value, saved[name])
            for name, value in resumed.weighting.state_dict().items()
            if isinstance(value, torch.Tensor)
        )

    def test_other_tasks_than_the_saved_ones_are_an_error_that_says_so(self):
        saved = Weighting("uncertainty", ["a", "b"]).state_dict()

        with pytest.raises(
            CheckpointError, match=r"weighted a, b by uncertainty, this run weights a, c by uncertainty"
        ):
            Weighting("uncertainty", ["a", "c"]).load_state_dict(saved)


class TestGradientNorms:
    def test_lengths_are_over_all_parameters_and_leave_them_as_they_are(self):
        one, other = nn.Parameter(torch.tensor([3.0])), nn.Parameter(torch.tensor([4.0, 0.0]))
        shared = one * 2
        losses = {"both": (shared.square() / 8).sum() + other.square().sum() / 2, "one": shared.sum(), "none": None}
        losses["none"] = nn.Parameter(torch.ones(())) * 1

        norms = gradient_norms(losses.__getitem__, losses, [one, other])

        assert norms == pytest.approx({"both": 5.0, "one": 2.0, "none": 0.0})
        assert one.grad is None and other.grad is None
