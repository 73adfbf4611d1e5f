"""LoRA adapters while they are trained: put on a model by peft, swapped, saved, and read again.

    add_adapter(model, "property")         # from now on only its 1% of the weights train
    ...
    save_adapter(model, "property", Path("adapters/property"))
    use_adapter(model, None)               # the base alone writes, to the bit

What is saved is peft's own format (generation/adapters.py draws it), and says which base model it belongs to. Adapted
are all linear layers of both stacks, heads and embeddings are not. At rank 4 that is 1.25% of tiny's parameters, 1.12%
of small's, 0.66% of base's and 0.57% of full's. Which layers, matters more than the rank, and the feed-forward ones
most: Biderman et al. 2024, https://arxiv.org/abs/2405.09673

Method: Hu et al. 2021, https://arxiv.org/abs/2106.09685
"""

from __future__ import annotations

import re
import shutil
import warnings
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import nn
from transformers import PreTrainedModel

from elixir_coder.checkpoint import replace_folder, sync
from elixir_coder.errors import CheckpointError, RecipeError, require
from elixir_coder.generation.adapters import CONFIG, FINGERPRINT, PREFIX, WEIGHTS, fingerprint, read_adapter

RANK = 4
TARGETS = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc_gate", "fc2")
_SCALE = 2.0  # alpha / rank: what the product of both matrices is multiplied with
_NAME = re.compile(r"\w[\w-]*")


def add_adapter(
    model: PreTrainedModel,
    name: str,
    *,
    rank: int = RANK,
    targets: Sequence[str] = TARGETS,
    alpha: float | None = None,
    dropout: float = 0.0,
) -> list[nn.Parameter]:
    """Put a new adapter on the model and give its weights, which alone train from now on.

    It changes nothing yet: B is zero, A is drawn from torch's generator. It is the one in use. targets: the last words
    of the names of linear layers in the stacks. alpha: by default 2 · rank. dropout: of what goes into an adapter.

    Raises RecipeError for a name that is taken or no word, for targets that the model has not, and for a rank that is
    more than an adapted layer is wide.
    """
    peft = require("peft", "train")
    if not _NAME.fullmatch(name):
        raise RecipeError(f"an adapter's name is made of letters, digits, _ and -, got {name!r}")
    if name in adapters_of(model):
        raise RecipeError(f"the model has an adapter called {name} already; choose another name")
    widths = [min(layer.weight.shape) for _, layer in _targeted(model, targets)]
    if not widths:
        raise RecipeError(f"no layer of the model is called {' or '.join(targets)}; there is: {' '.join(TARGETS)}")
    if not 1 <= rank <= min(widths):
        raise RecipeError(f"the rank of an adapter must be from 1 to {min(widths)} for this model, got {rank}")
    config = peft.LoraConfig(
        task_type="SEQ_2_SEQ_LM",
        r=rank,
        lora_alpha=_SCALE * rank if alpha is None else alpha,
        lora_dropout=dropout,
        target_modules=_pattern(targets),
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Already found a `peft_config`", UserWarning)  # several are what is wanted
        model.add_adapter(config, adapter_name=name)
    return [parameter for parameter in model.parameters() if parameter.requires_grad]


def use_adapter(model: PreTrainedModel, name: str | None) -> None:
    """Compute with this adapter from now on, or with the base alone; nothing is loaded or copied.

    The adapter in use is the one that trains. Raises RecipeError for one that the model has not.
    """
    if name is not None and name not in adapters_of(model):
        raise RecipeError(f"the model has no adapter called {name}; it has: {', '.join(adapters_of(model)) or 'none'}")
    if name is not None:
        model.enable_adapters()
        model.set_adapter(name)
    elif adapters_of(model):
        model.disable_adapters()


def adapters_of(model: PreTrainedModel) -> list[str]:
    """The names of the adapters on a model, the oldest first."""
    return list(getattr(model, "peft_config", {}))


def save_adapter(model: PreTrainedModel, name: str, folder: Path) -> None:
    """Write the adapter in peft's format, all of it or nothing; what lay there is replaced.

    Raises CheckpointError when it cannot be written, or holds what is not a finite number.
    """
    folder = Path(folder)
    layers = {module: (layer.lora_A[name].weight, layer.lora_B[name].weight) for module, layer in _lora(model, name)}
    tensors = {
        f"{PREFIX}{module}.{part}.weight": weight.detach().float().cpu().contiguous()
        for module, pair in layers.items()
        for part, weight in zip(("lora_A", "lora_B"), pair)
    }
    broken = next((key for key, weight in tensors.items() if not weight.isfinite().all()), None)
    if broken is not None:
        raise CheckpointError(f"{folder}: {broken} is not a finite number; train again with a lower learning rate")
    building = folder.with_name(f".{folder.name}.building")
    shutil.rmtree(building, ignore_errors=True)
    try:
        building.mkdir(parents=True)
        model.peft_config[name].save_pretrained(building)
        metadata = {"format": "pt", FINGERPRINT: fingerprint(model, layers)}
        save_file(tensors, building / WEIGHTS, metadata=metadata)
        for file in (CONFIG, WEIGHTS):
            shutil.copymode(building / CONFIG, building / file)  # safetensors lets nobody else read what it writes
            sync(building / file)
        replace_folder(building, folder)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"cannot write {folder}: {error}") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)


def load_adapter(model: PreTrainedModel, name: str, folder: Path) -> list[nn.Parameter]:
    """Put the adapter of a folder on the model under this name, in use; gives its weights, which alone train.

    Raises CheckpointError where it is damaged or another model's, RecipeError as `add_adapter` does.
    """
    adapter = read_adapter(folder)
    adapter.check_fits(model)
    words = sorted({module.rpartition(".")[2] for module in adapter.layers})
    expected = {module for module, _ in _targeted(model, words)}
    if expected != set(adapter.layers):
        missing = sorted(expected.symmetric_difference(adapter.layers))[0]
        raise CheckpointError(f"{folder}: it adapts some of the layers called {' or '.join(words)}, but not {missing}")
    parameters = add_adapter(model, name, rank=adapter.rank, targets=words, alpha=adapter.alpha)
    with torch.no_grad():
        for module, layer in _lora(model, name):
            first, second = adapter.layers[module]
            layer.lora_A[name].weight.copy_(first)
            layer.lora_B[name].weight.copy_(second)
    return parameters


def _targeted(model: PreTrainedModel, targets: Sequence[str]) -> Iterator[tuple[str, nn.Linear]]:
    """The linear layers of both stacks that are called so, with their whole names; heads have other places."""
    place = re.compile(_pattern(targets))
    for name, module in model.named_modules():
        layer = getattr(module, "base_layer", module)
        if isinstance(layer, nn.Linear) and place.fullmatch(name):
            yield name, layer


def _pattern(targets: Sequence[str]) -> str:
    return rf"(model\.)?(encoder|decoder)\.layers\.\d+\.(\w+\.)*({'|'.join(targets)})"


def _lora(model: PreTrainedModel, name: str) -> Iterator[tuple[str, nn.Module]]:
    """The layers that peft has wrapped for this adapter, by the name of the layer inside."""
    for module_name, module in model.named_modules():
        if name in getattr(module, "lora_A", {}):
            yield module_name, module
