"""How fast does our model train, and in how much memory, next to BART and T5 of the same size?

Seconds of forward, backward and a step of fused AdamW on random tokens (the target half as long as the source), random
weights, batch 1, float32, and the megabytes that a step adds to a process that holds weights and moments; how both are
taken: peers.py. With dropout all models drop what a sublayer gives and what is embedded, at one rate, and nothing else
(T5 also what its last norm gives). The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial

import torch
from peers import add_lengths, build, compare, pairs_of_texts, parse, parser, print_json
from transformers import PreTrainedModel


def optimizer_for(model: PreTrainedModel) -> torch.optim.Optimizer:
    return torch.optim.AdamW(model.parameters(), lr=1e-5, fused=True)


def train_step(model: PreTrainedModel, optimizer: torch.optim.Optimizer, texts: dict[str, torch.Tensor]) -> None:
    model(**texts).loss.backward()
    optimizer.step()
    optimizer.zero_grad()


def steps(args: argparse.Namespace, name: str, size: str, dropout: float) -> tuple[float, list[Callable[[], None]]]:
    """Millions of parameters, and for each length the training step to measure."""
    model = build(name, size, layers=args.layers, attention=args.attention, dtype=args.dtype, dropout=dropout).train()
    if args.checkpointing:
        model.activation_checkpointing_enable()
    optimizer = optimizer_for(model)
    texts = [pairs_of_texts(model.config.vocab_size, args.batch, length, args.padding) for length in args.lengths]
    train_step(model, optimizer, pairs_of_texts(model.config.vocab_size, args.batch, 32))  # makes the moments
    return model.num_parameters() / 1e6, [partial(train_step, model, optimizer, each) for each in texts]


def main() -> int:
    words = parser(__doc__.splitlines()[0], rounds=3)
    add_lengths(words, [128, 512, 2048])
    words.add_argument("--dropouts", nargs="+", type=float, default=[0.0, 0.1], help="rates to measure")
    words.add_argument("--checkpointing", action="store_true", help="compute activations again going backward")
    args = parse(words)
    results = {
        size: {rate: compare(steps, f"{size}, dropout {rate}", args, size, rate) for rate in args.dropouts}
        for size in args.sizes
    }
    print_json("train_step", args, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
