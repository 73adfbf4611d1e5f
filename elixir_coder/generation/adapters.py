"""LoRA adapters of a model that writes: a small folder each, checked, and put on for one request or another.

    ADAPTER/adapter_config.json           as peft writes it
            adapter_model.safetensors     as peft writes it: lora_A (rank, inputs) and lora_B (outputs, rank) of a layer

An adapted layer computes W x + scale · B A x, which is a layer with W + scale · B A. So each adapter gets a model of
its own with that added, made when it is first asked for: it is as fast as the base's, its weights can be packed for the
fast runtime, and requests with different adapters do not wait for each other. To write needs no peft, to train does
(training/adapters.py).

Method: Hu et al. 2021, https://arxiv.org/abs/2106.09685
"""

from __future__ import annotations

import difflib
import hashlib
import json
import math
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from threading import Lock

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from transformers import PreTrainedModel

from elixir_coder.checkpoint import load_model, quiet
from elixir_coder.errors import CheckpointError, InputError

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FINGERPRINT = "base_fingerprint"  # of the model it was trained on, in the header of WEIGHTS
PREFIX = "base_model.model."  # before the name of a layer in WEIGHTS
MOST_MODELS = 4

# What peft's LoRA can also do: other arithmetic than W + scale · B A, other weights than a layer's, or another W.
_MORE_THAN_LORA = (
    *("use_dora", "use_rslora", "use_qalora", "use_bdlora", "fan_in_fan_out", "lora_bias", "rank_pattern"),
    *("alpha_pattern", "modules_to_save", "trainable_token_indices", "target_parameters", "layer_replication"),
    *("alora_invocation_tokens", "arrow_config", "corda_config", "kasa_config", "loftq_config", "lora_ga_config"),
    *("monteclora_config", "velora_config"),
)
_PLAIN_STARTS = (True, False, None, "gaussian", "orthogonal")
_SAMPLE = 256  # weights of each layer that a fingerprint is taken of


@dataclass(frozen=True)
class Adapter:
    """What an adapter's folder holds. layers: by the name of a linear layer, A (rank, inputs) and B (outputs, rank).

    base: fingerprint of the model it was trained on, "" where peft alone wrote it. base_name: where that model lay.
    """

    folder: Path
    rank: int
    alpha: float
    base: str
    base_name: str
    layers: Mapping[str, tuple[torch.Tensor, torch.Tensor]]

    @property
    def scale(self) -> float:
        return self.alpha / self.rank

    @property
    def num_parameters(self) -> int:
        return sum(first.numel() + second.numel() for first, second in self.layers.values())

    def check_fits(self, model: PreTrainedModel) -> None:
        """Raise CheckpointError unless the model is the one that the adapter was trained on."""
        for name, (first, second) in self.layers.items():
            layer = _layer(model, name)
            if layer is None:
                raise CheckpointError(
                    f"{self.folder}: it adapts {name}, which the model has not; {self._way_out(model)}"
                )
            found, expected = (second.shape[0], first.shape[1]), tuple(layer.weight.shape)
            if found != expected:
                raise CheckpointError(
                    f"{self.folder}: it adapts {name} of the shape {found}, which is {expected} in the model; "
                    f"{self._way_out(model)}"
                )
        if self.base and self.base != fingerprint(model, self.layers):
            raise CheckpointError(f"{self.folder}: it was trained on other weights; {self._way_out(model)}")

    def _way_out(self, model: PreTrainedModel) -> str:
        trained_on = f" ({self.base_name})" if self.base_name else ""
        return f"use it with the model it was trained on{trained_on}, or train it again on {model.name_or_path}"

    @torch.no_grad()
    def merge_into(self, model: PreTrainedModel) -> None:
        """Add the adapter to the model's weights, in place, once it is found to fit."""
        self.check_fits(model)
        for name, (first, second) in self.layers.items():
            layer = _layer(model, name)
            assert layer is not None, name  # as was checked
            weight = layer.weight
            weight.copy_(weight.float() + self.scale * (second @ first).to(weight.device))


def read_adapter(folder: Path | str) -> Adapter:
    """The adapter of a folder that `elixir-coder finetune`, train.py or peft wrote.

    Raises CheckpointError where it is missing, damaged, or more than LoRA of linear layers.
    """
    folder = Path(folder)
    config = _read_config(folder / CONFIG)
    fits = {"peft_type": config.get("peft_type") == "LORA", "bias": config.get("bias") in ("none", None)}
    fits |= {"init_lora_weights": config.get("init_lora_weights") in _PLAIN_STARTS}
    fits |= {name: not config.get(name) for name in _MORE_THAN_LORA}
    for name in (name for name, fit in fits.items() if not fit):
        raise CheckpointError(
            f"{folder / CONFIG}: {name} is {config.get(name)!r}; expected plain LoRA of linear layers"
        )
    rank, alpha = config.get("r"), config.get("lora_alpha")
    if not (isinstance(rank, int) and rank > 0 and isinstance(alpha, int | float) and math.isfinite(alpha)):
        raise CheckpointError(f"{folder / CONFIG}: r is {rank!r} and lora_alpha {alpha!r}; expected numbers, r above 0")
    tensors, metadata = _read_tensors(folder / WEIGHTS)
    layers = {}
    for key, first in tensors.items():
        name = key.removeprefix(PREFIX).removesuffix(".lora_A.weight")
        if key != f"{PREFIX}{name}.lora_A.weight":
            if key.endswith(".lora_B.weight") and key.replace(".lora_B.", ".lora_A.") in tensors:
                continue
            raise CheckpointError(
                f"{folder / WEIGHTS}: {key} is no part of a LoRA adapter, or its other half is missing"
            )
        second = tensors.get(f"{PREFIX}{name}.lora_B.weight")
        if second is None:
            raise CheckpointError(f"{folder / WEIGHTS}: {name} has a lora_A and no lora_B; copy it again")
        if first.dim() != 2 or second.dim() != 2 or not first.shape[0] == second.shape[1] == rank:
            raise CheckpointError(
                f"{folder / WEIGHTS}: {name} has lora_A {tuple(first.shape)} and lora_B {tuple(second.shape)}; "
                f"expected ({rank}, inputs) and (outputs, {rank})"
            )
        if not (first.isfinite().all() and second.isfinite().all()):
            raise CheckpointError(f"{folder / WEIGHTS}: {name} holds what is not a finite number; copy it again")
        layers[name] = first.float(), second.float()
    if not layers:
        raise CheckpointError(f"{folder / WEIGHTS} adapts nothing; train it again")
    base_name = str(config.get("base_model_name_or_path") or "")
    return Adapter(folder, rank, float(alpha), metadata.get(FINGERPRINT, ""), base_name, layers)


def fingerprint(model: PreTrainedModel, names: Iterable[str]) -> str:
    """Tells models apart by the weights of these layers: 256 of each, as bfloat16, so that a copy in half the size is
    the same model. What an adapter that was put on by peft adds is left out."""
    digest = hashlib.sha256()
    for name in sorted(names):
        layer = _layer(model, name)
        assert layer is not None, name
        weights = layer.weight.detach().flatten()
        sample = weights[:: max(1, len(weights) // _SAMPLE)].bfloat16()
        digest.update(f"{name} {tuple(layer.weight.shape)} ".encode())
        digest.update(sample.cpu().view(torch.int16).numpy().tobytes())
    return digest.hexdigest()


class AdaptedModels:
    """A base model in `folder` and its adapters, as models to write with: `models[name]`; None is the base.

    adapters: folders by name; each is read and compared with the base now. most: models besides the base that are kept;
    the one that was asked for longest ago makes way. Threads may share it.

    Raises CheckpointError for an adapter that is damaged or another model's.
    """

    def __init__(
        self,
        folder: Path | str,
        base: PreTrainedModel,
        adapters: Mapping[str, Path | str],
        runtime: str,
        most: int = MOST_MODELS,
    ):
        self.folder, self.base, self.runtime, self.most = folder, base, runtime, most
        self.adapters = {name: read_adapter(path) for name, path in adapters.items()}
        self._models: OrderedDict[str, PreTrainedModel] = OrderedDict()
        self._door = Lock()  # a model that two threads ask for is made once
        if self.adapters:
            plain = load_model(folder)
            for adapter in self.adapters.values():
                adapter.check_fits(plain)

    def __getitem__(self, name: str | None) -> PreTrainedModel:
        if name is None:
            return self.base
        if name not in self.adapters:
            nearest = difflib.get_close_matches(name, self.adapters, n=1)
            hint = f"; did you mean {nearest[0]}?" if nearest else f"; there is: {', '.join(self.adapters) or 'none'}"
            raise InputError(f"no such adapter: {name}{hint}")
        with self._door:
            if name not in self._models:
                self._models[name] = self._made(self.adapters[name])
            self._models.move_to_end(name)
            while len(self._models) > self.most:
                self._models.popitem(last=False)
            return self._models[name]

    def _made(self, adapter: Adapter) -> PreTrainedModel:
        model = load_model(self.folder)
        adapter.merge_into(model)
        if self.runtime == "plain" or getattr(self.base, "runtime", None) is None:
            return model.to(self.base.device, self.base.dtype)
        with quiet():  # packed as those of a folder are, from the weights that are in memory
            fast = type(model).from_pretrained(
                None, config=model.config, state_dict=model.state_dict(), runtime="fast", runtime_dtype=self._dtype
            )
        fast.generation_config = model.generation_config
        return fast

    @property
    def _dtype(self) -> str:
        return self.base.runtime.dtype


def _layer(model: PreTrainedModel, name: str) -> nn.Linear | None:
    """The linear layer of this name, or None; where peft has wrapped it, the one inside."""
    try:
        layer = model.get_submodule(name)
    except AttributeError:
        return None
    layer = getattr(layer, "base_layer", layer)
    return layer if isinstance(layer, nn.Linear) else None


def _read_config(path: Path) -> dict[str, object]:
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise CheckpointError(f"no adapter at {path.parent}: {path} does not exist") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} is not a readable JSON file: {error}") from error
    if not isinstance(config, dict):
        raise CheckpointError(f"{path} holds a {type(config).__name__}, expected peft's settings of an adapter")
    return config


def _read_tensors(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    try:
        with safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except FileNotFoundError:
        raise CheckpointError(f"no adapter at {path.parent}: {path} does not exist") from None
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path} is truncated or damaged ({error}); copy it again") from error
