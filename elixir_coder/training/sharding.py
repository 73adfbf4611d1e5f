"""What differs where processes share out weights, gradients or moments: accelerate's FSDP2 and DeepSpeed's ZeRO 2.

The loop of train.py is the same for one process, DDP, FSDP2 and ZeRO: it asks here for the accelerator, for the moment
when gradients are exchanged, for their norm, and for what is shared out in one piece. So a checkpoint is the same
whoever wrote it, and a run may go on with another number of processes, shared out in another way.

    prepare       hand model and optimizer to accelerate
    pass_         around a backward pass: gradients are exchanged after the last one of a step
    clip          clip the gradient, and tell its norm
    whole_weights, whole_moments    in every process, together: they are gathered; the tensors stand on the CPU
    load_moments  deal moments out again

FSDP2: https://arxiv.org/abs/2304.11277 (its idea), torch's `fully_shard`. ZeRO: https://arxiv.org/abs/1910.02054.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.distributed.tensor import DTensor, distribute_tensor

from elixir_coder.errors import require
from elixir_coder.training.estimate import Sharding

if TYPE_CHECKING:
    from accelerate import Accelerator  # type: ignore[import-untyped]

_MOMENTS = ("exp_avg", "exp_avg_sq")


def build_accelerator() -> Accelerator:
    """Nothing is left to what `accelerate launch` was told but how processes share the work: the recipe says the rest.

    Where all processes run on a CPU accelerate makes DDP of FSDP without a word; here it stays FSDP.
    """
    accelerate = require("accelerate", "train")
    accelerator = accelerate.Accelerator(mixed_precision="no", gradient_accumulation_steps=1)
    if accelerator.distributed_type == "MULTI_CPU" and os.environ.get("ACCELERATE_USE_FSDP") == "true":
        for state in (accelerate.PartialState(), accelerator.state):  # the first is what the second is renewed from
            state.distributed_type = accelerate.DistributedType.FSDP
        accelerator.state.fsdp_plugin = accelerate.FullyShardedDataParallelPlugin()
    return accelerator


def is_zero(accelerator: Accelerator) -> bool:
    return accelerator.distributed_type == "DEEPSPEED"


def is_shared_out(accelerator: Accelerator) -> bool:
    """Whether a process has less than all weights, so that a checkpoint and judging need `whole_weights`."""
    return is_zero(accelerator) or accelerator.distributed_type == "FSDP"


def kind(accelerator: Accelerator) -> Sharding:
    """How processes share the work, as `estimate` calls it."""
    if accelerator.num_processes == 1:
        return "none"
    return "zero2" if is_zero(accelerator) else "fsdp2" if is_shared_out(accelerator) else "ddp"


def prepare(
    accelerator: Accelerator, model: nn.Module, optimizer: torch.optim.Optimizer, max_grad_norm: float
) -> tuple[nn.Module, Any]:
    """As `accelerator.prepare`. DeepSpeed clips within its backward pass, so it is told the limit now."""
    if is_zero(accelerator):
        config = accelerator.state.deepspeed_plugin.deepspeed_config
        config["gradient_clipping"] = max_grad_norm if math.isfinite(max_grad_norm) else 0.0
        config["train_micro_batch_size_per_gpu"] = 1  # of rows it never sees
    weights = [weight for group in optimizer.param_groups for weight in group["params"]]
    model, prepared = accelerator.prepare(model, optimizer)
    if is_zero(accelerator):
        prepared.weights_in_order = weights
    return model, prepared


@contextmanager
def pass_(accelerator: Accelerator, model: nn.Module, *, is_last: bool) -> Iterator[None]:
    """Around one forward and backward pass of a step, of which the last exchanges the gradients of all."""
    if is_zero(accelerator):  # which also takes the optimizer's step there
        accelerator.gradient_state._set_sync_gradients(is_last)
        yield
    elif is_last:
        yield
    else:
        with accelerator.no_sync(model):
            yield


def clip(accelerator: Accelerator, model: nn.Module, max_norm: float) -> torch.Tensor:
    """Clip the gradient of all processes together, and return its norm before that as one number."""
    norm = accelerator.clip_grad_norm_(model.parameters(), max_norm)
    return norm.full_tensor() if isinstance(norm, DTensor) else torch.as_tensor(norm)


def gathered(accelerator: Accelerator, model: nn.Module, whole: nn.Module | None) -> nn.Module:
    """The model with all weights, to judge or save: `whole`, filled, where they are shared out, else the model itself.

    Every process has to call it at the same time, and every one gets the weights.
    """
    if whole is None:
        return accelerator.unwrap_model(model)
    whole.load_state_dict(whole_weights(accelerator, model))
    return whole.to(accelerator.device)


def whole_weights(accelerator: Accelerator, model: nn.Module) -> dict[str, torch.Tensor]:
    """Every weight of a prepared model by its name, in float32 on the CPU; names that are tied share a tensor.

    Every process has to call it at the same time.
    """
    found: dict[int, torch.Tensor] = {}
    weights = {}
    for name, weight in accelerator.unwrap_model(model).state_dict(keep_vars=True).items():
        if id(weight) not in found:
            found[id(weight)] = _whole_weight(accelerator, weight).detach().cpu()
        weights[name] = found[id(weight)]
    return weights


def _whole_weight(accelerator: Accelerator, weight: torch.Tensor) -> torch.Tensor:
    if isinstance(weight, DTensor):
        return weight.full_tensor()
    if is_zero(accelerator) and isinstance(weight, nn.Parameter):
        return _whole(weight, "get_full_fp32_param")
    return weight


def whole_moments(accelerator: Accelerator, optimizer: Any) -> dict[str, Any]:
    """The optimizer's `state_dict` as one process alone would have it, on the CPU.

    Every process has to call it at the same time; what the others get is not to be used.
    """
    if not is_zero(accelerator):
        saved = optimizer.state_dict()
        state = {
            index: {name: _on_cpu(value) for name, value in of_weight.items()}
            for index, of_weight in saved["state"].items()
        }
        return {**saved, "state": state}
    step = next(iter(_zero_states(optimizer)))["step"]
    weights = _zero_weights(optimizer)
    state = {
        index: {
            "step": _on_cpu(step).clone(),
            **{name: _on_cpu(_whole(weight, "get_full_optimizer_state", name)) for name in _MOMENTS},
        }
        for index, weight in enumerate(weights)
    }
    return {"state": state, "param_groups": []}


def load_moments(accelerator: Accelerator, optimizer: Any, saved: dict[str, Any]) -> None:
    """Deal out what `whole_moments` gave; settings stay those that the optimizer has."""
    if not is_zero(accelerator):
        weights = [weight for group in optimizer.param_groups for weight in group["params"]]
        state = {
            index: {name: _dealt(value, weights[index]) for name, value in of_weight.items()}
            for index, of_weight in saved["state"].items()
        }
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
        return
    setter = require("deepspeed.utils", "train").safe_set_full_optimizer_state
    zero, step = optimizer.optimizer, saved["state"][0]["step"]
    for flat in getattr(zero, "fp32_partitioned_groups_flat", None) or zero.single_partition_of_fp32_groups:
        # the moments of the first step, which it has not taken
        zero.optimizer.state[flat] = {"step": step.clone(), **{name: torch.zeros_like(flat) for name in _MOMENTS}}
    for index, weight in enumerate(_zero_weights(optimizer)):
        for name in _MOMENTS:
            setter(weight, saved["state"][index][name].to(weight.device), name)


def _on_cpu(value: Any) -> Any:
    whole = value.full_tensor() if isinstance(value, DTensor) else value
    return whole.detach().cpu() if isinstance(whole, torch.Tensor) else whole


def _dealt(value: Any, weight: torch.Tensor) -> Any:
    if isinstance(weight, DTensor) and isinstance(value, torch.Tensor) and value.shape == weight.shape:
        return distribute_tensor(value.to(weight.device), weight.device_mesh, weight.placements)
    return value


def _whole(weight: torch.Tensor, what: str, *arguments: str) -> torch.Tensor:
    return getattr(require("deepspeed.utils", "train"), f"safe_{what}")(weight, *arguments)


def _zero_weights(optimizer: Any) -> list[torch.Tensor]:
    """The weights in the order in which the optimizer was given them.

    DeepSpeed links weights to moments after the step of the first group, when the second has no moments yet; so they
    are linked again.
    """
    zero = optimizer.optimizer  # below accelerate's wrapper
    if hasattr(zero, "_lazy_init_hp_params_optimizer_state"):
        zero._hp_optimizer_states_linked = False
        zero._lazy_init_hp_params_optimizer_state()
    return optimizer.weights_in_order


def _zero_states(optimizer: Any) -> list[dict[str, Any]]:
    return list(optimizer.optimizer.optimizer.state.values())
