"""Every loss that training adds up: of written tokens, of a teacher's opinion, of labels, of texts that go together.

`token_losses` and `distillation_losses` take the hidden states and the output matrix instead of logits. They go through
the tokens in chunks; the logits of a chunk are computed once, and the gradient of hidden states and output matrix is
worked out on the spot, in the forward pass, since the loss of a token depends on nothing but its own logits. What waits
for the backward pass is as large as the hidden states and the matrix, not as tokens × vocabulary. As in the kernels of
Liger (Hsu et al. 2024, section 3.2, https://arxiv.org/abs/2410.10989) and Cut Cross-Entropy (Wijmans et al. 2025,
https://arxiv.org/abs/2411.09009). `torch.nn.functional.linear_cross_entropy` does so too, but weighs all tokens alike
and smooths no labels; benchmarks/bench_losses.py has it beside ours.

Losses are float32 whatever autocast says, or float64 for float64 input.

Axes: N tokens, V vocabulary, D width; B rows, L labels; K queries, C candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch.autograd.function import once_differentiable

# Entries of the weight gradient made at once where it is not summed up in the type it is computed in.
_ROWS_AT_ONCE = 4096
# Rows of a chunk whose divergence is computed at once, so that what lies between stays in the cache.
_ROWS_IN_CACHE = 32

# Given which tokens and their logits (n, V), which it may overwrite: the loss of each token and what is to be told of
# it, both (n,). Where the last argument says so, it leaves the gradient of each loss in place of its logits.
_Criterion = Callable[[slice, torch.Tensor, bool], tuple[torch.Tensor, torch.Tensor]]


# ------------------------------------------------------------------------------------------------- of written tokens


def token_losses(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    labels: torch.Tensor,
    coefficients: torch.Tensor,
    *,
    label_smoothing: float = 0.0,
    chunk_size: int = 1024,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Cross-entropy of hidden states (N, D) times an output matrix (V, D), plus a bias (V,), against labels (N,).

    labels: int64, all of them tokens (no -100). coefficients: (N,) what the loss of each token is multiplied by.
    label_smoothing: share of the target that goes to all tokens alike (Szegedy et al. 2016, section 7,
    https://arxiv.org/abs/1512.00567), as in `F.cross_entropy`. chunk_size: tokens whose logits exist at one time; under
    autocast in its type besides.

    Returns the sum of coefficients × losses, with gradients to all four float arguments, and (N,) nats of each token,
    detached and without smoothing. The gradients are made now, unless gradients are off, and multiplied by the incoming
    one in the backward pass; that may be repeated, but not differentiated.
    """

    def cross_entropy(tokens: slice, logits: torch.Tensor, wants_gradient: bool) -> tuple[torch.Tensor, torch.Tensor]:
        targets = labels[tokens].unsqueeze(1)
        log_probabilities = torch.log_softmax(logits, dim=1, out=logits)
        nats = -log_probabilities.gather(1, targets).squeeze(1)
        losses = nats
        if label_smoothing:
            losses = (1 - label_smoothing) * nats - label_smoothing * log_probabilities.mean(dim=1)
        if wants_gradient:
            gradient = log_probabilities.exp_()
            if label_smoothing:
                gradient.sub_(label_smoothing / gradient.shape[1])
            gradient.scatter_add_(1, targets, gradient.new_full(targets.shape, label_smoothing - 1))
        return losses, nats

    return _weighted_sum(hidden, weight, bias, coefficients, cross_entropy, chunk_size)


def distillation_losses(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    teacher_hidden: torch.Tensor,
    teacher_weight: torch.Tensor,
    teacher_bias: torch.Tensor | None,
    coefficients: torch.Tensor,
    *,
    temperature: float,
    chunk_size: int = 1024,
) -> tuple[torch.Tensor, torch.Tensor]:
    """KL(teacher || student) × temperature², both softened by the temperature, as `token_losses` does it.

    hidden (N, D), weight (V, D), bias (V,): the student's. teacher_hidden (N, E), teacher_weight (V, E), teacher_bias:
    the teacher's, of any width, to which no gradient goes. chunk_size: tokens for which both have logits at one time.

    Returns the sum of coefficients × losses, and the losses (N,), detached.
    Source: Hinton et al. 2015, section 2, https://arxiv.org/abs/1503.02531
    """
    teacher = _OutputMatrix(teacher_hidden, teacher_weight, teacher_bias, chunk_size)

    def divergence(tokens: slice, logits: torch.Tensor, wants_gradient: bool) -> tuple[torch.Tensor, torch.Tensor]:
        truth = teacher.logits(teacher_hidden[tokens])
        for each in (truth, logits):
            torch.log_softmax(each.div_(temperature), dim=1, out=each)
        pieces = zip(truth.split(_ROWS_IN_CACHE), logits.split(_ROWS_IN_CACHE))
        losses = temperature**2 * torch.cat([(true.exp() * (true - ours)).sum(dim=1) for true, ours in pieces])
        if wants_gradient:
            logits.exp_().sub_(truth.exp_()).mul_(temperature)
        return losses, losses

    return _weighted_sum(hidden, weight, bias, coefficients, divergence, chunk_size)


@torch.compiler.disable  # a loop of matrix products over tensors that are used again: nothing to gain, much to trace
def _weighted_sum(
    hidden: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    coefficients: torch.Tensor,
    criterion: _Criterion,
    chunk_size: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    # Inside `forward` gradients are always off, and `needs_input_grad` tells of the tensors alone.
    return _WeightedSum.apply(hidden, weight, bias, coefficients, criterion, chunk_size, torch.is_grad_enabled())


class _WeightedSum(torch.autograd.Function):
    """Σ coefficient × criterion(logits of the token), whose gradients are made chunk by chunk in the forward pass."""

    @staticmethod
    def forward(
        ctx: Any,
        hidden: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        coefficients: torch.Tensor,
        criterion: _Criterion,
        chunk_size: int,
        is_grad_enabled: bool,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        needs_hidden, needs_weight, needs_bias = (is_grad_enabled and needs for needs in ctx.needs_input_grad[:3])
        output = _OutputMatrix(hidden, weight, bias, chunk_size)
        loss_dtype = output.loss_dtype
        hidden_gradient = torch.empty_like(hidden) if needs_hidden else None
        weight_gradient = torch.zeros_like(weight, dtype=loss_dtype) if needs_weight else None
        bias_gradient = torch.zeros_like(bias, dtype=loss_dtype) if bias is not None and needs_bias else None
        losses, told = (hidden.new_empty(len(hidden), dtype=loss_dtype) for _ in range(2))
        coefficients = coefficients.to(loss_dtype)
        with torch.autocast(hidden.device.type, enabled=False):
            for begin in range(0, len(hidden), chunk_size):
                tokens = slice(begin, begin + chunk_size)
                logits = output.logits(hidden[tokens])
                losses[tokens], told[tokens] = criterion(tokens, logits, needs_hidden or needs_weight or needs_bias)
                # Coefficients multiply what is D wide: the same result, and cheaper than what is V wide.
                scales = coefficients[tokens].unsqueeze(1)
                if bias_gradient is not None:
                    bias_gradient.addmv_(logits.t(), scales.squeeze(1))
                if hidden_gradient is not None or weight_gradient is not None:
                    gradient = output.rounded(logits)
                if hidden_gradient is not None:
                    hidden_gradient[tokens] = (gradient @ output.matrix) * scales
                if weight_gradient is not None:
                    _add_product(weight_gradient, gradient.t(), (hidden[tokens] * scales).to(output.matrix.dtype))
            total = losses @ coefficients
        ctx.save_for_backward(hidden_gradient, weight_gradient, bias_gradient, losses)
        ctx.dtypes = [None if given is None else given.dtype for given in (hidden, weight, bias, coefficients)]
        ctx.mark_non_differentiable(told)
        return total, told

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, incoming: torch.Tensor, _: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        # Not in place: the graph may be gone through again.
        needed = zip(ctx.saved_tensors, ctx.dtypes, ctx.needs_input_grad)
        gradients = [(saved * incoming).to(dtype) if needs else None for saved, dtype, needs in needed]
        return (*gradients, None, None, None)


class _OutputMatrix:
    """What makes logits of hidden states: a matrix in the type that autocast wants, and room for those of a chunk.

    The room is used again for each chunk: asking the system for it anew costs a page fault per 4 KB.
    """

    def __init__(self, hidden: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None, chunk_size: int):
        device, dtype = hidden.device, torch.promote_types(hidden.dtype, weight.dtype)
        if torch.is_autocast_enabled(device.type) and dtype != torch.float64:  # which autocast leaves alone
            dtype = torch.get_autocast_dtype(device.type)
        self.loss_dtype = torch.promote_types(dtype, torch.float32)
        self.matrix = weight.detach().to(dtype)
        self.bias = bias if bias is None else bias.detach().to(self.loss_dtype)
        shape = min(len(hidden), chunk_size), len(weight)
        self.product = torch.empty(shape, dtype=dtype, device=device)
        is_enough = dtype == self.loss_dtype
        self.room = self.product if is_enough else torch.empty(shape, dtype=self.loss_dtype, device=device)

    def logits(self, hidden: torch.Tensor) -> torch.Tensor:
        """Of hidden states (n, D): (n, V), there until the next call."""
        product, room = self.product[: len(hidden)], self.room[: len(hidden)]
        torch.mm(hidden.detach().to(self.matrix.dtype), self.matrix.t(), out=product)
        if room.dtype != product.dtype:
            room.copy_(product)
        return room if self.bias is None else room.add_(self.bias)

    def rounded(self, gradient: torch.Tensor) -> torch.Tensor:
        """The gradient that now stands in place of the logits, in the type of the matrix."""
        return gradient if gradient.dtype == self.matrix.dtype else self.product[: len(gradient)].copy_(gradient)


def _add_product(total: torch.Tensor, left: torch.Tensor, right: torch.Tensor) -> None:
    """total (V, D) += left (V, n) @ right (n, D), without a second matrix as large as the total."""
    if total.dtype == left.dtype:
        total.addmm_(left, right)
        return
    for begin in range(0, len(total), _ROWS_AT_ONCE):
        total[begin : begin + _ROWS_AT_ONCE] += left[begin : begin + _ROWS_AT_ONCE] @ right


# ---------------------------------------------------------------------------------------------------------- of labels


def binary_losses(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of logits (N,) against labels (N,), 1 or 0: (N,)."""
    logits = _widened(logits)
    return F.binary_cross_entropy_with_logits(logits, labels.to(logits.dtype), reduction="none")


def multi_label_losses(
    logits: torch.Tensor,
    labels: torch.Tensor,
    *,
    positive_weights: torch.Tensor | None = None,
    gamma_positive: float = 0.0,
    gamma_negative: float = 0.0,
    margin: float = 0.0,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Of logits (B, L) against labels (B, L), 1 given, 0 not, -100 unknown: the sum over the known entries of each row
    and how many there are, both (B,).

    As it stands binary cross-entropy, whose positive entries are multiplied by positive_weights (L,). With the gammas
    above 0 entries that are right already count less, p the probability of the label: (1 - p)^gamma_positive for a
    given one, p^gamma_negative for one that is not; `margin` is taken off the p of the latter, so that easy ones do not
    count at all. Focusing harder on negatives is for labels that are rarely given.

    Source: asymmetric loss, Ridnik et al. 2021, section 2.3, https://arxiv.org/abs/2009.14119 (4, 1 and 0.05 there for
    gamma_negative, gamma_positive and margin).
    """
    logits = _widened(logits)
    log_given, log_not_given = F.logsigmoid(logits), F.logsigmoid(-logits)
    given = -log_given * (gamma_positive * log_not_given).exp()
    if positive_weights is not None:
        given = given * positive_weights
    if margin == 0:
        not_given = -log_not_given * (gamma_negative * log_given).exp()
    else:
        # Above 0, so that its power has a gradient; there log(1 - p) is 0 and makes the product 0.
        shifted = (logits.sigmoid() - margin).clamp(min=1e-8)
        not_given = -(log_not_given.exp() + margin).clamp(max=1).log() * shifted**gamma_negative
    known = labels >= 0
    losses = torch.where(labels > 0, given, not_given).masked_fill(~known, 0)
    return losses.sum(dim=1), known.sum(dim=1)


def positive_weights(positives: torch.Tensor, counts: torch.Tensor, *, most: float = 20.0) -> torch.Tensor:
    """What a given label must weigh so that given and not given weigh alike in all: negatives / positives, (L,).

    positives, counts: (L,) rows in which each label is given, and in which it is known. A weight is at most `most`, so
    that one mistaken row in a million does not rule the batch, and at least 1 / most; 1 for a label that nobody knows.
    """
    positives, counts = positives.float(), counts.float()
    weights = ((counts - positives) / positives).clamp(1 / most, most)  # never given: infinite, so `most`
    return torch.where(counts > 0, weights, torch.ones_like(weights))


# ------------------------------------------------------------------------------------- of texts that belong together


def contrastive_losses(
    queries: torch.Tensor,
    candidates: torch.Tensor,
    positives: torch.Tensor,
    temperature: torch.Tensor,
    *,
    excluded: torch.Tensor | None = None,
) -> torch.Tensor:
    """How hard it is to find each query's own candidate among all of them, in nats: (K,).

    queries (K, D), candidates (C, D): vectors of any length but 0, compared by their cosine / temperature. positives:
    (K,) which candidate is right; all others are wrong for it, those of other queries and the hard ones of its own
    alike. excluded: (K, C) True where a candidate is neither, see `same_texts`.

    InfoNCE, van den Oord et al. 2018, section 2.3, https://arxiv.org/abs/1807.03748; negatives from the batch and hard
    ones: Karpukhin et al. 2020, section 3.2, https://arxiv.org/abs/2004.04906
    """
    queries, candidates = (F.normalize(_widened(each), dim=1) for each in (queries, candidates))
    with torch.autocast(queries.device.type, enabled=False):
        scores = queries @ candidates.t() / temperature
    if excluded is not None:
        scores = scores.masked_fill(excluded, -torch.inf)
    return F.cross_entropy(scores, positives, reduction="none")


def same_texts(candidates: Sequence[Hashable], positives: Sequence[int]) -> torch.Tensor:
    """(K, C) True where a candidate is not the query's own but the same text: it must not count as wrong.

    candidates: C texts, or tuples of token ids. positives: K indices of them.
    """
    excluded = [[text == candidates[own] for text in candidates] for own in positives]
    result = torch.tensor(excluded, dtype=torch.bool).reshape(len(positives), len(candidates))
    result[torch.arange(len(positives)), torch.as_tensor(positives, dtype=torch.int64)] = False
    return result


def _widened(values: torch.Tensor) -> torch.Tensor:
    """In float32, or in float64 where they are."""
    return values.to(torch.promote_types(values.dtype, torch.float32))
