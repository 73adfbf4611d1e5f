"""What do time and memory of a loss over a large vocabulary come to when logits are never whole in memory?

Forward and backward of a loss from hidden states and an output matrix, in float32, by

whole     all logits at once: F.linear, then F.cross_entropy (or the divergence of two log-softmaxes)
torch     torch's own F.linear_cross_entropy in chunks, which weighs all tokens alike (cross-entropy only)
ours      `token_losses` (or `distillation_losses`), in chunks of as many tokens

They take turns; a ratio is that of one round, theirs over ours in seconds, so above 1 is faster. Memory is what a pass
adds to a process of its own, gradients included; its ratio is ours over theirs, so below 1 is smaller; how both are
taken: peers.py. The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from peers import CLOCKS, added_bytes, in_a_fresh_process, ours_over, parse, print_json, spread, take_turns

from elixir_coder.training.losses import distillation_losses, token_losses

WAYS = {"cross-entropy": ("whole", "torch", "ours"), "distillation": ("whole", "ours")}
TEMPERATURE = 2.0


def work(loss: str, way: str, tokens: int, vocabulary: int, width: int, chunk_size: int) -> Callable[[], None]:
    """One forward and backward pass over random states, which leaves gradients of states and matrix."""
    torch.manual_seed(0)
    hidden, teacher_hidden = (torch.randn(tokens, width) for _ in range(2))
    weight, teacher_weight = (torch.randn(vocabulary, width) / width**0.5 for _ in range(2))
    labels, coefficients = torch.randint(vocabulary, (tokens,)), torch.rand(tokens)
    hidden.requires_grad_(), weight.requires_grad_()

    def whole_cross_entropy() -> torch.Tensor:
        return F.cross_entropy(F.linear(hidden, weight), labels, reduction="none") @ coefficients

    def torch_cross_entropy() -> torch.Tensor:
        options = torch.nn.LinearCrossEntropyOptions(batch_chunk_size=chunk_size)
        return F.linear_cross_entropy(hidden, weight, labels, reduction="sum", options=options)

    def our_cross_entropy() -> torch.Tensor:
        return token_losses(hidden, weight, None, labels, coefficients, chunk_size=chunk_size)[0]

    def whole_distillation() -> torch.Tensor:
        student, teacher = F.linear(hidden, weight), F.linear(teacher_hidden, teacher_weight)
        student, teacher = (F.log_softmax(logits / TEMPERATURE, dim=1) for logits in (student, teacher))
        losses = F.kl_div(student, teacher, log_target=True, reduction="none").sum(dim=1)
        return TEMPERATURE**2 * losses @ coefficients

    def our_distillation() -> torch.Tensor:
        student, teacher = (hidden, weight, None), (teacher_hidden, teacher_weight, None)
        return distillation_losses(*student, *teacher, coefficients, temperature=TEMPERATURE, chunk_size=chunk_size)[0]

    losses = {
        ("cross-entropy", "whole"): whole_cross_entropy,
        ("cross-entropy", "torch"): torch_cross_entropy,
        ("cross-entropy", "ours"): our_cross_entropy,
        ("distillation", "whole"): whole_distillation,
        ("distillation", "ours"): our_distillation,
    }

    def run() -> None:
        hidden.grad = weight.grad = None
        losses[loss, way]().backward()

    return run


def megabytes(threads: int, *of: Any) -> float:
    torch.set_num_threads(threads)
    run = work(*of)
    work(of[0], of[1], 8, 100, 4, 8)()  # what a process sets up once is no part of it
    return added_bytes(run) / 1e6


def measure(loss: str, tokens: int, width: int, args: argparse.Namespace) -> dict[str, Any]:
    """Print and return seconds and megabytes of each way, and ours over the others."""
    shape = tokens, args.vocabulary, width, args.chunk_size
    memory = {way: in_a_fresh_process(megabytes, args.threads, loss, way, *shape) for way in WAYS[loss]}
    seconds = take_turns({way: work(loss, way, *shape) for way in WAYS[loss]}, args.rounds, CLOCKS[args.clock])
    row = {
        "seconds": {way: spread(values) for way, values in seconds.items()},
        "ours_over": ours_over(seconds),
        "megabytes": memory,
        "memory": {way: memory["ours"] / value for way, value in memory.items() if way != "ours"},
    }
    print(f"{loss}: {tokens} tokens × {args.vocabulary} × {width}")
    for way, (low, median, high) in row["seconds"].items():
        line = f"  {way:<5} {median:8.3f} s ({low:.3f} to {high:.3f})  {memory[way]:8.1f} MB"
        if way != "ours":
            low, median, high = row["ours_over"][way]
            line += f"   ours/{way}: speed {median:.2f} × ({low:.2f} to {high:.2f}), memory {row['memory'][way]:.3f} ×"
        print(line, flush=True)
    return row


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--losses", nargs="+", choices=list(WAYS), default=list(WAYS), help="what to measure (all)")
    words.add_argument("--tokens", nargs="+", type=int, default=[2048, 8192], help="of one loss (2048 8192)")
    words.add_argument("--vocabulary", type=int, default=32000, help="tokens there are (32000)")
    words.add_argument("--widths", nargs="+", type=int, default=[256, 576], help="of hidden states: tiny's and small's")
    words.add_argument("--chunk_size", type=int, default=1024, help="tokens with logits at one time (1024)")
    words.add_argument("--rounds", type=int, default=3, help="measured turns of each way (3)")
    words.add_argument("--threads", type=int, default=1, help="threads torch may use (1)")
    words.add_argument("--clock", choices=list(CLOCKS), default="wall", help="seconds that count (wall)")
    args = parse(words)
    results = {
        loss: {width: {tokens: measure(loss, tokens, width, args) for tokens in args.tokens} for width in args.widths}
        for loss in args.losses
    }
    print_json("losses", args, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
