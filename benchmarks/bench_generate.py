"""How fast does our model write, next to BART and T5 of the same size?

Tokens per second of `generate`, greedy, batch 1, 256 tokens in, 128 out, random weights, float32, end to end with the
encoder. The models take turns, so that a busy machine slows all alike; a ratio is that of one round, ours over theirs,
and what is printed is the median of the rounds after a warm-up, with the lowest and the highest. `--clock cpu` counts
the seconds this process computed, which on one thread is what an idle machine would show. The last line of stdout is
JSON.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    PretrainedConfig,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)

sys.path.insert(0, str(Path(__file__).parents[1]))
from elixir_coder.checkpoint import new_model, preset_config

NUM_SOURCE, NUM_TARGET = 256, 128
CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}


def bart(config: PretrainedConfig) -> PreTrainedModel:
    """BART as deep and wide; its plain feed-forward part is half as wide again where ours has a gate."""
    widen = 3 / 2 if config.gated_ffn else 1
    return BartForConditionalGeneration(
        BartConfig(
            vocab_size=config.vocab_size,
            d_model=config.d_model,
            encoder_layers=config.encoder_layers,
            decoder_layers=config.decoder_layers,
            encoder_attention_heads=config.encoder_attention_heads,
            decoder_attention_heads=config.decoder_attention_heads,
            encoder_ffn_dim=int(widen * config.encoder_ffn_dim),
            decoder_ffn_dim=int(widen * config.decoder_ffn_dim),
            forced_eos_token_id=None,
        )
    )


def t5(config: PretrainedConfig) -> PreTrainedModel:
    """T5 as deep and wide, with a gate where ours has one."""
    return T5ForConditionalGeneration(
        T5Config(
            vocab_size=config.vocab_size,
            d_model=config.d_model,
            d_kv=config.head_width("encoder"),
            d_ff=config.encoder_ffn_dim,
            num_layers=config.encoder_layers,
            num_decoder_layers=config.decoder_layers,
            num_heads=config.encoder_attention_heads,
            feed_forward_proj="gated-gelu" if config.gated_ffn else "relu",
            decoder_start_token_id=0,
        )
    )


MODELS: dict[str, Callable[..., PreTrainedModel]] = {"ours": new_model, "BART": bart, "T5": t5}


def tokens_per_second(model: PreTrainedModel, source: torch.Tensor, clock: Callable[[], float]) -> float:
    started = clock()
    written = model.generate(
        source,
        attention_mask=torch.ones_like(source),
        max_new_tokens=NUM_TARGET,
        min_new_tokens=NUM_TARGET,
        do_sample=False,
    )
    seconds = clock() - started
    assert written.shape == (1, NUM_TARGET + 1)
    return NUM_TARGET / seconds


def measure(size: str, rounds: int, clock: Callable[[], float]) -> dict:
    """Speeds by model, and ours over theirs, as [lowest, median, highest] of the rounds."""
    torch.manual_seed(0)
    config = preset_config(size)
    models = {name: build(config).eval() for name, build in MODELS.items()}
    source = torch.randint(3, config.vocab_size, (1, NUM_SOURCE))
    speeds: dict[str, list[float]] = {name: [] for name in models}
    for turn in range(rounds + 1):
        for name, model in models.items():
            speed = tokens_per_second(model, source, clock)
            if turn:  # the first is the warm-up
                speeds[name].append(speed)
    ratios = {name: [a / b for a, b in zip(speeds["ours"], speeds[name])] for name in ("BART", "T5")}
    return {
        "millions": {name: round(model.num_parameters() / 1e6, 1) for name, model in models.items()},
        "tokens_per_second": {name: _spread(values) for name, values in speeds.items()},
        "ours_over": {name: _spread(values) for name, values in ratios.items()},
    }


def _spread(values: list[float]) -> list[float]:
    return [round(value, 3) for value in (min(values), statistics.median(values), max(values))]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", nargs="+", default=["tiny", "base"], help="presets to measure")
    parser.add_argument("--rounds", type=int, default=5, help="measured turns of each model")
    parser.add_argument("--threads", type=int, default=1, help="threads torch may use")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="seconds that count")
    args = parser.parse_args()
    if args.clock == "cpu" and args.threads > 1:
        parser.error("--clock cpu adds up the seconds of all threads; use it with --threads 1")
    torch.set_num_threads(args.threads)
    results = {}
    for size in args.sizes:
        row = results[size] = measure(size, args.rounds, CLOCKS[args.clock])
        print(f"{size}: {', '.join(f'{name} {millions}M' for name, millions in row['millions'].items())}")
        for name, (low, median, high) in row["tokens_per_second"].items():
            print(f"  {name:<10} {median:8.1f} tokens/s  ({low:.1f} to {high:.1f})")
        for name, (low, median, high) in row["ours_over"].items():
            print(f"  ours/{name:<5} {median:8.2f} ×         ({low:.2f} to {high:.2f})")
    print(json.dumps({"benchmark": "generate", **vars(args), "results": results}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
