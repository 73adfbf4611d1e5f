"""How fast does our model write, next to BART and T5 of the same size?

Tokens per second of `generate`, greedy, batch 1, 256 tokens in, 128 out, random weights, float32, end to end with the
encoder; how they are taken: peers.py. The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import sys
from functools import partial

import torch
from peers import CLOCKS, MODELS, build, ours_over, pairs_of_texts, parse, parser, print_json, spread, take_turns
from transformers import PreTrainedModel

NUM_SOURCE, NUM_TARGET = 256, 128


def generate(model: PreTrainedModel, texts: dict[str, torch.Tensor]) -> None:
    """Write as many tokens as the target has, greedily."""
    num_target = texts["labels"].shape[1]
    written = model.generate(
        texts["input_ids"],
        attention_mask=texts["attention_mask"],
        max_new_tokens=num_target,
        min_new_tokens=num_target,
        do_sample=False,
    )
    assert written.shape[1] == num_target + 1


def measure(size: str, args: argparse.Namespace) -> dict:
    """Speeds by model, and ours over theirs, as [lowest, median, highest] of the rounds."""
    names = [name for name in MODELS if name == "ours" or name in args.peers]
    models = {name: build(name, size, attention=args.attention, dtype=args.dtype) for name in names}
    texts = pairs_of_texts(models["ours"].config.vocab_size, 1, NUM_SOURCE)
    work = {name: partial(generate, model, texts) for name, model in models.items()}
    seconds = take_turns(work, args.rounds, CLOCKS[args.clock])
    return {
        "millions": {name: model.num_parameters() / 1e6 for name, model in models.items()},
        "tokens_per_second": {name: spread(NUM_TARGET / each for each in values) for name, values in seconds.items()},
        "ours_over": ours_over(seconds),
    }


def main() -> int:
    args = parse(parser(__doc__.splitlines()[0]))
    results = {}
    for size in args.sizes:
        row = results[size] = measure(size, args)
        print(f"{size}: {', '.join(f'{name} {millions:.1f}M' for name, millions in row['millions'].items())}")
        for name, (low, median, high) in row["tokens_per_second"].items():
            print(f"  {name:<10} {median:8.1f} tokens/s  ({low:.1f} to {high:.1f})")
        for name, (low, median, high) in row["ours_over"].items():
            print(f"  ours/{name:<5} {median:8.2f} ×         ({low:.2f} to {high:.2f})")
    print_json("generate", args, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
