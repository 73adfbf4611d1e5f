import pytest
import torch

from elixir_coder.training.objective import KINDS
from elixir_coder.training.terms import Terms

TASKS = ("complete", "security", "retrieve")
COUNTS = torch.zeros(3, len(KINDS))
COUNTS[0, 0], COUNTS[1, 0], COUNTS[1, 2], COUNTS[2, 6] = 30, 10, 4, 8
SUMS = COUNTS * torch.tensor([[2.0], [3.0], [0.5]])


def total(terms):
    return (terms.coefficients(COUNTS) * SUMS).sum().item()


def test_fixed_weights_count_all_tokens_alike_and_of_the_rest_the_means():
    terms = Terms(TASKS, "fixed", {"security": 0.5, "explain": 7.0})  # what is no task of the run does not matter

    assert total(terms) == pytest.approx((30 * 2 + 0.5 * 10 * 3) / 40 + 0.5 * 3 + 0.5)


def test_learned_weights_begin_with_the_mean_of_each():
    assert total(Terms(TASKS, "uncertainty", {})) == pytest.approx(2 + 3 + 3 + 0.5)
    assert total(Terms(TASKS, "gradnorm", {"complete": 4.0})) == pytest.approx(8 + 3 + 3 + 0.5)


def test_means_are_told_by_name_of_what_is_there():
    absent = COUNTS.clone()
    absent[2] = 0

    assert Terms(TASKS, "fixed", {}).means(SUMS, absent) == {"complete": 2.0, "security": 3.0, "security:security": 3.0}
    assert torch.isfinite(Terms(TASKS, "fixed", {}).coefficients(absent)).all()


def test_one_loss_alone_is_its_mean():
    terms = Terms(TASKS, "fixed", {"security": 0.5})

    alone = {name: (terms.only(name, COUNTS) * SUMS).sum().item() for name in terms.places}
    assert alone == pytest.approx(
        {"complete": 2.0, "security": 3.0, "security:security": 3.0, "retrieve:contrast": 0.5}
    )


def test_what_is_learned_comes_back():
    terms, other = Terms(TASKS, "uncertainty", {}), Terms(TASKS, "uncertainty", {})
    with torch.no_grad():
        terms.weighting.log_variances.copy_(torch.tensor([1.0, -2.0, 0.5, 0.0]))

    other.load_state_dict(terms.state_dict())

    assert other.weights() == terms.weights() != Terms(TASKS, "uncertainty", {}).weights()
