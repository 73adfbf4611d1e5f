"""How the losses of a step are added up: a coefficient for each task and kind of loss, and what is learned of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import nn

from elixir_coder.tasks import registry
from elixir_coder.training.objective import KINDS
from elixir_coder.training.weighting import Weighting


class Terms(nn.Module):
    """tasks: names, whose places are the rows of the matrices here, (tasks, KINDS). method, weights: of `Weighting`.

    "fixed" counts all tokens of a step alike, whatever their task, times its weight; of the other losses the mean
    counts, for each task. The learned methods weigh the mean loss of each task.
    """

    def __init__(self, tasks: Sequence[str], method: str, weights: Mapping[str, float]):
        super().__init__()
        self.places = {
            name: (number, KINDS.index(kind))
            for number, task in enumerate(tasks)
            for name, kind in zip(registry.losses(task), registry.TASKS[task].heads, strict=True)
        }
        names = list(self.places)
        of_this_run = {name: weight for name, weight in weights.items() if name in {*names, *tasks}}
        self.weighting = Weighting(method, names, fixed=of_this_run)
        self.counts_tokens_alike = method == "fixed"

    def coefficients(self, counts: torch.Tensor) -> torch.Tensor:
        """(tasks, KINDS) float32: what each single loss of a step is multiplied by. counts: of the whole step."""
        coefficients = torch.zeros_like(counts)
        present = [name for name, place in self.places.items() if counts[place]]
        num_tokens = counts[:, KINDS.index("tokens")].sum()
        for name, weight in self.weighting.coefficients(present).items():
            task, kind = self.places[name]
            is_shared = self.counts_tokens_alike and KINDS[kind] == "tokens"
            coefficients[task, kind] = weight.cpu() / (num_tokens if is_shared else counts[task, kind])
        return coefficients

    def means(self, sums: torch.Tensor, counts: torch.Tensor) -> dict[str, float]:
        """Mean loss by name, of what is present. sums, counts: (tasks, KINDS) of the whole step, over all processes."""
        return {name: (sums[place] / counts[place]).item() for name, place in self.places.items() if counts[place]}

    def weights(self) -> dict[str, float]:
        """What the mean loss of each is multiplied by now."""
        return {name: weight.item() for name, weight in self.weighting.coefficients(self.places).items()}

    def only(self, name: str, counts: torch.Tensor) -> torch.Tensor:
        """The coefficients under which the total is the mean of that loss alone."""
        coefficients = torch.zeros_like(counts)
        coefficients[self.places[name]] = 1 / counts[self.places[name]]
        return coefficients
