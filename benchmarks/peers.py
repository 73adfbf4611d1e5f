"""What the speed benchmarks share: models of transformers as large as ours, turns on a busy machine, peak memory.

The models take turns, so that a busy machine slows all alike; a ratio is that of one round, theirs over ours in
seconds, so above 1 is faster, and what is printed is the median of the rounds after a warm-up, with the lowest and the
highest. `--clock cpu` counts the seconds this process computed, which on one thread is what an idle machine would show.

Memory is what the work adds to the resident set of a process of its own at the highest, above what it held before: the
weights do not count, what is computed does. Linux only, whose kernel can be told to forget an earlier peak.
"""

from __future__ import annotations

import argparse
import gc
import json
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    PretrainedConfig,
    PreTrainedModel,
    T5Config,
    T5ForConditionalGeneration,
)
from transformers.models.t5.modeling_t5 import T5Attention, T5DenseActDense, T5DenseGatedActDense

sys.path.insert(0, str(Path(__file__).parents[1]))
from elixir_coder.checkpoint import new_model, preset_config

CLOCKS = {"wall": time.perf_counter, "cpu": time.process_time}
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}
Spread = tuple[float, float, float]  # lowest, median, highest
Prepare = Callable[..., tuple[float, list[Callable[[], Any]]]]


# ------------------------------------------------------------------------------------------------------------- models


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
            max_position_embeddings=config.max_position_embeddings,
            dropout=config.dropout,
            forced_eos_token_id=None,
            attn_implementation=config._attn_implementation,
        )
    )


def t5(config: PretrainedConfig) -> PreTrainedModel:
    """T5 as deep and wide, with a gate where ours has one, and with dropout in no other places than ours."""
    model = T5ForConditionalGeneration(
        T5Config(
            vocab_size=config.vocab_size,
            d_model=config.d_model,
            d_kv=config.head_width("encoder"),
            d_ff=config.encoder_ffn_dim,
            num_layers=config.encoder_layers,
            num_decoder_layers=config.decoder_layers,
            num_heads=config.encoder_attention_heads,
            feed_forward_proj="gated-gelu" if config.gated_ffn else "relu",
            dropout_rate=config.dropout,
            decoder_start_token_id=0,
            attn_implementation=config._attn_implementation,
        )
    )
    for module in model.modules():  # one rate serves it everywhere; ours and BART's are 0 here
        if isinstance(module, T5Attention):
            module.dropout = 0.0
        elif isinstance(module, T5DenseActDense | T5DenseGatedActDense):
            module.dropout.p = 0.0
    return model


MODELS: dict[str, Callable[[PretrainedConfig], PreTrainedModel]] = {"ours": new_model, "BART": bart, "T5": t5}


def build(
    name: str,
    size: str,
    *,
    layers: int | None = None,
    attention: str = "sdpa",
    dtype: str = "float32",
    dropout: float = 0.0,
) -> PreTrainedModel:
    """One of `MODELS` in the shape of a preset, with random weights; layers: of each stack, instead of the preset's."""
    torch.manual_seed(0)
    shape: dict[str, Any] = {} if layers is None else {"encoder_layers": layers, "decoder_layers": layers}
    config = preset_config(size, dropout=dropout, attn_implementation=attention, **shape)
    return MODELS[name](config).to(DTYPES[dtype]).eval()


def pairs_of_texts(vocab_size: int, batch: int, num_source: int, padding: float = 0.0) -> dict[str, torch.Tensor]:
    """Random tokens, the target half as long as the source. padding: share of each source but the first."""
    random = torch.Generator().manual_seed(0)
    source = torch.randint(3, vocab_size, (batch, num_source), generator=random)
    mask = torch.ones_like(source)
    mask[1:, num_source - int(padding * num_source) :] = 0
    return {
        "input_ids": source.masked_fill(mask == 0, 0),
        "attention_mask": mask,
        "labels": torch.randint(3, vocab_size, (batch, num_source // 2), generator=random),
    }


# -------------------------------------------------------------------------------------------------------- time, memory


def take_turns(
    work: Mapping[str, Callable[[], Any]], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each piece of work in each round, after one round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, run in work.items():
            started = clock()
            run()
            if turn:
                seconds[name].append(clock() - started)
    return seconds


def ours_over(seconds: dict[str, list[float]]) -> dict[str, Spread]:
    """How many times as fast as each other model ours was, round by round."""
    return {
        name: spread(theirs / ours for ours, theirs in zip(seconds["ours"], values))
        for name, values in seconds.items()
        if name != "ours"
    }


def spread(values: Iterable[float]) -> Spread:
    values = sorted(values)
    return values[0], statistics.median(values), values[-1]


def compare(prepare: Prepare, title: str, args: argparse.Namespace, *shape: Any) -> dict[str, Any]:
    """Print and return, by length, seconds and megabytes by model, and ours over theirs in speed.

    prepare: `prepare(args, name, *shape)` gives millions of parameters and the work to measure, for each length.
    """
    names = [name for name in MODELS if name == "ours" or name in args.peers]
    megabytes = {name: in_a_fresh_process(_megabytes, prepare, args, name, *shape) for name in names}
    ready = {name: prepare(args, name, *shape) for name in names}
    print(f"{title}: {', '.join(f'{name} {millions:.1f}M' for name, (millions, _) in ready.items())}")
    rows = {}
    for index, length in enumerate(args.lengths):
        seconds = take_turns({name: work[index] for name, (_, work) in ready.items()}, args.rounds, CLOCKS[args.clock])
        row = rows[length] = {
            "seconds": {name: spread(values) for name, values in seconds.items()},
            "ours_over": ours_over(seconds),
            "megabytes": {name: megabytes[name][index] for name in names},
        }
        print(f" {length} tokens in, {length // 2} out")
        for name in names:
            low, median, high = row["seconds"][name]
            line = f"  {name:<5} {median:9.4f} s ({low:.4f} to {high:.4f})  {row['megabytes'][name]:8.1f} MB"
            if name != "ours":
                low, median, high = row["ours_over"][name]
                memory = row["megabytes"]["ours"] / row["megabytes"][name]
                line += f"   ours/{name}: speed {median:.2f} × ({low:.2f} to {high:.2f}), memory {memory:.2f} ×"
            print(line, flush=True)
    return {"millions": {name: millions for name, (millions, _) in ready.items()}, "lengths": rows}


def in_a_fresh_process(function: Callable[..., Any], *args: Any) -> Any:
    """What `function(*args)` returns in a process where nothing ran before and freed memory goes back at once."""
    os.environ["MALLOC_MMAP_THRESHOLD_"] = os.environ["MALLOC_TRIM_THRESHOLD_"] = "65536"  # bytes; glibc's wish grows
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *args).result()


def _megabytes(prepare: Prepare, args: argparse.Namespace, *shape: Any) -> list[float]:
    torch.set_num_threads(args.threads)
    return [added_bytes(work) / 1e6 for work in prepare(args, *shape)[1]]


def added_bytes(work: Callable[[], Any]) -> int:
    """How far the resident set of this process rises above where it was while `work` runs."""
    gc.collect()
    Path("/proc/self/clear_refs").write_text("5")  # the peak so far is forgotten: man 5 proc
    before = _status_bytes("VmRSS")
    work()
    return _status_bytes("VmHWM") - before


def resident_bytes() -> int:
    """What this process holds in memory, once what nobody needs any more is thrown away."""
    gc.collect()
    return _status_bytes("VmRSS")


def _status_bytes(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    (kilobytes,) = [line.split()[1] for line in lines if line.startswith(f"{field}:")]
    return 1024 * int(kilobytes)


# ------------------------------------------------------------------------------------------------- words and last line


def parser(description: str, rounds: int = 5) -> argparse.ArgumentParser:
    """The words that every speed benchmark understands."""
    words = argparse.ArgumentParser(description=description)
    words.add_argument("--sizes", nargs="+", default=["tiny", "base"], help="presets to measure")
    words.add_argument(
        "--peers", nargs="+", choices=["BART", "T5"], default=["BART", "T5"], help="measured beside ours"
    )
    words.add_argument("--rounds", type=int, default=rounds, help="measured turns of each model")
    words.add_argument("--threads", type=int, default=1, help="threads torch may use")
    words.add_argument("--clock", choices=list(CLOCKS), default="wall", help="seconds that count")
    words.add_argument("--attention", choices=["sdpa", "eager"], default="sdpa", help="way of all models to attend")
    words.add_argument("--dtype", choices=list(DTYPES), default="float32", help="of weights and activations")
    return words


def add_lengths(words: argparse.ArgumentParser, lengths: list[int]) -> None:
    words.add_argument("--lengths", nargs="+", type=int, default=lengths, help="source tokens; the target has half")
    words.add_argument("--layers", type=int, help="of each stack, instead of the preset's: ratios at long lengths")
    words.add_argument("--batch", type=int, default=1, help="pairs at once")
    words.add_argument("--padding", type=float, default=0.0, help="share of each source but the first")


def parse(words: argparse.ArgumentParser) -> argparse.Namespace:
    args = words.parse_args()
    if args.clock == "cpu" and args.threads > 1:
        words.error("--clock cpu adds up the seconds of all threads; use it with --threads 1")
    torch.set_num_threads(args.threads)
    return args


class OnnxGraphs:
    """Both graphs of our export, opened for so many threads, with the names and shapes of what goes in and out."""

    def __init__(self, folder: Path, threads: int):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.encoder, self.decoder = (
            onnxruntime.InferenceSession(folder / f"{name}.onnx", options) for name in ("encoder", "decoder")
        )
        self.outputs = [each.name for each in self.encoder.get_outputs()]
        self.pasts = [each.name.replace("present", "past") for each in self.decoder.get_outputs()[1:]]
        shapes = {each.name: each.shape for each in self.decoder.get_inputs()}
        self.shapes = {name: (shapes[name][1], 0, shapes[name][3]) for name in self.pasts}  # without rows


def print_json(benchmark: str, args: argparse.Namespace, results: Any) -> None:
    print(json.dumps({"benchmark": benchmark, **vars(args), "results": _rounded(results)}))


def _rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(each) for each in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value
