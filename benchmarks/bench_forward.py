"""How fast does our model read and score, and in how much memory, next to BART and T5 of the same size?

Seconds of one forward without gradients, source and target given (the target half as long), random weights, batch 1,
float32, and the megabytes that it adds to the process; how both are taken: peers.py. The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial

import torch
from peers import add_lengths, build, compare, pairs_of_texts, parse, parser, print_json
from transformers import PreTrainedModel


@torch.inference_mode()
def forward(model: PreTrainedModel, texts: dict[str, torch.Tensor]) -> None:
    model(
        input_ids=texts["input_ids"],
        attention_mask=texts["attention_mask"],
        decoder_input_ids=texts["labels"],
        use_cache=False,
    )


def forwards(args: argparse.Namespace, name: str, size: str) -> tuple[float, list[Callable[[], None]]]:
    """Millions of parameters, and for each length the forward to measure."""
    model = build(name, size, layers=args.layers, attention=args.attention, dtype=args.dtype)
    texts = [pairs_of_texts(model.config.vocab_size, args.batch, length, args.padding) for length in args.lengths]
    forward(model, pairs_of_texts(model.config.vocab_size, args.batch, 32))  # what torch sets up once is not the work's
    return model.num_parameters() / 1e6, [partial(forward, model, each) for each in texts]


def main() -> int:
    words = parser(__doc__.splitlines()[0])
    add_lengths(words, [128, 512, 2048])
    args = parse(words)
    print_json("forward", args, {size: compare(forwards, size, args, size) for size in args.sizes})
    return 0


if __name__ == "__main__":
    sys.exit(main())
