"""What each task's loss is multiplied by: a fixed number, its uncertainty, or what evens out the gradients.

    weighting = Weighting("uncertainty", ["generate", "quality"])
    coefficients = weighting.coefficients(present)                  # of the mean losses of the tasks of this step
    (total_of(coefficients) + weighting.regularizer(means)).backward()
    weighting.update(norms, means)                                  # "gradnorm", every so many steps

What is learned is part of `state_dict`, so that a resumed run goes on with it. Means are plain numbers, those of the
whole step over all processes: then every process learns the same without being told.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from elixir_coder.errors import CheckpointError, RecipeError

METHODS = ("fixed", "uncertainty", "gradnorm")


class Weighting(nn.Module):
    """A coefficient for the mean loss of each of `names`, which are "task" or "task:head".

    method: one of METHODS.
      "fixed": what `fixed` says, by name or by the task before the colon, else 1.
      "uncertainty": exp(-s) with a log-variance s learned for each, which ends where exp(s) is the size of the loss
        (Kendall et al. 2018, section 3.2, https://arxiv.org/abs/1705.07115).
      "gradnorm": weights, 1 on average, under which the tasks' gradients are as long as each other, and longer for
        those that have learned less of what there was (Chen et al. 2018, section 3, https://arxiv.org/abs/1711.02257).
    fixed: what is learned is multiplied by it, so that a task of 2 counts twice as much as one of 1.
    alpha: GradNorm's restoring force, 0 for gradients of one length. learning_rate: of GradNorm's weights; the
    log-variances are parameters for the model's optimizer.

    Raises RecipeError for an unknown method, and for a fixed weight of what is not among the names.
    """

    def __init__(
        self,
        method: str,
        names: Sequence[str],
        *,
        fixed: Mapping[str, float] | None = None,
        alpha: float = 1.5,
        learning_rate: float = 0.025,
    ):
        super().__init__()
        fixed = dict(fixed or {})
        if method not in METHODS:
            raise RecipeError(f"losses are weighted by one of {', '.join(METHODS)}; got {method!r}")
        known = {*names, *(_task_of(name) for name in names)}
        for name, value in fixed.items():
            if name not in known:
                raise RecipeError(f"a weight for {name!r}, which is no loss of this run; there are {', '.join(names)}")
            if not (math.isfinite(value) and value >= 0):
                raise RecipeError(f"the weight of {name!r} must be 0 or above, got {value}")
        self.method, self.names, self.alpha, self.learning_rate = method, tuple(names), alpha, learning_rate
        self.fixed = {name: float(fixed.get(name, fixed.get(_task_of(name), 1.0))) for name in names}
        if method == "uncertainty":
            self.log_variances = nn.Parameter(torch.zeros(len(names)))
        elif method == "gradnorm":
            self.register_buffer("log_weights", torch.zeros(len(names), dtype=torch.float64))
            self.register_buffer("first_means", torch.full((len(names),), torch.nan, dtype=torch.float64))

    def coefficients(self, present: Iterable[str]) -> dict[str, torch.Tensor]:
        """What multiplies the mean loss of each task of this step: float32 scalars without a gradient."""
        return {name: (self.fixed[name] * self._learned(name)).detach().float() for name in present}

    def regularizer(self, means: Mapping[str, float]) -> torch.Tensor:
        """The scalar that, added once to the sum of coefficients × means, gives the paper's total and its gradients.

        means: of the tasks of this step. With s the log-variance of a task, the total is the sum of exp(-s) × mean + s.
        Only s has a gradient, 1 - exp(-s) × mean, so it may be gone backward through by itself. Of what is not learned
        by gradients it is 0.
        """
        total = torch.zeros((), device=self._device())
        if self.method == "uncertainty":
            for name, mean in means.items():
                own = self.log_variances[self.names.index(name)]
                weighted = (-own).exp() * mean
                total = total + self.fixed[name] * (own + weighted - weighted.detach())
        return total

    @torch.no_grad()
    def update(self, norms: Mapping[str, float], means: Mapping[str, float]) -> None:
        """One step of GradNorm; nothing for the other methods.

        norms: lengths of the gradients of the mean losses, without coefficients, see `gradient_norms`. means: those
        losses. Both for the same tasks, those of this step; the sum of their weights stays what it is. The first mean
        of each task is what its progress is measured against.

        The paper's gradient of Σ |length - wanted length| is followed in the logarithm of the weights, and divided by
        the mean length: weights stay above 0, and one learning rate fits losses of any size.
        """
        if self.method != "gradnorm" or len(norms) < 2:
            return
        places = torch.tensor([self.names.index(name) for name in norms], device=self._device())
        lengths, now = (
            torch.tensor([values[name] for name in norms], dtype=torch.float64, device=self._device())
            for values in (norms, means)
        )
        weights = self.log_weights[places].exp()
        lengths = lengths * weights
        first = self.first_means[places]
        first = torch.where(first.isnan(), now, first)
        rates = now / first
        wanted = lengths.mean() * (rates / rates.mean()) ** self.alpha
        if not torch.isfinite(wanted / lengths.mean()).all():
            return  # a loss or all gradients are 0 or no numbers
        moved = weights.log() - self.learning_rate * torch.sign(lengths - wanted) * lengths / lengths.mean()
        self.first_means[places] = first
        self.log_weights[places] = moved - moved.logsumexp(0) + weights.sum().log()

    def get_extra_state(self) -> dict[str, Any]:
        return {"method": self.method, "names": list(self.names)}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        if state != self.get_extra_state():
            raise CheckpointError(
                f"the checkpoint weighted {', '.join(state['names'])} by {state['method']}, this run weights "
                f"{', '.join(self.names)} by {self.method}; start a new run from it with --init_from"
            )

    def _learned(self, name: str) -> torch.Tensor:
        index = self.names.index(name)
        if self.method == "uncertainty":
            return (-self.log_variances[index]).exp()
        return self.log_weights[index].exp() if self.method == "gradnorm" else torch.ones(())

    def _device(self) -> torch.device:
        return next((each.device for each in (*self.parameters(), *self.buffers())), torch.device("cpu"))


def gradient_norms(
    loss_of: Callable[[str], torch.Tensor], names: Iterable[str], parameters: Iterable[nn.Parameter]
) -> dict[str, float]:
    """The length of the gradient of each task's loss, over all `parameters` together.

    loss_of: the mean loss of a task; all may come from one graph. parameters: GradNorm takes the last ones that all
    tasks share, which costs one short backward pass a task. Their `grad` stays as it is.
    """
    parameters = list(parameters)
    norms = {}
    for name in names:
        gradients = torch.autograd.grad(loss_of(name), parameters, retain_graph=True, allow_unused=True)
        squares = [gradient.float().square().sum() for gradient in gradients if gradient is not None]
        norms[name] = math.sqrt(sum(square.item() for square in squares))
    return norms


def _task_of(name: str) -> str:
    return name.partition(":")[0]
