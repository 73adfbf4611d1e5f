"""How many exercises a second are verified, and what does judging many drafts in one job gain?

    python benchmarks/bench_synthesize.py [--rounds 3] [--drafts 48] [--batch 24] [--seed 0]

The same drafts, drawn from all families in turn, are judged on one virtual machine three ways, which take turns in
every round, so that a busy machine slows all alike:

    batch     `Verifier`, as `data synthesize` uses it: one job for many drafts
    alone     `Verifier`, one job for each draft
    plain     `Toolchain.test` for each program of a draft (reference, variants, faults, readings, follow-ups),
              with the expected values in place already, and without formatting

A ratio is that of one round; printed is the median, with the lowest and the highest. The last line of stdout is JSON.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from itertools import islice

from elixir_coder.data.synthesis.draft import Draft
from elixir_coder.data.synthesis.families import all_families
from elixir_coder.data.synthesis.verify import Verifier
from elixir_coder.data.synthesize import Plan, draft_of
from elixir_coder.errors import exit_on_error
from elixir_coder.toolchain.toolchain import Toolchain


def programs_of(verifier: Verifier, draft: Draft) -> list[tuple[str, str]]:
    """Every program of a draft with the tests it is run against, expected values in place."""
    (judged,) = verifier.judge([draft])
    return [
        pair
        for one in judged.values()
        if one.code
        for pair in [(one.code, one.tests), *((code, one.tests) for _, code, _ in one.programs.values())]
    ]


def seconds_of(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--drafts", type=int, default=48)
    parser.add_argument("--batch", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    plan = Plan(args.drafts, args.seed, list(all_families()))
    jobs = list(islice(plan.drawn(), args.drafts))
    started = time.perf_counter()
    drafts = [draft_of(job, args.seed) for job in jobs]
    draw_ms = (time.perf_counter() - started) / len(drafts) * 1000
    random.Random(args.seed).shuffle(drafts)

    times: dict[str, list[float]] = {"batch": [], "alone": [], "plain": []}
    with Verifier() as verifier, Toolchain(workers=1, timeout_s=120) as toolchain:
        programs = [pair for draft in drafts for pair in programs_of(verifier, draft)]
        num_items = len(verifier.examples(drafts, Counter()))
        toolchain.test(*programs[0])
        batches = [drafts[at : at + args.batch] for at in range(0, len(drafts), args.batch)]
        for _ in range(args.rounds):
            times["batch"].append(seconds_of(lambda: [verifier.judge(batch) for batch in batches]))
            times["alone"].append(seconds_of(lambda: [verifier.judge([draft]) for draft in drafts]))
            times["plain"].append(seconds_of(lambda: [toolchain.test(*pair, guard=False) for pair in programs]))
            print({name: round(each[-1], 1) for name, each in times.items()}, file=sys.stderr)

    per_s = statistics.median(num_items / each for each in times["batch"])
    result: dict[str, object] = {
        "drafts": len(drafts),
        "programs": len(programs),
        "items": num_items,
        "draw_ms": round(draw_ms, 1),
        "items_per_s": round(per_s, 1),
        "programs_per_s": round(statistics.median(len(programs) / each for each in times["batch"]), 1),
    }
    print(f"{num_items} items of {len(drafts)} drafts, {len(programs)} programs; drawing one: {draw_ms:.1f} ms")
    print(f"batch: {per_s:.1f} items/s on one virtual machine")
    for name in ("alone", "plain"):
        ratios = [other / batch for other, batch in zip(times[name], times["batch"])]
        result[f"{name}_over_batch"] = [
            round(value, 2) for value in (statistics.median(ratios), min(ratios), max(ratios))
        ]
        print(f"{name} / batch: {statistics.median(ratios):.2f} x ({min(ratios):.2f} to {max(ratios):.2f})")
    print(json.dumps(result))


if __name__ == "__main__":
    sys.exit(exit_on_error(main))
