import math
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from elixir_coder.training.losses import (
    binary_losses,
    contrastive_losses,
    distillation_losses,
    multi_label_losses,
    positive_weights,
    same_texts,
    token_losses,
)

SHAPES = st.tuples(st.integers(0, 9), st.integers(2, 12), st.integers(1, 6))  # tokens, vocabulary, width


def random(*shape, seed=0, dtype=torch.float64):
    values = torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return values.requires_grad_()


def problem(num_tokens, vocabulary, width, has_bias=True, seed=0, dtype=torch.float64):
    """Hidden states, matrix, bias, labels and coefficients, of which some are 0 and some below."""
    generator = torch.Generator().manual_seed(seed)
    return (
        random(num_tokens, width, seed=seed, dtype=dtype),
        random(vocabulary, width, seed=seed + 1, dtype=dtype),
        random(vocabulary, seed=seed + 2, dtype=dtype) if has_bias else None,
        torch.randint(vocabulary, (num_tokens,), generator=generator),
        torch.randint(-1, 3, (num_tokens,), generator=generator).to(dtype).requires_grad_(),
    )


def plain_token_losses(hidden, weight, bias, labels, coefficients, label_smoothing=0.0):
    """What `token_losses` computes, with all logits at once."""
    logits = F.linear(hidden, weight, bias)
    losses = F.cross_entropy(logits, labels, reduction="none", label_smoothing=label_smoothing)
    return losses @ coefficients, F.cross_entropy(logits, labels, reduction="none")


def plain_distillation_losses(
    hidden, weight, bias, teacher_hidden, teacher_weight, teacher_bias, coefficients, temperature
):
    student = F.log_softmax(F.linear(hidden, weight, bias) / temperature, dim=1)
    teacher = F.log_softmax(F.linear(teacher_hidden, teacher_weight, teacher_bias) / temperature, dim=1)
    losses = temperature**2 * F.kl_div(student, teacher, log_target=True, reduction="none").sum(dim=1)
    return losses @ coefficients, losses


def gradients(total, *tensors):
    return torch.autograd.grad(total, [each for each in tensors if each is not None])


class TestTokenLosses:
    @settings(max_examples=60)
    @given(SHAPES, st.booleans(), st.sampled_from([0.0, 0.1, 1.0]), st.integers(1, 10), st.integers(0, 99))
    def test_values_and_gradients_are_those_of_all_logits_at_once(self, shape, has_bias, smoothing, chunk_size, seed):
        given = problem(*shape, has_bias, seed)
        inputs = (*given[:3], given[4])
        expected, expected_nats = plain_token_losses(*given, smoothing)

        total, nats = token_losses(*given, label_smoothing=smoothing, chunk_size=chunk_size)

        torch.testing.assert_close(total, expected)
        torch.testing.assert_close(nats, expected_nats)
        torch.testing.assert_close(gradients(3 * total, *inputs), gradients(3 * expected, *inputs))

    @pytest.mark.parametrize("has_bias", [True, False])
    @pytest.mark.parametrize("smoothing", [0.0, 0.2])
    def test_gradients_are_those_of_finite_differences(self, smoothing, has_bias):
        *floats, labels, coefficients = problem(5, 7, 3, has_bias)

        def total(hidden, weight, bias, coefficients):
            return token_losses(hidden, weight, bias, labels, coefficients, label_smoothing=smoothing, chunk_size=2)[0]

        assert torch.autograd.gradcheck(total, (*floats, coefficients))

    def test_a_matrix_that_is_also_the_input_table_gets_both_gradients(self):
        _, table, _, labels, coefficients = problem(6, 5, 4)
        tokens = torch.tensor([0, 1, 4, 4, 2, 0])

        def gradient(losses):
            return gradients(losses(torch.tanh(table[tokens]), table, None, labels, coefficients)[0], table)

        torch.testing.assert_close(
            gradient(lambda *given: token_losses(*given, chunk_size=4)), gradient(plain_token_losses)
        )

    def test_two_losses_of_the_same_states_and_a_second_pass_through_the_graph_add_up(self):
        hidden, weight, bias, labels, coefficients = problem(6, 5, 4)
        other_labels = labels.flip(0)

        def both(losses):
            first = losses(hidden, weight, bias, labels, coefficients)[0]
            return first + losses(hidden, weight, bias, other_labels, coefficients)[0].square()

        total, expected = both(token_losses), both(plain_token_losses)
        once = gradients(expected, hidden, weight, bias)
        for _ in range(2):
            total.backward(retain_graph=True)

        for tensor, gradient in zip((hidden, weight, bias), once):
            torch.testing.assert_close(tensor.grad, 2 * gradient)

    def test_only_what_needs_a_gradient_gets_one(self):
        hidden, weight, bias, labels, coefficients = problem(6, 5, 4)
        expected = gradients(plain_token_losses(hidden, weight, bias, labels, coefficients)[0], hidden, bias)
        frozen = weight.detach(), labels, coefficients.detach()

        total, nats = token_losses(hidden, frozen[0], bias, *frozen[1:])

        torch.testing.assert_close(gradients(total, hidden, bias), expected)
        assert not nats.requires_grad

    @pytest.mark.parametrize("losses", ["token", "distillation"])
    def test_nothing_is_kept_for_a_backward_pass_where_gradients_are_off(self, losses):
        hidden, weight, bias, labels, coefficients = problem(6, 5, 4)
        kept = []

        def compute():
            if losses == "token":
                return token_losses(hidden, weight, bias, labels, coefficients)
            teacher = random(6, 2, seed=7), random(5, 2, seed=8), None
            return distillation_losses(hidden, weight, bias, *teacher, coefficients, temperature=2.0)

        expected = compute()
        with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor), lambda tensor: tensor):
            with torch.no_grad():
                total, values = compute()
            assert not kept
            compute()
            assert kept

        assert not total.requires_grad
        torch.testing.assert_close((total, values), tuple(each.detach() for each in expected))

    def test_under_autocast_products_are_rounded_and_losses_are_not(self):
        hidden, weight, bias, labels, coefficients = problem(40, 30, 16, dtype=torch.float32)
        low = [each.detach().bfloat16().float().requires_grad_() for each in (hidden, weight)]
        logits = (low[0].bfloat16() @ low[1].bfloat16().t()).float() + bias
        expected = F.cross_entropy(logits, labels, reduction="none")

        with torch.autocast("cpu", torch.bfloat16):
            total, nats = token_losses(*low, bias, labels, coefficients, chunk_size=16)

        assert total.dtype == nats.dtype == torch.float32
        torch.testing.assert_close(nats, expected)
        inputs = *low, bias
        exact = gradients(plain_token_losses(*inputs, labels, coefficients)[0], *inputs)
        for ours, theirs in zip(gradients(total, *inputs), exact):
            assert ours.dtype == torch.float32
            assert (ours - theirs).norm() < 0.01 * theirs.norm()

    def test_weights_of_a_lower_type_get_gradients_of_it_that_were_added_up_in_float32(self):
        *floats, labels, _ = problem(600, 9, 8, dtype=torch.float32)
        low = [each.detach().bfloat16().requires_grad_() for each in floats]
        exact = [each.detach().float().requires_grad_() for each in low]
        ones = torch.ones(600)

        ours = gradients(token_losses(*low, labels, ones, chunk_size=1)[0], *low)

        theirs = gradients(plain_token_losses(*exact, labels, ones)[0], *exact)
        for gradient, expected in zip(ours, theirs):
            assert gradient.dtype == torch.bfloat16
            assert (gradient - expected).norm() < 0.01 * expected.norm()

    def test_a_vocabulary_of_several_pieces_is_added_up_whole(self, monkeypatch):
        monkeypatch.setattr("elixir_coder.training.losses._ROWS_AT_ONCE", 4)
        hidden, weight, _, labels, coefficients = problem(8, 10, 4, dtype=torch.float32)
        expected = gradients(plain_token_losses(hidden, weight, None, labels, coefficients)[0], weight)

        with torch.autocast("cpu", torch.bfloat16):
            total, _ = token_losses(hidden, weight, None, labels, coefficients, chunk_size=3)

        (ours,) = gradients(total, weight)
        assert (ours - expected[0]).norm() < 0.02 * expected[0].norm()

    def test_a_token_that_is_all_but_impossible_costs_what_it_should(self):
        hidden, weight = torch.tensor([[1.0]], requires_grad=True), torch.tensor([[300.0], [0.0]], requires_grad=True)

        total, nats = token_losses(hidden, weight, None, torch.tensor([1]), torch.ones(1))

        assert nats.tolist() == [300.0]
        assert gradients(total, weight)[0].tolist() == [[1.0], [-1.0]]

    def test_never_more_logits_are_made_than_a_chunk_has(self, monkeypatch):
        made = []
        empty = torch.empty
        monkeypatch.setattr(torch, "empty", lambda *args, **kwargs: made.append(args[0]) or empty(*args, **kwargs))

        token_losses(*problem(50, 31, 3), chunk_size=8)

        assert [shape for shape in made if shape[1] == 31] == [(8, 31)]

    @pytest.mark.gpu
    @pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
    def test_an_accelerator_computes_the_same(self, dtype):
        given = problem(3000, 32000, 64, dtype=torch.float32)
        expected, expected_nats = plain_token_losses(*given, 0.1)
        inputs = *given[:3], given[4]
        there = [each.detach().cuda().requires_grad_(each.is_floating_point()) for each in given]

        with torch.autocast("cuda", torch.bfloat16, enabled=dtype == torch.bfloat16):
            total, nats = token_losses(*there, label_smoothing=0.1)

        far = 1e-4 if dtype == torch.float32 else 0.02
        assert (nats.cpu() - expected_nats).norm() < far * expected_nats.norm()
        ours = gradients(total, *there[:3], there[4])
        for gradient, true in zip(ours, gradients(expected, *inputs)):
            assert (gradient.cpu() - true).norm() < far * true.norm()

    @pytest.mark.filterwarnings("ignore")  # of the compiler's own, a new set every release
    def test_a_compiled_function_may_call_it(self):
        given = problem(6, 5, 4, dtype=torch.float32)

        def loss(hidden, *rest):
            return token_losses(torch.tanh(hidden), *rest)[0] * 2

        total = torch.compile(loss, backend="aot_eager")(*given)

        torch.testing.assert_close(gradients(total, *given[:3]), gradients(loss(*given), *given[:3]))


class TestDistillationLosses:
    @settings(max_examples=40)
    @given(SHAPES, st.booleans(), st.sampled_from([0.5, 1.0, 4.0]), st.integers(1, 10), st.integers(0, 99))
    def test_values_and_gradients_are_those_of_all_logits_at_once(self, shape, has_bias, temperature, chunk_size, seed):
        num_tokens, vocabulary, _ = shape
        hidden, weight, bias, _, coefficients = problem(*shape, has_bias, seed)
        teacher = random(num_tokens, 5, seed=seed + 3), random(vocabulary, 5, seed=seed + 4), bias
        inputs = hidden, weight, None, coefficients
        expected, expected_losses = plain_distillation_losses(*inputs[:3], *teacher, coefficients, temperature)

        total, losses = distillation_losses(
            *inputs[:3], *teacher, coefficients, temperature=temperature, chunk_size=chunk_size
        )

        torch.testing.assert_close(total, expected)
        torch.testing.assert_close(losses, expected_losses)
        torch.testing.assert_close(gradients(3 * total, *inputs), gradients(3 * expected, *inputs))

    def test_gradients_are_those_of_finite_differences_and_none_goes_to_the_teacher(self):
        *student, _, coefficients = problem(5, 7, 3)
        teacher = random(5, 2, seed=5), random(7, 2, seed=6), random(7, seed=7)

        def total(*student):
            return distillation_losses(*student, *teacher, coefficients, temperature=2.0, chunk_size=2)[0]

        assert torch.autograd.gradcheck(total, student)
        total(*student).backward()
        assert all(each.grad is None for each in teacher)

    def test_a_model_does_not_differ_from_itself(self):
        hidden, weight, bias, _, coefficients = problem(6, 50, 4, dtype=torch.float32)
        own = hidden, weight, bias

        total, losses = distillation_losses(*own, *own, coefficients, temperature=3.0, chunk_size=4)

        assert losses.tolist() == [0.0] * 6
        assert all(gradient.abs().max() == 0 for gradient in gradients(total, *own))

    def test_tokens_that_the_teacher_rules_out_leave_finite_losses(self):
        student = torch.tensor([[1.0]], requires_grad=True), torch.tensor([[0.0], [400.0]], requires_grad=True), None
        teacher = torch.tensor([[1.0]]), torch.tensor([[400.0], [0.0]]), None

        total, losses = distillation_losses(*student, *teacher, torch.ones(1), temperature=1.0)

        assert losses.tolist() == [400.0]
        assert gradients(total, student[1])[0].tolist() == [[-1.0], [1.0]]


class TestLabels:
    def test_binary_losses_are_those_of_the_probability(self):
        logits, labels = torch.tensor([0.0, 2.0, -3.0, 200.0]), torch.tensor([1, 0, 0, 0])
        expected = [-math.log(probability) for probability in (0.5, 1 - 0.880797, 1 - 0.047426)]

        losses = binary_losses(logits.bfloat16(), labels)

        assert losses.dtype == torch.float32
        assert losses.tolist() == pytest.approx([*expected, 200.0], rel=1e-4)

    @given(st.integers(0, 5), st.integers(1, 6), st.booleans(), st.integers(0, 99))
    def test_without_focus_they_are_binary_cross_entropy_with_class_weights(self, num_rows, num_labels, weighs, seed):
        generator = torch.Generator().manual_seed(seed)
        logits = random(num_rows, num_labels, seed=seed)
        labels = torch.randint(-1, 2, (num_rows, num_labels), generator=generator)
        weights = torch.rand(num_labels, generator=generator).double() + 0.5 if weighs else None
        plain = F.binary_cross_entropy_with_logits(
            logits, labels.clamp(min=0).double(), pos_weight=weights, reduction="none"
        )
        expected = (plain * (labels >= 0)).sum(dim=1)

        sums, counts = multi_label_losses(logits, torch.where(labels < 0, -100, labels), positive_weights=weights)

        torch.testing.assert_close(sums, expected)
        assert counts.tolist() == (labels >= 0).sum(dim=1).tolist()
        torch.testing.assert_close(gradients(sums.sum(), logits), gradients(expected.sum(), logits))

    @given(
        st.sampled_from([0.0, 0.5, 1.0, 3.0]), st.sampled_from([0.0, 0.5, 4.0]), st.sampled_from([0.0, 0.05]),
        st.integers(0, 99),
    )  # fmt: skip
    def test_with_focus_they_are_the_formula_of_the_paper(self, gamma_positive, gamma_negative, margin, seed):
        logits = random(4, 3, seed=seed)
        labels = torch.randint(2, (4, 3), generator=torch.Generator().manual_seed(seed))
        probability = logits.sigmoid()
        shifted = (probability - margin).clamp(min=0)
        expected = torch.where(
            labels == 1,
            -((1 - probability) ** gamma_positive) * probability.log(),
            -(shifted**gamma_negative) * (1 - shifted).log(),
        ).sum(dim=1)

        sums, _ = multi_label_losses(
            logits, labels, gamma_positive=gamma_positive, gamma_negative=gamma_negative, margin=margin
        )

        torch.testing.assert_close(sums, expected)

    def test_logits_of_any_size_leave_finite_gradients(self):
        for gammas, margin, label in product([(0.5, 0.5), (1.0, 4.0)], [0.0, 0.05], [0, 1]):
            logits = torch.tensor([[-300.0, -20.0, 0.0, 20.0, 300.0]], requires_grad=True)
            settings = {"gamma_positive": gammas[0], "gamma_negative": gammas[1], "margin": margin}

            sums, _ = multi_label_losses(logits, torch.full((1, 5), label), **settings)

            assert torch.isfinite(gradients(sums.sum(), logits)[0]).all(), settings

    def test_positive_weights_make_given_and_not_given_weigh_alike_within_limits(self):
        positives, counts = torch.tensor([25, 1, 0, 99, 0]), torch.tensor([100, 1000, 1000, 100, 0])

        assert positive_weights(positives, counts, most=50.0).tolist() == pytest.approx([3.0, 50.0, 50.0, 1 / 50, 1.0])


class TestContrastiveLosses:
    def test_a_query_of_the_same_direction_as_its_candidate_costs_least(self):
        queries, candidates = torch.tensor([[3.0, 0.0]]), torch.tensor([[0.0, 1.0], [0.5, 0.0], [-1.0, 0.0]])
        temperature = torch.tensor(0.5, requires_grad=True)

        losses = contrastive_losses(queries, candidates, torch.tensor([1]), temperature)

        scores = torch.tensor([0.0, 2.0, -2.0])
        assert losses.tolist() == pytest.approx([float(scores.logsumexp(0) - 2)], rel=1e-5)
        assert torch.isfinite(gradients(losses.sum(), temperature)[0])

    def test_the_same_text_elsewhere_is_no_negative(self):
        queries, candidates = random(2, 4), random(4, 4, seed=1)
        positives = torch.tensor([0, 2])
        excluded = same_texts([(1, 2), (3,), (4,), (1, 2)], positives.tolist())
        kept = contrastive_losses(queries[:1], candidates[:3], positives[:1], torch.tensor(0.1))

        losses = contrastive_losses(queries, candidates, positives, torch.tensor(0.1), excluded=excluded)

        assert excluded.tolist() == [[False, False, False, True], [False] * 4]
        torch.testing.assert_close(losses[:1], kept)
        assert gradients(losses[0], candidates)[0][3].tolist() == [0.0] * 4

    def test_no_queries_cost_nothing(self):
        excluded = same_texts([], [])

        losses = contrastive_losses(
            torch.zeros(0, 4), torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), torch.ones(()), excluded=excluded
        )

        assert losses.shape == (0,)
