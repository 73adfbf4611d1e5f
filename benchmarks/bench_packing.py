"""How many tokens a second does training on packed rows see, beside padded ones?

    python benchmarks/bench_packing.py DATA ... [--tasks generate=1 complete=1 ...] [--batch_rows 32] [--clock cpu]

Real rows of real tasks go once through forward, backward and optimizer, in batches of `batch_rows`, by

padded    as `Seq2SeqTrainer` does it out of the box: batches drawn at random, padded to their longest source and
          target, whole logits, float32, AdamW
grouped   with `group_by_length`: batches of rows alike in length, fused AdamW, and bf16 where --precision says so
ours      the rows one after the other in one packed row, `Objective` with chunked logits, fused AdamW, as `train.py`

All train the same model from the same weights on the same rows, in turns; a ratio is that of one round, theirs over
ours in seconds, so above 1 is faster. Tokens are those that are no padding; `waste` is the share that is. The last line
of stdout is JSON.
"""

from __future__ import annotations

import argparse
import copy
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from peers import CLOCKS, ours_over, parse, print_json, spread, take_turns

from elixir_coder import checkpoint
from elixir_coder.tasks import registry
from elixir_coder.tasks.row import Row, Setup, SpecialTokens
from elixir_coder.training.mixture import build_mixture
from elixir_coder.training.objective import KINDS, Objective
from elixir_coder.training.packing import collate, pad

_MEGA_BATCH = 50  # batches that `LengthGroupedSampler` of transformers sorts together

Step = Callable[[], tuple[torch.Tensor, int]]  # a loss to go backward from, and the places its batch has


def draw(args: argparse.Namespace, setup: Setup) -> list[Row]:
    """Rows of the tasks by their shares, in an order drawn at random."""
    shares = dict(each.split("=") if "=" in each else (each, "1") for each in args.tasks)
    tasks = {name: registry.build(name, setup) for name in shares}
    mixture = build_mixture([Path(folder) for folder in args.data], tasks, setup=setup, seed=0)
    weights = mixture.weights({name: float(share) for name, share in shares.items()}, lambda task: 4)
    rng = np.random.default_rng(0)
    rows: list[Row] = []
    while len(rows) < args.rows:
        number = int(rng.choice(len(weights), p=weights))
        row = mixture.streams[number].row(int(rng.integers(10**6)))
        if row is not None and row.target and row.match is None:
            rows.append(Row(row.source, row.target))
    return rows


def batches(rows: list[Row], size: int, by_length: bool) -> Iterator[list[Row]]:
    """The rows as they stand, or those of each mega-batch sorted by the length of their source."""
    if by_length:
        mega = size * _MEGA_BATCH
        parts = (rows[at : at + mega] for at in range(0, len(rows), mega))
        rows = [row for part in parts for row in sorted(part, key=lambda row: -len(row.source))]
    yield from (rows[at : at + size] for at in range(0, len(rows), size))


def padded_steps(model: Any, rows: list[Row], size: int, by_length: bool) -> list[Step]:
    def step(group: list[Row]) -> Step:
        batch = pad(group, model.config.pad_token_id)
        return lambda: (model(**batch).loss, batch["input_ids"].numel() + batch["labels"].numel())

    return [step(group) for group in batches(rows, size, by_length)]


def packed_steps(objective: Objective, rows: list[Row], size: int) -> list[Step]:
    def step(group: list[Row]) -> Step:
        batch = collate([(0, row) for row in group], **objective.collating)
        coefficients = torch.zeros(1, len(KINDS))
        coefficients[0, 0] = 1 / sum(len(row.target) for row in group)
        return lambda: (objective(batch, coefficients).total, batch["input_ids"].numel() + batch["labels"].numel())

    return [step(group) for group in batches(rows, size, by_length=False)]


def epoch(
    steps: list[Step], module: torch.nn.Module, fused: bool, precision: str, places: dict[str, int], name: str
) -> Callable[[], None]:
    """Every step once, with AdamW."""
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, fused=fused)

    def run() -> None:
        places[name] = 0
        for step in steps:
            with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
                loss, count = step()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            places[name] += count

    return run


def main() -> int:
    words = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    words.add_argument("data", nargs="+", help="folders of shards")
    words.add_argument("--model", default=".", help="model folder (the repository's)")
    words.add_argument(
        "--tasks",
        nargs="+",
        default=["complete", "infill", "generate=2", "converse", "write_tests", "implement", "explain", "repair"],
        help="that write, with their shares (complete infill generate=2 converse write_tests implement explain repair)",
    )
    words.add_argument("--rows", type=int, default=256, help="of one round (256)")
    words.add_argument("--batch_rows", type=int, default=32, help="of one step (32)")
    words.add_argument("--source_length", type=int, default=512, help="tokens at most (512)")
    words.add_argument("--target_length", type=int, default=512, help="tokens at most (512)")
    words.add_argument("--precision", choices=["fp32", "bf16"], default="fp32", help="of `grouped` and ours (fp32)")
    words.add_argument("--rounds", type=int, default=3, help="measured turns of each (3)")
    words.add_argument("--threads", type=int, default=1, help="threads torch may use (1)")
    words.add_argument("--clock", choices=list(CLOCKS), default="wall", help="seconds that count (wall)")
    args = parse(words)

    tokenizer = checkpoint.load_tokenizer(args.model)
    model = checkpoint.load_model(args.model).train()
    labels = tuple(model.config.quality_labels), tuple(model.config.security_labels)
    setup = Setup(tokenizer, SpecialTokens.of(tokenizer), args.source_length, args.target_length, *labels)
    rows = draw(args, setup)
    num_tokens = sum(row.num_tokens for row in rows)
    padded, grouped, objective = copy.deepcopy(model), copy.deepcopy(model), Objective(model, ["generate"])
    places: dict[str, int] = {}
    work = {
        "padded": epoch(padded_steps(padded, rows, args.batch_rows, False), padded, False, "fp32", places, "padded"),
        "grouped": epoch(
            padded_steps(grouped, rows, args.batch_rows, True), grouped, True, args.precision, places, "grouped"
        ),
        "ours": epoch(packed_steps(objective, rows, args.batch_rows), objective, True, args.precision, places, "ours"),
    }
    seconds = take_turns(work, args.rounds, CLOCKS[args.clock])
    ratios = ours_over(seconds)
    print(f"{len(rows)} rows, {num_tokens:,} tokens, of {num_tokens / len(rows):.0f} on average")
    for name, values in seconds.items():
        low, median, high = spread(values)
        line = f"  {name:<8}{num_tokens / median:8,.0f} tokens/s   waste {1 - num_tokens / places[name]:6.1%}"
        if name in ratios:
            low, median, high = ratios[name]
            line += f"   ours/{name}: {median:.2f} × ({low:.2f} to {high:.2f})"
        print(line)
    results = {
        "seconds": {name: spread(values) for name, values in seconds.items()},
        "ours_over": ratios,
        "waste": {name: 1 - num_tokens / count for name, count in places.items()},
    }
    print_json("packing", args, results)
    return 0


if __name__ == "__main__":
    sys.exit(main())
