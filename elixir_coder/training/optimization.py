"""The optimizer and the learning rate of every step."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import nn


def learning_rate_at(
    step: int,
    *,
    peak: float,
    steps: int,
    warmup_steps: int,
    schedule: str,
    min_ratio: float,
    decay_fraction: float,
) -> float:
    """Learning rate of step 1..steps: linear warm-up, then "cosine", "wsd" (warm-up, stable, decay) or "constant".

    A pure function, so that resuming needs no scheduler state. WSD: Hu et al. 2024, https://arxiv.org/abs/2404.06395,
    here with a linear decay over the last `decay_fraction` of the steps.
    """
    if step <= warmup_steps:
        return peak * step / warmup_steps
    if schedule == "cosine":
        progress = min(1.0, (step - warmup_steps) / max(1, steps - warmup_steps))
        return peak * (min_ratio + (1 - min_ratio) * 0.5 * (1 + math.cos(math.pi * progress)))
    if schedule == "wsd":
        decay_steps = max(1, round(decay_fraction * steps))
        progress = min(1.0, max(0.0, (step - (steps - decay_steps)) / decay_steps))
        return peak * (1 - (1 - min_ratio) * progress)
    assert schedule == "constant", schedule
    return peak


# Learned weights of losses have a rate and a memory of their own, whatever the schedule says: at the model's rates they
# would not arrive before the run ends.
_TERMS_RATE, _TERMS_BETAS = 0.02, (0.9, 0.9)


def build_optimizer(
    model: nn.Module,
    *,
    learning_rate: float,
    weight_decay: float,
    betas: tuple[float, float],
    terms: nn.Module | None = None,
) -> torch.optim.AdamW:
    """AdamW, fused, of all weights that train; it decays matrices but neither norms, biases nor embedding tables.

    terms: what learns how losses are weighed. Its parameters are a group with `follows_schedule` False.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    trained = [p for p in model.parameters() if p.requires_grad]
    matrices = [p for p in trained if p.dim() >= 2 and id(p) not in embeddings]
    others = [p for p in trained if p.dim() < 2 or id(p) in embeddings]
    groups: list[dict[str, Any]] = [
        {"params": matrices, "weight_decay": weight_decay, "follows_schedule": True},
        {"params": others, "weight_decay": 0.0, "follows_schedule": True},
    ]
    if terms is not None and (learned := list(terms.parameters())):
        own = {"lr": _TERMS_RATE, "betas": _TERMS_BETAS, "weight_decay": 0.0, "follows_schedule": False}
        groups.append({"params": learned, **own})
    return torch.optim.AdamW(groups, lr=learning_rate, betas=betas, fused=True)
