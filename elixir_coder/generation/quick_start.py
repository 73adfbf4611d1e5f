"""Import transformers in a third of the time: for a command that writes one text and ends.

transformers' model classes import what training on many machines, compiling and other models' losses take, if only to
decorate a function with it: 2.0 of the 3.0 seconds of processor time after torch (`benchmarks/bench_start.py`). Where
transformers asks whether a package is there, it hears no; where it decorates, the function is given back as it is.

A process that imported transformers this way may do all but compile and train on several machines. So only a command
may do it, never a library call; and nothing happens where transformers is imported already.
"""

from __future__ import annotations

import gc
import importlib
import importlib.util
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any

_NOT_NEEDED = ("is_accelerate_available", "is_scipy_available")
_DECORATORS = frozenset({"allow_in_graph", "assume_constant_result", "disable"})
_COMPILER, _MODELS = "torch._dynamo", "transformers.models"
_MODULES = (
    *("modeling_utils", "masking_utils", "modeling_layers", "generation.utils", "generation.streamers", "pipelines"),
    *("models.auto.modeling_auto", "models.auto.tokenization_auto"),
)


@contextmanager
def without_collection() -> Iterator[None]:
    """No search for garbage meanwhile: among the objects of some thousand modules it finds none, and takes a fifth."""
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()


@contextmanager
def quick_start() -> Iterator[None]:
    """Imports transformers, and what is loaded inside is loaded as quickly."""
    with without_collection():
        if "transformers" in sys.modules:
            yield
            return
        with _stand_in_for_the_compiler():
            _import_transformers()
            with _nothing_drawn_for_nothing():
                yield


def _import_transformers() -> None:
    try:
        with _one_machine(), _without_packages():
            _stand_in_for_the_list_of_models()
            _import_model_classes()
    except (ImportError, AttributeError):  # another transformers, where something is not as it is known here
        for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
            del sys.modules[name]
        _import_model_classes()


def _import_model_classes() -> None:
    for name in _MODULES:
        importlib.import_module(f"transformers.{name}")


class _Compiler(ModuleType):
    """Stands for torch's compiler where functions are only marked for it; makes way when it is asked for more."""

    def __getattr__(self, name: str) -> Any:
        if name in _DECORATORS:
            return _unchanged
        if name.startswith("__"):
            raise AttributeError(name)
        _forget(self)
        return getattr(importlib.import_module(_COMPILER), name)


def _unchanged(function: Callable[..., Any] | None = None, *_: Any, **__: Any) -> Any:
    """A decorator that changes nothing, with arguments or without."""
    return _unchanged if function is None else function


@contextmanager
def _stand_in_for_the_compiler() -> Iterator[None]:
    import torch

    if _COMPILER in sys.modules:
        yield
        return
    stand_in = _Compiler(_COMPILER)
    stand_in.__path__ = [f"{torch.__path__[0]}/_dynamo"]  # its submodules can be imported for themselves
    sys.modules[_COMPILER] = stand_in
    try:
        yield
    finally:
        _forget(stand_in)


def _forget(stand_in: _Compiler) -> None:
    import torch

    if sys.modules.get(_COMPILER) is stand_in:
        del sys.modules[_COMPILER]
    if vars(torch).get("_dynamo") is stand_in:
        del torch._dynamo


def _stand_in_for_the_list_of_models() -> None:
    """Spare a second search of all files below `transformers.models` for names; the first made transformers' own."""
    import transformers

    class Models(ModuleType):
        def __getattr__(self, name: str) -> Any:
            if name.startswith("__"):
                raise AttributeError(name)
            try:
                return importlib.import_module(f"{_MODELS}.{name}")
            except ModuleNotFoundError:
                return getattr(transformers, name)

    models = Models(_MODELS)
    models.__spec__ = importlib.util.find_spec(_MODELS)
    models.__path__ = [f"{transformers.__path__[0]}/models"]
    sys.modules[_MODELS] = models


@contextmanager
def _nothing_drawn_for_nothing() -> Iterator[None]:
    """A model is built on the device "meta" before its weights are read; there, torch draws numbers with sympy."""
    from torch.nn import init

    draw = init.normal_

    def normal(tensor: Any, *args: Any, **options: Any) -> Any:
        return tensor if tensor.is_meta else draw(tensor, *args, **options)

    with _replaced(init, "normal_", normal):
        yield


@contextmanager
def _one_machine() -> Iterator[None]:
    """As torch says where it was built without `torch.distributed`."""
    import torch.distributed

    with _replaced(torch.distributed, "is_available", lambda: False):
        yield


@contextmanager
def _without_packages() -> Iterator[None]:
    import transformers.utils

    with ExitStack() as stack:
        for module in (transformers.utils, transformers.utils.import_utils):
            for name in _NOT_NEEDED:
                stack.enter_context(_replaced(module, name, lambda *_: False))
        yield


@contextmanager
def _replaced(module: Any, name: str, value: Any) -> Iterator[None]:
    original = getattr(module, name)
    setattr(module, name, value)
    try:
        yield
    finally:
        setattr(module, name, original)
