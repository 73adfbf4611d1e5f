"""Where does the time of a forward, a training step or `generate` go?

torch.profiler over the same work several times on one thread, after once that does not count; each event takes as long
as in its quickest turn, which a neighbour disturbs least. An operator's own time is charged to the part of
the model that called it, its backward to the same part. What is in no operator is "Python": the own time of the parts,
which the profiler itself makes longer; the first line says by how much. The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import sys
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from bench_forward import forward
from bench_generate import generate
from bench_train_step import optimizer_for, train_step
from peers import CLOCKS, MODELS, add_lengths, build, pairs_of_texts, parse, parser, print_json, take_turns
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function
from transformers import PreTrainedModel

MARK = "part: "
LINEAR = {"fc": "feed-forward matrices", "wi": "feed-forward matrices", "wo": "feed-forward matrices"}


def part(name: str, module: nn.Module) -> str | None:
    """What a module's own operators are counted as; None for what counts as its parent does."""
    kind, last = type(module).__name__, name.rpartition(".")[2]
    if isinstance(module, nn.Linear):
        return "output matrix" if last == "lm_head" else LINEAR.get(last[:2], "attention projections")
    if "Norm" in kind:
        return "norms"
    if "GELU" in kind or kind.endswith(("Activation", "SiLU")):
        return "activation"
    if kind.endswith("Attention"):
        return "attention"
    if "Positional" in kind or "Positions" in kind or last == "relative_attention_bias":
        return "masks and positions"
    if isinstance(module, nn.Embedding):
        return "embedding"
    if kind.endswith(("Layer", "Block", "FF", "Dense", "SelfAttention", "CrossAttention")):
        return "residuals, gates, dropout"
    if kind.endswith(("Encoder", "Decoder", "Stack")):
        return "masks and positions"
    return "loss and outputs" if name == "" else None


def mark_parts(model: PreTrainedModel) -> None:
    """Have the profiler note when each part of the model begins and ends."""
    for name, module in model.named_modules():
        label = part(name, module)
        if label is None:
            continue
        open_ranges: list[Any] = []

        def enter(*_: Any, label: str = label, open_ranges: list = open_ranges) -> None:
            open_ranges.append(record_function(MARK + label))
            open_ranges[-1].__enter__()

        def leave(*_: Any, open_ranges: list = open_ranges) -> None:
            open_ranges.pop().__exit__(None, None, None)

        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)


def parts_of(events: list) -> list[str]:
    """The part of the model of each event: that of the range it ran in, or, running backward, of what it undoes."""
    part_of_forward = {
        event.sequence_nr: _enclosing(event)
        for event in events
        if event.sequence_nr >= 0 and not _is_backward(event) and _enclosing(event)
    }
    labels = []
    for event in events:
        label = _enclosing(event)
        if label is None and (node := _backward_node(event)) is not None:
            label = part_of_forward.get(node.sequence_nr, "gradients added up")
        labels.append("Python" if event.name.startswith(MARK) else label or "the loop around the model")
    return labels


def quickest(work: Callable[[], None], rounds: int) -> tuple[list, list[float]]:
    """The events of one turn in their order, and the microseconds of their own in the quickest turn of each."""
    turns = []
    for _ in range(rounds):
        with profile(activities=[ProfilerActivity.CPU]) as profiler:
            work()
        turns.append(list(profiler.events()))
    assert len({tuple(event.name for event in turn) for turn in turns}) == 1, "the turns did not do the same"
    return turns[0], [min(event.self_cpu_time_total for event in same) for same in zip(*turns)]


def _enclosing(event: Any) -> str | None:
    while event is not None:
        if event.name.startswith(MARK):
            return event.name.removeprefix(MARK)
        event = event.cpu_parent
    return None


def _is_backward(event: Any) -> bool:
    return _backward_node(event) is not None


def _backward_node(event: Any) -> Any:
    while event is not None and not event.name.startswith("autograd::engine::evaluate_function"):
        event = event.cpu_parent
    return event


def work_of(kind: str, model: PreTrainedModel, texts: dict[str, torch.Tensor]) -> Callable[[], None]:
    if kind == "generate":
        return partial(generate, model, texts)
    if kind == "forward":
        return partial(forward, model, texts)
    optimizer = optimizer_for(model.train())
    step = optimizer.step

    def marked_step() -> None:
        with record_function(MARK + "optimizer"):
            step()

    optimizer.step = marked_step
    return partial(train_step, model, optimizer, texts)


def measure(kind: str, name: str, size: str, length: int, args: argparse.Namespace) -> dict:
    model = build(name, size, layers=args.layers, attention=args.attention, dtype=args.dtype)
    texts = pairs_of_texts(model.config.vocab_size, args.batch, length, args.padding)
    work = work_of(kind, model, texts)
    (seconds,) = take_turns({name: work}, args.rounds, CLOCKS[args.clock]).values()
    mark_parts(model)
    events, microseconds = quickest(work, args.rounds)
    total = sum(microseconds)
    parts: dict[str, float] = defaultdict(float)
    operators: dict[str, float] = defaultdict(float)
    for event, label, spent in zip(events, parts_of(events), microseconds):
        parts[label] += spent / total
        operators[event.name] += spent / total
    return {
        "milliseconds": 1e3 * min(seconds),
        "milliseconds_profiled": total / 1e3,
        "parts": _largest(parts),
        "operators": _largest(operators, 12),
    }


def _largest(shares: dict[str, float], number: int | None = None) -> dict[str, float]:
    return dict(sorted(shares.items(), key=lambda each: -each[1])[:number])


def main() -> int:
    words = parser(__doc__.splitlines()[0], rounds=3)
    add_lengths(words, [512])
    words.add_argument("--work", nargs="+", default=["forward", "train", "generate"], help="what to look into")
    words.add_argument("--models", nargs="+", choices=list(MODELS), default=["ours"], help="whose")
    args = parse(words)
    results: dict[str, Any] = {}
    for size in args.sizes:
        for kind in args.work:
            for length in args.lengths:
                for name in args.models:
                    row = results[f"{size} {kind} {length} {name}"] = measure(kind, name, size, length, args)
                    print(
                        f"{size}, {kind}, {length} tokens in, {length // 2} out, {name}: {row['milliseconds']:.1f} ms, "
                        f"{row['milliseconds_profiled']:.1f} under the profiler"
                    )
                    for label, share in row["parts"].items():
                        print(f"  {100 * share:5.1f}%  {label}", flush=True)
                    print("  operators:", ", ".join(f"{op} {100 * part:.1f}%" for op, part in row["operators"].items()))
    print_json("profile", args, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
