"""What happened in the steps since the last line of the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from elixir_coder.training.batches import Step
from elixir_coder.training.estimate import Estimate


class Tally:
    """Sums over steps, and the record they make."""

    """What happened since the last line of the log."""

    def __init__(self) -> None:
        self.loss = self.seconds = 0.0
        self.steps = self.tokens = self.places = 0
        self.means: dict[str, list[float]] = {}

    def add(self, step: Step, loss: float, means: Mapping[str, float], seconds: float) -> None:
        self.loss += loss
        self.steps += 1
        self.seconds += seconds
        self.tokens += step.num_tokens
        self.places += step.num_places
        for name, mean in means.items():
            self.means.setdefault(name, []).append(mean)

    def record(self, expected: Estimate, device: torch.device) -> dict[str, Any]:
        """loss: mean of the steps, as weighted. padding: share of all places. tasks: mean loss of each. mfu: share of
        the accelerator's peak in bf16, where it is known."""
        record = {
            "loss": self.loss / self.steps,
            "tokens_per_second": self.tokens / self.seconds,
            "padding": 1 - self.tokens / self.places,
            "tasks": {name: sum(means) / len(means) for name, means in self.means.items()},
        }
        name = torch.cuda.get_device_name(device) if device.type == "cuda" else device.type
        utilization = expected.utilization(self.tokens / self.seconds, name)
        return record if utilization is None else {**record, "mfu": utilization}
