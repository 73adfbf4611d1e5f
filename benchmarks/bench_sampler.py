"""How long does it take to draw a token from the scores of our model, by our sampler and by transformers' warpers?

    python benchmarks/bench_sampler.py [--model FOLDER] [--tokens 128] [--sharpen 1 2]

The scores are those of texts that the model wrote itself, sampled. The shipped model is small and unsure; with
`--sharpen 2` its scores are doubled, which makes a nucleus as narrow as that of a model that knows more. Both sides
start at the same scores of one row and end at an id: theirs is the list of warpers that `generate` would run, softmax
and multinomial, in the same order. Before a setting is timed, both must keep the same tokens at every place.

Printed are microseconds a token, how many times as long transformers takes (median of the rounds, with the spread; the
two take turns), and how many tokens are kept. The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers import CLOCKS, print_json, spread, take_turns
from transformers import GenerationConfig, LogitsProcessorList, PreTrainedModel

sys.path.insert(0, str(Path(__file__).parents[1]))
from elixir_coder.checkpoint import load_model, load_tokenizer
from generating_elixir_coder import Sampler

ROOT = Path(__file__).parents[1]
PROMPTS = ("<code>defmodule Stack do\n", "<code>def area(radius) do\n", '<code>test "adds" do\n')
SETTINGS: dict[str, dict[str, float]] = {
    "temperature": {"temperature": 0.8, "top_k": 0},
    "top_k": {"temperature": 0.8, "top_k": 50},
    "top_p": {"temperature": 0.8, "top_k": 0, "top_p": 0.9},
    "top_k, top_p": {"temperature": 0.8, "top_k": 50, "top_p": 0.9},
    "min_p": {"temperature": 0.8, "top_k": 0, "min_p": 0.05},
}


def main() -> int:
    args = parse_args()
    torch.set_num_threads(args.threads)
    model = load_model(args.model).float().eval()
    scores = scores_of(model, load_tokenizer(args.model), args.tokens)
    print(f"{'':24}{'ours':>9}{'theirs':>9}   theirs / ours{'':15}kept at the median, 90%")
    results = {
        f"{name}, scores × {factor:g}": measure(model, scores * np.float32(factor), settings, args)
        for factor in args.sharpen
        for name, settings in SETTINGS.items()
    }
    for name, row in results.items():
        low, median, high = row["theirs_over_ours"]
        print(
            f"{name:24}{row['ours_us'][1]:9.1f}{row['theirs_us'][1]:9.1f}   {median:6.1f} × ({low:.1f} to {high:.1f})"
            f"{'':6}{row['kept'][0]:.0f}, {row['kept'][1]:.0f}"
        )
    print_json("sampler", args, results)
    return 0


@torch.no_grad()
def scores_of(model: PreTrainedModel, tokenizer: Any, num_tokens: int) -> np.ndarray:
    """(places, vocabulary): what the model says at each place of texts that it writes."""
    torch.manual_seed(0)
    places = []
    for prompt in PROMPTS:
        source = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False)
        written = model.generate(**source, max_new_tokens=num_tokens, do_sample=True, top_k=0, top_p=0.9)
        places.append(model(**source, decoder_input_ids=written[:, :-1]).logits[0])
    return torch.cat(places).numpy()


def measure(
    model: PreTrainedModel, scores: np.ndarray, settings: dict[str, float], args: argparse.Namespace
) -> dict[str, Any]:
    """Microseconds a token of both, their ratio by round, and the tokens kept at the median and the 90th percentile."""
    warpers = model._get_logits_processor(GenerationConfig(do_sample=True, **settings))
    sampler = Sampler(warpers)
    kept = []
    for row in scores:
        ids, weights = sampler.kept(row)
        theirs = (warpers(None, torch.from_numpy(row)[None])[0] > -torch.inf).nonzero()[:, 0].tolist()
        assert theirs == (list(range(len(row))) if ids is None else ids[weights > 0].tolist())
        kept.append(len(theirs))
    uniforms = np.random.default_rng(0).random(len(scores)).tolist()
    work: dict[str, Callable[[], None]] = {
        "ours": partial(draw_ours, sampler, scores, uniforms),
        "theirs": partial(draw_theirs, warpers, torch.from_numpy(scores)),
    }
    seconds = take_turns(work, args.rounds, CLOCKS[args.clock])
    return {
        **{f"{name}_us": spread(1e6 * each / len(scores) for each in values) for name, values in seconds.items()},
        "theirs_over_ours": spread(theirs / ours for ours, theirs in zip(*seconds.values())),
        "kept": [statistics.median(kept), float(np.percentile(kept, 90))],
    }


def draw_ours(sampler: Sampler, scores: np.ndarray, uniforms: Sequence[float]) -> None:
    for row, uniform in zip(scores, uniforms):
        sampler.draw(row, uniform)


def draw_theirs(warpers: LogitsProcessorList, scores: torch.Tensor) -> None:
    for row in scores:
        torch.multinomial(warpers(None, row[None]).softmax(dim=-1), num_samples=1).item()


def parse_args() -> argparse.Namespace:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("--model", default=str(ROOT), help="folder of the model that scores")
    words.add_argument("--tokens", type=int, default=128, help="places of each of the three texts")
    words.add_argument("--sharpen", type=float, nargs="+", default=[1.0, 2.0], help="factors of the scores")
    words.add_argument("--rounds", type=int, default=5, help="measured turns of each")
    words.add_argument("--threads", type=int, default=1, help="threads torch may use")
    words.add_argument("--clock", choices=list(CLOCKS), default="wall", help="seconds that count")
    return words.parse_args()


if __name__ == "__main__":
    sys.exit(main())
